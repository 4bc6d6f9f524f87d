//! `dpip neigh`: the neighbours that each worker knows, and static ones.
//!
//! Knows the message of neighbours and its text form.

use dpvs_ctl::msg::{Neigh, neigh_flag, neigh_state};
use dpvs_ctl::{Af, HwAddr, Ip16};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, key, opt, pos};
use crate::words::{Word, Words, address, af_of, device, mac, wanted};

pub(crate) const OBJECT: Object = Object {
    name: "neigh",
    about: "neighbours of every worker",
    short_keys: true,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt("dev", "DEV")],
            about: "List the neighbours that each worker knows, with their state: NONE, SEND, \
                    REACHABLE, PROBE or DELAY.",
        },
        Row {
            command: Command::Add,
            args: &[pos("ADDR"), key("lladdr", "MAC"), key("dev", "DEV")],
            about: "Add a static neighbour, or change the MAC address of one.",
        },
        Row {
            command: Command::Del,
            args: &[pos("ADDR"), key("dev", "DEV")],
            about: "Forget a neighbour.",
        },
    ],
    terms: &[],
    notes: "An added neighbour is static: it does not age.",
    run,
};

/// Does a `neigh` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let family = cx.options.family;
    match command {
        Command::Show => {
            for neigh in cx.client.neighs(&parse(words, command, family)?)? {
                if wanted(family, neigh.af) {
                    cx.out.emit(Record::new(text(&neigh), value(&neigh)))?;
                }
            }
            Ok(())
        }
        Command::Add => Ok(cx.client.add_neigh(&parse(words, command, family)?)?),
        Command::Del => Ok(cx.client.del_neigh(&parse(words, command, family)?)?),
        _ => Err(Failure::not_supported()),
    }
}

/// The words of any `neigh` command, as the entry to send.
fn parse(words: &[String], command: Command, family: Family) -> Result<Neigh, Failure> {
    let mut neigh = Neigh {
        af: af_of(family),
        ..Neigh::default()
    };
    let mut subject = None;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key("dev") => neigh.ifname = device(words.value("dev")?)?,
            Word::Key("lladdr") => {
                let invalid = || Failure::invalid("invalid link layer addr");
                neigh.eth_addr = mac(words.value("lladdr")?).ok_or_else(invalid)?;
            }
            Word::Key(other) | Word::Other(other) => subject = Some(other),
        }
    }
    if command == Command::Show {
        return Ok(neigh);
    }
    let subject = subject.ok_or_else(|| Failure::invalid("missing ip address"))?;
    let ip = address(subject, family).map_err(|failure| failure.and("invalid IP address"))?;
    neigh.af = Af::of(ip);
    neigh.ip_addr = Ip16::from_ip(ip);
    if command == Command::Add && neigh.eth_addr == HwAddr::default() {
        return Err(Failure::invalid("invalid MAC address"));
    }
    // DIFFERS: the C tool sends a request without a device, only to be refused.
    if neigh.ifname.is_empty() {
        return Err(Failure::invalid("no device specified."));
    }
    Ok(neigh)
}

/// A neighbour, as a line.
fn text(neigh: &Neigh) -> String {
    let (ip, state) = (ip_text(neigh), state_text(neigh));
    let Neigh {
        eth_addr: mac,
        ifname: dev,
        cid,
        ..
    } = neigh;
    let fixed = if neigh.flag & neigh_flag::STATIC != 0 {
        "static"
    } else {
        ""
    };
    if neigh.state >= neigh_state::REACHABLE {
        format!("ip: {ip:<48} mac: {mac}   state: {state:<12}  dev: {dev}  core: {cid}  {fixed}\n")
    } else {
        let gap = " ".repeat(23);
        format!(
            "ip: {ip:<48} mac:incomplate{gap}state: {state:<12}   dev: {dev}  core: {cid}  {fixed}\n"
        )
    }
}

/// A neighbour as a value; one that is not resolved has no MAC address.
fn value(neigh: &Neigh) -> Value {
    let resolved = neigh.state >= neigh_state::REACHABLE;
    json!({
        "dst": ip_text(neigh),
        "lladdr": resolved.then(|| neigh.eth_addr.to_string()),
        "state": state_text(neigh),
        "ifname": neigh.ifname.text(),
        "lcore": neigh.cid,
        "static": neigh.flag & neigh_flag::STATIC != 0,
    })
}

fn ip_text(neigh: &Neigh) -> String {
    let ip = neigh.ip_addr.to_ip(neigh.af);
    ip.map_or_else(|| "::".to_owned(), |ip| ip.to_string())
}

fn state_text(neigh: &Neigh) -> String {
    match neigh.state {
        neigh_state::NONE => "NONE".to_owned(),
        neigh_state::SEND => "SEND".to_owned(),
        neigh_state::REACHABLE => "REACHABLE".to_owned(),
        neigh_state::PROBE => "PROBE".to_owned(),
        neigh_state::DELAY => "DELAY".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
