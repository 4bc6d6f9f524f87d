//! Two workers, every way to forward: services of any mode, scheduler and family,
//! with what can be switched on for each, made from the input; frames, messages and
//! time as in `worker`. No panic; a burst is taken whole; and at rest no connection,
//! no local port and no frame is left.

use std::collections::VecDeque;
use std::sync::Arc;

use dpvs_core::acl::{List, Lists};
use dpvs_core::frame::{Now, PortId, WorkerId, empty_burst};
use dpvs_core::matching::{Matching, Side as MatchSide};
use dpvs_core::message::{FromWorker, Listing, Query, Reply, ToWorker};
use dpvs_core::sched::{Table, TableConf};
use dpvs_core::service::{
    Dest, DestId, FwdMode, HashTarget, Persistence, Policy, SchedKind, Service, ServiceId,
    ServiceKey, TCP, Tunnel, UDP,
};
use dpvs_core::snapshot::Settings;
use dpvs_core::worker::{Worker, WorkerConf};
use dpvs_core::xmit::proxy::Proxy;
use dpvs_core::xmit::uoa::UoaMode;

use crate::Target;
use crate::input::Input;
use crate::worker::{Counted, Out, frames, messages, support};

/// The target.
pub const TARGET: Target = Target {
    name: "modes",
    run,
    seeds,
    words: &[
        "\u{8}\0",
        "\u{45}",
        "`\0\0\0",
        "\u{11}",
        "\u{6}",
        "\u{1}",
        "PROXY TCP4 ",
        "\r\n\r\n\0\r\nQUIT\n",
    ],
};

/// Steps of one input.
const STEPS: usize = 80;
const SCTP: u8 = 132;
/// What services are at.
const AT: [(u8, &str, u16); 8] = [
    (TCP, "192.0.2.10", 80),
    (UDP, "192.0.2.10", 53),
    (SCTP, "192.0.2.10", 80),
    (TCP, "2001:db8:1::10", 80),
    (UDP, "2001:db8:1::10", 53),
    (SCTP, "2001:db8:1::10", 80),
    (TCP, "192.0.2.10", 53),
    (UDP, "192.0.2.10", 80),
];

struct Side {
    worker: Worker<Counted>,
    out: Out,
    received: u64,
}

struct Lab {
    sides: Vec<Side>,
    now: Now,
    epoch: u64,
    /// Servers there ever were.
    dests: u32,
    in_force: Vec<DestId>,
    seen: VecDeque<Vec<u8>>,
}

fn table(service: &Service) -> Option<Arc<Table>> {
    let conf = TableConf {
        mh_size: 0,
        mh_list_order: false,
        quic: service.policy.quic,
    };
    Table::build(service.sched, &service.dests, conf).map(Arc::new)
}

impl Lab {
    fn new() -> Self {
        let now = Now(1_000_000);
        let side = |n| Side {
            worker: Worker::new(
                WorkerConf {
                    id: WorkerId(n),
                    workers: 2,
                    conns: 64,
                    seed: [11, 22, 33, 44],
                },
                now,
            ),
            out: Out::new(WorkerId(n)),
            received: 0,
        };
        Self {
            sides: vec![side(0), side(1)],
            now,
            epoch: 1,
            dests: 0,
            in_force: Vec::new(),
            seen: VecDeque::new(),
        }
    }

    fn dest(&mut self, input: &mut Input<'_>, v4: bool, mode: FwdMode) -> Dest {
        let n = 1 + input.below(2);
        let addr = match (mode, v4) {
            (FwdMode::Snat, true) => support::ip(input.pick(&["192.0.2.1", "192.0.2.10"])),
            (FwdMode::Snat, false) => support::ip("2001:db8:1::1"),
            (_, true) => support::ip(&format!("10.0.1.1{n}")),
            (_, false) => support::ip(&format!("2001:db8:2::1{n}")),
        };
        self.dests += 1;
        Dest {
            id: DestId(self.dests - 1),
            addr,
            port: input.pick(&[8080, 80, 0]),
            weight: input.pick(&[1, 1, 2, 0, 7]),
            mode,
            tunnel: Tunnel::from_bits(input.long() & 0xffff_0303),
            max_conn: input.pick(&[0, 0, 0, 1, 3]),
            min_conn: 0,
            inhibited: input.byte() & 31 == 31,
        }
    }

    fn service(&mut self, input: &mut Input<'_>, n: usize) -> Service {
        let (proto, vip, port) = AT[n % AT.len()];
        let mut service = support::service(proto, vip, port, 0, 8080);
        let mode = input.pick(&[
            FwdMode::FullNat,
            FwdMode::Masq,
            FwdMode::Dr,
            FwdMode::Tunnel,
            FwdMode::Snat,
            FwdMode::FullNat,
        ]);
        let v4 = service.key.addr.is_ipv4();
        // Another family on the inside now and then.
        let inside = if input.byte() & 3 == 3 { !v4 } else { v4 };
        let count = 1 + input.below(3);
        let dests: Vec<Dest> = (0..count).map(|_| self.dest(input, inside, mode)).collect();
        service.dests = dests.into();
        if inside != v4 {
            let other = if inside {
                "192.0.2.10"
            } else {
                "2001:db8:1::10"
            };
            service.laddrs = support::service(proto, other, port, 0, 80).laddrs;
        }
        let bits = input.byte();
        service.id = ServiceId(n as u32);
        service.uid = self.epoch << 8 | n as u64;
        service.sched = input.pick(&SchedKind::ALL);
        service.conn_timeout = input.pick(&[0, 0, 10]);
        service.expire_quiescent = bits & 1 != 0;
        service.synproxy = bits & 2 != 0 && proto == TCP;
        service.proxy = Proxy::from_number(input.pick(&[0, 0, 1, 2, 0x11, 0x12]));
        service.policy = Policy {
            hash_target: input.pick(&[HashTarget::None, HashTarget::Sip, HashTarget::Qid]),
            fallback: bits & 4 != 0,
            with_port: bits & 8 != 0,
            quic: bits & 16 != 0,
            one_packet: bits & 0x60 == 0x60 && proto == UDP,
            check: (bits & 0x80 != 0).then_some(1),
            ..Policy::default()
        };
        if input.byte() & 7 == 7 {
            service.policy.persistence = Some(Persistence {
                timeout: input.pick(&[1, 60]),
                mask: input.pick(&[u128::MAX, u128::MAX << 8]),
                sip: bits & 1 != 0,
            });
        }
        if mode == FwdMode::Snat {
            let addr = if v4 { "0.0.0.0" } else { "::" };
            service.key = ServiceKey {
                proto: input.pick(&[TCP, UDP, if v4 { 1 } else { 58 }]),
                addr: support::ip(addr),
                port: 0,
            };
            let port = |n| input_port(n);
            service.matching = Some(Matching {
                src: MatchSide::default(),
                dst: MatchSide::default(),
                iif: port(input.byte()),
                oif: port(input.byte()),
            });
        }
        service.policy.table = table(&service);
        service
    }

    /// Another configuration.
    fn configure(&mut self, input: &mut Input<'_>) {
        self.epoch += 1;
        let which = input.byte();
        let services: Vec<Service> = (0..8)
            .filter(|n| which >> n & 1 != 0)
            .map(|n| self.service(input, n))
            .collect();
        let removed = std::mem::replace(
            &mut self.in_force,
            services
                .iter()
                .flat_map(|s| s.dests.iter().map(|d| d.id))
                .collect(),
        );
        let mut snapshot = support::snapshot(services.clone());
        snapshot.epoch = self.epoch;
        snapshot.settings = Arc::new(settings(input));
        for service in &services {
            if input.byte() & 15 == 15 {
                let mut list = List::default();
                list.sources
                    .insert(support::ip(input.pick(&frames::CLIENTS)), ());
                let lists = if input.byte() & 1 == 0 {
                    Lists {
                        black: list,
                        ..Lists::default()
                    }
                } else {
                    Lists {
                        white: list,
                        ..Lists::default()
                    }
                };
                snapshot.guard.lists.insert(service.key, Arc::new(lists));
            }
        }
        let snapshot = Arc::new(snapshot);
        for side in &mut self.sides {
            let message = ToWorker::Install {
                snapshot: Arc::clone(&snapshot),
                removed: removed.clone(),
            };
            side.worker.handle(message, self.now, &mut side.out);
        }
        self.after();
    }

    fn tell(&mut self, n: usize, message: ToWorker) {
        let side = &mut self.sides[n];
        side.worker.handle(message, self.now, &mut side.out);
        self.after();
    }

    fn burst(&mut self, n: usize, port: PortId, all: &[(Vec<u8>, bool)]) {
        let side = &mut self.sides[n];
        let mut burst = empty_burst();
        for (slot, (bytes, split)) in burst.iter_mut().zip(all) {
            *slot = Some(Counted::received(bytes, *split, &side.out.tally));
            side.received += 1;
        }
        let (worker, out) = (&mut side.worker, &mut side.out);
        worker.process(port, &mut burst, all.len(), self.now, out);
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

    fn after(&mut self) {
        for n in 0..2 {
            for event in std::mem::take(&mut self.sides[n].out.events) {
                if let FromWorker::NeighLearned {
                    port, addr, mac, ..
                } = event
                {
                    let other = &mut self.sides[1 - n];
                    let message = ToWorker::NeighLearn { port, addr, mac };
                    other.worker.handle(message, self.now, &mut other.out);
                }
            }
            while let Some((to, port, bytes)) = self.sides[n].out.handed.pop_front() {
                let other = &mut self.sides[usize::from(to.0)];
                let before = other.out.handed.len();
                let mut burst = empty_burst();
                burst[0] = Some(Counted::received(&bytes, false, &other.out.tally));
                other.received += 1;
                let (worker, out) = (&mut other.worker, &mut other.out);
                worker.process_handed(port, &mut burst, 1, self.now, out);
                let now = other.out.handed.len();
                assert_eq!(now, before, "handed over twice: {bytes:02x?}");
            }
        }
        for side in &mut self.sides {
            for (port, bytes, _) in side.out.sent.drain(..) {
                assert!(usize::from(port.0) < 2, "sent on {port:?}");
                assert!(bytes.len() >= 14, "sent {} bytes", bytes.len());
                frames::check(&bytes, false);
                self.seen.push_back(bytes);
            }
        }
        while self.seen.len() > 8 {
            self.seen.pop_front();
        }
    }

    fn query(&mut self, n: usize, query: Query) -> Reply {
        let side = &mut self.sides[n];
        let message = ToWorker::Query { token: 9, query };
        side.worker.handle(message, self.now, &mut side.out);
        match side.out.events.pop() {
            Some(FromWorker::Reply { reply, .. }) => reply,
            other => panic!("no reply but {other:?}"),
        }
    }

    /// Without traffic everything comes to rest.
    fn rest(&mut self) {
        for _ in 0..120 {
            self.pass(10_000_000, 24);
            if self.sides.iter().all(|s| s.worker.conns() == 0) {
                break;
            }
        }
        self.pass(10_000_000, 24);
        self.pass(10_000_000, 24);
        for n in 0..2 {
            let conns = self.sides[n].worker.conns();
            assert_eq!(conns, 0, "connections that never end");
            let Reply::Laddrs(pools) = self.query(n, Query::Laddrs) else {
                panic!("no local addresses");
            };
            let used: Vec<_> = pools.iter().filter(|l| l.used != 0).collect();
            assert!(used.is_empty(), "ports never given back: {used:?}");
            let Reply::Neighbours(list) = self.query(n, Query::Neighbours) else {
                panic!("no neighbours");
            };
            let queued: u64 = list.iter().map(|i| u64::from(i.queued)).sum();
            let side = &self.sides[n];
            let t = &side.out.tally;
            assert_eq!(
                side.received + t.made.get(),
                t.taken.get() + t.freed_received.get() + t.freed_made.get() + queued,
                "frames received and made = given away + freed + queued"
            );
        }
    }
}

fn input_port(n: u8) -> Option<PortId> {
    [None, None, Some(PortId(0)), Some(PortId(1))][usize::from(n & 3)]
}

fn settings(input: &mut Input<'_>) -> Settings {
    let (bits, more) = (input.byte(), input.byte());
    let mut s = Settings {
        forward4: bits & 1 != 0,
        forward6: bits & 2 != 0,
        xmit_ttl: bits & 8 != 0,
        fast_xmit: bits & 16 == 0,
        defence_udp_drop: bits & 0x60 == 0x60,
        defence_tcp_drop: bits & 0xc0 == 0xc0,
        uoa_mode: if more & 1 == 0 {
            UoaMode::Opp
        } else {
            UoaMode::Ipo
        },
        uoa_max_trail: input.pick(&[0, 1, 3]),
        expire_quiescent_template: more & 2 != 0,
        frag_max: input.pick(&[0, 4, 64]),
        frag_ttl: input.pick(&[1, 5]),
        unres_queue: input.below(4),
        ..Settings::default()
    };
    s.synproxy.sack = more & 4 != 0;
    s.synproxy.timestamp = more & 8 != 0;
    s.synproxy.defer_rs_syn = more & 16 != 0;
    s.synproxy.close_client_window = more & 32 != 0;
    s.synproxy.wscale = input.pick(&[0, 7, 14]);
    s.synproxy.max_ack_saved = input.pick(&[0, 1, 3]);
    s.synproxy.rs_syn_max_retry = input.pick(&[0, 1, 3]);
    s.synproxy.auto_syn_rate = input.pick(&[0, 0, 4]);
    s
}

/// CRC32c, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = crc >> 1 ^ (0x82f6_3b78 & low.wrapping_neg());
        }
    }
    !crc
}

/// An SCTP packet of one chunk.
fn sctp(input: &mut Input<'_>) -> Vec<u8> {
    let from = 40_000 + u16::from(input.byte() & 7);
    let mut l4 = [from.to_be_bytes(), 80u16.to_be_bytes()].concat();
    l4.extend(input.long().to_be_bytes());
    l4.extend([0; 4]);
    let len = 4 + input.below(40);
    l4.extend([input.byte() & 15, input.byte(), 0, len as u8]);
    l4.extend(vec![input.byte(); (len - 4).next_multiple_of(4)]);
    let crc = crc32c(&l4).to_le_bytes();
    l4[8..12].copy_from_slice(&crc);
    if input.byte() & 1 == 0 {
        frames::ip4(SCTP, input.pick(&frames::CLIENTS), "192.0.2.10", &l4)
    } else {
        frames::ip6(SCTP, input.pick(&frames::CLIENTS6), "2001:db8:1::10", &l4)
    }
}

/// One of the pieces of an IPv4 datagram.
fn piece(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.pick(&[UDP, TCP]);
    let mut frame = frames::flow(input, kind);
    if frame.len() > 34 && frame[12..14] == [8, 0] {
        let at = input.pick(&[0u16, 0, 1, 2, 185]);
        let more = u16::from(input.byte() & 1) << 13;
        frame[18..20].copy_from_slice(&[0, input.byte() & 3]);
        frame[20..22].copy_from_slice(&(at | more).to_be_bytes());
        frames::fix(&mut frame);
    }
    frame
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut lab = Lab::new();
    lab.configure(&mut input);
    for n in 0..2 {
        messages::known().for_each(|message| lab.tell(n, message));
    }
    let mut waiting: Vec<(Vec<u8>, bool)> = Vec::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let op = input.byte();
        let n = usize::from(op >> 7);
        let mut frame = match op & 0x1f {
            0..=9 => frames::made(&mut input),
            10 | 11 => sctp(&mut input),
            12 | 13 => piece(&mut input),
            14..=22 => {
                let back = input.below(3);
                let at = lab.seen.len().checked_sub(1 + back);
                let Some(mut bytes) = at.and_then(|at| lab.seen.get(at).cloned()) else {
                    continue;
                };
                if op & 0x40 == 0 {
                    let flags = input.pick(&[18, 16, 17, 4, 2, 24, 20]);
                    frames::answer(&mut bytes, flags, u32::from(input.byte() & 3));
                }
                frames::turn(&mut input, &mut bytes);
                bytes
            }
            23 | 24 => {
                let micros = input.pick(&[1_000, 500_000, 3_000_000, 60_000_000, 400_000_000]);
                lab.pass(micros, 1 + input.below(8));
                continue;
            }
            25 => {
                let message = messages::neighbour(&mut input);
                lab.tell(n, message);
                continue;
            }
            26 => {
                let message = messages::other(&mut input, lab.dests);
                lab.tell(n, message);
                continue;
            }
            27 => {
                let what = input.pick(&[Listing::Conns, Listing::Neighbours, Listing::Laddrs]);
                let (token, cursor, pieces) = (1, input.long(), u32::from(input.byte()));
                lab.tell(
                    n,
                    ToWorker::List {
                        token,
                        what,
                        cursor,
                        pieces,
                    },
                );
                continue;
            }
            28 | 29 => {
                lab.configure(&mut input);
                continue;
            }
            30 => {
                let query = messages::query(&mut input);
                let _ = lab.query(n, query);
                continue;
            }
            _ => {
                lab.sides[n].out.empty = input.byte() & 3 == 0;
                continue;
            }
        };
        let how = input.byte();
        if how & 3 != 0 {
            frames::fix(&mut frame);
        }
        let inside = frame.starts_with(&support::MAC1) || how & 12 == 12;
        waiting.push((frame, how & 0xf0 == 0x10));
        if how & 0xc0 != 0xc0 || waiting.len() == 32 {
            let burst = std::mem::take(&mut waiting);
            lab.burst(n, PortId(u16::from(inside)), &burst);
        }
    }
    lab.sides.iter_mut().for_each(|s| s.out.empty = false);
    lab.rest();
}

fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let mut seeds = vec![Vec::new(), all.clone(), all.iter().rev().copied().collect()];
    // Services of each mode, then what the seeds of `worker` do to them.
    for (n, from) in (crate::worker::TARGET.seeds)().into_iter().enumerate() {
        let mut seed = vec![0xff];
        for service in 0..8u8 {
            // Mode, family, one server, and the rest plain.
            seed.extend([(n as u8 + service) % 6, 0, 0]);
            seed.extend([0, 0, 0, 0, 0, 0, 0, 0, 0]);
            seed.extend([(n as u8) << 1, service, 0, n as u8, 0, 0, 0]);
        }
        seed.extend([3, n as u8, 1, 1, 0, 2, 0, 0, 0, 0]);
        seed.extend([0; 8]);
        seed.extend(from);
        seeds.push(seed);
    }
    seeds
}
