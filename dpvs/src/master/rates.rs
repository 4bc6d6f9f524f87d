//! Rates of the servers, estimated the way Linux's IPVS does: what was counted
//! in two seconds moves the average by a quarter of the difference.
//!
//! Every two seconds the counters of all servers are asked for, a few at a time.
//! DIFFERS: the C daemon has no estimator and lists rates of 0.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{DestCounters, Query, Reply, ToWorker};
use dpvs_core::service::DestId;
use dpvs_ctl::msg::Stats;

use super::Master;

/// Time between two looks at a server.
const PERIOD: Duration = Duration::from_secs(2);
/// Servers in one question.
const PIECE: u32 = 64;
/// Questions a worker may have at once.
const AHEAD: usize = 4;

/// What is counted: connections, packets and bytes in, packets and bytes out.
type Counts = [u64; 5];
/// Binary places behind the point of each average.
const POINT: [u32; 5] = [10, 10, 5, 10, 5];

fn counts(c: &DestCounters) -> Counts {
    [c.conns, c.in_pkts, c.in_bytes, c.out_pkts, c.out_bytes]
}

/// One server's averages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Estimate {
    /// The counters at the last look, and when that was.
    last: Option<(Counts, Instant)>,
    averages: Counts,
}

impl Estimate {
    fn look(&mut self, now: Counts, when: Instant) {
        let before = self.last.replace((now, when));
        let Some((last, since)) = before else { return };
        let millis = when.saturating_duration_since(since).as_millis().max(1) as u64;
        if now.iter().zip(&last).any(|(n, l)| n < l) {
            // Set to zero in between.
            self.averages = Counts::default();
            return;
        }
        for i in 0..now.len() {
            let delta = u128::from(now[i] - last[i]) << POINT[i];
            let rate = u64::try_from(delta * 1000 / u128::from(millis)).unwrap_or(u64::MAX);
            let average = &mut self.averages[i];
            *average = if rate >= *average {
                *average + (rate - *average) / 4
            } else {
                *average - (*average - rate) / 4
            };
        }
    }

    fn rounded(&self) -> [u32; 5] {
        std::array::from_fn(|i| {
            let half = (1 << (POINT[i] - 1)) - 1;
            u32::try_from(self.averages[i].saturating_add(half) >> POINT[i]).unwrap_or(u32::MAX)
        })
    }
}

/// A question to all workers that is not answered by all.
#[derive(Debug)]
struct Piece {
    first: u32,
    missing: usize,
    sums: Vec<Counts>,
}

/// The estimator.
#[derive(Debug)]
pub(super) struct Rates {
    all: Vec<Estimate>,
    /// When the present look at all servers began.
    began: Instant,
    /// Next server to ask for, and the one behind the last.
    at: u32,
    end: u32,
    pieces: HashMap<u32, Piece>,
    tokens: HashMap<u64, u32>,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Rates {
        Rates {
            all: Vec::new(),
            began: now,
            at: 0,
            end: 0,
            pieces: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    /// The number of a server is another one's from now on.
    pub(super) fn forget(&mut self, dest: DestId) {
        if let Some(estimate) = self.all.get_mut(dest.0 as usize) {
            *estimate = Estimate::default();
        }
    }

    /// Puts a server's rates into its counters.
    pub(super) fn fill(&self, dest: Option<DestId>, stats: &mut Stats) {
        let estimate = dest.and_then(|d| self.all.get(d.0 as usize));
        let rates = estimate.map(Estimate::rounded).unwrap_or_default();
        let [cps, inpps, inbps, outpps, outbps] = rates;
        *stats = Stats {
            cps,
            inpps,
            inbps,
            outpps,
            outbps,
            ..*stats
        };
    }

    /// Starts over when it is time. True if there is something to ask.
    fn is_due(&mut self, now: Instant, servers: u32) -> bool {
        if now.saturating_duration_since(self.began) >= PERIOD {
            self.began = now;
            self.at = 0;
            self.end = servers;
            // Answers that have not come are too old.
            self.pieces.clear();
            self.tokens.clear();
            self.all.resize(servers as usize, Estimate::default());
        }
        self.at < self.end && self.pieces.len() < AHEAD
    }

    /// The next piece to ask for.
    fn piece(&mut self, workers: usize) -> (u32, Vec<DestId>) {
        let first = self.at;
        self.at = self.end.min(first + PIECE);
        let dests: Vec<DestId> = (first..self.at).map(DestId).collect();
        let piece = Piece {
            first,
            missing: workers,
            sums: vec![Counts::default(); dests.len()],
        };
        self.pieces.insert(first, piece);
        (first, dests)
    }

    /// Takes an answer. False: it is not to a question of ours.
    pub(super) fn answered(&mut self, token: u64, reply: &Reply) -> bool {
        let Some(first) = self.tokens.remove(&token) else {
            return false;
        };
        let (Some(piece), Reply::Dests(list)) = (self.pieces.get_mut(&first), reply) else {
            return true;
        };
        for (sum, c) in piece.sums.iter_mut().zip(list) {
            for (total, n) in sum.iter_mut().zip(counts(c)) {
                *total = total.saturating_add(n);
            }
        }
        piece.missing = piece.missing.saturating_sub(1);
        if piece.missing == 0
            && let Some(piece) = self.pieces.remove(&first)
        {
            let all = self.all.iter_mut().skip(piece.first as usize);
            for (estimate, sum) in all.zip(piece.sums) {
                estimate.look(sum, self.began);
            }
        }
        true
    }
}

impl Master {
    /// Asks for the next servers' counters, when it is time.
    pub(super) fn estimate(&mut self, now: Instant) {
        let servers = self.state.services.dest_bound();
        while self.rates.is_due(now, servers) {
            let workers: Vec<WorkerId> = self.workers.ids().collect();
            let (first, dests) = self.rates.piece(workers.len());
            for worker in workers {
                let token = self.fresh();
                let query = Query::Dests(dests.clone());
                self.rates.tokens.insert(token, first);
                self.workers.send(worker, ToWorker::Query { token, query });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> (Instant, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (start + Duration::from_secs(secs), move |s| {
            start + Duration::from_secs(s)
        })
    }

    #[test]
    fn a_quarter_of_the_difference_every_two_seconds() {
        let (_, t) = at(0);
        let mut e = Estimate::default();
        e.look([100, 1000, 100_000, 0, 0], t(0));
        assert_eq!(e.rounded(), [0; 5], "there is no rate yet");
        // 10 connections, 100 packets and 10,000 bytes a second.
        let steady = |n: u64| [100 + n * 20, 1000 + n * 200, 100_000 + n * 20_000, 0, 0];
        e.look(steady(1), t(2));
        assert_eq!(e.rounded(), [2, 25, 2500, 0, 0]);
        e.look(steady(2), t(4));
        assert_eq!(e.rounded(), [4, 44, 4375, 0, 0]);
        for n in 3..40 {
            e.look(steady(n), t(2 * n));
        }
        assert_eq!(e.rounded(), [10, 100, 10_000, 0, 0]);
        e.look(steady(39), t(80));
        assert_eq!(e.rounded(), [7, 75, 7500, 0, 0]);
        e.look([0; 5], t(82));
        assert_eq!(e.rounded(), [0; 5], "after a zero");
    }

    #[test]
    fn all_servers_are_looked_at_in_pieces() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        assert!(!rates.is_due(start, 1000), "not before its time");
        let mut token = 0;
        for round in 1..=3u64 {
            let now = start + PERIOD * u32::try_from(round).unwrap();
            let mut asked = 0;
            let mut waiting: Vec<(u64, usize)> = Vec::new();
            loop {
                while rates.is_due(now, 1000) {
                    let (first, dests) = rates.piece(2);
                    asked += dests.len();
                    for _ in 0..2 {
                        token += 1;
                        rates.tokens.insert(token, first);
                        waiting.push((token, dests.len()));
                    }
                }
                assert!(waiting.len() <= 2 * AHEAD);
                let Some((token, n)) = waiting.pop() else {
                    break;
                };
                let counters = DestCounters {
                    conns: round * 40,
                    ..DestCounters::default()
                };
                assert!(rates.answered(token, &Reply::Dests(vec![counters; n])));
                assert!(!rates.answered(token, &Reply::Dests(vec![])));
            }
            assert_eq!(asked, 1000);
        }
        // Two workers, 40 connections more each in two seconds, twice.
        for n in [0, 63, 64, 999] {
            let mut stats = Stats::default();
            rates.fill(Some(DestId(n)), &mut stats);
            assert_eq!(stats.cps, 17, "{n}");
        }
        rates.forget(DestId(64));
        let mut stats = Stats::default();
        rates.fill(Some(DestId(64)), &mut stats);
        assert_eq!(stats.cps, 0);
    }
}
