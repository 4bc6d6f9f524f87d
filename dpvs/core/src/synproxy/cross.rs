//! The SYN proxy between the families: clients of one, servers of the other.
//!
//! Such a connection is an IPv6 one, whatever its client speaks (`xmit/nat64.rs`): what
//! it gets has been turned, what is sent on is turned last. Left for here is what is
//! answered at once, which goes back as it came, and packets that have no connection
//! any more.

use crate::conn::Handle;
use crate::conn::table::Family;
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::{Head, Kind, parse};
use crate::raw::{Net, unmap4};
use crate::service::{FwdMode, Service, ServiceKey, TCP};
use crate::snapshot::{Local, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::toa;

use super::cookie::Offer;

/// Headers of a segment without options.
const fn headers(v6: bool) -> u16 {
    if v6 { 60 } else { 40 }
}

/// Largest segment of a client: it has to fit a packet of its own family, and with
/// the client's address one to any of the servers, which may be IPv6 ones.
pub(super) fn room(mtu: u16, client_v6: bool, servers_v6: bool) -> u16 {
    let address = if client_v6 { toa::LEN_V6 } else { toa::LEN_V4 } as u16;
    let most = headers(client_v6).max(headers(servers_v6) + address);
    mtu.saturating_sub(most)
}

/// Whether some of a service's servers are IPv6 ones.
pub(super) fn has_v6(service: &Service) -> bool {
    service.dests.iter().any(|d| d.addr.is_ipv6())
}

/// What a packet made here in the client's name is counted as: what the client would
/// have sent.
pub(super) fn as_sent<A: Net>(head: &mut Head, src: A) {
    if A::V6 && unmap4(src.wide()).is_some() {
        head.turned = true;
        head.src = u32::from(head.ip_len.saturating_sub(20));
    }
}

impl<F: Frame> Worker<F> {
    /// Whether some servers of the service that a packet is to are IPv6 ones.
    #[cold]
    pub(super) fn served_v6<A: Net>(snap: &Snapshot, head: &Head, data: &[u8]) -> bool {
        let key = ServiceKey {
            proto: TCP,
            addr: A::addrs(data).1.ip().to_canonical(),
            port: u16::from_be(head.dport),
        };
        snap.services.find(&key).map_or(A::V6, |s| has_v6(s))
    }

    /// Whether a connection's numbers can be translated both ways.
    pub(super) fn may_be_proxied(&self, conn: Handle) -> bool {
        let mode = if conn.is_v6() {
            <u128 as Family>::entry(&self.conns, conn).mode()
        } else {
            <u32 as Family>::entry(&self.conns, conn).mode()
        };
        mode == FwdMode::FullNat
    }

    /// Sends an answer that was made of a packet, back to where that came from.
    pub(super) fn send_back<I: Io<Frame = F>>(
        &mut self,
        from: &Egress,
        mut frame: F,
        head: &Head,
        io: &mut I,
    ) {
        if head.turned
            && let Err(e) = self.leave(&mut frame)
        {
            return self.drop(e.into());
        }
        self.stats.leaves(&frame);
        io.send(from.port, frame);
    }

    /// The same of a server's packet, which may have come from the kernel.
    #[cold]
    pub(super) fn send_back_server<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        io: &mut I,
    ) {
        let server = A::entry(&self.conns, conn).daddr().ip().to_canonical();
        let Some(Local::Host { port }) = snap.locals.get(&server) else {
            return self.send_back(from, frame, head, io);
        };
        if head.turned
            && let Err(e) = self.leave(&mut frame)
        {
            return self.drop(e.into());
        }
        self.bring_host(snap, *port, frame, io);
    }

    /// A connection of an IPv4 client with an IPv6 server, just made for an ACK with
    /// a good cookie.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn open_cross<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        offer: Offer,
        now: Now,
        io: &mut I,
    ) {
        match self.enter(snap, &mut frame, head, conn) {
            Some(Ok(head)) => {
                self.open::<u128, I>(snap, from, frame, &head, conn, offer, now, io);
            }
            // Nothing of it has gone to the server: it may come again.
            Some(Err(told)) => {
                self.end(snap, conn, now, io);
                self.tell(snap, from, frame, told, now, io);
            }
            None => self.end(snap, conn, now, io),
        }
    }

    /// A packet whose connection has just ended comes as a new one.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn comes_anew<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        if !head.turned {
            self.newcomer::<A, I>(snap, from, frame, head, now, io);
            return;
        }
        if head.fragment {
            return self.drop(Reason::Fragment);
        }
        if let Err(e) = self.leave(&mut frame) {
            return self.drop(e.into());
        }
        let mut head = Head::EMPTY;
        parse(&mut frame, &from.mac, &self.conns, &mut head);
        match head.kind {
            Kind::Flow4 => {
                self.newcomer::<u32, I>(snap, from, frame, &head, now, io);
            }
            _ => self.drop(Reason::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_fit_both_families() {
        let all = [(false, false), (true, true), (true, false), (false, true)];
        let rooms = all.map(|(client, servers)| room(1500, client, servers));
        assert_eq!(rooms, [1452, 1420, 1440, 1432]);
        assert_eq!(room(10, true, true), 0);
    }
}
