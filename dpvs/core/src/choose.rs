//! Which server a new flow gets: by its QUIC connection id, or by the scheduler.
//!
//! Keeps what a worker remembers of a service while it forwards, and makes it anew
//! when the service is not what it was. How the schedulers choose is in `sched`;
//! what becomes of the choice in `admit`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::Frame;
use crate::sched::{Cursor, Flow, Load};
use crate::service::{Dest, HashTarget, Service};
use crate::stats::Reason;
use crate::synproxy::Meter;
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
    /// Which of them is next.
    pub(crate) next_source: usize,
    /// How fast SYNs come.
    pub(crate) syns: Meter,
}

impl ServiceState {
    /// Whether it is of this service, not of one before with its number.
    pub(crate) fn is_of(&self, service: &Service) -> bool {
        self.uid == service.uid
    }
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

impl<F: Frame> Worker<F> {
    /// The server of a new flow; `payload` is what its first datagram carries.
    pub(crate) fn schedule(
        &mut self,
        service: &Arc<Service>,
        mut flow: Flow,
        payload: &[u8],
    ) -> Result<Dest, Reason> {
        let i = service.id.0 as usize;
        let (me, workers) = (usize::from(self.conf.id.0), usize::from(self.conf.workers));
        let (worker, of) = (me as u32, workers.max(1) as u32);
        let epoch = self.pools.epoch();
        let known = self.services.get(i).is_some_and(|state| {
            state.as_ref().is_some_and(|s| {
                s.uid == service.uid && s.version == service.version && s.epoch == epoch
            })
        });
        if !known {
            self.refresh(service);
        }
        let policy = &service.policy;
        if policy.quic
            && policy.persistence.is_none()
            && let Some(dest) = policy
                .table
                .as_ref()
                .and_then(|table| service.dests.get(table.quic(payload)?))
        {
            return Ok(*dest);
        }
        if policy.hash_target == HashTarget::Qid {
            flow.qid = gquic_id(payload);
        }
        let Some(Some(state)) = self.services.get_mut(i) else {
            return Err(Reason::NoDest);
        };
        let dests = &self.dests;
        let picked = state.cursor.pick(&service.dests, policy, &flow, |dest| {
            dests
                .get(dest.id.0 as usize)
                .map_or(Load::default(), |d| Load {
                    active: d.counters.active,
                    inactive: d.counters.inactive,
                    overloaded: d.overloaded(dest, worker, of),
                })
        });
        picked
            .and_then(|i| service.dests.get(i))
            .copied()
            .ok_or_else(|| {
                // Schedulers pass over servers at their threshold.
                if service.dests.iter().any(Dest::usable) {
                    Reason::Overload
                } else {
                    Reason::NoDest
                }
            })
    }

    /// What this worker keeps of a service, up to date.
    pub(crate) fn service_state(&mut self, service: &Arc<Service>) -> Option<&mut ServiceState> {
        let i = service.id.0 as usize;
        let epoch = self.pools.epoch();
        let known = self.services.get(i).is_some_and(|state| {
            state.as_ref().is_some_and(|s| {
                s.uid == service.uid && s.version == service.version && s.epoch == epoch
            })
        });
        if !known {
            self.refresh(service);
        }
        self.services.get_mut(i)?.as_deref_mut()
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
                epoch: 0,
                next_source: 0,
                syns: Meter::default(),
            })
        });
        if state.uid != service.uid {
            state.syns = Meter::default();
        }
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
            for (dest, place) in service.dests.iter().zip(0..) {
                if let Some(d) = self.dests.get_mut(dest.id.0 as usize) {
                    let watched = service.sched.by_load() || dest.max_conn > 0;
                    d.watch = if watched {
                        (i as u32 + 1, place)
                    } else {
                        (0, 0)
                    };
                }
            }
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
