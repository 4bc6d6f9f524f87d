//! One to three workers, every way to forward, and everything that can be switched
//! on: what the packet scripts do, in any order and mixed with one another, with
//! configurations and packets made of fields, answers to what was sent, routers'
//! errors, fragments, tags, tunnels, time that jumps, rings that are late, buffers
//! that run out. No panic; a burst is taken whole; no frame is handed over again and
//! again; what is sent has right checksums; and at rest no connection, no local port, no
//! removed server and no frame is left.

mod buffer;
mod lines;
mod operations;
mod packets;
#[rustfmt::skip]
mod pkt;
mod reached;
mod rest;
mod scripts;
mod switches;
mod world;

use crate::Target;
use crate::input::Input;
use world::World;

pub use reached::Reached;

/// The target.
pub const TARGET: Target = Target {
    name: "modes",
    run,
    seeds,
    words: &[
        "\u{8}\0",
        "\u{45}",
        "`\0\0\0",
        "\u{11}",
        "\u{6}",
        "\u{1}",
        "PROXY TCP4 ",
        "\r\n\r\n\0\r\nQUIT\n",
    ],
};

/// Operations of one input.
const OPS: usize = 64;

fn run(data: &[u8]) {
    play(data);
}

/// Runs one input; what it got to.
pub fn play(data: &[u8]) -> Reached {
    buffer::receive(0);
    assert_eq!(buffer::alive(), 0);
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..OPS {
        if input.is_empty() {
            break;
        }
        operations::operate(&mut world, &mut input);
    }
    buffer::receive(0);
    world.tell_conns();
    world.rest();
    world.reached.stats = world
        .lab
        .workers
        .iter()
        .map(|w| w.stats().clone())
        .collect();
    world.reached
}

fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let mut seeds = vec![Vec::new(), all.clone(), all.iter().rev().copied().collect()];
    for (number, steps) in scripts::all().numbers() {
        let [low, high] = number.to_le_bytes();
        for how in [0x18, 0x1a, 0x1b] {
            // The script as it is, by one worker and by more; then in parts.
            let mut seed = vec![how, low, high];
            seed.extend(vec![11; (steps / 12).clamp(1, 40)]);
            seeds.push(seed);
        }
        for how in [0x1a, 0x1b] {
            // Local ports matched to the hashes of both ports.
            let mut seed = vec![how, low, high, 28, 0xc0];
            seed.extend([0x20, 7, 0, 0, 0x30, 7, 0, 1, 0x7f]);
            seed.extend(vec![11; (steps / 12).clamp(1, 40)]);
            seeds.push(seed);
        }
        for part in 0..=steps / 60 {
            let mut seed = vec![0x18, low, high, 15, low, high, (part * 40).min(255) as u8];
            seed.extend([
                11, 11, 36, 0, 0, 1, 0, 46, 0, 0, 0, 0, 0, 0, 11, 17, 1, 18, 0, 11,
            ]);
            seed.extend([51, 2, 1, 40, 1, 1, 1, 0, 11]);
            seeds.push(seed);
        }
    }
    seeds
}
