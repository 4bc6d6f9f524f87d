//! The words behind a command: keywords with their values, addresses,
//! prefixes, MAC addresses, numbers, device names.
//!
//! Pure: words in, values or the line that says what is wrong out. Knows no
//! object and no message.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice::Iter;
use std::str::FromStr;

use dpvs_ctl::{Af, HwAddr, Name};

use crate::args::Family;
use crate::failure::Failure;
use crate::table::Object;

/// The words of a command, taken one by one.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    rest: Iter<'a, String>,
    object: &'static Object,
}

/// A word of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// A keyword of the object, written out whatever was typed.
    Key(&'static str),
    /// Anything else.
    Other(&'a str),
}

impl<'a> Words<'a> {
    pub(crate) fn new(words: &'a [String], object: &'static Object) -> Self {
        Self {
            rest: words.iter(),
            object,
        }
    }

    /// The value of the keyword just taken.
    pub(crate) fn value(&mut self, keyword: &str) -> Result<&'a str, Failure> {
        self.plain()
            .ok_or_else(|| Failure::invalid(format!("missing argument for `{keyword}'")))
    }

    /// The next word, whatever it is.
    pub(crate) fn plain(&mut self) -> Option<&'a str> {
        self.rest.next().map(String::as_str)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.plain()?;
        Some(match self.object.keyword(word) {
            Some(key) => Word::Key(key),
            None => Word::Other(word),
        })
    }
}

/// An address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) ip: IpAddr,
    pub(crate) plen: u8,
}

/// An address of `family`; without one, whatever it looks like.
pub(crate) fn address(word: &str, family: Family) -> Result<IpAddr, Failure> {
    let ip = match family {
        Family::Unspec => word.parse().ok(),
        Family::Inet => word.parse().ok().map(IpAddr::V4),
        Family::Inet6 => word.parse().ok().map(IpAddr::V6),
    };
    ip.ok_or_else(|| Failure::invalid(format!("invalid ipaddress: {family} {word}")))
}

/// `ADDR` or `ADDR/PLEN`; a plain address is a prefix of full length.
///
/// DIFFERS: a length that is no number or too long is refused here; the C tool
/// reads it with atoi and leaves the rest to the daemon.
pub(crate) fn prefix(word: &str, family: Family) -> Result<Prefix, Failure> {
    let Some((ip, plen)) = word.split_once('/') else {
        let ip = address(word, family)?;
        return Ok(Prefix {
            ip,
            plen: Af::of(ip).max_plen(),
        });
    };
    let wrong = || Failure::invalid(format!("invalid ipaddress: {family} {word}"));
    let ip = address(ip, family).map_err(|_| wrong())?;
    match digits(plen).and_then(|plen| plen.parse().ok()) {
        Some(plen) if plen <= Af::of(ip).max_plen() => Ok(Prefix { ip, plen }),
        _ => Err(wrong()),
    }
}

/// The prefix that covers every address.
pub(crate) fn any_prefix(family: Family) -> Prefix {
    let ip = match family {
        Family::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Family::Unspec | Family::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Prefix { ip, plen: 0 }
}

/// Six numbers of one or two hexadecimal digits with colons between them.
pub(crate) fn mac(word: &str) -> Option<HwAddr> {
    let mut bytes = [0; 6];
    let mut pairs = word.split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if !(1..=2).contains(&pair.len()) || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(HwAddr(bytes))
}

/// A whole number of type `T`; `what` names the keyword in the complaint.
///
/// DIFFERS: the C tool reads anything with atoi, a non-number as 0.
pub(crate) fn number<T: FromStr>(what: &str, word: &str) -> Result<T, Failure> {
    digits(word)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Failure::invalid(format!("invalid {what}: {word}")))
}

/// Seconds, or `forever`, which is 0 on the wire.
pub(crate) fn lifetime(what: &str, word: &str) -> Result<u32, Failure> {
    if word == "forever" {
        Ok(0)
    } else {
        number(what, word)
    }
}

/// A device name that fits a field of `N` bytes.
///
/// DIFFERS: the C tool cuts a longer name, and so may act on another device.
pub(crate) fn device<const N: usize>(word: &str) -> Result<Name<N>, Failure> {
    Name::new(word)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            let most = N.saturating_sub(1);
            Failure::invalid(format!(
                "invalid device name: '{word}' (1 to {most} characters)"
            ))
        })
}

/// `forever` for 0, else the number.
pub(crate) fn show_lifetime(seconds: u32) -> impl Display {
    if seconds == 0 {
        "forever".to_owned()
    } else {
        seconds.to_string()
    }
}

/// The family as a message has it.
pub(crate) fn af_of(family: Family) -> Af {
    match family {
        Family::Unspec => Af::UNSPEC,
        Family::Inet => Af::INET,
        Family::Inet6 => Af::INET6,
    }
}

/// Whether an entry of family `af` belongs into a listing of `family`.
pub(crate) fn wanted(family: Family, af: Af) -> bool {
    family == Family::Unspec || af_of(family) == af
}

/// The word, if it is nothing but digits (no sign, no blank).
fn digits(word: &str) -> Option<&str> {
    (!word.is_empty() && word.bytes().all(|digit| digit.is_ascii_digit())).then_some(word)
}

#[cfg(test)]
mod tests;
