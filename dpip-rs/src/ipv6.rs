//! `dpip ipv6`: the IPv6 counters, summed and for each lcore.
//!
//! Knows the message of IPv6 counters and its text form.

use std::fmt::Write as _;

use dpvs_ctl::msg::{InetStats, Ip6Stats};
use serde_json::{Map, Value, json};

use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, flag, opt};
use crate::words::{Word, Words};

pub(crate) const OBJECT: Object = Object {
    name: "ipv6",
    about: "IPv6 counters",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: &[flag("total"), flag("all"), opt("cpu", "N")],
        about: "Show the IPv6 counters: their sum, the sum and those of every lcore, or those \
                of one lcore.",
    }],
    terms: &[],
    notes: "",
    run,
};

/// Which counters are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Total,
    All,
    Cpu(usize),
}

/// Does an `ipv6` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let which = parse(words).map_err(|failure| failure.at("parse"))?;
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let stats = cx.client.ip6_stats()?;
    for record in records(&stats, which) {
        cx.out.emit(record)?;
    }
    Ok(())
}

fn parse(words: &[String]) -> Result<Which, Failure> {
    let mut which = Which::Total;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        which = match word {
            Word::Key("total") => Which::Total,
            Word::Key("all") => Which::All,
            Word::Key(key @ "cpu") => {
                let id = words.value(key)?;
                match id.parse() {
                    Ok(cpu) if cpu < dpvs_ctl::msg::LCORE_SLOTS => Which::Cpu(cpu),
                    _ => return Err(Failure::invalid(format!("bad cpu id `{id}'"))),
                }
            }
            Word::Key(other) | Word::Other(other) => {
                return Err(Failure::invalid(format!("unknow argument `{other}'")));
            }
        };
    }
    Ok(which)
}

fn records(stats: &Ip6Stats, which: Which) -> Vec<Record> {
    let mut records = Vec::new();
    match which {
        Which::Total => records.push(record("", "total", &stats.total)),
        Which::All => records.push(record("All\n", "total", &stats.total)),
        Which::Cpu(_) => {}
    }
    for (cpu, stats) in stats.lcores.iter().enumerate() {
        if which == Which::All || which == Which::Cpu(cpu) {
            records.push(record(&format!("cpu {cpu}\n"), &cpu.to_string(), stats));
        }
    }
    records
}

/// A block of counters, indented if it has a title.
fn record(title: &str, lcore: &str, stats: &InetStats) -> Record {
    let indent = if title.is_empty() { "" } else { "    " };
    let mut text = title.to_owned();
    let mut values = Map::new();
    values.insert("lcore".to_owned(), json!(lcore));
    for (label, value) in counters(stats) {
        let _ = writeln!(text, "{indent}{label:<18} {value}");
        values.insert(label.trim_end_matches(':').to_owned(), json!(value));
    }
    Record::new(text, Value::Object(values))
}

fn counters(stats: &InetStats) -> [(&'static str, u64); 35] {
    [
        ("InReceives:", stats.inpkts),
        ("InOctets:", stats.inoctets),
        ("InDelivers:", stats.indelivers),
        ("OutForwDatagrams:", stats.outforwdatagrams),
        ("OutRequests:", stats.outpkts),
        ("OutOctets:", stats.outoctets),
        ("InHdrErrors:", stats.inhdrerrors),
        ("InTooBigErrors:", stats.intoobigerrors),
        ("InNoRoutes:", stats.innoroutes),
        ("InAddrErrors:", stats.inaddrerrors),
        ("InUnknownProtos:", stats.inunknownprotos),
        ("InTruncatedPkts:", stats.intruncatedpkts),
        ("InDiscards:", stats.indiscards),
        ("OutDiscards:", stats.outdiscards),
        ("OutNoRoutes:", stats.outnoroutes),
        ("ReasmTimeout:", stats.reasmtimeout),
        ("ReasmReqds:", stats.reasmreqds),
        ("ReasmOKs:", stats.reasmoks),
        ("ReasmFails:", stats.reasmfails),
        ("FragOKs:", stats.fragoks),
        ("FragFails:", stats.fragfails),
        ("FragCreates:", stats.fragcreates),
        ("InMcastPkts:", stats.inmcastpkts),
        ("OutMcastPkts:", stats.outmcastpkts),
        ("InBcastPkts:", stats.inbcastpkts),
        ("OutBcastPkts:", stats.outbcastpkts),
        ("InMcastOctets:", stats.inmcastoctets),
        ("OutMcastOctets:", stats.outmcastoctets),
        ("InBcastOctets:", stats.inbcastoctets),
        ("OutBcastOctets:", stats.outbcastoctets),
        ("InCsumErrors:", stats.csumerrors),
        ("InNoECTPkts:", stats.noectpkts),
        ("InECT1Pkts:", stats.ect1pkts),
        ("InECT0Pkts:", stats.ect0pkts),
        ("InCEPkts:", stats.cepkts),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn which_counters() {
        assert_eq!(parse(&[]).unwrap(), Which::Total);
        assert_eq!(parse(&words(&["all"])).unwrap(), Which::All);
        assert_eq!(parse(&words(&["cpu", "63"])).unwrap(), Which::Cpu(63));
        for (given, line) in [
            (&["cpu", "64"][..], "bad cpu id `64'"),
            (&["cpu", "x"], "bad cpu id `x'"),
            (&["some"], "unknow argument `some'"),
            (&["cpu"], "missing argument for `cpu'"),
        ] {
            let failure = parse(&words(given)).unwrap_err().at("parse");
            assert_eq!(
                failure.lines("dpip"),
                [line, "dpip: parse: invalid parameter"]
            );
        }
    }

    #[test]
    fn blocks_are_titled_and_indented() {
        let count = |inpkts| InetStats {
            inpkts,
            ..InetStats::default()
        };
        let stats = Ip6Stats {
            total: count(12),
            lcores: (0..64).map(count).collect(),
        };
        let text = |stats: &Ip6Stats, which| {
            let records = records(stats, which);
            records.iter().map(|r| r.text()).collect::<String>()
        };
        let total = text(&stats, Which::Total);
        assert!(
            total.starts_with("InReceives:        12\nInOctets:          0\n"),
            "{total}"
        );
        assert_eq!(total.lines().count(), 35);
        let one = text(&stats, Which::Cpu(5));
        assert!(
            one.starts_with("cpu 5\n    InReceives:        5\n"),
            "{one}"
        );
        assert_eq!(one.lines().count(), 36);
        let all = text(&stats, Which::All);
        assert!(all.starts_with("All\n    InReceives:        12\n"), "{all}");
        assert_eq!(all.lines().count(), 65 * 36);
    }
}
