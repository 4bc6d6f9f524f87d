//! What only DPVS's ipvsadm has, and what goes wrong: against the stand-in.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use common::Daemon;
use dpvs_ctl::msg::{
    ConnEntry, Dest, IfAddrParam, LaddrTable, Service, ServiceDest, Stats, dest_flag, ifa_flag,
};
use dpvs_ctl::{Af, ErrCode, Ip16, Name, Wire, id};

const VIP: &str = "192.168.88.1:80";

fn ip(text: &str) -> Ip16 {
    Ip16::from_ip(text.parse().unwrap())
}

/// A service in FullNAT with two servers and a local address.
fn fullnat() -> Daemon {
    let d = Daemon::start();
    d.ok(&format!(
        "ipvsadm -A -t {VIP} -s wrr -j enable --conn-timeout 120 --proxy-protocol v2"
    ));
    d.ok(&format!(
        "ipvsadm -a -t {VIP} -r 192.168.88.30 -b -w 50 -x 100 -y 10"
    ));
    d.ok(&format!("ipvsadm -a -t {VIP} -r 192.168.88.31:8080 -b"));
    d.ok(&format!("ipvsadm -P -t {VIP} -z 192.168.88.200 -F dpdk0"));
    d
}

#[test]
fn fullnat_rows() {
    let d = fullnat();
    {
        let mut state = d.state();
        let dest = &mut state.services[0].dests[1];
        dest.actconns = 123_456;
        dest.flags = dest_flag::INHIBITED | dest_flag::OVERLOAD;
    }
    assert_eq!(
        d.ok("ipvsadm -Ln"),
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n  \
           -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.168.88.1:80 wrr synproxy conn-timeout 120 ppv2\n  \
           -> 192.168.88.30:80             FullNat 50     0          0         \n  \
           -> 192.168.88.31:8080           FullNat 1      123456     0          inhibited,overload\n"
    );
}

/// The bytes sent, as recorded from the C tool, with zeros where that leaves
/// garbage.
#[test]
fn bytes_of_add_server() {
    let d = fullnat();
    let state = d.state();
    let (_, body) = state
        .log
        .iter()
        .find(|(i, _)| *i == id::SO_SET_ADDDEST)
        .unwrap();
    let sent = ServiceDest::decode(body).unwrap();
    let mut want = Dest {
        af: Af::INET,
        port: 80.into(),
        weight: 50,
        addr: ip("192.168.88.30"),
        max_conn: 100,
        min_conn: 10,
        ..Dest::default()
    };
    want.set_fwd_mode(5);
    assert_eq!(sent.dest, want);
    assert_eq!(sent.service, Service::at(6, VIP.parse().unwrap()));
}

/// First the address to the device, as one that feeds local ports, then to
/// the service.
#[test]
fn bytes_of_add_laddr() {
    let d = fullnat();
    let state = d.state();
    let at = state
        .log
        .iter()
        .position(|(i, _)| *i == id::SET_IFADDR_ADD)
        .unwrap();
    let first = IfAddrParam::decode(&state.log[at].1).unwrap().entry;
    assert_eq!(
        (first.af, first.plen, first.flags),
        (Af::INET, 32, ifa_flag::SAPOOL)
    );
    assert_eq!(
        (first.addr, first.ifname),
        (ip("192.168.88.200"), Name::new("dpdk0").unwrap())
    );
    let (next, body) = &state.log[at + 1];
    assert_eq!(*next, id::SET_LADDR_ADD);
    let second = LaddrTable::decode(body).unwrap();
    assert_eq!(
        (second.vaddr, second.vport.get(), second.proto),
        (ip("192.168.88.1"), 80, 6)
    );
    assert_eq!(
        (second.laddr, second.af_l),
        (ip("192.168.88.200"), Af::INET)
    );
}

#[test]
fn local_addresses() {
    let d = fullnat();
    assert_eq!(
        d.ok("ipvsadm -G"),
        "VIP:VPORT            TOTAL    SNAT_IP              CONFLICTS  CONNS     \n\
         192.168.88.1:80      1        \n\
         \u{20}                             192.168.88.200       0          7         \n"
    );
    assert_eq!(
        d.ok(&format!("ipvsadm --get-laddr -t {VIP} --cpu 1")),
        d.ok("ipvsadm -G")
    );
    // The device has it already: no error, and the same address again is one.
    let again = d.sh(&format!("ipvsadm -P -t {VIP} -z 192.168.88.200 -F dpdk0"));
    assert_eq!(again, (253, String::new(), "already exist\n".to_owned()));
    let (code, _, err) = d.sh(&format!("ipvsadm -P -t {VIP} -z 192.168.88.201 -F nodev"));
    assert_eq!(
        (code, err.as_str()),
        (252, "no device nodev in dpvs\nnot exist\n")
    );
    let (code, _, err) = d.sh("ipvsadm -P -t 192.168.88.9:80 -z 192.168.88.201 -F dpdk0");
    assert_eq!((code, err.as_str()), (239, "no service\n"));
    d.ok(&format!("ipvsadm -Q -t {VIP} -z 192.168.88.200 -F dpdk0"));
    assert!(d.state().services[0].laddrs.is_empty());
}

/// What `-E` does not mention of DPVS's options stays; the rest is reset.
#[test]
fn edit_keeps_dpvs_options() {
    let d = fullnat();
    d.ok(&format!("ipvsadm -E -t {VIP} -s rr"));
    let svc = d.state().services[0].service;
    assert_eq!((svc.conn_timeout, svc.proxy_protocol), (120, 2));
    assert!(
        d.ok("ipvsadm -Ln")
            .contains(" rr synproxy conn-timeout 120 ppv2\n")
    );
    d.ok(&format!(
        "ipvsadm -E -t {VIP} -s rr -j disable --conn-timeout 0 --proxy-protocol disable --dest-check tcp"
    ));
    assert!(
        d.ok("ipvsadm -Ln")
            .contains("TCP  192.168.88.1:80 rr dest-check external:tcp\n")
    );
    d.ok(&format!("ipvsadm -E -t {VIP} -s rr --dest-check disable"));
    assert!(d.ok("ipvsadm -Ln").contains("TCP  192.168.88.1:80 rr\n"));
    // Nor do the rates that only others can set go, where the daemon lists them.
    {
        let mut state = d.state();
        state.lists_rates = true;
        let svc = &mut state.services[0].service;
        (svc.bps, svc.limit_proportion) = (8_000_000, 90);
    }
    d.ok(&format!("ipvsadm -E -t {VIP} -s wrr"));
    let svc = d.state().services[0].service;
    assert_eq!((svc.bps, svc.limit_proportion), (8_000_000, 90));
}

/// Nothing is lost: local addresses, lists, thresholds, options.
#[test]
fn save_and_restore() {
    let d = fullnat();
    d.ok("ipvsadm -A -u [2001:db8::1]:443 -s conhash --hash-target qid --quic --expire-quiescent --dest-check default --dest-check ping");
    d.ok("ipvsadm -a -u [2001:db8::1]:443 -r 10.0.0.1:443 -b");
    d.ok("ipvsadm -A -H proto=tcp,src-range=10.0.0.1-10.0.0.9,oif=dpdk0 -s rr");
    d.ok("ipvsadm -a -H proto=tcp,src-range=10.0.0.1-10.0.0.9,oif=dpdk0 -r 192.0.2.7:0 -J");
    d.ok("ipvsadm -A -f 4294967295 -6 -s wlc -p 60 -M 64");
    d.ok(&format!("ipvsadm -U -t {VIP} -k ipset:deny"));
    d.ok(&format!("ipvsadm -O -t {VIP} -2 10.9.9.9"));
    let saved = d.ok("ipvsadm-save -n");
    assert_eq!(
        saved,
        // As a signed number the mark comes first.
        "-A -f 4294967295 -6 -s wlc -p 60 -M 64\n\
         -A -t 192.168.88.1:80 -s wrr -j enable --conn-timeout 120 --proxy-protocol v2\n\
         -a -t 192.168.88.1:80 -r 192.168.88.30:80 -b -w 50 -x 100 -y 10\n\
         -a -t 192.168.88.1:80 -r 192.168.88.31:8080 -b -w 1\n\
         -P -t 192.168.88.1:80 -z 192.168.88.200 -F dpdk0\n\
         -U -t 192.168.88.1:80 -k ipset:deny\n\
         -O -t 192.168.88.1:80 -2 10.9.9.9\n\
         -A -H proto=tcp,src-range=10.0.0.1-10.0.0.9:0-0,oif=dpdk0 -s rr\n\
         -a -H proto=tcp,src-range=10.0.0.1-10.0.0.9:0-0,oif=dpdk0 -r 192.0.2.7:0 -J -w 1\n\
         -A -u [2001:db8::1]:443 -s conhash --hash-target qid --expire-quiescent --quic --dest-check default --dest-check ping\n\
         -a -u [2001:db8::1]:443 -r 10.0.0.1:443 -b -w 1\n"
    );
    let before: Vec<Service> = d.state().services.iter().map(|e| e.service).collect();
    let (code, out, err) = d.sh_in("ipvsadm-restore", &format!("# a comment\n{saved}"));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    assert_eq!(d.ok("ipvsadm -S -n"), saved);
    let mut after: Vec<Service> = d.state().services.iter().map(|e| e.service).collect();
    after.sort_by_key(|s| before.iter().position(|b| b == s));
    assert_eq!(after, before);
}

#[test]
fn black_and_white_lists() {
    let d = fullnat();
    d.ok(&format!("ipvsadm -U -t {VIP} -k 10.0.0.66"));
    d.ok(&format!(
        "ipvsadm --add-whtlst -t {VIP} --whtlst ipset:friends"
    ));
    assert_eq!(
        d.ok("ipvsadm -B"),
        "PROTO    VIP:VPORT                      BLACKLIST                     \n\
         TCP      192.168.88.1:80                10.0.0.66                     \n"
    );
    assert!(
        d.ok(&format!("ipvsadm -W -t {VIP}"))
            .contains("ipset:friends")
    );
    d.ok(&format!("ipvsadm -V -t {VIP} -k 10.0.0.66"));
    let (code, _, err) = d.sh(&format!("ipvsadm -V -t {VIP} -k 10.0.0.66"));
    assert_eq!((code, err.as_str()), (252, "not exist\n"));
    let (code, _, err) = d.sh(&format!("ipvsadm -U -t {VIP} -k ipset:"));
    assert_eq!(code, 2);
    assert_eq!(
        err,
        "illegal blacklist entry format, require [ IP | ipset:NAME ]\n"
    );
}

fn conn(port: u16) -> ConnEntry {
    ConnEntry {
        in_af: 2,
        out_af: 2,
        proto: 6,
        caddr: ip("1.1.1.1"),
        vaddr: ip("192.168.88.1"),
        laddr: ip("192.168.88.200"),
        daddr: ip("192.168.88.30"),
        cport: port.into(),
        vport: 80.into(),
        lport: 1025.into(),
        dport: 8080.into(),
        timeout: 90,
        lcoreid: 2,
        state: Name::new("TCP_EST").unwrap(),
    }
}

/// More connections than fit in one reply.
#[test]
fn connections() {
    let d = Daemon::start();
    d.state().conns = (1..=2500).map(conn).collect();
    let out = d.ok("ipvsadm -Lnc");
    assert_eq!(out.lines().count(), 2500);
    assert_eq!(
        out.lines().last().unwrap(),
        "[2]tcp 90s    TCP_EST     1.1.1.1:2500       192.168.88.1:80    192.168.88.200:1025 192.168.88.30:8080"
    );
    let one = d.ok("ipvsadm -L -n -c --sockpair tcp:1.1.1.1:42:192.168.88.1:80");
    assert_eq!(one.lines().count(), 1);
    let none = d.sh("ipvsadm -L -n -c --sockpair tcp:9.9.9.9:42:192.168.88.1:80");
    assert_eq!(
        none,
        (
            0,
            String::new(),
            "connection specified not found\n".to_owned()
        )
    );
}

/// Counters of a service are the sum of its dests'; `-Z` zeroes them.
#[test]
fn counters() {
    let d = fullnat();
    for dest in &mut d.state().services[0].dests {
        dest.stats = Stats {
            conns: 100_000_000,
            inpkts: 3,
            outpkts: 4,
            inbytes: 150_000_000_000,
            outbytes: 5,
            ..Stats::default()
        };
    }
    let out = d.ok("ipvsadm -Ln --stats");
    assert!(
        out.contains(
            "TCP  192.168.88.1:80               200000K        6        8     300G       10\n"
        ),
        "{out}"
    );
    let out = d.ok("ipvsadm -Ln --stats -X");
    assert!(
        out.contains(" 200000000        6        8 300000000000       10\n"),
        "{out}"
    );
    d.ok(&format!("ipvsadm -Z -t {VIP}"));
    let out = d.ok("ipvsadm -Ln --stats");
    assert!(
        out.contains("TCP  192.168.88.1:80                     0        0        0"),
        "{out}"
    );
}

/// `--cpu` asks for one worker's view.
#[test]
fn cpu() {
    let d = fullnat();
    d.ok("ipvsadm -Ln --cpu 3");
    let state = d.state();
    let asked = |id: u32, at: usize| state.log.iter().rev().find(|(i, _)| *i == id).unwrap().1[at];
    assert_eq!(asked(id::SO_GET_SERVICES, 1), 3);
    assert_eq!(asked(id::SO_GET_DESTS, 141), 3);
}

/// What the daemon says is shown when there is no better text.
#[test]
fn other_refusals() {
    let d = fullnat();
    d.state().refuse = Some((id::SO_SET_ADD, ErrCode::NOMEM));
    let got = d.sh("ipvsadm -A -t 192.0.2.1:80");
    assert_eq!(got, (255, String::new(), "no memory\n".to_owned()));
    d.state().refuse = Some((id::SO_GET_SERVICES, ErrCode::INVAL));
    let got = d.sh("ipvsadm -Ln --cpu 9");
    assert_eq!(
        got,
        (
            1,
            String::new(),
            "no worker has this --cpu index\n".to_owned()
        )
    );
    d.state().refuse = Some((id::SO_GET_SERVICES, ErrCode::MSG_DROP));
    let got = d.sh("ipvsadm -Ln");
    assert_eq!(got, (1, String::new(), "msg dropped\n".to_owned()));
}

#[test]
fn vxlan_is_refused_for_now() {
    let d = fullnat();
    let got = d.sh(&format!(
        "ipvsadm -a -t {VIP} -r 10.0.0.9:80 -T 10.182.6.87-10.182.4.59-5015 -m -w 100"
    ));
    assert_eq!(got.0, 255);
    assert!(got.2.contains("-T"), "{}", got.2);
    assert_eq!(d.state().services[0].dests.len(), 2);
}

fn without_daemon(line: &str, socket: &str) -> (i32, String, String) {
    let mut words = line.split_whitespace();
    let program = match words.next().unwrap() {
        "ipvsadm-save" => env!("CARGO_BIN_EXE_ipvsadm-save"),
        _ => env!("CARGO_BIN_EXE_ipvsadm"),
    };
    let run = Command::new(program)
        .args(words)
        .env("DPVS_IPC_FILE", socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    common::texts(&run)
}

#[test]
fn no_daemon() {
    for line in [
        "ipvsadm -Ln",
        "ipvsadm -C",
        "ipvsadm -A -t 192.0.2.1:80",
        "ipvsadm-save",
        "ipvsadm -R",
    ] {
        let (code, out, err) = without_daemon(line, "/nonexistent/dpvs.ipc");
        assert_eq!((code, out.as_str()), (2, ""), "{line}");
        assert!(err.starts_with("Can't initialize ipvs: "), "{err}");
        assert!(
            err.contains("/nonexistent/dpvs.ipc") && err.contains("No such file"),
            "{err}"
        );
        assert!(
            err.ends_with("Are you sure that dpvs is running?\n"),
            "{err}"
        );
    }
    // These need none.
    let (code, out, _) = without_daemon("ipvsadm -h", "/nonexistent");
    assert_eq!(code, 0);
    assert!(out.contains("--fullnat") && out.contains("DPVS_IPC_FILE"));
    let (code, out, _) = without_daemon("ipvsadm -v", "/nonexistent");
    assert!(code == 0 && out.starts_with("ipvsadm v1.31"));
    assert_eq!(without_daemon("ipvsadm -A -t x:y", "/nonexistent").0, 2);
}

/// A daemon that goes away in the middle of a request is a failure.
#[test]
fn daemon_dies() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().unwrap();
        let mut buf = [0; 36];
        s.read_exact(&mut buf).unwrap();
    });
    let (code, out, err) = without_daemon("ipvsadm -Ln", path.to_str().unwrap());
    thread.join().unwrap();
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("closed the connection"), "{err}");
}

/// `| head` neither panics nor fails, even with output larger than any buffer.
#[test]
fn closed_pipe() {
    let d = Daemon::start();
    d.state().conns = (1..=20_000).map(conn).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipvsadm"))
        .arg("-Lnc")
        .env("DPVS_IPC_FILE", d.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    // A full disk is an error.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ipvsadm"))
        .arg("-Lnc")
        .env("DPVS_IPC_FILE", d.socket())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write"));
}

/// Bytes that are no text, on every argument and on standard input.
#[test]
fn bytes_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let d = Daemon::start();
    let junk = std::ffi::OsStr::from_bytes(&[0xff, 0xfe, b'x']);
    for args in [
        &["-A", "-t"][..],
        &["-a", "-t", "192.0.2.1:80", "-r"],
        &["-L", "-n"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ipvsadm"))
            .args(args)
            .arg(junk)
            .env("DPVS_IPC_FILE", d.socket())
            .output()
            .unwrap();
        assert!(matches!(output.status.code(), Some(2 | 255)), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipvsadm"))
        .arg("-R")
        .env("DPVS_IPC_FILE", d.socket())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&[0xff, 0, b'\n', 0xfe])
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
}
