//! From counters to rates: what passed between two looks at a running process.

use std::time::{Duration, Instant};

use crate::bench::cpu::Thread;
use crate::bench::telemetry::Telemetry;
use crate::error::{Error, Result};

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Packets received on all ports.
    pub received: u64,
    /// Packets sent on all ports.
    pub sent: u64,
    /// Nanoseconds the worker has run.
    pub nanos: u64,
}

impl Sample {
    /// Takes one.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn take(telemetry: &Telemetry, worker: Thread) -> Result<Self> {
        let packets = telemetry.all()?;
        Ok(Self {
            at: Instant::now(),
            received: packets.received,
            sent: packets.sent,
            nanos: worker.nanos()?,
        })
    }
}

/// Speed over a stretch of time.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Rate {
    /// Million packets sent a second of wall-clock time.
    pub mpps: f64,
    /// Nanoseconds of the worker's CPU time a packet sent.
    pub nanos: f64,
    /// Packets sent.
    pub sent: f64,
}

impl Rate {
    /// Between two samples.
    ///
    /// # Errors
    /// When nothing was sent.
    pub fn between(from: &Sample, to: &Sample) -> Result<Self> {
        let sent = to.sent.saturating_sub(from.sent);
        let received = to.received.saturating_sub(from.received);
        if sent == 0 {
            return Err(Error::new(format!(
                "nothing was sent while {received} packets were received"
            )));
        }
        let sent = sent as f64;
        Ok(Self {
            mpps: sent / to.at.duration_since(from.at).as_secs_f64() / 1e6,
            nanos: to.nanos.saturating_sub(from.nanos) as f64 / sent,
            sent,
        })
    }

    /// Million packets a second of the worker's CPU time.
    #[must_use]
    pub fn mpps_cpu(&self) -> f64 {
        1e3 / self.nanos
    }
}

/// Measures for so long.
///
/// # Errors
/// When the process ends or sends nothing.
pub fn measure(telemetry: &Telemetry, worker: Thread, time: Duration) -> Result<Rate> {
    let from = Sample::take(telemetry, worker)?;
    std::thread::sleep(time);
    let to = Sample::take(telemetry, worker)?;
    Rate::between(&from, &to)
}

/// The value below which that part of sorted values lies; 0 without any.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Smallest, middle and largest of a row's runs.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle (the mean of two where their number is even).
    #[serde(rename = "med")]
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of some values; zeros without any.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self {
            min: at(0),
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            max: at(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_differences() {
        let at = Instant::now();
        let from = Sample {
            at,
            received: 100,
            sent: 100,
            nanos: 5000,
        };
        let to = Sample {
            at: at + Duration::from_secs(2),
            received: 4_000_100,
            sent: 2_000_100,
            nanos: 5000 + 200_000_000,
        };
        let rate = Rate::between(&from, &to).unwrap();
        assert!((rate.mpps - 1.0).abs() < 1e-9);
        assert!((rate.nanos - 100.0).abs() < 1e-9);
        assert!((rate.mpps_cpu() - 10.0).abs() < 1e-9);
        assert!((rate.sent - 2_000_000.0).abs() < 1e-9);
        assert!(Rate::between(&from, &from).is_err());
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        for (part, value) in [(0.5, 100.0), (0.99, 198.0), (1.0, 200.0), (0.001, 1.0)] {
            assert!((quantile(&values, part) - value).abs() < 1e-9);
        }
        assert!(quantile(&[], 0.5).abs() < 1e-9);
    }

    #[test]
    fn spread_of_odd_and_even() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert!((spread.median - 2.0).abs() < 1e-9);
        assert!((spread.min - 1.0).abs() < 1e-9 && (spread.max - 3.0).abs() < 1e-9);
        assert!((Spread::of([1.0, 2.0]).median - 1.5).abs() < 1e-9);
        assert!(Spread::of([]).median.abs() < 1e-9);
    }
}
