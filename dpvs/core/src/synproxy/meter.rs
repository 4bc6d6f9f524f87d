//! When a service is proxied: because it asked, or because SYNs come too fast.
//!
//! Above `auto_syn_rate` SYNs a second a service that did not ask gets the SYN
//! proxy, until the rate has been below for a minute. Off by default; DPVS has
//! nothing like it. It is one rate for all workers, however SYNs are spread. The
//! master is told, once each way.

use crate::frame::{Frame, Io, Now};
use crate::message::FromWorker;
use crate::service::Service;
use crate::tokens::Gauge;
use crate::worker::Worker;

/// Milliseconds the rate has to be below the limit before it is over.
const CALM: u64 = 60_000;
/// All workers together keep one part in this of the limit to themselves.
const PART: u32 = 16;

/// SYNs of a service that a worker has not told the others of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// When they came, in seconds.
    second: u64,
    held: u32,
}

/// What a SYN has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    On(u32),
    Off,
}

impl Meter {
    /// A SYN has come to one of so many workers: whether it is answered by a cookie,
    /// because SYNs come too fast, and whether that is news.
    #[inline(never)]
    pub(super) fn came(
        &mut self,
        gauge: &Gauge,
        limit: u32,
        workers: u32,
        now: Now,
    ) -> (bool, Option<Turn>) {
        let batch = match workers {
            0 | 1 => 0,
            workers => (limit / PART / workers).max(1),
        };
        let turn = self.count(gauge, limit, batch, now.millis());
        (gauge.holds(now.millis()), turn)
    }

    /// Counts a SYN of a service. So that workers do not meet at the gauge for each,
    /// they come there in batches of `batch`; 0 for a worker that meets nobody.
    fn count(&mut self, gauge: &Gauge, limit: u32, batch: u32, now_ms: u64) -> Option<Turn> {
        let over = gauge.ends(now_ms).then_some(Turn::Off);
        if self.second != now_ms / 1000 {
            self.second = now_ms / 1000;
            self.held = 0;
        }
        self.held += 1;
        if self.held < batch {
            return over;
        }
        let held = std::mem::take(&mut self.held);
        let rate = if batch == 0 {
            gauge.add_alone(held, now_ms)
        } else {
            gauge.add(held, now_ms)
        };
        if rate > limit && gauge.hold(now_ms + CALM) {
            return Some(Turn::On(rate));
        }
        over
    }
}

impl<F: Frame> Worker<F> {
    /// Has the master told.
    #[cold]
    #[inline(never)]
    pub(super) fn turned<I: Io<Frame = F>>(&mut self, service: &Service, turn: Turn, io: &mut I) {
        let rate = match turn {
            Turn::On(rate) => Some(rate),
            Turn::Off => None,
        };
        self.stats.synproxy.auto += u64::from(rate.is_some());
        io.report(FromWorker::SynFlood {
            worker: self.id(),
            service: service.key,
            rate,
        });
    }

    /// Whether a service is proxied now because of its rate.
    pub(super) fn is_flooded(service: &Service, now: Now) -> bool {
        service.syns.holds(now.millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_on_above_the_rate_and_off_after_a_calm_minute() {
        [0, 1].into_iter().for_each(turns_on_and_off);
    }

    fn turns_on_and_off(batch: u32) {
        let (gauge, mut m) = (Gauge::default(), Meter::default());
        let mut at = |ms: u64, n: u32| {
            let turns: Vec<_> = (0..n)
                .filter_map(|_| m.count(&gauge, 10, batch, ms))
                .collect();
            (turns, gauge.holds(ms))
        };
        assert_eq!(at(5_000, 10), (vec![], false));
        assert_eq!(at(6_000, 10), (vec![], false));
        assert_eq!(at(6_500, 3), (vec![Turn::On(11)], true));
        assert_eq!(at(7_000, 50), (vec![], true));
        assert_eq!(at(66_000, 5), (vec![], true));
        assert_eq!(at(67_000, 5), (vec![Turn::Off], false));
        assert_eq!(at(68_000, 11), (vec![Turn::On(11)], true));
    }

    /// However SYNs are spread, it is on before one part more has come, and not below
    /// the limit; told once.
    #[test]
    fn is_one_rate_for_all_workers() {
        const LIMIT: u32 = 6400;
        for spread in [[1u32, 1, 1, 1], [97, 1, 1, 1], [5, 5, 1, 0]] {
            let gauge = Gauge::default();
            let mut meters = [Meter::default(); 4];
            let (mut all, mut turns) = (0, Vec::new());
            while all <= LIMIT + LIMIT / PART + 100 {
                for (m, n) in meters.iter_mut().zip(spread) {
                    for _ in 0..n {
                        all += 1;
                        let batch = LIMIT / PART / 4;
                        turns.extend(m.count(&gauge, LIMIT, batch, 9_000).map(|t| (t, all)));
                    }
                }
            }
            assert!(gauge.holds(9_000), "{spread:?}");
            let [(Turn::On(rate), at)] = turns[..] else {
                panic!("told once: {turns:?}");
            };
            assert!(rate > LIMIT && at > LIMIT && at <= LIMIT + LIMIT / PART + 100);
        }
    }
}
