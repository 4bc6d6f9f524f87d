//! Connection listings (ids 90 and 91).
//!
//! A listing comes in pieces of at most 1,024 over separate connections; what
//! the client gives back to go on is one byte. DIFFERS: the C daemon keeps one
//! half-done listing for all clients; here the byte numbers one of 256.

use std::time::{Duration, Instant};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{ConnInfo, ConnTuple, Query, Reply};
use dpvs_ctl::msg::{ConnArray, ConnEntry, ConnReq, conn_get, conn_result};
use dpvs_ctl::wire::encode_list;
use dpvs_ctl::{Af, Be16, Ip16, Name};

use super::{Answer, Gather, exact};
use crate::master::Master;
use crate::master::error::{Fault, Result};

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    worker: WorkerId,
    cursor: u32,
}

/// Listings that are not at their end.
#[derive(Debug, Default)]
pub(in crate::master) struct Cursors {
    open: Vec<Option<(Place, Instant)>>,
    next: u8,
}

/// Connections asked for in one question to a worker.
const CONNS_A_QUESTION: usize = 256;
/// How long a client may take for its next request.
const KEPT: Duration = Duration::from_secs(60);

impl Cursors {
    /// Remembers a place under a number from 1 to 255; the oldest gives way.
    fn put(&mut self, place: Place, now: Instant) -> u8 {
        self.open.resize(256, None);
        let free = |slot: &Option<(Place, Instant)>| {
            slot.is_none_or(|(_, since)| now.saturating_duration_since(since) > KEPT)
        };
        let from = usize::from(self.next);
        let at = (1..=255)
            .map(|n| 1 + (from + n) % 255)
            .find(|n| self.open.get(*n).is_some_and(free))
            .unwrap_or(1 + (from + 1) % 255);
        if let Some(slot) = self.open.get_mut(at) {
            *slot = Some((place, now));
        }
        let id = u8::try_from(at).unwrap_or(1);
        self.next = id;
        id
    }

    fn take(&mut self, id: u32) -> Option<Place> {
        self.open
            .get_mut(usize::try_from(id).ok()?)?
            .take()
            .map(|(place, _)| place)
    }
}

/// A listing being collected for one reply.
pub(in crate::master) struct Dump {
    place: Place,
    found: Vec<ConnEntry>,
}

/// What a listing needs next.
pub(in crate::master) enum Step {
    /// Ask this worker.
    Ask(WorkerId, Query),
    /// Reply with this.
    Finished(Vec<u8>),
}

impl Dump {
    /// The next question.
    pub(in crate::master) fn ask(&self) -> (WorkerId, Query) {
        let room = ConnArray::BATCH
            .saturating_sub(self.found.len())
            .min(CONNS_A_QUESTION);
        let max = u32::try_from(room).unwrap_or(1);
        (
            self.place.worker,
            Query::Conns {
                cursor: self.place.cursor,
                max,
            },
        )
    }

    /// Takes a worker's answer.
    pub(in crate::master) fn take(
        &mut self,
        reply: Reply,
        lcore: u8,
        workers: usize,
        cursors: &mut Cursors,
        now: Instant,
    ) -> Step {
        let next = match reply {
            Reply::Conns { conns, next } => {
                self.found.extend(conns.iter().map(|c| listed(c, lcore)));
                next
            }
            _ => None,
        };
        let place = match next {
            Some(cursor) => Some(Place {
                worker: self.place.worker,
                cursor,
            }),
            None => {
                let worker = WorkerId(self.place.worker.0.saturating_add(1));
                (usize::from(worker.0) < workers).then_some(Place { worker, cursor: 0 })
            }
        };
        match place {
            Some(place) if self.found.len() < ConnArray::BATCH => {
                self.place = place;
                let (worker, query) = self.ask();
                Step::Ask(worker, query)
            }
            Some(place) => Step::Finished(self.body(Some(cursors.put(place, now)))),
            None => Step::Finished(self.body(None)),
        }
    }

    fn body(&self, more: Option<u8>) -> Vec<u8> {
        body(&self.found, more)
    }
}

fn body(found: &[ConnEntry], more: Option<u8>) -> Vec<u8> {
    let head = ConnArray {
        nconns: u32::try_from(found.len()).unwrap_or(u32::MAX),
        resl: conn_result::OK | if more.is_some() { conn_result::MORE } else { 0 },
        curcid: more.unwrap_or(0),
    };
    encode_list(&head, found)
}

fn listed(c: &ConnInfo, lcore: u8) -> ConnEntry {
    let slot = |(ip, _): (std::net::IpAddr, u16)| Ip16::from_ip(ip);
    ConnEntry {
        in_af: Af::of(c.vip.0).as_u16(),
        out_af: Af::of(c.dest.0).as_u16(),
        proto: c.proto.into(),
        caddr: slot(c.client),
        vaddr: slot(c.vip),
        laddr: slot(c.laddr),
        daddr: slot(c.dest),
        cport: Be16::new(c.client.1),
        vport: Be16::new(c.vip.1),
        lport: Be16::new(c.laddr.1),
        dport: Be16::new(c.dest.1),
        timeout: c.timeout,
        lcoreid: lcore,
        state: Name::truncated(c.state),
    }
}

impl Master {
    pub(super) fn conn_list(&mut self, request: &[u8]) -> Result<Answer> {
        let r: ConnReq = exact(request)?;
        if r.flag & (conn_get::ALL | conn_get::MORE) == 0 {
            return Err(Fault::Invalid(
                "neither a new listing nor one to go on with",
            ));
        }
        // Persistence templates do not exist yet: an empty listing is right.
        if r.flag & conn_get::TEMPLATE != 0 || self.workers.len() == 0 {
            return Ok(Answer::Body(body(&[], None)));
        }
        let place = if r.flag & conn_get::MORE != 0 {
            // A listing that was given up meanwhile ends here.
            match self.cursors.take(r.whence) {
                Some(place) => place,
                None => return Ok(Answer::Body(body(&[], None))),
            }
        } else {
            Place {
                worker: WorkerId(0),
                cursor: 0,
            }
        };
        Ok(Answer::Conns(Dump {
            place,
            found: Vec::new(),
        }))
    }

    pub(super) fn conn_find(&mut self, request: &[u8]) -> Result<Answer> {
        let r: ConnReq = exact(request)?;
        if r.flag & conn_get::SPECIFIED == 0 {
            return Err(Fault::Invalid("no connection is named"));
        }
        let s = &r.sockpair;
        let (Some(src), Some(dst)) = (s.sip.to_ip(s.af), s.tip.to_ip(s.af)) else {
            return Err(Fault::Invalid("address family"));
        };
        let proto = u8::try_from(s.proto).map_err(|_| Fault::Invalid("protocol"))?;
        let tuple = ConnTuple {
            proto,
            src,
            sport: s.sport.get(),
            dst,
            dport: s.tport.get(),
        };
        let cids: Vec<u8> = self.workers.ids().map(|w| self.workers.lcore(w)).collect();
        Ok(Answer::Gather(Gather {
            questions: self
                .workers
                .ids()
                .map(|w| (w, Query::ConnFind(tuple)))
                .collect(),
            finish: Box::new(move |parts| {
                let found = parts.into_iter().find_map(|p| match p.reply {
                    Reply::ConnFind(Some(c)) => Some(listed(
                        &c,
                        cids.get(usize::from(p.worker.0)).copied().unwrap_or(0),
                    )),
                    _ => None,
                });
                found.map(|c| body(&[c], None)).ok_or(Fault::Missing)
            }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_do_not_disturb_each_other() {
        let mut cursors = Cursors::default();
        let now = Instant::now();
        let place = |n: u32| Place {
            worker: WorkerId(0),
            cursor: n,
        };
        let ids: Vec<u8> = (0..255).map(|n| cursors.put(place(n), now)).collect();
        assert!(!ids.contains(&0));
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(cursors.take((*id).into()), Some(place(n as u32)));
            assert_eq!(cursors.take((*id).into()), None);
        }
        assert_eq!(cursors.take(0), None);
        assert_eq!(cursors.take(u32::MAX), None);
        // All taken: the next one still gets a number.
        for n in 0..600 {
            cursors.put(place(n), now);
        }
    }
}
