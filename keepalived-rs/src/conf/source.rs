//! From files to logical lines: comments, includes, conditional lines,
//! definitions and repeated lines.
//!
//! Everything is bounded (depth of includes, expansions, total lines and
//! bytes), so that no file, however written, keeps the daemon busy. Knows
//! nothing of blocks or keywords.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diag::{Diags, Pos};
use super::lex;
use super::repeat::{repeat, replace_var};

/// A line after all text processing, where it came from, never empty.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) pos: Pos,
    pub(crate) text: String,
}

const MAX_DEPTH: usize = 16;
const MAX_LINES: usize = 400_000;
const MAX_FILES: usize = 10_000;
const MAX_FILE_BYTES: u64 = 64 << 20;
const MAX_LINE: usize = 1 << 16;

/// Reads a configuration with everything it includes.
pub(crate) struct Reader<'a> {
    config_id: &'a str,
    instance: &'a str,
    all_config: bool,
    diags: &'a mut Diags,
    vars: HashMap<String, String>,
    lines: Vec<Line>,
    files: usize,
    full: bool,
    opened_any: bool,
}

/// What is checked about an include.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strict {
    No,
    Readable,
    Match,
    All,
}

impl<'a> Reader<'a> {
    /// `config_id` selects `@` lines; `all_config` makes a missing include an error.
    pub(crate) fn new(
        config_id: &'a str,
        instance: &'a str,
        all_config: bool,
        diags: &'a mut Diags,
    ) -> Self {
        Self {
            config_id,
            instance,
            all_config,
            diags,
            vars: HashMap::new(),
            lines: Vec::new(),
            files: 0,
            full: false,
            opened_any: false,
        }
    }

    /// Reads `path`. The second value says whether any file could be read.
    pub(crate) fn read(mut self, path: &Path) -> (Vec<Line>, bool) {
        let pattern = path.to_string_lossy().into_owned();
        self.include(&pattern, None, Strict::No, None, 0);
        (self.lines, self.opened_any)
    }

    /// Text instead of a file, for tests.
    #[cfg(test)]
    pub(crate) fn read_text(mut self, text: &str) -> Vec<Line> {
        self.text(text, &Arc::from("keepalived.conf"), Path::new("."), 0);
        self.lines
    }

    fn include(
        &mut self,
        pattern: &str,
        dir: Option<&Path>,
        strict: Strict,
        pos: Option<&Pos>,
        depth: usize,
    ) {
        if depth >= MAX_DEPTH {
            self.diags.error(
                pos,
                format!("include '{pattern}': files include each other more than {MAX_DEPTH} deep - skipping"),
            );
            return;
        }
        let full = match dir {
            Some(d) if !Path::new(pattern).is_absolute() => {
                d.join(pattern).to_string_lossy().into_owned()
            }
            _ => pattern.to_owned(),
        };
        let mut found: Vec<PathBuf> = Vec::new();
        for one in braces(&full) {
            match glob::glob(&one) {
                Ok(paths) => found.extend(paths.flatten().take(MAX_FILES)),
                Err(e) => {
                    self.diags
                        .error(pos, format!("include '{pattern}': bad pattern: {e}"));
                    return;
                }
            }
        }
        found.sort();
        found.dedup();
        if found.is_empty() {
            let text = format!("Config files missing '{pattern}'.");
            let wild = pattern.contains(['*', '?', '[']);
            match strict {
                Strict::All => self.diags.security(pos, text),
                Strict::Match if !wild => self.diags.error(pos, text),
                _ if self.all_config && pos.is_some() => self.diags.security(pos, text),
                _ => self.diags.note(pos, text),
            }
            return;
        }
        for path in found {
            self.file(&path, strict, pos, depth);
        }
    }

    fn file(&mut self, path: &Path, strict: Strict, pos: Option<&Pos>, depth: usize) {
        if self.full {
            return;
        }
        self.files += 1;
        if self.files > MAX_FILES {
            self.stop(pos, format!("more than {MAX_FILES} files are included"));
            return;
        }
        let name = path.display();
        let problem = match std::fs::metadata(path) {
            Ok(m) if !m.is_file() => Some("is not a regular file".to_owned()),
            Ok(m) if m.len() > MAX_FILE_BYTES => {
                Some(format!("is larger than {MAX_FILE_BYTES} bytes"))
            }
            Ok(_) => None,
            Err(e) => Some(e.to_string()),
        };
        let bytes = match problem {
            Some(p) => Err(p),
            None => std::fs::read(path).map_err(|e| e.to_string()),
        };
        match bytes {
            Ok(bytes) => {
                self.opened_any = true;
                let text = String::from_utf8_lossy(&bytes);
                let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
                let file: Arc<str> = Arc::from(path.to_string_lossy().as_ref());
                self.text(&text, &file, dir.unwrap_or(Path::new(".")), depth);
            }
            Err(why) => {
                let text = format!("Configuration file '{name}': {why} - skipping");
                if strict == Strict::No && !self.all_config {
                    self.diags.note(pos, text);
                } else {
                    self.diags.error(pos, text);
                }
            }
        }
    }

    fn text(&mut self, text: &str, file: &Arc<str>, dir: &Path, depth: usize) {
        let mut source = text.lines().enumerate();
        while let Some((n, raw)) = source.next() {
            if self.full {
                return;
            }
            let pos = Pos {
                file: Arc::clone(file),
                line: u32::try_from(n + 1).unwrap_or(u32::MAX),
            };
            let stripped = lex::strip_comment(raw);
            let mut line = stripped.trim_matches(|c: char| c.is_whitespace() || c.is_control());
            if let Some(rest) = line.strip_prefix('@') {
                let (id, body) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
                let keep = match id.strip_prefix('^') {
                    Some(id) => id != self.config_id,
                    None => id == self.config_id,
                };
                if !keep {
                    continue;
                }
                line = body.trim();
            }
            if line.is_empty() {
                continue;
            }
            // As keepalived's buffer: longer lines are lost there, too.
            if line.len() > 1023 {
                self.diags
                    .error(Some(&pos), "line is longer than 1023 bytes - ignoring");
                continue;
            }
            if let Some((name, value)) = definition(line) {
                let mut value = value.trim_end().to_owned();
                while let Some(cut) = value.strip_suffix('\\') {
                    let cut = cut.trim_end().to_owned();
                    let next = source.next().map(|(_, l)| lex::strip_comment(l));
                    let Some(next) = next else {
                        value = cut;
                        break;
                    };
                    value = if cut.is_empty() {
                        String::new()
                    } else {
                        cut + "\n"
                    };
                    value.push_str(next.trim());
                    if value.len() > MAX_LINE {
                        self.diags
                            .error(Some(&pos), format!("definition of ${name} is too long"));
                        break;
                    }
                }
                self.vars.insert(name.to_owned(), value);
                continue;
            }
            let expanded = self.substitute(line, dir, &pos);
            for part in expanded.split('\n') {
                self.finished(part.trim(), &pos, dir, depth, 0);
            }
        }
    }

    /// A line whose definitions are filled in: repetition, then include, then out.
    fn finished(&mut self, line: &str, pos: &Pos, dir: &Path, depth: usize, nested: usize) {
        if line.is_empty() || self.full {
            return;
        }
        if line.starts_with("~SEQ") || line.starts_with("~LST") {
            if nested >= 8 {
                self.diags
                    .error(Some(pos), "~SEQ and ~LST are nested too deeply - ignoring");
                return;
            }
            match repeat(line) {
                Ok(r) => {
                    for values in r.values {
                        let mut text = r.text.to_owned();
                        for (var, value) in r.vars.iter().zip(values) {
                            text = replace_var(&text, var, &value);
                        }
                        if text.len() > MAX_LINE {
                            self.stop(Some(pos), "a repeated line grows too long".to_owned());
                        }
                        if self.full {
                            return;
                        }
                        self.finished(text.trim(), pos, dir, depth, nested + 1);
                    }
                }
                Err(why) => {
                    let shown: String = line.chars().take(60).collect();
                    self.diags
                        .error(Some(pos), format!("invalid repetition '{shown}': {why}"));
                }
            }
            return;
        }
        let (first, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let strict = match first {
            "include" => Some(Strict::No),
            "includer" => Some(Strict::Readable),
            "includem" | "includew" | "includeb" => Some(Strict::Match),
            "includea" => Some(Strict::All),
            _ => None,
        };
        if let Some(strict) = strict {
            let pattern = rest.trim().trim_matches('"');
            if !pattern.is_empty() {
                self.include(pattern, Some(dir), strict, Some(pos), depth + 1);
                return;
            }
        }
        if self.lines.len() >= MAX_LINES {
            self.stop(
                Some(pos),
                format!("configuration has more than {MAX_LINES} lines"),
            );
            return;
        }
        self.lines.push(Line {
            pos: pos.clone(),
            text: line.to_owned(),
        });
    }

    fn stop(&mut self, pos: Option<&Pos>, why: String) {
        if !self.full {
            self.full = true;
            self.diags
                .error(pos, format!("{why} - the rest is ignored"));
        }
    }

    /// Fills `$NAME` and `${NAME}` in; unknown names stay as they are.
    fn substitute(&mut self, line: &str, dir: &Path, pos: &Pos) -> String {
        let mut text = line.to_owned();
        for _ in 0..MAX_DEPTH {
            if !text.contains('$') {
                return text;
            }
            let next = self.substitute_once(&text, dir);
            if next == text {
                return text;
            }
            text = next;
            if text.len() > MAX_LINE {
                self.diags.error(
                    Some(pos),
                    "the definitions in this line grow too long - ignoring",
                );
                return String::new();
            }
        }
        text
    }

    fn substitute_once(&self, text: &str, dir: &Path) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let after = from.get(1..).unwrap_or_default();
            let named = if let Some(inner) = after.strip_prefix('{') {
                inner.split_once('}')
            } else {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                let (name, tail) = after.split_at(end);
                let ends = tail.is_empty() || tail.starts_with([' ', '\t', ',', ')', '\n']);
                (ends && !name.is_empty()).then_some((name, tail))
            };
            match named.and_then(|(name, tail)| Some((self.value(name, dir)?, tail))) {
                Some((value, tail)) => {
                    out.push_str(&value);
                    rest = tail;
                }
                None => {
                    out.push('$');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn value(&self, name: &str, dir: &Path) -> Option<String> {
        let mut words = name.split_whitespace();
        match words.next()? {
            "_PWD" => {
                let full = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
                Some(full.to_string_lossy().into_owned())
            }
            "_INSTANCE" => Some(self.instance.to_owned()),
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            "_ENV" => std::env::var(words.next()?).ok(),
            "_RANDOM" => {
                let low: u64 = words.next().map_or(Some(0), |w| w.parse().ok())?;
                let high: u64 = words.next().map_or(Some(32767), |w| w.parse().ok())?;
                let span = high.checked_sub(low)?.checked_add(1)?;
                let random = RandomState::new().hash_one(name);
                Some((low + random % span).to_string())
            }
            _ => self.vars.get(name).cloned(),
        }
    }
}

/// `$NAME=VALUE` at the start of a line.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    let ok = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    ok.then_some((name, value))
}

/// Shell braces of an include pattern, one level of nesting at a time.
fn braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut work = vec![pattern.to_owned()];
    while let Some(p) = work.pop() {
        let parts = p.find('{').and_then(|open| {
            let close = p.get(open..)?.find('}')? + open;
            Some((p.get(..open)?, p.get(open + 1..close)?, p.get(close + 1..)?))
        });
        match parts {
            Some((head, inner, tail)) if inner.contains(',') && done.len() + work.len() < 256 => {
                work.extend(inner.split(',').map(|one| format!("{head}{one}{tail}")));
            }
            _ => done.push(p),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> (Vec<String>, u8) {
        let mut d = Diags::default();
        let out = Reader::new("lb1", "inst", false, &mut d).read_text(text);
        (out.into_iter().map(|l| l.text).collect(), d.exit_code())
    }

    #[test]
    fn comments_conditionals_definitions() {
        let (l, rc) = lines("# c\n@lb1 a\n@other b\n@^lb1 c\n@^x d\n$A=1\nx $A ${A}y $B $A/2\n");
        assert_eq!(l, ["a", "d", "x 1 1y $B $A/2"]);
        assert_eq!(rc, 0);
    }

    #[test]
    fn definitions_are_recursive_and_can_hold_lines() {
        let (l, _) = lines("$A=$B z\n$B=q\n$M=one \\\ntwo\na $A\n$M\n");
        assert_eq!(l, ["a q z", "one", "two"]);
        let (l, rc) = lines("$A=$A$A$A\nx ${A}\n$A=${A}${A}\nx ${A}\n");
        assert_eq!(l.len() + usize::from(rc), l.len() + 5);
    }

    #[test]
    fn sequences() {
        assert_eq!(
            lines("~SEQ(N, 3) a$N b${N}c $Nx").0,
            ["a1 b1c $Nx", "a2 b2c $Nx", "a3 b3c $Nx"]
        );
        assert_eq!(lines("~SEQ(N, 5, -2, 1) $N").0, ["5", "3", "1"]);
        assert_eq!(lines("~SEQx(N, 10, 11) $N").0, ["a", "b"]);
        assert_eq!(
            lines("~SEQ(A,2) ~SEQ(B,2) $A$B").0,
            ["11", "12", "21", "22"]
        );
        assert_eq!(lines("~LST(A, x, y) $A").0, ["x", "y"]);
        assert_eq!(lines("~LST({A, B}, {1,2}, {3,4}) $A-$B").0, ["1-2", "3-4"]);
        for bad in ["~SEQ(,1,2) b", "~SEQ N 1 2", "~SEQ(N,1,0,2) x", "~SEQ(N) x"] {
            assert_eq!(lines(bad), (vec![], 5), "{bad}");
        }
        let (l, rc) = lines("~SEQ(A,999999999) ~SEQ(B,999999999) $A");
        assert!(l.len() <= MAX_LINES);
        assert_eq!(rc, 5);
    }

    #[test]
    fn include_loops_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        std::fs::write(&path, "include a.conf\nx\n").unwrap();
        let mut d = Diags::default();
        let (l, any) = Reader::new("", "", false, &mut d).read(&path);
        assert!(any);
        assert_eq!(l.len(), MAX_DEPTH);
        assert_eq!(d.exit_code(), 5);
        std::fs::write(&path, "include *.conf\ninclude *.conf\nx\n").unwrap();
        let mut d = Diags::default();
        let (l, _) = Reader::new("", "", false, &mut d).read(&path);
        assert!(l.len() <= MAX_LINES);
        assert_eq!(d.exit_code(), 5);
    }

    #[test]
    fn include_globs_and_braces() {
        let dir = tempfile::tempdir().unwrap();
        for n in ["1.inc", "2.inc", "3.inc"] {
            std::fs::write(dir.path().join(n), format!("{n} ${{_PWD}}\n")).unwrap();
        }
        let main = dir.path().join("k.conf");
        std::fs::write(
            &main,
            "include {3,1}.inc\ninclude none*\nincludem missing\n",
        )
        .unwrap();
        let mut d = Diags::default();
        let (l, _) = Reader::new("", "", false, &mut d).read(&main);
        let pwd = dir.path().display();
        let texts: Vec<_> = l.iter().map(|l| l.text.clone()).collect();
        assert_eq!(texts, [format!("1.inc {pwd}"), format!("3.inc {pwd}")]);
        assert_eq!(d.exit_code(), 5);
    }
}
