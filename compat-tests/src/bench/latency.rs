//! How long a packet may wait for the worker: turns of its loop at half load,
//! and its waking up when there was none.

use crate::bench::program::{CoreBench, spread};
use crate::bench::report::{Need, Report, Row};
use crate::bench::{Options, wake};
use crate::error::Result;

/// No turn may take longer, microseconds.
const NEEDED_US: f64 = 50.0;

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When it cannot be built or run.
pub fn run(options: &Options) -> Result<bool> {
    const MEANWHILE: [(&str, u32, u32); 3] = [
        ("plain", 0, 0),
        ("1M-expire", 1_000_000, 0),
        ("10k-services", 0, 10_000),
    ];
    let wanted: Vec<_> = MEANWHILE
        .into_iter()
        .filter(|row| options.wants(row.0))
        .collect();
    println!("latency: turns of the worker's loop at half load, a snapshot published every 10 ms");
    let mut report = Report::begin(
        &options.out,
        "latency",
        &[
            ("meanwhile", "row", 0),
            ("Mpps", "mpps.med", 2),
            ("p50 us", "cpu_us_p50", 1),
            ("p99 us", "cpu_us_p99", 1),
            ("p99.9 us", "cpu_us_p999", 1),
            ("max us", "cpu_us_max", 1),
            ("wall max us", "wall_us_max", 0),
            ("us <=", "needed_cpu_us_p999", 0),
            ("met", "met", 0),
        ],
    )?;
    let program = if wanted.is_empty() {
        None
    } else {
        Some(CoreBench::build()?)
    };
    for (name, expiring, services) in wanted {
        let Some(program) = &program else { break };
        let runs = options.runs;
        let lines = program.run(&format!(
            "latency flows=100000 expiring={expiring} services={services} seconds=1 runs={runs}"
        ))?;
        let mut row = Row::default()
            .with("row", name)
            .with("flows", 100_000)
            .with("expiring", expiring)
            .with("services_published", services)
            .with("mpps", spread(&lines, "mpps")?);
        for clock in ["cpu", "wall"] {
            for part in ["p50", "p99", "p999", "max"] {
                let figure = format!("{clock}_us_{part}");
                row = row.with(&figure, spread(&lines, &figure)?);
            }
        }
        report.add(&row.needs("cpu_us_p999", Need::AtMost(NEEDED_US)))?;
    }
    if options.wants("wake") {
        report.table(&[
            ("idle", "row", 0),
            ("round trip p50 us", "round_trip_us_p50", 1),
            ("p99 us", "round_trip_us_p99", 1),
            ("later p99 us", "wake_us_p99", 1),
            ("worker's CPU %", "worker_cpu_percent", 0),
            ("us <=", "needed_wake_us_p99", 0),
            ("met", "met", 0),
        ]);
        for row in wake::rows(options)? {
            report.add(&row)?;
        }
    }
    Ok(report.end())
}
