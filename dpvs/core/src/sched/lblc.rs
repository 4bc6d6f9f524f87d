//! Locality-based least connections (`lblc`, `lblcr`): an address keeps its server
//! (or its set of servers) as long as that one can take more, so that caches stay
//! warm; else the server with weighted least connections is given to it.
//!
//! What is remembered is bounded: 4,096 addresses a service and worker, the least
//! recently used of four going first, and none for longer than a day unused.
//! DIFFERS: Linux walks all servers to see whether one has room; here the lightest
//! is asked. A set has at most seven servers.

use std::net::IpAddr;

use super::Load;
use super::wlc::{Wlc, overhead};
use crate::service::{Dest, DestId};

/// Seconds an address is remembered without use, and a set before its heaviest
/// server leaves it.
const DAY: u32 = 86_400;
const SETS: usize = 1024;
const WAYS: usize = 4;
const MEMBERS: usize = 7;

/// An address and its servers. One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Slot {
    addr: u128,
    used: u32,
    changed: u32,
    count: u32,
    servers: [u32; MEMBERS],
}

const _: () = assert!(size_of::<Slot>() == 64);

/// Servers of addresses.
#[derive(Clone, Debug)]
pub(super) struct Lblc {
    lightest: Wlc,
    slots: Box<[Slot]>,
    /// Places by number.
    places: Box<[(DestId, u32)]>,
    seed: u64,
    /// More than one server for an address.
    replicas: bool,
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Lblc {
    pub(super) fn new(
        dests: &[Dest],
        start: usize,
        replicas: bool,
        load: impl Fn(&Dest) -> Load,
    ) -> Self {
        let mut places: Box<[(DestId, u32)]> = dests.iter().map(|d| d.id).zip(0..).collect();
        places.sort_unstable();
        Self {
            lightest: Wlc::new(dests, start, load),
            slots: vec![Slot::default(); SETS * WAYS].into_boxed_slice(),
            places,
            seed: 0,
            replicas,
        }
    }

    pub(super) fn seed(&mut self, seed: u64) {
        self.seed = seed | 1;
    }

    /// What was known before the servers changed; it stays, since it names
    /// servers, not places.
    pub(super) fn inherit(&mut self, old: Self) {
        self.slots = old.slots;
        self.seed = old.seed;
    }

    fn place(&self, server: u32) -> Option<usize> {
        let at = self.places.binary_search_by_key(&server, |p| p.0.0).ok()?;
        self.places.get(at).map(|p| p.1 as usize)
    }

    /// The slot of an address: its own, else the one that gives way.
    fn slot(&mut self, addr: u128, now: u32) -> usize {
        let folded = (addr as u64 ^ (addr >> 64) as u64 ^ self.seed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ self.seed.rotate_left(32) | 1);
        let first = (folded >> 54) as usize % SETS * WAYS;
        let mut way = first;
        for i in first..first + WAYS {
            let slot = &self.slots[i];
            if slot.count > 0 && slot.addr == addr {
                way = i;
                break;
            }
            let age = |s: &Slot| match s.count {
                0 => u32::MAX,
                _ => now.wrapping_sub(s.used),
            };
            if age(slot) > age(&self.slots[way]) {
                way = i;
            }
        }
        let slot = &mut self.slots[way];
        if slot.addr != addr || now.wrapping_sub(slot.used) > DAY {
            *slot = Slot {
                addr,
                changed: now,
                ..Slot::default()
            };
        }
        slot.used = now;
        way
    }

    pub(super) fn pick(
        &mut self,
        dests: &[Dest],
        vip: IpAddr,
        now: u32,
        load: impl Fn(&Dest) -> Load,
    ) -> Option<usize> {
        let lightest = self.lightest.pick(dests, &load)?;
        let room = dests
            .get(lightest)
            .is_some_and(|d| 2 * u64::from(load(d).active) < u64::from(d.weight));
        let way = self.slot(bits(vip), now);
        let slot = self.slots[way];
        let members = || slot.servers.iter().copied().take(slot.count as usize);
        let cost = |place: usize| {
            let d = &dests[place];
            (overhead(load(d)), u64::from(d.weight))
        };
        let lighter = |a: usize, b: usize| {
            let ((cost_a, weight_a), (cost_b, weight_b)) = (cost(a), cost(b));
            cost_a * weight_b <= cost_b * weight_a
        };
        let usable = |place: &usize| {
            dests
                .get(*place)
                .is_some_and(|d| d.usable() && !load(d).overloaded)
        };
        let best = members()
            .filter_map(|id| self.place(id))
            .filter(usable)
            .reduce(|a, b| if lighter(a, b) { a } else { b });
        if self.replicas && slot.count > 1 && now.wrapping_sub(slot.changed) > DAY {
            self.shrink(way, now, lighter);
        }
        if let Some(best) = best
            && !(room && load(&dests[best]).active > u32::from(dests[best].weight))
        {
            return Some(best);
        }
        let server = dests.get(lightest)?.id.0;
        self.give(way, server, now);
        Some(lightest)
    }

    /// An address gets a server.
    fn give(&mut self, way: usize, server: u32, now: u32) {
        let slot = &mut self.slots[way];
        let count = slot.count as usize;
        if !self.replicas {
            slot.count = 0;
        } else if slot.servers.iter().take(count).any(|s| *s == server) {
            return;
        }
        let at = (slot.count as usize).min(MEMBERS - 1);
        slot.servers[at] = server;
        slot.count = at as u32 + 1;
        slot.changed = now;
    }

    /// The heaviest server, or one that is gone, leaves an address's set.
    fn shrink(&mut self, way: usize, now: u32, lighter: impl Fn(usize, usize) -> bool) {
        let slot = self.slots[way];
        let count = slot.count as usize;
        let heaviest = (0..count).reduce(|a, b| {
            match (self.place(slot.servers[a]), self.place(slot.servers[b])) {
                (None, _) => a,
                (_, None) => b,
                (Some(x), Some(y)) => {
                    if lighter(x, y) {
                        b
                    } else {
                        a
                    }
                }
            }
        });
        let slot = &mut self.slots[way];
        if let Some(at) = heaviest {
            slot.servers.copy_within(at + 1..count, at);
            slot.count -= 1;
            slot.changed = now;
        }
    }

    pub(super) fn lighter(&mut self, index: usize, weight: u16, load: Load) {
        self.lightest.lighter(index, weight, load);
    }
}
