//! The one error of the test tools: a sentence that says what was tried,
//! what came of it, and the end of the log that explains it.
//!
//! Tests unwrap these, so `Debug` prints the sentence as it is. Nothing here
//! knows what is being tested.

use std::fmt;

/// What went wrong, in words.
pub struct Error(String);

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error from a finished sentence.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The same error with `context` put before it.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self(format!("{context}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Adds what was being tried to an error of any kind.
pub trait Context<T> {
    /// Wraps the error in `what`, computed only when there is one.
    ///
    /// # Errors
    /// The wrapped error, when `self` is one.
    fn what<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn what<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| Error(format!("{}: {e}", what())))
    }
}
