//! Frames that wait for what another worker knows, and words between workers.
//!
//! Few packets need it: the first one of a client of a persistent service whose
//! template another worker decides about, or of a server whose connections this
//! worker has used up. What waits is bounded in number and in time.

use std::collections::VecDeque;

use crate::frame::{Frame, Io, Now, PortId, empty_burst};
use crate::message::{PeerMessage, TemplateKey};
use crate::service::DestId;
use crate::stats::Reason;
use crate::worker::Worker;

/// Frames a worker lets wait.
const FRAMES: usize = 256;
/// How long, milliseconds.
const TIME: u64 = 20;

/// What a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    Template(TemplateKey),
    Limit(DestId),
}

struct HeldFrame<F> {
    frame: F,
    port: PortId,
    handed: bool,
    what: WaitFor,
    until: u64,
}

/// The frames that wait, oldest first.
pub(crate) struct Held<F> {
    frames: VecDeque<HeldFrame<F>>,
    /// A frame in work has waited once: it gets no second time.
    answered: bool,
}

impl<F> Default for Held<F> {
    fn default() -> Self {
        Self {
            frames: VecDeque::with_capacity(FRAMES),
            answered: false,
        }
    }
}

impl<F: Frame> Worker<F> {
    /// Whether a packet may wait.
    pub(crate) fn may_wait(&self) -> bool {
        !self.held.answered && self.held.frames.len() < FRAMES
    }

    /// Frames that wait for something other than a neighbour: for another worker's
    /// answer, or for the first fragment of their datagram.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.held.frames.len() + self.frags.as_ref().map_or(0, |f| f.waiting())
    }

    /// Whether the packet in work has waited.
    pub(crate) fn is_again(&self) -> bool {
        self.held.answered
    }

    /// Whether a packet waits for that already.
    pub(crate) fn is_awaited(&self, what: &WaitFor) -> bool {
        self.held.frames.iter().any(|h| h.what == *what)
    }

    /// Lets a frame wait; it will come in again.
    pub(crate) fn let_wait(&mut self, frame: F, port: PortId, what: WaitFor, now: Now) {
        self.held.frames.push_back(HeldFrame {
            frame,
            port,
            handed: self.handed,
            what,
            until: now.millis() + TIME,
        });
    }

    /// What was waited for is known now.
    pub(crate) fn come_again<I: Io<Frame = F>>(&mut self, what: &WaitFor, now: Now, io: &mut I) {
        for _ in 0..self.held.frames.len() {
            let Some(held) = self.held.frames.pop_front() else {
                return;
            };
            if held.what == *what {
                self.again(held, now, io);
            } else {
                self.held.frames.push_back(held);
            }
        }
    }

    fn again<I: Io<Frame = F>>(&mut self, held: HeldFrame<F>, now: Now, io: &mut I) {
        let mut burst = empty_burst();
        // It is counted as received when it comes in again.
        let v6 = held.frame.data().get(12) == Some(&0x86);
        let data = held.frame.data();
        let (at, header) = if v6 { (18, 40) } else { (16, 0) };
        let len = data
            .get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u16::from_be_bytes);
        self.stats.arrives_later(v6, len + header);
        burst[0] = Some(held.frame);
        self.held.answered = true;
        if held.handed {
            self.stats.taken -= 1;
            self.process_handed(held.port, &mut burst, 1, now, io);
        } else {
            self.stats.received -= 1;
            self.process(held.port, &mut burst, 1, now, io);
        }
        self.held.answered = false;
    }

    /// Drops what has waited long enough.
    #[inline]
    pub(crate) fn give_up(&mut self, now: Now) {
        while let Some(first) = self.held.frames.front() {
            if now.millis() < first.until {
                return;
            }
            self.held.frames.pop_front();
            self.drop(Reason::PeerSilent);
        }
    }

    /// Takes a word of another worker.
    pub(crate) fn hear<I: Io<Frame = F>>(&mut self, word: PeerMessage, now: Now, io: &mut I) {
        match word {
            PeerMessage::TemplateAsk {
                from,
                key,
                service,
                flow,
            } => self.template_asked(from, key, &service, flow, now, io),
            PeerMessage::TemplateIs {
                key,
                service,
                client,
                dest,
            } => {
                if let Some(dest) = dest {
                    self.template_copied(key, &service, client, dest, now);
                }
                self.come_again(&WaitFor::Template(key), now, io);
            }
            PeerMessage::TemplateUsed { key } => self.template_used(&key, now),
            PeerMessage::Limit {
                from,
                service,
                dest,
                word,
            } => self.hear_limit(from, service, dest, word, now, io),
        }
    }
}
