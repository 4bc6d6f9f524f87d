//! `ipvsadm`, `ipvsadm-save` and `ipvsadm-restore`: the operator's view of
//! services, dests, local addresses and connections.
//!
//! Arguments become a [`args::Command`], which is run against the daemon
//! through `dpvs_ctl::Client`. What ipvsadm 1.31 and the tool of DPVS have in
//! common reads and prints as in 1.31; the rest as in the one that has it.

pub mod address;
pub mod args;
pub mod failure;
pub mod format;
pub mod names;
pub mod order;
pub mod out;
pub mod restore;
pub mod save;
pub mod specs;
pub mod table;

mod conns;
mod json;
mod laddrs;
mod list;
mod request;
mod run;
mod usage;

use std::env;
use std::io::{self, BufRead};
use std::process::ExitCode;

use dpvs_ctl::Client;

use crate::failure::Failure;
use crate::out::Out;

/// Which of the three commands this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ipvsadm`.
    Ipvsadm,
    /// `ipvsadm-save`.
    Save,
    /// `ipvsadm-restore`.
    Restore,
}

/// The whole program: arguments, standard streams, exit code.
#[must_use]
pub fn main(program: Program) -> ExitCode {
    let argv: Vec<String> = env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let mut session = run::Session::new(Client::new().pooled(), Out::stdout());
    let outcome = match program {
        Program::Ipvsadm => session.command_line(&argv),
        Program::Save => save::main(&mut session, &argv),
        Program::Restore => restore::main(&mut session, &mut locked_stdin()),
    };
    let outcome = outcome.and_then(|()| session.finish());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn locked_stdin() -> impl BufRead {
    io::stdin().lock()
}

/// So that callers need not know where these come from.
pub type Result<T> = std::result::Result<T, Failure>;
