//! Never queue: the first server without active connections, whatever its weight;
//! if all have some, the shortest expected delay.

use super::Load;
use super::tournament::{Cost, Tournament};

pub(super) type Nq = Tournament<Idle>;

#[derive(Clone, Debug)]
pub(super) struct Idle;

impl Cost for Idle {
    /// Nothing wins against nothing.
    fn overhead(load: Load) -> u64 {
        match load.active {
            0 => 0,
            active => u64::from(active) + 1,
        }
    }
}
