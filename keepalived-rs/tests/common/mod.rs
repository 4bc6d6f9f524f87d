//! A stand-in for dpvs: records every request in order and answers well.
//!
//! Also starts the real keepalived binary against it, each in a directory of
//! its own.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dpvs_ctl::msg::{AclConf, IfAddrParam, Info, LaddrTable, Service, ServiceDest, ifa_flag};
use dpvs_ctl::server::{Request, RequestDecoder};
use dpvs_ctl::{Af, ErrCode, Ip16, Kind, Wire, id};

type Log = Arc<Mutex<Vec<String>>>;

/// One run of the stand-in; dropped, it is gone like a killed dpvs: the socket
/// file stays.
pub(crate) struct Standin {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn ip(slot: Ip16, af: Af) -> String {
    slot.to_ip(af)
        .map_or_else(|| "?".to_owned(), |i| i.to_string())
}

fn service(s: &Service) -> String {
    if s.fwmark != 0 {
        return format!("fwm {}", s.fwmark);
    }
    format!("{} {} {}", s.proto, ip(s.addr, s.af), s.port.get())
}

/// A request as a line a person can read.
fn line(r: &Request) -> String {
    let svc = || Service::decode(&r.body).unwrap();
    let dst = |verb: &str| {
        let b = ServiceDest::decode(&r.body).unwrap();
        format!(
            "{verb} server {} {} w{} mode{} of {}",
            ip(b.dest.addr, b.dest.af),
            b.dest.port.get(),
            b.dest.weight,
            b.dest.fwdmode,
            service(&b.service)
        )
    };
    let ifa = |verb: &str| {
        let p = IfAddrParam::decode(&r.body).unwrap();
        let e = p.entry;
        let pool = if e.flags & ifa_flag::SAPOOL != 0 {
            " sapool"
        } else {
            ""
        };
        format!(
            "{verb} addr {}/{} {}{pool}",
            ip(e.addr, e.af),
            e.plen,
            e.ifname
        )
    };
    let laddr = |verb: &str| {
        let t = LaddrTable::decode(&r.body).unwrap();
        format!(
            "{verb} laddr {} {} of {}",
            ip(t.laddr, t.af_l),
            t.ifname,
            service(&t.service())
        )
    };
    let acl = |verb: &str| {
        let a = AclConf::decode(&r.body).unwrap();
        format!("{verb} {} {}", ip(a.subject, Af::from(a.af)), a.ipset)
    };
    match r.id {
        id::SO_GET_INFO => "info".to_owned(),
        id::SO_GET_SERVICE => "get service".to_owned(),
        id::SO_SET_FLUSH => "flush".to_owned(),
        id::SO_SET_ADD => {
            let s = svc();
            format!(
                "add service {} {} flags{:#x} est{} pers{}",
                service(&s),
                s.sched_name,
                s.flags,
                s.conn_timeout,
                s.timeout
            )
        }
        id::SO_SET_EDIT => format!("edit service {} {}", service(&svc()), svc().sched_name),
        id::SO_SET_DEL => format!("del service {}", service(&svc())),
        id::SO_SET_ADDDEST => dst("add"),
        id::SO_SET_EDITDEST => dst("edit"),
        id::SO_SET_DELDEST => dst("del"),
        id::SET_IFADDR_ADD => ifa("add"),
        id::SET_IFADDR_DEL => ifa("del"),
        id::SET_LADDR_ADD => laddr("add"),
        id::SET_LADDR_DEL => laddr("del"),
        id::SET_BLKLST_ADD => acl("deny"),
        id::SET_WHTLST_ADD => acl("allow"),
        id::SO_SET_GRATARP => {
            let b: [u8; 4] = r.body.get(..4).unwrap().try_into().unwrap();
            format!("garp {}", std::net::Ipv4Addr::from(b))
        }
        id::TUNNEL_ADD => "add tunnel".to_owned(),
        id::TUNNEL_DEL => "del tunnel".to_owned(),
        other => format!("message {other}"),
    }
}

impl Standin {
    /// Listens at `path`; requests go to the shared `log`.
    pub(crate) fn start(path: &Path, log: &Log) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (l, s) = (Arc::clone(log), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut known = HashSet::new();
            while !s.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((c, _)) => serve(c, &l, &mut known),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            t.join().unwrap();
        }
    }
}

fn serve(mut c: UnixStream, log: &Log, known: &mut HashSet<Vec<u8>>) {
    c.set_nonblocking(false).unwrap();
    c.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut decoder = RequestDecoder::new();
    let mut buf = [0; 4096];
    loop {
        let n = match c.read(&mut buf) {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        let request = match decoder.push(&buf[..n]) {
            Ok(Some(r)) => r,
            Ok(None) => continue,
            Err(e) => {
                log.lock().unwrap().push(format!("BAD {e}"));
                return;
            }
        };
        log.lock().unwrap().push(line(&request));
        // Enough memory to refuse what dpvs refuses.
        let mut code = ErrCode::OK;
        let key = |s: Service| s.key().encode();
        match request.id {
            id::SO_SET_ADD if !known.insert(key(Service::decode(&request.body).unwrap())) => {
                code = ErrCode::EXIST;
            }
            id::SO_SET_DEL if !known.remove(&key(Service::decode(&request.body).unwrap())) => {
                code = ErrCode::NOTEXIST;
            }
            _ => {}
        }
        let body = match (request.kind, request.id) {
            (Kind::Get, id::SO_GET_INFO) => Info {
                version: 0x01_0a_00,
                ..Info::default()
            }
            .encode(),
            (Kind::Get, id::SO_GET_SERVICE) => request.body.clone(),
            _ => Vec::new(),
        };
        let _ = c.write_all(&request.reply(code, &body));
        return;
    }
}

/// A directory, a stand-in and a keepalived.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) log: Log,
    pub(crate) standin: Option<Standin>,
    pub(crate) keepalived: Option<Child>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            log: Log::default(),
            standin: None,
            keepalived: None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start_dpvs(&mut self) {
        self.standin = Some(Standin::start(&self.file("dpvs.ipc"), &self.log));
    }

    pub(crate) fn kill_dpvs(&mut self) {
        self.standin = None;
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.file("keepalived.conf"), text).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_keepalived"));
        c.arg("-f").arg(self.file("keepalived.conf"));
        for (option, name) in [("-p", "k.pid"), ("-c", "c.pid"), ("-r", "v.pid")] {
            c.arg(option).arg(self.file(name));
        }
        c.env("DPVS_IPC_FILE", self.file("dpvs.ipc")).arg("-G");
        c.env("TMPDIR", self.dir.path());
        c
    }

    pub(crate) fn start(&mut self, text: &str) {
        self.configure(text);
        let log = std::fs::File::create(self.file("log")).unwrap();
        let child = self
            .command()
            .args(["-n", "-l", "-D"])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.keepalived = Some(child);
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.keepalived.as_ref().unwrap().id();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), signal)
            .unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.keepalived
            .take()
            .unwrap()
            .wait()
            .unwrap()
            .code()
            .unwrap()
    }

    /// The requests so far, and forgets them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Waits until a request contains `text`.
    pub(crate) fn wait_for(&self, text: &str) -> Duration {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if self.log.lock().unwrap().iter().any(|l| l.contains(text)) {
                // What belongs together comes together.
                std::thread::sleep(Duration::from_millis(100));
                return start.elapsed();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "no '{text}' in {:#?}\n{}",
            self.log.lock().unwrap(),
            std::fs::read_to_string(self.file("log")).unwrap()
        );
    }

    pub(crate) fn keepalived_log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut c) = self.keepalived.take() {
            let _ = c.kill();
            let _ = c.wait();
        }
    }
}
