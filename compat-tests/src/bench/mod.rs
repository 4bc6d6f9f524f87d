//! Measuring the dataplane on a machine without network cards.
//!
//! With a driver: one worker, fed by `net_pcap` ports that replay files from
//! memory, sends to ports that swallow; `dpdk-testpmd` does the same with the
//! same files beside it, run by run, as the yardstick. Without: `core_bench`,
//! the benchmark program of `dpvs-core`. Only the real programs are run, and
//! only counters are read while they run. [`MEASUREMENTS`] lists what there is.

pub mod control;
pub mod core;
pub mod cost;
pub mod cpu;
pub mod director;
pub mod feed;
pub mod forward;
pub mod hugepages;
pub mod latency;
pub mod memory;
pub mod pcap;
pub mod program;
pub mod report;
pub mod sample;
pub mod setup;
pub mod synflood;
pub mod telemetry;
pub mod testpmd;
pub mod wake;
pub mod workers;

use std::path::PathBuf;
use std::time::Duration;

use crate::bins;
use crate::error::{Context, Error, Result};

/// A measurement: says whether its targets were reached.
pub type Measurement = fn(&Options) -> Result<bool>;

/// Every measurement, in the order in which they run.
pub const MEASUREMENTS: [(&str, Measurement); 8] = [
    ("core", core::run),
    ("setup", setup::run),
    ("memory", memory::run),
    ("forward", forward::run),
    ("control", control::run),
    ("workers", workers::run),
    ("latency", latency::run),
    ("synflood", synflood::run),
];

/// How long and how often to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Runs of each row: the median of them counts.
    pub runs: usize,
    /// Measured time of one run of the director.
    pub seconds: Duration,
    /// Measured time of one run of testpmd.
    pub yardstick_seconds: Duration,
    /// Measured seconds of CPU time of one run of the core benchmark.
    pub core_seconds: f64,
    /// Only rows whose name has one of these, between commas, in it.
    pub only: Option<String>,
    /// Where the JSON lines go.
    pub out: PathBuf,
}

impl Options {
    /// From `BENCH_RUNS` (5), `BENCH_SECONDS` (4) and `BENCH_ONLY`.
    ///
    /// # Errors
    /// A value that is not a positive number.
    pub fn from_env() -> Result<Self> {
        let seconds = number("BENCH_SECONDS", 4)?;
        let bins = bins::dir()?;
        let target = bins.parent().unwrap_or(&bins);
        Ok(Self {
            runs: usize::try_from(number("BENCH_RUNS", 5)?).what(|| "BENCH_RUNS")?,
            seconds: Duration::from_secs(seconds),
            yardstick_seconds: Duration::from_secs(seconds.min(2)),
            core_seconds: (seconds as f64 / 10.0).min(1.0),
            only: std::env::var("BENCH_ONLY").ok(),
            out: target.join("bench"),
        })
    }

    /// Whether a row of that name is wanted.
    #[must_use]
    pub fn wants(&self, row: &str) -> bool {
        self.only
            .as_deref()
            .is_none_or(|only| only.split(',').any(|part| row.contains(part)))
    }
}

fn number(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(0) | Err(_) => Err(Error::new(format!(
            "{name}={text}: it has to be a positive number"
        ))),
        Ok(value) => Ok(value),
    }
}
