//! Schedulers against naive queues, classifiers, rates over many workers.

use super::*;
use crate::frame::{HeapFrame, WorkerId};
use crate::message::{FromWorker, ToWorker};
use crate::snapshot::{Port, Snapshot};
use crate::worker::WorkerConf;

struct Nowhere;

impl crate::frame::Io for Nowhere {
    type Frame = HeapFrame;
    fn alloc(&mut self) -> Option<HeapFrame> {
        None
    }
    fn send(&mut self, _: PortId, _: HeapFrame) {}
    fn to_host(&mut self, _: PortId, _: HeapFrame) {}
    fn hand_over(&mut self, _: WorkerId, _: PortId, _: HeapFrame) {}
    fn report(&mut self, _: FromWorker) {}
}

fn qsch(handle: u32, kind: QschKind, classes: Vec<Cls>) -> Qsch {
    Qsch {
        handle,
        uid: u64::from(handle),
        kind,
        tokens: Arc::default(),
        classes: classes.into(),
    }
}

fn install(worker: &mut Worker<HeapFrame>, egress: Vec<Qsch>) {
    let port = Port {
        mtu: 1500,
        ..Port::default()
    };
    let snapshot = Arc::new(Snapshot {
        ports: vec![port].into(),
        tc: Arc::new(Tc {
            ports: vec![[egress.into(), Arc::default()]],
        }),
        ..Snapshot::default()
    });
    let message = ToWorker::Install {
        snapshot,
        removed: Vec::new(),
    };
    worker.handle(message, Now(0), &mut Nowhere);
}

fn worker(me: u8, workers: u8, egress: Vec<Qsch>) -> Worker<HeapFrame> {
    let conf = WorkerConf {
        id: WorkerId(me),
        workers,
        conns: 64,
        seed: [1, 2, 3, 4],
    };
    let mut worker = Worker::new(conf, Now(0));
    install(&mut worker, egress);
    worker
}

/// Ports are where they are in IPv6 packets, too, also behind extension headers and
/// in tagged frames.
#[test]
fn classifiers_see_the_ports_of_ipv6() {
    for tagged in [false, true] {
        for extended in [false, true] {
            let mut bytes = vec![0; 12];
            if tagged {
                bytes.extend([0x81, 0, 0, 100]);
            }
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24]);
            bytes.extend([if extended { 60 } else { 17 }, 64]);
            bytes.extend([7; 32]);
            if extended {
                bytes.extend([17, 0, 1, 4, 0, 0, 0, 0]);
            }
            bytes.extend([0x30, 0x39, 0, 53, 0, 16, 0, 0]);
            bytes.extend([0; 60]);
            let look = Look::of(&HeapFrame::new(&bytes));
            let packet = look.packet(None).unwrap();
            let found = (packet.proto, packet.sport, packet.dport);
            assert_eq!(found, (17, 12_345, 53), "{tagged} {extended}");
        }
    }
}

/// A UDP frame of that length, with a type of service and a destination port.
fn frame(len: usize, tos: u8, port: u16) -> HeapFrame {
    let mut bytes = vec![0; len];
    bytes[12..16].copy_from_slice(&[8, 0, 0x45, tos]);
    bytes[23] = 17;
    bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    HeapFrame::new(&bytes)
}

const P0: PortId = PortId(0);

fn put(worker: &mut Worker<HeapFrame>, frame: HeapFrame) {
    let back = worker.tc_put(Side::Egress, P0, None, frame);
    assert!(back.is_none());
}

/// Everything that may go now: length and type of service.
fn take(worker: &mut Worker<HeapFrame>, now: u64) -> Vec<(usize, u8)> {
    let mut all = Vec::new();
    loop {
        let mut out = crate::frame::empty_burst();
        let n = worker.tc_take(Side::Egress, P0, Now(now), &mut out);
        all.extend(out.iter().flatten().map(|f| (f.total_len(), f.data()[15])));
        if n < BURST {
            return all;
        }
    }
}

fn stats(worker: &Worker<HeapFrame>, uid: u64) -> QschStats {
    let all = worker.tc.as_ref().unwrap().stats();
    *all.iter().find(|s| s.uid == uid).unwrap()
}

#[test]
fn fifos_drop_at_the_tail() {
    let mut w = worker(
        0,
        1,
        vec![qsch(ROOT, QschKind::Pfifo { limit: 100 }, vec![])],
    );
    for i in 0..130 {
        put(&mut w, frame(60 + i, 0, 1));
    }
    let out: Vec<usize> = take(&mut w, 0).into_iter().map(|(len, _)| len).collect();
    assert_eq!(out, (60..160).collect::<Vec<_>>());
    let s = stats(&w, ROOT.into());
    assert_eq!((s.drops, s.packets, s.qlen, s.backlog), (30, 100, 0, 0));
    let mut w = worker(
        0,
        1,
        vec![qsch(ROOT, QschKind::Bfifo { limit: 1000 }, vec![])],
    );
    for len in [600, 500, 300, 100, 60] {
        put(&mut w, frame(len, 0, 1));
    }
    let s = stats(&w, ROOT.into());
    assert_eq!((s.drops, s.qlen, s.backlog), (2, 3, 1000));
}

#[test]
fn lower_bands_go_first() {
    let mut w = worker(
        0,
        1,
        vec![qsch(ROOT, QschKind::PfifoFast { limit: 8 }, vec![])],
    );
    // Bands 1, 2, 0, 1, 0.
    for tos in [0, 0x02, 0x0c, 0x00, 0x0c] {
        put(&mut w, frame(100, tos, 1));
    }
    let order: Vec<u8> = take(&mut w, 0).into_iter().map(|(_, tos)| tos).collect();
    assert_eq!(order, [0x0c, 0x0c, 0, 0, 0x02]);
}

fn tbf(rate: u32, burst: u32) -> QschKind {
    QschKind::Tbf {
        rate,
        burst,
        peak: 0,
        mtu: 0,
        limit: 1 << 20,
    }
}

/// Whether all have something to send or one alone: together they send the rate.
#[test]
fn a_token_bucket_keeps_its_rate_over_many_workers() {
    // 8 Mbit/s and a burst of 40 kB: in two seconds two megabytes.
    let kind = tbf(8_000_000, 40_000);
    for (workers, busy) in [(1, 1), (3, 3), (8, 8), (2, 1), (8, 1), (8, 3)] {
        let conf = qsch(ROOT, kind, vec![]);
        let mut all: Vec<_> = (0..workers)
            .map(|me| worker(me, workers, vec![conf.clone()]))
            .collect();
        let (mut sent, mut random) = (vec![0; busy], 1u64);
        for now in (0..2_000_000).step_by(100) {
            for me in 0..busy {
                // Who is asked first changes.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let me = (me + (random >> 33) as usize) % busy;
                let w = &mut all[me];
                while stats(w, ROOT.into()).qlen < 50 {
                    put(w, frame(if me == 0 { 100 } else { 1000 }, 0, 1));
                }
                sent[me] += take(w, now).iter().map(|(len, _)| len).sum::<usize>();
            }
        }
        assert!(stats(&all[0], ROOT.into()).overlimits > 100);
        let sum: usize = sent.iter().sum();
        assert!(
            (2_000_000..=2_041_000).contains(&sum),
            "{busy} of {workers}: {sent:?}"
        );
        // Small frames do not starve large ones.
        let least = 2_000_000 / busy / 4;
        assert!(
            sent.iter().all(|n| *n > least),
            "{busy} of {workers}: {sent:?}"
        );
    }
    // What is larger than the burst never goes.
    let mut w = worker(0, 1, vec![qsch(ROOT, tbf(8_000_000, 1000), vec![])]);
    put(&mut w, frame(1001, 0, 1));
    assert_eq!(stats(&w, ROOT.into()).drops, 1);
}

#[test]
fn a_peak_rate_spreads_a_burst() {
    let kind = QschKind::Tbf {
        rate: 8_000_000,
        burst: 100_000,
        peak: 16_000_000,
        mtu: 1514,
        limit: 1 << 20,
    };
    let mut w = worker(0, 1, vec![qsch(ROOT, kind, vec![])]);
    for _ in 0..100 {
        put(&mut w, frame(1000, 0, 1));
    }
    assert_eq!(take(&mut w, 0).len(), 1);
    // Two bytes a microsecond.
    let mut sent = 1;
    for now in (0..20_000).step_by(100) {
        sent += take(&mut w, now).len();
    }
    assert!((39..=42).contains(&sent), "{sent}");
}

fn to_port(port: u16, target: Target) -> Cls {
    Cls {
        ethertype: 0x0800,
        rule: Rule::Match {
            proto: 17,
            src: Range::default(),
            dst: Range {
                addrs: Some(("10.0.0.2".parse().unwrap(), "10.0.0.9".parse().unwrap())),
                ports: Some((port, port)),
            },
            iif: None,
            oif: Some(P0),
        },
        target,
    }
}

#[test]
fn classifiers_choose() {
    let fifo = QschKind::Pfifo { limit: 10 };
    let mut w = worker(
        0,
        1,
        vec![
            qsch(
                ROOT,
                fifo,
                vec![
                    to_port(1, Target::Qsch(0x1_0000)),
                    to_port(2, Target::Drop),
                    to_port(3, Target::Qsch(0x7_0000)),
                ],
            ),
            qsch(0x1_0000, fifo, vec![to_port(1, Target::Qsch(0x1_0001))]),
            qsch(0x1_0001, fifo, vec![to_port(1, Target::Qsch(ROOT))]),
        ],
    );
    for port in [1, 2, 3, 4] {
        put(&mut w, frame(100, 0, port));
    }
    let len = |uid: u32| stats(&w, uid.into()).qlen;
    // Round in a circle of three, eight steps: it ends at the third.
    assert_eq!((len(ROOT), len(0x1_0000), len(0x1_0001)), (2, 0, 1));
    assert_eq!(stats(&w, ROOT.into()).drops, 1);
    // A scheduler that stays keeps its frames, one that goes drops them.
    install(
        &mut w,
        vec![qsch(ROOT, QschKind::Pfifo { limit: 5 }, vec![])],
    );
    assert_eq!(take(&mut w, 0).len(), 2);
    // Without the first one nothing is scheduled; without any nothing is left.
    install(&mut w, vec![qsch(0x1_0000, fifo, vec![])]);
    let through = w.tc_put(Side::Egress, P0, None, frame(100, 0, 1));
    assert!(through.is_some());
    install(&mut w, vec![]);
    assert!(!w.has_tc());
}
