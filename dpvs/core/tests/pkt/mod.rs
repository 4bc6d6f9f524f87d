//! The language of packet scripts (`tests/scripts/*.pkt`) and what runs it.
//!
//! A script is read line by line; `#` starts a comment. Frames go in, and every
//! frame, drop and drained server that comes out has to be expected, in order,
//! before the next thing happens. tests/scripts/README.md is the manual.
#![allow(unreachable_pub, dead_code)]

/// The packet buffer.
pub use dpvs_core::frame::HeapFrame as Buffer;

pub mod books;
pub mod build;
mod check;
mod conf;
pub mod decode;
mod guard;
pub mod lab;
pub mod packet;
pub mod pieces;
pub mod run;
pub mod tc;
pub mod vars;
mod wrap;
