//! TCP as the facts tell it: state table, sequence shift, options, the client's
//! address. Everything by search and copy, nothing by difference.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::wire::{Parts, be16, be32, find_option, octets, split_options};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// States in the order of the time-outs.
const STATES: &str = "NO ES SS SR FW TW CL CW LA LI SA";
/// Names as listed.
const NAMES: [&str; 11] = [
    "TCP_NONE",
    "TCP_EST",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "TCP_CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];
/// DPVS facts §8.1: next state by present state, for SYN, FIN, ACK, RST.
const FROM_CLIENT: [&str; 4] = [
    "SR ES ES SR SR SR SR SR SR SR SR",
    "CL CW SS TW TW TW CL CW LA LI TW",
    "CL ES SS ES FW TW CL CW CL LI ES",
    "CL CL CL SR CL CL CL CL LA LI SR",
];
const FROM_SERVER: [&str; 4] = [
    "SS ES SS SR SS SS SS SS SS LI SR",
    "TW FW SS TW FW TW CL TW LA LI TW",
    "ES ES SS ES FW TW CL CW LA ES ES",
    "CL CL SS CL CL TW CL CL CL CL CL",
];

pub const NONE: usize = 0;
pub const ESTABLISHED: usize = 1;
pub const SYN_RECV: usize = 3;
pub const FIN_WAIT: usize = 4;
pub const TIME_WAIT: usize = 5;
pub const CLOSE: usize = 6;
pub const CLOSE_WAIT: usize = 7;

pub fn name(state: usize) -> &'static str {
    NAMES[state]
}

/// The state after a segment; RST counts before SYN before FIN before ACK.
pub fn next(from_server: bool, state: usize, flags: u8) -> usize {
    let event = [(RST, 3), (SYN, 0), (FIN, 1), (ACK, 2)]
        .into_iter()
        .find(|(flag, _)| flags & flag != 0);
    let Some((_, row)) = event else { return CLOSE };
    let table = if from_server {
        FROM_SERVER
    } else {
        FROM_CLIENT
    };
    let name = table[row].split(' ').nth(state).unwrap();
    STATES.split(' ').position(|s| s == name).unwrap()
}

/// Fields of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Behind the last byte, SYN and FIN counted.
    pub seq_end: u32,
}

pub fn segment(l4: &[u8]) -> Segment {
    let flags = l4[13];
    let header = usize::from(l4[12] >> 4) * 4;
    let mut used = (l4.len() - header) as u32;
    used += u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let seq = be32(l4, 4);
    Segment {
        seq,
        ack: be32(l4, 8),
        flags,
        seq_end: seq.wrapping_add(used),
    }
}

fn options_end(l4: &[u8]) -> usize {
    usize::from(l4[12] >> 4) * 4
}

/// A SYN's timestamp option becomes NOPs.
pub fn no_timestamp(l4: &mut [u8]) {
    let end = options_end(l4);
    if let Some((at, 8)) = find_option(&l4[20..end], 8) {
        l4[20 + at - 2..20 + at + 8].fill(1);
    }
}

/// A SYN-ACK's segment size makes room for the client's address.
pub fn smaller_mss(l4: &mut [u8], by: u16) {
    let end = options_end(l4);
    if let Some((at, 2)) = find_option(&l4[20..end], 2) {
        let mss = be16(l4, 20 + at).saturating_sub(by);
        l4[20 + at..22 + at].copy_from_slice(&mss.to_be_bytes());
    }
}

/// Towards the server: the sequence number moves on.
pub fn shift_in(l4: &mut [u8], by: u32) {
    let seq = be32(l4, 4).wrapping_add(by);
    l4[4..8].copy_from_slice(&seq.to_be_bytes());
}

/// Towards the client: the acknowledgement moves back, and what is selectively
/// acknowledged.
pub fn shift_out(l4: &mut [u8], by: u32) {
    if l4[13] & ACK == 0 {
        return;
    }
    let ack = be32(l4, 8).wrapping_sub(by);
    l4[8..12].copy_from_slice(&ack.to_be_bytes());
    let end = options_end(l4);
    let only_timestamp = end == 32 && l4[20..24] == [1, 1, 8, 10];
    if only_timestamp {
        return;
    }
    if let Some((at, len)) = find_option(&l4[20..end], 5)
        && len % 8 == 0
    {
        for edge in (20 + at..20 + at + len).step_by(4) {
            let value = be32(l4, edge).wrapping_sub(by);
            l4[edge..edge + 4].copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// Puts the client's address in (DPVS facts §14.1); false if there is no room: then
/// what the client says of it itself is taken out.
pub fn add_client(parts: &mut Parts, client: (IpAddr, u16), mtu: usize) -> bool {
    let done = insert_client(parts, client, mtu);
    if !done {
        no_client(parts);
    }
    done
}

/// Overwrites what the client says of its address.
pub fn no_client(parts: &mut Parts) {
    let end = options_end(&parts.l4);
    for (kind, at, len) in split_options(&parts.l4[20..end]) {
        if kind == 254 {
            parts.l4[20 + at..20 + at + len].fill(1);
        }
    }
}

fn insert_client(parts: &mut Parts, client: (IpAddr, u16), mtu: usize) -> bool {
    let addr = octets(client.0);
    let mut option = vec![254, addr.len() as u8 + 4];
    option.extend(client.1.to_be_bytes());
    option.extend(addr);
    let end = options_end(&parts.l4);
    let mut options = parts.l4[20..end].to_vec();
    let too_long = (options.len() + option.len()).saturating_sub(40);
    let too_big = (parts.len() + option.len()).saturating_sub(mtu);
    let need = too_long.max(too_big);
    if need > 0 {
        if options.len() < option.len() || need > options.len() {
            return false;
        }
        let goal = options.len() - need;
        match prune(&options, goal, parts.l4[13] & SYN != 0) {
            Some(left) => options = left,
            None => return false,
        }
    }
    let mut l4 = parts.l4[..20].to_vec();
    l4[12] = l4[12] & 15 | (((20 + option.len() + options.len()) / 4) << 4) as u8;
    l4.extend(option);
    l4.extend(options);
    l4.extend(&parts.l4[end..]);
    parts.l4 = l4;
    true
}

fn padded(options: &[&[u8]]) -> Vec<u8> {
    let mut all = options.concat();
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

fn prune(options: &[u8], goal: usize, syn: bool) -> Option<Vec<u8>> {
    let list = split_options(options);
    let mut kept: Vec<&[u8]> = list
        .iter()
        .filter(|(kind, _, _)| *kind != 1 && *kind != 254)
        .map(|(_, at, len)| &options[*at..at + len])
        .collect();
    let mut seen = BTreeSet::new();
    let mut i = 0;
    while padded(&kept).len() > goal {
        let option = kept.get(i)?;
        let first = seen.insert(option[0]);
        let most = match option[0] {
            8 => 10,
            2 if syn => 4,
            3 if syn => 3,
            4 if syn => 2,
            30 if syn => 40,
            34 if syn => 18,
            _ => 0,
        };
        if first && option.len() <= most {
            i += 1;
        } else {
            kept.remove(i);
        }
    }
    Some(padded(&kept))
}
