//! SipHash-1-3 of whole words, for what is hashed for each packet.
//!
//! The same function as that of the `siphasher` crate over the words' bytes (a test
//! compares them), without its buffer: words come whole, and what several hashes
//! begin with is hashed once. Knows nothing of what is hashed.

/// The state after some words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sip {
    v: [u64; 4],
    words: u64,
}

impl Sip {
    /// Nothing hashed yet (the constants are those of SipHash).
    #[inline(always)]
    pub(crate) fn new((k0, k1): (u64, u64)) -> Self {
        let v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        Self { v, words: 0 }
    }

    /// One word more.
    #[inline(always)]
    pub(crate) fn word(self, word: u64) -> Self {
        let mut v = self.v;
        v[3] ^= word;
        v = round(v);
        v[0] ^= word;
        let words = self.words + 1;
        Self { v, words }
    }

    /// The hash of all words.
    #[inline(always)]
    pub(crate) fn finish(self) -> u64 {
        // The last block holds the number of bytes, modulo 256.
        let mut v = self.word(self.words << 59).v;
        v[2] ^= 0xff;
        for _ in 0..3 {
            v = round(v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline(always)]
fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    d = d.rotate_left(21) ^ a;
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn is_siphash(key in any::<(u64, u64)>(), words in prop::collection::vec(any::<u64>(), 0..40)) {
            let mut other = SipHasher13::new_with_keys(key.0, key.1);
            for word in &words {
                other.write(&word.to_le_bytes());
            }
            let ours = words.iter().fold(Sip::new(key), |sip, word| sip.word(*word));
            prop_assert_eq!(ours.finish(), other.finish());
        }
    }
}
