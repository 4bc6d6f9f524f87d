//! Datagrams cut to fragments and put together again, for both families.

use super::packet::{fold, sum};

const ETH: usize = 14;

fn is6(frame: &[u8]) -> bool {
    frame[12..14] == [0x86, 0xdd]
}

fn put(frame: &mut [u8], at: usize, word: usize) {
    frame[at..at + 2].copy_from_slice(&(word as u16).to_be_bytes());
}

/// The header checksum of an IPv4 packet.
fn seal(frame: &mut [u8]) {
    let header = usize::from(frame[ETH] & 15) * 4;
    frame[ETH + 10..ETH + 12].fill(0);
    let c = !fold(sum(&frame[ETH..ETH + header]));
    put(frame, ETH + 10, c.into());
}

/// Cuts a packet to pieces with at most `room` bytes behind the IP header.
pub fn cut(frame: &[u8], room: usize, id: u32) -> Vec<Vec<u8>> {
    let v6 = is6(frame);
    let front = ETH
        + if v6 {
            40
        } else {
            usize::from(frame[ETH] & 15) * 4
        };
    let (header, body) = frame.split_at(front);
    let room = room / 8 * 8;
    let count = body.len().div_ceil(room);
    body.chunks(room)
        .enumerate()
        .map(|(i, chunk)| {
            let (at, more) = (i * room, i + 1 < count);
            let mut f = header.to_vec();
            if v6 {
                put(&mut f, ETH + 4, chunk.len() + 8);
                f.extend([f[ETH + 6], 0]);
                f[ETH + 6] = 44;
                f.extend(((at as u16) | u16::from(more)).to_be_bytes());
                f.extend(id.to_be_bytes());
            } else {
                put(&mut f, ETH + 2, front - ETH + chunk.len());
                put(&mut f, ETH + 4, id as usize & 0xffff);
                put(&mut f, ETH + 6, (at / 8) | (usize::from(more) << 13));
                seal(&mut f);
            }
            f.extend(chunk);
            f
        })
        .collect()
}

/// Puts the pieces of one datagram together.
pub fn join(pieces: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut parts = Vec::new();
    for f in pieces {
        let (front, at, more, id) = if is6(f) {
            if f[ETH + 6] != 44 {
                return Err("one is no fragment".into());
            }
            let word = usize::from(f[56]) << 8 | usize::from(f[57]);
            (ETH + 48, word & !7, word & 1 != 0, f[58..62].to_vec())
        } else {
            let word = usize::from(f[20]) << 8 | usize::from(f[21]);
            if word & 0x3fff == 0 {
                return Err("one is no fragment".into());
            }
            let front = ETH + usize::from(f[ETH] & 15) * 4;
            let at = (word & 0x1fff) * 8;
            (front, at, word & 0x2000 != 0, f[18..20].to_vec())
        };
        parts.push((at, more, front, id, f));
    }
    parts.sort();
    let (_, _, front, id, first) = parts.first().ok_or("there are no fragments")?;
    let mut whole = first[..*front].to_vec();
    let mut have = 0;
    for (i, (at, more, front, of, f)) in parts.iter().enumerate() {
        if *at != have || *more == (i + 1 == parts.len()) || of != id {
            return Err(format!("fragments do not fit together at {at}"));
        }
        whole.extend(&f[*front..]);
        have += f.len() - front;
    }
    if is6(&whole) {
        whole[ETH + 6] = whole[ETH + 40];
        whole.drain(ETH + 40..ETH + 48);
        let len = whole.len() - ETH - 40;
        put(&mut whole, ETH + 4, len);
    } else {
        let len = whole.len() - ETH;
        put(&mut whole, ETH + 2, len);
        put(&mut whole, ETH + 6, 0);
        seal(&mut whole);
    }
    Ok(whole)
}
