//! Tunnels end to end: every kind of wrapping around packets of either family, over
//! either family, to a server whose answers pass the director by.
//!
//! The server's kernel has no tunnels: [`compat_tests::decap`] takes the wrapping
//! off.

use compat_tests::decap::{Decap, GUE_PORT};
use compat_tests::lab::modes::{SOON, at, echo_kind};
use compat_tests::lab::{Lab, addr, end};
use compat_tests::privilege::root_or_skip;
use compat_tests::udp::EchoServer;
use compat_tests::{Result, wait};

/// VIPs of both families, with the client as the server sees it.
const INNER: [(u8, &str, &str); 2] = [
    (4, addr::VIP4, addr::CLIENT4),
    (6, addr::VIP6, addr::CLIENT6),
];
/// The server's addresses of both families.
const OUTER: [(u8, &str); 2] = [(4, addr::RS4[0]), (6, addr::RS6[0])];

#[test]
fn tunnels_of_every_kind_reach_a_server_that_unwraps_them() -> Result<()> {
    if !root_or_skip("tunnels_of_every_kind")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("tunnel", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.past_the_director()?;
        let decap = Decap::start(&lab.servers[0], "eth0")?;
        let at = [at(addr::VIP4, 53)?, at(addr::VIP6, 53)?];
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &at)?;
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
        for (inner, vip, client) in INNER {
            let echo = echo_kind(vip);
            for (outer, rs) in OUTER {
                for (kind, how) in &kinds {
                    let mut want = format!("{outer} {kind} {inner}");
                    let _ = decap.take();
                    lab.serve("-t", &end(vip, 80), &end(rs, 80), how)?;
                    lab.requests_seen_from(vip, client)?;
                    let seen = decap.take();
                    // Late ones of a connection of the kind before may come.
                    let right = seen.iter().filter(|s| **s == want).count();
                    assert!(right > 40 && seen.len() - right < 10, "{want}: {seen:?}");
                    lab.set(&["-D", "-t", &end(vip, 80)])?;

                    lab.serve("-u", &end(vip, 53), &end(rs, 53), how)?;
                    lab.datagrams(vip)?;
                    lab.set(&["-D", "-u", &end(vip, 53)])?;
                    let seen = decap.take();
                    let right = seen.iter().filter(|s| **s == want).count();
                    assert!(right >= 2, "datagrams, {want}: {seen:?}");

                    lab.serve(echo, vip, rs, how)?;
                    assert!(lab.echo(vip, "1000")?.ok(), "echo, {want}");
                    lab.set(&["-D", echo, vip])?;
                    if *kind == "gue-remote" {
                        // Only TCP and UDP leave their checksum to the other end.
                        want = format!("{outer} gue-csum {inner}");
                    }
                    let seen = decap.take();
                    assert!(seen.contains(&want), "echo, {want}: {seen:?}");
                }
            }
        }
        let server = end(addr::RS4[0], 80);
        lab.serve("-t", &end(addr::VIP4, 80), &server, &kinds[5].1)?;
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

#[test]
fn what_a_tunnel_takes_off_the_mtu_is_told() -> Result<()> {
    if !root_or_skip("what_a_tunnel_takes_off_the_mtu")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("pmtu", 0, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.past_the_director()?;
        let _decap = Decap::start(&lab.servers[0], "eth0")?;
        // The MTU that is left for each family in the other, less its headers.
        for (vip, rs, left, header) in [
            (addr::VIP4, addr::RS4[0], 1480, 28),
            (addr::VIP4, addr::RS6[0], 1460, 28),
            (addr::VIP6, addr::RS6[0], 1460, 48),
            (addr::VIP6, addr::RS4[0], 1480, 48),
        ] {
            let kind = echo_kind(vip);
            lab.client.ip(&["route", "flush", "cache"])?;
            lab.client.ip(&["-6", "route", "flush", "cache"])?;
            lab.serve(kind, vip, rs, &["-i"])?;
            wait::until_true("an echo through a tunnel", SOON, || {
                Ok(lab.echo(vip, "56")?.ok())
            })?;
            assert!(!lab.echo(vip, &(1500 - header).to_string())?.ok());
            let cached = lab.client.ip(&["route", "get", vip])?;
            assert!(
                cached.contains(&format!("mtu {left}")),
                "{vip} {rs}: {cached}"
            );
            assert!(lab.echo(vip, &(left - header).to_string())?.ok());
            lab.set(&["-D", kind, vip])?;
        }
        lab.still_running()
    })
}
