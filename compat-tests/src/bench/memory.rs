//! What a connection weighs: `core_bench` with a full table, and the daemon's
//! resident memory with a million connections.

use crate::bench::Options;
use crate::bench::program::{CoreBench, spread};
use crate::bench::report::{Need, Report, Row};
use crate::error::Result;

/// MiB for ten million IPv4 connections, both tuples indexed.
const NEEDED_MIB: f64 = 2048.0;
/// The C program's connection.
pub const C_CONN_BYTES: f64 = 704.0;

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When it cannot be built or run.
pub fn run(options: &Options) -> Result<bool> {
    let program = CoreBench::build()?;
    println!(
        "memory: growth of resident memory, a full table; the C program has {C_CONN_BYTES} bytes a connection"
    );
    let mut report = Report::begin(
        &options.out,
        "memory",
        &[
            ("connections", "row", 0),
            ("bytes each", "bytes_per_connection", 1),
            ("of it index", "index_bytes_per_connection", 1),
            ("entries, ports", "entry_bytes_per_connection", 1),
            ("MiB", "total_mib", 0),
            ("MiB <=", "needed_total_mib", 0),
            ("met", "met", 0),
        ],
    )?;
    for flows in [1_000_000_u32, 10_000_000] {
        for af in [4, 6] {
            let name = format!("ipv{af}-{flows}");
            if !options.wants(&name) {
                continue;
            }
            // A process each: what the allocator keeps would hide the growth.
            let lines = (0..options.runs)
                .map(|_| program.run(&format!("memory af={af} flows={flows}")))
                .collect::<Result<Vec<_>>>()?
                .concat();
            let mut row = Row::default()
                .with("row", name)
                .with("af", af)
                .with("flows", flows);
            for figure in [
                "bytes_per_connection",
                "index_bytes_per_connection",
                "entry_bytes_per_connection",
                "total_mib",
            ] {
                row = row.with(figure, spread(&lines, figure)?);
            }
            if (af, flows) == (4, 10_000_000) {
                row = row.needs("total_mib", Need::AtMost(NEEDED_MIB));
            }
            report.add(&row)?;
        }
    }
    Ok(report.end())
}
