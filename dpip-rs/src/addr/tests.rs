//! Words in, message out; message in, lines out.

use super::*;
use dpvs_ctl::Name;
use dpvs_ctl::msg::IfAddrStats;

fn entry(line: &str, command: Command, family: Family) -> Result<IfAddr, Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words, command, family)
}

fn said(line: &str, command: Command) -> String {
    entry(line, command, Family::Unspec)
        .unwrap_err()
        .lines("dpip")
        .remove(0)
}

#[test]
fn words_in_any_order() {
    let expected = IfAddr {
        af: Af::INET,
        valid_lft: 60,
        prefered_lft: 30,
        flags: ifa_flag::SAPOOL,
        ifname: Name::truncated("dpdk0"),
        bcast: Ip16::from_ip("10.0.0.255".parse().unwrap()),
        addr: Ip16::from_ip("10.0.0.1".parse().unwrap()),
        plen: 24,
        scope: ifa_scope::LINK,
        ..IfAddr::default()
    };
    for line in [
        "10.0.0.1/24 dev dpdk0 broadcast 10.0.0.255 valid_lft 60 prefered_lft 30 scope link sapool",
        "sapool scope 2 preferred_lft 30 valid_lft 60 broadcast 10.0.0.255 dev dpdk0 10.0.0.1/24",
        "10.9.9.9 10.0.0.1/24 dev dpdk0 broadcast 10.0.0.255 valid_lft 60 prefered_lft 30 scope link sapool",
    ] {
        assert_eq!(
            entry(line, Command::Add, Family::Unspec).unwrap(),
            expected,
            "{line}"
        );
    }
}

#[test]
fn defaults() {
    let v4 = entry("10.0.0.1 dev dpdk0", Command::Del, Family::Unspec).unwrap();
    assert_eq!(
        (v4.af, v4.plen, v4.scope, v4.valid_lft, v4.flags),
        (Af::INET, 32, 0, 0, 0)
    );
    let v6 = entry(
        "2001:db8::1 dev dpdk0 valid_lft forever",
        Command::Add,
        Family::Unspec,
    );
    assert_eq!(
        (v6.as_ref().unwrap().af, v6.unwrap().plen),
        (Af::INET6, 128)
    );
    assert_eq!(
        entry("", Command::Show, Family::Inet6).unwrap().af,
        Af::INET6
    );
    assert!(
        entry("", Command::Show, Family::Unspec)
            .unwrap()
            .ifname
            .is_empty()
    );
}

#[test]
fn complaints() {
    assert_eq!(said("dev dpdk0", Command::Add), "missing IFADDR");
    assert_eq!(said("10.0.0.1", Command::Add), "no device specified.");
    assert_eq!(said("", Command::Flush), "no device specified.");
    assert_eq!(
        said("10.0.0.1 dev", Command::Add),
        "missing argument for `dev'"
    );
    assert_eq!(
        said("10.0.0 dev dpdk0", Command::Add),
        "invalid ipaddress: unspec 10.0.0"
    );
    assert_eq!(
        said("10.0.0.1 dev dpdk0 scope far", Command::Add),
        "invalid scope: far"
    );
    assert_eq!(
        said("::1/129 dev dpdk0", Command::Del),
        "invalid ipaddress: unspec ::1/129"
    );
    let failure = entry("::1 dev dpdk0", Command::Add, Family::Inet).unwrap_err();
    assert_eq!(
        failure.lines("dpip"),
        ["invalid ipaddress: inet ::1", "dpip: invalid parameter"]
    );
}

#[test]
fn lines() {
    let mut data = IfAddrData {
        entry: IfAddr {
            flags: ifa_flag::SAPOOL,
            cid: 3,
            scope: 9,
            ..entry(
                "10.0.0.1/24 dev dpdk0 valid_lft 7",
                Command::Add,
                Family::Unspec,
            )
            .unwrap()
        },
        stats: IfAddrStats {
            sa_used: 1,
            sa_free: 2,
            sa_miss: 3,
        },
    };
    let plain = IfAddrView::default();
    assert_eq!(
        text(&data, plain),
        "inet 10.0.0.1/24 scope 9 dpdk0\n     valid_lft 7 preferred_lft forever\n"
    );
    let verbose = IfAddrView {
        verbose: true,
        stats: false,
    };
    assert_eq!(
        text(&data, verbose),
        "[03] inet 10.0.0.1/24 scope 9 dpdk0\n     valid_lft 7 preferred_lft forever \
         sa_used 1 sa_free 2 sa_miss 3\n"
    );
    data.entry.flags = 0;
    assert!(!text(&data, verbose).contains("sa_used"));
    data.entry.af = Af(77);
    assert!(text(&data, plain).starts_with("unspec ::/24 scope 9 dpdk0\n"));
}
