//! IPv6 header and the walk over its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use crate::Error;
use crate::bytes::{array, get16, get32, put16, put32};
use crate::proto;

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;
/// Extension headers looked at before a packet is taken for hostile.
pub const MAX_EXTENSIONS: usize = 8;

/// View of an IPv6 header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Ipv6<T> {
    /// Wraps a packet. Fails unless the version is 6 and the fixed header is
    /// there. The payload length may point behind the buffer.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        let b = buf.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if b[0] >> 4 != 6 {
            return Err(Error::Malformed);
        }
        Ok(Self { buf })
    }

    /// Traffic class.
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (get16(self.buf.as_ref(), 0) >> 4) as u8
    }

    /// Flow label, 20 bits.
    #[inline]
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        get32(self.buf.as_ref(), 0) & 0x000f_ffff
    }

    /// Length of all that follows the fixed header, as the header says.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        get16(self.buf.as_ref(), 4)
    }

    /// Fixed header and payload, as the header says.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        HEADER_LEN + usize::from(self.payload_len())
    }

    /// Protocol of the next header.
    #[inline]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.buf.as_ref()[6]
    }

    /// Hop limit.
    #[inline]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.buf.as_ref()[7]
    }

    /// Source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        array::<16>(self.buf.as_ref(), 8).into()
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        array::<16>(self.buf.as_ref(), 24).into()
    }

    /// Source as a number.
    #[inline]
    #[must_use]
    pub fn src_bits(&self) -> u128 {
        u128::from_be_bytes(array(self.buf.as_ref(), 8))
    }

    /// Destination as a number.
    #[inline]
    #[must_use]
    pub fn dst_bits(&self) -> u128 {
        u128::from_be_bytes(array(self.buf.as_ref(), 24))
    }

    /// What follows the fixed header, up to the payload length or the end of
    /// the buffer.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let b = self.buf.as_ref();
        &b[HEADER_LEN..self.total_len().min(b.len())]
    }

    /// Finds the upper-layer header behind the extension headers.
    #[inline]
    pub fn upper(&self) -> Result<Upper, Error> {
        let next = self.next_header();
        if matches!(next, proto::TCP | proto::UDP | proto::ICMPV6) {
            return Ok(Upper {
                protocol: next,
                offset: HEADER_LEN,
                fragment: None,
            });
        }
        walk(next, self.payload())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6<T> {
    /// Writes a header into a buffer that need not hold one: traffic class and
    /// flow label 0. Fails if the buffer is too short.
    pub fn init(
        mut buf: T,
        payload_len: u16,
        hop_limit: u8,
        next_header: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<Self, Error> {
        let b = buf.as_mut();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        put32(b, 0, 0x6000_0000);
        put16(b, 4, payload_len);
        b[6] = next_header;
        b[7] = hop_limit;
        b[8..24].copy_from_slice(&src.octets());
        b[24..40].copy_from_slice(&dst.octets());
        Ok(Self { buf })
    }

    /// Sets the traffic class.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        let b = self.buf.as_mut();
        let word = get16(b, 0) & 0xf00f | u16::from(class) << 4;
        put16(b, 0, word);
    }

    /// Sets the flow label; only its low 20 bits count.
    #[inline]
    pub fn set_flow_label(&mut self, label: u32) {
        let b = self.buf.as_mut();
        let word = get32(b, 0) & 0xfff0_0000 | label & 0x000f_ffff;
        put32(b, 0, word);
    }

    /// Sets the payload length.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        put16(self.buf.as_mut(), 4, len);
    }

    /// Sets the protocol of the next header.
    #[inline]
    pub fn set_next_header(&mut self, next: u8) {
        self.buf.as_mut()[6] = next;
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.buf.as_mut()[7] = hops;
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, addr: Ipv6Addr) {
        self.buf.as_mut()[8..24].copy_from_slice(&addr.octets());
    }

    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, addr: Ipv6Addr) {
        self.buf.as_mut()[24..40].copy_from_slice(&addr.octets());
    }

    /// What follows the fixed header, up to the payload length or the end of
    /// the buffer.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let to = self.total_len();
        let b = self.buf.as_mut();
        let to = to.min(b.len());
        &mut b[HEADER_LEN..to]
    }
}

/// Where the upper-layer header is, and what lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Protocol of the header at `offset`. In a fragment that is not the first
    /// one, what is there is not that header.
    pub protocol: u8,
    /// Distance from the start of the fixed header, in bytes.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Fragment>,
}

/// A fragment header's say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Position of this fragment, in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

impl Upper {
    /// True unless this is a fragment without the upper-layer header.
    #[inline]
    #[must_use]
    pub fn is_start(&self) -> bool {
        !matches!(self.fragment, Some(f) if f.offset != 0)
    }
}

/// Follows the chain of extension headers; `rest` starts behind the fixed
/// header. Stops at the first header that is not an extension, at ESP, or
/// behind the fragment header of a fragment that is not the first. Fails on a
/// header that is not all there, and on more than [`MAX_EXTENSIONS`].
pub fn walk(first: u8, rest: &[u8]) -> Result<Upper, Error> {
    let mut next = first;
    let mut at = 0;
    let mut fragment = None;
    for _ in 0..=MAX_EXTENSIONS {
        let len = match next {
            proto::HOPOPTS | proto::ROUTING | proto::DSTOPTS | proto::MOBILITY => {
                (usize::from(*rest.get(at + 1).ok_or(Error::Truncated)?) + 1) * 8
            }
            proto::AH => (usize::from(*rest.get(at + 1).ok_or(Error::Truncated)?) + 2) * 4,
            proto::FRAGMENT => 8,
            _ => {
                return Ok(Upper {
                    protocol: next,
                    offset: HEADER_LEN + at,
                    fragment,
                });
            }
        };
        let header = rest.get(at..at + len).ok_or(Error::Truncated)?;
        if next == proto::FRAGMENT {
            if fragment.is_some() {
                return Err(Error::Malformed);
            }
            let word = get16(header, 2);
            fragment = Some(Fragment {
                offset: word & 0xfff8,
                more: word & 1 != 0,
            });
        }
        next = header[0];
        at += len;
        if matches!(fragment, Some(f) if f.offset != 0) {
            return Ok(Upper {
                protocol: next,
                offset: HEADER_LEN + at,
                fragment,
            });
        }
    }
    Err(Error::Malformed)
}
