//! Changes an input at random: what libFuzzer's mutators do, without its
//! feedback. Enough to find what lies near the surface.

/// A small generator (xorshift64*); the same seed gives the same inputs.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// Longest input made.
const LONGEST: usize = 16 << 10;

/// One change of `data`.
pub(crate) fn mutate(r: &mut Random, data: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = r.below(data.len() + 1);
    let end = at + r.below((data.len() - at).min(64) + 1);
    match r.below(11) {
        0 => flip(r, data),
        1 => {
            if let Some(b) = data.get_mut(at) {
                *b = r.next() as u8;
            }
        }
        2 => {
            if let Some(b) = data.get_mut(at) {
                let edges = [0, 1, 0x7f, 0x80, 0xff, b' ', b'\n', b'{', b'}', b'0'];
                *b = edges[r.below(edges.len())];
            }
        }
        3 => {
            data.drain(at..end);
        }
        4 => {
            let copy = data[at..end].to_vec();
            let to = r.below(data.len() + 1);
            data.splice(to..to, copy);
        }
        5 => {
            let n = r.below(16) + 1;
            let new: Vec<u8> = (0..n).map(|_| r.next() as u8).collect();
            data.splice(at..at, new);
        }
        6 | 7 if !words.is_empty() => {
            let word = words[r.below(words.len())].bytes();
            let cut = if r.below(2) == 0 { at } else { end };
            data.splice(at..cut, word);
        }
        8 => {
            // A piece of another input.
            let other = &corpus[r.below(corpus.len())];
            let from = r.below(other.len() + 1);
            let n = r.below((other.len() - from).min(256) + 1);
            data.splice(at..end, other[from..from + n].iter().copied());
        }
        9 => {
            // A number a little larger or smaller.
            if let Some(b) = data.get_mut(at) {
                *b = b.wrapping_add((r.below(9) as u8).wrapping_sub(4));
            }
        }
        _ => flip(r, data),
    }
    data.truncate(LONGEST);
}

fn flip(r: &mut Random, data: &mut [u8]) {
    let at = r.below(data.len());
    if let Some(b) = data.get_mut(at) {
        *b ^= 1 << r.below(8);
    }
}
