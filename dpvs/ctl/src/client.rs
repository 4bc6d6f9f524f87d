//! The client: one connection a request, blocking, with a deadline for each.
//!
//! This file moves bytes; the typed calls of the messages are in the files
//! below `client/`. Safe to clone and to use from several threads; async code
//! calls it through its runtime's blocking pool.

use std::env;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{CtlError, ErrCode};
use crate::header::{Kind, PROTOCOL_VERSION, ReplyHead};
use crate::server::encode_request;
use crate::wire::{DecodeError, Wire};

mod extras;
pub(crate) mod net;
mod services;
mod session;

pub use session::Session;
mod table_ext;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/dpvs.ipc";
/// The environment variable that names another socket.
pub const SOCKET_ENV: &str = "DPVS_IPC_FILE";

/// A whole request may take this long: the C daemon waits up to some hundred
/// milliseconds for its workers, a listing of a million connections a second.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// No daemon sends more in one reply; 65535 services are 17 MB.
const MAX_REPLY: u64 = 256 << 20;

/// A client of the control socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
    pool: Option<Arc<Mutex<Session>>>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client of the socket named by `DPVS_IPC_FILE`, else of [`DEFAULT_SOCKET`].
    #[must_use]
    pub fn new() -> Self {
        let path = env::var_os(SOCKET_ENV).filter(|p| !p.is_empty());
        Self::at(path.unwrap_or_else(|| DEFAULT_SOCKET.into()))
    }

    /// A client of the socket at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            timeout: DEFAULT_TIMEOUT,
            pool: None,
        }
    }

    /// The same client with another limit for a whole request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends a get request and returns the body of the reply.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn get(&self, id: u32, body: &[u8]) -> Result<Vec<u8>, CtlError> {
        self.call(id, Kind::Get, body)
    }

    /// Sends a set request.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set(&self, id: u32, body: &[u8]) -> Result<(), CtlError> {
        self.call(id, Kind::Set, body).map(drop)
    }

    /// Sends a get request for one fixed-size struct and decodes it.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn get_as<T: Wire>(&self, id: u32, body: &[u8]) -> Result<T, CtlError> {
        let reply = self.get(id, body)?;
        T::decode(&reply).map_err(|e| malformed(id, e))
    }

    /// The same client, but its requests go over one connection, kept open
    /// between them, if the daemon offers that. Clones share it.
    #[must_use]
    pub fn pooled(mut self) -> Self {
        let session = Session::new(self.clone());
        self.pool = Some(Arc::new(Mutex::new(session)));
        self
    }

    /// Many requests over one connection, sent ahead of their answers.
    #[must_use]
    pub fn session(&self) -> Session {
        let mut own = self.clone();
        own.pool = None;
        Session::new(own)
    }

    fn call(&self, id: u32, kind: Kind, body: &[u8]) -> Result<Vec<u8>, CtlError> {
        match &self.pool {
            Some(pool) => {
                // A panic elsewhere leaves a session that is still in order or
                // fails by itself.
                let mut session = pool.lock().unwrap_or_else(PoisonError::into_inner);
                session.call(id, kind, body)
            }
            None => self.call_once(id, kind, body),
        }
    }

    /// One request over a connection of its own.
    fn call_once(&self, id: u32, kind: Kind, body: &[u8]) -> Result<Vec<u8>, CtlError> {
        let mut conn = Conn::open(self, id)?;
        conn.send(&encode_request(id, kind, body))?;
        let head = ReplyHead::take(&conn.receive(ReplyHead::SIZE)?);
        let len = outcome(id, &head)?;
        conn.receive(len)
    }
}

/// What a reply's header says: the length of the body, or why there is none.
fn outcome(id: u32, head: &ReplyHead) -> Result<usize, CtlError> {
    // Before anything else of the header is believed.
    if head.version != PROTOCOL_VERSION {
        return Err(CtlError::Version {
            id,
            got: head.version,
        });
    }
    if head.code != ErrCode::OK {
        let mut text = head.text.text().into_owned();
        if text.is_empty() {
            head.code.text().clone_into(&mut text);
        }
        return Err(CtlError::Server {
            id,
            code: head.code,
            text,
        });
    }
    match usize::try_from(head.len) {
        Ok(len) if head.len <= MAX_REPLY => Ok(len),
        _ => Err(CtlError::TooLarge { id, len: head.len }),
    }
}

pub(crate) fn malformed(id: u32, source: DecodeError) -> CtlError {
    CtlError::Malformed { id, source }
}

/// One connection: one request.
#[derive(Debug)]
struct Conn {
    client: Client,
    id: u32,
    socket: Socket,
    deadline: Instant,
}

impl Conn {
    fn open(client: &Client, id: u32) -> Result<Self, CtlError> {
        let deadline = Instant::now() + client.timeout;
        let fail = |e| client.connect_error(e);
        let address = SockAddr::unix(&client.path).map_err(fail)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(fail)?;
        // The C daemon's backlog is 1: a full one answers EAGAIN at once to a
        // non-blocking connect, and a blocking one could wait for ever.
        socket.set_nonblocking(true).map_err(fail)?;
        let mut pause = Duration::from_millis(1);
        loop {
            match socket.connect(&address) {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() + pause >= deadline {
                        return Err(client.timed_out(id, "accept the connection"));
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(e) => return Err(fail(e)),
            }
        }
        socket.set_nonblocking(false).map_err(fail)?;
        Ok(Self {
            client: client.clone(),
            id,
            socket,
            deadline,
        })
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), CtlError> {
        const PHASE: &str = "take the request";
        while !bytes.is_empty() {
            let left = self.left(PHASE)?;
            self.socket
                .set_write_timeout(Some(left))
                .map_err(|e| self.io("write to", e))?;
            match self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Err(self.client.timed_out(self.id, PHASE));
                }
                // The daemon closed before it had read everything; a reply
                // (an early error) may still be there to read.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => return Err(self.io("write to", e)),
            }
        }
        Ok(())
    }

    /// Starts the time of another request.
    fn begin(&mut self, id: u32) {
        self.id = id;
        self.deadline = Instant::now() + self.client.timeout;
    }

    /// Whether the daemon has closed it.
    fn is_closed(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match self.socket.recv_with_flags(&mut byte, flags) {
            Ok(n) => n == 0,
            Err(e) => e.kind() != ErrorKind::WouldBlock,
        }
    }

    fn receive(&mut self, need: usize) -> Result<Vec<u8>, CtlError> {
        let mut out = Vec::with_capacity(need.min(1 << 16));
        self.fill(&mut out, need, 0)?;
        Ok(out)
    }

    /// Reads until `out` has `need` bytes; takes up to `more` bytes at once if
    /// they are there already.
    fn fill(&mut self, out: &mut Vec<u8>, need: usize, more: usize) -> Result<(), CtlError> {
        const PHASE: &str = "answer";
        // Grown as bytes come: the length is the daemon's word only.
        let mut buf = vec![0u8; need.saturating_sub(out.len()).clamp(1, 1 << 16).max(more)];
        while out.len() < need {
            let left = self.left(PHASE)?;
            self.socket
                .set_read_timeout(Some(left))
                .map_err(|e| self.io("read from", e))?;
            let want = (need - out.len()).max(more).min(buf.len());
            let room = buf.get_mut(..want).unwrap_or(&mut []);
            match io::Read::read(&mut &self.socket, room) {
                Ok(0) => {
                    return Err(CtlError::ShortReply {
                        id: self.id,
                        got: out.len(),
                        need,
                    });
                }
                Ok(n) => out.extend_from_slice(room.get(..n).unwrap_or(&[])),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Err(self.client.timed_out(self.id, PHASE));
                }
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    return Err(CtlError::ShortReply {
                        id: self.id,
                        got: out.len(),
                        need,
                    });
                }
                Err(e) => return Err(self.io("read from", e)),
            }
        }
        Ok(())
    }

    /// Time left, never zero (the kernel reads zero as "for ever").
    fn left(&self, phase: &'static str) -> Result<Duration, CtlError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(self.client.timed_out(self.id, phase))
        } else {
            Ok(left.max(Duration::from_millis(1)))
        }
    }

    fn io(&self, phase: &'static str, source: io::Error) -> CtlError {
        CtlError::Io {
            path: self.client.path.clone(),
            phase,
            source,
        }
    }
}

impl Client {
    fn connect_error(&self, source: io::Error) -> CtlError {
        let path = self.path.clone();
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                CtlError::NoDaemon { path, source }
            }
            ErrorKind::PermissionDenied => CtlError::Permission { path, source },
            _ => CtlError::Io {
                path,
                phase: "connect to",
                source,
            },
        }
    }

    fn timed_out(&self, id: u32, phase: &'static str) -> CtlError {
        CtlError::Timeout {
            path: self.path.clone(),
            id,
            phase,
            after: self.timeout,
        }
    }
}
