//! Links of small MTU behind and before the director: megabytes go through both ways
//! in every mode, which they only do if both ends hear of the links.
//!
//! ```text
//!  far ───1300─── client ───── director ───── rs2 ───1400─── rs1
//! ```
//!
//! `client` and `rs2` route. The frames of all wires are 1500 bytes; the small links
//! are routes with an MTU of their own, so that nothing but ICMP tells of them.

use compat_tests::decap::Decap;
use compat_tests::lab::modes::{LOCAL4, LOCAL6, family};
use compat_tests::lab::{Lab, START, Slot, addr, end, url};
use compat_tests::netns::{Netns, veth};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, run, wait};

/// The client's host, and the server's.
const FAR4: &str = "198.51.100.7";
const FAR6: &str = "2001:db8:100::7";
const SERVER4: &str = "10.0.9.11";
const SERVER6: &str = "2001:db8:9::11";
const MEGABYTE: usize = 1 << 20;

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<()> {
    lab.ipvsadm(args)?.success().map(drop)
}

/// A link behind a router: `router` has `.1` on it, `host` the rest; its routes.
fn link(router: &Netns, host: &Netns, host4: &str, host6: &str, mtu: &str) -> Result<()> {
    let dev = "small";
    veth((router, dev), (host, dev))?;
    let (net4, net6) = (host4.rsplit_once('.'), host6.rsplit_once(':'));
    let (Some((net4, _)), Some((net6, _))) = (net4, net6) else {
        return Err(Error::new("addresses have parts"));
    };
    for ns in [router, host] {
        ns.plain_frames(dev)?;
        for key in [
            "net.ipv4.conf.all.rp_filter",
            "net.ipv4.conf.small.rp_filter",
        ] {
            ns.sysctl(key, "0")?;
        }
        ns.sysctl("net.ipv6.conf.small.accept_dad", "0")?;
    }
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
    let (via4, via6) = (format!("{net4}.1"), format!("{net6}:1"));
    for (via, own, plen) in [(&via4, host4, 24), (&via6, host6, 64)] {
        router.ip(&["addr", "add", &format!("{via}/{plen}"), "dev", dev])?;
        host.ip(&["addr", "add", &format!("{own}/{plen}"), "dev", dev])?;
        host.ip(&family(own, &["route", "add", "default", "via", via]))?;
        router.ip(&family(
            own,
            &["route", "add", own, "dev", dev, "mtu", "lock", mtu],
        ))?;
    }
    Ok(())
}

/// The far client's namespace, which ends with its value.
struct Far(Netns);

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

/// The wires above, a web server, and a dataplane that knows its routes.
fn lab(test: &str) -> Result<(Slot, Lab, Far)> {
    let slot = Slot::wait()?;
    let name = format!("p{}-{test}", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Bound)?;
    let far = Far(Netns::create(&format!("{name}-far"))?);
    lab.with_logs(|lab| {
        let [server, router] = &lab.servers;
        server.ip(&["link", "set", "eth0", "down"])?;
        link(router, server, SERVER4, SERVER6, "1400")?;
        link(&lab.client, &far.0, FAR4, FAR6, "1300")?;
        for via in [addr::INSIDE4, addr::INSIDE6] {
            router.ip(&family(via, &["route", "add", "default", "via", via]))?;
        }
        for vip in [addr::VIP4, addr::VIP6] {
            server.ip(&family(vip, &["addr", "add", vip, "dev", "lo"]))?;
        }
        lab.start_nginx(0)?;
        lab.start_dpvs_taps(|conf| conf.replace("forwarding      off", "forwarding on"))?;
        lab.virtual_addresses()?;
        lab.local_addresses()?;
        for (net, via, dev) in [
            ("10.0.9.0/24", addr::RS4[1], "dpdk1"),
            ("2001:db8:9::/64", addr::RS6[1], "dpdk1"),
            ("198.51.100.0/24", addr::CLIENT4, "dpdk0"),
            ("2001:db8:100::/64", addr::CLIENT6, "dpdk0"),
        ] {
            lab.dpip(&family(net, &["route", "add", net, "via", via, "dev", dev]))?
                .success()?;
        }
        std::fs::write(lab.file("megabyte"), vec![b'x'; MEGABYTE]).what(|| "a megabyte")
    })?;
    Ok((slot, lab, far))
}

/// `curl` in the far client; what it wrote.
fn curl(far: &Netns, args: &[&str]) -> Result<String> {
    let always = ["-sS", "--fail", "--max-time", "5", "--noproxy", "*"];
    run::run(far.command("curl").args(always).args(args))?.success()
}

/// The path MTU that a host has heard of.
fn heard(ns: &Netns, to: &str) -> Result<Option<u32>> {
    let route = ns.ip(&["route", "get", to])?;
    let mut words = route.split_whitespace().skip_while(|w| *w != "mtu");
    Ok(words.nth(1).and_then(|mtu| mtu.parse().ok()))
}

#[test]
fn megabytes_pass_small_links_in_every_mode() -> Result<()> {
    if !root_or_skip("megabytes_pass_small_links")? {
        return Ok(());
    }
    let (_turn, mut lab, far_client) = lab("pmtu")?;
    lab.with_logs(|lab| {
        let far = &far_client.0;
        let server = &lab.servers[0];
        let _decap = Decap::start(server, "small")?;
        let upload = format!("@{}", lab.file("megabyte").display());
        // Of the server's link the client hears less what the director adds: TOA,
        // a tunnel's header; or in the terms of its own family.
        let modes = [
            ("FullNAT", addr::VIP4, SERVER4, Some(LOCAL4), 1392),
            ("FullNAT", addr::VIP6, SERVER6, Some(LOCAL6), 1380),
            ("NAT64", addr::VIP6, SERVER4, Some(LOCAL4), 1400),
            ("NAT46", addr::VIP4, SERVER6, Some(LOCAL6), 1372),
            ("NAT", addr::VIP4, SERVER4, None, 1400),
            ("NAT", addr::VIP6, SERVER6, None, 1400),
            ("tunnel", addr::VIP4, SERVER4, None, 1380),
            ("tunnel", addr::VIP6, SERVER6, None, 1360),
        ];
        for (mode, vip, rs, laddr, told) in modes {
            let (at, dest) = (end(vip, 80), end(rs, 80));
            ipvsadm(lab, &["-A", "-t", &at, "-s", "rr"])?;
            if let Some(laddr) = laddr {
                ipvsadm(lab, &["-P", "-t", &at, "-z", laddr, "-F", "dpdk1"])?;
            }
            let how = match mode {
                "NAT" => "-m",
                "tunnel" => "-i",
                _ => "-b",
            };
            ipvsadm(lab, &["-a", "-t", &at, "-r", &dest, how])?;
            for (ns, to) in [(far, vip), (server, FAR4), (server, FAR6), (server, LOCAL4)] {
                ns.ip(&family(to, &["route", "flush", "cache"]))?;
            }
            let what = format!("{mode} {vip} {rs}");
            wait::until_true(&format!("an answer through {what}"), START, || {
                Ok(curl(far, &[&url(vip, "/")]).is_ok_and(|body| body.trim() == "rs1"))
            })?;
            // Nothing comes back until all of it is there, so that every segment has
            // the client's address.
            let body = curl(far, &["--data-binary", &upload, &url(vip, "/upload")])
                .map_err(|e| Error::new(format!("{what}: upload: {e}")))?;
            assert_eq!(body.trim(), format!("rs1 {MEGABYTE}"), "{what}");
            assert_eq!(heard(far, vip)?, Some(told), "{what}");
            let body = curl(far, &[&url(vip, "/big")])
                .map_err(|e| Error::new(format!("{what}: download: {e}")))?;
            assert_eq!(body.len(), MEGABYTE, "{what}");
            if mode == "FullNAT" {
                let peer = laddr.unwrap_or_default();
                assert_eq!(heard(server, peer)?, Some(1300), "{what}");
            }
            ipvsadm(lab, &["-D", "-t", &at])?;
        }
        lab.still_running()
    })
}

#[test]
fn iperf_passes_small_links_over_tcp_and_in_large_datagrams() -> Result<()> {
    if !root_or_skip("iperf_passes_small_links")? {
        return Ok(());
    }
    let (_turn, mut lab, far_client) = lab("iperf")?;
    lab.with_logs(|lab| {
        let far = &far_client.0;
        let mut command = lab.servers[0].command("iperf3");
        command.args(["-s", "-p", "5201"]);
        let log = lab.file("iperf.out");
        let mut iperf = Process::start("iperf3", &command, &log, Lifetime::Bound)?;
        for (vip, rs, laddr) in [(addr::VIP4, SERVER4, LOCAL4), (addr::VIP6, SERVER6, LOCAL6)] {
            let (at, dest) = (end(vip, 5201), end(rs, 5201));
            for proto in ["-t", "-u"] {
                ipvsadm(lab, &["-A", proto, &at, "-s", "rr"])?;
                ipvsadm(lab, &["-P", proto, &at, "-z", laddr, "-F", "dpdk1"])?;
                ipvsadm(lab, &["-a", proto, &at, "-r", &dest, "-b"])?;
            }
            let run = |how: &[&str]| {
                let always = ["20", "iperf3", "-J", "--connect-timeout", "3000", "-c", vip];
                let out = run::run(far.command("timeout").args(always).args(how))?;
                let report: serde_json::Value = serde_json::from_str(&out.stdout)
                    .map_err(|e| Error::new(format!("{e}: {out:?}")))?;
                Ok::<_, Error>((out, report))
            };
            wait::until_true(&format!("iperf3 through {vip}"), START, || {
                iperf.still_running()?;
                // It ends with 0 when it could not connect, too.
                let (out, report) = run(&["-n", "1K"])?;
                Ok(out.ok() && report["error"].is_null())
            })?;
            for how in [
                &["-n", "2M"][..],
                &["-n", "2M", "-R"],
                &["-u", "-b", "8M", "-l", "4000", "-n", "400K"],
                &["-u", "-b", "8M", "-l", "4000", "-n", "400K", "-R"],
            ] {
                let (out, report) = run(how)?;
                let ends = &report["end"];
                let (received, lost) = if how[0] == "-u" {
                    let sum = &ends["sum"];
                    (sum["packets"].as_u64(), sum["lost_packets"].as_u64())
                } else {
                    (ends["sum_received"]["bytes"].as_u64(), Some(0))
                };
                // The first datagrams tell of the path.
                assert!(
                    out.ok() && received.is_some_and(|n| n > 90),
                    "{vip} {how:?}: {out:?}"
                );
                assert!(lost.is_some_and(|n| n <= 10), "{vip} {how:?}: {out:?}");
            }
        }
        lab.still_running()
    })
}
