//! Recordings of ipvsadm 1.31 on a Linux kernel, replayed in order: our
//! `ipvsadm` against a real daemon that keeps what it cannot forward.
//!
//! Output, errors and exit code have to be the same byte for byte, after the
//! rules of [`normal`], but for the cases in golden/DIFFERENCES.md: these have
//! to give what golden/ipvsadm/ours.jsonl says. The table may hold 3 % of all
//! cases at most. `UPDATE_OURS=1` writes ours.jsonl anew and lists the cases.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compat_tests::privilege::root_or_skip;
use compat_tests::run::LIMIT;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, bins, wait};
use serde::{Deserialize, Serialize};

/// In the order they were recorded. Linux lists services in the order of a hash
/// table that depends on an address in its memory: the second boot of the
/// recorded machine, with `sort`, needs another seed than the first.
const GROUPS: [&str; 19] = [
    "help",
    "add-service",
    "schedulers",
    "sched-flags",
    "ops",
    "edit-service",
    "add-server",
    "tunnel",
    "edit-server",
    "list",
    "list-empty",
    "timeout",
    "daemon",
    "restore",
    "bad",
    "cmd-pairs",
    "matrix",
    "sort",
    "extra",
];

#[derive(Deserialize)]
struct Case {
    id: String,
    argv: Vec<String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    fixture: Option<String>,
    rc: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Result3 {
    rc: i32,
    stdout: String,
    stderr: String,
}

#[derive(Serialize, Deserialize)]
struct Ours {
    id: String,
    #[serde(flatten)]
    result: Result3,
}

fn golden() -> Result<PathBuf> {
    Ok(bins::repository()?.join("compat-tests/golden"))
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).what(|| path.display().to_string())?;
    text.lines()
        .map(|l| serde_json::from_str(l).what(|| format!("{}: {l}", path.display())))
        .collect()
}

/// What may differ in every case: the version and table size of kernel and
/// daemon, and the release of the program.
fn normal(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("IP Virtual Server version ") {
            out.push_str("IP Virtual Server version V (size=N)\n");
        } else if line.starts_with("ipvsadm v1.31 ") {
            out.push_str("ipvsadm v1.31 RELEASE\n");
        } else {
            out.push_str(line);
        }
    }
    out
}

struct Lab {
    dir: tempfile::TempDir,
    _daemon: Process,
}

/// The files under /etc that names were recorded with, seen by this thread and
/// what it starts only.
fn own_names() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).what(|| "unshare")?;
    let mount = |args: &[&str]| {
        let status = Command::new("mount").args(args).status();
        match status {
            Ok(s) if s.success() => Ok(()),
            other => Err(Error::new(format!("mount {args:?}: {other:?}"))),
        }
    };
    mount(&["--make-rprivate", "/"])?;
    for file in ["hosts", "services", "nsswitch.conf"] {
        let from = golden()?.join("ipvsadm/etc").join(file);
        mount(&[
            "--bind",
            &from.display().to_string(),
            &format!("/etc/{file}"),
        ])?;
    }
    Ok(())
}

impl Lab {
    fn start(seed: &str) -> Result<Lab> {
        let dir = tempfile::tempdir().what(|| "temporary folder")?;
        let conf = bins::repository()?.join("conf/dpvs.null.conf");
        let text = std::fs::read_to_string(&conf).what(|| conf.display().to_string())?;
        // The recordings' devices.
        let text = text.replace("dpdk0", "eth0").replace("dpdk1", "eth1");
        let conf = dir.path().join("dpvs.conf");
        std::fs::write(&conf, text).what(|| conf.display().to_string())?;
        let mut command = Command::new(bins::path("dpvs")?);
        command
            .env("DPVS_KEEP_SEED", seed)
            .arg("-k")
            .arg("-c")
            .arg(&conf)
            .arg("-x")
            .arg(dir.path().join("ipc"))
            .arg("-p")
            .arg(dir.path().join("pid"))
            .args(["--", "--no-huge", "--no-shconf", "--no-pci", "-m", "512"])
            .args(["--lcores", "0@0,1@0"])
            .args(["--vdev", "net_null0,no-rx=1"])
            .args(["--vdev", "net_null1,no-rx=1"]);
        let log = dir.path().join("log");
        let mut daemon = Process::start("dpvs", &command, &log, Lifetime::Bound)?;
        let socket = dir.path().join("ipc");
        wait::until_true("dpvs to serve its control socket", LIMIT, || {
            daemon.still_running()?;
            Ok(socket.exists())
        })?;
        Ok(Lab {
            dir,
            _daemon: daemon,
        })
    }

    fn run(&self, argv: &[String], stdin: &str) -> Result<Result3> {
        let name = argv.first().map_or("", String::as_str);
        let program = name.rsplit('/').next().unwrap_or(name);
        let mut child = Command::new(bins::path(program)?)
            .arg0(name)
            .args(argv.get(1..).unwrap_or_default())
            .env("DPVS_IPC_FILE", self.dir.path().join("ipc"))
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .what(|| format!("{argv:?}"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // Inputs are smaller than a pipe; a command may not want them.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        let output = child.wait_with_output().what(|| format!("{argv:?}"))?;
        Ok(Result3 {
            rc: output.status.code().unwrap_or(-1),
            stdout: normal(&String::from_utf8_lossy(&output.stdout)),
            stderr: normal(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// The table of a fixture, as it was made for the recording.
    fn reset(&self, fixture: &str) -> Result<()> {
        let argv = ["ipvsadm".to_owned(), "-R".to_owned()];
        let script =
            format!("-C\n--stop-daemon master\n--stop-daemon backup\n--set 900 120 300\n{fixture}");
        self.run(&argv, &script)?;
        Ok(())
    }
}

/// The ids in the table of golden/DIFFERENCES.md, each with its reason.
fn differences() -> Result<BTreeMap<String, String>> {
    let path = golden()?.join("DIFFERENCES.md");
    let text = std::fs::read_to_string(&path).what(|| path.display().to_string())?;
    let mut out = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [reason, ids] = cells.as_slice() else {
            return Err(Error::new(format!("not two columns: {line}")));
        };
        for id in ids.split(' ').filter(|w| w.contains('/')) {
            let (group, numbers) = id.split_once('/').unwrap_or((id, ""));
            for number in numbers.split(',') {
                let twice = out.insert(format!("{group}/{number}"), (*reason).to_owned());
                assert!(
                    twice.is_none(),
                    "{group}/{number} stands twice in the table"
                );
            }
        }
    }
    Ok(out)
}

#[test]
fn recordings_of_ipvsadm_1_31() -> Result<()> {
    if !root_or_skip("recordings_of_ipvsadm_1_31")? {
        return Ok(());
    }
    own_names()?;
    let mut lab = Lab::start("176")?;
    let update = std::env::var_os("UPDATE_OURS").is_some();
    let known = differences()?;
    let ours_file = golden()?.join("ipvsadm/ours.jsonl");
    let ours: BTreeMap<String, Result3> = if update {
        BTreeMap::new()
    } else {
        let list: Vec<Ours> = read(&ours_file)?;
        list.into_iter().map(|o| (o.id, o.result)).collect()
    };
    let (mut total, mut wrong, mut differing) = (0, Vec::new(), Vec::new());
    for group in GROUPS {
        if group == "sort" {
            lab = Lab::start("224")?;
        }
        let cases: Vec<Case> = read(&golden()?.join(format!("ipvsadm/{group}.jsonl")))?;
        for case in cases {
            total += 1;
            if let Some(fixture) = &case.fixture {
                lab.reset(fixture)?;
            }
            let got = lab.run(&case.argv, case.stdin.as_deref().unwrap_or(""))?;
            let recorded = Result3 {
                rc: case.rc,
                stdout: normal(&case.stdout),
                stderr: normal(&case.stderr),
            };
            let line = case.argv.join(" ");
            if got == recorded {
                if known.contains_key(&case.id) && !update {
                    wrong.push(format!(
                        "{}: `{line}`: same now: take it out of the table",
                        case.id
                    ));
                }
                continue;
            }
            if !update && (!known.contains_key(&case.id) || ours.get(&case.id) != Some(&got)) {
                wrong.push(format!(
                    "{}: `{line}`\n recorded {recorded:#?}\n got {got:#?}",
                    case.id
                ));
            }
            differing.push(Ours {
                id: case.id,
                result: got,
            });
        }
    }
    let share =
        100.0 * f64::from(total - u32::try_from(differing.len()).unwrap_or(0)) / f64::from(total);
    println!(
        "{total} cases, {} differ: {share:.2} % the same",
        differing.len()
    );
    if update {
        let mut text = String::new();
        for o in &differing {
            text.push_str(&serde_json::to_string(o).what(|| "json")?);
            text.push('\n');
        }
        std::fs::write(&ours_file, text).what(|| "ours.jsonl")?;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(share >= 97.0, "only {share:.2} % of the cases are the same");
    Ok(())
}

/// Everything a table can hold is saved, cleared and restored: listings and
/// the saved commands are the same afterwards.
#[test]
fn save_and_restore_lose_nothing() -> Result<()> {
    let lab = Lab::start("0")?;
    let run = |line: &str, stdin: &str| -> Result<String> {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let done = lab.run(&argv, stdin)?;
        assert_eq!((done.rc, done.stderr.as_str()), (0, ""), "{line}");
        Ok(done.stdout)
    };
    for line in [
        "-A -t 192.0.2.1:80 -s wrr -p 60 -M 255.255.255.0 -j enable --conn-timeout 120 --proxy-protocol v2-insecure --dest-check 1,1,3s,5-60s --dest-check tcp --expire-quiescent",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -b -w 5 -x 100 -y 50",
        "-a -t 192.0.2.1:80 -r [2001:db8:2::1]:8080 -b -w 0",
        "-P -t 192.0.2.1:80 -z 10.0.0.100 -F eth1",
        "-P -t 192.0.2.1:80 -z 10.0.0.101 -F eth0",
        "-U -t 192.0.2.1:80 -k 203.0.113.66",
        "-U -t 192.0.2.1:80 -k ipset:deny",
        "-O -t 192.0.2.1:80 -2 203.0.113.7",
        "-A -u [2001:db8::1]:443 -s conhash --hash-target qid --quic",
        "-a -u [2001:db8::1]:443 -r [2001:db8:2::1]:443 -b",
        "-A -u 192.0.2.1:5060 -s rr -p 60 --pe sip -o",
        "-A -t 192.0.2.2:80 -s sh -b sh-port,flag-3",
        "-a -t 192.0.2.2:80 -r 10.0.0.2 -i --tun-type gue --tun-port 6080 --tun-csum",
        "-a -t 192.0.2.2:80 -r 10.0.0.3:80 -m -T 10.182.6.87-10.182.4.59-5015 -w 70000",
        "-A -f 4294967295 -6 -s mh -b mh-fallback",
        "-A -H proto=tcp,src-range=10.0.0.1-10.0.0.9:1-99,oif=eth0 -s rr",
        "-a -H proto=tcp,src-range=10.0.0.1-10.0.0.9:1-99,oif=eth0 -r 192.0.2.7:0 -J",
        "-A -q 192.0.2.3:7 -s rr",
    ] {
        run(&format!("ipvsadm {line}"), "")?;
    }
    let views = [
        "-Ln",
        "-Ln --tun-info",
        "-Ln --thresholds",
        "-G",
        "-B",
        "-W",
        "-L --json",
    ];
    let look = || -> Result<Vec<String>> {
        views
            .iter()
            .map(|v| run(&format!("ipvsadm {v}"), ""))
            .collect()
    };
    let before = look()?;
    for part in [
        "vxlan 10.182.6.87-10.182.4.59-5015",
        "pe sip",
        "FWM  -1 IPv6",
        "synproxy",
        "ppv2-insecure",
        "gue:6080:+c",
        "10.0.0.101",
        "ipset:deny",
        "203.0.113.7",
        "\"vni\":5015",
    ] {
        assert!(
            before.iter().any(|text| text.contains(part)),
            "{part} is in no listing"
        );
    }
    let saved = run("ipvsadm-save -n", "")?;
    run("ipvsadm -C", "")?;
    assert_eq!(run("ipvsadm -S -n", "")?, "");
    run("ipvsadm-restore", &format!("# saved\n{saved}"))?;
    assert_eq!(run("ipvsadm -S -n", "")?, saved);
    assert_eq!(look()?, before);
    Ok(())
}
