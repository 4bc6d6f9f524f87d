//! What is wrong with a configuration file, and how it is shown to a human:
//! file, line, column, the line itself with a caret under the offending text,
//! and what to do. Knows nothing of keywords.

use std::fmt;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The daemon does not start (or does not reload).
    Error,
    /// The daemon runs; something was ignored.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diag {
    /// Error or warning.
    pub severity: Severity,
    /// File it was found in.
    pub file: PathBuf,
    /// Line from 1; 0 when the finding is about the whole file.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
    /// Width of the offending text in characters.
    pub width: usize,
    /// The whole offending line.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// What to do, if there is something to say.
    pub help: Option<String>,
}

/// Control characters would let a hostile file write to the terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Longest part of an offending line that is shown.
const SHOWN: usize = 120;

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", visible(&self.message))?;
        let file = visible(&self.file.display().to_string());
        if self.line == 0 {
            write!(f, "  --> {file}")?;
        } else {
            let number = self.line.to_string();
            let pad = " ".repeat(number.len());
            writeln!(f, "{pad} --> {file}:{}:{}", self.line, self.column)?;
            // A very long line is shown from shortly before the offence.
            let skip = if self.column + self.width > SHOWN {
                self.column.saturating_sub(20)
            } else {
                0
            };
            let shown: String = visible(&self.text).chars().skip(skip).take(SHOWN).collect();
            let before = self.column.saturating_sub(1).saturating_sub(skip);
            let carets = self.width.clamp(1, SHOWN.saturating_sub(before).max(1));
            writeln!(f, "{pad} |")?;
            writeln!(f, "{number} | {}", shown.trim_end())?;
            write!(f, "{pad} | {}{}", " ".repeat(before), "^".repeat(carets))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {}", visible(help))?;
        }
        Ok(())
    }
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

/// The candidate nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (distance(&lower, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= (c.chars().count().max(lower.chars().count()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_keyword() {
        let known = ["queue_number", "descriptor_number", "rss"];
        assert_eq!(nearest("queue_numer", known), Some("queue_number"));
        assert_eq!(nearest("QUEUE_NUMBER", known), Some("queue_number"));
        assert_eq!(nearest("rsss", known), Some("rss"));
        assert_eq!(nearest("completely_else", known), None);
    }

    #[test]
    fn shown_with_a_caret_and_without_control_characters() {
        let diag = Diag {
            severity: Severity::Error,
            file: "dpvs.conf".into(),
            line: 12,
            column: 3,
            width: 4,
            text: "  mtuu\x1b[2J 1500".into(),
            message: "unknown keyword `mtuu`".into(),
            help: Some("did you mean `mtu`?".into()),
        };
        assert_eq!(
            diag.to_string(),
            "error: unknown keyword `mtuu`\n   --> dpvs.conf:12:3\n   |\n12 |   mtuu [2J 1500\n   |   ^^^^\n  = help: did you mean `mtu`?"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_offence() {
        let diag = Diag {
            severity: Severity::Error,
            file: "f".into(),
            line: 1,
            column: 5000,
            width: 3,
            text: format!("{}bad{}", " ".repeat(4999), "x".repeat(9000)),
            message: String::new(),
            help: None,
        };
        let text = diag.to_string();
        assert!(text.contains("bad") && text.len() < 500, "{text}");
    }
}
