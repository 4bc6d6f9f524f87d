//! What a classifier sees of a frame.
//!
//! Looks at frames as they come, sound or not; whatever does not parse has no
//! addresses, and no rule means it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frame::{Frame, PortId};
use crate::ipset::Packet;
use crate::service::{TCP, UDP};
use crate::snapshot::Mac;

const SCTP: u8 = 132;

/// A frame's headers.
pub(super) struct Look {
    pub ethertype: u16,
    /// Type of service or traffic class; none of other protocols.
    pub tos: Option<u8>,
    macs: (Mac, Mac),
    ends: Option<(IpAddr, IpAddr)>,
    proto: u8,
    ports: (u16, u16),
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk::<N>().copied()
}

impl Look {
    pub(super) fn of<F: Frame>(frame: &F) -> Self {
        let data = frame.data();
        let mut look = Self {
            ethertype: be16(data, 12).unwrap_or(0),
            tos: None,
            macs: (
                array(data, 6).unwrap_or_default(),
                array(data, 0).unwrap_or_default(),
            ),
            ends: None,
            proto: 0,
            ports: (0, 0),
        };
        // Classifiers of tagged frames look behind the tag.
        let (kind, at) = if look.ethertype == 0x8100 {
            (be16(data, 16).unwrap_or(0), 18)
        } else {
            (look.ethertype, 14)
        };
        let l4 = match kind {
            0x0800 => look.v4(data, at),
            0x86dd => look.v6(data, at),
            _ => None,
        };
        if let Some(l4) = l4
            && matches!(look.proto, TCP | UDP | SCTP)
        {
            let port = |at| be16(data, at).unwrap_or(0);
            look.ports = (port(l4), port(l4 + 2));
        }
        look
    }

    /// Where the transport header is, unless in another fragment.
    fn v4(&mut self, data: &[u8], at: usize) -> Option<usize> {
        let first = *data.get(at)?;
        let src: [u8; 4] = array(data, at + 12)?;
        let dst: [u8; 4] = array(data, at + 16)?;
        self.tos = data.get(at + 1).copied();
        self.proto = *data.get(at + 9)?;
        self.ends = Some((Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into()));
        let later = be16(data, at + 6)? & 0x1fff != 0;
        (!later).then_some(at + usize::from(first & 0x0f) * 4)
    }

    fn v6(&mut self, data: &[u8], at: usize) -> Option<usize> {
        let src: [u8; 16] = array(data, at + 8)?;
        let dst: [u8; 16] = array(data, at + 24)?;
        self.tos = Some((be16(data, at)? >> 4) as u8);
        self.proto = *data.get(at + 6)?;
        self.ends = Some((Ipv6Addr::from(src).into(), Ipv6Addr::from(dst).into()));
        let upper = dpvs_wire::ipv6::walk(self.proto, data.get(at + 40..)?).ok()?;
        self.proto = upper.protocol;
        // Counted from the IP header.
        upper.fragment.is_none().then_some(at + upper.offset)
    }

    /// As sets see it; none without addresses.
    pub(super) fn packet(&self, iif: Option<PortId>) -> Option<Packet> {
        let (src, dst) = self.ends?;
        Some(Packet {
            src,
            dst,
            proto: self.proto,
            sport: self.ports.0,
            dport: self.ports.1,
            smac: self.macs.0,
            dmac: self.macs.1,
            iface: iif.map_or(0, |p| p.0 + 1),
        })
    }
}
