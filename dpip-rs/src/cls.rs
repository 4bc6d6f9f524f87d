//! `dpip cls`: classifiers of traffic control.
//!
//! Knows their parameters and their text form; patterns are in `cls/pattern`,
//! handles in `tc`.

use std::fmt::Write as _;

use dpvs_ctl::msg::{Match, TcCls, TcClsIpset, TcClsMatch, TcClsResult, tc_handle, tc_obj};
use dpvs_ctl::types::Blob;
use dpvs_ctl::{Be16, Name};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Options;
use crate::failure::Failure;
use crate::table::{Arg, Command, Object, Row, flag_needed, key, opt};
use crate::tc::{self, handle, handle_text};
use crate::words::{Word, Words, device, number};

mod pattern;

use pattern::{Pattern, pattern, pattern_text};

const BY_PATTERN: [Arg; 8] = [
    key("dev", "DEV"),
    opt("handle", "HANDLE"),
    opt("qsch", "HANDLE"),
    opt("pkttype", "ipv4|ipv6|vlan"),
    opt("prio", "N"),
    flag_needed("match"),
    key("pattern", "PATTERN"),
    key("target", "TARGET"),
];

const BY_SET: [Arg; 8] = [
    key("dev", "DEV"),
    opt("handle", "HANDLE"),
    opt("qsch", "HANDLE"),
    opt("pkttype", "ipv4|ipv6|vlan"),
    opt("prio", "N"),
    flag_needed("ipset"),
    key("match", "SET[,src|dst]"),
    key("target", "TARGET"),
];

pub(crate) const OBJECT: Object = Object {
    name: "cls",
    about: "classifiers of traffic control",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[
                key("dev", "DEV"),
                opt("handle", "HANDLE"),
                opt("qsch", "HANDLE"),
            ],
            about: "List the classifiers of a queue scheduler (root unless told otherwise); \
                    with -v those of every worker.",
        },
        Row {
            command: Command::Add,
            args: &BY_PATTERN,
            about: "Classify packets by what is in them.",
        },
        Row {
            command: Command::Add,
            args: &BY_SET,
            about: "Classify packets by a set of ipset.",
        },
        Row {
            command: Command::Set,
            args: &BY_PATTERN,
            about: "Change a classifier; as with add, by a set as well.",
        },
        Row {
            command: Command::Replace,
            args: &BY_PATTERN,
            about: "Put another classifier in the place of one.",
        },
        Row {
            command: Command::Del,
            args: &[
                key("dev", "DEV"),
                key("handle", "HANDLE"),
                opt("qsch", "HANDLE"),
            ],
            about: "Remove a classifier.",
        },
    ],
    terms: &[
        ("HANDLE", "root | ingress | MAJOR:MINOR | MAJOR:"),
        ("TARGET", "drop | HANDLE of a queue scheduler"),
        (
            "PATTERN",
            "tcp, udp, sctp, icmp or icmp6, from=RANGE, to=RANGE, iif=DEV, oif=DEV; commas \
             between them",
        ),
        (
            "RANGE",
            "IP[-IP][:PORT[-PORT]] or :PORT[-PORT]; IPv6 with ports in brackets",
        ),
    ],
    notes: "Classifiers with a higher prio are asked first. A set is asked for the source, or \
            with ,dst for the destination.",
    run,
};

/// The kinds of classifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Match,
    Ipset,
}

/// A command's words.
#[derive(Debug, Clone)]
struct Spec {
    dev: Name<16>,
    param: TcCls,
    kind: Option<Kind>,
    pattern: Pattern,
    set: TcClsIpset,
    result: TcClsResult,
}

/// Does a `cls` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let spec = parse(words).map_err(|failure| failure.at("parse"))?;
    check(&spec, command).map_err(|failure| failure.at("check"))?;
    let about = (tc_obj::CLS, spec.dev);
    tc::run(cx, command, about, &spec.message(), text, value)
}

fn parse(words: &[String]) -> Result<Spec, Failure> {
    let mut spec = Spec {
        dev: Name::EMPTY,
        param: TcCls {
            sch_id: tc_handle::ROOT,
            pkt_type: Be16::new(0x0800),
            ..TcCls::default()
        },
        kind: None,
        pattern: Pattern::default(),
        set: TcClsIpset::default(),
        result: TcClsResult::default(),
    };
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match (word, spec.kind) {
            (Word::Key(key @ "dev"), _) => spec.dev = device(words.value(key)?)?,
            (Word::Key(key @ "handle"), _) => spec.param.handle = handle(key, words.value(key)?)?,
            (Word::Key(key @ "qsch"), _) => spec.param.sch_id = handle(key, words.value(key)?)?,
            (Word::Key(key @ "pkttype"), _) => {
                spec.param.pkt_type = Be16::new(pkttype(words.value(key)?)?);
            }
            (Word::Key(key @ "prio"), _) => spec.param.priority = priority(words.value(key)?)?,
            (Word::Key("match"), None) => spec.set_kind(Kind::Match),
            (Word::Key("ipset"), None) => spec.set_kind(Kind::Ipset),
            (Word::Key(key @ "pattern"), Some(Kind::Match)) => {
                spec.pattern = pattern(words.value(key)?)?;
            }
            (Word::Key(key @ "match"), Some(Kind::Ipset)) => {
                spec.set = set(words.value(key)?)?;
            }
            (Word::Key(key @ "target"), Some(_)) => {
                spec.result = match words.value(key)? {
                    "drop" => TcClsResult { drop: 1, sch_id: 0 },
                    other => TcClsResult {
                        drop: 0,
                        sch_id: handle(key, other)?,
                    },
                };
            }
            (Word::Key(other) | Word::Other(other), None) => {
                return Err(Failure::invalid(format!(
                    "invalid/miss cls type: '{other}'"
                )));
            }
            // As ever: what follows a kind and is none of its words is ignored.
            (_, Some(_)) => {}
        }
    }
    Ok(spec)
}

fn pkttype(word: &str) -> Result<u16, Failure> {
    Ok(match word {
        "ipv4" => 0x0800,
        "ipv6" => 0x86dd,
        "vlan" => 0x8100,
        _ => return Err(Failure::invalid("pkttype not support")),
    })
}

/// A whole number that may be negative (behind `--`).
fn priority(word: &str) -> Result<i32, Failure> {
    match word.strip_prefix('-') {
        Some(digits) => number::<i32>("prio", digits).map(|n| -n),
        None => number("prio", word),
    }
}

/// `SET`, `SET,src` or `SET,dst`.
fn set(word: &str) -> Result<TcClsIpset, Failure> {
    let wrong = || Failure::invalid(format!("invalid ipset match: {word}"));
    let (name, side) = word.split_once(',').unwrap_or((word, "src"));
    Ok(TcClsIpset {
        setname: Name::new(name)
            .filter(|name| !name.is_empty())
            .ok_or_else(wrong)?,
        dst_match: match side {
            "src" => 0,
            "dst" => 1,
            _ => return Err(wrong()),
        },
        ..TcClsIpset::default()
    })
}

fn check(spec: &Spec, command: Command) -> Result<(), Failure> {
    let no = |what: &str| Err(Failure::invalid(what));
    if spec.dev.is_empty() {
        return no("missing device.");
    }
    let handle_needed = matches!(command, Command::Del | Command::Set | Command::Replace);
    if handle_needed && spec.param.handle == tc_handle::UNSPEC {
        return no("missing handle.");
    }
    if !matches!(command, Command::Add | Command::Replace | Command::Set) {
        return Ok(());
    }
    match spec.kind {
        None => no("invalid cls kind."),
        Some(Kind::Match) if spec.pattern == Pattern::default() => no("invalid match pattern."),
        Some(Kind::Ipset) if spec.set.setname.is_empty() => no("invalid ipset match: missing"),
        Some(_) => Ok(()),
    }
}

impl Spec {
    fn set_kind(&mut self, kind: Kind) {
        self.kind = Some(kind);
        self.param.kind = Name::truncated(match kind {
            Kind::Match => "match",
            Kind::Ipset => "ipset",
        });
    }

    fn message(&self) -> TcCls {
        TcCls {
            copt: match self.kind {
                Some(Kind::Match) => Blob::of(&TcClsMatch {
                    proto: self.pattern.proto,
                    matched: self.pattern.matched,
                    result: self.result,
                }),
                Some(Kind::Ipset) => Blob::of(&TcClsIpset {
                    result: self.result,
                    ..self.set
                }),
                None => Blob::default(),
            },
            ..self.param
        }
    }
}

fn target(result: TcClsResult) -> String {
    if result.drop != 0 {
        "drop".to_owned()
    } else {
        handle_text(result.sch_id)
    }
}

fn side(set: &TcClsIpset) -> &'static str {
    if set.dst_match != 0 { "dst" } else { "src" }
}

/// A classifier as a line.
fn text(cls: &TcCls, dev: &Name<16>, options: &Options) -> String {
    let mut text = String::new();
    if options.verbose {
        let _ = write!(text, "[{:02}] ", cls.cid);
    }
    let _ = write!(
        text,
        "cls {} {} dev {dev} qsch {} pkttype 0x{:04x} prio {} ",
        cls.kind,
        handle_text(cls.handle),
        handle_text(cls.sch_id),
        cls.pkt_type.get(),
        cls.priority
    );
    match &*cls.kind.text() {
        "match" => {
            let by = cls.copt.read::<TcClsMatch>();
            let what = pattern_text(by.proto, &by.matched);
            let _ = write!(text, "{what} target {}", target(by.result));
        }
        "ipset" => {
            let by = cls.copt.read::<TcClsIpset>();
            let (set, side) = (by.setname, side(&by));
            let _ = write!(
                text,
                "ipset match {set},{side} target {}",
                target(by.result)
            );
        }
        _ => {}
    }
    text.push('\n');
    text
}

fn value(cls: &TcCls, dev: &Name<16>, options: &Options) -> Value {
    let mut value = json!({
        "kind": cls.kind.text(),
        "handle": handle_text(cls.handle),
        "ifname": dev.text(),
        "qsch": handle_text(cls.sch_id),
        "pkttype": cls.pkt_type.get(),
        "prio": cls.priority,
    });
    match &*cls.kind.text() {
        "match" => {
            let by = cls.copt.read::<TcClsMatch>();
            value["pattern"] = json!(pattern_text(by.proto, &by.matched));
            value["target"] = json!(target(by.result));
        }
        "ipset" => {
            let by = cls.copt.read::<TcClsIpset>();
            value["set"] = json!(by.setname.text());
            value["side"] = json!(side(&by));
            value["target"] = json!(target(by.result));
        }
        _ => {}
    }
    if options.verbose {
        value["lcore"] = json!(cls.cid);
    }
    value
}

#[cfg(test)]
mod tests;
