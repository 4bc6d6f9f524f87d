//! The fast path on a bench: a worker, what it sent, and what it answers.

use std::collections::{BTreeMap, VecDeque};

use dpvs_core::frame::{Frame, HeapFrame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::message::{ConnInfo, ConnTuple, FromWorker, NeighInfo, Query, Reply, ToWorker};
use dpvs_core::worker::{Worker, WorkerConf};

use crate::chain::Chain;
use crate::reference::{Other, To, hex};
use crate::rng::Rng;

/// Collects frames by where they go, in order.
#[derive(Default)]
pub struct Sink {
    pub sent: BTreeMap<To, VecDeque<Vec<u8>>>,
    pub events: Vec<FromWorker>,
    pub no_buffers: bool,
}

impl Sink {
    fn put(&mut self, to: To, frame: &HeapFrame) {
        let bytes = frame.data().to_vec();
        self.sent.entry(to).or_default().push_back(bytes);
    }
}

impl Io for Sink {
    type Frame = HeapFrame;
    fn alloc(&mut self) -> Option<HeapFrame> {
        (!self.no_buffers).then(|| HeapFrame::new(&[]))
    }
    fn send(&mut self, port: PortId, frame: HeapFrame) {
        self.put(To::Wire(port.0), &frame);
    }
    fn to_host(&mut self, port: PortId, frame: HeapFrame) {
        self.put(To::Kernel(port.0), &frame);
    }
    fn hand_over(&mut self, worker: WorkerId, _port: PortId, frame: HeapFrame) {
        self.put(To::Worker(worker.0), &frame);
    }
    fn report(&mut self, event: FromWorker) {
        self.events.push(event);
    }
}

fn conf(me: u8, workers: u8, conns: usize, seed: u64) -> WorkerConf {
    WorkerConf {
        id: WorkerId(me),
        workers,
        conns,
        seed: [seed, seed ^ 2, 3, 4],
    }
}

/// A worker under test.
pub struct Fast {
    pub worker: Worker<HeapFrame>,
    pub io: Sink,
    pub now: Now,
    /// One that gets everything in frames of several segments.
    twin: Option<Twin>,
}

/// A worker whose frames are in pieces; must send the same.
struct Twin {
    worker: Worker<Chain>,
    io: ChainSink,
    rng: Rng,
}

#[derive(Default)]
struct ChainSink {
    sent: BTreeMap<To, Vec<Vec<u8>>>,
    no_buffers: bool,
}

impl ChainSink {
    fn put(&mut self, to: To, frame: &Chain) {
        self.sent.entry(to).or_default().push(frame.bytes());
    }
}

impl Io for ChainSink {
    type Frame = Chain;
    fn alloc(&mut self) -> Option<Chain> {
        (!self.no_buffers).then(|| Chain::new(&[], &[]))
    }
    fn send(&mut self, port: PortId, frame: Chain) {
        self.put(To::Wire(port.0), &frame);
    }
    fn to_host(&mut self, port: PortId, frame: Chain) {
        self.put(To::Kernel(port.0), &frame);
    }
    fn hand_over(&mut self, worker: WorkerId, _port: PortId, frame: Chain) {
        self.put(To::Worker(worker.0), &frame);
    }
    fn report(&mut self, _event: FromWorker) {}
}

impl Twin {
    /// Cuts a frame at random; half of the time within its headers.
    fn cut(&mut self, bytes: &[u8]) -> Chain {
        let n = self.rng.below(4);
        let cuts: Vec<_> = (0..n)
            .map(|_| match self.rng.below(4) {
                0 | 1 => self.rng.below(80),
                2 => 0,
                _ => self.rng.below(1500),
            })
            .collect();
        Chain::new(bytes, &cuts)
    }

    fn same(&mut self, before: &BTreeMap<To, usize>, io: &Sink) {
        for (to, queue) in &io.sent {
            let from = before.get(to).copied().unwrap_or(0);
            let new: Vec<_> = queue.iter().skip(from).cloned().collect();
            let twin = self.io.sent.remove(to).unwrap_or_default();
            let text = |all: &[Vec<u8>]| all.iter().map(|f| hex(f)).collect::<Vec<_>>();
            assert_eq!(text(&twin), text(&new), "segments, to {to:?}");
        }
        let more: Vec<_> = self.io.sent.iter().filter(|(_, q)| !q.is_empty()).collect();
        assert!(more.is_empty(), "segments: only the twin sent {more:?}");
    }
}

fn copy(message: &ToWorker) -> ToWorker {
    use ToWorker as T;
    match message {
        T::Install { snapshot, removed } => T::Install {
            snapshot: snapshot.clone(),
            removed: removed.clone(),
        },
        T::Query { token, query } => T::Query {
            token: *token,
            query: query.clone(),
        },
        &T::List {
            token,
            what,
            cursor,
            pieces,
        } => T::List {
            token,
            what,
            cursor,
            pieces,
        },
        T::Peer(word) => T::Peer(*word),
        T::NeighAdd { port, addr, mac } => T::NeighAdd {
            port: *port,
            addr: *addr,
            mac: *mac,
        },
        T::NeighDel { port, addr } => T::NeighDel {
            port: *port,
            addr: *addr,
        },
        T::NeighLearn { port, addr, mac } => T::NeighLearn {
            port: *port,
            addr: *addr,
            mac: *mac,
        },
        T::Announce { port, addr } => T::Announce {
            port: *port,
            addr: *addr,
        },
        T::Send { port, frame } => T::Send {
            port: *port,
            frame: frame.clone(),
        },
        T::Zero { dests } => T::Zero {
            dests: dests.clone(),
        },
    }
}

impl Fast {
    pub fn new(me: u8, workers: u8, conns: usize, seed: u64, now: Now) -> Self {
        let conf = conf(me, workers, conns, seed);
        Self {
            worker: Worker::new(conf, now),
            io: Sink::default(),
            now,
            twin: None,
        }
    }

    /// From now on, beside a worker whose frames are in pieces.
    pub fn with_twin(&mut self, me: u8, workers: u8, conns: usize, seed: u64) {
        let conf = conf(me, workers, conns, seed);
        self.twin = Some(Twin {
            worker: Worker::new(conf, self.now),
            io: ChainSink::default(),
            rng: Rng(seed),
        });
    }

    /// Runs the same on both, and compares what was sent.
    fn both(
        &mut self,
        one: impl FnOnce(&mut Worker<HeapFrame>, &mut Sink),
        twin: impl FnOnce(&mut Twin),
    ) {
        let lens = |io: &Sink| io.sent.iter().map(|(to, q)| (*to, q.len())).collect();
        let before = lens(&self.io);
        one(&mut self.worker, &mut self.io);
        if let Some(t) = &mut self.twin {
            t.io.no_buffers = self.io.no_buffers;
            twin(t);
            t.same(&before, &self.io);
            let (a, b) = (self.worker.stats(), t.worker.stats());
            assert_eq!(a.drops, b.drops, "segments: drops");
        }
    }

    pub fn burst(&mut self, port: u16, frames: &[Vec<u8>]) {
        let mut burst = empty_burst();
        for (slot, bytes) in burst.iter_mut().zip(frames) {
            *slot = Some(HeapFrame::new(bytes));
        }
        let (n, now, port) = (frames.len(), self.now, PortId(port));
        self.both(
            |worker, io| worker.process(port, &mut burst, n, now, io),
            |twin| {
                let mut cut = empty_burst();
                for (slot, bytes) in cut.iter_mut().zip(frames) {
                    *slot = Some(twin.cut(bytes));
                }
                twin.worker.process(port, &mut cut, n, now, &mut twin.io);
            },
        );
        assert!(burst.iter().all(Option::is_none), "a burst is taken whole");
    }

    pub fn handle(&mut self, message: ToWorker) {
        let (now, again) = (self.now, copy(&message));
        self.both(
            |worker, io| worker.handle(message, now, io),
            |twin| twin.worker.handle(again, now, &mut twin.io),
        );
    }

    pub fn tick(&mut self) {
        let now = self.now;
        self.both(
            |worker, io| worker.tick(now, io),
            |twin| twin.worker.tick(now, &mut twin.io),
        );
    }

    pub fn query(&mut self, query: Query) -> Reply {
        let before = self.io.events.len();
        self.handle(ToWorker::Query { token: 7, query });
        match self.io.events.remove(before) {
            FromWorker::Reply { reply, .. } => reply,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    pub fn all_conns(&mut self) -> Vec<ConnInfo> {
        let (mut all, mut at) = (Vec::new(), Some(0));
        while let Some(cursor) = at {
            let Reply::Conns { conns, next } = self.query(Query::Conns { cursor, max: 500 }) else {
                panic!("no listing");
            };
            all.extend(conns);
            at = next;
        }
        all
    }
}

impl Other for Fast {
    fn conn(&mut self, tuple: &ConnTuple) -> Option<ConnInfo> {
        match self.query(Query::ConnFind(*tuple)) {
            Reply::ConnFind(found) => found.map(|c| *c),
            other => panic!("{other:?}"),
        }
    }
    fn neighbours(&mut self) -> Vec<NeighInfo> {
        match self.query(Query::Neighbours) {
            Reply::Neighbours(all) => all,
            other => panic!("{other:?}"),
        }
    }
    fn next(&mut self, to: To) -> Option<Vec<u8>> {
        self.io.sent.get_mut(&to)?.pop_front()
    }
    fn peek(&mut self, to: To) -> Option<&[u8]> {
        self.io.sent.get(&to)?.front().map(|f| &f[..])
    }
    fn find(&mut self, to: To, is: &mut dyn FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let queue = self.io.sent.get_mut(&to)?;
        let at = queue.iter().position(|f| is(f))?;
        queue.remove(at)
    }
    fn events(&mut self) -> Vec<FromWorker> {
        std::mem::take(&mut self.io.events)
    }
}
