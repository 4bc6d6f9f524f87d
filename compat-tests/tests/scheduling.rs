//! Every scheduler and its flags end to end: curl, nginx and the daemon with two
//! workers. A worker schedules for itself, so what a single one would do exactly is
//! true of two within a connection for each server and worker.

use std::net::UdpSocket;
use std::time::Duration;

use compat_tests::lab::many::{SERVERS, Spread, client};
use compat_tests::lab::modes::{LOCAL4, at};
use compat_tests::lab::{Lab, Slot, addr};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Result};

/// Services: port, kind, scheduler and options, weights of the first servers.
const SERVICES: &[(u16, &str, &str, &[u16])] = &[
    (1001, "-t", "rr", &[1, 1, 1, 0]),
    (1002, "-t", "wrr", &[1, 2, 3]),
    (1003, "-t", "lc", &[1, 1, 1]),
    (1004, "-t", "wlc", &[1, 2, 3]),
    (1005, "-t", "sed", &[1, 1, 100]),
    (1006, "-t", "nq", &[1, 1, 100]),
    (1007, "-t", "fo", &[1, 2, 3]),
    (1008, "-t", "ovf", &[4, 4, 3]),
    (1009, "-t", "twos", &[1, 1, 4]),
    (1010, "-t", "dh", &[1, 1, 1]),
    (1011, "-t", "lblc", &[1, 1, 1]),
    (1012, "-t", "lblcr", &[1, 1, 1]),
    (1013, "-t", "sh", &[1, 1, 1]),
    (1014, "-t", "sh -b sh-port", &[1, 1, 1]),
    (1015, "-t", "sh -b sh-fallback", &[1, 1, 1]),
    (1016, "-t", "mh", &[1, 1, 1]),
    (1017, "-t", "mh -b mh-port", &[1, 1, 1]),
    (1018, "-t", "mh -b mh-fallback", &[1, 1, 1]),
    (1019, "-t", "conhash --hash-target sip", &[1, 1, 1]),
    (1020, "-u", "conhash --hash-target qid", &[1, 1, 1]),
];

fn services() -> String {
    let mut text = String::new();
    for (port, kind, how, weights) in SERVICES {
        let vip = format!("{kind} {}:{port}", addr::VIP4);
        text += &format!("-A {vip} -s {how}\n-P {vip} -z {LOCAL4} -F dpdk1\n");
        for (server, weight) in SERVERS.iter().zip(*weights) {
            let to = if *kind == "-u" { 5353 } else { 80 };
            text += &format!("-a {vip} -r {server}:{to} -b -w {weight}\n");
        }
    }
    text
}

fn edit(lab: &Lab, port: u16, server: &str, how: &[&str]) -> Result<()> {
    let (vip, server) = (format!("{}:{port}", addr::VIP4), format!("{server}:80"));
    lab.set(&[&["-e", "-t", &vip, "-r", &server, "-b"], how].concat())
}

/// So many for each server, give or take.
fn about(spread: &Spread, want: &[(&str, usize)], slack: usize) {
    let near =
        |(name, n): &(&str, usize)| spread.get(*name).copied().unwrap_or(0).abs_diff(*n) <= slack;
    let all: usize = want.iter().map(|w| w.1).sum();
    assert!(
        want.iter().all(near) && spread.values().sum::<usize>() == all,
        "{spread:?} is not {want:?}"
    );
}

#[test]
fn every_scheduler_sends_where_it_should() -> Result<()> {
    if !root_or_skip("every_scheduler_sends_where_it_should")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let mut lab = Lab::with_many("scheds", |conf| conf)?;
    lab.with_logs(|lab| {
        lab.restore(&services())?;
        // The servers' neighbours are found by the first ones.
        lab.spread(&client(0), 1001, 6)?;
        in_turn(lab)?;
        by_load(lab)?;
        by_hash(lab)?;
        by_gquic_id(lab)?;
        saved(lab)?;
        lab.still_running()
    })
}

fn in_turn(lab: &Lab) -> Result<()> {
    let from = client(0);
    // The fourth has weight 0.
    about(
        &lab.spread(&from, 1001, 30)?,
        &[("31", 10), ("32", 10), ("33", 10)],
        2,
    );
    about(
        &lab.spread(&from, 1002, 30)?,
        &[("31", 5), ("32", 10), ("33", 15)],
        4,
    );
    let spread = lab.spread(&from, 1009, 40)?;
    let of = |name: &str| spread.get(name).copied().unwrap_or(0);
    assert!(
        spread.values().sum::<usize>() == 40 && of("33") > of("31") && of("33") > of("32"),
        "{spread:?}"
    );
    // The heaviest, and the next one when it has no weight any more.
    about(&lab.spread(&from, 1007, 5)?, &[("33", 5)], 0);
    edit(lab, 1007, SERVERS[2], &["-w", "0"])?;
    about(&lab.spread(&from, 1007, 5)?, &[("32", 5)], 0);
    Ok(())
}

fn by_load(lab: &Lab) -> Result<()> {
    let from = client(1);
    let held = lab.hold_in_turn(&from, 1003, 12)?;
    about(
        &lab.active(1003, held.len())?,
        &[("31", 4), ("32", 4), ("33", 4)],
        2,
    );
    let held = lab.hold_in_turn(&from, 1004, 18)?;
    about(
        &lab.active(1004, held.len())?,
        &[("31", 3), ("32", 6), ("33", 9)],
        2,
    );
    // A hundred times as fast: nobody else is worth the wait, but for `nq`, which
    // lets no server idle.
    let held = lab.hold_in_turn(&from, 1005, 8)?;
    about(&lab.active(1005, held.len())?, &[("33", 8)], 0);
    let held = lab.hold_in_turn(&from, 1006, 12)?;
    let spread = lab.active(1006, held.len())?;
    assert!(
        held.len() == 12 && spread.values().all(|&n| n > 0) && spread["33"] >= 8,
        "{spread:?}"
    );
    // The first of the heaviest until it is full, in each worker.
    let held = lab.hold_in_turn(&from, 1008, 13)?;
    let spread = lab.active(1008, held.len())?;
    assert!(
        held.len() == 13 && spread.values().filter(|&&n| n > 0).count() > 1,
        "{spread:?}"
    );
    assert!(spread.values().all(|&n| n <= 10), "{spread:?}");
    Ok(())
}

/// The one server that answers, whatever is asked.
fn only(lab: &Lab, from: &str, port: u16) -> Result<String> {
    let answers = lab.answers(from, port, 3)?;
    assert!(
        answers.len() == 3 && answers.iter().all(|a| *a == answers[0]),
        "port {port}, {from}: {answers:?}"
    );
    Ok(answers[0].clone())
}

fn by_hash(lab: &Lab) -> Result<()> {
    // By the virtual address: all clients the same; what is remembered of it is
    // each worker's own.
    for (port, most) in [(1010, 1), (1011, 2), (1012, 2)] {
        let mut seen = Spread::new();
        for n in 0..4 {
            seen.extend(lab.spread(&client(n), port, 4)?);
        }
        assert!((1..=most).contains(&seen.len()), "port {port}: {seen:?}");
    }
    // By the client's: each its own, and not all the same.
    for port in [1013, 1016, 1019] {
        let mut seen: Vec<String> = Vec::new();
        for n in 0..10 {
            seen.push(only(lab, &client(n), port)?);
        }
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 1, "port {port}: {seen:?}");
    }
    // With its port, too.
    for port in [1014, 1017] {
        let spread = lab.spread(&client(0), port, 16)?;
        assert!(
            spread.len() > 1 && spread.values().sum::<usize>() == 16,
            "port {port}: {spread:?}"
        );
    }
    // What is hashed to a server at its threshold goes nowhere, or to another one.
    let from = client(3);
    for (port, falls_back) in [(1013, false), (1015, true), (1016, false), (1018, true)] {
        let mine = only(lab, &from, port)?;
        let server = mine.trim_end_matches(":80");
        // What is closed counts until it is forgotten.
        compat_tests::wait::until_true("an idle server", 3 * SECOND, || {
            let list = lab.listed("-t", port, &[])?;
            let idle = |w: &Vec<String>| w.get(2..4).is_some_and(|n| n == ["0", "0"]);
            Ok(list.values().all(idle))
        })?;
        edit(lab, port, server, &["-w", "1", "-x", "2"])?;
        // One worker may have to hear of the other's share first.
        let mut held = Vec::new();
        compat_tests::wait::until_true("a full server", 5 * SECOND, || {
            held.extend(lab.hold(&from, port, 1)?);
            let list = lab.listed("-t", port, &[])?;
            let name = server.rsplit('.').next().unwrap_or_default();
            Ok(list[name].get(2).is_some_and(|n| n == "2"))
        })?;
        let answers = lab.answers(&from, port, 1)?;
        assert_eq!(answers.len(), usize::from(falls_back), "port {port}");
        assert!(!answers.contains(&mine), "port {port}: {answers:?}");
    }
    Ok(())
}

const SECOND: Duration = Duration::from_secs(1);

/// Datagrams with the same connection id go to the same server, whoever sends them.
fn by_gquic_id(lab: &Lab) -> Result<()> {
    let _servers = lab.echo_servers(5353)?;
    let to = at(addr::VIP4, 1020)?;
    let mut all = Vec::new();
    for id in 0..6_u64 {
        let mut seen = Vec::new();
        for n in 0..3 {
            let from = client(n);
            let answer = lab.client.enter(|| {
                let socket = UdpSocket::bind((&from[..], 0)).what(|| "UDP client")?;
                socket
                    .set_read_timeout(Some(2 * SECOND))
                    .what(|| "time-out")?;
                let mut data = vec![0x08];
                data.extend((id * 0x0123_4567_89ab).to_le_bytes());
                socket.send_to(&data, to).what(|| "send")?;
                let mut buffer = [0; 64];
                let len = socket.recv(&mut buffer).what(|| "no answer")?;
                Ok(String::from_utf8_lossy(&buffer[..len.min(2)]).into_owned())
            })?;
            seen.push(answer);
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "id {id}: {seen:?}");
        all.extend(seen);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 1, "{all:?}");
    Ok(())
}

/// What was configured is what is saved, and can be read again.
fn saved(lab: &Lab) -> Result<()> {
    let saved = lab.ipvsadm(&["-Sn"])?.success()?;
    for want in [
        "-s sh -b sh-port",
        "-s sh -b sh-fallback",
        "-s mh -b mh-port",
        "-s mh -b mh-fallback",
        "--hash-target qid",
        "-w 100",
        "-x 2",
    ] {
        assert!(saved.contains(want), "{want}:\n{saved}");
    }
    lab.set(&["-C"])?;
    lab.restore(&saved)?;
    assert_eq!(lab.ipvsadm(&["-Sn"])?.success()?, saved);
    Ok(())
}
