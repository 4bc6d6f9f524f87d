//! The small part of a corpus that is kept with the source, `corpora/NAME.txt`: an
//! input a line, in hexadecimal. What libFuzzer found worth keeping is packed into
//! it; the tests of the crate under test replay it with the target's own rules
//! (their `tests/corpus.rs` includes this file). Knows no target.

use std::fmt::Write;

use crate::Target;

/// Fewer inputs than this are no corpus.
const LEAST: usize = 100;
/// Bytes of inputs that are kept of a larger corpus, the shortest first.
const ROOM: usize = 48 << 10;

/// The inputs of a packed corpus.
///
/// # Panics
/// A line is not hexadecimal.
pub fn unpack(text: &str) -> Vec<Vec<u8>> {
    let byte = |line: &str, at| {
        let digits = line.get(at..at + 2).unwrap_or_default();
        u8::from_str_radix(digits, 16).unwrap_or_else(|e| panic!("{line}: {e}"))
    };
    let input = |line: &str| {
        (0..line.len())
            .step_by(2)
            .map(|at| byte(line, at))
            .collect()
    };
    text.lines().map(input).collect()
}

/// Packs what there is room for.
#[must_use]
pub fn pack(mut inputs: Vec<Vec<u8>>) -> String {
    inputs.sort_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
    inputs.dedup();
    let mut room = ROOM;
    let mut text = String::new();
    for input in inputs.iter().filter(|input| !input.is_empty()) {
        room = room.saturating_sub(input.len());
        if room == 0 {
            break;
        }
        for byte in input {
            // Writing to a String never fails.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

/// Runs every input.
///
/// # Panics
/// One breaks a rule of the target, or there are too few.
pub fn replay(target: &Target, text: &str) {
    let inputs = unpack(text);
    let few = format!("{}: only {} inputs", target.name, inputs.len());
    assert!(inputs.len() >= LEAST, "{few}");
    for input in (target.seeds)().iter().chain(&inputs) {
        (target.run)(input);
    }
}
