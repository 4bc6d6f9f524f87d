//! The largest flows of a device (id 108).

use crate::types::{Be16, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// A flow, packed.
    pub struct IfTraf[65] {
        /// Family.
        0 af: u8,
        /// IP protocol.
        1 proto: u8,
        /// Lcore id.
        2 cid: u8,
        /// Not filled by the C daemon.
        3 devid: u16,
        /// Device.
        5 ifname: Name<16>,
        /// Source.
        21 saddr: Ip16,
        /// Destination.
        37 daddr: Ip16,
        /// Source port.
        53 sport: Be16,
        /// Destination port.
        55 dport: Be16,
        /// Bytes received.
        57 total_recv: u32,
        /// Bytes sent.
        61 total_sent: u32,
    }
}
