use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::frame::HeapFrame;
use dpvs_wire::checksum;

const LAN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn v6(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

/// A frame with a TCP segment: options padded with EOL, all checksums right.
fn frame(six: bool, flags: u8, options: &[u8], payload: usize) -> HeapFrame {
    let l4 = if six { 54 } else { 34 };
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
    segment[4..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    segment[13] = flags;
    segment.extend(options);
    segment.resize(segment.len().next_multiple_of(4), 0);
    segment[12] = (segment.len() as u8 / 4) << 4;
    segment.extend((0..payload).map(|n| n as u8));
    let mut bytes = vec![0xee; l4];
    bytes.extend(&segment);
    let len = segment.len();
    let pseudo = if six {
        let (src, dst) = (v6("2001:db8::1"), v6("2001:db8::2"));
        Ipv6::init(&mut bytes[14..], len as u16, 60, 6, src, dst).unwrap();
        checksum::pseudo_v6(src, dst, 6, len as u32)
    } else {
        Ipv4::init(&mut bytes[14..], 20 + len as u16, 60, 6, LAN, SERVER).unwrap();
        checksum::pseudo_v4(LAN, SERVER, 6, len as u16)
    };
    let sum = checksum::transport(pseudo, &bytes[l4..]);
    bytes[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
    HeapFrame::new(&bytes)
}

fn client(six: bool) -> (IpAddr, u16) {
    if six {
        (v6("2001:db8:c::9").into(), 0xbeef)
    } else {
        ([192, 0, 2, 9].into(), 0xbeef)
    }
}

fn expected(six: bool) -> Vec<u8> {
    let mut want = vec![254, if six { 20 } else { 8 }, 0xbe, 0xef];
    match client(six).0 {
        IpAddr::V4(a) => want.extend(a.octets()),
        IpAddr::V6(a) => want.extend(a.octets()),
    }
    want
}

/// Checks lengths and checksums; gives options and payload.
fn read(frame: &HeapFrame, six: bool) -> (Vec<u8>, Vec<u8>) {
    let data = frame.data();
    assert_eq!(data[..14], [0xee; 14], "Ethernet header moved along");
    let (pseudo, segment) = if six {
        let ip = Ipv6::new_checked(&data[14..]).unwrap();
        assert_eq!(ip.total_len() + 14, data.len());
        assert_eq!(ip.hop_limit(), 60);
        (
            checksum::pseudo_v6(ip.src(), ip.dst(), 6, ip.payload_len().into()),
            &data[54..],
        )
    } else {
        let ip = Ipv4::new_checked(&data[14..]).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(usize::from(ip.total_len()) + 14, data.len());
        assert_eq!(ip.ttl(), 60);
        (
            checksum::pseudo_v4(ip.src(), ip.dst(), 6, ip.total_len() - 20),
            &data[34..],
        )
    };
    assert!(checksum::verify(pseudo, segment), "TCP checksum");
    let tcp = Tcp::new_checked(segment).unwrap();
    assert_eq!(
        (tcp.src_port(), tcp.dst_port(), tcp.seq()),
        (12345, 80, 0x0102_0304)
    );
    (tcp.options().to_vec(), tcp.payload().to_vec())
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8).collect()
}

const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn plain() {
    for six in [false, true] {
        for six_client in [false, true] {
            for options in [&[][..], &TIMESTAMP] {
                let mut f = frame(six, tcp::ACK, options, 33);
                let l4 = if six { 54 } else { 34 };
                assert_eq!(insert_toa(&mut f, 14, l4, client(six_client), 1500), Ok(()));
                let mut want = expected(six_client);
                want.extend(options);
                assert_eq!(read(&f, six), (want, payload(33)));
            }
        }
    }
}

#[test]
fn mtu_limit() {
    for (payload_len, fits) in [(1500 - 40 - 8, true), (1500 - 40 - 7, false)] {
        let mut f = frame(false, tcp::ACK, &[], payload_len);
        let before = f.data().to_vec();
        let result = insert_toa(&mut f, 14, 34, client(false), 1500);
        assert_eq!(result, if fits { Ok(()) } else { Err(ToaError::TooBig) });
        if fits {
            read(&f, false);
        } else {
            assert_eq!(f.data(), before);
        }
    }
}

#[test]
fn padding_makes_room() {
    // Twelve bytes of NOP go: the segment gets shorter although it got the option.
    let mut f = frame(false, tcp::ACK, &[1; 12], 1500 - 52);
    assert_eq!(insert_toa(&mut f, 14, 34, client(false), 1500), Ok(()));
    assert_eq!(read(&f, false), (expected(false), payload(1448)));
    assert_eq!(f.total_len(), 14 + 1496);
}

#[test]
fn a_clients_own_option_254_goes_first() {
    let mut options = vec![254, 8, 0, 1, 9, 9, 9, 9];
    options.extend(TIMESTAMP);
    let mut f = frame(false, tcp::ACK, &options, 1500 - 60);
    assert_eq!(insert_toa(&mut f, 14, 34, client(false), 1500), Ok(()));
    let mut want = expected(false);
    want.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    assert_eq!(read(&f, false), (want, payload(1440)));
    // Where it fits it stays, as in DPVS.
    let mut f = frame(false, tcp::ACK, &options, 10);
    assert_eq!(insert_toa(&mut f, 14, 34, client(false), 1500), Ok(()));
    let mut want = expected(false);
    want.extend(options);
    assert_eq!(read(&f, false), (want, payload(10)));
}

#[test]
fn header_full_prunes_what_is_not_protected() {
    // Timestamp and three SACK blocks: 12 + 2 + 26 = 40 bytes.
    let mut options = TIMESTAMP.to_vec();
    options.extend([1, 1, 5, 26]);
    options.extend([7; 24]);
    let mut f = frame(false, tcp::ACK, &options, 5);
    assert_eq!(insert_toa(&mut f, 14, 34, client(false), 1500), Ok(()));
    // Without the four NOPs 36 are left and 32 may be; SACK goes.
    let mut want = expected(false);
    want.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    assert_eq!(read(&f, false), (want, payload(5)));
    // On a SYN the usual options are protected; the second of a kind is not.
    let syn = [
        2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7, 4, 2, 0, 0,
    ];
    let mut full = syn[..22].to_vec();
    full.extend([99, 18]);
    full.extend([3; 16]);
    let mut f = frame(false, tcp::SYN, &full, 0);
    assert_eq!(insert_toa(&mut f, 14, 34, client(true), 1500), Ok(()));
    let mut want = expected(true);
    want.extend([
        2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 3, 3, 7, 0,
    ]);
    assert_eq!(read(&f, false), (want, vec![]));
}

#[test]
fn nothing_left_to_prune() {
    let check = |options: &[u8], payload: usize, six: bool, want: ToaError| {
        let mut f = frame(false, tcp::ACK, options, payload);
        let before = f.data().to_vec();
        assert_eq!(insert_toa(&mut f, 14, 34, client(six), 1500), Err(want));
        assert_eq!(f.data(), before, "unchanged");
    };
    // Options shorter than ours are left alone.
    check(&[1; 4], 1456, false, ToaError::TooBig);
    // Two NOPs are not enough, and the timestamp is protected.
    check(&TIMESTAMP, 1448, false, ToaError::TooBig);
    // SYN-only kinds are not protected here, but a timestamp of 10 is.
    let mut full = TIMESTAMP.to_vec();
    full.extend([8, 28]);
    full.extend([0; 26]);
    let mut f = frame(false, tcp::ACK, &full, 0);
    assert_eq!(
        insert_toa(&mut f, 14, 34, client(true), 1500),
        Ok(()),
        "too long a kind 8"
    );
    check(&TIMESTAMP, 1448, true, ToaError::TooBig);
}

#[test]
fn not_a_segment() {
    let mut f = frame(false, tcp::ACK, &[], 0);
    let before = f.data().to_vec();
    for (l3, l4) in [(14, 40), (14, 500), (500, 34), (0, 34), (14, 14)] {
        let result = insert_toa(&mut f, l3, l4, client(false), 1500);
        assert_eq!(result, Err(ToaError::Malformed), "{l3} {l4}");
        assert_eq!(f.data(), before);
    }
}

#[test]
fn no_headroom() {
    let bytes = frame(false, tcp::ACK, &[], 4).data().to_vec();
    let mut f = HeapFrame::new(&bytes);
    while f.push_front(1) {}
    f.truncate(bytes.len());
    f.data_mut().copy_from_slice(&bytes);
    assert_eq!(
        insert_toa(&mut f, 14, 34, client(false), 1500),
        Err(ToaError::NoRoom)
    );
    assert_eq!(f.data(), bytes);
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just(vec![1u8]),
        Just(vec![4, 2]),
        Just(vec![3, 3, 7]),
        Just(vec![2, 4, 5, 180]),
        Just(vec![254, 8, 1, 2, 3, 4, 5, 6]),
        Just(vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        (2usize..20, any::<u8>()).prop_map(|(n, kind)| {
            let mut o = vec![kind.max(2), n as u8];
            o.resize(n, 9);
            o
        }),
    ];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..=40),
        prop::collection::vec(known, 0..20).prop_map(|o| {
            let mut all = o.concat();
            all.truncate(40);
            all
        }),
    ]
}

proptest! {
    #[test]
    fn always_a_right_segment(
        six: bool,
        six_client: bool,
        syn: bool,
        options in options(),
        len in 0usize..80,
        mtu in 40u16..200,
    ) {
        let flags = if syn { tcp::SYN } else { tcp::ACK | tcp::PSH };
        let mut f = frame(six, flags, &options, len);
        let before = f.data().to_vec();
        let old = read(&f, six).0;
        let l4 = if six { 54 } else { 34 };
        match insert_toa(&mut f, 14, l4, client(six_client), mtu) {
            Ok(()) => {
                let (new, data) = read(&f, six);
                prop_assert_eq!(data, payload(len));
                prop_assert!(f.total_len() - 14 <= usize::from(mtu));
                let want = expected(six_client);
                prop_assert_eq!(&new[..want.len()], &want[..]);
                let rest = &new[want.len()..];
                let list = |b: &[u8]| {
                    Options::new(b).map(|o| (o.kind, o.data.to_vec())).collect::<Vec<_>>()
                };
                if rest == &old[..] {
                    return Ok(());
                }
                // What was kept is a part of what was there, in order, and what
                // must not go is there.
                let (kept, had) = (list(rest), list(&old));
                let mut from = had.iter();
                prop_assert!(kept.iter().all(|k| from.any(|h| h == k)));
                let first = |l: &[(u8, Vec<u8>)]| l.iter().find(|o| o.0 == 8).cloned();
                if let Some(ts) = first(&had).filter(|ts| ts.1.len() == 8) {
                    prop_assert_eq!(first(&kept), Some(ts));
                }
            }
            Err(_) => prop_assert_eq!(f.data(), &before[..]),
        }
    }

    #[test]
    fn arbitrary(bytes in prop::collection::vec(any::<u8>(), 0..150), l3 in 0usize..40,
        l4 in 0usize..80, six: bool, mtu: u16) {
        let mut bytes = bytes;
        if bytes.len() > l3 {
            bytes[l3] = if six { 0x60 } else { 0x45 };
        }
        let mut f = HeapFrame::new(&bytes);
        if insert_toa(&mut f, l3, l4, client(six), mtu).is_err() {
            prop_assert_eq!(f.data(), &bytes[..]);
        }
    }
}
