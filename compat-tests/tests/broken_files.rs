//! Broken configuration files and command lines: a clear error and an exit
//! code, never a crash, a hang or a touched network. Needs no root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use compat_tests::run::{Output, run_with};
use compat_tests::{Context, Result, bins};

const LIMIT: Duration = Duration::from_secs(10);

fn program(name: &str, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(bins::path(name)?);
    // A control socket that nobody serves.
    command.env("DPVS_IPC_FILE", "/nonexistent/dpvs.ipc");
    run_with(command.args(args), b"", LIMIT)
}

/// Ended by itself, not by a signal, and not with the code of a panic.
fn ended_well(out: &Output) {
    let code = out.status.code();
    assert!(
        code.is_some_and(|c| c != 101),
        "`{}` crashed: {}\n{}",
        out.line,
        out.status,
        out.stderr
    );
    assert!(
        !out.stderr.contains("panicked"),
        "`{}`: {}",
        out.line,
        out.stderr
    );
}

fn text(dir: &Path, text: &[u8]) -> Result<PathBuf> {
    let path = dir.join("broken.conf");
    std::fs::write(&path, text).what(|| path.display().to_string())?;
    Ok(path)
}

/// A sound file, and what becomes of it in clumsy hands.
fn broken(sound: &str) -> Vec<Vec<u8>> {
    let mut all = vec![
        Vec::new(),
        b"\0\0\0".to_vec(),
        vec![0xff; 3000],
        b"{".repeat(20_000),
        b"}".repeat(500),
    ];
    all.push(format!("{sound}\n}}\n").into_bytes());
    all.push(b"a { ".repeat(5000));
    all.push(format!("include {}\n", "x".repeat(100_000)).into_bytes());
    all.push(format!("\"{sound}").into_bytes());
    let step = (sound.len() / 60).max(1);
    for at in (0..sound.len()).step_by(step) {
        all.push(sound.as_bytes()[..at].to_vec());
        let mut flipped = sound.as_bytes().to_vec();
        flipped[at] ^= 0x2a;
        all.push(flipped);
    }
    for (from, to) in [
        ("{", ""),
        ("}", ""),
        ("1", "-1"),
        ("0", "99999999999999999999"),
        (" ", "\t\r"),
    ] {
        all.push(sound.replace(from, to).into_bytes());
    }
    all
}

fn samples(folder: &str, is: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let dir = bins::repository()?.join("conf").join(folder);
    let mut found: Vec<PathBuf> = std::fs::read_dir(&dir)
        .what(|| dir.display().to_string())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|n| is(&n.to_string_lossy())))
        .collect();
    found.sort();
    Ok(found)
}

#[test]
fn every_sample_of_dpvs_conf_is_accepted() -> Result<()> {
    let mut files = samples("", |n| n.starts_with("dpvs.") && n.ends_with(".conf"))?;
    files.extend(samples("lab", |n| n == "dpvs.conf")?);
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let out = program("dpvs", &["-t", "-c", &file.display().to_string()])?;
        assert!(out.ok(), "{}: {}{}", file.display(), out.stdout, out.stderr);
    }
    Ok(())
}

#[test]
fn every_sample_of_keepalived_conf_is_accepted() -> Result<()> {
    let mut files = samples("keepalived", |n| n.contains(".conf"))?;
    files.extend(samples("lab", |n| n == "keepalived.conf")?);
    for file in files {
        let out = program(
            "keepalived",
            &["-t", "-l", "-f", &file.display().to_string()],
        )?;
        // The interfaces of the samples are not on this machine, and missing
        // ones are told: that is all there may be to tell.
        let told = format!("{}{}", out.stdout, out.stderr);
        let only_interfaces = told
            .lines()
            .all(|l| l.contains(".kni") || l.contains("nterface"));
        assert!(
            out.ok() || only_interfaces,
            "{}: code {}\n{told}",
            file.display(),
            out.code()
        );
    }
    Ok(())
}

#[test]
fn broken_dpvs_conf_names_the_place() -> Result<()> {
    let dir = tempfile::tempdir().what(|| "temporary folder")?;
    for (conf, wanted) in [
        (
            "global_defs {\n    log_levle INFO\n}\n",
            &["2:", "log_levle", "log_level"][..],
        ),
        (
            "netif_defs {\n    device dpdk0 {\n        mtu 99999\n    }\n}\n",
            &["3:", "99999"],
        ),
        ("global_defs {\n    log_level INFO\n", &["1:", "{"]),
    ] {
        let path = text(dir.path(), conf.as_bytes())?;
        let pid = dir.path().join("pid").display().to_string();
        let path = path.display().to_string();
        // Not only the check: the daemon itself stops before any network.
        for args in [
            &["-t", "-c", &path][..],
            &["-c", &path, "-p", &pid, "-x", &pid, "--", "--no-huge"],
        ] {
            let out = program("dpvs", args)?;
            assert_eq!(out.code(), 1, "{conf}: {}{}", out.stdout, out.stderr);
            let told = format!("{}{}", out.stdout, out.stderr);
            for word in wanted {
                assert!(told.contains(word), "{word:?} is not in\n{told}");
            }
            assert!(
                !told.contains("EAL"),
                "DPDK was started with a broken file:\n{told}"
            );
        }
    }
    Ok(())
}

#[test]
fn no_broken_dpvs_conf_crashes_the_daemon() -> Result<()> {
    let dir = tempfile::tempdir().what(|| "temporary folder")?;
    let sound = bins::repository()?.join("conf/lab/dpvs.conf");
    let sound = std::fs::read_to_string(sound).what(|| "conf/lab/dpvs.conf")?;
    for conf in broken(&sound) {
        let path = text(dir.path(), &conf)?;
        ended_well(&program(
            "dpvs",
            &["-t", "-c", &path.display().to_string()],
        )?);
    }
    Ok(())
}

#[test]
fn no_broken_keepalived_conf_crashes_it() -> Result<()> {
    let dir = tempfile::tempdir().what(|| "temporary folder")?;
    let sound = bins::repository()?.join("conf/lab/keepalived.conf");
    let sound = std::fs::read_to_string(sound).what(|| "conf/lab/keepalived.conf")?;
    for conf in broken(&sound) {
        let path = text(dir.path(), &conf)?;
        ended_well(&program(
            "keepalived",
            &["-t", "-l", "-f", &path.display().to_string()],
        )?);
    }
    let unknown = text(dir.path(), b"virtual_sever 1.2.3.4 80 {\n}\n")?;
    let out = program(
        "keepalived",
        &["-t", "-l", "-f", &unknown.display().to_string()],
    )?;
    assert!(!out.ok(), "an unknown keyword passed the test");
    assert!(
        format!("{}{}", out.stdout, out.stderr).contains("virtual_sever"),
        "{}",
        out.stderr
    );
    Ok(())
}

#[test]
fn no_command_line_crashes_a_program() -> Result<()> {
    let long = "x".repeat(10_000);
    let words = [
        "",
        "-",
        "--",
        "---",
        "-A",
        "-t",
        "-r",
        "-Z",
        "-\u{1}",
        "--no-such",
        "1.2.3.4:80",
        "[::1]:80",
        "1.2.3.4:99999",
        "::::",
        "add",
        "show",
        "addr",
        "link",
        "route",
        "dev",
        "-s",
        "-i",
        "-999999999999",
        &long,
    ];
    for name in ["ipvsadm", "dpip"] {
        for a in words {
            ended_well(&program(name, &[a])?);
            for b in words {
                // -R and the like read standard input, which is empty here.
                ended_well(&program(name, &[a, b, "1.2.3.4:80"])?);
            }
        }
    }
    for name in ["dpvs", "keepalived"] {
        for a in ["--no-such", "-\u{1}", "-c", "-p", &long] {
            let out = program(name, &[a])?;
            ended_well(&out);
            assert!(!out.ok(), "`{}` succeeded", out.line);
        }
    }
    Ok(())
}
