//! ICMP: errors about packets that cannot go on (RFC 792, 1812 §4.3.2, 4443), and
//! errors about a connection's packets, translated for its other end (facts §18).

use std::net::IpAddr;

use dpvs_core::message::ConnTuple;
use dpvs_core::service::ServiceKey;
use dpvs_core::stats::Reason;

use super::config::{Owner, covers};
use super::wire::{self, ETH, Ip, TCP, UDP};
use super::{Director, Draft, Other, To, Way};

/// Errors a director sends in a second.
const PER_SECOND: u32 = 1000;

impl Director {
    pub(super) fn time_exceeded(&mut self, port: u16, frame: &[u8], o: &mut dyn Other) {
        self.error(port, frame, [(11, 0), (3, 0)], 0, Reason::TtlExceeded, o);
    }

    pub(super) fn too_big(&mut self, port: u16, frame: &[u8], mtu: usize, o: &mut dyn Other) {
        self.error(port, frame, [(3, 4), (2, 0)], mtu as u32, Reason::TooBig, o);
    }

    /// An own address on a port to speak to somebody from.
    pub(super) fn source_for(&self, port: u16, peer: IpAddr) -> Option<IpAddr> {
        let p = self.config.ports.get(usize::from(port))?;
        let near = |a: &&dpvs_core::snapshot::PortAddr| covers(a.addr, a.plen, peer);
        let family = || {
            p.addrs
                .iter()
                .filter(|a| a.addr.is_ipv4() == peer.is_ipv4())
        };
        let on_link = |a: IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
        let found = family()
            .find(near)
            .or_else(|| family().find(|a| on_link(a.addr) == on_link(peer)))
            .or_else(|| family().next());
        found.map(|a| a.addr)
    }

    fn error(
        &mut self,
        port: u16,
        f: &[u8],
        types: [(u8, u8); 2],
        info: u32,
        reason: Reason,
        o: &mut dyn Other,
    ) {
        let second = self.now / 1_000_000;
        if self.icmp.0 != second {
            self.icmp = (second, 0);
        }
        self.icmp.1 += 1;
        if self.icmp.1 > PER_SECOND {
            return self.books.drop(Reason::IcmpLimited);
        }
        self.books.drop(reason);
        let v6 = wire::be16(f, 12) == 0x86dd;
        let (src, dst): (IpAddr, IpAddr) = if v6 {
            (wire::v6(f, ETH + 8).into(), wire::v6(f, ETH + 24).into())
        } else {
            (wire::v4(f, ETH + 12).into(), wire::v4(f, ETH + 16).into())
        };
        let own = match self.config.owner(dst) {
            Some(Owner::Us { .. }) => Some(dst),
            _ => self.source_for(port, src),
        };
        let Some(own) = own else { return };
        let one = |a: IpAddr| match a {
            IpAddr::V4(a) => (1..224).contains(&a.octets()[0]) && !a.is_loopback(),
            IpAddr::V6(a) => !a.is_unspecified() && !a.is_multicast() && !a.is_loopback(),
        };
        if !one(src) || (!v6 && !one(dst)) || is_error(f, v6) {
            return;
        }
        let mtu = usize::from(self.config.ports[usize::from(port)].mtu);
        let most = if v6 {
            mtu.min(1280) - 48
        } else {
            mtu.clamp(68, 576) - 28
        };
        let quoted = &f[ETH..f.len().min(ETH + most)];
        let (typ, code) = types[usize::from(v6)];
        let mut message = vec![typ, code, 0, 0];
        message.extend(info.to_be_bytes());
        message.extend(quoted);
        let sum = wire::icmp_sum(own, src, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut out = f[..ETH].to_vec();
        if v6 {
            out.extend([0x60, 0, 0, 0]);
            out.extend((message.len() as u16).to_be_bytes());
            out.extend([58, 64]);
            out.extend([wire::octets(own), wire::octets(src)].concat());
        } else {
            let mut ip = vec![0x45, f[ETH + 1] & 0x1e | 0xc0];
            ip.extend((20 + message.len() as u16).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 64, 1, 0, 0]);
            ip.extend([wire::octets(own), wire::octets(src)].concat());
            wire::seal4(&mut ip);
            out.extend(ip);
        }
        out.extend(message);
        let mac = f[6..12].try_into().unwrap();
        self.answer(port, Draft::whole(out), src, mac, o);
    }

    /// An answer goes by the routes; without one to where the question came from.
    pub(super) fn answer(
        &mut self,
        port: u16,
        draft: Draft,
        dst: IpAddr,
        mac: [u8; 6],
        o: &mut dyn Other,
    ) {
        match self.way(dst) {
            Ok(way) => self.send(draft, way, o),
            Err(_) => self.emit(port, mac, &draft, o),
        }
    }

    /// An ICMP error about a connection's packet: sent on, translated. False if
    /// it is something else.
    pub(super) fn related(&mut self, f: &[u8], ip: &Ip, o: &mut dyn Other) -> bool {
        let m = &f[ip.l4..];
        let types: &[u8] = if ip.v6 { &[1, 2, 3] } else { &[3, 4, 11] };
        if m.len() < 8 || !types.contains(&m[0]) {
            return false;
        }
        // What is quoted: addresses, protocol, and eight bytes behind the header.
        let q = &m[8..];
        let (header, proto, src, dst): (usize, u8, IpAddr, IpAddr) = if ip.v6 {
            if q.len() < 40 {
                return false;
            }
            (40, q[6], wire::v6(q, 8).into(), wire::v6(q, 24).into())
        } else {
            if q.len() < 20 || q[0] >> 4 != 4 || q[0] & 15 < 5 || wire::be16(q, 6) & 0x1fff != 0 {
                return false;
            }
            let header = usize::from(q[0] & 15) * 4;
            (header, q[9], wire::v4(q, 12).into(), wire::v4(q, 16).into())
        };
        if (proto != TCP && proto != UDP) || q.len() < header + 8 || ip.dst != src {
            return false;
        }
        let tuple = ConnTuple {
            proto,
            src: dst,
            sport: wire::be16(q, header + 2),
            dst: src,
            dport: wire::be16(q, header),
        };
        let Some(&(id, from_server)) = self.by_tuple.get(&tuple) else {
            if let Some(worker) = self.owner_of(src, tuple.dport) {
                self.hand_over(worker, f, ip.v6, o);
                return true;
            }
            if self.copy_to_workers(f, &tuple, o) {
                return true;
            }
            // It may be about a tunnel's packet, whose path is every worker's.
            let mtu = m[0] == 2 || !ip.v6 && m[..2] == [3, 4];
            let ours = matches!(self.config.owner(src), Some(Owner::Us { .. }));
            if proto == UDP && mtu && ours {
                self.tell_all(f, o);
            }
            return false;
        };
        if !wire::icmp_good(ip.src, ip.dst, m) {
            self.books.drop(Reason::BadChecksum);
            return true;
        }
        let way = match self.conn_way(id, from_server) {
            Ok(way) => way,
            Err(reason) => {
                self.books.drop(reason);
                return true;
            }
        };
        let conn = self.conns[&id].clone();
        let counters = self.dests.entry(conn.dest).or_default();
        counters.in_pkts += 1;
        counters.in_bytes += ip.len() as u64;
        // Outer from, outer to; the quoted packet goes the other way.
        let (from, to) = if from_server {
            (conn.vip, conn.client)
        } else {
            (conn.laddr, conn.server)
        };
        let mut out = f.to_vec();
        let at = ip.l4 + 8;
        let put = |b: &mut [u8], bytes: &[u8]| b[..bytes.len()].copy_from_slice(bytes);
        let both = [wire::octets(from.0), wire::octets(to.0)].concat();
        let back = [wire::octets(to.0), wire::octets(from.0)].concat();
        let addrs = if ip.v6 { 8 } else { 12 };
        put(&mut out[ETH + addrs..], &both);
        put(&mut out[at + addrs..], &back);
        put(&mut out[at + header..], &to.1.to_be_bytes());
        put(&mut out[at + header + 2..], &from.1.to_be_bytes());
        if from_server && proto == TCP {
            let said = wire::be32(&out, at + header + 4);
            if let (Some(id), Way::Mac { port, .. }) = (conn.shift, &way)
                && let Some(got) = o.peek(To::Wire(*port)).filter(|g| g.len() == out.len())
            {
                // No segment has left yet: this tells.
                let shift = said.wrapping_sub(wire::be32(got, at + header + 4));
                self.shifts.entry(id).or_insert(shift);
            }
            let shift = conn.shift.and_then(|id| self.shifts.get(&id)).copied();
            let seq = said.wrapping_sub(shift.unwrap_or(0));
            put(&mut out[at + header + 4..], &seq.to_be_bytes());
        }
        if from_server && proto == TCP && m[..2] == if ip.v6 { [2, m[1]] } else { [3, 4] } {
            // Room for the client's address in its segments.
            let told = for_client(ip.v6, wire::be32(m, 4) as usize) as u32;
            put(&mut out[ip.l4 + 4..], &told.to_be_bytes());
        }
        if !ip.v6 {
            wire::seal4(&mut out[ETH..ip.l4]);
            // The quoted header's checksum stays as right or wrong as it was.
            let q_old = &f[at..at + header];
            let wrong = wire::words(q_old) % 65535;
            let q_new = &mut out[at..at + header];
            q_new[10..12].fill(0);
            let sum = (wrong + 65535 - wire::words(q_new) % 65535) % 65535;
            q_new[10..12].copy_from_slice(&(sum as u16).to_be_bytes());
        }
        let sum = wire::icmp_sum(from.0, to.0, &out[ip.l4..]);
        put(&mut out[ip.l4 + 2..], &sum.to_be_bytes());
        self.send(Draft::whole(out), way, o);
        true
    }
}

impl Director {
    /// An error about a packet from a service to a client whose connection is not
    /// here: nobody knows whose it is, so all other workers get a copy.
    fn copy_to_workers(&mut self, f: &[u8], tuple: &ConnTuple, o: &mut dyn Other) -> bool {
        let key = ServiceKey {
            proto: tuple.proto,
            addr: tuple.dst,
            port: tuple.dport,
        };
        if self.workers == 1 || !self.config.services.contains_key(&key) {
            return false;
        }
        self.tell_all(f, o);
        self.books.drop(Reason::Consumed);
        true
    }

    fn tell_all(&mut self, f: &[u8], o: &mut dyn Other) {
        let others = if self.no_buffers { 0 } else { self.workers };
        for worker in 0..others {
            if worker != self.me {
                self.books.handed_over += 1;
                self.expect(To::Worker(worker), f, o);
            }
        }
    }
}

/// The MTU a TCP client is told where the link to its server takes so much: the
/// option with its address comes to its segments.
pub(super) fn for_client(v6: bool, mtu: usize) -> usize {
    let (least, option) = if v6 { (1280, 20) } else { (68, 8) };
    if mtu <= least {
        mtu
    } else {
        (mtu - option).max(least)
    }
}

/// Is a packet an ICMP error (or a redirect), or one nobody can tell of?
fn is_error(f: &[u8], v6: bool) -> bool {
    if !v6 {
        let l4 = ETH + usize::from(f[ETH] & 15) * 4;
        let error = |typ: &u8| [3, 4, 5, 11, 12].contains(typ);
        return f[ETH + 9] == 1 && f.get(l4).is_none_or(error);
    }
    match wire::upper(f) {
        None => true,
        Some(up) if up.proto != 58 => false,
        Some(up) => up.later || f.get(up.at).is_none_or(|typ| *typ < 128 || *typ == 137),
    }
}
