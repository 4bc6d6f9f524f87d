//! GRE: RFC 2784, with the key and sequence number of RFC 2890.
//!
//! Version 0 without routing. The checksum goes over the header and all that
//! follows, so whoever has the whole packet fills it in or looks at it.

use crate::Error;
use crate::bytes::{get16, get32, put16, put32};

/// Longest header: all options.
pub const MAX_LEN: usize = 16;

const CSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQ: u16 = 0x1000;
/// Routing, strict source route, recursion and version: not this protocol.
const OTHER: u16 = 0x4fff;

/// A GRE header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gre {
    /// Has a checksum.
    pub csum: bool,
    /// Key.
    pub key: Option<u32>,
    /// Sequence number.
    pub seq: Option<u32>,
    /// What is inside, as an Ethernet type.
    pub ethertype: u16,
}

impl Gre {
    /// Reads the header at the front of `data`.
    ///
    /// # Errors
    /// Shorter than it says, or a kind of GRE that is not this one.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        if data.len() < 4 {
            return Err(Error::Truncated);
        }
        let flags = get16(data, 0);
        if flags & OTHER != 0 {
            return Err(Error::Malformed);
        }
        let mut gre = Self {
            csum: flags & CSUM != 0,
            key: (flags & KEY != 0).then_some(0),
            seq: (flags & SEQ != 0).then_some(0),
            ethertype: get16(data, 2),
        };
        if data.len() < gre.len() {
            return Err(Error::Truncated);
        }
        let mut at = if gre.csum { 8 } else { 4 };
        for field in [&mut gre.key, &mut gre.seq].into_iter().flatten() {
            *field = get32(data, at);
            at += 4;
        }
        Ok(gre)
    }

    /// Bytes of the header: 4 to 16.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        4 + 4
            * (usize::from(self.csum)
                + usize::from(self.key.is_some())
                + usize::from(self.seq.is_some()))
    }

    /// Writes the header at the front of `data`, its checksum zero; false if it is
    /// too short. The checksum is the 16 bits at offset 4.
    pub fn write(&self, data: &mut [u8]) -> bool {
        if data.len() < self.len() {
            return false;
        }
        let bit = |on, bit| if on { bit } else { 0 };
        put16(
            data,
            0,
            bit(self.csum, CSUM) | bit(self.key.is_some(), KEY) | bit(self.seq.is_some(), SEQ),
        );
        put16(data, 2, self.ethertype);
        let mut at = 4;
        if self.csum {
            put32(data, at, 0);
            at += 4;
        }
        for field in [self.key, self.seq].into_iter().flatten() {
            put32(data, at, field);
            at += 4;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_options() {
        for n in 0..8u32 {
            let gre = Gre {
                csum: n & 1 != 0,
                key: (n & 2 != 0).then_some(0x0102_0304),
                seq: (n & 4 != 0).then_some(77),
                ethertype: 0x0800,
            };
            let mut data = [0xff; MAX_LEN];
            assert!(gre.write(&mut data));
            assert_eq!(Gre::parse(&data), Ok(gre));
            assert_eq!(gre.len(), 4 + 4 * n.count_ones() as usize);
            assert_eq!(Gre::parse(&data[..gre.len() - 1]), Err(Error::Truncated));
            assert!(!gre.write(&mut data[..gre.len() - 1]));
        }
        // As RFC 2890 draws it: C, reserved, K, S.
        let mut data = [0; 8];
        assert!(
            Gre {
                key: Some(5),
                ethertype: 0x86dd,
                ..Gre::default()
            }
            .write(&mut data)
        );
        assert_eq!(data, [0x20, 0, 0x86, 0xdd, 0, 0, 0, 5]);
    }

    #[test]
    fn other_kinds() {
        // Routing (RFC 1701) and version 1 (PPTP).
        for flags in [0x40u8, 0x08] {
            assert_eq!(
                Gre::parse(&[flags, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                Err(Error::Malformed)
            );
        }
        assert_eq!(Gre::parse(&[0, 1, 8, 0]), Err(Error::Malformed));
    }
}
