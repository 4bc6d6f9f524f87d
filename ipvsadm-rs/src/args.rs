//! Arguments: from words to a [`Command`].
//!
//! `scan` cuts words into options, `table` lists the options and what goes
//! with what, `parse` reads their values. Nothing here talks to the daemon.

mod parse;
mod scan;
mod table;

pub use parse::{Command, View, parse};
pub use table::{Cmd, Opt};

#[cfg(test)]
mod tests;
