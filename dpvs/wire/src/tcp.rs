//! TCP header and options (RFC 9293).

use crate::Error;
use crate::bytes::{get16, get32, put16, put32};

/// Length of the header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Longest header, in bytes.
pub const MAX_HEADER_LEN: usize = 60;
/// Longest options, in bytes.
pub const MAX_OPTIONS_LEN: usize = MAX_HEADER_LEN - HEADER_LEN;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 16;

/// Flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Flag: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// Flag: reset the connection.
pub const RST: u8 = 0x04;
/// Flag: push.
pub const PSH: u8 = 0x08;
/// Flag: the acknowledgement number counts.
pub const ACK: u8 = 0x10;
/// Flag: the urgent pointer counts.
pub const URG: u8 = 0x20;
/// Flag: ECN echo.
pub const ECE: u8 = 0x40;
/// Flag: congestion window reduced.
pub const CWR: u8 = 0x80;

/// Option kind: end of options.
pub const OPT_EOL: u8 = 0;
/// Option kind: padding.
pub const OPT_NOP: u8 = 1;
/// Option kind: maximum segment size, length 4.
pub const OPT_MSS: u8 = 2;
/// Option kind: window scale, length 3.
pub const OPT_WSCALE: u8 = 3;
/// Option kind: SACK permitted, length 2.
pub const OPT_SACK_PERM: u8 = 4;
/// Option kind: SACK blocks, length 2 + 8n.
pub const OPT_SACK: u8 = 5;
/// Option kind: timestamps, length 10.
pub const OPT_TIMESTAMP: u8 = 8;
/// Option kind: multipath TCP.
pub const OPT_MPTCP: u8 = 30;
/// Option kind: fast open.
pub const OPT_FASTOPEN: u8 = 34;
/// Option kind: the client's address towards a server (TOA).
pub const OPT_TOA: u8 = 254;

/// View of a TCP header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Tcp<T> {
    /// Wraps a segment; fails unless the header with its options is there.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        let b = buf.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let header = usize::from(b[12] >> 4) * 4;
        if header < HEADER_LEN {
            return Err(Error::Malformed);
        }
        if b.len() < header {
            return Err(Error::Truncated);
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

    /// Sequence number.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> u32 {
        get32(self.buf.as_ref(), 4)
    }

    /// Acknowledgement number.
    #[inline]
    #[must_use]
    pub fn ack(&self) -> u32 {
        get32(self.buf.as_ref(), 8)
    }

    /// Length of the header with options, 20..=60.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.buf.as_ref()[12] >> 4) * 4
    }

    /// The eight flags, [`FIN`] to [`CWR`].
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.buf.as_ref()[13]
    }

    /// Window, unscaled.
    #[inline]
    #[must_use]
    pub fn window(&self) -> u16 {
        get16(self.buf.as_ref(), 14)
    }

    /// Checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        get16(self.buf.as_ref(), CHECKSUM_OFFSET)
    }

    /// The options, padding included.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &[u8] {
        &self.buf.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// What follows the header, to the end of the buffer.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buf.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Tcp<T> {
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

    /// Sets the sequence number.
    #[inline]
    pub fn set_seq(&mut self, seq: u32) {
        put32(self.buf.as_mut(), 4, seq);
    }

    /// Sets the acknowledgement number.
    #[inline]
    pub fn set_ack(&mut self, ack: u32) {
        put32(self.buf.as_mut(), 8, ack);
    }

    /// Sets the length of the header, a multiple of 4 in 20..=60 that the
    /// buffer holds; the low bits of the byte stay.
    #[inline]
    pub fn set_header_len(&mut self, len: usize) {
        let b = self.buf.as_mut();
        b[12] = b[12] & 0x0f | ((len / 4) as u8) << 4;
    }

    /// Sets the eight flags.
    #[inline]
    pub fn set_flags(&mut self, flags: u8) {
        self.buf.as_mut()[13] = flags;
    }

    /// Sets the window.
    #[inline]
    pub fn set_window(&mut self, window: u16) {
        put16(self.buf.as_mut(), 14, window);
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.buf.as_mut(), CHECKSUM_OFFSET, checksum);
    }

    /// The options, padding included.
    #[inline]
    pub fn options_mut(&mut self) -> &mut [u8] {
        let to = self.header_len();
        &mut self.buf.as_mut()[HEADER_LEN..to]
    }
}

/// One option, with its place among the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    /// Kind; [`OPT_NOP`] is given, [`OPT_EOL`] ends the iteration.
    pub kind: u8,
    /// Distance of the kind byte from the start of the options.
    pub offset: usize,
    /// What follows kind and length; empty for [`OPT_NOP`].
    pub data: &'a [u8],
}

impl Opt<'_> {
    /// Bytes the option takes: 1 for [`OPT_NOP`], otherwise 2 and its data.
    #[inline]
    #[must_use]
    pub fn wire_len(&self) -> usize {
        if self.kind == OPT_NOP {
            1
        } else {
            2 + self.data.len()
        }
    }
}

/// Options of a header in order. Ends at [`OPT_EOL`], at the end, or at the
/// first option whose length cannot be.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Options<'a> {
    /// The options in `bytes`, as given by [`Tcp::options`].
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Opt<'a>;

    #[inline]
    fn next(&mut self) -> Option<Opt<'a>> {
        let offset = self.at;
        let kind = *self.bytes.get(offset)?;
        match kind {
            OPT_EOL => {
                self.at = self.bytes.len();
                None
            }
            OPT_NOP => {
                self.at += 1;
                Some(Opt {
                    kind,
                    offset,
                    data: &[],
                })
            }
            _ => {
                let len = usize::from(*self.bytes.get(offset + 1)?);
                let Some(data) = self.bytes.get(offset + 2..offset + len) else {
                    self.at = self.bytes.len();
                    return None;
                };
                self.at += len;
                Some(Opt { kind, offset, data })
            }
        }
    }
}
