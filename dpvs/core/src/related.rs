//! ICMP errors about packets of a connection (DPVS facts §18).
//!
//! A router between us and an end complains about a packet as we sent it. The
//! error is turned into one about the packet as the other end sent it, so that
//! path-MTU discovery works through FullNAT: outer addresses, quoted addresses,
//! quoted ports and the quoted sequence number are translated back.

use dpvs_wire::checksum::{self, Delta};
use dpvs_wire::{icmp, icmpv6, ipv6, proto};

use crate::conn::table::Tuple;
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::Head;
use crate::proto::Dir;
use crate::raw::{L3, Net, be16, ld16, st16};
use crate::service::{FwdMode, ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::nat64::Quoted;
use crate::xmit::uoa;

/// Bytes of an ICMP header, IPv4 and IPv6 alike.
const HEADER: usize = 8;

/// Errors that tell an end something about its own packets.
fn is_translated(v6: bool, typ: u8) -> bool {
    if v6 {
        matches!(
            typ,
            icmpv6::UNREACHABLE | icmpv6::PACKET_TOO_BIG | icmpv6::TIME_EXCEEDED
        )
    } else {
        matches!(
            typ,
            icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED
        )
    }
}

/// Whether an error says what fits on a link.
pub(crate) fn tells_mtu(v6: bool, data: &[u8], l4: usize) -> bool {
    match (v6, data.get(l4), data.get(l4 + 1)) {
        (true, Some(&typ), _) => typ == icmpv6::PACKET_TOO_BIG,
        (false, Some(&typ), Some(&code)) => (typ, code) == (icmp::UNREACHABLE, icmp::FRAG_NEEDED),
        _ => false,
    }
}

/// The MTU a client is told of a link of `mtu` bytes, so that its packets fit after
/// they have grown by `by` bytes here. Never less than every link takes, unless the
/// router said so itself.
///
/// DIFFERS: DPVS passes the MTU on as it is, so that a client whose first data is
/// large sends packets that grow out of it again and again.
pub(crate) fn mtu_for_client(v6: bool, mtu: u32, by: u16) -> u32 {
    let least = if v6 { 1280 } else { 68 };
    if mtu <= least {
        return mtu;
    }
    mtu.saturating_sub(by.into()).max(least)
}

/// Lowers the MTU in the header of an ICMP error; its checksum is for later.
fn lower_mtu(v6: bool, header: &mut [u8], by: u16) {
    if by == 0 {
        return;
    }
    // The second half of an IPv4 one's word, the other is of no use (RFC 1191).
    let at = if v6 { 4 } else { 6 };
    let old = header[at..].iter().take(8 - at);
    let old = old.fold(0, |n, byte| n << 8 | u32::from(*byte));
    let new = mtu_for_client(v6, old, by).to_be_bytes();
    header[at..8].copy_from_slice(&new[at - 4..]);
}

/// What is quoted of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    pub(crate) proto: u8,
    /// Offset of its transport header.
    pub(crate) l4: usize,
}

/// The packet quoted at `at`, if there is enough of it to tell a connection by:
/// eight bytes behind its headers, RFC 792 promises no more. Of a datagram in
/// fragments only the first one has them.
pub(crate) fn quoted(v6: bool, data: &[u8], at: usize) -> Option<Quote> {
    let (proto, l4) = if v6 {
        let upper = ipv6::walk(*data.get(at + 6)?, data.get(at + ipv6::HEADER_LEN..)?).ok()?;
        if !upper.is_start() {
            return None;
        }
        (upper.protocol, at + upper.offset)
    } else {
        let first = *data.get(at)?;
        let fragment = u16::from_be_bytes([*data.get(at + 6)?, *data.get(at + 7)?]) & 0x1fff;
        if first >> 4 != 4 || first & 0x0f < 5 || fragment != 0 {
            return None;
        }
        (*data.get(at + 9)?, at + usize::from(first & 0x0f) * 4)
    };
    (l4 + 8 <= data.len()).then_some(Quote { proto, l4 })
}

/// The packet of a connection that an ICMP error is about, turned round: as the error's
/// sender would have answered it. `None` if it is no such error.
pub(crate) fn about<A: Net>(data: &[u8], l4: usize, end: usize) -> Option<Tuple<A>> {
    let data = data.get(..end)?;
    if !is_translated(A::V6, *data.get(l4)?) {
        return None;
    }
    let inner = l4 + HEADER;
    let mut quote = quoted(A::V6, data, inner)?;
    if quote.proto == uoa::OPP {
        let len = uoa::header_len(data.get(quote.l4..)?)?;
        quote = Quote {
            proto: UDP,
            l4: quote.l4 + usize::from(len),
        };
    }
    data.get(quote.l4..quote.l4 + 8)?;
    // An error goes to who sent the packet; anything else is made up.
    let tuple: Tuple<A> = quote.turned(data, inner)?;
    (tuple.dst == A::addrs(data).1).then_some(tuple)
}

/// Length of the UOA header in a sound error about a datagram that had one.
fn uoa_quoted<A: Net, F: Frame>(frame: &F, l4: usize, end: usize) -> Option<u16> {
    let data = frame.data().get(..end)?;
    if !is_translated(A::V6, *data.get(l4)?) {
        return None;
    }
    let quote = quoted(A::V6, data, l4 + HEADER)?;
    if quote.proto != uoa::OPP || icmp_sum::<A>(data, l4, end) != 0 {
        return None;
    }
    let len = uoa::header_len(data.get(quote.l4..)?)?;
    (quote.l4 + usize::from(len) + 8 <= end).then_some(len)
}

/// Takes that header out: no client knows of it. Says where the message ends now.
#[cold]
fn without_uoa<A: Net, F: Frame>(frame: &mut F, l4: usize, end: usize, len: u16) -> usize {
    let at = l4 + HEADER;
    let Some(quote) = quoted(A::V6, frame.data(), at) else {
        return end;
    };
    let data = frame.data_mut();
    data.copy_within(quote.l4 + usize::from(len)..end, quote.l4);
    let end = end - usize::from(len);
    for ip in [L3, at] {
        let shorter = |data: &mut [u8], at: usize| {
            let n = be16(data, at).wrapping_sub(len);
            data[at..at + 2].copy_from_slice(&n.to_be_bytes());
        };
        if A::V6 {
            shorter(data, ip + 4);
        } else {
            // What was wrong with a quoted header stays wrong.
            let before = Delta::new().sub_bytes(&data[ip + 2..ip + 10]);
            shorter(data, ip + 2);
            if ip == at {
                data[ip + 9] = UDP;
            }
            let sum = before
                .add_bytes(&data[ip + 2..ip + 10])
                .apply(be16(data, ip + 10));
            data[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
    }
    if A::V6 {
        data[at + 6] = UDP;
    }
    data[l4 + 2..l4 + 4].fill(0);
    let sum = icmp_sum::<A>(data, l4, end);
    data[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
    frame.truncate(end);
    end
}

impl Quote {
    /// Source and destination port, raw; those of an echo are its id and a
    /// constant ([`crate::parse`]).
    pub(crate) fn ports(self, data: &[u8]) -> Option<(u16, u16)> {
        let l4 = self.l4;
        match self.proto {
            TCP | UDP | SCTP => Some((ld16(data, l4), ld16(data, l4 + 2))),
            ICMP | ICMPV6 => {
                let (request, reply) = echo_types(self.proto);
                let (id, other) = (ld16(data, l4 + 4), (u16::from(request) << 8).to_be());
                match data[l4] {
                    t if t == request => Some((id, other)),
                    t if t == reply => Some((other, id)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The packet quoted at `at`, turned round.
    fn turned<A: Net>(self, data: &[u8], at: usize) -> Option<Tuple<A>> {
        let (sport, dport) = self.ports(data)?;
        // Its addresses are found as if its header stood at L3.
        let (src, dst) = A::addrs(&data[at - L3..]);
        Some(Tuple {
            src: dst,
            dst: src,
            sport: dport,
            dport: sport,
            proto: self.proto,
        })
    }

    /// Puts other ports in, as [`Quote::ports`] has them.
    fn set_ports(self, data: &mut [u8], (sport, dport): (u16, u16)) {
        if matches!(self.proto, ICMP | ICMPV6) {
            let request = data[self.l4] == echo_types(self.proto).0;
            st16(data, self.l4 + 4, if request { sport } else { dport });
        } else {
            st16(data, self.l4, sport);
            st16(data, self.l4 + 2, dport);
        }
    }
}

/// Request and reply.
fn echo_types(proto: u8) -> (u8, u8) {
    if proto == ICMP {
        (icmp::ECHO_REQUEST, icmp::ECHO_REPLY)
    } else {
        (icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY)
    }
}

/// Whether the checksum of an ICMP message is right.
pub(crate) fn icmp_is_sound<A: Net>(data: &[u8], l4: usize, end: usize) -> bool {
    icmp_sum::<A>(data, l4, end) == 0
}

/// The checksum an ICMP message should have, with a zero in its field or the
/// right one (then 0).
pub(crate) fn icmp_sum<A: Net>(data: &[u8], l4: usize, end: usize) -> u16 {
    let body = checksum::sum(&data[l4..end]);
    if !A::V6 {
        return !body;
    }
    let addrs = checksum::sum(&data[L3 + 8..L3 + 40]);
    let len = checksum::combine((end - l4) as u16, u16::from(proto::ICMPV6));
    !checksum::combine(body, checksum::combine(addrs, len))
}

impl<F: Frame> Worker<F> {
    /// Translates an ICMP error and sends it on; gives the frame back if it is
    /// none or belongs to no connection.
    pub(crate) fn related<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let (l4, mut end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
        let _ = frame.pull_up(end);
        let mut head = *head;
        if let Some(len) = uoa_quoted::<A, F>(&frame, l4, end) {
            end = without_uoa::<A, F>(&mut frame, l4, end, len);
            head.ip_len -= len;
        }
        let head = &head;
        let data = frame.data();
        if end > data.len() || l4 + HEADER > end || !is_translated(A::V6, data[l4]) {
            return Some(frame);
        }
        let inner = l4 + HEADER;
        let Some(quote) = quoted(A::V6, &data[..end], inner) else {
            return Some(frame);
        };
        // An error goes to who sent the packet; anything else is made up.
        if A::addrs(data).1 != A::addrs(&data[inner - L3..]).0 {
            return Some(frame);
        }
        let Some(tuple) = quote.turned::<A>(data, inner) else {
            let quote = (quote.proto, quote.l4);
            let frame = self.tunnel_error::<A, I>(snap, from, frame, head, quote, now, io)?;
            self.tell_of_path::<A, I>(snap, from, &frame, head, quote, now, io);
            return Some(frame);
        };
        let proto = quote.proto;
        let hash = A::hash(&self.conns, &tuple);
        self.conns.settle();
        let found = self.conns.find(hash, &tuple);
        let found = found.map(|conn| self.conns.preferred(conn, hash, &tuple));
        if snap.services.crosses()
            && let Some(conn) = self.crossing(found, &tuple)
        {
            if icmp_sum::<A>(data, l4, end) != 0 {
                self.drop(Reason::BadChecksum);
                return None;
            }
            let quoted = Quoted {
                at: inner,
                l4: quote.l4,
            };
            self.related_cross::<A, I>(snap, &frame, head, quoted, conn, now, io);
            return None;
        }
        let Some(conn) = found else {
            if proto != UDP {
                return self.error_elsewhere::<A, A, I>(snap, from, frame, head, &tuple, now, io);
            }
            // Of our own: a tunnel's, unless another worker has the connection.
            let quote = (quote.proto, quote.l4);
            frame = self.tunnel_error::<A, I>(snap, from, frame, head, quote, now, io)?;
            frame = self.error_elsewhere::<A, A, I>(snap, from, frame, head, &tuple, now, io)?;
            self.tell_of_path::<A, I>(snap, from, &frame, head, quote, now, io);
            return Some(frame);
        };
        if icmp_sum::<A>(data, l4, end) != 0 {
            self.drop(Reason::BadChecksum);
            return None;
        }
        let entry = A::entry(&self.conns, conn);
        if entry.is_direct() {
            if conn.dir() == Dir::Out {
                return Some(frame);
            }
            // About a packet the server sent past us: its own to deal with.
            self.dests[entry.dest as usize].count(Dir::In, u64::from(head.ip_len));
            self.xmit_whole::<A, I>(snap, from, frame, head, conn, now, io);
            return None;
        }
        let way = match self.conn_way::<A>(snap, conn) {
            Ok(way) => way,
            Err(reason) => {
                self.drop(reason);
                return None;
            }
        };
        let entry = A::entry(&self.conns, conn);
        let l3 = Delta::from_bits(entry.l3_delta);
        // Where the server sees clients' addresses it sees the router's, too.
        let towards = match entry.mode() {
            FwdMode::FullNat => entry.laddr(),
            _ => A::addrs(data).0,
        };
        let (outer, quotes, quoted_ports, l3) = match conn.dir() {
            Dir::In => (
                (towards, entry.daddr()),
                (entry.daddr(), entry.laddr()),
                (entry.dport(), entry.lport()),
                l3,
            ),
            Dir::Out => (
                (entry.vaddr(), entry.caddr()),
                (entry.caddr(), entry.vaddr()),
                (entry.cport(), entry.vport()),
                l3.inverse(),
            ),
        };
        let seq_delta = match conn.dir() {
            _ if proto != TCP => 0,
            Dir::Out => entry.seq_delta,
            Dir::In => self.proxy_delta::<A>(conn),
        };
        let grows = if conn.dir() == Dir::Out && tells_mtu(A::V6, data, l4) {
            A::entry_mut(&mut self.conns, conn).spare_room()
        } else {
            0
        };
        let entry = A::entry(&self.conns, conn);
        // As from the client, whoever sent it (as DPVS).
        self.dests[entry.dest as usize].count(Dir::In, u64::from(head.ip_len));

        let data = frame.data_mut();
        let (old_src, old_dst) = A::addrs(data);
        let mut change = Delta::new();
        change = outer.0.add_to(change);
        change = outer.1.add_to(change);
        change = old_src.sub_from(change);
        change = old_dst.sub_from(change);
        A::set_addrs(data, outer.0, outer.1, change);
        A::set_addrs(&mut data[inner - L3..], quotes.0, quotes.1, l3);
        quote.set_ports(data, quoted_ports);
        if seq_delta != 0 {
            let mut seq = [0; 4];
            seq.copy_from_slice(&data[quote.l4 + 4..quote.l4 + 8]);
            let seq = u32::from_be_bytes(seq).wrapping_sub(seq_delta);
            data[quote.l4 + 4..quote.l4 + 8].copy_from_slice(&seq.to_be_bytes());
        }
        lower_mtu(A::V6, &mut data[l4..l4 + HEADER], grows);
        data[l4 + 2..l4 + 4].fill(0);
        let sum = icmp_sum::<A>(data, l4, end);
        data[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
        self.send_way(snap, frame, &way, now, io);
        None
    }
}
