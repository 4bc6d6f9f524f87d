//! From the client's ACK to the SYN that the server gets.
//!
//! A good cookie makes a connection like a SYN would; then the server gets a SYN as
//! if from the client, again and again a few times, and the client's segments wait.
//! A closed connection whose client comes back with a good cookie is used again.
//! What the server says to it is the subject of `answered`.

use std::sync::Arc;

use dpvs_wire::tcp as wire;

use crate::admit::bad_source;
use crate::choose::Refusal;
use crate::conn::table::Tuple;
use crate::conn::{Handle, flags};
use crate::frame::{Frame, Io, Now};
use crate::held::WaitFor;
use crate::hops::Egress;
use crate::parse::{Head, Kind, parse};
use crate::proto::{Dir, tcp::State};
use crate::raw::{L3, Net, be16};
use crate::service::{DestId, Service};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::fullnat::{ACK, FIN, RST, SYN, Segment};

use super::Proxied;
use super::answer::{self, Bare};
use super::cookie::Offer;
use super::cross;
use super::saved::Held;

/// Window of the SYN to the server (DPVS facts §15.2).
const SYN_WINDOW: u16 = 5000;

/// What the SYN proxy does with a packet that has no connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A SYN: answered by a cookie. Whether some of the servers are IPv6 ones.
    Cookie(bool),
    /// An ACK that means nothing to us: answered by a reset.
    Reset,
    /// An ACK with a good cookie: the connection made for it.
    Open(Handle, Offer),
    /// An ACK with a good cookie that waits for another worker's answer.
    Hold(WaitFor),
}

impl<F: Frame> Worker<F> {
    /// Says if a SYN to this service gets a cookie; an error if there is no server
    /// for what would come of it.
    #[inline]
    pub(crate) fn wants_cookie<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        service: &Arc<Service>,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Result<Option<Step>, Reason> {
        let limit = snap.settings.synproxy.auto_syn_rate;
        if !service.synproxy && limit == 0 {
            return Ok(None);
        }
        let workers = self.conf.workers.into();
        let Some(state) = self.service_state(service) else {
            return Ok(None);
        };
        let servers = state.servers;
        if !service.synproxy {
            let (flooded, turn) = state.syns.came(&service.syns, limit, workers, now);
            if let Some(turn) = turn {
                self.turned(service, turn, io);
            }
            // Number translation is FullNAT's.
            if !flooded || !servers.fullnat {
                return Ok(None);
            }
        }
        if head.fragment {
            return Err(Reason::Fragment);
        }
        if !servers.usable {
            return Err(Reason::SynproxyNoDest);
        }
        Ok(Some(Step::Cookie(servers.v6)))
    }

    /// What an ACK without connection for a service means to the SYN proxy; `None`
    /// if nothing.
    ///
    /// DIFFERS: one for a service that is not proxied is left to the kernel; DPVS
    /// answers it by a reset.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn ack_without_conn<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        service: &Arc<Service>,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Option<Result<Step, Reason>> {
        let data = frame.data();
        let l4 = usize::from(head.l4);
        let proxied = service.synproxy || Self::is_flooded(service, now);
        if data[l4 + 13] & (SYN | FIN | RST | ACK) != ACK
            || !proxied && !self.synproxy.cookies.any(now)
        {
            return None;
        }
        if head.fragment {
            return proxied.then_some(Err(Reason::Fragment));
        }
        let seg = Segment::read(data, l4, L3 + usize::from(head.ip_len));
        let defer = snap.settings.synproxy.defer_rs_syn && seg.len == 0;
        if defer && proxied {
            self.stats.synproxy.null_ack += 1;
            return Some(Err(Reason::SynproxyNullAck));
        }
        let tuple = A::tuple(head, data);
        let cookie = seg.ack.wrapping_sub(1);
        let isn = seg.seq.wrapping_sub(1);
        let Some(offer) = self.synproxy.cookies.check(&tuple, isn, cookie, now) else {
            if !proxied {
                return None;
            }
            if bad_source(tuple.src.ip()) {
                // DIFFERS: a reset would go to a group or to everybody.
                return Some(Err(Reason::BadAddress));
            }
            self.stats.synproxy.bad_ack += 1;
            return Some(Ok(Step::Reset));
        };
        if defer {
            self.stats.synproxy.null_ack += 1;
            return Some(Err(Reason::SynproxyNullAck));
        }
        // One that has waited has been counted.
        let again = self.is_again();
        self.stats.synproxy.ok_ack += u64::from(!again);
        if !snap.guard.limits.is_empty()
            && !again
            && !self.may_connect(snap, &service.key, tuple.src.ip(), now)
        {
            return Some(Err(Reason::RateLimit));
        }
        let made = match self.place::<A, I>(snap, from, service, frame, head, now, io) {
            Ok(conn) => Ok(conn),
            Err(Refusal::Drop(reason)) => Err(reason),
            Err(Refusal::Hold(what)) => return Some(Ok(Step::Hold(what))),
        };
        Some(made.and_then(|conn| {
            if self.may_be_proxied(conn) {
                Ok(Step::Open(conn, offer))
            } else {
                // The master does not let these meet.
                self.end(snap, conn, now, io);
                Err(Reason::ModeUnsupported)
            }
        }))
    }

    /// Does it.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn proxy_step<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        step: Step,
        now: Now,
        io: &mut I,
    ) {
        match step {
            Step::Hold(what) => self.let_wait(frame, from.port, what, now),
            Step::Cookie(servers_v6) => {
                self.send_cookie::<A, I>(snap, from, frame, head, servers_v6, now, io);
            }
            Step::Reset => {
                let (l4, end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
                let ttl = snap.settings.synproxy.ttl;
                answer::reset::<A, F>(&mut frame, l4, end, &from.mac, ttl);
                self.send_back(from, frame, head, io);
            }
            Step::Open(conn, offer) => {
                let crosses = conn.is_v6() != A::V6;
                let attached = if crosses {
                    self.conns.attach::<u128>(conn).is_some()
                } else {
                    self.conns.attach::<A>(conn).is_some()
                };
                if !attached {
                    self.end(snap, conn, now, io);
                    return self.drop(Reason::ConnTableFull);
                }
                if crosses {
                    return self.open_cross(snap, from, frame, head, conn, offer, now, io);
                }
                self.open::<A, I>(snap, from, frame, head, conn, offer, now, io);
            }
        }
    }

    /// Answers a SYN; some of its service's servers may be IPv6 ones.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn send_cookie<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        servers_v6: bool,
        now: Now,
        io: &mut I,
    ) {
        self.stats.synproxy.syn += 1;
        let cookies = &mut self.synproxy.cookies;
        let room = cross::room(from.mtu, A::V6 && !head.turned, servers_v6);
        answer::syn_ack::<A, F>(
            &mut frame,
            usize::from(head.l4),
            &from.mac,
            &snap.settings.synproxy,
            room,
            now.millis() as u32,
            |tuple, seq, offer| cookies.make(tuple, seq, offer, now),
        );
        self.send_back(from, frame, head, io);
    }

    /// A connection, new or used again, whose client has brought a good cookie.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn open<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        offer: Offer,
        now: Now,
        io: &mut I,
    ) {
        let seg = Segment::read(
            frame.data(),
            usize::from(head.l4),
            L3 + usize::from(head.ip_len),
        );
        let wscale = snap.settings.synproxy.wscale;
        let mut proxied = Proxied::new(seg.ack.wrapping_sub(1), offer, wscale);
        proxied.tos = if A::V6 {
            0
        } else {
            frame.data()[L3 + 1] & 0x1e
        };
        let entry = A::entry_mut(&mut self.conns, conn);
        entry.client_isn = seg.seq.wrapping_sub(1);
        entry.flags |= flags::LONG;
        entry.flags &= !(flags::SEQ | flags::FDATA | flags::RS_SEEN);
        if let Some(side) = self.conns.side_mut::<A>(conn) {
            side.synproxy = Some(proxied);
        }
        self.hold::<A>(snap, from, frame, head, conn, &seg);
        self.send_syn::<A, I>(snap, conn, now, io);
    }

    /// Keeps a client's segment until the server has answered. A bare ACK need not
    /// be kept: one like it is made then.
    ///
    /// DIFFERS: `max_ack_saved` is how many are kept; DPVS keeps one more.
    pub(super) fn hold<A: Net>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        seg: &Segment,
    ) {
        let window = be16(frame.data(), usize::from(head.l4) + 14);
        let side = self.conns.side_mut::<A>(conn);
        let Some(p) = side.and_then(|side| side.synproxy.as_mut()) else {
            return self.drop(Reason::SynproxyWaiting);
        };
        if seg.flags & ACK == 0 {
            return self.drop(Reason::SynproxyWaiting);
        }
        p.window = window;
        if seg.len == 0 && seg.flags & RST == 0 {
            return self.drop(Reason::Consumed);
        }
        let held = Held {
            frame,
            head: *head,
            port: from.port,
        };
        if p.queue.len >= snap.settings.synproxy.max_ack_saved
            || self.synproxy.saved.push(&mut p.queue, held).is_err()
        {
            self.stats.synproxy.queue_full += 1;
            self.drop(Reason::SynproxyQueue);
        }
    }

    /// A segment of our own in the client's name.
    fn as_client<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        what: &Bare<'_>,
        now: Now,
        io: &mut I,
    ) {
        let conn = conn.towards(Dir::In);
        let tuple: Tuple<A> = A::entry(&self.conns, conn).tuple(Dir::In);
        // It came in by no port; errors about it are nobody's.
        let Some(port) = snap.ports.first() else {
            return;
        };
        let from = port.egress(crate::frame::PortId(0));
        self.stats.made += 1;
        let Some(mut frame) = io.alloc() else {
            return self.drop(Reason::NoBuffer);
        };
        if !answer::bare(&mut frame, &from.mac, &tuple, what) {
            return self.drop(Reason::NoRoom);
        }
        let mut head = Head::EMPTY;
        parse(&mut frame, &from.mac, &self.conns, &mut head);
        cross::as_sent(&mut head, tuple.src);
        match head.kind {
            Kind::Flow4 | Kind::Flow6 => {
                self.transit_again::<A, I>(snap, &from, frame, &head, conn, now, io);
            }
            _ => self.drop(Reason::Malformed),
        }
    }

    /// Whether a connection is still there after a packet of it was sent.
    pub(super) fn is_alive<A: Net>(&mut self, conn: Handle) -> bool {
        A::entry(&self.conns, conn).proto != 0 && self.proxied::<A>(conn).is_some()
    }

    /// The server gets a SYN.
    fn send_syn<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let Some(p) = self.proxied::<A>(conn) else {
            return;
        };
        let (offer, tos) = (p.offer, p.tos);
        let mut options = [wire::OPT_NOP; 24];
        let mut len = 4;
        options[..2].copy_from_slice(&[wire::OPT_MSS, 4]);
        options[2..4].copy_from_slice(&offer.mss.to_be_bytes());
        // In words: SACK permitted and time stamp share three.
        let sack = [wire::OPT_SACK_PERM, 2];
        if offer.timestamp {
            if offer.sack {
                options[4..6].copy_from_slice(&sack);
            }
            options[6..8].copy_from_slice(&[wire::OPT_TIMESTAMP, 10]);
            options[8..12].copy_from_slice(&(now.millis() as u32).to_be_bytes());
            options[12..16].fill(0);
            len = 16;
        } else if offer.sack {
            options[6..8].copy_from_slice(&sack);
            len = 8;
        }
        if let Some(scale) = offer.wscale.filter(|s| *s > 0) {
            options[len + 1..len + 4].copy_from_slice(&[wire::OPT_WSCALE, 3, scale]);
            len += 4;
        }
        let entry = A::entry_mut(&mut self.conns, conn);
        // What a client's SYN finds: the machine has nothing for one in SYN_SENT.
        entry.state = State::None as u8;
        let syn = Bare {
            seq: entry.client_isn,
            ack: 0,
            flags: SYN,
            window: SYN_WINDOW,
            tos,
            options: &options[..len],
        };
        self.as_client::<A, I>(snap, conn, &syn, now, io);
        if self.is_alive::<A>(conn) {
            self.change_state::<A>(snap, conn, State::SynSent as u8, true, now);
        }
    }

    /// The server gets the client's ACK of its SYN-ACK.
    pub(super) fn send_ack<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let seq = A::entry(&self.conns, conn).client_isn.wrapping_add(1);
        let Some(p) = self.proxied::<A>(conn) else {
            return;
        };
        let ack = Bare {
            seq,
            ack: p.cookie.wrapping_add(1),
            flags: ACK,
            window: p.window,
            tos: p.tos,
            options: &[],
        };
        self.as_client::<A, I>(snap, conn, &ack, now, io);
    }

    /// A connection's time is up: true if the server gets another SYN instead.
    #[cold]
    pub(crate) fn try_again<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) -> bool {
        let most = snap.settings.synproxy.rs_syn_max_retry;
        let waiting = A::entry(&self.conns, conn).state == State::SynSent as u8;
        match self.proxied::<A>(conn) {
            Some(p) if waiting && p.tries < most => p.tries += 1,
            _ => return false,
        }
        let timeout = A::entry(&self.conns, conn).timeout;
        self.wheel.add(&mut self.conns, conn, now.millis(), timeout);
        self.send_syn::<A, I>(snap, conn, now, io);
        true
    }

    /// A client's ACK on a connection that is over: with a good cookie the
    /// connection starts again, else the packet is given back.
    ///
    /// DIFFERS: if its server is not to get connections any more, another one is
    /// chosen.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn try_reuse<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        seg: &Segment,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let cookie = seg.ack.wrapping_sub(1);
        if cookie == self.proxied::<A>(conn)?.cookie {
            return Some(frame);
        }
        let tuple = A::tuple(head, frame.data());
        let isn = seg.seq.wrapping_sub(1);
        let Some(offer) = self.synproxy.cookies.check(&tuple, isn, cookie, now) else {
            return Some(frame);
        };
        if snap.settings.synproxy.defer_rs_syn && seg.len == 0 {
            self.stats.synproxy.null_ack += 1;
            self.drop(Reason::SynproxyNullAck);
            return None;
        }
        let entry = A::entry(&self.conns, conn);
        let (dest, state) = (DestId(entry.dest), entry.state);
        if snap.services.is_quiescent(dest) {
            self.end(snap, conn, now, io);
            self.comes_anew::<A, I>(snap, from, frame, head, now, io);
            return None;
        }
        self.stats.synproxy.ok_ack += 1;
        if !self.may_reopen(snap, conn, now) {
            self.stats
                .discarded(A::V6 && !head.turned, Reason::RateLimit);
            return None;
        }
        self.stats.synproxy.reused[usize::from(state)] += 1;
        self.dests[dest.0 as usize].counters.conns += 1;
        self.forget::<A>(conn);
        self.open::<A, I>(snap, from, frame, head, conn, offer, now, io);
        None
    }
}
