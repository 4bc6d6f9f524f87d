//! Requests that wait for workers: for a snapshot to be in force everywhere,
//! or for answers to questions. Each has a deadline; none holds up another.

use std::time::{Duration, Instant};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{Query, Reply, ToWorker};
use dpvs_ctl::server::{Request, encode_reply};
use dpvs_ctl::{ErrCode, Kind, id};

use super::Master;
use super::error::{Fault, Result};
use super::serve::{Answer, Dump, Finish, Part, Step};
use super::server::{ClientId, Server};

/// How long a client waits for a change to reach every worker. It is in force
/// anyway: after that the answer is only no longer held back.
const INSTALL_TIME: Duration = Duration::from_secs(2);

/// A request that is not answered yet.
pub(super) struct Job {
    client: ClientId,
    id: u32,
    kind: Kind,
    deadline: Instant,
    wants: Wants,
}

enum Wants {
    /// All workers at that epoch.
    Epoch(u64),
    /// Answers: how many are missing, those that came, what becomes of them.
    Answers(usize, Vec<Part>, Finish),
    /// The next piece of a connection listing.
    Conns(Dump),
}

impl Master {
    /// Serves a request or begins to.
    pub(super) fn take(
        &mut self,
        server: &mut Server,
        client: ClientId,
        request: &Request,
        now: Instant,
    ) {
        let mut job = Job {
            client,
            id: request.id,
            kind: request.kind,
            deadline: now + self.query_time,
            wants: Wants::Epoch(0),
        };
        match self.serve(request) {
            Err(fault) => {
                tracing::debug!("{}: {fault}", id::describe(request.id));
                job.reply(server, Err(fault), now);
            }
            Ok(Answer::Body(body)) => job.reply(server, Ok(body), now),
            Ok(Answer::Done) => {
                let epoch = if self.state.net_changed || self.state.services.is_changed() {
                    self.publisher.next_epoch()
                } else {
                    self.publisher.epoch()
                };
                if self.publisher.reached(epoch) {
                    job.reply(server, Ok(Vec::new()), now);
                    return;
                }
                job.deadline = now + INSTALL_TIME;
                job.wants = Wants::Epoch(epoch);
                self.keep(job);
            }
            Ok(Answer::Gather(gather)) => {
                if gather.questions.is_empty() {
                    job.reply(server, (gather.finish)(Vec::new()), now);
                    return;
                }
                job.wants = Wants::Answers(gather.questions.len(), Vec::new(), gather.finish);
                self.ask(server, job, gather.questions, now);
            }
            Ok(Answer::Conns(dump)) => {
                let question = dump.ask();
                job.wants = Wants::Conns(dump);
                self.ask(server, job, vec![question], now);
            }
        }
    }

    fn fresh(&mut self) -> u64 {
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
    fn ask(
        &mut self,
        server: &mut Server,
        job: Job,
        questions: Vec<(WorkerId, Query)>,
        now: Instant,
    ) {
        self.publish();
        let id = self.keep(job);
        for (n, (worker, query)) in questions.into_iter().enumerate() {
            let token = self.fresh();
            if !self.workers.send(worker, ToWorker::Query { token, query }) {
                self.finish(server, id, Err(Fault::WorkerSilent), now);
                return;
            }
            self.tokens.insert(token, (id, n));
        }
    }

    /// Answers the client of a job and forgets it.
    fn finish(&mut self, server: &mut Server, id: u64, result: Result<Vec<u8>>, now: Instant) {
        if let Some(job) = self.jobs.remove(&id) {
            self.tokens.retain(|_, (of, _)| *of != id);
            job.reply(server, result, now);
        }
    }

    /// A worker reached an epoch: who waited for it?
    pub(super) fn reached(&mut self, server: &mut Server, now: Instant) {
        let publisher = &self.publisher;
        let done: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.wants, Wants::Epoch(e) if publisher.reached(e)))
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            self.finish(server, id, Ok(Vec::new()), now);
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
        // Nothing to do for an answer that came after its deadline.
        let Some((id, question)) = self.tokens.remove(&token) else {
            return;
        };
        let lcore = self.workers.lcore(worker);
        let workers = self.workers.len();
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        match &mut job.wants {
            Wants::Epoch(_) => {}
            Wants::Answers(missing, parts, _) => {
                parts.push(Part {
                    worker,
                    question,
                    reply,
                });
                *missing -= 1;
                if *missing > 0 {
                    return;
                }
                let Some(mut job) = self.jobs.remove(&id) else {
                    return;
                };
                if let Wants::Answers(_, parts, finish) =
                    std::mem::replace(&mut job.wants, Wants::Epoch(0))
                {
                    job.reply(server, finish(parts), now);
                }
            }
            Wants::Conns(dump) => match dump.take(reply, lcore, workers, &mut self.cursors, now) {
                Step::Finished(body) => self.finish(server, id, Ok(body), now),
                Step::Ask(worker, query) => {
                    job.deadline = now + self.query_time;
                    let token = self.fresh();
                    if self.workers.send(worker, ToWorker::Query { token, query }) {
                        self.tokens.insert(token, (id, 0));
                    } else {
                        self.finish(server, id, Err(Fault::WorkerSilent), now);
                    }
                }
            },
        }
    }

    /// Answers what waited too long, and forgets clients that left.
    pub(super) fn overdue(&mut self, server: &mut Server, now: Instant) {
        let late: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.deadline <= now || !server.is_open(job.client))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let result = match self.jobs.get(&id).map(|j| &j.wants) {
                Some(Wants::Epoch(epoch)) if server.is_open(self.jobs[&id].client) => {
                    tracing::warn!("not all workers have taken configuration {epoch} yet");
                    Ok(Vec::new())
                }
                _ => Err(Fault::WorkerSilent),
            };
            self.finish(server, id, result, now);
        }
    }
}

impl Job {
    fn reply(&self, server: &mut Server, result: Result<Vec<u8>>, now: Instant) {
        let (code, body) = match result {
            Ok(body) => (ErrCode::OK, body),
            Err(fault) => (fault.code(), Vec::new()),
        };
        server.answer(
            self.client,
            encode_reply(self.id, self.kind, code, &body),
            now,
        );
    }
}
