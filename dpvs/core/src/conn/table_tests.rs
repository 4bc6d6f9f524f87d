//! The table finds a connection by both tuples, walks over every one once, and its
//! keyed hash spreads tuples that were made to meet.
//! Knows the table's insides (sides of the index); timers and order of going are
//! tested beside them.

use super::*;

fn entry(n: u32) -> Entry<u32> {
    let t = |src, sport, dst, dport| Tuple {
        src,
        dst,
        sport,
        dport,
        proto: 6,
    };
    let mut e = Entry::<u32>::new_zeroed();
    e.set_tuples(
        &t(n, n as u16, 7, 80),
        &t(9, (n / 60000) as u16 + 8080, 8, (n % 60000) as u16),
    );
    e
}

#[test]
fn both_tuples_find_it_with_their_direction() {
    let mut table = ConnTable::new(1000, [1, 2, 3, 4]);
    let handles: Vec<_> = (1..=1000)
        .map(|n| table.insert(&entry(n)).unwrap())
        .collect();
    assert!(table.insert(&entry(1001)).is_none(), "table is full");
    for n in 1..=1000 {
        let e = entry(n);
        for (t, dir) in [(e.tuple(Dir::In), Dir::In), (e.tuple(Dir::Out), Dir::Out)] {
            let found = table.find(u32::hash(&table, &t), &t).unwrap();
            assert_eq!(found.dir(), dir);
            assert_eq!(found.raw(), handles[n as usize - 1].raw());
        }
    }
    for h in handles {
        table.remove(h);
    }
    assert_eq!((table.len(), table.index.len()), (0, 0));
    assert!(table.insert(&entry(5)).is_some());
}

#[test]
fn walk_meets_every_connection_once() {
    let mut table = ConnTable::new(100, [1, 2, 3, 4]);
    let handles: Vec<_> = (1..=50).map(|n| table.insert(&entry(n)).unwrap()).collect();
    for h in handles.iter().step_by(2) {
        table.remove(*h);
    }
    let mut e6 = Entry::<u128>::new_zeroed();
    e6.proto = 17;
    table.insert(&e6).unwrap();
    let (mut cursor, mut met) = (0, Vec::new());
    let mut calls = 0;
    while let Some((handle, next)) = table.walk(cursor, &mut 3) {
        met.extend(handle);
        cursor = next;
        calls += 1;
        if calls == 40 {
            // Connections made meanwhile do not shift those not met yet.
            for n in 60..=90 {
                table.insert(&entry(n)).unwrap();
            }
        }
        assert!(calls < 200);
    }
    let v6 = met.iter().filter(|h| h.is_v6()).count();
    assert_eq!(v6, 1);
    let unique: std::collections::HashSet<_> = met.iter().map(|h| h.raw()).collect();
    assert_eq!(unique.len(), met.len());
    assert!(met.len() >= 26);
}

/// Connections whose tuples an attacker picked to fall into one bucket, knowing
/// the hash and the table but not the key: with the key they were picked for they
/// do, with another one they spread as random ones.
#[test]
fn tuples_picked_for_another_key_do_not_pile_up() {
    let seed = [0x1234, 0x5678_9abc, 0xdef0_1357, 0x2468_ace1];
    let known = ConnTable::new(1 << 12, seed);
    let bucket = |table: &ConnTable, t: &Tuple<u32>| u32::hash(table, t) & 0xffff_ffff;
    let picked: Vec<Tuple<u32>> = (0..8_000_000u32)
        .map(|i| Tuple {
            src: 0x0b00_0000 + (i >> 8),
            dst: 0x0a00_02c0,
            sport: (i << 8) as u16 | 7,
            dport: 80,
            proto: 17,
        })
        .filter(|t| bucket(&known, t) < 1 << 20)
        .collect();
    assert!(picked.len() > 1500, "{}", picked.len());
    // All in the first 4096th part of the table: one bucket.
    for i in 0..4 {
        // Keys that differ in one bit only.
        let mut other = seed;
        other[i] ^= 1 << (i * 13);
        let table = ConnTable::new(1 << 12, other);
        let mut fill = vec![0u32; 512];
        for t in &picked {
            fill[(bucket(&table, t) >> 23) as usize] += 1;
        }
        let mean = picked.len() as u32 / 512;
        let most = fill.iter().max().copied().unwrap_or(0);
        assert!(
            most < mean * 4 + 16,
            "{most} in a bucket, {mean} on average"
        );
    }
}

/// Tuples picked without the key fall as random ones do: an attacker who
/// counts up addresses and ports, or flips bits, fills no bucket.
#[test]
fn crafted_tuples_do_not_pile_up() {
    let table = ConnTable::new(1 << 14, [0x1234, 0x5678_9abc, 0xdef0_1357, 0x2468_ace1]);
    let mut patterns: Vec<Vec<Tuple<u32>>> = Vec::new();
    let t = |src: u32, sport: u16| Tuple {
        src,
        dst: 1,
        sport,
        dport: 80,
        proto: 17,
    };
    patterns.push((0..16384).map(|i| t(i << 16, 1)).collect());
    patterns.push((0..16384).map(|i| t(0x0a00_0000, i as u16)).collect());
    patterns.push((0..16384u32).map(|i| t(i.reverse_bits(), 9)).collect());
    patterns.push(
        (0..16384u32)
            .map(|i| t(i * 0x0101, (i * 0x0101) as u16))
            .collect(),
    );
    for tuples in patterns {
        let buckets = 4096u64;
        let mut fill = vec![0u32; buckets as usize];
        for tuple in &tuples {
            let hash = u32::hash(&table, tuple);
            fill[(((hash & 0xffff_ffff) * buckets) >> 32) as usize] += 1;
        }
        // Mean 4; a Poisson tail above 18 has odds below one in a million.
        assert!(fill.iter().all(|&n| n <= 20), "{:?}", fill.iter().max());
    }
}
