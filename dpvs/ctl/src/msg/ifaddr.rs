//! Addresses of devices (ids 42 to 52).

use crate::types::{Af, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// An address of a device.
    pub struct IfAddr[68] {
        /// Family.
        0 af: Af,
        /// Seconds it is valid; 0: for ever.
        4 valid_lft: u32,
        /// Seconds it is preferred; 0, and with DPVS any: as long as it is valid.
        8 prefered_lft: u32,
        /// [`ifa_flag`] bits.
        12 flags: u32,
        /// Device.
        16 ifname: Name<16>,
        /// Broadcast address.
        32 bcast: Ip16,
        /// Address.
        48 addr: Ip16,
        /// Prefix length.
        64 plen: u8,
        /// [`ifa_scope`].
        65 scope: u8,
        /// Lcore id; in replies.
        66 cid: u8,
        /// Padding.
        67 nop: u8,
    }
}

wire_struct! {
    /// Local ports of an address; meaningful under [`ifa_flag::SAPOOL`].
    pub struct IfAddrStats[12] {
        /// In use.
        0 sa_used: u32,
        /// Free.
        4 sa_free: u32,
        /// Wanted when none was free.
        8 sa_miss: u32,
    }
}

wire_struct! {
    /// A request about addresses.
    pub struct IfAddrParam[76] {
        /// [`ifa_op`]; listing requires GET, the set ids ignore it.
        0 ops: u32,
        /// [`ifa_op_flag`] bits.
        4 ops_flags: u32,
        /// The address.
        8 entry: IfAddr,
    }
}

wire_struct! {
    /// An address in a list.
    pub struct IfAddrData[80] {
        /// The address.
        0 entry: IfAddr,
        /// Its local ports.
        68 stats: IfAddrStats,
    }
}

wire_struct! {
    /// Before a list of addresses. Unused bytes may follow the list.
    pub struct IfAddrArray[12] {
        /// [`ifa_op::GET`].
        0 ops: u32,
        /// Echo of the request's: clients print by it.
        4 ops_flags: u32,
        /// How many follow.
        8 naddr: i32,
    }
}

wire_struct! {
    /// A multicast address of a device.
    pub struct Maddr[44] {
        /// Device.
        0 ifname: Name<16>,
        /// Address.
        16 maddr: Ip16,
        /// Family.
        32 af: Af,
        /// Flags.
        36 flags: u32,
        /// References.
        40 refcnt: u32,
    }
}

wire_struct! {
    /// Local ports of an address in dpvs-agent's list (id 43).
    pub struct IfAddrStatsDetail[28] {
        /// Address.
        0 addr: Ip16,
        /// The counts.
        16 stats: IfAddrStats,
    }
}

/// Values of [`IfAddrParam::ops`].
pub mod ifa_op {
    /// List.
    pub const GET: u32 = 1;
    /// Add.
    pub const ADD: u32 = 2;
    /// Remove.
    pub const DEL: u32 = 3;
    /// Change.
    pub const MOD: u32 = 4;
    /// Remove all.
    pub const FLUSH: u32 = 5;
}

/// Bits of [`IfAddrParam::ops_flags`].
pub mod ifa_op_flag {
    /// Every lcore's entries.
    pub const VERBOSE: u32 = 1;
    /// With statistics.
    pub const STATS: u32 = 2;
}

/// Values of [`IfAddr::scope`].
pub mod ifa_scope {
    /// Anywhere.
    pub const GLOBAL: u8 = 0;
    /// Site.
    pub const SITE: u8 = 1;
    /// This link.
    pub const LINK: u8 = 2;
    /// This machine.
    pub const HOST: u8 = 3;
    /// Unset.
    pub const NONE: u8 = 255;
}

/// Bits of [`IfAddr::flags`]: the kernel's `IFA_F_*` and two of DPVS.
pub mod ifa_flag {
    /// Nobody is asked whether he has it (IPv6).
    pub const NODAD: u32 = 0x02;
    /// Somebody else has it (IPv6).
    pub const DADFAILED: u32 = 0x08;
    /// Optimistic duplicate detection.
    pub const OPTIMISTIC: u32 = 0x04;
    /// Its preferred lifetime is over.
    pub const DEPRECATED: u32 = 0x20;
    /// Not yet known to be unique.
    pub const TENTATIVE: u32 = 0x40;
    /// For ever.
    pub const PERMANENT: u32 = 0x80;
    /// Feeds local port pools.
    pub const SAPOOL: u32 = 0x1_0000;
    /// IPv6 link-local, made by the daemon.
    pub const LINKLOCAL: u32 = 0x2_0000;
}
