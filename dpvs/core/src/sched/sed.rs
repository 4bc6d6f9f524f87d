//! Shortest expected delay: the lowest (active + 1) / weight, the connection to
//! come counted in. Inactive connections do not count, as in Linux.

use super::Load;
use super::tournament::{Cost, Tournament};

pub(super) type Sed = Tournament<Expected>;

#[derive(Clone, Debug)]
pub(super) struct Expected;

impl Cost for Expected {
    fn overhead(load: Load) -> u64 {
        u64::from(load.active) + 1
    }
}
