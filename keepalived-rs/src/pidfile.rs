//! PID files: written at start, removed at the end, read to see whether a
//! daemon runs already.
//!
//! DIFFERS: VRRP and checkers are one process here, so their files name the
//! same process as the main one.

use std::path::{Path, PathBuf};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tracing::warn;

use crate::args::Options;
use crate::conf::model::Config;

/// The process that owns the PID file.
#[derive(Debug)]
pub(crate) struct AlreadyRunning(pub(crate) i32);

/// The files of this process; dropped, they are removed.
#[derive(Debug)]
pub(crate) struct Pids(Vec<PathBuf>);

fn directory(config: &Config) -> (PathBuf, String) {
    let g = &config.globals;
    if g.use_pid_dir || g.instance.is_some() {
        let prefix = g
            .instance
            .as_ref()
            .map_or_else(String::new, |i| format!("{i}_"));
        ("/run/keepalived".into(), prefix)
    } else {
        ("/run".into(), String::new())
    }
}

fn main_file(options: &Options, config: &Config) -> PathBuf {
    let (dir, prefix) = directory(config);
    options
        .pid
        .clone()
        .unwrap_or_else(|| dir.join(format!("{prefix}keepalived.pid")))
}

/// The live keepalived a file names.
fn owner(path: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(path)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|p| *p > 0)?;
    if u32::try_from(pid).ok() == Some(std::process::id()) {
        return None;
    }
    kill(Pid::from_raw(pid), None).ok()?;
    // The number may belong to somebody else by now.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    name.trim().starts_with("keepalived").then_some(pid)
}

/// Whether the main PID file names `pid`.
pub(crate) fn names(options: &Options, config: &Config, pid: u32) -> bool {
    std::fs::read_to_string(main_file(options, config)).is_ok_and(|t| t.trim() == pid.to_string())
}

impl Pids {
    /// Writes the files. One that cannot be written is a warning only.
    pub(crate) fn claim(options: &Options, config: &Config) -> Result<Self, AlreadyRunning> {
        let (dir, prefix) = directory(config);
        let main = main_file(options, config);
        if let Some(pid) = owner(&main) {
            return Err(AlreadyRunning(pid));
        }
        let mut files = vec![main];
        if options.check && !config.services.is_empty() {
            let file = options.check_pid.clone();
            files.push(file.unwrap_or_else(|| dir.join(format!("{prefix}checkers.pid"))));
        }
        if options.vrrp && !config.instances.is_empty() {
            let file = options.vrrp_pid.clone();
            files.push(file.unwrap_or_else(|| dir.join(format!("{prefix}vrrp.pid"))));
        }
        let text = format!("{}\n", std::process::id());
        files.retain(|f| {
            let made = f.parent().map_or(Ok(()), std::fs::create_dir_all);
            match made.and_then(|()| std::fs::write(f, &text)) {
                Ok(()) => true,
                Err(e) => {
                    warn!("cannot write PID file {}: {e}", f.display());
                    false
                }
            }
        });
        Ok(Self(files))
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        for f in &self.0 {
            // Gone already is fine.
            let _ = std::fs::remove_file(f);
        }
    }
}
