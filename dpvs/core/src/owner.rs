//! Packets that belong to another worker's connections.
//!
//! Replies of servers name a local port, which says whose it is; with NAT the
//! client's end does ([`crate::meetings`]); an ICMP error
//! quotes a packet of the connection, but is itself spread by other fields.
//! Either is handed over once: what comes out of the ring and still finds no
//! connection stays here. Does not decide how ports are split (`laddr`, `rss`).

use std::net::IpAddr;

use crate::conn::table::Tuple;
use crate::frame::{Burst, Frame, Io, Now, PortId, WorkerId};
use crate::hops::Egress;
use crate::parse::Head;
use crate::raw::Net;
use crate::service::ServiceKey;
use crate::snapshot::{Local, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::echo;

// DIFFERS: DPVS passes such packets on with `redirect on` only.

/// ICMP errors a worker copies to all others in a second, at most: only where
/// nobody can tell whose connection they are about.
const COPIES: u32 = 1000;

impl<F: Frame> Worker<F> {
    /// Like [`Worker::process`], for frames that another worker handed over.
    pub fn process_handed<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        burst: &mut Burst<F>,
        n: usize,
        now: Now,
        io: &mut I,
    ) {
        self.handed = true;
        self.process(port, burst, n, now, io);
        self.handed = false;
    }

    /// The other worker that has the connection of a packet for a local address,
    /// if it has one.
    pub(crate) fn owner_elsewhere<A: Net>(
        &self,
        snap: &Snapshot,
        tuple: &Tuple<A>,
    ) -> Option<WorkerId> {
        if self.conf.workers < 2 || self.handed {
            return None;
        }
        self.owner_by_port(snap, tuple)
            .filter(|owner| *owner != self.conf.id)
    }

    /// The worker that has the connection of a packet for a local address.
    pub(crate) fn owner_by_port<A: Net>(
        &self,
        snap: &Snapshot,
        tuple: &Tuple<A>,
    ) -> Option<WorkerId> {
        let laddr = tuple.dst.ip();
        if echo::is(A::V6, tuple.proto) && tuple.dport == echo::port(A::V6) {
            // Somebody pings the address.
            return None;
        }
        let Some(Local::Own { sapool: true, .. }) = snap.locals.get(&laddr) else {
            return None;
        };
        let (sport, dport) = (u16::from_be(tuple.sport), u16::from_be(tuple.dport));
        match snap.returns.matched(laddr) {
            Some(nic) if nic.matches(tuple.proto, A::V6) => {
                nic.owner(tuple.proto, tuple.src.ip(), laddr, (sport, dport))
            }
            _ => self.pools.slices().owner(dport),
        }
    }

    /// The other worker that the two ends of a NAT connection name, whichever of
    /// them sent the packet.
    #[cold]
    pub(crate) fn meets_elsewhere<A: Net>(
        &self,
        snap: &Snapshot,
        tuple: &Tuple<A>,
    ) -> Option<WorkerId> {
        if self.conf.workers < 2 || self.handed {
            return None;
        }
        self.meeting(snap, tuple)
            .filter(|owner| *owner != self.conf.id)
    }

    /// The worker that the two ends of a NAT connection name.
    fn meeting<A: Net>(&self, snap: &Snapshot, tuple: &Tuple<A>) -> Option<WorkerId> {
        let end = |addr: A, port| (addr.ip(), u16::from_be(port));
        let (src, dst) = (end(tuple.src, tuple.sport), end(tuple.dst, tuple.dport));
        let meetings = snap.services.meetings();
        meetings.owner(tuple.proto, src, dst, self.conf.workers)
    }

    /// Gives a frame to its owner.
    pub(crate) fn hand_over<A: Net, I: Io<Frame = F>>(
        &mut self,
        owner: WorkerId,
        from: &Egress,
        frame: F,
        head: &Head,
        io: &mut I,
    ) {
        // The owner counts it as received.
        self.stats.arrives_later(A::V6, head.ip_len);
        self.stats.handed_over += 1;
        io.hand_over(owner, from.port, frame);
    }

    /// An ICMP error of family `E` about a connection of family `A` that this
    /// worker does not have; `tuple` is the connection's packet that would come in
    /// where the quoted one went out. Gives the frame back if it can be nobody
    /// else's.
    pub(crate) fn error_elsewhere<E: Net, A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        tuple: &Tuple<A>,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        if self.handed {
            // A copy is about nothing here; what was given to us alone is nobody's.
            let alone = snap.returns.nic(from.port).is_some()
                || self.meeting(snap, tuple) == Some(self.conf.id);
            if !alone {
                self.drop(Reason::Consumed);
            }
            return alone.then_some(frame);
        }
        let owner = self
            .meets_elsewhere(snap, tuple)
            .or_else(|| self.owner_elsewhere(snap, tuple));
        if let Some(owner) = owner {
            self.hand_over::<E, I>(owner, from, frame, head, io);
            return None;
        }
        let key = ServiceKey {
            proto: tuple.proto,
            addr: tuple.dst.ip(),
            port: u16::from_be(tuple.dport),
        };
        if self.conf.workers < 2 {
            return Some(frame);
        }
        let known = snap.services.find(&key).is_some()
            || !snap.services.matches().is_empty() && self.matched(snap, from, tuple).is_some();
        if !known {
            return Some(frame);
        }
        // About a packet to a client, or to a host inside that source NAT serves:
        // that one's packets say whose it is.
        let ports = (u16::from_be(tuple.sport), key.port);
        match snap.returns.nic(from.port) {
            Some(nic) => {
                let owner = nic.owner(tuple.proto, tuple.src.ip(), key.addr, ports);
                match owner.filter(|owner| *owner != self.conf.id) {
                    Some(owner) => {
                        self.hand_over::<E, I>(owner, from, frame, head, io);
                        None
                    }
                    None => Some(frame),
                }
            }
            None => {
                // One of them has it, or it is about nothing.
                self.copy_to_all(from, &frame, now, io);
                self.drop(Reason::Consumed);
                None
            }
        }
    }

    /// Every other worker gets a copy.
    pub(crate) fn copy_to_all<I: Io<Frame = F>>(
        &mut self,
        from: &Egress,
        frame: &F,
        now: Now,
        io: &mut I,
    ) {
        let second = now.millis() / 1000;
        if self.copied.0 != second {
            self.copied = (second, 0);
        }
        for n in (0..self.conf.workers).map(WorkerId) {
            if n == self.conf.id || self.copied.1 >= COPIES {
                continue;
            }
            self.copied.1 += 1;
            let Some(copy) = io.duplicate(frame) else {
                self.stats.copies_lost += 1;
                continue;
            };
            self.stats.made += 1;
            self.stats.handed_over += 1;
            io.hand_over(n, from.port, copy);
        }
    }
}

/// The addresses whose replies this worker's ports decide, each with the
/// spreading they are matched to.
pub(crate) fn local_addresses(
    snap: &Snapshot,
) -> impl Iterator<Item = (IpAddr, Option<std::sync::Arc<crate::rss::Nic>>)> + '_ {
    snap.locals
        .sapools()
        .iter()
        .map(|addr| (*addr, snap.returns.matched(*addr).cloned()))
}
