//! CRC-32C (Castagnoli), the checksum of SCTP (RFC 9260 appendix A).
//!
//! Eight bytes a step by tables that are made at compile time. The value is what
//! stands in the SCTP header when written in little-endian order.

/// The polynomial, lowest power in the highest bit.
const POLY: u32 = 0x82f6_3b78;

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { POLY } else { 0 };
            bit += 1;
        }
        t[0][i] = crc;
        i += 1;
    }
    i = 0;
    while i < 256 {
        let mut n = 1;
        while n < 8 {
            let before = t[n - 1][i];
            t[n][i] = (before >> 8) ^ t[0][(before & 0xff) as usize];
            n += 1;
        }
        i += 1;
    }
    t
}

/// A checksum in the making.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc32c {
    /// Takes more bytes in.
    #[must_use]
    pub fn take(self, bytes: &[u8]) -> Self {
        let mut crc = self.0;
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let word = u64::from_le_bytes(*eight) ^ u64::from(crc);
            crc = 0;
            for (table, byte) in TABLES.iter().rev().zip(word.to_le_bytes()) {
                crc ^= table[usize::from(byte)];
            }
        }
        for byte in rest {
            crc = (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)];
        }
        Self(crc)
    }

    /// The checksum of all bytes taken in.
    #[must_use]
    pub fn finish(self) -> u32 {
        !self.0
    }
}

/// The checksum an SCTP packet should have; what stands in its field counts as 0.
/// `None` if it is shorter than its header.
#[must_use]
pub fn sctp(packet: &[u8]) -> Option<u32> {
    let (head, rest) = packet.split_first_chunk::<12>()?;
    let crc = Crc32c::default().take(&head[..8]).take(&[0; 4]);
    Some(crc.take(rest).finish())
}

/// What the checksum of a packet changes by (exclusive or) when four bytes of it do,
/// by `bytes`, with `behind` bytes behind them. The sum is linear, so nothing else of
/// the packet matters.
#[must_use]
pub fn difference(bytes: [u8; 4], behind: usize) -> u32 {
    let mut crc = Crc32c(0).take(&bytes).0;
    // Each zero byte multiplies by x^8: as many as n's bits say, squared as we go.
    let (mut power, mut n) = (1 << 23, behind);
    while n > 0 {
        if n & 1 != 0 {
            crc = multiply(crc, power);
        }
        power = multiply(power, power);
        n >>= 1;
    }
    crc
}

/// The product of two polynomials modulo ours.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for power in (0..32).rev() {
        if a >> power & 1 != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ if b & 1 != 0 { POLY } else { 0 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc(bytes: &[u8]) -> u32 {
        Crc32c::default().take(bytes).finish()
    }

    /// The vectors of RFC 3720 B.4 and the usual check string.
    #[test]
    fn vectors() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(crc(&up), 0x46dd_794e);
        assert_eq!(crc(b""), 0);
    }

    /// In pieces of any length as at once.
    #[test]
    fn pieces() {
        let bytes: Vec<u8> = (0..200u32).map(|i| ((i * 37) >> 2) as u8).collect();
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(Crc32c::default().take(a).take(b).finish(), crc(&bytes));
        }
    }

    /// Of a packet of any length, wherever the bytes are.
    #[test]
    fn differences() {
        for len in [12, 13, 100, 1500, 65535] {
            let old: Vec<u8> = (0..len as u32).map(|i| ((i * 73) >> 3) as u8).collect();
            for at in [0, 1, len / 2 - 4, len - 4] {
                let mut new = old.clone();
                for (byte, by) in new[at..].iter_mut().zip([0x12, 0xff, 0, 0x80]) {
                    *byte ^= by;
                }
                let by = difference([0x12, 0xff, 0, 0x80], len - at - 4);
                assert_eq!(crc(&old) ^ by, crc(&new), "{len} {at}");
            }
        }
        assert_eq!(difference([0; 4], 1000), 0);
    }

    #[test]
    fn the_field_itself_does_not_count() {
        let mut packet = vec![7; 40];
        let sum = sctp(&packet);
        packet[8..12].fill(0xa5);
        assert_eq!(sctp(&packet), sum);
        assert_ne!(sctp(&packet[..39]), sum);
        assert_eq!(sctp(&[0; 11]), None);
    }
}
