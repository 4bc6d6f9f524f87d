//! Words in, message out; message in, line out.

use super::*;
use dpvs_ctl::{Ip16, Name};

fn route(line: &str) -> Route6 {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let spec = parse(&words, Family::Inet6).unwrap();
    Route6 {
        dst: destination(&spec, Family::Inet6).unwrap(),
        ..message(&spec)
    }
}

fn slot(ip: &str) -> Ip16 {
    Ip16::from_ip(ip.parse().unwrap())
}

#[test]
fn words_of_other_tools_are_ignored() {
    let expected = Route6 {
        dst: RtAddr {
            addr: slot("2001:db8::"),
            plen: 32,
        },
        src: RtAddr {
            addr: slot("2001:db8::1"),
            plen: 128,
        },
        ifname: Name::truncated("dpdk0"),
        gateway: slot("fe80::1"),
        mtu: 1400,
        flags: rtf::FORWARD,
        ..Route6::default()
    };
    let line = "2001:db8::/32 via fe80::1 src 2001:db8::1 dev dpdk0 mtu 1400";
    assert_eq!(route(line), expected);
    assert_eq!(
        route(&format!("onlink tos 4 proto static metric 5 {line}")),
        expected
    );
}

#[test]
fn scopes_are_flags() {
    for (scope, flags) in [
        ("scope host", rtf::LOCALIN),
        ("local", rtf::LOCALIN),
        ("scope kni_host", rtf::KNI),
        ("scope link", rtf::FORWARD),
        ("scope global", rtf::FORWARD),
        ("", rtf::FORWARD),
    ] {
        assert_eq!(
            route(&format!("2001:db8::1 dev dpdk0 {scope}")).flags,
            flags,
            "{scope}"
        );
    }
}

#[test]
fn lines() {
    assert_eq!(
        text(&route("2001:db8::/64 dev dpdk0")),
        "inet6 2001:db8::/64 dev dpdk0 scope link\n"
    );
    assert_eq!(
        text(&route(
            "default via fe80::1 src 2001:db8::1 dev dpdk0 mtu 1500"
        )),
        "inet6 default via fe80::1 src 2001:db8::1 dev dpdk0 mtu 1500 scope global\n"
    );
    assert_eq!(
        text(&route("2001:db8::1 dev dpdk0 scope host")),
        "inet6 2001:db8::1/128 dev dpdk0 scope host\n"
    );
    assert_eq!(
        text(&route("2001:db8::1 dev dpdk0 scope kni_host")),
        "inet6 2001:db8::1/128 dev dpdk0 scope kni_host\n"
    );
    let odd = Route6 {
        flags: 0,
        ..route("2001:db8::1 dev dpdk0")
    };
    assert_eq!(text(&odd), "inet6 2001:db8::1/128 dev dpdk0 scope ::\n");
    assert_eq!(
        text(&route("::/8 dev dpdk0")),
        "inet6 ::/8 dev dpdk0 scope link\n"
    );
}
