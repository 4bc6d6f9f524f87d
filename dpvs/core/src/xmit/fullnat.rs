//! FullNAT: both addresses and both ports of a packet are replaced.
//!
//! Towards the server a packet comes from local address and port, back to the
//! client from the service's. All checksums are changed by the difference alone;
//! the part of it that is the same for every packet of a connection is computed
//! once ([`Entry::set_deltas`]). TCP sequence numbers are shifted so that a server
//! sees them rise for a local port that is used again (DPVS facts §13).
//!
//! DIFFERS: so a wrong checksum stays wrong and none of UDP stays none; DPVS computes
//! them anew, and makes a broken packet look sound.

use dpvs_wire::checksum::Delta;

use crate::conn::{Entry, flags};
use crate::proto::Dir;
use crate::raw::{Net, ld16, ld32, st16, st32};

use super::tcpopt;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

impl<A: Net> Entry<A> {
    /// Computes the checksum deltas from the addresses and ports.
    pub(crate) fn set_deltas(&mut self) {
        let [[caddr, vaddr], [daddr, laddr]] = self.addrs;
        let [[cport, vport], [dport, lport]] = self.ports;
        let mut l3 = Delta::new();
        l3 = laddr.add_to(l3);
        l3 = daddr.add_to(l3);
        l3 = caddr.sub_from(l3);
        l3 = vaddr.sub_from(l3);
        let l4 = l3.add(lport).add(dport).sub(cport).sub(vport);
        self.l3_delta = l3.to_bits();
        self.l4_delta = l4.to_bits();
    }
}

/// Rewrites one packet in place: addresses, ports, sequence numbers, checksums.
#[inline(always)]
pub(crate) fn translate<A: Net>(entry: &Entry<A>, dir: Dir, data: &mut [u8], l4: usize, tcp: bool) {
    // The other direction's tuple, turned round; its deltas are the complement of
    // this one's.
    let other = 1 - dir as usize;
    let [dst, src] = entry.addrs[other];
    let [dport, sport] = entry.ports[other];
    let flip = 0u16.wrapping_sub(dir as u16);
    A::set_addrs(data, src, dst, Delta::from_bits(entry.l3_delta ^ flip));
    st16(data, l4, sport);
    st16(data, l4 + 2, dport);
    let mut delta = Delta::from_bits(entry.l4_delta ^ flip);
    if tcp {
        if entry.seq_delta != 0 {
            delta = shift(entry.seq_delta, dir, data, l4, delta);
        }
        let sum = delta.apply(ld16(data, l4 + 16));
        st16(data, l4 + 16, sum);
    } else {
        let sum = delta.apply_udp(ld16(data, l4 + 6));
        st16(data, l4 + 6, sum);
    }
}

/// Shifts the sequence number towards the server, the acknowledgement (and SACK
/// edges) towards the client.
#[inline(always)]
fn shift(by: u32, dir: Dir, data: &mut [u8], l4: usize, delta: Delta) -> Delta {
    let at = match dir {
        Dir::In => l4 + 4,
        Dir::Out if data[l4 + 13] & ACK == 0 => return delta,
        Dir::Out => l4 + 8,
    };
    let old = ld32(data, at);
    let new = match dir {
        Dir::In => u32::from_be(old).wrapping_add(by),
        Dir::Out => u32::from_be(old).wrapping_sub(by),
    }
    .to_be();
    st32(data, at, new);
    let mut delta = delta.sub(old).add(new);
    if dir == Dir::Out && data[l4 + 12] > 0x50 {
        // Its delta is of numbers, ours of raw words.
        let sack = tcpopt::shift_sack(&mut data[l4..], 0u32.wrapping_sub(by));
        delta = delta.and(raw(sack));
    }
    delta
}

/// A delta of numbers as one of raw words.
pub(crate) fn raw(delta: Delta) -> Delta {
    if cfg!(target_endian = "little") {
        delta.swapped()
    } else {
        delta
    }
}

/// Fields of a TCP segment the connection's bookkeeping needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Sequence space used: payload, SYN and FIN.
    pub len: u32,
}

impl Segment {
    #[inline(always)]
    pub(crate) fn read(data: &[u8], l4: usize, end: usize) -> Self {
        let flags = data[l4 + 13];
        let header = usize::from(data[l4 + 12] >> 4) * 4;
        let syn_fin = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Self {
            seq: u32::from_be(ld32(data, l4 + 4)),
            ack: u32::from_be(ld32(data, l4 + 8)),
            flags,
            len: (end - l4 - header) as u32 + syn_fin,
        }
    }
}

/// Notes what the server has sent, for the reset at expiry. A first SYN, as source NAT
/// has, acknowledges nothing yet.
#[inline(always)]
pub(crate) fn note_server<A>(entry: &mut Entry<A>, seg: &Segment) {
    let plain = seg.flags & (RST | ACK) == ACK;
    if !plain && (seg.flags & RST != 0 || entry.flags & flags::MODE != 0) {
        return;
    }
    let seen = entry.flags & flags::RS_SEEN != 0;
    if !seen || seg.ack.wrapping_sub(entry.rs_ack) as i32 >= 0 {
        entry.rs_seq = seg.seq.wrapping_add(seg.len);
        entry.rs_ack = seg.ack;
        entry.flags |= flags::RS_SEEN;
    }
}
