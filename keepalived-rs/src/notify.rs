//! Scripts: quorum, server and VRRP notifications. Started, never waited for.
//!
//! Knows how to run a `Script` as its user, and nothing of why.

use std::process::Stdio;

use nix::unistd::{Group, User, geteuid};
use tokio::process::Command;
use tracing::{debug, warn};

use crate::conf::model::Script;

/// The command of a script with more arguments behind its own.
pub(crate) fn command(script: &Script, extra: &[&str]) -> Result<Command, String> {
    let (program, args) = script.argv.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(args).args(extra);
    // Only root can become somebody else.
    if let Some(user) = script.user.as_deref().filter(|_| geteuid().is_root()) {
        let known = User::from_name(user).map_err(|e| format!("user {user}: {e}"))?;
        let known = known.ok_or_else(|| format!("user {user} does not exist"))?;
        let gid = match &script.group {
            None => known.gid,
            Some(g) => {
                Group::from_name(g)
                    .ok()
                    .flatten()
                    .ok_or_else(|| format!("group {g} does not exist"))?
                    .gid
            }
        };
        if !known.uid.is_root() {
            command.uid(known.uid.as_raw()).gid(gid.as_raw());
        }
    }
    Ok(command)
}

/// Starts a script in the background.
pub(crate) fn run(script: &Script, extra: &[&str]) {
    let shown = script.argv.join(" ");
    let spawned = command(script, extra).and_then(|mut c| {
        c.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        c.spawn().map_err(|e| e.to_string())
    });
    match spawned {
        Ok(mut child) => {
            debug!("started '{shown}'");
            tokio::spawn(async move {
                match child.wait().await {
                    Ok(s) if !s.success() => warn!("script '{shown}' ended with {s}"),
                    Ok(_) => {}
                    Err(e) => warn!("script '{shown}': {e}"),
                }
            });
        }
        Err(e) => warn!("script '{shown}' cannot be run: {e}"),
    }
}
