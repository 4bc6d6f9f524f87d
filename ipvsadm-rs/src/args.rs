//! Arguments: from words to a [`Command`].
//!
//! `options` is the one table of options, `table` says which command takes
//! which, `scan` cuts words into options, `parse` reads their values, `check`
//! says what goes together.
//! Nothing here talks to the daemon.

mod check;
mod options;
mod parse;
mod scan;
mod table;

pub use options::{Group, SPECS, Spec};
pub use parse::{Command, View, parse};
pub use table::{Cmd, Opt};

#[cfg(test)]
mod tests;
