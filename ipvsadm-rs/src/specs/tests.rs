//! What is written back can be read again.

use proptest::prelude::*;

use super::*;

#[test]
fn match_specs() {
    let spec = parse_match("proto=tcp,src-range=10.0.0.1-10.0.0.9,oif=dpdk0").unwrap();
    assert_eq!((spec.af, spec.proto), (Af::INET, 6));
    assert_eq!(
        spec.matched.srange.max_addr,
        Ip16::from_ip("10.0.0.9".parse().unwrap())
    );
    let svc = Service {
        af: spec.af,
        proto: spec.proto,
        matched: spec.matched,
        ..Service::default()
    };
    assert_eq!(match_name(&svc), "tcp,from=10.0.0.1-10.0.0.9:0-0,oif=dpdk0");
    assert_eq!(parse_match(&match_spec(&svc)).unwrap(), spec);
    let v6 = parse_match("proto=udp,dst-range=[2001:db8::1-2001:db8::9]:53-54").unwrap();
    assert_eq!((v6.af, v6.matched.drange.max_port.get()), (Af::INET6, 54));
    // Ports of any address.
    let ports = parse_match("proto=tcp,dst-range=:80-8080,iif=dpdk0").unwrap();
    assert_eq!((ports.af, ports.matched.af), (Af::INET, Af::INET));
    assert_eq!(ports.matched.drange.max_port.get(), 8080);
    assert_eq!(
        match_name(&Service {
            af: ports.af,
            proto: ports.proto,
            matched: ports.matched,
            ..Service::default()
        }),
        "tcp,to=0.0.0.0-0.0.0.0:80-8080,iif=dpdk0"
    );
    let both = parse_match("dst-range=:53,src-range=2001:db8::1").unwrap();
    assert_eq!(both.matched.af, Af::INET6);
    let v6 = parse_match("af=ipv6,dst-range=:53").unwrap();
    assert_eq!((v6.af, v6.matched.af), (Af::INET6, Af::INET6));
    for bad in [
        "",
        "src-range=",
        "src-range=:",
        "src-range=:9-1",
        "proto=tcp",
        "proto=x,af=ipv4",
        "src-range=10.0.0.9-10.0.0.1",
        "src-range=10.0.0.1:9-1",
        "src-range=10.0.0.1,dst-range=2001:db8::1",
        "af=ipv4,iif=",
        "af=ipv4,oif=averyveryverylongname",
    ] {
        assert!(parse_match(bad).is_none(), "{bad}");
    }
}

#[test]
fn checks() {
    for text in ["default", "2,3s", "1,2,4s,6-60s"] {
        let mut conf = CheckConf::default();
        add_dest_check(&mut conf, text).unwrap();
        assert_eq!(internal_check(&conf).as_deref(), Some(text));
    }
    let mut conf = CheckConf::default();
    for text in ["tcp", "ping", "2,3s"] {
        add_dest_check(&mut conf, text).unwrap();
    }
    assert_eq!(external_checks(&conf), ["tcp", "ping"]);
    add_dest_check(&mut conf, "disable").unwrap();
    assert_eq!(conf, CheckConf::default());
    for bad in [
        "",
        "1",
        "1,2",
        "1,3s,",
        "256,3s",
        "1,1,3s,5-3600",
        "1,1,3s,9-5s",
        "x",
    ] {
        assert!(
            add_dest_check(&mut CheckConf::default(), bad).is_none(),
            "{bad}"
        );
    }
}

#[test]
fn sockpairs() {
    let pair = parse_sockpair("tcp:1.1.1.1:4321:192.168.88.1:80").unwrap();
    assert_eq!(
        (pair.af, pair.proto, pair.sport.get(), pair.tport.get()),
        (2, 6, 4321, 80)
    );
    assert!(parse_sockpair("udp:[2001:db8::1]:1:[2001:db8::2]:2").is_some());
    for bad in [
        "",
        "tcp",
        "tcp:1.1.1.1:x:2.2.2.2:3",
        "tcp:1.1.1.1:1:[::1]:2",
        "tcp:1.1.1.1:1:2.2.2.2",
    ] {
        assert!(parse_sockpair(bad).is_none(), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text(text in "[a-z0-9=,.:\\[\\]s-]{0,40}") {
        let _ = parse_match(&text);
        let _ = parse_sockpair(&text);
        let _ = add_dest_check(&mut CheckConf::default(), &text);
        let _ = parse_sched_flags(&text, "sh");
        let _ = parse_acl(&text, &Names::offline());
    }

    #[test]
    fn check_round_trip(a in 0u8.., b in 0u8.., c in 0u8.., d in 0u16.., e in 0u16..) {
        let conf = CheckConf {
            types: check_type::PASSIVE,
            dest_down_notice_num: a,
            dest_up_notice_num: b,
            dest_down_wait: c,
            dest_inhibit_min: d.min(e),
            dest_inhibit_max: d.max(e),
        };
        let mut back = CheckConf::default();
        add_dest_check(&mut back, &internal_check(&conf).unwrap()).unwrap();
        prop_assert_eq!(back, conf);
    }

    #[test]
    fn mh_sizes_round_trip(bits in 0u32..8, size in 0u32..11) {
        let flags: u32 = (0..3).filter(|i| bits >> i & 1 != 0).map(|i| svc_flag::SCHED1 << i).sum();
        let flags = flags | size << svc_flag::MH_SIZE.trailing_zeros();
        let text = sched_flags_text(flags, "mh");
        prop_assert_eq!(parse_sched_flags(&text, "mh").unwrap(), flags);
        prop_assert_eq!(parse_sched_flags(&text, "sh").is_err(), text.contains("mh-"));
    }

    #[test]
    fn sched_flags_round_trip(bits in 0u32..8, sched in "(sh|mh|rr)") {
        let flags = (0..3).filter(|i| bits >> i & 1 != 0).map(|i| svc_flag::SCHED1 << i).sum();
        let text = sched_flags_text(flags, &sched);
        prop_assert_eq!(parse_sched_flags(&text, &sched).unwrap(), flags);
    }
}
