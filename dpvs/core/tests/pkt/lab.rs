//! The director of a packet script: its configuration and its workers.
//!
//! Does what the master does: keeps the model the lines describe, publishes it
//! as snapshots (parts that did not change stay the same object), names removed
//! servers, tells the other workers of a neighbour one has learned. Hands a frame
//! over to a worker only when the script says so.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use dpvs_core::frame::{Frame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::inet::tunnel::{self as device, Kind, Options, Tunnels};
use dpvs_core::ipset::IpSet;
use dpvs_core::matching::{Matching, Side};
use dpvs_core::message::{FromWorker, PeerMessage, Query, Reply, ToWorker};
use dpvs_core::proto::tcp::State;
use dpvs_core::sched::{Table, TableConf};
use dpvs_core::service::{
    Dest, DestId, FwdMode, HashTarget, Laddr, Persistence, Policy, SchedKind, Service, ServiceId,
    ServiceKey, Tunnel, TunnelCsum, TunnelKind,
};
use dpvs_core::snapshot::{Local, Port, PortAddr, Settings, Snapshot, SynproxySettings, Tag};
use dpvs_core::stats::Reason;
use dpvs_core::worker::{Worker, WorkerConf};

use dpvs_core::xmit::proxy::Proxy;
use dpvs_core::xmit::uoa::UoaMode;

use super::books::{Books, Tracked};
use super::packet::mac;
use super::tc::Scheds;
use super::vars::Vars;

/// What a worker gave away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Out(u16),
    Host(u16),
    Hand(u8, u16),
}

/// What was done to a director, for doing it again (by the fuzz target `modes`).
#[allow(dead_code)]
#[derive(Clone, Debug)]
pub enum Step {
    /// A line of configuration.
    Line(String),
    /// A burst into a worker by a port.
    In(u8, u16, Vec<Vec<u8>>),
    /// Microseconds.
    Wait(u64),
}

/// All of a frame.
pub(super) fn whole(frame: &Tracked) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_len()];
    frame.read(0, &mut bytes);
    bytes
}

/// What comes out of one worker.
#[derive(Default)]
pub struct Sink {
    pub out: VecDeque<(Way, Vec<u8>)>,
    pub events: Vec<FromWorker>,
    pub told: VecDeque<(WorkerId, PeerMessage)>,
    /// Workers do not hear each other.
    pub deaf: bool,
    pub empty: bool,
    /// Sequence numbers of tunnels: next to send, next expected.
    seqs: HashMap<u16, (u32, u32)>,
    /// What went in and out of each worker.
    pub books: Books,
}

impl Io for Sink {
    type Frame = Tracked;
    fn alloc(&mut self) -> Option<Tracked> {
        (!self.empty).then(|| self.books.frame(&[]))
    }
    fn next_seq(&mut self, tunnel: PortId) -> u32 {
        let seqs = self.seqs.entry(tunnel.0).or_default();
        seqs.0 += 1;
        seqs.0 - 1
    }
    fn in_order(&mut self, tunnel: PortId, seq: u32) -> bool {
        let seqs = self.seqs.entry(tunnel.0).or_default();
        let good = seq >= seqs.1;
        if good {
            seqs.1 = seq + 1;
        }
        good
    }
    fn send(&mut self, port: PortId, frame: Tracked) {
        self.books.now().sent += 1;
        self.out.push_back((Way::Out(port.0), whole(&frame)));
    }
    fn to_host(&mut self, port: PortId, frame: Tracked) {
        self.books.now().host += 1;
        self.out.push_back((Way::Host(port.0), whole(&frame)));
    }
    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: Tracked) {
        self.books.now().handed += 1;
        self.out
            .push_back((Way::Hand(worker.0, port.0), whole(&frame)));
    }
    fn tell(&mut self, worker: WorkerId, word: PeerMessage) -> bool {
        if !self.deaf {
            self.told.push_back((worker, word));
        }
        true
    }
    fn report(&mut self, event: FromWorker) {
        self.events.push(event);
    }
}

/// The director.
pub struct Lab {
    pub workers: Vec<Worker<Tracked>>,
    pub sink: Sink,
    pub now: Now,
    /// Servers that were reported unused, in order.
    pub drained: Vec<String>,
    /// The same by number, one entry for each worker.
    pub left: Vec<DestId>,
    /// Services that got the SYN proxy (or no longer have it), in order.
    pub floods: Vec<bool>,
    /// What the passive check was told: up or down.
    pub reported: Vec<(DestId, bool)>,
    /// Own addresses that somebody else was heard to have, in order.
    pub duplicates: Vec<IpAddr>,
    /// What is done is written down here.
    pub log: Option<Vec<Step>>,
    conns: usize,
    count: u8,
    pub snap: Snapshot,
    pub(super) sets: Vec<(String, IpSet)>,
    pub(super) limits: u64,
    pub(super) scheds: Scheds,
    routes: Vec<Route>,
    services: Vec<Service>,
    names: HashMap<DestId, String>,
    removed: Vec<DestId>,
    ids: (u32, u32, u64),
    dirty: bool,
}

fn on(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither on nor off")),
    }
}

fn proxy(text: &str) -> Result<Proxy, String> {
    let number = match text {
        "v1" => 1,
        "v2" => 2,
        "v1-insecure" => 0x11,
        "v2-insecure" => 0x12,
        _ => 0,
    };
    Proxy::from_number(number).ok_or_else(|| format!("`{text}` is no PROXY protocol"))
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let bad = || format!("`{text}` is no prefix");
    let (addr, plen) = text.split_once('/').ok_or_else(bad)?;
    Ok((
        addr.parse().map_err(|_| bad())?,
        plen.parse().map_err(|_| bad())?,
    ))
}

/// What a service without an address wants of a packet.
fn matching(words: &[&str]) -> Result<Matching, String> {
    fn range<T: FromStr>(text: &str) -> Result<RangeInclusive<T>, String> {
        let (a, b) = text.split_once('-').unwrap_or((text, text));
        let value = |t: &str| t.parse().map_err(|_| format!("`{t}` is no bound"));
        Ok(value(a)?..=value(b)?)
    }
    let side = |addrs, ports| -> Result<Side, String> {
        Ok(Side {
            addrs: option(words, addrs).map(range).transpose()?,
            ports: option(words, ports).map(range).transpose()?,
        })
    };
    let port = |name| -> Result<Option<PortId>, String> {
        let number = option(words, name).map(|n| n.parse().map(PortId));
        number
            .transpose()
            .map_err(|_| format!("no device of {name}"))
    };
    Ok(Matching {
        src: side("src", "sports")?,
        dst: side("dst", "dports")?,
        iif: port("iif")?,
        oif: port("oif")?,
    })
}

/// Words behind fixed ones, as `name value` or a bare name.
pub(super) fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let i = words.iter().position(|w| *w == name)?;
    Some(words.get(i + 1).copied().unwrap_or(""))
}

impl Lab {
    /// Two ports: 0 outside (192.0.2.1/24, 2001:db8:1::1/64, VIPs .10 and ::10),
    /// 1 inside (10.0.1.1/24, 2001:db8:2::1/64, local addresses .200 and ::200).
    pub fn new() -> Self {
        let port = |name: &str| Port {
            name: name.into(),
            mac: mac(name).unwrap_or_default(),
            mtu: 1500,
            has_host: true,
            ..Port::default()
        };
        let mut lab = Self {
            workers: Vec::new(),
            sink: Sink::default(),
            now: Now(1_000_000),
            drained: Vec::new(),
            left: Vec::new(),
            floods: Vec::new(),
            reported: Vec::new(),
            duplicates: Vec::new(),
            log: None,
            conns: 10_000,
            count: 1,
            snap: Snapshot {
                ports: vec![port("dpdk0"), port("dpdk1")].into(),
                ..Snapshot::default()
            },
            sets: Vec::new(),
            limits: 0,
            scheds: Scheds::default(),
            routes: Vec::new(),
            services: Vec::new(),
            names: HashMap::new(),
            removed: Vec::new(),
            ids: (0, 0, 0),
            dirty: true,
        };
        for line in [
            "addr 0 192.0.2.1/24",
            "addr 0 192.0.2.10/32",
            "addr 0 2001:db8:1::1/64",
            "addr 0 2001:db8:1::10/128",
            "addr 1 10.0.1.1/24",
            "addr 1 10.0.1.200/32 sapool",
            "addr 1 2001:db8:2::1/64",
            "addr 1 2001:db8:2::200/128 sapool",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(lab.config(&words, &Vars::default()), Ok(true), "{line}");
        }
        lab
    }

    /// Makes the workers if that has not happened, and publishes what changed.
    pub fn publish(&mut self) {
        if self.workers.is_empty() {
            for id in 0..self.count {
                let conf = WorkerConf {
                    id: WorkerId(id),
                    workers: self.count,
                    conns: self.conns,
                    seed: [11, 22, 33, 44],
                };
                self.workers.push(Worker::new(conf, self.now));
            }
        }
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let first = self.snap.epoch == 0;
        self.snap.epoch += 1;
        let snapshot = Arc::new(self.snap.clone());
        let removed = std::mem::take(&mut self.removed);
        for worker in &mut self.workers {
            let message = ToWorker::Install {
                snapshot: snapshot.clone(),
                removed: removed.clone(),
            };
            self.sink.books.open(worker.id());
            worker.handle(message, self.now, &mut self.sink);
        }
        self.events();
        if first {
            // The servers of the lab are known from the start.
            for host in 11..=19 {
                for addr in [format!("10.0.1.{host}"), format!("2001:db8:2::{host}")] {
                    if let (Ok(addr), Ok(mac)) = (addr.parse(), mac("rs")) {
                        self.tell(|| ToWorker::NeighAdd {
                            port: PortId(1),
                            addr,
                            mac,
                        });
                    }
                }
            }
        }
    }

    /// What is published is not what was.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Sends a message to every worker.
    pub fn tell(&mut self, message: impl Fn() -> ToWorker) {
        for worker in &mut self.workers {
            self.sink.books.open(worker.id());
            worker.handle(message(), self.now, &mut self.sink);
        }
        self.events();
    }

    /// Carries what the workers said, to each other and to the master.
    pub fn events(&mut self) {
        while let Some((to, word)) = self.sink.told.pop_front() {
            if let Some(worker) = self.workers.get_mut(usize::from(to.0)) {
                self.sink.books.open(to);
                worker.handle(ToWorker::Peer(word), self.now, &mut self.sink);
            }
        }
        for event in std::mem::take(&mut self.sink.events) {
            match event {
                FromWorker::DestDrained { dest, .. } => {
                    self.left.push(dest);
                    if self.left.iter().filter(|d| **d == dest).count() == self.workers.len() {
                        self.snap.services.drained(dest);
                    }
                    let name = self.names.get(&dest);
                    self.drained
                        .push(name.map_or("unknown".into(), String::clone));
                }
                FromWorker::NeighLearned {
                    worker,
                    port,
                    addr,
                    mac,
                } => {
                    for other in self.workers.iter_mut().filter(|w| w.id() != worker) {
                        let message = ToWorker::NeighLearn { port, addr, mac };
                        self.sink.books.open(other.id());
                        other.handle(message, self.now, &mut self.sink);
                    }
                }
                FromWorker::SynFlood { rate, .. } => self.floods.push(rate.is_some()),
                FromWorker::DestDown { dest, .. } => self.reported.push((dest, false)),
                FromWorker::DestUp { dest, .. } => self.reported.push((dest, true)),
                FromWorker::Duplicate { addr, .. } => self.duplicates.push(addr),
                FromWorker::Lldp { .. }
                | FromWorker::Installed { .. }
                | FromWorker::Spent { .. }
                | FromWorker::Reply { .. } => {}
            }
        }
    }

    /// One burst into a worker.
    pub fn input(&mut self, worker: u8, port: u16, frames: &[Vec<u8>]) -> Result<(), String> {
        if let Some(log) = &mut self.log {
            log.push(Step::In(worker, port, frames.to_vec()));
        }
        let at = usize::from(worker);
        self.workers.get(at).ok_or("no such worker")?;
        let mut burst = empty_burst();
        self.sink.books.open(self.workers[at].id());
        self.sink.books.now().received += frames.len() as u64;
        for (slot, bytes) in burst.iter_mut().zip(frames) {
            *slot = Some(self.sink.books.frame(bytes));
        }
        let (port, mut n, now) = (PortId(port), frames.len(), self.now);
        let since = self.sink.out.len();
        if self.workers[at].has_tc() {
            n = self.schedule_in(at, port, &mut burst, n);
        }
        self.workers[at].process(port, &mut burst, n, now, &mut self.sink);
        assert!(burst.iter().all(Option::is_none), "a burst is taken whole");
        self.schedule_out(at, Some(port), since);
        self.events();
        Ok(())
    }

    /// A frame that was handed over reaches its worker.
    pub fn handed(&mut self, worker: u8, port: u16, frame: &[u8]) -> Result<(), String> {
        let at = usize::from(worker);
        let worker = self.workers.get_mut(at).ok_or("no such worker")?;
        let mut burst = empty_burst();
        self.sink.books.open(worker.id());
        self.sink.books.now().taken += 1;
        burst[0] = Some(self.sink.books.frame(frame));
        let since = self.sink.out.len();
        worker.process_handed(PortId(port), &mut burst, 1, self.now, &mut self.sink);
        self.schedule_out(at, None, since);
        self.events();
        Ok(())
    }

    /// All frames that were handed over reach their workers, in order.
    pub fn gather(&mut self) -> Result<(), String> {
        for _ in 0..1000 {
            let out = &mut self.sink.out;
            let hand = |way: &Way| matches!(way, Way::Hand(..));
            let Some(at) = out.iter().position(|(way, _)| hand(way)) else {
                return Ok(());
            };
            if let Some((Way::Hand(worker, port), bytes)) = out.remove(at) {
                self.handed(worker, port, &bytes)?;
            }
        }
        Err("handed over without end".into())
    }

    /// Lets time pass, in the steps of a busy loop.
    pub fn pass(&mut self, micros: u64) {
        if let Some(log) = &mut self.log {
            log.push(Step::Wait(micros));
        }
        let end = self.now.0 + micros;
        while self.now.0 < end {
            self.now.0 = (self.now.0 + 20_000).min(end);
            for at in 0..self.workers.len() {
                self.sink.books.open(self.workers[at].id());
                let since = self.sink.out.len();
                self.workers[at].tick(self.now, &mut self.sink);
                self.release(at, since);
            }
            self.events();
        }
    }

    /// Asks every worker.
    pub fn query(&mut self, query: &Query) -> Vec<Reply> {
        let mut replies = Vec::new();
        for worker in &mut self.workers {
            let message = ToWorker::Query {
                token: 1,
                query: query.clone(),
            };
            worker.handle(message, self.now, &mut self.sink);
            for event in self.sink.events.drain(..) {
                if let FromWorker::Reply { reply, .. } = event {
                    replies.push(reply);
                }
            }
        }
        replies
    }

    /// Whether every frame of every worker is accounted for.
    pub fn balanced(&self) -> Result<(), String> {
        self.workers
            .iter()
            .try_for_each(|w| self.sink.books.balance(w.id(), w.stats()))
    }

    /// The services of the configuration.
    #[allow(dead_code)]
    pub fn services(&self) -> Vec<Service> {
        self.services.clone()
    }

    /// How many sets there are.
    #[allow(dead_code)]
    pub fn sets_len(&self) -> usize {
        self.sets.len()
    }

    pub fn drops(&self, reason: Reason) -> u64 {
        self.workers.iter().map(|w| w.stats().dropped(reason)).sum()
    }

    /// MAC address of a port.
    pub fn mac(&self, port: u16) -> Result<[u8; 6], String> {
        let port = self.snap.ports.get(usize::from(port));
        port.map(|p| p.mac).ok_or_else(|| "no such port".into())
    }

    /// Numbers of all servers with that name, also removed ones.
    pub fn dests(&self, name: &str) -> Vec<DestId> {
        let mut ids: Vec<_> = self.names.iter().filter(|(_, n)| *n == name).collect();
        ids.sort();
        ids.into_iter().map(|(id, _)| *id).collect()
    }

    fn port_mut(&mut self, text: &str) -> Result<&mut Port, String> {
        let port: usize = text.parse().map_err(|_| "a port is a number")?;
        let ports = Arc::make_mut(&mut self.snap.ports);
        ports.get_mut(port).ok_or_else(|| "no such port".into())
    }

    /// Puts a device behind the others, or where one was.
    fn set_device(&mut self, at: usize, device: Port) {
        let mut ports = self.snap.ports.to_vec();
        ports.resize_with(ports.len().max(at + 1), Port::default);
        ports[at] = device;
        self.snap.ports = ports.into();
    }

    pub(super) fn key(words: &[&str], vars: &Vars) -> Result<ServiceKey, String> {
        let [proto, end, ..] = words else {
            return Err("a service is `tcp VIP:PORT` or `udp VIP:PORT`".into());
        };
        let (addr, port) = vars.endpoint(end)?;
        let proto = match *proto {
            "tcp" => 6,
            "udp" => 17,
            "sctp" => 132,
            "icmp" => 1,
            "icmp6" => 58,
            _ => return Err("a service is tcp, udp, sctp, icmp or icmp6".into()),
        };
        Ok(ServiceKey { proto, addr, port })
    }

    fn service(&mut self, words: &[&str], vars: &Vars) -> Result<&mut Service, String> {
        let key = Self::key(words, vars)?;
        let found = self.services.iter_mut().find(|s| s.key == key);
        found.ok_or_else(|| "no such service".into())
    }

    /// Changes the configuration; false if the line is about something else.
    pub fn config(&mut self, words: &[&str], vars: &Vars) -> Result<bool, String> {
        if let Some(log) = &mut self.log {
            log.push(Step::Line(words.join(" ")));
        }
        let number = |text: &str| vars.number(text);
        match *words {
            ["workers", n] if self.workers.is_empty() => self.count = number(n)? as u8,
            ["conns-max", n] if self.workers.is_empty() => self.conns = number(n)? as usize,
            ["addr", port, addr, ..] => {
                let (addr, plen) = prefix(addr)?;
                let sapool = words.contains(&"sapool");
                let id = PortId(number(port)? as u16);
                let mtu = self.port_mut(port)?.mtu;
                let entry = PortAddr { addr, plen, sapool };
                self.port_mut(port)?.addrs.push(entry);
                self.snap
                    .locals
                    .insert(addr, Local::Own { port: id, sapool });
                self.routes.push(Route {
                    dst: addr,
                    plen,
                    gateway: None,
                    src: Some(addr),
                    port: id,
                    mtu,
                });
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["deladdr", addr] => {
                let addr = vars.addr(addr)?;
                for port in Arc::make_mut(&mut self.snap.ports) {
                    port.addrs.retain(|a| a.addr != addr);
                }
                self.snap.locals.remove(&addr);
                self.routes.retain(|r| r.src != Some(addr));
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["route", dst, ref rest @ ..] => {
                let (dst, plen) = prefix(dst)?;
                let port = PortId(number(option(rest, "port").ok_or("`port` is missing")?)? as u16);
                self.routes.retain(|r| (r.dst, r.plen) != (dst, plen));
                self.routes.push(Route {
                    dst,
                    plen,
                    gateway: option(rest, "via").map(|g| vars.addr(g)).transpose()?,
                    src: option(rest, "src").map(|a| vars.addr(a)).transpose()?,
                    port,
                    mtu: option(rest, "mtu").map_or(Ok(1500), number)? as u16,
                });
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["delroute", dst] => {
                let (dst, plen) = prefix(dst)?;
                self.routes.retain(|r| (r.dst, r.plen) != (dst, plen));
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["kni-host", addr, "port", port] => {
                let port = PortId(number(port)? as u16);
                self.snap
                    .locals
                    .insert(vars.addr(addr)?, Local::Host { port });
            }
            ["mtu", port, n] => {
                let mtu = number(n)? as u16;
                self.port_mut(port)?.mtu = mtu;
            }
            ["vlan", port, parent, id, ref rest @ ..] => {
                let at = number(port)? as usize;
                let (id, parent) = (number(id)? as u16, PortId(number(parent)? as u16));
                let below = self.port_mut(&parent.0.to_string())?;
                below.vlans.push((id, PortId(at as u16)));
                below.vlans.sort_unstable();
                let device = Port {
                    name: format!("{}.{id}", below.name),
                    mac: option(rest, "mac").map_or(Ok(below.mac), mac)?,
                    mtu: below.mtu,
                    has_host: true,
                    vlan: Some(Tag { parent, id }),
                    ..Port::default()
                };
                self.set_device(at, device);
            }
            ["tunnel", port, kind, local, remote, ref rest @ ..] => {
                let at = number(port)? as usize;
                let v4 = |text: &str| match text {
                    "any" => Ok(Ipv4Addr::UNSPECIFIED),
                    _ => text
                        .parse()
                        .map_err(|_| format!("{text} is no IPv4 address")),
                };
                let options = Options {
                    csum: words.contains(&"csum"),
                    seq: words.contains(&"seq"),
                    key: option(rest, "key")
                        .map(number)
                        .transpose()?
                        .map(|k| k as u32),
                };
                let tunnel = device::Tunnel {
                    kind: if kind == "gre" { Kind::Gre } else { Kind::Ipip },
                    local: v4(local)?,
                    remote: v4(remote)?,
                    link: option(rest, "dev")
                        .map(number)
                        .transpose()?
                        .map(|p| PortId(p as u16)),
                    ttl: option(rest, "ttl").map_or(Ok(0), number)? as u8,
                    tos: option(rest, "tos").map_or(Ok(1), number)? as u8,
                    input: options,
                    output: options,
                };
                let device = Port {
                    name: format!("tunl{at}"),
                    mtu: 1500 - tunnel.overhead(),
                    tunnel: Some(Arc::new(tunnel)),
                    ..Port::default()
                };
                self.set_device(at, device);
                let all = self.snap.ports.iter().enumerate();
                let some = all.filter_map(|(n, p)| Some((PortId(n as u16), p.tunnel.as_deref()?)));
                self.snap.tunnels = Arc::new(Tunnels::new(some));
            }
            ["delvlan", port] => {
                let at = number(port)? as usize;
                for port in Arc::make_mut(&mut self.snap.ports) {
                    port.vlans.retain(|v| usize::from(v.1.0) != at);
                }
                self.set_device(at, Port::default());
            }
            ["host-port", port, state] => self.port_mut(port)?.has_host = on(state)?,
            ["forward2kni", port, state] => self.port_mut(port)?.forward2kni = on(state)?,
            ["set", name, ref values @ ..] => self.set(name, values, vars)?,
            ["service", _, _, sched, ..] => self.add_service(words, sched, vars)?,
            ["delservice", ref key @ ..] => {
                let key = Self::key(key, vars)?;
                let at = self.services.iter().position(|s| s.key == key);
                let gone = self.services.remove(at.ok_or("no such service")?);
                self.removed.extend(gone.dests.iter().map(|d| d.id));
                self.snap.services.remove(&key);
            }
            ["dest", ref rest @ ..] => self.dest(rest, vars)?,
            ["deldest", proto, vip, dest] => {
                let (addr, port) = vars.endpoint(dest)?;
                let service = self.service(&[proto, vip], vars)?;
                let is = |d: &Dest| (d.addr, d.port) == (addr, port);
                let gone = service.dests.iter().find(|d| is(d)).ok_or("no such dest")?;
                let id = gone.id;
                service.dests = service.dests.iter().filter(|d| !is(d)).copied().collect();
                service.version += 1;
                let service = tabled(service);
                self.snap.services.insert(service);
                self.removed.push(id);
            }
            ["neigh", port, addr, name] => {
                let (port, addr) = (PortId(number(port)? as u16), vars.addr(addr)?);
                let mac = mac(name)?;
                self.publish();
                self.tell(|| ToWorker::NeighAdd { port, addr, mac });
            }
            ["delneigh", port, addr] => {
                let (port, addr) = (PortId(number(port)? as u16), vars.addr(addr)?);
                self.publish();
                self.tell(|| ToWorker::NeighDel { port, addr });
            }
            ["announce", port, addr] => {
                let (port, addr) = (PortId(number(port)? as u16), vars.addr(addr)?);
                self.publish();
                self.tell(|| ToWorker::Announce { port, addr });
            }
            ["zero"] => self.tell(|| ToWorker::Zero { dests: Vec::new() }),
            ["no-buffers", state] => self.sink.empty = on(state)?,
            ["deaf", state] => self.sink.deaf = on(state)?,
            _ => return Ok(self.guard(words, vars)? || self.scheduling(words, vars)?),
        }
        self.dirty = true;
        Ok(true)
    }

    fn add_service(&mut self, words: &[&str], sched: &str, vars: &Vars) -> Result<(), String> {
        let key = Self::key(&words[1..], vars)?;
        let default = if key.addr.is_ipv4() {
            "10.0.1.200"
        } else {
            "2001:db8:2::200"
        };
        let laddrs = option(words, "laddr").unwrap_or(default);
        let mut list = Vec::new();
        for addr in laddrs.split(',').filter(|a| *a != "none") {
            list.push(Laddr {
                addr: vars.addr(addr)?,
                port: PortId(1),
            });
        }
        let timeout = option(words, "conn-timeout").unwrap_or("0");
        self.ids.2 += 1;
        // An edit keeps number and servers.
        let old = self.services.iter().position(|s| s.key == key);
        let old = old.map(|i| self.services.remove(i));
        let id = match &old {
            Some(old) => old.id,
            None => {
                self.ids.1 += 1;
                ServiceId(self.ids.1 - 1)
            }
        };
        let service = Service {
            id,
            uid: old.as_ref().map_or(self.ids.2, |o| o.uid),
            version: old.as_ref().map_or(1, |o| o.version + 1),
            key,
            sched: SchedKind::from_name(sched).ok_or("no such scheduler")?,
            conn_timeout: vars.field(timeout, 31)?,
            proxy: option(words, "proxy").map(proxy).transpose()?,
            expire_quiescent: words.contains(&"expire-quiescent"),
            matching: key
                .addr
                .is_unspecified()
                .then(|| matching(words))
                .transpose()?,
            synproxy: words.contains(&"synproxy"),
            dests: old.map_or_else(|| Vec::new().into(), |o| o.dests),
            laddrs: list.into(),
            policy: policy(words, vars)?,
        };
        self.snap.services.insert(tabled(&service));
        self.services.push(service);
        Ok(())
    }

    fn dest(&mut self, words: &[&str], vars: &Vars) -> Result<(), String> {
        let [proto, vip, end, ref rest @ ..] = *words else {
            return Err("a dest is `dest tcp VIP:PORT SERVER:PORT`".into());
        };
        let (addr, port) = vars.endpoint(end)?;
        let id = DestId(self.ids.0);
        let service = self.service(&[proto, vip], vars)?;
        let mut dests = service.dests.to_vec();
        let at = dests.iter().position(|d| (d.addr, d.port) == (addr, port));
        let mut dest = at.map_or(
            Dest {
                id,
                addr,
                port,
                weight: 1,
                mode: FwdMode::FullNat,
                tunnel: Tunnel::default(),
                max_conn: 0,
                min_conn: 0,
                terms: 0,
                inhibited: false,
                returns: 0,
            },
            |i| dests[i],
        );
        if let Some(n) = option(rest, "weight") {
            dest.weight = vars.field(n, 16)? as u16;
        }
        if let Some(n) = option(rest, "max-conn") {
            dest.max_conn = vars.field(n, 32)?;
        }
        if let Some(n) = option(rest, "min-conn") {
            dest.min_conn = vars.field(n, 32)?;
        }
        if at.is_some_and(|i| {
            (dests[i].max_conn, dests[i].min_conn) != (dest.max_conn, dest.min_conn)
        }) {
            dest.terms += 1;
        }
        let out = rest.contains(&"inhibited");
        dest.returns += u8::from(dest.inhibited && !out);
        dest.inhibited = out;
        for (word, mode) in [
            ("dr", FwdMode::Dr),
            ("nat", FwdMode::Masq),
            ("tunnel", FwdMode::Tunnel),
            ("local", FwdMode::Local),
        ] {
            if rest.contains(&word) {
                dest.mode = mode;
            }
        }
        if dest.mode == FwdMode::Tunnel {
            let port = option(rest, "gue");
            dest.tunnel = Tunnel {
                kind: match port {
                    Some(_) => TunnelKind::Gue,
                    None if rest.contains(&"gre") => TunnelKind::Gre,
                    None => TunnelKind::Ip,
                },
                csum: match option(rest, "csum") {
                    None => TunnelCsum::None,
                    Some("remote") => TunnelCsum::Remote,
                    Some(_) => TunnelCsum::Full,
                },
                port: port.map_or(Ok(0), |n| vars.field(n, 16))? as u16,
            };
        }
        if rest.contains(&"snat") {
            dest.mode = FwdMode::Snat;
        }
        match at {
            Some(i) => dests[i] = dest,
            None => dests.push(dest),
        }
        service.dests = dests.into();
        service.version += 1;
        let service = tabled(service);
        self.snap.services.insert(service);
        if at.is_none() {
            self.ids.0 += 1;
            self.names.insert(id, end.into());
        }
        Ok(())
    }

    fn set_synproxy(s: &mut SynproxySettings, values: &[&str], vars: &Vars) -> Result<(), String> {
        let [name, value] = *values else {
            return Err("`set synproxy NAME VALUE`".into());
        };
        let state = |name: &str| {
            let state = State::ALL.iter().find(|t| t.name() == name);
            state.map(|s| 1u16 << s.index())
        };
        match name {
            "mss" => s.mss = vars.field(value, 16)? as u16,
            "ttl" => s.ttl = vars.field(value, 8)? as u8,
            "sack" => s.sack = on(value)?,
            "wscale" => s.wscale = vars.field(value, 4)? as u8,
            "timestamp" => s.timestamp = on(value)?,
            "close-client-window" => s.close_client_window = on(value)?,
            "defer-rs-syn" => s.defer_rs_syn = on(value)?,
            "rs-syn-max-retry" => s.rs_syn_max_retry = vars.field(value, 8)? as u8,
            "ack-storm-thresh" => s.ack_storm_thresh = vars.field(value, 16)? as u16,
            "max-ack-saved" => s.max_ack_saved = vars.field(value, 8)? as u8,
            "auto-syn-rate" => s.auto_syn_rate = vars.field(value, 32)?,
            name => match (state(name), on(value)?) {
                (Some(bit), true) => s.reuse |= bit,
                (Some(bit), false) => s.reuse &= !bit,
                (None, _) => return Err(format!("`{name}` is no setting of the SYN proxy")),
            },
        }
        Ok(())
    }

    fn set(&mut self, name: &str, values: &[&str], vars: &Vars) -> Result<(), String> {
        let s: &mut Settings = Arc::make_mut(&mut self.snap.settings);
        let value = *values.last().ok_or("a value is missing")?;
        match name {
            "forwarding" => s.forward4 = on(value)?,
            "forwarding6" => s.forward6 = on(value)?,
            "ipv6" => s.ipv6_off = !on(value)?,
            "xmit-ttl" => s.xmit_ttl = on(value)?,
            "fast-xmit" => s.fast_xmit = on(value)?,
            "defence-tcp-drop" => s.defence_tcp_drop = on(value)?,
            "defence-udp-drop" => s.defence_udp_drop = on(value)?,
            "synproxy" => Self::set_synproxy(&mut s.synproxy, values, vars)?,
            "expire-quiescent-template" => s.expire_quiescent_template = on(value)?,
            "neigh-timeout" => s.neigh_timeout = vars.field(value, 31)?,
            "uoa" => match value {
                "opp" => s.uoa_mode = UoaMode::Opp,
                "ipo" => s.uoa_mode = UoaMode::Ipo,
                n => s.uoa_max_trail = vars.field(n, 16)? as u16,
            },
            "queue" => s.unres_queue = vars.number(value)? as usize,
            "timeout" if values.len() == 2 => {
                let secs = vars.field(value, 31)?;
                let tcp = State::ALL.iter().find(|t| t.name() == values[0]);
                match (values[0], tcp) {
                    (_, Some(state)) => s.timeouts.tcp[state.index()] = secs,
                    ("UDP_ONEWAY", _) => s.timeouts.udp[1] = secs,
                    ("UDP_NORM", _) => s.timeouts.udp[2] = secs,
                    (other, _) => return Err(format!("`{other}` is no state")),
                }
            }
            _ => return Err(format!("`{name}` is no setting")),
        }
        Ok(())
    }
}

/// A service with the table its scheduler looks servers up in.
fn tabled(service: &Service) -> Arc<Service> {
    let conf = TableConf {
        quic: service.policy.quic,
        ..TableConf::default()
    };
    let mut service = service.clone();
    service.policy.table = Table::build(service.sched, &service.dests, conf).map(Arc::new);
    Arc::new(service)
}

/// What a `service` line says beside addresses and scheduler.
fn policy(words: &[&str], vars: &Vars) -> Result<Policy, String> {
    let persistence = match option(words, "persistent") {
        None => None,
        Some(timeout) => {
            let bits = option(words, "mask").unwrap_or("128");
            Some(Persistence {
                timeout: vars.field(timeout, 31)?,
                mask: u128::MAX << (128 - vars.field(bits, 8)?.clamp(1, 128)),
                sip: words.contains(&"sip"),
            })
        }
    };
    let check = match option(words, "check") {
        Some(ups) => Some(vars.field(ups, 8)? as u8),
        None => None,
    };
    Ok(Policy {
        table: None,
        hash_target: if words.contains(&"qid") {
            HashTarget::Qid
        } else {
            HashTarget::Sip
        },
        fallback: words.contains(&"fallback"),
        with_port: words.contains(&"with-port"),
        quic: words.contains(&"quic"),
        one_packet: words.contains(&"ops"),
        persistence,
        check,
    })
}
