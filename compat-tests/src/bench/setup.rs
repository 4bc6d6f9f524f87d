//! New flows: every frame opens one. And what a connection weighs.
//!
//! The file has a million flows of one frame each, and is replayed from before
//! the servers are there; from the moment they are, each frame sent is the
//! first of its flow until as many were sent as the file has.

use std::time::Duration;

use serde::Serialize;

use crate::bench::Options;
use crate::bench::cpu;
use crate::bench::director::{self, Director};
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{self, Kind, Proto};
use crate::bench::report::{self, Lines, Table};
use crate::bench::sample::{Rate, Sample, Spread};
use crate::bench::testpmd::{self, Mode};
use crate::error::{Context, Error, Result};

/// Flows in the file.
const FLOWS: usize = 1_000_000;
/// Room for connections: hardly more than there are flows, and little.
/// The difference in memory is what that many connections take.
const CONNS: (usize, usize) = ((1 << 20) - 1, (1 << 17) - 1);

/// A row of the report: millions of new flows a second, of wall-clock time
/// and of the worker's CPU time.
#[derive(Debug, Serialize)]
struct Row {
    bench: &'static str,
    row: String,
    memory: &'static str,
    realtime: bool,
    mflows: Spread,
    mflows_cpu: Spread,
    nanos: Spread,
    testpmd_5tswap_mpps_cpu: Spread,
    c_here_mflows_cpu: Option<f64>,
    times_c: Option<f64>,
    /// Resident memory with these connections, less that with little room.
    bytes_per_connection: Spread,
}

/// Measures and prints both rows. There is no target here: the C program's
/// figure, scaled by testpmd, stands beside.
///
/// # Errors
/// When a program does not run.
pub fn run(options: &Options) -> Result<()> {
    println!(
        "setup: every frame a new flow, {FLOWS} of them, FullNAT, wrr, 16 servers, one worker"
    );
    println!(
        "Mflows and ns are min/median/max of {} runs; Mflows/cpu, 5tswap and C (scaled by 5tswap) \
         are millions a second of worker CPU time, medians; the C program has {} bytes/connection",
        options.runs,
        report::C_CONN_BYTES
    );
    let table = Table::begin(&[
        ("flows", 9),
        ("Mflows", 19),
        ("ns/flow", 19),
        ("Mflows/cpu", 10),
        ("5tswap", 6),
        ("C", 6),
        ("times C", 7),
        ("bytes/connection", 16),
    ]);
    let mut lines = Lines::create(&options.out, "setup")?;
    for proto in [Proto::Udp, Proto::Tcp] {
        let name = format!("{}-new", proto.name());
        if options.wants(&name) {
            let row = measure(options, proto, name)?;
            let three = |s: &Spread| format!("{:.2}/{:.2}/{:.2}", s.min, s.median, s.max);
            let none = |s: &Spread| format!("{:.0}/{:.0}/{:.0}", s.min, s.median, s.max);
            table.row(&[
                row.row.clone(),
                three(&row.mflows),
                none(&row.nanos),
                format!("{:.2}", row.mflows_cpu.median),
                format!("{:.1}", row.testpmd_5tswap_mpps_cpu.median),
                row.c_here_mflows_cpu
                    .map_or_else(|| "-".into(), |c| format!("{c:.2}")),
                row.times_c
                    .map_or_else(|| "-".into(), |times| format!("{times:.1}")),
                none(&row.bytes_per_connection),
            ]);
            lines.add(&row)?;
        }
    }
    println!("written to {}", lines.path().display());
    Ok(())
}

fn measure(options: &Options, proto: Proto, name: String) -> Result<Row> {
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let dir = dir.path();
    let file = dir.join("flows.pcap");
    let frames = pcap::write(&file, proto, Kind::First, FLOWS)?;
    let memory = Memory::reserve(director::memory(frames));
    let (mut rates, mut swap, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let mut realtime = true;
    for _ in 0..options.runs {
        let time = options.yardstick_seconds;
        swap.push(testpmd::run(
            dir,
            &file,
            frames,
            &memory,
            Mode::FiveTupleSwap,
            time,
        )?);
        let before = {
            let idle = Director::start(dir, &file, frames, &memory, CONNS.1)?;
            cpu::resident(idle.pid())?
        };
        let mut director = Director::start(dir, &file, frames, &memory, CONNS.0)?;
        director.prepare(proto)?;
        realtime &= director.favoured;
        director.go(proto)?;
        rates.push(watch(&mut director)?);
        let grown = cpu::resident(director.pid())?.saturating_sub(before);
        bytes.push(grown as f64 / (CONNS.0 - CONNS.1) as f64);
    }
    let mflows_cpu = Spread::of(rates.iter().map(Rate::mpps_cpu));
    let yardstick = Spread::of(swap.iter().map(Rate::mpps_cpu));
    let c_here = report::c_here(&name, yardstick.median);
    Ok(Row {
        bench: "setup",
        row: name,
        memory: memory.name(),
        realtime,
        mflows: Spread::of(rates.iter().map(|r| r.mpps)),
        mflows_cpu,
        nanos: Spread::of(rates.iter().map(|r| r.nanos)),
        testpmd_5tswap_mpps_cpu: yardstick,
        c_here_mflows_cpu: c_here,
        times_c: c_here.map(|c| mflows_cpu.median / c),
        bytes_per_connection: Spread::of(bytes),
    })
}

/// The rate between a tenth and nine tenths of the new flows.
fn watch(director: &mut Director) -> Result<Rate> {
    let flows = FLOWS as u64;
    let mut from: Option<Sample> = None;
    let mut to: Option<Sample> = None;
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while std::time::Instant::now() < end {
        director.still_running()?;
        let sample = Sample::take(&director.telemetry, director.worker)?;
        if sample.sent >= flows / 10 && from.is_none() {
            from = Some(sample);
        }
        if sample.sent <= flows * 9 / 10 {
            to = Some(sample);
        }
        if sample.sent >= flows {
            break;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    match (from, to) {
        (Some(from), Some(to)) if to.sent > from.sent + flows / 4 => Rate::between(&from, &to),
        _ => Err(Error::new(
            "new flows came too fast, or not at all, for two looks at the counters",
        )),
    }
}
