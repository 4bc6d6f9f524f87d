//! The director under measurement: the release `dpvs` on replaying and
//! swallowing ports, set up with the real tools as an operator would.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dpvs_ctl::{Af, Client};

use crate::bench::cpu::Thread;
use crate::bench::hugepages::Memory;
use crate::bench::pcap::{Chosen, Proto, RPORT, SERVERS, Traffic, VPORT};
use crate::bench::telemetry::{self, Telemetry};
use crate::bins;
use crate::error::{Context, Error, Result};
use crate::netns::Netns;
use crate::run;
use crate::spawn::{Lifetime, Process};
use crate::wait;

/// Room for connections that none of the measurements fills.
pub const CONNS: usize = (1 << 21) - 1;
/// How long it may take to read a million frames and answer.
const START: Duration = Duration::from_secs(60);

/// Packet buffers for files of so many frames: they are kept in them.
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

/// A port of the process under measurement.
#[derive(Debug, Clone)]
pub enum Port {
    /// Replays a file from memory, without end; swallows.
    Replay(PathBuf),
    /// Reads a file or pipe once; swallows.
    Once(PathBuf),
    /// Receives nothing; swallows.
    Sink,
    /// An interface of the kernel.
    Kernel(String),
}

/// A process's ports, how many frames they replay, and where its memory is.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Where its files are.
    pub dir: &'a Path,
    /// By DPDK's numbers.
    pub ports: &'a [Port],
    /// In all files that are replayed.
    pub frames: usize,
    /// Huge or ordinary pages.
    pub memory: &'a Memory,
}

impl Setting<'_> {
    /// EAL's options, the same for the director and testpmd.
    #[must_use]
    pub fn eal_args(&self, prefix: &str) -> Vec<String> {
        let mut args: Vec<String> = ["-l", "0,1", "--no-pci"].map(Into::into).into();
        args.extend(self.memory.eal_args(memory(self.frames)));
        args.push(format!("--file-prefix={prefix}"));
        for (i, port) in self.ports.iter().enumerate() {
            args.push(match port {
                Port::Replay(file) => {
                    format!(
                        "--vdev=net_pcap{i},rx_pcap={},infinite_rx=1",
                        file.display()
                    )
                }
                Port::Once(file) => format!("--vdev=net_pcap{i},rx_pcap={}", file.display()),
                Port::Sink => format!("--vdev=net_null{i},no-rx=1"),
                Port::Kernel(name) => format!("--vdev=net_af_packet{i},iface={name}"),
            });
        }
        args
    }
}

/// What is not the same in every director.
#[derive(Debug, Default)]
pub struct Ways<'a> {
    /// A file of at least 32 bytes: with it the director chooses local ports as
    /// in any other run with that file, given the same flows in the same order.
    pub seed: Option<&'a Path>,
    /// The `idle` block of its configuration.
    pub idle: &'a str,
    /// Where its interfaces are.
    pub netns: Option<&'a Netns>,
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
    pub fn start(setting: &Setting<'_>, conns: usize, ways: &Ways<'_>) -> Result<Self> {
        let dir = setting.dir;
        let prefix = format!("dpvs-bench-{}", std::process::id());
        let conf = dir.join("dpvs.conf");
        let text = configuration(buffers(setting.frames), setting.ports.len(), conns);
        std::fs::write(&conf, text + ways.idle).what(|| conf.display().to_string())?;
        let socket = dir.join("dpvs.ipc");
        let mut words: Vec<OsString> = Vec::new();
        if let Some(netns) = ways.netns {
            words.extend(["ip", "netns", "exec", netns.name()].map(Into::into));
        }
        if let Some(seed) = ways.seed {
            // Its random numbers are read from this file, in a mount namespace
            // of its own.
            words.extend(["unshare", "--mount", "sh", "-c"].map(Into::into));
            words.push("mount --bind \"$0\" /dev/urandom && exec \"$@\"".into());
            words.push(seed.into());
        }
        words.push(bins::path("dpvs")?.into());
        let mut command = Command::new(words.remove(0));
        command.args(words);
        command.arg("-c").arg(&conf);
        command.arg("-p").arg(dir.join("dpvs.pid"));
        command.arg("-x").arg(&socket);
        command.arg("--");
        command.args(setting.eal_args(&prefix));
        telemetry::home(&mut command, dir);
        let log = dir.join("dpvs.log");
        let mut process = Process::start("dpvs", &command, &log, Lifetime::Bound)?;
        let ports = setting.ports.len();
        let telemetry = Telemetry::connect(dir, &prefix, ports, START, || process.still_running())?;
        let (worker, _) = wait::until("the worker of dpvs", START, || {
            process.still_running()?;
            Ok(Thread::worker(process.pid()).ok())
        })?;
        Ok(Self {
            process,
            socket,
            telemetry,
            worker,
            favoured: false,
        })
    }

    /// A command of `ipvsadm`, to be run and waited for by the caller; what it
    /// prints is lost.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn command(&self, args: &str) -> Result<Command> {
        let mut command = Command::new(bins::path("ipvsadm")?);
        command
            .args(args.split_whitespace())
            .env("DPVS_IPC_FILE", &self.socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command)
    }

    /// Waits until it answers the tools.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn wait(&mut self) -> Result<()> {
        wait::until_true("dpvs to answer dpip", START, || {
            self.still_running()?;
            Ok(self.dpip("link show").is_ok())
        })
        .map(drop)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn tool(&self, name: &str, args: &str, input: &str, limit: Duration) -> Result<String> {
        let mut command = Command::new(bins::path(name)?);
        command
            .args(args.split_whitespace())
            .env("DPVS_IPC_FILE", &self.socket);
        run::run_with(&mut command, input.as_bytes(), limit)?.success()
    }

    /// `dpip args…`.
    ///
    /// # Errors
    /// When it fails.
    pub fn dpip(&self, args: &str) -> Result<String> {
        self.tool("dpip", args, "", run::LIMIT)
    }

    /// `ipvsadm args…`.
    ///
    /// # Errors
    /// When it fails.
    pub fn ipvsadm(&self, args: &str) -> Result<String> {
        self.ipvsadm_with(args, "", run::LIMIT)
    }

    /// `ipvsadm args…` with text to read, for at most so long.
    ///
    /// # Errors
    /// When it fails.
    pub fn ipvsadm_with(&self, args: &str, input: &str, limit: Duration) -> Result<String> {
        self.tool("ipvsadm", args, input, limit)
    }

    /// The service with its local addresses and, beside it, addresses and
    /// neighbours: everything but the servers.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn prepare(&mut self, traffic: Traffic) -> Result<()> {
        self.prepare_on(traffic, ["dpdk0", "dpdk1"])
    }

    /// The same on VLAN devices of the two ports, made here.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn prepare_tagged(&mut self, traffic: Traffic, ids: [u16; 2]) -> Result<()> {
        self.wait()?;
        let [outside, inside] = ids;
        self.dpip(&format!("vlan add link dpdk0 id {outside}"))?;
        self.dpip(&format!("vlan add link dpdk1 id {inside}"))?;
        let devices = [format!("dpdk0.{outside}"), format!("dpdk1.{inside}")];
        self.prepare_on(traffic, [&devices[0], &devices[1]])
    }

    fn prepare_on(&mut self, traffic: Traffic, [outside, inside]: [&str; 2]) -> Result<()> {
        self.wait()?;
        self.favoured = self.worker.favour();
        let vip = traffic.vip();
        let length = if traffic.v6 { 128 } else { 32 };
        self.dpip(&format!("addr add {vip}/{length} dev {outside}"))?;
        self.dpip(&format!("addr add {} dev {inside}", traffic.inside()))?;
        for i in 0..SERVERS {
            let server = traffic.server(i);
            self.dpip(&format!(
                "neigh add {server} lladdr 02:00:00:00:02:{i:02x} dev {inside}"
            ))?;
        }
        let service = service(traffic);
        self.ipvsadm(&format!("-A {service} -s wrr"))?;
        let lines: String = (0..SERVERS)
            .map(|i| format!("-P {service} -z {} -F {inside}\n", traffic.laddr(i)))
            .collect();
        self.ipvsadm_with("-R", &lines, run::LIMIT).map(drop)
    }

    /// Adds the servers, all in one go: forwarding begins.
    ///
    /// # Errors
    /// When `ipvsadm` fails.
    pub fn go(&self, traffic: Traffic) -> Result<()> {
        let service = service(traffic);
        let lines: String = (0..SERVERS)
            .map(|i| {
                let server = end(traffic.server(i), RPORT);
                format!("-a {service} -r {server} -b -w 1\n")
            })
            .collect();
        self.ipvsadm_with("-R", &lines, run::LIMIT).map(drop)
    }

    /// Waits until every flow has its connection: until files of so many frames
    /// were sent twice.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn warm_up(&mut self, frames: usize) -> Result<()> {
        let enough = 2 * frames as u64;
        let waited = wait::until_true("the first packets of every flow", START, || {
            self.still_running()?;
            Ok(self.telemetry.packets(1)?.sent >= enough)
        });
        waited.map(drop).map_err(|error| {
            let stats = self.dpip("link show -s").unwrap_or_default();
            Error::new(format!("{error}; the ports say:\n{stats}"))
        })
    }

    /// A client of its control socket.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::at(&self.socket).with_timeout(Duration::from_secs(20))
    }

    /// What it has chosen for each of so many flows.
    ///
    /// # Errors
    /// When one has no connection.
    pub fn chosen(&self, traffic: Traffic, flows: usize) -> Result<Vec<Chosen>> {
        let mut found: HashMap<u32, Chosen> = HashMap::with_capacity(flows);
        let af = Af::from(if traffic.v6 { 10_u16 } else { 2 });
        self.client()
            .each_conn(false, |batch| {
                for conn in batch {
                    let addresses = (
                        conn.caddr.to_ip(af),
                        conn.laddr.to_ip(af),
                        conn.daddr.to_ip(af),
                    );
                    if let (Some(client), Some(laddr), Some(server)) = addresses
                        && let Some(flow) = traffic.flow(client, conn.cport.get())
                    {
                        let lport = conn.lport.get();
                        found.insert(
                            flow,
                            Chosen {
                                laddr,
                                lport,
                                server,
                            },
                        );
                    }
                }
                true
            })
            .what(|| "listing the connections")?;
        let chosen: Option<Vec<Chosen>> = (0..u32::try_from(flows).unwrap_or(0))
            .map(|flow| found.get(&flow).copied())
            .collect();
        chosen.ok_or_else(|| {
            Error::new(format!(
                "{} of {flows} flows have a connection",
                found.len()
            ))
        })
    }

    /// Packets it has dropped, all and by reason in words. (Received and sent
    /// ones of several ports cannot be read at the same moment.)
    ///
    /// # Errors
    /// When it does not say.
    pub fn drops(&self) -> Result<(u64, String)> {
        let drops = self.client().drops().what(|| "listing drops")?;
        let some = drops.iter().filter(|drop| drop.count > 0);
        let words: Vec<String> = some
            .clone()
            .map(|drop| format!("{} {}", drop.reason, drop.count))
            .collect();
        Ok((some.map(|drop| drop.count).sum(), words.join(", ")))
    }

    /// Turns of the worker's loop by how long they took: below 1, 2, 4, ...
    /// microseconds, the last entry everything longer.
    ///
    /// # Errors
    /// When it does not say.
    pub fn turns(&self) -> Result<[u64; 16]> {
        let workers = self.client().turns().what(|| "asking for turns")?;
        let first = workers.first().map(|worker| worker.turns);
        first.ok_or_else(|| Error::new("no worker tells of its turns"))
    }

    /// Connections the servers have, by state: active (established), others.
    ///
    /// # Errors
    /// When it does not say.
    pub fn conns(&self) -> Result<(u64, u64)> {
        let client = self.client();
        let (mut active, mut others) = (0, 0);
        for service in client.services(0).what(|| "listing services")? {
            for dest in client.dests(&service, 0).what(|| "listing servers")? {
                active += u64::from(dest.actconns);
                others += u64::from(dest.inactconns);
            }
        }
        Ok((active, others))
    }

    /// An error, with the log, when it has ended.
    ///
    /// # Errors
    /// See above.
    pub fn still_running(&mut self) -> Result<()> {
        self.process.still_running()
    }
}

/// Address and port as the tools want them.
fn end(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// A service as `ipvsadm` wants it.
fn service(traffic: Traffic) -> String {
    let option = match traffic.proto {
        Proto::Udp => "-u",
        Proto::Tcp => "-t",
    };
    format!("{option} {}", end(traffic.vip(), VPORT))
}

fn configuration(pool: usize, ports: usize, conns: usize) -> String {
    let each = |text: fn(usize) -> String| (0..ports).map(text).collect::<String>();
    let devices = each(|i| {
        format!(
            "    device dpdk{i} {{
        rx {{
            queue_number 1
            descriptor_number 1024
        }}
        tx {{
            queue_number 1
            descriptor_number 1024
        }}
    }}
"
        )
    });
    let queues = each(|i| {
        format!(
            "        port dpdk{i} {{
            rx_queue_ids 0
            tx_queue_ids 0
        }}
"
        )
    });
    format!(
        "global_defs {{
    log_level WARNING
    kni off
}}
netif_defs {{
    pktpool_size {pool}
    pktpool_cache 256
{devices}}}
worker_defs {{
    worker cpu0 {{
        type master
        cpu_id 0
    }}
    worker cpu1 {{
        type slave
        cpu_id 1
{queues}    }}
}}
ipvs_defs {{
    conn {{
        conn_pool_size {conns}
    }}
    udp {{
        uoa_max_trail 0
    }}
}}
"
    )
}
