//! Failover: the heaviest server that may be used, the first of equals. A lighter
//! one stands by.

use super::tree::MaxTree;
use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Fo {
    /// Weights of the servers that may get connections.
    weights: MaxTree,
}

impl Fo {
    pub(super) fn new(dests: &[Dest]) -> Self {
        Self {
            weights: MaxTree::of(dests),
        }
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], full: impl Fn(&Dest) -> bool) -> Option<usize> {
        loop {
            let top = self.weights.top();
            if top == 0 {
                return None;
            }
            let found = self.weights.next(0, top)?;
            if dests.get(found).is_some_and(|d| !full(d)) {
                return Some(found);
            }
            // Left out until it has fewer connections.
            self.weights.set(found, 0);
        }
    }

    /// That server is no longer full.
    pub(super) fn lighter(&mut self, place: usize, weight: u16) {
        self.weights.set(place, weight);
    }
}
