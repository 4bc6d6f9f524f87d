//! What the daemon tells beyond the C daemon (ids 7501 to 7504), and the rate
//! limits it takes beyond it (7540, 7541): packets
//! dropped by lcore and reason, how a port's replies find the worker that owns
//! their connection, and how long the workers' turns took.
//!
//! A daemon that does not know these ids closes without an answer.

use crate::types::{Be16, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// Packets an lcore dropped for one reason, or another counter of it.
    pub struct DropCount[64] {
        /// Lcore id.
        0 cid: u8,
        /// Packets.
        8 count: u64,
        /// The reason or the counter's name, one word, e.g. `no-dest`.
        16 reason: Name<48>,
    }
}

wire_struct! {
    /// How replies that a port receives reach the worker that owns them.
    pub struct PortAffinity[256] {
        /// Device.
        0 ifname: Name<16>,
        /// Port id.
        16 port_id: u16,
        /// Workers that receive from the port.
        18 workers: u16,
        /// Flow rules that the NIC holds for it.
        20 rules: u32,
        /// The way in one word.
        24 way: Name<32>,
        /// Why this way and no better one, in one sentence.
        56 why: Name<200>,
    }
}

wire_struct! {
    /// Rate limits of a service, or of all services of an address. Bits are those
    /// of IP packets; 0 anywhere: no such limit; nothing but 0: none is left.
    pub struct RateLimit[96] {
        /// Virtual address.
        0 vaddr: Ip16,
        /// Virtual port; 0 with `proto` 0.
        16 vport: Be16,
        /// IP protocol; 0: all services of the address together.
        18 proto: u8,
        /// Family; [`crate::Af::from`] takes it.
        19 af: u8,
        /// How much may come at once, as the time in which it would: milliseconds;
        /// 0: 100.
        20 burst_ms: u32,
        /// Packets of clients a second.
        24 pps: u64,
        /// Bits of clients a second.
        32 bps: u64,
        /// Packets to clients a second.
        40 out_pps: u64,
        /// Bits to clients a second.
        48 out_bps: u64,
        /// New connections a second.
        56 cps: u64,
        /// Packets a second of each source address.
        64 src_pps: u64,
        /// Bits a second of each source address.
        72 src_bps: u64,
        /// New connections a second of each source address.
        80 src_cps: u64,
        /// Of a hundred packets so many pass, in both directions.
        88 percent: u8,
    }
}

impl RateLimit {
    /// Whether it limits anything.
    #[must_use]
    pub fn limits(&self) -> bool {
        let rates = self.pps | self.bps | self.out_pps | self.out_bps | self.cps;
        rates | self.src_pps | self.src_bps | self.src_cps | u64::from(self.percent) != 0
    }
}

wire_struct! {
    /// How many turns with something to do a worker made, by their length.
    pub struct WorkerTurns[136] {
        /// Lcore id.
        0 cid: u8,
        /// Turns below 1, 2, 4, ... 16384 microseconds; the last entry counts
        /// everything longer.
        8 turns: [u64; 16],
    }
}
