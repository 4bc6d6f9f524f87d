//! Source NAT end to end: hosts inside reach web servers, name servers, SCTP
//! endpoints and routers in the world, which see the director's addresses only.
//!
//! The lab turned round: the "servers" are the hosts inside, what is the client
//! elsewhere is the world. With several workers: `workers.rs`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use compat_tests::lab::{Lab, START, Slot, addr, end, url};
use compat_tests::netns::{Netns, veth};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, run, udp, wait};

const SOON: Duration = Duration::from_secs(5);

/// Addresses towards the world.
const WAN4: [&str; 3] = ["192.0.2.20", "192.0.2.21", "192.0.2.22"];
const WAN6: &str = "2001:db8:1::20";

/// A host of the world behind a router of it, and that router's address there.
const FAR4: (&str, &str) = ("203.0.113.9", "203.0.113.1");
const FAR6: (&str, &str) = ("2001:db8:77::9", "2001:db8:77::1");

/// A lab in which the hosts inside have the director as their gateway.
fn lab(test: &str) -> Result<Lab> {
    lab_by(test, |lab| lab.start_dpvs_with(|conf| conf))
}

fn lab_by(test: &str, start: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("n{}-{test}", std::process::id()), Lifetime::Bound)?;
    start(&mut lab)?;
    for wan in WAN4 {
        let wan = format!("{wan}/32");
        lab.dpip(&["addr", "add", &wan, "dev", "dpdk0", "sapool"])?
            .success()?;
    }
    let wan = format!("{WAN6}/128");
    lab.dpip(&["-6", "addr", "add", &wan, "dev", "dpdk0", "sapool"])?
        .success()?;
    for ns in &lab.servers {
        ns.ip(&["route", "add", "default", "via", addr::INSIDE4])?;
        ns.ip(&["-6", "route", "add", "default", "via", addr::INSIDE6])?;
    }
    Ok(lab)
}

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<String> {
    lab.ipvsadm(args)?.success()
}

/// A match service with these addresses towards the world.
fn snat(lab: &Lab, what: &str, wans: &[&str], options: &[&str]) -> Result<()> {
    ipvsadm(
        lab,
        &[&["-A", "-H", what, "-s", "rr"][..], options].concat(),
    )?;
    for wan in wans {
        let wan = end(wan, 0);
        ipvsadm(lab, &["-a", "-H", what, "-r", &wan, "-J", "-w", "1"])?;
    }
    Ok(())
}

/// Whether a page comes.
fn gets(ns: &Netns, url: &str) -> Result<bool> {
    let args = ["-sS", "-f", "-m", "3", "--noproxy", "*", "-o", "/dev/null"];
    Ok(ns.run("curl", &[&args[..], &[url]].concat())?.ok())
}

/// The first packets wait for neighbours.
fn until_gets(ns: &Netns, url: &str) -> Result<()> {
    wait::until_true(&format!("an answer of {url}"), SOON, || gets(ns, url)).map(drop)
}

/// A datagram from a host to a server in the world and one back: who the server saw.
fn asked(host: &Netns, world: &Netns, to: &str, size: usize) -> Result<Option<SocketAddr>> {
    let to: SocketAddr = to.parse().what(|| to.to_owned())?;
    let bound = |ns: &Netns, at: SocketAddr| {
        let socket = udp::bind(ns, at)?;
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .what(|| "time-out")?;
        Ok::<_, Error>(socket)
    };
    let server = bound(world, to)?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = bound(host, any.parse().what(|| "any")?)?;
    let question: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let mut buffer = vec![0; 65536];
    client.send_to(&question, to).what(|| "question")?;
    let Ok((len, peer)) = server.recv_from(&mut buffer) else {
        return Ok(None);
    };
    assert_eq!(&buffer[..len], question);
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    server.send_to(&answer, peer).what(|| "answer")?;
    let Ok((len, from)) = client.recv_from(&mut buffer) else {
        return Ok(None);
    };
    assert_eq!((&buffer[..len], from), (&answer[..], to));
    Ok(Some(peer))
}

fn until_asked(host: &Netns, world: &Netns, to: &str) -> Result<SocketAddr> {
    let (peer, _) = wait::until(&format!("an answer of {to}"), SOON, || {
        asked(host, world, to, 100)
    })?;
    Ok(peer)
}

/// Whom a web server answered.
fn seen(lab: &Lab, name: &str) -> Vec<String> {
    let log = std::fs::read_to_string(lab.file(&format!("access-{name}.log")));
    let mut all: Vec<String> = log
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .filter(|host| host != "127.0.0.1")
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn web_udp_and_echoes_of_hosts_inside_reach_the_world() -> Result<()> {
    if !root_or_skip("web_udp_and_echoes_of_hosts_inside")? {
        return Ok(());
    }
    let mut lab = lab("world")?;
    lab.with_logs(|lab| {
        for (proto, range, wan) in [
            ("tcp", "10.0.1.1-10.0.1.254", WAN4[0]),
            ("udp", "10.0.1.1-10.0.1.254", WAN4[0]),
            ("icmp", "10.0.1.1-10.0.1.254", WAN4[0]),
            ("tcp", "2001:db8:2::1-2001:db8:2::ffff", WAN6),
            ("udp", "2001:db8:2::1-2001:db8:2::ffff", WAN6),
            ("icmpv6", "2001:db8:2::1-2001:db8:2::ffff", WAN6),
        ] {
            let what = format!("proto={proto},src-range={range},oif=dpdk0");
            snat(lab, &what, &[wan], &[])?;
        }
        let list = ipvsadm(lab, &["-Ln"])?;
        assert_eq!(list.matches("SNAT").count(), 6, "{list}");
        // What is saved makes the same services again.
        let saved = ipvsadm(lab, &["-Sn"])?;
        ipvsadm(lab, &["-C"])?;
        let mut restore = lab.tool("ipvsadm")?;
        run::run_with(restore.arg("-R"), saved.as_bytes(), SOON)?.success()?;
        assert_eq!(ipvsadm(lab, &["-Sn"])?, saved);

        let web = lab.web(&lab.client, "world")?;
        for host in [addr::CLIENT4, addr::CLIENT6] {
            for ns in &lab.servers {
                until_gets(ns, &url(host, "/"))?;
                let big = ["-sS", "-f", "-m", "10", "--noproxy", "*"];
                let big = ns.must("curl", &[&big[..], &[&url(host, "/big")]].concat())?;
                assert_eq!(big.len(), 1 << 20);
                // Both with ports of the kernel's choice, and many at a time.
                let args = ["-t", "1", "-c", "16", "-d", "1", &url(host, "/")];
                let out = ns.must("wrk", &args)?;
                assert!(out.contains("requests in"), "{out}");
                assert!(
                    !out.contains("Socket errors") && !out.contains("Non-2xx"),
                    "{out}"
                );
            }
        }
        let mut wans = vec![WAN4[0].to_owned(), WAN6.to_owned()];
        wans.sort_unstable();
        assert_eq!(seen(lab, "world"), wans);
        drop(web);
        for (host, wan) in [(addr::CLIENT4, WAN4[0]), (addr::CLIENT6, WAN6)] {
            for ns in &lab.servers {
                let peer = until_asked(ns, &lab.client, &end(host, 5300))?;
                assert_eq!(peer.ip().to_string(), wan);
            }
            // Both hosts with one identifier, at the same time.
            let mut pings = Vec::new();
            for (i, ns) in lab.servers.iter().enumerate() {
                let mut ping = ns.command("ping");
                ping.args(["-n", "-e", "77", "-c", "5", "-i", "0.2", "-W", "2", host]);
                let log = lab.file(&format!("ping-{i}.{wan}"));
                pings.push(Process::start("ping", &ping, &log, Lifetime::Bound)?);
            }
            for mut ping in pings {
                let status = ping.wait(SOON)?;
                let log = ping.log();
                assert!(status.success() && log.contains(" 0% packet loss"), "{log}");
                assert!(!log.contains("DUP"), "{log}");
            }
        }
        let conns = ipvsadm(lab, &["-Lnc"])?;
        for proto in ["icmp", "UDP", "TCP"] {
            let proto = proto.to_lowercase();
            assert!(conns.to_lowercase().contains(&proto), "{proto}:\n{conns}");
        }
        lab.still_running()
    })
}

/// Two workers, and ports that leave IPv4's fragments as they are.
#[test]
fn datagrams_and_echoes_of_hosts_inside_may_be_larger_than_the_mtu() -> Result<()> {
    if !root_or_skip("datagrams_and_echoes_of_hosts_inside")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let mut lab = lab_by("pieces", |lab| lab.start_dpvs_taps(|conf| conf))?;
    lab.with_logs(|lab| {
        for (proto, af, wan) in [
            ("udp", "ipv4", WAN4[0]),
            ("icmp", "ipv4", WAN4[0]),
            ("udp", "ipv6", WAN6),
            ("icmpv6", "ipv6", WAN6),
        ] {
            let what = format!("proto={proto},af={af},iif=dpdk1");
            snat(lab, &what, &[wan], &[])?;
        }
        let mut port = 5300;
        for (host, wan) in [(addr::CLIENT4, WAN4[0]), (addr::CLIENT6, WAN6)] {
            for ns in &lab.servers {
                port += 1;
                let _ = until_asked(ns, &lab.client, &end(host, port))?;
                for size in [1400, 2000, 4000, 9000] {
                    port += 1;
                    let peer = asked(ns, &lab.client, &end(host, port), size)?;
                    let peer = peer.map(|p| p.ip().to_string());
                    assert_eq!(peer.as_deref(), Some(wan), "{size} bytes");
                }
                let ping = ["-n", "-c", "3", "-i", "0.2", "-W", "2", "-s", "4000"];
                ns.must("ping", &[&ping[..], &[host]].concat())?;
            }
        }
        let drops = lab.dpip(&["drop", "show"])?.success()?;
        assert!(!drops.contains("fragment"), "{drops}");
        lab.still_running()
    })
}

#[test]
fn what_is_matched_and_by_which_address_it_leaves() -> Result<()> {
    if !root_or_skip("what_is_matched_and_by_which_address")? {
        return Ok(());
    }
    let mut lab = lab("match")?;
    lab.with_logs(|lab| {
        let (a, b) = (&lab.servers[0], &lab.servers[1]);
        let peer = |host: &Netns, port| {
            let to = end(addr::CLIENT4, port);
            let peer = asked(host, &lab.client, &to, 10)?;
            Ok::<_, Error>(peer.map(|p| p.ip().to_string()))
        };
        let wan = |i: usize| Some(WAN4[i].to_owned());
        // Refused, or at least said.
        let odd = "proto=udp,af=ipv4,iif=dpdk9,oif=dpdk9";
        snat(lab, odd, &["192.0.2.99"], &[])?;
        let add = ["-a", "-H", odd, "-r", "[2001:db8:1::20]:0", "-J"];
        assert!(!lab.ipvsadm(&add)?.ok());
        ipvsadm(lab, &["-D", "-H", odd])?;
        let log = lab.log_tails(25);
        assert!(
            log.contains("source NAT by 192.0.2.99 has no ports until"),
            "{log}"
        );
        // By the host.
        let one = "proto=udp,src-range=10.0.1.11-10.0.1.11";
        snat(lab, one, &WAN4[..1], &[])?;
        let _ = until_asked(a, &lab.client, &end(addr::CLIENT4, 5300))?;
        assert_eq!(peer(a, 5300)?, wan(0));
        assert_eq!(peer(b, 5300)?, None);
        // The newest is asked first: by far end and port.
        let two = "proto=udp,dst-range=192.0.2.0-192.0.2.255:5400-5401,iif=dpdk1,oif=dpdk0";
        snat(lab, two, &WAN4[1..2], &[])?;
        assert_eq!(peer(a, 5399)?, wan(0));
        assert_eq!(peer(a, 5400)?, wan(1));
        assert_eq!(peer(b, 5401)?, wan(1));
        assert_eq!(peer(b, 5402)?, None);
        // By devices: nothing comes in by this one that is for the world.
        let three = "proto=udp,af=ipv4,iif=dpdk0,oif=dpdk0";
        snat(lab, three, &WAN4[2..], &[])?;
        assert_eq!(peer(a, 5300)?, wan(0));
        ipvsadm(lab, &["-D", "-H", three])?;
        // By a device that is not there nothing leaves.
        let four = "proto=udp,af=ipv4,oif=dpdk9";
        snat(lab, four, &WAN4[2..], &[])?;
        assert_eq!(peer(b, 5300)?, None);
        ipvsadm(lab, &["-D", "-H", four])?;
        // In turn, or a host keeps its address.
        ipvsadm(lab, &["-D", "-H", two])?;
        let all = "proto=udp,af=ipv4,iif=dpdk1";
        snat(lab, all, &WAN4, &[])?;
        let mut addrs: Vec<_> = (0..3)
            .map(|_| peer(a, 5300))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        addrs.sort_unstable();
        assert_eq!(addrs, WAN4);
        ipvsadm(lab, &["-E", "-H", all, "-s", "sh"])?;
        let kept = peer(a, 5300)?;
        assert!(kept.is_some());
        for port in 5310..5315 {
            assert_eq!(peer(a, port)?, kept);
        }
        ipvsadm(lab, &["-E", "-H", all, "-s", "rr", "-p", "60"])?;
        let kept = peer(b, 5300)?;
        assert!(kept.is_some());
        for port in 5310..5315 {
            assert_eq!(peer(b, port)?, kept);
        }
        lab.still_running()
    })
}

#[test]
fn sctp_of_hosts_inside_and_resets_of_silent_connections() -> Result<()> {
    if !root_or_skip("sctp_of_hosts_inside")? {
        return Ok(());
    }
    let mut lab = lab("sctp")?;
    lab.with_logs(|lab| {
        let world = &lab.client;
        for (wan, family) in [(WAN4[0], "ipv4"), (WAN6, "ipv6")] {
            let sctp = format!("proto=sctp,af={family},iif=dpdk1");
            snat(lab, &sctp, &[wan], &[])?;
            let tcp = format!("proto=tcp,af={family},iif=dpdk1");
            snat(lab, &tcp, &[wan], &["--conn-timeout", "2"])?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sctp_peer.py");
        let peer = |ns: &Netns, args: &[&str]| {
            let mut command = ns.command("/usr/bin/python3");
            command.arg(&script).args(args);
            command
        };
        let out = lab.file("sctp.out");
        let server = peer(world, &["server", "99"]);
        let mut server = Process::start("sctp peer", &server, &out, Lifetime::Bound)?;
        wait::until_true("the SCTP endpoint", START, || {
            server.still_running()?;
            Ok(std::fs::read_to_string(&out).is_ok_and(|t| t.contains("ready")))
        })?;
        for host in [addr::CLIENT4, addr::CLIENT6] {
            for ns in &lab.servers {
                let out = run::run(&mut peer(ns, &["client", host, "99"]))?;
                assert_eq!(
                    (out.ok(), out.stdout.trim()),
                    (true, "hello through sctp!!"),
                    "{host}: {out:?}"
                );
            }
        }
        let conns = ipvsadm(lab, &["-Lnc"])?;
        assert!(conns.contains(&format!("{}:", WAN4[0])), "{conns}");

        // Nobody says anything for two seconds: both ends hear that it is over.
        for host in [addr::CLIENT4, addr::CLIENT6] {
            let at: SocketAddr = end(host, 5500).parse().what(|| host)?;
            let listener = world.enter(|| TcpListener::bind(at).what(|| "listener"))?;
            let mut ends = Vec::new();
            for _ in 0..4 {
                ends.push(
                    lab.servers[0]
                        .enter(|| TcpStream::connect_timeout(&at, SOON).what(|| "connect"))?,
                );
                ends.push(listener.accept().what(|| "accept")?.0);
            }
            for mut end in &ends {
                end.set_read_timeout(Some(SOON)).what(|| "time-out")?;
                let read = std::io::Read::read(&mut end, &mut [0]);
                let kind = read.map_err(|e| e.kind());
                assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset), "{host}");
            }
        }
        lab.still_running()
    })
}

/// Makes server 1 a host of the world behind a router, over a link of 1300 bytes.
fn far(lab: &Lab) -> Result<()> {
    let (router, far) = (&lab.client, &lab.servers[1]);
    far.ip(&["link", "set", "eth0", "down"])?;
    veth((router, "far"), (far, "near"))?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    for (ns, dev, v4, v6) in [
        (router, "far", FAR4.1, FAR6.1),
        (far, "near", FAR4.0, FAR6.0),
    ] {
        ns.plain_frames(dev)?;
        ns.sysctl("net.ipv4.icmp_ratelimit", "0")?;
        ns.sysctl("net.ipv6.icmp.ratelimit", "0")?;
        ns.ip(&["link", "set", dev, "mtu", "1300"])?;
        ns.ip(&["addr", "add", &format!("{v4}/24"), "dev", dev])?;
        ns.ip(&["addr", "add", &format!("{v6}/64"), "dev", dev, "nodad"])?;
    }
    far.ip(&["route", "replace", "default", "via", FAR4.1])?;
    far.ip(&["-6", "route", "replace", "default", "via", FAR6.1])?;
    lab.dpip(&[
        "route",
        "add",
        "203.0.113.0/24",
        "via",
        addr::CLIENT4,
        "dev",
        "dpdk0",
    ])?
    .success()?;
    lab.dpip(&[
        "-6",
        "route",
        "add",
        "2001:db8:77::/64",
        "via",
        addr::CLIENT6,
        "dev",
        "dpdk0",
    ])?
    .success()
    .map(drop)
}

#[test]
fn routers_beyond_tell_hosts_inside_about_sizes_and_ways() -> Result<()> {
    if !root_or_skip("routers_beyond_tell_hosts_inside")? {
        return Ok(());
    }
    // Its configuration is read again below.
    let mut lab = lab_by("far", |lab| lab.start_dpvs_with(|conf| conf))?;
    lab.with_logs(|lab| {
        far(lab)?;
        for proto in ["tcp", "udp", "icmp"] {
            let what = format!("proto={proto},af=ipv4,iif=dpdk1");
            snat(lab, &what, &WAN4[..1], &[])?;
        }
        for proto in ["tcp", "udp", "icmpv6"] {
            let what = format!("proto={proto},af=ipv6,iif=dpdk1");
            snat(lab, &what, &[WAN6], &[])?;
        }
        let (host, far) = (&lab.servers[0], &lab.servers[1]);
        let _web = lab.web(far, "far")?;
        for (at, over, wan) in [(FAR4.0, 28, WAN4[0]), (FAR6.0, 48, WAN6)] {
            until_gets(host, &url(at, "/"))?;
            // Segments of an upload are as large as the host's link takes at first.
            host.ip(&["route", "flush", "cache"])?;
            host.ip(&["-6", "route", "flush", "cache"])?;
            let out = lab.upload(host, 300_000, &url(at, "/upload"))?;
            assert_eq!(out.trim(), "far 300000");
            // A ping that may not be cut hears the router, and then fits.
            let ping = |size: u32| {
                let size = size.to_string();
                let args = ["-n", "-c", "1", "-W", "2", "-M", "do", "-s", &size, at];
                host.run("ping", &args)
            };
            let _ = ping(1472 - (over - 28))?;
            let route = host.ip(&["route", "get", at])?;
            assert!(route.contains("mtu 1300"), "{route}");
            assert!(ping(1300 - over)?.ok());
            assert_eq!(seen(lab, "far").iter().filter(|s| *s == wan).count(), 1);
        }
        // The director is a hop once it is told to be one.
        let way = |family: &str, how: &str, at: &str| {
            let args = [family, how, "-n", "-q", "1", "-w", "2", "-m", "4", at];
            let way = host.must("traceroute", &args)?;
            Ok::<_, Error>(
                way.lines()
                    .skip(1)
                    .filter_map(|line| line.split_whitespace().nth(1))
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            )
        };
        // A probe may get lost; the way is what it is.
        let leads = |family: &str, hops: &[&str]| -> Result<()> {
            let at = hops.last().copied().unwrap_or_default();
            for how in ["-I", "-U", "-T"] {
                wait::until_true(&format!("{how} to go {hops:?}"), SOON, || {
                    Ok(way(family, how, at)? == hops)
                })?;
            }
            Ok(())
        };
        let ways = [
            ("-4", [addr::INSIDE4, addr::CLIENT4, FAR4.0]),
            ("-6", [addr::INSIDE6, addr::CLIENT6, FAR6.0]),
        ];
        for (family, hops) in ways {
            leads(family, &hops[1..])?;
        }
        lab.configure(|conf| conf.replace("conn {", "conn {\n        xmit_ttl"))?;
        let dpvs = lab.dpvs.as_ref().ok_or_else(|| Error::new("dpvs"))?;
        run::must("kill", &["-HUP", &dpvs.pid().to_string()])?;
        for (family, hops) in ways {
            leads(family, &hops)?;
        }
        lab.still_running()
    })
}
