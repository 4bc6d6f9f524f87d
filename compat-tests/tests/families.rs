//! NAT64 and NAT46 end to end: clients of one family, servers of the other, TCP, UDP,
//! SCTP, and the errors that each has to hear in its own.
//!
//! How servers learn the client's address is in `client_address.rs`.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use compat_tests::lab::{Lab, START, Slot, addr, end, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::udp::{EchoServer, ask};
use compat_tests::{Context, Result, run, wait};

const SOON: Duration = Duration::from_secs(5);

/// Local addresses.
const LOCAL4: &str = "10.0.1.201";
const LOCAL6: &str = "2001:db8:2::201";

fn lab(test: &str) -> Result<Lab> {
    lab_by(test, |lab| {
        lab.start_nginx(0)?;
        lab.start_dpvs()
    })
}

fn lab_by(test: &str, start: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("f{}-{test}", std::process::id()), Lifetime::Bound)?;
    start(&mut lab)?;
    for (ip, plen, dev, flag) in [
        (addr::VIP4, 32, "dpdk0", None),
        (addr::VIP6, 128, "dpdk0", None),
        (LOCAL4, 32, "dpdk1", Some("sapool")),
        (LOCAL6, 128, "dpdk1", Some("sapool")),
    ] {
        let family = if ip.contains(':') { "-6" } else { "-4" };
        let ip = format!("{ip}/{plen}");
        let mut args = vec![family, "addr", "add", &ip, "dev", dev];
        args.extend(flag);
        lab.dpip(&args)?.success()?;
    }
    Ok(lab)
}

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<()> {
    lab.ipvsadm(args)?.success().map(drop)
}

/// A FullNAT service with one server.
fn fullnat(lab: &Lab, kind: &str, vip: &str, local: &str, server: &str) -> Result<()> {
    ipvsadm(lab, &["-A", kind, vip, "-s", "rr"])?;
    ipvsadm(lab, &["-P", kind, vip, "-z", local, "-F", "dpdk1"])?;
    ipvsadm(lab, &["-a", kind, vip, "-r", server, "-b"])
}

/// Virtual address, local address and server of either direction.
const SIDES: [(&str, &str, &str); 2] = [
    (addr::VIP6, LOCAL4, addr::RS4[0]),
    (addr::VIP4, LOCAL6, addr::RS6[0]),
];

#[test]
fn web_servers_of_one_family_serve_clients_of_the_other() -> Result<()> {
    if !root_or_skip("web_servers_of_one_family")? {
        return Ok(());
    }
    let mut lab = lab("cross")?;
    lab.with_logs(|lab| {
        for (vip, local, server) in [
            (addr::VIP6, LOCAL4, addr::RS4[0]),
            (addr::VIP4, LOCAL6, addr::RS6[0]),
        ] {
            fullnat(lab, "-t", &end(vip, 80), local, &end(server, 80))?;
            wait::until_true(&format!("an answer through {vip}"), SOON, || {
                Ok(lab.get(&url(vip, "/")).is_ok())
            })?;
            for _ in 0..5 {
                assert_eq!(lab.get(&url(vip, "/"))?.trim(), "rs1");
            }
            assert_eq!(lab.get(&url(vip, "/big"))?.len(), 1 << 20);
        }
        lab.still_running()
    })
}

#[test]
fn datagrams_sctp_and_errors_cross_the_families() -> Result<()> {
    if !root_or_skip("datagrams_sctp_and_errors_cross")? {
        return Ok(());
    }
    let mut lab = lab("protocols")?;
    lab.with_logs(|lab| {
        let at: Vec<_> = SIDES
            .iter()
            .filter_map(|(_, _, server)| end(server, 5353).parse().ok())
            .collect();
        // What it answers is longer than what it is asked.
        let name = "a server with a long name, and more";
        let _echo = EchoServer::start(&lab.servers[0], name, &at)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sctp_peer.py");
        let out = lab.file("sctp.out");
        let mut server = lab.servers[0].command("/usr/bin/python3");
        server.arg(&script).args(["server", "9900"]);
        let mut server = Process::start("sctp peer", &server, &out, Lifetime::Bound)?;
        wait::until_true("the SCTP endpoint", START, || {
            server.still_running()?;
            Ok(std::fs::read_to_string(&out).is_ok_and(|t| t.contains("ready")))
        })?;
        for (vip, local, server) in SIDES {
            let udp = end(vip, 53);
            fullnat(lab, "-u", &udp, local, &end(server, 5353))?;
            let udp: SocketAddr = udp.parse().what(|| udp.clone())?;
            wait::until_true(&format!("an answer from {vip}"), SOON, || {
                let limit = Duration::from_millis(500);
                Ok(ask(&lab.client, udp, b"small", limit)?.is_some())
            })?;
            // The longest answers fit the server's family and not the client's: the
            // server is told so, and sends them so that they can be cut.
            for len in [0, 1, 1000, 1400, 1430, 1436] {
                let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
                wait::until_true(&format!("{len} bytes through {vip}"), SOON, || {
                    let limit = Duration::from_millis(500);
                    let answer = ask(&lab.client, udp, &data, limit)?;
                    let body = answer.map(|a| a.get(name.len() + 1..).map(<[u8]>::to_vec));
                    Ok(body.is_some_and(|body| body.as_ref() == Some(&data)))
                })?;
            }

            fullnat(
                lab,
                "--sctp-service",
                &end(vip, 99),
                local,
                &end(server, 9900),
            )?;
            let mut client = lab.client.command("/usr/bin/python3");
            let out = run::run(client.arg(&script).args(["client", vip, "99"]))?;
            assert_eq!(
                (out.ok(), out.stdout.trim()),
                (true, "hello through sctp!!"),
                "{vip}: {out:?}"
            );

            // Nobody serves this port there: the client hears it.
            fullnat(lab, "-u", &end(vip, 54), local, &end(server, 5454))?;
            let socket = lab.client.enter(|| {
                let any = if vip.contains(':') {
                    "[::]:0"
                } else {
                    "0.0.0.0:0"
                };
                let socket = UdpSocket::bind(any).what(|| "client")?;
                socket.connect(end(vip, 54)).what(|| "connect")?;
                socket.set_read_timeout(Some(SOON)).what(|| "time-out")?;
                Ok(socket)
            })?;
            socket.send(b"anybody there?").what(|| "send")?;
            let heard = socket.recv(&mut [0; 10]).map_err(|e| e.kind());
            assert_eq!(heard, Err(std::io::ErrorKind::ConnectionRefused), "{vip}");
            // The virtual address answers for itself, until a service does.
            assert!(lab.ping(vip)?);
            let echo = if vip.contains(':') {
                ("-1", 128 << 8)
            } else {
                ("-q", 8 << 8)
            };
            fullnat(lab, echo.0, &end(vip, echo.1), local, &end(server, echo.1))?;
            let ping = ["-n", "-c", "3", "-i", "0.2", "-W", "2", "-s", "1000", vip];
            lab.client.must("ping", &ping)?;
            let stats = lab.ipvsadm(&["-Ln", "--stats", echo.0, &end(vip, echo.1)])?;
            let stats = stats.success()?;
            let counted: Vec<&str> = stats
                .lines()
                .last()
                .map_or(Vec::new(), |line| line.split_whitespace().collect());
            // Connections, packets in, packets out.
            assert_eq!(counted.get(2..5), Some(&["1", "3", "3"][..]), "{stats}");

            // A smaller link on the server's side: the client's segments fit it.
            let (family, len) = if server.contains(':') {
                ("-6", 128)
            } else {
                ("-4", 32)
            };
            let to = format!("{server}/{len}");
            lab.dpip(&[family, "route", "add", &to, "dev", "dpdk1", "mtu", "1300"])?
                .success()?;
            fullnat(lab, "-t", &end(vip, 80), local, &end(server, 80))?;
            let said = lab.upload(&lab.client, 300_000, &url(vip, "/upload"))?;
            assert_eq!(said.trim(), "rs1 300000");
            let route = lab.client.ip(&["route", "get", vip])?;
            assert!(route.contains(" mtu 1"), "{route}");
        }
        lab.still_running()
    })
}

/// Two workers, and ports that leave IPv4's fragments as they are.
#[test]
fn datagrams_larger_than_the_mtu_cross_the_families() -> Result<()> {
    if !root_or_skip("datagrams_larger_than_the_mtu_cross")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let mut lab = lab_by("pieces", |lab| lab.start_dpvs_taps(|conf| conf))?;
    lab.with_logs(|lab| {
        let at: Vec<_> = SIDES
            .iter()
            .filter_map(|(_, _, server)| end(server, 5353).parse().ok())
            .collect();
        let _echo = EchoServer::start(&lab.servers[0], "rs1", &at)?;
        for (vip, local, server) in SIDES {
            let udp = end(vip, 53);
            fullnat(lab, "-u", &udp, local, &end(server, 5353))?;
            let udp: SocketAddr = udp.parse().what(|| udp.clone())?;
            wait::until_true(&format!("an answer from {vip}"), SOON, || {
                let limit = Duration::from_millis(500);
                Ok(ask(&lab.client, udp, b"small", limit)?.is_some())
            })?;
            for len in [1460, 2000, 4096, 20_000] {
                let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let right = |seconds| -> Result<bool> {
                    let answer = ask(&lab.client, udp, &data, Duration::from_secs(seconds))?;
                    let body = answer.and_then(|a| a.get(4..).map(<[u8]>::to_vec));
                    Ok(body.as_ref() == Some(&data))
                };
                // The first ones may be told that they are too long for the other side.
                wait::until_true(&format!("{len} bytes through {vip}"), SOON, || right(1))?;
                for _ in 0..3 {
                    assert!(right(5)?, "{len} bytes through {vip}");
                }
            }
        }
        lab.still_running()
    })
}
