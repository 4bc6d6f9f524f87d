//! Words in, message out; message in, line out.

use super::*;
use dpvs_ctl::msg::AddrRange;
use dpvs_ctl::{Af, Ip16};
use proptest::prelude::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn cls(line: &str, command: Command) -> Result<TcCls, Failure> {
    let spec = parse(&words(line)).map_err(|failure| failure.at("parse"))?;
    check(&spec, command).map_err(|failure| failure.at("check"))?;
    Ok(spec.message())
}

fn slot(ip: &str) -> Ip16 {
    Ip16::from_ip(ip.parse().unwrap())
}

#[test]
fn patterns() {
    let line = "dev dpdk0 handle 1:1 qsch 1: pkttype ipv6 prio 7 match pattern \
                udp,from=2001:db8::1-2001:db8::9,to=[2001:db8::a]:53,iif=dpdk1 target 2:";
    let cls = cls(line, Command::Add).unwrap();
    assert_eq!(
        (cls.handle, cls.sch_id, cls.priority),
        (0x1_0001, 0x1_0000, 7)
    );
    assert_eq!(cls.pkt_type.get(), 0x86dd);
    let by = cls.copt.read::<TcClsMatch>();
    assert_eq!(
        (by.proto, by.result.drop, by.result.sch_id),
        (17, 0, 0x2_0000)
    );
    assert_eq!(
        by.matched.srange,
        AddrRange {
            min_addr: slot("2001:db8::1"),
            max_addr: slot("2001:db8::9"),
            ..AddrRange::default()
        }
    );
    assert_eq!(
        by.matched.drange,
        AddrRange {
            min_addr: slot("2001:db8::a"),
            max_addr: Ip16::ANY,
            min_port: Be16::new(53),
            max_port: Be16::new(53),
        }
    );
    assert_eq!(by.matched.iifname, Name::truncated("dpdk1"));
    assert_eq!(
        text(&cls, &Name::truncated("dpdk0"), &Options::default()),
        "cls match 1:1 dev dpdk0 qsch 1: pkttype 0x86dd prio 7 \
         UDP,from=[2001:db8::1-2001:db8::9]:0-0,to=[2001:db8::a-::]:53-53,iif=dpdk1 target 2:\n"
    );
}

#[test]
fn ports_of_any_address() {
    let matched = |pattern: &str| {
        let line = format!("dev d match pattern {pattern} target drop");
        cls(&line, Command::Add)
            .unwrap()
            .copt
            .read::<TcClsMatch>()
            .matched
    };
    let ssh = matched("tcp,to=:22");
    assert_eq!((ssh.af, ssh.drange.min_port.get()), (Af::INET, 22));
    assert_eq!(pattern_text(6, &ssh), "TCP,to=0.0.0.0-0.0.0.0:22-22");
    let both = matched("tcp,to=:1-9,from=2001:db8::1");
    assert_eq!((both.af, both.drange.max_port.get()), (Af::INET6, 9));
    assert_eq!(matched("tcp,oif=dpdk0").af, Af::UNSPEC);
    for wrong in ["to=", "to=:", "to=:9-1", "to=[]:"] {
        let line = format!("dev d match pattern tcp,{wrong} target drop");
        assert!(cls(&line, Command::Add).is_err(), "{wrong}");
    }
}

#[test]
fn sets() {
    let cls = cls("dev d ipset match deny,dst target drop", Command::Add).unwrap();
    let by = cls.copt.read::<TcClsIpset>();
    assert_eq!((by.dst_match, by.result.drop), (1, 1));
    let options = Options {
        verbose: true,
        ..Options::default()
    };
    assert_eq!(
        text(&cls, &Name::truncated("d"), &options),
        "[00] cls ipset 0: dev d qsch root pkttype 0x0800 prio 0 ipset match deny,dst target drop\n"
    );
}

#[test]
fn complaints() {
    for (line, command, complaint, step) in [
        (
            "match pattern tcp target drop",
            Command::Add,
            "missing device.",
            "check",
        ),
        ("dev d", Command::Del, "missing handle.", "check"),
        (
            "dev d match pattern tcp",
            Command::Replace,
            "missing handle.",
            "check",
        ),
        (
            "dev d match",
            Command::Add,
            "invalid match pattern.",
            "check",
        ),
        ("dev d", Command::Add, "invalid cls kind.", "check"),
        (
            "dev d match pattern x",
            Command::Add,
            "invalid pattern: x",
            "parse",
        ),
        (
            "dev d match pattern tcp,from=10.0.0.1,to=::1",
            Command::Add,
            "invalid pattern: tcp,from=10.0.0.1,to=::1",
            "parse",
        ),
        (
            "dev d match pattern from=10.0.0.1:9-1",
            Command::Add,
            "invalid pattern: from=10.0.0.1:9-1",
            "parse",
        ),
        (
            "dev d ipset match a,b",
            Command::Add,
            "invalid ipset match: a,b",
            "parse",
        ),
        (
            "dev d pkttype arp",
            Command::Add,
            "pkttype not support",
            "parse",
        ),
        (
            "dev d u32",
            Command::Add,
            "invalid/miss cls type: 'u32'",
            "parse",
        ),
    ] {
        let lines = cls(line, command).unwrap_err().lines("dpip");
        let last = format!("dpip: {step}: invalid parameter");
        assert_eq!(lines, [complaint.to_owned(), last], "{line}");
    }
    // What follows a kind and is none of its words is ignored.
    assert!(cls("dev d match pattern tcp target drop and more", Command::Add).is_ok());
}

proptest! {
    #[test]
    fn any_words_give_an_answer(line in "((dev|handle|qsch|match|ipset|pattern|target|drop|prio|tcp,from=|\\PC{0,6}) ){0,9}") {
        if let Err(failure) = cls(&line, Command::Add) {
            prop_assert!(failure.lines("dpip").len() >= 2);
        }
    }

    #[test]
    fn patterns_read_back(proto in prop::sample::select(vec!["tcp", "udp", "sctp", "icmp", "icmp6"]),
                          a: u32, b: u32, p: u16, q: u16, dev in "[a-z]{1,15}") {
        let ip = |n: u32| std::net::Ipv4Addr::from_bits(n);
        let (a, b, p, q) = (a.min(b), a.max(b), p.min(q), p.max(q));
        let given = format!("{proto},from={}-{}:{p}-{q},oif={dev}", ip(a), ip(b));
        let pattern = pattern(&given).unwrap();
        let text = pattern_text(pattern.proto, &pattern.matched);
        if (a, b, p, q) != (0, 0, 0, 0) {
            prop_assert_eq!(text.split_once(',').unwrap().1, given.split_once(',').unwrap().1);
        }
    }
}
