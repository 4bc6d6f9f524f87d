//! Arguments: from words to a [`Command`].
//!
//! `scan` cuts words into options, `table` lists the options and what goes
//! with what, `parse` reads their values, `check` says what goes together.
//! Nothing here talks to the daemon.

mod check;
mod parse;
mod scan;
mod table;

pub use parse::{Command, View, parse};
pub use table::{Cmd, Opt};

#[cfg(test)]
mod tests;
