//! FullNAT between the families: NAT64 (IPv6 client, IPv4 server) and NAT46.
//!
//! A connection is an IPv6 one whose IPv4 side has mapped addresses. A packet that
//! comes as IPv4 is turned first and goes the way of any IPv6 packet; one that is
//! to a mapped address when it leaves is turned last (`inet/cross.rs`). What is
//! told about sizes is told in the sender's family.

use std::sync::Arc;

use dpvs_wire::{icmp, icmpv6};
use zerocopy::FromZeros;

use crate::conn::table::{Family, Tuple};
use crate::conn::{Entry, Handle, flags};
use crate::egress::Way;
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::inet::cross::{self, CrossError, GROWTH, MIN_MTU6};
use crate::parse::{Head, Kind};
use crate::proto::Dir;
use crate::raw::{L3, Net, be16, ld32, map4, unmap4};
use crate::related::{mtu_for_client, tells_mtu};
use crate::service::{Dest, FwdMode, ICMP, ICMPV6, SCTP, Service, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::transit::begins_anew;
use crate::worker::Worker;
use crate::xmit::echo;

/// Bytes of the fragment header.
const FRAGMENT: usize = 8;

impl From<CrossError> for Reason {
    fn from(e: CrossError) -> Self {
        match e {
            CrossError::NoRoom => Self::NoRoom,
            CrossError::Address => Self::BadAddress,
            CrossError::Checksum => Self::BadChecksum,
        }
    }
}

/// An address as the entry of two families has it.
fn wide(ip: std::net::IpAddr) -> u128 {
    let ip = match ip {
        std::net::IpAddr::V4(a) => a.to_ipv6_mapped(),
        std::net::IpAddr::V6(a) => a,
    };
    u128::from_ne_bytes(ip.octets())
}

impl<A: Net> Entry<A> {
    /// Where packets of that direction go to, if the connection joins two families.
    pub(crate) fn leaves_to(&self, dir: Dir) -> Option<u128> {
        let joined = flags::LONG | flags::MODE;
        if !A::V6 || self.flags & joined != flags::LONG {
            // FullNAT is mode 0.
            return None;
        }
        let (client, server) = (wide(self.caddr().ip()), wide(self.daddr().ip()));
        let joins = unmap4(client).is_some() != unmap4(server).is_some();
        joins.then_some(if dir == Dir::In { server } else { client })
    }
}

/// What a packet of a connection may be at most on its way, and whether it may go in
/// pieces if it is larger.
pub(crate) fn room_for<A: Net>(
    entry: &Entry<A>,
    dir: Dir,
    data: &[u8],
    head: &Head,
    way: &Way,
) -> (u16, bool) {
    match entry.leaves_to(dir) {
        Some(dst) => room(dst, head, way),
        None => (way.mtu(), !A::V6 && data[L3 + 6] & 0x40 == 0),
    }
}

/// The same of one that joins the families, bound for `dst`, as the IPv6 packet it is.
fn room(dst: u128, head: &Head, way: &Way) -> (u16, bool) {
    if unmap4(dst).is_none() {
        return (way.mtu(), head.turned);
    }
    // The fragment header and others go as well.
    let less = usize::from(head.l4).saturating_sub(L3 + 20) as u16;
    let room = way.mtu().saturating_add(less.max(GROWTH));
    // Told is never less than what every IPv6 link takes.
    (room.max(MIN_MTU6), head.ip_len <= MIN_MTU6)
}

impl<F: Frame> Worker<F> {
    /// A connection to a server of the other family.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn create_cross<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        service: &Arc<Service>,
        dest: &Dest,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Result<Handle, Reason> {
        // An echo is kept as ICMPv6 has it, in both families.
        let echo = echo::is(A::V6, head.proto);
        if !echo && !matches!(head.proto, TCP | UDP | SCTP) {
            return Err(Reason::ModeUnsupported);
        }
        let (proto, dport, port) = if echo {
            let asked = echo::port(true);
            (ICMPV6, asked, u16::from_be(asked))
        } else {
            (head.proto, head.dport, dest.port)
        };
        let dest = &Dest { port, ..*dest };
        let (laddr, lport, pool) = if A::V6 {
            let (laddr, lport, pool) = self.local_port::<u32>(service, dest)?;
            (map4(laddr), lport, pool)
        } else {
            self.local_port::<u128>(service, dest)?
        };
        let data = frame.data();
        let (src, dst) = A::addrs(data);
        let client = Tuple {
            src: wide(src.ip()),
            dst: wide(dst.ip()),
            sport: head.sport,
            dport,
            proto,
        };
        let server = Tuple {
            src: wide(dest.addr),
            dst: laddr,
            sport: dest.port.to_be(),
            dport: lport.to_be(),
            proto,
        };
        let mut entry = Entry::<u128>::new_zeroed();
        entry.set_tuples(&client, &server);
        entry.set_deltas();
        entry.dest = dest.id.0;
        entry.flags = flags::EMBRYO | flags::LONG;
        entry.set_mode(FwdMode::FullNat);
        entry.set_duty(service, &snap.settings);
        if !A::V6 && head.proto == UDP && service.proxy.is_none() {
            // There is no UOA with an IPv4 address in an IPv6 packet.
            entry.flags &= !flags::CLIENT;
        }
        entry.pool = pool + 1;
        if snap.settings.fast_xmit {
            entry.hop = self.hop_back(from, data);
        }
        let hash = <u128 as Family>::hash(&self.conns, &client);
        self.keep(snap, service, dest, entry, hash, now, io)
    }

    /// The connection between the families that an IPv4 packet belongs to.
    #[cold]
    #[inline(never)]
    pub(crate) fn find_cross(&mut self, t: &Tuple<u32>) -> Option<Handle> {
        let t = Tuple {
            src: map4(t.src),
            dst: map4(t.dst),
            sport: t.sport,
            dport: t.dport,
            proto: t.proto,
        };
        self.conns.settle();
        let find = |t: &Tuple<u128>| self.conns.find(<u128 as Family>::hash(&self.conns, t), t);
        if t.proto != ICMP {
            return find(&t);
        }
        // As a request, else as a reply: one with that constant as identifier may be
        // either.
        let t = Tuple { proto: ICMPV6, ..t };
        let (four, six) = (echo::port(false), echo::port(true));
        let asked = (t.dport == four).then(|| find(&Tuple { dport: six, ..t }));
        asked
            .flatten()
            .or_else(|| (t.sport == four).then(|| find(&Tuple { sport: six, ..t }))?)
    }

    /// The connection between the families that a packet belongs to; `found` is the
    /// one of its own family.
    pub(crate) fn crossing<A: Net>(
        &mut self,
        found: Option<Handle>,
        t: &Tuple<A>,
    ) -> Option<Handle> {
        match found {
            Some(conn) => {
                let joins = A::entry(&self.conns, conn).leaves_to(conn.dir());
                joins.map(|_| conn)
            }
            None if A::V6 => None,
            None => self.find_cross(&crate::fragments::narrowed(t)?),
        }
    }

    /// An IPv4 packet (or first fragment) of such a connection.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn cross<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let entry = <u128 as Family>::entry(&self.conns, conn);
        if head.proto == TCP
            && begins_anew(
                snap,
                entry,
                conn.dir(),
                frame.data()[usize::from(head.l4) + 13],
            )
        {
            return self.anew::<u32, I>(snap, from, frame, head, conn, now, io);
        }
        let Some(head) = self.enter(snap, &mut frame, head, conn) else {
            return;
        };
        match head {
            Ok(head) => self.transit::<u128, I>(snap, from, frame, &head, conn, now, io),
            Err(told) => self.tell(snap, from, frame, told, now, io),
        }
    }

    /// Tells the sender of an IPv4 packet, which is as it came.
    pub(crate) fn tell<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        told: Told,
        now: Now,
        io: &mut I,
    ) {
        match told {
            Told::TooBig(mtu) => self.too_big(snap, from, frame, mtu, now, io),
            Told::Expired => self.time_exceeded(snap, from, frame, now, io),
        }
    }

    /// Makes an IPv4 packet of a connection the IPv6 packet it stands for. `None`:
    /// it was dropped; `Err`: its sender has to be told, in its own family.
    pub(crate) fn enter(
        &mut self,
        snap: &Snapshot,
        frame: &mut F,
        head: &Head,
        conn: Handle,
    ) -> Option<Result<Head, Told>> {
        let way = match self.conn_way::<u128>(snap, conn) {
            Ok(way) => way,
            Err(reason) => {
                self.drop(reason);
                return None;
            }
        };
        let data = frame.data();
        if snap.settings.xmit_ttl && data[L3 + 8] <= 1 {
            return Some(Err(Told::Expired));
        }
        let word = be16(data, L3 + 6);
        let growth = GROWTH
            + if word & 0x3fff != 0 {
                FRAGMENT as u16
            } else {
                0
            };
        if word & 0x4000 != 0 && head.ip_len.saturating_add(growth) > way.mtu() {
            let entry = <u128 as Family>::entry(&self.conns, conn);
            let grows = if conn.dir() == Dir::In {
                entry.growth()
            } else {
                0
            };
            let told = mtu_for_client(false, way.mtu().saturating_sub(growth).into(), grows);
            return Some(Err(Told::TooBig(told as u16)));
        }
        let turned = keep_macs(frame, cross::four_to_six);
        let l4 = match turned {
            Ok(l4) => l4,
            Err(e) => {
                self.drop(e.into());
                return None;
            }
        };
        let ip_len = be16(frame.data(), L3 + 4).saturating_add(40);
        Some(Ok(Head {
            kind: Kind::Flow6,
            proto: if head.proto == ICMP {
                ICMPV6
            } else {
                head.proto
            },
            l4: l4 as u16,
            ip_len,
            turned: true,
            src: head.ip_len.into(),
            ..*head
        }))
    }

    /// The inverse of `enter`: a packet between mapped addresses becomes the IPv4
    /// packet it stands for.
    pub(crate) fn leave(&mut self, frame: &mut F) -> Result<(), CrossError> {
        self.ident = self.ident.wrapping_add(1);
        let id = self.ident as u16;
        keep_macs(frame, |frame| cross::six_to_four(frame, id)).map(|_| ())
    }

    /// Sends a packet of a connection, in the family of the address it is to.
    pub(crate) fn send_conn<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        mut frame: F,
        way: &Way,
        now: Now,
        io: &mut I,
    ) {
        if cross::leaves_as_four(frame.data()) {
            self.ident = self.ident.wrapping_add(1);
            if let Err(e) = cross::six_to_four(&mut frame, self.ident as u16) {
                return self.drop(e.into());
            }
            let large = usize::from(be16(frame.data(), L3 + 2)) > usize::from(way.mtu());
            if large {
                return self.fragment4(&frame, way, snap, now, io);
            }
        } else if frame.data()[12..14] == [0x86, 0xdd]
            && usize::from(be16(frame.data(), L3 + 4)) + 40 > usize::from(way.mtu())
        {
            return self.fragment6(&frame, way, snap, now, io);
        }
        self.send_way(snap, frame, way, now, io);
    }

    /// Sends a packet of a connection, rewritten, which is `large` if it is to go in
    /// pieces.
    pub(crate) fn send_rewritten<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: F,
        way: &Way,
        large: bool,
        now: Now,
        io: &mut I,
    ) {
        if A::V6 {
            self.send_conn(snap, frame, way, now, io);
        } else if large {
            self.fragment4(&frame, way, snap, now, io);
        } else {
            self.send_way(snap, frame, way, now, io);
        }
    }

    /// Sends an IPv6 packet in pieces: one that came as IPv4 without DF (RFC 7915
    /// §4), or the outer one of a tunnel.
    pub(crate) fn fragment6<I: Io<Frame = F>>(
        &mut self,
        frame: &F,
        way: &Way,
        snap: &Snapshot,
        now: Now,
        io: &mut I,
    ) {
        let data = frame.data();
        let end = L3 + 40 + usize::from(be16(data, L3 + 4));
        self.ident = self.ident.wrapping_add(1);
        // One that is a fragment already is cut once more.
        let again = data[L3 + 6] == dpvs_wire::proto::FRAGMENT;
        let (next, word, id, body) = if again {
            let at = L3 + 40;
            let id = u32::from_be(ld32(data, at + 4));
            (data[at], be16(data, at + 2), id, at + FRAGMENT)
        } else {
            (data[L3 + 6], 0, self.ident, L3 + 40)
        };
        let room = usize::from(way.mtu()).saturating_sub(40 + FRAGMENT) & !7;
        if room == 0 || frame.total_len() < end {
            self.stats.ip6.frag_fails += 1;
            return self.drop(Reason::TooBig);
        }
        let mut at = body;
        while at < end {
            let n = room.min(end - at);
            let front = L3 + 40 + FRAGMENT;
            let Some(mut piece) = io.alloc() else {
                self.stats.ip6.frag_fails += 1;
                return self.drop(Reason::NoBuffer);
            };
            if !piece.push_back(front + n) {
                self.stats.ip6.frag_fails += 1;
                return self.drop(Reason::NoRoom);
            }
            let out = piece.data_mut();
            out[..L3 + 40].copy_from_slice(&data[..L3 + 40]);
            if !frame.read(at, &mut out[front..]) {
                self.stats.ip6.frag_fails += 1;
                return self.drop(Reason::Truncated);
            }
            out[L3 + 4..L3 + 6].copy_from_slice(&((FRAGMENT + n) as u16).to_be_bytes());
            out[L3 + 6] = dpvs_wire::proto::FRAGMENT;
            let more = at + n < end || word & 1 != 0;
            let offset = (word & 0xfff8) + (at - body) as u16;
            cross::write_fragment(&mut out[L3 + 40..front], next, offset | u16::from(more), id);
            self.stats.ip6.frag_creates += 1;
            self.stats.made += 1;
            self.send_way(snap, piece, way, now, io);
            at += n;
        }
        // One of them is the packet itself.
        self.stats.made -= 1;
        self.stats.ip6.frag_oks += 1;
    }

    /// An ICMP error about a packet of a connection between the families: `conn` is
    /// found by the quoted packet turned round. The other end gets one of its own
    /// family about the packet it sent. Takes the frame in any case.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn related_cross<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: &F,
        head: &Head,
        quote: Quoted,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let entry = *<u128 as Family>::entry(&self.conns, conn);
        let way = match self.conn_way::<u128>(snap, conn) {
            Ok(way) => way,
            Err(reason) => return self.drop(reason),
        };
        self.dests[entry.dest as usize].count(Dir::In, u64::from(head.ip_len));
        let dir = conn.dir();
        let other = 1 - dir as usize;
        // The quoted packet as the other end sent it; the error goes back to it.
        let ([src, dst], [sport, dport]) = (entry.addrs[other], entry.ports[other]);
        let data = frame.data();
        let l4 = usize::from(head.l4);
        let (typ, code) = (data[l4], data[l4 + 1]);
        let mut word = u32::from_be(ld32(data, l4 + 4));
        if dir == Dir::Out && tells_mtu(A::V6, data, l4) {
            let grows = <u128 as Family>::entry_mut(&mut self.conns, conn).spare_room();
            word = mtu_for_client(A::V6, word, grows);
        }
        let to4 = unmap4(src).is_some();
        if to4 != A::V6 {
            return self.drop(Reason::Consumed);
        }
        let mapped = if A::V6 {
            cross::error_to_four(typ, code, word)
        } else {
            let total = be16(data, quote.at + 2);
            cross::error_to_six(typ, code, word, total)
        };
        let Some((typ, code, word)) = mapped else {
            return self.drop(Reason::Consumed);
        };
        let (class, hops, body) = if A::V6 {
            let class = (be16(data, quote.at) >> 4) as u8;
            // Behind other headers, which IPv4 does not have.
            let others = (quote.l4 - quote.at - 40) as u16;
            let body = be16(data, quote.at + 4).saturating_sub(others);
            (class, data[quote.at + 7], body)
        } else {
            let body = be16(data, quote.at + 2).saturating_sub((quote.l4 - quote.at) as u16);
            (data[quote.at + 1], data[quote.at + 8], body)
        };
        let end = (L3 + usize::from(head.ip_len)).min(data.len());
        let mut rest = [0; 64];
        let have = (end - quote.l4).min(rest.len());
        rest[..have].copy_from_slice(&data[quote.l4..quote.l4 + have]);
        let mut proto = entry.proto;
        if proto == ICMPV6 {
            rest[0] = cross::echo_type(rest[0], !to4);
            let asked = matches!(rest[0], icmp::ECHO_REQUEST | icmpv6::ECHO_REQUEST);
            let id = if asked { sport } else { dport };
            rest[4..6].copy_from_slice(&id.to_ne_bytes());
            if to4 {
                proto = ICMP;
            }
        } else {
            rest[..2].copy_from_slice(&sport.to_ne_bytes());
            rest[2..4].copy_from_slice(&dport.to_ne_bytes());
        }
        let shifted = match dir {
            _ if entry.proto != TCP => 0,
            Dir::Out => entry.seq_delta,
            Dir::In => self.proxy_delta::<u128>(conn),
        };
        if shifted != 0 {
            let seq = u32::from_be(ld32(&rest, 4)).wrapping_sub(shifted);
            rest[4..8].copy_from_slice(&seq.to_be_bytes());
        }
        let rest = &rest[..have];
        let (outer, inner) = if to4 { (20, 20) } else { (40, 40) };
        let Some(mut new) = io.alloc() else {
            return self.drop(Reason::NoBuffer);
        };
        let size = L3 + outer + 8 + inner + rest.len();
        if !new.push_back(size) {
            return self.drop(Reason::NoRoom);
        }
        let out = new.data_mut();
        out.fill(0);
        let icmp = L3 + outer;
        let at = icmp + 8;
        let info = (class, hops, proto);
        if to4 {
            let (Some(s), Some(d)) = (unmap4(src), unmap4(dst)) else {
                return self.drop(Reason::BadAddress);
            };
            out[12..14].copy_from_slice(&dpvs_wire::eth::ETHERTYPE_IPV4.to_be_bytes());
            let total = body.saturating_add(20);
            cross::write4(&mut out[at..at + 20], info, total, (0, 0x4000), (s, d));
            let total = (size - L3) as u16;
            let kind = (0xc0, 64, dpvs_wire::proto::ICMP);
            cross::write4(&mut out[L3..L3 + 20], kind, total, (0, 0), (d, s));
        } else {
            out[12..14].copy_from_slice(&dpvs_wire::eth::ETHERTYPE_IPV6.to_be_bytes());
            cross::write6(&mut out[at..at + 40], info, body, (src, dst));
            let kind = (0, 64, dpvs_wire::proto::ICMPV6);
            let payload = (size - icmp) as u16;
            cross::write6(&mut out[L3..L3 + 40], kind, payload, (dst, src));
        }
        out[at + inner..].copy_from_slice(rest);
        out[icmp] = typ;
        out[icmp + 1] = code;
        out[icmp + 4..icmp + 8].copy_from_slice(&word.to_be_bytes());
        let sum = if to4 {
            crate::related::icmp_sum::<u32>(out, icmp, size)
        } else {
            crate::related::icmp_sum::<u128>(out, icmp, size)
        };
        out[icmp + 2..icmp + 4].copy_from_slice(&sum.to_be_bytes());
        self.send_way(snap, new, &way, now, io);
    }
}

/// Turns a frame, which shifts its front; it is still from and to where it was.
fn keep_macs<F: Frame>(
    frame: &mut F,
    turn: impl FnOnce(&mut F) -> Result<usize, CrossError>,
) -> Result<usize, CrossError> {
    let macs = frame.data().first_chunk::<12>().copied();
    let turned = turn(frame);
    if turned.is_ok()
        && let (Some(macs), Some(front)) = (macs, frame.data_mut().first_chunk_mut::<12>())
    {
        *front = macs;
    }
    turned
}

/// What the sender of an IPv4 packet has to be told.
pub(crate) enum Told {
    TooBig(u16),
    Expired,
}

/// Where an ICMP error has the packet it is about.
#[derive(Clone, Copy)]
pub(crate) struct Quoted {
    /// Its IP header.
    pub at: usize,
    /// Its ports.
    pub l4: usize,
}
