//! `dpip link`: ports, bonds and lcores.
//!
//! Tells apart what is asked for; the files below do it: `nic` shows ports,
//! `cpu` lcores, `set` changes, `table` lays out counters, `rates` is for `-w`.

mod cpu;
mod nic;
mod rates;
mod set;
mod table;

pub(crate) use rates::Rates;

use std::fmt::Write as _;

use crate::Cx;
use crate::failure::Failure;
use crate::help;
use crate::table::{Command, Object, Row, flag_needed, key, opt, opt_pos, pos};

pub(crate) const OBJECT: Object = Object {
    name: "link",
    about: "ports, bonds and lcores",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt_pos("DEV")],
            about: "Show one device, or all: port number counted from 1, NUMA socket, MTU and \
                    queues in use; state; MAC address and offloads in use. With -s counters of \
                    packets, bytes, errors and buffers, or with -i their rates; with -v the \
                    limits of the driver, which worker serves which queue, and multicast \
                    addresses; with both the driver's own counters as well. With -w a table of \
                    rates of all devices.",
        },
        Row {
            command: Command::Show,
            args: &[pos("BOND"), flag_needed("status")],
            about: "Show the state of a bonding device and of its members.",
        },
        Row {
            command: Command::Show,
            args: &[pos("cpu|cpuN")],
            about: "Show the lcores, or one, and the queues that each serves. With -s counters \
                    of loops and bursts: zpktburst are polls that found nothing, fpktburst \
                    those that filled a whole burst, z2hpktburst bursts of up to half the size, \
                    h2fpktburst those above; with -i or -w their rates.",
        },
        Row {
            command: Command::Set,
            args: &[
                pos("DEV"),
                opt("promisc", "on|off"),
                opt("allmulticast", "on|off"),
                opt("forward2kni", "on|off"),
                opt("tc-egress", "on|off"),
                opt("tc-ingress", "on|off"),
                opt("lldp", "on|off"),
                opt("link", "up|down"),
                opt("addr", "MAC"),
                opt("bond-mode", "MODE"),
                opt("bond-primary", "DEV"),
                opt("bond-xmit-policy", "POLICY"),
                opt("bond-monitor-interval", "MS"),
                opt("bond-link-down-prop", "MS"),
                opt("bond-link-up-prop", "MS"),
            ],
            about: "Change one thing of a device; only the first pair of item and value counts.",
        },
        Row {
            command: Command::Add,
            args: &[pos("BOND"), key("bond-slave", "DEV")],
            about: "Add a member to a bond.",
        },
        Row {
            command: Command::Del,
            args: &[pos("BOND"), key("bond-slave", "DEV")],
            about: "Take a member from a bond.",
        },
    ],
    terms: &[
        ("MODE", "0 to 6"),
        ("POLICY", "layer2 | layer23 | layer34"),
        ("MS", "milliseconds"),
    ],
    notes: "",
    run,
};

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
    Failure::invalid(complaint).and(help::object(&OBJECT).trim_end())
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
