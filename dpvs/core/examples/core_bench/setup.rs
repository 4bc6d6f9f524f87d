//! New flows: datagrams, SYNs, and whole TCP lives.
//!
//! Datagrams and SYNs are counted while an empty table fills that was full
//! before; what the first touch of its memory adds stands beside. Lives are counted
//! in a steady state: as many connections end by their timer (seven seconds in
//! TIME_WAIT, the default) as are opened, at a million a second.

use dpvs_core::frame::Now;
use dpvs_core::snapshot::Settings;

use crate::flows::{CLIENT_ACK, CLIENT_SYN, SERVER_SYN};
use crate::frames::{ACK, Chosen, FIN, Packet, SERVER_ISN};
use crate::report::{Args, Line};
use crate::rig::{FRAMES, Rig, Spent};
use crate::world::World;

/// Opens flows `from..from + count` by one packet each, while whatever the rig
/// has begun goes on.
pub(crate) fn fill(rig: &mut Rig, from: u32, count: u32) {
    let first = if rig.world.tcp {
        CLIENT_SYN
    } else {
        Packet::data(false)
    };
    let mut at = 0;
    while at < count {
        let n = FRAMES.min((count - at) as usize);
        rig.batch(n, |i| (from + at + i as u32, Chosen::default(), first));
        rig.io.recycle();
        at += n as u32;
    }
}

/// Lets time pass until every connection has ended.
fn drain(rig: &mut Rig) {
    while rig.worker.conns() > 0 {
        rig.clock += 1_000_000;
        rig.worker.tick(Now(rig.clock / 1000), &mut rig.io);
        rig.io.recycle();
    }
}

/// The packets of a life behind the client's SYN.
const LIFE: [Packet; 7] = [
    SERVER_SYN,
    CLIENT_ACK,
    Packet {
        ack: SERVER_ISN + 1,
        ..Packet::data(false)
    },
    Packet {
        seq: SERVER_ISN + 1,
        ..Packet::data(true)
    },
    Packet::new(false, FIN | ACK, false),
    Packet::new(true, FIN | ACK, false),
    Packet::new(false, ACK, false),
];
/// Packets of a life.
pub(crate) const LIFE_PACKETS: u64 = 1 + LIFE.len() as u64;

/// Lives under way at the same time, in batches.
const WAVE: usize = 4;

/// A wave of lives from flow `from` on; says how many.
pub(crate) fn wave(rig: &mut Rig, from: u32, chosen: &mut Vec<Chosen>) -> u32 {
    let base = |batch: usize| from + (batch * FRAMES) as u32;
    chosen.clear();
    for batch in 0..WAVE {
        rig.batch(FRAMES, |i| {
            (base(batch) + i as u32, Chosen::default(), CLIENT_SYN)
        });
        let world = rig.world;
        chosen.extend(rig.io.sent.iter().map(|f| Chosen::read(world, f)));
        rig.io.recycle();
    }
    for packet in LIFE {
        for batch in 0..WAVE {
            rig.batch(FRAMES, |i| {
                (base(batch) + i as u32, chosen[batch * FRAMES + i], packet)
            });
            rig.io.recycle();
        }
    }
    (WAVE * FRAMES) as u32
}

/// `setup`: `kind` is `udp`, `syn`, `life`, or `expire` (datagrams as in `udp`,
/// but in a steady state where as many flows end as begin).
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let kind = args.text("kind", "udp");
    let mut world = args.world()?;
    world.tcp = matches!(kind, "syn" | "life" | "flood");
    let count: u32 = args.number("flows", 1_000_000)?;
    let runs: u64 = args.number("runs", 1)?;
    match kind {
        "udp" | "syn" => {
            let mut rig = Rig::new(world, (0, 1), count as usize + 64, Settings::default());
            // The system gives memory when it is touched for the first time (the
            // daemon does that ahead, in a thread of its own).
            rig.begin_aside();
            fill(&mut rig, 0, count);
            let first = rig.finish();
            for run in 0..runs {
                drain(&mut rig);
                rig.begin();
                fill(&mut rig, (run as u32 + 1) * count, count);
                let spent = rig.finish();
                line(&rig, kind, count, run, &spent, 1)
                    .real("first_touch_ns_per_flow", first.ns_per_packet())
                    .print();
            }
        }
        "flood" => flood(world, count, runs, args.number("asked", 0)? != 0),
        "expire" => steady(
            &mut Rig::new(world, (0, 1), 6 * count as usize, quick(1)),
            kind,
            count,
            runs,
        ),
        "life" => steady(
            &mut Rig::new(world, (0, 1), 10 * count as usize, Settings::default()),
            kind,
            count,
            runs,
        ),
        other => return Err(format!("kind={other}: udp, syn, life, expire or flood")),
    }
    Ok(())
}

/// SYNs nobody means, answered by cookies: because the service `asked` for it, or
/// because of their rate, from the second on.
fn flood(mut world: World, count: u32, runs: u64, asked: bool) {
    let mut settings = Settings::default();
    settings.synproxy.auto_syn_rate = (!asked).into();
    world.synproxy = asked;
    let mut rig = Rig::new(world, (0, 1), 1 << 16, settings);
    rig.begin_aside();
    fill(&mut rig, 0, FRAMES as u32);
    rig.finish();
    for run in 0..runs {
        let before = rig.worker.stats().synproxy.syn;
        rig.begin();
        fill(&mut rig, (run as u32 + 1) * count, count);
        let spent = rig.finish();
        assert_eq!(
            rig.worker.stats().synproxy.syn - before,
            u64::from(count),
            "each got a cookie"
        );
        line(&rig, "flood", count, run, &spent, 1).print();
    }
}

/// Datagrams' connections end after so many seconds.
fn quick(seconds: u32) -> Settings {
    let mut settings = Settings::default();
    settings.timeouts.udp = [seconds; 3];
    settings.timeouts.conn_init = seconds;
    settings
}

/// `count` flows a second for as long as it takes until as many end as begin,
/// then measured stretches of `count` flows.
fn steady(rig: &mut Rig, kind: &str, count: u32, runs: u64) {
    let packets = if rig.world.tcp { LIFE_PACKETS } else { 1 };
    // Nanoseconds a burst at that pace.
    rig.step = 32 * 1_000_000_000 / (u64::from(count) * packets);
    let lasts = if rig.world.tcp { 8 } else { 2 };
    let (mut at, mut chosen) = (0u32, Vec::new());
    let mut stretch = |rig: &mut Rig, flows: u32| {
        let end = at + flows;
        while at < end {
            at += if rig.world.tcp {
                wave(rig, at, &mut chosen)
            } else {
                rig.batch(FRAMES, |i| {
                    (at + i as u32, Chosen::default(), Packet::data(false))
                });
                rig.io.recycle();
                FRAMES as u32
            };
        }
    };
    stretch(rig, lasts * count);
    for run in 0..runs {
        let gone = rig.worker.stats().conns_gone;
        rig.begin();
        stretch(rig, count);
        let spent = rig.finish();
        line(rig, kind, count, run, &spent, packets)
            .number("ended", rig.worker.stats().conns_gone - gone)
            .print();
    }
}

fn line(rig: &Rig, kind: &str, count: u32, run: u64, spent: &Spent, packets: u64) -> Line {
    let flows = spent.packets / packets;
    Line::new("setup", rig.world)
        .text("kind", kind)
        .number("flows", count.into())
        .number("run", run)
        .number("packets", spent.packets)
        .real("ns_per_flow", spent.cpu as f64 / flows as f64)
        .real("mflows_per_second", flows as f64 * 1e3 / spent.cpu as f64)
        .real("wall_ns_per_flow", spent.wall as f64 / flows as f64)
        .number("conns", rig.worker.conns() as u64)
}

/// `memory`: resident memory before there is a worker and with that many
/// connections. The index is what the table says of it, everything else of the
/// growth (entries, port pools) is the rest.
pub(crate) fn memory(args: &Args) -> Result<(), String> {
    let world = args.world()?;
    let count: u32 = args.number("flows", 10_000_000)?;
    for run in 0..args.number("runs", 1)? {
        let before = resident()?;
        let mut rig = Rig::new(world, (0, 1), count as usize, Settings::default());
        fill(&mut rig, 0, count);
        let grown = resident()?.saturating_sub(before);
        let index = rig.worker.regions()[0].1;
        let each = |bytes: usize| bytes as f64 / f64::from(count);
        Line::new("memory", world)
            .number("flows", count.into())
            .number("run", run)
            .real("bytes_per_connection", each(grown))
            .real("index_bytes_per_connection", each(index))
            .real(
                "entry_bytes_per_connection",
                each(grown.saturating_sub(index)),
            )
            .real("total_mib", grown as f64 / f64::from(1 << 20))
            .number("conns", rig.worker.conns() as u64)
            .print();
    }
    Ok(())
}

fn resident() -> Result<usize, String> {
    let statm = std::fs::read_to_string("/proc/self/statm").map_err(|e| e.to_string())?;
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse::<usize>().ok());
    Ok(pages.ok_or("/proc/self/statm")? * 4096)
}
