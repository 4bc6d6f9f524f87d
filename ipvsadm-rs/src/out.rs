//! Standard output, in large pieces. A reader that goes away (`| head`) ends
//! the output quietly instead of panicking or failing.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use crate::failure::Failure;

/// Written when this much has come together.
const PIECE: usize = 1 << 16;

/// Where listings go.
#[derive(Debug)]
pub struct Out {
    /// None: it could not be had, which is said when something is written.
    file: io::Result<File>,
    text: String,
    closed: bool,
}

impl Out {
    /// Standard output, past the standard library's buffering of lines.
    #[must_use]
    pub fn stdout() -> Self {
        let fd = io::stdout().as_fd().try_clone_to_owned();
        Self {
            file: fd.map(File::from),
            text: String::new(),
            closed: false,
        }
    }

    /// Whether the reader has gone away: the caller may stop early.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What is not written yet, to append to; followed by [`Out::spill`].
    pub fn text(&mut self) -> &mut String {
        &mut self.text
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Any failure but a reader that has gone away.
    pub fn line(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        // Writing to a String never fails.
        let _ = writeln!(self.text, "{text}");
        self.spill()
    }

    /// Writes if enough has come together.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn spill(&mut self) -> Result<(), Failure> {
        if self.text.len() < PIECE {
            return Ok(());
        }
        self.flush()
    }

    /// Writes all there is.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.closed || self.text.is_empty() {
            self.text.clear();
            return Ok(());
        }
        let result = match &mut self.file {
            Ok(file) => file.write_all(self.text.as_bytes()),
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        };
        self.text.clear();
        match result {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(e) => {
                self.closed = true;
                Err(Failure::io(format!("cannot write to standard output: {e}")))
            }
        }
    }
}

/// Writes a formatted line to an [`Out`].
macro_rules! line {
    ($out:expr, $($arg:tt)+) => {
        $out.line(format_args!($($arg)+))
    };
}
pub(crate) use line;
