//! `dpip addr`: addresses of devices, with the pools of local ports that
//! addresses marked `sapool` feed.
//!
//! Knows the message of addresses and its text form; not how devices, routes
//! or the socket work.

use std::fmt::Write as _;

use dpvs_ctl::IfAddrView;
use dpvs_ctl::msg::{IfAddr, IfAddrData, ifa_flag, ifa_scope};
use dpvs_ctl::{Af, Ip16};

use crate::Cx;
use crate::args::{Command, Family};
use crate::failure::Failure;
use crate::words::{
    Words, address, af_of, device, lifetime, number, prefix, show_lifetime, wanted,
};

pub(crate) const HELP: &str = "\
Usage: dpip addr show [dev DEV]
       dpip addr {add|set} ADDR[/PLEN] dev DEV [broadcast ADDR]
                 [valid_lft LFT] [prefered_lft LFT] [scope SCOPE] [sapool]
       dpip addr del ADDR[/PLEN] dev DEV
       dpip addr flush dev DEV
LFT:   seconds, or forever
SCOPE: host | link | site | global | NUMBER
sapool makes the address a source of local ports for FullNAT and SNAT.
";

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
            cx.out.print(&text(&data, view))?;
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
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            "dev" => entry.ifname = device(words.value(word)?)?,
            "broadcast" => {
                entry.bcast = Ip16::from_ip(address(words.value(word)?, family)?);
            }
            "valid_lft" => entry.valid_lft = lifetime(word, words.value(word)?)?,
            // The C tool takes the first and documents the second.
            "prefered_lft" | "preferred_lft" => {
                entry.prefered_lft = lifetime(word, words.value(word)?)?;
            }
            "scope" => entry.scope = scope(words.value(word)?)?,
            "sapool" => entry.flags |= ifa_flag::SAPOOL,
            other => subject = Some(other),
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
    let (family, addr) = match entry.addr.to_ip(entry.af) {
        Some(ip) => (if ip.is_ipv4() { "inet" } else { "inet6" }, ip.to_string()),
        None => ("unspec", "::".to_owned()),
    };
    let scope = match entry.scope {
        ifa_scope::HOST => "host".to_owned(),
        ifa_scope::LINK => "link".to_owned(),
        ifa_scope::SITE => "site".to_owned(),
        ifa_scope::GLOBAL => "global".to_owned(),
        other => other.to_string(),
    };
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

#[cfg(test)]
mod tests;
