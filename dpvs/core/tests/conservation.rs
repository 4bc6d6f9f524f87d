//! Nothing is lost without a reason: random and broken frames into a director with
//! every forwarding mode, on one, two and three workers.
//!
//! After each burst the books of every worker have to balance (`pkt/books.rs`): what
//! it was given and made is what it gave away, dropped for a reason or still has.
//! Buffers run out, time passes, servers and addresses go and come back meanwhile.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pkt;
#[path = "support/rng.rs"]
mod rng;

use dpvs_core::message::{Query, Reply};
use dpvs_core::service::DestId;
use pkt::build;
use pkt::lab::{Lab, Way};
use pkt::packet::{MACS, Text};
use pkt::vars::Vars;
use rng::Rng;

/// The director's configuration; no neighbour of 10.0.1.50 is known.
const CONFIG: &str = "
addr 0 192.0.2.20/32 sapool
addr 0 2001:db8:1::20/128 sapool
addr 1 10.0.1.2/32
route 203.0.113.0/24 port 0 via 192.0.2.254
route 198.51.100.0/24 port 0 via 192.0.2.254
route 2001:db8:ff::/64 port 0 via 2001:db8:1::fe
route 10.8.0.0/16 port 3
neigh 0 192.0.2.254 client
neigh 0 2001:db8:1::fe client
set forwarding on
set forwarding6 on
set queue 4
set timeout UDP_ONEWAY 20
set timeout UDP_NORM 20
vlan 2 0 100
addr 2 172.16.0.1/24
tunnel 3 gre 10.0.1.2 10.0.1.13
kni-host 192.0.2.30 port 0
service tcp 192.0.2.10:80 rr
dest tcp 192.0.2.10:80 10.0.1.11:8080
dest tcp 192.0.2.10:80 10.0.1.50:8080
service udp 192.0.2.10:53 rr expire-quiescent
dest udp 192.0.2.10:53 10.0.1.12:5353
dest udp 192.0.2.10:53 10.0.1.50:5353
service sctp 192.0.2.10:90 rr
dest sctp 192.0.2.10:90 10.0.1.11:90
service tcp [2001:db8:1::10]:80 wlc
dest tcp [2001:db8:1::10]:80 [2001:db8:2::11]:8080
service udp [2001:db8:1::10]:64 rr laddr 10.0.1.200
dest udp [2001:db8:1::10]:64 10.0.1.11:64
service tcp 192.0.2.10:46 rr laddr 2001:db8:2::200
dest tcp 192.0.2.10:46 [2001:db8:2::11]:46
service tcp 192.0.2.10:81 rr synproxy
dest tcp 192.0.2.10:81 10.0.1.11:81
service udp 192.0.2.10:82 rr
dest udp 192.0.2.10:82 10.0.1.11:82 nat
service tcp 192.0.2.10:82 rr
dest tcp 192.0.2.10:82 10.0.1.11:82 nat
service udp 192.0.2.10:83 rr
dest udp 192.0.2.10:83 10.0.1.11:83 dr
service tcp 192.0.2.10:84 rr
dest tcp 192.0.2.10:84 10.0.1.11:84 tunnel
service udp 192.0.2.10:84 rr
dest udp 192.0.2.10:84 [2001:db8:2::11]:84 tunnel gue 6080 csum remote
service tcp 192.0.2.10:85 rr proxy v2
dest tcp 192.0.2.10:85 10.0.1.11:85
service udp 192.0.2.10:86 rr ops
dest udp 192.0.2.10:86 10.0.1.11:86
service udp 192.0.2.10:87 rr persistent 30
dest udp 192.0.2.10:87 10.0.1.11:87
dest udp 192.0.2.10:87 10.0.1.12:87
service udp 192.0.2.10:88 rr
dest udp 192.0.2.10:88 10.0.1.11:88 max-conn 5
service udp 192.0.2.10:89 rr
service icmp 192.0.2.10:2048 rr
dest icmp 192.0.2.10:2048 10.0.1.11:0 nat
service udp 0.0.0.0:1 rr src 10.0.1.0-10.0.1.255 oif 0
dest udp 0.0.0.0:1 192.0.2.20:0 snat
service tcp 0.0.0.0:2 rr src 10.0.1.0-10.0.1.255 oif 0
dest tcp 0.0.0.0:2 192.0.2.20:0 snat
service icmp 0.0.0.0:3 rr src 10.0.1.0-10.0.1.255 oif 0
dest icmp 0.0.0.0:3 192.0.2.20:0 snat
service udp 192.0.2.10:70 rr persistent 5 expire-quiescent ops quic
dest udp 192.0.2.10:70 10.0.1.11:70
dest udp 192.0.2.10:70 10.0.1.12:70 max-conn 3
service tcp 192.0.2.10:71 wlc persistent 5
dest tcp 192.0.2.10:71 10.0.1.11:71 max-conn 4 min-conn 2
dest tcp 192.0.2.10:71 10.0.1.12:71 nat
black udp 192.0.2.10:53 198.51.100.9
limit udp 192.0.2.10:82 pps 200 burst 100
";

/// Packets by the port they come in by; `C` is a client's port, `L` a local one.
const PACKETS: &[(u16, &str)] = &[
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:80 S seq=1 opts=mss:1460",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:80 A seq=2 ack=10"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:80 A seq=2 ack=10 len=1460",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:80 R seq=2"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:46 S seq=1"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:46 A seq=2 ack=3 len=1460",
    ),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:81 S seq=1 opts=mss:1460,sackok,ts:1:0,nop,ws:7",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:81 A seq=2 ack=77 len=5"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:82 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:84 S seq=1"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:84 A seq=2 ack=1 len=1460",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:85 S seq=1"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:85 A seq=2 ack=10 len=1440",
    ),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:85 A seq=2 ack=10 len=10",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:99 S seq=1"),
    (0, "tcp [2001:db8:ff::7]:C > [2001:db8:1::10]:80 S seq=1"),
    (
        0,
        "tcp [2001:db8:ff::7]:C > [2001:db8:1::10]:80 A seq=2 ack=10 len=9",
    ),
    (0, "udp 198.51.100.7:C > 192.0.2.10:53 len=40"),
    (0, "udp 198.51.100.9:C > 192.0.2.10:53 len=40"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:53 len=3000 pieces=1400"),
    (
        0,
        "udp 198.51.100.7:C > 192.0.2.10:53 len=3000 pieces=1400 order=2,0",
    ),
    (
        0,
        "udp 198.51.100.7:C > 192.0.2.10:53 len=3000 pieces=1400 order=1",
    ),
    (0, "udp 198.51.100.7:C > 192.0.2.10:82 len=20"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:83 len=1472 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:83 len=2000 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:84 len=30"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:84 len=1472 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:84 len=1472"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:86 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:70 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:70 hex=435a00b911223344"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:70 len=3000 pieces=1400"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:71 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:71 A seq=2 ack=10 len=9"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:71 FA seq=2 ack=10"),
    (1, "tcp 10.0.1.11:71 > 10.0.1.200:L SA seq=9 ack=2"),
    (1, "tcp 10.0.1.12:71 > 198.51.100.7:C SA seq=9 ack=2"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:87 len=3"),
    (0, "udp 203.0.113.C:5 > 192.0.2.10:87 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:88 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:89 len=3"),
    (0, "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:64 len=1200"),
    (0, "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:64 len=1452"),
    (
        0,
        "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:64 len=2800 pieces=1400",
    ),
    (0, "udp 198.51.100.7:C > 192.0.2.30:7"),
    (0, "udp 198.51.100.7:C > 10.8.0.7:7 len=1400"),
    (0, "udp 198.51.100.7:C > 10.0.1.50:7"),
    (0, "udp 198.51.100.7:C > 10.0.1.12:7 ttl=1"),
    (0, "udp 198.51.100.7:C > 8.8.8.8:7"),
    (0, "udp 198.51.100.7:C > 172.16.0.1:7 vlan=100"),
    (0, "udp 198.51.100.7:C > 172.16.0.1:7 vlan=101"),
    (0, "udp 203.0.113.9:53 > 192.0.2.20:L"),
    (0, "tcp 203.0.113.9:80 > 192.0.2.20:L SA seq=9 ack=2"),
    (0, "icmp 203.0.113.9 > 192.0.2.20 echo-reply id=L"),
    (0, "icmp 198.51.100.7 > 192.0.2.10 echo id=C"),
    (0, "icmp 198.51.100.7 > 192.0.2.1 echo id=C"),
    (0, "icmp 2001:db8:ff::7 > 2001:db8:1::10 echo id=C"),
    (0, "sctp 198.51.100.7:C > 192.0.2.10:90 chunk=init tag=0"),
    (0, "sctp 198.51.100.7:C > 192.0.2.10:90 chunk=data tag=1"),
    (0, "arp 192.0.2.254 > 192.0.2.10 request"),
    (0, "arp 192.0.2.254 > 192.0.2.99 request"),
    (0, "eth type=35020"),
    (0, "ip 198.51.100.7 > 192.0.2.10 proto=89"),
    (1, "udp 10.0.1.12:5353 > 10.0.1.200:L len=40"),
    (
        1,
        "udp 10.0.1.12:5353 > 10.0.1.200:L len=3000 pieces=1400 order=1,0,2",
    ),
    (1, "tcp 10.0.1.11:8080 > 10.0.1.200:L SA seq=9 ack=2"),
    (
        1,
        "tcp 10.0.1.11:8080 > 10.0.1.200:L A seq=10 ack=2 len=1460",
    ),
    (1, "tcp 10.0.1.11:81 > 10.0.1.200:L SA seq=9 ack=2"),
    (1, "tcp 10.0.1.11:81 > 10.0.1.200:L R seq=9"),
    (
        1,
        "tcp [2001:db8:2::11]:8080 > [2001:db8:2::200]:L SA seq=9 ack=2",
    ),
    (
        1,
        "tcp [2001:db8:2::11]:46 > [2001:db8:2::200]:L SA seq=9 ack=2",
    ),
    (1, "udp 10.0.1.11:64 > 10.0.1.200:L len=1472"),
    (1, "udp 10.0.1.11:64 > 10.0.1.200:L len=1472 nodf"),
    (1, "udp 10.0.1.11:82 > 198.51.100.7:C"),
    (1, "tcp 10.0.1.11:82 > 198.51.100.7:C SA seq=9 ack=2"),
    (1, "udp 10.0.1.11:C > 203.0.113.9:53 len=9"),
    (1, "tcp 10.0.1.11:C > 203.0.113.9:80 S seq=1"),
    (1, "icmp 10.0.1.11 > 203.0.113.9 echo id=C"),
    (
        1,
        "udp 10.8.0.7:7 > 198.51.100.7:C tun=10.0.1.13>10.0.1.2 gre=plain",
    ),
    (
        1,
        "udp 10.8.0.7:7 > 198.51.100.7:C tun=10.0.1.99>10.0.1.2 gre=plain",
    ),
    (1, "arp 10.0.1.50 > 10.0.1.1 reply sha=02:00:00:00:00:50"),
    (
        1,
        "nd 2001:db8:2::11 > 2001:db8:2::1 solicit target=2001:db8:2::1",
    ),
];

/// What is changed now and then, and how it was before.
const CHANGES: &[[&str; 2]] = &[
    [
        "deldest udp 192.0.2.10:53 10.0.1.12:5353",
        "dest udp 192.0.2.10:53 10.0.1.12:5353",
    ],
    [
        "dest udp 192.0.2.10:70 10.0.1.11:70 weight 0",
        "dest udp 192.0.2.10:70 10.0.1.11:70",
    ],
    [
        "dest udp 192.0.2.10:70 10.0.1.11:70 inhibited",
        "dest udp 192.0.2.10:70 10.0.1.11:70",
    ],
    [
        "service udp 192.0.2.10:70 sh quic expire-quiescent",
        "service udp 192.0.2.10:70 rr persistent 5 expire-quiescent ops quic",
    ],
    [
        "service udp 192.0.2.10:70 mh persistent 30 ops",
        "service udp 192.0.2.10:70 lblcr quic ops expire-quiescent",
    ],
    [
        "deldest udp 192.0.2.10:70 10.0.1.12:70",
        "dest udp 192.0.2.10:70 10.0.1.12:70 max-conn 2",
    ],
    [
        "service tcp 192.0.2.10:71 sed persistent 5 expire-quiescent",
        "service tcp 192.0.2.10:71 twos proxy v1",
    ],
    [
        "dest tcp 192.0.2.10:71 10.0.1.11:71 max-conn 1",
        "dest tcp 192.0.2.10:71 10.0.1.11:71 max-conn 9 min-conn 3",
    ],
    [
        "dest tcp 192.0.2.10:71 10.0.1.12:71 dr",
        "dest tcp 192.0.2.10:71 10.0.1.12:71",
    ],
    [
        "deldest tcp 192.0.2.10:71 10.0.1.12:71",
        "dest tcp 192.0.2.10:71 10.0.1.12:71 nat weight 0",
    ],
    ["deladdr 10.0.1.200", "addr 1 10.0.1.200/32 sapool"],
    ["deladdr 192.0.2.10", "addr 0 192.0.2.10/32"],
    [
        "delservice udp 192.0.2.10:89",
        "service udp 192.0.2.10:89 rr",
    ],
    ["no-buffers on", "no-buffers off"],
    ["deaf on", "deaf off"],
    ["mtu 1 1300", "mtu 1 1500"],
    ["set ipv6 off", "set ipv6 on"],
    ["host-port 0 off", "host-port 0 on"],
    ["forward2kni 1 on", "forward2kni 1 off"],
    ["set xmit-ttl on", "set xmit-ttl off"],
    ["set fast-xmit off", "set fast-xmit on"],
    [
        "delroute 198.51.100.0/24",
        "route 198.51.100.0/24 port 0 via 192.0.2.254",
    ],
    ["delneigh 1 10.0.1.50", "set neigh-timeout 60"],
];

fn config(lab: &mut Lab, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(lab.config(&words, &Vars::default()), Ok(true), "{line}");
}

/// The frames of a packet; local ports are some that are in use.
fn frames(lab: &Lab, dice: &mut Rng, ports: &[u16], of: (u16, &str)) -> Vec<Vec<u8>> {
    let client = 1 + dice.below(12);
    let local = match ports.len() {
        0 => 1030,
        n => ports[dice.below(n)],
    };
    let text = of.1.replace('C', &client.to_string());
    let text = text.replace('L', &local.to_string());
    // A key of four letters has none of these.
    let packet = Text::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let peer = MACS
        .iter()
        .find(|m| m.0 == if of.0 == 0 { "client" } else { "rs" });
    let mac = lab.mac(of.0).unwrap();
    let frame = build::frame(&packet, &Vars::default(), mac, peer.unwrap().1);
    let frame = frame.unwrap_or_else(|e| panic!("{text}: {e}"));
    let Some(room) = packet.get("pieces") else {
        return vec![frame];
    };
    let all = pkt::pieces::cut(&frame, room.parse().unwrap(), dice.below(4) as u32);
    match packet.get("order") {
        Some(order) => order
            .split(',')
            .map(|n| all[n.parse::<usize>().unwrap()].clone())
            .collect(),
        None => all,
    }
}

/// Breaks some of a frame, or all of it.
fn mangle(dice: &mut Rng, frame: &mut Vec<u8>) {
    match dice.below(8) {
        0 => frame.truncate(dice.below(frame.len() + 1)),
        1 => (0..1 + dice.below(60)).for_each(|_| frame.push(dice.below(256) as u8)),
        2 => frame.iter_mut().for_each(|b| *b = dice.below(256) as u8),
        _ => {
            for _ in 0..1 + dice.below(3) {
                let at = dice.below(frame.len().min(80));
                frame[at] = dice.below(256) as u8;
            }
        }
    }
}

/// Ports of local addresses, of what was sent.
fn learn(ports: &mut Vec<u16>, frame: &[u8]) {
    let (src, at) = match frame.get(12..14) {
        Some([8, 0]) => (frame.get(26..30), 34),
        Some([0x86, 0xdd]) => (frame.get(34..38), 54),
        _ => return,
    };
    let ours = [[10, 0, 1, 200], [192, 0, 2, 20], [0, 0, 2, 0]];
    let mine = src.is_some_and(|s| ours.iter().any(|o| s == o));
    if let (true, Some(port)) = (mine, frame.get(at..at + 2)) {
        ports.push(u16::from_be_bytes([port[0], port[1]]));
        let old = ports.len().saturating_sub(32);
        ports.drain(..old);
    }
}

/// A router's error about a frame that was sent by a port, if it can be about it.
fn error_about(lab: &Lab, dice: &mut Rng, port: u16, sent: &[u8]) -> Option<Vec<u8>> {
    let quote = sent.get(14..)?;
    let quote = &quote[..quote.len().min(20 + dice.below(120))];
    let hex: String = quote.iter().map(|b| format!("{b:02x}")).collect();
    let (src, kinds, router) = match sent.get(12..14)? {
        [8, 0] => {
            let src: [u8; 4] = sent.get(26..30)?.try_into().ok()?;
            let kinds = ["frag-needed mtu=1300", "time-exceeded", "unreachable"];
            (std::net::IpAddr::from(src), kinds, "203.0.113.77")
        }
        [0x86, 0xdd] => {
            let src: [u8; 16] = sent.get(22..38)?.try_into().ok()?;
            let kinds = ["too-big mtu=1300", "time-exceeded", "unreachable"];
            (std::net::IpAddr::from(src), kinds, "2001:db8:77::7")
        }
        _ => return None,
    };
    let text = format!("icmp {router} > {src} {} hex={hex}", kinds[dice.below(3)]);
    let packet = Text::parse(&text).ok()?;
    build::frame(
        &packet,
        &Vars::default(),
        lab.mac(port).ok()?,
        [2, 0, 0, 0, 0, 9],
    )
    .ok()
}

fn run(workers: u8, rounds: usize, seed: u64) {
    let mut lab = Lab::new();
    config(&mut lab, &format!("workers {workers}"));
    config(&mut lab, "conns-max 60");
    let lines = CONFIG.lines().map(str::trim).filter(|l| !l.is_empty());
    lines.for_each(|line| config(&mut lab, line));
    let mut dice = Rng(seed);
    let mut ports = Vec::new();
    let mut quotes: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut changed: Vec<usize> = vec![0; CHANGES.len()];
    for round in 0..rounds {
        if dice.below(8) == 0 {
            let n = dice.below(CHANGES.len());
            config(&mut lab, CHANGES[n][changed[n]]);
            changed[n] ^= 1;
        }
        lab.publish();
        let port = dice.below(2) as u16;
        let mut port_in = port;
        let some: Vec<_> = PACKETS.iter().filter(|p| p.0 == port).collect();
        let mut burst = Vec::new();
        // One packet at a time half of the time: what fails is easy to find then.
        let most = if dice.below(2) == 0 { 1 } else { 20 };
        let mut last = "";
        for _ in 0..1 + dice.below(most) {
            let of = *some[dice.below(some.len())];
            last = of.1;
            burst.extend(frames(&lab, &mut dice, &ports, of));
        }
        burst.truncate(32);
        let broken = dice.below(3) == 0;
        for frame in &mut burst {
            if broken && dice.below(2) == 0 {
                mangle(&mut dice, frame);
            }
        }
        // An error about something that was sent a moment ago.
        if dice.below(6) == 0
            && let Some((port, sent)) = quotes.pop()
            && let Some(frame) = error_about(&lab, &mut dice, port, &sent)
        {
            (last, burst) = ("error", vec![frame]);
            port_in = port;
        }
        let worker = dice.below(workers.into()) as u8;
        lab.input(worker, port_in, &burst).unwrap();
        let check = |lab: &Lab, when: &str| {
            lab.balanced().unwrap_or_else(|e| {
                panic!("{workers} workers, round {round}, {when}: {last}\n{burst:02x?}\n{e}")
            });
        };
        check(&lab, "received");
        if dice.below(6) == 0 {
            // A ring was full: who handed over has counted it.
            let out = &mut lab.sink.out;
            out.retain(|(way, _)| !matches!(way, Way::Hand(..)));
        }
        lab.gather().unwrap();
        check(&lab, "handed over");
        for (way, frame) in lab.sink.out.drain(..) {
            learn(&mut ports, &frame);
            if let Way::Out(port @ 0..2) = way {
                quotes.push((port, frame));
            }
        }
        quotes.drain(..quotes.len().saturating_sub(8));
        lab.drained.clear();
        let most = if dice.below(20) == 0 {
            30_000_000
        } else {
            40_000
        };
        lab.pass(dice.below(most) as u64);
        lab.balanced()
            .unwrap_or_else(|e| panic!("{workers} workers, round {round}, time passed: {e}"));
    }
    lab.gather().unwrap();
    lab.pass(400_000_000);
    lab.balanced().unwrap();
    lab.pass(600_000_000);
    lab.balanced().unwrap();
    let conns: usize = lab.workers.iter().map(|w| w.conns()).sum();
    assert_eq!(conns, 0, "connections are left");
    for reply in lab.query(&Query::Laddrs) {
        let Reply::Laddrs(all) = reply else { continue };
        let used: Vec<_> = all.iter().filter(|l| l.used + l.conns > 0).collect();
        assert!(used.is_empty(), "ports are left: {used:?}");
    }
    let ids: Vec<DestId> = (0..200).map(DestId).collect();
    for reply in lab.query(&Query::Dests(ids)) {
        let Reply::Dests(all) = reply else { continue };
        let open = all.iter().filter(|d| d.active + d.inactive > 0);
        assert_eq!(open.count(), 0, "servers count connections that are gone");
    }
    let waits: u64 = lab
        .workers
        .iter()
        .map(|w| lab.sink.books.waiting(w.id()))
        .sum();
    assert_eq!(waits, 0, "something waits for ever");
    // It was a test of many reasons, and of connections.
    let made: u64 = lab.workers.iter().map(|w| w.stats().conns_made).sum();
    let reasons = dpvs_core::stats::Reason::ALL.iter();
    let seen = reasons.filter(|r| lab.drops(**r) > 0).count();
    assert!(
        made > rounds as u64 / 8 && seen >= 20,
        "{made} connections, {seen} reasons"
    );
}

#[test]
fn every_frame_of_one_worker_has_a_reason() {
    run(1, 3000, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn every_frame_of_two_workers_has_a_reason() {
    run(2, 3000, 0x2545_f491_4f6c_dd1d);
}

#[test]
fn every_frame_of_three_workers_has_a_reason() {
    run(3, 3000, 0xda94_2042_e4dd_58b5);
}
