//! IPv6 counters (id 93).

use crate::wire::{Wire, append_entries, put_at, take_at, wire_struct};

/// Slots for lcores, indexed by lcore id: a build constant of DPVS.
pub const LCORE_SLOTS: usize = 64;

wire_struct! {
    /// The IP counters of RFC 4293 and the kernel's.
    pub struct InetStats[280] {
        /// Packets received.
        0 inpkts: u64,
        /// Bytes received.
        8 inoctets: u64,
        /// Packets handed to this machine.
        16 indelivers: u64,
        /// Packets forwarded.
        24 outforwdatagrams: u64,
        /// Packets sent.
        32 outpkts: u64,
        /// Bytes sent.
        40 outoctets: u64,
        /// Bad headers.
        48 inhdrerrors: u64,
        /// Too big.
        56 intoobigerrors: u64,
        /// No route in.
        64 innoroutes: u64,
        /// Bad addresses.
        72 inaddrerrors: u64,
        /// Unknown protocols.
        80 inunknownprotos: u64,
        /// Truncated.
        88 intruncatedpkts: u64,
        /// Dropped in.
        96 indiscards: u64,
        /// Dropped out.
        104 outdiscards: u64,
        /// No route out.
        112 outnoroutes: u64,
        /// Reassembly time-outs.
        120 reasmtimeout: u64,
        /// Fragments to reassemble.
        128 reasmreqds: u64,
        /// Reassembled.
        136 reasmoks: u64,
        /// Not reassembled.
        144 reasmfails: u64,
        /// Fragmented.
        152 fragoks: u64,
        /// Not fragmented.
        160 fragfails: u64,
        /// Fragments made.
        168 fragcreates: u64,
        /// Multicast packets in.
        176 inmcastpkts: u64,
        /// Multicast packets out.
        184 outmcastpkts: u64,
        /// Broadcast packets in.
        192 inbcastpkts: u64,
        /// Broadcast packets out.
        200 outbcastpkts: u64,
        /// Multicast bytes in.
        208 inmcastoctets: u64,
        /// Multicast bytes out.
        216 outmcastoctets: u64,
        /// Broadcast bytes in.
        224 inbcastoctets: u64,
        /// Broadcast bytes out.
        232 outbcastoctets: u64,
        /// Bad checksums.
        240 csumerrors: u64,
        /// ECN: not capable.
        248 noectpkts: u64,
        /// ECN: ECT(1).
        256 ect1pkts: u64,
        /// ECN: ECT(0).
        264 ect0pkts: u64,
        /// ECN: congestion experienced.
        272 cepkts: u64,
    }
}

/// IPv6 counters: the sum, and one set an lcore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip6Stats {
    /// The sum.
    pub total: InetStats,
    /// By lcore id; [`LCORE_SLOTS`] of them on the wire.
    pub lcores: Vec<InetStats>,
}

impl Wire for Ip6Stats {
    const NAME: &'static str = "Ip6Stats";
    const SIZE: usize = InetStats::SIZE * (1 + LCORE_SLOTS);
    fn put(&self, out: &mut [u8]) {
        put_at(out, 0, &self.total);
        let mut bytes = Vec::new();
        append_entries(
            &mut bytes,
            self.lcores.get(..LCORE_SLOTS).unwrap_or(&self.lcores),
        );
        for (slot, byte) in out.iter_mut().skip(InetStats::SIZE).zip(bytes) {
            *slot = byte;
        }
    }
    fn take(bytes: &[u8]) -> Self {
        Self {
            total: take_at(bytes, 0),
            lcores: (1..=LCORE_SLOTS)
                .map(|i| take_at(bytes, i * InetStats::SIZE))
                .collect(),
        }
    }
}

const _: () = assert!(Ip6Stats::SIZE == 18200);
