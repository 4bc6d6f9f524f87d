//! How long an idle worker takes to notice a packet: echo requests through a
//! port of the kernel, one at a time, with pauses in which the worker goes to
//! sleep; with a worker that never sleeps, and with one that may.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::bench::Options;
use crate::bench::director::{self, Director, Port, Setting, Ways};
use crate::bench::hugepages::Memory;
use crate::bench::report::{Need, Row};
use crate::bench::sample::{Spread, quantile};
use crate::error::{Context, Error, Result};
use crate::frames::{self, Mac, Wire, proto};
use crate::netns::{Netns, veth};

/// The worker never sleeps, and it may.
const SPIN: &str = "idle {\n    pause_turns 1\n}\n";
const SLEEP: &str = "idle {\n    sleep_after_us 200\n    sleep_us 20\n}\n";
/// Microseconds later than the middle of a worker that never sleeps.
const NEEDED_US: f64 = 50.0;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 2);
/// An answer that takes longer is lost.
const LOST: Duration = Duration::from_millis(50);

/// Both rows.
///
/// # Errors
/// When the director does not start or answer.
pub fn rows(options: &Options) -> Result<Vec<Row>> {
    let (mut spin, mut sleep) = (Trips::default(), Trips::default());
    for _ in 0..options.runs {
        spin.add(&run(options, SPIN)?);
        sleep.add(&run(options, SLEEP)?);
    }
    let base = Spread::of(spin.p50.clone()).median;
    let late = Spread::of(sleep.p99.iter().map(|p99| p99 - base));
    Ok(vec![
        spin.row("wake-spin"),
        sleep
            .row("wake-sleep")
            .with("wake_us_p99", late)
            .needs("wake_us_p99", Need::AtMost(NEEDED_US)),
    ])
}

/// Round trips of all runs, microseconds.
#[derive(Default)]
struct Trips {
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
}

impl Trips {
    fn add(&mut self, (trips, cpu): &(Vec<f64>, f64)) {
        self.p50.push(quantile(trips, 0.5));
        self.p99.push(quantile(trips, 0.99));
        self.cpu.push(*cpu);
    }

    fn row(self, name: &str) -> Row {
        Row::default()
            .with("row", name)
            .with("round_trip_us_p50", Spread::of(self.p50))
            .with("round_trip_us_p99", Spread::of(self.p99))
            .with("worker_cpu_percent", Spread::of(self.cpu))
    }
}

/// Round trips, sorted, and the worker's CPU time in hundredths.
fn run(options: &Options, idle: &str) -> Result<(Vec<f64>, f64)> {
    let ns = Wall(Netns::create(&format!(
        "dpvs-bench-{}",
        std::process::id()
    ))?);
    veth((&ns.0, "wake0"), (&ns.0, "wake1"))?;
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let memory = Memory::reserve(director::memory(0));
    let setting = Setting {
        dir: dir.path(),
        ports: &[Port::Kernel("wake0".into())],
        frames: 0,
        memory: &memory,
    };
    let ways = Ways {
        idle,
        netns: Some(&ns.0),
        ..Ways::default()
    };
    let mut director = Director::start(&setting, (1 << 17) - 1, &ways)?;
    director.wait()?;
    let wire = Wire::open(&ns.0, "wake1")?;
    let to = address(&ns.0, "wake0")?;
    let peer = address(&ns.0, "wake1")?
        .map(|byte| format!("{byte:02x}"))
        .join(":");
    director.dpip(&format!("addr add {OURS}/24 dev dpdk0"))?;
    director.dpip(&format!("neigh add {PEER} lladdr {peer} dev dpdk0"))?;
    // In a thread of its own, for it must not be where the worker is.
    let (mut trips, lost, cpu) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| probe(options, &director, &wire, to));
        thread.join().map_err(|_| Error::new("a thread failed"))?
    })?;
    director.still_running()?;
    if trips.len() < 20 * (lost + 1) {
        let error = format!("{} echoes were answered, {lost} were not", trips.len());
        return Err(Error::new(error));
    }
    trips.sort_by(f64::total_cmp);
    Ok((trips, cpu * 100.0))
}

/// Echoes for the time of a run: round trips in microseconds, how many were
/// lost, and the worker's share of a core.
fn probe(
    options: &Options,
    director: &Director,
    wire: &Wire,
    to: Mac,
) -> Result<(Vec<f64>, usize, f64)> {
    // The worker has core 1.
    let mut core = CpuSet::new();
    core.set(0).what(|| "core 0")?;
    sched_setaffinity(Pid::from_raw(0), &core).what(|| "core 0")?;
    let (mut trips, mut lost) = (Vec::new(), 0);
    let (start, ran) = (Instant::now(), director.worker.nanos()?);
    while start.elapsed() < options.seconds {
        let sequence = u16::try_from(trips.len() % 50_000).unwrap_or(0);
        // Pauses of one to two milliseconds, of no period.
        let pause = 1000 + u64::from(sequence) * 7919 % 1000;
        std::thread::sleep(Duration::from_micros(pause));
        match trip(wire, to, sequence)? {
            Some(time) => trips.push(time.as_secs_f64() * 1e6),
            None => lost += 1,
        }
    }
    let ran = director.worker.nanos()? - ran;
    Ok((trips, lost, ran as f64 / start.elapsed().as_nanos() as f64))
}

/// One echo: how long its answer took. Waits awake, so that only the director's
/// sleep counts.
fn trip(wire: &Wire, to: Mac, sequence: u16) -> Result<Option<Duration>> {
    let mut echo = vec![8, 0, 0, 0, 0xb, 0xe];
    echo.extend(sequence.to_be_bytes());
    let sum = frames::checksum(&[&echo]).to_be_bytes();
    echo.splice(2..4, sum);
    let packet = frames::ipv4(PEER, OURS, proto::ICMP, &echo);
    let mut frame = frames::ethernet(to, wire.mac(), 0x0800, &packet);
    frame.resize(60, 0);
    let mut buffer = [0; 2048];
    let start = Instant::now();
    wire.send(&frame)?;
    while start.elapsed() < LOST {
        if let Some(len) = wire.poll(&mut buffer)?
            && len >= 42
            // An echo reply (type 0) of that number.
            && buffer[34] == 0
            && buffer[38..40] == [0xb, 0xe]
            && buffer[40..42] == sequence.to_be_bytes()
        {
            return Ok(Some(start.elapsed()));
        }
    }
    Ok(None)
}

/// Hardware address of an interface.
fn address(ns: &Netns, name: &str) -> Result<Mac> {
    let text = ns.must("cat", &[&format!("/sys/class/net/{name}/address")])?;
    let mut mac = [0; 6];
    for (byte, word) in mac.iter_mut().zip(text.trim().split(':')) {
        *byte = u8::from_str_radix(word, 16).what(|| text.clone())?;
    }
    Ok(mac)
}

/// A namespace that goes with its value.
struct Wall(Netns);

impl Drop for Wall {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}
