//! Rate limits of services and of their clients.
//!
//! Buckets are exact and shared by the workers ([`crate::tokens`]): of a service's
//! each borrows batches, of a client's it takes packet by packet, since a client's
//! packets are few. Clients are in a table of fixed size; when it is full the one
//! that is nearest to a full bucket has to go, because of it there is least to
//! remember. Time and randomness are arguments; what is done about a refusal is the
//! caller's.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sharemap::hash_addr;
pub use crate::tokens::Rate;
use crate::tokens::{Loan, Tokens};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Meter {
    /// Packets of clients.
    InPackets,
    /// Their bits (IP lengths).
    InBits,
    /// Packets to clients.
    OutPackets,
    /// Their bits.
    OutBits,
    /// New connections.
    Conns,
}

/// What is limited of a service, or of all services of an address.
#[derive(Clone, Debug, Default)]
pub struct Limit {
    /// Dense number, the index of a worker's loans.
    pub id: u32,
    /// Never the same for two limits, also after an id was given again.
    pub uid: u64,
    /// All clients together, by [`Meter`].
    pub total: [Rate; 5],
    /// Their buckets, for all workers.
    pub buckets: Arc<[Tokens; 5]>,
    /// Each source address: packets, bits, new connections.
    pub source: [Rate; 3],
    /// Of a hundred packets so many pass, in both directions; 0 = all.
    pub percent: u8,
}

/// The largest packet that counts for a bucket's least size, in bits.
pub const LEAST_BITS: u64 = 1500 * 8;

impl Limit {
    /// Limits sources.
    #[must_use]
    pub fn by_source(&self) -> bool {
        self.source.iter().any(|r| r.per_second > 0)
    }

    /// Limits new connections.
    #[must_use]
    pub fn conns(&self) -> bool {
        self.total[Meter::Conns as usize].per_second > 0 || self.source[2].per_second > 0
    }
}

/// What a worker has borrowed of one limit's buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loans {
    pub(crate) uid: u64,
    of: [Loan; 5],
}

impl Loans {
    pub(crate) fn new(limit: &Limit) -> Self {
        Self {
            uid: limit.uid,
            ..Self::default()
        }
    }

    /// Takes from all of these meters, or from none: false if one has not enough.
    pub(crate) fn take(
        &mut self,
        limit: &Limit,
        costs: &[(Meter, u64)],
        workers: u32,
        now: u64,
    ) -> bool {
        let limited = |m: Meter| limit.total[m as usize].per_second > 0;
        for (meter, cost) in costs.iter().filter(|c| limited(c.0)) {
            let i = *meter as usize;
            let (rate, bucket) = (&limit.total[i], &limit.buckets[i]);
            if !self.of[i].has(bucket, rate, *cost, rate.batch(workers), now) {
                self.shrink(limit, workers);
                return false;
            }
        }
        for (meter, cost) in costs.iter().filter(|c| limited(c.0)) {
            self.of[*meter as usize].take(&limit.total[*meter as usize], *cost);
        }
        true
    }

    /// Brings back what was borrowed in vain.
    fn shrink(&mut self, limit: &Limit, workers: u32) {
        for ((loan, rate), bucket) in self.of.iter_mut().zip(&limit.total).zip(&*limit.buckets) {
            loan.shrink(bucket, rate, rate.batch(workers));
        }
    }
}

/// Clients of a set of places.
const WAYS: usize = 8;
/// Sets of places.
const ROWS: usize = 8192;

/// What is known of a client. Workers that give a place to two clients at once
/// leave one of them with a packet of the other in its buckets, and no more.
#[derive(Debug, Default)]
struct Source {
    /// Keyed hash of limit and address; 0 = free.
    tag: AtomicU64,
    buckets: [Tokens; 3],
}

impl Source {
    /// When its buckets are full: from then on it is as if never seen.
    fn full_at(&self) -> u64 {
        self.buckets.iter().map(Tokens::full_at).max().unwrap_or(0)
    }
}

/// The clients that are remembered, by all workers: 65,536 at most, 2 MiB.
#[derive(Debug)]
pub struct Sources {
    rows: Box<[[Source; WAYS]]>,
    seed: [u64; 2],
}

/// Whom a source address stands for: a host with IPv6 has as many addresses as it
/// likes of a network of 64 bits (RFC 8981), so that network is one client.
fn client(src: IpAddr) -> IpAddr {
    match src {
        IpAddr::V4(_) => src,
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() >> 64 << 64).into()),
    }
}

impl Sources {
    /// Most clients.
    #[cfg(test)]
    pub(crate) const PLACES: usize = ROWS * WAYS;

    /// Nobody yet; hashed with this key.
    #[must_use]
    pub fn new(seed: [u64; 2]) -> Self {
        Self {
            rows: (0..ROWS).map(|_| Default::default()).collect(),
            seed: seed.map(|k| k | 1 << 63 | 1),
        }
    }

    /// Takes `costs` (packets, bits, connections) from a client's buckets, all
    /// or none: false if one has not enough.
    pub(crate) fn take(&self, limit: &Limit, src: IpAddr, costs: [u64; 3], now: u64) -> bool {
        let tag = hash_addr(&client(src), limit.uid, self.seed) | 1;
        let row = &self.rows[(tag >> 40) as usize % ROWS];
        let known = row.iter().find(|s| s.tag.load(Ordering::Relaxed) == tag);
        let source = known.unwrap_or_else(|| {
            let mut oldest = &row[0];
            for place in &row[1..] {
                if place.full_at() < oldest.full_at() {
                    oldest = place;
                }
            }
            for bucket in &oldest.buckets {
                bucket.fill();
            }
            oldest.tag.store(tag, Ordering::Relaxed);
            oldest
        });
        let meters = || source.buckets.iter().zip(&limit.source).zip(costs);
        let limited = |rate: &Rate, cost| rate.per_second > 0 && cost > 0;
        for (i, ((bucket, rate), cost)) in meters().enumerate() {
            if limited(rate, cost) && !bucket.draw(rate, cost, now) {
                for ((bucket, rate), cost) in meters().take(i) {
                    if limited(rate, cost) {
                        bucket.give_back(rate, cost);
                    }
                }
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
