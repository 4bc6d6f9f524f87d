//! New flows: datagrams, SYNs, whole TCP lives, in `core_bench`; and through a
//! driver, every frame opening one.
//!
//! With a driver a file of a million flows, one frame each, is replayed from
//! before the servers are there; from the moment they are, each frame sent is
//! the first of its flow until as many were sent as the file has.

use std::time::{Duration, Instant};

use crate::bench::Options;
use crate::bench::director::{self, Director, Port, Setting, Ways};
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{self, Packet, Proto, Traffic};
use crate::bench::program::{CoreBench, spread};
use crate::bench::report::{Column, Need, Report, Row};
use crate::bench::sample::{Rate, Sample, Spread};
use crate::bench::testpmd::{self, Mode};
use crate::error::{Context, Error, Result};

/// Rows of the core benchmark: kind, family, flows, millions a second needed of
/// a second of CPU time.
const CORE: [(&str, u8, u32, Option<f64>); 9] = [
    ("udp", 4, 1_000_000, Some(4.0)),
    ("udp", 4, 4_000_000, None),
    ("udp", 6, 1_000_000, None),
    ("syn", 4, 1_000_000, Some(3.0)),
    ("syn", 4, 4_000_000, None),
    ("syn", 6, 1_000_000, None),
    ("expire", 4, 1_000_000, None),
    ("life", 4, 1_000_000, Some(1.0)),
    ("life", 6, 1_000_000, None),
];

/// Flows in the file.
const FLOWS: usize = 1_000_000;
/// Room for connections: hardly more than there are flows.
const CONNS: usize = (1 << 20) - 1;

const COLUMNS: [Column; 6] = [
    ("core", "row", 0),
    ("Mflows/s", "mflows_per_second", 2),
    ("ns/flow", "ns_per_flow", 0),
    ("wall ns/flow", "wall_ns_per_flow", 0),
    (">=", "needed_mflows_per_second", 1),
    ("met", "met", 0),
];

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When a program does not run.
pub fn run(options: &Options) -> Result<bool> {
    println!("setup: new flows, FullNAT, wrr, 16 servers; millions a second of worker CPU time");
    println!(
        "min/median/max of {} runs; life: SYN, SYN-ACK, ACK, request, response, FIN, FIN, ACK, \
         and the end by timer; expire: datagrams' flows while as many end",
        options.runs
    );
    let mut report = Report::begin(&options.out, "setup", &COLUMNS)?;
    let program = CoreBench::build()?;
    for (kind, af, flows, needed) in CORE {
        let name = format!("{kind}{af}-{}M", flows / 1_000_000);
        if options.wants(&name) {
            let row = in_core(options, &program, (kind, af, flows), name)?;
            report.add(&match needed {
                Some(least) => row.needs("mflows_per_second", Need::AtLeast(least)),
                None => row,
            })?;
        }
    }
    report.table(&[
        ("daemon", "row", 0),
        ("Mflows/s", "mflows_per_second", 2),
        ("ns/flow", "ns_per_flow", 0),
        ("wall Mflows/s", "wall_mflows_per_second", 2),
        ("5tswap Mpps/cpu", "testpmd_5tswap_mpps_cpu", 1),
    ]);
    for proto in [Proto::Udp, Proto::Tcp] {
        let traffic = Traffic { proto, v6: false };
        let name = format!("{}4-daemon", traffic.name());
        if options.wants(&name) {
            report.add(&in_daemon(options, traffic, name)?)?;
        }
    }
    Ok(report.end())
}

fn in_core(
    options: &Options,
    program: &CoreBench,
    (kind, af, flows): (&str, u8, u32),
    name: String,
) -> Result<Row> {
    let runs = options.runs;
    let lines = program.run(&format!(
        "setup kind={kind} af={af} flows={flows} runs={runs}"
    ))?;
    Ok(Row::default()
        .with("row", name)
        .with("kind", kind)
        .with("af", af)
        .with("flows", flows)
        .with("mflows_per_second", spread(&lines, "mflows_per_second")?)
        .with("ns_per_flow", spread(&lines, "ns_per_flow")?)
        .with("wall_ns_per_flow", spread(&lines, "wall_ns_per_flow")?))
}

fn in_daemon(options: &Options, traffic: Traffic, name: String) -> Result<Row> {
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let file = dir.path().join("flows.pcap");
    let frames = traffic.write(&file, pcap::mac(0), Packet::First, FLOWS, &[])?;
    let memory = Memory::reserve(director::memory(frames));
    let setting = Setting {
        dir: dir.path(),
        ports: &[Port::Replay(file), Port::Sink],
        frames,
        memory: &memory,
    };
    let (mut rates, mut swap) = (Vec::new(), Vec::new());
    let mut realtime = true;
    for _ in 0..options.runs {
        let time = options.yardstick_seconds;
        swap.push(testpmd::run(&setting, Mode::FiveTupleSwap, time)?);
        let mut director = Director::start(&setting, CONNS, &Ways::default())?;
        director.prepare(traffic)?;
        realtime &= director.favoured;
        director.go(traffic)?;
        rates.push(watch(&mut director)?);
    }
    let spread = |rates: &[Rate], figure: fn(&Rate) -> f64| Spread::of(rates.iter().map(figure));
    Ok(Row::default()
        .with("row", name)
        .with("proto", traffic.name())
        .with("af", traffic.af())
        .with("flows", FLOWS)
        .with("mflows_per_second", spread(&rates, Rate::mpps_cpu))
        .with("ns_per_flow", spread(&rates, |r| r.nanos))
        .with("wall_mflows_per_second", spread(&rates, |r| r.mpps))
        .with("testpmd_5tswap_mpps_cpu", spread(&swap, Rate::mpps_cpu))
        .with("memory", memory.name())
        .with("realtime", realtime))
}

/// The rate between a tenth and nine tenths of the new flows.
fn watch(director: &mut Director) -> Result<Rate> {
    let flows = FLOWS as u64;
    let mut from: Option<Sample> = None;
    let mut to: Option<Sample> = None;
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
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
