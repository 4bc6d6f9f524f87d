//! The director of a packet script: its model and its workers.
//!
//! Does what the master does: keeps the model the lines describe (read in `conf`),
//! publishes it as snapshots (parts that did not change stay the same object),
//! names removed servers, tells the other workers of a neighbour one has learned.
//! Hands a frame over to a worker only when the script says so.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::{Frame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::inet::route::Route;
use dpvs_core::ipset::IpSet;
use dpvs_core::message::{FromWorker, PeerMessage, Query, Reply, ToWorker};
use dpvs_core::service::{DestId, Service};
use dpvs_core::snapshot::{Port, Snapshot};
use dpvs_core::stats::Reason;
use dpvs_core::worker::{Worker, WorkerConf};

use super::books::{Books, Tracked};
use super::packet::mac;
use super::tc::Scheds;
use super::vars::Vars;

/// What a worker gave away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Out(u16),
    Host(u16),
    Hand(u8, u16),
}

/// Set in a port handed over: the frame is the kernel's.
const KERNELS: u16 = 1 << 15;

/// What was done to a director, for doing it again (by the fuzz target `modes`).
#[allow(dead_code)]
#[derive(Clone, Debug)]
pub enum Step {
    /// A line of configuration.
    Line(String),
    /// A burst into a worker by a port.
    In(u8, u16, Vec<Vec<u8>>),
    /// A frame of the kernel's for a worker, by a port.
    Kernel(u8, u16, Vec<u8>),
    /// Microseconds.
    Wait(u64),
}

/// All of a frame.
pub(super) fn whole(frame: &Tracked) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_len()];
    frame.read(0, &mut bytes);
    bytes
}

/// What comes out of one worker.
#[derive(Default)]
pub struct Sink {
    pub out: VecDeque<(Way, Vec<u8>)>,
    pub events: Vec<FromWorker>,
    pub told: VecDeque<(WorkerId, PeerMessage)>,
    /// Workers do not hear each other.
    pub deaf: bool,
    pub empty: bool,
    /// Sequence numbers of tunnels: next to send, next expected.
    seqs: HashMap<u16, (u32, u32)>,
    /// What went in and out of each worker.
    pub books: Books,
}

impl Io for Sink {
    type Frame = Tracked;
    fn alloc(&mut self) -> Option<Tracked> {
        (!self.empty).then(|| self.books.frame(&[]))
    }
    fn next_seq(&mut self, tunnel: PortId) -> u32 {
        let seqs = self.seqs.entry(tunnel.0).or_default();
        seqs.0 += 1;
        seqs.0 - 1
    }
    fn in_order(&mut self, tunnel: PortId, seq: u32) -> bool {
        let seqs = self.seqs.entry(tunnel.0).or_default();
        let good = seq >= seqs.1;
        if good {
            seqs.1 = seq + 1;
        }
        good
    }
    fn send(&mut self, port: PortId, frame: Tracked) {
        self.books.now().sent += 1;
        self.out.push_back((Way::Out(port.0), whole(&frame)));
    }
    fn to_host(&mut self, port: PortId, frame: Tracked) {
        self.books.now().host += 1;
        self.out.push_back((Way::Host(port.0), whole(&frame)));
    }
    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: Tracked) {
        self.books.now().handed += 1;
        self.out
            .push_back((Way::Hand(worker.0, port.0), whole(&frame)));
    }
    fn hand_over_kernels(&mut self, worker: WorkerId, port: PortId, frame: Tracked) {
        self.hand_over(worker, PortId(port.0 | KERNELS), frame);
    }
    fn tell(&mut self, worker: WorkerId, word: PeerMessage) -> bool {
        if !self.deaf {
            self.told.push_back((worker, word));
        }
        true
    }
    fn report(&mut self, event: FromWorker) {
        self.events.push(event);
    }
}

/// The director.
pub struct Lab {
    pub workers: Vec<Worker<Tracked>>,
    pub sink: Sink,
    pub now: Now,
    /// Servers that were reported unused, in order.
    pub drained: Vec<String>,
    /// The same by number, one entry for each worker.
    pub left: Vec<DestId>,
    /// Services that got the SYN proxy (or no longer have it), in order.
    pub floods: Vec<bool>,
    /// What the passive check was told: up or down.
    pub reported: Vec<(DestId, bool)>,
    /// Own addresses that somebody else was heard to have, in order.
    pub duplicates: Vec<IpAddr>,
    /// What is done is written down here.
    pub log: Option<Vec<Step>>,
    pub(super) conns: usize,
    pub(super) count: u8,
    pub snap: Snapshot,
    pub(super) sets: Vec<(String, IpSet)>,
    pub(super) limits: u64,
    pub(super) scheds: Scheds,
    pub(super) routes: Vec<Route>,
    pub(super) services: Vec<Service>,
    pub(super) names: HashMap<DestId, String>,
    pub(super) removed: Vec<DestId>,
    pub(super) ids: (u32, u32, u64),
    pub(super) dirty: bool,
}

impl Lab {
    /// Two ports: 0 outside (192.0.2.1/24, 2001:db8:1::1/64, VIPs .10 and ::10),
    /// 1 inside (10.0.1.1/24, 2001:db8:2::1/64, local addresses .200 and ::200).
    pub fn new() -> Self {
        let port = |name: &str| Port {
            name: name.into(),
            mac: mac(name).unwrap_or_default(),
            mtu: 1500,
            has_host: true,
            ..Port::default()
        };
        let mut lab = Self {
            workers: Vec::new(),
            sink: Sink::default(),
            now: Now(1_000_000),
            drained: Vec::new(),
            left: Vec::new(),
            floods: Vec::new(),
            reported: Vec::new(),
            duplicates: Vec::new(),
            log: None,
            conns: 10_000,
            count: 1,
            snap: Snapshot {
                ports: vec![port("dpdk0"), port("dpdk1")].into(),
                ..Snapshot::default()
            },
            sets: Vec::new(),
            limits: 0,
            scheds: Scheds::default(),
            routes: Vec::new(),
            services: Vec::new(),
            names: HashMap::new(),
            removed: Vec::new(),
            ids: (0, 0, 0),
            dirty: true,
        };
        for line in [
            "addr 0 192.0.2.1/24",
            "addr 0 192.0.2.10/32",
            "addr 0 2001:db8:1::1/64",
            "addr 0 2001:db8:1::10/128",
            "addr 1 10.0.1.1/24",
            "addr 1 10.0.1.200/32 sapool",
            "addr 1 2001:db8:2::1/64",
            "addr 1 2001:db8:2::200/128 sapool",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(lab.config(&words, &Vars::default()), Ok(true), "{line}");
        }
        lab
    }

    /// Makes the workers if that has not happened, and publishes what changed.
    pub fn publish(&mut self) {
        if self.workers.is_empty() {
            for id in 0..self.count {
                let conf = WorkerConf {
                    id: WorkerId(id),
                    workers: self.count,
                    conns: self.conns,
                    seed: [11, 22, 33, 44],
                };
                self.workers.push(Worker::new(conf, self.now));
            }
        }
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let first = self.snap.epoch == 0;
        self.snap.epoch += 1;
        let snapshot = Arc::new(self.snap.clone());
        let removed = std::mem::take(&mut self.removed);
        for worker in &mut self.workers {
            let message = ToWorker::Install {
                snapshot: snapshot.clone(),
                removed: removed.clone(),
            };
            self.sink.books.open(worker.id());
            worker.handle(message, self.now, &mut self.sink);
        }
        self.events();
        if first {
            // The servers of the lab are known from the start.
            for host in 11..=19 {
                for addr in [format!("10.0.1.{host}"), format!("2001:db8:2::{host}")] {
                    if let (Ok(addr), Ok(mac)) = (addr.parse(), mac("rs")) {
                        self.tell(|| ToWorker::NeighAdd {
                            port: PortId(1),
                            addr,
                            mac,
                        });
                    }
                }
            }
        }
    }

    /// What is published is not what was.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Sends a message to every worker.
    pub fn tell(&mut self, message: impl Fn() -> ToWorker) {
        for worker in &mut self.workers {
            self.sink.books.open(worker.id());
            worker.handle(message(), self.now, &mut self.sink);
        }
        self.events();
    }

    /// Carries what the workers said, to each other and to the master.
    pub fn events(&mut self) {
        while let Some((to, word)) = self.sink.told.pop_front() {
            if let Some(worker) = self.workers.get_mut(usize::from(to.0)) {
                self.sink.books.open(to);
                worker.handle(ToWorker::Peer(word), self.now, &mut self.sink);
            }
        }
        for event in std::mem::take(&mut self.sink.events) {
            match event {
                FromWorker::DestDrained { dest, .. } => {
                    self.left.push(dest);
                    if self.left.iter().filter(|d| **d == dest).count() == self.workers.len() {
                        self.snap.services.drained(dest);
                    }
                    let name = self.names.get(&dest);
                    self.drained
                        .push(name.map_or("unknown".into(), String::clone));
                }
                FromWorker::NeighLearned {
                    worker,
                    port,
                    addr,
                    mac,
                } => {
                    for other in self.workers.iter_mut().filter(|w| w.id() != worker) {
                        let message = ToWorker::NeighLearn { port, addr, mac };
                        self.sink.books.open(other.id());
                        other.handle(message, self.now, &mut self.sink);
                    }
                }
                FromWorker::SynFlood { rate, .. } => self.floods.push(rate.is_some()),
                FromWorker::DestDown { dest, .. } => self.reported.push((dest, false)),
                FromWorker::DestUp { dest, .. } => self.reported.push((dest, true)),
                FromWorker::Duplicate { addr, .. } => self.duplicates.push(addr),
                FromWorker::Lldp { .. }
                | FromWorker::Installed { .. }
                | FromWorker::Spent { .. }
                | FromWorker::Reply { .. } => {}
            }
        }
    }

    /// One burst into a worker.
    pub fn input(&mut self, worker: u8, port: u16, frames: &[Vec<u8>]) -> Result<(), String> {
        if let Some(log) = &mut self.log {
            log.push(Step::In(worker, port, frames.to_vec()));
        }
        let at = usize::from(worker);
        self.workers.get(at).ok_or("no such worker")?;
        let mut burst = empty_burst();
        self.sink.books.open(self.workers[at].id());
        self.sink.books.now().received += frames.len() as u64;
        for (slot, bytes) in burst.iter_mut().zip(frames) {
            *slot = Some(self.sink.books.frame(bytes));
        }
        let (port, mut n, now) = (PortId(port), frames.len(), self.now);
        let since = self.sink.out.len();
        if self.workers[at].has_tc() {
            n = self.schedule_in(at, port, &mut burst, n);
        }
        self.workers[at].process(port, &mut burst, n, now, &mut self.sink);
        assert!(burst.iter().all(Option::is_none), "a burst is taken whole");
        self.schedule_out(at, Some(port), since);
        self.events();
        Ok(())
    }

    /// A frame that the kernel sends on a port: what nobody wants leaves by it.
    pub fn kernel(&mut self, worker: u8, port: u16, frame: &[u8]) -> Result<(), String> {
        if let Some(log) = &mut self.log {
            log.push(Step::Kernel(worker, port, frame.to_vec()));
        }
        let at = usize::from(worker);
        let worker = self.workers.get_mut(at).ok_or("no such worker")?;
        self.sink.books.open(worker.id());
        let frame = self.sink.books.frame(frame);
        let since = self.sink.out.len();
        let left = worker.from_kernel(PortId(port), frame, self.now, &mut self.sink);
        self.sink.books.now().received += u64::from(left.is_none());
        self.schedule_out(at, None, since);
        // Past the schedulers of its port: it is in nobody's books.
        let left = left.map(|frame| (Way::Out(port), whole(&frame)));
        self.sink.out.extend(left);
        self.events();
        Ok(())
    }

    /// A frame that was handed over reaches its worker.
    pub fn handed(&mut self, worker: u8, port: u16, frame: &[u8]) -> Result<(), String> {
        let at = usize::from(worker);
        let worker = self.workers.get_mut(at).ok_or("no such worker")?;
        let mut burst = empty_burst();
        self.sink.books.open(worker.id());
        self.sink.books.now().taken += 1;
        burst[0] = Some(self.sink.books.frame(frame));
        let since = self.sink.out.len();
        if port & KERNELS != 0 {
            let port = PortId(port & !KERNELS);
            if let Some(frame) = burst[0].take() {
                worker.from_kernel_handed(port, frame, self.now, &mut self.sink);
            }
        } else {
            worker.process_handed(PortId(port), &mut burst, 1, self.now, &mut self.sink);
        }
        self.schedule_out(at, None, since);
        self.events();
        Ok(())
    }

    /// All frames that were handed over reach their workers, in order.
    pub fn gather(&mut self) -> Result<(), String> {
        for _ in 0..1000 {
            let out = &mut self.sink.out;
            let hand = |way: &Way| matches!(way, Way::Hand(..));
            let Some(at) = out.iter().position(|(way, _)| hand(way)) else {
                return Ok(());
            };
            if let Some((Way::Hand(worker, port), bytes)) = out.remove(at) {
                self.handed(worker, port, &bytes)?;
            }
        }
        Err("handed over without end".into())
    }

    /// Lets time pass, in the steps of a busy loop.
    pub fn pass(&mut self, micros: u64) {
        if let Some(log) = &mut self.log {
            log.push(Step::Wait(micros));
        }
        let end = self.now.0 + micros;
        while self.now.0 < end {
            self.now.0 = (self.now.0 + 20_000).min(end);
            for at in 0..self.workers.len() {
                self.sink.books.open(self.workers[at].id());
                let since = self.sink.out.len();
                self.workers[at].tick(self.now, &mut self.sink);
                self.release(at, since);
            }
            self.events();
        }
    }

    /// Asks every worker.
    pub fn query(&mut self, query: &Query) -> Vec<Reply> {
        let mut replies = Vec::new();
        for worker in &mut self.workers {
            let message = ToWorker::Query {
                token: 1,
                query: query.clone(),
            };
            worker.handle(message, self.now, &mut self.sink);
            for event in self.sink.events.drain(..) {
                if let FromWorker::Reply { reply, .. } = event {
                    replies.push(reply);
                }
            }
        }
        replies
    }

    /// Whether every frame of every worker is accounted for.
    pub fn balanced(&self) -> Result<(), String> {
        self.workers
            .iter()
            .try_for_each(|w| self.sink.books.balance(w.id(), w.stats()))
    }

    /// The services of the configuration.
    #[allow(dead_code)]
    pub fn services(&self) -> Vec<Service> {
        self.services.clone()
    }

    /// How many sets there are.
    #[allow(dead_code)]
    pub fn sets_len(&self) -> usize {
        self.sets.len()
    }

    pub fn drops(&self, reason: Reason) -> u64 {
        self.workers.iter().map(|w| w.stats().dropped(reason)).sum()
    }

    /// MAC address of a port.
    pub fn mac(&self, port: u16) -> Result<[u8; 6], String> {
        let port = self.snap.ports.get(usize::from(port));
        port.map(|p| p.mac).ok_or_else(|| "no such port".into())
    }

    /// Numbers of all servers with that name, also removed ones.
    pub fn dests(&self, name: &str) -> Vec<DestId> {
        let mut ids: Vec<_> = self.names.iter().filter(|(_, n)| *n == name).collect();
        ids.sort();
        ids.into_iter().map(|(id, _)| *id).collect()
    }
}
