//! SCTP and tunnels as bytes, for scripts: written apart from the crate's own.
//!
//! A wrapped packet is shown as the one inside, with `outer=SRC>DST`,
//! `wrap=ip|gre|gre-csum|gue|gue-csum|gue-remote`, `outer-ttl`, `outer-tos`,
//! `outer-size` and the word `outer-df`. GUE is UDP to port 6080. Everything that
//! can be checked is: lengths, versions, flags, checksums.

use std::net::IpAddr;

use super::packet::{Text, fold, pseudo, sum};
use super::vars::Vars;

/// The UDP port of GUE in scripts.
pub const GUE: u16 = 6080;

/// CRC-32C bit by bit, as it stands in the header.
pub fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

const CHUNKS: &[(&str, u8)] = &[
    ("data", 0),
    ("init", 1),
    ("init-ack", 2),
    ("sack", 3),
    ("heartbeat", 4),
    ("abort", 6),
    ("shutdown", 7),
    ("shutdown-ack", 8),
    ("error", 9),
    ("cookie-echo", 10),
    ("cookie-ack", 11),
    ("shutdown-complete", 14),
];

/// An SCTP packet: `chunk=init,abort tag=N`; each chunk carries the payload.
pub fn sctp(p: &Text, vars: &Vars, ports: (u16, u16), payload: &[u8]) -> Result<Vec<u8>, String> {
    let tag = p.get("tag").map_or(Ok(0), |t| vars.number(t))? as u32;
    let mut out = Vec::new();
    out.extend(ports.0.to_be_bytes());
    out.extend(ports.1.to_be_bytes());
    out.extend(tag.to_be_bytes());
    out.extend([0; 4]);
    for name in p.get("chunk").unwrap_or("data").split(',') {
        let found = CHUNKS.iter().find(|c| c.0 == name);
        let (_, number) = found.ok_or_else(|| format!("`{name}` is no chunk"))?;
        out.extend([*number, 0]);
        out.extend((4 + payload.len() as u16).to_be_bytes());
        out.extend(payload);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    let mut c = crc32c(&out);
    if p.has("badsum") {
        c[0] ^= 1;
    }
    out[8..12].copy_from_slice(&c);
    Ok(out)
}

/// Reads an SCTP packet.
pub fn read_sctp(p: &mut Text, src: IpAddr, dst: IpAddr, b: &[u8]) -> Result<(), String> {
    if b.len() < 16 {
        return Err("SCTP is cut short".into());
    }
    let word = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    let mut zeroed = b.to_vec();
    zeroed[8..12].fill(0);
    if crc32c(&zeroed) != b[8..12] {
        return Err("SCTP checksum is wrong".into());
    }
    p.kind = "sctp".into();
    let end = |ip, port| std::net::SocketAddr::new(ip, port).to_string();
    (p.src, p.dst) = (end(src, word(0)), end(dst, word(2)));
    p.push("tag", u32::from_be_bytes([b[4], b[5], b[6], b[7]]));
    let (mut at, mut names) = (12, Vec::new());
    while at + 4 <= b.len() {
        let name = CHUNKS.iter().find(|c| c.1 == b[at]).map_or("?", |c| c.0);
        names.push(name);
        at += usize::from(word(at + 2)).max(4).next_multiple_of(4);
    }
    p.push("chunk", names.join(","));
    p.push("len", b.len() - 12);
    Ok(())
}

fn word(b: &[u8], at: usize) -> Result<u16, String> {
    let two = b.get(at..at + 2).ok_or("the wrapping is cut short")?;
    Ok(u16::from_be_bytes([two[0], two[1]]))
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Inner Ethernet type, inner packet, name of the wrapping.
type Inside = (u16, Vec<u8>, &'static str);

/// Takes the wrapping off: the inner Ethernet type, the inner packet and what the
/// wrapping is called; none if there is none.
pub fn unwrap(proto: u8, src: IpAddr, dst: IpAddr, b: &[u8]) -> Result<Option<Inside>, String> {
    let by_proto = |proto: u8| match proto {
        4 => Ok(0x0800),
        41 => Ok(0x86dd),
        _ => Err(format!("protocol {proto} in a tunnel")),
    };
    match proto {
        4 | 41 => Ok(Some((by_proto(proto)?, b.to_vec(), "ip"))),
        47 => {
            let (flags, kind) = (word(b, 0)?, word(b, 2)?);
            match flags {
                0 => Ok(Some((kind, b[4..].to_vec(), "gre"))),
                0x8000 if fold(sum(b)) == 0xffff && word(b, 6)? == 0 => {
                    Ok(Some((kind, b[8..].to_vec(), "gre-csum")))
                }
                _ => Err(format!("GRE with flags {flags:04x} or a wrong checksum")),
            }
        }
        17 if word(b, 2)? == GUE => {
            if usize::from(word(b, 4)?) != b.len() {
                return Err("UDP length of GUE is wrong".into());
            }
            let summed = word(b, 6)? != 0;
            if summed && fold(pseudo(&octets(src), &octets(dst), 17, b.len()) + sum(b)) != 0xffff {
                return Err("UDP checksum of GUE is wrong".into());
            }
            let (hlen, kind, flags) = (b[8], by_proto(b[9])?, word(b, 10)?);
            match (hlen, flags) {
                (0, 0) => Ok(Some((
                    kind,
                    b[12..].to_vec(),
                    if summed { "gue-csum" } else { "gue" },
                ))),
                (2, 1) if summed && b.get(12..16) == Some(&[0x80, 0, 0, 0]) => {
                    let (start, at) = (usize::from(word(b, 16)?), usize::from(word(b, 18)?));
                    let mut inner = b[20..].to_vec();
                    let c = !fold(sum(&inner[start..]));
                    inner[at..at + 2].copy_from_slice(&c.to_be_bytes());
                    Ok(Some((kind, inner, "gue-remote")))
                }
                _ => Err(format!("GUE with {hlen} words and flags {flags:04x}")),
            }
        }
        _ => Ok(None),
    }
}
