//! VLAN devices and tunnels over the control socket, against a master with real
//! workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use ctl_lab::{Lab, code};
use dpvs_core::frame::PortId;
use dpvs_core::inet::tunnel::{Kind, Options};
use dpvs_core::snapshot::{Local, Tag};
use dpvs_ctl::msg::{IfAddr, KniFlow, NicSet, Tunnel, Vlan, nic_set};
use dpvs_ctl::wire::{Tail, decode_counted};
use dpvs_ctl::{Af, Be16, Be32, ErrCode, Ip16, Name, Wire, id};

fn vlan(name: &str, dev: &str, id: u16) -> Vlan {
    Vlan {
        real_dev: Name::truncated(dev),
        ifname: Name::truncated(name),
        vlan_proto: 0x8100,
        vlan_id: id,
    }
}

fn names(lab: &Lab, filter: &Vlan) -> Vec<String> {
    let list = lab.client.vlans(filter).unwrap();
    list.iter()
        .map(|v| format!("{} {} {}", v.ifname, v.real_dev, v.vlan_id))
        .collect()
}

fn addr(dev: &str, host: u8) -> IfAddr {
    IfAddr {
        af: Af::INET,
        ifname: Name::truncated(dev),
        addr: Ip16::from_ip([10, 7, 0, host].into()),
        plen: 24,
        ..IfAddr::default()
    }
}

#[test]
fn vlan_devices_come_and_go() {
    let lab = Lab::start();
    let c = &lab.client;
    c.add_vlan(&vlan("", "dpdk0", 100)).unwrap();
    c.add_vlan(&vlan("blue", "dpdk0", 7)).unwrap();
    c.add_vlan(&vlan("", "dpdk1", 100)).unwrap();
    assert_eq!(
        names(&lab, &vlan("", "dpdk0", 0)),
        ["dpdk0.100 dpdk0 100", "blue dpdk0 7"]
    );
    assert_eq!(names(&lab, &vlan("", "dpdk0", 7)), ["blue dpdk0 7"]);
    assert_eq!(names(&lab, &vlan("blue", "", 0)), ["blue dpdk0 7"]);
    // Their workers know them, and the ports which of them they carry.
    let snap = lab.snapshot(1);
    assert_eq!(snap.ports[0].vlans, [(7, PortId(3)), (100, PortId(2))]);
    let blue = &snap.ports[3];
    let tag = Some(Tag {
        parent: PortId(0),
        id: 7,
    });
    assert_eq!(
        (blue.vlan, blue.mac, blue.mtu),
        (tag, snap.ports[0].mac, 1500)
    );
    // Each has a link-local address, whose group its port hears.
    assert_eq!(blue.addrs.len(), 1);

    let refused = |v: &Vlan| code(c.add_vlan(v));
    assert_eq!(refused(&vlan("", "dpdk9", 1)), ErrCode::NODEV);
    assert_eq!(refused(&vlan("", "dpdk0", 0)), ErrCode::INVAL);
    assert_eq!(refused(&vlan("", "dpdk0", 4096)), ErrCode::INVAL);
    assert_eq!(refused(&vlan("", "blue", 8)), ErrCode::INVAL);
    assert_eq!(refused(&vlan("red", "dpdk0", 7)), ErrCode::EXIST);
    assert_eq!(refused(&vlan("blue", "dpdk0", 8)), ErrCode::EXIST);
    let ad = Vlan {
        vlan_proto: 0x88a8,
        ..vlan("", "dpdk0", 9)
    };
    assert_eq!(refused(&ad), ErrCode::INVAL);
    assert_eq!(code(c.del_vlan(&vlan("dpdk0", "", 0))), ErrCode::NOTEXIST);
    assert_eq!(code(c.del_vlan(&vlan("green", "", 0))), ErrCode::NODEV);
    assert_eq!(code(c.del_vlan(&vlan("", "dpdk0", 8))), ErrCode::NOTEXIST);
    assert_eq!(code(c.vlans(&vlan("dpdk0", "", 0))), ErrCode::INVAL);
    assert_eq!(code(c.vlans(&vlan("green", "", 0))), ErrCode::NODEV);
    assert_eq!(code(c.vlans(&vlan("", "green", 0))), ErrCode::NODEV);
    assert_eq!(code(c.set(id::SET_VLAN_ADD, &[0; 35])), ErrCode::INVAL);
}

#[test]
fn a_removed_device_takes_all_it_had_with_it() {
    let lab = Lab::start();
    let c = &lab.client;
    c.add_vlan(&vlan("", "dpdk0", 100)).unwrap();
    c.add_ifaddr(&addr("dpdk0.100", 1)).unwrap();
    let snap = lab.snapshot(0);
    let ip = [10, 7, 0, 1].into();
    assert!(snap.locals.get(&ip).is_some());
    assert_eq!(
        snap.fib.lookup([10, 7, 0, 9].into()).unwrap().port,
        PortId(2)
    );
    c.del_vlan(&vlan("", "dpdk0", 100)).unwrap();
    let snap = lab.snapshot(0);
    assert!(snap.locals.get(&ip).is_none());
    assert!(snap.fib.lookup([10, 7, 0, 9].into()).is_none());
    assert!(snap.ports[0].vlans.is_empty());
    assert_eq!((snap.ports.len(), snap.ports[2].is_there()), (3, false));
    // Its number is given again, because no worker has it any more.
    c.add_vlan(&vlan("", "dpdk1", 5)).unwrap();
    let snap = lab.snapshot(0);
    assert_eq!(
        (snap.ports.len(), snap.ports[2].name.as_str()),
        (3, "dpdk1.5")
    );
    for _ in 0..20 {
        c.del_vlan(&vlan("dpdk1.5", "", 0)).unwrap();
        c.add_vlan(&vlan("", "dpdk1", 5)).unwrap();
    }
    assert!(lab.snapshot(0).ports.len() <= 4);
}

#[test]
fn a_device_follows_its_port_until_it_has_a_mac_of_its_own() {
    let lab = Lab::start();
    let c = &lab.client;
    c.add_vlan(&vlan("", "dpdk0", 100)).unwrap();
    let set = |dev: &str, mac: &str, flags| {
        let set = NicSet {
            pname: Name::truncated(dev),
            macaddr: Name::truncated(mac),
            flags,
        };
        c.set_port(&set).unwrap();
    };
    let mac = || lab.snapshot(0).ports[2].mac;
    set("dpdk0", "02:00:00:00:00:aa", 0);
    assert_eq!(mac(), [2, 0, 0, 0, 0, 0xaa]);
    set("dpdk0.100", "02:00:00:00:00:bb", 0);
    assert_eq!(mac(), [2, 0, 0, 0, 0, 0xbb]);
    set("dpdk0", "02:00:00:00:00:cc", 0);
    assert_eq!(mac(), [2, 0, 0, 0, 0, 0xbb]);
    // It has no host port here, to which everything could be copied.
    set("dpdk0.100", "", nic_set::FWD2KNI_ON);
    assert!(!lab.snapshot(0).ports[2].forward2kni);
    let nic = c.port(&Name::truncated("dpdk0.100")).unwrap();
    assert_eq!(
        (nic.addr.text().as_ref(), nic.port_id, nic.mtu),
        ("02:00:00:00:00:BB", 2, 1500)
    );
    let list: Vec<String> = c
        .ports()
        .unwrap()
        .1
        .iter()
        .map(|p| p.name.to_string())
        .collect();
    assert_eq!(list, ["dpdk0", "dpdk1", "dpdk0.100"]);
}

fn tunnel(name: &str, kind: &str, local: [u8; 4], remote: [u8; 4]) -> Tunnel {
    Tunnel {
        ifname: Name::truncated(name),
        kind: Name::truncated(kind),
        saddr: Be32::new(u32::from_be_bytes(local)),
        daddr: Be32::new(u32::from_be_bytes(remote)),
        ..Tunnel::default()
    }
}

#[test]
fn tunnels_come_change_and_go() {
    let lab = Lab::start();
    let c = &lab.client;
    let add = |t: &Tunnel| c.set_tunnel(id::TUNNEL_ADD, t);
    let (l, r) = ([10, 0, 1, 1], [10, 0, 1, 11]);
    let gre = Tunnel {
        i_flags: Be16::new(0x0c),
        o_flags: Be16::new(0x05),
        i_key: Be32::new(7),
        o_key: Be32::new(9),
        tos: 1,
        link: Name::truncated("dpdk1"),
        ..tunnel("t0", "gre", l, r)
    };
    add(&gre).unwrap();
    add(&tunnel("", "ipip", l, r)).unwrap();
    let list = |filter: &Tunnel| -> Vec<String> {
        let list = c.tunnels(filter).unwrap();
        list.iter().map(|t| t.ifname.to_string()).collect()
    };
    assert_eq!(list(&Tunnel::default()), ["t0", "ipip0"]);
    assert_eq!(list(&tunnel("", "gre", l, r)), ["t0"]);
    assert_eq!(list(&tunnel("ipip0", "", l, r)), ["ipip0"]);
    let shown = c.tunnels(&tunnel("t0", "", l, r)).unwrap()[0];
    let same = Tunnel {
        ver_ihl: shown.ver_ihl,
        protocol: 47,
        ..gre
    };
    assert_eq!(shown, same);

    let snap = lab.snapshot(0);
    let device = &snap.ports[2];
    let t = device.tunnel.as_ref().unwrap();
    assert_eq!(
        (t.kind, t.link, t.tos, t.ttl),
        (Kind::Gre, Some(PortId(1)), 1, 0)
    );
    let input = Options {
        key: Some(7),
        seq: true,
        csum: false,
    };
    assert_eq!(t.input, input);
    // Outer header 20, GRE 4, checksum 4, key 4.
    assert_eq!((device.mtu, snap.ports[3].mtu), (1500 - 32, 1480));
    assert_eq!(
        snap.tunnels.find(Kind::Gre, l.into(), r.into(), Some(7)),
        Some(PortId(2))
    );
    assert_eq!(
        snap.tunnels.find(Kind::Ipip, l.into(), r.into(), None),
        Some(PortId(3))
    );

    // Changed whole, under the same number and MTU anew.
    let change = tunnel("t0", "gre", l, [10, 0, 1, 12]);
    c.set_tunnel(id::TUNNEL_CHANGE, &change).unwrap();
    let snap = lab.snapshot(0);
    let t = snap.ports[2].tunnel.as_ref().unwrap();
    assert_eq!(
        (t.input, t.link, snap.ports[2].mtu),
        (Options::default(), None, 1476)
    );
    c.add_ifaddr(&addr("t0", 1)).unwrap();
    assert_eq!(
        lab.snapshot(0)
            .fib
            .lookup([10, 7, 0, 9].into())
            .unwrap()
            .port,
        PortId(2)
    );
    c.set_tunnel(id::TUNNEL_DEL, &tunnel("t0", "", l, r))
        .unwrap();
    let snap = lab.snapshot(0);
    assert!(snap.fib.lookup([10, 7, 0, 9].into()).is_none());
    assert!(!snap.tunnels.has(Kind::Gre));

    assert_eq!(
        code(add(&tunnel("ipip0", "ipip", l, [9; 4]))),
        ErrCode::EXIST
    );
    assert_eq!(code(add(&tunnel("t1", "ipip", l, r))), ErrCode::EXIST);
    assert_eq!(code(add(&tunnel("dpdk0", "ipip", l, r))), ErrCode::INVAL);
    assert_eq!(code(add(&tunnel("t1", "sit", l, r))), ErrCode::INVAL);
    let missing = tunnel("t0", "gre", l, r);
    for what in [id::TUNNEL_DEL, id::TUNNEL_CHANGE, id::TUNNEL_REPLACE] {
        assert_eq!(code(c.set_tunnel(what, &missing)), ErrCode::NOTEXIST);
    }
    assert_eq!(code(c.tunnels(&missing)), ErrCode::NOTEXIST);
    let nowhere = Tunnel {
        link: Name::truncated("dpdk9"),
        ..tunnel("ipip0", "", l, r)
    };
    assert_eq!(
        code(c.set_tunnel(id::TUNNEL_CHANGE, &nowhere)),
        ErrCode::NODEV
    );
    assert_eq!(code(c.set(id::TUNNEL_ADD, &[0; 79])), ErrCode::INVAL);
}

#[test]
fn addresses_of_the_kernel_by_flow() {
    let lab = Lab::start();
    let c = &lab.client;
    let flow = |dev: &str, ip: [u8; 4]| KniFlow {
        kind: 1,
        ifname: Name::truncated(dev),
        af: Af::INET,
        addr: Ip16::from_ip(ip.into()),
    };
    let set = |id, flow: &KniFlow| c.set(id, &flow.encode());
    let list = |dev: &str| {
        let reply = c
            .get(id::GET_KNI_LIST, &flow(dev, [0; 4]).encode())
            .unwrap();
        decode_counted::<KniFlow>(&reply, Tail::Exact).unwrap()
    };
    let one = flow("dpdk0", [192, 0, 2, 2]);
    set(id::SET_KNI_ADD, &one).unwrap();
    set(id::SET_KNI_ADD, &flow("dpdk0", [192, 0, 2, 3])).unwrap();
    assert_eq!(list("dpdk0"), [one, flow("dpdk0", [192, 0, 2, 3])]);
    let port = PortId(0);
    let local = |ip: [u8; 4]| lab.snapshot(0).locals.get(&ip.into()).copied();
    assert_eq!(local([192, 0, 2, 2]), Some(Local::Host { port }));
    assert_eq!(code(set(id::SET_KNI_ADD, &one)), ErrCode::EXIST);
    // Without host port, without device, something else than an address.
    let refused = |f: &KniFlow| code(set(id::SET_KNI_ADD, f));
    assert_eq!(refused(&flow("dpdk1", [1; 4])), ErrCode::NOTSUPP);
    assert_eq!(refused(&flow("dpdk9", [1; 4])), ErrCode::NOTEXIST);
    assert_eq!(refused(&KniFlow { kind: 2, ..one }), ErrCode::NOTSUPP);
    assert_eq!(refused(&flow("dpdk0", [0; 4])), ErrCode::INVAL);
    set(id::SET_KNI_DEL, &one).unwrap();
    assert_eq!(local([192, 0, 2, 2]), None);
    assert_eq!(code(set(id::SET_KNI_DEL, &one)), ErrCode::NOTEXIST);
    set(id::SET_KNI_FLUSH, &flow("dpdk0", [0; 4])).unwrap();
    assert!(list("dpdk0").is_empty());
    assert_eq!(local([192, 0, 2, 3]), None);
}
