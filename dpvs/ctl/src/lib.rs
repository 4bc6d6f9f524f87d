//! The control socket of DPVS: message ids, error codes, message layouts, a
//! blocking client, and the server's side of the framing.
//!
//! The layouts are those of iqiyi DPVS 1.10, byte for byte, so that its C
//! clients and servers can be mixed with ours. This crate knows nothing of
//! DPDK or of forwarding: it turns structs into bytes and back, and the only
//! I/O is in [`Client`].

pub mod id;
pub mod msg;
pub mod server;
pub mod types;
pub mod wire;

mod client;
mod error;
mod header;

pub use client::net::IfAddrView;
pub use client::{Client, DEFAULT_SOCKET, SOCKET_ENV, Session};
pub use error::{CtlError, ErrCode};
pub use header::{KEEP, Kind, PROTOCOL_VERSION, ReplyHead, RequestHead};
pub use types::{Af, Be16, Be32, HwAddr, Ip16, Name};
pub use wire::{DecodeError, Wire};
