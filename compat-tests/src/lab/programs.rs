//! What runs in a lab: nginx, dpvs, keepalived.
//!
//! Each is the unmodified program with its files from `conf/lab/`. A start
//! returns when the program serves, or fails with the end of its log.

use std::path::Path;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::lab::{Lab, START, addr, sample, samples, url, write};
use crate::netns::Netns;
use crate::run;
use crate::spawn::Process;
use crate::{bins, wait};

/// Its ports.
const PORTS: [&str; 2] = ["net_af_packet0,iface=vout", "net_af_packet1,iface=vin"];

/// Memory of the dataplane in MiB, ordinary pages.
const MEMORY_MB: &str = "512";

impl Lab {
    /// Starts the web server of real server `i` (0 or 1).
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_nginx(&mut self, i: usize) -> Result<()> {
        let ns = self
            .servers
            .get(i)
            .ok_or_else(|| Error::new("real servers are 0 and 1"))?;
        let process = self.web(ns, &format!("rs{}", i + 1))?;
        if let Some(slot) = self.nginx.get_mut(i) {
            *slot = Some(process);
        }
        Ok(())
    }

    /// A web server in any namespace, which says that it is `name` and logs whom it
    /// answered to `access-name.log`.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn web(&self, ns: &Netns, name: &str) -> Result<Process> {
        let conf = sample("nginx.conf")?
            .replace("@NAME@", name)
            .replace("@DIR@", &self.dir.display().to_string());
        let path = self.file(&format!("nginx-{name}.conf"));
        write(&path, &conf)?;
        let www = self.file(&format!("www-{name}"));
        std::fs::create_dir_all(&www).what(|| www.display().to_string())?;
        // A page of many packets, for transfers that last.
        write(&www.join("big"), &"0123456789abcde\n".repeat(65536))?;
        let mut command = ns.command("nginx");
        command
            .arg("-e")
            .arg(self.file(&format!("nginx-{name}.err")))
            .arg("-c")
            .arg(&path);
        command.arg("-p").arg(&self.dir).args(["-g", "user root;"]);
        let log = self.file(&format!("nginx-{name}.out"));
        let mut process =
            Process::start(&format!("nginx in {name}"), &command, &log, self.lifetime())?;
        wait::until_true(&format!("nginx in {name} to serve"), START, || {
            process.still_running()?;
            let local = url("127.0.0.1", "/");
            Ok(ns
                .run("curl", &["-s", "--max-time", "1", "--noproxy", "*", &local])?
                .ok())
        })?;
        Ok(process)
    }

    /// Stops the web server of real server `i`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop_nginx(&mut self, i: usize) -> Result<()> {
        if let Some(mut process) = self.nginx.get_mut(i).and_then(Option::take) {
            process.stop()?;
        }
        Ok(())
    }

    /// Starts the dataplane and gives both sides of it their addresses.
    ///
    /// # Errors
    /// When it does not serve its control socket in time, or refuses an
    /// address.
    pub fn start_dpvs(&mut self) -> Result<()> {
        self.start_dpvs_process()?;
        self.addresses()
    }

    /// As [`Lab::start_dpvs`], with a configuration made of the lab's.
    ///
    /// # Errors
    /// As [`Lab::start_dpvs`].
    pub fn start_dpvs_with(&mut self, edit: impl FnOnce(String) -> String) -> Result<()> {
        self.start_dpvs_on(1, edit)
    }

    /// As [`Lab::start_dpvs_with`], on that many lcores beside the master's.
    ///
    /// # Errors
    /// As [`Lab::start_dpvs`].
    pub fn start_dpvs_on(
        &mut self,
        lcores: usize,
        edit: impl FnOnce(String) -> String,
    ) -> Result<()> {
        self.configure(edit)?;
        self.start_dpvs_by(&self.file("dpvs.conf"), &PORTS, lcores)?;
        self.addresses()
    }

    /// As [`Lab::start_dpvs_with`], with two workers: the kernel's fan-out gives each a
    /// share of the flows.
    ///
    /// # Errors
    /// As [`Lab::start_dpvs`].
    pub fn start_dpvs_twice(&mut self, edit: impl FnOnce(String) -> String) -> Result<()> {
        write(&self.file("dpvs.conf"), &edit(two_workers()?))?;
        let ports = PORTS.map(|port| format!("{port},qpairs=2"));
        let ports = [&ports[0][..], &ports[1][..]];
        self.start_dpvs_by(&self.file("dpvs.conf"), &ports, 2)?;
        self.addresses()
    }

    /// As [`Lab::start_dpvs_with`], with two workers on tap ports that bridges join to
    /// the wires: with af_packet the director's kernel puts fragments of IPv4 together
    /// before the dataplane sees them.
    ///
    /// # Errors
    /// As [`Lab::start_dpvs`].
    pub fn start_dpvs_taps(&mut self, edit: impl FnOnce(String) -> String) -> Result<()> {
        write(&self.file("dpvs.conf"), &edit(two_workers()?))?;
        let ports = ["net_tap0,iface=tout", "net_tap1,iface=tin"];
        self.start_dpvs_by(&self.file("dpvs.conf"), &ports, 2)?;
        let director = &self.director;
        director
            .run("nft", &["delete", "table", "netdev", "dataplane"])?
            .success()?;
        for (n, (tap, wire)) in [("tout", "vout"), ("tin", "vin")].iter().enumerate() {
            let bridge = format!("br{n}");
            director.ip(&[
                "link",
                "add",
                &bridge,
                "type",
                "bridge",
                "forward_delay",
                "0",
            ])?;
            // The port has the same address; what is for it is not the kernel's.
            let mac = format!("02:00:00:00:fe:0{n}");
            director.ip(&["link", "set", tap, "address", &mac])?;
            for dev in [tap, wire] {
                director.ip(&["link", "set", dev, "master", &bridge, "up"])?;
            }
            for dev in [&bridge, *tap] {
                director.sysctl(&format!("net.ipv6.conf.{dev}.disable_ipv6"), "1")?;
                director.sysctl(&format!("net.ipv4.conf.{dev}.arp_ignore"), "8")?;
            }
            director.ip(&["link", "set", &bridge, "up"])?;
        }
        self.addresses()
    }

    /// Writes a configuration made of the lab's for [`Lab::start_dpvs_with`]; a
    /// dataplane that runs with it reads it again at SIGHUP.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, edit: impl FnOnce(String) -> String) -> Result<()> {
        write(&self.file("dpvs.conf"), &edit(sample("dpvs.conf")?))
    }

    /// Starts the dataplane alone: no addresses yet.
    ///
    /// # Errors
    /// When it does not serve its control socket in time.
    pub fn start_dpvs_process(&mut self) -> Result<()> {
        self.start_dpvs_by(&samples()?.join("dpvs.conf"), &PORTS, 1)
    }

    fn start_dpvs_by(&mut self, conf: &Path, ports: &[&str; 2], workers: usize) -> Result<()> {
        let mut command = self.director.command(bins::path("dpvs")?);
        command.current_dir(&self.dir);
        command.arg("-c").arg(conf);
        command.arg("-p").arg(self.file("dpvs.pid"));
        command.arg("-x").arg(self.file("dpvs.ipc"));
        command.args([
            "--",
            "--no-huge",
            "-m",
            MEMORY_MB,
            "--no-pci",
            "--no-shconf",
        ]);
        command.args(["--file-prefix", self.name(), "--lcores", &lcores(workers)?]);
        for port in ports {
            command.args(["--vdev", port]);
        }
        let mut process =
            Process::start("dpvs", &command, &self.file("dpvs.out"), self.lifetime())?;
        wait::until_true(
            "dpvs to answer dpip and to make dpdk0.kni and dpdk1.kni",
            START,
            || {
                process.still_running()?;
                let twins = self.director.ip(&["-br", "link"])?;
                Ok(["dpdk0.kni", "dpdk1.kni"]
                    .iter()
                    .all(|twin| twins.contains(twin))
                    && self.dpip(&["link", "show"])?.ok())
            },
        )
        .map_err(|e| Error::new(format!("{e}\n{}", self.log_tails(25))))?;
        self.dpvs = Some(process);
        Ok(())
    }

    /// The kernel's and the dataplane's own addresses: `conf/lab/up.sh`.
    ///
    /// # Errors
    /// When one of its commands fails.
    pub fn addresses(&self) -> Result<()> {
        let mut command = self.director.command("sh");
        self.environment(&mut command)?;
        run::run(command.arg(samples()?.join("up.sh")))?
            .success()
            .map(drop)
    }

    /// Starts keepalived with the lab's services.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_keepalived(&mut self) -> Result<()> {
        self.start_keepalived_with(&sample("keepalived.conf")?)
    }

    /// Starts keepalived with services of the test's own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_keepalived_with(&mut self, text: &str) -> Result<()> {
        let conf = self.file("keepalived.conf");
        write(&conf, text)?;
        let mut command = self.director.command(bins::path("keepalived")?);
        self.environment(&mut command)?;
        command.current_dir(&self.dir);
        command.args(["-n", "-l", "-D", "-f"]).arg(conf);
        for (option, file) in [("-p", "keepalived"), ("-r", "vrrp"), ("-c", "checkers")] {
            command.arg(option).arg(self.file(&format!("{file}.pid")));
        }
        let log = self.file("keepalived.out");
        self.keepalived = Some(Process::start(
            "keepalived",
            &command,
            &log,
            self.lifetime(),
        )?);
        Ok(())
    }

    /// How many requests real server `i` has logged.
    #[must_use]
    pub fn logged_requests(&self, i: usize) -> usize {
        let log = self.file(&format!("access-rs{}.log", i + 1));
        std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
    }

    /// Pings `host` once from the client; whether it answered.
    ///
    /// # Errors
    /// When `ping` cannot be run.
    pub fn ping(&self, host: &str) -> Result<bool> {
        Ok(self
            .client
            .run("ping", &["-n", "-c", "1", "-W", "2", host])?
            .ok())
    }

    /// Whether `server` (`host:port` as listed) is a destination with a weight
    /// above zero.
    ///
    /// # Errors
    /// When `ipvsadm` cannot be run or fails.
    pub fn in_service(&self, server: &str) -> Result<bool> {
        let list = self.ipvsadm(&["-Ln"])?.success()?;
        Ok(list
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("-> "))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .any(|fields| fields.first() == Some(&server) && fields.get(2) != Some(&"0")))
    }

    /// Waits until `server` (`host:port` as listed) is in service, or is not.
    ///
    /// # Errors
    /// When that does not come about in `limit`.
    pub fn wait_in_service(
        &mut self,
        server: &str,
        wanted: bool,
        limit: Duration,
    ) -> Result<Duration> {
        let what = if wanted {
            "put into service"
        } else {
            "taken out of service"
        };
        wait::until_true(&format!("{server} to be {what}"), limit, || {
            self.still_running()?;
            Ok(self.in_service(server)? == wanted)
        })
    }

    /// Waits until the web servers of real server `i` are in service in both
    /// families, or are not.
    ///
    /// # Errors
    /// When that does not come about in `limit`.
    pub fn wait_web(&mut self, i: usize, wanted: bool, limit: Duration) -> Result<Duration> {
        let (v4, v6) = (addr::RS4[i], addr::RS6[i]);
        let first = self.wait_in_service(&format!("{v4}:80"), wanted, limit)?;
        let second = self.wait_in_service(&format!("[{v6}]:80"), wanted, limit)?;
        Ok(first + second)
    }
}

/// The lab's configuration with a second queue of each port and a second worker.
///
/// # Errors
/// When the sample is not what it was.
pub fn two_workers() -> Result<String> {
    let conf = sample("dpvs.conf")?;
    let missing = || Error::new("conf/lab/dpvs.conf has no worker cpu1 before timer_defs");
    let (head, rest) = conf.split_once("worker_defs {").ok_or_else(missing)?;
    let (workers, tail) = rest.split_once("timer_defs").ok_or_else(missing)?;
    let at = workers.find("<init> worker cpu1").ok_or_else(missing)?;
    // Up to the brace of worker_defs itself.
    let end = workers.rfind('}').ok_or_else(missing)?;
    let second = workers
        .get(at..end)
        .ok_or_else(missing)?
        .replace("cpu1", "cpu2")
        .replace("cpu_id  1", "cpu_id  2")
        .replace("queue_ids    0", "queue_ids    1");
    let first = workers.get(..end).ok_or_else(missing)?;
    let head = head.replace("queue_number        1", "queue_number        2");
    Ok(format!(
        "{head}worker_defs {{{first}{second}}}\ntimer_defs{tail}"
    ))
}

/// Lcore 0 and one for each worker, each free to run on any processor this process
/// may use: two labs then share the machine as the kernel sees fit.
///
/// # Errors
/// When the kernel does not say which processors these are.
fn lcores(workers: usize) -> Result<String> {
    let set = sched_getaffinity(Pid::from_raw(0)).what(|| "processors")?;
    let cpus: Vec<String> = (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .map(|cpu| cpu.to_string())
        .collect();
    let cpus = cpus.join(",");
    let all: Vec<String> = (0..=workers).map(|n| format!("{n}@({cpus})")).collect();
    Ok(all.join(","))
}
