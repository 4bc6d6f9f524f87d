//! Choice of a server for a new connection: one scheduler a file.
//!
//! A [`Cursor`] is a worker's place in one service's servers. It is made anew
//! whenever the servers or the scheduler change, and every worker starts at a
//! different server, so that a fresh configuration does not send all workers'
//! first connections to the same one. Counters come from the caller. No choice
//! walks the servers: it costs the logarithm of their number at most, besides those
//! found at their threshold, which are left out until they are said to be lighter.

mod rr;
mod tree;
mod wlc;
mod wrr;

use crate::service::{Dest, DestId, SchedKind};

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
pub struct Cursor {
    inner: Inner,
    /// The servers it was made for, and their weights, 0 if not usable.
    servers: Box<[(DestId, u16)]>,
}

#[derive(Clone, Debug)]
enum Inner {
    Rr(rr::Rr),
    Wrr(wrr::Wrr),
    Wlc(wlc::Wlc),
}

impl Cursor {
    /// A fresh cursor of a worker (counted from 0) out of `workers`.
    #[must_use]
    pub fn new(
        kind: SchedKind,
        dests: &[Dest],
        worker: usize,
        workers: usize,
        load: impl Fn(&Dest) -> Load,
    ) -> Self {
        let start = start(dests.len(), worker, workers);
        Self {
            inner: match kind {
                SchedKind::Rr => Inner::Rr(rr::Rr::new(dests, start)),
                SchedKind::Wrr => Inner::Wrr(wrr::Wrr::new(dests, start)),
                SchedKind::Wlc => Inner::Wlc(wlc::Wlc::new(dests, start, load)),
            },
            servers: dests
                .iter()
                .map(|d| (d.id, if d.usable() { d.weight } else { 0 }))
                .collect(),
        }
    }

    /// Index of the server for a new connection; `None` if no server is usable.
    /// `dests` are those the cursor was made for. A load that has become lighter
    /// since has to have been told by [`Self::lighter`].
    #[inline]
    pub fn pick(&mut self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        match &mut self.inner {
            Inner::Rr(rr) => rr.pick(dests, |d| load(d).overloaded),
            Inner::Wrr(wrr) => wrr.pick(dests, |d| load(d).overloaded),
            Inner::Wlc(wlc) => wlc.pick(dests, load),
        }
    }

    /// The server at that place has fewer connections than before, or fewer
    /// active ones. Nothing happens if another server stands there now.
    pub fn lighter(&mut self, place: usize, dest: DestId, load: Load) {
        match self.servers.get(place) {
            Some(&(id, weight)) if id == dest && weight > 0 => match &mut self.inner {
                Inner::Rr(rr) => rr.lighter(place),
                Inner::Wrr(wrr) => wrr.lighter(place, weight),
                Inner::Wlc(wlc) => wlc.lighter(place, weight, load),
            },
            _ => {}
        }
    }
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
