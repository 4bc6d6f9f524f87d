//! Forwarding logic of the dataplane: no DPDK, no threads, no clock, no I/O.
//!
//! Start reading at [`worker`] (what an lcore owns) and `pipeline` (the stages a
//! burst goes through). The daemon implements [`frame::Frame`] and [`frame::Io`]
//! and drives one [`worker::Worker`] on each lcore; the master sends it
//! [`snapshot::Snapshot`]s and questions by [`message`].

pub mod acl;
mod admit;
mod choose;
mod conn;
mod egress;
mod fragment;
mod fragments;
pub mod frame;
pub mod guard;
mod held;
mod hops;
mod hostgate;
mod inbox;
pub mod inet;
pub mod ipset;
mod isn;
mod kernel;
mod laddr;
mod lanes;
#[cfg(test)]
mod layout_tests;
mod lifecycle;
pub mod limit;
mod limits;
mod listing;
mod local;
pub mod matching;
pub mod meetings;
pub mod message;
mod neigh;
mod others;
mod owner;
mod parse;
mod paths;
mod persist;
mod pipeline;
mod prefetch;
pub mod proto;
mod raw;
mod related;
#[cfg(test)]
#[path = "../tests/support/rng.rs"]
mod rng;
pub mod rss;
pub mod sched;
pub mod service;
pub mod services;
pub mod sharemap;
mod sip;
pub mod snapshot;
pub mod stats;
mod steady;
mod synproxy;
pub mod tc;
pub mod tokens;
mod transit;
mod tunnel;
mod vlan;
mod watch;
pub mod worker;
pub mod xmit;
