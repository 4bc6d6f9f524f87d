//! `dpip lldp`: what a port tells its neighbour, and what that tells.
//!
//! The text comes from the daemon and is passed on.

use dpvs_ctl::msg::LldpParam;
use serde_json::json;

use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, flag, key};
use crate::words::{Word, Words, device};

pub(crate) const OBJECT: Object = Object {
    name: "lldp",
    about: "what LLDP says and hears",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: &[flag("local"), flag("neigh"), key("dev", "DEV")],
        about: "Show what the port announces (local, unless told otherwise) or what its \
                neighbour announced (neigh).",
    }],
    terms: &[],
    notes: "",
    run,
};

const LOCAL: u16 = 0;
const NEIGHBOUR: u16 = 1;

/// Does an `lldp` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let param = parse(words).map_err(|failure| failure.at("parse"))?;
    if param.ifname.is_empty() {
        return Err(Failure::invalid("missing device name").at("check"));
    }
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let message = cx.client.lldp(&param)?.message;
    let (node, title) = match param.node {
        LOCAL => ("local", "Local"),
        _ => ("neigh", "Neighbour"),
    };
    let (dev, body) = (param.ifname, message.text());
    let end = if body.ends_with('\n') { "" } else { "\n" };
    let text = format!("-*-*-*- {title} LLDP Message on Port {dev} -*-*-*-\n{body}{end}");
    let lines: Vec<&str> = body.lines().collect();
    let value = json!({"ifname": dev.text(), "node": node, "message": lines});
    cx.out.emit(Record::new(text, value))
}

fn parse(words: &[String]) -> Result<LldpParam, Failure> {
    let mut param = LldpParam::default();
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key("local") => param.node = LOCAL,
            Word::Key("neigh") => param.node = NEIGHBOUR,
            Word::Key("dev") => param.ifname = device(words.value("dev")?)?,
            Word::Key(other) | Word::Other(other) => {
                return Err(Failure::invalid(format!("unknown argument: {other}")));
            }
        }
    }
    Ok(param)
}
