//! Messages in, lines out.

use super::*;
use dpvs_ctl::Wire;
use dpvs_ctl::msg::{ConfQueues, McList, NicDev};
use proptest::prelude::*;

#[test]
fn flags_are_words() {
    let nic = NicBasic {
        name: Name::truncated("dpdk1"),
        addr: Name::truncated("02:00:00:00:00:01"),
        link_status: Name::truncated("DOWN"),
        flags: 0x7ff,
        mtu: 9000,
        port_id: 1,
        nrxq: 1,
        ntxq: 2,
        ..NicBasic::default()
    };
    assert_eq!(
        basic_text(&nic),
        "2: dpdk1: socket 0 mtu 9000 rx-queue 1 tx-queue 2\n    \
         DOWN 0 Mbps promisc allmulticast foward2kni tc-egress tc-ingress lldp \n    \
         addr 02:00:00:00:00:01 OF_RX_IP_CSUM OF_TX_IP_CSUM OF_TX_TCP_CSUM OF_TX_UDP_CSUM \
         OF_TX_FAST_FREE \n"
    );
}

#[test]
fn counters_in_columns() {
    let stats = NicStats {
        mbuf_avail: 9,
        mbuf_inuse: 10,
        ipackets: 1,
        opackets: 2,
        ibytes: 3,
        obytes: 4,
        imissed: 7,
        ierrors: 5,
        oerrors: 6,
        rx_nombuf: 8,
        ..NicStats::default()
    };
    let row = |cells: &[&str]| -> String {
        let cells: String = cells.iter().map(|cell| format!("{cell:<20}")).collect();
        format!("    {cells}\n")
    };
    let expected = [
        row(&["ipackets", "opackets", "ibytes", "obytes"]),
        row(&["1", "2", "3", "4"]),
        row(&["ierrors", "oerrors", "imissed", "rx_nombuf"]),
        row(&["5", "6", "7", "8"]),
        row(&["mbuf-avail", "mbuf-inuse"]),
        row(&["9", "10"]),
    ];
    assert_eq!(stats_text(&stats), expected.concat());
}

#[test]
fn rates_in_columns() {
    let stats = |n| NicStats {
        ipackets: n,
        obytes: 4 * n,
        ierrors: 5 * n,
        ..NicStats::default()
    };
    let (text, value) = rate_text(&stats(100), &stats(110), 5);
    assert_eq!(
        (&value["ipackets"], &value["obytes"]),
        (&json!(2), &json!(8))
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "    ipackets/pps    opackets/pps    ibytes/Bps      obytes/Bps      "
    );
    assert_eq!(
        lines[1],
        "    2               0               0               8               "
    );
    assert_eq!(
        lines[2],
        "    ierrors/pps     oerrors/pps     imissed/pps     rx_nombuf/pps   "
    );
    assert_eq!(
        lines[3],
        "    10              0               0               0               "
    );
}

#[test]
fn driver_counters_or_none() {
    assert_eq!(
        xstats_text(&[]),
        "    xstats list:\n        not supported\n"
    );
    let one = XStat {
        id: 12,
        val: 34,
        name: Name::truncated("rx_good_packets"),
    };
    assert_eq!(
        xstats_text(&[one]),
        "    xstats list:\n        12    rx_good_packets: 34\n"
    );
}

#[test]
fn abilities() {
    let ext = NicExt {
        dev_info: NicDev {
            pci_addr: Name::truncated("0000:03:00.0"),
            driver_name: Name::truncated("net_ixgbe"),
            rx_offload_capa: 0x2203f,
            flow_type_rss_offloads: 0x38d34,
            speed_capa: 256,
            ..NicDev::default()
        },
        cfg_queues: ConfQueues {
            data_offset: 0,
            data_len: 100,
        },
        mc_list: McList::default(),
        ..NicExt::default()
    };
    let text = ext_text(&ext, "    rx0-tx0     cpu1-cpu1\n", "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        format!("    {:<32}{:<32}", "pci_addr", "driver_name")
    );
    assert_eq!(
        lines[1],
        format!("    {:<32}{:<32}", "0000:03:00.0", "net_ixgbe")
    );
    assert_eq!(
        lines[7],
        format!("    {:<16}{:<16}{:<16}{:<16}", 0, "0x2203F", "0x0", 0)
    );
    assert_eq!(
        lines[9],
        format!("    {:<16}{:<16}{:<16}{:<16}", 0, "0x38D34", 0, 0)
    );
    assert!(lines[13].trim_end().ends_with("256"));
    assert_eq!(
        lines[14..],
        [
            "    Queue Configuration:",
            "    rx0-tx0     cpu1-cpu1",
            "     ... (truncated)"
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_can_be_shown(bytes in proptest::collection::vec(any::<u8>(), 2392)) {
        basic_text(&NicBasic::take(&bytes));
        stats_text(&NicStats::take(&bytes));
        rate_text(&NicStats::take(&bytes), &NicStats::take(&bytes[720..]), 1);
        bond_text(&BondStatus::take(&bytes));
        ext_text(&NicExt::take(&bytes), "", "x");
    }
}
