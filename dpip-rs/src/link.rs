//! `dpip link`: ports, bonds and lcores.
//!
//! Tells apart what is asked for; the files below do it: `nic` shows ports,
//! `cpu` lcores, `set` changes, `table` lays out counters.

mod cpu;
mod nic;
mod set;
mod table;

use std::fmt::Write as _;

use crate::Cx;
use crate::args::Command;
use crate::failure::Failure;

pub(crate) const HELP: &str = "\
Usage: dpip [-v] [-s [-i SECS [-c N] [-C]]] link show [DEV | cpu | cpuN]
       dpip link show BOND status
       dpip link set DEV ITEM VALUE
       dpip link {add|del} BOND bond-slave DEV
ITEM VALUE:
       promisc | allmulticast | forward2kni | tc-egress | tc-ingress | lldp   on|off
       link                    up|down
       addr                    MAC
       bond-mode               0..6
       bond-primary            DEV
       bond-xmit-policy        LAYER2|LAYER23|LAYER34
       bond-monitor-interval   MS (1 or more)
       bond-link-down-prop     MS
       bond-link-up-prop       MS
";

/// What is to be done with a command line that names a `cpu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CpuName {
    All,
    One(u8),
    /// Begins like a CPU but is none.
    Bad,
}

/// Does a `link` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let name = words.first().map_or("", String::as_str);
    match (command, cpu_name(name)) {
        (Command::Show, Some(CpuName::Bad)) => Err(usage(format!("invalid cpu: {name}"))),
        (Command::Show, Some(CpuName::All)) => {
            rounds_or_once(cx)?;
            cpu::show_all(cx)
        }
        (Command::Show, Some(CpuName::One(lcore))) => {
            rounds_or_once(cx)?;
            cpu::show_one(cx, lcore)
        }
        (Command::Show, None) => {
            rounds_or_once(cx)?;
            nic::show(cx, words)
        }
        (Command::Add | Command::Del | Command::Set, Some(_)) => {
            // DIFFERS: the C tool does nothing and calls it a success.
            Err(Failure::invalid(format!(
                "{name}: lcores can only be shown"
            )))
        }
        (Command::Set, None) => set::set(cx, words),
        (Command::Add | Command::Del, None) => set::member(cx, command, words),
        _ => Err(Failure::not_supported()),
    }
}

/// `cpu` or `cpuN`, if the name begins like that. No device may.
fn cpu_name(name: &str) -> Option<CpuName> {
    let digits = name.strip_prefix("cpu")?;
    Some(match digits.parse() {
        _ if digits.is_empty() => CpuName::All,
        Ok(lcore) if digits.bytes().all(|digit| digit.is_ascii_digit()) => CpuName::One(lcore),
        _ => CpuName::Bad,
    })
}

/// Refuses `-c` without `-i`, which could only mean that one of them was
/// forgotten. Without `-s` neither has a meaning.
fn rounds_or_once(cx: &Cx) -> Result<(), Failure> {
    if cx.options.stats && cx.options.count.is_some() && cx.options.interval.is_none() {
        return Err(usage("miss statistics display interval".to_owned()));
    }
    Ok(())
}

/// A complaint, then the help of the object.
fn usage(complaint: String) -> Failure {
    Failure::invalid(complaint).and(HELP.trim_end())
}

/// Appends `cells`, left-aligned in columns of `width`, as one line.
fn row(text: &mut String, width: usize, cells: &[&dyn std::fmt::Display]) {
    text.push_str("    ");
    for cell in cells {
        let _ = write!(text, "{:<width$}", cell.to_string());
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_like_a_cpu() {
        assert_eq!(cpu_name("cpu"), Some(CpuName::All));
        assert_eq!(cpu_name("cpu0"), Some(CpuName::One(0)));
        assert_eq!(cpu_name("cpu63"), Some(CpuName::One(63)));
        for bad in ["cpu256", "cpux", "cpu1x", "cpu+1", "cpu 1"] {
            assert_eq!(cpu_name(bad), Some(CpuName::Bad), "{bad}");
        }
        for device in ["dpdk0", "", "bond0", "CPU0", "mycpu"] {
            assert_eq!(cpu_name(device), None, "{device}");
        }
    }

    #[test]
    fn rows_are_padded() {
        let mut text = String::new();
        row(&mut text, 8, &[&"a", &12345678_u64, &"c"]);
        assert_eq!(text, "    a       12345678c       \n");
    }
}
