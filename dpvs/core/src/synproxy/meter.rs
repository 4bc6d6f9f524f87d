//! When a service is proxied: because it asked, or because SYNs come too fast.
//!
//! Above `auto_syn_rate` SYNs a second a service that did not ask gets the SYN
//! proxy, until the rate has been below for a minute. Off by default; DPVS has
//! nothing like it. Each worker measures its share. The master is told, once each
//! way.

use std::sync::Arc;

use crate::choose::ServiceState;
use crate::frame::{Frame, Io, Now};
use crate::message::FromWorker;
use crate::service::{FwdMode, Service};
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// Milliseconds the rate has to be below the limit before it is over.
const CALM: u64 = 60_000;

/// SYNs of a service within a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// When the second began, milliseconds.
    since: u64,
    count: u32,
    /// Proxied until then, milliseconds; 0 = not.
    until: u64,
    /// The rate it began with.
    rate: u32,
}

/// What a SYN has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    On(u32),
    Off,
}

impl Meter {
    /// Counts a SYN.
    fn count(&mut self, limit: u32, now_ms: u64) -> Option<Turn> {
        if now_ms.wrapping_sub(self.since) >= 1000 {
            self.since = now_ms;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if self.count > limit {
            let was = std::mem::replace(&mut self.until, now_ms + CALM);
            self.rate = self.count;
            return (was == 0).then_some(Turn::On(self.count));
        }
        if self.until != 0 && now_ms >= self.until {
            self.until = 0;
            return Some(Turn::Off);
        }
        None
    }

    /// Whether it is proxied now.
    fn on(&self, now_ms: u64) -> bool {
        now_ms < self.until
    }
}

impl<F: Frame> Worker<F> {
    /// Whether a SYN to a service is answered by a cookie, because SYNs come too
    /// fast.
    #[cold]
    #[inline(never)]
    pub(crate) fn flooded<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        service: &Arc<Service>,
        now: Now,
        io: &mut I,
    ) -> bool {
        let limit = snap.settings.synproxy.auto_syn_rate / u32::from(self.conf.workers.max(1));
        let worker = self.id();
        let Some(state) = self.service_state(service) else {
            return false;
        };
        let turn = state.syns.count(limit.max(1), now.millis());
        let on = state.syns.on(now.millis());
        if let Some(turn) = turn {
            let rate = match turn {
                Turn::On(rate) => Some(rate),
                Turn::Off => None,
            };
            self.stats.synproxy.auto += u64::from(rate.is_some());
            io.report(FromWorker::SynFlood {
                worker,
                service: service.key,
                rate,
            });
        }
        // Number translation is FullNAT's.
        on && service.dests.iter().all(|d| d.mode == FwdMode::FullNat)
    }

    /// Whether a service is proxied now because of its rate.
    pub(super) fn is_flooded(&self, service: &Service, now: Now) -> bool {
        let state = self.services.get(service.id.0 as usize);
        let of = |s: &ServiceState| s.is_of(service) && s.syns.on(now.millis());
        state.and_then(Option::as_deref).is_some_and(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_on_above_the_rate_and_off_after_a_calm_minute() {
        let mut m = Meter::default();
        let mut at = |ms: u64, n: u32| {
            let turns: Vec<_> = (0..n).filter_map(|_| m.count(10, ms)).collect();
            (turns, m.on(ms))
        };
        assert_eq!(at(5_000, 10), (vec![], false));
        assert_eq!(at(6_000, 10), (vec![], false));
        assert_eq!(at(6_500, 3), (vec![Turn::On(11)], true));
        assert_eq!(at(7_000, 50), (vec![], true));
        assert_eq!(at(66_000, 5), (vec![], true));
        assert_eq!(at(67_000, 5), (vec![Turn::Off], false));
        assert_eq!(at(68_000, 11), (vec![Turn::On(11)], true));
    }
}
