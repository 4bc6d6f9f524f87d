//! Words into values: numbers, times, booleans, addresses, ranges, scripts.
//!
//! One function a kind, each reporting what is wrong with the word and where.
//! Knows the statement, not the block it stands in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::diag::Diags;
use super::lex;
use super::model::Script;
use super::tree::{Node, shown};

/// The parameter at `n`; its absence is fatal, as it is in keepalived.
pub(crate) fn arg<'n>(node: &'n Node, n: usize, diags: &mut Diags) -> Option<&'n str> {
    let word = node.word(n);
    if word.is_none() {
        diags.fatal(
            &node.pos,
            format!(
                "Configuration line starting '{}' is missing a parameter after '{}'",
                shown(node.key()),
                shown(node.word(n.saturating_sub(1)).unwrap_or_default()),
            ),
        );
    }
    word
}

/// A decimal number within `low..=high`.
pub(crate) fn number(node: &Node, n: usize, low: u64, high: u64, diags: &mut Diags) -> Option<u64> {
    let word = arg(node, n, diags)?;
    let why = match word.parse::<u64>() {
        Ok(v) if (low..=high).contains(&v) => return Some(v),
        Ok(_) => format!("number '{}' outside range [{low}, {high}]", shown(word)),
        Err(_) if word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty() => {
            format!("number '{}' outside range [{low}, {high}]", shown(word))
        }
        Err(_) => format!("invalid number '{}'", shown(word)),
    };
    diags.error(Some(&node.pos), format!("{}: {why} - ignoring", node.key()));
    None
}

/// As `number`, for callers that store a `u32`.
pub(crate) fn number32(
    node: &Node,
    n: usize,
    low: u32,
    high: u32,
    diags: &mut Diags,
) -> Option<u32> {
    number(node, n, low.into(), high.into(), diags).and_then(|v| u32::try_from(v).ok())
}

/// A time in seconds with a decimal fraction, within `low..=high`.
pub(crate) fn seconds(
    node: &Node,
    n: usize,
    low: f64,
    high: f64,
    diags: &mut Diags,
) -> Option<Duration> {
    let word = arg(node, n, diags)?;
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = word.parse::<f64>().ok().filter(|_| plain);
    let why = match value {
        Some(v) if (low..=high).contains(&v) => {
            // Microseconds, as keepalived keeps them.
            return Duration::try_from_secs_f64((v * 1e6).round() / 1e6).ok();
        }
        Some(_) => format!("number '{}' outside range [{low}, {high}]", shown(word)),
        None => format!("invalid number '{}'", shown(word)),
    };
    diags.error(Some(&node.pos), format!("{}: {why} - ignoring", node.key()));
    None
}

/// Longest time a checker accepts (a hundred years is no delay any more).
const MAX_TIMER: f64 = 3.2e9;

/// A TIMER of a checker: above zero.
pub(crate) fn timer(node: &Node, diags: &mut Diags) -> Option<Duration> {
    seconds(node, 1, 0.000_001, MAX_TIMER, diags)
}

/// A TIMER that may be zero.
pub(crate) fn timer0(node: &Node, diags: &mut Diags) -> Option<Duration> {
    seconds(node, 1, 0.0, MAX_TIMER, diags)
}

/// `[BOOL]`: without a word it is true.
pub(crate) fn boolean(node: &Node, diags: &mut Diags) -> Option<bool> {
    match node.word(1) {
        None | Some("on" | "true" | "yes") => Some(true),
        Some("off" | "false" | "no") => Some(false),
        Some(other) => {
            diags.error(
                Some(&node.pos),
                format!(
                    "{}: '{}' is none of on, off, true, false, yes, no",
                    node.key(),
                    shown(other)
                ),
            );
            None
        }
    }
}

/// A port number in `low..=65535`.
pub(crate) fn port(word: &str, low: u16) -> Option<u16> {
    word.parse::<u16>()
        .ok()
        .filter(|p| *p >= low && word.bytes().all(|b| b.is_ascii_digit()))
}

/// The name of an interface or DPDK port: 15 bytes at most.
pub(crate) fn ifname(node: &Node, n: usize, diags: &mut Diags) -> Option<String> {
    let word = arg(node, n, diags)?;
    if word.len() > 15 || word.is_empty() || word.contains(['/', '\0']) {
        diags.error(
            Some(&node.pos),
            format!(
                "Interface name '{}' is not 1 to 15 characters - ignoring",
                shown(word)
            ),
        );
        return None;
    }
    Some(word.to_owned())
}

/// `IP`, `IP-N` (last octet of the end) or `IP-IP`; IPv4 ranges of at most a /16.
pub(crate) fn addr_range(text: &str) -> Result<Vec<IpAddr>, String> {
    let Some((start, end)) = text.split_once('-') else {
        return text
            .parse()
            .map(|ip| vec![ip])
            .map_err(|_| "not an IP address".to_owned());
    };
    if let Ok(v6) = start.parse::<Ipv6Addr>() {
        return range6(v6, end);
    }
    let start: Ipv4Addr = start
        .parse()
        .map_err(|_| "a range needs an IP address before the '-'".to_owned())?;
    let end: Ipv4Addr = match end.parse::<u8>() {
        Ok(last) if last != 0 && last != 255 => {
            let [a, b, c, _] = start.octets();
            Ipv4Addr::new(a, b, c, last)
        }
        Ok(last) => return Err(format!("a range cannot end in octet {last}")),
        Err(_) => end
            .parse()
            .map_err(|_| format!("'{}' is neither a last octet nor an address", shown(end)))?,
    };
    let (low, high) = (start.to_bits(), end.to_bits());
    if high < low {
        return Err("the range ends before it starts".to_owned());
    }
    if high - low >= 1 << 16 {
        return Err("the range has more than 65536 addresses".to_owned());
    }
    Ok((low..=high)
        .map(|b| IpAddr::V4(Ipv4Addr::from_bits(b)))
        .collect())
}

/// The end of an IPv6 range is its last group, in hexadecimal as addresses are.
fn range6(start: Ipv6Addr, end: &str) -> Result<Vec<IpAddr>, String> {
    let last = u16::from_str_radix(end, 16)
        .map_err(|_| format!("'{}' is no last group of an IPv6 address", shown(end)))?;
    let groups = start.segments();
    let first = groups.last().copied().unwrap_or_default();
    if last < first {
        return Err("the range ends before it starts".to_owned());
    }
    Ok((first..=last)
        .map(|g| {
            let mut s = start.segments();
            if let Some(slot) = s.last_mut() {
                *slot = g;
            }
            IpAddr::V6(Ipv6Addr::from(s))
        })
        .collect())
}

/// `IP[/LEN]`; a missing length is that of a host. The flag says whether the
/// length was out of range (and replaced).
pub(crate) fn prefix(text: &str) -> Option<(IpAddr, u8, bool)> {
    let (ip, len) = text
        .split_once('/')
        .map_or((text, None), |(ip, len)| (ip, Some(len)));
    let ip: IpAddr = ip.parse().ok()?;
    let max = if ip.is_ipv4() { 32 } else { 128 };
    match len.map(str::parse::<u8>) {
        None => Some((ip, max, false)),
        Some(Ok(l)) if l <= max => Some((ip, l, false)),
        Some(_) => Some((ip, max, true)),
    }
}

/// The command of a script keyword: `COMMAND [USER [GROUP]]`, the command one
/// word or quoted.
pub(crate) fn script(node: &Node, diags: &mut Diags) -> Option<Script> {
    arg(node, 1, diags)?;
    let rest = node
        .raw
        .trim_start()
        .strip_prefix(node.key())
        .unwrap_or(&node.raw)
        .trim();
    let parsed = lex::script_words(rest).ok().and_then(|words| {
        let mut words = words.into_iter();
        let command = words.next()?;
        let argv = lex::script_words(&command).ok()?;
        let (user, group) = (words.next(), words.next());
        (!argv.is_empty()).then_some(Script { argv, user, group })
    });
    if parsed.is_none() {
        diags.error(
            Some(&node.pos),
            format!(
                "{}: the quotes of '{}' do not match",
                node.key(),
                shown(rest)
            ),
        );
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let n = |t| addr_range(t).map(|v| v.len());
        assert_eq!(n("192.0.2.1"), Ok(1));
        assert_eq!(n("192.0.2.210-219"), Ok(10));
        assert_eq!(n("192.0.2.250-192.0.3.5"), Ok(12));
        assert_eq!(n("2001:db8::1"), Ok(1));
        assert_eq!(n("2001:db8::2-9"), Ok(8));
        for bad in [
            "192.0.2.10-5",
            "192.0.2.1-300",
            "192.0.2.1-255",
            "192.0.2.1-0",
            "x",
            "::5-1",
            "::1-x",
        ] {
            assert!(n(bad).is_err(), "{bad}");
        }
        assert!(n("0.0.0.0-255.255.255.255").is_err());
    }

    #[test]
    fn prefixes() {
        assert_eq!(
            prefix("10.0.0.1"),
            Some(("10.0.0.1".parse().unwrap(), 32, false))
        );
        assert_eq!(prefix("10.0.0.1/33").map(|p| (p.1, p.2)), Some((32, true)));
        assert_eq!(prefix("::1/64").map(|p| p.1), Some(64));
        assert_eq!(prefix("x/3"), None);
    }
}
