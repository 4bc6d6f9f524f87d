//! Packets that go as they came: to a server on the link (direct routing, facts §12),
//! to the director's own kernel ("local"), by the routes ("bypass").
//!
//! The server, or the kernel, has the virtual address itself and answers the client
//! past us. A server is reached on the link its route leads to, a gateway of that
//! route is not used. Which connection goes which of these ways is not decided here.

use std::net::IpAddr;

use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::Head;
use crate::raw::{L3, Net};
use crate::snapshot::{Local, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

impl<F: Frame> Worker<F> {
    /// Sends a packet to the server `dst`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn xmit_direct<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        dst: IpAddr,
        now: Now,
        io: &mut I,
    ) {
        let way = match self.way_out(snap, dst, false) {
            Ok((way, _)) => way,
            Err(reason) => return self.no_way_out(snap, from, frame, dst, reason, io),
        };
        if head.ip_len <= way.mtu() {
            self.send_way(snap, frame, &way, now, io);
        } else if A::V6 || frame.data()[L3 + 6] & 0x40 != 0 {
            self.too_big(snap, from, frame, way.mtu(), now, io);
        } else {
            self.fragment4(&frame, &way, snap, now, io);
        }
    }

    /// There is no way to a server: the kernel has its address now, or it is lost.
    #[cold]
    #[inline(never)]
    pub(crate) fn no_way_out<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        server: IpAddr,
        reason: Reason,
        io: &mut I,
    ) {
        if snap.locals.get(&server).is_some() {
            self.xmit_local(snap, from, frame, server, io);
        } else {
            self.drop(reason);
        }
    }

    /// Gives a packet to the kernel behind the port it came in by; where that has
    /// none, behind the one that a route to the `server` names.
    pub(crate) fn xmit_local<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        server: IpAddr,
        io: &mut I,
    ) {
        let port = snap.ports.get(usize::from(from.port.0));
        match snap.locals.get(&server) {
            Some(Local::Host { port: other }) if port.is_none_or(|p| !p.has_host) => {
                self.bring_host(snap, *other, frame, io);
            }
            _ => self.give_host(snap, from.port, frame, io),
        }
    }

    /// Sends a packet on as any router does: to an address of our own it goes to the
    /// kernel, and its TTL is counted.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn xmit_bypass<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        dst: IpAddr,
        now: Now,
        io: &mut I,
    ) {
        if snap.locals.get(&dst).is_some() {
            self.xmit_local(snap, from, frame, dst, io);
        } else {
            self.forward(snap, from, frame, dst, head, true, now, io);
        }
    }
}
