//! The guard before the services: lists and rate limits, for a whole burst.
//!
//! Runs between the lookup stages and the packets' ways, only while some list or
//! limit is configured (looked at once a burst), and turns heads of refused
//! packets into drops; so known connections are held to it as new ones are, and
//! the ways themselves know nothing of it. What limits new connections is asked
//! by `admit`; fragments and echoes, whose ports are known later, ask by themselves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::acl::{Lists, Sets};
use crate::conn::table::Family;
use crate::conn::{Entry, Handle};
use crate::fragments::narrowed;
use crate::frame::{Frame, Now, PortId};
use crate::ipset::Packet;
use crate::limit::{Limit, Loans, Meter, Sources};
use crate::parse::{Head, Kind};
use crate::proto::Dir;
use crate::raw::Net;
use crate::service::{FwdMode, ICMP, ICMPV6, ServiceKey, TCP, UDP};
use crate::services::ServiceTable;
use crate::sharemap::{ShareMap, fold};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;

/// Protocols lists are for.
const SCTP: u8 = 132;

/// What is published: lists and limits by what packets are addressed to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Lists of a service.
    pub lists: ShareMap<ServiceKey, Arc<Lists>>,
    /// Limits of a service, and of an address ([`Guard::vip`]).
    pub limits: ShareMap<ServiceKey, Arc<Limit>>,
    /// The sets lists and classifiers name.
    pub sets: Sets,
    /// Clients of limits that count each by itself; there if one does.
    pub sources: Option<Arc<Sources>>,
}

impl Guard {
    /// Without anything, hashing with this key.
    #[must_use]
    pub fn keyed(seed: [u64; 2]) -> Self {
        Self {
            lists: ShareMap::keyed(seed),
            limits: ShareMap::keyed(seed),
            sets: Arc::default(),
            sources: None,
        }
    }

    /// The key of an address's own limit.
    #[must_use]
    pub fn vip(addr: IpAddr) -> ServiceKey {
        ServiceKey {
            proto: 0,
            addr,
            port: 0,
        }
    }

    /// Whether there is anything to look at.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.lists.is_empty() || !self.limits.is_empty()
    }

    /// The limits of a service and of its address.
    fn limits_of(&self, key: &ServiceKey) -> [Option<&Arc<Limit>>; 2] {
        [self.limits.get(key), self.limits.get(&Self::vip(key.addr))]
    }
}

/// What a worker keeps of limits; made with the first one.
pub(crate) struct GuardState {
    loans: Vec<Loans>,
    /// Limits of match services, by the addresses they give.
    matching: HashMap<u32, Arc<Limit>>,
    workers: u32,
    random: u64,
}

/// Of a packet: its service's, its address's, its match service's.
type Limits<'a> = [Option<&'a Arc<Limit>>; 3];

impl GuardState {
    pub(crate) fn new(seed: [u64; 4], workers: u8) -> Self {
        let [a, b, c, d] = seed;
        Self {
            loans: Vec::new(),
            matching: HashMap::new(),
            workers: workers.into(),
            random: fold(a ^ c, b ^ d) | 1,
        }
    }

    /// Room for the loans of these limits, so that no packet waits for it.
    pub(crate) fn prepare(&mut self, guard: &Guard, services: &ServiceTable) {
        self.matching.clear();
        for service in services.matches() {
            if let Some(limit) = guard.limits.get(&service.key) {
                let of = |dest: &crate::service::Dest| (dest.id.0, Arc::clone(limit));
                self.matching.extend(service.dests.iter().map(of));
            }
        }
        let most = guard.limits.iter().map(|(_, l)| l.id as usize + 1).max();
        if most.unwrap_or(0) > self.loans.len() {
            self.loans.resize(most.unwrap_or(0), Loans::default());
        }
    }

    fn percent(&mut self) -> u8 {
        // A plain congruential sequence: nothing depends on its being guessed.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % 100) as u8
    }

    /// Takes from the buckets of a limit.
    fn take(&mut self, limit: &Limit, costs: &[(Meter, u64)], now: u64) -> bool {
        let workers = self.workers;
        let Some(loans) = self.loans.get_mut(limit.id as usize) else {
            return false;
        };
        if loans.uid != limit.uid {
            // What was borrowed of the one before went with it.
            *loans = Loans::new(limit);
        }
        loans.take(limit, costs, workers, now)
    }

    /// Whether a packet of these limits may pass. What it takes of the first is
    /// not given back when the second refuses.
    fn passes(
        &mut self,
        limits: Limits<'_>,
        sources: Option<&Sources>,
        dir: Dir,
        client: IpAddr,
        octets: u16,
        now: u64,
    ) -> bool {
        let bits = u64::from(octets) * 8;
        let costs = match dir {
            Dir::In => [(Meter::InPackets, 1), (Meter::InBits, bits)],
            Dir::Out => [(Meter::OutPackets, 1), (Meter::OutBits, bits)],
        };
        for limit in limits.into_iter().flatten() {
            // DIFFERS: so many of a hundred pass; DPVS lets one more pass.
            if limit.percent > 0 && self.percent() >= limit.percent {
                return false;
            }
            // The client's own first: who sends too much takes nothing of what
            // is for all.
            if dir == Dir::In
                && limit.by_source()
                && !sources.is_none_or(|s| s.take(limit, client, [1, bits, 0], now))
            {
                return false;
            }
            if !self.take(limit, &costs, now) {
                return false;
            }
        }
        true
    }
}

impl<F: Frame> Worker<F> {
    /// Turns the heads of packets that lists or limits refuse into drops.
    #[cold]
    #[inline(never)]
    pub(crate) fn guard(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        burst: &[Option<F>],
        heads: &mut [Head],
        now: Now,
    ) {
        // Whoever handed a packet over, or let it wait, has looked at it.
        let seen = self.handed || self.is_again();
        for (slot, head) in burst.iter().zip(heads) {
            let Some(frame) = slot else { continue };
            let refused = match head.kind {
                Kind::Flow4 => self.refused::<u32>(snap, port, frame, head, seen, now),
                Kind::Flow6 => self.refused::<u128>(snap, port, frame, head, seen, now),
                _ => None,
            };
            if let Some(reason) = refused {
                head.kind = Kind::Bad;
                head.reason = reason;
            }
        }
    }

    /// Why a packet whose ports are known may not pass. `seen`: whoever looked at it
    /// before has asked its lists, and the limits of where it goes.
    pub(crate) fn refused<A: Net>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        frame: &F,
        head: &Head,
        seen: bool,
        now: Now,
    ) -> Option<Reason> {
        let echo = matches!(head.proto, ICMP | ICMPV6);
        if !echo && !matches!(head.proto, TCP | UDP | SCTP) {
            return None;
        }
        let guard = &snap.guard;
        let data = frame.data();
        let (src, dst) = A::addrs(data);
        let (src, dst) = (src.ip(), dst.ip());
        let mut key = ServiceKey {
            proto: head.proto,
            addr: dst,
            port: u16::from_be(head.dport),
        };
        narrow(snap, &mut key);
        if !seen
            && !echo
            && let Some(lists) = guard.lists.get(&key)
        {
            let packet = || packet(head, data, src, dst, port);
            let refused = lists.refuse(src, &guard.sets, packet);
            if refused.is_some() {
                return refused;
            }
        }
        if guard.limits.is_empty() {
            return None;
        }
        let state = self.guards.as_mut()?;
        let sources = guard.sources.as_deref();
        let [service, vip] = guard.limits_of(&key);
        let keyed = service.is_some() || vip.is_some();
        if keyed {
            let limits = [service, vip, None];
            if !seen && !state.passes(limits, sources, Dir::In, src, head.ip_len, now.0) {
                return Some(Reason::RateLimit);
            }
            if state.matching.is_empty() {
                return None;
            }
        }
        // An answer of a server is its service's; what a match service is for is
        // known by the connection only.
        let tuple = A::tuple(head, data);
        let mut conn = self.conns.find_from(head.conn, head.hash, &tuple);
        if conn.is_none() && !A::V6 && snap.services.crosses() {
            conn = narrowed(&tuple).and_then(|t| self.find_cross(&t));
        }
        let conn = conn?;
        let keyed = keyed || conn.dir() == Dir::In;
        (!self.conn_passes(snap, conn, !keyed, head.ip_len, now)).then_some(Reason::RateLimit)
    }

    /// Whether the limits of a connection let a packet pass that has no ports.
    #[cold]
    #[inline(never)]
    pub(crate) fn fragment_passes(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        octets: u16,
        now: Now,
    ) -> bool {
        self.conn_passes(snap, conn, true, octets, now)
    }

    /// Whether the limits of a connection let a packet pass; those of its service
    /// and its address only where they are to be asked.
    fn conn_passes(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        keyed: bool,
        octets: u16,
        now: Now,
    ) -> bool {
        let (client, mut key, dest) = if conn.is_v6() {
            ends(u128::entry(&self.conns, conn))
        } else {
            ends(u32::entry(&self.conns, conn))
        };
        let Some(state) = self.guards.as_mut() else {
            return true;
        };
        let (mut service, mut vip) = (None, None);
        if keyed {
            narrow(snap, &mut key);
            [service, vip] = snap.guard.limits_of(&key);
        }
        let matching = dest.and_then(|dest| state.matching.get(&dest).cloned());
        let limits = [service, vip, matching.as_ref()];
        let sources = snap.guard.sources.as_deref();
        state.passes(limits, sources, conn.dir(), client, octets, now.0)
    }

    /// Whether the limits of a match service let the first packet of a host's
    /// connection pass, which no connection says whose it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn may_leave(
        &mut self,
        snap: &Snapshot,
        service: &ServiceKey,
        host: IpAddr,
        octets: u16,
        now: Now,
    ) -> bool {
        let limit = snap.guard.limits.get(service);
        let Some(state) = self.guards.as_mut().filter(|_| limit.is_some()) else {
            return true;
        };
        state.passes([limit, None, None], None, Dir::Out, host, octets, now.0)
    }

    /// Whether limits let a client open one more connection.
    #[cold]
    #[inline(never)]
    pub(crate) fn may_connect(
        &mut self,
        snap: &Snapshot,
        key: &ServiceKey,
        client: IpAddr,
        now: Now,
    ) -> bool {
        let Some(state) = self.guards.as_mut() else {
            return true;
        };
        let sources = snap.guard.sources.as_deref();
        let limits = snap.guard.limits_of(key);
        limits.into_iter().flatten().all(|limit| {
            if !limit.conns() {
                return true;
            }
            let own = limit.source[2].per_second == 0
                || sources.is_none_or(|s| s.take(limit, client, [0, 0, 1], now.0));
            own && state.take(limit, &[(Meter::Conns, 1)], now.0)
        })
    }

    /// The same where one begins on the ports of another that is over: it is as new as
    /// any, or a client would open as many as it likes on the ports it has.
    #[cold]
    #[inline(never)]
    pub(crate) fn may_reopen(&mut self, snap: &Snapshot, conn: Handle, now: Now) -> bool {
        if snap.guard.limits.is_empty() {
            return true;
        }
        let (client, mut key, of_match) = if conn.is_v6() {
            ends(u128::entry(&self.conns, conn))
        } else {
            ends(u32::entry(&self.conns, conn))
        };
        narrow(snap, &mut key);
        of_match.is_some() || self.may_connect(snap, &key, client, now)
    }
}

/// The client of a connection, the key of its service, and of a source NAT the
/// number of the address it gives.
fn ends<A: Net>(entry: &Entry<A>) -> (IpAddr, ServiceKey, Option<u32>) {
    let key = ServiceKey {
        proto: entry.proto,
        addr: entry.vaddr().ip().to_canonical(),
        port: u16::from_be(entry.vport()),
    };
    let of_match = (entry.mode() == FwdMode::Snat).then_some(entry.dest);
    (entry.caddr().ip().to_canonical(), key, of_match)
}

/// Lists and limits of a service for all ports, or for all echoes, are under its
/// own key.
#[inline]
fn narrow(snap: &Snapshot, key: &mut ServiceKey) {
    if (snap.services.has_all_ports() || matches!(key.proto, ICMP | ICMPV6))
        && let Some(service) = snap.services.find(key)
    {
        key.port = service.key.port;
    }
}

/// What sets look at of a packet.
fn packet(head: &Head, data: &[u8], src: IpAddr, dst: IpAddr, port: PortId) -> Packet {
    let mac = |at: usize| {
        let mut mac = [0; 6];
        if let Some(bytes) = data.get(at..at + 6) {
            mac.copy_from_slice(bytes);
        }
        mac
    };
    Packet {
        src,
        dst,
        proto: head.proto,
        sport: u16::from_be(head.sport),
        dport: u16::from_be(head.dport),
        smac: mac(6),
        dmac: mac(0),
        iface: port.0 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_a_hundred_pass() {
        let mut state = GuardState::new([1, 2, 3, 4], 1);
        for percent in [1, 20, 50, 99, 100] {
            let limit = Arc::new(Limit {
                percent,
                ..Limit::default()
            });
            let guard = Guard::keyed([1, 2]);
            let mut limits = guard.limits;
            limits.insert(Guard::vip([192, 0, 2, 1].into()), Arc::clone(&limit));
            let guard = Guard {
                limits,
                ..Guard::default()
            };
            state.prepare(&guard, &ServiceTable::default());
            let client = [198, 51, 100, 7].into();
            let limits = [Some(&limit), None, None];
            let mut pass = || state.passes(limits, None, Dir::Out, client, 100, 0);
            let passed = (0..100_000).filter(|_| pass()).count();
            let wanted = usize::from(percent) * 1000;
            assert!(passed.abs_diff(wanted) < 500, "{percent}: {passed}");
        }
    }
}
