//! Network namespaces: made and removed with `ip netns`, entered by commands
//! and by threads.
//!
//! A namespace goes with its value, and every process in it too. What a killed
//! run left behind is found by the process id in its owner file and removed by
//! the next run ([`crate::lab::sweep`]).

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::run::{self, must};
use crate::wait;

/// A network namespace by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace and brings its loopback up.
    ///
    /// # Errors
    /// When the name is taken, or without the right to.
    pub fn create(name: &str) -> Result<Self> {
        must("ip", &["netns", "add", name])?;
        let ns = Self {
            name: name.to_owned(),
        };
        ns.ip(&["link", "set", "lo", "up"])?;
        Ok(ns)
    }

    /// A namespace that exists already.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is mounted.
    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Whether it exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// A command that will run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program inside and wants exit code 0; gives its output.
    ///
    /// # Errors
    /// As [`must`].
    pub fn must(&self, program: &str, args: &[&str]) -> Result<String> {
        run::run(self.command(program).args(args))?.success()
    }

    /// Runs a program inside, whatever its exit code.
    ///
    /// # Errors
    /// As [`run::run`].
    pub fn run(&self, program: &str, args: &[&str]) -> Result<run::Output> {
        run::run(self.command(program).args(args))
    }

    /// `ip -n NAME args…`.
    ///
    /// # Errors
    /// As [`must`].
    pub fn ip(&self, args: &[&str]) -> Result<String> {
        must("ip", &[&["-n", &self.name], args].concat())
    }

    /// Sets a kernel parameter, `net.ipv6.conf.X.disable_ipv6` for one.
    ///
    /// # Errors
    /// When there is no such parameter in this kernel.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.must("sysctl", &["-q", "-w", &format!("{key}={value}")])
            .map(drop)
    }

    /// Switches off every offload of `dev` that leaves frames unfinished: the
    /// dataplane on the other end must see whole packets with true checksums.
    ///
    /// # Errors
    /// When `ethtool` fails.
    pub fn plain_frames(&self, dev: &str) -> Result<()> {
        let mut args = vec!["-K", dev];
        for feature in ["tx", "rx", "tso", "gso", "gro"] {
            args.extend([feature, "off"]);
        }
        self.must("ethtool", &args).map(drop)
    }

    /// Runs `work` in a thread that has entered the namespace: sockets it makes
    /// belong to the namespace wherever they are used later.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` fails or panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.move_thread()?;
                    work()
                })
                .join()
                .unwrap_or_else(|_| Err(Error::new(format!("a thread in {} panicked", self.name))))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// When there is no such namespace, or without the right to.
    pub fn move_thread(&self) -> Result<()> {
        let file = File::open(self.path()).what(|| format!("namespace {}", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET).what(|| format!("entering {}", self.name))
    }

    /// Ends what runs inside and removes the namespace. Absent is fine.
    ///
    /// # Errors
    /// When it is still there afterwards.
    pub fn remove(&self) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        self.end_processes();
        let out = run::run(Command::new("ip").args(["netns", "del", &self.name]))?;
        if self.exists() {
            return Err(Error::new(format!(
                "cannot remove {}: {}",
                self.name, out.stderr
            )));
        }
        Ok(())
    }

    /// Signals every process inside, first politely.
    fn end_processes(&self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let pids = self.pids();
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                let _ = kill(pid, signal);
            }
            let _ = wait::until_true("processes to end", Duration::from_secs(5), || {
                Ok(self.pids().is_empty())
            });
        }
    }

    /// The processes inside, without our own.
    fn pids(&self) -> Vec<Pid> {
        let me = Pid::this();
        run::run(Command::new("ip").args(["netns", "pids", &self.name]))
            .map(|out| {
                out.stdout
                    .lines()
                    .filter_map(|l| l.trim().parse().ok())
                    .map(Pid::from_raw)
                    .filter(|&pid| pid != me)
                    .collect()
            })
            .unwrap_or_default()
    }
}

/// A cable between two namespaces; both ends come up.
///
/// # Errors
/// As `ip link add`.
pub fn veth(a: (&Netns, &str), b: (&Netns, &str)) -> Result<()> {
    let (a_ns, a_dev) = a;
    let (b_ns, b_dev) = b;
    must(
        "ip",
        &[
            "link", "add", a_dev, "netns", &a_ns.name, "type", "veth", "peer", "name", b_dev,
            "netns", &b_ns.name,
        ],
    )?;
    a_ns.ip(&["link", "set", a_dev, "up"])?;
    b_ns.ip(&["link", "set", b_dev, "up"]).map(drop)
}
