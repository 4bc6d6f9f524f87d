//! What a worker does while nothing comes: go on, pause, sleep.
//!
//! A worker that finds work is never held up. After so many turns without work it
//! pauses between turns (the other hardware thread gets the core), after so long
//! without work it sleeps for a bounded time, until something rings or its next
//! look is due. Decides by turns and times it is told; knows no queue and no
//! packet.

use std::time::Duration;

use dpvs_core::frame::Now;

use crate::wake::Napper;

/// Turns without work before a worker that neither pauses nor sleeps lets others
/// have the core for a moment.
const YIELD_TURNS: u32 = 256;
/// Pauses between two turns of a worker that pauses.
const PAUSES: u32 = 32;

/// The `idle` block of dpvs.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// Turns without work before it pauses between turns, 0 = never.
    pub pause_turns: u32,
    /// Time without work before it sleeps; zero = it never does.
    pub sleep_after: Duration,
    /// How long it sleeps before it looks again.
    pub sleep: Duration,
}

/// What to do before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Go,
    /// Pause the core.
    Pause,
    /// Let others have the core, if there are any.
    Yield,
    /// Sleep that long at most.
    Sleep(Duration),
}

/// A worker's way from busy to asleep.
#[derive(Debug)]
pub struct Backoff {
    idle: Idle,
    /// Turns without work.
    turns: u32,
    /// When the last work was seen.
    last: Now,
}

impl Backoff {
    /// For a worker that begins now.
    #[must_use]
    pub fn new(idle: Idle, now: Now) -> Self {
        Self {
            idle,
            turns: 0,
            last: now,
        }
    }

    /// After a turn that began at `now` and had work or none.
    #[inline]
    pub fn after(&mut self, work: bool, now: Now) -> Rest {
        if work {
            self.turns = 0;
            self.last = now;
            return Rest::Go;
        }
        self.turns = self.turns.saturating_add(1);
        let quiet = Duration::from_micros(now.0.saturating_sub(self.last.0));
        if !self.idle.sleep_after.is_zero() && quiet >= self.idle.sleep_after {
            return Rest::Sleep(self.idle.sleep);
        }
        match self.idle.pause_turns {
            0 if self.turns >= YIELD_TURNS => Rest::Yield,
            n if n > 0 && self.turns >= n => Rest::Pause,
            _ => Rest::Go,
        }
    }
}

impl Rest {
    /// Does it. A sleeper is woken by its `napper`.
    #[inline]
    pub fn take(self, napper: &Napper) {
        match self {
            Self::Go => {}
            Self::Pause => (0..PAUSES).for_each(|_| std::hint::spin_loop()),
            Self::Yield => std::thread::yield_now(),
            Self::Sleep(time) => napper.nap(time),
        }
    }
}

/// Short sleeps shall be short: the calling thread asks the system not to put them
/// together with others (50 µs is its default). Where it may not, sleeps are longer.
pub fn exact_sleeps() {
    let _ = nix::sys::prctl::set_timerslack(1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn busy_pause_sleep_and_back() {
        let idle = Idle {
            pause_turns: 3,
            sleep_after: us(100),
            sleep: us(20),
        };
        let mut b = Backoff::new(idle, Now(1000));
        let quiet = |b: &mut Backoff, at| b.after(false, Now(at));
        assert_eq!(quiet(&mut b, 1010), Rest::Go);
        assert_eq!(quiet(&mut b, 1020), Rest::Go);
        assert_eq!(quiet(&mut b, 1030), Rest::Pause);
        assert_eq!(quiet(&mut b, 1099), Rest::Pause);
        assert_eq!(quiet(&mut b, 1100), Rest::Sleep(us(20)));
        assert_eq!(quiet(&mut b, 9000), Rest::Sleep(us(20)));
        // One packet, and all begins anew.
        assert_eq!(b.after(true, Now(9001)), Rest::Go);
        assert_eq!(quiet(&mut b, 9050), Rest::Go);
        assert_eq!(quiet(&mut b, 9101), Rest::Sleep(us(20)));
    }

    #[test]
    fn nothing_configured_never_sleeps() {
        let mut b = Backoff::new(Idle::default(), Now(0));
        for turn in 1..10_000u64 {
            let rest = b.after(false, Now(turn * 1_000_000));
            let want = if turn < 256 { Rest::Go } else { Rest::Yield };
            assert_eq!(rest, want);
        }
    }

    /// A sleep with exact timing is not far longer than asked for: without the
    /// system's default slack a thousand take well under twice that slack more.
    #[test]
    fn slack_is_set() {
        exact_sleeps();
        let slack = nix::sys::prctl::get_timerslack().unwrap();
        assert_eq!(slack, 1000);
    }
}
