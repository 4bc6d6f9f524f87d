//! Tables for people and JSON lines for programs.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Context, Result};

/// What the C program does on a machine of this kind, and testpmd beside it:
/// from the same harness, the yardstick scales one to the other.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// Row.
    pub row: &'static str,
    /// The C program, in millions a second.
    pub c: f64,
    /// testpmd 5tswap with as many flows, million packets a second.
    pub testpmd: f64,
}

/// Every figure there is.
pub const REFERENCES: [Reference; 8] = [
    Reference {
        row: "udp-1k",
        c: 5.8,
        testpmd: 46.0,
    },
    Reference {
        row: "udp-100k",
        c: 1.84,
        testpmd: 31.0,
    },
    Reference {
        row: "udp-1M",
        c: 1.16,
        testpmd: 28.0,
    },
    Reference {
        row: "tcp-1k",
        c: 5.0,
        testpmd: 46.0,
    },
    Reference {
        row: "tcp-100k",
        c: 1.69,
        testpmd: 31.0,
    },
    Reference {
        row: "tcp-1M",
        c: 1.08,
        testpmd: 28.0,
    },
    // New flows; the middle of what was seen.
    Reference {
        row: "udp-new",
        c: 0.95,
        testpmd: 28.0,
    },
    Reference {
        row: "tcp-new",
        c: 0.5,
        testpmd: 28.0,
    },
];

/// Bytes the C program keeps a connection in.
pub const C_CONN_BYTES: f64 = 704.0;

/// How many times as fast as the C program this one has to be.
pub const FACTOR: f64 = 2.0;

/// What the C program would do on this machine, in millions a second, given
/// what testpmd does on it.
#[must_use]
pub fn c_here(row: &str, testpmd: f64) -> Option<f64> {
    let reference = REFERENCES.iter().find(|reference| reference.row == row)?;
    Some(reference.c * testpmd / reference.testpmd)
}

/// The figure a row has to reach on this machine, in millions a second, given
/// what testpmd reaches on it.
#[must_use]
pub fn needed(row: &str, testpmd: f64) -> Option<f64> {
    c_here(row, testpmd).map(|c| FACTOR * c)
}

/// "yes", "NO" or, without a target, "-".
#[must_use]
pub fn verdict(got: f64, needed: Option<f64>) -> &'static str {
    match needed {
        None => "-",
        Some(needed) if got >= needed => "yes",
        Some(_) => "NO",
    }
}

/// The JSON lines of one measurement.
#[derive(Debug)]
pub struct Lines {
    file: File,
    path: PathBuf,
}

impl Lines {
    /// An empty `NAME.jsonl`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(format!("{name}.jsonl"));
        let what = || path.display().to_string();
        std::fs::create_dir_all(dir).what(what)?;
        let file = File::create(&path).what(what)?;
        Ok(Self { file, path })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, row: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(row).what(|| "a row as JSON")?;
        writeln!(self.file, "{line}").what(|| self.path.display().to_string())
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A table that is printed as it grows: widths are fixed by its header.
#[derive(Debug)]
pub struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// Prints the header. Each column is as wide as its name and this many
    /// characters at least.
    #[must_use]
    pub fn begin(columns: &[(&str, usize)]) -> Self {
        let widths: Vec<usize> = columns
            .iter()
            .map(|(name, least)| name.len().max(*least))
            .collect();
        let table = Self { widths };
        table.row(
            &columns
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .collect::<Vec<_>>(),
        );
        table
    }

    /// Prints a row.
    pub fn row(&self, cells: &[String]) {
        let mut line = String::new();
        for (i, (cell, &width)) in cells.iter().zip(&self.widths).enumerate() {
            if i == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        println!("{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_scale_with_the_yardstick() {
        let at_reference = needed("udp-1k", 46.0).unwrap();
        assert!((at_reference - 11.6).abs() < 1e-9);
        assert!((needed("udp-1k", 23.0).unwrap() - 5.8).abs() < 1e-9);
        assert_eq!(needed("udp-1", 46.0), None);
        assert_eq!(verdict(6.0, Some(5.8)), "yes");
        assert_eq!(verdict(5.0, Some(5.8)), "NO");
        assert_eq!(verdict(5.0, None), "-");
    }

    #[test]
    fn lines_are_json() {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = Lines::create(&dir.path().join("a"), "x").unwrap();
        lines.add(&[1, 2]).unwrap();
        lines.add(&"b").unwrap();
        assert_eq!(
            std::fs::read_to_string(lines.path()).unwrap(),
            "[1,2]\n\"b\"\n"
        );
    }
}
