//! Power of two choices: two servers by chance and weight, of these the one with
//! the lower (active * 256 + inactive) / weight.

use super::Load;
use super::tree::SumTree;
use super::wlc::overhead;
use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Twos {
    /// Weights of the servers that may get connections.
    weights: SumTree,
    /// State of xorshift64*, never 0.
    chance: u64,
}

impl Twos {
    pub(super) fn new(dests: &[Dest]) -> Self {
        Self {
            weights: SumTree::of(dests),
            chance: 1,
        }
    }

    pub(super) fn seed(&mut self, seed: u64) {
        self.chance = seed | 1;
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        let mut x = self.chance;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.chance = x;
        let random = x.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(random) * u128::from(bound)) >> 64) as u64
    }

    /// A server by chance that is not full.
    fn draw(&mut self, dests: &[Dest], full: impl Fn(&Dest) -> bool) -> Option<usize> {
        loop {
            let total = self.weights.total();
            if total == 0 {
                return None;
            }
            let at = self.below(total);
            let found = self.weights.at(at);
            if dests.get(found).is_some_and(|d| !full(d)) {
                return Some(found);
            }
            // Left out until it has fewer connections.
            self.weights.set(found, 0);
        }
    }

    pub(super) fn pick(&mut self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        let full = |d: &Dest| load(d).overloaded;
        let one = self.draw(dests, full)?;
        let two = self.draw(dests, full)?;
        let cost = |i: usize| {
            let dest = dests.get(i)?;
            Some((overhead(load(dest)), u64::from(dest.weight)))
        };
        let ((cost1, weight1), (cost2, weight2)) = (cost(one)?, cost(two)?);
        Some(if cost1 * weight2 > cost2 * weight1 {
            two
        } else {
            one
        })
    }

    /// That server is no longer full.
    pub(super) fn lighter(&mut self, place: usize, weight: u16) {
        self.weights.set(place, weight);
    }
}
