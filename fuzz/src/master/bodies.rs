//! Bodies of requests that come close to sense: few names, addresses and
//! numbers, so that they meet, and now and then a byte turned.

use dpvs_ctl::msg::*;
use dpvs_ctl::wire::{Tail, count_of, decode_counted, decode_list, encode_list};
use dpvs_ctl::{Af, Be16, HwAddr, Ip16, Kind, Name, Wire, id};

use crate::input::Input;

const NAMES: [&str; 4] = ["dpdk0", "dpdk1", "", "dpdk0.100"];
const SCHEDULERS: [&str; 6] = ["rr", "wrr", "wlc", "conhash", "", "nosuch"];
const MASKS: [u32; 4] = [0, 24, 32, 128];

fn addr(input: &mut Input<'_>) -> (Af, Ip16) {
    const ALL: [&str; 10] = [
        "192.0.2.10",
        "10.0.1.200",
        "10.0.1.11",
        "192.0.2.1",
        "0.0.0.0",
        "2001:db8:1::10",
        "2001:db8:2::200",
        "2001:db8:2::11",
        "fe80::1",
        "::",
    ];
    let ip: std::net::IpAddr = input.pick(&ALL).parse().expect("an address");
    (Af::of(ip), Ip16::from_ip(ip))
}

fn number(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        b @ 0..=199 => u32::from(b % 8),
        200..=220 => u32::MAX,
        221..=230 => i32::MAX as u32,
        _ => input.long(),
    }
}

fn service(input: &mut Input<'_>) -> Service {
    let (af, addr) = addr(input);
    Service {
        af,
        addr,
        proto: input.pick(&[6, 17, 6, 17, 132, 1, 58, 0]),
        port: Be16::new(input.pick(&[80, 53, 0, 443])),
        fwmark: input.pick(&[0, 0, 0, 7]),
        flags: input.pick(&[0, 0, 1, 2, 0x10, 0x400, u32::MAX]),
        netmask: input.pick(&[0, u32::MAX, 64, 128, 129]),
        conn_timeout: input.pick(&[0, 1, 3600, u32::MAX]),
        sched_name: Name::truncated(input.pick(&SCHEDULERS)),
        num_dests: number(input),
        index: input.pick(&[0, 0, 1, 2, 3, 255]),
        ..Service::default()
    }
}

fn dest(input: &mut Input<'_>) -> Dest {
    let (af, addr) = addr(input);
    let mut dest = Dest {
        af,
        addr,
        port: Be16::new(input.pick(&[80, 8080, 0])),
        weight: number(input),
        max_conn: number(input),
        min_conn: number(input),
        ..Dest::default()
    };
    dest.set_fwd_mode(input.pick(&[5, 5, 5, 5, 0, 1, 2, 3, 4, 6, 7, u32::MAX]));
    dest
}

fn laddrs(input: &mut Input<'_>) -> LaddrTable {
    let svc = service(input);
    let (af_l, laddr) = addr(input);
    LaddrTable {
        af_l,
        laddr,
        ifname: Name::truncated(input.pick(&NAMES)),
        index: svc.index,
        ..LaddrTable::of(&svc)
    }
}

fn rt(input: &mut Input<'_>) -> RtAddr {
    RtAddr {
        addr: addr(input).1,
        plen: input.pick(&[0, 8, 24, 32, 64, 128, 129, -1]),
    }
}

fn route(input: &mut Input<'_>) -> Route {
    Route {
        af: addr(input).0,
        mtu: input.pick(&[0, 1280, 1500, 68, u32::MAX]),
        flags: input.pick(&[
            rtf::FORWARD,
            rtf::LOCALIN,
            rtf::KNI,
            rtf::GATEWAY,
            0,
            u32::MAX,
        ]),
        dst: rt(input),
        src: rt(input),
        gateway: rt(input),
        ifname: Name::truncated(input.pick(&NAMES)),
        ..Route::default()
    }
}

fn route6(input: &mut Input<'_>) -> Route6 {
    Route6 {
        ops: input.pick(&[1, 2, 2, 3, 4, 0, -1]),
        dst: rt(input),
        src: rt(input),
        gateway: addr(input).1,
        mtu: input.pick(&[0, 1280, 1500]),
        flags: input.pick(&[rtf::FORWARD, rtf::LOCALIN, rtf::KNI, 0]),
        ifname: Name::truncated(input.pick(&NAMES)),
        ..Route6::default()
    }
}

fn compact(input: &mut Input<'_>) -> RouteCompact {
    let (af, dst) = addr(input);
    RouteCompact {
        af,
        dst,
        plen: input.pick(&[0, 24, 32, 64, 128, 200]),
        via: addr(input).1,
        ifname: Name::truncated(input.pick(&NAMES)),
        scope: input.pick(&[0, 1, 2, 3, 4, 5]),
        ..RouteCompact::default()
    }
}

fn ifaddr(input: &mut Input<'_>) -> IfAddrParam {
    let (af, addr) = addr(input);
    IfAddrParam {
        ops: input.pick(&[2, 3, 4, 5, 1, 0]),
        ops_flags: input.pick(&[0, 1, 2, 3]),
        entry: IfAddr {
            af,
            addr,
            plen: input.pick(&MASKS) as u8,
            valid_lft: input.pick(&[0, 0, 1, u32::MAX]),
            flags: input.pick(&[0, ifa_flag::SAPOOL, u32::MAX]),
            ifname: Name::truncated(input.pick(&NAMES)),
            scope: input.pick(&[0, 1, 2, 3, 255]),
            ..IfAddr::default()
        },
    }
}

fn neigh(input: &mut Input<'_>) -> Neigh {
    let (af, ip_addr) = addr(input);
    let mut neigh = Neigh {
        af,
        ip_addr,
        ifname: Name::truncated(input.pick(&NAMES)),
        flag: neigh_flag::STATIC,
        ..Neigh::default()
    };
    neigh.eth_addr = HwAddr::take(&[2, 0, 0, 0, 0, input.byte()]);
    neigh
}

/// A request of one of the kinds that do something.
pub(super) fn made(input: &mut Input<'_>) -> (u32, Kind, Vec<u8>) {
    let set = |id, body| (id, Kind::Set, body);
    let get = |id, body| (id, Kind::Get, body);
    let (number_, kind, mut body) = match input.byte() % 40 {
        0 | 1 => set(id::SO_SET_ADD, service(input).encode()),
        2 => set(id::SO_SET_EDIT, service(input).encode()),
        3 | 4 => {
            let (service, dest) = (service(input), dest(input));
            set(id::SO_SET_ADDDEST, ServiceDest { service, dest }.encode())
        }
        5 => {
            let (service, dest) = (service(input), dest(input));
            set(id::SO_SET_EDITDEST, ServiceDest { service, dest }.encode())
        }
        6 | 7 => set(id::SET_LADDR_ADD, laddrs(input).encode()),
        8 => set(id::SET_LADDR_DEL, laddrs(input).encode()),
        9 | 10 => set(id::SET_IFADDR_ADD, ifaddr(input).encode()),
        11 => set(id::SET_IFADDR_DEL, ifaddr(input).encode()),
        12 => set(id::SET_IFADDR_SET, ifaddr(input).encode()),
        13 => set(id::SET_ROUTE_ADD, route(input).encode()),
        14 => set(id::SET_ROUTE_DEL, route(input).encode()),
        15 => set(id::SET_ROUTE6_ADD_DEL, route6(input).encode()),
        16 => set(id::SET_NEIGH_ADD, neigh(input).encode()),
        17 => set(id::SET_NEIGH_DEL, neigh(input).encode()),
        18 => set(id::SO_SET_ZERO, service(input).encode()),
        19 => set(id::SO_SET_DEL, service(input).encode()),
        20 => {
            let (service, dest) = (service(input), dest(input));
            set(id::SO_SET_DELDEST, ServiceDest { service, dest }.encode())
        }
        21 => set(id::SO_SET_FLUSH, Vec::new()),
        22 => set(id::SET_LADDR_FLUSH, laddrs(input).encode()),
        23 => set(id::SET_IFADDR_FLUSH, ifaddr(input).encode()),
        24 => set(id::SET_ROUTE_FLUSH, route(input).encode()),
        25 => set(id::SET_ROUTE6_FLUSH, route6(input).encode()),
        26 => set(id::SO_SET_GRATARP, addr(input).1.encode()[..8].to_vec()),
        27 | 28 => {
            let svc = service(input);
            let list: Vec<Dest> = (0..input.below(4)).map(|_| dest(input)).collect();
            let front = DestFront {
                af: svc.af,
                proto: svc.proto.into(),
                port: svc.port,
                fwmark: svc.fwmark,
                addr: svc.addr,
                num_dests: list.len() as u32,
                ..DestFront::default()
            };
            let what = input.pick(&[
                id::AGENT_VS_ADD_DESTS,
                id::AGENT_VS_EDIT_DESTS,
                id::AGENT_VS_DEL_DESTS,
            ]);
            set(what, encode_list(&front, &list))
        }
        29 => {
            let what = input.pick(&[
                id::AGENT_ROUTE_ADD,
                id::AGENT_ROUTE_DEL,
                id::AGENT_ROUTE6_ADD,
                id::AGENT_ROUTE6_DEL,
            ]);
            set(what, compact(input).encode())
        }
        30 => {
            let what = input.pick(&[id::NETIF_SET_PORT, id::NETIF_SET_BOND]);
            let mut set_port = NicSet::default().encode();
            set_port[..5].copy_from_slice(b"dpdk0");
            set(what, set_port)
        }
        31 => get(id::SO_GET_SERVICE, service(input).encode()),
        32 => {
            let svc = service(input);
            let what = input.pick(&[id::SO_GET_DESTS, id::AGENT_VS_GET_DESTS]);
            get(what, svc.dest_table(svc.num_dests, svc.index).encode())
        }
        33 => get(id::GET_LADDR_GETALL, laddrs(input).encode()),
        34 => {
            let what = input.pick(&[
                id::GET_IFADDR_SHOW,
                id::AGENT_IFADDR_GET_BASE,
                id::AGENT_IFADDR_GET_STATS,
            ]);
            get(what, ifaddr(input).encode())
        }
        35 => get(id::GET_NEIGH_SHOW, neigh(input).encode()),
        36 => {
            let req = ConnReq {
                flag: input.pick(&[1, 3, 4, 9, u32::MAX]),
                whence: number(input),
                sockpair: SockPair::default(),
            };
            get(
                input.pick(&[id::GET_CONN_ALL, id::GET_CONN_SPECIFIED]),
                req.encode(),
            )
        }
        37 => {
            let front = ServicesFront {
                cid: 0,
                index: input.pick(&[0, 1, 2, 3]),
                count: input.pick(&[0, 1, 2, u16::MAX]),
            };
            get(
                input.pick(&[id::SO_GET_SERVICES, id::AGENT_SO_GET_SERVICES]),
                front.encode(),
            )
        }
        38 => {
            let what = input.pick(&[
                id::NETIF_GET_PORT_BASIC,
                id::NETIF_GET_PORT_STATS,
                id::NETIF_GET_PORT_XSTATS,
                id::NETIF_GET_PORT_EXT_INFO,
                id::NETIF_GET_BOND_STATUS,
                id::NETIF_GET_MADDR,
            ]);
            get(what, Name::<32>::truncated(input.pick(&NAMES)).encode())
        }
        _ => {
            let what = input.pick(&[
                id::NETIF_GET_LCORE_MASK,
                id::NETIF_GET_LCORE_BASIC,
                id::NETIF_GET_LCORE_STATS,
                id::NETIF_GET_PORT_LIST,
                id::IP6_STATS,
                id::GET_ROUTE_SHOW,
                id::GET_ROUTE6_SHOW,
            ]);
            get(what, vec![input.byte()])
        }
    };
    // A byte turned, or the length wrong.
    match input.byte() {
        224.. if !body.is_empty() => {
            let at = usize::from(input.word()) % body.len();
            body[at] = input.byte();
        }
        216..=223 => body.truncate(input.below(200)),
        208..=215 => body.extend(vec![0; input.below(200)]),
        _ => {}
    }
    (number_, kind, body)
}

/// What the lists hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Services.
    pub services: usize,
    /// Servers of all of them.
    pub dests: usize,
    /// Local addresses of all of them.
    pub laddrs: usize,
}

/// Reads every list and decodes it as the client does.
pub(super) fn check_lists(info: &[u8], mut get: impl FnMut(u32, &[u8]) -> Option<Vec<u8>>) -> Held {
    let mut held = Held::default();
    let info = Info::decode_lenient(info).expect("the daemon's information");
    let count = u16::try_from(info.num_services).expect("few services");
    for index in 0..3 {
        let front = ServicesFront {
            cid: 0,
            index,
            count,
        };
        let body = get(id::SO_GET_SERVICES, &front.encode()).expect("the services");
        let n = |f: &ServicesFront| usize::from(f.count);
        let (_, services) = decode_list::<ServicesFront, Service>(&body, Tail::Exact, n)
            .expect("a list of services");
        assert_eq!(services.len(), usize::from(count));
        held = Held {
            services: services.len(),
            ..Held::default()
        };
        for svc in &services {
            let dests = svc.dest_table(svc.num_dests, index).encode();
            let body = get(id::SO_GET_DESTS, &dests).expect("the servers of a service");
            let n = |t: &DestTable| t.num_dests as usize;
            let (_, list) =
                decode_list::<DestTable, Dest>(&body, Tail::Exact, n).expect("a list of servers");
            held.dests += list.len();
            let table = LaddrTable {
                index,
                ..LaddrTable::of(svc)
            };
            let body = get(id::GET_LADDR_GETALL, &table.encode()).expect("the local addresses");
            let n = |t: &LaddrTable| count_of(t.nladdrs);
            let (_, list) = decode_list::<LaddrTable, LaddrEntry>(&body, Tail::Exact, n)
                .expect("a list of them");
            held.laddrs += list.len();
        }
    }
    let all = ConnReq {
        flag: conn_get::ALL,
        ..ConnReq::default()
    };
    let body = get(id::GET_CONN_ALL, &all.encode()).expect("the connections");
    let n = |a: &ConnArray| a.nconns as usize;
    decode_list::<ConnArray, ConnEntry>(&body, Tail::Exact, n).expect("a list of connections");
    if let Some(body) = get(id::GET_NEIGH_SHOW, &Neigh::default().encode()) {
        decode_counted::<Neigh>(&body, Tail::Slack).expect("a list of neighbours");
    }
    held
}
