//! Nothing shared is written per packet. What workers share is the snapshot,
//! which has nothing mutable in it, so only reference counts could be written:
//! somebody watches them while two workers forward. That there is nothing else
//! follows from the sources: no `unsafe` (a lint) and no type that can be
//! written through a shared reference, but for the buckets of rate limits, which
//! nobody touches who has none.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dpvs_core::frame::PortId;
use dpvs_core::frame::{BURST, HeapFrame, Now, WorkerId, empty_burst};
use dpvs_core::message::ToWorker;
use dpvs_core::rss::{DEFAULT_KEY, Hashed, Nic, Returns};
use dpvs_core::service::ServiceKey;
use dpvs_core::snapshot::Snapshot;
use dpvs_core::worker::{Worker, WorkerConf};
use support::{RS_MAC, Sink, ip, service, snapshot, udp};

fn forward(id: u8, snap: &Arc<Snapshot>, bursts: u16) -> u64 {
    let now = Now(1_000_000);
    let conf = WorkerConf {
        id: WorkerId(id),
        workers: 2,
        conns: 8192,
        seed: [1, 2, 3, 4],
    };
    let mut worker: Worker<HeapFrame> = Worker::new(conf, now);
    let mut io = Sink::default();
    worker.handle(
        ToWorker::Install {
            snapshot: Arc::clone(snap),
            removed: vec![],
        },
        now,
        &mut io,
    );
    for i in 11..14 {
        let (port, addr, mac) = (PortId(1), ip(&format!("10.0.1.{i}")), RS_MAC);
        worker.handle(ToWorker::NeighAdd { port, addr, mac }, now, &mut io);
    }
    READY.fetch_add(1, Ordering::SeqCst);
    while READY.load(Ordering::SeqCst) < 3 {
        std::thread::yield_now();
    }
    // New flows now and then, known ones else; some for nobody.
    for n in 0..bursts {
        let mut burst = empty_burst();
        for (i, slot) in (0u16..).zip(&mut burst) {
            let dport = if i == 31 { 54 } else { 53 };
            let packet = udp(
                ("198.51.100.7", 2000 + n / 8 * 32 + i),
                ("192.0.2.10", dport),
                b"x",
            );
            *slot = Some(HeapFrame::new(&packet.bytes()));
        }
        worker.process(PortId(0), &mut burst, BURST, now, &mut io);
        worker.tick(now, &mut io);
        io.sent.clear();
        io.host.clear();
    }
    DONE.fetch_add(1, Ordering::SeqCst);
    while DONE.load(Ordering::SeqCst) < 3 {
        std::thread::yield_now();
    }
    worker.stats().conn_hits
}

static READY: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);

#[test]
fn no_reference_is_counted_per_packet() {
    let mut snap = snapshot(vec![service(17, "192.0.2.10", 53, 3, 8080)]);
    let table: Vec<_> = (0..128).map(|i| Some(WorkerId(i % 2))).collect();
    let hashed = Hashed {
        ip: [true; 2],
        tcp: [true; 2],
        udp: [true; 2],
    };
    let nic = Arc::new(Nic::new(&DEFAULT_KEY, hashed, &table, None, 2).unwrap());
    let matched = [(ip("10.0.1.200"), PortId(1))].into();
    snap.returns = Returns::new(vec![None, Some(Arc::clone(&nic))], matched);
    let snap = Arc::new(snap);
    let key = ServiceKey {
        proto: 17,
        addr: ip("192.0.2.10"),
        port: 53,
    };
    let service = snap.services.get(&key).unwrap();
    let counts = || {
        [
            Arc::strong_count(&snap),
            Arc::strong_count(&snap.ports),
            Arc::strong_count(&snap.fib),
            Arc::strong_count(&snap.settings),
            Arc::strong_count(snap.locals.sapools()),
            Arc::strong_count(service),
            Arc::strong_count(&service.dests),
            Arc::strong_count(&service.laddrs),
            Arc::strong_count(&nic),
        ]
    };
    let (mut looks, mut installed, mut other) = (0u64, counts(), None);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|id| {
                scope.spawn({
                    let snap = &snap;
                    move || forward(id, snap, 1200)
                })
            })
            .collect();
        while READY.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        installed = counts();
        READY.fetch_add(1, Ordering::SeqCst);
        while DONE.load(Ordering::SeqCst) < 2 {
            for _ in 0..100 {
                // Asserted later: the workers wait for us.
                other = other.or(Some(counts()).filter(|now| *now != installed));
                looks += 1;
            }
            std::thread::yield_now();
        }
        DONE.fetch_add(1, Ordering::SeqCst);
        for worker in workers {
            assert!(worker.join().unwrap() > 35_000);
        }
    });
    assert_eq!(other, None, "counts at rest: {installed:?}");
    assert!(looks > 1000, "{looks} looks are too few to see anything");
}

/// The sources of the forwarding logic, without its tests.
fn sources(dir: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            sources(&path, into);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            into.push((name, code.to_owned()));
        }
    }
}

#[test]
fn nothing_can_be_written_through_a_shared_reference() {
    let mut files = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    assert!(files.len() > 30);
    for (name, code) in &files {
        // Token buckets of limits are shared, as one word each that is swapped;
        // clients' have a word beside them for whom they are.
        let buckets = ["src/tokens.rs", "src/limit.rs"]
            .iter()
            .any(|f| name.ends_with(f));
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for word in [
                "Cell",
                "Mutex",
                "RwLock",
                "Atomic",
                "OnceLock",
                "static mut",
            ] {
                // One lives on the stack while a scheduler looks at servers.
                let cell = name.ends_with("src/choose.rs") && word == "Cell";
                let allowed = buckets && word == "Atomic" || cell;
                assert!(allowed || !line.contains(word), "{name}: {line}");
            }
        }
    }
}
