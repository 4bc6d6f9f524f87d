//! `make demo` itself: it ends well, it tells so in its last line, and it leaves
//! nothing behind, also when it is interrupted.

use std::process::Command;
use std::time::Duration;

use compat_tests::lab::{Slot, state};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::run::run_with;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Result, wait};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(180);

fn gone() -> bool {
    let director = state::namespace("demo", "director");
    !state::exists("demo") && !Netns::named(&director).exists()
}

/// The value of `key=` in the last line.
fn value(line: &str, key: &str) -> Option<f64> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

#[test]
fn the_demo_succeeds_and_cleans_up_also_when_interrupted() -> Result<()> {
    if !root_or_skip("the_demo_succeeds_and_cleans_up_also_when_interrupted")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let demo = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.arg("run");
        command
    };
    let out = run_with(&mut demo(), b"", LIMIT)?;
    let told = out.success()?;
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("demo: ok requests="), "{last}");
    assert_eq!(value(last, "failed"), Some(0.0), "{last}");
    assert!(value(last, "requests").is_some_and(|n| n > 300.0), "{last}");
    assert!(
        value(last, "failover_s").is_some_and(|s| s > 0.0 && s < 20.0),
        "{last}"
    );
    assert!(gone());

    // Interrupted while the programs are coming up, and while load runs.
    for moment in ["== Programs", "== A load generator"] {
        let dir = tempfile::tempdir().what(|| "temporary folder")?;
        let mut demo = Process::start("demo", &demo(), &dir.path().join("log"), Lifetime::Bound)?;
        wait::until_true(moment, LIMIT, || {
            demo.still_running()?;
            Ok(demo.log().contains(moment))
        })?;
        demo.signal(Signal::SIGINT)?;
        assert_eq!(demo.wait(LIMIT)?.code(), Some(130), "{}", demo.log_tail(20));
        assert!(gone(), "something of the demo is left after Ctrl-C");
    }
    Ok(())
}
