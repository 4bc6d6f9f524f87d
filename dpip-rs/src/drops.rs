//! `dpip drop` and `dpip counter`: packets that lcores dropped, by reason, and what
//! else they count. Our own; the C daemon does not tell.
//!
//! Knows the message and its table.

use dpvs_ctl::msg::DropCount;
use serde_json::json;

use crate::Cx;
use crate::failure::Failure;
use crate::flow::untold;
use crate::out::Record;
use crate::table::{Arg, Command, Object, Row, flag, opt};
use crate::words::{Word, Words, number};

const ARGS: &[Arg] = &[opt("cpu", "N"), flag("total")];

pub(crate) const OBJECT: Object = Object {
    name: "drop",
    about: "packets dropped, by reason",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: ARGS,
        about: "List how many packets each lcore dropped for which reason; of one lcore, or \
                summed over all.",
    }],
    terms: REASONS,
    notes: "Reasons that never occurred are left out, or shown with -v.\n\
            All reasons of an lcore together are the dropped of `dpip -s link show cpu'.",
    run: drops,
};

pub(crate) const COUNTERS: Object = Object {
    name: "counter",
    about: "what workers count beside drops",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: ARGS,
        about: "List frames received, taken over from other workers, made, given to the kernel \
                and handed over; connections; client addresses told to servers (toa, proxy, uoa); \
                the SYN proxy's counters; and IPv4's and IPv6's (as RFC 4293 has them).",
    }],
    terms: &[],
    notes: "Counters that are 0 are left out, or shown with -v.",
    run: counters,
};

/// Every reason and what it means; a test of the daemon holds them together.
const REASONS: &[(&str, &str)] = &[
    (
        "not-configured",
        "Came before there was a configuration, or from a port it does not have",
    ),
    ("truncated", "Shorter than its own headers say"),
    ("malformed", "A header field that cannot be"),
    ("bad-checksum", "IPv4 header checksum"),
    ("other-host", "Not for our MAC address"),
    ("ipv6-off", "IPv6 switched off"),
    (
        "fragment",
        "Fragment that fits no datagram: overlaps, is cut before the ports, belongs to a connection that is gone, or is of a packet to a tunnel",
    ),
    (
        "bad-address",
        "Source or destination address that must not be on a wire",
    ),
    (
        "no-host-port",
        "Would go to the kernel, but the port has no host port",
    ),
    (
        "host-limit",
        "Would go to the kernel, which was given as many as it may be",
    ),
    ("no-route", "No route to the next hop"),
    ("not-forwarding", "Forwarding is switched off"),
    ("ttl-exceeded", "TTL or hop limit used up"),
    ("too-big", "Larger than the MTU and must not be fragmented"),
    ("no-dest", "Service has no usable server"),
    (
        "overload",
        "The chosen server is at its connection threshold",
    ),
    (
        "no-laddr",
        "Service has no local address of the server's family",
    ),
    (
        "peer-silent",
        "Another worker did not say in time what it knows of the client",
    ),
    (
        "no-lport",
        "All ports of the local addresses are in use towards that server",
    ),
    ("conn-table-full", "The connection table is full"),
    ("no-buffer", "No packet buffer"),
    (
        "neigh-unresolved",
        "Neighbour did not answer, or its queue is full",
    ),
    (
        "quiescent",
        "Server is gone or has weight 0 and the service expires such connections",
    ),
    ("defence-udp", "Refused by defence_udp_drop"),
    ("defence-tcp", "Refused by defence_tcp_drop"),
    (
        "mode-unsupported",
        "The server's forwarding mode cannot carry such a packet",
    ),
    (
        "no-room",
        "No room in the frame for what has to be inserted",
    ),
    (
        "proxy-order",
        "Came before the first segment of a connection with PROXY protocol, which will have to be sent again",
    ),
    (
        "synproxy-no-dest",
        "SYN for the SYN proxy of a service without a usable server",
    ),
    (
        "synproxy-null-ack",
        "ACK without data where a server is asked only then (defer_rs_syn)",
    ),
    (
        "synproxy-waiting",
        "Nothing to keep, or nothing of ours, while a proxied SYN waits for its answer",
    ),
    (
        "synproxy-queue",
        "More than is kept of a client until its server answers",
    ),
    (
        "synproxy-ack-storm",
        "The server's ACKs that say nothing new, one too many",
    ),
    (
        "icmp-limited",
        "Dropped without the ICMP error that is due, because of the rate limit",
    ),
    (
        "fragment-lost",
        "Fragment whose first one did not come in time, or that had no room to wait",
    ),
    ("black-list", "The client is on the service's black list"),
    (
        "white-list",
        "The service has a white list, and the client is not on it",
    ),
    (
        "rate-limit",
        "A rate limit of the service, its address or the client",
    ),
    (
        "traffic-control",
        "A classifier drops it, or its queue is full",
    ),
    (
        "unknown-vlan",
        "Tagged for a VLAN that has no device, on a port that has others",
    ),
    (
        "tunnel",
        "Cannot go through the tunnel it was routed to, or came by one out of order or without owner",
    ),
    (
        "tx-full",
        "A transmit queue of a port was full, also when tried again",
    ),
    (
        "host-ring-full",
        "The ring to the kernel's interface was full",
    ),
    (
        "worker-ring-full",
        "The ring to the worker that owns the connection was full",
    ),
    (
        "no-device",
        "The device it was for is gone, or has no queue on this lcore",
    ),
    ("no-tag-room", "No room in the buffer for the VLAN tag"),
    (
        "rx-ring-full",
        "An isolated lcore's ring to its worker was full",
    ),
    ("kernel-full", "The kernel did not take it"),
    (
        "from-kernel-full",
        "The kernel's packet: the ring to the worker that sends it, or the transmit queue of the kernel's own, was full",
    ),
];

/// Which counts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Cpu(u8),
    Total,
}

/// Does a `drop` command.
fn drops(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let which = parse(words, &OBJECT)?;
    let counts = cx.client.drops().map_err(untold)?;
    list(cx, counts, which, ("reason", "packets"))
}

/// Does a `counter` command.
fn counters(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let which = parse(words, &COUNTERS)?;
    let counts = cx.client.counters().map_err(untold)?;
    list(cx, counts, which, ("counter", "value"))
}

fn list(
    cx: &mut Cx,
    mut counts: Vec<DropCount>,
    which: Which,
    (name, number): (&str, &str),
) -> Result<(), Failure> {
    match which {
        Which::All => {}
        Which::Cpu(cpu) => counts.retain(|count| count.cid == cpu),
        Which::Total => counts = summed(&counts),
    }
    if !cx.options.verbose {
        counts.retain(|count| count.count > 0);
    }
    cx.out
        .heading(&format!("{:<6} {name:<20} {number:>20}\n", "cpu"))?;
    for DropCount { cid, count, reason } in counts {
        let (cpu, value) = match which {
            Which::Total => ("all".to_owned(), json!("all")),
            _ => (format!("cpu{cid}"), json!(cid)),
        };
        let text = format!("{cpu:<6} {reason:<20} {count:>20}\n");
        let value = json!({"cpu": value, name: reason.text(), number: count});
        cx.out.emit(Record::new(text, value))?;
    }
    Ok(())
}

fn parse(words: &[String], object: &'static Object) -> Result<Which, Failure> {
    let mut which = Which::All;
    let mut words = Words::new(words, object);
    while let Some(word) = words.next() {
        which = match word {
            Word::Key("total") => Which::Total,
            Word::Key(key @ "cpu") => Which::Cpu(number(key, words.value(key)?)?),
            Word::Key(other) | Word::Other(other) => {
                return Err(Failure::invalid(format!("unknown argument: {other}")));
            }
        };
    }
    Ok(which)
}

/// One count a reason, in the order in which they first come.
fn summed(counts: &[DropCount]) -> Vec<DropCount> {
    let mut sums: Vec<DropCount> = Vec::new();
    for count in counts {
        match sums.iter_mut().find(|sum| sum.reason == count.reason) {
            Some(sum) => sum.count = sum.count.saturating_add(count.count),
            None => sums.push(*count),
        }
    }
    sums
}
