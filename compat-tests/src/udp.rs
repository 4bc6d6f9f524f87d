//! A UDP echo server and client in a namespace, for the tests of UDP services.
//!
//! The server answers with its own name before the data, so a test sees which
//! real server answered.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Context, Result};
use crate::netns::Netns;
use crate::wait;

/// How long a port may still be held.
const HELD: Duration = Duration::from_secs(10);

/// A socket at `addr` in `ns`.
///
/// A port that a test has just given back can be held a moment longer: a child that
/// another thread is making has its descriptors until it becomes its program.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(ns: &Netns, addr: SocketAddr) -> Result<UdpSocket> {
    let what = || format!("UDP {addr}");
    ns.enter(|| {
        let (socket, _) = wait::until(&what(), HELD, || match UdpSocket::bind(addr) {
            Err(e) if e.kind() == ErrorKind::AddrInUse => Ok(None),
            other => other.map(Some).what(what),
        })?;
        Ok(socket)
    })
}

/// A running echo server; it ends with its value.
#[derive(Debug)]
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// Serves `addrs` in `ns`, answering `name:` and the data.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn start(ns: &Netns, name: &str, addrs: &[SocketAddr]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for &addr in addrs {
            let socket = bind(ns, addr)?;
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .what(|| "read time-out")?;
            let (stop, name) = (Arc::clone(&stop), name.to_owned());
            threads.push(std::thread::spawn(move || serve(&socket, &name, &stop)));
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut buffer = [0_u8; 65536];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, peer)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let mut answer = format!("{name}:").into_bytes();
        answer.extend_from_slice(buffer.get(..len).unwrap_or_default());
        let _ = socket.send_to(&answer, peer);
    }
}

/// Sends `data` to `server` from a fresh port in `ns` and gives the answer, or
/// `None` when there is none within `limit`.
///
/// # Errors
/// When the socket cannot be made or used; refused by the peer counts as no
/// answer.
pub fn ask(
    ns: &Netns,
    server: SocketAddr,
    data: &[u8],
    limit: Duration,
) -> Result<Option<Vec<u8>>> {
    ns.enter(|| {
        let any: SocketAddr = if server.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0_u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(any).what(|| "UDP client")?;
        socket.connect(server).what(|| format!("UDP to {server}"))?;
        socket
            .set_read_timeout(Some(limit))
            .what(|| "read time-out")?;
        socket.send(data).what(|| format!("UDP to {server}"))?;
        let mut buffer = vec![0_u8; 65536];
        match socket.recv(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                Ok(Some(buffer))
            }
            Err(_) => Ok(None),
        }
    })
}
