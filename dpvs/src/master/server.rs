//! The control socket: many clients at once, none of which can hold up the
//! daemon or another client.
//!
//! Bytes in, whole requests out; whole replies in, bytes out. A client has a
//! deadline for its request and one for taking the reply. Knows the framing
//! and nothing of what a request means.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dpvs_ctl::server::{Request, RequestDecoder};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::unistd::{AccessFlags, access};

/// A connection, for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// Clients served at once. One more makes the longest silent one leave.
const CLIENTS_MAX: usize = 512;
/// For a whole request from the connection on.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For the next bytes of a reply to be taken.
const REPLY_TIME: Duration = Duration::from_secs(5);
/// Bytes read from one client before the others have their turn.
const READ_TURN: usize = 64 << 10;

enum Phase {
    /// The request is not complete.
    Reading(RequestDecoder),
    /// The request is being served.
    Serving,
    /// The reply and how much of it is sent.
    Writing(Vec<u8>, usize),
}

struct Client {
    stream: UnixStream,
    phase: Phase,
    deadline: Instant,
}

/// The listening socket and its clients.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// The socket file, to remove only our own.
    inode: (u64, u64),
    clients: HashMap<ClientId, Client>,
    next: u64,
}

/// A non-blocking socket at `path`. Its mode is set before it listens, so
/// nobody can connect in between.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    socket::listen(&socket, Backlog::new(128)?)?;
    Ok(UnixListener::from(socket))
}

fn told(path: &Path, kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("control socket {}: {what}", path.display()))
}

/// Whether a socket can be made at `path`, as far as that can be told without
/// making it.
///
/// # Errors
/// Another daemon serves it, something else is there, or the folder is not
/// there or not ours to write.
pub fn check(path: &Path) -> io::Result<()> {
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(told(
                path,
                io::ErrorKind::AlreadyExists,
                "something that is no socket is there; remove it or choose another path with -x",
            ));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(told(
                path,
                io::ErrorKind::AddrInUse,
                "another dpvs serves it; choose another path with -x",
            ));
        }
    }
    UnixAddr::new(path).map_err(|_| {
        told(
            path,
            io::ErrorKind::InvalidInput,
            "a path of more than 107 bytes; choose another with -x",
        )
    })?;
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|e| {
        let e = io::Error::from(e);
        told(path, e.kind(), &format!("folder {}: {e}", folder.display()))
    })
}

impl Server {
    /// Listens at `path` with mode 0660. A socket file that nobody serves is
    /// replaced.
    ///
    /// # Errors
    /// Another daemon serves it, something else is there, or the system says no.
    pub fn bind(path: &Path) -> io::Result<Server> {
        check(path)?;
        // Bound under a private name, closed to others, and only then moved to
        // its place: there is no moment at which a client finds it half open.
        let private = path.with_file_name(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&private);
        let made = listen(&private).and_then(|listener| {
            let at = fs::symlink_metadata(&private)?;
            fs::rename(&private, path)?;
            Ok((listener, (at.dev(), at.ino())))
        });
        let (listener, inode) = made.map_err(|e| {
            let _ = fs::remove_file(&private);
            told(path, e.kind(), &format!("cannot be made: {e}"))
        })?;
        Ok(Server {
            listener,
            path: path.to_owned(),
            inode,
            clients: HashMap::new(),
            next: 0,
        })
    }

    /// Waits at most `wait` for something to do, then moves bytes. Returns the
    /// requests that became complete.
    pub fn poll(&mut self, wait: Duration, now: Instant) -> Vec<(ClientId, Request)> {
        let wait = self
            .clients
            .values()
            .filter(|c| !matches!(c.phase, Phase::Serving))
            .map(|c| c.deadline.saturating_duration_since(now))
            .fold(wait, Duration::min);
        let order: Vec<ClientId> = self.clients.keys().copied().collect();
        let ready = {
            let mut fds: Vec<PollFd<'_>> =
                vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            fds.extend(order.iter().filter_map(|id| self.clients.get(id)).map(|c| {
                PollFd::new(
                    c.stream.as_fd(),
                    match c.phase {
                        Phase::Reading(_) => PollFlags::POLLIN,
                        // Only whether it went away.
                        Phase::Serving => PollFlags::empty(),
                        Phase::Writing(..) => PollFlags::POLLOUT,
                    },
                )
            }));
            let wait = TimeSpec::nanoseconds(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
            match ppoll(&mut fds, Some(wait), None) {
                Ok(n) if n > 0 => fds
                    .iter()
                    .map(|f| f.any().unwrap_or(true))
                    .collect::<Vec<bool>>(),
                // A signal, or nothing: only deadlines matter.
                _ => Vec::new(),
            }
        };
        let now = Instant::now().max(now);
        let mut requests = Vec::new();
        for (id, _) in order
            .iter()
            .zip(ready.iter().skip(1))
            .filter(|(_, ready)| **ready)
        {
            self.drive(*id, now, &mut requests);
        }
        if ready.first().copied().unwrap_or(false) {
            self.accept(now, &mut requests);
        }
        self.expire(now);
        requests
    }

    fn accept(&mut self, now: Instant, requests: &mut Vec<(ClientId, Request)>) {
        // Bounded, so that a flood of connections leaves time for the rest.
        for _ in 0..64 {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    // Out of descriptors, most likely: the next deadline frees some.
                    tracing::warn!("control socket: accept: {e}");
                    self.evict();
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.clients.len() >= CLIENTS_MAX {
                self.evict();
            }
            let id = ClientId(self.next);
            self.next += 1;
            let phase = Phase::Reading(RequestDecoder::new());
            self.clients.insert(
                id,
                Client {
                    stream,
                    phase,
                    deadline: now + REQUEST_TIME,
                },
            );
            // Clients send at once: most requests are there already.
            self.drive(id, now, requests);
        }
    }

    /// Closes the client that has made the daemon wait longest.
    fn evict(&mut self) {
        let oldest = self
            .clients
            .iter()
            .filter(|(_, c)| !matches!(c.phase, Phase::Serving))
            .min_by_key(|(id, c)| (c.deadline, **id))
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            tracing::warn!(
                "control socket: {CLIENTS_MAX} clients or no descriptors left; the slowest is closed"
            );
            self.clients.remove(&id);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.clients.retain(|_, c| {
            let late = !matches!(c.phase, Phase::Serving) && c.deadline <= now;
            if late {
                let what = if matches!(c.phase, Phase::Reading(_)) {
                    "sent no request"
                } else {
                    "took no reply"
                };
                tracing::warn!("control socket: a client {what} in time and is closed");
            }
            !late
        });
    }

    /// Moves what can be moved for one client; forgets it when it is done.
    fn drive(&mut self, id: ClientId, now: Instant, requests: &mut Vec<(ClientId, Request)>) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let keep = match &mut client.phase {
            // Ready without being asked for anything: it went away.
            Phase::Serving => false,
            Phase::Reading(decoder) => match read(&mut client.stream, decoder) {
                Read1::More => true,
                Read1::Gone => false,
                Read1::Whole(request) => {
                    client.phase = Phase::Serving;
                    requests.push((id, request));
                    true
                }
            },
            Phase::Writing(bytes, sent) => match write(&mut client.stream, bytes, sent) {
                Ok(0) => true,
                Ok(_) if *sent < bytes.len() => {
                    client.deadline = now + REPLY_TIME;
                    true
                }
                _ => false,
            },
        };
        if !keep {
            self.clients.remove(&id);
        }
    }

    /// Sends a reply; the connection ends with it. A client that left is forgotten.
    pub fn answer(&mut self, id: ClientId, reply: Vec<u8>, now: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.phase = Phase::Writing(reply, 0);
            client.deadline = now + REPLY_TIME;
            self.drive(id, now, &mut Vec::new());
        }
    }

    /// Whether a client is still there.
    #[must_use]
    pub fn is_open(&self, id: ClientId) -> bool {
        self.clients.contains_key(&id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not the socket of a daemon that was started over us.
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

enum Read1 {
    More,
    Whole(Request),
    Gone,
}

fn read(stream: &mut UnixStream, decoder: &mut RequestDecoder) -> Read1 {
    let mut buf = [0; 4096];
    let mut total = 0;
    while total < READ_TURN {
        // Never past the request: what follows it belongs to nobody.
        let want = decoder.missing().clamp(1, buf.len());
        let Some(room) = buf.get_mut(..want) else {
            return Read1::Gone;
        };
        match stream.read(room) {
            Ok(0) => return Read1::Gone,
            Ok(n) => {
                total += n;
                match decoder.push(buf.get(..n).unwrap_or(&[])) {
                    Ok(None) => {}
                    Ok(Some(request)) => return Read1::Whole(request),
                    Err(e) => {
                        tracing::warn!("control socket: {e}; closed without a reply");
                        return Read1::Gone;
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Read1::More,
            Err(_) => return Read1::Gone,
        }
    }
    Read1::More
}

/// Bytes written this time.
fn write(stream: &mut UnixStream, bytes: &[u8], sent: &mut usize) -> io::Result<usize> {
    let before = *sent;
    while let Some(left) = bytes.get(*sent..).filter(|l| !l.is_empty()) {
        // Rust ignores SIGPIPE: a closed peer is an error, not a signal.
        match stream.write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *sent += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(*sent - before),
            Err(e) => return Err(e),
        }
    }
    // Closing a unix socket with unread bytes would make the peer's read fail
    // before it sees the reply.
    let mut junk = [0; 4096];
    for _ in 0..16 {
        match stream.read(&mut junk) {
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
    Ok(*sent - before)
}
