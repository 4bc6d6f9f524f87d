//! Why a command failed: the text for standard error and the exit code.
//!
//! Exit codes of ipvsadm 1.31: 2 for arguments that make no sense, 255 for
//! options that cannot be read and for what the kernel (here: the daemon)
//! refuses, 1 for a listing that finds nothing.

use std::io::{self, Write};

use dpvs_ctl::{CtlError, ErrCode};

/// What kind of failure: `-R` goes on after some and stops at others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The arguments are wrong.
    Usage,
    /// The daemon refused.
    Refused,
    /// The daemon cannot be reached, or not be understood.
    NoDaemon,
    /// Standard output or input failed.
    Io,
}

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub outcome: Outcome,
    code: u8,
    text: String,
}

impl Failure {
    /// Arguments that make no sense: exit code 2.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Usage,
            code: 2,
            text: text.into(),
        }
    }

    /// Options that cannot be read: exit code 255.
    #[must_use]
    pub fn options(text: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Usage,
            code: 255,
            text: text.into(),
        }
    }

    /// Refused by the daemon.
    #[must_use]
    pub fn refused(code: u8, text: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Refused,
            code,
            text: text.into(),
        }
    }

    /// A stream failed.
    #[must_use]
    pub fn io(text: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Io,
            code: 1,
            text: text.into(),
        }
    }

    /// From a failed request. `known` may know a better text for the daemon's
    /// code; otherwise the daemon's own text is shown. DIFFERS: the C tool of
    /// DPVS prints the text of an `errno` nobody set, and exits with 0 if the
    /// daemon goes away.
    #[must_use]
    pub fn of(error: &CtlError, known: impl FnOnce(ErrCode) -> Option<&'static str>) -> Self {
        match error.code() {
            Some(code) => match known(code) {
                Some(text) => Self::refused(255, text),
                None => Self::refused(255, error.to_string()),
            },
            None => Self::no_daemon(error),
        }
    }

    /// From a failed request of a command that only DPVS has: the exit code is
    /// the daemon's code, as in its C tool.
    #[must_use]
    pub fn of_dpvs(error: &CtlError) -> Self {
        match error.code() {
            Some(ErrCode(code)) => {
                let [low, ..] = code.to_le_bytes();
                Self::refused(low.max(1), error.to_string())
            }
            None => Self::no_daemon(error),
        }
    }

    fn no_daemon(error: &CtlError) -> Self {
        let text = format!("Can't initialize ipvs: {error}\nAre you sure that dpvs is running?");
        Self {
            outcome: Outcome::NoDaemon,
            code: 2,
            text,
        }
    }

    /// The same failure with another exit code, if it was the daemon that refused.
    #[must_use]
    pub fn or_code(mut self, code: u8) -> Self {
        if self.outcome == Outcome::Refused {
            self.code = code;
        }
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes the text to standard error.
    pub fn print(&self) {
        warn(&self.text);
    }
}

/// Writes a line to standard error; if that is closed there is nobody to tell.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
