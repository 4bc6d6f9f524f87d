//! What the fuzzer of the message decoder kept (fuzz/corpora/ctl_codec.txt), replayed
//! with the rules of its target.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "../../../fuzz/src/corpus.rs"]
#[allow(dead_code, unreachable_pub)]
mod corpus;
#[path = "../../../fuzz/src/ctl_codec.rs"]
#[allow(dead_code, unreachable_pub)]
mod ctl_codec;
#[path = "../../../fuzz/src/input.rs"]
#[allow(dead_code, unreachable_pub)]
mod input;
#[path = "../../../fuzz/src/target.rs"]
#[allow(dead_code, unreachable_pub)]
mod target;

use target::Target;

#[test]
fn the_decoders_corpus() {
    let kept = include_str!("../../../fuzz/corpora/ctl_codec.txt");
    corpus::replay(&ctl_codec::TARGET, kept);
}
