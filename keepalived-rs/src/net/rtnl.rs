//! Addresses on kernel interfaces, over rtnetlink: for instances without a
//! dpdk_interface.
//!
//! Two messages of a fixed form are all that is needed, so they are built by
//! hand (layouts: linux/netlink.h, linux/if_addr.h).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_F_NODAD: u8 = 0x02;

/// Adds an address; that it is there already is no error.
pub(crate) fn add(dev: &str, ip: IpAddr, prefix: u8, label: Option<&str>) -> io::Result<()> {
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    talk(&message(
        RTM_NEWADDR,
        flags,
        if_nametoindex(dev)?,
        ip,
        prefix,
        label,
    ))
}

/// Removes an address; that it is not there is no error.
pub(crate) fn del(dev: &str, ip: IpAddr, prefix: u8) -> io::Result<()> {
    let index = match if_nametoindex(dev) {
        Ok(i) => i,
        // Its addresses went with it.
        Err(_) => return Ok(()),
    };
    let r = talk(&message(
        RTM_DELADDR,
        NLM_F_REQUEST | NLM_F_ACK,
        index,
        ip,
        prefix,
        None,
    ));
    match r {
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EADDRNOTAVAIL as i32) => Ok(()),
        r => r,
    }
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
}

fn message(
    kind: u16,
    flags: u16,
    index: u32,
    ip: IpAddr,
    prefix: u8,
    label: Option<&str>,
) -> Vec<u8> {
    let (family, bytes) = match ip {
        IpAddr::V4(a) => (AddressFamily::Inet, a.octets().to_vec()),
        IpAddr::V6(a) => (AddressFamily::Inet6, a.octets().to_vec()),
    };
    let mut out = vec![0; 16];
    // A virtual address was somebody else's a moment ago: no duplicate detection.
    let nodad = if ip.is_ipv6() { IFA_F_NODAD } else { 0 };
    out.extend_from_slice(&[family as u8, prefix, nodad, 0]);
    out.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut out, IFA_LOCAL, &bytes);
    attribute(&mut out, IFA_ADDRESS, &bytes);
    if let Some(label) = label {
        let mut text = label.as_bytes().to_vec();
        text.push(0);
        attribute(&mut out, IFA_LABEL, &text);
    }
    let len = u32::try_from(out.len()).unwrap_or(u32::MAX).to_ne_bytes();
    let head = len
        .into_iter()
        .chain(kind.to_ne_bytes())
        .chain(flags.to_ne_bytes());
    for (slot, byte) in out.iter_mut().zip(head.chain(1u32.to_ne_bytes())) {
        *slot = byte;
    }
    out
}

fn talk(request: &[u8]) -> io::Result<()> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    sendto(
        fd.as_raw_fd(),
        request,
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut buf = [0; 4096];
    let n = recv(fd.as_raw_fd(), &mut buf, MsgFlags::empty())?;
    let reply = buf.get(..n).unwrap_or_default();
    let field = |at: usize| {
        reply
            .get(at..at + 4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok())
    };
    let kind = reply
        .get(4..6)
        .and_then(|b| <[u8; 2]>::try_from(b).ok())
        .map(u16::from_ne_bytes);
    match (kind, field(16).map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("unexpected answer of the kernel")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_layout() {
        let m = message(
            RTM_NEWADDR,
            5,
            7,
            "10.0.0.1".parse().unwrap(),
            24,
            Some("eth0:1"),
        );
        assert_eq!(m.len() % 4, 0);
        assert_eq!(
            u32::from_ne_bytes(m[..4].try_into().unwrap()) as usize,
            m.len()
        );
        assert_eq!(u16::from_ne_bytes(m[4..6].try_into().unwrap()), RTM_NEWADDR);
        assert_eq!(&m[16..20], &[2, 24, 0, 0]);
        assert_eq!(&m[28..32], &[10, 0, 0, 1]);
        assert_eq!(&m[44..51], b"eth0:1\0");
    }
}
