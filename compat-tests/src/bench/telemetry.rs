//! Counters of a DPDK process, over the telemetry socket every one has.
//!
//! The same way for the director and for testpmd, so that both are measured
//! alike; the worker is not disturbed.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{Context, Error, Result};
use crate::wait;

/// A connection to the telemetry socket of one process.
#[derive(Debug)]
pub struct Telemetry {
    socket: Socket,
    ports: usize,
}

/// Packets of one port.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packets {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

impl Telemetry {
    /// Connects to the process with that runtime folder (see [`home`]),
    /// `--file-prefix` and number of ports, once it listens.
    ///
    /// # Errors
    /// When it does not within `limit`, or `alive` says it has ended.
    pub fn connect(
        dir: &Path,
        prefix: &str,
        ports: usize,
        limit: Duration,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let path = dir.join("dpdk").join(prefix).join("dpdk_telemetry.v2");
        let address = SockAddr::unix(&path).what(|| path.display().to_string())?;
        let what = format!("the telemetry socket {}", path.display());
        let (socket, _) = wait::until(&what, limit, || {
            alive()?;
            let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).what(|| "socket")?;
            Ok(socket.connect(&address).is_ok().then_some(socket))
        })?;
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .what(|| "telemetry time-out")?;
        let telemetry = Self { socket, ports };
        // It introduces itself first.
        telemetry.receive()?;
        Ok(telemetry)
    }

    fn receive(&self) -> Result<Value> {
        let mut bytes = vec![0_u8; 32 << 10];
        let count = (&self.socket).read(&mut bytes).what(|| "telemetry")?;
        bytes.truncate(count);
        serde_json::from_slice(&bytes).what(|| "telemetry answer")
    }

    /// Packets of all ports.
    ///
    /// # Errors
    /// As [`Self::packets`].
    pub fn all(&self) -> Result<Packets> {
        let mut all = Packets::default();
        for port in 0..self.ports {
            let packets = self.packets(port)?;
            all.received += packets.received;
            all.sent += packets.sent;
        }
        Ok(all)
    }

    /// Packets of a port, by DPDK's number.
    ///
    /// # Errors
    /// When the process is gone or the answer is not what DPDK gives.
    pub fn packets(&self, port: usize) -> Result<Packets> {
        let command = format!("/ethdev/stats,{port}");
        self.socket
            .send(command.as_bytes())
            .what(|| "telemetry question")?;
        let answer = self.receive()?;
        let stats = answer.get("/ethdev/stats");
        let number = |name: &str| {
            stats
                .and_then(|stats| stats.get(name))
                .and_then(Value::as_u64)
                .ok_or_else(|| Error::new(format!("telemetry: no {name} in {answer}")))
        };
        Ok(Packets {
            received: number("ipackets")?,
            sent: number("opackets")?,
        })
    }
}

/// Has EAL put its sockets into `dir`, so that they go with it.
pub fn home(command: &mut Command, dir: &Path) {
    command.env("RUNTIME_DIRECTORY", dir);
}
