//! Sets of one address or network, with or without a port and a device.
//!
//! An address is a network of full length. A lookup goes through the prefix
//! lengths there are, longest first; the first element found decides.

use std::net::IpAddr;
use std::sync::Arc;

use crate::sharemap::{Key, ShareMap, hash_addr};

use super::{Element, Lengths, Member, Net, masked};

/// What an element is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OneKey {
    addr: IpAddr,
    plen: u8,
    proto: u8,
    port: u16,
    iface: u16,
}

impl Key for OneKey {
    fn hash(&self, seed: [u64; 2]) -> u64 {
        let beside = u64::from(self.plen)
            | u64::from(self.proto) << 8
            | u64::from(self.port) << 16
            | u64::from(self.iface) << 32;
        hash_addr(&self.addr, beside, seed)
    }
}

fn key(e: &Element) -> OneKey {
    OneKey {
        addr: e.net.addr,
        plen: e.net.plen,
        proto: e.proto,
        port: e.port,
        iface: e.iface,
    }
}

/// The elements; the value says whether it is an exception.
#[derive(Clone, Debug)]
pub(super) struct One {
    map: ShareMap<OneKey, bool>,
    comments: ShareMap<OneKey, Arc<str>>,
    lengths: Lengths,
    /// Elements without a protocol.
    wild: usize,
}

impl One {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self {
            map: ShareMap::keyed(seed),
            comments: ShareMap::keyed(seed),
            lengths: Lengths::default(),
            wild: 0,
        }
    }

    pub(super) fn insert(&mut self, e: &Element, nomatch: bool, comment: Option<Arc<str>>) -> bool {
        let key = key(e);
        let new = self.map.insert(key, nomatch).is_none();
        if new {
            self.lengths.add(key.plen);
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
            self.lengths.drop(key.plen);
            self.wild -= usize::from(key.proto == 0);
        }
        self.comments.remove(&key);
        gone
    }

    pub(super) fn test(&self, e: &Element) -> bool {
        let mut key = key(e);
        for plen in self.lengths.iter() {
            key.addr = masked(e.net.addr, plen);
            key.plen = plen;
            if let Some(nomatch) = self.map.get(&key) {
                return !nomatch;
            }
            // DIFFERS: an element without a protocol is of any; in DPVS it
            // never matches a packet.
            if self.wild > 0 && key.proto != 0 {
                let any = OneKey { proto: 0, ..key };
                if let Some(nomatch) = self.map.get(&any) {
                    return !nomatch;
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
                    net: Net {
                        addr: key.addr,
                        plen: key.plen,
                    },
                    proto: key.proto,
                    port: key.port,
                    iface: key.iface,
                    ..Element::none(key.addr)
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
