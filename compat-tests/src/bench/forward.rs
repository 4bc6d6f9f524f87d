//! Established flows: FullNAT, weighted round robin, 16 servers.
//!
//! In each run testpmd and the director take turns on the same files, so that
//! neighbours of this machine disturb all alike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::Options;
use crate::bench::cost::Costs;
use crate::bench::director::{self, Director, Port, Setting, Ways};
use crate::bench::feed::Pipe;
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{self, Chosen, Packet, Proto, Traffic};
use crate::bench::report::{Column, Need, Report, Row};
use crate::bench::sample::{self, Rate, Spread};
use crate::bench::testpmd::{self, Mode};
use crate::error::{Context, Error, Result};
use crate::wait;

/// Flows of the rows, what the rows call them, and the share of testpmd's rate
/// that UDP over IPv4 has to reach.
const FLOWS: [(usize, &str, Option<f64>); 4] = [
    (1, "1", None),
    (1_000, "1k", Some(0.45)),
    (100_000, "100k", Some(0.45)),
    (1_000_000, "1M", Some(0.42)),
];
/// Share of the packets that have to arrive: those of a flow that was not
/// opened as foreseen do not.
const SENT: f64 = 0.999;

const COLUMNS: [Column; 9] = [
    ("flows", "row", 0),
    ("Mpps", "mpps", 2),
    ("ns/packet", "ns_per_packet", 1),
    ("5tswap", "testpmd_5tswap_mpps", 1),
    ("io", "testpmd_io_mpps.med", 1),
    ("share", "share", 3),
    ("share >=", "needed_share", 3),
    ("ns <=", "needed_ns_per_packet", 1),
    ("met", "met", 0),
];

/// What a row replays once its connections are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The clients' packets.
    Clients,
    /// The same, and every one gets the TCP option put in.
    Toa,
    /// Packets of clients and servers.
    Both,
    /// The clients' packets, tagged, by VLAN devices on both ports.
    Vlan,
}

/// Ids of the VLAN devices, outside and inside.
const VLANS: [u16; 2] = [100, 200];

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When a program does not run.
pub fn run(options: &Options) -> Result<bool> {
    println!(
        "forward: 64-byte frames, FullNAT, wrr, 16 servers, one worker, checksums in software"
    );
    println!(
        "Mpps (wall-clock) and ns (worker's CPU time) are min/median/max of {} runs; share: of \
         testpmd's 5tswap in the same run, by CPU time",
        options.runs
    );
    let mut report = Report::begin(&options.out, "forward", &COLUMNS)?;
    let mut costs = Costs::default();
    for v6 in [false, true] {
        for proto in [Proto::Udp, Proto::Tcp] {
            let traffic = Traffic { proto, v6 };
            for (flows, label, share) in FLOWS {
                let name = format!("{}{}-{label}", traffic.name(), traffic.af());
                if options.wants(&name) {
                    let mut row = measure(options, traffic, Kind::Clients, flows, &name)?;
                    let (proto_name, af) = (traffic.name(), traffic.af());
                    costs.note(proto_name, af, flows, row.figure("ns_per_packet"));
                    if let (Some(share), Proto::Udp, false) = (share, proto, v6) {
                        row = row.needs("share", Need::AtLeast(share));
                    }
                    if let Some(most) = costs.most(proto_name, af, flows) {
                        row = row.needs("ns_per_packet", Need::AtMost(most));
                    }
                    report.add(&row)?;
                }
            }
        }
    }
    let tcp = Traffic {
        proto: Proto::Tcp,
        v6: false,
    };
    for (name, kind, flows) in [
        ("tcp4-toa-100k", Kind::Toa, 100_000),
        ("tcp4-both-1k", Kind::Both, 1_000),
        ("tcp4-both-100k", Kind::Both, 100_000),
        ("tcp4-both-1M", Kind::Both, 1_000_000),
    ] {
        if options.wants(name) {
            report.add(&measure(options, tcp, kind, flows, name)?)?;
        }
    }
    let udp = Traffic {
        proto: Proto::Udp,
        v6: false,
    };
    for (name, flows) in [("udp4-vlan-1k", 1_000), ("udp4-vlan-100k", 100_000)] {
        if options.wants(name) {
            report.add(&measure(options, udp, Kind::Vlan, flows, name)?)?;
        }
    }
    Ok(report.end())
}

/// The files of a row and what was learned for it.
struct Files {
    dir: tempfile::TempDir,
    ports: Vec<Port>,
    frames: usize,
    /// For a director that has to choose as in the pass that learned.
    seed: Option<PathBuf>,
    chosen: Vec<Chosen>,
}

fn measure(
    options: &Options,
    traffic: Traffic,
    kind: Kind,
    flows: usize,
    name: &str,
) -> Result<Row> {
    let mut files = prepare(traffic, kind, flows)?;
    let memory = Memory::reserve(director::memory(files.frames));
    if kind == Kind::Both {
        learn(traffic, flows, &mut files, &memory)?;
    }
    let (mut ours, mut io, mut swap) = (vec![], vec![], vec![]);
    let (mut shares, mut sent) = (vec![], vec![]);
    let mut realtime = true;
    for run in 0..options.runs {
        let setting = Setting {
            dir: files.dir.path(),
            ports: &files.ports,
            frames: files.frames,
            memory: &memory,
        };
        let time = options.yardstick_seconds;
        if run == 0 {
            io.push(testpmd::run(&setting, Mode::Io, time)?);
        }
        let yardstick = testpmd::run(&setting, Mode::FiveTupleSwap, time)?;
        let mut director = open(traffic, kind, flows, &files, &memory)?;
        realtime &= director.favoured;
        let (before, _) = director.drops()?;
        let rate = sample::measure(&director.telemetry, director.worker, options.seconds)?;
        let (after, reasons) = director.drops()?;
        director.still_running()?;
        let part = rate.sent / (rate.sent + after.saturating_sub(before) as f64);
        if part < SENT {
            return Err(Error::new(format!(
                "{name}: {part:.4} of the packets were sent; dropped since the start: {reasons}"
            )));
        }
        sent.push(part);
        shares.push(rate.mpps_cpu() / yardstick.mpps_cpu());
        ours.push(rate);
        swap.push(yardstick);
    }
    let spread = |rates: &[Rate], figure: fn(&Rate) -> f64| Spread::of(rates.iter().map(figure));
    let shares = Spread::of(shares);
    Ok(Row::default()
        .with("proto", traffic.name())
        .with("af", traffic.af())
        .with("flows", flows)
        .with("mpps", spread(&ours, |r| r.mpps))
        .with("ns_per_packet", spread(&ours, |r| r.nanos))
        .with("testpmd_5tswap_mpps", spread(&swap, |r| r.mpps))
        .with("share", shares.median)
        .with("share_min", shares.min)
        .with("share_max", shares.max)
        .with("row", name)
        .with("mpps_cpu", spread(&ours, Rate::mpps_cpu))
        .with("testpmd_5tswap_mpps_cpu", spread(&swap, Rate::mpps_cpu))
        .with("testpmd_io_mpps", spread(&io, |r| r.mpps))
        .with("sent_share", Spread::of(sent))
        .with("toa", kind == Kind::Toa)
        .with("both_directions", kind == Kind::Both)
        .with("vlan", kind == Kind::Vlan)
        .with("memory", memory.name())
        .with("realtime", realtime))
}

/// Writes the clients' file; the ports are those testpmd has, too.
fn prepare(traffic: Traffic, kind: Kind, flows: usize) -> Result<Files> {
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let file = dir.path().join("clients.pcap");
    let packet = match kind {
        Kind::Toa => Packet::FirstData,
        Kind::Clients | Kind::Both | Kind::Vlan => Packet::Data,
    };
    let tag = (kind == Kind::Vlan).then_some(VLANS[0]);
    let frames = traffic.write_tagged(&file, pcap::mac(0), packet, flows, &[], tag)?;
    Ok(Files {
        dir,
        ports: vec![Port::Replay(file), Port::Sink],
        // The servers' file has as many.
        frames: if kind == Kind::Both {
            2 * frames
        } else {
            frames
        },
        seed: None,
        chosen: Vec::new(),
    })
}

/// Opens all flows once to learn what the director chooses, and writes the
/// servers' file.
fn learn(traffic: Traffic, flows: usize, files: &mut Files, memory: &Memory) -> Result<()> {
    let seed = files.dir.path().join("seed");
    std::fs::write(&seed, [0x5a; 64]).what(|| seed.display().to_string())?;
    files.seed = Some(seed);
    files.chosen = {
        let director = open(traffic, Kind::Clients, flows, files, memory)?;
        director.chosen(traffic, flows)?
    };
    let file = files.dir.path().join("servers.pcap");
    traffic.write(&file, pcap::mac(1), Packet::Reply, flows, &files.chosen)?;
    files.ports[1] = Port::Replay(file);
    Ok(())
}

/// Starts a director and has every flow's connection open and, with TCP,
/// established.
fn open(
    traffic: Traffic,
    kind: Kind,
    flows: usize,
    files: &Files,
    memory: &Memory,
) -> Result<Director> {
    let mut ports = files.ports.clone();
    let mut setting = Setting {
        dir: files.dir.path(),
        ports: &files.ports,
        frames: files.frames,
        memory,
    };
    if traffic.proto == Proto::Udp {
        let mut director = Director::start(&setting, director::CONNS, &Ways::default())?;
        if kind == Kind::Vlan {
            director.prepare_tagged(traffic, VLANS)?;
        } else {
            director.prepare(traffic)?;
        }
        director.go(traffic)?;
        director.warm_up(files.frames)?;
        return Ok(director);
    }
    let path = files.dir.path().join("handshakes");
    remove(&path)?;
    let pipe = Pipe::create(&path)?;
    ports.push(Port::Once(path));
    setting.ports = &ports;
    // What this port calls itself depends on the others.
    let nth = ports
        .iter()
        .filter(|port| !matches!(port, Port::Sink))
        .count()
        - 1;
    let mac = pcap::mac(u8::try_from(nth).unwrap_or(0));
    let ways = Ways {
        seed: files.seed.as_deref(),
        ..Ways::default()
    };
    let mut director = Director::start(&setting, director::CONNS, &ways)?;
    let feed = pipe.feed()?;
    director.prepare(traffic)?;
    director.go(traffic)?;
    let all = 0..u32::try_from(flows).unwrap_or(0);
    let send = |packet, chosen: &[Chosen]| {
        let frame = |flow| traffic.frame(mac, flow, packet, chosen.get(flow as usize));
        feed.send(all.clone().map(frame))
    };
    send(Packet::First, &[])?;
    match kind {
        Kind::Clients | Kind::Vlan => {}
        Kind::Both => send(Packet::SynAck, &files.chosen)?,
        Kind::Toa => send(Packet::SynAck, &director.chosen(traffic, flows)?)?,
    }
    drop(feed);
    wait::until_true("all connections to be established", LIMIT, || {
        director.still_running()?;
        Ok(director.conns()? == (flows as u64, 0))
    })
    .map_err(|error| {
        let conns = director.conns();
        Error::new(format!("{error}; active and other ones: {conns:?}"))
    })?;
    Ok(director)
}

/// How long connections may take to be established.
const LIMIT: Duration = Duration::from_secs(60);

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).what(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}
