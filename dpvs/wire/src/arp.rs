//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::Error;
use crate::bytes::{array, get16, put16};
use crate::eth::{ETHERTYPE_IPV4, Mac};

/// Length of the packet, in bytes, without padding.
pub const LEN: usize = 28;

/// Operation: request.
pub const REQUEST: u16 = 1;
/// Operation: reply.
pub const REPLY: u16 = 2;

/// View of an ARP packet.
#[derive(Clone, Copy, Debug)]
pub struct Arp<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Arp<T> {
    /// Wraps a packet; fails unless it is whole and IPv4 over Ethernet.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        let b = buf.as_ref();
        if b.len() < LEN {
            return Err(Error::Truncated);
        }
        if get16(b, 0) != 1 || get16(b, 2) != ETHERTYPE_IPV4 || b[4] != 6 || b[5] != 4 {
            return Err(Error::Malformed);
        }
        Ok(Self { buf })
    }

    /// Operation: [`REQUEST`], [`REPLY`] or another.
    #[inline]
    #[must_use]
    pub fn op(&self) -> u16 {
        get16(self.buf.as_ref(), 6)
    }

    /// Sender's hardware address.
    #[inline]
    #[must_use]
    pub fn sha(&self) -> Mac {
        array(self.buf.as_ref(), 8)
    }

    /// Sender's protocol address.
    #[inline]
    #[must_use]
    pub fn spa(&self) -> Ipv4Addr {
        array::<4>(self.buf.as_ref(), 14).into()
    }

    /// Target's hardware address.
    #[inline]
    #[must_use]
    pub fn tha(&self) -> Mac {
        array(self.buf.as_ref(), 18)
    }

    /// Target's protocol address.
    #[inline]
    #[must_use]
    pub fn tpa(&self) -> Ipv4Addr {
        array::<4>(self.buf.as_ref(), 24).into()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Arp<T> {
    /// Writes the fixed part of IPv4 over Ethernet into a buffer that need not
    /// hold ARP yet; fails if it is too short.
    pub fn init(mut buf: T) -> Result<Self, Error> {
        let b = buf.as_mut();
        if b.len() < LEN {
            return Err(Error::Truncated);
        }
        put16(b, 0, 1);
        put16(b, 2, ETHERTYPE_IPV4);
        b[4] = 6;
        b[5] = 4;
        Ok(Self { buf })
    }

    /// Sets the operation.
    #[inline]
    pub fn set_op(&mut self, op: u16) {
        put16(self.buf.as_mut(), 6, op);
    }

    /// Sets the sender's hardware address.
    #[inline]
    pub fn set_sha(&mut self, mac: Mac) {
        self.buf.as_mut()[8..14].copy_from_slice(&mac);
    }

    /// Sets the sender's protocol address.
    #[inline]
    pub fn set_spa(&mut self, addr: Ipv4Addr) {
        self.buf.as_mut()[14..18].copy_from_slice(&addr.octets());
    }

    /// Sets the target's hardware address.
    #[inline]
    pub fn set_tha(&mut self, mac: Mac) {
        self.buf.as_mut()[18..24].copy_from_slice(&mac);
    }

    /// Sets the target's protocol address.
    #[inline]
    pub fn set_tpa(&mut self, addr: Ipv4Addr) {
        self.buf.as_mut()[24..28].copy_from_slice(&addr.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_and_read_back() {
        let mut buf = [0xaau8; LEN];
        let mut arp = Arp::init(&mut buf[..]).unwrap();
        arp.set_op(REPLY);
        arp.set_sha([1; 6]);
        arp.set_spa(Ipv4Addr::new(10, 0, 0, 1));
        arp.set_tha([2; 6]);
        arp.set_tpa(Ipv4Addr::new(10, 0, 0, 2));
        let arp = Arp::new_checked(&buf[..]).unwrap();
        assert_eq!(arp.op(), REPLY);
        assert_eq!((arp.sha(), arp.tha()), ([1; 6], [2; 6]));
        assert_eq!(arp.spa(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(arp.tpa(), Ipv4Addr::new(10, 0, 0, 2));
    }

    #[test]
    fn refuses() {
        assert!(matches!(Arp::new_checked([0u8; 27]), Err(Error::Truncated)));
        assert!(matches!(Arp::new_checked([0u8; 28]), Err(Error::Malformed)));
        assert!(matches!(Arp::init([0u8; 27]), Err(Error::Truncated)));
    }
}
