//! Hostile input: whatever frames and messages come, a worker neither panics nor
//! loses count.
//!
//! Frames are valid ones of every kind the director handles, mangled at random,
//! plus plain noise. After each burst every frame is accounted for: sent, given
//! to the kernel, handed over, dropped with a reason, or waiting for a neighbour;
//! at the end, when all is quiet, nothing is left open.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::message::{ConnTuple, FromWorker, Query, Reply, ToWorker};
use dpvs_core::service::{Dest, DestId, SchedKind, Service, ServiceId};
use dpvs_core::stats::Reason;
use proptest::prelude::*;
use support::frames::{fix_ip4, honest};
use support::{Bench, MAC0, MAC1, Packet, ip, service, snapshot};

/// A director with everything switched on that reads packets.
fn bench(workers: u8) -> Bench {
    let mut services = Vec::new();
    for (i, (proto, vip, port)) in [
        (6, "192.0.2.10", 80),
        (17, "192.0.2.10", 53),
        (6, "2001:db8:1::10", 80),
        (17, "2001:db8:1::10", 53),
    ]
    .into_iter()
    .enumerate()
    {
        let mut s = service(proto, vip, port, 3, 8080);
        s.id = ServiceId(i as u32);
        s.uid = i as u64 + 1;
        s.dests = s
            .dests
            .iter()
            .map(|d| Dest {
                id: DestId(d.id.0 + 3 * i as u32),
                // One of them has no neighbour entry.
                addr: if d.id.0 == 2 {
                    ip(if vip.contains(':') {
                        "2001:db8:2::50"
                    } else {
                        "10.0.1.50"
                    })
                } else {
                    d.addr
                },
                ..*d
            })
            .collect();
        s.expire_quiescent = i == 1;
        services.push(s);
    }
    let mut b = Bench::with_workers(snapshot(services), 0, workers);
    b.settings(|s| {
        s.forward4 = true;
        s.forward6 = true;
        s.unres_queue = 4;
    });
    b
}

/// Puts frames in and checks that every one of them went somewhere.
fn feed(b: &mut Bench, port: u16, frames: &[&[u8]]) {
    b.io.sent.clear();
    let before = books(b);
    let mut sent = 0;
    let mut asked = 0;
    for burst in frames.chunks(32) {
        let out = b.burst(port, burst);
        sent += out.len() as i64;
        asked += out.iter().filter(|(_, f)| asks(f)).count() as i64;
    }
    let after = books(b);
    let d = |name: &str| after[name] - before[name];
    // A frame is sent, given away, dropped or waits. Beyond that there are frames
    // made here: questions to neighbours, answers and errors (whose cause counts
    // as dropped), resets, all pieces of a packet but one, copies for the other workers
    // of what a router said of an MTU.
    let extra = sent + d("host") + d("handed") + d("dropped") + d("queued") - frames.len() as i64;
    assert!(extra >= 0, "{} frames are not accounted for", -extra);
    let told = frames.iter().filter(|f| tells_mtu(f)).count() as i64;
    let causes = asked + d("consumed") + d("errors") + 2 * d("ended") + d("pieces") + 2 * told;
    assert!(extra <= causes, "{extra} frames more than {causes} causes");
    b.io.host.clear();
    b.io.handed.clear();
}

/// A question to a neighbour sent by us.
fn asks(f: &[u8]) -> bool {
    let ours = f[6..12] == MAC0 || f[6..12] == MAC1;
    let arp = f[12..14] == [8, 6] && f[21] == 1;
    let ns = f[12..14] == [0x86, 0xdd] && f[20] == 58 && f.get(54) == Some(&135);
    ours && (arp || ns)
}

/// A router's word on an MTU, wherever the header in front of it ends.
fn tells_mtu(f: &[u8]) -> bool {
    match (f.get(12..14), f.get(14), f.get(23), f.get(20)) {
        (Some([8, 0]), Some(ihl), Some(1), _) => {
            let at = 14 + usize::from(ihl & 15) * 4;
            f.get(at..at + 2) == Some(&[3, 4])
        }
        (Some([0x86, 0xdd]), _, _, Some(58)) => f.get(54) == Some(&2),
        _ => false,
    }
}

fn books(b: &mut Bench) -> BTreeMap<&'static str, i64> {
    let queued: u32 = match b.query(Query::Neighbours) {
        Reply::Neighbours(all) => all.iter().map(|n| n.queued).sum(),
        _ => 0,
    };
    let waiting = b.worker.waiting() as i64;
    let s = b.worker.stats();
    let errors = s.dropped(Reason::TooBig) + s.dropped(Reason::TtlExceeded);
    let dropped: u64 = s.drops.iter().sum();
    BTreeMap::from([
        ("dropped", dropped as i64),
        ("consumed", s.dropped(Reason::Consumed) as i64),
        ("errors", errors as i64),
        ("host", s.to_host as i64),
        ("handed", s.handed_over as i64),
        ("ended", s.conns_gone as i64),
        ("pieces", s.ip4.frag_creates as i64),
        ("queued", i64::from(queued) + waiting),
    ])
}

/// Time passes until all has ended; then nothing may be left.
fn all_ends(b: &mut Bench) {
    for _ in 0..8 {
        b.pass(100_000);
        b.io.sent.clear();
    }
    assert_eq!(b.worker.conns(), 0, "connections that never end");
    assert_eq!(b.worker.waiting(), 0, "frames that wait for ever");
    let Reply::Laddrs(all) = b.query(Query::Laddrs) else {
        panic!()
    };
    assert!(all.iter().all(|l| l.used == 0 && l.conns == 0), "{all:?}");
    let Reply::Neighbours(all) = b.query(Query::Neighbours) else {
        panic!()
    };
    assert!(all.iter().all(|n| n.queued == 0), "{all:?}");
    let Reply::Dests(all) = b.query(Query::Dests((0..64).map(DestId).collect())) else {
        panic!()
    };
    assert!(all.iter().all(|d| d.active == 0 && d.inactive == 0));
}

/// Every frame cut at every byte, and with every bit of its first bytes turned;
/// the IPv4 header checksum as it is, and made right.
#[test]
fn every_cut_and_every_bit() {
    for workers in [1, 2] {
        let mut b = bench(workers);
        let frames = honest();
        for (port, frame) in &frames {
            feed(&mut b, *port, &[frame]);
        }
        for (port, frame) in &frames {
            let cuts: Vec<&[u8]> = (0..frame.len().min(200)).map(|n| &frame[..n]).collect();
            feed(&mut b, *port, &cuts);
            for byte in 6..frame.len().min(110) {
                let mut turned = Vec::new();
                for bit in 0..8 {
                    let mut f = frame.clone();
                    f[byte] ^= 1 << bit;
                    turned.push(f.clone());
                    fix_ip4(&mut f);
                    turned.push(f);
                }
                let turned: Vec<&[u8]> = turned.iter().map(|f| &f[..]).collect();
                feed(&mut b, *port, &turned);
            }
            b.pass(100);
            check_sums(&mut b, 64);
        }
        let listed = walk(&mut b);
        assert_eq!(listed, b.worker.conns(), "every connection is listed once");
        all_ends(&mut b);
    }
}

/// The servers' counters agree with the connection table.
fn check_sums(b: &mut Bench, dests: u32) {
    let Reply::Dests(all) = b.query(Query::Dests((0..dests).map(DestId).collect())) else {
        panic!()
    };
    let sum: u32 = all.iter().map(|d| d.active + d.inactive).sum();
    assert_eq!(sum as usize, b.worker.conns(), "active + inactive");
    let s = b.worker.stats();
    assert_eq!(s.conns_made - s.conns_gone, b.worker.conns() as u64);
}

/// Connections met by a listing in small pieces.
fn walk(b: &mut Bench) -> usize {
    let (mut cursor, mut met) = (0, BTreeSet::new());
    loop {
        let query = Query::Conns { cursor, max: 7 };
        let Reply::Conns { conns, next } = b.query(query) else {
            panic!()
        };
        for c in conns {
            assert!(met.insert((c.client, c.vip, c.proto)), "listed twice");
        }
        match next {
            Some(next) => cursor = next,
            None => return met.len(),
        }
    }
}

/// One change to a frame.
#[derive(Clone, Debug)]
enum Change {
    Cut(usize),
    Grow(usize),
    Set(usize, u8),
    Turn(usize, u8),
    Swap(usize, usize),
    Word(usize, u16),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..90usize;
    prop_oneof![
        (0..120usize).prop_map(Change::Cut),
        (1..1500usize).prop_map(Change::Grow),
        (at.clone(), any::<u8>()).prop_map(|(i, v)| Change::Set(i, v)),
        (at.clone(), 0..8u8).prop_map(|(i, v)| Change::Turn(i, v)),
        (at.clone(), 0..90usize).prop_map(|(i, j)| Change::Swap(i, j)),
        (at, prop_oneof![Just(0), Just(0xffff), any::<u16>()])
            .prop_map(|(i, v)| Change::Word(i, v)),
    ]
}

fn mangle(frame: &mut Vec<u8>, changes: &[Change], fix: bool) {
    for change in changes {
        let len = frame.len();
        match *change {
            Change::Cut(n) => frame.truncate(n),
            Change::Grow(n) => frame.resize(len + n, 0x5a),
            Change::Set(i, v) if i < len => frame[i] = v,
            Change::Turn(i, bit) if i < len => frame[i] ^= 1 << bit,
            Change::Swap(i, j) if i < len && j < len => frame.swap(i, j),
            Change::Word(i, v) if i + 1 < len => {
                frame[i..i + 2].copy_from_slice(&v.to_be_bytes());
            }
            _ => {}
        }
    }
    if fix {
        fix_ip4(frame);
    }
}

type Mangled = (usize, Vec<Change>, bool);

fn mangled() -> impl Strategy<Value = Mangled> {
    (
        any::<usize>(),
        prop::collection::vec(change(), 0..4),
        any::<bool>(),
    )
}

fn traffic(b: &mut Bench, frames: &[(u16, Vec<u8>)], list: &[Mangled]) {
    for port in [0, 1] {
        let mut burst = Vec::new();
        for (i, changes, fix) in list {
            let (p, frame) = &frames[i % frames.len()];
            if *p == port {
                let mut frame = frame.clone();
                mangle(&mut frame, changes, *fix);
                burst.push(frame);
            }
        }
        let burst: Vec<&[u8]> = burst.iter().map(|f| &f[..]).collect();
        feed(b, port, &burst);
    }
}

/// What the master (or the wire) may do next.
#[derive(Clone, Debug)]
enum Step {
    Traffic(Vec<Mangled>),
    Noise(u16, Vec<u8>),
    Pass(u64),
    AddDest(usize, u8, u16),
    DelDest(usize, usize),
    Weight(usize, usize, u16),
    DropService(usize),
    Sched(usize, u8),
    Zero(Vec<u32>),
    Neigh(u16, u8, bool, [u8; 6]),
    NeighDel(u16, u8),
    Announce(u16, u8),
    Ask(u32, u32),
    Mtu(u16),
    Sapool(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(mangled(), 1..40).prop_map(Step::Traffic),
        1 => (0..2u16, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(p, f)| Step::Noise(p, f)),
        2 => (1..40_000u64).prop_map(Step::Pass),
        2 => (0..4usize, 11..60u8, 0..4u16).prop_map(|(s, a, w)| Step::AddDest(s, a, w)),
        2 => (0..4usize, any::<usize>()).prop_map(|(s, i)| Step::DelDest(s, i)),
        1 => (0..4usize, any::<usize>(), 0..3u16).prop_map(|(s, i, w)| Step::Weight(s, i, w)),
        1 => (0..4usize).prop_map(Step::DropService),
        1 => (0..4usize, 0..3u8).prop_map(|(s, k)| Step::Sched(s, k)),
        1 => prop::collection::vec(any::<u32>(), 0..3).prop_map(Step::Zero),
        1 => (0..4u16, 0..60u8, any::<bool>(), any::<[u8; 6]>())
            .prop_map(|(p, a, add, m)| Step::Neigh(p, a, add, m)),
        1 => (0..4u16, 0..60u8).prop_map(|(p, a)| Step::NeighDel(p, a)),
        1 => (0..4u16, any::<u8>()).prop_map(|(p, a)| Step::Announce(p, a)),
        1 => (any::<u32>(), 0..50u32).prop_map(|(c, m)| Step::Ask(c, m)),
        1 => prop_oneof![Just(0), 1..100u16, 500..1500u16].prop_map(Step::Mtu),
        1 => any::<bool>().prop_map(Step::Sapool),
    ]
}

/// The master's side of a run.
struct Master {
    services: Vec<Service>,
    next: u32,
    free: Vec<DestId>,
    /// Removed and not yet reported unused.
    waiting: BTreeSet<DestId>,
}

impl Master {
    fn publish(&mut self, b: &mut Bench, change: Option<usize>, removed: Vec<DestId>) {
        let mut snap = b.snap.clone();
        if let Some(i) = change {
            self.services[i].version += 1;
            snap.services.insert(Arc::new(self.services[i].clone()));
        }
        snap.epoch += 1;
        b.snap = snap.clone();
        for id in &removed {
            assert!(self.waiting.insert(*id));
        }
        b.handle(ToWorker::Install {
            snapshot: Arc::new(snap),
            removed,
        });
    }

    /// Every report is one that is due, and comes once.
    fn reports(&mut self, b: &mut Bench) {
        for event in std::mem::take(&mut b.io.events) {
            if let FromWorker::DestDrained { dest, .. } = event {
                assert!(self.waiting.remove(&dest), "{dest:?} reported out of turn");
                self.free.push(dest);
            }
        }
    }

    fn id(&mut self) -> DestId {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            DestId(self.next - 1)
        })
    }
}

fn apply(b: &mut Bench, m: &mut Master, frames: &[(u16, Vec<u8>)], step: &Step) {
    match step {
        Step::Traffic(list) => traffic(b, frames, list),
        Step::Noise(port, bytes) => feed(b, *port, &[bytes]),
        Step::Pass(ms) => b.pass(*ms),
        Step::AddDest(s, host, weight) => {
            let v6 = m.services[*s].key.addr.is_ipv6();
            let addr = if v6 {
                format!("2001:db8:2::{host:x}")
            } else {
                format!("10.0.1.{host}")
            };
            let mut dests = m.services[*s].dests.to_vec();
            dests.push(Dest {
                weight: *weight,
                max_conn: u32::from(*host % 3),
                ..Dest::new(m.id(), ip(&addr), 8080)
            });
            m.services[*s].dests = dests.into();
            m.publish(b, Some(*s), vec![]);
        }
        Step::DelDest(s, i) => {
            let mut dests = m.services[*s].dests.to_vec();
            if !dests.is_empty() {
                let gone = dests.remove(i % dests.len());
                m.services[*s].dests = dests.into();
                m.publish(b, Some(*s), vec![gone.id]);
            }
        }
        Step::Weight(s, i, weight) => {
            let mut dests = m.services[*s].dests.to_vec();
            if !dests.is_empty() {
                let at = i % dests.len();
                dests[at].weight = *weight;
                m.services[*s].dests = dests.into();
                m.publish(b, Some(*s), vec![]);
            }
        }
        Step::DropService(s) => {
            let gone = m.services[*s].dests.iter().map(|d| d.id).collect();
            b.snap.services.remove(&m.services[*s].key);
            m.services[*s].dests = Vec::new().into();
            m.services[*s].uid += 100;
            m.publish(b, None, gone);
        }
        Step::Sched(s, kind) => {
            let kinds = [SchedKind::Rr, SchedKind::Wrr, SchedKind::Wlc];
            m.services[*s].sched = kinds[usize::from(*kind)];
            m.publish(b, Some(*s), vec![]);
        }
        Step::Zero(dests) => b.handle(ToWorker::Zero {
            dests: dests.iter().map(|d| DestId(*d)).collect(),
        }),
        Step::Neigh(port, host, add, mac) => {
            let (port, addr, mac) = (PortId(*port), ip(&format!("10.0.1.{host}")), *mac);
            b.handle(if *add {
                ToWorker::NeighAdd { port, addr, mac }
            } else {
                ToWorker::NeighLearn { port, addr, mac }
            });
        }
        Step::NeighDel(port, host) => b.handle(ToWorker::NeighDel {
            port: PortId(*port),
            addr: ip(&format!("10.0.1.{host}")),
        }),
        Step::Announce(port, host) => b.handle(ToWorker::Announce {
            port: PortId(*port),
            addr: ip(&format!("192.0.2.{host}")),
        }),
        Step::Ask(cursor, max) => {
            b.query(Query::Conns {
                cursor: *cursor,
                max: *max,
            });
            b.query(Query::Dests(vec![DestId(*cursor)]));
            b.query(Query::ConnFind(ConnTuple {
                proto: 6,
                src: ip("198.51.100.7"),
                sport: *cursor as u16,
                dst: ip(if *max % 2 == 0 {
                    "192.0.2.10"
                } else {
                    "2001:db8:1::10"
                }),
                dport: 80,
            }));
            b.query(Query::Counters);
        }
        Step::Mtu(mtu) => {
            let mut ports = b.snap.ports.to_vec();
            ports[1].mtu = *mtu;
            b.snap.ports = ports.into();
            m.publish(b, None, vec![]);
        }
        Step::Sapool(on) => {
            let locals: Vec<_> = b.snap.locals.iter().map(|(a, l)| (*a, *l)).collect();
            for (addr, mut local) in locals {
                if let dpvs_core::snapshot::Local::Own { port, sapool } = &mut local {
                    *sapool = *on && port.0 == 1;
                }
                b.snap.locals.insert(addr, local);
            }
            m.publish(b, None, vec![]);
        }
    }
    b.io.sent.clear();
    m.reports(b);
    check_sums(b, m.next.max(64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mangled_frames(list in prop::collection::vec(mangled(), 1..200), workers in 1..4u8) {
        let mut b = bench(workers);
        traffic(&mut b, &honest(), &list);
        check_sums(&mut b, 64);
        all_ends(&mut b);
    }

    #[test]
    fn noise(list in prop::collection::vec((0..2u16, any::<u16>(), prop::collection::vec(any::<u8>(), 0..300)), 1..60)) {
        let mut b = bench(1);
        for (port, ethertype, mut bytes) in list {
            // Most of it would be dropped for its MAC address.
            for (at, byte) in bytes.iter_mut().zip(if port == 0 { MAC0 } else { MAC1 }) {
                *at = byte;
            }
            if bytes.len() > 14 {
                let known = [0x0800, 0x86dd, 0x0806, ethertype][usize::from(ethertype % 4)];
                bytes[12..14].copy_from_slice(&known.to_be_bytes());
                bytes[14] = if known == 0x86dd { 0x60 } else { 0x45 | bytes[14] & 1 };
                if let Some(len) = bytes.len().checked_sub(14 + 40).filter(|_| known == 0x86dd) {
                    bytes[18..20].copy_from_slice(&(len as u16).to_be_bytes());
                }
            }
            fix_ip4(&mut bytes);
            feed(&mut b, port, &[&bytes]);
        }
        check_sums(&mut b, 64);
        all_ends(&mut b);
    }

    #[test]
    fn changes_and_traffic(steps in prop::collection::vec(step(), 1..60)) {
        let mut b = bench(1);
        let frames = honest();
        let mut services: Vec<Service> = b.snap.services.iter().map(|s| (**s).clone()).collect();
        services.sort_by_key(|s| s.id);
        let mut m = Master { services, next: 12, free: vec![], waiting: BTreeSet::new() };
        for step in &steps {
            apply(&mut b, &mut m, &frames, step);
        }
        all_ends(&mut b);
        m.reports(&mut b);
        prop_assert!(m.waiting.is_empty(), "{:?} never reported", m.waiting);
    }
}

/// The frames above are what they are meant to be: sound ones reach servers and
/// clients, so the changes start from what works.
#[test]
fn honest_frames_work() {
    let mut b = bench(1);
    let mut sent = 0;
    for (port, frame) in honest() {
        for (_, out) in b.burst(port, &[&frame]) {
            let tcp = if out[12..14] == [8, 0] {
                out[23]
            } else {
                out[20]
            } == 6;
            let piece = out[12..14] == [8, 0] && (out[20] & 0x3f, out[21]) != (0, 0);
            if tcp && !piece && out[12..14] != [8, 6] {
                Packet::read(&out);
            }
            sent += 1;
        }
    }
    assert!(sent > 60, "{sent}");
    assert!(b.worker.conns() > 8);
}
