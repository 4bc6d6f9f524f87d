//! `dpip flow`: addresses whose packets go to the kernel's interface, and how
//! replies that a port receives find the worker that owns their connection.
//!
//! Knows both messages and their text form. The second is our own; it takes
//! the place of the C tool's complaint about a missing type.

use dpvs_ctl::msg::{KniFlow, PortAffinity};
use dpvs_ctl::{Af, CtlError, ErrCode, Ip16, Name, id};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, key, opt, pos};
use crate::words::{Word, Words, address, device};

pub(crate) const OBJECT: Object = Object {
    name: "flow",
    about: "flows to the kernel's interface; the way of replies to their worker",
    short_keys: true,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt("dev", "DEV")],
            about: "Show how replies to local addresses find the worker that owns their \
                    connection (single: there is one worker; flow-rules: the NIC steers them; \
                    rss: local ports are chosen so that the NIC's hash leads there; hand-over: \
                    workers pass them on), and why no better way is taken.",
        },
        Row {
            command: Command::Show,
            args: &[key("type", "kni"), key("dev", "DEV")],
            about: "List the addresses whose packets go to the device's kernel interface.",
        },
        Row {
            command: Command::Add,
            args: &[key("type", "kni"), key("dev", "DEV"), pos("ADDR")],
            about: "Lead the packets to an address to the kernel's interface.",
        },
        Row {
            command: Command::Del,
            args: &[key("type", "kni"), key("dev", "DEV"), pos("ADDR")],
            about: "No longer.",
        },
        Row {
            command: Command::Flush,
            args: &[key("type", "kni"), key("dev", "DEV")],
            about: "Remove all such addresses of a device.",
        },
    ],
    terms: &[],
    notes: "type kni stands first.",
    run,
};

/// The number of the only type, in the message.
const ADDRESS_FLOW: u32 = 1;

/// Does a `flow` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let typed = OBJECT.keyword(words.first().map_or("", String::as_str)) == Some("type");
    if command == Command::Show && !typed {
        return affinity(cx, words);
    }
    let id = match command {
        Command::Add => id::SET_KNI_ADD,
        Command::Del => id::SET_KNI_DEL,
        Command::Flush => id::SET_KNI_FLUSH,
        Command::Show => id::GET_KNI_LIST,
        _ => return Err(Failure::not_supported()),
    };
    let flow = parse(words, command, cx.options.family)?;
    if command != Command::Show {
        return Ok(cx.client.set_kni_flow(id, &flow)?);
    }
    for flow in cx.client.kni_flows(&flow)? {
        cx.out.emit(Record::new(text(&flow), value(&flow)))?;
    }
    Ok(())
}

fn parse(words: &[String], command: Command, family: Family) -> Result<KniFlow, Failure> {
    let mut flow = KniFlow::default();
    let mut subject = None;
    let mut words = Words::new(words, &OBJECT);
    if words.next() != Some(Word::Key("type")) {
        return Err(Failure::invalid("missing flow type"));
    }
    match words.value("type")? {
        "kni" => flow.kind = ADDRESS_FLOW,
        other => {
            return Err(Failure::invalid(format!(
                "invalid flow type: `{other}' (the only one is kni)"
            )));
        }
    }
    while let Some(word) = words.next() {
        match word {
            Word::Key("dev") => flow.ifname = device(words.value("dev")?)?,
            Word::Key(other) | Word::Other(other) => subject = Some(other),
        }
    }
    if flow.ifname.is_empty() {
        return Err(Failure::invalid("no device specified."));
    }
    match subject {
        Some(subject) => {
            let ip = address(subject, family)?;
            (flow.af, flow.addr) = (Af::of(ip), Ip16::from_ip(ip));
        }
        None if matches!(command, Command::Add | Command::Del) => {
            return Err(Failure::invalid("missing ip address"));
        }
        None => {}
    }
    Ok(flow)
}

fn address_text(flow: &KniFlow) -> String {
    let ip = flow.addr.to_ip(flow.af);
    ip.map_or_else(|| "::".to_owned(), |ip| ip.to_string())
}

/// A flow as a line.
fn text(flow: &KniFlow) -> String {
    format!("kni addr flow {} dev {}\n", address_text(flow), flow.ifname)
}

fn value(flow: &KniFlow) -> Value {
    json!({"type": "kni", "address": address_text(flow), "ifname": flow.ifname.text()})
}

/// Shows the way of replies.
///
/// DIFFERS: C dpip refuses a listing without `type`.
fn affinity(cx: &mut Cx, words: &[String]) -> Result<(), Failure> {
    let mut dev = Name::EMPTY;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key("dev") => dev = device(words.value("dev")?)?,
            Word::Key(_) => return Err(Failure::invalid("missing flow type")),
            Word::Other(other) => {
                return Err(Failure::invalid(format!("unknown argument: {other}")));
            }
        }
    }
    for port in cx.client.port_affinity(&dev).map_err(untold)? {
        let value = json!({
            "ifname": port.ifname.text(),
            "workers": port.workers,
            "way": port.way.text(),
            "rules": port.rules,
            "why": port.why.text(),
        });
        cx.out.emit(Record::new(affinity_text(&port), value))?;
    }
    Ok(())
}

fn affinity_text(port: &PortAffinity) -> String {
    format!(
        "{}: way {} workers {} rules {}\n    why: {}\n",
        port.ifname, port.way, port.workers, port.rules, port.why
    )
}

/// A daemon that does not know the question closes without an answer, or says
/// that it does not support it.
pub(crate) fn untold(error: CtlError) -> Failure {
    let silent = matches!(error, CtlError::ShortReply { got: 0, .. });
    let refused = matches!(&error, CtlError::Server { code, .. } if *code == ErrCode::NOTSUPP);
    let failure = Failure::from(error);
    if silent || refused {
        failure.and("this dpvs does not tell; only the dpvs that comes with this dpip does")
    } else {
        failure
    }
}

#[cfg(test)]
mod tests;
