//! Ways out: next hops, neighbour requests, ICMP errors, fragments.
//!
//! The cold half of sending. Known flows with a resolved next hop never come
//! here.

use std::net::IpAddr;

use dpvs_wire::{checksum, eth, icmp, icmpv6};

use crate::frame::{Frame, Io, Now, PortId};
use crate::hops::{Egress, Hop};
use crate::inet::route::Route;
use crate::inet::{arp, icmp as icmp4, icmpv6 as icmp6, ndisc};
use crate::neigh::{Ask, Queued};
use crate::raw::L3;
use crate::snapshot::{Local, Port, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

/// Bytes of a packet an error may quote, with its Ethernet header.
const QUOTE: usize = L3 + icmp6::MAX_ERROR_LEN as usize;
/// Most bytes of a packet in one piece: what a buffer has room for behind the
/// largest header.
const PIECE: usize = 1920;

/// ICMP errors a worker sends in a second (RFC 1812 §4.3.2.8, RFC 4443 §2.4f).
const ICMP_PER_SECOND: u32 = 1000;

/// How a packet gets to its next hop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Resolved.
    Hop(Hop),
    /// The neighbour has to be asked for.
    Ask {
        port: PortId,
        next_hop: IpAddr,
        src: Option<IpAddr>,
        mtu: u16,
    },
    /// Through a tunnel.
    Tunnel { port: PortId, mtu: u16 },
    /// The destination is the kernel's, behind that port.
    Host { port: PortId, mtu: u16 },
}

impl Way {
    /// The same way, for packets of at most `mtu` bytes.
    pub(crate) fn at_most(self, limit: u16) -> Self {
        match self {
            Self::Hop(hop) => Self::Hop(hop.with_mtu(hop.mtu.min(limit))),
            Self::Ask {
                port,
                next_hop,
                src,
                mtu,
            } => Self::Ask {
                port,
                next_hop,
                src,
                mtu: mtu.min(limit),
            },
            Self::Tunnel { port, mtu } => Self::Tunnel {
                port,
                mtu: mtu.min(limit),
            },
            Self::Host { port, mtu } => Self::Host {
                port,
                mtu: mtu.min(limit),
            },
        }
    }

    pub(crate) fn mtu(&self) -> u16 {
        match self {
            Self::Hop(hop) => hop.mtu,
            Self::Ask { mtu, .. } | Self::Tunnel { mtu, .. } | Self::Host { mtu, .. } => *mtu,
        }
    }
}

impl Port {
    /// As the neighbour code needs it.
    pub(crate) fn egress(&self, port: PortId) -> Egress {
        Egress {
            port,
            mac: self.mac,
            mtu: self.mtu,
        }
    }

    /// Own address to ask for (or speak to) `peer` from, of its family: one that
    /// reaches beyond the link if the peer may be there (RFC 6724 rule 2), better one
    /// that is not deprecated (rule 3), better one in the same prefix (DPVS), of these
    /// the first.
    pub(crate) fn source_for(&self, peer: IpAddr) -> Option<IpAddr> {
        self.addrs
            .iter()
            .filter(|a| a.addr.is_ipv4() == peer.is_ipv4())
            .min_by_key(|a| {
                (
                    is_link_local(a.addr) != is_link_local(peer),
                    self.deprecated.contains(&a.addr),
                    !same_prefix(a.addr, peer, a.plen),
                )
            })
            .map(|a| a.addr)
    }

    /// The source a route names for packets to `peer`, unless there is a better one.
    pub(crate) fn source_or(&self, named: Option<IpAddr>, peer: IpAddr) -> Option<IpAddr> {
        named
            .filter(|s| s.is_ipv4() == peer.is_ipv4() && !self.deprecated.contains(s))
            .or_else(|| self.source_for(peer))
            .or(named)
    }
}

fn is_link_local(a: IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.is_unicast_link_local())
}

fn same_prefix(a: IpAddr, b: IpAddr, plen: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits())
                .checked_shr(32 - u32::from(plen.min(32)))
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits())
                .checked_shr(128 - u32::from(plen.min(128)))
                .unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

/// Takes one off TTL or hop limit; false if the packet must not go on.
pub(crate) fn decrement_ttl(data: &mut [u8]) -> bool {
    if data[12..14] == eth::ETHERTYPE_IPV4.to_be_bytes() {
        let ttl = data[L3 + 8];
        if ttl <= 1 {
            return false;
        }
        let old = u16::from_be_bytes([ttl, data[L3 + 9]]);
        let sum = u16::from_be_bytes([data[L3 + 10], data[L3 + 11]]);
        data[L3 + 8] = ttl - 1;
        let sum = checksum::update16(sum, old, old - 0x100);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        if data[L3 + 7] <= 1 {
            return false;
        }
        data[L3 + 7] -= 1;
    }
    true
}

impl<F: Frame> Worker<F> {
    /// The way to a destination, and the number of its hop (0 = not resolved yet).
    pub(crate) fn way(&mut self, snap: &Snapshot, dst: IpAddr) -> Result<(Way, u32), Reason> {
        let route = snap.fib.lookup(dst).ok_or(Reason::NoRoute)?;
        self.way_by(snap, route, route.gateway.unwrap_or(dst))
    }

    /// As [`Self::way`], for a destination that may be the kernel's.
    pub(crate) fn way_home(&mut self, snap: &Snapshot, dst: IpAddr) -> Result<(Way, u32), Reason> {
        if let Some(Local::Host { port }) = snap.locals.get(&dst) {
            let mtu = snap.ports.get(usize::from(port.0)).map_or(0, |p| p.mtu);
            return Ok((Way::Host { port: *port, mtu }, 0));
        }
        self.way(snap, dst)
    }

    /// The way by a route to this neighbour, see [`Self::way`].
    pub(crate) fn way_by(
        &mut self,
        snap: &Snapshot,
        route: &Route,
        next_hop: IpAddr,
    ) -> Result<(Way, u32), Reason> {
        let port = snap
            .ports
            .get(usize::from(route.port.0))
            .filter(|p| p.is_there())
            .ok_or(Reason::NoRoute)?;
        let mtu = route.mtu.min(port.mtu);
        if let Some(tunnel) = port.tunnel.as_deref() {
            return Ok((self.tunnel_way(snap, route.port, tunnel, mtu), 0));
        }
        if let Some(raw) = self.neighs.hop(route.port, next_hop)
            && let Some(hop) = self.neighs.hops.get(raw)
        {
            // A route's own MTU is not in the shared hop: such routes are looked
            // up for every packet.
            let keep = if mtu < hop.mtu { 0 } else { raw };
            return Ok((Way::Hop(hop.with_mtu(mtu)), keep));
        }
        Ok((
            Way::Ask {
                port: route.port,
                next_hop,
                src: route.src,
                mtu,
            },
            0,
        ))
    }

    /// Sends a frame whose Ethernet type is set.
    pub(crate) fn send_way<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        mut frame: F,
        way: &Way,
        now: Now,
        io: &mut I,
    ) {
        if !matches!(way, Way::Host { .. }) {
            self.stats.leaves(&frame);
        }
        match *way {
            Way::Hop(hop) => {
                frame.data_mut()[..12].copy_from_slice(&hop.macs);
                io.send(hop.port, frame);
            }
            Way::Ask {
                port,
                next_hop,
                src,
                ..
            } => {
                let limit = snap.settings.unres_queue;
                match self
                    .neighs
                    .queue(port, next_hop, src, frame, limit, now.millis())
                {
                    Queued::Waiting(None) => {}
                    Queued::Waiting(Some(ask)) => self.ask(snap, &ask, io),
                    Queued::Dropped(ask) => {
                        self.drop(Reason::NeighUnresolved);
                        if let Some(ask) = ask {
                            self.ask(snap, &ask, io);
                        }
                    }
                }
            }
            Way::Tunnel { port, .. } => self.send_tunnel(snap, port, frame, now, io),
            Way::Host { port, .. } => self.bring_host(snap, port, frame, io),
        }
    }

    /// Routes and sends a packet made here (its Ethernet type is set).
    pub(crate) fn output<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: F,
        dst: IpAddr,
        now: Now,
        io: &mut I,
    ) {
        match self.way_home(snap, dst) {
            Ok((way, _)) => self.send_way(snap, frame, &way, now, io),
            Err(reason) => self.drop(reason),
        }
    }

    /// Sends what a received packet was turned into: by the routes, and without one
    /// back to the MAC address it came from.
    pub(crate) fn answer<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        dst: IpAddr,
        mac: [u8; 6],
        now: Now,
        io: &mut I,
    ) {
        match self.way_home(snap, dst) {
            Ok((way, _)) => self.send_way(snap, frame, &way, now, io),
            Err(_) => {
                let data = frame.data_mut();
                data[..6].copy_from_slice(&mac);
                data[6..12].copy_from_slice(&from.mac);
                self.stats.leaves(&frame);
                io.send(from.port, frame);
            }
        }
    }

    /// Asks a neighbour for its MAC address.
    pub(crate) fn ask<I: Io<Frame = F>>(&mut self, snap: &Snapshot, ask: &Ask, io: &mut I) {
        let Some(port) = snap.ports.get(usize::from(ask.port.0)) else {
            return;
        };
        // Not by an address that has left us: who has it now would lose it again.
        let named = ask.src.filter(|s| snap.locals.get(s).is_some());
        let src = port.source_or(named, ask.target);
        let mut buf = [0; 128];
        let len = match (ask.target, src) {
            (IpAddr::V4(target), src) => {
                // Without an address of our own we ask as a probe (RFC 5227) does.
                let spa = match src {
                    Some(IpAddr::V4(a)) => a,
                    _ => std::net::Ipv4Addr::UNSPECIFIED,
                };
                arp::write_request(&mut buf, port.mac, spa, target)
            }
            (IpAddr::V6(target), src) => {
                let src = match src {
                    Some(IpAddr::V6(a)) => a,
                    _ => ndisc::link_local(port.mac),
                };
                ndisc::write_solicit(&mut buf, port.mac, src, target)
            }
        };
        if let Some(len) = len {
            self.send_bytes(ask.port, &buf[..len], io);
        }
    }

    /// Sends a frame built here.
    pub(crate) fn send_bytes<I: Io<Frame = F>>(&mut self, port: PortId, bytes: &[u8], io: &mut I) {
        self.stats.made += 1;
        let Some(mut frame) = io.alloc() else {
            return self.drop(Reason::NoBuffer);
        };
        if !frame.push_back(bytes.len()) {
            return self.drop(Reason::NoRoom);
        }
        frame.data_mut()[..bytes.len()].copy_from_slice(bytes);
        self.stats.leaves(&frame);
        io.send(port, frame);
    }

    /// Announces an own address: gratuitous ARP or unsolicited advertisement.
    pub(crate) fn announce<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        addr: IpAddr,
        io: &mut I,
    ) {
        let Some(p) = snap.ports.get(usize::from(port.0)) else {
            return;
        };
        let mut buf = [0; 128];
        let len = match addr {
            IpAddr::V4(a) => arp::write_gratuitous(&mut buf, p.mac, a),
            IpAddr::V6(a) => ndisc::write_unsolicited(&mut buf, p.mac, a),
        };
        if let Some(len) = len {
            self.send_bytes(port, &buf[..len], io);
        }
    }

    /// True while the rate limit lets another ICMP error out. Those that tell an MTU
    /// have a limit of their own: who makes others come due must not end the discovery
    /// of path MTUs.
    fn icmp_allowed(&mut self, tells_mtu: bool, now: Now) -> bool {
        let second = now.millis() / 1000;
        if self.icmp_sent.0 != second {
            self.icmp_sent = (second, [0; 2]);
        }
        let sent = &mut self.icmp_sent.1[usize::from(tells_mtu)];
        *sent += 1;
        *sent <= ICMP_PER_SECOND
    }

    pub(crate) fn time_exceeded<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        now: Now,
        io: &mut I,
    ) {
        let types = ((icmp::TIME_EXCEEDED, 0), (icmpv6::TIME_EXCEEDED, 0));
        self.icmp_error(snap, from, frame, types, 0, Reason::TtlExceeded, now, io);
    }

    pub(crate) fn too_big<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        mtu: u16,
        now: Now,
        io: &mut I,
    ) {
        let types = (
            (icmp::UNREACHABLE, icmp::FRAG_NEEDED),
            (icmpv6::PACKET_TOO_BIG, 0),
        );
        self.icmp_error(
            snap,
            from,
            frame,
            types,
            u32::from(mtu),
            Reason::TooBig,
            now,
            io,
        );
    }

    /// Turns a packet into an error to its source; it counts as dropped for
    /// `reason`, or for the rate limit of errors.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn icmp_error<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        types: ((u8, u8), (u8, u8)),
        info: u32,
        reason: Reason,
        now: Now,
        io: &mut I,
    ) {
        let tells_mtu = types.0 == (icmp::UNREACHABLE, icmp::FRAG_NEEDED);
        if !self.icmp_allowed(tells_mtu, now) {
            return self.drop(Reason::IcmpLimited);
        }
        self.drop(reason);
        if reason == Reason::TooBig {
            self.stats.no_way(&frame, reason);
        }
        let _ = frame.pull_up(QUOTE);
        let data = frame.data();
        let mut mac = [0; 6];
        mac.copy_from_slice(&data[6..12]);
        let v4 = data[12..14] == eth::ETHERTYPE_IPV4.to_be_bytes();
        let (src, dst) = if v4 {
            let (s, d) = <u32 as crate::raw::Net>::addrs(data);
            (crate::raw::Net::ip(s), crate::raw::Net::ip(d))
        } else {
            let (s, d) = <u128 as crate::raw::Net>::addrs(data);
            (crate::raw::Net::ip(s), crate::raw::Net::ip(d))
        };
        // From the address that was spoken to if it is ours, else from one on the
        // port the packet came in by.
        let own = match snap.locals.get(&dst) {
            Some(Local::Own { .. }) => Some(dst),
            _ => snap
                .ports
                .get(usize::from(from.port.0))
                .and_then(|p| p.source_for(src)),
        };
        let (done, ethertype) = match own {
            Some(IpAddr::V4(own)) if v4 => {
                let (typ, code) = types.0;
                let done = icmp4::error_in_place(&mut frame, L3, own, typ, code, info, from.mtu);
                (done, eth::ETHERTYPE_IPV4)
            }
            Some(IpAddr::V6(own)) if !v4 => {
                let (typ, code) = types.1;
                let done = icmp6::error_in_place(&mut frame, L3, own, typ, code, info, from.mtu);
                (done, eth::ETHERTYPE_IPV6)
            }
            _ => (false, 0),
        };
        if done {
            frame.data_mut()[12..14].copy_from_slice(&ethertype.to_be_bytes());
            self.stats.made += 1;
            self.answer(snap, from, frame, src, mac, now, io);
        }
    }

    /// Sends an IPv4 packet without DF that is larger than the way's MTU in
    /// pieces (RFC 791). Options stay in the first one only.
    pub(crate) fn fragment4<I: Io<Frame = F>>(
        &mut self,
        frame: &F,
        way: &Way,
        snap: &Snapshot,
        now: Now,
        io: &mut I,
    ) {
        self.pieces4(frame, way.mtu(), io, |worker, piece, io| {
            worker.send_way(snap, piece, way, now, io);
        });
    }

    /// Makes an IPv4 packet into pieces of at most `mtu` bytes, and has each sent.
    pub(crate) fn pieces4<I: Io<Frame = F>>(
        &mut self,
        frame: &F,
        mtu: u16,
        io: &mut I,
        mut send: impl FnMut(&mut Self, F, &mut I),
    ) {
        let data = frame.data();
        let header = usize::from(data[L3] & 0x0f) * 4;
        let len = usize::from(u16::from_be_bytes([data[L3 + 2], data[L3 + 3]]));
        let room = usize::from(mtu).saturating_sub(header) & !7;
        let room = room.min(PIECE);
        if room < 8 || frame.total_len() < L3 + len {
            self.stats.ip4.frag_fails += 1;
            return self.drop(Reason::TooBig);
        }
        let first = u16::from_be_bytes([data[L3 + 6], data[L3 + 7]]);
        let mut at = L3 + header;
        while at < L3 + len {
            let head = if at == L3 + header { header } else { 20 };
            let n = room.min(L3 + len - at);
            let Some(mut piece) = io.alloc() else {
                self.stats.ip4.frag_fails += 1;
                return self.drop(Reason::NoBuffer);
            };
            if !piece.push_back(L3 + head + n) {
                self.stats.ip4.frag_fails += 1;
                return self.drop(Reason::NoRoom);
            }
            let out = piece.data_mut();
            out[..L3 + head].copy_from_slice(&data[..L3 + head]);
            if !frame.read(at, &mut out[L3 + head..]) {
                self.stats.ip4.frag_fails += 1;
                return self.drop(Reason::Truncated);
            }
            out[L3] = 0x40 | (head / 4) as u8;
            out[L3 + 2..L3 + 4].copy_from_slice(&((head + n) as u16).to_be_bytes());
            let offset = (first & 0x1fff) + ((at - L3 - header) / 8) as u16;
            let more = at + n < L3 + len || first & 0x2000 != 0;
            let word = offset | if more { 0x2000 } else { 0 };
            out[L3 + 6..L3 + 8].copy_from_slice(&word.to_be_bytes());
            out[L3 + 10..L3 + 12].fill(0);
            let sum = !checksum::sum(&out[L3..L3 + head]);
            out[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
            self.stats.ip4.frag_creates += 1;
            self.stats.made += 1;
            send(self, piece, io);
            at += n;
        }
        // One of them is the packet itself.
        self.stats.made -= 1;
        self.stats.ip4.frag_oks += 1;
    }
}
