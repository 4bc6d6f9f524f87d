//! ICMP header (RFC 792).

use crate::Error;
use crate::bytes::{get16, get32, put16, put32};
use crate::checksum;

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 8;

/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Type: source quench.
pub const SOURCE_QUENCH: u8 = 4;
/// Type: redirect.
pub const REDIRECT: u8 = 5;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAM_PROBLEM: u8 = 12;

/// Code of [`UNREACHABLE`]: network.
pub const NET_UNREACHABLE: u8 = 0;
/// Code of [`UNREACHABLE`]: host.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`UNREACHABLE`]: protocol.
pub const PROTO_UNREACHABLE: u8 = 2;
/// Code of [`UNREACHABLE`]: port.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: would have to be fragmented (RFC 1191).
pub const FRAG_NEEDED: u8 = 4;

/// True for the types that report an error about another packet.
#[inline]
#[must_use]
pub fn is_error(typ: u8) -> bool {
    matches!(
        typ,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAM_PROBLEM
    )
}

/// View of an ICMP message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Icmp<T> {
    /// Wraps a message; fails unless the header is there.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        if buf.as_ref().len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        Ok(Self { buf })
    }

    /// Type.
    #[inline]
    #[must_use]
    pub fn typ(&self) -> u8 {
        self.buf.as_ref()[0]
    }

    /// Code.
    #[inline]
    #[must_use]
    pub fn code(&self) -> u8 {
        self.buf.as_ref()[1]
    }

    /// Checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        get16(self.buf.as_ref(), 2)
    }

    /// Second word: identifier and sequence number, or the next-hop MTU.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> u32 {
        get32(self.buf.as_ref(), 4)
    }

    /// What follows the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buf.as_ref()[HEADER_LEN..]
    }

    /// True if the checksum over the whole buffer is right.
    #[inline]
    #[must_use]
    pub fn verify_checksum(&self) -> bool {
        checksum::sum(self.buf.as_ref()) == 0xffff
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmp<T> {
    /// Sets the type.
    #[inline]
    pub fn set_typ(&mut self, typ: u8) {
        self.buf.as_mut()[0] = typ;
    }

    /// Sets the code.
    #[inline]
    pub fn set_code(&mut self, code: u8) {
        self.buf.as_mut()[1] = code;
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.buf.as_mut(), 2, checksum);
    }

    /// Sets the second word.
    #[inline]
    pub fn set_rest(&mut self, rest: u32) {
        put32(self.buf.as_mut(), 4, rest);
    }

    /// Computes the checksum over the whole buffer anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::sum(self.buf.as_ref());
        self.set_checksum(!sum);
    }
}
