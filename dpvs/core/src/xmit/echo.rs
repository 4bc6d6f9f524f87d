//! Echo requests and replies of a connection: their identifier stands for a port.
//!
//! A request has it as source port and a constant as destination port
//! ([`port`]), a reply the other way round, so that they are found, turned round
//! and given ids by the same tables as ports are. Other ICMP is no connection.

use dpvs_wire::checksum::Delta;
use dpvs_wire::{icmp, icmpv6, proto};

use crate::conn::Entry;
use crate::proto::Dir;
use crate::raw::{Net, ld16, st16};

/// The constant port of the side that is asked, as in a packet: type and code of
/// the request (DPVS facts §8.4).
pub(crate) const fn port(v6: bool) -> u16 {
    let request = if v6 {
        icmpv6::ECHO_REQUEST
    } else {
        icmp::ECHO_REQUEST
    };
    ((request as u16) << 8).to_be()
}

/// Source and destination port of an ICMP message at `l4`; `None` for what is no
/// echo. There are eight bytes.
#[inline]
pub(crate) fn ports(v6: bool, data: &[u8], l4: usize) -> Option<(u16, u16)> {
    let (request, reply) = if v6 {
        (icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY)
    } else {
        (icmp::ECHO_REQUEST, icmp::ECHO_REPLY)
    };
    let [typ, code] = [data[l4], data[l4 + 1]];
    let id = ld16(data, l4 + 4);
    if code != 0 {
        None
    } else if typ == request {
        Some((id, port(v6)))
    } else if typ == reply {
        Some((port(v6), id))
    } else {
        None
    }
}

/// True for the protocol that has echoes in that family.
pub(crate) const fn is(v6: bool, protocol: u8) -> bool {
    protocol == if v6 { proto::ICMPV6 } else { proto::ICMP }
}

/// Rewrites an echo of a connection: addresses, identifier, checksums.
pub(crate) fn translate<A: Net>(entry: &Entry<A>, dir: Dir, data: &mut [u8], l4: usize) {
    let other = 1 - dir as usize;
    let [dst, src] = entry.addrs[other];
    let [dport, sport] = entry.ports[other];
    let l3 = Delta::from_bits(entry.l3_delta);
    let l3 = if dir == Dir::In { l3 } else { l3.inverse() };
    A::set_addrs(data, src, dst, l3);
    let asked = data[l4]
        == if A::V6 {
            icmpv6::ECHO_REQUEST
        } else {
            icmp::ECHO_REQUEST
        };
    let id = if asked { sport } else { dport };
    // Only ICMPv6 sums up the addresses too.
    let delta = if A::V6 { l3 } else { Delta::new() };
    let delta = delta.sub(ld16(data, l4 + 4)).add(id);
    st16(data, l4 + 4, id);
    let sum = delta.apply(ld16(data, l4 + 2));
    st16(data, l4 + 2, sum);
}
