//! Flows: a connection made, its packets translated, its end (DPVS facts §6 to
//! §10, §12, §13).

use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::message::{ConnInfo, ConnTuple};
use dpvs_core::service::{Dest, DestId, FwdMode, Service, ServiceKey};
use dpvs_core::stats::Reason;

use super::config::Owner;
use super::sched::{Place, Use};
use super::tcp::{self, ACK, FIN, RST, SYN};
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
    /// Was established, or answered: it never makes room for another.
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

enum Admitted {
    Conn(u64),
    Pass,
    Drop(Reason),
    Hand(u8),
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
        if let Some(&(id, from_server)) = self.by_tuple.get(&tuple) {
            return self.translate(id, from_server, port, frame, ip, o);
        }
        match self.admit(port, frame, ip, &tuple, o) {
            Admitted::Conn(id) => self.translate(id, false, port, frame, ip, o),
            Admitted::Pass => self.ip(port, frame, ip, o),
            Admitted::Drop(reason) => self.books.drop(reason),
            Admitted::Hand(worker) => self.hand_over(worker, frame, ip.v6, o),
        }
    }

    fn admit(
        &mut self,
        port: u16,
        frame: &[u8],
        ip: &Ip,
        tuple: &ConnTuple,
        o: &mut dyn Other,
    ) -> Admitted {
        let key = ServiceKey {
            proto: ip.proto,
            addr: ip.dst,
            port: tuple.dport,
        };
        let may_start = ip.proto == UDP || frame[ip.l4 + 13] & (SYN | ACK | FIN | RST) == SYN;
        let service = self.config.services.get(&key).cloned();
        let Some(service) = service.filter(|_| may_start) else {
            if let Some(worker) = self.owner_of(ip.dst, tuple.dport) {
                return Admitted::Hand(worker);
            }
            let s = &self.config.settings;
            let has = |proto| {
                let mut keys = self.config.services.keys();
                keys.any(|k| k.addr == ip.dst && k.proto == proto)
            };
            if ip.proto == TCP && s.defence_tcp_drop && has(TCP) {
                return Admitted::Drop(Reason::DefenceTcp);
            }
            if ip.proto == UDP && s.defence_udp_drop && has(TCP) && !has(UDP) {
                return Admitted::Drop(Reason::DefenceUdp);
            }
            return Admitted::Pass;
        };
        let bad = match ip.src {
            IpAddr::V4(a) => {
                a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast()
            }
            IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast(),
        };
        if bad {
            return Admitted::Drop(Reason::BadAddress);
        }
        match self.create(port, frame, tuple, &service, o) {
            Ok(id) => Admitted::Conn(id),
            Err(reason) => Admitted::Drop(reason),
        }
    }

    /// The other worker a local port belongs to: its low bits say.
    pub(super) fn owner_of(&self, laddr: IpAddr, port: u16) -> Option<u8> {
        let pool = matches!(
            self.config.owner(laddr),
            Some(Owner::Us { sapool: true, .. })
        );
        let slice = port & (u16::from(self.workers).next_power_of_two() - 1);
        (self.workers > 1 && pool && slice < u16::from(self.workers) && slice != u16::from(self.me))
            .then_some(slice as u8)
    }

    fn share(&self, dest: &Dest) -> u64 {
        let (me, n) = (u32::from(self.me), u32::from(self.workers));
        match dest.max_conn {
            0 => u64::MAX,
            max => u64::from((max / n + u32::from(me < max % n)).max(1)),
        }
    }

    fn schedule(&mut self, service: &Arc<Service>) -> Result<Dest, Reason> {
        let (me, n) = (usize::from(self.me), usize::from(self.workers));
        let fresh = || {
            (
                service.uid,
                service.version,
                Place::new(&service.dests, me, n),
            )
        };
        let mut place = self.places.remove(&service.id.0).unwrap_or_else(fresh);
        if (place.0, place.1) != (service.uid, service.version) {
            place = fresh();
        }
        let picked = place.2.pick(service.sched, &service.dests, |d| {
            let c = self.dests.get(&d.id).copied().unwrap_or_default();
            let (active, inactive) = (u64::from(c.active), u64::from(c.inactive));
            Use {
                active,
                inactive,
                full: active + inactive >= self.share(d),
            }
        });
        self.places.insert(service.id.0, place);
        match picked {
            Some(i) => Ok(service.dests[i]),
            None if service.dests.iter().any(Dest::usable) => Err(Reason::Overload),
            None => Err(Reason::NoDest),
        }
    }

    fn create(
        &mut self,
        port: u16,
        frame: &[u8],
        tuple: &ConnTuple,
        service: &Arc<Service>,
        o: &mut dyn Other,
    ) -> Result<u64, Reason> {
        let dest = self.schedule(service)?;
        if dest.mode != FwdMode::FullNat {
            return Err(Reason::ModeUnsupported);
        }
        // Between the families, and no local address of the server's here.
        if dest.addr.is_ipv4() != tuple.dst.is_ipv4() {
            return Err(Reason::NoLaddr);
        }
        let v4 = tuple.dst.is_ipv4();
        let local: Vec<_> = service.laddrs.iter().map(|l| l.addr).collect();
        let local: Vec<_> = local
            .into_iter()
            .filter(|a| a.is_ipv4() == v4 && self.is_pool(*a))
            .collect();
        if local.is_empty() {
            return Err(Reason::NoLaddr);
        }
        self.make_room(v4, o)?;
        // The other one chose a local address and port: look what and whether it
        // was free to.
        let (laddr, lport) = self.chosen(&dest, tuple, o);
        assert!(
            local.contains(&laddr),
            "{}: {laddr} is no local address of the service",
            self.at
        );
        let slice = lport & (u16::from(self.workers).next_power_of_two() - 1);
        assert!(
            lport > 1024 && slice == u16::from(self.me),
            "{}: {lport}",
            self.at
        );
        let settings = &self.config.settings;
        let mac: [u8; 6] = frame[6..12].try_into().unwrap();
        let one_station = mac[0] & 1 == 0 && mac != [0; 6];
        let conn = Conn {
            proto: tuple.proto,
            client: (tuple.src, tuple.sport),
            vip: (tuple.dst, tuple.dport),
            laddr: (laddr, lport),
            server: (dest.addr, dest.port),
            dest: dest.id,
            state: 0,
            timeout: u64::from(settings.timeouts.conn_init) * 1000,
            seen: self.millis(),
            conn_timeout: service.conn_timeout,
            quiescent: service.expire_quiescent,
            shift: None,
            client_isn: 0,
            fdata: None,
            said: None,
            answered: false,
            back: (settings.fast_xmit && one_station).then_some((port, mac)),
        };
        let id = self.next_id;
        self.next_id += 1;
        for from_server in [false, true] {
            let old = self
                .by_tuple
                .insert(conn.tuple(from_server), (id, from_server));
            assert!(old.is_none(), "{}: {laddr} {lport} is in use", self.at);
        }
        self.conns.insert(id, conn);
        let counters = self.dests.entry(dest.id).or_default();
        counters.conns += 1;
        counters.inactive += 1;
        self.books.made += 1;
        Ok(id)
    }

    /// Are the ports of an address given to connections?
    fn is_pool(&self, addr: IpAddr) -> bool {
        matches!(
            self.config.owner(addr),
            Some(Owner::Us { sapool: true, .. })
        )
    }

    /// In a full table the oldest connection nobody has answered ends.
    fn make_room(&mut self, v4: bool, o: &mut dyn Other) -> Result<(), Reason> {
        let family = |c: &Conn| c.vip.0.is_ipv4() == v4;
        let all = self.conns.iter().filter(|(_, c)| family(c));
        if all.clone().count() < self.room {
            return Ok(());
        }
        let oldest = all.filter(|(_, c)| !c.answered).map(|(id, _)| *id).min();
        let oldest = oldest.ok_or(Reason::ConnTableFull)?;
        self.books.evicted += 1;
        self.end(oldest, o);
        Ok(())
    }

    /// Local address and port of a new connection: from the listing, or, when it
    /// has made room for another since, from the frame that was sent.
    fn chosen(&self, dest: &Dest, tuple: &ConnTuple, o: &mut dyn Other) -> (IpAddr, u16) {
        if let Some(info) = o.conn(tuple) {
            assert_eq!(info.dest, (dest.addr, dest.port), "{}: server", self.at);
            return info.laddr;
        }
        let sent = match self.way(dest.addr) {
            Ok(Way::Mac { port, .. }) => o.peek(super::To::Wire(port)),
            _ => None,
        };
        let Some(sent) = sent else {
            panic!("{}: no connection for {tuple:?}", self.at);
        };
        let mac = sent[..6].try_into().unwrap();
        match wire::look(sent, mac) {
            wire::Seen::Ip(ip) if ip.dst == dest.addr => (ip.src, ip.ports.unwrap().0),
            _ => panic!("{}: no connection for {tuple:?}", self.at),
        }
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
        let mut client_address = false;
        let state = if ip.proto == TCP {
            let seg = tcp::segment(&parts.l4);
            if seg.flags & (SYN | ACK) == SYN && !from_server {
                let open = [tcp::ESTABLISHED, tcp::FIN_WAIT, tcp::CLOSE_WAIT];
                let again = conn.client_isn == seg.seq || open.contains(&conn.state);
                if conn.shift.is_none() || !again {
                    conn.client_isn = seg.seq;
                    conn.shift = Some(self.next_id);
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
        conn.answered |= conn.active() || (conn.proto == UDP && state == 2);
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
