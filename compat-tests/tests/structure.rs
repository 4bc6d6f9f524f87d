//! The shape of the source tree, held by tests: who may depend on whom, where
//! `unsafe` may stand, how a file opens, and manual pages that are clean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::{Context, Error, Result, bins, run};
use serde_json::Value;

/// Which crates of the workspace a crate may name, in any kind of dependency
/// but the ones for its tests (ARCHITECTURE.md draws it).
const MAY_KNOW: [(&str, &[&str]); 9] = [
    ("dpvs-wire", &[]),
    ("dpvs-ctl", &[]),
    ("dpvs-core", &["dpvs-wire"]),
    ("dpdk-sys", &[]),
    ("dpvs", &["dpdk-sys", "dpvs-core", "dpvs-ctl", "dpvs-wire"]),
    ("keepalived", &["dpvs-ctl", "dpvs-wire"]),
    ("ipvsadm", &["dpvs-ctl"]),
    ("dpip", &["dpvs-ctl"]),
    ("compat-tests", &["dpvs-ctl", "dpvs-wire"]),
];

/// Crates from outside that only these may use; `core` and `wire` have no way
/// to a socket, a clock source or a thread pool at all.
const RESERVED: [(&str, &[&str]); 6] = [
    ("tokio", &["keepalived"]),
    ("dpdk-sys", &["dpvs"]),
    (
        "nix",
        &[
            "dpvs",
            "dpvs-ctl",
            "keepalived",
            "ipvsadm",
            "dpip",
            "compat-tests",
        ],
    ),
    ("libc", &["dpdk-sys", "dpvs", "dpvs-ctl"]),
    (
        "socket2",
        &["dpvs", "dpvs-ctl", "keepalived", "compat-tests"],
    ),
    ("bindgen", &["dpdk-sys"]),
];

/// Where `unsafe` may stand.
const UNSAFE: [&str; 3] = [
    "dpvs/dpdk-sys/",
    "dpvs/src/port/",
    "dpvs/core/src/prefetch.rs",
];

/// The folders that hold source.
const SOURCES: [&str; 5] = [
    "dpvs",
    "keepalived-rs",
    "ipvsadm-rs",
    "dpip-rs",
    "compat-tests",
];

fn metadata() -> Result<Value> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    command.current_dir(bins::repository()?);
    let text = run::run(&mut command)?.success()?;
    serde_json::from_str(&text).what(|| "cargo metadata")
}

/// Package name to the names of its dependencies, tests' own left out.
fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let data = metadata()?;
    let packages = data["packages"]
        .as_array()
        .ok_or_else(|| Error::new("no packages"))?;
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    Ok(packages
        .iter()
        .map(|package| {
            let deps = package["dependencies"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let deps = deps
                .iter()
                .filter(|d| d["kind"] != "dev")
                .map(name)
                .collect();
            (name(package), deps)
        })
        .collect())
}

#[test]
fn crates_know_only_whom_they_may() -> Result<()> {
    let all = dependencies()?;
    let known: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = MAY_KNOW.iter().map(|&(name, _)| name).collect();
    assert_eq!(known, listed, "a new crate must be put into MAY_KNOW");
    for (name, allowed) in MAY_KNOW {
        for dep in all[name].iter().filter(|d| known.contains(d.as_str())) {
            assert!(
                allowed.contains(&dep.as_str()),
                "{name} must not know {dep}"
            );
        }
    }
    for (dep, users) in RESERVED {
        for (name, deps) in &all {
            assert!(
                !deps.contains(dep) || users.contains(&name.as_str()),
                "{name} must not use {dep}"
            );
        }
    }
    assert!(all["dpvs-wire"].is_empty(), "dpvs-wire has no dependencies");
    Ok(())
}

/// Every Rust file of the workspace, relative to its top.
fn rust_files() -> Result<Vec<PathBuf>> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in std::fs::read_dir(dir).what(|| dir.display().to_string())? {
            let path = entry.what(|| dir.display().to_string())?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target") {
                    walk(&path, found)?;
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
        Ok(())
    }
    let top = bins::repository()?;
    let mut found = Vec::new();
    for folder in SOURCES {
        walk(&top.join(folder), &mut found)?;
    }
    found.sort();
    Ok(found
        .iter()
        .filter_map(|p| p.strip_prefix(&top).ok().map(Path::to_owned))
        .collect())
}

/// The source with comments and the insides of string literals blanked, line by
/// line as it was. Good enough to find a keyword, not a lexer.
fn code_only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(len) = raw_string(rest) {
            len
        } else if c == '"' {
            string_end(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            0
        };
        if skip == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skip].chars().filter(|&c| c == '\n'));
            out.push(' ');
            rest = &rest[skip..];
        }
    }
    out
}

/// The length of a string literal that `rest` begins with.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string literal that `rest` begins with.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest
        .strip_prefix('r')?
        .chars()
        .take_while(|&c| c == '#')
        .count();
    let body = rest.get(1 + hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&end)? + end.len())
}

fn has_word(line: &str, word: &str) -> bool {
    let ident = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(ident)
            && !line[at + word.len()..].chars().next().is_some_and(ident)
    })
}

#[test]
fn the_scan_for_unsafe_sees_code_and_nothing_else() {
    let code =
        code_only("a // unsafe\nlet s = \"unsafe \\\" unsafe\";\nr#\"unsafe\"#; '\"'; unsafe {}");
    let lines: Vec<bool> = code.lines().map(|l| has_word(l, "unsafe")).collect();
    assert_eq!(lines, [false, false, true], "{code}");
    assert!(!has_word("#![deny(unsafe_code)]", "unsafe"));
}

#[test]
fn unsafe_stands_only_where_it_may_and_gives_its_reason() -> Result<()> {
    let top = bins::repository()?;
    for path in rust_files()? {
        let source =
            std::fs::read_to_string(top.join(&path)).what(|| path.display().to_string())?;
        let may = UNSAFE
            .iter()
            .any(|at| path.starts_with(at) || path == Path::new(at));
        let code = code_only(&source);
        let lines: Vec<&str> = source.lines().collect();
        for (i, line) in code
            .lines()
            .enumerate()
            .filter(|(_, line)| has_word(line, "unsafe"))
        {
            let here = format!("{}:{}", path.display(), i + 1);
            assert!(may, "{here}: `unsafe` is allowed only in {UNSAFE:?}");
            // `unsafe fn` states what it wants in a Safety section, `unsafe
            // extern` has nothing to promise; a block or impl has its reason
            // in the comment above or beside it.
            if line.contains("unsafe fn") || line.contains("unsafe extern") {
                continue;
            }
            let near = &lines[i.saturating_sub(12)..=i.min(lines.len() - 1)];
            assert!(
                near.iter().any(|l| l.contains("SAFETY:")),
                "{here}: `unsafe` without a `// SAFETY:` comment"
            );
        }
    }
    Ok(())
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() -> Result<()> {
    let top = bins::repository()?;
    for path in rust_files()? {
        let source =
            std::fs::read_to_string(top.join(&path)).what(|| path.display().to_string())?;
        // The tests of a file, set beside it, are introduced by the file.
        let name = path.to_string_lossy();
        let tests = name.ends_with("tests.rs") || name.contains("/tests/");
        assert!(
            tests || source.starts_with("//!"),
            "{}: a file opens with a `//!` that says what it is for",
            path.display()
        );
        let (lines, limit) = (source.lines().count(), if tests { 1200 } else { 800 });
        assert!(
            lines <= limit,
            "{}: {lines} lines; split it by subject",
            path.display()
        );
    }
    Ok(())
}

#[test]
fn differences_are_listed_in_the_readme() -> Result<()> {
    let top = bins::repository()?;
    let readme = std::fs::read_to_string(top.join("README.md")).what(|| "README.md")?;
    let (_, listed) = readme
        .split_once("## What differs")
        .ok_or_else(|| Error::new("README.md has no section \"What differs\""))?;
    for path in rust_files()?
        .iter()
        .filter(|path| !path.starts_with("compat-tests"))
    {
        let source = std::fs::read_to_string(top.join(path)).what(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        assert!(
            !source.contains("DIFFERS:") || listed.contains(&*name),
            "{} marks a difference that \"What differs\" of README.md does not list (by file name)",
            path.display()
        );
    }
    Ok(())
}

#[test]
fn manual_pages_are_clean() -> Result<()> {
    let dir = bins::repository()?.join("man");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(&dir)
        .what(|| dir.display().to_string())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e.to_str().is_some_and(|e| e.parse::<u8>().is_ok()))
        })
        .collect();
    pages.sort();
    let names: Vec<String> = pages
        .iter()
        .filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned()))
        .collect();
    for page in [
        "dpvs.8",
        "dpvs.conf.5",
        "keepalived.8",
        "ipvsadm.8",
        "dpip.8",
    ] {
        assert!(names.iter().any(|n| n == page), "there is no man/{page}");
    }
    if !run::run(Command::new("sh").args(["-c", "command -v mandoc"]))?.ok() {
        eprintln!("mandoc is not installed: the pages are not checked");
        return Ok(());
    }
    let out = run::run(
        Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .args(&pages),
    )?;
    assert!(out.ok(), "{}{}", out.stdout, out.stderr);
    Ok(())
}
