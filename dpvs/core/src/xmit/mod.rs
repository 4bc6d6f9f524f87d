//! Forwarding modes and what they do to a segment: one subject a file.

pub(crate) mod client;
pub(crate) mod echo;
pub(crate) mod fullnat;
pub mod proxy;
pub(crate) mod snat;
pub mod tcpopt;
pub mod toa;
pub mod uoa;
