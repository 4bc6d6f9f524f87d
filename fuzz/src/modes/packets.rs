//! Packets made of fields: right in most of what they say, and wrong now and then.
//! What is about a connection is made of what was seen.

use super::pkt::pieces;
use crate::input::Input;
use crate::worker::frames::{self, CLIENTS, CLIENTS6, OURS, OURS6};
use crate::worker::support;

/// Bytes before the IP header.
const ETH: usize = 14;
const SCTP: u8 = 132;

fn is6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

fn is4(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0])
}

/// CRC32c, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = crc >> 1 ^ (0x82f6_3b78 & low.wrapping_neg());
        }
    }
    !crc
}

/// Puts all checksums right; false for what may have others that stay wrong: tagged,
/// in a tunnel, behind extension headers, in pieces.
pub(crate) fn seal(frame: &mut [u8]) -> bool {
    frames::fix(frame);
    let plain = |proto: Option<&u8>| proto.is_some_and(|p| matches!(p, 1 | 6 | 17 | 58));
    if is4(frame) {
        let whole = frame
            .get(20..22)
            .is_some_and(|w| w[0] & 0x3f == 0 && w[1] == 0);
        whole && plain(frame.get(23))
    } else {
        is6(frame) && plain(frame.get(20))
    }
}

/// The checksum of an SCTP packet.
fn seal_sctp(l4: &mut [u8]) {
    if l4.len() >= 12 {
        l4[8..12].fill(0);
        let crc = crc32c(l4).to_le_bytes();
        l4[8..12].copy_from_slice(&crc);
    }
}

fn ip(input: &mut Input<'_>, proto: u8, l4: &[u8]) -> Vec<u8> {
    if input.byte() & 1 == 0 {
        frames::ip4(proto, input.pick(&CLIENTS), input.pick(&OURS), l4)
    } else {
        frames::ip6(proto, input.pick(&CLIENTS6), input.pick(&OURS6), l4)
    }
}

/// An SCTP packet of one chunk.
fn sctp(input: &mut Input<'_>) -> Vec<u8> {
    let from = 40_000 + u16::from(input.byte() & 7);
    let mut l4 = [from.to_be_bytes(), 80u16.to_be_bytes()].concat();
    l4.extend(input.long().to_be_bytes());
    l4.extend([0; 4]);
    let len = 4 + input.below(40);
    l4.extend([input.byte() & 15, input.byte(), 0, len as u8]);
    l4.extend(vec![input.byte(); (len - 4).next_multiple_of(4)]);
    seal_sctp(&mut l4);
    ip(input, SCTP, &l4)
}

fn echo(input: &mut Input<'_>) -> Vec<u8> {
    let id = input.byte() & 3;
    let data = vec![7; input.below(64)];
    let v6 = input.byte() & 1 == 1;
    let typ = match (v6, input.byte() & 3) {
        (false, 0) => 0,
        (false, _) => 8,
        (true, 0) => 129,
        (true, _) => 128,
    };
    let l4 = [&[typ, 0, 0, 0, 0, id, 0, 1][..], &data].concat();
    if v6 {
        frames::ip6(58, input.pick(&CLIENTS6), input.pick(&OURS6), &l4)
    } else {
        frames::ip4(1, input.pick(&CLIENTS), input.pick(&OURS), &l4)
    }
}

/// A UDP datagram or a TCP segment with this text.
fn with(input: &mut Input<'_>, proto: u8, port: u16, payload: Vec<u8>) -> Vec<u8> {
    let from = 40_000 + u16::from(input.byte() & 7);
    let (src, dst) = if input.byte() & 1 == 0 {
        (CLIENTS[0], OURS[0])
    } else {
        (CLIENTS6[0], OURS6[0])
    };
    let mut packet = if proto == 6 {
        support::tcp((src, from), (dst, port), 24, input.long(), input.long())
    } else {
        support::udp((src, from), (dst, port), b"")
    };
    packet.payload = payload;
    packet.bytes()
}

fn sip(input: &mut Input<'_>) -> Vec<u8> {
    let id = input.byte() & 3;
    let mut text = format!(
        "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c\r\n{}: {id}@x\r\n\r\n",
        input.pick(&["Call-ID", "i", "call-id", "Call-ID ", "CALL-ID"])
    )
    .into_bytes();
    for _ in 0..input.byte() & 3 {
        let at = input.below(text.len());
        text[at] = input.byte();
    }
    let proto = input.pick(&[17, 17, 6]);
    with(input, proto, 5060, text)
}

fn quic(input: &mut Input<'_>) -> Vec<u8> {
    let mut text = vec![input.pick(&[0xc3, 0x43, 0x40, 0xff, 0xe0])];
    if text[0] & 0x80 != 0 {
        text.extend([0, 0, 0, input.pick(&[1, 0, 2])]);
        text.push(input.pick(&[8, 20, 0, 255, 10]));
    }
    text.extend(input.bytes(8));
    text.extend([8, 1, 2, 3, 4, 5, 6, 7, 8]);
    text.resize(input.pick(&[1200, 20, 40, 9, 3]), 0);
    with(input, 17, 443, text)
}

/// A client that says whose it is.
fn proxied(input: &mut Input<'_>) -> Vec<u8> {
    let mut text = match input.byte() & 3 {
        0 => b"PROXY TCP4 203.0.113.5 192.0.2.10 1 2\r\nGET /".to_vec(),
        1 => b"PROXY UNKNOWN\r\n".to_vec(),
        family => {
            let mut text = b"\r\n\r\0\r\nQUIT\n".to_vec();
            text.insert(3, b'\n');
            text.truncate(12);
            let room = if family == 2 { 12 } else { 36 };
            let kind = if family == 2 { 0x11 } else { 0x21 };
            text.extend([0x21, kind, 0, room]);
            text.extend(vec![9; usize::from(room)]);
            text.extend(b"data");
            text
        }
    };
    for _ in 0..input.byte() & 3 {
        let at = input.below(text.len());
        text[at] = input.byte();
    }
    let proto = input.pick(&[6, 6, 17]);
    with(input, proto, 80, text)
}

/// What a switch says of itself.
fn lldp(input: &mut Input<'_>) -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 9, 0x88, 0xcc];
    frame.extend([2, 7, 4, 2, 0, 0, 0, 0, 9]);
    let n = input.byte();
    frame.extend(input.bytes(usize::from(n)));
    frame
}

/// A packet of any kind.
pub(crate) fn made(input: &mut Input<'_>) -> Vec<u8> {
    match input.byte() & 15 {
        0..=2 => frames::flow(input, 6),
        3 | 4 => frames::flow(input, 17),
        5 | 6 => sctp(input),
        7 => echo(input),
        8 => sip(input),
        9 => quic(input),
        10 => proxied(input),
        11 if input.byte() & 15 == 0 => lldp(input),
        _ => frames::made(input),
    }
}

/// As the other side would answer it; also what is inside a tunnel.
pub(crate) fn answer(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    let flags = input.pick(&[18, 16, 24, 17, 4, 2, 20]);
    let more = u32::from(input.byte() & 3);
    let proto = frame.get(if is6(frame) { 20 } else { 23 }).copied();
    let start = if is6(frame) {
        ETH + 40
    } else {
        ETH + usize::from(frame.get(ETH).map_or(5, |b| b & 15)) * 4
    };
    match proto {
        Some(SCTP) => {
            let chunk = input.pick(&[2u8, 11, 3, 6, 0, 8, 14, 1]);
            frames::answer(frame, flags, more);
            if let Some(kind) = frame.get_mut(start + 12) {
                *kind = chunk;
            }
            if frame.len() > start {
                seal_sctp(&mut frame[start..]);
            }
        }
        Some(1 | 58) if frame.len() > start + 8 => {
            let (typ, words) = (
                frame[start],
                [frame[start + 4], frame[start + 5], frame[start + 6]],
            );
            frames::answer(frame, flags, more);
            frame[start] = match typ {
                8 => 0,
                128 => 129,
                other => other,
            };
            frame[start + 1] = 0;
            frame[start + 4..start + 7].copy_from_slice(&words);
            frames::fix(frame);
        }
        Some(4 | 41 | 47) => {
            let inside = match proto {
                Some(47) => {
                    let opts = frame.get(start).copied().unwrap_or(0);
                    4 + 4 * [0x80, 0x20, 0x10].iter().filter(|b| opts & *b != 0).count()
                }
                _ => 0,
            };
            frames::answer(frame, flags, more);
            if let Some(inner) = frame.get(start + inside..).filter(|i| i.len() > 20) {
                let kind: [u8; 2] = if inner[0] >> 4 == 6 {
                    [0x86, 0xdd]
                } else {
                    [8, 0]
                };
                let mut fake = [&[0; 12][..], &kind, inner].concat();
                frames::answer(&mut fake, flags, more);
                frame.truncate(start + inside);
                frame.extend(&fake[ETH..]);
            }
        }
        _ => frames::answer(frame, flags, more),
    }
}

/// An error of a router about a packet: sent back to where it came from.
pub(crate) fn error(input: &mut Input<'_>, about: &[u8]) -> Option<Vec<u8>> {
    let quote = about.get(ETH..)?;
    let quote = &quote[..quote.len().min(input.pick(&[548, 28, 68, 48, 20, 1232]))];
    let mtu = input
        .pick(&[1400u16, 1280, 576, 0, 68, 65_535])
        .to_be_bytes();
    let mut frame = about.get(..ETH)?.to_vec();
    let (a, b) = frame[..12].split_at_mut(6);
    a.swap_with_slice(b);
    if is4(about) && quote.len() >= 20 {
        let (typ, code) = input.pick(&[(3, 4), (3, 3), (11, 0), (3, 1), (12, 0), (5, 1), (4, 0)]);
        let l4 = [&[typ, code, 0, 0, 0, 0, mtu[0], mtu[1]], quote].concat();
        frame.extend([0x45, 0]);
        frame.extend(((20 + l4.len()) as u16).to_be_bytes());
        frame.extend([0, 9, 0, 0, 64, 1, 0, 0]);
        let router = input.pick(&[[10, 0, 1, 11], [198, 51, 100, 7], [203, 0, 113, 9]]);
        frame.extend(router);
        frame.extend(&quote[12..16]);
        frame.extend(l4);
    } else if is6(about) && quote.len() >= 40 {
        let (typ, code) = input.pick(&[(2, 0), (1, 4), (3, 0), (1, 0), (4, 1)]);
        let l4 = [&[typ, code, 0, 0, 0, 0, mtu[0], mtu[1]], quote].concat();
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((l4.len() as u16).to_be_bytes());
        frame.extend([58, 64, 0x20, 1, 0x0d, 0xb8, 0, input.pick(&[0xff, 2]), 0, 0]);
        frame.extend([0, 0, 0, 0, 0, 0, 0, input.pick(&[9, 0x11])]);
        frame.extend(&quote[8..24]);
        frame.extend(l4);
    } else {
        return None;
    }
    frames::fix(&mut frame);
    Some(frame)
}

/// The pieces of a datagram, some of them, in some order.
pub(crate) fn cut(input: &mut Input<'_>, frame: &[u8]) -> Vec<Vec<u8>> {
    let whole = is4(frame) && frame.len() > 42 && frame[ETH] == 0x45 && frame[20] & 0x3f == 0;
    if !(whole || is6(frame) && frame.len() > 62) {
        return vec![frame.to_vec()];
    }
    let room = input.pick(&[8, 16, 24, 64, 512, 1400]);
    let mut all = pieces::cut(frame, room, u32::from(input.byte() & 3));
    all.truncate(12);
    let order = input.byte();
    match order & 7 {
        0..=2 => {}
        3 => all.reverse(),
        4 => {
            let twice = input.below(all.len());
            all.push(all[twice].clone());
        }
        5 => {
            all.remove(input.below(all.len()));
        }
        6 => {
            // One that says it is elsewhere.
            let at = input.below(all.len());
            let field = if is6(frame) { 57 } else { 21 };
            if let Some(b) = all[at].get_mut(field) {
                *b ^= 1 << (order >> 5);
            }
            frames::fix(&mut all[at]);
        }
        _ => {
            let n = all.len();
            all.swap(0, n - 1);
        }
    }
    all
}

/// Headers between IP and what is behind it.
pub(crate) fn extend(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    if is6(frame) && frame.len() > 54 {
        let kind = input.pick(&[0, 60, 43, 44, 51]);
        let next = std::mem::replace(&mut frame[20], kind);
        let header = match kind {
            44 => [next, 0, 0, 0, 0, 0, 0, 1],
            51 => [next, 0, 0, 0, 0, 0, 0, 0],
            _ => [next, 0, 1, 4, 0, 0, 0, 0],
        };
        frame.splice(54..54, header);
        let len = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
    } else if is4(frame) && frame.len() > 34 && frame[ETH] == 0x45 {
        let options = input.pick(&[[1, 1, 1, 0], [148, 4, 0, 0], [7, 3, 4, 0], [130, 2, 0, 9]]);
        frame.splice(34..34, options);
        frame[ETH] = 0x46;
        let len = (frame.len() - ETH) as u16;
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frames::fix(frame);
    }
}

/// One field of a packet becomes another.
pub(crate) fn change(input: &mut Input<'_>, frame: &mut [u8]) {
    let l4 = if is6(frame) { 54 } else { 34 };
    let (at, len) = input.pick(&[
        (l4 + 12, 2),
        (l4 + 13, 1),
        (l4 + 4, 4),
        (l4 + 8, 4),
        (l4, 2),
        (l4 + 2, 2),
        (l4 + 14, 2),
        (l4 + 20, 4),
        (20, 2),
        (18, 2),
        (16, 2),
        (22, 1),
        (23, 1),
        (14, 1),
        (26, 4),
        (0, 6),
    ]);
    let value = input.bytes(len);
    if let Some(field) = frame.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}
