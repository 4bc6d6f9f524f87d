//! One table of options: what is parsed, `--help`, the manual page and the
//! shells' completions say the same. `UPDATE_COMPLETION=1` writes the
//! completions anew.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command as Run;

use ipvsadm::args::{self, Cmd, SPECS, Spec};
use ipvsadm::names::Names;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn commands() -> Vec<&'static Spec> {
    SPECS.iter().filter(|s| s.command().is_some()).collect()
}

/// Options by name: their letters, and the first of them.
fn by_name() -> BTreeMap<&'static str, (Vec<char>, &'static Spec)> {
    let mut out: BTreeMap<&str, (Vec<char>, &Spec)> = BTreeMap::new();
    for spec in SPECS {
        let entry = out.entry(spec.long).or_insert((Vec::new(), spec));
        entry.0.extend(spec.short);
    }
    out
}

/// The line of an option in the manual page.
fn item(letters: &[char], spec: &Spec) -> String {
    let mut line = ".It".to_owned();
    for letter in letters {
        let _ = write!(line, " Fl {letter} ,");
    }
    let _ = write!(line, " Fl -{}", spec.long);
    let bare = spec.arg.trim_matches(['[', ']']);
    if spec.arg.starts_with('[') {
        let _ = write!(line, " Op Ar {bare}");
    } else if !bare.is_empty() {
        let _ = write!(line, " Ar {bare}");
    }
    line
}

#[test]
fn the_manual_page_has_every_option_and_no_other() {
    let page = std::fs::read_to_string(top().join("man/ipvsadm.8")).unwrap();
    let in_page: BTreeSet<String> = page
        .lines()
        .filter(|l| l.starts_with(".It Fl "))
        .map(str::to_owned)
        .collect();
    let in_table: BTreeSet<String> = by_name()
        .values()
        .map(|(letters, spec)| item(letters, spec))
        .collect();
    let missing: Vec<_> = in_table.difference(&in_page).collect();
    let foreign: Vec<_> = in_page.difference(&in_table).collect();
    assert!(
        missing.is_empty() && foreign.is_empty(),
        "missing {missing:#?}, foreign {foreign:#?}"
    );
}

#[test]
fn the_help_has_every_option() {
    let output = Run::new(env!("CARGO_BIN_EXE_ipvsadm"))
        .arg("-h")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for spec in SPECS {
        let name = match spec.short {
            Some(letter) => format!("  -{letter}, --{} {}", spec.long, spec.arg),
            None => format!("      --{} {}", spec.long, spec.arg),
        };
        let found = help
            .lines()
            .any(|l| l.starts_with(name.trim_end()) && l.ends_with(spec.help));
        assert!(found, "{name:?} is not in\n{help}");
    }
}

/// A value that an option takes.
fn value(spec: &Spec) -> &'static str {
    match (spec.long, spec.words.first()) {
        (_, Some(word)) => word,
        ("tcp-service" | "udp-service" | "sctp-service" | "real-server", _) => "192.0.2.1:80",
        ("icmp-service" | "icmpv6-service" | "laddr" | "blklst" | "whtlst", _) => "192.0.2.1",
        ("match", _) => "af=ipv4",
        ("netmask", _) => "255.255.255.0",
        ("sched-flags", _) => "flag-1",
        ("ifname" | "mcast-interface", _) => "eth0",
        ("vxlan", _) => "192.0.2.1-192.0.2.2-7",
        ("sockpair", _) => "tcp:192.0.2.1:1:192.0.2.2:2",
        ("mcast-group", _) => "224.0.0.9",
        _ => "5",
    }
}

/// Every option is read, by letter and by name, with every command that takes
/// it, and refused with every other.
#[test]
fn the_parser_has_every_option() {
    let names = Names::offline();
    for command in commands() {
        let cmd = command.command().unwrap();
        if matches!(cmd, Cmd::Help | Cmd::Version) {
            continue;
        }
        for spec in SPECS.iter().filter(|s| s.command().is_none()) {
            let spellings = [
                spec.short.map(|c| format!("-{c}")),
                Some(format!("--{}", spec.long)),
            ];
            for spelling in spellings.into_iter().flatten() {
                let mut words = vec![format!("--{}", command.long)];
                words.extend(command.words.first().map(|w| (*w).to_owned()));
                if cmd == Cmd::SetTimeout {
                    words.extend(["1", "2", "3"].map(str::to_owned));
                }
                if spec.long == "ipv6" {
                    words.extend(["-f", "7"].map(str::to_owned));
                }
                words.push(spelling.clone());
                if !spec.arg.is_empty() {
                    words.push(value(spec).to_owned());
                }
                let text = match args::parse("ipvsadm", &words, &names, false) {
                    Ok(_) => String::new(),
                    Err(failure) => failure.text().to_owned(),
                };
                assert!(!text.contains("unknown option"), "{words:?}: {text}");
                // The other meaning of -b, and options that go with anything.
                if spelling == "-b" || matches!(spec.long, "sort" | "ipv6") {
                    continue;
                }
                let refused =
                    text.starts_with("Illegal '") || text.contains("conflict with forward");
                // What is missing besides is told first, or not at all.
                if spec.goes_with(cmd) {
                    assert!(!text.starts_with("Illegal '"), "{words:?}: {text}");
                } else {
                    assert!(
                        refused || text.starts_with("You need"),
                        "{words:?}: {text:?}"
                    );
                }
            }
        }
    }
}

fn options_of(cmd: Cmd) -> String {
    let mut names: Vec<String> = Vec::new();
    for spec in SPECS.iter().filter(|s| s.goes_with(cmd)) {
        names.extend(spec.short.map(|c| format!("-{c}")));
        names.push(format!("--{}", spec.long));
    }
    names.join(" ")
}

fn pattern(spec: &Spec) -> String {
    match spec.short {
        Some(letter) => format!("-{letter}|--{}", spec.long),
        None => format!("--{}", spec.long),
    }
}

/// The shell code both completions share: `_ipvsadm_words WORD...` sets
/// `offer` to what may stand behind these words.
fn shared() -> String {
    let mut out = String::from(
        "# What may follow the words given: in $offer.\n_ipvsadm_words() {\n  local command=$1 last=${!#}\n  case \"$last\" in\n",
    );
    for spec in SPECS.iter().filter(|s| !s.words.is_empty()) {
        let _ = writeln!(
            out,
            "    {}) offer='{}'; return ;;",
            pattern(spec),
            spec.words.join(" ")
        );
    }
    for spec in SPECS
        .iter()
        .filter(|s| s.words.is_empty() && !s.arg.is_empty())
    {
        if spec.arg.starts_with('[') || spec.short == Some('b') {
            continue;
        }
        let _ = writeln!(out, "    {}) offer=; return ;;", pattern(spec));
    }
    out.push_str("  esac\n  case \"$command\" in\n");
    for spec in commands() {
        let _ = writeln!(
            out,
            "    {}) offer='{}' ;;",
            pattern(spec),
            options_of(spec.command().unwrap())
        );
    }
    let all: Vec<String> = commands()
        .iter()
        .flat_map(|s| {
            s.short
                .map(|c| format!("-{c}"))
                .into_iter()
                .chain([format!("--{}", s.long)])
        })
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let _ = writeln!(out, "    *) offer='{}' ;;\n  esac\n}}", all.join(" "));
    out
}

fn bash() -> String {
    format!(
        "# Made from the table of options (ipvsadm-rs/tests/agree.rs): do not edit.\n\n{}\n\
         _ipvsadm() {{\n  local offer=\n  \
         _ipvsadm_words \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"\n  \
         mapfile -t COMPREPLY < <(compgen -W \"$offer\" -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n}}\n\
         complete -F _ipvsadm ipvsadm\ncomplete -W '-n' ipvsadm-save\n",
        shared()
    )
}

fn zsh() -> String {
    format!(
        "#compdef ipvsadm\n# Made from the table of options (ipvsadm-rs/tests/agree.rs): do not edit.\n\n{}\n\
         local offer=\n_ipvsadm_words \"${{words[@]:1:CURRENT-2}}\"\ncompadd -- ${{=offer}}\n",
        shared().replace("last=${!#}", "last=${@[-1]}")
    )
}

#[test]
fn the_completions_are_made_of_the_table() {
    for (file, text) in [("ipvsadm.bash", bash()), ("_ipvsadm", zsh())] {
        let path = top().join("conf/completion").join(file);
        if std::env::var_os("UPDATE_COMPLETION").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            text,
            "{}",
            path.display()
        );
    }
}

/// The completion, run by a real bash.
#[test]
fn bash_completes() {
    let ask = |words: &[&str]| {
        let script = format!(
            "set -e\n. {}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_ipvsadm || true\necho ${{COMPREPLY[@]}}",
            top().join("conf/completion/ipvsadm.bash").display(),
            words
                .iter()
                .map(|w| format!("'{w}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1
        );
        let output = Run::new("bash")
            .args(["--norc", "-c", &script])
            .output()
            .unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    assert_eq!(ask(&["ipvsadm", "--add-s"]), "--add-server --add-service");
    assert_eq!(ask(&["ipvsadm", "-A", "--hash"]), "--hash-target");
    assert_eq!(ask(&["ipvsadm", "-A", "--hash-target", ""]), "sip qid");
    assert_eq!(ask(&["ipvsadm", "-D", "--hash"]), "");
    assert_eq!(ask(&["ipvsadm", "--start-daemon", ""]), "master backup");
}
