//! Measuring the dataplane on a machine without network cards.
//!
//! One worker, fed by a `net_pcap` port that replays a file from memory, sends
//! to a `net_null` port; `dpdk-testpmd` does the same with the same file beside
//! it, run by run, as the yardstick. [`forward`] measures established flows,
//! [`setup`] new flows and memory, [`core`] the logic without a driver. Only
//! the real programs are run, and only counters are read while they run.

pub mod core;
pub mod cpu;
pub mod director;
pub mod forward;
pub mod hugepages;
pub mod pcap;
pub mod report;
pub mod sample;
pub mod setup;
pub mod telemetry;
pub mod testpmd;

use std::path::PathBuf;
use std::time::Duration;

use crate::bins;
use crate::error::{Context, Error, Result};

/// How long and how often to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Runs of each row: the median of them counts.
    pub runs: usize,
    /// Measured time of one run of the director.
    pub seconds: Duration,
    /// Measured time of one run of testpmd.
    pub yardstick_seconds: Duration,
    /// Only rows whose name has this in it.
    pub only: Option<String>,
    /// Where the JSON lines go.
    pub out: PathBuf,
}

impl Options {
    /// From `BENCH_RUNS` (5), `BENCH_SECONDS` (10) and `BENCH_ONLY`.
    ///
    /// # Errors
    /// A value that is not a positive number.
    pub fn from_env() -> Result<Self> {
        let seconds = number("BENCH_SECONDS", 10)?;
        let bins = bins::dir()?;
        let target = bins.parent().unwrap_or(&bins);
        Ok(Self {
            runs: usize::try_from(number("BENCH_RUNS", 5)?).what(|| "BENCH_RUNS")?,
            seconds: Duration::from_secs(seconds),
            yardstick_seconds: Duration::from_secs(seconds.min(3)),
            only: std::env::var("BENCH_ONLY").ok(),
            out: target.join("bench"),
        })
    }

    /// Whether a row of that name is wanted.
    #[must_use]
    pub fn wants(&self, row: &str) -> bool {
        self.only.as_deref().is_none_or(|only| row.contains(only))
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
