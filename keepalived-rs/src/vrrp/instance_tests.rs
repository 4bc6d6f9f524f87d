//! The timing points and transitions of RFC 9568, RFC 3768 and keepalived.

use super::*;

fn conf(text: &str) -> Instance {
    let (config, diags) = crate::conf::load_text(&format!(
        "vrrp_instance V {{\n interface eth0\n virtual_router_id 51\n {text}\n virtual_ipaddress {{\n  10.0.0.100/24\n }}\n}}\n"
    ));
    let found: Vec<_> = diags.iter().map(ToString::to_string).collect();
    assert_eq!(config.instances.len(), 1, "{found:?}");
    config.instances[0].clone()
}

const GOOD: Health = Health {
    fit: true,
    present: true,
    weight: 0,
    src: Ipv4Addr::new(10, 0, 0, 1),
};

struct Run {
    m: Machine,
    start: Instant,
    now: Instant,
}

impl Run {
    fn new(text: &str) -> Self {
        let start = Instant::now();
        let mut r = Self {
            m: Machine::new(&conf(text)),
            start,
            now: start,
        };
        r.event(Event::Health(GOOD));
        r
    }

    fn event(&mut self, e: Event<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        self.m.handle(e, self.now, &mut out);
        out
    }

    fn at(&mut self, secs: f64) {
        self.now = self.start + Duration::from_secs_f64(secs);
    }

    /// Until the next deadline, in seconds since the start.
    fn next(&self) -> f64 {
        self.m
            .deadline()
            .unwrap()
            .duration_since(self.start)
            .as_secs_f64()
    }

    /// Lets the next timer run out.
    fn fire(&mut self) -> Vec<Action> {
        self.now = self.m.deadline().unwrap();
        self.event(Event::Timer)
    }

    fn hear(&mut self, priority: u8, last: u8, interval: u16) -> Vec<Action> {
        let c = self.m.conf();
        let r = Received {
            src: Ipv4Addr::new(10, 0, 0, last),
            dst: Ipv4Addr::new(224, 0, 0, 18),
            ttl: 255,
            advert: Advert {
                version: c.version,
                vrid: c.vrid,
                priority,
                interval,
                password: c.auth_pass,
                addrs: self.m.advert(0).addrs,
            },
        };
        self.event(Event::Advert(&r))
    }

    fn master(text: &str) -> Self {
        let mut r = Self::new(text);
        r.fire();
        assert_eq!(r.m.state(), State::Master);
        r
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.0005
}

#[test]
fn time_to_master() {
    // Version 2: three intervals and (256 - priority) / 256 s.
    for (text, want) in [
        ("priority 100", 3.609_375),
        ("priority 200", 3.218_75),
        ("priority 1", 3.996_093_75),
        ("version 3\n priority 100\n advert_int 0.1", 0.360_937_5),
        ("down_timer_adverts 5", 5.609_375),
        ("state MASTER", 3.609_375),
    ] {
        let mut r = Run::new(text);
        assert_eq!(r.m.state(), State::Backup);
        assert!(close(r.next(), want), "{text}: {}", r.next());
        let out = r.fire();
        assert_eq!(
            out,
            [
                Action::Send(r.m.priority()),
                Action::AddAddresses,
                Action::Announce(5),
                Action::Notify("MASTER"),
            ]
        );
    }
}

#[test]
fn owner_is_master_at_once() {
    let r = Run::new("priority 255");
    assert_eq!(r.m.state(), State::Master);
    assert_eq!(r.m.priority(), 255);
}

#[test]
fn adverts_keep_their_rhythm() {
    let mut r = Run::master("garp_master_delay 0");
    let first = r.next();
    for n in 1..20 {
        // Late calls do not shift the following ones.
        r.now = r.m.deadline().unwrap() + Duration::from_millis(30);
        assert_eq!(r.event(Event::Timer), [Action::Send(100)]);
        assert!(close(r.next(), first + f64::from(n)), "{n}");
    }
    r.now += Duration::from_secs(60);
    assert_eq!(r.event(Event::Timer), [Action::Send(100)]);
    assert!(r.m.deadline().unwrap() > r.now);
}

#[test]
fn announcements_come_in_two_sets_and_refreshes() {
    let mut r = Run::master(
        "garp_master_delay 2\n garp_master_repeat 3\n garp_master_refresh 10\n garp_master_refresh_repeat 2\n advert_int 30",
    );
    let t = r.now;
    assert_eq!(r.fire(), [Action::Announce(3)]);
    assert_eq!(r.now - t, Duration::from_secs(2));
    assert_eq!(r.fire(), [Action::Announce(2)]);
    assert_eq!(r.now - t, Duration::from_secs(10));
    assert_eq!(r.fire(), [Action::Announce(2)]);
}

#[test]
fn backup_follows_a_better_master() {
    let mut r = Run::new("priority 100");
    r.at(2.0);
    assert_eq!(r.hear(150, 2, 1), []);
    assert!(close(r.next(), 5.609_375));
    // The same priority is good enough for a backup.
    r.at(4.0);
    r.hear(100, 2, 1);
    assert!(close(r.next(), 7.609_375));
    // A clean stop: only the skew is waited for.
    r.at(5.0);
    r.hear(0, 2, 1);
    assert!(close(r.next(), 5.609_375));
}

#[test]
fn backup_preempts_a_worse_master() {
    let mut r = Run::new("priority 150");
    for s in [0.5, 1.5, 2.5, 3.3] {
        r.at(s);
        r.hear(100, 2, 1);
    }
    assert!(close(r.next(), 3.414_062_5));
    assert!(r.fire().contains(&Action::AddAddresses));

    let mut r = Run::new("priority 150\n nopreempt");
    for s in [0.5, 1.5, 2.5, 3.3] {
        r.at(s);
        r.hear(100, 2, 1);
    }
    assert!(close(r.next(), 3.3 + 3.414_062_5));
}

#[test]
fn preempt_delay_starts_with_the_first_lower_advert() {
    let mut r = Run::new("priority 150\n preempt_delay 5");
    let mut s = 1.0;
    while s < 6.0 {
        r.at(s);
        r.hear(100, 2, 1);
        assert!(close(r.next(), s + 3.414_062_5), "{s}");
        s += 1.0;
    }
    r.at(6.1);
    r.hear(100, 2, 1);
    assert!(close(r.next(), 5.0 + 3.414_062_5));
}

#[test]
fn version_3_adopts_the_masters_interval() {
    let mut r = Run::new("version 3\n priority 100\n advert_int 1");
    r.at(1.0);
    r.hear(150, 2, 200);
    assert!(close(r.next(), 1.0 + 2.0 * (3.0 + 156.0 / 256.0)));
}

#[test]
fn version_2_drops_another_interval_password_or_version() {
    let mut r = Run::new("priority 100");
    r.at(1.0);
    r.hear(150, 2, 2);
    assert!(close(r.next(), 3.609_375));
    let mut r = Run::new("priority 100\n authentication {\n auth_type PASS\n auth_pass a\n }");
    r.m.conf.auth_pass = Some(*b"b\0\0\0\0\0\0\0");
    let mut advert = r.m.advert(150);
    advert.password = Some(*b"c\0\0\0\0\0\0\0");
    let other = Received {
        src: Ipv4Addr::new(10, 0, 0, 2),
        dst: Ipv4Addr::new(224, 0, 0, 18),
        ttl: 255,
        advert,
    };
    r.at(1.0);
    r.event(Event::Advert(&other));
    assert!(close(r.next(), 3.609_375));
}

#[test]
fn master_meets_another() {
    // Higher: we leave.
    let mut r = Run::master("priority 100");
    assert_eq!(
        r.hear(150, 2, 1),
        [Action::RemoveAddresses, Action::Notify("BACKUP")]
    );
    assert_eq!(r.m.state(), State::Backup);
    // Equal: the higher address stays.
    let mut r = Run::master("priority 100");
    assert_eq!(r.hear(100, 2, 1).first(), Some(&Action::RemoveAddresses));
    let mut r = Run::master("priority 100");
    r.m.health = Some(Health {
        src: Ipv4Addr::new(10, 0, 0, 9),
        ..GOOD
    });
    assert_eq!(r.hear(100, 2, 1), [Action::Send(100), Action::Announce(5)]);
    // Lower: told at once.
    let mut r = Run::master("priority 100");
    assert_eq!(r.hear(50, 2, 1), [Action::Send(100), Action::Announce(5)]);
    let mut r = Run::master("priority 100\n lower_prio_no_advert");
    assert_eq!(r.hear(50, 2, 1), [Action::Announce(5)]);
    // Somebody leaves.
    assert_eq!(r.hear(0, 2, 1), [Action::Send(100)]);
    // Our own advert comes back.
    assert_eq!(r.hear(200, 1, 1), []);
    assert_eq!(r.m.state(), State::Master);
}

#[test]
fn fault_and_recovery() {
    let mut r = Run::master("priority 100");
    let down = Health { fit: false, ..GOOD };
    assert_eq!(
        r.event(Event::Health(down)),
        [
            Action::Send(0),
            Action::RemoveAddresses,
            Action::Notify("FAULT")
        ]
    );
    assert_eq!(r.m.deadline(), None);
    assert_eq!(r.hear(50, 2, 1), []);
    r.at(100.0);
    assert_eq!(r.event(Event::Health(GOOD)), [Action::Notify("BACKUP")]);
    assert!(close(r.next(), 103.609_375));
    // The interface itself was away: nothing can be sent, and it comes back faster.
    let mut r = Run::master("priority 100");
    let gone = Health {
        fit: false,
        present: false,
        ..GOOD
    };
    assert_eq!(
        r.event(Event::Health(gone)),
        [Action::RemoveAddresses, Action::Notify("FAULT")]
    );
    r.at(100.0);
    r.event(Event::Health(GOOD));
    assert!(close(r.next(), 101.609_375));
}

#[test]
fn tracked_weights_change_the_priority() {
    let mut r = Run::master("priority 100");
    r.event(Event::Health(Health {
        weight: -30,
        ..GOOD
    }));
    assert_eq!(r.m.priority(), 70);
    r.event(Event::Health(Health {
        weight: -300,
        ..GOOD
    }));
    assert_eq!(r.m.priority(), 1);
    r.event(Event::Health(Health {
        weight: 300,
        ..GOOD
    }));
    assert_eq!(r.m.priority(), 254);
}

#[test]
fn stop_says_goodbye() {
    let mut r = Run::master("priority 100");
    assert_eq!(
        r.event(Event::Stop),
        [
            Action::Send(0),
            Action::RemoveAddresses,
            Action::Notify("STOP")
        ]
    );
    let mut r = Run::new("priority 100");
    assert_eq!(r.event(Event::Stop), [Action::Notify("STOP")]);
}
