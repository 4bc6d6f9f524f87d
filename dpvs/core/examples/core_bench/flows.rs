//! A set of live connections: made by whole handshakes, then met in random
//! order in either direction.

use crate::frames::{ACK, Chosen, Packet, SERVER_ISN, SYN};
use crate::rig::{FRAMES, Rig};

/// Directions of measured packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    In,
    Out,
    /// Bursts of one and the other in turn.
    Both,
}

impl Mix {
    pub(crate) const ALL: [Mix; 3] = [Mix::In, Mix::Out, Mix::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mix::In => "in",
            Mix::Out => "out",
            Mix::Both => "both",
        }
    }
}

/// In which order connections are met.
enum Order {
    Random(Random),
    /// Every one once before any for the second time, in long steps: none stays
    /// silent for longer than a round.
    Round {
        at: usize,
        step: usize,
    },
}

/// A fixed pseudo-random sequence (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `n`.
    #[inline]
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        let mut x = self.0;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        (((x >> 32) * u64::from(n)) >> 32) as u32
    }
}

impl Order {
    #[inline]
    fn next(&mut self, count: usize) -> usize {
        match self {
            Order::Random(random) => random.below(count as u32) as usize,
            Order::Round { at, step } => {
                *at += *step;
                if *at >= count {
                    *at -= count;
                }
                *at
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(crate) const CLIENT_SYN: Packet = Packet {
    seq: 100,
    ack: 0,
    ..Packet::new(false, SYN, false)
};
pub(crate) const SERVER_SYN: Packet = Packet {
    seq: SERVER_ISN,
    ..Packet::new(true, SYN | ACK, false)
};
pub(crate) const CLIENT_ACK: Packet = Packet {
    ack: SERVER_ISN + 1,
    ..Packet::new(false, ACK, false)
};

/// The live connections: number `i` is flow `base + i` until it is replaced.
pub(crate) struct Flows {
    pub(crate) live: Vec<(u32, Chosen)>,
    order: Order,
    next: u32,
    /// Client segments get the option put in.
    toa: bool,
}

impl Flows {
    /// Opens so many. First packets are in order; each wave ends before the
    /// next begins.
    pub(crate) fn open(rig: &mut Rig, count: usize, toa: bool) -> Self {
        let mut flows = Self {
            live: Vec::with_capacity(count),
            order: Order::Random(Random(0x9e37_79b9_7f4a_7c15)),
            next: 0,
            toa,
        };
        while flows.live.len() < count {
            let n = FRAMES.min(count - flows.live.len());
            let opened = flows.fresh(rig, n);
            flows.live.extend(opened);
        }
        flows
    }

    /// From now on everyone's turn comes in every round.
    pub(crate) fn in_rounds(&mut self) {
        let count = self.live.len();
        // The golden section, made to have no divisor in common.
        let mut step = (count as f64 * 0.618_034) as usize | 1;
        while gcd(step, count) != 1 {
            step += 1;
        }
        self.order = Order::Round { at: 0, step };
    }

    /// Opens `n` more, by a handshake with TCP, and has both sides speak.
    pub(crate) fn fresh(&mut self, rig: &mut Rig, n: usize) -> Vec<(u32, Chosen)> {
        let base = self.next;
        self.next += n as u32;
        let first = if rig.world.tcp {
            CLIENT_SYN
        } else {
            Packet::data(false)
        };
        rig.batch(n, |i| (base + i as u32, Chosen::default(), first));
        let opened: Vec<(u32, Chosen)> = (base..)
            .zip(&rig.io.sent)
            .map(|(flow, frame)| (flow, Chosen::read(rig.world, frame)))
            .collect();
        rig.io.recycle();
        // The first packets of each side change states: not what is measured
        // later. Data of the server, once acknowledged, ends the TCP option.
        let (handshake, data) = (
            [SERVER_SYN, CLIENT_ACK],
            [Packet::data(true), Packet::data(false)],
        );
        let handshake = handshake.into_iter().filter(|_| rig.world.tcp);
        let data = data.into_iter().filter(|_| !self.toa);
        let seen = |packet: &Packet| !packet.reply || rig.world.mode.two_ways();
        for packet in handshake.chain(data).filter(seen).collect::<Vec<_>>() {
            rig.batch(n, |i| (opened[i].0, opened[i].1, packet));
            rig.io.recycle();
        }
        opened
    }

    /// A batch of `n` packets of random connections.
    pub(crate) fn meet(&mut self, rig: &mut Rig, n: usize, mix: Mix) {
        let toa = self.toa;
        let (live, order) = (&self.live, &mut self.order);
        rig.batch(n, |i| {
            let reply = match mix {
                Mix::In => false,
                Mix::Out => true,
                Mix::Both => i / dpvs_core::frame::BURST % 2 == 1,
            };
            let (flow, chosen) = live[order.next(live.len())];
            let mut packet = Packet::data(reply);
            if toa && !reply {
                packet.ack = SERVER_ISN + 1;
            }
            (flow, chosen, packet)
        });
        rig.io.recycle();
    }
}
