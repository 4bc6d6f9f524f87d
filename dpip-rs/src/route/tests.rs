//! Words in, message out; message in, line out.

use super::*;
use proptest::prelude::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn route(line: &str) -> Result<Route, Failure> {
    to_change(&parse(&words(line), Family::Inet)?)
}

fn said(line: &str) -> String {
    route(line).unwrap_err().lines("dpip").remove(0)
}

fn slot(ip: &str) -> Ip16 {
    Ip16::from_ip(ip.parse().unwrap())
}

#[test]
fn words_in_any_order() {
    let expected = Route {
        af: Af::INET,
        mtu: 1400,
        flags: rtf::FORWARD,
        metric: 7,
        dst: RtAddr {
            addr: slot("10.0.0.0"),
            plen: 8,
        },
        src: RtAddr {
            addr: slot("192.0.2.1"),
            plen: 0,
        },
        gateway: RtAddr {
            addr: slot("192.0.2.254"),
            plen: 0,
        },
        ifname: Name::truncated("dpdk0"),
        ..Route::default()
    };
    for line in [
        "10.0.0.0/8 via 192.0.2.254 dev dpdk0 src 192.0.2.1 mtu 1400 metric 7",
        "metric 7 mtu 1400 src 192.0.2.1 dev dpdk0 via 192.0.2.254 10.0.0.0/8 scope global",
    ] {
        assert_eq!(route(line).unwrap(), expected, "{line}");
    }
}

#[test]
fn scopes_are_flags() {
    for (scope, flags) in [
        ("scope host", 0xc00),
        ("scope kni_host", 0x2400),
        ("scope link", 0x400),
        ("scope global", 0x400),
        ("local", 0x404),
        ("scope host local", 0xc04),
        ("", 0x400),
    ] {
        assert_eq!(
            route(&format!("10.0.0.1 dev dpdk0 {scope}")).unwrap().flags,
            flags,
            "{scope}"
        );
    }
}

#[test]
fn default_is_everything() {
    let default = route("default via 192.0.2.254 dev dpdk0").unwrap();
    assert_eq!(default.dst, RtAddr::default());
    assert_eq!(route("10.0.0.1 dev dpdk0").unwrap().dst.plen, 32);
}

#[test]
fn complaints() {
    assert_eq!(said("dev dpdk0"), "missing prefix");
    assert_eq!(
        said("10.0.0.0/33 dev dpdk0"),
        "invalid ipaddress: inet 10.0.0.0/33"
    );
    assert_eq!(
        said("2001:db8::/64 dev dpdk0"),
        "invalid ipaddress: inet 2001:db8::/64"
    );
    assert_eq!(said("10.0.0.0/8 via"), "missing argument for `via'");
    assert_eq!(said("10.0.0.0/8 mtu big"), "invalid mtu: big");
    assert_eq!(said("10.0.0.0/8 metric 65536"), "invalid metric: 65536");
    assert_eq!(said("10.0.0.0/8 scope site"), "invalid scope: site");
    // Without a device the daemon refuses.
    assert!(route("10.0.0.0/8").unwrap().ifname.is_empty());
    let spec = words("10.0.0.0/8");
    let failure = need_device(&parse(&spec, Family::Inet).unwrap()).unwrap_err();
    assert_eq!(failure.lines("dpip")[0], "no device specified");
}

#[test]
fn lines_name_the_scope() {
    let mut one = route("10.0.0.0/8 dev dpdk0 mtu 1500").unwrap();
    let head = "inet 10.0.0.0/8 via 0.0.0.0 src 0.0.0.0 dev dpdk0 mtu 1500 tos 0 scope";
    assert_eq!(text(&one), format!("{head} link metric 0 proto auto \n"));
    one.flags |= rtf::KNI;
    assert_eq!(
        text(&one),
        format!("{head} kni_host metric 0 proto auto \n")
    );
    one.flags |= rtf::LOCALIN;
    assert_eq!(text(&one), format!("{head} host metric 0 proto auto \n"));
    let far = text(&route("default via 192.0.2.254 dev dpdk0 metric 3").unwrap());
    assert_eq!(
        far,
        "inet 0.0.0.0/0 via 192.0.2.254 src 0.0.0.0 dev dpdk0 mtu 0 tos 0 scope global metric 3 \
         proto auto \n"
    );
}

proptest! {
    #[test]
    fn any_words_give_a_message_or_a_line(line in "(via|src|dev|mtu|metric|scope|local|default|[0-9./:a-f]{1,9}|\\PC{0,5}| ){0,12}") {
        let _ = route(&line);
        let _ = parse(&words(&line), Family::Inet6);
    }
}
