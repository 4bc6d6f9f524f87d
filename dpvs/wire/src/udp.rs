//! UDP header (RFC 768).

use crate::Error;
use crate::bytes::{get16, put16};

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 6;

/// View of a UDP header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Udp<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Udp<T> {
    /// Wraps a datagram; fails unless the header is there. The length field may
    /// point behind the buffer, and 0 stands for a jumbogram.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        let b = buf.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if matches!(get16(b, 4), 1..8) {
            return Err(Error::Malformed);
        }
        Ok(Self { buf })
    }

    /// Source port.
    #[inline]
    #[must_use]
    pub fn src_port(&self) -> u16 {
        get16(self.buf.as_ref(), 0)
    }

    /// Destination port.
    #[inline]
    #[must_use]
    pub fn dst_port(&self) -> u16 {
        get16(self.buf.as_ref(), 2)
    }

    /// Length of header and data as the header says; may be more than the
    /// buffer holds.
    #[inline]
    #[must_use]
    pub fn length(&self) -> u16 {
        get16(self.buf.as_ref(), 4)
    }

    /// Checksum; 0 over IPv4 means none.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        get16(self.buf.as_ref(), CHECKSUM_OFFSET)
    }

    /// What follows the header, up to the length or the end of the buffer.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let b = self.buf.as_ref();
        let len = usize::from(self.length());
        let to = if len == 0 { b.len() } else { len.min(b.len()) };
        &b[HEADER_LEN..to]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Udp<T> {
    /// Sets the source port.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) {
        put16(self.buf.as_mut(), 0, port);
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) {
        put16(self.buf.as_mut(), 2, port);
    }

    /// Sets the length of header and data.
    #[inline]
    pub fn set_length(&mut self, len: u16) {
        put16(self.buf.as_mut(), 4, len);
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.buf.as_mut(), CHECKSUM_OFFSET, checksum);
    }
}
