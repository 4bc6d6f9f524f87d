//! Source NAT, NAT64 and datagrams larger than the MTU, end to end: real kernels
//! cut and put together the fragments, curl and ping speak through the director.

use std::time::Duration;

use compat_tests::lab::{Lab, START, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::udp::{EchoServer, ask};
use compat_tests::{Error, Result, wait};

const SOON: Duration = Duration::from_secs(5);

/// Source NAT's addresses.
const WAN4: &str = "192.0.2.20";
const WAN6: &str = "2001:db8:1::20";
/// Local addresses.
const LOCAL4: &str = "10.0.1.201";
const LOCAL6: &str = "2001:db8:2::201";

fn lab(test: &str) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("f{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.start_nginx(0)?;
    lab.start_dpvs()?;
    for (ip, plen, dev, flag) in [
        (addr::VIP4, 32, "dpdk0", None),
        (addr::VIP6, 128, "dpdk0", None),
        (WAN4, 32, "dpdk0", Some("sapool")),
        (WAN6, 128, "dpdk0", Some("sapool")),
        (LOCAL4, 32, "dpdk1", Some("sapool")),
        (LOCAL6, 128, "dpdk1", Some("sapool")),
    ] {
        let family = if ip.contains(':') { "-6" } else { "-4" };
        let ip = format!("{ip}/{plen}");
        let mut args = vec![family, "addr", "add", &ip, "dev", dev];
        args.extend(flag);
        lab.dpip(&args)?.success()?;
    }
    Ok(lab)
}

fn end(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<()> {
    lab.ipvsadm(args)?.success().map(drop)
}

/// A FullNAT service with one server.
fn fullnat(lab: &Lab, kind: &str, vip: &str, local: &str, server: &str) -> Result<()> {
    ipvsadm(lab, &["-A", kind, vip, "-s", "rr"])?;
    ipvsadm(lab, &["-P", kind, vip, "-z", local, "-F", "dpdk1"])?;
    ipvsadm(lab, &["-a", kind, vip, "-r", server, "-b"])
}

/// A question of `len` bytes, answered whole.
fn big(lab: &Lab, vip: &str, len: usize) -> Result<()> {
    let at = vip.parse().map_err(|_| Error::new("address"))?;
    let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
    wait::until_true(&format!("an answer from {vip}"), SOON, || {
        Ok(ask(&lab.client, at, b"small", SOON)?.is_some())
    })?;
    for _ in 0..5 {
        let answer = ask(&lab.client, at, &data, SOON)?;
        let answer = answer.ok_or_else(|| Error::new(format!("{vip}: no answer to {len} bytes")))?;
        assert_eq!(answer.get(4..), Some(&data[..]), "{vip}");
    }
    Ok(())
}

#[test]
fn datagrams_larger_than_the_mtu_pass_both_ways() -> Result<()> {
    if !root_or_skip("datagrams_larger_than_the_mtu")? {
        return Ok(());
    }
    let mut lab = lab("frag")?;
    lab.with_logs(|lab| {
        let servers = [end(addr::RS4[0], 5353), end(addr::RS6[0], 5353)];
        let at: Vec<_> = servers.iter().filter_map(|s| s.parse().ok()).collect();
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &at)?;
        for (vip, local, server) in [
            (end(addr::VIP4, 53), LOCAL4, &servers[0]),
            (end(addr::VIP6, 53), LOCAL6, &servers[1]),
            // And between the families.
            (end(addr::VIP6, 54), LOCAL4, &servers[0]),
            (end(addr::VIP4, 54), LOCAL6, &servers[1]),
        ] {
            fullnat(lab, "-u", &vip, local, server)?;
            for len in [100, 1400, 1460, 4096, 20_000] {
                big(lab, &vip, len)?;
            }
        }
        lab.still_running()
    })
}

#[test]
fn web_servers_of_one_family_serve_clients_of_the_other() -> Result<()> {
    if !root_or_skip("web_servers_of_one_family")? {
        return Ok(());
    }
    let mut lab = lab("cross")?;
    lab.with_logs(|lab| {
        for (vip, local, server) in [
            (addr::VIP6, LOCAL4, addr::RS4[0]),
            (addr::VIP4, LOCAL6, addr::RS6[0]),
        ] {
            fullnat(lab, "-t", &end(vip, 80), local, &end(server, 80))?;
            wait::until_true(&format!("an answer through {vip}"), SOON, || {
                Ok(lab.get(&url(vip, "/")).is_ok())
            })?;
            for _ in 0..5 {
                assert_eq!(lab.get(&url(vip, "/"))?.trim(), "rs1");
            }
            assert_eq!(lab.get(&url(vip, "/big"))?.len(), 1 << 20);
        }
        lab.still_running()
    })
}

#[test]
fn hosts_inside_reach_the_world_by_source_nat() -> Result<()> {
    if !root_or_skip("hosts_inside_reach_the_world")? {
        return Ok(());
    }
    let mut lab = lab("snat")?;
    lab.with_logs(|lab| {
        for (via, family) in [(addr::INSIDE4, "-4"), (addr::INSIDE6, "-6")] {
            for ns in &lab.servers {
                ns.ip(&[family, "route", "add", "default", "via", via])?;
            }
        }
        let from4 = "src-range=10.0.1.1-10.0.1.254,oif=dpdk0";
        let from6 = "src-range=2001:db8:2::1-2001:db8:2::ffff,oif=dpdk0";
        for (proto, from, wan) in [
            ("tcp", from4, WAN4),
            ("udp", from4, WAN4),
            ("icmp", from4, WAN4),
            ("tcp", from6, WAN6),
            ("icmpv6", from6, WAN6),
        ] {
            let what = format!("proto={proto},{from}");
            ipvsadm(lab, &["-A", "-H", &what, "-s", "rr"])?;
            let wan = end(wan, 0);
            ipvsadm(lab, &["-a", "-H", &what, "-r", &wan, "-J", "-w", "100"])?;
        }
        let list = lab.ipvsadm(&["-Ln"])?.success()?;
        assert!(list.contains("MATCH tcp,from=10.0.1.1-10.0.1.254"), "{list}");
        assert_eq!(list.matches("SNAT").count(), 5, "{list}");

        // A web server in the world, which sees one address.
        let log = lab.file("world.log");
        let mut world = lab.client.command("/usr/bin/python3");
        world.args(["-u", "-m", "http.server", "--bind", "::", "8080"]);
        let mut web = Process::start("web", &world, &log, Lifetime::Bound)?;
        wait::until_true("the web server", START, || {
            web.still_running()?;
            Ok(std::fs::read_to_string(&log).is_ok_and(|t| t.contains("Serving")))
        })?;
        for (host, wan) in [(addr::CLIENT4, WAN4), (addr::CLIENT6, WAN6)] {
            let url = format!("http://{}/", end(host, 8080));
            for ns in &lab.servers {
                let curl = ["-s", "-f", "-o", "/dev/null", "--max-time", "5", "--retry", "2", &url];
                ns.must("curl", &curl)?;
                // Two hosts with whatever identifiers, also larger than the MTU.
                ns.must("ping", &["-c", "3", "-i", "0.2", "-W", "2", host])?;
                ns.must("ping", &["-c", "2", "-i", "0.2", "-W", "2", "-s", "4000", host])?;
            }
            let seen = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(seen.matches(wan).count() >= 2, "{seen}");
            assert!(!seen.contains("10.0.1.1"), "{seen}");
        }
        // Datagrams, large ones too.
        let at = end(addr::CLIENT4, 5300).parse();
        let at = at.map_err(|_| Error::new("address"))?;
        let _echo = EchoServer::start(&lab.client, "out", &[at])?;
        let data = vec![7; 4096];
        let answer = ask(&lab.servers[1], at, &data, SOON)?;
        assert!(answer.is_some_and(|a| a.len() == 4100));
        let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
        assert!(conns.contains(&format!("{WAN4}:")), "{conns}");
        lab.still_running()
    })
}
