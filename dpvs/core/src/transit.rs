//! A packet of a known TCP or UDP connection with replaced addresses, the long way:
//! its state, what it may have to carry, and out. Packets that change nothing of their
//! connection do not come here (`steady`), other protocols and modes have their own
//! functions (`others`).

use std::net::IpAddr;

use crate::conn::{Entry, Handle, flags};
use crate::egress::{Way, decrement_ttl};
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::isn::{edit_options, fix_checksum};
use crate::others;
use crate::parse::Head;
use crate::proto::{Dir, sctp, tcp, udp};
use crate::raw::{L3, Net};
use crate::related::mtu_for_client;
use crate::service::{Dest, DestId, FwdMode, SCTP, ServiceKey, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::{Reason, WorkerStats};
use crate::worker::Worker;
use crate::xmit::fullnat::{self, ACK, FIN, RST, SYN, Segment};
use crate::xmit::{nat64, tcpopt, toa, uoa};

impl<F: Frame> Worker<F> {
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
        self.pass::<A, I, false>(snap, from, frame, head, conn, now, io);
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
        self.pass::<A, I, true>(snap, from, frame, head, conn, now, io);
    }

    /// A packet of a known connection: state, counters, rewrite, out. `LOOKED`: a SYN has
    /// been to [`Self::use_again`], or is our own.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn pass<A: Net, I: Io<Frame = F>, const LOOKED: bool>(
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
        let (mut toa, mut syn, mut heard) = (false, false, true);
        let mut state = entry.state;
        if head.proto == TCP {
            let seg = Segment::read(frame.data(), l4, L3 + usize::from(head.ip_len));
            if state != tcp::State::Established as u8 || seg.flags & (SYN | FIN | RST | ACK) != ACK
            {
                state = tcp::next(dir, tcp::State::from_u8(state), seg.flags) as u8;
                if seg.flags & SYN != 0 {
                    if !LOOKED && is_used_again(entry, dir, seg.flags) {
                        return self.use_again::<A, I>(snap, from, frame, head, conn, now, io);
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
            heard = entry.flags & flags::EMBRYO == 0 || hears_server(entry, dir, &seg);
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
            self.change_state::<A>(snap, conn, state, heard, now);
            if checked {
                let by_server = dir == Dir::Out;
                self.note_state(snap, server, head.proto, (from, state), by_server, io);
            }
        } else if heard && is_unheard(entry) {
            self.stays::<A>(conn);
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

    /// A client's SYN on the ports of a connection there is: it may be one of another
    /// server, or one more than limits let in.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn use_again<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let (entry, flags) = (
            A::entry(&self.conns, conn),
            frame.data()[usize::from(head.l4) + 13],
        );
        if begins_anew(snap, entry, Dir::In, flags) && !head.turned {
            return self.anew::<A, I>(snap, from, frame, head, conn, now, io);
        }
        let state = tcp::next(Dir::In, tcp::State::from_u8(entry.state), flags) as u8;
        if opens_again(TCP, entry.state, state) && !self.may_reopen(snap, conn, now) {
            let v6 = A::V6 && !head.turned;
            return self.stats.discarded(v6, Reason::RateLimit);
        }
        self.transit_again::<A, I>(snap, from, frame, head, conn, now, io);
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
        let (room, pieces) = nat64::room_for(entry, dir, frame.data(), head, &way);
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
        self.send_rewritten::<A, I>(snap, frame, &way, fragment, now, io);
    }
}

/// Whether a segment is a client's SYN on the ports of a connection that is not new, nor
/// open.
#[inline(always)]
fn is_used_again<A: Net>(e: &Entry<A>, dir: Dir, flags: u8) -> bool {
    let known = [tcp::State::None as u8, tcp::State::Established as u8];
    dir == Dir::In && tcp::is_pure_syn(flags) && !known.contains(&e.state)
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

/// Whether a segment is of a client that hears its server, because it acknowledges what
/// that has said. Whoever forges an address cannot; connections of which nobody has are
/// those that give way when the table is full.
///
/// DIFFERS: in DPVS what is established stays, whatever was acknowledged.
#[inline]
fn hears_server<A: Net>(e: &Entry<A>, dir: Dir, seg: &Segment) -> bool {
    // A SYN-ACK says little; with Fast Open data may have followed.
    const SAID: u32 = 65_535;
    if e.mode() == FwdMode::Snat {
        return true;
    }
    let acks = dir == Dir::In && seg.flags & ACK != 0 && e.flags & flags::RS_SEEN != 0;
    acks && e.rs_seq.wrapping_sub(seg.ack) <= SAID
}

/// Whether a connection is established, though nobody may have heard the server.
#[inline(always)]
fn is_unheard<A: Net>(e: &Entry<A>) -> bool {
    e.flags & flags::EMBRYO != 0 && e.proto == TCP && e.state == tcp::State::Established as u8
}

/// Whether a client's packet that leads to that state opens a connection on the ports
/// of one that is over.
#[cold]
pub(crate) fn opens_again(proto: u8, old: u8, new: u8) -> bool {
    match proto {
        TCP => {
            let first = [tcp::State::None, tcp::State::SynRecv];
            new == tcp::State::SynRecv as u8 && !first.contains(&tcp::State::from_u8(old))
        }
        SCTP => {
            let over = [sctp::State::Closed, sctp::State::Rejected];
            new == sctp::State::Init as u8 && over.contains(&sctp::State::from_u8(old))
        }
        _ => false,
    }
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
