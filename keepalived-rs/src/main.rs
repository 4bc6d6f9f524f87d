//! keepalived for DPVS: VRRP and health checks, driving the dataplane.
//!
//! Reads an existing keepalived.conf and keeps dpvs programmed over its control
//! socket. This file turns the command line into a test, a foreground run or a
//! daemon. DIFFERS: one process does everything; keepalived forks a child for
//! VRRP and one for the checkers.

mod args;
mod check;
mod conf;
mod daemon;
mod dataplane;
mod ipvs;
mod log;
mod net;
mod notify;
mod ops;
mod pidfile;
mod track;
mod vrrp;

use std::io::Write;
use std::process::{Command as Process, ExitCode, Stdio};
use std::time::{Duration, Instant};

use args::{Command, Options};
use conf::diag::{Diags, Severity};
use conf::{LoadOptions, Loaded};
use tracing::{error, info, warn};

/// Set for the copy of this program that is the daemon.
const DETACHED: &str = "KEEPALIVED_DETACHED";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    match args::parse(&words) {
        Command::Help => say(args::HELP, 0),
        Command::Version => say(&version(), 0),
        Command::Signum(n) => {
            // Nothing is left to do when stdout is closed.
            let _ = writeln!(std::io::stdout(), "{n}");
            ExitCode::SUCCESS
        }
        Command::Fail(text, code) => say(&text, code),
        Command::Run(options) => {
            if !options.unexpected.is_empty() {
                let _ = writeln!(
                    std::io::stdout(),
                    "Unexpected argument(s): {} ",
                    options.unexpected.join(" ")
                );
            }
            if let Some(text) = &options.bad_facility {
                let _ = std::io::stderr().write_all(text.as_bytes());
            }
            if options.test.is_some() {
                test(&options)
            } else {
                run(&options)
            }
        }
    }
}

fn say(text: &str, code: u8) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn version() -> String {
    format!("Keepalived v{} (for DPVS)\n", env!("CARGO_PKG_VERSION"))
}

/// The first label of the host's name selects `@` lines.
fn host_label() -> String {
    let name = nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Reads the configuration the options name.
fn load(options: &Options) -> Loaded {
    let id = options.config_id.clone().unwrap_or_else(host_label);
    let exists = |name: &str| nix::net::if_::if_nametoindex(name).is_ok();
    conf::load(
        &options.config,
        &LoadOptions {
            config_id: &id,
            all_config: options.all_config,
            if_exists: &exists,
        },
    )
}

/// `-t`: findings to stderr or a file, the worst of them as exit code.
fn test(options: &Options) -> ExitCode {
    let loaded = load(options);
    let text: String = loaded.diags.iter().map(|d| format!("{d}\n")).collect();
    let out = match options.test.as_ref() {
        Some(Some(file)) => std::fs::write(file, &text),
        _ => std::io::stderr().write_all(text.as_bytes()),
    };
    if let Err(e) = out {
        return say(&format!("cannot write the findings: {e}\n"), 1);
    }
    let bad_facility = options
        .bad_facility
        .as_ref()
        .is_some_and(|t| t.contains("facility"));
    match loaded.diags.exit_code() {
        0 if bad_facility => ExitCode::from(5),
        code => ExitCode::from(code),
    }
}

/// Everything found, as log lines.
fn log_findings(diags: &Diags) {
    for d in diags.iter() {
        match d.severity {
            Severity::Note => info!("{d}"),
            Severity::Error => warn!("{d}"),
            Severity::Security | Severity::Fatal => error!("{d}"),
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let detached = std::env::var_os(DETACHED).is_some();
    if !options.foreground && !detached {
        return detach(options);
    }
    if detached {
        // Fails only for a process that leads its group already.
        let _ = nix::unistd::setsid();
        let _ = std::env::set_current_dir("/");
    }
    if let Some(mask) = options.umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
    let console = options.console && !detached;
    log::init(
        console,
        !options.no_syslog,
        options.facility,
        options.detail,
    );
    info!("Starting {}", version().trim_end());
    let loaded = load(options);
    log_findings(&loaded.diags);
    if let Some(code) = refused(&loaded) {
        info!("Stopped {}", version().trim_end());
        return ExitCode::from(code);
    }
    info!("Configuration file {}", options.config.display());
    if options.dump {
        let _ = writeln!(std::io::stdout(), "{:#?}", loaded.config);
    }
    let pids = match pidfile::Pids::claim(options, &loaded.config) {
        Ok(p) => p,
        Err(pidfile::AlreadyRunning(pid)) => {
            info!("daemon is already running (process {pid})");
            return ExitCode::SUCCESS;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .and_then(|rt| rt.block_on(daemon::Daemon::start(options.clone(), loaded.config)?.run()));
    drop(pids);
    match result {
        Ok(()) => {
            info!("Stopped {}", version().trim_end());
            ExitCode::SUCCESS
        }
        Err(e) => {
            error!("{e}");
            ExitCode::from(1)
        }
    }
}

/// A configuration nothing can be run with.
fn refused(loaded: &Loaded) -> Option<u8> {
    if !loaded.found {
        return Some(6);
    }
    (loaded.diags.worst() == Some(Severity::Fatal)).then_some(2)
}

/// Starts this program again as a daemon and waits until it runs. No fork: a
/// new process has no half-copied state.
fn detach(options: &Options) -> ExitCode {
    let loaded = load(options);
    if let Some(code) = refused(&loaded) {
        log::init(
            options.console,
            !options.no_syslog,
            options.facility,
            options.detail,
        );
        log_findings(&loaded.diags);
        return ExitCode::from(code);
    }
    let child = std::env::current_exe().and_then(|exe| {
        Process::new(exe)
            .args(std::env::args_os().skip(1))
            .env(DETACHED, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    });
    let mut child = match child {
        Ok(c) => c,
        Err(e) => return say(&format!("cannot start the daemon: {e}\n"), 1),
    };
    // Until the PID file names it, so that scripts can rely on the file.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return ExitCode::from(
                status
                    .code()
                    .and_then(|c| u8::try_from(c).ok())
                    .unwrap_or(1),
            );
        }
        if pidfile::names(options, &loaded.config, child.id()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ExitCode::SUCCESS
}
