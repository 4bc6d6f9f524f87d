//! The command line: options anywhere on the line, then OBJECT, COMMAND and
//! the words that belong to the object.
//!
//! The rules are those of GNU `getopt_long` with permutation (clustered short
//! options, abbreviated long ones, `--` ends them), because scripts written for
//! the C tool count on them. Knows no object and prints nothing: every outcome
//! is a value, and `main` says it.

use std::fmt;
use std::slice::Iter;

use crate::table::{OPTIONS, Opt};

/// Address family asked for with `-4`, `-6` or `-f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Family {
    /// None given: guess from the address, or take all.
    #[default]
    Unspec,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Unspec => "unspec",
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        })
    }
}

/// What the options before, between and after the words said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) verbose: bool,
    pub(crate) stats: bool,
    pub(crate) color: bool,
    pub(crate) help: bool,
    pub(crate) force: bool,
    pub(crate) json: bool,
    pub(crate) pretty: bool,
    pub(crate) oneline: bool,
    pub(crate) watch: bool,
    pub(crate) family: Family,
    /// Seconds between two samples.
    pub(crate) interval: Option<u64>,
    /// How many samples to print; endless without it.
    pub(crate) count: Option<u64>,
}

/// A command line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    pub(crate) options: Options,
    /// The words that are not options, in order: OBJECT, COMMAND, arguments.
    pub(crate) words: Vec<String>,
}

impl Line {
    /// The word of that number.
    pub(crate) fn word(&self, number: usize) -> Option<&str> {
        self.words.get(number).map(String::as_str)
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Nothing at all was given.
    Nothing,
    /// `-V`.
    Version,
    /// Words to act on (possibly none).
    Line(Line),
}

/// Why a command line cannot be understood; `Display` is the text for stderr,
/// each line to be printed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// An option nobody knows, or one used wrongly: what is wrong, and the word.
    Option { problem: String, word: String },
    /// `-D`: in the option string of the C tool, but without a meaning.
    Refused { word: String },
    /// `-f` with something else than `inet` or `inet6`.
    Family,
    /// `-i` or `-c` with something that is no number.
    Number { what: &'static str, word: String },
}

impl Error {
    /// The lines for stderr. `prog` is the name the program goes by.
    ///
    /// DIFFERS: the C tool cuts its own name to what stands before the first
    /// slash (`.` or nothing) and names the word *after* the bad option.
    pub(crate) fn lines(&self, prog: &str) -> Vec<String> {
        match self {
            Error::Option { problem, word } => {
                vec![
                    format!("{prog}: {problem}"),
                    format!("Invalid option: {word}"),
                ]
            }
            Error::Refused { word } => vec![format!("Invalid option: {word}")],
            Error::Family => vec!["invalid family".to_owned()],
            Error::Number { what, word } => vec![format!("invalid {what}: '{word}' is no number")],
        }
    }
}

/// Takes the command line apart (without the program's own name).
///
/// # Errors
///
/// [`Error`] for an unknown option, a missing or a superfluous value.
pub(crate) fn parse(argv: &[String]) -> Result<Parsed, Error> {
    if argv.is_empty() {
        return Ok(Parsed::Nothing);
    }
    let mut line = Line::default();
    let mut rest = argv.iter();
    while let Some(word) = rest.next() {
        let version = if word == "--" {
            line.words.extend(rest.by_ref().cloned());
            false
        } else if word.starts_with("--") {
            long_option(&mut line.options, word, &mut rest)?
        } else if word.len() > 1 && word.starts_with('-') {
            short_options(&mut line.options, word, &mut rest)?
        } else {
            line.words.push(word.clone());
            false
        };
        if version {
            return Ok(Parsed::Version);
        }
    }
    Ok(Parsed::Line(line))
}

/// One `--name[=value]` word. `Ok(true)` is `--version`.
fn long_option(
    options: &mut Options,
    word: &str,
    rest: &mut Iter<'_, String>,
) -> Result<bool, Error> {
    let bad = |problem: String| Error::Option {
        problem,
        word: word.to_owned(),
    };
    let long = word.strip_prefix("--").unwrap_or(word);
    let (name, glued) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let (full, opt) = pick_long(name).map_err(bad)?;
    let value = match (opt.value.is_empty(), glued) {
        (true, None) => "",
        (true, Some(_)) => {
            return Err(bad(format!("option '--{full}' doesn't allow an argument")));
        }
        (false, Some(value)) => value,
        (false, None) => match rest.next() {
            Some(next) => next,
            None => return Err(bad(format!("option '--{full}' requires an argument"))),
        },
    };
    apply(options, opt.letter, value, word)
}

/// The long option that `name` means: exact, or the only one it begins.
fn pick_long(name: &str) -> Result<(&'static str, &'static Opt), String> {
    let all = OPTIONS
        .iter()
        .flat_map(|opt| opt.long.iter().map(move |full| (*full, opt)));
    let begins: Vec<(&str, &Opt)> = all.filter(|(full, _)| full.starts_with(name)).collect();
    if let Some(exact) = begins.iter().find(|(full, _)| *full == name) {
        return Ok(*exact);
    }
    match begins.as_slice() {
        [] => Err(format!("unrecognized option '--{name}'")),
        [first, others @ ..] if others.iter().all(|other| other.1.letter == first.1.letter) => {
            Ok(*first)
        }
        many => {
            let names: Vec<String> = many.iter().map(|(full, _)| format!("'--{full}'")).collect();
            Err(format!(
                "option '--{name}' is ambiguous; possibilities: {}",
                names.join(" ")
            ))
        }
    }
}

/// One `-xyz` word: a cluster of flags, the last of which may take a value.
/// `Ok(true)` is `-V`.
fn short_options(
    options: &mut Options,
    word: &str,
    rest: &mut Iter<'_, String>,
) -> Result<bool, Error> {
    let bad = |problem: String| Error::Option {
        problem,
        word: word.to_owned(),
    };
    let mut letters = word.chars();
    letters.next(); // the dash
    while let Some(letter) = letters.next() {
        let takes = match OPTIONS.iter().find(|opt| opt.letter == letter) {
            Some(opt) => !opt.value.is_empty(),
            None if letter == 'D' => false,
            None => return Err(bad(format!("invalid option -- '{letter}'"))),
        };
        if takes {
            let value = match (letters.as_str(), rest.as_slice().first()) {
                ("", Some(next)) => {
                    rest.next();
                    next
                }
                ("", None) => {
                    return Err(bad(format!("option requires an argument -- '{letter}'")));
                }
                (glued, _) => glued,
            };
            return apply(options, letter, value, word);
        }
        if apply(options, letter, "", word)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records one option. `Ok(true)` asks for the version at once.
fn apply(options: &mut Options, letter: char, value: &str, word: &str) -> Result<bool, Error> {
    match letter {
        'v' => options.verbose = true,
        'h' => options.help = true,
        'V' => return Ok(true),
        '4' => options.family = Family::Inet,
        '6' => options.family = Family::Inet6,
        'f' => {
            options.family = match value {
                "inet" => Family::Inet,
                "inet6" => Family::Inet6,
                _ => return Err(Error::Family),
            };
        }
        's' => options.stats = true,
        'i' => options.interval = seconds("interval", value)?,
        'c' => options.count = seconds("count", value)?,
        'C' => options.color = true,
        'F' => options.force = true,
        'j' => options.json = true,
        'o' => options.oneline = true,
        'p' => options.pretty = true,
        'w' => options.watch = true,
        _ => {
            return Err(Error::Refused {
                word: word.to_owned(),
            });
        }
    }
    Ok(false)
}

/// A whole number; 0 means "not given", as it does in the C tool.
///
/// DIFFERS: C takes any word and reads a non-number as 0.
fn seconds(what: &'static str, word: &str) -> Result<Option<u64>, Error> {
    match word.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(u64::from(number))),
        Err(_) => Err(Error::Number {
            what,
            word: word.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
