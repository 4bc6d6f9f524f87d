//! Random commands of four clients at once while requests flow: every answer is
//! the one that is due, every listing shows what was set, nobody outside notices
//! and the daemon does not grow.
//!
//! `DPVS_COMMANDS` says how many commands there are in all, 100,000 if it does not:
//! ten seconds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use compat_tests::lab::{Lab, Tally, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Error, Result};
use dpvs_ctl::msg::{Dest, DestTable, LaddrTable, Service, ServiceDest};
use dpvs_ctl::wire::{Tail, decode_list};
use dpvs_ctl::{Af, Be16, Client, CtlError, ErrCode, Ip16, Kind, Name, Session, Wire, id};

const CLIENTS: u8 = 4;
/// Services a client plays with, and servers each of them may have.
const SERVICES: u16 = 40;
const SERVERS: u8 = 6;

/// Small and repeatable.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// What a client has set: by port, scheduler and servers (number and weight),
/// newest first.
type Model = BTreeMap<u16, (String, Vec<(u8, u32)>)>;

/// A request and what must come back.
struct Command {
    id: u32,
    kind: Kind,
    body: Vec<u8>,
    due: Due,
}

enum Due {
    Code(ErrCode),
    Service(String, u32),
    Dests(Vec<(u8, u32)>),
}

fn service(client: u8, port: u16, sched: &str) -> Service {
    Service {
        sched_name: Name::truncated(sched),
        ..Service::at(6, SocketAddr::from(([198, 51, 100, client + 1], port)))
    }
}

fn dest(n: u8, weight: u32) -> Dest {
    let mut dest = Dest {
        af: Af::INET,
        addr: Ip16::from_ip([10, 0, 1, 100 + n].into()),
        port: Be16::new(80),
        weight,
        ..Dest::default()
    };
    dest.set_fwd_mode(5);
    dest
}

fn code(ok: bool, or: ErrCode) -> Due {
    Due::Code(if ok { ErrCode::OK } else { or })
}

/// One command at random; the model is as if it had been carried out.
fn command(client: u8, dice: &mut Dice, model: &mut Model) -> Command {
    let port = 1000 + dice.below(SERVICES.into()) as u16;
    let sched = ["rr", "wrr", "wlc"][dice.below(3) as usize];
    let n = dice.below(SERVERS.into()) as u8;
    let weight = dice.below(100) as u32;
    let s = service(client, port, sched);
    let both = || {
        ServiceDest {
            service: s,
            dest: dest(n, weight),
        }
        .encode()
    };
    let known = model.contains_key(&port);
    let servers = model.get_mut(&port).map(|(_, servers)| servers);
    let at = servers
        .as_ref()
        .and_then(|l| l.iter().position(|(m, _)| *m == n));
    let set = |id, body, due| Command {
        id,
        kind: Kind::Set,
        body,
        due,
    };
    let get = |id, body, due| Command {
        id,
        kind: Kind::Get,
        body,
        due,
    };
    // What is missing with its service has another code than what is missing.
    let missing = if known {
        ErrCode::NOTEXIST
    } else {
        ErrCode::INVAL
    };
    match dice.below(12) {
        0 | 1 => {
            if !known {
                model.insert(port, (sched.into(), Vec::new()));
            }
            set(id::SO_SET_ADD, s.encode(), code(!known, ErrCode::EXIST))
        }
        2 => {
            if let Some((old, _)) = model.get_mut(&port) {
                *old = sched.into();
            }
            set(id::SO_SET_EDIT, s.encode(), code(known, ErrCode::INVAL))
        }
        3 => {
            model.remove(&port);
            set(id::SO_SET_DEL, s.encode(), code(known, ErrCode::INVAL))
        }
        4..=6 => {
            let due = match (&servers, at) {
                (None, _) => Due::Code(ErrCode::INVAL),
                (_, Some(_)) => Due::Code(ErrCode::EXIST),
                _ => Due::Code(ErrCode::OK),
            };
            if let (Some(list), None) = (servers, at) {
                list.insert(0, (n, weight));
            }
            set(id::SO_SET_ADDDEST, both(), due)
        }
        7 => {
            if let (Some(list), Some(at)) = (servers, at) {
                list[at].1 = weight;
            }
            set(id::SO_SET_EDITDEST, both(), code(at.is_some(), missing))
        }
        8 => {
            if let (Some(list), Some(at)) = (servers, at) {
                list.remove(at);
            }
            set(id::SO_SET_DELDEST, both(), code(at.is_some(), missing))
        }
        9 => match dice.below(2) {
            0 => set(id::SO_SET_ZERO, s.encode(), code(known, ErrCode::INVAL)),
            _ => {
                let body = LaddrTable::of(&s).encode();
                set(id::SET_LADDR_FLUSH, body, code(known, ErrCode::NOSERV))
            }
        },
        10 => {
            let due = match model.get(&port) {
                Some((sched, servers)) => Due::Service(sched.clone(), servers.len() as u32),
                None => Due::Code(ErrCode::MSG_FAIL),
            };
            get(id::SO_GET_SERVICE, s.encode(), due)
        }
        _ => {
            let list = servers.cloned();
            let body = s.dest_table(list.as_ref().map_or(0, |l| l.len() as u32), 0);
            let due = list.map_or(Due::Code(ErrCode::MSG_FAIL), Due::Dests);
            get(id::SO_GET_DESTS, body.encode(), due)
        }
    }
}

/// Whether an answer is the one that is due.
fn check(due: Due, answer: std::result::Result<Vec<u8>, CtlError>) -> Result<()> {
    let wrong = |what: String| Err(Error::new(what));
    let body = match (&due, answer) {
        (Due::Code(code), Err(CtlError::Server { code: got, .. })) if *code == got => return Ok(()),
        (Due::Code(ErrCode::OK), Ok(_)) => return Ok(()),
        (Due::Code(code), other) => return wrong(format!("{other:?} where {code:?} was due")),
        (_, Ok(body)) => body,
        (_, Err(e)) => return wrong(format!("{e} where a listing was due")),
    };
    match due {
        Due::Code(_) => Ok(()),
        Due::Service(sched, servers) => {
            let s = Service::decode(&body).what(|| "service")?;
            if s.sched_name.text() != sched || s.num_dests != servers {
                return wrong(format!(
                    "{s:?} where {sched} with {servers} servers was due"
                ));
            }
            Ok(())
        }
        Due::Dests(due) => {
            let count = |t: &DestTable| t.num_dests as usize;
            let (_, list) =
                decode_list::<DestTable, Dest>(&body, Tail::Exact, count).what(|| "servers")?;
            let got: Vec<(u8, u32)> = list
                .iter()
                .filter_map(|d| match d.addr.to_ip(d.af)? {
                    std::net::IpAddr::V4(a) => Some((a.octets()[3] - 100, d.weight)),
                    std::net::IpAddr::V6(_) => None,
                })
                .collect();
            if got != due {
                return wrong(format!("{got:?} where {due:?} was due"));
            }
            Ok(())
        }
    }
}

/// `n` commands of one client, in bursts over one connection or each over one of
/// its own.
fn play(socket: &Path, client: u8, n: usize, round: u64) -> Result<()> {
    let mut dice = Dice(u64::from(client) << 32 | round);
    let mut model = Model::new();
    let lone = Client::at(socket);
    let mut session: Session = lone.session();
    let mut left = n;
    while left > 0 {
        let burst = (1 + dice.below(60) as usize).min(left);
        left -= burst;
        if dice.below(4) == 0 {
            for _ in 0..burst {
                let c = command(client, &mut dice, &mut model);
                let answer = match c.kind {
                    Kind::Get => lone.get(c.id, &c.body),
                    Kind::Set => lone.set(c.id, &c.body).map(|()| Vec::new()),
                };
                check(c.due, answer)?;
            }
            continue;
        }
        let mut due = Vec::new();
        for _ in 0..burst {
            let c = command(client, &mut dice, &mut model);
            session.send(c.id, c.kind, &c.body);
            due.push(c.due);
        }
        for due in due {
            check(due, session.recv())?;
        }
    }
    // Everything once more, then leave nothing behind.
    for (port, (sched, servers)) in model {
        let s = service(client, port, &sched);
        let body = s.dest_table(servers.len() as u32, 0).encode();
        check(
            Due::Dests(servers),
            session.call(id::SO_GET_DESTS, Kind::Get, &body),
        )?;
        let gone = session.call(id::SO_SET_DEL, Kind::Set, &s.encode());
        check(Due::Code(ErrCode::OK), gone)?;
    }
    Ok(())
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).what(|| path.clone())?;
    text.lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| Error::new(format!("{path}: no VmRSS")))
}

/// All clients at once.
fn all(socket: &Path, commands: usize, round: u64) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|c| scope.spawn(move || play(socket, c, commands / usize::from(CLIENTS), round)))
            .collect();
        clients.into_iter().try_for_each(|c| {
            c.join()
                .unwrap_or_else(|_| Err(Error::new("a client panicked")))
        })
    })
}

#[test]
fn random_commands_of_four_clients_while_requests_flow() -> Result<()> {
    if !root_or_skip("random_commands_of_four_clients_while_requests_flow")? {
        return Ok(());
    }
    let commands = match std::env::var("DPVS_COMMANDS") {
        Ok(text) => text.parse().what(|| "DPVS_COMMANDS")?,
        Err(_) => 100_000,
    };
    let mut lab = Lab::for_test("commands")?;
    lab.with_logs(|lab| {
        let socket = lab.file("dpvs.ipc");
        let pid = lab.dpvs.as_ref().map_or(0, |p| p.pid());
        let stop = AtomicBool::new(false);
        let lab: &Lab = lab;
        let (tally, sizes) = std::thread::scope(|scope| -> Result<(Tally, [u64; 2])> {
            let requests = scope.spawn(|| -> Result<Tally> {
                let mut sum = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let some = lab.requests(&url(addr::VIP4, "/"), 10)?;
                    sum.by_server[0] += some.by_server[0];
                    sum.by_server[1] += some.by_server[1];
                    sum.failures.extend(some.failures);
                }
                Ok(sum)
            });
            // The first quarter makes room that is used again.
            let played = all(&socket, commands / 4, 1).and_then(|()| {
                let before = resident(pid)?;
                for round in 2..5 {
                    all(&socket, commands / 4, round)?;
                }
                Ok([before, resident(pid)?])
            });
            stop.store(true, Ordering::Relaxed);
            let tally = requests
                .join()
                .unwrap_or_else(|_| Err(Error::new("the requests panicked")))?;
            Ok((tally, played?))
        })?;
        let [before, after] = sizes;
        eprintln!(
            "{commands} commands, {} requests, {before} KiB before, {after} KiB after",
            tally.total()
        );
        assert_eq!(tally.failures, Vec::<String>::new());
        assert!(tally.total() >= 10);
        assert!(
            after < before + 3072,
            "it grew from {before} to {after} KiB"
        );
        // What was there before is untouched.
        assert_eq!(lab.requests(&url(addr::VIP4, "/"), 4)?.failures.len(), 0);
        let left = lab.ipvsadm(&["-Ln"])?.success()?;
        assert!(!left.contains("198.51.100."), "{left}");
        Ok(())
    })
}
