//! The sockets adverts travel over: raw IPv4, protocol 112.
//!
//! One to receive, not bound to an address so that multicast reaches it; one
//! to send, bound to the source address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdSocket};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Both sockets of an instance.
pub(crate) struct Sockets {
    /// A raw socket in a datagram type of the runtime, which only receives.
    rx: UdpSocket,
    tx: Socket,
}

// Internetwork control, as keepalived marks its adverts.
const TOS: u32 = 0xc0;

fn raw(interface: &str) -> io::Result<Socket> {
    let proto = Protocol::from(i32::from(crate::vrrp::packet::PROTOCOL));
    let s = Socket::new(Domain::IPV4, Type::RAW, Some(proto))?;
    s.bind_device(Some(interface.as_bytes()))?;
    s.set_nonblocking(true)?;
    Ok(s)
}

impl Sockets {
    /// Call inside the runtime. `group`: `None` for unicast.
    pub(crate) fn open(
        interface: &str,
        src: Ipv4Addr,
        group: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        let rx = raw(interface)?;
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
        // Sends only; what arrives here as well is not to pile up.
        tx.shutdown(std::net::Shutdown::Read).or_else(|e| {
            if e.kind() == io::ErrorKind::NotConnected {
                Ok(())
            } else {
                Err(e)
            }
        })?;
        tx.set_recv_buffer_size(1)?;
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
