//! Cuts words into options the way popt does: `-Ln`, `-tADDR`, `-t=ADDR`,
//! `--opt value`, `--opt=value`, other words anywhere, `--` ends the options.

use super::options::{Key, SPECS, Spec, Value};

/// Why a word is no option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    Unknown,
    MissingValue,
    UnwantedValue,
}

impl ScanError {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown option",
            Self::MissingValue => "missing argument",
            Self::UnwantedValue => "option does not take an argument",
        }
    }
}

/// Reads options one by one.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    argv: &'a [String],
    next: usize,
    /// What is left of a word of several letters.
    cluster: &'a str,
    words: Vec<&'a str>,
    only_words: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner of the words behind the program's name.
    pub(super) fn new(argv: &'a [String]) -> Self {
        Self {
            argv,
            next: 0,
            cluster: "",
            words: Vec::new(),
            only_words: false,
        }
    }

    /// The word read last, for messages.
    pub(super) fn last_word(&self) -> &'a str {
        self.next
            .checked_sub(1)
            .and_then(|i| self.argv.get(i))
            .map_or("", String::as_str)
    }

    /// The words that are no options, in order.
    pub(super) fn words(&self) -> &[&'a str] {
        &self.words
    }

    /// The next option and its value. `dest_command` chooses among the
    /// meanings of a letter.
    pub(super) fn next(
        &mut self,
        dest_command: bool,
    ) -> Option<Result<(Key, Option<&'a str>), ScanError>> {
        if self.cluster.is_empty() {
            loop {
                let word = self.argv.get(self.next)?.as_str();
                self.next += 1;
                if self.only_words || word == "-" || !word.starts_with('-') {
                    self.words.push(word);
                } else if word == "--" {
                    self.only_words = true;
                } else if let Some(long) = word.strip_prefix("--") {
                    return Some(self.long(long, dest_command));
                } else {
                    self.cluster = word.get(1..).unwrap_or("");
                    break;
                }
            }
        }
        Some(self.short(dest_command))
    }

    fn long(
        &mut self,
        text: &'a str,
        dest_command: bool,
    ) -> Result<(Key, Option<&'a str>), ScanError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let spec = find(dest_command, |s| s.long == name).ok_or(ScanError::Unknown)?;
        match (spec.value(), value) {
            (Value::None, Some(_)) => Err(ScanError::UnwantedValue),
            (Value::None, None) => Ok((spec.key, None)),
            (_, Some(value)) => Ok((spec.key, Some(value))),
            (_, None) => self.value_of(spec),
        }
    }

    fn short(&mut self, dest_command: bool) -> Result<(Key, Option<&'a str>), ScanError> {
        let mut chars = self.cluster.chars();
        let letter = chars.next().ok_or(ScanError::Unknown)?;
        let rest = chars.as_str();
        self.cluster = "";
        let spec = find(dest_command, |s| s.short == Some(letter)).ok_or(ScanError::Unknown)?;
        if spec.value() == Value::None {
            if rest.starts_with('=') {
                return Err(ScanError::UnwantedValue);
            }
            self.cluster = rest;
            return Ok((spec.key, None));
        }
        if rest.is_empty() {
            return self.value_of(spec);
        }
        Ok((spec.key, Some(rest.strip_prefix('=').unwrap_or(rest))))
    }

    /// The value in the next word.
    fn value_of(&mut self, spec: &Spec) -> Result<(Key, Option<&'a str>), ScanError> {
        let word = self.argv.get(self.next).map(String::as_str);
        let word = match spec.value() {
            Value::Optional => word.filter(|w| !w.starts_with('-')),
            _ => Some(word.ok_or(ScanError::MissingValue)?),
        };
        if word.is_some() {
            self.next += 1;
        }
        Ok((spec.key, word))
    }
}

/// The option that is meant. A long name is clear by itself; only the letter
/// `-b` depends on the command, and there its long names do too.
fn find(dest_command: bool, is: impl Fn(&Spec) -> bool) -> Option<&'static Spec> {
    let mut specs = SPECS.iter().filter(|s| is(s));
    let first = specs.next()?;
    let fits = |s: &Spec| s.in_dest_commands.is_none_or(|only| only == dest_command);
    if fits(first) {
        Some(first)
    } else {
        specs.find(|s| fits(s)).or(Some(first))
    }
}
