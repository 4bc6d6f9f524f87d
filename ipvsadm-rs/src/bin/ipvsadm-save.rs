//! The `ipvsadm-save` command: `ipvsadm -S`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipvsadm::main(ipvsadm::Program::Save)
}
