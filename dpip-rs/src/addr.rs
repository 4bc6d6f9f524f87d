//! `dpip addr`: addresses of devices, with the pools of local ports that
//! addresses marked `sapool` feed.
//!
//! Knows the message of addresses and its text form; not how devices, routes
//! or the socket work.

use std::fmt::Write as _;

use dpvs_ctl::IfAddrView;
use dpvs_ctl::msg::{IfAddr, IfAddrData, ifa_flag, ifa_scope};
use dpvs_ctl::{Af, Ip16};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Arg, Command, Object, Row, flag, key, opt, pos};
use crate::words::{
    Word, Words, address, af_of, device, lifetime, number, prefix, show_lifetime, wanted,
};

const ATTRIBUTES: [Arg; 7] = [
    pos("ADDR[/PLEN]"),
    key("dev", "DEV"),
    opt("broadcast", "ADDR"),
    opt("valid_lft", "SECS|forever"),
    // The C tool takes the first and documents the second.
    opt("prefered_lft", "SECS|forever").also(&["preferred_lft"]),
    opt("scope", "SCOPE"),
    flag("sapool"),
];

pub(crate) const OBJECT: Object = Object {
    name: "addr",
    about: "addresses of devices",
    short_keys: true,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt("dev", "DEV")],
            about: "List addresses; with -v the view of every worker, marked with its lcore; \
                    with -s or -v the local ports in use, free and missed of pools.",
        },
        Row {
            command: Command::Add,
            args: &ATTRIBUTES,
            about: "Give a device an address.",
        },
        Row {
            command: Command::Set,
            args: &ATTRIBUTES,
            about: "Change the attributes of an address.",
        },
        Row {
            command: Command::Del,
            args: &[pos("ADDR[/PLEN]"), key("dev", "DEV")],
            about: "Take an address from a device.",
        },
        Row {
            command: Command::Flush,
            args: &[key("dev", "DEV")],
            about: "Take all addresses from a device.",
        },
    ],
    terms: &[("SCOPE", "host | link | site | global | NUMBER")],
    notes: "sapool makes the address a source of local ports for FullNAT and SNAT.",
    run,
};

/// Does an `addr` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    match command {
        Command::Add => Ok(cx
            .client
            .add_ifaddr(&parse(words, command, cx.options.family)?)?),
        Command::Del => Ok(cx
            .client
            .del_ifaddr(&parse(words, command, cx.options.family)?)?),
        Command::Set => Ok(cx
            .client
            .edit_ifaddr(&parse(words, command, cx.options.family)?)?),
        Command::Flush => {
            Ok(cx
                .client
                .flush_ifaddrs(&parse(words, command, cx.options.family)?)?)
        }
        Command::Show => show(cx, words),
        _ => Err(Failure::not_supported()),
    }
}

fn show(cx: &mut Cx, words: &[String]) -> Result<(), Failure> {
    let family = cx.options.family;
    let filter = parse(words, Command::Show, family)?;
    let view = IfAddrView {
        verbose: cx.options.verbose,
        stats: cx.options.stats,
    };
    for data in cx.client.ifaddrs(&filter, view)? {
        // DIFFERS: neither the daemon nor the C tool heeds the family.
        if wanted(family, data.entry.af) {
            let record = Record::new(text(&data, view), value(&data, view));
            cx.out.emit(record)?;
        }
    }
    Ok(())
}

/// The words of any `addr` command, as the entry to send.
fn parse(words: &[String], command: Command, family: Family) -> Result<IfAddr, Failure> {
    let mut entry = IfAddr {
        af: af_of(family),
        ..IfAddr::default()
    };
    let mut subject = None;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key("dev") => entry.ifname = device(words.value("dev")?)?,
            Word::Key("broadcast") => {
                entry.bcast = Ip16::from_ip(address(words.value("broadcast")?, family)?);
            }
            Word::Key(key @ "valid_lft") => entry.valid_lft = lifetime(key, words.value(key)?)?,
            Word::Key(key @ "prefered_lft") => {
                entry.prefered_lft = lifetime(key, words.value(key)?)?;
            }
            Word::Key("scope") => entry.scope = scope(words.value("scope")?)?,
            Word::Key("sapool") => entry.flags |= ifa_flag::SAPOOL,
            Word::Key(other) | Word::Other(other) => subject = Some(other),
        }
    }
    if let Some(subject) = subject {
        let prefix = prefix(subject, family)?;
        entry.af = Af::of(prefix.ip);
        entry.addr = Ip16::from_ip(prefix.ip);
        entry.plen = prefix.plen;
    } else if !matches!(command, Command::Show | Command::Flush) {
        return Err(Failure::invalid("missing IFADDR"));
    }
    if entry.ifname.is_empty() && command != Command::Show {
        return Err(Failure::invalid("no device specified."));
    }
    Ok(entry)
}

fn scope(word: &str) -> Result<u8, Failure> {
    Ok(match word {
        "host" => ifa_scope::HOST,
        "link" => ifa_scope::LINK,
        "site" => ifa_scope::SITE,
        "global" => ifa_scope::GLOBAL,
        other => number("scope", other)?,
    })
}

/// An address, as two lines.
fn text(data: &IfAddrData, view: IfAddrView) -> String {
    let entry = &data.entry;
    let mut text = String::new();
    if view.verbose {
        let _ = write!(text, "[{:02}] ", entry.cid);
    }
    let (family, addr) = family_and_address(entry);
    let scope = scope_text(entry.scope);
    let _ = writeln!(
        text,
        "{family} {addr}/{} scope {scope} {}",
        entry.plen, entry.ifname
    );
    let broadcast = match entry.bcast.to_ip(entry.af) {
        Some(ip) if !ip.is_unspecified() => format!("broadcast {ip}"),
        _ => String::new(),
    };
    let _ = write!(
        text,
        "    {broadcast} valid_lft {} preferred_lft {}",
        show_lifetime(entry.valid_lft),
        show_lifetime(entry.prefered_lft)
    );
    // Not in the C tool, whose daemon never has one, nor finds one.
    if entry.flags & ifa_flag::DEPRECATED != 0 {
        text.push_str(" deprecated");
    }
    if entry.flags & ifa_flag::DADFAILED != 0 {
        text.push_str(" dadfailed");
    }
    if (view.stats || view.verbose) && entry.flags & ifa_flag::SAPOOL != 0 {
        let stats = &data.stats;
        let _ = write!(
            text,
            " sa_used {} sa_free {} sa_miss {}",
            stats.sa_used, stats.sa_free, stats.sa_miss
        );
    }
    text.push('\n');
    text
}

/// An address as a value; a lifetime of null is for ever.
fn value(data: &IfAddrData, view: IfAddrView) -> Value {
    let entry = &data.entry;
    let (family, addr) = family_and_address(entry);
    let seconds = |seconds: u32| (seconds != 0).then_some(seconds);
    let mut value = json!({
        "family": family,
        "address": addr,
        "plen": entry.plen,
        "scope": scope_text(entry.scope),
        "ifname": entry.ifname.text(),
        "valid_lft": seconds(entry.valid_lft),
        "preferred_lft": seconds(entry.prefered_lft),
        "deprecated": entry.flags & ifa_flag::DEPRECATED != 0,
        "dadfailed": entry.flags & ifa_flag::DADFAILED != 0,
        "sapool": entry.flags & ifa_flag::SAPOOL != 0,
    });
    if let Some(ip) = entry
        .bcast
        .to_ip(entry.af)
        .filter(|ip| !ip.is_unspecified())
    {
        value["broadcast"] = json!(ip.to_string());
    }
    if view.verbose {
        value["lcore"] = json!(entry.cid);
    }
    if view.verbose || view.stats {
        value["sa_used"] = json!(data.stats.sa_used);
        value["sa_free"] = json!(data.stats.sa_free);
        value["sa_miss"] = json!(data.stats.sa_miss);
    }
    value
}

fn family_and_address(entry: &IfAddr) -> (&'static str, String) {
    match entry.addr.to_ip(entry.af) {
        Some(ip) => (if ip.is_ipv4() { "inet" } else { "inet6" }, ip.to_string()),
        None => ("unspec", "::".to_owned()),
    }
}

fn scope_text(scope: u8) -> String {
    match scope {
        ifa_scope::HOST => "host".to_owned(),
        ifa_scope::LINK => "link".to_owned(),
        ifa_scope::SITE => "site".to_owned(),
        ifa_scope::GLOBAL => "global".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
