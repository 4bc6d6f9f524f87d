//! Addresses as typed: `host[:port]`, `[IPv6]:port`, bare IPv6.
//!
//! As in ipvsadm 1.31: IPv4 in every form inet_aton takes (octal, hex, fewer
//! than four parts), host names resolved to IPv4 only, `[IPv6]` only with a
//! port, a bare IPv6 address without one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::Names;

/// An address with the port, if one was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

/// Reads an address; port names are those of `proto`.
#[must_use]
pub fn parse(text: &str, proto: u8, names: &Names) -> Option<Address> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        let port = parse_port(rest.strip_prefix(':')?, proto, names)?;
        let ip = match inside.parse::<Ipv6Addr>() {
            Ok(v6) => IpAddr::V6(v6),
            Err(_) => IpAddr::V4(inet_aton(inside)?),
        };
        return Some(Address {
            ip,
            port: Some(port),
        });
    }
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Some(Address {
            ip: IpAddr::V6(v6),
            port: None,
        });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port, proto, names)?)),
        None => (text, None),
    };
    let ip = host_v4(host, names)?;
    Some(Address {
        ip: IpAddr::V4(ip),
        port,
    })
}

/// Reads an address that has no port: IPv4, IPv6 or a host name.
#[must_use]
pub fn parse_ip(text: &str, names: &Names) -> Option<IpAddr> {
    match text.parse::<Ipv6Addr>() {
        Ok(v6) => Some(IpAddr::V6(v6)),
        Err(_) => host_v4(text, names).map(IpAddr::V4),
    }
}

fn host_v4(host: &str, names: &Names) -> Option<Ipv4Addr> {
    inet_aton(host).or_else(|| {
        // "192.0.2.256" and the like are no host names; do not ask the resolver.
        let dotted = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if dotted { None } else { names.host_v4(host) }
    })
}

fn parse_port(text: &str, proto: u8, names: &Names) -> Option<u16> {
    match number(text, 0, 65535) {
        Some(n) => u16::try_from(n).ok(),
        None => names.port(text, proto),
    }
}

/// A decimal number as strtol reads it: leading blanks and a sign are fine,
/// anything behind it is not.
#[must_use]
pub fn number(text: &str, min: i64, max: i64) -> Option<i64> {
    let n = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let n = n.strip_prefix('+').unwrap_or(n);
    if n.starts_with('+') {
        return None;
    }
    // `parse` itself refuses blanks, an empty text and what does not fit.
    n.parse::<i64>().ok().filter(|n| (min..=max).contains(n))
}

/// An IPv4 address in any of the forms inet_aton takes: one to four parts,
/// each decimal, octal (leading 0) or hexadecimal (leading 0x), the last one
/// filling what is left.
#[must_use]
pub fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let (last, init) = parts.split_last()?;
    if init.len() > 3 {
        return None;
    }
    let mut value: u32 = 0;
    for part in init {
        value = (value << 8) | u32::from(u8::try_from(aton_part(part)?).ok()?);
    }
    let bits = 32 - 8 * u32::try_from(init.len()).ok()?;
    let last = aton_part(last)?;
    let max = u32::MAX.checked_shr(32 - bits)?;
    if last > max {
        return None;
    }
    let high = value.checked_shl(bits).unwrap_or(0);
    Some(Ipv4Addr::from(high | last))
}

fn aton_part(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<String> {
        let a = parse(text, 6, &Names::offline())?;
        Some(format!("{} {:?}", a.ip, a.port))
    }

    #[test]
    fn forms() {
        for (text, want) in [
            ("192.0.2.1:80", "192.0.2.1 Some(80)"),
            ("192.0.2.1", "192.0.2.1 None"),
            ("192.0.2.1:08", "192.0.2.1 Some(8)"),
            ("192.0.2.1:+81", "192.0.2.1 Some(81)"),
            ("010.0.2.28:80", "8.0.2.28 Some(80)"),
            ("3221225985:80", "192.0.2.1 Some(80)"),
            ("192.0.641:82", "192.0.2.129 Some(82)"),
            ("0xc0000201:83", "192.0.2.1 Some(83)"),
            ("[2001:db8::1]:80", "2001:db8::1 Some(80)"),
            ("2001:db8::4:80", "2001:db8::4:80 None"),
            ("[10.0.0.2]:80", "10.0.0.2 Some(80)"),
        ] {
            assert_eq!(read(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "",
            ":80",
            "192.0.2.1:",
            "192.0.2.1:-1",
            "192.0.2.1:65536",
            "192.0.2.1:80:90",
            "192.0.2.256:80",
            "[2001:db8::1]",
            "[2001:db8::1]80",
            "2001:db8::1]:80",
            "[]:80",
            " 192.0.2.5:80",
            "192.0.2.5:80 ",
            "1.2.3.4.5:80",
            "192.0.2.1:8888888888888888888888",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,40}") {
            let _ = inet_aton(&text);
            let _ = number(&text, i64::MIN, i64::MAX);
        }

        #[test]
        fn addresses_only(text in "[0-9a-fx.:\\[\\]]{0,30}") {
            let _ = read(&text);
        }

        #[test]
        fn dotted(ip in any::<[u8; 4]>()) {
            let ip = Ipv4Addr::from(ip);
            prop_assert_eq!(inet_aton(&ip.to_string()), Some(ip));
            prop_assert_eq!(inet_aton(&u32::from(ip).to_string()), Some(ip));
        }
    }
}
