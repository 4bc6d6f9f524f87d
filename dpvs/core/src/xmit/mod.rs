//! Forwarding modes and what they do to a segment: one subject a file.

pub(crate) mod client;
mod direct;
pub(crate) mod echo;
pub(crate) mod fullnat;
pub(crate) mod nat64;
pub(crate) mod outward;
pub mod proxy;
pub(crate) mod sctp;
pub(crate) mod snat;
mod splice;
pub mod tcpopt;
pub mod toa;
mod tunnel;
mod tunnel_errors;
pub mod uoa;
