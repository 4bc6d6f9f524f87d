//! Which interfaces exist, whether they are up, which addresses they have,
//! and when any of that changes.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as StdDatagram;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, LinkAddr, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
};
use tokio::net::UnixDatagram;

/// One interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    /// Administratively up and with carrier.
    pub(crate) up: bool,
    /// IPv4 addresses in the kernel's order, the primary one first.
    pub(crate) v4: Vec<Ipv4Addr>,
    /// Another number under the same name is another interface.
    pub(crate) index: usize,
    /// Link-layer address, for frames.
    pub(crate) addr: Option<LinkAddr>,
}

/// All interfaces of this network namespace.
pub(crate) fn snapshot() -> HashMap<String, Link> {
    let mut out: HashMap<String, Link> = HashMap::new();
    let Ok(list) = getifaddrs() else { return out };
    for entry in list {
        let link = out.entry(entry.interface_name).or_default();
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        link.up = entry.flags.contains(wanted);
        let Some(address) = entry.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            link.v4.push(v4.ip());
        } else if let Some(l2) = address.as_link_addr() {
            link.index = l2.ifindex();
            link.addr = Some(*l2);
        }
    }
    out
}

/// Wakes up when a link or an address changes. A netlink socket in a datagram
/// type of the runtime, which only ever receives on it.
pub(crate) struct Monitor(UnixDatagram);

// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

impl Monitor {
    /// Call inside the runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(UnixDatagram::from_std(StdDatagram::from(fd))?))
    }

    /// Returns after a change. What changed is to be looked up.
    pub(crate) async fn changed(&self) {
        let mut buf = [0; 8192];
        // An error (ENOBUFS: messages were lost) means changes, too.
        let _ = self.0.recv(&mut buf).await;
        // What came along with it is one change.
        for _ in 0..1024 {
            match self.0.try_recv(&mut buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there() {
        let links = snapshot();
        let lo = links.get("lo").unwrap();
        assert!(lo.addr.is_some());
        if lo.up {
            assert!(lo.v4.contains(&Ipv4Addr::LOCALHOST));
        }
    }
}
