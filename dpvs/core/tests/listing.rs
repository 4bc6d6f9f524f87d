//! Listings come in pieces, one a turn, and leave nothing out.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashSet;

use dpvs_core::message::{FromWorker, Listing, Piece, Reply, ToWorker};
use dpvs_core::service::UDP;
use support::{Bench, RS_MAC, ip, service, snapshot, udp};

/// The most of anything in one piece.
const MOST: usize = 256;

fn bench() -> Bench {
    Bench::new(snapshot(vec![service(UDP, "192.0.2.10", 53, 4, 53)]))
}

fn flow(b: &mut Bench, n: u16) {
    let packet = udp(("198.51.100.7", 1000 + n), ("192.0.2.10", 53), b"?");
    assert!(b.one(0, &packet.bytes()).is_some());
}

fn ask(b: &mut Bench, token: u64, what: Listing, cursor: u32, pieces: u32) {
    b.handle(ToWorker::List {
        token,
        what,
        cursor,
        pieces,
    });
    assert!(b.io.events.is_empty(), "nothing is listed between bursts");
}

/// The pieces of one turn.
fn turn(b: &mut Bench) -> Vec<(u64, Piece, Option<u32>)> {
    b.worker.tick(b.now, &mut b.io);
    let piece = |e| match e {
        FromWorker::Reply {
            token,
            reply: Reply::Piece { piece, next },
            ..
        } => Some((token, piece, next)),
        _ => None,
    };
    b.io.events.drain(..).filter_map(piece).collect()
}

#[test]
fn connections_a_piece_a_turn_each_once() {
    let mut b = bench();
    (0..2000).for_each(|n| flow(&mut b, n));
    ask(&mut b, 5, Listing::Conns, 0, u32::MAX);
    let (mut met, mut turns) = (Vec::new(), 0);
    loop {
        assert!(b.worker.has_chores());
        let some = turn(&mut b);
        let [(5, Piece::Conns(conns), next)] = &some[..] else {
            panic!("{some:?}");
        };
        assert!(conns.len() <= MOST);
        met.extend(conns.iter().map(|c| c.client.1));
        turns += 1;
        if next.is_none() {
            break;
        }
        // More come meanwhile; those that were there stay where they are.
        flow(&mut b, 2000 + turns);
    }
    assert!(turns >= 2000 / MOST as u16);
    assert!(!b.worker.has_chores() && turn(&mut b).is_empty());
    let all: HashSet<u16> = met.iter().copied().collect();
    assert_eq!(all.len(), met.len(), "some twice");
    assert!((1000..3000).all(|port| all.contains(&port)));
}

#[test]
fn as_many_pieces_as_are_wanted_in_turn() {
    let mut b = bench();
    (0..2000).for_each(|n| flow(&mut b, n));
    ask(&mut b, 1, Listing::Conns, 0, 2);
    ask(&mut b, 2, Listing::Conns, 0, 3);
    let tokens = |b: &mut Bench| -> Vec<u64> { turn(b).iter().map(|(t, ..)| *t).collect() };
    let order: Vec<u64> = (0..5).flat_map(|_| tokens(&mut b)).collect();
    assert_eq!(order, [1, 2, 1, 2, 2]);
    assert!(!b.worker.has_chores());
}

#[test]
fn neighbours_and_local_addresses() {
    let mut b = bench();
    for n in 0..3000u32 {
        b.neigh(1, &format!("10.77.{}.{}", n / 200, 1 + n % 200), RS_MAC);
    }
    (0..50).for_each(|n| flow(&mut b, n));
    b.io.events.clear();
    ask(&mut b, 9, Listing::Neighbours, 0, u32::MAX);
    let (mut met, mut turns) = (Vec::new(), 0);
    while b.worker.has_chores() {
        for (_, piece, _) in turn(&mut b) {
            let Piece::Neighbours(some) = piece else {
                panic!("{piece:?}");
            };
            assert!(some.len() <= MOST);
            met.extend(some.iter().map(|n| n.addr));
            turns += 1;
        }
    }
    let all: HashSet<_> = met.iter().copied().collect();
    assert_eq!(all.len(), met.len());
    assert!(all.len() >= 3000 && turns >= 3000 / MOST);
    ask(&mut b, 9, Listing::Laddrs, 0, u32::MAX);
    let mut used = Vec::new();
    while b.worker.has_chores() {
        for (_, piece, _) in turn(&mut b) {
            let Piece::Laddrs(some) = piece else {
                panic!("{piece:?}");
            };
            used.extend(some.iter().map(|l| (l.addr, l.conns)));
        }
    }
    used.sort_unstable();
    assert_eq!(used, [(ip("10.0.1.200"), 50), (ip("2001:db8:2::200"), 0)]);
}

#[test]
fn a_listing_of_nothing_ends() {
    let mut b = bench();
    for what in [Listing::Conns, Listing::Laddrs, Listing::Neighbours] {
        ask(&mut b, 3, what, u32::MAX, u32::MAX);
        let some = turn(&mut b);
        assert!(matches!(&some[..], [(3, _, None)]), "{some:?}");
        assert!(!b.worker.has_chores());
    }
}
