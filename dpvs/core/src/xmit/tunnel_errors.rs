//! ICMP errors about packets that were sent through a tunnel.
//!
//! A router between us and a server complains to us about the outer packet. Its
//! client has to hear of it, or path-MTU discovery ends in the tunnel (RFC 2003
//! §4, RFC 2473 §8): the error is made anew, about the packet inside as far as it
//! is quoted, with the MTU less what the tunnel adds.

use std::net::IpAddr;

use dpvs_wire::gre::Gre;
use dpvs_wire::{eth, icmp, icmpv6, proto};

use crate::conn::table::Tuple;
use crate::frame::{BURST, Frame, Io, Now};
use crate::hops::Egress;
use crate::inet::tunnel::Kind;
use crate::inet::{encap, icmp as icmp4, icmpv6 as icmp6};
use crate::parse::Head;
use crate::proto::Dir;
use crate::raw::{L3, Net, be16};
use crate::related::{icmp_is_sound, quoted, tells_mtu};
use crate::service::{FwdMode, UDP};
use crate::snapshot::{Local, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

/// The packet a quoted outer packet carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Where it starts in the frame.
    at: usize,
    v6: bool,
}

/// Finds what a quoted packet with that protocol carried; `l4` is what follows its
/// IP header.
pub(crate) fn inside(proto: u8, l4: usize, data: &[u8]) -> Option<Inside> {
    let (at, kind) = match proto {
        proto::IPIP | proto::IPV6 => (l4, proto),
        proto::GRE => {
            let gre = Gre::parse(data.get(l4..)?).ok()?;
            let kind = match gre.ethertype {
                eth::ETHERTYPE_IPV4 => proto::IPIP,
                eth::ETHERTYPE_IPV6 => proto::IPV6,
                _ => return None,
            };
            (l4 + gre.len(), kind)
        }
        UDP => {
            let gue = data.get(l4 + 8..)?.first_chunk::<4>()?;
            // Version 0, no control message; the length counts words.
            (gue[0] & 0xe0 == 0).then_some(())?;
            (l4 + 12 + usize::from(gue[0]) * 4, gue[1])
        }
        _ => return None,
    };
    let v6 = match (data.get(at)? >> 4, kind) {
        (4, proto::IPIP) => false,
        (6, proto::IPV6) => true,
        _ => return None,
    };
    let header = if v6 { 40 } else { 20 };
    (data.len() >= at + header).then_some(Inside { at, v6 })
}

/// The MTU an error tells of.
fn mtu<A: Net>(data: &[u8], l4: usize) -> u32 {
    if A::V6 {
        u32::from_be_bytes([data[l4 + 4], data[l4 + 5], data[l4 + 6], data[l4 + 7]])
    } else {
        u32::from(be16(data, l4 + 6))
    }
}

/// Whether an error about a packet of that protocol, which may be a tunnel's, tells of
/// an MTU.
fn tells_of_path<A: Net>(quoted: u8, data: &[u8], l4: usize) -> bool {
    matches!(quoted, proto::IPIP | proto::IPV6 | proto::GRE | UDP) && tells_mtu(A::V6, data, l4)
}

impl<F: Frame> Worker<F> {
    /// An error that quotes an outer packet; gives the frame back if it is none.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn tunnel_error<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        quote: (u8, usize),
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let l4 = usize::from(head.l4);
        let end = L3 + usize::from(head.ip_len);
        let data = &frame.data()[..end];
        let own = snap.locals.get(&A::addrs(data).1.ip());
        if !matches!(own, Some(Local::Own { .. })) {
            return Some(frame);
        }
        // The quoted packet's destination is the server.
        let server = A::addrs(&data[l4 + 8 - L3..]).1.ip();
        let told = tells_of_path::<A>(quote.0, data, l4);
        if told && icmp_is_sound::<A>(data, l4, end) {
            self.paths.learn(server, mtu::<A>(data, l4), now.millis());
        }
        let Some(inside) = inside(quote.0, quote.1, data) else {
            if told && self.handed {
                // One of the copies for all.
                self.drop(Reason::Consumed);
                return None;
            }
            return Some(frame);
        };
        let frame = if A::V6 {
            frame
        } else {
            self.device_error(snap, frame, head, quote, inside)?
        };
        if inside.v6 {
            self.tunnel_error_of::<A, u128, I>(snap, from, frame, head, inside, server, now, io)
        } else {
            self.tunnel_error_of::<A, u32, I>(snap, from, frame, head, inside, server, now, io)
        }
    }

    /// An error that is nobody else's and quotes too little of an outer packet: the
    /// other workers' packets to that server fare no better.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn tell_of_path<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: &F,
        head: &Head,
        quote: (u8, usize),
        now: Now,
        io: &mut I,
    ) {
        if self.handed || self.conf.workers < 2 {
            return;
        }
        let data = &frame.data()[..L3 + usize::from(head.ip_len)];
        let own = snap.locals.get(&A::addrs(data).1.ip());
        if matches!(own, Some(Local::Own { .. }))
            && tells_of_path::<A>(quote.0, data, usize::from(head.l4))
            && inside(quote.0, quote.1, data).is_none()
        {
            self.copy_to_all(from, frame, now, io);
        }
    }

    /// Of a tunnel device: what the error says of the MTU goes on as if a router in the
    /// tunnel had said it. Gives the frame back if it is no such error.
    fn device_error(
        &mut self,
        snap: &Snapshot,
        mut frame: F,
        head: &Head,
        quote: (u8, usize),
        inside: Inside,
    ) -> Option<F> {
        let (l4, end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
        let data = &frame.data()[..end];
        let (kind, key) = match quote.0 {
            proto::IPIP => (Kind::Ipip, None),
            proto::GRE => match Gre::parse(data.get(quote.1..).unwrap_or_default()) {
                Ok(gre) => (Kind::Gre, gre.key),
                Err(_) => return Some(frame),
            },
            _ => return Some(frame),
        };
        let mtu = u32::from(be16(data, l4 + 6));
        let (IpAddr::V4(local), IpAddr::V4(remote)) = ({
            let (src, dst) = u32::addrs(&data[l4 + 8 - L3..]);
            (src.ip(), dst.ip())
        }) else {
            return Some(frame);
        };
        let port = snap.tunnels.find(kind, local, remote, key);
        let device = port.and_then(|port| snap.ports.get(usize::from(port.0)));
        let (Some(port), Some(device)) = (port, device) else {
            return Some(frame);
        };
        if !tells_mtu(false, data, l4) || mtu == 0 {
            return Some(frame);
        }
        if !icmp_is_sound::<u32>(data, l4, end) {
            self.drop(Reason::BadChecksum);
            return None;
        }
        let (least, ethertype) = if inside.v6 {
            (1280, eth::ETHERTYPE_IPV6)
        } else {
            (68, eth::ETHERTYPE_IPV4)
        };
        let mtu = mtu.saturating_sub((inside.at - l4 - 8) as u32).max(least);
        let sender = if inside.v6 {
            u128::addrs(&data[inside.at - L3..]).0.ip()
        } else {
            u32::addrs(&data[inside.at - L3..]).0.ip()
        };
        let own = device.source_for(sender);
        frame.truncate(end);
        let done = encap::pull(&mut frame, inside.at - L3, ethertype)
            && match own {
                Some(IpAddr::V6(own)) => {
                    let typ = icmpv6::PACKET_TOO_BIG;
                    icmp6::error_in_place(&mut frame, L3, own, typ, 0, mtu, device.mtu)
                }
                own => {
                    let own = match own {
                        Some(IpAddr::V4(own)) => own,
                        _ => local,
                    };
                    let (typ, code) = (icmp::UNREACHABLE, icmp::FRAG_NEEDED);
                    !inside.v6
                        && icmp4::error_in_place(&mut frame, L3, own, typ, code, mtu, device.mtu)
                }
            };
        if !done || self.inner.len() >= BURST {
            self.drop(Reason::Tunnel);
            return None;
        }
        let data = frame.data_mut();
        // As what comes out of the tunnel.
        data[..12].fill(0);
        data[12..14].copy_from_slice(&ethertype.to_be_bytes());
        self.inner.push((port, Some(frame)));
        None
    }

    /// `A` is the family of the outer packet, `B` that of the one inside.
    #[allow(clippy::too_many_arguments)]
    fn tunnel_error_of<A: Net, B: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        inside: Inside,
        server: IpAddr,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let (l4, end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
        let data = &frame.data()[..end];
        let Some(quote) = quoted(B::V6, data, inside.at) else {
            return Some(frame);
        };
        let Some((sport, dport)) = quote.ports(data) else {
            return Some(frame);
        };
        let (src, dst) = B::addrs(&data[inside.at - L3..]);
        let tuple = Tuple {
            src,
            dst,
            sport,
            dport,
            proto: quote.proto,
        };
        let hash = B::hash(&self.conns, &tuple);
        self.conns.settle();
        let Some(conn) = self.conns.find(hash, &tuple) else {
            return self.error_elsewhere::<A, B, I>(snap, from, frame, head, &tuple, now, io);
        };
        let entry = B::entry(&self.conns, conn);
        if conn.dir() != Dir::In || entry.mode() != FwdMode::Tunnel || entry.outer().0 != server {
            return Some(frame);
        }
        if !icmp_is_sound::<A>(data, l4, end) {
            self.drop(Reason::BadChecksum);
            return None;
        }
        let typ = data[l4];
        let wrapping = (inside.at - l4 - 8) as u32;
        let mtu = mtu::<A>(data, l4);
        let too_big = tells_mtu(A::V6, data, l4);
        let (types, info) = if too_big {
            // What no link's MTU can be says nothing about the packet inside.
            let least = if B::V6 { 1280 } else { 68 };
            (
                (
                    (icmp::UNREACHABLE, icmp::FRAG_NEEDED),
                    (icmpv6::PACKET_TOO_BIG, 0),
                ),
                mtu.saturating_sub(wrapping).max(least),
            )
        } else if typ
            == if A::V6 {
                icmpv6::TIME_EXCEEDED
            } else {
                icmp::TIME_EXCEEDED
            }
        {
            // The outer TTL is the packet's own.
            (((icmp::TIME_EXCEEDED, 0), (icmpv6::TIME_EXCEEDED, 0)), 0)
        } else {
            // Host, and address unreachable.
            (((icmp::UNREACHABLE, 1), (icmpv6::UNREACHABLE, 3)), 0)
        };
        // As from the client, whoever sent it (as DPVS counts errors).
        self.dests[entry.dest as usize].count(Dir::In, u64::from(head.ip_len));
        let ethertype = if B::V6 {
            eth::ETHERTYPE_IPV6
        } else {
            eth::ETHERTYPE_IPV4
        };
        // As if the client's packet came in now: without a route the error goes
        // where that one came from.
        let mut from = *from;
        if let Some(hop) = self.neighs.hops.get(entry.hop)
            && let Some(port) = snap.ports.get(usize::from(hop.port.0))
        {
            from = port.egress(hop.port);
            frame.data_mut()[6..12].copy_from_slice(&hop.macs[..6]);
        }
        frame.truncate(end);
        if encap::pull(&mut frame, inside.at - L3, ethertype) {
            self.icmp_error(snap, &from, frame, types, info, Reason::Consumed, now, io);
        } else {
            self.drop(Reason::NoRoom);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every wrapping there is, and what only looks like one.
    #[test]
    fn finds_the_packet_inside() {
        let v4 = |shim: &[u8]| [shim, &[0x45], &[0; 27]].concat();
        let v6 = |shim: &[u8]| [shim, &[0x60], &[0; 47]].concat();
        let found = |at, v6| Some(Inside { at, v6 });
        assert_eq!(inside(4, 0, &v4(&[])), found(0, false));
        assert_eq!(inside(41, 0, &v6(&[])), found(0, true));
        assert_eq!(inside(4, 0, &v6(&[])), None);
        assert_eq!(inside(47, 0, &v4(&[0, 0, 8, 0])), found(4, false));
        let gre_csum = [0x80, 0, 0x86, 0xdd, 1, 2, 0, 0];
        assert_eq!(inside(47, 0, &v6(&gre_csum)), found(8, true));
        assert_eq!(inside(47, 0, &v4(&[0, 0, 8, 6])), None);
        let gue = [0, 1, 0, 2, 0, 3, 0, 0, 0, 41, 0, 0];
        assert_eq!(inside(17, 0, &v6(&gue)), found(12, true));
        let remote = [
            0, 1, 0, 2, 0, 3, 9, 9, 2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36,
        ];
        assert_eq!(inside(17, 0, &v4(&remote)), found(20, false));
        assert_eq!(inside(17, 0, &[0; 11]), None);
        assert_eq!(inside(6, 0, &v4(&[])), None);
        assert_eq!(inside(4, 0, &v4(&[])[..19]), None);
    }
}
