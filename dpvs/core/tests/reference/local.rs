//! What is no connection's: ARP, neighbour discovery, echo, the kernel's packets,
//! plain forwarding (DPVS facts §4, §5, §21, §24; RFC 826, 792, 4443, 4861).

use std::net::{IpAddr, Ipv6Addr};

use dpvs_core::stats::Reason;

use super::config::Owner;
use super::wire::{self, ETH, Ip};
use super::{Director, Draft, Other, To};

fn good(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

fn mac_at(f: &[u8], at: usize) -> [u8; 6] {
    f[at..at + 6].try_into().unwrap()
}

impl Director {
    pub(super) fn arp(&mut self, port: u16, f: &[u8], o: &mut dyn Other) {
        if f.len() < ETH + 28 || f[ETH..ETH + 6] != [0, 1, 8, 0, 6, 4] {
            return self.books.drop(Reason::Malformed);
        }
        let op = wire::be16(f, ETH + 6);
        let sha = mac_at(f, ETH + 8);
        let (spa, tpa): (IpAddr, IpAddr) = (wire::v4(f, 28).into(), wire::v4(f, 38).into());
        let own =
            |d: &Self, a| matches!(d.config.owner(a), Some(Owner::Us { port: p, .. }) if p == port);
        if good(sha) && !spa.is_unspecified() && !own(self, spa) {
            let to_us = op == 2 && own(self, tpa);
            if to_us || self.neighs.contains_key(&(port, spa)) {
                self.hear(port, spa, sha, to_us, o);
            }
        }
        if op == 1 && own(self, tpa) {
            self.books.drop(Reason::Consumed);
            let mac = self.config.ports[usize::from(port)].mac;
            let mut reply = [&sha[..], &mac, &f[12..20], &[0, 2]].concat();
            reply.extend([&mac[..], &f[38..42], &sha, &f[28..32], &f[42..]].concat());
            return self.expect(To::Wire(port), &reply, o);
        }
        self.kernel(port, port, f, o);
    }

    /// An IP packet without connection.
    pub(super) fn ip(&mut self, port: u16, f: &[u8], ip: &Ip, o: &mut dyn Other) {
        let stats = if ip.v6 {
            &mut self.books.ip6
        } else {
            &mut self.books.ip4
        };
        // A flow's packet has been counted.
        if ip.ports.is_none() {
            stats.in_pkts += 1;
            stats.in_octets += ip.len() as u64;
        }
        if ip.v6 {
            self.ip6(port, f, ip, o);
        } else {
            self.ip4(port, f, ip, o);
        }
    }

    fn ip4(&mut self, port: u16, f: &[u8], ip: &Ip, o: &mut dyn Other) {
        if ip.proto == 89 {
            return self.kernel(port, port, f, o);
        }
        if ip.proto == 1 && ip.to_host && !ip.fragment && self.related(f, ip, o) {
            return;
        }
        let owner = self.config.owner(ip.dst);
        if ip.fragment && !matches!(owner, Some(Owner::Kernel(_))) {
            return self.books.drop(Reason::Fragment);
        }
        match owner {
            Some(Owner::Us { .. }) if ip.proto == 1 => self.echo(port, f, ip, o),
            Some(Owner::Us { .. }) => self.kernel(port, port, f, o),
            Some(Owner::Kernel(of)) => self.kernel(port, of, f, o),
            None => {
                let IpAddr::V4(dst) = ip.dst else { return };
                if !ip.to_host || dst.is_multicast() || dst.is_broadcast() {
                    self.books.ip4.in_mcast_pkts += 1;
                    return self.kernel(port, port, f, o);
                }
                self.forward(port, f, ip, o);
            }
        }
    }

    fn ip6(&mut self, port: u16, f: &[u8], ip: &Ip, o: &mut dyn Other) {
        if self.config.settings.ipv6_off {
            return self.books.drop(Reason::Ipv6Off);
        }
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else {
            return;
        };
        let small = dst.is_multicast() && dst.octets()[1] & 15 < 2;
        if src.is_multicast() || src.is_loopback() || dst.is_loopback() || small {
            self.books.ip6.in_addr_errors += 1;
            return self.books.drop(Reason::BadAddress);
        }
        if dst.is_multicast() {
            self.books.ip6.in_mcast_pkts += 1;
        } else if !ip.to_host {
            return self.books.drop(Reason::BadAddress);
        }
        if ip.proto == 58 {
            if let Some(typ) = f.get(ip.l4).filter(|_| f.len() >= ip.l4 + 8)
                && [135, 136].contains(typ)
            {
                return self.discovery(port, f, ip, o);
            }
            if ip.to_host && self.related(f, ip, o) {
                return;
            }
        }
        match self.config.owner(ip.dst) {
            Some(Owner::Us { .. }) if ip.proto == 58 => self.echo(port, f, ip, o),
            Some(Owner::Us { .. }) => self.kernel(port, port, f, o),
            Some(Owner::Kernel(of)) => self.kernel(port, of, f, o),
            None if dst.is_multicast() => self.kernel(port, port, f, o),
            None if src.is_unicast_link_local() || dst.is_unicast_link_local() => {
                self.kernel(port, port, f, o);
            }
            None => self.forward(port, f, ip, o),
        }
    }

    fn echo(&mut self, port: u16, f: &[u8], ip: &Ip, o: &mut dyn Other) {
        let m = &f[ip.l4..];
        let ok = |a: IpAddr| match a {
            IpAddr::V4(a) => (1..224).contains(&a.octets()[0]) && !a.is_loopback(),
            IpAddr::V6(a) => !a.is_unspecified() && !a.is_multicast() && !a.is_loopback(),
        };
        let request = if ip.v6 { 128 } else { 8 };
        let is = m.len() >= 8 && m[0] == request && m[1] == 0;
        let extra = ip.l4 - ETH - if ip.v6 { 40 } else { 20 };
        if !is || !ok(ip.src) || (!ip.v6 && !ok(ip.dst)) {
            return self.kernel(port, port, f, o);
        }
        if !wire::icmp_good(ip.src, ip.dst, m) {
            return self.books.drop(Reason::BadChecksum);
        }
        let mut m = m.to_vec();
        m[0] = if ip.v6 { 129 } else { 0 };
        let sum = wire::icmp_sum(ip.dst, ip.src, &m);
        m[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut header = f[ETH..ip.l4 - extra].to_vec();
        let back = [wire::octets(ip.dst), wire::octets(ip.src)].concat();
        if ip.v6 {
            self.books.ip6.in_delivers += 1;
            header[4..6].copy_from_slice(&(m.len() as u16).to_be_bytes());
            header[6] = 58;
            header[7] = 64;
            header[8..].copy_from_slice(&back);
        } else {
            self.books.ip4.in_delivers += 1;
            header[0] = 0x45;
            header[2..4].copy_from_slice(&(20 + m.len() as u16).to_be_bytes());
            header[6..8].fill(0);
            header[8] = 64;
            header[12..].copy_from_slice(&back);
            wire::seal4(&mut header);
        }
        let reply = [&f[..ETH], &header, &m].concat();
        self.answer(port, Draft::whole(reply), ip.src, mac_at(f, 6), o);
    }

    /// Solicitations and advertisements (RFC 4861 §7.1).
    fn discovery(&mut self, port: u16, f: &[u8], ip: &Ip, o: &mut dyn Other) {
        let m = &f[ip.l4..];
        let solicit = m[0] == 135;
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else {
            return;
        };
        let sound = f[ETH + 7] == 255
            && m[1] == 0
            && m.len() >= 24
            && wire::icmp_good(ip.src, ip.dst, m)
            && m[8] != 0xff;
        let option = if sound {
            lladdr(&m[24..], if solicit { 1 } else { 2 })
        } else {
            None
        };
        let Some(mac) = option else {
            return self.books.drop(Reason::Malformed);
        };
        let probe = src.is_unspecified();
        let target = wire::v6(m, 8);
        if solicit && probe && (mac.is_some() || dst != solicited(dst)) {
            return self.books.drop(Reason::Malformed);
        }
        if !solicit && m[4] & 0x40 != 0 && dst.is_multicast() {
            return self.books.drop(Reason::Malformed);
        }
        let owner = self.config.owner(target.into());
        if solicit {
            if !matches!(owner, Some(Owner::Us { port: p, .. }) if p == port) {
                return self.kernel(port, port, f, o);
            }
            if let Some(mac) = mac.filter(|m| good(*m)) {
                self.hear(port, src.into(), mac, false, o);
            }
            if probe {
                self.object(port, target.into(), mac_at(f, 6));
            }
            self.books.drop(Reason::Consumed);
            let own = self.config.ports[usize::from(port)].mac;
            let reply = if probe {
                let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                nd(
                    &[0x33, 0x33, 0, 0, 0, 1],
                    own,
                    target,
                    all,
                    136,
                    0x2000_0000,
                    target,
                    2,
                )
            } else {
                let to = mac.unwrap_or(mac_at(f, 6));
                nd(&to, own, target, src, 136, 0x6000_0000, target, 2)
            };
            return self.expect(To::Wire(port), &reply, o);
        }
        if matches!(owner, Some(Owner::Us { port: p, .. }) if p == port) {
            self.object(port, target.into(), mac_at(f, 6));
        }
        // An answer may be for another worker, whose question it was.
        let to_us =
            matches!(self.config.owner(dst.into()), Some(Owner::Us { port: p, .. }) if p == port);
        let answer = m[4] & 0x40 != 0 && to_us;
        let known = answer || self.neighs.contains_key(&(port, target.into()));
        let mac = mac.unwrap_or(mac_at(f, 6));
        if !matches!(owner, Some(Owner::Us { .. })) && known && good(mac) {
            self.hear(port, target.into(), mac, answer, o);
        }
        self.kernel(port, port, f, o);
    }

    fn forward(&mut self, port: u16, f: &[u8], ip: &Ip, o: &mut dyn Other) {
        let s = &self.config.settings;
        let on = if ip.v6 { s.forward6 } else { s.forward4 };
        let way = match self.way(ip.dst) {
            Ok(way) if on => way,
            Ok(_) => return self.books.drop(Reason::NotForwarding),
            Err(_) => return self.kernel(port, port, f, o),
        };
        let Some(f) = wire::older(f) else {
            return self.time_exceeded(port, f, o);
        };
        let draft = Draft::whole(f.clone());
        if ip.len() > way.mtu() {
            if ip.v6 || f[ETH + 6] & 0x40 != 0 {
                return self.too_big(port, &f, way.mtu(), o);
            }
            return self.fragments(&draft, way, o);
        }
        let stats = if ip.v6 {
            &mut self.books.ip6
        } else {
            &mut self.books.ip4
        };
        stats.out_forw_datagrams += 1;
        self.send(draft, way, o);
    }
}

/// The link-layer address among the options of a message: the first option of
/// that kind with one. The outer `None`: the options are broken.
fn lladdr(mut options: &[u8], kind: u8) -> Option<Option<[u8; 6]>> {
    let mut mac = None;
    while !options.is_empty() {
        let len = usize::from(*options.get(1)?) * 8;
        if len == 0 || len > options.len() {
            return None;
        }
        if options[0] == kind && len == 8 && mac.is_none() {
            mac = Some(mac_at(options, 2));
        }
        options = &options[len..];
    }
    Some(mac)
}

/// A broadcast question, padded to 60 bytes.
pub(super) fn arp_request(own: [u8; 6], src: IpAddr, target: IpAddr) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend(own);
    f.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    f.extend(own);
    f.extend(wire::octets(src));
    f.extend([0; 6]);
    f.extend(wire::octets(target));
    f.resize(60, 0);
    f
}

/// The solicited-node group of an address.
pub(super) fn solicited(a: Ipv6Addr) -> Ipv6Addr {
    let o = a.octets();
    Ipv6Addr::from([
        0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, o[13], o[14], o[15],
    ])
}

pub(super) fn link_local(m: [u8; 6]) -> Ipv6Addr {
    let low = [m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]];
    let mut o = [0; 16];
    o[0] = 0xfe;
    o[1] = 0x80;
    o[8..].copy_from_slice(&low);
    o.into()
}

/// A solicitation or advertisement with one address option.
#[allow(clippy::too_many_arguments)]
pub(super) fn nd(
    to: &[u8],
    own: [u8; 6],
    src: Ipv6Addr,
    dst: Ipv6Addr,
    typ: u8,
    flags: u32,
    target: Ipv6Addr,
    option: u8,
) -> Vec<u8> {
    let mut m = vec![typ, 0, 0, 0];
    m.extend(flags.to_be_bytes());
    m.extend(target.octets());
    m.extend([option, 1]);
    m.extend(own);
    let sum = wire::icmp_sum(src.into(), dst.into(), &m);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut f = [to, &own, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]].concat();
    f.extend(src.octets());
    f.extend(dst.octets());
    f.extend(m);
    f
}
