//! What the listings print for a daemon's answers, against golden output.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use dpvs_ctl::msg::{
    BondSlave, BondStatus, ConfQueues, HwMaddr, IfAddr, IfAddrArray, IfAddrData, IfAddrStats,
    LcoreBasic, LcoreMask, LcoreStats, Maddr, McList, Neigh, NicBasic, NicDev, NicExt, NicList,
    NicStats, PortId, Route, Route6, RtAddr, Vlan, XStat, XStatsHead, ifa_flag, nic_flag, rtf,
};
use dpvs_ctl::server::Request;
use dpvs_ctl::wire::{encode_counted, encode_list};
use dpvs_ctl::{Af, ErrCode, HwAddr, Ip16, Name, Wire, id};

use crate::standin::{Said, StandIn, golden};

fn slot(ip: &str) -> Ip16 {
    Ip16::from_ip(ip.parse::<IpAddr>().unwrap())
}

fn printed(out: &str) -> Said {
    Said {
        code: Some(0),
        out: out.to_owned(),
        err: String::new(),
    }
}

fn addrs() -> Vec<IfAddrData> {
    let v4 = IfAddr {
        af: Af::INET,
        flags: ifa_flag::SAPOOL,
        ifname: Name::truncated("dpdk0"),
        bcast: slot("192.168.88.255"),
        addr: slot("192.168.88.28"),
        plen: 24,
        ..IfAddr::default()
    };
    let v6 = IfAddr {
        af: Af::INET6,
        ifname: v4.ifname,
        addr: slot("fe80::1"),
        plen: 64,
        scope: 2,
        ..IfAddr::default()
    };
    let stats = IfAddrStats {
        sa_used: 0,
        sa_free: 64512,
        sa_miss: 0,
    };
    vec![
        IfAddrData { entry: v4, stats },
        IfAddrData {
            entry: v6,
            ..IfAddrData::default()
        },
    ]
}

#[test]
fn addresses() {
    let standin = StandIn::new(|request| {
        assert_eq!(request.id, id::GET_IFADDR_SHOW);
        let head = IfAddrArray {
            ops: 1,
            ops_flags: 0,
            naddr: 2,
        };
        let mut body = encode_list(&head, &addrs());
        // Some daemons leave room behind the list.
        body.resize(body.len() + 80, 0);
        Ok(body)
    });
    let all = golden("addr-show.out");
    assert_eq!(standin.dpip("-s addr show"), printed(&all));
    let plain = all.replace(" sa_used 0 sa_free 64512 sa_miss 0", "");
    assert_eq!(standin.dpip("addr list dev dpdk0"), printed(&plain));
    let v4: String = plain.split_inclusive('\n').take(2).collect();
    let v6: String = plain.split_inclusive('\n').skip(2).collect();
    assert_eq!(standin.dpip("-4 addr show"), printed(&v4));
    assert_eq!(standin.dpip("-6 addr show"), printed(&v6));
    let verbose = standin.dpip("-v addr show").out;
    assert!(
        verbose.starts_with("[00] inet 192.168.88.28/24 scope global dpdk0\n"),
        "{verbose}"
    );
}

#[test]
fn routes() {
    let standin = StandIn::new(|request| {
        let dev = Name::truncated("dpdk0");
        Ok(match request.id {
            id::GET_ROUTE_SHOW => {
                let host = Route {
                    af: Af::INET,
                    mtu: 1500,
                    flags: rtf::LOCALIN,
                    dst: RtAddr {
                        addr: slot("192.168.88.28"),
                        plen: 32,
                    },
                    ifname: dev,
                    ..Route::default()
                };
                let net = Route {
                    flags: rtf::FORWARD,
                    dst: RtAddr {
                        addr: slot("192.168.88.0"),
                        plen: 24,
                    },
                    src: RtAddr {
                        addr: slot("192.168.88.28"),
                        plen: 0,
                    },
                    ..host
                };
                let gateway = RtAddr {
                    addr: slot("192.168.88.1"),
                    plen: 0,
                };
                let default = Route {
                    dst: RtAddr::default(),
                    gateway,
                    metric: 4,
                    ..net
                };
                let kni = Route {
                    flags: rtf::KNI | rtf::FORWARD,
                    ..host
                };
                encode_counted(&[host, kni, net, default])
            }
            _ => {
                let default = Route6 {
                    ops: 1,
                    ifname: dev,
                    gateway: slot("2001:db8::1"),
                    mtu: 1500,
                    flags: rtf::FORWARD,
                    ..Route6::default()
                };
                let host = Route6 {
                    dst: RtAddr {
                        addr: slot("2001:db8::2"),
                        plen: 128,
                    },
                    gateway: Ip16::ANY,
                    mtu: 0,
                    flags: rtf::LOCALIN,
                    ..default
                };
                encode_counted(&[host, default])
            }
        })
    });
    assert_eq!(
        standin.dpip("route show"),
        printed(&golden("route-show.out"))
    );
    assert_eq!(
        standin.dpip("-6 route show"),
        printed(&golden("route6-show.out"))
    );
}

#[test]
fn neighbours() {
    let standin = StandIn::new(|_| {
        let known = Neigh {
            af: Af::INET,
            state: 2,
            ip_addr: slot("192.168.88.30"),
            eth_addr: HwAddr([0, 0x16, 0x3e, 0xaa, 0xbb, 0xcc]),
            ifname: Name::truncated("dpdk0"),
            flag: 3,
            cid: 1,
            ..Neigh::default()
        };
        let asked = Neigh {
            af: Af::INET6,
            state: 1,
            ip_addr: slot("2001:db8::30"),
            flag: 1,
            cid: 2,
            ..known
        };
        Ok(encode_counted(&[known, asked]))
    });
    let all = golden("neigh-show.out");
    assert_eq!(standin.dpip("neigh show"), printed(&all));
    let v4: String = all.split_inclusive('\n').take(1).collect();
    assert_eq!(standin.dpip("-4 neigh show dev dpdk0"), printed(&v4));
}

fn nic(name: &str, port_id: u16) -> NicBasic {
    NicBasic {
        name: Name::truncated(name),
        addr: Name::truncated("A0:36:9F:F0:E4:D4"),
        link_status: Name::truncated("UP"),
        link_duplex: Name::truncated("full-duplex"),
        link_autoneg: Name::truncated("auto-nego"),
        link_speed: 10000,
        nrxq: 8,
        ntxq: 8,
        port_id,
        mtu: 1500,
        flags: nic_flag::FWD2KNI | nic_flag::OL_RX_IP_CSUM | nic_flag::OL_TX_IP_CSUM,
        ..NicBasic::default()
    }
}

/// A daemon with ports dpdk0 and dpdk1, the second of which it cannot show, a
/// bond, and workers 1 and 2. Counters grow by 10 each time they are read.
pub(crate) fn ports() -> StandIn {
    let ticks = AtomicU64::new(1);
    StandIn::new(move |request: &Request| {
        let name = Name::<32>::take(&request.body).text().into_owned();
        let port = |n, name| PortId {
            id: n,
            name: Name::truncated(name),
        };
        let lcore = request.body.first().copied().unwrap_or(0);
        Ok(match request.id {
            id::NETIF_GET_PORT_LIST => {
                let list = [port(0, "dpdk0"), port(1, "dpdk1")];
                encode_list(
                    &NicList {
                        nic_num: 2,
                        phy_pid_end: 2,
                        ..NicList::default()
                    },
                    &list,
                )
            }
            _ if name == "dpdk1" => return Err(ErrCode::NOTEXIST),
            id::NETIF_GET_PORT_BASIC => nic(&name, 0).encode(),
            id::NETIF_GET_PORT_STATS => {
                let n = 10 * ticks.fetch_add(1, Ordering::Relaxed);
                NicStats {
                    ipackets: n,
                    obytes: 2 * n,
                    mbuf_avail: 7,
                    ..NicStats::default()
                }
                .encode()
            }
            id::NETIF_GET_PORT_XSTATS => {
                let one = XStat {
                    id: 3,
                    val: 4,
                    name: Name::truncated("rx_good_packets"),
                };
                encode_list(
                    &XStatsHead {
                        pid: 0,
                        nentries: 1,
                    },
                    &[one],
                )
            }
            id::NETIF_GET_PORT_EXT_INFO => {
                let texts = b"    rx0-tx0     cpu1-cpu1\n\0        \
                    link 33:33:00:00:00:01 refcnt 1, synced 1\n\0";
                let cfg_queues = ConfQueues {
                    data_offset: 0,
                    data_len: 26,
                };
                let mc_list = McList {
                    data_offset: 27,
                    data_len: 50,
                    naddr: 1,
                };
                let ext = NicExt {
                    cfg_queues,
                    mc_list,
                    dev_info: driver(),
                    ..NicExt::default()
                };
                encode_list(
                    &NicExt {
                        datalen: texts.len() as u64,
                        ..ext
                    },
                    texts,
                )
            }
            id::NETIF_GET_BOND_STATUS => bond().encode(),
            id::NETIF_GET_LCORE_MASK => LcoreMask {
                slave_lcore_num: 2,
                slave_lcore_mask: 6,
                ..LcoreMask::default()
            }
            .encode(),
            id::NETIF_GET_LCORE_BASIC if lcore < 3 => {
                let text = if lcore == 0 {
                    &b""[..]
                } else {
                    b"dpdk0:rx0       dpdk0:tx0       \0"
                };
                let head = LcoreBasic {
                    lcore_id: lcore,
                    socket_id: 0,
                    queue_data_len: u32::try_from(text.len()).unwrap(),
                };
                encode_list(&head, text)
            }
            id::NETIF_GET_LCORE_STATS if lcore < 3 => LcoreStats {
                lcore_id: lcore,
                lcore_loop: 5,
                ..LcoreStats::default()
            }
            .encode(),
            id::NETIF_GET_MADDR => {
                let addr = Name::truncated("01:00:5e:00:00:01");
                encode_counted(&[HwMaddr {
                    addr,
                    refcnt: 1,
                    flags: 1,
                    sync_cnt: 2,
                }])
            }
            id::GET_IFMADDR_SHOW => {
                let maddr = slot("224.0.0.1");
                encode_counted(&[Maddr {
                    maddr,
                    af: Af::INET,
                    refcnt: 1,
                    ..Maddr::default()
                }])
            }
            id::GET_VLAN_SHOW => encode_counted(&[Vlan {
                real_dev: Name::truncated("dpdk0"),
                ifname: Name::truncated("dpdk0.100"),
                vlan_proto: 0x8100,
                vlan_id: 100,
            }]),
            _ => return Err(ErrCode::INVAL),
        })
    })
}

fn driver() -> NicDev {
    NicDev {
        pci_addr: Name::truncated("0000:81:00.0"),
        driver_name: Name::truncated("net_ixgbe"),
        min_rx_bufsize: 1024,
        max_rx_pktlen: 15872,
        max_rx_queues: 128,
        max_tx_queues: 64,
        max_mac_addrs: 128,
        max_hash_mac_addrs: 4096,
        max_vmdq_pools: 64,
        rx_offload_capa: 0x2ea0f,
        tx_offload_capa: 0x2a03f,
        reta_size: 128,
        hash_key_size: 40,
        flow_type_rss_offloads: 0x38d34,
        vmdq_queue_num: 64,
        vmdq_pool_base: 1,
        rx_desc_lim_nb_max: 4096,
        rx_desc_lim_nb_min: 32,
        rx_desc_lim_nb_align: 8,
        tx_desc_lim_nb_max: 4096,
        tx_desc_lim_nb_min: 32,
        tx_desc_lim_nb_align: 8,
        speed_capa: 288,
        ..NicDev::default()
    }
}

fn bond() -> BondStatus {
    let member = |name, mac, active, primary| BondSlave {
        name: Name::truncated(name),
        macaddr: Name::truncated(mac),
        is_active: active,
        is_primary: primary,
    };
    let mut slaves = [BondSlave::default(); 32];
    slaves[0] = member("dpdk0", "A0:36:9F:F0:E4:D4", 1, 1);
    slaves[1] = member("dpdk2", "A0:36:9F:F0:E4:D5", 0, 0);
    BondStatus {
        mode: 4,
        slave_nb: 2,
        active_nb: 1,
        slaves,
        macaddr: Name::truncated("A0:36:9F:F0:E4:D4"),
        xmit_policy: Name::truncated("LAYER34"),
        link_monitor_interval: 100,
        ..BondStatus::default()
    }
}

#[test]
fn links() {
    let standin = ports();
    let one = golden("link-show.out");
    assert_eq!(standin.dpip("link show dpdk0"), printed(&one));
    // One device that fails does not hide the others, but fails the command.
    let all = standin.dpip("link show");
    assert_eq!((all.code, all.out), (Some(1), one.clone()));
    assert_eq!(
        all.err,
        "[sockopt_msg_recv] errcode set in socket msg#61 header: not exist(-4)\n\
         Fail to get information for dpdk1\n\
         dpip: not exist\n"
    );
    let bond = standin.dpip("link show bond0 status");
    let expected = one.replace("dpdk0", "bond0") + &golden("bond-status.out");
    assert_eq!(bond, printed(&expected));
    let full = ports().dpip("-s -v link show dpdk0");
    assert_eq!(full, printed(&golden("link-verbose.out")));
    let stats = standin.dpip("-s link show dpdk0");
    assert_eq!(
        (stats.code, stats.out.lines().count()),
        (Some(0), 9),
        "{stats:?}"
    );
}

#[test]
fn rates() {
    let said = ports().dpip("-s -C -i 1 -c 2 link show dpdk0");
    let rows = "    ipackets/pps    opackets/pps    ibytes/Bps      obytes/Bps      \n    \
                10              0               0               20              \n    \
                ierrors/pps     oerrors/pps     imissed/pps     rx_nombuf/pps   \n    \
                0               0               0               0               \n";
    let expected = format!(
        "{}\x1b[34m{rows}\x1b[0m\x1b[32m{rows}\x1b[0m",
        golden("link-show.out")
    );
    assert_eq!(said, printed(&expected));
}

#[test]
fn rates_of_many_keep_their_headings() {
    let said = ports().dpip("-s -i 1 -c 1 link show cpu");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let titles: Vec<&str> = said
        .out
        .lines()
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_eq!(
        titles,
        [
            "<< Controll Plane >>",
            "1: cpu0: socket 0",
            "<< Data Plane >>",
            "2: cpu1: socket 0",
            "3: cpu2: socket 0"
        ]
    );
    assert_eq!(
        said.out
            .matches("    lcore_loop/lps  pktburst/nps ")
            .count(),
        3
    );
}

#[test]
fn lcores() {
    let standin = ports();
    assert_eq!(
        standin.dpip("link show cpu"),
        printed(&golden("cpu-show.out"))
    );
    let one = standin.dpip("-s link show cpu2");
    assert!(
        one.out
            .starts_with("3: cpu2: socket 0\n    queues dpdk0:rx0 "),
        "{one:?}"
    );
    assert_eq!(one.out.lines().count(), 8);
    let none = standin.dpip("link show cpu9");
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""));
}

#[test]
fn multicast_and_vlans() {
    let standin = ports();
    assert_eq!(
        standin.dpip("maddr show dev dpdk0"),
        printed("dpdk0:\n\tlink 01:00:5e:00:00:01\n\t inet 224.0.0.1\n")
    );
    let all = standin.dpip("maddr show");
    assert!(
        all.out.starts_with("1:\tdpdk0\n\tlink 01:00:5e:00:00:01\n"),
        "{all:?}"
    );
    let all = standin.dpip("-v maddr show").out;
    assert!(all.starts_with(&golden("maddr-verbose.out")), "{all}");
    // Listed on standard error, as ever.
    let vlans = standin.dpip("vlan show link dpdk0");
    let line = "dpdk0.100 link dpdk0 proto 802.1q id 100\n";
    assert_eq!(
        vlans,
        Said {
            code: Some(0),
            out: String::new(),
            err: line.to_owned()
        }
    );
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let standin = StandIn::new(|_| Ok(encode_counted(&vec![Route::default(); 20_000])));
    let said = standin.dpip_unread("route show");
    assert_eq!(
        said,
        Said {
            code: Some(0),
            out: String::new(),
            err: String::new()
        }
    );
    // Endless rounds end as well.
    let said = ports().dpip_unread("-s -i 1 link show dpdk0");
    assert_eq!(
        said,
        Said {
            code: Some(0),
            out: String::new(),
            err: String::new()
        }
    );
}
