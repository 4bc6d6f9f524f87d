//! The way of a burst through a worker, all stages on one screen.
//!
//! parse -> index lines -> entry lines -> one loop that finishes each packet in
//! order: known flows are counted, rewritten and sent; new ones are admitted; the
//! rest goes to the light IP stack. Every loop runs over the whole burst, so that
//! its cache misses overlap.

use std::sync::Arc;

use crate::admit::Admitted;
use crate::conn::flags;
use crate::conn::table::Family;
use crate::frame::{BURST, Burst, Frame, Io, Now, PortId, WorkerId};
use crate::hops::Egress;
use crate::parse::{Head, Kind, parse};
use crate::prefetch::prefetch;
use crate::raw::{L3, Net};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::steady::{Tally, Turn};
use crate::synproxy::Step;
use crate::worker::Worker;
use crate::xmit::echo;

/// What became of a flow's packet that had no connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Came {
    /// It has one now.
    Conn,
    /// It went to the light IP stack.
    Pass,
    /// It went to that worker.
    Sent(WorkerId),
    /// It waits for another worker's answer, and comes again.
    Waits,
    /// It was dropped, or answered.
    Refused,
}

impl<F: Frame> Worker<F> {
    /// Takes the first `n` frames of a burst received on `port`; leaves every
    /// slot empty. Frames another worker handed over come by `process_handed`.
    pub fn process<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        burst: &mut Burst<F>,
        n: usize,
        now: Now,
        io: &mut I,
    ) {
        if self.handed {
            self.stats.taken += n as u64;
        } else {
            self.stats.received += n as u64;
        }
        let at = usize::from(port.0);
        let tagged = |snap: &Arc<Snapshot>| snap.ports.get(at).is_some_and(|p| !p.vlans.is_empty());
        if self.snap.as_ref().is_some_and(tagged) && !self.handed {
            return self.process_tagged(port, burst, n, now, io);
        }
        self.process_port(port, burst, n, now, io);
    }

    /// As `process`, once it is certain that no frame has a tag for another device.
    pub(crate) fn process_port<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        burst: &mut Burst<F>,
        n: usize,
        now: Now,
        io: &mut I,
    ) {
        let burst = &mut burst[..n];
        let Some(snap) = self.snap.take() else {
            return self.refuse(burst, Reason::NotConfigured);
        };
        let mut heads = self
            .heads
            .take()
            .unwrap_or_else(|| Box::new([Head::EMPTY; BURST]));
        if let Some(p) = snap.ports.get(usize::from(port.0)) {
            let egress = Egress {
                port,
                mac: p.mac,
                mtu: p.mtu,
            };
            // Once: not again what was handed over, or has waited.
            if p.forward2kni && !self.handed && !self.is_again() {
                for frame in burst.iter().flatten() {
                    self.copy_to_host(port, frame, io);
                }
            }
            for frame in burst.iter().flatten() {
                prefetch(frame.data());
            }
            for (slot, head) in burst.iter_mut().zip(heads.iter_mut()) {
                if let Some(frame) = slot {
                    parse(frame, &egress.mac, &self.conns, head);
                }
            }
            let v6 = !snap.settings.ipv6_off;
            for head in &mut heads[..n] {
                head.conn = match head.kind {
                    Kind::Flow4 => self.conns.candidate::<u32>(head.hash),
                    Kind::Flow6 if v6 => self.conns.candidate::<u128>(head.hash),
                    _ => 0,
                };
            }
            if snap.guard.is_on() {
                self.guard(&snap, port, burst, &mut heads[..], now);
            }
            let turn = Turn {
                now: now.millis() as u32,
                services: &snap.services,
            };
            let short = !snap.settings.xmit_ttl;
            let (mut tally4, mut tally6) = <(Tally, Tally)>::default();
            for (slot, head) in burst.iter_mut().zip(heads.iter()) {
                let Some(frame) = slot else { continue };
                let way = match head.kind {
                    Kind::Flow4 if short => self.steady::<u32>(turn, frame, head, &mut tally4),
                    Kind::Flow6 if short => self.steady::<u128>(turn, frame, head, &mut tally6),
                    _ => None,
                };
                let Some(frame) = slot.take() else { continue };
                match way {
                    Some(port) => io.send(port, frame),
                    None => self.finish(&snap, &egress, frame, head, now, io),
                }
            }
            self.note(tally4, tally6);
            self.conns.settle();
        } else {
            self.refuse(burst, Reason::NotConfigured);
        }
        self.snap = Some(snap);
        self.heads = Some(heads);
        if !self.inner.is_empty() {
            self.process_inner(now, io);
        }
    }

    /// Adds up the packets of a burst that went the short way.
    fn note(&mut self, v4: Tally, v6: Tally) {
        let [edge4, edge6] = &mut self.stats.edge;
        let (ip4, ip6) = (&mut self.stats.ip4, &mut self.stats.ip6);
        for (ip, edge, tally) in [(ip4, edge4, v4), (ip6, edge6, v6)] {
            ip.in_pkts += tally.packets;
            ip.in_octets += tally.octets;
            edge.out_pkts += tally.packets;
            edge.out_octets += tally.octets;
            self.stats.conn_hits += tally.packets;
        }
    }

    /// Drops a burst whole.
    fn refuse(&mut self, burst: &mut [Option<F>], reason: Reason) {
        for _ in burst.iter_mut().filter_map(Option::take) {
            self.drop(reason);
        }
    }

    /// Everything after the lookup stages, for one packet.
    #[inline(always)]
    fn finish<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        match head.kind {
            Kind::Flow4 => {
                self.stats.arrives(false, head.ip_len);
                match self.conns.find_from(head.conn, head.hash, &head.tuple4()) {
                    Some(conn) => self.transit::<u32, I>(snap, from, frame, head, conn, now, io),
                    None => {
                        self.newcomer::<u32, I>(snap, from, frame, head, now, io);
                    }
                }
            }
            Kind::Flow6 if snap.settings.ipv6_off => self.drop(Reason::Ipv6Off),
            Kind::Flow6 => {
                self.stats.arrives(true, head.ip_len);
                match self
                    .conns
                    .find_from(head.conn, head.hash, &head.tuple6(frame.data()))
                {
                    Some(conn) => self.transit::<u128, I>(snap, from, frame, head, conn, now, io),
                    None => {
                        self.newcomer::<u128, I>(snap, from, frame, head, now, io);
                    }
                }
            }
            Kind::Bad => self.stats.refused(&frame, head.reason),
            _ => self.deliver(snap, from, frame, head, now, io),
        }
    }

    /// A flow without connection: makes one if it belongs to a service.
    #[inline(never)]
    pub(crate) fn newcomer<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Came {
        if self.conns.is_pending(head.hash) {
            // A connection made earlier in this burst.
            self.conns.settle();
            let tuple = A::tuple(head, frame.data());
            if let Some(conn) = self.conns.find(head.hash, &tuple) {
                self.transit::<A, I>(snap, from, frame, head, conn, now, io);
                return Came::Conn;
            }
        }
        if !snap.services.meetings().is_empty()
            && let Some(owner) = self.meets_elsewhere(snap, &A::tuple(head, frame.data()))
        {
            self.hand_over::<A, I>(owner, from, frame, head, io);
            return Came::Sent(owner);
        }
        if !A::V6
            && snap.services.crosses()
            && let Some(conn) = self.find_cross(&head.tuple4())
        {
            self.cross(snap, from, frame, head, conn, now, io);
            return Came::Conn;
        }
        match self.admit::<A, I>(snap, from, &frame, head, now, io) {
            Admitted::Proxy(Step::Cookie(servers_v6)) => {
                self.send_cookie::<A, I>(snap, from, frame, head, servers_v6, now, io);
                Came::Refused
            }
            Admitted::Proxy(step) => {
                self.proxy_step::<A, I>(snap, from, frame, head, step, now, io);
                Came::Refused
            }
            Admitted::Conn(conn) if conn.is_v6() != A::V6 => {
                self.cross(snap, from, frame, head, conn, now, io);
                Came::Conn
            }
            Admitted::Conn(conn) => {
                self.transit::<A, I>(snap, from, frame, head, conn, now, io);
                Came::Conn
            }
            Admitted::Once(conn) => {
                // It ends here, whatever its server is, and only here.
                if conn.is_v6() == A::V6 {
                    A::entry_mut(&mut self.conns, conn).flags &= !flags::QUIESCENT;
                    self.transit::<A, I>(snap, from, frame, head, conn, now, io);
                } else {
                    <u128 as Family>::entry_mut(&mut self.conns, conn).flags &= !flags::QUIESCENT;
                    self.cross(snap, from, frame, head, conn, now, io);
                }
                self.end(snap, conn, now, io);
                Came::Refused
            }
            Admitted::Hold(what) => {
                self.let_wait(frame, from.port, what, now);
                Came::Waits
            }
            Admitted::Pass => {
                self.deliver(snap, from, frame, head, now, io);
                Came::Pass
            }
            Admitted::Drop(reason) => {
                self.stats.discarded(A::V6, reason);
                Came::Refused
            }
            Admitted::HandOver(owner) => {
                self.hand_over::<A, I>(owner, from, frame, head, io);
                Came::Sent(owner)
            }
        }
    }

    /// What is known of an echo request or reply as a flow, whose identifier stands for a
    /// port; `None` of any other packet.
    #[cold]
    pub(crate) fn echo_head<A: Net>(&self, frame: &F, head: &Head) -> Option<Head> {
        let (data, l4) = (frame.data(), usize::from(head.l4));
        let end = data.len().min(L3 + usize::from(head.ip_len));
        let ports = (l4 + 8 <= end).then(|| echo::ports(A::V6, data, l4));
        let (sport, dport) = ports.flatten()?;
        let kind = if A::V6 { Kind::Flow6 } else { Kind::Flow4 };
        let head = Head {
            sport,
            dport,
            kind,
            ..*head
        };
        let hash = A::hash(&self.conns, &A::tuple(&head, data));
        Some(Head { hash, ..head })
    }

    /// An echo request or reply; any other packet comes back.
    #[cold]
    #[inline(never)]
    pub(crate) fn echo_flow<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let Some(head) = self.echo_head::<A>(&frame, head) else {
            return Some(frame);
        };
        self.conns.settle();
        if !snap.guard.limits.is_empty() {
            let seen = self.handed || self.is_again();
            if let Some(reason) = self.refused::<A>(snap, from.port, &frame, &head, seen, now) {
                self.stats.discarded(A::V6, reason);
                return None;
            }
        }
        let tuple = A::tuple(&head, frame.data());
        match self.conns.find(head.hash, &tuple) {
            Some(conn) => self.transit::<A, I>(snap, from, frame, &head, conn, now, io),
            None => {
                self.newcomer::<A, I>(snap, from, frame, &head, now, io);
            }
        }
        None
    }
}
