//! The yardstick: `dpdk-testpmd` with one core on the same ports and file.

use std::process::Command;
use std::time::Duration;

use crate::bench::cpu::Thread;
use crate::bench::director::{self, Setting};
use crate::bench::sample::{self, Rate};
use crate::bench::telemetry::{self, Telemetry};
use crate::error::Result;
use crate::spawn::{Lifetime, Process};
use crate::wait;

/// What it does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: receive and send.
    Io,
    /// Swaps MAC and IP addresses and ports.
    FiveTupleSwap,
}

impl Mode {
    /// Its name there and in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Io => "io",
            Mode::FiveTupleSwap => "5tswap",
        }
    }
}

/// One run.
///
/// # Errors
/// When it is not installed, does not start or forwards nothing.
pub fn run(setting: &Setting<'_>, mode: Mode, time: Duration) -> Result<Rate> {
    let prefix = format!("dpvs-bench-pmd-{}", std::process::id());
    let mut command = Command::new("dpdk-testpmd");
    command.args(setting.eal_args(&prefix));
    command.args(["--", "--auto-start", "--nb-cores=1", "--stats-period=3600"]);
    command.args(["--rxd=1024", "--txd=1024", "--mbcache=256"]);
    command.arg(format!("--forward-mode={}", mode.name()));
    command.arg(format!(
        "--total-num-mbufs={}",
        director::buffers(setting.frames)
    ));
    telemetry::home(&mut command, setting.dir);
    let log = setting.dir.join("testpmd.log");
    let mut process = Process::start("dpdk-testpmd", &command, &log, Lifetime::Bound)?;
    let limit = Duration::from_secs(60);
    let ports = setting.ports.len();
    let telemetry = Telemetry::connect(setting.dir, &prefix, ports, limit, || {
        process.still_running()
    })?;
    let worker = Thread::worker(process.pid())?;
    wait::until_true("dpdk-testpmd to forward", limit, || {
        process.still_running()?;
        Ok(telemetry.all().is_ok_and(|packets| packets.sent > 0))
    })?;
    let _ = worker.favour();
    std::thread::sleep(Duration::from_millis(500));
    let rate = sample::measure(&telemetry, worker, time);
    process.still_running()?;
    process.stop()?;
    rate
}
