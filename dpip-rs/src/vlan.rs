//! `dpip vlan`: VLAN devices.
//!
//! Knows the message of VLAN devices and its text form.

use dpvs_ctl::Name;
use dpvs_ctl::msg::Vlan;
use serde_json::{Value, json};

use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, key, opt, opt_pos, pos};
use crate::words::{Word, Words, device, number};

pub(crate) const OBJECT: Object = Object {
    name: "vlan",
    about: "VLAN devices",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[pos("NAME")],
            about: "Show a VLAN device, on standard error as it always was.",
        },
        Row {
            command: Command::Show,
            args: &[key("link", "DEV"), opt("proto", "PROTO"), opt("id", "N")],
            about: "List the VLAN devices of a device.",
        },
        Row {
            command: Command::Add,
            args: &[
                opt_pos("NAME"),
                key("link", "DEV"),
                opt("proto", "PROTO"),
                key("id", "N"),
            ],
            about: "Add a VLAN device; without NAME it is called DEV.N.",
        },
        Row {
            command: Command::Del,
            args: &[pos("NAME")],
            about: "Remove a VLAN device.",
        },
        Row {
            command: Command::Del,
            args: &[key("link", "DEV"), opt("proto", "PROTO"), key("id", "N")],
            about: "The same by device and id.",
        },
    ],
    terms: &[("PROTO", "802.1q | vlan | 802.1ad | QinQ")],
    notes: "The protocol is 802.1q unless told otherwise; vlan is the same, QinQ is 802.1ad.",
    run,
};

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
                let record = Record::new(text(&vlan) + "\n", value(&vlan));
                cx.out.emit(record.aside())?;
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
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key(key @ "link") => vlan.real_dev = device(words.value(key)?)?,
            Word::Key(key @ "proto") => vlan.vlan_proto = proto(words.value(key)?)?,
            Word::Key(key @ "id") => vlan.vlan_id = number(key, words.value(key)?)?,
            _ if !vlan.ifname.is_empty() => return Err(Failure::invalid("too many arguments")),
            Word::Key(name) | Word::Other(name) => vlan.ifname = device(name)?,
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
    format!(
        "{} link {} proto {} id {}",
        vlan.ifname,
        vlan.real_dev,
        proto_text(vlan),
        vlan.vlan_id
    )
}

/// A VLAN device as a value.
fn value(vlan: &Vlan) -> Value {
    json!({
        "ifname": vlan.ifname.text(),
        "link": vlan.real_dev.text(),
        "proto": proto_text(vlan),
        "id": vlan.vlan_id,
    })
}

fn proto_text(vlan: &Vlan) -> String {
    match vlan.vlan_proto {
        DOT1Q => "802.1q".to_owned(),
        DOT1AD => "802.1ad".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

#[cfg(test)]
mod tests;
