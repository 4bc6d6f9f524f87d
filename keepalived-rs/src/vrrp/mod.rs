//! VRRP: one task that drives all instances.
//!
//! `instance` decides, `packet` knows the bytes; this file owns the sockets and
//! the clock, puts addresses onto the DPDK port (through the daemon's link to
//! dpvs) or onto the kernel's interface, and announces them.

pub(crate) mod instance;
pub(crate) mod packet;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::LinkAddr;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant as TokioInstant, sleep_until};
use tracing::{debug, info, warn};

use crate::conf::model::{Instance, Script, VirtualAddr};
use crate::net::announce::Announcer;
use crate::net::link::{Link, Monitor, snapshot};
use crate::net::raw::Sockets;
use crate::net::rtnl;
use crate::notify;
use crate::ops::{Op, PortAddr};
use crate::track;
use instance::{Action, Event, Machine, State};

/// What the daemon tells the task.
enum Command {
    Reload(Vec<Instance>),
    /// dpvs is back and empty.
    Program,
    /// For the dump.
    Describe(oneshot::Sender<String>),
    /// `keep`: leave the addresses where they are.
    Stop {
        keep: bool,
        done: oneshot::Sender<()>,
    },
}

/// The daemon's end.
pub(crate) struct Vrrp {
    commands: UnboundedSender<Command>,
}

/// Starts the task. Requests for dpvs go to `ops`.
pub(crate) fn start(instances: &[Instance], ops: UnboundedSender<Vec<Op>>) -> io::Result<Vrrp> {
    let (commands, rx) = unbounded_channel();
    let (packets_tx, packets) = unbounded_channel();
    let driver = Driver {
        routers: Vec::new(),
        links: HashMap::new(),
        monitor: Monitor::new()?,
        commands: rx,
        packets,
        packets_tx,
        ops,
        announcer: Announcer::default(),
        look_at: Instant::now() + LOOK,
    };
    tokio::spawn(driver.run(instances.to_vec()));
    Ok(Vrrp { commands })
}

impl Vrrp {
    /// A new configuration.
    pub(crate) fn reload(&self, instances: &[Instance]) {
        let _ = self.commands.send(Command::Reload(instances.to_vec()));
    }

    /// dpvs has to be told everything again.
    pub(crate) fn program(&self) {
        let _ = self.commands.send(Command::Program);
    }

    /// The state of all instances as text.
    pub(crate) async fn describe(&self) -> String {
        let (tx, rx) = oneshot::channel();
        let _ = self.commands.send(Command::Describe(tx));
        rx.await.unwrap_or_default()
    }

    /// Says goodbye and takes the addresses away, at most a second long.
    pub(crate) async fn stop(self, keep: bool) {
        let (done, rx) = oneshot::channel();
        let _ = self.commands.send(Command::Stop { keep, done });
        let _ = tokio::time::timeout(Duration::from_secs(1), rx).await;
    }
}

/// A packet with the name of the instance whose socket it came through.
type Packet = (String, Vec<u8>);

/// One instance with its sockets.
struct Router {
    machine: Machine,
    sockets: Option<Arc<Sockets>>,
    reader: Option<JoinHandle<()>>,
    /// Source address and interface number the sockets were opened with.
    bound: Option<(Ipv4Addr, usize)>,
    /// Why it is in FAULT, once it has been said.
    said: Option<String>,
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(r) = self.reader.take() {
            r.abort();
        }
    }
}

struct Driver {
    routers: Vec<Router>,
    links: HashMap<String, Link>,
    monitor: Monitor,
    commands: UnboundedReceiver<Command>,
    packets: UnboundedReceiver<Packet>,
    packets_tx: UnboundedSender<Packet>,
    ops: UnboundedSender<Vec<Op>>,
    announcer: Announcer,
    /// When to look at the interfaces again.
    look_at: Instant,
}

/// Netlink may lose messages; a look now and then costs little.
const LOOK: Duration = Duration::from_secs(1);
/// Changes come in swarms, not least our own addresses: one look for a swarm.
const SWARM: Duration = Duration::from_millis(20);

impl Driver {
    async fn run(mut self, instances: Vec<Instance>) {
        self.links = snapshot();
        self.reload(&instances);
        loop {
            let due = self
                .routers
                .iter()
                .filter_map(|r| r.machine.deadline())
                .min();
            let due = due.map_or(self.look_at, |d| d.min(self.look_at));
            let timer = sleep_until(TokioInstant::from_std(due));
            tokio::select! {
                () = timer => self.timers(),
                () = self.monitor.changed() => {
                    self.look_at = self.look_at.min(Instant::now() + SWARM);
                }
                Some((name, packet)) = self.packets.recv() => self.packet(&name, &packet),
                command = self.commands.recv() => match command {
                    Some(Command::Reload(list)) => self.reload(&list),
                    Some(Command::Program) => self.program(),
                    Some(Command::Describe(to)) => { let _ = to.send(self.describe()); }
                    Some(Command::Stop { keep, done }) => {
                        self.stop(keep);
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        if self.look_at <= now {
            self.interfaces();
        }
        for at in 0..self.routers.len() {
            let due = |r: &Router| r.machine.deadline().is_some_and(|d| d <= now);
            if self.routers.get(at).is_some_and(due) {
                self.event(at, Event::Timer);
            }
        }
    }

    fn event(&mut self, at: usize, event: Event<'_>) {
        let Some(r) = self.routers.get_mut(at) else {
            return;
        };
        let mut out = Vec::new();
        r.machine.handle(event, Instant::now(), &mut out);
        for action in out {
            self.act(at, &action, false);
        }
    }

    fn interfaces(&mut self) {
        self.look_at = Instant::now() + LOOK;
        self.links = snapshot();
        let vips = self.virtual_addrs();
        for at in 0..self.routers.len() {
            self.health(at, &vips);
        }
    }

    /// What is never a source address.
    fn virtual_addrs(&self) -> HashSet<IpAddr> {
        let all = self.routers.iter().map(|r| r.machine.conf());
        all.flat_map(|c| c.vips.iter().chain(&c.excluded))
            .map(|v| v.ip)
            .collect()
    }

    /// Tells an instance how its interfaces are, and opens its sockets.
    fn health(&mut self, at: usize, vips: &HashSet<IpAddr>) {
        let Some(r) = self.routers.get_mut(at) else {
            return;
        };
        let conf = r.machine.conf().clone();
        let (mut health, mut why) = track::health(&conf, &self.links, vips);
        let index = self.links.get(&conf.interface).map_or(0, |l| l.index);
        if !health.fit {
            r.close();
        } else if r.bound != Some((health.src, index)) {
            r.close();
            let group = conf.peers.is_empty().then_some(conf.mcast_group4);
            match Sockets::open(&conf.interface, conf.vrid, health.src, group) {
                Ok(s) => {
                    let s = Arc::new(s);
                    let tx = self.packets_tx.clone();
                    r.reader = Some(tokio::spawn(read(Arc::clone(&s), conf.name.clone(), tx)));
                    r.sockets = Some(s);
                    r.bound = Some((health.src, index));
                }
                Err(e) => {
                    health.fit = false;
                    why = Some(format!(
                        "cannot open a VRRP socket on {}: {e}",
                        conf.interface
                    ));
                }
            }
        }
        if r.said != why {
            match &why {
                Some(why) => warn!("({}) cannot be MASTER: {why}", conf.name),
                None => info!("({}) interface {} is fit again", conf.name, conf.interface),
            }
            r.said = why;
        }
        self.event(at, Event::Health(health));
    }

    fn packet(&mut self, name: &str, bytes: &[u8]) {
        let Some(at) = self
            .routers
            .iter()
            .position(|r| r.machine.conf().name == name)
        else {
            return;
        };
        let Some(r) = self.routers.get(at) else {
            return;
        };
        let c = r.machine.conf();
        if packet::peek_vrid(bytes) != Some(c.vrid) {
            return;
        }
        match packet::decode(bytes, !c.peers.is_empty()) {
            Ok(received) => {
                debug!(
                    "({name}) advert from {}: {:?}",
                    received.src, received.advert
                );
                self.event(at, Event::Advert(&received));
            }
            Err(why) => debug!("({name}) packet on {} dropped: {why}", c.interface),
        }
    }

    fn act(&self, at: usize, action: &Action, keep: bool) {
        let Some(r) = self.routers.get(at) else {
            return;
        };
        let conf = r.machine.conf();
        match action {
            Action::Send(priority) => r.send(*priority),
            Action::AddAddresses => {
                info!("({}) setting VIPs.", conf.name);
                self.addresses(conf, true);
            }
            Action::RemoveAddresses if keep => {}
            Action::RemoveAddresses => {
                info!("({}) removing VIPs.", conf.name);
                self.addresses(conf, false);
            }
            Action::Announce(repeat) => {
                let all: Vec<_> = conf.vips.iter().chain(&conf.excluded).collect();
                self.announce(conf, &all, *repeat);
            }
            Action::Notify(state) => self.notify(&r.machine, state),
        }
    }

    /// Puts all addresses of an instance on, or takes them off.
    fn addresses(&self, conf: &Instance, add: bool) {
        let vips: Vec<&VirtualAddr> = conf.vips.iter().chain(&conf.excluded).collect();
        self.change(conf, &vips, add);
    }

    fn change(&self, conf: &Instance, vips: &[&VirtualAddr], add: bool) {
        let mut ops = Vec::new();
        for v in vips {
            if let Some(port) = &conf.dpdk_interface {
                let a = PortAddr {
                    port: port.clone(),
                    ip: v.ip,
                    prefix: v.prefix,
                };
                ops.push(if add { Op::AddrAdd(a) } else { Op::AddrDel(a) });
                continue;
            }
            let dev = v.dev.as_deref().unwrap_or(&conf.interface);
            let result = if add {
                rtnl::add(dev, v.ip, v.prefix, v.label.as_deref())
            } else {
                rtnl::del(dev, v.ip, v.prefix)
            };
            if let Err(e) = result {
                let what = if add { "add" } else { "remove" };
                warn!(
                    "({}) cannot {what} {}/{} on {dev}: {e}",
                    conf.name, v.ip, v.prefix
                );
            }
        }
        self.request(ops);
    }

    fn announce(&self, conf: &Instance, vips: &[&VirtualAddr], repeat: u32) {
        let mut ops = Vec::new();
        for _ in 0..repeat {
            for v in vips {
                if let (Some(_), IpAddr::V4(ip)) = (&conf.dpdk_interface, v.ip) {
                    ops.push(Op::GratArp(ip));
                    continue;
                }
                // Neighbour advertisements for a DPDK port go out of its twin.
                let dev = match &conf.dpdk_interface {
                    Some(_) => &conf.interface,
                    None => v.dev.as_ref().unwrap_or(&conf.interface),
                };
                let link: Option<&LinkAddr> = self.links.get(dev).and_then(|l| l.addr.as_ref());
                let Some(link) = link else { continue };
                debug!("({}) announcing {} on {dev}", conf.name, v.ip);
                if let Err(e) = self.announcer.send(dev, link, v.ip) {
                    warn!("({}) cannot announce {} on {dev}: {e}", conf.name, v.ip);
                }
            }
        }
        self.request(ops);
    }

    fn request(&self, ops: Vec<Op>) {
        if !ops.is_empty() {
            // The daemon outlives this task.
            let _ = self.ops.send(ops);
        }
    }

    fn notify(&self, machine: &Machine, state: &str) {
        let n = &machine.conf().notify;
        let own: Option<&Script> = match state {
            "MASTER" => n.master.as_ref(),
            "BACKUP" => n.backup.as_ref(),
            "FAULT" => n.fault.as_ref(),
            "STOP" => n.stop.as_ref(),
            _ => None,
        };
        if let Some(s) = own {
            notify::run(s, &[]);
        }
        if let Some(s) = &n.any {
            let priority = machine.priority().to_string();
            notify::run(s, &["INSTANCE", &machine.conf().name, state, &priority]);
        }
    }

    /// dpvs lost everything: masters put their addresses on again, the others
    /// make sure theirs are off.
    fn program(&self) {
        for r in &self.routers {
            let conf = r.machine.conf();
            if conf.dpdk_interface.is_none() {
                continue;
            }
            let master = r.machine.state() == State::Master;
            self.addresses(conf, master);
            if master {
                let all: Vec<_> = conf.vips.iter().chain(&conf.excluded).collect();
                self.announce(conf, &all, conf.garp.master_repeat);
            }
        }
    }

    fn reload(&mut self, list: &[Instance]) {
        for at in (0..self.routers.len()).rev() {
            let kept = self.routers.get(at).is_some_and(|r| {
                let c = r.machine.conf();
                list.iter().any(|n| n.name == c.name && same_router(n, c))
            });
            if !kept {
                self.event(at, Event::Stop);
                self.routers.remove(at);
            }
        }
        for new in list {
            let known = self
                .routers
                .iter()
                .position(|r| r.machine.conf().name == new.name);
            match known {
                Some(at) => self.change_instance(at, new),
                None => {
                    self.routers.push(Router {
                        machine: Machine::new(new),
                        sockets: None,
                        reader: None,
                        bound: None,
                        said: None,
                    });
                    let at = self.routers.len() - 1;
                    if new.dpdk_interface.is_none() {
                        // Left by an earlier run.
                        self.addresses(new, false);
                    }
                    let vips = self.virtual_addrs();
                    self.health(at, &vips);
                }
            }
        }
    }

    /// A kept instance keeps its state; only addresses that came or went are
    /// touched, and only new ones announced.
    fn change_instance(&mut self, at: usize, new: &Instance) {
        let Some(r) = self.routers.get_mut(at) else {
            return;
        };
        let old = r.machine.conf().clone();
        r.machine.configure(new);
        let master = r.machine.state() == State::Master;
        if old.src_ip != new.src_ip {
            r.close();
        }
        if master {
            let all = |c: &Instance| -> Vec<VirtualAddr> {
                c.vips.iter().chain(&c.excluded).cloned().collect()
            };
            let (before, after) = (all(&old), all(new));
            let gone: Vec<_> = before.iter().filter(|v| !after.contains(v)).collect();
            let came: Vec<_> = after.iter().filter(|v| !before.contains(v)).collect();
            self.change(&old, &gone, false);
            self.change(new, &came, true);
            self.announce(new, &came, new.garp.master_repeat);
        }
        let vips = self.virtual_addrs();
        self.health(at, &vips);
    }

    fn stop(&mut self, keep: bool) {
        for at in 0..self.routers.len() {
            let Some(r) = self.routers.get_mut(at) else {
                return;
            };
            let mut out = Vec::new();
            r.machine.handle(Event::Stop, Instant::now(), &mut out);
            for action in out {
                self.act(at, &action, keep);
            }
        }
    }

    fn describe(&self) -> String {
        let mut text = String::from("------< VRRP Topology >------\n");
        for r in &self.routers {
            let c = r.machine.conf();
            text.push_str(&format!(
                " VRRP Instance = {}\n   VRRP Version = {}\n   State = {}\n   Interface = {}\n   Using src_ip = {}\n   Virtual Router ID = {}\n   Priority = {}\n   Effective priority = {}\n   Advert interval = {} sec\n   Virtual IP ({}):\n",
                c.name,
                c.version,
                r.machine.state().word(),
                c.interface,
                r.bound.map_or(Ipv4Addr::UNSPECIFIED, |b| b.0),
                c.vrid,
                c.priority,
                r.machine.priority(),
                c.advert_int.as_secs_f64(),
                c.vips.len(),
            ));
            for v in &c.vips {
                text.push_str(&format!("     {}/{}\n", v.ip, v.prefix));
            }
        }
        text
    }
}

/// Whether the new settings are still those of the same virtual router.
fn same_router(a: &Instance, b: &Instance) -> bool {
    a.vrid == b.vrid
        && a.interface == b.interface
        && a.dpdk_interface == b.dpdk_interface
        && a.version == b.version
        && a.peers == b.peers
        && a.mcast_group4 == b.mcast_group4
}

impl Router {
    fn close(&mut self) {
        if let Some(r) = self.reader.take() {
            r.abort();
        }
        self.sockets = None;
        self.bound = None;
    }

    fn send(&self, priority: u8) {
        let (Some(sockets), Some((src, _))) = (&self.sockets, self.bound) else {
            return;
        };
        let conf = self.machine.conf();
        let advert = self.machine.advert(priority);
        let multicast = [IpAddr::V4(conf.mcast_group4)];
        let to = if conf.peers.is_empty() {
            &multicast[..]
        } else {
            &conf.peers
        };
        for ip in to {
            let IpAddr::V4(ip) = ip else { continue };
            if let Err(e) = sockets.send(&advert.encode(src, *ip), *ip) {
                debug!("({}) cannot send an advert to {ip}: {e}", conf.name);
            }
        }
    }
}

async fn read(sockets: Arc<Sockets>, name: String, to: UnboundedSender<Packet>) {
    let mut buf = vec![0; 2048];
    loop {
        match sockets.receive(&mut buf).await {
            Ok(n) => {
                let packet = buf.get(..n).unwrap_or_default().to_vec();
                if to.send((name.clone(), packet)).is_err() {
                    return;
                }
            }
            Err(e) => {
                debug!("({name}) VRRP socket: {e}");
                // The interface may be down for a moment; never spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
