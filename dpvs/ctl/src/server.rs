//! The server's side of the framing, without any I/O: bytes in, requests out;
//! replies in, bytes out. The daemon's master and stand-in servers of tests
//! feed it from their sockets.

use std::fmt;

use crate::error::ErrCode;
use crate::header::{KEEP, Kind, PROTOCOL_VERSION, ReplyHead, RequestHead};
use crate::id;
use crate::wire::Wire;

/// A complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The message.
    pub id: u32,
    /// Get or set.
    pub kind: Kind,
    /// The body; its length has been checked against [`id::max_request`] only.
    pub body: Vec<u8>,
    /// More requests follow on this connection, see [`KEEP`].
    pub keep: bool,
}

impl Request {
    /// The bytes of the reply to this request. No body goes with an error.
    #[must_use]
    pub fn reply(&self, code: ErrCode, body: &[u8]) -> Vec<u8> {
        encode_reply(self.id, self.kind, code, body)
    }
}

/// The bytes of a reply. No body goes with an error, nor with the reply to a set.
#[must_use]
pub fn encode_reply(id: u32, kind: Kind, code: ErrCode, body: &[u8]) -> Vec<u8> {
    let body = if code == ErrCode::OK && kind == Kind::Get {
        body
    } else {
        &[]
    };
    let mut out = ReplyHead::new(&RequestHead::new(id, kind, 0), code, body.len()).encode();
    out.extend_from_slice(body);
    out
}

/// The bytes of a request.
#[must_use]
pub fn encode_request(id: u32, kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = RequestHead::new(id, kind, body.len()).encode();
    out.extend_from_slice(body);
    out
}

/// A request that cannot be answered. The C daemon closes the connection
/// without a reply for all of these; so should every server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The header is of another protocol version.
    Version(u32),
    /// The kind is neither get nor set.
    Kind(u32),
    /// No handler for this id under this kind.
    UnknownId(u32, Kind),
    /// The body is longer than any body of this id.
    TooLong {
        /// The message.
        id: u32,
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        max: usize,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version(v) => {
                write!(f, "protocol version {v:#x}, expected {PROTOCOL_VERSION:#x}")
            }
            Self::Kind(k) => write!(f, "request type {k} is neither get (0) nor set (1)"),
            Self::UnknownId(id, kind) => {
                let kind = if kind == Kind::Get { "get" } else { "set" };
                write!(f, "no handler for {} as a {kind} request", id::describe(id))
            }
            Self::TooLong { id, len, max } => {
                write!(
                    f,
                    "{}: body of {len} bytes, at most {max} allowed",
                    id::describe(id)
                )
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// Collects the bytes of one connection until its request is complete. Memory
/// grows with the bytes that came, never with what the header announces.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    buf: Vec<u8>,
    /// Bytes of `buf` that belong to requests given out.
    done: usize,
    head: Option<(RequestHead, Kind, usize)>,
}

impl RequestDecoder {
    /// A decoder for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many more bytes are needed: the rest of the header or of the body.
    #[must_use]
    pub fn missing(&self) -> usize {
        let goal = self
            .head
            .map_or(RequestHead::SIZE, |(_, _, len)| RequestHead::SIZE + len);
        goal.saturating_sub(self.buf.len() - self.done)
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buf.len() == self.done
    }

    /// Takes what was read. Returns the request once it is complete. Bytes
    /// behind it are kept if it says that more follow (push nothing to have the
    /// next one), else dropped.
    ///
    /// # Errors
    /// When the header cannot belong to a request of this protocol; the
    /// connection is then to be closed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Request>, RequestError> {
        if !bytes.is_empty() {
            self.buf.drain(..std::mem::take(&mut self.done));
            self.buf.extend_from_slice(bytes);
        }
        let left = self.buf.get(self.done..).unwrap_or_default();
        let (head, kind, len) = match self.head {
            Some(known) => known,
            None => match RequestHead::decode_prefix(left) {
                Err(_) => return Ok(None),
                Ok((head, _)) => {
                    let checked = check(head)?;
                    self.head = Some(checked);
                    checked
                }
            },
        };
        let Some(body) = left.get(RequestHead::SIZE..RequestHead::SIZE + len) else {
            return Ok(None);
        };
        let request = Request {
            id: head.id,
            kind,
            body: body.to_vec(),
            keep: head.padding == KEEP,
        };
        self.head = None;
        self.done += RequestHead::SIZE + len;
        if !request.keep || self.is_empty() {
            self.buf.clear();
            self.done = 0;
        }
        Ok(Some(request))
    }
}

fn check(head: RequestHead) -> Result<(RequestHead, Kind, usize), RequestError> {
    if head.version != PROTOCOL_VERSION {
        return Err(RequestError::Version(head.version));
    }
    let kind = Kind::from_number(head.kind).ok_or(RequestError::Kind(head.kind))?;
    if !id::registered(head.id, kind) {
        return Err(RequestError::UnknownId(head.id, kind));
    }
    let max = id::max_request(head.id);
    match usize::try_from(head.len) {
        Ok(len) if len <= max => Ok((head, kind, len)),
        _ => Err(RequestError::TooLong {
            id: head.id,
            len: head.len,
            max,
        }),
    }
}
