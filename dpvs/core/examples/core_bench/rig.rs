//! A worker on the bench: batches of frames are written, then processed with
//! the clocks running, then looked at. Only `Worker::process` and
//! `Worker::tick` are inside the measured stretch.
//!
//! The time the worker is told is not the clock's: it advances by so many
//! nanoseconds a burst, so that timers run as at a given packet rate and every
//! run does exactly the same.

use std::hint::black_box;
use std::time::Instant;

use dpvs_core::frame::{BURST, Burst, Now, PortId, empty_burst};
use dpvs_core::snapshot::Settings;
use dpvs_core::worker::Worker;
use nix::time::{ClockId, clock_gettime};

use crate::frames::{self, Chosen, Heap, Packet, Slot};
use crate::world::{self, World};

/// Bursts written before the clock starts: with their buffers they fit into a
/// second-level cache, as the buffers of a small pool do.
const BATCH: usize = 64;
/// Frames of a batch.
pub(crate) const FRAMES: usize = BATCH * BURST;

/// A burst about to be received.
struct Arrival {
    port: PortId,
    count: usize,
    burst: Burst<Slot>,
}

/// What was measured.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Nanoseconds of this thread's CPU time.
    pub(crate) cpu: u64,
    /// Nanoseconds that passed.
    pub(crate) wall: u64,
    /// Packets processed.
    pub(crate) packets: u64,
}

impl Spent {
    pub(crate) fn ns_per_packet(&self) -> f64 {
        self.cpu as f64 / self.packets as f64
    }

    pub(crate) fn wall_ns_per_packet(&self) -> f64 {
        self.wall as f64 / self.packets as f64
    }
}

/// Nanoseconds of CPU time of this thread.
pub(crate) fn cpu_nanos() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(|t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
        .unwrap_or_default()
}

/// A worker, its world and its frames.
pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) worker: Worker<Slot>,
    pub(crate) io: Heap,
    arrivals: Vec<Arrival>,
    /// Flows of the frames in the batch, and whether they are replies.
    written: Vec<(u32, bool)>,
    /// What the worker takes for now, in nanoseconds.
    pub(crate) clock: u64,
    /// Nanoseconds a burst.
    pub(crate) step: u64,
    /// Whether time counts: not while warming up.
    measuring: bool,
    /// Whether instructions count, too.
    counting: bool,
    pub(crate) spent: Spent,
}

impl Rig {
    pub(crate) fn new(
        world: World,
        (id, workers): (u8, u8),
        conns: usize,
        settings: Settings,
    ) -> Self {
        let clock = 1_000_000_000;
        let mut io = Heap::default();
        let conf = world::conf(id, workers, conns);
        let worker = world.worker(conf, settings, Now(clock / 1000), &mut io);
        let arrivals = (0..BATCH)
            .map(|_| Arrival {
                port: PortId(0),
                count: 0,
                burst: empty_burst(),
            })
            .collect();
        Self {
            world,
            worker,
            io,
            arrivals,
            written: Vec::new(),
            clock,
            // 10 million packets a second.
            step: 3_200,
            measuring: false,
            counting: false,
            spent: Spent::default(),
        }
    }

    /// Starts a measured stretch.
    pub(crate) fn begin(&mut self) {
        self.begin_aside();
        self.counting = true;
    }

    /// Starts a stretch whose time is wanted, but that callgrind passes over.
    pub(crate) fn begin_aside(&mut self) {
        self.spent = Spent::default();
        self.measuring = true;
        self.counting = false;
    }

    /// Ends it: what was measured.
    pub(crate) fn finish(&mut self) -> Spent {
        self.measuring = false;
        self.spent
    }

    /// One batch of packets, each of `flows(i)`, as `packet(i)` says; a burst
    /// has one direction. Every one has to be sent on and, looked at while warming
    /// up, to the right place.
    pub(crate) fn batch(
        &mut self,
        count: usize,
        mut next: impl FnMut(usize) -> (u32, Chosen, Packet),
    ) {
        let bursts = count.div_ceil(BURST);
        for (b, arrival) in self.arrivals[..bursts].iter_mut().enumerate() {
            arrival.count = BURST.min(count - b * BURST);
            for i in 0..arrival.count {
                let (flow, chosen, packet) = next(b * BURST + i);
                let mut frame = self.io.take();
                frames::write(&mut frame, self.world, flow, chosen, &packet);
                arrival.port = PortId(packet.reply.into());
                arrival.burst[i] = Some(frame);
                self.written.push((flow, packet.reply));
            }
        }
        if self.measuring {
            let (cpu, wall) = (cpu_nanos(), Instant::now());
            if self.counting {
                measured(self, bursts);
            } else {
                process(self, bursts);
            }
            self.spent.wall += wall.elapsed().as_nanos() as u64;
            self.spent.cpu += cpu_nanos() - cpu;
            self.spent.packets += count as u64;
        } else {
            process(self, bursts);
        }
        let sent = self.io.sent.len();
        assert_eq!(
            sent,
            count,
            "every packet is sent: {:?}",
            self.worker.stats()
        );
        if !self.measuring {
            for (frame, &(flow, reply)) in self.io.sent.iter().zip(&self.written) {
                assert!(frames::is_of(self.world, frame, flow, reply));
            }
        }
        self.written.clear();
    }
}

/// The stretch that counts, apart from the same work while warming up, so that
/// callgrind can tell them by name.
#[inline(never)]
fn measured(rig: &mut Rig, bursts: usize) {
    process(rig, bursts);
    black_box(rig);
}

#[inline(never)]
fn process(rig: &mut Rig, bursts: usize) {
    for arrival in &mut rig.arrivals[..bursts] {
        let now = Now(rig.clock / 1000);
        let (port, n) = (arrival.port, arrival.count);
        rig.worker
            .process(port, &mut arrival.burst, n, now, &mut rig.io);
        rig.worker.tick(now, &mut rig.io);
        rig.clock += rig.step;
    }
}
