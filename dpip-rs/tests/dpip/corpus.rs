//! Command lines that random tests came up with, and what the fuzzer kept
//! (fuzz/corpora/dpip.txt): none may panic, none may be refused without a word.

use std::io::{Write, sink};
use std::sync::{Arc, Mutex};

use dpvs_ctl::Client;

use crate::standin::golden;

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

#[test]
fn every_line_gets_an_answer() {
    let corpus = golden("corpus.txt");
    let mut lines = 0;
    for line in corpus.lines() {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let said = Kept::default();
        let client = Client::at("/nonexistent/dpvs.ipc");
        let code = dpip::run(
            "dpip",
            &argv,
            client,
            Box::new(sink()),
            Box::new(said.clone()),
        );
        assert!(code == 0 || !said.0.lock().unwrap().is_empty(), "{line}");
        lines += 1;
    }
    assert!(lines > 100, "only {lines} lines");
}

#[test]
fn what_the_fuzzer_kept() {
    let kept = include_str!("../../../fuzz/corpora/dpip.txt");
    crate::packed::replay(&crate::dpip_args::TARGET, kept);
}
