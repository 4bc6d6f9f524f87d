//! A hash map whose copies share what they have in common.
//!
//! The master changes its copy while workers look things up in theirs: cloning
//! is one reference count, and a change after that copies the list of pages and
//! one page of at most 64 entries, however many there are. A lookup reads one
//! word of that list and, as a rule, one line of the page: no pointer leads from
//! entry to entry. Knows nothing of what it holds.

use std::net::IpAddr;
use std::sync::Arc;

/// What entries are found by.
pub trait Key: Copy + Eq {
    /// A hash that nobody can steer without knowing `seed`.
    fn hash(&self, seed: [u64; 2]) -> u64;
}

/// Multiplies to 128 bits and folds the halves together.
#[inline(always)]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Hash of an address and up to 64 bits beside it.
#[inline(always)]
pub(crate) fn hash_addr(addr: &IpAddr, beside: u64, [k0, k1]: [u64; 2]) -> u64 {
    match addr {
        IpAddr::V4(a) => fold(u64::from(a.to_bits()) ^ k0, beside ^ k1),
        IpAddr::V6(a) => {
            let bits = a.to_bits();
            let low = fold(bits as u64 ^ k0, (bits >> 64) as u64 ^ k1);
            fold(low ^ k1.rotate_left(32), beside ^ k0.rotate_left(32))
        }
    }
}

impl Key for IpAddr {
    #[inline(always)]
    fn hash(&self, seed: [u64; 2]) -> u64 {
        hash_addr(self, 0, seed)
    }
}

/// Entries a page has room for.
const SLOTS: usize = 64;
/// Entries a page holds before the map grows.
const FULL: usize = 48;

const MIX: u64 = 0xbf58_476d_1ce4_e5b9;
/// Bits every key has, so that no address and no port cancels it.
pub(crate) const ENDS: u64 = 1 << 63 | 1;

/// The page of a hash: its upper half, scaled.
#[inline(always)]
fn at(hash: u64, pages: usize) -> usize {
    (((hash >> 32) * pages as u64) >> 32) as usize
}

type Slot<K, V> = Option<(K, V)>;

/// Open addressing within one page.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Page<K, V> {
    slots: [Slot<K, V>; SLOTS],
    used: usize,
}

impl<K: Key, V: Clone> Page<K, V> {
    fn new() -> Self {
        Self {
            slots: [const { None }; SLOTS],
            used: 0,
        }
    }

    /// Where the entry is, or the free slot where it would be. There is always
    /// a free slot: pages are kept at most three quarters full.
    #[inline(always)]
    fn place(&self, key: &K, hash: u64) -> usize {
        let mut at = hash as usize % SLOTS;
        for _ in 0..SLOTS {
            match &self.slots[at] {
                Some((k, _)) if k != key => at = (at + 1) % SLOTS,
                _ => break,
            }
        }
        at
    }
}

/// A map that shares its pages with its copies.
#[derive(Clone, Debug)]
pub struct ShareMap<K, V> {
    seed: [u64; 2],
    pages: Arc<Vec<Arc<Page<K, V>>>>,
    len: usize,
}

impl<K: Key, V: Clone> Default for ShareMap<K, V> {
    fn default() -> Self {
        Self::keyed([0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03])
    }
}

impl<K: Key, V: Clone> ShareMap<K, V> {
    /// An empty map that hashes with this key.
    #[must_use]
    pub fn keyed(seed: [u64; 2]) -> Self {
        Self {
            seed: seed.map(|k| k | ENDS),
            pages: Arc::new(vec![Arc::new(Page::new())]),
            len: 0,
        }
    }

    /// The value of a key.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        let hash = key.hash(self.seed);
        let page = &self.pages[at(hash, self.pages.len())];
        match &page.slots[page.place(key, hash)] {
            Some((k, value)) if k == key => Some(value),
            _ => None,
        }
    }

    /// Adds or replaces; returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = key.hash(self.seed);
        let at = at(hash, self.pages.len());
        let page = Arc::make_mut(&mut Arc::make_mut(&mut self.pages)[at]);
        let slot = page.place(&key, hash);
        let old = page.slots[slot].replace((key, value));
        if old.is_none() {
            page.used += 1;
            self.len += 1;
            if page.used >= FULL {
                self.grow();
            }
        }
        old.map(|(_, value)| value)
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        let hash = key.hash(self.seed);
        let at = at(hash, self.pages.len());
        let page = Arc::make_mut(&mut Arc::make_mut(&mut self.pages)[at]);
        let slot = page.place(key, hash);
        let gone = page.slots[slot].take();
        // Those behind it move up, so that no lookup stops at the gap.
        let mut next = (slot + 1) % SLOTS;
        while let Some((k, v)) = page.slots[next].take() {
            let home = page.place(&k, k.hash(self.seed));
            page.slots[home] = Some((k, v));
            next = (next + 1) % SLOTS;
        }
        page.used -= 1;
        self.len -= 1;
        gone.map(|(_, value)| value)
    }

    /// Spreads the entries over more pages, until none is full. When there are
    /// as many pages as entries the hash is to blame, and gets another key.
    fn grow(&mut self) {
        let mut count = self.pages.len();
        loop {
            if count < 16 + self.len {
                count *= 2;
            } else {
                self.seed = self.seed.map(|k| fold(k, MIX) | ENDS);
            }
            if let Some(pages) = self.spread(count) {
                self.pages = Arc::new(pages.into_iter().map(Arc::new).collect());
                return;
            }
        }
    }

    /// All entries in that many pages; none if a page would be full.
    fn spread(&self, count: usize) -> Option<Vec<Page<K, V>>> {
        let mut pages = vec![Page::new(); count];
        for (key, value) in self.iter() {
            let hash = key.hash(self.seed);
            let page = &mut pages[at(hash, count)];
            let slot = page.place(key, hash);
            page.slots[slot] = Some((*key, value.clone()));
            page.used += 1;
            if page.used >= FULL {
                return None;
            }
        }
        Some(pages)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages
            .iter()
            .flat_map(|p| p.slots.iter().flatten())
            .map(|(k, v)| (k, v))
    }

    /// How many pages are the very same in another map, and how many there are.
    #[must_use]
    pub fn shared_pages(&self, other: &Self) -> (usize, usize) {
        let both = self.pages.iter().zip(other.pages.iter());
        let shared = both.filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        (shared, self.pages.len())
    }

    /// Without any entry, with the same key.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::keyed(self.seed)
    }

    /// Bytes of its pages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages.len() * size_of::<Page<K, V>>()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without any entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn addr(n: u32) -> IpAddr {
        if n.is_multiple_of(3) {
            IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n) << 64))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n * 256))
        }
    }

    #[test]
    fn holds_what_a_map_holds() {
        let mut map = ShareMap::default();
        let mut model = HashMap::new();
        let mut x = 1u32;
        for round in 0..60_000u32 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = addr((x >> 8) % 4000);
            if x >> 30 == 0 {
                assert_eq!(map.remove(&key), model.remove(&key));
            } else {
                assert_eq!(map.insert(key, round), model.insert(key, round));
            }
            assert_eq!(map.len(), model.len());
        }
        assert_eq!(map.iter().count(), model.len());
        for n in 0..4000 {
            assert_eq!(map.get(&addr(n)), model.get(&addr(n)));
        }
    }

    #[test]
    fn a_change_copies_one_page() {
        let mut map = ShareMap::default();
        for n in 0..10_000 {
            map.insert(addr(n), n);
        }
        let before = map.clone();
        assert!(Arc::ptr_eq(&before.pages, &map.pages));
        map.insert(addr(77), 0);
        map.remove(&addr(77));
        let other = before.pages.iter().zip(map.pages.iter());
        assert_eq!(other.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 1);
        assert_eq!(before.get(&addr(77)), Some(&77));
        assert_eq!(map.get(&addr(77)), None);
    }

    #[test]
    fn entries_are_near_their_place() {
        let mut map = ShareMap::default();
        for n in 0..10_000 {
            map.insert(addr(n), n);
        }
        assert!(map.pages.len() <= 1024, "{} pages", map.pages.len());
        let steps: usize = map
            .pages
            .iter()
            .flat_map(|p| p.slots.iter().enumerate())
            .filter_map(|(i, slot)| {
                let home = slot.as_ref()?.0.hash(map.seed) as usize % SLOTS;
                Some((i + SLOTS - home) % SLOTS)
            })
            .sum();
        assert!(steps < map.len(), "{steps} steps for {} entries", map.len());
    }

    /// Keys that all fall into one page under the first seed.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Crafted(u64, [u64; 2]);

    impl Key for Crafted {
        fn hash(&self, seed: [u64; 2]) -> u64 {
            if seed == self.1 {
                0
            } else {
                fold(self.0 ^ seed[0], seed[1])
            }
        }
    }

    #[test]
    fn crafted_keys_only_change_the_key() {
        let mut map = ShareMap::keyed([5, 7]);
        let seed = map.seed;
        for n in 0..1000 {
            map.insert(Crafted(n, seed), n);
        }
        assert_ne!(map.seed, seed);
        assert!((0..1000).all(|n| map.get(&Crafted(n, seed)) == Some(&n)));
    }
}
