//! Ports and lcores (ids 53 to 66), but for bonds and driver abilities.

use crate::types::Name;
use crate::wire::wire_struct;

wire_struct! {
    /// Which lcores do what.
    pub struct LcoreMask[24] {
        /// The master.
        0 master_lcore_id: u8,
        /// The one for the kernel's interface; 0: none.
        1 kni_lcore_id: u8,
        /// Number of workers.
        2 slave_lcore_num: u8,
        /// Number of lcores that only receive.
        3 isol_rx_lcore_num: u8,
        /// The workers, bit by lcore id.
        8 slave_lcore_mask: u64,
        /// The lcores that only receive.
        16 isol_rx_lcore_mask: u64,
    }
}

wire_struct! {
    /// An lcore; text about its queues follows.
    pub struct LcoreBasic[8] {
        /// The lcore.
        0 lcore_id: u8,
        /// NUMA node.
        1 socket_id: u8,
        /// Bytes of text, NUL included; 0: none.
        4 queue_data_len: u32,
    }
}

wire_struct! {
    /// Counters of an lcore.
    pub struct LcoreStats[96] {
        /// The lcore.
        0 lcore_id: u8,
        /// Turns of its loop.
        8 lcore_loop: u64,
        /// Bursts received.
        16 pktburst: u64,
        /// Empty ones.
        24 zpktburst: u64,
        /// Full ones.
        32 fpktburst: u64,
        /// From one packet to half full.
        40 z2hpktburst: u64,
        /// From half full to full.
        48 h2fpktburst: u64,
        /// Packets received.
        56 ipackets: u64,
        /// Bytes received.
        64 ibytes: u64,
        /// Packets sent.
        72 opackets: u64,
        /// Bytes sent.
        80 obytes: u64,
        /// Packets dropped.
        88 dropped: u64,
    }
}

wire_struct! {
    /// Before a list of ports.
    pub struct NicList[10] {
        /// How many follow.
        0 nic_num: u16,
        /// First id of a NIC.
        2 phy_pid_base: u16,
        /// Behind the last.
        4 phy_pid_end: u16,
        /// First id of a bond.
        6 bond_pid_base: u16,
        /// Behind the last.
        8 bond_pid_end: u16,
    }
}

wire_struct! {
    /// A port in a list.
    pub struct PortId[18] {
        /// Port id.
        0 id: u16,
        /// Device name.
        2 name: Name<16>,
    }
}

wire_struct! {
    /// The state of a port.
    pub struct NicBasic[128] {
        /// Device name.
        0 name: Name<32>,
        /// MAC address as text, upper case.
        32 addr: Name<32>,
        /// `UP` or `DOWN`.
        64 link_status: Name<16>,
        /// `half-duplex` or `full-duplex`.
        80 link_duplex: Name<16>,
        /// `fixed-nego` or `auto-nego`.
        96 link_autoneg: Name<16>,
        /// Mbit/s.
        112 link_speed: u32,
        /// Receive queues.
        116 nrxq: u8,
        /// Send queues.
        117 ntxq: u8,
        /// Unused.
        118 padding: [u8; 3],
        /// NUMA node.
        121 socket_id: u8,
        /// Port id.
        122 port_id: u16,
        /// MTU.
        124 mtu: u16,
        /// [`nic_flag`] bits.
        126 flags: u16,
    }
}

/// Bits of [`NicBasic::flags`].
pub mod nic_flag {
    /// Promiscuous.
    pub const PROMISC: u16 = 1 << 0;
    /// Takes all multicast.
    pub const ALLMULTICAST: u16 = 1 << 1;
    /// Everything goes to the kernel's interface.
    pub const FWD2KNI: u16 = 1 << 2;
    /// Traffic control on sending.
    pub const TC_EGRESS: u16 = 1 << 3;
    /// Traffic control on receiving.
    pub const TC_INGRESS: u16 = 1 << 4;
    /// The NIC checks IP checksums.
    pub const OL_RX_IP_CSUM: u16 = 1 << 5;
    /// The NIC writes IP checksums.
    pub const OL_TX_IP_CSUM: u16 = 1 << 6;
    /// The NIC writes TCP checksums.
    pub const OL_TX_TCP_CSUM: u16 = 1 << 7;
    /// The NIC writes UDP checksums.
    pub const OL_TX_UDP_CSUM: u16 = 1 << 8;
    /// LLDP is on.
    pub const LLDP: u16 = 1 << 9;
    /// The NIC frees sent buffers in bulk.
    pub const OL_TX_FAST_FREE: u16 = 1 << 10;
}

wire_struct! {
    /// The counters of a port.
    pub struct NicStats[720] {
        /// Free packet buffers.
        0 mbuf_avail: u32,
        /// Used packet buffers.
        4 mbuf_inuse: u32,
        /// Packets received.
        8 ipackets: u64,
        /// Packets sent.
        16 opackets: u64,
        /// Bytes received.
        24 ibytes: u64,
        /// Bytes sent.
        32 obytes: u64,
        /// Missed by the NIC.
        40 imissed: u64,
        /// Receive errors.
        48 ierrors: u64,
        /// Send errors.
        56 oerrors: u64,
        /// No buffer to receive into.
        64 rx_nombuf: u64,
        /// Packets received by queue.
        72 q_ipackets: [u64; 16],
        /// Packets sent by queue.
        200 q_opackets: [u64; 16],
        /// Bytes received by queue.
        328 q_ibytes: [u64; 16],
        /// Bytes sent by queue.
        456 q_obytes: [u64; 16],
        /// Errors by queue.
        584 q_errors: [u64; 16],
        /// Unused.
        712 padding: [u16; 3],
        /// Port id.
        718 port_id: u16,
    }
}

wire_struct! {
    /// Before the driver's own counters.
    pub struct XStatsHead[8] {
        /// Port id.
        0 pid: u16,
        /// How many follow.
        2 nentries: u16,
    }
}

wire_struct! {
    /// One of the driver's counters.
    pub struct XStat[80] {
        /// The driver's number for it.
        0 id: u64,
        /// Value.
        8 val: u64,
        /// Name.
        16 name: Name<64>,
    }
}

wire_struct! {
    /// Changes a port.
    pub struct NicSet[52] {
        /// Device name.
        0 pname: Name<32>,
        /// New MAC address as text; empty: unchanged.
        32 macaddr: Name<18>,
        /// [`nic_set`] bits; of each pair "on" wins.
        50 flags: u16,
    }
}

/// Bits of [`NicSet::flags`].
pub mod nic_set {
    /// Promiscuous on.
    pub const PROMISC_ON: u16 = 1 << 0;
    /// Promiscuous off.
    pub const PROMISC_OFF: u16 = 1 << 1;
    /// All multicast on.
    pub const ALLMULTICAST_ON: u16 = 1 << 2;
    /// All multicast off.
    pub const ALLMULTICAST_OFF: u16 = 1 << 3;
    /// Link up.
    pub const LINK_UP: u16 = 1 << 4;
    /// Link down.
    pub const LINK_DOWN: u16 = 1 << 5;
    /// Everything to the kernel's interface.
    pub const FWD2KNI_ON: u16 = 1 << 6;
    /// No longer everything to it.
    pub const FWD2KNI_OFF: u16 = 1 << 7;
    /// Traffic control on sending, on.
    pub const TC_EGRESS_ON: u16 = 1 << 8;
    /// Off.
    pub const TC_EGRESS_OFF: u16 = 1 << 9;
    /// Traffic control on receiving, on.
    pub const TC_INGRESS_ON: u16 = 1 << 10;
    /// Off.
    pub const TC_INGRESS_OFF: u16 = 1 << 11;
    /// LLDP on.
    pub const LLDP_ON: u16 = 1 << 12;
    /// LLDP off.
    pub const LLDP_OFF: u16 = 1 << 13;
}

wire_struct! {
    /// A hardware multicast address of a port.
    pub struct HwMaddr[26] {
        /// MAC address as text.
        0 addr: Name<18>,
        /// References.
        18 refcnt: u32,
        /// 1: from the kernel's interface.
        22 flags: u16,
        /// Times synchronised.
        24 sync_cnt: u16,
    }
}
