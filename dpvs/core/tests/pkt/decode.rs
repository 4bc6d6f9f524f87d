//! From bytes on the wire to a packet line.
//!
//! Written apart from the crate's own parsers, so that the two check each other.
//! Every length and checksum has to be right; a packet where one is not is an
//! error, not a packet.

use std::net::IpAddr;

use super::packet::{Text, fold, mac_name, pseudo, sum};
use super::wrap;

/// Reads a frame.
pub fn frame(b: &[u8]) -> Result<Text, String> {
    let mut p = Text::default();
    p.push("dmac", mac_name(at(b, 0, 6)?));
    p.push("smac", mac_name(at(b, 6, 6)?));
    let body = at(b, 14, b.len().saturating_sub(14))?;
    match word(b, 12)? {
        0x0800 => ip4(&mut p, body)?,
        0x86dd => ip6(&mut p, body)?,
        0x0806 => arp(&mut p, body)?,
        typ => {
            p.kind = "eth".into();
            p.push("type", typ);
            p.push("len", body.len());
        }
    }
    p.push("size", b.len());
    if word(b, 12)? == 0x0800
        && matches!(at(body, 9, 1)?[0], 4 | 47)
        && word(body, 6)? & 0x3fff == 0
        && let Ok(t) = tunnelled(b)
    {
        if p.get("wrap").is_none() {
            return Ok(t);
        }
        for key in ["tun", "tun-ttl", "tun-tos", "tun-df", "gre"] {
            if let Some(value) = t.get(key) {
                p.push(key, value);
            }
        }
    }
    Ok(p)
}

/// A packet in a packet: the inner one, with `tun=SRC>DST tun-ttl tun-tos tun-df
/// gre=OPTIONS` of the headers around it.
fn tunnelled(b: &[u8]) -> Result<Text, String> {
    let mut around = Text::default();
    let body = &b[14..];
    let (src, dst) = (addr(at(body, 12, 4)?), addr(at(body, 16, 4)?));
    (around.src, around.dst) = (src.to_string(), dst.to_string());
    let header = usize::from(body[0] & 15) * 4;
    let (mut at_inner, mut kind) = (header, 0x0800);
    let mut gre = None;
    if body[9] == 47 {
        let flags = word(body, header)?;
        if flags & 0x4fff != 0 {
            return Err("GRE flags".into());
        }
        kind = word(body, header + 2)?;
        at_inner += 4;
        let mut options = Vec::new();
        if flags & 0x8000 != 0 {
            if fold(sum(&body[header..])) != 0xffff {
                return Err("GRE checksum".into());
            }
            options.push("csum".to_owned());
            at_inner += 4;
        }
        for (flag, name) in [(0x2000, "key"), (0x1000, "seq")] {
            if flags & flag != 0 {
                options.push(format!("{name}:{}", long(body, at_inner)?));
                at_inner += 4;
            }
        }
        let text = options.join(",");
        gre = Some(if text.is_empty() {
            "plain".into()
        } else {
            text
        });
    }
    let mut inner = b[..12].to_vec();
    inner.extend(kind.to_be_bytes());
    inner.extend(at(body, at_inner, body.len().saturating_sub(at_inner))?);
    let mut p = frame(&inner)?;
    p.push("tun", format!("{}>{}", around.src, around.dst));
    p.push("tun-ttl", body[8]);
    p.push("tun-tos", body[1]);
    p.push("tun-df", u8::from(body[6] & 0x40 != 0));
    if let Some(gre) = gre {
        p.push("gre", gre);
    }
    Ok(p)
}

fn at(b: &[u8], from: usize, len: usize) -> Result<&[u8], String> {
    b.get(from..from + len)
        .ok_or_else(|| format!("frame of {} bytes is cut short", b.len()))
}

fn word(b: &[u8], from: usize) -> Result<u16, String> {
    Ok(u16::from_be_bytes(
        at(b, from, 2)?.try_into().map_err(|_| "cut")?,
    ))
}

fn long(b: &[u8], from: usize) -> Result<u32, String> {
    Ok(u32::from_be_bytes(
        at(b, from, 4)?.try_into().map_err(|_| "cut")?,
    ))
}

fn addr(b: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(b) {
        Ok(a) => a.into(),
        Err(_) => <[u8; 16]>::try_from(b).unwrap_or([0; 16]).into(),
    }
}

fn end(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

fn hex(b: &[u8]) -> String {
    b.iter().map(|b| format!("{b:02x}")).collect()
}

fn arp(p: &mut Text, b: &[u8]) -> Result<(), String> {
    p.kind = "arp".into();
    if at(b, 0, 6)? != [0, 1, 8, 0, 6, 4] {
        return Err("ARP is not for IPv4 over Ethernet".into());
    }
    let op = match word(b, 6)? {
        1 => "request",
        2 => "reply",
        _ => return Err("ARP operation".into()),
    };
    p.words.push(op.into());
    p.push("sha", mac_name(at(b, 8, 6)?));
    p.src = addr(at(b, 14, 4)?).to_string();
    p.push("tha", mac_name(at(b, 18, 6)?));
    p.dst = addr(at(b, 24, 4)?).to_string();
    if p.src == p.dst {
        p.words.push("gratuitous".into());
    }
    Ok(())
}

fn ip4(p: &mut Text, b: &[u8]) -> Result<(), String> {
    let header = usize::from(at(b, 0, 1)?[0] & 15) * 4;
    if b[0] >> 4 != 4 || header < 20 || fold(sum(at(b, 0, header)?)) != 0xffff {
        return Err("IPv4 header is wrong or its checksum is".into());
    }
    let len = usize::from(word(b, 2)?);
    if len != b.len() {
        return Err(format!("IPv4 length {len} in a packet of {}", b.len()));
    }
    let (src, dst) = (addr(at(b, 12, 4)?), addr(at(b, 16, 4)?));
    let fragment = word(b, 6)?;
    p.words
        .push(if fragment & 0x4000 != 0 { "df" } else { "nodf" }.into());
    if fragment & 0x3fff != 0 {
        let more = if fragment & 0x2000 != 0 { "+" } else { "" };
        p.push("frag", format!("{}{more}", (fragment & 0x1fff) * 8));
    }
    p.push("ttl", b[8]);
    p.push("tos", b[1]);
    p.push("iplen", len);
    p.push("ihl", b[0] & 15);
    if header > 20 {
        p.push("ipopt", hex(&b[20..header]));
    }
    l4(p, src, dst, b[9], &b[header..], fragment & 0x3fff != 0)
}

fn ip6(p: &mut Text, b: &[u8]) -> Result<(), String> {
    let len = 40 + usize::from(word(b, 4)?);
    if at(b, 0, 1)?[0] >> 4 != 6 || len != b.len() {
        return Err(format!("IPv6 length {len} in a packet of {}", b.len()));
    }
    let (src, dst) = (addr(at(b, 8, 16)?), addr(at(b, 24, 16)?));
    p.push("ttl", b[7]);
    p.push("tos", (word(b, 0)? >> 4) as u8);
    p.push("iplen", len - 40);
    let (mut next, mut from, mut names) = (b[6], 40, Vec::new());
    let mut fragment = false;
    while let Some(name) = match next {
        0 => Some("hbh"),
        43 => Some("rt"),
        44 => Some("frag"),
        60 => Some("dst"),
        _ => None,
    } {
        fragment |= next == 44;
        names.push(name);
        let header = at(b, from, 8)?;
        from += if next == 44 {
            8
        } else {
            8 + usize::from(header[1]) * 8
        };
        next = header[0];
    }
    if !names.is_empty() {
        p.push("ext", names.join(","));
    }
    let body = at(b, from, b.len().saturating_sub(from))?;
    l4(p, src, dst, next, body, fragment)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn l4(
    p: &mut Text,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    b: &[u8],
    fragment: bool,
) -> Result<(), String> {
    (p.src, p.dst) = (src.to_string(), dst.to_string());
    p.kind = "ip".into();
    p.push("proto", proto);
    if proto == 248 && !fragment {
        // A header of its own before UDP's.
        let len = usize::from(word(b, 2)?);
        if at(b, 0, 2)?[1] != 17 || len != 12 && len != 24 {
            return Err("UOA header is wrong".into());
        }
        p.push("opp", hex(at(b, 0, len)?));
        return l4(p, src, dst, 17, &b[len..], false);
    }
    // What is no sound tunnel is shown as it is, without `wrap`.
    let inside = wrap::unwrap(proto, src, dst, b).ok().flatten();
    if let Some((ethertype, inner, kind)) = inside.filter(|_| !fragment) {
        return wrapped(p, src, dst, ethertype, &inner, kind);
    }
    if proto == 132 && !fragment {
        let mut whole = p.clone();
        if wrap::read_sctp(&mut whole, src, dst, b).is_ok() {
            *p = whole;
            return Ok(());
        }
    }
    if fragment || !matches!(proto, 1 | 6 | 17 | 58) {
        p.push("len", b.len());
        return Ok(());
    }
    let head = if proto == 1 {
        0
    } else {
        pseudo(&octets(src), &octets(dst), proto, b.len())
    };
    let right = fold(head + sum(b)) == 0xffff;
    if proto == 17 {
        p.kind = "udp".into();
        (p.src, p.dst) = (end(src, word(b, 0)?), end(dst, word(b, 2)?));
        if usize::from(word(b, 4)?) != b.len() {
            return Err("UDP length is wrong".into());
        }
        p.push("len", b.len() - 8);
        data(p, &b[8..]);
        if src.is_ipv4() && word(b, 6)? == 0 {
            p.words.push("nosum".into());
            return Ok(());
        }
    } else if proto == 6 {
        tcp(p, src, dst, b)?;
    } else {
        icmp(p, src.is_ipv6(), b)?;
    }
    if !right {
        return Err(format!("transport checksum of {p} is wrong"));
    }
    Ok(())
}

/// The packet inside, with what is known of the outer one.
fn wrapped(
    p: &mut Text,
    src: IpAddr,
    dst: IpAddr,
    ethertype: u16,
    inner: &[u8],
    kind: &str,
) -> Result<(), String> {
    let outer = std::mem::take(p);
    for mac in ["dmac", "smac"] {
        p.push(mac, outer.get(mac).unwrap_or(""));
    }
    match ethertype {
        0x0800 => ip4(p, inner)?,
        0x86dd => ip6(p, inner)?,
        _ => return Err(format!("type {ethertype:04x} in a tunnel")),
    }
    p.push("outer", format!("{}>{}", end(src, 0), end(dst, 0)));
    p.push("wrap", kind);
    for (key, name) in [
        ("ttl", "outer-ttl"),
        ("tos", "outer-tos"),
        ("iplen", "outer-size"),
    ] {
        p.push(name, outer.get(key).unwrap_or(""));
    }
    if outer.has("df") {
        p.words.push("outer-df".into());
    }
    Ok(())
}

fn data(p: &mut Text, b: &[u8]) {
    // A PROXY header of version 2 stands as what it says, before the rest.
    if let Some(at) = b.windows(12).position(|w| w == b"\r\n\r\n\0\r\nQUIT\n") {
        p.push("ppv2-at", at);
        let head = &b[at + 12..];
        let len = head
            .get(2..4)
            .map_or(0, |l| usize::from(l[0]) << 8 | usize::from(l[1]));
        let rest = head.get(4..4 + len).unwrap_or_default();
        p.push("ppv2", hex(&head[..head.len().min(4)]));
        if let Some((src, dst, ports)) = match len {
            12 => Some((addr(&rest[..4]), addr(&rest[4..8]), &rest[8..])),
            36 => Some((addr(&rest[..16]), addr(&rest[16..32]), &rest[32..])),
            _ => None,
        } {
            let port = |i: usize| u16::from(ports[i]) << 8 | u16::from(ports[i + 1]);
            p.push("ppv2-src", end(src, port(0)));
            p.push("ppv2-dst", end(dst, port(2)));
        }
        let rest = head.get(4 + len..).unwrap_or_default();
        p.push("rest", String::from_utf8_lossy(rest));
        return;
    }
    if b.starts_with(b"PROXY ") {
        let line = String::from_utf8_lossy(b)
            .replace(' ', "_")
            .replace("\r\n", "|");
        p.push("ppv1", line);
        return;
    }
    if !b.is_empty() && b.len() <= 64 && b.iter().all(u8::is_ascii_graphic) {
        p.push("data", String::from_utf8_lossy(b));
    }
}

fn tcp(p: &mut Text, src: IpAddr, dst: IpAddr, b: &[u8]) -> Result<(), String> {
    p.kind = "tcp".into();
    (p.src, p.dst) = (end(src, word(b, 0)?), end(dst, word(b, 2)?));
    let bits = at(b, 12, 2)?;
    let flags: String = "FSRPAUEC"
        .chars()
        .enumerate()
        .filter(|(i, _)| bits[1] >> i & 1 != 0)
        .map(|(_, c)| c)
        .collect();
    p.push("flags", if flags.is_empty() { "none" } else { &flags });
    p.push("seq", long(b, 4)?);
    p.push("ack", long(b, 8)?);
    p.push("win", word(b, 14)?);
    let header = usize::from(bits[0] >> 4) * 4;
    if header < 20 {
        return Err("TCP data offset below 5".into());
    }
    let mut left = at(b, 20, header - 20)?;
    let mut all = Vec::new();
    while let Some(&kind) = left.first() {
        let len = match kind {
            0 => {
                all.extend(vec!["eol".to_owned(); left.len()]);
                break;
            }
            1 => 1,
            _ => usize::from(*left.get(1).ok_or("TCP option is cut short")?).max(2),
        };
        let option = at(left, 0, len)?;
        let longs = || {
            (2..len)
                .step_by(4)
                .map(|i| long(option, i).map(|n| n.to_string()))
        };
        all.push(match (kind, len) {
            (1, _) => "nop".into(),
            (2, 4) => format!("mss:{}", word(option, 2)?),
            (3, 3) => format!("ws:{}", option[2]),
            (4, 2) => "sackok".into(),
            (5, _) => format!("sack:{}", longs().collect::<Result<Vec<_>, _>>()?.join(":")),
            (8, 10) => format!("ts:{}:{}", long(option, 2)?, long(option, 6)?),
            (254, 8 | 20) => {
                p.push("toa", end(addr(&option[4..]), word(option, 2)?));
                "toa".into()
            }
            _ => {
                let hex: Vec<_> = option[2..].iter().map(|b| format!("{b:02x}")).collect();
                format!("kind:{kind}:{}", hex.concat())
            }
        });
        left = &left[len..];
    }
    if !all.is_empty() {
        p.push("opts", all.join(","));
    }
    p.push("len", b.len() - header);
    data(p, &b[header..]);
    Ok(())
}

fn icmp(p: &mut Text, v6: bool, b: &[u8]) -> Result<(), String> {
    let (typ, code) = (at(b, 0, 8)?[0], b[1]);
    if v6 && (135..=136).contains(&typ) {
        return nd(p, typ == 136, b);
    }
    p.kind = "icmp".into();
    p.push("type", typ);
    p.push("code", code);
    let name = match (v6, typ, code) {
        (false, 8, _) | (true, 128, _) => "echo",
        (false, 0, _) | (true, 129, _) => "echo-reply",
        (false, 3, 4) => "frag-needed",
        (false, 3, _) | (true, 1, _) => "unreachable",
        (true, 2, _) => "too-big",
        (false, 11, _) | (true, 3, _) => "time-exceeded",
        _ => "",
    };
    if !name.is_empty() {
        p.words.push(name.into());
    }
    if name.starts_with("echo") {
        p.push("id", word(b, 4)?);
        p.push("seq", word(b, 6)?);
        p.push("len", b.len() - 8);
        data(p, &b[8..]);
        return Ok(());
    }
    if name.is_empty() {
        p.push("len", b.len() - 8);
        return Ok(());
    }
    p.push("mtu", long(b, 4)?);
    p.push("quoted", b.len() - 8);
    let q = &b[8..];
    let (src, dst, l4) = if q.first().is_some_and(|b| b >> 4 == 4) {
        p.push("quote-ttl", at(q, 8, 1)?[0]);
        p.push("quote-tos", at(q, 1, 1)?[0]);
        let header = usize::from(q[0] & 15) * 4;
        p.push("quote-len", usize::from(word(q, 2)?).saturating_sub(header));
        let sound = fold(sum(at(q, 0, header)?)) == 0xffff;
        p.push("quote-sum", if sound { "ok" } else { "bad" });
        (at(q, 12, 4)?, at(q, 16, 4)?, usize::from(q[0] & 15) * 4)
    } else {
        p.push("quote-ttl", at(q, 7, 1)?[0]);
        p.push("quote-tos", word(q, 0)? >> 4 & 0xff);
        p.push("quote-len", word(q, 4)?);
        let fragment = q[6] == 44;
        let l4 = if fragment { 48 } else { 40 };
        (at(q, 8, 16)?, at(q, 24, 16)?, l4)
    };
    let (src, dst) = (
        end(addr(src), word(q, l4)?),
        end(addr(dst), word(q, l4 + 2)?),
    );
    let quoted_proto = if v6 { q[6] } else { q[9] };
    if quoted_proto == 6 {
        p.push("quote-seq", long(q, l4 + 4)?);
    }
    p.push("quote", format!("{src}>{dst}"));
    Ok(())
}

fn nd(p: &mut Text, advert: bool, b: &[u8]) -> Result<(), String> {
    p.kind = "nd".into();
    p.words
        .push(if advert { "advert" } else { "solicit" }.into());
    for (word, bit) in [("router", 0x80), ("solicited", 0x40), ("override", 0x20)] {
        if b[4] & bit != 0 {
            p.words.push(word.into());
        }
    }
    p.push("target", addr(at(b, 8, 16)?));
    let option = b.get(24..32).filter(|o| o[0] == if advert { 2 } else { 1 });
    p.push(
        "lladdr",
        option.map_or("none".into(), |o| mac_name(&o[2..])),
    );
    Ok(())
}
