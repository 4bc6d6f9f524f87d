//! Passive check of servers: connections that fail or succeed are told to the
//! master, which takes a server out and back (DPVS facts §11).
//!
//! DIFFERS: a reset counts against a server only if the server sent it, and a
//! handshake that is never finished only if the server did not answer; with DPVS
//! clients that leave connections half open take servers out. With direct routing
//! and tunnels answers are not seen: TCP is judged by what the client says next, UDP
//! is not judged, where DPVS takes every server out.

use crate::conn::table::Family;
use crate::conn::{Handle, flags};
use crate::frame::{Frame, Io};
use crate::message::FromWorker;
use crate::proto::{tcp, udp};
use crate::service::{DestId, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::worker::Worker;

impl<F: Frame> Worker<F> {
    /// A connection's time is up.
    #[inline]
    pub(crate) fn note_expiry<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        io: &mut I,
    ) {
        let (dest, proto, state, bits, direct) = if conn.is_v6() {
            let e = <u128 as Family>::entry(&self.conns, conn);
            (e.dest, e.proto, e.state, e.flags, e.is_direct())
        } else {
            let e = <u32 as Family>::entry(&self.conns, conn);
            (e.dest, e.proto, e.state, e.flags, e.is_direct())
        };
        let watched = self.dests.get(dest as usize).is_some_and(|d| d.checked);
        let tells = match proto {
            TCP => bits & flags::RS_SEEN == 0,
            _ => !direct,
        };
        if watched && unanswered(proto, state) && tells {
            self.failed(snap, DestId(dest), io);
        }
    }

    /// A connection to a watched server has got from one state to another, by a
    /// packet of the server (`by_server`) or the client.
    #[cold]
    pub(crate) fn note_state<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        dest: DestId,
        proto: u8,
        (from, to): (u8, u8),
        by_server: bool,
        io: &mut I,
    ) {
        if by_server && proto == TCP && unanswered(proto, from) && to == tcp::State::Close as u8 {
            self.failed(snap, dest, io);
        }
        let works = match proto {
            TCP => to == tcp::State::Established as u8,
            UDP => to == udp::State::Normal as u8,
            _ => false,
        };
        let worker = self.id();
        if works
            && let Some(state) = self.dests.get_mut(dest.0 as usize)
            && state.confirm > 0
        {
            state.confirm -= 1;
            io.report(FromWorker::DestUp { worker, dest });
        }
    }

    fn failed<I: Io<Frame = F>>(&mut self, snap: &Snapshot, dest: DestId, io: &mut I) {
        // What is out already is not taken out again.
        if !snap.services.is_quiescent(dest) {
            let worker = self.id();
            io.report(FromWorker::DestDown { worker, dest });
        }
    }
}

/// The server has not said yes yet.
fn unanswered(proto: u8, state: u8) -> bool {
    match proto {
        TCP => {
            let state = tcp::State::from_u8(state);
            matches!(state, tcp::State::SynSent | tcp::State::SynRecv)
        }
        UDP => state == udp::State::OneWay as u8,
        _ => false,
    }
}
