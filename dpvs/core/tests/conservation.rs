//! Nothing is lost without a reason: random and broken frames into a director with
//! every forwarding mode, on one, two and three workers.
//!
//! The kernel sends its own meanwhile, of which some belongs to connections with servers
//! that it is. After each burst the books of every worker have to balance (`pkt/books.rs`): what
//! it was given and made is what it gave away, dropped for a reason or still has.
//! Buffers run out, time passes, servers and addresses go and come back meanwhile.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pkt;
#[path = "support/rng.rs"]
mod rng;
#[path = "support/traffic.rs"]
mod traffic;

use dpvs_core::message::{Query, Reply};
use dpvs_core::service::DestId;
use pkt::build;
use pkt::lab::{Lab, Way};
use pkt::packet::{MACS, Text};
use pkt::vars::Vars;
use rng::Rng;
use traffic::{CHANGES, CONFIG, KERNELS, PACKETS};

fn config(lab: &mut Lab, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(lab.config(&words, &Vars::default()), Ok(true), "{line}");
}

/// The frames of a packet; local ports are some that are in use.
fn frames(lab: &Lab, dice: &mut Rng, ports: &[u16], of: (u16, &str)) -> Vec<Vec<u8>> {
    let client = 1 + dice.below(12);
    let local = match ports.len() {
        0 => 1030,
        n => ports[dice.below(n)],
    };
    let text = of.1.replace('C', &client.to_string());
    let text = text.replace('L', &local.to_string());
    // A key of four letters has none of these.
    let packet = Text::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let peer = MACS
        .iter()
        .find(|m| m.0 == if of.0 == 0 { "client" } else { "rs" });
    let mac = lab.mac(of.0).unwrap();
    let frame = build::frame(&packet, &Vars::default(), mac, peer.unwrap().1);
    let frame = frame.unwrap_or_else(|e| panic!("{text}: {e}"));
    let Some(room) = packet.get("pieces") else {
        return vec![frame];
    };
    let all = pkt::pieces::cut(&frame, room.parse().unwrap(), dice.below(4) as u32);
    match packet.get("order") {
        Some(order) => order
            .split(',')
            .map(|n| all[n.parse::<usize>().unwrap()].clone())
            .collect(),
        None => all,
    }
}

/// Breaks some of a frame, or all of it.
fn mangle(dice: &mut Rng, frame: &mut Vec<u8>) {
    match dice.below(8) {
        0 => frame.truncate(dice.below(frame.len() + 1)),
        1 => (0..1 + dice.below(60)).for_each(|_| frame.push(dice.below(256) as u8)),
        2 => frame.iter_mut().for_each(|b| *b = dice.below(256) as u8),
        _ => {
            for _ in 0..1 + dice.below(3) {
                let at = dice.below(frame.len().min(80));
                frame[at] = dice.below(256) as u8;
            }
        }
    }
}

/// Ports of local addresses, of what was sent.
fn learn(ports: &mut Vec<u16>, frame: &[u8]) {
    let (src, at) = match frame.get(12..14) {
        Some([8, 0]) => (frame.get(26..30), 34),
        Some([0x86, 0xdd]) => (frame.get(34..38), 54),
        _ => return,
    };
    let ours = [[10, 0, 1, 200], [192, 0, 2, 20], [0, 0, 2, 0]];
    let mine = src.is_some_and(|s| ours.iter().any(|o| s == o));
    if let (true, Some(port)) = (mine, frame.get(at..at + 2)) {
        ports.push(u16::from_be_bytes([port[0], port[1]]));
        let old = ports.len().saturating_sub(32);
        ports.drain(..old);
    }
}

/// An error about a frame that was sent by a port, if it can be about it: a router's, or
/// of the kernel that was given it.
fn error_about(
    lab: &Lab,
    dice: &mut Rng,
    port: u16,
    sent: &[u8],
    kernels: bool,
    least: usize,
) -> Option<Vec<u8>> {
    let quote = sent.get(14..)?;
    let quote = &quote[..quote.len().min(least + dice.below(120))];
    let hex: String = quote.iter().map(|b| format!("{b:02x}")).collect();
    let (src, kinds, router) = match sent.get(12..14)? {
        [8, 0] => {
            let src: [u8; 4] = sent.get(26..30)?.try_into().ok()?;
            let kinds = ["frag-needed mtu=1300", "time-exceeded", "unreachable"];
            let router = if kernels { "10.0.1.3" } else { "203.0.113.77" };
            (std::net::IpAddr::from(src), kinds, router)
        }
        [0x86, 0xdd] => {
            let src: [u8; 16] = sent.get(22..38)?.try_into().ok()?;
            let kinds = ["too-big mtu=1300", "time-exceeded", "unreachable"];
            let router = if kernels {
                "2001:db8:2::3"
            } else {
                "2001:db8:77::7"
            };
            (std::net::IpAddr::from(src), kinds, router)
        }
        _ => return None,
    };
    let text = format!("icmp {router} > {src} {} hex={hex}", kinds[dice.below(3)]);
    let packet = Text::parse(&text).ok()?;
    build::frame(
        &packet,
        &Vars::default(),
        lab.mac(port).ok()?,
        [2, 0, 0, 0, 0, 9],
    )
    .ok()
}

fn run(workers: u8, rounds: usize, seed: u64, sound: bool) {
    let mut lab = Lab::new();
    config(&mut lab, &format!("workers {workers}"));
    config(&mut lab, "conns-max 60");
    let lines = CONFIG.lines().map(str::trim).filter(|l| !l.is_empty());
    lines.for_each(|line| config(&mut lab, line));
    let mut dice = Rng(seed);
    let least = if sound { 120 } else { 20 };
    let mut ports = Vec::new();
    let mut quotes: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut given: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut changed: Vec<usize> = vec![0; CHANGES.len()];
    for round in 0..rounds {
        if dice.below(8) == 0 {
            let n = dice.below(CHANGES.len());
            config(&mut lab, CHANGES[n][changed[n]]);
            changed[n] ^= 1;
        }
        lab.publish();
        let port = dice.below(2) as u16;
        let mut port_in = port;
        let some: Vec<_> = PACKETS.iter().filter(|p| p.0 == port).collect();
        let mut burst = Vec::new();
        // One packet at a time half of the time: what fails is easy to find then.
        let most = if dice.below(2) == 0 { 1 } else { 20 };
        let mut last = "";
        for _ in 0..1 + dice.below(most) {
            let of = *some[dice.below(some.len())];
            last = of.1;
            burst.extend(frames(&lab, &mut dice, &ports, of));
        }
        burst.truncate(32);
        let broken = !sound && dice.below(3) == 0;
        for frame in &mut burst {
            if broken && dice.below(2) == 0 {
                mangle(&mut dice, frame);
            }
        }
        // An error about something that was sent a moment ago.
        if dice.below(6) == 0
            && let Some((port, sent)) = quotes.pop()
            && let Some(frame) = error_about(&lab, &mut dice, port, &sent, false, least)
        {
            (last, burst) = ("error", vec![frame]);
            port_in = port;
        }
        let worker = dice.below(workers.into()) as u8;
        lab.input(worker, port_in, &burst).unwrap();
        let check = |lab: &Lab, when: &str| {
            lab.balanced().unwrap_or_else(|e| {
                panic!("{workers} workers, round {round}, {when}: {last}\n{burst:02x?}\n{e}")
            });
        };
        check(&lab, "received");
        if dice.below(2) == 0 {
            let error = match dice.below(4) {
                0 => given.pop(),
                _ => None,
            };
            let error = error.and_then(|(port, sent)| {
                Some((
                    port,
                    error_about(&lab, &mut dice, port, &sent, true, least)?,
                ))
            });
            let (port, some) = match error {
                Some((port, frame)) => (port, vec![frame]),
                None => {
                    let of = KERNELS[dice.below(KERNELS.len())];
                    (of.0, frames(&lab, &mut dice, &ports, of))
                }
            };
            for mut frame in some {
                if broken {
                    mangle(&mut dice, &mut frame);
                }
                lab.kernel(dice.below(workers.into()) as u8, port, &frame)
                    .unwrap();
                lab.balanced().unwrap_or_else(|e| {
                    panic!("{workers} workers, round {round}, kernel's: {frame:02x?}\n{e}")
                });
            }
        }
        if dice.below(6) == 0 {
            // A ring was full: who handed over has counted it.
            let out = &mut lab.sink.out;
            out.retain(|(way, _)| !matches!(way, Way::Hand(..)));
        }
        lab.gather().unwrap();
        check(&lab, "handed over");
        for (way, frame) in lab.sink.out.drain(..) {
            learn(&mut ports, &frame);
            if sound
                && let Err(e) = pkt::decode::frame(&frame)
                && !e.contains("cut short")
            {
                panic!("{workers} workers, round {round}: {last}: {way:?} {e}: {frame:02x?}");
            }
            match way {
                Way::Out(port @ 0..2) => quotes.push((port, frame)),
                Way::Host(port @ 0..2) => given.push((port, frame)),
                _ => {}
            }
        }
        for old in [&mut quotes, &mut given] {
            old.drain(..old.len().saturating_sub(8));
        }
        lab.drained.clear();
        let most = if dice.below(20) == 0 {
            30_000_000
        } else {
            40_000
        };
        lab.pass(dice.below(most) as u64);
        lab.balanced()
            .unwrap_or_else(|e| panic!("{workers} workers, round {round}, time passed: {e}"));
    }
    lab.gather().unwrap();
    lab.pass(400_000_000);
    lab.balanced().unwrap();
    lab.pass(600_000_000);
    lab.balanced().unwrap();
    let conns: usize = lab.workers.iter().map(|w| w.conns()).sum();
    assert_eq!(conns, 0, "connections are left");
    for reply in lab.query(&Query::Laddrs) {
        let Reply::Laddrs(all) = reply else { continue };
        let used: Vec<_> = all.iter().filter(|l| l.used + l.conns > 0).collect();
        assert!(used.is_empty(), "ports are left: {used:?}");
    }
    let ids: Vec<DestId> = (0..200).map(DestId).collect();
    for reply in lab.query(&Query::Dests(ids)) {
        let Reply::Dests(all) = reply else { continue };
        let open = all.iter().filter(|d| d.active + d.inactive > 0);
        assert_eq!(open.count(), 0, "servers count connections that are gone");
    }
    let waits: u64 = lab
        .workers
        .iter()
        .map(|w| lab.sink.books.waiting(w.id()))
        .sum();
    assert_eq!(waits, 0, "something waits for ever");
    // It was a test of many reasons, and of connections.
    let made: u64 = lab.workers.iter().map(|w| w.stats().conns_made).sum();
    let reasons = dpvs_core::stats::Reason::ALL.iter();
    let seen = reasons.filter(|r| lab.drops(**r) > 0).count();
    assert!(
        made > rounds as u64 / 8 && seen >= if sound { 12 } else { 20 },
        "{made} connections, {seen} reasons"
    );
}

#[test]
fn every_frame_of_one_worker_has_a_reason() {
    run(1, 3000, 0x9e37_79b9_7f4a_7c15, false);
}

#[test]
fn every_frame_of_two_workers_has_a_reason() {
    run(2, 3000, 0x2545_f491_4f6c_dd1d, false);
}

#[test]
fn every_frame_of_three_workers_has_a_reason() {
    run(3, 3000, 0xda94_2042_e4dd_58b5, false);
}

/// What comes whole goes whole: every length and checksum of what goes out.
#[test]
fn sound_frames_stay_sound() {
    run(1, 3000, 0x94d0_49bb_1331_11eb, true);
    run(2, 3000, 0xbf58_476d_1ce4_e5b9, true);
}
