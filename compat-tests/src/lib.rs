//! The suite as its users meet it: the real programs, in network namespaces.
//!
//! From the bottom up: [`run`] and [`spawn`] start programs, [`netns`] gives
//! them networks, [`frames`] and [`udp`] speak on those, [`lab`] puts a whole
//! installation together, and [`privilege`] says what this machine allows.
//! Nothing here links the daemon or the tools: they are run, not called.

pub mod bench;
pub mod bins;
pub mod decap;
pub mod error;
pub mod flood;
pub mod frames;
pub mod lab;
pub mod netns;
pub mod privilege;
pub mod run;
pub mod spawn;
pub mod udp;
pub mod wait;

pub use error::{Context, Error, Result};
