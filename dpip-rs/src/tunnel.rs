//! `dpip tunnel`: IP-in-IP and GRE tunnels over IPv4.
//!
//! Knows the message of tunnels and its text form.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use dpvs_ctl::msg::Tunnel;
use dpvs_ctl::{Be16, Be32, Name, id};
use serde_json::{Value, json};

use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Arg, Command, Object, Row, flag, opt, opt_pos, pos};
use crate::words::{Word, Words, device, number};

const ATTRIBUTES: [Arg; 16] = [
    opt_pos("NAME"),
    opt("mode", "ipip|gre").also(&["type", "kind"]),
    opt("remote", "ADDR|any"),
    opt("local", "ADDR|any"),
    flag("seq"),
    flag("iseq"),
    flag("oseq"),
    opt("key", "KEY"),
    opt("ikey", "KEY"),
    opt("okey", "KEY"),
    flag("csum"),
    flag("icsum"),
    flag("ocsum"),
    opt("ttl", "N|inherit"),
    opt("tos", "N|inherit"),
    opt("dev", "DEV"),
];

pub(crate) const OBJECT: Object = Object {
    name: "tunnel",
    about: "IP-in-IP and GRE tunnels",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[
                opt_pos("NAME"),
                opt("mode", "ipip|gre").also(&["type", "kind"]),
                opt("dev", "DEV"),
            ],
            about: "List tunnels: one, those of a kind, or all.",
        },
        Row {
            command: Command::Add,
            args: &ATTRIBUTES,
            about: "Add a tunnel; it needs a mode. Without NAME the daemon chooses one.",
        },
        Row {
            command: Command::Set,
            args: &ATTRIBUTES,
            about: "Change a tunnel; every attribute that is not given is reset.",
        },
        Row {
            command: Command::Replace,
            args: &ATTRIBUTES,
            about: "Put another tunnel in the place of one.",
        },
        Row {
            command: Command::Del,
            args: &[pos("NAME")],
            about: "Remove a tunnel.",
        },
    ],
    terms: &[("KEY", "a number, or four with dots between them")],
    notes: "seq, key and csum set both directions; with i before them only what is received, \
            with o only what is sent.",
    run,
};

const CSUM: u16 = 0x01;
const KEY: u16 = 0x04;
const SEQ: u16 = 0x08;
const INHERIT_TOS: u8 = 1;

/// Does a `tunnel` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let tunnel = parse(words).map_err(|failure| failure.at("parse"))?;
    check(&tunnel, command).map_err(|failure| failure.at("check"))?;
    let id = match command {
        Command::Add => id::TUNNEL_ADD,
        Command::Del => id::TUNNEL_DEL,
        Command::Set => id::TUNNEL_CHANGE,
        Command::Replace => id::TUNNEL_REPLACE,
        Command::Show => {
            for tunnel in cx.client.tunnels(&tunnel)? {
                cx.out.emit(Record::new(text(&tunnel), value(&tunnel)))?;
            }
            return Ok(());
        }
        _ => return Err(Failure::not_supported()),
    };
    Ok(cx.client.set_tunnel(id, &tunnel)?)
}

fn parse(words: &[String]) -> Result<Tunnel, Failure> {
    let mut tunnel = Tunnel::default();
    let (mut i_flags, mut o_flags) = (0, 0);
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key(key @ "mode") => {
                let kind = words.value(key)?;
                if !["ipip", "gre"].contains(&kind) {
                    return Err(Failure::invalid(format!(
                        "invalid tunnel type: `{kind}' (ipip or gre)"
                    )));
                }
                tunnel.kind = Name::truncated(kind);
            }
            Word::Key(key @ "remote") => tunnel.daddr = address(key, words.value(key)?)?,
            Word::Key(key @ "local") => tunnel.saddr = address(key, words.value(key)?)?,
            Word::Key(key @ ("seq" | "iseq" | "oseq")) => {
                ends(key, SEQ, &mut i_flags, &mut o_flags);
            }
            Word::Key(key @ ("csum" | "icsum" | "ocsum")) => {
                ends(key, CSUM, &mut i_flags, &mut o_flags);
            }
            Word::Key(key @ ("key" | "ikey" | "okey")) => {
                let number = tunnel_key(key, words.value(key)?)?;
                ends(key, KEY, &mut i_flags, &mut o_flags);
                if key != "okey" {
                    tunnel.i_key = Be32::new(number);
                }
                if key != "ikey" {
                    tunnel.o_key = Be32::new(number);
                }
            }
            Word::Key(key @ "ttl") => tunnel.ttl = or_inherit(key, words.value(key)?, 0)?,
            Word::Key(key @ "tos") => tunnel.tos = or_inherit(key, words.value(key)?, INHERIT_TOS)?,
            Word::Key(key @ "dev") => tunnel.link = device(words.value(key)?)?,
            Word::Key(name) | Word::Other(name) if !tunnel.ifname.is_empty() => {
                return Err(Failure::invalid(format!(
                    "Is `{}' or `{name}' garbage ?",
                    tunnel.ifname
                )));
            }
            Word::Key(name) | Word::Other(name) => tunnel.ifname = device(name)?,
        }
    }
    (tunnel.i_flags, tunnel.o_flags) = (Be16::new(i_flags), Be16::new(o_flags));
    Ok(tunnel)
}

/// Sets a flag for what is received, what is sent, or both.
fn ends(key: &str, flag: u16, i_flags: &mut u16, o_flags: &mut u16) {
    if !key.starts_with('o') {
        *i_flags |= flag;
    }
    if !key.starts_with('i') {
        *o_flags |= flag;
    }
}

fn address(end: &str, word: &str) -> Result<Be32, Failure> {
    if word == "any" {
        return Ok(Be32::new(0));
    }
    let parsed = word.parse::<Ipv4Addr>();
    let addr = parsed.map_err(|_| Failure::invalid(format!("invalid {end} address: `{word}'")))?;
    Ok(Be32::new(addr.to_bits()))
}

fn tunnel_key(what: &str, word: &str) -> Result<u32, Failure> {
    match word.parse::<Ipv4Addr>() {
        Ok(dotted) => Ok(dotted.to_bits()),
        Err(_) => number(what, word),
    }
}

fn or_inherit(what: &str, word: &str, inherit: u8) -> Result<u8, Failure> {
    match (word, word.strip_prefix("0x")) {
        ("inherit", _) => Ok(inherit),
        (_, Some(hex)) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let parsed = u8::from_str_radix(hex, 16);
            parsed.map_err(|_| Failure::invalid(format!("invalid {what}: {word}")))
        }
        _ => number(what, word),
    }
}

fn check(tunnel: &Tunnel, command: Command) -> Result<(), Failure> {
    match command {
        Command::Add if tunnel.kind.is_empty() => Err(Failure::invalid("missing tunnel type.")),
        Command::Del | Command::Set | Command::Replace if tunnel.ifname.is_empty() => {
            Err(Failure::invalid("missing tunnel dev name."))
        }
        _ => Ok(()),
    }
}

/// A tunnel as a line.
fn text(tunnel: &Tunnel) -> String {
    let mut text = format!(
        "{}: {:>4} remote {} local {} ",
        tunnel.ifname,
        tunnel.kind,
        Ipv4Addr::from_bits(tunnel.daddr.get()),
        Ipv4Addr::from_bits(tunnel.saddr.get())
    );
    if !tunnel.link.is_empty() {
        let _ = write!(text, "dev {} ", tunnel.link);
    }
    match tunnel.ttl {
        0 => text.push_str("ttl inherit "),
        ttl => {
            let _ = write!(text, "ttl {ttl} ");
        }
    }
    for (name, number) in [
        ("tos", u32::from(tunnel.tos)),
        ("i_flags", tunnel.i_flags.get().into()),
        ("o_flags", tunnel.o_flags.get().into()),
        ("i_key", tunnel.i_key.get()),
        ("o_key", tunnel.o_key.get()),
    ] {
        if number != 0 {
            let _ = write!(text, "{name} 0x{number:x} ");
        }
    }
    text.push('\n');
    text
}

/// A tunnel as a value; a time to live of null is inherited.
fn value(tunnel: &Tunnel) -> Value {
    json!({
        "ifname": tunnel.ifname.text(),
        "kind": tunnel.kind.text(),
        "remote": Ipv4Addr::from_bits(tunnel.daddr.get()).to_string(),
        "local": Ipv4Addr::from_bits(tunnel.saddr.get()).to_string(),
        "link": (!tunnel.link.is_empty()).then(|| tunnel.link.text()),
        "ttl": (tunnel.ttl != 0).then_some(tunnel.ttl),
        "tos": tunnel.tos,
        "i_flags": tunnel.i_flags.get(),
        "o_flags": tunnel.o_flags.get(),
        "i_key": tunnel.i_key.get(),
        "o_key": tunnel.o_key.get(),
    })
}

#[cfg(test)]
mod tests;
