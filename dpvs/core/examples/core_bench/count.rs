//! Counted instead of timed: this program under callgrind. Instructions and
//! (simulated) branch mispredictions a packet do not depend on what else the
//! machine does.

use std::process::Command;

use crate::report::Line;
use crate::world::World;

/// Runs `words` under callgrind and prints what one packet took.
pub(crate) fn run(words: &[String], world: World) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = std::env::temp_dir().join(format!("core_bench.{}.callgrind", std::process::id()));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet", "--branch-sim=yes"])
        .arg("--toggle-collect=core_bench::rig::measured*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&program)
        .args(words)
        .arg("pages=4k");
    let output = command.output().map_err(|e| format!("valgrind: {e}"))?;
    let profile = std::fs::read_to_string(&out);
    // `out=FILE` keeps the profile for callgrind_annotate.
    let keep = words.iter().find_map(|word| word.strip_prefix("out="));
    match keep {
        Some(path) => std::fs::rename(&out, path).or_else(|_| std::fs::copy(&out, path).map(drop)),
        None => std::fs::remove_file(&out),
    }
    .map_err(|e| format!("{}: {e}", out.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let profile = profile.map_err(|e| format!("{}: {e}", out.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let packets: u64 = text.lines().filter_map(|line| field(line, "packets")).sum();
    let events = totals(&profile).ok_or("callgrind counted nothing")?;
    let each = |names: &[&str]| {
        let sum: u64 = names
            .iter()
            .filter_map(|n| Some(events.iter().find(|e| e.0 == *n)?.1))
            .sum();
        sum as f64 / packets as f64
    };
    let line = text.lines().next().unwrap_or("");
    Line::new("count", world)
        .text("what", words.first().map_or("", String::as_str))
        .number("flows", field(line, "flows").unwrap_or(0))
        .number("packets", packets)
        .real("instructions_per_packet", each(&["Ir"]))
        .real("branches_per_packet", each(&["Bc", "Bi"]))
        .real("mispredictions_per_packet", each(&["Bcm", "Bim"]))
        .print();
    Ok(())
}

/// An integer field of one of our own lines.
fn field(line: &str, key: &str) -> Option<u64> {
    let rest = line.split_once(&format!("\"{key}\":"))?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

/// Events and their totals in a callgrind profile.
fn totals(profile: &str) -> Option<Vec<(&str, u64)>> {
    let line = |key| profile.lines().find_map(|line| line.strip_prefix(key));
    let names = line("events:")?.split_whitespace();
    let counts = line("totals:").or_else(|| line("summary:"))?;
    let counts = counts.split_whitespace().map_while(|n| n.parse().ok());
    Some(names.zip(counts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read() {
        let profile = "events: Ir Bc Bcm\nfn=(1) x\n3 12 1 1\ntotals: 345 60 7\n";
        assert_eq!(
            totals(profile),
            Some(vec![("Ir", 345), ("Bc", 60), ("Bcm", 7)])
        );
        assert_eq!(totals("events: Ir\n"), None);
    }

    #[test]
    fn fields_of_lines() {
        let line = r#"{"bench":"x","flows":12,"packets":345}"#;
        assert_eq!(field(line, "flows"), Some(12));
        assert_eq!(field(line, "packets"), Some(345));
        assert_eq!(field(line, "none"), None);
    }
}
