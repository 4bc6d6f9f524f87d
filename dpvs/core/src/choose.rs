//! Which server a new flow gets: by its QUIC connection id, or by the scheduler.
//!
//! Keeps what a worker remembers of a service while it forwards, and makes it anew
//! when the service is not what it was. How the schedulers choose is in `sched`;
//! what becomes of the choice in `admit`.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::{Frame, Io, Now};
use crate::held::WaitFor;
use crate::sched::{Cursor, Flow, Load};
use crate::service::{Dest, DestId, HashTarget, Service, ServiceKey};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::synproxy::{Meter, Servers};
use crate::worker::{DestState, Worker};

/// What a worker keeps of a service while it forwards.
pub(crate) struct ServiceState {
    uid: u64,
    version: u64,
    pub(crate) cursor: Cursor,
    /// Local addresses that feed a port pool, with the number of their pools, as
    /// of `epoch`.
    pub(crate) sources: Vec<(IpAddr, u32)>,
    epoch: u32,
    /// Servers' places by number, where persistence asks for them.
    places: Vec<(DestId, u32)>,
    /// Which of them is next.
    pub(crate) next_source: usize,
    /// SYNs that its gauge has not heard of.
    pub(crate) syns: Meter,
    /// What its servers are for the SYN proxy.
    pub(crate) servers: Servers,
}

/// Of every service a worker may know.
pub(crate) type ServiceStates = Vec<Option<Box<ServiceState>>>;

/// Services a worker keeps room for from the start.
const SERVICES: usize = 65_536;

/// Room for the services, so that no packet waits for it.
pub(crate) fn service_states() -> ServiceStates {
    let mut states = Vec::new();
    states.resize_with(SERVICES, || None);
    states
}

/// Why a new flow gets no server, or not now.
pub(crate) enum Refusal {
    /// It is refused.
    Drop(Reason),
    /// Another worker has to be heard first.
    Hold(WaitFor),
}

/// The server of a new flow.
pub(crate) struct Chosen {
    pub dest: Dest,
    /// The persistence template it comes from; 0 = none.
    pub template: u32,
}

impl Chosen {
    pub(crate) fn of(dest: Dest) -> Self {
        Self { dest, template: 0 }
    }
}

impl<F: Frame> Worker<F> {
    /// The server of a new flow; `payload` is what its first datagram carries.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn choose<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        service: &Arc<Service>,
        mut flow: Flow,
        payload: &[u8],
        now: Now,
        io: &mut I,
    ) -> Result<Chosen, Refusal> {
        self.know(service);
        let policy = &service.policy;
        if policy.hash_target == HashTarget::Qid {
            flow.qid = gquic_id(payload);
        }
        match &policy.persistence {
            Some(p) => self.choose_persistent(snap, service, p, flow, payload, now, io),
            None => self.schedule(service, &flow, payload, io),
        }
    }

    /// By connection id, or by the scheduler.
    pub(crate) fn schedule<I: Io<Frame = F>>(
        &mut self,
        service: &Arc<Service>,
        flow: &Flow,
        payload: &[u8],
        io: &mut I,
    ) -> Result<Chosen, Refusal> {
        let policy = &service.policy;
        if policy.quic
            && policy.persistence.is_none()
            && let Some(dest) = policy
                .table
                .as_ref()
                .and_then(|table| service.dests.get(table.quic(payload)?))
            && (dest.usable() || !service.expire_quiescent)
        {
            return Ok(Chosen::of(*dest));
        }
        let Some(Some(state)) = self.services.get_mut(service.id.0 as usize) else {
            return Err(Refusal::Drop(Reason::NoDest));
        };
        let (dests, limits) = (&self.dests, &self.limits);
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let passed_over = Cell::new(None);
        let picked = state.cursor.pick(&service.dests, policy, flow, |dest| {
            let Some(d) = dests.get(dest.id.0 as usize) else {
                return Load::default();
            };
            let overloaded = limits.overloaded(dest, d, me, workers);
            if overloaded {
                passed_over.set(Some(dest.id));
            }
            Load {
                overloaded,
                ..d.load()
            }
        });
        if let Some(dest) = passed_over.get() {
            // Others may have something left of it: not for this one, but the next.
            self.want_more(dest, io);
        }
        match picked.and_then(|i| service.dests.get(i)) {
            Some(dest) => Ok(Chosen::of(*dest)),
            // Schedulers pass over servers at their threshold.
            None if service.dests.iter().any(Dest::usable) => {
                self.wait_for_room(&service.dests, io)
            }
            None => Err(Refusal::Drop(Reason::NoDest)),
        }
    }

    /// All servers are at their threshold, as far as this worker may go: others may
    /// have something left.
    #[cold]
    pub(crate) fn wait_for_room<I: Io<Frame = F>>(
        &mut self,
        dests: &[Dest],
        io: &mut I,
    ) -> Result<Chosen, Refusal> {
        if !self.may_wait() {
            return Err(Refusal::Drop(Reason::Overload));
        }
        match self.ask_around(dests, io) {
            Some(dest) => Err(Refusal::Hold(WaitFor::Limit(dest))),
            None => Err(Refusal::Drop(Reason::Overload)),
        }
    }

    /// May this worker make no more connections to a server.
    pub(crate) fn is_overloaded(&self, dest: &Dest) -> bool {
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let state = self.dests.get(dest.id.0 as usize);
        state.is_some_and(|s| self.limits.overloaded(dest, s, me, workers))
    }

    /// The server of that number in a service.
    pub(crate) fn dest_of(&self, service: &Service, id: DestId) -> Option<Dest> {
        let state = self.services.get(service.id.0 as usize)?.as_ref()?;
        let at = state.places.binary_search_by_key(&id, |p| p.0).ok()?;
        let place = state.places.get(at)?.1 as usize;
        service.dests.get(place).filter(|d| d.id == id).copied()
    }

    /// What is kept of a service is about the service as it is now.
    #[inline]
    pub(crate) fn know(&mut self, service: &Arc<Service>) {
        let epoch = self.pools.epoch();
        let known = self
            .services
            .get(service.id.0 as usize)
            .is_some_and(|state| {
                state.as_ref().is_some_and(|s| {
                    s.uid == service.uid && s.version == service.version && s.epoch == epoch
                })
            });
        if !known {
            self.refresh(service);
        }
    }

    /// The same of the service of a key, if there is one.
    #[cold]
    pub(crate) fn know_by_key(&mut self, key: &ServiceKey) {
        let Some(snap) = self.snap.take() else { return };
        if let Some(service) = snap.services.any(key) {
            self.know(service);
        }
        self.snap = Some(snap);
    }

    /// What this worker keeps of a service, up to date.
    pub(crate) fn service_state(&mut self, service: &Arc<Service>) -> Option<&mut ServiceState> {
        self.know(service);
        self.services.get_mut(service.id.0 as usize)?.as_deref_mut()
    }

    /// The service, its local addresses or their pools are not what they were.
    #[cold]
    fn refresh(&mut self, service: &Arc<Service>) {
        let i = service.id.0 as usize;
        if i >= self.services.len() {
            self.services.resize_with(i + 1, || None);
        }
        let (me, workers) = (usize::from(self.conf.id.0), usize::from(self.conf.workers));
        let seed = self.conf.seed[2] ^ service.uid.rotate_left(40);
        let dests = &self.dests;
        let cursor = || {
            let load = |d: &Dest| {
                dests
                    .get(d.id.0 as usize)
                    .map_or(Load::default(), DestState::load)
            };
            let mut cursor = Cursor::new(service.sched, &service.dests, me, workers, load);
            cursor.seed(seed);
            cursor
        };
        let slot = &mut self.services[i];
        let fresh = slot.is_none();
        let state = slot.get_or_insert_with(|| {
            Box::new(ServiceState {
                uid: service.uid,
                version: service.version,
                cursor: cursor(),
                sources: Vec::new(),
                places: Vec::new(),
                epoch: 0,
                next_source: 0,
                syns: Meter::default(),
                servers: Servers::default(),
            })
        });
        let changed = state.uid != service.uid || state.version != service.version;
        if changed {
            let same = state.uid == service.uid;
            state.uid = service.uid;
            state.version = service.version;
            let old = std::mem::replace(&mut state.cursor, cursor());
            if same {
                state.cursor.inherit(old);
            }
        }
        if fresh || changed {
            state.servers = Servers::of(service);
            for (dest, place) in service.dests.iter().zip(0..) {
                if let Some(d) = self.dests.get_mut(dest.id.0 as usize) {
                    let watched = service.sched.by_load() || dest.max_conn > 0;
                    d.checked = service.policy.check.is_some();
                    if std::mem::replace(&mut d.returns, dest.returns) != dest.returns {
                        d.confirm = service.policy.check.unwrap_or(0);
                    }
                    self.limits.configure(dest, service.key);
                    d.watch = if watched {
                        (i as u32 + 1, place)
                    } else {
                        (0, 0)
                    };
                }
            }
        }
        if (fresh || changed) && service.policy.persistence.is_some() {
            state.places.clear();
            state
                .places
                .extend(service.dests.iter().map(|d| d.id).zip(0..));
            state.places.sort_unstable();
        }
        let pools = &self.pools;
        state.epoch = pools.epoch();
        state.sources.clear();
        state.sources.extend(
            service
                .laddrs
                .iter()
                .filter_map(|l| Some((l.addr, pools.number(l.addr)?))),
        );
    }
}

/// The connection id of a gQUIC datagram, if it has one.
fn gquic_id(payload: &[u8]) -> Option<u64> {
    let (flags, rest) = payload.split_first()?;
    if flags & 8 == 0 {
        return None;
    }
    rest.first_chunk().map(|id| u64::from_le_bytes(*id))
}
