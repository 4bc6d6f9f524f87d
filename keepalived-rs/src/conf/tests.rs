//! Whole configurations: what is understood, what is said about what is not,
//! and that nothing hostile makes the reader panic or hang.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::load_text;
use super::lvs::flag;
use super::model::{CheckKind, Method, Proto, Proxy, Vip};

fn clean(text: &str) -> super::Config {
    let (c, d) = load_text(text);
    let found: Vec<_> = d.iter().map(ToString::to_string).collect();
    assert_eq!(d.exit_code(), 0, "{found:#?}");
    c
}

fn said(text: &str) -> Vec<String> {
    load_text(text).1.iter().map(ToString::to_string).collect()
}

#[test]
fn sample_configurations_are_clean() {
    for text in [
        include_str!("../../../conf/keepalived/keepalived.lab.conf"),
        include_str!("../../../conf/keepalived/keepalived.conf.sample"),
    ] {
        let c = clean(text);
        assert!(!c.services.is_empty() && !c.instances.is_empty());
        assert!(said(text).is_empty(), "{:?}", said(text));
    }
}

#[test]
fn fork_keywords() {
    let c = clean(
        "local_address_group lg {\n 192.0.2.201 dpdk0\n 192.0.2.210-219 dpdk0\n}\n\
         deny_address_group bad {\n 192.0.2.66\n 192.0.2.100-120\n ipset:bogons\n}\n\
         allow_address_group good {\n 198.51.100.1-64\n}\n\
         tunnel_group overlay {\n tunnel_entry tun1 {\n kind ipip\n remote 192.0.2.9\n local 192.0.2.1\n if dpdk0\n }\n \
         tunnel_entry tun2 {\n kind gre\n remote 192.0.2.9\n local 192.0.2.1\n }\n}\n\
         virtual_server 198.51.100.30 80 {\n lvs_sched conhash\n lb_kind FNAT\n protocol TCP\n proxy_protocol v2\n\
         laddr_group_name lg\n daddr_group_name bad\n waddr_group_name good\n syn_proxy\n establish_timeout 9000\n\
         expire_quiescent_conn\n bps 100\n limit_proportion 80\n\
         real_server 10.50.0.7 80 {\n HTTP_GET {\n url {\n path /ready\n status_code 200\n }\n }\n }\n}\n\
         virtual_server match office {\n lvs_sched rr\n lb_kind SNAT\n protocol ICMP\n src-range 10.30.0.0-10.30.3.255\n oif dpdk1\n\
         real_server 203.0.113.40 0 {\n weight 1\n }\n}\n",
    );
    assert_eq!(c.laddr_groups[0].addrs.len(), 11);
    assert_eq!(c.deny_groups[0].entries.len(), 23);
    assert_eq!(c.allow_groups[0].entries.len(), 64);
    let links: Vec<_> = c.tunnels.iter().map(|t| t.link.as_str()).collect();
    assert_eq!(links, ["dpdk0", ""]);
    let s = &c.services[0];
    assert_eq!((s.method, s.proto), (Method::FullNat, Proto::Tcp));
    assert_eq!(
        s.opts.flags,
        flag::SYN_PROXY | flag::EXPIRE_QUIESCENT | flag::SIP_HASH
    );
    // Clamped as in the fork.
    assert_eq!(s.opts.conn_timeout, 3600);
    assert_eq!(
        (s.opts.proxy, s.opts.bps, s.opts.limit_proportion),
        (Proxy::V2, 100, 80)
    );
    let s = &c.services[1];
    assert_eq!(s.opts.flags, flag::MATCH);
    assert!(matches!(&s.vips[0], Vip::Match(m) if m.oif == "dpdk1"));
}

#[test]
fn checks_inherit() {
    let c = clean(
        "virtual_server 10.0.0.1 80 {\n delay_loop 6\n lb_algo rr\n lb_kind NAT\n protocol TCP\n retry 4\n\
         real_server 10.0.0.2 80 {\n connect_timeout 2\n TCP_CHECK {\n }\n }\n\
         real_server 10.0.0.3 80 {\n TCP_CHECK {\n retry 0\n connect_ip 10.9.9.9\n connect_port 81\n bindto 10.0.0.9\n delay_loop 0.5\n }\n }\n\
         real_server 10.0.0.4 80 {\n HTTP_GET {\n url {\n path /a\n status_code 200 301-303\n }\n url {\n path /b\n virtualhost www\n digest 900150983cd24fb0d6963f7d28e17f72\n }\n }\n }\n\
         virtualhost vs.example\n}\n",
    );
    let check = |n: usize| &c.services[0].servers[n].checks[0];
    let a = check(0);
    assert_eq!(a.connect, "10.0.0.2:80".parse::<SocketAddr>().unwrap());
    assert_eq!((a.retry, a.timeout), (4, Duration::from_secs(2)));
    assert_eq!(
        (a.delay_loop, a.warmup),
        (Duration::from_secs(6), Duration::from_secs(6))
    );
    let b = check(1);
    assert_eq!(b.connect, "10.9.9.9:81".parse::<SocketAddr>().unwrap());
    assert_eq!(b.bind, Some("10.0.0.9:0".parse().unwrap()));
    assert_eq!((b.retry, b.delay_loop), (0, Duration::from_millis(500)));
    let CheckKind::Http(h) = &check(2).kind else {
        panic!()
    };
    assert_eq!(check(2).delay_before_retry, Duration::from_secs(3));
    assert_eq!(h.urls[0].status, [(200, 200), (301, 303)]);
    // A keyword behind the servers counts for them as well.
    assert_eq!(
        (h.urls[0].host.as_str(), h.urls[1].host.as_str()),
        ("vs.example", "www")
    );
    assert_eq!(h.urls[1].digest.unwrap()[0], 0x90);
}

#[test]
fn groups_of_addresses() {
    let c = clean(
        "virtual_server_group g {\n 198.51.100.20 443\n 198.51.100.21-23 443\n 198.51.100.64/30 80\n fwmark 5\n}\n\
         virtual_server group g {\n lb_algo rr\n lb_kind DR\n protocol TCP\n real_server 10.0.0.1 443 {\n }\n}\n",
    );
    assert_eq!(c.services[0].vips.len(), 1 + 3 + 4 + 1);
    assert_eq!(c.services[0].name, "[g]:tcp");
}

#[test]
fn messages_name_place_and_remedy() {
    let text = "vrrp_instance V {\n  interfac eth0\n}\n";
    assert!(
        said(text).iter().any(|l| l
            == "(keepalived.conf: Line 2) Unknown keyword 'interfac' (did you mean 'interface'?)"),
        "{:?}",
        said(text)
    );
    let text = "virtual_server 10.0.0.1 80 {\n lb_algo rr\n lb_kind NAT\n protocol TCP\n alpha maybe\n real_server 10.0.0.2 80 {\n wieght 1\n TCP_CHEK {\n connect_timeout 1\n }\n }\n}\n";
    let all = said(text).join("\n");
    for want in [
        "Line 5) alpha: 'maybe'",
        "'weight'?",
        "'TCP_CHECK'?",
        "ignoring its block",
    ] {
        assert!(all.contains(want), "{want}: {all}");
    }
    let (_, d) = load_text("virtual_server\n");
    assert_eq!(d.exit_code(), 2);
    // Known elsewhere, not acted upon here: one line, no error.
    let (_, d) = load_text("global_defs {\n smtp_server 10.0.0.1\n}\n");
    assert_eq!((d.exit_code(), d.iter().count()), (0, 1));
}

#[test]
fn one_mistake_does_not_cascade() {
    let (c, d) = load_text(
        "vrrp_instance V {\n interface eth0\n virtual_router_id 1\n bogus {\n x {\n y\n }\n }\n virtual_ipaddress { 10.0.0.1/24 }\n}\n\
         virtual_server 10.0.0.1 80 {\n lb_algo rr\n lb_kind NAT\n protocol TCP\n real_server 10.0.0.2 80 {\n }\n}\n",
    );
    assert_eq!((c.instances.len(), c.services.len()), (1, 1));
    assert_eq!(c.instances[0].vips.len(), 1);
    assert_eq!((d.exit_code(), d.iter().count()), (5, 1));
}

#[test]
fn hostile_files_end_quickly() {
    let start = Instant::now();
    for text in [
        "{".repeat(200_000),
        "a {\n".repeat(50_000),
        "}\n".repeat(50_000),
        "$A=${A}${A}${A}\n${A}\n".repeat(100),
        "~SEQ(A,1,1000000) ~SEQ(B,1,1000000) ~SEQ(C,1,1000000) $A\n".to_owned(),
        "~LST(A,".to_owned() + &"x,".repeat(500) + "y) ~LST(B,a,b) $A$B\n",
        "\"".repeat(100_000),
        "local_address_group g {\n 0.0.0.0-255.255.255.255 dpdk0\n 10.0.0.0-10.0.255.255 dpdk0\n}\n".to_owned(),
        "x".repeat(10_000_000),
        "!#\\".repeat(100_000),
    ] {
        let _ = load_text(&text);
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// Lines near enough to the grammar to reach deep into it.
fn fragment() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "virtual_server",
        "real_server",
        "vrrp_instance",
        "global_defs",
        "HTTP_GET",
        "TCP_CHECK",
        "url",
        "path",
        "status_code",
        "digest",
        "weight",
        "virtual_ipaddress",
        "local_address_group",
        "deny_address_group",
        "virtual_server_group",
        "group",
        "fwmark",
        "match",
        "{",
        "}",
        "\n",
        "\n",
        "10.0.0.1",
        "10.0.0.1-5",
        "10.0.0.0/24",
        "::1",
        "ae00::2-9",
        "80",
        "-1",
        "99999999999999999999",
        "0.5",
        "1e400",
        "nan",
        "\"",
        "'",
        "#",
        "!",
        "@x",
        "$A",
        "$A=1 {",
        "${_RANDOM 1 2}",
        "~SEQ(N,3)",
        "~LST(A,b)",
        "include /dev/null",
        "state MASTER",
        "priority 300",
        "notify_master \"/bin/true 'x",
        "auth_pass",
        "interface",
        "lo",
        "advert_int",
        "persistence_granularity",
        "255.255.0.255",
        "quorum",
        "\\",
        "\u{0}",
        "ü",
        "MISC_CHECK",
        "misc_path",
        "tunnel_group",
        "tunnel_entry",
        "src-range",
        "protocol TCP",
        "lb_kind FNAT",
    ]);
    prop::collection::vec(words, 0..120).prop_map(|w| w.join(" "))
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
        let _ = load_text(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = load_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn nearly_right_text_never_panics(text in fragment()) {
        let (c, d) = load_text(&text);
        prop_assert!([0, 2, 5, 6].contains(&d.exit_code()));
        // What comes out can be programmed.
        let mut out = Vec::new();
        let mut state = crate::ipvs::Ipvs::new(&c, &mut out);
        state.handle(crate::ipvs::Event::Program, &mut out);
    }
}
