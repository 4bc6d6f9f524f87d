//! Local ports in lanes: all ports of a lane reach the same worker.
//!
//! A NIC sends a reply to the entry of its redirection table that the low bits
//! of a hash name, and that hash is the exclusive or of a share of the local
//! port and a share of all the rest. So the 65536 ports fall into as many
//! *lanes* as the table has entries: a port's lane is its share, and with the
//! rest's share `h`, lane `c` reaches entry `c ^ h`. [`Layout`] numbers the
//! ports so that a lane is one run of numbers; [`Picker`] finds a lane with a
//! free port that leads to the own worker, without trying one after another.
//! With slices there is one lane, of the ports whose low bits name the worker.

/// Lanes at most: 64 ports in each are left, one word of a bitmap.
const MAX_BITS: u32 = 10;
/// Lanes at most.
pub(crate) const MAX_LANES: usize = 1 << MAX_BITS;

/// Numbers the 65536 ports lane by lane, both ways. Linear over GF(2), so two
/// tables of a byte each do.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    bits: u32,
    place: [[u16; 256]; 2],
    port: [[u16; 256]; 2],
}

impl Layout {
    /// `2^bits` lanes, by the low bits of `share`, which has to be linear (the
    /// share of `a ^ b` is the exclusive or of theirs). `None` if the port does
    /// not decide all of those bits.
    pub(crate) fn hashed(bits: u32, share: impl Fn(u16) -> u32) -> Option<Self> {
        if bits > MAX_BITS {
            return None;
        }
        let mask = (1u32 << bits) - 1;
        // A basis of the shares; the port bits in it say the lane, the others
        // the place within it.
        let mut basis: Vec<u32> = Vec::new();
        let mut columns = [0u16; 16];
        let mut inner = 0;
        for (bit, column) in columns.iter_mut().enumerate() {
            let lane = share(1 << bit) & mask;
            *column = ((u32::from(lane as u16)) << (16 - bits)) as u16;
            let left = basis.iter().fold(lane, |x, b| x.min(x ^ b));
            if left != 0 && (basis.len() as u32) < bits {
                basis.push(left);
                basis.sort_unstable_by(|a, b| b.cmp(a));
            } else {
                *column |= 1 << inner;
                inner += 1;
            }
            if inner > 16 - bits {
                return None;
            }
        }
        let place = tables(&columns);
        let mut back = [0u16; 16];
        for port in 0..=u16::MAX {
            let at = look(&place, port);
            if at.is_power_of_two() {
                back[at.trailing_zeros() as usize] = port;
            }
        }
        Some(Self {
            bits,
            place,
            port: tables(&back),
        })
    }

    /// `2^bits` lanes, by the low bits of the port itself.
    pub(crate) fn slices(bits: u32) -> Self {
        // The bits of a port, turned: slice first.
        let columns = std::array::from_fn(|bit| 1u16.rotate_left(bit as u32).rotate_right(bits));
        let back = std::array::from_fn(|bit| 1u16.rotate_left(bit as u32 + bits));
        Self {
            bits,
            place: tables(&columns),
            port: tables(&back),
        }
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> u32 {
        1 << self.bits
    }

    /// How many ports a lane has.
    pub(crate) fn ports_per_lane(&self) -> u32 {
        65536 >> self.bits
    }

    /// How many words of a bitmap a lane has.
    #[inline]
    pub(crate) fn words(&self) -> usize {
        1024 >> self.bits
    }

    /// The first word of a lane.
    #[inline]
    pub(crate) fn first_word(&self, lane: usize) -> usize {
        lane << (10 - self.bits)
    }

    /// The lane a number is in.
    #[inline]
    pub(crate) fn lane(&self, place: usize) -> usize {
        place >> (16 - self.bits)
    }

    /// Number of a port: its lane times [`Self::ports_per_lane`], plus its place
    /// in the lane.
    #[inline]
    pub(crate) fn place(&self, port: u16) -> u16 {
        look(&self.place, port)
    }

    /// The port of a number.
    #[inline]
    pub(crate) fn port(&self, place: u16) -> u16 {
        look(&self.port, place)
    }
}

/// For a linear map given by its columns: the images of both bytes.
fn tables(columns: &[u16; 16]) -> [[u16; 256]; 2] {
    std::array::from_fn(|byte| {
        std::array::from_fn(|value| {
            (0..8)
                .filter(|bit| value >> bit & 1 != 0)
                .fold(0, |x, bit| x ^ columns[byte * 8 + bit])
        })
    })
}

#[inline]
fn look(tables: &[[u16; 256]; 2], x: u16) -> u16 {
    tables[0][usize::from(x & 255)] ^ tables[1][usize::from(x >> 8)]
}

/// A bit for each lane that has a free port.
pub(crate) type Open = [u64; MAX_LANES / 64];

/// Finds a lane for a connection.
#[derive(Clone, Debug)]
pub(crate) struct Picker {
    /// A bit for each entry of the table that leads to the own worker.
    mine: Box<[u64]>,
    lanes: u32,
    /// The one entry, where it is one: slices, and as many entries as workers.
    only: Option<u32>,
}

impl Picker {
    /// For the entries whose bits are set, of as many as there are lanes.
    pub(crate) fn new(mine: Box<[u64]>, lanes: u32) -> Self {
        let entries = || (0..lanes).filter(|e| mine[*e as usize / 64] >> (e % 64) & 1 != 0);
        let only = entries().next().filter(|_| entries().count() == 1);
        Self { mine, lanes, only }
    }

    /// How many entries lead to the own worker, and how many there are.
    pub(crate) fn entries(&self) -> (u32, u32) {
        (self.mine.iter().map(|w| w.count_ones()).sum(), self.lanes)
    }

    /// A lane with its bit in `open` set that leads to an own entry when the
    /// rest's share is `rest`; the first whose entry is at or after `from`,
    /// wrapping (any number). Gives the lane and its entry.
    #[inline]
    pub(crate) fn pick(&self, rest: u32, open: &Open, from: u32) -> Option<(u32, u32)> {
        let rest = rest & (self.lanes - 1);
        match self.only {
            Some(entry) => {
                let lane = entry ^ rest;
                (open[lane as usize / 64] >> (lane % 64) & 1 != 0).then_some((lane, entry))
            }
            None => self.search(rest, open, from),
        }
    }

    #[inline(never)]
    fn search(&self, rest: u32, open: &Open, from: u32) -> Option<(u32, u32)> {
        let words = self.mine.len();
        let from = if from < self.lanes { from } else { 0 };
        let (far, near) = ((rest / 64) as usize, rest % 64);
        let first = (from / 64) as usize;
        // The first word twice: from `from` on, and at the end up to it.
        for step in 0..=words {
            let w = (first + step) % words;
            let mut here = self.mine[w];
            if step == 0 {
                here &= !0 << (from % 64);
            }
            if here == 0 {
                continue;
            }
            here &= reorder(open[w ^ far], near);
            if here != 0 {
                let entry = w as u32 * 64 + here.trailing_zeros();
                return Some((entry ^ rest, entry));
            }
        }
        None
    }
}

/// Bit `i` of the result is bit `i ^ by` of `word`; `by` < 64.
#[inline]
fn reorder(mut word: u64, by: u32) -> u64 {
    const LOW: [u64; 6] = [
        0x5555_5555_5555_5555,
        0x3333_3333_3333_3333,
        0x0f0f_0f0f_0f0f_0f0f,
        0x00ff_00ff_00ff_00ff,
        0x0000_ffff_0000_ffff,
        0x0000_0000_ffff_ffff,
    ];
    for (bit, low) in LOW.iter().enumerate() {
        let n = 1 << bit;
        let swapped = (word & low) << n | word >> n & low;
        // A select, not a branch: `by` is as random as a hash.
        let choose = u64::from(by >> bit & 1).wrapping_neg();
        word = swapped & choose | word & !choose;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn reorder_is_an_exclusive_or_of_the_index() {
        let mut x = 0x1234_5678_9abc_def1u64;
        for by in 0..64 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17);
            let y = reorder(x, by);
            for i in 0..64 {
                assert_eq!(y >> i & 1, x >> (i ^ by) & 1);
            }
        }
    }

    #[test]
    fn a_layout_numbers_every_port_once_and_keeps_lanes_together() {
        // A linear share that spreads: a carry-less product.
        let share = |port: u16| {
            (0..16).fold(0u32, |x, b| {
                x ^ (u32::from(port >> b & 1) * (0x9d5 << b >> 2))
            })
        };
        for bits in 0..=MAX_BITS {
            let layout = Layout::hashed(bits, share).unwrap();
            assert_eq!(layout.lanes() * layout.ports_per_lane(), 65536);
            for port in 0..=u16::MAX {
                let place = layout.place(port);
                assert_eq!(layout.port(place), port);
                let lane = share(port) & (layout.lanes() - 1);
                assert_eq!(u32::from(place) / layout.ports_per_lane(), lane);
            }
        }
        for bits in 0..=8 {
            let (layout, same) = (Layout::slices(bits), Layout::hashed(bits, u32::from));
            let same = same.unwrap();
            for port in 0..=u16::MAX {
                assert_eq!(layout.place(port), same.place(port));
                assert_eq!(layout.port(layout.place(port)), port);
            }
        }
        // Ports that decide too little.
        assert!(Layout::hashed(3, |port| u32::from(port & 3)).is_none());
        assert!(Layout::hashed(12, share).is_none());
    }

    #[test]
    fn picks_are_open_mine_and_go_round() {
        for (lanes, seed) in [(1u32, 1u64), (2, 2), (8, 3), (64, 4), (128, 5), (1024, 6)] {
            let words = lanes.div_ceil(64) as usize;
            let mut rng = Rng(seed);
            let mut random = || rng.next();
            let cut = if lanes < 64 { (1 << lanes) - 1 } else { !0 };
            for _ in 0..200 {
                let mine: Box<[u64]> = (0..words).map(|_| random() & cut).collect();
                let mut open = [0; MAX_LANES / 64];
                open[..words].fill_with(|| random() & random() & cut);
                let (rest, from) = (random() as u32, random() as u32 % (lanes + 1));
                let has = |bits: &[u64], i: u32| bits[i as usize / 64] >> (i % 64) & 1 != 0;
                let want = (0..lanes)
                    .map(|i| (from + i) % lanes)
                    .map(|e| (e ^ rest & (lanes - 1), e))
                    .find(|&(lane, e)| has(&mine, e) && has(&open, lane));
                assert_eq!(Picker::new(mine, lanes).pick(rest, &open, from), want);
            }
        }
    }
}
