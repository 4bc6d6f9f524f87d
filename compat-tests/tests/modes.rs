//! Forwarding modes end to end: NAT, direct routing and tunnels to real web
//! servers, SCTP to an implementation of its own.
//!
//! The servers' kernels have neither tunnels nor SCTP: the wrapping is taken off by
//! [`compat_tests::decap`], SCTP is spoken by scapy (`sctp_peer.py`). With direct
//! routing and tunnels the answers pass the director by, on a cable of their own.

use std::path::Path;
use std::time::Duration;

use compat_tests::decap::{Decap, GUE_PORT};
use compat_tests::lab::{Lab, START, addr, end, url};
use compat_tests::netns::{Netns, veth};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::udp::{EchoServer, ask};
use compat_tests::{Error, Result, run, wait};

const SOON: Duration = Duration::from_secs(5);

/// The client on the servers' network.
const DIRECT4: &str = "10.0.1.100";
const DIRECT6: &str = "2001:db8:2::100";

/// A lab with web servers and a dataplane, VIPs and nothing else.
fn lab(test: &str) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("m{}-{test}", std::process::id()), Lifetime::Bound)?;
    for i in 0..2 {
        lab.start_nginx(i)?;
    }
    lab.start_dpvs()?;
    for (vip, plen) in [(addr::VIP4, 32), (addr::VIP6, 128)] {
        lab.dpip(&family(
            vip,
            &["addr", "add", &format!("{vip}/{plen}"), "dev", "dpdk0"],
        ))?
        .success()?;
    }
    Ok(lab)
}

fn family<'a>(addr: &str, args: &[&'a str]) -> Vec<&'a str> {
    let flag = if addr.contains(':') { "-6" } else { "-4" };
    [&[flag], args].concat()
}

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<()> {
    lab.ipvsadm(args)?.success().map(drop)
}

/// A service on port 80 with one server on it.
fn service(lab: &Lab, vip: &str, server: &str, how: &[&str]) -> Result<()> {
    let (vip, server) = (end(vip, 80), end(server, 80));
    ipvsadm(lab, &["-A", "-t", &vip, "-s", "rr"])?;
    ipvsadm(lab, &[&["-a", "-t", &vip, "-r", &server], how].concat())
}

/// The servers' way to everybody is the director.
fn gateway(lab: &Lab) -> Result<()> {
    for ns in &lab.servers {
        for via in [addr::INSIDE4, addr::INSIDE6] {
            ns.ip(&family(via, &["route", "add", "default", "via", via]))?;
        }
    }
    Ok(())
}

/// A second cable from the client to the servers' network, and on server 0 the VIPs
/// that nobody is told of.
fn past_the_director(lab: &Lab) -> Result<()> {
    veth((&lab.client, "eth1"), (&lab.lan, "direct"))?;
    lab.lan.ip(&["link", "set", "direct", "master", "br0"])?;
    lab.lan.sysctl("net.ipv6.conf.direct.disable_ipv6", "1")?;
    let (client, server) = (&lab.client, &lab.servers[0]);
    client.plain_frames("eth1")?;
    client.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
    client.sysctl("net.ipv4.conf.eth1.rp_filter", "0")?;
    client.sysctl("net.ipv6.conf.eth1.accept_dad", "0")?;
    client.ip(&["addr", "add", &format!("{DIRECT4}/24"), "dev", "eth1"])?;
    client.ip(&[
        "addr",
        "add",
        &format!("{DIRECT6}/64"),
        "dev",
        "eth1",
        "nodad",
    ])?;
    server.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    server.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
    server.sysctl("net.ipv4.conf.eth0.rp_filter", "0")?;
    for (vip, own, via) in [
        (addr::VIP4, addr::CLIENT4, DIRECT4),
        (addr::VIP6, addr::CLIENT6, DIRECT6),
    ] {
        server.ip(&family(vip, &["addr", "add", vip, "dev", "lo"]))?;
        server.ip(&family(vip, &["route", "add", own, "via", via]))?;
    }
    Ok(())
}

/// What the web server logged of whom it answered.
fn log(lab: &Lab, i: usize) -> String {
    let path = lab.file(&format!("access-rs{}.log", i + 1));
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Requests through a VIP, small ones and a megabyte; the server sees `client`.
fn requests(lab: &Lab, vip: &str, client: &str) -> Result<()> {
    // The first one waits for neighbours.
    wait::until_true(&format!("an answer through {vip}"), SOON, || {
        Ok(lab.get(&url(vip, "/")).is_ok())
    })?;
    let before = log(lab, 0)
        .lines()
        .filter(|l| l.starts_with(client))
        .count();
    for _ in 0..10 {
        assert_eq!(lab.get(&url(vip, "/"))?.trim(), "rs1");
    }
    assert_eq!(lab.get(&url(vip, "/big"))?.len(), 1 << 20);
    wait::until_true("the server's log", SOON, || {
        let log = log(lab, 0);
        let now = log.lines().filter(|l| l.starts_with(client)).count();
        Ok(now == before + 11)
    })
    .map(drop)
}

#[test]
fn nat_shows_servers_the_client_and_is_answered_through_the_director() -> Result<()> {
    if !root_or_skip("nat_shows_servers_the_client")? {
        return Ok(());
    }
    let mut lab = lab("nat")?;
    lab.with_logs(|lab| {
        gateway(lab)?;
        for (vip, rs, client) in [
            (addr::VIP4, addr::RS4[0], addr::CLIENT4),
            (addr::VIP6, addr::RS6[0], addr::CLIENT6),
        ] {
            service(lab, vip, rs, &["-m"])?;
            requests(lab, vip, client)?;
        }
        let list = lab.ipvsadm(&["-Ln"])?.success()?;
        assert_eq!(list.matches("Masq").count(), 2, "{list}");
        // Datagrams, too, to another port.
        let servers = [end(addr::RS4[0], 5353), end(addr::RS6[0], 5353)];
        let at: Vec<_> = servers.iter().filter_map(|s| s.parse().ok()).collect();
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &at)?;
        for (vip, server) in [addr::VIP4, addr::VIP6].iter().zip(&servers) {
            let vip = end(vip, 53);
            ipvsadm(lab, &["-A", "-u", &vip, "-s", "rr"])?;
            ipvsadm(lab, &["-a", "-u", &vip, "-r", server, "-m"])?;
            let vip = vip.parse().map_err(|_| Error::new("address"))?;
            let answer = ask(&lab.client, vip, b"question", SOON)?;
            assert!(answer.is_some(), "no answer from {vip}");
        }
        lab.still_running()
    })
}

#[test]
fn direct_routing_leaves_packets_alone_and_answers_pass_by() -> Result<()> {
    if !root_or_skip("direct_routing_leaves_packets_alone")? {
        return Ok(());
    }
    let mut lab = lab("dr")?;
    lab.with_logs(|lab| {
        past_the_director(lab)?;
        for (vip, rs, client) in [
            (addr::VIP4, addr::RS4[0], addr::CLIENT4),
            (addr::VIP6, addr::RS6[0], addr::CLIENT6),
        ] {
            service(lab, vip, rs, &["-g"])?;
            requests(lab, vip, client)?;
        }
        let stats = lab.ipvsadm(&["-Ln", "--stats"])?.success()?;
        let totals: Vec<Vec<&str>> = stats
            .lines()
            .filter(|l| l.contains("->") && !l.contains("Remote"))
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(totals.len(), 2, "{stats}");
        for t in totals {
            // Packets in, and none out.
            assert!(t.get(3).is_some_and(|n| *n != "0"), "{stats}");
            assert_eq!(t.get(4), Some(&"0"), "{stats}");
        }
        lab.still_running()
    })
}

#[test]
fn tunnels_of_every_kind_reach_a_server_that_unwraps_them() -> Result<()> {
    if !root_or_skip("tunnels_of_every_kind")? {
        return Ok(());
    }
    let mut lab = lab("tunnel")?;
    lab.with_logs(|lab| {
        past_the_director(lab)?;
        let decap = Decap::start(&lab.servers[0], "eth0")?;
        let port = GUE_PORT.to_string();
        let gue = ["-i", "--tun-type", "gue", "--tun-port", &port];
        let kinds: [(&str, Vec<&str>); 6] = [
            ("ip", vec!["-i"]),
            ("gre", vec!["-i", "--tun-type", "gre"]),
            ("gre-csum", vec!["-i", "--tun-type", "gre", "--tun-csum"]),
            ("gue", gue.to_vec()),
            ("gue-csum", [&gue[..], &["--tun-csum"]].concat()),
            ("gue-remote", [&gue[..], &["--tun-remcsum"]].concat()),
        ];
        for (inner, vip, client) in [
            (4, addr::VIP4, addr::CLIENT4),
            (6, addr::VIP6, addr::CLIENT6),
        ] {
            for (outer, rs) in [(4, addr::RS4[0]), (6, addr::RS6[0])] {
                for (kind, how) in &kinds {
                    service(lab, vip, rs, how)?;
                    let _ = decap.take();
                    requests(lab, vip, client)?;
                    let seen = decap.take();
                    let want = format!("{outer} {kind} {inner}");
                    // Late ones of a connection of the kind before may come.
                    let right = seen.iter().filter(|s| **s == want).count();
                    assert!(right > 40 && seen.len() - right < 10, "{want}: {seen:?}");
                    ipvsadm(lab, &["-D", "-t", &end(vip, 80)])?;
                }
            }
        }
        service(lab, addr::VIP4, addr::RS4[0], &kinds[5].1)?;
        let list = lab.ipvsadm(&["-Ln", "--tun-info"])?.success()?;
        assert!(list.contains("gue:6080:"), "{list}");
        let saved = lab.ipvsadm(&["-Sn"])?.success()?;
        assert!(
            saved.contains("--tun-type gue --tun-port 6080 --tun-remcsum"),
            "{saved}"
        );
        lab.still_running()
    })
}

/// The port that stands for echo requests: type and code.
const ECHO: u16 = 8 << 8;

/// A scapy endpoint in a namespace.
fn sctp(ns: &Netns, args: &[&str]) -> std::process::Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sctp_peer.py");
    let mut command = ns.command("/usr/bin/python3");
    command.arg(script).args(args);
    command
}

#[test]
fn sctp_associations_go_through_in_every_mode() -> Result<()> {
    if !root_or_skip("sctp_associations_go_through")? {
        return Ok(());
    }
    let mut lab = lab("sctp")?;
    lab.with_logs(|lab| {
        past_the_director(lab)?;
        // Server 0 answers past the director, server 1 through it.
        for via in [addr::INSIDE4, addr::INSIDE6] {
            lab.servers[1].ip(&family(via, &["route", "add", "default", "via", via]))?;
        }
        let mut peers = Vec::new();
        for (i, ns) in lab.servers.iter().enumerate() {
            let out = lab.file(&format!("sctp-{i}.out"));
            let mut peer = Process::start(
                "sctp peer",
                &sctp(ns, &["server", "99"]),
                &out,
                Lifetime::Bound,
            )?;
            wait::until_true("the SCTP endpoint", START, || {
                peer.still_running()?;
                Ok(std::fs::read_to_string(&out).is_ok_and(|t| t.contains("ready")))
            })?;
            peers.push(peer);
        }
        for (laddr, plen) in [("10.0.1.201", 32), ("2001:db8:2::201", 128)] {
            let add = format!("{laddr}/{plen}");
            lab.dpip(&family(
                laddr,
                &["addr", "add", &add, "dev", "dpdk1", "sapool"],
            ))?
            .success()?;
        }
        for (vip, rs, laddr) in [
            (addr::VIP4, addr::RS4, "10.0.1.201"),
            (addr::VIP6, addr::RS6, "2001:db8:2::201"),
        ] {
            let at = end(vip, 99);
            for (mode, server) in [("-b", 1), ("-m", 1), ("-g", 0)] {
                ipvsadm(lab, &["-A", "--sctp-service", &at, "-s", "rr"])?;
                if mode == "-b" {
                    ipvsadm(
                        lab,
                        &["-P", "--sctp-service", &at, "-z", laddr, "-F", "dpdk1"],
                    )?;
                }
                let server = end(rs[server], 99);
                ipvsadm(lab, &["-a", "--sctp-service", &at, "-r", &server, mode])?;
                let out = run::run(&mut sctp(&lab.client, &["client", vip, "99"]))?;
                assert_eq!(
                    (out.ok(), out.stdout.trim()),
                    (true, "hello through sctp!!"),
                    "{mode} {vip}: {out:?}"
                );
                ipvsadm(lab, &["-D", "--sctp-service", &at])?;
            }
        }
        lab.still_running()
    })
}

#[test]
fn path_mtu_and_echoes_work_through_nat_and_a_tunnel() -> Result<()> {
    if !root_or_skip("path_mtu_and_echoes")? {
        return Ok(());
    }
    let mut lab = lab("pmtu")?;
    lab.with_logs(|lab| {
        past_the_director(lab)?;
        lab.servers[1].ip(&["route", "add", "default", "via", addr::INSIDE4])?;
        let _decap = Decap::start(&lab.servers[0], "eth0")?;
        let vip = addr::VIP4;
        let add = |how: &[&str]| -> Result<()> {
            ipvsadm(lab, &["-A", "-q", &end(vip, ECHO), "-s", "rr"])?;
            ipvsadm(lab, &[&["-a", "-q", &end(vip, ECHO), "-r"], how].concat())
        };
        let ping = |size: &str| {
            let args = ["-n", "-c", "1", "-W", "2", "-M", "do", "-s", size, vip];
            lab.client.run("ping", &args)
        };
        // Through NAT a whole frame of data; the server's own kernel answers.
        add(&[&end(addr::RS4[1], ECHO), "-m"])?;
        wait::until_true("an echo through NAT", SOON, || Ok(ping("56")?.ok()))?;
        assert!(ping("1472")?.ok());
        let list = lab.ipvsadm(&["-Lnc"])?.success()?;
        assert!(list.contains("icmp"), "{list}");
        ipvsadm(lab, &["-D", "-q", &end(vip, ECHO)])?;
        // In a tunnel 20 bytes less, and the client is told so.
        add(&[&end(addr::RS4[0], ECHO), "-i"])?;
        wait::until_true("an echo through a tunnel", SOON, || Ok(ping("56")?.ok()))?;
        assert!(!ping("1472")?.ok());
        let cached = lab.client.ip(&["route", "get", vip])?;
        assert!(cached.contains("mtu 1480"), "{cached}");
        assert!(ping("1452")?.ok());
        lab.still_running()
    })
}
