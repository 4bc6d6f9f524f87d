//! Every view on arbitrary bytes: an accessor of a checked view never panics,
//! and what a setter wrote is read back.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::{Error, arp, eth, icmp, icmpv6, ipv4, ipv6, proto, tcp, udp, vlan};

/// Bytes, now and then starting like the header in question.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        Just(vec![]),
        (5u8..16, 0u8..4, any::<u8>()).prop_map(|(ihl, hi, lo)| vec![0x40 | ihl, 0, hi, lo]),
        (any::<[u8; 3]>(), 0u8..3, any::<u8>())
            .prop_map(|(x, hi, lo)| { vec![0x60, x[0], x[1], x[2], hi, lo] }),
    ];
    (
        head,
        prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4], 0..120),
    )
        .prop_map(|(mut head, tail)| {
            head.extend(tail);
            head
        })
}

proptest! {
    #[test]
    fn eth_vlan_arp(b in bytes()) {
        if let Ok(v) = eth::Eth::new_checked(&b) {
            let _ = (v.dst(), v.src(), v.ethertype());
            prop_assert_eq!(v.payload().len(), b.len() - 14);
        }
        if let Ok(v) = vlan::Vlan::new_checked(&b) {
            prop_assert!(v.id() <= 4095);
            let _ = v.ethertype();
        }
        let mut copy = b.clone();
        vlan::pop(&mut copy);
        vlan::push(&mut copy, 7);
        if let Ok(v) = arp::Arp::new_checked(&b) {
            let _ = (v.op(), v.sha(), v.spa(), v.tha(), v.tpa());
        }
    }

    #[test]
    fn ipv4(mut b in bytes()) {
        let len = b.len();
        if let Ok(mut v) = ipv4::Ipv4::new_checked(&mut b[..]) {
            prop_assert_eq!(v.options().len(), v.header_len() - 20);
            prop_assert!(v.payload().len() + v.header_len() <= len);
            prop_assert!(v.payload().len() + v.header_len() <= usize::from(v.total_len()));
            let _ = (v.tos(), v.ident(), v.is_fragment(), v.dont_fragment(), v.protocol());
            v.fill_checksum();
            prop_assert!(v.verify_checksum());
            let ttl = v.ttl();
            v.decrement_ttl();
            prop_assert_eq!(v.ttl(), ttl.saturating_sub(1));
            prop_assert!(v.verify_checksum());
            v.set_src(Ipv4Addr::new(1, 2, 3, 4));
            v.set_dst_bits(0x0506_0708);
            prop_assert_eq!(v.src_bits(), 0x0102_0304);
            prop_assert_eq!(v.dst(), Ipv4Addr::new(5, 6, 7, 8));
            v.payload_mut().fill(0);
        }
    }

    #[test]
    fn ipv6(mut b in bytes()) {
        let len = b.len();
        if let Ok(mut v) = ipv6::Ipv6::new_checked(&mut b[..]) {
            prop_assert!(v.payload().len() + 40 <= len.min(v.total_len()));
            if let Ok(upper) = v.upper() {
                prop_assert!(upper.offset <= len.min(v.total_len()));
                let _ = upper.is_start();
            }
            let (src, label) = (v.src(), v.flow_label());
            v.set_traffic_class(0xa5);
            prop_assert_eq!((v.traffic_class(), v.flow_label()), (0xa5, label));
            v.set_flow_label(0xffff_ffff);
            prop_assert_eq!((v.traffic_class(), v.flow_label()), (0xa5, 0xf_ffff));
            prop_assert_eq!(v.src(), src);
            prop_assert_eq!(v.src_bits(), src.to_bits());
            v.set_dst(Ipv6Addr::LOCALHOST);
            prop_assert_eq!(v.dst_bits(), 1);
            v.payload_mut().fill(0);
            prop_assert!(ipv6::Ipv6::new_checked(&b).is_ok());
        }
    }

    #[test]
    fn walk_ends(first: u8, b in prop::collection::vec(prop_oneof![Just(0u8), Just(43), Just(44),
        Just(60), Just(51), any::<u8>()], 0..200)) {
        if let Ok(upper) = ipv6::walk(first, &b) {
            prop_assert!(upper.offset >= 40 && upper.offset - 40 <= b.len());
        }
    }

    #[test]
    fn tcp(mut b in bytes(), words in 5u8..16) {
        if b.len() > 12 {
            b[12] = words << 4 | b[12] & 0x0f;
        }
        let len = b.len();
        if let Ok(mut v) = tcp::Tcp::new_checked(&mut b[..]) {
            prop_assert_eq!(v.options().len() + v.payload().len() + 20, len);
            let mut end = 0;
            for o in tcp::Options::new(v.options()) {
                prop_assert_eq!(o.offset, end);
                end += o.wire_len();
                prop_assert!(end <= v.options().len());
                prop_assert_eq!(v.options()[o.offset], o.kind);
            }
            v.set_header_len(20);
            prop_assert_eq!(v.header_len(), 20);
            v.set_flags(tcp::SYN);
            v.set_seq(1);
            v.set_ack(2);
            v.set_window(3);
            v.set_checksum(4);
            v.set_src_port(5);
            v.set_dst_port(6);
            prop_assert_eq!(
                (v.flags(), v.seq(), v.ack(), v.window(), v.checksum(), v.src_port(), v.dst_port()),
                (tcp::SYN, 1, 2, 3, 4, 5, 6)
            );
            v.options_mut().fill(0);
        }
    }

    #[test]
    fn tcp_options(b in prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..60)) {
        let total: usize = tcp::Options::new(&b).map(|o| o.wire_len()).sum();
        prop_assert!(total <= b.len());
    }

    #[test]
    fn udp(mut b in bytes()) {
        let len = b.len();
        if let Ok(mut v) = udp::Udp::new_checked(&mut b[..]) {
            prop_assert!(v.payload().len() + 8 <= len);
            v.set_src_port(1);
            v.set_dst_port(2);
            v.set_length(8);
            v.set_checksum(3);
            prop_assert_eq!((v.src_port(), v.dst_port(), v.length(), v.checksum()), (1, 2, 8, 3));
            prop_assert_eq!(v.payload().len(), 0);
        }
    }

    #[test]
    fn icmps(mut b in bytes(), src: u128, dst: u128) {
        let (src, dst) = (Ipv6Addr::from_bits(src), Ipv6Addr::from_bits(dst));
        if let Ok(mut v) = icmp::Icmp::new_checked(&mut b[..]) {
            v.set_typ(11);
            v.set_code(1);
            v.set_rest(7);
            v.fill_checksum();
            prop_assert!(v.verify_checksum());
            prop_assert_eq!((v.typ(), v.code(), v.rest()), (11, 1, 7));
        }
        if let Ok(mut v) = icmpv6::Icmpv6::new_checked(&mut b[..]) {
            let _ = v.nd_target();
            v.set_typ(135);
            v.set_code(1);
            v.set_rest(7);
            v.fill_checksum(src, dst);
            prop_assert!(v.verify_checksum(src, dst));
            prop_assert_eq!((v.typ(), v.code(), v.rest()), (135, 1, 7));
        }
    }

    #[test]
    fn nd_options(b in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..80)) {
        let mut left = b.len();
        for option in icmpv6::NdOptions::new(&b) {
            match option {
                Ok(o) => {
                    prop_assert!((o.data.len() + 2).is_multiple_of(8));
                    left -= o.data.len() + 2;
                    prop_assert_eq!(o.mac().is_some(), o.data.len() == 6);
                }
                Err(_) => left = 0,
            }
        }
        prop_assert_eq!(left, 0);
    }
}

#[test]
fn ipv4_header_on_the_wire() {
    // The example everybody knows: checksum b861.
    let bytes = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];
    let ip = ipv4::Ipv4::new_checked(bytes).unwrap();
    assert!(ip.verify_checksum());
    assert_eq!((ip.ttl(), ip.protocol(), ip.total_len()), (64, 17, 0x73));
    assert!(ip.dont_fragment() && !ip.is_fragment());
    let (src, dst) = (ip.src(), ip.dst());
    let mut made = [0xff; 20];
    ipv4::Ipv4::init(&mut made[..], 0x73, 64, 17, src, dst).unwrap();
    assert_eq!(made, bytes);
}

#[test]
fn ipv4_refuses() {
    let mut b = [0u8; 60];
    b[0] = 0x45;
    b[3] = 60;
    assert!(ipv4::Ipv4::new_checked(b).is_ok());
    let with = |at: usize, v: u8| {
        let mut b = b;
        b[at] = v;
        ipv4::Ipv4::new_checked(b).map(|_| ())
    };
    assert_eq!(with(0, 0x65), Err(Error::Malformed));
    assert_eq!(with(0, 0x44), Err(Error::Malformed));
    assert_eq!(with(3, 19), Err(Error::Malformed));
    assert_eq!(with(0, 0x4f), Ok(()));
    b[0] = 0x4f;
    assert!(matches!(
        ipv4::Ipv4::new_checked(&b[..59]),
        Err(Error::Truncated)
    ));
}

#[test]
fn ipv6_chain() {
    // Hop-by-hop, routing (16 bytes), first fragment, then TCP.
    let mut rest = vec![43, 0, 0, 0, 0, 0, 0, 0];
    rest.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    rest.extend([6, 0, 0, 1, 0, 0, 0, 9]);
    let upper = ipv6::walk(proto::HOPOPTS, &rest).unwrap();
    assert_eq!((upper.protocol, upper.offset), (proto::TCP, 40 + 32));
    assert_eq!(
        upper.fragment,
        Some(ipv6::Fragment {
            offset: 0,
            more: true
        })
    );
    assert!(upper.is_start());
    // A later fragment: what follows is data, whatever its header says.
    rest[24 + 2] = 0x05;
    rest[24] = proto::DSTOPTS;
    let upper = ipv6::walk(proto::HOPOPTS, &rest).unwrap();
    assert_eq!((upper.protocol, upper.offset), (proto::DSTOPTS, 72));
    assert!(!upper.is_start());
    assert_eq!(
        ipv6::walk(proto::HOPOPTS, &rest[..31]),
        Err(Error::Truncated)
    );
    // A chain that does not end.
    let long = [0u8; 8 * 20];
    assert_eq!(ipv6::walk(proto::HOPOPTS, &long), Err(Error::Malformed));
    // Nothing to follow.
    let upper = ipv6::walk(proto::NO_NEXT, &[]).unwrap();
    assert_eq!((upper.protocol, upper.offset), (proto::NO_NEXT, 40));
    assert_eq!(ipv6::walk(proto::ESP, &[]).unwrap().protocol, proto::ESP);
}

#[test]
fn tcp_options_stop_where_they_must() {
    let kinds = |b: &[u8]| {
        tcp::Options::new(b)
            .map(|o| (o.kind, o.offset))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&[2, 4, 5, 0xb4, 1, 3, 3, 7, 0, 8, 10]),
        [(2, 0), (1, 4), (3, 5)]
    );
    for bad in [&[1, 8][..], &[1, 8, 0], &[1, 8, 1], &[1, 8, 10, 0, 0]] {
        assert_eq!(kinds(bad), [(1, 0)]);
    }
}
