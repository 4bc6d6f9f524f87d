//! `ping` and `traceroute` through the director: echo requests as a FullNAT service,
//! and every way a trace takes: routed, to a service, past a router behind it. NAT,
//! direct routing and tunnels have their pings in `modes.rs` and `tunnels.rs`, the
//! VIP itself and the kernel behind it in `twin.rs`.

use compat_tests::lab::modes::{LOCAL4, LOCAL6, SOON, echo_kind, family};
use compat_tests::lab::{Lab, addr, end};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Error, Result, wait};
use nix::sys::signal::Signal;

/// A second client at the same place.
const OTHER4: &str = "192.0.2.101";
const OTHER6: &str = "2001:db8:1::101";

/// A server behind a router that is behind the director.
const FAR4: &str = "10.9.9.9";
const FAR6: &str = "2001:db8:9::9";

/// Nobody listens there.
const CLOSED: u16 = 5353;

#[test]
fn pings_go_through_fullnat_by_their_identifiers() -> Result<()> {
    if !root_or_skip("pings_go_through_fullnat")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("ping", 0, |conf| conf)?;
    lab.with_logs(|lab| {
        lab.local_addresses()?;
        for (vip, rs, local, other, plen) in [
            (addr::VIP4, addr::RS4, LOCAL4, OTHER4, 24),
            (addr::VIP6, addr::RS6, LOCAL6, OTHER6, 64),
        ] {
            let add = format!("{other}/{plen}");
            let add = family(other, &["addr", "add", &add, "dev", "eth0"]);
            let add = if plen == 64 {
                [&add[..], &["nodad"]].concat()
            } else {
                add
            };
            lab.client.ip(&add)?;
            // Without a port: all echo requests to the address.
            let kind = echo_kind(vip);
            lab.serve(kind, vip, rs[0], &["-b"])?;
            lab.set(&["-a", kind, vip, "-r", rs[1], "-b"])?;
            for size in ["56", "56", "1452"] {
                wait::until_true("an echo through FullNAT", SOON, || {
                    Ok(lab.echo(vip, size)?.ok())
                })?;
            }
            // Two clients with the same identifier are two connections.
            let own = if plen == 64 {
                addr::CLIENT6
            } else {
                addr::CLIENT4
            };
            let args = ["-n", "-c", "4", "-i", "0.1", "-e", "4711", "-W", "2"];
            for from in [own, other, own] {
                let args = [&args[..], &["-I", from, vip]].concat();
                let out = lab.client.run("ping", &args)?;
                assert!(out.ok() && out.stdout.contains("4 received"), "{out:?}");
            }
            let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
            for who in [end(own, 4711), end(other, 4711)] {
                let known = conns.lines().find(|l| l.contains(&who));
                assert!(known.is_some_and(|l| l.contains(local)), "{who}:\n{conns}");
            }
            let stats = lab.ipvsadm(&["-Ln", "--stats"])?.success()?;
            for rs in rs {
                let line = stats.lines().find(|l| l.contains(&end(rs, 0)));
                let line = line.ok_or_else(|| Error::new(&stats))?;
                assert!(!line.contains(" 0"), "{stats}");
            }
        }
        // Saved and loaded again they are the same.
        let saved = lab.ipvsadm(&["-Sn"])?.success()?;
        assert!(
            saved.contains(&format!("-A -q {} ", end(addr::VIP4, 0))),
            "{saved}"
        );
        assert!(
            saved.contains(&format!("-A -1 {} ", end(addr::VIP6, 0))),
            "{saved}"
        );
        // Only FullNAT translates between the families, and only echo requests are a
        // service.
        let other = lab.ipvsadm(&["-a", "-q", addr::VIP4, "-r", addr::RS6[0], "-m"])?;
        assert!(!other.ok() && other.stderr.contains("family"), "{other:?}");
        let stamp = end(addr::VIP4, 13 << 8);
        let stamp = lab.ipvsadm(&["-A", "-q", &stamp, "-s", "rr"])?;
        assert!(!stamp.ok(), "{stamp:?}");
        lab.still_running()
    })
}

/// The second server becomes the router to an address of the first one.
fn router(lab: &Lab) -> Result<()> {
    let [server, router] = &lab.servers;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
    router.sysctl("net.ipv4.conf.eth0.send_redirects", "0")?;
    for (far, plen, via, next) in [
        (FAR4, 32, addr::RS4[1], addr::RS4[0]),
        (FAR6, 128, addr::RS6[1], addr::RS6[0]),
    ] {
        let far = format!("{far}/{plen}");
        server.ip(&family(&far, &["addr", "add", &far, "dev", "lo"]))?;
        router.ip(&family(&far, &["route", "add", &far, "via", next]))?;
        let route = ["route", "add", &far, "via", via, "dev", "dpdk1"];
        lab.dpip(&family(&far, &route))?.success()?;
    }
    for ns in [server, router] {
        // Each probe is answered, also the second within a second.
        ns.sysctl("net.ipv4.icmp_ratelimit", "0")?;
        ns.sysctl("net.ipv6.icmp.ratelimit", "0")?;
    }
    Ok(())
}

#[test]
fn traces_see_the_director_the_routers_and_the_server() -> Result<()> {
    if !root_or_skip("traces_see_the_director")? {
        return Ok(());
    }
    let conf = |conf: String| conf.replace("forwarding      off", "forwarding on");
    let mut lab = Lab::with_vips("trace", 0, conf)?;
    lab.with_logs(|lab| {
        lab.gateway(&[0, 1])?;
        lab.local_addresses()?;
        router(lab)?;
        let methods: [&[&str]; 2] = [&["-U", "-p", "53"], &["-I"]];
        // Routed, past every hop.
        for (net, far, hops) in [
            ("10.0.0.0/8", FAR4, [addr::OUTSIDE4, addr::RS4[1], FAR4]),
            ("2001:db8::/32", FAR6, [addr::OUTSIDE6, addr::RS6[1], FAR6]),
        ] {
            lab.client
                .ip(&family(far, &["route", "add", net, "via", hops[0]]))?;
            lab.traced(far, &[], &hops)?;
            lab.traced(far, &["-I"], &hops)?;
            assert!(lab.echo(far, "1000")?.ok());
        }
        // To a service: as long as TTLs are left alone the director is no hop; what
        // comes of its other side comes from the VIP.
        let modes = [
            (addr::VIP4, FAR4, "-b"),
            (addr::VIP6, FAR6, "-b"),
            (addr::VIP4, FAR4, "-m"),
            (addr::VIP6, FAR6, "-m"),
        ];
        for (vip, far, mode) in modes {
            serve(lab, vip, far, mode)?;
            for method in methods {
                lab.traced(vip, method, &[vip, vip])?;
            }
            remove(lab, vip)?;
        }
        // With xmit_ttl it is one.
        lab.configure(|text| {
            conf(text).replace(
                "<init> conn_pool_size",
                "xmit_ttl\n        <init> conn_pool_size",
            )
        })?;
        lab.dpvs
            .as_ref()
            .ok_or_else(|| Error::new("dpvs"))?
            .signal(Signal::SIGHUP)?;
        for (vip, far, mode) in modes {
            serve(lab, vip, far, mode)?;
            for method in methods {
                lab.traced(vip, method, &[vip, vip, vip])?;
            }
            remove(lab, vip)?;
        }
        lab.still_running()
    })
}

/// A UDP and an echo service with the server behind the router.
fn serve(lab: &Lab, vip: &str, far: &str, mode: &str) -> Result<()> {
    lab.serve("-u", &end(vip, 53), &end(far, CLOSED), &[mode])?;
    lab.serve(echo_kind(vip), vip, far, &[mode])
}

fn remove(lab: &Lab, vip: &str) -> Result<()> {
    lab.set(&["-D", "-u", &end(vip, 53)])?;
    lab.set(&["-D", echo_kind(vip), vip])
}
