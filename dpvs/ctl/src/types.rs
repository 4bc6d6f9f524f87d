//! Values whose byte order or form must not be mixed up with plain integers:
//! ports, families, 16-byte address slots, NUL-padded names, MAC addresses.
//!
//! This file knows no message.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{Wire, put_bytes, take_bytes};

/// An address family: 0 unspecified, 2 IPv4, 10 IPv6 (Linux numbers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Af(pub i32);

impl Af {
    /// No family.
    pub const UNSPEC: Self = Self(0);
    /// IPv4.
    pub const INET: Self = Self(2);
    /// IPv6.
    pub const INET6: Self = Self(10);

    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() {
            Self::INET
        } else {
            Self::INET6
        }
    }

    /// The longest prefix of the family (32 or 128); 0 for other families.
    #[must_use]
    pub fn max_plen(self) -> u8 {
        match self {
            Self::INET => 32,
            Self::INET6 => 128,
            _ => 0,
        }
    }

    /// As the 2-byte form some messages use.
    #[must_use]
    pub fn as_u16(self) -> u16 {
        u16::try_from(self.0).unwrap_or(0)
    }

    /// As the 1-byte form some messages use.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        u8::try_from(self.0).unwrap_or(0)
    }
}

impl From<i32> for Af {
    fn from(v: i32) -> Self {
        Self(v)
    }
}
impl From<u16> for Af {
    fn from(v: u16) -> Self {
        Self(v.into())
    }
}
impl From<u8> for Af {
    fn from(v: u8) -> Self {
        Self(v.into())
    }
}

impl Wire for Af {
    const NAME: &'static str = "af";
    const SIZE: usize = 4;
    fn put(&self, out: &mut [u8]) {
        self.0.put(out);
    }
    fn take(bytes: &[u8]) -> Self {
        Self(i32::take(bytes))
    }
}

/// A 16-bit value in network order on the wire, kept in host order here.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be16(u16);

impl Be16 {
    /// From a number as people write it.
    #[must_use]
    pub const fn new(host: u16) -> Self {
        Self(host)
    }
    /// The number as people write it.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl From<u16> for Be16 {
    fn from(v: u16) -> Self {
        Self(v)
    }
}

impl fmt::Display for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Wire for Be16 {
    const NAME: &'static str = "be16";
    const SIZE: usize = 2;
    fn put(&self, out: &mut [u8]) {
        put_bytes(out, &self.0.to_be_bytes());
    }
    fn take(bytes: &[u8]) -> Self {
        Self(u16::from_be_bytes(take_bytes(bytes)))
    }
}

/// A 32-bit value in network order on the wire, kept in host order here.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be32(u32);

impl Be32 {
    /// From a number as people write it.
    #[must_use]
    pub const fn new(host: u32) -> Self {
        Self(host)
    }
    /// The number as people write it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Be32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Wire for Be32 {
    const NAME: &'static str = "be32";
    const SIZE: usize = 4;
    fn put(&self, out: &mut [u8]) {
        put_bytes(out, &self.0.to_be_bytes());
    }
    fn take(bytes: &[u8]) -> Self {
        Self(u32::from_be_bytes(take_bytes(bytes)))
    }
}

/// A 16-byte address slot. IPv4 uses the first four bytes, in network order;
/// C clients leave garbage in the other twelve, so two slots can only be
/// compared under a family: [`Ip16::same`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ip16(pub [u8; 16]);

impl Ip16 {
    /// The slot of no address.
    pub const ANY: Self = Self([0; 16]);

    /// A slot that holds `ip`, unused bytes zeroed.
    #[must_use]
    pub fn from_ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => {
                let mut slot = [0; 16];
                put_bytes(&mut slot, &v4.octets());
                Self(slot)
            }
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }

    /// The address under a family; none for a family that is neither IPv4 nor IPv6.
    #[must_use]
    pub fn to_ip(self, af: impl Into<Af>) -> Option<IpAddr> {
        match af.into() {
            Af::INET => Some(IpAddr::V4(self.v4())),
            Af::INET6 => Some(IpAddr::V6(self.v6())),
            _ => None,
        }
    }

    /// The first four bytes as an IPv4 address.
    #[must_use]
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::from(take_bytes::<4>(&self.0))
    }

    /// All bytes as an IPv6 address.
    #[must_use]
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::from(self.0)
    }

    /// Whether both slots hold the same address of family `af`.
    #[must_use]
    pub fn same(self, other: Self, af: impl Into<Af>) -> bool {
        if af.into() == Af::INET {
            self.v4() == other.v4()
        } else {
            self.0 == other.0
        }
    }

    /// Whether the slot is all-zero under a family. As in DPVS, no address of
    /// an unknown family counts as "any".
    #[must_use]
    pub fn is_any(self, af: impl Into<Af>) -> bool {
        self.to_ip(af).is_some_and(|ip| ip.is_unspecified())
    }

    /// The slot with the bytes that `af` does not use zeroed.
    #[must_use]
    pub fn clean(self, af: impl Into<Af>) -> Self {
        if af.into() == Af::INET {
            Self::from_ip(IpAddr::V4(self.v4()))
        } else {
            self
        }
    }
}

impl From<IpAddr> for Ip16 {
    fn from(ip: IpAddr) -> Self {
        Self::from_ip(ip)
    }
}

impl fmt::Debug for Ip16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The family is not known here: a slot whose tail is zero is most likely IPv4.
        if self.0.iter().skip(4).all(|b| *b == 0) {
            self.v4().fmt(f)
        } else {
            self.v6().fmt(f)
        }
    }
}

impl Wire for Ip16 {
    const NAME: &'static str = "address";
    const SIZE: usize = 16;
    fn put(&self, out: &mut [u8]) {
        put_bytes(out, &self.0);
    }
    fn take(bytes: &[u8]) -> Self {
        Self(take_bytes(bytes))
    }
}

/// A NUL-padded text field of `N` bytes. The text ends at the first NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<const N: usize>(pub [u8; N]);

impl<const N: usize> Name<N> {
    /// The empty text.
    pub const EMPTY: Self = Self([0; N]);

    /// A field that holds `text`, or nothing if it does not fit with its NUL
    /// or contains one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() < N && !text.as_bytes().contains(&0)).then(|| Self::truncated(text))
    }

    /// A field that holds as much of `text` as fits before the NUL.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let mut field = [0; N];
        let room = N.saturating_sub(1);
        for (slot, byte) in field.iter_mut().zip(text.bytes().take(room)) {
            *slot = byte;
        }
        Self(field)
    }

    /// The bytes before the first NUL.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(N);
        self.0.get(..end).unwrap_or(&[])
    }

    /// The text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}

impl<const N: usize> Default for Name<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl<const N: usize> Wire for Name<N> {
    const NAME: &'static str = "name";
    const SIZE: usize = N;
    fn put(&self, out: &mut [u8]) {
        put_bytes(out, &self.0);
    }
    fn take(bytes: &[u8]) -> Self {
        Self(take_bytes(bytes))
    }
}

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HwAddr(pub [u8; 6]);

impl fmt::Display for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
impl fmt::Debug for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Wire for HwAddr {
    const NAME: &'static str = "MAC address";
    const SIZE: usize = 6;
    fn put(&self, out: &mut [u8]) {
        put_bytes(out, &self.0);
    }
    fn take(bytes: &[u8]) -> Self {
        Self(take_bytes(bytes))
    }
}

/// Bytes whose meaning depends on another field (a union in C).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blob<const N: usize>(pub [u8; N]);

impl<const N: usize> Blob<N> {
    /// One reading of the bytes.
    #[must_use]
    pub fn read<T: Wire>(&self) -> T {
        T::take(&self.0)
    }

    /// Bytes that hold `value` at their start and zeros behind it.
    #[must_use]
    pub fn of<T: Wire>(value: &T) -> Self {
        let mut bytes = [0; N];
        value.put(&mut bytes);
        Self(bytes)
    }
}

impl<const N: usize> Default for Blob<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Debug for Blob<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl<const N: usize> Wire for Blob<N> {
    const NAME: &'static str = "union";
    const SIZE: usize = N;
    fn put(&self, out: &mut [u8]) {
        put_bytes(out, &self.0);
    }
    fn take(bytes: &[u8]) -> Self {
        Self(take_bytes(bytes))
    }
}
