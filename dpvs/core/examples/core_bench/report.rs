//! Command line of `key=value` words, and lines of JSON.

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::str::FromStr;

use crate::world::{Mode, World};

/// The words behind the measurement's name.
pub(crate) struct Args(HashMap<String, String>);

impl Args {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let pairs = words.iter().map(|word| {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word}: not key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        pairs.collect::<Result<_, String>>().map(Self)
    }

    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    pub(crate) fn number<T: FromStr>(&self, key: &str, default: T) -> Result<T, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{key}={text}: not a number")),
        }
    }

    pub(crate) fn world(&self) -> Result<World, String> {
        let name = self.text("mode", "fullnat");
        let found = Mode::ALL.iter().find(|m| m.0 == name);
        let &(_, mode) = found.ok_or_else(|| format!("mode={name}: no such mode"))?;
        Ok(World {
            tcp: match self.text("proto", "udp") {
                "udp" => false,
                "tcp" => true,
                other => return Err(format!("proto={other}: udp or tcp")),
            },
            v6: match self.text("af", "4") {
                "4" => false,
                "6" => true,
                other => return Err(format!("af={other}: 4 or 6")),
            } || mode == Mode::Nat64,
            mode,
            synproxy: false,
        })
    }
}

/// A line of JSON as it is put together.
pub(crate) struct Line(String);

impl Line {
    /// With the measurement's name and traffic.
    pub(crate) fn new(bench: &str, world: World) -> Self {
        let line = Self(String::new()).text("bench", bench);
        let line = line.text("proto", if world.tcp { "tcp" } else { "udp" });
        let line = line.number("af", if world.v6 { 6 } else { 4 });
        line.text("mode", world.mode.name())
    }

    fn put(mut self, key: &str, value: impl Display) -> Self {
        let comma = if self.0.is_empty() { "{" } else { "," };
        let _ = write!(self.0, "{comma}\"{key}\":{value}");
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.put(key, format_args!("\"{value}\""))
    }

    pub(crate) fn number(self, key: &str, value: u64) -> Self {
        self.put(key, value)
    }

    pub(crate) fn real(self, key: &str, value: f64) -> Self {
        self.put(key, format_args!("{value:.4}"))
    }

    pub(crate) fn print(self) {
        println!("{}}}", self.0);
    }
}
