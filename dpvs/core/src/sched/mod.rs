//! Choice of a server for a new connection: one scheduler a file.
//!
//! A [`Cursor`] is a worker's place in one service's servers. It is made anew
//! whenever the servers or the scheduler change, and every worker starts at a
//! different server, so that a fresh configuration does not send all workers'
//! first connections to the same one. Counters come from the caller.

mod rr;
mod wlc;
mod wrr;

use crate::service::{Dest, SchedKind};

/// What a worker knows of a server's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// At its connection threshold: gets none.
    pub overloaded: bool,
}

/// A worker's place in one service's servers.
#[derive(Clone, Debug)]
pub struct Cursor(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Rr(rr::Rr),
    Wrr(wrr::Wrr),
    Wlc(wlc::Wlc),
}

impl Cursor {
    /// A fresh cursor of a worker (counted from 0) out of `workers`.
    #[must_use]
    pub fn new(kind: SchedKind, dests: &[Dest], worker: usize, workers: usize) -> Self {
        let start = start(dests.len(), worker, workers);
        Self(match kind {
            SchedKind::Rr => Inner::Rr(rr::Rr::new(start)),
            SchedKind::Wrr => Inner::Wrr(wrr::Wrr::new(dests, start)),
            SchedKind::Wlc => Inner::Wlc(wlc::Wlc::new(start)),
        })
    }

    /// Index of the server for a new connection; `None` if no server is usable.
    /// `dests` are those the cursor was made for.
    #[inline]
    pub fn pick(&mut self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        match &mut self.0 {
            Inner::Rr(rr) => rr.pick(dests, |d| usable(d, &load)),
            Inner::Wrr(wrr) => wrr.pick(dests, |d| usable(d, &load)),
            Inner::Wlc(wlc) => wlc.pick(dests, load),
        }
    }
}

#[inline]
fn usable(dest: &Dest, load: &impl Fn(&Dest) -> Load) -> bool {
    dest.usable() && !load(dest).overloaded
}

/// Start position of a worker, as DPVS spreads it: worker i of n counts as lcore
/// index i + 1, because index 0 is the master's.
fn start(dests: usize, worker: usize, workers: usize) -> usize {
    if dests == 0 {
        return 0;
    }
    let step = (dests / workers.max(1)).max(1);
    step.wrapping_mul(worker + 1) % dests
}

#[cfg(test)]
mod tests;
