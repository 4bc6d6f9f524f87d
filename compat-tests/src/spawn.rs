//! Programs that stay: started with their output in a log file, stopped for
//! certain.
//!
//! A [`Process`] dies with its value, and with the program that started it:
//! `setpriv --pdeathsig` has the kernel kill it even when the test itself is
//! killed. Only processes started here are ever signalled, by their pid.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::wait;

/// How long a program has to leave after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A running program with its log.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    detached: bool,
}

/// Whether the program ends with the one that starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The kernel kills it when its starter ends, however that ends.
    Bound,
    /// It stays until somebody stops it (`make demo-shell`).
    Detached,
}

impl Process {
    /// Starts `command`; both its outputs are appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, command: &Command, log: &Path, lifetime: Lifetime) -> Result<Self> {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .what(|| format!("log {} of {name}", log.display()))?;
        let err = out
            .try_clone()
            .what(|| format!("log {} of {name}", log.display()))?;
        let mut full = match lifetime {
            Lifetime::Bound => {
                let mut bound = Command::new("setpriv");
                bound.args(["--pdeathsig", "KILL", "--"]);
                bound.arg(command.get_program());
                bound
            }
            Lifetime::Detached => {
                // A session of its own: the terminal's hang-up is not for it.
                let mut detached = Command::new("setsid");
                detached.arg(command.get_program());
                detached
            }
        };
        full.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => full.env(key, value),
                None => full.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            full.current_dir(dir);
        }
        // A group of its own: Ctrl-C reaches the starter only, which then ends
        // its programs in order. (setsid forks when it already leads a group.)
        if lifetime == Lifetime::Bound {
            full.process_group(0);
        }
        let child = full
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .what(|| format!("cannot start {name} (`{}`)", crate::run::line_of(command)))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
            detached: lifetime == Lifetime::Detached,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .what(|| format!("state of {}", self.name))
    }

    /// An error with the end of the log when the program is no longer running.
    ///
    /// # Errors
    /// See above.
    pub fn still_running(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => Err(Error::new(format!(
                "{} has ended ({status}); its log ends:\n{}",
                self.name,
                self.log_tail(40)
            ))),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.nix_pid()?, signal).what(|| format!("{signal} to {}", self.name))
    }

    /// SIGTERM, then SIGKILL after five seconds; gives how it ended.
    ///
    /// # Errors
    /// When it cannot even be waited for.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.end_with(Signal::SIGTERM)
    }

    /// SIGKILL: no chance to clean up.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end_with(Signal::SIGKILL)
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, || self.exited()).map(|(status, _)| status)
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    fn nix_pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id())
            .map(Pid::from_raw)
            .what(|| "process id")
    }

    fn end_with(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.signal(signal)?;
        if let Ok(status) = self.wait(GRACE) {
            return Ok(status);
        }
        let _ = self.child.kill();
        self.child.wait().what(|| format!("end of {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} says last:\n{}", self.name, self.log_tail(15));
        }
        if !self.detached {
            let _ = self.stop();
        }
    }
}

/// The last `lines` lines of a file, from at most its last 64 KiB; empty when
/// there is no such file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let size = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(size.saturating_sub(64 << 10)));
        let _ = file.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo started; exec sleep 600"]);
        Process::start("sleeper", &command, &dir.join("log"), Lifetime::Bound).unwrap()
    }

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sleeper(dir.path());
        wait::until_true("the first line", GRACE, || {
            Ok(process.log().contains("started"))
        })
        .unwrap();
        process.still_running().unwrap();
        let pid = process.pid();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
    }

    #[test]
    fn an_ended_process_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such port; exit 7"]);
        let mut process =
            Process::start("daemon", &command, &dir.path().join("log"), Lifetime::Bound).unwrap();
        assert_eq!(process.wait(GRACE).unwrap().code(), Some(7));
        let err = process.still_running().unwrap_err().to_string();
        assert!(
            err.contains("daemon") && err.contains("no such port"),
            "{err}"
        );
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(tail(&path, 2), "b\nc");
        assert_eq!(tail(&path, 9), "a\nb\nc");
        assert_eq!(tail(&dir.path().join("none"), 9), "");
    }
}
