//! The lab itself: what every other end-to-end test relies on.
//!
//! Nothing of the suite runs here. Shown is that the wires carry frames, that
//! the director's kernel stays out of them although a packet socket sees them,
//! and that a lab leaves nothing behind, also after a killed run.

use std::process::Command;
use std::time::Duration;

use compat_tests::frames::{Wire, ethernet};
use compat_tests::lab::{Lab, addr, state, sweep, url};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::run::{self, must};
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Result, wait};

const SOON: Duration = Duration::from_secs(5);

fn wires(test: &str) -> Result<Lab> {
    Lab::wires(&format!("w{}-{test}", std::process::id()), Lifetime::Bound)
}

#[test]
fn servers_answer_with_their_own_name_and_reach_each_other() -> Result<()> {
    if !root_or_skip("servers_answer_with_their_own_name_and_reach_each_other")? {
        return Ok(());
    }
    let mut lab = wires("servers")?;
    for i in 0..2 {
        lab.start_nginx(i)?;
    }
    for (host, body) in [(addr::RS4[1], "rs2\n"), (addr::RS6[1], "rs2\n")] {
        // A new interface may still be looking for its neighbour.
        wait::until_true("rs1 to reach rs2", SOON, || {
            let out = lab.servers[0].run("curl", &["-s", "-m", "1", &url(host, "/")])?;
            Ok(out.ok() && out.stdout == body)
        })?;
    }
    assert_eq!(
        lab.servers[0].must("curl", &["-s", &url(addr::RS4[0], "/")])?,
        "rs1\n"
    );
    assert!(lab.logged_requests(1) >= 2);
    Ok(())
}

#[test]
fn the_directors_kernel_stays_out_of_the_wires_that_a_packet_socket_sees() -> Result<()> {
    if !root_or_skip("the_directors_kernel_stays_out_of_the_wires")? {
        return Ok(());
    }
    let lab = wires("kernel")?;
    // An address elsewhere in the director: Linux answers ARP for any of its
    // addresses on any wire, unless it is kept out.
    lab.director
        .ip(&["addr", "add", "192.0.2.77/32", "dev", "lo"])?;
    let vout = Wire::open(&lab.director, "vout")?;
    let resolves = || -> Result<bool> {
        lab.client.ip(&["neigh", "flush", "all"])?;
        lab.client
            .run("ping", &["-n", "-c", "1", "-W", "1", "192.0.2.77"])?;
        Ok(lab
            .client
            .ip(&["neigh", "show", "192.0.2.77"])?
            .contains("lladdr"))
    };
    assert!(
        !resolves()?,
        "the director's kernel answered ARP on the dataplane's wire"
    );
    let seen = vout.receive(SOON, |f| f.get(12..14) == Some(&[8, 6]))?;
    assert!(
        seen.is_some(),
        "the packet socket did not see the client's ARP request"
    );
    // The same question without what keeps the kernel out: it would answer.
    lab.director
        .must("nft", &["delete", "table", "netdev", "dataplane"])?;
    lab.director.sysctl("net.ipv4.conf.vout.arp_ignore", "0")?;
    assert!(resolves()?, "the test above cannot fail");

    // And what the dataplane sends does reach the client.
    let eth0 = Wire::open(&lab.client, "eth0")?;
    let frame = ethernet(eth0.mac(), vout.mac(), 0x88b5, &[0x5a; 50]);
    vout.send(&frame)?;
    assert_eq!(
        eth0.receive(SOON, |f| f.get(12..14) == Some(&[0x88, 0xb5]))?,
        Some(frame)
    );
    Ok(())
}

#[test]
fn two_labs_side_by_side_and_nothing_left_of_either() -> Result<()> {
    if !root_or_skip("two_labs_side_by_side_and_nothing_left_of_either")? {
        return Ok(());
    }
    let mut one = wires("one")?;
    let two = wires("two")?;
    assert!(
        Lab::wires(two.name(), Lifetime::Bound)
            .unwrap_err()
            .to_string()
            .contains("up already")
    );
    one.start_nginx(0)?;
    let pid = one.nginx[0].as_ref().unwrap().pid();
    let names: Vec<Netns> = vec![
        one.client.clone(),
        two.director.clone(),
        one.servers[0].clone(),
    ];
    assert!(names.iter().all(Netns::exists));
    let dirs = [one.dir.clone(), two.dir.clone()];
    drop((one, two));
    assert!(!names.iter().any(Netns::exists));
    assert!(!dirs.iter().any(|d| d.exists()));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

/// Not a test of its own: the victim of the next one, in a process of its own.
#[test]
fn victim() -> Result<()> {
    if std::env::var_os("DPVS_LAB_VICTIM").is_none() {
        return Ok(());
    }
    let mut lab = Lab::wires("victim", Lifetime::Bound)?;
    lab.start_nginx(0)?;
    println!("nginx {}", lab.nginx[0].as_ref().unwrap().pid());
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next() -> Result<()> {
    if !root_or_skip("what_a_killed_run_left_is_swept_by_the_next")? {
        return Ok(());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["victim", "--exact", "--nocapture"])
        .env("DPVS_LAB_VICTIM", "1");
    let mut victim = Process::start("victim", &command, &dir.path().join("log"), Lifetime::Bound)?;
    let (pid, _) = wait::until("the victim's lab", Duration::from_secs(30), || {
        victim.still_running()?;
        Ok(victim
            .log()
            .lines()
            .find_map(|l| l.strip_prefix("nginx "))
            .map(str::to_owned))
    })?;
    let ns = Netns::named(&state::namespace("victim", "rs1"));
    assert!(ns.exists());
    sweep()?;
    assert!(ns.exists(), "a lab whose maker lives was swept away");
    victim.kill()?;
    let nginx = format!("/proc/{pid}");
    wait::until_true("nginx to end with its starter", SOON, || {
        Ok(!std::path::Path::new(&nginx).exists())
    })?;
    sweep()?;
    assert!(!ns.exists());
    assert!(!state::exists("victim"));
    Ok(())
}

#[test]
fn a_lab_that_is_kept_survives_its_maker_until_it_is_removed() -> Result<()> {
    if !root_or_skip("a_lab_that_is_kept_survives_its_maker")? {
        return Ok(());
    }
    let name = format!("k{}", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Detached)?;
    lab.start_nginx(1)?;
    let ns = lab.servers[1].clone();
    lab.keep()?;
    drop(lab);
    sweep()?;
    assert_eq!(ns.must("curl", &["-s", "http://127.0.0.1/"])?, "rs2\n");
    state::remove(&name)?;
    assert!(!ns.exists());
    Ok(())
}

#[test]
fn the_lab_wants_nothing_that_the_package_list_lacks() -> Result<()> {
    // Every program that the lab starts by name is there: the list of packages
    // is what `make` installs.
    if !root_or_skip("the_lab_wants_nothing_that_the_package_list_lacks")? {
        return Ok(());
    }
    for program in [
        "ip",
        "nft",
        "ethtool",
        "setpriv",
        "setsid",
        "sysctl",
        "nginx",
        "curl",
        "wrk",
        "ping",
        "traceroute",
        "bridge",
    ] {
        let found = run::run(Command::new("sh").args(["-c", &format!("command -v {program}")]))?;
        assert!(
            found.ok(),
            "{program} is not installed: run `make packages`"
        );
    }
    must("nft", &["--version"])?;
    Ok(())
}
