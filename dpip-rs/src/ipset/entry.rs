//! What an entry of each type of set looks like, and which part of the message
//! each piece goes to.
//!
//! Pure: text in, fields out.

use std::net::{IpAddr, Ipv4Addr};

use dpvs_ctl::msg::IpsetParam;
use dpvs_ctl::{Af, Be16, Ip16};

use crate::args::Family;
use crate::failure::Failure;
use crate::table::Command;
use crate::words::{device, mac};

/// The types of sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BitmapIp,
    BitmapIpMac,
    BitmapPort,
    HashIp,
    HashNet,
    HashIpPort,
    HashNetPort,
    HashNetPortIface,
    HashIpPortIp,
    HashIpPortNet,
    HashNetPortNet,
    HashNetPortNetPort,
}

impl Kind {
    /// Every type and its name.
    pub(super) const ALL: [(&'static str, Kind); 12] = [
        ("bitmap:ip", Kind::BitmapIp),
        ("bitmap:ip,mac", Kind::BitmapIpMac),
        ("bitmap:port", Kind::BitmapPort),
        ("hash:ip", Kind::HashIp),
        ("hash:net", Kind::HashNet),
        ("hash:ip,port", Kind::HashIpPort),
        ("hash:net,port", Kind::HashNetPort),
        ("hash:net,port,iface", Kind::HashNetPortIface),
        ("hash:ip,port,ip", Kind::HashIpPortIp),
        ("hash:ip,port,net", Kind::HashIpPortNet),
        ("hash:net,port,net", Kind::HashNetPortNet),
        ("hash:net,port,net,port", Kind::HashNetPortNetPort),
    ];

    pub(super) fn from_name(name: &str) -> Option<Kind> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    }

    pub(super) fn is_bitmap(self) -> bool {
        matches!(self, Kind::BitmapIp | Kind::BitmapIpMac | Kind::BitmapPort)
    }

    /// Whether the first part of an entry is a network, not an address.
    pub(super) fn is_net(self) -> bool {
        matches!(
            self,
            Kind::HashNet
                | Kind::HashNetPort
                | Kind::HashNetPortIface
                | Kind::HashNetPortNet
                | Kind::HashNetPortNetPort
        )
    }
}

/// `IP`, `IP/LEN` or `IP-IP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Addresses {
    af: Af,
    /// 0: none.
    cidr: u8,
    first: Ip16,
    /// IPv6 has none on the wire.
    last: Ip16,
}

/// `[PROTO:]PORT[-PORT]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    proto: u8,
    first: u16,
    last: u16,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// A range of addresses to be taken apart may not be larger.
const MOST: u32 = 65536;

fn addresses(text: &str) -> Result<Addresses, Failure> {
    let wrong = || {
        Failure::invalid(format!(
            "invalid address in entry: '{text}' (IP, IP/LEN or IP-IP)"
        ))
    };
    let (ip, rest) = match text.find(['/', '-']) {
        Some(at) => text.split_at_checked(at).ok_or_else(wrong)?,
        None => (text, ""),
    };
    let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
    let plen = match rest.strip_prefix('/') {
        Some(plen) if plen.bytes().all(|byte| byte.is_ascii_digit()) => {
            let plen: u8 = plen.parse().map_err(|_| wrong())?;
            if plen > Af::of(ip).max_plen() {
                return Err(wrong());
            }
            Some(plen)
        }
        Some(_) => return Err(wrong()),
        None => None,
    };
    let (first, last) = match (ip, rest.strip_prefix('-')) {
        (IpAddr::V6(_), Some(_)) => {
            return Err(Failure::invalid("ipv6 range is not supported"));
        }
        (IpAddr::V6(_), None) => (Ip16::from_ip(ip), Ip16::ANY),
        (IpAddr::V4(first), Some(last)) => {
            let last: Ipv4Addr = last
                .parse()
                .map_err(|_| Failure::invalid(format!("invalid ipv4 range: {text}")))?;
            // As ever: a range that goes back is its first address.
            (v4(first), v4(last.max(first)))
        }
        (IpAddr::V4(addr), None) => {
            let host = u32::MAX.checked_shr(plen.unwrap_or(32).into()).unwrap_or(0);
            let net = addr.to_bits() & !host;
            (
                v4(Ipv4Addr::from_bits(net)),
                v4(Ipv4Addr::from_bits(net | host)),
            )
        }
    };
    Ok(Addresses {
        af: Af::of(ip),
        cidr: plen.unwrap_or(0),
        first,
        last,
    })
}

fn v4(addr: Ipv4Addr) -> Ip16 {
    Ip16::from_ip(IpAddr::V4(addr))
}

/// Addresses that become one entry each: neither IPv6 prefixes nor very many.
fn single(text: &str, with_port: bool) -> Result<Addresses, Failure> {
    let found = addresses(text)?;
    let say = |what: &str| Err(Failure::invalid(format!("{what}: {text}")));
    if found.af == Af::INET6 && found.cidr != 0 {
        return Err(Failure::invalid(if with_port {
            "hash:ip,port doesn't support ipv6 cidr"
        } else {
            "ipv6 cidr is not supported by the set type"
        }));
    }
    if found.af == Af::INET {
        let (first, last) = (found.first.v4().to_bits(), found.last.v4().to_bits());
        if (1..16).contains(&found.cidr) {
            return say("ipv4 cidr shouldn't be less than 16");
        }
        if last - first >= MOST {
            return say("ip range shouldn't be greater than 65536");
        }
    }
    Ok(found)
}

fn ports(text: &str) -> Result<Ports, Failure> {
    let wrong = || {
        Failure::invalid(format!(
            "invalid port in entry: '{text}' ([tcp:|udp:|icmp:|icmp6:]PORT[-PORT])"
        ))
    };
    let (proto, range) = match text.split_once(':') {
        Some(("tcp", range)) => (TCP, range),
        Some(("udp", range)) => (UDP, range),
        Some(("icmp", range)) => (1, range),
        Some(("icmp6", range)) => (58, range),
        Some(_) => return Err(wrong()),
        None => (0, text),
    };
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(wrong()),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(wrong());
    }
    Ok(Ports { proto, first, last })
}

/// The range of a new bitmap.
pub(super) fn bitmap_range(
    kind: Kind,
    range: Option<&str>,
    family: Family,
    param: &mut IpsetParam,
) -> Result<(), Failure> {
    if family == Family::Inet6 {
        return Err(Failure::invalid("bitmap doesn't support ipv6"));
    }
    match (kind, range) {
        (Kind::BitmapPort, None) => Err(Failure::invalid("bitmap's port range MUST be specified")),
        (_, None) => Err(Failure::invalid("bitmap's IP range MUST be specified")),
        (Kind::BitmapPort, Some(range)) => {
            let ports = ports(range)?;
            (param.min_port, param.max_port) = (ports.first, ports.last);
            Ok(())
        }
        (_, Some(range)) => {
            let found = single(range, false)?;
            if found.af == Af::INET6 {
                return Err(Failure::invalid("bitmap doesn't support ipv6"));
            }
            put_first(param, &found);
            Ok(())
        }
    }
}

/// Puts an entry into a request. Returns what is to be said about it.
///
/// DIFFERS: C dpip reads icmp6 as icmp.
pub(super) fn entry(
    kind: Kind,
    text: &str,
    command: Command,
    param: &mut IpsetParam,
) -> Result<Option<&'static str>, Failure> {
    let parts: Vec<&str> = text.split(',').collect();
    let ip = |text| single(text, kind != Kind::HashIp);
    let mut found = match (kind, parts.as_slice()) {
        (Kind::BitmapIp | Kind::HashIp, [a]) => Found::one(single(a, false)?),
        (Kind::HashNet, [a]) => Found::one(addresses(a)?),
        (Kind::BitmapIpMac, [a]) => Found::one(single(a, false)?),
        (Kind::BitmapIpMac, [a, text]) => {
            param.mac = mac(text)
                .ok_or_else(|| Failure::invalid(format!("invalid MAC address in entry: {text}")))?;
            Found::one(single(a, false)?)
        }
        (Kind::BitmapPort, [p]) => {
            let ports = ports(p)?;
            if ![TCP, UDP].contains(&ports.proto) {
                return Err(Failure::invalid(
                    "bitmap:port should specified protocol tcp or udp",
                ));
            }
            Found {
                ports: Some(ports),
                ..Found::default()
            }
        }
        // As with C dpip: an address alone has port 0 of no protocol.
        (Kind::HashIpPort, [a]) => Found::with(ip(a)?, ports("0")?),
        (Kind::HashIpPort, [a, p]) => Found::with(ip(a)?, ports(p)?),
        (Kind::HashNetPort, [a, p]) => Found::with(addresses(a)?, ports(p)?),
        (Kind::HashNetPortIface, [a, p, dev]) => {
            param.iface = device(dev)?;
            Found::with(addresses(a)?, ports(p)?)
        }
        (Kind::HashIpPortIp, [a, p, b]) => Found::pair(ip(a)?, ports(p)?, ip(b)?),
        // The network is what is hashed by length: it stands first.
        (Kind::HashIpPortNet, [a, p, b]) => Found::pair(addresses(b)?, ports(p)?, ip(a)?),
        (Kind::HashNetPortNet, [a, p, b]) => Found::pair(addresses(a)?, ports(p)?, addresses(b)?),
        (Kind::HashNetPortNetPort, [a, p, b, q]) => {
            let (p, q) = (ports(p)?, ports(q)?);
            if q.proto != p.proto {
                return Err(Failure::invalid("Error: port protocol doesn't match"));
            }
            // In host order, unlike all other ports of such a range.
            param.range2.min_port = Be16::new(q.first.swap_bytes());
            param.range2.max_port = Be16::new(q.last.swap_bytes());
            Found::pair(addresses(a)?, p, addresses(b)?)
        }
        _ => {
            let name = Kind::ALL.iter().find(|(_, known)| *known == kind);
            let name = name.map_or("", |(name, _)| name);
            return Err(Failure::invalid(format!(
                "invalid entry for {name}: '{text}'"
            )));
        }
    };
    let mut warning = None;
    let both = found.first.iter_mut().chain(&mut found.second);
    if command == Command::Test {
        for net in both.filter(|net| net.cidr != 0) {
            warning = Some("Warning: ignore cidr settings for ipset test");
            net.cidr = 0;
            if net.af == Af::INET {
                net.last = net.first;
            }
        }
    }
    found.put(param)?;
    Ok(warning)
}

/// The parts of an entry.
#[derive(Debug, Default)]
struct Found {
    first: Option<Addresses>,
    ports: Option<Ports>,
    second: Option<Addresses>,
}

impl Found {
    fn one(first: Addresses) -> Self {
        Self {
            first: Some(first),
            ..Self::default()
        }
    }

    fn with(first: Addresses, ports: Ports) -> Self {
        Self {
            ports: Some(ports),
            ..Self::one(first)
        }
    }

    fn pair(first: Addresses, ports: Ports, second: Addresses) -> Self {
        Self {
            second: Some(second),
            ..Self::with(first, ports)
        }
    }

    fn put(&self, param: &mut IpsetParam) -> Result<(), Failure> {
        if let Some(first) = &self.first {
            param.option.family = first.af.as_u8();
            put_first(param, first);
        }
        if let Some(ports) = &self.ports {
            param.proto = ports.proto;
            (param.min_port, param.max_port) = (ports.first, ports.last);
        }
        if let (Some(first), Some(second)) = (&self.first, &self.second) {
            if first.af != second.af {
                return Err(Failure::invalid(
                    "both addresses of an entry must be of one family",
                ));
            }
            param.cidr2 = second.cidr;
            param.range2.min_addr = second.first;
            param.range2.max_addr = second.last;
        }
        Ok(())
    }
}

fn put_first(param: &mut IpsetParam, found: &Addresses) {
    param.cidr = found.cidr;
    (param.min_addr, param.max_addr) = (found.first, found.last);
}

/// The name of a protocol in a listing.
pub(super) fn proto_text(proto: u8) -> &'static str {
    match proto {
        TCP => "tcp",
        UDP => "udp",
        1 => "icmp",
        58 => "icmp6",
        _ => "unspec",
    }
}
