//! Health checks: one task for each checker, one report for each change of mind.
//!
//! `verdict` decides (no I/O), `tcp`, `http` and `misc` look, this file drives
//! them by the clock. Knows nothing of services or the dataplane.

mod http;
mod misc;
mod tcp;
mod verdict;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::conf::model::{Check, CheckKind};
use verdict::{Outcome, Verdict};

/// A checker changed its mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Which task it was.
    pub(crate) id: u64,
    pub(crate) up: bool,
    /// A new weight, from `misc_dynamic`.
    pub(crate) weight: Option<u32>,
}

/// What one look gave.
struct Seen {
    ok: bool,
    weight: Option<u32>,
    /// For the log.
    text: String,
}

impl Seen {
    fn good(text: impl Into<String>) -> Self {
        Self {
            ok: true,
            weight: None,
            text: text.into(),
        }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self {
            ok: false,
            weight: None,
            text: text.into(),
        }
    }
}

/// Starts a checker. `server` is how the log names what is checked.
pub(crate) fn start(
    id: u64,
    check: Check,
    server: String,
    reports: UnboundedSender<Report>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        sleep(random_below(check.warmup, id)).await;
        let mut verdict = Verdict::new(&check);
        let mut last_weight = None;
        loop {
            let seen = look(&check).await;
            let outcome = if seen.ok {
                Outcome::Pass
            } else {
                Outcome::Fail
            };
            let step = verdict.handle(outcome);
            say(&check, &server, &seen, &step);
            let weight = seen.weight.filter(|w| Some(*w) != last_weight);
            if step.report.is_some() || weight.is_some() {
                if weight.is_some() {
                    last_weight = weight;
                }
                let up = step.report.unwrap_or(verdict.is_up());
                if reports.send(Report { id, up, weight }).is_err() {
                    return;
                }
            }
            sleep(step.next).await;
        }
    })
}

async fn look(check: &Check) -> Seen {
    match &check.kind {
        CheckKind::Tcp => tcp::look(check).await,
        CheckKind::Http(http) => http::look(check, http).await,
        CheckKind::Misc(misc) => misc::look(misc).await,
    }
}

fn say(check: &Check, server: &str, seen: &Seen, step: &verdict::Step) {
    let kind = match &check.kind {
        CheckKind::Tcp => "TCP_CHECK",
        CheckKind::Http(_) => "HTTP_CHECK",
        CheckKind::Misc(_) => "MISC_CHECK",
    };
    let text = &seen.text;
    match (step.report, seen.ok) {
        (Some(true), _) => info!("{kind} on service {server} success: {text}."),
        (Some(false), _) if step.tries > 0 => {
            info!(
                "{kind} on service {server} failed after {} retries: {text}.",
                step.tries
            );
        }
        (Some(false), _) => info!("{kind} on service {server} failed: {text}."),
        (None, false) if check.log_all_failures => {
            info!("{kind} on service {server} failed: {text}.");
        }
        (None, false) => debug!("{kind} on service {server} failed: {text}."),
        (None, true) => {}
    }
}

/// Spreads the first checks, so that not all servers are asked at once.
fn random_below(limit: Duration, id: u64) -> Duration {
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    match micros {
        0 => Duration::ZERO,
        n => Duration::from_micros(RandomState::new().hash_one(id) % n),
    }
}
