use proptest::prelude::*;

use super::*;
use crate::frame::HeapFrame;

const OWN: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER: Mac = [2, 0, 0, 0, 0, 2];

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn target() -> Ipv6Addr {
    addr("2001:db8::12:3456")
}

/// Puts the checksum right after a test changed something.
fn resum(frame: &mut [u8]) {
    let mut ip = Ipv6::new_checked(&mut frame[14..]).unwrap();
    let (src, dst) = (ip.src(), ip.dst());
    Icmpv6::new_checked(ip.payload_mut())
        .unwrap()
        .fill_checksum(src, dst);
}

fn solicit() -> [u8; FRAME_LEN] {
    let mut buf = [0xaa; FRAME_LEN];
    assert_eq!(
        write_solicit(&mut buf, PEER, addr("2001:db8::2"), target()),
        Some(86)
    );
    buf
}

fn advert() -> [u8; FRAME_LEN] {
    let mut buf = [0xaa; FRAME_LEN];
    let flags = icmpv6::NA_SOLICITED | icmpv6::NA_OVERRIDE;
    let len = write_advert(&mut buf, OWN, PEER, target(), addr("2001:db8::2"), flags);
    assert_eq!(len, Some(86));
    buf
}

#[test]
fn addresses() {
    assert_eq!(link_local(OWN), addr("fe80::5054:ff:fe12:3456"));
    assert_eq!(link_local([0, 0, 0, 0, 0, 1]), addr("fe80::200:ff:fe00:1"));
    assert_eq!(
        solicited_node(addr("2001:db8::aabb:ccdd")),
        addr("ff02::1:ffbb:ccdd")
    );
    assert_eq!(
        solicited_node_mac(addr("2001:db8::aabb:ccdd")),
        [0x33, 0x33, 0xff, 0xbb, 0xcc, 0xdd]
    );
    assert!(is_solicited_node(addr("ff02::1:ff00:0")));
    assert!(!is_solicited_node(addr("ff02::1:fe00:0")));
    assert!(!is_solicited_node(ALL_NODES));
}

#[test]
fn solicit_on_the_wire() {
    let frame = solicit();
    let mut want = vec![
        0x33, 0x33, 0xff, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 2, 0x86, 0xdd,
    ];
    want.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    want.extend(addr("2001:db8::2").octets());
    want.extend(addr("ff02::1:ff12:3456").octets());
    want.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    want.extend(target().octets());
    want.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    resum(&mut want);
    assert_eq!(frame[..], want);
    let want = Solicit {
        src: addr("2001:db8::2"),
        dst: addr("ff02::1:ff12:3456"),
        target: target(),
        mac: Some(PEER),
    };
    assert_eq!(parse(&frame), Nd::Solicit(want));
}

#[test]
fn probe_on_the_wire() {
    let mut buf = [0xaa; 100];
    assert_eq!(write_probe(&mut buf, PEER, target()), Some(78));
    let Nd::Solicit(s) = parse(&buf[..78]) else {
        panic!("{:?}", parse(&buf[..78]))
    };
    assert_eq!(
        (s.src, s.mac, s.target),
        (Ipv6Addr::UNSPECIFIED, None, target())
    );
    assert_eq!(buf[78..], [0xaa; 22]);
}

#[test]
fn unsolicited_on_the_wire() {
    let mut buf = [0; FRAME_LEN];
    assert_eq!(write_unsolicited(&mut buf, OWN, target()), Some(86));
    assert_eq!(buf[..6], [0x33, 0x33, 0, 0, 0, 1]);
    let want = Advert {
        src: target(),
        target: target(),
        mac: Some(OWN),
        router: false,
        solicited: false,
        replaces: true,
    };
    assert_eq!(parse(&buf), Nd::Advert(want));
}

#[test]
fn too_short_a_buffer() {
    let mut buf = [0; FRAME_LEN - 1];
    assert_eq!(write_solicit(&mut buf, OWN, target(), target()), None);
    assert_eq!(write_unsolicited(&mut buf, OWN, target()), None);
    assert_eq!(write_probe(&mut buf[..77], OWN, target()), None);
}

#[test]
fn answer() {
    let mut frame = HeapFrame::new(&solicit());
    let Nd::Solicit(s) = parse(frame.data()) else {
        panic!()
    };
    assert!(reply_in_place(&mut frame, &s, OWN));
    assert_eq!(
        (&frame.data()[..6], &frame.data()[6..12]),
        (&PEER[..], &OWN[..])
    );
    let ip = Ipv6::new_checked(&frame.data()[14..]).unwrap();
    assert_eq!((ip.src(), ip.dst()), (target(), addr("2001:db8::2")));
    let want = Advert {
        src: target(),
        target: target(),
        mac: Some(OWN),
        router: false,
        solicited: true,
        replaces: true,
    };
    assert_eq!(parse(frame.data()), Nd::Advert(want));
}

#[test]
fn answer_to_a_probe_goes_to_all() {
    let mut buf = [0; DAD_FRAME_LEN];
    write_probe(&mut buf, PEER, target()).unwrap();
    let mut frame = HeapFrame::new(&buf);
    let Nd::Solicit(s) = parse(frame.data()) else {
        panic!()
    };
    // The probe is shorter than the answer.
    assert!(reply_in_place(&mut frame, &s, OWN));
    assert_eq!(frame.total_len(), FRAME_LEN);
    let Nd::Advert(a) = parse(frame.data()) else {
        panic!()
    };
    assert_eq!((a.solicited, a.replaces, a.mac), (false, true, Some(OWN)));
    assert_eq!(
        Ipv6::new_checked(&frame.data()[14..]).unwrap().dst(),
        ALL_NODES
    );
}

#[test]
fn rules_for_solicitations() {
    let check = |what: &str, change: &dyn Fn(&mut [u8])| {
        let mut frame = solicit();
        change(&mut frame);
        resum(&mut frame);
        assert_eq!(parse(&frame), Nd::Invalid, "{what}");
    };
    check("hop limit", &|f| f[21] = 254);
    check("code", &|f| f[55] = 1);
    check("target is a group", &|f| f[62] = 0xff);
    check("option of length 0", &|f| f[79] = 0);
    check("option too long", &|f| f[79] = 2);
    check("probe with address option", &|f| f[22..38].fill(0));
    check("probe to all nodes", &|f| {
        f[22..38].fill(0);
        f[38..54].copy_from_slice(&ALL_NODES.octets());
        f[78] = 14; // a nonce instead of the address
    });
    check("too short", &|f| f[19] = 23);
    let mut frame = solicit();
    frame[70] ^= 1;
    assert_eq!(parse(&frame), Nd::Invalid, "checksum");
    assert_eq!(parse(&solicit()[..85]), Nd::Invalid, "cut short");
    // An unknown option is no reason.
    let mut frame = solicit();
    frame[78] = 14;
    resum(&mut frame);
    assert!(matches!(
        parse(&frame),
        Nd::Solicit(Solicit { mac: None, .. })
    ));
}

#[test]
fn rules_for_advertisements() {
    let check = |what: &str, change: &dyn Fn(&mut [u8])| {
        let mut frame = advert();
        change(&mut frame);
        resum(&mut frame);
        assert_eq!(parse(&frame), Nd::Invalid, "{what}");
    };
    check("hop limit", &|f| f[21] = 64);
    check("code", &|f| f[55] = 1);
    check("target is a group", &|f| f[62] = 0xff);
    check("option of length 0", &|f| f[79] = 0);
    check("solicited, but to a group", &|f| f[38] = 0xff);
    let mut frame = advert();
    frame[58] = 0x80;
    resum(&mut frame);
    let Nd::Advert(a) = parse(&frame) else {
        panic!()
    };
    assert_eq!((a.router, a.solicited, a.replaces), (true, false, false));
}

#[test]
fn others() {
    let mut frame = solicit();
    frame[54] = icmpv6::ROUTER_ADVERT;
    assert_eq!(parse(&frame), Nd::Other);
    frame[20] = 17;
    assert_eq!(parse(&frame), Nd::Other);
    assert_eq!(parse(&[]), Nd::Other);
    // In a fragment: refused.
    let plain = solicit();
    let mut frame = plain[..54].to_vec();
    frame.extend([58, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend(&plain[54..]);
    frame[20] = 44;
    frame[19] += 8;
    assert_eq!(parse(&frame), Nd::Invalid);
}

proptest! {
    #[test]
    fn arbitrary(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn damaged(at in 0usize..86, value: u8, advertise: bool, fix: bool, len in 0usize..=86) {
        let mut frame = if advertise { advert() } else { solicit() };
        frame[at] = value;
        if fix && Ipv6::new_checked(&frame[14..]).is_ok_and(|ip| ip.payload().len() >= 8) {
            resum(&mut frame);
        }
        match parse(&frame[..len]) {
            Nd::Solicit(s) => {
                let mut f = HeapFrame::new(&frame);
                prop_assert!(reply_in_place(&mut f, &s, OWN));
                prop_assert!(matches!(parse(f.data()), Nd::Advert(_)) || s.src.is_multicast());
            }
            Nd::Advert(a) => prop_assert!(!a.target.is_multicast()),
            Nd::Other | Nd::Invalid => {}
        }
    }
}
