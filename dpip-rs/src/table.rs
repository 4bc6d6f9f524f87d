//! What dpip understands, as data: the options, and for each object its
//! commands with their arguments and a word about each.
//!
//! Reading the command line, `help`, the manual page and the completions of
//! shells all come from here, so that they cannot disagree. Knows no message
//! and prints nothing; each object's own file holds its [`Object`].

use crate::Cx;
use crate::failure::Failure;

/// The command words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Create,
    Destroy,
    Enable,
    Disable,
    Add,
    Del,
    Set,
    Show,
    Replace,
    Flush,
    Test,
    Help,
}

/// Every word for a command, the usual one of each first.
pub(crate) const COMMAND_WORDS: [(&str, Command); 15] = [
    ("show", Command::Show),
    ("list", Command::Show),
    ("add", Command::Add),
    ("set", Command::Set),
    ("change", Command::Set),
    ("replace", Command::Replace),
    ("del", Command::Del),
    ("delete", Command::Del),
    ("flush", Command::Flush),
    ("create", Command::Create),
    ("destroy", Command::Destroy),
    ("enable", Command::Enable),
    ("disable", Command::Disable),
    ("test", Command::Test),
    ("help", Command::Help),
];

impl Command {
    /// The command that a whole word names.
    pub(crate) fn from_word(word: &str) -> Option<Command> {
        let found = COMMAND_WORDS.iter().find(|(full, _)| *full == word);
        found.map(|(_, command)| *command)
    }

    /// The usual word.
    pub(crate) fn word(self) -> &'static str {
        let found = COMMAND_WORDS.iter().find(|(_, command)| *command == self);
        found.map_or("", |(word, _)| word)
    }
}

/// An option, which may stand anywhere on the line.
#[derive(Debug)]
pub(crate) struct Opt {
    pub(crate) letter: char,
    /// Its long names; the first is the one to be shown.
    pub(crate) long: &'static [&'static str],
    /// What its value is called; empty if it takes none.
    pub(crate) value: &'static str,
    pub(crate) about: &'static str,
}

const fn switch(letter: char, long: &'static [&'static str], about: &'static str) -> Opt {
    Opt {
        letter,
        long,
        value: "",
        about,
    }
}

/// The options, in the order of the help.
pub(crate) const OPTIONS: [Opt; 15] = [
    switch('4', &[], "IPv4 only; the same as -f inet"),
    switch('6', &[], "IPv6 only; the same as -f inet6"),
    switch(
        'C',
        &["color"],
        "with -s and -i: alternate rounds in blue and green",
    ),
    Opt {
        letter: 'c',
        long: &["count"],
        value: "N",
        about: "with -i or -w: stop after N rounds",
    },
    switch(
        'F',
        &["force"],
        "ipset: adding what is there, or removing what is not, is no error",
    ),
    Opt {
        letter: 'f',
        long: &["family"],
        value: "inet|inet6",
        about: "the address family",
    },
    switch(
        'h',
        &["help"],
        "this text; with an object, that object's; exit status 1",
    ),
    Opt {
        letter: 'i',
        long: &["interval"],
        value: "SECS",
        about: "with -s: rates over so many seconds, again and again; with -w: time between rounds",
    },
    switch(
        'j',
        &["json"],
        "listings as one JSON array, on standard output",
    ),
    switch(
        'o',
        &["oneline"],
        "one line an entry, with a backslash where its lines end",
    ),
    switch('p', &["pretty"], "with -j: indented"),
    switch('s', &["stats", "statistics"], "show statistics"),
    switch('v', &["verbose"], "say more"),
    switch('V', &["version"], "print the version and exit"),
    switch(
        'w',
        &["watch"],
        "show again and again, every second or as -i says; link and cpu show rates",
    ),
];

/// One argument of a command.
#[derive(Debug)]
pub(crate) struct Arg {
    pub(crate) need: bool,
    /// The keyword; empty for a positional argument.
    pub(crate) key: &'static str,
    /// Other spellings of the keyword.
    pub(crate) also: &'static [&'static str],
    /// What the value is called, or the words it may be; empty for none.
    pub(crate) value: &'static str,
}

const fn arg(need: bool, key: &'static str, value: &'static str) -> Arg {
    Arg {
        need,
        key,
        also: &[],
        value,
    }
}

/// A positional argument.
pub(crate) const fn pos(value: &'static str) -> Arg {
    arg(true, "", value)
}

/// A positional argument that may be left out.
pub(crate) const fn opt_pos(value: &'static str) -> Arg {
    arg(false, "", value)
}

/// A keyword with its value.
pub(crate) const fn key(key: &'static str, value: &'static str) -> Arg {
    arg(true, key, value)
}

/// A keyword with its value that may be left out.
pub(crate) const fn opt(key: &'static str, value: &'static str) -> Arg {
    arg(false, key, value)
}

/// A keyword without value.
pub(crate) const fn flag(key: &'static str) -> Arg {
    arg(false, key, "")
}

/// A keyword without value that must be there.
pub(crate) const fn flag_needed(key: &'static str) -> Arg {
    arg(true, key, "")
}

impl Arg {
    /// The same argument with other spellings.
    pub(crate) const fn also(self, also: &'static [&'static str]) -> Arg {
        Arg { also, ..self }
    }

    /// The keyword with its other spellings.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let own = (!self.key.is_empty()).then_some(self.key);
        own.into_iter().chain(self.also.iter().copied())
    }

    /// As it stands in a usage line.
    pub(crate) fn syntax(&self) -> String {
        let keys = self.keys().collect::<Vec<_>>().join("|");
        let parts = [keys.as_str(), self.value];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if self.need {
            parts.join(" ")
        } else {
            format!("[{}]", parts.join(" "))
        }
    }
}

/// One way to use a command; a command may have several.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) command: Command,
    pub(crate) args: &'static [Arg],
    /// What it does, as a sentence.
    pub(crate) about: &'static str,
}

/// What a command of an object does.
pub(crate) type Run = fn(&mut Cx, Command, &[String]) -> Result<(), Failure>;

/// An object of the command line.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    /// What it is, without a full stop.
    pub(crate) about: &'static str,
    /// Whether keywords may be shortened: not where a positional argument is a
    /// name that somebody chose.
    pub(crate) short_keys: bool,
    /// The ways to use it, listings first.
    pub(crate) rows: &'static [Row],
    /// What the names of values mean; alternatives have ` | ` between them.
    pub(crate) terms: &'static [(&'static str, &'static str)],
    /// Whole sentences about all of it, one a line.
    pub(crate) notes: &'static str,
    pub(crate) run: Run,
}

impl Object {
    /// The command that `word` names or begins: of those that this object has,
    /// the first in the order of the table, as in iproute2.
    ///
    /// DIFFERS: C dpip takes whole words only.
    pub(crate) fn command(&self, word: &str) -> Option<Command> {
        if let Some(command) = Command::from_word(word) {
            return Some(command);
        }
        let own = self.rows.iter().map(|row| row.command);
        let words = own.chain([Command::Help]).flat_map(|command| {
            let words = COMMAND_WORDS.iter().filter(move |(_, c)| *c == command);
            words.copied()
        });
        first(word, words)
    }

    /// The keyword that `word` is, or begins where that is allowed.
    pub(crate) fn keyword(&self, word: &str) -> Option<&'static str> {
        let args = || self.rows.iter().flat_map(|row| row.args);
        let exact = args().find(|arg| arg.keys().any(|known| known == word));
        if let Some(arg) = exact {
            return Some(arg.key);
        }
        if !self.short_keys || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        first(
            word,
            args().flat_map(|arg| arg.keys().map(move |known| (known, arg.key))),
        )
    }
}

/// The value of the first word that begins with `begin`; of none if that is empty.
pub(crate) fn first<T>(
    begin: &str,
    words: impl IntoIterator<Item = (&'static str, T)>,
) -> Option<T> {
    let mut words = words.into_iter();
    let found = words.find(|(word, _)| !begin.is_empty() && word.starts_with(begin));
    found.map(|(_, value)| value)
}

/// The words that a value may be, of `a|b|VALUE` or of the terms behind its name.
pub(crate) fn choices(object: &Object, value: &'static str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for part in value.split(['|', ' ', '{', '}', '[', ']', ',']) {
        let term = object.terms.iter().find(|(name, _)| *name == part);
        match term {
            Some((_, text)) if text.contains(" | ") => {
                words.extend(text.split(" | ").filter(|word| is_word(word)));
            }
            _ => words.extend(Some(part).filter(|word| is_word(word))),
        }
    }
    words
}

/// Whether this is to be typed as it is: no name of a value, no explanation.
fn is_word(word: &str) -> bool {
    let plain = |byte: u8| !byte.is_ascii_uppercase() && !byte.is_ascii_whitespace();
    word.bytes().any(|byte| byte.is_ascii_lowercase()) && word.bytes().all(plain)
}

#[cfg(test)]
mod tests;
