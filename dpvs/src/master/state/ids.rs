//! Dense ids: the smallest free number is given first, so that what the
//! workers index by them stays small.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A pool of numbers from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    next: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Ids {
    /// How many ids there may be at once.
    const MAX: u32 = dpvs_core::service::DESTS_MAX;

    /// How many more can be taken.
    pub(crate) fn room(&self) -> usize {
        (Self::MAX - self.next) as usize + self.free.len()
    }

    /// All numbers given so far are below this.
    pub(crate) fn bound(&self) -> u32 {
        self.next
    }

    /// A free number; none when all are given.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(Reverse(id)) = self.free.pop() {
            return Some(id);
        }
        (self.next < Self::MAX).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Gives a number back.
    pub(crate) fn give(&mut self, id: u32) {
        debug_assert!(id < self.next, "never given out");
        self.free.push(Reverse(id));
    }
}
