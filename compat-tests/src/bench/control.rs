//! The control plane under load: ten thousand services loaded, listed and
//! flushed, ten thousand commands run one by one, a million connections listed,
//! while a worker forwards at full speed.

use std::time::{Duration, Instant};

use crate::bench::Options;
use crate::bench::director::{self, Director, Port, Setting, Ways};
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{self, Packet, Proto, Traffic};
use crate::bench::report::{Column, Need, Report, Row};
use crate::bench::sample::{Sample, Spread};
use crate::error::{Context, Error, Result};

const TRAFFIC: Traffic = Traffic {
    proto: Proto::Udp,
    v6: false,
};
/// Services loaded, on so many addresses.
const SERVICES: usize = 10_000;
const ADDRESSES: usize = 100;
/// Seconds that is allowed to take, and listing and flushing it.
const NEEDED: [(usize, [Option<f64>; 3]); 2] = [
    (1, [Some(0.8), Some(0.4), Some(0.2)]),
    (10, [Some(5.0), Some(1.5), None]),
];
/// Seconds in which a million connections have to be listed.
const NEEDED_CONNS: f64 = 3.0;
/// Commands run one by one in all runs, and so many of the same program that ask
/// nothing.
const SINGLE: u32 = 10_000;
/// Milliseconds a command may take longer than the program takes to start.
const NEEDED_SINGLE: f64 = 0.3;
/// Turns of a worker from this entry on are stops: 128 microseconds and more.
const STOP: usize = 8;
/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(240);

const COLUMNS: [Column; 7] = [
    ("command", "row", 0),
    ("seconds", "seconds", 3),
    ("sent share", "sent_share.min", 4),
    ("turns >64us", "turns_64_us", 0),
    ("turns >128us", "turns_128_us", 0),
    ("s <=", "needed_seconds", 1),
    ("met", "met", 0),
];

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When a program does not run.
pub fn run(options: &Options) -> Result<bool> {
    println!(
        "control: ipvsadm beside a worker that forwards 1,000 flows (-lnc: 1,000,000) at full speed"
    );
    println!(
        "min/median/max of {} runs; sent: of the packets received meanwhile; turns: of the \
         worker's loop that took so long a second, by the wall clock (so also those in which \
         the machine took its core away: see `nothing`)",
        options.runs
    );
    let mut report = Report::begin(&options.out, "control", &COLUMNS)?;
    for dests in [1, 10] {
        if options.wants(&format!("services-x{dests}")) {
            for row in services(options, dests)? {
                report.add(&row)?;
            }
        }
    }
    if options.wants("nothing") {
        report.add(&nothing(options)?)?;
    }
    for (name, traffic) in [("-A", false), ("-A beside traffic", true)] {
        if options.wants("single") {
            report.add(&single(options, name, traffic)?)?;
        }
    }
    if options.wants("conns-1M") {
        report.add(&conns(options)?)?;
    }
    Ok(report.end())
}

/// What was seen during the runs of a command.
#[derive(Default)]
struct Seen {
    seconds: Vec<f64>,
    sent: Vec<f64>,
    /// Turns a second that took longer than 64 and 128 microseconds.
    long: [Vec<f64>; 2],
    /// All turns, by how long they took.
    turns: [u64; 16],
}

impl Seen {
    /// With what the worker did meanwhile.
    fn row(self, name: &str) -> Row {
        let [some, stops] = self.long.map(Spread::of);
        Row::default()
            .with("row", name)
            .with("seconds", Spread::of(self.seconds))
            .with("sent_share", Spread::of(self.sent))
            .with("turns_64_us", some)
            .with("turns_128_us", stops)
            .with("turns", self.turns)
    }

    /// Runs a command; what the worker did is asked before and after it.
    fn during(
        &mut self,
        director: &Director,
        command: impl FnOnce() -> Result<String>,
    ) -> Result<String> {
        let dropped = director.drops()?.0;
        let turns = director.turns()?;
        let begin = Sample::take(&director.telemetry, director.worker)?;
        let output = command()?;
        let end = Sample::take(&director.telemetry, director.worker)?;
        let seconds = end.at.duration_since(begin.at).as_secs_f64();
        let mut long = [0, 0];
        for (place, (after, before)) in director.turns()?.into_iter().zip(turns).enumerate() {
            let new = after.saturating_sub(before);
            self.turns[place] += new;
            long[0] += if place >= STOP - 1 { new } else { 0 };
            long[1] += if place >= STOP { new } else { 0 };
        }
        for (all, n) in self.long.iter_mut().zip(long) {
            all.push(n as f64 / seconds);
        }
        let sent = end.sent.saturating_sub(begin.sent) as f64;
        let dropped = director.drops()?.0.saturating_sub(dropped) as f64;
        self.seconds.push(seconds);
        self.sent.push(sent / (sent + dropped).max(1.0));
        Ok(output)
    }
}

/// Lines for `ipvsadm -R`: services with so many servers each.
fn lines(dests: usize) -> String {
    let mut text = String::new();
    for i in 0..SERVICES {
        let service = format!("10.9.{}.1:{}", i % ADDRESSES, 1000 + i / ADDRESSES);
        text.push_str(&format!("-A -t {service} -s wrr\n"));
        for dest in 0..dests {
            text.push_str(&format!(
                "-a -t {service} -r 10.2.1.{}:8080 -b -w 1\n",
                dest + 1
            ));
        }
    }
    text
}

fn services(options: &Options, dests: usize) -> Result<Vec<Row>> {
    let [mut load, mut list, mut flush] = [(); 3].map(|()| Seen::default());
    let text = lines(dests);
    let lab = Lab::new(1_000)?;
    for _ in 0..options.runs {
        let director = lab.director()?;
        let run = |args: &'static str, input: String| {
            let director = &director;
            move || director.ipvsadm_with(args, &input, LIMIT)
        };
        load.during(&director, run("-R", text.clone()))?;
        let listed = list.during(&director, run("-Ln", String::new()))?;
        let found = listed
            .lines()
            .filter(|line| line.starts_with("TCP"))
            .count();
        if found != SERVICES {
            return Err(Error::new(format!(
                "{found} of {SERVICES} services are listed"
            )));
        }
        // It takes the service of the traffic, too: what comes then is dropped.
        flush.during(&director, run("-C", String::new()))?;
        flush.sent.clear();
    }
    let needed = NEEDED.iter().find(|(n, _)| *n == dests);
    let needed = needed.map_or([None; 3], |(_, needed)| *needed);
    let rows = [("-R", load), ("-Ln", list), ("-C", flush)];
    let row = |((what, seen), needed): ((&str, Seen), Option<f64>)| {
        let row = seen
            .row(&format!("{what} x{dests}"))
            .with("services", SERVICES)
            .with("servers_each", dests);
        match needed {
            Some(seconds) => row.needs("seconds", Need::AtMost(seconds)),
            None => row,
        }
    };
    Ok(rows.into_iter().zip(needed).map(row).collect())
}

/// The same without any command.
fn nothing(options: &Options) -> Result<Row> {
    let lab = Lab::new(1_000)?;
    let director = lab.director()?;
    let mut seen = Seen::default();
    for _ in 0..options.runs {
        seen.during(&director, || {
            std::thread::sleep(options.seconds);
            Ok(String::new())
        })?;
    }
    Ok(seen.row("nothing"))
}

/// Services added by a process each, in turn with processes that only start.
fn single(options: &Options, name: &str, traffic: bool) -> Result<Row> {
    let lab = if traffic {
        Lab::new(1_000)?
    } else {
        Lab::quiet()?
    };
    let runs = u32::try_from(options.runs).unwrap_or(1).max(1);
    let count = SINGLE.div_ceil(runs);
    let mut seen = Seen::default();
    let (mut starts, mut beyond, mut middle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let director = lab.director()?;
        let run = |args: &str| -> Result<f64> {
            let mut command = director.command(args)?;
            let begin = Instant::now();
            let status = command.status().what(|| "ipvsadm")?;
            if !status.success() {
                return Err(Error::new(format!("ipvsadm {args}: {status}")));
            }
            Ok(begin.elapsed().as_secs_f64() * 1e3)
        };
        let (mut start, mut add) = (Vec::new(), Vec::new());
        seen.during(&director, || {
            for i in 0..count {
                start.push(run("-v")?);
                let service = format!("10.11.{}.{}:80", i / 250, i % 250);
                add.push(run(&format!("-A -t {service} -s wrr"))?);
            }
            Ok(String::new())
        })?;
        let mean = |all: &[f64]| all.iter().sum::<f64>() / f64::from(count);
        beyond.push(mean(&add) - mean(&start));
        starts.push(mean(&start));
        middle.push(Spread::of(add).median - Spread::of(start).median);
    }
    let row = seen
        .row(&format!("{name} x{}", count * runs))
        .with("start_ms", Spread::of(starts))
        .with("beyond_start_ms", Spread::of(beyond))
        .with("beyond_start_middle_ms", Spread::of(middle));
    println!(
        "{name}: {:.3} ms beyond the start of the program ({:.3} ms), {:.3} ms in the middle",
        row.figure("beyond_start_ms").unwrap_or(f64::NAN),
        row.figure("start_ms").unwrap_or(f64::NAN),
        row.figure("beyond_start_middle_ms").unwrap_or(f64::NAN),
    );
    Ok(if traffic {
        row
    } else {
        row.needs("beyond_start_ms", Need::AtMost(NEEDED_SINGLE))
    })
}

fn conns(options: &Options) -> Result<Row> {
    const CONNS: usize = 1_000_000;
    let lab = Lab::new(CONNS)?;
    let mut seen = Seen::default();
    for _ in 0..options.runs {
        let director = lab.director()?;
        let listed = seen.during(&director, || director.ipvsadm_with("-Lnc", "", LIMIT))?;
        let found = listed.lines().filter(|line| line.contains("UDP")).count();
        if found != CONNS {
            return Err(Error::new(format!(
                "{found} of {CONNS} connections are listed"
            )));
        }
    }
    let row = seen.row("-Lnc 1M").with("connections", CONNS);
    Ok(row.needs("seconds", Need::AtMost(NEEDED_CONNS)))
}

/// Traffic of so many flows, for directors one after another.
struct Lab {
    dir: tempfile::TempDir,
    ports: [Port; 2],
    frames: usize,
    memory: Memory,
}

impl Lab {
    fn new(flows: usize) -> Result<Self> {
        let dir = tempfile::tempdir().what(|| "a temporary folder")?;
        let file = dir.path().join("flows.pcap");
        let frames = TRAFFIC.write(&file, pcap::mac(0), Packet::Data, flows, &[])?;
        Ok(Self {
            dir,
            ports: [Port::Replay(file), Port::Sink],
            frames,
            memory: Memory::reserve(director::memory(frames)),
        })
    }

    /// Nothing arrives.
    fn quiet() -> Result<Self> {
        let dir = tempfile::tempdir().what(|| "a temporary folder")?;
        Ok(Self {
            dir,
            ports: [Port::Sink, Port::Sink],
            frames: 0,
            memory: Memory::reserve(director::memory(0)),
        })
    }

    /// A director that forwards all flows.
    fn director(&self) -> Result<Director> {
        let setting = Setting {
            dir: self.dir.path(),
            ports: &self.ports,
            frames: self.frames,
            memory: &self.memory,
        };
        let mut director = Director::start(&setting, director::CONNS, &Ways::default())?;
        director.prepare(TRAFFIC)?;
        director.go(TRAFFIC)?;
        if self.frames > 0 {
            director.warm_up(self.frames)?;
        }
        // The master is measured here, not only the worker.
        director.worker.share();
        Ok(director)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_another() {
        let text = lines(2);
        let services: std::collections::HashSet<&str> =
            text.lines().filter(|line| line.starts_with("-A")).collect();
        assert_eq!(services.len(), SERVICES);
        assert_eq!(text.lines().count(), 3 * SERVICES);
    }
}
