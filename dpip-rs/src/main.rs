//! The `dpip` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    dpip::main()
}
