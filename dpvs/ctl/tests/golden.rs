//! Request bodies recorded from C clients, decoded and encoded again.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use dpvs_ctl::msg::*;
use dpvs_ctl::{Af, Be16, HwAddr, Ip16, Name, Wire};

/// A body written as in a hex dump, with `@offset` to skip zeros up to it.
fn hex(size: usize, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        if let Some(offset) = word.strip_prefix('@') {
            let offset: usize = offset.parse().unwrap();
            assert!(offset >= out.len(), "{word} goes back");
            out.resize(offset, 0);
        } else {
            for i in (0..word.len()).step_by(2) {
                out.push(u8::from_str_radix(&word[i..i + 2], 16).unwrap());
            }
        }
    }
    assert!(out.len() <= size);
    out.resize(size, 0);
    out
}

fn same<T: Wire + PartialEq + std::fmt::Debug>(ours: T, recorded: &str) -> T {
    let bytes = hex(T::SIZE, recorded);
    assert_eq!(ours.encode(), bytes, "encoding of {ours:?}");
    let back = T::decode(&bytes).unwrap();
    assert_eq!(back, ours);
    back
}

fn ip(text: &str) -> Ip16 {
    Ip16::from_ip(text.parse::<IpAddr>().unwrap())
}

#[test]
fn add_service() {
    let mut svc = Service::at(6, "192.168.88.1:80".parse().unwrap());
    svc.proxy_protocol = proxy_proto::V2;
    svc.flags = svc_flag::SYNPROXY | svc_flag::SIP_HASH;
    svc.conn_timeout = 60;
    svc.netmask = Service::netmask_of(Af::INET, 32);
    svc.sched_name = Name::new("conhash").unwrap();
    svc.check_conf = CheckConf {
        types: check_type::PASSIVE | check_type::TCP,
        dest_down_notice_num: 1,
        dest_up_notice_num: 1,
        dest_down_wait: 3,
        dest_inhibit_min: 5,
        dest_inhibit_max: 3600,
    };
    same(
        svc,
        "02000000 06 02 0050 00000000 08010000 00000000 3c000000 ffffffff @36 c0a85801 \
         @52 636f6e68617368 @256 03 01 01 03 0500 100e",
    );
}

#[test]
fn add_mark_service() {
    let svc = Service {
        af: Af::INET6,
        proto: 6,
        fwmark: 7,
        netmask: Service::netmask_of(Af::INET6, 128),
        sched_name: Name::new("rr").unwrap(),
        ..Service::default()
    };
    let back = same(svc, "0a000000 06 00 0000 07000000 @24 80000000 @52 7272");
    assert_eq!(back.persist_plen(), Some(128));
}

#[test]
fn add_match_service() {
    let mut matched = Match {
        af: Af::INET,
        ..Match::default()
    };
    matched.srange.min_addr = ip("10.0.0.1");
    matched.srange.max_addr = ip("10.0.0.9");
    matched.oifname = Name::new("dpdk0").unwrap();
    let svc = Service {
        flags: svc_flag::MATCH,
        matched,
        ..Service::default()
    };
    same(
        svc,
        "@12 00040000 @68 02000000 0a000001 @88 0a000009 @160 6470646b30",
    );
}

#[test]
fn add_dest() {
    let mut dest = Dest {
        af: Af::INET,
        weight: 50,
        addr: ip("192.168.88.30"),
        max_conn: 100,
        min_conn: 10,
        ..Dest::default()
    };
    dest.set_fwd_mode(fwd_mode::FULLNAT);
    let body = ServiceDest {
        service: Service::default(),
        dest,
    };
    same(
        body,
        "@264 02000000 0000 0000 32000000 c0a8581e @292 0500 0000 05000000 64000000 0a000000",
    );
}

#[test]
fn add_laddr_first_message() {
    let mut param = IfAddrParam {
        ops: 0,
        ..IfAddrParam::default()
    };
    param.entry.af = Af::INET;
    param.entry.flags = ifa_flag::SAPOOL;
    param.entry.ifname = Name::new("dpdk0").unwrap();
    param.entry.addr = ip("192.168.88.200");
    param.entry.plen = 32;
    same(
        param,
        "@8 02000000 @20 00000100 6470646b30 @56 c0a858c8 @72 20",
    );
}

#[test]
fn add_laddr_second_message() {
    let svc = Service::at(6, "192.168.88.1:80".parse().unwrap());
    let table = LaddrTable::of(&svc).with_laddr(
        "192.168.88.200".parse().unwrap(),
        Name::new("dpdk0").unwrap(),
    );
    same(
        table,
        "02000000 06 @8 c0a85801 @24 0050 @144 02000000 c0a858c8 @164 6470646b30",
    );
}

#[test]
fn blacklist() {
    let entry = AclConf {
        vaddr: ip("192.168.88.1"),
        vport: Be16::new(80),
        proto: 6,
        af: 2,
        subject: Ip16::ANY,
        ipset: Name::new("deny").unwrap(),
    };
    same(entry, "c0a85801 @16 0050 06 02 @36 64656e79");
}

#[test]
fn route_add() {
    let route = Route {
        af: Af::INET,
        flags: rtf::LOCALIN | rtf::FORWARD,
        dst: RtAddr {
            addr: ip("10.0.0.1"),
            plen: 32,
        },
        ifname: Name::new("dpdk0").unwrap(),
        ..Route::default()
    };
    same(
        route,
        "02000000 00000000 000c0000 00000000 0a000001 @32 20000000 @96 6470646b30",
    );
}

#[test]
fn route6_add() {
    let route = Route6 {
        ops: route6_op::ADD,
        dst: RtAddr {
            addr: ip("2001::"),
            plen: 64,
        },
        ifname: Name::new("dpdk0").unwrap(),
        flags: rtf::FORWARD,
        ..Route6::default()
    };
    same(
        route,
        "02000000 2001 @20 40000000 @64 6470646b30 @96 00000000 00040000",
    );
}

#[test]
fn vlan_add() {
    let vlan = Vlan {
        real_dev: Name::new("dpdk0").unwrap(),
        ifname: Name::EMPTY,
        vlan_proto: 0x8100,
        vlan_id: 100,
    };
    same(vlan, "6470646b30 @32 0081 6400");
}

#[test]
fn link_set() {
    let set = NicSet {
        pname: Name::new("dpdk0").unwrap(),
        macaddr: Name::EMPTY,
        flags: nic_set::LLDP_ON,
    };
    same(set, "6470646b30 @50 0010");
}

#[test]
fn neigh_add() {
    let neigh = Neigh {
        af: Af::INET,
        ip_addr: ip("1.1.1.1"),
        eth_addr: HwAddr([0x00, 0x11, 0x22, 0x33, 0x44, 0x55]),
        ifname: Name::new("dpdk0").unwrap(),
        ..Neigh::default()
    };
    same(
        neigh,
        "02000000 00000000 01010101 @24 001122334455 00000000 6470646b30",
    );
}

#[test]
fn qsch_add() {
    let mut tbf = TbfOpt {
        limit: 12500,
        buffer: 50000,
        ..TbfOpt::default()
    };
    tbf.rate.rate = 10_000_000;
    let qsch = TcQsch {
        handle: tc_handle::ROOT,
        kind: Name::new("tbf").unwrap(),
        qopt: dpvs_ctl::types::Blob::of(&tbf),
        ..TcQsch::default()
    };
    let conf = TcConf {
        obj: tc_obj::QSCH,
        op_flags: 0,
        ifname: Name::new("dpdk0").unwrap(),
        param: dpvs_ctl::types::Blob::of(&qsch),
    };
    let back = same(
        conf,
        "@8 6470646b30 @25 ffffffff @33 746266 @57 80969800 @73 d4300000 @77 50c30000",
    );
    assert_eq!(back.param.read::<TcQsch>().qopt.read::<TbfOpt>(), tbf);
}

#[test]
fn cls_add() {
    let mut matched = Match {
        af: Af::INET,
        ..Match::default()
    };
    matched.srange = AddrRange {
        min_addr: ip("10.0.0.1"),
        max_addr: Ip16::ANY,
        min_port: Be16::new(1),
        max_port: Be16::new(1024),
    };
    matched.oifname = Name::new("dpdk1").unwrap();
    let copt = TcClsMatch {
        proto: 6,
        matched,
        result: TcClsResult { drop: 1, sch_id: 0 },
    };
    let cls = TcCls {
        sch_id: tc_handle::ROOT,
        kind: Name::new("match").unwrap(),
        pkt_type: Be16::new(0x0800),
        copt: dpvs_ctl::types::Blob::of(&copt),
        ..TcCls::default()
    };
    let conf = TcConf {
        obj: tc_obj::CLS,
        op_flags: 0,
        ifname: Name::new("dpdk0").unwrap(),
        param: dpvs_ctl::types::Blob::of(&cls),
    };
    same(
        conf,
        "01000000 @8 6470646b30 @25 ffffffff @33 6d61746368 @49 0800 @55 06 02000000 0a000001 \
         @92 0001 0400 @148 6470646b31 @164 01",
    );
}

#[test]
fn ipset_create() {
    let set = IpsetParam {
        kind: Name::new("bitmap:ip").unwrap(),
        name: Name::new("foo").unwrap(),
        opcode: ipset_op::CREATE,
        option: IpsetOption {
            comment_or_nomatch: 1,
            family: 2,
            ..IpsetOption::default()
        },
        cidr: 16,
        min_addr: ip("192.168.0.0"),
        max_addr: ip("192.168.255.255"),
        ..IpsetParam::default()
    };
    same(
        set,
        "6269746d61703a6970 @32 666f6f @96 0400 @108 01 02 @111 10 c0a80000 @128 c0a8ffff",
    );
}

#[test]
fn ipset_add() {
    let set = IpsetParam {
        name: Name::new("bar").unwrap(),
        opcode: ipset_op::ADD,
        option: IpsetOption {
            family: 10,
            ..IpsetOption::default()
        },
        proto: 6,
        cidr: 64,
        min_addr: ip("2001:beef::"),
        min_port: 100,
        max_port: 200,
        iface: Name::new("dpdk0").unwrap(),
        ..IpsetParam::default()
    };
    same(
        set,
        "@32 626172 @96 0100 @109 0a 06 40 2001beef @144 6400 c800 6470646b30",
    );
}

#[test]
fn kni_flow_add() {
    let flow = KniFlow {
        kind: 1,
        ifname: Name::new("dpdk0").unwrap(),
        af: Af::INET,
        addr: ip("1.2.3.4"),
    };
    same(flow, "01000000 6470646b30 @20 02000000 01020304");
}

#[test]
fn tunnel_add() {
    let tunnel = Tunnel::decode(&hex(
        80,
        "7430 @16 677265 @48 0004 0004 0000000a 0000000a @72 01010101 02020202",
    ))
    .unwrap();
    assert_eq!(tunnel.kind.text(), "gre");
    assert_eq!((tunnel.i_flags.get(), tunnel.o_key.get()), (4, 10));
    assert_eq!(tunnel.daddr.get(), 0x0202_0202);
}

/// Sizes of the C structs, from a debugger.
#[test]
fn sizes() {
    let sizes = [
        (AddrRange::SIZE, 36),
        (Match::SIZE, 108),
        (Stats::SIZE, 64),
        (RtAddr::SIZE, 20),
        (Service::SIZE, 264),
        (CheckConf::SIZE, 8),
        (ServicesFront::SIZE, 8),
        (Info::SIZE, 16),
        (Dest::SIZE, 120),
        (DestTable::SIZE, 144),
        (DestFront::SIZE, 148),
        (ServiceDest::SIZE, 384),
        (LaddrTable::SIZE, 184),
        (LaddrEntry::SIZE, 40),
        (LaddrFront::SIZE, 152),
        (LaddrDetail::SIZE, 48),
        (AclConf::SIZE, 68),
        (SockPair::SIZE, 40),
        (ConnReq::SIZE, 48),
        (ConnArray::SIZE, 9),
        (ConnEntry::SIZE, 104),
        (Route::SIZE, 112),
        (RouteCompact::SIZE, 81),
        (Route6::SIZE, 104),
        (IfAddr::SIZE, 68),
        (IfAddrParam::SIZE, 76),
        (IfAddrData::SIZE, 80),
        (IfAddrArray::SIZE, 12),
        (IfAddrStatsDetail::SIZE, 28),
        (Maddr::SIZE, 44),
        (Neigh::SIZE, 52),
        (LcoreMask::SIZE, 24),
        (LcoreBasic::SIZE, 8),
        (LcoreStats::SIZE, 96),
        (NicList::SIZE, 10),
        (PortId::SIZE, 18),
        (NicBasic::SIZE, 128),
        (NicStats::SIZE, 720),
        (XStatsHead::SIZE, 8),
        (XStat::SIZE, 80),
        (NicDev::SIZE, 135),
        (NicExt::SIZE, 184),
        (BondStatus::SIZE, 2392),
        (NicSet::SIZE, 52),
        (BondSet::SIZE, 72),
        (HwMaddr::SIZE, 26),
        (Vlan::SIZE, 36),
        (Tunnel::SIZE, 80),
        (KniFlow::SIZE, 40),
        (LldpMessage::SIZE, 4114),
        (TcConf::SIZE, 172),
        (TcQsch::SIZE, 105),
        (TcCls::SIZE, 148),
        (IpsetParam::SIZE, 208),
        (IpsetInfo::SIZE, 128),
        (IpsetMember::SIZE, 96),
        (Ip6Stats::SIZE, 18200),
        (IfTraf::SIZE, 65),
        (EalSeg::SIZE, 56),
        (EalZone::SIZE, 72),
        (EalRing::SIZE, 64),
        (EalPool::SIZE, 60),
        // Ours.
        (DropCount::SIZE, 64),
        (PortAffinity::SIZE, 256),
        (RateLimit::SIZE, 96),
        (TableTimeouts::SIZE, 12),
        (SyncDaemon::SIZE, 56),
        (ServiceExt::SIZE, 280),
        (Encap::SIZE, 52),
        (DestExt::SIZE, 436),
    ];
    for (i, (ours, c)) in sizes.into_iter().enumerate() {
        assert_eq!(ours, c, "struct number {i}");
    }
}
