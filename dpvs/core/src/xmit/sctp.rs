//! SCTP: ports are replaced as everywhere, the CRC-32C is computed anew. Of a packet
//! in fragments only the first one is at hand; its sum is changed by what the other
//! ports make of it, for which the whole packet's length is enough.

use dpvs_wire::checksum::Delta;
use dpvs_wire::crc32c;

use crate::conn::Entry;
use crate::proto::Dir;
use crate::raw::{Net, ld32, st16};

/// Whether the checksum of a packet is right; `end` is where the packet ends.
pub(crate) fn is_sound(data: &[u8], l4: usize, end: usize) -> bool {
    data.get(l4..end).is_some_and(|packet| {
        crc32c::sctp(packet).is_some_and(|sum| packet[8..12] == sum.to_le_bytes())
    })
}

/// Rewrites a packet in place; all of it is in `data`.
pub(crate) fn translate<A: Net>(entry: &Entry<A>, dir: Dir, data: &mut [u8], l4: usize) {
    set_ends(entry, dir, data, l4);
    if let Some(sum) = crc32c::sctp(&data[l4..]) {
        data[l4 + 8..l4 + 12].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Rewrites the first fragment of a packet that is `whole` bytes long.
pub(crate) fn translate_part<A: Net>(
    entry: &Entry<A>,
    dir: Dir,
    data: &mut [u8],
    l4: usize,
    whole: usize,
) {
    let before = ld32(data, l4);
    set_ends(entry, dir, data, l4);
    let difference = (before ^ ld32(data, l4)).to_ne_bytes();
    let sum = u32::from_le_bytes([data[l4 + 8], data[l4 + 9], data[l4 + 10], data[l4 + 11]]);
    let sum = sum ^ crc32c::difference(difference, whole.saturating_sub(4));
    data[l4 + 8..l4 + 12].copy_from_slice(&sum.to_le_bytes());
}

fn set_ends<A: Net>(entry: &Entry<A>, dir: Dir, data: &mut [u8], l4: usize) {
    let other = 1 - dir as usize;
    let [dst, src] = entry.addrs[other];
    let [dport, sport] = entry.ports[other];
    let flip = 0u16.wrapping_sub(dir as u16);
    A::set_addrs(data, src, dst, Delta::from_bits(entry.l3_delta ^ flip));
    st16(data, l4, sport);
    st16(data, l4 + 2, dport);
}
