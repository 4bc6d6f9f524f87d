//! The link to dpvs: carries requests out in order, notices when dpvs goes
//! away or comes back.
//!
//! A thread of its own, since the client blocks. It knows no configuration:
//! after dpvs was away it says so, and whoever owns the state sends everything
//! again. DIFFERS: the DPVS fork of keepalived exits when dpvs is absent and
//! does not notice its restart.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use dpvs_ctl::msg::{AclConf, Dest, IfAddr, LaddrTable, Service};
use dpvs_ctl::{Af, Client, CtlError, ErrCode, Ip16, Name, Wire, id};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};

use crate::ops::{Op, PortAddr};

/// A request may take this long before dpvs counts as gone.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a present dpvs is looked at: its socket, no request.
const WATCH: Duration = Duration::from_millis(250);
/// A present dpvs is asked for its version this often, in case it hangs.
const PROBE: Duration = Duration::from_secs(10);
/// Back-off while dpvs is absent: from, to.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1000));

/// What the owner of the state is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// dpvs answers and knows nothing of us: send everything.
    Up { epoch: u64 },
    /// dpvs is away; requests are dropped until the next `Up`.
    Down,
}

enum Msg {
    Ops {
        epoch: u64,
        ops: Vec<Op>,
    },
    /// Answered when all that was sent before is done.
    Sync(Sender<()>),
}

/// The sending end. The thread starts when it is first wanted: an instance
/// with kernel addresses only needs no dpvs.
pub(crate) struct Dataplane {
    tx: Option<Sender<Msg>>,
    events: UnboundedSender<Event>,
    epoch: Option<u64>,
}

impl Dataplane {
    /// Events will come over `events`.
    pub(crate) fn new(events: UnboundedSender<Event>) -> Self {
        Self {
            tx: None,
            events,
            epoch: None,
        }
    }

    /// Starts the thread, unless it runs already.
    pub(crate) fn want(&mut self) -> std::io::Result<()> {
        if self.tx.is_none() {
            let (tx, rx) = channel();
            let client = Client::new().with_timeout(REQUEST_TIMEOUT);
            let events = self.events.clone();
            thread::Builder::new()
                .name("dataplane".to_owned())
                .spawn(move || Worker::new(client, rx, events).run())?;
            self.tx = Some(tx);
        }
        Ok(())
    }

    /// To be called with each event, so that requests are tagged rightly.
    pub(crate) fn note(&mut self, event: Event) {
        self.epoch = match event {
            Event::Up { epoch } => Some(epoch),
            Event::Down => None,
        };
    }

    /// Whether requests reach dpvs now.
    pub(crate) fn is_up(&self) -> bool {
        self.epoch.is_some()
    }

    /// Hands requests over; dropped while dpvs is away.
    pub(crate) fn send(&self, ops: Vec<Op>) {
        if let (Some(epoch), Some(tx)) = (self.epoch, &self.tx)
            && !ops.is_empty()
        {
            // The thread ends only with this sender.
            let _ = tx.send(Msg::Ops { epoch, ops });
        }
    }

    /// Waits until all requests are done, at most `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let (done, rx) = channel();
        let sent = self
            .tx
            .as_ref()
            .is_some_and(|tx| tx.send(Msg::Sync(done)).is_ok());
        sent && rx.recv_timeout(limit).is_ok()
    }
}

/// What tells one run of dpvs from the next: the socket file is made anew.
type Identity = (u64, u64, i64, i64);

struct Worker {
    client: Client,
    path: PathBuf,
    rx: Receiver<Msg>,
    events: UnboundedSender<Event>,
    epoch: u64,
    up: Option<Identity>,
    backoff: Duration,
    said_down: bool,
    probed: Instant,
}

impl Worker {
    fn new(client: Client, rx: Receiver<Msg>, events: UnboundedSender<Event>) -> Self {
        let path = client.path().to_owned();
        Self {
            client,
            path,
            rx,
            events,
            epoch: 0,
            up: None,
            backoff: RETRY.0,
            said_down: false,
            probed: Instant::now(),
        }
    }

    fn identity(&self) -> Option<Identity> {
        let m = std::fs::metadata(&self.path).ok()?;
        Some((m.dev(), m.ino(), m.ctime(), m.ctime_nsec()))
    }

    fn run(mut self) {
        loop {
            let wait = match self.up {
                Some(_) => WATCH,
                None => {
                    self.try_up();
                    if self.up.is_some() {
                        WATCH
                    } else {
                        self.next_backoff()
                    }
                }
            };
            let until = Instant::now() + wait;
            // While dpvs is away, messages are looked at without shortening the pause.
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match self.rx.recv_timeout(left) {
                    Ok(Msg::Ops { epoch, ops }) => self.ops(epoch, ops),
                    Ok(Msg::Sync(done)) => {
                        let _ = done.send(());
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if left.is_zero() {
                    break;
                }
            }
            self.watch();
        }
    }

    fn next_backoff(&mut self) -> Duration {
        let now = self.backoff;
        self.backoff = (now * 2).min(RETRY.1);
        now
    }

    fn try_up(&mut self) {
        // Taken before the question, so that a restart in between is seen.
        let identity = self.identity();
        match (identity, self.client.info()) {
            (Some(identity), Ok(info)) => {
                self.up = Some(identity);
                self.epoch += 1;
                self.backoff = RETRY.0;
                self.said_down = false;
                self.probed = Instant::now();
                let v = info.version;
                info!(
                    "dpvs answers ({}.{}.{})",
                    v >> 16 & 0xff,
                    v >> 8 & 0xff,
                    v & 0xff
                );
                let _ = self.events.send(Event::Up { epoch: self.epoch });
            }
            (_, Err(e)) if !self.said_down => {
                warn!("{e}; trying again until it answers");
                self.said_down = true;
            }
            _ => {}
        }
    }

    fn down(&mut self, why: &str) {
        warn!("dpvs is away: {why}");
        self.up = None;
        self.said_down = true;
        let _ = self.events.send(Event::Down);
    }

    /// Looks for a restart between requests.
    fn watch(&mut self) {
        let Some(known) = self.up else { return };
        match self.identity() {
            Some(now) if now == known => {}
            Some(_) => return self.down("its control socket was made anew"),
            None => return self.down("its control socket is gone"),
        }
        if self.probed.elapsed() >= PROBE {
            self.probed = Instant::now();
            if let Err(e) = self.client.info() {
                self.down(&e.to_string());
            }
        }
    }

    fn ops(&mut self, epoch: u64, ops: Vec<Op>) {
        for op in ops {
            if self.up.is_none() || epoch != self.epoch {
                return;
            }
            debug!("dpvs: {}", describe(&op));
            if let Err(e) = self.carry_out(&op) {
                // Closing without an answer is how an old dpvs refuses one message.
                let lost = e.is_transport() && !matches!(e, CtlError::ShortReply { got: 0, .. });
                if lost || (e.is_transport() && self.client.info().is_err()) {
                    return self.down(&e.to_string());
                }
                warn!("dpvs refuses to {}: {e}", describe(&op));
            }
        }
    }

    fn carry_out(&self, op: &Op) -> Result<(), CtlError> {
        let c = &self.client;
        match op {
            Op::Info => c.info().map(drop),
            Op::FlushServices => c.flush_services(),
            Op::TunnelAdd(t) => added(c.set(id::TUNNEL_ADD, &t.encode())),
            Op::TunnelDel(t) => removed(c.set(id::TUNNEL_DEL, &t.encode())),
            Op::ServiceAdd(s) => match c.add_service(s) {
                // Left by an earlier run: it may have other options.
                Err(e) if e.code() == Some(ErrCode::EXIST) => self.edit_service(s),
                r => r,
            },
            Op::ServiceEdit(s) => match self.edit_service(s) {
                Err(e) if is_missing(&e) => c.add_service(s),
                r => r,
            },
            Op::ServiceDel(s) => removed(c.del_service(s)),
            Op::LaddrAdd(t) => added(c.add_laddr(t)),
            Op::LaddrDel {
                table,
                device: true,
            } => removed(c.del_laddr(table)),
            Op::LaddrDel {
                table,
                device: false,
            } => removed(c.set(id::SET_LADDR_DEL, &table.encode())),
            Op::DenyAdd(a) => added(c.add_blacklist(a)),
            Op::DenyDel(a) => removed(c.del_blacklist(a)),
            Op::AllowAdd(a) => added(c.add_whitelist(a)),
            Op::AllowDel(a) => removed(c.del_whitelist(a)),
            Op::DestAdd(s, d) => match c.add_dest(s, d) {
                Err(e) if e.code() == Some(ErrCode::EXIST) => c.edit_dest(s, d),
                r => r,
            },
            Op::DestEdit(s, d) => match c.edit_dest(s, d) {
                Err(e) if is_missing(&e) => added(c.add_dest(s, d)),
                r => r,
            },
            Op::DestDel(s, d) => removed(c.del_dest(s, d)),
            Op::AddrAdd(a) => added(c.add_ifaddr(&if_addr(a))),
            Op::AddrDel(a) => removed(c.del_ifaddr(&if_addr(a))),
            Op::GratArp(ip) => c.grat_arp(*ip),
        }
    }

    /// An edit replaces every option; the passive check, which has no keyword
    /// here, is kept as the operator set it.
    fn edit_service(&self, service: &Service) -> Result<(), CtlError> {
        let mut new = *service;
        if let Ok(old) = self.client.service(&service.key()) {
            new.check_conf = old.check_conf;
        }
        self.client.edit_service(&new)
    }
}

fn if_addr(a: &PortAddr) -> IfAddr {
    IfAddr {
        af: Af::of(a.ip),
        ifname: Name::truncated(&a.port),
        addr: Ip16::from_ip(a.ip),
        plen: a.prefix,
        ..IfAddr::default()
    }
}

fn is_missing(e: &CtlError) -> bool {
    matches!(
        e.code(),
        Some(ErrCode::NOTEXIST | ErrCode::NOSERV | ErrCode::MSG_FAIL | ErrCode::INVAL)
    )
}

/// "It is there already" is what was wanted.
fn added(r: Result<(), CtlError>) -> Result<(), CtlError> {
    match r {
        Err(e) if e.code() == Some(ErrCode::EXIST) => Ok(()),
        r => r,
    }
}

/// "It is not there" is what was wanted.
fn removed(r: Result<(), CtlError>) -> Result<(), CtlError> {
    match r {
        Err(e) if is_missing(&e) => Ok(()),
        r => r,
    }
}

/// A request in few words, for the log.
fn describe(op: &Op) -> String {
    let at = |ip: Ip16, af: Af| ip.to_ip(af).map_or_else(String::new, |ip| ip.to_string());
    let svc = |s: &Service| match s.fwmark {
        0 => format!("[{}]:{}", at(s.addr, s.af), s.port.get()),
        mark => format!("FWM {mark}"),
    };
    let dst = |d: &Dest| {
        format!(
            "server [{}]:{} weight {}",
            at(d.addr, d.af),
            d.port.get(),
            d.weight
        )
    };
    let local = |t: &LaddrTable| format!("local address {} on {}", at(t.laddr, t.af_l), t.ifname);
    let client = |a: &AclConf| {
        if a.ipset.is_empty() {
            at(a.subject, a.af.into())
        } else {
            a.ipset.to_string()
        }
    };
    match op {
        Op::Info => "say its version".to_owned(),
        Op::FlushServices => "remove all services".to_owned(),
        Op::TunnelAdd(t) => format!("add tunnel {}", t.ifname),
        Op::TunnelDel(t) => format!("remove tunnel {}", t.ifname),
        Op::ServiceAdd(s) => format!("add service {}", svc(s)),
        Op::ServiceEdit(s) => format!("change service {}", svc(s)),
        Op::ServiceDel(s) => format!("remove service {}", svc(s)),
        Op::DestAdd(s, d) => format!("add {} to service {}", dst(d), svc(s)),
        Op::DestEdit(s, d) => format!("change {} of service {}", dst(d), svc(s)),
        Op::DestDel(s, d) => format!("remove {} from service {}", dst(d), svc(s)),
        Op::LaddrAdd(t) => format!("add {} to service {}", local(t), svc(&t.service())),
        Op::LaddrDel { table: t, .. } => {
            format!("remove {} from service {}", local(t), svc(&t.service()))
        }
        Op::DenyAdd(a) => format!("deny {}", client(a)),
        Op::DenyDel(a) => format!("deny {} no longer", client(a)),
        Op::AllowAdd(a) => format!("allow {}", client(a)),
        Op::AllowDel(a) => format!("allow {} no longer", client(a)),
        Op::AddrAdd(a) => format!("add address {}/{} to {}", a.ip, a.prefix, a.port),
        Op::AddrDel(a) => format!("remove address {}/{} from {}", a.ip, a.prefix, a.port),
        Op::GratArp(ip) => format!("announce {ip}"),
    }
}
