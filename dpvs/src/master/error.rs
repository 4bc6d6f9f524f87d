//! Why the master refuses a request, and the one place where that becomes a
//! code of the control socket.

use std::fmt;

use dpvs_ctl::ErrCode;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request makes no sense; the text says what of it.
    Invalid(&'static str),
    /// It is there already.
    Exists,
    /// It is not there.
    Missing,
    /// The service is not there (where DPVS says so).
    NoService,
    /// No such device (where DPVS says so).
    NoDevice,
    /// Understood, and not built; the text says what.
    Unsupported(&'static str),
    /// A worker would have refused: what DPVS answers for a missing service.
    WorkerRefused,
    /// A worker did not answer in time.
    WorkerSilent,
    /// Somebody uses it.
    Busy,
    /// It would hold more than it may (where DPVS has no memory).
    NoMemory,
    /// Ids are used up.
    NoRoom,
    /// Not configured.
    Disabled,
}

impl Fault {
    /// The code of the control socket.
    #[must_use]
    pub fn code(&self) -> ErrCode {
        match self {
            Fault::Invalid(_) => ErrCode::INVAL,
            Fault::Exists => ErrCode::EXIST,
            Fault::Missing => ErrCode::NOTEXIST,
            Fault::NoService => ErrCode::NOSERV,
            Fault::NoDevice => ErrCode::NODEV,
            Fault::Unsupported(_) => ErrCode::NOTSUPP,
            Fault::WorkerRefused => ErrCode::MSG_FAIL,
            Fault::WorkerSilent => ErrCode::MSG_DROP,
            Fault::Busy => ErrCode::BUSY,
            Fault::NoMemory => ErrCode::NOMEM,
            Fault::NoRoom => ErrCode::NOROOM,
            Fault::Disabled => ErrCode::DISABLED,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Invalid(what) | Fault::Unsupported(what) => f.write_str(what),
            other => write!(f, "{}", other.code()),
        }
    }
}

impl std::error::Error for Fault {}

/// Result of anything the master is asked to do.
pub type Result<T> = std::result::Result<T, Fault>;
