//! The help text, made of the table of options.

use std::fmt::Write as _;

use crate::args::{Group, SPECS};

/// One line that names the release and what it is compatible with.
pub(crate) fn version() -> String {
    format!(
        "ipvsadm v1.31 (dpvs {}, control protocol 1.0.0)",
        env!("CARGO_PKG_VERSION")
    )
}

/// The help text for a program called `prog`.
pub(crate) fn help(prog: &str) -> String {
    let mut out = format!("{}\nUsage:\n", version());
    // Writing to a String never fails.
    for line in USAGE {
        let _ = writeln!(out, "  {prog} {line}");
    }
    for group in Group::ALL {
        let _ = writeln!(out, "\n{}:", group.title());
        for spec in SPECS.iter().filter(|s| s.group == group) {
            let letter = spec.short.map_or("   ".to_owned(), |c| format!("-{c},"));
            let name = format!("{letter} --{} {}", spec.long, spec.arg);
            let _ = writeln!(out, "  {name:<31} {}", spec.help);
        }
    }
    out.push_str("\nThe daemon's socket is /var/run/dpvs.ipc, or what DPVS_IPC_FILE names.");
    out
}

const USAGE: &[&str] = &[
    "-A|E virtual-service [options of services]",
    "-D virtual-service",
    "-C",
    "-R",
    "-S [-n]",
    "-a|e virtual-service -r server-address [-b|-m|-g|-i|-J] [options of servers]",
    "-d virtual-service -r server-address",
    "-L|l [virtual-service] [options of listings]",
    "-Z [virtual-service]",
    "--set tcp tcpfin udp",
    "--start-daemon master|backup [options of synchronisation]",
    "--stop-daemon master|backup [--syncid n]",
    "-P|Q virtual-service -z local-address -F device",
    "-G [virtual-service] [--cpu index] [--json]",
    "-U|V virtual-service -k address|ipset:name",
    "-B [virtual-service] [--json]",
    "-O|Y virtual-service -2 address|ipset:name",
    "-W [virtual-service] [--json]",
    "-h|v",
];
