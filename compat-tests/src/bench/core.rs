//! The forwarding logic alone: `dpvs-core`'s own benchmark, run and tabled.
//!
//! Up to ten million flows, which no packet file holds, and without driver or
//! EAL: what is left is the pipeline and its tables.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bench::Options;
use crate::bench::report::{Lines, Table};
use crate::bench::sample::Spread;
use crate::bins;
use crate::error::{Context, Error, Result};
use crate::privilege;
use crate::run;

const FLOWS: [usize; 5] = [1, 1_000, 100_000, 1_000_000, 10_000_000];

/// Builds the benchmark, runs it and prints its rows.
///
/// # Errors
/// When it cannot be built or run.
pub fn run(options: &Options) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--release", "--locked", "--quiet"])
        .args(["-p", "dpvs-core", "--example", "core_bench"])
        .current_dir(bins::repository()?);
    run::run_with(&mut build, b"", Duration::from_secs(900))?.success()?;
    let program = bins::dir()?.join("examples/core_bench");

    println!("core: Worker::process on heap frames, flows in random order");
    println!("min/median/max of {} runs", options.runs);
    let table = Table::begin(&[
        ("flows", 12),
        ("ns/packet", 19),
        ("Mpps", 19),
        ("ns/new flow", 19),
        ("table bytes/connection", 22),
    ]);
    let mut lines = Lines::create(&options.out, "core")?;
    for proto in ["udp", "tcp"] {
        for flows in FLOWS {
            let name = format!("{proto}-{flows}");
            if !options.wants(&name) {
                continue;
            }
            let mut rows = Vec::new();
            for _ in 0..options.runs {
                // It measures wall-clock time: keep neighbours off it.
                let mut command = Command::new("nice");
                if privilege::is_root() {
                    command.args(["-n", "-20"]);
                } else {
                    command.args(["-n", "0"]);
                }
                command.arg(&program);
                command.args([&flows.to_string(), proto, "4"]);
                let text = run::run_with(&mut command, b"", Duration::from_secs(300))?.success()?;
                let row: Value = serde_json::from_str(text.trim())
                    .what(|| format!("the line of core_bench: {text}"))?;
                lines.add(&row)?;
                rows.push(row);
            }
            let spread = |field: &str, digits: usize| {
                let values: Option<Vec<f64>> =
                    rows.iter().map(|row| row.get(field)?.as_f64()).collect();
                let values =
                    values.ok_or_else(|| Error::new(format!("core_bench gives no {field}")))?;
                let Spread { min, median, max } = Spread::of(values);
                Ok::<String, Error>(format!("{min:.digits$}/{median:.digits$}/{max:.digits$}"))
            };
            table.row(&[
                name,
                spread("ns_per_packet", 1)?,
                spread("mpps", 2)?,
                spread("setup_ns_per_flow", 0)?,
                spread("table_bytes_per_conn", 0)?,
            ]);
        }
    }
    println!("written to {}", lines.path().display());
    Ok(())
}
