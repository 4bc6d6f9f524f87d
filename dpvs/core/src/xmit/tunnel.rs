//! Tunnels: a packet goes to its server inside another one (facts §12.2).
//!
//! IP in IP (RFC 2003, 2473, 4213), GRE (RFC 2784) and generic UDP encapsulation
//! in Linux's form (draft-ietf-intarea-gue, private flags for the remote checksum),
//! each over IPv4 and IPv6 for packets of either family. The server takes the
//! wrapping off and answers the client itself. [`wrap`] is bytes in, bytes out.

use std::net::IpAddr;

use dpvs_wire::gre::Gre;
use dpvs_wire::{checksum, proto};

use crate::egress::Way;
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::inet::cross::MIN_MTU6;
use crate::inet::encap::{Inner, Outer4, Outer6, push4, push6, sum_from, write_gre};
use crate::parse::Head;
use crate::raw::{L3, Net};
use crate::service::{TCP, Tunnel, TunnelCsum, TunnelKind, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;

const UDP_HEADER: usize = 8;
const GUE_HEADER: usize = 4;
/// Private flags and the two offsets of the remote checksum.
const GUE_REMOTE: usize = 8;
/// GUE's flag "private flags follow", Linux's private flag of the remote checksum.
const GUE_PRIVATE: u16 = 1;
const GUE_PRIVATE_REMOTE: u32 = 1 << 31;
const IP4: usize = 20;
const IP6: usize = 40;

/// What is put around a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) tunnel: Tunnel,
    /// Identification, of IPv4.
    pub(crate) id: u16,
    /// Tells flows apart, in the source port of GUE.
    pub(crate) hash: u64,
    /// The packet's checksum is left to the receiver: where its transport header
    /// is, and how far behind that its checksum, counted from the packet's start.
    pub(crate) remote: Option<(u16, u16)>,
    /// It may be larger than the link then: the outer packet goes in pieces.
    pub(crate) pieces: bool,
}

/// Bytes between the outer IP header and the packet.
fn shim(kind: TunnelKind, csum: TunnelCsum, remote: bool) -> usize {
    match kind {
        TunnelKind::Ip => 0,
        TunnelKind::Gue if remote => UDP_HEADER + GUE_HEADER + GUE_REMOTE,
        TunnelKind::Gue => UDP_HEADER + GUE_HEADER,
        TunnelKind::Gre if csum == TunnelCsum::None => 4,
        TunnelKind::Gre => 8,
    }
}

/// Bytes a tunnel adds at most.
fn overhead(tunnel: Tunnel, outer_v6: bool) -> usize {
    let remote = tunnel.csum == TunnelCsum::Remote;
    let ip = if outer_v6 { IP6 } else { IP4 };
    ip + shim(tunnel.kind, tunnel.csum, remote)
}

/// Puts the outer headers in front of the packet of a frame (Ethernet first) and
/// sets the Ethernet type; false without room.
pub(crate) fn wrap<F: Frame>(frame: &mut F, outer: &Outer) -> bool {
    let Some(inner) = Inner::read(frame.data()) else {
        return false;
    };
    let Tunnel { kind, csum, .. } = outer.tunnel;
    let proto = match kind {
        TunnelKind::Ip => inner.proto(),
        TunnelKind::Gue => UDP,
        TunnelKind::Gre => proto::GRE,
    };
    let shim = shim(kind, csum, outer.remote.is_some());
    let (done, at) = match (outer.src, outer.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = Outer4 {
                src,
                dst,
                tos: if inner.v6 { 0 } else { inner.tos },
                ttl: inner.ttl,
                df: inner.df && !outer.pieces,
                id: outer.id,
                proto,
            };
            (push4(frame, &header, shim), L3 + IP4)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Outer6 {
                src,
                dst,
                class: inner.tos,
                flow: inner.flow,
                hops: inner.ttl,
                proto,
            };
            (push6(frame, &header, shim), L3 + IP6)
        }
        _ => (false, 0),
    };
    if !done {
        return false;
    }
    match kind {
        TunnelKind::Ip => true,
        TunnelKind::Gre => {
            let gre = Gre {
                csum: csum != TunnelCsum::None,
                ethertype: inner.ethertype(),
                ..Gre::default()
            };
            write_gre(frame, at, &gre);
            true
        }
        TunnelKind::Gue => write_gue(frame, at, &inner, outer),
    }
}

fn write_gue<F: Frame>(frame: &mut F, at: usize, inner: &Inner, outer: &Outer) -> bool {
    let len = frame.total_len() - at;
    let Ok(len16) = u16::try_from(len) else {
        return false;
    };
    let data = frame.data_mut();
    // Ports of nobody (RFC 6335), one for each flow.
    let sport = 0xc000 | (outer.hash as u16 & 0x3fff);
    data[at..at + 2].copy_from_slice(&sport.to_be_bytes());
    data[at + 2..at + 4].copy_from_slice(&outer.tunnel.port.to_be_bytes());
    data[at + 4..at + 6].copy_from_slice(&len16.to_be_bytes());
    data[at + 6..at + 8].fill(0);
    let gue = at + UDP_HEADER;
    data[gue + 1] = inner.proto();
    if let Some((start, offset)) = outer.remote {
        data[gue] = (GUE_REMOTE / 4) as u8;
        data[gue + 2..gue + 4].copy_from_slice(&GUE_PRIVATE.to_be_bytes());
        data[gue + 4..gue + 8].copy_from_slice(&GUE_PRIVATE_REMOTE.to_be_bytes());
        data[gue + 8..gue + 10].copy_from_slice(&start.to_be_bytes());
        data[gue + 10..gue + 12].copy_from_slice(&offset.to_be_bytes());
    } else {
        data[gue] = 0;
        data[gue + 2..gue + 4].fill(0);
    }
    if outer.tunnel.csum != TunnelCsum::None {
        let body = sum_from(frame, at);
        let pseudo = match (outer.src, outer.dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => checksum::pseudo_v4(s, d, UDP, len16),
            (IpAddr::V6(s), IpAddr::V6(d)) => checksum::pseudo_v6(s, d, UDP, len as u32),
            _ => return false,
        };
        let sum = !checksum::combine(pseudo, body);
        let sum = if sum == 0 { 0xffff } else { sum };
        frame.data_mut()[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

/// Leaves the checksum of a TCP or UDP packet to the receiver: its field gets the
/// pseudo header's sum alone. `None`, and nothing changed, for a packet without
/// one, or with a wrong one (which the receiver would make right).
fn make_remote<F: Frame, A: Net>(frame: &mut F, head: &Head) -> Option<(u16, u16)> {
    let l4 = usize::from(head.l4);
    let end = L3 + usize::from(head.ip_len);
    let field = match head.proto {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    if !frame.pull_up(end) {
        return None;
    }
    let data = frame.data_mut();
    let is_fragment = !A::V6 && u16::from_be_bytes([data[L3 + 6], data[L3 + 7]]) & 0x3fff != 0;
    if is_fragment || end < l4 + field + 2 || data[l4 + field..l4 + field + 2] == [0; 2] {
        return None;
    }
    let (src, dst) = A::addrs(data);
    let len = end - l4;
    let pseudo = match (src.ip(), dst.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => checksum::pseudo_v4(s, d, head.proto, len as u16),
        (IpAddr::V6(s), IpAddr::V6(d)) => checksum::pseudo_v6(s, d, head.proto, len as u32),
        _ => return None,
    };
    if checksum::combine(pseudo, checksum::sum(&data[l4..end])) != 0xffff {
        return None;
    }
    data[l4 + field..l4 + field + 2].copy_from_slice(&pseudo.to_be_bytes());
    let start = (l4 - L3) as u16;
    Some((start, start + field as u16))
}

impl<F: Frame> Worker<F> {
    /// Sends a packet through a tunnel to the server `dst`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn xmit_tunnel<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        dst: IpAddr,
        tunnel: Tunnel,
        now: Now,
        io: &mut I,
    ) {
        let (way, src) = match self.way_out(snap, dst, true) {
            Ok((way, Some(src))) => (way.at_most(self.paths.mtu(dst)), src),
            Ok(_) => return self.drop(Reason::NoRoute),
            Err(reason) => return self.no_way_out(snap, from, frame, dst, reason, io),
        };
        let overhead = overhead(tunnel, dst.is_ipv6()) as u16;
        let mtu = way.mtu().saturating_sub(overhead);
        let mut outer = Outer {
            src,
            dst,
            tunnel,
            id: 0,
            hash: head.hash >> 32,
            remote: None,
            pieces: head.ip_len > mtu,
        };
        // DIFFERS: what any IPv6 link takes goes through, over a small one in pieces
        // (RFC 2473 §7.1); DPVS tells the client of less, which it need not heed.
        let least = if A::V6 { MIN_MTU6 } else { 0 };
        if head.ip_len > mtu.max(least) {
            if A::V6 || frame.data()[L3 + 6] & 0x40 != 0 {
                return self.too_big(snap, from, frame, mtu.max(least), now, io);
            }
            outer.pieces = false;
            // DIFFERS: DPVS wraps it and sends the wrapping in pieces; so the
            // server's tunnel need not join them.
            return self.pieces4(&frame, mtu, io, |worker, piece, io| {
                worker.send_wrapped(snap, piece, &mut outer, &way, now, io);
            });
        }
        if tunnel.kind == TunnelKind::Gue && tunnel.csum == TunnelCsum::Remote {
            outer.remote = make_remote::<F, A>(&mut frame, head);
        }
        self.send_wrapped(snap, frame, &mut outer, &way, now, io);
    }

    fn send_wrapped<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        mut frame: F,
        outer: &mut Outer,
        way: &Way,
        now: Now,
        io: &mut I,
    ) {
        self.ip_id = self.ip_id.wrapping_add(1);
        outer.id = self.ip_id;
        if !wrap(&mut frame, outer) {
            self.drop(Reason::NoRoom);
        } else if !outer.pieces {
            self.send_way(snap, frame, way, now, io);
        } else if outer.dst.is_ipv6() {
            self.fragment6(&frame, way, snap, now, io);
        } else {
            self.fragment4(&frame, way, snap, now, io);
        }
    }
}
