//! A worker before and while it gets its first configuration.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use dpvs_core::frame::{HeapFrame, Now, PortId, WorkerId, empty_burst};
use dpvs_core::message::ToWorker;
use dpvs_core::stats::Reason;
use dpvs_core::worker::{Worker, WorkerConf};
use support::{Sink, service, snapshot, udp};

#[test]
fn frames_before_the_first_snapshot_are_counted_and_harm_nothing() {
    let conf = WorkerConf {
        id: WorkerId(0),
        workers: 1,
        conns: 100,
        seed: [1, 2, 3, 4],
    };
    let mut worker = Worker::new(conf, Now(0));
    let mut io = Sink::default();
    let frame = udp(("198.51.100.7", 1111), ("192.0.2.10", 53), b"hello").bytes();
    let send = |worker: &mut Worker<HeapFrame>, io: &mut Sink, port: u16| {
        let mut burst = empty_burst();
        burst[0] = Some(HeapFrame::new(&frame));
        worker.process(PortId(port), &mut burst, 1, Now(1000), io);
        assert!(burst[0].is_none());
    };
    send(&mut worker, &mut io, 0);
    assert_eq!(worker.stats().dropped(Reason::NotConfigured), 1);
    let snap = snapshot(vec![service(17, "192.0.2.10", 53, 1, 53)]);
    worker.handle(
        ToWorker::Install {
            snapshot: Arc::new(snap),
            removed: vec![],
        },
        Now(0),
        &mut io,
    );
    // A port that is not configured, then one that is.
    send(&mut worker, &mut io, 9);
    assert_eq!(worker.stats().dropped(Reason::NotConfigured), 2);
    send(&mut worker, &mut io, 0);
    assert_eq!(worker.conns(), 1, "the worker forwards");
}
