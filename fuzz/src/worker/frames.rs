//! Frames that come close to sense, with their checksums put right or not, and
//! the check of the checksums of what was sent.

use super::support::{self, CLIENT_MAC, Packet};
pub(crate) use super::support::{MAC0, MAC1};
use crate::input::Input;

pub(crate) const CLIENTS: [&str; 3] = ["198.51.100.7", "198.51.100.8", "192.0.2.99"];
pub(crate) const CLIENTS6: [&str; 3] = ["2001:db8:ff::7", "2001:db8:ff::8", "2001:db8:1::99"];
pub(crate) const OURS: [&str; 5] = [
    "192.0.2.10",
    "192.0.2.10",
    "10.0.1.200",
    "192.0.2.1",
    "10.0.1.11",
];
pub(crate) const OURS6: [&str; 5] = [
    "2001:db8:1::10",
    "2001:db8:1::10",
    "2001:db8:2::200",
    "2001:db8:1::1",
    "2001:db8:2::11",
];
const FLAGS: [u8; 10] = [2, 16, 24, 17, 4, 20, 18, 1, 0, 0x3f];

/// An Ethernet frame.
pub(crate) fn made(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let mut frame = match kind % 16 {
        0..=5 => flow(input, 6),
        6..=8 => flow(input, 17),
        9 => arp(input),
        10 => icmp(input, false),
        11 => icmp(input, true),
        12 => extended(input),
        13 => {
            let mut frame = flow(input, 17);
            frame.splice(12..12, [0x81, 0, input.byte() & 0x0f, input.byte()]);
            frame
        }
        _ => {
            let n = input.below(120);
            let mut frame = if kind & 16 == 0 {
                MAC0.to_vec()
            } else {
                MAC1.to_vec()
            };
            frame.extend(CLIENT_MAC);
            frame.extend(input.bytes(n));
            frame
        }
    };
    turn(input, &mut frame);
    frame
}

/// Some bytes turned, padding, or an end cut off.
pub(crate) fn turn(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    let how = input.byte();
    for _ in 0..[0, 0, 0, 1, 2, 3, 0, 1][usize::from(how & 7)] {
        let (at, value) = (usize::from(input.byte()), input.byte());
        if let Some(b) = frame.get_mut(at) {
            *b = value;
        }
    }
    match how >> 3 {
        0 => frame.truncate(input.below(80)),
        1 => frame.extend(vec![0xee; input.below(200)]),
        2 => frame.resize(1514, 0xaa),
        _ => {}
    }
}

pub(crate) fn flow(input: &mut Input<'_>, proto: u8) -> Vec<u8> {
    let shape = input.byte();
    let (from, to) = if shape & 1 == 0 {
        (input.pick(&CLIENTS), input.pick(&OURS))
    } else {
        (input.pick(&CLIENTS6), input.pick(&OURS6))
    };
    let source = (from, 40_000 + u16::from(input.byte() & 7));
    let dest = (to, input.pick(&[80, 53, 80, 53, 8080, 1026, 50_001]));
    let mut packet: Packet = if proto == 6 {
        let flags = input.pick(&FLAGS);
        support::tcp(source, dest, flags, input.long(), input.long())
    } else {
        support::udp(source, dest, b"")
    };
    if proto == 6 && shape & 2 != 0 {
        packet.options = vec![
            2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        for _ in 0..shape >> 6 {
            let at = input.below(20);
            packet.options[at] = input.byte();
        }
        packet
            .options
            .resize(20 + 4 * usize::from(shape >> 4 & 3), 0);
    }
    if shape & 4 != 0 {
        let n = usize::from(input.word()) % 1440;
        packet.payload = vec![0x5a; n];
    }
    packet.ttl = if shape & 8 == 0 {
        64
    } else {
        input.below(3) as u8
    };
    packet.df = shape & 16 != 0;
    let mut frame = packet.bytes();
    if input.byte() & 15 == 0 {
        frame[..6].copy_from_slice(&MAC1);
    }
    frame
}

fn arp(input: &mut Input<'_>) -> Vec<u8> {
    let v6 = input.byte() & 1 == 1;
    if v6 {
        return neighbour(input);
    }
    let mut f = if input.byte() & 1 == 0 {
        MAC0.to_vec()
    } else {
        vec![0xff; 6]
    };
    f.extend(CLIENT_MAC);
    f.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + (input.byte() & 1)]);
    f.extend([2, 0, 0, 0, 0, input.byte()]);
    f.extend([192, 0, 2, input.byte()]);
    f.extend([0; 6]);
    f.extend([192, 0, 2, input.pick(&[1, 10, 2, 3])]);
    f
}

pub(crate) fn ip6(next: u8, src: &str, dst: &str, l4: &[u8]) -> Vec<u8> {
    let mut f = MAC0.to_vec();
    f.extend(CLIENT_MAC);
    f.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    f.extend((l4.len() as u16).to_be_bytes());
    f.extend([next, 255]);
    for a in [src, dst] {
        let a: std::net::Ipv6Addr = a.parse().expect("an address");
        f.extend(a.octets());
    }
    f.extend(l4);
    fix(&mut f);
    f
}

pub(crate) fn ip4(proto: u8, src: &str, dst: &str, l4: &[u8]) -> Vec<u8> {
    let mut f = MAC0.to_vec();
    f.extend(CLIENT_MAC);
    f.extend([8, 0, 0x45, 0]);
    f.extend((20 + l4.len() as u16).to_be_bytes());
    f.extend([0, 0, 0, 0, 64, proto, 0, 0]);
    for a in [src, dst] {
        let a: std::net::Ipv4Addr = a.parse().expect("an address");
        f.extend(a.octets());
    }
    f.extend(l4);
    fix(&mut f);
    f
}

/// A solicitation or an advertisement.
fn neighbour(input: &mut Input<'_>) -> Vec<u8> {
    let typ = 135 + (input.byte() & 1);
    let mut l4 = vec![typ, 0, 0, 0, input.byte() & 0xe0, 0, 0, 0];
    let target: std::net::Ipv6Addr = input.pick(&OURS6).parse().expect("an address");
    l4.extend(target.octets());
    l4.extend([1 + (input.byte() & 1), 1, 2, 0, 0, 0, 0, input.byte()]);
    l4.truncate(l4.len() - 8 * usize::from(input.byte() & 1));
    let dst = input.pick(&["ff02::1:ff00:1", "2001:db8:1::1", "ff02::1"]);
    ip6(58, input.pick(&CLIENTS6), dst, &l4)
}

/// An echo request, or an error about a packet of a client's connection.
fn icmp(input: &mut Input<'_>, v6: bool) -> Vec<u8> {
    let about = input.byte() & 1 == 0;
    let mut l4 = match (v6, about) {
        (false, false) => vec![8, 0, 0, 0, 0, 1, 0, 1],
        (true, false) => vec![128, 0, 0, 0, 0, 1, 0, 1],
        (false, true) => vec![
            input.pick(&[3, 11, 12, 4]),
            input.byte() & 15,
            0,
            0,
            0,
            0,
            5,
            0,
        ],
        (true, true) => vec![1 + (input.byte() & 3), 0, 0, 0, 0, 0, 5, 0],
    };
    if about {
        let proto = input.pick(&[6, 17]);
        let quoted = flow(input, proto);
        let n = input.pick(&[255u8, 28, 48, 27, 8]);
        l4.extend(quoted.iter().skip(14).take(usize::from(n)));
    } else {
        l4.extend(vec![7; input.below(255)]);
    }
    if v6 {
        ip6(58, input.pick(&CLIENTS6), input.pick(&OURS6), &l4)
    } else {
        ip4(1, input.pick(&CLIENTS), input.pick(&OURS), &l4)
    }
}

/// IPv6 with extension headers, or IPv4 with options or of another protocol.
fn extended(input: &mut Input<'_>) -> Vec<u8> {
    if input.byte() & 1 == 0 {
        let l4 = vec![1; input.below(64)];
        return ip4(input.byte(), input.pick(&CLIENTS), input.pick(&OURS), &l4);
    }
    let first = input.pick(&[0, 43, 44, 60, 51, 59, 50]);
    let mut l4 = Vec::new();
    for n in 0..=input.below(6) {
        let last = n == 5 || input.byte() & 1 == 0;
        let next = if last {
            17
        } else {
            input.pick(&[0, 43, 44, 60, 51])
        };
        l4.extend([next, input.byte() & 1, input.byte(), 0, 1, 0, 0, 0]);
        if last {
            break;
        }
    }
    l4.extend([0x9c, 0x40, 0, 53, 0, 8, 0, 0]);
    ip6(first, input.pick(&CLIENTS6), input.pick(&OURS6), &l4)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(mut s: u32) -> u16 {
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// Where the sums of a frame are: the IPv4 header, and the transport with its
/// pseudo header's sum and the offset of its checksum.
struct Sums {
    header: Option<(usize, usize)>,
    l4: Option<(usize, usize, u32, usize)>,
}

fn sums(f: &[u8]) -> Option<Sums> {
    let word = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *f.get(at)?,
            *f.get(at + 1)?,
        ])))
    };
    let (header, start, end, proto, addrs, whole) = match word(12)? {
        0x0800 => {
            let len = usize::from(f.get(14)? & 15) * 4;
            if f.get(14)? >> 4 != 4 || len < 20 || f.len() < 14 + len {
                return None;
            }
            let whole = word(20)? & 0x3fff == 0;
            (
                Some((14, 14 + len)),
                14 + len,
                14 + word(16)?,
                *f.get(23)?,
                f.get(26..34)?,
                whole,
            )
        }
        0x86dd => (None, 54, 54 + word(18)?, *f.get(20)?, f.get(22..54)?, true),
        _ => return None,
    };
    let field = match proto {
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        _ => 99,
    };
    let pseudo = match proto {
        // ICMP over IPv4 has no pseudo header.
        1 => 0,
        _ => sum(addrs) + u32::from(proto) + end.saturating_sub(start) as u32,
    };
    let fits = whole && end <= f.len() && field < 20 && start + field + 2 <= end;
    Some(Sums {
        header,
        l4: fits.then_some((start, end, pseudo, start + field)),
    })
}

/// Puts all checksums of an untagged frame right.
pub(crate) fn fix(f: &mut [u8]) {
    let Some(found) = sums(f) else { return };
    if let Some((from, to)) = found.header {
        f[from + 10..from + 12].fill(0);
        let c = !fold(sum(&f[from..to]));
        f[from + 10..from + 12].copy_from_slice(&c.to_be_bytes());
    }
    if let Some((from, to, pseudo, at)) = found.l4 {
        f[at..at + 2].fill(0);
        let c = match !fold(sum(&f[from..to]) + pseudo) {
            0 => 0xffff,
            c => c,
        };
        f[at..at + 2].copy_from_slice(&c.to_be_bytes());
    }
}

/// Panics unless the IPv4 header's checksum is right, and, with `l4`, the
/// transport's as well. UDP without one is right.
pub(crate) fn check(f: &[u8], l4: bool) {
    let Some(found) = sums(f) else { return };
    if let Some((from, to)) = found.header {
        assert_eq!(
            fold(sum(&f[from..to])),
            0xffff,
            "IPv4 header checksum of {f:02x?}"
        );
    }
    if let (true, Some((from, to, pseudo, at))) = (l4, found.l4) {
        let none = f[at..at + 2] == [0, 0] && at - from == 6;
        let right = fold(sum(&f[from..to]) + pseudo) == 0xffff;
        assert!(none || right, "transport checksum of {f:02x?}");
    }
}

/// Whether an untagged packet's checksums are right, as far as it has any that can be
/// told: not in pieces, in tunnels and behind extension headers.
pub(crate) fn is_right(f: &[u8]) -> bool {
    let Some(Sums {
        l4: Some((from, to, pseudo, at)),
        ..
    }) = sums(f)
    else {
        return true;
    };
    let none = f[at..at + 2] == [0, 0] && at - from == 6;
    none || fold(sum(&f[from..to]) + pseudo) == 0xffff
}

/// A packet as the other side would answer it: everything turned around.
pub(crate) fn answer(f: &mut [u8], flags: u8, ack: u32) {
    if f.len() < 54 {
        return;
    }
    let (a, b) = f[..12].split_at_mut(6);
    a.swap_with_slice(b);
    let l4 = if f[12..14] == [8, 0] {
        let (a, b) = f[26..34].split_at_mut(4);
        a.swap_with_slice(b);
        14 + usize::from(f[14] & 15) * 4
    } else {
        let (a, b) = f[22..54].split_at_mut(16);
        a.swap_with_slice(b);
        54
    };
    if let Some(ports) = f.get_mut(l4..l4 + 4) {
        ports.rotate_left(2);
    }
    let tcp = f[if f[12..14] == [8, 0] { 23 } else { 20 }] == 6;
    if tcp && let Some(h) = f.get_mut(l4 + 4..l4 + 14) {
        let (seq, rest) = h.split_at_mut(4);
        seq.swap_with_slice(&mut rest[..4]);
        let theirs = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        rest[..4].copy_from_slice(&theirs.wrapping_add(ack).to_be_bytes());
        rest[5] = flags;
    }
    fix(f);
}
