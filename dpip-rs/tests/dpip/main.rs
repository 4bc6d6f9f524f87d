//! The real `dpip` against a stand-in for the daemon on a Unix socket: the
//! bytes it sends, what it prints, and what it makes of a daemon that lies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;
mod golden;
mod golden_seen;
mod hostile;
mod requests;
mod shows;
mod standin;
mod usage;
mod watch;

#[path = "../../../fuzz/src/dpip_args.rs"]
#[allow(dead_code, unreachable_pub)]
mod dpip_args;
#[path = "../../../fuzz/src/corpus.rs"]
#[allow(dead_code, unreachable_pub)]
mod packed;
#[path = "../../../fuzz/src/target.rs"]
#[allow(dead_code, unreachable_pub)]
mod target;
use target::Target;
