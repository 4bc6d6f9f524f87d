//! IPv4 packets as IPv6 packets and back (RFC 7915), whole or in fragments.
//!
//! Addresses are IPv4-mapped ones on the IPv6 side, so that nothing has to be kept
//! to turn a packet, and turned back it is the packet it was. Their words sum up
//! to the same as the IPv4 addresses', so transport checksums stay right. ICMP
//! messages are other messages in the other family: echoes are turned, of errors only
//! the types are mapped here. Knows no connection.

use dpvs_wire::checksum::Delta;
use dpvs_wire::{checksum, eth, icmp, icmpv6, ipv6, proto};

use crate::frame::Frame;
use crate::raw::{L3, be16, ld16, ld32, ld128, map4, unmap4};
use crate::xmit::toa::LEN_V6;

/// IPv6 packets up to this size may be fragmented on the IPv4 side (RFC 7915 §5.1):
/// what every IPv6 link takes.
pub(crate) const MIN_MTU6: u16 = 1280;
/// How much longer an IPv6 header is than an IPv4 header.
pub(crate) const GROWTH: u16 = 20;

/// Why a packet cannot be turned; it is unchanged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrossError {
    /// No room in front, or headers that are not all there.
    NoRoom,
    /// An address that is not mapped.
    Address,
    /// A fragment whose checksum would need the whole packet: of UDP without one, which
    /// IPv6 wants, or of an echo, whose length ICMPv6 sums up (RFC 7915 §1.2).
    Checksum,
}

/// Turns an IPv6 packet between mapped addresses into an IPv4 packet. Extension
/// headers go, but for the fragment header. `id` is used where the packet may be
/// fragmented later. Returns the offset of the transport header.
///
/// DIFFERS: traffic class becomes TOS, and what is small enough for any IPv6 link
/// may be fragmented (RFC 7915); DPVS writes TOS 0 and always DF.
pub(crate) fn six_to_four<F: Frame>(frame: &mut F, id: u16) -> Result<usize, CrossError> {
    let data = frame.data();
    if data.len() < L3 + 40 {
        return Err(CrossError::NoRoom);
    }
    let len = 40 + usize::from(be16(data, L3 + 4));
    let rest = data.get(L3 + 40..(L3 + len).min(data.len()));
    let upper = ipv6::walk(data[L3 + 6], rest.unwrap_or_default());
    let upper = upper.map_err(|_| CrossError::NoRoom)?;
    let src = unmap4(ld128(data, L3 + 8)).ok_or(CrossError::Address)?;
    let dst = unmap4(ld128(data, L3 + 24)).ok_or(CrossError::Address)?;
    let (tos, ttl) = ((be16(data, L3) >> 4) as u8, data[L3 + 7]);
    let body = len.checked_sub(upper.offset).ok_or(CrossError::NoRoom)?;
    let total = body + 20;
    let (id, word) = match upper.fragment {
        Some(f) => {
            let header = crate::fragment::fragment_header(data).ok_or(CrossError::NoRoom)?;
            let more = if f.more { 0x2000 } else { 0 };
            (be16(data, header + 6), (f.offset / 8) | more)
        }
        // With the client's address in it.
        None if len > usize::from(MIN_MTU6) + LEN_V6 => (0, 0x4000),
        None => (id, 0),
    };
    let echo = upper.protocol == proto::ICMPV6;
    if echo && upper.fragment.is_some() {
        return Err(CrossError::Checksum);
    }
    // Between Ethernet and transport header is more room than needed.
    if !frame.pull_front(upper.offset - 20) {
        return Err(CrossError::NoRoom);
    }
    let data = frame.data_mut();
    data[12..14].copy_from_slice(&eth::ETHERTYPE_IPV4.to_be_bytes());
    write4(
        &mut data[L3..L3 + 20],
        (tos, ttl, if echo { proto::ICMP } else { upper.protocol }),
        total as u16,
        (id, word),
        (src, dst),
    );
    if echo {
        let addrs = Delta::new().add_bytes(&data[L3 + 12..L3 + 20]);
        turn_echo(data, L3 + 20, addrs, body as u16, false);
    }
    Ok(L3 + 20)
}

/// Writes an IPv4 header without options; addresses as in a packet.
pub(crate) fn write4(
    h: &mut [u8],
    (tos, ttl, proto): (u8, u8, u8),
    total: u16,
    (id, word): (u16, u16),
    (src, dst): (u32, u32),
) {
    h[0] = 0x45;
    h[1] = tos;
    h[2..4].copy_from_slice(&total.to_be_bytes());
    h[4..6].copy_from_slice(&id.to_be_bytes());
    h[6..8].copy_from_slice(&word.to_be_bytes());
    h[8] = ttl;
    h[9] = proto;
    h[10..12].fill(0);
    h[12..16].copy_from_slice(&src.to_ne_bytes());
    h[16..20].copy_from_slice(&dst.to_ne_bytes());
    let sum = !checksum::sum(h);
    h[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Writes an IPv6 header; addresses as in a packet.
pub(crate) fn write6(
    h: &mut [u8],
    (class, hops, next): (u8, u8, u8),
    payload: u16,
    (src, dst): (u128, u128),
) {
    h[..4].copy_from_slice(&(0x6000_0000 | u32::from(class) << 20).to_be_bytes());
    h[4..6].copy_from_slice(&payload.to_be_bytes());
    h[6] = next;
    h[7] = hops;
    h[8..24].copy_from_slice(&src.to_ne_bytes());
    h[24..40].copy_from_slice(&dst.to_ne_bytes());
}

/// Turns an IPv4 packet into an IPv6 packet between mapped addresses. Options go.
/// Returns the offset of the transport header (of the data, in a later fragment).
pub(crate) fn four_to_six<F: Frame>(frame: &mut F) -> Result<usize, CrossError> {
    let data = frame.data();
    let Some(h) = data.get(L3..L3 + 20) else {
        return Err(CrossError::NoRoom);
    };
    let header = usize::from(h[0] & 15) * 4;
    let total = usize::from(be16(data, L3 + 2));
    let body = total.checked_sub(header).ok_or(CrossError::NoRoom)?;
    let (tos, ttl, protocol) = (h[1], h[8], h[9]);
    let (id, word) = (be16(data, L3 + 4), be16(data, L3 + 6));
    let (src, dst) = (map4(ld32(data, L3 + 12)), map4(ld32(data, L3 + 16)));
    let addrs = Delta::new().add_bytes(&data[L3 + 12..L3 + 20]);
    let fragment = word & 0x3fff != 0;
    let first = word & 0x1fff == 0;
    let l4 = L3 + header;
    if protocol == proto::UDP && first && data.get(l4 + 6..l4 + 8) == Some(&[0, 0]) {
        if fragment {
            return Err(CrossError::Checksum);
        }
        if !frame.pull_up(L3 + total) || !sum_udp(frame.data_mut(), l4, L3 + total) {
            return Err(CrossError::NoRoom);
        }
    }
    let echo = protocol == proto::ICMP;
    if echo && fragment {
        return Err(CrossError::Checksum);
    }
    let front = 40 + if fragment { 8 } else { 0 };
    if !super::set_front(frame, header, front) {
        return Err(CrossError::NoRoom);
    }
    let data = frame.data_mut();
    data[12..14].copy_from_slice(&eth::ETHERTYPE_IPV6.to_be_bytes());
    let next = match protocol {
        _ if fragment => proto::FRAGMENT,
        proto::ICMP => proto::ICMPV6,
        other => other,
    };
    write6(
        &mut data[L3..L3 + 40],
        (tos, ttl, next),
        (front - 40 + body) as u16,
        (src, dst),
    );
    if fragment {
        let more = u16::from(word & 0x2000 != 0);
        write_fragment(
            &mut data[L3 + 40..L3 + 48],
            protocol,
            (word & 0x1fff) << 3 | more,
            u32::from(id),
        );
    }
    if echo {
        turn_echo(data, L3 + front, addrs, body as u16, true);
    }
    Ok(L3 + front)
}

/// An echo's type in the other family.
pub(crate) const fn echo_type(typ: u8, to6: bool) -> u8 {
    match (typ, to6) {
        (icmp::ECHO_REQUEST, true) => icmpv6::ECHO_REQUEST,
        (icmp::ECHO_REPLY, true) => icmpv6::ECHO_REPLY,
        (icmpv6::ECHO_REQUEST, false) => icmp::ECHO_REQUEST,
        (icmpv6::ECHO_REPLY, false) => icmp::ECHO_REPLY,
        (other, _) => other,
    }
}

/// Makes an echo of `len` bytes at `l4` the other family's. ICMPv6 sums up addresses,
/// length and protocol too (RFC 4443 §2.3).
fn turn_echo(data: &mut [u8], l4: usize, addrs: Delta, len: u16, to6: bool) {
    let Some(&[typ, code, high, low]) = data.get(l4..).and_then(<[u8]>::first_chunk) else {
        return;
    };
    let new = echo_type(typ, to6);
    let pseudo = addrs.add(len).add(u16::from(proto::ICMPV6));
    let pseudo = if to6 { pseudo } else { pseudo.inverse() };
    let sum = pseudo
        .sub(u16::from_be_bytes([typ, code]))
        .add(u16::from_be_bytes([new, code]))
        .apply(u16::from_be_bytes([high, low]));
    data[l4] = new;
    data[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
}

/// Writes a fragment header.
pub(crate) fn write_fragment(h: &mut [u8], next: u8, word: u16, id: u32) {
    h[..2].copy_from_slice(&[next, 0]);
    h[2..4].copy_from_slice(&word.to_be_bytes());
    h[4..8].copy_from_slice(&id.to_be_bytes());
}

/// The checksum of a UDP datagram that has none.
fn sum_udp(data: &mut [u8], l4: usize, end: usize) -> bool {
    let Some(datagram) = data.get(l4..end) else {
        return false;
    };
    let len = usize::from(be16(data, l4 + 4));
    let Some(datagram) = datagram.get(..len) else {
        return false;
    };
    let addrs = checksum::sum(&data[L3 + 12..L3 + 20]);
    let pseudo = checksum::combine(addrs, u16::from(proto::UDP));
    let pseudo = checksum::combine(pseudo, len as u16);
    let sum = checksum::udp_field(!checksum::combine(pseudo, checksum::sum(datagram)));
    data[l4 + 6..l4 + 8].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Packet sizes that links had when routers did not tell (RFC 1191 §7).
const PLATEAUS: [u16; 10] = [
    32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68,
];

/// An ICMP error as ICMPv6 says it (RFC 7915 §4.2): type, code and the word behind
/// the checksum, of a packet of `quoted` bytes. `None`: it is not passed on.
pub(crate) fn error_to_six(typ: u8, code: u8, word: u32, quoted: u16) -> Option<(u8, u8, u32)> {
    Some(match (typ, code) {
        (icmp::UNREACHABLE, 2) => (icmpv6::PARAM_PROBLEM, 1, 6),
        (icmp::UNREACHABLE, 3) => (icmpv6::UNREACHABLE, 4, 0),
        (icmp::UNREACHABLE, 4) => {
            let told = word as u16;
            let mtu = if told == 0 {
                *PLATEAUS.iter().find(|mtu| **mtu < quoted)?
            } else {
                told
            };
            let mtu = mtu.saturating_add(GROWTH).max(MIN_MTU6);
            (icmpv6::PACKET_TOO_BIG, 0, mtu.into())
        }
        (icmp::UNREACHABLE, 9 | 10 | 13 | 15) => (icmpv6::UNREACHABLE, 1, 0),
        (icmp::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => (icmpv6::UNREACHABLE, 0, 0),
        (icmp::TIME_EXCEEDED, _) => (icmpv6::TIME_EXCEEDED, code, 0),
        (icmp::PARAM_PROBLEM, 0 | 2) => {
            let pointer = match word >> 24 {
                0 => 0,
                1 => 1,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..=15 => 8,
                16..=19 => 24,
                _ => return None,
            };
            (icmpv6::PARAM_PROBLEM, 0, pointer)
        }
        _ => return None,
    })
}

/// An ICMPv6 error as ICMP says it (RFC 7915 §5.2).
pub(crate) fn error_to_four(typ: u8, code: u8, word: u32) -> Option<(u8, u8, u32)> {
    Some(match (typ, code) {
        (icmpv6::UNREACHABLE, 1) => (icmp::UNREACHABLE, 10, 0),
        (icmpv6::UNREACHABLE, 4) => (icmp::UNREACHABLE, 3, 0),
        (icmpv6::UNREACHABLE, 0 | 2 | 3) => (icmp::UNREACHABLE, 1, 0),
        (icmpv6::PACKET_TOO_BIG, _) => {
            let mtu = word.min(65_535).saturating_sub(GROWTH.into());
            (icmp::UNREACHABLE, 4, mtu)
        }
        (icmpv6::TIME_EXCEEDED, _) => (icmp::TIME_EXCEEDED, code, 0),
        (icmpv6::PARAM_PROBLEM, 0) => {
            let pointer = match word {
                0 => 0,
                1 => 1,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            (icmp::PARAM_PROBLEM, 0, pointer << 24)
        }
        (icmpv6::PARAM_PROBLEM, 1) => (icmp::UNREACHABLE, 2, 0),
        _ => return None,
    })
}

/// Whether a packet is to a mapped address.
pub(crate) fn leaves_as_four(data: &[u8]) -> bool {
    data.len() >= L3 + 40
        && ld16(data, 12) == eth::ETHERTYPE_IPV6.to_be()
        && unmap4(ld128(data, L3 + 24)).is_some()
}

#[cfg(test)]
#[path = "cross_tests.rs"]
mod tests;
