//! Lines of configuration made of fields: what a master could publish, in the
//! language of packet scripts.

use dpvs_core::service::SchedKind;

use crate::input::Input;

const VIPS: [&str; 6] = [
    "192.0.2.10",
    "192.0.2.10",
    "[2001:db8:1::10]",
    "[2001:db8:1::10]",
    "192.0.2.11",
    "10.0.9.9",
];
const PROTOS: [&str; 4] = ["tcp", "udp", "sctp", "tcp"];
const PORTS: [&str; 5] = ["80", "53", "5060", "443", "6080"];
const SERVERS: [&str; 9] = [
    "10.0.1.11",
    "10.0.1.12",
    "[2001:db8:2::11]",
    "[2001:db8:2::12]",
    "192.0.2.99",
    "10.0.1.1",
    "127.0.0.1",
    "192.0.2.1",
    "192.0.2.10",
];

/// A service: protocol and address, or a match of any of them.
fn key(input: &mut Input<'_>) -> String {
    match input.byte() & 15 {
        0 => format!("{} 0.0.0.0:{}", snat(input, "icmp"), input.byte() & 3),
        1 => format!("{} [::]:{}", snat(input, "icmp6"), input.byte() & 3),
        _ => {
            let proto = input.pick(&PROTOS);
            format!("{proto} {}:{}", input.pick(&VIPS), input.pick(&PORTS))
        }
    }
}

fn snat(input: &mut Input<'_>, icmp: &'static str) -> &'static str {
    input.pick(&["tcp", "udp", icmp])
}

/// What a service without an address asks of packets.
fn matching(input: &mut Input<'_>, v6: bool) -> String {
    let bits = input.byte();
    let mut line = String::new();
    for (bit, four, six) in [
        (
            0,
            " src 10.0.1.0-10.0.1.255",
            " src 2001:db8:2::-2001:db8:2::ffff",
        ),
        (1, " dst 198.51.100.7", " dst 2001:db8:ff::7-2001:db8:ff::9"),
        (2, " sports 1024-65535", " sports 1-40003"),
        (3, " dports 0-79", " dports 80"),
        (4, " iif 1", " iif 0"),
        (5, " oif 0", " oif 0"),
    ] {
        if bits >> bit & 1 != 0 {
            line += if v6 { six } else { four };
        }
    }
    line
}

fn service(input: &mut Input<'_>) -> String {
    let key = key(input);
    let mut line = format!("service {key} {}", input.pick(&SchedKind::ALL).name());
    let bits = input.word();
    let mut word = |bit: u16, text: &str| {
        if bits >> bit & 1 != 0 {
            line.push(' ');
            line.push_str(text);
        }
    };
    word(0, "expire-quiescent");
    word(1, "synproxy");
    word(2, "ops");
    word(3, "quic");
    word(4, "fallback");
    word(5, "with-port");
    word(6, "qid");
    word(7, "sip");
    word(8, "laddr 10.0.1.200,10.0.1.201,2001:db8:2::200");
    word(9, "laddr none");
    word(10, "conn-timeout 7");
    word(11, "check 1");
    if line.contains(" 0.0.0.0:") || line.contains(" [::]:") {
        line += &matching(input, line.contains("[::]"));
    }
    let persistent = input.pick(&["", "", "", " persistent 1", " persistent 60 mask 120"]);
    let proxy = [
        "",
        "",
        "",
        " proxy v1",
        " proxy v2",
        " proxy v1-insecure",
        " proxy v2-insecure",
    ];
    line + persistent + input.pick(&proxy)
}

fn dest(input: &mut Input<'_>, gone: bool) -> String {
    let key = key(input);
    let port = input.pick(&["80", "8080", "0", "53"]);
    let mut line = format!("dest {key} {}:{port}", input.pick(&SERVERS));
    if gone {
        return format!("del{line}");
    }
    line += input.pick(&[
        "",
        " nat",
        " dr",
        " tunnel",
        " tunnel gre",
        " tunnel gue 6080",
        " tunnel gue 6080 csum full",
        " tunnel gue 6080 csum remote",
        " local",
        " bypass",
        " snat",
        " tunnel gre csum full",
    ]);
    line += input.pick(&["", "", " weight 0", " weight 3", " weight 65535"]);
    line += input.pick(&["", "", "", " max-conn 1", " max-conn 3 min-conn 2"]);
    line + input.pick(&["", "", "", " inhibited"])
}

fn device(input: &mut Input<'_>) -> String {
    let at = 2 + input.byte() % 4;
    match input.byte() % 12 {
        0 | 1 => format!("vlan {at} {} {}", input.byte() & 1, 99 + input.byte() % 3),
        2 => format!("delvlan {at}"),
        3 => format!("tunnel {at} ipip 10.0.1.1 10.0.1.12"),
        4 => format!("tunnel {at} gre 10.0.1.1 10.0.1.12 key 7 csum seq"),
        5 => format!(
            "tunnel {at} gre any {} tos 4 ttl 9",
            input.pick(&["any", "10.0.1.12"])
        ),
        6 => format!("addr {at} 10.0.{at}.200/24 sapool"),
        7 => format!("addr {at} 2001:db8:{at}::200/64 sapool"),
        8 => format!("mtu {at} {}", input.pick(&["1500", "1280", "9000", "68"])),
        9 => format!(
            "route 10.0.{}.0/24 port {at} via 10.0.{at}.9",
            input.byte() & 7
        ),
        10 => format!("route 0.0.0.0/0 port {at}"),
        _ => format!(
            "forward2kni {} {}",
            input.byte() & 1,
            input.pick(&["on", "off"])
        ),
    }
}

fn guard(input: &mut Input<'_>) -> String {
    let key = key(input);
    let who = input.pick(&[
        "198.51.100.7",
        "2001:db8:ff::7",
        "ipset:a",
        "ipset:b",
        "ipset:c",
    ]);
    match input.byte() % 8 {
        0 => format!("black {key} {who}"),
        1 => format!("white {key} {who}"),
        2 => format!("un{} {key} {who}", input.pick(&["black", "white"])),
        3 => format!(
            "limit {key} {} {} burst {}",
            input.pick(&[
                "pps", "bps", "cps", "src-pps", "src-bps", "src-cps", "out-pps"
            ]),
            input.pick(&["1", "10", "1000000"]),
            input.byte()
        ),
        4 => "limit vip 192.0.2.10 out-bps 100000 src-cps 2 percent 50".into(),
        5 => format!("nolimit {key}"),
        6 => {
            let kinds = [
                "bitmap:ip",
                "bitmap:ip,mac",
                "bitmap:port",
                "hash:ip",
                "hash:net",
                "hash:ip,port",
                "hash:net,port",
                "hash:net,port,iface",
                "hash:ip,port,ip",
                "hash:ip,port,net",
                "hash:net,port,net",
                "hash:net,port,net,port",
            ];
            let v6 = input.pick(&["", "", " v6"]);
            format!(
                "ipset {} {}{v6}",
                input.pick(&["a", "b", "c"]),
                input.pick(&kinds)
            )
        }
        _ => format!(
            "ipset-add {} {} {}{}",
            input.pick(&["a", "b", "c"]),
            input.pick(&[
                "198.51.100.7",
                "198.51.100.0/24",
                "198.51.100.1-198.51.100.9",
                "2001:db8:ff::7",
                "2001:db8:ff::/48",
            ]),
            input.pick(&["", "", "port tcp:80", "port udp:53 to 192.0.2.10"]),
            input.pick(&["", "", " nomatch"]),
        ),
    }
}

fn setting(input: &mut Input<'_>) -> String {
    let on = input.pick(&["on", "off"]);
    let few = input.byte() & 3;
    match input.byte() % 16 {
        0 => format!("set forwarding {on}"),
        1 => format!("set forwarding6 {on}"),
        2 => format!("set xmit-ttl {on}"),
        3 => format!("set fast-xmit {on}"),
        4 => format!("set defence-tcp-drop {on}"),
        5 => format!("set defence-udp-drop {on}"),
        6 => format!("set uoa {}", input.pick(&["opp", "ipo", "3", "1"])),
        7 => format!("set synproxy timestamp {on}"),
        8 => format!("set synproxy defer-rs-syn {on}"),
        9 => format!("set synproxy close-client-window {on}"),
        10 => format!("set synproxy wscale {}", few * 4),
        11 => format!("set synproxy max-ack-saved {few}"),
        12 => format!("set synproxy auto-syn-rate {}", few * 2),
        13 => format!("set queue {few}"),
        14 => format!(
            "mtu {} {}",
            few & 1,
            input.pick(&["1500", "1280", "576", "68", "9000", "600"])
        ),
        _ => format!("set expire-quiescent-template {on}"),
    }
}

/// A line.
pub(crate) fn made(input: &mut Input<'_>) -> String {
    match input.byte() % 16 {
        0..=2 => service(input),
        3..=6 => dest(input, false),
        7 => dest(input, true),
        8 => format!("delservice {}", key(input)),
        9 | 10 => device(input),
        11..=13 => guard(input),
        _ => setting(input),
    }
}

/// Whether it is a line that a master would not publish, or one that lets
/// connections outlive the test.
pub(crate) fn is_odd(words: &[&str]) -> bool {
    let long = words.windows(2).any(|w| {
        matches!(w[0], "conn-timeout" | "persistent" | "neigh-timeout")
            && w[1].parse::<u32>().is_ok_and(|n| n > 900)
    });
    let timeout =
        words.get(1) == Some(&"timeout") && words[3].parse::<u32>().is_ok_and(|n| n > 900);
    long || timeout
}
