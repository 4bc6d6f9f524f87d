//! What the listings of things that are only looked at print, against golden output
//! and as JSON: the largest flows, memory, the kernel's flows and ways to workers,
//! LLDP messages. Of things that were configured see `golden`.

use dpvs_ctl::msg::{
    DropCount, EalPool, EalRing, EalSeg, EalZone, IfTraf, KniFlow, LldpMessage, LldpParam,
    PortAffinity, encode_eal_wide,
};
use dpvs_ctl::server::Request;
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Af, Be16, ErrCode, Name, Wire, id};

use crate::golden::{answering, json, printed, slot};
use crate::standin::{StandIn, golden};

#[test]
fn largest_flows() {
    let small = IfTraf {
        af: 10,
        proto: 17,
        ifname: Name::truncated("dpdk1"),
        saddr: slot("2001:db8::1"),
        daddr: slot("2001:db8::2"),
        sport: Be16::new(53),
        dport: Be16::new(54),
        total_recv: 1000,
        ..IfTraf::default()
    };
    let large = IfTraf {
        af: 2,
        proto: 6,
        ifname: Name::truncated("dpdk0"),
        saddr: slot("10.0.0.1"),
        daddr: slot("192.168.88.1"),
        sport: Be16::new(1024),
        dport: Be16::new(80),
        total_recv: 3000,
        total_sent: 200,
        ..IfTraf::default()
    };
    let all = golden("iftraf-show.out");
    let standin = answering(encode_counted(&[small, large]));
    assert_eq!(standin.dpip("iftraf show"), printed(&all));
    assert_eq!(json(&standin, "iftraf show")[0]["dport"], 80);
    // Devices one after another come in order.
    let standin = answering(encode_counted(&[large, small]));
    assert_eq!(standin.dpip("iftraf show dev all"), printed(&all));
    let off = answering(Vec::new()).dpip("iftraf show");
    assert_eq!(
        (off.code, off.err.as_str()),
        (Some(0), "warnning: disabled.\n")
    );
    let none = answering(encode_counted::<IfTraf>(&[])).dpip("iftraf show");
    assert_eq!(none.code, Some(1));
    assert_eq!(none.err, "response nstats : 0.\ndpip: not exist\n");
}

#[test]
fn memory() {
    let standin = StandIn::new(|request: &Request| {
        Ok(match request.id {
            id::GET_EAL_MEM_SEG => encode_eal_wide(&[EalSeg {
                iova: 0x1_4000_0000,
                virt_addr: 0x1002_0000_0000,
                len: 2 << 20,
                hugepage_sz: 2 << 20,
                nchannel: 4,
                free_seg_len: 1 << 20,
                ..EalSeg::default()
            }]),
            id::GET_EAL_MEM_ZONE => {
                let zone = |name, offset: u64, kb: u64, socket_id| EalZone {
                    name: Name::truncated(name),
                    iova: 0x1_4000_0000 + offset,
                    virt_addr: 0x1002_0000_0000 + offset,
                    len: kb << 10,
                    hugepage_sz: 2 << 20,
                    socket_id,
                };
                encode_eal_wide(&[
                    zone("rte_eth_dev_data", 0, 64, 0),
                    zone("MP_mbuf", 0x10000, 128, 1),
                ])
            }
            id::GET_EAL_MEM_RING => encode_counted(&[EalRing {
                name: Name::truncated("msg_ring_1"),
                flags: 3,
                size: 4096,
                cons_tail: 10,
                cons_head: 10,
                prod_tail: 12,
                prod_head: 12,
                used: 2,
                avail: 4093,
            }]),
            id::GET_EAL_MEM_POOL => encode_counted(&[EalPool {
                name: Name::truncated("mbuf_pool_0"),
                flags: 16,
                size: 524_287,
                count: 516_095,
                elt_size: 2304,
                header_size: 64,
                trailer_size: 0,
                private_data_size: 64,
            }]),
            _ => return Err(ErrCode::INVAL),
        })
    });
    for what in ["seg", "zone", "ring", "pool"] {
        let wanted = golden(&format!("eal-mem-{what}.out"));
        let said = standin.dpip(&format!("eal-mem show {what}"));
        assert_eq!(said, printed(&wanted), "{what}");
        // Headings are no entries.
        let entries: String = wanted.split_inclusive('\n').skip(1).collect();
        let said = standin.dpip(&format!("-o eal-mem show {what}"));
        assert_eq!(said, printed(&entries), "{what}");
        let value = json(&standin, &format!("eal-mem show {what}"));
        assert_eq!(value.as_array().unwrap().len(), entries.lines().count());
    }
    // Any command does the same.
    assert_eq!(
        standin.dpip("eal-mem add"),
        printed(&golden("eal-mem-seg.out"))
    );
    for (line, head) in [
        (
            "eal-mem show seg pool",
            "too many arguments!\nUsage: dpip eal-mem ",
        ),
        (
            "eal-mem show disk",
            "eal mem parameter invalid!\nUsage: dpip eal-mem ",
        ),
    ] {
        let said = standin.dpip(line);
        assert!(
            said.code == Some(1) && said.err.starts_with(head),
            "{said:?}"
        );
    }
}

#[test]
fn flows_and_ways() {
    let standin = StandIn::new(|request: &Request| {
        let kni = |af, ip| KniFlow {
            kind: 1,
            ifname: Name::truncated("dpdk0"),
            af,
            addr: slot(ip),
        };
        let way = |ifname, port_id, rules, way, why| PortAffinity {
            ifname: Name::truncated(ifname),
            port_id,
            workers: 4,
            rules,
            way: Name::truncated(way),
            why: Name::truncated(why),
        };
        Ok(match request.id {
            id::GET_KNI_LIST => encode_counted(&[
                kni(Af::INET, "192.168.88.100"),
                kni(Af::INET6, "2001:db8::100"),
            ]),
            id::GET_PORT_AFFINITY => encode_counted(&[
                way(
                    "dpdk0",
                    0,
                    8,
                    "flow-rules",
                    "the NIC takes a rule for each local address and worker",
                ),
                way(
                    "dpdk1",
                    1,
                    0,
                    "hand-over",
                    "the driver does not say its hash key",
                ),
            ]),
            id::GET_DROPS => {
                let count = |cid, reason, count| DropCount {
                    cid,
                    count,
                    reason: Name::truncated(reason),
                };
                encode_counted(&[
                    count(1, "no-dest", 12),
                    count(1, "bad-checksum", 1),
                    count(1, "fragment", 0),
                    count(2, "no-dest", 10_000_000_000),
                ])
            }
            _ => return Err(ErrCode::INVAL),
        })
    });
    let kni = golden("flow-show.out");
    assert_eq!(standin.dpip("flow show type kni dev dpdk0"), printed(&kni));
    assert_eq!(standin.dpip("flow show"), printed(&golden("flow-ways.out")));
    assert_eq!(json(&standin, "flow show")[1]["way"], "hand-over");
    let drops = golden("drop-show.out");
    assert_eq!(standin.dpip("drop show"), printed(&drops));
    assert!(
        standin
            .dpip("-v drop show")
            .out
            .contains("cpu1   fragment ")
    );
    let heading = drops.lines().next().unwrap();
    let row = |line: &str| format!("{heading}\n{line}\n");
    assert_eq!(
        standin.dpip("drop show cpu 2"),
        printed(&row(drops.lines().nth(3).unwrap()))
    );
    let sum = json(&standin, "drop show total");
    assert_eq!(
        (&sum[0]["reason"], &sum[0]["packets"]),
        (&"no-dest".into(), &10_000_000_012_u64.into())
    );
}

#[test]
fn lldp() {
    let text = "Chassis ID TLV (1)\n\tMAC: a0:36:9f:f0:e4:d4\nTime to Live TLV (3)\n\t120\n\
                End of LLDPDU TLV\n";
    let message = LldpMessage {
        param: LldpParam {
            node: 1,
            ifname: Name::truncated("dpdk0"),
        },
        message: Name::truncated(text),
    };
    let standin = answering(message.encode());
    assert_eq!(
        standin.dpip("lldp show neigh dev dpdk0"),
        printed(&golden("lldp-show.out"))
    );
    let local = standin.dpip("lldp show dev dpdk0").out;
    assert!(
        local.starts_with("-*-*-*- Local LLDP Message on Port dpdk0 -*-*-*-\n"),
        "{local}"
    );
    assert_eq!(
        json(&standin, "lldp show dev dpdk0")[0]["message"][1],
        "\tMAC: a0:36:9f:f0:e4:d4"
    );
}
