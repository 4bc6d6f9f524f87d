//! `make bench` still measures: its shortest rows, once. How fast is not asked.

use std::time::Duration;

use compat_tests::bench::{Options, forward};
use compat_tests::{Result, privilege};

/// Established flows through the daemon in one direction and in both, beside
/// testpmd: rows come, and no packet is lost on the way.
#[test]
fn forward_measures() -> Result<()> {
    if !privilege::root_or_skip("forward_measures")? {
        return Ok(());
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for only in ["udp6-1k", "tcp4-both-1k"] {
        let options = Options {
            runs: 1,
            seconds: Duration::from_millis(200),
            yardstick_seconds: Duration::from_millis(100),
            core_seconds: 0.1,
            only: Some(only.into()),
            out: dir.path().into(),
        };
        // Whether it is fast enough is another machine's question.
        let _ = forward::run(&options)?;
        let lines = std::fs::read_to_string(dir.path().join("forward.jsonl")).expect("rows");
        let row: serde_json::Value = serde_json::from_str(lines.trim()).expect("one row");
        assert_eq!(row["row"], only);
        let number = |name: &str| row.pointer(name).and_then(serde_json::Value::as_f64);
        for name in [
            "/mpps/med",
            "/ns_per_packet/med",
            "/testpmd_5tswap_mpps/med",
            "/share",
        ] {
            assert!(number(name).is_some_and(|n| n > 0.0), "{name}: {row}");
        }
        assert!(
            number("/sent_share/min").is_some_and(|n| n > 0.999),
            "{row}"
        );
    }
    Ok(())
}
