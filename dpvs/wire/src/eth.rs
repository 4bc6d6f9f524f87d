//! Ethernet II header and group addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Error;
use crate::bytes::{array, get16, put16};

/// A MAC address.
pub type Mac = [u8; 6];

/// Length of the header without tags, in bytes.
pub const HEADER_LEN: usize = 14;
/// Shortest frame without FCS, in bytes; shorter ones are padded by the sender.
pub const MIN_FRAME_LEN: usize = 60;

/// IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// 802.1ad service tag.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;
/// IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// LLDP.
pub const ETHERTYPE_LLDP: u16 = 0x88cc;

/// The broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// True for group addresses, broadcast among them.
#[inline]
#[must_use]
pub fn is_multicast(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

/// The group address an IPv4 multicast group maps to (RFC 1112 6.4).
#[must_use]
pub fn multicast_v4(group: Ipv4Addr) -> Mac {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}

/// The group address an IPv6 multicast group maps to (RFC 2464 7).
#[must_use]
pub fn multicast_v6(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// View of an Ethernet header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Eth<T> {
    buf: T,
}

impl<T: AsRef<[u8]>> Eth<T> {
    /// Wraps a frame; fails if it is shorter than the header.
    #[inline]
    pub fn new_checked(buf: T) -> Result<Self, Error> {
        if buf.as_ref().len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        Ok(Self { buf })
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Mac {
        array(self.buf.as_ref(), 0)
    }

    /// Source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Mac {
        array(self.buf.as_ref(), 6)
    }

    /// Type of what follows.
    #[inline]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        get16(self.buf.as_ref(), 12)
    }

    /// What follows the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buf.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Eth<T> {
    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, mac: Mac) {
        self.buf.as_mut()[..6].copy_from_slice(&mac);
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, mac: Mac) {
        self.buf.as_mut()[6..12].copy_from_slice(&mac);
    }

    /// Sets the type of what follows.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        put16(self.buf.as_mut(), 12, ethertype);
    }

    /// What follows the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buf.as_mut()[HEADER_LEN..]
    }
}

/// Writes a whole header; false (and nothing changed) if `frame` is too short.
#[inline]
pub fn write(frame: &mut [u8], dst: Mac, src: Mac, ethertype: u16) -> bool {
    let Some(head) = frame.first_chunk_mut::<HEADER_LEN>() else {
        return false;
    };
    head[..6].copy_from_slice(&dst);
    head[6..12].copy_from_slice(&src);
    head[12..].copy_from_slice(&ethertype.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut frame = [0u8; 16];
        assert!(write(&mut frame, [1; 6], [2; 6], ETHERTYPE_IPV6));
        let mut eth = Eth::new_checked(&mut frame[..]).unwrap();
        assert_eq!(
            (eth.dst(), eth.src(), eth.ethertype()),
            ([1; 6], [2; 6], 0x86dd)
        );
        eth.set_dst([3; 6]);
        eth.set_src([4; 6]);
        eth.set_ethertype(ETHERTYPE_ARP);
        eth.payload_mut()[1] = 9;
        assert_eq!(eth.payload(), [0, 9]);
        assert_eq!(frame, [3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 8, 6, 0, 9]);
        assert_eq!(Eth::new_checked([0u8; 13]).unwrap_err(), Error::Truncated);
        assert!(!write(&mut frame[..13], [0; 6], [0; 6], 0));
    }

    #[test]
    fn groups() {
        assert_eq!(
            multicast_v4("239.129.2.3".parse().unwrap()),
            [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]
        );
        assert_eq!(
            multicast_v6("ff02::1:ff00:4".parse().unwrap()),
            [0x33, 0x33, 0xff, 0, 0, 4]
        );
        assert!(is_multicast(BROADCAST));
        assert!(!is_multicast([2, 0, 0, 0, 0, 1]));
    }
}
