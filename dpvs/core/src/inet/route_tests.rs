use proptest::prelude::*;

use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn route(dst: &str, plen: u8, port: u16) -> Route {
    Route {
        dst: dst.parse().unwrap(),
        plen,
        gateway: None,
        src: None,
        port: PortId(port),
        mtu: 1500,
    }
}

fn port(fib: &Fib, dst: &str) -> Option<u16> {
    fib.lookup(dst.parse().unwrap()).map(|r| r.port.0)
}

#[test]
fn longest_wins() {
    let fib = Fib::new(&[
        route("0.0.0.0", 0, 1),
        route("10.0.0.0", 8, 2),
        route("10.1.0.0", 16, 3),
        route("10.1.2.3", 32, 4),
        route("255.255.255.255", 32, 5),
        route("2001:db8::", 32, 6),
    ]);
    assert_eq!(port(&fib, "9.255.255.255"), Some(1));
    assert_eq!(port(&fib, "10.0.255.255"), Some(2));
    assert_eq!(port(&fib, "10.1.2.2"), Some(3));
    assert_eq!(port(&fib, "10.1.2.3"), Some(4));
    assert_eq!(port(&fib, "10.1.2.4"), Some(3));
    assert_eq!(port(&fib, "10.2.0.0"), Some(2));
    assert_eq!(port(&fib, "11.0.0.0"), Some(1));
    assert_eq!(port(&fib, "255.255.255.254"), Some(1));
    assert_eq!(port(&fib, "255.255.255.255"), Some(5));
    assert_eq!(port(&fib, "2001:db8:ffff::1"), Some(6));
    assert_eq!(port(&fib, "2001:db9::"), None);
    assert_eq!(fib.routes().len(), 6);
}

#[test]
fn first_of_equal_wins_and_host_bits_do_not_matter() {
    let fib = Fib::new(&[route("192.168.1.77", 24, 1), route("192.168.1.0", 24, 2)]);
    assert_eq!(port(&fib, "192.168.1.1"), Some(1));
    assert_eq!(port(&fib, "192.168.2.1"), None);
}

#[test]
fn empty() {
    let fib = Fib::default();
    assert_eq!(port(&fib, "1.2.3.4"), None);
    assert_eq!(port(&fib, "::1"), None);
}

/// The slow truth: look at every route.
fn scan(routes: &[Route], dst: IpAddr) -> Option<Route> {
    let covers = |r: &&Route| match (r.dst, dst) {
        (IpAddr::V4(net), IpAddr::V4(dst)) => {
            let differ = u64::from(net.to_bits() ^ dst.to_bits());
            differ >> (32 - u32::from(r.plen)) == 0
        }
        (IpAddr::V6(net), IpAddr::V6(dst)) => {
            let differ = net.to_bits() ^ dst.to_bits();
            r.plen == 0 || differ >> (128 - u32::from(r.plen)) == 0
        }
        _ => false,
    };
    let longest = routes.iter().filter(covers).map(|r| r.plen).max()?;
    routes
        .iter()
        .filter(covers)
        .find(|r| r.plen == longest)
        .copied()
}

/// Addresses that share long prefixes, so that random routes nest.
fn v4() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>(),
        (0u32..64).prop_map(|n| 0x0a00_0000 | n),
        (0u32..4, 0u32..8).prop_map(|(a, b)| a << 30 | b << 8),
        Just(u32::MAX),
    ]
    .prop_map(|bits| Ipv4Addr::from_bits(bits).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u128>(),
        (0u128..64).prop_map(|n| 0x2001_0db8 << 96 | n),
        (0u128..4, 0u128..8).prop_map(|(a, b)| a << 126 | b << 60),
        Just(u128::MAX),
    ]
    .prop_map(|bits| Ipv6Addr::from_bits(bits).into())
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    // Also hosts and small networks close together, so that they end where others do.
    let near4 = (0u32..16).prop_map(|n| Ipv4Addr::from_bits(0x0a00_0000 | n).into());
    let near6 = (0u128..16).prop_map(|n| Ipv6Addr::from_bits(0x2001_0db8 << 96 | n).into());
    let one = prop_oneof![
        (v4(), 0u8..=32),
        (v6(), 0u8..=128),
        (near4, 27u8..=32),
        (near6, 123u8..=128),
    ];
    prop::collection::vec(one, 0..40).prop_map(|prefixes| {
        prefixes
            .into_iter()
            .zip(0..)
            .map(|((dst, plen), n)| Route {
                dst,
                plen,
                gateway: None,
                src: None,
                port: PortId(n),
                mtu: 1500,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn same_as_scan(
        routes in routes(),
        dsts in prop::collection::vec(prop_oneof![v4(), v6()], 1..40),
    ) {
        let fib = Fib::new(&routes);
        // The ends of every prefix, and just outside, are where it can go wrong.
        let mut dsts = dsts;
        for r in &routes {
            match r.dst {
                IpAddr::V4(a) => {
                    let host = u32::MAX.checked_shr(u32::from(r.plen)).unwrap_or(0);
                    let first = a.to_bits() & !host;
                    for bits in [first, first | host, first.wrapping_sub(1), (first | host).wrapping_add(1)] {
                        dsts.push(Ipv4Addr::from_bits(bits).into());
                    }
                }
                IpAddr::V6(a) => {
                    let host = u128::MAX.checked_shr(u32::from(r.plen)).unwrap_or(0);
                    let first = a.to_bits() & !host;
                    for bits in [first, first | host, first.wrapping_sub(1), (first | host).wrapping_add(1)] {
                        dsts.push(Ipv6Addr::from_bits(bits).into());
                    }
                }
            }
        }
        for dst in dsts {
            prop_assert_eq!(fib.lookup(dst).copied(), scan(&routes, dst));
        }
    }
}
