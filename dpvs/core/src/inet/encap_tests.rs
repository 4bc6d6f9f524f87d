use super::*;
use crate::frame::HeapFrame;

fn packet4(len: usize) -> Vec<u8> {
    let mut f = vec![0; L3 + 20 + len];
    f[12..14].copy_from_slice(&[8, 0]);
    for (i, b) in f[L3 + 20..].iter_mut().enumerate() {
        *b = i as u8;
    }
    let mut ip = Ipv4::init(
        &mut f[L3..],
        (20 + len) as u16,
        33,
        17,
        Ipv4Addr::new(198, 51, 100, 7),
        Ipv4Addr::new(192, 0, 2, 10),
    )
    .unwrap();
    ip.set_tos(0x48);
    ip.set_frag(ipv4::DF);
    ip.fill_checksum();
    f
}

fn outer() -> Outer4 {
    Outer4 {
        src: Ipv4Addr::new(10, 0, 1, 1),
        dst: Ipv4Addr::new(10, 0, 1, 11),
        tos: 0x48,
        ttl: 33,
        df: true,
        id: 7,
        proto: 4,
    }
}

#[test]
fn in_and_out_again() {
    for len in [0, 1, 100, 1000] {
        let plain = packet4(len);
        let mut frame = HeapFrame::new(&plain);
        let inner = Inner::read(frame.data()).unwrap();
        assert_eq!(
            inner,
            Inner {
                v6: false,
                tos: 0x48,
                ttl: 33,
                df: true,
                flow: 0
            }
        );
        assert!(push4(&mut frame, &outer(), 0));
        let ip = Ipv4::new_checked(&frame.data()[L3..]).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(
            (ip.total_len(), ip.protocol(), ip.ident(), ip.frag()),
            (40 + len as u16, 4, 7, ipv4::DF)
        );
        assert_eq!(ip.payload(), &plain[L3..]);
        assert!(pull(&mut frame, 20, eth::ETHERTYPE_IPV4));
        assert_eq!(frame.data()[12..], plain[12..]);
    }
}

#[test]
fn six_around_four() {
    let plain = packet4(50);
    let mut frame = HeapFrame::new(&plain);
    let outer = Outer6 {
        src: "2001:db8::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
        class: 0x48,
        flow: 0x12345,
        hops: 9,
        proto: 4,
    };
    assert!(push6(&mut frame, &outer, 4));
    let ip = Ipv6::new_checked(&frame.data()[L3..]).unwrap();
    assert_eq!(
        (ip.payload_len(), ip.traffic_class(), ip.flow_label()),
        (74, 0x48, 0x12345)
    );
    assert_eq!(frame.data()[L3 + 44..], plain[L3..]);
    let seen = Inner::read(frame.data()).unwrap();
    assert_eq!(
        (seen.v6, seen.tos, seen.ttl, seen.flow, seen.proto()),
        (true, 0x48, 9, 0x12345, 41)
    );
}

#[test]
fn gre_checksum_covers_header_and_packet() {
    for len in [3, 4, 601] {
        let mut frame = HeapFrame::new(&packet4(len));
        let gre = Gre {
            csum: true,
            key: Some(9),
            seq: Some(1),
            ethertype: 0x0800,
        };
        assert!(push4(&mut frame, &outer(), gre.len()));
        write_gre(&mut frame, L3 + 20, &gre);
        assert_eq!(Gre::parse(&frame.data()[L3 + 20..]), Ok(gre));
        assert_eq!(sum_from(&frame, L3 + 20), 0xffff);
        frame.data_mut()[L3 + 40] ^= 1;
        assert_ne!(sum_from(&frame, L3 + 20), 0xffff);
    }
}

#[test]
fn without_room_nothing_changes() {
    let mut frame = HeapFrame::new(&packet4(10));
    assert!(frame.push_front(120));
    let before = frame.data().to_vec();
    assert!(!push4(&mut frame, &outer(), 0));
    assert!(!pull(&mut frame, 4000, 0));
    assert_eq!(frame.data(), before);
    assert_eq!(Inner::read(&[0; 60]), None);
    assert_eq!(Inner::read(&[0; 14]), None);
}
