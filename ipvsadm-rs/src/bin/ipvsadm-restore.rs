//! The `ipvsadm-restore` command: `ipvsadm -C`, then `ipvsadm -R` without
//! comment lines.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipvsadm::main(ipvsadm::Program::Restore)
}
