//! keepalived as a VRRP router in network namespaces: against Debian's
//! keepalived as its peer, and putting its addresses onto a stand-in for dpvs.
//!
//! Needs root; without it the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::Lab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PEER: &str = "/usr/sbin/keepalived";

fn skip(need_peer: bool) -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return true;
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let probe = format!("kvrrp-{}-probe{n}", std::process::id());
    let netns = |verb| Command::new("ip").args(["netns", verb, &probe]).status();
    if !netns("add").is_ok_and(|s| s.success()) {
        eprintln!("skipped: 'ip netns add' does not work here");
        return true;
    }
    let _ = netns("del");
    if need_peer && !Path::new(PEER).exists() {
        eprintln!("skipped: {PEER} is not installed (apt-get install keepalived)");
        return true;
    }
    false
}

fn ip(args: &str) -> String {
    let out = Command::new("ip")
        .args(args.split_whitespace())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Two namespaces joined by a wire; dropped, they are gone.
struct Wire {
    ns: [String; 2],
    dir: tempfile::TempDir,
}

impl Wire {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let ns = ["a", "b"].map(|s| format!("kvrrp-{}-{n}{s}", std::process::id()));
        for n in &ns {
            ip(&format!("netns add {n}"));
        }
        let w = Self {
            ns,
            dir: tempfile::tempdir().unwrap(),
        };
        w.cable();
        w
    }

    fn cable(&self) {
        let [a, b] = &self.ns;
        ip(&format!(
            "-n {a} link add eth0 type veth peer name eth0 netns {b}"
        ));
        for (n, last) in self.ns.iter().zip(1..) {
            ip(&format!("-n {n} link set lo up"));
            ip(&format!("-n {n} link set eth0 up"));
            ip(&format!("-n {n} addr add 192.168.200.{last}/24 dev eth0"));
        }
    }

    fn has_vip(&self, side: usize) -> bool {
        ip(&format!("-n {} addr show dev eth0", self.ns[side])).contains("192.168.200.100/24")
    }

    /// Waits until exactly `side` has the VIP.
    fn owner_is(&self, side: usize, limit: f64, what: &str) -> f64 {
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < limit {
            if self.has_vip(side) && !self.has_vip(1 - side) {
                return start.elapsed().as_secs_f64();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = |n: &str| std::fs::read_to_string(self.dir.path().join(n)).unwrap_or_default();
        panic!(
            "{what}\nours:\n{}\ntheirs:\n{}",
            log("ours.log"),
            log("theirs.log")
        );
    }

    fn run(&self, side: usize, ours: bool, priority: u8, extra: &str) -> Daemon {
        let extra = extra.replace("@ME@", &format!("192.168.200.{}", side + 1));
        let extra = extra.replace("@PEER@", &format!("192.168.200.{}", 2 - side));
        let text = format!(
            "global_defs {{\n vrrp_garp_master_delay 1\n}}\nvrrp_instance V {{\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority {priority}\n advert_int 1\n{extra}\n virtual_ipaddress {{\n  192.168.200.100/24\n }}\n}}\n"
        );
        let name = if ours { "ours" } else { "theirs" };
        self.run_text(side, name, &text)
    }

    /// `name` is that of its files; "theirs" runs Debian's program.
    fn run_text(&self, side: usize, name: &str, text: &str) -> Daemon {
        let file = |suffix: &str| self.dir.path().join(format!("{name}.{suffix}"));
        std::fs::write(file("conf"), text).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file("log"))
            .unwrap();
        let program = if name == "theirs" {
            PEER
        } else {
            env!("CARGO_BIN_EXE_keepalived")
        };
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.ns[side],
                program,
                "-n",
                "-l",
                "-D",
                "-G",
                "-P",
                "-f",
            ])
            .arg(file("conf"))
            .arg("-p")
            .arg(file("pid"))
            .arg("-r")
            .arg(file("vrrp.pid"))
            .env("DPVS_IPC_FILE", file("no-dpvs"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon(child)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for n in &self.ns {
            let _ = Command::new("ip").args(["netns", "del", n]).status();
        }
    }
}

/// `ip netns exec` becomes the program, so the child is the program.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, s: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), s).unwrap();
    }

    fn term(mut self) {
        self.signal(Signal::SIGTERM);
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.signal(Signal::SIGTERM);
            self.0.wait().unwrap();
        }
    }
}

/// A pair elects, hands over cleanly, preempts, and survives a crash.
fn with_peer(extra: &str) {
    if skip(true) {
        return;
    }
    let w = Wire::new();
    let theirs = w.run(1, false, 100, extra);
    let ours = w.run(0, true, 150, extra);
    w.owner_is(0, 12.0, "the higher priority did not become MASTER");
    // Both keep that view for some adverts.
    std::thread::sleep(Duration::from_secs(2));
    assert!(w.has_vip(0) && !w.has_vip(1), "two masters");
    ours.term();
    let took = w.owner_is(1, 3.0, "the peer did not take over after priority 0");
    assert!(took < 2.0, "only the skew was to be waited for: {took}");
    let ours = w.run(0, true, 150, extra);
    w.owner_is(0, 12.0, "no preemption");
    ours.signal(Signal::SIGKILL);
    drop(ours);
    theirs.term();
    ip(&format!(
        "-n {} addr del 192.168.200.100/24 dev eth0",
        w.ns[0]
    ));

    // The other way round: the peer is better.
    let theirs = w.run(1, false, 200, extra);
    w.owner_is(1, 12.0, "the peer did not become MASTER");
    let _ours = w.run(0, true, 150, extra);
    std::thread::sleep(Duration::from_secs(5));
    assert!(!w.has_vip(0) && w.has_vip(1), "a backup must stay one");
    theirs.term();
    let took = w.owner_is(0, 3.0, "no take-over after the peer's priority 0");
    assert!(took < 2.0, "{took}");
}

#[test]
fn version_2_multicast() {
    with_peer("");
}

#[test]
fn version_2_password() {
    with_peer(" authentication {\n  auth_type PASS\n  auth_pass s3cret\n }");
}

#[test]
fn version_3_multicast() {
    with_peer(" version 3");
}

#[test]
fn version_2_unicast() {
    with_peer(" unicast_src_ip @ME@\n unicast_peer {\n  @PEER@\n }");
}

/// Many routers on one wire: no election is disturbed by the work the others
/// make, and all of them move at once.
#[test]
fn a_hundred_instances_move_together() {
    if skip(false) {
        return;
    }
    let w = Wire::new();
    let text = |priority: u8| -> String {
        (1..=100)
            .map(|n| {
                format!(
                    "vrrp_instance V{n} {{\n interface eth0\n virtual_router_id {n}\n priority {priority}\n garp_master_repeat 1\n virtual_ipaddress {{\n  10.9.1.{n}/32\n }}\n}}\n"
                )
            })
            .collect()
    };
    let count = |side: usize| {
        ip(&format!("-n {} addr show dev eth0", w.ns[side]))
            .matches("10.9.1.")
            .count()
    };
    let all_at = |side: usize, limit: u64| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(limit) {
            if count(side) == 100 && count(1 - side) == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("side 0 has {}, side 1 has {}", count(0), count(1));
    };
    let better = w.run_text(0, "better", &text(150));
    let _worse = w.run_text(1, "worse", &text(100));
    all_at(0, 12);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!((count(0), count(1)), (100, 0), "a false take-over");
    }
    better.term();
    all_at(1, 3);
}

/// Addresses go onto the DPDK port; a restart of dpvs, which takes the twin
/// with it, is survived.
#[test]
fn addresses_on_the_dpdk_port() {
    if skip(false) {
        return;
    }
    let w = Wire::new();
    let mut lab = Lab::new();
    lab.start_dpvs();
    lab.configure(
        "vrrp_instance V {\n state MASTER\n interface eth0\n dpdk_interface dpdk0\n virtual_router_id 7\n priority 120\n advert_int 1\n garp_master_delay 1\n garp_master_repeat 2\n virtual_ipaddress {\n  192.0.2.10/32\n }\n virtual_ipaddress_excluded {\n  2001:db8:1::10/128\n }\n}\n",
    );
    let log: PathBuf = lab.dir.path().join("log");
    let inner = lab.command();
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &w.ns[0]])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (k, v) in inner.get_envs() {
        c.env(k, v.unwrap());
    }
    c.args(["-n", "-l", "-D"])
        .stderr(std::fs::File::create(&log).unwrap());
    lab.keepalived = Some(c.spawn().unwrap());
    lab.wait_for("garp");
    std::thread::sleep(Duration::from_millis(1500));
    let add = [
        "add addr 192.0.2.10/32 dpdk0",
        "add addr 2001:db8:1::10/128 dpdk0",
    ];
    let garp = "garp 192.0.2.10";
    let got = lab.take();
    assert_eq!(
        got,
        [
            "info",
            // What an earlier run may have left.
            "del addr 192.0.2.10/32 dpdk0",
            "del addr 2001:db8:1::10/128 dpdk0",
            add[0],
            add[1],
            garp,
            garp,
            garp,
            garp,
        ]
    );

    // dpvs dies and its interface with it; both come back.
    lab.kill_dpvs();
    ip(&format!("-n {} link del eth0", w.ns[0]));
    std::thread::sleep(Duration::from_millis(1500));
    lab.start_dpvs();
    w.cable();
    let took = lab.wait_for(add[1]);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(lab.stop(), 0);
    let got = lab.take();
    let tail: Vec<_> = got.iter().rev().take(2).rev().map(String::as_str).collect();
    assert_eq!(
        tail,
        [
            "del addr 192.0.2.10/32 dpdk0",
            "del addr 2001:db8:1::10/128 dpdk0"
        ]
    );
}
