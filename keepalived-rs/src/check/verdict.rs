//! When a server counts as up or down: retries and delays, no I/O.
//!
//! The first look decides at once. Later, a server that is up goes down after
//! `retry` + 1 failures in a row, a server that is down comes up with the
//! first success.

use std::time::Duration;

use crate::conf::model::Check;

/// What one look gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pass,
    Fail,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The new state, when it is to be told.
    pub(super) report: Option<bool>,
    /// Until the next look.
    pub(super) next: Duration,
    /// Retries used up before this verdict.
    pub(super) tries: u32,
}

/// The state of one checker.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    retry: u32,
    delay_loop: Duration,
    delay_before_retry: Duration,
    up: bool,
    first: bool,
    tries: u32,
}

impl Verdict {
    pub(super) fn new(check: &Check) -> Self {
        Self {
            retry: check.retry,
            delay_loop: check.delay_loop,
            delay_before_retry: check.delay_before_retry,
            up: !check.alpha,
            first: true,
            tries: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    pub(super) fn handle(&mut self, outcome: Outcome) -> Step {
        let first = std::mem::replace(&mut self.first, false);
        let tries = self.tries;
        let mut step = Step {
            report: None,
            next: self.delay_loop,
            tries,
        };
        match outcome {
            Outcome::Pass => {
                self.tries = 0;
                // The first success is told in any case: whoever listens may
                // have taken the state over from before a reload.
                if !self.up || first {
                    step.report = Some(true);
                }
                self.up = true;
            }
            Outcome::Fail if first || self.tries >= self.retry => {
                self.tries = 0;
                if self.up || first {
                    step.report = Some(false);
                }
                self.up = false;
            }
            // Also while down: a dead server is polled in the retry rhythm.
            Outcome::Fail => {
                self.tries += 1;
                step.next = self.delay_before_retry;
            }
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::model::CheckKind;

    fn verdict(retry: u32, alpha: bool) -> Verdict {
        Verdict::new(&Check {
            kind: CheckKind::Tcp,
            connect: "127.0.0.1:1".parse().unwrap(),
            bind: None,
            bind_if: None,
            fwmark: 0,
            timeout: Duration::from_secs(1),
            delay_loop: Duration::from_secs(6),
            retry,
            delay_before_retry: Duration::from_secs(1),
            warmup: Duration::ZERO,
            alpha,
            log_all_failures: false,
        })
    }

    use Outcome::{Fail, Pass};

    #[test]
    fn first_failure_is_down_without_retries() {
        let mut v = verdict(3, false);
        assert_eq!(
            v.handle(Fail),
            Step {
                report: Some(false),
                next: Duration::from_secs(6),
                tries: 0
            }
        );
        assert!(!v.is_up());
    }

    #[test]
    fn healthy_server_needs_retry_plus_one_failures() {
        let mut v = verdict(2, false);
        assert_eq!(v.handle(Pass).report, Some(true));
        for _ in 0..2 {
            let s = v.handle(Fail);
            assert_eq!((s.report, s.next), (None, Duration::from_secs(1)));
            assert!(v.is_up());
        }
        let s = v.handle(Fail);
        assert_eq!(
            (s.report, s.next, s.tries),
            (Some(false), Duration::from_secs(6), 2)
        );
        // Up with the first success, told once.
        assert_eq!(v.handle(Fail).report, None);
        assert_eq!(v.handle(Pass).report, Some(true));
        assert_eq!(v.handle(Pass).report, None);
    }

    #[test]
    fn a_success_forgets_failures() {
        let mut v = verdict(1, false);
        v.handle(Pass);
        for _ in 0..10 {
            assert_eq!(v.handle(Fail).report, None);
            assert_eq!(v.handle(Pass).report, None);
        }
    }

    #[test]
    fn no_retries_and_alpha() {
        let mut v = verdict(0, true);
        assert!(!v.is_up());
        assert_eq!(v.handle(Pass).report, Some(true));
        assert_eq!(v.handle(Fail).report, Some(false));
    }
}
