//! The connection table of one worker.
//!
//! [`index`] finds a connection from a packet's [`tuple`] in either direction,
//! [`entry`] says what is kept of it, [`table`] joins the two, [`wheel`] ends it,
//! [`embryo`] knows who goes first when the table is full, [`side`] what only few
//! connections need.
//! Everything is sized at start and refers by `u32` handles, never by pointer, so
//! that nothing depends on where the memory lies. Knows no protocol and no
//! forwarding mode.

pub(crate) mod embryo;
pub(crate) mod entry;
pub(crate) mod index;
pub(crate) mod side;
pub(crate) mod table;
pub(crate) mod templates;
pub(crate) mod tuple;
pub(crate) mod wheel;

pub(crate) use entry::{Entry, flags};
pub(crate) use table::{ConnTable, Handle};
