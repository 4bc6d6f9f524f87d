//! A director the slow and obvious way, to hold the fast one against.
//!
//! Plain maps, every packet by itself, every checksum added up whole, written
//! from the facts and the RFCs. What the facts leave to the implementation (the
//! local address and port of a new connection, the first sequence number towards
//! the server, the order in which timers fire) it takes from what the other one
//! did, through [`Other`], and checks that it was allowed. Knows nothing of the
//! code it is compared with but its public types.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod admit;
pub mod config;
mod draft;
mod errors;
mod flow;
mod local;
mod neigh;
mod sched;
pub mod tcp;
pub mod wire;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use dpvs_core::message::{ConnInfo, ConnTuple, DestCounters, FromWorker, NeighInfo};
use dpvs_core::service::DestId;
use dpvs_core::stats::{InetStats, Reason};

pub use config::Config;
pub use draft::Draft;
pub use flow::Conn;
use neigh::Neighbour;
use wire::Seen;

/// A destination for frames: sent on a port, given to the kernel there, handed
/// to another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum To {
    Wire(u16),
    Kernel(u16),
    Worker(u8),
}

/// What the implementation under test did; asked where it is free to choose.
pub trait Other {
    /// Its connection of a client's tuple.
    fn conn(&mut self, tuple: &ConnTuple) -> Option<ConnInfo>;
    /// All its neighbours.
    fn neighbours(&mut self) -> Vec<NeighInfo>;
    /// The next frame it sent there, taken.
    fn next(&mut self, to: To) -> Option<Vec<u8>>;
    /// The next frame it sent there.
    fn peek(&mut self, to: To) -> Option<&[u8]>;
    /// Takes the first frame it sent there that `is` says yes to.
    fn find(&mut self, to: To, is: &mut dyn FnMut(&[u8]) -> bool) -> Option<Vec<u8>>;
    /// What it told the master.
    fn events(&mut self) -> Vec<FromWorker>;
}

/// Counters, as the facts name them.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub drops: BTreeMap<&'static str, u64>,
    pub to_host: u64,
    pub handed_over: u64,
    pub conn_hits: u64,
    pub made: u64,
    pub gone: u64,
    pub evicted: u64,
    pub toa_ok: u64,
    pub toa_failed: u64,
    pub ip4: InetStats,
    pub ip6: InetStats,
}

impl Books {
    pub fn drop(&mut self, reason: Reason) {
        self.drop_n(reason, 1);
    }

    pub fn drop_n(&mut self, reason: Reason, n: u64) {
        if n > 0 {
            *self.drops.entry(reason.text()).or_default() += n;
        }
    }
}

/// Where a packet has to go to next.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// To a known MAC address.
    Mac { port: u16, mac: [u8; 6], mtu: u16 },
    /// The neighbour has to be asked for.
    Ask {
        port: u16,
        next_hop: IpAddr,
        src: Option<IpAddr>,
        mtu: u16,
    },
}

impl Way {
    pub fn mtu(&self) -> usize {
        match self {
            Way::Mac { mtu, .. } | Way::Ask { mtu, .. } => usize::from(*mtu),
        }
    }
}

/// The director.
pub struct Director {
    pub me: u8,
    pub workers: u8,
    /// Connections of each family there is room for.
    pub room: usize,
    pub config: Config,
    pub now: u64,
    pub conns: BTreeMap<u64, Conn>,
    by_tuple: HashMap<ConnTuple, (u64, bool)>,
    pub neighs: BTreeMap<(u16, IpAddr), Neighbour>,
    places: HashMap<u32, (u64, u64, sched::Place)>,
    pub dests: HashMap<DestId, DestCounters>,
    removed: HashSet<DestId>,
    pub books: Books,
    pub told: Vec<String>,
    /// Millisecond, and what the master was told within it.
    tellings: (u64, u32),
    /// Second, and objections to own addresses heard within it.
    objections: (u64, u32),
    /// Sequence shifts by number, once they are known.
    shifts: HashMap<u64, u32>,
    /// The client's initial number by shift, and when it came.
    begins: HashMap<u64, (u32, u64)>,
    /// The last shift known by out tuple, and the initial number it made.
    isns: HashMap<(IpAddr, u16, IpAddr, u16), (u64, u32)>,
    next_id: u64,
    icmp: (u64, u32),
    /// The other one gets no packet buffers.
    pub no_buffers: bool,
    /// Frame and port being looked at, for messages.
    pub at: String,
}

impl Director {
    pub fn new(me: u8, workers: u8, room: usize, config: Config) -> Self {
        Self {
            me,
            workers,
            room,
            config,
            now: 0,
            conns: BTreeMap::new(),
            by_tuple: HashMap::new(),
            neighs: BTreeMap::new(),
            places: HashMap::new(),
            dests: HashMap::new(),
            removed: HashSet::new(),
            books: Books::default(),
            told: Vec::new(),
            tellings: (0, 0),
            objections: (0, 0),
            shifts: HashMap::new(),
            begins: HashMap::new(),
            isns: HashMap::new(),
            next_id: 1,
            icmp: (0, 0),
            no_buffers: false,
            at: String::new(),
        }
    }

    fn millis(&self) -> u64 {
        self.now / 1000
    }

    /// A frame goes to the worker it belongs to, who counts it as received.
    fn hand_over(&mut self, worker: u8, frame: &[u8], v6: bool, o: &mut dyn Other) {
        let stats = if v6 {
            &mut self.books.ip6
        } else {
            &mut self.books.ip4
        };
        stats.in_pkts -= 1;
        stats.in_octets -= (frame.len() - wire::ETH) as u64;
        self.books.handed_over += 1;
        self.expect(To::Worker(worker), frame, o);
    }

    /// A frame was received.
    pub fn receive(&mut self, port: u16, frame: &[u8], o: &mut dyn Other) {
        let Some(p) = self.config.ports.get(usize::from(port)).cloned() else {
            return self.books.drop(Reason::NotConfigured);
        };
        match wire::look(frame, p.mac) {
            Seen::Drop(reason) => self.books.drop(reason),
            Seen::Arp => self.arp(port, frame, o),
            Seen::Other => self.kernel(port, port, frame, o),
            Seen::Ip(ip) => {
                // Padding is no part of the packet.
                let frame = &frame[..ip.end];
                if ip.ports.is_some() {
                    self.flow(port, frame, &ip, o);
                } else {
                    self.ip(port, frame, &ip, o);
                }
            }
        }
    }

    /// With `forward2kni` the kernel gets a copy of all, first.
    pub fn copies(&mut self, port: u16, frames: &[Vec<u8>], o: &mut dyn Other) {
        let Some(p) = self.config.ports.get(usize::from(port)) else {
            return;
        };
        if p.forward2kni && !self.no_buffers {
            for frame in frames {
                self.books.to_host += 1;
                self.expect(To::Kernel(port), frame, o);
            }
        }
    }

    /// A frame for the kernel, through the host port of `port`.
    fn kernel(&mut self, from: u16, port: u16, frame: &[u8], o: &mut dyn Other) {
        match self.config.ports.get(usize::from(port)) {
            Some(p) if p.forward2kni && port == from => self.books.drop(Reason::Consumed),
            Some(p) if p.has_host => {
                let mut frame = frame.to_vec();
                if port != from && frame[0] & 1 == 0 {
                    // Linux drops what is to another MAC address than the device's.
                    frame[..6].copy_from_slice(&p.mac);
                }
                self.books.to_host += 1;
                self.expect(To::Kernel(port), &frame, o);
            }
            _ => self.books.drop(Reason::NoHostPort),
        }
    }

    /// The other one must have sent this next.
    fn expect(&mut self, to: To, want: &[u8], o: &mut dyn Other) {
        match o.next(to) {
            Some(got) if same(&got, want) => {}
            got => panic!(
                "{}\nto {to:?}\nwant {}\ngot  {}",
                self.at,
                hex(want),
                got.map_or("nothing".into(), |g| hex(&g))
            ),
        }
    }

    /// The longest matching route.
    fn route(&self, dst: IpAddr) -> Option<dpvs_core::inet::route::Route> {
        self.config
            .routes
            .iter()
            .filter(|r| config::covers(r.dst, r.plen, dst))
            .copied()
            .reduce(|best, r| if r.plen > best.plen { r } else { best })
    }

    /// The way to a destination by routes and neighbours.
    fn way(&self, dst: IpAddr) -> Result<Way, Reason> {
        let route = self.route(dst).ok_or(Reason::NoRoute)?;
        let port = route.port.0;
        let p = self
            .config
            .ports
            .get(usize::from(port))
            .ok_or(Reason::NoRoute)?;
        let next_hop = route.gateway.unwrap_or(dst);
        let mtu = route.mtu.min(p.mtu);
        Ok(match self.neighs.get(&(port, next_hop)) {
            Some(n) if n.mac.is_some() => Way::Mac {
                port,
                mac: n.mac.unwrap(),
                mtu,
            },
            _ => Way::Ask {
                port,
                next_hop,
                src: route.src,
                mtu,
            },
        })
    }

    /// A frame leaves, or waits for its neighbour.
    fn send(&mut self, draft: Draft, way: Way, o: &mut dyn Other) {
        match way {
            Way::Mac { port, mac, .. } => self.emit(port, mac, &draft, o),
            Way::Ask {
                port,
                next_hop,
                src,
                ..
            } => self.wait(port, next_hop, src, draft, o),
        }
    }

    /// A frame leaves by a port towards a MAC address.
    fn emit(&mut self, port: u16, mac: [u8; 6], draft: &Draft, o: &mut dyn Other) {
        let to = To::Wire(port);
        let own = self.config.ports[usize::from(port)].mac;
        let shift = draft.shift.map_or(0, |id| self.solve(id, draft, to, o));
        let mut want = draft.bytes(shift);
        want[..6].copy_from_slice(&mac);
        want[6..12].copy_from_slice(&own);
        self.expect(to, &want, o);
    }

    /// A sequence shift; if it is not known yet, the frame that was sent tells.
    fn solve(&mut self, id: u64, draft: &Draft, to: To, o: &mut dyn Other) -> u32 {
        if let Some(shift) = self.shifts.get(&id) {
            return *shift;
        }
        let Some(got) = o.peek(to) else { return 0 };
        let Some(shift) = draft.shift_in(got) else {
            return 0;
        };
        self.shifts.insert(id, shift);
        self.check_isn(id, draft, shift);
        shift
    }

    /// Initial numbers towards a server have to rise for the same four ends. Shifts are
    /// counted as they are chosen, and known when the first frame leaves, which may have
    /// waited.
    fn check_isn(&mut self, id: u64, draft: &Draft, shift: u32) {
        let Some(ends) = draft.towards_server() else {
            return;
        };
        let (client_isn, then) = self.begins[&id];
        let isn = client_isn.wrapping_add(shift);
        let other = self.isns.insert(ends, (id, isn));
        let Some((other, others)) = other else { return };
        if self.begins[&other].1.abs_diff(then) < 60_000 {
            let rise = match other < id {
                true => isn.wrapping_sub(others),
                false => others.wrapping_sub(isn),
            };
            assert!(rise < 1 << 31, "{}: a lower initial number", self.at);
        }
    }

    /// All that was sent must have been expected.
    pub fn nothing_left(&mut self, o: &mut dyn Other) {
        let ports = self.config.ports.len() as u16 + 1;
        let all = (0..ports)
            .flat_map(|p| [To::Wire(p), To::Kernel(p)])
            .chain((0..self.workers).map(To::Worker));
        for to in all {
            if let Some(frame) = o.next(to) {
                panic!("{}\nunexpected to {to:?}: {}", self.at, hex(&frame));
            }
        }
        for event in o.events() {
            self.event(&event);
        }
        assert!(
            self.told.is_empty(),
            "{}\nnot told: {:?}",
            self.at,
            self.told
        );
    }

    fn event(&mut self, event: &FromWorker) {
        match event {
            FromWorker::DestDrained { dest, .. } => {
                assert!(
                    self.removed.remove(dest),
                    "{}: {dest:?} drained, but not removed",
                    self.at
                );
                let users = self.conns.values().filter(|c| c.dest == *dest).count();
                assert_eq!(users, 0, "{}: {dest:?} drained in use", self.at);
                self.dests.remove(dest);
            }
            FromWorker::NeighLearned { .. } | FromWorker::Duplicate { .. } => {
                let text = match event {
                    FromWorker::NeighLearned {
                        port, addr, mac, ..
                    } => format!("{} {addr} {mac:?}", port.0),
                    FromWorker::Duplicate { port, addr } => format!("{} {addr} twice", port.0),
                    _ => String::new(),
                };
                match self.told.iter().position(|t| *t == text) {
                    Some(i) => drop(self.told.remove(i)),
                    None => panic!("{}: told {text}", self.at),
                }
            }
            FromWorker::Installed { .. } | FromWorker::Spent { .. } | FromWorker::Lldp { .. } => {}
            other => panic!("{}: unexpected {other:?}", self.at),
        }
    }

    /// A server was removed from its service.
    pub fn remove(&mut self, dest: DestId) {
        self.removed.insert(dest);
    }

    /// A connection's sequence shift, if it is known.
    pub fn shift_of(&self, conn: &Conn) -> Option<u32> {
        self.shifts.get(&conn.shift?).copied()
    }

    /// Counters start from zero; what is open stays open.
    pub fn zero(&mut self) {
        for c in self.dests.values_mut() {
            *c = DestCounters {
                active: c.active,
                inactive: c.inactive,
                ..DestCounters::default()
            };
        }
    }

    /// Servers that were removed and not yet reported unused.
    pub fn undrained(&self) -> Vec<DestId> {
        let used = |d: &DestId| self.conns.values().any(|c| c.dest == *d);
        self.removed.iter().filter(|d| !used(d)).copied().collect()
    }
}

/// Byte for byte, but for a checksum that may be 0 or ffff alike: whoever sends
/// one as ffff gets it back so.
fn same(got: &[u8], want: &[u8]) -> bool {
    if got == want {
        return true;
    }
    got.len() == want.len() && {
        let differs: Vec<usize> = (0..got.len()).filter(|i| got[*i] != want[*i]).collect();
        let ends = |b: &[u8], v| differs.iter().all(|i| b[*i] == v);
        differs.len() == 2
            && differs[0] + 1 == differs[1]
            && sum_at(want).contains(&differs[0])
            && ends(got, 0xff)
            && ends(want, 0)
    }
}

/// Where a frame's checksums are that may be 0 or ffff.
fn sum_at(f: &[u8]) -> Vec<usize> {
    let mut at = Vec::new();
    if f[12..14] == [8, 0] {
        let l4 = 14 + usize::from(f[14] & 15) * 4;
        at.push(24);
        if f[23] == wire::TCP {
            at.push(l4 + 16);
        }
    } else if f[20] == wire::TCP {
        at.push(54 + 16);
    }
    at
}

pub fn hex(b: &[u8]) -> String {
    b.iter().map(|x| format!("{x:02x}")).collect()
}
