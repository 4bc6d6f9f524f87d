//! From the server's answer to a connection that goes both ways.
//!
//! The SYN-ACK ends here: the difference of the two numberings is known then, the
//! window is opened if it was closed, and the segments that have waited go. A reset
//! goes on to the client; anything else is answered by one. Does not know how the
//! connection came to be: that is `open`.

use dpvs_wire::tcp as wire;

use crate::conn::{Handle, flags};
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::{Head, Kind, parse};
use crate::proto::{Dir, tcp::State};
use crate::raw::{L3, Net, be16};
use crate::service::{DestId, TCP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::fullnat::{ACK, FIN, RST, SYN, Segment};

use super::answer::{self, Bare};
use super::cross;
use super::gate::shift_seq;
use super::saved::Held;

impl<F: Frame> Worker<F> {
    /// What the server says to the SYN. Gives the packet back as an ordinary one if
    /// it goes on to the client.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn answered<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        seg: &Segment,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let (l4, end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
        let entry = A::entry(&self.conns, conn);
        let sent = entry.client_isn.wrapping_add(entry.seq_delta);
        let ours = seg.flags & ACK != 0
            && entry.flags & flags::SEQ != 0
            && seg.ack == sent.wrapping_add(1);
        let p = self.proxied::<A>(conn)?;
        if seg.flags & RST != 0 {
            if !ours {
                self.drop(Reason::SynproxyWaiting);
                return None;
            }
            p.delta = p.cookie.wrapping_sub(seg.seq);
            let delta = p.delta;
            self.stats.synproxy.rs_error += 1;
            self.forget::<A>(conn);
            self.says::<A, I>(snap, conn, State::Close, now, io);
            shift_seq(frame.data_mut(), l4, delta.wrapping_add(1));
            return Some(frame);
        }
        if !ours || seg.flags & (SYN | FIN) != SYN {
            // What is left of another connection: the next SYN finds it gone.
            // DIFFERS: DPVS passes it to the client.
            let ttl = snap.settings.synproxy.ttl;
            answer::reset::<A, F>(&mut frame, l4, end, &from.mac, ttl);
            self.send_back_server::<A, I>(snap, from, frame, head, conn, io);
            return None;
        }
        p.delta = p.cookie.wrapping_sub(seg.seq);
        if p.offer.wscale.is_some() {
            p.wscale.1 = wscale(&frame.data()[l4..]);
        }
        let (first, waiting) = (p.cookie.wrapping_add(1), p.queue.len);
        let entry = A::entry_mut(&mut self.conns, conn);
        if entry.flags & flags::TOA != 0 {
            entry.fdata = seg.seq.wrapping_add(1);
            entry.flags |= flags::FDATA;
        }
        entry.flags |= flags::RS_SEEN;
        (entry.rs_seq, entry.rs_ack) = (first, seg.ack);
        entry.seen = now.millis() as u32;
        self.says::<A, I>(snap, conn, State::Established, now, io);
        let conf = &snap.settings.synproxy;
        if conf.close_client_window && !conf.defer_rs_syn && waiting == 0 {
            self.open_window::<A, I>(snap, from, frame, head, conn, now, io);
        } else {
            let entry = A::entry_mut(&mut self.conns, conn);
            entry.count(Dir::Out, head.octets());
            self.dests[entry.dest as usize].count(Dir::Out, u64::from(head.octets()));
            self.drop(Reason::Consumed);
        }
        if waiting == 0 {
            self.send_ack::<A, I>(snap, conn, now, io);
        }
        self.release::<A, I>(snap, conn, now, io);
        None
    }

    /// What the server has said to the SYN; its passive check hears of it.
    fn says<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        state: State,
        now: Now,
        io: &mut I,
    ) {
        let entry = A::entry(&self.conns, conn);
        let (dest, states) = (DestId(entry.dest), (entry.state, state as u8));
        self.change_state::<A>(snap, conn, state as u8, true, now);
        if self.dests.get(dest.0 as usize).is_some_and(|d| d.checked) {
            self.note_state(snap, dest, TCP, states, true, io);
        }
    }

    /// Makes the server's SYN-ACK the client's leave to send.
    ///
    /// DIFFERS: the window of a SYN-ACK is in bytes (RFC 7323 §2.2); DPVS scales it.
    #[allow(clippy::too_many_arguments)]
    fn open_window<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let Some(p) = self.proxied::<A>(conn) else {
            return self.drop(Reason::SynproxyWaiting);
        };
        let l4 = usize::from(head.l4);
        let data = frame.data();
        let tuple = A::tuple(head, data);
        let window = Bare {
            seq: u32::from_be(crate::raw::ld32(data, l4 + 4)).wrapping_add(1),
            ack: u32::from_be(crate::raw::ld32(data, l4 + 8)),
            flags: ACK,
            window: be16(data, l4 + 14) >> p.wscale.1,
            tos: 0,
            options: &[],
        };
        frame.truncate(0);
        if !answer::bare(&mut frame, &from.mac, &tuple, &window) {
            return self.drop(Reason::NoRoom);
        }
        let mut head = Head::EMPTY;
        parse(&mut frame, &from.mac, &self.conns, &mut head);
        cross::as_sent(&mut head, tuple.src);
        match head.kind {
            Kind::Flow4 | Kind::Flow6 => {
                self.transit_again::<A, I>(snap, from, frame, &head, conn, now, io);
            }
            _ => self.drop(Reason::Malformed),
        }
    }

    /// What has waited goes to the server, in order.
    fn release<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let mut queue = match self.proxied::<A>(conn) {
            Some(p) => std::mem::take(&mut p.queue),
            None => return,
        };
        let conn = conn.towards(Dir::In);
        while let Some(Held { frame, head, port }) = self.synproxy.saved.pop(&mut queue) {
            match snap.ports.get(usize::from(port.0)) {
                Some(p) if self.is_alive::<A>(conn) => {
                    let from = p.egress(port);
                    self.transit_again::<A, I>(snap, &from, frame, &head, conn, now, io);
                }
                _ => self.drop(Reason::SynproxyQueue),
            }
        }
    }

    /// What waits is not wanted any more.
    #[cold]
    pub(crate) fn forget<A: Net>(&mut self, conn: Handle) {
        let mut queue = match self.proxied::<A>(conn) {
            Some(p) => std::mem::take(&mut p.queue),
            None => return,
        };
        while self.synproxy.saved.pop(&mut queue).is_some() {
            self.drop(Reason::SynproxyQueue);
        }
    }
}

/// The window scale of a SYN-ACK.
fn wscale(segment: &[u8]) -> u8 {
    let Ok(view) = wire::Tcp::new_checked(segment) else {
        return 0;
    };
    let mut options = wire::Options::new(view.options());
    let option = options.find(|o| o.kind == wire::OPT_WSCALE && o.data.len() == 1);
    option.map_or(0, |o| o.data[0].min(14))
}
