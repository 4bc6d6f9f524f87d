//! The short way of a packet that changes nothing of its connection: compared,
//! counted, rewritten, out, within one line of the entry (two for IPv6).
//!
//! Nearly all packets go it. It has no decision of its own: [`Entry::settle`]
//! notes, whenever the long way ([`crate::pipeline`]) has had a packet of the
//! connection, in which direction an ordinary packet would change neither state
//! nor anything else there. Whatever is not ordinary is left as it came, for the
//! long way.

use crate::conn::{Entry, Handle, flags};
use crate::frame::{Frame, PortId};
use crate::parse::Head;
use crate::proto::{Dir, tcp, udp};
use crate::raw::{L3, Net};
use crate::service::{DestId, FwdMode, TCP};
use crate::services::ServiceTable;
use crate::worker::Worker;
use crate::xmit::fullnat::{self, ACK, FIN, RST, SYN, Segment};

/// What holds for a whole burst.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// Wrapping milliseconds.
    pub now: u32,
    /// Says which servers are gone.
    pub services: &'a ServiceTable,
}

/// Packets that went the short way, and their bytes: written down once a burst.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub packets: u64,
    pub octets: u64,
}

impl<A: Net> Entry<A> {
    /// Notes in which directions an ordinary packet changes nothing.
    pub(crate) fn settle(&mut self) {
        const OFFER: u16 = flags::TOA | flags::FDATA;
        let (client, server) = if self.proto == TCP {
            // Looked at until its client is known to be there.
            let known = self.flags & flags::EMBRYO == 0;
            let open = known && self.state == tcp::State::Established as u8;
            (open && self.flags & OFFER != OFFER, open)
        } else {
            let snat = self.mode() == FwdMode::Snat;
            let same = |dir: Dir| {
                let state = udp::State::from_u8(self.state);
                let dir = if snat { dir.turned() } else { dir };
                udp::next(dir, state) == state
            };
            (same(Dir::In), same(Dir::Out))
        };
        self.flags &= !(flags::STEADY_IN | flags::STEADY_OUT);
        let rewritten = matches!(
            self.mode(),
            FwdMode::FullNat | FwdMode::Masq | FwdMode::Snat
        );
        if self.flags & (flags::LONG | flags::CLIENT) != 0 || !rewritten {
            return;
        }
        // What comes back to a source NAT's address has no next hop at hand.
        if client && self.mode() != FwdMode::Snat {
            self.flags |= flags::STEADY_IN;
        }
        if server {
            self.flags |= flags::STEADY_OUT;
        }
    }
}

impl<F: Frame> Worker<F> {
    /// Makes a packet ready to leave, and says by which port. `None`, with nothing
    /// changed, if it has to go the long way.
    #[inline(always)]
    pub(crate) fn steady<A: Net>(
        &mut self,
        turn: Turn<'_>,
        frame: &mut F,
        head: &Head,
        tally: &mut Tally,
    ) -> Option<PortId> {
        let conn = Handle::from_raw(head.conn)?;
        let tcp = head.proto == TCP;
        let data = frame.data_mut();
        // A constant, so that the length is looked at once and for all.
        let l4 = A::L4;
        if usize::from(head.l4) != l4 || data.len() < l4 + if tcp { 20 } else { 8 } {
            return None;
        }
        if tcp && data[l4 + 13] & (SYN | FIN | RST | ACK) != ACK {
            return None;
        }
        if !self.conns.is(conn, &A::tuple(head, data)) {
            return None;
        }
        let dir = conn.dir();
        let entry = A::entry_mut(&mut self.conns, conn);
        let steady = flags::STEADY_IN << dir as u16;
        if entry.flags & steady == 0 {
            return None;
        }
        if entry.flags & flags::QUIESCENT != 0 && turn.services.is_quiescent(DestId(entry.dest)) {
            return None;
        }
        let dest = &mut self.dests[entry.dest as usize];
        let hop = match dir {
            Dir::In => dest.hop,
            Dir::Out => entry.hop,
        };
        let hop = self.neighs.hops.get(hop)?;
        if head.ip_len > hop.mtu {
            return None;
        }
        entry.seen = turn.now;
        if tcp && dir == Dir::Out {
            let end = L3 + usize::from(head.ip_len);
            fullnat::note_server(entry, &Segment::read(data, l4, end));
        }
        fullnat::translate(entry, dir, data, l4, tcp);
        data[..12].copy_from_slice(&hop.macs);
        let octets = u64::from(head.ip_len);
        entry.count(dir, head.ip_len);
        dest.count(dir, octets);
        tally.packets += 1;
        tally.octets += octets;
        Some(hop.port)
    }
}
