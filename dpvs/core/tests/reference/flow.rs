//! Flows: a connection's packets translated, its states, its end (DPVS facts §6 to
//! §8, §12, §13).
//!
//! How a connection is made is in `admit`. Checksums are added up whole here, and
//! the answer of the other one is asked for only where it is free to choose.

use std::net::IpAddr;

use dpvs_core::message::{ConnInfo, ConnTuple};
use dpvs_core::service::DestId;
use dpvs_core::stats::Reason;

use super::admit::Admitted;
use super::tcp::{self, ACK, RST, SYN};
use super::wire::{self, ETH, Ip, Parts, TCP, UDP};
use super::{Director, Draft, Other, Way};

/// A connection.
#[derive(Clone, Debug)]
pub struct Conn {
    pub proto: u8,
    pub client: (IpAddr, u16),
    pub vip: (IpAddr, u16),
    pub laddr: (IpAddr, u16),
    pub server: (IpAddr, u16),
    pub dest: DestId,
    /// Index into the protocol's time-outs.
    pub state: usize,
    /// Time-out of the state and last packet, milliseconds.
    pub timeout: u64,
    pub seen: u64,
    pub conn_timeout: u32,
    pub quiescent: bool,
    /// Number of the sequence shift.
    pub shift: Option<u64>,
    pub client_isn: u32,
    /// Sequence number of the server's first data.
    pub fdata: Option<u32>,
    /// What the server sent last: end of its data, its acknowledgement.
    pub said: Option<(u32, u32)>,
    /// Was established by a client that heard the server, or answered: it never makes
    /// room for another.
    pub answered: bool,
    /// Port and MAC address the first packet came from.
    pub back: Option<(u16, [u8; 6])>,
}

impl Conn {
    pub fn tuple(&self, from_server: bool) -> ConnTuple {
        let (src, dst) = if from_server {
            (self.server, self.laddr)
        } else {
            (self.client, self.vip)
        };
        ConnTuple {
            proto: self.proto,
            src: src.0,
            sport: src.1,
            dst: dst.0,
            dport: dst.1,
        }
    }

    pub fn active(&self) -> bool {
        self.proto == TCP && self.state == tcp::ESTABLISHED
    }

    /// As listed.
    pub fn state_name(&self) -> &'static str {
        if self.proto == TCP {
            tcp::name(self.state)
        } else {
            ["UDP_NONE", "UDP_ONEWAY", "UDP_NORM"][self.state]
        }
    }

    /// Is this what the other one lists?
    pub fn is(&self, info: &ConnInfo) -> bool {
        info.proto == self.proto
            && info.client == self.client
            && info.vip == self.vip
            && info.laddr == self.laddr
            && info.dest == self.server
            && info.state == self.state_name()
            && u64::from(info.timeout) == self.timeout / 1000
    }
}

impl Director {
    /// A TCP or UDP packet with ports, addressed to us.
    pub(super) fn flow(&mut self, port: u16, frame: &[u8], ip: &Ip, o: &mut dyn Other) {
        if ip.v6 && self.config.settings.ipv6_off {
            return self.books.drop(Reason::Ipv6Off);
        }
        let stats = if ip.v6 {
            &mut self.books.ip6
        } else {
            &mut self.books.ip4
        };
        stats.in_pkts += 1;
        stats.in_octets += ip.len() as u64;
        let (sport, dport) = ip.ports.unwrap();
        let tuple = ConnTuple {
            proto: ip.proto,
            src: ip.src,
            sport,
            dst: ip.dst,
            dport,
        };
        match self.by_tuple.get(&tuple) {
            Some(&(id, from_server)) if from_server || !self.begins_anew(id, frame, ip) => {
                return self.translate(id, from_server, port, frame, ip, o);
            }
            Some(&(id, _)) => self.end(id, o),
            None => {}
        }
        match self.admit(port, frame, ip, &tuple, o) {
            Admitted::Conn(id) => self.translate(id, false, port, frame, ip, o),
            Admitted::Pass => self.ip(port, frame, ip, o),
            Admitted::Drop(reason) => self.books.drop(reason),
            Admitted::Hand(worker) => self.hand_over(worker, frame, ip.v6, o),
        }
    }

    /// Is it a SYN on a connection that is over, or was never answered, to a server that
    /// may not be used, while the service has another one?
    fn begins_anew(&self, id: u64, frame: &[u8], ip: &Ip) -> bool {
        let conn = &self.conns[&id];
        let left = match conn.state {
            tcp::SYN_RECV => conn.said.is_none(),
            tcp::TIME_WAIT | tcp::CLOSE => true,
            _ => false,
        };
        let flags = || tcp::segment(&Parts::cut(frame, ip).l4).flags;
        let service = (conn.proto, conn.vip.0, conn.vip.1);
        let others = self.config.services.values().find(|s| {
            let key = s.key;
            (key.proto, key.addr, key.port) == service
        });
        conn.proto == TCP
            && left
            && !conn.quiescent
            && flags() & (SYN | ACK | RST | tcp::FIN) == SYN
            && !self.config.usable(conn.dest)
            && others.is_some_and(|s| s.dests.iter().any(|d| d.weight > 0 && !d.inhibited))
    }

    /// A packet of a connection.
    fn translate(
        &mut self,
        id: u64,
        from_server: bool,
        port: u16,
        frame: &[u8],
        ip: &Ip,
        o: &mut dyn Other,
    ) {
        let now = self.millis();
        let conn = &self.conns[&id];
        if conn.quiescent && !self.config.usable(conn.dest) {
            self.end(id, o);
            return self.books.drop(Reason::Quiescent);
        }
        let mut parts = Parts::cut(frame, ip);
        let conn = self.conns.get_mut(&id).unwrap();
        conn.seen = now;
        let (mut client_address, mut heard) = (false, false);
        let state = if ip.proto == TCP {
            let seg = tcp::segment(&parts.l4);
            if seg.flags & (SYN | ACK) == SYN && !from_server {
                let open = [tcp::ESTABLISHED, tcp::FIN_WAIT, tcp::CLOSE_WAIT];
                let again = conn.client_isn == seg.seq || open.contains(&conn.state);
                if conn.shift.is_none() || !again {
                    conn.client_isn = seg.seq;
                    conn.shift = Some(self.next_id);
                    self.begins.insert(self.next_id, (seg.seq, now));
                    self.next_id += 1;
                    conn.fdata = None;
                    conn.said = None;
                }
                tcp::no_timestamp(&mut parts.l4);
            }
            if seg.flags & (SYN | ACK) == SYN | ACK && from_server {
                conn.fdata = Some(seg.seq.wrapping_add(1));
                tcp::smaller_mss(&mut parts.l4, if ip.v6 { 20 } else { 8 });
            }
            if from_server {
                if seg.flags & RST == 0 {
                    let back = |(_, ack): (u32, u32)| seg.ack.wrapping_sub(ack) as i32 >= 0;
                    if conn.said.is_none_or(back) {
                        conn.said = Some((seg.seq_end, seg.ack));
                    }
                }
            } else {
                // Each segment until one acknowledges data of the server; none later.
                if let Some(fdata) = conn.fdata
                    && seg.flags & (SYN | RST) == 0
                {
                    client_address = fdata == seg.ack;
                    if seg.flags & ACK != 0 && (seg.ack.wrapping_sub(fdata) as i32) > 0 {
                        conn.fdata = None;
                    }
                }
                // What nobody knows who did not get the server's answer.
                let near = |end: u32| end.wrapping_sub(seg.ack) <= 65_535;
                heard = seg.flags & ACK != 0 && conn.said.is_some_and(|(end, _)| near(end));
            }
            tcp::next(from_server, conn.state, seg.flags)
        } else if from_server || conn.state == 2 {
            2
        } else {
            1
        };
        let counters = self.dests.entry(conn.dest).or_default();
        let (pkts, bytes) = if from_server {
            (&mut counters.out_pkts, &mut counters.out_bytes)
        } else {
            (&mut counters.in_pkts, &mut counters.in_bytes)
        };
        *pkts += 1;
        *bytes += ip.len() as u64;
        self.books.conn_hits += 1;
        self.set_state(id, state);
        let conn = self.conns.get_mut(&id).unwrap();
        conn.answered |= conn.active() && heard;
        self.pass_on(id, from_server, port, frame, parts, client_address, o);
    }

    fn set_state(&mut self, id: u64, state: usize) {
        let t = &self.config.settings.timeouts;
        let conn = self.conns.get_mut(&id).unwrap();
        if conn.state == state {
            return;
        }
        let was = conn.active();
        conn.state = state;
        conn.answered |= conn.proto == UDP && state == 2;
        let of_service = conn.conn_timeout > 0 && (conn.proto == UDP || conn.active());
        let secs = if of_service {
            conn.conn_timeout
        } else if conn.proto == TCP {
            t.tcp[state]
        } else {
            t.udp[state]
        };
        conn.timeout = u64::from(secs) * 1000;
        let counters = self.dests.entry(conn.dest).or_default();
        if conn.active() && !was {
            counters.active += 1;
            counters.inactive -= 1;
        } else if was && !conn.active() {
            counters.active -= 1;
            counters.inactive += 1;
        }
    }

    /// The way of a connection's packets: back to where the first one came from,
    /// or by the routes.
    pub(super) fn conn_way(&self, id: u64, from_server: bool) -> Result<Way, Reason> {
        let conn = &self.conns[&id];
        match conn.back {
            Some((port, mac)) if from_server => Ok(Way::Mac {
                port,
                mac,
                mtu: self.config.ports[usize::from(port)].mtu,
            }),
            _ if from_server => self.way(conn.client.0),
            _ => self.way(conn.server.0),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn pass_on(
        &mut self,
        id: u64,
        from_server: bool,
        port: u16,
        frame: &[u8],
        mut parts: Parts,
        client_address: bool,
        o: &mut dyn Other,
    ) {
        let way = match self.conn_way(id, from_server) {
            Ok(way) => way,
            Err(reason) => return self.books.drop(reason),
        };
        let v6 = wire::be16(frame, 12) == 0x86dd;
        let mut frame = frame.to_vec();
        if self.config.settings.xmit_ttl {
            match wire::older(&frame) {
                Some(older) => frame = older,
                None => return self.time_exceeded(port, &frame, o),
            }
            parts.ip = frame[ETH..ETH + parts.ip.len()].to_vec();
        }
        let fragment = parts.len() > way.mtu();
        if fragment && (v6 || frame[ETH + 6] & 0x40 != 0) {
            let mtu = way.mtu();
            let told = if parts.proto == TCP && !from_server {
                super::errors::for_client(v6, mtu)
            } else {
                mtu
            };
            return self.too_big(port, &frame, told, o);
        }
        if parts.proto == UDP && !from_server && !v6 {
            wire::no_claim(&mut parts.ip);
        }
        let conn = &self.conns[&id];
        if from_server {
            parts.set_ends(conn.vip, conn.client);
        } else {
            parts.set_ends(conn.laddr, conn.server);
        }
        if client_address && !fragment {
            let client = conn.client;
            if tcp::add_client(&mut parts, client, way.mtu()) {
                self.books.toa_ok += 1;
            } else {
                self.books.toa_failed += 1;
            }
        } else if client_address {
            tcp::no_client(&mut parts);
        }
        let shift = self.conns[&id].shift.filter(|_| parts.proto == TCP);
        let draft = Draft::parts(parts, shift, from_server);
        if fragment {
            self.fragments(&draft, way, o);
        } else {
            self.send(draft, way, o);
        }
    }

    /// An IPv4 packet in pieces.
    pub(super) fn fragments(&mut self, whole: &Draft, way: Way, o: &mut dyn Other) {
        let n = wire::pieces(&whole.bytes(0), way.mtu()).map(|p| p.len());
        match n {
            None => {
                self.books.ip4.frag_fails += 1;
                self.books.drop(Reason::TooBig);
            }
            Some(_) if self.no_buffers => {
                self.books.ip4.frag_fails += 1;
                self.books.drop(Reason::NoBuffer);
            }
            Some(n) => {
                for i in 0..n {
                    self.books.ip4.frag_creates += 1;
                    self.send(whole.piece(i, way.mtu()), way, o);
                }
                self.books.ip4.frag_oks += 1;
            }
        }
    }

    /// A connection ends; an open one is reset at both ends.
    pub(super) fn end(&mut self, id: u64, o: &mut dyn Other) {
        for (to_server, draft, way) in self.forget(id) {
            self.send_reset(to_server, draft, way, o);
        }
    }

    /// Takes a connection out of the books; gives the resets to send.
    pub(super) fn forget(&mut self, id: u64) -> Vec<(bool, Draft, Result<Way, Reason>)> {
        let ways = [false, true].map(|from_server| self.conn_way(id, from_server));
        let conn = self.conns.remove(&id).unwrap();
        for from_server in [false, true] {
            self.by_tuple.remove(&conn.tuple(from_server));
        }
        self.books.gone += 1;
        let counters = self.dests.entry(conn.dest).or_default();
        if conn.active() {
            counters.active -= 1;
        } else {
            counters.inactive -= 1;
        }
        let Some((end, ack)) = conn.said.filter(|_| conn.active() && !self.no_buffers) else {
            return Vec::new();
        };
        let [to_server, to_client] = ways;
        vec![
            (true, reset(conn.laddr, conn.server, ack), to_server),
            (false, reset(conn.vip, conn.client, end), to_client),
        ]
    }

    fn send_reset(
        &mut self,
        _to_server: bool,
        draft: Draft,
        way: Result<Way, Reason>,
        o: &mut dyn Other,
    ) {
        match way {
            Ok(way) => self.send(draft, way, o),
            Err(reason) => self.books.drop(reason),
        }
    }

    /// New connections of one burst that cannot push out each other.
    pub fn spare(&self) -> usize {
        let answered = |v4| {
            let all = self.conns.values();
            all.filter(|c| c.answered && c.vip.0.is_ipv4() == v4)
                .count()
        };
        self.room
            .saturating_sub(answered(true).max(answered(false)))
    }

    /// Numbers of connections whose time may be up.
    pub fn due(&self, slack: u64) -> Vec<u64> {
        let now = self.millis();
        let due = |c: &Conn| c.seen + c.timeout + slack <= now;
        let found = self.conns.iter().filter(|(_, c)| due(c));
        found.map(|(id, _)| *id).collect()
    }
}

/// A bare reset: window and acknowledgement 0, DF, TTL 64 (facts §8.1).
fn reset(src: (IpAddr, u16), dst: (IpAddr, u16), seq: u32) -> Draft {
    let mut l4 = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
    l4.extend(seq.to_be_bytes());
    l4.extend([0, 0, 0, 0, 0x50, RST, 0, 0, 0, 0, 0, 0]);
    let addrs = [wire::octets(src.0), wire::octets(dst.0)].concat();
    let sum = wire::words(&l4) + wire::pseudo(src.0, dst.0, TCP, l4.len());
    let sum = (65535 - sum % 65535) % 65535;
    l4[16..18].copy_from_slice(&(sum as u16).to_be_bytes());
    let mut f = vec![0; 12];
    if src.0.is_ipv4() {
        let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0];
        ip.extend(addrs);
        wire::seal4(&mut ip);
        f.extend([8, 0]);
        f.extend(ip);
    } else {
        f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, 64]);
        f.extend(addrs);
    }
    f.extend(l4);
    let mut draft = Draft::whole(f);
    draft.reset = true;
    draft
}
