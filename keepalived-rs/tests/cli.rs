//! The command line as keepalived 2.2.7 answers it: exit codes and where the
//! text goes, over recorded invocations.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

/// One JSON object a line: argv, exit code, whether stdout and stderr had text.
const RECORDED: &str = include_str!("../../compat-tests/golden/keepalived/command-line.jsonl");

/// What is different on purpose.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "-s nosuchns",
        "the namespace option has no effect here, so the test goes on and finds the error",
    ),
    ("-T", "genhash is not part of this program yet"),
    ("genhash", "as above"),
    (
        "keepalived extra",
        "a real start: not something a test should do on this machine",
    ),
];

fn run(dir: &str, words: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keepalived"))
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap()
}

#[test]
fn exit_codes_are_those_of_2_2_7() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for line in RECORDED.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let words: Vec<&str> = case["argv"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap())
            .collect();
        let shown = words.join(" ");
        if DIFFERENT.iter().any(|d| shown.contains(d.0)) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        std::fs::write(
            dir.path().join("keepalived.conf"),
            case["config"].as_str().unwrap(),
        )
        .unwrap();
        let words: Vec<String> = words[1..]
            .iter()
            .map(|w| w.replace("@DIR@", root))
            .collect();
        let out = run(root, &words);
        seen += 1;
        if out.status.code() != Some(i32::try_from(case["rc"].as_i64().unwrap()).unwrap()) {
            wrong.push(format!(
                "{shown}: {:?} instead of {}",
                out.status.code(),
                case["rc"]
            ));
        }
        if case["rc"] == 0 && out.stdout.is_empty() != case["stdout"].as_str().unwrap().is_empty() {
            wrong.push(format!(
                "{shown}: stdout {:?}",
                String::from_utf8_lossy(&out.stdout)
            ));
        }
        let signum = shown.contains("--signum=") && case["rc"] == 0;
        if signum && out.stdout != case["stdout"].as_str().unwrap().as_bytes() {
            wrong.push(format!(
                "{shown}: {:?}",
                String::from_utf8_lossy(&out.stdout)
            ));
        }
    }
    assert!(seen > 50, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn findings_go_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    std::fs::write(dir.path().join("k.conf"), "bogus\n").unwrap();
    let out = run(
        root,
        &["-f".into(), "k.conf".into(), "--config-test=found".into()],
    );
    assert_eq!(out.status.code(), Some(5));
    assert!(out.stderr.is_empty());
    let text = std::fs::read_to_string(dir.path().join("found")).unwrap();
    assert!(text.contains("Line 1) Unknown keyword 'bogus'"), "{text}");
}

#[test]
fn real_starts_that_cannot_run() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let start = |text: Option<&str>| {
        let conf = dir.path().join("k.conf");
        let _ = std::fs::remove_file(&conf);
        if let Some(t) = text {
            std::fs::write(conf, t).unwrap();
        }
        run(
            root,
            &[
                "-nG".into(),
                "-f".into(),
                "k.conf".into(),
                "-p".into(),
                "k.pid".into(),
            ],
        )
        .status
        .code()
    };
    assert_eq!(start(None), Some(6));
    assert_eq!(start(Some("virtual_server\n")), Some(2));
}
