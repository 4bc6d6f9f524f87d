//! ICMP: answer an echo request, report an error about a packet.
//!
//! Both turn the frame at hand into the answer. How often errors are sent, from
//! which address and to which neighbour is the caller's business.

use std::net::Ipv4Addr;

use super::{Echo, set_front};
use crate::frame::Frame;
use dpvs_wire::ipv4::{self, Ipv4};
use dpvs_wire::{checksum, eth, icmp, proto};

/// TTL of packets made here.
pub const TTL: u8 = 64;

/// Longest error sent, IP header included, in bytes (RFC 1812 4.3.2.3).
pub const MAX_ERROR_LEN: u16 = 576;

const SMALLEST_MTU: u16 = 68;

/// Turns an echo request (code 0) at `l3_off` into its reply, without the
/// request's IP options. The Ethernet header is moved along, not changed.
pub fn echo_reply_in_place<F: Frame>(frame: &mut F, l3_off: usize) -> Echo {
    let Some(Ok(ip)) = frame.data().get(l3_off..).map(Ipv4::new_checked) else {
        return Echo::NotEcho;
    };
    let total = usize::from(ip.total_len());
    let Ok(message) = icmp::Icmp::new_checked(ip.payload()) else {
        return Echo::NotEcho;
    };
    if ip.protocol() != proto::ICMP
        || ip.is_fragment()
        || message.typ() != icmp::ECHO_REQUEST
        || message.code() != 0
        || l3_off + total > frame.data().len()
        || !may_answer(&ip)
    {
        return Echo::NotEcho;
    }
    if !message.verify_checksum() {
        return Echo::BadChecksum;
    }
    let sum = message.checksum();
    let (request, reply) = (
        u16::from(icmp::ECHO_REQUEST) << 8,
        u16::from(icmp::ECHO_REPLY) << 8,
    );
    // A reply of nothing but zero bytes: the sum of no bits set is ffff.
    let sum = match checksum::update16(sum, request, reply) {
        0 => 0xffff,
        sum => sum,
    };
    let (tos, ident, src, dst) = (ip.tos(), ip.ident(), ip.src(), ip.dst());
    let options = ip.header_len() - ipv4::HEADER_LEN;

    frame.truncate(l3_off + total);
    if options > 0 {
        frame
            .data_mut()
            .copy_within(..l3_off + ipv4::HEADER_LEN, options);
        frame.pull_front(options);
    }
    let len = (total - options) as u16;
    let packet = frame.data_mut().get_mut(l3_off..).unwrap_or_default();
    if let Ok(mut ip) = Ipv4::init(packet, len, TTL, proto::ICMP, dst, src) {
        ip.set_tos(tos);
        ip.set_ident(ident);
        ip.set_frag(0);
        ip.fill_checksum();
        if let Ok(mut message) = icmp::Icmp::new_checked(ip.payload_mut()) {
            message.set_typ(icmp::ECHO_REPLY);
            message.set_checksum(sum);
        }
    }
    Echo::Replied
}

/// Turns the packet at `l3_off` into the ICMP error `typ`/`code` about it, from
/// `src` to its source. `info` is the second word (the next-hop MTU, or 0); of
/// the packet is quoted what fits in `max_len` (the MTU) and
/// [`MAX_ERROR_LEN`]. Afterwards the frame is 14 bytes for the caller's Ethernet
/// header and the error behind them.
///
/// False if no error may be sent (RFC 1122 3.2.2, RFC 1812 4.3.2.7) or there is
/// no headroom; the packet is then unchanged.
pub fn error_in_place<F: Frame>(
    frame: &mut F,
    l3_off: usize,
    src: Ipv4Addr,
    typ: u8,
    code: u8,
    info: u32,
    max_len: u16,
) -> bool {
    const FRONT: usize = eth::HEADER_LEN + ipv4::HEADER_LEN + icmp::HEADER_LEN;
    let Some(Ok(ip)) = frame.data().get(l3_off..).map(Ipv4::new_checked) else {
        return false;
    };
    if !may_report(&ip) {
        return false;
    }
    let room = usize::from(max_len.clamp(SMALLEST_MTU, MAX_ERROR_LEN))
        - (ipv4::HEADER_LEN + icmp::HEADER_LEN);
    let quoted = (ip.header_len() + ip.payload().len()).min(room);
    // Internetwork control, as RFC 1812 4.3.2.5 asks for.
    let tos = ip.tos() & 0x1e | 0xc0;
    let dst = ip.src();
    if !set_front(frame, l3_off, FRONT) {
        return false;
    }
    frame.truncate(FRONT + quoted);
    let len = (ipv4::HEADER_LEN + icmp::HEADER_LEN + quoted) as u16;
    let packet = frame
        .data_mut()
        .get_mut(eth::HEADER_LEN..)
        .unwrap_or_default();
    let Ok(mut ip) = Ipv4::init(packet, len, TTL, proto::ICMP, src, dst) else {
        return false;
    };
    ip.set_tos(tos);
    ip.fill_checksum();
    let Ok(mut message) = icmp::Icmp::new_checked(ip.payload_mut()) else {
        return false;
    };
    message.set_typ(typ);
    message.set_code(code);
    message.set_rest(info);
    message.fill_checksum();
    true
}

/// The source is one host that can be answered, and the destination is one host.
fn may_answer<T: AsRef<[u8]>>(ip: &Ipv4<T>) -> bool {
    let (src, dst) = (ip.src(), ip.dst());
    let one_host = |a: Ipv4Addr| a.octets()[0] != 0 && a.octets()[0] < 224;
    one_host(src) && !src.is_loopback() && one_host(dst)
}

fn may_report<T: AsRef<[u8]>>(ip: &Ipv4<T>) -> bool {
    may_answer(ip)
        && ip.frag() & ipv4::OFFSET == 0
        && (ip.protocol() != proto::ICMP
            || ip
                .payload()
                .first()
                .is_some_and(|typ| !icmp::is_error(*typ)))
}

#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
