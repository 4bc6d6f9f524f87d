//! Servers come, go and fail under running requests; nobody outside notices.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use compat_tests::lab::{Lab, START, Tally, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Error, Result, wait};

const VIP: &str = "192.0.2.10:80";

/// Servers that come and go: more addresses of rs2, whose nginx listens on all.
fn others(lab: &Lab) -> Result<Vec<String>> {
    (21..=24)
        .map(|last| {
            let ip = Ipv4Addr::new(10, 0, 1, last);
            lab.servers[1].ip(&["addr", "add", &format!("{ip}/24"), "dev", "eth0"])?;
            Ok(format!("{ip}:80"))
        })
        .collect()
}

#[test]
fn a_thousand_requests_during_churn_of_other_servers() -> Result<()> {
    if !root_or_skip("a_thousand_requests_during_churn_of_other_servers")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("churn")?;
    lab.with_logs(|lab| {
        let others = others(lab)?;
        let stop = AtomicBool::new(false);
        let lab: &Lab = lab;
        let (tally, rounds) = std::thread::scope(|scope| -> Result<(Tally, usize)> {
            let churn = scope.spawn(|| churn(lab, &others, &stop));
            let tally = lab.requests(&url(addr::VIP4, "/"), 1000);
            stop.store(true, Ordering::Relaxed);
            let rounds = churn
                .join()
                .unwrap_or_else(|_| Err(Error::new("the churn panicked")))?;
            Ok((tally?, rounds))
        })?;
        assert_eq!(
            tally.failures,
            Vec::<String>::new(),
            "after {rounds} rounds of churn"
        );
        assert_eq!(tally.total(), 1000);
        assert!(
            rounds >= 20,
            "only {rounds} rounds of churn during 1000 requests"
        );
        let left = lab.ipvsadm(&["-Ln"])?.success()?;
        assert!(others.iter().all(|other| !left.contains(other)), "{left}");
        Ok(())
    })
}

/// Adds, edits and deletes the other servers until told to stop.
fn churn(lab: &Lab, others: &[String], stop: &AtomicBool) -> Result<usize> {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        for other in others {
            lab.ipvsadm(&["-a", "-t", VIP, "-r", other, "-b", "-w", "3"])?
                .success()?;
        }
        for (weight, other) in ["0", "1", "2", "5"].iter().zip(others) {
            lab.ipvsadm(&["-e", "-t", VIP, "-r", other, "-b", "-w", weight])?
                .success()?;
        }
        for other in others {
            lab.ipvsadm(&["-d", "-t", VIP, "-r", other])?.success()?;
        }
        rounds += 1;
    }
    Ok(rounds)
}

/// Transfers that last some seconds, half of them on either server.
fn transfers(lab: &Lab, n: usize) -> Result<Vec<(Child, PathBuf)>> {
    (0..n)
        .map(|i| {
            let file = lab.file(&format!("transfer{i}"));
            let child = lab
                .client
                .command("curl")
                .args(["-sS", "--fail", "-m", "60", "--limit-rate", "250k", "-o"])
                .arg(&file)
                .arg(url(addr::VIP4, "/big"))
                .spawn()
                .what(|| "curl")?;
            Ok((child, file))
        })
        .collect()
}

fn all_complete(transfers: Vec<(Child, PathBuf)>) -> Result<()> {
    for (mut child, file) in transfers {
        let status = child.wait().what(|| "curl")?;
        let size = std::fs::metadata(&file).map_or(0, |m| m.len());
        assert!(
            status.success() && size == 1 << 20,
            "a transfer ended with {status} at {size} bytes"
        );
    }
    Ok(())
}

/// Makes `change` to rs2 under running transfers: those end well, and no new
/// request reaches rs2.
fn rs2_leaves_by(test: &str, change: &[&str]) -> Result<()> {
    let mut lab = Lab::for_test(test)?;
    lab.with_logs(|lab| {
        let running = transfers(lab, 4)?;
        wait::until_true("two transfers on each server", START, || {
            let list = lab.ipvsadm(&["-Ln"])?.success()?;
            // Columns: -> address, Forward, Weight, ActiveConn, InActConn.
            let active = |rs: &str| {
                let line = list.lines().find(|l| l.contains(&format!("{rs}:80")));
                line.and_then(|l| l.split_whitespace().nth(4)?.parse::<u32>().ok())
            };
            Ok(addr::RS4.iter().all(|rs| active(rs) == Some(2)))
        })?;
        lab.ipvsadm(change)?.success()?;
        let tally = lab.requests(&url(addr::VIP4, "/"), 20)?;
        assert_eq!(
            (tally.by_server, tally.failures.len()),
            ([20, 0], 0),
            "{tally:?}"
        );
        all_complete(running)
    })
}

#[test]
fn weight_zero_drains() -> Result<()> {
    if !root_or_skip("weight_zero_drains")? {
        return Ok(());
    }
    rs2_leaves_by(
        "drain",
        &["-e", "-t", VIP, "-r", "10.0.1.12:80", "-b", "-w", "0"],
    )
}

#[test]
fn a_removed_server_finishes_its_connections() -> Result<()> {
    if !root_or_skip("a_removed_server_finishes_its_connections")? {
        return Ok(());
    }
    rs2_leaves_by("remove", &["-d", "-t", VIP, "-r", "10.0.1.12:80"])
}

#[test]
fn a_failed_server_is_taken_out_and_comes_back() -> Result<()> {
    if !root_or_skip("a_failed_server_is_taken_out_and_comes_back")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("failover")?;
    lab.with_logs(|lab| {
        lab.stop_nginx(1)?;
        lab.wait_web(1, false, START)?;
        for vip in [addr::VIP4, addr::VIP6] {
            let tally = lab.requests(&url(vip, "/"), 20)?;
            assert_eq!(
                (tally.by_server, tally.failures.len()),
                ([20, 0], 0),
                "{tally:?}"
            );
        }
        lab.start_nginx(1)?;
        lab.wait_web(1, true, START)?;
        lab.wait_served(START)
    })
}

#[test]
fn a_killed_dataplane_is_programmed_again_within_five_seconds() -> Result<()> {
    if !root_or_skip("a_killed_dataplane_is_programmed_again_within_five_seconds")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("restart")?;
    lab.with_logs(|lab| {
        for _ in 0..2 {
            let keepalived = lab.keepalived.as_ref().map(|p| p.pid());
            if let Some(mut dpvs) = lab.dpvs.take() {
                dpvs.kill()?;
            }
            // Its socket and pid file are stale now; it must start over them.
            assert!(lab.file("dpvs.ipc").exists() && lab.file("dpvs.pid").exists());
            lab.start_dpvs()?;
            let start = Instant::now();
            lab.wait_programmed(Duration::from_secs(5))?;
            let left = Duration::from_secs(5).saturating_sub(start.elapsed());
            lab.wait_served(left)?;
            assert_eq!(lab.keepalived.as_ref().map(|p| p.pid()), keepalived);
            for vip in [addr::VIP4, addr::VIP6] {
                let tally = lab.requests(&url(vip, "/"), 10)?;
                assert_eq!(tally.failures, Vec::<String>::new());
            }
        }
        Ok(())
    })
}

#[test]
fn keepalived_leaves_nothing_behind_and_starts_again() -> Result<()> {
    if !root_or_skip("keepalived_leaves_nothing_behind_and_starts_again")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("stop")?;
    lab.with_logs(|lab| {
        if let Some(mut keepalived) = lab.keepalived.take() {
            let status = keepalived.stop()?;
            assert!(
                status.success(),
                "keepalived ended with {status} after SIGTERM"
            );
        }
        let services = lab.ipvsadm(&["-Ln"])?.success()?;
        assert!(!services.contains("192.0.2.10"), "{services}");
        let addresses = lab.dpip(&["addr", "show"])?.success()?;
        for gone in [addr::VIP4, addr::VIP6, "10.0.1.201", "2001:db8:2::201"] {
            assert!(
                !addresses.contains(&format!("{gone}/")),
                "{gone} is left:\n{addresses}"
            );
        }
        assert!(addresses.contains("10.0.1.1/24"), "{addresses}");
        lab.start_keepalived()?;
        lab.wait_programmed(START)?;
        lab.wait_served(START)
    })
}

#[test]
fn a_reload_adds_a_server_without_touching_the_running() -> Result<()> {
    if !root_or_skip("a_reload_adds_a_server_without_touching_the_running")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("reload")?;
    lab.with_logs(|lab| {
        let other: SocketAddr = others(lab)?[0].parse().what(|| "address")?;
        let running = transfers(lab, 2)?;
        let conf = lab.file("keepalived.conf");
        let text = std::fs::read_to_string(&conf).what(|| "keepalived.conf")?;
        let server = format!(
            "    real_server {} 80 {{\n        weight 1\n        TCP_CHECK {{\n            \
             connect_port 80\n            connect_timeout 1\n        }}\n    }}\n",
            other.ip()
        );
        let marker = "    real_server 10.0.1.11 80 {";
        assert!(text.contains(marker));
        let text = text.replacen(marker, &format!("{server}{marker}"), 1);
        std::fs::write(&conf, text).what(|| "keepalived.conf")?;
        if let Some(keepalived) = &lab.keepalived {
            keepalived.signal(nix::sys::signal::Signal::SIGHUP)?;
        }
        lab.wait_in_service(&other.to_string(), true, START)?;
        let tally = lab.requests(&url(addr::VIP4, "/"), 30)?;
        // Two of three servers are rs2's addresses now.
        assert_eq!(
            (tally.by_server, tally.failures.len()),
            ([10, 20], 0),
            "{tally:?}"
        );
        all_complete(running)
    })
}
