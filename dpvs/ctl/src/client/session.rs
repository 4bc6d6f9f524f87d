//! Many requests over one connection, answered in the order they were sent.
//!
//! Our daemon offers it (see [`crate::header::KEEP`]): the first request asks,
//! its reply tells. After that requests are sent ahead of their answers, as many
//! as surely fit the socket's buffer, so that neither side ever waits for the
//! other to read. With a daemon that does not offer it every request has a
//! connection of its own, and the caller sees no difference but in time.

use std::collections::VecDeque;

use super::{Client, Conn, outcome};
use crate::error::CtlError;
use crate::header::{KEEP, Kind, ReplyHead};
use crate::server::encode_request;
use crate::wire::Wire;

/// Bytes of requests that may be unanswered: a third of the least buffer a unix
/// socket has, whatever their number.
const AHEAD: usize = 64 << 10;
/// Requests are collected up to this many bytes before they are sent.
const FLUSH: usize = 16 << 10;
/// Read at once.
const READ: usize = 64 << 10;
/// Where the padding of a request stands.
const PADDING_AT: usize = 12;

/// Requests in order over one connection, if the daemon lets us.
///
/// [`Session::send`] and [`Session::recv`] pair up first in, first out.
#[derive(Debug)]
pub struct Session {
    client: Client,
    conn: Option<Conn>,
    /// What the daemon offers; none: not asked yet.
    kept: Option<bool>,
    /// Not sent yet.
    out: Vec<u8>,
    /// Id and length of every request that is not answered, sent or not.
    waiting: VecDeque<(u32, usize)>,
    /// Their bytes.
    ahead: usize,
    /// Read and not looked at.
    input: Vec<u8>,
    at: usize,
    /// Answers nobody has asked for yet.
    ready: VecDeque<Result<Vec<u8>, CtlError>>,
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            conn: None,
            kept: None,
            out: Vec::new(),
            waiting: VecDeque::new(),
            ahead: 0,
            input: Vec::new(),
            at: 0,
            ready: VecDeque::new(),
        }
    }

    /// Sends a request and waits for its answer. Answers of requests sent before
    /// stay for [`Session::recv`].
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn call(&mut self, id: u32, kind: Kind, body: &[u8]) -> Result<Vec<u8>, CtlError> {
        self.send(id, kind, body);
        while !self.waiting.is_empty() {
            self.advance();
        }
        let none = CtlError::ShortReply {
            id,
            got: 0,
            need: 0,
        };
        self.ready.pop_back().unwrap_or(Err(none))
    }

    /// Sends a request, now or together with later ones. What goes wrong is told
    /// by the [`Session::recv`] that belongs to it.
    pub fn send(&mut self, id: u32, kind: Kind, body: &[u8]) {
        if self.ahead == 0 && self.conn.as_ref().is_some_and(Conn::is_closed) {
            // It was silent for long, or the daemon is another one now.
            self.reset();
        }
        let mut request = encode_request(id, kind, body);
        if self.kept == Some(false) {
            let answer = self.client.call_once(id, kind, body);
            self.ready.push_back(answer);
            return;
        }
        if let Some(head) = request.get_mut(PADDING_AT..) {
            KEEP.put(head);
        }
        if self.ahead > 0 && self.ahead + request.len() > AHEAD {
            // Half of it, so that both sides have something to do.
            while self.ahead > AHEAD / 2 {
                self.advance();
            }
        }
        self.ahead += request.len();
        self.waiting.push_back((id, request.len()));
        self.out.append(&mut request);
        if self.kept.is_none() {
            self.advance();
        } else if self.out.len() >= FLUSH {
            self.flush();
        }
    }

    /// The answer to the oldest request that has not been answered yet.
    ///
    /// # Errors
    /// See [`CtlError`]; also when nothing was sent.
    pub fn recv(&mut self) -> Result<Vec<u8>, CtlError> {
        while self.ready.is_empty() && !self.waiting.is_empty() {
            self.advance();
        }
        let none = CtlError::ShortReply {
            id: 0,
            got: 0,
            need: 0,
        };
        self.ready.pop_front().unwrap_or(Err(none))
    }

    /// Requests whose answer has not been taken.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.ready.len()
    }

    /// Sends what is collected. Failing shows when the answer is read.
    pub fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let id = self.waiting.back().map_or(0, |w| w.0);
        if self.conn.is_none() {
            match Conn::open(&self.client, id) {
                Ok(conn) => self.conn = Some(conn),
                Err(error) => return self.fail(error),
            }
        }
        if let Some(conn) = &mut self.conn {
            conn.begin(id);
            let sent = conn.send(&self.out);
            self.out.clear();
            if let Err(error) = sent {
                self.fail(error);
            }
        }
    }

    /// Everything unanswered has failed: the first for this reason, the others
    /// because their connection is gone.
    fn fail(&mut self, error: CtlError) {
        let mut error = Some(error);
        for (id, _) in std::mem::take(&mut self.waiting) {
            let need = ReplyHead::SIZE;
            let why = error
                .take()
                .unwrap_or(CtlError::ShortReply { id, got: 0, need });
            self.ready.push_back(Err(why));
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.conn = None;
        self.kept = None;
        self.ahead = 0;
        self.out.clear();
        self.waiting.clear();
        self.input.clear();
        self.at = 0;
    }

    /// Reads one answer; after a failure that is the connection's, there is one
    /// for every request.
    fn advance(&mut self) {
        if !self.out.is_empty() {
            self.flush();
        }
        let Some(&(id, bytes)) = self.waiting.front() else {
            return;
        };
        match self.answer(id) {
            answer @ (Ok(_) | Err(CtlError::Server { .. })) => {
                self.waiting.pop_front();
                self.ahead -= bytes.min(self.ahead);
                if self.kept == Some(false) {
                    self.conn = None;
                    self.input.clear();
                    self.at = 0;
                }
                self.ready.push_back(answer);
            }
            Err(error) => self.fail(error),
        }
    }

    fn answer(&mut self, id: u32) -> Result<Vec<u8>, CtlError> {
        self.want(id, ReplyHead::SIZE)?;
        let bytes = self.input.get(self.at..).unwrap_or_default();
        let head = ReplyHead::take(bytes);
        self.kept = Some(self.kept.unwrap_or(true) && ReplyHead::is_kept(bytes));
        self.at += ReplyHead::SIZE;
        let len = outcome(id, &head)?;
        self.want(id, len)?;
        let end = self.at + len;
        let body = self.input.get(self.at..end).unwrap_or_default().to_vec();
        self.at = end;
        Ok(body)
    }

    /// Reads until `need` bytes are there.
    fn want(&mut self, id: u32, need: usize) -> Result<(), CtlError> {
        if self.input.len() - self.at >= need {
            return Ok(());
        }
        self.input.drain(..std::mem::take(&mut self.at));
        let Some(conn) = &mut self.conn else {
            return Err(CtlError::ShortReply { id, got: 0, need });
        };
        conn.begin(id);
        conn.fill(&mut self.input, need, READ)
    }
}
