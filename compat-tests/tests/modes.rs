//! NAT and direct routing end to end: real web servers, datagrams, echo requests.
//! Tunnels are in `tunnels.rs`, SCTP in `sctp.rs`, FullNAT in `requests.rs`.

use compat_tests::Result;
use compat_tests::decap::Decap;
use compat_tests::lab::modes::{DIRECT4, DIRECT6, LOCAL4, LOCAL6, at, echo_kind, family};
use compat_tests::lab::{Lab, addr, end};
use compat_tests::privilege::root_or_skip;
use compat_tests::udp::EchoServer;

/// Each family's VIP, server, and the client as the server sees it.
const ENDS: [(&str, &str, &str); 2] = [
    (addr::VIP4, addr::RS4[0], addr::CLIENT4),
    (addr::VIP6, addr::RS6[0], addr::CLIENT6),
];

#[test]
fn nat_shows_servers_the_client_and_is_answered_through_the_director() -> Result<()> {
    if !root_or_skip("nat_shows_servers_the_client")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("nat", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.gateway(&[0])?;
        // Datagrams to another port than the service's.
        let at = [at(addr::RS4[0], 5353)?, at(addr::RS6[0], 5353)?];
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &at)?;
        for (vip, rs, client) in ENDS {
            lab.serve("-t", &end(vip, 80), &end(rs, 80), &["-m"])?;
            lab.requests_seen_from(vip, client)?;
            lab.serve("-u", &end(vip, 53), &end(rs, 5353), &["-m"])?;
            lab.datagrams(vip)?;
            // The server's kernel answers, and whole frames fit.
            lab.serve(echo_kind(vip), vip, rs, &["-m"])?;
            assert!(lab.echo(vip, "56")?.ok());
            assert!(lab.echo(vip, "1452")?.ok());
        }
        let list = lab.ipvsadm(&["-Ln"])?.success()?;
        assert_eq!(list.matches("Masq").count(), 6, "{list}");
        let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
        for (vip, rs, client) in ENDS {
            let ping = conns
                .lines()
                .find(|l| l.contains(&end(vip, 2048)) || l.contains(&end(vip, 32768)));
            let ping = ping.unwrap_or_else(|| panic!("no echo of {vip}:\n{conns}"));
            assert!(
                ping.contains("icmp") && ping.contains(rs) && ping.contains(client),
                "{conns}"
            );
        }
        every_service_has(lab, |t| t.0 > 0 && t.1 > 0)?;
        lab.still_running()
    })
}

#[test]
fn direct_routing_leaves_packets_alone_and_answers_pass_by() -> Result<()> {
    if !root_or_skip("direct_routing_leaves_packets_alone")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("dr", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.past_the_director()?;
        let at = [at(addr::VIP4, 53)?, at(addr::VIP6, 53)?];
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &at)?;
        for (vip, rs, client) in ENDS {
            lab.serve("-t", &end(vip, 80), &end(rs, 80), &["-g"])?;
            lab.requests_seen_from(vip, client)?;
            lab.serve("-u", &end(vip, 53), &end(rs, 53), &["-g"])?;
            lab.datagrams(vip)?;
            lab.serve(echo_kind(vip), vip, rs, &["-g"])?;
            assert!(lab.echo(vip, "56")?.ok());
            assert!(lab.echo(vip, "1452")?.ok());
        }
        for (vip, _, _) in ENDS {
            // No TTL is touched: the director is no hop on the way.
            lab.traced(vip, &["-T", "-p", "80"], &[vip])?;
        }
        // Packets in, and none out.
        every_service_has(lab, |t| t.0 > 0 && t.1 == 0)?;
        lab.still_running()
    })
}

/// One arm: client, director and servers are on one wire, and what comes in by a port
/// leaves by it.
#[test]
fn every_mode_works_on_one_arm() -> Result<()> {
    if !root_or_skip("every_mode_works_on_one_arm")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("arm", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.past_the_director()?;
        lab.local_addresses()?;
        let _decap = Decap::start(&lab.servers[0], "eth0")?;
        let server = &lab.servers[0];
        for (vip, plen, rs, own, via, local) in [
            (
                "10.0.1.50",
                32,
                addr::RS4[0],
                DIRECT4,
                addr::INSIDE4,
                LOCAL4,
            ),
            (
                "2001:db8:2::50",
                128,
                addr::RS6[0],
                DIRECT6,
                addr::INSIDE6,
                LOCAL6,
            ),
        ] {
            let vip_plen = format!("{vip}/{plen}");
            lab.dpip(&family(vip, &["addr", "add", &vip_plen, "dev", "dpdk1"]))?
                .success()?;
            let at = [at(vip, 53)?, at(rs, 53)?];
            server.ip(&family(vip, &["addr", "add", &vip_plen, "dev", "lo"]))?;
            let _echo = EchoServer::start(server, "rs1", &at)?;
            for (mode, seen_from) in [("-b", local), ("-g", own), ("-i", own), ("-m", own)] {
                // With NAT alone answers have to come back, and the server has no
                // virtual address.
                if mode == "-m" {
                    server.ip(&family(vip, &["addr", "del", &vip_plen, "dev", "lo"]))?;
                    server.ip(&family(own, &["route", "add", own, "via", via]))?;
                }
                let services = [
                    ("-t", end(vip, 80), end(rs, 80)),
                    ("-u", end(vip, 53), end(rs, 53)),
                    (echo_kind(vip), vip.to_owned(), rs.to_owned()),
                ];
                for (kind, vip, rs) in &services {
                    lab.serve(kind, vip, rs, &[mode])?;
                }
                lab.requests_seen_from(vip, seen_from)?;
                lab.datagrams(vip)?;
                assert!(lab.echo(vip, "1000")?.ok(), "{mode} {vip}");
                for (kind, vip, _) in &services {
                    lab.set(&["-D", kind, vip])?;
                }
            }
        }
        lab.still_running()
    })
}

/// Whether packets of all servers, in and out, are as expected; there are six.
fn every_service_has(lab: &Lab, right: impl Fn((u64, u64)) -> bool) -> Result<()> {
    let stats = lab.ipvsadm(&["-Ln", "--stats", "--exact"])?.success()?;
    let totals: Vec<(u64, u64)> = stats
        .lines()
        .filter(|l| l.contains("->") && !l.contains("Remote"))
        .filter_map(|l| {
            let mut numbers = l.split_whitespace().skip(3).map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    assert_eq!(totals.len(), 6, "{stats}");
    assert!(totals.into_iter().all(right), "{stats}");
    Ok(())
}
