//! Buckets against a model that counts every microsecond; clients against a map.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::*;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Tokens as a fraction over a million, brought up by every microsecond.
struct Naive {
    millionths: u128,
    at: u64,
}

impl Naive {
    fn take(&mut self, rate: &Rate, cost: u64, now: u64) -> bool {
        let full = u128::from(rate.burst) * 1_000_000;
        while self.at < now {
            self.at += 1;
            self.millionths = (self.millionths + u128::from(rate.per_second)).min(full);
        }
        let price = (u128::from(cost) * 1_000_000).min(full);
        let enough = self.millionths >= price;
        if enough {
            self.millionths -= price;
        }
        enough
    }
}

#[test]
fn a_bucket_is_exact() {
    let mut rng = Rng(1);
    for (per_second, burst) in [
        (1, 1),
        (3, 2),
        (1000, 10),
        (999_983, 5000),
        (10_000_000_000, 1 << 30),
    ] {
        let rate = Rate { per_second, burst };
        let mut bucket = Bucket::full(&rate, 0);
        let mut naive = Naive {
            millionths: u128::from(burst) * 1_000_000,
            at: 0,
        };
        let (mut now, mut passed) = (0, 0);
        for step in 0..2000 {
            now += rng.below(1 + 2_000_000 / per_second.clamp(400, 2_000_000));
            let cost = 1 + rng.below(burst + 2);
            bucket.refill(&rate, now);
            let expected = naive.take(&rate, cost, now);
            assert_eq!(bucket.has(&rate, cost), expected, "{rate:?} step {step}");
            if expected {
                bucket.take(&rate, cost);
                passed += 1;
            } else {
                // After the wait it says, and not a microsecond sooner.
                let wait = bucket.wait(&rate, cost);
                let mut later = bucket;
                later.refill(&rate, now + wait - 1);
                assert!(!later.has(&rate, cost));
                later.refill(&rate, now + wait);
                assert!(later.has(&rate, cost));
            }
        }
        assert!(passed > 0);
    }
}

#[test]
fn shares_add_up() {
    for all in [8, 9, 1000, 12_345] {
        for workers in 1..=8 {
            let rate = Rate::new(all, all, 1);
            let parts = (0..workers).map(|me| rate.share(me, workers, 1));
            let sums = parts.fold((0, 0), |(a, b), r| (a + r.per_second, b + r.burst));
            assert_eq!(sums, (all, all), "{workers}");
        }
    }
    assert_eq!(Rate::default().share(3, 8, 1), Rate::default());
    // Nobody is without.
    assert_eq!(Rate::new(2, 2, 1).share(7, 8, 1).per_second, 1);
}

fn limit(uid: u64, packets: u64) -> Limit {
    let mut limit = Limit {
        uid,
        ..Limit::default()
    };
    limit.source[0] = Rate::new(packets, packets, 1);
    limit
}

fn client(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0xc633_0000 + n))
}

#[test]
fn few_clients_are_remembered_exactly() {
    let mut rng = Rng(2);
    let mut sources = Sources::new([0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03]);
    let mut model: HashMap<(u64, u32), Naive> = HashMap::new();
    let limits = [limit(1, 10), limit(2, 100)];
    let (mut now, mut refused) = (0, 0);
    for _ in 0..20_000 {
        now += rng.below(300);
        let limit = &limits[rng.below(2) as usize];
        let n = rng.below(200) as u32;
        let rate = &limit.source[0];
        let naive = model.entry((limit.uid, n)).or_insert_with(|| Naive {
            millionths: u128::from(rate.burst) * 1_000_000,
            at: now,
        });
        let expected = naive.take(rate, 1, now);
        assert_eq!(sources.take(limit, client(n), [1, 800, 0], now), expected);
        refused += u32::from(!expected);
    }
    assert!(refused > 1000, "{refused}");
}

/// A flood of made-up sources does not make the table forget who sends much.
#[test]
fn a_flood_does_not_free_the_heavy_ones() {
    let mut sources = Sources::new([0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03]);
    let limit = limit(1, 100);
    for _ in 0..100 {
        assert!(sources.take(&limit, client(0), [1, 0, 0], 0));
    }
    assert!(!sources.take(&limit, client(0), [1, 0, 0], 0));
    for n in 0..Sources::PLACES as u32 * 4 {
        // Newcomers are let in whatever the table has to forget.
        assert!(sources.take(&limit, client(1 + n), [1, 0, 0], 0));
    }
    assert!(!sources.take(&limit, client(0), [1, 0, 0], 0));
    assert!(sources.take(&limit, client(0), [1, 0, 0], 10_000));
    assert_eq!(size_of_val(&*sources.rows), 48 * 65_536);
}

#[test]
fn all_meters_or_none() {
    let mut limit = Limit::default();
    limit.total[Meter::InPackets as usize] = Rate::new(10, 10, 1);
    limit.total[Meter::InBits as usize] = Rate::new(100_000, 20_000, 1);
    let mut buckets = Buckets::new(&limit, 0);
    let packet = |bits| [(Meter::InPackets, 1), (Meter::InBits, bits)];
    assert!(buckets.take(&limit, &packet(12_000), 0));
    // Not enough bits: the packet is not counted either.
    for _ in 0..50 {
        assert!(!buckets.take(&limit, &packet(12_000), 0));
    }
    for _ in 0..8 {
        assert!(buckets.take(&limit, &packet(1_000), 0));
    }
    assert!(buckets.take(&limit, &packet(0), 0));
    assert!(!buckets.take(&limit, &packet(0), 0));
}
