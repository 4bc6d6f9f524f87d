//! What is saved reads back as it was, whatever the table holds.

use std::net::IpAddr;

use dpvs_ctl::msg::{CheckConf, Dest, Encap, check_type, encap_csum, encap_kind};
use dpvs_ctl::{Be16, Name};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::args::{self, Command};

fn read(line: &str) -> Command {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let read = args::parse("ipvsadm", &words, &Names::offline(), true);
    read.unwrap_or_else(|f| panic!("{line}: {}", f.text()))
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

fn check() -> impl Strategy<Value = CheckConf> {
    let internal = prop_oneof![
        Just(None),
        (1u8.., 1u8.., 1u8.., 1u16..3000, 3000u16..).prop_map(|(down, up, wait, min, max)| {
            Some(CheckConf {
                types: check_type::PASSIVE,
                dest_down_notice_num: down,
                dest_up_notice_num: up,
                dest_down_wait: wait,
                dest_inhibit_min: min,
                dest_inhibit_max: max,
            })
        }),
        (1u8.., 1u8..).prop_map(|(down, wait)| {
            Some(CheckConf {
                types: check_type::PASSIVE,
                dest_down_notice_num: down,
                dest_down_wait: wait,
                ..CheckConf::default()
            })
        }),
    ];
    (internal, 0u8..16).prop_map(|(internal, external)| {
        let mut conf = internal.unwrap_or_default();
        conf.types |= external << 1;
        conf
    })
}

prop_compose! {
    fn named()(
        kind in 0..4, ip in address(), port in 1u16.., mark in 1u32..,
        proto in select(vec![proto::TCP, proto::UDP, proto::SCTP, proto::ICMP, proto::ICMPV6]),
        v6: bool, last in any::<u8>(), ports in any::<bool>(), device in "[a-z][a-z0-9.]{0,14}",
    ) -> Service {
        match kind {
            0 => Service {
                af: if v6 { Af::INET6 } else { Af::INET },
                proto: proto::TCP,
                fwmark: mark,
                ..Service::default()
            },
            1 => {
                let range = format!("10.0.0.0-10.0.0.{last}{}", if ports { ":7-99" } else { "" });
                let spec = format!("proto=tcp,src-range={range},oif={device}");
                let spec = specs::parse_match(&spec).expect(&spec);
                Service {
                    af: spec.af,
                    proto: spec.proto,
                    flags: svc_flag::MATCH,
                    matched: spec.matched,
                    ..Service::default()
                }
            }
            _ => Service {
                af: Af::of(ip),
                proto,
                addr: Ip16::from_ip(ip),
                port: Be16::new(port),
                ..Service::default()
            },
        }
    }
}

prop_compose! {
    fn service()(
        mut service in named(),
        sched in select(vec!["rr", "wrr", "wlc", "sh", "mh", "conhash", "fo"]),
        flags in any::<u32>(), timeout in 1u32..2_678_400, plen in 1u8..=32, plen6 in 1u8..=128,
        conn_timeout in prop_oneof![Just(0u32), 1u32..=i32::MAX as u32],
        proxy_protocol in select(vec![0u8, 1, 2, 0x11, 0x12]), check_conf in check(),
        pe in select(vec!["", "sip"]),
    ) -> Row {
        use svc_flag as f;
        let mut keep = f::SYNPROXY | f::EXPIRE_QUIESCENT | f::SCHED1 | f::SCHED2 | f::SCHED3 | f::QUIC;
        keep |= f::PERSISTENT;
        if service.proto == proto::UDP {
            keep |= f::ONEPACKET;
        }
        service.flags |= flags & keep;
        if sched == "conhash" {
            let qid = service.proto == proto::UDP && flags & f::QID_HASH != 0;
            service.flags |= if qid { f::QID_HASH } else { f::SIP_HASH };
        }
        let v6 = service.af == Af::INET6;
        service.netmask = Service::netmask_of(service.af, service.af.max_plen());
        if service.flags & f::PERSISTENT != 0 {
            service.timeout = timeout;
            service.netmask = Service::netmask_of(service.af, if v6 { plen6 } else { plen });
        }
        service.sched_name = Name::truncated(sched);
        service.conn_timeout = conn_timeout;
        service.proxy_protocol = proxy_protocol;
        service.check_conf = check_conf;
        Row { service, pe: Name::truncated(pe), dests: Vec::new() }
    }
}

prop_compose! {
    fn encap()(
        kind in 0..4, port in 1u32..65536, csum in 0u32..3, vni in 0u32..(1 << 24),
        src in any::<[u8; 4]>(), dst in any::<[u8; 4]>(),
    ) -> Encap {
        match kind {
            1 => Encap { kind: encap_kind::GUE, port, csum, ..Encap::default() },
            2 => Encap { kind: encap_kind::GRE, csum: csum.min(encap_csum::FULL), ..Encap::default() },
            3 => Encap {
                kind: encap_kind::VXLAN, vni, af: Af::INET,
                src: Ip16::from_ip(src.into()), dst: Ip16::from_ip(dst.into()), ..Encap::default()
            },
            _ => Encap::default(),
        }
    }
}

prop_compose! {
    fn dest()(
        ip in address(), port in 1u16.., weight in 0u32..=i32::MAX as u32,
        mode in select(vec![0u32, 2, 3, 5, 6]),
        x in prop_oneof![Just(0u32), 1u32..=i32::MAX as u32],
        y in prop_oneof![Just(0u32), 1u32..=i32::MAX as u32], encap in encap(),
    ) -> DestRow {
        let mut dest = Dest {
            af: Af::of(ip), addr: Ip16::from_ip(ip), port: Be16::new(port), weight,
            max_conn: x, min_conn: y, ..Dest::default()
        };
        dest.set_fwd_mode(mode);
        let wraps = mode == fwd_mode::TUNNEL || encap.kind == encap_kind::VXLAN;
        DestRow { dest, encap: if wraps { encap } else { Encap::default() } }
    }
}

/// Words of lines that add something.
const WORDS: &[&str] = &[
    "-A",
    "-a",
    "-t",
    "-u",
    "--sctp-service",
    "-q",
    "-1",
    "-f",
    "-6",
    "-H",
    "-s",
    "-p",
    "-M",
    "-o",
    "-b",
    "-j",
    "--pe",
    "--hash-target",
    "--conn-timeout",
    "--proxy-protocol",
    "--dest-check",
    "--expire-quiescent",
    "--quic",
    "-r",
    "-m",
    "-g",
    "-i",
    "-J",
    "-w",
    "-x",
    "-y",
    "-T",
    "--tun-type",
    "--tun-port",
    "--tun-csum",
    "--tun-remcsum",
    "192.0.2.1:80",
    "192.0.2.1:0",
    "[2001:db8::1]:80",
    "2001:db8::2",
    "10.0.0.1",
    "0.0.0.0:80",
    "7",
    "4294967295",
    "0",
    "65536",
    "af=ipv4",
    "af=ipv6,iif=a",
    "proto=tcp,src-range=0.0.0.0",
    "dst-range=::,oif=b",
    "af=ipv6,src-range=10.0.0.1-10.0.0.9:1-2",
    "proto=icmp,src-range=[::1-::2]:7",
    "iif=x,af=ipv4",
    "rr",
    "sh",
    "mh",
    "conhash",
    "conhash-2",
    "flag-3",
    "sh-port,flag-3",
    "mh-port",
    "enable",
    "disable",
    "sip",
    "qid",
    "v2-insecure",
    "default",
    "tcp",
    "1,3s",
    "0,0s",
    "1,1,3s,5-3600s",
    "0,0,0s,0-0s",
    "255.255.255.0",
    "0.0.0.0",
    "64",
    "gue",
    "gre",
    "ipip",
    "é",
    "-",
    "10.0.0.1-10.0.0.2-7",
    "::1-::2-16777215",
    "master",
    "abcdefghijklmnopqrstuvwxyz",
];

/// A line that adds a service or a dest and is saved reads back as it was.
fn survives(line: &str) -> bool {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let Ok(command) = args::parse("ipvsadm", &words, &Names::offline(), true) else {
        return false;
    };
    let mut row = Row {
        service: command.service,
        pe: command.pe,
        dests: Vec::new(),
    };
    if command.cmd == args::Cmd::AddDest {
        row.dests.push(DestRow {
            dest: command.dest,
            encap: command.encap,
        });
    }
    let saved = lines(&row, &Names::offline(), true);
    let again = read(saved.last().unwrap());
    assert_eq!(
        again.service.key(),
        command.service.key(),
        "{line}: {saved:?}"
    );
    assert_eq!(
        again.service.flags, command.service.flags,
        "{line}: {saved:?}"
    );
    assert_eq!(again.dest, command.dest, "{line}: {saved:?}");
    assert_eq!(again.encap, command.encap, "{line}: {saved:?}");
    let options = |c: &Command| {
        let s = &c.service;
        (s.timeout, s.conn_timeout, s.proxy_protocol, s.check_conf)
    };
    assert_eq!(options(&again), options(&command), "{line}: {saved:?}");
    true
}

#[test]
fn lines_of_known_words() {
    for line in [
        "-A -H af=ipv6,src-range=10.0.0.1-10.0.0.9:1-2",
        "-A -H proto=tcp,src-range=0.0.0.0",
        "-A -H iif=x,af=ipv4",
        "-A -t 192.0.2.1:0 -p 7 -M 0.0.0.0 --dest-check 0,0s",
        "-a -f 7 -6 -r 2001:db8::2 -m -T ::1-::2-16777215",
    ] {
        assert!(survives(line), "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn lines_of_any_words(
        add in select(vec!["-A", "-a"]),
        service in select(vec!["-t 192.0.2.1:80", "-u [2001:db8::1]:53", "-f 9", "-H iif=x,af=ipv4", "-H src-range=::1"]),
        server in select(vec!["", "-r 10.0.0.1:8080", "-r 2001:db8::2", "-r 10.0.0.9"]),
        words in prop::collection::vec(select(WORDS), 0..7),
    ) {
        survives(&format!("{add} {service} {server} {}", words.join(" ")));
    }
}

proptest! {
    #[test]
    fn a_service(row in service()) {
        let saved = lines(&row, &Names::offline(), true);
        let command = read(&saved[0]);
        prop_assert_eq!(command.service, row.service, "{}", &saved[0]);
        prop_assert_eq!(command.pe, row.pe);
    }

    #[test]
    fn a_dest(mut row in service(), dest in dest()) {
        // Other families only where the mode translates; the port is the
        // service's where the mode cannot change it.
        let mode = dest.dest.fwdmode;
        let mixed = matches!(mode, fwd_mode::TUNNEL | fwd_mode::FULLNAT);
        prop_assume!(mixed || row.service.af == dest.dest.af);
        let fixed = matches!(mode, fwd_mode::TUNNEL | fwd_mode::DROUTE);
        let mut dest = dest;
        if fixed && row.service.fwmark == 0 {
            dest.dest.port = row.service.port;
        }
        row.dests.push(dest);
        let saved = lines(&row, &Names::offline(), true);
        let command = read(&saved[1]);
        prop_assert_eq!(command.dest, dest.dest, "{}", &saved[1]);
        prop_assert_eq!(command.encap, dest.encap, "{}", &saved[1]);
        prop_assert_eq!(command.service.key(), row.service.key());
    }
}
