//! `make bench NAME=…`: how fast the dataplane is on this machine, beside
//! testpmd. The measurements themselves are in the library's `bench`.

use std::process::ExitCode;

use compat_tests::bench::{self, MEASUREMENTS, Options};
use compat_tests::error::{Context, Error, Result};
use compat_tests::privilege;
use nix::sys::signal::{SigSet, Signal};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match clean_up_on_signals().and_then(|()| run(&names)) {
        Ok(true) => {
            println!("bench: ok");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("bench: a target was missed");
            ExitCode::FAILURE
        }
        Err(e) => {
            println!("bench: failed: {e}");
            ExitCode::FAILURE
        }
    }
}

/// On Ctrl-C and the like: gives the huge pages back and ends; the programs
/// started here end with it. Signals are blocked before any thread starts, so
/// that only the waiting one has them.
fn clean_up_on_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().what(|| "signals")?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            println!("bench: {signal}");
            bench::hugepages::give_back();
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

fn run(names: &[String]) -> Result<bool> {
    let mut wanted = Vec::new();
    for name in names {
        let found = MEASUREMENTS.into_iter().find(|(known, _)| known == name);
        wanted.push(found.ok_or_else(|| {
            let known = MEASUREMENTS.map(|(known, _)| known).join("|");
            Error::new(format!(
                "no measurement {name:?}\nusage: bench [{known}]…  (without a name: all of them)\n  \
                 BENCH_RUNS=5 BENCH_SECONDS=4 BENCH_ONLY=udp4-1k narrow it down"
            ))
        })?);
    }
    if wanted.is_empty() {
        wanted.extend(MEASUREMENTS);
    }
    let options = Options::from_env()?;
    if !privilege::is_root() {
        println!("not root: no huge pages and no real-time priority, figures will wander");
    }
    let mut met = true;
    for (i, (_, measure)) in wanted.into_iter().enumerate() {
        if i > 0 {
            println!();
        }
        met &= measure(&options)?;
    }
    Ok(met)
}
