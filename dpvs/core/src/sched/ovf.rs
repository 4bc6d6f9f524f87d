//! Overflow: the heaviest server as long as it has no more active connections
//! than its weight says, then the next one.

use super::Load;
use super::fo::Fo;
use crate::service::Dest;

#[derive(Clone, Debug)]
pub(super) struct Ovf(Fo);

impl Ovf {
    pub(super) fn new(dests: &[Dest]) -> Self {
        Self(Fo::new(dests))
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        self.0.pick(dests, |dest| {
            let load = load(dest);
            load.overloaded || load.active > u32::from(dest.weight)
        })
    }

    /// That server has fewer connections, or less active ones.
    pub(super) fn lighter(&mut self, place: usize, weight: u16) {
        self.0.lighter(place, weight);
    }
}
