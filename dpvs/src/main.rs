//! Entry point of the daemon: arguments, configuration, DPDK, then the master's
//! loop until a signal ends it.
//!
//! Everything that can be refused without touching ports or memory is refused
//! before EAL starts.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use dpvs::args::{self, Args, Command};
use dpvs::conf::{self, Conf, LogLevel, Parsed, Plan};
use dpvs::log::Log;
use dpvs::master::process::{PidFile, Signals};
use dpvs::master::{Master, Server, check_socket};
use dpvs::port::{self, Eal};
use dpvs::start::{self, Running};

/// Longest wait for clients: signals and what workers report are looked at
/// that often.
const IDLE: Duration = Duration::from_millis(1);
/// The same while a worker's answer is awaited.
const EAGER: Duration = Duration::from_micros(50);

fn main() -> ExitCode {
    let (args, test) = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Version) => {
            println!("{}", args::version());
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(args)) => (args, false),
        Ok(Command::Test(args)) => (args, true),
        Err(e) => {
            eprintln!("dpvs: {e}");
            return ExitCode::FAILURE;
        }
    };
    if !test && args.eal.iter().any(|a| a == "--help" || a == "-h") {
        // EAL prints its help and ends the process: no configuration is needed.
        if let Err(e) = Eal::init(&["--help"]) {
            eprintln!("dpvs: {e}");
        }
        return ExitCode::FAILURE;
    }
    match read(&args.conf).and_then(|(parsed, plan)| {
        if test {
            println!("{}: ok", args.conf.display());
            return Ok(());
        }
        run(&args, parsed, &plan)
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("dpvs: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Reads and checks the configuration; says what it warns of.
fn read(path: &Path) -> Result<(Parsed, Plan), String> {
    let parsed = conf::load(path).map_err(|e| e.to_string())?;
    for warning in &parsed.warnings {
        eprintln!("{warning}\n");
    }
    let plan = conf::plan(&parsed.conf).map_err(|errors| {
        let lines: Vec<String> = errors
            .iter()
            .map(|e| format!("{}: error: {e}", path.display()))
            .collect();
        lines.join("\ndpvs: ")
    })?;
    Ok((parsed, plan))
}

fn set_log(log: &Log, conf: &Conf) {
    if let Err(e) = log.set_file(conf.global.log_file.as_deref().map(Path::new)) {
        tracing::warn!(
            "log_file {}: {e}",
            conf.global.log_file.as_deref().unwrap_or("")
        );
    }
    log.set_timestamp(conf.global.log_with_timestamp);
    log.set_level(conf.global.log_level);
}

fn run(args: &Args, parsed: Parsed, plan: &Plan) -> Result<(), String> {
    let log = Log::install();
    set_log(&log, &parsed.conf);
    for line in &parsed.pending {
        tracing::warn!("{line}");
    }
    for line in &plan.warnings {
        tracing::warn!("{line}");
    }
    let eal_args = args
        .eal
        .iter()
        .map(|a| {
            a.to_str()
                .ok_or_else(|| format!("EAL argument {a:?} is no UTF-8"))
        })
        .collect::<Result<Vec<&str>, String>>()?;

    // A host port takes several descriptors.
    more_files();
    // Refuse before DPDK takes memory and devices.
    let pid_file = PidFile::take(&args.pid_file).map_err(|e| e.to_string())?;
    check_socket(&args.ipc_file).map_err(|e| e.to_string())?;
    let group = args.socket_group.as_deref().map(group_id).transpose()?;
    let mut signals = Signals::catch().map_err(|e| format!("signals: {e}"))?;

    let eal = Eal::init(&eal_args).map_err(|e| e.to_string())?;
    set_dpdk_log(parsed.conf.global.log_level);
    tracing::info!(
        "{} on {}, {} workers",
        args::version(),
        port::eal::version(),
        plan.workers.len()
    );
    let (running, parts) = start::start(&parsed.conf, plan, eal).map_err(|e| e.to_string())?;
    let mut master = Master::new(
        &parsed.conf,
        Box::new(parts.ports),
        parts.topology,
        parts.links,
        parts.events,
    );
    if args.keep_unsupported {
        let seed = std::env::var("DPVS_KEEP_SEED");
        master.keep_unsupported(seed.ok().and_then(|s| s.parse().ok()).unwrap_or(0));
    }
    master.set_waker(parts.waker);
    let served = Server::bind_for(&args.ipc_file, group).map_err(|e| e.to_string());
    let result = served.map(|mut server| {
        tracing::info!("serving {}", args.ipc_file.display());
        serve(
            &mut master,
            &mut server,
            &mut signals,
            &log,
            &args.conf,
            parsed.conf,
        );
    });
    finish(running, master, pid_file);
    result
}

/// As many open files as we may have, instead of what a shell gives by default.
fn more_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    if soft < hard
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!("open files: {e}");
    }
}

fn set_dpdk_log(level: LogLevel) {
    port::eal::set_log_level(level as u32);
}

/// A group by its name or number.
fn group_id(text: &str) -> Result<u32, String> {
    match nix::unistd::Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => text
            .parse()
            .map_err(|_| format!("--socket-group: there is no group `{text}`")),
        Err(e) => Err(format!("--socket-group {text}: {e}")),
    }
}

/// The master's loop.
fn serve(
    master: &mut Master,
    server: &mut Server,
    signals: &mut Signals,
    log: &Log,
    path: &Path,
    mut conf: Conf,
) {
    while !signals.stop() {
        if signals.reload() {
            conf = reload(path, conf, master, log);
        }
        let wait = if master.is_waiting() { EAGER } else { IDLE };
        master.turn(server, wait);
    }
    tracing::info!("ending");
}

/// Reads the configuration again. A broken file changes nothing.
fn reload(path: &Path, old: Conf, master: &mut Master, log: &Log) -> Conf {
    let parsed = match conf::load(path) {
        Ok(parsed) => parsed,
        Err(errors) => {
            for diag in &errors.0 {
                tracing::error!(
                    "reload: {}:{}:{}: {}",
                    diag.file.display(),
                    diag.line,
                    diag.column,
                    diag.message
                );
            }
            tracing::error!("reload: the running configuration stays");
            return old;
        }
    };
    for diag in &parsed.warnings {
        tracing::warn!(
            "reload: {}:{}:{}: {}",
            diag.file.display(),
            diag.line,
            diag.column,
            diag.message
        );
    }
    let merged = conf::reload(&old, &parsed);
    for (keyword, was, is) in &merged.applied {
        tracing::info!("reload: {keyword} is now `{is}`, was `{was}`");
    }
    for keyword in &merged.needs_restart {
        tracing::warn!("reload: {keyword} changed; that needs a restart");
    }
    set_log(log, &merged.conf);
    set_dpdk_log(merged.conf.global.log_level);
    master.apply(&merged.conf);
    tracing::info!("reload: done");
    merged.conf
}

/// Ends workers before what they use; the pid file goes last. A NIC that is not stopped
/// would go on writing to memory that is somebody else's by then.
fn finish(running: Running, master: Master, pid_file: PidFile) {
    running.stop();
    master.end();
    drop(pid_file);
}
