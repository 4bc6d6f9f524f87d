//! The control plane: one thread that owns the model, serves the control
//! socket, publishes snapshots to the workers and collects what they count.
//!
//! Nothing here blocks on a worker or a client. The ports are behind
//! [`Netif`], the workers behind channels, so all of it runs in tests without
//! DPDK.

mod checks;
mod dad;
pub mod error;
mod jobs;
mod kept;
mod listings;
mod lldp;
mod netif;
pub mod process;
mod publish;
mod rates;
mod serve;
mod server;
mod settings;
mod state;
mod traffic;
mod waste;
mod workers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use dpvs_core::frame::PortId;
use dpvs_core::message::{FromWorker, ToWorker};
use dpvs_core::service::DestId;
use dpvs_ctl::msg::{ifa_flag, ifa_scope};

pub use netif::{Affinity, LcoreQueues, Netif, PortChange, Topology};
pub use server::{Server, Ticket, check as check_socket};
pub use settings::settings;
pub use state::link::Link;
pub use workers::WorkerLink;

use crate::conf::{AddrGen, Conf};
use crate::wake::Waker;
use jobs::{Change, Job};
use listings::Listings;
use publish::Publisher;
use rates::Rates;
use state::State;
use state::addr::Addr;
use waste::Waste;
use workers::Workers;

/// How long a worker may take to answer, at least: a worker without a core of
/// its own is not scheduled for that long. Nobody else waits meanwhile.
const QUERY_TIME: Duration = Duration::from_secs(1);

/// How long the master waits awake for the workers to take a change: a worker with
/// a core of its own does so within a turn of its loop, long before the master could
/// be put to sleep and woken.
const AWAKE: Duration = Duration::from_micros(60);

/// How often bonds are looked at for another active member.
const BOND_LOOK: Duration = Duration::from_millis(100);

/// The control plane.
pub struct Master {
    state: State,
    publisher: Publisher,
    workers: Workers,
    netif: Box<dyn Netif>,
    topology: Topology,
    listings: Listings,
    /// What cannot be forwarded, if that is to be kept.
    kept: Option<kept::Kept>,
    /// What was logged once already.
    said: BTreeSet<String>,
    jobs: HashMap<u64, Job>,
    /// Changes that are not in force everywhere, by epoch.
    changes: VecDeque<Change>,
    /// When it is next looked for what is late.
    next_look: Instant,
    /// Token of a question: which job and which of its questions.
    tokens: HashMap<u64, (u64, usize)>,
    last_id: u64,
    query_time: Duration,
    waste: Waste,
    rates: Rates,
    checks: checks::Checks,
    lldp: lldp::Agent,
    /// The capture that runs: its client's token, and when that read last.
    capture: Option<(u64, Instant)>,
    /// Traffic statistics, while they are switched on.
    traffic: Option<traffic::Traffic>,
    next_second: Instant,
    /// Addresses that are looked for elsewhere.
    dad: dad::Dad,
    /// When bonds are looked at again.
    bond_look: Instant,
    /// Devices that are gone, and the epoch from which on no worker has them.
    unplugging: Vec<(u64, PortId)>,
    /// New devices get a link-local address.
    link_locals: bool,
}

impl Master {
    /// A master of these ports and workers; the first snapshot goes out at once.
    #[must_use]
    pub fn new(
        conf: &Conf,
        netif: Box<dyn Netif>,
        topology: Topology,
        links: Vec<WorkerLink>,
        events: Receiver<FromWorker>,
    ) -> Master {
        let mut master = Master {
            state: State::default(),
            publisher: Publisher::new(links.len()),
            workers: Workers::new(links, events),
            netif,
            topology,
            listings: Listings::default(),
            kept: None,
            said: BTreeSet::new(),
            jobs: HashMap::new(),
            changes: VecDeque::new(),
            dad: dad::Dad::default(),
            next_look: Instant::now(),
            tokens: HashMap::new(),
            last_id: 0,
            query_time: QUERY_TIME,
            waste: Waste::start(),
            rates: Rates::new(Instant::now()),
            checks: checks::Checks::default(),
            lldp: lldp::Agent::default(),
            capture: None,
            traffic: None,
            next_second: Instant::now(),
            bond_look: Instant::now(),
            unplugging: Vec::new(),
            link_locals: false,
        };
        master.apply(conf);
        master.refresh_links();
        master.add_link_locals(master.state.links.ids().collect());
        master.publish();
        master
    }

    /// Takes what a configuration may change at run time.
    pub fn apply(&mut self, conf: &Conf) {
        self.publisher.set_settings(settings(conf));
        self.link_locals = !conf.ipv6.disable && conf.ipv6.addr_gen_mode != AddrGen::None;
        self.state.guards.sets.pool = conf.misc.ipset_hash_pool_size as usize;
        if self.lldp.on != conf.global.lldp {
            self.lldp.on = conf.global.lldp;
            self.state.net_changed = true;
        }
        self.state
            .services
            .set_mh_list_order(conf.conn.mh_list_order);
        // DIFFERS: never below a second, because only the asking client waits.
        self.query_time =
            Duration::from_micros(conf.misc.sync_msg_timeout_us.into()).max(QUERY_TIME);
    }

    /// One turn: clients, workers, timers. Waits at most `wait` when there is
    /// nothing to do. True if something was done.
    pub fn turn(&mut self, server: &mut Server, wait: Duration) -> bool {
        let wait = if self.workers.doze() {
            wait
        } else {
            Duration::ZERO
        };
        let requests = server.poll(wait, Instant::now(), self.workers.bell());
        self.workers.awake();
        let mut busy = !requests.is_empty();
        let now = Instant::now();
        for (ticket, request) in requests {
            self.take(server, ticket, &request, now);
        }
        // One snapshot for all that came together.
        self.publish();
        busy |= self.hear(server, now);
        if busy {
            self.await_changes(server, now);
        }
        self.let_back(now);
        self.estimate(now);
        self.workers.flush();
        self.overdue(server, now);
        server.flush(now);
        self.waste.clear(now);
        if now >= self.bond_look {
            self.bond_look = now + BOND_LOOK;
            for bond in self.netif.moved() {
                self.announce_all(bond);
            }
        }
        if now >= self.next_second {
            self.next_second = now + Duration::from_secs(1);
            self.state.expire_addrs(now);
            self.dad.over(&mut self.state, now);
            for (worker, probe) in self.dad.probes() {
                self.workers.send(worker, probe);
            }
            self.listings.expire(now);
            self.netif.every_second();
            self.look_on(now);
        }
        if !self.unplugging.is_empty() {
            self.unplug_gone();
        }
        busy
    }

    /// Ends it, after the workers: the ports receive and send no more.
    pub fn end(mut self) {
        self.netif.end();
    }

    /// Has the workers wake this thread when they have something to say.
    pub fn set_waker(&mut self, waker: Arc<Waker>) {
        self.workers.set_waker(waker);
    }

    /// Whether an answer of a worker is awaited that does not wake the master:
    /// then turns should be quick.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.workers.must_be_watched()
            && (!self.jobs.is_empty()
                || self.listings.is_waiting()
                || !self.publisher.reached(self.publisher.epoch()))
    }

    /// Gives the workers a moment to take a change.
    fn await_changes(&mut self, server: &mut Server, now: Instant) {
        let begin = Instant::now();
        while !self.changes.is_empty() && begin.elapsed() < AWAKE {
            if !self.hear(server, now) {
                // A worker on this very core has to run first.
                std::thread::yield_now();
            }
        }
    }

    /// Takes what workers said. True if there was anything.
    fn hear(&mut self, server: &mut Server, now: Instant) -> bool {
        let mut heard = false;
        // Bounded: a chatty worker must not starve the clients.
        for _ in 0..4096 {
            let Some(event) = self.workers.event() else {
                break;
            };
            heard = true;
            match event {
                FromWorker::Installed {
                    worker,
                    epoch,
                    retired,
                } => {
                    self.waste.extend(retired);
                    self.publisher.installed(worker, epoch);
                    self.reached(server);
                }
                FromWorker::Lldp { port, frame } => {
                    self.lldp.heard(port, &frame, now);
                }
                FromWorker::Duplicate { port, addr } => self.dad.heard(&mut self.state, port, addr),
                FromWorker::Spent { snapshot, .. } => self.waste.extend(snapshot),
                FromWorker::DestDrained { dest, .. } => {
                    if self.publisher.drained(dest) {
                        self.state.services.recycle(dest);
                        self.rates.forget(dest);
                        self.checks.forget(dest);
                    }
                }
                FromWorker::SynFlood {
                    worker,
                    service,
                    rate,
                } => self.flood(worker, service, rate),
                FromWorker::DestDown { dest, .. } => self.dest_down(dest, now),
                FromWorker::DestUp { dest, .. } => self.dest_up(dest),
                FromWorker::NeighLearned {
                    worker,
                    port,
                    addr,
                    mac,
                } => {
                    for other in self.workers.ids().filter(|w| *w != worker) {
                        self.workers
                            .send(other, ToWorker::NeighLearn { port, addr, mac });
                    }
                }
                FromWorker::Reply {
                    worker,
                    token,
                    reply,
                } => {
                    self.replied(server, worker, token, reply, now);
                }
            }
        }
        heard
    }

    /// A connection to a watched server has failed.
    fn dest_down(&mut self, dest: DestId, now: Instant) {
        let known = self.checks.service_of(dest);
        let known = known.filter(|key| self.state.services.has_dest(key, dest));
        let Some(key) = known.or_else(|| self.state.services.of_dest(dest)) else {
            return;
        };
        let Some(check) = self.state.services.get(&key).map(|e| e.options.check) else {
            return;
        };
        if self.state.services.may_inhibit(&key, dest) && self.checks.down(dest, key, &check, now) {
            self.state.services.inhibit(&key, dest, true);
        }
    }

    fn dest_up(&mut self, dest: DestId) {
        if let Some(key) = self.checks.service_of(dest)
            && let Some(entry) = self.state.services.get(&key)
        {
            self.checks.up(dest, &entry.options.check);
        }
    }

    /// Lets servers back whose time out is over.
    fn let_back(&mut self, now: Instant) {
        for (dest, key) in self.checks.due(now) {
            self.state.services.inhibit(&key, dest, false);
        }
    }

    /// Publishes what changed since the last time.
    fn publish(&mut self) {
        let network = self.state.net_changed;
        let Some((snapshot, removed)) = self.publisher.next(&mut self.state, &mut *self.netif)
        else {
            return;
        };
        if network {
            self.join_groups();
        }
        self.workers.broadcast(|_| ToWorker::Install {
            snapshot: snapshot.clone(),
            removed: removed.clone(),
        });
    }

    /// Reads the devices again.
    fn refresh_links(&mut self) {
        let links = self.netif.links();
        if links != self.state.links.wires {
            let old = std::mem::replace(&mut self.state.links.wires, links);
            let both = (0..)
                .map(PortId)
                .zip(old.iter().zip(&self.state.links.wires));
            let changed: Vec<PortId> = both
                .filter(|(_, (old, new))| old.mac != new.mac)
                .map(|(port, _)| port)
                .collect();
            for port in changed {
                self.tell_host_mac(port);
            }
            self.follow_macs();
            self.state.net_changed = true;
        }
    }

    /// Link-local addresses from the MACs (RFC 4291, appendix A).
    fn add_link_locals(&mut self, ports: Vec<PortId>) {
        if !self.link_locals {
            return;
        }
        let links: Vec<(PortId, [u8; 6])> = ports
            .into_iter()
            .filter_map(|id| Some((id, self.state.links.get(id)?.mac)))
            .filter(|(_, mac)| *mac != [0; 6])
            .collect();
        for (port, [a, b, c, d, e, f]) in links {
            let ip = Ipv6Addr::from([
                0xfe,
                0x80,
                0,
                0,
                0,
                0,
                0,
                0,
                a ^ 2,
                b,
                c,
                0xff,
                0xfe,
                d,
                e,
                f,
            ]);
            let addr = Addr {
                port,
                ip: IpAddr::V6(ip),
                plen: 64,
                scope: ifa_scope::LINK,
                flags: ifa_flag::LINKLOCAL,
                bcast: None,
                valid_lft: 0,
                expires: None,
                preferred_lft: 0,
                deprecates: None,
                deprecated: false,
            };
            // A fresh device has no address yet.
            let _ = self.add_addr(addr);
        }
    }
}
