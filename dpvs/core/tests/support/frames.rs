//! Frames of every kind a director handles, as honest stations send them: where
//! the tests of hostile input start from.

use super::{MAC0, MAC1, fold, ip, sum, tcp, udp};

/// Frames as honest stations send them. The replies name ports that are (or may
/// be) in use, so that they meet connections.
pub fn honest() -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    for (c, vip, lip, rs) in [
        ("198.51.100.7", "192.0.2.10", "10.0.1.200", "10.0.1.12"),
        (
            "2001:db8:ff::7",
            "2001:db8:1::10",
            "2001:db8:2::200",
            "2001:db8:2::12",
        ),
    ] {
        for (flags, len) in [
            (2, 0),
            (16, 0),
            (24, 100),
            (17, 0),
            (4, 0),
            (18, 0),
            (16, 1440),
        ] {
            for port in [1000, 1001] {
                let mut p = tcp((c, port), (vip, 80), flags, 1000, 5000);
                p.payload = vec![7; len];
                p.options = match flags {
                    2 => vec![
                        2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
                    ],
                    16 => vec![
                        1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2,
                    ],
                    _ => vec![],
                };
                p.df = len == 0;
                all.push((0, p.bytes()));
                let mut p = tcp((rs, 8080), (lip, 24 + port), flags, 5000, 1001).from_rs();
                p.payload = vec![7; len];
                p.options = vec![1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
                all.push((1, p.bytes()));
            }
        }
        for port in [1, 2, 3] {
            all.push((0, udp((c, port), (vip, 53), b"query").bytes()));
            all.push((
                1,
                udp((rs, 8080), (lip, 1024 + port), b"answer")
                    .from_rs()
                    .bytes(),
            ));
        }
        // To be forwarded, to the kernel, nowhere.
        all.push((0, udp((c, 1), (rs, 9), b"x").bytes()));
        all.push((
            0,
            udp(
                (c, 1),
                (
                    if lip.contains(':') {
                        "ff02::1"
                    } else {
                        "224.0.0.5"
                    },
                    9,
                ),
                b"x",
            )
            .bytes(),
        ));
    }
    let ip4 = |proto: u8, dst: [u8; 4], l4: &[u8]| {
        let mut f = udp(("198.51.100.7", 0), ("192.0.2.10", 0), &[]).bytes();
        f.truncate(34);
        f[23] = proto;
        f[30..34].copy_from_slice(&dst);
        f[16..18].copy_from_slice(&(20 + l4.len() as u16).to_be_bytes());
        f.extend(l4);
        fix_ip4(&mut f);
        f
    };
    // Echo, and errors that quote a packet of a connection.
    let quoted = &udp(("10.0.1.200", 1025), ("10.0.1.12", 8080), b"12345678").bytes()[14..];
    for head in [[8, 0], [3, 4], [3, 1], [11, 0], [13, 0]] {
        let mut l4 = vec![head[0], head[1], 0, 0, 0, 1, 5, 0xdc];
        l4.extend(quoted);
        let sum = !fold(sum(&l4));
        l4[2..4].copy_from_slice(&sum.to_be_bytes());
        all.push((0, ip4(1, [192, 0, 2, 10], &l4)));
        all.push((1, ip4(1, [10, 0, 1, 200], &l4)));
    }
    all.push((0, ip4(89, [224, 0, 0, 5], &[0; 24])));
    all.push((0, ip4(47, [192, 0, 2, 2], &[0; 24])));
    // IPv6: echo, errors, neighbour discovery, extension headers.
    let ip6 = |next: u8, hops: u8, src: &str, dst: &str, body: &[u8]| {
        let mut f = udp((src, 0), (dst, 0), &[]).bytes();
        f.truncate(54);
        f[18..20].copy_from_slice(&(body.len() as u16).to_be_bytes());
        f[20] = next;
        f[21] = hops;
        f.extend(body);
        f
    };
    let icmp6 = |src: &str, dst: &str, mut body: Vec<u8>| {
        let mut s = sum(&body) + 58 + body.len() as u32;
        for a in [src, dst] {
            let std::net::IpAddr::V6(a) = ip(a) else {
                panic!()
            };
            s += sum(&a.octets());
        }
        body[2..4].copy_from_slice(&(!fold(s)).to_be_bytes());
        ip6(58, 255, src, dst, &body)
    };
    let quoted = &udp(("2001:db8:1::10", 53), ("2001:db8:ff::7", 1), b"12345678").bytes()[14..];
    for typ in [128, 1, 2, 3, 133, 134, 137] {
        let mut body = vec![typ, 0, 0, 0, 0, 0, 5, 0];
        body.extend(quoted);
        all.push((0, icmp6("2001:db8:ff::7", "2001:db8:1::1", body)));
    }
    let nd = |typ: u8, target: &str, option: &[u8]| {
        let mut body = vec![typ, 0, 0, 0, 0x60, 0, 0, 0];
        let std::net::IpAddr::V6(a) = ip(target) else {
            panic!()
        };
        body.extend(a.octets());
        body.extend(option);
        body
    };
    let option = [1, 1, 2, 0, 0, 0, 0, 0x77];
    all.push((
        0,
        icmp6(
            "2001:db8:1::9",
            "ff02::1:ff00:1",
            nd(135, "2001:db8:1::1", &option),
        ),
    ));
    all.push((
        0,
        icmp6("::", "ff02::1:ff00:1", nd(135, "2001:db8:1::1", &[])),
    ));
    all.push((
        1,
        icmp6(
            "2001:db8:2::50",
            "2001:db8:2::1",
            nd(136, "2001:db8:2::50", &[2, 1, 2, 0, 0, 0, 0, 0x50]),
        ),
    ));
    all.push((
        0,
        icmp6(
            "2001:db8:1::9",
            "2001:db8:1::1",
            nd(135, "2001:db8:1::1", &[1, 0, 2, 0, 0, 0, 0, 0x77]),
        ),
    ));
    let inner = udp(("2001:db8:ff::7", 9), ("2001:db8:1::10", 53), b"query").bytes()[54..].to_vec();
    for first in [0, 43, 44, 51, 60, 135] {
        for second in [17u8, 0, 44, 60] {
            let mut body = vec![second, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
            body.extend(&inner);
            all.push((0, ip6(first, 64, "2001:db8:ff::7", "2001:db8:1::10", &body)));
        }
    }
    // ARP in every direction.
    for (op, spa, tpa) in [
        (1, [192, 0, 2, 9], [192, 0, 2, 10]),
        (2, [10, 0, 1, 50], [10, 0, 1, 1]),
        (1, [10, 0, 1, 11], [10, 0, 1, 11]),
    ] {
        let mut f = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 0x77],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, op],
        ]
        .concat();
        f.extend([2, 0, 0, 0, 0, 0x77]);
        f.extend(spa);
        f.extend([0; 6]);
        f.extend(tpa);
        all.push((u16::from(spa[0] == 10), f));
    }
    all.push((0, [&MAC0[..], &[2; 6], &[0x88, 0xcc], &[0; 40]].concat()));
    for (port, frame) in &mut all {
        if *port == 1 && frame[0] & 1 == 0 {
            frame[..6].copy_from_slice(&MAC1);
        }
    }
    all
}

/// Makes the header checksum right again, so that a change gets past it.
pub fn fix_ip4(f: &mut [u8]) {
    if f.len() < 34 || f[12..14] != [8, 0] {
        return;
    }
    let end = (14 + usize::from(f[14] & 15).max(5) * 4).min(f.len());
    f[24..26].fill(0);
    let sum = !fold(sum(&f[14..end]));
    f[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A router's frag-needed (1400) about an IPv4 frame as it left here, to its source.
pub fn frag_needed(about: &[u8], router: [u8; 4], macs: ([u8; 6], [u8; 6])) -> Vec<u8> {
    let quote = &about[14..42];
    let mut ip = vec![0x45, 0, 0, 56, 0, 1, 0, 0, 60, 1, 0, 0];
    ip.extend([&router[..], &quote[12..16]].concat());
    let c = !fold(sum(&ip));
    ip[10..12].copy_from_slice(&c.to_be_bytes());
    let mut icmp = [&[3, 4, 0, 0, 0, 0, 5, 0x78], quote].concat();
    let c = !fold(sum(&icmp));
    icmp[2..4].copy_from_slice(&c.to_be_bytes());
    [&macs.0[..], &macs.1, &[8, 0], &ip, &icmp].concat()
}
