use std::cell::Cell;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn dests(weights: &[u16]) -> Vec<Dest> {
    weights
        .iter()
        .zip(0u32..)
        .map(|(weight, n)| Dest {
            weight: *weight,
            ..Dest::new(DestId(n), Ipv4Addr::from_bits(n).into(), 80)
        })
        .collect()
}

/// Those without a table.
const PLAIN: [SchedKind; 11] = {
    use SchedKind::{Fo, Lblc, Lblcr, Lc, Nq, Ovf, Rr, Sed, Twos, Wlc, Wrr};
    [Rr, Wrr, Wlc, Lc, Sed, Nq, Fo, Ovf, Twos, Lblc, Lblcr]
};

/// Those that a scan chooses like, every time.
const COMPARED: [SchedKind; 8] = {
    use SchedKind::{Fo, Lc, Nq, Ovf, Rr, Sed, Wlc, Wrr};
    [Rr, Wrr, Wlc, Lc, Sed, Nq, Fo, Ovf]
};

/// A flow that says nothing.
const FLOW: Flow = Flow {
    client: std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    cport: 1,
    vip: std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    qid: None,
    now: 0,
};

impl Cursor {
    fn next(&mut self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        self.pick(dests, &Policy::default(), &FLOW, load)
    }
}

fn idle(_: &Dest) -> Load {
    Load::default()
}

fn picks(cursor: &mut Cursor, dests: &[Dest], n: usize) -> Vec<usize> {
    (0..n).map(|_| cursor.next(dests, idle).unwrap()).collect()
}

fn count(picks: &[usize], dests: usize) -> Vec<usize> {
    let mut counts = vec![0; dests];
    picks.iter().for_each(|p| counts[*p] += 1);
    counts
}

#[test]
fn start_positions() {
    // One worker: (max(1, n / 1) * 1) mod n = 0.
    for n in 1..20 {
        assert_eq!(start(n, 0, 1), 0);
    }
    // Four workers, 16 servers: 4, 8, 12, 0.
    assert_eq!(
        (0..4).map(|w| start(16, w, 4)).collect::<Vec<_>>(),
        [4, 8, 12, 0]
    );
    // More workers than servers: one apart.
    assert_eq!(
        (0..5).map(|w| start(3, w, 5)).collect::<Vec<_>>(),
        [1, 2, 0, 1, 2]
    );
    assert_eq!(
        (0..3).map(|w| start(7, w, 3)).collect::<Vec<_>>(),
        [2, 4, 6]
    );
    assert_eq!(start(0, 3, 4), 0);
    assert_eq!(start(3, 0, 0), 0);
}

#[test]
fn no_servers() {
    for kind in PLAIN {
        let mut cursor = Cursor::new(kind, &[], 0, 1, idle);
        assert_eq!(cursor.next(&[], idle), None);
        // All drained, or all at their limit.
        let drained = dests(&[0, 0, 0]);
        let mut cursor = Cursor::new(kind, &drained, 0, 1, idle);
        for _ in 0..4 {
            assert_eq!(cursor.next(&drained, idle), None);
        }
        let full = dests(&[1, u16::MAX]);
        let mut cursor = Cursor::new(kind, &full, 0, 1, idle);
        for _ in 0..4 {
            let load = |_: &Dest| Load {
                overloaded: true,
                ..Load::default()
            };
            assert_eq!(cursor.next(&full, load), None);
        }
        cursor.lighter(1, full[1].id, Load::default());
        assert_eq!(cursor.next(&full, idle), Some(1));
    }
}

#[test]
fn only_usable_servers() {
    for kind in PLAIN {
        let mut list = dests(&[3, 0, 5, 1, 2]);
        list[2].inhibited = true;
        let load = |d: &Dest| Load {
            overloaded: d.id.0 == 4,
            ..Load::default()
        };
        for worker in 0..5 {
            let mut cursor = Cursor::new(kind, &list, worker, 5, idle);
            for _ in 0..30 {
                assert!(matches!(cursor.next(&list, load), Some(0 | 3)), "{kind:?}");
            }
        }
    }
}

#[test]
fn fewer_servers_than_the_cursor_was_made_for() {
    // The caller makes a new cursor on every change; if it did not, nothing breaks.
    for kind in PLAIN {
        let many = dests(&[1; 9]);
        let mut cursor = Cursor::new(kind, &many, 7, 9, idle);
        for list in [&many[..2], &many[..1], &many[..0], &many[..5]] {
            let picked = cursor.next(list, idle);
            let known = matches!(kind, SchedKind::Rr | SchedKind::Wrr | SchedKind::Wlc);
            assert!(!known || picked.is_some() != list.is_empty());
            assert!(picked.is_none_or(|p| p < list.len()));
        }
    }
}

#[test]
fn rr_begins_behind_the_start() {
    let list = dests(&[1, 7, 1, 1]);
    let mut one = Cursor::new(SchedKind::Rr, &list, 0, 1, idle);
    assert_eq!(picks(&mut one, &list, 6), [1, 2, 3, 0, 1, 2]);
    let mut second_of_two = Cursor::new(SchedKind::Rr, &list, 0, 2, idle);
    assert_eq!(picks(&mut second_of_two, &list, 5), [3, 0, 1, 2, 3]);
}

#[test]
fn wrr_order() {
    // Weights 4 3 2, divisor 1, from the top: the order of the LVS document,
    // entered behind the first server.
    let list = dests(&[4, 3, 2]);
    let mut cursor = Cursor::new(SchedKind::Wrr, &list, 0, 1, idle);
    // cw 4: B C no; cw 3: A B; cw 2: A B C; cw 1: A B C; cw 4: A; ...
    assert_eq!(picks(&mut cursor, &list, 9), [0, 1, 0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(picks(&mut cursor, &list, 9), [0, 1, 0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn wrr_skips_a_heavy_server_quickly() {
    let list = dests(&[u16::MAX, 1, 2]);
    let looks = Cell::new(0u32);
    let load = |d: &Dest| {
        looks.set(looks.get() + 1);
        Load {
            overloaded: d.id.0 == 0,
            ..Load::default()
        }
    };
    let mut cursor = Cursor::new(SchedKind::Wrr, &list, 0, 1, idle);
    let mut counts = [0; 3];
    for _ in 0..300 {
        counts[cursor.next(&list, load).unwrap()] += 1;
    }
    assert_eq!(counts, [0, 100, 200]);
    assert!(looks.get() < 300 * 12, "{} looks", looks.get());
}

#[test]
fn wlc_takes_the_lowest() {
    let list = dests(&[1, 2, 1]);
    let loads = [(10u32, 0u32), (19, 255), (9, 300)];
    let load = |d: &Dest| {
        let (active, inactive) = loads[d.id.0 as usize];
        Load {
            active,
            inactive,
            overloaded: false,
        }
    };
    // 2560, (19 * 256 + 255) / 2 = 2559.5, 2604.
    let mut cursor = Cursor::new(SchedKind::Wlc, &list, 0, 1, idle);
    assert_eq!(cursor.next(&list, load), Some(1));
    // Of equals, the first from the worker's start on.
    let list = dests(&[1, 1, 1]);
    for worker in 0..3 {
        let mut cursor = Cursor::new(SchedKind::Wlc, &list, worker, 3, idle);
        assert_eq!(cursor.next(&list, idle), Some((worker + 1) % 3));
    }
    // The largest numbers there are.
    let list = dests(&[1, u16::MAX]);
    let load = |d: &Dest| Load {
        active: u32::MAX,
        inactive: u32::MAX - d.id.0,
        overloaded: false,
    };
    let mut cursor = Cursor::new(SchedKind::Wlc, &list, 0, 1, idle);
    assert_eq!(cursor.next(&list, load), Some(1));
}

#[test]
fn wlc_shares_by_weight() {
    let list = dests(&[1, 2, 5]);
    let mut cursor = Cursor::new(SchedKind::Wlc, &list, 0, 1, idle);
    let mut active = [0u32; 3];
    for _ in 0..800 {
        let load = |d: &Dest| Load {
            active: active[d.id.0 as usize],
            inactive: 0,
            overloaded: false,
        };
        let picked = cursor.next(&list, load).unwrap();
        active[picked] += 1;
    }
    assert_eq!(active, [100, 200, 500]);
}

/// The classic loop, one step at a time, with nothing skipped.
struct SlowWrr {
    last: usize,
    current: u16,
}

impl SlowWrr {
    fn pick(&mut self, dests: &[Dest], usable: impl Fn(&Dest) -> bool) -> Option<usize> {
        if !dests.iter().any(&usable) {
            return None;
        }
        let max = dests.iter().map(|d| d.weight).max()?;
        let gcd = (1..=max)
            .rev()
            .find(|g| dests.iter().all(|d| d.weight.is_multiple_of(*g)))?;
        loop {
            self.last += 1;
            if self.last == dests.len() {
                self.last = 0;
                self.current = self.current.saturating_sub(gcd);
                if self.current == 0 {
                    self.current = max;
                }
            }
            let dest = &dests[self.last];
            if dest.weight >= self.current && usable(dest) {
                return Some(self.last);
            }
        }
    }
}

proptest! {
    #[test]
    fn rr_is_even(n in 1usize..20, rounds in 1usize..5, worker in 0usize..8, workers in 1usize..8) {
        let list = dests(&vec![3; n]);
        let mut cursor = Cursor::new(SchedKind::Rr, &list, worker, workers, idle);
        prop_assert_eq!(count(&picks(&mut cursor, &list, n * rounds), n), vec![rounds; n]);
    }

    #[test]
    fn wrr_is_exact(
        weights in prop::collection::vec(0u16..12, 1..10),
        factor in 1u16..500,
        worker in 0usize..8,
        workers in 1usize..8,
        skip in 0usize..10,
    ) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let list = dests(&weights.iter().map(|w| w * factor).collect::<Vec<_>>());
        let gcd = (1..12).rev().find(|g| weights.iter().all(|w| w.is_multiple_of(*g))).unwrap();
        let want: Vec<usize> = weights.iter().map(|w| usize::from(w / gcd)).collect();
        let mut cursor = Cursor::new(SchedKind::Wrr, &list, worker, workers, idle);
        // In any window of one period, wherever it begins.
        picks(&mut cursor, &list, skip);
        let period = want.iter().sum();
        prop_assert_eq!(count(&picks(&mut cursor, &list, period), list.len()), want);
    }

    #[test]
    fn wrr_is_the_classic_loop(
        weights in prop::collection::vec(0u16..40, 1..8),
        down in prop::collection::vec(any::<u8>(), 40),
        worker in 0usize..4,
    ) {
        let list = dests(&weights);
        let mut cursor = Cursor::new(SchedKind::Wrr, &list, worker, 4, idle);
        let mut slow = SlowWrr {
            last: start(list.len(), worker, 4),
            current: *weights.iter().max().unwrap(),
        };
        for down in down {
            // Which servers are overloaded changes all the time, but never all.
            let over = |d: &Dest| down >> d.id.0 & 1 != 0;
            if !list.iter().any(|d| d.usable() && !over(d)) {
                continue;
            }
            let load = |d: &Dest| Load { overloaded: over(d), ..Load::default() };
            for (place, d) in list.iter().enumerate().filter(|(_, d)| !over(d)) {
                cursor.lighter(place, d.id, load(d));
            }
            let want = slow.pick(&list, |d| d.usable() && !over(d));
            prop_assert_eq!(cursor.next(&list, load), want);
        }
    }

    #[test]
    fn wlc_is_minimal(
        servers in prop::collection::vec((0u16..5, 0u32..10, 0u32..2000, 0u8..4), 1..10),
        worker in 0usize..4,
    ) {
        let list = dests(&servers.iter().map(|s| s.0).collect::<Vec<_>>());
        let load = |d: &Dest| {
            let (_, active, inactive, over) = servers[d.id.0 as usize];
            Load { active, inactive, overloaded: over == 0 }
        };
        let cost = |d: &Dest| {
            let l = load(d);
            f64::from(l.active * 256 + l.inactive) / f64::from(d.weight)
        };
        let usable = || list.iter().filter(|d| d.usable() && !load(d).overloaded);
        let mut cursor = Cursor::new(SchedKind::Wlc, &list, worker, 4, idle);
        match cursor.next(&list, load) {
            None => prop_assert_eq!(usable().count(), 0),
            Some(p) => {
                let lowest = usable().map(cost).fold(f64::INFINITY, f64::min);
                prop_assert!((cost(&list[p]) - lowest).abs() < 1e-9);
            }
        }
    }
}

/// The scans that the schedulers by load stand for.
fn slow_load(
    kind: SchedKind,
    dests: &[Dest],
    start: usize,
    load: impl Fn(&Dest) -> Load,
) -> Option<usize> {
    let list = || dests.iter().enumerate();
    let open = |d: &Dest| d.usable() && !load(d).overloaded;
    if kind == SchedKind::Fo || kind == SchedKind::Ovf {
        let fits = |d: &Dest| kind == SchedKind::Fo || load(d).active <= u32::from(d.weight);
        let heaviest = list()
            .filter(|(_, d)| open(d) && fits(d))
            .map(|(_, d)| d.weight)
            .max()?;
        return list().position(|(_, d)| open(d) && fits(d) && d.weight == heaviest);
    }
    let mut best: Option<(usize, u64, u64)> = None;
    for (index, dest) in list().skip(start).chain(list().take(start)) {
        let l = load(dest);
        if !open(dest) {
            continue;
        }
        let (active, inactive) = (u64::from(l.active), u64::from(l.inactive));
        let cost = match kind {
            SchedKind::Sed => active + 1,
            SchedKind::Nq if active == 0 => 0,
            SchedKind::Nq => active + 1,
            _ => active * 256 + inactive,
        };
        let weight = if kind == SchedKind::Lc {
            1
        } else {
            u64::from(dest.weight)
        };
        if best.is_none_or(|(_, c, w)| c * weight > cost * w) {
            best = Some((index, cost, weight));
        }
    }
    best.map(|(index, _, _)| index)
}

fn slow_rr(dests: &[Dest], last: &mut usize, full: impl Fn(&Dest) -> bool) -> Option<usize> {
    let n = dests.len();
    let found = (1..=n)
        .map(|step| (*last + step) % n)
        .find(|&i| dests[i].usable() && !full(&dests[i]))?;
    *last = found;
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Connections are made, become active, cease to be and end, at servers with
    /// and without a threshold: the trees choose what the scans choose.
    #[test]
    fn trees_choose_what_scans_choose(
        servers in prop::collection::vec((0u16..6, 0u32..5, any::<u8>()), 1..40),
        events in prop::collection::vec((0u8..6, any::<u16>()), 1..200),
        worker in 0usize..4,
    ) {
        let mut list = dests(&servers.iter().map(|s| s.0 * 7).collect::<Vec<_>>());
        for (dest, (_, _, odd)) in list.iter_mut().zip(&servers) {
            dest.inhibited = *odd < 20;
        }
        let list = list;
        let limit = |d: &Dest| servers[d.id.0 as usize].1;
        let counts = std::cell::RefCell::new(vec![(0u32, 0u32); list.len()]);
        let load = |d: &Dest| {
            let (active, inactive) = counts.borrow()[d.id.0 as usize];
            Load {
                active,
                inactive,
                overloaded: limit(d) != 0 && active + inactive >= limit(d),
            }
        };
        for kind in COMPARED {
            counts.borrow_mut().fill((0, 0));
            let first = start(list.len(), worker, 4);
            let mut cursor = Cursor::new(kind, &list, worker, 4, load);
            let mut last = first;
            let mut slow = SlowWrr {
                last: first,
                current: list.iter().map(|d| d.weight).max().unwrap(),
            };
            for &(what, which) in &events {
                let place = usize::from(which) % list.len();
                let (active, inactive) = counts.borrow()[place];
                match what {
                    0..3 => {
                        let want = match kind {
                            SchedKind::Rr => slow_rr(&list, &mut last, |d| load(d).overloaded),
                            SchedKind::Wrr => {
                                slow.pick(&list, |d| d.usable() && !load(d).overloaded)
                            }
                            _ => slow_load(kind, &list, first, load),
                        };
                        prop_assert_eq!(cursor.next(&list, load), want, "{:?}", kind);
                        if let Some(picked) = want {
                            counts.borrow_mut()[picked].1 += 1;
                        }
                        continue;
                    }
                    3 if inactive > 0 => {
                        counts.borrow_mut()[place] = (active + 1, inactive - 1);
                        continue;
                    }
                    4 if active > 0 => counts.borrow_mut()[place] = (active - 1, inactive + 1),
                    5 if inactive > 0 => counts.borrow_mut()[place] = (active, inactive - 1),
                    _ => continue,
                }
                cursor.lighter(place, list[place].id, load(&list[place]));
            }
        }
    }
}

/// A thousand servers, most of them drained or full: how many are looked at for a
/// connection does not depend on how many there are.
#[test]
fn a_thousand_servers_are_not_walked() {
    let weights: Vec<u16> = (0..1000u16)
        .map(|i| match i % 10 {
            0 => 1,
            1 => 100 + i,
            _ => 0,
        })
        .collect();
    let list = dests(&weights);
    let counts = std::cell::RefCell::new(vec![0u32; list.len()]);
    let looks = Cell::new(0u32);
    let load = |d: &Dest| {
        looks.set(looks.get() + 1);
        let active = counts.borrow()[d.id.0 as usize];
        Load {
            active,
            inactive: 0,
            overloaded: d.id.0 % 50 == 1 && active >= 3,
        }
    };
    for kind in PLAIN {
        counts.borrow_mut().fill(0);
        let mut cursor = Cursor::new(kind, &list, 0, 1, load);
        looks.set(0);
        let n = 20_000;
        for i in 0..n {
            let picked = cursor.next(&list, load).unwrap();
            counts.borrow_mut()[picked] += 1;
            if i % 3 == 0 {
                // One of them ends.
                counts.borrow_mut()[picked] -= 1;
                cursor.lighter(picked, list[picked].id, load(&list[picked]));
            }
        }
        assert!(looks.get() < n * 25, "{kind:?}: {} looks", looks.get());
    }
}
