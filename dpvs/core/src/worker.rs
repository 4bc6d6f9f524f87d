//! Everything one lcore owns, and how it is driven.
//!
//! `process` (in `pipeline`) takes a burst from a port, `tick` runs the
//! timers, `handle` (in `inbox`) takes a message from the master. All
//! state is here: connection table, timer wheel, neighbours, port pools,
//! scheduler cursors, counters and the `Arc` of the configuration in force. A
//! worker never blocks, never reads a clock and never shares memory with another.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::choose::{ServiceStates, service_states};
use crate::conn::ConnTable;
use crate::conn::embryo::Embryos;
use crate::conn::index::reserve;
use crate::conn::templates::Templates;
use crate::conn::wheel::Wheel;
use crate::fragments::Fragments;
use crate::frame::{BURST, Frame, Io, Now, PortId, WorkerId};
use crate::guard::GuardState;
use crate::held::Held;
use crate::hostgate::HostGate;
use crate::isn::IsnMaker;
use crate::laddr::PortPools;
use crate::limits::Limits;
use crate::listing::Asked;
use crate::message::DestCounters;
use crate::neigh::Neighbours;
use crate::parse::Head;
use crate::paths::Paths;
use crate::proto::Dir;
use crate::sched::Load;
use crate::service::{DESTS_MAX, DestId};
use crate::sharemap::ENDS;
use crate::snapshot::Snapshot;
use crate::stats::{Reason, WorkerStats};
use crate::synproxy::SynProxy;
use crate::tc::TcState;
use crate::xmit::outward::Outward;

/// How a worker is made.
#[derive(Clone, Debug)]
pub struct WorkerConf {
    /// This worker.
    pub id: WorkerId,
    /// How many workers there are.
    pub workers: u8,
    /// Connections this worker can hold (entries of each address family).
    pub conns: usize,
    /// Randomness: keys of the hash, of sequence numbers and of port choice.
    pub seed: [u64; 4],
}

/// What a worker counts of a server: see [`DestCounters`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub conns: u64,
    pub in_pkts: u64,
    pub in_bytes: u64,
    pub out_pkts: u64,
    pub out_bytes: u64,
    pub active: u32,
    pub inactive: u32,
}

/// What a worker keeps of a server. One cache line.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub(crate) struct DestState {
    pub counters: Counts,
    /// The service (its number plus 1; 0 = none) whose scheduler has to be told
    /// when the server gets lighter, and the server's place in it.
    pub watch: (u32, u32),
    /// Next hop towards it, 0 = not resolved.
    pub hop: u32,
    /// Removed from its service; the master wants to know when it is unused.
    pub removed: bool,
    /// Failed connections are told to the master.
    pub checked: bool,
    /// How often the check had let it back when it was looked at last.
    pub returns: u8,
    /// So many successful connections are told to it.
    pub confirm: u8,
}

const _: () = assert!(size_of::<DestState>() == 64);

impl DestState {
    /// As schedulers see it, thresholds aside.
    pub(crate) fn load(&self) -> Load {
        Load {
            active: self.counters.active,
            inactive: self.counters.inactive,
            overloaded: false,
        }
    }

    /// As listed.
    pub(crate) fn listed(&self, persistent: u32) -> DestCounters {
        let c = &self.counters;
        DestCounters {
            conns: c.conns,
            in_pkts: c.in_pkts,
            in_bytes: c.in_bytes,
            out_pkts: c.out_pkts,
            out_bytes: c.out_bytes,
            active: c.active,
            inactive: c.inactive,
            persistent,
        }
    }

    /// Counts a packet of a connection.
    #[inline(always)]
    pub(crate) fn count(&mut self, dir: Dir, octets: u64) {
        let c = &mut self.counters;
        let (packets, bytes) = match dir {
            Dir::In => (&mut c.in_pkts, &mut c.in_bytes),
            Dir::Out => (&mut c.out_pkts, &mut c.out_bytes),
        };
        *packets += 1;
        *bytes += octets;
    }

    pub(crate) fn conns_now(&self) -> u32 {
        self.counters.active + self.counters.inactive
    }
}

/// One forwarding worker.
pub struct Worker<F: Frame> {
    pub(crate) conf: WorkerConf,
    /// Absent while a burst is in work, and before the first `Install`.
    pub(crate) snap: Option<Arc<Snapshot>>,
    /// The next one, while there is not yet a state for each of its servers.
    pub(crate) next: Option<Arc<Snapshot>>,
    /// Servers that left, and how many of each list have been looked at.
    pub(crate) leaving: VecDeque<(Vec<DestId>, usize)>,
    /// Listings that are asked for, each at its next piece.
    pub(crate) listings: VecDeque<Asked>,
    /// Heads of the burst in work; kept here so that they are not made anew.
    pub(crate) heads: Option<Box<[Head; BURST]>>,
    pub(crate) conns: ConnTable,
    pub(crate) wheel: Wheel,
    pub(crate) embryos: Embryos,
    pub(crate) neighs: Neighbours<F>,
    pub(crate) outward: Outward,
    pub(crate) pools: PortPools,
    pub(crate) services: ServiceStates,
    pub(crate) dests: Vec<DestState>,
    pub(crate) stats: WorkerStats,
    pub(crate) isn: IsnMaker,
    pub(crate) synproxy: SynProxy<F>,
    /// Milliseconds and errors sent within that second, for the ICMP rate limit:
    /// those that tell no MTU, and those that do.
    pub(crate) icmp_sent: (u64, [u32; 2]),
    /// Milliseconds and neighbours told of within that one.
    pub(crate) told: (u64, u32),
    /// Persistence.
    pub(crate) templates: Templates,
    /// When templates were swept last (ms).
    pub(crate) swept: u64,
    /// Connection thresholds of servers.
    pub(crate) limits: Limits,
    /// Frames that wait for another worker's answer.
    pub(crate) held: Held<F>,
    /// Second, and frames of LLDP reported in it.
    pub(crate) heard: (u64, u32),
    /// The burst in work came from another worker.
    pub(crate) handed: bool,
    /// Counts up for identifications of packets.
    pub(crate) ident: u32,
    /// Fragments, once there was one.
    pub(crate) frags: Option<Box<Fragments<F>>>,
    /// Path MTUs to the ends of tunnels.
    pub(crate) paths: Paths,
    /// Length of the SCTP packet whose first fragment is in work; else 0.
    pub(crate) whole: usize,
    /// Identification of the last packet made here that needs one.
    pub(crate) ip_id: u16,
    /// Queues of the ports' schedulers, if there are any.
    pub(crate) tc: Option<Box<TcState<F>>>,
    /// What the kernel may still be given.
    pub(crate) hosts: HostGate,
    /// Loans of rate limits, once there are any.
    pub(crate) guards: Option<Box<GuardState>>,
    /// Packets taken out of tunnels in this burst, and those of the burst before.
    pub(crate) inner: Vec<(PortId, Option<F>)>,
    pub(crate) opened: Vec<(PortId, Option<F>)>,
    /// They are being handled.
    pub(crate) nested: bool,
    /// Second, and ICMP errors copied to the other workers within it.
    pub(crate) copied: (u64, u32),
}

impl<F: Frame> Worker<F> {
    /// A worker without configuration: until the first `Install` every packet is
    /// dropped.
    #[must_use]
    pub fn new(conf: WorkerConf, now: Now) -> Self {
        Self::advised(conf, now, &|_| ())
    }

    /// As [`Worker::new`]. Memory that is written to while the worker is made is
    /// shown to `advise` before that, as address and bytes, for advice on huge
    /// pages; the rest is in [`Worker::regions`].
    #[must_use]
    pub fn advised(conf: WorkerConf, now: Now, advise: &dyn Fn((*const u8, usize))) -> Self {
        let [a, b, c, d] = conf.seed;
        Self {
            snap: None,
            next: None,
            leaving: VecDeque::with_capacity(16),
            listings: VecDeque::with_capacity(16),
            heads: Some(Box::new([Head::EMPTY; BURST])),
            conns: ConnTable::advised(conf.conns, conf.seed, advise),
            wheel: Wheel::new(conf.conns * 2, now.millis()),
            embryos: Embryos::default(),
            neighs: Neighbours::default(),
            outward: Outward::new([b ^ d.rotate_left(29) | ENDS, c ^ a.rotate_left(37) | ENDS]),
            pools: PortPools::new(conf.id, conf.workers),
            services: service_states(),
            // Never moved: the system gives pages as they are used.
            dests: reserve(DESTS_MAX as usize),
            stats: WorkerStats::default(),
            synproxy: SynProxy::new(conf.seed),
            templates: Templates::new(conf.conns, a ^ d.rotate_left(17)),
            swept: 0,
            limits: Limits::default(),
            held: Held::default(),
            isn: IsnMaker::new(a.rotate_left(23) ^ c, b.rotate_left(41) ^ d),
            icmp_sent: (0, [0; 2]),
            told: (0, 0),
            heard: (0, 0),
            handed: false,
            ident: a as u32,
            frags: None,
            whole: 0,
            paths: Paths::new(b ^ c),
            ip_id: (a ^ d) as u16,
            hosts: HostGate::new(now),
            guards: None,
            tc: None,
            inner: Vec::with_capacity(BURST),
            opened: Vec::with_capacity(BURST),
            nested: false,
            copied: (0, 0),
            conf,
        }
    }

    /// Bytes of the largest tables of a worker for so many connections, to find out
    /// whether they can be had: first the index, all of which it uses at once, then
    /// those that take memory as they fill.
    #[must_use]
    pub fn table_sizes(conns: usize) -> [usize; 3] {
        ConnTable::sizes_for(conns)
    }

    /// Runs what is due; call once a loop, also without traffic. Bounded work.
    pub fn tick<I: Io<Frame = F>>(&mut self, now: Now, io: &mut I) {
        self.hosts.turn(now);
        if self.has_chores() {
            self.chores(io);
            self.list(io);
        }
        let Some(snap) = self.snap.take() else { return };
        if self.wheel.is_behind(now.millis()) {
            self.expire(&snap, now, io);
        }
        self.paths.tick(now.millis());
        if self.frags.is_some() {
            self.expire_fragments(now);
        }
        if !self.templates.is_empty() && now.millis() != self.swept {
            self.sweep_templates(now, io);
        }
        if self.is_short() {
            self.chase_limits(now, io);
        }
        self.give_up(now);
        let (ask, dropped) = self.neighs.tick(now.millis());
        self.stats.drops[Reason::NeighUnresolved as usize] += dropped as u64;
        if let Some(ask) = ask {
            self.ask(&snap, &ask, io);
        }
        self.snap = Some(snap);
    }

    /// Counts a dropped packet.
    #[inline]
    pub(crate) fn drop(&mut self, reason: Reason) {
        self.stats.drop(reason);
    }

    /// Which worker this is.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.conf.id
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> &WorkerStats {
        &self.stats
    }

    /// Connections it has.
    #[must_use]
    pub fn conns(&self) -> usize {
        self.conns.len()
    }

    /// The connections' large memory blocks (address, bytes), for advice on pages:
    /// the index, then those that fill from their start.
    #[must_use]
    pub fn regions(&self) -> [(*const u8, usize); 6] {
        let [a, b, c, d, e] = self.conns.regions();
        [a, b, c, d, e, self.wheel.region()]
    }

    /// Bytes of each of these blocks that are or were in use; all of the index.
    #[inline]
    #[must_use]
    pub fn filled(&self) -> [usize; 6] {
        let [a, b, c, d, e] = self.conns.filled();
        [a, b, c, d, e, self.wheel.filled()]
    }

    /// Bytes the connection table has set aside.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.conns.bytes()
    }
}
