//! The choice of a way, on ports that answer without DPDK: rules that run out,
//! rules one family has, hashes that are known or not.

use std::cell::RefCell;

use dpvs_core::rss::{DEFAULT_KEY, Hashed};
use dpvs_core::service::{TCP, UDP};

use super::*;
use crate::master::LcoreQueues;

/// A port with room for some rules that may hash.
#[derive(Default)]
struct Fake {
    room: usize,
    /// Takes no rules for IPv6, like the 82599 in perfect mode.
    v4_only: bool,
    spreading: Option<Spreading>,
    rules: RefCell<BTreeMap<usize, Steer>>,
    made: RefCell<usize>,
}

impl Nics for Fake {
    type Rule = usize;

    fn spreading(&self, _: usize) -> Result<Spreading, Error> {
        self.spreading
            .clone()
            .ok_or_else(|| Error::new("cannot hash packets", libc::ENOTSUP))
    }

    fn can_steer(&self, _: usize, steer: &Steer) -> Result<(), Error> {
        if self.room == 0 || self.v4_only && steer.addr.is_ipv6() {
            return Err(Error::new("cannot steer", libc::ENOTSUP));
        }
        Ok(())
    }

    fn steer(&self, port: usize, steer: &Steer) -> Result<usize, Error> {
        self.can_steer(port, steer)?;
        let mut rules = self.rules.borrow_mut();
        if rules.len() == self.room {
            return Err(Error::new("cannot steer", libc::ENOSPC));
        }
        *self.made.borrow_mut() += 1;
        let n = *self.made.borrow();
        rules.insert(n, *steer);
        Ok(n)
    }

    fn unsteer(&self, _: usize, rule: usize) {
        self.rules.borrow_mut().remove(&rule).unwrap();
    }
}

fn topology(workers: u16) -> Topology {
    Topology {
        workers: (0..workers)
            .map(|n| LcoreQueues {
                lcore: n as u8 + 1,
                rx: vec![(PortId(0), n)],
                tx: vec![(PortId(0), n)],
            })
            .collect(),
        ..Topology::default()
    }
}

fn hashing(queues: u16) -> Option<Spreading> {
    Some(Spreading {
        key: DEFAULT_KEY.to_vec(),
        hashed: Hashed {
            ip: [true; 2],
            tcp: [true; 2],
            udp: [true, false],
        },
        table: (0..128).map(|i| i % queues).collect(),
    })
}

const WISH: Wish = Wish {
    rules: true,
    fuzzy: false,
};

fn choose(nics: &Fake, workers: u16, wish: Wish) -> (Ways<usize>, Affinity) {
    let ways = Ways::choose(nics, &["dpdk0".into()], &topology(workers), wish);
    let affinity = ways.affinity(PortId(0)).unwrap();
    (ways, affinity)
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn on_port0(addrs: &[&str]) -> Vec<(PortId, IpAddr)> {
    addrs.iter().map(|a| (PortId(0), ip(a))).collect()
}

#[test]
fn the_way_of_a_port() {
    let none = Fake::default();
    assert_eq!(choose(&none, 1, WISH).1.way, "single");
    let (_, a) = choose(&none, 2, WISH);
    assert_eq!((a.way.as_str(), a.workers), ("hand-over", 2));
    assert!(
        a.why.contains("cannot steer") && a.why.contains("cannot hash"),
        "{}",
        a.why
    );

    let hash = Fake {
        spreading: hashing(3),
        ..Fake::default()
    };
    let (_, a) = choose(&hash, 3, WISH);
    assert_eq!(a.way, "rss");
    assert!(a.why.contains("TCP/IPv4, TCP/IPv6, UDP/IPv4"), "{}", a.why);
    // A worker that gets no replies could make no connections.
    let (_, a) = choose(&hash, 4, WISH);
    assert_eq!(a.way, "hand-over");
    assert!(a.why.contains("nothing to worker 3"), "{}", a.why);

    let rules = Fake {
        room: 100,
        spreading: hashing(2),
        ..Fake::default()
    };
    assert_eq!(choose(&rules, 2, WISH).1.way, "flow-rules");
    let (_, a) = choose(
        &rules,
        2,
        Wish {
            rules: false,
            ..WISH
        },
    );
    assert_eq!(a.way, "rss");
    assert!(a.why.contains("flow_enable is off"), "{}", a.why);
    let v4 = Fake {
        v4_only: true,
        ..rules
    };
    assert_eq!(choose(&v4, 2, WISH).1.way, "flow-rules (IPv6 rss)");

    let mut uneven = topology(2);
    uneven.workers[1].rx.clear();
    let ways = Ways::choose(&none, &["dpdk0".into()], &uneven, WISH);
    let a = ways.affinity(PortId(0)).unwrap();
    assert_eq!((a.way.as_str(), a.workers), ("hand-over", 1));
    assert!(a.why.contains("lcore 2"), "{}", a.why);
    assert!(ways.affinity(PortId(1)).is_none());
}

#[test]
fn rules_come_and_go_with_their_address() {
    let nics = Fake {
        room: 100,
        ..Fake::default()
    };
    let (mut ways, _) = choose(&nics, 3, WISH);
    let returns = ways.set(&nics, &on_port0(&["10.0.1.200", "2001:db8::200"]));
    assert!(returns.matched(ip("10.0.1.200")).is_none());
    {
        let rules = nics.rules.borrow();
        // Two addresses, three workers, two protocols; three workers have four
        // slices, told apart by two bits.
        assert_eq!(rules.len(), 12);
        for steer in rules.values() {
            assert_eq!((steer.mask, steer.queue), (3, steer.port));
        }
        let of = |addr, tcp| {
            rules
                .values()
                .filter(move |s| s.addr == addr && s.tcp == tcp)
        };
        assert_eq!(of(ip("10.0.1.200"), true).count(), 3);
        assert_eq!(of(ip("2001:db8::200"), false).count(), 3);
    }
    assert_eq!(ways.affinity(PortId(0)).unwrap().rules, 12);
    // The same again changes nothing.
    let made = *nics.made.borrow();
    ways.set(&nics, &on_port0(&["10.0.1.200", "2001:db8::200"]));
    assert_eq!(*nics.made.borrow(), made);
    ways.set(&nics, &on_port0(&["2001:db8::200"]));
    assert_eq!(nics.rules.borrow().len(), 6);
    ways.set(&nics, &[]);
    assert_eq!(nics.rules.borrow().len(), 0);
    // Back again.
    ways.set(&nics, &on_port0(&["10.0.1.200"]));
    assert_eq!(ways.affinity(PortId(0)).unwrap().rules, 6);
}

#[test]
fn an_address_without_room_for_its_rules_does_without() {
    for (spreading, matched) in [(hashing(2), true), (None, false)] {
        let nics = Fake {
            // One address has four, the second fails half way.
            room: 6,
            spreading,
            ..Fake::default()
        };
        let (mut ways, _) = choose(&nics, 2, WISH);
        let all = on_port0(&["10.0.1.200", "10.0.1.201"]);
        let returns = ways.set(&nics, &all);
        assert_eq!(nics.rules.borrow().len(), 4, "no half sets");
        assert!(returns.matched(ip("10.0.1.200")).is_none());
        let nic = returns.matched(ip("10.0.1.201"));
        assert_eq!(nic.is_some(), matched);
        if let Some(nic) = nic {
            assert!(nic.matches(TCP, true) && !nic.matches(UDP, true));
        }
        let a = ways.affinity(PortId(0)).unwrap();
        assert_eq!((a.way.as_str(), a.rules), ("flow-rules", 4));
        assert!(a.why.contains("1 local address"), "{}", a.why);

        // It keeps its way when there is room: its connections are laid out so.
        let returns = ways.set(&nics, &all[1..]);
        assert_eq!(nics.rules.borrow().len(), 0);
        assert_eq!(returns.matched(ip("10.0.1.201")).is_some(), matched);
        // And the first one, which had rules, goes to no other layout.
        let full = Fake {
            room: 1,
            ..Fake::default()
        };
        let returns = ways.set(&full, &all);
        assert!(returns.matched(ip("10.0.1.200")).is_none());
    }
}

#[test]
fn several_queues_of_a_worker_share_its_rules() {
    let nics = Fake {
        room: 100,
        ..Fake::default()
    };
    let mut topology = topology(2);
    topology.workers[0].rx = vec![(PortId(0), 0), (PortId(1), 5), (PortId(0), 2)];
    let mut ways = Ways::choose(&nics, &["dpdk0".into()], &topology, WISH);
    ways.set(&nics, &on_port0(&["10.0.1.200", "10.0.1.201"]));
    let rules = nics.rules.borrow();
    let queues: std::collections::BTreeSet<u16> = rules
        .values()
        .filter(|s| s.port == 0)
        .map(|s| s.queue)
        .collect();
    assert_eq!(queues.into_iter().collect::<Vec<_>>(), [0, 2]);
}
