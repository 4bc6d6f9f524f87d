//! The operations an input is made of: a byte says which, those behind it how.

use dpvs_core::frame::PortId;
use dpvs_core::message::{Listing, ToWorker};

use super::world::World;
use super::{buffer, lines, packets};
use crate::input::Input;
use crate::worker::{frames, messages};

/// What one operation does.
pub(super) fn operate(world: &mut World, input: &mut Input<'_>) {
    let op = input.byte();
    let workers = world.workers();
    let worker = (op >> 6) % workers;
    match op & 0x3f {
        // The script goes on.
        0..=11 => {
            for _ in 0..=op & 15 {
                world.step(|frame| frames::is_right(frame));
            }
        }
        12 | 13 => world.at += 1 + input.below(8),
        14 => {
            world.script = input.word();
            world.at = 0;
        }
        15 => {
            world.script = input.word();
            world.at = usize::from(input.byte());
        }
        16..=18 => {
            world.step(|frame| {
                packets::change(input, frame);
                packets::seal(frame)
            });
        }
        19 => {
            world.step(|frame| {
                frames::turn(input, frame);
                false
            });
        }
        // Configuration.
        20 | 21 => {
            let line = world.scripts.line(input.word());
            world.line(line);
        }
        22..=26 => {
            for _ in 0..=input.byte() & 3 {
                let line = lines::made(input);
                world.line(&line);
            }
        }
        27 => world.schedule(input),
        28 => world.settings(input),
        // Packets.
        29..=35 => {
            let frame = packets::made(input);
            receive(world, input, worker, frame, None);
        }
        36..=44 => {
            let Some((port, mut frame)) = seen(world, input) else {
                return;
            };
            packets::answer(input, &mut frame);
            receive(world, input, worker, frame, Some(port));
        }
        45 => {
            let Some((port, frame)) = seen(world, input) else {
                return;
            };
            receive(world, input, worker, frame, Some(port ^ 1));
        }
        46..=48 => {
            let Some((port, frame)) = seen(world, input) else {
                return;
            };
            if let Some(frame) = packets::error(input, &frame) {
                receive(world, input, worker, frame, Some(port));
            }
        }
        49 => {
            let n = usize::from(input.word() % 2000);
            let frame = input.bytes(n).to_vec();
            world.sound = false;
            receive(world, input, worker, frame, None);
        }
        // Time.
        50..=52 => {
            let micros = input.pick(&[
                1_000,
                20_000,
                500_000,
                1_000_000,
                3_000_000,
                10_000_000,
                60_000_000,
                400_000_000,
                0,
                1_000_000_000,
            ]);
            world.pass(micros, 1 + u64::from(input.byte() & 7));
        }
        // Messages.
        53 | 54 => {
            let message = messages::neighbour(input);
            tell(world, worker, message);
        }
        55 => {
            let message = messages::other(input, 16);
            tell(world, worker, message);
        }
        56 => {
            let query = messages::query(input);
            let _ = world.query(&query);
        }
        57 => {
            let what = input.pick(&[
                Listing::Conns,
                Listing::Templates,
                Listing::Neighbours,
                Listing::Laddrs,
            ]);
            let message = ToWorker::List {
                token: 9,
                what,
                cursor: input.pick(&[0, 0, 1, 63, 64, u32::MAX]),
                pieces: u32::from(input.byte()),
            };
            tell(world, worker, message);
        }
        58 => world.lab.sink.empty = input.byte() & 3 == 0,
        59 => world.lab.sink.deaf = input.byte() & 1 == 0,
        60 => {
            world.late = input.byte() & 1 == 0;
            world.after();
        }
        61 => {
            buffer::receive(input.pick(&[0, 0, 256, 128, 1024]));
        }
        62 => {
            let mut frame = vec![0; 14 + input.below(100)];
            frame[12] = input.byte();
            let port = PortId(input.pick(&[0, 1]));
            let frame = frame.into();
            tell(world, worker, ToWorker::Send { port, frame });
        }
        _ => world.sound = false,
    }
}

fn tell(world: &mut World, worker: u8, message: ToWorker) {
    let lab = &mut world.lab;
    if let Some(worker) = lab.workers.get_mut(usize::from(worker)) {
        lab.sink.books.open(worker.id());
        worker.handle(message, lab.now, &mut lab.sink);
    }
    lab.events();
    world.after();
}

/// One of the last frames sent.
fn seen(world: &World, input: &mut Input<'_>) -> Option<(u16, Vec<u8>)> {
    let at = world.seen.len().checked_sub(1 + input.below(4))?;
    world.seen.get(at).cloned()
}

/// A frame comes in, perhaps otherwise than it was made.
fn receive(
    world: &mut World,
    input: &mut Input<'_>,
    worker: u8,
    mut frame: Vec<u8>,
    device: Option<u16>,
) {
    let how = input.byte();
    if how & 7 == 7 {
        packets::extend(input, &mut frame);
    }
    if how & 0x18 == 0x18 {
        packets::change(input, &mut frame);
    }
    if world.sound || how & 0x18 != 0x10 {
        world.sound &= packets::seal(&mut frame);
    } else {
        world.sound = false;
    }
    let times = if how & 0xe0 == 0xe0 { input.byte() } else { 0 };
    let mut all = if how & 0xe0 == 0xc0 {
        packets::cut(input, &frame)
    } else {
        vec![frame]
    };
    for n in 0..times & 31 {
        // More clients do the same.
        let mut more = all[0].clone();
        if let Some(b) = more.get_mut(if times & 32 == 0 { 35 } else { 55 }) {
            *b = b.wrapping_add(n + 1);
        }
        world.sound &= packets::seal(&mut more);
        all.push(more);
    }
    let device = device.unwrap_or_else(|| match how & 0x60 {
        0x60 => u16::from(input.byte() % 6),
        0x20 => 1,
        _ => 0,
    });
    if how & 7 == 6 {
        for frame in &all {
            world.kernel(worker, device, frame);
        }
        return;
    }
    world.arrive(worker, device, all);
}
