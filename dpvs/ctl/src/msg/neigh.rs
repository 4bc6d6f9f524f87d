//! Neighbours (ids 70 to 72).

use crate::types::{Af, HwAddr, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// A neighbour. Each worker has its own entry for one address.
    pub struct Neigh[52] {
        /// Family.
        0 af: Af,
        /// [`neigh_state`].
        4 state: u32,
        /// Address.
        8 ip_addr: Ip16,
        /// MAC address.
        24 eth_addr: HwAddr,
        /// Packets that wait for it.
        30 que_num: u32,
        /// Device.
        34 ifname: Name<16>,
        /// [`neigh_flag`] bits.
        50 flag: u8,
        /// The lcore that has it.
        51 cid: u8,
    }
}

/// Values of [`Neigh::state`].
pub mod neigh_state {
    /// New.
    pub const NONE: u32 = 0;
    /// Asked for.
    pub const SEND: u32 = 1;
    /// Known.
    pub const REACHABLE: u32 = 2;
    /// Asked for again.
    pub const PROBE: u32 = 3;
    /// About to be asked for again.
    pub const DELAY: u32 = 4;
}

/// Bits of [`Neigh::flag`].
pub mod neigh_flag {
    /// In the table.
    pub const HASHED: u8 = 1;
    /// Static.
    pub const STATIC: u8 = 2;
}
