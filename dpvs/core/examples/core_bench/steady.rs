//! Established connections: each packet belongs to one of so many, picked at
//! random; and the same while a share of them is replaced every second.

use std::time::Duration;

use dpvs_core::frame::BURST;
use dpvs_core::snapshot::Settings;

use crate::flows::{Flows, Mix};
use crate::report::{Args, Line};
use crate::rig::{FRAMES, Rig, Spent};

/// How long one run is: so many packets, or so much CPU time.
struct Length {
    packets: u64,
    time: u64,
}

impl Length {
    fn of(args: &Args) -> Result<Self, String> {
        let packets = args.number("packets", 0u64)?;
        let seconds = Duration::from_secs_f64(args.number("seconds", 1.0)?);
        Ok(Self {
            packets,
            time: seconds.as_nanos() as u64,
        })
    }

    /// Packets of the next batch, at most.
    fn next(&self, spent: &Spent) -> Option<usize> {
        if self.packets > 0 {
            let left = self.packets.saturating_sub(spent.packets) as usize;
            (left > 0).then_some(left.min(FRAMES))
        } else {
            (spent.cpu < self.time).then_some(FRAMES)
        }
    }
}

/// Time-outs that end no connection met once in a while.
fn patient() -> Settings {
    let mut settings = Settings::default();
    settings.timeouts.udp = [30, 3600, 3600];
    settings.timeouts.tcp[1] = 3600;
    settings
}

fn line(name: &str, rig: &Rig, flows: usize, run: u64, spent: &Spent) -> Line {
    Line::new(name, rig.world)
        .number("flows", flows as u64)
        .number("run", run)
        .number("packets", spent.packets)
        .real("ns_per_packet", spent.ns_per_packet())
        .real("wall_ns_per_packet", spent.wall_ns_per_packet())
        .real("mpps", 1e3 / spent.ns_per_packet())
}

/// `forward`: every direction asked for, `runs` times in turn. With `toa=1`
/// every client segment gets the option put in.
pub(crate) fn forward(args: &Args) -> Result<(), String> {
    let world = args.world()?;
    let count: usize = args.number("flows", 100_000)?;
    let runs = args.number("runs", 1)?;
    let length = Length::of(args)?;
    let toa = args.number("toa", 0)? != 0;
    let wanted = args.text("dir", "in");
    let mixes: Vec<Mix> = Mix::ALL
        .into_iter()
        .filter(|mix| wanted == "all" || wanted == mix.name())
        .collect();
    if mixes.is_empty() {
        return Err(format!("dir={wanted}: in, out, both or all"));
    }
    if !world.mode.two_ways() && mixes != [Mix::In] {
        return Err(format!("dir={wanted}: servers answer past the director"));
    }
    let mut rig = Rig::new(world, (0, 1), count + 64, patient());
    let mut flows = Flows::open(&mut rig, count, toa);
    for run in 0..runs {
        for &mix in &mixes {
            // Caches and predictors get used to it.
            for _ in 0..8 {
                flows.meet(&mut rig, FRAMES, mix);
            }
            rig.begin();
            while let Some(n) = length.next(&rig.spent) {
                flows.meet(&mut rig, n, mix);
            }
            let spent = rig.finish();
            line("forward", &rig, count, run, &spent)
                .text("dir", mix.name())
                .number("toa", toa.into())
                .print();
        }
    }
    if rig.worker.conns() != count {
        return Err(format!("{} connections at the end", rig.worker.conns()));
    }
    Ok(())
}

/// `churn`: rate with so many live connections of which `percent` are replaced
/// every second, and without, in turn. The replaced ones fall silent and end by
/// their timer, twenty seconds after (by default it is 300); the others are met
/// once a second.
pub(crate) fn churn(args: &Args) -> Result<(), String> {
    let world = args.world()?;
    let count: usize = args.number("flows", 10_000_000)?;
    let percent: f64 = args.number("percent", 1.0)?;
    let runs: u64 = args.number("runs", 1)?;
    let length = Length::of(args)?;
    let silence = args.number("silence", 20u32)?;
    // Nanoseconds of the worker's time a burst.
    let step = (BURST as f64 * 1e3 / args.number("mpps", 10.0)?) as u64;
    let mut settings = Settings::default();
    settings.timeouts.udp = [silence; 3];
    settings.timeouts.tcp[1] = silence;
    let lingering = count as f64 * percent / 100.0 * f64::from(silence + 2);
    let room = count + lingering as usize * 5 / 4 + FRAMES;
    let mut rig = Rig::new(world, (0, 1), room, settings);
    let mut flows = Flows::open(&mut rig, count, false);
    flows.in_rounds();
    // Three times as fast until it is steady: a round is still far shorter than
    // the silence.
    rig.step = 3 * step;
    let mut churn = Churn {
        per_nano: count as f64 * percent / 100.0 / 1e9,
        at: rig.clock,
        due: 0.0,
        victim: 0,
        replaced: 0,
    };
    // Until as many end as are opened.
    let steady = rig.clock + u64::from(silence + 1) * 1_000_000_000;
    while rig.clock < steady {
        churn.meet(&mut rig, &mut flows, FRAMES);
    }
    for run in 0..runs {
        for churning in [false, true] {
            // The timers' clock stands still without churn: no other work then.
            rig.step = if churning { step } else { 0 };
            for _ in 0..8 {
                flows.meet(&mut rig, FRAMES, Mix::Both);
            }
            churn.at = rig.clock;
            churn.replaced = 0;
            let (made, gone) = (rig.worker.stats().conns_made, rig.worker.stats().conns_gone);
            rig.begin();
            while let Some(n) = length.next(&rig.spent) {
                if churning {
                    churn.meet(&mut rig, &mut flows, n);
                } else {
                    flows.meet(&mut rig, n, Mix::Both);
                }
            }
            let spent = rig.finish();
            line("churn", &rig, count, run, &spent)
                .real("percent", if churning { percent } else { 0.0 })
                .number("made", rig.worker.stats().conns_made - made)
                .number("ended", rig.worker.stats().conns_gone - gone)
                .number("conns", rig.worker.conns() as u64)
                .print();
        }
    }
    Ok(())
}

/// Replaces connections as time goes by.
struct Churn {
    per_nano: f64,
    at: u64,
    due: f64,
    victim: usize,
    replaced: u64,
}

impl Churn {
    /// Packets of random connections, and of the new ones that have become due.
    fn meet(&mut self, rig: &mut Rig, flows: &mut Flows, n: usize) {
        flows.meet(rig, n, Mix::Both);
        self.due += (rig.clock - self.at) as f64 * self.per_nano;
        self.at = rig.clock;
        let mut due = self.due as usize;
        self.due -= due as f64;
        self.replaced += due as u64;
        while due > 0 {
            let n = due.min(FRAMES);
            for new in flows.fresh(rig, n) {
                flows.live[self.victim] = new;
                self.victim = (self.victim + 1) % flows.live.len();
            }
            due -= n;
        }
    }
}
