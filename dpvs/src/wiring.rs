//! What an lcore is told of devices made by command, and what it counts of them.
//!
//! Sent beside the worker's messages, because rings and counters are the lcore's and
//! not the logic's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dpvs_core::frame::PortId;

use crate::lcore::Counter;
use crate::port::{Receiver, SharedSender};

/// A device made by command, as an lcore has to know it.
#[derive(Debug)]
pub enum Wiring {
    /// It is there. Sent before the worker hears of it.
    Add {
        /// Its number.
        device: PortId,
        /// The port below and the tag for it; none for tunnels.
        tag: Option<(PortId, u16)>,
        /// What passes on this lcore.
        counters: Arc<DeviceCounters>,
        /// Sequence numbers of a tunnel.
        seqs: Arc<Seqs>,
        /// Towards the kernel.
        to_host: Option<SharedSender>,
        /// Frames of the kernel this lcore sends for it.
        from_host: Option<Receiver>,
    },
    /// It is gone. Sent when no worker knows it any more.
    Remove(PortId),
}

/// What passed over a device that is no port, on one lcore.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct DeviceCounters {
    /// Packets received.
    pub ipackets: Counter,
    /// Bytes received.
    pub ibytes: Counter,
    /// Packets sent.
    pub opackets: Counter,
    /// Bytes sent.
    pub obytes: Counter,
    /// Packets that could not be tagged.
    pub oerrors: Counter,
}

/// Sequence numbers of a tunnel, shared by all lcores; touched only where they
/// are asked for.
#[derive(Debug, Default)]
pub struct Seqs {
    sent: AtomicU32,
    expected: AtomicU32,
}

impl Seqs {
    pub(crate) fn next(&self) -> u32 {
        self.sent.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn in_order(&self, seq: u32) -> bool {
        let newer = |expected: u32| {
            (seq.wrapping_sub(expected).cast_signed() >= 0).then_some(seq.wrapping_add(1))
        };
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.expected.fetch_update(set, get, newer).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_only_rise() {
        let seqs = Seqs::default();
        assert_eq!([seqs.next(), seqs.next()], [0, 1]);
        assert!(seqs.in_order(0) && seqs.in_order(1) && !seqs.in_order(1));
        assert!(seqs.in_order(9) && !seqs.in_order(8));
        seqs.expected.store(u32::MAX, Ordering::Relaxed);
        assert!(seqs.in_order(u32::MAX) && seqs.in_order(0) && !seqs.in_order(u32::MAX));
    }
}
