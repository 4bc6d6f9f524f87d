//! Token buckets that workers share, and what a worker has borrowed of one; counts a
//! second that they share.
//!
//! The one file of this crate whose memory several workers write. A bucket is one
//! word, the time until which it is in debt (GCRA), moved by compare-and-swap; no
//! locks, and nothing that one worker does half. Workers with much traffic do not go
//! there for each packet: they draw batches, of which no more is out than a
//! millisecond brings or an eighth of a bucket, and bring back after a millisecond
//! what they have not used.
//!
//! Bounds, over any number of workers: in any time `t` no more passes than burst +
//! rate * (t + 2 ms); nothing is refused while more is there than its cost and what
//! may be out. Time is an argument; what is done about a refusal is the caller's.

use std::sync::atomic::{AtomicU64, Ordering};

/// Ticks of a microsecond: sixteen a nanosecond, so that clocks last 36 years.
const TICKS: u64 = 16_000;
/// Ticks of a second.
const SECOND: u128 = TICKS as u128 * 1_000_000;
/// Longest debt in ticks, two years.
const LONGEST: u64 = 1 << 60;
/// Microseconds after which what was borrowed is brought back.
const LOAN: u64 = 1000;
/// So many times a second.
const LOANS: u64 = 1_000_000 / LOAN;
/// So much of a burst may be borrowed by all workers together: one part in this.
const PART: u64 = 8;

/// So many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// A second; 0 = not limited.
    pub per_second: u64,
    /// At once; at least 1.
    pub burst: u64,
    /// Ticks in which a burst comes.
    full: u64,
}

impl Rate {
    /// A rate whose burst, if none is given, is a tenth of a second and at
    /// least `least`.
    #[must_use]
    pub fn new(per_second: u64, burst: u64, least: u64) -> Self {
        let burst = if burst > 0 { burst } else { per_second / 10 };
        let mut rate = Self {
            per_second,
            burst: burst.max(least.max(1)),
            full: 0,
        };
        // A burst is all there, whatever its parts are rounded to.
        rate.full = rate.ticks(rate.burst) + 1;
        rate
    }

    /// The time in which so many come, rounded down: a draw is less than a tick
    /// too cheap.
    fn ticks(&self, tokens: u64) -> u64 {
        let per_second = u128::from(self.per_second.max(1));
        let ticks = u128::from(tokens) * SECOND / per_second;
        u64::try_from(ticks).unwrap_or(LONGEST).min(LONGEST)
    }

    /// What one of so many workers borrows at a time; one alone takes no more than
    /// it needs.
    #[must_use]
    pub fn batch(&self, workers: u32) -> u64 {
        match workers {
            0 | 1 => 0,
            n => (self.burst / PART).min(self.per_second / LOANS) / u64::from(n),
        }
    }

    /// What `cost` takes: more than a full bucket holds takes all of it.
    fn price(&self, cost: u64) -> u64 {
        cost.min(self.burst)
    }
}

/// A bucket; full when new.
#[derive(Debug, Default)]
pub struct Tokens(AtomicU64);

impl Tokens {
    /// Takes `cost` out, or nothing if there is less: false then.
    pub fn draw(&self, rate: &Rate, cost: u64, now: u64) -> bool {
        let now = now.saturating_mul(TICKS);
        let most = now.saturating_add(rate.full);
        let price = rate.ticks(rate.price(cost)).min(rate.full);
        let mut debt = self.0.load(Ordering::Relaxed);
        loop {
            let next = debt.max(now).saturating_add(price);
            if next > most {
                return false;
            }
            // Nothing else is ordered by it.
            let swap =
                self.0
                    .compare_exchange_weak(debt, next, Ordering::Relaxed, Ordering::Relaxed);
            match swap {
                Ok(_) => return true,
                Err(other) => debt = other,
            }
        }
    }

    /// Puts back what was drawn and not used.
    pub fn give_back(&self, rate: &Rate, cost: u64) {
        let price = rate.ticks(rate.price(cost));
        let less = |debt: u64| Some(debt.saturating_sub(price));
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Microseconds since the clock's start at which it is full again.
    pub(crate) fn full_at(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / TICKS
    }

    /// Makes it full.
    pub(crate) fn fill(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What a worker has borrowed of a bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loan {
    tokens: u64,
    /// Microseconds at which it is brought back.
    until: u64,
}

impl Loan {
    /// Whether there is enough for `cost`; borrows at least `batch` if need be.
    pub fn has(&mut self, bucket: &Tokens, rate: &Rate, cost: u64, batch: u64, now: u64) -> bool {
        let cost = rate.price(cost);
        if self.tokens > 0 && now >= self.until {
            self.end(bucket, rate);
        }
        if self.tokens >= cost {
            return true;
        }
        // A batch or nothing: were the last tokens drawn one by one, every worker
        // would be at the bucket for every packet.
        let want = rate.price(batch.max(cost - self.tokens));
        if !bucket.draw(rate, want, now) {
            return false;
        }
        self.tokens += want;
        self.until = now + LOAN;
        true
    }

    /// Takes what there is enough of.
    pub fn take(&mut self, rate: &Rate, cost: u64) {
        self.tokens = self.tokens.saturating_sub(rate.price(cost));
    }

    /// Brings back what is more than a batch, which nobody may be waiting for.
    pub fn shrink(&mut self, bucket: &Tokens, rate: &Rate, batch: u64) {
        if self.tokens > batch {
            self.end(bucket, rate);
        }
    }

    /// Brings back what is left.
    pub fn end(&mut self, bucket: &Tokens, rate: &Rate) {
        let left = std::mem::take(&mut self.tokens);
        if left > 0 {
            bucket.give_back(rate, left);
        }
    }
}

/// How many came within a second, whichever worker got them, and until when that was
/// too many. Seconds are those of the workers' clock.
#[derive(Debug, Default)]
pub struct Gauge {
    /// The second, and in the lower half how many came in it.
    second: Line,
    /// Milliseconds at which what is done about it ends; 0 = nothing is done. Read for
    /// each that comes, so apart from what is written often.
    until: Line,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

impl Gauge {
    /// Adds `n`; how many that makes in this second.
    pub fn add(&self, n: u32, now_ms: u64) -> u32 {
        let (from, to) = (Ordering::Relaxed, Ordering::Relaxed);
        let second = &self.second.0;
        let (Ok(was) | Err(was)) = second.fetch_update(from, to, |w| Some(grown(w, n, now_ms)));
        grown(was, n, now_ms) as u32
    }

    /// As `add`, for one who is alone: without the price of others.
    pub fn add_alone(&self, n: u32, now_ms: u64) -> u32 {
        let now = grown(self.second.0.load(Ordering::Relaxed), n, now_ms);
        self.second.0.store(now, Ordering::Relaxed);
        now as u32
    }

    /// It was too many: something is done until then. True for the first who says so.
    pub fn hold(&self, until: u64) -> bool {
        // What is in force already need not be written again by each.
        until > self.until.0.load(Ordering::Relaxed)
            && self.until.0.fetch_max(until, Ordering::Relaxed) == 0
    }

    /// Whether it is now.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until.0.load(Ordering::Relaxed)
    }

    /// Ends what is over: true for the first who asks then.
    pub fn ends(&self, now_ms: u64) -> bool {
        let until = self.until.0.load(Ordering::Relaxed);
        let (from, to) = (Ordering::Relaxed, Ordering::Relaxed);
        until != 0 && now_ms >= until && self.until.0.compare_exchange(until, 0, from, to).is_ok()
    }
}

/// A gauge's second and count with `n` more.
fn grown(was: u64, n: u32, now_ms: u64) -> u64 {
    let now = now_ms / 1000;
    match (was >> 32, was as u32) {
        (second, _) if second < now => now << 32 | u64::from(n),
        // A worker's clock may be a burst behind.
        (second, count) => second << 32 | u64::from(count.saturating_add(n)),
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
