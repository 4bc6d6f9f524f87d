//! ICMPv6 header (RFC 4443) and neighbour discovery options (RFC 4861).

use std::net::Ipv6Addr;

use crate::Error;
use crate::bytes::{array, get16, get32, put16, put32};
use crate::checksum;
use crate::eth::Mac;
use crate::proto;

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 8;
/// Length of a neighbour solicitation or advertisement without options.
pub const ND_LEN: usize = HEADER_LEN + 16;
/// Length of a link-layer address option for Ethernet.
pub const ND_OPT_LLADDR_LEN: usize = 8;

/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Type: packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Type: parameter problem.
pub const PARAM_PROBLEM: u8 = 4;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Type: router solicitation.
pub const ROUTER_SOLICIT: u8 = 133;
/// Type: router advertisement.
pub const ROUTER_ADVERT: u8 = 134;
/// Type: neighbour solicitation.
pub const NEIGH_SOLICIT: u8 = 135;
/// Type: neighbour advertisement.
pub const NEIGH_ADVERT: u8 = 136;
/// Type: redirect.
pub const REDIRECT: u8 = 137;

/// Code of [`UNREACHABLE`]: no route.
pub const NO_ROUTE: u8 = 0;
/// Code of [`UNREACHABLE`]: source address beyond its scope.
pub const BEYOND_SCOPE: u8 = 2;
/// Code of [`UNREACHABLE`]: address.
pub const ADDR_UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: port.
pub const PORT_UNREACHABLE: u8 = 4;

/// Neighbour discovery option: source link-layer address.
pub const ND_OPT_SOURCE: u8 = 1;
/// Neighbour discovery option: target link-layer address.
pub const ND_OPT_TARGET: u8 = 2;

/// Flag of an advertisement: the sender is a router.
pub const NA_ROUTER: u32 = 0x8000_0000;
/// Flag of an advertisement: answers a solicitation.
pub const NA_SOLICITED: u32 = 0x4000_0000;
/// Flag of an advertisement: replaces what is known.
pub const NA_OVERRIDE: u32 = 0x2000_0000;

/// True for the types that report an error about another packet.
#[inline]
#[must_use]
pub fn is_error(typ: u8) -> bool {
    typ < 128
}

/// View of an ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Icmpv6<T> {
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

    /// Second word: identifier and sequence number, MTU, or ND flags.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> u32 {
        get32(self.buf.as_ref(), 4)
    }

    /// Target of a solicitation or advertisement; `None` if it is not there.
    #[inline]
    #[must_use]
    pub fn nd_target(&self) -> Option<Ipv6Addr> {
        let b = self.buf.as_ref();
        (b.len() >= ND_LEN).then(|| array::<16>(b, HEADER_LEN).into())
    }

    /// Options of a solicitation or advertisement.
    #[inline]
    #[must_use]
    pub fn nd_options(&self) -> NdOptions<'_> {
        NdOptions {
            bytes: self.buf.as_ref().get(ND_LEN..).unwrap_or(&[]),
        }
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
    pub fn verify_checksum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        self.sum(src, dst) == 0xffff
    }

    #[inline]
    fn sum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> u16 {
        let b = self.buf.as_ref();
        let pseudo = checksum::pseudo_v6(src, dst, proto::ICMPV6, b.len() as u32);
        checksum::combine(pseudo, checksum::sum(b))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmpv6<T> {
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
    pub fn fill_checksum(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        self.set_checksum(0);
        let sum = self.sum(src, dst);
        self.set_checksum(!sum);
    }
}

/// A neighbour discovery option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdOption<'a> {
    /// Type.
    pub kind: u8,
    /// What follows type and length.
    pub data: &'a [u8],
}

impl NdOption<'_> {
    /// The address in a link-layer address option for Ethernet.
    #[inline]
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        self.data.try_into().ok()
    }
}

/// Neighbour discovery options in order. An option of length 0 or one that is
/// not all there gives an error and ends the iteration.
#[derive(Clone, Debug)]
pub struct NdOptions<'a> {
    bytes: &'a [u8],
}

impl<'a> NdOptions<'a> {
    /// The options in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

impl<'a> Iterator for NdOptions<'a> {
    type Item = Result<NdOption<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.bytes;
        self.bytes = &[];
        let kind = *bytes.first()?;
        let Some(units) = bytes.get(1) else {
            return Some(Err(Error::Truncated));
        };
        let len = usize::from(*units) * 8;
        if len == 0 {
            return Some(Err(Error::Malformed));
        }
        let Some((option, rest)) = bytes.split_at_checked(len) else {
            return Some(Err(Error::Truncated));
        };
        self.bytes = rest;
        Some(Ok(NdOption {
            kind,
            data: &option[2..],
        }))
    }
}
