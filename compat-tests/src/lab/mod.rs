//! The lab: a whole installation in network namespaces.
//!
//! ```text
//!  client          director                    lan        rs1, rs2
//!  eth0 ───── vout ┊ dpvs dpdk0 ─ dpdk1 ┊ vin ───── br0 ───── eth0
//!                    │ .kni       │ .kni
//!                    └ kernel: keepalived's checks, VRRP ┘
//! ```
//!
//! `dpvs` has `vout` and `vin` as af_packet ports dpdk0 and dpdk1; the kernel of
//! the director must not see those frames itself ([`topology`]). The kernel's
//! own addresses are on the twins that dpvs makes. [`programs`] starts what
//! runs; [`state`] keeps labs apart and removes what a killed run left; [`modes`] is
//! for tests of forwarding modes.

pub mod many;
pub mod modes;
pub mod programs;
pub mod state;
pub mod topology;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::netns::Netns;
use crate::run::{self, Output};
use crate::spawn::{Lifetime, Process};
use crate::{bins, wait};

pub use state::{Slot, sweep};

/// The addresses of the lab, as in `conf/lab/`.
pub mod addr {
    /// The client.
    pub const CLIENT4: &str = "192.0.2.100";
    /// The client.
    pub const CLIENT6: &str = "2001:db8:1::100";
    /// The dataplane's own, outside.
    pub const OUTSIDE4: &str = "192.0.2.1";
    /// The dataplane's own, outside.
    pub const OUTSIDE6: &str = "2001:db8:1::1";
    /// The director's kernel, outside.
    pub const KERNEL4: &str = "192.0.2.2";
    /// The director's kernel, outside.
    pub const KERNEL6: &str = "2001:db8:1::2";
    /// The virtual address.
    pub const VIP4: &str = "192.0.2.10";
    /// The virtual address.
    pub const VIP6: &str = "2001:db8:1::10";
    /// The dataplane's own, inside.
    pub const INSIDE4: &str = "10.0.1.1";
    /// The dataplane's own, inside.
    pub const INSIDE6: &str = "2001:db8:2::1";
    /// The director's kernel, inside.
    pub const KERNEL_IN4: &str = "10.0.1.2";
    /// The real servers.
    pub const RS4: [&str; 2] = ["10.0.1.11", "10.0.1.12"];
    /// The real servers.
    pub const RS6: [&str; 2] = ["2001:db8:2::11", "2001:db8:2::12"];
}

/// How long a program of ours may take to serve after its start.
pub const START: Duration = Duration::from_secs(20);

/// A lab. Dropped, it is gone: processes, namespaces, files.
#[derive(Debug)]
pub struct Lab {
    name: String,
    /// Where its files are: configurations, logs, sockets.
    pub dir: PathBuf,
    /// Where requests come from.
    pub client: Netns,
    /// Where dpvs and keepalived run.
    pub director: Netns,
    /// The switch between director and servers.
    pub lan: Netns,
    /// The real servers' namespaces.
    pub servers: [Netns; 2],
    /// The dataplane, while it runs.
    pub dpvs: Option<Process>,
    /// The control program, while it runs.
    pub keepalived: Option<Process>,
    /// The web servers, while they run.
    pub nginx: [Option<Process>; 2],
    lifetime: Lifetime,
    // Last: it frees the name and the turn, after everything else has gone.
    owner: state::Owner,
    slot: Option<Slot>,
}

impl Lab {
    /// The namespaces and wires of a lab, nothing running in them yet.
    ///
    /// # Errors
    /// When a lab of that name is up, or the kernel lacks something; what was
    /// made until then is removed.
    pub fn wires(name: &str, lifetime: Lifetime) -> Result<Self> {
        sweep()?;
        let owner = state::Owner::take(name)?;
        let ns = |role: &str| Netns::named(&state::namespace(name, role));
        let lab = Self {
            name: name.to_owned(),
            dir: owner.dir().to_owned(),
            client: ns("client"),
            director: ns("director"),
            lan: ns("lan"),
            servers: [ns("rs1"), ns("rs2")],
            dpvs: None,
            keepalived: None,
            nginx: [None, None],
            lifetime,
            owner,
            slot: None,
        };
        // From here on an error drops `lab`, and that removes everything.
        topology::build(&lab)?;
        Ok(lab)
    }

    /// A whole lab for a test: waits for its turn, so that no more dataplanes
    /// spin than the machine has processors for.
    ///
    /// # Errors
    /// As [`Lab::wires`] and [`Lab::start_all`].
    pub fn for_test(test: &str) -> Result<Self> {
        let slot = Slot::wait()?;
        let mut lab = Self::wires(&format!("t{}-{test}", std::process::id()), Lifetime::Bound)?;
        lab.slot = Some(slot);
        lab.start_all()?;
        Ok(lab)
    }

    /// Web servers, dataplane, addresses and keepalived; returns when both VIPs
    /// are served by both servers.
    ///
    /// # Errors
    /// When one of the programs fails or does not serve in time; the ends of
    /// the logs are in it.
    pub fn start_all(&mut self) -> Result<()> {
        self.with_logs(|lab| {
            for i in 0..2 {
                lab.start_nginx(i)?;
            }
            lab.start_dpvs()?;
            lab.start_keepalived()?;
            lab.wait_programmed(START)?;
            lab.wait_served(START)
        })
    }

    /// Runs `work`, and adds the ends of the programs' logs to its error.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn with_logs<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        work(self).map_err(|e| Error::new(format!("{e}\n{}", self.log_tails(25))))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Both servers' addresses are destinations of both web services, and the
    /// UDP services are there.
    ///
    /// # Errors
    /// When that does not come about in `limit`, or a program has ended.
    pub fn wait_programmed(&mut self, limit: Duration) -> Result<Duration> {
        wait::until_true(
            "keepalived to program four services of two servers",
            limit,
            || {
                self.still_running()?;
                let list = self.ipvsadm(&["-Ln"])?;
                let dests = list
                    .stdout
                    .lines()
                    .filter(|l| l.trim_start().starts_with("->"));
                // One of the lines that begin with an arrow is the table's header.
                Ok(list.ok() && dests.count() == 9)
            },
        )
    }

    /// Both VIPs answer from both servers.
    ///
    /// # Errors
    /// When that does not come about in `limit`, or a program has ended.
    pub fn wait_served(&mut self, limit: Duration) -> Result<()> {
        for vip in [addr::VIP4, addr::VIP6] {
            let mut seen = [false; 2];
            wait::until_true(
                &format!("both servers to answer through {vip}"),
                limit,
                || {
                    self.still_running()?;
                    if let Ok(body) = self.get(&url(vip, "/")) {
                        for (i, seen) in seen.iter_mut().enumerate() {
                            *seen |= body.trim() == format!("rs{}", i + 1);
                        }
                    }
                    Ok(seen == [true; 2])
                },
            )?;
        }
        Ok(())
    }

    /// An error when a started program has ended by itself.
    ///
    /// # Errors
    /// See above.
    pub fn still_running(&mut self) -> Result<()> {
        let Self {
            dpvs,
            keepalived,
            nginx,
            ..
        } = self;
        let [a, b] = nginx;
        [dpvs, keepalived, a, b]
            .into_iter()
            .flatten()
            .try_for_each(Process::still_running)
    }

    /// `GET url` with curl from the client; the body.
    ///
    /// # Errors
    /// When curl fails or the answer is not 200.
    pub fn get(&self, url: &str) -> Result<String> {
        let out = run::run(self.client.command("curl").args([
            "-sS",
            "--fail",
            "--max-time",
            "3",
            "--noproxy",
            "*",
            url,
        ]))?;
        out.success()
    }

    /// Sends that many bytes with curl from a namespace; the body of the answer.
    ///
    /// # Errors
    /// When curl fails or the answer is not 200.
    pub fn upload(&self, from: &Netns, bytes: usize, url: &str) -> Result<String> {
        let file = self.file("upload");
        std::fs::write(&file, vec![b'x'; bytes]).what(|| "upload")?;
        let data = format!("@{}", file.display());
        let args = [
            "-sS",
            "--fail",
            "-m",
            "20",
            "--noproxy",
            "*",
            "--data-binary",
        ];
        from.must("curl", &[&args[..], &[&data, url]].concat())
    }

    /// Makes `n` requests, each on a connection of its own, and counts who
    /// answered.
    ///
    /// # Errors
    /// Only when curl cannot be run: a failed request is counted.
    pub fn requests(&self, url: &str, n: usize) -> Result<Tally> {
        let mut tally = Tally::default();
        for _ in 0..n {
            match self.get(url) {
                Ok(body) if body.trim() == "rs1" => tally.by_server[0] += 1,
                Ok(body) if body.trim() == "rs2" => tally.by_server[1] += 1,
                Ok(body) => tally.failures.push(format!("unexpected answer {body:?}")),
                Err(e) => tally.failures.push(e.to_string()),
            }
        }
        Ok(tally)
    }

    /// One of our tools, in the director, with the lab's control socket.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn tool(&self, name: &str) -> Result<Command> {
        let mut command = self.director.command(bins::path(name)?);
        self.environment(&mut command)?;
        Ok(command)
    }

    /// `ipvsadm args…`.
    ///
    /// # Errors
    /// When it cannot be run; a bad exit code is in the output.
    pub fn ipvsadm(&self, args: &[&str]) -> Result<Output> {
        run::run(self.tool("ipvsadm")?.args(args))
    }

    /// `dpip args…`.
    ///
    /// # Errors
    /// When it cannot be run; a bad exit code is in the output.
    pub fn dpip(&self, args: &[&str]) -> Result<Output> {
        run::run(self.tool("dpip")?.args(args))
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The last lines of every log, each under its name.
    #[must_use]
    pub fn log_tails(&self, lines: usize) -> String {
        [
            "dpvs.out",
            "dpvs.log",
            "keepalived.out",
            "nginx-rs1.err",
            "nginx-rs2.err",
        ]
        .iter()
        .filter(|name| self.file(name).exists())
        .map(|name| {
            let tail = crate::spawn::tail(&self.file(name), lines);
            format!("---- end of {name}\n{tail}\n")
        })
        .collect()
    }

    /// Tells the tools where the control socket is and finds our binaries first.
    fn environment(&self, command: &mut Command) -> Result<()> {
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("DPVS_IPC_FILE", self.file("dpvs.ipc"))
            .env("PATH", format!("{}:{path}", bins::dir()?.display()));
        Ok(())
    }

    /// Leaves the lab up when its maker ends.
    ///
    /// # Errors
    /// When it was made with [`Lifetime::Bound`]: its programs end with us.
    pub fn keep(&mut self) -> Result<()> {
        if self.lifetime == Lifetime::Bound {
            return Err(Error::new(
                "a lab whose programs are bound to us cannot be kept",
            ));
        }
        self.owner.keep()
    }

    /// Ends the programs, the dataplane last, and removes the namespaces and
    /// files, kept or not.
    ///
    /// # Errors
    /// When something is still there afterwards.
    pub fn remove(&mut self) -> Result<()> {
        for process in [&mut self.keepalived, &mut self.dpvs] {
            if let Some(mut process) = process.take() {
                process.stop()?;
            }
        }
        for nginx in &mut self.nginx {
            if let Some(mut nginx) = nginx.take() {
                nginx.stop()?;
            }
        }
        state::remove(&self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owner.kept() {
            return;
        }
        if std::thread::panicking() && std::env::var_os("DPVS_KEEP_LOGS").is_some() {
            let kept = std::env::temp_dir().join(format!("dpvs-lab-{}", self.name));
            let _ = run::must(
                "cp",
                &["-r".as_ref(), self.dir.as_os_str(), kept.as_os_str()],
            );
        }
        let _ = self.remove();
    }
}

/// Who answered a run of requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Answers of each real server.
    pub by_server: [usize; 2],
    /// What went wrong with the others.
    pub failures: Vec<String>,
}

impl Tally {
    /// All requests of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.by_server.iter().sum::<usize>() + self.failures.len()
    }
}

/// An address and a port as the tools take them.
#[must_use]
pub fn end(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// `http://host path`, with the brackets of an IPv6 address.
#[must_use]
pub fn url(host: &str, path: &str) -> String {
    if host.contains(':') {
        format!("http://[{host}]{path}")
    } else {
        format!("http://{host}{path}")
    }
}

/// A file of `conf/lab/`.
pub(crate) fn sample(name: &str) -> Result<String> {
    let path = samples()?.join(name);
    std::fs::read_to_string(&path).what(|| path.display().to_string())
}

/// The folder of the lab's configurations.
pub(crate) fn samples() -> Result<PathBuf> {
    Ok(bins::repository()?.join("conf").join("lab"))
}

/// Writes a file and says which on error.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).what(|| path.display().to_string())
}
