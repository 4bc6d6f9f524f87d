//! What only few connections need beside their entry.
//!
//! A side record is found by its number, which takes the place of the time-out in
//! the entry ([`flags::SIDE`]); it lives and ends with its connection. There can
//! be one for each connection; memory is taken as they are used. A packet that
//! goes the short way never looks here.

use crate::conn::table::{Family, Handle};
use crate::conn::{ConnTable, flags};

use crate::synproxy::Proxied;

use super::index::reserve;

/// Beside the entry of a connection. `default()` is one of a connection that
/// needs nothing yet: features add their fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Established time-out of the service in seconds, 0 = the protocol's.
    pub conn_timeout: u32,
    /// The SYN proxy answered its client.
    pub synproxy: Option<Proxied>,
    /// Persistence template it belongs to, 0 = none.
    pub template: u32,
    /// Made by a fragmented datagram of a service with one-packet scheduling, for its
    /// fragments only.
    pub once: bool,
}

/// All side records of a worker; number 0 is none.
pub(super) struct Sides {
    records: Vec<Side>,
    free: Vec<u32>,
    room: usize,
}

impl Sides {
    /// Room for `n` records.
    pub(super) fn new(n: usize) -> Self {
        let mut records = reserve(n + 1);
        records.push(Side::default());
        Self {
            records,
            free: Vec::new(),
            room: n + 1,
        }
    }

    fn put(&mut self, side: Side) -> Option<u32> {
        if let Some(num) = self.free.pop() {
            self.records[num as usize] = side;
            return Some(num);
        }
        (self.records.len() < self.room).then(|| {
            self.records.push(side);
            self.records.len() as u32 - 1
        })
    }

    fn give(&mut self, num: u32) {
        // What it owned is freed now.
        self.records[num as usize] = Side::default();
        self.free.push(num);
    }

    /// Records in use.
    fn used(&self) -> usize {
        self.records.len() - 1 - self.free.len()
    }
}

impl ConnTable {
    /// Established time-out of a connection's service in seconds, 0 = the
    /// protocol's.
    #[inline]
    pub(crate) fn conn_timeout<A: Family>(&self, conn: Handle) -> u32 {
        let entry = A::entry(self, conn);
        if entry.flags & flags::SIDE == 0 {
            entry.conn_timeout
        } else {
            self.sides.records[entry.conn_timeout as usize].conn_timeout
        }
    }

    /// The side record of a connection, if it has one.
    #[inline]
    pub(crate) fn side<A: Family>(&self, conn: Handle) -> Option<&Side> {
        let entry = A::entry(self, conn);
        (entry.flags & flags::SIDE != 0).then(|| &self.sides.records[entry.conn_timeout as usize])
    }

    /// As [`ConnTable::side`].
    #[inline]
    pub(crate) fn side_mut<A: Family>(&mut self, conn: Handle) -> Option<&mut Side> {
        let entry = A::entry(self, conn);
        let num = entry.conn_timeout as usize;
        (entry.flags & flags::SIDE != 0).then(|| &mut self.sides.records[num])
    }

    /// The side record of a connection, made if it has none; `None` if there is no
    /// room for another one.
    pub(crate) fn attach<A: Family>(&mut self, conn: Handle) -> Option<&mut Side> {
        let entry = A::entry(self, conn);
        if entry.flags & flags::SIDE == 0 {
            let side = Side {
                conn_timeout: entry.conn_timeout,
                ..Side::default()
            };
            let num = self.sides.put(side)?;
            let entry = A::entry_mut(self, conn);
            entry.flags |= flags::SIDE;
            entry.conn_timeout = num;
        }
        self.side_mut::<A>(conn)
    }

    /// Gives back the side record of a connection that ends.
    #[inline]
    pub(super) fn detach<A: Family>(&mut self, conn: Handle) {
        let entry = A::entry_mut(self, conn);
        if entry.flags & flags::SIDE != 0 {
            entry.flags &= !flags::SIDE;
            let num = entry.conn_timeout;
            self.sides.give(num);
        }
    }

    /// Side records in use.
    #[must_use]
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn sides_used(&self) -> usize {
        self.sides.used()
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::conn::Entry;
    use crate::service::TCP;

    fn conn(table: &mut ConnTable, cport: u16) -> Handle {
        let mut e = Entry::<u32>::new_zeroed();
        e.addrs = [[1, 2], [3, 4]];
        e.ports = [[cport, 80], [8080, cport]];
        e.proto = TCP;
        e.set_conn_timeout(u32::from(cport));
        table.insert(&e).unwrap()
    }

    #[test]
    fn lives_and_ends_with_its_connection() {
        let mut table = ConnTable::new(2, [1, 2, 3, 4]);
        let (a, b) = (conn(&mut table, 7), conn(&mut table, 9));
        assert!(table.side::<u32>(a).is_none());
        assert_eq!(table.conn_timeout::<u32>(a), 7);
        assert_eq!(table.attach::<u32>(a).unwrap().conn_timeout, 7);
        table.side_mut::<u32>(a).unwrap().conn_timeout = 70;
        assert_eq!(table.attach::<u32>(a).unwrap().conn_timeout, 70);
        assert_eq!(table.conn_timeout::<u32>(a), 70);
        assert_eq!(table.conn_timeout::<u32>(b), 9);
        assert_eq!(table.sides_used(), 1);
        table.remove(a);
        assert_eq!(table.sides_used(), 0);
        // The next connection in its place has none.
        let c = conn(&mut table, 11);
        assert!(table.side::<u32>(c).is_none());
        assert_eq!(table.conn_timeout::<u32>(c), 11);
        for h in [b, c] {
            assert!(table.attach::<u32>(h).is_some());
            table.remove(h);
        }
        assert_eq!(table.sides_used(), 0);
    }
}
