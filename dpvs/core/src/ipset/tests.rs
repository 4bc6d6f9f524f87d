//! Every kind of set against a naive model, which is a list.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::rng::Rng;

/// Numbers that repeat, so that collisions are common.
impl Rng {
    fn chance(&mut self, n: u64) -> bool {
        self.number(n) == 0
    }

    /// One of few addresses, close to each other.
    fn addr(&mut self, v6: bool) -> IpAddr {
        let low = self.number(8) << (self.number(4) * 6) | self.number(4);
        if v6 {
            IpAddr::V6(Ipv6Addr::from_bits(
                0x2001_0db8 << 96 | u128::from(low) << 60 | u128::from(self.number(4)),
            ))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | low as u32))
        }
    }

    fn port(&mut self) -> u16 {
        100 + self.number(4) as u16
    }

    fn proto(&mut self) -> u8 {
        [TCP, UDP, 0, 1][self.number(4) as usize]
    }
}

fn conf(kind: SetKind, v6: bool) -> SetConf {
    SetConf {
        kind,
        v6,
        comments: true,
        max: 65_535,
        addrs: (0x0a00_0000, 0x0a00_ffff),
        ports: (90, 110),
    }
}

/// The element a single address, or network, is.
fn random(rng: &mut Rng, kind: SetKind, v6: bool) -> Span {
    let (net, net2) = kind.nets();
    let lens: &[u8] = if v6 {
        &[128, 64, 60, 48]
    } else {
        &[32, 30, 24, 8]
    };
    let mut len = |net: bool| net.then(|| lens[rng.number(4) as usize]);
    let (plen, plen2) = (len(net), len(net2));
    let (a, b) = if kind.is_bitmap() {
        let a = IpAddr::V4(Ipv4Addr::from_bits(
            0x0a00_0000 + rng.number(64) as u32 * 1000,
        ));
        (a, a)
    } else {
        (rng.addr(v6), rng.addr(v6))
    };
    let port = rng.port();
    let port2 = rng.port();
    Span {
        plen,
        plen2,
        addrs2: (b, b),
        proto: if kind == SetKind::BitmapPort {
            [TCP, UDP][rng.number(2) as usize]
        } else {
            rng.proto()
        },
        ports: (port, port + rng.number(2) as u16),
        ports2: (port2, port2),
        mac: [0, 0, 0, 0, 0, rng.number(3) as u8],
        iface: rng.number(2) as u16,
        ..Span::of(a, a)
    }
}

/// A list of elements, looked through.
#[derive(Default)]
struct Model(Vec<(Element, bool)>);

fn same_element(kind: SetKind, a: &Element, b: &Element) -> bool {
    let addr = kind == SetKind::BitmapPort || a.net == b.net;
    let second = !kind.is_pair() || a.net2 == b.net2;
    let port = !kind.has_port() || (a.proto, a.port) == (b.proto, b.port);
    let port2 = kind != SetKind::HashNetPortNetPort || a.port2 == b.port2;
    let iface = kind != SetKind::HashNetPortIface || a.iface == b.iface;
    addr && second && port && port2 && iface
}

fn inside(net: Net, addr: IpAddr) -> bool {
    Net::of(addr, net.plen) == net
}

impl Model {
    fn add(&mut self, kind: SetKind, e: Element, nomatch: bool) -> bool {
        let old = self.0.len();
        self.0.retain(|(m, _)| !same_element(kind, m, &e));
        self.0.push((e, nomatch));
        old != self.0.len()
    }

    fn del(&mut self, kind: SetKind, e: &Element) -> bool {
        let old = self.0.len();
        self.0.retain(|(m, _)| !same_element(kind, m, e));
        old != self.0.len()
    }

    /// The longest first network, then the longest second one, then one with
    /// the protocol before one without.
    fn test(&self, kind: SetKind, e: &Element) -> bool {
        let fits = |m: &Element| {
            let addr = kind == SetKind::BitmapPort || inside(m.net, e.net.addr);
            let second = !kind.is_pair() || inside(m.net2, e.net2.addr);
            let wild = m.proto == 0 && !kind.is_bitmap();
            let port = !kind.has_port() || ((wild || m.proto == e.proto) && m.port == e.port);
            let port2 = kind != SetKind::HashNetPortNetPort || m.port2 == e.port2;
            let iface = kind != SetKind::HashNetPortIface || m.iface == e.iface;
            let mac = kind != SetKind::BitmapIpMac
                || m.mac == e.mac
                || m.mac == [0; 6]
                || e.mac == [0; 6];
            addr && second && port && port2 && iface && mac
        };
        let pair = |m: &Element| if kind.is_pair() { m.net2.plen } else { 0 };
        self.0
            .iter()
            .filter(|(m, _)| fits(m))
            .max_by_key(|(m, _)| (m.net.plen, pair(m), m.proto != 0))
            .is_some_and(|(_, nomatch)| !nomatch)
    }
}

fn against_model(kind: SetKind, v6: bool) {
    let mut rng = Rng(kind as u64 * 2 + u64::from(v6));
    let mut set = IpSet::new(conf(kind, v6), [3, 5]).unwrap();
    let mut model = Model::default();
    let mut hits = 0;
    for step in 0..4000 {
        let span = random(&mut rng, kind, v6);
        let elements: Vec<Element> = span.elements(kind).collect();
        if rng.chance(3) {
            let force = rng.chance(2);
            let all = elements.iter().all(|e| {
                let known = model.0.iter().any(|(m, _)| same_element(kind, m, e));
                known || force
            });
            assert_eq!(set.del(&span, force).is_ok(), all, "{kind:?} {step}");
            if all {
                for e in &elements {
                    model.del(kind, e);
                }
            }
        } else {
            let force = rng.chance(2);
            let nomatch = kind.nets().0 && rng.chance(4);
            let new = elements
                .iter()
                .all(|e| !model.0.iter().any(|(m, _)| same_element(kind, m, e)));
            let done = set.add(&span, nomatch, None, force);
            assert_eq!(done.is_ok(), new || force, "{kind:?} {step} {done:?}");
            if done.is_ok() {
                for e in &elements {
                    model.add(kind, *e, nomatch);
                }
            }
        }
        if rng.chance(500) {
            set.flush();
            model.0.clear();
        }
        assert_eq!(set.len(), model.0.len(), "{kind:?} {step}");
        for _ in 0..4 {
            let mut e = random(&mut rng, kind, v6).elements(kind).next().unwrap();
            let (a, b) = (rng.addr(v6), rng.addr(v6));
            // One that is there, every other time.
            let known = rng.below(model.0.len());
            let (a, b) = match model.0.get(known) {
                Some((m, _)) if rng.chance(2) => {
                    e = *m;
                    (m.net.addr, m.net2.addr)
                }
                _ => (a, b),
            };
            if !kind.is_bitmap() {
                (e.net, e.net2) = (Net::host(a), Net::host(b));
            }
            hits += usize::from(set.test(&e));
            assert_eq!(set.test(&e), model.test(kind, &e), "{kind:?} {step} {e:?}");
        }
    }
    let mut listed: Vec<Element> = set.members().iter().map(|m| m.element).collect();
    listed.retain(|e| !model.0.iter().any(|(m, _)| same_element(kind, m, e)));
    assert_eq!(listed, []);
    assert!(hits > 1000, "{kind:?} {v6}: {hits} hits");
}

#[test]
fn every_kind_is_a_list_looked_through() {
    for kind in SetKind::ALL {
        against_model(*kind, false);
        if !kind.is_bitmap() {
            against_model(*kind, true);
        }
    }
}

#[test]
fn names() {
    for kind in SetKind::ALL {
        assert_eq!(SetKind::from_name(kind.name()), Some(*kind));
    }
    assert_eq!(SetKind::from_name("hash:mac"), None);
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(first: &str, last: &str) -> Span {
    Span::of(ip(first), ip(last))
}

fn packet() -> Packet {
    Packet {
        src: ip("10.0.0.1"),
        dst: ip("10.0.0.2"),
        proto: TCP,
        sport: 1000,
        dport: 80,
        smac: [2, 0, 0, 0, 0, 1],
        dmac: [2, 0, 0, 0, 0, 2],
        iface: 1,
    }
}

/// Which side of a packet each kind looks at (DPVS facts §20.2).
#[test]
fn sides_of_a_packet() {
    use SetKind::*;
    let (src, dst) = (ip("10.0.0.1"), ip("10.0.0.2"));
    let span = |a, port: u16, b| Span {
        addrs2: (b, b),
        proto: TCP,
        ports: (port, port),
        iface: 1,
        ..Span::of(a, a)
    };
    for (kind, by_source, by_destination) in [
        (BitmapIp, span(src, 0, src), span(dst, 0, dst)),
        (BitmapPort, span(src, 1000, src), span(src, 80, src)),
        (HashIp, span(src, 0, src), span(dst, 0, dst)),
        (HashNet, span(src, 0, src), span(dst, 0, dst)),
        (HashIpPort, span(src, 1000, src), span(dst, 80, dst)),
        (HashNetPort, span(src, 1000, src), span(dst, 80, dst)),
        (HashNetPortIface, span(src, 1000, src), span(dst, 80, dst)),
        (HashIpPortIp, span(src, 1000, dst), span(src, 80, dst)),
        (HashIpPortNet, span(src, 1000, dst), span(src, 80, dst)),
        (HashNetPortNet, span(src, 1000, dst), span(src, 80, dst)),
    ] {
        for (span, side) in [(by_source, false), (by_destination, true)] {
            let wide = SetConf {
                ports: (0, u16::MAX),
                ..conf(kind, false)
            };
            let mut set = IpSet::new(wide, [3, 5]).unwrap();
            set.add(&span, false, None, false).unwrap();
            assert!(set.matches(&packet(), side), "{kind:?} {side}");
            assert!(!set.matches(&packet(), !side), "{kind:?} {side}");
            if kind.has_port() {
                // SCTP has no place in them, whatever its ports.
                let sctp = Packet {
                    proto: 132,
                    ..packet()
                };
                assert!(!set.matches(&sctp, side), "{kind:?}");
            }
        }
    }
    // Both sides at once, and hardware addresses.
    let mut set = IpSet::new(conf(HashNetPortNetPort, false), [3, 5]).unwrap();
    let both = Span {
        plen: Some(8),
        plen2: Some(24),
        ports2: (80, 80),
        ..span(src, 1000, dst)
    };
    set.add(&both, false, None, false).unwrap();
    assert!(set.matches(&packet(), false) && set.matches(&packet(), true));
    let mut set = IpSet::new(conf(BitmapIpMac, false), [3, 5]).unwrap();
    let with_mac = Span {
        mac: [2, 0, 0, 0, 0, 1],
        ..Span::of(src, src)
    };
    set.add(&with_mac, false, None, false).unwrap();
    assert!(set.matches(&packet(), false) && !set.matches(&packet(), true));
    let other = Packet {
        smac: [2; 6],
        ..packet()
    };
    assert!(!set.matches(&other, false));
}

#[test]
fn exceptions_are_more_special_networks() {
    let mut set = IpSet::new(conf(SetKind::HashNet, false), [3, 5]).unwrap();
    let net = |addr: &str, plen| Span {
        plen: Some(plen),
        ..range(addr, addr)
    };
    set.add(&net("10.0.0.0", 8), false, Some("ours"), false)
        .unwrap();
    set.add(&net("10.1.0.0", 16), true, None, false).unwrap();
    let has = |set: &IpSet, addr| set.test(&Element::none(ip(addr)));
    assert!(has(&set, "10.2.3.4"));
    assert!(!has(&set, "10.1.3.4"));
    assert!(!has(&set, "11.1.3.4"));
    set.del(&net("10.1.0.0", 16), false).unwrap();
    assert!(has(&set, "10.1.3.4"));
    assert_eq!(set.members()[0].comment.as_deref(), Some("ours"));
    assert_eq!(set.del(&net("10.1.0.0", 16), false), Err(SetError::Missing));
    let mut plain = IpSet::new(conf(SetKind::HashIp, false), [3, 5]).unwrap();
    let refused = plain.add(&range("10.0.0.1", "10.0.0.1"), true, None, false);
    assert!(matches!(refused, Err(SetError::Invalid(_))));
}

#[test]
fn ranges_of_networks_are_covered_exactly() {
    let mut rng = Rng(9);
    for _ in 0..300 {
        let first = 0x0a00_0000 + rng.number(3000) as u32;
        let last = first + rng.number(3000) as u32;
        let at = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
        let mut set = IpSet::new(conf(SetKind::HashNet, false), [3, 5]).unwrap();
        set.add(&Span::of(at(first), at(last)), false, None, false)
            .unwrap();
        assert!(set.len() <= 24);
        for bits in first - 5..last + 5 {
            let inside = (first..=last).contains(&bits);
            assert_eq!(set.test(&Element::none(at(bits))), inside);
        }
    }
    let mut all = IpSet::new(conf(SetKind::HashNet, false), [3, 5]).unwrap();
    all.add(&range("0.0.0.0", "255.255.255.255"), false, None, false)
        .unwrap();
    assert_eq!(all.len(), 1);
    assert!(all.test(&Element::none(ip("203.0.113.9"))));
}

#[test]
fn refusals_change_nothing() {
    let mut set = IpSet::new(
        SetConf {
            max: 10,
            ..conf(SetKind::HashIp, false)
        },
        [3, 5],
    )
    .unwrap();
    set.add(&range("10.0.0.5", "10.0.0.6"), false, None, false)
        .unwrap();
    let again = set.add(&range("10.0.0.1", "10.0.0.7"), false, None, false);
    assert_eq!((again, set.len()), (Err(SetError::Exists), 2));
    let many = set.add(&range("10.0.1.1", "10.0.1.20"), false, None, false);
    assert_eq!((many, set.len()), (Err(SetError::Full), 2));
    let huge = set.add(&range("0.0.0.0", "255.255.255.255"), false, None, true);
    assert_eq!((huge, set.len()), (Err(SetError::Full), 2));
    // Networks that cover a range count, too: 62 times 62 times all ports would keep
    // the master for half a minute.
    let all = (
        IpAddr::from([0, 0, 0, 1]),
        IpAddr::from([255, 255, 255, 254]),
    );
    let mut pairs = IpSet::new(conf(SetKind::HashNetPortNet, false), [1, 2]).unwrap();
    let huge = Span {
        addrs2: all,
        ports: (0, u16::MAX),
        ..Span::of(all.0, all.1)
    };
    assert_eq!(pairs.del(&huge, true), Err(SetError::Full));
    let v6 = set.add(&range("::1", "::1"), false, None, false);
    assert!(matches!(v6, Err(SetError::Invalid(_))));
    let gone = set.del(&range("10.0.0.4", "10.0.0.6"), false);
    assert_eq!((gone, set.len()), (Err(SetError::Missing), 2));
    set.del(&range("10.0.0.4", "10.0.0.6"), true).unwrap();
    assert!(set.is_empty());
    let mut bits = IpSet::new(conf(SetKind::BitmapIp, false), [3, 5]).unwrap();
    let outside = bits.add(&range("10.0.255.254", "10.1.0.1"), false, None, false);
    assert!(matches!(outside, Err(SetError::Invalid(_))));
    assert!(bits.is_empty());
    let wide = SetConf {
        addrs: (0, 65_536),
        ..conf(SetKind::BitmapIp, false)
    };
    assert!(IpSet::new(wide, [3, 5]).is_err());
}

/// A published set is not copied for one more element, and does not see it.
#[test]
fn a_change_copies_one_page() {
    for kind in [SetKind::HashIp, SetKind::BitmapIp, SetKind::HashIpPortIp] {
        let mut set = IpSet::new(conf(kind, false), [3, 5]).unwrap();
        set.add(&range("10.0.0.0", "10.0.255.253"), false, None, false)
            .unwrap();
        let published = set.clone();
        set.add(&range("10.0.255.254", "10.0.255.254"), false, None, false)
            .unwrap();
        assert_eq!(published.len() + 1, set.len());
        let (shared, pages) = set.shared_pages(&published);
        assert!(
            pages >= 16 && shared == pages - 1,
            "{kind:?}: {shared} of {pages}"
        );
        assert!(set.bytes() < 16 << 20, "{kind:?}: {}", set.bytes());
    }
}
