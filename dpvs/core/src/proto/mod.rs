//! Protocol states of a connection: one protocol a file.
//!
//! Sans-I/O: a packet's direction and flags in, the next state out. What a state
//! means for time-outs and counters is said here; timers and counters themselves
//! are elsewhere.

pub mod icmp;
pub mod sctp;
pub mod tcp;
pub mod udp;

/// Which way a packet of a connection goes. Also an index: 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// From the client to the server.
    In = 0,
    /// From the server to the client.
    Out = 1,
}

impl Dir {
    /// The other one.
    #[inline]
    #[must_use]
    pub fn turned(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}
