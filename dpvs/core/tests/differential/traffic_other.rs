//! Random traffic beside flows: ARP, neighbour discovery, ICMP.

use std::net::IpAddr;

use crate::reference::Director;
use crate::reference::wire;
use crate::rng::Rng;
use crate::traffic::{envelope, seal, wrap};
use crate::world::{NEIGHBOUR_MACS, ip};

/// An address that is, or may be, a neighbour's on that port.
fn neighbour(r: &mut Rng, port: u16, v6: bool, d: &Director) -> IpAddr {
    let asked: Vec<_> = d
        .neighs
        .keys()
        .filter(|(p, a)| *p == port && a.is_ipv6() == v6)
        .map(|(_, a)| *a)
        .collect();
    if !asked.is_empty() && r.percent(85) {
        return *r.pick(&asked);
    }
    let n = r.range(10, 20);
    match (port, v6) {
        (0, false) => IpAddr::from([192, 0, 2, r.range(50, 60) as u8]),
        (_, false) => IpAddr::from([10, 0, 1, n as u8]),
        (0, true) => ip(&format!("2001:db8:1::{n}")),
        (_, true) => ip(&format!("2001:db8:2::{n}")),
    }
}

fn own(r: &mut Rng, port: u16, v6: bool, d: &Director) -> IpAddr {
    let all: Vec<_> = d.config.ports[usize::from(port)]
        .addrs
        .iter()
        .map(|a| a.addr)
        .filter(|a| a.is_ipv6() == v6)
        .collect();
    if all.is_empty() || r.percent(10) {
        return ip(if v6 { "2001:db8:1::77" } else { "192.0.2.77" });
    }
    *r.pick(&all)
}

pub fn arp(r: &mut Rng, macs: [[u8; 6]; 2], port: u16, d: &Director) -> Vec<u8> {
    let reply = r.percent(65);
    let sha = *r.pick(&NEIGHBOUR_MACS);
    let (spa, tpa) = (neighbour(r, port, false, d), own(r, port, false, d));
    let spa = if r.percent(5) { ip("0.0.0.0") } else { spa };
    let to = if reply || r.percent(20) {
        macs[0]
    } else {
        [0xff; 6]
    };
    let mut f = [
        &to[..],
        &sha,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + u8::from(reply)],
    ]
    .concat();
    f.extend(sha);
    f.extend(wire::octets(spa));
    f.extend(macs[0]);
    f.extend(wire::octets(tpa));
    f
}

pub fn discovery(r: &mut Rng, macs: [[u8; 6]; 2], port: u16, d: &Director) -> Vec<u8> {
    let advert = r.percent(65);
    let peer = neighbour(r, port, true, d);
    let mac = *r.pick(&NEIGHBOUR_MACS);
    let own = own(r, port, true, d);
    let (target, dst) = if advert { (peer, own) } else { (own, own) };
    let src = if r.percent(8) { ip("::") } else { peer };
    let mut m = vec![135 + u8::from(advert), 0, 0, 0];
    m.extend([*r.pick(&[0u8, 0x20, 0x60, 0xe0]), 0, 0, 0]);
    m.extend(wire::octets(target));
    if r.percent(70) {
        m.extend([1 + u8::from(advert), 1]);
        m.extend(mac);
    }
    if r.percent(5) {
        let n = r.below(9);
        m.extend(r.bytes(n));
    }
    let group = r.percent(30);
    let dst = if group && !advert {
        let IpAddr::V6(a) = target else { return vec![] };
        let o = a.octets();
        ip(&format!(
            "ff02::1:ff{:02x}:{:02x}{:02x}",
            o[13], o[14], o[15]
        ))
    } else if group {
        ip("ff02::1")
    } else {
        dst
    };
    let sum = wire::icmp_sum(src, dst, &m);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    let hops = if r.percent(95) { 255 } else { 64 };
    let to = if group {
        [0x33, 0x33, 0, 0, 0, 1]
    } else {
        macs[0]
    };
    let mut f = [
        &to[..],
        &mac,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, m.len() as u8, 58, hops],
    ]
    .concat();
    f.extend(wire::octets(src));
    f.extend(wire::octets(dst));
    f.extend(m);
    f
}

/// Echo and other messages between strangers and us.
pub fn icmp(r: &mut Rng, macs: [[u8; 6]; 2], (src, dst): (IpAddr, IpAddr)) -> Vec<u8> {
    let e = envelope(r, macs, src, dst);
    let n = r.below(60);
    let types: &[u8] = if src.is_ipv6() {
        &[128, 128, 128, 1, 133, 129]
    } else {
        &[8, 8, 8, 0, 3, 13]
    };
    let mut m = vec![*r.pick(types), u8::from(r.percent(5)), 0, 0];
    m.extend(if r.percent(10) {
        vec![0; n + 4]
    } else {
        r.bytes(n + 4)
    });
    if src.is_ipv6() {
        let sum = wire::icmp_sum(src, dst, &m);
        m[2..4].copy_from_slice(&sum.to_be_bytes());
        return wrap(r, &e, 58, &m);
    }
    seal(src, dst, 1, &mut m);
    wrap(r, &e, 1, &m)
}

/// A router's error about a packet of a connection.
pub fn related(r: &mut Rng, macs: [[u8; 6]; 2], d: &Director) -> Vec<u8> {
    let known: Vec<_> = d
        .conns
        .values()
        .filter(|c| d.shift_of(c).is_some() || c.proto == 17)
        .collect();
    if known.is_empty() {
        let ends = (ip("198.51.100.7"), ip("192.0.2.10"));
        return icmp(r, macs, ends);
    }
    let conn = *r.pick(&known);
    let to_server = r.percent(50);
    // The packet as we sent it: to the server, or to the client.
    let back = conn.tuple(to_server);
    let (src, dst, sport, dport) = (back.dst, back.src, back.dport, back.sport);
    let n = r.range(8, 40);
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend(r.bytes(n - 4));
    let mut inner = envelope(r, macs, src, dst);
    inner.headers.clear();
    inner.fragment = 0;
    let quoted = wrap(r, &inner, back.proto, &l4);
    let router = if src.is_ipv4() {
        ip("192.0.2.254")
    } else {
        ip("2001:db8:1::fe")
    };
    let mut e = envelope(r, macs, router, src);
    e.fragment = 0;
    let types: &[u8] = if src.is_ipv6() {
        &[1, 2, 3, 4]
    } else {
        &[3, 3, 4, 11, 12]
    };
    let mut m = vec![*r.pick(types), r.below(5) as u8, 0, 0, 0, 0, 5, 0];
    m.extend(&quoted[14..]);
    let sum = wire::icmp_sum(router, src, &m);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    wrap(r, &e, if src.is_ipv6() { 58 } else { 1 }, &m)
}
