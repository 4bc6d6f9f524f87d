//! The director under measurement: the release `dpvs` on a replaying port and
//! a swallowing one, set up with the real tools as an operator would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::cpu::Thread;
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{Proto, VIP, VPORT};
use crate::bench::telemetry::{self, Telemetry};
use crate::bins;
use crate::error::{Context, Result};
use crate::run;
use crate::spawn::{Lifetime, Process};
use crate::wait;

/// Servers and local addresses, each.
const SERVERS: usize = 16;
/// Room for connections that none of the measurements fills.
pub const CONNS: usize = (1 << 21) - 1;
/// How long it may take to read a million frames and answer.
const START: Duration = Duration::from_secs(60);

/// Packet buffers for a file of so many frames: the file is kept in them.
#[must_use]
pub fn buffers(frames: usize) -> usize {
    // DPVS wants one less than a power of two.
    (frames + 16_384).next_power_of_two() - 1
}

/// Packet memory for that, in bytes.
#[must_use]
pub fn memory(frames: usize) -> usize {
    // A buffer is 2,368 bytes, on ordinary pages two of them share no page
    // with a third.
    buffers(frames) * 2_560 + (160 << 20)
}

/// EAL's options for the two ports, the same for testpmd.
#[must_use]
pub fn eal_args(prefix: &str, pcap: &Path, memory: &Memory, bytes: usize) -> Vec<String> {
    let mut args: Vec<String> = ["-l", "0,1", "--no-pci"].map(Into::into).into();
    args.extend(memory.eal_args(bytes));
    args.push(format!("--file-prefix={prefix}"));
    args.push(format!(
        "--vdev=net_pcap0,rx_pcap={},infinite_rx=1",
        pcap.display()
    ));
    args.push("--vdev=net_null0,no-rx=1".into());
    args
}

/// A running director.
#[derive(Debug)]
pub struct Director {
    process: Process,
    socket: PathBuf,
    /// Its counters.
    pub telemetry: Telemetry,
    /// Its one worker.
    pub worker: Thread,
    /// Whether the worker has real-time priority.
    pub favoured: bool,
}

impl Director {
    /// Starts it with room for so many connections (one less than a power of
    /// two), without any service.
    ///
    /// # Errors
    /// When it does not start; the error has the end of its log.
    pub fn start(
        dir: &Path,
        pcap: &Path,
        frames: usize,
        memory_kind: &Memory,
        conns: usize,
    ) -> Result<Self> {
        let prefix = format!("dpvs-bench-{}", std::process::id());
        let conf = dir.join("dpvs.conf");
        std::fs::write(&conf, configuration(buffers(frames), conns))
            .what(|| conf.display().to_string())?;
        let socket = dir.join("dpvs.ipc");
        let mut command = Command::new(bins::path("dpvs")?);
        command.arg("-c").arg(&conf);
        command.arg("-p").arg(dir.join("dpvs.pid"));
        command.arg("-x").arg(&socket);
        command.arg("--");
        command.args(eal_args(&prefix, pcap, memory_kind, memory(frames)));
        telemetry::home(&mut command, dir);
        let log = dir.join("dpvs.log");
        let mut process = Process::start("dpvs", &command, &log, Lifetime::Bound)?;
        let telemetry = Telemetry::connect(dir, &prefix, START, || process.still_running())?;
        let (worker, _) = wait::until("the worker of dpvs", START, || {
            process.still_running()?;
            Ok(Thread::worker(process.pid()).ok())
        })?;
        let mut director = Self {
            process,
            socket,
            telemetry,
            worker,
            favoured: false,
        };
        wait::until_true("dpvs to answer dpip", START, || {
            director.process.still_running()?;
            Ok(director.dpip("link show").is_ok())
        })?;
        Ok(director)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn tool(&self, name: &str, args: &str, input: &str) -> Result<String> {
        let mut command = Command::new(bins::path(name)?);
        command
            .args(args.split_whitespace())
            .env("DPVS_IPC_FILE", &self.socket);
        run::run_with(&mut command, input.as_bytes(), run::LIMIT)?.success()
    }

    /// `dpip args…`.
    ///
    /// # Errors
    /// When it fails.
    pub fn dpip(&self, args: &str) -> Result<String> {
        self.tool("dpip", args, "")
    }

    /// `ipvsadm args…`.
    ///
    /// # Errors
    /// When it fails.
    pub fn ipvsadm(&self, args: &str) -> Result<String> {
        self.tool("ipvsadm", args, "")
    }

    /// The service with its local addresses and, beside it, addresses and
    /// neighbours: everything but the servers.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn prepare(&mut self, proto: Proto) -> Result<()> {
        self.favoured = self.worker.favour();
        self.dpip(&format!("addr add {VIP}/32 dev dpdk0"))?;
        self.dpip("addr add 10.2.0.1/16 dev dpdk1")?;
        for i in 1..=SERVERS {
            self.dpip(&format!(
                "neigh add 10.2.1.{i} lladdr 02:00:00:00:02:{i:02x} dev dpdk1"
            ))?;
        }
        let service = service(proto);
        self.ipvsadm(&format!("-A {service} -s wrr"))?;
        for i in 1..=SERVERS {
            self.ipvsadm(&format!("-P {service} -z 10.2.2.{i} -F dpdk1"))?;
        }
        Ok(())
    }

    /// Adds the servers, all in one go: forwarding begins.
    ///
    /// # Errors
    /// When `ipvsadm` fails.
    pub fn go(&self, proto: Proto) -> Result<()> {
        let service = service(proto);
        let lines: String = (1..=SERVERS)
            .map(|i| format!("-a {service} -r 10.2.1.{i}:8080 -b -w 1\n"))
            .collect();
        self.tool("ipvsadm", "-R", &lines).map(drop)
    }

    /// An error, with the log, when it has ended.
    ///
    /// # Errors
    /// See above.
    pub fn still_running(&mut self) -> Result<()> {
        self.process.still_running()
    }
}

fn service(proto: Proto) -> String {
    let option = match proto {
        Proto::Udp => "-u",
        Proto::Tcp => "-t",
    };
    format!("{option} {VIP}:{VPORT}")
}

fn configuration(pool: usize, conns: usize) -> String {
    let queues = "rx {
            queue_number 1
            descriptor_number 1024
        }
        tx {
            queue_number 1
            descriptor_number 1024
        }";
    let port = "{
            rx_queue_ids 0
            tx_queue_ids 0
        }";
    format!(
        "global_defs {{
    log_level WARNING
    kni off
}}
netif_defs {{
    pktpool_size {pool}
    pktpool_cache 256
    device dpdk0 {{
        {queues}
    }}
    device dpdk1 {{
        {queues}
    }}
}}
worker_defs {{
    worker cpu0 {{
        type master
        cpu_id 0
    }}
    worker cpu1 {{
        type slave
        cpu_id 1
        port dpdk0 {port}
        port dpdk1 {port}
    }}
}}
ipvs_defs {{
    conn {{
        conn_pool_size {conns}
    }}
}}
"
    )
}
