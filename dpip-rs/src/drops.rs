//! `dpip drop`: packets that workers dropped, by reason. Our own; the C daemon
//! does not tell.
//!
//! Knows the message and its table.

use dpvs_ctl::msg::DropCount;
use serde_json::json;

use crate::Cx;
use crate::failure::Failure;
use crate::flow::untold;
use crate::out::Record;
use crate::table::{Command, Object, Row, flag, opt};
use crate::words::{Word, Words, number};

pub(crate) const OBJECT: Object = Object {
    name: "drop",
    about: "packets dropped, by reason",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: &[opt("cpu", "N"), flag("total")],
        about: "List how many packets each worker dropped for which reason; of one worker, or \
                summed over all.",
    }],
    terms: &[],
    notes: "Reasons that never occurred are left out, or shown with -v.",
    run,
};

/// Which counts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Cpu(u8),
    Total,
}

/// Does a `drop` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let which = parse(words)?;
    let mut counts = cx.client.drops().map_err(untold)?;
    match which {
        Which::All => {}
        Which::Cpu(cpu) => counts.retain(|count| count.cid == cpu),
        Which::Total => counts = summed(&counts),
    }
    if !cx.options.verbose {
        counts.retain(|count| count.count > 0);
    }
    cx.out.heading(&format!(
        "{:<6} {:<20} {:>20}\n",
        "cpu", "reason", "packets"
    ))?;
    for DropCount { cid, count, reason } in counts {
        let (cpu, value) = match which {
            Which::Total => ("all".to_owned(), json!("all")),
            _ => (format!("cpu{cid}"), json!(cid)),
        };
        let text = format!("{cpu:<6} {reason:<20} {count:>20}\n");
        let value = json!({"cpu": value, "reason": reason.text(), "packets": count});
        cx.out.emit(Record::new(text, value))?;
    }
    Ok(())
}

fn parse(words: &[String]) -> Result<Which, Failure> {
    let mut which = Which::All;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        which = match word {
            Word::Key("total") => Which::Total,
            Word::Key(key @ "cpu") => Which::Cpu(number(key, words.value(key)?)?),
            Word::Key(other) | Word::Other(other) => {
                return Err(Failure::invalid(format!("unknown argument: {other}")));
            }
        };
    }
    Ok(which)
}

/// One count a reason, in the order in which they first come.
fn summed(counts: &[DropCount]) -> Vec<DropCount> {
    let mut sums: Vec<DropCount> = Vec::new();
    for count in counts {
        match sums.iter_mut().find(|sum| sum.reason == count.reason) {
            Some(sum) => sum.count = sum.count.saturating_add(count.count),
            None => sums.push(*count),
        }
    }
    sums
}
