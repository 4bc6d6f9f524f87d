//! What one request names: addresses, networks and ports from-to, taken apart
//! into elements.
//!
//! Addresses of a kind with networks become the fewest networks that cover the
//! range, those of other kinds one element each.

use std::net::{IpAddr, Ipv4Addr};

use crate::snapshot::Mac;

use super::{Element, Net, SetConf, SetError, SetKind, full};

/// Elements from-to. Ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First and last address, or a network's address twice with its length.
    pub addrs: (IpAddr, IpAddr),
    /// Prefix length, where a network is named.
    pub plen: Option<u8>,
    /// The second ones.
    pub addrs2: (IpAddr, IpAddr),
    /// Prefix length of the second network.
    pub plen2: Option<u8>,
    /// IP protocol number or 0.
    pub proto: u8,
    /// First and last port.
    pub ports: (u16, u16),
    /// First and last second port.
    pub ports2: (u16, u16),
    /// Hardware address; zero is any.
    pub mac: Mac,
    /// Device, counted from 1.
    pub iface: u16,
}

impl Span {
    /// Addresses and nothing else.
    #[must_use]
    pub fn of(first: IpAddr, last: IpAddr) -> Self {
        Self {
            addrs: (first, last),
            plen: None,
            addrs2: (first, first),
            plen2: None,
            proto: 0,
            ports: (0, 0),
            ports2: (0, 0),
            mac: [0; 6],
            iface: 0,
        }
    }

    /// Whether it can be of such a set.
    pub(super) fn check(&self, conf: &SetConf) -> Result<(), SetError> {
        let kind = conf.kind;
        if kind != SetKind::BitmapPort {
            check_addrs(self.addrs, self.plen, conf.v6)?;
        }
        if kind.is_pair() {
            check_addrs(self.addrs2, self.plen2, conf.v6)?;
        }
        if self.ports.0 > self.ports.1 || self.ports2.0 > self.ports2.1 {
            return Err(SetError::Invalid("range of ports"));
        }
        Ok(())
    }

    /// How many elements those are.
    pub(super) fn count(&self, kind: SetKind) -> u64 {
        let (net, net2) = kind.nets();
        let addrs = |used: bool, net: bool, range, plen| match (used, net) {
            (false, _) => 1,
            (true, false) => width(range),
            // At most 62 of IPv4.
            (true, true) => nets(range, plen, true).count() as u64,
        };
        let ports = |used: bool, (a, b): (u16, u16)| {
            if used {
                u64::from(b.saturating_sub(a)) + 1
            } else {
                1
            }
        };
        addrs(kind != SetKind::BitmapPort, net, self.addrs, self.plen)
            .saturating_mul(addrs(kind.is_pair(), net2, self.addrs2, self.plen2))
            .saturating_mul(ports(kind.has_port(), self.ports))
            .saturating_mul(ports(kind == SetKind::HashNetPortNetPort, self.ports2))
    }

    /// Every element; ports vary fastest.
    pub(super) fn elements(&self, kind: SetKind) -> impl Iterator<Item = Element> {
        let span = *self;
        let (net, net2) = kind.nets();
        let firsts: Vec<Net> = nets(span.addrs, span.plen, net).collect();
        let seconds: Vec<Net> = if kind.is_pair() {
            nets(span.addrs2, span.plen2, net2).collect()
        } else {
            Vec::new()
        };
        let ports = if kind.has_port() { span.ports } else { (0, 0) };
        let ports2 = if kind == SetKind::HashNetPortNetPort {
            span.ports2
        } else {
            (0, 0)
        };
        let proto = if kind.has_port() { span.proto } else { 0 };
        firsts.into_iter().flat_map(move |net| {
            let seconds = if seconds.is_empty() {
                vec![Net::host(net.addr)]
            } else {
                seconds.clone()
            };
            seconds.into_iter().flat_map(move |net2| {
                (ports.0..=ports.1).flat_map(move |port| {
                    (ports2.0..=ports2.1).map(move |port2| Element {
                        net,
                        net2,
                        proto,
                        port,
                        port2,
                        mac: if kind == SetKind::BitmapIpMac {
                            span.mac
                        } else {
                            [0; 6]
                        },
                        iface: if kind == SetKind::HashNetPortIface {
                            span.iface
                        } else {
                            0
                        },
                    })
                })
            })
        })
    }
}

fn check_addrs(
    (first, last): (IpAddr, IpAddr),
    plen: Option<u8>,
    v6: bool,
) -> Result<(), SetError> {
    if first.is_ipv6() != v6 || last.is_ipv6() != v6 {
        return Err(SetError::Invalid("address family of the set"));
    }
    if first > last || plen.is_some_and(|p| p > full(first)) {
        return Err(SetError::Invalid("range of addresses"));
    }
    if v6 && first != last {
        return Err(SetError::Invalid("a range of IPv6 addresses"));
    }
    Ok(())
}

/// Addresses from-to.
fn width(range: (IpAddr, IpAddr)) -> u64 {
    match range {
        (IpAddr::V4(a), IpAddr::V4(b)) => u64::from(b.to_bits().saturating_sub(a.to_bits())) + 1,
        _ => 1,
    }
}

/// The networks of a range, or its addresses.
fn nets(
    (first, last): (IpAddr, IpAddr),
    plen: Option<u8>,
    net: bool,
) -> Box<dyn Iterator<Item = Net>> {
    match (first, last) {
        _ if net && plen.is_some() => {
            Box::new(std::iter::once(Net::of(first, plen.unwrap_or(full(first)))))
        }
        (IpAddr::V4(a), IpAddr::V4(b)) if net => Box::new(cover(a.to_bits(), b.to_bits())),
        (IpAddr::V4(a), IpAddr::V4(b)) => Box::new(
            (a.to_bits()..=b.to_bits())
                .map(|bits| Net::host(IpAddr::V4(Ipv4Addr::from_bits(bits)))),
        ),
        _ => Box::new(std::iter::once(Net::host(first))),
    }
}

/// The fewest networks that hold exactly these addresses.
fn cover(first: u32, last: u32) -> impl Iterator<Item = Net> {
    let mut next = (first <= last).then_some(u64::from(first));
    std::iter::from_fn(move || {
        let at = next?;
        let left = u64::from(last) - at + 1;
        // As many as its alignment and what is left allow.
        let align = if at == 0 {
            32
        } else {
            at.trailing_zeros().min(32)
        };
        let bits = align.min(left.ilog2());
        let end = at + (1 << bits);
        next = (end <= u64::from(last)).then_some(end);
        Some(Net {
            addr: IpAddr::V4(Ipv4Addr::from_bits(at as u32)),
            plen: 32 - bits as u8,
        })
    })
}
