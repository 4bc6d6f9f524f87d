//! MISC_CHECK: a command whose exit code is the verdict.
//!
//! 0 is up, 1 is down; with misc_dynamic 2..255 is up with the weight code - 2.
//! At the time limit the command gets SIGTERM, two seconds later SIGKILL.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use super::Seen;
use crate::conf::model::Misc;
use crate::notify;

/// Runs the command once.
pub(super) async fn look(misc: &Misc) -> Seen {
    let mut command = match notify::command(&misc.script, &[]) {
        Ok(c) => c,
        Err(e) => return Seen::bad(e),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(c) => c,
        Err(e) => return Seen::bad(format!("cannot run: {e}")),
    };
    let status = match timeout(misc.timeout, child.wait()).await {
        Ok(Ok(status)) => status,
        Ok(Err(e)) => return Seen::bad(e.to_string()),
        Err(_) => {
            if let Some(pid) = child.id().and_then(|p| i32::try_from(p).ok()) {
                // It may have ended in this very moment.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            if timeout(Duration::from_secs(2), child.wait()).await.is_err() {
                let _ = child.start_kill();
                let _ = child.wait().await;
            }
            return Seen::bad("command timed out");
        }
    };
    match status.code() {
        Some(0) => Seen::good("exit code 0"),
        Some(code @ 2..=255) if misc.dynamic => {
            let weight = u32::try_from(code - 2).unwrap_or(0);
            Seen {
                ok: true,
                weight: Some(weight),
                text: format!("exit code {code}"),
            }
        }
        Some(code) => Seen::bad(format!("exit code {code}")),
        None => Seen::bad("command was killed"),
    }
}
