//! Routes by longest prefix match.
//!
//! The table is built whole by the control side and never changed: prefixes are
//! flattened to disjoint ranges in ascending order, so that a lookup is one
//! binary search without a second try at shorter prefixes. Knows no neighbour.

use std::net::IpAddr;

use crate::frame::PortId;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; bits behind the prefix do not matter.
    pub dst: IpAddr,
    /// Prefix length, 0..=32 or 0..=128; anything longer means a host.
    pub plen: u8,
    /// Next hop; `None` for on-link.
    pub gateway: Option<IpAddr>,
    /// Preferred source.
    pub src: Option<IpAddr>,
    /// Device it leads out of.
    pub port: PortId,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
}

/// All routes, ready for lookups.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    routes: Box<[Route]>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Fib {
    /// Builds the table. Of several routes with the same prefix the first wins.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (route, index) in routes.iter().zip(0u32..) {
            match route.dst {
                IpAddr::V4(dst) => {
                    let host = u32::MAX.checked_shr(u32::from(route.plen)).unwrap_or(0);
                    let first = dst.to_bits() & !host;
                    v4.push(Prefix {
                        first,
                        last: first | host,
                        index,
                    });
                }
                IpAddr::V6(dst) => {
                    let host = u128::MAX.checked_shr(u32::from(route.plen)).unwrap_or(0);
                    let first = dst.to_bits() & !host;
                    v6.push(Prefix {
                        first,
                        last: first | host,
                        index,
                    });
                }
            }
        }
        Self {
            routes: routes.into(),
            v4: Ranges::new(v4),
            v6: Ranges::new(v6),
        }
    }

    /// The route of an IPv4 destination, a number in host order.
    #[inline]
    #[must_use]
    pub fn lookup4(&self, dst: u32) -> Option<&Route> {
        self.routes.get(self.v4.find(dst)? as usize)
    }

    /// The route of an IPv6 destination.
    #[inline]
    #[must_use]
    pub fn lookup6(&self, dst: u128) -> Option<&Route> {
        self.routes.get(self.v6.find(dst)? as usize)
    }

    /// The route of a destination.
    #[inline]
    #[must_use]
    pub fn lookup(&self, dst: IpAddr) -> Option<&Route> {
        match dst {
            IpAddr::V4(dst) => self.lookup4(dst.to_bits()),
            IpAddr::V6(dst) => self.lookup6(dst.to_bits()),
        }
    }

    /// The routes as they were given.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

/// An address as a number.
trait Key: Copy + Ord {
    /// The next higher address, if there is one.
    fn next(self) -> Option<Self>;
}

impl Key for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Key for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

#[derive(Clone, Copy)]
struct Prefix<K> {
    first: K,
    last: K,
    index: u32,
}

/// No route in a range.
const NONE: u32 = u32::MAX;

/// Disjoint ranges that together cover everything behind the first start: range
/// `i` reaches from `starts[i]` to just before `starts[i + 1]`.
#[derive(Clone, Debug)]
struct Ranges<K> {
    starts: Box<[K]>,
    index: Box<[u32]>,
}

impl<K> Default for Ranges<K> {
    fn default() -> Self {
        Self {
            starts: Box::default(),
            index: Box::default(),
        }
    }
}

impl<K: Key> Ranges<K> {
    fn new(mut prefixes: Vec<Prefix<K>>) -> Self {
        // Shorter prefixes first among those with the same start, and of equal
        // ones the first given first.
        prefixes.sort_by(|a, b| {
            a.first
                .cmp(&b.first)
                .then(b.last.cmp(&a.last))
                .then(a.index.cmp(&b.index))
        });
        prefixes.dedup_by(|b, a| a.first == b.first && a.last == b.last);
        let mut out = Builder {
            starts: Vec::new(),
            index: Vec::new(),
        };
        // Prefixes around the current one, outermost first: they nest or are
        // apart, they never overlap otherwise.
        let mut around: Vec<Prefix<K>> = Vec::new();
        for prefix in prefixes {
            while let Some(done) = around.pop_if(|p| p.last < prefix.first) {
                out.resume(done.last, around.last());
            }
            out.put(prefix.first, prefix.index);
            around.push(prefix);
        }
        while let Some(done) = around.pop() {
            out.resume(done.last, around.last());
        }
        Self {
            starts: out.starts.into(),
            index: out.index.into(),
        }
    }

    #[inline]
    fn find(&self, key: K) -> Option<u32> {
        let at = self
            .starts
            .partition_point(|start| *start <= key)
            .checked_sub(1)?;
        let index = *self.index.get(at)?;
        (index != NONE).then_some(index)
    }
}

struct Builder<K> {
    starts: Vec<K>,
    index: Vec<u32>,
}

impl<K: Key> Builder<K> {
    /// From `start` on `index` holds.
    fn put(&mut self, start: K, index: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.index.pop();
        }
        if self.index.last() == Some(&index) {
            return;
        }
        self.starts.push(start);
        self.index.push(index);
    }

    /// Behind `last` the prefix around it holds again.
    fn resume(&mut self, last: K, around: Option<&Prefix<K>>) {
        if let Some(start) = last.next() {
            self.put(start, around.map_or(NONE, |p| p.index));
        }
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
