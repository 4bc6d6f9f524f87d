//! Standard output, buffered. A reader that goes away (`| head`) ends the
//! output quietly instead of panicking or failing.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use crate::failure::Failure;

/// Where listings go.
#[derive(Debug)]
pub struct Out {
    writer: BufWriter<Stdout>,
    closed: bool,
}

impl Out {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self {
            writer: BufWriter::new(io::stdout()),
            closed: false,
        }
    }

    /// Whether the reader has gone away: the caller may stop early.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Any failure but a reader that has gone away.
    pub fn line(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let result = writeln!(self.writer, "{text}");
        self.settle(result)
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let result = self.writer.flush();
        self.settle(result)
    }

    fn settle(&mut self, result: io::Result<()>) -> Result<(), Failure> {
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
