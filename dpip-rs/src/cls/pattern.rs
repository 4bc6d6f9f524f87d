//! Patterns of classifiers: `tcp,from=10.0.0.1:1-1024,oif=dpdk1`.
//!
//! Pure: text to message and back.

use std::fmt::Write as _;
use std::net::IpAddr;

use dpvs_ctl::msg::AddrRange;
use dpvs_ctl::{Af, Be16, Ip16};

use super::Match;
use crate::failure::Failure;
use crate::words::device;

/// What a packet is held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) proto: u8,
    pub(super) matched: Match,
}

/// Reads a pattern.
pub(super) fn pattern(text: &str) -> Result<Pattern, Failure> {
    let wrong = || Failure::invalid(format!("invalid pattern: {text}"));
    let mut pattern = Pattern::default();
    for part in text.split(',') {
        match part.split_once('=') {
            None => {
                pattern.proto = match part {
                    "tcp" => 6,
                    "udp" => 17,
                    "sctp" => 132,
                    "icmp" => 1,
                    "icmp6" => 58,
                    _ => return Err(wrong()),
                };
            }
            Some(("iif", dev)) => pattern.matched.iifname = device(dev)?,
            Some(("oif", dev)) => pattern.matched.oifname = device(dev)?,
            Some((end @ ("from" | "to"), text)) => {
                let (af, range) = range(text).ok_or_else(wrong)?;
                if pattern.matched.af != Af::UNSPEC && af != Af::UNSPEC && pattern.matched.af != af
                {
                    return Err(wrong());
                }
                if af != Af::UNSPEC {
                    pattern.matched.af = af;
                }
                if end == "from" {
                    pattern.matched.srange = range;
                } else {
                    pattern.matched.drange = range;
                }
            }
            Some(_) => return Err(wrong()),
        }
    }
    let ends = [pattern.matched.srange, pattern.matched.drange];
    if pattern.matched.af == Af::UNSPEC && ends != [AddrRange::default(); 2] {
        // As C dpip has it where only ports are named.
        pattern.matched.af = Af::INET;
    }
    Ok(pattern)
}

/// `IP[-IP][:PORT[-PORT]]`, with ports in IPv6 `[IP[-IP]]:PORT...`, or `:PORT[-PORT]`
/// for any address. A single address has no last one on the wire.
fn range(text: &str) -> Option<(Af, AddrRange)> {
    let (addresses, ports) = match text.strip_prefix('[') {
        Some(rest) => {
            let (addresses, rest) = rest.split_once(']')?;
            let ports = rest.strip_prefix(':').or((rest.is_empty()).then_some(""))?;
            (addresses, ports)
        }
        None if text.bytes().filter(|byte| *byte == b':').count() > 1 => (text, ""),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let any = addresses.is_empty() && !ports.is_empty();
    let mut range = AddrRange::default();
    let mut af = Af::UNSPEC;
    if !any {
        let (first, last) = match addresses.split_once('-') {
            Some((first, last)) => (first.parse::<IpAddr>().ok()?, Some(last.parse().ok()?)),
            None => (addresses.parse().ok()?, None),
        };
        if last.is_some_and(|last| Af::of(last) != Af::of(first) || last < first) {
            return None;
        }
        af = Af::of(first);
        range.min_addr = Ip16::from_ip(first);
        range.max_addr = last.map_or(Ip16::ANY, Ip16::from_ip);
    }
    if !ports.is_empty() {
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        if last < first {
            return None;
        }
        (range.min_port, range.max_port) = (Be16::new(first), Be16::new(last));
    }
    Some((af, range))
}

/// A pattern as text.
pub(super) fn pattern_text(proto: u8, matched: &Match) -> String {
    let mut text = match proto {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        1 => "ICMP",
        58 => "ICMPV6",
        0 => "unspec",
        _ => "<unknow>",
    }
    .to_owned();
    for (end, range) in [("from", &matched.srange), ("to", &matched.drange)] {
        if let Some(range) = range_text(range, matched.af) {
            let _ = write!(text, ",{end}={range}");
        }
    }
    for (end, dev) in [("iif", matched.iifname), ("oif", matched.oifname)] {
        if !dev.is_empty() {
            let _ = write!(text, ",{end}={dev}");
        }
    }
    text
}

fn range_text(range: &AddrRange, af: Af) -> Option<String> {
    if *range == AddrRange::default() {
        return None;
    }
    let (first, last) = (range.min_addr.to_ip(af)?, range.max_addr.to_ip(af)?);
    let ports = format!("{}-{}", range.min_port, range.max_port);
    Some(if first.is_ipv4() {
        format!("{first}-{last}:{ports}")
    } else {
        format!("[{first}-{last}]:{ports}")
    })
}
