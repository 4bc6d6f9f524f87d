//! Everything one lcore owns, and its three entry points.
//!
//! `process` takes a burst from a port, `tick` runs the timers, `handle` takes a
//! message from the master. All state is here: connection table, timer wheel,
//! neighbours, port pools, scheduler cursors, counters and the `Arc` of the
//! configuration in force. A worker never blocks, never reads a clock and never
//! shares memory with another.

use crate::frame::{Burst, Frame, Io, Now, PortId, WorkerId};
use crate::message::ToWorker;

/// How a worker is made.
#[derive(Clone, Debug)]
pub struct WorkerConf {
    /// This worker.
    pub id: WorkerId,
    /// How many workers there are.
    pub workers: u8,
    /// Connections this worker can hold (entries of each address family).
    pub conns: usize,
    /// Randomness: keys of the hash, of sequence numbers and of port choice.
    pub seed: [u64; 4],
}

/// One forwarding worker.
pub struct Worker<F: Frame> {
    conf: WorkerConf,
    frames: core::marker::PhantomData<F>,
}

impl<F: Frame> Worker<F> {
    /// A worker without configuration: until the first `Install` every packet is
    /// dropped.
    #[must_use]
    pub fn new(conf: WorkerConf, _now: Now) -> Self {
        Self { conf, frames: core::marker::PhantomData }
    }

    /// Takes the first `n` frames of a burst received on `port`; leaves every
    /// slot empty.
    pub fn process<I: Io<Frame = F>>(
        &mut self,
        _port: PortId,
        _burst: &mut Burst<F>,
        _n: usize,
        _now: Now,
        _io: &mut I,
    ) {
    }

    /// Runs what is due; call once a loop, also without traffic.
    pub fn tick<I: Io<Frame = F>>(&mut self, _now: Now, _io: &mut I) {}

    /// Takes a message from the master.
    pub fn handle<I: Io<Frame = F>>(&mut self, _message: ToWorker, _now: Now, _io: &mut I) {}

    /// Which worker this is.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.conf.id
    }
}
