//! The table agrees with itself, with the parsers of the objects, with the
//! manual page and with the completions.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::*;
use dpvs_ctl::Client;

#[test]
fn commands_and_their_beginnings() {
    assert_eq!(Command::from_word("list"), Some(Command::Show));
    assert_eq!(Command::from_word("change"), Some(Command::Set));
    for word in ["sho", "Show", ""] {
        assert_eq!(Command::from_word(word), None);
    }
    let link = &crate::link::OBJECT;
    for (word, command) in [
        ("s", Some(Command::Show)),
        ("sh", Some(Command::Show)),
        ("l", Some(Command::Show)),
        ("se", Some(Command::Set)),
        ("c", Some(Command::Set)),
        ("a", Some(Command::Add)),
        ("d", Some(Command::Del)),
        ("delete", Some(Command::Del)),
        ("h", Some(Command::Help)),
        // A whole word is that command, even if the object lacks it.
        ("flush", Some(Command::Flush)),
        ("f", None),
        ("x", None),
        ("", None),
        ("shows", None),
    ] {
        assert_eq!(link.command(word), command, "{word}");
    }
    assert_eq!(crate::ipset::OBJECT.command("c"), Some(Command::Create));
    assert_eq!(crate::iftraf::OBJECT.command("e"), Some(Command::Enable));
}

#[test]
fn objects_and_their_beginnings() {
    for (word, name) in [
        ("l", "link"),
        ("ll", "lldp"),
        ("a", "addr"),
        ("r", "route"),
        ("n", "neigh"),
        ("t", "tunnel"),
        ("e", "eal-mem"),
        ("if", "iftraf"),
        ("ips", "ipset"),
        ("m", "maddr"),
        ("d", "drop"),
        ("link", "link"),
    ] {
        assert_eq!(crate::find(word).unwrap().name, name, "{word}");
    }
    for word in ["", "x", "links", "Link"] {
        assert!(crate::find(word).is_none(), "{word}");
    }
}

#[test]
fn names_are_unique_and_said_in_a_word() {
    let mut names = crate::OBJECTS.map(|object| object.name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), crate::OBJECTS.len());
    let mut letters = OPTIONS.map(|opt| opt.letter).to_vec();
    letters.sort_unstable();
    letters.dedup();
    assert_eq!(letters.len(), OPTIONS.len());
    for object in crate::OBJECTS {
        assert!(!object.about.is_empty() && !object.about.ends_with('.'));
        for row in object.rows {
            let name = object.name;
            assert!(row.about.ends_with('.'), "{name}: {}", row.about);
            assert_eq!(object.command(row.command.word()), Some(row.command));
        }
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a line says on standard error when no daemon is there.
fn said(words: &[&str]) -> String {
    let stderr = Kept::default();
    let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let client = Client::at("/nonexistent/dpvs.ipc");
    let out = Box::new(std::io::sink());
    let _ = crate::run("dpip", &argv, client, out, Box::new(stderr.clone()));
    let text = stderr.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

/// Something that may stand for a value.
fn example(object: &Object, value: &'static str) -> &'static str {
    match value {
        "" => "",
        "MAC" => "00:11:22:33:44:55",
        "N" | "MS" | "SECS" | "BYTES" | "RATE" | "N|inherit" | "SECS|forever" | "KEY" => "1",
        "HANDLE" | "TARGET" => "root",
        "MODE" => "4",
        "SET[,src|dst]" => "deny",
        "PATTERN" => "tcp",
        "NET|PORTS" => "10.0.0.0/24",
        "ADDRESS" | "ADDR" | "ADDR[/PLEN]" | "ADDR|any" => "10.0.0.1",
        "ENTRY" | "SERVICE" => "10.0.0.1",
        "NAME" | "TEXT" | "BOND" | "DEV" | "DEV|all" => "x0",
        other => choices(object, other).first().copied().unwrap_or("x0"),
    }
}

/// Every keyword of the table is taken by the object's parser: with it the line
/// comes as far as asking the daemon.
#[test]
fn parsers_take_every_keyword() {
    for object in crate::OBJECTS {
        for row in object.rows {
            let alone = object.name == "link" && row.command == Command::Set;
            let optional: Vec<&Arg> = row.args.iter().filter(|arg| !arg.need).collect();
            let picks = [None].into_iter().chain(optional.into_iter().map(Some));
            for pick in picks.filter(|pick| !alone || pick.is_some()) {
                for spelling in spellings(pick) {
                    let mut words = vec![object.name, row.command.word()];
                    let mut tail = Vec::new();
                    for arg in row.args {
                        let picked = pick.is_some_and(|pick| std::ptr::eq(pick, arg));
                        // What a kind of qsch needs, and the options of others.
                        let key = if picked { spelling } else { arg.key };
                        let into = if arg.key == "type" {
                            &mut tail
                        } else {
                            &mut words
                        };
                        if arg.need || picked {
                            into.extend([key, example(object, arg.value)]);
                        }
                    }
                    words.splice(2..2, tail);
                    words.retain(|word| !word.is_empty());
                    complete(object, row.command, &mut words);
                    let stderr = said(&words);
                    assert!(
                        stderr.contains("no dpvs daemon answers"),
                        "{words:?}: {stderr}"
                    );
                }
            }
        }
    }
}

fn spellings(pick: Option<&Arg>) -> Vec<&'static str> {
    match pick {
        Some(arg) if !arg.key.is_empty() => arg.keys().collect(),
        _ => vec![""],
    }
}

/// Adds what the table cannot say: what one argument needs of others.
fn complete(object: &Object, command: Command, words: &mut Vec<&str>) {
    let has = |words: &[&str], word: &str| words.contains(&word);
    let changes = matches!(command, Command::Add | Command::Set | Command::Replace);
    match object.name {
        "qsch" => {
            if changes {
                words.retain(|word| *word != "bfifo");
                let at = 2;
                words.splice(at..at, ["tbf", "rate", "8", "burst", "9"]);
            }
            words.splice(2..2, ["handle", "1:"]);
        }
        "cls" if !has(words, "handle") => {
            words.splice(2..2, ["handle", "1:"]);
        }
        "tunnel" if changes => {
            if !["mode", "type", "kind"].iter().any(|word| has(words, word)) {
                words.extend(["mode", "gre"]);
            }
            if words.get(2) != Some(&"x0") {
                words.insert(2, "t0");
            }
        }
        "ipset" if command == Command::Create && !has(words, "range") => {
            words.retain(|word| *word != "bitmap:ip");
            words.insert(3, "hash:ip");
        }
        "limit" if command == Command::Set => words.extend(["cps", "1"]),
        "lldp" if !has(words, "dev") => words.extend(["dev", "x0"]),
        _ => {}
    }
}

#[test]
fn help_says_everything() {
    for object in crate::OBJECTS {
        let help = said(&[object.name, "help"]);
        for row in object.rows {
            let start = format!("dpip {} {}", object.name, row.command.word());
            assert!(help.contains(&start), "{start}\n{help}");
            for arg in row.args {
                assert!(help.contains(&arg.syntax()), "{}\n{help}", arg.syntax());
            }
        }
        assert!(said(&["help"]).contains("invalid object"));
    }
    let usage = said(&["-h"]);
    for opt in &OPTIONS {
        assert!(usage.contains(&format!("  -{}", opt.letter)), "{usage}");
        for long in opt.long {
            assert!(usage.contains(&format!("--{long}")), "{usage}");
        }
    }
}

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

/// Holds a file against what it should be. With DPIP_BLESS in the environment
/// it is written.
fn same(path: &str, wanted: &str) {
    let path = file(path);
    if std::env::var_os("DPIP_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not what the table gives; DPIP_BLESS=1 writes it",
        path.display()
    );
}

#[test]
fn completions_are_those_of_the_table() {
    for (shell, path) in [
        ("bash", "conf/completion/dpip.bash"),
        ("zsh", "conf/completion/_dpip"),
    ] {
        let stdout = Kept::default();
        let argv = ["completion".to_owned(), shell.to_owned()];
        let client = Client::at("/nonexistent");
        let sink = Box::new(std::io::sink());
        let code = crate::run("dpip", &argv, client, Box::new(stdout.clone()), sink);
        assert_eq!(code, 0);
        let text = stdout.0.lock().unwrap().clone();
        same(path, &String::from_utf8(text).unwrap());
    }
}

/// The two parts of the manual page that come from the table.
#[test]
fn the_manual_page_is_that_of_the_table() {
    let page = std::fs::read_to_string(file("man/dpip.8")).unwrap();
    let mut wanted = page.clone();
    for (name, text) in [("options", man_options()), ("objects", man_objects())] {
        let begin = format!(".\\\" {name}: made from the table\n");
        let end = format!(".\\\" end of {name}\n");
        let (before, rest) = wanted.split_once(&begin).expect(&begin);
        let (_, after) = rest.split_once(&end).expect(&end);
        wanted = format!("{before}{begin}{text}{end}{after}");
    }
    same("man/dpip.8", &wanted);
}

fn man_options() -> String {
    let mut text = ".Bl -tag -width Ds\n".to_owned();
    for opt in &OPTIONS {
        let long = opt.long.iter().map(|long| format!(" , Fl -{long}"));
        let long: String = long.collect();
        let value = match opt.value {
            "" => String::new(),
            value => format!(" Ar {value}"),
        };
        text += &format!(
            ".It Fl {}{long}{value}\n{}",
            opt.letter,
            sentence(opt.about)
        );
    }
    text + ".El\n"
}

fn man_objects() -> String {
    let mut text = String::new();
    for object in crate::OBJECTS {
        text += &format!(
            ".Ss {}: {}\n.Bl -tag -width Ds\n",
            object.name, object.about
        );
        for row in object.rows {
            text += &format!(".It Cm {} {}", object.name, row.command.word());
            for arg in row.args {
                // `Op` would hold the rest of the line as well.
                let (open, close) = if arg.need { ("", "") } else { (" Oo", " Oc") };
                let keys: Vec<&str> = arg.keys().collect();
                let key = match keys.as_slice() {
                    [] => String::new(),
                    keys => format!(" Cm {}", keys.join("|")),
                };
                let value = match arg.value {
                    "" => String::new(),
                    value => format!(" Ar {value}"),
                };
                text += &format!("{open}{key}{value}{close}");
            }
            text += &format!("\n{}", sentence(row.about));
        }
        text += ".El\n";
        if !object.terms.is_empty() {
            text += ".Pp\n.Bl -tag -width Ds -compact\n";
            for (name, means) in object.terms {
                let means = match means.contains(" | ") {
                    true => format!("{means}\n"),
                    false => sentence(means),
                };
                text += &format!(".It Ar {name}\n{means}");
            }
            text += ".El\n";
        }
        for note in object.notes.lines() {
            text += &format!(".Pp\n{}", sentence(note));
        }
    }
    text
}

/// Text as mdoc: a line a sentence, with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut text = text.replace('\\', "\\e");
    if !text.ends_with('.') {
        text.push('.');
    }
    let mut lines = String::new();
    for part in text.split_inclusive(". ") {
        let part = part.trim_end();
        let mut chars = part.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        let named = part.split([' ', ',', ';']).next().is_some_and(|word| {
            // What is typed is not capitalised.
            crate::OBJECTS
                .iter()
                .any(|object| object.keyword(word).is_some())
                || word.contains(['|', ':', '='])
                || word.len() < 3
        });
        match first {
            Some(first) if !named => lines.push(first),
            _ => lines.extend(part.chars().next()),
        }
        lines.push_str(chars.as_str());
        lines.push('\n');
    }
    lines
}
