//! `dpip ipset`: sets of addresses, networks and ports.
//!
//! This file takes commands apart and sends them; what an entry of each type
//! of set looks like is in `ipset/entry`, listings are in `ipset/text`.

use dpvs_ctl::msg::{IpsetInfo, IpsetMember, IpsetParam, ipset_flag, ipset_op};
use dpvs_ctl::{Af, ErrCode, Name};
use serde_json::json;

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, flag, opt, opt_pos, pos};
use crate::words::{Word, Words, number};

mod entry;
mod text;

use entry::Kind;

const ADD: [crate::table::Arg; 4] = [
    pos("NAME"),
    pos("ENTRY"),
    opt("comment", "TEXT"),
    flag("nomatch"),
];

pub(crate) const OBJECT: Object = Object {
    name: "ipset",
    about: "sets of addresses, networks and ports",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt_pos("NAME")],
            about: "Show a set with its entries, or all sets; with -v in order.",
        },
        Row {
            command: Command::Create,
            args: &[
                pos("NAME"),
                pos("TYPE"),
                flag("comment"),
                opt("range", "NET|PORTS"),
                opt("hashsize", "N"),
                opt("maxelem", "N"),
            ],
            about: "Make a set; with -6 one of IPv6. A bitmap needs its range, with comment \
                    entries may have one.",
        },
        Row {
            command: Command::Destroy,
            args: &[pos("NAME")],
            about: "Remove a set that nothing uses.",
        },
        Row {
            command: Command::Add,
            args: &ADD,
            about: "Add an entry, or with nomatch an exception; with -F it may be there.",
        },
        Row {
            command: Command::Del,
            args: &ADD,
            about: "Remove an entry; with -F it may be missing.",
        },
        Row {
            command: Command::Test,
            args: &[pos("NAME"), pos("ENTRY")],
            about: "Say whether the set has the entry: true or false, exit status 0 for both.",
        },
        Row {
            command: Command::Flush,
            args: &[pos("NAME")],
            about: "Remove all entries of a set.",
        },
    ],
    terms: &[
        (
            "TYPE",
            "bitmap:ip | bitmap:ip,mac | bitmap:port | hash:ip | hash:net | hash:ip,port | \
             hash:net,port | hash:net,port,iface | hash:ip,port,ip | hash:ip,port,net | \
             hash:net,port,net | hash:net,port,net,port",
        ),
        (
            "ENTRY",
            "what the type says, with commas: ip and net are IP, IP/LEN or IP-IP, port is \
             [tcp:|udp:|icmp:|icmp6:]PORT[-PORT], iface is a device",
        ),
    ],
    notes: "",
    run,
};

/// The words of a command.
#[derive(Debug, Default)]
struct Spec<'a> {
    name: Name<32>,
    /// What stands behind the name: an entry, or the type of a new set.
    subject: &'a str,
    comment: Option<&'a str>,
    nomatch: bool,
    range: Option<&'a str>,
    hashsize: i32,
    maxelem: u32,
}

/// Does an `ipset` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let spec = parse(words, command).map_err(|failure| failure.at("parse"))?;
    let base = IpsetParam {
        name: spec.name,
        ..IpsetParam::default()
    };
    match command {
        Command::Show => show(cx, &base),
        Command::Create => {
            let param = create(&spec, cx.options.family).map_err(|failure| failure.at("check"))?;
            Ok(cx.client.set_ipset(&param)?)
        }
        Command::Destroy | Command::Flush => {
            let opcode = match command {
                Command::Destroy => ipset_op::DESTROY,
                _ => ipset_op::FLUSH,
            };
            Ok(cx.client.set_ipset(&IpsetParam { opcode, ..base })?)
        }
        Command::Add | Command::Del | Command::Test => change(cx, command, &spec, &base),
        _ => Err(Failure::not_supported()),
    }
}

fn parse(words: &[String], command: Command) -> Result<Spec<'_>, Failure> {
    let mut spec = Spec::default();
    let mut plain = Vec::new();
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        let create = command == Command::Create;
        match word {
            // The first two are names that somebody chose.
            Word::Key(word) | Word::Other(word) if plain.len() < subjects(command) => {
                plain.push(word);
            }
            Word::Key("comment") if create => spec.comment = Some(""),
            Word::Key(key @ "comment") => spec.comment = Some(words.value(key)?),
            Word::Key("nomatch") => spec.nomatch = true,
            Word::Key(key @ "range") if create => spec.range = Some(words.value(key)?),
            Word::Key(key @ "hashsize") if create => {
                spec.hashsize = number(key, words.value(key)?)?;
            }
            Word::Key(key @ "maxelem") if create => spec.maxelem = number(key, words.value(key)?)?,
            Word::Key(other) | Word::Other(other) => {
                return Err(Failure::invalid(format!("unknown argument: {other}")));
            }
        }
    }
    if plain.len() < subjects(command) && command != Command::Show {
        let what = match (plain.len(), command) {
            (0, _) => "missing set name",
            (_, Command::Create) => "missing set type",
            _ => "missing set entry",
        };
        return Err(Failure::invalid(what));
    }
    if let Some(name) = plain.first() {
        spec.name = short("set name", name)?;
    }
    spec.subject = plain.get(1).copied().unwrap_or_default();
    Ok(spec)
}

/// How many positional words a command takes.
fn subjects(command: Command) -> usize {
    match command {
        Command::Create | Command::Add | Command::Del | Command::Test => 2,
        _ => 1,
    }
}

/// Text that must fit its field.
fn short(what: &str, word: &str) -> Result<Name<32>, Failure> {
    let fits = Name::new(word).filter(|_| !word.is_empty());
    fits.ok_or_else(|| Failure::invalid(format!("invalid {what}: '{word}' (1 to 31 characters)")))
}

/// The request for a new set.
fn create(spec: &Spec<'_>, family: Family) -> Result<IpsetParam, Failure> {
    let kind = Kind::from_name(spec.subject).ok_or_else(|| {
        Failure::invalid(format!(
            "invalid set type: '{}' (one of {})",
            spec.subject,
            Kind::ALL.map(|(name, _)| name).join(" ")
        ))
    })?;
    let mut param = IpsetParam {
        kind: Name::truncated(spec.subject),
        name: spec.name,
        opcode: ipset_op::CREATE,
        ..IpsetParam::default()
    };
    param.option.comment_or_nomatch = spec.comment.is_some().into();
    param.option.hashsize = spec.hashsize;
    param.option.maxelem = spec.maxelem;
    param.option.family = match family {
        Family::Inet6 => Af::INET6.as_u8(),
        Family::Inet | Family::Unspec => Af::INET.as_u8(),
    };
    if kind.is_bitmap() {
        entry::bitmap_range(kind, spec.range, family, &mut param)?;
    } else if spec.range.is_some() {
        return Err(Failure::invalid("only bitmaps have a range"));
    }
    Ok(param)
}

/// Adds, removes or tests an entry. Its form depends on the type of the set,
/// which the daemon knows.
///
/// DIFFERS: C dpip asks for the type before flush, destroy and show as well,
/// and turns a missing set into an invalid parameter.
fn change(
    cx: &mut Cx,
    command: Command,
    spec: &Spec<'_>,
    base: &IpsetParam,
) -> Result<(), Failure> {
    let (info, _) = one(cx, base)?;
    let kind = Kind::from_name(&info.kind.text())
        .ok_or_else(|| Failure::invalid(format!("unknown set type: {}", info.kind)))?;
    let mut param = *base;
    param.opcode = match command {
        Command::Add => ipset_op::ADD,
        Command::Del => ipset_op::DEL,
        _ => ipset_op::TEST,
    };
    param.option.family = info.af;
    let warning = entry::entry(kind, spec.subject, command, &mut param)
        .map_err(|failure| failure.at("check"))?;
    if let Some(warning) = warning {
        cx.out.warn(warning)?;
    }
    if let Some(comment) = spec.comment {
        param.comment = short("comment", comment).map_err(|failure| failure.at("parse"))?;
    }
    param.option.comment_or_nomatch = spec.nomatch.into();
    if command == Command::Test {
        return test(cx, spec, &param);
    }
    if cx.options.force {
        param.flag = ipset_flag::FORCE;
    }
    Ok(cx.client.set_ipset(&param)?)
}

fn test(cx: &mut Cx, spec: &Spec<'_>, param: &IpsetParam) -> Result<(), Failure> {
    let failed = |failure: Failure| failure.and("set test failed");
    let answer = cx.client.test_ipset(param);
    let answer = answer.map_err(|error| failed(Failure::from(error)))?;
    let (name, entry) = (&spec.name, spec.subject);
    let (is_in, text) = match (answer, cx.options.verbose) {
        (..0, _) => return Err(failed(Failure::code(ErrCode(answer)))),
        (0, false) => (false, "false\n".to_owned()),
        (0, true) => (false, format!("{entry} is NOT in set {name}\n")),
        (_, false) => (true, "true\n".to_owned()),
        (_, true) => (true, format!("{entry} is in set {name}\n")),
    };
    let value = json!({"name": name.text(), "entry": entry, "in": is_in});
    cx.out.emit(Record::new(text, value))
}

/// The set named in `base`.
fn one(cx: &Cx, base: &IpsetParam) -> Result<(IpsetInfo, Vec<IpsetMember>), Failure> {
    let sets = sets(cx, base)?;
    let missing = || Failure::code(ErrCode::NOTEXIST).and(&format!("no such set: {}", base.name));
    sets.into_iter().next().ok_or_else(missing)
}

fn sets(cx: &Cx, base: &IpsetParam) -> Result<Vec<(IpsetInfo, Vec<IpsetMember>)>, Failure> {
    let opcode = ipset_op::LIST;
    Ok(cx.client.ipsets(&IpsetParam { opcode, ..*base })?)
}

fn show(cx: &mut Cx, base: &IpsetParam) -> Result<(), Failure> {
    for (info, mut members) in sets(cx, base)? {
        if cx.options.verbose {
            text::sort(&info, &mut members);
        }
        let record = Record::new(text::set(&info, &members), text::value(&info, &members));
        cx.out.emit(record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
