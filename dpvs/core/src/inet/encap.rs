//! Outer headers: packets put into packets, and taken out again.
//!
//! One set of functions for tunnel devices and for the forwarding mode tunnel.
//! A frame is 14 bytes of Ethernet and an IP packet; what is put in front of the
//! packet goes between the two. The caller decides addresses, TTL and whether it
//! fits; MAC addresses are written when the frame is sent.

use std::net::{Ipv4Addr, Ipv6Addr};

use dpvs_wire::gre::Gre;
use dpvs_wire::ipv4::{self, Ipv4};
use dpvs_wire::ipv6::{self, Ipv6};
use dpvs_wire::{checksum, eth};

use crate::frame::Frame;

/// Offset of the outer IP header.
const L3: usize = eth::HEADER_LEN;

/// An outer IPv4 header.
#[derive(Clone, Copy, Debug)]
pub struct Outer4 {
    /// Own end.
    pub src: Ipv4Addr,
    /// Other end.
    pub dst: Ipv4Addr,
    /// Type of service.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Don't fragment.
    pub df: bool,
    /// Identification.
    pub id: u16,
    /// Protocol of what follows: 4, 41, 47, 17.
    pub proto: u8,
}

/// An outer IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Outer6 {
    /// Own end.
    pub src: Ipv6Addr,
    /// Other end.
    pub dst: Ipv6Addr,
    /// Traffic class.
    pub class: u8,
    /// Flow label.
    pub flow: u32,
    /// Hop limit.
    pub hops: u8,
    /// Protocol of what follows: 4, 41, 47, 17.
    pub proto: u8,
}

/// What an outer header copies of the packet inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// IPv6, not IPv4.
    pub v6: bool,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Don't fragment; IPv6 never is on its way.
    pub df: bool,
    /// Flow label, 0 for IPv4.
    pub flow: u32,
}

impl Inner {
    /// Reads the packet of a frame; `None` if it is no IP.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(L3..)?;
        match packet.first()? >> 4 {
            4 if packet.len() >= ipv4::HEADER_LEN => Some(Self {
                v6: false,
                tos: packet[1],
                ttl: packet[8],
                df: packet[6] & 0x40 != 0,
                flow: 0,
            }),
            6 if packet.len() >= ipv6::HEADER_LEN => {
                let word = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
                Some(Self {
                    v6: true,
                    tos: (word >> 20) as u8,
                    ttl: packet[7],
                    df: true,
                    flow: word & 0xf_ffff,
                })
            }
            _ => None,
        }
    }

    /// Protocol number of such a packet inside another (4 or 41).
    #[must_use]
    pub fn proto(&self) -> u8 {
        if self.v6 {
            dpvs_wire::proto::IPV6
        } else {
            dpvs_wire::proto::IPIP
        }
    }

    /// Its Ethernet type.
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        if self.v6 {
            eth::ETHERTYPE_IPV6
        } else {
            eth::ETHERTYPE_IPV4
        }
    }
}

/// Puts an IPv4 header and `shim` bytes of unspecified content (from offset 34 of
/// the frame on) before the packet; the checksum of the header is done. False,
/// and nothing changed, without headroom or above 65535 bytes.
#[must_use]
pub fn push4<F: Frame>(frame: &mut F, outer: &Outer4, shim: usize) -> bool {
    let room = ipv4::HEADER_LEN + shim;
    let Ok(len) = u16::try_from(frame.total_len() + room - L3) else {
        return false;
    };
    if frame.total_len() < L3 || !frame.push_front(room) {
        return false;
    }
    let data = frame.data_mut();
    data[12..L3].copy_from_slice(&eth::ETHERTYPE_IPV4.to_be_bytes());
    if let Ok(mut ip) = Ipv4::init(
        &mut data[L3..],
        len,
        outer.ttl,
        outer.proto,
        outer.src,
        outer.dst,
    ) {
        ip.set_tos(outer.tos);
        ip.set_ident(outer.id);
        ip.set_frag(if outer.df { ipv4::DF } else { 0 });
        ip.fill_checksum();
    }
    true
}

/// As [`push4`], with an IPv6 header; the shim starts at offset 54.
#[must_use]
pub fn push6<F: Frame>(frame: &mut F, outer: &Outer6, shim: usize) -> bool {
    let Ok(len) = u16::try_from((frame.total_len() + shim).saturating_sub(L3)) else {
        return false;
    };
    if frame.total_len() < L3 || !frame.push_front(ipv6::HEADER_LEN + shim) {
        return false;
    }
    let data = frame.data_mut();
    data[12..L3].copy_from_slice(&eth::ETHERTYPE_IPV6.to_be_bytes());
    if let Ok(mut ip) = Ipv6::init(
        &mut data[L3..],
        len,
        outer.hops,
        outer.proto,
        outer.src,
        outer.dst,
    ) {
        ip.set_traffic_class(outer.class);
        ip.set_flow_label(outer.flow);
    }
    true
}

/// Writes a GRE header at offset `at`, with its checksum if it has one.
pub fn write_gre<F: Frame>(frame: &mut F, at: usize, gre: &Gre) {
    let Some(room) = frame.data_mut().get_mut(at..) else {
        return;
    };
    if gre.write(room) && gre.csum {
        let sum = !sum_from(frame, at);
        frame.data_mut()[at + 4..at + 6].copy_from_slice(&sum.to_be_bytes());
    }
}

/// One's-complement sum of a frame from offset `at` to its end, all segments.
#[must_use]
pub fn sum_from<F: Frame>(frame: &F, at: usize) -> u16 {
    let data = frame.data();
    let total = frame.total_len();
    if data.len() == total {
        return checksum::sum(data.get(at..).unwrap_or_default());
    }
    let mut buf = [0; 256];
    let (mut at, mut all) = (at, 0u32);
    while at < total {
        // Even pieces: words stay words.
        let n = (total - at).min(buf.len());
        if !frame.read(at, &mut buf[..n]) {
            break;
        }
        all += u32::from(checksum::sum(&buf[..n]));
        at += n;
    }
    while all > 0xffff {
        all = (all >> 16) + (all & 0xffff);
    }
    all as u16
}

/// Takes `n` bytes of headers out between Ethernet header and packet, whose
/// Ethernet type is then `ethertype`. False, and nothing changed, if the first
/// segment is shorter.
#[must_use]
pub fn pull<F: Frame>(frame: &mut F, n: usize, ethertype: u16) -> bool {
    if frame.data().len() < L3 + n {
        return false;
    }
    let mut macs = [0; 12];
    macs.copy_from_slice(&frame.data()[..12]);
    if !frame.pull_front(n) {
        return false;
    }
    let data = frame.data_mut();
    data[..12].copy_from_slice(&macs);
    data[12..L3].copy_from_slice(&ethertype.to_be_bytes());
    true
}

#[cfg(test)]
#[path = "encap_tests.rs"]
mod tests;
