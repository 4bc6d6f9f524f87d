//! From a checked configuration to running ports and workers.
//!
//! Binds the device blocks to DPDK's ports in order, makes the packet pools,
//! gives every lcore its queues and rings, and starts it. All that can go
//! wrong says what to change.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::message::FromWorker;
use dpvs_core::worker::{Worker, WorkerConf};

use crate::affinity::{Ways, Wish};
use crate::bind::{Bound, bind};
use crate::conf::{Conf, FdirMode, IdleDefs, Plan, WorkerPlan};
use crate::idle::Idle;
use crate::isolated::{Isolated, Source};
use crate::lcore::{self, LcoreCounters};
use crate::made::Made;
use crate::master::{LcoreQueues, Topology, WorkerLink};
use crate::port::mem::Ahead;
use crate::port::{self, Eal, HostBridge, Mbuf, Pool, RxQueue, Sender, SharedSender, ring};
use crate::ports::{Device, Ports};
use crate::wake::{Napper, Peer, Reports, Waker};
use crate::watch::Watch;

/// Why the daemon cannot start.
#[derive(Debug)]
pub struct StartError(pub(crate) String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<port::Error> for StartError {
    fn from(e: port::Error) -> Self {
        StartError(e.to_string())
    }
}

pub(crate) fn fail<T>(message: String) -> Result<T, StartError> {
    Err(StartError(message))
}

/// Entries of the ring in which others hand packets to a worker.
const HANDED_RING: u32 = 2048;
/// An idle worker where all ports are the kernel's or nothing, if dpvs.conf does
/// not say.
const SLOW_IDLE: Idle = Idle {
    pause_turns: 0,
    sleep_after: Duration::from_micros(200),
    sleep: Duration::from_micros(50),
};

/// Everything that runs beside the master.
pub struct Running {
    eal: Eal,
    stop: Arc<AtomicBool>,
    lcores: Vec<u32>,
    host_thread: Option<JoinHandle<()>>,
}

/// What the master is made of.
pub struct Parts {
    /// The ports.
    pub ports: Ports,
    /// Who does what.
    pub topology: Topology,
    /// Ways to the workers.
    pub links: Vec<WorkerLink>,
    /// What workers say.
    pub events: Receiver<FromWorker>,
    /// How they wake the master.
    pub waker: Arc<Waker>,
}

impl Running {
    /// Ends all workers and waits for them.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for lcore in &self.lcores {
            self.eal.wait(*lcore);
        }
        if let Some(thread) = self.host_thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts ports and workers.
///
/// # Errors
/// The configuration does not fit DPDK's ports and lcores, or memory, or a
/// driver's refusal.
pub fn start(conf: &Conf, plan: &Plan, eal: Eal) -> Result<(Running, Parts), StartError> {
    check_lcores(plan, &eal)?;
    check_tables(conf, plan, &eal, available())?;
    let pools = make_pools(conf, &eal)?;
    let mut bridges = Vec::new();
    let mut bound = bind(conf, plan, &eal, &pools, &mut bridges)?;

    let stop = Arc::new(AtomicBool::new(false));
    let watch: Arc<Watch> = Arc::default();
    let (outbox, events) = mpsc::channel();
    let waker = Waker::new().map_err(|e| StartError(format!("waking the master: {e}")))?;
    let waker = Arc::new(waker);
    let outbox = Reports::new(outbox, Arc::clone(&waker));
    let mut links = Vec::new();
    let mut counters = BTreeMap::new();
    let idle = idle(&conf.idle, naps(&bound));
    let seed = random_seed()?;
    let mut wires = Vec::new();
    let mut receiving: BTreeMap<u32, Vec<(RxQueue, Sender)>> = BTreeMap::new();
    let count = u8::try_from(plan.workers.len()).map_err(|_| {
        StartError(format!(
            "{} workers; at most 255 are possible",
            plan.workers.len()
        ))
    })?;

    // A ring to each worker first, then the workers that send into them.
    let mut rings = Vec::new();
    for worker in &plan.workers {
        let socket = eal.socket_of(worker.lcore);
        rings.push(ring::shared_channel(
            &eal,
            &format!("handed_{}", worker.lcore),
            HANDED_RING,
            socket,
        )?);
    }
    let (senders, receivers): (Vec<SharedSender>, Vec<port::Receiver>) = rings.into_iter().unzip();
    // On the main lcore's processor, as all threads made here.
    let ahead = Ahead::start().map_err(|e| StartError(format!("memory thread: {e}")))?;
    let mut plans = Vec::new();
    let (inboxes, inbox_ends): (Vec<Peer>, Vec<_>) = plan
        .workers
        .iter()
        .map(|_| {
            let (inbox, end) = mpsc::sync_channel(conf.misc.ring_size as usize);
            let napper = Napper::default();
            (
                Peer::new(inbox.clone(), napper.clone()),
                (inbox, napper, end),
            )
        })
        .unzip();
    for (((n, worker), handed), (inbox_tx, napper, inbox)) in
        (0u8..).zip(&plan.workers).zip(receivers).zip(inbox_ends)
    {
        let socket = eal.socket_of(worker.lcore);
        let lcore_id = u8::try_from(worker.lcore).unwrap_or(u8::MAX);
        let shared = Arc::new(LcoreCounters::default());
        counters.insert(lcore_id, Arc::clone(&shared));
        links.push(WorkerLink {
            lcore: lcore_id,
            inbox: inbox_tx,
            napper: napper.clone(),
        });
        let first_tx = |port: usize| worker.tx.iter().find(|(p, _)| *p == port).map(|(_, q)| *q);
        let mut tx = Vec::new();
        let mut from_host = Vec::new();
        for (at, b) in bound.iter_mut().enumerate() {
            tx.push(first_tx(at).and_then(|q| b.tx.get_mut(usize::from(q))?.take()));
            // The kernel's frames of a port leave by one worker each.
            if at % plan.workers.len() == usize::from(n)
                && let Some(receiver) = b.from_host.take()
            {
                from_host.push((port_id(at), receiver));
            }
        }
        let mut rx = Vec::new();
        for (p, q) in &worker.rx {
            let queue = bound
                .get_mut(*p)
                .and_then(|b| b.rx.get_mut(usize::from(*q)));
            let Some(queue) = queue.and_then(Option::take) else {
                continue;
            };
            let source = match worker.isolated.iter().find(|i| i.queue == (*p, *q)) {
                None => Source::Queue(queue),
                Some(isolated) => {
                    let name = format!("isolated_{p}_{q}");
                    let (sender, ring) = ring::channel(&eal, &name, isolated.ring, socket)?;
                    let queues: &mut Vec<_> = receiving.entry(isolated.lcore).or_default();
                    queues.push((queue, sender));
                    Source::Ring(ring)
                }
            };
            rx.push((port_id(*p), source));
        }
        plans.push((
            worker.lcore,
            lcore::Plan {
                worker: WorkerConf {
                    id: WorkerId(n),
                    workers: count,
                    conns: conns_of(conf, plan, &eal, worker),
                    seed: std::array::from_fn(|i| {
                        seed.get(i).copied().unwrap_or(0) ^ (u64::from(n) << 56)
                    }),
                },
                rx,
                tx,
                to_host: bound.iter().map(|b| b.to_host.clone()).collect(),
                from_host,
                handed,
                peers: senders
                    .iter()
                    .enumerate()
                    .map(|(m, s)| (m != usize::from(n)).then(|| s.clone()))
                    .collect(),
                inboxes: inboxes
                    .iter()
                    .enumerate()
                    .map(|(m, peer)| (m != usize::from(n)).then(|| peer.clone()))
                    .collect(),
                pool: pool_of(&pools, socket)?,
                clock: eal.clock(),
                inbox,
                wiring: {
                    let (wire, wiring) = mpsc::channel();
                    wires.push(wire);
                    wiring
                },
                outbox: outbox.clone(),
                napper,
                counters: shared,
                ahead: ahead.clone(),
                stop: Arc::clone(&stop),
                idle,
                watch: Arc::clone(&watch),
            },
        ));
    }

    let mut lcores = Vec::new();
    let topology = topology(plan, &eal);
    let sockets = eal
        .lcores()
        .iter()
        .filter_map(|l| {
            Some((
                u8::try_from(*l).ok()?,
                u8::try_from(eal.socket_of(*l)).ok()?,
            ))
        })
        .collect();
    for (lcore, plan) in plans {
        eal.launch(lcore, move || lcore::run(plan))?;
        lcores.push(lcore);
    }
    let mut host_thread = None;
    for (lcore, queues) in receiving {
        let shared = Arc::new(LcoreCounters::default());
        counters.insert(u8::try_from(lcore).unwrap_or(u8::MAX), Arc::clone(&shared));
        let isolated = Isolated {
            queues,
            counters: shared,
            clock: eal.clock(),
            idle,
            stop: Arc::clone(&stop),
        };
        eal.launch(lcore, move || isolated.run())?;
        lcores.push(lcore);
    }
    if let Some(kni) = &plan.kni {
        let queues = |b: &Bound| b.device.host.is_some();
        for (p, q) in &kni.rx {
            let Some(b) = bound.get_mut(*p).filter(|b| queues(b)) else {
                continue;
            };
            let rx = b.rx.get_mut(usize::from(*q)).and_then(Option::take);
            let mine = kni.tx.iter().find(|(port, _)| port == p);
            let tx = mine.and_then(|(_, q)| b.tx.get_mut(usize::from(*q))?.take());
            let name = b.device.host.as_deref().unwrap_or_default();
            let bridge = bridges
                .iter_mut()
                .find(|bridge| bridge.host().name() == name);
            if let (Some(bridge), Some(rx)) = (bridge, rx) {
                tracing::info!("device {}: queue {q} is the kernel's alone", b.device.name);
                if b.device.info.reta_size == 0 {
                    tracing::warn!(
                        "device {}: its driver spreads packets to all queues; those on queue {q} go to the kernel",
                        b.device.name
                    );
                }
                b.device.kni_queue = Some(*q);
                bridge.own_queues(rx, tx);
            }
        }
    }
    let (host, changes) = mpsc::channel();
    if conf.global.kni {
        let stop = Arc::clone(&stop);
        // The master's where no lcore does it.
        let lcore = plan.kni.as_ref().map_or(eal.main_lcore(), |k| k.lcore);
        let shared = Arc::new(LcoreCounters::default());
        counters.insert(u8::try_from(lcore).unwrap_or(u8::MAX), Arc::clone(&shared));
        let run = move || HostBridge::run(bridges, &changes, &shared, &stop);
        if let Some(kni) = &plan.kni {
            eal.launch(kni.lcore, run)?;
            lcores.push(kni.lcore);
        } else {
            let thread = std::thread::Builder::new().name("dpvs-host".into());
            host_thread = Some(
                thread
                    .spawn(run)
                    .map_err(|e| StartError(format!("thread of the host ports: {e}")))?,
            );
        }
    }
    let made = Made::new(eal.clone(), wires, conf.global.kni.then_some(host));
    let devices: Vec<Device> = bound.into_iter().map(|b| b.device).collect();
    let names: Vec<String> = devices.iter().map(|d| d.name.clone()).collect();
    let wish = Wish {
        rules: conf.misc.flow_enable,
        fuzzy: conf.netif.fdir_mode == FdirMode::Signature,
    };
    let ways = Ways::choose(devices.as_slice(), &names, &topology, wish);
    Ok((
        Running {
            eal,
            stop,
            lcores,
            host_thread,
        },
        Parts {
            ports: Ports {
                bonds: conf.netif.bonds.len(),
                made,
                devices,
                counters,
                sockets,
                ways,
                watch,
            },
            topology,
            links,
            events,
            waker,
        },
    ))
}

fn port_id(at: usize) -> PortId {
    PortId(u16::try_from(at).unwrap_or(u16::MAX))
}

fn check_lcores(plan: &Plan, eal: &Eal) -> Result<(), StartError> {
    let enabled = || {
        eal.lcores()
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for worker in &plan.workers {
        for isolated in &worker.isolated {
            if isolated.lcore == eal.main_lcore() || !eal.lcores().contains(&isolated.lcore) {
                return fail(format!(
                    "worker `{}`: isol_rx_cpu_ids names lcore {}, which EAL has not enabled as a worker (enabled: {}); name it in --lcores after `--`",
                    worker.name,
                    isolated.lcore,
                    enabled()
                ));
            }
        }
    }
    for worker in plan.workers.iter().chain(&plan.kni) {
        if worker.lcore == eal.main_lcore() {
            return fail(format!(
                "worker `{}` has cpu_id {}, which is EAL's main lcore; give it another one or choose another main lcore with --main-lcore",
                worker.name, worker.lcore
            ));
        }
        if !eal.lcores().contains(&worker.lcore) {
            return fail(format!(
                "worker `{}` has cpu_id {}, which EAL has not enabled (enabled: {}); name it after `--`, for example --lcores 0@0,{n}@{n}, or {n}@0 to share a CPU",
                worker.name,
                worker.lcore,
                enabled(),
                n = worker.lcore
            ));
        }
    }
    if let Some(master) = plan.master
        && master != eal.main_lcore()
    {
        tracing::warn!(
            "the master worker has cpu_id {master}, but EAL's main lcore is {}: the latter is used (see --main-lcore)",
            eal.main_lcore()
        );
    }
    Ok(())
}

/// Connections a worker has room for: those of a NUMA node are shared out.
fn conns_of(conf: &Conf, plan: &Plan, eal: &Eal, worker: &WorkerPlan) -> usize {
    let socket = eal.socket_of(worker.lcore);
    let here = |w: &&WorkerPlan| eal.socket_of(w.lcore) == socket;
    let workers = plan.workers.iter().filter(here).count().max(1);
    (conf.conn.pool_size as usize / workers).max(1024)
}

/// Bytes of memory the system could give, if it says so.
fn available() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Whether the workers' tables can be had: a worker without memory ends the process,
/// and cannot say what to change.
fn check_tables(
    conf: &Conf,
    plan: &Plan,
    eal: &Eal,
    available: Option<usize>,
) -> Result<(), StartError> {
    let too_large = |bytes: usize, free: String| {
        fail(format!(
            "conn_pool_size {}: the connection tables take {} MB at once, {free}; lower it",
            conf.conn.pool_size,
            bytes >> 20
        ))
    };
    let mut at_once = 0;
    for worker in &plan.workers {
        let tables = Worker::<Mbuf>::table_sizes(conns_of(conf, plan, eal, worker));
        for bytes in tables {
            let mut table: Vec<u8> = Vec::new();
            if table.try_reserve_exact(bytes).is_err() {
                return too_large(bytes, "more than the system gives".into());
            }
        }
        at_once += tables.first().copied().unwrap_or_default();
    }
    match available {
        Some(free) if at_once > free => too_large(at_once, format!("{} MB are free", free >> 20)),
        _ => Ok(()),
    }
}

fn make_pools(conf: &Conf, eal: &Eal) -> Result<Vec<(u32, Pool)>, StartError> {
    let (size, cache) = (conf.netif.pktpool_size, conf.netif.pktpool_cache);
    eal.sockets()
        .into_iter()
        .map(|socket| {
            Ok((
                socket,
                Pool::create(eal, &format!("mbuf_{socket}"), size, cache, socket)?,
            ))
        })
        .collect()
}

/// The pool of a NUMA node, or any where the node has none.
pub(crate) fn pool_of(pools: &[(u32, Pool)], socket: u32) -> Result<Pool, StartError> {
    pools
        .iter()
        .find(|(s, _)| *s == socket)
        .or(pools.first())
        .map(|(_, pool)| *pool)
        .ok_or_else(|| StartError("EAL knows no NUMA node with an lcore".into()))
}

/// What idle workers do, by dpvs.conf. Without a word there they never sleep,
/// unless every port is slow anyway.
fn idle(defs: &IdleDefs, slow: bool) -> Idle {
    let us = |n: u32| Duration::from_micros(u64::from(n));
    if slow && *defs == Conf::default().idle {
        return SLOW_IDLE;
    }
    Idle {
        pause_turns: defs.pause_turns,
        sleep_after: us(defs.sleep_after_us),
        sleep: us(defs.sleep_us),
    }
}

/// Whether idle workers may sleep: every port is slower than that anyway.
fn naps(bound: &[Bound]) -> bool {
    const SLOW: [&str; 5] = [
        "net_af_packet",
        "net_tap",
        "net_af_xdp",
        "net_null",
        "net_bonding",
    ];
    bound.iter().all(|b| {
        SLOW.iter()
            .any(|name| b.device.info.driver.starts_with(name))
    })
}

fn topology(plan: &Plan, eal: &Eal) -> Topology {
    let queues = |w: &WorkerPlan| LcoreQueues {
        lcore: u8::try_from(w.lcore).unwrap_or(u8::MAX),
        rx: w.rx.iter().map(|(p, q)| (port_id(*p), *q)).collect(),
        tx: w.tx.iter().map(|(p, q)| (port_id(*p), *q)).collect(),
    };
    let mut isolated: Vec<LcoreQueues> = Vec::new();
    for i in plan.workers.iter().flat_map(|w| &w.isolated) {
        let lcore = u8::try_from(i.lcore).unwrap_or(u8::MAX);
        let queue = (port_id(i.queue.0), i.queue.1);
        match isolated.iter_mut().find(|l| l.lcore == lcore) {
            Some(known) => known.rx.push(queue),
            None => isolated.push(LcoreQueues {
                lcore,
                rx: vec![queue],
                tx: vec![],
            }),
        }
    }
    Topology {
        isolated,
        master: u8::try_from(eal.main_lcore()).unwrap_or(0),
        kni: plan.kni.as_ref().map(queues),
        workers: plan.workers.iter().map(queues).collect(),
    }
}

/// Keys of hashes must not be guessable from outside.
fn random_seed() -> Result<[u64; 4], StartError> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| StartError(format!("/dev/urandom: {e}")))?;
    let mut seed = [0; 4];
    for (slot, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *slot = chunk.iter().fold(0, |all, b| all << 8 | u64::from(*b));
    }
    Ok(seed)
}
