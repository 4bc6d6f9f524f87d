//! Changes to TCP options that full NAT makes, each with its checksum delta.
//!
//! All take a slice that starts with the TCP header; a header that is not whole
//! is left alone. They never change a length, and they leave the checksum field
//! to the caller, who adds the deltas of all his changes and applies them once.

use dpvs_wire::checksum::Delta;
use dpvs_wire::tcp::{self, Options, Tcp};

/// Overwrites the timestamp option with NOPs: the server then sees none for the
/// whole connection, and the clocks of different clients behind one local
/// address cannot clash.
pub fn blank_timestamp(segment: &mut [u8]) -> Delta {
    let Some(at) = find(segment, tcp::OPT_TIMESTAMP, |len| len == 8) else {
        return Delta::new();
    };
    change(segment, at - 2, 10, |option| option.fill(tcp::OPT_NOP))
}

/// Overwrites Fast Open options (RFC 7413, and the experimental one before it) with
/// NOPs: the server then takes no data of a SYN, before which there is no place for a
/// PROXY header.
pub fn blank_fast_open(segment: &mut [u8]) -> Delta {
    blank(segment, |o| match o.kind {
        tcp::OPT_FASTOPEN => true,
        // Shares its number with the client's address.
        tcp::OPT_TOA => o.data.starts_with(&[0xf9, 0x89]),
        _ => false,
    })
}

/// Overwrites what a client says of its address with NOPs.
pub fn blank_client_address(segment: &mut [u8]) -> Delta {
    blank(segment, |o| o.kind == tcp::OPT_TOA)
}

fn blank(segment: &mut [u8], is: impl Fn(&tcp::Opt<'_>) -> bool) -> Delta {
    let mut delta = Delta::new();
    while let Some((at, len)) = place(segment, &is) {
        delta = delta.and(change(segment, at, len, |option| option.fill(tcp::OPT_NOP)));
    }
    delta
}

/// Where the first of such options is, and its length.
fn place(segment: &[u8], is: impl Fn(&tcp::Opt<'_>) -> bool) -> Option<(usize, usize)> {
    let view = Tcp::new_checked(segment).ok()?;
    let option = Options::new(view.options()).find(is)?;
    Some((tcp::HEADER_LEN + option.offset, option.wire_len()))
}

/// Lowers the MSS option by `by`, to make room for what is put into later
/// segments. Without the option nothing is added.
pub fn reduce_mss(segment: &mut [u8], by: u16) -> Delta {
    let Some(at) = find(segment, tcp::OPT_MSS, |len| len == 2) else {
        return Delta::new();
    };
    change(segment, at, 2, |mss| {
        if let Some(mss) = mss.first_chunk_mut() {
            *mss = u16::from_be_bytes(*mss).saturating_sub(by).to_be_bytes();
        }
    })
}

/// Adds `by` to every edge of the first SACK option, modulo 2^32.
pub fn shift_sack(segment: &mut [u8], by: u32) -> Delta {
    if only_timestamp(segment) {
        return Delta::new();
    }
    let Some(at) = find(segment, tcp::OPT_SACK, |len| len % 8 == 0) else {
        return Delta::new();
    };
    let len = usize::from(segment[at - 1]) - 2;
    change(segment, at, len, |blocks| {
        for edge in blocks.as_chunks_mut::<4>().0 {
            *edge = u32::from_be_bytes(*edge).wrapping_add(by).to_be_bytes();
        }
    })
}

/// Options of nearly every established segment: NOP NOP TIMESTAMP.
#[inline]
fn only_timestamp(segment: &[u8]) -> bool {
    matches!(segment.get(12), Some(b) if b >> 4 == 8)
        && segment.get(20..24) == Some(&[tcp::OPT_NOP, tcp::OPT_NOP, tcp::OPT_TIMESTAMP, 10])
}

/// Offset in the segment of the data of the first option of a kind, if its data
/// has a length that `fits`.
#[inline]
fn find(segment: &[u8], kind: u8, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let view = Tcp::new_checked(segment).ok()?;
    let option = Options::new(view.options()).find(|o| o.kind == kind)?;
    fits(option.data.len()).then_some(tcp::HEADER_LEN + option.offset + 2)
}

/// Applies `edit` to a range and says what that does to the checksum.
#[inline]
fn change(segment: &mut [u8], at: usize, len: usize, edit: impl Fn(&mut [u8])) -> Delta {
    let Some(bytes) = segment.get_mut(at..at + len) else {
        return Delta::new();
    };
    let before = Delta::new().sub_bytes(bytes);
    edit(bytes);
    let delta = before.add_bytes(bytes);
    // Options need not start at an even offset.
    if at.is_multiple_of(2) {
        delta
    } else {
        delta.swapped()
    }
}

#[cfg(test)]
#[path = "tcpopt_tests.rs"]
mod tests;
