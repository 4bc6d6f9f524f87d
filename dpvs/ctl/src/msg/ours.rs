//! What the daemon tells beyond the C daemon (ids 7501 to 7503): packets
//! dropped by lcore and reason, how a port's replies find the worker that owns
//! their connection, and how long the workers' turns took.
//!
//! A daemon that does not know these ids closes without an answer.

use crate::types::Name;
use crate::wire::wire_struct;

wire_struct! {
    /// Packets an lcore dropped for one reason.
    pub struct DropCount[64] {
        /// Lcore id.
        0 cid: u8,
        /// Packets.
        8 count: u64,
        /// The reason, one word, e.g. `no-dest`.
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
    /// How many turns with something to do a worker made, by their length.
    pub struct WorkerTurns[136] {
        /// Lcore id.
        0 cid: u8,
        /// Turns below 1, 2, 4, ... 16384 microseconds; the last entry counts
        /// everything longer.
        8 turns: [u64; 16],
    }
}
