//! Standard output and standard error, without a panic when nobody reads them,
//! and the three forms of a listing: lines, one line an entry, JSON.
//!
//! `dpip link show | head -1` must end quietly: a closed pipe is
//! [`Failure::Closed`], which becomes a plain end. Knows nothing of what is
//! printed.

use std::io::{self, Write};

use serde_json::Value;

use crate::args::Options;
use crate::failure::Failure;

/// How listings look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// As the C tool has it.
    #[default]
    Lines,
    /// `-o`: line ends inside an entry are backslashes.
    OneLine,
    /// `-j`.
    Json {
        /// `-p`.
        pretty: bool,
    },
}

/// One entry of a listing, in all forms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    heading: String,
    text: String,
    json: Value,
    aside: bool,
}

impl Record {
    /// An entry as lines, each with its end, and as a value.
    pub(crate) fn new(text: String, json: Value) -> Self {
        Self {
            heading: String::new(),
            text,
            json,
            aside: false,
        }
    }

    /// Its lines.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same entry with lines above it that are not part of it.
    pub(crate) fn under(mut self, heading: &str) -> Self {
        heading.clone_into(&mut self.heading);
        self
    }

    /// The same entry, as lines on standard error.
    pub(crate) fn aside(mut self) -> Self {
        self.aside = true;
        self
    }
}

/// Where a command writes to.
pub(crate) struct Out {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    form: Form,
    /// Entries of a JSON array that is not written yet.
    items: Vec<Value>,
    /// Whether an array was written since the listing began.
    written: bool,
}

impl Out {
    /// Writes to these two.
    pub(crate) fn new(stdout: Box<dyn Write>, stderr: Box<dyn Write>) -> Self {
        Self {
            stdout,
            stderr,
            form: Form::Lines,
            items: Vec::new(),
            written: false,
        }
    }

    /// Sets the form of listings.
    pub(crate) fn form(&mut self, options: &Options) {
        self.form = match (options.json, options.oneline) {
            (true, _) => Form::Json {
                pretty: options.pretty,
            },
            (false, true) => Form::OneLine,
            (false, false) => Form::Lines,
        };
    }

    /// Writes `text` as it is.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    /// Writes an entry of a listing.
    pub(crate) fn emit(&mut self, record: Record) -> Result<(), Failure> {
        let text = match self.form {
            Form::Json { .. } => {
                self.items.push(record.json);
                return Ok(());
            }
            Form::OneLine => {
                let body = record.text.trim_end_matches('\n');
                format!("{}\n", body.replace('\n', "\\"))
            }
            Form::Lines => record.heading + &record.text,
        };
        if record.aside {
            self.warn(text.trim_end_matches('\n'))
        } else {
            self.print(&text)
        }
    }

    /// Writes lines that are above an entry and not part of it.
    pub(crate) fn heading(&mut self, heading: &str) -> Result<(), Failure> {
        if self.form == Form::Lines {
            self.print(heading)?;
        }
        self.flush()
    }

    /// Begins another listing.
    pub(crate) fn begin_listing(&mut self) {
        self.written = false;
    }

    /// Ends a listing. One that failed is only shown as far as it came.
    pub(crate) fn end_listing(&mut self, complete: bool) -> Result<(), Failure> {
        if let Form::Json { pretty } = self.form {
            let items = Value::Array(std::mem::take(&mut self.items));
            if complete && !self.written || items != Value::Array(Vec::new()) {
                self.written = true;
                let text = if pretty {
                    format!("{items:#}\n")
                } else {
                    format!("{items}\n")
                };
                self.print(&text)?;
            }
        }
        self.flush()
    }

    /// Lets everything written so far be seen.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }

    /// Writes a line to standard error, behind what went to standard output.
    pub(crate) fn warn(&mut self, line: &str) -> Result<(), Failure> {
        self.flush()?;
        self.complain(line);
        Ok(())
    }

    /// Writes a line to standard error; there is nobody to tell if that fails.
    pub(crate) fn complain(&mut self, line: &str) {
        let _ = writeln!(self.stderr, "{line}");
        let _ = self.stderr.flush();
    }
}

/// Buffered standard output and plain standard error.
pub(crate) fn standard() -> Out {
    Out::new(
        Box::new(io::BufWriter::new(io::stdout())),
        Box::new(io::stderr()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::{Arc, Mutex};

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_but_a_full_disk_is() {
        let broken = |kind| Out::new(Box::new(Broken(kind)), Box::new(io::sink()));
        let mut gone = broken(io::ErrorKind::BrokenPipe);
        assert!(matches!(gone.print("x"), Err(Failure::Closed)));
        assert!(matches!(gone.flush(), Err(Failure::Closed)));
        let mut full = broken(io::ErrorKind::StorageFull);
        let failure = full.print("x").unwrap_err();
        assert!(failure.lines("dpip")[0].starts_with("dpip: cannot write the output: "));
    }

    #[test]
    fn three_forms() {
        let listed = |options: &Options, complete| {
            let (stdout, stderr) = (Kept::default(), Kept::default());
            let mut out = Out::new(Box::new(stdout.clone()), Box::new(stderr.clone()));
            out.form(options);
            let record = Record::new("a\n  b\n".to_owned(), json!({"z": 1, "a": "b"}));
            out.emit(record.clone().under("head\n")).unwrap();
            out.emit(record.aside()).unwrap();
            out.end_listing(complete).unwrap();
            let text = |kept: &Kept| String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            (text(&stdout), text(&stderr))
        };
        let pair = |out: &str, err: &str| (out.to_owned(), err.to_owned());
        let mut options = Options::default();
        let lines = pair("head\na\n  b\n", "a\n  b\n");
        assert_eq!(listed(&options, true), lines);
        options.oneline = true;
        assert_eq!(listed(&options, true), pair("a\\  b\n", "a\\  b\n"));
        options.json = true;
        let json = pair("[{\"z\":1,\"a\":\"b\"},{\"z\":1,\"a\":\"b\"}]\n", "");
        assert_eq!(listed(&options, false), json);
        options.pretty = true;
        assert!(
            listed(&options, true)
                .0
                .starts_with("[\n  {\n    \"z\": 1,")
        );
    }

    #[test]
    fn an_empty_array_only_where_there_is_nothing() {
        for (complete, text) in [(true, "[]\n"), (false, "")] {
            let stdout = Kept::default();
            let mut out = Out::new(Box::new(stdout.clone()), Box::new(io::sink()));
            out.form(&Options {
                json: true,
                ..Options::default()
            });
            out.end_listing(complete).unwrap();
            assert_eq!(*stdout.0.lock().unwrap(), text.as_bytes());
        }
    }
}
