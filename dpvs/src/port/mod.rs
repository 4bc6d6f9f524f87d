//! DPDK behind a safe API: the one module of the daemon that may say `unsafe`.
//!
//! Each file wraps one thing: the environment ([`eal`]), packet pools
//! ([`pool`]), packets ([`mbuf`]), devices ([`dev`]) and their queues
//! ([`queue`]), which packet goes to which queue ([`rss`], [`flow`]), rings
//! between threads ([`ring`]), the kernel's end of a port
//! ([`host`]) and memory advice ([`mem`]). Nothing here knows a protocol, a
//! service or the configuration file. What differs between DPDK releases is
//! settled here and in `dpdk-sys`.
#![allow(unsafe_code)]

pub mod bond;
pub mod dev;
pub mod eal;
pub mod error;
pub mod flow;
pub mod host;
pub mod mbuf;
pub mod mem;
pub mod pool;
pub mod queue;
pub mod ring;
pub mod rss;
pub mod settings;
mod stats;

pub use bond::BondOption;
pub use dev::{Port, PortConf, PortInfo, PortStats, Ready};
pub use eal::{Clock, Eal};
pub use error::{Error, Result};
pub use flow::{Rule, Steer};
pub use host::{BridgeChange, HostBridge, HostPort, set_host_mac};
pub use mbuf::{Batch, Mbuf};
pub use pool::Pool;
pub use queue::{RxQueue, TxQueue};
pub use ring::{Receiver, Sender, SharedSender};
pub use rss::{RssKey, Spreading, rss_types};
pub use settings::Link;
