//! The worker thread of a DPDK process: finding it, keeping neighbours off it
//! and reading how long it ran.

use std::fs;

use crate::error::{Context, Error, Result};

/// A worker thread.
#[derive(Debug, Clone, Copy)]
pub struct Thread {
    pid: u32,
    tid: i32,
}

/// Names DPDK releases give the thread of a lcore, up to its number.
const NAMES: [&str; 3] = ["rte-worker-", "dpdk-worker", "lcore-worker-"];

impl Thread {
    /// The thread of lcore 1.
    ///
    /// # Errors
    /// When the process has none of its names.
    pub fn worker(pid: u32) -> Result<Self> {
        Self::lcore(pid, 1)
    }

    /// The thread of a lcore.
    ///
    /// # Errors
    /// When the process has none of its names.
    pub fn lcore(pid: u32, lcore: u8) -> Result<Self> {
        let number = lcore.to_string();
        for tid in threads(pid)? {
            let name = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
            let is = |name: &str| {
                NAMES
                    .iter()
                    .any(|prefix| name.strip_prefix(prefix) == Some(&number))
            };
            if name.is_ok_and(|name| is(name.trim())) {
                return Ok(Self { pid, tid });
            }
        }
        Err(Error::new(format!(
            "process {pid} has no worker lcore {lcore}"
        )))
    }

    /// Real-time priority for it and a low one for the rest of its process;
    /// false where that is not allowed.
    #[must_use]
    pub fn favour(self) -> bool {
        for tid in threads(self.pid).unwrap_or_default() {
            if tid != self.tid {
                // The priority of one thread, on Linux.
                renice(tid, 10);
            }
        }
        fifo(self.tid)
    }

    /// Takes the low priority from the rest of its process again, for who measures
    /// that.
    pub fn share(self) {
        for tid in threads(self.pid).unwrap_or_default() {
            if tid != self.tid {
                renice(tid, 0);
            }
        }
    }

    /// Nanoseconds it has run.
    ///
    /// # Errors
    /// When it has ended.
    pub fn nanos(self) -> Result<u64> {
        let path = format!("/proc/{}/task/{}/schedstat", self.pid, self.tid);
        let text = fs::read_to_string(&path).what(|| path.clone())?;
        let first = text.split_whitespace().next().unwrap_or("");
        first.parse().what(|| path)
    }
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// When it has ended.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).what(|| path.clone())?;
    let kilobytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("")
        .parse()
        .what(|| path)?;
    Ok(kilobytes << 10)
}

fn threads(pid: u32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).what(|| path)?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

fn run(program: &str, args: &[String]) -> bool {
    crate::run::must(program, args).is_ok()
}

fn fifo(tid: i32) -> bool {
    run(
        "chrt",
        &["-f".into(), "-p".into(), "1".into(), tid.to_string()],
    )
}

fn renice(tid: i32, nice: i32) -> bool {
    run(
        "renice",
        &["-n".into(), nice.to_string(), "-p".into(), tid.to_string()],
    )
}
