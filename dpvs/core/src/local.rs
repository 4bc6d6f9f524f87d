//! What is not a service's: own addresses, the kernel's, and plain forwarding
//! (DPVS facts §4, §5, §21, §24).
//!
//! Own addresses answer ARP, neighbour solicitations and echo requests; the rest
//! of what reaches them is the kernel's, as are unknown protocols, groups,
//! addresses with a `kni_host` route and destinations without a route.

use std::net::{IpAddr, Ipv6Addr};

use dpvs_wire::proto;

use crate::fragment::fragment_header;
use crate::frame::{Frame, Io, Now, PortId};
use crate::hops::Egress;
use crate::inet::{Echo, arp, icmp, icmpv6, ndisc};
use crate::parse::{Cast, Head, Kind};
use crate::raw::{L3, Net};
use crate::snapshot::{Local, Mac, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

/// OSPF goes to the kernel before anything else looks at it.
const OSPF: u8 = 89;

/// Ethernet type of LLDP (IEEE 802.1AB).
const LLDP: [u8; 2] = [0x88, 0xcc];
/// Longest frame of it.
const LLDP_MAX: usize = 1514;
/// Things heard that the master is told of in a second.
const HEARD_PER_SECOND: u32 = 64;

/// Neighbours the others are told of in a millisecond at most.
const TOLD_PER_MS: u32 = 16;

impl<F: Frame> Worker<F> {
    /// A sound frame that belongs to no connection.
    #[inline(never)]
    pub(crate) fn deliver<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        match head.kind {
            Kind::Arp => self.arp(snap, from, frame, now, io),
            Kind::Ip4 | Kind::Flow4 => self.ip4(snap, from, frame, head, now, io),
            Kind::Ip6 | Kind::Flow6 => self.ip6(snap, from, frame, head, now, io),
            Kind::Other if snap.settings.lldp && frame.data()[12..14] == LLDP => {
                self.lldp(from.port, &frame, now, io);
            }
            Kind::Other => self.give_host(snap, from.port, frame, io),
            Kind::Bad => self.drop(head.reason),
        }
    }

    /// A neighbour on the link says who it is.
    fn lldp<I: Io<Frame = F>>(&mut self, port: PortId, frame: &F, now: Now, io: &mut I) {
        self.drop(Reason::Consumed);
        let mut bytes = vec![0; frame.total_len().min(LLDP_MAX)];
        if self.may_report(now) && frame.read(0, &mut bytes) {
            io.report(crate::message::FromWorker::Lldp {
                port,
                frame: bytes.into(),
            });
        }
    }

    /// Whether the master is told of something heard: neighbours say it twice a
    /// minute, more is not meant for us.
    fn may_report(&mut self, now: Now) -> bool {
        if self.heard.0 != now.millis() / 1000 {
            self.heard = (now.millis() / 1000, 0);
        }
        self.heard.1 += 1;
        self.heard.1 <= HEARD_PER_SECOND
    }

    /// Somebody else may have an own address (RFC 4862 §5.4).
    fn duplicate<I: Io<Frame = F>>(
        &mut self,
        from: &Egress,
        addr: IpAddr,
        frame: &F,
        now: Now,
        io: &mut I,
    ) {
        // Not our own words, come back.
        if source_mac(frame.data()) != from.mac && self.may_report(now) {
            io.report(crate::message::FromWorker::Duplicate {
                port: from.port,
                addr,
            });
        }
    }

    fn arp<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        now: Now,
        io: &mut I,
    ) {
        let Some(packet) = arp::parse(frame.data()) else {
            return self.drop(Reason::Malformed);
        };
        let spa = IpAddr::V4(packet.spa);
        let own = |addr| matches!(snap.locals.get(&addr), Some(Local::Own { port, .. }) if *port == from.port);
        if good_mac(packet.sha) && !packet.spa.is_unspecified() && !own(spa) {
            // Known neighbours are kept fresh by whatever they say (RFC 826); new
            // ones come from replies to us only.
            let ours = packet.op == arp::REPLY && own(IpAddr::V4(packet.tpa));
            if ours || self.neighs.knows(from.port, spa) {
                self.learn(snap, from, spa, packet.sha, ours, now, io);
            }
        }
        if packet.op == arp::REQUEST && own(IpAddr::V4(packet.tpa)) {
            self.drop(Reason::Consumed);
            if arp::reply_in_place(frame.data_mut(), from.mac) {
                self.stats.made += 1;
                io.send(from.port, frame);
            }
            return;
        }
        self.give_host(snap, from.port, frame, io);
    }

    /// A neighbour told its MAC address: packets that waited leave. The other workers
    /// hear of it if it is news or, since one of them may have asked, an `answer`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn learn<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        egress: &Egress,
        addr: IpAddr,
        mac: Mac,
        answer: bool,
        now: Now,
        io: &mut I,
    ) {
        let news = self.learn_quietly(snap, egress, addr, mac, false, now, io);
        if (news || answer) && self.may_tell(now) {
            io.report(crate::message::FromWorker::NeighLearned {
                worker: self.id(),
                port: egress.port,
                addr,
                mac,
            });
        }
    }

    /// Whether the others are told of a neighbour: forged ones must not fill the
    /// master's queue.
    fn may_tell(&mut self, now: Now) -> bool {
        if self.told.0 != now.millis() {
            self.told = (now.millis(), 0);
        }
        self.told.1 += 1;
        self.conf.workers > 1 && self.told.1 <= TOLD_PER_MS
    }

    /// As `learn`, without telling the others; true if it is news.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn learn_quietly<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        egress: &Egress,
        addr: IpAddr,
        mac: Mac,
        permanent: bool,
        now: Now,
        io: &mut I,
    ) -> bool {
        let secs = snap.settings.neigh_timeout;
        let (waiting, news) = self
            .neighs
            .learn(*egress, addr, mac, permanent, secs, now.millis());
        for mut frame in waiting {
            let data = frame.data_mut();
            data[..6].copy_from_slice(&mac);
            data[6..12].copy_from_slice(&egress.mac);
            io.send(egress.port, frame);
        }
        news
    }

    fn ip4<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        if head.kind == Kind::Ip4 {
            self.stats.arrives(false, head.ip_len);
        }
        if head.proto == OSPF {
            return self.give_host(snap, from.port, frame, io);
        }
        let data = frame.data();
        let fragment = u16::from_be_bytes([data[L3 + 6], data[L3 + 7]]) & 0x3fff != 0;
        let IpAddr::V4(dst) = <u32 as Net>::addrs(data).1.ip() else {
            return;
        };
        if head.proto == proto::ICMP && head.cast == Cast::Host && !fragment {
            match self.related::<u32, I>(snap, from, frame, head, now, io) {
                Some(back) => frame = back,
                None => return,
            }
        }
        let echoes = head.kind == Kind::Ip4 && snap.services.wants_echo();
        if echoes && head.proto == proto::ICMP && head.cast == Cast::Host && !fragment {
            match self.echo_flow::<u32, I>(snap, from, frame, head, now, io) {
                Some(back) => frame = back,
                None => return,
            }
        }
        let local = snap.locals.get(&IpAddr::V4(dst));
        let kernels = matches!(local, Some(Local::Host { .. }));
        if fragment && !kernels && head.kind == Kind::Ip4 {
            if snap.settings.frag_max == 0 {
                return self.drop(Reason::Fragment);
            }
            if head.cast == Cast::Host {
                return self.fragment::<u32, I>(snap, from, frame, head, now, io);
            }
        }
        match local {
            Some(Local::Own { .. }) if head.proto == proto::ICMP && !fragment => {
                let mac = source_mac(frame.data());
                let src = <u32 as Net>::addrs(frame.data()).0.ip();
                let _ = frame.pull_up(frame.total_len());
                match icmp::echo_reply_in_place(&mut frame, L3) {
                    Echo::Replied => {
                        self.stats.ip4.in_delivers += 1;
                        self.answer(snap, from, frame, src, mac, now, io);
                    }
                    Echo::BadChecksum => self.drop(Reason::BadChecksum),
                    Echo::NotEcho => self.give_stray(snap, from.port, frame, io),
                }
            }
            Some(Local::Own { .. })
                if matches!(head.proto, proto::IPIP | proto::GRE) && !snap.tunnels.is_empty() =>
            {
                if fragment {
                    // A part of a wrapping packet is none: whatever is in it must not
                    // be taken for a packet inside.
                    return self.drop(Reason::Fragment);
                }
                if let Some(back) = self.receive_tunnel(snap, from, frame, now, io) {
                    self.give_stray(snap, from.port, back, io);
                }
            }
            Some(Local::Own { .. }) => self.give_stray(snap, from.port, frame, io),
            Some(Local::Host { port }) => self.give_host_of(snap, from.port, *port, frame, io),
            None if head.cast == Cast::Multi || dst.is_multicast() || dst.is_broadcast() => {
                self.stats.ip4.in_mcast_pkts += 1;
                self.give_host(snap, from.port, frame, io);
            }
            None => {
                let on = snap.settings.forward4;
                self.forward(snap, from, frame, IpAddr::V4(dst), head, on, now, io);
            }
        }
    }

    fn ip6<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        if head.kind == Kind::Ip6 {
            self.stats.arrives(true, head.ip_len);
        }
        if snap.settings.ipv6_off {
            return self.drop(Reason::Ipv6Off);
        }
        let (src, dst) = <u128 as Net>::addrs(frame.data());
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (src.ip(), dst.ip()) else {
            return;
        };
        if src.is_multicast() || src.is_loopback() || dst.is_loopback() || scope_too_small(dst) {
            self.stats.ip6.in_addr_errors += 1;
            return self.drop(Reason::BadAddress);
        }
        if dst.is_multicast() {
            self.stats.ip6.in_mcast_pkts += 1;
        } else if head.cast == Cast::Multi {
            // Unicast in a multicast frame.
            return self.drop(Reason::BadAddress);
        }
        let local = snap.locals.get(&IpAddr::V6(dst));
        let kernels = matches!(local, Some(Local::Host { .. }));
        if head.kind == Kind::Ip6
            && head.cast == Cast::Host
            && !kernels
            && snap.settings.frag_max > 0
            && is_extension(head.proto)
            && fragment_header(frame.data()).is_some()
        {
            return self.fragment::<u128, I>(snap, from, frame, head, now, io);
        }
        if head.proto == proto::ICMPV6 && !head.fragment {
            match ndisc::parse(frame.data()) {
                ndisc::Nd::Solicit(s) => return self.solicited(snap, from, frame, &s, now, io),
                ndisc::Nd::Advert(a) => {
                    let asked =
                        matches!(local, Some(Local::Own { port, .. }) if *port == from.port);
                    let answer = a.solicited && asked;
                    return self.advertised(snap, from, frame, &a, answer, now, io);
                }
                ndisc::Nd::Invalid => return self.drop(Reason::Malformed),
                ndisc::Nd::Other => {}
            }
            if head.cast == Cast::Host {
                match self.related::<u128, I>(snap, from, frame, head, now, io) {
                    Some(back) => frame = back,
                    None => return,
                }
                if head.kind == Kind::Ip6 && snap.services.wants_echo() {
                    match self.echo_flow::<u128, I>(snap, from, frame, head, now, io) {
                        Some(back) => frame = back,
                        None => return,
                    }
                }
            }
        }
        match snap.locals.get(&IpAddr::V6(dst)) {
            Some(Local::Own { .. }) if head.proto == proto::ICMPV6 && !head.fragment => {
                let mac = source_mac(frame.data());
                let _ = frame.pull_up(frame.total_len());
                match icmpv6::echo_reply_in_place(&mut frame, L3) {
                    Echo::Replied => {
                        self.stats.ip6.in_delivers += 1;
                        self.answer(snap, from, frame, IpAddr::V6(src), mac, now, io);
                    }
                    Echo::BadChecksum => self.drop(Reason::BadChecksum),
                    Echo::NotEcho => self.give_stray(snap, from.port, frame, io),
                }
            }
            Some(Local::Own { .. }) => self.give_stray(snap, from.port, frame, io),
            Some(Local::Host { port }) => self.give_host_of(snap, from.port, *port, frame, io),
            None if dst.is_multicast() => self.give_host(snap, from.port, frame, io),
            None if src.is_unicast_link_local() || dst.is_unicast_link_local() => {
                // Never forwarded; link-local speech is the kernel's.
                self.give_host(snap, from.port, frame, io);
            }
            None => {
                let on = snap.settings.forward6;
                self.forward(snap, from, frame, IpAddr::V6(dst), head, on, now, io);
            }
        }
    }

    fn solicited<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        ns: &ndisc::Solicit,
        now: Now,
        io: &mut I,
    ) {
        let target = IpAddr::V6(ns.target);
        let own = matches!(snap.locals.get(&target),
            Some(Local::Own { port, .. }) if *port == from.port);
        if !own {
            return self.give_host(snap, from.port, frame, io);
        }
        if let Some(mac) = ns.mac.filter(|m| good_mac(*m)) {
            self.learn(snap, from, IpAddr::V6(ns.src), mac, false, now, io);
        }
        if ns.src.is_unspecified() {
            self.duplicate(from, target, &frame, now, io);
        }
        // DIFFERS: DPVS never answers probes for duplicate addresses.
        self.drop(Reason::Consumed);
        if ndisc::reply_in_place(&mut frame, ns, from.mac) {
            self.stats.made += 1;
            self.stats.leaves(&frame);
            io.send(from.port, frame);
        }
    }

    /// An advertisement; an `answer` to one of us may be for another worker, whose
    /// question it was.
    #[allow(clippy::too_many_arguments)]
    fn advertised<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        na: &ndisc::Advert,
        answer: bool,
        now: Now,
        io: &mut I,
    ) {
        let target = IpAddr::V6(na.target);
        let own = snap.locals.get(&target);
        if matches!(own, Some(Local::Own { port, .. }) if *port == from.port) {
            self.duplicate(from, target, &frame, now, io);
        }
        let own = matches!(own, Some(Local::Own { .. }));
        if !own && (answer || self.neighs.knows(from.port, target)) {
            // The override flag is ignored, as in DPVS.
            let mac = na.mac.unwrap_or(source_mac(frame.data()));
            if good_mac(mac) {
                self.learn(snap, from, target, mac, answer, now, io);
            }
        }
        // The kernel has neighbours of its own on this wire.
        self.give_host(snap, from.port, frame, io);
    }

    /// Plain routing of what is neither a service's nor local.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        dst: IpAddr,
        head: &Head,
        on: bool,
        now: Now,
        io: &mut I,
    ) {
        let way = match self.way(snap, dst) {
            Ok((way, _)) if on => way,
            Ok(_) => return self.drop(Reason::NotForwarding),
            // No route: the kernel may know one.
            Err(_) => {
                self.stats.no_way(&frame, Reason::NoRoute);
                return self.give_stray(snap, from.port, frame, io);
            }
        };
        if !crate::egress::decrement_ttl(frame.data_mut()) {
            return self.time_exceeded(snap, from, frame, now, io);
        }
        if head.ip_len > way.mtu() {
            if dst.is_ipv6() || frame.data()[L3 + 6] & 0x40 != 0 {
                return self.too_big(snap, from, frame, way.mtu(), now, io);
            }
            return self.fragment4(&frame, &way, snap, now, io);
        }
        if dst.is_ipv4() {
            self.stats.ip4.out_forw_datagrams += 1;
        } else {
            self.stats.ip6.out_forw_datagrams += 1;
        }
        self.send_way(snap, frame, &way, now, io);
    }
}

fn source_mac(data: &[u8]) -> Mac {
    let mut mac = [0; 6];
    mac.copy_from_slice(&data[6..12]);
    mac
}

/// Headers that may precede a fragment header, and that one itself.
fn is_extension(next: u8) -> bool {
    matches!(
        next,
        proto::FRAGMENT | proto::HOPOPTS | proto::ROUTING | proto::DSTOPTS
    )
}

fn good_mac(mac: Mac) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// Multicast scopes 0 (reserved) and 1 (this interface) are not for wires.
fn scope_too_small(dst: Ipv6Addr) -> bool {
    dst.is_multicast() && dst.octets()[1] & 0x0f <= 1
}
