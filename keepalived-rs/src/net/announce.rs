//! Telling the neighbours: gratuitous ARP and unsolicited neighbour
//! advertisements from a kernel interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use socket2::{Domain, Protocol, Socket, Type};

/// Sends announcements. The packet socket is kept: closing one makes the kernel
/// wait for all its CPUs, some ten milliseconds a time.
#[derive(Debug, Default)]
pub(crate) struct Announcer(OnceLock<OwnedFd>);

impl Announcer {
    /// Announces `ip` once on interface `dev`, whose address is `link`.
    pub(crate) fn send(&self, dev: &str, link: &LinkAddr, ip: IpAddr) -> io::Result<()> {
        let mac = link
            .addr()
            .ok_or_else(|| io::Error::other("the interface has no MAC address"))?;
        match ip {
            IpAddr::V4(ip) => {
                sendto(
                    self.packet_socket()?,
                    &arp(mac, ip),
                    link,
                    MsgFlags::empty(),
                )?;
                Ok(())
            }
            IpAddr::V6(ip) => {
                let s = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
                let index = if_nametoindex(dev)?;
                s.bind_device(Some(dev.as_bytes()))?;
                s.set_multicast_hops_v6(255)?;
                s.set_multicast_if_v6(index)?;
                s.set_multicast_loop_v6(false)?;
                let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                let to = SocketAddrV6::new(all_nodes, 0, 0, index);
                s.send_to(&neighbour_advert(mac, ip), &to.into()).map(drop)
            }
        }
    }

    fn packet_socket(&self) -> io::Result<RawFd> {
        if let Some(fd) = self.0.get() {
            return Ok(fd.as_raw_fd());
        }
        // Without a protocol it receives nothing.
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        Ok(self.0.get_or_init(|| fd).as_raw_fd())
    }
}

/// A request for one's own address, as keepalived sends it.
fn arp(mac: [u8; 6], ip: Ipv4Addr) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend_from_slice(&mac);
    // Ethertype ARP; hardware Ethernet, protocol IPv4, lengths 6 and 4, request.
    f.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    f.extend_from_slice(&mac);
    f.extend_from_slice(&ip.octets());
    f.extend_from_slice(&[0xff; 6]);
    f.extend_from_slice(&ip.octets());
    f
}

/// RFC 4861 section 4.4 with router and override flags; the kernel fills the
/// checksum in.
fn neighbour_advert(mac: [u8; 6], ip: Ipv6Addr) -> Vec<u8> {
    let mut m = vec![136, 0, 0, 0, 0xa0, 0, 0, 0];
    m.extend_from_slice(&ip.octets());
    // Option 2: target link-layer address, in units of 8 bytes.
    m.extend_from_slice(&[2, 1]);
    m.extend_from_slice(&mac);
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gratuitous_arp_is_keepaliveds() {
        // As recorded from keepalived 2.2.7.
        let want = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x0a, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
            2, 0, 0, 0, 0, 0x0a, 0xc0, 0xa8, 0xc8, 0x64, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc0,
            0xa8, 0xc8, 0x64,
        ];
        assert_eq!(
            arp([2, 0, 0, 0, 0, 0x0a], Ipv4Addr::new(192, 168, 200, 100)),
            want
        );
    }

    #[test]
    fn neighbour_advert_layout() {
        let m = neighbour_advert([1, 2, 3, 4, 5, 6], Ipv6Addr::LOCALHOST);
        assert_eq!(m.len(), 32);
        assert_eq!(m[26..], [1, 2, 3, 4, 5, 6]);
    }
}
