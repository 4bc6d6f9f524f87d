//! Schedulers as the LVS documents tell them, one step at a time.

use dpvs_core::service::{Dest, SchedKind};

/// What a scheduler looks at besides weights.
#[derive(Clone, Copy, Default)]
pub struct Use {
    pub active: u64,
    pub inactive: u64,
    pub full: bool,
}

/// A worker's place in a service's servers.
#[derive(Clone, Debug)]
pub struct Place {
    start: usize,
    last: usize,
    weight: u16,
}

impl Place {
    pub fn new(dests: &[Dest], worker: usize, workers: usize) -> Self {
        let n = dests.len();
        let start = if n == 0 {
            0
        } else {
            (n / workers).max(1) * (worker + 1) % n
        };
        Self {
            start,
            last: start,
            weight: dests.iter().map(|d| d.weight).max().unwrap_or(0),
        }
    }

    pub fn pick(
        &mut self,
        kind: SchedKind,
        dests: &[Dest],
        used: impl Fn(&Dest) -> Use,
    ) -> Option<usize> {
        let can = |d: &Dest| d.weight > 0 && !d.inhibited && !used(d).full;
        if !dests.iter().any(can) {
            return None;
        }
        let n = dests.len();
        match kind {
            SchedKind::Rr => loop {
                self.last = (self.last + 1) % n;
                if can(&dests[self.last]) {
                    return Some(self.last);
                }
            },
            SchedKind::Wrr => {
                let max = dests.iter().map(|d| d.weight).max()?;
                let gcd = (1..=max)
                    .rev()
                    .find(|g| dests.iter().all(|d| d.weight.is_multiple_of(*g)))?;
                loop {
                    self.last += 1;
                    if self.last == n {
                        self.last = 0;
                        self.weight = self.weight.saturating_sub(gcd);
                        if self.weight == 0 {
                            self.weight = max;
                        }
                    }
                    let dest = &dests[self.last];
                    if dest.weight >= self.weight && can(dest) {
                        return Some(self.last);
                    }
                }
            }
            SchedKind::Wlc => {
                let cost = |i: usize| {
                    let u = used(&dests[i]);
                    (u.active * 256 + u.inactive, u64::from(dests[i].weight))
                };
                (0..n)
                    .map(|i| (self.start + i) % n)
                    .filter(|i| can(&dests[*i]))
                    .reduce(|best, i| {
                        let ((o, w), (o2, w2)) = (cost(best), cost(i));
                        if o * w2 > o2 * w { i } else { best }
                    })
            }
            other => unreachable!("{other:?} has models of its own"),
        }
    }
}
