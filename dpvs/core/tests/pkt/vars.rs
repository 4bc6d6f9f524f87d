//! Variables and sums of a packet script.
//!
//! A value is a text; `$name` stands for it, and `1000+$delta` is a sum modulo
//! 2^32 (operators `+ - * / %`, from left to right). In an expectation a variable
//! without a value takes the one that is found. Knows no packets.

use std::collections::HashMap;
use std::net::IpAddr;

/// Variables by name.
#[derive(Default)]
pub struct Vars(HashMap<String, String>);

impl Vars {
    pub fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.into(), value);
    }

    fn get(&self, name: &str) -> Result<&String, String> {
        self.0
            .get(name)
            .ok_or_else(|| format!("variable ${name} has no value yet"))
    }

    /// Value of a sum.
    pub fn number(&self, text: &str) -> Result<i64, String> {
        let mut total: Option<i64> = None;
        let mut op = '+';
        for piece in pieces(text) {
            if let [c @ ('+' | '-' | '*' | '/' | '%')] = piece.chars().collect::<Vec<_>>()[..] {
                op = c;
                continue;
            }
            let value = match piece.strip_prefix('$') {
                Some(name) => self.number(&self.get(name)?.clone())?,
                None => number(piece).ok_or_else(|| format!("`{text}` is not a number or sum"))?,
            };
            let before = total.unwrap_or(0);
            total = Some(match op {
                '+' => before + value,
                '-' => before - value,
                '*' => before * value,
                '/' if value != 0 => before / value,
                '%' if value != 0 => before % value,
                _ => return Err(format!("division by zero in `{text}`")),
            });
        }
        total.ok_or_else(|| "a number is missing".into())
    }

    /// Forgets a variable.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// A sum that has to fit in a field of so many bits; it wraps at 32.
    pub fn field(&self, text: &str, bits: u32) -> Result<u32, String> {
        let value = self.number(text)?;
        if bits < 32 && !(0..1 << bits).contains(&value) {
            return Err(format!("`{text}` is {value}: more than {bits} bits"));
        }
        Ok(value as u32)
    }

    /// A text with its variable, if it is one, replaced.
    pub fn text(&self, text: &str) -> Result<String, String> {
        match text.strip_prefix('$') {
            Some(name) => self.get(name).cloned(),
            None => Ok(text.into()),
        }
    }

    /// An address, perhaps from a variable.
    pub fn addr(&self, text: &str) -> Result<IpAddr, String> {
        let text = self.text(text)?;
        text.parse()
            .map_err(|_| format!("`{text}` is no IP address"))
    }

    /// `addr:port` or `[addr]:port`.
    pub fn endpoint(&self, text: &str) -> Result<(IpAddr, u16), String> {
        let (addr, port) = split_endpoint(text)?;
        Ok((self.addr(addr)?, self.field(port, 16)? as u16))
    }

    /// A line with every `{sum}` in it replaced by its value.
    pub fn fill(&self, line: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('{') {
            let (sum, after) = after.split_once('}').ok_or("`{` without `}`")?;
            out += before;
            out += &self.number(sum)?.to_string();
            rest = after;
        }
        Ok(out + rest)
    }

    /// True if what was found is what was expected; gives a value to a variable
    /// that has none.
    pub fn matches(&mut self, want: &str, got: &str) -> bool {
        if want == "*" {
            return true;
        }
        if let Some(name) = want.strip_prefix('$').filter(|n| is_name(n)) {
            return match self.0.get(name) {
                Some(value) => same(&value.clone(), got),
                None => {
                    self.set(name, got.into());
                    true
                }
            };
        }
        if let Some(found) = number(got) {
            if let Ok(value) = self.number(want) {
                return value as u32 == found as u32;
            }
            // `1000+$x` or `$x-1` with $x unknown: it is the difference.
            let all: Vec<&str> = pieces(want).collect();
            let solved = match all[..] {
                [var, "+", n] if var.starts_with('$') => {
                    self.number(n).map(|n| (var, found.wrapping_sub(n)))
                }
                [n, "+", var] if var.starts_with('$') => {
                    self.number(n).map(|n| (var, found.wrapping_sub(n)))
                }
                [var, "-", n] if var.starts_with('$') => {
                    self.number(n).map(|n| (var, found.wrapping_add(n)))
                }
                _ => Err(String::new()),
            };
            if let Ok((var, value)) = solved {
                self.set(&var[1..], (value as u32).to_string());
                return true;
            }
        }
        same(want, got)
    }
}

/// Splits `addr:port`, `[addr]:port`.
pub fn split_endpoint(text: &str) -> Result<(&str, &str), String> {
    let (addr, port) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("`{text}` has no port"))?;
    let bare = addr.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    Ok((bare.unwrap_or(addr), port))
}

fn same(want: &str, got: &str) -> bool {
    match (want.parse::<IpAddr>(), got.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => want == got,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// Operators and what stands between them.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['+', '-', '*', '/', '%'])
        .flat_map(|part| match part.char_indices().last() {
            Some((at, '+' | '-' | '*' | '/' | '%')) => [&part[..at], &part[at..]],
            _ => [part, ""],
        })
        .filter(|p| !p.is_empty())
}
