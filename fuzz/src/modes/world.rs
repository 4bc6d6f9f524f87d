//! The director that is fuzzed: workers, wires, rings between workers, time. Takes
//! lines of configuration, steps of scripts and frames, and looks at everything that
//! comes out. What an input does with it is `operations`'.

use std::collections::VecDeque;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::tunnel::Kind;
use dpvs_core::message::{Query, Reply};

use super::lines;
use super::pkt::lab::{Lab, Step, Way};
use super::pkt::vars::Vars;
use super::reached::{Reached, is_error, later_piece};
use super::scripts::{self, Scripts};
use crate::input::Input;
use crate::worker::frames;

/// Steps of scripts in one input.
const STEPS: usize = 256;
/// How often a frame may be handed over.
const HANDED: u32 = 12;
/// Uids of queue schedulers made here, apart from those of scripts.
const FIRST_UID: u64 = 1 << 32;
/// Frames in rings.
const RING: usize = 64;

/// A frame on its way to another worker.
pub(super) struct Handed {
    pub(super) worker: u8,
    pub(super) port: u16,
    pub(super) bytes: Vec<u8>,
    /// How often it, or the one it came of, was handed over before.
    pub(super) times: u32,
}

pub(super) struct World {
    pub(super) lab: Lab,
    pub(super) vars: Vars,
    pub(super) scripts: &'static Scripts,
    /// The script that is played, and how far it is.
    pub(super) script: u16,
    pub(super) at: usize,
    /// Steps that may still be played.
    pub(super) steps: usize,
    /// All received frames had right checksums.
    pub(super) sound: bool,
    /// Frames wait in rings.
    pub(super) late: bool,
    pub(super) ring: VecDeque<Handed>,
    pub(super) seen: VecDeque<(u16, Vec<u8>)>,
    /// The ICMP error that is being dealt with.
    pub(super) error: Option<Vec<u8>>,
    /// Fragments behind the first are among what is being dealt with.
    pub(super) pieces: bool,
    /// Uids of queue schedulers.
    pub(super) uids: u64,
    pub(super) reached: Reached,
}

impl World {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
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
    pub(super) fn line(&mut self, line: &str) {
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
    pub(super) fn step(&mut self, mut change: impl FnMut(&mut Vec<u8>) -> bool) {
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
            Step::Kernel(worker, port, frame) => {
                let mut frame = frame.clone();
                self.sound &= change(&mut frame);
                let workers = self.workers();
                self.kernel(worker % workers, *port, &frame);
            }
            Step::Wait(micros) => self.pass((*micros).min(1_000_000_000), 8),
        }
    }

    pub(super) fn workers(&mut self) -> u8 {
        self.lab.publish();
        self.lab.workers.len() as u8
    }

    /// Receives frames on a port.
    pub(super) fn burst(&mut self, worker: u8, port: u16, frames: &[Vec<u8>]) {
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

    /// The kernel sends a frame on a port.
    pub(super) fn kernel(&mut self, worker: u8, port: u16, frame: &[u8]) {
        self.lab.publish();
        let ports = self.lab.snap.ports.len();
        let port = if usize::from(port) < ports { port } else { 0 };
        if frame.len() >= 14 {
            assert_eq!(self.lab.kernel(worker, port, frame), Ok(()));
            // What leaves as it came is as good or bad as the kernel made it.
            let as_it_came = |way: &Way, bytes: &[u8]| {
                matches!(way, Way::Out(p) if *p == port) && bytes == frame
            };
            let out = &mut self.lab.sink.out;
            out.retain(|(way, bytes)| !as_it_came(way, bytes));
            self.after();
        }
    }

    pub(super) fn pass(&mut self, micros: u64, ticks: u64) {
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
    pub(super) fn after(&mut self) {
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
    pub(super) fn look(&mut self, times: u32) {
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

    pub(super) fn query(&mut self, query: &Query) -> Vec<Reply> {
        self.lab.publish();
        self.lab.query(query)
    }

    /// Receives a frame as a device would: tagged, or in its tunnel.
    pub(super) fn arrive(&mut self, worker: u8, device: u16, mut frames: Vec<Vec<u8>>) {
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
}
