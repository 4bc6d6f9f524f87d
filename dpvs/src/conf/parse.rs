//! From text to [`Conf`]: walks the lines, keeps the stack of open blocks,
//! follows includes, and collects every error before giving up.
//!
//! Knows files and diagnostics; what a keyword takes is in schema.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diag::{Diag, Severity, nearest};
use super::lex::{self, Token};
use super::model::Conf;
use super::past::past;
use super::schema::{Draft, Keyword, Kind, ROOT};
use super::values::take;

/// Largest file read.
const FILE_MAX: u64 = 16 << 20;
/// Includes within includes.
const DEPTH_MAX: usize = 16;
/// Files read in all: bounds what a chain of doubling includes can cost.
const FILES_MAX: usize = 256;
/// Errors after which reading stops.
const ERRORS_MAX: usize = 100;

/// A configuration that was read without error.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The values.
    pub conf: Conf,
    /// Paths of the keywords that stood in the file, like `global_defs/kni`.
    pub given: BTreeSet<String>,
    /// Things that were ignored.
    pub warnings: Vec<Diag>,
    /// Keywords that were accepted although their feature does not exist yet:
    /// one sentence each.
    pub pending: Vec<String>,
}

/// Everything that is wrong with a configuration. Never empty of errors.
#[derive(Clone, Debug)]
pub struct ConfErrors(pub Vec<Diag>);

impl std::fmt::Display for ConfErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for diag in &self.0 {
            writeln!(f, "{diag}\n")?;
        }
        let errors = self
            .0
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        write!(
            f,
            "{errors} error{} in the configuration",
            if errors == 1 { "" } else { "s" }
        )
    }
}

impl std::error::Error for ConfErrors {}

struct Open {
    key: &'static Keyword,
    /// Its part of the path: name and label.
    name: String,
    opener: Diag,
    /// A lone `{` on the next line still belongs to it.
    braced: bool,
}

struct Reader {
    draft: Draft,
    stack: Vec<Open>,
    files: Vec<PathBuf>,
    files_read: usize,
    diags: Vec<Diag>,
    errors: usize,
    given: BTreeSet<String>,
    pending: BTreeMap<String, String>,
}

/// Where the reader stands.
struct Place<'a> {
    file: &'a Path,
    line: usize,
    text: &'a str,
}

impl Place<'_> {
    fn diag(
        &self,
        severity: Severity,
        token: Option<&Token>,
        message: String,
        help: Option<String>,
    ) -> Diag {
        Diag {
            severity,
            file: self.file.to_owned(),
            line: self.line,
            column: token.map_or(1, |t| t.column),
            width: token.map_or(1, |t| t.width),
            text: self.text.to_owned(),
            message,
            help,
        }
    }
}

/// Reads a file and what it includes.
pub fn load(path: &Path) -> Result<Parsed, ConfErrors> {
    let mut reader = Reader::new();
    match read(path, false) {
        Ok(text) => reader.file(path, &text),
        Err(message) => {
            reader.push(Diag {
                severity: Severity::Error,
                file: path.to_owned(),
                line: 0,
                column: 0,
                width: 0,
                text: String::new(),
                message,
                help: Some("name the configuration file with -c FILE".into()),
            });
        }
    }
    reader.finish()
}

/// Reads a text as if it were the file `name`; includes are relative to it.
pub fn parse(name: &Path, text: &str) -> Result<Parsed, ConfErrors> {
    let mut reader = Reader::new();
    reader.file(name, text);
    reader.finish()
}

fn read(path: &Path, regular_only: bool) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("cannot read `{}`: {e}", path.display());
    if regular_only && !std::fs::metadata(path).map_err(cannot)?.is_file() {
        // A pipe would make the daemon wait for ever.
        return Err(format!(
            "cannot read `{}`: not a regular file",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(cannot)?
        .take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!(
            "`{}` is larger than {} MB",
            path.display(),
            FILE_MAX >> 20
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Reader {
    fn new() -> Reader {
        Reader {
            draft: Draft::new(Conf::default()),
            stack: Vec::new(),
            files: Vec::new(),
            files_read: 0,
            diags: Vec::new(),
            errors: 0,
            given: BTreeSet::new(),
            pending: BTreeMap::new(),
        }
    }

    fn finish(mut self) -> Result<Parsed, ConfErrors> {
        if self.errors > 0 {
            return Err(ConfErrors(self.diags));
        }
        // The C daemon halves an impossible reassembly limit.
        let v4 = &mut self.draft.conf.ipv4;
        let room = v4.frag_buckets.saturating_mul(v4.frag_bucket_entries);
        if v4.frag_max_entries > room {
            v4.frag_max_entries = (room / 2).max(1);
        }
        Ok(Parsed {
            conf: self.draft.conf,
            given: self.given,
            warnings: self.diags,
            pending: self.pending.into_values().collect(),
        })
    }

    fn push(&mut self, diag: Diag) {
        if self.errors >= ERRORS_MAX {
            return;
        }
        if diag.severity == Severity::Error {
            self.errors += 1;
        }
        let full = self.errors >= ERRORS_MAX;
        let file = diag.file.clone();
        self.diags.push(diag);
        if full {
            self.diags.push(Diag {
                severity: Severity::Error,
                file,
                line: 0,
                column: 0,
                width: 0,
                text: String::new(),
                message: "too many errors, the rest is not shown".into(),
                help: None,
            });
        }
    }

    fn keys(&self) -> &'static [Keyword] {
        self.stack.last().map_or(ROOT, |open| open.key.keys())
    }

    fn path(&self, last: &str) -> String {
        let mut path: Vec<&str> = self.stack.iter().map(|o| o.name.as_str()).collect();
        path.push(last);
        path.join("/")
    }

    fn file(&mut self, file: &Path, text: &str) {
        self.files.push(file.to_owned());
        self.files_read += 1;
        let base = self.stack.len();
        // Depth inside a block that nobody knows.
        let mut unknown = 0usize;
        // CR or LF ends a line; CRLF must not count as two. DIFFERS: a line
        // may be of any length (the C daemon cuts it at 1,024 bytes), and the
        // last one needs no line end (the C daemon loses it).
        let unified = text.replace("\r\n", "\n").replace('\r', "\n");
        for (n, line) in unified.split('\n').enumerate() {
            if self.errors >= ERRORS_MAX {
                break;
            }
            let at = Place {
                file,
                line: n + 1,
                text: line,
            };
            let cut = match lex::line(line) {
                Ok(cut) => cut,
                Err(e) => {
                    let token = Token {
                        text: String::new(),
                        column: e.column,
                        width: e.width,
                    };
                    let diag = at.diag(
                        Severity::Error,
                        Some(&token),
                        e.message.into(),
                        Some(e.help.into()),
                    );
                    self.push(diag);
                    continue;
                }
            };
            let Some((head, values)) = cut.tokens.split_first() else {
                if cut.notes {
                    // The C daemon aborts on such a line.
                    let diag = at.diag(
                        Severity::Error,
                        None,
                        "a line of nothing but `<...>`".into(),
                        Some(
                            "write the note beside a keyword, or make the line a comment with `#`"
                                .into(),
                        ),
                    );
                    self.push(diag);
                }
                continue;
            };
            if unknown > 0 {
                if head.text == "}" {
                    unknown -= 1;
                } else if cut.tokens.iter().any(|t| t.text == "{") {
                    unknown += 1;
                }
                continue;
            }
            match head.text.as_str() {
                "}" if self.stack.len() > base => self.close(),
                // An included file that ends the block it stands in: only the file ends.
                "}" if self.files.len() > 1 => break,
                "}" => {
                    // DIFFERS: the C daemon ignores it.
                    let diag = at.diag(
                        Severity::Error,
                        Some(head),
                        "`}` without an open block".into(),
                        Some("remove it, or look for a `{` that is missing above".into()),
                    );
                    self.push(diag);
                }
                "{" if self.stack.last().is_some_and(|o| !o.braced) => {
                    if let Some(open) = self.stack.last_mut() {
                        open.braced = true;
                    }
                }
                "include" => self.include(&at, head, values),
                _ => {
                    if !self.keyword(&at, head, values) && values.iter().any(|t| t.text == "{") {
                        unknown = 1;
                    }
                }
            }
        }
        while self.stack.len() > base {
            if let Some(open) = self.stack.last() {
                let mut diag = open.opener.clone();
                diag.message = format!("block `{}` is never closed", open.name);
                diag.help = Some("add a line with `}` where the block ends".into());
                self.push(diag);
            }
            self.close();
        }
        self.files.pop();
    }

    fn close(&mut self) {
        if let Some(open) = self.stack.pop()
            && let Kind::Block {
                label: Some(label), ..
            } = &open.key.kind
        {
            (label.close)(&mut self.draft);
        }
    }

    /// Handles a line that starts with `head`. False: nobody knows the keyword.
    fn keyword(&mut self, at: &Place<'_>, head: &Token, values: &[Token]) -> bool {
        let Some(key) = self.keys().iter().find(|k| k.name == head.text) else {
            let block = self.stack.last().map_or("", |open| open.key.name);
            if let Some(what) = past(block, &head.text) {
                let path = self.path(&head.text);
                self.say(
                    at,
                    &path,
                    &format!("is of an earlier DPVS and has no effect: {what}"),
                );
                return false;
            }
            let diag = self.unknown(at, head);
            self.push(diag);
            return false;
        };
        if let Kind::Block { label, .. } = &key.kind {
            let mut name = key.name.to_owned();
            let mut rest = values;
            if let Some(label) = label {
                match values.split_first() {
                    Some((token, tail)) if token.text != "{" && token.text != "}" => {
                        name = format!("{name} {}", token.text);
                        rest = tail;
                        if let Err(message) = (label.open)(&mut self.draft, &token.text) {
                            let diag = at.diag(Severity::Error, Some(token), message, None);
                            self.push(diag);
                        }
                    }
                    _ => {
                        let _ = (label.open)(&mut self.draft, "");
                        let diag = at.diag(
                            Severity::Error,
                            Some(head),
                            format!("`{}` needs a {}", key.name, label.what),
                            Some(format!("write `{} NAME {{`", key.name)),
                        );
                        self.push(diag);
                    }
                }
                if let Some(what) = key.pending {
                    self.note(at, key.name, what);
                }
            }
            if let Some(crowded) = rest
                .iter()
                .find(|t| t.text == "}" || key.keys().iter().any(|k| k.name == t.text))
            {
                // The C daemon ignores the rest of the line and takes the
                // following lines for the block's.
                let diag = at.diag(
                    Severity::Error,
                    Some(crowded),
                    format!("`{}` on the line that opens a block", crowded.text),
                    Some("one keyword a line; `}` stands on a line of its own".into()),
                );
                self.push(diag);
                if crowded.text == "}" {
                    return true;
                }
            }
            let opener = at.diag(Severity::Error, Some(head), String::new(), None);
            let braced = rest.iter().any(|t| t.text == "{");
            self.stack.push(Open {
                key,
                name,
                opener,
                braced,
            });
            return true;
        }
        self.given.insert(self.path(key.name));
        if let Err(bad) = take(&mut self.draft, key, values) {
            let token = if bad.token == 0 {
                Some(head)
            } else {
                values.get(bad.token - 1)
            };
            let diag = at.diag(
                Severity::Error,
                token,
                format!("{}: {}", self.path(key.name), bad.message),
                Some(bad.help),
            );
            self.push(diag);
        } else if let Some(what) = key.pending
            && missed(key, &mut self.draft)
        {
            self.note(at, &self.path(key.name), what);
        }
        true
    }

    fn note(&mut self, at: &Place<'_>, path: &str, what: &str) {
        let said = format!("is accepted and has no effect: {what} does not exist yet");
        self.say(at, path, &said);
    }

    /// A line for the log about a keyword, once for each of its paths.
    fn say(&mut self, at: &Place<'_>, path: &str, said: &str) {
        self.pending
            .entry(path.to_owned())
            .or_insert_with(|| format!("{}:{}: `{path}` {said}", at.file.display(), at.line));
    }

    fn unknown(&self, at: &Place<'_>, head: &Token) -> Diag {
        let keys = self.keys();
        let place = match self.stack.last() {
            Some(open) => format!("in block `{}`", open.name),
            None => "at the top level".to_owned(),
        };
        let names = || keys.iter().map(|k| k.name);
        let help = if let Some(near) = nearest(&head.text, names()) {
            format!("did you mean `{near}`?")
        } else if let Some(home) = home_of(&head.text) {
            format!("`{}` belongs {home}", head.text)
        } else {
            format!("known here: {}", names().collect::<Vec<_>>().join(", "))
        };
        let message = if head.text == "{" {
            "`{` that opens nothing".to_owned()
        } else {
            format!("unknown keyword `{}` {place}", head.text)
        };
        at.diag(Severity::Error, Some(head), message, Some(help))
    }

    fn include(&mut self, at: &Place<'_>, head: &Token, values: &[Token]) {
        let error = |token: &Token, message: String, help: &str| {
            at.diag(Severity::Error, Some(token), message, Some(help.to_owned()))
        };
        let warning = |token: &Token, message: String| {
            at.diag(
                Severity::Warning,
                Some(token),
                message,
                Some("nothing is included".to_owned()),
            )
        };
        let [pattern] = values else {
            let diag = error(
                values.get(1).unwrap_or(head),
                "`include` takes exactly one file name or pattern".into(),
                "write `include FILE`; several files are named by a pattern like conf.d/*.conf",
            );
            self.push(diag);
            return;
        };
        if self.files.len() >= DEPTH_MAX || self.files_read >= FILES_MAX {
            let diag = error(
                pattern,
                format!("includes nested deeper than {DEPTH_MAX} or more than {FILES_MAX} files"),
                "look for files that include each other",
            );
            self.push(diag);
            return;
        }
        let whole = at
            .file
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .join(&pattern.text);
        let Some(glob) = whole.to_str().and_then(|p| glob::glob(p).ok()) else {
            let diag = error(
                pattern,
                format!("`{}` is no file pattern", pattern.text),
                "a name with `*`, `?` and `[...]`",
            );
            self.push(diag);
            return;
        };
        let mut found = false;
        for entry in glob.take(FILES_MAX) {
            let path = match entry {
                Ok(path) => path,
                Err(e) => {
                    let diag = warning(
                        pattern,
                        format!("cannot read `{}`: {}", e.path().display(), e.error()),
                    );
                    self.push(diag);
                    continue;
                }
            };
            found = true;
            let real = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_owned());
            if self.files.iter().any(|f| real(f) == real(&path)) {
                let diag = error(
                    pattern,
                    format!("`{}` includes itself", path.display()),
                    "remove one of the include lines of the loop",
                );
                self.push(diag);
                continue;
            }
            if self.files_read >= FILES_MAX {
                let diag = error(
                    pattern,
                    format!("more than {FILES_MAX} files are included"),
                    "look for files that include each other",
                );
                self.push(diag);
                return;
            }
            match read(&path, true) {
                Ok(text) => self.file(&path, &text),
                Err(message) => {
                    let diag = warning(pattern, message);
                    self.push(diag);
                }
            }
        }
        if !found {
            let diag = warning(pattern, format!("no file matches `{}`", whole.display()));
            self.push(diag);
        }
    }
}

/// Where in the tree a keyword stands, in words.
fn home_of(name: &str) -> Option<String> {
    fn walk(keys: &'static [Keyword], name: &str, path: &mut Vec<&'static str>) -> Option<String> {
        for key in keys {
            if key.name == name {
                return Some(if path.is_empty() {
                    "to the top level".to_owned()
                } else {
                    format!("into `{}`", path.join("/"))
                });
            }
            path.push(key.name);
            if let Some(found) = walk(key.keys(), name, path) {
                return Some(found);
            }
            path.pop();
        }
        None
    }
    walk(ROOT, name, &mut Vec::new())
}

/// Whether a value asks for more than what holds anyway, or than nothing.
fn missed(key: &Keyword, draft: &mut Draft) -> bool {
    let value = key.show(draft);
    let without = ["off", "none", "0"].contains(&value.as_str());
    value != key.show(&mut Draft::new(Conf::default())) && !without
}
