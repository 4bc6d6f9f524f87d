//! Rates: two samples an interval apart, and the difference per second, round
//! after round, for one device or lcore or for many.
//!
//! Knows neither ports nor lcores: what a sample is, how it is taken and how a
//! difference reads are given to it.

use std::thread;
use std::time::Duration;

use dpvs_ctl::{Client, CtlError};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Options;
use crate::failure::Failure;
use crate::out::Record;

/// Something that is sampled.
#[derive(Debug)]
pub(super) struct Target<K> {
    pub(super) key: K,
    /// What it is called in JSON: the key, and the value.
    pub(super) name: (&'static str, Value),
    /// What stands above its rates.
    pub(super) title: String,
}

/// How a sample is taken, and how two of them, so many seconds apart, read.
pub(super) struct Meter<K, S> {
    pub(super) sample: fn(&Client, &K) -> Result<S, CtlError>,
    pub(super) rates: fn(&S, &S, u64) -> (String, Value),
}

/// Prints rates until the count is reached, or for ever.
///
/// DIFFERS: of several targets, all are sampled in each round, where the C tool
/// stays with the first until its rounds are done (for ever without `-c`).
pub(super) fn rounds<K, S>(
    cx: &mut Cx,
    interval: u64,
    targets: &[Target<K>],
    meter: &Meter<K, S>,
) -> Result<(), Failure> {
    if targets.is_empty() {
        return Ok(());
    }
    let sample = |cx: &Cx| -> Result<Vec<S>, Failure> {
        targets
            .iter()
            .map(|target| Ok((meter.sample)(&cx.client, &target.key)?))
            .collect()
    };
    let mut round = 0;
    while cx.options.count.is_none_or(|count| round < count) {
        round += 1;
        let before = sample(cx)?;
        let plain = !cx.options.json && !cx.options.oneline;
        if plain && round == 1 && targets.len() == 1 {
            titles(cx, targets)?;
        }
        cx.out.flush()?;
        thread::sleep(Duration::from_secs(interval));
        let after = sample(cx)?;
        for ((target, before), after) in targets.iter().zip(&before).zip(&after) {
            let (text, value) = (meter.rates)(before, after, interval);
            let mut text = coloured(&cx.options, round, text);
            if cx.options.oneline {
                text = format!("{}{text}", target.title);
            }
            let (key, name) = &target.name;
            let mut record = Record::new(text, json!({*key: name, "rates": value}));
            if targets.len() > 1 {
                record = record.under(&target.title);
            }
            cx.out.emit(record)?;
        }
        cx.out.end_listing(true)?;
    }
    Ok(())
}

/// Prints what stands above the rates.
fn titles<K>(cx: &mut Cx, targets: &[Target<K>]) -> Result<(), Failure> {
    targets
        .iter()
        .try_for_each(|target| cx.out.print(&target.title))
}

/// Odd rounds in blue, even ones in green, if colours are wanted.
fn coloured(options: &Options, round: u64, text: String) -> String {
    match (options.color, round % 2) {
        (false, _) => text,
        (true, 1) => format!("\x1b[34m{text}\x1b[0m"),
        (true, _) => format!("\x1b[32m{text}\x1b[0m"),
    }
}

/// The difference of two counters per second, in whole numbers. A counter that
/// went back (the daemon was started again) counts from zero.
pub(super) fn rate(before: u64, after: u64, seconds: u64) -> u64 {
    let grown = after.checked_sub(before).unwrap_or(after);
    grown / seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_and_never_negative() {
        assert_eq!(rate(100, 207, 2), 53);
        assert_eq!(rate(100, 30, 3), 10);
        assert_eq!(rate(0, u64::MAX, 1), u64::MAX);
        assert_eq!(rate(5, 9, 0), 4);
    }

    #[test]
    fn colours_alternate() {
        let mut options = Options::default();
        assert_eq!(coloured(&options, 1, "x\n".to_owned()), "x\n");
        options.color = true;
        assert_eq!(
            coloured(&options, 1, "x\n".to_owned()),
            "\x1b[34mx\n\x1b[0m"
        );
        assert_eq!(
            coloured(&options, 2, "x\n".to_owned()),
            "\x1b[32mx\n\x1b[0m"
        );
    }
}
