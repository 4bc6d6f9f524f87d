//! Datagrams larger than the MTU, end to end: dig and a name server with answers of
//! four kilobytes, questions of three, in every mode that carries UDP, over two
//! workers; and a flood of fragments that belong to nothing.
//!
//! The ports are taps: with af_packet the director's kernel would put IPv4 fragments
//! together before the dataplane sees them. That it sees fragments is
//! proved by its own counters, which have several packets for each datagram.

use std::net::SocketAddr;
use std::time::Duration;

use compat_tests::decap::Decap;
use compat_tests::lab::modes::{LOCAL4, LOCAL6, family};
use compat_tests::lab::{Lab, START, Slot, addr, end};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, run, udp, wait};

const SOON: Duration = Duration::from_secs(5);
/// Bytes of the text record, in strings of 250.
const TEXT: usize = 4000;

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<()> {
    lab.ipvsadm(args)?.success().map(drop)
}

/// A lab of two workers, the servers' way to everybody through the director.
fn lab(test: &str) -> Result<(Slot, Lab)> {
    let slot = Slot::wait()?;
    let mut lab = Lab::wires(&format!("f{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.with_logs(|lab| {
        lab.start_dpvs_taps(|conf| conf.replace("forwarding      off", "forwarding on"))?;
        lab.virtual_addresses()?;
        lab.local_addresses()?;
        for ns in &lab.servers {
            for via in [addr::INSIDE4, addr::INSIDE6] {
                ns.ip(&family(via, &["route", "add", "default", "via", via]))?;
            }
        }
        Ok(())
    })?;
    Ok((slot, lab))
}

/// NSD with one large text record, on all addresses of server 0.
fn name_server(lab: &Lab) -> Result<Process> {
    let dir = lab.dir.display();
    let ns = &lab.servers[0];
    for vip in [addr::VIP4, addr::VIP6] {
        ns.ip(&family(vip, &["addr", "add", vip, "dev", "lo"]))?;
    }
    ns.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    let addresses: String = [addr::RS4[0], addr::RS6[0], addr::VIP4, addr::VIP6]
        .iter()
        .map(|a| format!("  ip-address: {a}\n"))
        .collect();
    let conf = format!(
        "server:\n{addresses}  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{dir}\"\n  \
         pidfile: \"\"\n  database: \"\"\n  zonelistfile: \"{dir}/zone.list\"\n  \
         xfrdfile: \"{dir}/xfrd.state\"\n  xfrdir: \"{dir}\"\n  ip-freebind: yes\n  \
         ipv4-edns-size: 4096\n  ipv6-edns-size: 4096\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: \"test\"\n  zonefile: \"test.zone\"\n"
    );
    let text: String = (0..TEXT / 250)
        .map(|i| {
            format!(
                " \"{}\"",
                char::from(b'a' + i as u8).to_string().repeat(250)
            )
        })
        .collect();
    let zone = format!(
        "$ORIGIN test.\n$TTL 60\n@ SOA ns mail 1 60 60 60 60\n@ NS ns\n\
         ns A 192.0.2.10\nbig TXT{text}\n"
    );
    for (name, what) in [("nsd.conf", conf), ("test.zone", zone)] {
        std::fs::write(lab.file(name), what).what(|| name.to_owned())?;
    }
    let mut command = ns.command("nsd");
    command.args(["-d", "-c"]).arg(lab.file("nsd.conf"));
    let mut nsd = Process::start("nsd", &command, &lab.file("nsd.out"), Lifetime::Bound)?;
    wait::until_true("the name server", START, || {
        nsd.still_running()?;
        let at = format!("@{}", addr::RS4[0]);
        let out = ns.run("dig", &["+time=1", "+tries=1", "+short", &at, "ns.test"])?;
        Ok(out.stdout.trim() == "192.0.2.10")
    })?;
    Ok(nsd)
}

/// Asks for the large record, over UDP; whether all of it came.
fn dig(lab: &Lab, vip: &str) -> Result<bool> {
    let at = format!("@{vip}");
    let how = "+time=1 +tries=1 +notcp +ignore +bufsize=4096 +short";
    let args: Vec<&str> = how.split(' ').chain([&at[..], "TXT", "big.test"]).collect();
    let out = lab.client.run("dig", &args)?;
    Ok(out.stdout.bytes().filter(u8::is_ascii_lowercase).count() == TEXT)
}

/// The same with a question of three kilobytes, which dig would ask over TCP: padding
/// in an option that nobody knows.
fn ask_at_length(lab: &Lab, vip: &str) -> Result<bool> {
    let mut question = b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01\x03big\x04test\0\0\x10\0\x01".to_vec();
    question.extend(b"\0\0\x29\x10\0\0\0\0\0");
    question.extend(
        [
            3004_u16.to_be_bytes(),
            65001_u16.to_be_bytes(),
            3000_u16.to_be_bytes(),
        ]
        .concat(),
    );
    question.extend([0x5a; 3000]);
    let server = end(vip, 53).parse::<SocketAddr>();
    let server = server.map_err(|_| Error::new(format!("{vip} is no address")))?;
    let answer = udp::ask(&lab.client, server, &question, Duration::from_secs(1))?;
    // No error, and one record.
    let fine = |a: Vec<u8>| {
        a.len() > TEXT && a.get(3).is_some_and(|b| b & 15 == 0) && a.get(7) == Some(&1)
    };
    Ok(answer.is_some_and(fine))
}

/// Packets in and out of a UDP service.
fn packets(lab: &Lab, service: &str) -> Result<[u64; 2]> {
    let list = lab
        .ipvsadm(&["-Ln", "--stats", "--exact", "-u", service])?
        .success()?;
    let line = list.lines().find(|l| l.starts_with("UDP"));
    let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse().ok());
    match (number(3), number(4)) {
        (Some(inward), Some(outward)) => Ok([inward, outward]),
        _ => Err(Error::new(format!("no counters of {service} in\n{list}"))),
    }
}

/// How often `dpip drop show` has a reason counted.
fn drops(lab: &Lab, reason: &str) -> Result<u64> {
    let list = lab.dpip(&["drop", "show"])?.success()?;
    let count = |line: &str| {
        let mut words = line.split_whitespace();
        let at = words.clone().any(|w| w == reason);
        at.then(|| {
            words
                .rfind(|w| w.parse::<u64>().is_ok())?
                .parse::<u64>()
                .ok()
        })?
    };
    Ok(list.lines().filter_map(count).sum())
}

#[test]
fn large_questions_and_answers_go_through_in_fragments() -> Result<()> {
    if !root_or_skip("large_questions_and_answers")? {
        return Ok(());
    }
    let (_turn, mut lab) = lab("dns")?;
    lab.with_logs(|lab| {
        let _nsd = name_server(lab)?;
        let _decap = Decap::start(&lab.servers[0], "eth0")?;
        const EACH: u64 = 10;
        for (vip, rs, laddr) in [
            (addr::VIP4, addr::RS4[0], LOCAL4),
            (addr::VIP6, addr::RS6[0], LOCAL6),
        ] {
            let (at, server) = (end(vip, 53), end(rs, 53));
            for mode in ["-b", "-m", "-i"] {
                ipvsadm(lab, &["-A", "-u", &at, "-s", "rr"])?;
                if mode == "-b" {
                    ipvsadm(lab, &["-P", "-u", &at, "-z", laddr, "-F", "dpdk1"])?;
                }
                ipvsadm(lab, &["-a", "-u", &at, "-r", &server, mode])?;
                // The first ones wait for neighbours.
                wait::until_true(&format!("an answer through {vip} {mode}"), SOON, || {
                    Ok(dig(lab, vip)? && ask_at_length(lab, vip)?)
                })?;
                let before = packets(lab, &at)?;
                for i in 0..EACH {
                    assert!(dig(lab, vip)?, "{vip} {mode} {i}");
                    assert!(ask_at_length(lab, vip)?, "{vip} {mode} {i}");
                }
                let now = packets(lab, &at)?;
                let [inward, outward] = [now[0] - before[0], now[1] - before[1]];
                // One packet and three for the questions, at least three an answer,
                // that in a tunnel's case passes by.
                assert_eq!(inward, EACH * 4, "{vip} {mode}");
                if mode == "-i" {
                    assert_eq!(outward, 0, "{vip} {mode}");
                } else {
                    assert!(outward >= EACH * 2 * 3, "{vip} {mode}: {outward}");
                }
                ipvsadm(lab, &["-D", "-u", &at])?;
            }
        }
        let list = lab.dpip(&["drop", "show"])?.success()?;
        assert_eq!(drops(lab, "fragment-lost")?, 0, "{list}");
        lab.still_running()
    })
}

/// Sends fragments of datagrams that never become whole, from one client.
const FLOOD: &str = r#"
import socket, struct, sys
vip = socket.inet_aton(sys.argv[1]); src = socket.inet_aton(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for i in range(int(sys.argv[3])):
    # Every other one is a last fragment, the rest are first ones.
    word, body = (0x2000, struct.pack(">HHHH", 1024, 53, 3000, 0) + bytes(1000)) \
        if i % 2 else (125, bytes(1000))
    h = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), i % 65535 + 1, word, 64, 17, 0, src, vip)
    try: s.sendto(h + body, (sys.argv[1], 0))
    except OSError: pass
"#;

#[test]
fn a_flood_of_fragments_takes_no_more_memory_than_it_may() -> Result<()> {
    if !root_or_skip("a_flood_of_fragments")? {
        return Ok(());
    }
    let (_turn, mut lab) = lab("flood")?;
    lab.with_logs(|lab| {
        let _nsd = name_server(lab)?;
        let at = end(addr::VIP4, 53);
        ipvsadm(lab, &["-A", "-u", &at, "-s", "rr"])?;
        ipvsadm(lab, &["-P", "-u", &at, "-z", LOCAL4, "-F", "dpdk1"])?;
        let server = end(addr::RS4[0], 53);
        ipvsadm(lab, &["-a", "-u", &at, "-r", &server, "-b"])?;
        wait::until_true("an answer", SOON, || dig(lab, addr::VIP4))?;
        let memory = |lab: &Lab| -> Result<u64> {
            let pid = lab.dpvs.as_ref().map_or(0, Process::pid);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            let status = status.what(|| "memory of dpvs")?;
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            let kb = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
            kb.ok_or_else(|| Error::new(status.clone()))
        };
        let flood = |n: &str| {
            let args = ["-c", FLOOD, addr::VIP4, addr::CLIENT4, n];
            run::run(lab.client.command("/usr/bin/python3").args(args))?.success()
        };
        // What it takes once it takes, and then no more.
        flood("20000")?;
        let (before, lost) = (memory(lab)?, drops(lab, "fragment-lost")?);
        flood("60000")?;
        // Fragments of answers are followed; those of questions the server's kernel, which
        // joins them, has no room for.
        wait::until_true("an answer after the flood", SOON, || dig(lab, addr::VIP4))?;
        let (after, now) = (memory(lab)?, drops(lab, "fragment-lost")?);
        assert!(now > lost + 10_000, "lost {lost}, then {now}");
        assert!(after < before + 30_000, "{before} kB, then {after} kB");
        lab.still_running()
    })
}
