//! Many workers: what a second one brings, and what eight cost each.
//!
//! The logic alone, in threads and in turn, and the daemon with a queue of each
//! port for each of two workers. By CPU time, since a machine with two cores has
//! the master and everybody else on them too: a worker that waits for a line
//! another one writes pays with its own time.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dpvs_ctl::Client;

use crate::bench::Options;
use crate::bench::cpu::Thread;
use crate::bench::director;
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{self, Packet, Proto, RPORT, SERVERS, Traffic, VPORT};
use crate::bench::program::{CoreBench, spread};
use crate::bench::report::{Column, Need, Report, Row};
use crate::bench::sample::Spread;
use crate::bench::telemetry;
use crate::bins;
use crate::error::{Context, Error, Result};
use crate::run;
use crate::spawn::{Lifetime, Process};
use crate::wait;

/// What two workers do, of what one does.
const TWO: f64 = 1.9;
/// What a packet costs with each of eight workers, of what it costs with one.
const EIGHT: f64 = 1.1;
/// Flows of each worker in the daemon.
const FLOWS: usize = 100_000;
const START: Duration = Duration::from_secs(60);

const COLUMNS: [Column; 6] = [
    ("row", "row", 0),
    ("one", "one", 1),
    ("all", "all", 1),
    ("times one", "times_one", 3),
    ("bound", "bound", 2),
    ("met", "met", 0),
];

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When a program does not run.
pub fn run(options: &Options) -> Result<bool> {
    println!("workers: one against two at the same time (Mpps) and eight in turn (ns a packet)");
    println!("CPU time, min/median/max of {} runs", options.runs);
    let mut report = Report::begin(&options.out, "workers", &COLUMNS)?;
    let wants = |name: &str| options.wants(name);
    if ["core-two", "core-eight"].into_iter().any(wants) {
        let program = CoreBench::build()?;
        let with = format!(
            "proto=udp af=4 runs={} seconds={} flows={FLOWS}",
            options.runs, options.core_seconds
        );
        if wants("core-two") {
            let lines = program.run(&format!("threads count=2 {with}"))?;
            let row = Row::default()
                .with("row", "core-two")
                .with("workers", 2)
                .with("unit", "Mpps")
                .with("one", spread(&lines, "one_mpps")?)
                .with("all", spread(&lines, "all_mpps")?)
                .with("wall_times_one", spread(&lines, "wall_times_one")?)
                .with("times_one", spread(&lines, "times_one")?)
                .with("bound", TWO);
            report.add(&row.needs("times_one", Need::AtLeast(TWO)))?;
        }
        if wants("core-eight") {
            let lines = program.run(&format!("workers count=8 {with}"))?;
            let row = Row::default()
                .with("row", "core-eight")
                .with("workers", 8)
                .with("unit", "ns")
                .with("one", spread(&lines, "one_ns_per_packet")?)
                .with("all", spread(&lines, "mean_ns_per_packet")?)
                .with("dearest", spread(&lines, "max_ns_per_packet")?)
                .with("times_one", spread(&lines, "times_one")?)
                .with("bound", EIGHT);
            report.add(&row.needs("times_one", Need::AtMost(EIGHT)))?;
        }
    }
    if wants("daemon-two") {
        report.add(&daemon(options)?)?;
    }
    Ok(report.end())
}

/// The director with one worker, and with two, each replaying as many flows.
fn daemon(options: &Options) -> Result<Row> {
    let traffic = Traffic {
        proto: Proto::Udp,
        v6: false,
    };
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let file = dir.path().join("clients.pcap");
    let frames = traffic.write(&file, pcap::mac(0), Packet::Data, FLOWS, &[])?;
    // A file is read for each queue.
    let memory = Memory::reserve(director::memory(2 * frames));
    let (mut one, mut two, mut times) = (vec![], vec![], vec![]);
    for _ in 0..options.runs {
        let rate = |workers: u8| -> Result<f64> {
            let mut daemon = Daemon::start(dir.path(), &memory, 2 * frames, workers)?;
            daemon.forward(traffic, frames as u64)?;
            daemon.mpps_cpu(options.seconds)
        };
        let (alone, both) = (rate(1)?, rate(2)?);
        one.push(alone);
        two.push(both);
        times.push(both / alone);
    }
    let row = Row::default()
        .with("row", "daemon-two")
        .with("workers", 2)
        .with("unit", "Mpps")
        .with("one", Spread::of(one))
        .with("all", Spread::of(two))
        .with("times_one", Spread::of(times))
        .with("bound", TWO)
        .with("memory", memory.name());
    Ok(row.needs("times_one", Need::AtLeast(TWO)))
}

/// A director with a queue of both ports for each worker.
struct Daemon {
    process: Process,
    client: Client,
    socket: std::path::PathBuf,
    workers: Vec<(u8, Thread)>,
}

impl Daemon {
    fn start(dir: &Path, memory: &Memory, frames: usize, workers: u8) -> Result<Self> {
        let prefix = format!("dpvs-workers-{}", std::process::id());
        let conf = dir.join("dpvs.conf");
        let text = configuration(director::buffers(frames), workers);
        std::fs::write(&conf, text).what(|| conf.display().to_string())?;
        let socket = dir.join("dpvs.ipc");
        let file = dir.join("clients.pcap");
        let mut command = Command::new(bins::path("dpvs")?);
        command.arg("-c").arg(&conf);
        command.arg("-p").arg(dir.join("dpvs.pid"));
        command.arg("-x").arg(&socket);
        // The second worker shares the master's core.
        command.args(["--", "--lcores", "0@0,1@1,2@0", "--no-pci"]);
        command.args(memory.eal_args(director::memory(frames)));
        command.arg(format!("--file-prefix={prefix}"));
        let queues = format!("rx_pcap={},", file.display()).repeat(workers.into());
        command.arg(format!("--vdev=net_pcap0,{queues}infinite_rx=1"));
        command.arg("--vdev=net_null1,no-rx=1");
        telemetry::home(&mut command, dir);
        let mut process = Process::start("dpvs", &command, &dir.join("dpvs.log"), Lifetime::Bound)?;
        let client = Client::at(&socket).with_timeout(Duration::from_secs(20));
        wait::until_true("dpvs to answer", START, || {
            process.still_running()?;
            Ok(client.lcores().is_ok())
        })?;
        let workers: Result<Vec<_>> = (1..=workers)
            .map(|n| Ok((n, Thread::lcore(process.pid(), n)?)))
            .collect();
        Ok(Self {
            workers: workers?,
            process,
            client,
            socket,
        })
    }

    fn tool(&self, name: &str, words: &str, input: &str) -> Result<()> {
        let mut command = Command::new(bins::path(name)?);
        command
            .args(words.split_whitespace())
            .env("DPVS_IPC_FILE", &self.socket);
        run::run_with(&mut command, input.as_bytes(), run::LIMIT)?.success()?;
        Ok(())
    }

    /// Sets up the service and waits until every worker has met every flow.
    fn forward(&mut self, traffic: Traffic, frames: u64) -> Result<()> {
        let vip = traffic.vip();
        self.tool("dpip", &format!("addr add {vip}/32 dev dpdk0"), "")?;
        let inside = traffic.inside();
        self.tool("dpip", &format!("addr add {inside} dev dpdk1"), "")?;
        let mut lines = format!("-A -u {vip}:{VPORT} -s wrr\n");
        for i in 0..SERVERS {
            let (server, laddr) = (traffic.server(i), traffic.laddr(i));
            let neigh = format!("neigh add {server} lladdr 02:00:00:00:02:{i:02x} dev dpdk1");
            self.tool("dpip", &neigh, "")?;
            lines += &format!("-P -u {vip}:{VPORT} -z {laddr} -F dpdk1\n");
        }
        for i in 0..SERVERS {
            let server = traffic.server(i);
            lines += &format!("-a -u {vip}:{VPORT} -r {server}:{RPORT} -b -w 1\n");
        }
        self.tool("ipvsadm", "-R", &lines)?;
        wait::until_true("every worker to have met its flows", START, || {
            self.process.still_running()?;
            let sent = self.sent()?;
            Ok(sent.iter().all(|(packets, _)| *packets > 2 * frames))
        })
        .map(drop)
    }

    /// Packets each worker has sent, and its nanoseconds of CPU time.
    fn sent(&self) -> Result<Vec<(u64, u64)>> {
        self.workers
            .iter()
            .map(|(lcore, thread)| {
                let stats = self.client.lcore_stats(*lcore);
                Ok((
                    stats
                        .what(|| format!("counters of lcore {lcore}"))?
                        .opackets,
                    thread.nanos()?,
                ))
            })
            .collect()
    }

    /// The sum of what the workers do in a second of their CPU time.
    fn mpps_cpu(&mut self, time: Duration) -> Result<f64> {
        let from = self.sent()?;
        std::thread::sleep(time);
        let to = self.sent()?;
        self.process.still_running()?;
        let mut all = 0.0;
        for (from, to) in from.iter().zip(&to) {
            let (packets, nanos) = (to.0 - from.0, to.1 - from.1);
            if packets == 0 || nanos == 0 {
                return Err(Error::new("a worker has sent nothing"));
            }
            all += packets as f64 * 1e3 / nanos as f64;
        }
        Ok(all)
    }
}

fn configuration(pool: usize, workers: u8) -> String {
    let device = |name: &str| {
        let side = format!("queue_number {workers}\n descriptor_number 1024");
        format!("device {name} {{\n rx {{\n {side}\n }}\n tx {{\n {side}\n }}\n }}\n")
    };
    let worker = |n: u8| {
        let queue = n - 1;
        let port = |name: &str| {
            format!("port {name} {{\n rx_queue_ids {queue}\n tx_queue_ids {queue}\n }}\n")
        };
        let ports = port("dpdk0") + &port("dpdk1");
        format!("worker cpu{n} {{\n type slave\n cpu_id {n}\n {ports} }}\n")
    };
    let devices = device("dpdk0") + &device("dpdk1");
    let workers: String = (1..=workers).map(worker).collect();
    format!(
        "global_defs {{\n log_level WARNING\n kni off\n}}
netif_defs {{\n pktpool_size {pool}\n pktpool_cache 256\n {devices}}}
worker_defs {{\n worker cpu0 {{\n type master\n cpu_id 0\n }}\n {workers}}}
ipvs_defs {{\n conn {{\n conn_pool_size {}\n }}\n udp {{\n uoa_max_trail 0\n }}\n}}\n",
        director::CONNS
    )
}
