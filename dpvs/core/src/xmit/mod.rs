//! Forwarding modes and what they do to a segment: one subject a file.

pub(crate) mod fullnat;
pub mod tcpopt;
pub mod toa;
