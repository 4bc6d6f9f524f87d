//! The one error of the port layer: what was tried, DPDK's reason, and what to
//! do about it. Only for control calls; packet calls count instead.

use std::ffi::CStr;
use std::fmt;

/// A DPDK call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    what: String,
    errno: i32,
    hint: String,
}

/// Result of a control call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `errno` may be given as DPDK returns it (negative) or as errno (positive).
    pub(crate) fn new(what: impl Into<String>, errno: i32) -> Self {
        Self {
            what: what.into(),
            errno: errno.saturating_abs(),
            hint: String::new(),
        }
    }

    /// Takes the reason from DPDK's per-thread errno.
    pub(super) fn last(what: impl Into<String>) -> Self {
        // SAFETY: reads a thread-local integer.
        Self::new(what, unsafe { dpdk_sys::dpvs_errno() })
    }

    /// Adds what the operator can do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The errno value, positive; 0 where DPDK gave none.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// The driver has no such function: for many settings that is no error.
    #[must_use]
    pub fn unsupported(&self) -> bool {
        self.errno == libc::ENOTSUP || self.errno == libc::ENOSYS
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.errno != 0 {
            write!(f, ": {}", strerror(self.errno))?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// 0 or positive is success, as almost everywhere in DPDK.
pub(super) fn check(ret: i32, what: impl FnOnce() -> String) -> Result<i32> {
    if ret < 0 {
        Err(Error::new(what(), ret))
    } else {
        Ok(ret)
    }
}

fn strerror(errno: i32) -> String {
    // SAFETY: returns a string that stays valid until this thread's next call.
    let text = unsafe { dpdk_sys::rte_strerror(errno) };
    if text.is_null() {
        return format!("error {errno}");
    }
    // SAFETY: not null, NUL-terminated, and copied before the next call.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_why_and_what_to_do() {
        let error = Error::new("cannot start dpdk0", -libc::ENOTSUP).hint("use another driver");
        assert_eq!(error.errno(), libc::ENOTSUP);
        assert!(error.unsupported());
        let text = error.to_string();
        assert!(text.starts_with("cannot start dpdk0: "), "{text}");
        assert!(text.ends_with("; use another driver"), "{text}");
        assert_eq!(Error::new("x", 0).to_string(), "x");
    }

    #[test]
    fn check_passes_counts_through() {
        assert_eq!(check(3, String::new), Ok(3));
        assert_eq!(
            check(-libc::EINVAL, || "y".into()),
            Err(Error::new("y", libc::EINVAL))
        );
    }
}
