//! One bucket against a plain one in whole numbers, and what many
//! workers take of it against what one alone may take.

use super::*;
use crate::rng::Rng;

/// Tokens in millionths, so that a microsecond brings a whole number.
struct Naive {
    millionths: i128,
    full: i128,
    at: u64,
}

impl Naive {
    fn new(burst: u64) -> Self {
        let full = i128::from(burst) * 1_000_000;
        Self {
            millionths: full,
            full,
            at: 0,
        }
    }

    fn refill(&mut self, rate: &Rate, now: u64) {
        let passed = i128::from(now.saturating_sub(self.at));
        self.at = self.at.max(now);
        self.millionths += passed * i128::from(rate.per_second);
        self.millionths = self.millionths.min(self.full);
    }

    fn take(&mut self, cost: u64) {
        self.millionths -= i128::from(cost) * 1_000_000;
    }

    fn whole(&self) -> i128 {
        self.millionths.div_euclid(1_000_000)
    }
}

const RATES: [(u64, u64); 7] = [
    (1, 1),
    (3, 2),
    (1000, 10),
    (50_000, 400),
    (999_983, 5000),
    (8_000_000, 160_000),
    (10_000_000_000, 1 << 30),
];

/// Up to rounding: a draw is less than a tick (1/16 ns) too cheap.
#[test]
fn a_bucket_is_a_token_bucket() {
    let mut rng = Rng(1);
    for (per_second, burst) in RATES {
        let rate = Rate::new(per_second, burst, 1);
        let (bucket, mut naive) = (Tokens::default(), Naive::new(burst));
        let slack = i128::from(2000 * per_second / (SECOND as u64) + 1);
        let (mut now, mut passed, mut refused) = (0, 0, 0);
        for step in 0..2000 {
            now += rng.number(1 + 2_000_000 / per_second.clamp(400, 2_000_000));
            let cost = 1 + rng.number(burst + 2);
            let price = i128::from(cost.min(burst));
            naive.refill(&rate, now);
            if bucket.draw(&rate, cost, now) {
                assert!(naive.whole() + slack >= price, "{rate:?} step {step}");
                naive.take(cost.min(burst));
                passed += 1;
            } else {
                assert!(naive.whole() < price, "{rate:?} step {step}");
                refused += 1;
            }
        }
        assert!(passed > 0 && (refused > 0 || burst == 1), "{rate:?}");
    }
}

#[test]
fn what_is_given_back_is_there_again() {
    // Nothing lost in rounding.
    let rate = Rate::new(3, 3, 1);
    let bucket = Tokens::default();
    assert_eq!((0..9).filter(|_| bucket.draw(&rate, 1, 5)).count(), 3);
    let rate = Rate::new(10, 10, 1);
    let bucket = Tokens::default();
    assert!(bucket.draw(&rate, 10, 5));
    assert!(!bucket.draw(&rate, 1, 5));
    bucket.give_back(&rate, 4);
    assert!(!bucket.draw(&rate, 5, 5));
    assert!(bucket.draw(&rate, 4, 5));
    // Never more than a burst.
    bucket.give_back(&rate, 10);
    bucket.give_back(&rate, 10);
    assert!(!bucket.draw(&rate, 11, 3_000_000) || rate.price(11) == 10);
    assert!(!bucket.draw(&rate, 1, 3_000_000));
    // What is larger than the bucket takes all of it.
    assert!(bucket.draw(&rate, 1000, 4_000_000));
    assert!(!bucket.draw(&rate, 1, 4_000_000));
}

/// Whatever the workers' shares of the traffic: never more than a bucket with two
/// milliseconds' rate on top would let through, never less than one without what may
/// be borrowed.
fn shared(rate: &Rate, workers: u32, load: u64, seed: u64) -> (u64, u64) {
    let mut rng = Rng(seed);
    let bucket = Tokens::default();
    let mut loans = vec![Loan::default(); workers as usize];
    let mut upper = Naive::new(rate.burst + rate.per_second / 500 + 2);
    let mut lower = Naive::new(rate.burst);
    let (mut now, mut passed, mut refused) = (0, 0, 0);
    let most = (rate.burst / 8).max(1);
    // Which worker gets how much changes all the time.
    let mut heavy = 0;
    for step in 0..20_000 {
        if step % 500 == 0 {
            heavy = rng.number(u64::from(workers)) as usize;
        }
        let cost = 1 + rng.number(most);
        now += rng.number(2 * cost * 100 * 1_000_000 / rate.per_second / load + 1);
        let me = if rng.number(4) > 0 {
            heavy
        } else {
            rng.number(u64::from(workers)) as usize
        };
        // Workers read the clock at different times.
        let seen = now.saturating_sub(rng.number(20));
        upper.refill(rate, now);
        lower.refill(rate, now);
        let batch = rate.batch(workers);
        if loans[me].has(&bucket, rate, cost, batch, seen) {
            loans[me].take(rate, cost);
            upper.take(cost);
            lower.take(cost);
            assert!(upper.millionths >= 0, "{rate:?} {workers} {step}: too much");
            passed += cost;
        } else {
            let out = cost + batch * u64::from(workers) + rate.per_second / 50_000 + 2;
            assert!(lower.whole() <= out.into(), "{rate:?} {workers} {step}");
            refused += cost;
        }
    }
    (passed, refused)
}

#[test]
fn many_workers_take_as_much_as_one() {
    for (per_second, burst) in RATES {
        let rate = Rate::new(per_second, burst, 1);
        for workers in [1, 2, 8, 64] {
            // A half, about all, three times the rate.
            for load in [50, 100, 300] {
                let (passed, refused) = shared(&rate, workers, load, u64::from(workers) * load);
                assert!(passed > 0, "{rate:?} {workers} {load}");
                if load == 300 {
                    assert!(refused > passed, "{rate:?} {workers}: {passed} {refused}");
                }
            }
        }
    }
}

/// A worker goes to the bucket once for a batch, and what it has left is there for
/// the others after a millisecond.
#[test]
fn a_loan_is_a_batch_for_a_millisecond() {
    let rate = Rate::new(1_000_000, 100_000, 1);
    let batch = rate.batch(4);
    assert_eq!(batch, 250);
    let bucket = Tokens::default();
    let mut loan = Loan::default();
    assert!(loan.has(&bucket, &rate, 1, batch, 0));
    let drawn = bucket.full_at();
    assert_eq!(drawn, 250);
    for n in 0..batch - 10 {
        assert!(loan.has(&bucket, &rate, 1, batch, n));
        loan.take(&rate, 1);
    }
    assert_eq!((bucket.full_at(), loan.tokens), (drawn, 10));
    assert!(loan.has(&bucket, &rate, 1, batch, 999));
    assert_eq!((bucket.full_at(), loan.tokens), (drawn, 10));
    // Ten brought back, and a batch drawn anew.
    assert!(loan.has(&bucket, &rate, 1, batch, 1000));
    assert_eq!((bucket.full_at(), loan.tokens), (1250, 250));
}

/// Threads at once: together not one more than the bucket has.
#[test]
fn nothing_is_drawn_twice() {
    let rate = Rate::new(1, 400_000, 1);
    let bucket = Tokens::default();
    let drawn: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut loan, mut took) = (Loan::default(), 0);
                    for n in 0..150_000 {
                        if loan.has(&bucket, &rate, 1, 3, n) {
                            loan.take(&rate, 1);
                            took += 1;
                        }
                    }
                    took
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert!((399_900..=400_000).contains(&drawn), "{drawn}");
}

#[test]
fn extremes() {
    // Bursts are cut at two years, and nothing overflows.
    let rate = Rate::new(1, u64::MAX, 1);
    let bucket = Tokens::default();
    assert!(bucket.draw(&rate, 1_000_000, u64::MAX));
    let rate = Rate::new(u64::MAX, 0, 1);
    assert!(bucket.draw(&rate, u64::MAX, 0) || rate.full > 0);
    let mut loan = Loan::default();
    assert!(loan.has(&Tokens::default(), &rate, 1, rate.batch(1), 7));
    // Not limited: nobody asks, but if: a token a second.
    assert!(Rate::default().price(5) == 0);
}
