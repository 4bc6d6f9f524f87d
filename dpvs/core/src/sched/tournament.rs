//! The server with the lowest load for its weight, without a walk.
//!
//! A tournament over the servers, for the schedulers that say what a load costs.
//! What is kept of a server may be less than its load now, never more: a heavier
//! load is noticed when the server wins, a lighter one has to be told. So the
//! winner whose load is as kept is the lightest of all, and of equals the first
//! from the worker's start on.

use std::marker::PhantomData;

use super::Load;
use crate::service::Dest;

/// What a scheduler makes of a server's use.
pub(super) trait Cost {
    /// The load (41 bits at most).
    fn overhead(load: Load) -> u64;
    /// What it is divided by, of a server that may be used.
    fn weight(weight: u16) -> u32 {
        weight.into()
    }
}

/// What is kept of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Key {
    overhead: u64,
    /// 0 while it may not get connections.
    weight: u32,
}

impl Key {
    /// No heavier than another one: compares overhead / weight without a division
    /// (41 bits by 16 fit).
    fn wins(self, other: Self) -> bool {
        other.weight == 0
            || self.weight != 0
                && self.overhead * u64::from(other.weight)
                    <= other.overhead * u64::from(self.weight)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tournament<C> {
    start: usize,
    servers: usize,
    /// Leaves, a power of two.
    size: usize,
    /// By place from the start on.
    keys: Vec<Key>,
    /// Node 1 is the root, the children of n are 2n and 2n + 1, leaves come last;
    /// in each the place of the lightest below.
    winners: Vec<u32>,
    cost: PhantomData<C>,
}

impl<C: Cost> Tournament<C> {
    pub(super) fn new(dests: &[Dest], start: usize, load: impl Fn(&Dest) -> Load) -> Self {
        let servers = dests.len();
        let size = servers.next_power_of_two();
        let mut keys = vec![Key::default(); size];
        let in_order = dests[start.min(servers)..].iter().chain(&dests[..start]);
        for (key, dest) in keys.iter_mut().zip(in_order) {
            *key = key_of::<C>(dest, load(dest));
        }
        let mut all = Self {
            start,
            servers,
            size,
            keys,
            winners: vec![0; 2 * size],
            cost: PhantomData,
        };
        for (winner, place) in all.winners[size..].iter_mut().zip(0..) {
            *winner = place;
        }
        for n in (1..size).rev() {
            all.winners[n] = all.play(n);
        }
        all
    }

    /// The lightest below a node: the left one of equals.
    #[inline]
    fn play(&self, n: usize) -> u32 {
        let (left, right) = (self.winners[2 * n], self.winners[2 * n + 1]);
        if self.keys[left as usize].wins(self.keys[right as usize]) {
            left
        } else {
            right
        }
    }

    #[inline]
    fn set(&mut self, place: usize, key: Key) {
        self.keys[place] = key;
        let mut n = self.size + place;
        while n > 1 {
            n /= 2;
            let winner = self.play(n);
            let same = self.winners[n] == winner;
            self.winners[n] = winner;
            if same && winner as usize != place {
                return;
            }
        }
    }

    #[inline]
    pub(super) fn pick(&mut self, dests: &[Dest], load: impl Fn(&Dest) -> Load) -> Option<usize> {
        if dests.is_empty() {
            return None;
        }
        loop {
            let place = self.winners[1] as usize;
            let kept = self.keys[place];
            if kept.weight == 0 {
                return None;
            }
            let index = if place < self.servers - self.start {
                place + self.start
            } else {
                place + self.start - self.servers
            };
            let now = dests
                .get(index)
                .map_or(Key::default(), |d| key_of::<C>(d, load(d)));
            if now.weight != 0 && now.overhead == kept.overhead {
                return Some(index);
            }
            self.set(place, now);
        }
    }

    /// That server has fewer connections, or less active ones.
    pub(super) fn lighter(&mut self, index: usize, weight: u16, load: Load) {
        let place = if index >= self.start {
            index - self.start
        } else {
            index + self.servers - self.start
        };
        if place < self.servers {
            let key = Key {
                overhead: C::overhead(load),
                weight: C::weight(weight),
            };
            self.set(place, key);
        }
    }
}

fn key_of<C: Cost>(dest: &Dest, load: Load) -> Key {
    Key {
        overhead: C::overhead(load),
        weight: if dest.usable() && !load.overloaded {
            C::weight(dest.weight)
        } else {
            0
        },
    }
}
