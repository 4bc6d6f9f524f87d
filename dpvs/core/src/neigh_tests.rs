use std::collections::HashMap;

use super::*;
use crate::rng::Rng;

const EGRESS: Egress = Egress {
    port: PortId(0),
    mac: [2, 0, 0, 0, 0, 1],
    mtu: 1500,
};

fn addr() -> IpAddr {
    "10.0.0.2".parse().unwrap()
}

#[test]
fn packets_wait_and_leave_in_order() {
    let mut n = Neighbours::<u32>::default();
    let ask = Ask {
        port: PortId(0),
        target: addr(),
        src: None,
    };
    assert_eq!(
        n.queue(PortId(0), addr(), None, 1, 2, 0),
        Queued::Waiting(Some(ask))
    );
    assert_eq!(
        n.queue(PortId(0), addr(), None, 2, 2, 0),
        Queued::Waiting(None)
    );
    assert_eq!(
        n.queue(PortId(0), addr(), None, 3, 2, 0),
        Queued::Waiting(None)
    );
    assert_eq!(
        n.queue(PortId(0), addr(), None, 4, 2, 0),
        Queued::Dropped(None)
    );
    assert_eq!(n.hop(PortId(0), addr()), None);
    let (out, news) = n.learn(EGRESS, addr(), [9; 6], false, 60, 10);
    assert_eq!(out, [1, 2, 3]);
    assert!(news);
    let raw = n.hop(PortId(0), addr()).unwrap();
    assert_eq!(
        n.hops.get(raw).unwrap().macs,
        [9, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1]
    );
    // A new MAC makes the old number stale.
    n.learn(EGRESS, addr(), [8; 6], false, 60, 20);
    assert!(n.hops.get(raw).is_none());
}

#[test]
fn ages_through_probe_and_is_forgotten() {
    let mut n = Neighbours::<u32>::default();
    n.learn(EGRESS, addr(), [9; 6], false, 60, 0);
    let raw = n.hop(PortId(0), addr()).unwrap();
    assert_eq!(n.tick(59_999), (None, 0));
    let (ask, _) = n.tick(60_000);
    assert_eq!(ask.unwrap().target, addr());
    assert_eq!(n.list()[0].state, NeighState::Probe);
    assert!(n.hops.get(raw).is_some(), "used while being confirmed");
    n.learn(EGRESS, addr(), [9; 6], false, 60, 60_100);
    assert_eq!(n.list()[0].state, NeighState::Reachable);
    assert!(n.hops.get(raw).is_some(), "same answer, same hop");
    n.tick(120_100);
    n.tick(150_100);
    assert!(n.list().is_empty() && n.hops.get(raw).is_none());
}

#[test]
fn unanswered_is_asked_again_and_given_up() {
    let mut n = Neighbours::<u32>::default();
    n.queue(PortId(0), addr(), None, 1, 8, 0);
    assert!(n.tick(1000).0.is_some());
    assert!(n.tick(1500).0.is_none());
    assert!(n.tick(2000).0.is_some());
    assert_eq!(n.tick(3000), (None, 1));
    assert!(n.list().is_empty());
}

fn numbered(n: u32) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a10_0000 + n))
}

/// Forged answers fill the table: memory stays as it is, the neighbours we
/// talk to stay, new ones get in, and nobody is asked whether the forged ones
/// are still there.
#[test]
fn forged_neighbours_push_out_only_each_other() {
    let mut n = Neighbours::<u32>::default();
    let room = n.slots.capacity();
    let server = |i: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0100 + i));
    n.learn(EGRESS, server(0), [9; 6], true, 60, 0);
    for i in 1..50 {
        n.queue(PortId(0), server(i), None, 1, 8, 0);
        n.learn(EGRESS, server(i), [9; 6], false, 60, 0);
    }
    let hops: Vec<_> = (0..50).map(|i| n.hop(PortId(0), server(i))).collect();
    for i in 0..4 * MAX_NEIGHBOURS as u32 {
        n.learn(EGRESS, numbered(i), [i as u8; 6], false, 60, 1);
    }
    assert_eq!(n.used, MAX_NEIGHBOURS);
    assert_eq!(n.slots.capacity(), room);
    assert!(n.hops.places() <= MAX_NEIGHBOURS);
    for (i, hop) in (0..50).zip(hops) {
        assert_eq!(n.hop(PortId(0), server(i)), hop, "server {i}");
    }
    // A new server: asked for and learned at once.
    assert!(matches!(
        n.queue(PortId(0), server(77), None, 7, 8, 2),
        Queued::Waiting(Some(_))
    ));
    let (out, _) = n.learn(EGRESS, server(77), [7; 6], false, 60, 3);
    assert_eq!(out, [7]);
    // They age without a question; only ours are asked about.
    let mut asked = 0;
    for tick in 0..2 * MAX_NEIGHBOURS as u64 {
        let (ask, dropped) = n.tick(60_500 + tick / 100);
        assert_eq!(dropped, 0);
        asked += u32::from(ask.is_some());
    }
    assert!((50..150).contains(&asked), "{asked} questions");
    assert!(n.used <= 51);
}

/// A flood of addresses we have packets for: those that do not answer go.
#[test]
fn who_does_not_answer_gives_way() {
    let mut n = Neighbours::<u32>::default();
    n.queue(PortId(0), addr(), None, 1, 8, 0);
    n.learn(EGRESS, addr(), [9; 6], false, 60, 0);
    let mut kept = 1;
    for i in 0..2 * MAX_NEIGHBOURS as u32 {
        let queued = n.queue(PortId(0), numbered(i), None, i, 8, 1);
        // Everybody is asked for, also when no more packets may wait.
        match queued {
            Queued::Waiting(Some(_)) => kept += 1,
            Queued::Dropped(Some(_)) => {}
            other => panic!("{i}: {other:?}"),
        }
    }
    assert_eq!(n.used, MAX_NEIGHBOURS);
    assert!(n.hop(PortId(0), addr()).is_some());
    let (_, lost) = n.tick(2);
    // The first one's left when it was learned.
    assert_eq!(lost + n.waiting, kept - 1, "their packets are counted");
    // Somebody only heard of does not push them out.
    n.learn(EGRESS, numbered(9_999_999), [1; 6], false, 60, 2);
    assert!(!n.knows(PortId(0), numbered(9_999_999)));
}

/// Coming and going in any order: the table holds what a map holds.
#[test]
fn holds_what_a_map_holds() {
    let mut n = Neighbours::<u32>::default();
    let mut model: HashMap<IpAddr, Mac> = HashMap::new();
    let mut rng = Rng(7);
    for _ in 0..200_000 {
        let x = rng.next();
        let who = numbered((x >> 40) as u32 % 3000);
        if x >> 63 == 0 {
            let mac = [(x >> 33) as u8; 6];
            n.learn(EGRESS, who, mac, false, 60, 0);
            model.insert(who, mac);
        } else {
            n.forget(PortId(0), who);
            model.remove(&who);
        }
        assert_eq!(n.used, model.len());
    }
    for who in (0..3000).map(numbered) {
        let mac = n
            .hop(PortId(0), who)
            .and_then(|raw| n.hops.get(raw))
            .map(|hop| hop.macs[..6].to_vec());
        assert_eq!(mac, model.get(&who).map(|m| m.to_vec()));
    }
    assert!(!n.knows(PortId(1), numbered(1)));
}

#[test]
fn permanent_stays_and_wins() {
    let mut n = Neighbours::<u32>::default();
    n.learn(EGRESS, addr(), [9; 6], true, 60, 0);
    n.learn(EGRESS, addr(), [8; 6], false, 60, 0);
    assert_eq!(n.list()[0].mac, [9; 6]);
    assert_eq!(n.tick(u64::MAX - 1), (None, 0));
    n.reset_hops(|_| Some(EGRESS));
    assert!(n.hop(PortId(0), addr()).is_some());
    assert_eq!(n.forget(PortId(0), addr()), 0);
    assert!(n.list().is_empty());
}

/// Somebody who sends to everybody on a link takes a bounded part of the packet
/// pool, and those who are there get their packets.
#[test]
fn all_queues_together_are_bounded() {
    let mut n = Neighbours::<u32>::default();
    let host = |i: u32| IpAddr::V4((0x0a00_0000 + i).into());
    let mut dropped = 0;
    for i in 0..100_000 {
        let queued = n.queue(PortId(0), host(i % 2000), None, i, 128, 0);
        dropped += usize::from(matches!(queued, Queued::Dropped(_)));
    }
    let waiting = |n: &Neighbours<u32>| n.list().iter().map(|i| i.queued as usize).sum::<usize>();
    assert_eq!(waiting(&n), WAITING);
    assert_eq!(dropped, 100_000 - WAITING);
    // What leaves, or is given up, makes room.
    let (out, _) = n.learn(EGRESS, host(7), [9; 6], false, 60, 10);
    assert!(!out.is_empty());
    n.forget(PortId(0), host(8));
    let mut given_up = 0;
    for _ in 0..200 {
        given_up += n.tick(10_000).1;
    }
    assert!(given_up > 0 && waiting(&n) == 0, "{given_up}");
    for i in 0..WAITING as u32 {
        let queued = n.queue(PortId(0), host(i % 2000), None, i, 128, 20_000);
        assert!(matches!(queued, Queued::Waiting(_)));
    }
    assert_eq!(waiting(&n), WAITING);
}
