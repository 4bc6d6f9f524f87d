//! `core_bench`, the benchmark program of `dpvs-core`: built, run, and its
//! lines read.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bench::sample::Spread;
use crate::bins;
use crate::error::{Context, Error, Result};
use crate::privilege;
use crate::run;

/// The built program.
#[derive(Debug)]
pub struct CoreBench(PathBuf);

impl CoreBench {
    /// Builds it, in release mode.
    ///
    /// # Errors
    /// When cargo fails.
    pub fn build() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--release", "--locked", "--quiet"])
            .args(["-p", "dpvs-core", "--example", "core_bench"])
            .current_dir(bins::repository()?);
        run::run_with(&mut build, b"", Duration::from_secs(900))?.success()?;
        Ok(Self(bins::dir()?.join("examples/core_bench")))
    }

    /// Runs one measurement: its lines.
    ///
    /// # Errors
    /// When it fails, or prints what is not JSON.
    pub fn run(&self, words: &str) -> Result<Vec<Value>> {
        // Neighbours' time is not ours, but a cache they fill is.
        let mut command = Command::new("nice");
        command.args(["-n", if privilege::is_root() { "-20" } else { "0" }]);
        command.arg(&self.0).args(words.split_whitespace());
        let text = run::run_with(&mut command, b"", Duration::from_secs(600))?.success()?;
        read(&text)
    }
}

/// Lines of JSON.
fn read(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).what(|| format!("core_bench said {line:?}")))
        .collect()
}

/// The figures of that name in all lines.
///
/// # Errors
/// When one lacks it, or there is no line.
pub fn spread<'a>(lines: impl IntoIterator<Item = &'a Value>, name: &str) -> Result<Spread> {
    let figures: Option<Vec<f64>> = lines
        .into_iter()
        .map(|line| line.get(name)?.as_f64())
        .collect();
    match figures {
        Some(figures) if !figures.is_empty() => Ok(Spread::of(figures)),
        _ => Err(Error::new(format!("core_bench gives no {name}"))),
    }
}

/// The lines where a text or number is as said.
pub fn with<'a>(
    lines: &'a [Value],
    name: &'a str,
    value: impl Into<Value>,
) -> impl Iterator<Item = &'a Value> {
    let value = value.into();
    lines.iter().filter(move |line| line[name] == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_spreads() {
        let lines = read(
            "{\"dir\":\"in\",\"ns\":1}\n{\"dir\":\"in\",\"ns\":2.5}\n{\"dir\":\"out\",\"ns\":9}\n",
        )
        .unwrap();
        let all = spread(&lines, "ns").unwrap();
        assert!((all.median - 2.5).abs() < 1e-9);
        let inward = spread(with(&lines, "dir", "in"), "ns").unwrap();
        assert!((inward.max - 2.5).abs() < 1e-9);
        assert!(spread(&lines, "mpps").is_err());
        assert!(spread(with(&lines, "dir", "up"), "ns").is_err());
        assert!(read("ns=1").is_err());
    }
}
