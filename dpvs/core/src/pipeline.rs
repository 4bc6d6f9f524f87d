//! The way of a burst through a worker, all stages on one screen.
//!
//! parse -> index lines -> entry lines -> one loop that finishes each packet in
//! order: known flows are counted, rewritten and sent; new ones are admitted; the
//! rest goes to the light IP stack. Every loop runs over the whole burst, so that
//! its cache misses overlap.

use std::net::IpAddr;
use std::sync::Arc;

use crate::admit::Admitted;
use crate::conn::table::{Family, Tuple};
use crate::conn::{Entry, Handle, flags};
use crate::egress::{Way, decrement_ttl};
use crate::frame::{BURST, Burst, Frame, Io, Now, PortId, WorkerId};
use crate::hops::Egress;
use crate::isn::{edit_options, fix_checksum};
use crate::others;
use crate::parse::{Head, Kind, parse};
use crate::prefetch::prefetch;
use crate::proto::{Dir, tcp, udp};
use crate::raw::{L3, Net};
use crate::related::mtu_for_client;
use crate::service::{Dest, DestId, FwdMode, ServiceKey, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::{Reason, WorkerStats};
use crate::steady::{Tally, Turn};
use crate::synproxy::Step;
use crate::worker::Worker;
use crate::xmit::fullnat::{self, ACK, FIN, RST, SYN, Segment};
use crate::xmit::{echo, nat64, tcpopt, toa, uoa};

/// What became of a flow's packet that had no connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Came {
    /// It has one now.
    Conn,
    /// It went to the light IP stack.
    Pass,
    /// It went to that worker.
    Sent(WorkerId),
    /// It waits for another worker's answer, and comes again.
    Waits,
    /// It was dropped, or answered.
    Refused,
}

impl<F: Frame> Worker<F> {
    /// Takes the first `n` frames of a burst received on `port`; leaves every
    /// slot empty. Frames another worker handed over come by `process_handed`.
    pub fn process<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        burst: &mut Burst<F>,
        n: usize,
        now: Now,
        io: &mut I,
    ) {
        if self.handed {
            self.stats.taken += n as u64;
        } else {
            self.stats.received += n as u64;
        }
        let at = usize::from(port.0);
        let tagged = |snap: &Arc<Snapshot>| snap.ports.get(at).is_some_and(|p| !p.vlans.is_empty());
        if self.snap.as_ref().is_some_and(tagged) && !self.handed {
            return self.process_tagged(port, burst, n, now, io);
        }
        self.process_port(port, burst, n, now, io);
    }

    /// As `process`, once it is certain that no frame has a tag for another device.
    pub(crate) fn process_port<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        burst: &mut Burst<F>,
        n: usize,
        now: Now,
        io: &mut I,
    ) {
        let burst = &mut burst[..n];
        let Some(snap) = self.snap.take() else {
            return self.refuse(burst, Reason::NotConfigured);
        };
        let mut heads = self
            .heads
            .take()
            .unwrap_or_else(|| Box::new([Head::EMPTY; BURST]));
        if let Some(p) = snap.ports.get(usize::from(port.0)) {
            let egress = Egress {
                port,
                mac: p.mac,
                mtu: p.mtu,
            };
            // Once: not again what was handed over, or has waited.
            if p.forward2kni && !self.handed && !self.is_again() {
                for frame in burst.iter().flatten() {
                    self.copy_to_host(port, frame, io);
                }
            }
            for frame in burst.iter().flatten() {
                prefetch(frame.data());
            }
            for (slot, head) in burst.iter_mut().zip(heads.iter_mut()) {
                if let Some(frame) = slot {
                    parse(frame, &egress.mac, &self.conns, head);
                }
            }
            let v6 = !snap.settings.ipv6_off;
            for head in &mut heads[..n] {
                head.conn = match head.kind {
                    Kind::Flow4 => self.conns.candidate::<u32>(head.hash),
                    Kind::Flow6 if v6 => self.conns.candidate::<u128>(head.hash),
                    _ => 0,
                };
            }
            if snap.guard.is_on() {
                self.guard(&snap, port, burst, &mut heads[..], now);
            }
            let turn = Turn {
                now: now.millis() as u32,
                services: &snap.services,
            };
            let short = !snap.settings.xmit_ttl;
            let (mut tally4, mut tally6) = <(Tally, Tally)>::default();
            for (slot, head) in burst.iter_mut().zip(heads.iter()) {
                let Some(frame) = slot else { continue };
                let way = match head.kind {
                    Kind::Flow4 if short => self.steady::<u32>(turn, frame, head, &mut tally4),
                    Kind::Flow6 if short => self.steady::<u128>(turn, frame, head, &mut tally6),
                    _ => None,
                };
                let Some(frame) = slot.take() else { continue };
                match way {
                    Some(port) => io.send(port, frame),
                    None => self.finish(&snap, &egress, frame, head, now, io),
                }
            }
            self.note(tally4, tally6);
            self.conns.settle();
        } else {
            self.refuse(burst, Reason::NotConfigured);
        }
        self.snap = Some(snap);
        self.heads = Some(heads);
        if !self.inner.is_empty() {
            self.process_inner(now, io);
        }
    }

    /// Adds up the packets of a burst that went the short way.
    fn note(&mut self, v4: Tally, v6: Tally) {
        let [edge4, edge6] = &mut self.stats.edge;
        let (ip4, ip6) = (&mut self.stats.ip4, &mut self.stats.ip6);
        for (ip, edge, tally) in [(ip4, edge4, v4), (ip6, edge6, v6)] {
            ip.in_pkts += tally.packets;
            ip.in_octets += tally.octets;
            edge.out_pkts += tally.packets;
            edge.out_octets += tally.octets;
            self.stats.conn_hits += tally.packets;
        }
    }

    /// Drops a burst whole.
    fn refuse(&mut self, burst: &mut [Option<F>], reason: Reason) {
        for _ in burst.iter_mut().filter_map(Option::take) {
            self.drop(reason);
        }
    }

    /// Everything after the lookup stages, for one packet.
    #[inline(always)]
    fn finish<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        match head.kind {
            Kind::Flow4 => {
                self.stats.ip4.in_pkts += 1;
                self.stats.ip4.in_octets += u64::from(head.ip_len);
                match self.conns.find_from(head.conn, head.hash, &head.tuple4()) {
                    Some(conn) => self.transit::<u32, I>(snap, from, frame, head, conn, now, io),
                    None => {
                        self.newcomer::<u32, I>(snap, from, frame, head, now, io);
                    }
                }
            }
            Kind::Flow6 if snap.settings.ipv6_off => self.drop(Reason::Ipv6Off),
            Kind::Flow6 => {
                self.stats.ip6.in_pkts += 1;
                self.stats.ip6.in_octets += u64::from(head.ip_len);
                match self
                    .conns
                    .find_from(head.conn, head.hash, &head.tuple6(frame.data()))
                {
                    Some(conn) => self.transit::<u128, I>(snap, from, frame, head, conn, now, io),
                    None => {
                        self.newcomer::<u128, I>(snap, from, frame, head, now, io);
                    }
                }
            }
            Kind::Bad => self.stats.refused(&frame, head.reason),
            _ => self.deliver(snap, from, frame, head, now, io),
        }
    }

    /// A flow without connection: makes one if it belongs to a service.
    #[inline(never)]
    pub(crate) fn newcomer<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Came {
        if self.conns.is_pending(head.hash) {
            // A connection made earlier in this burst.
            self.conns.settle();
            let tuple = A::tuple(head, frame.data());
            if let Some(conn) = self.conns.find(head.hash, &tuple) {
                self.transit::<A, I>(snap, from, frame, head, conn, now, io);
                return Came::Conn;
            }
        }
        if !snap.services.meetings().is_empty()
            && let Some(owner) = self.meets_elsewhere(snap, &A::tuple(head, frame.data()))
        {
            self.hand_over::<A, I>(owner, from, frame, head, io);
            return Came::Sent(owner);
        }
        if !A::V6
            && snap.services.crosses()
            && let Some(conn) = self.find_cross(&head.tuple4())
        {
            self.cross(snap, from, frame, head, conn, now, io);
            return Came::Conn;
        }
        match self.admit::<A, I>(snap, from, &frame, head, now, io) {
            Admitted::Proxy(Step::Cookie(servers_v6)) => {
                self.send_cookie::<A, I>(snap, from, frame, head, servers_v6, now, io);
                Came::Refused
            }
            Admitted::Proxy(step) => {
                self.proxy_step::<A, I>(snap, from, frame, head, step, now, io);
                Came::Refused
            }
            Admitted::Conn(conn) if conn.is_v6() != A::V6 => {
                self.cross(snap, from, frame, head, conn, now, io);
                Came::Conn
            }
            Admitted::Conn(conn) => {
                self.transit::<A, I>(snap, from, frame, head, conn, now, io);
                Came::Conn
            }
            Admitted::Once(conn) => {
                // It ends here, whatever its server is, and only here.
                if conn.is_v6() == A::V6 {
                    A::entry_mut(&mut self.conns, conn).flags &= !flags::QUIESCENT;
                    self.transit::<A, I>(snap, from, frame, head, conn, now, io);
                } else {
                    <u128 as Family>::entry_mut(&mut self.conns, conn).flags &= !flags::QUIESCENT;
                    self.cross(snap, from, frame, head, conn, now, io);
                }
                self.end(snap, conn, now, io);
                Came::Refused
            }
            Admitted::Hold(what) => {
                self.let_wait(frame, from.port, what, now);
                Came::Waits
            }
            Admitted::Pass => {
                self.deliver(snap, from, frame, head, now, io);
                Came::Pass
            }
            Admitted::Drop(reason) => {
                self.stats.discarded(A::V6, reason);
                Came::Refused
            }
            Admitted::HandOver(owner) => {
                self.hand_over::<A, I>(owner, from, frame, head, io);
                Came::Sent(owner)
            }
        }
    }

    /// An echo request or reply, whose identifier stands for a port; any other
    /// packet comes back.
    #[cold]
    #[inline(never)]
    pub(crate) fn echo_flow<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let (data, l4) = (frame.data(), usize::from(head.l4));
        let end = data.len().min(L3 + usize::from(head.ip_len));
        let ports = (l4 + 8 <= end).then(|| echo::ports(A::V6, data, l4));
        let Some((sport, dport)) = ports.flatten() else {
            return Some(frame);
        };
        let (src, dst) = A::addrs(data);
        let kind = if A::V6 { Kind::Flow6 } else { Kind::Flow4 };
        let tuple = Tuple {
            src,
            dst,
            sport,
            dport,
            proto: head.proto,
        };
        let head = Head {
            sport,
            dport,
            kind,
            hash: A::hash(&self.conns, &tuple),
            ..*head
        };
        self.conns.settle();
        if !snap.guard.limits.is_empty() {
            let seen = self.handed || self.is_again();
            if let Some(reason) = self.refused::<A>(snap, from.port, &frame, &head, seen, now) {
                self.stats.discarded(A::V6, reason);
                return None;
            }
        }
        match self.conns.find(head.hash, &tuple) {
            Some(conn) => self.transit::<A, I>(snap, from, frame, &head, conn, now, io),
            None => {
                self.newcomer::<A, I>(snap, from, frame, &head, now, io);
            }
        }
        None
    }

    /// A packet of a known connection. Those that are proxied have a look at it
    /// first.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn transit<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        if A::entry(&self.conns, conn).flags & flags::SIDE != 0 {
            let passed = self.proxy_gate::<A, I>(snap, from, frame, head, conn, now, io);
            let Some(passed) = passed else { return };
            frame = passed;
        }
        self.pass::<A, I>(snap, from, frame, head, conn, now, io);
    }

    /// A segment of a proxied connection that was made here, or has waited; a SYN
    /// is not to be answered again.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn transit_again<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        if frame.data()[usize::from(head.l4) + 13] & SYN == 0 {
            let passed = self.proxy_gate::<A, I>(snap, from, frame, head, conn, now, io);
            let Some(passed) = passed else { return };
            frame = passed;
        }
        self.pass::<A, I>(snap, from, frame, head, conn, now, io);
    }

    /// A packet of a known connection: state, counters, rewrite, out.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn pass<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let dir = conn.dir();
        let l4 = usize::from(head.l4);
        let entry = A::entry_mut(&mut self.conns, conn);
        let dest = &mut self.dests[entry.dest as usize];
        if entry.flags & flags::QUIESCENT != 0 && snap.services.is_quiescent(DestId(entry.dest)) {
            self.end(snap, conn, now, io);
            return self.drop(Reason::Quiescent);
        }
        if entry.is_other() {
            return self.transit_other::<A, I>(snap, from, frame, head, conn, now, io);
        }
        entry.seen = now.millis() as u32;
        let (mut toa, mut syn) = (false, false);
        let mut state = entry.state;
        if head.proto == TCP {
            let seg = Segment::read(frame.data(), l4, L3 + usize::from(head.ip_len));
            if state != tcp::State::Established as u8 || seg.flags & (SYN | FIN | RST | ACK) != ACK
            {
                state = tcp::next(dir, tcp::State::from_u8(state), seg.flags) as u8;
                if seg.flags & SYN != 0 {
                    if begins_anew(snap, entry, dir, seg.flags) && !head.turned {
                        return self.anew::<A, I>(snap, from, frame, head, conn, now, io);
                    }
                    if entry.flags & flags::MODE == 0 {
                        syn = true;
                        self.isn.handshake(entry, dir, &seg, now);
                    }
                }
            }
            match dir {
                Dir::In => toa = offers_toa(entry, &seg),
                Dir::Out => fullnat::note_server(entry, &seg),
            }
        } else {
            let dir = if entry.mode() == FwdMode::Snat {
                dir.turned()
            } else {
                dir
            };
            state = udp::next(dir, udp::State::from_u8(state)) as u8;
        }
        let hop = match dir {
            // Behind a source NAT's address are many hosts.
            Dir::In if entry.mode() == FwdMode::Snat => 0,
            Dir::In => dest.hop,
            Dir::Out => entry.hop,
        };
        entry.count(dir, head.octets());
        dest.count(dir, u64::from(head.octets()));
        self.stats.conn_hits += 1;
        if state != entry.state {
            let (from, server) = (entry.state, DestId(entry.dest));
            let checked = dest.checked;
            self.change_state::<A>(snap, conn, state, now);
            if checked {
                let by_server = dir == Dir::Out;
                self.note_state(snap, server, head.proto, (from, state), by_server, io);
            }
        }
        let entry = A::entry_mut(&mut self.conns, conn);
        entry.settle();
        let slow = snap.settings.xmit_ttl
            || entry.flags & (flags::CLIENT | flags::LONG) != 0
            || l4 != A::L4;
        match self.neighs.hops.get(hop) {
            Some(hop) if head.ip_len <= hop.mtu && !slow => {
                let entry = A::entry(&self.conns, conn);
                if syn {
                    edit_options(entry, dir, frame.data_mut(), l4);
                }
                fullnat::translate(entry, dir, frame.data_mut(), l4, head.proto == TCP);
                if toa {
                    let client = (entry.caddr().ip(), u16::from_be(entry.cport()));
                    let mtu = room_for_toa(head, hop.mtu);
                    insert_toa(&mut self.stats, &mut frame, l4, client, mtu);
                }
                frame.data_mut()[..12].copy_from_slice(&hop.macs);
                self.stats.leaves(&frame);
                io.send(hop.port, frame);
            }
            _ => self.transit_slow::<A, I>(snap, from, frame, head, conn, toa, now, io),
        }
    }

    /// A packet for which its connection ends, and another one begins. `E` is the family
    /// of the packet.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn anew<E: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        self.end(snap, conn, now, io);
        self.newcomer::<E, I>(snap, from, frame, head, now, io);
    }

    /// The way of a connection's packets, resolved now if it is not yet.
    pub(crate) fn conn_way<A: Net>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
    ) -> Result<Way, Reason> {
        let dir = conn.dir();
        let entry = A::entry(&self.conns, conn);
        let (raw, dst) = match dir {
            Dir::In => (self.server_hop(entry), entry.daddr().ip()),
            Dir::Out => (entry.hop, entry.caddr().ip()),
        };
        let shared = entry.mode() != FwdMode::Snat;
        if let Some(hop) = self.neighs.hops.get(raw) {
            return Ok(Way::Hop(*hop));
        }
        let (way, raw) = self.way_home(snap, dst.to_canonical())?;
        let entry = A::entry_mut(&mut self.conns, conn);
        match dir {
            Dir::In if !shared => {}
            Dir::In => self.dests[entry.dest as usize].hop = raw,
            Dir::Out => entry.hop = raw,
        }
        Ok(way)
    }

    /// A packet of a known connection whose next hop is not at hand, that is too
    /// large, or whose TTL counts.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn transit_slow<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        toa: bool,
        now: Now,
        io: &mut I,
    ) {
        let dir = conn.dir();
        let way = match self.conn_way::<A>(snap, conn) {
            Ok(way) => way,
            Err(reason) => return self.drop(reason),
        };
        // Errors quote the packet as it came, so they go before the rewrite.
        if snap.settings.xmit_ttl && !decrement_ttl(frame.data_mut()) {
            self.ungate::<A>(conn, &mut frame, head);
            return self.time_exceeded(snap, from, frame, now, io);
        }
        let entry = A::entry(&self.conns, conn);
        let (room, pieces) = match entry.leaves_to(dir) {
            Some(dst) => nat64::room(dst, head, &way),
            None => (way.mtu(), !A::V6 && frame.data()[L3 + 6] & 0x40 == 0),
        };
        let fragment = head.ip_len > room;
        if fragment && !pieces {
            let grows = if dir == Dir::In { entry.growth() } else { 0 };
            let told = mtu_for_client(A::V6, room.into(), grows) as u16;
            self.ungate::<A>(conn, &mut frame, head);
            return self.too_big(snap, from, frame, told, now, io);
        }
        let mut l4 = usize::from(head.l4);
        if l4 != A::L4 && !A::V6 && dir == Dir::In && head.proto == UDP {
            uoa::blank(frame.data_mut(), l4);
        }
        if A::entry(&self.conns, conn).flags & flags::CLIENT != 0 {
            l4 = match self.introduce::<A, I>(snap, &mut frame, l4, conn, &way, now, io) {
                Ok(l4) => l4,
                Err(reason) => return self.drop(reason),
            };
        }
        let entry = A::entry(&self.conns, conn);
        if head.proto == TCP && entry.flags & flags::MODE == 0 && frame.data()[l4 + 13] & SYN != 0 {
            edit_options(entry, dir, frame.data_mut(), l4);
        }
        match head.proto {
            TCP | UDP => fullnat::translate(entry, dir, frame.data_mut(), l4, head.proto == TCP),
            proto => others::translate(entry, dir, &mut frame, (l4, self.whole), proto),
        }
        if toa && !fragment {
            let client = entry.caddr().ip().to_canonical();
            let client = (client, u16::from_be(entry.cport()));
            let room = room_for_toa(head, room);
            insert_toa(&mut self.stats, &mut frame, l4, client, room);
        } else if toa {
            keep_no_toa(frame.data_mut(), l4);
        }
        if A::V6 {
            self.send_conn(snap, frame, &way, now, io);
        } else if fragment {
            self.fragment4(&frame, &way, snap, now, io);
        } else {
            self.send_way(snap, frame, &way, now, io);
        }
    }
}

/// Whether a segment is a SYN of a client whose connection to a server that may not be
/// used any more is over, or was never answered, while the service has another server.
///
/// DIFFERS: it is scheduled like any new one, as Linux does in TIME_WAIT; DPVS goes on
/// sending it to a server that is drained or gone, for a minute if that is dead.
#[inline]
pub(crate) fn begins_anew<A: Net>(snap: &Snapshot, e: &Entry<A>, dir: Dir, flags: u8) -> bool {
    let left = match tcp::State::from_u8(e.state) {
        tcp::State::TimeWait | tcp::State::Close => true,
        tcp::State::SynRecv => e.flags & flags::RS_SEEN == 0,
        _ => false,
    };
    left && dir == Dir::In && tcp::is_pure_syn(flags) && has_another_server(snap, e)
}

#[cold]
#[inline(never)]
fn has_another_server<A: Net>(snap: &Snapshot, e: &Entry<A>) -> bool {
    let key = ServiceKey {
        proto: e.proto,
        addr: e.vaddr().ip().to_canonical(),
        port: u16::from_be(e.vport()),
    };
    e.mode() != FwdMode::Snat
        && snap.services.is_quiescent(DestId(e.dest))
        && snap
            .services
            .find(&key)
            .is_some_and(|service| service.dests.iter().any(Dest::usable))
}

/// Whether a client's segment carries its address to the server: each does until
/// the client has acknowledged data of the server.
///
/// DIFFERS: none does after that; DPVS also gives it to a late segment that was
/// overtaken by such an acknowledgement.
#[inline(always)]
fn offers_toa<A>(entry: &mut Entry<A>, seg: &Segment) -> bool {
    const OFFER: u16 = flags::TOA | flags::FDATA;
    if entry.flags & OFFER != OFFER || seg.flags & (SYN | RST) != 0 {
        return false;
    }
    if seg.flags & ACK != 0 && seg.ack.wrapping_sub(entry.fdata).cast_signed() > 0 {
        entry.flags &= !flags::FDATA;
    }
    seg.ack == entry.fdata
}

/// What a segment with the client's address may be at most: a fragment of one
/// cannot grow, as others follow it.
#[inline(always)]
fn room_for_toa(head: &Head, mtu: u16) -> u16 {
    if head.fragment { 0 } else { mtu }
}

/// Puts the client's address into a segment, or counts that there was no room.
#[inline(never)]
fn insert_toa<F: Frame>(
    stats: &mut WorkerStats,
    frame: &mut F,
    l4: usize,
    client: (IpAddr, u16),
    mtu: u16,
) {
    match toa::insert_toa(frame, L3, l4, client, mtu) {
        Ok(()) => stats.toa_ok += 1,
        Err(_) => {
            stats.toa_failed += 1;
            keep_no_toa(frame.data_mut(), l4);
        }
    }
}

/// A segment that should have the client's address, but has no room, has none at all.
///
/// DIFFERS: DPVS lets the client's own option pass then, which the server believes.
#[cold]
fn keep_no_toa(data: &mut [u8], l4: usize) {
    let delta = tcpopt::blank_client_address(&mut data[l4..]);
    fix_checksum(data, l4, delta);
}
