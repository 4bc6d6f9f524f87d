//! Weighted least connections: the lowest (active * 256 + inactive) / weight.

use super::Load;
use super::tournament::{Cost, Tournament};

pub(super) type Wlc = Tournament<Weighted>;

#[derive(Clone, Debug)]
pub(super) struct Weighted;

impl Cost for Weighted {
    fn overhead(load: Load) -> u64 {
        overhead(load)
    }
}

/// Active connections cost 256 times an inactive one.
pub(super) fn overhead(load: Load) -> u64 {
    u64::from(load.active) * 256 + u64::from(load.inactive)
}
