//! The fast path on a bench: a worker, what it sent, and what it answers.

use std::collections::{BTreeMap, VecDeque};

use dpvs_core::frame::{Frame, HeapFrame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::message::{ConnInfo, ConnTuple, FromWorker, NeighInfo, Query, Reply, ToWorker};
use dpvs_core::worker::{Worker, WorkerConf};

use crate::reference::{Other, To};

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

/// A worker under test.
pub struct Fast {
    pub worker: Worker<HeapFrame>,
    pub io: Sink,
    pub now: Now,
}

impl Fast {
    pub fn new(me: u8, workers: u8, conns: usize, seed: u64, now: Now) -> Self {
        let conf = WorkerConf {
            id: WorkerId(me),
            workers,
            conns,
            seed: [seed, seed ^ 2, 3, 4],
        };
        Self {
            worker: Worker::new(conf, now),
            io: Sink::default(),
            now,
        }
    }

    pub fn burst(&mut self, port: u16, frames: &[Vec<u8>]) {
        let mut burst = empty_burst();
        for (slot, bytes) in burst.iter_mut().zip(frames) {
            *slot = Some(HeapFrame::new(bytes));
        }
        let n = frames.len();
        self.worker
            .process(PortId(port), &mut burst, n, self.now, &mut self.io);
        assert!(burst.iter().all(Option::is_none), "a burst is taken whole");
    }

    pub fn handle(&mut self, message: ToWorker) {
        self.worker.handle(message, self.now, &mut self.io);
    }

    pub fn tick(&mut self) {
        self.worker.tick(self.now, &mut self.io);
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
            Reply::ConnFind(found) => found,
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
