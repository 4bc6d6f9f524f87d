//! Servers learn the client's address: real nginx and haproxy by PROXY protocol,
//! small receivers of our own by TOA and UOA.
//!
//! What is read here on the servers' wires is taken apart by hand, without the
//! code under test.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use compat_tests::frames::Wire;
use compat_tests::lab::{Lab, START, addr, end};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, run, wait};

const SOON: Duration = Duration::from_secs(5);

/// A lab whose dataplane runs, with VIPs and nothing else.
fn lab(test: &str, edit: impl FnOnce(String) -> String) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("c{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.start_dpvs_with(edit)?;
    for (vip, mask) in [(addr::VIP4, 32), (addr::VIP6, 128)] {
        let family = if vip.contains(':') { "-6" } else { "-4" };
        lab.dpip(&[
            family,
            "addr",
            "add",
            &format!("{vip}/{mask}"),
            "dev",
            "dpdk0",
        ])?
        .success()?;
    }
    Ok(lab)
}

/// A service of one server in both families.
fn service(lab: &Lab, kind: &str, port: u16, server: usize, options: &[&str]) -> Result<()> {
    served_at(lab, [addr::VIP4, addr::VIP6], kind, port, server, options)
}

/// The same, of the server's IPv4 and its IPv6 address at these virtual ones.
fn served_at(
    lab: &Lab,
    vips: [&str; 2],
    kind: &str,
    port: u16,
    server: usize,
    options: &[&str],
) -> Result<()> {
    for (vip, rs, laddr) in [
        (vips[0], addr::RS4[server], "10.0.1.201"),
        (vips[1], addr::RS6[server], "2001:db8:2::201"),
    ] {
        let (vip, rs) = (end(vip, port), end(rs, port));
        let must = |args: &[&str]| lab.ipvsadm(args)?.success().map(drop);
        must(&[&["-A", kind, &vip, "-s", "rr"], options].concat())?;
        must(&["-P", kind, &vip, "-z", laddr, "-F", "dpdk1"])?;
        must(&["-a", kind, &vip, "-r", &rs, "-b"])?;
    }
    Ok(())
}

/// The web servers: nginx in rs1, haproxy in rs2; both answer with what they know of
/// the connection.
fn web_servers(lab: &Lab) -> Result<[Process; 2]> {
    let dir = lab.dir.display().to_string();
    let listens: String = (9001..=9004)
        .map(|p| format!("listen {p} proxy_protocol; listen [::]:{p} proxy_protocol; "))
        .collect();
    let nginx = format!(
        "daemon off; worker_processes 1; pid {dir}/n.pid; error_log {dir}/n.err;\n\
         events {{ }}\n\
         http {{ access_log off; client_max_body_size 64m; client_body_temp_path {dir}/n-body;\n\
         proxy_temp_path {dir}/n-1; fastcgi_temp_path {dir}/n-2; uwsgi_temp_path {dir}/n-3; scgi_temp_path {dir}/n-4;\n\
         large_client_header_buffers 8 32k;\n\
         server {{ {listens}\n\
         set_real_ip_from 0.0.0.0/0; set_real_ip_from ::/0; real_ip_header proxy_protocol;\n\
         location / {{ proxy_pass http://127.0.0.1:8009; proxy_set_header X-Who \
         \"$remote_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\"; }} }}\n\
         server {{ listen 127.0.0.1:8009; location / {{ return 200 \"$http_x_who $http_content_length\\n\"; }} }}\n\
         }}\n"
    );
    let haproxy = "defaults\n mode http\n timeout client 20s\n timeout server 20s\n timeout connect 5s\n\
         \x20option http-buffer-request\n\
         global\n tune.bufsize 65536\n\
         frontend f\n bind :9001-9004 accept-proxy\n bind [::]:9001-9004 v6only accept-proxy\n\
         \x20http-request return status 200 content-type text/plain lf-string \
         \"%[src] %[src_port] %[dst] %[dst_port] %[req.hdr(content-length)]\\n\"\n";
    let (n, h) = (lab.file("n.conf"), lab.file("h.conf"));
    std::fs::write(&n, nginx).what(|| "nginx's configuration")?;
    std::fs::write(&h, haproxy).what(|| "haproxy's configuration")?;
    let mut first = lab.servers[0].command("nginx");
    first.arg("-e").arg(lab.file("n.err")).arg("-c").arg(&n);
    first.arg("-p").arg(&lab.dir).args(["-g", "user root;"]);
    let mut second = lab.servers[1].command("haproxy");
    second.args(["-db", "-f"]).arg(&h);
    let servers = [
        Process::start("nginx", &first, &lab.file("n.out"), Lifetime::Bound)?,
        Process::start("haproxy", &second, &lab.file("h.out"), Lifetime::Bound)?,
    ];
    for ns in &lab.servers {
        wait::until_true("9001 to 9004 to listen", START, || {
            Ok(ns.must("ss", &["-ltnH"])?.matches(":900").count() >= 8)
        })?;
    }
    Ok(servers)
}

/// A request; what the server says of the connection and what curl knows of it.
fn ask(lab: &Lab, host: &str, port: u16, more: &[&str]) -> Result<(String, String)> {
    let mut command: Command = lab.client.command("curl");
    command.args(["-sS", "--fail", "-m", "20", "--noproxy", "*", "-g"]);
    command.args([
        "-w",
        "%{local_ip} %{local_port} %{remote_ip} %{remote_port}",
    ]);
    command
        .args(more)
        .arg(format!("http://{}/", end(host, port)));
    let out = run::run(&mut command)?.success()?;
    let (said, known) = out
        .split_once('\n')
        .ok_or_else(|| Error::new("no answer"))?;
    Ok((said.trim().to_owned(), known.to_owned()))
}

#[test]
fn nginx_and_haproxy_read_the_clients_address_from_proxy_headers() -> Result<()> {
    if !root_or_skip("nginx_and_haproxy_read_the_clients_address_from_proxy_headers")? {
        return Ok(());
    }
    let mut lab = lab("proxy", |conf| conf)?;
    lab.with_logs(|lab| {
        let _servers = web_servers(lab)?;
        for (port, server, version) in [
            (9001, 0, "v1"),
            (9002, 0, "v2"),
            (9003, 1, "v1"),
            (9004, 1, "v2"),
        ] {
            service(lab, "-t", port, server, &["--proxy-protocol", version])?;
        }
        let body = lab.file("body");
        std::fs::write(&body, vec![b'x'; 20_000]).what(|| "body")?;
        let large = lab.file("large");
        std::fs::write(&large, vec![b'x'; 2 << 20]).what(|| "body")?;
        let long = format!("X-Long: {}", "y".repeat(6000));
        let post = format!("@{}", body.display());
        let post_large = format!("@{}", large.display());
        let check = |port: u16, host: &str, more: &[&str], length: &str| -> Result<()> {
            let (said, known) = ask(lab, host, port, more)?;
            assert_eq!(said, format!("{known}{length}"), "{host} {port} {more:?}");
            Ok(())
        };
        for port in 9001..=9004 {
            for host in [addr::VIP4, addr::VIP6] {
                check(port, host, &[], "")?;
                check(port, host, &["--data-binary", &post], " 20000")?;
                // The first segment is full: the header goes before it.
                check(port, host, &["-H", &long], "")?;
            }
            if port < 9003 {
                let args = ["-H", "Expect:", "--data-binary", &post_large];
                check(port, addr::VIP4, &args, " 2097152")?;
            }
        }
        // Segments are lost between director and servers, the first ones too.
        for ns in &lab.servers {
            lossy(ns)?;
        }
        for i in 0..6 {
            for port in 9001..=9004 {
                let long = if i % 2 == 0 { "X: y" } else { &long };
                let args = ["-H", long, "--data-binary", &post];
                check(port, addr::VIP4, &args, " 20000")?;
            }
        }
        for ns in &lab.servers {
            let counters = ns.must("nft", &["list", "table", "ip", "lossy"])?;
            assert!(
                !counters.contains("packets 0 "),
                "nothing was lost: {counters}"
            );
        }
        Ok(())
    })
}

/// Every fifth segment of a client that is longer than a bare one is lost.
fn lossy(ns: &compat_tests::netns::Netns) -> Result<()> {
    nft(
        ns,
        "add table ip lossy\n\
         add chain ip lossy pre { type filter hook prerouting priority -300; }\n\
         add rule ip lossy pre tcp dport 9001-9004 tcp flags & (syn|rst) == 0 ip length > 80 numgen inc mod 5 == 0 counter drop\n",
    )
}

fn nft(ns: &compat_tests::netns::Netns, rules: &str) -> Result<()> {
    let mut command = ns.command("nft");
    run::run_with(command.args(["-f", "-"]), rules.as_bytes(), SOON)?
        .success()
        .map(drop)
}

/// An IPv4 packet on a server's wire: protocol, options, payload.
fn ip4(frame: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ip = frame.get(14..)?;
    if frame.get(12..14)? != [8, 0] {
        return None;
    }
    let header = usize::from(ip.first()? & 15) * 4;
    let len = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    Some((*ip.get(9)?, ip.get(20..header)?, ip.get(header..len)?))
}

/// The TOA option of a segment.
fn toa(segment: &[u8]) -> Option<SocketAddr> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let mut left = segment.get(20..header)?;
    loop {
        let (&kind, rest) = left.split_first()?;
        if kind == 1 {
            left = rest;
            continue;
        }
        let len = usize::from(*rest.first()?);
        let option = left.get(..len)?;
        if kind == 254 {
            let port = u16::from_be_bytes([option[2], option[3]]);
            let ip: IpAddr = match len {
                8 => <[u8; 4]>::try_from(&option[4..]).ok()?.into(),
                20 => <[u8; 16]>::try_from(&option[4..]).ok()?.into(),
                _ => return None,
            };
            return Some((ip, port).into());
        }
        left = left.get(len..)?;
    }
}

#[test]
fn receivers_find_toa_uoa_and_proxy_headers_of_datagrams() -> Result<()> {
    if !root_or_skip("receivers_find_toa_uoa_and_proxy_headers_of_datagrams")? {
        return Ok(());
    }
    let mut lab = lab("uoa", |conf| {
        conf.replace("uoa_max_trail   0", "uoa_max_trail   3")
    })?;
    lab.with_logs(|lab| {
        service(lab, "-t", 80, 0, &[])?;
        service(lab, "-u", 53, 0, &[])?;
        service(lab, "-u", 54, 0, &["--proxy-protocol", "v2"])?;
        lab.start_nginx(0)?;
        let wire = Wire::open(&lab.servers[0], "eth0")?;

        // TOA, as an unmodified client's connection has it.
        let (_, known) = {
            let mut command = lab.client.command("curl");
            command.args(["-sS", "--fail", "-m", "5", "--noproxy", "*"]);
            command.args(["-w", "%{local_port}", &format!("http://{}/", addr::VIP4)]);
            let out = run::run(&mut command)?.success()?;
            let (body, port) = out
                .split_once('\n')
                .ok_or_else(|| Error::new("no answer"))?;
            (body.to_owned(), port.to_owned())
        };
        let client: SocketAddr = format!("{}:{known}", addr::CLIENT4)
            .parse()
            .what(|| "client")?;
        let seen = wire.receive(SOON, |f| {
            ip4(f).is_some_and(|(proto, _, p)| proto == 6 && toa(p) == Some(client))
        })?;
        assert!(seen.is_some(), "no segment with the option of {client}");

        // UOA by a protocol of its own.
        let vip =
            |port: u16| -> SocketAddr { (addr::VIP4.parse::<IpAddr>().unwrap(), port).into() };
        let socket = lab
            .client
            .enter(|| UdpSocket::bind((addr::CLIENT4, 0)).what(|| "client"))?;
        let port = socket.local_addr().what(|| "client")?.port().to_be_bytes();
        let host: [u8; 4] = [192, 0, 2, 100];
        let option = [&[31, 8], &port[..], &host[..]].concat();
        let opp = [&[0x10, 17, 0, 12], &option[..]].concat();
        let mut buffer = vec![0; 2000];
        while wire.poll(&mut buffer)?.is_some() {}
        let mut with = 0;
        for i in 0..5u8 {
            socket.send_to(&[b'q', i], vip(53)).what(|| "send")?;
            let frame = wire.receive(SOON, |f| {
                ip4(f).is_some_and(|(_, _, p)| p.ends_with(&[b'q', i]))
            })?;
            let frame = frame.ok_or_else(|| Error::new("a datagram did not come"))?;
            let (proto, _, payload) = ip4(&frame).ok_or_else(|| Error::new("IPv4"))?;
            if proto == 248 {
                assert_eq!(payload[..12], opp, "{payload:x?}");
                with += 1;
            } else {
                assert_eq!((proto, payload.len()), (17, 10));
            }
        }
        assert_eq!(with, 3);

        // As an IP option, which the server's kernel passes over.
        lab.configure(|conf| {
            conf.replace(
                "uoa_max_trail   0",
                "uoa_max_trail   3\n        uoa_mode ipo",
            )
        })?;
        let dpvs = lab.dpvs.as_ref().ok_or_else(|| Error::new("dpvs"))?;
        run::must("kill", &["-HUP", &dpvs.pid().to_string()])?;
        let server = lab.servers[0].enter(|| {
            let socket = UdpSocket::bind((addr::RS4[0], 53)).what(|| "server")?;
            socket.set_read_timeout(Some(SOON)).what(|| "time-out")?;
            Ok(socket)
        })?;
        wait::until_true("the option to appear", SOON, || {
            let socket = lab
                .client
                .enter(|| UdpSocket::bind((addr::CLIENT4, 0)).what(|| "client"))?;
            let port = socket.local_addr().what(|| "client")?.port().to_be_bytes();
            let option = [&[31, 8], &port[..], &host[..]].concat();
            let large = vec![0x5a; 1472];
            socket.send_to(b"small", vip(53)).what(|| "send")?;
            let frame = wire.receive(Duration::from_secs(1), |f| {
                ip4(f).is_some_and(|(proto, _, p)| proto == 17 && p.ends_with(b"small"))
            })?;
            // Not read again yet.
            let Some(frame) = frame else { return Ok(false) };
            let (len, _) = server
                .recv_from(&mut buffer)
                .what(|| "the server got nothing")?;
            if ip4(&frame).is_none_or(|(_, options, _)| options != option) {
                return Ok(false);
            }
            assert_eq!(&buffer[..len], b"small");
            // No room for it: an empty datagram first, and the whole one.
            socket.send_to(&large, vip(53)).what(|| "send")?;
            for want in [0, large.len()] {
                let (len, _) = server
                    .recv_from(&mut buffer)
                    .what(|| "the server got nothing")?;
                assert_eq!(len, want);
            }
            Ok(true)
        })?;

        // PROXY protocol, version 2, in the first datagram.
        let server = lab.servers[0].enter(|| {
            let socket = UdpSocket::bind((addr::RS6[0], 54)).what(|| "server")?;
            socket.set_read_timeout(Some(SOON)).what(|| "time-out")?;
            Ok(socket)
        })?;
        let socket = lab
            .client
            .enter(|| UdpSocket::bind((addr::CLIENT6, 0)).what(|| "client"))?;
        let to: SocketAddr = end(addr::VIP6, 54).parse().what(|| "VIP")?;
        let from = socket.local_addr().what(|| "client")?;
        for i in 0..3 {
            socket.send_to(b"hello", to).what(|| "send")?;
            let (len, peer) = server
                .recv_from(&mut buffer)
                .what(|| "the server got nothing")?;
            let data = &buffer[..len];
            if i > 0 {
                assert_eq!(data, b"hello");
            } else {
                let (IpAddr::V6(src), IpAddr::V6(dst)) = (from.ip(), to.ip()) else {
                    return Err(Error::new("IPv6"));
                };
                let want = [
                    &b"\r\n\r\n\0\r\nQUIT\n\x21\x22\0\x24"[..],
                    &src.octets(),
                    &dst.octets(),
                    &from.port().to_be_bytes(),
                    &to.port().to_be_bytes(),
                    b"hello",
                ];
                assert_eq!(data, want.concat());
            }
            server.send_to(b"world", peer).what(|| "answer")?;
        }
        socket.set_read_timeout(Some(SOON)).what(|| "time-out")?;
        let (len, peer) = socket.recv_from(&mut buffer).what(|| "no answer")?;
        assert_eq!((&buffer[..len], peer), (&b"world"[..], to));
        Ok(())
    })
}

/// The first segment or datagram behind an IPv6 header, and its protocol.
fn ip6(frame: &[u8]) -> Option<(u8, &[u8])> {
    let ip = frame.get(14..)?;
    if frame.get(12..14)? != [0x86, 0xdd] {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
    Some((*ip.get(6)?, ip.get(40..40 + len)?))
}

#[test]
fn servers_of_the_other_family_learn_the_client_too() -> Result<()> {
    if !root_or_skip("servers_of_the_other_family_learn_the_client_too")? {
        return Ok(());
    }
    let mut lab = lab("cross", |conf| {
        conf.replace("uoa_max_trail   0", "uoa_max_trail   3")
    })?;
    lab.with_logs(|lab| {
        let _servers = web_servers(lab)?;
        lab.start_nginx(0)?;
        let cross = |kind: &str, port: u16, server: usize, options: &[&str]| {
            let vips = [addr::VIP6, addr::VIP4];
            served_at(lab, vips, kind, port, server, options)
        };
        // nginx and haproxy read both versions.
        let body = lab.file("body");
        std::fs::write(&body, vec![b'x'; 20_000]).what(|| "body")?;
        let post = format!("@{}", body.display());
        for (port, server, version) in [(9001, 0, "v1"), (9002, 0, "v2"), (9003, 1, "v2")] {
            cross("-t", port, server, &["--proxy-protocol", version])?;
            for host in [addr::VIP4, addr::VIP6] {
                wait::until_true(&format!("an answer of {host}"), SOON, || {
                    Ok(ask(lab, host, port, &[]).is_ok())
                })?;
                let (said, known) = ask(lab, host, port, &["--data-binary", &post])?;
                assert_eq!(said, format!("{known} 20000"), "{host} {port}");
            }
        }

        // TOA, in the client's family.
        cross("-t", 80, 0, &[])?;
        let wire = Wire::open(&lab.servers[0], "eth0")?;
        for host in [addr::VIP6, addr::VIP4] {
            let to = format!("http://{}/", end(host, 80));
            let mut command = lab.client.command("curl");
            command.args([
                "-sS",
                "--fail",
                "-m",
                "5",
                "--noproxy",
                "*",
                "-o",
                "/dev/null",
            ]);
            command.args(["-w", "%{local_port}", &to]);
            let port: u16 = run::run(&mut command)?.success()?.parse().what(|| "port")?;
            let client = if host == addr::VIP6 {
                addr::CLIENT6
            } else {
                addr::CLIENT4
            };
            let client: SocketAddr = end(client, port).parse().what(|| "client")?;
            let seen = wire.receive(SOON, |f| {
                let tcp = if client.is_ipv6() {
                    ip4(f).map(|(proto, _, p)| (proto, p))
                } else {
                    ip6(f)
                };
                tcp.is_some_and(|(proto, p)| proto == 6 && toa(p) == Some(client))
            })?;
            assert!(seen.is_some(), "no segment with the option of {client}");
        }

        // UOA: an IPv6 client's address in a header of its own behind IPv4's.
        cross("-u", 53, 0, &[])?;
        let socket = lab
            .client
            .enter(|| UdpSocket::bind((addr::CLIENT6, 0)).what(|| "client"))?;
        let port = socket.local_addr().what(|| "client")?.port().to_be_bytes();
        let host: std::net::Ipv6Addr = addr::CLIENT6.parse().what(|| "client")?;
        let opp = [
            &[0x20, 17, 0, 24, 31, 20][..],
            &port[..],
            &host.octets()[..],
        ]
        .concat();
        for i in 0..5u8 {
            let to: SocketAddr = end(addr::VIP6, 53).parse().what(|| "VIP")?;
            socket.send_to(&[b'q', i], to).what(|| "send")?;
            let frame = wire.receive(SOON, |f| {
                ip4(f).is_some_and(|(_, _, p)| p.ends_with(&[b'q', i]))
            })?;
            let frame = frame.ok_or_else(|| Error::new("a datagram did not come"))?;
            let (proto, _, payload) = ip4(&frame).ok_or_else(|| Error::new("IPv4"))?;
            if i < 3 {
                assert_eq!((proto, &payload[..24]), (248, &opp[..]));
            } else {
                assert_eq!((proto, payload.len()), (17, 10));
            }
        }
        Ok(())
    })
}

/// A file system mounted for a test.
struct Mount(std::path::PathBuf);

impl Mount {
    fn new(kind: &str, at: std::path::PathBuf) -> Result<Option<Self>> {
        std::fs::create_dir_all(&at).what(|| kind.to_owned())?;
        let path = at.display().to_string();
        let out = run::run(Command::new("mount").args(["-t", kind, "none", &path]))?;
        Ok(out.ok().then_some(Self(at)))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run::run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

#[test]
fn an_unmodified_server_sees_the_client_by_the_ebpf_example() -> Result<()> {
    const TEST: &str = "an_unmodified_server_sees_the_client_by_the_ebpf_example";
    let dir = tempfile::tempdir().what(|| "a folder")?;
    let object = dir.path().join("toa.bpf.o");
    let source = compat_tests::bins::repository()?.join("conf/ebpf/toa.bpf.c");
    let arch = std::env::consts::ARCH;
    let mut clang = Command::new("clang");
    clang.args([
        "-O2",
        "-g",
        "-Wall",
        "-Werror",
        "-target",
        "bpf",
        "-DFROM=0x0a0001c8",
    ]);
    clang.arg("-DFROM_MASK=0xfffffff8");
    clang.arg(format!("-I/usr/include/{arch}-linux-gnu"));
    run::run(clang.arg("-c").arg(&source).arg("-o").arg(&object))?.success()?;
    if !root_or_skip(TEST)? {
        return Ok(());
    }
    let mut lab = lab("ebpf", |conf| conf)?;
    lab.with_logs(|lab| {
        service(lab, "-t", 80, 0, &[])?;
        let bpf = Mount::new("bpf", lab.file("bpf"))?;
        let cgroups = Mount::new("cgroup2", lab.file("cgroup"))?;
        let (Some(bpf), Some(cgroups)) = (bpf, cgroups) else {
            eprintln!("{TEST}: this kernel has no bpf or no cgroup2; compiled only");
            return Ok(());
        };
        let group = cgroups.0.join(format!("toa-{}", std::process::id()));
        std::fs::create_dir(&group).what(|| "a cgroup")?;
        let bpftool = |args: &[&str]| run::run(Command::new("/usr/sbin/bpftool").args(args));
        let programs = bpf.0.join("toa").display().to_string();
        let path = group.display().to_string();
        bpftool(&["prog", "loadall", &object.display().to_string(), &programs])?.success()?;
        for (hook, program) in [
            ("sock_ops", "toa"),
            ("cgroup_inet4_getpeername", "peer4"),
            ("cgroup_inet6_getpeername", "peer6"),
        ] {
            let program = format!("{programs}/{program}");
            bpftool(&["cgroup", "attach", &path, hook, "pinned", &program])?.success()?;
        }
        let conf = format!(
            "daemon off; master_process off; pid {0}/n.pid; error_log {0}/n.err;\n\
             events {{ }}\n\
             http {{ access_log off; client_body_temp_path {0}/n-0; proxy_temp_path {0}/n-1;\n\
             fastcgi_temp_path {0}/n-2; uwsgi_temp_path {0}/n-3; scgi_temp_path {0}/n-4;\n\
             server {{ listen 80; listen [::]:80; location / {{ return 200 \"$remote_addr $remote_port\\n\"; }} }} }}\n",
            lab.dir.display()
        );
        std::fs::write(lab.file("n.conf"), conf).what(|| "nginx's configuration")?;
        let mut nginx = lab.servers[0].command("sh");
        nginx.arg("-c").arg(format!(
            "echo $$ >{path}/cgroup.procs && exec nginx -e {0}/n.err -p {0} -c {0}/n.conf -g 'user root;'",
            lab.dir.display()
        ));
        let mut nginx = Process::start("nginx", &nginx, &lab.file("n.out"), Lifetime::Bound)?;
        wait::until_true("nginx to listen", START, || {
            nginx.still_running()?;
            Ok(lab.servers[0].must("ss", &["-ltnH"])?.matches(":80 ").count() >= 2)
        })?;
        for host in [addr::VIP4, addr::VIP6] {
            let (said, known) = ask(lab, host, 80, &[])?;
            let client: Vec<&str> = known.split(' ').take(2).collect();
            assert_eq!(said, client.join(" "));
        }
        // One that does not come through the load balancer is who it is.
        let direct = format!("http://{}/", addr::RS4[0]);
        let said = lab.servers[1].must("curl", &["-sS", "-m", "5", "--noproxy", "*", &direct])?;
        assert!(said.starts_with(addr::RS4[1]), "{said}");
        nginx.stop()?;
        let _ = std::fs::remove_dir(&group);
        Ok(())
    })
}
