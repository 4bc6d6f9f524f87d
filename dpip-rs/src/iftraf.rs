//! `dpip iftraf`: the largest flows that a device sees.
//!
//! Knows the messages of traffic statistics and their text form.

use dpvs_ctl::msg::IfTraf;
use dpvs_ctl::{ErrCode, Ip16, Name};
use serde_json::{Value, json};

use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, opt};
use crate::words::{Word, Words, device};

pub(crate) const OBJECT: Object = Object {
    name: "iftraf",
    about: "the largest flows of devices",
    short_keys: true,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt("dev", "DEV|all")],
            about: "List the largest flows: of all devices together, by source of one device, \
                    or with all those of each device.",
        },
        Row {
            command: Command::Enable,
            args: &[],
            about: "Start to sample packets.",
        },
        Row {
            command: Command::Disable,
            args: &[],
            about: "Stop.",
        },
    ],
    terms: &[],
    notes: "",
    run,
};

/// Does an `iftraf` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    match command {
        Command::Enable => Ok(cx.client.set_iftraf(true)?),
        Command::Disable => Ok(cx.client.set_iftraf(false)?),
        Command::Show => show(cx, words),
        _ => Err(Failure::not_supported()),
    }
}

fn show(cx: &mut Cx, words: &[String]) -> Result<(), Failure> {
    let mut dev = Name::EMPTY;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        if word == Word::Key("dev") {
            dev = device(words.value("dev")?)?;
        }
    }
    let Some(mut flows) = cx.client.iftraf(&dev)? else {
        // The misspelling is the C tool's.
        return cx.out.warn("warnning: disabled.");
    };
    if flows.is_empty() {
        return Err(Failure::code(ErrCode::NOTEXIST).and("response nstats : 0."));
    }
    // The daemon lists the smallest first, but for `all`.
    if dev.text() != "all" {
        flows.reverse();
    }
    for (place, flow) in flows.iter().enumerate() {
        let record = Record::new(text(place + 1, flow), value(place + 1, flow));
        cx.out.emit(record)?;
    }
    Ok(())
}

fn address(flow: &IfTraf, addr: Ip16) -> String {
    let ip = addr.to_ip(flow.af);
    ip.map_or_else(|| "::".to_owned(), |ip| ip.to_string())
}

fn proto(flow: &IfTraf) -> String {
    match flow.proto {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => other.to_string(),
    }
}

/// A flow as a line.
fn text(place: usize, flow: &IfTraf) -> String {
    format!(
        "top{place}: {}, [{}, {} -> {}, {} | {}], [{}, {}]\n",
        flow.ifname,
        address(flow, flow.saddr),
        flow.sport,
        address(flow, flow.daddr),
        flow.dport,
        proto(flow),
        flow.total_recv,
        flow.total_sent
    )
}

fn value(place: usize, flow: &IfTraf) -> Value {
    json!({
        "top": place,
        "ifname": flow.ifname.text(),
        "src": address(flow, flow.saddr),
        "sport": flow.sport.get(),
        "dst": address(flow, flow.daddr),
        "dport": flow.dport.get(),
        "proto": proto(flow),
        "recv_bytes": flow.total_recv,
        "sent_bytes": flow.total_sent,
    })
}
