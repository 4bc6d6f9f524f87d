use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::frame::HeapFrame;

/// An Ethernet frame with an IPv4 packet, checksums right.
#[derive(Clone, Debug)]
struct Plain {
    tos: u8,
    ttl: u8,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    options: Vec<u8>,
    tcp: bool,
    body: Vec<u8>,
}

fn plains() -> impl Strategy<Value = Plain> {
    (
        any::<(u8, u8, u32, u32, bool)>(),
        0usize..4,
        // Any size, and those about the largest that may be fragmented.
        prop_oneof![
            3 => prop::collection::vec(any::<u8>(), 20..1400),
            1 => prop::collection::vec(any::<u8>(), 1255..1265),
        ],
    )
        .prop_map(|((tos, ttl, src, dst, tcp), words, body)| Plain {
            tos,
            ttl,
            src: src.into(),
            dst: dst.into(),
            options: vec![1; words * 4],
            tcp,
            body,
        })
}

/// The transport checksum field, and the sum over pseudo header and segment: the
/// naive way, octet by octet.
fn naive_sum(addrs: &[u8], proto: u8, segment: &[u8]) -> u32 {
    let mut bytes = addrs.to_vec();
    bytes.extend((segment.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, proto]);
    bytes.extend(segment);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

impl Plain {
    fn proto(&self) -> u8 {
        if self.tcp { 6 } else { 17 }
    }

    fn segment(&self, addrs: &[u8]) -> Vec<u8> {
        let mut s = self.body.clone();
        let at = if self.tcp { 16 } else { 6 };
        if !self.tcp {
            let len = s.len() as u16;
            s[4..6].copy_from_slice(&len.to_be_bytes());
        }
        s[at..at + 2].fill(0);
        let mut sum = !(naive_sum(addrs, self.proto(), &s) as u16);
        if sum == 0 && !self.tcp {
            sum = 0xffff;
        }
        s[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        s
    }

    fn frame(&self) -> Vec<u8> {
        let addrs = [self.src.octets(), self.dst.octets()].concat();
        let segment = self.segment(&addrs);
        let mut f = vec![2; 12];
        f.extend([8, 0, 0x45 + (self.options.len() / 4) as u8, self.tos]);
        f.extend(((20 + self.options.len() + segment.len()) as u16).to_be_bytes());
        f.extend([0x12, 0x34, 0x40, 0, self.ttl, self.proto(), 0, 0]);
        f.extend(addrs);
        f.extend(&self.options);
        let header = f[14..].to_vec();
        let sum = !(naive_header(&header) as u16);
        f[24..26].copy_from_slice(&sum.to_be_bytes());
        f.extend(segment);
        f
    }
}

fn naive_header(h: &[u8]) -> u32 {
    let mut sum: u32 = h
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

proptest! {
    /// The model: take the packet apart, write it down anew from the RFC's table,
    /// with the transport checksum summed up again.
    #[test]
    fn four_to_six_as_the_table_says(p in plains()) {
        let mut frame = HeapFrame::new(&p.frame());
        prop_assert_eq!(four_to_six(&mut frame), Ok(L3 + 40));
        let mut want = vec![2; 12];
        want.extend([0x86, 0xdd, 0x60 | p.tos >> 4, p.tos << 4, 0, 0]);
        want.extend((p.body.len() as u16).to_be_bytes());
        want.extend([p.proto(), p.ttl]);
        let addrs = [p.src.to_ipv6_mapped().octets(), p.dst.to_ipv6_mapped().octets()].concat();
        want.extend(&addrs);
        let segment = p.segment(&addrs);
        want.extend(&segment);
        let got = frame.data();
        // The MAC addresses are whoever's who sends it.
        prop_assert_eq!(&got[12..L3 + 40], &want[12..L3 + 40]);
        prop_assert_eq!(naive_sum(&addrs, p.proto(), &got[L3 + 40..]), 0xffff);
        // Everything but the representation of a zero sum is the same.
        let at = L3 + 40 + if p.tcp { 16 } else { 6 };
        prop_assert_eq!(&got[L3 + 40..at], &want[L3 + 40..at]);
        prop_assert_eq!(&got[at + 2..], &want[at + 2..]);
    }

    /// And back it is the packet it was, without options.
    #[test]
    fn there_and_back(p in plains(), id in any::<u16>()) {
        let mut frame = HeapFrame::new(&p.frame());
        four_to_six(&mut frame).unwrap();
        prop_assert!(leaves_as_four(frame.data()));
        prop_assert_eq!(six_to_four(&mut frame, id), Ok(L3 + 20));
        let plain = Plain { options: Vec::new(), ..p.clone() };
        let mut want = plain.frame();
        // With 20 bytes of a client's address.
        let large = p.body.len() + 40 > 1300;
        let (id, word) = if large { (0, 0x4000u16) } else { (id, 0) };
        want[18..20].copy_from_slice(&id.to_be_bytes());
        want[20..22].copy_from_slice(&word.to_be_bytes());
        want[24..26].fill(0);
        let sum = !(naive_header(&want[14..34]) as u16);
        want[24..26].copy_from_slice(&sum.to_be_bytes());
        prop_assert_eq!(&frame.data()[12..], &want[12..]);
    }

    /// Echoes are ICMPv6's, summed up with its pseudo header, and back they are what
    /// they were.
    #[test]
    fn echoes_there_and_back(
        p in plains(), code in any::<u8>(), reply in any::<bool>(), id in any::<u16>()
    ) {
        let mut message = vec![if reply { 0 } else { 8 }, code, 0, 0];
        message.extend(&p.body);
        if message.len() % 2 == 1 {
            message.push(0);
        }
        let sum = !(naive_header(&message) as u16);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = Plain { options: Vec::new(), body: vec![0; 20], ..p.clone() }.frame();
        bytes.truncate(34);
        bytes[16..18].copy_from_slice(&((20 + message.len()) as u16).to_be_bytes());
        bytes[23] = 1;
        let large = message.len() + 40 > 1300;
        let (id, word) = if large { (0, 0x4000u16) } else { (id, 0) };
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[20..22].copy_from_slice(&word.to_be_bytes());
        bytes[24..26].fill(0);
        let sum = !(naive_header(&bytes[14..34]) as u16);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&message);
        let mut frame = HeapFrame::new(&bytes);
        prop_assert_eq!(four_to_six(&mut frame), Ok(L3 + 40));
        let got = frame.data();
        let addrs = [p.src.to_ipv6_mapped().octets(), p.dst.to_ipv6_mapped().octets()].concat();
        prop_assert_eq!((got[20], got[54]), (58, if reply { 129 } else { 128 }));
        prop_assert_eq!(naive_sum(&addrs, 58, &got[54..]), 0xffff);
        prop_assert_eq!(&got[58..], &message[4..]);
        prop_assert_eq!(six_to_four(&mut frame, id), Ok(L3 + 20));
        prop_assert_eq!(&frame.data()[12..], &bytes[12..]);
    }

    /// A datagram without a checksum gets the right one, which is never zero.
    #[test]
    fn missing_checksums_are_summed_up(p in plains(), zero in any::<bool>()) {
        let mut p = Plain { tcp: false, ..p };
        let addrs = [p.src.octets(), p.dst.octets()].concat();
        if zero {
            // Such a word in it that the sum is all ones.
            p.body[8..10].fill(0);
            let got = p.segment(&addrs);
            p.body[8..10].copy_from_slice(&got[6..8]);
        }
        let segment = p.segment(&addrs);
        prop_assert!(!zero || segment[6..8] == [0xff, 0xff]);
        let mut bytes = p.frame();
        let l4 = 34 + p.options.len();
        bytes[l4 + 6..l4 + 8].fill(0);
        let mut frame = HeapFrame::new(&bytes);
        prop_assert_eq!(four_to_six(&mut frame), Ok(L3 + 40));
        prop_assert_eq!(&frame.data()[L3 + 40..], &segment[..]);
    }

    /// Fragments keep offset, identification and flag.
    #[test]
    fn fragments_there_and_back(
        p in plains(), at in 0u16..0x1fff, more in any::<bool>(), id in any::<u16>()
    ) {
        prop_assume!(at > 0 || more);
        let mut bytes = Plain { options: Vec::new(), tcp: true, ..p }.frame();
        let word = at | if more { 0x2000 } else { 0 };
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[20..22].copy_from_slice(&word.to_be_bytes());
        bytes[24..26].fill(0);
        let sum = !(naive_header(&bytes[14..34]) as u16);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut frame = HeapFrame::new(&bytes);
        prop_assert_eq!(four_to_six(&mut frame), Ok(L3 + 48));
        prop_assert_eq!(frame.data()[L3 + 6], 44);
        six_to_four(&mut frame, 7).unwrap();
        prop_assert_eq!(&frame.data()[12..], &bytes[12..]);
    }
}

#[test]
fn a_datagram_without_checksum_gets_one() {
    let p = Plain {
        tos: 0,
        ttl: 9,
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        options: Vec::new(),
        tcp: false,
        body: vec![7; 21],
    };
    let mut bytes = p.frame();
    let sum = bytes[L3 + 26..L3 + 28].to_vec();
    bytes[L3 + 26..L3 + 28].fill(0);
    let mut frame = HeapFrame::new(&bytes);
    four_to_six(&mut frame).unwrap();
    assert_eq!(frame.data()[L3 + 46..L3 + 48], sum);
    // A fragment of one cannot get one.
    bytes[20] = 0x20;
    let mut frame = HeapFrame::new(&bytes);
    assert_eq!(four_to_six(&mut frame), Err(CrossError::Checksum));
    assert_eq!(frame.data(), bytes);
}

#[test]
fn other_addresses_are_left_alone() {
    let mut bytes = vec![0; 14 + 48];
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    bytes[14] = 0x60;
    bytes[19] = 8;
    bytes[20] = 17;
    let to = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
    bytes[38..54].copy_from_slice(&to);
    let mut frame = HeapFrame::new(&bytes);
    assert!(!leaves_as_four(frame.data()));
    assert_eq!(six_to_four(&mut frame, 1), Err(CrossError::Address));
    assert_eq!(frame.data(), bytes);
}

/// The tables of RFC 7915 §4.2 and §5.2, every type and code, and every pointer.
#[test]
fn nothing_but_the_tables_is_translated() {
    let six = |typ: u8, code: u8| -> Option<(u8, u8)> {
        let codes = [
            Some((1, 0)),
            Some((1, 0)),
            Some((4, 1)),
            Some((1, 4)),
            Some((2, 0)),
            Some((1, 0)),
            Some((1, 0)),
            Some((1, 0)),
            Some((1, 0)),
            Some((1, 1)),
            Some((1, 1)),
            Some((1, 0)),
            Some((1, 0)),
            Some((1, 1)),
            None,
            Some((1, 1)),
        ];
        match typ {
            3 => codes.get(usize::from(code)).copied().flatten(),
            11 => Some((3, code)),
            12 if code == 0 || code == 2 => Some((4, 0)),
            _ => None,
        }
    };
    let four = |typ: u8, code: u8| -> Option<(u8, u8)> {
        let codes = [(3, 1), (3, 10), (3, 1), (3, 1), (3, 3)];
        match typ {
            1 => codes.get(usize::from(code)).copied(),
            2 => Some((3, 4)),
            3 => Some((11, code)),
            4 => [(12, 0), (3, 2)].get(usize::from(code)).copied(),
            _ => None,
        }
    };
    for typ in 0..=255 {
        for code in 0..=255 {
            let kind = |(typ, code, _)| (typ, code);
            assert_eq!(error_to_six(typ, code, 0, 1500).map(kind), six(typ, code));
            assert_eq!(error_to_four(typ, code, 0).map(kind), four(typ, code));
        }
    }
    // Figures 3 and 6: a field of one header is a field of the other.
    let to_six = [
        (0, 0),
        (1, 1),
        (2, 4),
        (3, 4),
        (8, 7),
        (9, 6),
        (12, 8),
        (13, 8),
        (14, 8),
        (15, 8),
        (16, 24),
        (17, 24),
        (18, 24),
        (19, 24),
    ];
    let fields = [(0, 0, 0), (1, 1, 1), (4, 5, 2), (6, 6, 9), (7, 7, 8)];
    let fields = fields.into_iter().chain([(8, 23, 12), (24, 39, 16)]);
    let fields: Vec<(u32, u32, u32)> = fields.collect();
    for at in 0..=255 {
        let want = to_six.iter().find(|p| p.0 == at).map(|p| (4, 0, p.1));
        assert_eq!(error_to_six(12, 0, at << 24, 1500), want, "{at}");
        let want = fields.iter().find(|f| (f.0..=f.1).contains(&at));
        let want = want.map(|f| (12, 0, f.2 << 24));
        assert_eq!(error_to_four(4, 0, at), want, "{at}");
    }
    // Sizes differ by twenty bytes, and IPv4 has none above 65,535.
    for mtu in (1260..=65_515).step_by(7) {
        let six = error_to_six(3, 4, mtu, 1500);
        assert_eq!(six, Some((2, 0, mtu + 20)));
        assert_eq!(error_to_four(2, 0, mtu + 20), Some((3, 4, mtu)));
    }
    for mtu in [65_535, 65_536, 70_000, u32::MAX] {
        assert_eq!(error_to_four(2, 0, mtu), Some((3, 4, 65_515)));
    }
}

/// Examples of these tables.
#[test]
fn errors_are_those_of_the_tables() {
    for (typ, code, word, six) in [
        (3, 0, 0, Some((1, 0, 0))),
        (3, 1, 0, Some((1, 0, 0))),
        (3, 2, 0, Some((4, 1, 6))),
        (3, 3, 0, Some((1, 4, 0))),
        (3, 4, 1400, Some((2, 0, 1420))),
        (3, 4, 1000, Some((2, 0, 1280))),
        (3, 4, 0, Some((2, 0, 1512))),
        (3, 13, 0, Some((1, 1, 0))),
        (3, 14, 0, None),
        (11, 0, 0, Some((3, 0, 0))),
        (11, 1, 0, Some((3, 1, 0))),
        (12, 0, 8 << 24, Some((4, 0, 7))),
        (12, 0, 7 << 24, None),
        (12, 1, 0, None),
        (4, 0, 0, None),
        (5, 0, 0, None),
        (8, 0, 0, None),
    ] {
        assert_eq!(error_to_six(typ, code, word, 1500), six, "{typ} {code}");
    }
    for (typ, code, word, four) in [
        (1, 0, 0, Some((3, 1, 0))),
        (1, 1, 0, Some((3, 10, 0))),
        (1, 2, 0, Some((3, 1, 0))),
        (1, 3, 0, Some((3, 1, 0))),
        (1, 4, 0, Some((3, 3, 0))),
        (2, 0, 1400, Some((3, 4, 1380))),
        (3, 0, 0, Some((11, 0, 0))),
        (4, 0, 6, Some((12, 0, 9 << 24))),
        (4, 0, 40, None),
        (4, 1, 0, Some((3, 2, 0))),
        (4, 2, 0, None),
        (128, 0, 0, None),
    ] {
        assert_eq!(error_to_four(typ, code, word), four, "{typ} {code}");
    }
}
