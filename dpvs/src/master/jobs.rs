//! Requests that wait for workers: for a snapshot to be in force everywhere,
//! or for answers to questions. Each has a deadline; none holds up another.

use std::time::{Duration, Instant};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{Listing, Piece, Query, Reply, ToWorker};
use dpvs_ctl::server::{Request, encode_reply};
use dpvs_ctl::{ErrCode, Kind, id};

use super::Master;
use super::error::{Fault, Result};
use super::serve::{Answer, Finish, Part, listed};
use super::server::{Server, Ticket};

/// How long a client waits for a change to reach every worker. It is in force
/// anyway: after that the answer is only no longer held back.
const INSTALL_TIME: Duration = Duration::from_secs(2);

/// How often it is looked whether a job is late.
const LOOK: Duration = Duration::from_millis(5);

/// Where a reply goes.
#[derive(Clone, Copy)]
pub(super) struct Return {
    pub(super) ticket: Ticket,
    id: u32,
    kind: Kind,
}

/// A change that is not in force everywhere yet.
pub(super) struct Change {
    to: Return,
    deadline: Instant,
    epoch: u64,
}

/// A request that workers have been asked about.
pub(super) struct Job {
    to: Return,
    deadline: Instant,
    /// Questions that are not answered whole.
    missing: usize,
    /// What came.
    parts: Vec<Part>,
    finish: Finish,
}

/// A question as it is put to a worker: tables are sent in pieces.
fn message(token: u64, query: Query) -> ToWorker {
    let what = match query {
        Query::Neighbours => Listing::Neighbours,
        Query::Laddrs => Listing::Laddrs,
        query => return ToWorker::Query { token, query },
    };
    ToWorker::List {
        token,
        what,
        cursor: 0,
        pieces: u32::MAX,
    }
}

impl Master {
    /// Serves a request or begins to.
    pub(super) fn take(
        &mut self,
        server: &mut Server,
        ticket: Ticket,
        request: &Request,
        now: Instant,
    ) {
        let to = Return {
            ticket,
            id: request.id,
            kind: request.kind,
        };
        let deadline = now + self.query_time;
        match self.serve(request) {
            Err(fault) => {
                tracing::debug!("{}: {fault}", id::describe(request.id));
                to.reply(server, Err(fault));
            }
            Ok(Answer::Body(body)) => to.reply(server, Ok(body)),
            Ok(Answer::Done) => {
                let epoch = if self.state.is_changed() {
                    self.publisher.next_epoch()
                } else {
                    self.publisher.epoch()
                };
                if self.publisher.reached(epoch) {
                    to.reply(server, Ok(Vec::new()));
                    return;
                }
                // Epochs only grow: the list is in their order.
                self.changes.push_back(Change {
                    to,
                    deadline: now + INSTALL_TIME,
                    epoch,
                });
            }
            Ok(Answer::Gather(gather)) => {
                if gather.questions.is_empty() {
                    to.reply(server, (gather.finish)(Vec::new()));
                    return;
                }
                let job = Job {
                    to,
                    deadline,
                    missing: gather.questions.len(),
                    parts: Vec::new(),
                    finish: gather.finish,
                };
                self.ask(server, job, gather.questions);
            }
            Ok(Answer::Conns(id)) => self.list_for(server, id, to, now),
        }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn keep(&mut self, job: Job) -> u64 {
        let id = self.fresh();
        self.jobs.insert(id, job);
        id
    }

    /// Keeps a job and sends its questions. They come after any change made so
    /// far, so that a worker knows every id it is asked about.
    fn ask(&mut self, server: &mut Server, job: Job, questions: Vec<(WorkerId, Query)>) {
        self.publish();
        let id = self.keep(job);
        for (n, (worker, query)) in questions.into_iter().enumerate() {
            let token = self.fresh();
            if !self.workers.send(worker, message(token, query)) {
                self.finish(server, id, Err(Fault::WorkerSilent));
                return;
            }
            self.tokens.insert(token, (id, n));
        }
    }

    /// Answers the client of a job and forgets it.
    fn finish(&mut self, server: &mut Server, id: u64, result: Result<Vec<u8>>) {
        if let Some(job) = self.jobs.remove(&id) {
            self.tokens.retain(|_, (of, _)| *of != id);
            job.to.reply(server, result);
        }
    }

    /// A worker reached an epoch: who waited for it?
    pub(super) fn reached(&mut self, server: &mut Server) {
        let publisher = &self.publisher;
        let done = |c: &Change| publisher.reached(c.epoch);
        while self.changes.front().is_some_and(done)
            && let Some(change) = self.changes.pop_front()
        {
            change.to.reply(server, Ok(Vec::new()));
        }
    }

    /// A worker answered a question.
    pub(super) fn replied(
        &mut self,
        server: &mut Server,
        worker: WorkerId,
        token: u64,
        reply: Reply,
        now: Instant,
    ) {
        if self.rates.answered(token, &reply) {
            return;
        }
        let (reply, last) = match reply {
            Reply::Piece { piece, next } => match piece {
                Piece::Conns(conns) => {
                    let lcore = self.workers.lcore(worker);
                    let entries = conns.iter().map(|c| listed(c, lcore));
                    self.listed(server, worker, token, entries, next, now);
                    return;
                }
                Piece::Neighbours(list) => (Reply::Neighbours(list), next.is_none()),
                Piece::Laddrs(list) => (Reply::Laddrs(list), next.is_none()),
            },
            reply => (reply, true),
        };
        // Nothing to do for an answer that came after its deadline.
        let Some(&(id, question)) = self.tokens.get(&token) else {
            return;
        };
        if last {
            self.tokens.remove(&token);
        }
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.parts.push(Part {
            worker,
            question,
            reply,
        });
        job.deadline = now + self.query_time;
        job.missing -= usize::from(last);
        if job.missing == 0
            && let Some(job) = self.jobs.remove(&id)
        {
            job.to.reply(server, (job.finish)(job.parts));
        }
    }

    /// Answers what waited too long, and forgets clients that left.
    pub(super) fn overdue(&mut self, server: &mut Server, now: Instant) {
        let idle = self.jobs.is_empty() && self.changes.is_empty() && !self.listings.is_waiting();
        if idle || now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        let late = |c: &Change| c.deadline <= now;
        while self.changes.front().is_some_and(late)
            && let Some(change) = self.changes.pop_front()
        {
            tracing::warn!(
                "not all workers have taken configuration {} yet",
                change.epoch
            );
            change.to.reply(server, Ok(Vec::new()));
        }
        let late: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.deadline <= now || !server.is_open(job.to.ticket))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.finish(server, id, Err(Fault::WorkerSilent));
        }
        self.late_listings(server, now);
    }
}

impl Return {
    pub(super) fn reply(self, server: &mut Server, result: Result<Vec<u8>>) {
        let (code, body) = match result {
            Ok(body) => (ErrCode::OK, body),
            Err(fault) => (fault.code(), Vec::new()),
        };
        server.answer(self.ticket, encode_reply(self.id, self.kind, code, &body));
    }
}
