//! Traffic control (ids 84 to 88): queue schedulers and classifiers, packed.

use super::service::Match;
use crate::types::{Be16, Blob, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// A request; the reply is a bare array of its `param`s.
    pub struct TcConf[172] {
        /// [`tc_obj`].
        0 obj: u32,
        /// [`tc_op`] bits.
        4 op_flags: u32,
        /// Device.
        8 ifname: Name<16>,
        /// A [`TcQsch`] or a [`TcCls`], by `obj`.
        24 param: Blob<148>,
    }
}

wire_struct! {
    /// A queue scheduler.
    pub struct TcQsch[105] {
        /// Lcore id; in replies.
        0 cid: u8,
        /// [`tc_handle`]; 0 when added: chosen by the daemon.
        1 handle: u32,
        /// The parent's handle; 0: none.
        5 parent: u32,
        /// `bfifo`, `pfifo`, `pfifo_fast` or `tbf`.
        9 kind: Name<16>,
        /// [`TbfOpt`], [`FifoOpt`] or [`PrioOpt`], by `kind`.
        25 qopt: Blob<36>,
        /// Classifiers attached; in replies.
        61 cls_cnt: i32,
        /// 1 ingress, 2 invisible.
        65 flags: u32,
        /// Queue counters.
        69 qstats: QstatQueue,
        /// Byte counters.
        89 bstats: QstatBytes,
    }
}

wire_struct! {
    /// A rate.
    pub struct TbfRate[12] {
        /// Unused.
        0 cell_log: u8,
        /// Unused.
        1 linklayer: u8,
        /// Unused.
        2 overhead: u16,
        /// Unused.
        4 cell_align: i16,
        /// Unused.
        6 mpu: u16,
        /// Bits a second.
        8 rate: u32,
    }
}

wire_struct! {
    /// Token bucket.
    pub struct TbfOpt[36] {
        /// Rate.
        0 rate: TbfRate,
        /// Peak rate.
        12 peakrate: TbfRate,
        /// Bytes queued at most.
        24 limit: u32,
        /// Burst, bytes.
        28 buffer: u32,
        /// MTU.
        32 mtu: u32,
    }
}

wire_struct! {
    /// Queue length.
    pub struct FifoOpt[4] {
        /// Packets (pfifo) or bytes (bfifo).
        0 limit: u32,
    }
}

wire_struct! {
    /// Bands.
    pub struct PrioOpt[20] {
        /// Number of bands.
        0 bands: i32,
        /// Band of each priority.
        4 priomap: [u8; 16],
    }
}

wire_struct! {
    /// Queue counters.
    pub struct QstatQueue[20] {
        /// Packets queued.
        0 qlen: u32,
        /// Bytes queued.
        4 backlog: u32,
        /// Dropped.
        8 drops: u32,
        /// Put back.
        12 requeues: u32,
        /// Over the limit.
        16 overlimits: u32,
    }
}

wire_struct! {
    /// Byte counters.
    pub struct QstatBytes[16] {
        /// Bytes.
        0 bytes: u64,
        /// Packets.
        8 packets: u32,
    }
}

wire_struct! {
    /// A classifier.
    pub struct TcCls[148] {
        /// Lcore id; in replies.
        0 cid: u8,
        /// The queue scheduler it belongs to.
        1 sch_id: u32,
        /// Its handle; 0 when added: chosen by the daemon.
        5 handle: u32,
        /// `match` or `ipset`.
        9 kind: Name<16>,
        /// Ethernet type.
        25 pkt_type: Be16,
        /// Higher first.
        27 priority: i32,
        /// [`TcClsMatch`] or [`TcClsIpset`], by `kind`.
        31 copt: Blob<117>,
    }
}

wire_struct! {
    /// Classifies by addresses, ports and devices.
    pub struct TcClsMatch[117] {
        /// IP protocol.
        0 proto: u8,
        /// What is matched.
        1 matched: Match,
        /// What then happens.
        109 result: TcClsResult,
    }
}

wire_struct! {
    /// Classifies by a set.
    pub struct TcClsIpset[41] {
        /// Name of the set.
        0 setname: Name<32>,
        /// 1: matches the destination side.
        32 dst_match: u8,
        /// What then happens.
        33 result: TcClsResult,
    }
}

wire_struct! {
    /// What happens to a classified packet.
    pub struct TcClsResult[8] {
        /// 1: dropped.
        0 drop: u8,
        /// Otherwise the queue scheduler it goes to.
        4 sch_id: u32,
    }
}

/// Values of [`TcConf::obj`].
pub mod tc_obj {
    /// Queue scheduler.
    pub const QSCH: u32 = 0;
    /// Classifier.
    pub const CLS: u32 = 1;
}

/// Bits of [`TcConf::op_flags`].
pub mod tc_op {
    /// With the workers' counters.
    pub const STATS: u32 = 1;
    /// Every worker's entries.
    pub const VERBOSE: u32 = 2;
}

/// Special handles; others are `major << 16 | minor`.
pub mod tc_handle {
    /// None.
    pub const UNSPEC: u32 = 0;
    /// The top of the sending side.
    pub const ROOT: u32 = 0xffff_ffff;
    /// The top of the receiving side.
    pub const INGRESS: u32 = 0xffff_fff1;
}
