//! Many workers: eight driven one after another in one thread, and two on two
//! cores at the same time.

use std::sync::Barrier;

use dpvs_core::snapshot::Settings;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::flows::{Flows, Mix};
use crate::report::{Args, Line};
use crate::rig::{FRAMES, Rig, Spent};
use crate::world::World;

/// A worker of several, with connections of its own.
fn worker(world: World, id: u8, workers: u8, flows: usize) -> (Rig, Flows) {
    let mut rig = Rig::new(world, (id, workers), flows + 64, Settings::default());
    let flows = Flows::open(&mut rig, flows, false);
    (rig, flows)
}

/// Packets in both directions for so many nanoseconds of CPU time.
fn stretch((rig, flows): &mut (Rig, Flows), nanos: u64) -> Spent {
    for _ in 0..8 {
        flows.meet(rig, FRAMES, Mix::Both);
    }
    rig.begin();
    while rig.spent.cpu < nanos {
        flows.meet(rig, FRAMES, Mix::Both);
    }
    rig.finish()
}

fn nanos(args: &Args) -> Result<u64, String> {
    Ok((args.number("seconds", 0.5)? * 1e9) as u64)
}

/// `workers`: one line a run: the cost with one worker, and the mean and the
/// dearest of `count` workers driven in turn, each with as many connections.
pub(crate) fn in_turn(args: &Args) -> Result<(), String> {
    let world = args.world()?;
    let count: u8 = args.number("count", 8)?;
    let flows = args.number("flows", 100_000)?;
    let nanos = nanos(args)?;
    let mut alone = worker(world, 0, 1, flows);
    let mut many: Vec<_> = (0..count)
        .map(|id| worker(world, id, count, flows))
        .collect();
    for run in 0..args.number("runs", 1)? {
        let one = stretch(&mut alone, nanos).ns_per_packet();
        let each: Vec<f64> = many
            .iter_mut()
            .map(|worker| stretch(worker, nanos).ns_per_packet())
            .collect();
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        Line::new("workers", world)
            .number("workers", count.into())
            .number("flows", flows as u64)
            .number("run", run)
            .real("one_ns_per_packet", one)
            .real("mean_ns_per_packet", mean)
            .real("max_ns_per_packet", each.into_iter().fold(0.0, f64::max))
            .real("times_one", mean / one)
            .print();
    }
    Ok(())
}

/// `threads`: one worker alone, then `count` of them, each in a thread on a
/// core of its own; the sum of their rates over the one's.
pub(crate) fn at_once(args: &Args) -> Result<(), String> {
    let world = args.world()?;
    let count: u8 = args.number("count", 2)?;
    let flows = args.number("flows", 100_000)?;
    let nanos = nanos(args)?;
    let runs: u64 = args.number("runs", 1)?;
    for run in 0..runs {
        // The same workers in both: alone means that the others stand still.
        let (one, all) = race(world, count, flows, nanos)?;
        let rate = |spents: &[Spent], ns: fn(&Spent) -> f64| {
            spents.iter().map(|s| 1e3 / ns(s)).sum::<f64>()
        };
        let wall: fn(&Spent) -> f64 = Spent::wall_ns_per_packet;
        let cpu: fn(&Spent) -> f64 = Spent::ns_per_packet;
        Line::new("threads", world)
            .number("threads", count.into())
            .number("flows", flows as u64)
            .number("run", run)
            .real("one_mpps", rate(&one, cpu))
            .real("all_mpps", rate(&all, cpu))
            .real("times_one", rate(&all, cpu) / rate(&one, cpu))
            .real("wall_one_mpps", rate(&one, wall))
            .real("wall_all_mpps", rate(&all, wall))
            .real("wall_times_one", rate(&all, wall) / rate(&one, wall))
            .print();
    }
    Ok(())
}

/// What the first worker does alone, and what all do together.
fn race(
    world: World,
    count: u8,
    flows: usize,
    nanos: u64,
) -> Result<(Vec<Spent>, Vec<Spent>), String> {
    let barrier = Barrier::new(count.into());
    let results: Vec<(Option<Spent>, Spent)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|id| {
                let barrier = &barrier;
                scope.spawn(move || {
                    pin(id);
                    let mut worker = worker(world, id, count, flows);
                    barrier.wait();
                    let alone = (id == 0).then(|| stretch(&mut worker, nanos));
                    barrier.wait();
                    (alone, stretch(&mut worker, nanos))
                })
            })
            .collect();
        threads.into_iter().map_while(|t| t.join().ok()).collect()
    });
    if results.len() != usize::from(count) {
        return Err("a worker's thread has failed".into());
    }
    let alone = results.iter().filter_map(|r| r.0).collect();
    Ok((alone, results.iter().map(|r| r.1).collect()))
}

/// Best effort: with fewer cores than threads they share.
fn pin(core: u8) {
    let mut set = CpuSet::new();
    if set.set(core.into()).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
