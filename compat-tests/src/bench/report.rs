//! Rows of figures: tables for people, JSON lines for programs, and whether
//! what was asked for was reached. The same for every measurement.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::error::{Context, Result};

/// What a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Need {
    /// Or more.
    AtLeast(f64),
    /// Or less.
    AtMost(f64),
}

impl Need {
    fn met_by(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }
}

/// One row: figures by name, in order; the units are in the names.
#[derive(Debug, Clone, Default)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// Adds a figure (a number, a text, a [`crate::bench::sample::Spread`]).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.0.push((name.to_owned(), value));
        self
    }

    /// Says what a figure there is has to be: the median of a spread counts. A
    /// row may need several; `needed` and `met` tell of all of them.
    #[must_use]
    pub fn needs(mut self, name: &str, need: Need) -> Self {
        let figure = self.figure(name);
        let met = figure.is_some_and(|figure| need.met_by(figure)) && self.met() != Some(false);
        self.0.retain(|(name, _)| name != "met");
        self.with(&format!("needed_{name}"), need.bound())
            .with("met", met)
    }

    /// Whether everything needed was reached; `None` where nothing is.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.get("met").and_then(Value::as_bool)
    }

    /// A number, or the median of a spread.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        let value = self.get(name)?;
        value.as_f64().or_else(|| value.get("med")?.as_f64())
    }

    /// `name`, or `name.part` for a part of a spread.
    fn get(&self, name: &str) -> Option<&Value> {
        let find = |name: &str| Some(&self.0.iter().find(|(n, _)| n == name)?.1);
        find(name).or_else(|| {
            let (name, part) = name.split_once('.')?;
            find(name)?.get(part)
        })
    }

    /// A figure for a table, with so many digits behind the point.
    fn cell(&self, name: &str, digits: usize) -> String {
        let Some(value) = self.get(name) else {
            return "-".into();
        };
        let number = |value: &Value| value.as_f64().map(|n| format!("{n:.digits$}"));
        let spread = |value: &Value| {
            let part = |name| number(value.get(name)?);
            Some(format!(
                "{}/{}/{}",
                part("min")?,
                part("med")?,
                part("max")?
            ))
        };
        match value {
            Value::String(text) => text.clone(),
            Value::Bool(true) => "yes".into(),
            Value::Bool(false) => "NO".into(),
            value => number(value)
                .or_else(|| spread(value))
                .unwrap_or_else(|| "-".into()),
        }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A column of a table: its title, the figure (or `figure.med`), and digits
/// behind the point.
pub type Column = (&'static str, &'static str, usize);

/// A measurement's rows as they come: printed, written down, and held against
/// what they need.
#[derive(Debug)]
pub struct Report {
    table: Table,
    columns: Vec<Column>,
    lines: Lines,
    met: bool,
}

impl Report {
    /// Begins `NAME.jsonl` and a table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(dir: &Path, name: &str, columns: &[Column]) -> Result<Self> {
        let lines = Lines::create(dir, name)?;
        let table = Table::begin(
            &columns
                .iter()
                .map(|&(title, figure, digits)| (title, width(figure, digits)))
                .collect::<Vec<_>>(),
        );
        Ok(Self {
            table,
            columns: columns.to_vec(),
            lines,
            met: true,
        })
    }

    /// A second table with other columns, into the same file.
    pub fn table(&mut self, columns: &[Column]) {
        println!();
        self.columns = columns.to_vec();
        self.table = Table::begin(
            &columns
                .iter()
                .map(|&(title, figure, digits)| (title, width(figure, digits)))
                .collect::<Vec<_>>(),
        );
    }

    /// Prints a row and writes it down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let cells: Vec<String> = self
            .columns
            .iter()
            .map(|&(_, name, digits)| row.cell(name, digits))
            .collect();
        self.table.row(&cells);
        self.met &= row.met() != Some(false);
        self.lines.add(row)
    }

    /// Says where the rows are; false when one has missed what it needs.
    #[must_use]
    pub fn end(self) -> bool {
        println!("written to {}", self.lines.path().display());
        self.met
    }
}

/// Figures that are no spread.
const ONE: [&str; 3] = ["share", "instructions_per_packet", "times_still"];

/// How wide a column's figures get.
fn width(name: &str, digits: usize) -> usize {
    match name {
        "row" => 16,
        "met" => 3,
        // One figure; the others are spreads.
        _ if name.contains('.') || name.starts_with("needed") || ONE.contains(&name) => 6,
        _ => 3 * (digits + 4) + 2,
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
    use crate::bench::sample::Spread;

    #[test]
    fn a_row_is_json_in_its_order() {
        let row = Row::default()
            .with("proto", "udp")
            .with("af", 4)
            .with("mpps", Spread::of([3.0, 1.0, 2.0]));
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"proto":"udp","af":4,"mpps":{"min":1.0,"med":2.0,"max":3.0}}"#
        );
        assert_eq!(row.cell("mpps", 1), "1.0/2.0/3.0");
        assert_eq!(row.cell("mpps.med", 2), "2.00");
        assert_eq!(row.cell("af", 0), "4");
        assert_eq!(row.cell("none", 0), "-");
    }

    #[test]
    fn all_needs_have_to_be_met() {
        let row = Row::default()
            .with("mpps", Spread::of([1.0, 5.0, 9.0]))
            .with("mib", 3.0);
        assert_eq!(row.met(), None);
        let good = row.clone().needs("mpps", Need::AtLeast(5.0));
        assert_eq!(good.met(), Some(true));
        assert_eq!(good.figure("needed_mpps"), Some(5.0));
        let bad = good.needs("mib", Need::AtMost(2.0));
        assert_eq!(bad.met(), Some(false));
        let still = bad.needs("mpps", Need::AtLeast(1.0));
        assert_eq!(
            (still.met(), still.cell("met", 0)),
            (Some(false), "NO".into())
        );
        assert_eq!(row.needs("none", Need::AtLeast(0.0)).met(), Some(false));
    }

    #[test]
    fn lines_are_json() {
        let dir = tempfile::tempdir().unwrap();
        let columns: [Column; 1] = [("n", "n", 0)];
        let mut report = Report::begin(&dir.path().join("a"), "x", &columns).unwrap();
        report.add(&Row::default().with("n", 1)).unwrap();
        report
            .add(&Row::default().with("n", 2).needs("n", Need::AtMost(1.0)))
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(report.lines.path()).unwrap(),
            "{\"n\":1}\n{\"n\":2,\"needed_n\":1.0,\"met\":false}\n"
        );
        assert!(!report.end());
    }
}
