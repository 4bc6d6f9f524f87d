//! `dpip vlan`: VLAN devices.
//!
//! Knows the message of VLAN devices and its text form.

use dpvs_ctl::Name;
use dpvs_ctl::msg::Vlan;

use crate::Cx;
use crate::args::Command;
use crate::failure::Failure;
use crate::words::{Words, device, number};

pub(crate) const HELP: &str = "\
Usage: dpip vlan add [NAME] link DEV [proto PROTO] id N
       dpip vlan del {NAME | link DEV [proto PROTO] id N}
       dpip vlan show {NAME | link DEV [proto PROTO] [id N]}
PROTO: 802.1q (vlan) | 802.1ad (QinQ); 802.1q unless told otherwise
A device without NAME is called DEV.N.
";

const DOT1Q: u16 = 0x8100;
const DOT1AD: u16 = 0x88a8;
const MAX_ID: u16 = 4095;

/// Does a `vlan` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let vlan = parse(words).map_err(|failure| failure.at("parse"))?;
    check(&vlan, command).map_err(|failure| failure.at("check"))?;
    match command {
        Command::Add => Ok(cx.client.add_vlan(&vlan)?),
        Command::Del => Ok(cx.client.del_vlan(&vlan)?),
        Command::Show => {
            for vlan in cx.client.vlans(&vlan)? {
                // The C tool lists on stderr, and scripts read it there.
                cx.out.warn(&text(&vlan))?;
            }
            Ok(())
        }
        _ => Err(Failure::not_supported()),
    }
}

fn parse(words: &[String]) -> Result<Vlan, Failure> {
    let mut vlan = Vlan {
        vlan_proto: DOT1Q,
        ..Vlan::default()
    };
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            "link" => vlan.real_dev = device(words.value(word)?)?,
            "proto" => vlan.vlan_proto = proto(words.value(word)?)?,
            "id" => vlan.vlan_id = number(word, words.value(word)?)?,
            _ if !vlan.ifname.is_empty() => return Err(Failure::invalid("too many arguments")),
            name => vlan.ifname = device(name)?,
        }
    }
    Ok(vlan)
}

fn proto(word: &str) -> Result<u16, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "802.1q" | "vlan" => Ok(DOT1Q),
        "802.1ad" | "qinq" => Ok(DOT1AD),
        _ => Err(Failure::invalid(format!("invalid proto: {word}"))),
    }
}

fn check(vlan: &Vlan, command: Command) -> Result<(), Failure> {
    let no_device = vlan.real_dev.is_empty();
    match command {
        Command::Add if no_device => Err(Failure::invalid("missing real device")),
        Command::Add if !(1..MAX_ID).contains(&vlan.vlan_id) => {
            Err(Failure::invalid("missing or invalid VLAN ID"))
        }
        Command::Show if no_device && vlan.ifname == Name::EMPTY => {
            Err(Failure::invalid("missing both vlan and real device"))
        }
        // A removal goes to the daemon unchecked, as ever.
        _ => Ok(()),
    }
}

/// A VLAN device, as a line without its end.
fn text(vlan: &Vlan) -> String {
    let proto = match vlan.vlan_proto {
        DOT1Q => "802.1q".to_owned(),
        DOT1AD => "802.1ad".to_owned(),
        other => format!("0x{other:04x}"),
    };
    format!(
        "{} link {} proto {proto} id {}",
        vlan.ifname, vlan.real_dev, vlan.vlan_id
    )
}

#[cfg(test)]
mod tests;
