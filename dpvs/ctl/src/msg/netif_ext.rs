//! What a port's driver can do (id 64), and bonds (ids 55 and 65).

use crate::types::{Blob, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// Abilities of a port's driver, packed.
    pub struct NicDev[135] {
        /// Bus address or bus name.
        0 pci_addr: Name<32>,
        /// Driver.
        32 driver_name: Name<32>,
        /// Interface index.
        64 if_index: u32,
        /// Smallest receive buffer.
        68 min_rx_bufsize: u32,
        /// Longest packet received.
        72 max_rx_pktlen: u32,
        /// Receive queues.
        76 max_rx_queues: u16,
        /// Send queues.
        78 max_tx_queues: u16,
        /// MAC addresses.
        80 max_mac_addrs: u32,
        /// MAC addresses by hash.
        84 max_hash_mac_addrs: u32,
        /// Virtual functions.
        88 max_vfs: u16,
        /// VMDq pools.
        90 max_vmdq_pools: u16,
        /// Receive offloads, low 32 bits.
        92 rx_offload_capa: u32,
        /// Send offloads, low 32 bits.
        96 tx_offload_capa: u32,
        /// Size of the RSS table.
        100 reta_size: u32,
        /// Bytes of RSS key.
        104 hash_key_size: u8,
        /// RSS flow types.
        105 flow_type_rss_offloads: u64,
        /// First VMDq queue.
        113 vmdq_queue_base: u16,
        /// VMDq queues.
        115 vmdq_queue_num: u16,
        /// First VMDq pool.
        117 vmdq_pool_base: u16,
        /// Most receive descriptors.
        119 rx_desc_lim_nb_max: u16,
        /// Fewest.
        121 rx_desc_lim_nb_min: u16,
        /// Their number is a multiple of this.
        123 rx_desc_lim_nb_align: u16,
        /// Most send descriptors.
        125 tx_desc_lim_nb_max: u16,
        /// Fewest.
        127 tx_desc_lim_nb_min: u16,
        /// Their number is a multiple of this.
        129 tx_desc_lim_nb_align: u16,
        /// Speeds.
        131 speed_capa: u32,
    }
}

wire_struct! {
    /// Where the text about queues is in the data.
    pub struct ConfQueues[16] {
        /// Offset.
        0 data_offset: u64,
        /// Length without NUL.
        8 data_len: u64,
    }
}

wire_struct! {
    /// Where the text about multicast addresses is in the data.
    pub struct McList[20] {
        /// Offset.
        0 data_offset: u64,
        /// Length without NUL.
        8 data_len: u64,
        /// Number of addresses.
        16 naddr: i32,
    }
}

wire_struct! {
    /// Abilities of a port; `datalen` bytes of text follow.
    pub struct NicExt[184] {
        /// Port id.
        0 port_id: u16,
        /// The driver's abilities.
        2 dev_info: NicDev,
        /// Text about queues.
        137 cfg_queues: ConfQueues,
        /// Text about multicast addresses.
        153 mc_list: McList,
        /// Bytes of text.
        176 datalen: u64,
    }
}

wire_struct! {
    /// A member of a bond.
    pub struct BondSlave[72] {
        /// Device name.
        0 name: Name<32>,
        /// MAC address as text.
        32 macaddr: Name<32>,
        /// 1: in use.
        64 is_active: i32,
        /// 1: preferred.
        68 is_primary: i32,
    }
}

wire_struct! {
    /// The state of a bond.
    pub struct BondStatus[2392] {
        /// Mode, 0 to 6.
        0 mode: i32,
        /// Members.
        4 slave_nb: i32,
        /// Members in use.
        8 active_nb: i32,
        /// The members; the first `slave_nb` count.
        12 slaves: [BondSlave; 32],
        /// MAC address as text.
        2316 macaddr: Name<32>,
        /// What sending hashes.
        2348 xmit_policy: Name<32>,
        /// ms.
        2380 link_monitor_interval: i32,
        /// ms.
        2384 link_down_prop_delay: i32,
        /// ms.
        2388 link_up_prop_delay: i32,
    }
}

wire_struct! {
    /// Changes a bond.
    pub struct BondSet[72] {
        /// Device name.
        0 name: Name<32>,
        /// An `i32` or a 32-byte name, by `opt`.
        32 param: Blob<32>,
        /// [`bond_act`].
        64 act: u32,
        /// [`bond_opt`].
        68 opt: u32,
    }
}

/// Values of [`BondSet::act`].
pub mod bond_act {
    /// Add.
    pub const ADD: u32 = 1;
    /// Remove.
    pub const DEL: u32 = 2;
    /// Set.
    pub const SET: u32 = 3;
}

/// Values of [`BondSet::opt`].
pub mod bond_opt {
    /// Mode (number).
    pub const MODE: u32 = 1;
    /// Member (name).
    pub const SLAVE: u32 = 2;
    /// Preferred member (name).
    pub const PRIMARY: u32 = 3;
    /// What sending hashes (name).
    pub const XMIT_POLICY: u32 = 4;
    /// ms (number).
    pub const MONITOR_INTERVAL: u32 = 5;
    /// ms (number).
    pub const DOWN_PROP: u32 = 6;
    /// ms (number).
    pub const UP_PROP: u32 = 7;
}
