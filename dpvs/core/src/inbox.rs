//! Messages of the master, taken between bursts.

use std::sync::Arc;

use crate::conn::table::{Family, Tuple};
use crate::conn::{ConnTable, Handle};
use crate::frame::{Frame, Io, Now};
use crate::message::{ConnInfo, ConnTuple, DestCounters, FromWorker, Query, Reply, ToWorker};
use crate::raw::Net;
use crate::service::{DestId, Service};
use crate::snapshot::{Local, Snapshot};
use crate::stats::Reason;
use crate::worker::{DestState, Worker};

/// Entries looked at for one piece of a connection listing.
const WALK_STEPS: u32 = 4096;

impl<F: Frame> Worker<F> {
    /// Takes a message from the master.
    pub fn handle<I: Io<Frame = F>>(&mut self, message: ToWorker, now: Now, io: &mut I) {
        match message {
            ToWorker::Install { snapshot, removed } => {
                self.install(snapshot, &removed, now, io);
            }
            ToWorker::Query { token, query } => {
                let reply = self.query(query);
                io.report(FromWorker::Reply {
                    worker: self.id(),
                    token,
                    reply,
                });
            }
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

    fn install<I: Io<Frame = F>>(
        &mut self,
        next: Arc<Snapshot>,
        removed: &[DestId],
        _now: Now,
        io: &mut I,
    ) {
        let old = self.snap.take();
        let same = |f: fn(&Snapshot) -> *const ()| old.as_ref().is_some_and(|o| f(o) == f(&next));
        let ports_same = same(|s| Arc::as_ptr(&s.ports).cast());
        let routes_same = same(|s| Arc::as_ptr(&s.fib).cast());
        let locals_same = same(|s| Arc::as_ptr(&s.locals).cast());
        if !locals_same {
            self.pools
                .configure(next.locals.iter().filter_map(|(addr, local)| match local {
                    Local::Own { sapool: true, .. } => Some((*addr, None)),
                    _ => None,
                }));
        }
        if !(ports_same && routes_same && locals_same) {
            let ports = &next.ports;
            let dropped = self
                .neighs
                .reset_hops(|port| ports.get(usize::from(port.0)).map(|p| p.egress(port)));
            self.stats.drops[Reason::NeighUnresolved as usize] += dropped as u64;
        }
        for service in next.services.changed(old.as_ref().map(|o| &o.services)) {
            self.adopt(service);
        }
        for &dest in removed {
            let Some(state) = self.dests.get_mut(dest.0 as usize) else {
                io.report(FromWorker::DestDrained {
                    worker: self.id(),
                    dest,
                });
                continue;
            };
            state.removed = true;
            state.quiescent = true;
            if state.conns_now() == 0 {
                self.drained(dest, io);
            }
        }
        let epoch = next.epoch;
        self.snap = Some(next);
        io.report(FromWorker::Installed {
            worker: self.id(),
            epoch,
            retired: old,
        });
    }

    /// Notes what running connections ask of a service's servers.
    fn adopt(&mut self, service: &Service) {
        let (me, workers) = (
            u32::from(self.conf.id.0),
            u32::from(self.conf.workers.max(1)),
        );
        for dest in service.dests.iter() {
            let i = dest.id.0 as usize;
            if i >= self.dests.len() {
                self.dests.resize_with(i + 1, DestState::default);
            }
            let state = &mut self.dests[i];
            state.quiescent = !dest.usable();
            // DIFFERS: DPVS gives each worker the whole part only, and none of
            // it when there are more workers than connections.
            let share = dest.max_conn / workers + u32::from(me < dest.max_conn % workers);
            state.limit = if dest.max_conn == 0 { 0 } else { share.max(1) };
        }
    }

    fn query(&mut self, query: Query) -> Reply {
        match query {
            Query::Dests(ids) => Reply::Dests(
                ids.iter()
                    .map(|id| {
                        self.dests
                            .get(id.0 as usize)
                            .map_or(DestCounters::default(), |d| d.counters)
                    })
                    .collect(),
            ),
            Query::Neighbours => Reply::Neighbours(self.neighs.list()),
            Query::Conns { cursor, max } => self.list_conns(cursor, max),
            Query::ConnFind(tuple) => Reply::ConnFind(self.find_conn(&tuple)),
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
fn zero(c: &mut DestCounters) {
    *c = DestCounters {
        active: c.active,
        inactive: c.inactive,
        ..DestCounters::default()
    };
}
