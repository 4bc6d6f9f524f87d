//! dpip: any words give a request or a message. dpip has no library, so this
//! program takes its sources and stands where its `main` does; `link` is left
//! out. Nobody listens at the socket it asks.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code)]

#[rustfmt::skip]
#[path = "../../dpip-rs/src/addr.rs"]
mod addr;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/args.rs"]
mod args;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/failure.rs"]
mod failure;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/ipv6.rs"]
mod ipv6;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/maddr.rs"]
mod maddr;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/neigh.rs"]
mod neigh;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/out.rs"]
mod out;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/route.rs"]
mod route;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/route6.rs"]
mod route6;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/vlan.rs"]
mod vlan;
#[rustfmt::skip]
#[path = "../../dpip-rs/src/words.rs"]
mod words;

use args::{Command, Options, Parsed};
use dpvs_ctl::Client;
use dpvs_fuzz::Target;
use failure::Failure;
use out::Out;

/// As in dpip's `main`.
struct Cx {
    options: Options,
    client: Client,
    out: Out,
}

type Run = fn(&mut Cx, Command, &[String]) -> Result<(), Failure>;

const OBJECTS: [(&str, Run); 6] = [
    ("addr", addr::run),
    ("route", route::run),
    ("neigh", neigh::run),
    ("maddr", maddr::run),
    ("vlan", vlan::run),
    ("ipv6", ipv6::run),
];

const TARGET: Target = Target {
    name: "dpip",
    run,
    seeds,
    words: &[
        "addr ",
        "route ",
        "neigh ",
        "maddr ",
        "vlan ",
        "ipv6 ",
        "show ",
        "add ",
        "del ",
        "set ",
        "flush ",
        "dev ",
        "dpdk0 ",
        "via ",
        "src ",
        "scope ",
        "host ",
        "kni_host ",
        "sapool ",
        "lladdr ",
        "00:11:22:33:44:55 ",
        "mtu ",
        "-6 ",
        "-4 ",
        "-f inet6 ",
        "-s ",
        "-v ",
        "-i 1 ",
        "--",
        "10.0.0.1/24 ",
        "2001:db8::1/64 ",
        "default ",
        "/",
        "-1 ",
        "4294967296 ",
        "broadcast ",
        "valid_lft ",
        "prefered_lft ",
        "forever ",
        "link ",
        "id ",
        "proto ",
        "802.1q ",
        "\n",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().take(16) {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match args::parse(&argv) {
            Ok(Parsed::Line(line)) => object(line),
            Ok(_) => {}
            Err(error) => assert!(!error.lines("dpip").is_empty(), "refused without a reason"),
        }
    }
}

fn object(line: args::Line) {
    let [name, command, words @ ..] = line.words.as_slice() else {
        return;
    };
    let found = OBJECTS.iter().find(|(known, _)| known == name);
    let (Some((_, run)), Some(command)) = (found, Command::from_word(command)) else {
        return;
    };
    let mut cx = Cx {
        options: line.options,
        client: Client::at("/nonexistent/dpvs.ipc"),
        out: Out::new(),
    };
    if let Err(failure) = run(&mut cx, command, words) {
        let _ = failure.lines("dpip");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "addr add 10.0.0.1/24 dev dpdk0 sapool\naddr show -s\n-6 addr flush dev dpdk0\n",
        "route add default via 10.0.0.254 dev dpdk0\n-6 route add 2001:db8::/64 dev dpdk0\nroute show\n",
        "neigh add 1.1.1.1 lladdr 00:11:22:33:44:55 dev dpdk0\nneigh del fe80::1 dev dpdk1\n",
        "vlan add link dpdk0 id 100 proto 802.1q\nvlan show\nmaddr show dev dpdk0\nipv6 show stats\n",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect()
}

dpvs_fuzz::target!(TARGET);
