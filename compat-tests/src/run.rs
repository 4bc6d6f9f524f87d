//! Running a command to its end: output collected, time limited.
//!
//! For commands that answer and finish (`ip`, `curl`, `ipvsadm`). Programs that
//! stay are [`crate::spawn::Process`]. A command that outlives its time limit is
//! killed and reported, so no test hangs on one.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// How long an ordinary command may take.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code is 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// The exit code; 128 + signal for a killed command, as shells say it.
    #[must_use]
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status
            .code()
            .or_else(|| self.status.signal().map(|s| 128 + s))
            .unwrap_or(-1)
    }

    /// Standard output, if the command succeeded.
    ///
    /// # Errors
    /// Otherwise: the command line, its exit code and both outputs.
    pub fn success(self) -> Result<String> {
        if self.ok() {
            return Ok(self.stdout);
        }
        Err(Error::new(format!(
            "`{}` ended with code {}\n{}{}",
            self.line,
            self.code(),
            self.stdout,
            self.stderr
        )))
    }
}

/// The command as one would type it.
pub(crate) fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// Runs `command` with `input` on its standard input, for at most `limit`.
///
/// # Errors
/// When it cannot be started, or when it runs longer than `limit` (it is then
/// killed). A non-zero exit code is not an error here.
pub fn run_with(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let line = line_of(command);
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .what(|| format!("cannot start `{line}`"))?;
    // Threads feed and drain the pipes: a full one would stop the command.
    let stdin = child.stdin.take();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is no error of ours.
            let _ = stdin.write_all(&input);
        }
    });
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().what(|| format!("waiting for `{line}`"))? {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            // The pipes may be held open by grandchildren: do not join.
            return Err(Error::new(format!(
                "`{line}` did not finish in {:.0} s and was killed",
                limit.as_secs_f64()
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let _ = feeder.join();
    Ok(Output {
        line,
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Runs `command` without input for at most [`LIMIT`].
///
/// # Errors
/// As [`run_with`].
pub fn run(command: &mut Command) -> Result<Output> {
    run_with(command, b"", LIMIT)
}

/// Runs `program args…` and wants exit code 0; gives standard output.
///
/// # Errors
/// As [`run_with`], and when the exit code is not 0.
pub fn must<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    run(Command::new(program).args(args))?.success()
}

/// Reads a pipe to its end in a thread of its own.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_code_come_back() {
        let out = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
        assert_eq!(
            (out.stdout.as_str(), out.stderr.as_str(), out.code()),
            ("out\n", "err\n", 3)
        );
        assert!(out.success().unwrap_err().to_string().contains("code 3"));
    }

    #[test]
    fn input_reaches_the_command() {
        let text = "line\n".repeat(50_000);
        let out = run_with(&mut Command::new("cat"), text.as_bytes(), LIMIT).unwrap();
        assert_eq!(out.stdout, text);
    }

    #[test]
    fn a_command_that_hangs_is_killed_and_named() {
        let start = Instant::now();
        let err = run_with(
            Command::new("sleep").arg("600"),
            b"",
            Duration::from_millis(100),
        )
        .unwrap_err();
        assert!(err.to_string().contains("`sleep 600`"), "{err}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
