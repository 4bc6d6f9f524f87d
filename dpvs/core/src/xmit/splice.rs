//! A header put into a client's packet, in place of some of its payload or alone.
//!
//! Bytes of frames only: lengths and checksums are right afterwards, by what has
//! changed and not by summing the payload. Knows no connection: what is put where,
//! and how sequence numbers are counted after it, `client` says.

use dpvs_wire::checksum::{self, Delta};

use crate::frame::Frame;
use crate::raw::{L3, Net};
use crate::service::{TCP, UDP};

use super::fullnat::{ACK, FIN, SYN};
use super::uoa::ip_len;

const PSH: u8 = 0x08;

/// A number of a TCP header.
pub(super) fn number(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// Sets a segment's sequence number, and its checksum.
pub(super) fn set_seq(data: &mut [u8], l4: usize, seq: u32) {
    set_number(data, l4, l4 + 4, seq);
}

/// Sets a number of a TCP header, and its checksum.
pub(super) fn set_number(data: &mut [u8], l4: usize, at: usize, new: u32) {
    let old = number(data, at);
    data[at..at + 4].copy_from_slice(&new.to_be_bytes());
    let sum = u16::from_be_bytes([data[l4 + 16], data[l4 + 17]]);
    let sum = checksum::update32(sum, old, new);
    data[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
}

/// What a packet's transport checksum sums up besides the payload; `at` is where
/// that starts.
fn framing<A: Net>(data: &[u8], l4: usize, at: usize, len: usize, udp: bool) -> Delta {
    let (src, dst) = A::addrs(data);
    let proto = if udp { UDP } else { TCP };
    Delta::new()
        .add(src.ip())
        .add(dst.ip())
        .add(u16::from(proto))
        .add(len as u16)
        .add_bytes(&data[l4..at])
}

/// Puts `new` in place of `cut` bytes at `at`, the start of a TCP or UDP payload
/// whose header is at `l4`; lengths and checksums are right afterwards. The frame
/// grows and shrinks at its front. A checksum that was wrong stays wrong. False, and
/// nothing changed, without room.
pub(super) fn splice<F: Frame, A: Net>(
    frame: &mut F,
    l4: usize,
    at: usize,
    cut: usize,
    new: &[u8],
) -> bool {
    if !frame.pull_up(at + cut) || frame.data().len() < at + cut {
        return false;
    }
    let udp = at == l4 + 8;
    let sum_at = l4 + if udp { 6 } else { 16 };
    let old_len = ip_len::<A>(frame.data());
    let grow = new.len().saturating_sub(cut);
    if grow > 0 && !frame.push_front(grow) {
        return false;
    }
    // The headers are behind the new room, and the payload behind them.
    let data = frame.data_mut();
    let tail = L3 + old_len - l4;
    let mut sum = u16::from_be_bytes([data[grow + sum_at], data[grow + sum_at + 1]]);
    let unsummed = udp && sum == 0;
    data[grow + sum_at..grow + sum_at + 2].fill(0);
    let whole = Delta::from_bits(!sum);
    let headers = framing::<A>(&data[grow..], l4, at, tail, udp);
    let mut rest = whole
        .and(headers.inverse())
        .sub_bytes(&data[grow + at..grow + at + cut]);
    if cut.abs_diff(new.len()) % 2 == 1 {
        // Every byte behind is in the other half of its word now.
        rest = rest.swapped();
    }
    if new.len() >= cut {
        data.copy_within(grow..grow + at, 0);
    } else {
        let shrink = cut - new.len();
        data.copy_within(..at, shrink);
        // Within the first segment, as was looked at above.
        frame.pull_front(shrink);
    }
    let data = frame.data_mut();
    data[at..at + new.len()].copy_from_slice(new);
    let len = old_len + new.len() - cut;
    if A::V6 {
        data[L3 + 4..L3 + 6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    } else {
        data[L3 + 2..L3 + 4].copy_from_slice(&(len as u16).to_be_bytes());
        let sum = u16::from_be_bytes([data[L3 + 10], data[L3 + 11]]);
        let sum = checksum::update16(sum, old_len as u16, len as u16);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let tail = L3 + len - l4;
    if udp {
        data[l4 + 4..l4 + 6].copy_from_slice(&(tail as u16).to_be_bytes());
    }
    if !unsummed {
        let all = framing::<A>(data, l4, at + new.len(), tail, udp).and(rest);
        sum = !all.to_bits();
        if udp {
            sum = checksum::udp_field(sum);
        }
        data[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

/// Writes a segment with nothing but a PROXY header into an empty frame: between
/// the ends of `like`, whose TCP header is at `l4`, numbered `seq`.
pub(super) fn write_own<F: Frame, A: Net>(
    out: &mut F,
    like: &[u8],
    l4: usize,
    seq: u32,
    header: &[u8],
) -> bool {
    let to = A::L4;
    if !out.push_back(to + 20 + header.len()) {
        return false;
    }
    let data = out.data_mut();
    data[..to].copy_from_slice(&like[..to]);
    data[to..to + 20].copy_from_slice(&like[l4..l4 + 20]);
    data[to + 20..].copy_from_slice(header);
    data[to + 4..to + 8].copy_from_slice(&seq.to_be_bytes());
    data[to + 12] = 0x50;
    data[to + 13] = ACK | like[l4 + 13] & PSH & !(FIN | SYN);
    // No checksum yet, and nothing urgent.
    data[to + 16..to + 20].fill(0);
    let tail = data.len() - to;
    if A::V6 {
        data[L3 + 4..L3 + 6].copy_from_slice(&(tail as u16).to_be_bytes());
        data[L3 + 6] = TCP;
    } else {
        data[L3] = 0x45;
        data[L3 + 2..L3 + 4].copy_from_slice(&((20 + tail) as u16).to_be_bytes());
        data[L3 + 6..L3 + 8].fill(0);
        data[L3 + 10..L3 + 12].fill(0);
        let sum = !checksum::sum(&data[L3..to]);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let sum = !framing::<A>(data, to, data.len(), tail, false).to_bits();
    data[to + 16..to + 18].copy_from_slice(&sum.to_be_bytes());
    true
}
