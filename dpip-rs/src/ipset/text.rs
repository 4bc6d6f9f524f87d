//! Listings of sets.
//!
//! Pure: messages in, lines and values out.

use std::cmp::Reverse;
use std::fmt::Write as _;

use dpvs_ctl::msg::{AddrRange, IpsetInfo, IpsetMember};
use dpvs_ctl::{Af, HwAddr, Ip16, Wire};
use serde_json::{Value, json};

use super::entry::{Kind, proto_text};

/// A set with its members, and an empty line.
pub(super) fn set(info: &IpsetInfo, members: &[IpsetMember]) -> String {
    let mut text = format!("Name: {}\nType: {}\nHeader: ", info.name, info.kind);
    let comment = if info.comment != 0 { "comment" } else { "" };
    let _ = match Kind::from_name(&info.kind.text()) {
        Some(kind) if kind.is_bitmap() => {
            writeln!(text, "range {}  {comment}", range(info, kind))
        }
        _ => {
            let (hashsize, maxelem) = hash(info);
            let family = family(info);
            writeln!(
                text,
                "family {family}  hashsize {hashsize}  maxelem {maxelem}  {comment}"
            )
        }
    };
    let _ = write!(
        text,
        "Size in memory: {}\nReferences: {}\nNumber of entries: {}\nMembers:\n",
        info.size, info.references, info.entries
    );
    for entry in members {
        text.push_str(&member(info, entry));
        if !entry.comment.is_empty() {
            let _ = write!(text, "comment \"{}\"", entry.comment);
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

/// A set as a value.
pub(super) fn value(info: &IpsetInfo, members: &[IpsetMember]) -> Value {
    let entry = |entry: &IpsetMember| {
        let nomatch = entry.nomatch != 0;
        let text = member(info, entry);
        let text = text.trim_end().trim_end_matches(" nomatch");
        let mut value = json!({"entry": text, "nomatch": nomatch});
        if !entry.comment.is_empty() {
            value["comment"] = json!(entry.comment.text());
        }
        value
    };
    let mut value = json!({
        "name": info.name.text(),
        "type": info.kind.text(),
        "family": family(info),
        "comment": info.comment != 0,
        "size": info.size,
        "references": info.references,
        "entries": members.iter().map(entry).collect::<Vec<_>>(),
    });
    match Kind::from_name(&info.kind.text()) {
        Some(kind) if kind.is_bitmap() => value["range"] = json!(range(info, kind)),
        _ => {
            let (hashsize, maxelem) = hash(info);
            value["hashsize"] = json!(hashsize);
            value["maxelem"] = json!(maxelem);
        }
    }
    value
}

fn family(info: &IpsetInfo) -> &'static str {
    match Af::from(info.af) {
        Af::INET6 => "inet6",
        _ => "inet",
    }
}

/// Buckets, and the most members.
fn hash(info: &IpsetInfo) -> (u32, u32) {
    let [_, hashsize, maxelem] = info.detail.read::<[u32; 3]>();
    (hashsize, maxelem)
}

/// The range of a bitmap.
fn range(info: &IpsetInfo, kind: Kind) -> String {
    let [cidr, ..] = info.detail.0;
    let range = AddrRange::take(info.detail.0.get(4..).unwrap_or(&[]));
    if kind == Kind::BitmapPort {
        // In host order, unlike elsewhere.
        let [first, last] = [range.min_port, range.max_port].map(|port| port.get().swap_bytes());
        return format!("tcp|udp:{first}-{last}");
    }
    let first = range.min_addr.v4();
    if cidr != 0 {
        format!("{first}/{cidr}")
    } else {
        format!("{first}-{}", range.max_addr.v4())
    }
}

/// A member, without its comment. The blanks at the end are the C tool's.
fn member(info: &IpsetInfo, entry: &IpsetMember) -> String {
    let af = info.af;
    let ip = |addr: Ip16| match addr.to_ip(af) {
        Some(ip) => ip.to_string(),
        None => addr.v4().to_string(),
    };
    let net = |addr: Ip16, cidr: u8| match cidr {
        0 => ip(addr),
        cidr => format!("{}/{cidr}", ip(addr)),
    };
    let a = net(entry.addr, entry.cidr);
    let b = net(entry.addr2, entry.cidr2);
    let (ip, ip2) = (ip(entry.addr), ip(entry.addr2));
    let proto = proto_text(entry.proto);
    let p = format!("{proto}:{}", entry.port);
    let nomatch = if entry.nomatch != 0 { "nomatch " } else { "" };
    match Kind::from_name(&info.kind.text()) {
        Some(Kind::BitmapIpMac) if entry.mac == HwAddr::default() => ip,
        Some(Kind::BitmapIpMac) => format!("{ip},{}  ", entry.mac),
        Some(Kind::BitmapPort) => format!("{p}  "),
        Some(Kind::HashIpPort) => format!("{ip},{p}  "),
        Some(Kind::HashIpPortIp) => format!("{ip},{p},{ip2}  "),
        Some(Kind::HashNetPort) => format!("{a},{p} {nomatch} "),
        Some(Kind::HashNetPortIface) => format!("{a},{p},{} {nomatch} ", entry.iface),
        Some(Kind::HashIpPortNet) => format!("{ip2},{p},{a} {nomatch} "),
        Some(Kind::HashNetPortNet) => format!("{a},{p},{b} {nomatch} "),
        Some(Kind::HashNetPortNetPort) => {
            format!("{a},{p},{b},{proto}:{} {nomatch} ", entry.port2)
        }
        Some(Kind::BitmapIp | Kind::HashIp | Kind::HashNet) | None => format!("{a} {nomatch} "),
    }
}

/// Puts members in order: of networks the longest prefix first, then by address
/// and ports. Bitmaps come in order.
pub(super) fn sort(info: &IpsetInfo, members: &mut [IpsetMember]) {
    let kind = Kind::from_name(&info.kind.text());
    if kind.is_none_or(Kind::is_bitmap) {
        return;
    }
    let nets = kind.is_some_and(|kind| kind.is_net() || kind == Kind::HashIpPortNet);
    members.sort_by_key(|entry| {
        let lengths = if nets {
            (Reverse(entry.cidr), Reverse(entry.cidr2))
        } else {
            (Reverse(0), Reverse(0))
        };
        (
            lengths,
            entry.addr.clean(info.af).0,
            entry.addr2.clean(info.af).0,
            entry.proto,
            entry.port,
            entry.port2,
        )
    });
}
