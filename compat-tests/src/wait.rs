//! Waiting for something that another process brings about, with an end.
//!
//! Every wait of the tests goes through here, so none can hang: a condition
//! that never comes true is an error that names it and says how long it was
//! awaited.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Calls `probe` until it gives a value, at most for `limit`.
///
/// The time it took is returned beside the value.
///
/// # Errors
/// When `limit` passes: names `what`. An error of `probe` itself ends the wait
/// at once, so a probe that may fail for a while answers `Ok(None)`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok((value, start.elapsed()));
        }
        if start.elapsed() >= limit {
            return Err(Error::new(format!(
                "waited {:.1} s for {what}",
                limit.as_secs_f64()
            )));
        }
        std::thread::sleep(STEP);
    }
}

/// [`until`] for a plain condition.
///
/// # Errors
/// As [`until`].
pub fn until_true(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    until(what, limit, || Ok(probe()?.then_some(()))).map(|((), took)| took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut left = 3;
        let took = until_true("three looks", Duration::from_secs(5), || {
            left -= 1;
            Ok(left == 0)
        })
        .unwrap();
        assert!(took < Duration::from_secs(5));
        assert_eq!(left, 0);
    }

    #[test]
    fn a_condition_that_never_comes_is_named() {
        let err = until_true("the moon", Duration::from_millis(50), || Ok(false)).unwrap_err();
        assert!(err.to_string().contains("the moon"), "{err}");
    }

    #[test]
    fn an_error_of_the_probe_is_not_waited_out() {
        let start = Instant::now();
        let wait: Result<((), _)> = until("x", Duration::from_secs(60), || {
            Err(Error::new("broken probe"))
        });
        assert!(wait.unwrap_err().to_string().contains("broken probe"));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
