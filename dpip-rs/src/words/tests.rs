//! Values as typed, right and wrong.

use super::*;
use proptest::prelude::*;

fn said(result: Result<impl std::fmt::Debug, Failure>) -> String {
    result.unwrap_err().lines("dpip").remove(0)
}

#[test]
fn addresses_follow_the_family() {
    assert_eq!(
        address("192.0.2.1", Family::Unspec).unwrap().to_string(),
        "192.0.2.1"
    );
    assert_eq!(
        address("2001:db8::1", Family::Unspec).unwrap().to_string(),
        "2001:db8::1"
    );
    assert_eq!(
        said(address("192.0.2.1", Family::Inet6)),
        "invalid ipaddress: inet6 192.0.2.1"
    );
    assert_eq!(
        said(address("::1", Family::Inet)),
        "invalid ipaddress: inet ::1"
    );
    for word in [
        "",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1 ",
        "01.2.3.4",
        "g::",
        "dpdk0",
    ] {
        assert_eq!(
            said(address(word, Family::Unspec)),
            format!("invalid ipaddress: unspec {word}")
        );
    }
}

#[test]
fn prefixes_have_a_full_length_unless_told() {
    let plen = |word| prefix(word, Family::Unspec).unwrap().plen;
    assert_eq!(
        (plen("10.0.0.1"), plen("10.0.0.0/8"), plen("0.0.0.0/0")),
        (32, 8, 0)
    );
    assert_eq!((plen("2001:db8::"), plen("2001:db8::/64")), (128, 64));
    for word in [
        "10.0.0.1/",
        "10.0.0.1/33",
        "::/129",
        "10.0.0.1/+8",
        "10.0.0.1/8/8",
        "/8",
    ] {
        assert_eq!(
            said(prefix(word, Family::Unspec)),
            format!("invalid ipaddress: unspec {word}")
        );
    }
    assert_eq!(
        said(prefix("10.0.0.1/8", Family::Inet6)),
        "invalid ipaddress: inet6 10.0.0.1/8"
    );
}

#[test]
fn macs_are_six_numbers() {
    assert_eq!(mac("1:2:03:a:B:0"), Some(HwAddr([1, 2, 3, 0xa, 0xb, 0])));
    assert_eq!(
        mac("00:11:22:aa:BB:fF"),
        Some(HwAddr([0, 0x11, 0x22, 0xaa, 0xbb, 0xff]))
    );
    for word in [
        "",
        ":11:22:33:44:55",
        "000:11:22:33:44:55",
        "00:11:22:33:44",
        "00:11:22:33:44:55:66",
        "00-11-22-33-44-55",
        "00:11:22:33:44:5g",
        "00:11:22:33:44:+5",
        "001122334455",
    ] {
        assert_eq!(mac(word), None, "{word}");
    }
}

#[test]
fn numbers_lifetimes_devices() {
    assert_eq!(number::<u32>("mtu", "1500").unwrap(), 1500);
    assert_eq!(said(number::<u32>("mtu", "-1")), "invalid mtu: -1");
    assert_eq!(said(number::<u16>("mtu", "65536")), "invalid mtu: 65536");
    assert_eq!(said(number::<u16>("mtu", "15k")), "invalid mtu: 15k");
    assert_eq!(lifetime("valid_lft", "forever").unwrap(), 0);
    assert_eq!(lifetime("valid_lft", "60").unwrap(), 60);
    assert_eq!(
        said(lifetime("valid_lft", "ever")),
        "invalid valid_lft: ever"
    );
    assert_eq!(device::<16>("dpdk0").unwrap().text(), "dpdk0");
    assert_eq!(
        said(device::<16>("a-name-too-long!")),
        "invalid device name: 'a-name-too-long!' (1 to 15 characters)"
    );
    assert_eq!(
        said(device::<16>("")),
        "invalid device name: '' (1 to 15 characters)"
    );
}

#[test]
fn keywords_may_be_shortened_where_nothing_else_is_a_word() {
    let next = |word: &str, object| {
        let words = [word.to_owned()];
        let found = Words::new(&words, object).next();
        format!("{:?}", found.unwrap())
    };
    let addr = &crate::addr::OBJECT;
    for (word, found) in [
        ("broad", r#"Key("broadcast")"#),
        ("d", r#"Key("dev")"#),
        // The one spelling is found by the other, and by what both begin with.
        ("preferred_lft", r#"Key("prefered_lft")"#),
        ("pref", r#"Key("prefered_lft")"#),
        ("devx", r#"Other("devx")"#),
        ("", r#"Other("")"#),
        ("10.0.0.1", r#"Other("10.0.0.1")"#),
        // No keyword begins with a digit, no address is only letters.
        ("dad::", r#"Other("dad::")"#),
    ] {
        assert_eq!(next(word, addr), found, "{word}");
    }
    assert_eq!(next("li", &crate::vlan::OBJECT), r#"Other("li")"#);
    assert_eq!(next("link", &crate::vlan::OBJECT), r#"Key("link")"#);
}

#[test]
fn a_keyword_needs_its_value() {
    let words = ["dev".to_owned()];
    let mut words = Words::new(&words, &crate::addr::OBJECT);
    assert_eq!(words.next(), Some(Word::Key("dev")));
    assert_eq!(
        words.value("dev").unwrap_err().lines("dpip"),
        ["missing argument for `dev'", "dpip: invalid parameter"]
    );
}

proptest! {
    #[test]
    fn any_text_gives_a_value_or_a_line(word in "\\PC{0,40}") {
        for family in [Family::Unspec, Family::Inet, Family::Inet6] {
            let _ = address(&word, family);
            let _ = prefix(&word, family);
        }
        let _ = mac(&word);
        let _ = number::<u32>("n", &word);
        let _ = device::<16>(&word);
    }

    #[test]
    fn prefixes_read_back(bits: u128, plen in 0u8..=128) {
        let ip = Ipv6Addr::from(bits);
        let got = prefix(&format!("{ip}/{plen}"), Family::Unspec).unwrap();
        prop_assert_eq!(got, Prefix { ip: ip.into(), plen });
    }

    #[test]
    fn macs_read_back(bytes: [u8; 6]) {
        prop_assert_eq!(mac(&HwAddr(bytes).to_string()), Some(HwAddr(bytes)));
    }
}
