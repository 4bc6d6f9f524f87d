//! Why a command ended without doing its work, and the lines that say so.
//!
//! The C tool prints up to two lines: one from where it went wrong (its socket
//! library, or an argument check), then `PROG: ERRSTR`. Both are kept, since
//! scripts look for them. Does not print; `main` does.

use std::io;

use dpvs_ctl::{CtlError, ErrCode};

use crate::out::Out;
use crate::table::Command;

/// The outcome of a command that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The reader of our output has gone: nothing more to do, and no error.
    Closed,
    /// The output could not be written.
    Output(io::Error),
    /// Wrong arguments, or the daemon did not do it.
    Refused {
        /// The lines that say what was wrong, newlines between them; may be empty.
        said: String,
        /// `parse`, `check` or nothing: which step refused.
        stage: Option<&'static str>,
        /// The text behind the program's name.
        text: String,
    },
}

impl Failure {
    /// A daemon's code without a line of its own.
    pub(crate) fn code(code: ErrCode) -> Self {
        Self::Refused {
            said: String::new(),
            stage: None,
            text: code.text().to_owned(),
        }
    }

    /// An argument that cannot be used.
    pub(crate) fn invalid(said: impl Into<String>) -> Self {
        Self::Refused {
            said: said.into(),
            stage: None,
            text: ErrCode::INVAL.text().to_owned(),
        }
    }

    /// A command the object does not have.
    pub(crate) fn not_supported() -> Self {
        Self::code(ErrCode::NOTSUPP)
    }

    /// The same failure, as one of the parse or check step.
    pub(crate) fn at(mut self, step: &'static str) -> Self {
        if let Self::Refused { stage, .. } = &mut self {
            *stage = Some(step);
        }
        self
    }

    /// The same failure with one more line before the last.
    pub(crate) fn and(mut self, line: &str) -> Self {
        if let Self::Refused { said, .. } = &mut self {
            if !said.is_empty() {
                said.push('\n');
            }
            said.push_str(line);
        }
        self
    }

    /// The same failure; if the daemon cannot do such a thing at all, with a
    /// line that says so.
    pub(crate) fn unsupported(self, prog: &str, object: &str, command: Command) -> Self {
        let refused = ErrCode::NOTSUPP.text();
        match &self {
            Self::Refused { said, text, .. } if text == refused && said.starts_with('[') => {
                let line = format!(
                    "{prog}: this dpvs does not support `{object} {}' (its log says more)",
                    command.word()
                );
                self.and(&line)
            }
            Self::Refused { said, text, .. } if text == refused && said.is_empty() => {
                let line = format!(
                    "{prog}: {object} has no command `{0}'; `{prog} {object} help' lists what it has",
                    command.word()
                );
                self.and(&line)
            }
            _ => self,
        }
    }

    /// Says everything but the last line now, with one more line: for a part of
    /// a listing that failed while the rest goes on.
    pub(crate) fn told(self, out: &mut Out, line: &str) -> Self {
        match self.and(line) {
            Self::Refused { said, stage, text } => {
                said.lines().for_each(|line| out.complain(line));
                Self::Refused {
                    said: String::new(),
                    stage,
                    text,
                }
            }
            other => other,
        }
    }

    /// The text that stands behind the program's name in the last line.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Refused { text, .. } => text,
            Self::Closed | Self::Output(_) => "",
        }
    }

    /// The lines for stderr.
    pub(crate) fn lines(&self, prog: &str) -> Vec<String> {
        match self {
            Self::Closed => Vec::new(),
            Self::Output(error) => vec![format!("{prog}: cannot write the output: {error}")],
            Self::Refused { said, stage, text } => {
                let last = match stage {
                    Some(stage) => format!("{prog}: {stage}: {text}"),
                    None => format!("{prog}: {text}"),
                };
                said.lines().map(str::to_owned).chain([last]).collect()
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Output(error),
        }
    }
}

impl From<CtlError> for Failure {
    /// DIFFERS: where the C tool can only say `<unknow>` (no daemon, a reply cut
    /// short, another protocol version), the last line says what happened and
    /// what to do about it.
    fn from(error: CtlError) -> Self {
        let said = match &error {
            CtlError::Server { id, code, text } => {
                format!(
                    "[sockopt_msg_recv] errcode set in socket msg#{id} header: {text}({})",
                    code.0
                )
            }
            CtlError::ShortReply { got, need, .. } if *got < 88 && *need == 88 => {
                format!("[sockopt_msg_recv] socket msg header recv error -- {got}/{need} recieved")
            }
            CtlError::ShortReply { got, need, .. } => {
                format!("[sockopt_msg_recv] socket msg body recv error -- {got}/{need} recieved")
            }
            CtlError::Version { .. } => {
                "[sockopt_msg_recv] socket msg version not match".to_owned()
            }
            CtlError::Malformed { .. } => "corrupted response.".to_owned(),
            _ => String::new(),
        };
        Self::Refused {
            said,
            stage: None,
            text: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_daemon_refused() {
        let error = CtlError::Server {
            id: 47,
            code: ErrCode::EXIST,
            text: "already exist".to_owned(),
        };
        assert_eq!(
            Failure::from(error).lines("dpip"),
            [
                "[sockopt_msg_recv] errcode set in socket msg#47 header: already exist(-3)",
                "dpip: already exist"
            ]
        );
    }

    #[test]
    fn the_daemon_broke_off() {
        let lines =
            |got, need| Failure::from(CtlError::ShortReply { id: 51, got, need }).lines("dpip");
        assert_eq!(
            lines(0, 88)[0],
            "[sockopt_msg_recv] socket msg header recv error -- 0/88 recieved"
        );
        assert_eq!(
            lines(3, 92)[0],
            "[sockopt_msg_recv] socket msg body recv error -- 3/92 recieved"
        );
        assert!(lines(3, 92)[1].starts_with("dpip: dpvs closed the connection after 3 of 92"));
    }

    #[test]
    fn nobody_there() {
        let error = CtlError::NoDaemon {
            path: PathBuf::from("/nowhere"),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        let lines = Failure::from(error).lines("dpip");
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].starts_with("dpip: no dpvs daemon answers on /nowhere"),
            "{lines:?}"
        );
    }

    #[test]
    fn steps_and_more_lines() {
        let failure = Failure::invalid("a").and("b").at("check");
        assert_eq!(
            failure.lines("dpip"),
            ["a", "b", "dpip: check: invalid parameter"]
        );
        assert_eq!(Failure::not_supported().lines("x"), ["x: not support"]);
    }
}
