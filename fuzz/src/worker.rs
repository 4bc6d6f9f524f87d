//! Two workers under arbitrary frames, messages and time: no panic, and the
//! books balance. Every frame ends in one place; every frame that vanishes has
//! a reason; counters agree with what was seen; connections, server counters
//! and port pools agree; what is sent has right checksums if what came had;
//! and in the end all connections, ports and queues are gone.

pub(crate) mod frames;
pub(crate) mod messages;

#[allow(unused_imports, clippy::all)]
#[rustfmt::skip]
#[path = "../../dpvs/core/tests/support/mod.rs"]
pub(crate) mod support;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use dpvs_core::frame::{Frame, HeapFrame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::message::{FromWorker, Query, Reply, ToWorker};
use dpvs_core::service::DestId;
use dpvs_core::stats::WorkerStats;
use dpvs_core::worker::{Worker, WorkerConf};

use crate::Target;
use crate::input::Input;
use messages::Plan;

/// The target.
pub const TARGET: Target = Target {
    name: "worker",
    run,
    seeds,
    words: &[
        "\u{8}\0", "E\0\0", "\u{45}", "`\0\0\0", "\u{11}", "\u{6}", "\u{3a}",
    ],
};

/// Steps of one input.
const STEPS: usize = 96;

/// What became of the frames of one worker.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) made: Cell<u64>,
    pub(crate) freed_received: Cell<u64>,
    pub(crate) freed_made: Cell<u64>,
    pub(crate) taken: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// A frame that is missed when it is dropped.
pub(crate) struct Counted {
    head: HeapFrame,
    /// Bytes in further segments.
    tail: usize,
    received: bool,
    taken: bool,
    tally: Rc<Tally>,
}

impl Counted {
    pub(crate) fn received(bytes: &[u8], split: bool, tally: &Rc<Tally>) -> Self {
        // A first segment always has room for far more than the headers.
        let head = if split {
            bytes.len().min(256)
        } else {
            bytes.len()
        };
        Self {
            head: HeapFrame::new(&bytes[..head]),
            tail: bytes.len() - head,
            received: true,
            taken: false,
            tally: Rc::clone(tally),
        }
    }

    fn take(mut self) -> (HeapFrame, usize) {
        self.taken = true;
        count(&self.tally.taken);
        (self.head.clone(), self.tail)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.taken {
            count(if self.received {
                &self.tally.freed_received
            } else {
                &self.tally.freed_made
            });
        }
    }
}

impl Frame for Counted {
    fn data(&self) -> &[u8] {
        self.head.data()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        self.head.data_mut()
    }
    fn total_len(&self) -> usize {
        self.head.total_len() + self.tail
    }
    fn push_front(&mut self, n: usize) -> bool {
        self.head.push_front(n)
    }
    fn pull_front(&mut self, n: usize) -> bool {
        self.head.pull_front(n)
    }
    fn push_back(&mut self, n: usize) -> bool {
        if self.tail == 0 {
            return self.head.push_back(n);
        }
        self.tail += n;
        true
    }
    fn truncate(&mut self, len: usize) {
        let head = self.head.total_len();
        self.tail = self.tail.min(len.saturating_sub(head));
        self.head.truncate(len);
    }
}

/// The outside of one worker.
pub(crate) struct Out {
    me: WorkerId,
    pub(crate) tally: Rc<Tally>,
    pub(crate) sent: Vec<(PortId, Vec<u8>, bool)>,
    to_host: u64,
    pub(crate) handed: VecDeque<(WorkerId, PortId, Vec<u8>)>,
    pub(crate) events: Vec<FromWorker>,
    pub(crate) empty: bool,
}

impl Out {
    pub(crate) fn new(me: WorkerId) -> Self {
        Self {
            me,
            tally: Rc::default(),
            sent: Vec::new(),
            to_host: 0,
            handed: VecDeque::new(),
            events: Vec::new(),
            empty: false,
        }
    }
}

impl Io for Out {
    type Frame = Counted;
    fn alloc(&mut self) -> Option<Counted> {
        (!self.empty).then(|| {
            count(&self.tally.made);
            Counted {
                head: HeapFrame::new(&[]),
                tail: 0,
                received: false,
                taken: false,
                tally: Rc::clone(&self.tally),
            }
        })
    }
    fn send(&mut self, port: PortId, frame: Counted) {
        let (head, tail) = frame.take();
        self.sent.push((port, head.data().to_vec(), tail == 0));
    }
    fn to_host(&mut self, _: PortId, frame: Counted) {
        frame.take();
        self.to_host += 1;
    }
    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: Counted) {
        assert!(worker != self.me && worker.0 < 2, "handed to {worker:?}");
        let (head, _) = frame.take();
        self.handed.push_back((worker, port, head.data().to_vec()));
    }
    fn report(&mut self, event: FromWorker) {
        self.events.push(event);
    }
}

struct Side {
    worker: Worker<Counted>,
    out: Out,
    received: u64,
    handed: u64,
}

struct Lab {
    sides: Vec<Side>,
    now: Now,
    plan: Plan,
    /// All received frames had right checksums.
    sound: bool,
    longest: usize,
    /// Frames sent, to be answered.
    seen: VecDeque<Vec<u8>>,
}

impl Lab {
    fn new(sound: bool) -> Self {
        let now = Now(1_000_000);
        let side = |n: u8| {
            let conf = WorkerConf {
                id: WorkerId(n),
                workers: 2,
                conns: 64,
                seed: [11, 22, 33, 44],
            };
            Side {
                worker: Worker::new(conf, now),
                out: Out::new(WorkerId(n)),
                received: 0,
                handed: 0,
            }
        };
        let mut lab = Self {
            sides: vec![side(0), side(1)],
            now,
            plan: Plan::new(),
            sound,
            longest: 1514,
            seen: VecDeque::new(),
        };
        lab.install();
        lab
    }

    /// The servers and a client are known.
    fn meet(&mut self) {
        for side in &mut self.sides {
            for message in messages::known() {
                side.worker.handle(message, self.now, &mut side.out);
            }
            side.out.events.clear();
        }
    }

    fn install(&mut self) {
        let (snapshot, removed) = self.plan.publish();
        for side in &mut self.sides {
            let message = ToWorker::Install {
                snapshot: snapshot.clone(),
                removed: removed.clone(),
            };
            side.worker.handle(message, self.now, &mut side.out);
        }
    }

    fn handle(&mut self, n: usize, message: ToWorker) {
        let side = &mut self.sides[n];
        side.worker.handle(message, self.now, &mut side.out);
        self.after();
    }

    fn query(&mut self, n: usize, query: Query) -> Reply {
        let side = &mut self.sides[n];
        let message = ToWorker::Query { token: 9, query };
        side.worker.handle(message, self.now, &mut side.out);
        match side.out.events.pop() {
            Some(FromWorker::Reply {
                token: 9, reply, ..
            }) => reply,
            other => panic!("no reply but {other:?}"),
        }
    }

    fn burst(&mut self, n: usize, port: PortId, frames: &[(Vec<u8>, bool)]) {
        let side = &mut self.sides[n];
        let mut burst = empty_burst();
        for (slot, (bytes, split)) in burst.iter_mut().zip(frames) {
            *slot = Some(Counted::received(bytes, *split, &side.out.tally));
            side.received += 1;
        }
        let worker = &mut side.worker;
        worker.process(port, &mut burst, frames.len(), self.now, &mut side.out);
        assert!(burst.iter().all(Option::is_none), "a burst is taken whole");
        self.after();
    }

    fn pass(&mut self, micros: u64, ticks: usize) {
        self.now.0 += micros;
        for _ in 0..ticks {
            for side in &mut self.sides {
                side.worker.tick(self.now, &mut side.out);
            }
        }
        self.after();
    }

    /// Carries what the workers said to each other, and looks at what they sent.
    fn after(&mut self) {
        for n in 0..2 {
            for event in std::mem::take(&mut self.sides[n].out.events) {
                match event {
                    FromWorker::NeighLearned {
                        port, addr, mac, ..
                    } => {
                        let other = &mut self.sides[1 - n];
                        let message = ToWorker::NeighLearn { port, addr, mac };
                        other.worker.handle(message, self.now, &mut other.out);
                    }
                    FromWorker::DestDrained { dest, .. } => self.plan.drained(n, dest),
                    _ => {}
                }
            }
            while let Some((to, port, bytes)) = self.sides[n].out.handed.pop_front() {
                self.sides[n].handed += 1;
                let other = &mut self.sides[usize::from(to.0)];
                let before = other.out.handed.len();
                let mut burst = empty_burst();
                burst[0] = Some(Counted::received(&bytes, false, &other.out.tally));
                other.received += 1;
                other
                    .worker
                    .process_handed(port, &mut burst, 1, self.now, &mut other.out);
                assert_eq!(
                    other.out.handed.len(),
                    before,
                    "handed over twice: {bytes:02x?}"
                );
            }
        }
        for side in &mut self.sides {
            for (port, bytes, whole) in side.out.sent.drain(..) {
                assert!(usize::from(port.0) < 2, "sent on {port:?}");
                assert!(
                    bytes.len() >= 14 && bytes.len() <= self.longest,
                    "sent {} bytes",
                    bytes.len()
                );
                if whole {
                    frames::check(&bytes, self.sound);
                }
                self.seen.push_back(bytes);
            }
        }
        while self.seen.len() > 8 {
            self.seen.pop_front();
        }
    }

    fn balance(&mut self) {
        for n in 0..2 {
            let Reply::Counters(stats) = self.query(n, Query::Counters) else {
                panic!("no counters");
            };
            let queued = self.queued(n);
            self.balance_frames(n, &stats, queued);
            self.balance_conns(n, &stats);
        }
    }

    fn queued(&mut self, n: usize) -> u64 {
        let Reply::Neighbours(list) = self.query(n, Query::Neighbours) else {
            panic!("no neighbours");
        };
        let queued: u64 = list.iter().map(|i| u64::from(i.queued)).sum();
        // Those, too, that wait for a worker's answer or for a first fragment.
        queued + self.sides[n].worker.waiting() as u64
    }

    fn balance_frames(&self, n: usize, stats: &WorkerStats, queued: u64) {
        let side = &self.sides[n];
        let t = &side.out.tally;
        let freed = t.freed_received.get() + t.freed_made.get();
        assert_eq!(
            side.received + t.made.get(),
            t.taken.get() + freed + queued,
            "frames received and made = given away + freed + queued"
        );
        let reasons: u64 = stats.drops.iter().sum();
        assert!(
            t.freed_received.get() <= reasons + stats.ip4.frag_oks,
            "{} frames vanished, {reasons} have a reason",
            t.freed_received.get()
        );
        assert_eq!(stats.to_host, side.out.to_host, "frames for the kernel");
        assert_eq!(stats.handed_over, side.handed, "frames handed over");
    }

    fn balance_conns(&mut self, n: usize, stats: &WorkerStats) {
        let conns = self.sides[n].worker.conns() as u64;
        assert_eq!(stats.conns, conns);
        assert_eq!(stats.conns_made - stats.conns_gone, conns, "made - gone");
        let all: Vec<DestId> = (0..self.plan.dests()).map(DestId).collect();
        let Reply::Dests(dests) = self.query(n, Query::Dests(all)) else {
            panic!("no servers");
        };
        let counted: u64 = dests
            .iter()
            .map(|d| u64::from(d.active) + u64::from(d.inactive))
            .sum();
        assert_eq!(counted, conns, "connections of all servers");
        let mut cursor = Some(0);
        let mut listed = 0;
        for _ in 0..10_000 {
            let Some(from) = cursor else { break };
            let Reply::Conns { conns, next } = self.query(
                n,
                Query::Conns {
                    cursor: from,
                    max: 7,
                },
            ) else {
                panic!("no connections");
            };
            listed += conns.len() as u64;
            cursor = next;
        }
        assert_eq!((listed, cursor), (conns, None), "connections listed");
        let Reply::Laddrs(pools) = self.query(n, Query::Laddrs) else {
            panic!("no local addresses");
        };
        let held: u64 = pools.iter().map(|l| u64::from(l.conns)).sum();
        assert_eq!(held, conns, "connections of all local addresses");
    }

    /// Without traffic everything comes to rest.
    fn rest(&mut self) {
        for _ in 0..80 {
            self.pass(10_000_000, 24);
            if self.sides.iter().all(|s| s.worker.conns() == 0)
                && self.queued(0) + self.queued(1) == 0
            {
                break;
            }
        }
        self.balance();
        for n in 0..2 {
            assert_eq!(
                self.sides[n].worker.conns(),
                0,
                "connections that never end"
            );
            assert_eq!(self.queued(n), 0, "frames that wait for ever");
            let Reply::Laddrs(pools) = self.query(n, Query::Laddrs) else {
                panic!("no local addresses");
            };
            assert!(
                pools.iter().all(|l| l.used == 0),
                "ports never given back: {pools:?}"
            );
        }
    }
}

fn run(data: &[u8]) {
    play(data);
}

/// Runs one input; both workers' counters at its end.
pub fn play(data: &[u8]) -> [WorkerStats; 2] {
    let mut input = Input::new(data);
    let mode = input.byte();
    let mut lab = Lab::new(mode & 1 == 1);
    if mode & 4 == 0 {
        lab.meet();
    }
    let mut waiting: Vec<(Vec<u8>, bool)> = Vec::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let op = input.byte();
        let n = usize::from(op >> 7);
        match op & 0x1f {
            0..=13 => {
                let mut bytes = frames::made(&mut input);
                receive(&mut lab, &mut input, &mut bytes, &mut waiting, n);
            }
            14..=21 => {
                let Some(mut bytes) = lab.seen.back().cloned() else {
                    continue;
                };
                if op & 0x40 == 0 {
                    let flags = input.pick(&[18, 16, 17, 4, 2, 24, 20]);
                    frames::answer(&mut bytes, flags, u32::from(input.byte() & 3));
                }
                frames::turn(&mut input, &mut bytes);
                receive(&mut lab, &mut input, &mut bytes, &mut waiting, n);
            }
            22 | 23 => {
                let micros = input.pick(&[
                    1_000,
                    20_000,
                    500_000,
                    1_000_000,
                    3_000_000,
                    10_000_000,
                    60_000_000,
                    400_000_000,
                ]);
                lab.pass(micros, 1 + input.below(8));
            }
            24 | 25 => {
                let message = messages::neighbour(&mut input);
                lab.handle(n, message);
            }
            26 => {
                let message = messages::other(&mut input, lab.plan.dests());
                lab.handle(n, message);
            }
            27..=29 => {
                lab.plan.change(&mut input);
                lab.install();
                lab.after();
            }
            30 => {
                let query = messages::query(&mut input);
                let _ = lab.query(n, query);
            }
            _ => lab.sides[n].out.empty = input.byte() & 3 == 0,
        }
    }
    lab.balance();
    lab.sides.iter_mut().for_each(|s| s.out.empty = false);
    if mode & 2 == 0 {
        lab.rest();
    }
    [0, 1].map(|n| lab.sides[n].worker.stats().clone())
}

fn receive(
    lab: &mut Lab,
    input: &mut Input<'_>,
    bytes: &mut Vec<u8>,
    waiting: &mut Vec<(Vec<u8>, bool)>,
    n: usize,
) {
    let how = input.byte();
    if lab.sound || how & 3 != 0 {
        frames::fix(bytes);
    }
    let port = if bytes.starts_with(&support::MAC1) {
        1
    } else {
        u16::from(how & 4 != 0 && how & 8 != 0)
    };
    lab.longest = lab.longest.max(bytes.len() + 64);
    waiting.push((std::mem::take(bytes), how & 0xf0 == 0x10));
    if how & 0xc0 != 0xc0 || waiting.len() == 32 {
        let burst = std::mem::take(waiting);
        lab.burst(n, PortId(port), &burst);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let mut seeds = vec![Vec::new(), all.clone(), all.iter().rev().copied().collect()];
    // Open a connection of each kind, answer it, let time pass, close it. The
    // bytes are what `frames::made`, `frames::turn` and `receive` read.
    let plain = [0xf8, 1];
    for mode in 0..2 {
        // Plain, with TCP options, with data, with both; IPv4 and IPv6.
        for shape in [0, 1, 2, 3, 4, 5, 6, 7] {
            let data: &[u8] = if shape & 4 == 0 { &[] } else { &[200, 0] };
            let tcp = [
                &[mode, 0, 0, shape, 0, 0, 1, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0][..],
                data,
                &[1],
            ];
            let udp = [&[mode, 0, 6, shape, 0, 0, 1, 1][..], data, &[1]];
            for open in [tcp, udp] {
                let mut seed = [&open.concat()[..], &plain].concat();
                for (flags, ack) in [
                    (0, 1),
                    (1, 1),
                    (5, 0),
                    (5, 3),
                    (1, 0),
                    (2, 0),
                    (2, 1),
                    (3, 1),
                ] {
                    seed.extend([14, flags, ack, 0xf8, 1]);
                    seed.extend([22, 1, 0]);
                }
                seeds.push(seed);
            }
        }
    }
    seeds
}
