//! What the director's own kernel sends, where it is a real server.
//!
//! A server with FullNAT or NAT at an address of the kernel gets packets through the
//! host port, and answers there. So each frame of the kernel is looked up: what belongs
//! to such a connection goes the way of a server's packet, to the worker that has it;
//! everything else leaves by the port as the kernel made it. The kernel asks for the
//! MAC address of a local address, which only we can tell. Does not know how packets
//! get to the kernel (`hostgate`), nor servers that get them unchanged (`xmit/direct`):
//! their answers are the kernel's own.

use crate::conn::Handle;
use crate::conn::table::{Family, Tuple};
use crate::fragment::fragment_header;
use crate::frame::{Frame, Io, Now, PortId, WorkerId};
use crate::hops::Egress;
use crate::inet::{arp, ndisc};
use crate::parse::{Head, Kind, parse};
use crate::proto::Dir;
use crate::raw::{L3, Net};
use crate::related::about;
use crate::service::{FwdMode, ICMP, ICMPV6};
use crate::snapshot::{Local, Mac, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

/// What becomes of a frame of the kernel's.
enum Then<F> {
    /// It was a connection's, or a question that is answered.
    Done,
    /// It leaves by its port.
    Leaves(F),
    /// That worker may have its connection.
    Hand(WorkerId, F),
}

/// Where a connection is.
enum Seek {
    /// In this worker's table, with a server that is the kernel.
    Here(Handle),
    /// That worker may have it.
    At(WorkerId),
    /// Nowhere, or it is not with the kernel.
    Nowhere,
}

impl<F: Frame> Worker<F> {
    /// Takes a frame that the kernel sends on a port. It comes back as it was if it is
    /// nobody's here: to be sent.
    pub fn from_kernel<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        frame: F,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        match self.kernels(port, frame, now, io) {
            Then::Done => {
                self.stats.received += 1;
                None
            }
            Then::Leaves(frame) => Some(frame),
            Then::Hand(worker, frame) => {
                self.stats.received += 1;
                self.stats.handed_over += 1;
                io.hand_over_kernels(worker, port, frame);
                None
            }
        }
    }

    /// The same for a frame that another worker handed over; sends it.
    pub fn from_kernel_handed<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        frame: F,
        now: Now,
        io: &mut I,
    ) {
        self.stats.taken += 1;
        self.handed = true;
        if let Then::Leaves(frame) | Then::Hand(_, frame) = self.kernels(port, frame, now, io) {
            io.send(port, frame);
        }
        self.handed = false;
    }

    fn kernels<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        mut frame: F,
        now: Now,
        io: &mut I,
    ) -> Then<F> {
        let Some(snap) = self.snap.take() else {
            return Then::Leaves(frame);
        };
        let place = snap.ports.get(usize::from(port.0));
        let then = match place.filter(|p| p.is_there()) {
            // Without addresses of the kernel's there is no such server.
            Some(p) if !snap.locals.hosts().is_empty() && frame.data().len() >= L3 => {
                let mut to: Mac = [0; 6];
                to.copy_from_slice(&frame.data()[..6]);
                frame.data_mut()[..6].copy_from_slice(&p.mac);
                let then = self.look(&snap, &p.egress(port), frame, to, now, io);
                let back = |mut frame: F| {
                    frame.data_mut()[..6].copy_from_slice(&to);
                    frame
                };
                match then {
                    Then::Done => Then::Done,
                    Then::Leaves(frame) => Then::Leaves(back(frame)),
                    Then::Hand(worker, frame) => Then::Hand(worker, back(frame)),
                }
            }
            _ => Then::Leaves(frame),
        };
        self.snap = Some(snap);
        then
    }

    /// Looks at a frame, for the time being addressed to us, that was sent `to`.
    fn look<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        to: Mac,
        now: Now,
        io: &mut I,
    ) -> Then<F> {
        let ours = |addr| {
            matches!(snap.locals.get(&addr),
                Some(Local::Own { port, sapool: true }) if *port == from.port)
        };
        let mut head = Head::EMPTY;
        parse(&mut frame, &from.mac, &self.conns, &mut head);
        match head.kind {
            Kind::Arp => match arp::parse(frame.data()) {
                Some(asked) if asked.op == arp::REQUEST && ours(asked.tpa.into()) => {
                    let done = arp::reply_in_place(frame.data_mut(), from.mac);
                    self.tell_kernel(snap, from.port, frame, done, io)
                }
                _ => Then::Leaves(frame),
            },
            Kind::Ip6 if head.proto == ICMPV6 && !head.fragment => {
                match ndisc::parse(frame.data()) {
                    ndisc::Nd::Solicit(asked) if ours(asked.target.into()) => {
                        let done = ndisc::reply_in_place(&mut frame, &asked, from.mac);
                        self.tell_kernel(snap, from.port, frame, done, io)
                    }
                    ndisc::Nd::Other if to[0] & 1 == 0 => {
                        self.look_else::<u128, I>(snap, from, frame, &head, now, io)
                    }
                    _ => Then::Leaves(frame),
                }
            }
            // VRRP and the like.
            _ if to[0] & 1 != 0 => Then::Leaves(frame),
            Kind::Flow4 => self.look_flow::<u32, I>(snap, from, frame, &head, now, io),
            Kind::Flow6 => self.look_flow::<u128, I>(snap, from, frame, &head, now, io),
            Kind::Ip4 => self.look_else::<u32, I>(snap, from, frame, &head, now, io),
            Kind::Ip6 => self.look_else::<u128, I>(snap, from, frame, &head, now, io),
            _ => Then::Leaves(frame),
        }
    }

    /// A question of the kernel's, turned into its answer if that is `done`.
    fn tell_kernel<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        frame: F,
        done: bool,
        io: &mut I,
    ) -> Then<F> {
        if done {
            self.bring_host(snap, port, frame, io);
        } else {
            self.drop(Reason::Malformed);
        }
        Then::Done
    }

    /// Whether a connection is one with a server that is the kernel, seen from there.
    fn is_served(&self, conn: Handle) -> bool {
        let mode = if conn.is_v6() {
            <u128 as Family>::entry(&self.conns, conn).mode()
        } else {
            <u32 as Family>::entry(&self.conns, conn).mode()
        };
        conn.dir() == Dir::Out && matches!(mode, FwdMode::FullNat | FwdMode::Masq)
    }

    /// Where the connection is that a packet of the kernel's belongs to.
    fn seek<A: Net>(&mut self, snap: &Snapshot, hash: u64, tuple: &Tuple<A>) -> Seek {
        self.conns.settle();
        let found = match self.conns.find(hash, tuple) {
            None if snap.services.crosses() => self.crossing(None, tuple),
            found => found.map(|conn| self.conns.preferred(conn, hash, tuple)),
        };
        match found {
            Some(conn) if self.is_served(conn) => Seek::Here(conn),
            Some(_) => Seek::Nowhere,
            None => self
                .meets_elsewhere(snap, tuple)
                .or_else(|| self.owner_elsewhere(snap, tuple))
                .map_or(Seek::Nowhere, Seek::At),
        }
    }

    /// A packet with a tuple: TCP, UDP, SCTP, or an echo as one.
    fn look_flow<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Then<F> {
        let conn = match self.seek(snap, head.hash, &A::tuple(head, frame.data())) {
            Seek::Here(conn) => conn,
            Seek::At(worker) => return Then::Hand(worker, frame),
            Seek::Nowhere => return Then::Leaves(frame),
        };
        self.stats.arrives(A::V6, head.ip_len);
        if !snap.guard.limits.is_empty()
            && let Some(reason) = self.refused::<A>(snap, from.port, &frame, head, true, now)
        {
            self.stats.discarded(A::V6, reason);
        } else if conn.is_v6() == A::V6 {
            self.transit::<A, I>(snap, from, frame, head, conn, now, io);
        } else {
            self.cross(snap, from, frame, head, conn, now, io);
        }
        Then::Done
    }

    /// Echoes, errors about a connection's packets, fragments.
    #[cold]
    #[inline(never)]
    fn look_else<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Then<F> {
        let data = frame.data();
        let (l4, end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
        let dst = A::addrs(data).1;
        let icmp = head.proto == if A::V6 { ICMPV6 } else { ICMP };
        let part = if A::V6 {
            fragment_header(data).is_some()
        } else {
            u16::from_be_bytes([data[L3 + 6], data[L3 + 7]]) & 0x3fff != 0
        };
        if part || !icmp {
            let local = matches!(
                snap.locals.get(&dst.ip()),
                Some(Local::Own { sapool: true, .. })
            );
            let mine = snap.settings.frag_max > 0
                && part
                && (local || self.is_followed::<A>(&frame, head));
            if !mine {
                return Then::Leaves(frame);
            }
            self.stats.arrives(A::V6, head.ip_len);
            self.fragment::<A, I>(snap, from, frame, head, now, io);
            return Then::Done;
        }
        if snap.services.wants_echo()
            && let Some(head) = self.echo_head::<A>(&frame, head)
        {
            return self.look_flow::<A, I>(snap, from, frame, &head, now, io);
        }
        let _ = frame.pull_up(end);
        // Only what is about a connection's packet: anything else it tells others is
        // no business of ours.
        let Some(tuple) = about::<A>(frame.data(), l4, end) else {
            return Then::Leaves(frame);
        };
        match self.seek(snap, A::hash(&self.conns, &tuple), &tuple) {
            Seek::Here(_) => {
                self.stats.arrives(A::V6, head.ip_len);
                match self.related::<A, I>(snap, from, frame, head, now, io) {
                    None => Then::Done,
                    Some(frame) => {
                        self.stats.arrives_later(A::V6, head.ip_len);
                        Then::Leaves(frame)
                    }
                }
            }
            Seek::At(worker) => Then::Hand(worker, frame),
            Seek::Nowhere => Then::Leaves(frame),
        }
    }
}
