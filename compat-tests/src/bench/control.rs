//! The control plane under load: ten thousand services loaded, listed and
//! flushed, a million connections listed, while a worker forwards at full speed.

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
/// Seconds in which they have to be loaded with ten servers each.
const NEEDED_SECONDS: f64 = 5.0;
/// Single commands that are timed one by one.
const SINGLE: usize = 21;
/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(240);

const COLUMNS: [Column; 6] = [
    ("command", "row", 0),
    ("seconds", "seconds", 3),
    ("sent share", "sent_share.min", 4),
    ("worker's stop ms", "stop_ms", 2),
    ("s <=", "needed_seconds", 0),
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
        "min/median/max of {} runs; sent: of the packets received meanwhile; stop: the longest \
         stretch of the worker's CPU time in which it sent nothing",
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
    stops: Vec<f64>,
}

impl Seen {
    fn row(self, name: &str) -> Row {
        Row::default()
            .with("row", name)
            .with("seconds", Spread::of(self.seconds))
    }

    /// With what the worker did meanwhile.
    fn beside(self, name: &str) -> Row {
        let (sent, stops) = (
            Spread::of(self.sent.clone()),
            Spread::of(self.stops.clone()),
        );
        self.row(name)
            .with("sent_share", sent)
            .with("stop_ms", stops)
    }

    /// Runs a command and watches the worker meanwhile.
    fn during(
        &mut self,
        director: &Director,
        command: impl FnOnce() -> Result<String> + Send,
    ) -> Result<String> {
        let (before, _) = director.drops()?;
        let begin = Sample::take(&director.telemetry, director.worker)?;
        let (mut since, mut last, mut stop) = (begin, begin, 0);
        let start = Instant::now();
        let output = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let output = command();
                (output, start.elapsed())
            });
            while !thread.is_finished() {
                let ran = director.worker.nanos()?;
                last = Sample::take(&director.telemetry, director.worker)?;
                // What it ran between two looks at the same counter it ran for
                // something else: from behind the first to before the second.
                if last.sent == since.sent {
                    stop = stop.max(ran.saturating_sub(since.nanos));
                } else {
                    since = last;
                }
            }
            let (output, took) = thread.join().map_err(|_| Error::new("a thread failed"))?;
            self.seconds.push(took.as_secs_f64());
            output
        })?;
        let sent = last.sent.saturating_sub(begin.sent) as f64;
        let dropped = director.drops()?.0.saturating_sub(before) as f64;
        self.sent.push(sent / (sent + dropped).max(1.0));
        self.stops.push(stop as f64 / 1e6);
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
    let (mut load, mut list, mut single, mut flush) = (
        Seen::default(),
        Seen::default(),
        Seen::default(),
        Seen::default(),
    );
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
        let mut one = Seen::default();
        for i in 0..SINGLE {
            let args = format!("-A -t 10.10.0.1:{} -s wrr", 1000 + i);
            one.during(&director, || director.ipvsadm_with(&args, "", LIMIT))?;
        }
        single.seconds.push(Spread::of(one.seconds).median);
        single.sent.push(Spread::of(one.sent).min);
        single.stops.push(Spread::of(one.stops).max);
        flush.during(&director, run("-C", String::new()))?;
    }
    let name = |what: &str| format!("{what} x{dests}");
    let load = load.beside(&name("-R"));
    let load = if dests == 10 {
        load.needs("seconds", Need::AtMost(NEEDED_SECONDS))
    } else {
        load
    };
    let rows = [
        load,
        list.beside(&name("-Ln")),
        single.beside(&name("-A one more")),
        // It takes the service of the traffic, too.
        flush.row(&name("-C")),
    ];
    let rows = rows.map(|row| row.with("services", SERVICES).with("servers_each", dests));
    Ok(rows.into())
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
    Ok(seen.beside("-Lnc 1M").with("connections", CONNS))
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
        director.warm_up(self.frames)?;
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
