//! keepalived against a stand-in for dpvs: which requests it sends, in which
//! order, over a whole life.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Lab;
use nix::sys::signal::Signal;

/// A web server on loopback that can be told to fail.
struct Web {
    addr: SocketAddr,
    healthy: Arc<AtomicBool>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let healthy = Arc::new(AtomicBool::new(true));
        let h = Arc::clone(&healthy);
        std::thread::spawn(move || {
            for c in listener.incoming() {
                let mut c = c.unwrap();
                let mut buf = [0; 1024];
                let _ = c.read(&mut buf);
                let answer: &[u8] = if h.load(Ordering::Relaxed) {
                    b"HTTP/1.0 200 OK\r\n\r\nfine"
                } else {
                    b"HTTP/1.0 503 No\r\n\r\n"
                };
                let _ = c.write_all(answer);
            }
        });
        Self { addr, healthy }
    }

    fn set(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }
}

fn server(web: &Web, extra: &str) -> String {
    format!(
        "  real_server 127.0.0.1 {} {{\n    weight 3\n    {extra}\n    HTTP_GET {{\n      url {{\n        path /\n        status_code 200\n      }}\n      connect_timeout 1\n      retry 1\n      delay_before_retry 0.1\n      warmup 0\n    }}\n  }}\n",
        web.addr.port()
    )
}

fn config(servers: &str, sched: &str, laddrs: &str) -> String {
    format!(
        "local_address_group lg {{\n{laddrs}\n}}\ndeny_address_group bad {{\n 192.0.2.66\n ipset:bogons\n}}\nallow_address_group good {{\n 198.51.100.7\n}}\nvirtual_server 192.0.2.10 80 {{\n  delay_loop 0.3\n  lb_algo {sched}\n  lb_kind FNAT\n  protocol TCP\n  syn_proxy\n  establish_timeout 900\n  laddr_group_name lg\n  daddr_group_name bad\n  waddr_group_name good\n  sorry_server 127.0.0.1 9\n{servers}}}\n"
    )
}

fn start_sequence(a: &Web, b: &Web) -> Vec<String> {
    let s = "6 192.0.2.10 80";
    let mut want: Vec<String> = vec![
        "info".into(),
        format!("add service {s} wrr flags0x8 est900 pers0"),
    ];
    for l in ["10.0.1.200", "10.0.1.201"] {
        want.push(format!("add addr {l}/32 dpdk1 sapool"));
        want.push(format!("add laddr {l} dpdk1 of {s}"));
    }
    want.push("deny 192.0.2.66 ".into());
    want.push("deny 0.0.0.0 bogons".into());
    want.push("allow 198.51.100.7 ".into());
    for w in [a, b] {
        want.push(format!(
            "add server 127.0.0.1 {} w3 mode5 of {s}",
            w.addr.port()
        ));
    }
    want
}

#[test]
fn a_whole_life() {
    let (a, b) = (Web::start(), Web::start());
    let (pa, pb) = (a.addr.port(), b.addr.port());
    let s = "6 192.0.2.10 80";
    let both = server(&a, "") + &server(&b, "inhibit_on_failure");
    let mut lab = Lab::new();
    lab.start_dpvs();
    lab.start(&config(&both, "wrr", " 10.0.1.200-201 dpdk1"));
    lab.wait_for(&format!("add server 127.0.0.1 {pb}"));
    assert_eq!(lab.take(), start_sequence(&a, &b));

    // A server fails: out after the retry; the one with inhibit keeps its place.
    b.set(false);
    lab.wait_for("edit server");
    assert_eq!(
        lab.take(),
        [format!("edit server 127.0.0.1 {pb} w0 mode5 of {s}")]
    );
    a.set(false);
    lab.wait_for("add server 127.0.0.1 9 ");
    assert_eq!(
        lab.take(),
        [
            format!("del server 127.0.0.1 {pa} w3 mode5 of {s}"),
            format!("add server 127.0.0.1 9 w1 mode5 of {s}"),
        ]
    );
    // Back: in again first, the sorry server out after it.
    a.set(true);
    lab.wait_for("del server 127.0.0.1 9 ");
    assert_eq!(
        lab.take(),
        [
            format!("add server 127.0.0.1 {pa} w3 mode5 of {s}"),
            format!("del server 127.0.0.1 9 w1 mode5 of {s}"),
        ]
    );
    b.set(true);
    lab.wait_for("edit server");
    lab.take();

    // A dump, for its owner only.
    lab.signal(Signal::SIGUSR1);
    let dump = lab.dir.path().join("keepalived_check.data");
    while !dump.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&dump.metadata().unwrap()) & 0o777,
        0o600
    );

    // Reload: only what changed.
    lab.configure(&config(
        &both.replacen("weight 3", "weight 7", 1),
        "wlc",
        " 10.0.1.201-202 dpdk1",
    ));
    lab.signal(Signal::SIGHUP);
    lab.wait_for("w7");
    assert_eq!(
        lab.take(),
        [
            "info".to_owned(),
            "get service".to_owned(),
            format!("edit service {s} wlc"),
            "del addr 10.0.1.200/32 dpdk1 sapool".to_owned(),
            format!("del laddr 10.0.1.200 dpdk1 of {s}"),
            "add addr 10.0.1.202/32 dpdk1 sapool".to_owned(),
            format!("add laddr 10.0.1.202 dpdk1 of {s}"),
            format!("edit server 127.0.0.1 {pa} w7 mode5 of {s}"),
        ]
    );

    // The end: everything is taken back.
    assert_eq!(lab.stop(), 0);
    assert_eq!(
        lab.take(),
        [
            "del addr 10.0.1.201/32 dpdk1 sapool".to_owned(),
            format!("del laddr 10.0.1.201 dpdk1 of {s}"),
            "del addr 10.0.1.202/32 dpdk1 sapool".to_owned(),
            format!("del laddr 10.0.1.202 dpdk1 of {s}"),
            format!("del server 127.0.0.1 {pa} w7 mode5 of {s}"),
            format!("del server 127.0.0.1 {pb} w3 mode5 of {s}"),
            format!("del service {s}"),
        ]
    );
    assert!(!lab.dir.path().join("k.pid").exists());
}

#[test]
fn dpvs_comes_late_and_is_restarted() {
    let (a, b) = (Web::start(), Web::start());
    let pa = a.addr.port();
    let mut lab = Lab::new();
    lab.start(&config(
        &(server(&a, "") + &server(&b, "")),
        "wrr",
        " 10.0.1.200-201 dpdk1",
    ));
    std::thread::sleep(Duration::from_millis(700));
    lab.start_dpvs();
    let took = lab.wait_for(&format!("add server 127.0.0.1 {}", b.addr.port()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(lab.take(), start_sequence(&a, &b));

    // While dpvs is dead, a server dies as well: it is not programmed again.
    lab.kill_dpvs();
    a.set(false);
    std::thread::sleep(Duration::from_millis(1500));
    lab.start_dpvs();
    let took = lab.wait_for(&format!("add server 127.0.0.1 {}", b.addr.port()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let got = lab.take();
    let mut want = start_sequence(&a, &b);
    want.retain(|l| !l.contains(&format!("127.0.0.1 {pa} ")));
    let got_without_stale: Vec<_> = got
        .iter()
        .filter(|l| !l.starts_with(&format!("del server 127.0.0.1 {pa} ")))
        .cloned()
        .collect();
    assert_eq!(got_without_stale, want);

    // A restart so quick that no request falls into it.
    lab.start_dpvs();
    let took = lab.wait_for(&format!("add server 127.0.0.1 {}", b.addr.port()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(lab.stop(), 0);
}

#[test]
fn minus_i_leaves_everything() {
    let a = Web::start();
    let mut lab = Lab::new();
    lab.start_dpvs();
    lab.configure(&config(&server(&a, ""), "rr", " 10.0.1.200 dpdk1"));
    let mut child = lab.command().args(["-n", "-I"]).spawn().unwrap();
    lab.wait_for("add server");
    lab.take();
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(lab.take(), Vec::<String>::new());
}

#[test]
fn daemonises_and_reloads_a_bad_file_without_harm() {
    let a = Web::start();
    let mut lab = Lab::new();
    lab.start_dpvs();
    lab.configure(&config(&server(&a, ""), "rr", " 10.0.1.200 dpdk1"));
    assert!(lab.command().status().unwrap().success());
    let pid: i32 = std::fs::read_to_string(lab.dir.path().join("k.pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    lab.wait_for("add server");
    lab.take();
    // A second one sees the first.
    assert!(lab.command().arg("-n").status().unwrap().success());
    lab.configure("virtual_server\n");
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, Signal::SIGHUP).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.take(), Vec::<String>::new());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    lab.wait_for("del service");
}

/// A control socket that answers with rubbish, or not at all.
fn bad_dpvs(path: std::path::PathBuf, answer: Option<&'static [u8]>) {
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for c in listener.incoming() {
            let mut c = c.unwrap();
            match answer {
                Some(bytes) => {
                    let mut buf = [0; 256];
                    let _ = c.read(&mut buf);
                    let _ = c.write_all(bytes);
                }
                None => held.push(c),
            }
        }
    });
}

#[test]
fn a_bad_dataplane_is_survived() {
    let a = Web::start();
    for answer in [
        None,
        Some(&b"garbage"[..]),
        Some(&[0xff; 500]),
        Some(&[0; 88]),
    ] {
        let mut lab = Lab::new();
        let socket = lab.dir.path().join("dpvs.ipc");
        bad_dpvs(socket, answer);
        lab.start(&config(&server(&a, ""), "rr", " 10.0.1.200 dpdk1"));
        std::thread::sleep(Duration::from_millis(500));
        for s in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP] {
            lab.signal(s);
        }
        if answer.is_some() {
            lab.start_dpvs();
            lab.wait_for("add server");
        }
        let start = std::time::Instant::now();
        assert_eq!(lab.stop(), 0);
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
    }
}
