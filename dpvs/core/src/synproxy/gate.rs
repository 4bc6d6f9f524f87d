//! Packets of proxied connections, before they are treated like any other's.
//!
//! Towards the server acknowledgements (and SACK edges) become those of its own
//! numbers, towards the client numbers become those the cookie began; windows are
//! scaled from the server's unit to the one the client was told. Before the server
//! has answered, nothing passes: the client's segments wait, the server's answer
//! opens ([`super::open`]).

use dpvs_wire::checksum::Delta;
use dpvs_wire::tcp as wire;

use crate::conn::Handle;
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::Head;
use crate::proto::{Dir, tcp::State, tcp::is_pure_syn};
use crate::raw::{L3, Net, be16, ld16, ld32, st16, st32};
use crate::service::TCP;
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::fullnat::{ACK, FIN, RST, SYN, Segment, raw};
use crate::xmit::tcpopt;

use super::Proxied;

/// Bare ACKs that came longer ago than that are no storm, milliseconds.
const STORM: u32 = 1000;

impl<F: Frame> Worker<F> {
    /// What is proxied of a connection.
    #[inline]
    pub(super) fn proxied<A: Net>(&mut self, conn: Handle) -> Option<&mut Proxied> {
        self.conns.side_mut::<A>(conn)?.synproxy.as_mut()
    }

    /// How far the server's numbers are from what the client sees.
    pub(crate) fn proxy_delta<A: Net>(&self, conn: Handle) -> u32 {
        let side = self.conns.side::<A>(conn);
        side.and_then(|s| s.synproxy.as_ref())
            .map_or(0, |p| p.delta)
    }

    /// Takes a packet of a connection that may be proxied; gives it back as one of
    /// an ordinary connection, unless it ends here.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn proxy_gate<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        if head.proto != TCP {
            let once = self.conns.side::<A>(conn).is_some_and(|side| side.once);
            if !once || conn.dir() == Dir::Out || head.fragment || head.turned {
                return Some(frame);
            }
            // A datagram in one piece: none of those it was made for.
            self.anew::<A, I>(snap, from, frame, head, conn, now, io);
            return None;
        }
        if self.proxied::<A>(conn).is_none() {
            return Some(frame);
        }
        let l4 = usize::from(head.l4);
        let seg = Segment::read(frame.data(), l4, L3 + usize::from(head.ip_len));
        let state = State::from_u8(A::entry(&self.conns, conn).state);
        let conf = &snap.settings.synproxy;
        match (conn.dir(), state) {
            _ if head.fragment && (state == State::SynSent || seg.flags & SYN != 0) => {
                self.drop(Reason::Fragment);
                return None;
            }
            (Dir::In, _) if is_pure_syn(seg.flags) => {
                let servers_v6 = Self::served_v6::<A>(snap, head, frame.data());
                self.send_cookie::<A, I>(snap, from, frame, head, servers_v6, now, io);
                return None;
            }
            (Dir::In, State::SynSent) => {
                self.hold::<A>(snap, from, frame, head, conn, &seg);
                return None;
            }
            (Dir::In, _) if seg.flags & (SYN | FIN | RST | ACK) == ACK && conf.reuses(state) => {
                frame = self.try_reuse::<A, I>(snap, from, frame, head, conn, &seg, now, io)?;
            }
            (Dir::Out, State::SynSent) => {
                return self.answered::<A, I>(snap, from, frame, head, conn, &seg, now, io);
            }
            (Dir::Out, _) if seg.flags & (SYN | ACK | RST) == SYN | ACK => {
                // Our ACK was lost.
                self.drop(Reason::Consumed);
                self.send_ack::<A, I>(snap, conn, now, io);
                return None;
            }
            (Dir::Out, _) if seg.len == 0 && seg.flags & (SYN | FIN | RST | ACK) == ACK => {
                let limit = conf.ack_storm_thresh;
                let p = self.proxied::<A>(conn)?;
                if p.is_storm(frame.data(), l4, &seg, limit, now) {
                    self.stats.synproxy.ack_storm += 1;
                    self.drop(Reason::SynproxyAckStorm);
                    return None;
                }
            }
            _ => {}
        }
        let p = self.proxied::<A>(conn)?;
        p.translate(conn.dir(), frame.data_mut(), l4, seg.flags);
        Some(frame)
    }

    /// Undoes the shift of a number: an error about the packet quotes it as it came.
    #[cold]
    pub(crate) fn ungate<A: Net>(&mut self, conn: Handle, frame: &mut F, head: &Head) {
        if head.proto == TCP
            && conn.dir() == Dir::Out
            && let Some(p) = self.proxied::<A>(conn)
        {
            let by = 0u32.wrapping_sub(p.delta);
            shift_seq(frame.data_mut(), usize::from(head.l4), by);
        }
    }
}

impl Proxied {
    /// Shifts the numbers of a segment and scales its window.
    pub(super) fn translate(&self, dir: Dir, data: &mut [u8], l4: usize, flags: u8) {
        match dir {
            Dir::In if flags & ACK != 0 => {
                let by = 0u32.wrapping_sub(self.delta);
                let sack = if data[l4 + 12] > 0x50 {
                    tcpopt::shift_sack(&mut data[l4..], by)
                } else {
                    Delta::new()
                };
                let delta = add32(data, l4 + 8, by).and(raw(sack));
                fix(data, l4, delta);
            }
            Dir::In => {}
            Dir::Out => {
                shift_seq(data, l4, self.delta);
                let (client, server) = self.wscale;
                if client != server && flags & SYN == 0 {
                    let old = ld16(data, l4 + 14);
                    let new = u32::from(u16::from_be(old)) << server >> client;
                    let new = u16::try_from(new).unwrap_or(u16::MAX).to_be();
                    st16(data, l4 + 14, new);
                    fix(data, l4, Delta::new().sub(old).add(new));
                }
            }
        }
    }

    /// Counts the server's bare ACKs that say nothing new; true if it is one too
    /// many.
    ///
    /// DIFFERS: DPVS takes segments with data for such, too, and answers to
    /// keepalive probes a minute apart; and it sends what is too much, untranslated.
    fn is_storm(&mut self, data: &[u8], l4: usize, seg: &Segment, limit: u16, now: Now) -> bool {
        let (this, ms) = ((seg.seq, seg.ack, be16(data, l4 + 14)), now.millis() as u32);
        let recent = ms.wrapping_sub(self.same_at) < STORM;
        self.same_at = ms;
        // Each duplicate with a SACK tells of another loss.
        if std::mem::replace(&mut self.last, this) == this && recent && !has_sack(data, l4) {
            self.same = self.same.saturating_add(1);
        } else {
            self.same = 0;
        }
        self.same >= limit
    }
}

fn has_sack(data: &[u8], l4: usize) -> bool {
    data[l4 + 12] > 0x50
        && wire::Tcp::new_checked(&data[l4..])
            .is_ok_and(|t| wire::Options::new(t.options()).any(|o| o.kind == wire::OPT_SACK))
}

/// Adds to a number of the header; what that does to the checksum, in raw words.
fn add32(data: &mut [u8], at: usize, by: u32) -> Delta {
    let old = ld32(data, at);
    let new = u32::from_be(old).wrapping_add(by).to_be();
    st32(data, at, new);
    Delta::new().sub(old).add(new)
}

fn fix(data: &mut [u8], l4: usize, delta: Delta) {
    let sum = delta.apply(ld16(data, l4 + 16));
    st16(data, l4 + 16, sum);
}

/// Adds to the sequence number.
pub(super) fn shift_seq(data: &mut [u8], l4: usize, by: u32) {
    let delta = add32(data, l4 + 4, by);
    fix(data, l4, delta);
}
