//! Sets by name, and what of them the workers have to be given.
//!
//! A set is changed on a copy that shares its pages; its number is what lists
//! and classifiers keep, so that its content may change under them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use dpvs_core::acl::Sets;
use dpvs_core::frame::PortId;
use dpvs_core::ipset::{IpSet, SetConf, SetError, SetId, SetKind, Span};
use dpvs_ctl::Name;

use crate::master::error::{Fault, Result};

use super::ids::Ids;

/// A set.
#[derive(Debug)]
pub(crate) struct NamedSet {
    pub(crate) id: SetId,
    pub(crate) set: IpSet,
    /// Buckets asked for; ours are as many as are needed.
    pub(crate) hashsize: u32,
    /// Prefix length the range of a bitmap was named with.
    pub(crate) cidr: u8,
    /// Lists and classifiers that name it.
    pub(crate) users: u32,
}

/// All sets.
#[derive(Debug, Default)]
pub(crate) struct NamedSets {
    map: BTreeMap<Vec<u8>, NamedSet>,
    names: BTreeMap<SetId, Name<32>>,
    ids: Ids,
    /// Most elements of all hashes together (`ipset_hash_pool_size`). DIFFERS: DPVS
    /// reads it, and has room for 262,143.
    pub(crate) pool: usize,
    /// As the workers have it, but for what changed.
    published: Sets,
    pub(crate) changed: bool,
}

impl From<SetError> for Fault {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Exists => Fault::Exists,
            SetError::Missing => Fault::Missing,
            SetError::Invalid(what) => Fault::Invalid(what),
            // DPVS has no memory for it then.
            SetError::Full => Fault::NoMemory,
        }
    }
}

impl NamedSets {
    pub(crate) fn get(&self, name: &Name<32>) -> Option<&NamedSet> {
        self.map.get(name.bytes())
    }

    /// The name of a set.
    pub(crate) fn name(&self, id: SetId) -> Name<32> {
        self.names.get(&id).copied().unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name<32>, &NamedSet)> {
        self.map.values().map(|s| (self.name(s.id), s))
    }

    pub(crate) fn create(
        &mut self,
        name: Name<32>,
        conf: SetConf,
        hashsize: u32,
        cidr: u8,
    ) -> Result<()> {
        if name.is_empty() {
            return Err(Fault::Invalid("a set needs a name"));
        }
        if self.get(&name).is_some() {
            return Err(Fault::Exists);
        }
        // A key nobody outside knows.
        let seed = [0, 1].map(|n| RandomState::new().hash_one(n));
        let set = IpSet::new(conf, seed)?;
        let id = SetId(self.ids.take().ok_or(Fault::NoRoom)?);
        self.names.insert(id, name);
        let named = NamedSet {
            id,
            set,
            hashsize,
            cidr,
            users: 0,
        };
        self.map.insert(name.bytes().to_vec(), named);
        self.put(id, Some(name));
        Ok(())
    }

    /// Removes a set that nobody names.
    pub(crate) fn destroy(&mut self, name: &Name<32>) -> Result<()> {
        let set = self.get(name).ok_or(Fault::Missing)?;
        if set.users > 0 {
            return Err(Fault::Busy);
        }
        let id = set.id;
        self.map.remove(name.bytes());
        self.names.remove(&id);
        self.ids.give(id.0);
        self.put(id, None);
        Ok(())
    }

    /// Changes what a set holds.
    pub(crate) fn edit(
        &mut self,
        name: &Name<32>,
        change: impl FnOnce(&mut IpSet) -> std::result::Result<(), SetError>,
    ) -> Result<()> {
        let named = self.map.get(name.bytes()).ok_or(Fault::Missing)?;
        let (id, had) = (named.id, named.set.len());
        let mut set = named.set.clone();
        change(&mut set)?;
        let grown = set.len().saturating_sub(had);
        let hash = !set.conf().kind.is_bitmap();
        if hash && grown > 0 && self.elements() + grown > self.pool {
            return Err(Fault::NoMemory);
        }
        if let Some(named) = self.map.get_mut(name.bytes()) {
            named.set = set;
        }
        self.put(id, Some(*name));
        Ok(())
    }

    /// A device is gone, and with it the elements that name it.
    pub(crate) fn device_gone(&mut self, port: PortId) {
        let number = port.0 + 1;
        let mut changed = Vec::new();
        let named = |s: &&mut NamedSet| s.set.conf().kind == SetKind::HashNetPortIface;
        for named in self.map.values_mut().filter(named) {
            let all = named.set.members();
            for gone in all.iter().filter(|m| m.element.iface == number) {
                let e = &gone.element;
                let span = Span {
                    plen: Some(e.net.plen),
                    proto: e.proto,
                    ports: (e.port, e.port),
                    iface: number,
                    ..Span::of(e.net.addr, e.net.addr)
                };
                if named.set.del(&span, true).is_ok() {
                    changed.push(named.id);
                }
            }
        }
        changed.dedup();
        for id in changed {
            let name = self.name(id);
            self.put(id, Some(name));
        }
    }

    /// Elements of all sets with a hash.
    fn elements(&self) -> usize {
        let hashes = self.map.values().filter(|s| !s.set.conf().kind.is_bitmap());
        hashes.map(|s| s.set.len()).sum()
    }

    /// Somebody names a set, or does so no more.
    pub(crate) fn used(&mut self, id: SetId, by: i32) {
        let name = self.name(id);
        if let Some(set) = self.map.get_mut(name.bytes()) {
            set.users = set.users.saturating_add_signed(by);
        }
    }

    fn put(&mut self, id: SetId, name: Option<Name<32>>) {
        let set = name
            .and_then(|n| self.map.get(n.bytes()))
            .map(|s| Arc::new(s.set.clone()));
        let sets = Arc::make_mut(&mut self.published);
        let at = id.0 as usize;
        if at >= sets.len() {
            sets.resize(at + 1, None);
        }
        sets[at] = set;
        self.changed = true;
    }

    /// For the workers.
    pub(crate) fn published(&self) -> Sets {
        Arc::clone(&self.published)
    }
}
