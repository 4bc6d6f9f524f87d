//! The running program: one loop over signals, check reports and the
//! dataplane's comings and goings.
//!
//! Owns the state machines and carries their actions out. Decides nothing
//! about health or VRRP itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::args::Options;
use crate::check::{self, Report};
use crate::conf::diag::Severity;
use crate::conf::model::{Check, Config};
use crate::dataplane::{self, Dataplane};
use crate::ipvs::{Action, Event, Ipvs};
use crate::ops::Op;
use crate::vrrp;
use crate::{load, log_findings, notify};

/// How long the dataplane may take for what is withdrawn at the end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running checker.
struct Checker {
    id: u64,
    service: String,
    server: SocketAddr,
    /// Its place among the server's checks.
    index: usize,
    check: Check,
    task: JoinHandle<()>,
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everything that lives as long as the process.
pub(crate) struct Daemon {
    options: Options,
    config: Config,
    dataplane: Dataplane,
    dataplane_events: UnboundedReceiver<dataplane::Event>,
    ipvs: Ipvs,
    checkers: Vec<Checker>,
    next_checker: u64,
    report_tx: UnboundedSender<Report>,
    reports: UnboundedReceiver<Report>,
    /// What the first look at the configuration asks for, once scripts can run.
    first: Vec<Action>,
}

impl Daemon {
    /// Builds the state and starts the dataplane's thread; call inside or
    /// outside the runtime.
    pub(crate) fn start(options: Options, mut config: Config) -> io::Result<Self> {
        restrict(&options, &mut config);
        if config.services.is_empty() && config.instances.is_empty() {
            warn!("Warning - keepalived has no configuration to run");
        }
        let (events_tx, dataplane_events) = unbounded_channel();
        let mut dataplane = Dataplane::new(events_tx);
        if needs_dpvs(&config) {
            dataplane.want()?;
        }
        let (report_tx, reports) = unbounded_channel();
        let mut first = Vec::new();
        Ok(Self {
            ipvs: Ipvs::new(&config, &mut first),
            first,
            options,
            config,
            dataplane,
            dataplane_events,
            checkers: Vec::new(),
            next_checker: 0,
            report_tx,
            reports,
        })
    }

    /// Runs until SIGTERM or SIGINT.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let mut hup = signal(SignalKind::hangup())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut usr1 = signal(SignalKind::user_defined1())?;
        let mut usr2 = signal(SignalKind::user_defined2())?;
        // keepalived's JSON and STATS_CLEAR; unhandled, they would end the process.
        let mut json = signal(SignalKind::from_raw(36))?;
        let mut clear = signal(SignalKind::from_raw(63))?;
        let first = std::mem::take(&mut self.first);
        self.act(first);
        self.start_checkers();
        let (ops_tx, mut vrrp_ops) = unbounded_channel();
        let vrrp = vrrp::start(&self.config.instances, ops_tx)?;
        info!("Startup complete");
        loop {
            tokio::select! {
                Some(event) = self.dataplane_events.recv() => {
                    self.on_dataplane(event);
                    if let dataplane::Event::Up { .. } = event {
                        vrrp.program();
                    }
                }
                Some(ops) = vrrp_ops.recv() => self.dataplane.send(ops),
                Some(report) = self.reports.recv() => self.on_report(&report),
                Some(()) = hup.recv() => {
                    self.reload();
                    vrrp.reload(&self.config.instances);
                }
                Some(()) = usr1.recv() => {
                    let text = vrrp.describe().await;
                    self.dump(&text);
                }
                Some(()) = usr2.recv() => info!("statistics are not supported yet"),
                Some(()) = json.recv() => info!("the JSON dump is not supported yet"),
                Some(()) = clear.recv() => info!("statistics are not supported yet"),
                Some(()) = term.recv() => break,
                Some(()) = int.recv() => break,
            }
        }
        self.stop_checkers();
        vrrp.stop(self.options.keep_addresses).await;
        while let Ok(ops) = vrrp_ops.try_recv() {
            self.dataplane.send(ops);
        }
        self.withdraw();
        Ok(())
    }

    fn on_dataplane(&mut self, event: dataplane::Event) {
        self.dataplane.note(event);
        if let dataplane::Event::Up { .. } = event {
            let mut actions = Vec::new();
            self.ipvs.handle(Event::Program, &mut actions);
            self.act(actions);
        }
    }

    fn on_report(&mut self, report: &Report) {
        let Some(c) = self.checkers.iter().find(|c| c.id == report.id) else {
            return;
        };
        let mut actions = Vec::new();
        self.ipvs.handle(
            Event::Check {
                service: &c.service,
                server: c.server,
                check: c.index,
                up: report.up,
                weight: report.weight,
            },
            &mut actions,
        );
        self.act(actions);
    }

    fn act(&self, actions: Vec<Action>) {
        let mut ops: Vec<Op> = Vec::new();
        for action in actions {
            match action {
                Action::Op(op) => ops.push(op),
                Action::Notify(script) => notify::run(&script, &[]),
            }
        }
        self.dataplane.send(ops);
    }

    /// Starts what is configured and not running, stops what is running and
    /// not configured. A checker that did not change keeps its state.
    fn start_checkers(&mut self) {
        let mut old = std::mem::take(&mut self.checkers);
        for vs in &self.config.services {
            for rs in &vs.servers {
                for (index, check) in rs.checks.iter().enumerate() {
                    let same = old.iter().position(|c| {
                        c.service == vs.name && c.server == rs.addr && c.check == *check
                    });
                    if let Some(mut c) = same.map(|at| old.swap_remove(at)) {
                        c.index = index;
                        self.checkers.push(c);
                        continue;
                    }
                    let server =
                        format!("[{}]:{}:{}", rs.addr.ip(), vs.proto.name(), rs.addr.port());
                    info!(
                        "Activating healthchecker for service {server} for VS {}",
                        vs.name
                    );
                    let id = self.next_checker;
                    self.next_checker += 1;
                    let task = check::start(id, check.clone(), server, self.report_tx.clone());
                    self.checkers.push(Checker {
                        id,
                        service: vs.name.clone(),
                        server: rs.addr,
                        index,
                        check: check.clone(),
                        task,
                    });
                }
            }
        }
    }

    fn reload(&mut self) {
        info!("Reloading ...");
        let loaded = load(&self.options);
        log_findings(&loaded.diags);
        if !loaded.found || loaded.diags.worst() == Some(Severity::Fatal) {
            error!("the new configuration cannot be used: keeping the old one");
            return;
        }
        self.config = loaded.config;
        restrict(&self.options, &mut self.config);
        if needs_dpvs(&self.config)
            && let Err(e) = self.dataplane.want()
        {
            error!("cannot start the link to dpvs: {e}");
        }
        let mut actions = Vec::new();
        self.ipvs.handle(Event::Reload(&self.config), &mut actions);
        self.act(actions);
        self.start_checkers();
        info!("Reload finished");
    }

    /// Not a stable format, but in the files people look for.
    fn dump(&self, vrrp: &str) {
        let pid = std::process::id();
        let services = self.ipvs.describe();
        for (what, name, text) in [
            ("VRRP", "keepalived.data", vrrp),
            ("checker", "keepalived_check.data", services.as_str()),
        ] {
            info!("Printing {what} data for process({pid}) on signal");
            let path = std::env::temp_dir().join(name);
            if let Err(e) = write_private(&path, text) {
                warn!("cannot write {}: {e}", path.display());
            }
        }
    }

    fn stop_checkers(&mut self) {
        info!("Stopping");
        self.checkers.clear();
    }

    fn withdraw(&mut self) {
        // What the dataplane said last decides whether there is anybody to tell.
        while let Ok(event) = self.dataplane_events.try_recv() {
            self.dataplane.note(event);
        }
        let mut actions = Vec::new();
        let stop = Event::Stop {
            keep: self.options.keep_services,
            flush: self.config.globals.lvs_flush_on_stop,
        };
        self.ipvs.handle(stop, &mut actions);
        self.act(actions);
        if self.dataplane.is_up() && !self.dataplane.wait(STOP_LIMIT) {
            warn!(
                "dpvs did not take everything back within {} s",
                STOP_LIMIT.as_secs()
            );
        }
    }
}

/// Whether anything of the configuration lives in dpvs.
fn needs_dpvs(config: &Config) -> bool {
    !config.services.is_empty()
        || !config.tunnels.is_empty()
        || config.instances.iter().any(|i| i.dpdk_interface.is_some())
}

/// -P and -C leave one half out.
fn restrict(options: &Options, config: &mut Config) {
    if !options.check {
        config.services.clear();
        config.tunnels.clear();
    }
    if !options.vrrp {
        config.instances.clear();
    }
}

/// Dumps may hold passwords: for the owner only, and never through a link.
fn write_private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if std::fs::symlink_metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err(io::Error::other("not a regular file"));
    }
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
