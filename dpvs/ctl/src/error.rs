//! What can go wrong on the control socket: the daemon's error codes with
//! their texts, and the client's own failures.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::header::PROTOCOL_VERSION;
use crate::id;
use crate::wire::DecodeError;

/// An error code of the daemon, as in the reply header.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrCode(pub i32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        impl ErrCode {
            $( $(#[$doc])* pub const $name: Self = Self($code); )+

            /// Every code there is.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The text the daemon sends along with the code.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self.0 {
                    $( $code => $text, )+
                    _ => "<unknow>",
                }
            }

            /// The name of the code; empty for an unknown one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $( $code => stringify!($name), )+
                    _ => "",
                }
            }
        }
    };
}

codes! {
    /// Success.
    OK = 0, "OK";
    /// A field of the request is wrong, or the service is missing.
    INVAL = -1, "invalid parameter";
    /// Out of memory.
    NOMEM = -2, "no memory";
    /// It is there already.
    EXIST = -3, "already exist";
    /// It is not there.
    NOTEXIST = -4, "not exist";
    /// A malformed packet.
    INVPKT = -5, "invalid packet";
    /// Packet dropped.
    DROP = -6, "packet dropped";
    /// Unknown protocol.
    NOPROT = -7, "no protocol";
    /// No route.
    NOROUTE = -8, "no route";
    /// Reassembly failed.
    DEFRAG = -9, "defragment error";
    /// Fragmentation failed.
    FRAG = -10, "fragment error";
    /// A DPDK call failed.
    DPDKAPIFAIL = -11, "failed dpdk api";
    /// Nothing to do.
    IDLE = -12, "nothing to do";
    /// In use.
    BUSY = -13, "resource busy";
    /// Not supported.
    NOTSUPP = -14, "not support";
    /// Out of some resource.
    RESOURCE = -15, "no resource";
    /// Overloaded.
    OVERLOAD = -16, "overloaded";
    /// No such service.
    NOSERV = -17, "no service";
    /// Switched off.
    DISABLED = -18, "disabled";
    /// No room.
    NOROOM = -19, "no room";
    /// The thread is no EAL thread.
    NONEALCORE = -20, "non-EAL thread lcore";
    /// A callback failed.
    CALLBACKFAIL = -21, "callback failed";
    /// I/O error.
    IO = -22, "I/O error";
    /// A worker failed; what a missing service usually looks like.
    MSG_FAIL = -23, "msg callback failed";
    /// A worker did not answer in time.
    MSG_DROP = -24, "msg dropped";
    /// The packet was taken.
    PKTSTOLEN = -25, "stolen packet";
    /// A system call failed.
    SYSCALL = -26, "system call failed";
    /// No such device.
    NODEV = -27, "no such device";
    /// Continue with the kernel's interface.
    KNICONTINUE = 1, "kni to continue";
    /// In progress.
    INPROGRESS = 2, "in progress";
}

impl fmt::Display for ErrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for ErrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// Why a request got no good answer.
#[derive(Debug)]
pub enum CtlError {
    /// Nobody listens: no socket file, or one left behind.
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What connect said.
        source: io::Error,
    },
    /// The socket may not be opened by this user.
    Permission {
        /// The socket.
        path: PathBuf,
        /// What connect said.
        source: io::Error,
    },
    /// The daemon did not take or answer the request in time.
    Timeout {
        /// The socket.
        path: PathBuf,
        /// The message.
        id: u32,
        /// What was waited for.
        phase: &'static str,
        /// How long.
        after: Duration,
    },
    /// The daemon closed the connection in the middle of its answer. Before
    /// the first byte: it does not know the message at all.
    ShortReply {
        /// The message.
        id: u32,
        /// Bytes that came.
        got: usize,
        /// Bytes expected.
        need: usize,
    },
    /// The daemon speaks another protocol version.
    Version {
        /// The message.
        id: u32,
        /// Its version.
        got: u32,
    },
    /// The daemon refused.
    Server {
        /// The message.
        id: u32,
        /// The code.
        code: ErrCode,
        /// The text it sent.
        text: String,
    },
    /// The answer does not have the form it should have.
    Malformed {
        /// The message.
        id: u32,
        /// What is wrong.
        source: DecodeError,
    },
    /// The answer is larger than anything a daemon sends.
    TooLarge {
        /// The message.
        id: u32,
        /// Bytes announced.
        len: u64,
    },
    /// Any other failure of the socket.
    Io {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        phase: &'static str,
        /// The error.
        source: io::Error,
    },
}

impl CtlError {
    /// The daemon's code, if it was the daemon that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrCode> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request did not reach a daemon at all, so that the same
    /// request can be sent again later.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        !matches!(self, Self::Server { .. } | Self::Malformed { .. })
    }
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon { path, source } => write!(
                f,
                "no dpvs daemon answers on {}: {source}; start dpvs, or set DPVS_IPC_FILE to its socket",
                path.display()
            ),
            Self::Permission { path, source } => write!(
                f,
                "may not open {}: {source}; run as the user dpvs runs as (usually root)",
                path.display()
            ),
            Self::Timeout {
                path,
                id,
                phase,
                after,
            } => write!(
                f,
                "dpvs on {} did not {phase} within {} ms ({}); is it stuck or very busy?",
                path.display(),
                after.as_millis(),
                id::describe(*id)
            ),
            Self::ShortReply { id, got: 0, .. } => write!(
                f,
                "dpvs closed the connection without an answer to {}; it may not support the request",
                id::describe(*id)
            ),
            Self::ShortReply { id, got, need } => write!(
                f,
                "dpvs closed the connection after {got} of {need} bytes of its answer to {}",
                id::describe(*id)
            ),
            Self::Version { id, got } => write!(
                f,
                "dpvs answers {} with protocol version {got:#x}, this program speaks {PROTOCOL_VERSION:#x}; use tools and daemon of one release",
                id::describe(*id)
            ),
            Self::Server { text, .. } => f.write_str(text),
            Self::Malformed { id, source } => write!(
                f,
                "malformed answer to {}: {source}; use tools and daemon of one release",
                id::describe(*id)
            ),
            Self::TooLarge { id, len } => {
                write!(
                    f,
                    "answer of {len} bytes to {} is too large to be true",
                    id::describe(*id)
                )
            }
            Self::Io {
                path,
                phase,
                source,
            } => {
                write!(f, "cannot {phase} {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for CtlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoDaemon { source, .. }
            | Self::Permission { source, .. }
            | Self::Io { source, .. } => Some(source),
            Self::Malformed { source, .. } => Some(source),
            _ => None,
        }
    }
}
