//! The order of listings: recordings of ipvsadm 1.31 hold tables of random
//! addresses as the kernel gave them (`--nosort`) and as ipvsadm sorted them.
//! The whole of the recordings is replayed in compat-tests.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use dpvs_ctl::msg::{Dest, Service};
use dpvs_ctl::{Af, Ip16};
use serde_json::Value;

struct Case {
    id: String,
    argv: Vec<String>,
    stdout: String,
}

fn read(group: &str) -> Vec<Case> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/golden/ipvsadm");
    let text = fs::read_to_string(golden.join(format!("{group}.jsonl"))).unwrap();
    let cases = text.lines().map(|line| {
        let v: Value = serde_json::from_str(line).unwrap();
        Case {
            id: v["id"].as_str().unwrap().to_owned(),
            argv: serde_json::from_value(v["argv"].clone()).unwrap(),
            stdout: v["stdout"].as_str().unwrap().to_owned(),
        }
    });
    cases.collect()
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
