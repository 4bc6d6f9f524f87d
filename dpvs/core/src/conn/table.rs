//! Connections: made, found by either of their tuples, freed.
//!
//! Two slabs (IPv4 and IPv6 entries) behind one index. A [`Handle`] is a number,
//! not a pointer: bit 31 says which slab, bit 30 which direction the tuple it was
//! found by belongs to, the rest counts entries from 1. The hash is keyed.

use zerocopy::FromZeros;

use crate::frame::BURST;
use crate::prefetch::prefetch;
use crate::proto::Dir;

use super::entry::{Addr, Entry};
use super::index::{Index, reserve};
use super::side::Sides;
pub(crate) use super::tuple::Tuple;

const V6: u32 = 1 << 31;
const OUT: u32 = 1 << 30;
const NUM: u32 = OUT - 1;

/// A connection, and the direction it was found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    /// From the number kept in an entry's links; `None` for 0.
    #[must_use]
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        (raw & NUM != 0).then_some(Self(raw))
    }

    /// As kept in links: without the direction.
    #[must_use]
    pub(crate) fn raw(self) -> u32 {
        self.0 & !OUT
    }

    /// True for an entry of the IPv6 slab.
    #[inline(always)]
    #[must_use]
    pub(crate) fn is_v6(self) -> bool {
        self.0 & V6 != 0
    }

    /// The same connection, for packets of the other direction.
    #[must_use]
    pub(crate) fn turned(self) -> Self {
        Self(self.0 ^ OUT)
    }

    /// Direction of the packet it was found by.
    #[inline(always)]
    #[must_use]
    pub(crate) fn dir(self) -> Dir {
        if self.0 & OUT == 0 { Dir::In } else { Dir::Out }
    }

    /// The same connection, as found by a packet of that direction.
    #[must_use]
    pub(crate) fn towards(self, dir: Dir) -> Self {
        match dir {
            Dir::In => Self(self.0 & !OUT),
            Dir::Out => Self(self.0 | OUT),
        }
    }

    fn num(self) -> usize {
        (self.0 & NUM) as usize
    }
}

/// A free entry is asked for so many new connections ahead.
const AHEAD: usize = 6;

/// Entries of one address family, those that are free, and a high-water mark.
struct Slab<A> {
    entries: Vec<Entry<A>>,
    /// Numbers of the free entries below the mark, to be used from the end: a
    /// list apart, so that the next ones are known ahead.
    free: Vec<u32>,
    /// Most entries, the unused one counted.
    room: usize,
}

impl<A: Addr> Slab<A> {
    /// Sets the memory aside; the system gives a page when an entry in it is
    /// used for the first time. Entry 0 never is.
    fn new(n: usize) -> Self {
        let mut entries = reserve(n + 1);
        entries.push(Entry::new_zeroed());
        Self {
            entries,
            free: reserve(n),
            room: n + 1,
        }
    }

    #[inline]
    fn put(&mut self, entry: &Entry<A>) -> Option<u32> {
        if let Some(num) = self.free.pop() {
            if let Some(&later) = self.free.iter().rev().nth(AHEAD) {
                self.prefetch(later as usize);
            }
            self.entries[num as usize] = *entry;
            Some(num)
        } else if self.entries.len() < self.room {
            self.entries.push(*entry);
            Some(self.entries.len() as u32 - 1)
        } else {
            None
        }
    }

    /// Entries in use.
    fn used(&self) -> usize {
        self.entries.len() - 1 - self.free.len()
    }

    #[inline(always)]
    fn prefetch(&self, num: usize) {
        let entry = &self.entries[num];
        prefetch(entry);
        prefetch(&entry.next);
        if A::V6 {
            prefetch(&entry.seq_delta);
        }
    }

    fn region(&self) -> (*const u8, usize) {
        (self.entries.as_ptr().cast(), self.bytes())
    }

    fn free_region(&self) -> (*const u8, usize) {
        (
            self.free.as_ptr().cast(),
            self.free.capacity() * size_of::<u32>(),
        )
    }

    fn bytes(&self) -> usize {
        self.room * size_of::<Entry<A>>()
    }

    fn give(&mut self, num: u32) {
        self.entries[num as usize].proto = 0;
        self.free.push(num);
    }
}

/// The connection table of one worker.
pub(crate) struct ConnTable {
    index: Index,
    v4: Slab<u32>,
    v6: Slab<u128>,
    pub(super) sides: Sides,
    key: [u64; 4],
    /// Tuples of packets from servers that are not in the index yet: their lines
    /// have been asked for. Never longer than a burst.
    pending: Vec<(u64, u32)>,
}

/// Spreads a seed over all bits (SplitMix64's finaliser): multiplying by a key
/// with few bits set would mix nothing.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// What differs between the two slabs, so that the rest is written once.
pub(crate) trait Family: Addr {
    /// Keyed hash of a tuple.
    fn hash(table: &ConnTable, t: &Tuple<Self>) -> u64;
    /// The entry of a handle of this family.
    fn entry(table: &ConnTable, handle: Handle) -> &Entry<Self>;
    /// The entry of a handle of this family.
    fn entry_mut(table: &mut ConnTable, handle: Handle) -> &mut Entry<Self>;
    #[doc(hidden)]
    fn put(table: &mut ConnTable, entry: &Entry<Self>) -> Option<u32>;
}

impl Family for u32 {
    #[inline(always)]
    fn hash(table: &ConnTable, t: &Tuple<u32>) -> u64 {
        let [k0, k1, k2, k3] = table.key;
        // In the order they lie in the packet: one load each.
        let a = u64::from(t.dst) << 32 | u64::from(t.src);
        let b = u64::from(t.proto) << 32 | u64::from(t.dport) << 16 | u64::from(t.sport);
        fold(fold(a ^ k0, b ^ k1) ^ k2, k3)
    }

    #[inline(always)]
    fn entry(table: &ConnTable, handle: Handle) -> &Entry<u32> {
        &table.v4.entries[handle.num()]
    }

    #[inline(always)]
    fn entry_mut(table: &mut ConnTable, handle: Handle) -> &mut Entry<u32> {
        &mut table.v4.entries[handle.num()]
    }

    fn put(table: &mut ConnTable, entry: &Entry<Self>) -> Option<u32> {
        table.v4.put(entry)
    }
}

impl Family for u128 {
    #[inline(always)]
    fn hash(table: &ConnTable, t: &Tuple<u128>) -> u64 {
        let [k0, k1, k2, k3] = table.key;
        let s = fold(t.src as u64 ^ k0, (t.src >> 64) as u64 ^ k1);
        let d = fold(t.dst as u64 ^ k2, (t.dst >> 64) as u64 ^ k1.rotate_left(32));
        let b = u64::from(t.proto) << 32 | u64::from(t.sport) << 16 | u64::from(t.dport);
        // Rotated, so that swapping source and destination changes the result.
        fold(fold(s ^ d.rotate_left(17), b ^ k0.rotate_left(32)) ^ k2, k3)
    }

    #[inline(always)]
    fn entry(table: &ConnTable, handle: Handle) -> &Entry<u128> {
        &table.v6.entries[handle.num()]
    }

    #[inline(always)]
    fn entry_mut(table: &mut ConnTable, handle: Handle) -> &mut Entry<u128> {
        &mut table.v6.entries[handle.num()]
    }

    fn put(table: &mut ConnTable, entry: &Entry<Self>) -> Option<u32> {
        table.v6.put(entry)
    }
}

impl ConnTable {
    /// Room for `conns` connections of each family. Entries take memory when they
    /// are used for the first time, the index at once.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn new(conns: usize, seed: [u64; 4]) -> Self {
        Self::advised(conns, seed, &|_| ())
    }

    /// As `new`, see [`Index::advised`].
    #[must_use]
    pub(crate) fn advised(
        conns: usize,
        seed: [u64; 4],
        advise: &dyn Fn((*const u8, usize)),
    ) -> Self {
        // Both tuples of a connection; the two families share the index, whose
        // load is then at most one.
        Self {
            index: Index::advised(conns * 2, advise),
            v4: Slab::new(conns),
            v6: Slab::new(conns),
            sides: Sides::new(conns * 2),
            key: seed.map(|k| mix(k) | 1),
            pending: Vec::with_capacity(BURST),
        }
    }

    /// Bytes of the index and of each family's entries for so many connections.
    pub(crate) fn sizes_for(conns: usize) -> [usize; 3] {
        [
            Index::size_for(conns * 2),
            conns * size_of::<Entry<u32>>(),
            conns * size_of::<Entry<u128>>(),
        ]
    }

    /// Asks for the index line of a hash.
    #[inline(always)]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The connection a packet probably belongs to, in either direction, as a raw
    /// handle; 0 if there is none in the index line, which should be there. Asks
    /// for the entry.
    #[inline(always)]
    pub(crate) fn candidate<A: Family>(&self, hash: u64) -> u32 {
        let raw = self.index.candidate(hash);
        match Handle::from_raw(raw) {
            Some(handle) if handle.is_v6() == A::V6 => {
                let entry = A::entry(self, handle);
                prefetch(entry);
                if A::V6 {
                    prefetch(&entry.ports);
                }
                raw
            }
            _ => 0,
        }
    }

    /// Whether a packet belongs to the connection.
    #[inline(always)]
    pub(crate) fn is<A: Family>(&self, handle: Handle, t: &Tuple<A>) -> bool {
        A::entry(self, handle).tuple(handle.dir()) == *t
    }

    /// The connection a packet belongs to.
    #[inline(always)]
    pub(crate) fn find<A: Family>(&self, hash: u64, t: &Tuple<A>) -> Option<Handle> {
        self.index
            .find(hash, |raw| {
                let handle = Handle(raw);
                handle.is_v6() == A::V6 && self.is(handle, t)
            })
            .map(Handle)
    }

    /// The connection that a packet with that tuple, for which this one was found, is
    /// to be taken for: two services may send one client's port to the same server, and
    /// if it answers here it is the one whose packets are rewritten that it answers.
    #[cold]
    pub(crate) fn preferred<A: Family>(&self, conn: Handle, hash: u64, t: &Tuple<A>) -> Handle {
        if conn.dir() == Dir::In || !A::entry(self, conn).is_direct() {
            return conn;
        }
        let better = self.index.find(hash, |raw| {
            let handle = Handle(raw);
            handle.is_v6() == A::V6 && self.is(handle, t) && !A::entry(self, handle).is_direct()
        });
        better.map_or(conn, Handle)
    }

    /// As [`ConnTable::find`], looking at a candidate first.
    #[inline(always)]
    pub(crate) fn find_from<A: Family>(
        &self,
        candidate: u32,
        hash: u64,
        t: &Tuple<A>,
    ) -> Option<Handle> {
        match Handle::from_raw(candidate) {
            Some(conn) if self.is(conn, t) => Some(conn),
            _ => self.find(hash, t),
        }
    }

    /// Puts a connection in; `None` if the table is full. `proto` must not be 0.
    #[cfg(test)]
    pub(crate) fn insert<A: Family>(&mut self, entry: &Entry<A>) -> Option<Handle> {
        let hash = A::hash(self, &entry.tuple(Dir::In));
        let handle = self.admit(entry, hash);
        self.settle();
        handle
    }

    /// Puts a connection in, found at once by the client's tuple (`hash` is that
    /// tuple's) and by the server's after [`Self::settle`]; `None` if the table is
    /// full. `proto` must not be 0.
    pub(crate) fn admit<A: Family>(&mut self, entry: &Entry<A>, hash: u64) -> Option<Handle> {
        debug_assert_ne!(entry.proto, 0);
        debug_assert_eq!(hash, A::hash(self, &entry.tuple(Dir::In)));
        if self.pending.len() == BURST {
            self.settle();
        }
        // Each insertion takes one overflow bucket at most: none will fail.
        if self.index.spare_left() <= self.pending.len() + 1 {
            return None;
        }
        let num = A::put(self, entry)?;
        let raw = num | if A::V6 { V6 } else { 0 };
        let hash_out = A::hash(self, &entry.tuple(Dir::Out));
        self.index.prefetch(hash_out);
        let done = self.index.insert(hash, raw);
        debug_assert!(done, "there was an overflow bucket");
        self.pending.push((hash_out, raw | OUT));
        Some(Handle(raw))
    }

    /// True if a tuple with that hash waits for [`Self::settle`].
    #[must_use]
    pub(crate) fn is_pending(&self, hash: u64) -> bool {
        self.pending.iter().any(|p| p.0 == hash)
    }

    /// New connections are found by both tuples from here on.
    #[inline]
    pub(crate) fn settle(&mut self) {
        for &(hash, raw) in &self.pending {
            let done = self.index.insert(hash, raw);
            debug_assert!(done, "there was an overflow bucket");
        }
        self.pending.clear();
    }

    /// Asks for all lines of an entry.
    #[inline]
    pub(crate) fn prefetch_all(&self, handle: Handle) {
        if handle.is_v6() {
            self.v6.prefetch(handle.num());
        } else {
            self.v4.prefetch(handle.num());
        }
    }

    /// Hashes of a connection's tuples, for [`Self::remove_hashed`]; asks for
    /// their index lines.
    #[inline]
    pub(crate) fn prepare_remove(&self, handle: Handle) -> (u64, u64) {
        let hashes = self.both_hashes(handle);
        self.index.prefetch(hashes.0);
        self.index.prefetch(hashes.1);
        hashes
    }

    fn both_hashes(&self, handle: Handle) -> (u64, u64) {
        if handle.is_v6() {
            self.hashes::<u128>(handle)
        } else {
            self.hashes::<u32>(handle)
        }
    }

    /// Takes a connection out; it must not be in a wheel list any more.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, handle: Handle) {
        let hashes = self.both_hashes(handle);
        self.remove_hashed(handle, hashes);
    }

    /// Takes a connection out, with the hashes of both its tuples known; it must
    /// not be in a wheel list any more.
    pub(crate) fn remove_hashed(&mut self, handle: Handle, hashes: (u64, u64)) {
        self.settle();
        let raw = handle.raw();
        let gone = self.index.remove(hashes.0, raw) & self.index.remove(hashes.1, raw | OUT);
        debug_assert!(gone, "connection not in the index");
        self.give(Handle(raw));
    }

    fn hashes<A: Family>(&self, handle: Handle) -> (u64, u64) {
        let entry = A::entry(self, handle);
        (
            A::hash(self, &entry.tuple(Dir::In)),
            A::hash(self, &entry.tuple(Dir::Out)),
        )
    }

    fn give(&mut self, handle: Handle) {
        let num = handle.0 & NUM;
        if handle.is_v6() {
            self.detach::<u128>(handle);
            self.v6.give(num);
        } else {
            self.detach::<u32>(handle);
            self.v4.give(num);
        }
    }

    /// Connections in the table.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.v4.used() + self.v6.used()
    }

    /// Bytes of memory set aside (of which only what is used is resident).
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.index.bytes() + self.v4.bytes() + self.v6.bytes()
    }

    /// The large memory blocks (address, bytes): the index, then those that fill
    /// from their start.
    #[must_use]
    pub(crate) fn regions(&self) -> [(*const u8, usize); 5] {
        [
            self.index.region(),
            self.v4.region(),
            self.v6.region(),
            self.v4.free_region(),
            self.v6.free_region(),
        ]
    }

    /// Bytes of each block that are or were in use.
    #[inline]
    #[must_use]
    pub(crate) fn filled(&self) -> [usize; 5] {
        [
            self.index.region().1,
            size_of_val(&self.v4.entries[..]),
            size_of_val(&self.v6.entries[..]),
            size_of_val(&self.v4.free[..]),
            size_of_val(&self.v6.free[..]),
        ]
    }

    /// Walks the table: the first live connection at or after `cursor`, and the
    /// cursor behind it. Cursor 0 starts; `None` at the end. Looks at no more
    /// than `steps` entries; `Some((None, cursor))` says the steps ran out.
    #[must_use]
    pub(crate) fn walk(&self, cursor: u32, steps: &mut u32) -> Option<(Option<Handle>, u32)> {
        let mut at = cursor.max(1);
        loop {
            // IPv4 entries first; bit 31 of the cursor says that they are done.
            if at & V6 == 0 && at as usize >= self.v4.entries.len() {
                at = V6 | 1;
            }
            let num = at & !V6;
            if at & V6 != 0 && num as usize >= self.v6.entries.len() {
                return None;
            }
            let proto = if at & V6 == 0 {
                self.v4.entries[num as usize].proto
            } else {
                self.v6.entries[num as usize].proto
            };
            let handle = (proto != 0).then_some(Handle(at));
            at += 1;
            if handle.is_some() {
                return Some((handle, at));
            }
            if *steps == 0 {
                return Some((None, at));
            }
            *steps -= 1;
        }
    }

    /// The wheel's fields of an entry, whatever its family.
    #[inline]
    #[must_use]
    pub(crate) fn links(&mut self, handle: Handle) -> Links<'_> {
        if handle.is_v6() {
            let e = &mut self.v6.entries[handle.num()];
            Links {
                next: &mut e.next,
                prev: &mut e.prev,
                slot: &mut e.slot,
                list: &mut e.list,
                due: &mut e.due,
                seen: e.seen,
                timeout: e.timeout,
            }
        } else {
            let e = &mut self.v4.entries[handle.num()];
            Links {
                next: &mut e.next,
                prev: &mut e.prev,
                slot: &mut e.slot,
                list: &mut e.list,
                due: &mut e.due,
                seen: e.seen,
                timeout: e.timeout,
            }
        }
    }
}

/// What the timer wheel and the lists use of an entry.
pub(crate) struct Links<'a> {
    /// Next embryonic connection.
    pub next: &'a mut u32,
    /// Previous embryonic connection.
    pub prev: &'a mut u32,
    /// Place within the wheel's list.
    pub slot: &'a mut u32,
    /// The list, counted from 1.
    pub list: &'a mut u32,
    /// Tick at which the list is looked at.
    pub due: &'a mut u32,
    /// Milliseconds of the last packet.
    pub seen: u32,
    /// Milliseconds the connection may stay silent.
    pub timeout: u32,
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
