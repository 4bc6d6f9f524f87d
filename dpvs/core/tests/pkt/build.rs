//! From a packet line to the bytes on the wire.
//!
//! What a line does not say is filled in as an honest sender would: lengths,
//! checksums, TTL 64, DF. Keys of every kind: `dmac smac pad=N cut=N
//! vlan=TAG vlan-proto tun=SRC>DST gre=OPTIONS tun-ttl tun-tos badgre`; of IP:
//! `ttl tos id df nodf frag=OFFSET[+] ipopt=HEX ext=dst,hbh,rt,frag[:N][+] iplen
//! ihl ipid badipsum`, and `pieces=N order=0,2,1` (sent in fragments of N bytes);
//! of TCP: flag letters, `seq ack win opts doff len data`; of UDP: `len
//! data udplen nosum`; of ICMP: `echo`, `type code id seq mtu len`; `badsum` for
//! all. `hex=` is the payload byte by byte.

use std::net::IpAddr;

use super::packet::{Text, fold, mac, pseudo, sum};
use super::vars::Vars;
use super::wrap;

/// The frame of a packet line that goes in by a port with these MAC addresses.
pub fn frame(p: &Text, vars: &Vars, port: [u8; 6], peer: [u8; 6]) -> Result<Vec<u8>, String> {
    let number = |key: &str, default: i64| p.get(key).map_or(Ok(default), |v| vars.number(v));
    let l3 = match &p.kind[..] {
        "eth" => (number("type", 0x88b5)? as u16, payload(p, vars)?),
        "arp" => (0x0806, arp(p, vars, peer)?),
        _ => ip(p, vars, peer)?,
    };
    let l3 = match p.get("tun") {
        Some(ends) => (0x0800, outer(p, vars, ends, l3)?),
        None => l3,
    };
    let to_all = p.kind == "arp" && p.has("request");
    let group = |ip: IpAddr| match ip {
        IpAddr::V4(a) if a.is_broadcast() => Some([0xff; 6]),
        IpAddr::V4(a) if a.is_multicast() => {
            let [_, b, c, d] = a.octets();
            Some([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(a) if a.is_multicast() => {
            let [.., w, x, y, z] = a.octets();
            Some([0x33, 0x33, w, x, y, z])
        }
        _ => None,
    };
    let dst = vars.addr(&p.dst).ok().and_then(group);
    let dmac = match p.get("dmac") {
        Some(name) => mac(&vars.text(name)?)?,
        None if to_all => [0xff; 6],
        None => dst.unwrap_or(port),
    };
    let smac = match p.get("smac") {
        Some(name) => mac(&vars.text(name)?)?,
        None => peer,
    };
    let mut out = Vec::new();
    out.extend(dmac);
    out.extend(smac);
    if p.get("vlan").is_some() {
        let proto = number("vlan-proto", 0x8100)? as u16;
        out.extend(proto.to_be_bytes());
        out.extend((number("vlan", 0)? as u16).to_be_bytes());
    }
    out.extend(l3.0.to_be_bytes());
    out.extend(l3.1);
    out.resize(out.len() + number("pad", 0)? as usize, 0xee);
    if p.get("cut").is_some() {
        out.truncate(number("cut", 0)? as usize);
    }
    Ok(out)
}

fn payload(p: &Text, vars: &Vars) -> Result<Vec<u8>, String> {
    if let Some(data) = p.get("data") {
        return Ok(data.as_bytes().to_vec());
    }
    if let Some(hex) = p.get("hex") {
        return hex_bytes(hex);
    }
    let len = p.get("len").map_or(Ok(0), |v| vars.field(v, 16))?;
    Ok((0..len).map(|i| i as u8).collect())
}

fn hex_bytes(hex: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("`{hex}` is no row of hex bytes");
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err(bad());
    }
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).map_err(|_| bad()))
        .collect()
}

fn arp(p: &Text, vars: &Vars, peer: [u8; 6]) -> Result<Vec<u8>, String> {
    let v4 = |text: &str| match vars.addr(text)? {
        IpAddr::V4(a) => Ok(a.octets()),
        IpAddr::V6(_) => Err("ARP is for IPv4".to_owned()),
    };
    let hw = |key: &str, default| p.get(key).map_or(Ok(default), |t| mac(&vars.text(t)?));
    let op = if p.has("reply") { 2 } else { 1 };
    let mut out = vec![0, 1, 8, 0, 6, 4, 0, op];
    out.extend(hw("sha", peer)?);
    out.extend(v4(&p.src)?);
    out.extend(hw("tha", [0; 6])?);
    out.extend(v4(&p.dst)?);
    Ok(out)
}

/// The packet inside an IPv4 packet: `tun=SRC>DST`, with `gre=OPTIONS` inside GRE
/// (`plain`, or some of `csum`, `key:N`, `seq:N` with commas between).
fn outer(p: &Text, vars: &Vars, ends: &str, l3: (u16, Vec<u8>)) -> Result<Vec<u8>, String> {
    let (src, dst) = ends.split_once('>').ok_or("`tun=SRC>DST`")?;
    let (src, dst) = (octets(vars.addr(src)?), octets(vars.addr(dst)?));
    let (mut flags, mut fields) = (0u16, Vec::new());
    let gre = p.get("gre").map(|text| text.split(',').collect::<Vec<_>>());
    for option in gre.iter().flatten() {
        match option.split_once(':') {
            Some((name, n)) => {
                flags |= if name == "key" { 0x2000 } else { 0x1000 };
                fields.extend((vars.number(n)? as u32).to_be_bytes());
            }
            None if *option == "csum" => {
                flags |= 0x8000;
                fields.extend([0; 4]);
            }
            None => {}
        }
    }
    let mut body = Vec::new();
    if gre.is_some() {
        body.extend(flags.to_be_bytes());
        body.extend(l3.0.to_be_bytes());
        body.extend(fields);
    }
    body.extend(&l3.1);
    if flags & 0x8000 != 0 {
        let mut c = !fold(sum(&body));
        if p.has("badgre") {
            c ^= 0x0101;
        }
        body[4..6].copy_from_slice(&c.to_be_bytes());
    }
    let number = |key: &str, default: i64| p.get(key).map_or(Ok(default), |v| vars.number(v));
    let proto = if gre.is_some() { 47 } else { 4 };
    let mut out = vec![0x45, number("tun-tos", 0)? as u8];
    out.extend(((body.len() + 20) as u16).to_be_bytes());
    out.extend([0, 9, 0x40, 0, number("tun-ttl", 64)? as u8, proto, 0, 0]);
    out.extend(src);
    out.extend(dst);
    let c = !fold(sum(&out));
    out[10..12].copy_from_slice(&c.to_be_bytes());
    out.extend(body);
    Ok(out)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn ip(p: &Text, vars: &Vars, peer: [u8; 6]) -> Result<(u16, Vec<u8>), String> {
    let number = |key: &str, default: i64| p.get(key).map_or(Ok(default), |v| vars.number(v));
    let ports = matches!(&p.kind[..], "tcp" | "udp" | "sctp");
    let ((src, sport), (dst, dport)) = if ports {
        (vars.endpoint(&p.src)?, vars.endpoint(&p.dst)?)
    } else {
        ((vars.addr(&p.src)?, 0), (vars.addr(&p.dst)?, 0))
    };
    if src.is_ipv4() != dst.is_ipv4() {
        return Err("the two ends are of different families".into());
    }
    let v6 = src.is_ipv6();
    let (src, dst) = (octets(src), octets(dst));
    let (proto, mut l4, at) = match &p.kind[..] {
        "tcp" => (6, tcp(p, vars, sport, dport)?, Some(16)),
        "udp" => (17, udp(p, vars, sport, dport)?, Some(6)),
        "sctp" => {
            let payload = payload(p, vars)?;
            (132, wrap::sctp(p, vars, (sport, dport), &payload)?, None)
        }
        "icmp" => (if v6 { 58 } else { 1 }, icmp(p, vars, v6)?, Some(2)),
        "nd" => (58, nd(p, vars, peer)?, Some(2)),
        _ => (number("proto", 253)? as u8, payload(p, vars)?, None),
    };
    if let Some(at) = at.filter(|at| l4.len() >= at + 2 && !p.has("nosum")) {
        let head = if proto == 1 {
            0
        } else {
            pseudo(&src, &dst, proto, l4.len())
        };
        let mut c = !fold(head + sum(&l4));
        if proto == 17 && c == 0 {
            c = 0xffff;
        }
        if p.has("badsum") {
            c ^= 0x0101;
        }
        l4[at..at + 2].copy_from_slice(&c.to_be_bytes());
    }
    let ttl = number("ttl", if p.kind == "nd" { 255 } else { 64 })? as u8;
    let tos = number("tos", 0)? as u8;
    let mut out = Vec::new();
    if v6 {
        let (first, extensions) = extensions(p.get("ext").unwrap_or(""), proto)?;
        let len = number("iplen", (extensions.len() + l4.len()) as i64)? as u16;
        out.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
        out.extend(len.to_be_bytes());
        out.extend([first, ttl]);
        out.extend(src);
        out.extend(dst);
        out.extend(extensions);
        out.extend(l4);
        return Ok((0x86dd, out));
    }
    let mut options = p.get("ipopt").map_or(Ok(vec![]), hex_bytes)?;
    options.resize(options.len().next_multiple_of(4), 0);
    let ihl = number("ihl", (5 + options.len() / 4) as i64)? as u8;
    let len = number("iplen", (20 + options.len() + l4.len()) as i64)? as u16;
    let fragment = match p.get("frag") {
        Some(f) => {
            let more = if f.ends_with('+') { 0x2000 } else { 0 };
            more | (vars.field(f.trim_end_matches('+'), 16)? / 8) as u16
        }
        None if p.has("nodf") => 0,
        None => 0x4000,
    };
    out.extend([0x40 | ihl, tos]);
    out.extend(len.to_be_bytes());
    out.extend((number("ipid", 0x1234)? as u16).to_be_bytes());
    out.extend(fragment.to_be_bytes());
    out.extend([ttl, proto, 0, 0]);
    out.extend(src);
    out.extend(dst);
    out.extend(options);
    let c = !fold(sum(&out)) ^ if p.has("badipsum") { 0x0100 } else { 0 };
    out[10..12].copy_from_slice(&c.to_be_bytes());
    out.extend(l4);
    Ok((0x0800, out))
}

/// Extension headers and the number of the first.
fn extensions(list: &str, proto: u8) -> Result<(u8, Vec<u8>), String> {
    let mut all = Vec::new();
    for name in list.split(',').filter(|n| !n.is_empty()) {
        // Eight bytes each: PadN where there are options.
        all.push(match name {
            "hbh" => (0, [0, 0, 1, 4, 0, 0, 0, 0]),
            "dst" => (60, [0, 0, 1, 4, 0, 0, 0, 0]),
            "rt" => (43, [0, 0, 4, 0, 0, 0, 0, 0]),
            "frag" => (44, [0, 0, 0, 0, 0, 0, 0, 9]),
            "frag+" => (44, [0, 0, 0, 1, 0, 0, 0, 9]),
            _ => match name.strip_prefix("frag:") {
                // Offset, in eights, and perhaps a `+`.
                Some(at) => {
                    let bad = |_| format!("`{name}` is no fragment header");
                    let word = at.trim_end_matches('+').parse::<u16>().map_err(bad)? << 3;
                    let [a, b] = (word | u16::from(at.ends_with('+'))).to_be_bytes();
                    (44, [0, 0, a, b, 0, 0, 0, 9])
                }
                None => {
                    return Err(format!(
                        "`{name}` is no extension: hbh, dst, rt, frag, frag+, frag:N, frag:N+"
                    ));
                }
            },
        });
    }
    let mut next = proto;
    for (number, header) in all.iter_mut().rev() {
        header[0] = next;
        next = *number;
    }
    Ok((next, all.into_iter().flat_map(|(_, h)| h).collect()))
}

fn tcp(p: &Text, vars: &Vars, sport: u16, dport: u16) -> Result<Vec<u8>, String> {
    let number = |key: &str| p.get(key).map_or(Ok(0), |v| vars.number(v));
    let options = p.get("opts").map_or(Ok(vec![]), |o| options(o, vars))?;
    let doff = match p.get("doff") {
        Some(n) => vars.field(n, 4)? as u8,
        None => 5 + (options.len() / 4) as u8,
    };
    let flags = p.get("flags").unwrap_or("");
    let flags = "FSRPAUEC"
        .chars()
        .enumerate()
        .fold(0u8, |all, (i, c)| all | u8::from(flags.contains(c)) << i);
    let window = p.get("win").map_or(Ok(8192), |v| vars.field(v, 16))? as u16;
    let mut out = Vec::new();
    out.extend(sport.to_be_bytes());
    out.extend(dport.to_be_bytes());
    out.extend((number("seq")? as u32).to_be_bytes());
    out.extend((number("ack")? as u32).to_be_bytes());
    out.extend([doff << 4, flags]);
    out.extend(window.to_be_bytes());
    out.extend([0; 4]);
    out.extend(options);
    out.extend(payload(p, vars)?);
    Ok(out)
}

fn options(list: &str, vars: &Vars) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for option in list.split(',') {
        let mut parts = option.split(':');
        let name = parts.next().unwrap_or("");
        let values: Vec<&str> = parts.collect();
        let value = |i: usize, bits| {
            let text = values.get(i).ok_or(format!("`{option}` lacks a value"))?;
            vars.field(text, bits)
        };
        match name {
            "eol" => out.push(0),
            "nop" => out.push(1),
            "mss" => {
                out.extend([2, 4]);
                out.extend((value(0, 16)? as u16).to_be_bytes());
            }
            "ws" => out.extend([3, 3, value(0, 8)? as u8]),
            "sackok" => out.extend([4, 2]),
            "sack" => {
                out.extend([5, 2 + 4 * values.len() as u8]);
                for i in 0..values.len() {
                    out.extend(value(i, 32)?.to_be_bytes());
                }
            }
            "ts" => {
                out.extend([8, 10]);
                out.extend(value(0, 32)?.to_be_bytes());
                out.extend(value(1, 32)?.to_be_bytes());
            }
            // Any option: its kind and its bytes.
            "kind" => {
                let bytes = hex_bytes(values.get(1).copied().unwrap_or(""))?;
                out.extend([value(0, 8)? as u8, 2 + bytes.len() as u8]);
                out.extend(bytes);
            }
            _ => return Err(format!("`{option}` is no TCP option")),
        }
    }
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(out)
}

fn udp(p: &Text, vars: &Vars, sport: u16, dport: u16) -> Result<Vec<u8>, String> {
    let payload = payload(p, vars)?;
    let len = match p.get("udplen") {
        Some(n) => vars.field(n, 16)? as u16,
        None => 8 + payload.len() as u16,
    };
    let mut out = Vec::new();
    for word in [sport, dport, len, 0] {
        out.extend(word.to_be_bytes());
    }
    out.extend(payload);
    Ok(out)
}

fn icmp(p: &Text, vars: &Vars, v6: bool) -> Result<Vec<u8>, String> {
    let number = |key: &str, default: i64| p.get(key).map_or(Ok(default), |v| vars.number(v));
    let word = |list: &[(&str, u8, u8)]| {
        let found = list.iter().find(|(w, ..)| p.has(w));
        found.map_or((0, 0), |(_, t, c)| (i64::from(*t), i64::from(*c)))
    };
    let (typ, code) = word(if v6 {
        &[
            ("echo", 128, 0),
            ("echo-reply", 129, 0),
            ("unreachable", 1, 0),
            ("too-big", 2, 0),
            ("time-exceeded", 3, 0),
        ]
    } else {
        &[
            ("echo", 8, 0),
            ("echo-reply", 0, 0),
            ("unreachable", 3, 1),
            ("frag-needed", 3, 4),
            ("time-exceeded", 11, 0),
        ]
    });
    let mut out = vec![
        number("type", typ)? as u8,
        number("code", code)? as u8,
        0,
        0,
    ];
    if p.get("mtu").is_some() {
        out.extend((number("mtu", 0)? as u32).to_be_bytes());
    } else {
        out.extend((number("id", 0)? as u16).to_be_bytes());
        out.extend((number("seq", 0)? as u16).to_be_bytes());
    }
    out.extend(payload(p, vars)?);
    Ok(out)
}

fn nd(p: &Text, vars: &Vars, peer: [u8; 6]) -> Result<Vec<u8>, String> {
    let advert = p.has("advert");
    let target = vars.addr(p.get("target").ok_or("`target=` is missing")?)?;
    let flags = [("router", 0x80), ("solicited", 0x40), ("override", 0x20)]
        .iter()
        .fold(0, |all, (word, bit)| {
            all | if p.has(word) { *bit } else { 0 }
        });
    let mut out = vec![if advert { 136 } else { 135 }, 0, 0, 0, flags, 0, 0, 0];
    out.extend(octets(target));
    if p.get("lladdr") != Some("none") {
        out.extend([if advert { 2 } else { 1 }, 1]);
        out.extend(p.get("lladdr").map_or(Ok(peer), |t| mac(&vars.text(t)?))?);
    }
    out.extend(p.get("hex").map_or(Ok(vec![]), hex_bytes)?);
    Ok(out)
}
