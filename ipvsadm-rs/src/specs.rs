//! Values with a little grammar of their own: `-H`, `--dest-check`,
//! `--sockpair`, `-k`/`-2`, `-b` of `-A`, `--proxy-protocol`; and how they are
//! written back.

use std::net::IpAddr;

use dpvs_ctl::msg::{
    AddrRange, CheckConf, Encap, MH_SIZES, Match, Service, SockPair, check_type, encap_csum,
    encap_kind, proxy_proto, svc_flag,
};
use dpvs_ctl::{Af, Be16, Ip16, Name};

use crate::address;
use crate::failure::Failure;
use crate::names::{Names, proto, proto_name};

/// What `-H` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchSpec {
    /// Family of the service.
    pub af: Af,
    /// Protocol; 0 if not given.
    pub proto: u8,
    /// The ranges and devices.
    pub matched: Match,
}

fn proto_number(text: &str) -> Option<u8> {
    [
        proto::TCP,
        proto::UDP,
        proto::SCTP,
        proto::ICMP,
        proto::ICMPV6,
    ]
    .into_iter()
    .find(|p| proto_name(*p) == text)
}

/// Reads `key=value,...`; a range or a family is needed.
#[must_use]
pub fn parse_match(text: &str) -> Option<MatchSpec> {
    let mut spec = MatchSpec {
        af: Af::UNSPEC,
        proto: 0,
        matched: Match::default(),
    };
    let mut ranges = Af::UNSPEC;
    for item in text.split(',') {
        let (key, value) = item.split_once('=')?;
        match key {
            "proto" => spec.proto = proto_number(value)?,
            "af" => {
                spec.af = match value {
                    "ipv4" => Af::INET,
                    "ipv6" => Af::INET6,
                    _ => return None,
                }
            }
            "src-range" | "dst-range" => {
                let (af, range) = parse_range(value)?;
                if ranges != Af::UNSPEC && af != Af::UNSPEC && ranges != af {
                    return None;
                }
                if af != Af::UNSPEC {
                    ranges = af;
                }
                if key == "src-range" {
                    spec.matched.srange = range;
                } else {
                    spec.matched.drange = range;
                }
            }
            "iif" => spec.matched.iifname = device(value)?,
            "oif" => spec.matched.oifname = device(value)?,
            _ => return None,
        }
    }
    let ends = [spec.matched.srange, spec.matched.drange];
    if ranges == Af::UNSPEC && ends != [AddrRange::default(); 2] {
        // Only ports are named: of IPv4, as with C ipvsadm, unless `af` says more.
        ranges = match spec.af {
            Af::UNSPEC => Af::INET,
            af => af,
        };
    }
    spec.matched.af = ranges;
    if spec.af == Af::UNSPEC {
        spec.af = ranges;
    }
    (spec.af != Af::UNSPEC).then_some(spec)
}

fn device(text: &str) -> Option<Name<16>> {
    Name::new(text).filter(|n| !n.is_empty())
}

/// Reads `IP[-IP][:PORT[-PORT]]`, IPv6 with ports as `[IP[-IP]]:PORT...`, and
/// `:PORT[-PORT]` for any address of no family.
fn parse_range(text: &str) -> Option<(Af, AddrRange)> {
    let (addresses, ports) = if let Some(rest) = text.strip_prefix('[') {
        let (addresses, rest) = rest.split_once(']')?;
        (
            addresses,
            if rest.is_empty() {
                ""
            } else {
                rest.strip_prefix(':')?
            },
        )
    } else if text.bytes().filter(|b| *b == b':').count() > 1 {
        (text, "")
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let mut range = AddrRange::default();
    let mut af = Af::UNSPEC;
    if !addresses.is_empty() || ports.is_empty() {
        let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        af = Af::of(first);
        if Af::of(last) != af || last < first {
            return None;
        }
        range.min_addr = Ip16::from_ip(first);
        range.max_addr = Ip16::from_ip(last);
    }
    if !ports.is_empty() {
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if last < first {
            return None;
        }
        range.min_port = Be16::new(first);
        range.max_port = Be16::new(last);
    }
    Some((af, range))
}

/// A range as text; nothing if it is all zero.
#[must_use]
pub fn range_text(range: &AddrRange, af: Af) -> Option<String> {
    if *range == AddrRange::default() {
        return None;
    }
    let ports = format!("{}-{}", range.min_port, range.max_port);
    let addresses = (range.min_addr.to_ip(af)?, range.max_addr.to_ip(af)?);
    Some(match addresses {
        (IpAddr::V4(a), IpAddr::V4(b)) => format!("{a}-{b}:{ports}"),
        (a, b) => format!("[{a}-{b}]:{ports}"),
    })
}

/// A match service in a listing.
#[must_use]
pub fn match_name(svc: &Service) -> String {
    let mut out = proto_name(svc.proto).to_owned();
    for (key, value) in match_parts(svc, "from", "to") {
        out.push_str(&format!(",{key}={value}"));
    }
    out
}

/// A match service as `-H` takes it.
#[must_use]
pub fn match_spec(svc: &Service) -> String {
    let mut parts = match_parts(svc, "src-range", "dst-range");
    let family = svc.matched.af;
    let ranges = parts.iter().any(|(key, _)| key.ends_with("-range"));
    if !ranges && family != Af::UNSPEC {
        // A range that is all zero still has a family.
        let zero = if family == Af::INET6 { "::" } else { "0.0.0.0" };
        parts.push(("src-range", zero.to_owned()));
    }
    if family != svc.af {
        let af = if svc.af == Af::INET6 { "ipv6" } else { "ipv4" };
        parts.insert(0, ("af", af.to_owned()));
    }
    if svc.proto != 0 {
        parts.insert(0, ("proto", proto_name(svc.proto).to_owned()));
    }
    let texts: Vec<String> = parts.iter().map(|(k, v)| format!("{k}={v}")).collect();
    texts.join(",")
}

fn match_parts<'a>(svc: &Service, from: &'a str, to: &'a str) -> Vec<(&'a str, String)> {
    let m = &svc.matched;
    let af = if m.af == Af::UNSPEC { svc.af } else { m.af };
    let mut parts = Vec::new();
    parts.extend(range_text(&m.srange, af).map(|r| (from, r)));
    parts.extend(range_text(&m.drange, af).map(|r| (to, r)));
    for (key, name) in [("iif", &m.iifname), ("oif", &m.oifname)] {
        if !name.is_empty() {
            parts.push((key, name.text().into_owned()));
        }
    }
    parts
}

const DEFAULT_CHECK: CheckConf = CheckConf {
    types: 0,
    dest_down_notice_num: 1,
    dest_up_notice_num: 1,
    dest_down_wait: 3,
    dest_inhibit_min: 5,
    dest_inhibit_max: 3600,
};

const EXTERNAL: [(&str, u8); 4] = [
    ("tcp", check_type::TCP),
    ("udp", check_type::UDP),
    ("sctp", check_type::SCTP),
    ("ping", check_type::PING),
];

/// Adds one `--dest-check` to a configuration.
#[must_use]
pub fn add_dest_check(conf: &mut CheckConf, text: &str) -> Option<()> {
    if text == "disable" {
        *conf = CheckConf::default();
        return Some(());
    }
    if let Some((_, bit)) = EXTERNAL.into_iter().find(|(name, _)| *name == text) {
        conf.types |= bit;
        return Some(());
    }
    let mut new = if text == "default" {
        DEFAULT_CHECK
    } else {
        parse_internal(text)?
    };
    new.types = conf.types | check_type::PASSIVE;
    *conf = new;
    Some(())
}

/// Reads `DOWN,UP,WAITs,MIN-MAXs` or, to take dests down only, `DOWN,WAITs`.
fn parse_internal(text: &str) -> Option<CheckConf> {
    let parts: Vec<&str> = text.split(',').collect();
    let seconds = |text: &str| text.strip_suffix('s').map(str::to_owned);
    match parts.as_slice() {
        [down, wait] => Some(CheckConf {
            dest_down_notice_num: down.parse().ok()?,
            dest_down_wait: seconds(wait)?.parse().ok()?,
            ..CheckConf::default()
        }),
        [down, up, wait, inhibit] => {
            let inhibit = seconds(inhibit)?;
            let (min, max) = inhibit.split_once('-')?;
            let conf = CheckConf {
                types: 0,
                dest_down_notice_num: down.parse().ok()?,
                dest_up_notice_num: up.parse().ok()?,
                dest_down_wait: seconds(wait)?.parse().ok()?,
                dest_inhibit_min: min.parse().ok()?,
                dest_inhibit_max: max.parse().ok()?,
            };
            (conf.dest_inhibit_min <= conf.dest_inhibit_max).then_some(conf)
        }
        _ => None,
    }
}

/// The internal check as text, if there is one.
#[must_use]
pub fn internal_check(conf: &CheckConf) -> Option<String> {
    if conf.types & check_type::PASSIVE == 0 {
        return None;
    }
    let c = CheckConf { types: 0, ..*conf };
    Some(if c == DEFAULT_CHECK {
        "default".to_owned()
    } else if c.dest_up_notice_num == 0 && c.dest_inhibit_min == 0 && c.dest_inhibit_max == 0 {
        format!("{},{}s", c.dest_down_notice_num, c.dest_down_wait)
    } else {
        format!(
            "{},{},{}s,{}-{}s",
            c.dest_down_notice_num,
            c.dest_up_notice_num,
            c.dest_down_wait,
            c.dest_inhibit_min,
            c.dest_inhibit_max
        )
    })
}

/// The external checks of a configuration.
#[must_use]
pub fn external_checks(conf: &CheckConf) -> Vec<&'static str> {
    EXTERNAL
        .iter()
        .filter(|(_, bit)| conf.types & bit != 0)
        .map(|(name, _)| *name)
        .collect()
}

const PROXY: [(&str, u8); 5] = [
    ("disable", proxy_proto::OFF),
    ("v1", proxy_proto::V1),
    ("v2", proxy_proto::V2),
    ("v1-insecure", proxy_proto::V1 | proxy_proto::INSECURE),
    ("v2-insecure", proxy_proto::V2 | proxy_proto::INSECURE),
];

/// Reads `--proxy-protocol`. DIFFERS: the C tool takes any other text for
/// "disable".
#[must_use]
pub fn parse_proxy_protocol(text: &str) -> Option<u8> {
    PROXY
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, v)| v)
}

/// The PROXY protocol of a service as text; nothing if it is off.
#[must_use]
pub fn proxy_protocol_text(value: u8) -> Option<&'static str> {
    PROXY
        .into_iter()
        .find(|(_, v)| *v == value && value != 0)
        .map(|(name, _)| name)
}

/// Reads `proto:sip:sport:tip:tport`, IPv6 addresses in brackets.
#[must_use]
pub fn parse_sockpair(text: &str) -> Option<SockPair> {
    let (proto, rest) = text.split_once(':')?;
    let proto = proto_number(proto)?;
    let (sip, rest) = bracketed(rest)?;
    let (sport, rest) = rest.split_once(':')?;
    let (tip, tport) = bracketed(rest)?;
    let (sip, tip): (IpAddr, IpAddr) = (sip.parse().ok()?, tip.parse().ok()?);
    if Af::of(sip) != Af::of(tip) {
        return None;
    }
    Some(SockPair {
        af: Af::of(sip).as_u16(),
        proto: proto.into(),
        sport: Be16::new(sport.parse().ok()?),
        tport: Be16::new(tport.parse().ok()?),
        sip: Ip16::from_ip(sip),
        tip: Ip16::from_ip(tip),
    })
}

/// An address, perhaps in brackets, up to the next colon; and what follows it.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, rest) = rest.split_once(']')?;
            Some((inside, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

/// Reads `SRC-DST-VNI`: outer addresses of one family, a tenant of 24 bits.
#[must_use]
pub fn parse_vxlan(text: &str) -> Option<Encap> {
    let mut parts = text.split('-');
    let (src, dst, vni) = (parts.next()?, parts.next()?, parts.next()?);
    let (src, dst): (IpAddr, IpAddr) = (src.parse().ok()?, dst.parse().ok()?);
    // `parse` would take a sign.
    let digits = !vni.is_empty() && vni.bytes().all(|b| b.is_ascii_digit());
    let vni = vni.parse::<u32>().ok().filter(|v| digits && *v < 1 << 24)?;
    (parts.next().is_none() && Af::of(src) == Af::of(dst)).then(|| Encap {
        kind: encap_kind::VXLAN,
        vni,
        af: Af::of(src),
        src: Ip16::from_ip(src),
        dst: Ip16::from_ip(dst),
        ..Encap::default()
    })
}

/// A VxLAN backend as `-T` takes it; nothing if it is none.
#[must_use]
pub fn vxlan_text(encap: &Encap) -> Option<String> {
    if encap.kind != encap_kind::VXLAN {
        return None;
    }
    let (src, dst) = (encap.src.to_ip(encap.af)?, encap.dst.to_ip(encap.af)?);
    Some(format!("{src}-{dst}-{}", encap.vni))
}

/// A tunnel in `--tun-info`: `gue:6080:+c`.
#[must_use]
pub fn tunnel_info(encap: &Encap) -> String {
    let sum = match encap.csum {
        encap_csum::FULL => "+c",
        encap_csum::REMOTE => "r+c",
        _ => "-c",
    };
    match encap.kind {
        encap_kind::GUE => format!("gue:{}:{sum}", encap.port),
        encap_kind::GRE => format!("gre:{sum}"),
        encap_kind::VXLAN => format!("vxlan:{}", encap.vni),
        _ => "ipip".to_owned(),
    }
}

/// A tunnel as options of `-a`.
#[must_use]
pub fn tunnel_options(encap: &Encap) -> String {
    let sum = match encap.csum {
        encap_csum::FULL => "--tun-csum",
        encap_csum::REMOTE => "--tun-remcsum",
        _ => "--tun-nocsum",
    };
    match encap.kind {
        encap_kind::GUE => format!(" --tun-type gue --tun-port {} {sum}", encap.port),
        encap_kind::GRE => format!(" --tun-type gre {sum}"),
        _ => " --tun-type ipip".to_owned(),
    }
}

/// Who is on a black or white list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclSubject {
    /// An address.
    Address(IpAddr),
    /// The members of a set.
    Ipset(Name<32>),
}

/// Reads an address or `ipset:NAME`.
#[must_use]
pub fn parse_acl(text: &str, names: &Names) -> Option<AclSubject> {
    match text.strip_prefix("ipset:") {
        Some(name) => Name::new(name)
            .filter(|n| !n.is_empty())
            .map(AclSubject::Ipset),
        None => address::parse_ip(text, names).map(AclSubject::Address),
    }
}

const FLAGS: [u32; 3] = [svc_flag::SCHED1, svc_flag::SCHED2, svc_flag::SCHED3];

/// Name, flag, and the scheduler it belongs to.
const NAMED_FLAGS: [(&str, u32, &str); 4] = [
    ("sh-fallback", svc_flag::SCHED1, "sh"),
    ("sh-port", svc_flag::SCHED2, "sh"),
    ("mh-fallback", svc_flag::SCHED1, "mh"),
    ("mh-port", svc_flag::SCHED2, "mh"),
];

/// Reads a comma list of scheduler flags.
///
/// # Errors
/// For an unknown flag, or one of another scheduler.
pub fn parse_sched_flags(text: &str, sched: &str) -> Result<u32, Failure> {
    let mut flags = 0;
    for name in text.split(',').filter(|n| !n.is_empty()) {
        let plain = ["flag-1", "flag-2", "flag-3"]
            .iter()
            .position(|n| *n == name);
        if let Some(bit) = plain.and_then(|i| FLAGS.get(i)) {
            flags |= bit;
            continue;
        }
        // DIFFERS: new; the C programs have one size for all.
        if let Some(size) = name.strip_prefix("mh-size=") {
            flags = flags & !svc_flag::MH_SIZE | mh_size(size, sched)?;
            continue;
        }
        match NAMED_FLAGS.into_iter().find(|(n, ..)| *n == name) {
            Some((_, bit, owner)) if owner == sched => flags |= bit,
            Some(_) => {
                return Err(Failure::usage(format!(
                    "incompatible scheduler flag `{name}'"
                )));
            }
            None => return Err(Failure::usage(format!("invalid scheduler flag `{name}'"))),
        }
    }
    Ok(flags)
}

/// The flags that say how large mh's table is.
fn mh_size(text: &str, sched: &str) -> Result<u32, Failure> {
    if sched != "mh" {
        return Err(Failure::usage(format!(
            "incompatible scheduler flag `mh-size={text}'"
        )));
    }
    let at = MH_SIZES
        .iter()
        .skip(1)
        .zip(1u32..)
        .find(|(size, _)| size.to_string() == text);
    match at {
        Some((_, number)) => Ok(number << svc_flag::MH_SIZE.trailing_zeros()),
        None => Err(Failure::usage(format!(
            "mh-size is one of 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, \
             not `{text}'"
        ))),
    }
}

/// The scheduler flags of a service as listings show them; none if it has none.
/// As in ipvsadm, the third flag of sh and mh has no name to show.
#[must_use]
pub fn sched_flags_shown(flags: u32, sched: &str) -> Option<String> {
    if FLAGS.into_iter().all(|bit| flags & bit == 0) && flags & svc_flag::MH_SIZE == 0 {
        return None;
    }
    let named = NAMED_FLAGS.into_iter().any(|(_, _, owner)| owner == sched);
    let shown = if named {
        flags & !svc_flag::SCHED3
    } else {
        flags
    };
    Some(sched_flags_text(shown, sched))
}

/// The scheduler flags of a service as a comma list, all of them; empty if
/// there are none. DIFFERS: ipvsadm loses the third flag of sh and mh.
#[must_use]
pub fn sched_flags_text(flags: u32, sched: &str) -> String {
    let named = |bit: u32| {
        NAMED_FLAGS
            .into_iter()
            .find(|(_, b, s)| *b == bit && *s == sched)
    };
    let mut names: Vec<String> = FLAGS
        .into_iter()
        .enumerate()
        .filter(|(_, bit)| flags & bit != 0)
        .map(|(i, bit)| named(bit).map_or(format!("flag-{}", i + 1), |(n, ..)| n.to_owned()))
        .collect();
    let number = (flags & svc_flag::MH_SIZE) >> svc_flag::MH_SIZE.trailing_zeros();
    if let (1.., Some(size)) = (number, MH_SIZES.get(number as usize)) {
        names.push(format!("mh-size={size}"));
    }
    names.join(",")
}

#[cfg(test)]
mod tests;
