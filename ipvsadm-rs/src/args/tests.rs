//! Any words give a command or a message, and the texts are ipvsadm's.

use proptest::prelude::*;

use super::*;
use crate::names::Names;

fn read(line: &str) -> Result<Command, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse("ipvsadm", &words, &Names::offline(), false)
        .map_err(|f| format!("{} {}", f.exit_code(), f.text()))
}

#[test]
fn b_has_two_meanings() {
    let dest = read("-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -b -w 5")
        .unwrap()
        .dest;
    assert_eq!(
        (dest.fwdmode, dest.conn_flags, dest.port.get(), dest.weight),
        (5, 5, 8080, 5)
    );
    let svc = read("-A -t 192.0.2.1:80 -s sh -b sh-port").unwrap().service;
    assert_eq!(svc.flags, dpvs_ctl::msg::svc_flag::SCHED2);
    assert_eq!(
        read("-A -t 192.0.2.1:80 -b").unwrap_err(),
        "255 -b: missing argument"
    );
    assert_eq!(
        read("-A -t 192.0.2.1:80 --fullnat").unwrap_err(),
        "2 Illegal 'forwarding-method' option with the 'add-service' command"
    );
    assert_eq!(
        read("-a -t 192.0.2.1:80 -r 10.0.0.1 --sched-flags sh-port").unwrap_err(),
        "2 Illegal 'sched-flags' option with the 'add-server' command"
    );
}

#[test]
fn server_without_port_gets_the_service_port() {
    assert_eq!(
        read("-a -t 192.0.2.1:80 -r 10.0.0.1 -b")
            .unwrap()
            .dest
            .port
            .get(),
        80
    );
    assert_eq!(
        read("-a -r 10.0.0.1 -b -t 192.0.2.1:80")
            .unwrap()
            .dest
            .port
            .get(),
        80
    );
    // Direct routing and tunnels cannot change the port.
    assert_eq!(
        read("-a -t 192.0.2.1:80 -r 10.0.0.1:81 -g")
            .unwrap()
            .dest
            .port
            .get(),
        80
    );
    assert_eq!(
        read("-a -f 1 -r 10.0.0.1:81 -g").unwrap().dest.port.get(),
        81
    );
}

#[test]
fn nat64_is_fullnat_only() {
    assert!(read("-a -t [2001:db8::1]:80 -r 10.0.0.1:80 -b").is_ok());
    assert!(read("-a -t [2001:db8::1]:80 -r 10.0.0.1:80 -m").is_err());
}

#[test]
fn dpvs_options() {
    let svc = read(
        "-A -t 192.168.88.1:80 -s conhash --conn-timeout 60 --proxy-protocol v2 \
         --dest-check=default --dest-check tcp -j enable",
    )
    .unwrap()
    .service;
    assert_eq!(svc.flags, 0x0108);
    assert_eq!(
        (svc.conn_timeout, svc.proxy_protocol, svc.check_conf.types),
        (60, 2, 3)
    );
    assert_eq!(svc.netmask, u32::MAX);
    assert!(read("-P -t 192.0.2.1:80 -z 10.0.0.200 -F dpdk0").is_ok());
    assert_eq!(
        read("-P -t 192.0.2.1:80 -z 10.0.0.200").unwrap_err(),
        "2 You need to supply the 'ifname' option for the 'add-laddr' command"
    );
    assert_eq!(
        read("-A -t 192.0.2.1:80 -j perhaps").unwrap_err(),
        "2 synproxy switch must be enable or disable"
    );
    assert!(read("-a -t 192.0.2.1:80 -r 10.0.0.1 -m -T 10.1.1.1-10.1.1.2-5015").is_ok());
}

#[test]
fn echo_requests_have_no_port() {
    let echo = read("-A -q 192.0.2.1 -s rr").unwrap().service;
    assert_eq!((echo.proto, echo.port.get()), (1, 0));
    assert!(read("-A -1 2001:db8::1").is_ok());
    assert!(read("-E -q 192.0.2.1:0").is_ok());
    assert!(read("-A -t 192.0.2.1").is_err());
    let dest = read("-a -q 192.0.2.1 -r 10.0.0.1 -b").unwrap().dest;
    assert_eq!(dest.port.get(), 0);
    assert!(read("-a -1 2001:db8::1 -r 10.0.0.1 -b").is_ok());
    assert!(read("-a -1 2001:db8::1 -r 10.0.0.1 -i").is_ok());
    assert_eq!(
        read("-a -1 2001:db8::1 -r 10.0.0.1 -m").unwrap_err(),
        "2 Different address family is allowed only for tunneling servers"
    );
}

#[test]
fn no_command_twice() {
    assert_eq!(read("-L -Z").unwrap_err(), "2 invalid option `-Z'");
    assert!(read("-R").is_ok());
    let words = ["-R".to_owned()];
    assert!(parse("ipvsadm", &words, &Names::offline(), true).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_words(words in prop::collection::vec(
        prop_oneof![
            "-[A-Za-z0-9]{1,3}",
            "--[a-z-]{1,16}(=[ -~]{0,8})?",
            "[0-9.:\\[\\]]{0,16}",
            "\\PC{0,12}",
            Just("-A".to_owned()), Just("-a".to_owned()), Just("-L".to_owned()),
            Just("-t".to_owned()), Just("192.0.2.1:80".to_owned()), Just("-H".to_owned()),
            Just("proto=tcp,src-range=10.0.0.1-10.0.0.9:1-5,oif=x".to_owned()),
        ],
        0..8,
    )) {
        match parse("ipvsadm", &words, &Names::offline(), false) {
            Ok(_) => {}
            Err(f) => prop_assert!(!f.text().is_empty() && f.exit_code() != 0),
        }
    }
}
