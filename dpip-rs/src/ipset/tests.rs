//! Entries of every type of set in, messages out; messages in, lines out.

use super::entry::{entry, proto_text};
use super::*;
use dpvs_ctl::types::Blob;
use dpvs_ctl::{HwAddr, Ip16};
use proptest::prelude::*;

fn slot(ip: &str) -> Ip16 {
    Ip16::from_ip(ip.parse().unwrap())
}

fn put(kind: &str, text: &str, command: Command) -> Result<IpsetParam, Failure> {
    let mut param = IpsetParam::default();
    entry(Kind::from_name(kind).unwrap(), text, command, &mut param)?;
    Ok(param)
}

fn said(kind: &str, text: &str) -> String {
    let failure = put(kind, text, Command::Add).unwrap_err();
    failure.lines("dpip").remove(0)
}

#[test]
fn addresses_ranges_and_networks() {
    for (kind, text, cidr, first, last) in [
        ("hash:ip", "10.0.0.1", 0, "10.0.0.1", "10.0.0.1"),
        ("hash:ip", "10.0.0.9/30", 30, "10.0.0.8", "10.0.0.11"),
        ("bitmap:ip", "10.0.0.1-10.0.0.9", 0, "10.0.0.1", "10.0.0.9"),
        // One that goes back is its first address.
        ("hash:ip", "10.0.0.9-10.0.0.1", 0, "10.0.0.9", "10.0.0.9"),
        ("hash:net", "10.0.0.0/8", 8, "10.0.0.0", "10.255.255.255"),
        ("hash:net", "0.0.0.0/0", 0, "0.0.0.0", "255.255.255.255"),
        ("hash:ip", "2001:db8::1", 0, "2001:db8::1", "::"),
        ("hash:net", "2001:db8::/32", 32, "2001:db8::", "::"),
    ] {
        let param = put(kind, text, Command::Add).unwrap();
        assert_eq!(param.cidr, cidr, "{text}");
        let family = if text.contains(':') { 10 } else { 2 };
        assert_eq!(param.option.family, family, "{text}");
        assert_eq!(
            (param.min_addr, param.max_addr),
            (slot(first), slot(last)),
            "{text}"
        );
    }
}

#[test]
fn ports_devices_and_second_parts() {
    let port = put("bitmap:port", "udp:53-99", Command::Add).unwrap();
    assert_eq!((port.proto, port.min_port, port.max_port), (17, 53, 99));
    let mac = put("bitmap:ip,mac", "10.0.0.1,00:11:22:33:44:55", Command::Add).unwrap();
    assert_eq!(mac.mac, HwAddr([0, 0x11, 0x22, 0x33, 0x44, 0x55]));
    let icmp = put("hash:ip,port", "2001:db8::1,icmp6:128", Command::Add).unwrap();
    assert_eq!((icmp.proto, icmp.min_port), (58, 128));
    let any = put("hash:net,port", "10.0.0.0/8,80", Command::Add).unwrap();
    assert_eq!((any.proto, any.cidr, any.max_port), (0, 8, 80));
    let bare = put("hash:ip,port", "172.27.1.3-172.27.1.5", Command::Add).unwrap();
    assert_eq!((bare.proto, bare.min_port, bare.max_port), (0, 0, 0));
    assert_eq!(bare.max_addr, slot("172.27.1.5"));
    put("hash:ip,port", "2001:db8::2", Command::Test).unwrap();
    let dev = put(
        "hash:net,port,iface",
        "10.0.0.0/8,tcp:80,dpdk0",
        Command::Add,
    )
    .unwrap();
    assert_eq!(dev.iface, Name::truncated("dpdk0"));
    let ips = put("hash:ip,port,ip", "10.0.0.1,tcp:80,10.0.0.2", Command::Add).unwrap();
    assert_eq!(
        (ips.min_addr, ips.range2.min_addr),
        (slot("10.0.0.1"), slot("10.0.0.2"))
    );
    // The network goes first.
    let net = put(
        "hash:ip,port,net",
        "10.0.0.1,tcp:80,10.9.0.0/16",
        Command::Add,
    )
    .unwrap();
    assert_eq!((net.min_addr, net.cidr), (slot("10.9.0.0"), 16));
    assert_eq!((net.range2.min_addr, net.cidr2), (slot("10.0.0.1"), 0));
    let four = put(
        "hash:net,port,net,port",
        "10.1.0.0/16,tcp:80,10.2.0.0/24,tcp:90",
        Command::Add,
    )
    .unwrap();
    assert_eq!((four.cidr, four.cidr2), (16, 24));
    // Host order on the wire.
    let body = dpvs_ctl::Wire::encode(&four);
    assert_eq!(&body[172 + 32..172 + 34], &[90, 0]);
    assert_eq!(&body[144..146], &[80, 0]);
}

#[test]
fn tests_take_no_lengths() {
    let mut param = IpsetParam::default();
    let kind = Kind::HashNet;
    let warning = entry(kind, "10.0.0.0/8", Command::Test, &mut param).unwrap();
    assert_eq!(
        warning,
        Some("Warning: ignore cidr settings for ipset test")
    );
    assert_eq!((param.cidr, param.max_addr), (0, slot("10.0.0.0")));
    assert_eq!(
        entry(kind, "10.0.0.1", Command::Test, &mut param).unwrap(),
        None
    );
}

#[test]
fn complaints() {
    for (kind, text, complaint) in [
        (
            "hash:ip",
            "2001:db8::/64",
            "ipv6 cidr is not supported by the set type",
        ),
        (
            "hash:ip",
            "10.0.0.0/15",
            "ipv4 cidr shouldn't be less than 16: 10.0.0.0/15",
        ),
        (
            "hash:ip",
            "10.0.0.0-10.1.0.0",
            "ip range shouldn't be greater than 65536: 10.0.0.0-10.1.0.0",
        ),
        (
            "hash:ip",
            "10.0.0.1-::1",
            "invalid ipv4 range: 10.0.0.1-::1",
        ),
        (
            "hash:ip,port",
            "::/64,80",
            "hash:ip,port doesn't support ipv6 cidr",
        ),
        ("hash:net", "::1-::2", "ipv6 range is not supported"),
        (
            "bitmap:port",
            "80",
            "bitmap:port should specified protocol tcp or udp",
        ),
        (
            "bitmap:port",
            "icmp:8",
            "bitmap:port should specified protocol tcp or udp",
        ),
        (
            "hash:net,port,net,port",
            "10.0.0.1,tcp:1,10.0.0.2,udp:2",
            "Error: port protocol doesn't match",
        ),
        (
            "hash:ip",
            "10.0.0.1,80",
            "invalid entry for hash:ip: '10.0.0.1,80'",
        ),
        (
            "hash:ip",
            "10.0.0.1/33",
            "invalid address in entry: '10.0.0.1/33' (IP, IP/LEN or IP-IP)",
        ),
        (
            "hash:net,port",
            "10.0.0.1,tcp:99999",
            "invalid port in entry: 'tcp:99999' ([tcp:|udp:|icmp:|icmp6:]PORT[-PORT])",
        ),
        (
            "bitmap:ip,mac",
            "10.0.0.1,aa:bb",
            "invalid MAC address in entry: aa:bb",
        ),
        (
            "hash:ip,port,ip",
            "10.0.0.1,80,::1",
            "both addresses of an entry must be of one family",
        ),
    ] {
        assert_eq!(said(kind, text), complaint);
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn new_sets() {
    let made = |line: &str, family| {
        let words = words(line);
        parse(&words, Command::Create).and_then(|spec| create(&spec, family))
    };
    let set = made(
        "foo hash:ip comment hashsize 64 maxelem 1000",
        Family::Inet6,
    )
    .unwrap();
    assert_eq!((set.option.hashsize, set.option.maxelem), (64, 1000));
    assert_eq!((set.option.comment_or_nomatch, set.option.family), (1, 10));
    let ports = made("p bitmap:port range 80-90", Family::Unspec).unwrap();
    assert_eq!((ports.min_port, ports.max_port), (80, 90));
    // Names that are keywords as well are names where names stand.
    assert_eq!(
        made("comment hash:ip", Family::Unspec).unwrap().name,
        Name::truncated("comment")
    );
    for (line, family, complaint) in [
        ("", Family::Unspec, "missing set name"),
        ("foo", Family::Unspec, "missing set type"),
        (
            "b bitmap:ip",
            Family::Unspec,
            "bitmap's IP range MUST be specified",
        ),
        (
            "b bitmap:port",
            Family::Unspec,
            "bitmap's port range MUST be specified",
        ),
        (
            "b bitmap:ip range ::/64",
            Family::Inet6,
            "bitmap doesn't support ipv6",
        ),
        (
            "b hash:ip range 10.0.0.0/24",
            Family::Unspec,
            "only bitmaps have a range",
        ),
        (
            "b hash:ip maxelem -1",
            Family::Unspec,
            "invalid maxelem: -1",
        ),
    ] {
        assert_eq!(
            made(line, family).unwrap_err().lines("dpip")[0],
            complaint,
            "{line}"
        );
    }
    let lines = made("b hash:mac", Family::Unspec)
        .unwrap_err()
        .lines("dpip");
    assert!(lines[0].starts_with("invalid set type: 'hash:mac' (one of bitmap:ip "));
    let long = "a".repeat(32);
    let lines = made(&long, Family::Unspec).unwrap_err().lines("dpip");
    assert_eq!(lines[0], "missing set type");
}

fn info(kind: &str, af: u8) -> IpsetInfo {
    IpsetInfo {
        name: Name::truncated("s"),
        kind: Name::truncated(kind),
        af,
        detail: Blob::of(&[0u32, 256, 1000]),
        ..IpsetInfo::default()
    }
}

#[test]
fn members_of_every_type() {
    let member = IpsetMember {
        addr: slot("10.0.0.0"),
        cidr: 24,
        proto: 6,
        port: 80,
        iface: Name::truncated("dpdk0"),
        mac: HwAddr([0, 0x11, 0x22, 0x33, 0x44, 0x55]),
        cidr2: 16,
        port2: 90,
        addr2: slot("10.9.0.0"),
        ..IpsetMember::default()
    };
    for (kind, text) in [
        ("bitmap:ip", "10.0.0.0/24  "),
        ("bitmap:ip,mac", "10.0.0.0,00:11:22:33:44:55  "),
        ("bitmap:port", "tcp:80  "),
        ("hash:ip", "10.0.0.0/24  "),
        ("hash:net", "10.0.0.0/24  "),
        ("hash:ip,port", "10.0.0.0,tcp:80  "),
        ("hash:net,port", "10.0.0.0/24,tcp:80  "),
        ("hash:net,port,iface", "10.0.0.0/24,tcp:80,dpdk0  "),
        ("hash:ip,port,ip", "10.0.0.0,tcp:80,10.9.0.0  "),
        ("hash:ip,port,net", "10.9.0.0,tcp:80,10.0.0.0/24  "),
        ("hash:net,port,net", "10.0.0.0/24,tcp:80,10.9.0.0/16  "),
        (
            "hash:net,port,net,port",
            "10.0.0.0/24,tcp:80,10.9.0.0/16,tcp:90  ",
        ),
    ] {
        let shown = text::set(&info(kind, 2), &[member]);
        assert_eq!(shown.lines().nth(7).unwrap(), text, "{kind}");
    }
    let odd = IpsetMember {
        nomatch: 1,
        comment: Name::truncated("why not"),
        cidr: 0,
        ..member
    };
    let shown = text::set(&info("hash:net", 2), &[odd]);
    assert!(
        shown.contains("\n10.0.0.0 nomatch  comment \"why not\"\n\n"),
        "{shown}"
    );
    let value = text::value(&info("hash:net", 2), &[odd]);
    assert_eq!(
        value["entries"][0],
        json!({"entry": "10.0.0.0", "nomatch": true, "comment": "why not"})
    );
    let bare = IpsetMember {
        mac: HwAddr::default(),
        ..member
    };
    let shown = text::set(&info("bitmap:ip,mac", 2), &[bare]);
    assert_eq!(shown.lines().nth(7).unwrap(), "10.0.0.0");
    assert_eq!(
        [6, 17, 1, 58, 0].map(proto_text),
        ["tcp", "udp", "icmp", "icmp6", "unspec"]
    );
}

#[test]
fn verbose_listings_are_in_order() {
    let member = |addr: &str, cidr, port| IpsetMember {
        addr: slot(addr),
        cidr,
        port,
        ..IpsetMember::default()
    };
    let mut nets = [
        member("10.0.0.0", 8, 0),
        member("10.2.0.0", 16, 9),
        member("10.2.0.0", 16, 1),
        member("10.1.0.0", 16, 0),
    ];
    text::sort(&info("hash:net,port", 2), &mut nets);
    let order = nets.map(|m| (m.addr.v4().to_string(), m.port));
    assert_eq!(
        order.each_ref().map(|(a, p)| (a.as_str(), *p)),
        [
            ("10.1.0.0", 0),
            ("10.2.0.0", 1),
            ("10.2.0.0", 9),
            ("10.0.0.0", 0)
        ]
    );
    let mut bitmap = [member("10.0.0.9", 0, 0), member("10.0.0.1", 0, 0)];
    text::sort(&info("bitmap:ip", 2), &mut bitmap);
    assert_eq!(bitmap[0].addr, slot("10.0.0.9"));
}

proptest! {
    #[test]
    fn any_entry_gives_an_answer(text in "([0-9a-f.:/,-]|tcp|udp|icmp6){0,30}|\\PC{0,20}") {
        for (name, kind) in Kind::ALL {
            for command in [Command::Add, Command::Test] {
                let mut param = IpsetParam::default();
                if let Err(failure) = entry(kind, &text, command, &mut param) {
                    prop_assert!(failure.lines("dpip").len() >= 2, "{}", name);
                }
            }
        }
    }

    #[test]
    fn networks_cover_what_they_say(addr: u32, plen in 16u8..=32) {
        let addr = std::net::Ipv4Addr::from_bits(addr);
        let param = put("hash:ip", &format!("{addr}/{plen}"), Command::Add).unwrap();
        let (first, last) = (param.min_addr.v4().to_bits(), param.max_addr.v4().to_bits());
        prop_assert_eq!(u64::from(last - first) + 1, 1u64 << (32 - plen));
        prop_assert!((first..=last).contains(&addr.to_bits()));
    }
}
