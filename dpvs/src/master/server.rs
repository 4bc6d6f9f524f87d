//! The control socket: many clients at once, none of which can hold up the
//! daemon or another client.
//!
//! Bytes in, whole requests out; whole replies in, bytes out. A client has a
//! deadline for its request and one for taking the reply. A client that asks for
//! it may send many requests over its connection, and has the replies in the
//! order of its requests. Knows the framing and nothing of what a request means.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dpvs_ctl::ReplyHead;
use dpvs_ctl::server::{Request, RequestDecoder};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::unistd::{AccessFlags, Gid, access, chown, geteuid};

/// A connection, for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ClientId(u64);

/// A request whose reply is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    client: ClientId,
    /// The number of the request on its connection.
    turn: u64,
}

/// Clients served at once. One more makes the longest silent one leave.
const CLIENTS_MAX: usize = 512;
/// For a whole request from its beginning on.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For the next request on a connection that is kept open.
const KEPT_TIME: Duration = Duration::from_secs(60);
/// For the next bytes of a reply to be taken.
const REPLY_TIME: Duration = Duration::from_secs(5);
/// How long nobody is let in when there are no descriptors, and no client that could
/// make room.
const DEAF_TIME: Duration = Duration::from_secs(1);
/// Bytes read from one client before the others have their turn.
const READ_TURN: usize = 64 << 10;
/// Requests of one client in service; more of them wait in its socket.
const SERVING_MAX: usize = 512;
/// Bytes of replies that may wait for a client before it is heard again.
const UNREAD_MAX: usize = 1 << 20;

struct Client {
    stream: UnixStream,
    decoder: RequestDecoder,
    /// More than one request may come.
    kept: bool,
    /// Replies in the order of the requests; none: still in service.
    serving: VecDeque<Option<Vec<u8>>>,
    /// Requests that have left `serving`.
    answered: u64,
    /// On their way, and how much of them is sent.
    out: Vec<u8>,
    sent: usize,
    deadline: Instant,
}

impl Client {
    fn wants_read(&self) -> bool {
        if self.kept {
            self.serving.len() < SERVING_MAX && self.unsent() < UNREAD_MAX
        } else {
            self.answered == 0 && self.serving.is_empty()
        }
    }

    fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// It is not the client that makes us wait.
    fn is_patient(&self) -> bool {
        self.unsent() == 0 && !self.serving.is_empty()
    }

    /// Requests may be in the decoder that there was no room to serve.
    fn has_backlog(&self) -> bool {
        self.kept && !self.decoder.is_empty() && self.wants_read()
    }

    fn events(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.wants_read());
        events.set(PollFlags::POLLOUT, self.unsent() > 0);
        events
    }

    /// Moves replies that have no earlier one before them to the way out.
    fn collect(&mut self) {
        while let Some(Some(_)) = self.serving.front() {
            let mut reply = self.serving.pop_front().flatten().unwrap_or_default();
            self.answered += 1;
            if self.kept {
                ReplyHead::mark_kept(&mut reply);
            }
            if self.out.is_empty() {
                self.out = reply;
            } else {
                self.out.append(&mut reply);
            }
        }
    }
}

/// The listening socket and its clients.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// A group may connect; who is in it is the socket file's permission.
    group: bool,
    /// The socket file, to remove only our own.
    inode: (u64, u64),
    clients: HashMap<ClientId, Client>,
    next: u64,
    /// Nobody is let in until then.
    deaf: Option<Instant>,
    /// Clients with replies that are not on their way.
    answered: Vec<ClientId>,
    /// What is read goes through here.
    buffer: Vec<u8>,
}

/// A non-blocking socket at `path`. Its group and mode are set before it
/// listens, so nobody can connect in between.
fn listen(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
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
    /// Listens at `path` with mode 0660, for root and the user it runs as. A
    /// socket file that nobody serves is replaced.
    ///
    /// # Errors
    /// Another daemon serves it, something else is there, or the system says no.
    pub fn bind(path: &Path) -> io::Result<Server> {
        Self::bind_for(path, None)
    }

    /// The same for the members of a group as well.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_for(path: &Path, group: Option<u32>) -> io::Result<Server> {
        check(path)?;
        // Bound under a private name, closed to others, and only then moved to
        // its place: there is no moment at which a client finds it half open.
        let private = path.with_file_name(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&private);
        let made = listen(&private, group.map(Gid::from_raw)).and_then(|listener| {
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
            group: group.is_some(),
            inode,
            clients: HashMap::new(),
            next: 0,
            deaf: None,
            answered: Vec::new(),
            buffer: vec![0; READ_TURN],
        })
    }

    /// Waits at most `wait` for something to do, or for `bell` to be readable, then
    /// moves bytes. Returns the requests that became complete.
    pub fn poll(
        &mut self,
        wait: Duration,
        now: Instant,
        bell: Option<BorrowedFd<'_>>,
    ) -> Vec<(Ticket, Request)> {
        self.flush(now);
        let backlog = self.clients.values().any(Client::has_backlog);
        self.deaf.take_if(|end| *end <= now);
        let wait = self
            .clients
            .values()
            .filter(|c| !c.is_patient())
            .map(|c| c.deadline)
            .chain(self.deaf)
            .map(|end| end.saturating_duration_since(now))
            .fold(if backlog { Duration::ZERO } else { wait }, Duration::min);
        let order: Vec<ClientId> = self.clients.keys().copied().collect();
        let ready = {
            let mut hear = PollFlags::empty();
            hear.set(PollFlags::POLLIN, self.deaf.is_none());
            let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(self.listener.as_fd(), hear)];
            // No events asked for: only whether it went away.
            fds.extend(
                order
                    .iter()
                    .filter_map(|id| self.clients.get(id))
                    .map(|c| PollFd::new(c.stream.as_fd(), c.events())),
            );
            fds.extend(bell.map(|bell| PollFd::new(bell, PollFlags::POLLIN)));
            let wait = TimeSpec::nanoseconds(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
            match ppoll(&mut fds, Some(wait), None) {
                Ok(n) if n > 0 => fds
                    .iter()
                    .map(|f| f.any().unwrap_or(true))
                    .collect::<Vec<bool>>(),
                // A signal, or nothing: only deadlines matter.
                _ => vec![false; fds.len()],
            }
        };
        let now = Instant::now().max(now);
        let mut requests = Vec::new();
        for (id, ready) in order.iter().zip(ready.iter().skip(1)) {
            if *ready || self.clients.get(id).is_some_and(Client::has_backlog) {
                self.drive(*id, *ready, now, &mut requests);
            }
        }
        if ready.first().copied().unwrap_or(false) {
            self.accept(now, &mut requests);
        }
        self.expire(now);
        requests
    }

    fn accept(&mut self, now: Instant, requests: &mut Vec<(Ticket, Request)>) {
        // Bounded, so that a flood of connections leaves time for the rest.
        for _ in 0..64 {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    // Out of descriptors, most likely.
                    tracing::warn!("control socket: accept: {e}");
                    if !self.evict() {
                        self.deaf = Some(now + DEAF_TIME);
                    }
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if let Some(uid) = self.stranger(&stream) {
                tracing::warn!("control socket: user {uid} may not use it");
                continue;
            }
            if self.clients.len() >= CLIENTS_MAX {
                self.evict();
            }
            let id = ClientId(self.next);
            self.next += 1;
            self.clients.insert(
                id,
                Client {
                    stream,
                    decoder: RequestDecoder::new(),
                    kept: false,
                    serving: VecDeque::new(),
                    answered: 0,
                    out: Vec::new(),
                    sent: 0,
                    deadline: now + REQUEST_TIME,
                },
            );
            // Clients send at once: most requests are there already.
            self.drive(id, true, now, requests);
        }
    }

    /// The user of a connection who is neither root nor ourselves, where no group
    /// was let in.
    fn stranger(&self, stream: &UnixStream) -> Option<u32> {
        let peer = socket::getsockopt(stream, sockopt::PeerCredentials);
        let uid = peer.map_or(u32::MAX, |p| p.uid());
        (uid != 0 && uid != geteuid().as_raw() && !self.group).then_some(uid)
    }

    /// Closes the client that has made the daemon wait longest. False: there is none.
    fn evict(&mut self) -> bool {
        let oldest = self
            .clients
            .iter()
            .filter(|(_, c)| !c.is_patient())
            .min_by_key(|(id, c)| (c.deadline, **id))
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            tracing::warn!(
                "control socket: {CLIENTS_MAX} clients or no descriptors left; the slowest is closed"
            );
            self.clients.remove(&id);
        }
        oldest.is_some()
    }

    fn expire(&mut self, now: Instant) {
        self.clients.retain(|_, c| {
            let late = !c.is_patient() && c.deadline <= now;
            if late {
                let what = if c.unsent() > 0 {
                    "took no reply"
                } else {
                    "sent no request"
                };
                // A connection that was only kept open may end without a word.
                if !c.kept || c.unsent() > 0 || !c.decoder.is_empty() {
                    tracing::warn!("control socket: a client {what} in time and is closed");
                }
            }
            !late
        });
    }

    /// Moves what can be moved for one client; forgets it when it is done.
    fn drive(
        &mut self,
        id: ClientId,
        ready: bool,
        now: Instant,
        requests: &mut Vec<(Ticket, Request)>,
    ) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let events = client.events();
        // Ready without being asked for anything: it went away.
        let mut keep = !(ready && events.is_empty());
        if keep && events.contains(PollFlags::POLLOUT) {
            keep = write(client, now);
        }
        if keep && client.wants_read() {
            keep = read(client, id, &mut self.buffer, ready, now, requests);
        }
        if !keep {
            self.clients.remove(&id);
        }
    }

    /// Takes the reply to a request. It is sent with [`Server::flush`]; if its
    /// client has left, it is forgotten.
    pub fn answer(&mut self, ticket: Ticket, reply: Vec<u8>) {
        let Some(client) = self.clients.get_mut(&ticket.client) else {
            return;
        };
        let at = ticket.turn.checked_sub(client.answered);
        let slot = at.and_then(|at| client.serving.get_mut(usize::try_from(at).ok()?));
        if let Some(slot) = slot {
            *slot = Some(reply);
            if self.answered.last() != Some(&ticket.client) {
                self.answered.push(ticket.client);
            }
        }
    }

    /// Sends the replies there are. A connection that is not kept ends with its
    /// reply.
    pub fn flush(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.answered) {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            if client.unsent() == 0 {
                client.deadline = now + REPLY_TIME;
            }
            client.collect();
            if client.unsent() > 0 && !write(client, now) {
                self.clients.remove(&id);
            }
        }
    }

    /// Whether the client of a request is still there.
    #[must_use]
    pub fn is_open(&self, ticket: Ticket) -> bool {
        self.clients.contains_key(&ticket.client)
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

/// Reads what is there, as far as there is room to serve it. False: the
/// connection is to be closed.
fn read(
    client: &mut Client,
    id: ClientId,
    buffer: &mut [u8],
    ready: bool,
    now: Instant,
    requests: &mut Vec<(Ticket, Request)>,
) -> bool {
    let mut total = 0;
    let mut fresh = 0;
    loop {
        // What came with earlier ones first.
        let waiting = client.decoder.is_empty();
        while client.wants_read() {
            let bytes = buffer.get(..std::mem::take(&mut fresh)).unwrap_or_default();
            match client.decoder.push(bytes) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    client.kept |= request.keep;
                    let turn = client.answered + client.serving.len() as u64;
                    client.serving.push_back(None);
                    client.deadline = now + REQUEST_TIME;
                    requests.push((Ticket { client: id, turn }, request));
                }
                Err(e) => {
                    tracing::warn!("control socket: {e}; closed without a reply");
                    return false;
                }
            }
        }
        if waiting && client.kept {
            let idle = client.decoder.is_empty();
            client.deadline = now + if idle { KEPT_TIME } else { REQUEST_TIME };
        }
        if !ready || total >= READ_TURN || !client.wants_read() {
            return true;
        }
        // A client with one request: never past it, what follows belongs to nobody.
        let want = if client.kept {
            READ_TURN
        } else {
            client.decoder.missing()
        };
        let room = buffer.len();
        let Some(room) = buffer.get_mut(..want.clamp(1, room)) else {
            return false;
        };
        match client.stream.read(room) {
            Ok(0) => return false,
            Ok(n) => {
                total += n;
                fresh = n;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}

/// Writes what the client takes. False: the connection is to be closed, or
/// has had its reply.
fn write(client: &mut Client, now: Instant) -> bool {
    while let Some(left) = client.out.get(client.sent..).filter(|l| !l.is_empty()) {
        // Rust ignores SIGPIPE: a closed peer is an error, not a signal.
        match client.stream.write(left) {
            Ok(n) if n > 0 => {
                client.sent += n;
                client.deadline = now + REPLY_TIME;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
            _ => return false,
        }
    }
    client.out.clear();
    client.sent = 0;
    if client.kept {
        client.deadline = now + KEPT_TIME;
        return true;
    }
    // Closing a unix socket with unread bytes would make the peer's read fail
    // before it sees the reply.
    let mut junk = [0; 4096];
    for _ in 0..16 {
        match client.stream.read(&mut junk) {
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
    false
}
