//! dpvs.conf: reading it, checking it, and what a reload may change.
//!
//! `load` gives a [`Conf`] or every error of the file with its place;
//! `plan` turns the worker blocks into queues and lcores; `reload` merges a
//! changed file into a running daemon. Nothing here knows DPDK or a socket.

mod defaults;
mod diag;
mod lex;
mod model;
mod parse;
mod past;
mod plan;
mod reload;
mod schema;
mod values;

pub use diag::{Diag, Severity};
pub use model::{
    AddrGen, Bond, Conf, ConnDefs, Device, FdirMode, Global, IdleDefs, Ipv4, Ipv6, LogLevel, Misc,
    Netif, Priority, Route6Method, Rss, Synproxy, TcpDefs, TcpTimeouts, UdpDefs, UoaMode,
    WorkerDef, WorkerPort, WorkerType,
};
pub use parse::{ConfErrors, Parsed, load, parse};
pub use plan::{Plan, PlanError, PortPlan, WorkerPlan, plan};
pub use reload::{Reload, reload};
