//! `-R` and `ipvsadm-restore`: commands from standard input, a line each.
//!
//! As in ipvsadm: a line that cannot be read ends the run, one that the
//! daemon refuses does not; the exit code is that of the last line. Requests
//! are sent ahead of their answers, which come in the same order.

use std::collections::VecDeque;
use std::io::BufRead;

use dpvs_ctl::{Kind, Session as Pipe};

use crate::args::{Cmd, Command};
use crate::failure::{Failure, Outcome};
use crate::request::{judge, messages};
use crate::run::Session;

/// Commands that may wait for their answers.
const AHEAD: usize = 256;

/// `ipvsadm-restore`: removes all services first, and skips comment lines.
pub(crate) fn main(session: &mut Session, input: &mut dyn BufRead) -> Result<(), Failure> {
    let clear = session.parse("ipvsadm", &["-C".to_owned()], false)?;
    session.execute("ipvsadm", &clear)?;
    run(session, input, true)
}

/// `-R`.
pub(crate) fn run(
    session: &mut Session,
    input: &mut dyn BufRead,
    skip_comments: bool,
) -> Result<(), Failure> {
    let mut sent = Sent {
        pipe: session.pipe(),
        commands: VecDeque::new(),
        last: Ok(()),
    };
    let mut line = Vec::new();
    let mut words = Vec::new();
    loop {
        line.clear();
        let n = match input.read_until(b'\n', &mut line) {
            Ok(n) => n,
            Err(e) => {
                let why = Failure::io(format!("cannot read standard input: {e}"));
                return sent.end(Err(why));
            }
        };
        if n == 0 {
            sent.settle(0)?;
            return sent.last;
        }
        if !read_words(&line, skip_comments, &mut words) {
            continue;
        }
        let command = match session.parse("ipvsadm", &words, true) {
            Ok(command) => command,
            Err(e) => return sent.end(Err(e)),
        };
        if let Some(messages) = messages(&command) {
            for message in &messages {
                sent.pipe.send(message.id, Kind::Set, &message.body);
            }
            sent.commands.push_back((command, messages.len()));
            if sent.commands.len() >= AHEAD {
                sent.settle(AHEAD / 2)?;
            }
            continue;
        }
        // It asks, or lists: all before it has to be done.
        sent.settle(0)?;
        let result = session.execute("ipvsadm", &command);
        if matches!(command.cmd, Cmd::Help | Cmd::Version) {
            return sent.end(result);
        }
        sent.take(result)?;
    }
}

/// Reads the words of a line into `words`: blanks separate them and nothing
/// quotes; a leading `ipvsadm` is dropped. False: there is nothing to do.
#[must_use]
pub fn read_words(line: &[u8], skip_comments: bool, words: &mut Vec<String>) -> bool {
    // As C reads it: what is behind a zero byte is not there.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    words.clear();
    if skip_comments && text.starts_with('#') {
        return false;
    }
    words.extend(text.split_whitespace().map(str::to_owned));
    if words.first().is_some_and(|w| w == "ipvsadm") {
        words.remove(0);
    }
    !words.is_empty()
}

/// Commands whose answers have not come yet.
struct Sent {
    pipe: Pipe,
    /// Each with the number of its messages.
    commands: VecDeque<(Command, usize)>,
    /// What became of the last command that is done.
    last: Result<(), Failure>,
}

impl Sent {
    /// Waits until at most `left` commands have no answer.
    fn settle(&mut self, left: usize) -> Result<(), Failure> {
        while self.commands.len() > left {
            let Some((command, n)) = self.commands.pop_front() else {
                break;
            };
            let answers = (0..n).map(|_| self.pipe.recv().map(drop)).collect();
            self.take(judge(&command, answers))?;
        }
        Ok(())
    }

    /// Takes the result of the next command; a failure before it is told now.
    fn take(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        self.tell();
        match result {
            Err(e) if e.outcome != Outcome::Refused => Err(e),
            other => {
                self.last = other;
                Ok(())
            }
        }
    }

    fn tell(&mut self) {
        if let Err(previous) = std::mem::replace(&mut self.last, Ok(())) {
            previous.print();
        }
    }

    /// Ends the run with `result`.
    fn end(mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        self.settle(0)?;
        self.tell();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &[u8], skip: bool) -> Option<Vec<String>> {
        let mut words = Vec::new();
        read_words(line, skip, &mut words).then_some(words)
    }

    #[test]
    fn lines() {
        let list = |w: &[&str]| Some(w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            words(b"-A -t 1.2.3.4:80\r\n", false),
            list(&["-A", "-t", "1.2.3.4:80"])
        );
        assert_eq!(words(b"ipvsadm -C\n", false), list(&["-C"]));
        assert_eq!(words(b"ipvsadm\n", false), None);
        assert_eq!(words(b"\t \n", false), None);
        assert_eq!(words(b"# note\n", true), None);
        assert_eq!(words(b"-C\0 -n\n", false), list(&["-C"]));
        assert_eq!(words(b"\0-C\n", false), None);
        assert_eq!(words(b"# note\n", false), list(&["#", "note"]));
    }

    proptest! {
        #[test]
        fn any_bytes(line in prop::collection::vec(any::<u8>(), 0..80), skip: bool) {
            if let Some(words) = words(&line, skip) {
                prop_assert!(words.iter().all(|w| !w.is_empty() && !w.contains(char::is_whitespace)));
            }
        }
    }
}
