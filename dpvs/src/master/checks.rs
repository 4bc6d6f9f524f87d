//! Passive check of servers: what becomes of a server whose connections fail
//! (DPVS facts §11).
//!
//! Workers report; here are the counts and timers. A server that fails often enough
//! within its window is inhibited: listed with weight 0, given no connections. Its
//! time out doubles with every turn and is halved by connections that succeed after
//! it was let back. Knows no socket; the service's check is data to it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use dpvs_core::service::{DestId, ServiceKey};
use dpvs_ctl::msg::{CheckConf, check_type};

/// Above this many seconds the time out is not doubled.
const LONGEST: u32 = 3600;

/// What is known of a server that has failed.
#[derive(Clone, Copy, Debug)]
struct Watch {
    service: ServiceKey,
    /// Failures within the window, and its end.
    downs: u8,
    until: Instant,
    /// How long it will be out next time, seconds; 0 = not out yet.
    time: u32,
    /// When it is let back.
    back: Option<Instant>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Checks {
    watched: HashMap<DestId, Watch>,
    chance: RandomState,
    next: Option<Instant>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            watched: HashMap::new(),
            chance: RandomState::new(),
            next: None,
        }
    }
}

/// Stays out until somebody says otherwise.
fn down_only(c: &CheckConf) -> bool {
    c.dest_up_notice_num == 0 && c.dest_inhibit_min == 0 && c.dest_inhibit_max == 0
}

impl Checks {
    /// So many seconds, half a second more or less by chance.
    fn about(&self, seconds: u32, dest: DestId, now: Instant) -> Instant {
        let chance = self.chance.hash_one((dest, now)) % 1000;
        let ms = (u64::from(seconds) * 1000).saturating_sub(500) + chance;
        now + Duration::from_millis(ms)
    }

    /// The service of a server that has failed before.
    pub(super) fn service_of(&self, dest: DestId) -> Option<ServiceKey> {
        self.watched.get(&dest).map(|w| w.service)
    }

    /// A connection to a server has failed. True if it is to be taken out.
    pub(super) fn down(
        &mut self,
        dest: DestId,
        service: ServiceKey,
        check: &CheckConf,
        now: Instant,
    ) -> bool {
        if check.types & check_type::PASSIVE == 0 {
            return false;
        }
        let window = self.about(check.dest_down_wait.into(), dest, now);
        let fresh = Watch {
            service,
            downs: 0,
            until: window,
            time: 0,
            back: None,
        };
        let watch = self.watched.entry(dest).or_insert(fresh);
        watch.service = service;
        if watch.downs == 0 || now >= watch.until {
            watch.downs = 0;
            watch.until = window;
        }
        watch.downs = watch.downs.saturating_add(1);
        if watch.downs < check.dest_down_notice_num {
            return false;
        }
        watch.downs = 0;
        let (min, max) = (check.dest_inhibit_min.into(), check.dest_inhibit_max.into());
        let time = watch.time.max(min).min(max);
        watch.time = if time < LONGEST { time * 2 } else { time };
        if !down_only(check) {
            let back = self.about(time, dest, now);
            if let Some(watch) = self.watched.get_mut(&dest) {
                watch.back = Some(back);
            }
            self.next = Some(self.next.map_or(back, |next| next.min(back)));
        }
        true
    }

    /// A connection to a server that was let back has succeeded.
    pub(super) fn up(&mut self, dest: DestId, check: &CheckConf) {
        if let Some(watch) = self.watched.get_mut(&dest) {
            watch.time = (watch.time / 2).max(check.dest_inhibit_min.into());
        }
    }

    /// Servers that are to be let back now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(DestId, ServiceKey)> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (dest, watch) in &mut self.watched {
            if watch.back.is_some_and(|back| back <= now) {
                watch.back = None;
                due.push((*dest, watch.service));
            }
        }
        self.next = self.watched.values().filter_map(|w| w.back).min();
        due
    }

    /// A server is gone.
    pub(super) fn forget(&mut self, dest: DestId) {
        self.watched.remove(&dest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: DestId = DestId(3);

    fn key() -> ServiceKey {
        ServiceKey {
            proto: 6,
            addr: [192, 0, 2, 1].into(),
            port: 80,
        }
    }

    fn check(retry: u8, min: u16, max: u16) -> CheckConf {
        CheckConf {
            types: check_type::PASSIVE,
            dest_down_notice_num: retry,
            dest_up_notice_num: u8::from(max > 0),
            dest_down_wait: 3,
            dest_inhibit_min: min,
            dest_inhibit_max: max,
        }
    }

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn failures_count_within_their_window() {
        let mut c = Checks::default();
        let (conf, t) = (check(3, 5, 3600), Instant::now());
        assert!(!c.down(D, key(), &conf, t));
        assert!(!c.down(D, key(), &conf, t + secs(2.0)));
        // The window is 2.5 to 3.5 seconds.
        assert!(!c.down(D, key(), &conf, t + secs(3.6)));
        assert!(!c.down(D, key(), &conf, t + secs(3.7)));
        assert!(c.down(D, key(), &conf, t + secs(3.8)));
        // Not watched: nothing.
        assert!(!c.down(D, key(), &CheckConf::default(), t));
    }

    #[test]
    fn the_time_out_doubles_and_is_halved() {
        let mut c = Checks::default();
        let (conf, mut t) = (check(1, 5, 60), Instant::now());
        // Each time out, and what it takes at least and at most.
        for time in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            assert!(c.down(D, key(), &conf, t));
            assert_eq!(c.due(t + secs(time - 0.6)), []);
            t += secs(time + 0.6);
            assert_eq!(c.due(t), [(D, key())]);
            assert_eq!(c.due(t), []);
        }
        // 120 comes to 60, 30, 15, 7, 5, 5.
        for _ in 0..4 {
            c.up(D, &conf);
        }
        assert!(c.down(D, key(), &conf, t));
        assert_eq!(c.due(t + secs(6.4)), []);
        assert_eq!(c.due(t + secs(7.6)), [(D, key())]);
        for _ in 0..9 {
            c.up(D, &conf);
        }
        assert!(c.down(D, key(), &conf, t));
        assert_eq!(c.due(t + secs(5.6)), [(D, key())]);
    }

    #[test]
    fn down_only_is_for_good() {
        let mut c = Checks::default();
        let t = Instant::now();
        assert!(c.down(D, key(), &check(1, 0, 0), t));
        assert_eq!(c.due(t + secs(100_000.0)), []);
        c.forget(D);
        assert_eq!(c.service_of(D), None);
    }
}
