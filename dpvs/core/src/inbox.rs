//! Messages of the master, taken between bursts.

use std::sync::Arc;

use crate::conn::table::{Family, Tuple};
use crate::conn::{ConnTable, Handle};
use crate::frame::{Frame, Io, Now};
use crate::guard::GuardState;
use crate::listing::Asked;
use crate::message::{ConnInfo, ConnTuple, DestCounters, FromWorker, Query, Reply, ToWorker};
use crate::owner::local_addresses;
use crate::raw::Net;
use crate::service::{DESTS_MAX, DestId};
use crate::snapshot::{Port, Snapshot};
use crate::stats::Reason;
use crate::tc::{Shares, TcState};
use crate::worker::{Counts, DestState, Worker};

/// Entries looked at for one piece of a connection listing.
const WALK_STEPS: u32 = 1024;
/// States made for new servers at once (64 KiB: a few pages from the system).
const NEW_DESTS: usize = 1024;
/// Removed servers looked at at once.
const OLD_DESTS: usize = 64;

impl<F: Frame> Worker<F> {
    /// Takes a message from the master.
    pub fn handle<I: Io<Frame = F>>(&mut self, message: ToWorker, now: Now, io: &mut I) {
        match message {
            ToWorker::Install { snapshot, removed } => {
                self.install(snapshot, removed, io);
            }
            ToWorker::Query { token, query } => {
                let reply = self.query(query);
                io.report(FromWorker::Reply {
                    worker: self.id(),
                    token,
                    reply,
                });
            }
            ToWorker::List {
                token,
                what,
                cursor,
                pieces,
            } => self.listings.push_back(Asked {
                token,
                what,
                cursor,
                pieces,
            }),
            ToWorker::Peer(word) => self.hear(word, now, io),
            ToWorker::NeighAdd { port, addr, mac } => self.neigh(port, addr, mac, true, now, io),
            ToWorker::NeighLearn { port, addr, mac } => self.neigh(port, addr, mac, false, now, io),
            ToWorker::NeighDel { port, addr } => {
                let dropped = self.neighs.forget(port, addr);
                self.stats.drops[Reason::NeighUnresolved as usize] += dropped as u64;
            }
            ToWorker::Announce { port, addr } => {
                if let Some(snap) = self.snap.take() {
                    self.announce(&snap, port, addr, io);
                    self.snap = Some(snap);
                }
            }
            ToWorker::Send { port, frame } => self.send_bytes(port, &frame, io),
            ToWorker::Zero { dests } => {
                if dests.is_empty() {
                    self.dests.iter_mut().for_each(|d| zero(&mut d.counters));
                }
                for dest in dests {
                    if let Some(d) = self.dests.get_mut(dest.0 as usize) {
                        zero(&mut d.counters);
                    }
                }
            }
        }
    }

    fn neigh<I: Io<Frame = F>>(
        &mut self,
        port: crate::frame::PortId,
        addr: std::net::IpAddr,
        mac: crate::snapshot::Mac,
        permanent: bool,
        now: Now,
        io: &mut I,
    ) {
        let Some(snap) = self.snap.take() else { return };
        if let Some(p) = snap.ports.get(usize::from(port.0)) {
            self.learn_quietly(&snap, &p.egress(port), addr, mac, permanent, now, io);
        }
        self.snap = Some(snap);
    }

    fn install<I: Io<Frame = F>>(&mut self, next: Arc<Snapshot>, removed: Vec<DestId>, io: &mut I) {
        if !removed.is_empty() {
            self.leaving.push_back((removed, 0));
        }
        if let Some(overtaken) = self.next.replace(next) {
            io.report(FromWorker::Spent {
                snapshot: Some(overtaken),
                removed: Vec::new(),
            });
        }
        self.chores(io);
    }

    /// Whether something the master asked for is not done yet. It is carried on
    /// with by `tick`.
    #[inline]
    #[must_use]
    pub fn has_chores(&self) -> bool {
        self.next.is_some() || !self.leaving.is_empty() || !self.listings.is_empty()
    }

    /// A bounded piece of what a new configuration brings with it.
    #[cold]
    pub(crate) fn chores<I: Io<Frame = F>>(&mut self, io: &mut I) {
        if let Some(next) = self.next.take() {
            // Every server of a configuration in force has its state.
            let need = next.services.dest_bound().min(DESTS_MAX) as usize;
            let have = self.dests.len();
            if need > have {
                let piece = if self.snap.is_none() { need } else { NEW_DESTS };
                self.dests
                    .resize_with(need.min(have + piece), DestState::default);
            }
            if self.dests.len() < need {
                self.next = Some(next);
                return;
            }
            self.switch(next, io);
        }
        self.see_off(io);
    }

    /// Forwards by the next configuration from now on.
    fn switch<I: Io<Frame = F>>(&mut self, next: Arc<Snapshot>, io: &mut I) {
        let old = self.snap.take();
        let (pools_same, ways_same) = match &old {
            Some(old) => (
                Arc::ptr_eq(old.locals.sapools(), next.locals.sapools())
                    && old.returns.same(&next.returns),
                Arc::ptr_eq(&old.fib, &next.fib)
                    && Arc::ptr_eq(old.locals.hosts(), next.locals.hosts())
                    && same_egress(&old.ports, &next.ports),
            ),
            None => (false, false),
        };
        if !pools_same {
            self.pools.set_pools(next.settings.pool_hash_size);
            self.pools.configure(local_addresses(&next));
        }
        if !ways_same {
            let ports = &next.ports;
            let dropped = self.neighs.reset_hops(|port| {
                ports
                    .get(usize::from(port.0))
                    .filter(|p| p.is_there())
                    .map(|p| p.egress(port))
            });
            self.stats.drops[Reason::NeighUnresolved as usize] += dropped as u64;
        }
        self.outward.renew();
        self.hosts.prepare(next.ports.len());
        if !next.guard.limits.is_empty() {
            self.guards
                .get_or_insert_with(|| Box::new(GuardState::new(self.conf.seed, self.conf.workers)))
                .prepare(&next.guard, &next.services);
        }
        if old.as_ref().is_none_or(|o| !Arc::ptr_eq(&o.tc, &next.tc)) {
            let mtus: Vec<u16> = next.ports.iter().map(|p| p.mtu).collect();
            let shares = Shares {
                workers: self.conf.workers.into(),
                mtus: &mtus,
            };
            let (tc, lost) = TcState::of(self.tc.take(), &next.tc, &shares);
            self.tc = tc;
            self.stats.drops[Reason::TrafficControl as usize] += lost;
        }
        let epoch = next.epoch;
        self.snap = Some(next);
        io.report(FromWorker::Installed {
            worker: self.id(),
            epoch,
            retired: old,
        });
    }

    /// Looks at some of the servers that are in no configuration any more.
    fn see_off<I: Io<Frame = F>>(&mut self, io: &mut I) {
        let Some((list, done)) = self.leaving.pop_front() else {
            return;
        };
        let end = list.len().min(done + OLD_DESTS);
        for &dest in list.get(done..end).unwrap_or_default() {
            match self.dests.get_mut(dest.0 as usize) {
                Some(state) if state.conns_now() > 0 => state.removed = true,
                Some(_) => self.drained(dest, io),
                None => io.report(FromWorker::DestDrained {
                    worker: self.id(),
                    dest,
                }),
            }
        }
        if end < list.len() {
            self.leaving.push_front((list, end));
        } else {
            io.report(FromWorker::Spent {
                snapshot: None,
                removed: list,
            });
        }
    }

    fn query(&mut self, query: Query) -> Reply {
        match query {
            Query::Dests(ids) => Reply::Dests(
                ids.iter()
                    .map(|id| {
                        self.dests
                            .get(id.0 as usize)
                            .map_or(DestCounters::default(), |d| {
                                d.listed(self.templates.of(*id))
                            })
                    })
                    .collect(),
            ),
            Query::Neighbours => Reply::Neighbours(self.neighs.list()),
            Query::Conns { cursor, max } => self.list_conns(cursor, max),
            Query::ConnFind(tuple) => Reply::ConnFind(self.find_conn(&tuple).map(Box::new)),
            Query::Tc => Reply::Tc(self.tc.as_ref().map_or_else(Vec::new, |t| t.stats())),
            Query::Laddrs => Reply::Laddrs(self.pools.usage()),
            Query::Counters => {
                self.stats.conns = self.conns.len() as u64;
                Reply::Counters(Box::new(self.stats.clone()))
            }
        }
    }

    fn list_conns(&self, mut cursor: u32, max: u32) -> Reply {
        let mut conns = Vec::new();
        let mut steps = WALK_STEPS;
        while (conns.len() as u32) < max && steps > 0 {
            match self.conns.walk(cursor, &mut steps) {
                Some((conn, next)) => {
                    cursor = next;
                    conns.extend(conn.map(|c| self.conn_info(c)));
                }
                None => return Reply::Conns { conns, next: None },
            }
        }
        Reply::Conns {
            conns,
            next: Some(cursor),
        }
    }

    fn find_conn(&self, t: &ConnTuple) -> Option<ConnInfo> {
        let conn = find::<u32>(&self.conns, t).or_else(|| find::<u128>(&self.conns, t))?;
        Some(self.conn_info(conn))
    }
}

/// Whether frames leave by every port as before.
fn same_egress(old: &[Port], new: &[Port]) -> bool {
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(a, b)| (a.mac, a.mtu) == (b.mac, b.mtu))
}

fn find<A: Net>(conns: &ConnTable, t: &ConnTuple) -> Option<Handle> {
    let tuple = Tuple {
        src: A::from_ip(t.src)?,
        dst: A::from_ip(t.dst)?,
        sport: t.sport.to_be(),
        dport: t.dport.to_be(),
        proto: t.proto,
    };
    conns.find(<A as Family>::hash(conns, &tuple), &tuple)
}

/// Counts from zero again; what is open stays open.
fn zero(c: &mut Counts) {
    *c = Counts {
        active: c.active,
        inactive: c.inactive,
        ..Counts::default()
    };
}
