//! Words as they lie in a packet, loaded and stored without turning bytes.
//!
//! Addresses and ports are compared and copied far more often than read as
//! numbers, and one's-complement sums do not mind the order (RFC 1071 2B), so the
//! packet path keeps them raw. Offsets have been checked by the parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpvs_wire::checksum::Delta;

use crate::conn::table::{Family, Tuple};
use crate::parse::Head;

#[inline(always)]
pub(crate) fn ld16(b: &[u8], off: usize) -> u16 {
    u16::from_ne_bytes([b[off], b[off + 1]])
}

/// As a number, for lengths.
#[inline(always)]
pub(crate) fn be16(b: &[u8], off: usize) -> u16 {
    u16::from_be(ld16(b, off))
}

#[inline(always)]
pub(crate) fn st16(b: &mut [u8], off: usize, v: u16) {
    b[off..off + 2].copy_from_slice(&v.to_ne_bytes());
}

#[inline(always)]
pub(crate) fn ld32(b: &[u8], off: usize) -> u32 {
    let mut a = [0; 4];
    a.copy_from_slice(&b[off..off + 4]);
    u32::from_ne_bytes(a)
}

#[inline(always)]
pub(crate) fn st32(b: &mut [u8], off: usize, v: u32) {
    b[off..off + 4].copy_from_slice(&v.to_ne_bytes());
}

#[inline(always)]
pub(crate) fn ld128(b: &[u8], off: usize) -> u128 {
    let mut a = [0; 16];
    a.copy_from_slice(&b[off..off + 16]);
    u128::from_ne_bytes(a)
}

#[inline(always)]
fn st128(b: &mut [u8], off: usize, v: u128) {
    b[off..off + 16].copy_from_slice(&v.to_ne_bytes());
}

/// Offset of the IP header: tags are stripped before the pipeline.
pub(crate) const L3: usize = 14;

/// An address family as the packet path needs it: where the addresses are.
pub(crate) trait Net: Family {
    /// Offset of the transport header behind an IP header without options.
    const L4: usize;
    /// The tuple of a packet that has been parsed.
    fn tuple(head: &Head, data: &[u8]) -> Tuple<Self>;
    /// The raw address in as many bits as the larger family's has.
    fn wide(self) -> u128;
    /// As a standard address.
    fn ip(self) -> IpAddr;
    /// From a standard address of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// How an address of the other family is kept in an entry of this one: mapped
    /// into IPv6; none in IPv4 (unspecified, and the address kept apart).
    fn mapped(ip: IpAddr) -> Option<Self>;
    /// Source and destination of a packet.
    fn addrs(data: &[u8]) -> (Self, Self);
    /// Sets both, and the header checksum where there is one.
    fn set_addrs(data: &mut [u8], src: Self, dst: Self, l3: Delta);
    /// The raw sum of the address's words.
    fn add_to(self, delta: Delta) -> Delta;
    /// The inverse of `add_to`.
    fn sub_from(self, delta: Delta) -> Delta;
    /// How much of the MSS the client-address option takes (DPVS facts §13).
    const TOA_LEN: u16;
}

/// An IPv4 address as IPv6 has it (RFC 4291 §2.5.5.2), as in the packet: how the
/// server's side of a NAT64 connection is kept.
pub(crate) fn map4(addr: u32) -> u128 {
    let mut b = [0; 16];
    b[10..12].fill(0xff);
    b[12..].copy_from_slice(&addr.to_ne_bytes());
    u128::from_ne_bytes(b)
}

/// The inverse of [`map4`]; `None` for any other address.
#[inline]
pub(crate) fn unmap4(addr: u128) -> Option<u32> {
    let b = addr.to_ne_bytes();
    let mut a = [0; 4];
    a.copy_from_slice(&b[12..]);
    let addr4 = u32::from_ne_bytes(a);
    (map4(addr4) == addr).then_some(addr4)
}

impl Net for u32 {
    const L4: usize = L3 + 20;

    #[inline(always)]
    fn tuple(head: &Head, _: &[u8]) -> Tuple<Self> {
        head.tuple4()
    }

    const TOA_LEN: u16 = 8;

    #[inline(always)]
    fn wide(self) -> u128 {
        u128::from(self)
    }

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.to_ne_bytes()))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(a) => Some(u32::from_ne_bytes(a.octets())),
            IpAddr::V6(_) => None,
        }
    }

    fn mapped(ip: IpAddr) -> Option<Self> {
        ip.is_ipv6().then_some(0)
    }

    #[inline(always)]
    fn addrs(data: &[u8]) -> (Self, Self) {
        (ld32(data, L3 + 12), ld32(data, L3 + 16))
    }

    #[inline(always)]
    fn set_addrs(data: &mut [u8], src: Self, dst: Self, l3: Delta) {
        let sum = l3.apply(ld16(data, L3 + 10));
        st16(data, L3 + 10, sum);
        st32(data, L3 + 12, src);
        st32(data, L3 + 16, dst);
    }

    #[inline(always)]
    fn add_to(self, delta: Delta) -> Delta {
        delta.add(self)
    }

    #[inline(always)]
    fn sub_from(self, delta: Delta) -> Delta {
        delta.sub(self)
    }
}

impl Net for u128 {
    const L4: usize = L3 + 40;

    #[inline(always)]
    fn tuple(head: &Head, data: &[u8]) -> Tuple<Self> {
        head.tuple6(data)
    }

    const TOA_LEN: u16 = 20;

    #[inline(always)]
    fn wide(self) -> u128 {
        self
    }

    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.to_ne_bytes()))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V6(a) => Some(u128::from_ne_bytes(a.octets())),
            IpAddr::V4(_) => None,
        }
    }

    fn mapped(ip: IpAddr) -> Option<Self> {
        u32::from_ip(ip).map(map4)
    }

    #[inline(always)]
    fn addrs(data: &[u8]) -> (Self, Self) {
        (ld128(data, L3 + 8), ld128(data, L3 + 24))
    }

    #[inline(always)]
    fn set_addrs(data: &mut [u8], src: Self, dst: Self, _l3: Delta) {
        st128(data, L3 + 8, src);
        st128(data, L3 + 24, dst);
    }

    #[inline(always)]
    fn add_to(self, delta: Delta) -> Delta {
        delta.add(self)
    }

    #[inline(always)]
    fn sub_from(self, delta: Delta) -> Delta {
        delta.sub(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_those_of_the_standard() {
        let v4 = Ipv4Addr::new(192, 0, 2, 33);
        let raw = u32::from_ne_bytes(v4.octets());
        assert_eq!(map4(raw).ip(), IpAddr::V6(v4.to_ipv6_mapped()));
        assert_eq!(unmap4(map4(raw)), Some(raw));
        let other = u128::from_ne_bytes("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(unmap4(other), None);
    }
}
