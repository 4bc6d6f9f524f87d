//! How long a worker is away from its queues: every turn of its loop timed
//! (a message if there is one, a burst, the timers) while bursts come at a given
//! pace, a new configuration is published a hundred times a second (with
//! `services`, so many appear and disappear each time), and a great many
//! connections end at the same moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dpvs_core::frame::{BURST, Burst, Now, PortId, empty_burst};
use dpvs_core::snapshot::Settings;

use crate::flows::{Flows, Mix, Random};
use crate::frames::{self, Chosen, Packet, Slot};
use crate::report::{Args, Line};
use crate::rig::{FRAMES, Rig, cpu_nanos};
use crate::setup;
use crate::world;

/// Nanoseconds between two publications.
const PUBLISH: Duration = Duration::from_millis(10);

/// `latency`: half of what the worker can do, or `mpps`.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let world = args.world()?;
    let live: usize = args.number("flows", 100_000)?;
    let expiring: u32 = args.number("expiring", 1_000_000)?;
    let seconds: f64 = args.number("seconds", 2.0)?;
    let runs: u64 = args.number("runs", 1)?;
    let services: u32 = args.number("services", 0)?;
    // They end together: this many (worker's) seconds after the last packet.
    const SILENCE: u32 = 60;
    let mut settings = Settings::default();
    settings.timeouts.udp = [SILENCE; 3];
    settings.timeouts.tcp = [SILENCE; 11];
    settings.timeouts.conn_init = SILENCE;
    for run in 0..runs {
        let room = live + expiring as usize + FRAMES;
        let mut rig = Rig::new(world, (0, 1), room, settings.clone());
        rig.step = 0;
        setup::fill(&mut rig, 1 << 24, expiring);
        // The live ones begin half a minute later: they go on.
        rig.clock += u64::from(SILENCE) * 500_000_000;
        let mut flows = Flows::open(&mut rig, live, false);
        rig.begin();
        while rig.spent.cpu < 200_000_000 {
            flows.meet(&mut rig, FRAMES, Mix::In);
        }
        let full = 1e3 / rig.finish().ns_per_packet();
        let mpps: f64 = args.number("mpps", full / 2.0)?;
        // The end of the silence comes in the first tenth.
        rig.clock += u64::from(SILENCE) * 500_000_000 - (seconds * 1e8) as u64;
        let gone = rig.worker.stats().conns_gone;
        let turns = paced(&mut rig, &flows, (mpps, seconds), services, &settings);
        let line = Line::new("latency", world)
            .number("flows", live as u64)
            .number("expiring", expiring.into())
            .number("services", services.into())
            .number("run", run)
            .real("mpps", mpps)
            .number("turns", turns.cpu.len() as u64)
            .number("ended", rig.worker.stats().conns_gone - gone);
        let line = quantiles(line, "cpu_us", turns.cpu);
        quantiles(line, "wall_us", turns.wall).print();
    }
    Ok(())
}

/// Nanoseconds each turn took.
struct Turns {
    cpu: Vec<u32>,
    wall: Vec<u32>,
}

fn paced(
    rig: &mut Rig,
    flows: &Flows,
    (mpps, seconds): (f64, f64),
    services: u32,
    settings: &Settings,
) -> Turns {
    let pace = Duration::from_secs_f64(BURST as f64 / mpps / 1e6);
    let most = (seconds / pace.as_secs_f64()) as usize + 1;
    let mut turns = Turns {
        cpu: Vec::with_capacity(most),
        wall: Vec::with_capacity(most),
    };
    let mut next = rig.world.snapshot(2, settings.clone());
    let mut snapshots = [Arc::new(next.clone()), Arc::default()];
    for i in 0..services {
        next.services.insert(rig.world.idle_service(i));
    }
    next.epoch += 1;
    snapshots[1] = Arc::new(next);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (start, base) = (Instant::now(), rig.clock);
    let (mut due, mut publish, mut published) = (start, start + PUBLISH, 0);
    let mut burst: Burst<Slot> = empty_burst();
    while start.elapsed().as_secs_f64() < seconds {
        for slot in &mut burst {
            let (flow, chosen): (u32, Chosen) =
                flows.live[random.below(flows.live.len() as u32) as usize];
            let mut frame = rig.io.take();
            frames::write(&mut frame, rig.world, flow, chosen, &Packet::data(false));
            *slot = Some(frame);
        }
        due += pace;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let (cpu, wall) = (cpu_nanos(), Instant::now());
        let now = Now((base + (wall - start).as_nanos() as u64) / 1000);
        if wall >= publish {
            publish += PUBLISH;
            published += 1;
            let next = Arc::clone(&snapshots[published % 2]);
            world::install(&mut rig.worker, next, now, &mut rig.io);
        }
        rig.worker
            .process(PortId(0), &mut burst, BURST, now, &mut rig.io);
        rig.worker.tick(now, &mut rig.io);
        turns.wall.push(wall.elapsed().as_nanos() as u32);
        turns.cpu.push((cpu_nanos() - cpu) as u32);
        rig.io.recycle();
    }
    turns
}

/// Adds the usual ones, in microseconds.
fn quantiles(mut line: Line, name: &str, mut turns: Vec<u32>) -> Line {
    turns.sort_unstable();
    for (label, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        let at = (part * turns.len() as f64).ceil() as usize;
        let value = turns.get(at.saturating_sub(1)).copied().unwrap_or(0);
        line = line.real(&format!("{name}_{label}"), f64::from(value) / 1e3);
    }
    line
}
