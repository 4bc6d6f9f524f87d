//! Black and white lists and rate limits of services, whether the service is
//! there or not, as DPVS keeps its lists.
//!
//! What the workers get is kept up to date change by change, and shares with
//! what they have whatever did not change.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::acl::{List, Lists};
use dpvs_core::guard::Guard;
use dpvs_core::ipset::SetId;
use dpvs_core::limit::{LEAST_BITS, Limit, Meter, Rate, Sources};
use dpvs_core::service::ServiceKey;
use dpvs_ctl::msg::RateLimit;

use super::ids::Ids;
use super::ipset::NamedSets;
use crate::master::error::{Fault, Result};

/// Length of a burst where none is given, in milliseconds.
const BURST_MS: u32 = 100;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Black,
    White,
}

/// Whom an entry of a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Source(IpAddr),
    Set(SetId),
}

/// Of one key: what was asked for it, and what its service says.
#[derive(Clone, Copy, Debug, Default)]
struct Limited {
    id: u32,
    own: RateLimit,
    /// Bits a second and percentage, as the service has them.
    service: (u32, u8),
}

impl Limited {
    /// Both together: of two rates the smaller one.
    fn together(&self) -> RateLimit {
        let mut both = self.own;
        let (bps, percent) = self.service;
        let least = |a: u64, b: u64| if a == 0 || (b != 0 && b < a) { b } else { a };
        both.bps = least(both.bps, bps.into());
        both.out_bps = least(both.out_bps, bps.into());
        both.percent = least(both.percent.into(), percent.into()) as u8;
        both
    }
}

/// Lists, limits and sets.
#[derive(Debug)]
pub(crate) struct Guards {
    pub(crate) sets: NamedSets,
    lists: BTreeMap<ServiceKey, Lists>,
    limits: BTreeMap<ServiceKey, Limited>,
    ids: Ids,
    uids: u64,
    published: Guard,
    changed: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            sets: NamedSets::default(),
            lists: BTreeMap::new(),
            limits: BTreeMap::new(),
            ids: Ids::default(),
            uids: 0,
            published: Guard::keyed([0, 1].map(|n| RandomState::new().hash_one(n))),
            changed: false,
        }
    }
}

impl Guards {
    /// Puts a subject on a list. That it is there already is no fault.
    pub(crate) fn list(&mut self, key: ServiceKey, colour: Colour, subject: Subject) {
        let mut lists = self.lists.get(&key).cloned().unwrap_or_default();
        let list = pick(&mut lists, colour);
        match subject {
            Subject::Source(addr) => {
                list.sources.insert(addr, ());
            }
            Subject::Set(id) if list.sets.contains(&id) => {}
            Subject::Set(id) => {
                list.sets = list.sets.iter().copied().chain([id]).collect();
                self.sets.used(id, 1);
            }
        }
        self.put(key, lists);
    }

    /// Takes a subject off a list.
    pub(crate) fn unlist(
        &mut self,
        key: ServiceKey,
        colour: Colour,
        subject: Subject,
    ) -> Result<()> {
        let mut lists = self.lists.get(&key).cloned().ok_or(Fault::Missing)?;
        let list = pick(&mut lists, colour);
        match subject {
            Subject::Source(addr) => {
                list.sources.remove(&addr).ok_or(Fault::Missing)?;
            }
            Subject::Set(id) => {
                if !list.sets.contains(&id) {
                    return Err(Fault::Missing);
                }
                list.sets = list.sets.iter().copied().filter(|s| *s != id).collect();
                self.sets.used(id, -1);
            }
        }
        self.put(key, lists);
        Ok(())
    }

    fn put(&mut self, key: ServiceKey, lists: Lists) {
        if lists.black.is_empty() && lists.white.is_empty() {
            self.lists.remove(&key);
            self.published.lists.remove(&key);
        } else {
            self.published.lists.insert(key, Arc::new(lists.clone()));
            self.lists.insert(key, lists);
        }
        self.changed = true;
    }

    /// Every entry of all lists of a colour: addresses first, then sets.
    pub(crate) fn listed(&self, colour: Colour) -> Vec<(ServiceKey, Subject)> {
        let lists = || {
            self.lists.iter().map(move |(key, lists)| match colour {
                Colour::Black => (*key, &lists.black),
                Colour::White => (*key, &lists.white),
            })
        };
        let mut all = Vec::new();
        for (key, list) in lists() {
            let mut sources: Vec<IpAddr> = list.sources.iter().map(|(a, ())| *a).collect();
            sources.sort_unstable();
            all.extend(sources.into_iter().map(|a| (key, Subject::Source(a))));
        }
        for (key, list) in lists() {
            all.extend(list.sets.iter().map(|s| (key, Subject::Set(*s))));
        }
        all
    }

    /// The lists and limits of a service that is removed.
    pub(crate) fn forget(&mut self, key: &ServiceKey) {
        if let Some(lists) = self.lists.remove(key) {
            for id in lists.black.sets.iter().chain(lists.white.sets.iter()) {
                self.sets.used(*id, -1);
            }
            self.published.lists.remove(key);
            self.changed = true;
        }
        if self.limits.contains_key(key) {
            self.set_limit(*key, |l| {
                *l = Limited {
                    id: l.id,
                    ..Limited::default()
                }
            });
        }
    }

    /// Sets, or with nothing in it removes, what was asked for a key.
    pub(crate) fn limit(&mut self, key: ServiceKey, asked: RateLimit) {
        self.set_limit(key, |l| l.own = asked);
    }

    /// Whether anything was asked for a key, beside what its service says.
    pub(crate) fn was_asked(&self, key: &ServiceKey) -> bool {
        self.limits.get(key).is_some_and(|l| l.own.limits())
    }

    /// What a service itself says: bits a second and percentage, 0 = nothing.
    pub(crate) fn limit_service(&mut self, key: ServiceKey, bps: u32, percent: u8) {
        if self.limits.contains_key(&key) || bps > 0 || percent > 0 {
            self.set_limit(key, |l| l.service = (bps, percent));
        }
    }

    /// What is in force, by key.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (&ServiceKey, RateLimit)> {
        self.limits.iter().map(|(key, l)| (key, l.together()))
    }

    fn set_limit(&mut self, key: ServiceKey, change: impl FnOnce(&mut Limited)) {
        let known = self.limits.get(&key).copied();
        let mut limited = known.unwrap_or_default();
        change(&mut limited);
        let both = limited.together();
        if known.is_some_and(|known| known.together() == both) {
            // What its clients have used up stays used up.
            self.limits.insert(key, limited);
            return;
        }
        self.changed = true;
        if !both.limits() {
            if let Some(old) = known {
                self.ids.give(old.id);
            }
            self.limits.remove(&key);
            self.published.limits.remove(&key);
            return;
        }
        if known.is_none() {
            // There are as many numbers as servers there can be.
            let Some(id) = self.ids.take() else { return };
            limited.id = id;
        }
        // Its buckets start full.
        self.uids += 1;
        let limit = published(&both, limited.id, self.uids);
        if limit.by_source() && self.published.sources.is_none() {
            let seed = [0, 1].map(|n| RandomState::new().hash_one(n));
            self.published.sources = Some(Arc::new(Sources::new(seed)));
        }
        self.published.limits.insert(key, Arc::new(limit));
        self.limits.insert(key, limited);
    }

    /// What the workers are to get, if it changed.
    pub(crate) fn take_changes(&mut self) -> Option<Guard> {
        if !self.is_changed() {
            return None;
        }
        self.changed = false;
        self.sets.changed = false;
        self.published.sets = self.sets.published();
        Some(self.published.clone())
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed || self.sets.changed
    }
}

fn pick(lists: &mut Lists, colour: Colour) -> &mut List {
    match colour {
        Colour::Black => &mut lists.black,
        Colour::White => &mut lists.white,
    }
}

fn published(asked: &RateLimit, id: u32, uid: u64) -> Limit {
    let millis = u64::from(if asked.burst_ms > 0 {
        asked.burst_ms
    } else {
        BURST_MS
    });
    let rate = |per_second: u64, least| {
        let burst = per_second.saturating_mul(millis) / 1000;
        Rate::new(per_second, burst.max(1), least)
    };
    let mut limit = Limit {
        id,
        uid,
        source: [
            rate(asked.src_pps, 1),
            rate(asked.src_bps, LEAST_BITS),
            rate(asked.src_cps, 1),
        ],
        percent: asked.percent,
        ..Limit::default()
    };
    limit.total[Meter::InPackets as usize] = rate(asked.pps, 1);
    limit.total[Meter::InBits as usize] = rate(asked.bps, LEAST_BITS);
    limit.total[Meter::OutPackets as usize] = rate(asked.out_pps, 1);
    limit.total[Meter::OutBits as usize] = rate(asked.out_bps, LEAST_BITS);
    limit.total[Meter::Conns as usize] = rate(asked.cps, 1);
    limit
}
