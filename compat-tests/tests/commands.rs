//! Random commands of four clients at once while requests flow: every answer is
//! the one that is due, every listing shows what was set, nobody outside notices
//! and the daemon does not grow.
//!
//! One of the clients removes everything now and then, in the middle of the others'
//! commands. When that happened between two of its own commands no client can know;
//! so each follows all that could be, and there must be something left that explains
//! every answer in order.
//!
//! `DPVS_COMMANDS` says how many commands there are in all, 100,000 if it does not:
//! ten seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, PoisonError, RwLock};
use std::time::Duration;

use compat_tests::lab::{Lab, Tally, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Error, Result, run};
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

/// What a command is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Add,
    Edit,
    Del,
    AddDest,
    EditDest,
    DelDest,
    Zero,
    FlushLaddrs,
    Service,
    /// Asks for so many servers.
    Dests(u32),
}

/// A command of a client.
struct Command {
    what: What,
    port: u16,
    sched: &'static str,
    server: (u8, u32),
}

/// What must come back.
enum Due {
    Code(ErrCode),
    Service(String, u32),
    Dests(Vec<(u8, u32)>),
}

type Answer = std::result::Result<Vec<u8>, CtlError>;

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

impl Command {
    /// One at random, for a client that has about this.
    fn random(dice: &mut Dice, model: &Model) -> Command {
        let port = 1000 + dice.below(SERVICES.into()) as u16;
        let count = model.get(&port).map_or(0, |(_, list)| list.len() as u32);
        Command {
            port,
            sched: ["rr", "wrr", "wlc"][dice.below(3) as usize],
            server: (dice.below(SERVERS.into()) as u8, dice.below(100) as u32),
            what: match dice.below(12) {
                0 | 1 => What::Add,
                2 => What::Edit,
                3 => What::Del,
                4..=6 => What::AddDest,
                7 => What::EditDest,
                8 => What::DelDest,
                9 if dice.below(2) == 0 => What::Zero,
                9 => What::FlushLaddrs,
                10 => What::Service,
                _ => What::Dests(count),
            },
        }
    }

    fn request(&self, client: u8) -> (u32, Kind, Vec<u8>) {
        let s = service(client, self.port, self.sched);
        let (n, weight) = self.server;
        let both = || {
            let dest = dest(n, weight);
            ServiceDest { service: s, dest }.encode()
        };
        let set = |id, body| (id, Kind::Set, body);
        match self.what {
            What::Add => set(id::SO_SET_ADD, s.encode()),
            What::Edit => set(id::SO_SET_EDIT, s.encode()),
            What::Del => set(id::SO_SET_DEL, s.encode()),
            What::AddDest => set(id::SO_SET_ADDDEST, both()),
            What::EditDest => set(id::SO_SET_EDITDEST, both()),
            What::DelDest => set(id::SO_SET_DELDEST, both()),
            What::Zero => set(id::SO_SET_ZERO, s.encode()),
            What::FlushLaddrs => set(id::SET_LADDR_FLUSH, LaddrTable::of(&s).encode()),
            What::Service => (id::SO_GET_SERVICE, Kind::Get, s.encode()),
            What::Dests(n) => (id::SO_GET_DESTS, Kind::Get, s.dest_table(n, 0).encode()),
        }
    }

    /// Carries it out on the model; what the daemon has to answer.
    fn apply(&self, model: &mut Model) -> Due {
        let known = model.contains_key(&self.port);
        let (n, weight) = self.server;
        let list = model.get_mut(&self.port).map(|(_, servers)| servers);
        let at = list
            .as_ref()
            .and_then(|l| l.iter().position(|(m, _)| *m == n));
        // What is missing with its service has another code than what is missing.
        let missing = if known {
            ErrCode::NOTEXIST
        } else {
            ErrCode::INVAL
        };
        match self.what {
            What::Add => {
                if !known {
                    model.insert(self.port, (self.sched.into(), Vec::new()));
                }
                code(!known, ErrCode::EXIST)
            }
            What::Edit => {
                if let Some((old, _)) = model.get_mut(&self.port) {
                    *old = self.sched.into();
                }
                code(known, ErrCode::INVAL)
            }
            What::Del => {
                model.remove(&self.port);
                code(known, ErrCode::INVAL)
            }
            What::AddDest => match (list, at) {
                (None, _) => Due::Code(ErrCode::INVAL),
                (_, Some(_)) => Due::Code(ErrCode::EXIST),
                (Some(list), None) => {
                    list.insert(0, (n, weight));
                    Due::Code(ErrCode::OK)
                }
            },
            What::EditDest => {
                if let (Some(list), Some(at)) = (list, at) {
                    list[at].1 = weight;
                }
                code(at.is_some(), missing)
            }
            What::DelDest => {
                if let (Some(list), Some(at)) = (list, at) {
                    list.remove(at);
                }
                code(at.is_some(), missing)
            }
            What::Zero => code(known, ErrCode::INVAL),
            What::FlushLaddrs => code(known, ErrCode::NOSERV),
            What::Service => match model.get(&self.port) {
                Some((sched, list)) => Due::Service(sched.clone(), list.len() as u32),
                None => Due::Code(ErrCode::MSG_FAIL),
            },
            What::Dests(count) => match list {
                Some(list) if list.len() as u32 == count => Due::Dests(list.clone()),
                _ => Due::Code(ErrCode::MSG_FAIL),
            },
        }
    }
}

/// Whether an answer is the one that is due.
fn fits(due: &Due, answer: &Answer) -> bool {
    match (due, answer) {
        (Due::Code(code), Err(CtlError::Server { code: got, .. })) => code == got,
        (Due::Code(code), Ok(_)) => *code == ErrCode::OK,
        (Due::Service(sched, servers), Ok(body)) => Service::decode(body)
            .is_ok_and(|s| s.sched_name.text() == *sched && s.num_dests == *servers),
        (Due::Dests(due), Ok(body)) => {
            let count = |t: &DestTable| t.num_dests as usize;
            decode_list::<DestTable, Dest>(body, Tail::Exact, count).is_ok_and(|(_, list)| {
                let got = list.iter().filter_map(|d| match d.addr.to_ip(d.af)? {
                    std::net::IpAddr::V4(a) => Some((a.octets()[3] - 100, d.weight)),
                    std::net::IpAddr::V6(_) => None,
                });
                got.eq(due.iter().copied())
            })
        }
        _ => false,
    }
}

/// What all clients know of removals of everything, by number: those that began,
/// and those that were answered.
#[derive(Default)]
struct Flushes {
    begun: AtomicU64,
    done: AtomicU64,
}

/// All that a client's services may be: how many flushes it has seen, and what was
/// set since.
struct Beliefs(BTreeSet<(u64, Model)>);

impl Beliefs {
    /// So many flushes are over: whoever has not seen them has seen them now.
    fn seen(&mut self, done: u64) {
        let catch_up = |(seen, model)| {
            if seen < done {
                (done, Model::new())
            } else {
                (seen, model)
            }
        };
        self.0 = std::mem::take(&mut self.0)
            .into_iter()
            .map(catch_up)
            .collect();
    }

    /// A command was answered, when there may have been so many flushes.
    fn answered(&mut self, command: &Command, answer: &Answer, begun: u64) -> Result<()> {
        let mut left = BTreeSet::new();
        for (seen, model) in std::mem::take(&mut self.0) {
            let flushed = (seen + 1..=begun).map(|n| (n, Model::new()));
            for (seen, mut model) in flushed.chain([(seen, model)]) {
                if fits(&command.apply(&mut model), answer) {
                    left.insert((seen, model));
                }
            }
        }
        if left.is_empty() {
            let id = command.request(0).0;
            return Err(Error::new(format!(
                "{answer:?} to {} about port {}, which nothing explains",
                id::describe(id),
                command.port
            )));
        }
        self.0 = left;
        Ok(())
    }
}

/// What the clients share.
struct Game<'a> {
    socket: &'a Path,
    commands: usize,
    flushes: &'a Flushes,
    /// Removes everything and brings back what is not the clients'.
    flush: &'a (dyn Fn() -> Result<()> + Sync),
    all_done: &'a Barrier,
}

/// The commands of one client, in bursts over one connection or each over one of
/// its own.
fn play(game: &Game<'_>, client: u8, round: u64) -> Result<()> {
    let mut dice = Dice(u64::from(client) << 32 | round);
    let mut beliefs = Beliefs(BTreeSet::from([(
        game.flushes.done.load(Ordering::SeqCst),
        Model::new(),
    )]));
    let lone = Client::at(game.socket);
    let mut session: Session = lone.session();
    let mut burst = |beliefs: &mut Beliefs, commands: Vec<Command>, alone: bool| -> Result<()> {
        beliefs.seen(game.flushes.done.load(Ordering::SeqCst));
        let requests = commands.iter().map(|c| c.request(client));
        let answers: Vec<Answer> = if alone {
            requests
                .map(|(id, kind, body)| match kind {
                    Kind::Get => lone.get(id, &body),
                    Kind::Set => lone.set(id, &body).map(|()| Vec::new()),
                })
                .collect()
        } else {
            for (id, kind, body) in requests {
                session.send(id, kind, &body);
            }
            commands.iter().map(|_| session.recv()).collect()
        };
        let begun = game.flushes.begun.load(Ordering::SeqCst);
        for (command, answer) in commands.iter().zip(&answers) {
            beliefs.answered(command, answer, begun)?;
        }
        Ok(())
    };
    let mut all = || -> Result<()> {
        let mut left = game.commands / usize::from(CLIENTS);
        while left > 0 {
            let size = (1 + dice.below(60) as usize).min(left);
            left -= size;
            // About what it has; carried on as if nobody else were there.
            let mut guess = beliefs.0.first().map_or(Model::new(), |(_, m)| m.clone());
            let commands = (0..size).map(|_| {
                let command = Command::random(&mut dice, &guess);
                let _ = command.apply(&mut guess);
                command
            });
            let commands = commands.collect();
            burst(&mut beliefs, commands, dice.below(4) == 0)?;
            if client == 0 && dice.below(20) == 0 {
                (game.flush)()?;
            }
        }
        Ok(())
    };
    let played = all();
    // From here on nobody removes what is another's.
    game.all_done.wait();
    played?;
    // Everything once more, then leave nothing behind.
    for port in 1000..1000 + SERVICES {
        let command = |what| Command {
            what,
            port,
            sched: "rr",
            server: (0, 0),
        };
        burst(&mut beliefs, vec![command(What::Service)], true)?;
        let count = |(_, model): &(u64, Model)| model.get(&port).map_or(0, |(_, l)| l.len());
        let count = beliefs.0.first().map_or(0, count) as u32;
        let rest = [What::Dests(count), What::Del].map(command);
        burst(&mut beliefs, rest.into(), false)?;
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
fn all(game: &Game<'_>, round: u64) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|c| scope.spawn(move || play(game, c, round)))
            .collect();
        let results: Vec<Result<()>> = clients
            .into_iter()
            .map(|c| {
                c.join()
                    .unwrap_or_else(|_| Err(Error::new("a client panicked")))
            })
            .collect();
        results.into_iter().collect()
    })
}

/// A download over one connection that takes its time.
fn download(lab: &Lab) -> Result<run::Output> {
    let mut command = lab.client.command("curl");
    command.args(["-sS", "--fail", "--max-time", "60", "--noproxy", "*"]);
    command.args(["--limit-rate", "400k", "-o", "/dev/null"]);
    run::run_with(
        command.arg(url(addr::VIP4, "/big")),
        b"",
        Duration::from_secs(70),
    )
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
        let flushes = Flushes::default();
        let lab: &Lab = lab;
        let own = lab.ipvsadm(&["-Sn"])?.success()?;
        assert!(own.contains(addr::VIP4), "{own}");
        // New connections wait while their service is gone; old ones go on.
        let gate = RwLock::new(());
        let flush = || -> Result<()> {
            let _alone = gate.write().unwrap_or_else(PoisonError::into_inner);
            flushes.begun.fetch_add(1, Ordering::SeqCst);
            Client::at(&socket).flush_services().what(|| "flush")?;
            flushes.done.fetch_add(1, Ordering::SeqCst);
            let mut back = lab.tool("ipvsadm")?;
            run::run_with(back.arg("-R"), own.as_bytes(), run::LIMIT)?.success()?;
            Ok(())
        };
        let all_done = Barrier::new(CLIENTS.into());
        let game = Game {
            socket: &socket,
            commands: commands / 4,
            flushes: &flushes,
            flush: &flush,
            all_done: &all_done,
        };
        let (tally, sizes, over) = std::thread::scope(|scope| -> Result<_> {
            let requests = scope.spawn(|| -> Result<Tally> {
                let mut sum = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let _open = gate.read().unwrap_or_else(PoisonError::into_inner);
                    let some = lab.requests(&url(addr::VIP4, "/"), 1)?;
                    sum.by_server[0] += some.by_server[0];
                    sum.by_server[1] += some.by_server[1];
                    sum.failures.extend(some.failures);
                }
                Ok(sum)
            });
            // Downloads that everything was removed under, and how they ended.
            let downloads = scope.spawn(|| -> Result<usize> {
                let mut over = 0;
                while !stop.load(Ordering::Relaxed) {
                    let open = gate.read().unwrap_or_else(PoisonError::into_inner);
                    let before = flushes.begun.load(Ordering::SeqCst);
                    let ended = std::thread::scope(|scope| {
                        let running = scope.spawn(|| download(lab));
                        std::thread::sleep(Duration::from_millis(300));
                        drop(open);
                        running
                            .join()
                            .unwrap_or_else(|_| Err(Error::new("a download panicked")))
                    });
                    ended?.success()?;
                    over += usize::from(flushes.begun.load(Ordering::SeqCst) > before);
                }
                Ok(over)
            });
            // The first quarter makes room that is used again.
            let played = all(&game, 1).and_then(|()| {
                let before = resident(pid)?;
                for round in 2..5 {
                    all(&game, round)?;
                }
                Ok([before, resident(pid)?])
            });
            stop.store(true, Ordering::Relaxed);
            let lost = |_| Err(Error::new("the requests panicked"));
            let tally = requests.join().unwrap_or_else(lost)?;
            let lost = |_| Err(Error::new("the downloads panicked"));
            let over = downloads.join().unwrap_or_else(lost)?;
            Ok((tally, played?, over))
        })?;
        let [before, after] = sizes;
        eprintln!(
            "{commands} commands, {} flushes, {} requests, {over} downloads over a flush, \
             {before} KiB before, {after} KiB after",
            flushes.done.load(Ordering::SeqCst),
            tally.total()
        );
        assert_eq!(tally.failures, Vec::<String>::new());
        assert!(tally.total() >= 10);
        if commands >= 20_000 {
            assert!(over > 0, "no download while everything was removed");
        }
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
