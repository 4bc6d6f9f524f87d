//! A master with real workers and without DPDK: workers run on threads with
//! frames on the heap, ports are plain values, clients use the real socket.

pub(crate) mod bodies;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dpvs::conf::Conf;
use dpvs::master::{LcoreQueues, Link, Master, Netif, PortChange, Server, Topology, WorkerLink};
use dpvs::wake::Napper;
use dpvs_core::frame::{Frame, HeapFrame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::message::{FromWorker, ToWorker};
use dpvs_core::snapshot::Snapshot;
use dpvs_core::worker::{Worker, WorkerConf};
use dpvs_ctl::msg::{LcoreStats, NicBasic, NicDev, NicStats};
use dpvs_ctl::{Client, CtlError, ErrCode, Name};

/// Lcore ids of the workers.
pub(crate) const LCORES: [u8; 2] = [3, 5];
pub(crate) const MASTER: u8 = 1;
pub(crate) const KNI: u8 = 7;

/// What the test sees of and does to a worker.
#[derive(Default)]
pub(crate) struct Probe {
    /// Takes no message while set.
    pub(crate) stuck: AtomicBool,
    /// The snapshot in force.
    pub(crate) snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// Frames sent, by port.
    pub(crate) sent: Mutex<Vec<(u16, Vec<u8>)>>,
    /// Frames to receive on port 0.
    pub(crate) received: Mutex<Vec<Vec<u8>>>,
    pub(crate) taken: AtomicUsize,
}

struct TestIo {
    probe: Arc<Probe>,
    out: mpsc::Sender<FromWorker>,
}

impl Io for TestIo {
    type Frame = HeapFrame;
    fn alloc(&mut self) -> Option<HeapFrame> {
        Some(HeapFrame::new(&[]))
    }
    fn send(&mut self, port: PortId, frame: HeapFrame) {
        self.probe
            .sent
            .lock()
            .unwrap()
            .push((port.0, frame.data().to_vec()));
    }
    fn to_host(&mut self, _: PortId, _: HeapFrame) {}
    fn hand_over(&mut self, _: WorkerId, _: PortId, _: HeapFrame) {}
    fn report(&mut self, event: FromWorker) {
        let _ = self.out.send(event);
    }
}

/// Ports as plain values; what is set is remembered.
pub(crate) struct FakeNetif {
    pub(crate) changes: Arc<Mutex<Vec<(u16, PortChange)>>>,
    pub(crate) joined: Arc<Mutex<Vec<Vec<[u8; 6]>>>>,
    forward: [bool; 2],
    macs: [[u8; 6]; 2],
}

impl Netif for FakeNetif {
    fn links(&self) -> Vec<Link> {
        (0..2)
            .map(|n| Link {
                name: format!("dpdk{n}"),
                mac: self.macs[n],
                mtu: 1500,
                has_host: n == 0,
                forward2kni: self.forward[n],
            })
            .collect()
    }
    fn basic(&self, port: PortId) -> Option<NicBasic> {
        Some(NicBasic {
            link_speed: 1000 + u32::from(port.0),
            nrxq: 2,
            ..NicBasic::default()
        })
    }
    fn stats(&self, port: PortId) -> Option<NicStats> {
        Some(NicStats {
            ipackets: 7 + u64::from(port.0),
            ..NicStats::default()
        })
    }
    fn xstats(&self, port: PortId) -> Option<Vec<(String, u64)>> {
        Some(if port.0 == 0 {
            vec![("a".into(), 1), ("b".into(), 2)]
        } else {
            vec![]
        })
    }
    fn device(&self, _: PortId) -> Option<NicDev> {
        Some(NicDev {
            driver_name: Name::truncated("net_fake"),
            ..NicDev::default()
        })
    }
    fn multicast(&self, port: PortId) -> Vec<([u8; 6], u32)> {
        let joined = self.joined.lock().unwrap();
        joined[usize::from(port.0)]
            .iter()
            .map(|m| (*m, 1))
            .collect()
    }
    fn join(&mut self, port: PortId, groups: &[[u8; 6]]) {
        self.joined.lock().unwrap()[usize::from(port.0)] = groups.to_vec();
    }
    fn set(&mut self, port: PortId, change: PortChange) -> Result<(), String> {
        self.changes.lock().unwrap().push((port.0, change));
        match change {
            PortChange::Forward2Kni(on) => self.forward[usize::from(port.0)] = on,
            PortChange::Mac(mac) => self.macs[usize::from(port.0)] = mac,
            PortChange::Up(_) => return Err("refused".into()),
            _ => {}
        }
        Ok(())
    }
    fn lcore_stats(&self, lcore: u8) -> LcoreStats {
        LcoreStats {
            lcore_loop: 100 + u64::from(lcore),
            ..LcoreStats::default()
        }
    }
    fn socket_of(&self, _: u8) -> u8 {
        0
    }
}

/// A running master.
pub(crate) struct Lab {
    pub(crate) path: PathBuf,
    pub(crate) client: Client,
    pub(crate) workers: Vec<Arc<Probe>>,
    pub(crate) changes: Arc<Mutex<Vec<(u16, PortChange)>>>,
    pub(crate) joined: Arc<Mutex<Vec<Vec<[u8; 6]>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

fn worker(
    id: u8,
    probe: Arc<Probe>,
    inbox: mpsc::Receiver<ToWorker>,
    out: mpsc::Sender<FromWorker>,
    stop: Arc<AtomicBool>,
) {
    let start = Instant::now();
    let now = || Now(start.elapsed().as_micros() as u64);
    let conf = WorkerConf {
        id: WorkerId(id),
        workers: 2,
        conns: 8192,
        seed: [1, 2, 3, 4],
    };
    let mut worker = Worker::new(conf, now());
    let mut io = TestIo {
        probe: Arc::clone(&probe),
        out,
    };
    while !stop.load(Ordering::Relaxed) {
        if !probe.stuck.load(Ordering::Relaxed) {
            for message in inbox.try_iter().take(16) {
                if let ToWorker::Install { snapshot, .. } = &message {
                    *probe.snapshot.lock().unwrap() = Some(Arc::clone(snapshot));
                }
                worker.handle(message, now(), &mut io);
            }
            let frames = std::mem::take(&mut *probe.received.lock().unwrap());
            for chunk in frames.chunks(32) {
                let mut burst = empty_burst();
                for (slot, bytes) in burst.iter_mut().zip(chunk) {
                    *slot = Some(HeapFrame::new(bytes));
                }
                worker.process(PortId(0), &mut burst, chunk.len(), now(), &mut io);
            }
            probe.taken.fetch_add(frames.len(), Ordering::Relaxed);
        }
        worker.tick(now(), &mut io);
        std::thread::sleep(Duration::from_micros(100));
    }
}

impl Lab {
    pub(crate) fn start() -> Lab {
        Self::with(false)
    }

    /// One that keeps what it cannot forward.
    pub(crate) fn keeping() -> Lab {
        Self::with(true)
    }

    fn with(keep: bool) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ipc");
        let stop = Arc::new(AtomicBool::new(false));
        let (out, events) = mpsc::channel();
        let mut links = Vec::new();
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        for (n, lcore) in LCORES.iter().enumerate() {
            let (inbox_tx, inbox) = mpsc::sync_channel(64);
            let probe = Arc::new(Probe::default());
            let (p, o, s) = (Arc::clone(&probe), out.clone(), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || worker(n as u8, p, inbox, o, s)));
            links.push(WorkerLink {
                lcore: *lcore,
                inbox: inbox_tx,
                napper: Napper::default(),
            });
            workers.push(probe);
        }
        let changes = Arc::new(Mutex::new(Vec::new()));
        let joined = Arc::new(Mutex::new(vec![Vec::new(); 2]));
        let topology = Topology {
            master: MASTER,
            kni: Some(LcoreQueues {
                lcore: KNI,
                ..LcoreQueues::default()
            }),
            workers: LCORES
                .iter()
                .enumerate()
                .map(|(n, lcore)| LcoreQueues {
                    lcore: *lcore,
                    rx: vec![(PortId(0), n as u16), (PortId(1), n as u16)],
                    tx: vec![(PortId(0), n as u16)],
                })
                .collect(),
            isolated: Vec::new(),
        };
        let mut server = Server::bind(&path).unwrap();
        let (c, j, s) = (Arc::clone(&changes), Arc::clone(&joined), Arc::clone(&stop));
        threads.push(std::thread::spawn(move || {
            let netif = FakeNetif {
                changes: c,
                joined: j,
                forward: [false; 2],
                macs: [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11]],
            };
            let mut master =
                Master::new(&Conf::default(), Box::new(netif), topology, links, events);
            if keep {
                master.keep_unsupported(0);
            }
            while !s.load(Ordering::Relaxed) {
                let wait = if master.is_waiting() { 100 } else { 1000 };
                master.turn(&mut server, Duration::from_micros(wait));
            }
        }));
        let client = Client::at(&path);
        Lab {
            path,
            client,
            workers,
            changes,
            joined,
            stop,
            threads,
            _dir: dir,
        }
    }

    /// The snapshot of a worker.
    pub(crate) fn snapshot(&self, worker: usize) -> Arc<Snapshot> {
        self.workers[worker]
            .snapshot
            .lock()
            .unwrap()
            .clone()
            .expect("no snapshot yet")
    }

    /// Gives a worker frames and waits until it has taken them.
    pub(crate) fn receive(&self, worker: usize, frames: Vec<Vec<u8>>) {
        let probe = &self.workers[worker];
        let goal = probe.taken.load(Ordering::Relaxed) + frames.len();
        probe.received.lock().unwrap().extend(frames);
        until("the worker takes its frames", || {
            probe.taken.load(Ordering::Relaxed) >= goal
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let joined = thread.join();
            if !std::thread::panicking() {
                joined.expect("a thread of the lab panicked");
            }
        }
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The code a request was refused with; OK if it was not.
pub(crate) fn code<T>(result: Result<T, CtlError>) -> ErrCode {
    match result {
        Ok(_) => ErrCode::OK,
        Err(CtlError::Server { code, .. }) => code,
        Err(other) => panic!("no answer: {other:?}"),
    }
}
