//! What sets of addresses and sets of pairs of them have in common.
//!
//! The elements by key, their comments, and how many there are of each prefix
//! length, so that a lookup tries none that is not there. Copies share their pages.
//! Knows not how many networks a key has: `N`, one here and two there, and in which
//! order their lengths are tried is said by `hash` and `pair`.

use std::sync::Arc;

use crate::sharemap::{Key, ShareMap};

use super::{Element, Member};

/// What an element is found by, with `N` networks.
pub(super) trait ElementKey<const N: usize>: Key {
    /// The key of an element.
    fn of(e: &Element) -> Self;
    /// The element of a key.
    fn element(&self) -> Element;
    /// Lengths of its networks' prefixes.
    fn plens(&self) -> [u8; N];
    /// Its protocol; 0 = none.
    fn proto(&self) -> u8;
    /// The same without a protocol.
    fn of_any_proto(self) -> Self;
}

/// The elements; the value says whether it is an exception.
#[derive(Clone, Debug)]
pub(super) struct Elements<K, const N: usize> {
    map: ShareMap<K, bool>,
    comments: ShareMap<K, Arc<str>>,
    pub(super) lengths: [Lengths; N],
    /// Elements without a protocol.
    wild: usize,
}

impl<K: ElementKey<N>, const N: usize> Elements<K, N> {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self::of(ShareMap::keyed(seed), ShareMap::keyed(seed))
    }

    fn of(map: ShareMap<K, bool>, comments: ShareMap<K, Arc<str>>) -> Self {
        Self {
            map,
            comments,
            lengths: std::array::from_fn(|_| Lengths::default()),
            wild: 0,
        }
    }

    pub(super) fn insert(&mut self, e: &Element, nomatch: bool, comment: Option<Arc<str>>) -> bool {
        let key = K::of(e);
        let new = self.map.insert(key, nomatch).is_none();
        if new {
            for (lengths, plen) in self.lengths.iter_mut().zip(key.plens()) {
                lengths.add(plen);
            }
            self.wild += usize::from(key.proto() == 0);
        }
        match comment {
            Some(text) => self.comments.insert(key, text),
            None => self.comments.remove(&key),
        };
        new
    }

    pub(super) fn remove(&mut self, e: &Element) -> bool {
        let key = K::of(e);
        let gone = self.map.remove(&key).is_some();
        if gone {
            for (lengths, plen) in self.lengths.iter_mut().zip(key.plens()) {
                lengths.drop(plen);
            }
            self.wild -= usize::from(key.proto() == 0);
        }
        self.comments.remove(&key);
        gone
    }

    /// Whether an element says yes to a packet with this key; `None`: there is none.
    #[inline]
    pub(super) fn says(&self, key: &K) -> Option<bool> {
        if let Some(nomatch) = self.map.get(key) {
            return Some(!nomatch);
        }
        // DIFFERS: an element without a protocol is of any; in DPVS it
        // never matches a packet.
        if self.wild > 0 && key.proto() != 0 {
            return self.map.get(&key.of_any_proto()).map(|nomatch| !nomatch);
        }
        None
    }

    pub(super) fn clear(&mut self) {
        *self = Self::of(self.map.emptied(), self.comments.emptied());
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
                element: key.element(),
                nomatch: *nomatch,
                comment: self.comments.get(key).cloned(),
            })
            .collect()
    }

    pub(super) fn shared_pages(&self, other: &Self) -> (usize, usize) {
        self.map.shared_pages(&other.map)
    }
}

/// Prefix lengths in use, longest first, and how many elements have each.
#[derive(Clone, Debug, Default)]
pub(super) struct Lengths(Vec<(u8, u32)>);

impl Lengths {
    fn add(&mut self, plen: u8) {
        match self.0.iter().position(|(p, _)| *p <= plen) {
            Some(at) if self.0[at].0 == plen => self.0[at].1 += 1,
            Some(at) => self.0.insert(at, (plen, 1)),
            None => self.0.push((plen, 1)),
        }
    }

    fn drop(&mut self, plen: u8) {
        if let Some(at) = self.0.iter().position(|(p, _)| *p == plen) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|(p, _)| *p)
    }
}
