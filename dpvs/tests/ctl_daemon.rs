//! The daemon itself on conf/dpvs.null.conf, driven through its socket: it
//! serves soon, keeps serving whatever comes, reloads, and leaves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dpvs_ctl::msg::{Dest, IfAddr, Service, Vlan};
use dpvs_ctl::server::encode_request;
use dpvs_ctl::{Af, Be16, Client, IfAddrView, Ip16, Kind, Name, id};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dpvs");

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/dpvs.null.conf");
    fs::read_to_string(path).unwrap()
}

struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
    client: Client,
}

fn command(dir: &Path, conf: &Path) -> Command {
    let mut c = Command::new(PROGRAM);
    c.arg("-c")
        .arg(conf)
        .arg("-x")
        .arg(dir.join("ipc"))
        .arg("-p")
        .arg(dir.join("pid"));
    // Both lcores on one CPU: machines with a single one run this too.
    c.args([
        "--",
        "--no-huge",
        "--no-shconf",
        "--no-pci",
        "-m",
        "256",
        "--lcores",
        "0@0,1@0",
    ]);
    c.args(["--vdev", "net_null0,no-rx=1", "--vdev", "net_null1,no-rx=1"]);
    c
}

fn start_in(dir: tempfile::TempDir) -> Daemon {
    let conf = dir.path().join("dpvs.conf");
    if !conf.exists() {
        fs::write(&conf, sample()).unwrap();
    }
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let child = command(dir.path(), &conf)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let client = Client::at(dir.path().join("ipc"));
    let mut daemon = Daemon { child, dir, client };
    daemon.until("it serves", |d| d.client.info().is_ok());
    daemon
}

fn start() -> Daemon {
    start_in(tempfile::tempdir().unwrap())
}

impl Daemon {
    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn until(&mut self, what: &str, done: impl Fn(&Daemon) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{what}: it ended with {status}\n{}", self.log());
            }
            assert!(
                Instant::now() < end,
                "{what}: not within 20 s\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it as an administrator would; it must take it well.
    fn stop(mut self, signal: Signal) -> tempfile::TempDir {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
        let left: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            !left
                .iter()
                .any(|n| n.to_string_lossy().starts_with("ipc") || n == "pid"),
            "{left:?}"
        );
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn service(port: u16) -> Service {
    let at: SocketAddr = format!("192.0.2.1:{port}").parse().unwrap();
    Service {
        sched_name: Name::truncated("wrr"),
        ..Service::at(6, at)
    }
}

fn dest(n: u8) -> Dest {
    let mut d = Dest {
        af: Af::INET,
        port: Be16::new(80),
        weight: 1,
        addr: Ip16::from_ip([10, 0, 0, n].into()),
        ..Dest::default()
    };
    d.set_fwd_mode(5);
    d
}

#[test]
fn it_serves_all_its_life_and_leaves_nothing() {
    let daemon = start();
    let c = &daemon.client;
    let pid = fs::read_to_string(daemon.dir.path().join("pid")).unwrap();
    assert_eq!(pid.trim(), daemon.child.id().to_string());
    assert_eq!(c.ports().unwrap().1.len(), 2);
    assert_eq!(c.lcores().unwrap().slave_lcore_mask, 0b10);
    let addr = IfAddr {
        af: Af::INET,
        ifname: Name::truncated("dpdk0"),
        addr: Ip16::from_ip([192, 0, 2, 1].into()),
        plen: 32,
        ..IfAddr::default()
    };
    c.add_ifaddr(&addr).unwrap();
    c.add_service(&service(80)).unwrap();
    for n in 1..=20 {
        c.add_dest(&service(80), &dest(n)).unwrap();
    }
    assert_eq!(c.dests(&service(80), 0).unwrap().len(), 20);
    for n in 1..=20 {
        c.del_dest(&service(80), &dest(n)).unwrap();
    }
    c.del_service(&service(80)).unwrap();
    c.del_ifaddr(&addr).unwrap();
    let before = c.lcore_stats(1).unwrap().lcore_loop;
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        c.lcore_stats(1).unwrap().lcore_loop > before,
        "the worker turns"
    );
    daemon.stop(Signal::SIGTERM);
    start().stop(Signal::SIGINT);
}

#[test]
fn clients_that_misbehave_and_fifty_that_do_not() {
    let daemon = start();
    let path = daemon.client.path().to_owned();
    let stalled: Vec<UnixStream> = (0..20)
        .map(|n| {
            let mut s = UnixStream::connect(&path).unwrap();
            s.write_all(&encode_request(id::SO_SET_ADD, Kind::Set, &[0; 264])[..n])
                .unwrap();
            s
        })
        .collect();
    for n in 0..50u8 {
        let mut s = UnixStream::connect(&path).unwrap();
        let _ = s.write_all(&[n; 500]);
    }
    let threads: Vec<_> = (0..50u16)
        .map(|n| {
            let c = daemon.client.clone();
            std::thread::spawn(move || {
                c.add_service(&service(n + 1)).unwrap();
                c.add_dest(&service(n + 1), &dest(1)).unwrap();
                assert_eq!(c.dests(&service(n + 1), 0).unwrap().len(), 1);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(daemon.client.services(0).unwrap().len(), 50);
    drop(stalled);
    daemon.stop(Signal::SIGTERM);
}

#[test]
fn without_descriptors_it_waits_for_some() {
    let mut daemon = start();
    let pid = daemon.child.id();
    let limit = |files: &str| {
        let mut c = Command::new("prlimit");
        c.args(["--pid", &pid.to_string(), &format!("--nofile={files}")]);
        assert!(c.status().unwrap().success());
    };
    let open = |n: &usize| fs::symlink_metadata(format!("/proc/{pid}/fd/{n}")).is_ok();
    let free = (0..).find(|n| !open(n)).unwrap();
    limit(&format!("{free}:4096"));
    // It is let in when there is a descriptor again.
    let client = daemon.client.clone();
    let asking = std::thread::spawn(move || client.info().is_ok());
    daemon.until("it says why", |d| d.log().contains("Too many open files"));
    std::thread::sleep(Duration::from_millis(300));
    let lines = daemon.log().lines().count();
    assert!(lines < 100, "{lines} lines of log");
    limit("4096:4096");
    assert!(asking.join().unwrap());
    daemon.stop(Signal::SIGTERM);
}

#[test]
fn it_starts_over_a_killed_one_and_not_over_a_living_one() {
    let mut first = start();
    let conf = first.dir.path().join("dpvs.conf");
    let refused = |c: &mut Command| -> Output { c.stdin(Stdio::null()).output().unwrap() };
    let same = refused(&mut command(first.dir.path(), &conf));
    let text = String::from_utf8_lossy(&same.stderr).into_owned();
    assert_eq!(same.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("pid {}", first.child.id())) && !text.contains("EAL"),
        "{text}"
    );
    // Another pid file does not help while the socket is served.
    let other = tempfile::tempdir().unwrap();
    let mut c = Command::new(PROGRAM);
    c.arg("-c")
        .arg(&conf)
        .arg("-x")
        .arg(first.client.path())
        .arg("-p")
        .arg(other.path().join("pid"));
    let socket = refused(&mut c);
    let text = String::from_utf8_lossy(&socket.stderr).into_owned();
    assert!(
        !socket.status.success() && text.contains("another dpvs serves it"),
        "{text}"
    );
    assert!(!other.path().join("pid").exists());
    first.client.info().unwrap();

    first.signal(Signal::SIGKILL);
    first.child.wait().unwrap();
    assert!(first.dir.path().join("ipc").exists() && first.dir.path().join("pid").exists());
    let dir = std::mem::replace(&mut first.dir, tempfile::tempdir().unwrap());
    let second = start_in(dir);
    second.client.add_service(&service(80)).unwrap();
    second.stop(Signal::SIGTERM);
}

#[test]
fn sighup_applies_what_it_can_and_a_broken_file_changes_nothing() {
    let mut daemon = start();
    let conf = daemon.dir.path().join("dpvs.conf");
    let written = sample()
        .replace("log_level       INFO", "log_level       DEBUG")
        .replace("pktpool_size    8191", "pktpool_size    16383")
        + "ipv6_defs {\n    addr_gen_mode none\n}\ninclude /no-such-folder/*.conf\n";
    assert_ne!(written, sample());
    fs::write(&conf, written).unwrap();
    let vlan = |id| Vlan {
        real_dev: Name::truncated("dpdk0"),
        vlan_proto: 0x8100,
        vlan_id: id,
        ..Vlan::default()
    };
    let addrs = |d: &Daemon, vlan: &str| {
        let all = d
            .client
            .ifaddrs(&IfAddr::default(), IfAddrView::default())
            .unwrap();
        all.iter().filter(|a| a.entry.ifname.text() == vlan).count()
    };
    daemon.client.add_vlan(&vlan(5)).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.until("reload", |d| d.log().contains("reload: done"));
    let log = daemon.log();
    // Devices made from now on have no link-local address.
    daemon.client.add_vlan(&vlan(6)).unwrap();
    assert_eq!(
        (addrs(&daemon, "dpdk0.5"), addrs(&daemon, "dpdk0.6")),
        (1, 0)
    );
    assert!(log.contains("no-such-folder"), "{log}");
    assert!(
        log.contains("global_defs/log_level is now `DEBUG`, was `INFO`"),
        "{log}"
    );
    assert!(
        log.contains("netif_defs/pktpool_size changed; that needs a restart"),
        "{log}"
    );
    fs::write(&conf, "global_defs {\n  log_levl ERR\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.until("refusal", |d| {
        d.log().contains("the running configuration stays")
    });
    assert!(
        daemon
            .log()
            .contains("dpvs.conf:2:3: unknown keyword `log_levl`")
    );
    daemon.client.add_service(&service(80)).unwrap();
    let dir = daemon.stop(Signal::SIGTERM);
    // NICs that went on would write to memory that is no longer ours.
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    for device in ["dpdk0", "dpdk1"] {
        assert!(log.contains(&format!("device {device}: stopped")), "{log}");
    }
}

#[test]
fn mistakes_are_refused_before_dpdk_starts() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("dpvs.conf");
    let run = |args: &[&str]| -> (Option<i32>, String) {
        let out = Command::new(PROGRAM)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned()
            + &String::from_utf8_lossy(&out.stdout);
        (out.status.code(), text)
    };
    let file = |text: &str| -> String {
        fs::write(&conf, text).unwrap();
        conf.to_str().unwrap().to_owned()
    };
    let broken =
        file("netif_defs {\n  device dpdk0 {\n    rx {\n      queue_numer 2\n    }\n  }\n}\n");
    let (status, text) = run(&["-c", &broken, "--", "--no-huge"]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("dpvs.conf:4:7")
            && text.contains("did you mean `queue_number`?")
            && !text.contains("EAL"),
        "{text}"
    );
    let idle = file("global_defs {\n}\n");
    let (status, text) = run(&["-t", "-c", &idle]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("no worker of type slave") && text.contains("(-7)"),
        "{text}"
    );
    let good = file(&sample());
    assert_eq!(
        run(&["-t", "-c", &good]),
        (Some(0), format!("{good}: ok\n"))
    );
    assert_eq!(run(&["--nonsense"]).0, Some(1));
    assert_eq!(run(&["-c", "/nowhere/dpvs.conf"]).0, Some(1));
    let (status, text) = run(&["--version"]);
    assert!(
        status == Some(0) && text.starts_with("dpvs version: "),
        "{text}"
    );
    assert!(run(&["-h"]).1.contains("--ipc-file FILE"));
}

#[test]
fn ports_and_lcores_that_do_not_fit_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("dpvs.conf");
    fs::write(&conf, sample()).unwrap();
    let (ipc, pid) = (dir.path().join("ipc"), dir.path().join("pid"));
    let run = |eal: &[&str]| -> String {
        let out = Command::new(PROGRAM)
            .arg("-c")
            .arg(&conf)
            .arg("-x")
            .arg(&ipc)
            .arg("-p")
            .arg(&pid)
            .args(["--", "--no-huge", "--no-shconf", "--no-pci", "-m", "256"])
            .args(eal)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1));
        assert!(!pid.exists() && !ipc.exists());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let one_port = run(&["--lcores", "0@0,1@0", "--vdev", "net_null0,no-rx=1"]);
    assert!(
        one_port.contains("DPDK has 1 port (net_null0), netif_defs has 2 device blocks"),
        "{one_port}"
    );
    // So does a table that no machine of today has the memory for.
    let large = sample().replace("conn_pool_size  65536", "conn_pool_size  1073741824");
    assert_ne!(large, sample());
    fs::write(&conf, large).unwrap();
    let mut small = Command::new("sh");
    small.args(["-c", "ulimit -v 8000000; exec \"$0\" \"$@\"", PROGRAM]);
    let out = small
        .args(command(dir.path(), &conf).get_args())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(!pid.exists() && !ipc.exists());
    let no_memory = String::from_utf8_lossy(&out.stderr);
    assert!(
        no_memory.contains("conn_pool_size 1073741823: the connection tables take"),
        "{no_memory}"
    );
    fs::write(&conf, sample()).unwrap();
    let one_lcore = run(&[
        "--lcores",
        "0@0",
        "--vdev",
        "net_null0,no-rx=1",
        "--vdev",
        "net_null1,no-rx=1",
    ]);
    assert!(
        one_lcore.contains("cpu_id 1, which EAL has not enabled (enabled: 0)"),
        "{one_lcore}"
    );
    let main = run(&[
        "--lcores",
        "1@0",
        "--vdev",
        "net_null0,no-rx=1",
        "--vdev",
        "net_null1,no-rx=1",
    ]);
    assert!(main.contains("which is EAL's main lcore"), "{main}");
    let odd = run(&["--no-such-option"]);
    assert!(odd.contains("EAL"), "{odd}");
}
