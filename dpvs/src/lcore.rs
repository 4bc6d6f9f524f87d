//! One worker lcore: receive, [`Worker::process`], send; timers; messages.
//!
//! The loop owns its queues, rings and worker, and shares nothing but counters
//! that it alone writes. It knows no protocol and no configuration: the master
//! lays out a [`Plan`] for each lcore and talks by messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver as Inbox;

use dpvs_core::frame::{BURST, Burst, Frame, Io, Now, PortId, empty_burst};
use dpvs_core::message::ToWorker;
use dpvs_core::tc::Side;
use dpvs_core::worker::{Worker, WorkerConf};

pub use crate::counters::{Counter, LcoreCounters};

use crate::idle::{Backoff, Idle, Rest, exact_sleeps};
use crate::isolated::Source;
use crate::lcore_io::{KERNELS, LcoreIo};
use crate::port::{Batch, Clock, Mbuf, Pool, Receiver, SharedSender, TxQueue, mem};
use crate::wake::{Napper, Peer, Reports};
use crate::watch::{Sampler, Watch};
use crate::wiring::Wiring;

/// Everything an lcore is given at start.
#[derive(Debug)]
pub struct Plan {
    /// Its worker.
    pub worker: WorkerConf,
    /// Receive queues to poll, in order.
    pub rx: Vec<(PortId, Source)>,
    /// Its transmit queue on each port (index = [`PortId`]).
    pub tx: Vec<Option<TxQueue>>,
    /// Towards the kernel, for each port that has a host port.
    pub to_host: Vec<Option<SharedSender>>,
    /// Frames of the kernel this lcore sends for it.
    pub from_host: Vec<(PortId, Receiver)>,
    /// Frames other workers hand to this one.
    pub handed: Receiver,
    /// Towards the other workers (index = [`WorkerId`](dpvs_core::frame::WorkerId)); `None` for itself.
    pub peers: Vec<Option<SharedSender>>,
    /// Inboxes of the other workers (index = [`WorkerId`](dpvs_core::frame::WorkerId)); `None` for itself.
    pub inboxes: Vec<Option<Peer>>,
    /// Pool of its NUMA node.
    pub pool: Pool,
    /// The clock all lcores share.
    pub clock: Clock,
    /// From the master.
    pub inbox: Inbox<ToWorker>,
    /// Devices made by command, see [`Wiring`]: looked at when a message came.
    pub wiring: Inbox<Wiring>,
    /// To the master.
    pub outbox: Reports,
    /// Tells the master's messages to a napping lcore.
    pub napper: Napper,
    /// What `dpip link show cpu` lists.
    pub counters: Arc<LcoreCounters>,
    /// Gets the memory of its tables ready.
    pub ahead: mem::Ahead,
    /// Ends the loop.
    pub stop: Arc<AtomicBool>,
    /// What to do while nothing comes.
    pub idle: Idle,
    /// Who looks on.
    pub watch: Arc<Watch>,
}

/// Frames of a port's queues that leave in one go (DPVS facts §25).
const QUOTA: usize = 64;

/// Microseconds between two turns that send by bonds, be it nothing.
const BEAT_US: u64 = 10_000;

/// What the messages taken in one turn may cost, see [`ToWorker::cost`].
const MESSAGES: u32 = 16;

/// Gives received frames to their port's schedulers. Returns how many may go on
/// now, in the first slots.
#[cold]
fn schedule_in(
    worker: &mut Worker<Mbuf>,
    port: PortId,
    slots: &mut Burst<Mbuf>,
    n: usize,
    now: Now,
) -> usize {
    let mut kept = 0;
    for at in 0..n {
        if let Some(frame) = slots[at].take()
            && let Some(frame) = worker.tc_put(Side::Ingress, port, Some(port), frame)
        {
            slots[kept] = Some(frame);
            kept += 1;
        }
    }
    // Either all of them were queued or none.
    if kept > 0 {
        return kept;
    }
    worker.tc_take(Side::Ingress, port, now, slots)
}

/// Passes what is to be sent through the ports' schedulers. `iif` is where it was
/// received, if all of it was received on one port.
#[cold]
fn schedule_out(worker: &mut Worker<Mbuf>, io: &mut LcoreIo, iif: Option<PortId>, now: Now) {
    // VLAN devices first: what they let go their port's schedulers look at, too.
    for (device, frame) in std::mem::take(&mut io.spill_made) {
        if let Some(frame) = worker.tc_put(Side::Egress, device, iif, frame) {
            io.send_tagged(device, frame);
        }
    }
    let mut out = empty_burst();
    for device in (0..worker.tc_ports()).map(PortId) {
        if !io.is_made(device) {
            continue;
        }
        for _ in 0..QUOTA / BURST {
            let n = worker.tc_take(Side::Egress, device, now, &mut out);
            for frame in out.iter_mut().take(n).filter_map(Option::take) {
                io.send_tagged(device, frame);
            }
        }
    }
    let mut waiting = std::mem::take(&mut io.spill);
    for (at, (_, batch)) in (0..).zip(&mut io.tx) {
        if !batch.is_empty() {
            waiting.push((PortId(at), batch.take()));
        }
    }
    // What comes back or out goes straight to the transmitter.
    let shaped = std::mem::replace(&mut io.shaped, false);
    for (port, frames) in waiting {
        for frame in frames.into_iter().flatten() {
            if let Some(frame) = worker.tc_put(Side::Egress, port, iif, frame) {
                io.send(port, frame);
            }
        }
    }
    for port in (0..worker.tc_ports()).map(PortId) {
        if io.is_made(port) {
            continue;
        }
        for _ in 0..QUOTA / BURST {
            let n = worker.tc_take(Side::Egress, port, now, &mut out);
            for frame in out.iter_mut().take(n).filter_map(Option::take) {
                io.send(port, frame);
            }
        }
    }
    io.shaped = shaped;
}

/// Runs until told to stop. Call it on the lcore itself, so that the worker's
/// tables are in the memory of its NUMA node.
pub fn run(plan: Plan) {
    let Plan {
        rx,
        from_host,
        handed,
        clock,
        inbox,
        counters,
        stop,
        idle,
        napper,
        wiring,
        ..
    } = plan;
    napper.enter();
    if !idle.sleep_after.is_zero() {
        exact_sleeps();
    }
    let with_batch = |ring| (ring, Batch::new());
    let io = LcoreIo {
        id: plan.worker.id,
        pool: plan.pool,
        tx: plan
            .tx
            .into_iter()
            .map(|queue| (queue, Batch::new()))
            .collect(),
        host: plan.to_host.into_iter().map(with_batch).collect(),
        peers: plan.peers.into_iter().map(with_batch).collect(),
        shaped: false,
        spill: Vec::new(),
        spill_made: Vec::new(),
        made: Vec::new(),
        copied: Vec::new(),
        rings_wait: false,
        inboxes: plan.inboxes,
        outbox: plan.outbox,
        counters: Arc::clone(&counters),
        watch: plan.watch,
        sampler: Sampler::default(),
    };
    let worker = Worker::advised(plan.worker, clock.now(), &|region| {
        let _ = mem::advise_huge(region);
    });
    let regions = worker.regions();
    for region in regions {
        let _ = mem::advise_huge(region);
    }
    let growth = plan.ahead.follow(&regions);
    growth.note(&worker.filled());
    let bonds = io.tx.iter().flat_map(|(queue, _)| queue);
    let beat = if bonds.clone().any(TxQueue::of_bond) {
        0
    } else {
        u64::MAX
    };
    counters.table_bytes.add(worker.table_bytes() as u64);
    Lcore {
        growth,
        worker,
        io,
        rx,
        from_host,
        handed,
        wiring,
        beat,
        slots: empty_burst(),
        group: empty_burst(),
    }
    .forward(&clock, &inbox, &counters, &stop, idle, &napper);
}

struct Lcore {
    growth: Arc<mem::Growth>,
    worker: Worker<Mbuf>,
    io: LcoreIo,
    rx: Vec<(PortId, Source)>,
    from_host: Vec<(PortId, Receiver)>,
    handed: Receiver,
    wiring: Inbox<Wiring>,
    /// When bonds are to be sent by again, in microseconds; never without bonds.
    beat: u64,
    slots: Burst<Mbuf>,
    group: Burst<Mbuf>,
}

impl Lcore {
    fn forward(
        mut self,
        clock: &Clock,
        inbox: &Inbox<ToWorker>,
        counters: &LcoreCounters,
        stop: &AtomicBool,
        idle: Idle,
        napper: &Napper,
    ) {
        let mut backoff = Backoff::new(idle, clock.now());
        let mut began: Option<Now> = None;
        while !stop.load(Ordering::Relaxed) {
            let now = clock.now();
            if let Some(began) = began {
                counters.turn(now.0.saturating_sub(began.0));
            }
            let mut work = self.receive(now, counters);
            work += self.take_handed(now);
            work += self.take_from_host(now);
            let mut left = MESSAGES;
            while left > 0
                && let Ok(message) = inbox.try_recv()
            {
                while let Ok(wiring) = self.wiring.try_recv() {
                    self.rewire(wiring);
                }
                left = left.saturating_sub(message.cost());
                self.worker.handle(message, now, &mut self.io);
                work += 1;
            }
            if left < MESSAGES {
                self.worker.copied(&mut self.io.copied);
            }
            work += usize::from(self.worker.has_chores());
            self.worker.tick(now, &mut self.io);
            if self.worker.has_tc() || self.io.shaped {
                self.release(now);
            }
            self.io.flush();
            if now.0 >= self.beat {
                self.beat_bonds(now);
            }
            counters.loops.add(1);
            if work > 0 {
                counters.refused.set(self.worker.stats().dropped_total());
                self.growth.note(&self.worker.filled());
            }
            began = (work > 0).then_some(now);
            let rest = backoff.after(work > 0, now);
            if let Rest::Sleep(_) = rest {
                counters.sleeps.add(1);
            }
            rest.take(napper);
        }
    }

    /// Gives the bonding driver its turn, see [`TxQueue::beat`].
    #[cold]
    fn beat_bonds(&mut self, now: Now) {
        self.beat = now.0 + BEAT_US;
        for queue in self
            .io
            .tx
            .iter_mut()
            .filter_map(|(queue, _)| queue.as_mut())
        {
            if queue.of_bond() {
                queue.beat();
            }
        }
    }

    fn rewire(&mut self, wiring: Wiring) {
        let (Wiring::Add { device, .. } | Wiring::Remove(device)) = &wiring;
        self.from_host.retain(|(port, _)| port != device);
        self.from_host.extend(self.io.rewire(wiring));
    }

    #[inline]
    fn receive(&mut self, now: Now, counters: &LcoreCounters) -> usize {
        let mut total = 0;
        for (port, queue) in &mut self.rx {
            let n = queue.burst(&mut self.slots);
            counters.received(n, BURST);
            if n == 0 {
                continue;
            }
            let bytes: usize = self.slots.iter().flatten().map(Frame::total_len).sum();
            counters.ipackets.add(n as u64);
            counters.ibytes.add(bytes as u64);
            if self.io.watch.is_on() {
                let frames = self.slots.iter().flatten();
                self.io
                    .watch
                    .look(self.io.id.0, *port, false, frames, &mut self.io.sampler);
            }
            let let_in = if self.io.shaped {
                schedule_in(&mut self.worker, *port, &mut self.slots, n, now)
            } else {
                n
            };
            self.worker
                .process(*port, &mut self.slots, let_in, now, &mut self.io);
            if self.io.shaped {
                schedule_out(&mut self.worker, &mut self.io, Some(*port), now);
            }
            self.io.flush();
            total += n;
        }
        total
    }

    /// Frames that waited in a receiver's queues, and those that are to leave.
    /// Also takes note of whether there are queue schedulers at all.
    #[cold]
    fn release(&mut self, now: Now) {
        self.io.shaped = self.worker.has_tc();
        for port in (0..self.worker.tc_ports()).map(PortId) {
            let n = self
                .worker
                .tc_take(Side::Ingress, port, now, &mut self.group);
            if n > 0 {
                self.worker
                    .process(port, &mut self.group, n, now, &mut self.io);
                schedule_out(&mut self.worker, &mut self.io, Some(port), now);
            }
        }
        schedule_out(&mut self.worker, &mut self.io, None, now);
    }

    /// Frames other workers received; their port is in their mark.
    fn take_handed(&mut self, now: Now) -> usize {
        let total = self.handed.burst(&mut self.slots);
        let mut left = total;
        while left > 0 {
            let Some(mark) = self.slots.iter().flatten().map(Mbuf::mark).next() else {
                break;
            };
            let mut n = 0;
            for slot in &mut self.slots {
                if slot.as_ref().is_some_and(|frame| frame.mark() == mark) {
                    self.group[n] = slot.take();
                    n += 1;
                }
            }
            left -= n;
            if mark & KERNELS != 0 {
                let port = PortId(mark & !KERNELS);
                for frame in self.group[..n].iter_mut().filter_map(Option::take) {
                    let io = &mut self.io;
                    self.worker.from_kernel_handed(port, frame, now, io);
                }
                continue;
            }
            self.worker
                .process_handed(PortId(mark), &mut self.group, n, now, &mut self.io);
        }
        total
    }

    /// Frames of the kernel: out of the port as they are, but for those of a server
    /// that it is.
    fn take_from_host(&mut self, now: Now) -> usize {
        let mut total = 0;
        for (port, ring) in &mut self.from_host {
            let n = ring.burst(&mut self.slots);
            total += n;
            let mut kept = 0;
            for at in 0..n {
                let Some(frame) = self.slots[at].take() else {
                    continue;
                };
                self.slots[kept] = self.worker.from_kernel(*port, frame, now, &mut self.io);
                kept += usize::from(self.slots[kept].is_some());
            }
            if kept > 0 && !self.io.copied.is_empty() {
                // DIFFERS: what it sends itself the kernel knows already.
                self.io.flush();
                let copied = std::mem::take(&mut self.io.copied);
                for frame in self.slots[..kept].iter_mut().filter_map(Option::take) {
                    self.io.send(*port, frame);
                }
                self.io.flush();
                self.io.copied = copied;
            }
            for frame in self.slots[..kept].iter_mut().filter_map(Option::take) {
                self.io.send(*port, frame);
            }
        }
        total
    }
}
