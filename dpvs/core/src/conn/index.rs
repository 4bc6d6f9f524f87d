//! From the hash of a packet's tuple to the connection's handle.
//!
//! Fixed-size buckets of one cache line: ten 16-bit tags, ten handles, a link to
//! an overflow bucket. A lookup touches one line; looking up a whole burst first
//! asks for all the lines, so the misses overlap. The hash is keyed by its maker
//! ([`super::table`]): whoever does not know the key cannot fill a bucket on
//! purpose. Two tuples of a connection are two slots.

use zerocopy::FromZeros;

use crate::prefetch::prefetch;

/// Slots of a bucket.
const SLOTS: usize = 10;

#[derive(FromZeros)]
#[repr(C, align(64))]
struct Bucket {
    /// High bits of the hash, 0 = free slot.
    tags: [u16; SLOTS],
    /// Handles.
    slots: [u32; SLOTS],
    /// Overflow bucket, counted from 1; 0 = none.
    next: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// The index: `slots` tuples at a load of at most one half, with overflow.
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    spare: Vec<Bucket>,
    /// Overflow buckets in a chain.
    spare_used: usize,
    /// Overflow buckets that were ever in one: those behind are untouched.
    spare_seen: usize,
    /// Head of those given back, counted from 1; 0 = none.
    spare_free: u32,
    used: usize,
}

fn tag(hash: u64) -> u16 {
    let t = (hash >> 48) as u16;
    if t == 0 { 1 } else { t }
}

impl Bucket {
    /// Bit i is set where slot i carries that tag.
    #[inline(always)]
    fn matches(&self, tag: u16) -> u32 {
        let mut mask = 0;
        for (i, t) in self.tags.iter().enumerate() {
            mask |= u32::from(*t == tag) << i;
        }
        mask
    }
}

impl Index {
    /// Room for `tuples` tuples. Memory: about 13 bytes a tuple.
    #[cfg(test)]
    pub(crate) fn new(tuples: usize) -> Self {
        Self::advised(tuples, &|_| ())
    }

    /// As `new`; the memory (address and bytes) is shown to `advise` before it is
    /// touched: advice on pages is too late afterwards.
    #[must_use]
    pub(crate) fn advised(tuples: usize, advise: &dyn Fn((*const u8, usize))) -> Self {
        let buckets = (tuples * 2).div_ceil(SLOTS).max(1);
        // With random hashes 0.2 % of the tuples overflow at this load; a
        // sixteenth leaves a wide margin.
        Self {
            buckets: zeroed_advised(buckets, advise),
            spare: zeroed_advised(buckets / 16 + 16, advise),
            spare_used: 0,
            spare_seen: 0,
            spare_free: 0,
            used: 0,
        }
    }

    /// Bytes of one for so many tuples, but for the spare ones.
    pub(crate) fn size_for(tuples: usize) -> usize {
        (tuples * 2).div_ceil(SLOTS).max(1) * size_of::<Bucket>()
    }

    #[inline(always)]
    fn at(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    /// Asks for the bucket's line.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.at(hash)]);
    }

    /// The first handle that may be it, for prefetching; 0 if there is none in
    /// the first line.
    #[inline(always)]
    #[must_use]
    pub(crate) fn candidate(&self, hash: u64) -> u32 {
        let bucket = &self.buckets[self.at(hash)];
        let mask = bucket.matches(tag(hash));
        if mask == 0 {
            0
        } else {
            bucket.slots[mask.trailing_zeros() as usize]
        }
    }

    /// The first handle with this hash that `is` says yes to.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut bucket = &self.buckets[self.at(hash)];
        loop {
            let mut mask = bucket.matches(tag);
            while mask != 0 {
                let handle = bucket.slots[mask.trailing_zeros() as usize];
                if is(handle) {
                    return Some(handle);
                }
                mask &= mask - 1;
            }
            if bucket.next == 0 {
                return None;
            }
            bucket = &self.spare[bucket.next as usize - 1];
        }
    }

    /// A bucket of a chain: `link` 0 is the home bucket, others as in `next`.
    fn bucket(&mut self, home: usize, link: u32) -> &mut Bucket {
        if link == 0 {
            &mut self.buckets[home]
        } else {
            &mut self.spare[link as usize - 1]
        }
    }

    /// Overflow buckets left: each insertion takes one at most.
    #[must_use]
    pub(crate) fn spare_left(&self) -> usize {
        self.spare.len() - self.spare_used
    }

    /// Adds a handle; false if the bucket and every overflow bucket is full.
    #[must_use]
    pub(crate) fn insert(&mut self, hash: u64, handle: u32) -> bool {
        debug_assert_ne!(handle, 0);
        let home = self.at(hash);
        let mut link = 0;
        loop {
            let bucket = self.bucket(home, link);
            let open = bucket.matches(0);
            if open != 0 {
                let i = open.trailing_zeros() as usize;
                bucket.tags[i] = tag(hash);
                bucket.slots[i] = handle;
                self.used += 1;
                return true;
            }
            let mut next = bucket.next;
            if next == 0 {
                let Some(new) = self.take_spare() else {
                    return false;
                };
                next = new;
                self.bucket(home, link).next = next;
            }
            link = next;
        }
    }

    /// An empty overflow bucket: one that was given back, or the next new one.
    fn take_spare(&mut self) -> Option<u32> {
        let new = if self.spare_free != 0 {
            let new = self.spare_free;
            let bucket = &mut self.spare[new as usize - 1];
            self.spare_free = bucket.next;
            bucket.next = 0;
            new
        } else if self.spare_seen < self.spare.len() {
            self.spare_seen += 1;
            self.spare_seen as u32
        } else {
            return None;
        };
        self.spare_used += 1;
        Some(new)
    }

    /// Removes a handle; false if it was not there.
    pub(crate) fn remove(&mut self, hash: u64, handle: u32) -> bool {
        let home = self.at(hash);
        let tag = tag(hash);
        let mut link = 0;
        loop {
            let bucket = self.bucket(home, link);
            let mut mask = bucket.matches(tag);
            while mask != 0 {
                let i = mask.trailing_zeros() as usize;
                if bucket.slots[i] == handle {
                    bucket.tags[i] = 0;
                    bucket.slots[i] = 0;
                    self.used -= 1;
                    if self.buckets[home].next != 0 {
                        self.close_up(home, link, i);
                    }
                    return true;
                }
                mask &= mask - 1;
            }
            link = bucket.next;
            if link == 0 {
                return false;
            }
        }
    }

    /// A slot of a chain became free: one of the chain's last bucket moves there,
    /// and that bucket is given back when it is empty. So a chain is only as long
    /// as its tuples need, and what overflowed comes home.
    #[cold]
    fn close_up(&mut self, home: usize, link: u32, slot: usize) {
        let (mut before, mut last) = (0, self.buckets[home].next);
        loop {
            let next = self.spare[last as usize - 1].next;
            if next == 0 {
                break;
            }
            (before, last) = (last, next);
        }
        let end = &mut self.spare[last as usize - 1];
        if last != link {
            let taken = !end.matches(0) & ((1 << SLOTS) - 1);
            let i = taken.trailing_zeros() as usize;
            if i < SLOTS {
                let (tag, handle) = (end.tags[i], end.slots[i]);
                end.tags[i] = 0;
                end.slots[i] = 0;
                let bucket = self.bucket(home, link);
                bucket.tags[slot] = tag;
                bucket.slots[slot] = handle;
            }
        }
        if self.spare[last as usize - 1].tags == [0; SLOTS] {
            self.bucket(home, before).next = 0;
            self.spare[last as usize - 1].next = self.spare_free;
            self.spare_free = last;
            self.spare_used -= 1;
        }
    }

    /// Tuples in the index.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Bytes of memory.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        (self.buckets.len() + self.spare.len()) * size_of::<Bucket>()
    }

    /// The memory, for advice on pages (address and length are all that is used).
    #[must_use]
    pub(crate) fn region(&self) -> (*const u8, usize) {
        (
            self.buckets.as_ptr().cast(),
            self.buckets.len() * size_of::<Bucket>(),
        )
    }
}

/// Room for `n` values, not touched yet.
pub(crate) fn reserve<T>(n: usize) -> Vec<T> {
    let mut room = Vec::new();
    if room.try_reserve_exact(n).is_err() {
        // Failing here is start-up without memory: nothing to go on with.
        let layout = std::alloc::Layout::array::<T>(n);
        std::alloc::handle_alloc_error(layout.unwrap_or(std::alloc::Layout::new::<T>()));
    }
    room
}

/// `n` zeroed values; the system gives a page when one in it is used first.
pub(crate) fn zeroed<T: FromZeros>(n: usize) -> Vec<T> {
    match T::new_vec_zeroed(n) {
        Ok(all) => all,
        Err(_) => {
            let layout = std::alloc::Layout::array::<T>(n);
            std::alloc::handle_alloc_error(layout.unwrap_or(std::alloc::Layout::new::<T>()))
        }
    }
}

/// `n` zeroed values in memory that was shown to `advise` untouched. Not by
/// [`zeroed`]: the standard allocator zeroes what is aligned to a line by writing.
fn zeroed_advised<T: FromZeros>(n: usize, advise: &dyn Fn((*const u8, usize))) -> Vec<T> {
    let mut all: Vec<T> = reserve(n);
    advise((all.as_ptr().cast(), n * size_of::<T>()));
    all.resize_with(n, T::new_zeroed);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn mix(mut x: u64) -> u64 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    #[test]
    fn holds_what_a_map_holds() {
        let mut index = Index::new(4000);
        let mut model: HashMap<u64, u32> = HashMap::new();
        for round in 0..30_000u64 {
            let key = mix(round) % 3000;
            let hash = mix(key ^ 0x5555);
            if let Some(handle) = model.remove(&key) {
                assert!(index.remove(hash, handle));
            } else {
                let handle = (round + 1) as u32;
                assert!(index.insert(hash, handle));
                model.insert(key, handle);
            }
            assert_eq!(index.len(), model.len());
        }
        for key in 0..3000 {
            let want = model.get(&key).copied();
            let got = index.find(mix(key ^ 0x5555), |h| Some(h) == want);
            assert_eq!(got, want);
        }
    }

    #[test]
    fn one_full_bucket_overflows_and_then_refuses() {
        let mut index = Index::new(100);
        let room = SLOTS * (1 + index.spare.len());
        for i in 0..room {
            assert!(index.insert(0xabcd_0000_0000_0001, i as u32 + 1));
        }
        assert!(!index.insert(0xabcd_0000_0000_0001, 9_999_999));
        let mut seen = 0;
        assert_eq!(
            index.find(0xabcd_0000_0000_0001, |_| {
                seen += 1;
                false
            }),
            None
        );
        assert_eq!(seen, room);
        for i in 0..room {
            assert!(index.remove(0xabcd_0000_0000_0001, i as u32 + 1));
        }
        assert_eq!(index.len(), 0);
        assert_eq!(index.spare_used, 0, "overflow buckets come back");
        assert!(index.insert(0xabcd_0000_0000_0001, 5));
    }

    /// Tuples in the longest chain, and overflow buckets reachable from chains.
    fn shape(index: &Index) -> (usize, usize) {
        let (mut longest, mut chained) = (0, 0);
        for home in &index.buckets {
            let mut n = home.tags.iter().filter(|t| **t != 0).count();
            let mut at = home.next;
            while at != 0 {
                chained += 1;
                let b = &index.spare[at as usize - 1];
                n += b.tags.iter().filter(|t| **t != 0).count();
                at = b.next;
            }
            longest = longest.max(n);
        }
        (longest, chained)
    }

    /// Weeks of connections coming and going leave no overflow bucket behind.
    #[test]
    fn churn_leaks_no_overflow_bucket() {
        let n = 4000usize;
        let mut index = Index::new(n);
        // More than it is made for, so that many chains overflow.
        let full = n * 6 / 5;
        let mut live: Vec<(u64, u32)> = Vec::new();
        let mut x = 1u64;
        let mut peak = 0;
        for round in 0..2_000_000u32 {
            x = mix(x.wrapping_add(0x9e37_79b9_7f4a_7c15));
            if live.len() < full - 200 || (live.len() < full && x & 1 == 0) {
                let pair = (mix(x ^ 77), round + 1);
                assert!(index.insert(pair.0, pair.1), "no room in round {round}");
                live.push(pair);
            } else {
                let pair = live.swap_remove((x >> 8) as usize % live.len());
                assert!(index.remove(pair.0, pair.1));
            }
            peak = peak.max(index.spare_used);
        }
        let (_, chained) = shape(&index);
        assert_eq!(chained, index.spare_used);
        assert!(peak > 0 && peak < index.spare.len(), "{peak}");
        for (hash, handle) in &live {
            assert_eq!(index.find(*hash, |h| h == *handle), Some(*handle));
        }
        for (hash, handle) in live {
            assert!(index.remove(hash, handle));
        }
        assert_eq!((index.spare_used, index.len()), (0, 0));
    }

    #[test]
    fn random_load_stays_in_the_first_line() {
        let n = 100_000;
        let mut index = Index::new(n);
        for i in 0..n as u64 {
            assert!(index.insert(mix(i), i as u32 + 1));
        }
        assert!(
            index.spare_used < index.buckets.len() / 40,
            "{}",
            index.spare_used
        );
    }
}
