//! `dpip qsch`: queue schedulers of traffic control.
//!
//! Knows their parameters and their text form; handles are in `tc`.

use std::fmt::Write as _;

use dpvs_ctl::Name;
use dpvs_ctl::msg::{FifoOpt, PrioOpt, TbfOpt, TcQsch, tc_handle, tc_obj};
use dpvs_ctl::types::Blob;
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Options;
use crate::failure::Failure;
use crate::table::{Arg, Command, Object, Row, flag, key, opt, opt_pos};
use crate::tc::{self, handle, handle_text};
use crate::words::{Word, Words, device, number};

const ATTRIBUTES: [Arg; 14] = [
    key("dev", "DEV"),
    opt("handle", "HANDLE"),
    flag("root"),
    flag("ingress"),
    opt("parent", "HANDLE"),
    opt_pos("KIND"),
    // bfifo and pfifo
    opt("limit", "N"),
    // tbf
    opt("rate", "RATE"),
    opt("burst", "BYTES"),
    opt("latency", "MS"),
    opt("peakrate", "RATE"),
    opt("mtu", "BYTES"),
    opt("buffer", "BYTES"),
    opt("minburst", "BYTES"),
];

pub(crate) const OBJECT: Object = Object {
    name: "qsch",
    about: "queue schedulers of traffic control",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[key("dev", "DEV"), opt("handle", "HANDLE")],
            about: "List the queue schedulers of a device; with -s what they sent and dropped, \
                    with -v those of every worker.",
        },
        Row {
            command: Command::Add,
            args: &ATTRIBUTES,
            about: "Add a queue scheduler.",
        },
        Row {
            command: Command::Set,
            args: &ATTRIBUTES,
            about: "Change the options of a queue scheduler.",
        },
        Row {
            command: Command::Replace,
            args: &ATTRIBUTES,
            about: "Put another queue scheduler in the place of one.",
        },
        Row {
            command: Command::Del,
            args: &[
                key("dev", "DEV"),
                opt("handle", "HANDLE"),
                flag("root"),
                flag("ingress"),
            ],
            about: "Remove a queue scheduler.",
        },
    ],
    terms: &[
        ("HANDLE", "root | ingress | MAJOR:MINOR | MAJOR:"),
        ("KIND", "bfifo | pfifo | pfifo_fast | tbf"),
        ("RATE", "bits a second, with k, m or g for 10^3, 10^6, 10^9"),
    ],
    notes: "The kind stands before its options: bfifo and pfifo need limit (bytes or packets); \
            tbf needs rate and burst, and takes latency (milliseconds, 2 or \
            2ms, behind rate) or limit, peakrate and mtu. buffer is burst, minburst is mtu.",
    run,
};

/// The kinds of queue schedulers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fifo,
    PfifoFast,
    Tbf,
}

/// A command's words.
#[derive(Debug, Clone, Default)]
struct Spec {
    dev: Name<16>,
    param: TcQsch,
    kind: Option<Kind>,
    fifo: FifoOpt,
    tbf: TbfOpt,
}

/// Does a `qsch` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let spec = parse(words).map_err(|failure| failure.at("parse"))?;
    check(&spec, command).map_err(|failure| failure.at("check"))?;
    let about = (tc_obj::QSCH, spec.dev);
    tc::run(cx, command, about, &spec.message(), text, value)
}

fn parse(words: &[String]) -> Result<Spec, Failure> {
    let mut spec = Spec::default();
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match (word, spec.kind) {
            (Word::Key(key @ "dev"), _) => spec.dev = device(words.value(key)?)?,
            (Word::Key(key @ "handle"), _) => spec.param.handle = handle(key, words.value(key)?)?,
            (Word::Key(key @ "parent"), _) => spec.param.parent = handle(key, words.value(key)?)?,
            (Word::Key("root"), _) => {
                (spec.param.handle, spec.param.parent) = (tc_handle::ROOT, tc_handle::UNSPEC);
            }
            (Word::Key("ingress"), _) => {
                (spec.param.handle, spec.param.parent) = (tc_handle::INGRESS, tc_handle::UNSPEC);
            }
            (Word::Key(word), Some(kind)) => option(&mut spec, kind, word, &mut words)?,
            (Word::Key(word) | Word::Other(word), None) => {
                spec.kind = Some(kind_of(word)?);
                spec.param.kind = Name::truncated(word);
            }
            (Word::Other(word), Some(_)) => return Err(bad_option(&spec, word)),
        }
    }
    Ok(spec)
}

fn kind_of(word: &str) -> Result<Kind, Failure> {
    Ok(match word {
        "bfifo" | "pfifo" => Kind::Fifo,
        "pfifo_fast" => Kind::PfifoFast,
        "tbf" => Kind::Tbf,
        _ => {
            return Err(Failure::invalid(format!(
                "invalid/miss qsch kind: '{word}'"
            )));
        }
    })
}

fn bad_option(spec: &Spec, word: &str) -> Failure {
    Failure::invalid(format!("invalid option for {}: '{word}'", spec.param.kind))
}

/// One option of a kind.
fn option(
    spec: &mut Spec,
    kind: Kind,
    word: &'static str,
    words: &mut Words<'_>,
) -> Result<(), Failure> {
    match (kind, word) {
        (Kind::Fifo, "limit") => spec.fifo.limit = number(word, words.value(word)?)?,
        (Kind::Tbf, "rate") => spec.tbf.rate.rate = rate(word, words.value(word)?)?,
        (Kind::Tbf, "peakrate") => spec.tbf.peakrate.rate = rate(word, words.value(word)?)?,
        (Kind::Tbf, "burst" | "buffer") => spec.tbf.buffer = number(word, words.value(word)?)?,
        (Kind::Tbf, "limit") => spec.tbf.limit = number(word, words.value(word)?)?,
        (Kind::Tbf, "mtu" | "minburst") => spec.tbf.mtu = number(word, words.value(word)?)?,
        (Kind::Tbf, "latency") => {
            let text = words.value(word)?;
            // The unit may be said, as in tc(8).
            let ms: u32 = number(word, text.strip_suffix("ms").unwrap_or(text))?;
            if spec.tbf.rate.rate == 0 {
                return Err(Failure::invalid("latency set before rate ?"));
            }
            let bytes = u64::from(ms) * u64::from(spec.tbf.rate.rate) / 1000 / 8;
            spec.tbf.limit = u32::try_from(bytes).map_err(|_| {
                Failure::invalid(format!(
                    "invalid latency: '{text}' at this rate would queue {bytes} bytes"
                ))
            })?;
        }
        _ => return Err(bad_option(spec, word)),
    }
    Ok(())
}

/// Bits a second: digits and perhaps k, m or g.
fn rate(what: &str, word: &str) -> Result<u32, Failure> {
    let wrong = || Failure::invalid(format!("invalid {what}: '{word}'"));
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match word.strip_prefix(digits).unwrap_or("") {
        "" => 1,
        "k" | "K" => 1_000,
        "m" | "M" => 1_000_000,
        "g" | "G" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u64>().ok().filter(|_| plain);
    let bits = count.and_then(|count| count.checked_mul(unit));
    bits.and_then(|bits| u32::try_from(bits).ok())
        .ok_or_else(wrong)
}

fn check(spec: &Spec, command: Command) -> Result<(), Failure> {
    let no = |what: &str| Err(Failure::invalid(what));
    if spec.dev.is_empty() {
        return no("missing device.");
    }
    let handle_needed = matches!(command, Command::Del | Command::Set);
    if handle_needed && spec.param.handle == tc_handle::UNSPEC {
        return no("missing handle.");
    }
    if !matches!(command, Command::Add | Command::Replace | Command::Set) {
        return Ok(());
    }
    match spec.kind {
        None => no("invalid qsch kind."),
        Some(Kind::PfifoFast) if command == Command::Set => Err(Failure::invalid(format!(
            "qsch kind '{}' doesn't support SET.",
            spec.param.kind
        ))),
        _ if command == Command::Set => Ok(()),
        Some(Kind::Fifo) if spec.fifo.limit == 0 => no("missing limit for fifo."),
        Some(Kind::Tbf) if spec.tbf.rate.rate == 0 => no("missing rate for tbf."),
        Some(Kind::Tbf) if spec.tbf.buffer == 0 => no("missing buffer for tbf."),
        Some(_) => Ok(()),
    }
}

impl Spec {
    fn message(&self) -> TcQsch {
        TcQsch {
            qopt: match self.kind {
                Some(Kind::Fifo) => Blob::of(&self.fifo),
                Some(Kind::Tbf) => Blob::of(&self.tbf),
                Some(Kind::PfifoFast) | None => Blob::default(),
            },
            ..self.param
        }
    }
}

/// A queue scheduler as lines.
fn text(qsch: &TcQsch, dev: &Name<16>, options: &Options) -> String {
    let mut text = String::new();
    if options.verbose {
        let _ = write!(text, "[{:02}] ", qsch.cid);
    }
    let _ = write!(
        text,
        "qsch {} {} dev {dev} parent {} flags 0x{:x} cls {}",
        qsch.kind,
        handle_text(qsch.handle),
        handle_text(qsch.parent),
        qsch.flags,
        qsch.cls_cnt
    );
    match kind_of(&qsch.kind.text()) {
        Ok(Kind::Fifo) => {
            let _ = write!(text, " limit {}", qsch.qopt.read::<FifoOpt>().limit);
        }
        Ok(Kind::PfifoFast) => {
            let prio = qsch.qopt.read::<PrioOpt>();
            let _ = write!(text, " bands {} priomap", prio.bands);
            for band in prio.priomap {
                let _ = write!(text, " {band}");
            }
        }
        Ok(Kind::Tbf) => {
            let tbf = qsch.qopt.read::<TbfOpt>();
            let _ = write!(
                text,
                " rate {} burst {}B",
                rate_text(tbf.rate.rate),
                tbf.buffer
            );
            if tbf.peakrate.rate != 0 {
                let peak = rate_text(tbf.peakrate.rate);
                let _ = write!(text, " peakrate {peak} minburst {}B", tbf.mtu);
            }
            let _ = write!(text, " limit {}B", tbf.limit);
        }
        Err(_) => {}
    }
    text.push('\n');
    if options.stats {
        let (bytes, queue) = (&qsch.bstats, &qsch.qstats);
        let _ = writeln!(
            text,
            " Sent {} bytes {} pkts (dropped {}, overlimits {} requeues {})",
            bytes.bytes, bytes.packets, queue.drops, queue.overlimits, queue.requeues
        );
        let _ = writeln!(text, " Backlog {} bytes {} pkts", queue.backlog, queue.qlen);
    }
    text
}

#[expect(clippy::cast_lossless, reason = "a rate for people")]
fn rate_text(rate: u32) -> String {
    let scaled = |unit: f64| rate as f64 / unit;
    match rate {
        1_000_000_000.. => format!("{:.2}Gbps", scaled(1e9)),
        1_000_000.. => format!("{:.2}Mbps", scaled(1e6)),
        1_000.. => format!("{:.2}Kbps", scaled(1e3)),
        _ => format!("{rate}bps"),
    }
}

fn value(qsch: &TcQsch, dev: &Name<16>, options: &Options) -> Value {
    let mut value = json!({
        "kind": qsch.kind.text(),
        "handle": handle_text(qsch.handle),
        "ifname": dev.text(),
        "parent": handle_text(qsch.parent),
        "flags": qsch.flags,
        "cls": qsch.cls_cnt,
    });
    match kind_of(&qsch.kind.text()) {
        Ok(Kind::Fifo) => value["limit"] = json!(qsch.qopt.read::<FifoOpt>().limit),
        Ok(Kind::PfifoFast) => {
            let prio = qsch.qopt.read::<PrioOpt>();
            value["bands"] = json!(prio.bands);
            value["priomap"] = json!(prio.priomap);
        }
        Ok(Kind::Tbf) => {
            let tbf = qsch.qopt.read::<TbfOpt>();
            value["rate_bps"] = json!(tbf.rate.rate);
            value["burst"] = json!(tbf.buffer);
            value["peakrate_bps"] = json!(tbf.peakrate.rate);
            value["mtu"] = json!(tbf.mtu);
            value["limit"] = json!(tbf.limit);
        }
        Err(_) => {}
    }
    if options.verbose {
        value["lcore"] = json!(qsch.cid);
    }
    if options.stats {
        value["stats"] = json!({
            "bytes": qsch.bstats.bytes,
            "packets": qsch.bstats.packets,
            "drops": qsch.qstats.drops,
            "overlimits": qsch.qstats.overlimits,
            "requeues": qsch.qstats.requeues,
            "backlog": qsch.qstats.backlog,
            "qlen": qsch.qstats.qlen,
        });
    }
    value
}

#[cfg(test)]
mod tests;
