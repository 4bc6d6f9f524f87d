//! What an lcore counts: turns, bursts, packets, and those that got lost between the
//! worker and its queues and rings.
//!
//! One writer each; the master reads them while they change. What the worker itself
//! drops has reasons of its own ([`dpvs_core::stats::Reason`]).

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! losses {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// Where a packet got lost outside a worker.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Lost { $($(#[doc = $doc])* $name,)* }
        impl Lost {
            /// All of them, in order of their numbers.
            pub const ALL: &'static [Lost] = &[$(Lost::$name,)*];
            /// Short name for listings.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Lost::$name => $text,)* }
            }
            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Lost::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

losses! {
    /// A transmit queue of a port was full, also when tried again.
    TxFull = "tx-full",
    /// The ring to the kernel's interface was full.
    HostRingFull = "host-ring-full",
    /// The ring to the worker that owns the connection was full.
    WorkerRingFull = "worker-ring-full",
    /// The device it was for is gone, or has no queue on this lcore.
    NoDevice = "no-device",
    /// No room in the buffer for the VLAN tag.
    NoTagRoom = "no-tag-room",
    /// An isolated lcore's ring to its worker was full.
    RxRingFull = "rx-ring-full",
    /// The kernel did not take it.
    KernelFull = "kernel-full",
    /// The kernel's packet: the ring to the worker that sends it, or the transmit queue
    /// of the kernel's own, was full.
    FromKernelFull = "from-kernel-full",
}

/// One counter: written by one lcore, read by all.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // One writer: no need for an atomic addition.
        self.0
            .store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of an lcore, as the control socket lists them. A cache line apart
/// from its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LcoreCounters {
    /// Turns of the loop.
    pub loops: Counter,
    /// Receive calls.
    pub bursts: Counter,
    /// Receive calls that gave nothing.
    pub zero: Counter,
    /// Receive calls that gave a full burst.
    pub full: Counter,
    /// Receive calls that gave up to half a burst.
    pub to_half: Counter,
    /// Receive calls that gave more than half a burst.
    pub over_half: Counter,
    /// Packets received.
    pub ipackets: Counter,
    /// Bytes received.
    pub ibytes: Counter,
    /// Packets sent.
    pub opackets: Counter,
    /// Bytes sent.
    pub obytes: Counter,
    /// Packets lost outside the worker, by [`Lost`] number.
    pub lost: [Counter; Lost::ALL.len()],
    /// Packets the worker dropped, for whatever reason.
    pub refused: Counter,
    /// Bytes of the worker's connection table.
    pub table_bytes: Counter,
    /// Times it slept.
    pub sleeps: Counter,
    /// Turns that had something to do, by how long they took: below 1, 2, 4 and
    /// so on microseconds, the last one everything longer.
    pub turns: [Counter; 16],
}

impl LcoreCounters {
    /// Counts packets that got lost.
    #[inline]
    pub(crate) fn lose(&self, why: Lost, packets: u64) {
        if packets > 0
            && let Some(counter) = self.lost.get(why as usize)
        {
            counter.add(packets);
        }
    }

    /// Packets lost outside the worker, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lost.iter().map(Counter::get).sum()
    }

    /// Counts a receive call that gave `n` of at most `most` packets.
    #[inline]
    pub(crate) fn received(&self, n: usize, most: usize) {
        self.bursts.add(1);
        let size = match n {
            0 => &self.zero,
            _ if n == most => &self.full,
            _ if n <= most / 2 => &self.to_half,
            _ => &self.over_half,
        };
        size.add(1);
    }

    #[inline]
    pub(crate) fn turn(&self, micros: u64) {
        let place = (u64::BITS - micros.leading_zeros()) as usize;
        if let Some(turns) = self.turns.get(place.min(15)) {
            turns.add(1);
        }
    }
}
