//! Connections nobody has answered yet, oldest first.
//!
//! When the table is full a new connection takes the place of the oldest of these;
//! never of one that was established. Each family has a list of its own, because
//! its entries are its own; the links are in the entries' cold half. Leaving a list
//! only writes to the neighbours, so it waits for no memory. Knows no protocol.

use super::table::{ConnTable, Handle};

/// First and last of a list, handles; 0 = none.
#[derive(Clone, Copy, Default)]
struct Ends {
    first: u32,
    last: u32,
}

/// The lists of both families.
#[derive(Default)]
pub(crate) struct Embryos {
    v4: Ends,
    v6: Ends,
}

impl Embryos {
    fn ends(&mut self, v6: bool) -> &mut Ends {
        if v6 { &mut self.v6 } else { &mut self.v4 }
    }

    /// A new connection; it is in no list.
    pub(crate) fn add(&mut self, table: &mut ConnTable, handle: Handle) {
        let raw = handle.raw();
        let ends = self.ends(handle.is_v6());
        let last = std::mem::replace(&mut ends.last, raw);
        if last == 0 {
            ends.first = raw;
        }
        let links = table.links(handle);
        (*links.prev, *links.next) = (last, 0);
        if let Some(last) = Handle::from_raw(last) {
            *table.links(last).next = raw;
        }
    }

    /// A connection that was added has been answered, or ends.
    pub(crate) fn remove(&mut self, table: &mut ConnTable, handle: Handle) {
        let links = table.links(handle);
        let (next, prev) = (*links.next, *links.prev);
        match Handle::from_raw(prev) {
            Some(before) => *table.links(before).next = next,
            None => self.ends(handle.is_v6()).first = next,
        }
        match Handle::from_raw(next) {
            Some(after) => *table.links(after).prev = prev,
            None => self.ends(handle.is_v6()).last = prev,
        }
    }

    /// The oldest of a family. Asks for what ending it, the next and the one after
    /// will touch, so that a flood does not wait for each.
    pub(crate) fn oldest(&self, table: &mut ConnTable, v6: bool) -> Option<Handle> {
        let first = Handle::from_raw(if v6 { self.v6.first } else { self.v4.first })?;
        if let Some(second) = Handle::from_raw(*table.links(first).next) {
            let _ = table.prepare_remove(second);
            if let Some(third) = Handle::from_raw(*table.links(second).next) {
                table.prefetch_all(third);
            }
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::entry::Entry;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use zerocopy::FromZeros;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// In any order of coming and going the oldest is the oldest.
        #[test]
        fn keeps_the_order(steps in prop::collection::vec((any::<bool>(), any::<u8>(), 0u8..3), 1..200)) {
            let mut table = ConnTable::new(300, [1, 2, 3, 4]);
            let mut embryos = Embryos::default();
            let mut model: [VecDeque<Handle>; 2] = Default::default();
            for (n, (v6, which, what)) in (1u32..).zip(steps) {
                let queue = &mut model[usize::from(v6)];
                if what > 0 || queue.is_empty() {
                    let handle = if v6 {
                        let mut e = Entry::<u128>::new_zeroed();
                        e.proto = 17;
                        e.ports[0][1] = n as u16;
                        table.insert(&e)
                    } else {
                        let mut e = Entry::<u32>::new_zeroed();
                        e.proto = 17;
                        e.ports[0][1] = n as u16;
                        table.insert(&e)
                    };
                    let handle = handle.unwrap();
                    embryos.add(&mut table, handle);
                    queue.push_back(handle);
                } else if let Some(gone) = queue.remove(usize::from(which) % queue.len()) {
                    embryos.remove(&mut table, gone);
                    table.remove(gone);
                }
                for v6 in [false, true] {
                    let want = model[usize::from(v6)].front().copied();
                    prop_assert_eq!(embryos.oldest(&mut table, v6), want);
                }
            }
        }
    }
}
