//! Least connections: the lowest active * 256 + inactive. A weight of 0 drains,
//! else weights do not count.

use super::Load;
use super::tournament::{Cost, Tournament};
use super::wlc::overhead;

pub(super) type Lc = Tournament<Plain>;

#[derive(Clone, Debug)]
pub(super) struct Plain;

impl Cost for Plain {
    fn overhead(load: Load) -> u64 {
        overhead(load)
    }

    fn weight(weight: u16) -> u32 {
        u32::from(weight > 0)
    }
}
