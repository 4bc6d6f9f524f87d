//! The two headers of the control socket: 24 bytes before a request's body,
//! 88 bytes before a reply's.

use crate::error::ErrCode;
use crate::types::Name;
use crate::wire::{Wire, put_at, take_at, wire_struct};

/// The protocol version in every header: 1.0.0.
pub const PROTOCOL_VERSION: u32 = 0x0001_0000;

/// In `padding` of a request: more requests follow on this connection. In the
/// last four bytes of a reply's text (behind its NUL, where C clients do not
/// look): the daemon has understood and leaves the connection open. The C daemon
/// ignores the padding and closes as ever.
pub const KEEP: u32 = u32::from_ne_bytes(*b"KEEP");

/// Where [`KEEP`] stands in a reply.
const KEPT_AT: usize = 76;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Reads; the reply has a body.
    Get,
    /// Changes; the reply has none.
    Set,
}

impl Kind {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Get => 0,
            Self::Set => 1,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub const fn from_number(n: u32) -> Option<Self> {
        match n {
            0 => Some(Self::Get),
            1 => Some(Self::Set),
            _ => None,
        }
    }
}

wire_struct! {
    /// Before every request.
    pub struct RequestHead[24] {
        /// [`PROTOCOL_VERSION`].
        0 version: u32,
        /// Message id, see [`crate::id`].
        4 id: u32,
        /// 0 get, 1 set.
        8 kind: u32,
        /// Zero from C clients, ignored.
        12 padding: u32,
        /// Bytes of body that follow.
        16 len: u64,
    }
}

impl RequestHead {
    /// A header of this protocol version.
    #[must_use]
    pub fn new(id: u32, kind: Kind, len: usize) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            id,
            kind: kind.number(),
            padding: 0,
            len: len as u64,
        }
    }
}

/// Before every reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyHead {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The request's id.
    pub id: u32,
    /// The request's kind.
    pub kind: u32,
    /// 0, or why the request failed; then no body follows.
    pub code: ErrCode,
    /// The text of `code`.
    pub text: Name<64>,
    /// Bytes of body that follow if `code` is 0.
    pub len: u64,
}

impl ReplyHead {
    /// A reply to `request`.
    #[must_use]
    pub fn new(request: &RequestHead, code: ErrCode, len: usize) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            id: request.id,
            kind: request.kind,
            code,
            text: Name::truncated(code.text()),
            len: if code == ErrCode::OK { len as u64 } else { 0 },
        }
    }
}

impl ReplyHead {
    /// Says in an encoded reply that the connection stays open.
    pub fn mark_kept(reply: &mut [u8]) {
        put_at(reply, KEPT_AT, &KEEP);
    }

    /// Whether an encoded header says that the connection stays open.
    #[must_use]
    pub fn is_kept(head: &[u8]) -> bool {
        take_at::<u32>(head, KEPT_AT) == KEEP
    }
}

impl Wire for ReplyHead {
    const NAME: &'static str = "ReplyHead";
    const SIZE: usize = 88;
    fn put(&self, out: &mut [u8]) {
        put_at(out, 0, &self.version);
        put_at(out, 4, &self.id);
        put_at(out, 8, &self.kind);
        put_at(out, 12, &self.code.0);
        put_at(out, 16, &self.text);
        put_at(out, 80, &self.len);
    }
    fn take(bytes: &[u8]) -> Self {
        Self {
            version: take_at(bytes, 0),
            id: take_at(bytes, 4),
            kind: take_at(bytes, 8),
            code: ErrCode(take_at(bytes, 12)),
            text: take_at(bytes, 16),
            len: take_at(bytes, 80),
        }
    }
}
