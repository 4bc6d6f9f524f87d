//! When connections end: a hierarchical timer wheel, lazily re-armed.
//!
//! A packet only writes the time it was seen. The wheel looks at a connection
//! when its list comes due, and puts it back if it has been seen since; only a
//! time-out that becomes shorter moves a connection. A list is a chain of lines of
//! fifteen handles, so that what comes due next is known ahead and its entries can
//! be asked for together; an entry says where in the list it stands, so leaving it
//! looks at no other entry. Work per call is bounded, so a million connections
//! ending at once are spread over many bursts.

use super::index::reserve;
use super::table::{ConnTable, Handle};

/// A tick is 128 ms.
const TICK_SHIFT: u32 = 7;
/// Slots of the first level: 131 s.
const NEAR: u32 = 1024;
/// Slots of the second level, each as long as the first: 37 h.
const FAR: u32 = 1024;
/// Ticks gone through in one call, most of them empty.
const TICKS: u32 = 4096;
/// Most connections looked at in one call.
pub(crate) const BATCH: usize = 64;
/// Handles in a line.
const LINE: u32 = 15;

/// A piece of a list.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    handles: [u32; LINE as usize],
    /// The line before it in the list, counted from 1; 0 = none.
    next: u32,
}

const EMPTY_LINE: Line = Line {
    handles: [0; LINE as usize],
    next: 0,
};

/// A list: its last line and how many handles are in that; all others are full.
#[derive(Clone, Copy, Default)]
struct List {
    line: u32,
    fill: u32,
}

/// The wheel of one worker.
pub(crate) struct Wheel {
    /// The near lists, then the far ones.
    lists: Vec<List>,
    lines: Vec<Line>,
    /// Head of the unused lines, counted from 1; 0 = none.
    free: u32,
    /// Next tick to be looked at.
    tick: u32,
    /// The far list of this tick's turn has been spread.
    spread: bool,
}

/// Connections that came due together, taken out of the wheel.
pub(crate) struct Due {
    handles: [u32; BATCH],
    len: usize,
}

impl Due {
    /// Room for a batch.
    pub(crate) const EMPTY: Self = Self {
        handles: [0; BATCH],
        len: 0,
    };

    /// The connections.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Handle> {
        self.handles[..self.len]
            .iter()
            .filter_map(|&raw| Handle::from_raw(raw))
    }
}

/// Milliseconds (wrapping) to a tick count that wraps with them.
fn tick_of(ms: u64) -> u32 {
    (ms >> TICK_SHIFT) as u32
}

impl Wheel {
    /// A wheel for so many connections that starts at `now_ms`. Memory is taken
    /// as it is used: four bytes and a bit a connection.
    #[must_use]
    pub(crate) fn new(conns: usize, now_ms: u64) -> Self {
        let lists = (NEAR + FAR) as usize;
        Self {
            lists: vec![List::default(); lists],
            // Only the last line of a list is not full.
            lines: reserve(conns / LINE as usize + lists),
            free: 0,
            tick: tick_of(now_ms),
            spread: false,
        }
    }

    fn list_for(&self, due: u32) -> usize {
        let ahead = due.wrapping_sub(self.tick);
        if ahead < NEAR {
            (due % NEAR) as usize
        } else {
            (NEAR + (due / NEAR) % FAR) as usize
        }
    }

    /// Adds to a list; the place within it.
    fn push(&mut self, list: usize, raw: u32) -> u32 {
        let List { mut line, mut fill } = self.lists[list];
        if line == 0 || fill == LINE {
            let new = if self.free == 0 {
                self.lines.push(EMPTY_LINE);
                self.lines.len() as u32
            } else {
                let new = self.free;
                self.free = self.lines[new as usize - 1].next;
                new
            };
            self.lines[new as usize - 1].next = line;
            (line, fill) = (new, 0);
        }
        self.lines[line as usize - 1].handles[fill as usize] = raw;
        self.lists[list] = List {
            line,
            fill: fill + 1,
        };
        line << 4 | fill
    }

    /// Takes the last one of a list; 0 if it is empty.
    fn pop(&mut self, list: usize) -> u32 {
        let List { line, fill } = self.lists[list];
        if line == 0 {
            return 0;
        }
        let l = &mut self.lines[line as usize - 1];
        let raw = l.handles[fill as usize - 1];
        self.lists[list] = if fill > 1 {
            List {
                line,
                fill: fill - 1,
            }
        } else {
            let before = l.next;
            l.next = self.free;
            self.free = line;
            List {
                line: before,
                fill: if before == 0 { 0 } else { LINE },
            }
        };
        raw
    }

    /// Puts a connection in, to be looked at `delay_ms` from now.
    pub(crate) fn add(
        &mut self,
        table: &mut ConnTable,
        handle: Handle,
        now_ms: u64,
        delay_ms: u32,
    ) {
        // One tick later than exact, so that it is never looked at too early.
        let ticks = (delay_ms >> TICK_SHIFT).min((FAR - 2) * NEAR) + 1;
        let mut due = tick_of(now_ms).wrapping_add(ticks);
        if (due.wrapping_sub(self.tick) as i32) < 1 {
            due = self.tick.wrapping_add(1);
        }
        let list = self.list_for(due);
        let slot = self.push(list, handle.raw());
        let links = table.links(handle);
        *links.slot = slot;
        *links.list = list as u32 + 1;
        *links.due = due;
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, table: &mut ConnTable, handle: Handle) {
        let links = table.links(handle);
        let (slot, list) = (*links.slot, *links.list);
        if list == 0 {
            return;
        }
        *links.list = 0;
        // The last one of the list takes its place.
        let last = self.pop(list as usize - 1);
        if last != handle.raw()
            && let Some(moved) = Handle::from_raw(last)
        {
            self.lines[(slot >> 4) as usize - 1].handles[(slot & 15) as usize] = last;
            *table.links(moved).slot = slot;
        }
    }

    /// The connection's time-out has changed: moves it if it is due earlier now.
    pub(crate) fn rearm(&mut self, table: &mut ConnTable, handle: Handle, now_ms: u64) {
        let links = table.links(handle);
        let want = tick_of(now_ms).wrapping_add((links.timeout >> TICK_SHIFT) + 1);
        if (want.wrapping_sub(*links.due) as i32) < 0 {
            let delay = links.timeout;
            self.remove(table, handle);
            self.add(table, handle, now_ms, delay);
        }
    }

    /// True if [`Self::expired`] has something to look at.
    #[inline]
    #[must_use]
    pub(crate) fn is_behind(&self, now_ms: u64) -> bool {
        (tick_of(now_ms).wrapping_sub(self.tick) as i32) >= 0
    }

    /// The connections whose time is up, taken out of the wheel: looks at a batch
    /// at most.
    pub(crate) fn expired(&mut self, table: &mut ConnTable, now_ms: u64, due: &mut Due) {
        due.len = 0;
        let now = tick_of(now_ms);
        let mut looked = Due::EMPTY;
        let mut ticks = TICKS;
        while (now.wrapping_sub(self.tick) as i32) >= 0 && ticks > 0 {
            if self.tick.is_multiple_of(NEAR) && !self.spread {
                if !self.spread_far(table) {
                    break;
                }
                self.spread = true;
            }
            self.take(table, (self.tick % NEAR) as usize, &mut looked);
            if looked.len == BATCH {
                break;
            }
            self.tick = self.tick.wrapping_add(1);
            self.spread = false;
            ticks -= 1;
        }
        for handle in looked.iter() {
            let links = table.links(handle);
            *links.list = 0;
            let silent = (now_ms as u32).wrapping_sub(links.seen);
            if silent >= links.timeout {
                due.handles[due.len] = handle.raw();
                due.len += 1;
            } else {
                let left = links.timeout - silent;
                self.add(table, handle, now_ms, left);
            }
        }
    }

    /// Takes connections out of a list until the batch is full, and asks for them.
    #[inline]
    fn take(&mut self, table: &ConnTable, list: usize, looked: &mut Due) {
        while looked.len < BATCH {
            let raw = self.pop(list);
            let Some(handle) = Handle::from_raw(raw) else {
                break;
            };
            table.prefetch_all(handle);
            looked.handles[looked.len] = raw;
            looked.len += 1;
        }
    }

    /// Moves a part of the far list whose turn it is to the near lists; true once
    /// it is empty.
    fn spread_far(&mut self, table: &mut ConnTable) -> bool {
        let list = (NEAR + (self.tick / NEAR) % FAR) as usize;
        let mut looked = Due::EMPTY;
        self.take(table, list, &mut looked);
        for handle in looked.iter() {
            let links = table.links(handle);
            *links.list = 0;
            let ahead = links.due.wrapping_sub(self.tick).min(FAR * NEAR);
            // `add` counts one tick more than asked; the present tick's list is
            // looked at right after this.
            let now_ms = u64::from(self.tick) << TICK_SHIFT;
            self.add(table, handle, now_ms, ahead.saturating_sub(1) << TICK_SHIFT);
        }
        looked.len < BATCH
    }

    /// The wheel's memory (address, bytes), to be got ready before it is used.
    #[must_use]
    pub(crate) fn region(&self) -> (*const u8, usize) {
        (
            self.lines.as_ptr().cast(),
            self.lines.capacity() * size_of::<Line>(),
        )
    }

    /// Bytes of it in use so far.
    #[must_use]
    pub(crate) fn filled(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::entry::Entry;
    use crate::conn::table::Family;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use zerocopy::FromZeros;

    fn put(table: &mut ConnTable, wheel: &mut Wheel, n: u32, now: u64, timeout: u32) -> Handle {
        let mut e = Entry::<u32>::new_zeroed();
        let t = crate::conn::table::Tuple {
            src: n,
            dst: n,
            sport: 0,
            dport: 0,
            proto: 6,
        };
        e.set_tuples(&t, &crate::conn::table::Tuple { sport: 1, ..t });
        e.seen = now as u32;
        e.timeout = timeout;
        let handle = table.insert(&e).unwrap();
        wheel.add(table, handle, now, timeout);
        handle
    }

    fn run(table: &mut ConnTable, wheel: &mut Wheel, now: u64) -> Vec<Handle> {
        let mut out = Vec::new();
        let mut due = Due::EMPTY;
        let mut quiet = 0;
        while quiet < 2 {
            let tick = wheel.tick;
            wheel.expired(table, now, &mut due);
            out.extend(due.iter());
            quiet = if due.len == 0 && wheel.tick == tick {
                quiet + 1
            } else {
                0
            };
        }
        out
    }

    #[test]
    fn ends_in_time_at_every_distance() {
        for start in [0u64, 12_345, (1 << 32) - 5000, (1 << 39) - 700] {
            let mut table = ConnTable::new(100, [1, 2, 3, 4]);
            let mut wheel = Wheel::new(100, start);
            let timeouts = [
                0, 100, 3_000, 90_000, 131_000, 131_072, 140_000, 300_000, 3_600_000, 86_400_000,
            ];
            let handles: Vec<_> = timeouts
                .iter()
                .enumerate()
                .map(|(i, t)| put(&mut table, &mut wheel, i as u32 + 1, start, *t))
                .collect();
            let mut ended = vec![0u64; handles.len()];
            let mut now = start;
            while now < start + 86_500_000 {
                for h in run(&mut table, &mut wheel, now) {
                    let i = handles.iter().position(|x| x.raw() == h.raw()).unwrap();
                    ended[i] = now - start;
                    table.remove(h);
                }
                now += 97;
            }
            for (t, e) in timeouts.iter().zip(&ended) {
                let late = *e as i64 - i64::from(*t);
                assert!(
                    (0..400).contains(&late),
                    "timeout {t} ended after {e}, start {start}"
                );
            }
        }
    }

    #[test]
    fn traffic_keeps_it_and_a_shorter_timeout_moves_it() {
        let mut table = ConnTable::new(10, [1, 2, 3, 4]);
        let mut wheel = Wheel::new(10, 0);
        let h = put(&mut table, &mut wheel, 1, 0, 90_000);
        for now in (0..500_000).step_by(500) {
            u32::entry_mut(&mut table, h).seen = now as u32;
            assert!(run(&mut table, &mut wheel, now).is_empty());
        }
        let entry = u32::entry_mut(&mut table, h);
        entry.timeout = 3_000;
        entry.seen = 500_000;
        wheel.rearm(&mut table, h, 500_000);
        assert!(run(&mut table, &mut wheel, 502_900).is_empty());
        assert_eq!(run(&mut table, &mut wheel, 503_300).len(), 1);
    }

    /// Work a call, counted: whatever is due, a call looks at one batch.
    #[test]
    fn a_million_at_once_is_spread() {
        let n = 1_000_000;
        let mut table = ConnTable::new(n, [1, 2, 3, 4]);
        let mut wheel = Wheel::new(n, 0);
        for i in 0..n as u32 {
            put(&mut table, &mut wheel, i + 1, 0, 200_000);
        }
        let (mut gone, mut calls) = (0, 0);
        let mut due = Due::EMPTY;
        while gone < n {
            wheel.expired(&mut table, 500_000, &mut due);
            calls += 1;
            let ended = due.iter().count();
            assert!(ended <= BATCH);
            for h in due.iter() {
                table.remove(h);
            }
            gone += ended;
            if calls % 1024 == 0 {
                assert_eq!(wheel.counts().iter().sum::<u32>() as usize, n - gone);
            }
            // The far list is spread a batch a call, then the near one ends.
            assert!(calls <= 2 * n.div_ceil(BATCH) + 4, "{gone} gone");
        }
        assert_eq!(table.len(), 0);
        assert_eq!(wheel.lines.len(), {
            let mut unused = 0;
            let mut at = wheel.free;
            while at != 0 {
                unused += 1;
                at = wheel.lines[at as usize - 1].next;
            }
            unused
        });
    }

    /// A clock that jumps a day costs a bounded number of empty lists a call.
    #[test]
    fn a_jump_of_the_clock_is_caught_up_in_steps() {
        let mut table = ConnTable::new(10, [1, 2, 3, 4]);
        let mut wheel = Wheel::new(10, 0);
        put(&mut table, &mut wheel, 1, 0, 86_000_000);
        let mut due = Due::EMPTY;
        let mut calls = 0;
        while due.len == 0 {
            let tick = wheel.tick;
            wheel.expired(&mut table, 86_500_000, &mut due);
            assert!(wheel.tick - tick <= TICKS);
            calls += 1;
            assert!(calls < 1000);
        }
        assert!(calls > 100);
    }

    impl Wheel {
        /// Handles in each list.
        fn counts(&self) -> Vec<u32> {
            self.lists
                .iter()
                .map(|l| {
                    let (mut n, mut at) = (l.fill, l.line);
                    while at != 0 {
                        at = self.lines[at as usize - 1].next;
                        n += if at == 0 { 0 } else { LINE };
                    }
                    n
                })
                .collect()
        }
    }

    /// Milliseconds after its time at which a connection has ended for sure: less than
    /// three ticks.
    const LATE: u64 = 3 << TICK_SHIFT;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Adding, leaving, moving and ending in any order: each connection ends
        /// exactly once, at its time, and no line is lost.
        #[test]
        fn keeps_what_a_map_keeps(
            steps in prop::collection::vec(
                (0u8..6, prop_oneof![0u32..400_000, 0u32..3_000], 0usize..200), 1..400)
        ) {
            let mut table = ConnTable::new(200, [1, 2, 3, 4]);
            let mut wheel = Wheel::new(200, 0);
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut live: Vec<Handle> = Vec::new();
            let mut now = 0u64;
            for (n, (what, timeout, which)) in steps.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        // One, or more than a line of a list takes.
                        for i in 0..if what == 0 { 1 } else { which as u32 % 40 } {
                            if live.len() < 200 {
                                let n = n as u32 * 40 + i + 1;
                                let h = put(&mut table, &mut wheel, n, now, timeout);
                                model.insert(h.raw(), now + u64::from(timeout));
                                live.push(h);
                            }
                        }
                    }
                    2 if !live.is_empty() => {
                        let h = live.swap_remove(which % live.len());
                        wheel.remove(&mut table, h);
                        table.remove(h);
                        model.remove(&h.raw());
                    }
                    3 if !live.is_empty() => {
                        let h = live[which % live.len()];
                        let e = u32::entry_mut(&mut table, h);
                        e.timeout = timeout;
                        e.seen = now as u32;
                        wheel.rearm(&mut table, h, now);
                        model.insert(h.raw(), now + u64::from(timeout));
                    }
                    _ => {
                        // Some time, or till one has to have ended.
                        let next = model.values().min().map_or(now, |due| due + LATE);
                        now = if what == 4 { now + u64::from(timeout / 4) } else { now.max(next) };
                        for h in run(&mut table, &mut wheel, now) {
                            let due = model.remove(&h.raw());
                            prop_assert!(due.is_some_and(|d| d <= now), "{due:?} at {now}");
                            live.retain(|l| l.raw() != h.raw());
                            table.remove(h);
                        }
                        // Nobody is forgotten, nor late.
                        prop_assert!(model.values().all(|&due| due + LATE > now));
                    }
                }
                prop_assert_eq!(wheel.counts().iter().sum::<u32>() as usize, live.len());
            }
            prop_assert!(wheel.lines.len() <= 200 / LINE as usize + (NEAR + FAR) as usize);
        }
    }
}
