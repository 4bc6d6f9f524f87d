//! TCP_CHECK, and the connection HTTP_GET is made over.

use std::io;
use std::net::TcpStream as StdStream;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Seen;
use crate::conf::model::Check;

/// Connects as the check says: source address, device, mark, time limit.
pub(super) async fn connect(check: &Check) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(check.connect),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if let Some(dev) = &check.bind_if {
        socket.bind_device(Some(dev.as_bytes()))?;
    }
    if check.fwmark != 0 {
        socket.set_mark(check.fwmark)?;
    }
    if let Some(addr) = check.bind {
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
    }
    let socket = TcpSocket::from_std_stream(StdStream::from(socket));
    match timeout(check.timeout, socket.connect(check.connect)).await {
        Ok(stream) => stream,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", seconds(check.timeout)),
        )),
    }
}

pub(super) fn seconds(d: Duration) -> String {
    format!("{}", d.as_secs_f64())
}

/// Passes when the connection is established.
pub(super) async fn look(check: &Check) -> Seen {
    match connect(check).await {
        Ok(stream) => {
            // Reset rather than close: the server keeps no half-open session.
            let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            drop(linger);
            Seen::good("connected")
        }
        Err(e) => Seen::bad(e.to_string()),
    }
}
