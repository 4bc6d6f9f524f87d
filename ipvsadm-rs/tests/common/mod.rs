//! A stand-in for the daemon: the control socket, with services, dests, local
//! addresses, lists and connections kept for real, and DPVS's error codes.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use dpvs_ctl::msg::{
    AclConf, ConnArray, ConnEntry, ConnReq, Dest, DestTable, IfAddrArray, IfAddrData, IfAddrParam,
    Info, LaddrEntry, LaddrTable, Service, ServiceDest, ServicesFront, SockPair, Stats, conn_get,
    conn_result, dest_flag, svc_flag,
};
use dpvs_ctl::server::{Request, RequestDecoder};
use dpvs_ctl::wire::{encode_counted, encode_list};
use dpvs_ctl::{Af, ErrCode, Wire, id};
use tempfile::TempDir;

/// Linux's as well as DPVS's, so that recordings of both can be replayed.
const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
    "conhash", "none",
];

#[derive(Clone)]
pub struct Entry {
    pub service: Service,
    pub dests: Vec<Dest>,
    pub laddrs: Vec<LaddrEntry>,
}

#[derive(Default)]
pub struct State {
    pub version: u32,
    pub size: u32,
    pub services: Vec<Entry>,
    pub ifaddrs: Vec<IfAddrData>,
    pub black: Vec<AclConf>,
    pub white: Vec<AclConf>,
    pub conns: Vec<ConnEntry>,
    pub devices: Vec<String>,
    /// Everything that was asked, by id.
    pub log: Vec<(u32, Vec<u8>)>,
    /// Rates of services are listed, as DPVS does not.
    pub lists_rates: bool,
    /// Requests with this id are refused with this code.
    pub refuse: Option<(u32, ErrCode)>,
}

type Reply = Result<Vec<u8>, ErrCode>;

impl State {
    fn find(&self, key: &Service) -> Option<usize> {
        self.services.iter().position(|e| {
            let s = &e.service;
            if s.af != key.af {
                return false;
            }
            if !key.addr.is_any(key.af) || key.port.get() != 0 {
                s.proto == key.proto
                    && s.port == key.port
                    && s.fwmark == 0
                    && s.addr.same(key.addr, key.af)
            } else if key.fwmark != 0 {
                s.fwmark == key.fwmark
            } else if !key.matched.is_empty() {
                s.proto == key.proto && s.matched == key.matched
            } else {
                // DPVS has no service on any address and port; Linux has.
                s.proto == key.proto
                    && s.fwmark == 0
                    && s.addr.is_any(s.af)
                    && s.port.get() == 0
                    && s.matched.is_empty()
            }
        })
    }

    fn filled(&self, e: &Entry) -> Service {
        let rate = |rate: u32| if self.lists_rates { rate } else { 0 };
        Service {
            flags: e.service.flags | svc_flag::HASHED,
            num_dests: u32::try_from(e.dests.len()).unwrap(),
            num_laddrs: u32::try_from(e.laddrs.len()).unwrap(),
            bps: rate(e.service.bps),
            limit_proportion: rate(e.service.limit_proportion),
            ..e.service
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let body = &request.body;
        self.log.push((request.id, body.clone()));
        if let Some((id, code)) = self.refuse
            && id == request.id
        {
            return Err(code);
        }
        match request.id {
            id::SO_GET_INFO => Ok(Info {
                version: self.version,
                size: self.size,
                num_services: u32::try_from(self.services.len()).unwrap(),
                num_lcores: 1,
            }
            .encode()),
            id::SO_GET_SERVICES => {
                let front = ServicesFront::decode(body).map_err(|_| ErrCode::INVAL)?;
                if usize::from(front.count) != self.services.len() {
                    return Err(ErrCode::MSG_FAIL);
                }
                let list: Vec<Service> = self.services.iter().map(|e| self.filled(e)).collect();
                Ok(encode_list(&front, &list))
            }
            id::SO_GET_SERVICE => {
                let key = Service::decode(body).map_err(|_| ErrCode::INVAL)?;
                let i = self.find(&key).ok_or(ErrCode::MSG_FAIL)?;
                Ok(self.filled(&self.services[i]).encode())
            }
            id::SO_GET_DESTS => {
                let table = DestTable::decode(body).map_err(|_| ErrCode::INVAL)?;
                let i = self.find(&table.service()).ok_or(ErrCode::MSG_FAIL)?;
                let dests = &self.services[i].dests;
                if usize::try_from(table.num_dests).unwrap() != dests.len() {
                    return Err(ErrCode::MSG_FAIL);
                }
                // The aggregate view echoes these fields only.
                let head = DestTable {
                    af: table.af,
                    proto: table.proto,
                    port: table.port,
                    num_dests: table.num_dests,
                    ..DestTable::default()
                };
                let newest_first: Vec<Dest> = dests.iter().rev().copied().collect();
                Ok(encode_list(&head, &newest_first))
            }
            id::SO_SET_FLUSH => {
                self.services.clear();
                self.black.clear();
                self.white.clear();
                Ok(Vec::new())
            }
            id::SO_SET_ZERO => {
                let key = Service::decode(body).map_err(|_| ErrCode::INVAL)?;
                let all = key.af == Af::UNSPEC;
                let i = self.find(&key);
                if !all && i.is_none() {
                    return Err(ErrCode::INVAL);
                }
                for (n, entry) in self.services.iter_mut().enumerate() {
                    if all || Some(n) == i {
                        entry
                            .dests
                            .iter_mut()
                            .for_each(|d| d.stats = Stats::default());
                    }
                }
                Ok(Vec::new())
            }
            id::SO_SET_ADD | id::SO_SET_EDIT | id::SO_SET_DEL => self.set_service(request),
            id::SO_SET_ADDDEST | id::SO_SET_EDITDEST | id::SO_SET_DELDEST => self.set_dest(request),
            id::SET_IFADDR_ADD | id::SET_IFADDR_DEL => self.set_ifaddr(request),
            id::GET_IFADDR_SHOW => {
                let head = IfAddrArray {
                    ops: 1,
                    ops_flags: 0,
                    naddr: i32::try_from(self.ifaddrs.len()).unwrap(),
                };
                Ok(encode_list(&head, &self.ifaddrs))
            }
            id::SET_LADDR_ADD | id::SET_LADDR_DEL | id::GET_LADDR_GETALL => self.laddr(request),
            id::SET_BLKLST_ADD | id::SET_BLKLST_DEL | id::SET_WHTLST_ADD | id::SET_WHTLST_DEL => {
                let entry = AclConf::decode(body).map_err(|_| ErrCode::INVAL)?;
                let black = matches!(request.id, id::SET_BLKLST_ADD | id::SET_BLKLST_DEL);
                let add = matches!(request.id, id::SET_BLKLST_ADD | id::SET_WHTLST_ADD);
                let list = if black {
                    &mut self.black
                } else {
                    &mut self.white
                };
                match (list.iter().position(|e| *e == entry), add) {
                    (None, true) => list.push(entry),
                    (Some(i), false) => drop(list.remove(i)),
                    (Some(_), true) => {}
                    (None, false) => return Err(ErrCode::NOTEXIST),
                }
                Ok(Vec::new())
            }
            id::GET_BLKLST_GETALL => Ok(encode_counted(&self.black)),
            id::GET_WHTLST_GETALL => Ok(encode_counted(&self.white)),
            id::GET_CONN_ALL | id::GET_CONN_SPECIFIED => self.conns(request),
            _ => Err(ErrCode::NOTSUPP),
        }
    }

    fn set_service(&mut self, request: &Request) -> Reply {
        let svc = Service::decode(&request.body).map_err(|_| ErrCode::INVAL)?;
        let found = self.find(&svc);
        let sched = svc.sched_name.text().into_owned();
        let known = SCHEDULERS.contains(&sched.as_str());
        match (request.id, found) {
            (id::SO_SET_DEL, None) | (id::SO_SET_EDIT, None) => return Err(ErrCode::INVAL),
            (id::SO_SET_DEL, Some(i)) => drop(self.services.remove(i)),
            (_, _) if !known => return Err(ErrCode::NOTEXIST),
            (id::SO_SET_EDIT, Some(i)) => self.services[i].service = svc,
            (_, Some(_)) => return Err(ErrCode::EXIST),
            (_, None) => self.services.push(Entry {
                service: svc,
                dests: Vec::new(),
                laddrs: Vec::new(),
            }),
        }
        Ok(Vec::new())
    }

    fn set_dest(&mut self, request: &Request) -> Reply {
        let both = ServiceDest::decode(&request.body).map_err(|_| ErrCode::INVAL)?;
        let i = self.find(&both.service).ok_or(ErrCode::INVAL)?;
        let new = both.dest;
        let dests = &mut self.services[i].dests;
        let found = dests
            .iter()
            .position(|d| d.af == new.af && d.port == new.port && d.addr.same(new.addr, new.af));
        let wrong = new.min_conn > new.max_conn;
        match (request.id, found) {
            (id::SO_SET_ADDDEST, _) if wrong => return Err(ErrCode::NOTSUPP),
            (id::SO_SET_ADDDEST, Some(_)) => return Err(ErrCode::EXIST),
            (id::SO_SET_ADDDEST, None) => dests.push(Dest {
                flags: dest_flag::AVAILABLE,
                ..new
            }),
            (id::SO_SET_EDITDEST, _) if wrong => return Err(ErrCode::INVAL),
            (_, None) => return Err(ErrCode::NOTEXIST),
            (id::SO_SET_EDITDEST, Some(d)) => {
                dests[d] = Dest {
                    flags: dest_flag::AVAILABLE,
                    stats: dests[d].stats,
                    ..new
                };
            }
            (_, Some(d)) => drop(dests.remove(d)),
        }
        Ok(Vec::new())
    }

    fn set_ifaddr(&mut self, request: &Request) -> Reply {
        let entry = IfAddrParam::decode(&request.body)
            .map_err(|_| ErrCode::INVAL)?
            .entry;
        if !self.devices.contains(&entry.ifname.text().into_owned()) {
            return Err(ErrCode::NOTEXIST);
        }
        let found = self
            .ifaddrs
            .iter()
            .position(|d| d.entry.addr.same(entry.addr, entry.af));
        match (request.id, found) {
            (id::SET_IFADDR_ADD, Some(_)) => return Err(ErrCode::EXIST),
            (id::SET_IFADDR_ADD, None) => {
                self.ifaddrs.push(IfAddrData {
                    entry,
                    ..IfAddrData::default()
                });
            }
            (_, None) => return Err(ErrCode::NOTEXIST),
            (_, Some(i)) => drop(self.ifaddrs.remove(i)),
        }
        Ok(Vec::new())
    }

    fn laddr(&mut self, request: &Request) -> Reply {
        let table = LaddrTable::decode(&request.body).map_err(|_| ErrCode::INVAL)?;
        let i = self.find(&table.service()).ok_or(ErrCode::NOSERV)?;
        let laddrs = &mut self.services[i].laddrs;
        if request.id == id::GET_LADDR_GETALL {
            let head = LaddrTable {
                nladdrs: i32::try_from(laddrs.len()).unwrap(),
                ..table
            };
            return Ok(encode_list(&head, laddrs));
        }
        if !self.devices.contains(&table.ifname.text().into_owned()) {
            return Err(ErrCode::NOTEXIST);
        }
        let found = laddrs
            .iter()
            .position(|l| l.addr.same(table.laddr, table.af_l));
        match (request.id, found) {
            (id::SET_LADDR_ADD, Some(_)) => return Err(ErrCode::EXIST),
            (id::SET_LADDR_ADD, None) => laddrs.push(LaddrEntry {
                af: table.af_l,
                addr: table.laddr,
                nport_conflict: 0,
                nconns: 7,
            }),
            (_, None) => return Err(ErrCode::NOTEXIST),
            (_, Some(n)) => drop(laddrs.remove(n)),
        }
        Ok(Vec::new())
    }

    fn conns(&mut self, request: &Request) -> Reply {
        let ask = ConnReq::decode(&request.body).map_err(|_| ErrCode::INVAL)?;
        if request.id == id::GET_CONN_SPECIFIED {
            let p: SockPair = ask.sockpair;
            let found: Vec<ConnEntry> = self
                .conns
                .iter()
                .filter(|c| c.cport == p.sport && c.caddr.same(p.sip, p.af))
                .copied()
                .collect();
            if found.is_empty() {
                return Err(ErrCode::NOTEXIST);
            }
            return Ok(encode_list(
                &ConnArray {
                    nconns: 1,
                    resl: 1,
                    curcid: 0,
                },
                &found,
            ));
        }
        // The cursor counts batches here; clients only hand it back.
        let part = if ask.flag & conn_get::MORE != 0 {
            ask.whence
        } else {
            0
        };
        let start = usize::try_from(part).unwrap() * ConnArray::BATCH;
        let list: Vec<ConnEntry> = self
            .conns
            .iter()
            .skip(start)
            .take(ConnArray::BATCH)
            .copied()
            .collect();
        let more = if list.len() == ConnArray::BATCH {
            conn_result::MORE
        } else {
            0
        };
        let head = ConnArray {
            nconns: u32::try_from(list.len()).unwrap(),
            resl: conn_result::OK | more,
            curcid: u8::try_from(part + 1).unwrap(),
        };
        Ok(encode_list(&head, &list))
    }
}

/// The stand-in, listening.
pub struct Daemon {
    dir: TempDir,
    state: Arc<Mutex<State>>,
}

impl Daemon {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("dpvs.ipc")).unwrap();
        let state = Arc::new(Mutex::new(State {
            // What the recorded machine says of itself.
            version: 0x01_0201,
            size: 4096,
            devices: vec!["dpdk0".to_owned(), "dpdk1".to_owned()],
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &shared);
            }
        });
        Self { dir, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("dpvs.ipc")
    }

    /// Runs a program of this package as `argv[0]`; with `names`, under these
    /// files as /etc/hosts and so on.
    pub fn run(&self, argv: &[String], stdin: &str, etc: Option<&str>) -> Output {
        let program = match argv[0].rsplit('/').next().unwrap() {
            "ipvsadm-save" => env!("CARGO_BIN_EXE_ipvsadm-save"),
            "ipvsadm-restore" => env!("CARGO_BIN_EXE_ipvsadm-restore"),
            _ => env!("CARGO_BIN_EXE_ipvsadm"),
        };
        let mut command = Command::new(match etc {
            Some(_) => "unshare",
            None => "bash",
        });
        let script = "exec -a \"$0\" \"$PROGRAM\" \"$@\"";
        match etc {
            Some(etc) => {
                let mounts = format!(
                    "for f in hosts services nsswitch.conf; do mount --bind {etc}/$f /etc/$f || exit 99; done; {script}"
                );
                command.args(["-m", "bash", "-c"]).arg(mounts);
            }
            None => {
                command.arg("-c").arg(script);
            }
        }
        let mut child = command
            .args(argv)
            .env("PROGRAM", program)
            .env("DPVS_IPC_FILE", self.socket())
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // The program may not want it.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        child.wait_with_output().unwrap()
    }

    /// Runs a command line without quoting; returns exit code, output, errors.
    pub fn sh(&self, line: &str) -> (i32, String, String) {
        self.sh_in(line, "")
    }

    pub fn sh_in(&self, line: &str, stdin: &str) -> (i32, String, String) {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        texts(&self.run(&argv, stdin, None))
    }

    /// Runs a command line that must succeed; returns its output.
    pub fn ok(&self, line: &str) -> String {
        let (code, out, err) = self.sh(line);
        assert_eq!((code, err.as_str()), (0, ""), "{line}");
        out
    }
}

pub fn texts(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    let mut decoder = RequestDecoder::new();
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(n) if n > 0 => match decoder.push(&buf[..n]) {
                Ok(None) => {}
                Ok(Some(request)) => {
                    let (code, body) = match state.lock().unwrap().answer(&request) {
                        Ok(body) => (ErrCode::OK, body),
                        Err(code) => (code, Vec::new()),
                    };
                    let _ = stream.write_all(&request.reply(code, &body));
                    return;
                }
                Err(_) => return,
            },
            _ => return,
        }
    }
}
