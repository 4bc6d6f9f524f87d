//! Servers that are the director itself, and none at all: real programs on its kernel,
//! unchanged packets ("local") and translated ones, and packets that are passed by.

use compat_tests::lab::modes::{DIRECT4, LOCAL4, LOCAL6, SOON, at, echo_kind, family};
use compat_tests::lab::{Lab, addr, end, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::udp::EchoServer;
use compat_tests::{Context, Result, wait};
use dpvs_ctl::msg::{Dest, Service, fwd_mode};
use dpvs_ctl::{Af, Be16, Client, Ip16};

/// Each family's VIP, the kernel's address inside, and the client.
const ENDS: [(&str, &str, &str); 2] = [
    (addr::VIP4, addr::KERNEL_IN4, addr::CLIENT4),
    (addr::VIP6, "2001:db8:2::2", addr::CLIENT6),
];

/// A service of one server, and who says sorry for it.
const SORRY: &str = "
local_address_group inside {
    10.0.1.201 dpdk1
}
virtual_server 192.0.2.10 80 {
    delay_loop 1
    lb_algo rr
    lb_kind FNAT
    protocol TCP
    laddr_group_name inside
    sorry_server 127.0.0.1 80
    real_server 10.0.1.11 80 {
        TCP_CHECK {
            connect_port 80
            connect_timeout 1
            retry 1
            delay_before_retry 1
        }
    }
}
";

/// The director's kernel takes answers and questions by any twin.
fn any_way(lab: &Lab) -> Result<()> {
    for device in ["all", "dpdk0/kni", "dpdk1/kni"] {
        let key = format!("net.ipv4.conf.{device}.rp_filter");
        lab.director.sysctl(&key, "0")?;
    }
    Ok(())
}

/// Adds a server as no tool can: with that mode.
fn add(lab: &Lab, (proto, vip, port): (u8, &str, u16), server: &str, mode: u32) -> Result<()> {
    let (vip, server) = (at(vip, port)?, at(server, port)?);
    let service = Service {
        af: Af::of(vip.ip()),
        proto,
        port: Be16::new(vip.port()),
        addr: Ip16::from_ip(vip.ip()),
        ..Service::default()
    };
    let mut dest = Dest {
        af: Af::of(server.ip()),
        port: Be16::new(server.port()),
        weight: 1,
        addr: Ip16::from_ip(server.ip()),
        ..Dest::default()
    };
    dest.set_fwd_mode(mode);
    let client = Client::at(lab.file("dpvs.ipc"));
    client
        .add_dest(&service, &dest)
        .what(|| format!("add {server} to {proto} {vip}"))
}

/// Packets in and out of all servers of services, as listed.
fn packets(lab: &Lab) -> Result<Vec<(u64, u64)>> {
    let stats = lab.ipvsadm(&["-Ln", "--stats", "--exact"])?.success()?;
    let servers = stats
        .lines()
        .filter(|l| l.contains("->") && !l.contains("Remote"));
    Ok(servers
        .filter_map(|l| {
            let mut numbers = l.split_whitespace().skip(3).map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect())
}

#[test]
fn the_directors_own_kernel_serves() -> Result<()> {
    if !root_or_skip("the_directors_own_kernel_serves")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("own", 0, |conf| conf)?;
    lab.with_logs(|lab| {
        for (vip, add) in [
            (addr::VIP4, &["addr", "add", addr::VIP4, "dev", "lo"][..]),
            // Neighbours are asked from an address of the device.
            (
                addr::VIP6,
                &["addr", "add", addr::VIP6, "dev", "dpdk0.kni", "nodad"],
            ),
        ] {
            lab.director.ip(&family(vip, add))?;
        }
        let _web = lab.web(&lab.director, "rs1")?;
        let ends = [at(addr::VIP4, 53)?, at(addr::VIP6, 53)?];
        let _echo = EchoServer::start(&lab.director, "rs1", &ends)?;
        for (vip, _, client) in ENDS {
            let own = if vip.contains(':') {
                "::1"
            } else {
                "127.0.0.1"
            };
            lab.serve("-t", &end(vip, 80), &end(own, 80), &["-g"])?;
            lab.requests_seen_from(vip, client)?;
            // Mode 1, and NAT's to an address that can only be meant so.
            lab.set(&["-A", "-u", &end(vip, 53), "-s", "rr"])?;
            add(lab, (17, vip, 53), own, fwd_mode::LOCALNODE)?;
            lab.datagrams(vip)?;
            lab.serve(echo_kind(vip), vip, own, &["-m"])?;
            assert!(lab.echo(vip, "56")?.ok());
            assert!(lab.echo(vip, "1452")?.ok());
        }
        let list = lab.ipvsadm(&["-Ln"])?.success()?;
        for (word, times) in [("Route", 2), ("Local ", 2), ("Masq", 2)] {
            assert_eq!(list.matches(word).count(), times, "{word} in\n{list}");
        }
        let servers = packets(lab)?;
        assert_eq!(servers.len(), 6);
        assert!(servers.iter().all(|t| t.0 > 0 && t.1 == 0), "{servers:?}");
        let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
        assert!(conns.contains("127.0.0.1:80"), "{conns}");
        // A server at the kernel's own address, with direct routing.
        let (vip, kernel) = (end(addr::VIP4, 8080), end(addr::KERNEL4, 8080));
        lab.serve("-t", &vip, &kernel, &["-g"])?;
        assert_eq!(lab.get(&format!("http://{vip}/"))?.trim(), "rs1");
        lab.still_running()
    })
}

#[test]
fn a_sorry_server_on_the_director_answers_when_all_others_are_gone() -> Result<()> {
    if !root_or_skip("a_sorry_server_on_the_director")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("sorry", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.director.ip(&["addr", "add", addr::VIP4, "dev", "lo"])?;
        let _web = lab.web(&lab.director, "sorry")?;
        lab.start_keepalived_with(SORRY)?;
        let site = url(addr::VIP4, "/");
        let answers = |lab: &Lab, name: &str| {
            wait::until_true(&format!("{name} to answer"), 4 * SOON, || {
                Ok(lab.get(&site).is_ok_and(|body| body.trim() == name))
            })
        };
        answers(lab, "rs1")?;
        lab.stop_nginx(0)?;
        answers(lab, "sorry")?;
        lab.start_nginx(0)?;
        answers(lab, "rs1")?;
        lab.still_running()
    })
}

#[test]
fn servers_at_the_kernels_addresses_are_translated() -> Result<()> {
    if !root_or_skip("servers_at_the_kernels_addresses")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("kernel", 0, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.local_addresses()?;
        any_way(lab)?;
        // Where it has no link-local address, the kernel asks for neighbours only what
        // it says from an address of the device.
        lab.director.ip(&[
            "-6",
            "addr",
            "add",
            "fe80::2/64",
            "dev",
            "dpdk0.kni",
            "nodad",
        ])?;
        let _web = lab.web(&lab.director, "rs1")?;
        let ends = [at(ENDS[0].1, 5353)?, at(ENDS[1].1, 5353)?];
        let _echo = EchoServer::start(&lab.director, "rs1", &ends)?;
        for (vip, kernel, client) in ENDS {
            let local = if vip.contains(':') { LOCAL6 } else { LOCAL4 };
            for (mode, seen) in [("-b", local), ("-m", client)] {
                lab.serve("-t", &end(vip, 80), &end(kernel, 80), &[mode])?;
                lab.requests_seen_from(vip, seen)?;
                lab.serve("-u", &end(vip, 53), &end(kernel, 5353), &[mode])?;
                lab.datagrams(vip)?;
                lab.serve(echo_kind(vip), vip, kernel, &[mode])?;
                assert!(lab.echo(vip, "56")?.ok(), "{mode} {vip}");
                assert!(lab.echo(vip, "1452")?.ok(), "{mode} {vip}");
                let servers = packets(lab)?;
                assert!(servers.len() == 3 && servers.iter().all(|t| t.0 > 0 && t.1 > 0));
                for (kind, vip) in [
                    ("-t", end(vip, 80)),
                    ("-u", end(vip, 53)),
                    (echo_kind(vip), vip.to_owned()),
                ] {
                    lab.set(&["-D", kind, &vip])?;
                }
            }
        }
        // The kernel goes about its own business as before, also at its address behind
        // the other port.
        assert!(lab.ping(addr::KERNEL4)?);
        let inside = addr::KERNEL_IN4;
        lab.client
            .ip(&["route", "add", inside, "via", "192.0.2.1"])?;
        assert!(lab.ping(inside)?);
        lab.still_running()
    })
}

#[test]
fn packets_of_a_service_pass_by_all_servers() -> Result<()> {
    if !root_or_skip("packets_of_a_service_pass_by")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("bypass", 1, |conf| {
        conf.replace("forwarding      off", "forwarding on")
    })?;
    lab.with_logs(|lab| {
        lab.gateway(&[0])?;
        let server = [addr::RS4[0], addr::RS6[0]];
        let ends = [at(server[0], 53)?, at(server[1], 53)?];
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &ends)?;
        for (rs, via, client) in [
            (server[0], addr::OUTSIDE4, addr::CLIENT4),
            (server[1], addr::OUTSIDE6, addr::CLIENT6),
        ] {
            lab.client
                .ip(&family(rs, &["route", "add", rs, "via", via]))?;
            // Anybody: it gets nothing.
            let nobody = if rs.contains(':') {
                "2001:db8:2::99"
            } else {
                DIRECT4
            };
            for (proto, kind, port) in [(6, "-t", 80), (17, "-u", 53)] {
                lab.set(&["-A", kind, &end(rs, port), "-s", "rr"])?;
                add(lab, (proto, rs, port), nobody, fwd_mode::BYPASS)?;
            }
            lab.requests_seen_from(rs, client)?;
            lab.datagrams(rs)?;
            let icmp = if rs.contains(':') { 58 } else { 1 };
            lab.set(&["-A", echo_kind(rs), rs, "-s", "rr"])?;
            add(lab, (icmp, rs, 0), nobody, fwd_mode::BYPASS)?;
            assert!(lab.echo(rs, "1000")?.ok(), "{rs}");
        }
        let servers = packets(lab)?;
        assert_eq!(servers.len(), 6);
        assert!(servers.iter().all(|t| t.0 > 0 && t.1 == 0), "{servers:?}");
        lab.still_running()
    })
}
