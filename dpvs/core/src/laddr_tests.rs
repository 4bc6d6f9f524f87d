//! Port pools: every port once, to the right worker, found without walking.

use super::*;
use crate::rng::Rng;
use crate::rss::{DEFAULT_KEY, Hashed};
use crate::service::{TCP, UDP};
use std::collections::HashSet;

fn lip() -> IpAddr {
    "10.0.0.200".parse().unwrap()
}

fn server() -> IpAddr {
    "10.0.0.1".parse().unwrap()
}

fn pools(me: u8, workers: u8, nic: Option<&Arc<Nic>>) -> (PortPools, u32) {
    let mut pools = PortPools::new(WorkerId(me), workers);
    pools.configure([(lip(), nic.cloned())].into_iter());
    let n = pools.number(lip()).unwrap();
    (pools, n)
}

/// A NIC with 128 entries dealt out to the workers in turn.
fn nic(workers: u8, udp: bool) -> Arc<Nic> {
    let hashed = Hashed {
        ip: [true; 2],
        tcp: [true; 2],
        udp: [udp; 2],
    };
    let table: Vec<_> = (0..128)
        .map(|i| Some(WorkerId((i % usize::from(workers)) as u8)))
        .collect();
    Arc::new(Nic::new(&DEFAULT_KEY, hashed, &table, None, workers).unwrap())
}

#[test]
fn every_port_once_and_in_the_own_slice() {
    for workers in [1u8, 2, 3, 8] {
        let mut total = 0;
        for me in 0..workers {
            let (mut pools, n) = pools(me, workers, None);
            let mut seen = HashSet::new();
            while let Some(port) = pools.take(n, TCP, server(), 80) {
                assert!(port >= 1025);
                assert_eq!(pools.slices().owner(port), Some(WorkerId(me)));
                assert!(seen.insert(port), "{port} twice");
            }
            total += seen.len();
            let usage = pools.usage()[0];
            assert_eq!(usage.miss, 1);
            assert_eq!((usage.free + usage.used) as usize, seen.len() * 16);
            // A server of another pool still has all of them.
            assert!(pools.take(n, UDP, server(), 81).is_some());
            for port in seen {
                pools.give(n, TCP, server(), 80, port);
            }
            assert_eq!(pools.usage()[0].used, 1);
        }
        if workers.is_power_of_two() {
            assert_eq!(total, 65536 - 1025);
        }
    }
}

/// Of two servers in the same pool, with different hashes: all ports of all
/// workers, none twice, each where the NIC sends the reply.
#[test]
fn matched_ports_are_where_the_nic_sends_the_reply() {
    for workers in [2u8, 3, 8] {
        let nic = nic(workers, true);
        let other: IpAddr = "10.0.0.17".parse().unwrap();
        let buckets = Buckets(16);
        assert_eq!(buckets.of(server(), 80), buckets.of(other, 80));
        let mut seen = HashSet::new();
        for me in 0..workers {
            let (mut pools, n) = pools(me, workers, Some(&nic));
            let mut mine = HashSet::new();
            for rs in [server(), other].into_iter().cycle().take(2000) {
                let port = pools.take(n, TCP, rs, 80).unwrap();
                assert!(mine.insert(port) && port >= 1025);
                assert_eq!(
                    nic.owner(TCP, rs, lip(), (80, port)),
                    Some(WorkerId(me)),
                    "{port}"
                );
            }
            for (port, rs) in mine.drain().map(|p| {
                let first = nic.owner(TCP, server(), lip(), (80, p)) == Some(WorkerId(me));
                (p, if first { server() } else { other })
            }) {
                pools.give(n, TCP, rs, 80, port);
            }
            assert_eq!(pools.usage()[0].used, 0);
            while let Some(port) = pools.take(n, TCP, server(), 80) {
                assert!(seen.insert(port), "{port} is two workers'");
            }
        }
        assert_eq!(seen.len(), 65536 - 1025);
    }
}

#[test]
fn protocols_the_nic_does_not_hash_keep_to_slices() {
    let nic = nic(2, false);
    let (mut pools, n) = pools(1, 2, Some(&nic));
    for _ in 0..500 {
        let port = pools.take(n, UDP, server(), 53).unwrap();
        assert_eq!(pools.slices().owner(port), Some(WorkerId(1)));
        let port = pools.take(n, TCP, server(), 53).unwrap();
        assert_eq!(
            nic.owner(TCP, server(), lip(), (53, port)),
            Some(WorkerId(1))
        );
    }
}

#[test]
fn as_many_pools_as_asked_for() {
    for (n, servers) in [(1u8, 1), (3, 3), (16, 16), (128, 128), (200, 128)] {
        let mut pools = PortPools::new(WorkerId(0), 1);
        pools.set_pools(n);
        pools.configure([(lip(), None)].into_iter());
        // Not any more.
        pools.set_pools(7);
        let number = pools.number(lip()).unwrap();
        // Every pool gives its first port first.
        let first = pools.take(number, TCP, server(), 80).unwrap();
        let same = (1..=256)
            .filter(|i| pools.take(number, TCP, server(), 80 + i) == Some(first))
            .count();
        assert_eq!(same + 1, servers);
        assert_eq!(pools.usage()[0].free, 64511 * servers as u32 - 257);
    }
}

#[test]
fn a_port_rests_before_it_is_given_again() {
    let (mut pools, n) = pools(0, 1, None);
    let first = pools.take(n, TCP, server(), 80).unwrap();
    pools.give(n, TCP, server(), 80, first);
    for _ in 0..64510 {
        let port = pools.take(n, TCP, server(), 80).unwrap();
        assert_ne!(port, first);
        pools.give(n, TCP, server(), 80, port);
    }
    assert_eq!(pools.take(n, TCP, server(), 80), Some(first));
}

/// The same where a worker has many lanes: all others come first.
#[test]
fn a_port_of_many_lanes_rests_too() {
    let nic = nic(3, true);
    let (mut pools, n) = pools(1, 3, Some(&nic));
    let mut all = 0;
    while pools.take(n, TCP, server(), 80).is_some() {
        all += 1;
    }
    let (mut pools, n) = self::pools(1, 3, Some(&nic));
    let mut last = HashMap::new();
    for i in 0..100_000 {
        let port = pools.take(n, TCP, server(), 80).unwrap();
        if let Some(before) = last.insert(port, i) {
            assert!(i - before > all * 9 / 10, "{port} after {}", i - before);
        }
        pools.give(n, TCP, server(), 80, port);
    }
    assert!(last.len() > all as usize * 9 / 10);
}

/// With 95 of 100 ports in use, in random order, and 100 of 100 for a while, a
/// search looks at two words of the bitmap at most.
#[test]
fn a_search_never_walks() {
    let kinds = [
        (1u8, None),
        (8, None),
        (8, Some(nic(8, true))),
        (3, Some(nic(3, true))),
    ];
    for (workers, nic) in kinds {
        let (mut pools, n) = pools(0, workers, nic.as_ref());
        let mut used = Vec::new();
        while let Some(port) = pools.take(n, TCP, server(), 80) {
            used.push(port);
        }
        let all = used.len();
        let mut rng = Rng(5);
        while used.len() * 100 > all * 95 {
            let port = used.swap_remove(rng.below(used.len()));
            pools.give(n, TCP, server(), 80, port);
        }
        let looks = |pools: &PortPools| -> u64 {
            let a = pools.addrs[n as usize].as_ref().unwrap();
            let matched = a.matched.iter().flat_map(|m| &m.pools);
            a.pools
                .iter()
                .chain(matched)
                .flatten()
                .map(|p| p.looks)
                .sum()
        };
        let before = looks(&pools);
        for _ in 0..10_000 {
            let port = used.swap_remove(rng.below(used.len()));
            pools.give(n, TCP, server(), 80, port);
            used.push(pools.take(n, TCP, server(), 80).unwrap());
        }
        let each = looks(&pools) - before;
        assert!(each <= 20_000, "{each} words for 10,000 ports");
    }
}

#[test]
fn a_removed_address_stays_until_its_ports_are_back() {
    let (mut pools, n) = pools(0, 1, None);
    let port = pools.take(n, TCP, server(), 80).unwrap();
    pools.configure([].into_iter());
    assert_eq!(pools.number(lip()), None);
    assert_eq!(pools.usage().len(), 1);
    pools.give(n, TCP, server(), 80, port);
    assert!(pools.usage().is_empty());
}

/// Ports in use decide whose the others are: an address keeps its way.
#[test]
fn an_address_with_connections_keeps_its_way() {
    let (mut pools, n) = pools(1, 2, None);
    let nic = nic(2, true);
    let port = pools.take(n, TCP, server(), 80).unwrap();
    pools.configure([(lip(), Some(Arc::clone(&nic)))].into_iter());
    for _ in 0..100 {
        let port = pools.take(n, TCP, server(), 80).unwrap();
        assert_eq!(pools.slices().owner(port), Some(WorkerId(1)));
        pools.give(n, TCP, server(), 80, port);
    }
    pools.give(n, TCP, server(), 80, port);
    pools.configure([(lip(), Some(Arc::clone(&nic)))].into_iter());
    for _ in 0..100 {
        let port = pools.take(n, TCP, server(), 80).unwrap();
        assert_eq!(
            nic.owner(TCP, server(), lip(), (80, port)),
            Some(WorkerId(1))
        );
    }
}
