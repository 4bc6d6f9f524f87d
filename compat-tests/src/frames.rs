//! Frames made by hand and a raw socket to put them on a wire and to watch it.
//!
//! Deliberately not built on `dpvs-wire`: what the tests send and expect must
//! not share a mistake with what they test.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Context, Error, Result};
use crate::netns::Netns;

/// A hardware address.
pub type Mac = [u8; 6];

/// Protocol numbers used in the tests.
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
}

/// The Internet checksum of `parts` taken as one run of bytes (RFC 1071). Each
/// part but the last must have even length.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let word = [
                pair.first().copied().unwrap_or(0),
                pair.get(1).copied().unwrap_or(0),
            ];
            sum += u32::from(u16::from_be_bytes(word));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// An Ethernet frame.
#[must_use]
pub fn ethernet(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src[..], &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet with a right header checksum, TTL 64 and no fragment bits.
#[must_use]
pub fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(src, dst, protocol, 0, 64, &[], payload)
}

/// An IPv4 packet with chosen flags-and-offset word, TTL and options (padded
/// by the caller to a multiple of four bytes).
#[must_use]
pub fn ipv4_with(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    ttl: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap_or(15) & 15;
    let total = u16::try_from(20 + options.len() + payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x40 | words, 0];
    header.extend(total.to_be_bytes());
    header.extend(0x1234_u16.to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([ttl, protocol, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    header.extend(options);
    let sum = checksum(&[&header]).to_be_bytes();
    header.splice(10..12, sum);
    header.extend(payload);
    header
}

/// An IPv6 packet with hop limit 64.
#[must_use]
pub fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

/// The address part of a TCP or UDP checksum (RFC 9293 3.1, RFC 8200 8.1).
fn pseudo(src: &[u8], dst: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    [src, dst, &[0, protocol], &len].concat()
}

/// A UDP datagram with a right checksum for the addresses (octets, both of one
/// family).
#[must_use]
pub fn udp(src: &[u8], dst: &[u8], sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).unwrap_or(u16::MAX);
    let mut segment = Vec::new();
    segment.extend(sport.to_be_bytes());
    segment.extend(dport.to_be_bytes());
    segment.extend(len.to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(data);
    let sum = checksum(&[&pseudo(src, dst, proto::UDP, segment.len()), &segment]);
    let sum = if sum == 0 { 0xffff } else { sum };
    segment.splice(6..8, sum.to_be_bytes());
    segment
}

/// TCP flag bits.
pub mod flag {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// ACK.
    pub const ACK: u8 = 16;
}

/// The fields of a TCP segment.
#[derive(Debug, Clone, Copy)]
pub struct Tcp<'a> {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flag bits of [`flag`].
    pub flags: u8,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// Data.
    pub data: &'a [u8],
}

impl Tcp<'_> {
    /// The segment with a right checksum for the addresses.
    #[must_use]
    pub fn build(&self, src: &[u8], dst: &[u8]) -> Vec<u8> {
        let words = u8::try_from(5 + self.options.len() / 4).unwrap_or(15) & 15;
        let mut segment = Vec::new();
        segment.extend(self.sport.to_be_bytes());
        segment.extend(self.dport.to_be_bytes());
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([words << 4, self.flags]);
        segment.extend(0xffff_u16.to_be_bytes());
        segment.extend([0, 0, 0, 0]);
        segment.extend(self.options);
        segment.extend(self.data);
        let sum = checksum(&[&pseudo(src, dst, proto::TCP, segment.len()), &segment]);
        segment.splice(16..18, sum.to_be_bytes());
        segment
    }
}

/// A raw socket on one interface: sends whole frames and sees every frame.
#[derive(Debug)]
pub struct Wire {
    fd: OwnedFd,
    mac: Mac,
}

impl Wire {
    /// Opens `dev` of `ns`.
    ///
    /// # Errors
    /// When there is no such interface, or without the right to.
    pub fn open(ns: &Netns, dev: &str) -> Result<Self> {
        ns.enter(|| {
            let addr = link_address(dev)?;
            let fd = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .what(|| "raw socket")?;
            bind(fd.as_raw_fd(), &addr).what(|| format!("raw socket on {dev}"))?;
            let mac = addr
                .addr()
                .ok_or_else(|| Error::new(format!("{dev} has no MAC")))?;
            Ok(Self { fd, mac })
        })
    }

    /// The hardware address of the interface.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends one frame, header included.
    ///
    /// # Errors
    /// When the kernel refuses it, for its size for one.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())
            .map(drop)
            .what(|| format!("sending a frame of {} bytes", frame.len()))
    }

    /// A frame that is there already, into `buffer`: its length. Does not wait.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn poll(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => Ok(Some(len)),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(None),
            Err(e) => Err(Error::new(format!("raw socket: {e}"))),
        }
    }

    /// The first frame within `limit` that `wanted` accepts.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(
        &self,
        limit: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + limit;
        let slice = TimeVal::milliseconds(20);
        setsockopt(&self.fd, sockopt::ReceiveTimeout, &slice).what(|| "raw socket")?;
        let mut buffer = vec![0_u8; 65536];
        while Instant::now() < end {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) => {
                    let frame = buffer.get(..len).unwrap_or_default();
                    if wanted(frame) {
                        return Ok(Some(frame.to_vec()));
                    }
                }
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::new(format!("raw socket: {e}"))),
            }
        }
        Ok(None)
    }
}

/// The AF_PACKET address of an interface of the current namespace.
fn link_address(dev: &str) -> Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()
        .what(|| "list of interfaces")?
        .filter(|i| i.interface_name == dev)
        .find_map(|i| i.address.and_then(|a| a.as_link_addr().copied()))
        .ok_or_else(|| Error::new(format!("there is no interface {dev}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_known_packets() {
        // The example of RFC 1071 section 3: the sum is ddf2.
        assert_eq!(
            checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]),
            !0xddf2
        );
        // A header with its checksum in place sums to zero.
        let packet = ipv4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), proto::UDP, &[]);
        assert_eq!(checksum(&[&packet]), 0);
        let options = ipv4_with(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            6,
            0,
            1,
            &[1; 8],
            &[],
        );
        assert_eq!((options[0], checksum(&[&options])), (0x47, 0));
    }

    #[test]
    fn segments_verify_against_their_pseudo_header() {
        let (src, dst) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let datagram = udp(&src, &dst, 1000, 7, b"odd");
        assert_eq!(
            checksum(&[&pseudo(&src, &dst, proto::UDP, datagram.len()), &datagram]),
            0
        );
        let syn = Tcp {
            sport: 1,
            dport: 2,
            seq: 3,
            ack: 0,
            flags: flag::SYN,
            options: &[2, 4, 5, 0xb4],
            data: b"",
        }
        .build(&src, &dst);
        assert_eq!(
            checksum(&[&pseudo(&src, &dst, proto::TCP, syn.len()), &syn]),
            0
        );
        assert_eq!(syn[12], 0x60);
    }
}
