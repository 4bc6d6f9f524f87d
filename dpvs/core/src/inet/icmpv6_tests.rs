use proptest::prelude::*;

use super::*;
use crate::frame::HeapFrame;
use dpvs_wire::icmpv6::Icmpv6;

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn client() -> Ipv6Addr {
    addr("2001:db8::9")
}

fn own() -> Ipv6Addr {
    addr("2001:db8:1::1")
}

fn router() -> Ipv6Addr {
    addr("2001:db8:1::fe")
}

fn packet(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xee; 14 + 40 + payload.len()];
    frame[54..].copy_from_slice(payload);
    Ipv6::init(&mut frame[14..], payload.len() as u16, 33, next, src, dst).unwrap();
    frame
}

fn message(src: Ipv6Addr, dst: Ipv6Addr, typ: u8, code: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + data.len()];
    bytes[8..].copy_from_slice(data);
    let mut m = Icmpv6::new_checked(&mut bytes[..]).unwrap();
    m.set_typ(typ);
    m.set_code(code);
    m.set_rest(0xabcd_0001);
    m.fill_checksum(src, dst);
    bytes
}

fn icmp(src: Ipv6Addr, dst: Ipv6Addr, typ: u8, code: u8, data: &[u8]) -> Vec<u8> {
    packet(src, dst, 58, &message(src, dst, typ, code, data))
}

fn check_reply(frame: &HeapFrame, data: &[u8]) {
    assert_eq!(frame.data()[..14], [0xee; 14]);
    assert_eq!(frame.total_len(), 14 + 48 + data.len());
    let ip = Ipv6::new_checked(&frame.data()[14..]).unwrap();
    assert_eq!((ip.src(), ip.dst(), ip.hop_limit()), (own(), client(), 64));
    assert_eq!(
        (ip.next_header(), usize::from(ip.payload_len())),
        (58, 8 + data.len())
    );
    let m = Icmpv6::new_checked(ip.payload()).unwrap();
    assert!(m.verify_checksum(own(), client()));
    assert_eq!(
        (m.typ(), m.code(), m.rest(), m.payload()),
        (129, 0, 0xabcd_0001, data)
    );
}

#[test]
fn reply() {
    let mut bytes = icmp(client(), own(), 128, 0, b"hello");
    bytes.extend([0; 9]);
    let mut frame = HeapFrame::new(&bytes);
    assert_eq!(echo_reply_in_place(&mut frame, 14), Echo::Replied);
    check_reply(&frame, b"hello");
}

#[test]
fn reply_without_extensions() {
    let mut payload = vec![58, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(message(client(), own(), 128, 0, b"data"));
    let mut frame = HeapFrame::new(&packet(client(), own(), 60, &payload));
    assert_eq!(echo_reply_in_place(&mut frame, 14), Echo::Replied);
    check_reply(&frame, b"data");
}

#[test]
fn not_answered() {
    let check = |bytes: &[u8], want: Echo| {
        let mut frame = HeapFrame::new(bytes);
        assert_eq!(echo_reply_in_place(&mut frame, 14), want);
        assert_eq!(frame.data(), bytes, "unchanged");
    };
    let good = icmp(client(), own(), 128, 0, b"data");
    let mut bad = good.clone();
    bad[64] ^= 1;
    check(&bad, Echo::BadChecksum);
    check(&icmp(client(), own(), 128, 1, b""), Echo::NotEcho);
    check(&icmp(client(), own(), 129, 0, b""), Echo::NotEcho);
    check(&icmp(client(), addr("ff02::1"), 128, 0, b""), Echo::NotEcho);
    check(&icmp(addr("::"), own(), 128, 0, b""), Echo::NotEcho);
    check(&icmp(addr("ff02::1"), own(), 128, 0, b""), Echo::NotEcho);
    check(&good[..good.len() - 1], Echo::NotEcho);
    check(&good[..50], Echo::NotEcho);
    check(&[], Echo::NotEcho);
    let mut fragment = vec![58, 0, 0, 1, 0, 0, 0, 1];
    fragment.extend(message(client(), own(), 128, 0, b"data"));
    check(&packet(client(), own(), 44, &fragment), Echo::NotEcho);
}

fn error(frame: &mut HeapFrame, typ: u8, code: u8) -> bool {
    error_in_place(frame, 14, router(), typ, code, 1400, 1500)
}

#[test]
fn error_quotes_the_packet() {
    for (len, quoted) in [(100, 140), (1200, 1232), (1400, 1232)] {
        let mut bytes = packet(client(), own(), 17, &vec![0x5a; len]);
        bytes.extend([0; 6]);
        let mut frame = HeapFrame::new(&bytes);
        assert!(error(&mut frame, icmpv6::PACKET_TOO_BIG, 0));
        assert_eq!(frame.total_len(), 14 + 48 + quoted);
        let ip = Ipv6::new_checked(&frame.data()[14..]).unwrap();
        assert_eq!(
            (ip.src(), ip.dst(), ip.hop_limit()),
            (router(), client(), 64)
        );
        assert_eq!(usize::from(ip.payload_len()), 8 + quoted);
        let m = Icmpv6::new_checked(ip.payload()).unwrap();
        assert!(m.verify_checksum(router(), client()));
        assert_eq!((m.typ(), m.code(), m.rest()), (2, 0, 1400));
        assert_eq!(m.payload(), &bytes[14..14 + quoted]);
    }
}

#[test]
fn no_error() {
    let check = |bytes: &[u8], typ: u8| {
        let mut frame = HeapFrame::new(bytes);
        assert!(!error(&mut frame, typ, 0));
        assert_eq!(frame.data(), bytes, "unchanged");
    };
    for typ in [1, 2, 3, 4, 100, 127, 137] {
        check(&icmp(client(), own(), typ, 0, b""), icmpv6::TIME_EXCEEDED);
    }
    check(&packet(client(), own(), 58, b""), icmpv6::TIME_EXCEEDED);
    for src in ["::", "::1", "ff02::1"] {
        check(
            &packet(addr(src), own(), 17, &[0; 8]),
            icmpv6::PACKET_TOO_BIG,
        );
    }
    check(
        &packet(client(), addr("ff02::1"), 17, &[0; 8]),
        icmpv6::TIME_EXCEEDED,
    );
    let mut later = vec![58, 0, 0, 9, 0, 0, 0, 1];
    later.extend([128; 8]);
    check(&packet(client(), own(), 44, &later), icmpv6::TIME_EXCEEDED);
    check(&packet(client(), own(), 0, &[0; 7]), icmpv6::TIME_EXCEEDED);
    check(&[0x60; 50], icmpv6::TIME_EXCEEDED);
    check(&[], icmpv6::TIME_EXCEEDED);
}

#[test]
fn too_big_goes_to_groups_and_fragments_too() {
    let group = packet(client(), addr("ff0e::1"), 17, &[0; 8]);
    assert!(error(
        &mut HeapFrame::new(&group),
        icmpv6::PACKET_TOO_BIG,
        0
    ));
    assert!(error(&mut HeapFrame::new(&group), icmpv6::PARAM_PROBLEM, 2));
    assert!(!error(
        &mut HeapFrame::new(&group),
        icmpv6::PARAM_PROBLEM,
        1
    ));
    let later = packet(client(), own(), 44, &[17, 0, 0, 9, 0, 0, 0, 1, 1, 2, 3, 4]);
    assert!(error(
        &mut HeapFrame::new(&later),
        icmpv6::PACKET_TOO_BIG,
        0
    ));
    let ping = icmp(client(), own(), 128, 0, b"");
    assert!(error(
        &mut HeapFrame::new(&ping),
        icmpv6::UNREACHABLE,
        icmpv6::NO_ROUTE
    ));
}

proptest! {
    #[test]
    fn arbitrary(mut bytes in prop::collection::vec(any::<u8>(), 0..160), off in 0usize..60,
        head: bool, next in prop_oneof![Just(0u8), Just(58), Just(60), Just(44)], len: u8) {
        if head && bytes.len() > off + 7 {
            bytes[off] = 0x60;
            bytes[off + 4] = 0;
            bytes[off + 5] = len;
            bytes[off + 6] = next;
        }
        let mut frame = HeapFrame::new(&bytes);
        if error_in_place(&mut frame, off, router(), 3, 0, 0, 1500) {
            let ip = Ipv6::new_checked(&frame.data()[14..]).unwrap();
            let dst = ip.dst();
            prop_assert!(Icmpv6::new_checked(ip.payload()).unwrap().verify_checksum(router(), dst));
        } else {
            prop_assert_eq!(frame.data(), &bytes[..]);
        }
        let mut frame = HeapFrame::new(&bytes);
        if echo_reply_in_place(&mut frame, off) != Echo::Replied {
            prop_assert_eq!(frame.data(), &bytes[..]);
        }
    }

    #[test]
    fn every_ping_is_answered(data in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut frame = HeapFrame::new(&icmp(client(), own(), 128, 0, &data));
        prop_assert_eq!(echo_reply_in_place(&mut frame, 14), Echo::Replied);
        check_reply(&frame, &data);
    }
}
