//! `-R` and `ipvsadm-restore`: commands from standard input, a line each.
//!
//! As in ipvsadm: a line that cannot be read ends the run, one that the
//! daemon refuses does not; the exit code is that of the last line.

use std::io::BufRead;

use crate::failure::{Failure, Outcome};
use crate::run::Session;

/// `ipvsadm-restore`: removes all services first, and skips comment lines.
pub(crate) fn main(session: &mut Session, input: &mut dyn BufRead) -> Result<(), Failure> {
    session.words("ipvsadm", &["-C".to_owned()], false)?;
    run(session, input, true)
}

/// `-R`.
pub(crate) fn run(
    session: &mut Session,
    input: &mut dyn BufRead,
    skip_comments: bool,
) -> Result<(), Failure> {
    let mut last = Ok(());
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = input
            .read_until(b'\n', &mut line)
            .map_err(|e| Failure::io(format!("cannot read standard input: {e}")))?;
        if n == 0 {
            return last;
        }
        let text = String::from_utf8_lossy(&line);
        if skip_comments && text.starts_with('#') {
            continue;
        }
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|w| w == "ipvsadm") {
            words.remove(0);
        }
        if words.is_empty() {
            continue;
        }
        let result = session.words("ipvsadm", &words, true);
        if let Err(previous) = std::mem::replace(&mut last, Ok(())) {
            previous.print();
        }
        match result {
            Err(e) if e.outcome == Outcome::Refused => last = Err(e),
            Err(e) => return Err(e),
            Ok(()) => {}
        }
    }
}
