//! What the configuration reader has to say: positions, severities, texts.
//!
//! The severities decide the exit code of `-t` (0, 2, 5, 6 as keepalived
//! 2.2.7 answers) and nothing else; a real start goes on after everything but
//! `Fatal`. Knows nothing of the grammar.

use std::fmt;
use std::sync::Arc;

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pos {
    /// The file as it was named on the command line or by `include`.
    pub(crate) file: Arc<str>,
    /// Counted from 1.
    pub(crate) line: u32,
}

/// How bad a finding is. The order matters: the worst one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Accepted; worth a line in the log. `-t` still answers 0.
    Note,
    /// A configuration error: the word or the block is ignored. `-t` answers 5.
    Error,
    /// Scripts would run in a way the script security rules forbid, or a file
    /// that had to exist does not. `-t` answers 6.
    Security,
    /// A keyword without its parameter: keepalived stops at once with 2.
    Fatal,
}

/// One finding.
#[derive(Clone, Debug)]
pub(crate) struct Diag {
    pub(crate) pos: Option<Pos>,
    pub(crate) severity: Severity,
    pub(crate) text: String,
    pub(crate) help: Option<String>,
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pos) = &self.pos {
            write!(f, "({}: Line {}) ", pos.file, pos.line)?;
        }
        f.write_str(&self.text)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

/// The findings of one reading, in order.
#[derive(Debug, Default)]
pub(crate) struct Diags {
    list: Vec<Diag>,
}

/// A hostile file must not fill the log; the rest is only counted.
const MAX_KEPT: usize = 1000;

impl Diags {
    fn push(&mut self, pos: Option<&Pos>, severity: Severity, text: String, help: Option<String>) {
        if self.list.len() >= MAX_KEPT {
            // Keep the exit code right even when the text is dropped.
            if let Some(last) = self.list.last_mut() {
                last.severity = last.severity.max(severity);
                last.text = format!("more than {MAX_KEPT} problems: the rest is not shown");
                last.pos = None;
                last.help = None;
            }
            return;
        }
        self.list.push(Diag {
            pos: pos.cloned(),
            severity,
            text,
            help,
        });
    }

    /// Something worth knowing that is no error.
    pub(crate) fn note(&mut self, pos: Option<&Pos>, text: impl Into<String>) {
        self.push(pos, Severity::Note, text.into(), None);
    }

    /// A configuration error.
    pub(crate) fn error(&mut self, pos: Option<&Pos>, text: impl Into<String>) {
        self.push(pos, Severity::Error, text.into(), None);
    }

    /// A configuration error with a word of help.
    pub(crate) fn error_help(&mut self, pos: &Pos, text: impl Into<String>, help: Option<String>) {
        self.push(Some(pos), Severity::Error, text.into(), help);
    }

    /// A violation of the script security rules.
    pub(crate) fn security(&mut self, pos: Option<&Pos>, text: impl Into<String>) {
        self.push(pos, Severity::Security, text.into(), None);
    }

    /// A keyword without its parameter.
    pub(crate) fn fatal(&mut self, pos: &Pos, text: impl Into<String>) {
        self.push(Some(pos), Severity::Fatal, text.into(), None);
    }

    /// All findings, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Diag> {
        self.list.iter()
    }

    /// The worst severity seen.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.list.iter().map(|d| d.severity).max()
    }

    /// What `-t` exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.worst() {
            None | Some(Severity::Note) => 0,
            Some(Severity::Error) => 5,
            Some(Severity::Security) => 6,
            Some(Severity::Fatal) => 2,
        }
    }
}
