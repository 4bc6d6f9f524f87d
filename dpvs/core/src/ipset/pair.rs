//! Sets of two addresses or networks with one port or two.
//!
//! An address is a network of full length. A lookup goes through the prefix
//! lengths of the first network, longest first, and for each through those of
//! the second; the first element found decides.

use std::sync::Arc;

use crate::sharemap::{Key, ShareMap, hash_addr};

use super::{Element, Lengths, Member, Net};

/// What an element is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TwoKey {
    net: Net,
    net2: Net,
    proto: u8,
    port: u16,
    port2: u16,
}

impl Key for TwoKey {
    fn hash(&self, [k0, k1]: [u64; 2]) -> u64 {
        let beside = u64::from(self.net.plen)
            | u64::from(self.net2.plen) << 8
            | u64::from(self.port) << 16
            | u64::from(self.port2) << 32
            | u64::from(self.proto) << 48;
        let first = hash_addr(&self.net.addr, beside, [k0, k1]);
        hash_addr(&self.net2.addr, first, [k1, k0])
    }
}

fn key(e: &Element) -> TwoKey {
    TwoKey {
        net: e.net,
        net2: e.net2,
        proto: e.proto,
        port: e.port,
        port2: e.port2,
    }
}

/// The elements; the value says whether it is an exception.
#[derive(Clone, Debug)]
pub(super) struct Two {
    map: ShareMap<TwoKey, bool>,
    comments: ShareMap<TwoKey, Arc<str>>,
    lengths: Lengths,
    lengths2: Lengths,
    /// Elements without a protocol.
    wild: usize,
}

impl Two {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self {
            map: ShareMap::keyed(seed),
            comments: ShareMap::keyed(seed),
            lengths: Lengths::default(),
            lengths2: Lengths::default(),
            wild: 0,
        }
    }

    pub(super) fn insert(&mut self, e: &Element, nomatch: bool, comment: Option<Arc<str>>) -> bool {
        let key = key(e);
        let new = self.map.insert(key, nomatch).is_none();
        if new {
            self.lengths.add(key.net.plen);
            self.lengths2.add(key.net2.plen);
            self.wild += usize::from(key.proto == 0);
        }
        match comment {
            Some(text) => self.comments.insert(key, text),
            None => self.comments.remove(&key),
        };
        new
    }

    pub(super) fn remove(&mut self, e: &Element) -> bool {
        let key = key(e);
        let gone = self.map.remove(&key).is_some();
        if gone {
            self.lengths.drop(key.net.plen);
            self.lengths2.drop(key.net2.plen);
            self.wild -= usize::from(key.proto == 0);
        }
        self.comments.remove(&key);
        gone
    }

    pub(super) fn test(&self, e: &Element) -> bool {
        let mut key = key(e);
        for plen in self.lengths.iter() {
            key.net = Net::of(e.net.addr, plen);
            for plen2 in self.lengths2.iter() {
                key.net2 = Net::of(e.net2.addr, plen2);
                if let Some(nomatch) = self.map.get(&key) {
                    return !nomatch;
                }
                // As with one address: without a protocol it is of any.
                if self.wild > 0 && key.proto != 0 {
                    let any = TwoKey { proto: 0, ..key };
                    if let Some(nomatch) = self.map.get(&any) {
                        return !nomatch;
                    }
                }
            }
        }
        false
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            map: self.map.emptied(),
            comments: self.comments.emptied(),
            lengths: Lengths::default(),
            lengths2: Lengths::default(),
            wild: 0,
        };
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.map.bytes() + self.comments.bytes()
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.map
            .iter()
            .map(|(key, nomatch)| Member {
                element: Element {
                    net: key.net,
                    net2: key.net2,
                    proto: key.proto,
                    port: key.port,
                    port2: key.port2,
                    ..Element::none(key.net.addr)
                },
                nomatch: *nomatch,
                comment: self.comments.get(key).cloned(),
            })
            .collect()
    }

    pub(super) fn shared_pages(&self, other: &Self) -> (usize, usize) {
        self.map.shared_pages(&other.map)
    }
}
