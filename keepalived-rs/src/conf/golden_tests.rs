//! The exit codes of `keepalived -t` 2.2.7 over recorded configurations.
//!
//! Recordings: one JSON object a line with the files, the interfaces that
//! existed, the exit code and the lines complained about. Where this program
//! answers differently on purpose, the case is listed with its reason.

use std::path::Path;

use super::{LoadOptions, load};

const GOLDEN: &str = include_str!("../../../compat-tests/golden/keepalived/config-test.jsonl");

/// Cases that differ on purpose: id, our exit code, why.
const DIFFERENT: &[(&str, u8, &str)] = &[
    // Newer or the fork's grammar, which 2.2.7 does not know.
    ("good/global-full", 0, "json_version is a keyword of 2.4"),
    (
        "broken/lvs-bad-proto",
        0,
        "ICMP is a protocol for the DPVS fork",
    ),
    // Blocks that are accepted with a note and not looked into yet.
    (
        "sample/keepalived.conf.vrrp.lvs_syncd",
        0,
        "not supported yet: vrrp_sync_group",
    ),
    (
        "sample/keepalived.conf.vrrp.routes",
        0,
        "not supported yet: static and virtual routes",
    ),
    (
        "sample/keepalived.conf.vrrp.rules",
        0,
        "not supported yet: static and virtual rules",
    ),
    (
        "sample/keepalived.conf.vrrp.static_ipaddress",
        0,
        "not supported yet: static addresses",
    ),
    ("good/static-all", 0, "not supported yet: static rules"),
    (
        "good/lvs-check-UDP_CHECK-53",
        0,
        "not supported yet: UDP_CHECK",
    ),
    (
        "good/lvs-check-BFD_CHECK-55",
        0,
        "not supported yet: BFD_CHECK",
    ),
    (
        "good/lvs-check-FILE_CHECK-56",
        0,
        "not supported yet: FILE_CHECK",
    ),
    (
        "broken/sync-unknown",
        0,
        "not supported yet: vrrp_sync_group",
    ),
    ("broken/sync-one", 0, "not supported yet: vrrp_sync_group"),
    (
        "broken/sync-no-name",
        0,
        "not supported yet: vrrp_sync_group",
    ),
    (
        "broken/track-script-unknown",
        0,
        "not supported yet: track_script",
    ),
    ("broken/script-missing", 0, "not supported yet: vrrp_script"),
    (
        "broken/script-no-script",
        0,
        "not supported yet: vrrp_script",
    ),
    ("broken/route-bad", 0, "not supported yet: virtual_routes"),
    (
        "broken/static-bad",
        0,
        "not supported yet: static_ipaddress",
    ),
    ("broken/lvs-dns-bad", 0, "not supported yet: DNS_CHECK"),
    (
        "broken/lvs-tun-ipip-port",
        0,
        "not supported yet: tunnel options",
    ),
    ("broken/track-file-bad", 0, "not supported yet: track_file"),
    (
        "broken/track-process-bad",
        0,
        "not supported yet: track_process",
    ),
];

/// Cases whose first complaint stands at another line: id, why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "sample/keepalived.conf.conditional_conf",
        "vrrp_script is not looked into yet",
    ),
    (
        "sample/keepalived.conf.conditional_conf@noif",
        "vrrp_script is not looked into yet",
    ),
    (
        "sample/keepalived.conf.track_interface",
        "static routes are not looked into yet",
    ),
    (
        "sample/keepalived.conf.track_interface@noif",
        "static routes are not looked into yet",
    ),
    (
        "sample/keepalived.conf.vrrp.lvs_syncd@noif",
        "sync groups are not looked into yet",
    ),
    (
        "sample/keepalived.conf.vrrp.routes@noif",
        "static routes are not looked into yet",
    ),
    (
        "sample/keepalived.conf.vrrp.rules@noif",
        "static rules are not looked into yet",
    ),
    (
        "sample/keepalived.conf.vrrp.static_ipaddress@noif",
        "static addresses, likewise",
    ),
    (
        "broken/unterminated-quote-eof",
        "line 1 is read to the end of the file there",
    ),
    (
        "broken/long-line",
        "the line is lost as a whole here, in pieces there",
    ),
    // Where a block lacks something, this program names its first line, 2.2.7 its last.
    (
        "broken/lvs-sorry-family",
        "line of the sorry server, not the end of the block",
    ),
    ("broken/lvs-rs-family", "first line of the block"),
    ("broken/lvs-http-no-url", "first line of the block"),
    ("broken/lvs-misc-nopath", "first line of the block"),
];

fn our_answer(case: &serde_json::Value) -> (u8, Vec<u32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap().to_owned();
    for (name, text) in case["files"].as_object().unwrap() {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text.as_str().unwrap().replace("@DIR@", &root)).unwrap();
    }
    let interfaces: Vec<&str> = case["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i.as_str().unwrap())
        .collect();
    let exists = |name: &str| interfaces.contains(&name);
    let opts = LoadOptions {
        config_id: case["config_id"].as_str().unwrap(),
        all_config: false,
        if_exists: &exists,
    };
    let main = Path::new(&root).join("keepalived.conf");
    let loaded = load(&main, &opts);
    let mut lines: Vec<u32> = loaded
        .diags
        .iter()
        .filter(|d| d.severity > super::diag::Severity::Note)
        .filter_map(|d| d.pos.as_ref())
        .map(|p| p.line)
        .collect();
    lines.sort_unstable();
    lines.dedup();
    let text = loaded.diags.iter().map(|d| format!("  {d}\n")).collect();
    (loaded.diags.exit_code(), lines, text)
}

#[test]
fn exit_codes_are_those_of_2_2_7() {
    let mut wrong = String::new();
    let mut seen = 0;
    for line in GOLDEN.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        let (rc, lines, text) = our_answer(&case);
        let want = match DIFFERENT.iter().find(|d| d.0 == id) {
            Some(d) => d.1,
            None => u8::try_from(case["rc"].as_i64().unwrap()).unwrap_or(5),
        };
        seen += 1;
        let theirs: Vec<u64> = case["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_u64().unwrap())
            .collect();
        let places = rc == 5 && want == 5 && !ELSEWHERE.iter().any(|d| d.0 == id);
        if let Some(first) = theirs.first().filter(|_| places)
            && !lines.iter().any(|l| u64::from(*l) == *first)
        {
            wrong.push_str(&format!("{id}: lines {lines:?}, theirs {theirs:?}\n{text}"));
        }
        if rc != want {
            wrong.push_str(&format!(
                "{id}: {rc} instead of {want}; lines {lines:?}, theirs {}\n{text}",
                case["lines"]
            ));
        }
    }
    assert!(seen > 150, "{seen} cases");
    assert!(wrong.is_empty(), "\n{wrong}");
}
