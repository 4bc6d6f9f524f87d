//! Connections (ids 90 and 91).

use crate::types::{Be16, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// Names one connection.
    pub struct SockPair[40] {
        /// Family; [`crate::Af::from`] takes it.
        0 af: u16,
        /// IP protocol.
        2 proto: u16,
        /// Source port.
        4 sport: Be16,
        /// Target port.
        6 tport: Be16,
        /// Source address.
        8 sip: Ip16,
        /// Target address.
        24 tip: Ip16,
    }
}

wire_struct! {
    /// A request for connections.
    pub struct ConnReq[48] {
        /// [`conn_get`] bits.
        0 flag: u32,
        /// Where to resume: `curcid` of the reply before.
        4 whence: u32,
        /// The connection wanted under `SPECIFIED`.
        8 sockpair: SockPair,
    }
}

wire_struct! {
    /// Before the entries of a reply, which start at byte 9.
    pub struct ConnArray[9] {
        /// Entries that follow, at most [`ConnArray::BATCH`].
        0 nconns: u32,
        /// [`conn_result`] bits.
        4 resl: u32,
        /// Where to resume.
        8 curcid: u8,
    }
}

impl ConnArray {
    /// The most entries in one reply.
    pub const BATCH: usize = 1024;
}

wire_struct! {
    /// A connection.
    pub struct ConnEntry[104] {
        /// Family of client and service.
        0 in_af: u16,
        /// Family of local address and dest.
        2 out_af: u16,
        /// IP protocol.
        4 proto: u16,
        /// Client.
        8 caddr: Ip16,
        /// Service.
        24 vaddr: Ip16,
        /// Local address.
        40 laddr: Ip16,
        /// Dest.
        56 daddr: Ip16,
        /// Client's port.
        72 cport: Be16,
        /// Service's port.
        74 vport: Be16,
        /// Local port.
        76 lport: Be16,
        /// Dest's port.
        78 dport: Be16,
        /// Configured time-out, seconds: not what is left of it.
        80 timeout: u32,
        /// The lcore that has it.
        84 lcoreid: u8,
        /// State, as text.
        85 state: Name<16>,
    }
}

/// Bits of [`ConnReq::flag`].
pub mod conn_get {
    /// From the start.
    pub const ALL: u32 = 1;
    /// Go on.
    pub const MORE: u32 = 2;
    /// One.
    pub const SPECIFIED: u32 = 4;
    /// Persistence templates.
    pub const TEMPLATE: u32 = 8;
}

/// Bits of [`ConnArray::resl`].
pub mod conn_result {
    /// Done.
    pub const OK: u32 = 1;
    /// There are more.
    pub const MORE: u32 = 2;
    /// Failed.
    pub const FAIL: u32 = 4;
    /// No such connection.
    pub const NOTEXIST: u32 = 8;
}
