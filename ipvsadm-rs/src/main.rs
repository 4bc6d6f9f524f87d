//! The `ipvsadm` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipvsadm::main(ipvsadm::Program::Ipvsadm)
}
