//! Requests to the master: any sequence of them, sound or broken, is answered
//! or its connection closed; workers get what comes of it and forward frames
//! meanwhile; and what the lists say decodes. All on one thread, over the real
//! socket, with ports as plain values.

mod bodies;

pub use bodies::Held;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dpvs::conf::Conf;
use dpvs::master::{LcoreQueues, Link, Master, Netif, PortChange, Server, Topology, WorkerLink};
use dpvs::wake::Napper;
use dpvs_core::frame::{Frame, HeapFrame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::message::{FromWorker, ToWorker};
use dpvs_core::worker::{Worker, WorkerConf};
use dpvs_ctl::msg::{LcoreStats, NicBasic, NicDev, NicStats};
use dpvs_ctl::server::encode_request;
use dpvs_ctl::{Kind, PROTOCOL_VERSION, ReplyHead, Wire, id};

use crate::Target;
use crate::input::Input;
use crate::worker::frames;

/// The target.
pub const TARGET: Target = Target {
    name: "master",
    run,
    seeds,
    words: &[
        "\u{1}\0",
        "\u{2}\0\0\0",
        "\u{a}\0\0\0",
        "dpdk0",
        "dpdk1",
        "rr\0",
        "wlc\0",
    ],
};

/// Requests and frames of one input.
const STEPS: usize = 48;
/// Bytes that make a request.
const SHARE: usize = 40;
/// Longest time for an answer.
const LIMIT: Duration = Duration::from_secs(5);

struct Ports {
    macs: [[u8; 6]; 2],
}

impl Netif for Ports {
    fn links(&self) -> Vec<Link> {
        (0..2)
            .map(|n| Link {
                name: format!("dpdk{n}"),
                mac: self.macs[n],
                mtu: 1500,
                has_host: n == 0,
                forward2kni: false,
            })
            .collect()
    }
    fn basic(&self, _: PortId) -> Option<NicBasic> {
        Some(NicBasic::default())
    }
    fn stats(&self, port: PortId) -> Option<NicStats> {
        (port.0 == 0).then(NicStats::default)
    }
    fn xstats(&self, _: PortId) -> Option<Vec<(String, u64)>> {
        Some(vec![("a".into(), 1)])
    }
    fn device(&self, _: PortId) -> Option<NicDev> {
        Some(NicDev::default())
    }
    fn multicast(&self, _: PortId) -> Vec<([u8; 6], u32)> {
        vec![([1, 0, 0x5e, 0, 0, 1], 1)]
    }
    fn join(&mut self, _: PortId, _: &[[u8; 6]]) {}
    fn set(&mut self, port: PortId, change: PortChange) -> Result<(), String> {
        match change {
            PortChange::Mac(mac) => self.macs[usize::from(port.0)] = mac,
            PortChange::Up(_) => return Err("refused".into()),
            _ => {}
        }
        Ok(())
    }
    fn lcore_stats(&self, _: u8) -> LcoreStats {
        LcoreStats::default()
    }
    fn socket_of(&self, _: u8) -> u8 {
        0
    }
}

/// Workers' way out: frames end here, events go to the master.
struct Out(
    mpsc::Sender<FromWorker>,
    VecDeque<(WorkerId, PortId, HeapFrame)>,
);

impl Io for Out {
    type Frame = HeapFrame;
    fn alloc(&mut self) -> Option<HeapFrame> {
        Some(HeapFrame::new(&[]))
    }
    fn send(&mut self, port: PortId, frame: HeapFrame) {
        assert!(port.0 < 2 && frame.data().len() >= 14, "sent nonsense");
    }
    fn to_host(&mut self, port: PortId, _: HeapFrame) {
        assert_eq!(port.0, 0, "only port 0 has a host port");
    }
    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: HeapFrame) {
        self.1.push_back((worker, port, frame));
    }
    fn report(&mut self, event: FromWorker) {
        let _ = self.0.send(event);
    }
}

struct Lab {
    master: Master,
    workers: Vec<(Worker<HeapFrame>, mpsc::Receiver<ToWorker>)>,
    io: Out,
    now: Now,
}

thread_local! {
    /// One socket a thread for all inputs; the master behind it is new for each.
    static SERVER: RefCell<(PathBuf, Server)> = RefCell::new({
        static THREADS: AtomicU32 = AtomicU32::new(0);
        let name = format!("fuzz-master-{}-{}", std::process::id(), THREADS.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let server = Server::bind(&path).expect("a socket");
        (path, server)
    });
}

impl Lab {
    fn new() -> Self {
        let (out, events) = mpsc::channel();
        let now = Now(1_000_000);
        let (mut links, mut workers) = (Vec::new(), Vec::new());
        for n in 0..2u8 {
            let (inbox, messages) = mpsc::sync_channel(64);
            let conf = WorkerConf {
                id: WorkerId(n),
                workers: 2,
                conns: 64,
                seed: [1, 2, 3, 4],
            };
            workers.push((Worker::new(conf, now), messages));
            links.push(WorkerLink {
                lcore: 3 + n,
                inbox,
                napper: Napper::default(),
            });
        }
        let queues = |n: u8| LcoreQueues {
            lcore: 3 + n,
            rx: vec![(PortId(0), n.into()), (PortId(1), n.into())],
            tx: vec![(PortId(0), n.into()), (PortId(1), n.into())],
        };
        let topology = Topology {
            master: 1,
            kni: None,
            workers: vec![queues(0), queues(1)],
            isolated: vec![],
        };
        let ports = Box::new(Ports {
            macs: [frames::MAC0, frames::MAC1],
        });
        Self {
            master: Master::new(&Conf::default(), ports, topology, links, events),
            workers,
            io: Out(out, VecDeque::new()),
            now,
        }
    }

    fn turn(&mut self, server: &mut Server) {
        self.master.turn(server, Duration::ZERO);
        for (worker, messages) in &mut self.workers {
            for message in messages.try_iter() {
                worker.handle(message, self.now, &mut self.io);
            }
            worker.tick(self.now, &mut self.io);
        }
    }

    fn receive(&mut self, worker: u8, port: u16, frame: HeapFrame) {
        let mut burst = empty_burst();
        burst[0] = Some(frame);
        let w = &mut self.workers[usize::from(worker & 1)].0;
        w.process(PortId(port & 1), &mut burst, 1, self.now, &mut self.io);
        while let Some((owner, port, frame)) = self.io.1.pop_front() {
            let mut burst = empty_burst();
            burst[0] = Some(frame);
            let w = &mut self.workers[usize::from(owner.0)].0;
            w.process_handed(port, &mut burst, 1, self.now, &mut self.io);
            assert!(self.io.1.is_empty(), "handed over twice");
        }
    }

    /// Sends bytes on a connection of their own and waits for its end. The
    /// reply's head and body, if there was one.
    fn ask(&mut self, bytes: &[u8]) -> Option<(ReplyHead, Vec<u8>)> {
        SERVER.with_borrow_mut(|(path, server)| {
            let mut stream = UnixStream::connect(path).expect("the socket is there");
            stream.set_nonblocking(true).expect("a socket");
            let (mut sent, mut shut) = (0, false);
            let mut reply = Vec::new();
            let start = Instant::now();
            loop {
                match stream.write(&bytes[sent..]) {
                    Ok(n) => sent += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    // It closed before it had read everything.
                    Err(_) => sent = bytes.len(),
                }
                if sent == bytes.len() && !shut {
                    shut = true;
                    let _ = stream.shutdown(Shutdown::Write);
                }
                self.turn(server);
                let mut room = [0; 16 << 10];
                match stream.read(&mut room) {
                    Ok(0) => break,
                    Ok(n) => reply.extend_from_slice(&room[..n]),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                // C clients do not close first: a whole reply is the end.
                if let Ok((head, body)) = ReplyHead::decode_prefix(&reply)
                    && body.len() as u64 >= head.len
                {
                    break;
                }
                assert!(start.elapsed() < LIMIT, "no answer and not closed");
            }
            let (head, body) = ReplyHead::decode_prefix(&reply).ok()?;
            assert_eq!(head.version, PROTOCOL_VERSION);
            assert_eq!(head.len, body.len() as u64, "the body is not as announced");
            Some((head, body.to_vec()))
        })
    }

    /// A whole request: has an answer exactly if it has a handler.
    fn request(&mut self, number: u32, kind: Kind, body: &[u8]) -> Option<Vec<u8>> {
        let reply = self.ask(&encode_request(number, kind, body));
        let sound = id::registered(number, kind) && body.len() <= id::max_request(number);
        assert_eq!(
            reply.is_some(),
            sound,
            "{} as {kind:?}",
            id::describe(number)
        );
        let (head, body) = reply?;
        assert_eq!((head.id, head.kind), (number, kind.number()));
        (head.code.0 == 0).then_some(body)
    }
}

fn run(data: &[u8]) {
    play(data);
}

/// Runs one input; what the lists hold at its end.
pub fn play(data: &[u8]) -> Held {
    let mut input = Input::new(data);
    let mut lab = Lab::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            0 => {
                let n = input.below(200);
                lab.ask(input.bytes(n));
            }
            1 => {
                let number = input.pick(id::ALL);
                let kind = if input.byte() & 1 == 0 {
                    Kind::Get
                } else {
                    Kind::Set
                };
                let n = usize::from(input.word()) % 600;
                lab.request(number, kind, input.bytes(n));
            }
            2 => {
                lab.now.0 += u64::from(input.word()) * 10_000;
                SERVER.with_borrow_mut(|(_, server)| lab.turn(server));
            }
            3 => {
                let (worker, port) = (input.byte(), u16::from(input.byte()));
                let bytes = frames::made(&mut input);
                lab.receive(worker, port, HeapFrame::new(&bytes));
            }
            _ => {
                // A fixed share, so that one request's bytes do not shift the next's.
                let mut share = Input::new(input.bytes(SHARE));
                let (number, kind, body) = bodies::made(&mut share);
                lab.request(number, kind, &body);
            }
        }
    }
    // Still at work, and the lists are whole.
    let info = lab
        .request(id::SO_GET_INFO, Kind::Get, &[])
        .expect("an answer");
    bodies::check_lists(&info, |number, body| lab.request(number, Kind::Get, body))
}

fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let mut seeds = vec![Vec::new(), all.clone(), all.iter().rev().copied().collect()];
    // Service, server, local address and routes as a script makes them.
    for fill in 0..16u8 {
        let mut script = Vec::new();
        for what in [
            9, 10, 13, 15, 16, 0, 1, 3, 4, 6, 2, 5, 12, 18, 26, 27, 31, 33, 36,
        ] {
            script.extend([4, what]);
            script.extend([fill; SHARE - 1]);
        }
        seeds.push(script);
    }
    seeds
}
