//! The sockets adverts travel over: raw IPv4, protocol 112.
//!
//! One to receive, not bound to an address so that multicast reaches it; one
//! to send, bound to the source address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdSocket};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

/// Both sockets of an instance.
pub(crate) struct Sockets {
    /// A raw socket in a datagram type of the runtime, which only receives.
    rx: UdpSocket,
    tx: Socket,
}

// Internetwork control, as keepalived marks its adverts.
const TOS: u32 = 0xc0;

// Instructions of linux/bpf_common.h: X = length of the IP header, A = byte at
// X + k, jump if A equals, return.
const LOAD_HEADER_LEN: u16 = 0xb1;
const LOAD_BYTE_AT_X: u16 = 0x50;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A filter that passes packets with this VRID, the second byte behind the IP
/// header: hundreds of routers on one wire must not wake each other.
fn only(vrid: u8) -> [SockFilter; 5] {
    [
        SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0),
        SockFilter::new(LOAD_BYTE_AT_X, 0, 0, 1),
        SockFilter::new(JUMP_EQUAL, 0, 1, vrid.into()),
        SockFilter::new(RETURN, 0, 0, u32::from(u16::MAX)),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn raw(interface: &str) -> io::Result<Socket> {
    let proto = Protocol::from(i32::from(crate::vrrp::packet::PROTOCOL));
    let s = Socket::new(Domain::IPV4, Type::RAW, Some(proto))?;
    s.bind_device(Some(interface.as_bytes()))?;
    s.set_nonblocking(true)?;
    Ok(s)
}

impl Sockets {
    /// Call inside the runtime. Receives adverts of `vrid` only. `group`: `None`
    /// for unicast.
    pub(crate) fn open(
        interface: &str,
        vrid: u8,
        src: Ipv4Addr,
        group: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        let rx = raw(interface)?;
        rx.attach_filter(&only(vrid))?;
        if let Some(group) = group {
            let index = if_nametoindex(interface)?;
            rx.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
        }
        let tx = raw(interface)?;
        tx.bind(&SocketAddrV4::new(src, 0).into())?;
        tx.set_multicast_if_v4(&src)?;
        tx.set_multicast_loop_v4(false)?;
        tx.set_multicast_ttl_v4(255)?;
        tx.set_ttl_v4(255)?;
        tx.set_tos_v4(TOS)?;
        // Sends only: nothing that arrives is kept for it.
        tx.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
        Ok(Self {
            rx: UdpSocket::from_std(StdSocket::from(rx))?,
            tx,
        })
    }

    /// The next packet, with its IP header.
    pub(crate) async fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.rx.recv(buf).await
    }

    /// Sends what goes behind the IP header.
    pub(crate) fn send(&self, bytes: &[u8], to: Ipv4Addr) -> io::Result<()> {
        self.tx
            .send_to(bytes, &SocketAddrV4::new(to, 0).into())
            .map(drop)
    }
}
