//! What a new configuration costs a worker: a swap, and the rest in pieces.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use dpvs_core::frame::{HeapFrame, Io, Now, PortId, WorkerId};
use dpvs_core::message::{FromWorker, ToWorker};
use dpvs_core::service::{Dest, DestId, Policy, SchedKind, Service, ServiceId, ServiceKey};
use dpvs_core::snapshot::Snapshot;
use dpvs_core::worker::{Worker, WorkerConf};

#[derive(Default)]
struct Said(Vec<FromWorker>);

impl Io for Said {
    type Frame = HeapFrame;
    fn alloc(&mut self) -> Option<HeapFrame> {
        None
    }
    fn send(&mut self, _: PortId, _: HeapFrame) {}
    fn to_host(&mut self, _: PortId, _: HeapFrame) {}
    fn hand_over(&mut self, _: WorkerId, _: PortId, _: HeapFrame) {}
    fn report(&mut self, event: FromWorker) {
        self.0.push(event);
    }
}

impl Said {
    fn installed(&self) -> Vec<u64> {
        let epoch = |e: &FromWorker| match e {
            FromWorker::Installed { epoch, .. } => Some(*epoch),
            _ => None,
        };
        self.0.iter().filter_map(epoch).collect()
    }

    fn drained(&self) -> usize {
        let is = |e: &&FromWorker| matches!(e, FromWorker::DestDrained { .. });
        self.0.iter().filter(is).count()
    }
}

/// Services of ten servers each.
fn snapshot(epoch: u64, services: u32) -> Arc<Snapshot> {
    let mut snapshot = Snapshot {
        epoch,
        ..Snapshot::default()
    };
    for n in 0..services {
        let dest = |m| Dest::new(DestId(n * 10 + m), [10, 0, 0, 1].into(), 80);
        snapshot.services.insert(Arc::new(Service {
            id: ServiceId(n),
            uid: n.into(),
            version: 0,
            key: ServiceKey {
                proto: 6,
                addr: std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(),
                port: 80,
            },
            sched: SchedKind::Rr,
            proxy: None,
            matching: None,
            conn_timeout: 0,
            expire_quiescent: false,
            synproxy: false,
            syns: Arc::default(),
            dests: (0..10).map(dest).collect(),
            laddrs: [].into(),
            policy: Policy::default(),
        }));
    }
    Arc::new(snapshot)
}

fn install(worker: &mut Worker<HeapFrame>, said: &mut Said, epoch: u64, services: u32) {
    let message = ToWorker::Install {
        snapshot: snapshot(epoch, services),
        removed: Vec::new(),
    };
    worker.handle(message, Now(0), said);
}

#[test]
fn a_large_configuration_comes_in_pieces_and_whole() {
    let conf = WorkerConf {
        id: WorkerId(0),
        workers: 1,
        conns: 64,
        seed: [1, 2, 3, 4],
    };
    let mut worker = Worker::new(conf, Now(0));
    let mut said = Said::default();
    install(&mut worker, &mut said, 1, 0);
    assert_eq!(said.installed(), [1]);
    // 50,000 servers more than there were: not in one go.
    install(&mut worker, &mut said, 2, 5000);
    assert_eq!(
        said.installed(),
        [1],
        "not before every server has its state"
    );
    assert!(worker.has_chores());
    // Overtaken: it is given back, and the next one takes its place.
    install(&mut worker, &mut said, 3, 5000);
    let given_back = |e: &FromWorker| {
        matches!(
            e,
            FromWorker::Spent {
                snapshot: Some(_),
                ..
            }
        )
    };
    assert!(said.0.iter().any(given_back));
    let mut ticks = 0;
    while worker.has_chores() {
        worker.tick(Now(0), &mut said);
        ticks += 1;
    }
    assert_eq!(said.installed(), [1, 3]);
    assert!((40..60).contains(&ticks), "{ticks} pieces");
    // The next change costs nothing of that.
    install(&mut worker, &mut said, 4, 5000);
    assert_eq!(said.installed(), [1, 3, 4]);
    assert!(!worker.has_chores());
}

#[test]
fn removed_servers_are_looked_at_a_few_at_a_time() {
    let conf = WorkerConf {
        id: WorkerId(0),
        workers: 1,
        conns: 64,
        seed: [1, 2, 3, 4],
    };
    let mut worker = Worker::new(conf, Now(0));
    let mut said = Said::default();
    install(&mut worker, &mut said, 1, 100);
    let message = ToWorker::Install {
        snapshot: snapshot(2, 0),
        removed: (0..1000).map(DestId).collect(),
    };
    worker.handle(message, Now(0), &mut said);
    assert_eq!(said.installed(), [1, 2]);
    assert_eq!(said.drained(), 64);
    while worker.has_chores() {
        let before = said.drained();
        worker.tick(Now(0), &mut said);
        assert!(said.drained() - before <= 64);
    }
    assert_eq!(said.drained(), 1000);
    let list =
        |e: &FromWorker| matches!(e, FromWorker::Spent { removed, .. } if removed.len() == 1000);
    assert!(said.0.iter().any(list), "the list is the master's to free");
}
