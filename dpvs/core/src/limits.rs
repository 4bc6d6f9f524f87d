//! Connection thresholds of servers, exact over all workers.
//!
//! Each worker may make its share of a server's connections. One that has used its
//! share up asks the others, in turn, for what they have left; what one gives it
//! does not have any more, so that the shares always add up to the threshold and
//! there are never more connections than that. With a lower threshold, a server
//! found full is so for everybody until all workers together have less than that:
//! one of them, its keeper, is told of every connection that ends meanwhile. No
//! memory is shared; a worker with enough left says nothing to anybody.

use crate::frame::{Frame, Io, Now, WorkerId};
use crate::held::WaitFor;
use crate::message::{LimitWord, PeerMessage};
use crate::service::{Dest, DestId};
use crate::worker::{DestState, Worker};

/// How often a worker that has nothing left asks the next one, milliseconds.
const AGAIN: u64 = 5;

/// What a worker knows of a server's threshold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limit {
    /// The thresholds that the rest is about.
    max: u32,
    min: u32,
    /// What others gave less what was given to others.
    loan: i64,
    /// How many in a row had nothing to give.
    refused: u32,
    /// Workers to ask, behind this one.
    turn: u8,
    /// In the list of those that are short.
    short: bool,
    /// Somebody was asked and has not answered.
    asked: bool,
    /// Nobody had anything; asked again by and by.
    dry: bool,
    /// Full until there are less than the lower threshold.
    full: bool,
    /// For the keeper: connections of each worker.
    counts: Vec<u32>,
}

impl Limit {
    /// Connections this worker may have.
    fn quota(&self, me: u8, workers: u8) -> u32 {
        let workers = u32::from(workers.max(1));
        let share = self.max / workers + u32::from(u32::from(me) < self.max % workers);
        u32::try_from((i64::from(share) + self.loan).max(0)).unwrap_or(u32::MAX)
    }
}

/// Thresholds of servers that have one.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    of: std::collections::BTreeMap<DestId, Limit>,
    /// Those that are asked about.
    short: Vec<DestId>,
    /// When to ask again (ms).
    next: u64,
}

impl Limits {
    /// A server's thresholds as configured now.
    pub(crate) fn configure(&mut self, dest: &Dest) {
        if dest.max_conn == 0 {
            self.of.remove(&dest.id);
            return;
        }
        let limit = self.of.entry(dest.id).or_default();
        if limit.max != dest.max_conn {
            // DIFFERS: DPVS gives each worker the whole part of its share only,
            // and none of it when there are more workers than connections; its
            // lower threshold does nothing.
            *limit = Limit {
                max: dest.max_conn,
                short: limit.short,
                ..Limit::default()
            };
        }
        limit.min = dest.min_conn;
        limit.full &= limit.min > 0;
    }

    /// A server is gone.
    pub(crate) fn forget(&mut self, dest: DestId) {
        if !self.of.is_empty() {
            self.of.remove(&dest);
        }
    }

    /// May this worker make no more connections to it.
    #[inline]
    pub(crate) fn overloaded(&self, dest: &Dest, state: &DestState, me: u8, workers: u8) -> bool {
        dest.max_conn != 0
            && self
                .of
                .get(&dest.id)
                .is_some_and(|limit| limit.full || state.conns_now() >= limit.quota(me, workers))
    }
}

impl<F: Frame> Worker<F> {
    fn left(&self, dest: DestId) -> u32 {
        let Some(limit) = self.limits.of.get(&dest) else {
            return 0;
        };
        let used = self
            .dests
            .get(dest.0 as usize)
            .map_or(0, DestState::conns_now);
        limit
            .quota(self.conf.id.0, self.conf.workers)
            .saturating_sub(used)
    }

    /// A connection to a server with a threshold was made: is there enough left?
    pub(crate) fn count_limit<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let left = self.left(dest);
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            return;
        };
        if workers < 2 {
            limit.full |= left == 0 && limit.min > 0;
        } else if left <= limit.quota(me, workers) / 8 {
            self.run_short(dest, io);
        }
    }

    /// A worker wants more of a server's connections: asks at once, and again.
    fn run_short<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            return;
        };
        if limit.asked || limit.dry || limit.full {
            return;
        }
        if !std::mem::replace(&mut limit.short, true) {
            self.limits.short.push(dest);
        }
        limit.refused = 0;
        self.ask_limit(dest, io);
    }

    /// Asks the next worker.
    fn ask_limit<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let (me, workers) = (self.conf.id, self.conf.workers);
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            return;
        };
        limit.turn = limit.turn % (workers - 1) + 1;
        let whom = (u16::from(me.0) + u16::from(limit.turn)) % u16::from(workers);
        let max = limit.max;
        let asked = self.say_limit(WorkerId(whom as u8), dest, LimitWord::Ask { max }, io);
        if let Some(limit) = self.limits.of.get_mut(&dest) {
            limit.asked = asked;
        }
    }

    fn say_limit<I: Io<Frame = F>>(
        &mut self,
        to: WorkerId,
        dest: DestId,
        word: LimitWord,
        io: &mut I,
    ) -> bool {
        let from = self.conf.id;
        io.tell(to, PeerMessage::Limit { from, dest, word })
    }

    /// Every other worker is told.
    fn say_limit_to_all<I: Io<Frame = F>>(&mut self, dest: DestId, word: LimitWord, io: &mut I) {
        for n in (0..self.conf.workers).map(WorkerId) {
            if n != self.conf.id {
                self.say_limit(n, dest, word, io);
            }
        }
    }

    /// No server of a service may have a connection of this worker: one that the
    /// others may have something left of, if there is any.
    pub(crate) fn ask_around<I: Io<Frame = F>>(
        &mut self,
        dests: &[Dest],
        io: &mut I,
    ) -> Option<DestId> {
        /// Servers asked about for one packet.
        const SERVERS: usize = 16;
        if self.conf.workers < 2 {
            return None;
        }
        let mut first = None;
        for dest in dests.iter().filter(|d| d.usable()).take(SERVERS) {
            self.run_short(dest.id, io);
            if let Some(limit) = self.limits.of.get(&dest.id)
                && limit.asked
                && !limit.full
            {
                first = first.or(Some(dest.id));
            }
        }
        first
    }

    /// Asks again for what there is not enough of.
    #[cold]
    pub(crate) fn chase_limits<I: Io<Frame = F>>(&mut self, now: Now, io: &mut I) {
        if now.millis() < self.limits.next {
            return;
        }
        self.limits.next = now.millis() + AGAIN;
        let list = std::mem::take(&mut self.limits.short);
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let mut still = Vec::with_capacity(list.len());
        for dest in list {
            let left = self.left(dest);
            let Some(limit) = self.limits.of.get_mut(&dest) else {
                continue;
            };
            limit.dry = false;
            limit.refused = 0;
            if limit.full || left > limit.quota(me, workers) / 8 {
                limit.short = false;
            } else {
                still.push(dest);
                self.ask_limit(dest, io);
            }
        }
        self.limits.short = still;
    }

    /// Whether something is asked for.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        !self.limits.short.is_empty()
    }

    /// Takes what another worker says of a threshold.
    pub(crate) fn hear_limit<I: Io<Frame = F>>(
        &mut self,
        from: WorkerId,
        dest: DestId,
        word: LimitWord,
        now: Now,
        io: &mut I,
    ) {
        match word {
            LimitWord::Ask { max } => {
                // Nobody has asked this worker for the server yet: all of its
                // share is left.
                let limit = self.limits.of.entry(dest).or_insert_with(|| Limit {
                    max,
                    ..Limit::default()
                });
                let same = limit.max == max;
                let gift = if same { self.left(dest).div_ceil(2) } else { 0 };
                let word = LimitWord::Give { max, number: gift };
                if self.say_limit(from, dest, word, io)
                    && let Some(limit) = self.limits.of.get_mut(&dest)
                {
                    limit.loan -= i64::from(gift);
                }
            }
            LimitWord::Give { max, number } => {
                let workers = u32::from(self.conf.workers);
                let Some(limit) = self.limits.of.get_mut(&dest).filter(|l| l.max == max) else {
                    return;
                };
                limit.loan += i64::from(number);
                limit.asked = false;
                limit.refused = if number > 0 { 0 } else { limit.refused + 1 };
                let dry = limit.refused + 1 >= workers;
                limit.dry = dry;
                if dry && limit.min > 0 && !limit.full && self.left(dest) == 0 {
                    self.declare_full(dest, io);
                }
                if number > 0 {
                    self.lighter(dest);
                }
                if number > 0 || dry {
                    self.come_again(&WaitFor::Limit(dest), now, io);
                } else {
                    self.ask_limit(dest, io);
                }
            }
            LimitWord::Full { max } => {
                if let Some(limit) = self.limits.of.get_mut(&dest).filter(|l| l.max == max) {
                    limit.full = true;
                    self.report_limit(dest, io);
                }
            }
            LimitWord::Count { max, number } => self.keep_count(from, dest, max, number, io),
            LimitWord::Room { max } => {
                if let Some(limit) = self.limits.of.get_mut(&dest).filter(|l| l.max == max) {
                    limit.full = false;
                    self.lighter(dest);
                }
            }
        }
    }

    /// Nobody has anything left: full until less than the lower threshold.
    fn declare_full<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            return;
        };
        limit.full = true;
        let max = limit.max;
        self.say_limit_to_all(dest, LimitWord::Full { max }, io);
        self.report_limit(dest, io);
    }

    /// The keeper is told how many connections this worker has to a full server.
    fn report_limit<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let Some(limit) = self.limits.of.get(&dest) else {
            return;
        };
        let max = limit.max;
        let number = self
            .dests
            .get(dest.0 as usize)
            .map_or(0, DestState::conns_now);
        let keeper = WorkerId((dest.0 % u32::from(self.conf.workers)) as u8);
        if keeper == self.conf.id {
            self.keep_count(keeper, dest, max, number, io);
        } else {
            self.say_limit(keeper, dest, LimitWord::Count { max, number }, io);
        }
    }

    fn keep_count<I: Io<Frame = F>>(
        &mut self,
        from: WorkerId,
        dest: DestId,
        max: u32,
        number: u32,
        io: &mut I,
    ) {
        let workers = usize::from(self.conf.workers);
        let Some(limit) = self.limits.of.get_mut(&dest).filter(|l| l.max == max) else {
            return;
        };
        // Whoever has not said anything yet has as many as there can be.
        limit.counts.resize(workers, u32::MAX);
        if let Some(count) = limit.counts.get_mut(usize::from(from.0)) {
            *count = number;
        }
        let sum = limit.counts.iter().try_fold(0u32, |n, c| n.checked_add(*c));
        if limit.full && sum.is_some_and(|n| n < limit.min) {
            limit.full = false;
            limit.counts.clear();
            self.say_limit_to_all(dest, LimitWord::Room { max }, io);
            self.lighter(dest);
        }
    }

    /// A connection to a server with a threshold has ended.
    #[cold]
    pub(crate) fn end_limit<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let now = self
            .dests
            .get(dest.0 as usize)
            .map_or(0, DestState::conns_now);
        let workers = self.conf.workers;
        let Some(limit) = self.limits.of.get_mut(&dest).filter(|l| l.full) else {
            return;
        };
        if workers < 2 {
            limit.full = now >= limit.min;
        } else {
            self.report_limit(dest, io);
        }
    }

    /// Whether any server has a threshold.
    #[inline]
    pub(crate) fn has_limits(&self) -> bool {
        !self.limits.of.is_empty()
    }
}
