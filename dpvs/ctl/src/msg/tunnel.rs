//! VLAN devices, tunnels, address flows to the kernel's interface, LLDP.

use crate::types::{Af, Be16, Be32, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// A VLAN device; both numbers in host order.
    pub struct Vlan[36] {
        /// The device below.
        0 real_dev: Name<16>,
        /// Its own name; empty when added: `<real_dev>.<id>`.
        16 ifname: Name<16>,
        /// 0x8100.
        32 vlan_proto: u16,
        /// VLAN id.
        34 vlan_id: u16,
    }
}

wire_struct! {
    /// A tunnel.
    pub struct Tunnel[80] {
        /// Device name.
        0 ifname: Name<16>,
        /// `ipip` or `gre`.
        16 kind: Name<16>,
        /// The device below.
        32 link: Name<16>,
        /// Flags of received packets.
        48 i_flags: Be16,
        /// Flags of sent packets.
        50 o_flags: Be16,
        /// Key of received packets.
        52 i_key: Be32,
        /// Key of sent packets.
        56 o_key: Be32,
        /// IP version and header length.
        60 ver_ihl: u8,
        /// Type of service; 1: inherit.
        61 tos: u8,
        /// Unused.
        62 tot_len: u16,
        /// Unused.
        64 id: u16,
        /// Unused.
        66 frag_off: u16,
        /// Time to live; 0: inherit.
        68 ttl: u8,
        /// IP protocol.
        69 protocol: u8,
        /// Unused.
        70 check: u16,
        /// Local address.
        72 saddr: Be32,
        /// Remote address.
        76 daddr: Be32,
    }
}

wire_struct! {
    /// An address whose packets go to the kernel's interface.
    pub struct KniFlow[40] {
        /// 1.
        0 kind: u32,
        /// Device.
        4 ifname: Name<16>,
        /// Family.
        20 af: Af,
        /// Address.
        24 addr: Ip16,
    }
}

wire_struct! {
    /// A request for what LLDP knows.
    pub struct LldpParam[18] {
        /// 0 this machine, 1 the neighbour.
        0 node: u16,
        /// Device.
        2 ifname: Name<16>,
    }
}

wire_struct! {
    /// What LLDP knows, as text. C dpip prints it as a format: no `%` may be in it.
    pub struct LldpMessage[4114] {
        /// The request.
        0 param: LldpParam,
        /// At most 4095 bytes of text.
        18 message: Name<4096>,
    }
}
