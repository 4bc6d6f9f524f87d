//! 802.1Q tag: the four bytes between the source address and the type.

use crate::Error;
use crate::bytes::{get16, put16};
use crate::eth;

/// Length of a tag, in bytes.
pub const TAG_LEN: usize = 4;

/// View of a frame whose Ethernet type is a tag.
#[derive(Clone, Copy, Debug)]
pub struct Vlan<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Vlan<T> {
    /// Wraps a frame; fails if it carries no tag or is too short for one.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        let b = buf.as_ref();
        if b.len() < eth::HEADER_LEN + TAG_LEN {
            return Err(Error::Truncated);
        }
        match get16(b, 12) {
            eth::ETHERTYPE_VLAN | eth::ETHERTYPE_QINQ => Ok(Self { buf }),
            _ => Err(Error::Malformed),
        }
    }

    /// Priority, drop eligibility and id as on the wire.
    #[inline]
    #[must_use]
    pub fn tci(&self) -> u16 {
        get16(self.buf.as_ref(), 14)
    }

    /// VLAN id, 0..=4095 (0 = priority tag).
    #[inline]
    #[must_use]
    pub fn id(&self) -> u16 {
        self.tci() & 0x0fff
    }

    /// Type of what follows the tag.
    #[inline]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        get16(self.buf.as_ref(), 16)
    }
}

/// Makes an untagged frame of a tagged one, in place: moves the addresses up
/// against the type. The frame now starts [`TAG_LEN`] bytes later.
#[inline]
pub fn pop(frame: &mut [u8]) -> bool {
    if Vlan::new_checked(&*frame).is_err() {
        return false;
    }
    frame.copy_within(..12, TAG_LEN);
    true
}

/// Puts a tag into a frame that has been given [`TAG_LEN`] bytes of room at its
/// front.
#[inline]
pub fn push(frame: &mut [u8], tci: u16) -> bool {
    if frame.len() < eth::HEADER_LEN + TAG_LEN {
        return false;
    }
    frame.copy_within(TAG_LEN..TAG_LEN + 12, 0);
    put16(frame, 12, eth::ETHERTYPE_VLAN);
    put16(frame, 14, tci);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_then_pop() {
        let mut frame = [0u8; 24];
        for (i, b) in frame.iter_mut().enumerate().skip(4) {
            *b = i as u8;
        }
        let plain = frame;
        assert!(push(&mut frame, 0x6064));
        let tag = Vlan::new_checked(&frame).unwrap();
        assert_eq!(
            (tag.tci(), tag.id(), tag.ethertype()),
            (0x6064, 0x64, 0x1011)
        );
        assert!(pop(&mut frame));
        assert_eq!(frame[4..], plain[4..]);
    }

    #[test]
    fn no_tag() {
        assert!(matches!(
            Vlan::new_checked([0u8; 17]),
            Err(Error::Truncated)
        ));
        assert!(matches!(
            Vlan::new_checked([0u8; 18]),
            Err(Error::Malformed)
        ));
        assert!(!pop(&mut [0u8; 64]));
        assert!(!push(&mut [0u8; 17], 1));
    }
}
