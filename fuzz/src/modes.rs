//! One to three workers, every way to forward, and everything that can be switched
//! on: what the packet scripts do, in any order and mixed with one another, with
//! configurations and packets made of fields, answers to what was sent, routers'
//! errors, fragments, tags, tunnels, time that jumps, rings that are late, buffers
//! that run out. No panic; a burst is taken whole; no frame is handed over again and
//! again; what is sent has right checksums; and at rest no connection, no local port, no
//! removed server and no frame is left.

mod buffer;
mod lines;
mod packets;
#[rustfmt::skip]
mod pkt;
mod scripts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::tunnel::Kind;
use dpvs_core::message::{Listing, Query, Reply, ToWorker};
use dpvs_core::service::{DestId, FwdMode};
use dpvs_core::stats::WorkerStats;
use dpvs_core::tc::{Cls, INGRESS, Qsch, QschKind, ROOT, Range, Rule, Target as TcTarget, Tc};

use crate::Target;
use crate::input::Input;
use crate::worker::{frames, messages};
use pkt::lab::{Lab, Step, Way};
use pkt::vars::Vars;
use scripts::Scripts;

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

/// Operations of one input.
const OPS: usize = 64;
/// Steps of scripts in one input.
const STEPS: usize = 256;
/// How often a frame may be handed over.
const HANDED: u32 = 12;
/// Uids of queue schedulers made here, apart from those of scripts.
const FIRST_UID: u64 = 1 << 32;
/// Frames in rings.
const RING: usize = 64;

/// What an input got to.
#[derive(Debug, Default)]
pub struct Reached {
    /// Connections made, by mode and families and protocol of their service.
    pub conns: BTreeMap<String, u64>,
    /// Counters of each worker.
    pub stats: Vec<WorkerStats>,
    /// Frames that went through queue schedulers.
    pub scheduled: u64,
    /// Tagged, in a tunnel, in pieces: frames that came in.
    pub tagged: u64,
    /// Frames that came in by tunnels.
    pub tunnelled: u64,
    /// Fragments that came in.
    pub pieces: u64,
    /// ICMP errors that were sent for one that came in, and say something else than
    /// that: by the families they came in and went out in.
    pub errors: BTreeMap<&'static str, u64>,
    /// Fragments behind the first that went on when such ones came in: by IPv4, IPv6.
    pub tracked: [u64; 2],
}

/// A frame on its way to another worker.
struct Handed {
    worker: u8,
    port: u16,
    bytes: Vec<u8>,
    /// How often it, or the one it came of, was handed over before.
    times: u32,
}

struct World {
    lab: Lab,
    vars: Vars,
    scripts: &'static Scripts,
    /// The script that is played, and how far it is.
    script: u16,
    at: usize,
    /// Steps that may still be played.
    steps: usize,
    /// All received frames had right checksums.
    sound: bool,
    /// Frames wait in rings.
    late: bool,
    ring: VecDeque<Handed>,
    seen: VecDeque<(u16, Vec<u8>)>,
    /// The ICMP error that is being dealt with.
    error: Option<Vec<u8>>,
    /// Fragments behind the first are among what is being dealt with.
    pieces: bool,
    /// Uids of queue schedulers.
    uids: u64,
    reached: Reached,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let mut lab = Lab::new();
        let vars = Vars::default();
        let how = input.byte();
        if how & 0x80 != 0 {
            // Where milliseconds in 32 bits start again.
            lab.now.0 = (1000 << 32) - 5_000_000;
        }
        let workers = ["1", "1", "2", "3"][usize::from(how & 3)];
        let conns = ["64", "64", "16", "512"][usize::from(how >> 2 & 3)];
        for line in [["workers", workers], ["conns-max", conns]] {
            let _ = lab.config(&line, &vars);
        }
        Self {
            lab,
            vars,
            scripts: scripts::all(),
            script: input.word(),
            at: 0,
            steps: STEPS,
            sound: how & 16 != 0,
            late: false,
            ring: VecDeque::new(),
            seen: VecDeque::new(),
            error: None,
            pieces: false,
            uids: FIRST_UID,
            reached: Reached::default(),
        }
    }

    /// A line of configuration.
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if lines::is_odd(&words) {
            return;
        }
        let ports = &self.lab.snap.ports;
        let number = |n: usize| words.get(n).and_then(|w| w.parse::<usize>().ok());
        let device = |n: usize| {
            number(n)
                .and_then(|n| ports.get(n))
                .filter(|p| p.is_there())
        };
        match words.first().copied() {
            // Devices take free places, and go when nobody stands on them.
            Some("vlan")
                if device(1).is_some()
                    || device(2).is_none_or(|p| p.vlan.is_some() || p.tunnel.is_some()) =>
            {
                return;
            }
            Some("vlan") => {
                let id = words.get(3).and_then(|w| w.parse().ok()).unwrap_or(0);
                if device(2).is_some_and(|p| p.vlans.iter().any(|v| v.0 == id)) {
                    return;
                }
            }
            Some("tunnel") if device(1).is_some_and(|p| p.tunnel.is_none()) => return,
            Some("delvlan") if device(1).is_none_or(|p| p.vlan.is_none()) => return,
            Some("addr" | "mtu") if device(1).is_none() => return,
            Some("route")
                if words
                    .iter()
                    .position(|w| *w == "port")
                    .is_none_or(|at| device(at + 1).is_none()) =>
            {
                return;
            }
            _ => {}
        }
        let _ = self.lab.config(&words, &self.vars);
        self.lab.publish();
        self.after();
    }

    /// The next step of the script, its packets by way of `change`, which says
    /// whether their checksums are right.
    fn step(&mut self, mut change: impl FnMut(&mut Vec<u8>) -> bool) {
        let steps = &self.scripts.by_number(self.script).steps;
        let Some(step) = steps.get(self.at) else {
            return;
        };
        if self.steps == 0 {
            return;
        }
        self.steps -= 1;
        self.at += 1;
        match step {
            Step::Line(line) => self.line(line),
            Step::In(worker, port, frames) => {
                let mut frames = frames.clone();
                for frame in &mut frames {
                    self.sound &= change(frame);
                }
                let workers = self.workers();
                self.burst(worker % workers, *port, &frames);
            }
            Step::Wait(micros) => self.pass((*micros).min(1_000_000_000), 8),
        }
    }

    fn workers(&mut self) -> u8 {
        self.lab.publish();
        self.lab.workers.len() as u8
    }

    /// Receives frames on a port.
    fn burst(&mut self, worker: u8, port: u16, frames: &[Vec<u8>]) {
        self.lab.publish();
        let port = if usize::from(port) < self.lab.snap.ports.len() {
            port
        } else {
            0
        };
        for frame in frames {
            self.reached.tagged += u64::from(frame.get(12..14) == Some(&[0x81, 0]));
            self.reached.tunnelled += u64::from(frame.get(23).is_some_and(|p| matches!(p, 4 | 47)));
            let offset = frame.get(20).is_some_and(|b| b & 0x3f != 0)
                || frame.get(21).is_some_and(|b| *b != 0);
            let four = frame.get(12..14) == Some(&[8, 0]);
            let six = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&44);
            self.reached.pieces += u64::from(four && offset || six);
        }
        for burst in frames.chunks(32) {
            let alone = burst.first().filter(|f| burst.len() == 1 && is_error(f));
            self.error = alone.cloned();
            self.pieces = burst.iter().any(|f| later_piece(f).is_some());
            let done = self.lab.input(worker, port, burst);
            assert_eq!(done, Ok(()));
            self.after();
        }
        (self.error, self.pieces) = (None, false);
    }

    fn pass(&mut self, micros: u64, ticks: u64) {
        self.lab.publish();
        for _ in 0..ticks {
            self.lab.now.0 += micros / ticks;
            for worker in &mut self.lab.workers {
                self.lab.sink.books.open(worker.id());
                worker.tick(self.lab.now, &mut self.lab.sink);
            }
            self.lab.events();
        }
        self.after();
    }

    /// Looks at what came out, and carries what was handed over.
    fn after(&mut self) {
        self.look(0);
        while !self.late || self.ring.len() > RING {
            let Some(next) = self.ring.pop_front() else {
                break;
            };
            let done = self.lab.handed(next.worker, next.port, &next.bytes);
            assert_eq!(done, Ok(()));
            self.look(next.times + 1);
        }
        // Queues that are taken away take with them what is in them.
        if self.uids == FIRST_UID
            && let Err(e) = self.lab.balanced()
        {
            panic!("{e}");
        }
        for dest in &self.lab.left {
            let said = self.lab.left.iter().filter(|d| *d == dest).count();
            assert!(said <= self.lab.workers.len(), "{dest:?} drained twice");
        }
    }

    /// `times` is how often what was put in had been handed over.
    fn look(&mut self, times: u32) {
        while let Some((way, bytes)) = self.lab.sink.out.pop_front() {
            match way {
                Way::Hand(worker, port) => {
                    assert!(usize::from(worker) < self.lab.workers.len());
                    // Fragments go round once, and what is inside tunnels starts anew.
                    assert!(times < HANDED, "handed over for ever: {bytes:02x?}");
                    self.ring.push_back(Handed {
                        worker,
                        port,
                        bytes,
                        times,
                    });
                }
                Way::Host(_) => {}
                Way::Out(port) => {
                    let there = self.lab.snap.ports.get(usize::from(port));
                    assert!(there.is_some(), "sent on {port}");
                    assert!(bytes.len() >= 14, "sent {} bytes", bytes.len());
                    frames::check(&bytes, self.sound);
                    self.tell_error(&bytes);
                    if let Some(family) = later_piece(&bytes).filter(|_| self.pieces) {
                        self.reached.tracked[family] += 1;
                    }
                    self.seen.push_back((port, bytes));
                }
            }
        }
        while self.seen.len() > 8 {
            self.seen.pop_front();
        }
    }

    fn query(&mut self, query: &Query) -> Vec<Reply> {
        self.lab.publish();
        self.lab.query(query)
    }

    /// Receives a frame as a device would: tagged, or in its tunnel.
    fn arrive(&mut self, worker: u8, device: u16, mut frames: Vec<Vec<u8>>) {
        let ports = Arc::clone(&self.lab.snap.ports);
        let Some(device) = ports.get(usize::from(device)).filter(|p| p.is_there()) else {
            return self.burst(worker, device & 1, &frames);
        };
        let below = match (&device.vlan, &device.tunnel) {
            (Some(tag), _) => {
                for frame in frames.iter_mut().filter(|f| f.len() >= 14) {
                    frame[..6].copy_from_slice(&device.mac);
                    let [a, b] = tag.id.to_be_bytes();
                    frame.splice(12..12, [0x81, 0, a, b]);
                }
                tag.parent
            }
            (None, Some(tunnel)) => {
                let link = tunnel.link.unwrap_or(PortId(1));
                let ends = (tunnel.remote.octets(), tunnel.local.octets());
                for frame in frames.iter_mut().filter(|f| f.len() >= 34) {
                    let inner = frame.split_off(14);
                    let kind = [frame[12], frame[13]];
                    let mut body = Vec::new();
                    let proto = match tunnel.kind {
                        Kind::Ipip => 4,
                        Kind::Gre => {
                            let o = tunnel.input;
                            body.extend([u8::from(o.key.is_some()) << 5 | u8::from(o.seq) << 4, 0]);
                            body.extend(kind);
                            body.extend(o.key.map(u32::to_be_bytes).iter().flatten());
                            if o.seq {
                                body.extend(self.lab.now.0.to_be_bytes()[4..].iter());
                            }
                            47
                        }
                    };
                    body.extend(inner);
                    frame[12..14].copy_from_slice(&[8, 0]);
                    frame.extend([0x45, 0]);
                    frame.extend(((20 + body.len()) as u16).to_be_bytes());
                    frame.extend([0, 0, 0, 0, 64, proto, 0, 0]);
                    let own = if ends.1 == [0; 4] {
                        [10, 0, 1, 1]
                    } else {
                        ends.1
                    };
                    let other = if ends.0 == [0; 4] {
                        [10, 0, 1, 12]
                    } else {
                        ends.0
                    };
                    frame.extend([other, own].concat());
                    frame.extend(body);
                    frames::fix(frame);
                }
                link
            }
            (None, None) => {
                let mac = device.mac;
                for frame in frames.iter_mut().filter(|f| f.len() >= 14 && f[0] & 1 == 0) {
                    frame[..6].copy_from_slice(&mac);
                }
                let at = ports.iter().position(|p| std::ptr::eq(p, device));
                PortId(at.unwrap_or(0) as u16)
            }
        };
        self.burst(worker, below.0, &frames);
    }

    /// Another configuration of queue schedulers.
    fn schedule(&mut self, input: &mut Input<'_>) {
        let mut tc = Tc::default();
        let sets = self.lab.sets_len() as u32;
        for _ in 0..input.byte() & 3 {
            let mut side = |root: u32| -> Arc<[Qsch]> {
                let handles = [root, 0x10000, 0x20000];
                let n = input.below(4);
                (0..n)
                    .map(|n| {
                        self.uids += 1;
                        let limit = input.pick(&[0, 1, 4, 3000]);
                        let kind = match input.byte() & 7 {
                            0 | 1 => QschKind::Pfifo { limit },
                            2 => QschKind::Bfifo { limit },
                            3 | 4 => QschKind::PfifoFast { limit },
                            _ => QschKind::Tbf {
                                rate: input.pick(&[8_000, 1, 1_000_000, u32::MAX]),
                                burst: input.pick(&[100, 1600, 0, u32::MAX]),
                                peak: input.pick(&[0, 8_000, u32::MAX]),
                                mtu: input.pick(&[0, 1500, 60]),
                                limit,
                            },
                        };
                        let classes = (0..input.byte() & 3)
                            .map(|_| Cls {
                                ethertype: input.pick(&[0x0800, 0x86dd, 0x0806]),
                                rule: if input.byte() & 3 == 3 {
                                    let id = u32::from(input.byte()) % (sets + 1);
                                    Rule::Set {
                                        id: dpvs_core::ipset::SetId(id),
                                        destination: id & 1 == 0,
                                    }
                                } else {
                                    Rule::Match {
                                        proto: input.pick(&[0, 6, 17]),
                                        src: Range::default(),
                                        dst: Range {
                                            addrs: None,
                                            ports: Some((0, input.word())),
                                        },
                                        iif: None,
                                        oif: input.pick(&[None, Some(PortId(0))]),
                                    }
                                },
                                target: input.pick(&[
                                    TcTarget::Drop,
                                    TcTarget::Qsch(root),
                                    TcTarget::Qsch(0x10000),
                                    TcTarget::Qsch(0x20000),
                                ]),
                            })
                            .collect();
                        Qsch {
                            handle: handles[n],
                            uid: self.uids - u64::from(input.byte() & 1),
                            kind,
                            classes,
                            tokens: Arc::default(),
                        }
                    })
                    .collect()
            };
            let (egress, ingress) = (side(ROOT), side(INGRESS));
            tc.ports.push([egress, ingress]);
        }
        self.lab.snap.tc = Arc::new(tc);
        self.lab.touch();
        self.lab.publish();
        self.after();
    }

    /// Settings that no line of a script is about.
    fn settings(&mut self, input: &mut Input<'_>) {
        let s = Arc::make_mut(&mut self.lab.snap.settings);
        let n = input.byte();
        match n & 7 {
            0 => s.frag_max = input.pick(&[0, 1, 4, 64]),
            1 => s.frag_ttl = input.pick(&[1, 5]),
            2 => s.lldp = n & 8 != 0,
            3 => s.pool_hash_size = input.pick(&[1, 16, 128]),
            4 => s.uoa_max_trail = input.pick(&[0, 1, 3]),
            5 => s.synproxy.rs_syn_max_retry = input.pick(&[0, 1, 3]),
            6 => s.synproxy.ack_storm_thresh = input.pick(&[0, 1, 3]),
            _ => s.synproxy.reuse = input.word(),
        }
        self.lab.touch();
        self.lab.publish();
        self.after();
    }

    /// Which connections were made so far.
    fn tell_conns(&mut self) {
        for reply in self.query(&Query::Tc) {
            let Reply::Tc(all) = reply else { continue };
            self.reached.scheduled += all.iter().map(|q| u64::from(q.packets)).sum::<u64>();
        }
        let services = self.lab.services();
        for service in services {
            let key = service.key;
            for dest in service.dests.iter() {
                let mut made = 0;
                for reply in self.query(&Query::Dests(vec![dest.id])) {
                    let Reply::Dests(all) = reply else { continue };
                    made += all.iter().map(|d| d.conns).sum::<u64>();
                }
                if made == 0 {
                    continue;
                }
                let family = |v4: bool| if v4 { 4 } else { 6 };
                let mode = match dest.mode {
                    FwdMode::Tunnel => format!("{:?}", dest.tunnel.kind),
                    mode => format!("{mode:?}"),
                };
                let name = format!(
                    "{mode} {}-{} {}",
                    family(key.addr.is_ipv4()),
                    family(dest.addr.is_ipv4()),
                    key.proto
                );
                *self.reached.conns.entry(name).or_default() += made;
            }
        }
    }

    /// Whether what is sent is the translation of the error that came in.
    fn tell_error(&mut self, sent: &[u8]) {
        let Some(came) = self.error.as_deref().filter(|_| is_error(sent)) else {
            return;
        };
        let (from, to) = (came[12] == 8, sent[12] == 8);
        // Behind the outer header's checksum: addresses, the message, what is quoted.
        let at = if from { 26 } else { 22 };
        if from == to && came.get(at..) == sent.get(at..) {
            return;
        }
        let name = ["6-6", "6-4", "4-6", "4-4"][usize::from(from) * 2 + usize::from(to)];
        *self.reached.errors.entry(name).or_default() += 1;
    }

    /// Without traffic everything comes to rest.
    fn rest(&mut self) {
        self.late = false;
        self.lab.sink.deaf = false;
        self.lab.sink.empty = false;
        // Queues give back what they have.
        self.lab.snap.tc = Arc::default();
        self.lab.touch();
        self.lab.publish();
        self.after();
        for _ in 0..120 {
            self.pass(400_000_000, 2);
            if self.lab.workers.iter().all(|w| w.conns() == 0) {
                break;
            }
        }
        for _ in 0..4 {
            self.pass(10_000_000, 2);
        }
        let conns: usize = self.lab.workers.iter().map(|w| w.conns()).sum();
        assert_eq!(conns, 0, "connections that never end");
        for reply in self.query(&Query::Laddrs) {
            let Reply::Laddrs(pools) = reply else {
                continue;
            };
            let used: Vec<_> = pools.iter().filter(|l| l.used != 0).collect();
            assert!(used.is_empty(), "ports never given back: {used:?}");
        }
        let mut queued = 0;
        for reply in self.query(&Query::Neighbours) {
            let Reply::Neighbours(list) = reply else {
                continue;
            };
            queued += list.iter().map(|i| u64::from(i.queued)).sum::<u64>();
        }
        assert_eq!(buffer::alive(), queued, "frames that are nowhere");
        for worker in &self.lab.workers {
            let s = worker.stats();
            assert_eq!(s.conns_made, s.conns_gone, "connections made and gone");
        }
        let workers = self.lab.workers.len();
        let mut said: BTreeMap<DestId, usize> = BTreeMap::new();
        for dest in &self.lab.left {
            *said.entry(*dest).or_default() += 1;
        }
        for (dest, n) in said {
            assert_eq!(n, workers, "{dest:?} is not drained by every worker");
        }
    }
}

/// An untagged ICMP or ICMPv6 error without IP options.
fn is_error(frame: &[u8]) -> bool {
    match (frame.get(12..15), frame.get(20), frame.get(23)) {
        (Some([8, 0, 0x45]), _, Some(1)) => matches!(frame.get(34), Some(3 | 11)),
        (Some([0x86, 0xdd, _]), Some(58), _) => matches!(frame.get(54), Some(1..=3)),
        _ => false,
    }
}

/// Of a fragment behind the first one, untagged: 0 for IPv4, 1 for IPv6.
fn later_piece(frame: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    match word(12)? {
        0x0800 => (word(20)? & 0x1fff != 0).then_some(0),
        0x86dd if frame.get(20) == Some(&44) => (word(56)? & 0xfff8 != 0).then_some(1),
        _ => None,
    }
}

fn run(data: &[u8]) {
    play(data);
}

/// Runs one input; what it got to.
pub fn play(data: &[u8]) -> Reached {
    buffer::receive(0);
    assert_eq!(buffer::alive(), 0);
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..OPS {
        if input.is_empty() {
            break;
        }
        operate(&mut world, &mut input);
    }
    buffer::receive(0);
    world.tell_conns();
    world.rest();
    world.reached.stats = world
        .lab
        .workers
        .iter()
        .map(|w| w.stats().clone())
        .collect();
    world.reached
}

/// What one operation does.
fn operate(world: &mut World, input: &mut Input<'_>) {
    let op = input.byte();
    let workers = world.workers();
    let worker = (op >> 6) % workers;
    match op & 0x3f {
        // The script goes on.
        0..=11 => {
            for _ in 0..=op & 15 {
                world.step(|frame| frames::is_right(frame));
            }
        }
        12 | 13 => world.at += 1 + input.below(8),
        14 => {
            world.script = input.word();
            world.at = 0;
        }
        15 => {
            world.script = input.word();
            world.at = usize::from(input.byte());
        }
        16..=18 => {
            world.step(|frame| {
                packets::change(input, frame);
                packets::seal(frame)
            });
        }
        19 => {
            world.step(|frame| {
                frames::turn(input, frame);
                false
            });
        }
        // Configuration.
        20 | 21 => {
            let line = world.scripts.line(input.word());
            world.line(line);
        }
        22..=26 => {
            for _ in 0..=input.byte() & 3 {
                let line = lines::made(input);
                world.line(&line);
            }
        }
        27 => world.schedule(input),
        28 => world.settings(input),
        // Packets.
        29..=35 => {
            let frame = packets::made(input);
            receive(world, input, worker, frame, None);
        }
        36..=44 => {
            let Some((port, mut frame)) = seen(world, input) else {
                return;
            };
            packets::answer(input, &mut frame);
            receive(world, input, worker, frame, Some(port));
        }
        45 => {
            let Some((port, frame)) = seen(world, input) else {
                return;
            };
            receive(world, input, worker, frame, Some(port ^ 1));
        }
        46..=48 => {
            let Some((port, frame)) = seen(world, input) else {
                return;
            };
            if let Some(frame) = packets::error(input, &frame) {
                receive(world, input, worker, frame, Some(port));
            }
        }
        49 => {
            let n = usize::from(input.word() % 2000);
            let frame = input.bytes(n).to_vec();
            world.sound = false;
            receive(world, input, worker, frame, None);
        }
        // Time.
        50..=52 => {
            let micros = input.pick(&[
                1_000,
                20_000,
                500_000,
                1_000_000,
                3_000_000,
                10_000_000,
                60_000_000,
                400_000_000,
                0,
                1_000_000_000,
            ]);
            world.pass(micros, 1 + u64::from(input.byte() & 7));
        }
        // Messages.
        53 | 54 => {
            let message = messages::neighbour(input);
            tell(world, worker, message);
        }
        55 => {
            let message = messages::other(input, 16);
            tell(world, worker, message);
        }
        56 => {
            let query = messages::query(input);
            let _ = world.query(&query);
        }
        57 => {
            let what = input.pick(&[
                Listing::Conns,
                Listing::Templates,
                Listing::Neighbours,
                Listing::Laddrs,
            ]);
            let message = ToWorker::List {
                token: 9,
                what,
                cursor: input.pick(&[0, 0, 1, 63, 64, u32::MAX]),
                pieces: u32::from(input.byte()),
            };
            tell(world, worker, message);
        }
        58 => world.lab.sink.empty = input.byte() & 3 == 0,
        59 => world.lab.sink.deaf = input.byte() & 1 == 0,
        60 => {
            world.late = input.byte() & 1 == 0;
            world.after();
        }
        61 => {
            buffer::receive(input.pick(&[0, 0, 256, 128, 1024]));
        }
        62 => {
            let mut frame = vec![0; 14 + input.below(100)];
            frame[12] = input.byte();
            let port = PortId(input.pick(&[0, 1]));
            let frame = frame.into();
            tell(world, worker, ToWorker::Send { port, frame });
        }
        _ => world.sound = false,
    }
}

fn tell(world: &mut World, worker: u8, message: ToWorker) {
    let lab = &mut world.lab;
    if let Some(worker) = lab.workers.get_mut(usize::from(worker)) {
        lab.sink.books.open(worker.id());
        worker.handle(message, lab.now, &mut lab.sink);
    }
    lab.events();
    world.after();
}

/// One of the last frames sent.
fn seen(world: &World, input: &mut Input<'_>) -> Option<(u16, Vec<u8>)> {
    let at = world.seen.len().checked_sub(1 + input.below(4))?;
    world.seen.get(at).cloned()
}

/// A frame comes in, perhaps otherwise than it was made.
fn receive(
    world: &mut World,
    input: &mut Input<'_>,
    worker: u8,
    mut frame: Vec<u8>,
    device: Option<u16>,
) {
    let how = input.byte();
    if how & 7 == 7 {
        packets::extend(input, &mut frame);
    }
    if how & 0x18 == 0x18 {
        packets::change(input, &mut frame);
    }
    if world.sound || how & 0x18 != 0x10 {
        world.sound &= packets::seal(&mut frame);
    } else {
        world.sound = false;
    }
    let times = if how & 0xe0 == 0xe0 { input.byte() } else { 0 };
    let mut all = if how & 0xe0 == 0xc0 {
        packets::cut(input, &frame)
    } else {
        vec![frame]
    };
    for n in 0..times & 31 {
        // More clients do the same.
        let mut more = all[0].clone();
        if let Some(b) = more.get_mut(if times & 32 == 0 { 35 } else { 55 }) {
            *b = b.wrapping_add(n + 1);
        }
        world.sound &= packets::seal(&mut more);
        all.push(more);
    }
    let device = device.unwrap_or_else(|| match how & 0x60 {
        0x60 => u16::from(input.byte() % 6),
        0x20 => 1,
        _ => 0,
    });
    world.arrive(worker, device, all);
}

fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let mut seeds = vec![Vec::new(), all.clone(), all.iter().rev().copied().collect()];
    for (number, steps) in scripts::all().numbers() {
        let [low, high] = number.to_le_bytes();
        for how in [0x18, 0x1a, 0x1b] {
            // The script as it is, by one worker and by more; then in parts.
            let mut seed = vec![how, low, high];
            seed.extend(vec![11; (steps / 12).clamp(1, 40)]);
            seeds.push(seed);
        }
        for part in 0..=steps / 60 {
            let mut seed = vec![0x18, low, high, 15, low, high, (part * 40).min(255) as u8];
            seed.extend([
                11, 11, 36, 0, 0, 1, 0, 46, 0, 0, 0, 0, 0, 0, 11, 17, 1, 18, 0, 11,
            ]);
            seed.extend([51, 2, 1, 40, 1, 1, 1, 0, 11]);
            seeds.push(seed);
        }
    }
    seeds
}
