//! The Internet checksum: whole (RFC 1071), pseudo headers, and by changes
//! (RFC 1624).
//!
//! A "sum" here is the one's-complement sum of big-endian 16-bit words, folded
//! to 16 bits and not inverted; what goes on the wire is its complement. 0 and
//! 0xffff are both zero; a sum over anything that is not all zero is never 0.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One's-complement addition of two sums.
#[inline]
#[must_use]
pub const fn combine(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// Sum over bytes; an odd last byte counts as if a zero byte followed.
#[inline]
#[must_use]
pub fn sum(data: &[u8]) -> u16 {
    // Words are added as they lie in memory: one's-complement sums do not mind
    // the byte order as long as the result is turned at the end (RFC 1071 2B).
    // 32-bit words in a 64-bit sum: no carry is lost below 16 GiB.
    let (words, tail) = data.as_chunks::<4>();
    let mut acc: u64 = words
        .iter()
        .map(|w| u64::from(u32::from_ne_bytes(*w)))
        .sum();
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    acc += u64::from(u32::from_ne_bytes(last));
    u16::from_be_bytes(fold(acc).to_ne_bytes())
}

/// Checksum of bytes, as it goes into the field (which must be zero among them).
#[inline]
#[must_use]
pub fn checksum(data: &[u8]) -> u16 {
    !sum(data)
}

/// Sum of the IPv4 pseudo header (RFC 9293 3.1); `len` is that of the upper
/// layer's header and data.
#[inline]
#[must_use]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u16 {
    let acc =
        u64::from(src.to_bits()) + u64::from(dst.to_bits()) + u64::from(protocol) + u64::from(len);
    fold(acc)
}

/// Sum of the IPv6 pseudo header (RFC 8200 8.1); `len` is that of the upper
/// layer's header and data.
#[inline]
#[must_use]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> u16 {
    let acc = u64::from(src.words()) + u64::from(dst.words()) + u64::from(protocol);
    fold(acc + u64::from(len))
}

/// Checksum of an upper-layer header and its data with a pseudo header's sum;
/// the field itself must be zero. For UDP write 0xffff where this gives 0
/// ([`udp_field`]).
#[inline]
#[must_use]
pub fn transport(pseudo: u16, data: &[u8]) -> u16 {
    !combine(pseudo, sum(data))
}

/// True if the checksum within `data` is right, given the pseudo header's sum.
#[inline]
#[must_use]
pub fn verify(pseudo: u16, data: &[u8]) -> bool {
    combine(pseudo, sum(data)) == 0xffff
}

/// What UDP writes for a computed checksum: 0 means "none", so 0 becomes 0xffff
/// (RFC 768).
#[inline]
#[must_use]
pub const fn udp_field(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// New checksum field after a 16-bit word changed (RFC 1624, equation 3).
#[inline]
#[must_use]
pub fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    Delta::new().add(new).sub(old).apply(checksum)
}

/// New checksum field after a 32-bit word at an even offset changed.
#[inline]
#[must_use]
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    Delta::new().add(new).sub(old).apply(checksum)
}

/// A value in a packet as 16-bit words.
pub trait Words: Copy {
    /// Sum of the value's words.
    fn words(self) -> u16;
}

impl Words for u16 {
    #[inline]
    fn words(self) -> u16 {
        self
    }
}

impl Words for u32 {
    #[inline]
    fn words(self) -> u16 {
        combine((self >> 16) as u16, self as u16)
    }
}

impl Words for u64 {
    #[inline]
    fn words(self) -> u16 {
        fold(self)
    }
}

impl Words for u128 {
    #[inline]
    fn words(self) -> u16 {
        combine(fold((self >> 64) as u64), fold(self as u64))
    }
}

impl Words for Ipv4Addr {
    #[inline]
    fn words(self) -> u16 {
        self.to_bits().words()
    }
}

impl Words for Ipv6Addr {
    #[inline]
    fn words(self) -> u16 {
        self.to_bits().words()
    }
}

impl Words for IpAddr {
    #[inline]
    fn words(self) -> u16 {
        match self {
            Self::V4(a) => a.words(),
            Self::V6(a) => a.words(),
        }
    }
}

/// The sum of changes to a packet, computed once and applied to any number of
/// checksum fields. Changes must lie at even offsets ([`Self::swapped`] turns
/// those that do not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Delta(u16);

// `add` and `sub` take words of any width, which the operators' traits do not say.
#[allow(clippy::should_implement_trait)]
impl Delta {
    /// No change.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// `value` is in the packet now.
    #[inline]
    pub fn add(self, value: impl Words) -> Self {
        Self(combine(self.0, value.words()))
    }

    /// `value` was in the packet.
    #[inline]
    pub fn sub(self, value: impl Words) -> Self {
        Self(combine(self.0, !value.words()))
    }

    /// These bytes are in the packet now.
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        Self(combine(self.0, sum(bytes)))
    }

    /// These bytes were in the packet.
    #[inline]
    pub fn sub_bytes(self, bytes: &[u8]) -> Self {
        Self(combine(self.0, !sum(bytes)))
    }

    /// Both changes.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self(combine(self.0, other.0))
    }

    /// The opposite change.
    #[inline]
    pub fn inverse(self) -> Self {
        Self(!self.0)
    }

    /// The same changes, for bytes that lie one byte further or less far in.
    #[inline]
    pub fn swapped(self) -> Self {
        Self(self.0.swap_bytes())
    }

    /// The new checksum field.
    #[inline]
    #[must_use]
    pub fn apply(self, checksum: u16) -> u16 {
        !combine(!checksum, self.0)
    }

    /// The new checksum field of UDP: 0 (none) stays 0, and no other becomes 0.
    #[inline]
    #[must_use]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            0
        } else {
            udp_field(self.apply(checksum))
        }
    }

    /// For keeping it in a packed place.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// From [`Self::to_bits`].
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
#[path = "checksum_tests.rs"]
mod tests;
