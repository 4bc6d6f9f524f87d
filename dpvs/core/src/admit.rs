//! New flows: service, server, local port, connection (DPVS facts §6, §9).

use std::net::IpAddr;
use std::sync::Arc;

use zerocopy::FromZeros;

use crate::conn::table::Tuple;
use crate::conn::{Entry, Handle, flags};
use crate::frame::{Frame, Io, Now, WorkerId};
use crate::lifecycle::timeout_ms;
use crate::neigh::Egress;
use crate::parse::Head;
use crate::proto::{Dir, tcp, udp};
use crate::raw::Net;
use crate::sched::{Cursor, Load};
use crate::service::{Dest, FwdMode, SchedKind, Service, ServiceKey, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::{DestState, Worker};
use crate::xmit::fullnat::SYN;

/// Local addresses tried for one connection.
const LADDR_TRIES: usize = 16;

/// What became of a flow without connection.
pub(crate) enum Admitted {
    /// It has one now.
    Conn(Handle),
    /// It belongs to no service: on to the light IP stack.
    Pass,
    /// It is refused.
    Drop(Reason),
    /// Another worker has its connection.
    HandOver(WorkerId),
}

/// What a worker keeps of a service while it forwards.
pub(crate) struct ServiceState {
    uid: u64,
    version: u64,
    pub(crate) cursor: Cursor,
    /// Local addresses that feed a port pool, with the number of their pools, as
    /// of `epoch`.
    sources: Vec<(IpAddr, u32)>,
    epoch: u32,
    next_source: usize,
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
    /// Decides on the first packet of a flow (or one sent while its connection
    /// was made earlier in the same burst).
    pub(crate) fn admit<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Admitted {
        let data = frame.data();
        let (src, dst) = A::addrs(data);
        let dst_ip = dst.ip();
        let port = u16::from_be(head.dport);
        let key = ServiceKey {
            proto: head.proto,
            addr: dst_ip,
            port,
        };
        let syn = head.proto == TCP && tcp::is_pure_syn(data[usize::from(head.l4) + 13]);
        let service = match snap.services.get(&key) {
            Some(service) if syn || head.proto == UDP => service,
            found => {
                // A service's own packets come before those of a local port, for
                // addresses that are both.
                let tuple = Tuple {
                    src,
                    dst,
                    sport: head.sport,
                    dport: head.dport,
                    proto: head.proto,
                };
                if let Some(owner) = self.owner_elsewhere(snap, &tuple) {
                    return Admitted::HandOver(owner);
                }
                return self.no_service(snap, &key, found.is_some());
            }
        };
        if bad_source(src.ip()) {
            return Admitted::Drop(Reason::BadAddress);
        }
        match self.create::<A, I>(snap, from, service, frame, head, now, io) {
            Ok(conn) => Admitted::Conn(conn),
            Err(reason) => Admitted::Drop(reason),
        }
    }

    /// DPVS's defences against packets that only look like a service's.
    fn no_service(&self, snap: &Snapshot, key: &ServiceKey, known: bool) -> Admitted {
        let s = &snap.settings;
        if key.proto == TCP && s.defence_tcp_drop && (known || snap.services.has(key.addr, TCP)) {
            return Admitted::Drop(Reason::DefenceTcp);
        }
        if key.proto == UDP
            && s.defence_udp_drop
            && snap.services.has(key.addr, TCP)
            && !snap.services.has(key.addr, UDP)
        {
            return Admitted::Drop(Reason::DefenceUdp);
        }
        Admitted::Pass
    }

    #[allow(clippy::too_many_arguments)]
    fn create<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        service: &Arc<Service>,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Result<Handle, Reason> {
        let dest = self.schedule(service)?;
        if dest.mode != FwdMode::FullNat {
            return Err(Reason::ModeUnsupported);
        }
        let Some(daddr) = A::from_ip(dest.addr) else {
            return Err(Reason::ModeUnsupported);
        };
        let (laddr, lport, pool) = self.local_port::<A>(service, &dest)?;
        let data = frame.data();
        let (src, dst) = A::addrs(data);
        let mut entry = Entry::<A>::new_zeroed();
        let client = Tuple {
            src,
            dst,
            sport: head.sport,
            dport: head.dport,
            proto: head.proto,
        };
        let server = Tuple {
            src: daddr,
            dst: laddr,
            sport: dest.port.to_be(),
            dport: lport.to_be(),
            proto: head.proto,
        };
        entry.set_tuples(&client, &server);
        entry.set_deltas();
        entry.dest = dest.id.0;
        entry.flags = flags::EMBRYO;
        entry.set_mode(dest.mode);
        entry.set_duty(service, &snap.settings);
        if service.expire_quiescent {
            entry.flags |= flags::QUIESCENT;
        }
        entry.pool = pool + 1;
        entry.set_conn_timeout(service.conn_timeout);
        // The time-out of the state this packet leads to, so that the wheel need
        // not look at it once more.
        let first = if head.proto == TCP {
            tcp::next(Dir::In, tcp::State::None, SYN) as u8
        } else {
            udp::next(Dir::In, udp::State::from_u8(0)) as u8
        };
        entry.timeout = timeout_ms(
            &snap.settings.timeouts,
            head.proto,
            first,
            service.conn_timeout,
        );
        let now_ms = now.millis();
        entry.seen = now_ms as u32;
        if snap.settings.fast_xmit && data[6] & 1 == 0 && data[6..12] != [0; 6] {
            let mut mac = [0; 6];
            mac.copy_from_slice(&data[6..12]);
            // Nobody is at a group's or the zero address: such replies are routed.
            entry.hop = self
                .neighs
                .hops
                .intern(from.port, mac, from.mac, from.mtu)
                .unwrap_or(0);
        }
        let timeout = entry.timeout;
        let mut conn = self.conns.admit(&entry, head.hash);
        if conn.is_none() && self.evict(snap, A::V6, now, io) {
            conn = self.conns.admit(&entry, head.hash);
        }
        let Some(conn) = conn else {
            self.pools
                .give(pool, head.proto, dest.addr, dest.port, lport);
            return Err(Reason::ConnTableFull);
        };
        self.embryos.add(&mut self.conns, conn);
        self.wheel.add(&mut self.conns, conn, now_ms, timeout);
        let counters = &mut self.dests[dest.id.0 as usize].counters;
        counters.conns += 1;
        counters.inactive += 1;
        self.stats.conns_made += 1;
        Ok(conn)
    }

    fn schedule(&mut self, service: &Arc<Service>) -> Result<Dest, Reason> {
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
        let Some(Some(state)) = self.services.get_mut(i) else {
            return Err(Reason::NoDest);
        };
        let dests = &self.dests;
        let picked = state.cursor.pick(&service.dests, |dest| {
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

    /// The service, its local addresses or their pools are not what they were.
    #[cold]
    fn refresh(&mut self, service: &Arc<Service>) {
        let i = service.id.0 as usize;
        if i >= self.services.len() {
            self.services.resize_with(i + 1, || None);
        }
        let (me, workers) = (usize::from(self.conf.id.0), usize::from(self.conf.workers));
        let dests = &self.dests;
        let cursor = || {
            let load = |d: &Dest| {
                dests
                    .get(d.id.0 as usize)
                    .map_or(Load::default(), DestState::load)
            };
            Cursor::new(service.sched, &service.dests, me, workers, load)
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
            })
        });
        let changed = state.uid != service.uid || state.version != service.version;
        if changed {
            state.uid = service.uid;
            state.version = service.version;
            state.cursor = cursor();
        }
        if fresh || changed {
            for (dest, place) in service.dests.iter().zip(0..) {
                if let Some(d) = self.dests.get_mut(dest.id.0 as usize) {
                    let watched = service.sched == SchedKind::Wlc || dest.max_conn > 0;
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

    /// A local address, a port of it (host order), and the pool's number.
    fn local_port<A: Net>(
        &mut self,
        service: &Arc<Service>,
        dest: &Dest,
    ) -> Result<(A, u16, u32), Reason> {
        let Some(Some(state)) = self.services.get_mut(service.id.0 as usize) else {
            return Err(Reason::NoLaddr);
        };
        let mut reason = Reason::NoLaddr;
        for _ in 0..state.sources.len().min(LADDR_TRIES) {
            let i = if state.next_source < state.sources.len() {
                state.next_source
            } else {
                0
            };
            state.next_source = i + 1;
            let (addr, number) = state.sources[i];
            let Some(laddr) = A::from_ip(addr) else {
                continue;
            };
            match self
                .pools
                .take(number, service.key.proto, dest.addr, dest.port)
            {
                Some(port) => return Ok((laddr, port, number)),
                None => reason = Reason::NoLport,
            }
        }
        Err(reason)
    }
}

/// Sources no client can have (RFC 1122 §3.2.1.3, RFC 4291 §2.5, §2.7).
fn bad_source(src: IpAddr) -> bool {
    match src {
        IpAddr::V4(a) => {
            a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast()
        }
        IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast(),
    }
}
