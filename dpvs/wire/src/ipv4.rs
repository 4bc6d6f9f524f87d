//! IPv4 header (RFC 791).

use std::net::Ipv4Addr;

use crate::Error;
use crate::bytes::{array, get16, get32, put16, put32};
use crate::checksum;

/// Length of the header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Longest header, in bytes.
pub const MAX_HEADER_LEN: usize = 60;

/// Flag bit of the fragment field: do not fragment.
pub const DF: u16 = 0x4000;
/// Flag bit of the fragment field: more fragments follow.
pub const MF: u16 = 0x2000;
/// Mask of the fragment field: offset in units of 8 bytes.
pub const OFFSET: u16 = 0x1fff;

/// View of an IPv4 header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Ipv4<T> {
    /// Wraps a packet. Fails unless the version is 4 and the whole header with
    /// its options is there. The total length may point behind the buffer (a
    /// frame in segments, a packet quoted in an ICMP error): see
    /// [`Self::total_len`].
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        let b = buf.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let header = usize::from(b[0] & 0x0f) * 4;
        if b[0] >> 4 != 4 || header < HEADER_LEN || usize::from(get16(b, 2)) < header {
            return Err(Error::Malformed);
        }
        if b.len() < header {
            return Err(Error::Truncated);
        }
        Ok(Self { buf })
    }

    /// Length of the header with options, 20..=60.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.buf.as_ref()[0] & 0x0f) * 4
    }

    /// Type of service / DSCP and ECN.
    #[inline]
    #[must_use]
    pub fn tos(&self) -> u8 {
        self.buf.as_ref()[1]
    }

    /// Length of header and payload as the header says, at least
    /// [`Self::header_len`]. May be more than the buffer holds.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> u16 {
        get16(self.buf.as_ref(), 2)
    }

    /// Identification.
    #[inline]
    #[must_use]
    pub fn ident(&self) -> u16 {
        get16(self.buf.as_ref(), 4)
    }

    /// Flags and fragment offset as on the wire.
    #[inline]
    #[must_use]
    pub fn frag(&self) -> u16 {
        get16(self.buf.as_ref(), 6)
    }

    /// True for any fragment, the first one too.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.frag() & (MF | OFFSET) != 0
    }

    /// True if the packet must not be fragmented.
    #[inline]
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.frag() & DF != 0
    }

    /// Time to live.
    #[inline]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.buf.as_ref()[8]
    }

    /// Protocol of the payload.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.buf.as_ref()[9]
    }

    /// Header checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        get16(self.buf.as_ref(), 10)
    }

    /// Source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        array::<4>(self.buf.as_ref(), 12).into()
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        array::<4>(self.buf.as_ref(), 16).into()
    }

    /// Source as a number.
    #[inline]
    #[must_use]
    pub fn src_bits(&self) -> u32 {
        get32(self.buf.as_ref(), 12)
    }

    /// Destination as a number.
    #[inline]
    #[must_use]
    pub fn dst_bits(&self) -> u32 {
        get32(self.buf.as_ref(), 16)
    }

    /// The options, padding included.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &[u8] {
        &self.buf.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// What follows the header, up to the total length or the end of the buffer.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let b = self.buf.as_ref();
        &b[self.header_len()..usize::from(self.total_len()).min(b.len())]
    }

    /// True if the header checksum is right.
    #[inline]
    #[must_use]
    pub fn verify_checksum(&self) -> bool {
        checksum::sum(&self.buf.as_ref()[..self.header_len()]) == 0xffff
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4<T> {
    /// Writes a header without options into a buffer that need not hold one:
    /// TOS 0, identification 0, DF, checksum right. Fails if the buffer is too
    /// short for the header or `total_len` does not cover it.
    pub fn init(
        mut buf: T,
        total_len: u16,
        ttl: u8,
        protocol: u8,
        src: Ipv4Addr,
        dst: Ipv4Addr,
    ) -> Result<Self, Error> {
        let b = buf.as_mut();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if usize::from(total_len) < HEADER_LEN {
            return Err(Error::Malformed);
        }
        b[0] = 0x45;
        b[1] = 0;
        put16(b, 2, total_len);
        put16(b, 4, 0);
        put16(b, 6, DF);
        b[8] = ttl;
        b[9] = protocol;
        b[12..16].copy_from_slice(&src.octets());
        b[16..20].copy_from_slice(&dst.octets());
        let mut ip = Self { buf };
        ip.fill_checksum();
        Ok(ip)
    }

    /// Sets the type of service.
    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        self.buf.as_mut()[1] = tos;
    }

    /// Sets the total length. The caller keeps it at least
    /// [`Self::header_len`].
    #[inline]
    pub fn set_total_len(&mut self, len: u16) {
        put16(self.buf.as_mut(), 2, len);
    }

    /// Sets the identification.
    #[inline]
    pub fn set_ident(&mut self, ident: u16) {
        put16(self.buf.as_mut(), 4, ident);
    }

    /// Sets flags and fragment offset.
    #[inline]
    pub fn set_frag(&mut self, frag: u16) {
        put16(self.buf.as_mut(), 6, frag);
    }

    /// Sets the time to live.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.buf.as_mut()[8] = ttl;
    }

    /// Sets the protocol of the payload.
    #[inline]
    pub fn set_protocol(&mut self, protocol: u8) {
        self.buf.as_mut()[9] = protocol;
    }

    /// Sets the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.buf.as_mut(), 10, checksum);
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, addr: Ipv4Addr) {
        self.set_src_bits(addr.to_bits());
    }

    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, addr: Ipv4Addr) {
        self.set_dst_bits(addr.to_bits());
    }

    /// Sets the source as a number.
    #[inline]
    pub fn set_src_bits(&mut self, addr: u32) {
        put32(self.buf.as_mut(), 12, addr);
    }

    /// Sets the destination as a number.
    #[inline]
    pub fn set_dst_bits(&mut self, addr: u32) {
        put32(self.buf.as_mut(), 16, addr);
    }

    /// Takes one from the TTL and corrects the checksum (RFC 1141). At 0 it
    /// stays 0.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        let ttl = self.ttl();
        if ttl == 0 {
            return;
        }
        let rest = u16::from(self.protocol());
        let (old, new) = (u16::from(ttl) << 8 | rest, u16::from(ttl - 1) << 8 | rest);
        self.set_ttl(ttl - 1);
        self.set_checksum(checksum::update16(self.checksum(), old, new));
    }

    /// Computes the header checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let len = self.header_len();
        let sum = checksum::sum(&self.buf.as_ref()[..len]);
        self.set_checksum(!sum);
    }

    /// What follows the header, up to the total length or the end of the buffer.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let (from, to) = (self.header_len(), usize::from(self.total_len()));
        let b = self.buf.as_mut();
        let to = to.min(b.len());
        &mut b[from..to]
    }
}
