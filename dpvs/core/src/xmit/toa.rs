//! TOA: the client's address in a TCP option towards the server.
//!
//! Option kind 254, directly behind the base header: length 8 (IPv4 client) or
//! 20 (IPv6 client), port and address in network order. When a segment is when
//! to get one is the forwarding mode's business. If it does not fit, options the
//! server can do without make room.

use std::net::IpAddr;

use crate::frame::Frame;
use dpvs_wire::checksum::{Delta, update16};
use dpvs_wire::ipv4::Ipv4;
use dpvs_wire::ipv6::{self, Ipv6};
use dpvs_wire::tcp::{self, MAX_OPTIONS_LEN, Options, Tcp};

/// Length of the option with an IPv4 address, in bytes.
pub const LEN_V4: usize = 8;
/// Length of the option with an IPv6 address, in bytes.
pub const LEN_V6: usize = 20;

/// Why a segment goes without the option; it is unchanged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToaError {
    /// The packet would be longer than the MTU.
    TooBig,
    /// The TCP header would be longer than 60 bytes.
    HeaderFull,
    /// No headroom in the frame.
    NoRoom,
    /// Not a whole TCP segment in an IP packet.
    Malformed,
}

/// Puts the option into the segment at `l4_off`, whose IP header is at `l3_off`,
/// and corrects lengths and checksums. The frame grows (or, after pruning, may
/// shrink) at its front; both offsets stay right. The resulting IP packet is at
/// most `mtu` bytes.
pub fn insert_toa<F: Frame>(
    frame: &mut F,
    l3_off: usize,
    l4_off: usize,
    client: (IpAddr, u16),
    mtu: u16,
) -> Result<(), ToaError> {
    let (toa, len) = option(client);
    let toa = &toa[..len];
    let data = frame.data();
    let ip_len = ip_len(data.get(l3_off..).unwrap_or_default()).ok_or(ToaError::Malformed)?;
    let segment = data.get(l4_off..).unwrap_or_default();
    let segment = Tcp::new_checked(segment).map_err(|_| ToaError::Malformed)?;
    let old_len = segment.header_len();
    let tcp_len = (ip_len + l3_off)
        .checked_sub(l4_off)
        .filter(|len| *len >= old_len);
    let tcp_len = tcp_len.ok_or(ToaError::Malformed)?;
    let options = segment.options();

    let too_long = (options.len() + len).saturating_sub(MAX_OPTIONS_LEN);
    let too_big = (ip_len + len).saturating_sub(usize::from(mtu));
    let mut delta = Delta::new();
    let mut pruned = None;
    if too_long.max(too_big) > 0 {
        let error = if too_big > 0 {
            ToaError::TooBig
        } else {
            ToaError::HeaderFull
        };
        if options.len() < len {
            return Err(error);
        }
        let syn = segment.flags() & tcp::SYN != 0;
        let kept = prune(options, too_long.max(too_big), syn).ok_or(error)?;
        delta = delta.sub_bytes(options).add_bytes(kept.padded());
        pruned = Some(kept);
    }
    let kept_len = pruned.as_ref().map_or(options.len(), |p| p.padded().len());
    let new_len = tcp::HEADER_LEN + len + kept_len;

    // The headers in front of the options move; the payload stays where it is.
    let front = l4_off + tcp::HEADER_LEN;
    if new_len >= old_len {
        let grow = new_len - old_len;
        if !frame.push_front(grow) {
            return Err(ToaError::NoRoom);
        }
        frame.data_mut().copy_within(grow..grow + front, 0);
    } else {
        let shrink = old_len - new_len;
        frame.data_mut().copy_within(..front, shrink);
        frame.pull_front(shrink);
    }

    let new_tcp_len = tcp_len - old_len + new_len;
    let data = frame.data_mut();
    let area = data
        .get_mut(front..front + len + kept_len)
        .unwrap_or_default();
    let (head, tail) = area.split_at_mut_checked(len).ok_or(ToaError::Malformed)?;
    head.copy_from_slice(toa);
    if let Some(kept) = pruned {
        tail.copy_from_slice(kept.padded());
    }
    delta = delta
        .add_bytes(toa)
        .sub(tcp_len as u16)
        .add(new_tcp_len as u16);
    // The view would look at the old length, which may be behind the end now.
    let base = data
        .get_mut(l4_off..)
        .and_then(|b| b.first_chunk_mut::<{ tcp::HEADER_LEN }>());
    if let Some([.., offset, _, _, _, sum0, sum1, _, _]) = base {
        // Data offset is the high half of a byte whose word has the flags too.
        delta = delta
            .sub((old_len as u16) << 10)
            .add((new_len as u16) << 10);
        *offset = *offset & 0x0f | (new_len as u8 / 4) << 4;
        let sum = delta.apply(u16::from_be_bytes([*sum0, *sum1]));
        [*sum0, *sum1] = sum.to_be_bytes();
    }
    set_ip_len(
        data.get_mut(l3_off..).unwrap_or_default(),
        ip_len + new_len - old_len,
    );
    Ok(())
}

/// The option and its length.
fn option((addr, port): (IpAddr, u16)) -> ([u8; LEN_V6], usize) {
    let mut bytes = [0; LEN_V6];
    let len = match addr {
        IpAddr::V4(a) => {
            bytes[4..8].copy_from_slice(&a.octets());
            LEN_V4
        }
        IpAddr::V6(a) => {
            bytes[4..].copy_from_slice(&a.octets());
            LEN_V6
        }
    };
    bytes[0] = tcp::OPT_TOA;
    bytes[1] = len as u8;
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    (bytes, len)
}

/// Length of the IP packet as its header says.
#[inline]
fn ip_len(packet: &[u8]) -> Option<usize> {
    if packet.first()? >> 4 == 4 {
        Ipv4::new_checked(packet)
            .ok()
            .map(|ip| usize::from(ip.total_len()))
    } else {
        Ipv6::new_checked(packet).ok().map(|ip| ip.total_len())
    }
}

#[inline]
fn set_ip_len(packet: &mut [u8], len: usize) {
    if packet.first().is_some_and(|b| b >> 4 == 4) {
        if let Ok(mut ip) = Ipv4::new_checked(packet) {
            let sum = update16(ip.checksum(), ip.total_len(), len as u16);
            ip.set_total_len(len as u16);
            ip.set_checksum(sum);
        }
    } else if let Ok(mut ip) = Ipv6::new_checked(packet) {
        ip.set_payload_len((len - ipv6::HEADER_LEN) as u16);
    }
}

/// Options that remain, padded with EOL to whole words.
struct Kept {
    bytes: [u8; MAX_OPTIONS_LEN],
    len: usize,
}

impl Kept {
    fn padded(&self) -> &[u8] {
        &self.bytes[..self.len.next_multiple_of(4)]
    }

    fn copy(options: &[u8], keep: impl FnMut(&tcp::Opt<'_>) -> bool) -> Self {
        let mut kept = Self {
            bytes: [tcp::OPT_EOL; MAX_OPTIONS_LEN],
            len: 0,
        };
        for option in Options::new(options).filter(keep) {
            let wire = &options[option.offset..option.offset + option.wire_len()];
            kept.bytes[kept.len..kept.len + wire.len()].copy_from_slice(wire);
            kept.len += wire.len();
        }
        kept
    }
}

/// Drops what is not needed until `need` bytes are free: first padding and
/// options of our own kind, then in order whatever is not protected. `None` if
/// that is not enough.
#[cold]
fn prune(options: &[u8], need: usize, syn: bool) -> Option<Kept> {
    let goal = options.len().checked_sub(need)?;
    let first = Kept::copy(options, |o| {
        o.kind != tcp::OPT_NOP && o.kind != tcp::OPT_TOA
    });
    if first.padded().len() <= goal {
        return Some(first);
    }
    let mut left = first.len;
    let mut seen = [false; 256];
    let second = Kept::copy(&first.bytes[..first.len], |o| {
        let known = std::mem::replace(&mut seen[usize::from(o.kind)], true);
        if left.next_multiple_of(4) <= goal || !known && protected(o, syn) {
            return true;
        }
        left -= o.wire_len();
        false
    });
    (second.padded().len() <= goal).then_some(second)
}

/// Options a connection does not work the same without. A known kind with a
/// length it never has is no such option.
fn protected(option: &tcp::Opt<'_>, syn: bool) -> bool {
    let longest = match option.kind {
        tcp::OPT_TIMESTAMP => 10,
        tcp::OPT_MSS if syn => 4,
        tcp::OPT_WSCALE if syn => 3,
        tcp::OPT_SACK_PERM if syn => 2,
        tcp::OPT_MPTCP if syn => 40,
        tcp::OPT_FASTOPEN if syn => 18,
        _ => return false,
    };
    option.wire_len() <= longest
}

#[cfg(test)]
#[path = "toa_tests.rs"]
mod tests;
