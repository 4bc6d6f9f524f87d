//! IPv6 neighbour discovery (RFC 4861): read and check solicitations and
//! advertisements, answer, ask, announce, detect duplicates.
//!
//! Who may be answered and what is learned is the caller's business.

use std::net::Ipv6Addr;

use crate::frame::Frame;
use crate::snapshot::Mac;
use dpvs_wire::icmpv6::{self, Icmpv6};
use dpvs_wire::ipv6::{self, Ipv6};
use dpvs_wire::{eth, proto};

/// Length of a frame with a solicitation or advertisement and its address
/// option, in bytes.
pub const FRAME_LEN: usize = DAD_FRAME_LEN + icmpv6::ND_OPT_LLADDR_LEN;
/// Length of a frame with a duplicate address probe, which has no option.
pub const DAD_FRAME_LEN: usize = eth::HEADER_LEN + ipv6::HEADER_LEN + icmpv6::ND_LEN;

/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const HOP_LIMIT: u8 = 255;

/// A solicitation that passed the checks of RFC 4861 7.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicit {
    /// Who asks; unspecified for a duplicate address probe.
    pub src: Ipv6Addr,
    /// Where it was sent.
    pub dst: Ipv6Addr,
    /// Address asked for.
    pub target: Ipv6Addr,
    /// Source link-layer address, if given.
    pub mac: Option<Mac>,
}

/// An advertisement that passed the checks of RFC 4861 7.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Who says it.
    pub src: Ipv6Addr,
    /// Address it is about.
    pub target: Ipv6Addr,
    /// Target link-layer address, if given.
    pub mac: Option<Mac>,
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what is known.
    pub replaces: bool,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nd {
    /// A solicitation.
    Solicit(Solicit),
    /// An advertisement.
    Advert(Advert),
    /// Neither: another ICMPv6 message, or not ICMPv6.
    Other,
    /// One of the two, but it must be ignored.
    Invalid,
}

/// Reads a frame of Ethernet type IPv6.
#[must_use]
pub fn parse(frame: &[u8]) -> Nd {
    let Some(Ok(ip)) = frame.get(eth::HEADER_LEN..).map(Ipv6::new_checked) else {
        return Nd::Other;
    };
    let Ok(upper) = ip.upper() else {
        return Nd::Other;
    };
    let bytes = ip
        .payload()
        .get(upper.offset - ipv6::HEADER_LEN..)
        .unwrap_or_default();
    let Ok(message) = Icmpv6::new_checked(bytes) else {
        return Nd::Other;
    };
    let solicit = match message.typ() {
        _ if upper.protocol != proto::ICMPV6 || !upper.is_start() => return Nd::Other,
        icmpv6::NEIGH_SOLICIT => true,
        icmpv6::NEIGH_ADVERT => false,
        _ => return Nd::Other,
    };
    let whole = eth::HEADER_LEN + ip.total_len() <= frame.len();
    let (src, dst) = (ip.src(), ip.dst());
    // Fragments are refused by RFC 6980.
    if !whole
        || upper.fragment.is_some()
        || ip.hop_limit() != HOP_LIMIT
        || message.code() != 0
        || !message.verify_checksum(src, dst)
    {
        return Nd::Invalid;
    }
    let Some(target) = message.nd_target().filter(|t| !t.is_multicast()) else {
        return Nd::Invalid;
    };
    let wanted = if solicit {
        icmpv6::ND_OPT_SOURCE
    } else {
        icmpv6::ND_OPT_TARGET
    };
    let mut mac = None;
    for option in message.nd_options() {
        match option {
            Ok(o) if o.kind == wanted => mac = mac.or(o.mac()),
            Ok(_) => {}
            Err(_) => return Nd::Invalid,
        }
    }
    if solicit {
        let probe = src.is_unspecified();
        if probe && (mac.is_some() || !is_solicited_node(dst)) {
            return Nd::Invalid;
        }
        return Nd::Solicit(Solicit {
            src,
            dst,
            target,
            mac,
        });
    }
    let flags = message.rest();
    let solicited = flags & icmpv6::NA_SOLICITED != 0;
    if solicited && dst.is_multicast() {
        return Nd::Invalid;
    }
    Nd::Advert(Advert {
        src,
        target,
        mac,
        router: flags & icmpv6::NA_ROUTER != 0,
        solicited,
        replaces: flags & icmpv6::NA_OVERRIDE != 0,
    })
}

/// Turns the frame of a solicitation into the advertisement that `own` has the
/// target: solicited to the asker, or to all nodes if it probed for duplicates.
/// False if the frame has no room for it.
pub fn reply_in_place<F: Frame>(frame: &mut F, solicit: &Solicit, own: Mac) -> bool {
    let Some(asker) = frame
        .data()
        .get(6..12)
        .and_then(|mac| Mac::try_from(mac).ok())
    else {
        return false;
    };
    let have = frame.total_len();
    if have < FRAME_LEN && !frame.push_back(FRAME_LEN - have) {
        return false;
    }
    frame.truncate(FRAME_LEN);
    let buf = frame.data_mut();
    let written = if solicit.src.is_unspecified() {
        write_unsolicited(buf, own, solicit.target)
    } else {
        let flags = icmpv6::NA_SOLICITED | icmpv6::NA_OVERRIDE;
        let mac = solicit.mac.unwrap_or(asker);
        write_advert(buf, own, mac, solicit.target, solicit.src, flags)
    };
    written.is_some()
}

/// Writes a solicitation for `target` from `src`, to the target's solicited-node
/// group, [`FRAME_LEN`] bytes, and returns that length; `None` if the buffer is
/// shorter.
pub fn write_solicit(buf: &mut [u8], own: Mac, src: Ipv6Addr, target: Ipv6Addr) -> Option<usize> {
    let group = solicited_node(target);
    let message = Message {
        macs: (eth::multicast_v6(group), own),
        addrs: (group, src),
        typ: icmpv6::NEIGH_SOLICIT,
        flags: 0,
        target,
        option: Some((icmpv6::ND_OPT_SOURCE, own)),
    };
    message.write(buf)
}

/// Writes a probe whether somebody has `target` already (RFC 4862 5.4.2),
/// [`DAD_FRAME_LEN`] bytes; otherwise as [`write_solicit`].
pub fn write_probe(buf: &mut [u8], own: Mac, target: Ipv6Addr) -> Option<usize> {
    let group = solicited_node(target);
    let message = Message {
        macs: (eth::multicast_v6(group), own),
        addrs: (group, Ipv6Addr::UNSPECIFIED),
        typ: icmpv6::NEIGH_SOLICIT,
        flags: 0,
        target,
        option: None,
    };
    message.write(buf)
}

/// Writes an advertisement that `own` has `target` to `dst` at `dst_mac`; `flags`
/// are `NA_*` of [`dpvs_wire::icmpv6`]. [`FRAME_LEN`] bytes, as
/// [`write_solicit`].
pub fn write_advert(
    buf: &mut [u8],
    own: Mac,
    dst_mac: Mac,
    target: Ipv6Addr,
    dst: Ipv6Addr,
    flags: u32,
) -> Option<usize> {
    let message = Message {
        macs: (dst_mac, own),
        addrs: (dst, target),
        typ: icmpv6::NEIGH_ADVERT,
        flags,
        target,
        option: Some((icmpv6::ND_OPT_TARGET, own)),
    };
    message.write(buf)
}

/// Writes an advertisement to all nodes that nobody asked for (RFC 4861 7.2.6):
/// how an address that moved here is announced. As [`write_advert`].
pub fn write_unsolicited(buf: &mut [u8], own: Mac, target: Ipv6Addr) -> Option<usize> {
    let mac = eth::multicast_v6(ALL_NODES);
    write_advert(buf, own, mac, target, ALL_NODES, icmpv6::NA_OVERRIDE)
}

/// The link-local address made of a hardware address (RFC 4291 appendix A).
#[must_use]
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let [ab, cx, xd, ef] = [
        u16::from_be_bytes([a ^ 2, b]),
        u16::from_be_bytes([c, 0xff]),
        u16::from_be_bytes([0xfe, d]),
        u16::from_be_bytes([e, f]),
    ];
    Ipv6Addr::new(0xfe80, 0, 0, 0, ab, cx, xd, ef)
}

/// The solicited-node group of an address (RFC 4291 2.7.1).
#[must_use]
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(PREFIX | addr.to_bits() & 0xff_ffff)
}

/// The hardware address of an address's solicited-node group.
#[must_use]
pub fn solicited_node_mac(addr: Ipv6Addr) -> Mac {
    eth::multicast_v6(solicited_node(addr))
}

fn is_solicited_node(group: Ipv6Addr) -> bool {
    solicited_node(group) == group
}

/// A message to write; pairs are (destination, source).
struct Message {
    macs: (Mac, Mac),
    addrs: (Ipv6Addr, Ipv6Addr),
    typ: u8,
    flags: u32,
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
}

impl Message {
    fn write(&self, buf: &mut [u8]) -> Option<usize> {
        let len = if self.option.is_some() {
            FRAME_LEN
        } else {
            DAD_FRAME_LEN
        };
        let frame = buf.get_mut(..len)?;
        eth::write(frame, self.macs.0, self.macs.1, eth::ETHERTYPE_IPV6);
        let (dst, src) = self.addrs;
        let packet = frame.get_mut(eth::HEADER_LEN..)?;
        let payload = (packet.len() - ipv6::HEADER_LEN) as u16;
        let mut ip = Ipv6::init(packet, payload, HOP_LIMIT, proto::ICMPV6, src, dst).ok()?;
        let body = ip.payload_mut();
        body.get_mut(icmpv6::HEADER_LEN..icmpv6::ND_LEN)?
            .copy_from_slice(&self.target.octets());
        if let Some((kind, mac)) = self.option {
            let option = body.get_mut(icmpv6::ND_LEN..)?.first_chunk_mut::<8>()?;
            let [a, b, c, d, e, f] = mac;
            *option = [kind, 1, a, b, c, d, e, f];
        }
        let mut message = Icmpv6::new_checked(body).ok()?;
        message.set_typ(self.typ);
        message.set_code(0);
        message.set_rest(self.flags);
        message.fill_checksum(src, dst);
        Some(len)
    }
}

#[cfg(test)]
#[path = "ndisc_tests.rs"]
mod tests;
