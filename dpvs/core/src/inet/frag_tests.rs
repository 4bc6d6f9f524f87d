use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn key(id: u32) -> Key {
    Key {
        src: 1,
        dst: 2,
        id,
        proto: 17,
    }
}

fn piece(at: u16, len: u16, more: bool) -> Piece {
    Piece { at, len, more }
}

fn slot(noted: Noted<u8>) -> Slot {
    match noted {
        Noted::Open(slot) | Noted::Known(slot, _) => slot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn later_fragments_follow_the_first_and_earlier_ones_wait_in_order() {
    let mut t = Tracker::<&str, u8>::new(16, 1000, 7);
    let s = slot(t.note(&key(1), piece(16, 8, false), 0));
    t.hold(s, "last");
    let s = slot(t.note(&key(1), piece(8, 8, true), 1));
    t.hold(s, "middle");
    let s = slot(t.note(&key(1), piece(0, 8, true), 2));
    t.decide(s, 9, 2);
    assert_eq!(t.next_held(s), Some("last"));
    assert_eq!(t.next_held(s), Some("middle"));
    assert_eq!(t.next_held(s), None);
    t.finish(s);
    assert!(t.is_empty());
    assert_eq!((t.waiting(), t.lost), (0, 0));
}

#[test]
fn whoever_overlaps_is_refused_with_all_that_follows() {
    let mut t = Tracker::<u8, u8>::new(16, 1000, 7);
    let s = slot(t.note(&key(1), piece(0, 16, true), 0));
    t.decide(s, 1, 0);
    assert_eq!(t.note(&key(1), piece(0, 16, true), 0), Noted::Duplicate);
    assert_eq!(t.note(&key(1), piece(8, 16, true), 0), Noted::Refused);
    assert_eq!(t.note(&key(1), piece(32, 16, true), 0), Noted::Refused);
    // Another datagram is not concerned.
    assert!(matches!(
        t.note(&key(2), piece(8, 8, true), 0),
        Noted::Open(_)
    ));
    // Frames that wait for it go as well.
    let s = slot(t.note(&key(3), piece(8, 8, true), 0));
    t.hold(s, 5);
    assert_eq!(t.note(&key(3), piece(8, 16, true), 0), Noted::Refused);
    assert_eq!((t.waiting(), t.lost), (0, 1));
}

#[test]
fn impossible_fragments_are_refused() {
    let mut t = Tracker::<u8, u8>::new(16, 1000, 7);
    for p in [
        piece(0, 0, true),
        piece(0, 9, true),
        piece(65528, 8, false),
        piece(65520, 24, false),
    ] {
        assert_eq!(t.note(&key(1), p, 0), Noted::Refused, "{p:?}");
    }
    assert!(t.is_empty());
    // Behind the end, and a second end.
    let s = slot(t.note(&key(1), piece(8, 8, false), 0));
    t.hold(s, 1);
    assert_eq!(t.note(&key(1), piece(16, 8, true), 0), Noted::Refused);
    let s = slot(t.note(&key(2), piece(8, 8, false), 0));
    t.hold(s, 1);
    assert_eq!(t.note(&key(2), piece(32, 8, false), 0), Noted::Refused);
    let s = slot(t.note(&key(3), piece(32, 8, true), 0));
    t.hold(s, 1);
    assert_eq!(t.note(&key(3), piece(8, 8, false), 0), Noted::Refused);
}

#[test]
fn all_are_given_up_after_their_time() {
    let mut t = Tracker::<u8, u8>::new(16, 1000, 7);
    let s = slot(t.note(&key(1), piece(8, 8, true), 0));
    t.hold(s, 1);
    let s = slot(t.note(&key(2), piece(0, 8, true), 500));
    t.decide(s, 1, 500);
    t.expire(999);
    assert_eq!(t.len(), 2);
    t.expire(1000);
    assert_eq!((t.len(), t.waiting(), t.lost), (1, 0, 1));
    t.expire(1500);
    assert!(t.is_empty());
}

/// A flood of fragments whose first one never comes: bounded, and the youngest
/// datagram still gets through.
#[test]
fn a_flood_takes_no_more_than_its_room() {
    let mut t = Tracker::<u32, u8>::new(64, 1000, 7);
    for id in 0..10_000 {
        let s = slot(t.note(&key(id), piece(8, 8, true), 0));
        t.hold(s, id);
        assert!(t.len() <= 64 && t.waiting() <= 64);
    }
    let s = slot(t.note(&key(9_999), piece(0, 8, true), 0));
    t.decide(s, 1, 0);
    assert_eq!(t.next_held(s), Some(9_999));
    // Many pieces of few datagrams: the frames are what is scarce.
    let mut t = Tracker::<u32, u8>::new(64, 1000, 7);
    for id in 0..64 {
        for n in 1..=100 {
            let s = slot(t.note(&key(id), piece(n * 8, 8, true), 0));
            t.hold(s, id);
            assert!(t.waiting() <= HELD);
        }
    }
    // One in more pieces than anybody sends is refused.
    let mut t = Tracker::<u32, u8>::new(64, 1000, 7);
    let last = (1..=200).find(|n| t.note(&key(1), piece(n * 8, 8, true), 0) == Noted::Refused);
    assert_eq!(last, Some(PIECES as u16 + 1));
}

/// Decided datagrams stay while others only wait.
#[test]
fn those_that_wait_give_way_first() {
    let mut t = Tracker::<u32, u8>::new(4, 1000, 7);
    let s = slot(t.note(&key(0), piece(0, 8, true), 0));
    t.decide(s, 1, 0);
    for id in 1..100 {
        let s = slot(t.note(&key(id), piece(8, 8, true), 0));
        t.hold(s, id);
    }
    assert_eq!(t.verdict(&key(0)), Some(1));
    assert!(matches!(
        t.note(&key(0), piece(8, 8, false), 0),
        Noted::Known(_, 1)
    ));
}

proptest! {
    /// Against a naive model: a map from datagram to the bytes seen, and who waits.
    #[test]
    fn behaves_as_the_naive_model(
        steps in prop::collection::vec((0u32..4, 0u16..6, 1u16..4, any::<bool>()), 1..200)
    ) {
        #[derive(Default)]
        struct Model { bytes: HashMap<u16, (u16, u16)>, end: Option<u32>, bad: bool,
                       decided: bool, waits: Vec<usize> }
        let mut t = Tracker::<usize, u8>::new(16, 1000, 99);
        let mut model: HashMap<u32, Model> = HashMap::new();
        for (n, (id, at, len, more)) in steps.into_iter().enumerate() {
            let (at, len) = (at * 8, len * 8);
            let m = model.entry(id).or_default();
            let span = (at, at + len - 1);
            let end = u32::from(at + len);
            let same = (at..at + len).all(|b| m.bytes.get(&b) == Some(&span));
            let overlap = (at..at + len).any(|b| m.bytes.contains_key(&b));
            let beyond = m.bytes.keys().any(|b| u32::from(*b) >= end);
            let expect = if m.bad {
                "refused"
            } else if same && (m.end == Some(end)) != more {
                "duplicate"
            } else if overlap
                || m.end.is_some_and(|e| !more || end >= e)
                || (m.end.is_none() && !more && beyond)
            {
                m.bad = true;
                m.waits.clear();
                "refused"
            } else {
                for b in at..at + len { m.bytes.insert(b, span); }
                if !more { m.end = Some(end); }
                if m.decided { "known" } else { "open" }
            };
            let got = t.note(&key(id), piece(at, len, more), 0);
            let name = match got {
                Noted::Known(..) => "known",
                Noted::Open(_) => "open",
                Noted::Duplicate => "duplicate",
                Noted::Refused => "refused",
            };
            prop_assert_eq!(name, expect);
            match got {
                Noted::Open(s) if at == 0 => {
                    t.decide(s, 1, 0);
                    m.decided = true;
                    let waited: Vec<usize> = std::iter::from_fn(|| t.next_held(s)).collect();
                    prop_assert_eq!(&waited, &m.waits);
                    m.waits.clear();
                    t.finish(s);
                }
                Noted::Open(s) => {
                    t.hold(s, n);
                    m.waits.push(n);
                }
                Noted::Known(s, _) => t.finish(s),
                _ => {}
            }
            let m = &model[&id];
            if !m.bad && m.decided && m.end == Some(m.bytes.len() as u32) {
                model.remove(&id);
            }
            let waiting: usize = model.values().map(|m| m.waits.len()).sum();
            prop_assert_eq!(t.waiting(), waiting);
        }
    }
}
