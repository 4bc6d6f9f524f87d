//! Choice of a server for a new connection: one scheduler a file.
//!
//! A [`Cursor`] is a worker's place in one service's servers. It is made anew
//! whenever the servers or the scheduler change, and every worker starts at a
//! different server, so that a fresh configuration does not send all workers'
//! first connections to the same one. What is hashed is looked up in a [`Table`]
//! that the master makes and all workers share. Counters come from the caller. No
//! choice walks the servers: it costs the logarithm of their number at most, besides
//! those found at their threshold, which are left out until they are said to be
//! lighter, and the tries of a hash whose server may not be used.

mod conhash;
mod dh;
mod fo;
mod hashed;
mod lblc;
mod lblcr;
mod lc;
pub mod mh;
mod nq;
mod ovf;
pub mod quic;
mod rr;
mod sed;
mod sh;
mod tournament;
mod tree;
mod twos;
mod wlc;
mod wrr;

pub use hashed::Flow;

use crate::service::{Dest, DestId, Policy, SchedKind};
use tree::MaxTree;

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

/// What servers are looked up in, for the schedulers that hash and for QUIC.
#[derive(Clone, Debug)]
pub struct Table {
    hash: Hash,
    quic: Option<quic::Servers>,
}

#[derive(Clone, Debug)]
enum Hash {
    None,
    Dh(dh::Buckets),
    Sh(sh::Buckets),
    Mh(mh::Slots),
    Conhash(conhash::Ring),
}

/// How a [`Table`] is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableConf {
    /// Which of [`mh::SIZES`] `mh` has.
    pub mh_size: usize,
    /// `mh` fills its table in the order of the list, as the C program.
    pub mh_list_order: bool,
    /// Servers can be found by a QUIC connection id.
    pub quic: bool,
}

impl Table {
    /// The table of these servers; `None` if nothing has to be looked up. Takes
    /// up to a second for the largest there can be.
    #[must_use]
    pub fn build(kind: SchedKind, dests: &[Dest], conf: TableConf) -> Option<Self> {
        let size = mh::SIZES.get(conf.mh_size).copied().unwrap_or(mh::DEFAULT);
        let hash = match kind {
            SchedKind::Dh => dh::Buckets::build(dests).map(Hash::Dh),
            SchedKind::Sh => sh::Buckets::build(dests).map(Hash::Sh),
            SchedKind::Mh => mh::Slots::build(dests, size, conf.mh_list_order).map(Hash::Mh),
            SchedKind::Conhash => conhash::Ring::build(dests).map(Hash::Conhash),
            _ => None,
        };
        let quic = conf.quic.then(|| quic::Servers::of(dests));
        (hash.is_some() || quic.is_some()).then(|| Self {
            hash: hash.unwrap_or(Hash::None),
            quic,
        })
    }

    /// The server a QUIC packet's connection id names: its place.
    #[must_use]
    pub fn quic(&self, payload: &[u8]) -> Option<usize> {
        self.quic.as_ref()?.find(payload)
    }

    fn pick(&self, flow: &Flow, policy: &Policy, open: impl FnMut(usize) -> bool) -> Option<usize> {
        match &self.hash {
            Hash::None => None,
            Hash::Dh(dh) => dh.pick(flow.vip, open),
            Hash::Sh(sh) => sh.pick(flow, policy, open),
            Hash::Mh(mh) => mh.pick(flow, policy, open),
            Hash::Conhash(ring) => ring.pick(flow, policy, open),
        }
    }
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
    Lc(lc::Lc),
    Sed(sed::Sed),
    Nq(nq::Nq),
    Fo(fo::Fo),
    Ovf(ovf::Ovf),
    Twos(twos::Twos),
    Lblc(lblc::Lblc),
    Lblcr(lblcr::Lblcr),
    /// By the service's [`Table`]. Kept is which servers are not full, so that
    /// nobody tries through the table when all are.
    Hash(MaxTree),
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
                SchedKind::Lc => Inner::Lc(lc::Lc::new(dests, start, load)),
                SchedKind::Sed => Inner::Sed(sed::Sed::new(dests, start, load)),
                SchedKind::Nq => Inner::Nq(nq::Nq::new(dests, start, load)),
                SchedKind::Fo => Inner::Fo(fo::Fo::new(dests)),
                SchedKind::Ovf => Inner::Ovf(ovf::Ovf::new(dests)),
                SchedKind::Twos => Inner::Twos(twos::Twos::new(dests)),
                SchedKind::Lblc => Inner::Lblc(lblc::Lblc::new(dests, start, false, load)),
                SchedKind::Lblcr => Inner::Lblcr(lblcr::Lblcr::new(dests, start, true, load)),
                SchedKind::Dh | SchedKind::Sh | SchedKind::Mh | SchedKind::Conhash => {
                    Inner::Hash(MaxTree::of(dests))
                }
            },
            servers: dests.iter().map(|d| (d.id, tree::weight(d))).collect(),
        }
    }

    /// Chance and hashes of its own.
    pub fn seed(&mut self, seed: u64) {
        match &mut self.inner {
            Inner::Twos(twos) => twos.seed(seed),
            Inner::Lblc(lblc) | Inner::Lblcr(lblc) => lblc.seed(seed),
            _ => {}
        }
    }

    /// Takes over what the cursor before it remembered of addresses.
    pub fn inherit(&mut self, old: Self) {
        match (&mut self.inner, old.inner) {
            (Inner::Lblc(new), Inner::Lblc(old)) | (Inner::Lblcr(new), Inner::Lblcr(old)) => {
                new.inherit(old);
            }
            _ => {}
        }
    }

    /// Index of the server for a new connection; `None` if no server is usable.
    /// `dests` are those the cursor was made for. A load that has become lighter
    /// since has to have been told by [`Self::lighter`].
    #[inline]
    pub fn pick(
        &mut self,
        dests: &[Dest],
        policy: &Policy,
        flow: &Flow,
        load: impl Fn(&Dest) -> Load,
    ) -> Option<usize> {
        let full = |d: &Dest| load(d).overloaded;
        match &mut self.inner {
            Inner::Rr(rr) => rr.pick(dests, full),
            Inner::Wrr(wrr) => wrr.pick(dests, full),
            Inner::Wlc(wlc) => wlc.pick(dests, load),
            Inner::Lc(lc) => lc.pick(dests, load),
            Inner::Sed(sed) => sed.pick(dests, load),
            Inner::Nq(nq) => nq.pick(dests, load),
            Inner::Fo(fo) => fo.pick(dests, full),
            Inner::Ovf(ovf) => ovf.pick(dests, load),
            Inner::Twos(twos) => twos.pick(dests, load),
            Inner::Lblc(lblc) | Inner::Lblcr(lblc) => lblc.pick(dests, flow.vip, flow.now, load),
            Inner::Hash(open) => pick_hashed(open, dests, policy, flow, full),
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
                Inner::Lc(lc) => lc.lighter(place, weight, load),
                Inner::Sed(sed) => sed.lighter(place, weight, load),
                Inner::Nq(nq) => nq.lighter(place, weight, load),
                Inner::Fo(fo) => fo.lighter(place, weight),
                Inner::Ovf(ovf) => ovf.lighter(place, weight),
                Inner::Twos(twos) => twos.lighter(place, weight),
                Inner::Lblc(lblc) | Inner::Lblcr(lblc) => lblc.lighter(place, weight, load),
                Inner::Hash(open) => open.set(place, weight),
            },
            _ => {}
        }
    }
}

fn pick_hashed(
    open: &mut MaxTree,
    dests: &[Dest],
    policy: &Policy,
    flow: &Flow,
    full: impl Fn(&Dest) -> bool,
) -> Option<usize> {
    let table = policy.table.as_ref()?;
    while open.top() > 0 {
        // One found full is left out until it has fewer connections.
        let mut found = None;
        let picked = table.pick(flow, policy, |place| match dests.get(place) {
            Some(dest) if open.get(place) == 0 || !dest.usable() => false,
            Some(dest) if found.is_none() && full(dest) => {
                found = Some(place);
                false
            }
            Some(dest) => !full(dest),
            None => false,
        });
        if picked.is_some() {
            return picked;
        }
        open.set(found?, 0);
    }
    None
}

impl SchedKind {
    /// Chooses by how many connections servers have.
    #[must_use]
    pub fn by_load(self) -> bool {
        use SchedKind::{Lblc, Lblcr, Lc, Nq, Ovf, Sed, Wlc};
        matches!(self, Wlc | Lc | Sed | Nq | Ovf | Lblc | Lblcr)
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
mod hash_tests;
#[cfg(test)]
mod tests;
