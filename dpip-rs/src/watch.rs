//! `-w`: a listing again and again, on a screen of its own each time. Links and
//! lcores show rates instead of their state.
//!
//! Knows no listing; `link` makes the rates.

use std::io::{IsTerminal as _, stdout};
use std::thread;
use std::time::Duration;

use crate::Cx;
use crate::failure::Failure;
use crate::link;
use crate::table::{Command, Object};

/// Shows until the count is reached, or for ever.
pub(crate) fn rounds(
    cx: &mut Cx,
    object: &'static Object,
    command: Command,
    words: &[String],
) -> Result<(), Failure> {
    if command != Command::Show {
        return Err(Failure::invalid(format!(
            "-w repeats `show', not `{}': leave one of them out",
            command.word()
        )));
    }
    let pause = Duration::from_secs(cx.options.interval.unwrap_or(1));
    // Rates over an interval are what -w shows by itself.
    cx.options.interval = None;
    let screen = stdout().is_terminal() && !cx.options.json;
    let mut rates = match object.name {
        "link" => Some(link::Rates::start(cx, words)?),
        _ => None,
    };
    let mut round = 0;
    loop {
        cx.out.begin_listing();
        if rates.is_some() {
            thread::sleep(pause);
        }
        if screen {
            cx.out.print("\x1b[H\x1b[2J")?;
        } else if round > 0 && !cx.options.json {
            cx.out.print("\n")?;
        }
        let done = match &mut rates {
            Some(rates) => rates.round(cx),
            None => (object.run)(cx, command, words),
        };
        let ended = cx.out.end_listing(done.is_ok());
        done.and(ended)?;
        round += 1;
        if cx.options.count.is_some_and(|count| round >= count) {
            return Ok(());
        }
        if rates.is_none() {
            thread::sleep(pause);
        }
    }
}
