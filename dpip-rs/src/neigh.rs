//! `dpip neigh`: the neighbours that each worker knows, and static ones.
//!
//! Knows the message of neighbours and its text form.

use dpvs_ctl::msg::{Neigh, neigh_flag, neigh_state};
use dpvs_ctl::{Af, HwAddr, Ip16};

use crate::Cx;
use crate::args::{Command, Family};
use crate::failure::Failure;
use crate::words::{Words, address, af_of, device, mac, wanted};

pub(crate) const HELP: &str = "\
Usage: dpip neigh show [dev DEV]
       dpip neigh add ADDR lladdr MAC dev DEV
       dpip neigh del ADDR dev DEV
An added neighbour is static: it does not age.
";

/// Does a `neigh` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let family = cx.options.family;
    match command {
        Command::Show => {
            for neigh in cx.client.neighs(&parse(words, command, family)?)? {
                if wanted(family, neigh.af) {
                    cx.out.print(&text(&neigh))?;
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
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            "dev" => neigh.ifname = device(words.value(word)?)?,
            "lladdr" => {
                let invalid = || Failure::invalid("invalid link layer addr");
                neigh.eth_addr = mac(words.value(word)?).ok_or_else(invalid)?;
            }
            other => subject = Some(other),
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
    let ip = neigh
        .ip_addr
        .to_ip(neigh.af)
        .map_or_else(|| "::".to_owned(), |ip| ip.to_string());
    let state = match neigh.state {
        neigh_state::NONE => "NONE".to_owned(),
        neigh_state::SEND => "SEND".to_owned(),
        neigh_state::REACHABLE => "REACHABLE".to_owned(),
        neigh_state::PROBE => "PROBE".to_owned(),
        neigh_state::DELAY => "DELAY".to_owned(),
        other => other.to_string(),
    };
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

#[cfg(test)]
mod tests;
