//! The forwarding logic alone: `core_bench` at every number of flows, protocol,
//! family and direction, with instructions counted; and ten million connections
//! of which some are replaced all the time.
//!
//! Up to ten million flows, which no packet file holds, and without driver or
//! EAL: what is left is the pipeline and its tables.

use crate::bench::Options;
use crate::bench::cost::Costs;
use crate::bench::program::{CoreBench, spread, with};
use crate::bench::report::{Column, Need, Report, Row};
use crate::error::Result;

const FLOWS: [usize; 6] = [1, 1_000, 100_000, 1_000_000, 4_000_000, 10_000_000];
/// Million UDP packets a second over IPv4 with so many flows.
const NEEDED: [(usize, f64); 2] = [(4_000_000, 10.0), (10_000_000, 8.0)];
/// How much dearer a packet may be while a hundredth of the connections is
/// replaced every second.
const CHURN: f64 = 1.10;

const COLUMNS: [Column; 8] = [
    ("flows", "row", 0),
    ("ns/packet in", "ns_per_packet", 1),
    ("ns/packet out", "ns_per_packet_out", 1),
    ("ns/packet both", "ns_per_packet_both", 1),
    ("Mpps in", "mpps.med", 1),
    ("instr", "instructions_per_packet", 0),
    ("ns <=", "needed_ns_per_packet", 1),
    ("met", "met", 0),
];

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When it cannot be built or run.
pub fn run(options: &Options) -> Result<bool> {
    let program = CoreBench::build()?;
    println!("core: Worker::process and tick on heap frames, flows in random order, CPU time");
    println!(
        "min/median/max of {} runs; instr: instructions a packet (callgrind), both directions",
        options.runs
    );
    let mut report = Report::begin(&options.out, "core", &COLUMNS)?;
    let mut costs = Costs::default();
    for flows in FLOWS {
        for af in [4, 6] {
            for proto in ["udp", "tcp"] {
                let name = format!("{proto}{af}-{flows}");
                if options.wants(&name) {
                    let mut row = forward(options, &program, proto, af, flows, name)?;
                    costs.note(proto, af, flows, row.figure("ns_per_packet"));
                    let most = costs.most(proto, af, flows);
                    if let Some(most) = most.or_else(|| by_rate(proto, af, flows)) {
                        row = row.needs("ns_per_packet", Need::AtMost(most));
                    }
                    report.add(&row)?;
                }
            }
        }
    }
    for (proto, af) in [("tcp", 4), ("tcp", 6)] {
        let name = format!("{proto}{af}-toa");
        if options.wants(&name) {
            report.add(&toa(options, &program, af, name)?)?;
        }
    }
    if options.wants("churn") {
        report.table(&[
            ("churn", "row", 0),
            ("ns/packet still", "ns_per_packet_still", 1),
            ("ns/packet", "ns_per_packet", 1),
            ("times still", "times_still", 3),
            ("<=", "needed_times_still", 2),
            ("met", "met", 0),
        ]);
        report.add(&churn(options, &program)?)?;
    }
    Ok(report.end())
}

/// What a packet of UDP over IPv4 may cost, by the rate needed.
fn by_rate(proto: &str, af: u8, flows: usize) -> Option<f64> {
    let (_, mpps) = NEEDED.iter().find(|needed| needed.0 == flows)?;
    (proto == "udp" && af == 4).then_some(1e3 / mpps)
}

fn forward(
    options: &Options,
    program: &CoreBench,
    proto: &str,
    af: u8,
    flows: usize,
    name: String,
) -> Result<Row> {
    let (runs, seconds) = (options.runs, options.core_seconds);
    let lines = program.run(&format!(
        "forward proto={proto} af={af} flows={flows} dir=all runs={runs} seconds={seconds}"
    ))?;
    let ns = |dir: &str| spread(with(&lines, "dir", dir), "ns_per_packet");
    let row = Row::default()
        .with("row", name)
        .with("proto", proto)
        .with("af", af)
        .with("flows", flows)
        .with("mpps", spread(with(&lines, "dir", "in"), "mpps")?)
        .with("ns_per_packet", ns("in")?)
        .with("ns_per_packet_out", ns("out")?)
        .with("ns_per_packet_both", ns("both")?)
        .with(
            "wall_ns_per_packet",
            spread(with(&lines, "dir", "in"), "wall_ns_per_packet")?,
        );
    if flows != 1_000 {
        return Ok(row);
    }
    let words = format!("proto={proto} af={af} flows={flows} dir=both packets=100000");
    counted(program, row, &words)
}

/// Adds instructions and mispredictions of a packet.
fn counted(program: &CoreBench, row: Row, words: &str) -> Result<Row> {
    let lines = program.run(&format!("count forward {words}"))?;
    let each = |name| Ok::<_, crate::Error>(spread(&lines, name)?.median);
    Ok(row
        .with("instructions_per_packet", each("instructions_per_packet")?)
        .with(
            "mispredictions_per_packet",
            each("mispredictions_per_packet")?,
        ))
}

/// Client segments that all get the option put in.
fn toa(options: &Options, program: &CoreBench, af: u8, name: String) -> Result<Row> {
    let (runs, seconds) = (options.runs, options.core_seconds);
    let flows = 100_000;
    let words = format!("proto=tcp af={af} dir=in toa=1");
    let lines = program.run(&format!(
        "forward {words} flows={flows} runs={runs} seconds={seconds}"
    ))?;
    let row = Row::default()
        .with("row", name)
        .with("proto", "tcp")
        .with("af", af)
        .with("flows", flows)
        .with("toa", true)
        .with("mpps", spread(&lines, "mpps")?)
        .with("ns_per_packet", spread(&lines, "ns_per_packet")?);
    counted(program, row, &format!("{words} flows=1000 packets=100000"))
}

fn churn(options: &Options, program: &CoreBench) -> Result<Row> {
    let (runs, seconds) = (options.runs, options.core_seconds);
    let (flows, percent) = (10_000_000, 1);
    let lines = program.run(&format!(
        "churn proto=udp af=4 flows={flows} percent={percent} runs={runs} seconds={seconds}"
    ))?;
    let still = spread(with(&lines, "percent", 0.0), "ns_per_packet")?;
    let churning = spread(with(&lines, "percent", f64::from(percent)), "ns_per_packet")?;
    Ok(Row::default()
        .with("row", "churn")
        .with("proto", "udp")
        .with("af", 4)
        .with("flows", flows)
        .with("replaced_percent_per_second", percent)
        .with("ns_per_packet_still", still)
        .with("ns_per_packet", churning)
        .with("times_still", churning.median / still.median)
        .needs("times_still", Need::AtMost(CHURN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_packet_may_cost() {
        assert_eq!(by_rate("udp", 4, 1_000), None);
        assert!((by_rate("udp", 4, 10_000_000).unwrap() - 125.0).abs() < 1e-9);
        assert_eq!(by_rate("tcp", 4, 10_000_000), None);
        assert_eq!(by_rate("udp", 6, 4_000_000), None);
    }
}
