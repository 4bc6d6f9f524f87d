//! Masks and counters in, lines out.

use super::*;

#[test]
fn headings_stand_above_the_first_of_a_kind() {
    let mask = LcoreMask {
        master_lcore_id: 0,
        kni_lcore_id: 9,
        slave_lcore_num: 2,
        isol_rx_lcore_num: 1,
        slave_lcore_mask: 1 << 1 | 1 << 63,
        isol_rx_lcore_mask: 1 << 5,
    };
    let lines: Vec<_> = entries(&mask)
        .iter()
        .map(|e| format!("{}{}{}", e.heading, e.role, e.lcore))
        .collect();
    assert_eq!(
        lines,
        [
            "<< Controll Plane >>\nMaster 0",
            "KNI 9",
            "<< Data Plane >>\n1",
            "63",
            "<< Isolate RX Lcores >>\n5"
        ]
    );
}

#[test]
fn queues_or_none() {
    let mut basic = LcoreBasic {
        lcore_id: 1,
        socket_id: 0,
        queue_data_len: 20,
    };
    assert_eq!(
        basic_text(&basic, "dpdk0:rx0       "),
        "2: cpu1: socket 0\n    queues dpdk0:rx0       \n"
    );
    basic.queue_data_len = 0;
    assert_eq!(
        basic_text(&basic, ""),
        "2: cpu1: socket 0\n    queues none\n"
    );
}

#[test]
fn counters_and_rates() {
    let stats = |n: u64| LcoreStats {
        lcore_id: 1,
        lcore_loop: n,
        pktburst: 2 * n,
        zpktburst: 3 * n,
        fpktburst: 4 * n,
        z2hpktburst: 5 * n,
        h2fpktburst: 6 * n,
        ipackets: 7 * n,
        ibytes: 8 * n,
        opackets: 9 * n,
        obytes: 10 * n,
        dropped: 11 * n,
    };
    let text = stats_text(&stats(1));
    let cells: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        cells,
        [
            &["lcore_loop", "pktburst", "zpktburst", "fpktburst"][..],
            &["1", "2", "3", "4"],
            &["z2hpktburst", "h2fpktburst", "dropped"],
            &["5", "6", "11"],
            &["ipackets", "ibytes", "opackets", "obytes"],
            &["7", "8", "9", "10"]
        ]
    );
    assert!(
        text.lines()
            .all(|line| line.len() == 84 || line.len() == 64),
        "{text}"
    );
    let (text, value) = rate_text(&stats(10), &stats(30), 2);
    assert_eq!(
        text.lines().nth(1).unwrap(),
        format!("    {:<16}{:<16}{:<16}{:<16}", 10, 20, 30, 40)
    );
    assert_eq!(
        text.lines().nth(3).unwrap(),
        format!("    {:<16}{:<16}{:<16}", 50, 60, 110)
    );
    assert_eq!(
        text.lines().nth(5).unwrap(),
        format!("    {:<16}{:<16}{:<16}{:<16}", 70, 80, 90, 100)
    );
    assert_eq!(
        (&value["lcore_loop"], &value["dropped"]),
        (&json!(10), &json!(110))
    );
}
