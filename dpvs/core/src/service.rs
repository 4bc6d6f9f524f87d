//! Virtual services, their servers and local addresses, as published.
//!
//! Immutable: what a worker changes while it forwards (cursors, counters) is in
//! `worker`'s own state, found by the dense ids given here. How a service is found
//! among ten thousand is the subject of [`crate::services`].

use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::PortId;
use crate::matching::Matching;
use crate::tokens::Gauge;
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
    /// How fast SYNs come, over all workers and versions.
    pub syns: Arc<Gauge>,
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
            syns: Arc::default(),
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
