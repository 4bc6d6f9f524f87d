//! The director under test: its configuration, and random changes to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::route::Route;
use dpvs_core::service::{
    Dest, DestId, FwdMode, Laddr, Policy, SchedKind, Service, ServiceId, ServiceKey,
};
use dpvs_core::snapshot::{Port, PortAddr, Settings};

use crate::reference::Config;
use crate::reference::wire::{TCP, UDP};
use crate::rng::Rng;

/// Whom frames come from: stations, a group, nobody.
pub const CLIENT_MACS: [[u8; 6]; 8] = [
    [2, 0, 0, 0, 0, 0xc1],
    [2, 0, 0, 0, 0, 0xc1],
    [2, 0, 0, 0, 0, 0xc1],
    [2, 0, 0, 0, 0, 0xc2],
    [2, 0, 0, 0, 0, 0xc3],
    [2, 0, 0, 0, 0, 0xc4],
    [3, 0, 0, 0, 0, 1],
    [0; 6],
];
pub const NEIGHBOUR_MACS: [[u8; 6]; 6] = [
    [2, 0, 0, 0, 0, 0xd1],
    [2, 0, 0, 0, 0, 0xd1],
    [2, 0, 0, 0, 0, 0xd2],
    [2, 0, 0, 0, 0, 0xd3],
    [3, 0, 0, 0, 0, 2],
    [0; 6],
];

pub fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn port(name: &str, last: u8, mtu: u16, addrs: &[(&str, u8, bool)]) -> Port {
    Port {
        name: name.into(),
        mac: [2, 0, 0, 0, 0, last],
        mtu,
        has_host: last != 0x12,
        addrs: addrs
            .iter()
            .map(|(a, plen, sapool)| PortAddr {
                addr: ip(a),
                plen: *plen,
                sapool: *sapool,
            })
            .collect(),
        ..Port::default()
    }
}

/// Gives numbers that were never given before.
#[derive(Default)]
pub struct Numbers {
    dest: u32,
    uid: u64,
}

impl Numbers {
    pub fn dest(&mut self, addr: &str, port: u16, weight: u16) -> Dest {
        self.dest += 1;
        Dest {
            weight,
            ..Dest::new(DestId(self.dest), ip(addr), port)
        }
    }

    fn service(&mut self, id: u32, key: (u8, &str, u16), sched: SchedKind) -> Service {
        self.uid += 1;
        let v6 = key.1.contains(':');
        let laddrs: &[&str] = if v6 {
            &["2001:db8:2::200", "2001:db8:2::201"]
        } else {
            &["10.0.1.200", "10.0.1.201"]
        };
        Service {
            id: ServiceId(id),
            uid: self.uid,
            version: 1,
            key: ServiceKey {
                proto: key.0,
                addr: ip(key.1),
                port: key.2,
            },
            sched,
            proxy: None,
            matching: None,
            conn_timeout: 0,
            expire_quiescent: false,
            synproxy: false,
            syns: Arc::default(),
            dests: Arc::new([]),
            laddrs: laddrs
                .iter()
                .map(|a| Laddr {
                    addr: ip(a),
                    port: PortId(1),
                })
                .collect(),
            policy: Policy::default(),
        }
    }

    /// Service number `id`, as it is at the start.
    pub fn fresh(&mut self, id: u32) -> Service {
        use SchedKind::{Rr, Wlc, Wrr};
        let (v4, v6) = ("192.0.2.10", "2001:db8:1::10");
        let (mut s, dests): (_, Vec<(&str, u16, u16)>) = match id {
            0 => (
                self.service(id, (TCP, v4, 80), Rr),
                vec![
                    ("10.0.1.11", 8080, 1),
                    ("10.0.1.12", 8080, 1),
                    ("10.0.1.16", 8080, 1),
                ],
            ),
            1 => (
                self.service(id, (UDP, v4, 53), Wrr),
                vec![
                    ("10.0.1.11", 5353, 4),
                    ("10.0.1.12", 5353, 2),
                    ("10.0.2.9", 53, 1),
                ],
            ),
            2 => (
                self.service(id, (TCP, v6, 80), Wlc),
                vec![("2001:db8:2::11", 8080, 3), ("2001:db8:2::12", 8080, 1)],
            ),
            3 => (
                self.service(id, (UDP, v6, 53), Rr),
                vec![("2001:db8:2::11", 53, 1), ("2001:db8:2::16", 53, 1)],
            ),
            4 => (
                self.service(id, (TCP, "192.0.2.11", 443), Wlc),
                vec![("10.0.1.13", 443, 1), ("10.0.1.14", 443, 2)],
            ),
            5 => (
                self.service(id, (UDP, "192.0.2.11", 123), Wrr),
                vec![("10.0.1.13", 123, 1), ("10.0.1.14", 123, 3)],
            ),
            6 => (self.service(id, (TCP, "192.0.2.12", 80), Rr), vec![]),
            7 => (
                self.service(id, (UDP, "192.0.2.12", 99), Rr),
                vec![("10.0.1.11", 99, 1)],
            ),
            8 => (
                self.service(id, (TCP, "2001:db8:1::11", 80), Wrr),
                vec![("2001:db8:2::11", 80, 1)],
            ),
            9 => (
                self.service(id, (UDP, "2001:db8:1::11", 53), Wlc),
                vec![("10.0.1.11", 53, 1), ("2001:db8:2::12", 53, 1)],
            ),
            _ => (
                self.service(id, (TCP, "192.0.2.13", 80), Wrr),
                vec![
                    ("10.0.1.11", 80, 2),
                    ("10.0.1.12", 80, 2),
                    ("10.0.1.13", 80, 6),
                ],
            ),
        };
        let mut dests: Vec<_> = dests.iter().map(|(a, p, w)| self.dest(a, *p, *w)).collect();
        match id {
            3 => s.expire_quiescent = true,
            4 => {
                s.conn_timeout = 20;
                dests.iter_mut().for_each(|d| d.max_conn = 6);
            }
            5 => {
                s.conn_timeout = 9;
                dests[1].max_conn = 2;
            }
            7 => dests[0].mode = FwdMode::Snat,
            8 => s.laddrs = Arc::new([]),
            10 => s.expire_quiescent = true,
            _ => {}
        }
        s.dests = dests.into();
        s
    }
}

pub const SERVICES: u32 = 11;

/// The configuration to start from.
pub fn start(numbers: &mut Numbers) -> Config {
    let ports = vec![
        port(
            "dpdk0",
            0x10,
            1500,
            &[
                ("192.0.2.1", 24, false),
                ("192.0.2.10", 32, false),
                ("192.0.2.11", 32, false),
                ("2001:db8:1::1", 64, false),
                ("2001:db8:1::10", 128, false),
            ],
        ),
        port(
            "dpdk1",
            0x11,
            1500,
            &[
                ("10.0.1.1", 24, false),
                ("10.0.1.200", 32, true),
                ("10.0.1.201", 32, true),
                ("2001:db8:2::1", 64, false),
                ("2001:db8:2::200", 128, true),
                ("2001:db8:2::201", 128, true),
            ],
        ),
        port("dpdk2", 0x12, 1400, &[("203.0.113.1", 24, false)]),
    ];
    let route = |dst: &str, plen, gateway: Option<&str>, src: Option<&str>, port, mtu| Route {
        dst: ip(dst),
        plen,
        gateway: gateway.map(ip),
        src: src.map(ip),
        port: PortId(port),
        mtu,
    };
    let routes = vec![
        route("192.0.2.0", 24, None, Some("192.0.2.1"), 0, 1500),
        route("10.0.1.0", 24, None, Some("10.0.1.1"), 1, 1500),
        route("2001:db8:1::", 64, None, Some("2001:db8:1::1"), 0, 1500),
        route("2001:db8:2::", 64, None, None, 1, 1500),
        route("198.51.100.0", 24, Some("192.0.2.254"), None, 0, 1500),
        route("2001:db8:ff::", 64, Some("2001:db8:1::fe"), None, 0, 1500),
        route("10.0.2.0", 24, Some("10.0.1.254"), None, 1, 1000),
        route("203.0.113.0", 24, None, Some("203.0.113.1"), 2, 1400),
        route("203.0.113.128", 25, Some("203.0.113.2"), None, 2, 460),
        // A route that leads to a device that is not there.
        route("100.64.0.9", 32, None, None, 9, 1500),
    ];
    let services = (0..SERVICES)
        .map(|id| Arc::new(numbers.fresh(id)))
        .map(|s| (s.key, s))
        .collect::<BTreeMap<_, _>>();
    Config {
        ports,
        routes,
        host_routes: vec![(ip("192.0.2.2"), 0)],
        services,
        settings: Settings {
            unres_queue: 6,
            forward4: true,
            forward6: true,
            neigh_timeout: 20,
            // Fragments have tests of their own; here they are dropped.
            frag_max: 0,
            ..Settings::default()
        },
    }
}

/// Changes something at random; says what.
pub fn change(r: &mut Rng, config: &mut Config, numbers: &mut Numbers) -> String {
    let keys: Vec<_> = config.services.keys().copied().collect();
    let s = &mut config.settings;
    match r.below(16) {
        0..=3 if !keys.is_empty() => {
            let key = *r.pick(&keys);
            let mut service = (*config.services[&key]).clone();
            let mut dests = service.dests.to_vec();
            let at = r.below(dests.len().max(1));
            let what = r.below(6);
            match what {
                0 if !dests.is_empty() => drop(dests.remove(at)),
                1 => {
                    let n = r.range(11, 17);
                    let addr = if key.addr.is_ipv4() {
                        format!("10.0.1.{n}")
                    } else {
                        format!("2001:db8:2::{n}")
                    };
                    let dest = numbers.dest(&addr, 8000, r.range(1, 5) as u16);
                    if dests.len() < 6
                        && !dests
                            .iter()
                            .any(|d| (d.addr, d.port) == (dest.addr, dest.port))
                    {
                        dests.insert(0, dest);
                    }
                }
                2 if !dests.is_empty() => dests[at].weight = 0,
                3 if !dests.is_empty() => dests[at].weight = r.range(1, 8) as u16,
                4 if !dests.is_empty() => dests[at].max_conn = r.below(8) as u32,
                _ if !dests.is_empty() => dests[at].inhibited ^= true,
                _ => {}
            }
            service.dests = dests.into();
            service.version += 1;
            config.services.insert(key, Arc::new(service));
            format!("dest {what} of {key:?}")
        }
        4 if keys.len() > 4 => {
            let key = *r.pick(&keys);
            config.services.remove(&key);
            format!("no {key:?}")
        }
        4 | 5 => {
            let id = r.below(SERVICES as usize) as u32;
            let service = numbers.fresh(id);
            let known = config.services.contains_key(&service.key);
            if !known {
                config.services.insert(service.key, Arc::new(service));
            }
            format!("service {id}")
        }
        6 => {
            s.fast_xmit ^= true;
            format!("fast_xmit {}", s.fast_xmit)
        }
        7 => {
            s.xmit_ttl ^= true;
            format!("xmit_ttl {}", s.xmit_ttl)
        }
        8 => {
            s.forward4 ^= r.percent(50);
            s.forward6 ^= r.percent(50);
            format!("forward {} {}", s.forward4, s.forward6)
        }
        9 => {
            s.defence_tcp_drop ^= r.percent(50);
            s.defence_udp_drop ^= r.percent(50);
            format!("defence {} {}", s.defence_tcp_drop, s.defence_udp_drop)
        }
        10 => {
            // Off for a moment only.
            s.ipv6_off = !s.ipv6_off && r.percent(30);
            format!("ipv6_off {}", s.ipv6_off)
        }
        11 => {
            let i = r.below(11);
            s.timeouts.tcp[i] = r.range(1, 40) as u32;
            s.timeouts.udp[r.below(3)] = r.range(1, 40) as u32;
            s.timeouts.conn_init = r.range(1, 5) as u32;
            format!("timeouts {:?}", s.timeouts)
        }
        12 => {
            let i = r.below(2);
            config.ports[i].mtu = *r.pick(&[1500, 1500, 1400, 600, 9000]);
            format!("mtu {}", config.ports[i].mtu)
        }
        13 => {
            let i = r.below(2);
            config.ports[i].mac[5] ^= 0x40;
            format!("mac of {i}")
        }
        14 => {
            let i = r.below(config.ports.len());
            config.ports[i].forward2kni = !config.ports[i].forward2kni && r.percent(40);
            config.ports[i].has_host ^= r.percent(20);
            format!("forward2kni {}", config.ports[i].forward2kni)
        }
        _ => {
            let i = r.range(4, 8);
            let route = &mut config.routes[i];
            match r.below(3) {
                0 => route.mtu = *r.pick(&[1500, 1300, 700, 68, 1500]),
                1 if route.dst.is_ipv4() && route.port == PortId(0) => {
                    route.gateway = Some(ip(r.pick::<&str>(&["192.0.2.254", "192.0.2.253"])));
                }
                _ => config.routes.swap(i, i - 1),
            }
            format!("routes {:?}", config.routes[i])
        }
    }
}
