//! Round robin: from the last used server on to the next usable one.

use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Rr {
    last: usize,
}

impl Rr {
    pub(super) fn new(start: usize) -> Self {
        Self { last: start }
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], usable: impl Fn(&Dest) -> bool) -> Option<usize> {
        let after = dests.iter().enumerate().skip(self.last + 1);
        let (found, _) = after
            .chain(dests.iter().enumerate().take(self.last + 1))
            .find(|(_, d)| usable(d))?;
        self.last = found;
        Some(found)
    }
}
