//! The dataplane daemon as a library, so that its tests can reach the parts:
//! the command line, the configuration, the master, and the ports.

pub mod affinity;
pub mod args;
mod bind;
mod bonds;
pub mod conf;
pub mod counters;
pub mod idle;
pub mod isolated;
pub mod lcore;
mod lcore_io;
pub mod log;
pub mod made;
pub mod master;
pub mod port;
pub mod ports;
pub mod start;
pub mod wake;
pub mod watch;
pub mod wiring;
