use proptest::prelude::*;

use super::*;
use crate::frame::HeapFrame;
use dpvs_wire::icmp::Icmp;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// A frame with IP options, if any, and a payload; all checksums right.
fn packet(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = 20 + options.len() + payload.len();
    let mut frame = vec![0xee; 14 + total];
    let mut ip = Ipv4::init(&mut frame[14..], total as u16, 33, protocol, src, dst).unwrap();
    ip.set_tos(0x2c);
    ip.set_ident(0x1234);
    frame[14] = 0x45 + (options.len() / 4) as u8;
    frame[34..34 + options.len()].copy_from_slice(options);
    frame[34 + options.len()..].copy_from_slice(payload);
    Ipv4::new_checked(&mut frame[14..]).unwrap().fill_checksum();
    frame
}

fn message(typ: u8, code: u8, rest: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + data.len()];
    bytes[8..].copy_from_slice(data);
    let mut m = Icmp::new_checked(&mut bytes[..]).unwrap();
    m.set_typ(typ);
    m.set_code(code);
    m.set_rest(rest);
    m.fill_checksum();
    bytes
}

fn ping(options: &[u8], data: &[u8]) -> Vec<u8> {
    packet(CLIENT, OWN, 1, options, &message(8, 0, 0xabcd_0001, data))
}

#[test]
fn reply() {
    let mut bytes = ping(&[], b"hello, world!");
    bytes.extend([0; 20]); // Ethernet padding
    let mut frame = HeapFrame::new(&bytes);
    assert_eq!(echo_reply_in_place(&mut frame, 14), Echo::Replied);
    assert_eq!(frame.total_len(), 14 + 20 + 8 + 13);
    assert_eq!(frame.data()[..14], bytes[..14], "Ethernet is the caller's");
    let ip = Ipv4::new_checked(&frame.data()[14..]).unwrap();
    assert!(ip.verify_checksum());
    assert_eq!(
        (ip.src(), ip.dst(), ip.ttl(), ip.tos()),
        (OWN, CLIENT, 64, 0x2c)
    );
    let m = Icmp::new_checked(ip.payload()).unwrap();
    assert!(m.verify_checksum());
    assert_eq!((m.typ(), m.code(), m.rest()), (0, 0, 0xabcd_0001));
    assert_eq!(m.payload(), b"hello, world!");
}

#[test]
fn reply_without_options() {
    let mut frame = HeapFrame::new(&ping(&[7, 7, 4, 0, 0, 0, 0, 0], b"abc"));
    assert_eq!(echo_reply_in_place(&mut frame, 14), Echo::Replied);
    assert_eq!(frame.data()[..14], [0xee; 14]);
    let ip = Ipv4::new_checked(&frame.data()[14..]).unwrap();
    assert_eq!(
        (ip.header_len(), usize::from(ip.total_len())),
        (20, frame.total_len() - 14)
    );
    assert!(ip.verify_checksum());
    let m = Icmp::new_checked(ip.payload()).unwrap();
    assert!(m.verify_checksum());
    assert_eq!((m.typ(), m.payload()), (0, &b"abc"[..]));
}

#[test]
fn not_answered() {
    let check = |bytes: &[u8], want: Echo| {
        let mut frame = HeapFrame::new(bytes);
        assert_eq!(echo_reply_in_place(&mut frame, 14), want);
        assert_eq!(frame.data(), bytes, "unchanged");
    };
    let good = ping(&[], b"data");
    let mut bad = good.clone();
    bad[45] ^= 1;
    check(&bad, Echo::BadChecksum);
    check(
        &packet(CLIENT, OWN, 1, &[], &message(8, 1, 0, b"")),
        Echo::NotEcho,
    );
    check(
        &packet(CLIENT, OWN, 1, &[], &message(0, 0, 0, b"")),
        Echo::NotEcho,
    );
    check(
        &packet(CLIENT, OWN, 17, &[], &message(8, 0, 0, b"")),
        Echo::NotEcho,
    );
    check(
        &packet(CLIENT, Ipv4Addr::BROADCAST, 1, &[], &message(8, 0, 0, b"")),
        Echo::NotEcho,
    );
    check(
        &packet([224, 0, 0, 1].into(), OWN, 1, &[], &message(8, 0, 0, b"")),
        Echo::NotEcho,
    );
    check(&good[..good.len() - 1], Echo::NotEcho);
    check(&good[..20], Echo::NotEcho);
    check(&[], Echo::NotEcho);
    let mut fragment = good;
    fragment[20] = 0x20;
    check(&fragment, Echo::NotEcho);
}

fn error(frame: &mut HeapFrame, mtu: u16) -> bool {
    error_in_place(
        frame,
        14,
        ROUTER,
        icmp::UNREACHABLE,
        icmp::FRAG_NEEDED,
        1400,
        mtu,
    )
}

#[test]
fn error_quotes_the_packet() {
    let bytes = packet(CLIENT, OWN, 17, &[], &[0x5a; 100]);
    let mut frame = HeapFrame::new(&bytes);
    assert!(error(&mut frame, 1500));
    let ip = Ipv4::new_checked(&frame.data()[14..]).unwrap();
    assert!(ip.verify_checksum());
    assert_eq!(
        (ip.src(), ip.dst(), ip.ttl(), ip.protocol()),
        (ROUTER, CLIENT, 64, 1)
    );
    assert_eq!(ip.tos(), 0xc0 | 0x0c);
    assert_eq!(14 + usize::from(ip.total_len()), frame.total_len());
    let m = Icmp::new_checked(ip.payload()).unwrap();
    assert!(m.verify_checksum());
    assert_eq!((m.typ(), m.code(), m.rest()), (3, 4, 1400));
    assert_eq!(m.payload(), &bytes[14..]);
}

#[test]
fn error_is_short() {
    for (mtu, longest) in [(1500, 576), (576, 576), (300, 300), (0, 68)] {
        let bytes = packet(CLIENT, OWN, 17, &[1; 8], &[0x5a; 1400]);
        let mut frame = HeapFrame::new(&bytes);
        assert!(error(&mut frame, mtu));
        assert_eq!(frame.total_len(), 14 + longest);
        let ip = Ipv4::new_checked(&frame.data()[14..]).unwrap();
        assert_eq!(usize::from(ip.total_len()), longest);
        assert_eq!(ip.payload()[8..], bytes[14..14 + longest - 28]);
        assert!(Icmp::new_checked(ip.payload()).unwrap().verify_checksum());
    }
}

#[test]
fn padding_is_not_quoted() {
    let mut bytes = packet(CLIENT, OWN, 17, &[], b"12345678");
    bytes.extend([0; 30]);
    let mut frame = HeapFrame::new(&bytes);
    assert!(error(&mut frame, 1500));
    assert_eq!(frame.total_len(), 14 + 28 + 28);
}

#[test]
fn no_error() {
    let check = |bytes: &[u8]| {
        let mut frame = HeapFrame::new(bytes);
        assert!(!error(&mut frame, 1500));
        assert_eq!(frame.data(), bytes, "unchanged");
    };
    for typ in [3, 4, 5, 11, 12] {
        check(&packet(CLIENT, OWN, 1, &[], &message(typ, 0, 0, b"")));
    }
    check(&packet(CLIENT, OWN, 1, &[], &[]));
    for src in [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.5",
        "255.255.255.255",
        "240.0.0.1",
    ] {
        check(&packet(src.parse().unwrap(), OWN, 17, &[], &[0; 8]));
    }
    for dst in ["224.0.0.1", "255.255.255.255"] {
        check(&packet(CLIENT, dst.parse().unwrap(), 17, &[], &[0; 8]));
    }
    let mut later = packet(CLIENT, OWN, 17, &[], &[0; 8]);
    later[21] = 1;
    check(&later);
    check(&later[..33]);
    check(&[]);
}

#[test]
fn error_about_a_ping_and_a_first_fragment() {
    let mut frame = HeapFrame::new(&ping(&[], b"x"));
    assert!(error(&mut frame, 1500));
    let mut first = packet(CLIENT, OWN, 17, &[], &[0; 8]);
    first[20] = 0x20;
    assert!(error(&mut HeapFrame::new(&first), 1500));
}

#[test]
fn no_headroom() {
    let mut frame = HeapFrame::new(&packet(CLIENT, OWN, 17, &[], &[0; 8]));
    // Use the headroom up, without moving the packet.
    while frame.push_front(1) {}
    let at = frame.total_len() - (20 + 8);
    let before = frame.data().to_vec();
    // So far in, nothing has to be pushed; the front is cut instead.
    assert!(error_in_place(&mut frame, at, ROUTER, 3, 0, 0, 1500));
    assert_eq!(frame.total_len(), 14 + 28 + 28);
    // Right at the start of the buffer there is no room.
    let mut frame = HeapFrame::new(&before);
    while frame.push_front(1) {}
    let bytes = packet(CLIENT, OWN, 17, &[], &[0; 8]);
    frame.truncate(bytes.len());
    frame.data_mut().copy_from_slice(&bytes);
    assert!(!error(&mut frame, 1500));
    assert_eq!(frame.data(), bytes);
}

proptest! {
    #[test]
    fn arbitrary(bytes in prop::collection::vec(any::<u8>(), 0..120), off in 0usize..50,
        head: bool, mtu: u16) {
        let mut bytes = bytes;
        if head && bytes.len() > off + 10 {
            bytes[off] = 0x45;
            bytes[off + 2] = 0;
            bytes[off + 6] = 0;
            bytes[off + 9] = 1;
        }
        let mut frame = HeapFrame::new(&bytes);
        if error_in_place(&mut frame, off, ROUTER, 11, 0, 0, mtu) {
            let ip = Ipv4::new_checked(&frame.data()[14..]).unwrap();
            prop_assert!(ip.verify_checksum());
            prop_assert!(Icmp::new_checked(ip.payload()).unwrap().verify_checksum());
            prop_assert!(usize::from(ip.total_len()) <= usize::from(mtu.clamp(68, 576)));
        } else {
            prop_assert_eq!(frame.data(), &bytes[..]);
        }
        let mut frame = HeapFrame::new(&bytes);
        if echo_reply_in_place(&mut frame, off) != Echo::Replied {
            prop_assert_eq!(frame.data(), &bytes[..]);
        }
    }

    #[test]
    fn every_ping_is_answered(data in prop::collection::vec(any::<u8>(), 0..100), words in 0usize..11) {
        let mut frame = HeapFrame::new(&ping(&vec![1; words * 4], &data));
        prop_assert_eq!(echo_reply_in_place(&mut frame, 14), Echo::Replied);
        let ip = Ipv4::new_checked(&frame.data()[14..]).unwrap();
        prop_assert!(ip.verify_checksum());
        let m = Icmp::new_checked(ip.payload()).unwrap();
        prop_assert!(m.verify_checksum());
        prop_assert_eq!(m.payload(), &data[..]);
    }
}
