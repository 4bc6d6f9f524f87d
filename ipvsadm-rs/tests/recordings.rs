//! Replays recordings of ipvsadm 1.31 (Debian 12, Linux IPVS) against the
//! stand-in daemon: arguments, standard input, output, errors, exit codes.
//!
//! What is left out or changed, and why, is in `skip` and `adapt`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::{Daemon, texts};
use dpvs_ctl::msg::{Dest, Service};
use dpvs_ctl::{Af, Ip16};
use serde_json::Value;

struct Case {
    id: String,
    argv: Vec<String>,
    stdin: String,
    fixture: Option<String>,
    rc: i32,
    stdout: String,
    stderr: String,
    after: Option<String>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/golden/ipvsadm")
}

fn read(group: &str) -> Vec<Case> {
    let text = fs::read_to_string(golden().join(format!("{group}.jsonl"))).unwrap();
    let cases = text.lines().map(|line| {
        let v: Value = serde_json::from_str(line).unwrap();
        let opt = |key: &str| v.get(key).and_then(Value::as_str).map(str::to_owned);
        Case {
            id: opt("id").unwrap(),
            argv: v["argv"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a.as_str().unwrap().to_owned())
                .collect(),
            stdin: opt("stdin").unwrap_or_default(),
            fixture: opt("fixture"),
            rc: i32::try_from(v["rc"].as_i64().unwrap()).unwrap(),
            stdout: opt("stdout").unwrap_or_default(),
            stderr: opt("stderr").unwrap_or_default(),
            after: opt("after"),
        }
    });
    cases.collect()
}

/// Why a case is not replayed.
fn skip(case: &Case) -> Option<&'static str> {
    let argv = &case.argv;
    let has = |word: &str| argv.iter().any(|a| a == word);
    let all = argv.join(" ");
    if case.rc < 0 {
        return Some("the recorded program crashed");
    }
    if (has("--pe") || all.contains("-u 192.0.2.10:5060")) && case.rc == 0 {
        return Some("no persistence engines in DPVS");
    }
    if (has("gue") || has("gre") || all.contains("=gue")) && case.rc == 0 {
        return Some("tunnels are ipip only in DPVS");
    }
    let daemon = ["--set", "--start-daemon", "--stop-daemon"];
    let daemon = daemon
        .iter()
        .any(|d| argv.get(1).is_some_and(|a| a.starts_with(d)))
        || (has("--timeout") || has("--daemon"));
    if daemon
        && case.rc != 2
        && !case.stderr.contains("argument")
        && !case.stderr.contains("option")
    {
        return Some("time-outs and synchronisation are not in DPVS");
    }
    if case.stderr.starts_with("Invalid operation") {
        return Some("a daemon's own check of the server's address");
    }
    if has("-c") && case.rc == 0
        || has("-Lc")
        || argv
            .get(1)
            .is_some_and(|a| a.starts_with("-L") && a.contains('c'))
        || argv.get(1).is_some_and(|a| a == "-lcn")
    {
        return Some("connections are listed in DPVS's form");
    }
    if case.stdin.contains("--start-daemon") || case.stdin.contains("--set") {
        return Some("time-outs and synchronisation are not in DPVS");
    }
    if argv
        .get(1)
        .is_some_and(|a| a == "-h" || a == "--help" || a == "-v")
    {
        return Some("our own help text");
    }
    if case.id.starts_with("tunnel/") && case.rc == 0 && !has("-a") {
        return Some("the table holds tunnels that DPVS does not have");
    }
    if all.contains("--set -1") || all.contains("--set 1 -2") {
        return Some("-1 and -2 are options of DPVS");
    }
    None
}

/// Whether names are looked up, so that the files in /etc matter.
fn wants_names(case: &Case) -> bool {
    let numeric = case.argv.iter().any(|a| {
        a == "-n"
            || a == "--numeric"
            || (a.starts_with("-L") || a.starts_with("-l") || a.starts_with("-S"))
                && a.contains('n')
    });
    let listing = case.stdout.contains("->") || case.stdout.contains("-A ");
    let texts = case.argv.join(" ") + &case.stdin + case.fixture.as_deref().unwrap_or("");
    let named = texts
        .split(|c: char| c.is_whitespace() || c == ':' || c == '=')
        .any(|w| {
            matches!(
                w,
                "http"
                    | "https"
                    | "domain"
                    | "ntp"
                    | "HTTP"
                    | "nosuchhost"
                    | "bogus"
                    | "abc"
                    | "nosuchsvc"
            ) || w.starts_with("vip")
                || w.starts_with("be1")
                || w.starts_with("be6")
                || w == "localhost"
        })
        || texts.contains("example.test")
        || texts.contains("[vip6");
    (listing && !numeric) || named
}

/// What we do differently on purpose, undone.
fn adapt(text: &str) -> String {
    let mut out = String::new();
    let mut dropping = false;
    for line in text.lines() {
        // A service with a persistence engine cannot be added.
        let service = !line.starts_with("  ->");
        if service {
            dropping = line.starts_with("UDP") && line.contains("192.0.2.10:5060")
                || line.contains(" -u 192.0.2.10:5060")
                || line.contains(" -u vip1.example.test:sip")
                || line.contains("vip1.example.test:sip");
        }
        if dropping && !line.starts_with("IP Virtual") {
            continue;
        }
        let mut line = line.to_owned();
        // gue tunnels of the fixture become ipip.
        if let Some(i) = line.find(" --tun-type gue") {
            line.truncate(i);
            line.push_str(" --tun-type ipip");
        }
        line = line.replace("gue:6080:-c  ", "ipip         ");
        // The third scheduler flag is shown; large marks can be read back.
        line = line.replace("192.0.2.7:80 sh ()", "192.0.2.7:80 sh (flag-3)");
        line = line.replace(
            "192.0.2.8:80 sh (sh-fallback,sh-port)",
            "192.0.2.8:80 sh (sh-fallback,sh-port,flag-3)",
        );
        for port in ["80", "http"] {
            line = line.replace(
                &format!("192.0.2.8:{port} -s sh -b sh-fallback,sh-port"),
                &format!("192.0.2.8:{port} -s sh -b sh-fallback,sh-port,flag-3"),
            );
            line = line.replace(
                &format!("192.0.2.12:{port} -s mh -b mh-port"),
                &format!("192.0.2.12:{port} -s mh -b mh-port,flag-3"),
            );
        }
        line = line.replace(
            "192.0.2.12:80 mh (mh-port)",
            "192.0.2.12:80 mh (mh-port,flag-3)",
        );
        if line.ends_with("-s sh -b ") {
            line.push_str("flag-3");
        }
        if line.starts_with("-A -f -1 ") || line.starts_with("-a -f -1 ") {
            line = line.replace("-f -1 ", "-f 4294967295 ");
        }
        // Names of IPv6 hosts are saved as numbers, long names in full.
        if line.starts_with("-A") || line.starts_with("-a") {
            for (name, ip) in [
                ("vip6.example.test", "2001:db8::10"),
                ("be6.example.test", "2001:db8:1::11"),
            ] {
                line = line.replace(&format!("[{name}]:http-alt"), &format!("[{ip}]:8080"));
                line = line.replace(&format!("[{name}]:http"), &format!("[{ip}]:80"));
                line = line.replace(&format!("[{name}]:"), &format!("[{ip}]:"));
            }
            if line.contains("2001:db8") {
                line = line
                    .replace("]:http-alt", "]:8080")
                    .replace("]:http", "]:80");
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// Our -S writes thresholds, which 1.31 loses, and long names in full.
fn without_thresholds(text: &str) -> String {
    const LONG: &str = "-virtual-service.example.test:";
    let text = text
        .replace(&format!("{LONG}http-alt"), &format!("{LONG}ht"))
        .replace(&format!("{LONG}http"), &format!("{LONG}ht"));
    let mut out = String::new();
    for line in text.lines() {
        if !line.starts_with("-a ") {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let mut words = line.split(' ');
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            if word == "-x" || word == "-y" {
                words.next();
            } else {
                kept.push(word);
            }
        }
        out.push_str(&kept.join(" "));
        out.push('\n');
    }
    out
}

/// A fixture without what DPVS does not have.
fn adapt_fixture(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|l| !l.contains("192.0.2.10:5060")) {
        match line.find(" --tun-type gue --tun-port 6080") {
            Some(i) => {
                out.push_str(&line[..i]);
                let rest = &line[i + " --tun-type gue --tun-port 6080".len()..];
                out.push_str(&rest.replace(" --tun-nocsum", ""));
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Equal; in two groups in any order, since there addresses lie so far apart
/// that the recorded order follows the kernel's hash (see `sorting`).
fn same(id: &str, ours: &str, recorded: &str) -> bool {
    if ours == recorded {
        return true;
    }
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    (id.starts_with("add-service/") || id.starts_with("add-server/"))
        && lines(ours) == lines(recorded)
}

#[derive(Default)]
struct Score {
    passed: usize,
    skipped: usize,
    no_names: usize,
    failed: Vec<String>,
}

fn replay(group: &str, unsorted: bool) -> Score {
    let etc = golden()
        .join("etc")
        .canonicalize()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let daemon = Daemon::start();
    let probe = daemon.run(&["ipvsadm".to_owned(), "-Ln".to_owned()], "", Some(&etc));
    let can_mount = probe.status.success();
    let mut score = Score::default();
    for case in read(group) {
        if let Some(fixture) = &case.fixture {
            daemon.state().services.clear();
            let argv = ["ipvsadm".to_owned(), "-R".to_owned()];
            let result = daemon.run(&argv, &adapt_fixture(fixture), None);
            assert!(
                result.status.success(),
                "{}: fixture: {:?}",
                case.id,
                texts(&result)
            );
        }
        if skip(&case).is_some() {
            score.skipped += 1;
            continue;
        }
        if unsorted
            && case.argv.iter().any(|a| a == "--nosort")
            && case.stdout.matches("\n").count() > 4
        {
            // The kernel's own order.
            score.skipped += 1;
            continue;
        }
        let names = wants_names(&case);
        if names && !can_mount {
            score.no_names += 1;
            continue;
        }
        let stdin = if case.stdin.contains("--pe sip") {
            adapt_fixture(&case.stdin)
        } else {
            case.stdin.clone()
        };
        let run = daemon.run(&case.argv, &stdin, names.then_some(etc.as_str()));
        let (rc, stdout, stderr) = texts(&run);
        let stdout = without_thresholds(&stdout);
        let want = adapt(&case.stdout);
        let mut problems = String::new();
        if rc != case.rc {
            problems.push_str(&format!("  exit code {rc}, recorded {}\n", case.rc));
        }
        if !same(&case.id, &stdout, &want) {
            problems.push_str(&format!("  output:\n{stdout}  recorded:\n{want}"));
        }
        let usage =
            case.stderr.starts_with("ipvsadm-save: ") && stderr.starts_with("ipvsadm-save: ");
        if stderr != case.stderr && !usage {
            problems.push_str(&format!(
                "  errors: {stderr:?}\n  recorded: {:?}\n",
                case.stderr
            ));
        }
        if let Some(after) = &case.after {
            let (_, now, _) = daemon.sh("ipvsadm -S -n");
            let (now, after) = (without_thresholds(&now), adapt(after));
            if !same(&case.id, &now, &after) {
                problems.push_str(&format!("  table:\n{now}  recorded:\n{after}"));
            }
        }
        if problems.is_empty() {
            score.passed += 1;
        } else {
            score
                .failed
                .push(format!("{}: {:?}\n{problems}", case.id, case.argv));
        }
    }
    score
}

fn check(group: &str, at_least: usize) {
    let score = replay(group, true);
    println!(
        "{group}: {} passed, {} skipped, {} skipped for want of mounts, {} failed",
        score.passed,
        score.skipped,
        score.no_names,
        score.failed.len()
    );
    assert!(score.failed.is_empty(), "{}", score.failed.join("\n"));
    assert!(
        score.passed + score.no_names >= at_least,
        "only {} passed",
        score.passed
    );
}

macro_rules! groups {
    ($($test:ident = $group:literal, $at_least:literal;)+) => {$(
        #[test]
        fn $test() {
            check($group, $at_least);
        }
    )+};
}

groups! {
    add_service = "add-service", 61;
    schedulers = "schedulers", 40;
    sched_flags = "sched-flags", 43;
    ops = "ops", 14;
    edit_service = "edit-service", 44;
    add_server = "add-server", 118;
    tunnel = "tunnel", 28;
    edit_server = "edit-server", 46;
    list = "list", 163;
    list_empty = "list-empty", 31;
    timeout = "timeout", 16;
    daemon = "daemon", 26;
    restore = "restore", 40;
    bad = "bad", 118;
    cmd_pairs = "cmd-pairs", 121;
    matrix = "matrix", 382;
}

/// The order of listings, from the kernel's order (`--nosort`), for tables of
/// random addresses.
#[test]
fn sorting() {
    let cases = read("sort");
    let mut checked = 0;
    for set in cases.chunks(3) {
        let [sorted, unsorted, _] = set else { continue };
        assert!(
            unsorted.argv.iter().any(|a| a == "--nosort"),
            "{}",
            unsorted.id
        );
        let (want, given) = (table(&sorted.stdout), table(&unsorted.stdout));
        let services = ipvsadm::order::services(given.iter().map(|(s, _)| *s).collect());
        let wanted: Vec<Service> = want.iter().map(|(s, _)| *s).collect();
        assert_eq!(services, wanted, "{}", sorted.id);
        checked += 1;
        for (svc, dests) in want.iter().filter(|(_, d)| d.len() > 1) {
            let (_, given) = given.iter().find(|(s, _)| s == svc).unwrap();
            assert_eq!(
                &ipvsadm::order::dests(given.clone()),
                dests,
                "{}",
                sorted.id
            );
            checked += 1;
        }
    }
    println!("sort: {checked} tables in order");
    assert!(checked >= 20, "only {checked} tables");
}

/// The services and dests of a recorded listing.
fn table(listing: &str) -> Vec<(Service, Vec<Dest>)> {
    let mut out: Vec<(Service, Vec<Dest>)> = Vec::new();
    for line in listing.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "->" {
            let a: SocketAddr = words[1].parse().unwrap();
            let dest = Dest {
                af: Af::of(a.ip()),
                addr: Ip16::from_ip(a.ip()),
                port: a.port().into(),
                ..Dest::default()
            };
            out.last_mut().unwrap().1.push(dest);
            continue;
        }
        let svc = if words[0] == "FWM" {
            Service {
                af: if words.contains(&"IPv6") {
                    Af::INET6
                } else {
                    Af::INET
                },
                fwmark: words[1].parse::<i32>().unwrap().cast_unsigned(),
                ..Service::default()
            }
        } else {
            let proto = match words[0] {
                "TCP" => 6,
                "UDP" => 17,
                _ => 132,
            };
            Service::at(proto, words[1].parse().unwrap())
        };
        out.push((svc, Vec::new()));
    }
    out
}
