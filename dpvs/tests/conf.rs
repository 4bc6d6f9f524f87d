//! dpvs.conf from the outside: every sample parses, every class of mistake is
//! reported with its place, and no text makes the parser panic or hang.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use dpvs::conf::{self, Conf, LogLevel, Parsed, Severity, WorkerType};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Parsed, conf::ConfErrors> {
    conf::parse(Path::new("t.conf"), text)
}

fn samples() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| {
            p.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("dpvs.")
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_sample_parses_and_maps_its_queues() {
    let all = samples();
    assert!(all.len() >= 5, "{all:?}");
    for path in all {
        let parsed = conf::load(&path).unwrap_or_else(|e| panic!("{}:\n{e}", path.display()));
        assert!(
            parsed.warnings.is_empty(),
            "{}: {:?}",
            path.display(),
            parsed.warnings
        );
        let plan = conf::plan(&parsed.conf).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
        assert!(!plan.workers.is_empty());
        assert!(
            plan.warnings.is_empty(),
            "{}: {:?}",
            path.display(),
            plan.warnings
        );
    }
}

#[test]
fn the_reference_holds_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/dpvs.conf.items");
    let parsed = conf::load(&path).unwrap();
    let mut got = parsed.conf.clone();
    assert_eq!(got.netif.devices.len(), 3);
    assert_eq!(got.netif.bonds[0].slaves, ["dpdk1", "dpdk2"]);
    assert_eq!(got.workers[1].ports[0].isol_rx, [Some(3), None, Some(4)]);
    assert_eq!(got.workers[3].kind, WorkerType::Kni);
    got.netif.devices.clear();
    got.netif.bonds.clear();
    got.workers.clear();
    got.misc.schedule_interval = 10;
    assert_eq!(got, Conf::default());
    // What does not exist yet is said: one line a keyword.
    let mut names: Vec<_> = parsed
        .pending
        .iter()
        .map(|p| p.split('`').nth(1).unwrap())
        .collect();
    names.dedup();
    assert_eq!(names.len(), parsed.pending.len());
}

/// What is obeyed is not said to have no effect.
#[test]
fn only_what_has_no_effect_is_said_to_have_none() {
    let pending = |text: &str| {
        conf::parse(Path::new("x"), text)
            .unwrap()
            .pending
            .join("\n")
    };
    for obeyed in [
        "netif_defs {\n fdir_mode signature\n}\n",
        "sa_pool {\n pool_hash_size 4\n}\n",
        "ipv6_defs {\n addr_gen_mode none\n}\n",
    ] {
        assert_eq!(pending(obeyed), "", "{obeyed}");
    }
    let random = pending("ipv6_defs {\n addr_gen_mode random\n}\n");
    assert!(random.contains("`ipv6_defs/addr_gen_mode`"), "{random}");
}

#[test]
fn the_null_sample_is_what_the_tools_need() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/dpvs.null.conf");
    let parsed = conf::load(&path).unwrap();
    let plan = conf::plan(&parsed.conf).unwrap();
    assert_eq!(plan.master, Some(0));
    assert_eq!(plan.workers.len(), 1);
    assert_eq!(plan.workers[0].rx, [(0, 0), (1, 0)]);
    assert_eq!(plan.ports[1].name, "dpdk1");
    assert_eq!((plan.ports[0].rx_queues, plan.ports[0].tx_queues), (1, 1));
    assert!(parsed.pending.is_empty(), "{:?}", parsed.pending);
    assert_eq!(parsed.conf.conn.pool_size, 65535);
    assert_eq!(parsed.conf.misc.sync_msg_timeout_us, 20000);
    assert!(!parsed.conf.global.kni);
}

/// (text, line, column, words of the message or the help)
const MISTAKES: &[(&str, usize, usize, &str)] = &[
    ("global_def {\n}\n", 1, 1, "did you mean `global_defs`?"),
    (
        "global_defs {\n  log_levl INFO\n}\n",
        2,
        3,
        "did you mean `log_level`?",
    ),
    (
        "netif_defs {\n  mtu 1500\n}\n",
        2,
        3,
        "belongs into `netif_defs/device`",
    ),
    (
        "netif_defs {\n  device a {\n    mtu 9001\n  }\n}\n",
        3,
        9,
        "from 1 to 9000",
    ),
    (
        "netif_defs {\n  device a {\n    mtu 1k\n  }\n}\n",
        3,
        9,
        "is no number",
    ),
    (
        "netif_defs {\n  device a {\n    mtu -5\n  }\n}\n",
        3,
        9,
        "out of range",
    ),
    (
        "netif_defs {\n  device a {\n    mtu\n  }\n}\n",
        3,
        5,
        "value missing",
    ),
    (
        "netif_defs {\n  device a {\n    rx {\n      rss ip|tpc\n    }\n  }\n}\n",
        4,
        11,
        "`tpc` is no RSS input",
    ),
    (
        "netif_defs {\n  device a {\n    rx {\n      queue_number 17\n    }\n  }\n}\n",
        4,
        20,
        "0 to 16",
    ),
    (
        "netif_defs {\n  device {\n  }\n}\n",
        2,
        3,
        "needs a device name",
    ),
    (
        "netif_defs {\n  device a {\n  }\n  device a {\n  }\n}\n",
        4,
        10,
        "declared twice",
    ),
    (
        "netif_defs {\n  bonding bond0 {\n    slave a\n  }\n}\n",
        3,
        11,
        "not the name of a device block above",
    ),
    (
        "netif_defs {\n  bonding bond {\n  }\n}\n",
        2,
        11,
        "letters followed by a number",
    ),
    (
        "netif_defs {\n  device a {\n",
        2,
        3,
        "block `device a` is never closed",
    ),
    ("global_defs {\n}\n}\n", 3, 1, "`}` without an open block"),
    (
        "global_defs {\n  kni maybe\n}\n",
        2,
        7,
        "neither on nor off",
    ),
    (
        "global_defs {\n  log_level LOUD\n}\n",
        2,
        13,
        "one of EMERG",
    ),
    (
        "global_defs {\n  log_file \"a b\n}\n",
        2,
        12,
        "without its closing",
    ),
    ("global_defs {\n  <init>\n}\n", 2, 1, "nothing but"),
    (
        "global_defs {\n  <init kni on\n}\n",
        2,
        3,
        "without its `>`",
    ),
    ("global_defs { kni on }\n", 1, 15, "line that opens a block"),
    (
        "worker_defs {\n worker a {\n  port b {\n   rx_queue_ids x\n  }\n }\n}\n",
        4,
        17,
        "is no queue id",
    ),
    (
        "worker_defs {\n worker a {\n  cpu_id 64\n }\n}\n",
        3,
        10,
        "from 0 to 63",
    ),
    (
        "ipvs_defs {\n tcp {\n  synproxy {\n   synack_options {\n    wscale 15\n   }\n  }\n }\n}\n",
        5,
        12,
        "0 to 14",
    ),
    (
        "ipv6_defs {\n stable_secret 123\n}\n",
        2,
        16,
        "32 hexadecimal digits",
    ),
    ("include a b\n", 1, 11, "exactly one"),
    ("GLOBAL_DEFS {\n}\n", 1, 1, "did you mean `global_defs`?"),
];

#[test]
fn every_mistake_is_reported_with_its_place() {
    for (text, line, column, words) in MISTAKES {
        let errors = parse(text).expect_err(text);
        let shown = errors.to_string();
        let first = &errors.0[0];
        assert_eq!(
            (first.line, first.column),
            (*line, *column),
            "{text}\n{shown}"
        );
        assert!(shown.contains(words), "{text}\n{shown}");
        assert!(
            shown.contains(&format!("t.conf:{line}:{column}")) && shown.contains('^'),
            "{shown}"
        );
    }
}

#[test]
fn all_errors_are_collected() {
    let text = "glob {\n  x 1\n}\nglobal_defs {\n  kni 7\n  lldp on\n  pdump x\n}\nsa_pool {\n  flow_enable\n}\n";
    let errors = parse(text).unwrap_err();
    let lines: Vec<usize> = errors.0.iter().map(|d| d.line).collect();
    assert_eq!(lines, [1, 5, 7, 10], "{errors}");
}

#[test]
fn what_the_c_grammar_lets_pass() {
    let text = "! comment\n# comment\nglobal_defs\n{\n  log_level WARN  and some words\n  <init> kni off <on, on|off> # note\n}\r\n\
        netif_defs {\r  <init> pktpool_size 2097152\r  pktpool_cache 300\r  device dpdk0 <init> {\r\
        promisc_mode on\rtx {\rmbuf_fast_free OFF\r}\r}\r}\rglobal_defs {\r log_file \"/tmp/a   b\"\r}\r\
        ipvs_defs {\r conn {\r  xmit_ttl\r }\r}";
    let parsed = parse(text).unwrap();
    let conf = parsed.conf;
    assert_eq!(conf.global.log_level, LogLevel::Warning);
    assert!(!conf.global.kni);
    assert_eq!(conf.netif.pktpool_size, 2_097_151);
    assert_eq!(conf.netif.pktpool_cache, 256);
    assert!(conf.netif.devices[0].promisc && !conf.netif.devices[0].fast_free);
    assert_eq!(conf.netif.devices[0].host_name(), "dpdk0.kni");
    assert_eq!(conf.global.log_file.as_deref(), Some("/tmp/a b"));
    assert!(conf.conn.xmit_ttl, "the last line has no line end");
}

/// Files that began their life with DPVS 1.7 and start the C daemon of today.
#[test]
fn keywords_of_earlier_versions_are_said_and_skipped() {
    let text = "netif_defs {\n  mode signature\n  device dpdk0 {\n    fdir {\n      filter on\n\
        \x20     mode perfect\n      pballoc 64k\n      status matched\n    }\n    mtu 1400\n  }\n  device dpdk1 {\n  }\n}\n\
        ctrl_defs {\n  lcore_msg {\n    multicast_queue_length 256\n    ring_size 512\n  }\n  ipc_msg {\n\
        \x20   unix_domain /var/run/dpvs_ctrl\n  }\n}\nipv6_defs {\n  route6 {\n    lpm {\n      rt6_array_size 65536\n    }\n  }\n}\n";
    let parsed = parse(text).unwrap();
    let devices = &parsed.conf.netif.devices;
    assert_eq!(
        devices.len(),
        2,
        "a block that is skipped ends nothing else"
    );
    assert_eq!(devices[0].mtu, 1400);
    assert_eq!(parsed.conf.misc.ring_size, 512);
    let said = parsed.pending.join("\n");
    for word in [
        "`netif_defs/mode`",
        "device dpdk0/fdir`",
        "multicast_queue_length",
        "ipc_msg",
        "rt6_array_size",
    ] {
        let lines: Vec<_> = said.lines().filter(|l| l.contains(word)).collect();
        assert_eq!(lines.len(), 1, "{word}\n{said}");
        assert!(lines[0].contains("earlier DPVS"), "{said}");
    }
    // Elsewhere they are the mistakes they look like.
    assert!(parse("global_defs {\n  fdir {\n  }\n}\n").is_err());
    assert!(parse("ipc_msg {\n}\n").is_err());
}

#[test]
fn includes_stay_at_their_level_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let main = put(
        "main.conf",
        "netif_defs {\n include d/*.conf\n include none.conf\n pktpool_size 8191\n}\n",
    );
    put("d/1.conf", "device one {\n include ../mtu\n}\n");
    put("d/2.conf", "device two {\n}\n}\npktpool_size 1\n");
    put("mtu", "mtu 1400");
    let parsed = conf::load(&main).unwrap();
    let names: Vec<_> = parsed
        .conf
        .netif
        .devices
        .iter()
        .map(|d| (d.name.as_str(), d.mtu))
        .collect();
    assert_eq!(names, [("one", 1400), ("two", 1500)]);
    assert_eq!(parsed.conf.netif.pktpool_size, 8191);
    assert_eq!(parsed.warnings.len(), 1);
    assert_eq!(parsed.warnings[0].severity, Severity::Warning);

    let looped = put("loop.conf", "include loop.conf\n");
    assert!(
        conf::load(&looped)
            .unwrap_err()
            .to_string()
            .contains("includes itself")
    );
    // A chain of files that double at each step is bounded.
    for n in 0..40 {
        put(
            &format!("c{n}"),
            &format!("include c{}\ninclude c{}\n", n + 1, n + 1),
        );
    }
    let chain = conf::load(&dir.path().join("c0")).unwrap_err().to_string();
    assert!(chain.contains("nested deeper"), "{chain}");
    // A pipe must not make the daemon wait.
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let piped = put("piped.conf", "include pipe\n");
    assert!(
        conf::load(&piped).unwrap().warnings[0]
            .message
            .contains("not a regular file")
    );
    let bad = put("bad.conf", "include open\n");
    put("open", "global_defs {\n");
    let errors = conf::load(&bad).unwrap_err();
    assert!(errors.0[0].file.ends_with("open") && errors.to_string().contains("never closed"));
    assert!(
        conf::load(dir.path())
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
    assert!(
        conf::load(Path::new("/nowhere/x"))
            .unwrap_err()
            .to_string()
            .contains("/nowhere/x")
    );
}

fn device_and_workers(workers: &str) -> String {
    format!(
        "netif_defs {{\n device d0 {{\n }}\n device d1 {{\n }}\n}}\nworker_defs {{\n{workers}}}\n"
    )
}

fn worker(name: &str, cpu: u32, ports: &[(&str, &str, &str)]) -> String {
    let mut text = format!("worker {name} {{\n type slave\n cpu_id {cpu}\n");
    for (port, rx, tx) in ports {
        text += &format!(" port {port} {{\n");
        for (word, ids) in [("rx_queue_ids", rx), ("tx_queue_ids", tx)] {
            if !ids.is_empty() {
                text += &format!("  {word} {ids}\n");
            }
        }
        text += " }\n";
    }
    text + "}\n"
}

#[test]
fn queue_mapping_is_checked() {
    let cases: [(i32, String, &str); 8] = [
        (
            -2,
            worker("a", 1, &[("d0", "0", "0")]) + &worker("b", 2, &[("d0", "0", "1")]),
            "rx queue 0 of port `d0`",
        ),
        (
            -3,
            worker("a", 1, &[("d0", "0", "0")]) + &worker("b", 2, &[("d0", "1", "0")]),
            "tx queue 0 of port `d0`",
        ),
        (
            -4,
            worker("a", 1, &[("d0", "1", "0")]),
            "queue 1 is used, queue 0 is not",
        ),
        (-5, worker("a", 1, &[("d7", "0", "0")]), "`d7`"),
        (
            -6,
            worker("a", 1, &[("d0", "0", "")]),
            "no transmit queue on port `d0`",
        ),
        (
            -6,
            worker("a", 1, &[("d0", "0", "0")]) + &worker("b", 2, &[("d1", "0", "0")]),
            "list different ports",
        ),
        (
            -7,
            "worker m {\n type master\n cpu_id 0\n}\n".into(),
            "no worker of type slave",
        ),
        (
            -1,
            worker("a", 1, &[("d0", "0", "0")]) + &worker("b", 1, &[("d0", "1", "1")]),
            "both have cpu_id 1",
        ),
    ];
    for (code, workers, words) in cases {
        let parsed = parse(&device_and_workers(&workers)).unwrap();
        let errors = conf::plan(&parsed.conf).expect_err(&workers);
        let found = errors
            .iter()
            .find(|e| e.code == code)
            .unwrap_or_else(|| panic!("{code}: {errors:?}"));
        assert!(found.message.contains(words), "{found}");
    }
}

#[test]
fn the_primary_of_a_bond_is_one_of_its_slaves() {
    let plan = |primary: &str| {
        let text = device_and_workers(&worker("a", 1, &[("bond0", "0", "0")])).replace(
            "}\nworker_defs",
            &format!(" bonding bond0 {{\n slave d0\n primary {primary}\n }}\n}}\nworker_defs"),
        );
        conf::plan(&parse(&text).unwrap().conf)
    };
    plan("d0").unwrap();
    let errors = plan("d1").unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .message
            .contains("the primary `d1`, which is none of its slaves (d0)"),
        "{errors:?}"
    );
}

#[test]
fn reload_applies_normal_keywords_and_names_the_others() {
    let old = parse(
        "global_defs {\n log_level DEBUG\n kni on\n}\nneigh_defs {\n timeout 30\n}\nipvs_defs {\n conn {\n xmit_ttl\n }\n}\n\
         netif_defs {\n device d0 {\n mtu 1500\n }\n}\nworker_defs {\n worker a {\n cpu_id 1\n port d0 {\n tx_queue_ids 0\n }\n }\n}\n",
    )
    .unwrap()
    .conf;
    let new = parse(
        "global_defs {\n kni off\n}\nipvs_defs {\n conn {\n conn_pool_size 65536\n conn_init_timeout 9\n }\n tcp {\n timeout {\n established 5\n }\n }\n}\n\
         netif_defs {\n device d0 {\n rx {\n descriptor_number 64\n }\n mtu 1400\n }\n}\nworker_defs {\n worker a {\n cpu_id 2\n port d0 {\n tx_queue_ids 1\n }\n }\n}\n",
    )
    .unwrap();
    let reload = conf::reload(&old, &new);
    assert_eq!(reload.conf.global.log_level, LogLevel::Debug, "sticky");
    assert!(reload.conf.conn.xmit_ttl, "sticky");
    assert!(reload.conf.global.kni, "init");
    assert_eq!(reload.conf.misc.neigh_timeout, 60, "back to the default");
    assert_eq!(reload.conf.conn.init_timeout, 9);
    assert_eq!(reload.conf.tcp.timeouts.established, 5);
    assert_eq!(reload.conf.conn.pool_size, old.conn.pool_size);
    assert_eq!(reload.conf.netif, old.netif);
    assert_eq!(reload.conf.workers, old.workers);
    let mut restart = reload.needs_restart;
    restart.sort();
    assert_eq!(
        restart,
        [
            "global_defs/kni",
            "ipvs_defs/conn/conn_pool_size",
            "netif_defs/device d0/mtu",
            "netif_defs/device d0/rx/descriptor_number",
            "worker_defs/worker a/cpu_id",
            "worker_defs/worker a/port d0",
        ]
    );
    let mut applied: Vec<_> = reload.applied.iter().map(|(p, ..)| p.as_str()).collect();
    applied.sort_unstable();
    assert_eq!(
        applied,
        [
            "ipvs_defs/conn/conn_init_timeout",
            "ipvs_defs/tcp/timeout/established",
            "neigh_defs/timeout"
        ]
    );
    let same = conf::reload(
        &old,
        &Parsed {
            conf: old.clone(),
            ..new
        },
    );
    assert!(same.applied.is_empty() && same.needs_restart.is_empty());
}

/// Texts that look like configurations: keywords, braces and junk in any order.
fn nearly() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("global_defs".to_owned()),
        Just("netif_defs".into()),
        Just("device".into()),
        Just("rx".into()),
        Just("bonding".into()),
        Just("slave".into()),
        Just("worker_defs".into()),
        Just("worker".into()),
        Just("port".into()),
        Just("{".into()),
        Just("}".into()),
        Just("\n".into()),
        Just("\n".into()),
        Just("\r".into()),
        Just("<".into()),
        Just(">".into()),
        Just("\"".into()),
        Just("rss".into()),
        Just("rx_queue_ids".into()),
        Just("kni".into()),
        Just("include".into()),
        Just("t.conf".into()),
        "[a-z0-9|]{0,6}",
        any::<u64>().prop_map(|n| n.to_string()),
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(word, 0..80).prop_map(|w| w.join(" "))
}

proptest! {
    #[test]
    fn any_text_gives_a_configuration_or_errors(text in prop_oneof![nearly(), ".{0,400}"]) {
        match parse(&text) {
            Ok(parsed) => {
                let _ = conf::plan(&parsed.conf);
                prop_assert!(parsed.warnings.iter().all(|d| d.severity == Severity::Warning));
            }
            Err(errors) => {
                prop_assert!(errors.0.iter().any(|d| d.severity == Severity::Error));
                let shown = errors.to_string();
                prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }

    #[test]
    fn any_damage_to_a_sample_is_survived(at in 0usize..8000, with in ".{0,8}", cut in 0usize..64) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/dpvs.conf.items");
        let text: Vec<char> = std::fs::read_to_string(path).unwrap().chars().collect();
        let at = at.min(text.len());
        let mut damaged: String = text[..at].iter().collect();
        damaged.push_str(&with);
        damaged.extend(&text[(at + cut).min(text.len())..]);
        if let Err(errors) = parse(&damaged) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
