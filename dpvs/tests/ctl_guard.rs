//! Sets, black and white lists and rate limits over the control socket, and what
//! the workers are given of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use std::net::IpAddr;

use ctl_lab::{Lab, bodies, code};
use dpvs_core::frame::PortId;
use dpvs_core::guard::Guard;
use dpvs_core::limit::Meter;
use dpvs_core::service::ServiceKey;
use dpvs_core::tc::Rule;
use dpvs_ctl::msg::{
    AclConf, Dest, DestExt, Encap, FifoOpt, IpsetParam, LaddrDetail, LaddrFront, Match, NicSet,
    RateLimit, Service, ServiceDest, TcCls, TcClsIpset, TcClsMatch, TcClsResult, TcConf, TcQsch,
    Vlan, encap_kind, fwd_mode, ipset_flag, ipset_op, nic_set, tc_handle, tc_obj, tc_op,
};
use dpvs_ctl::types::Blob;
use dpvs_ctl::wire::{Tail, decode_list};
use dpvs_ctl::{Af, Be16, CtlError, ErrCode, Ip16, Name, Wire, id};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(name: &str, opcode: u16) -> IpsetParam {
    IpsetParam {
        name: Name::truncated(name),
        opcode,
        ..IpsetParam::default()
    }
}

fn create(name: &str, kind: &str) -> IpsetParam {
    IpsetParam {
        kind: Name::truncated(kind),
        ..set(name, ipset_op::CREATE)
    }
}

fn entry(name: &str, opcode: u16, first: &str, last: &str) -> IpsetParam {
    IpsetParam {
        min_addr: Ip16::from_ip(ip(first)),
        max_addr: Ip16::from_ip(ip(last)),
        ..set(name, opcode)
    }
}

fn acl(subject: &str) -> AclConf {
    let (source, ipset) = match subject.strip_prefix("ipset:") {
        Some(name) => (Ip16::ANY, Name::truncated(name)),
        None => (Ip16::from_ip(ip(subject)), Name::default()),
    };
    AclConf {
        vaddr: Ip16::from_ip(ip("192.0.2.10")),
        vport: Be16::new(80),
        proto: 6,
        af: Af::INET.as_u8(),
        subject: source,
        ipset,
    }
}

fn key() -> ServiceKey {
    ServiceKey {
        proto: 6,
        addr: ip("192.0.2.10"),
        port: 80,
    }
}

fn refused(answer: Result<(), CtlError>) -> ErrCode {
    code(answer)
}

#[test]
fn sets() {
    let lab = Lab::start();
    let c = &lab.client;
    assert_eq!(
        refused(c.set_ipset(&create("a", "hash:mac"))),
        ErrCode::NOTSUPP
    );
    c.set_ipset(&create("a", "hash:ip")).unwrap();
    assert_eq!(
        refused(c.set_ipset(&create("a", "hash:ip"))),
        ErrCode::EXIST
    );
    let add = |first, last| c.set_ipset(&entry("a", ipset_op::ADD, first, last));
    add("10.0.0.1", "10.0.0.9").unwrap();
    assert_eq!(refused(add("10.0.0.9", "10.0.0.12")), ErrCode::EXIST);
    let forced = IpsetParam {
        flag: ipset_flag::FORCE,
        ..entry("a", ipset_op::ADD, "10.0.0.9", "10.0.0.12")
    };
    c.set_ipset(&forced).unwrap();
    let test = |addr| c.test_ipset(&entry("a", ipset_op::TEST, addr, addr));
    assert_eq!(test("10.0.0.12").unwrap(), 1);
    assert_eq!(test("10.0.0.13").unwrap(), 0);
    let del = |addr| c.set_ipset(&entry("a", ipset_op::DEL, addr, addr));
    del("10.0.0.12").unwrap();
    assert_eq!(refused(del("10.0.0.12")), ErrCode::NOTEXIST);
    let listed = c.ipsets(&set("a", ipset_op::LIST)).unwrap();
    let (info, members) = &listed[0];
    assert_eq!((info.entries, members.len()), (11, 11));
    assert_eq!(
        members[0].addr.v4(),
        "10.0.0.1".parse::<std::net::Ipv4Addr>().unwrap()
    );
    assert_eq!(info.detail.read::<[u32; 3]>(), [0, 1024, 65_535]);
    // Sixty-five thousand and more do not fit, and nothing of them stays.
    assert_eq!(refused(add("10.8.0.0", "10.9.0.0")), ErrCode::NOMEM);
    assert_eq!(
        c.ipsets(&set("a", ipset_op::LIST)).unwrap()[0].0.entries,
        11
    );
    let range = IpsetParam {
        cidr: 24,
        ..entry("b", ipset_op::CREATE, "10.0.0.0", "10.0.0.255")
    };
    let bitmap = IpsetParam {
        kind: Name::truncated("bitmap:ip,mac"),
        ..range
    };
    c.set_ipset(&bitmap).unwrap();
    let outside = c.set_ipset(&entry("b", ipset_op::ADD, "10.0.1.1", "10.0.1.1"));
    assert_eq!(refused(outside), ErrCode::INVAL);
    // With their devices.
    c.set_ipset(&create("c", "hash:net,port,iface")).unwrap();
    let with = |dev: &str| IpsetParam {
        proto: 6,
        min_port: 80,
        max_port: 81,
        cidr: 24,
        iface: Name::truncated(dev),
        ..entry("c", ipset_op::ADD, "10.0.0.0", "10.0.0.255")
    };
    assert_eq!(refused(c.set_ipset(&with("dpdk9"))), ErrCode::NODEV);
    c.set_ipset(&with("dpdk0")).unwrap();
    let (info, members) = &c.ipsets(&set("c", ipset_op::LIST)).unwrap()[0];
    assert_eq!(
        (info.entries, members[1].port, members[1].cidr),
        (2, 81, 24)
    );
    assert_eq!(members[1].iface.text(), "dpdk0");
    // A network of one address has its length: dpip sorts by it.
    let host = IpsetParam {
        cidr: 0,
        min_addr: Ip16::from_ip(ip("10.0.0.7")),
        max_addr: Ip16::from_ip(ip("10.0.0.7")),
        ..with("dpdk0")
    };
    c.set_ipset(&host).unwrap();
    let members = &c.ipsets(&set("c", ipset_op::LIST)).unwrap()[0].1;
    assert_eq!(members.iter().filter(|m| m.cidr == 32).count(), 2);
    let members = &c.ipsets(&set("a", ipset_op::LIST)).unwrap()[0].1;
    assert!(members.iter().all(|m| m.cidr == 0));
    assert_eq!(c.ipsets(&set("", ipset_op::LIST)).unwrap().len(), 3);
    // The workers have them.
    let sets = lab.snapshot(1).guard.sets.clone();
    assert_eq!(sets[0].as_ref().unwrap().len(), 11);
    c.set_ipset(&set("a", ipset_op::FLUSH)).unwrap();
    assert_eq!(lab.snapshot(1).guard.sets[0].as_ref().unwrap().len(), 0);
    c.set_ipset(&set("a", ipset_op::DESTROY)).unwrap();
    assert!(lab.snapshot(0).guard.sets[0].is_none());
    assert_eq!(
        refused(c.set_ipset(&set("a", ipset_op::DESTROY))),
        ErrCode::NOTEXIST
    );
    assert_eq!(
        refused(c.set_ipset(&set("b", ipset_op::TEST))),
        ErrCode::INVAL
    );
}

#[test]
fn lists() {
    let lab = Lab::start();
    let c = &lab.client;
    let set_acl = |id, subject: &str| c.set(id, &acl(subject).encode());
    // No service needs to be there, and what is there already is no fault.
    for _ in 0..2 {
        set_acl(id::SET_BLKLST_ADD, "203.0.113.9").unwrap();
    }
    assert_eq!(
        refused(set_acl(id::SET_BLKLST_ADD, "ipset:bad")),
        ErrCode::INVAL
    );
    c.set_ipset(&create("bad", "hash:net")).unwrap();
    set_acl(id::SET_BLKLST_ADD, "ipset:bad").unwrap();
    set_acl(id::SET_WHTLST_ADD, "203.0.113.8").unwrap();
    assert_eq!(
        refused(c.set_ipset(&set("bad", ipset_op::DESTROY))),
        ErrCode::BUSY
    );
    let body = c.get(id::GET_BLKLST_GETALL, &[]).unwrap();
    assert_eq!(body.len(), 4 + 2 * AclConf::SIZE);
    assert_eq!(AclConf::take(&body[4..]), acl("203.0.113.9"));
    assert_eq!(AclConf::take(&body[4 + AclConf::SIZE..]), acl("ipset:bad"));
    let guard = lab.snapshot(1).guard.clone();
    let lists = guard.lists.get(&key()).unwrap();
    assert_eq!(lists.black.sources.len(), 1);
    assert_eq!(lists.black.sets.len(), 1);
    assert_eq!(lists.white.sources.len(), 1);
    set_acl(id::SET_BLKLST_DEL, "203.0.113.9").unwrap();
    assert_eq!(
        refused(set_acl(id::SET_BLKLST_DEL, "203.0.113.9")),
        ErrCode::NOTEXIST
    );
    // They go with their service, and the set is nobody's then.
    let service = Service {
        sched_name: Name::truncated("rr"),
        ..Service::at(6, "192.0.2.10:80".parse().unwrap())
    };
    c.set(id::SO_SET_ADD, &service.encode()).unwrap();
    c.set(id::SO_SET_DEL, &service.encode()).unwrap();
    assert!(!lab.snapshot(0).guard.is_on());
    assert_eq!(c.get(id::GET_WHTLST_GETALL, &[]).unwrap(), [0; 4]);
    c.set_ipset(&set("bad", ipset_op::DESTROY)).unwrap();
}

/// A service that is kept because one server cannot be forwarded to has them as well.
#[test]
fn lists_of_kept_services() {
    let lab = Lab::keeping();
    let c = &lab.client;
    let service = Service {
        sched_name: Name::truncated("rr"),
        bps: 1_000_000,
        ..Service::at(6, "192.0.2.10:80".parse().unwrap())
    };
    for end in [id::SO_SET_DEL, id::SO_SET_FLUSH] {
        c.set(id::SO_SET_ADD, &service.encode()).unwrap();
        c.set(id::SET_BLKLST_ADD, &acl("203.0.113.9").encode())
            .unwrap();
        let mut odd = DestExt {
            both: ServiceDest {
                service: service.key(),
                dest: Dest {
                    af: Af::INET,
                    addr: Ip16::from_ip(ip("10.0.0.1")),
                    weight: 1,
                    ..Dest::default()
                },
            },
            encap: Encap {
                kind: encap_kind::VXLAN,
                ..Encap::default()
            },
        };
        odd.both.dest.set_fwd_mode(fwd_mode::TUNNEL);
        c.set(id::SET_DEST_ADD_EXT, &odd.encode()).unwrap();
        assert!(lab.snapshot(0).services.is_empty(), "it is kept only");
        c.set(end, &service.encode()).unwrap();
        assert!(!lab.snapshot(0).guard.is_on());
        assert_eq!(c.get(id::GET_BLKLST_GETALL, &[]).unwrap(), [0; 4]);
        assert_eq!(c.limits().unwrap(), []);
    }
}

#[test]
fn limits() {
    let lab = Lab::start();
    let c = &lab.client;
    let limit = RateLimit {
        vaddr: Ip16::from_ip(ip("192.0.2.10")),
        vport: Be16::new(80),
        proto: 6,
        af: Af::INET.as_u8(),
        pps: 1000,
        bps: 5_000_000,
        ..RateLimit::default()
    };
    let none = RateLimit {
        pps: 0,
        bps: 0,
        ..limit
    };
    assert_eq!(refused(c.set_limit(&none)), ErrCode::NOTEXIST);
    c.set_limit(&limit).unwrap();
    c.set_limit(&RateLimit {
        proto: 0,
        vport: Be16::new(0),
        cps: 7,
        ..none
    })
    .unwrap();
    assert_eq!(c.limits().unwrap().len(), 2);
    let total = |worker, key: &ServiceKey, meter| {
        let snap = lab.snapshot(worker);
        snap.guard.limits.get(key).unwrap().total[meter as usize].per_second
    };
    assert_eq!(total(0, &key(), Meter::InPackets), 1000);
    assert_eq!(total(1, &Guard::vip(key().addr), Meter::Conns), 7);
    // A service's own fields count as well, and are listed.
    let service = Service {
        sched_name: Name::truncated("rr"),
        bps: 1_000_000,
        limit_proportion: 90,
        ..Service::at(6, "192.0.2.10:80".parse().unwrap())
    };
    c.set(id::SO_SET_ADD, &service.encode()).unwrap();
    assert_eq!(total(0, &key(), Meter::InBits), 1_000_000);
    assert_eq!(total(0, &key(), Meter::OutBits), 1_000_000);
    let listed = c.services(0).unwrap();
    assert_eq!((listed[0].bps, listed[0].limit_proportion), (1_000_000, 90));
    assert_eq!(
        lab.snapshot(0).guard.limits.get(&key()).unwrap().percent,
        90
    );
    // Those are no other's to remove, and nobody is told that they were.
    c.set_limit(&none).unwrap();
    assert_eq!(c.limits().unwrap().len(), 2);
    assert_eq!(refused(c.set_limit(&none)), ErrCode::BUSY);
    c.set_limit(&limit).unwrap();
    // keepalived says 100 for no limit.
    let plain = Service {
        bps: 0,
        limit_proportion: 100,
        ..service
    };
    c.set(id::SO_SET_EDIT, &plain.encode()).unwrap();
    assert_eq!(total(0, &key(), Meter::InBits), 5_000_000);
    c.set_limit(&none).unwrap();
    assert_eq!(c.limits().unwrap().len(), 1);
    assert!(lab.snapshot(0).guard.limits.get(&key()).is_none());
    for bad in [
        RateLimit { proto: 1, ..limit },
        RateLimit { proto: 0, ..limit },
        RateLimit {
            percent: 101,
            ..limit
        },
        RateLimit {
            vaddr: Ip16::ANY,
            ..limit
        },
    ] {
        assert_eq!(refused(c.set_limit(&bad)), ErrCode::INVAL);
    }
}

#[test]
fn limits_of_match_services() {
    let lab = Lab::start();
    let c = &lab.client;
    let service = Service {
        af: Af::INET,
        proto: 17,
        sched_name: Name::truncated("rr"),
        matched: Match {
            af: Af::INET,
            oifname: Name::truncated("dpdk0"),
            ..Match::default()
        },
        bps: 1_000_000,
        limit_proportion: 90,
        ..Service::default()
    };
    c.set(id::SO_SET_ADD, &service.encode()).unwrap();
    let snap = lab.snapshot(0);
    let key = snap.services.matches()[0].key;
    let limit = snap.guard.limits.get(&key).expect("it is in force");
    let rate = limit.total[Meter::OutBits as usize].per_second;
    assert_eq!((rate, limit.percent), (1_000_000, 90));
    assert_eq!(c.limits().unwrap().len(), 1);
    // The same again leaves its buckets as they are.
    c.set(id::SO_SET_EDIT, &service.encode()).unwrap();
    let again = lab.snapshot(0);
    assert_eq!(again.guard.limits.get(&key).unwrap().uid, limit.uid);
    c.set(id::SO_SET_DEL, &service.encode()).unwrap();
    assert!(lab.snapshot(0).guard.limits.is_empty());
}

fn tc<T: Wire>(obj: u32, param: &T) -> TcConf {
    TcConf {
        obj,
        ifname: Name::truncated("dpdk0"),
        param: Blob::of(param),
        ..TcConf::default()
    }
}

fn fifo(handle: u32, parent: u32, limit: u32) -> TcQsch {
    TcQsch {
        handle,
        parent,
        kind: Name::truncated("pfifo"),
        qopt: Blob::of(&FifoOpt { limit }),
        ..TcQsch::default()
    }
}

/// The number of a removed device is another one's some day: nothing may be left that
/// says something of it.
#[test]
fn a_removed_device_takes_its_rules_along() {
    let lab = Lab::start();
    let c = &lab.client;
    let vlan = |name: &str, vlan_id| Vlan {
        real_dev: Name::truncated("dpdk0"),
        ifname: Name::truncated(name),
        vlan_proto: 0x8100,
        vlan_id,
    };
    let red = Match {
        af: Af::INET,
        oifname: Name::truncated("red"),
        ..Match::default()
    };
    let service = Service {
        af: Af::INET,
        proto: 17,
        sched_name: Name::truncated("rr"),
        matched: red,
        ..Service::default()
    };
    c.set(id::SO_SET_ADD, &service.encode()).unwrap();
    let oif = || {
        lab.snapshot(0).services.matches()[0]
            .matching
            .clone()
            .unwrap()
            .oif
    };
    // It is not there yet: no packet's service, not every packet's.
    let nobody = Some(PortId(u16::MAX));
    assert_eq!(oif(), nobody);
    c.add_vlan(&vlan("red", 9)).unwrap();
    assert_eq!(oif(), Some(PortId(2)));

    let of = |name: &str, conf: TcConf| TcConf {
        ifname: Name::truncated(name),
        ..conf
    };
    let root = fifo(tc_handle::ROOT, 0, 10);
    let qsch = of("red", tc(tc_obj::QSCH, &root));
    c.set_tc(id::TC_ADD, &qsch).unwrap();
    c.set_ipset(&create("slow", "hash:ip")).unwrap();
    let by_set = TcCls {
        sch_id: tc_handle::ROOT,
        kind: Name::truncated("ipset"),
        pkt_type: Be16::new(0x0800),
        copt: Blob::of(&TcClsIpset {
            setname: Name::truncated("slow"),
            dst_match: 1,
            result: TcClsResult { drop: 1, sch_id: 0 },
        }),
        ..TcCls::default()
    };
    c.set_tc(id::TC_ADD, &of("red", tc(tc_obj::CLS, &by_set)))
        .unwrap();
    let busy = c.set_ipset(&set("slow", ipset_op::DESTROY));
    assert_eq!(refused(busy), ErrCode::BUSY);
    // Named by another device's pattern, and by a set.
    c.set_tc(id::TC_ADD, &tc(tc_obj::QSCH, &root)).unwrap();
    let by_device = TcCls {
        kind: Name::truncated("match"),
        copt: Blob::of(&TcClsMatch {
            matched: red,
            result: TcClsResult { drop: 1, sch_id: 0 },
            ..TcClsMatch::default()
        }),
        ..by_set
    };
    c.set_tc(id::TC_ADD, &tc(tc_obj::CLS, &by_device)).unwrap();
    let on = |dev: &str| {
        let on = NicSet {
            pname: Name::truncated(dev),
            flags: nic_set::TC_EGRESS_ON,
            ..NicSet::default()
        };
        c.set(id::NETIF_SET_PORT, &on.encode()).unwrap();
    };
    on("dpdk0");
    let named = || match &lab.snapshot(0).tc.ports[0][0][0].classes[0].rule {
        Rule::Match { oif, .. } => *oif,
        rule @ Rule::Set { .. } => panic!("{rule:?}"),
    };
    assert_eq!(named(), Some(PortId(2)));
    c.set_ipset(&create("nets", "hash:net,port,iface")).unwrap();
    let element = IpsetParam {
        iface: Name::truncated("red"),
        proto: 6,
        min_port: 80,
        max_port: 81,
        ..entry("nets", ipset_op::ADD, "10.0.0.0", "10.0.0.255")
    };
    c.set_ipset(&element).unwrap();
    let members = || {
        let sets = lab.snapshot(0).guard.sets.clone();
        sets.iter().flatten().map(|set| set.len()).sum::<usize>()
    };
    assert_eq!(members(), 2);

    let web = bodies::service("192.0.2.10:80", "rr");
    c.add_service(&web).unwrap();
    c.add_laddr(&bodies::laddr(&web, "10.0.0.200", "red"))
        .unwrap();
    // The device's name as agents see it.
    let laddr_of = || {
        let front = LaddrFront {
            af: web.af,
            proto: web.proto.into(),
            raw_port: web.port.get().to_be().into(),
            addr: web.addr,
            ..LaddrFront::default()
        };
        let body = c.get(id::AGENT_VS_GET_LADDR, &front.encode()).unwrap();
        let count = |f: &LaddrFront| f.count as usize;
        let (_, list) = decode_list::<LaddrFront, LaddrDetail>(&body, Tail::Exact, count).unwrap();
        list[0].ifname.to_string()
    };
    assert_eq!(laddr_of(), "red");

    c.del_vlan(&vlan("red", 9)).unwrap();
    assert_eq!((oif(), named(), members()), (nobody, nobody, 0));
    c.set_ipset(&set("slow", ipset_op::DESTROY)).unwrap();
    c.add_vlan(&vlan("blue", 10)).unwrap();
    assert_eq!(laddr_of(), "");
    assert_eq!((oif(), named()), (nobody, nobody));
    let shown = c.tc(&of("blue", tc(tc_obj::QSCH, &fifo(0, 0, 0)))).unwrap();
    assert_eq!(shown.len(), 0);
    c.add_vlan(&vlan("red", 9)).unwrap();
    assert_eq!((oif(), named()), (Some(PortId(3)), Some(PortId(3))));
    // What it receives its port has had.
    let ingress = of("red", tc(tc_obj::QSCH, &fifo(tc_handle::INGRESS, 0, 10)));
    assert_eq!(refused(c.set_tc(id::TC_ADD, &ingress)), ErrCode::NOTSUPP);
}

#[test]
fn traffic_control() {
    let lab = Lab::start();
    let c = &lab.client;
    let root = tc_handle::ROOT;
    let qsch = |id, q: &TcQsch| c.set_tc(id, &tc(tc_obj::QSCH, q));
    let cls = |id, q: &TcCls| c.set_tc(id, &tc(tc_obj::CLS, q));
    let show = |q: &TcQsch| c.tc(&tc(tc_obj::QSCH, q));
    assert_eq!(show(&fifo(0, 0, 0)).unwrap().len(), 0);
    let orphan = qsch(id::TC_ADD, &fifo(0x1_0000, root, 10));
    assert_eq!(refused(orphan), ErrCode::NOTEXIST);
    qsch(id::TC_ADD, &fifo(root, 0, 10)).unwrap();
    assert_eq!(
        refused(qsch(id::TC_ADD, &fifo(root, 0, 10))),
        ErrCode::EXIST
    );
    // A handle of the daemon's.
    qsch(id::TC_ADD, &fifo(0, root, 20)).unwrap();
    let listed: Vec<TcQsch> = show(&fifo(0, 0, 0))
        .unwrap()
        .iter()
        .map(Blob::read)
        .collect();
    assert_eq!(listed.len(), 2);
    assert_eq!((listed[1].handle, listed[1].parent), (0x8001_0000, root));
    assert_eq!(listed[1].qopt.read::<FifoOpt>().limit, 20);
    let bad = TcQsch {
        kind: Name::truncated("tbf"),
        ..fifo(root, 0, 0)
    };
    assert_eq!(refused(qsch(id::TC_CHANGE, &bad)), ErrCode::INVAL);
    qsch(id::TC_CHANGE, &fifo(root, 0, 30)).unwrap();
    let unknown = TcQsch {
        kind: Name::truncated("red"),
        ..fifo(0, root, 0)
    };
    assert_eq!(refused(qsch(id::TC_ADD, &unknown)), ErrCode::NOTSUPP);
    // Classifiers.
    let by_set = TcCls {
        sch_id: root,
        kind: Name::truncated("ipset"),
        pkt_type: Be16::new(0x0800),
        copt: Blob::of(&TcClsIpset {
            setname: Name::truncated("slow"),
            dst_match: 1,
            result: TcClsResult {
                drop: 0,
                sch_id: 0x8001_0000,
            },
        }),
        ..TcCls::default()
    };
    assert_eq!(refused(cls(id::TC_ADD, &by_set)), ErrCode::NOTEXIST);
    c.set_ipset(&create("slow", "hash:ip")).unwrap();
    cls(id::TC_ADD, &by_set).unwrap();
    let mut from = Match {
        af: Af::INET,
        ..Match::default()
    };
    from.srange.min_addr = Ip16::from_ip(ip("10.0.0.1"));
    from.srange.min_port = Be16::new(53);
    let urgent = TcCls {
        priority: 5,
        kind: Name::truncated("match"),
        copt: Blob::of(&TcClsMatch {
            proto: 6,
            matched: from,
            result: TcClsResult { drop: 1, sch_id: 0 },
        }),
        ..by_set
    };
    cls(id::TC_ADD, &urgent).unwrap();
    assert_eq!(
        refused(c.set_ipset(&set("slow", ipset_op::DESTROY))),
        ErrCode::BUSY
    );
    let of_root = TcCls {
        sch_id: root,
        ..TcCls::default()
    };
    let listed = c.tc(&tc(tc_obj::CLS, &of_root)).unwrap();
    let listed: Vec<TcCls> = listed.iter().map(Blob::read).collect();
    let order: Vec<i32> = listed.iter().map(|l| l.priority).collect();
    assert_eq!(order, [5, 0]);
    // One address and one port go from themselves to themselves.
    let range = listed[0].copt.read::<TcClsMatch>().matched.srange;
    assert_eq!(range.max_addr, from.srange.min_addr);
    assert_eq!(range.max_port.get(), 53);
    // The workers get it once the device's switch is on.
    assert!(
        lab.snapshot(1)
            .tc
            .ports
            .iter()
            .flatten()
            .all(|s| s.is_empty())
    );
    let on = NicSet {
        pname: Name::truncated("dpdk0"),
        flags: nic_set::TC_EGRESS_ON,
        ..NicSet::default()
    };
    c.set(id::NETIF_SET_PORT, &on.encode()).unwrap();
    let snap = lab.snapshot(1);
    let egress = &snap.tc.ports[0][0];
    assert_eq!((egress.len(), egress[0].classes.len()), (2, 2));
    assert!(snap.tc.ports[0][1].is_empty());
    let every = TcConf {
        op_flags: tc_op::STATS | tc_op::VERBOSE,
        ..tc(tc_obj::QSCH, &fifo(0, 0, 0))
    };
    // Two of the master's, two of each worker's.
    assert_eq!(c.tc(&every).unwrap().len(), 6);
    qsch(id::TC_DEL, &fifo(root, 0, 0)).unwrap();
    assert_eq!(show(&fifo(0, 0, 0)).unwrap().len(), 0);
    assert!(lab.snapshot(0).tc.ports[0][0].is_empty());
    c.set_ipset(&set("slow", ipset_op::DESTROY)).unwrap();
}

/// All hashes together hold what `ipset_hash_pool_size` says, bitmaps aside.
#[test]
fn sets_have_a_bound() {
    let lab = Lab::start();
    let c = &lab.client;
    let fill = |n: u8| {
        let name = format!("s{n}");
        c.set_ipset(&create(&name, "hash:ip")).unwrap();
        let (first, last) = (format!("10.{n}.0.0"), format!("10.{n}.255.254"));
        c.set_ipset(&entry(&name, ipset_op::ADD, &first, &last))
    };
    for n in 0..4 {
        fill(n).unwrap();
    }
    assert_eq!(refused(fill(4)), ErrCode::NOMEM);
    let one = entry("s4", ipset_op::ADD, "10.4.0.1", "10.4.0.3");
    c.set_ipset(&one).unwrap();
    let more = entry("s4", ipset_op::ADD, "10.4.0.4", "10.4.0.4");
    assert_eq!(refused(c.set_ipset(&more)), ErrCode::NOMEM);
    c.set_ipset(&set("s0", ipset_op::FLUSH)).unwrap();
    c.set_ipset(&more).unwrap();
}
