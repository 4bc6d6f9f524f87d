//! Which fragments belong together, and what is known of their datagram.
//!
//! Nothing is put together here: the first fragment has the ports, so what becomes
//! of it (`V`) becomes of the others; those that come before it wait. A datagram
//! whose fragments overlap is refused whole (RFC 5722, RFC 8200 §4.5; for IPv4 as
//! well, where nobody honest does it). Memory is bounded: a number of datagrams
//! and a number of waiting frames, the oldest that wait go first, and all of them
//! after a time. Knows no connections and no packet format.

/// Byte ranges remembered of a datagram: more pieces than that are refused. 64 KB
/// in pieces of 552 bytes.
const PIECES: usize = 128;
/// Frames that wait, of all datagrams.
const HELD: usize = 1024;
const NIL: u32 = u32::MAX;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Source, an IPv4 address mapped (::ffff:a.b.c.d).
    pub src: u128,
    /// Destination.
    pub dst: u128,
    /// Identification.
    pub id: u32,
    /// Protocol for IPv4, 0 for IPv6 (RFC 8200 does not compare it).
    pub proto: u8,
}

/// One fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte, counted in what is fragmented.
    pub at: u16,
    /// Bytes.
    pub len: u16,
    /// There are others behind it.
    pub more: bool,
}

impl Piece {
    /// Its end; `None` for what no fragment can be.
    fn end(self) -> Option<u32> {
        let end = u32::from(self.at) + u32::from(self.len);
        let whole = self.len > 0 && (!self.more || self.len.is_multiple_of(8));
        (whole && end <= 65_535).then_some(end)
    }
}

/// What there is to do with a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted<V> {
    /// Belongs to that datagram, whose first fragment has been decided on.
    Known(Slot, V),
    /// Nobody has decided yet: decide (first fragment) or let it wait.
    Open(Slot),
    /// Has been here already, byte for byte at the same place.
    Duplicate,
    /// Can be no fragment, or contradicts others: the datagram is refused.
    Refused,
}

/// A datagram being followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

struct Datagram<V> {
    key: Key,
    verdict: Option<V>,
    /// Something did not fit: all that comes is refused.
    bad: bool,
    /// Known until it is too old, even when all of it has been seen.
    kept: bool,
    born: u64,
    /// Where it ends, once the last fragment has been seen.
    end: Option<u32>,
    /// Bytes seen.
    seen: u32,
    pieces: [(u16, u16); PIECES],
    count: usize,
    /// Frames that wait, first and last.
    held: (u32, u32),
    /// Next in the bucket.
    chain: u32,
    /// Neighbours in its list of ages.
    prev: u32,
    next: u32,
    list: Option<usize>,
}

struct Held<F> {
    frame: Option<F>,
    next: u32,
}

/// Oldest and newest.
#[derive(Clone, Copy)]
struct Ages(u32, u32);

/// Waiting for the first fragment.
const WAITING: usize = 0;
/// Decided on.
const DECIDED: usize = 1;

/// The datagrams of one worker of which not all has passed.
pub struct Tracker<F, V> {
    datagrams: Vec<Datagram<V>>,
    free: Vec<u32>,
    buckets: Vec<u32>,
    ages: [Ages; 2],
    held: Vec<Held<F>>,
    held_free: Vec<u32>,
    max: usize,
    ttl_ms: u64,
    seed: u64,
    /// Frames given up: their first fragment did not come in time, or there was
    /// no room.
    pub lost: u64,
}

impl<F, V: Copy> Tracker<F, V> {
    /// Follows at most `max` datagrams, each for `ttl_ms` milliseconds; `seed`
    /// keeps outsiders from choosing buckets.
    #[must_use]
    pub fn new(max: usize, ttl_ms: u64, seed: u64) -> Self {
        let max = max.clamp(1, 1 << 20);
        Self {
            datagrams: Vec::with_capacity(max),
            free: Vec::with_capacity(max),
            buckets: vec![NIL; max.next_power_of_two()],
            ages: [Ages(NIL, NIL); 2],
            held: Vec::with_capacity(HELD),
            held_free: Vec::with_capacity(HELD),
            max,
            ttl_ms,
            seed: seed | 1,
            lost: 0,
        }
    }

    /// Datagrams being followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len() - self.free.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.held.len() - self.held_free.len()
    }

    fn bucket(&self, key: &Key) -> usize {
        let mut x = self.seed;
        let words = [
            key.src as u64,
            (key.src >> 64) as u64,
            key.dst as u64,
            (key.dst >> 64) as u64,
            u64::from(key.id) << 8 | u64::from(key.proto),
        ];
        for word in words {
            let product = u128::from(x ^ word) * u128::from(self.seed.rotate_left(29) | 1);
            x = (product as u64) ^ (product >> 64) as u64 ^ self.seed;
        }
        x as usize & (self.buckets.len() - 1)
    }

    fn find(&self, key: &Key) -> u32 {
        let mut at = self.buckets[self.bucket(key)];
        while at != NIL && self.datagrams[at as usize].key != *key {
            at = self.datagrams[at as usize].chain;
        }
        at
    }

    /// Notes a fragment.
    pub fn note(&mut self, key: &Key, piece: Piece, now_ms: u64) -> Noted<V> {
        self.expire(now_ms);
        let mut at = self.find(key);
        if at == NIL {
            if piece.end().is_none() {
                return Noted::Refused;
            }
            at = self.start(key, now_ms);
        }
        let d = &mut self.datagrams[at as usize];
        if d.bad {
            return Noted::Refused;
        }
        let span = match d.fits(piece) {
            Fit::New(span) => span,
            Fit::Duplicate => return Noted::Duplicate,
            Fit::Never => {
                d.bad = true;
                let waiting = std::mem::replace(&mut d.held, (NIL, NIL));
                self.forget(waiting.0);
                return Noted::Refused;
            }
        };
        d.pieces[d.count] = span;
        d.count += 1;
        d.seen += u32::from(piece.len);
        if !piece.more {
            d.end = Some(u32::from(span.1) + 1);
        }
        match d.verdict {
            Some(v) => Noted::Known(Slot(at), v),
            None => Noted::Open(Slot(at)),
        }
    }

    /// The first fragment has been decided on. What has waited is handed out by
    /// [`Tracker::next_held`].
    pub fn decide(&mut self, slot: Slot, verdict: V, now_ms: u64) {
        self.unlist(slot.0);
        let d = &mut self.datagrams[slot.0 as usize];
        d.verdict = Some(verdict);
        d.born = now_ms;
        self.enlist(slot.0, DECIDED);
    }

    /// A datagram whose fragments come by once more: it is not ended before its time.
    pub fn keep(&mut self, slot: Slot) {
        self.datagrams[slot.0 as usize].kept = true;
    }

    /// The first fragment is not decided on after all: it will come again.
    pub fn reopen(&mut self, slot: Slot, first: Piece, now_ms: u64) {
        self.unlist(slot.0);
        let d = &mut self.datagrams[slot.0 as usize];
        (d.verdict, d.born) = (None, now_ms);
        if let Some(at) = d.pieces[..d.count].iter().position(|p| p.0 == first.at) {
            d.count -= 1;
            d.pieces.swap(at, d.count);
            d.seen -= u32::from(first.len);
        }
        self.enlist(slot.0, WAITING);
    }

    /// A datagram being followed.
    #[must_use]
    pub fn slot(&self, key: &Key) -> Option<Slot> {
        let at = self.find(key);
        (at != NIL).then_some(Slot(at))
    }

    /// What has been decided about a datagram.
    #[must_use]
    pub fn verdict(&self, key: &Key) -> Option<V> {
        self.datagrams.get(self.find(key) as usize)?.verdict
    }

    /// Where a datagram ends, once its last fragment has been seen: the bytes that
    /// are fragmented.
    #[must_use]
    pub fn end_of(&self, slot: Slot) -> Option<u32> {
        self.datagrams[slot.0 as usize].end
    }

    /// Takes out the first of the waiting frames that `is` one.
    pub fn take_held(&mut self, slot: Slot, is: impl Fn(&F) -> bool) -> Option<F> {
        let (first, last) = self.datagrams[slot.0 as usize].held;
        let (mut before, mut at) = (NIL, first);
        loop {
            let held = self.held.get_mut(at as usize)?;
            let next = held.next;
            let Some(frame) = held.frame.take_if(|f| is(f)) else {
                (before, at) = (at, next);
                continue;
            };
            self.held_free.push(at);
            let ends = &mut self.datagrams[slot.0 as usize].held;
            if first == at {
                *ends = (next, if next == NIL { NIL } else { last });
            } else {
                self.held[before as usize].next = next;
                if last == at {
                    ends.1 = before;
                }
            }
            return Some(frame);
        }
    }

    /// The next frame that has waited.
    pub fn next_held(&mut self, slot: Slot) -> Option<F> {
        let (first, last) = self.datagrams[slot.0 as usize].held;
        let held = self.held.get_mut(first as usize)?;
        let (frame, next) = (held.frame.take(), held.next);
        self.held_free.push(first);
        self.datagrams[slot.0 as usize].held = if next == NIL {
            (NIL, NIL)
        } else {
            (next, last)
        };
        frame
    }

    /// Lets a fragment wait for the first one of its datagram.
    pub fn hold(&mut self, slot: Slot, frame: F) {
        while self.waiting() >= HELD {
            // Somebody waits, so there is an oldest who does.
            let oldest = self.ages[WAITING].0;
            if oldest == NIL || oldest == slot.0 {
                self.lost += 1;
                return;
            }
            self.end(oldest);
        }
        let entry = Held {
            frame: Some(frame),
            next: NIL,
        };
        let place = match self.held_free.pop() {
            Some(place) => {
                self.held[place as usize] = entry;
                place
            }
            None => {
                self.held.push(entry);
                self.held.len() as u32 - 1
            }
        };
        let held = &mut self.datagrams[slot.0 as usize].held;
        if held.0 == NIL {
            *held = (place, place);
        } else {
            let last = std::mem::replace(&mut held.1, place);
            self.held[last as usize].next = place;
        }
    }

    /// Ends a datagram of which everything has been seen and decided on.
    pub fn finish(&mut self, slot: Slot) {
        let d = &self.datagrams[slot.0 as usize];
        if d.verdict.is_some() && !d.kept && d.held.0 == NIL && d.end == Some(d.seen) {
            self.end(slot.0);
        }
    }

    /// Gives up what is too old.
    pub fn expire(&mut self, now_ms: u64) {
        for list in [WAITING, DECIDED] {
            while let Some(d) = self.datagrams.get(self.ages[list].0 as usize) {
                if now_ms.saturating_sub(d.born) < self.ttl_ms {
                    break;
                }
                self.end(self.ages[list].0);
            }
        }
    }

    /// A new datagram; the oldest gives way if there are too many.
    fn start(&mut self, key: &Key, now_ms: u64) -> u32 {
        if self.len() >= self.max {
            let oldest = match self.ages[WAITING].0 {
                NIL => self.ages[DECIDED].0,
                waiting => waiting,
            };
            self.end(oldest);
        }
        let bucket = self.bucket(key);
        let new = Datagram {
            key: *key,
            verdict: None,
            bad: false,
            kept: false,
            born: now_ms,
            end: None,
            seen: 0,
            pieces: [(0, 0); PIECES],
            count: 0,
            held: (NIL, NIL),
            chain: self.buckets[bucket],
            prev: NIL,
            next: NIL,
            list: None,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.datagrams[at as usize] = new;
                at
            }
            None => {
                self.datagrams.push(new);
                self.datagrams.len() as u32 - 1
            }
        };
        self.buckets[bucket] = at;
        self.enlist(at, WAITING);
        at
    }

    fn end(&mut self, at: u32) {
        self.unlist(at);
        let d = &mut self.datagrams[at as usize];
        let (key, chain) = (d.key, d.chain);
        let waiting = std::mem::replace(&mut d.held, (NIL, NIL));
        self.forget(waiting.0);
        let bucket = self.bucket(&key);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = chain;
        } else {
            let mut before = self.buckets[bucket];
            while before != NIL && self.datagrams[before as usize].chain != at {
                before = self.datagrams[before as usize].chain;
            }
            if let Some(before) = self.datagrams.get_mut(before as usize) {
                before.chain = chain;
            }
        }
        self.free.push(at);
    }

    /// Drops frames that wait.
    fn forget(&mut self, mut first: u32) {
        while let Some(held) = self.held.get_mut(first as usize) {
            held.frame = None;
            self.held_free.push(first);
            first = held.next;
            self.lost += 1;
        }
    }

    /// Puts a datagram behind all others of a list.
    fn enlist(&mut self, at: u32, list: usize) {
        let prev = std::mem::replace(&mut self.ages[list].1, at);
        let d = &mut self.datagrams[at as usize];
        (d.prev, d.next, d.list) = (prev, NIL, Some(list));
        match self.datagrams.get_mut(prev as usize) {
            Some(p) => p.next = at,
            None => self.ages[list].0 = at,
        }
    }

    fn unlist(&mut self, at: u32) {
        let d = &mut self.datagrams[at as usize];
        let Some(list) = d.list.take() else { return };
        let (prev, next) = (d.prev, d.next);
        match self.datagrams.get_mut(prev as usize) {
            Some(p) => p.next = next,
            None => self.ages[list].0 = next,
        }
        match self.datagrams.get_mut(next as usize) {
            Some(n) => n.prev = prev,
            None => self.ages[list].1 = prev,
        }
    }
}

enum Fit {
    /// First and last byte.
    New((u16, u16)),
    Duplicate,
    Never,
}

impl<V> Datagram<V> {
    fn fits(&self, piece: Piece) -> Fit {
        let Some(end) = piece.end() else {
            return Fit::Never;
        };
        let span = (piece.at, (end - 1) as u16);
        for old in &self.pieces[..self.count] {
            if *old == span {
                let last = self.end == Some(end);
                return if last != piece.more {
                    Fit::Duplicate
                } else {
                    Fit::Never
                };
            }
            if span.0 <= old.1 && old.0 <= span.1 {
                return Fit::Never;
            }
        }
        let fits = match self.end {
            Some(of_all) => piece.more && end < of_all,
            None => piece.more || self.pieces[..self.count].iter().all(|p| p.1 < span.0),
        };
        if fits && self.count < PIECES {
            Fit::New(span)
        } else {
            Fit::Never
        }
    }
}

#[cfg(test)]
#[path = "frag_tests.rs"]
mod tests;
