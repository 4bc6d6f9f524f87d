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
    spare_used: usize,
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
    #[must_use]
    pub(crate) fn new(tuples: usize) -> Self {
        let buckets = (tuples * 2).div_ceil(SLOTS).max(1);
        // With random hashes 0.2 % of the tuples overflow at this load; a
        // sixteenth leaves a wide margin.
        Self {
            buckets: zeroed(buckets),
            spare: zeroed(buckets / 16 + 16),
            spare_used: 0,
            used: 0,
        }
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

    /// Adds a handle; false if the bucket and every overflow bucket is full.
    #[must_use]
    pub(crate) fn insert(&mut self, hash: u64, handle: u32) -> bool {
        debug_assert_ne!(handle, 0);
        let home = self.at(hash);
        let mut link = 0;
        loop {
            let bucket = self.bucket(home, link);
            if let Some(i) = bucket.tags.iter().position(|&t| t == 0) {
                bucket.tags[i] = tag(hash);
                bucket.slots[i] = handle;
                self.used += 1;
                return true;
            }
            let mut next = bucket.next;
            if next == 0 {
                if self.spare_used == self.spare.len() {
                    return false;
                }
                self.spare_used += 1;
                next = self.spare_used as u32;
                self.bucket(home, link).next = next;
            }
            link = next;
        }
    }

    /// Removes a handle; false if it was not there.
    pub(crate) fn remove(&mut self, hash: u64, handle: u32) -> bool {
        let home = self.at(hash);
        let mut link = 0;
        loop {
            let bucket = self.bucket(home, link);
            for i in 0..SLOTS {
                if bucket.tags[i] == tag(hash) && bucket.slots[i] == handle {
                    bucket.tags[i] = 0;
                    bucket.slots[i] = 0;
                    self.used -= 1;
                    return true;
                }
            }
            link = bucket.next;
            if link == 0 {
                return false;
            }
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

/// `n` zeroed values.
fn zeroed<T: FromZeros>(n: usize) -> Vec<T> {
    let mut all = reserve(n);
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
        assert!(index.insert(0xabcd_0000_0000_0001, 5));
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
