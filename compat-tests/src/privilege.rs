//! What this machine lets the tests do, and saying so when it does not.
//!
//! Namespaces need root. Without it the tests that use them are skipped, and
//! each says so on the real standard error, which the test harness does not
//! swallow. With `DPVS_TEST_ROOT=required` a skip is a failure: for the runs
//! whose purpose is to run everything.

use std::io::Write;

use nix::unistd::geteuid;

use crate::error::{Error, Result};

/// Whether namespaces can be made: the tests' question.
///
/// # Errors
/// When they cannot and `DPVS_TEST_ROOT=required` is set.
pub fn root_or_skip(test: &str) -> Result<bool> {
    if is_root() {
        return Ok(true);
    }
    if std::env::var_os("DPVS_TEST_ROOT").is_some_and(|v| v == "required") {
        return Err(Error::new(format!(
            "{test} needs root, and DPVS_TEST_ROOT=required is set"
        )));
    }
    // Not eprintln!: the harness would keep it for itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: it needs root");
    Ok(false)
}

/// Whether the process is root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}
