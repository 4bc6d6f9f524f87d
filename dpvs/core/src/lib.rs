//! Forwarding logic of the dataplane: no DPDK, no threads, no clock, no I/O.
//!
//! Start reading at [`worker`] (what an lcore owns) and `pipeline` (the stages a
//! burst goes through). The daemon implements [`frame::Frame`] and [`frame::Io`]
//! and drives one [`worker::Worker`] on each lcore; the master sends it
//! [`snapshot::Snapshot`]s and questions by [`message`].

pub mod frame;
pub mod inet;
pub mod message;
pub mod proto;
pub mod sched;
pub mod service;
pub mod snapshot;
pub mod stats;
pub mod worker;
pub mod xmit;
