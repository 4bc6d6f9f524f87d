//! Lcores that only receive: from queues of a port into rings of the workers.
//!
//! What arrives while a worker is busy waits in a large ring then, not in the few
//! descriptors of the queue. Knows no packet; a full ring drops, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpvs_core::frame::{BURST, Frame, empty_burst};

use crate::counters::{LcoreCounters, Lost};
use crate::idle::{Backoff, Idle};
use crate::port::{Batch, Clock, Receiver, RxQueue, Sender};
use crate::wake::Napper;

/// Where a worker receives from.
#[derive(Debug)]
pub enum Source {
    /// A queue of a port.
    Queue(RxQueue),
    /// The ring of a queue that an isolated lcore polls.
    Ring(Receiver),
}

impl From<RxQueue> for Source {
    fn from(queue: RxQueue) -> Self {
        Self::Queue(queue)
    }
}

impl Source {
    /// Receives up to a burst; as [`RxQueue::burst`].
    #[inline(always)]
    pub fn burst(&mut self, slots: &mut dpvs_core::frame::Burst<crate::port::Mbuf>) -> usize {
        match self {
            Self::Queue(queue) => queue.burst(slots),
            Self::Ring(ring) => ring.burst(slots),
        }
    }
}

/// An lcore that only receives.
#[derive(Debug)]
pub struct Isolated {
    /// Queues, and the rings of the workers they belong to.
    pub queues: Vec<(RxQueue, Sender)>,
    /// What `dpip link show cpu` lists.
    pub counters: Arc<LcoreCounters>,
    /// The clock all lcores share.
    pub clock: Clock,
    /// What to do while nothing comes.
    pub idle: Idle,
    /// Ends the loop.
    pub stop: Arc<AtomicBool>,
}

impl Isolated {
    /// Runs until told to stop.
    pub fn run(mut self) {
        let (mut slots, mut batch) = (empty_burst(), Batch::new());
        let mut backoff = Backoff::new(self.idle, self.clock.now());
        let napper = Napper::default();
        napper.enter();
        while !self.stop.load(Ordering::Relaxed) {
            let mut work = 0;
            for (queue, ring) in &mut self.queues {
                let n = queue.burst(&mut slots);
                self.counters.received(n, BURST);
                if n == 0 {
                    continue;
                }
                let mut bytes = 0;
                for frame in slots[..n].iter_mut().filter_map(Option::take) {
                    bytes += frame.total_len() as u64;
                    // A burst fits into an empty batch.
                    let _ = batch.push(frame);
                }
                self.counters.ipackets.add(n as u64);
                self.counters.ibytes.add(bytes);
                ring.burst(&mut batch);
                self.counters.lose(Lost::RxRingFull, batch.clear() as u64);
                work += n;
            }
            self.counters.loops.add(1);
            backoff.after(work > 0, self.clock.now()).take(&napper);
        }
    }
}
