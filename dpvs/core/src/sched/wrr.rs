//! Weighted round robin, the classic LVS way.
//!
//! The current weight falls by the weights' greatest common divisor each time
//! the end of the list is passed, and from its lowest value goes back to the
//! highest weight; a server is taken when its weight reaches the current weight.
//! Over (sum of weights / gcd) connections every server gets exactly its share.

use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Wrr {
    last: usize,
    current: u16,
    max: u16,
    gcd: u16,
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
        }
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], usable: impl Fn(&Dest) -> bool) -> Option<usize> {
        if let Some(found) = self.walk(dests, self.max, &usable) {
            return Some(found);
        }
        // A whole pass without a server. The passes that cannot give one either
        // are skipped, so that a heavy server which is not usable costs nothing:
        // weights are multiples of the divisor, so the current weight would come
        // to the heaviest usable one exactly.
        let top = dests.iter().filter(|d| usable(d)).map(|d| d.weight).max()?;
        self.walk(dests, top, &usable)
            .or_else(|| self.walk(dests, top, &usable))
    }

    /// Looks at every server once, those behind the last one first; at the end
    /// of the list the current weight goes to the next value, at most `top`.
    #[inline]
    fn walk(&mut self, dests: &[Dest], top: u16, usable: &impl Fn(&Dest) -> bool) -> Option<usize> {
        for _ in 0..dests.len() {
            self.last += 1;
            if self.last >= dests.len() {
                self.last = 0;
                let next = if self.current > self.gcd {
                    self.current - self.gcd
                } else {
                    self.max
                };
                self.current = next.min(top);
            }
            let dest = dests.get(self.last)?;
            if dest.weight >= self.current && usable(dest) {
                return Some(self.last);
            }
        }
        None
    }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}
