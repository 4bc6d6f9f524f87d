//! ICMPv6: answer an echo request, report an error about a packet.
//!
//! The IPv6 sister of [`super::icmp`]; neighbour discovery is in
//! [`super::ndisc`].

use std::net::Ipv6Addr;

use super::{Echo, set_front};
use crate::frame::Frame;
use dpvs_wire::ipv6::{self, Ipv6};
use dpvs_wire::{checksum, eth, icmpv6, proto};

/// Hop limit of packets made here.
pub const HOP_LIMIT: u8 = 64;

/// Longest error sent, IPv6 header included, in bytes (RFC 4443 2.4c).
pub const MAX_ERROR_LEN: u16 = 1280;

const HEADERS: usize = ipv6::HEADER_LEN + icmpv6::HEADER_LEN;

/// Turns an echo request (code 0) at `l3_off` into its reply, without the
/// request's extension headers. The Ethernet header is moved along, not changed.
pub fn echo_reply_in_place<F: Frame>(frame: &mut F, l3_off: usize) -> Echo {
    let Some(Ok(ip)) = frame.data().get(l3_off..).map(Ipv6::new_checked) else {
        return Echo::NotEcho;
    };
    let Ok(upper) = ip.upper() else {
        return Echo::NotEcho;
    };
    let total = ip.total_len();
    let bytes = ip
        .payload()
        .get(upper.offset - ipv6::HEADER_LEN..)
        .unwrap_or_default();
    let Ok(message) = icmpv6::Icmpv6::new_checked(bytes) else {
        return Echo::NotEcho;
    };
    let (src, dst) = (ip.src(), ip.dst());
    if upper.protocol != proto::ICMPV6
        || upper.fragment.is_some()
        || message.typ() != icmpv6::ECHO_REQUEST
        || message.code() != 0
        || l3_off + total > frame.data().len()
        || !may_answer(src)
        || dst.is_multicast()
    {
        return Echo::NotEcho;
    }
    if !message.verify_checksum(src, dst) {
        return Echo::BadChecksum;
    }
    let (request, reply) = (
        u16::from(icmpv6::ECHO_REQUEST) << 8,
        u16::from(icmpv6::ECHO_REPLY) << 8,
    );
    // The pseudo header has the same two addresses: only the type changes.
    let sum = checksum::update16(message.checksum(), request, reply);
    let extensions = upper.offset - ipv6::HEADER_LEN;

    frame.truncate(l3_off + total);
    if extensions > 0 {
        frame
            .data_mut()
            .copy_within(..l3_off + ipv6::HEADER_LEN, extensions);
        frame.pull_front(extensions);
    }
    let packet = frame.data_mut().get_mut(l3_off..).unwrap_or_default();
    if let Ok(mut ip) = Ipv6::new_checked(packet) {
        ip.set_payload_len((total - upper.offset) as u16);
        ip.set_next_header(proto::ICMPV6);
        ip.set_hop_limit(HOP_LIMIT);
        ip.set_src(dst);
        ip.set_dst(src);
        if let Ok(mut message) = icmpv6::Icmpv6::new_checked(ip.payload_mut()) {
            message.set_typ(icmpv6::ECHO_REPLY);
            message.set_checksum(sum);
        }
    }
    Echo::Replied
}

/// Turns the packet at `l3_off` into the ICMPv6 error `typ`/`code` about it, from
/// `src` to its source. `info` is the second word (the MTU, or 0); of the packet
/// is quoted what fits in `max_len` (the MTU) and [`MAX_ERROR_LEN`]. Afterwards
/// the frame is 14 bytes for the caller's Ethernet header and the error behind
/// them.
///
/// False if no error may be sent (RFC 4443 2.4e) or there is no headroom; the
/// packet is then unchanged.
pub fn error_in_place<F: Frame>(
    frame: &mut F,
    l3_off: usize,
    src: Ipv6Addr,
    typ: u8,
    code: u8,
    info: u32,
    max_len: u16,
) -> bool {
    const FRONT: usize = eth::HEADER_LEN + HEADERS;
    let Some(Ok(ip)) = frame.data().get(l3_off..).map(Ipv6::new_checked) else {
        return false;
    };
    if !may_report(&ip, typ, code) {
        return false;
    }
    let room = usize::from(max_len.min(MAX_ERROR_LEN)).saturating_sub(HEADERS);
    let quoted = (ipv6::HEADER_LEN + ip.payload().len()).min(room);
    let dst = ip.src();
    if !set_front(frame, l3_off, FRONT) {
        return false;
    }
    frame.truncate(FRONT + quoted);
    let len = (icmpv6::HEADER_LEN + quoted) as u16;
    let packet = frame
        .data_mut()
        .get_mut(eth::HEADER_LEN..)
        .unwrap_or_default();
    let Ok(mut ip) = Ipv6::init(packet, len, HOP_LIMIT, proto::ICMPV6, src, dst) else {
        return false;
    };
    let Ok(mut message) = icmpv6::Icmpv6::new_checked(ip.payload_mut()) else {
        return false;
    };
    message.set_typ(typ);
    message.set_code(code);
    message.set_rest(info);
    message.fill_checksum(src, dst);
    true
}

/// The source is one host that can be answered.
fn may_answer(src: Ipv6Addr) -> bool {
    !src.is_unspecified() && !src.is_multicast() && !src.is_loopback()
}

fn may_report<T: AsRef<[u8]>>(ip: &Ipv6<T>, typ: u8, code: u8) -> bool {
    if !may_answer(ip.src()) {
        return false;
    }
    // To a group only what path MTU discovery and option processing need.
    let for_group = typ == icmpv6::PACKET_TOO_BIG || typ == icmpv6::PARAM_PROBLEM && code == 2;
    if ip.dst().is_multicast() && !for_group {
        return false;
    }
    let Ok(upper) = ip.upper() else {
        return false;
    };
    if upper.protocol != proto::ICMPV6 {
        return true;
    }
    // Of a later fragment nobody knows whether it is part of an error.
    let about = ip.payload().get(upper.offset - ipv6::HEADER_LEN);
    upper.is_start() && about.is_some_and(|t| !icmpv6::is_error(*t) && *t != icmpv6::REDIRECT)
}

#[cfg(test)]
#[path = "icmpv6_tests.rs"]
mod tests;
