//! Two workers, each with a queue of each port. Where the kernel's fan-out sends
//! a reply to either, the one that does not own the connection hands it over;
//! where a driver says how it hashes, local ports are matched to that; where it
//! takes flow rules and then does not, the address does without.

use compat_tests::lab::programs::two_workers;
use compat_tests::lab::{Lab, START, Slot, addr, end, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::run::{LIMIT, Output, run_with};
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::udp::{EchoServer, ask};
use compat_tests::{Context, Result, bins, wait};
use std::process::Command;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

fn start_dpvs(lab: &Lab) -> Result<Process> {
    let conf = lab.file("dpvs.conf");
    std::fs::write(&conf, two_workers()?).what(|| conf.display().to_string())?;
    let set = sched_getaffinity(Pid::from_raw(0)).what(|| "processors")?;
    let cpus: Vec<String> = (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .map(|cpu| cpu.to_string())
        .collect();
    let all = format!("({})", cpus.join(","));
    let mut command = lab.director.command(bins::path("dpvs")?);
    command.current_dir(&lab.dir).arg("-c").arg(conf);
    command.arg("-p").arg(lab.file("dpvs.pid"));
    command.arg("-x").arg(lab.file("dpvs.ipc"));
    command.args(["--", "--no-huge", "-m", "512", "--no-pci", "--no-shconf"]);
    command.args(["--file-prefix", lab.name()]);
    command.args(["--lcores", &format!("0@{all},1@{all},2@{all}")]);
    for vdev in [
        "net_af_packet0,iface=vout,qpairs=2",
        "net_af_packet1,iface=vin,qpairs=2",
    ] {
        command.args(["--vdev", vdev]);
    }
    let mut process = Process::start("dpvs", &command, &lab.file("dpvs.out"), Lifetime::Bound)?;
    wait::until_true("dpvs with two workers to answer dpip", START, || {
        process.still_running()?;
        Ok(lab.dpip(&["link", "show"])?.ok())
    })?;
    Ok(process)
}

#[test]
fn two_workers_share_the_connections() -> Result<()> {
    if !root_or_skip("two_workers_share_the_connections")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let name = format!("t{}-workers", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Bound)?;
    lab.with_logs(|lab| {
        for i in 0..2 {
            lab.start_nginx(i)?;
        }
        lab.dpvs = Some(start_dpvs(lab)?);
        lab.addresses()?;
        lab.start_keepalived()?;
        lab.wait_programmed(START)?;
        lab.wait_served(START)?;
        for vip in [addr::VIP4, addr::VIP6] {
            let tally = lab.requests(&url(vip, "/"), 60)?;
            assert_eq!(tally.failures, Vec::<String>::new());
            assert!(tally.by_server.iter().all(|&n| n > 0), "{tally:?}");
        }
        // Sixty times two coins: each worker has connections, and among these
        // are some whose replies the other worker received.
        let ways = lab.dpip(&["flow", "show"])?.success()?;
        assert_eq!(ways.matches("hand-over").count(), 2, "{ways}");
        let list = lab.ipvsadm(&["-Lnc"])?.success()?;
        for worker in ["[1]", "[2]"] {
            assert!(list.contains(worker), "no connection of {worker}:\n{list}");
        }
        lab.still_running()
    })
}

/// With NAT a server answers the client's own address, which no flow rule and no
/// port tells a worker by.
#[test]
fn nat_connections_of_two_workers_get_their_answers() -> Result<()> {
    if !root_or_skip("nat_connections_of_two_workers")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let name = format!("t{}-natworkers", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Bound)?;
    lab.with_logs(|lab| {
        lab.start_nginx(0)?;
        lab.dpvs = Some(start_dpvs(lab)?);
        lab.addresses()?;
        for (flag, vip, rs, inside) in [
            ("-4", "192.0.2.10/32", "10.0.1.11:80", addr::INSIDE4),
            (
                "-6",
                "2001:db8:1::10/128",
                "[2001:db8:2::11]:80",
                addr::INSIDE6,
            ),
        ] {
            lab.servers[0].ip(&[flag, "route", "add", "default", "via", inside])?;
            lab.dpip(&[flag, "addr", "add", vip, "dev", "dpdk0"])?
                .success()?;
            let (host, _) = vip.split_once('/').unwrap_or((vip, ""));
            let at = end(host, 80);
            lab.ipvsadm(&["-A", "-t", &at, "-s", "rr"])?.success()?;
            lab.ipvsadm(&["-a", "-t", &at, "-r", rs, "-m"])?.success()?;
            wait::until_true(&format!("an answer through {host}"), START, || {
                Ok(lab.get(&url(host, "/")).is_ok())
            })?;
            let tally = lab.requests(&url(host, "/"), 40)?;
            assert_eq!((tally.by_server[0], &tally.failures[..]), (40, &[][..]));
            assert_eq!(lab.get(&url(host, "/big"))?.len(), 1 << 20);
        }
        let list = lab.ipvsadm(&["-Lnc"])?.success()?;
        for worker in ["[1]", "[2]"] {
            assert!(list.contains(worker), "no connection of {worker}:\n{list}");
        }
        lab.still_running()
    })
}

/// Replies to a source NAT's address name a port, or an identifier, which says whose
/// they are; a router inside names a packet of the world.
#[test]
fn source_nat_of_two_workers_gets_its_answers() -> Result<()> {
    if !root_or_skip("source_nat_of_two_workers")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let name = format!("t{}-snatworkers", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Bound)?;
    lab.with_logs(|lab| {
        lab.dpvs = Some(start_dpvs(lab)?);
        lab.addresses()?;
        let _web = lab.web(&lab.client, "world")?;
        for (af, flag, wan, inside, world) in [
            ("ipv4", "-4", "192.0.2.20/32", addr::INSIDE4, addr::CLIENT4),
            (
                "ipv6",
                "-6",
                "2001:db8:1::20/128",
                addr::INSIDE6,
                addr::CLIENT6,
            ),
        ] {
            let add = [flag, "addr", "add", wan, "dev", "dpdk0", "sapool"];
            lab.dpip(&add)?.success()?;
            let (wan, _) = wan.split_once('/').unwrap_or((wan, ""));
            let icmp = if af == "ipv4" { "icmp" } else { "icmpv6" };
            for proto in ["tcp", "udp", icmp] {
                let what = format!("proto={proto},af={af},iif=dpdk1");
                lab.ipvsadm(&["-A", "-H", &what, "-s", "rr"])?.success()?;
                lab.ipvsadm(&["-a", "-H", &what, "-r", &end(wan, 0), "-J"])?
                    .success()?;
            }
            for ns in &lab.servers {
                ns.ip(&[flag, "route", "add", "default", "via", inside])?;
                let page = url(world, "/");
                let args = ["-sS", "-f", "-m", "3", "--noproxy", "*", &page];
                wait::until_true(&format!("an answer of {world}"), START, || {
                    Ok(ns.run("curl", &args)?.ok())
                })?;
                for _ in 0..20 {
                    ns.must("curl", &args)?;
                }
                let wrk = ["-t", "1", "-c", "16", "-d", "1", &page];
                let wrk = ns.must("wrk", &wrk)?;
                assert!(!wrk.contains("Socket errors"), "{wrk}");
                for id in 1..5 {
                    let id = id.to_string();
                    ns.must("ping", &["-n", "-e", &id, "-c", "1", "-W", "2", world])?;
                }
            }
            let at = end(world, 5300).parse().what(|| world.to_owned())?;
            let _echo = EchoServer::start(&lab.client, "world", &[at])?;
            for _ in 0..20 {
                let answer = ask(&lab.servers[0], at, b"question", LIMIT)?;
                assert_eq!(answer.as_deref(), Some(&b"world:question"[..]));
            }
        }
        let list = lab.ipvsadm(&["-Lnc"])?.success()?;
        for worker in ["[1]", "[2]"] {
            assert!(list.contains(worker), "no connection of {worker}:\n{list}");
        }
        lab.still_running()
    })
}

/// The director with two workers and no other end, on these ports.
struct Bare {
    dir: tempfile::TempDir,
    process: Process,
}

impl Bare {
    /// Started through `prefix` (nothing, or a command that runs another).
    fn start(prefix: &[&str], vdevs: [&str; 2]) -> Result<Self> {
        let dir = tempfile::tempdir().what(|| "a temporary folder")?;
        let conf = dir.path().join("dpvs.conf");
        let text = two_workers()?
            .replace("log_level   INFO", "log_level   INFO\n    kni off")
            .replace("flow_enable      off", "flow_enable on");
        std::fs::write(&conf, text).what(|| conf.display().to_string())?;
        let program = bins::path("dpvs")?;
        let mut command = match prefix {
            [] => Command::new(&program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        command.arg("-c").arg(conf);
        command.arg("-p").arg(dir.path().join("pid"));
        command.arg("-x").arg(dir.path().join("ipc"));
        command.args(["--", "--no-huge", "-m", "256", "--no-pci", "--no-shconf"]);
        command.args(["--lcores", "0@0,1@0,2@0"]);
        for vdev in vdevs {
            command.args(["--vdev", vdev]);
        }
        let log = dir.path().join("log");
        let process = Process::start("dpvs", &command, &log, Lifetime::Bound)?;
        let mut bare = Self { dir, process };
        wait::until_true("dpvs with two workers to answer dpip", START, || {
            bare.process.still_running()?;
            Ok(bare.tool("dpip", &["link", "show"])?.ok())
        })?;
        Ok(bare)
    }

    fn tool(&self, name: &str, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(bins::path(name)?);
        command
            .args(args)
            .env("DPVS_IPC_FILE", self.dir.path().join("ipc"));
        run_with(&mut command, b"", LIMIT)
    }

    fn log(&self) -> Result<String> {
        let path = self.dir.path().join("log");
        std::fs::read_to_string(&path).what(|| path.display().to_string())
    }
}

/// What the drivers say is asked for and shown, and local addresses follow it.
#[test]
fn local_ports_follow_a_known_hash() -> Result<()> {
    let bare = Bare::start(&[], ["net_null0,no-rx=1", "net_null1,no-rx=1"])?;
    let ways = bare
        .tool("dpip", &["flow", "show", "dev", "dpdk1"])?
        .success()?;
    assert!(
        ways.contains("way rss") && !ways.contains("dpdk0"),
        "{ways}"
    );
    let log = bare.log()?;
    assert!(
        log.contains("device dpdk1: replies find their worker by rss"),
        "{log}"
    );
    for line in [
        "-A -t 192.0.2.10:80",
        "-P -t 192.0.2.10:80 -z 10.0.1.200 -F dpdk1",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        bare.tool("ipvsadm", &args)?.success()?;
    }
    let list = bare.tool("ipvsadm", &["-G"])?.success()?;
    assert!(list.contains("10.0.1.200"), "{list}");
    Ok(())
}

/// net_tap takes every rule to look at, and leaves the making to the kernel,
/// which may have no classifier for it: then there is a line in the log, once.
#[test]
fn an_address_whose_rules_are_refused_does_without() -> Result<()> {
    if !root_or_skip("an_address_whose_rules_are_refused_does_without")? {
        return Ok(());
    }
    let name = format!("wt{}", std::process::id() % 100_000);
    let vdevs = [0, 1].map(|n| format!("net_tap{n},iface={name}{n}"));
    let bare = Bare::start(&["unshare", "--net"], [&vdevs[0], &vdevs[1]])?;
    let show = || {
        bare.tool("dpip", &["flow", "show", "dev", "dpdk1"])?
            .success()
    };
    let ways = show()?;
    let asked = ways.contains("flow-rules");
    for addr in ["10.0.1.200", "10.0.1.201"] {
        let words = [
            "addr",
            "add",
            &format!("{addr}/32"),
            "sapool",
            "dev",
            "dpdk1",
        ];
        bare.tool("dpip", &words)?.success()?;
        // Any other change of addresses asks for no rule again.
        let words = ["addr", "add", "10.0.3.1/24", "dev", "dpdk0"];
        let _ = bare.tool("dpip", &words)?;
    }
    let (ways, log) = (show()?, bare.log()?);
    let refused = log.matches("not by flow rules").count();
    let made = ways.contains("rules 8");
    let right = match (asked, made) {
        (true, false) => refused == 2,
        _ => refused == 0,
    };
    assert!(right && (asked || !made), "{ways}\n{log}");
    Ok(())
}
