//! Ports and lcores over the control socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use ctl_lab::{KNI, LCORES, Lab, MASTER, code};
use dpvs::master::PortChange;
use dpvs_ctl::msg::{NicSet, nic_flag, nic_set};
use dpvs_ctl::{ErrCode, Name, id};

#[test]
fn ports_and_lcores() {
    let lab = Lab::start();
    let c = &lab.client;
    let (head, list) = c.ports().unwrap();
    assert_eq!((head.nic_num, head.phy_pid_end), (2, 2));
    assert_eq!(list[1].name.text(), "dpdk1");
    let dev = |n: &str| Name::<32>::truncated(n);
    let basic = c.port(&dev("dpdk1")).unwrap();
    assert_eq!(
        (basic.name.text().as_ref(), basic.link_speed, basic.port_id),
        ("dpdk1", 1001, 1)
    );
    assert_eq!(
        (
            c.port_stats(&dev("dpdk1")).unwrap().ipackets,
            c.port_stats(&dev("dpdk1")).unwrap().port_id
        ),
        (8, 1)
    );
    assert_eq!(c.port_xstats(&dev("dpdk0")).unwrap()[1].name.text(), "b");
    assert!(
        c.get(id::NETIF_GET_PORT_XSTATS, b"dpdk1\0")
            .unwrap()
            .is_empty()
    );
    for id in 61..=66 {
        assert_eq!(code(c.get(id, b"eth0\0")), ErrCode::NOTEXIST, "{id}");
    }
    assert_eq!(
        code(c.get(id::NETIF_GET_BOND_STATUS, b"dpdk0\0")),
        ErrCode::INVAL
    );
    let (ext, queues, groups) = c.port_ext(&dev("dpdk0")).unwrap();
    assert_eq!(ext.dev_info.driver_name.text(), "net_fake");
    let line = |n: u16, a: u8, b: &str| {
        format!(
            "    {:<12}{:<25}\n",
            format!("rx{n}-tx{n}"),
            format!("cpu{a}-{b}")
        )
    };
    assert_eq!(queues, line(0, 3, "cpu3") + &line(1, 5, "cpu5"));
    assert!(
        groups.starts_with("        link 33:33:00:00:00:01 refcnt 1, synced 1\n"),
        "{groups}"
    );
    let (_, queues, _) = c.port_ext(&dev("dpdk1")).unwrap();
    assert_eq!(queues, line(0, 3, "xx") + &line(1, 5, "xx"));
    assert_eq!(c.port_maddrs(&Name::truncated("dpdk0")).unwrap().len(), 2);

    let mask = c.lcores().unwrap();
    assert_eq!(
        (
            mask.master_lcore_id,
            mask.slave_lcore_num,
            mask.slave_lcore_mask
        ),
        (MASTER, 2, 0b10_1000)
    );
    let (basic, text) = c.lcore(LCORES[0]).unwrap();
    assert_eq!(basic.lcore_id, LCORES[0]);
    assert_eq!(
        text,
        format!(
            "{:<16}{:<16}{:<16}{:<16}",
            "dpdk0:rx0", "dpdk0:tx0", "dpdk1:rx0", "dpdk1:tx--"
        )
    );
    assert_eq!(c.lcore(MASTER).unwrap().0.queue_data_len, 0);
    assert_eq!(
        (mask.kni_lcore_id, c.lcore(KNI).unwrap().0.queue_data_len),
        (KNI, 0)
    );
    assert_eq!(c.lcore_stats(LCORES[1]).unwrap().lcore_loop, 105);
    assert_eq!(code(c.lcore_stats(9)), ErrCode::INVAL);
    assert_eq!(
        code(c.get(id::NETIF_GET_LCORE_BASIC, &[3, 0])),
        ErrCode::INVAL
    );
    assert_eq!(c.ip6_stats().unwrap().lcores.len(), 64);
}

#[test]
fn ports_are_changed() {
    let lab = Lab::start();
    let c = &lab.client;
    let set = |flags, mac: &str| NicSet {
        pname: Name::truncated("dpdk0"),
        macaddr: Name::truncated(mac),
        flags,
    };
    c.set_port(&set(
        nic_set::PROMISC_ON | nic_set::PROMISC_OFF | nic_set::LINK_DOWN,
        "02:00:00:00:aa:bb",
    ))
    .unwrap();
    assert_eq!(
        *lab.changes.lock().unwrap(),
        [
            (0, PortChange::Promisc(true)),
            (0, PortChange::Up(false)),
            (0, PortChange::Mac([2, 0, 0, 0, 0xaa, 0xbb])),
        ],
        "on wins, a driver's refusal is not told"
    );
    assert_eq!(lab.snapshot(0).ports[0].mac, [2, 0, 0, 0, 0xaa, 0xbb]);
    c.set_port(&set(nic_set::FWD2KNI_ON, "")).unwrap();
    assert!(lab.snapshot(1).ports[0].forward2kni);
    assert_ne!(
        c.port(&Name::truncated("dpdk0")).unwrap().flags & nic_flag::FWD2KNI,
        0
    );
    for bad in ["01:00:00:00:00:00", "00:00:00:00:00:00", "junk"] {
        c.set_port(&set(0, bad)).unwrap();
    }
    assert_eq!(lab.changes.lock().unwrap().len(), 4);
    assert_eq!(
        code(c.set_port(&NicSet {
            pname: Name::truncated("eth0"),
            ..set(1, "")
        })),
        ErrCode::INVAL
    );
    assert_eq!(code(c.set(id::NETIF_SET_PORT, &[0; 51])), ErrCode::INVAL);
    assert_eq!(code(c.set(id::NETIF_SET_BOND, &[0; 72])), ErrCode::INVAL);
    c.set(id::NETIF_SET_LCORE, &[0]).unwrap();
}
