//! Weights of servers in a tree of maxima: the next server that weighs enough,
//! and the heaviest, without a walk; and in a tree of sums. Knows no scheduler.

use crate::service::Dest;

/// What a server weighs: nothing if it may not be used.
pub(super) fn weight(dest: &Dest) -> u16 {
    if dest.usable() { dest.weight } else { 0 }
}

/// Weights by place in the list of servers.
#[derive(Clone, Debug)]
pub(super) struct MaxTree {
    /// Leaves, a power of two.
    size: usize,
    /// Node 1 is the root, the children of n are 2n and 2n + 1.
    nodes: Vec<u16>,
}

impl MaxTree {
    /// Of the servers that may be used.
    pub(super) fn of(dests: &[Dest]) -> Self {
        Self::new(dests.iter().map(weight))
    }

    pub(super) fn new(weights: impl ExactSizeIterator<Item = u16>) -> Self {
        let size = weights.len().next_power_of_two();
        let mut nodes = vec![0; 2 * size];
        for (leaf, weight) in nodes[size..].iter_mut().zip(weights) {
            *leaf = weight;
        }
        for n in (1..size).rev() {
            nodes[n] = nodes[2 * n].max(nodes[2 * n + 1]);
        }
        Self { size, nodes }
    }

    /// The heaviest weight, 0 if there is none.
    pub(super) fn top(&self) -> u16 {
        self.nodes[1]
    }

    /// What a place weighs.
    pub(super) fn get(&self, place: usize) -> u16 {
        self.nodes.get(self.size + place).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, place: usize, weight: u16) {
        if place >= self.size {
            return;
        }
        let mut n = self.size + place;
        self.nodes[n] = weight;
        while n > 1 {
            n /= 2;
            let max = self.nodes[2 * n].max(self.nodes[2 * n + 1]);
            if self.nodes[n] == max {
                return;
            }
            self.nodes[n] = max;
        }
    }

    /// The first place at or after `from` that weighs at least `least` (not 0).
    #[inline]
    pub(super) fn next(&self, from: usize, least: u16) -> Option<usize> {
        if from >= self.size {
            return None;
        }
        let mut n = self.size + from;
        while self.nodes[n] < least {
            // Up from right children, then on to the neighbour.
            while n % 2 == 1 {
                n /= 2;
            }
            if n == 0 {
                return None;
            }
            n += 1;
        }
        while n < self.size {
            n *= 2;
            if self.nodes[n] < least {
                n += 1;
            }
        }
        Some(n - self.size)
    }
}

/// Weights by place, and their sums: who is hit by a number below the total.
#[derive(Clone, Debug)]
pub(super) struct SumTree {
    /// Leaves, a power of two.
    size: usize,
    /// Node 1 is the root, the children of n are 2n and 2n + 1.
    nodes: Vec<u64>,
}

impl SumTree {
    /// Of the servers that may be used.
    pub(super) fn of(dests: &[Dest]) -> Self {
        let size = dests.len().next_power_of_two();
        let mut nodes = vec![0; 2 * size];
        for (leaf, dest) in nodes[size..].iter_mut().zip(dests) {
            *leaf = weight(dest).into();
        }
        for n in (1..size).rev() {
            nodes[n] = nodes[2 * n] + nodes[2 * n + 1];
        }
        Self { size, nodes }
    }

    pub(super) fn total(&self) -> u64 {
        self.nodes[1]
    }

    pub(super) fn set(&mut self, place: usize, weight: u16) {
        if place >= self.size {
            return;
        }
        let mut n = self.size + place;
        let (old, new) = (self.nodes[n], u64::from(weight));
        while n > 0 {
            self.nodes[n] = self.nodes[n] + new - old;
            n /= 2;
        }
    }

    /// Whose share of the total a number is in that is below it.
    pub(super) fn at(&self, mut number: u64) -> usize {
        let mut n = 1;
        while n < self.size {
            n *= 2;
            if number >= self.nodes[n] {
                number -= self.nodes[n];
                n += 1;
            }
        }
        n - self.size
    }
}
