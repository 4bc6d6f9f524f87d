//! Established flows: FullNAT, weighted round robin, 16 servers.
//!
//! In each run testpmd (io, then 5tswap) and the director take turns on the
//! same file, so that neighbours of this machine disturb all alike.

use serde::Serialize;

use crate::bench::Options;
use crate::bench::director::{self, Director};
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{self, Kind, Proto};
use crate::bench::report::{self, Lines, Table};
use crate::bench::sample::{self, Rate, Spread};
use crate::bench::testpmd::{self, Mode};
use crate::error::{Context, Error, Result};
use crate::wait;

/// Flows of the rows and what the rows call them.
const FLOWS: [(usize, &str); 4] = [
    (1, "1"),
    (1_000, "1k"),
    (100_000, "100k"),
    (1_000_000, "1M"),
];

/// A row of the report. Rates are in million packets a second: `mpps` of
/// wall-clock time, `mpps_cpu` of the worker's CPU time.
#[derive(Debug, Serialize)]
struct Row {
    bench: &'static str,
    row: String,
    proto: &'static str,
    flows: usize,
    memory: &'static str,
    realtime: bool,
    mpps: Spread,
    mpps_cpu: Spread,
    nanos: Spread,
    sent_share: Spread,
    testpmd_io: Yardstick,
    testpmd_5tswap: Yardstick,
    needed_mpps_cpu: Option<f64>,
    met: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Yardstick {
    mpps: Spread,
    mpps_cpu: Spread,
    nanos: Spread,
}

impl Yardstick {
    fn of(rates: &[Rate]) -> Self {
        Self {
            mpps: Spread::of(rates.iter().map(|r| r.mpps)),
            mpps_cpu: Spread::of(rates.iter().map(Rate::mpps_cpu)),
            nanos: Spread::of(rates.iter().map(|r| r.nanos)),
        }
    }
}

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When a program does not run.
pub fn run(options: &Options) -> Result<bool> {
    println!("forward: 64-byte frames, FullNAT, wrr, 16 servers, one worker");
    println!(
        "Mpps and ns are the director's, min/median/max of {} runs; Mpps/cpu, io, 5tswap and \
         needed are millions a second of worker CPU time, medians",
        options.runs
    );
    let table = Table::begin(&[
        ("flows", 9),
        ("Mpps", 19),
        ("ns/packet", 19),
        ("Mpps/cpu", 8),
        ("io", 6),
        ("5tswap", 6),
        ("needed", 6),
        ("met", 3),
        ("sent", 6),
    ]);
    let mut lines = Lines::create(&options.out, "forward")?;
    let mut all_met = true;
    for proto in [Proto::Udp, Proto::Tcp] {
        for (flows, label) in FLOWS {
            let name = format!("{}-{label}", proto.name());
            if options.wants(&name) {
                let row = measure(options, proto, flows, name)?;
                table.row(&cells(&row));
                all_met &= row.met != Some(false);
                lines.add(&row)?;
            }
        }
    }
    println!("written to {}", lines.path().display());
    Ok(all_met)
}

fn measure(options: &Options, proto: Proto, flows: usize, name: String) -> Result<Row> {
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let dir = dir.path();
    let file = dir.join("flows.pcap");
    let frames = pcap::write(&file, proto, Kind::Established, flows)?;
    let memory = Memory::reserve(director::memory(frames));
    let (mut ours, mut io, mut swap) = (Vec::new(), Vec::new(), Vec::new());
    let mut realtime = true;
    for _ in 0..options.runs {
        for (mode, rates) in [(Mode::Io, &mut io), (Mode::FiveTupleSwap, &mut swap)] {
            let time = options.yardstick_seconds;
            rates.push(testpmd::run(dir, &file, frames, &memory, mode, time)?);
        }
        let mut director = Director::start(dir, &file, frames, &memory, director::CONNS)?;
        director.prepare(proto)?;
        director.go(proto)?;
        realtime &= director.favoured;
        warm_up(&mut director, frames)?;
        let rate = sample::measure(&director.telemetry, director.worker, options.seconds)?;
        director.still_running()?;
        ours.push(rate);
    }
    let yardstick = Yardstick::of(&swap);
    let mpps_cpu = Spread::of(ours.iter().map(Rate::mpps_cpu));
    let needed = report::needed(&name, yardstick.mpps_cpu.median);
    Ok(Row {
        bench: "forward",
        row: name,
        proto: proto.name(),
        flows,
        memory: memory.name(),
        realtime,
        mpps: Spread::of(ours.iter().map(|r| r.mpps)),
        mpps_cpu,
        nanos: Spread::of(ours.iter().map(|r| r.nanos)),
        sent_share: Spread::of(ours.iter().map(|r| r.sent_share)),
        testpmd_io: Yardstick::of(&io),
        testpmd_5tswap: yardstick,
        needed_mpps_cpu: needed,
        met: needed.map(|needed| mpps_cpu.median >= needed),
    })
}

/// Waits until every flow has its connection: until the file was sent twice.
fn warm_up(director: &mut Director, frames: usize) -> Result<()> {
    let enough = 2 * frames as u64;
    let limit = std::time::Duration::from_secs(60);
    let waited = wait::until_true("the first packets of every flow", limit, || {
        director.still_running()?;
        Ok(director.telemetry.packets(1)?.sent >= enough)
    });
    waited.map(drop).map_err(|error| {
        let stats = director.dpip("link show -s").unwrap_or_default();
        Error::new(format!("{error}; the ports say:\n{stats}"))
    })
}

fn cells(row: &Row) -> Vec<String> {
    let three = |s: &Spread| format!("{:.2}/{:.2}/{:.2}", s.min, s.median, s.max);
    let one = |s: &Spread| format!("{:.1}/{:.1}/{:.1}", s.min, s.median, s.max);
    vec![
        row.row.clone(),
        three(&row.mpps),
        one(&row.nanos),
        format!("{:.2}", row.mpps_cpu.median),
        format!("{:.1}", row.testpmd_io.mpps_cpu.median),
        format!("{:.1}", row.testpmd_5tswap.mpps_cpu.median),
        row.needed_mpps_cpu
            .map_or_else(|| "-".into(), |needed| format!("{needed:.2}")),
        report::verdict(row.mpps_cpu.median, row.needed_mpps_cpu).to_owned(),
        format!("{:.1}%", row.sent_share.median * 100.0),
    ]
}
