//! Pools, quorum, sorry server and reload without any dataplane.

use dpvs_ctl::msg::Dest;

use super::*;
use crate::conf::load_text;
use crate::conf::model::Vip;

fn config(body: &str) -> Config {
    let text = format!(
        "virtual_server 10.0.0.1 80 {{\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{body}\n}}\n"
    );
    load_text(&text).0
}

fn rs(n: u8, extra: &str) -> String {
    format!(" real_server 10.0.1.{n} 80 {{\n {extra}\n TCP_CHECK {{\n }}\n }}\n")
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, n], 80))
}

/// Requests in short: `+1w3` adds server 1 with weight 3, `~` changes, `-` removes.
fn short(actions: &[Action]) -> Vec<String> {
    let last = |d: &Dest| d.addr.v4().octets()[3];
    actions
        .iter()
        .filter_map(|a| match a {
            Action::Op(Op::DestAdd(_, d)) => Some(format!("+{}w{}", last(d), d.weight)),
            Action::Op(Op::DestEdit(_, d)) => Some(format!("~{}w{}", last(d), d.weight)),
            Action::Op(Op::DestDel(_, d)) => Some(format!("-{}", last(d))),
            Action::Op(Op::ServiceAdd(_)) => Some("+S".to_owned()),
            Action::Op(Op::ServiceEdit(_)) => Some("~S".to_owned()),
            Action::Op(Op::ServiceDel(_)) => Some("-S".to_owned()),
            Action::Op(_) => None,
            Action::Notify(s) => Some(s.argv.join(" ")),
        })
        .collect()
}

struct Run(Ipvs);

impl Run {
    fn new(c: &Config) -> (Self, Vec<String>) {
        let mut out = Vec::new();
        let mut s = Ipvs::new(c, &mut out);
        s.handle(Event::Program, &mut out);
        (Self(s), short(&out))
    }

    fn event(&mut self, e: Event<'_>) -> Vec<String> {
        let mut out = Vec::new();
        self.0.handle(e, &mut out);
        short(&out)
    }

    fn check(&mut self, n: u8, up: bool) -> Vec<String> {
        self.weighted(n, up, None)
    }

    fn weighted(&mut self, n: u8, up: bool, weight: Option<u32>) -> Vec<String> {
        let service = "[10.0.0.1]:tcp:80";
        self.event(Event::Check {
            service,
            server: addr(n),
            check: 0,
            up,
            weight,
        })
    }
}

#[test]
fn servers_come_and_go() {
    let c = config(&(rs(1, "weight 3") + &rs(2, "inhibit_on_failure")));
    let (mut r, start) = Run::new(&c);
    assert_eq!(start, ["+S", "+1w3", "+2w1"]);
    assert_eq!(r.check(1, true), Vec::<String>::new());
    assert_eq!(r.check(1, false), ["-1"]);
    assert_eq!(r.check(1, false), Vec::<String>::new());
    assert_eq!(r.check(1, true), ["+1w3"]);
    assert_eq!(r.check(2, false), ["~2w0"]);
    assert_eq!(r.check(2, true), ["~2w1"]);
    assert_eq!(r.check(9, false), Vec::<String>::new());
    assert_eq!(
        r.event(Event::Stop {
            keep: false,
            flush: false
        }),
        ["-1", "-2", "-S"]
    );
}

#[test]
fn alpha_waits_for_the_first_success() {
    let c = config(&(" alpha\n sorry_server 10.0.1.9 80\n".to_owned() + &rs(1, "") + &rs(2, "")));
    let (mut r, start) = Run::new(&c);
    assert_eq!(start, ["+S", "+9w1"]);
    assert_eq!(r.check(2, true), ["+2w1", "-9"]);
    assert_eq!(r.check(1, true), ["+1w1"]);
}

#[test]
fn quorum_and_hysteresis() {
    let body =
        " quorum 2\n hysteresis 1\n sorry_server 10.0.1.9 80\n quorum_up /up\n quorum_down /down\n"
            .to_owned();
    let c = config(&(body + &rs(1, "") + &rs(2, "") + &rs(3, "")));
    let (mut r, start) = Run::new(&c);
    assert_eq!(start, ["/up", "+S", "+1w1", "+2w1", "+3w1"]);
    assert_eq!(r.check(1, false), ["-1"]);
    // 1 is not below 2 - 1.
    assert_eq!(r.check(2, false), ["-2"]);
    assert_eq!(r.check(3, false), ["-3", "+9w1", "/down"]);
    // 2 + 1 are needed to come back; until then nothing moves.
    assert_eq!(r.check(3, true), Vec::<String>::new());
    assert_eq!(r.check(2, true), Vec::<String>::new());
    assert_eq!(r.check(1, true), ["+1w1", "+2w1", "+3w1", "-9", "/up"]);
}

#[test]
fn sorry_server_with_inhibit_and_lost_quorum_with_living_servers() {
    let body = " quorum 2\n sorry_server 10.0.1.9 80\n sorry_server_inhibit\n".to_owned();
    let c = config(&(body + &rs(1, "") + &rs(2, "inhibit_on_failure")));
    let (mut r, start) = Run::new(&c);
    assert_eq!(start, ["+S", "+1w1", "+2w1", "+9w0"]);
    // Server 1 is alive and yet has to go: the sorry server goes in before.
    assert_eq!(r.check(2, false), ["~2w0", "~9w1", "-1"]);
    assert_eq!(r.check(2, true), ["+1w1", "~2w1", "~9w0"]);
}

#[test]
fn weights_from_checks() {
    let (mut r, _) = Run::new(&config(&rs(1, "weight 5")));
    assert_eq!(r.weighted(1, true, Some(20)), ["~1w20"]);
    assert_eq!(r.weighted(1, true, Some(20)), Vec::<String>::new());
    // All weights 0: nothing is lost, nothing flaps.
    let (mut r, start) = Run::new(&config(&rs(1, "weight 0")));
    assert_eq!(start, ["+S", "+1w0"]);
    assert_eq!(r.check(1, true), Vec::<String>::new());
}

#[test]
fn two_checks_must_both_pass() {
    let c = config(
        " real_server 10.0.1.1 80 {\n TCP_CHECK {\n }\n TCP_CHECK {\n connect_port 81\n }\n }\n",
    );
    let (mut r, _) = Run::new(&c);
    let mut check = |n, up| {
        let service = "[10.0.0.1]:tcp:80";
        r.event(Event::Check {
            service,
            server: addr(1),
            check: n,
            up,
            weight: None,
        })
    };
    assert_eq!(check(0, false), ["-1"]);
    assert_eq!(check(1, false), Vec::<String>::new());
    assert_eq!(check(0, true), Vec::<String>::new());
    assert_eq!(check(1, true), ["+1w1"]);
}

#[test]
fn reload_sends_the_difference() {
    let (mut r, _) = Run::new(&config(&(rs(1, "") + &rs(2, ""))));
    r.check(1, false);
    // Nothing changed.
    assert_eq!(
        r.event(Event::Reload(&config(&(rs(1, "") + &rs(2, ""))))),
        Vec::<String>::new()
    );
    // A weight, and a dead server stays out.
    assert_eq!(
        r.event(Event::Reload(&config(&(rs(1, "") + &rs(2, "weight 7"))))),
        ["~2w7"]
    );
    // A server more, one less: in before out.
    assert_eq!(
        r.event(Event::Reload(&config(&(rs(1, "") + &rs(3, ""))))),
        ["+3w1", "-2"]
    );
    assert_eq!(r.check(1, true), ["+1w1"]);
    // Another scheduler.
    let mut wlc = config(&(rs(1, "") + &rs(3, "")));
    wlc.services[0].opts.sched = "wlc".to_owned();
    assert_eq!(r.event(Event::Reload(&wlc)), ["~S"]);
    // Another service.
    let mut other = wlc.clone();
    other.services[0].name = "[10.0.0.2]:tcp:80".to_owned();
    other.services[0].vips = vec![Vip::Addr {
        ip: "10.0.0.2".parse().unwrap(),
        port: 80,
    }];
    assert_eq!(
        r.event(Event::Reload(&other)),
        ["-1", "-3", "-S", "+S", "+1w1", "+3w1"]
    );
}

#[test]
fn a_group_follows_its_members() {
    let group = |lines: &str| {
        let text = format!(
            "virtual_server_group g {{\n{lines}\n}}\nvirtual_server group g {{\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{}}}\n",
            rs(1, "")
        );
        load_text(&text).0
    };
    let (mut r, start) = Run::new(&group("10.0.0.1 80\n10.0.0.2 80"));
    assert_eq!(start, ["+S", "+1w1", "+S", "+1w1"]);
    let e = Event::Check {
        service: "[g]:tcp",
        server: addr(1),
        check: 0,
        up: false,
        weight: None,
    };
    assert_eq!(r.event(e), ["-1", "-1"]);
    let e = Event::Check {
        service: "[g]:tcp",
        server: addr(1),
        check: 0,
        up: true,
        weight: None,
    };
    assert_eq!(r.event(e), ["+1w1", "+1w1"]);
    let new = group("10.0.0.2 80\n10.0.0.3 80");
    assert_eq!(r.event(Event::Reload(&new)), ["-1", "-S", "+S", "+1w1"]);
}

#[test]
fn programming_again_says_everything_and_takes_the_stale_away() {
    let (mut r, start) = Run::new(&config(&(rs(1, "") + &rs(2, ""))));
    assert_eq!(start, ["+S", "+1w1", "+2w1"]);
    r.check(1, false);
    assert_eq!(r.event(Event::Program), ["+S", "+2w1", "-1"]);
    assert_eq!(r.event(Event::Program), ["+S", "+2w1"]);
}
