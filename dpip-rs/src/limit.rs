//! `dpip limit`: rate limits of services, of virtual addresses and of each of
//! their clients. Our own; the C daemon has none of it.
//!
//! Knows the message and its line.

use std::net::{IpAddr, SocketAddr};

use dpvs_ctl::msg::RateLimit;
use dpvs_ctl::{Af, Be16, ErrCode, Ip16};
use serde_json::json;

use crate::Cx;
use crate::failure::Failure;
use crate::flow::untold;
use crate::out::Record;
use crate::table::{Arg, Command, Object, Row, opt, opt_pos, pos};
use crate::words::{Word, Words, number};

const SET: [Arg; 11] = [
    pos("SERVICE"),
    opt("pps", "N"),
    opt("bps", "N"),
    opt("out-pps", "N"),
    opt("out-bps", "N"),
    opt("cps", "N"),
    opt("src-pps", "N"),
    opt("src-bps", "N"),
    opt("src-cps", "N"),
    opt("percent", "N"),
    opt("burst", "MS"),
];

pub(crate) const OBJECT: Object = Object {
    name: "limit",
    about: "rate limits of services, addresses and clients",
    short_keys: false,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt_pos("SERVICE")],
            about: "List the limits in force, or that of a service or address.",
        },
        Row {
            command: Command::Set,
            args: &SET,
            about: "Limit a service or an address; what is not named is not limited.",
        },
        Row {
            command: Command::Del,
            args: &[pos("SERVICE")],
            about: "Remove the limits of a service or address.",
        },
    ],
    terms: &[
        (
            "SERVICE",
            "tcp:VIP:PORT, udp:VIP:PORT or sctp:VIP:PORT, or VIP for all its services together",
        ),
        (
            "N",
            "packets, bits or connections a second, with k, m or g: pps and bps of clients, \
             out-pps and out-bps to clients, cps new connections, src- of each client (IPv4 \
             address, IPv6 network of 64 bits); percent: of a hundred packets so many pass",
        ),
        (
            "MS",
            "how much may come at once, as the time in which it would; 100 unless told otherwise",
        ),
    ],
    notes: "",
    run,
};

/// Does a `limit` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let limit = parse(words).map_err(|failure| failure.at("parse"))?;
    let named = limit.af != 0;
    if command == Command::Show {
        for one in cx.client.limits().map_err(untold)? {
            if !named || service(&one) == service(&limit) {
                cx.out.emit(record(&one))?;
            }
        }
        return Ok(());
    }
    if !named {
        return Err(Failure::invalid("missing service").at("parse"));
    }
    match command {
        Command::Set if !limit.limits() => Err(Failure::invalid("no limit is named").at("check")),
        Command::Set => cx.client.set_limit(&limit).map_err(untold),
        Command::Del if limit.limits() => {
            Err(Failure::invalid("all limits are removed together").at("check"))
        }
        Command::Del => match cx.client.set_limit(&limit) {
            Err(e) if e.code() == Some(ErrCode::BUSY) => Err(Failure::invalid(
                "what is left is the service's own limit (bps, limit_proportion)",
            )),
            other => other.map_err(untold),
        },
        _ => Err(Failure::not_supported()),
    }
}

fn parse(words: &[String]) -> Result<RateLimit, Failure> {
    let mut limit = RateLimit::default();
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key(key) => {
                let value = words.value(key)?;
                let field = match key {
                    "pps" => &mut limit.pps,
                    "bps" => &mut limit.bps,
                    "out-pps" => &mut limit.out_pps,
                    "out-bps" => &mut limit.out_bps,
                    "cps" => &mut limit.cps,
                    "src-pps" => &mut limit.src_pps,
                    "src-bps" => &mut limit.src_bps,
                    "src-cps" => &mut limit.src_cps,
                    "percent" => {
                        limit.percent = number(key, value)?;
                        continue;
                    }
                    _ => {
                        limit.burst_ms = number(key, value)?;
                        continue;
                    }
                };
                *field = count(key, value)?;
            }
            Word::Other(word) if limit.af == 0 => put_service(&mut limit, word)?,
            Word::Other(word) => {
                return Err(Failure::invalid(format!("unknown argument: {word}")));
            }
        }
    }
    Ok(limit)
}

/// `tcp:VIP:PORT` and the like, or `VIP`.
fn put_service(limit: &mut RateLimit, word: &str) -> Result<(), Failure> {
    let wrong = || {
        Failure::invalid(format!(
            "invalid service: '{word}' (tcp:VIP:PORT, udp:VIP:PORT, sctp:VIP:PORT or VIP)"
        ))
    };
    let proto = [("tcp:", 6), ("udp:", 17), ("sctp:", 132)];
    let found = proto
        .iter()
        .find_map(|(name, proto)| Some((word.strip_prefix(name)?, *proto)));
    let (ip, port) = match found {
        Some((end, proto)) => {
            limit.proto = proto;
            let end: SocketAddr = end.parse().map_err(|_| wrong())?;
            (end.ip(), end.port())
        }
        None => (word.parse::<IpAddr>().map_err(|_| wrong())?, 0),
    };
    limit.vaddr = Ip16::from_ip(ip);
    limit.vport = Be16::new(port);
    limit.af = Af::of(ip).as_u8();
    Ok(())
}

/// Digits and perhaps k, m or g.
fn count(what: &str, word: &str) -> Result<u64, Failure> {
    let digits = word.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let unit: u64 = match word.strip_prefix(digits).unwrap_or_default() {
        "" => 1,
        "k" | "K" => 1_000,
        "m" | "M" => 1_000_000,
        "g" | "G" => 1_000_000_000,
        _ => 0,
    };
    let count: u64 = number(what, digits)?;
    count
        .checked_mul(unit)
        .filter(|_| unit > 0)
        .ok_or_else(|| Failure::invalid(format!("invalid {what}: {word}")))
}

/// The service as it is typed.
fn service(limit: &RateLimit) -> String {
    let ip = limit.vaddr.to_ip(Af::from(limit.af));
    let Some(ip) = ip else {
        return String::new();
    };
    let proto = match limit.proto {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        1 => "icmp",
        58 => "icmpv6",
        _ => return ip.to_string(),
    };
    match limit.vport.get() {
        // A match service's own, which has a number in place of address and port.
        n if ip.is_unspecified() => format!("match:{proto}:{n}"),
        0 if matches!(limit.proto, 1 | 58) => format!("{proto}:{ip}"),
        port => format!("{proto}:{}", SocketAddr::new(ip, port)),
    }
}

fn record(limit: &RateLimit) -> Record {
    let name = service(limit);
    let mut text = format!("limit {name}");
    let mut value = json!({"service": name});
    for (key, n) in [
        ("pps", limit.pps),
        ("bps", limit.bps),
        ("out-pps", limit.out_pps),
        ("out-bps", limit.out_bps),
        ("cps", limit.cps),
        ("src-pps", limit.src_pps),
        ("src-bps", limit.src_bps),
        ("src-cps", limit.src_cps),
        ("percent", limit.percent.into()),
        ("burst", limit.burst_ms.into()),
    ] {
        if n > 0 {
            text.push_str(&format!(" {key} {n}"));
            value[key.replace('-', "_")] = json!(n);
        }
    }
    text.push('\n');
    Record::new(text, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Result<String, Failure> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        parse(&words).map(|limit| {
            let all = [
                limit.pps,
                limit.bps,
                limit.cps,
                limit.src_cps,
                limit.percent.into(),
            ];
            format!("{} {all:?}", service(&limit))
        })
    }

    #[test]
    fn limits_of_services_that_are_named_otherwise() {
        for (proto, addr, port, name) in [
            (17, "0.0.0.0", 2, "match:udp:2"),
            (58, "::", 3, "match:icmpv6:3"),
            (1, "192.0.2.10", 0, "icmp:192.0.2.10"),
            (0, "192.0.2.10", 0, "192.0.2.10"),
        ] {
            let ip: IpAddr = addr.parse().unwrap();
            let limit = RateLimit {
                proto,
                vaddr: Ip16::from_ip(ip),
                vport: Be16::new(port),
                af: Af::of(ip).as_u8(),
                ..RateLimit::default()
            };
            assert_eq!(service(&limit), name);
        }
    }

    #[test]
    fn words_of_a_limit() {
        for (words, meant) in [
            (
                "tcp:192.0.2.10:80 pps 10k",
                "tcp:192.0.2.10:80 [10000, 0, 0, 0, 0]",
            ),
            (
                "bps 2g 192.0.2.10 percent 90",
                "192.0.2.10 [0, 2000000000, 0, 0, 90]",
            ),
            (
                "udp:[2001:db8::1]:53 cps 5 src-cps 1",
                "udp:[2001:db8::1]:53 [0, 0, 5, 1, 0]",
            ),
        ] {
            assert_eq!(line(words).unwrap(), meant);
        }
        for bad in [
            "tcp:192.0.2.10",
            "icmp:192.0.2.10:1 pps 1",
            "192.0.2.10 pps",
            "192.0.2.10 pps 1kk",
            "192.0.2.10 pps x",
            "192.0.2.10 pps 99999999999g",
            "192.0.2.10 192.0.2.11",
        ] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }
}
