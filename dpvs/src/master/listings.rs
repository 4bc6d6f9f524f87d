//! Connection listings under way: what workers have sent ahead of the client, who
//! waits for it, and the byte by which a client goes on.
//!
//! A client fetches a listing batch by batch, each over a connection of its own if it
//! likes. Workers are asked for the next batch while the client still reads the last
//! one, so that neither waits for the other. A listing that its client gave up is
//! forgotten after a minute. Knows nothing of what a connection is.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{Listing as What, ToWorker};
use dpvs_ctl::msg::{ConnArray, ConnEntry, conn_result};
use dpvs_ctl::wire::encode_list;

use super::Master;
use super::error::Fault;
use super::jobs::Return;
use super::server::Server;

/// How long a client may take for its next request.
const KEPT: Duration = Duration::from_secs(60);
/// Pieces asked for at once: about a batch.
const PIECES: u32 = 12;
/// Entries that are kept ready for a client.
const AHEAD: usize = 2 * ConnArray::BATCH;
/// With more listings than this nothing is sent ahead.
const AHEAD_LISTINGS: usize = 16;

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    worker: WorkerId,
    cursor: u32,
}

struct Waiting {
    to: Return,
    deadline: Instant,
}

struct Listing {
    what: What,
    /// None: the workers have sent everything.
    place: Option<Place>,
    /// Pieces on their way, and their token.
    asked: Option<(u64, u32)>,
    ready: VecDeque<ConnEntry>,
    waiting: Option<Waiting>,
    since: Instant,
}

impl Listing {
    /// Everything has been given to the client.
    fn is_over(&self) -> bool {
        self.ready.is_empty() && self.is_complete()
    }

    fn is_complete(&self) -> bool {
        self.place.is_none() && self.asked.is_none()
    }

    /// There is as much as a reply can hold, or all there is.
    fn has_batch(&self) -> bool {
        self.ready.len() >= ConnArray::BATCH || self.is_complete()
    }
}

/// All listings that are not at their end.
#[derive(Default)]
pub(super) struct Listings {
    open: HashMap<u64, Listing>,
    /// Which listing a client's byte means.
    numbers: Vec<Option<u64>>,
    last: u8,
    tokens: HashMap<u64, u64>,
}

impl Listings {
    /// A number from 1 to 255 for a listing; the oldest gives way.
    fn number(&mut self, id: u64) -> u8 {
        self.numbers.resize(256, None);
        let from = usize::from(self.last);
        let at = (0..255)
            .map(|n| 1 + (from + n) % 255)
            .find(|n| self.numbers.get(*n).is_some_and(Option::is_none))
            .unwrap_or(1 + from % 255);
        let before = self.numbers.get_mut(at).and_then(|n| n.replace(id));
        if let Some(before) = before {
            self.forget(before);
        }
        let number = u8::try_from(at).unwrap_or(1);
        self.last = number;
        number
    }

    /// The listing a client goes on with.
    pub(super) fn take(&mut self, number: u32) -> Option<u64> {
        self.numbers.get_mut(usize::try_from(number).ok()?)?.take()
    }

    fn forget(&mut self, id: u64) -> Option<Listing> {
        let gone = self.open.remove(&id)?;
        if let Some((token, _)) = gone.asked {
            self.tokens.remove(&token);
        }
        Some(gone)
    }

    /// Somebody waits for a worker.
    pub(super) fn is_waiting(&self) -> bool {
        self.open.values().any(|l| l.waiting.is_some())
    }

    /// Forgets what nobody goes on with.
    pub(super) fn expire(&mut self, now: Instant) {
        let old = |l: &Listing| now.saturating_duration_since(l.since) > KEPT;
        let given_up: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, l)| l.waiting.is_none() && old(l))
            .map(|(id, _)| *id)
            .collect();
        for id in given_up {
            self.forget(id);
        }
        for number in &mut self.numbers {
            if number.is_some_and(|id| !self.open.contains_key(&id)) {
                *number = None;
            }
        }
    }
}

/// The body of a reply; `more` is the byte to go on with.
pub(super) fn body(batch: &[ConnEntry], more: Option<u8>) -> Vec<u8> {
    let head = ConnArray {
        nconns: u32::try_from(batch.len()).unwrap_or(u32::MAX),
        resl: conn_result::OK | if more.is_some() { conn_result::MORE } else { 0 },
        curcid: more.unwrap_or(0),
    };
    encode_list(&head, batch)
}

impl Master {
    /// A new listing of all workers.
    pub(super) fn begin_listing(&mut self, what: What) -> u64 {
        let id = self.fresh();
        let place = Place {
            worker: WorkerId(0),
            cursor: 0,
        };
        let listing = Listing {
            what,
            place: (self.workers.len() > 0).then_some(place),
            asked: None,
            ready: VecDeque::new(),
            waiting: None,
            since: Instant::now(),
        };
        self.listings.open.insert(id, listing);
        id
    }

    /// A client wants the next batch.
    pub(super) fn list_for(&mut self, server: &mut Server, id: u64, to: Return, now: Instant) {
        match self.listings.open.get_mut(&id) {
            Some(listing) => {
                let deadline = now + self.query_time;
                listing.waiting = Some(Waiting { to, deadline });
                listing.since = now;
                self.list_on(server, id);
            }
            // It was given up meanwhile: it ends here.
            None => to.reply(server, Ok(body(&[], None))),
        }
    }

    /// Answers the client if there is enough, and asks for more if there is room.
    fn list_on(&mut self, server: &mut Server, id: u64) {
        let many = self.listings.open.len() > AHEAD_LISTINGS;
        let Some(listing) = self.listings.open.get_mut(&id) else {
            return;
        };
        if listing.has_batch()
            && let Some(waiting) = listing.waiting.take()
        {
            let end = listing.ready.len().min(ConnArray::BATCH);
            let batch: Vec<ConnEntry> = listing.ready.drain(..end).collect();
            if listing.is_over() {
                self.listings.forget(id);
                waiting.to.reply(server, Ok(body(&batch, None)));
                return;
            }
            let number = self.listings.number(id);
            waiting.to.reply(server, Ok(body(&batch, Some(number))));
        }
        let Some(listing) = self.listings.open.get(&id) else {
            return;
        };
        let room = listing.waiting.is_some() || (listing.ready.len() < AHEAD && !many);
        if let (Some(place), None, true) = (listing.place, listing.asked, room) {
            let message = |token| ToWorker::List {
                token,
                what: listing.what,
                cursor: place.cursor,
                pieces: PIECES,
            };
            self.last_id += 1;
            let token = self.last_id;
            if !self.workers.send(place.worker, message(token)) {
                self.give_up(server, id);
                return;
            }
            self.listings.tokens.insert(token, id);
            if let Some(listing) = self.listings.open.get_mut(&id) {
                listing.asked = Some((token, PIECES));
            }
        }
    }

    /// Takes a piece. False: it belongs to no listing here.
    pub(super) fn listed(
        &mut self,
        server: &mut Server,
        worker: WorkerId,
        token: u64,
        entries: impl Iterator<Item = ConnEntry>,
        next: Option<u32>,
        now: Instant,
    ) {
        let Some(&id) = self.listings.tokens.get(&token) else {
            return;
        };
        let workers = self.workers.len();
        let Some(listing) = self.listings.open.get_mut(&id) else {
            return;
        };
        listing.ready.extend(entries);
        listing.place = match next {
            Some(cursor) => Some(Place { worker, cursor }),
            None => {
                let worker = WorkerId(worker.0.saturating_add(1));
                let there = usize::from(worker.0) < workers;
                there.then_some(Place { worker, cursor: 0 })
            }
        };
        match &mut listing.asked {
            Some((_, left @ 2..)) if next.is_some() => *left -= 1,
            _ => {
                listing.asked = None;
                self.listings.tokens.remove(&token);
            }
        }
        if let Some(waiting) = &mut listing.waiting {
            waiting.deadline = now + self.query_time;
        }
        self.list_on(server, id);
    }

    fn give_up(&mut self, server: &mut Server, id: u64) {
        let gone = self.listings.forget(id);
        if let Some(waiting) = gone.and_then(|l| l.waiting) {
            waiting.to.reply(server, Err(Fault::WorkerSilent));
        }
    }

    /// Answers those who waited too long.
    pub(super) fn late_listings(&mut self, server: &mut Server, now: Instant) {
        let late = |w: &Waiting| w.deadline <= now || !server.is_open(w.to.ticket);
        let ids: Vec<u64> = self
            .listings
            .open
            .iter()
            .filter(|(_, l)| l.waiting.as_ref().is_some_and(late))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.give_up(server, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_do_not_disturb_each_other() {
        let mut all = Listings::default();
        let numbers: Vec<u8> = (0..255).map(|id| all.number(id)).collect();
        assert!(!numbers.contains(&0));
        for (id, number) in (0u64..).zip(&numbers) {
            assert_eq!(all.take((*number).into()), Some(id));
            assert_eq!(all.take((*number).into()), None);
        }
        assert_eq!(all.take(0), None);
        assert_eq!(all.take(u32::MAX), None);
        // All taken: the next one still gets a number.
        for id in 0..600 {
            all.number(id);
        }
        // Numbers of listings that are no more are free again.
        all.expire(Instant::now());
        assert!(all.numbers.iter().all(Option::is_none));
    }
}
