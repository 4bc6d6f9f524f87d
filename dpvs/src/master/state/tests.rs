use std::net::IpAddr;

use dpvs_core::frame::PortId;
use dpvs_core::service::{DestId, FwdMode, SchedKind, ServiceKey};
use dpvs_ctl::msg::CheckConf;
use proptest::prelude::*;

use super::addr::Addr;
use super::ids::Ids;
use super::route::{Kind, mask};
use super::service::{Change, Options, Server, Services};
use super::*;
use crate::master::error::Fault;

fn addr(port: u16, text: &str) -> Addr {
    let (ip, plen) = text.split_once('/').unwrap();
    Addr {
        port: PortId(port),
        ip: ip.parse().unwrap(),
        plen: plen.parse().unwrap(),
        scope: 0,
        flags: 0,
        bcast: None,
        valid_lft: 0,
        expires: None,
        preferred_lft: 0,
        deprecates: None,
        deprecated: false,
    }
}

fn routes(state: &State) -> Vec<String> {
    let mut list: Vec<String> = state
        .routes
        .iter()
        .map(|r| format!("{:?} {}/{} {}", r.kind, r.dst, r.plen, r.port.0))
        .collect();
    list.sort();
    list
}

#[test]
fn an_address_brings_its_routes_and_takes_them_along() {
    let mut state = State::default();
    state.add_addr(addr(0, "10.0.0.1/24")).unwrap();
    state.add_addr(addr(0, "10.0.0.2/24")).unwrap();
    state.add_addr(addr(1, "2001:db8::1/64")).unwrap();
    assert_eq!(state.add_addr(addr(0, "10.0.0.1/24")), Err(Fault::Exists));
    assert_eq!(
        routes(&state),
        [
            "Forward 10.0.0.0/24 0",
            "Forward 2001:db8::/64 1",
            "Local 10.0.0.1/32 0",
            "Local 10.0.0.2/32 0",
            "Local 2001:db8::1/128 1"
        ]
    );
    state
        .del_addr(PortId(0), "10.0.0.1".parse().unwrap())
        .unwrap();
    assert_eq!(
        routes(&state),
        [
            "Forward 10.0.0.0/24 0",
            "Forward 2001:db8::/64 1",
            "Local 10.0.0.2/32 0",
            "Local 2001:db8::1/128 1"
        ]
    );
    // What is left of a subnet is asked for from what is left of its addresses.
    let subnet = state.routes.iter().find(|r| r.plen == 24).unwrap();
    assert_eq!(subnet.src, Some("10.0.0.2".parse().unwrap()));
    state.flush_addrs(PortId(0));
    assert_eq!(
        routes(&state),
        ["Forward 2001:db8::/64 1", "Local 2001:db8::1/128 1"]
    );
    assert_eq!(
        state.del_addr(PortId(0), "10.0.0.2".parse().unwrap()),
        Err(Fault::Missing)
    );
}

#[test]
fn an_address_with_a_life_goes_when_it_is_over() {
    let mut state = State::default();
    let now = Instant::now();
    state
        .add_addr(
            Addr {
                valid_lft: 10,
                ..addr(0, "10.0.0.1/32")
            }
            .born(now),
        )
        .unwrap();
    state.expire_addrs(now + std::time::Duration::from_secs(9));
    assert_eq!(state.addrs.iter().count(), 1);
    state.expire_addrs(now + std::time::Duration::from_secs(10));
    assert_eq!(state.addrs.iter().count(), 0);
    assert!(routes(&state).is_empty());
}

#[test]
fn an_address_is_preferred_for_a_part_of_its_life() {
    let mut state = State::default();
    let now = Instant::now();
    let after = |n| now + std::time::Duration::from_secs(n);
    for (n, valid_lft, preferred_lft) in [(1, 10, 3), (2, 0, 3), (3, 10, 0), (4, 2, 3)] {
        let new = Addr {
            valid_lft,
            preferred_lft,
            ..addr(0, &format!("2001:db8::{n}/64"))
        };
        state.add_addr(new.born(now)).unwrap();
    }
    let deprecated = |state: &State| {
        let all = state.addrs.iter().filter(|a| a.deprecated);
        all.map(|a| a.ip.to_string()).collect::<Vec<_>>()
    };
    state.net_changed = false;
    state.expire_addrs(after(1));
    assert!(deprecated(&state).is_empty() && !state.net_changed);
    state.expire_addrs(after(3));
    assert_eq!(deprecated(&state), ["2001:db8::1", "2001:db8::2"]);
    assert!(state.net_changed);
    state.expire_addrs(after(10));
    assert_eq!(deprecated(&state), ["2001:db8::2"]);
    // Set anew it is preferred again.
    state
        .addrs
        .set(addr(0, "2001:db8::2/64").born(now))
        .unwrap();
    assert!(deprecated(&state).is_empty());
}

#[test]
fn masks() {
    let ip = |s: &str| s.parse::<IpAddr>().unwrap();
    assert_eq!(mask(ip("10.1.2.3"), 0), ip("0.0.0.0"));
    assert_eq!(mask(ip("10.1.2.3"), 15), ip("10.0.0.0"));
    assert_eq!(mask(ip("10.1.2.3"), 32), ip("10.1.2.3"));
    assert_eq!(mask(ip("ff::ff"), 127), ip("ff::fe"));
    assert_eq!(mask(ip("ff::ff"), 0), ip("::"));
}

#[test]
fn listings_have_local_routes_first_then_longer_prefixes() {
    let mut state = State::default();
    for text in ["10.0.0.1/8", "10.0.0.2/30", "10.0.0.3/16"] {
        state.add_addr(addr(0, text)).unwrap();
    }
    let order: Vec<(bool, u8)> = state
        .routes
        .listed(true)
        .iter()
        .map(|r| (r.kind == Kind::Local, r.plen))
        .collect();
    assert_eq!(
        order,
        [
            (true, 32),
            (true, 32),
            (true, 32),
            (false, 30),
            (false, 16),
            (false, 8)
        ]
    );
    assert!(state.routes.listed(false).is_empty());
}

fn options() -> Options {
    Options {
        flags: 0,
        timeout: 0,
        conn_timeout: 0,
        netmask: 0,
        proxy_protocol: 0,
        sched: SchedKind::Rr,
        check: CheckConf::default(),
        pe_sip: false,
        bps: 0,
        limit_proportion: 0,
    }
}

fn key(port: u16) -> ServiceKey {
    ServiceKey {
        proto: 6,
        addr: "192.0.2.1".parse().unwrap(),
        port,
    }
}

fn server(n: u8, weight: u16) -> Server {
    Server {
        id: None,
        addr: IpAddr::from([10, 0, 0, n]),
        port: 80,
        weight,
        mode: FwdMode::FullNat,
        conn_flags: 0,
        tunnel: dpvs_core::service::Tunnel::default(),
        max_conn: 0,
        min_conn: 0,
        inhibited: false,
        terms: 0,
        returns: 0,
        held: false,
    }
}

#[test]
fn a_change_that_fails_half_way_changes_nothing() {
    let mut services = Services::default();
    services.add(key(80), options()).unwrap();
    services
        .edit(&key(80), |e| e.add_dest(server(1, 1)))
        .unwrap();
    let _ = services.take_changes();
    let result = services.edit(&key(80), |e| {
        e.add_dest(server(2, 1))?;
        e.del_dest(IpAddr::from([10, 0, 0, 1]), 80)?;
        e.add_dest(server(2, 1))
    });
    assert_eq!(result, Err(Fault::Exists));
    assert_eq!(services.get(&key(80)).unwrap().dests.len(), 1);
    assert!(!services.is_changed());
    assert!(services.take_changes().1.is_empty());
}

#[test]
fn ids_are_dense_kept_by_edits_and_not_given_twice() {
    let mut services = Services::default();
    services.add(key(80), options()).unwrap();
    for n in 1..=3 {
        services
            .edit(&key(80), |e| e.add_dest(server(n, 1)))
            .unwrap();
    }
    let ids = |s: &Services| -> Vec<u32> {
        s.get(&key(80))
            .unwrap()
            .dest_ids()
            .iter()
            .map(|i| i.0)
            .collect()
    };
    assert_eq!(ids(&services), [2, 1, 0], "newest first");
    services
        .edit(&key(80), |e| e.edit_dest(server(2, 7)))
        .unwrap();
    assert_eq!(ids(&services), [2, 1, 0]);
    services
        .edit(&key(80), |e| e.del_dest(IpAddr::from([10, 0, 0, 2]), 80))
        .unwrap();
    services
        .edit(&key(80), |e| e.add_dest(server(2, 7)))
        .unwrap();
    assert_eq!(ids(&services), [3, 2, 0], "id 1 is still draining");
    let (_, removed) = services.take_changes();
    assert_eq!(removed.iter().map(|i| i.0).collect::<Vec<_>>(), [1]);
    services.recycle(removed[0]);
    services
        .edit(&key(80), |e| e.add_dest(server(9, 7)))
        .unwrap();
    assert_eq!(ids(&services), [1, 3, 2, 0]);
}

#[test]
fn versions_and_uids_tell_workers_what_is_new() {
    let mut services = Services::default();
    services.add(key(80), options()).unwrap();
    let shown = |s: &mut Services| match s.take_changes().0.pop() {
        Some(Change::Put(service)) => Some((service.uid, service.version)),
        _ => None,
    };
    let (uid, version) = shown(&mut services).unwrap();
    services
        .edit(&key(80), |e| {
            e.options.conn_timeout = 5;
            Ok(())
        })
        .unwrap();
    assert_eq!(shown(&mut services), Some((uid, version)));
    services
        .edit(&key(80), |e| e.add_dest(server(1, 1)))
        .unwrap();
    assert_eq!(shown(&mut services), Some((uid, version + 1)));
    services.del(&key(80)).unwrap();
    assert!(shown(&mut services).is_none());
    services.add(key(80), options()).unwrap();
    assert_ne!(shown(&mut services).unwrap().0, uid);
}

/// What a service is and what of it has to be published.
fn seen(services: &mut Services) -> (Vec<Server>, u64, bool, Vec<DestId>) {
    let changed = services.is_changed();
    let (_, removed) = services.take_changes();
    let entry = services.get(&key(80)).unwrap();
    (entry.dests.clone(), entry.version, changed, removed)
}

proptest! {
    /// One server at a time is the same as a change of the whole service.
    #[test]
    fn one_server_or_the_whole_service(
        ops in proptest::collection::vec((0..3u8, 0..6u8, 1..3u16), 1..40),
    ) {
        let mut one = Services::default();
        let mut whole = Services::default();
        for services in [&mut one, &mut whole] {
            services.add(key(80), options()).unwrap();
        }
        for (what, n, weight) in ops {
            let (server, addr) = (server(n, weight), IpAddr::from([10, 0, 0, n]));
            let key = key(80);
            let same = server.clone();
            let (a, b) = match what {
                0 => (
                    one.add_dest(&key, server),
                    whole.edit(&key, |e| e.add_dest(same)),
                ),
                1 => {
                    // An edit that says what is there already is none.
                    let known = whole.get(&key).unwrap().dests.iter().any(|d| {
                        Server { id: None, ..d.clone() } == same
                    });
                    if known {
                        continue;
                    }
                    (
                        one.edit_dest(&key, server),
                        whole.edit(&key, |e| e.edit_dest(same)),
                    )
                }
                _ => (
                    one.del_dest(&key, addr, 80),
                    whole.edit(&key, |e| e.del_dest(addr, 80)),
                ),
            };
            prop_assert_eq!(a, b);
            let (a, b) = (seen(&mut one), seen(&mut whole));
            prop_assert_eq!(&a, &b);
            for id in a.3 {
                one.recycle(id);
                whole.recycle(id);
            }
        }
    }

    #[test]
    fn a_number_is_given_once(ops in proptest::collection::vec(any::<bool>(), 0..200)) {
        let mut ids = Ids::default();
        let mut held = Vec::new();
        for give in ops {
            match (give, held.pop()) {
                (true, Some(id)) => ids.give(id),
                (_, old) => {
                    held.extend(old);
                    let id = ids.take().unwrap();
                    prop_assert!(!held.contains(&id));
                    prop_assert!((id as usize) <= held.len(), "smallest first");
                    held.push(id);
                }
            }
        }
    }
}
