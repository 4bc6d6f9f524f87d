//! `dpip link show cpu`: lcores, the queues they serve, and their counters.
//!
//! Knows the messages about lcores and their text form.

use dpvs_ctl::msg::{DropCount, LcoreBasic, LcoreMask, LcoreStats};
use dpvs_ctl::{Client, CtlError};
use serde_json::{Value, json};

use super::row;
use super::table::{Meter, Target, rate, rounds};
use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;

/// An lcore in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) lcore: u8,
    /// The line above it, if it is the first of its kind.
    heading: &'static str,
    /// What stands before `cpuN` when it cannot be shown.
    role: &'static str,
    /// What it does.
    pub(super) task: &'static str,
}

/// The lcores that the daemon uses.
pub(super) fn all(client: &Client) -> Result<Vec<Entry>, Failure> {
    let mask = client.lcores().map_err(|error| {
        let failure = Failure::from(error);
        let line = format!(
            "Fail to get configured CPU information: {}.",
            failure.text()
        );
        failure.and(&line)
    })?;
    Ok(entries(&mask))
}

/// Shows every lcore that the daemon uses.
pub(super) fn show_all(cx: &mut Cx) -> Result<(), Failure> {
    let entries = all(&cx.client)?;
    if let Some(interval) = cx.options.interval.filter(|_| cx.options.stats) {
        let mut targets = Vec::new();
        for entry in &entries {
            let title = format!("{}{}", entry.heading, basic(&cx.client, entry.lcore)?);
            targets.push(Target {
                key: entry.lcore,
                name: ("cpu", json!(entry.lcore)),
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
        task,
    } in entries
    {
        match block(&cx.client, cx.options.stats, lcore, Some(task)) {
            Ok(record) => cx.out.emit(record.under(heading))?,
            Err(failure) => {
                let line = format!("Fail to get information for {role}cpu{lcore}");
                cx.out.heading(heading)?;
                last = Err(failure.told(&mut cx.out, &line));
            }
        }
    }
    last
}

/// Shows one lcore.
pub(super) fn show_one(cx: &mut Cx, lcore: u8) -> Result<(), Failure> {
    if let Some(interval) = cx.options.interval.filter(|_| cx.options.stats) {
        let title = basic(&cx.client, lcore)?;
        let target = Target {
            key: lcore,
            name: ("cpu", json!(lcore)),
            title,
        };
        return rounds(cx, interval, &[target], &METER);
    }
    let record = block(&cx.client, cx.options.stats, lcore, None)?;
    cx.out.emit(record)
}

const METER: Meter<u8, LcoreStats> = Meter {
    sample,
    rates: rate_text,
};

pub(super) fn sample(client: &Client, lcore: &u8) -> Result<LcoreStats, CtlError> {
    client.lcore_stats(*lcore)
}

/// The lcores of a mask, control plane first, workers and receivers by number.
fn entries(mask: &LcoreMask) -> Vec<Entry> {
    let mut entries = vec![Entry {
        lcore: mask.master_lcore_id,
        heading: "<< Controll Plane >>\n",
        role: "Master ",
        task: "master",
    }];
    if mask.kni_lcore_id != 0 {
        entries.push(Entry {
            lcore: mask.kni_lcore_id,
            heading: "",
            role: "KNI ",
            task: "kni",
        });
    }
    let mut add = |mask: u64, title: &'static str, task: &'static str| {
        let mut heading = title;
        for lcore in (0..64).filter(|lcore| mask >> lcore & 1 != 0) {
            entries.push(Entry {
                lcore,
                heading,
                role: "",
                task,
            });
            heading = "";
        }
    };
    add(mask.slave_lcore_mask, "<< Data Plane >>\n", "worker");
    add(mask.isol_rx_lcore_mask, "<< Isolate RX Lcores >>\n", "rx");
    entries
}

fn block(client: &Client, stats: bool, lcore: u8, task: Option<&str>) -> Result<Record, Failure> {
    let (basic, queues) = client.lcore(lcore)?;
    let mut text = basic_text(&basic, &queues);
    let mut value = json!({
        "cpu": lcore,
        "socket": basic.socket_id,
        "queues": queues.split_whitespace().filter(|q| *q != "--").collect::<Vec<_>>(),
    });
    if let Some(task) = task {
        value["role"] = json!(task);
    }
    if stats {
        let stats = client.lcore_stats(lcore)?;
        text.push_str(&stats_text(&stats));
        value["stats"] = counters(&stats);
        // The C daemon does not tell.
        let drops = client.drops().unwrap_or_default();
        let ours = drops.iter().filter(|d| d.cid == lcore && d.count > 0);
        for DropCount { count, reason, .. } in ours {
            row(&mut text, 20, &[&reason.text(), count]);
            value["drops"][&*reason.text()] = json!(count);
        }
    }
    Ok(Record::new(text, value))
}

/// The counters as a value.
fn counters(stats: &LcoreStats) -> Value {
    json!({
        "lcore_loop": stats.lcore_loop,
        "pktburst": stats.pktburst,
        "zpktburst": stats.zpktburst,
        "fpktburst": stats.fpktburst,
        "z2hpktburst": stats.z2hpktburst,
        "h2fpktburst": stats.h2fpktburst,
        "dropped": stats.dropped,
        "ipackets": stats.ipackets,
        "ibytes": stats.ibytes,
        "opackets": stats.opackets,
        "obytes": stats.obytes,
    })
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
    let LcoreStats {
        lcore_loop,
        pktburst,
        zpktburst,
        fpktburst,
        z2hpktburst,
        h2fpktburst,
        dropped,
        ipackets,
        ibytes,
        opackets,
        obytes,
        ..
    } = stats;
    let mut text = String::new();
    row(
        &mut text,
        20,
        &[&"lcore_loop", &"pktburst", &"zpktburst", &"fpktburst"],
    );
    row(&mut text, 20, &[lcore_loop, pktburst, zpktburst, fpktburst]);
    row(&mut text, 20, &[&"z2hpktburst", &"h2fpktburst", &"dropped"]);
    row(&mut text, 20, &[z2hpktburst, h2fpktburst, dropped]);
    row(
        &mut text,
        20,
        &[&"ipackets", &"ibytes", &"opackets", &"obytes"],
    );
    row(&mut text, 20, &[ipackets, ibytes, opackets, obytes]);
    text
}

/// What grew, a second, in every field.
fn per_second(before: &LcoreStats, after: &LcoreStats, seconds: u64) -> LcoreStats {
    let per = |field: fn(&LcoreStats) -> u64| rate(field(before), field(after), seconds);
    LcoreStats {
        lcore_loop: per(|s| s.lcore_loop),
        pktburst: per(|s| s.pktburst),
        zpktburst: per(|s| s.zpktburst),
        fpktburst: per(|s| s.fpktburst),
        z2hpktburst: per(|s| s.z2hpktburst),
        h2fpktburst: per(|s| s.h2fpktburst),
        ipackets: per(|s| s.ipackets),
        ibytes: per(|s| s.ibytes),
        opackets: per(|s| s.opackets),
        obytes: per(|s| s.obytes),
        dropped: per(|s| s.dropped),
        ..*after
    }
}

fn rate_text(before: &LcoreStats, after: &LcoreStats, seconds: u64) -> (String, Value) {
    let rates = per_second(before, after, seconds);
    let LcoreStats {
        lcore_loop,
        pktburst,
        zpktburst,
        fpktburst,
        z2hpktburst,
        h2fpktburst,
        dropped,
        ipackets,
        ibytes,
        opackets,
        obytes,
        ..
    } = &rates;
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
    row(&mut text, 16, &[lcore_loop, pktburst, zpktburst, fpktburst]);
    row(
        &mut text,
        16,
        &[&"z2hpktburst/nps", &"h2fpktburst/nps", &"dropped/nps"],
    );
    row(&mut text, 16, &[z2hpktburst, h2fpktburst, dropped]);
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
    row(&mut text, 16, &[ipackets, ibytes, opackets, obytes]);
    let value = counters(&rates);
    (text, value)
}

#[cfg(test)]
mod tests;
