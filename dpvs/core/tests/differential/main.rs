//! The fast path against a slow one, packet by packet.
//!
//! Random packets, times and changes go through [`dpvs_core::worker::Worker`] and
//! through the reference director in `../reference`; every frame that comes out,
//! every drop reason, every counter and every listed connection has to be the
//! same. Seeds are fixed. `DPVS_DIFF_SEED=N` starts from another one,
//! `DPVS_DIFF_STEPS=N` makes longer runs, `DPVS_DIFF_RUNS=N` more of them; a
//! failure names the seed and the step.
#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod chain;
mod fast;
#[path = "../reference/mod.rs"]
mod reference;
#[path = "../support/rng.rs"]
mod rng;
mod traffic;
mod traffic_other;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use dpvs_core::frame::{Now, PortId};
use dpvs_core::message::{Query, Reply, ToWorker};
use dpvs_core::service::DestId;
use dpvs_core::snapshot::Snapshot;
use dpvs_core::stats::Reason;
use fast::Fast;
use reference::{Config, Director};
use rng::Rng;
use traffic::Traffic;
use world::{NEIGHBOUR_MACS, Numbers, ip};

/// How late a connection may end, milliseconds: a tick of the timers, and the
/// work they are allowed at a time.
const SLACK: u64 = 600;

struct Run {
    fast: Fast,
    slow: Director,
    snap: Snapshot,
    numbers: Numbers,
    traffic: Traffic,
    name: String,
    undrained: BTreeMap<DestId, u32>,
}

impl Run {
    fn new(seed: u64, me: u8, workers: u8, room: usize, twin: bool) -> Self {
        let mut numbers = Numbers::default();
        let config = world::start(&mut numbers);
        let now = Now(5_000_000 + seed % 7 * 900_000_000_000);
        let mut run = Self {
            fast: Fast::new(me, workers, room, seed, now),
            slow: Director::new(me, workers, room, Config::default()),
            snap: Snapshot::default(),
            numbers,
            traffic: Traffic {
                rng: Rng(seed),
                last: Vec::new(),
            },
            name: format!("seed {seed} worker {me}/{workers} room {room}"),
            undrained: BTreeMap::new(),
        };
        if twin {
            run.fast.with_twin(me, workers, room, seed);
        }
        run.slow.now = now.0;
        run.install(config);
        for n in [11, 12, 13, 14] {
            run.neighbour(1, &format!("10.0.1.{n}"), true);
            run.neighbour(1, &format!("2001:db8:2::{n}"), true);
        }
        run.neighbour(0, "192.0.2.50", true);
        run
    }

    fn neighbour(&mut self, port: u16, addr: &str, permanent: bool) {
        let (addr, mac) = (ip(addr), NEIGHBOUR_MACS[0]);
        let port_id = PortId(port);
        self.fast.handle(if permanent {
            ToWorker::NeighAdd {
                port: port_id,
                addr,
                mac,
            }
        } else {
            ToWorker::NeighLearn {
                port: port_id,
                addr,
                mac,
            }
        });
        self.slow.learn(port, addr, mac, permanent, &mut self.fast);
    }

    fn install(&mut self, config: Config) {
        let old = std::mem::replace(&mut self.slow.config, config);
        let last = (self.snap.epoch > 0).then_some((&old, &self.snap));
        let snap = self.slow.config.snapshot(last);
        self.snap = snap.clone();
        let there = self.slow.config.dests();
        let removed: Vec<_> = old
            .dests()
            .into_iter()
            .filter(|d| !there.contains(d))
            .collect();
        for dest in &removed {
            self.slow.remove(*dest);
            self.undrained.insert(*dest, 0);
        }
        self.fast.handle(ToWorker::Install {
            snapshot: Arc::new(snap),
            removed,
        });
    }

    fn time(&mut self, millis: u64) {
        // Far ahead in larger steps: what was due within one may be late by it.
        let step = (millis / 40).max(100);
        let end = self.slow.now + millis * 1000;
        while self.slow.now < end {
            self.slow.now = (self.slow.now + step * 1000).min(end);
            self.fast.now = Now(self.slow.now);
            for _ in 0..30 {
                self.fast.tick();
            }
            self.slow.ticked(step + SLACK, &mut self.fast);
        }
    }

    fn step(&mut self, step: usize) {
        let Self { traffic, slow, .. } = self;
        let r = &mut traffic.rng;
        slow.at = format!("{} step {step}", self.name);
        match r.below(100) {
            0..=77 => {
                let port = *r.pick(&[0, 0, 0, 1, 1, 1, 2, 7]);
                let n = if r.percent(30) { 32 } else { r.range(1, 32) };
                // So that every new connection can still be looked up afterwards.
                let n = n.min(slow.spare().max(1));
                let short = r.percent(5);
                let known = (port as usize) < slow.config.ports.len();
                let frames: Vec<_> = (0..n)
                    .map(|_| traffic.frame(if known { port } else { 0 }, slow))
                    .collect();
                self.fast.io.no_buffers = short;
                slow.no_buffers = short;
                self.fast.burst(port, &frames);
                slow.copies(port, &frames, &mut self.fast);
                for (i, frame) in frames.iter().enumerate() {
                    slow.at = format!(
                        "{} step {step} port {port} frame {i} of {n}: {}",
                        self.name,
                        reference::hex(frame)
                    );
                    slow.receive(port, frame, &mut self.fast);
                }
                self.fast.io.no_buffers = false;
                slow.no_buffers = false;
            }
            78..=87 => {
                let millis = r.range(1, 700) as u64;
                self.time(millis);
            }
            88..=89 => {
                let millis = r.range(1000, 100_000) as u64;
                self.time(millis);
            }
            90..=95 => {
                let mut config = slow.config.clone();
                let what = world::change(r, &mut config, &mut self.numbers);
                slow.at = format!("{} step {step}: {what}", self.name);
                self.install(config);
            }
            96 => {
                let (port, addr) = *r.pick(&[
                    (1, "10.0.1.11"),
                    (1, "10.0.1.16"),
                    (0, "192.0.2.254"),
                    (0, "2001:db8:1::fe"),
                    (1, "2001:db8:2::11"),
                ]);
                if r.percent(50) {
                    let permanent = r.percent(20);
                    self.neighbour(port, addr, permanent);
                } else {
                    let addr = ip(addr);
                    let port_id = PortId(port);
                    self.fast.handle(ToWorker::NeighDel {
                        port: port_id,
                        addr,
                    });
                    slow.unlearn(port, addr);
                }
            }
            97 => {
                let addr = ip(r.pick::<&str>(&["192.0.2.10", "2001:db8:1::10"]));
                let port = PortId(0);
                self.fast.handle(ToWorker::Announce { port, addr });
                slow.announce(0, addr, &mut self.fast);
            }
            98 => {
                self.fast.handle(ToWorker::Zero { dests: vec![] });
                slow.zero();
            }
            _ => self.compare_conns(),
        }
        self.slow.nothing_left(&mut self.fast);
        self.compare_books();
    }

    /// Every counter of both.
    fn compare_books(&mut self) {
        let at = &self.slow.at;
        let (f, s) = (self.fast.worker.stats(), &self.slow.books);
        let mut wrong = Vec::new();
        for reason in Reason::ALL {
            let (got, want) = (f.dropped(*reason), s.drops.get(reason.text()).copied());
            if got != want.unwrap_or(0) {
                wrong.push((reason.text(), got, want));
            }
        }
        assert!(wrong.is_empty(), "{at}\ndropped (got, want): {wrong:?}");
        assert_eq!(f.to_host, s.to_host, "{at}: to the kernel");
        assert_eq!(f.handed_over, s.handed_over, "{at}: handed over");
        assert_eq!(f.conn_hits, s.conn_hits, "{at}: hits");
        assert_eq!(f.conns_made, s.made, "{at}: made");
        assert_eq!(f.conns_gone, s.gone, "{at}: gone");
        assert_eq!(f.conns_evicted, s.evicted, "{at}: made room");
        assert_eq!(
            (f.toa_ok, f.toa_failed),
            (s.toa_ok, s.toa_failed),
            "{at}: TOA"
        );
        assert_eq!(f.ip4, s.ip4, "{at}: IPv4");
        assert_eq!(f.ip6, s.ip6, "{at}: IPv6");
        assert_eq!(
            self.fast.worker.conns(),
            self.slow.conns.len(),
            "{at}: connections"
        );
        let mut ids: Vec<_> = self.slow.dests.keys().copied().collect();
        ids.sort_unstable();
        let Reply::Dests(all) = self.fast.query(Query::Dests(ids.clone())) else {
            panic!("no counters");
        };
        for (id, got) in ids.iter().zip(all) {
            assert_eq!(got, self.slow.dests[id], "{}: {id:?}", self.slow.at);
        }
        // A removed server is reported soon after its last connection.
        let open = self.slow.undrained();
        self.undrained.retain(|d, _| open.contains(d));
        for (dest, steps) in &mut self.undrained {
            *steps += 1;
            assert!(*steps < 60, "{}: {dest:?} is not drained", self.slow.at);
        }
    }

    fn compare_conns(&mut self) {
        let mut listed = self.fast.all_conns();
        for conn in self.slow.conns.values() {
            let at = listed.iter().position(|i| conn.is(i));
            match at {
                Some(i) => drop(listed.swap_remove(i)),
                None => panic!("{}: not listed: {conn:?}\nof {listed:?}", self.slow.at),
            }
        }
        assert!(listed.is_empty(), "{}: {listed:?}", self.slow.at);
        let Reply::Laddrs(all) = self.fast.query(Query::Laddrs) else {
            panic!("no local addresses");
        };
        for l in all {
            let users = self.slow.conns.values().filter(|c| c.laddr.0 == l.addr);
            assert_eq!(users.count(), l.conns as usize, "{}: {l:?}", self.slow.at);
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

fn run(kind: u64, me: u8, workers: u8, room: usize, twin: bool) {
    let first = setting("DPVS_DIFF_SEED", 1);
    let steps = setting("DPVS_DIFF_STEPS", 400) as usize;
    for seed in first..first + setting("DPVS_DIFF_RUNS", 6) {
        let mut run = Run::new(seed * 1000 + kind, me, workers, room, twin);
        for step in 0..steps {
            run.step(step);
        }
        run.compare_conns();
    }
}

#[test]
fn one_worker() {
    run(1, 0, 1, 4000, false);
}

#[test]
fn second_of_three_workers() {
    run(2, 1, 3, 4000, false);
}

#[test]
fn a_table_that_is_full() {
    run(3, 0, 1, 40, false);
}

/// Headers and data split over segments: everything comes out the same.
#[test]
fn frames_in_segments() {
    run(4, 0, 2, 4000, true);
}
