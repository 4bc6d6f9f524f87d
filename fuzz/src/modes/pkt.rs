//! The director of packet scripts (`dpvs/core/tests/pkt`), with frames that are
//! counted and may be in two segments.
#![allow(dead_code, unreachable_pub, clippy::all)]

#[path = "../../../dpvs/core/tests/pkt/books.rs"]
pub mod books;
#[path = "../../../dpvs/core/tests/pkt/build.rs"]
pub mod build;
#[path = "../../../dpvs/core/tests/pkt/check.rs"]
mod check;
#[path = "../../../dpvs/core/tests/pkt/conf.rs"]
mod conf;
#[path = "../../../dpvs/core/tests/pkt/decode.rs"]
pub mod decode;
#[path = "../../../dpvs/core/tests/pkt/guard.rs"]
mod guard;
#[path = "../../../dpvs/core/tests/pkt/lab.rs"]
pub mod lab;
#[path = "../../../dpvs/core/tests/pkt/packet.rs"]
pub mod packet;
#[path = "../../../dpvs/core/tests/pkt/pieces.rs"]
pub mod pieces;
#[path = "../../../dpvs/core/tests/pkt/run.rs"]
pub mod run;
#[path = "../../../dpvs/core/tests/pkt/tc.rs"]
mod tc;
#[path = "../../../dpvs/core/tests/pkt/vars.rs"]
pub mod vars;
#[path = "../../../dpvs/core/tests/pkt/wrap.rs"]
mod wrap;

pub use super::buffer::Buffer;
