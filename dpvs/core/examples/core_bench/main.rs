//! The forwarding logic alone, on heap frames: what a packet costs in
//! `Worker::process`, without EAL, driver or generator.
//!
//!     core_bench forward proto=udp af=4 flows=100000 dir=both runs=5 seconds=1
//!     core_bench forward mode=fullnat|nat|dr|tunnel|snat|nat64 flows=1000
//!     core_bench setup   kind=udp|syn|life|expire|flood af=4 flows=1000000 runs=5
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Without huge pages: the program does not start itself again.
    fn words(line: &str) -> Vec<String> {
        let words = line.split_whitespace().chain(["pages=4k"]);
        words.map(Into::into).collect()
    }

    /// Every measurement, once, with little: what it prints is its own, but no
    /// packet may be lost or go astray.
    #[test]
    fn each_measurement_runs() {
        for line in [
            "forward proto=udp af=4 flows=1 dir=all packets=4096",
            "forward proto=tcp af=4 flows=5000 dir=all packets=4096",
            "forward proto=tcp af=6 flows=3000 dir=in toa=1 packets=4096",
            "forward mode=nat proto=tcp flows=3000 dir=all packets=4096",
            "forward mode=dr proto=tcp af=6 flows=3000 packets=4096",
            "forward mode=tunnel flows=3000 packets=4096",
            "forward mode=snat proto=udp af=6 flows=3000 dir=all packets=4096",
            "forward mode=nat64 proto=tcp flows=3000 dir=all packets=4096",
            "churn proto=udp flows=4000 percent=10 silence=1 mpps=0.05 packets=20000",
            "setup kind=udp af=6 flows=3000",
            "setup kind=syn af=4 flows=3000",
            "setup kind=flood af=6 flows=5000 runs=2",
            "setup kind=flood af=4 asked=1 flows=5000",
            "setup kind=expire af=4 flows=20000",
            "setup kind=life af=4 flows=20000",
            "memory af=4 flows=5000",
            "workers count=3 flows=2000 seconds=0.001",
            "threads count=2 flows=2000 seconds=0.001",
            "latency flows=1000 expiring=5000 services=20 seconds=0.02",
        ] {
            run(&words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "forward dir=up",
            "forward mode=dr dir=out",
            "forward mode=x",
            "setup kind=x",
            "forward flows",
            "nothing",
        ] {
            assert!(run(&words(line)).is_err(), "{line}");
        }
    }
}
