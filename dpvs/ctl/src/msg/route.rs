//! Routes (ids 28 to 41).

use crate::types::{Af, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// An address with a prefix length.
    pub struct RtAddr[20] {
        /// Address.
        0 addr: Ip16,
        /// Prefix length.
        16 plen: i32,
    }
}

wire_struct! {
    /// An IPv4 route.
    pub struct Route[112] {
        /// Family; 0 is taken as IPv4.
        0 af: Af,
        /// MTU; 0: the device's.
        4 mtu: u32,
        /// [`rtf`] bits.
        8 flags: u32,
        /// Metric.
        12 metric: u32,
        /// Destination.
        16 dst: RtAddr,
        /// Source.
        36 src: RtAddr,
        /// Gateway; its prefix length is unused.
        56 gateway: RtAddr,
        /// Preferred source; unused.
        76 prefsrc: RtAddr,
        /// Device.
        96 ifname: Name<16>,
    }
}

wire_struct! {
    /// The older form of an IPv4 route, packed, that C keepalived sends to ids
    /// 28 and 29. The C daemon refuses it.
    pub struct RouteCompact[81] {
        /// Family.
        0 af: Af,
        /// Destination.
        4 dst: Ip16,
        /// Its prefix length.
        20 plen: u8,
        /// Gateway.
        21 via: Ip16,
        /// Preferred source.
        37 src: Ip16,
        /// Device.
        53 ifname: Name<16>,
        /// MTU.
        69 mtu: u32,
        /// Type of service.
        73 tos: u8,
        /// [`route_scope`].
        74 scope: u8,
        /// Metric.
        75 metric: u8,
        /// Who made it.
        76 proto: u8,
        /// [`rtf`] bits.
        77 flags: u32,
    }
}

wire_struct! {
    /// An IPv6 route.
    pub struct Route6[104] {
        /// [`route6_op`]; it counts, not the id.
        0 ops: i32,
        /// Destination.
        4 dst: RtAddr,
        /// Source.
        24 src: RtAddr,
        /// Preferred source.
        44 prefsrc: RtAddr,
        /// Device.
        64 ifname: Name<16>,
        /// Gateway.
        80 gateway: Ip16,
        /// MTU; 0: the device's.
        96 mtu: u32,
        /// [`rtf`] bits.
        100 flags: u32,
    }
}

/// Values of [`Route6::ops`].
pub mod route6_op {
    /// List.
    pub const GET: i32 = 1;
    /// Add.
    pub const ADD: i32 = 2;
    /// Remove.
    pub const DEL: i32 = 3;
    /// Remove all.
    pub const FLUSH: i32 = 4;
}

/// Route flags.
pub mod rtf {
    /// Usable.
    pub const UP: u32 = 0x1;
    /// By a gateway.
    pub const GATEWAY: u32 = 0x2;
    /// To a host.
    pub const HOST: u32 = 0x4;
    /// Made by an ICMP redirect.
    pub const DYNAMIC: u32 = 0x10;
    /// Changed by one.
    pub const MODIFIED: u32 = 0x20;
    /// Has its own MTU.
    pub const MTU: u32 = 0x40;
    /// Refuses.
    pub const REJECT: u32 = 0x200;
    /// Forwards.
    pub const FORWARD: u32 = 0x400;
    /// An address of this machine.
    pub const LOCALIN: u32 = 0x800;
    /// The default route.
    pub const DEFAULT: u32 = 0x1000;
    /// To the kernel's interface.
    pub const KNI: u32 = 0x2000;
}

/// Values of [`RouteCompact::scope`].
pub mod route_scope {
    /// Unset.
    pub const NONE: u8 = 0;
    /// This machine.
    pub const HOST: u8 = 1;
    /// The kernel's interface.
    pub const KNI: u8 = 2;
    /// This link.
    pub const LINK: u8 = 3;
    /// Anywhere.
    pub const GLOBAL: u8 = 4;
}
