//! Help made from the table: the general one, and one an object.
//!
//! Pure; `lib` prints it.

use std::fmt::Write as _;

use crate::table::{Arg, OPTIONS, Object, Opt, Row};

/// Columns of a line.
const WIDTH: usize = 79;

/// `dpip -h`.
pub(crate) fn usage() -> String {
    let mut text = "Usage: dpip [OPTIONS] OBJECT COMMAND [ARGUMENTS]\nObjects:\n".to_owned();
    for object in crate::OBJECTS {
        let _ = writeln!(text, "  {:<9} {}", object.name, object.about);
    }
    text.push_str(
        "Commands: show (or list), add, del, set (or change), replace, flush, create,\n          \
         destroy, enable, disable, test, help; not every object has all\nOptions:\n",
    );
    for opt in &OPTIONS {
        let name = option(opt);
        if name.len() > 24 {
            let _ = writeln!(text, "  {name}");
            wrapped(&mut text, " ".repeat(26), 28, opt.about);
        } else {
            wrapped(&mut text, format!("  {name:<25}"), 28, opt.about);
        }
    }
    text.push_str(
        "Objects, commands, keywords and long options may be shortened.\n\
         The daemon's socket is /var/run/dpvs.ipc, or what DPVS_IPC_FILE names.\n\
         `dpip OBJECT help' explains an object, dpip(8) everything.\n",
    );
    text
}

/// An option with its names and its value.
fn option(opt: &Opt) -> String {
    let long = opt.long.iter().map(|long| format!("--{long}"));
    let names: Vec<String> = [format!("-{}", opt.letter)]
        .into_iter()
        .chain(long)
        .collect();
    let name = names.join(", ");
    if opt.value.is_empty() {
        name
    } else {
        format!("{name} {}", opt.value)
    }
}

/// `dpip OBJECT help`.
pub(crate) fn object(object: &Object) -> String {
    let mut text = String::new();
    for row in object.rows {
        let start = if text.is_empty() { "Usage:" } else { "" };
        let head = format!("{start:<7}dpip {} {}", object.name, row.command.word());
        let indent = head.len() + 1;
        let args: Vec<String> = row.args.iter().map(Arg::syntax).collect();
        wrapped_parts(&mut text, head, indent, args.iter().map(String::as_str));
        wrapped(&mut text, " ".repeat(11), 11, row.about);
    }
    let width = object.terms.iter().map(|(name, _)| name.len()).max();
    for (name, means) in object.terms {
        let start = format!("{name:<width$}", width = width.unwrap_or(0));
        let indent = start.len() + 2;
        wrapped(&mut text, start + " ", indent, means);
    }
    for note in object.notes.lines() {
        wrapped(&mut text, String::new(), 0, note);
    }
    text
}

/// The commands of an object, each once.
pub(crate) fn commands(object: &Object) -> Vec<&'static str> {
    let mut words = Vec::new();
    for Row { command, .. } in object.rows {
        if !words.contains(&command.word()) {
            words.push(command.word());
        }
    }
    words.push("help");
    words
}

fn wrapped(text: &mut String, start: String, indent: usize, words: &str) {
    wrapped_parts(text, start, indent, words.split(' '));
}

/// Appends parts with blanks between them, on as many lines as they need.
fn wrapped_parts<'a>(
    text: &mut String,
    start: String,
    indent: usize,
    parts: impl Iterator<Item = &'a str>,
) {
    let mut line = start;
    let mut empty = line.trim().is_empty();
    for part in parts {
        if !empty && line.len() + 1 + part.len() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(part);
        empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_fits_a_terminal() {
        let all = crate::OBJECTS.map(object).join("") + &usage();
        for line in all.lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn long_usages_are_continued_below_their_arguments() {
        let text = object(&crate::addr::OBJECT);
        assert!(
            text.contains("\n       dpip addr add ADDR[/PLEN] dev DEV [broadcast ADDR]"),
            "{text}"
        );
        assert!(text.contains("\n                     ["), "{text}");
    }

    #[test]
    fn commands_once_each() {
        assert_eq!(
            commands(&crate::vlan::OBJECT),
            ["show", "add", "del", "help"]
        );
    }
}
