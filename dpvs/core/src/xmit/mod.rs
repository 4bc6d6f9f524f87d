//! Forwarding modes and what they do to a segment: one subject a file.

pub(crate) mod client;
pub(crate) mod fullnat;
pub mod proxy;
pub mod tcpopt;
pub mod toa;
pub mod uoa;
