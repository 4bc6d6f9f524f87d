//! Inputs that matter, replayed: every command line and every line of standard
//! input that was ever recorded, what fuzzing found (fuzz/regressions/ipvsadm*), and
//! what the fuzzer kept (fuzz/corpora/ipvsadm*), with the rules of its targets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../fuzz/src/ipvsadm_args.rs"]
#[allow(dead_code, unreachable_pub)]
mod ipvsadm_args;
#[path = "../../fuzz/src/ipvsadm_restore.rs"]
#[allow(dead_code, unreachable_pub)]
mod ipvsadm_restore;
#[path = "../../fuzz/src/corpus.rs"]
#[allow(dead_code, unreachable_pub)]
mod packed;
#[path = "../../fuzz/src/target.rs"]
#[allow(dead_code, unreachable_pub)]
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use ipvsadm::names::Names;
use ipvsadm::{args, restore};
use serde_json::Value;
use target::Target;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command, or a message with an exit code that is not 0.
fn judge(words: &[String], names: &Names) {
    for restoring in [false, true] {
        if let Err(failure) = args::parse("ipvsadm", words, names, restoring) {
            assert_ne!(failure.exit_code(), 0, "{words:?}");
            assert!(!failure.text().is_empty(), "{words:?}");
        }
    }
}

fn judge_lines(bytes: &[u8], names: &Names) -> usize {
    let mut words = Vec::new();
    let mut lines = 0;
    for line in bytes.split(|b| *b == b'\n') {
        for skip in [false, true] {
            if restore::read_words(line, skip, &mut words) {
                judge(&words, names);
                lines += 1;
            }
        }
    }
    lines
}

#[test]
fn recorded_and_found_inputs() {
    let names = Names::offline();
    let (mut cases, mut lines) = (0, 0);
    for file in fs::read_dir(top().join("compat-tests/golden/ipvsadm")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "jsonl") {
            continue;
        }
        for line in fs::read_to_string(path).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            if let Some(argv) = case["argv"].as_array() {
                let words: Vec<String> = argv
                    .iter()
                    .skip(1)
                    .map(|w| w.as_str().unwrap().to_owned())
                    .collect();
                judge(&words, &names);
                cases += 1;
            }
            for key in ["stdin", "fixture", "after"] {
                lines += judge_lines(case[key].as_str().unwrap_or("").as_bytes(), &names);
            }
        }
    }
    assert!(cases > 1500 && lines > 1000, "{cases} cases, {lines} lines");
}

#[test]
fn what_fuzzing_found_and_kept() {
    for target in [&ipvsadm_args::TARGET, &ipvsadm_restore::TARGET] {
        let folder = top().join("fuzz/regressions").join(target.name);
        for file in fs::read_dir(folder).into_iter().flatten() {
            (target.run)(&fs::read(file.unwrap().path()).unwrap());
        }
        let kept = format!("fuzz/corpora/{}.txt", target.name);
        packed::replay(target, &fs::read_to_string(top().join(kept)).unwrap());
    }
    // This one was found: it must be there.
    let found = top().join("fuzz/regressions/ipvsadm_restore/zero-bytes-before-a-scheduler");
    assert!(found.exists());
}
