//! What a worker does with tunnel devices: packets into them and out of them.
//!
//! A route to a tunnel gives [`Way::Tunnel`], with an MTU that outer headers fit
//! under; what is sent that way is encapsulated and routed once more. What comes in
//! for one of our addresses as protocol 4 or 47 is taken out and goes through the
//! pipeline again, as received by the tunnel. Ports never come here on their short
//! way.

use std::net::{IpAddr, Ipv4Addr};

use dpvs_wire::gre::Gre;
use dpvs_wire::ipv4::Ipv4;
use dpvs_wire::{eth, icmp, icmpv6, proto};

use crate::egress::Way;
use crate::frame::{BURST, Frame, Io, Now, PortId, empty_burst};
use crate::hops::Egress;
use crate::inet::encap::{self, Inner, Outer4};
use crate::inet::tunnel::{Kind, Tunnel};
use crate::raw::L3;
use crate::snapshot::{Port, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

/// Tunnels in tunnels that are taken out of each other.
const NESTED: usize = 4;

impl<F: Frame> Worker<F> {
    /// The way of packets that a route sends to a tunnel.
    #[cold]
    pub(crate) fn tunnel_way(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        tunnel: &Tunnel,
        mtu: u16,
    ) -> Way {
        let outer = match self.outer_way(snap, tunnel) {
            Ok(way) => way.mtu().min(self.paths.mtu(tunnel.remote.into())),
            Err(_) => mtu,
        };
        Way::Tunnel {
            port,
            mtu: mtu.min(outer.saturating_sub(tunnel.overhead())),
        }
    }

    /// The way to the other end, which must not lead into a tunnel again.
    fn outer_way(&mut self, snap: &Snapshot, tunnel: &Tunnel) -> Result<Way, Reason> {
        if tunnel.remote.is_unspecified() {
            return Err(Reason::Tunnel);
        }
        let remote = IpAddr::V4(tunnel.remote);
        let route = snap.fib.lookup(remote).ok_or(Reason::NoRoute)?;
        let port = snap.ports.get(usize::from(route.port.0));
        let port = port.ok_or(Reason::NoRoute)?;
        if port.tunnel.is_some() || tunnel.link.is_some_and(|link| link != route.port) {
            return Err(Reason::Tunnel);
        }
        Ok(self.way(snap, remote)?.0)
    }

    /// Sends a packet through a tunnel.
    #[cold]
    #[inline(never)]
    pub(crate) fn send_tunnel<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        mut frame: F,
        now: Now,
        io: &mut I,
    ) {
        let device = snap.ports.get(usize::from(port.0));
        let Some(tunnel) = device.and_then(|p| p.tunnel.as_deref()) else {
            return self.drop(Reason::NoRoute);
        };
        let way = match self.outer_way(snap, tunnel) {
            Ok(way) => way,
            Err(reason) => return self.drop(reason),
        };
        let Some(inner) = Inner::read(frame.data()) else {
            return self.drop(Reason::Tunnel);
        };
        self.paths.know(tunnel.remote.into());
        let len = frame.total_len().saturating_sub(L3) as u64;
        let outer = Outer4 {
            src: self.tunnel_source(snap, tunnel, &way),
            dst: tunnel.remote,
            tos: if tunnel.tos == 1 {
                inner.tos
            } else {
                tunnel.tos
            },
            ttl: if tunnel.ttl == 0 {
                inner.ttl
            } else {
                tunnel.ttl
            },
            df: inner.df,
            id: self.next_ident(),
            proto: match tunnel.kind {
                Kind::Ipip => proto::IPIP,
                Kind::Gre => proto::GRE,
            },
        };
        let done = match tunnel.kind {
            Kind::Ipip if inner.v6 => return self.drop(Reason::Tunnel),
            Kind::Ipip => encap::push4(&mut frame, &outer, 0),
            Kind::Gre => {
                let gre = Gre {
                    csum: tunnel.output.csum,
                    key: tunnel.output.key,
                    seq: tunnel.output.seq.then(|| io.next_seq(port)),
                    ethertype: inner.ethertype(),
                };
                let room = encap::push4(&mut frame, &outer, gre.len());
                if room {
                    encap::write_gre(&mut frame, L3 + 20, &gre);
                }
                room
            }
        };
        if !done {
            return self.drop(Reason::NoRoom);
        }
        io.sent(port, 1, len);
        if frame.total_len() - L3 > usize::from(way.mtu()) {
            if outer.df {
                return self.drop(Reason::TooBig);
            }
            return self.fragment4(&frame, &way, snap, now, io);
        }
        self.send_way(snap, frame, &way, now, io);
    }

    /// The tunnel's own end, or an address of the port its packets go out by.
    fn tunnel_source(&self, snap: &Snapshot, tunnel: &Tunnel, way: &Way) -> Ipv4Addr {
        if !tunnel.local.is_unspecified() {
            return tunnel.local;
        }
        let port = match way {
            Way::Hop(hop) => hop.port,
            Way::Ask { port, .. } | Way::Tunnel { port, .. } | Way::Host { port, .. } => *port,
        };
        let port: Option<&Port> = snap.ports.get(usize::from(port.0));
        match port.and_then(|p| p.source_for(IpAddr::V4(tunnel.remote))) {
            Some(IpAddr::V4(src)) => src,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Identification of the next outer packet.
    pub(crate) fn next_ident(&mut self) -> u16 {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.ip_id
    }

    /// A packet of protocol 4 or 47 for one of our addresses: kept for
    /// [`Worker::process_inner`] if it belongs to a tunnel, else given back.
    #[cold]
    #[inline(never)]
    pub(crate) fn receive_tunnel<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let (kind, local, remote, l4) = match Ipv4::new_checked(&frame.data()[L3..]) {
            Ok(ip) if ip.protocol() == proto::IPIP => {
                (Kind::Ipip, ip.dst(), ip.src(), L3 + ip.header_len())
            }
            Ok(ip) if ip.protocol() == proto::GRE => {
                (Kind::Gre, ip.dst(), ip.src(), L3 + ip.header_len())
            }
            _ => return Some(frame),
        };
        if !snap.tunnels.has(kind) {
            return Some(frame);
        }
        let gre = match kind {
            Kind::Ipip => Gre {
                ethertype: eth::ETHERTYPE_IPV4,
                ..Gre::default()
            },
            Kind::Gre => match Gre::parse(frame.data().get(l4..).unwrap_or_default()) {
                Ok(gre) => gre,
                Err(_) => {
                    self.drop(Reason::Malformed);
                    return None;
                }
            },
        };
        let Some(port) = snap.tunnels.find(kind, local, remote, gre.key) else {
            if kind == Kind::Ipip {
                return Some(frame);
            }
            // As DPVS, and as a host without that protocol.
            let types = (
                (icmp::UNREACHABLE, icmp::PORT_UNREACHABLE),
                (icmpv6::UNREACHABLE, 0),
            );
            self.icmp_error(snap, from, frame, types, 0, Reason::Tunnel, now, io);
            return None;
        };
        let device = snap.ports.get(usize::from(port.0));
        let Some(tunnel) = device.and_then(|p| p.tunnel.as_deref()) else {
            return Some(frame);
        };
        let mut header = l4 - L3;
        if kind == Kind::Gre {
            header += gre.len();
            // Both ends have the same options, or nothing passes (RFC 2784 2.1).
            let wrong =
                tunnel.input.csum != gre.csum || gre.csum && encap::sum_from(&frame, l4) != 0xffff;
            let late = tunnel.input.seq && !gre.seq.is_some_and(|seq| io.in_order(port, seq));
            if wrong || late {
                self.drop(if wrong {
                    Reason::BadChecksum
                } else {
                    Reason::Tunnel
                });
                return None;
            }
        }
        let ip = [eth::ETHERTYPE_IPV4, eth::ETHERTYPE_IPV6].contains(&gre.ethertype);
        if !ip || self.inner.len() >= BURST || !encap::pull(&mut frame, header, gre.ethertype) {
            self.drop(Reason::Tunnel);
            return None;
        }
        // Addressed to the device, which has no MAC address.
        frame.data_mut()[..12].fill(0);
        let len = frame.total_len().saturating_sub(L3) as u64;
        io.received(port, 1, len);
        self.inner.push((port, Some(frame)));
        None
    }

    /// Handles what was taken out of tunnels, device by device.
    #[cold]
    #[inline(never)]
    pub(crate) fn process_inner<I: Io<Frame = F>>(&mut self, now: Now, io: &mut I) {
        if self.nested {
            // The outermost call goes on.
            return;
        }
        self.nested = true;
        let handed = std::mem::take(&mut self.handed);
        for _ in 0..NESTED {
            if self.inner.is_empty() {
                break;
            }
            // Two lists that change places, so that none is made anew.
            let mut opened = std::mem::take(&mut self.opened);
            std::mem::swap(&mut opened, &mut self.inner);
            for at in 0..opened.len() {
                let device = opened[at].0;
                let (mut group, mut n) = (empty_burst(), 0);
                for (port, frame) in &mut opened[at..] {
                    if *port == device && frame.is_some() {
                        group[n] = frame.take();
                        n += 1;
                    }
                }
                if n > 0 {
                    self.process_port(device, &mut group, n, now, io);
                }
            }
            opened.clear();
            self.opened = opened;
        }
        while self.inner.pop().is_some() {
            self.drop(Reason::Tunnel);
        }
        self.handed = handed;
        self.nested = false;
    }
}
