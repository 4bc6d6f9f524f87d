//! Black and white lists of services: who may not come, who alone may.
//!
//! A list names single sources and sets. It is keyed by the packet's destination
//! and protocol, service or not, as DPVS keys it (facts §20.1); the guard stage
//! ([`crate::guard`]) asks for every packet, so a change is in force for known
//! connections too. Knows nothing of connections.

use std::net::IpAddr;
use std::sync::Arc;

use crate::ipset::{IpSet, Packet, SetId};
use crate::sharemap::ShareMap;
use crate::stats::Reason;

/// The sets lists and classifiers name; the index is the [`SetId`].
pub type Sets = Arc<Vec<Option<Arc<IpSet>>>>;

/// The set of a number, if it is there.
pub(crate) fn set_of(sets: &Sets, id: SetId) -> Option<&IpSet> {
    sets.get(id.0 as usize)?.as_deref()
}

/// One list: sources and sets.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Single sources.
    pub sources: ShareMap<IpAddr, ()>,
    /// Sets.
    pub sets: Arc<[SetId]>,
}

impl List {
    /// True if it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.sets.is_empty()
    }

    fn names(&self, src: IpAddr, sets: &Sets, packet: impl Fn() -> Packet) -> bool {
        if self.sources.get(&src).is_some() {
            return true;
        }
        if self.sets.is_empty() {
            return false;
        }
        let packet = packet();
        self.sets
            .iter()
            .filter_map(|id| set_of(sets, *id))
            .any(|set| set.matches(&packet, set.conf().kind.lists_by_destination()))
    }
}

/// The lists of one service.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Who may not come.
    pub black: List,
    /// Who alone may; empty: everybody.
    pub white: List,
}

impl Lists {
    /// Why a packet may not come, if it may not.
    pub(crate) fn refuse(
        &self,
        src: IpAddr,
        sets: &Sets,
        packet: impl Fn() -> Packet,
    ) -> Option<Reason> {
        if self.black.names(src, sets, &packet) {
            return Some(Reason::BlackList);
        }
        let closed = !self.white.is_empty() && !self.white.names(src, sets, &packet);
        closed.then_some(Reason::WhiteList)
    }
}
