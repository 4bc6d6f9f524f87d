//! Virtual services, their servers and local addresses, as published.
//!
//! Immutable: what a worker changes while it forwards (cursors, counters) is in
//! `worker`'s own state, found by the dense ids given here. Changing one service
//! of ten thousand copies that service and one page of the table.

use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::PortId;
use crate::matching::Matching;
use crate::meetings::Meetings;
use crate::sharemap::{Key, ShareMap, hash_addr};
use crate::xmit::proxy::Proxy;

/// Dense number of a service, given by the master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Dense number of a server within the whole daemon, given by the master and
/// not given again before every worker has said [`crate::message::FromWorker::DestDrained`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestId(pub u32);

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of SCTP.
pub const SCTP: u8 = 132;
/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// What a service is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// IP protocol number.
    pub proto: u8,
    /// Virtual address.
    pub addr: IpAddr,
    /// Virtual port, host order.
    pub port: u16,
}

/// Scheduling method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedKind {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    #[default]
    Wlc,
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Maglev hashing.
    Mh,
    /// Power of two choices.
    Twos,
    /// Consistent hashing.
    Conhash,
}

impl SchedKind {
    /// Every method, as ipvsadm(8) lists them.
    pub const ALL: [Self; 15] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
        Self::Conhash,
    ];

    /// By the name used on the control socket.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name used on the control socket.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
            Self::Conhash => "conhash",
        }
    }
}

/// Forwarding mode of a server; numbers as on the control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FwdMode {
    /// NAT.
    Masq = 0,
    /// Local.
    Local = 1,
    /// IP tunnel.
    Tunnel = 2,
    /// Direct routing.
    #[default]
    Dr = 3,
    /// Bypass.
    Bypass = 4,
    /// Full NAT.
    FullNat = 5,
    /// Source NAT.
    Snat = 6,
}

impl FwdMode {
    /// By its number.
    #[must_use]
    pub fn from_number(n: u16) -> Option<Self> {
        Some(match n {
            0 => Self::Masq,
            1 => Self::Local,
            2 => Self::Tunnel,
            3 => Self::Dr,
            4 => Self::Bypass,
            5 => Self::FullNat,
            6 => Self::Snat,
            _ => return None,
        })
    }
}

/// What is put around packets to a server in [`FwdMode::Tunnel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// Which encapsulation.
    pub kind: TunnelKind,
    /// Checksum of GUE and GRE.
    pub csum: TunnelCsum,
    /// UDP port of GUE, host order.
    pub port: u16,
}

/// Encapsulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TunnelKind {
    /// IP in IP (RFC 2003, RFC 2473, RFC 4213).
    #[default]
    Ip = 0,
    /// Generic UDP encapsulation, as Linux has it.
    Gue = 1,
    /// GRE (RFC 2784).
    Gre = 2,
}

/// Checksum of an encapsulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TunnelCsum {
    /// None.
    #[default]
    None = 0,
    /// Of the whole packet.
    Full = 1,
    /// GUE: as `Full`, and the inner checksum is left to the receiver.
    Remote = 2,
}

impl Tunnel {
    /// In one word, as connections keep it.
    #[must_use]
    pub fn to_bits(self) -> u32 {
        u32::from(self.port) << 16 | (self.csum as u32) << 8 | self.kind as u32
    }

    /// The inverse of [`Tunnel::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self {
            kind: match bits & 0xff {
                1 => TunnelKind::Gue,
                2 => TunnelKind::Gre,
                _ => TunnelKind::Ip,
            },
            csum: match bits >> 8 & 0xff {
                1 => TunnelCsum::Full,
                2 => TunnelCsum::Remote,
                _ => TunnelCsum::None,
            },
            port: (bits >> 16) as u16,
        }
    }
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Dense id.
    pub id: ServiceId,
    /// Never the same for two services, also after an id was given again.
    pub uid: u64,
    /// Counts up when the servers (weights and limits too), the local addresses
    /// or the scheduler change: cursors restart.
    pub version: u64,
    /// What it is found by.
    pub key: ServiceKey,
    /// Scheduling method.
    pub sched: SchedKind,
    /// Established time-out in seconds, 0 = the protocol's.
    pub conn_timeout: u32,
    /// Connections whose server is gone or has weight 0 end at their next packet.
    pub expire_quiescent: bool,
    /// PROXY protocol towards the servers.
    pub proxy: Option<Proxy>,
    /// What it is found by, if not by its key, which then has no address.
    pub matching: Option<Matching>,
    /// SYNs are answered by a cookie, always.
    pub synproxy: bool,
    /// Servers, newest first as DPVS keeps them.
    pub dests: Arc<[Dest]>,
    /// Local addresses, in the order they were added.
    pub laddrs: Arc<[Laddr]>,
    /// How its servers are chosen, beside the scheduler's name.
    pub policy: Policy,
}

impl Service {
    /// A service without servers, weighted least connections; for `..` of a literal.
    #[must_use]
    pub fn new(id: ServiceId, key: ServiceKey) -> Self {
        Self {
            id,
            uid: 0,
            version: 0,
            key,
            sched: SchedKind::Wlc,
            conn_timeout: 0,
            expire_quiescent: false,
            dests: Arc::new([]),
            laddrs: Arc::new([]),
            proxy: None,
            matching: None,
            synproxy: false,
            policy: Policy::default(),
        }
    }

    /// For all ports of its address that no other service is for; its servers get
    /// packets at the port they were sent to.
    #[must_use]
    pub fn is_for_all_ports(&self) -> bool {
        self.key.port == 0
            && self.policy.persistence.is_some()
            && !matches!(self.key.proto, ICMP | ICMPV6)
    }
}

/// What a hash scheduler hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashTarget {
    /// Nothing was said: `conhash` finds no server then, as in DPVS.
    #[default]
    None,
    /// The client's address.
    Sip,
    /// The connection id of gQUIC, else the client's address.
    Qid,
}

/// Connections of a client stay with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// How long it is remembered after its last connection has ended, seconds.
    pub timeout: u32,
    /// Which bits of a client's address count, as they stand in an address of 128
    /// bits (IPv4 in the last 32).
    pub mask: u128,
    /// A SIP call (its Call-ID) is the client, where there is one.
    pub sip: bool,
}

/// How a service's servers are chosen, beside the scheduler's name.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct Policy {
    /// What `mh` and `conhash` look a server up in, and the like: made by the
    /// master for these servers, used by all workers.
    pub table: Option<Arc<crate::sched::Table>>,
    /// What `conhash` hashes.
    pub hash_target: HashTarget,
    /// `sh-fallback`, `mh-fallback`: another server where the hashed one may not
    /// be used.
    pub fallback: bool,
    /// `sh-port`, `mh-port`: the client's port is hashed, too.
    pub with_port: bool,
    /// Connection ids of IETF QUIC name their server.
    pub quic: bool,
    /// Each datagram is scheduled anew.
    pub one_packet: bool,
    /// Clients come back to the same server.
    pub persistence: Option<Persistence>,
    /// Servers are watched by the outcome of connections; so many have to succeed
    /// after a server was taken out and back.
    pub check: Option<u8>,
}

/// A real server of a service.
#[derive(Clone, Copy, Debug)]
pub struct Dest {
    /// Dense id, the index of its counters in a worker.
    pub id: DestId,
    /// Server address.
    pub addr: IpAddr,
    /// Server port, host order.
    pub port: u16,
    /// 0 drains the server.
    pub weight: u16,
    /// Forwarding mode.
    pub mode: FwdMode,
    /// Encapsulation, in [`FwdMode::Tunnel`].
    pub tunnel: Tunnel,
    /// Upper connection threshold over all workers, 0 = none.
    pub max_conn: u32,
    /// Lower connection threshold: a full server gets connections again when it has
    /// fewer than this; 0 = as soon as it is not full.
    pub min_conn: u32,
    /// Counts the changes of these two thresholds.
    pub terms: u32,
    /// Taken out by the passive check.
    pub inhibited: bool,
    /// How often it was let back, modulo 256.
    pub returns: u8,
}

impl Dest {
    /// A FullNAT server of weight 1 without thresholds; for `..` of a literal.
    #[must_use]
    pub fn new(id: DestId, addr: IpAddr, port: u16) -> Self {
        Self {
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
        }
    }

    /// May get new connections, thresholds aside.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.weight > 0 && !self.inhibited
    }
}

/// A local address of a service: the source towards the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Laddr {
    /// The address.
    pub addr: IpAddr,
    /// Device it is bound to.
    pub port: PortId,
}

/// Most servers there can be: what [`DestId`]s are below.
pub const DESTS_MAX: u32 = 1 << 20;

/// A set of servers, in pages of bits that copies share.
#[derive(Clone, Debug, Default)]
struct DestSet(Arc<Vec<Arc<[u64; 64]>>>);

impl DestSet {
    fn place(dest: DestId) -> (usize, usize, u64) {
        let n = dest.0 as usize;
        (n / 4096, n / 64 % 64, 1 << (n % 64))
    }

    #[inline]
    fn contains(&self, dest: DestId) -> bool {
        let (page, word, bit) = Self::place(dest);
        self.0.get(page).is_some_and(|p| p[word] & bit != 0)
    }

    fn set(&mut self, dest: DestId, on: bool) {
        if self.contains(dest) == on {
            return;
        }
        let (page, word, bit) = Self::place(dest);
        let pages = Arc::make_mut(&mut self.0);
        if page >= pages.len() {
            pages.resize(page + 1, Arc::new([0; 64]));
        }
        Arc::make_mut(&mut pages[page])[word] ^= bit;
    }
}

/// All services by key; cloning it and replacing one service shares the rest.
#[derive(Clone, Debug, Default)]
pub struct ServiceTable {
    services: ShareMap<ServiceKey, Arc<Service>>,
    /// How many TCP and how many other services an address has.
    vips: ShareMap<IpAddr, [u32; 2]>,
    /// Those that are found by what a packet is, newest first.
    matches: Arc<Vec<Arc<Service>>>,
    /// There is, or was, a service for echoes.
    echo: bool,
    /// There is, or was, a server of another family than its service.
    crosses: bool,
    /// There is, or was, a persistent service for all ports of its address.
    all_ports: bool,
    quiescent: DestSet,
    dest_bound: u32,
    meetings: Meetings,
}

impl Key for ServiceKey {
    #[inline(always)]
    fn hash(&self, seed: [u64; 2]) -> u64 {
        hash_addr(
            &self.addr,
            u64::from(self.port) << 8 | u64::from(self.proto),
            seed,
        )
    }
}

/// The ends by which both directions of a NAT connection are known: ICMP has no
/// port that says anything, and a service for all ports keeps the packet's.
fn meeting_ends(key: &ServiceKey, dest: &Dest) -> [ServiceKey; 2] {
    let any = matches!(key.proto, ICMP | ICMPV6) || key.port == 0;
    let port = |port| if any { 0 } else { port };
    [
        ServiceKey {
            port: port(key.port),
            ..*key
        },
        ServiceKey {
            proto: key.proto,
            addr: dest.addr,
            port: port(dest.port),
        },
    ]
}

fn kind(proto: u8) -> usize {
    usize::from(proto != TCP)
}

impl ServiceTable {
    /// An empty table that hashes with this key.
    #[must_use]
    pub fn keyed(seed: [u64; 2]) -> Self {
        Self {
            services: ShareMap::keyed(seed),
            vips: ShareMap::keyed(seed),
            meetings: Meetings::keyed(seed),
            ..Self::default()
        }
    }

    /// True if the address has any service of that protocol (TCP or UDP).
    #[inline]
    #[must_use]
    pub fn has(&self, addr: IpAddr, proto: u8) -> bool {
        self.vips.get(&addr).is_some_and(|n| n[kind(proto)] > 0)
    }

    /// The service of exactly that key.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The service of a key, which may be one that is found by what a packet is.
    #[must_use]
    pub fn any(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        let matching = || self.matches.iter().find(|s| s.key == *key);
        self.get(key).or_else(matching)
    }

    /// The service of a packet to that address and port: the one of that port, else
    /// the persistent one for all ports (Linux IPVS has that, DPVS does not), or for
    /// all echo requests.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        match self.services.get(key) {
            None if self.all_ports || matches!(key.proto, ICMP | ICMPV6) => self.find_wide(key),
            found => found,
        }
    }

    #[cold]
    fn find_wide(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        let all = self.services.get(&ServiceKey { port: 0, ..*key })?;
        (all.is_for_all_ports() || matches!(key.proto, ICMP | ICMPV6)).then_some(all)
    }

    /// Whether a packet may belong to a service for all ports.
    #[inline]
    #[must_use]
    pub fn has_all_ports(&self) -> bool {
        self.all_ports
    }

    /// A server that is gone, or has weight 0, or is inhibited: connections of
    /// services that want it end.
    #[inline]
    #[must_use]
    pub fn is_quiescent(&self, dest: DestId) -> bool {
        self.quiescent.contains(dest)
    }

    /// Where connections of NAT servers are.
    #[inline]
    #[must_use]
    pub fn meetings(&self) -> &Meetings {
        &self.meetings
    }

    /// No worker has connections of a removed server any more.
    pub fn drained(&mut self, dest: DestId) {
        if !self.meetings.is_empty() {
            self.meetings.drained(dest);
        }
    }

    /// All servers' numbers are below this, those of the past included.
    #[must_use]
    pub fn dest_bound(&self) -> u32 {
        self.dest_bound
    }

    /// Adds or replaces a service.
    pub fn insert(&mut self, service: Arc<Service>) {
        let key = service.key;
        self.echo |= key.proto == ICMP || key.proto == ICMPV6;
        self.all_ports |= service.is_for_all_ports();
        let new = Arc::clone(&service);
        let old = if new.matching.is_some() {
            self.insert_match(service)
        } else {
            self.services.insert(key, service)
        };
        match old {
            Some(old) if Arc::ptr_eq(&old.dests, &new.dests) => return,
            Some(old) => self.retire(&old),
            None if new.matching.is_some() => {}
            None => self.count(&key, 1),
        }
        for dest in new.dests.iter() {
            self.crosses |= dest.addr.is_ipv6() != key.addr.is_ipv6();
            self.quiescent.set(dest.id, !dest.usable());
            self.dest_bound = self.dest_bound.max(dest.id.0.saturating_add(1));
            if dest.mode == FwdMode::Masq {
                self.meetings.add(dest.id, meeting_ends(&key, dest));
            }
        }
    }

    /// Whether an IPv4 packet may belong to a connection between the families.
    #[inline]
    #[must_use]
    pub fn crosses(&self) -> bool {
        self.crosses
    }

    /// Whether an echo may belong to a connection.
    #[inline]
    #[must_use]
    pub fn wants_echo(&self) -> bool {
        self.echo
    }

    fn insert_match(&mut self, service: Arc<Service>) -> Option<Arc<Service>> {
        let all = Arc::make_mut(&mut self.matches);
        if let Some(old) = all.iter_mut().find(|s| s.key == service.key) {
            return Some(std::mem::replace(old, service));
        }
        let at = all.partition_point(|s| s.uid > service.uid);
        all.insert(at, service);
        None
    }

    /// Services that are found by what a packet is, newest first.
    #[inline]
    #[must_use]
    pub fn matches(&self) -> &[Arc<Service>] {
        &self.matches
    }

    /// Removes a service.
    pub fn remove(&mut self, key: &ServiceKey) -> Option<Arc<Service>> {
        if let Some(at) = self.matches.iter().position(|s| s.key == *key) {
            let gone = Arc::make_mut(&mut self.matches).remove(at);
            self.retire(&gone);
            return Some(gone);
        }
        let gone = self.services.remove(key)?;
        self.retire(&gone);
        self.count(key, -1);
        Some(gone)
    }

    fn retire(&mut self, service: &Service) {
        for dest in service.dests.iter() {
            self.quiescent.set(dest.id, true);
        }
    }

    fn count(&mut self, key: &ServiceKey, by: i32) {
        let mut counts = self.vips.get(&key.addr).copied().unwrap_or_default();
        let n = &mut counts[kind(key.proto)];
        *n = n.saturating_add_signed(by);
        if counts == [0; 2] {
            self.vips.remove(&key.addr);
        } else {
            self.vips.insert(key.addr, counts);
        }
    }

    /// How many pages of the table are the very same in another one, and how many
    /// there are.
    #[must_use]
    pub fn shared_pages(&self, other: &Self) -> (usize, usize) {
        self.services.shared_pages(&other.services)
    }

    /// Number of services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len() + self.matches.len()
    }

    /// True without any service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.matches.is_empty()
    }

    /// All services, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        let keyed = self.services.iter().map(|(_, service)| service);
        keyed.chain(self.matches.iter())
    }
}
