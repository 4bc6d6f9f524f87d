//! `dpip link show cpu`: lcores, the queues they serve, and their counters.
//!
//! Knows the messages about lcores and their text form.

use dpvs_ctl::msg::{LcoreBasic, LcoreMask, LcoreStats};
use dpvs_ctl::{Client, CtlError};

use super::row;
use super::table::{Meter, Target, rate, rounds};
use crate::Cx;
use crate::failure::Failure;
use crate::out::complain;

/// An lcore in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    lcore: u8,
    /// The line above it, if it is the first of its kind.
    heading: &'static str,
    /// What stands before `cpuN` when it cannot be shown.
    role: &'static str,
}

/// Shows every lcore that the daemon uses.
pub(super) fn show_all(cx: &mut Cx) -> Result<(), Failure> {
    let mask = cx.client.lcores().map_err(|error| {
        let failure = Failure::from(error);
        let line = format!(
            "Fail to get configured CPU information: {}.",
            failure.text()
        );
        failure.and(&line)
    })?;
    let entries = entries(&mask);
    if let Some(interval) = cx.options.interval.filter(|_| cx.options.stats) {
        let mut targets = Vec::new();
        for entry in &entries {
            let title = format!("{}{}", entry.heading, basic(&cx.client, entry.lcore)?);
            targets.push(Target {
                key: entry.lcore,
                title,
            });
        }
        return rounds(cx, interval, &targets, &METER);
    }
    let mut last = Ok(());
    for Entry {
        lcore,
        heading,
        role,
    } in entries
    {
        cx.out.print(heading)?;
        match block(&cx.client, cx.options.stats, lcore) {
            Ok(text) => cx.out.print(&text)?,
            Err(failure) => {
                let line = format!("Fail to get information for {role}cpu{lcore}");
                cx.out.flush()?;
                last = Err(failure.told(complain, &line));
            }
        }
    }
    last
}

/// Shows one lcore.
pub(super) fn show_one(cx: &mut Cx, lcore: u8) -> Result<(), Failure> {
    if let Some(interval) = cx.options.interval.filter(|_| cx.options.stats) {
        let title = basic(&cx.client, lcore)?;
        return rounds(cx, interval, &[Target { key: lcore, title }], &METER);
    }
    let text = block(&cx.client, cx.options.stats, lcore)?;
    cx.out.print(&text)
}

const METER: Meter<u8, LcoreStats> = Meter {
    sample,
    rates: rate_text,
};

fn sample(client: &Client, lcore: &u8) -> Result<LcoreStats, CtlError> {
    client.lcore_stats(*lcore)
}

/// The lcores of a mask, control plane first, workers and receivers by number.
fn entries(mask: &LcoreMask) -> Vec<Entry> {
    let mut entries = vec![Entry {
        lcore: mask.master_lcore_id,
        heading: "<< Controll Plane >>\n",
        role: "Master ",
    }];
    if mask.kni_lcore_id != 0 {
        entries.push(Entry {
            lcore: mask.kni_lcore_id,
            heading: "",
            role: "KNI ",
        });
    }
    let mut add = |mask: u64, title: &'static str| {
        let mut heading = title;
        for lcore in (0..64).filter(|lcore| mask >> lcore & 1 != 0) {
            entries.push(Entry {
                lcore,
                heading,
                role: "",
            });
            heading = "";
        }
    };
    add(mask.slave_lcore_mask, "<< Data Plane >>\n");
    add(mask.isol_rx_lcore_mask, "<< Isolate RX Lcores >>\n");
    entries
}

fn block(client: &Client, stats: bool, lcore: u8) -> Result<String, Failure> {
    let mut text = basic(client, lcore)?;
    if stats {
        text.push_str(&stats_text(&client.lcore_stats(lcore)?));
    }
    Ok(text)
}

fn basic(client: &Client, lcore: u8) -> Result<String, Failure> {
    let (basic, queues) = client.lcore(lcore)?;
    Ok(basic_text(&basic, &queues))
}

fn basic_text(basic: &LcoreBasic, queues: &str) -> String {
    let LcoreBasic {
        lcore_id,
        socket_id,
        ..
    } = *basic;
    let queues = if basic.queue_data_len == 0 {
        "none"
    } else {
        queues
    };
    let number = u32::from(lcore_id) + 1;
    format!("{number}: cpu{lcore_id}: socket {socket_id}\n    queues {queues}\n")
}

fn stats_text(stats: &LcoreStats) -> String {
    let mut text = String::new();
    row(
        &mut text,
        20,
        &[&"lcore_loop", &"pktburst", &"zpktburst", &"fpktburst"],
    );
    row(
        &mut text,
        20,
        &[
            &stats.lcore_loop,
            &stats.pktburst,
            &stats.zpktburst,
            &stats.fpktburst,
        ],
    );
    row(&mut text, 20, &[&"z2hpktburst", &"h2fpktburst", &"dropped"]);
    row(
        &mut text,
        20,
        &[&stats.z2hpktburst, &stats.h2fpktburst, &stats.dropped],
    );
    row(
        &mut text,
        20,
        &[&"ipackets", &"ibytes", &"opackets", &"obytes"],
    );
    row(
        &mut text,
        20,
        &[
            &stats.ipackets,
            &stats.ibytes,
            &stats.opackets,
            &stats.obytes,
        ],
    );
    text
}

fn rate_text(before: &LcoreStats, after: &LcoreStats, seconds: u64) -> String {
    let per = |field: fn(&LcoreStats) -> u64| rate(field(before), field(after), seconds);
    let mut text = String::new();
    row(
        &mut text,
        16,
        &[
            &"lcore_loop/lps",
            &"pktburst/nps",
            &"zpktburst/nps",
            &"fpktburst/nps",
        ],
    );
    row(
        &mut text,
        16,
        &[
            &per(|s| s.lcore_loop),
            &per(|s| s.pktburst),
            &per(|s| s.zpktburst),
            &per(|s| s.fpktburst),
        ],
    );
    row(
        &mut text,
        16,
        &[&"z2hpktburst/nps", &"h2fpktburst/nps", &"dropped/nps"],
    );
    row(
        &mut text,
        16,
        &[
            &per(|s| s.z2hpktburst),
            &per(|s| s.h2fpktburst),
            &per(|s| s.dropped),
        ],
    );
    row(
        &mut text,
        16,
        &[
            &"ipackets/pps",
            &"ibytes/Bps",
            &"opackets/pps",
            &"obytes/Bps",
        ],
    );
    row(
        &mut text,
        16,
        &[
            &per(|s| s.ipackets),
            &per(|s| s.ibytes),
            &per(|s| s.opackets),
            &per(|s| s.obytes),
        ],
    );
    text
}

#[cfg(test)]
mod tests;
