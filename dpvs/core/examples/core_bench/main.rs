//! The forwarding logic alone, on heap frames: what a packet costs in
//! `Worker::process`, without EAL, driver or generator.
//!
//!     core_bench forward proto=udp af=4 flows=100000 dir=both runs=5 seconds=1
//!     core_bench setup   kind=udp|syn|life|expire af=4 flows=1000000 runs=5
//!     core_bench churn   flows=10000000 percent=1
//!     core_bench memory  flows=10000000
//!     core_bench workers count=8 | threads count=2
//!     core_bench latency flows=100000 expiring=1000000
//!     core_bench count forward flows=1000 packets=200000     (under callgrind)
//!
//! Prints one line of JSON a run and direction. Frames are written in batches
//! before the clocks start and looked at after they have stopped; figures are
//! this thread's CPU time, wall-clock time stands beside. docs/bench.md says
//! what each measurement is.
#![allow(clippy::unwrap_used)]

mod count;
mod flows;
mod frames;
mod latency;
mod report;
mod rig;
mod setup;
mod steady;
mod threads;
mod world;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use report::Args;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("core_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let (name, rest) = words.split_first().ok_or("which measurement?")?;
    if name == "count" {
        let args = Args::parse(rest.get(1..).unwrap_or(&[]))?;
        return count::run(rest, args.world()?);
    }
    let args = Args::parse(rest)?;
    huge_pages(&args, words)?;
    match name.as_str() {
        "forward" => steady::forward(&args),
        "churn" => steady::churn(&args),
        "setup" => setup::run(&args),
        "memory" => setup::memory(&args),
        "workers" => threads::in_turn(&args),
        "threads" => threads::at_once(&args),
        "latency" => latency::run(&args),
        other => Err(format!("no measurement {other}")),
    }
}

/// The daemon asks for huge pages behind its tables; here the allocator does,
/// if told so when the program starts. `pages=4k` goes without.
fn huge_pages(args: &Args, words: &[String]) -> Result<(), String> {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if args.text("pages", "huge") != "huge" || std::env::var_os(TUNABLES).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let error = Command::new(program)
        .args(words)
        .env(TUNABLES, "glibc.malloc.hugetlb=1")
        .exec();
    Err(format!("starting again: {error}"))
}
