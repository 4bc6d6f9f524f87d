//! Entry point of the daemon.

use std::process::ExitCode;

use dpvs::args::{self, Command};
use dpvs::conf;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Version) => {
            println!("{}", args::version());
            return ExitCode::SUCCESS;
        }
        Ok(Command::Test(args) | Command::Run(args)) => args,
        Err(e) => {
            eprintln!("dpvs: {e}");
            return ExitCode::FAILURE;
        }
    };
    match conf::load(&args.conf) {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
