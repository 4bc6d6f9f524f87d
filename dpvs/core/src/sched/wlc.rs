//! Weighted least connections: the lowest (active * 256 + inactive) / weight.

use super::Load;
use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Wlc {
    start: usize,
}

impl Wlc {
    pub(super) fn new(start: usize) -> Self {
        Self { start }
    }

    #[inline]
    pub(super) fn pick(&self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        let list = || dests.iter().enumerate();
        let mut best: Option<(usize, u64, u64)> = None;
        for (index, dest) in list().skip(self.start).chain(list().take(self.start)) {
            if !dest.usable() {
                continue;
            }
            let load = load(dest);
            if load.overloaded {
                continue;
            }
            let (overhead, weight) = (overhead(load), u64::from(dest.weight));
            // Compares overhead / weight without a division: 41 bits by 16 fit.
            if best.is_none_or(|(_, o, w)| o * weight > overhead * w) {
                best = Some((index, overhead, weight));
            }
        }
        best.map(|(index, _, _)| index)
    }
}

/// Active connections cost 256 times an inactive one.
fn overhead(load: Load) -> u64 {
    u64::from(load.active) * 256 + u64::from(load.inactive)
}
