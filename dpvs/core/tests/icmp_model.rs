//! ICMP errors about packets of every mode against a naive model: which end hears of
//! it, from whom, about which packet, and with what MTU.
//!
//! Between the families the quoted packet is the one the other end sent, and the message
//! the one of RFC 7915's tables. Each case is a packet script: a connection, a packet of it, a router's error about
//! that, and what has to come out. The model is told the ends of both sides and knows
//! nothing else of the code; checksums and lengths are verified by the script runner.

#![allow(clippy::unwrap_used, clippy::panic)]

mod pkt;

use std::fmt::Write;

use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    FullNat,
    Nat,
    Snat,
    Dr,
    Tunnel,
}

#[derive(Clone, Debug)]
struct Case {
    mode: Mode,
    v6: bool,
    proto: &'static str,
    client: u16,
    service: u16,
    server: u16,
    /// The error is about a packet to the server, else about one to the client.
    to_server: bool,
    /// `None`: the TTL, or unreachable with that code.
    mtu: Option<u32>,
    code: Option<u8>,
    /// Bytes quoted behind the headers.
    quoted: usize,
    badsum: bool,
}

/// What a message says.
fn kind(case: &Case, mtu: u32) -> String {
    match (case.mtu, case.code) {
        (Some(_), _) if case.v6 => format!("too-big mtu={mtu}"),
        (Some(_), _) => format!("frag-needed mtu={mtu}"),
        (None, Some(code)) => format!("unreachable code={code}"),
        (None, None) => "time-exceeded".to_owned(),
    }
}

fn end(addr: &str, port: &str) -> String {
    if addr.contains(':') {
        format!("[{addr}]:{port}")
    } else {
        format!("{addr}:{port}")
    }
}

/// A packet without payload as hex, up to its ports and four bytes more.
fn hex(proto: &str, (src, sport): (&str, u16), (dst, dport): (&str, u16)) -> String {
    let number = match proto {
        "tcp" => 6,
        "udp" => 17,
        _ => 132,
    };
    let octets = |a: &str| match a.parse().unwrap() {
        std::net::IpAddr::V4(a) => a.octets().to_vec(),
        std::net::IpAddr::V6(a) => a.octets().to_vec(),
    };
    let mut b = if src.contains(':') {
        vec![0x60, 0, 0, 0, 0, 8, number, 64]
    } else {
        vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, number, 0, 0]
    };
    b.extend([octets(src), octets(dst)].concat());
    b.extend([sport.to_be_bytes(), dport.to_be_bytes()].concat());
    b.extend([0, 8, 0, 0]);
    b.iter().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    })
}

/// The script of a case.
fn script(case: &Case) -> String {
    let six = case.v6;
    let pick = |four: &'static str, other: &'static str| if six { other } else { four };
    let (client, vip) = (
        pick("198.51.100.7", "2001:db8:ff::7"),
        pick("192.0.2.10", "2001:db8:1::10"),
    );
    let (server, laddr) = (
        pick("10.0.1.11", "2001:db8:2::11"),
        pick("10.0.1.200", "2001:db8:2::200"),
    );
    let own = pick("10.0.1.1", "2001:db8:2::1");
    let (outside, inside) = (
        pick("203.0.113.9", "2001:db8:ee::9"),
        pick("10.0.1.254", "2001:db8:2::fe"),
    );
    let any = pick("0.0.0.0", "::");
    let wan = pick("192.0.2.20", "2001:db8:1::20");
    let Case { proto, quoted, .. } = *case;
    let (cp, vp, rp) = (
        case.client.to_string(),
        case.service.to_string(),
        case.server.to_string(),
    );
    let mut s = String::from("set forwarding on\nset forwarding6 on\n");
    let gateway = pick("192.0.2.254", "2001:db8:1::fe");
    let net = pick("198.51.100.0/24", "2001:db8:ff::/64");
    writeln!(
        s,
        "neigh 0 {gateway} client\nroute {net} port 0 via {gateway}"
    )
    .unwrap();
    // What a packet looks like on either side: (from, to) towards the server.
    let at = end(vip, &vp);
    let how = match case.mode {
        Mode::FullNat | Mode::Snat => "",
        Mode::Nat => " nat",
        Mode::Dr => " dr",
        Mode::Tunnel => " tunnel",
    };
    let direct = matches!(case.mode, Mode::Dr | Mode::Tunnel);
    if case.mode == Mode::Snat {
        let (any, wan0) = (end(any, "1"), end(wan, "0"));
        writeln!(s, "addr 0 {wan}/{} sapool", if six { 128 } else { 32 }).unwrap();
        writeln!(
            s,
            "service {proto} {any} rr oif 0\ndest {proto} {any} {wan0} snat"
        )
        .unwrap();
    } else {
        let server = end(server, if direct { &vp } else { &rp });
        writeln!(
            s,
            "service {proto} {at} rr\ndest {proto} {at} {server}{how}"
        )
        .unwrap();
    }
    // Ends outside (a remote host and us), and inside (us and a host).
    let (out_far, out_near, in_near, in_far) = match case.mode {
        Mode::FullNat => (end(client, &cp), at, end(laddr, "$p"), end(server, &rp)),
        Mode::Nat => (end(client, &cp), at, end(client, &cp), end(server, &rp)),
        Mode::Snat => (
            end(client, &cp),
            end(wan, "$p"),
            end(client, &cp),
            end(server, &rp),
        ),
        Mode::Dr | Mode::Tunnel => (end(client, &cp), at.clone(), end(client, &cp), at),
    };
    // With source NAT the connection begins inside.
    let snat = case.mode == Mode::Snat;
    let (first, second) = match proto {
        "tcp" if snat => (" SA seq=1000 ack=10", " S seq=9"),
        "tcp" => (" S seq=1000", " SA seq=9 ack=1"),
        "sctp" if snat => (" chunk=init-ack tag=5 len=60", " chunk=init len=60"),
        "sctp" => (" chunk=init len=60", " chunk=init-ack tag=5 len=60"),
        _ => (" len=60", " len=60"),
    };
    // A whole header of each kind, and some of what is behind.
    let header = if six { 40 } else { 20 };
    let more = if proto == "tcp" {
        quoted % 13
    } else {
        quoted % 60
    };
    let about = header + 8 + more;
    let wrap = if case.mode == Mode::Tunnel {
        " wrap=ip"
    } else {
        ""
    };
    let towards = |s: &mut String| {
        writeln!(s, "in 0 {proto} {out_far} > {out_near}{first}").unwrap();
        writeln!(
            s,
            "out 1 {proto} {in_near} > {in_far}{}{wrap}",
            &first[..first.find(" seq").unwrap_or(0)]
        )
        .unwrap();
    };
    let back = |s: &mut String| {
        writeln!(s, "in 1 {proto} {in_far} > {in_near}{second}").unwrap();
        writeln!(s, "out 0 {proto} {out_near} > {out_far}").unwrap();
    };
    let said = case.mtu.unwrap_or(0);
    let bad = if case.badsum { " badsum" } else { "" };
    let addr = |end: &str| {
        end.rsplit_once(':')
            .unwrap()
            .0
            .trim_matches(['[', ']'])
            .to_owned()
    };
    let seq = |n: u32| {
        if proto == "tcp" {
            format!(" quote-seq={n}")
        } else {
            String::new()
        }
    };
    let sum = if six { "" } else { " quote-sum=ok" };
    let (error, answer) = match (case.mode, case.to_server) {
        (Mode::Dr, true) => {
            towards(&mut s);
            // Between router and client only, and past us; a wrong sum is theirs.
            let line = format!(
                "icmp {inside} > {client} {} about={about}",
                kind(case, said)
            );
            let out = format!(
                "out 0 icmp {inside} > {client} {} quote={out_far}>{out_near} ttl=63",
                kind(case, said)
            );
            (format!("in 1 {line}"), out)
        }
        (Mode::Tunnel, true) => {
            towards(&mut s);
            let error = format!(
                "in 1 icmp {inside} > {own} {} about={}{bad}",
                kind(case, said),
                header + about
            );
            let least = if six { 1280 } else { 68 };
            let told = said.saturating_sub(header as u32).max(least);
            // Of the outer packet it says no more than that a host is out of reach.
            let code = case.code.map(|_| if six { 3 } else { 1 });
            let kind = kind(
                &Case {
                    code,
                    ..case.clone()
                },
                told,
            );
            (
                error,
                format!(
                    "out 0 icmp {vip} > {client} {kind} quote={out_far}>{out_near} quoted={about} dmac=client"
                ),
            )
        }
        (Mode::Dr | Mode::Tunnel, false) => {
            towards(&mut s);
            let hex = hex(proto, (vip, case.service), (client, case.client));
            let line = format!("icmp {outside} > {vip} {}", kind(case, said));
            let out = format!("out 1 {line} quote={out_near}>{out_far}{wrap}");
            (format!("in 0 {line} hex={hex}"), out)
        }
        // About what went inside: the far end outside sent it. About what went outside
        // a host inside did. With source NAT the first packet comes from inside.
        (mode, true) => {
            if mode == Mode::Snat {
                back(&mut s);
            }
            towards(&mut s);
            let to = addr(&in_near);
            // What stands before the MTU is not for us (RFC 1191, RFC 4884).
            let unused = if six { 0 } else { (quoted as u32 % 3) << 17 };
            let error = format!(
                "in 1 icmp {inside} > {to} {} about={about}{bad}",
                kind(case, said | unused)
            );
            let (least, grows) = if six { (1280, 20) } else { (68, 8) };
            let told = if mode == Mode::FullNat && proto == "tcp" && said > least {
                (said - grows).max(least)
            } else {
                said
            };
            let us = addr(&out_near);
            let out = format!(
                "out 0 icmp {us} > {client} {} quote={out_far}>{out_near} quoted={about} dmac=client{}{sum}",
                kind(case, told | unused),
                seq(1000)
            );
            (error, out)
        }
        (mode, false) => {
            if mode != Mode::Snat {
                towards(&mut s);
            }
            back(&mut s);
            let us = addr(&out_near);
            let error = format!(
                "in 0 icmp {outside} > {us} {} about={about}{bad}",
                kind(case, said)
            );
            // Where the server sees clients' addresses it sees the router's.
            let from = if mode == Mode::FullNat {
                laddr
            } else {
                outside
            };
            let out = format!(
                "out 1 icmp {from} > {server} {} quote={in_far}>{in_near} quoted={about} dmac=rs{}{sum}",
                kind(case, said),
                seq(9)
            );
            (error, out)
        }
    };
    // Of direct routing's packets the sum is for their ends to look at.
    let dropped = case.badsum && !(case.mode == Mode::Dr || direct && !case.to_server);
    let answer = if dropped {
        "drop bad-checksum".to_owned()
    } else {
        answer
    };
    writeln!(s, "{error}\n{answer}").unwrap();
    s
}

fn cases() -> impl Strategy<Value = Case> {
    let modes = prop_oneof![
        2 => Just(Mode::FullNat),
        1 => Just(Mode::Nat),
        1 => Just(Mode::Snat),
        1 => Just(Mode::Dr),
        1 => Just(Mode::Tunnel),
    ];
    let protos = prop_oneof![Just("tcp"), Just("udp"), Just("sctp")];
    let mtu = prop_oneof![
        Just(0),
        1u32..100,
        66u32..80,
        500u32..1600,
        1270u32..1310,
        Just(65_535)
    ];
    let what = prop_oneof![
        3 => mtu.prop_map(|mtu| (Some(mtu), None)),
        1 => (0u8..4).prop_map(|code| (None, Some(code))),
        1 => Just((None, None)),
    ];
    let ports = (1u16..60_000, 1u16..60_000, 1u16..60_000);
    (
        modes,
        any::<bool>(),
        protos,
        ports,
        any::<bool>(),
        what,
        0usize..60,
        0u8..10,
    )
        .prop_map(
            |(mode, v6, proto, (client, service, server), to_server, (mtu, code), quoted, bad)| {
                Case {
                    mode,
                    v6,
                    proto,
                    client,
                    service,
                    server,
                    to_server,
                    mtu,
                    code,
                    quoted,
                    badsum: bad == 0,
                }
            },
        )
}

/// A connection between the families, and an error about a packet of it.
#[derive(Clone, Debug)]
struct Cross {
    /// The client has IPv6, the server IPv4; or the other way round.
    client6: bool,
    tcp: bool,
    ports: (u16, u16, u16),
    to_server: bool,
    /// What the error's IP header is of: MTU, a port out of reach, or the TTL.
    mtu: Option<u32>,
    unreachable: bool,
    len: u16,
    quoted: u16,
    tos: u8,
    ttl: u8,
}

/// The script of a case between the families.
fn cross_script(case: &Cross) -> String {
    let side = |six: bool, four: &'static str, other: &'static str| if six { other } else { four };
    let outside6 = case.client6;
    let client = side(outside6, "198.51.100.7", "2001:db8:ff::7");
    let vip = side(outside6, "192.0.2.10", "2001:db8:1::10");
    let server = side(!outside6, "10.0.1.11", "2001:db8:2::11");
    let laddr = side(!outside6, "10.0.1.200", "2001:db8:2::200");
    let (cp, vp, rp) = case.ports;
    let (out_far, out_near) = (end(client, &cp.to_string()), end(vip, &vp.to_string()));
    let (in_near, in_far) = (end(laddr, "$p"), end(server, &rp.to_string()));
    let proto = if case.tcp { "tcp" } else { "udp" };
    let Cross { tos, ttl, len, .. } = *case;
    let ip = format!("tos={tos} ttl={ttl}");
    let (syn, answer) = if case.tcp {
        (format!(" S seq=1000 {ip}"), format!(" SA seq=9 ack=1 {ip}"))
    } else {
        (format!(" len={len} {ip}"), format!(" len={len} {ip}"))
    };
    let mut s = format!(
        "service {proto} {out_near} rr laddr {laddr}\ndest {proto} {out_near} {in_far}\n\
         in 0 {proto} {out_far} > {out_near}{syn}\nout 1 {proto} {in_near} > {in_far} {ip}\n"
    );
    if !case.to_server {
        writeln!(s, "in 1 {proto} {in_far} > {in_near}{answer}").unwrap();
        writeln!(s, "out 0 {proto} {out_near} > {out_far} {ip}").unwrap();
    }
    // The error is of the family of the side it comes from.
    let from6 = outside6 != case.to_server;
    let behind = 8 + if case.tcp {
        case.quoted % 12
    } else {
        case.quoted
    };
    let (about, quoted) = if from6 {
        (40 + behind, 20 + behind)
    } else {
        (20 + behind, 40 + behind)
    };
    let message = |six: bool, mtu: u32| match case.mtu {
        Some(_) if six => format!("too-big mtu={mtu}"),
        Some(_) => format!("frag-needed mtu={mtu}"),
        None if case.unreachable => format!("unreachable code={}", if six { 4 } else { 3 }),
        None => "time-exceeded".to_owned(),
    };
    let said = case.mtu.unwrap_or(0);
    // A client's packets grow by its address.
    let grows = match (case.tcp && case.to_server, case.client6) {
        (false, _) => 0,
        (true, false) => 8,
        (true, true) => 20,
    };
    let told = if from6 {
        (said - grows.min(said)).max(1280) - 20
    } else {
        (said - grows.min(said) + 20).max(1280)
    };
    let (port, router, to) = if case.to_server {
        (1, side(from6, "10.0.1.254", "2001:db8:2::fe"), laddr)
    } else {
        (0, side(from6, "203.0.113.9", "2001:db8:ee::9"), vip)
    };
    let error = message(from6, said);
    writeln!(s, "in {port} icmp {router} > {to} {error} about={about}").unwrap();
    let (near, far, quote) = if case.to_server {
        (vip, client, format!("{out_far}>{out_near}"))
    } else {
        (laddr, server, format!("{in_far}>{in_near}"))
    };
    let answer = message(!from6, told);
    // Options grow or go on the way: of TCP only the ports and the number are the same.
    let size = if case.tcp {
        let seq = if case.to_server { 1000 } else { 9 };
        format!("quote-seq={seq}")
    } else {
        format!("quote-len={}", len + 8)
    };
    let sum = if from6 { " quote-sum=ok" } else { "" };
    writeln!(
        s,
        "out {} icmp {near} > {far} {answer} quote={quote} quoted={quoted} quote-tos={tos} \
         quote-ttl={ttl} {size}{sum}",
        1 - port
    )
    .unwrap();
    s
}

fn crosses() -> impl Strategy<Value = Cross> {
    let what = prop_oneof![
        2 => prop_oneof![1280u32..1310, 1310u32..1600, Just(9000)].prop_map(|mtu| (Some(mtu), false)),
        1 => any::<bool>().prop_map(|unreachable| (None, unreachable)),
    ];
    (
        any::<(bool, bool, bool)>(),
        (1u16..60_000, 1u16..60_000, 1u16..60_000),
        what,
        60u16..1000,
        0u16..50,
        any::<u8>(),
        2u8..,
    )
        .prop_map(
            |(bools, ports, (mtu, unreachable), len, quoted, tos, ttl)| Cross {
                client6: bools.0,
                tcp: bools.1,
                ports,
                to_server: bools.2,
                mtu,
                unreachable,
                len,
                quoted,
                tos,
                ttl,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn errors_cross_the_families(case in crosses()) {
        let script = cross_script(&case);
        if let Err(e) = pkt::run::run("case", &script) {
            panic!("\n{e}\n{script}");
        }
    }

    #[test]
    fn errors_reach_the_end_that_sent_the_packet(case in cases()) {
        let script = script(&case);
        if let Err(e) = pkt::run::run("case", &script) {
            panic!("\n{e}\n{script}");
        }
    }
}
