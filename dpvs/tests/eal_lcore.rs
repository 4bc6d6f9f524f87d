//! A worker lcore as the master runs it, between two net_ring ports that make
//! a wire, with all its rings. What it forwards by is the logic's own matter.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod eal_lab;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dpvs::idle::Idle;
use dpvs::isolated::{Isolated, Source};
use dpvs::lcore::{self, LcoreCounters, Plan};
use dpvs::port::mem::Ahead;
use dpvs::port::{Batch, Mbuf, Pool, Port, PortConf, Ready, ring};
use dpvs::wake::Napper;
use dpvs::wiring::{DeviceCounters, Wiring};
use dpvs_core::frame::{Burst, Frame, PortId, WorkerId, empty_burst};
use dpvs_core::message::{FromWorker, Query, Reply, ToWorker};
use dpvs_core::snapshot::{self, Local, Locals, PortAddr, Snapshot};
use dpvs_core::tc::{Qsch, QschKind, ROOT, Tc};
use dpvs_core::worker::WorkerConf;
use eal_lab::lab;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN: [u8; 4] = [10, 9, 3, 1];
const HOST: [u8; 4] = [10, 9, 3, 100];

fn start(name: &str, pool: Pool) -> Ready {
    let conf = PortConf::default();
    let port = Port::by_name(&lab().eal, name).unwrap();
    let ready = port.configure(&conf, pool).unwrap();
    ready.port.start(&conf).unwrap();
    ready
}

fn snapshot() -> Snapshot {
    let port = snapshot::Port {
        name: "dpdk0".into(),
        mac: MAC,
        mtu: 1500,
        has_host: true,
        addrs: vec![PortAddr {
            addr: IpAddr::from(OWN),
            plen: 24,
            sapool: false,
        }],
        ..snapshot::Port::default()
    };
    let port_id = PortId(0);
    let locals = Locals::from_iter([
        (
            IpAddr::from(OWN),
            Local::Own {
                port: port_id,
                sapool: false,
            },
        ),
        (IpAddr::from(HOST), Local::Host { port: port_id }),
    ]);
    Snapshot {
        epoch: 7,
        ports: Arc::new([port]),
        locals,
        ..Snapshot::default()
    }
}

fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&[10, 9, 3, 2, 0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&OWN);
    frame.resize(60, 0);
    frame
}

/// A datagram to the kernel's address.
fn for_host() -> Vec<u8> {
    let mut frame = [MAC, PEER].concat();
    frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 9, 3, 2]);
    frame.extend_from_slice(&HOST);
    frame.extend_from_slice(&[0x30, 0x39, 0, 53, 0, 12, 0, 0, b'a', b'b', b'c', b'd']);
    let sum = frame[14..34]
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn one(pool: &Pool, bytes: &[u8], mark: u16) -> Batch {
    let mut frame = pool.alloc().unwrap();
    assert!(frame.append(bytes));
    frame.set_mark(mark);
    let mut batch = Batch::new();
    batch.push(frame).unwrap();
    batch
}

fn wait_frame(what: &str, mut burst: impl FnMut(&mut Burst<Mbuf>) -> usize) -> Vec<u8> {
    let mut slots = empty_burst();
    let end = Instant::now() + Duration::from_secs(10);
    while burst(&mut slots) == 0 {
        assert!(Instant::now() < end, "{what}: nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
    let frames: Vec<Mbuf> = slots.iter_mut().filter_map(Option::take).collect();
    assert_eq!(frames.len(), 1, "{what}");
    frames[0].data().to_vec()
}

/// An lcore that only receives: what comes waits in the ring, in order, and what
/// has no room there is counted.
fn isolated_lcore(pool: Pool) {
    let eal = &lab().eal;
    let mut port = start("net_ring2", pool);
    let (sender, ring) = ring::channel(eal, "isolated", 64, 0).unwrap();
    let counters = Arc::new(LcoreCounters::default());
    let stop = Arc::new(AtomicBool::new(false));
    let isolated = Isolated {
        queues: vec![(port.rx.remove(0), sender)],
        counters: Arc::clone(&counters),
        clock: eal.clock(),
        idle: Idle {
            pause_turns: 8,
            sleep_after: Duration::from_micros(200),
            sleep: Duration::from_micros(50),
        },
        stop: Arc::clone(&stop),
    };
    let worker = eal.worker_lcores().next().unwrap();
    eal.launch(worker, move || isolated.run()).unwrap();
    for n in 0..100u8 {
        let mut batch = one(&pool, &[n; 60], 0);
        while port.tx[0].burst(&mut batch) == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    let end = Instant::now() + Duration::from_secs(5);
    while counters.ipackets.get() < 100 {
        assert!(Instant::now() < end, "{}", counters.ipackets.get());
        std::thread::sleep(Duration::from_millis(1));
    }
    stop.store(true, Ordering::SeqCst);
    eal.wait(worker);
    // A ring of 64 places holds 63.
    assert_eq!(
        (counters.dropped(), counters.ibytes.get()),
        (100 - 63, 6000)
    );
    let mut source = Source::Ring(ring);
    let mut next = 0;
    let mut slots = empty_burst();
    while source.burst(&mut slots) > 0 {
        for frame in slots.iter_mut().filter_map(Option::take) {
            assert_eq!(frame.data()[0], next);
            next += 1;
        }
    }
    assert_eq!(next, 63);
}

#[test]
fn worker_lcore_moves_frames_every_way() {
    let eal = &lab().eal;
    let pool = Pool::create(eal, "lcore", 4095, 64, 0).unwrap();
    isolated_lcore(pool);
    // What the lcore sends leaves by net_ring0 and comes back to the test;
    // what the test sends on net_ring1 the lcore receives.
    let mut out = start("net_ring0", pool);
    let mut into = start("net_ring1", pool);
    let (to_host, mut host_side) = ring::shared_channel(eal, "to_host", 64, 0).unwrap();
    let (mut kernel, from_host) = ring::channel(eal, "from_host", 64, 0).unwrap();
    let (mut other_worker, handed) = ring::shared_channel(eal, "handed", 64, 0).unwrap();
    let (messages, inbox) = mpsc::channel();
    let (outbox, answers) = mpsc::channel();
    let (wires, wiring) = mpsc::channel();
    let counters = Arc::new(LcoreCounters::default());
    let stop = Arc::new(AtomicBool::new(false));
    let plan = Plan {
        worker: WorkerConf {
            id: WorkerId(0),
            workers: 2,
            conns: 1000,
            seed: [1, 2, 3, 4],
        },
        rx: vec![(PortId(0), into.rx.remove(0).into())],
        tx: vec![Some(out.tx.remove(0))],
        to_host: vec![Some(to_host)],
        from_host: vec![(PortId(0), from_host)],
        handed,
        peers: vec![None, None],
        inboxes: vec![None, None],
        pool,
        clock: eal.clock(),
        inbox,
        wiring,
        outbox: outbox.into(),
        napper: Napper::default(),
        counters: Arc::clone(&counters),
        ahead: Ahead::start().unwrap(),
        stop: Arc::clone(&stop),
        watch: Arc::default(),
        idle: Idle {
            pause_turns: 8,
            sleep_after: Duration::from_micros(200),
            sleep: Duration::from_micros(50),
        },
    };
    let worker = eal.worker_lcores().next().unwrap();
    eal.launch(worker, move || lcore::run(plan)).unwrap();

    // A VLAN device, told of before the worker hears of it.
    let (mut vlan_kernel, from_host) = ring::channel(eal, "vlan_from_host", 64, 0).unwrap();
    let passed = Arc::new(DeviceCounters::default());
    wires
        .send(Wiring::Add {
            device: PortId(1),
            tag: Some((PortId(0), 100)),
            counters: Arc::clone(&passed),
            seqs: Arc::default(),
            to_host: None,
            from_host: Some(from_host),
        })
        .unwrap();
    messages
        .send(ToWorker::Install {
            snapshot: Arc::new(snapshot()),
            removed: Vec::new(),
        })
        .unwrap();
    match answers.recv_timeout(Duration::from_secs(5)).unwrap() {
        FromWorker::Installed { epoch, retired, .. } => {
            assert_eq!(epoch, 7);
            assert!(retired.is_none());
        }
        other => panic!("{other:?}"),
    }

    let is_arp_reply = |frame: &[u8]| {
        assert_eq!(frame[..12], [PEER, MAC].concat());
        assert_eq!(frame[12..14], [8, 6]);
        assert_eq!(frame[20..22], [0, 2]);
        assert_eq!((&frame[22..28], &frame[28..32]), (&MAC[..], &OWN[..]));
    };
    // From the wire.
    assert_eq!(into.tx[0].burst(&mut one(&pool, &arp_request(), 0)), 1);
    is_arp_reply(&wait_frame("ARP", |slots| out.rx[0].burst(slots)));
    // Handed over by another worker, which received it on port 0.
    assert_eq!(other_worker.burst(&mut one(&pool, &arp_request(), 0)), 1);
    is_arp_reply(&wait_frame("ARP handed over", |slots| {
        out.rx[0].burst(slots)
    }));
    // From the kernel to the wire, unchanged.
    let kernels = vec![0x42; 77];
    assert_eq!(kernel.burst(&mut one(&pool, &kernels, 0)), 1);
    assert_eq!(
        wait_frame("from the kernel", |slots| out.rx[0].burst(slots)),
        kernels
    );
    // By the VLAN device, with its tag.
    assert_eq!(vlan_kernel.burst(&mut one(&pool, &kernels, 0)), 1);
    let tagged = [&kernels[..12], &[0x81, 0, 0, 100], &kernels[12..]].concat();
    assert_eq!(
        wait_frame("from the kernel to a VLAN", |slots| out.rx[0].burst(slots)),
        tagged
    );
    assert_eq!((passed.opackets.get(), passed.obytes.get()), (1, 77));
    // Through the device's schedulers first, and then, tagged, through its port's.
    let qsch = |kind, uid| Qsch {
        handle: ROOT,
        uid,
        kind,
        tokens: Arc::default(),
        classes: Arc::default(),
    };
    let device = qsch(QschKind::Pfifo { limit: 10 }, 1);
    let port = qsch(QschKind::Bfifo { limit: 77 }, 2);
    let side = |qsch| [Arc::new([qsch]) as Arc<[Qsch]>, Arc::default()];
    messages
        .send(ToWorker::Install {
            snapshot: Arc::new(Snapshot {
                epoch: 8,
                tc: Arc::new(Tc {
                    ports: vec![side(port), side(device)],
                }),
                ..snapshot()
            }),
            removed: Vec::new(),
        })
        .unwrap();
    let installed = answers.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(matches!(installed, FromWorker::Installed { epoch: 8, .. }));
    for kernels in [&kernels[..], &kernels[..73]] {
        assert_eq!(vlan_kernel.burst(&mut one(&pool, kernels, 0)), 1);
    }
    // The tag made the first one too long for the port's queue.
    let tagged = &tagged[..77];
    assert_eq!(
        wait_frame("by two schedulers", |slots| out.rx[0].burst(slots)),
        tagged
    );
    assert_eq!((passed.opackets.get(), passed.obytes.get()), (3, 227));
    // From the wire to the kernel, unchanged.
    assert_eq!(into.tx[0].burst(&mut one(&pool, &for_host(), 0)), 1);
    assert_eq!(
        wait_frame("to the kernel", |slots| host_side.burst(slots)),
        for_host()
    );

    messages
        .send(ToWorker::Query {
            token: 5,
            query: Query::Counters,
        })
        .unwrap();
    let reply = loop {
        if let FromWorker::Reply { token, reply, .. } =
            answers.recv_timeout(Duration::from_secs(5)).unwrap()
        {
            assert_eq!(token, 5);
            break reply;
        }
    };
    let Reply::Counters(stats) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(stats.to_host, 1);

    stop.store(true, Ordering::SeqCst);
    eal.wait(worker);
    assert_eq!(
        (counters.ipackets.get(), counters.ibytes.get()),
        (2, 60 + 46)
    );
    assert_eq!((counters.opackets.get(), counters.dropped()), (5, 0));
    assert_eq!(counters.to_half.get(), 2);
    assert_eq!(counters.bursts.get(), counters.zero.get() + 2);
    assert!(counters.loops.get() >= counters.bursts.get());
    assert_eq!(pool.in_use(), 0);
}
