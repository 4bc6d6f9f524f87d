//! Standard output and standard error, without a panic when nobody reads them.
//!
//! `dpip link show | head -1` must end quietly: a closed pipe is
//! [`Failure::Closed`], which `main` turns into a plain end. Knows nothing of
//! what is printed.

use std::io::{self, BufWriter, Stdout, Write};

use crate::failure::Failure;

/// Where a command writes to.
#[derive(Debug)]
pub(crate) struct Out<W: Write = BufWriter<Stdout>> {
    stdout: W,
}

impl Out {
    /// Buffered standard output.
    pub(crate) fn new() -> Self {
        Self {
            stdout: BufWriter::new(io::stdout()),
        }
    }
}

impl<W: Write> Out<W> {
    /// Writes `text` as it is.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    /// Lets everything written so far be seen.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }

    /// Writes a line to standard error, behind what went to standard output.
    pub(crate) fn warn(&mut self, line: &str) -> Result<(), Failure> {
        self.flush()?;
        complain(line);
        Ok(())
    }
}

/// Writes a line to standard error; there is nobody to tell if that fails.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_but_a_full_disk_is() {
        let mut gone = Out {
            stdout: Broken(io::ErrorKind::BrokenPipe),
        };
        assert!(matches!(gone.print("x"), Err(Failure::Closed)));
        assert!(matches!(gone.flush(), Err(Failure::Closed)));
        let mut full = Out {
            stdout: Broken(io::ErrorKind::StorageFull),
        };
        let failure = full.print("x").unwrap_err();
        assert!(failure.lines("dpip")[0].starts_with("dpip: cannot write the output: "));
    }
}
