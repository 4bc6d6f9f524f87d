//! When connections end: a hierarchical timer wheel, lazily re-armed.
//!
//! A packet only writes the time it was seen. The wheel looks at a connection
//! when its list comes due, and puts it back if it has been seen since; only a
//! time-out that becomes shorter moves a connection. The lists run through the
//! entries' own links. Work per call is bounded, so a million connections ending
//! at once are spread over many bursts.

use super::table::{ConnTable, Handle};

/// A tick is 128 ms.
const TICK_SHIFT: u32 = 7;
/// Slots of the first level: 131 s.
const NEAR: u32 = 1024;
/// Slots of the second level, each as long as the first: 37 h.
const FAR: u32 = 1024;

/// The wheel of one worker.
pub(crate) struct Wheel {
    /// List heads: the near ones, then the far ones.
    heads: Vec<u32>,
    /// Next tick to be looked at.
    tick: u32,
    /// The far list of this tick's turn has been spread.
    spread: bool,
}

/// Milliseconds (wrapping) to a tick count that wraps with them.
fn tick_of(ms: u64) -> u32 {
    (ms >> TICK_SHIFT) as u32
}

impl Wheel {
    /// A wheel that starts at `now_ms`.
    #[must_use]
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            heads: vec![0; (NEAR + FAR) as usize],
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
        let raw = handle.raw();
        let head = self.heads[list];
        let links = table.links(handle);
        *links.next = head;
        *links.prev = 0;
        *links.list = list as u32 + 1;
        *links.due = due;
        if let Some(first) = Handle::from_raw(head) {
            *table.links(first).prev = raw;
        }
        self.heads[list] = raw;
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, table: &mut ConnTable, handle: Handle) {
        let links = table.links(handle);
        let (next, prev, list) = (*links.next, *links.prev, *links.list);
        if list == 0 {
            return;
        }
        *links.list = 0;
        *links.next = 0;
        *links.prev = 0;
        match Handle::from_raw(prev) {
            Some(before) => *table.links(before).next = next,
            None => self.heads[list as usize - 1] = next,
        }
        if let Some(after) = Handle::from_raw(next) {
            *table.links(after).prev = prev;
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

    /// The next connection whose time is up, taken out of the wheel. Looks at no
    /// more than `budget` connections over all calls with the same counter;
    /// `None` when nothing is due or the budget is used up.
    pub(crate) fn expired(
        &mut self,
        table: &mut ConnTable,
        now_ms: u64,
        budget: &mut u32,
    ) -> Option<Handle> {
        let now = tick_of(now_ms);
        while (now.wrapping_sub(self.tick) as i32) >= 0 {
            if self.tick.is_multiple_of(NEAR) && !self.spread {
                if !self.spread_far(table, budget) {
                    return None;
                }
                self.spread = true;
            }
            let list = (self.tick % NEAR) as usize;
            while let Some(handle) = Handle::from_raw(self.heads[list]) {
                if *budget == 0 {
                    return None;
                }
                *budget -= 1;
                self.remove(table, handle);
                let links = table.links(handle);
                let silent = (now_ms as u32).wrapping_sub(links.seen);
                if silent >= links.timeout {
                    return Some(handle);
                }
                let left = links.timeout - silent;
                self.add(table, handle, now_ms, left);
            }
            self.tick = self.tick.wrapping_add(1);
            self.spread = false;
        }
        None
    }

    /// Moves the far list whose turn it is to the near lists; false if the
    /// budget ran out before it was empty.
    fn spread_far(&mut self, table: &mut ConnTable, budget: &mut u32) -> bool {
        let list = (NEAR + (self.tick / NEAR) % FAR) as usize;
        while let Some(handle) = Handle::from_raw(self.heads[list]) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let due = *table.links(handle).due;
            self.remove(table, handle);
            let ahead = due.wrapping_sub(self.tick).min(FAR * NEAR);
            // `add` counts one tick more than asked; the present tick's list is
            // looked at right after this.
            let now_ms = u64::from(self.tick) << TICK_SHIFT;
            self.add(table, handle, now_ms, ahead.saturating_sub(1) << TICK_SHIFT);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::entry::Entry;
    use zerocopy::FromZeros;

    fn put(table: &mut ConnTable, wheel: &mut Wheel, n: u32, now: u64, timeout: u32) -> Handle {
        let mut e = Entry::<u32>::new_zeroed();
        e.caddr = n;
        e.laddr = n;
        e.proto = 6;
        e.seen = now as u32;
        e.timeout = timeout;
        let handle = table.insert(&e).unwrap();
        wheel.add(table, handle, now, timeout);
        handle
    }

    fn run(table: &mut ConnTable, wheel: &mut Wheel, now: u64) -> Vec<Handle> {
        let mut out = Vec::new();
        let mut budget = 1_000_000;
        while let Some(h) = wheel.expired(table, now, &mut budget) {
            out.push(h);
        }
        out
    }

    #[test]
    fn ends_in_time_at_every_distance() {
        for start in [0u64, 12_345, (1 << 32) - 5000, (1 << 39) - 700] {
            let mut table = ConnTable::new(100, [1, 2, 3, 4]);
            let mut wheel = Wheel::new(start);
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
        let mut wheel = Wheel::new(0);
        let h = put(&mut table, &mut wheel, 1, 0, 90_000);
        for now in (0..500_000).step_by(500) {
            use crate::conn::table::Family;
            u32::entry_mut(&mut table, h).seen = now as u32;
            assert!(run(&mut table, &mut wheel, now).is_empty());
        }
        use crate::conn::table::Family;
        let entry = u32::entry_mut(&mut table, h);
        entry.timeout = 3_000;
        entry.seen = 500_000;
        wheel.rearm(&mut table, h, 500_000);
        assert!(run(&mut table, &mut wheel, 502_900).is_empty());
        assert_eq!(run(&mut table, &mut wheel, 503_300).len(), 1);
    }

    #[test]
    fn a_million_at_once_is_spread() {
        let n = 20_000;
        let mut table = ConnTable::new(n, [1, 2, 3, 4]);
        let mut wheel = Wheel::new(0);
        for i in 0..n as u32 {
            put(&mut table, &mut wheel, i + 1, 0, 2000);
        }
        let mut gone = 0;
        for _ in 0..n.div_ceil(64) + 2 {
            let mut budget = 64;
            while let Some(h) = wheel.expired(&mut table, 5000, &mut budget) {
                table.remove(h);
                gone += 1;
            }
        }
        assert_eq!(gone, n);
        assert_eq!(table.len(), 0);
    }
}
