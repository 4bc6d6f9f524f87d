//! Addresses (also those of a service towards its servers), routes and neighbours
//! over the control socket, against a master with real workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use std::net::IpAddr;

use ctl_lab::bodies::{laddr, service};
use ctl_lab::{LCORES, Lab, MASTER, code, until};
use dpvs_core::frame::PortId;
use dpvs_core::snapshot::Local;
use dpvs_ctl::msg::{
    IfAddr, IfAddrArray, IfAddrData, IfAddrParam, LaddrDetail, LaddrFront, LaddrTable, Maddr,
    Neigh, Route, Route6, RouteCompact, RtAddr, ifa_flag, ifa_op, neigh_flag, route_scope,
    route6_op, rtf,
};
use dpvs_ctl::wire::{Tail, decode_counted, decode_list, encode_list};
use dpvs_ctl::{Af, ErrCode, HwAddr, Ip16, Name, Wire, id};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addr(text: &str, dev: &str) -> IfAddr {
    let (a, plen) = text.split_once('/').unwrap();
    IfAddr {
        af: Af::of(ip(a)),
        ifname: Name::truncated(dev),
        addr: Ip16::from_ip(ip(a)),
        plen: plen.parse().unwrap(),
        ..IfAddr::default()
    }
}

fn addrs(lab: &Lab) -> Vec<String> {
    let body = IfAddrParam {
        ops: ifa_op::GET,
        ..IfAddrParam::default()
    }
    .encode();
    let reply = lab.client.get(id::GET_IFADDR_SHOW, &body).unwrap();
    let (_, list) =
        decode_list::<IfAddrArray, IfAddrData>(&reply, Tail::Exact, |h| h.naddr as usize).unwrap();
    list.iter()
        .filter(|d| d.entry.flags & ifa_flag::LINKLOCAL == 0)
        .map(|d| {
            format!(
                "{}/{} {}",
                d.entry.addr.to_ip(d.entry.af).unwrap(),
                d.entry.plen,
                d.entry.ifname
            )
        })
        .collect()
}

#[test]
fn addresses_reach_the_workers() {
    let lab = Lab::start();
    let c = &lab.client;
    c.add_ifaddr(&addr("10.0.0.1/24", "dpdk0")).unwrap();
    c.add_ifaddr(&addr("2001:db8::1/64", "dpdk1")).unwrap();
    c.add_ifaddr(&IfAddr {
        flags: ifa_flag::SAPOOL,
        ..addr("10.0.0.9/32", "dpdk0")
    })
    .unwrap();
    assert_eq!(
        addrs(&lab),
        [
            "10.0.0.1/24 dpdk0",
            "2001:db8::1/64 dpdk1",
            "10.0.0.9/32 dpdk0"
        ]
    );
    let snap = lab.snapshot(1);
    assert_eq!(
        snap.locals.get(&ip("10.0.0.1")),
        Some(&Local::Own {
            port: PortId(0),
            sapool: false
        })
    );
    assert_eq!(
        snap.locals.get(&ip("10.0.0.9")),
        Some(&Local::Own {
            port: PortId(0),
            sapool: true
        })
    );
    assert_eq!(
        snap.fib.lookup(ip("10.0.0.77")).unwrap().src,
        Some(ip("10.0.0.1"))
    );
    assert_eq!(snap.fib.lookup(ip("2001:db8::77")).unwrap().port, PortId(1));
    // The kernel's groups of the address: all-nodes, link-local's and its own.
    assert!(lab.joined.lock().unwrap()[1].contains(&[0x33, 0x33, 0xff, 0, 0, 1]));
    let reply = c
        .get(
            id::GET_IFMADDR_SHOW,
            &Name::<16>::truncated("dpdk1").encode(),
        )
        .unwrap();
    let groups: Vec<String> = decode_counted::<Maddr>(&reply, Tail::Exact)
        .unwrap()
        .iter()
        .map(|m| m.maddr.v6().to_string())
        .collect();
    assert_eq!(groups, ["ff02::1", "ff02::1:ff00:11", "ff02::1:ff00:1"]);

    assert_eq!(
        code(c.add_ifaddr(&addr("10.0.0.1/24", "dpdk0"))),
        ErrCode::EXIST
    );
    assert_eq!(
        code(c.add_ifaddr(&addr("10.0.0.2/24", "eth0"))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.add_ifaddr(&addr("10.0.0.2/33", "dpdk0"))),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_ifaddr(&addr("0.0.0.0/0", "dpdk0"))),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_ifaddr(&IfAddr {
            af: Af(3),
            ..addr("10.0.0.2/24", "dpdk0")
        })),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.del_ifaddr(&addr("10.0.0.2/24", "dpdk0"))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.edit_ifaddr(&addr("10.0.0.2/24", "dpdk0"))),
        ErrCode::NOTEXIST
    );
    assert_eq!(code(c.set(id::SET_IFADDR_ADD, &[0; 75])), ErrCode::INVAL);
    assert_eq!(code(c.get(id::GET_IFADDR_SHOW, &[0; 76])), ErrCode::INVAL);

    c.edit_ifaddr(&IfAddr {
        flags: ifa_flag::SAPOOL,
        ..addr("10.0.0.1/24", "dpdk0")
    })
    .unwrap();
    assert_eq!(
        lab.snapshot(0).locals.get(&ip("10.0.0.1")),
        Some(&Local::Own {
            port: PortId(0),
            sapool: true
        })
    );
    c.del_ifaddr(&addr("10.0.0.9/32", "dpdk0")).unwrap();
    assert!(lab.snapshot(0).locals.get(&ip("10.0.0.9")).is_none());
    c.flush_ifaddrs(&addr("0.0.0.0/0", "dpdk0")).unwrap();
    assert_eq!(addrs(&lab), ["2001:db8::1/64 dpdk1"]);
    assert!(lab.snapshot(0).fib.lookup(ip("10.0.0.77")).is_none());
}

#[test]
fn local_ports_are_counted_by_address_and_worker() {
    let lab = Lab::start();
    let c = &lab.client;
    c.set(
        id::AGENT_IFADDR_ADD,
        &IfAddr {
            flags: ifa_flag::SAPOOL,
            ..addr("10.0.0.9/32", "dpdk0")
        }
        .encode(),
    )
    .unwrap();
    let ask = |ops_flags| {
        let body = IfAddrParam {
            ops: ifa_op::GET,
            ops_flags,
            entry: IfAddr {
                ifname: Name::truncated("dpdk0"),
                ..Default::default()
            },
        };
        let reply = c.get(id::GET_IFADDR_SHOW, &body.encode()).unwrap();
        let (head, list) =
            decode_list::<IfAddrArray, IfAddrData>(&reply, Tail::Exact, |h| h.naddr as usize)
                .unwrap();
        assert_eq!(head.ops_flags, ops_flags);
        list.into_iter()
            .filter(|d| d.entry.flags & ifa_flag::SAPOOL != 0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(0)[0].stats.sa_free, 0);
    let sum = ask(2);
    assert_eq!((sum.len(), sum[0].entry.cid), (1, MASTER));
    let all = ask(3);
    assert_eq!(
        all.iter().map(|d| d.entry.cid).collect::<Vec<_>>(),
        [MASTER, LCORES[0], LCORES[1]]
    );
    assert_eq!(
        all[0].stats.sa_free,
        all[1].stats.sa_free + all[2].stats.sa_free
    );
    assert!(all[1].stats.sa_free > 30000, "{all:?}");
    c.set(id::AGENT_IFADDR_DEL, &addr("10.0.0.9/32", "dpdk0").encode())
        .unwrap();
    assert!(ask(0).is_empty());
}

fn route(text: &str, via: &str, dev: &str, flags: u32) -> Route {
    let (a, plen) = text.split_once('/').unwrap();
    Route {
        af: Af::INET,
        flags,
        metric: 3,
        dst: RtAddr {
            addr: Ip16::from_ip(ip(a)),
            plen: plen.parse().unwrap(),
        },
        gateway: RtAddr {
            addr: Ip16::from_ip(ip(via)),
            plen: 0,
        },
        ifname: Name::truncated(dev),
        ..Route::default()
    }
}

fn routes(lab: &Lab, dev: &str) -> Vec<String> {
    let list = lab.client.routes(&Name::truncated(dev)).unwrap();
    list.iter()
        .map(|r| {
            format!(
                "{}/{} via {} {} {:#x}",
                r.dst.addr.v4(),
                r.dst.plen,
                r.gateway.addr.v4(),
                r.ifname,
                r.flags
            )
        })
        .collect()
}

#[test]
fn ipv4_routes() {
    let lab = Lab::start();
    let c = &lab.client;
    c.add_route(&route("0.0.0.0/0", "10.0.0.254", "dpdk0", rtf::FORWARD))
        .unwrap();
    c.add_route(&route("10.1.2.3/16", "0.0.0.0", "dpdk1", rtf::FORWARD))
        .unwrap();
    c.add_route(&route(
        "10.9.9.9/32",
        "0.0.0.0",
        "dpdk0",
        rtf::KNI | rtf::FORWARD,
    ))
    .unwrap();
    c.add_route(&route(
        "10.8.8.8/32",
        "0.0.0.0",
        "dpdk0",
        rtf::LOCALIN | rtf::FORWARD,
    ))
    .unwrap();
    assert_eq!(
        routes(&lab, ""),
        [
            "10.9.9.9/32 via 0.0.0.0 dpdk0 0x2000",
            "10.8.8.8/32 via 0.0.0.0 dpdk0 0x800",
            "10.1.0.0/16 via 0.0.0.0 dpdk1 0x400",
            "0.0.0.0/0 via 10.0.0.254 dpdk0 0x1400",
        ]
    );
    assert_eq!(routes(&lab, "dpdk1").len(), 1);
    assert_eq!(code(c.routes(&Name::truncated("eth0"))), ErrCode::NOTEXIST);
    let shown = &c.routes(&Name::truncated("dpdk1")).unwrap()[0];
    assert_eq!((shown.mtu, shown.metric), (1500, 3));
    let snap = lab.snapshot(0);
    assert_eq!(
        snap.fib.lookup(ip("8.8.8.8")).unwrap().gateway,
        Some(ip("10.0.0.254"))
    );
    assert_eq!(
        snap.locals.get(&ip("10.9.9.9")),
        Some(&Local::Host { port: PortId(0) })
    );
    assert_eq!(
        snap.locals.get(&ip("10.8.8.8")),
        Some(&Local::Own {
            port: PortId(0),
            sapool: false
        })
    );

    // There already and not there are not told; what makes no sense is.
    c.add_route(&route("10.1.0.0/16", "0.0.0.0", "dpdk1", rtf::FORWARD))
        .unwrap();
    c.del_route(&route("10.77.0.0/16", "0.0.0.0", "dpdk1", rtf::FORWARD))
        .unwrap();
    for (bad, want) in [
        (
            route("10.0.0.0/33", "0.0.0.0", "dpdk0", rtf::FORWARD),
            ErrCode::INVAL,
        ),
        (
            route("10.0.0.0/8", "0.0.0.0", "eth0", rtf::FORWARD),
            ErrCode::INVAL,
        ),
        (route("10.0.0.0/8", "0.0.0.0", "dpdk0", 0), ErrCode::INVAL),
        (
            route("10.0.0.0/8", "0.0.0.0", "dpdk0", rtf::LOCALIN),
            ErrCode::INVAL,
        ),
        (
            route("0.0.0.0/32", "0.0.0.0", "dpdk0", rtf::KNI),
            ErrCode::INVAL,
        ),
        (
            Route {
                af: Af::INET6,
                ..route("10.0.0.0/8", "0.0.0.0", "dpdk0", rtf::FORWARD)
            },
            ErrCode::NOTSUPP,
        ),
    ] {
        assert_eq!(code(c.add_route(&bad)), want, "{bad:?}");
    }
    assert_eq!(code(c.set(id::SET_ROUTE_ADD, &[0; 111])), ErrCode::INVAL);
    assert_eq!(
        code(c.set(
            id::SET_ROUTE_SET,
            &route("10.0.0.0/8", "0.0.0.0", "dpdk0", rtf::FORWARD).encode()
        )),
        ErrCode::NOTSUPP
    );
    assert_eq!(routes(&lab, "").len(), 4);

    // C keepalived's older form.
    let old = RouteCompact {
        af: Af::INET,
        dst: Ip16::from_ip(ip("172.16.0.0")),
        plen: 12,
        via: Ip16::from_ip(ip("10.0.0.253")),
        ifname: Name::truncated("dpdk0"),
        scope: route_scope::GLOBAL,
        ..RouteCompact::default()
    };
    c.set(id::SET_ROUTE_ADD, &old.encode()).unwrap();
    assert_eq!(
        lab.snapshot(1)
            .fib
            .lookup(ip("172.17.0.1"))
            .unwrap()
            .gateway,
        Some(ip("10.0.0.253"))
    );
    c.set(id::SET_ROUTE_DEL, &old.encode()).unwrap();
    c.set(
        id::AGENT_ROUTE_ADD,
        &route("10.2.0.0/16", "0.0.0.0", "dpdk0", rtf::FORWARD).encode(),
    )
    .unwrap();
    c.set(
        id::AGENT_ROUTE_DEL,
        &route("10.2.0.0/16", "0.0.0.0", "dpdk0", rtf::FORWARD).encode(),
    )
    .unwrap();
    c.del_route(&route("10.1.0.0/16", "0.0.0.0", "dpdk1", rtf::FORWARD))
        .unwrap();
    assert!(routes(&lab, "dpdk1").is_empty());
    c.flush_routes(&route("0.0.0.0/0", "0.0.0.0", "dpdk0", 0))
        .unwrap();
    assert!(routes(&lab, "").is_empty());
}

#[test]
fn ipv6_routes() {
    let lab = Lab::start();
    let c = &lab.client;
    let six = |text: &str, via: &str, dev: &str, flags| {
        let (a, plen) = text.split_once('/').unwrap();
        Route6 {
            dst: RtAddr {
                addr: Ip16::from_ip(ip(a)),
                plen: plen.parse().unwrap(),
            },
            gateway: Ip16::from_ip(ip(via)),
            ifname: Name::truncated(dev),
            flags,
            ..Route6::default()
        }
    };
    c.add_route6(&six("::/0", "fe80::1", "dpdk0", rtf::FORWARD))
        .unwrap();
    c.add_route6(&six("2001:db8:1::5/48", "::", "dpdk1", 0))
        .unwrap();
    c.add_route6(&six("2001:db8::9/128", "::", "dpdk1", rtf::KNI))
        .unwrap();
    let list: Vec<String> = c
        .routes6(&Name::truncated("dpdk1"))
        .unwrap()
        .iter()
        .map(|r| format!("{}/{} {:#x}", r.dst.addr.v6(), r.dst.plen, r.flags))
        .filter(|r| !r.starts_with("fe80"))
        .collect();
    assert_eq!(list, ["2001:db8::9/128 0x2000", "2001:db8:1::/48 0x400"]);
    assert_eq!(
        lab.snapshot(0).fib.lookup(ip("2001::1")).unwrap().gateway,
        Some(ip("fe80::1"))
    );
    assert_eq!(
        code(c.add_route6(&six("::/0", "fe80::1", "dpdk0", rtf::FORWARD))),
        ErrCode::EXIST
    );
    assert_eq!(
        code(c.del_route6(&six("2001:dead::/32", "::", "dpdk0", rtf::FORWARD))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.add_route6(&six("2001:dead::/129", "::", "dpdk0", rtf::FORWARD))),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_route6(&six("2001:dead::/32", "::", "eth0", rtf::FORWARD))),
        ErrCode::INVAL
    );
    let odd = Route6 {
        ops: 9,
        ..six("2001:dead::/32", "::", "dpdk0", rtf::FORWARD)
    };
    assert_eq!(
        code(c.set(id::SET_ROUTE6_ADD_DEL, &odd.encode())),
        ErrCode::INVAL
    );
    let unknown = Route6 {
        ops: route6_op::GET,
        ifname: Name::truncated("eth0"),
        ..Route6::default()
    };
    assert!(
        c.get(id::GET_ROUTE6_SHOW, &unknown.encode())
            .unwrap()
            .is_empty()
    );
    c.del_route6(&six("2001:db8:1::/48", "::", "dpdk1", rtf::FORWARD))
        .unwrap();
    c.flush_routes6(&six("::/0", "::", "dpdk0", 0)).unwrap();
    assert!(lab.snapshot(0).fib.lookup(ip("2001::1")).is_none());
}

#[test]
fn neighbours_are_every_workers() {
    let lab = Lab::start();
    let c = &lab.client;
    let neigh = |a: &str, dev: &str, mac: [u8; 6]| Neigh {
        af: Af::of(ip(a)),
        ip_addr: Ip16::from_ip(ip(a)),
        eth_addr: HwAddr(mac),
        ifname: Name::truncated(dev),
        ..Neigh::default()
    };
    c.add_neigh(&neigh("10.0.0.7", "dpdk0", [2, 0, 0, 0, 0, 7]))
        .unwrap();
    c.add_neigh(&neigh("2001:db8::7", "dpdk1", [2, 0, 0, 0, 0, 8]))
        .unwrap();
    let list = c.neighs(&Neigh::default()).unwrap();
    assert_eq!(list.len(), 4, "{list:?}");
    assert!(
        list.iter()
            .all(|n| n.flag & neigh_flag::STATIC != 0 && n.state >= 2)
    );
    let on = c.neighs(&neigh("0.0.0.0", "dpdk1", [0; 6])).unwrap();
    assert_eq!(on.iter().map(|n| n.cid).collect::<Vec<_>>(), LCORES);
    assert_eq!(on[0].eth_addr, HwAddr([2, 0, 0, 0, 0, 8]));
    assert_eq!(
        code(c.add_neigh(&neigh("0.0.0.0", "dpdk0", [2; 6]))),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_neigh(&neigh("10.0.0.8", "eth0", [2; 6]))),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_neigh(&neigh("10.0.0.8", "dpdk0", [0; 6]))),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.neighs(&neigh("0.0.0.0", "eth0", [0; 6]))),
        ErrCode::NOTEXIST
    );
    c.del_neigh(&neigh("10.0.0.7", "dpdk0", [0; 6])).unwrap();
    assert_eq!(c.neighs(&Neigh::default()).unwrap().len(), 2);
    assert_eq!(c.get(id::GET_NEIGH_SHOW, &[]).unwrap().len(), 4 + 2 * 52);
}

#[test]
fn a_learned_neighbour_is_told_to_the_other_workers() {
    let lab = Lab::start();
    lab.client
        .add_ifaddr(&addr("10.0.0.1/24", "dpdk0"))
        .unwrap();
    let mut arp = vec![2, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0x55];
    arp.extend_from_slice(&[
        8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 0x55, 10, 0, 0, 5,
    ]);
    arp.extend_from_slice(&[2, 0, 0, 0, 0, 0x10, 10, 0, 0, 1]);
    arp.resize(60, 0);
    lab.receive(0, vec![arp]);
    until("both workers know it", || {
        let list = lab.client.neighs(&Neigh::default()).unwrap();
        list.iter()
            .filter(|n| n.ip_addr.v4().octets() == [10, 0, 0, 5])
            .count()
            == 2
    });
}

#[test]
fn local_addresses_of_a_service() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = service("192.0.2.1:80", "rr");
    c.add_service(&s).unwrap();
    for ip in ["10.0.0.9", "10.0.0.8"] {
        c.add_laddr(&laddr(&s, ip, "dpdk1")).unwrap();
    }
    // The client adds the address to the device as well.
    assert!(
        lab.snapshot(1).ports[1]
            .addrs
            .iter()
            .any(|a| a.sapool && a.addr.to_string() == "10.0.0.9")
    );
    let list = c.laddrs(&s, 0).unwrap();
    assert_eq!(
        list.iter()
            .map(|l| l.addr.v4().to_string())
            .collect::<Vec<_>>(),
        ["10.0.0.9", "10.0.0.8"]
    );
    let there = lab.snapshot(0).services.iter().next().unwrap().clone();
    assert_eq!(there.laddrs[0].port, PortId(1));
    assert_eq!(c.service(&s).unwrap().num_laddrs, 2);
    c.del_laddr(&laddr(&s, "10.0.0.9", "dpdk1")).unwrap();
    assert_eq!(c.laddrs(&s, 1).unwrap().len(), 1);
    c.set(id::SET_LADDR_FLUSH, &LaddrTable::of(&s).encode())
        .unwrap();
    assert!(c.laddrs(&s, 0).unwrap().is_empty());

    // The agent's form: existing ones are added again without a fault, missing
    // ones removed again; a wrong one in the list changes nothing.
    let front = |n: u32| LaddrFront {
        af: s.af,
        raw_port: u32::from(80u16.to_be()),
        proto: 6,
        count: n,
        addr: s.addr,
        ..Default::default()
    };
    let one = |ip: &str, dev: &str| LaddrDetail {
        af: Af::INET,
        addr: Ip16::from_ip(ip.parse().unwrap()),
        ifname: Name::truncated(dev),
        ..Default::default()
    };
    let two = [one("10.0.0.1", "dpdk0"), one("10.0.0.2", "dpdk0")];
    c.set(id::AGENT_VS_ADD_LADDR, &encode_list(&front(2), &two))
        .unwrap();
    c.set(id::AGENT_VS_ADD_LADDR, &encode_list(&front(2), &two))
        .unwrap();
    let bad = [one("10.0.0.3", "dpdk0"), one("10.0.0.4", "nodev")];
    assert_eq!(
        code(c.set(id::AGENT_VS_ADD_LADDR, &encode_list(&front(2), &bad))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.set(id::AGENT_VS_ADD_LADDR, &encode_list(&front(3), &two))),
        ErrCode::INVAL
    );
    let reply = c.get(id::AGENT_VS_GET_LADDR, &front(0).encode()).unwrap();
    let (head, list) =
        decode_list::<LaddrFront, LaddrDetail>(&reply, Tail::Exact, |f| f.count as usize).unwrap();
    assert_eq!((head.count, list[1].ifname.text().as_ref()), (2, "dpdk0"));
    c.set(id::AGENT_VS_DEL_LADDR, &encode_list(&front(1), &two[..1]))
        .unwrap();
    c.set(id::AGENT_VS_DEL_LADDR, &encode_list(&front(1), &two[..1]))
        .unwrap();
    assert_eq!(c.laddrs(&s, 0).unwrap().len(), 1);
}
