//! Services, servers and connections over the control socket, against a master
//! with real workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use ctl_lab::bodies::{dest, laddr, service};
use ctl_lab::{LCORES, Lab, MASTER, code};
use dpvs_core::service::{FwdMode, SchedKind, ServiceKey};
use dpvs_ctl::msg::{
    CheckConf, Dest, DestFront, DestTable, Match, Service, ServiceDest, ServicesFront, check_type,
    conn_flag, dest_flag, fwd_mode, svc_flag,
};
use dpvs_ctl::wire::{Tail, decode_list, encode_list};
use dpvs_ctl::{Af, Be16, ErrCode, Ip16, Kind, Name, Wire, id};

#[test]
fn services_are_added_listed_edited_and_removed() {
    let lab = Lab::start();
    let c = &lab.client;
    assert_eq!(c.version().unwrap(), "dpvs:v1.10-2");
    let info = c.info().unwrap();
    assert_eq!(
        (info.version, info.num_services, info.num_lcores),
        (0x01_0a02, 0, 2)
    );

    let web = service("192.0.2.1:80", "wrr");
    let six = service("[2001:db8::1]:443", "rr");
    c.add_service(&web).unwrap();
    c.add_service(&six).unwrap();
    // The answer comes when all workers have it.
    let key = ServiceKey {
        proto: 6,
        addr: "192.0.2.1".parse().unwrap(),
        port: 80,
    };
    for worker in 0..2 {
        assert_eq!(
            lab.snapshot(worker).services.get(&key).unwrap().sched,
            SchedKind::Wrr
        );
        assert_eq!(lab.snapshot(worker).services.len(), 2);
    }
    let list = c.services(0).unwrap();
    assert_eq!(list.len(), 2);
    let shown = list.iter().find(|s| s.af == Af::INET).unwrap();
    assert_eq!(shown.sched_name.text(), "wrr");
    assert_eq!(
        (shown.cid, shown.index, shown.flags),
        (MASTER, 0, svc_flag::HASHED)
    );
    assert_eq!(shown.netmask, web.netmask);
    for (index, lcore) in (1u8..).zip(LCORES) {
        assert_eq!(c.services(index).unwrap()[0].cid, lcore);
    }

    let mut edited = c.service(&web).unwrap();
    edited.sched_name = Name::truncated("wlc");
    edited.conn_timeout = 33;
    edited.flags |= svc_flag::EXPIRE_QUIESCENT;
    c.edit_service(&edited).unwrap();
    let shown = c.service(&web).unwrap();
    assert_eq!(
        (shown.sched_name.text().as_ref(), shown.conn_timeout),
        ("wlc", 33)
    );
    let there = lab.snapshot(1).services.get(&key).unwrap().clone();
    assert_eq!(
        (there.sched, there.conn_timeout, there.expire_quiescent),
        (SchedKind::Wlc, 33, true)
    );

    c.del_service(&web).unwrap();
    assert_eq!(c.info().unwrap().num_services, 1);
    c.flush_services().unwrap();
    assert_eq!(c.info().unwrap().num_services, 0);
    assert!(lab.snapshot(0).services.is_empty());
}

#[test]
fn refusals_about_services_have_the_codes_of_dpvs() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = service("192.0.2.1:80", "rr");
    let d = dest("10.0.0.1:80", 1);
    // Before there is any.
    assert_eq!(code(c.del_service(&s)), ErrCode::INVAL);
    assert_eq!(code(c.edit_service(&s)), ErrCode::INVAL);
    assert_eq!(code(c.add_dest(&s, &d)), ErrCode::INVAL);
    assert_eq!(code(c.edit_dest(&s, &d)), ErrCode::INVAL);
    assert_eq!(code(c.del_dest(&s, &d)), ErrCode::INVAL);
    assert_eq!(code(c.zero(Some(&s))), ErrCode::INVAL);
    assert_eq!(code(c.service(&s)), ErrCode::MSG_FAIL);
    assert_eq!(
        code(c.get(id::SO_GET_DESTS, &s.dest_table(0, 0).encode())),
        ErrCode::MSG_FAIL
    );
    assert_eq!(
        code(c.add_laddr(&laddr(&s, "10.0.0.9", "dpdk0"))),
        ErrCode::NOSERV
    );
    assert_eq!(code(c.laddrs(&s, 0)), ErrCode::NOSERV);

    c.add_service(&s).unwrap();
    assert_eq!(code(c.add_service(&s)), ErrCode::EXIST);
    assert_eq!(
        code(c.add_service(&Service { proto: 99, ..s })),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_service(&Service { proto: 58, ..s })),
        ErrCode::INVAL
    );
    // An ICMP service's port is a type and a code: that of an echo request.
    assert_eq!(
        code(c.add_service(&Service { proto: 1, ..s })),
        ErrCode::INVAL
    );
    for (proto, port) in [(132, 80), (1, 8 << 8)] {
        let other = Service {
            proto,
            port: Be16::new(port),
            ..s
        };
        c.add_service(&other).unwrap();
        assert_eq!(c.service(&other).unwrap().proto, proto);
        c.del_service(&other).unwrap();
    }
    assert_eq!(
        code(c.add_service(&service("192.0.2.2:80", "nosuch"))),
        ErrCode::NOTEXIST
    );
    for kind in SchedKind::ALL {
        let s = service("192.0.2.2:80", kind.name());
        c.add_service(&s).unwrap();
        assert_eq!(c.service(&s).unwrap().sched_name.text(), kind.name());
        c.del_service(&s).unwrap();
    }
    let unknown_size = Service {
        flags: svc_flag::MH_SIZE,
        ..service("192.0.2.2:80", "mh")
    };
    assert_eq!(code(c.add_service(&unknown_size)), ErrCode::INVAL);
    assert_eq!(
        code(c.edit_service(&service("192.0.2.1:80", "nosuch"))),
        ErrCode::NOTEXIST
    );
    assert_eq!(code(c.add_service(&Service::default())), ErrCode::INVAL);
    let mark = Service {
        af: Af::INET,
        proto: 6,
        fwmark: 7,
        sched_name: s.sched_name,
        ..Service::default()
    };
    assert_eq!(code(c.add_service(&mark)), ErrCode::NOTSUPP);
    assert_eq!(code(c.del_service(&mark)), ErrCode::INVAL);
    let matched = Match {
        iifname: Name::truncated("dpdk0"),
        ..Match::default()
    };
    assert_eq!(
        code(c.add_service(&Service {
            matched,
            af: Af::INET,
            ..Service::default()
        })),
        ErrCode::INVAL
    );
    // A match service is known by its match, byte for byte.
    let by_match = Service {
        matched,
        af: Af::INET,
        proto: 17,
        sched_name: s.sched_name,
        ..Service::default()
    };
    c.add_service(&by_match).unwrap();
    assert_eq!(code(c.add_service(&by_match)), ErrCode::EXIST);
    let mut wan = dest("192.0.2.20:0", 1);
    wan.set_fwd_mode(6);
    c.add_dest(&by_match, &wan).unwrap();
    let listed = c.service(&by_match).unwrap();
    assert_eq!((listed.matched, listed.port.get()), (matched, 0));
    assert_eq!(listed.num_dests, 1);
    let narrower = Match {
        oifname: Name::truncated("dpdk1"),
        ..matched
    };
    let other = Service {
        matched: narrower,
        ..by_match
    };
    assert_eq!(code(c.del_service(&other)), ErrCode::INVAL);
    c.del_service(&by_match).unwrap();
    assert_eq!(code(c.del_service(&by_match)), ErrCode::INVAL);
    let six = service("[2001:db8::1]:80", "rr");
    c.add_service(&six).unwrap();
    assert_eq!(
        code(c.edit_service(&Service { netmask: 0, ..six })),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.edit_service(&Service {
            netmask: 129,
            ..six
        })),
        ErrCode::INVAL
    );

    c.add_dest(&s, &d).unwrap();
    assert_eq!(code(c.add_dest(&s, &d)), ErrCode::EXIST);
    let upside = Dest {
        min_conn: 5,
        max_conn: 1,
        ..dest("10.0.0.2:80", 1)
    };
    assert_eq!(code(c.add_dest(&s, &upside)), ErrCode::NOTSUPP);
    assert_eq!(
        code(c.edit_dest(
            &s,
            &Dest {
                min_conn: 5,
                max_conn: 1,
                ..d
            }
        )),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.edit_dest(&s, &dest("10.0.0.3:80", 1))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.del_dest(&s, &dest("10.0.0.3:80", 1))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.add_dest(
            &s,
            &Dest {
                weight: 70000,
                ..dest("10.0.0.4:80", 1)
            }
        )),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_dest(
            &s,
            &Dest {
                fwdmode: 9,
                ..dest("10.0.0.4:80", 1)
            }
        )),
        ErrCode::INVAL
    );
    assert_eq!(
        code(c.add_dest(
            &s,
            &Dest {
                af: Af(7),
                ..dest("10.0.0.4:80", 1)
            }
        )),
        ErrCode::INVAL
    );
    assert_eq!(
        c.dests(&s, 0).unwrap().len(),
        1,
        "refused requests change nothing"
    );

    assert_eq!(
        code(c.add_laddr(&laddr(&s, "10.0.0.9", "eth7"))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.del_laddr(&laddr(&s, "10.0.0.9", "dpdk0"))),
        ErrCode::NOTEXIST
    );
    c.add_laddr(&laddr(&s, "10.0.0.9", "dpdk0")).unwrap();
    assert_eq!(
        code(c.set(id::SET_LADDR_ADD, &laddr(&s, "10.0.0.9", "dpdk0").encode())),
        ErrCode::EXIST
    );

    // Counts and indexes that do not fit, bodies of the wrong size.
    assert_eq!(
        code(
            c.get(
                id::SO_GET_SERVICES,
                &ServicesFront {
                    count: 9,
                    ..Default::default()
                }
                .encode()
            )
        ),
        ErrCode::MSG_FAIL
    );
    assert_eq!(
        code(
            c.get(
                id::SO_GET_SERVICES,
                &ServicesFront {
                    index: 3,
                    count: 2,
                    ..Default::default()
                }
                .encode()
            )
        ),
        ErrCode::INVAL
    );
    assert_eq!(code(c.get(id::SO_GET_SERVICES, &[0; 7])), ErrCode::INVAL);
    assert_eq!(
        code(c.get(id::SO_GET_DESTS, &s.dest_table(7, 0).encode())),
        ErrCode::MSG_FAIL
    );
    assert_eq!(code(c.get(id::SO_GET_DESTS, &[0; 143])), ErrCode::INVAL);
    for id in [9, 10, 11, 12] {
        assert_eq!(code(c.set(id, &s.encode()[..263])), ErrCode::INVAL, "{id}");
    }
    for id in [13, 14, 15] {
        assert_eq!(code(c.set(id, &[0; 383])), ErrCode::INVAL, "{id}");
    }
    assert_eq!(code(c.get(id::SO_SET_ADD, &[])), ErrCode::INVAL);
    assert_eq!(code(c.set(id::SO_GET_INFO, &[])), ErrCode::INVAL);
    assert_eq!(code(c.get(id::SVC_MAX, &[])), ErrCode::INVAL);
    // Longer than needed is no harm.
    let mut long = ServiceDest {
        service: s,
        dest: dest("10.0.0.5:80", 2),
    }
    .encode();
    long.extend_from_slice(&[0xaa; 100]);
    c.set(id::SO_SET_ADDDEST, &long).unwrap();
}

#[test]
fn garbage_behind_ipv4_addresses_and_in_unused_fields_is_ignored() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = service("192.0.2.1:80", "rr");
    let mut junk = s;
    junk.addr.0[4..].fill(0xee);
    junk.num_dests = 77;
    junk.cid = 9;
    junk.stats.conns = 5;
    c.add_service(&junk).unwrap();
    let mut d = dest("10.0.0.1:80", 1);
    d.addr.0[4..].fill(0xdd);
    d.proto = 3;
    d.actconns = 4;
    let odd = Service { flags: 3, ..junk };
    c.add_dest(&odd, &d).unwrap();
    let shown = &c.dests(&s, 0).unwrap()[0];
    assert_eq!(shown.addr, Ip16::from_ip("10.0.0.1".parse().unwrap()));
    assert_eq!((shown.actconns, shown.proto), (0, 0));
    assert_eq!(c.service(&s).unwrap().num_dests, 1);
    c.del_dest(&junk, &d).unwrap();
    c.del_service(&junk).unwrap();
}

#[test]
fn servers_are_listed_newest_first_with_what_was_set() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = service("192.0.2.1:80", "wrr");
    c.add_service(&s).unwrap();
    for n in 1..=600 {
        c.add_dest(
            &s,
            &Dest {
                max_conn: n,
                min_conn: 1,
                ..dest(&format!("10.0.{}.{}:80", n >> 8, n & 255), n)
            },
        )
        .unwrap();
    }
    let list = c.dests(&s, 0).unwrap();
    assert_eq!(list.len(), 600);
    assert_eq!(
        list.iter().map(|d| d.weight).collect::<Vec<_>>(),
        (1..=600).rev().collect::<Vec<_>>()
    );
    assert_eq!((list[0].max_conn, list[0].min_conn), (600, 1));
    assert_eq!(list[0].conn_flags, conn_flag::INACTIVE | 5);
    assert_eq!(
        (list[0].flags, list[0].fwdmode),
        (dest_flag::AVAILABLE, fwd_mode::FULLNAT)
    );
    let mut down = dest("10.0.0.1:80", 0);
    down.flags = dest_flag::INHIBITED;
    c.edit_dest(&s, &down).unwrap();
    let list = c.dests(&s, 2).unwrap();
    let d = list.last().unwrap();
    assert_eq!(
        (d.weight, d.flags & dest_flag::INHIBITED),
        (0, dest_flag::INHIBITED)
    );
    let there = lab.snapshot(0).services.iter().next().unwrap().clone();
    assert!(!there.dests[599].usable());
    assert_eq!(there.dests[0].mode, FwdMode::FullNat);
    // Both views' headers, byte for byte.
    let ask = |index| {
        c.get(id::SO_GET_DESTS, &s.dest_table(600, index).encode())
            .unwrap()
    };
    let (sum, _) =
        decode_list::<DestTable, Dest>(&ask(0), Tail::Exact, |t| t.num_dests as usize).unwrap();
    assert_eq!(
        sum,
        DestTable {
            af: s.af,
            proto: 6,
            port: s.port,
            num_dests: 600,
            cid: MASTER,
            ..Default::default()
        }
    );
    let (one, _) =
        decode_list::<DestTable, Dest>(&ask(2), Tail::Exact, |t| t.num_dests as usize).unwrap();
    assert_eq!(
        one,
        DestTable {
            cid: LCORES[1],
            ..s.dest_table(600, 2)
        }
    );
}

#[test]
fn passive_checks_get_their_defaults() {
    let lab = Lab::start();
    let c = &lab.client;
    let with = |port: u16, conf: CheckConf| {
        let s = Service {
            check_conf: conf,
            ..service(&format!("192.0.2.1:{port}"), "rr")
        };
        c.add_service(&s).unwrap();
        c.service(&s).unwrap().check_conf
    };
    let passive = CheckConf {
        types: check_type::PASSIVE,
        ..CheckConf::default()
    };
    let full = with(
        1,
        CheckConf {
            dest_inhibit_min: 7,
            ..passive
        },
    );
    assert_eq!(
        full,
        CheckConf {
            types: check_type::PASSIVE,
            dest_down_notice_num: 1,
            dest_up_notice_num: 1,
            dest_down_wait: 3,
            dest_inhibit_min: 7,
            dest_inhibit_max: 3600
        }
    );
    let down_only = with(2, passive);
    assert_eq!(
        (
            down_only.dest_down_notice_num,
            down_only.dest_up_notice_num,
            down_only.dest_inhibit_max
        ),
        (1, 0, 0)
    );
    let other = CheckConf {
        types: check_type::TCP,
        ..CheckConf::default()
    };
    assert_eq!(with(3, other), other);
}

/// Also where one takes the place of another at once, as a script's commands over one
/// connection do.
#[test]
fn the_newest_match_service_comes_first() {
    let lab = Lab::start();
    let of = |port: u16| {
        let mut s = Service {
            af: Af::INET,
            proto: 6,
            sched_name: Name::truncated("rr"),
            ..Service::default()
        };
        s.matched.af = Af::INET;
        (s.matched.drange.min_port, s.matched.drange.max_port) = (port.into(), port.into());
        s
    };
    let mut pipe = lab.client.session();
    pipe.call(id::SO_SET_ADD, Kind::Set, &of(1).encode())
        .unwrap();
    pipe.call(id::SO_SET_ADD, Kind::Set, &of(2).encode())
        .unwrap();
    pipe.send(id::SO_SET_DEL, Kind::Set, &of(1).encode());
    pipe.send(id::SO_SET_ADD, Kind::Set, &of(3).encode());
    pipe.flush();
    pipe.recv().unwrap();
    pipe.recv().unwrap();
    let snap = lab.snapshot(0);
    let ports: Vec<u16> = snap
        .services
        .matches()
        .iter()
        .map(|s| {
            *s.matching
                .as_ref()
                .unwrap()
                .dst
                .ports
                .as_ref()
                .unwrap()
                .start()
        })
        .collect();
    assert_eq!(ports, [3, 2]);
}

#[test]
fn the_agents_lists_of_servers_apply_whole_or_not_at_all() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = service("192.0.2.1:80", "rr");
    let front = |n: u32| DestFront {
        af: s.af,
        proto: 6,
        port: s.port,
        num_dests: n,
        addr: s.addr,
        ..Default::default()
    };
    let two = [dest("10.0.0.1:80", 1), dest("10.0.0.2:80", 2)];
    assert_eq!(
        code(c.set(id::AGENT_VS_ADD_DESTS, &encode_list(&front(2), &two))),
        ErrCode::INVAL
    );
    c.add_service(&s).unwrap();
    c.set(id::AGENT_VS_ADD_DESTS, &encode_list(&front(2), &two))
        .unwrap();
    // Again, with another weight: an edit.
    c.set(
        id::AGENT_VS_ADD_DESTS,
        &encode_list(&front(1), &[dest("10.0.0.1:80", 9)]),
    )
    .unwrap();
    let edits = [dest("10.0.0.2:80", 5), dest("10.0.0.7:80", 5)];
    assert_eq!(
        code(c.set(id::AGENT_VS_EDIT_DESTS, &encode_list(&front(2), &edits))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        code(c.set(id::AGENT_VS_ADD_DESTS, &encode_list(&front(2), &edits[..1]))),
        ErrCode::INVAL
    );
    // What a server cannot be it cannot be by this message either.
    for mode in [fwd_mode::MASQ, fwd_mode::DROUTE, fwd_mode::SNAT] {
        let mut other = dest("[2001:db8::1]:80", 1);
        other.set_fwd_mode(mode);
        let both = [dest("10.0.0.3:80", 1), other];
        assert_eq!(
            code(c.set(id::AGENT_VS_ADD_DESTS, &encode_list(&front(2), &both))),
            ErrCode::INVAL,
            "mode {mode}"
        );
    }
    let reply = c.get(id::AGENT_VS_GET_DESTS, &front(0).encode()).unwrap();
    let (_, list) =
        decode_list::<DestFront, Dest>(&reply, Tail::Exact, |f| f.num_dests as usize).unwrap();
    assert_eq!(list.iter().map(|d| d.weight).collect::<Vec<_>>(), [2, 9]);
    c.set(id::AGENT_VS_DEL_DESTS, &encode_list(&front(2), &two))
        .unwrap();
    assert!(c.dests(&s, 0).unwrap().is_empty());
    let reply = c
        .get(
            id::AGENT_SO_GET_SERVICES,
            &ServicesFront {
                count: 99,
                ..Default::default()
            }
            .encode(),
        )
        .unwrap();
    let (front, _) =
        decode_list::<ServicesFront, Service>(&reply, Tail::Exact, |f| f.count.into()).unwrap();
    assert_eq!(front.count, 1);
}
