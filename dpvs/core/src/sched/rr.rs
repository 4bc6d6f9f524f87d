//! Round robin: from the last used server on to the next usable one.

use super::tree::MaxTree;
use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Rr {
    last: usize,
    /// 1 for a server that may get connections.
    usable: MaxTree,
}

impl Rr {
    pub(super) fn new(dests: &[Dest], start: usize) -> Self {
        Self {
            last: start,
            usable: MaxTree::new(dests.iter().map(|d| u16::from(d.usable()))),
        }
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], full: impl Fn(&Dest) -> bool) -> Option<usize> {
        if dests.is_empty() {
            return None;
        }
        let mut from = self.last + 1;
        loop {
            match self.usable.next(from, 1) {
                Some(found) if dests.get(found).is_some_and(|d| !full(d)) => {
                    self.last = found;
                    return Some(found);
                }
                // Left out until it has fewer connections.
                Some(found) => self.usable.set(found, 0),
                None if from == 0 => return None,
                None => from = 0,
            }
        }
    }

    /// That server is no longer full.
    pub(super) fn lighter(&mut self, place: usize) {
        self.usable.set(place, 1);
    }
}
