//! Weighted round robin, the classic LVS way.
//!
//! The current weight falls by the weights' greatest common divisor each time
//! the end of the list is passed, and from its lowest value goes back to the
//! highest weight; a server is taken when its weight reaches the current weight.
//! Over (sum of weights / gcd) connections every server gets exactly its share.
//! The next such server is found in a tree, not by walking.

use super::tree::MaxTree;
use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Wrr {
    last: usize,
    current: u16,
    max: u16,
    gcd: u16,
    /// Weights of the servers that may get connections.
    weights: MaxTree,
}

impl Wrr {
    pub(super) fn new(dests: &[Dest], start: usize) -> Self {
        let max = dests.iter().map(|d| d.weight).max().unwrap_or(0);
        let gcd = dests.iter().fold(0, |g, d| gcd(g, d.weight));
        // Starting in the cycle makes the first round exact as well.
        Self {
            last: start,
            current: max,
            max,
            gcd,
            weights: MaxTree::of(dests),
        }
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], full: impl Fn(&Dest) -> bool) -> Option<usize> {
        if dests.is_empty() {
            return None;
        }
        let mut from = self.last + 1;
        let before = self.current;
        while self.weights.top() > 0 {
            match self.weights.next(from, self.current.max(1)) {
                Some(found) if dests.get(found).is_some_and(|d| !full(d)) => {
                    self.last = found;
                    return Some(found);
                }
                // Left out until it has fewer connections.
                Some(found) => self.weights.set(found, 0),
                None => {
                    from = 0;
                    let next = if self.current > self.gcd {
                        self.current - self.gcd
                    } else {
                        self.max
                    };
                    // Passes that cannot give a server are skipped: weights are
                    // multiples of the divisor, so the current weight would come
                    // to the heaviest usable one exactly.
                    self.current = next.min(self.weights.top());
                }
            }
        }
        // Whoever found nobody has not moved.
        self.current = before;
        None
    }

    /// That server is no longer full.
    pub(super) fn lighter(&mut self, place: usize, weight: u16) {
        self.weights.set(place, weight);
    }
}

/// Greatest common divisor.
pub(super) fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}
