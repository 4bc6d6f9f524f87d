//! The SYN proxy with real clients and servers: curl and wrk through it, beside a
//! flood of spoofed SYNs, and what the tools say of it.

use std::net::SocketAddr;
use std::time::Duration;

use compat_tests::frames::Wire;
use compat_tests::lab::{Lab, START, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::Lifetime;
use compat_tests::{Context, Error, Result, flood, wait};
use nix::sys::signal::Signal;

/// A lab with web servers, a dataplane and one web service for each family.
fn lab(test: &str, conf: &str, options: &[&str]) -> Result<Lab> {
    let name = format!("y{}-{test}", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Bound)?;
    for i in 0..2 {
        lab.start_nginx(i)?;
    }
    lab.start_dpvs_with(|c| format!("{c}\n{conf}"))?;
    for (vip, mask, servers, laddr) in [
        (addr::VIP4, 32, addr::RS4, "10.0.1.201"),
        (addr::VIP6, 128, addr::RS6, "2001:db8:2::201"),
    ] {
        let family = if mask == 128 { "-6" } else { "-4" };
        let address = format!("{vip}/{mask}");
        lab.dpip(&[family, "addr", "add", &address, "dev", "dpdk0"])?
            .success()?;
        let at = at(vip)?.to_string();
        let must = |args: &[&str]| lab.ipvsadm(args)?.success().map(drop);
        must(&[&["-A", "-t", &at, "-s", "rr"], options].concat())?;
        must(&["-P", "-t", &at, "-z", laddr, "-F", "dpdk1"])?;
        for server in servers {
            let server = self::at(server)?.to_string();
            must(&["-a", "-t", &at, "-r", &server, "-b"])?;
        }
    }
    Ok(lab)
}

fn at(ip: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(ip.parse().what(|| ip.to_owned())?, 80))
}

/// A counter of `dpip counter show`.
fn counter(lab: &Lab, name: &str) -> Result<u64> {
    let text = lab.dpip(&["counter", "show"])?.success()?;
    let line = text.lines().find(|l| {
        l.split_whitespace()
            .any(|w| w.trim_end_matches(':') == name)
    });
    let number = line.and_then(|l| l.split_whitespace().find_map(|w| w.parse().ok()));
    Ok(number.unwrap_or(0))
}

#[test]
fn curl_and_wrk_go_through() -> Result<()> {
    if !root_or_skip("curl_and_wrk_go_through")? {
        return Ok(());
    }
    let mut lab = lab("web", "", &["-j", "enable"])?;
    lab.with_logs(|lab| {
        let list = lab.ipvsadm(&["-Ln"])?.success()?;
        assert!(list.contains("synproxy"), "{list}");
        for vip in [addr::VIP4, addr::VIP6] {
            let tally = lab.requests(&url(vip, "/"), 20)?;
            assert_eq!(tally.failures, Vec::<String>::new());
            assert!(tally.by_server.iter().all(|n| *n == 10), "{tally:?}");
            // A page of many packets, whole.
            let big = lab.get(&url(vip, "/big"))?;
            assert_eq!(big.len(), 1 << 20);
            let args = ["-t1", "-c20", "-d2s", &url(vip, "/")];
            let out = lab.client.run("wrk", &args)?.success()?;
            let failures = out.contains("Socket errors") || out.contains("Non-2xx");
            assert!(!failures && out.contains("requests in"), "{out}");
        }
        assert!(counter(lab, "synproxy-ok-ack")? >= 80);
        assert_eq!(counter(lab, "synproxy-bad-ack")?, 0);
        // Scaled windows, other options: by reload.
        let proxy = "ipvs_defs {\n tcp {\n  synproxy {\n   synack_options {\n    wscale 7\n    timestamp\n    mss 1300\n   }\n   close_client_window\n  }\n }\n}\n";
        lab.configure(|c| format!("{c}\n{proxy}"))?;
        lab.dpvs
            .as_ref()
            .ok_or_else(|| Error::new("no dpvs"))?
            .signal(Signal::SIGHUP)?;
        let wire = Wire::open(&lab.client, "eth0")?;
        let to = Wire::open(&lab.director, "vout")?.mac();
        let mut n = 0;
        wait::until_true("the new MSS and window", START, || {
            n += 1;
            wire.send(&flood::spoofed(to, at(addr::VIP4)?, n))?;
            // Flags, window and the first option of a SYN-ACK.
            let answer = wire.receive(Duration::from_millis(300), |f| {
                f.get(..6) != Some(&to) && f.get(12..14) == Some(&[8, 0]) && f.get(47) == Some(&0x12)
            })?;
            let answer = answer.unwrap_or_default();
            let mss = [[2, 4], 1300_u16.to_be_bytes()].concat();
            Ok(answer.get(48..50) == Some(&[0, 0]) && answer.get(54..58) == Some(&mss))
        })?;
        for vip in [addr::VIP4, addr::VIP6] {
            for _ in 0..3 {
                assert_eq!(lab.get(&url(vip, "/big"))?.len(), 1 << 20);
            }
        }
        // A server without a web server: the client hears of it.
        lab.stop_nginx(0)?;
        let tally = lab.requests(&url(addr::VIP4, "/"), 4)?;
        assert_eq!(tally.by_server[1], 2, "{tally:?}");
        assert!(tally.failures.iter().all(|f| f.contains("reset") || f.contains("connect to")), "{tally:?}");
        assert!(counter(lab, "synproxy-rs-error")? >= 2);
        lab.still_running()
    })
}

#[test]
fn honest_clients_get_through_a_flood() -> Result<()> {
    if !root_or_skip("honest_clients_get_through_a_flood")? {
        return Ok(());
    }
    let mut lab = lab("flood", "", &["-j", "enable"])?;
    lab.with_logs(|lab| {
        let wire = Wire::open(&lab.client, "eth0")?;
        let to = Wire::open(&lab.director, "vout")?.mac();
        for vip in [addr::VIP4, addr::VIP6] {
            let vip = at(vip)?;
            let before = counter(lab, "synproxy-syn")?;
            let (outcome, sent) = flood::beside(
                &lab.client,
                &wire,
                to,
                vip,
                (100, 2000),
                Duration::from_secs(3),
            )?;
            assert!(outcome.share() >= 0.95, "{outcome:?}");
            let cookies = counter(lab, "synproxy-syn")? - before;
            assert!(sent > 1000 && cookies > sent / 2, "{sent} {cookies}");
            // Nothing is kept of the others.
            let list = lab.ipvsadm(&["-Lnc"])?.success()?;
            let foreign = |l: &&str| l.contains("198.1") || l.contains("2001:db8:f");
            assert_eq!(list.lines().filter(foreign).count(), 0, "{list}");
        }
        lab.still_running()
    })
}

#[test]
fn a_flooded_service_is_proxied_unasked() -> Result<()> {
    if !root_or_skip("a_flooded_service_is_proxied_unasked")? {
        return Ok(());
    }
    let conf = "ipvs_defs {\n tcp {\n  synproxy {\n   auto_syn_rate 300\n  }\n }\n}\n";
    let mut lab = lab("auto", conf, &[])?;
    lab.with_logs(|lab| {
        assert_eq!(lab.requests(&url(addr::VIP4, "/"), 4)?.failures.len(), 0);
        assert_eq!(counter(lab, "synproxy-syn")?, 0);
        let wire = Wire::open(&lab.client, "eth0")?;
        let to = Wire::open(&lab.director, "vout")?.mac();
        let vip = at(addr::VIP4)?;
        let time = Duration::from_secs(2);
        let (outcome, _) = flood::beside(&lab.client, &wire, to, vip, (50, 2000), time)?;
        assert!(outcome.share() >= 0.95, "{outcome:?}");
        assert!(counter(lab, "synproxy-syn")? > 500);
        let log = lab.dpvs.as_ref().map(|p| p.log()).unwrap_or_default();
        assert!(log.contains("SYN proxy on"), "{log}");
        // The other service is as before.
        assert_eq!(lab.requests(&url(addr::VIP6, "/"), 4)?.failures.len(), 0);
        Ok(())
    })
}

#[test]
fn other_modes_are_refused() -> Result<()> {
    if !root_or_skip("other_modes_are_refused")? {
        return Ok(());
    }
    let mut lab = lab("modes", "", &["-j", "enable"])?;
    lab.with_logs(|lab| {
        let vip = at(addr::VIP4)?.to_string();
        let out = lab.ipvsadm(&["-a", "-t", &vip, "-r", "10.0.1.13:80", "-g"])?;
        assert!(!out.ok(), "{out:?}");
        lab.ipvsadm(&["-A", "-t", "192.0.2.10:81", "-s", "rr"])?
            .success()?;
        lab.ipvsadm(&["-a", "-t", "192.0.2.10:81", "-r", "10.0.1.13:81", "-g"])?
            .success()?;
        let out = lab.ipvsadm(&["-E", "-t", "192.0.2.10:81", "-s", "rr", "-j", "enable"])?;
        assert!(!out.ok(), "{out:?}");
        let log = lab.dpvs.as_ref().map(|p| p.log()).unwrap_or_default();
        assert!(
            log.contains("SYN proxy with servers in another mode"),
            "{log}"
        );
        let list = lab.ipvsadm(&["-Ln", "-t", "192.0.2.10:81"])?.success()?;
        assert!(!list.contains("synproxy"), "{list}");
        Ok(())
    })
}
