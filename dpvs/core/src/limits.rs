//! Connection thresholds of servers, exact over all workers.
//!
//! Each worker may make its share of a server's connections. One that has used its
//! share up asks the others, in turn, for what they have left; what one gives it
//! does not have any more, so that the shares always add up to the threshold and
//! there are never more connections than that. With a lower threshold, a server
//! found full is so for everybody until all workers together have less than that:
//! one of them, its keeper, is told of every connection that ends meanwhile. What is
//! lent stays lent when the thresholds change; who has lent more than it has then
//! claims that back. No memory is shared; a worker with enough left says nothing to
//! anybody.

use crate::frame::{Frame, Io, Now, WorkerId};
use crate::held::WaitFor;
use crate::message::{LimitWord, PeerMessage};
use crate::service::{Dest, DestId, ServiceKey};
use crate::worker::{DestState, Worker};

/// How often a worker that has nothing left asks the next one, milliseconds.
const AGAIN: u64 = 5;

/// What a worker knows of a server's threshold.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    service: ServiceKey,
    /// Which thresholds the rest is about, but for the loan.
    terms: u32,
    max: u32,
    min: u32,
    /// What others gave less what was given to others. Those of all workers add up
    /// to nothing, whatever the thresholds become.
    loan: i64,
    /// How many in a row had nothing to give.
    refused: u32,
    /// Workers to ask, behind this one.
    turn: u8,
    /// In the list of those to look after.
    listed: bool,
    /// There is not enough left for new connections.
    wanted: bool,
    /// The others may not know yet that the thresholds have changed.
    news: bool,
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
    fn new(service: ServiceKey, dest: &Dest) -> Self {
        Self {
            service,
            terms: dest.terms,
            max: dest.max_conn,
            min: 0,
            loan: 0,
            refused: 0,
            turn: 0,
            listed: false,
            wanted: false,
            news: false,
            asked: false,
            dry: false,
            full: false,
            counts: Vec::new(),
        }
    }

    /// This worker's share and what it has borrowed; below zero if it has lent more
    /// than its share is now.
    fn balance(&self, me: u8, workers: u8) -> i64 {
        let workers = u32::from(workers.max(1));
        let share = self.max / workers + u32::from(u32::from(me) < self.max % workers);
        i64::from(share) + self.loan
    }

    /// Connections this worker may have.
    fn quota(&self, me: u8, workers: u8) -> u32 {
        let most = i64::from(self.max);
        u32::try_from(self.balance(me, workers).clamp(0, most)).unwrap_or(u32::MAX)
    }

    /// What it has to claim back.
    fn lacks(&self, me: u8, workers: u8) -> u32 {
        match self.max {
            0 => 0,
            _ => u32::try_from(-self.balance(me, workers)).unwrap_or(0),
        }
    }
}

/// Thresholds of servers that have one.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    of: std::collections::BTreeMap<DestId, Limit>,
    /// Those to look after.
    short: Vec<DestId>,
    /// When to do that again (ms).
    next: u64,
}

impl Limits {
    /// A server's thresholds as configured now.
    pub(crate) fn configure(&mut self, dest: &Dest, service: ServiceKey) {
        // DIFFERS: DPVS gives each worker the whole part of its share only, and none
        // of it when there are more workers than connections; its lower threshold
        // does nothing.
        let limit = match self.of.get_mut(&dest.id) {
            Some(limit) => limit,
            None if dest.max_conn == 0 => return,
            None => {
                let new = Limit::new(service, dest);
                self.of.entry(dest.id).or_insert(new)
            }
        };
        limit.min = dest.min_conn;
        if (limit.terms, limit.max) != (dest.terms, dest.max_conn) {
            // What is lent stays lent, so that the quotas add up to the new threshold.
            (limit.terms, limit.max) = (dest.terms, dest.max_conn);
            (limit.dry, limit.full, limit.refused) = (false, false, 0);
            limit.counts.clear();
            if limit.loan != 0 {
                limit.news = true;
                if !std::mem::replace(&mut limit.listed, true) {
                    self.short.push(dest.id);
                }
            } else if limit.max == 0 && !limit.listed && !limit.asked {
                self.of.remove(&dest.id);
            }
        }
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

    /// A server was passed over because this worker has nothing left of it.
    #[cold]
    pub(crate) fn want_more<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        if self.conf.workers > 1 {
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
        limit.wanted = true;
        if !std::mem::replace(&mut limit.listed, true) {
            self.limits.short.push(dest);
        }
        limit.refused = 0;
        self.ask_limit(dest, io);
    }

    /// Asks the next worker.
    fn ask_limit<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let Some(limit) = self.limits.of.get_mut(&dest).filter(|_| workers > 1) else {
            return;
        };
        limit.turn = limit.turn % (workers - 1) + 1;
        let whom = (u16::from(me) + u16::from(limit.turn)) % u16::from(workers);
        let word = match limit.lacks(me, workers) {
            0 => LimitWord::Ask,
            number => LimitWord::Claim { number },
        };
        let asked = self.say_limit(WorkerId(whom as u8), dest, word, io);
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
        let Some(service) = self.limits.of.get(&dest).map(|l| l.service) else {
            return false;
        };
        io.tell(
            to,
            PeerMessage::Limit {
                from,
                service,
                dest,
                word,
            },
        )
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
            limit.wanted &= !limit.full && left <= limit.quota(me, workers) / 8;
            limit.listed = limit.wanted || limit.lacks(me, workers) > 0;
            let (ask, news) = (limit.listed, std::mem::take(&mut limit.news));
            if news {
                self.say_limit_to_all(dest, LimitWord::News, io);
            }
            if ask {
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
        service: ServiceKey,
        dest: DestId,
        word: LimitWord,
        now: Now,
        io: &mut I,
    ) {
        self.know_by_key(&service);
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let left = self.left(dest);
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            // What this worker knows nothing of it has nothing of.
            if matches!(word, LimitWord::Ask | LimitWord::Claim { .. }) {
                let from_me = PeerMessage::Limit {
                    from: self.conf.id,
                    service,
                    dest,
                    word: LimitWord::Give { number: 0 },
                };
                io.tell(from, from_me);
            }
            return;
        };
        let spoken_of = match word {
            LimitWord::Full { terms }
            | LimitWord::Count { terms, .. }
            | LimitWord::Room { terms } => Some(terms),
            _ => None,
        };
        if spoken_of.is_some_and(|terms| terms != limit.terms) {
            return;
        }
        match word {
            LimitWord::Ask => self.give_limit(from, dest, left.div_ceil(2), io),
            LimitWord::Claim { number } => {
                let all = limit.balance(me, workers).max(0);
                let number = u32::try_from(all).unwrap_or(u32::MAX).min(number);
                self.give_limit(from, dest, number, io);
            }
            LimitWord::Give { number } => self.take_limit(dest, number, now, io),
            // Heard is heard: what has to be claimed back is, by and by.
            LimitWord::News => {}
            LimitWord::Full { .. } => {
                limit.full = true;
                self.report_limit(dest, io);
            }
            LimitWord::Count { number, .. } => self.keep_count(from, dest, number, io),
            LimitWord::Room { .. } => {
                limit.full = false;
                self.lighter(dest);
            }
        }
    }

    fn give_limit<I: Io<Frame = F>>(
        &mut self,
        to: WorkerId,
        dest: DestId,
        number: u32,
        io: &mut I,
    ) {
        if self.say_limit(to, dest, LimitWord::Give { number }, io)
            && let Some(limit) = self.limits.of.get_mut(&dest)
        {
            limit.loan -= i64::from(number);
        }
    }

    fn take_limit<I: Io<Frame = F>>(&mut self, dest: DestId, number: u32, now: Now, io: &mut I) {
        let (me, workers) = (self.conf.id.0, self.conf.workers);
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            return;
        };
        limit.loan += i64::from(number);
        limit.asked = false;
        limit.refused = if number > 0 { 0 } else { limit.refused + 1 };
        let dry = limit.refused + 1 >= u32::from(workers);
        limit.dry = dry;
        let used_up = dry && limit.wanted && limit.lacks(me, workers) == 0;
        if used_up && limit.min > 0 && !limit.full && self.left(dest) == 0 {
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

    /// Nobody has anything left: full until less than the lower threshold.
    fn declare_full<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let Some(limit) = self.limits.of.get_mut(&dest) else {
            return;
        };
        limit.full = true;
        let terms = limit.terms;
        self.say_limit_to_all(dest, LimitWord::Full { terms }, io);
        self.report_limit(dest, io);
    }

    /// The keeper is told how many connections this worker has to a full server.
    fn report_limit<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        let Some(limit) = self.limits.of.get(&dest) else {
            return;
        };
        let terms = limit.terms;
        let number = self
            .dests
            .get(dest.0 as usize)
            .map_or(0, DestState::conns_now);
        let keeper = WorkerId((dest.0 % u32::from(self.conf.workers)) as u8);
        if keeper == self.conf.id {
            self.keep_count(keeper, dest, number, io);
        } else {
            self.say_limit(keeper, dest, LimitWord::Count { terms, number }, io);
        }
    }

    fn keep_count<I: Io<Frame = F>>(
        &mut self,
        from: WorkerId,
        dest: DestId,
        number: u32,
        io: &mut I,
    ) {
        let workers = usize::from(self.conf.workers);
        let Some(limit) = self.limits.of.get_mut(&dest) else {
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
            let terms = limit.terms;
            self.say_limit_to_all(dest, LimitWord::Room { terms }, io);
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
