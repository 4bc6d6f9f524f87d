//! Checkers against real servers on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::conf::load_text;

/// The check in this checker block for a server at `addr`.
fn check(addr: SocketAddr, block: &str) -> Check {
    let text = format!(
        "virtual_server 10.0.0.1 80 {{\n lb_algo rr\n lb_kind NAT\n protocol TCP\n delay_loop 0.05\n warmup 0\n real_server 127.0.0.1 {} {{\n{block}\n }}\n}}\n",
        addr.port()
    );
    let (c, d) = load_text(&text);
    let found: Vec<_> = d.iter().map(ToString::to_string).collect();
    assert_eq!(d.exit_code(), 0, "{found:?}");
    c.services[0].servers[0].checks[0].clone()
}

/// A server that answers every connection with `answer` after reading a request.
fn serve(bind: &str, answer: &'static [u8], keep_open: bool) -> SocketAddr {
    let listener = TcpListener::bind(bind).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for c in listener.incoming() {
            let mut c = c.unwrap();
            let mut buf = [0; 1024];
            let _ = c.read(&mut buf);
            let _ = c.write_all(answer);
            if keep_open {
                held.push(c);
            }
        }
    });
    addr
}

/// A port nobody listens on. It is held, as nobody else may get it meanwhile.
struct Closed(socket2::Socket);

impl Closed {
    fn new() -> Self {
        let s = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        s.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        Self(s)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn verdict(check: &Check) -> (bool, String) {
    let seen = runtime().block_on(look(check));
    (seen.ok, seen.text)
}

const TCP: &str = "TCP_CHECK {\n connect_timeout 1\n }";

fn http(more: &str) -> String {
    format!("HTTP_GET {{\n connect_timeout 0.3\n url {{\n path /x\n{more}\n }}\n }}")
}

#[test]
fn tcp() {
    let addr = serve("127.0.0.1:0", b"", false);
    assert!(verdict(&check(addr, TCP)).0);
    let closed = Closed::new();
    let (ok, why) = verdict(&check(closed.addr(), TCP));
    assert!(!ok && why.contains("refused"), "{why}");
    // Another address and port than the server's.
    let block = format!(
        "TCP_CHECK {{\n connect_ip 127.0.0.1\n connect_port {}\n bindto 127.0.0.5\n }}",
        addr.port()
    );
    assert!(verdict(&check(closed.addr(), &block)).0);
}

#[test]
fn tcp_binds_to_the_source_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let c = check(
        listener.local_addr().unwrap(),
        "TCP_CHECK {\n bindto 127.0.0.7\n }",
    );
    let seen = std::thread::spawn(move || verdict(&c));
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.7");
    assert!(seen.join().unwrap().0);
}

#[test]
fn tcp_that_never_answers_ends_in_time() {
    // A full accept queue: the kernel answers no further SYN.
    let s = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    s.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    s.listen(0).unwrap();
    let addr = s.local_addr().unwrap().as_socket().unwrap();
    let _held: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(100)))
        .collect();
    let start = Instant::now();
    let (ok, why) = verdict(&check(addr, "TCP_CHECK {\n connect_timeout 0.4\n }"));
    assert!(!ok && why.contains("0.4 s"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn http_status_and_digest() {
    let good = serve("127.0.0.1:0", b"HTTP/1.0 200 OK\r\n\r\nabc", false);
    assert!(verdict(&check(good, &http(""))).0);
    let digest = " digest 900150983cd24fb0d6963f7d28e17f72";
    assert!(verdict(&check(good, &http(digest))).0);
    let (ok, why) = verdict(&check(
        good,
        &http(" digest 00000000000000000000000000000000"),
    ));
    assert!(
        !ok && why.contains("900150983cd24fb0d6963f7d28e17f72"),
        "{why}"
    );
    let (ok, why) = verdict(&check(good, &http(" status_code 301 404")));
    assert!(!ok && why.contains("status 200"), "{why}");
    let gone = serve(
        "127.0.0.1:0",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        true,
    );
    assert!(verdict(&check(gone, &http(" status_code 404"))).0);
    assert!(!verdict(&check(gone, &http(""))).0);
    // The second of two urls decides as well.
    let two = "HTTP_GET {\n url {\n path /a\n }\n url {\n path /b\n status_code 500\n }\n }";
    let (ok, why) = verdict(&check(good, two));
    assert!(!ok && why.contains("url(/b)"), "{why}");
}

#[test]
fn http_bad_servers() {
    for answer in [
        &b""[..],
        b"hello\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"\0\xff\0\xff",
    ] {
        assert!(!verdict(&check(serve("127.0.0.1:0", answer, false), &http(""))).0);
    }
    // Says it has more and then nothing.
    let stuck = serve(
        "127.0.0.1:0",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        true,
    );
    let start = Instant::now();
    let (ok, why) = verdict(&check(stuck, &http("")));
    assert!(!ok && why.contains("0.3 s"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn misc_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let run = |code: &str, more: &str| {
        let path = dir.path().join("check.sh");
        std::fs::write(&path, format!("{code}\n")).unwrap();
        let block = format!(
            "MISC_CHECK {{\n misc_path \"/bin/sh {}\"\n misc_timeout 0.5\n{more}\n }}",
            path.display()
        );
        // Script security is the business of another test.
        let text = format!(
            "global_defs {{\n enable_script_security\n}}\nvirtual_server 10.0.0.1 80 {{\n lb_algo rr\n lb_kind NAT\n protocol TCP\n real_server 10.0.0.2 80 {{\n{block}\n }}\n}}\n"
        );
        let c = load_text(&text).0.services[0].servers[0].checks[0].clone();
        let seen = runtime().block_on(look(&c));
        (seen.ok, seen.weight)
    };
    assert_eq!(run("exit 0", ""), (true, None));
    assert_eq!(run("exit 1", ""), (false, None));
    assert_eq!(run("exit 22", ""), (false, None));
    assert_eq!(run("exit 22", "misc_dynamic"), (true, Some(20)));
    assert_eq!(run("exit 1", "misc_dynamic"), (false, None));
    let start = Instant::now();
    assert_eq!(run("sleep 30", ""), (false, None));
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_running_checker_reports_changes_only() {
    // An address of its own: its port is free for a while, and nobody else's.
    let listener = TcpListener::bind("127.0.0.9:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let c = check(
        addr,
        "TCP_CHECK {\n connect_ip 127.0.0.9\n retry 2\n delay_before_retry 0.02\n connect_timeout 1\n }",
    );
    runtime().block_on(async {
        let (tx, mut rx) = unbounded_channel();
        let task = start(7, c, "test".to_owned(), tx);
        let report = |up| {
            Some(Report {
                id: 7,
                up,
                weight: None,
            })
        };
        assert_eq!(rx.recv().await, report(true));
        let quiet = tokio::time::timeout(Duration::from_millis(200), rx.recv()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        drop(listener);
        assert_eq!(rx.recv().await, report(false));
        let _again = TcpListener::bind(addr).unwrap();
        assert_eq!(rx.recv().await, report(true));
        task.abort();
    });
}
