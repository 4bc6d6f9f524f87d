//! Rate limits: token buckets of services and of their clients.
//!
//! A bucket is exact: tokens are counted in millionths, so that no time and no
//! rate is rounded. A limit over several workers is split among them, to the last
//! packet. Clients are in a table of fixed size; when it is full the one that is
//! nearest to a full bucket has to go, because of it there is least to remember.
//! Time and randomness are arguments; what is done about a refusal is the
//! caller's.

use std::net::IpAddr;

use crate::sharemap::hash_addr;

/// Tokens are kept in millionths, the refill of a microsecond.
const SCALE: u64 = 1_000_000;

/// So many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// A second; 0 = not limited.
    pub per_second: u64,
    /// At once; at least 1.
    pub burst: u64,
}

impl Rate {
    /// A rate whose burst, if none is given, is a tenth of a second and at
    /// least `least`.
    #[must_use]
    pub fn new(per_second: u64, burst: u64, least: u64) -> Self {
        let burst = if burst > 0 { burst } else { per_second / 10 };
        Self {
            per_second,
            burst: burst.clamp(least.max(1), u64::MAX / SCALE),
        }
    }

    /// The part of worker `me` of `workers`: the parts add up to the whole, but
    /// nobody has none.
    #[must_use]
    pub fn share(self, me: u32, workers: u32, least: u64) -> Self {
        if self.per_second == 0 {
            return self;
        }
        let (me, workers) = (u64::from(me), u64::from(workers.max(1)));
        let part = |all: u64| all / workers + u64::from(me < all % workers);
        Self {
            per_second: part(self.per_second).max(1),
            burst: part(self.burst).max(least.max(1)),
        }
    }

    fn full(&self) -> u64 {
        self.burst.saturating_mul(SCALE)
    }

    /// Tokens after `micros` more microseconds.
    fn refilled(&self, tokens: u64, micros: u64) -> u64 {
        tokens
            .saturating_add(micros.saturating_mul(self.per_second))
            .min(self.full())
    }

    /// What `cost` takes; more than a full bucket holds takes all of it.
    fn price(&self, cost: u64) -> u64 {
        cost.saturating_mul(SCALE).min(self.full())
    }
}

/// A bucket of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    tokens: u64,
    /// Microseconds at which it was last refilled.
    at: u64,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn full(rate: &Rate, now: u64) -> Self {
        Self {
            tokens: rate.full(),
            at: now,
        }
    }

    /// Puts in what time has brought.
    pub fn refill(&mut self, rate: &Rate, now: u64) {
        self.tokens = rate.refilled(self.tokens, now.saturating_sub(self.at));
        self.at = now.max(self.at);
    }

    /// Whether there is enough, once refilled.
    #[must_use]
    pub fn has(&self, rate: &Rate, cost: u64) -> bool {
        self.tokens >= rate.price(cost)
    }

    /// Takes tokens out; there have to be enough.
    pub fn take(&mut self, rate: &Rate, cost: u64) {
        self.tokens = self.tokens.saturating_sub(rate.price(cost));
    }

    /// Microseconds until there is enough.
    #[must_use]
    pub fn wait(&self, rate: &Rate, cost: u64) -> u64 {
        let lack = rate.price(cost).saturating_sub(self.tokens);
        lack.div_ceil(rate.per_second.max(1))
    }
}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Dense number, the index of its buckets in a worker.
    pub id: u32,
    /// Never the same for two limits, also after an id was given again.
    pub uid: u64,
    /// All clients together, by [`Meter`].
    pub total: [Rate; 5],
    /// Each source address: packets, bits, new connections.
    pub source: [Rate; 3],
    /// Of a hundred packets so many pass, in both directions; 0 = all.
    pub percent: u8,
}

/// The largest packet that counts for a bucket's least size, in bits.
pub const LEAST_BITS: u64 = 1500 * 8;

/// Least burst of each meter: a packet, a connection.
const LEAST_TOTAL: [u64; 5] = [1, LEAST_BITS, 1, LEAST_BITS, 1];
const LEAST_SOURCE: [u64; 3] = [1, LEAST_BITS, 1];

impl Limit {
    /// The part of a worker.
    pub(crate) fn share(&self, me: u32, workers: u32) -> Self {
        let mut part = *self;
        for (rate, least) in part.total.iter_mut().zip(LEAST_TOTAL) {
            *rate = rate.share(me, workers, least);
        }
        for (rate, least) in part.source.iter_mut().zip(LEAST_SOURCE) {
            *rate = rate.share(me, workers, least);
        }
        part
    }

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

/// The buckets of one limit on one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) uid: u64,
    total: [Bucket; 5],
}

impl Buckets {
    pub(crate) fn new(limit: &Limit, now: u64) -> Self {
        let mut buckets = Self {
            uid: limit.uid,
            ..Self::default()
        };
        for (bucket, rate) in buckets.total.iter_mut().zip(&limit.total) {
            *bucket = Bucket::full(rate, now);
        }
        buckets
    }

    /// Takes from all of these meters, or from none: false if one has not enough.
    pub(crate) fn take(&mut self, limit: &Limit, costs: &[(Meter, u64)], now: u64) -> bool {
        let limited = |m: Meter| limit.total[m as usize].per_second > 0;
        for (meter, cost) in costs {
            let (i, rate) = (*meter as usize, &limit.total[*meter as usize]);
            if limited(*meter) {
                self.total[i].refill(rate, now);
                if !self.total[i].has(rate, *cost) {
                    return false;
                }
            }
        }
        for (meter, cost) in costs {
            if limited(*meter) {
                self.total[*meter as usize].take(&limit.total[*meter as usize], *cost);
            }
        }
        true
    }
}

/// Clients of a set of places.
const WAYS: usize = 8;
/// Sets of places.
const ROWS: usize = 8192;

/// What is known of a client.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// Keyed hash of limit and address; 0 = free.
    tag: u64,
    /// When its buckets are full again: then it is as if never seen.
    full_at: u64,
    tokens: [u64; 3],
    at: u64,
}

/// The clients a worker remembers: [`Sources::PLACES`] at most, 3.5 MiB.
pub(crate) struct Sources {
    rows: Box<[[Source; WAYS]]>,
    seed: [u64; 2],
}

impl Sources {
    /// Most clients.
    #[cfg(test)]
    pub(crate) const PLACES: usize = ROWS * WAYS;

    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self {
            rows: vec![[Source::default(); WAYS]; ROWS].into_boxed_slice(),
            seed: seed.map(|k| k | 1 << 63 | 1),
        }
    }

    /// Takes `costs` (packets, bits, connections) from a client's buckets, all
    /// or none: false if one has not enough.
    pub(crate) fn take(&mut self, limit: &Limit, src: IpAddr, costs: [u64; 3], now: u64) -> bool {
        let tag = hash_addr(&src, limit.uid, self.seed) | 1;
        let row = &mut self.rows[(tag >> 40) as usize % ROWS];
        let known = row.iter().position(|s| s.tag == tag);
        let place = known.unwrap_or_else(|| {
            let mut oldest = 0;
            for i in 1..WAYS {
                if row[i].full_at < row[oldest].full_at {
                    oldest = i;
                }
            }
            oldest
        });
        let source = &mut row[place];
        if known.is_none() {
            *source = Source {
                tag,
                full_at: now,
                tokens: limit.source.map(|r| r.full()),
                at: now,
            };
        }
        let passed = now.saturating_sub(source.at);
        source.at = now.max(source.at);
        for (tokens, rate) in source.tokens.iter_mut().zip(&limit.source) {
            *tokens = rate.refilled(*tokens, passed);
        }
        let wanted = || limit.source.iter().zip(costs);
        let enough = source
            .tokens
            .iter()
            .zip(wanted())
            .all(|(tokens, (rate, cost))| {
                rate.per_second == 0 || cost == 0 || *tokens >= rate.price(cost)
            });
        if enough {
            let mut full_at = now;
            for (tokens, (rate, cost)) in source.tokens.iter_mut().zip(wanted()) {
                if rate.per_second > 0 {
                    *tokens -= rate.price(cost).min(*tokens);
                    let lack = rate.full() - *tokens;
                    full_at = full_at.max(now + lack.div_ceil(rate.per_second));
                }
            }
            source.full_at = full_at;
        }
        enough
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
