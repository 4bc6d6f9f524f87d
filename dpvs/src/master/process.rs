//! The process among others: its pid file, which is also the lock that keeps
//! two daemons apart, and the signals.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A pid file that is ours for as long as this lives.
#[derive(Debug)]
pub struct PidFile {
    lock: Flock<File>,
    path: PathBuf,
}

impl PidFile {
    /// Takes the pid file and writes our id to it. A file left behind by a
    /// process that ended is taken over.
    ///
    /// # Errors
    /// A living daemon holds it, or it cannot be written.
    pub fn take(path: &Path) -> io::Result<PidFile> {
        let told =
            |e: io::Error| io::Error::new(e.kind(), format!("pid file {}: {e}", path.display()));
        // A loop because the holder may remove the file while we wait for it.
        for _ in 0..16 {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
                .map_err(told)?;
            if !file.metadata().map_err(told)?.is_file() {
                return Err(told(io::Error::other(
                    "not a regular file; choose another with -p",
                )));
            }
            let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((mut file, _)) => {
                    let mut text = String::new();
                    let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
                    let pid = text.trim();
                    return Err(io::Error::new(
                        io::ErrorKind::AddrInUse,
                        format!(
                            "pid file {}: another dpvs{} runs; stop it or choose other files with -p and -x",
                            path.display(),
                            if pid.is_empty() {
                                String::new()
                            } else {
                                format!(" (pid {pid})")
                            }
                        ),
                    ));
                }
            };
            let same = fs::metadata(path)
                .and_then(|there| Ok((there, lock.metadata()?)))
                .is_ok_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()));
            if !same {
                continue;
            }
            lock.set_len(0).map_err(told)?;
            lock.seek(SeekFrom::Start(0)).map_err(told)?;
            writeln!(lock, "{}", std::process::id()).map_err(told)?;
            return Ok(PidFile {
                lock,
                path: path.to_owned(),
            });
        }
        Err(told(io::Error::other("it keeps being replaced")))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Removed while still locked, so never another daemon's.
        let ours = fs::metadata(&self.path)
            .and_then(|there| Ok((there, self.lock.metadata()?)))
            .is_ok_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The signals the daemon listens to. Caught before any other thread starts,
/// so that all inherit the mask and only this object gets them.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    hup: bool,
    stop: bool,
}

impl Signals {
    /// Catches SIGHUP, SIGTERM and SIGINT; ignores SIGPIPE as Rust does.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
            set.add(signal);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals {
            fd,
            hup: false,
            stop: false,
        })
    }

    fn look(&mut self) {
        while let Ok(Some(info)) = self.fd.read_signal() {
            if info.ssi_signo == Signal::SIGHUP as u32 {
                self.hup = true;
            } else {
                self.stop = true;
            }
        }
    }

    /// Whether a reload was asked for (SIGHUP); asking forgets it.
    pub fn reload(&mut self) -> bool {
        self.look();
        std::mem::take(&mut self.hup)
    }

    /// Whether the daemon is to end (SIGTERM, SIGINT).
    pub fn stop(&mut self) -> bool {
        self.look();
        self.stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_taken_over_only_from_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "999999999\nlonger than ours\n").unwrap();
        let held = PidFile::take(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        let refused = PidFile::take(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("pid {}", std::process::id())),
            "{refused}"
        );
        drop(held);
        assert!(!path.exists());
        assert!(PidFile::take(dir.path()).is_err());
        assert!(PidFile::take(&dir.path().join("no/where")).is_err());
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            PidFile::take(&path)
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
    }
}
