//! The daemon without any NIC, and the tools against it: needs no root.
//!
//! It serves within two seconds, starts over what a killed one left, ends
//! cleanly, and what one tool sets another shows, saves and restores.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use compat_tests::privilege::is_root;
use compat_tests::run::{self, LIMIT, Output, run_with};
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Result, bins, wait};
use nix::sys::signal::Signal;

struct Daemon {
    dir: tempfile::TempDir,
    process: Process,
    took: Duration,
}

/// The daemon of conf/dpvs.null.conf in `dir`, run through `prefix` (nothing,
/// or a command that changes the user).
fn start_in(dir: tempfile::TempDir, prefix: &[&str]) -> Result<Daemon> {
    let program = bins::path("dpvs")?;
    let conf = bins::repository()?.join("conf/dpvs.null.conf");
    let words: Vec<String> = prefix
        .iter()
        .map(|w| (*w).to_owned())
        .chain([
            program.display().to_string(),
            "-c".into(),
            conf.display().to_string(),
        ])
        .collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
        .arg("-x")
        .arg(dir.path().join("ipc"))
        .arg("-p")
        .arg(dir.path().join("pid"));
    command.args([
        "--",
        "--no-huge",
        "--no-shconf",
        "--no-pci",
        "-m",
        "512",
        "--lcores",
        "0@0,1@0",
    ]);
    command.args(["--vdev", "net_null0,no-rx=1", "--vdev", "net_null1,no-rx=1"]);
    let log = dir.path().join("log");
    let mut process = Process::start("dpvs", &command, &log, Lifetime::Bound)?;
    let took = wait::until_true("dpvs to serve its control socket", LIMIT, || {
        process.still_running()?;
        Ok(tool(dir.path(), "dpip", &["link", "show"])?.ok())
    })?;
    Ok(Daemon { dir, process, took })
}

fn start() -> Result<Daemon> {
    start_in(tempfile::tempdir().what(|| "temporary folder")?, &[])
}

fn tool(dir: &Path, name: &str, args: &[&str]) -> Result<Output> {
    tool_with(dir, name, args, "")
}

fn tool_with(dir: &Path, name: &str, args: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new(bins::path(name)?);
    let path = std::env::var("PATH").unwrap_or_default();
    // The save and restore scripts of distributions call `ipvsadm` by name.
    command.env("PATH", format!("{}:{path}", bins::dir()?.display()));
    command.env("DPVS_IPC_FILE", dir.join("ipc")).args(args);
    run_with(&mut command, input.as_bytes(), LIMIT)
}

impl Daemon {
    fn tool(&self, name: &str, args: &[&str]) -> Result<String> {
        tool(self.dir.path(), name, args)?.success()
    }

    fn ipvsadm(&self, line: &str) -> Result<String> {
        self.tool("ipvsadm", &line.split_whitespace().collect::<Vec<_>>())
    }

    fn dpip(&self, line: &str) -> Result<String> {
        self.tool("dpip", &line.split_whitespace().collect::<Vec<_>>())
    }
}

#[test]
fn it_serves_within_two_seconds_and_ends_cleanly() -> Result<()> {
    let mut daemon = start()?;
    assert!(
        daemon.took < Duration::from_secs(2),
        "it took {:?}",
        daemon.took
    );
    let links = daemon.dpip("link show")?;
    assert!(
        links.contains("dpdk0") && links.contains("dpdk1"),
        "{links}"
    );
    let status = daemon.process.stop()?;
    assert_eq!(
        status.code(),
        Some(0),
        "after SIGTERM: {}",
        daemon.process.log_tail(20)
    );
    for left in ["ipc", "pid"] {
        assert!(
            !daemon.dir.path().join(left).exists(),
            "{left} is left behind"
        );
    }
    let out = tool(daemon.dir.path(), "ipvsadm", &["-Ln"])?;
    assert_eq!(
        out.code(),
        2,
        "without a daemon: {}{}",
        out.stdout,
        out.stderr
    );
    Ok(())
}

/// The help of DPDK's own arguments, also before there is a configuration.
#[test]
fn eal_explains_its_arguments() -> Result<()> {
    let mut command = Command::new(bins::path("dpvs")?);
    let out = run::run(command.args(["-c", "/nonexistent", "--", "--help"]))?;
    assert!(out.ok() && out.stdout.contains("--lcores"), "{out:?}");
    Ok(())
}

#[test]
fn it_starts_over_what_a_killed_one_left() -> Result<()> {
    let mut first = start()?;
    first.process.kill()?;
    assert!(first.dir.path().join("ipc").exists());
    let second = start_in(first.dir, &[])?;
    second.ipvsadm("-A -t 192.0.2.1:80 -s rr")?;
    assert!(second.ipvsadm("-Ln")?.contains("TCP  192.0.2.1:80 rr"));
    Ok(())
}

#[test]
fn a_second_one_on_the_same_socket_is_refused() -> Result<()> {
    let daemon = start()?;
    let mut command = Command::new(bins::path("dpvs")?);
    command
        .arg("-c")
        .arg(bins::repository()?.join("conf/dpvs.null.conf"));
    command.arg("-x").arg(daemon.dir.path().join("ipc"));
    command.arg("-p").arg(daemon.dir.path().join("pid"));
    command.args(["--", "--no-huge", "--no-shconf", "--no-pci", "-m", "512"]);
    command.args(["--vdev", "net_null0,no-rx=1", "--vdev", "net_null1,no-rx=1"]);
    let out = run_with(&mut command, b"", LIMIT)?;
    assert!(!out.ok(), "two daemons on one socket");
    assert!(daemon.dpip("link show")?.contains("dpdk0"));
    Ok(())
}

#[test]
fn it_needs_no_root() -> Result<()> {
    if !is_root() {
        // Then every other test of this file shows it.
        return Ok(());
    }
    let dir = tempfile::tempdir().what(|| "temporary folder")?;
    let nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--",
    ];
    // The programs may be in a folder that is root's alone.
    let mut probe = Command::new(nobody[0]);
    probe
        .args(&nobody[1..])
        .arg("test")
        .arg("-x")
        .arg(bins::path("dpvs")?);
    if !run::run(&mut probe)?.ok() {
        eprintln!("nobody may not enter {}", bins::dir()?.display());
        return Ok(());
    }
    run::must("chown", &["65534:65534".as_ref(), dir.path().as_os_str()])?;
    let daemon = start_in(dir, &nobody)?;
    daemon.ipvsadm("-A -t 192.0.2.1:80")?;
    assert!(daemon.ipvsadm("-Ln")?.contains("192.0.2.1:80"));
    Ok(())
}

#[test]
fn services_are_listed_saved_and_restored() -> Result<()> {
    let daemon = start()?;
    for line in [
        "-A -t 192.0.2.1:80 -s rr",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -b -w 5",
        "-a -t 192.0.2.1:80 -r 10.0.0.2:8080 -b -w 0",
        "-A -u [2001:db8::1]:53 -s wrr",
        "-a -u [2001:db8::1]:53 -r [2001:db8:2::1]:53 -b",
        "-A -t 192.0.2.2:443 -s wlc",
        "-P -t 192.0.2.1:80 -z 10.0.0.100 -F dpdk1",
    ] {
        daemon.ipvsadm(line)?;
    }
    let list = daemon.ipvsadm("-Ln")?;
    for wanted in [
        "TCP  192.0.2.1:80 rr\n",
        "  -> 10.0.0.1:8080                FullNat 5      0          0",
        "  -> 10.0.0.2:8080                FullNat 0      0          0",
        "UDP  [2001:db8::1]:53 wrr\n",
        "  -> [2001:db8:2::1]:53           FullNat 1      0          0",
        "TCP  192.0.2.2:443 wlc\n",
    ] {
        assert!(list.contains(wanted), "{wanted:?} is not in\n{list}");
    }
    assert!(daemon.ipvsadm("-G")?.contains("10.0.0.100"));
    let addresses = daemon.dpip("-s addr show")?;
    assert!(
        addresses.contains("10.0.0.100/32") && addresses.contains("sa_free"),
        "{addresses}"
    );

    let saved = daemon.ipvsadm("-S -n")?;
    assert_eq!(daemon.tool("ipvsadm-save", &["-n"])?, saved);
    daemon.ipvsadm("-C")?;
    assert!(
        !daemon.ipvsadm("-Ln")?.contains("192.0.2"),
        "-C left something"
    );
    let out = tool_with(daemon.dir.path(), "ipvsadm-restore", &[], &saved)?;
    assert!(out.ok(), "{}", out.stderr);
    assert_eq!(daemon.ipvsadm("-Ln")?, list);
    assert_eq!(daemon.ipvsadm("-S -n")?, saved);

    daemon.ipvsadm("-e -t 192.0.2.1:80 -r 10.0.0.2:8080 -b -w 7")?;
    daemon.ipvsadm("-d -t 192.0.2.1:80 -r 10.0.0.1:8080")?;
    daemon.ipvsadm("-E -t 192.0.2.1:80 -s wrr")?;
    daemon.ipvsadm("-D -t 192.0.2.2:443")?;
    let list = daemon.ipvsadm("-Ln")?;
    assert!(list.contains("TCP  192.0.2.1:80 wrr\n"), "{list}");
    assert!(
        list.contains("10.0.0.2:8080                FullNat 7"),
        "{list}"
    );
    assert!(
        !list.contains("10.0.0.1:8080") && !list.contains("192.0.2.2"),
        "{list}"
    );
    Ok(())
}

#[test]
fn refusals_of_the_daemon_reach_the_user() -> Result<()> {
    let daemon = start()?;
    let dir = daemon.dir.path();
    daemon.ipvsadm("-A -t 192.0.2.1:80 -s rr")?;
    for (args, code, words) in [
        ("-A -t 192.0.2.1:80 -s rr", 255, "exist"),
        ("-D -t 192.0.2.9:80", 255, ""),
        ("-a -t 192.0.2.9:80 -r 10.0.0.1:80 -b", 0, ""),
        ("-d -t 192.0.2.1:80 -r 10.0.0.1:80", 0, ""),
        ("-A -t 192.0.2.3:80 -s nonsense", 0, ""),
    ] {
        let out = tool(dir, "ipvsadm", &args.split_whitespace().collect::<Vec<_>>())?;
        assert!(!out.ok(), "ipvsadm {args} succeeded");
        if code != 0 {
            assert_eq!(out.code(), code, "ipvsadm {args}: {}", out.stderr);
        }
        assert!(
            out.stderr.contains(words) && !out.stderr.is_empty(),
            "ipvsadm {args}: {}",
            out.stderr
        );
    }
    for args in [
        "addr add 192.0.2.5/24 dev nosuch",
        "addr del 192.0.2.77/24 dev dpdk0",
        "route add 10.9.0.0/16 via 192.0.2.1 dev nosuch",
        "link show nosuch",
    ] {
        let out = tool(dir, "dpip", &args.split_whitespace().collect::<Vec<_>>())?;
        assert!(
            !out.ok() && !out.stderr.is_empty(),
            "dpip {args}: {}{}",
            out.stdout,
            out.stderr
        );
    }
    Ok(())
}

#[test]
fn addresses_routes_and_neighbours_come_and_go() -> Result<()> {
    let daemon = start()?;
    for line in [
        "addr add 192.0.2.5/24 dev dpdk0",
        "-6 addr add 2001:db8::5/64 dev dpdk0",
        "route add 198.51.100.0/24 via 192.0.2.254 dev dpdk0",
        "route add default via 192.0.2.254 dev dpdk0",
        "-6 route add 2001:db8:9::/48 via 2001:db8::fe dev dpdk0",
        "neigh add 192.0.2.254 lladdr 02:00:00:00:00:01 dev dpdk0",
    ] {
        daemon.dpip(line)?;
    }
    let addresses = daemon.dpip("addr show")?;
    assert!(
        addresses.contains("inet 192.0.2.5/24 scope global dpdk0"),
        "{addresses}"
    );
    assert!(
        addresses.contains("inet6 2001:db8::5/64 scope global dpdk0"),
        "{addresses}"
    );
    let routes = daemon.dpip("route show")?;
    for wanted in [
        "inet 192.0.2.5/32 ",
        "inet 192.0.2.0/24 ",
        "inet 198.51.100.0/24 via 192.0.2.254",
    ] {
        assert!(routes.contains(wanted), "{wanted:?} is not in\n{routes}");
    }
    assert!(routes.contains("0.0.0.0/0 via 192.0.2.254"), "{routes}");
    assert!(
        daemon
            .dpip("-6 route show")?
            .contains("2001:db8:9::/48 via 2001:db8::fe")
    );
    let neighbours = daemon.dpip("neigh show")?;
    assert!(neighbours.contains("02:00:00:00:00:01"), "{neighbours}");

    daemon.dpip("neigh del 192.0.2.254 dev dpdk0")?;
    daemon.dpip("route del 198.51.100.0/24 via 192.0.2.254 dev dpdk0")?;
    daemon.dpip("addr del 192.0.2.5/24 dev dpdk0")?;
    daemon.dpip("-6 addr del 2001:db8::5/64 dev dpdk0")?;
    let left = format!(
        "{}{}",
        daemon.dpip("addr show")?,
        daemon.dpip("route show")?
    );
    for gone in ["192.0.2.5", "2001:db8::5", "198.51.100"] {
        assert!(!left.contains(gone), "{gone} is left in\n{left}");
    }
    assert!(!daemon.dpip("neigh show")?.contains("02:00:00:00:00:01"));
    Ok(())
}

/// As operators of DPVS are used to write them: times with their unit, ports without
/// an address, one address for a range, hosts in sets of networks.
#[test]
fn queues_classifiers_and_sets_read_like_those_of_dpvs() -> Result<()> {
    let daemon = start()?;
    for line in [
        "link set dpdk0 tc-egress on",
        "qsch add dev dpdk0 root pfifo_fast",
        "qsch add dev dpdk0 handle 1: parent root bfifo limit 100000",
        "qsch add dev dpdk0 handle 2:0 parent 1:0 tbf rate 8m burst 8000 latency 2ms peakrate 9m mtu 2000",
        "cls add dev dpdk0 qsch root handle 0:1 match pattern tcp,oif=dpdk0 target 1:",
        "cls add dev dpdk0 qsch 1: handle 1:1 match pattern tcp,to=:22 target 2:",
        "cls add dev dpdk0 qsch 1: handle 1:2 match pattern tcp,from=10.0.0.7:80 target drop",
        "cls add dev dpdk0 pkttype ipv6 qsch 1: handle 1:3 match pattern tcp,to=[2001:db8::7]:80 target 2:",
        "ipset create hosts hash:net,port",
        "ipset add hosts 10.0.0.0/8,tcp:80",
        "ipset add hosts 10.1.0.0-10.1.0.4,tcp:80 nomatch",
        "ipset create ports hash:ip,port",
        "ipset add ports 10.0.0.1-10.0.0.2",
        "ipset create macs bitmap:ip,mac range 10.0.0.0/24",
        "ipset add macs 10.0.0.1,2:0:0:0:0:1",
    ] {
        daemon.dpip(line)?;
    }
    assert_eq!(
        daemon.dpip("qsch show dev dpdk0 handle 2:")?,
        "qsch tbf 2: dev dpdk0 parent 1: flags 0x0 cls 0 rate 8.00Mbps burst 8000B \
         peakrate 9.00Mbps minburst 2000B limit 2000B\n"
    );
    assert_eq!(
        daemon.dpip("cls show dev dpdk0 qsch 1:")?,
        "cls match 1:1 dev dpdk0 qsch 1: pkttype 0x0800 prio 0 TCP,to=0.0.0.0-0.0.0.0:22-22 target 2:\n\
         cls match 1:2 dev dpdk0 qsch 1: pkttype 0x0800 prio 0 \
         TCP,from=10.0.0.7-10.0.0.7:80-80 target drop\n\
         cls match 1:3 dev dpdk0 qsch 1: pkttype 0x86dd prio 0 \
         TCP,to=[2001:db8::7-2001:db8::7]:80-80 target 2:\n"
    );
    let listed = daemon.dpip("-v ipset list hosts")?;
    let members: Vec<_> = listed.lines().filter(|l| l.contains("tcp:")).collect();
    assert_eq!(
        members,
        [
            "10.1.0.4/32,tcp:80 nomatch  ",
            "10.1.0.0/30,tcp:80 nomatch  ",
            "10.0.0.0/8,tcp:80  "
        ]
    );
    for (entry, answer) in [
        ("hosts 10.1.0.4,tcp:80", "false\n"),
        ("hosts 10.1.0.5,tcp:80", "true\n"),
        ("ports 10.0.0.2", "true\n"),
        ("ports 10.0.0.3,0", "false\n"),
        ("macs 10.0.0.1,02:00:00:00:00:01", "true\n"),
        ("macs 10.0.0.1,0:0:0:0:0:2", "false\n"),
    ] {
        assert_eq!(
            daemon.dpip(&format!("ipset test {entry}"))?,
            answer,
            "{entry}"
        );
    }
    Ok(())
}

#[test]
fn a_reload_keeps_the_services() -> Result<()> {
    let mut daemon = start()?;
    daemon.ipvsadm("-A -t 192.0.2.1:80 -s rr")?;
    daemon.process.signal(Signal::SIGHUP)?;
    std::thread::sleep(Duration::from_millis(300));
    daemon.process.still_running()?;
    assert!(
        daemon.ipvsadm("-Ln")?.contains("192.0.2.1:80"),
        "a reload lost the services"
    );
    Ok(())
}

/// Every form of dpip's listings.
#[test]
fn dpip_shows_everything_in_every_form() -> Result<()> {
    let daemon = start()?;
    // Shortened as people type it.
    for line in [
        "a a 192.0.2.1/24 dev dpdk0",
        "addr add 10.0.0.100/32 dev dpdk1 sapool",
        "r a default via 192.0.2.254 d dpdk0",
        "neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev dpdk0",
    ] {
        assert_eq!(daemon.dpip(line)?, "", "{line}");
    }
    let json = |line: &str| -> Result<serde_json::Value> {
        let text = daemon.dpip(&format!("-j {line}"))?;
        Ok(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{line}: {e}: {text}")))
    };
    let links = json("-s link show")?;
    assert_eq!(links[1]["ifname"], "dpdk1");
    assert_eq!(links[1]["stats"]["ipackets"], 0);
    assert_eq!(json("link show cpu")?[1]["role"], "worker");
    let addresses = json("-s -4 addr show")?;
    assert_eq!(addresses[1]["address"], "10.0.0.100");
    assert!(
        addresses[1]["sa_free"].as_u64() > Some(60_000),
        "{addresses}"
    );
    assert_eq!(json("neigh show")?[0]["lladdr"], "02:00:00:00:00:fe");
    let routes = daemon.dpip("-o route show")?;
    assert!(
        routes.contains("inet 0.0.0.0/0 via 192.0.2.254 "),
        "{routes}"
    );
    for line in daemon.dpip("-o -s -v link show")?.lines() {
        assert!(
            line.contains(": dpdk") && line.contains("\\    addr "),
            "{line}"
        );
    }
    // One worker: replies cannot miss it.
    assert_eq!(json("flow show dev dpdk0")?[0]["way"], "single");
    assert_eq!(json("drop show")?.as_array().map(Vec::len), Some(0));
    let rates = daemon.dpip("-w -c 1 link show")?;
    assert_eq!(rates.lines().count(), 3, "{rates}");
    let busy = json("-w -c 1 link show cpu1")?;
    assert!(busy[0]["loops"].as_f64() > Some(0.0), "{busy}");
    for line in ["qsch show dev dpdk0", "ipset list", "lldp show dev dpdk0"] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let out = tool(daemon.dir.path(), "dpip", &words)?;
        assert!(
            !out.stderr.contains("does not support"),
            "{line}: {}",
            out.stderr
        );
    }
    Ok(())
}

#[test]
fn a_hundred_services_with_fifty_servers_each() -> Result<()> {
    let daemon = start()?;
    let mut script = String::new();
    for service in 1..=100 {
        script.push_str(&format!("-A -t 192.0.2.{service}:80 -s wrr\n"));
        for server in 1..=50 {
            script.push_str(&format!(
                "-a -t 192.0.2.{service}:80 -r 10.0.{service}.{server}:80 -b -w 2\n"
            ));
        }
    }
    let out = tool_with(daemon.dir.path(), "ipvsadm", &["-R"], &script)?;
    assert!(out.ok(), "{}", out.stderr);
    let list = daemon.ipvsadm("-Ln")?;
    assert_eq!(list.lines().filter(|l| l.contains("FullNat")).count(), 5000);
    assert_eq!(daemon.ipvsadm("-S -n")?.lines().count(), 5100);
    Ok(())
}
