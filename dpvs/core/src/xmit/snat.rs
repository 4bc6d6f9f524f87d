//! Source NAT: hosts inside reach the world through one of a service's addresses.
//!
//! The service is found by what the packet is ([`crate::matching`]), its "servers"
//! are the addresses towards the world (WAN), each with a pool of ports as local
//! addresses have. In the connection the remote end takes the client's place and
//! the host inside the server's (DPVS facts §16), so packets from inside are `Out`
//! ones. Which packet is sent on how is not decided here.

use std::net::IpAddr;
use std::sync::Arc;

use zerocopy::FromZeros;

use crate::choose::{Chosen, Refusal};
use crate::conn::table::Tuple;
use crate::conn::{Entry, Handle, flags};
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::matching::Asked;
use crate::parse::Head;
use crate::raw::Net;
use crate::sched::Flow;
use crate::service::{FwdMode, Service};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::echo;

/// WAN addresses tried for one connection, beside the scheduler's choice.
const TRIES: usize = 16;

/// Whether an address is no single host's.
fn no_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast() || a.is_unspecified(),
        IpAddr::V6(a) => a.is_multicast() || a.is_unspecified() || a.is_unicast_link_local(),
    }
}

impl<F: Frame> Worker<F> {
    /// The match service a packet belongs to: the newest that wants it. None has
    /// what ends here or has no route.
    #[cold]
    #[inline(never)]
    pub(crate) fn matched<'a, A: Net>(
        &self,
        snap: &'a Snapshot,
        from: &Egress,
        t: &Tuple<A>,
    ) -> Option<&'a Arc<Service>> {
        let (src, dst) = (t.src.ip(), t.dst.ip());
        if no_host(dst) || snap.locals.get(&dst).is_some() {
            return None;
        }
        let route = snap.fib.lookup(dst)?;
        let port = |raw: u16| (!echo::is(A::V6, t.proto)).then(|| u16::from_be(raw));
        let asked = Asked {
            src: (src, port(t.sport)),
            dst: (dst, port(t.dport)),
            iif: from.port,
            oif: route.port,
        };
        snap.services.matches().iter().find(|service| {
            service.key.proto == t.proto
                && service.key.addr.is_ipv6() == A::V6
                && service.matching.as_ref().is_some_and(|m| m.matches(&asked))
        })
    }

    /// A connection of a match service, by its first packet: source NAT for a host
    /// inside, or one that leaves packets alone (transparent caches, bypass; what Linux
    /// has firewall marks for).
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn create_matched<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        service: &Arc<Service>,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Result<Handle, Refusal> {
        let inside = &A::tuple(head, frame.data());
        let remote = (inside.dst.ip(), u16::from_be(inside.dport));
        let flow = Flow {
            client: inside.src.ip(),
            cport: u16::from_be(inside.sport),
            vip: remote.0,
            qid: None,
            now: (now.millis() / 1000) as u32,
        };
        let mut chosen = self.choose(snap, service, flow, &[], now, io)?;
        let first = chosen.dest.id;
        let mut others = service.dests.iter().filter(|d| d.id != first).take(TRIES);
        let mut reason = Reason::NoLaddr;
        let (wan, pool, port) = loop {
            let dest = &chosen.dest;
            match dest.mode {
                FwdMode::Snat => {}
                FwdMode::Masq | FwdMode::FullNat => {
                    return Err(Refusal::Drop(Reason::ModeUnsupported));
                }
                _ => {
                    let Chosen { dest, template } = chosen;
                    let conn = self.create::<A, I>(snap, from, service, dest, frame, head, now, io);
                    let conn = conn.map_err(Refusal::Drop)?;
                    self.bind(conn, &dest, template, now, io);
                    return Ok(conn);
                }
            }
            if let (Some(wan), Some(pool)) = (A::from_ip(dest.addr), self.pools.number(dest.addr)) {
                // DIFFERS: an echo's identifier is given like a port, so that two hosts
                // never clash and replies find their worker; DPVS keeps it.
                match self.pools.take(pool, head.proto, remote.0, remote.1) {
                    Some(port) => break (wan, pool, port),
                    None => reason = Reason::NoLport,
                }
            }
            // The scheduler would give the same one again.
            let next = others.find(|d| d.usable() && !self.is_overloaded(d));
            chosen = Chosen::of(*next.ok_or(Refusal::Drop(reason))?);
        };
        let Chosen { dest, template } = chosen;
        let outside = Tuple {
            src: inside.dst,
            dst: wan,
            sport: inside.dport,
            dport: port.to_be(),
            proto: head.proto,
        };
        let mut entry = Entry::<A>::new_zeroed();
        entry.set_tuples(&outside, inside);
        entry.set_deltas();
        entry.dest = dest.id.0;
        entry.flags = flags::EMBRYO;
        entry.set_mode(FwdMode::Snat);
        if echo::is(A::V6, head.proto) {
            entry.flags |= flags::LONG;
        }
        entry.pool = pool + 1;
        let hash = A::hash(&self.conns, &outside);
        let conn = self
            .keep(snap, service, &dest, entry, hash, now, io)
            .map_err(Refusal::Drop)?;
        self.bind(conn, &dest, template, now, io);
        Ok(conn.turned())
    }
}

impl<A: Net> Entry<A> {
    /// Whose port pool, and for whom: the far end's address and port, then the port
    /// that was taken. In host order.
    pub(crate) fn pooled(&self) -> (IpAddr, u16, u16) {
        let (far, own) = if self.mode() == FwdMode::Snat {
            ((self.caddr(), self.cport()), self.vport())
        } else {
            ((self.daddr(), self.dport()), self.lport())
        };
        let addr = far.0.ip().to_canonical();
        (addr, u16::from_be(far.1), u16::from_be(own))
    }
}
