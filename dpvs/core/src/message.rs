//! What the master and a worker say to each other.
//!
//! A worker takes [`ToWorker`] between bursts and answers with [`FromWorker`].
//! Every message is bounded work: a listing is asked for in pieces, so no burst
//! waits long.

use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::{PortId, WorkerId};
use crate::sched::Flow;
use crate::service::{DestId, ServiceKey};
use crate::snapshot::{Mac, Snapshot};

/// From the master to one worker.
#[derive(Debug)]
pub enum ToWorker {
    /// Forward by this from now on. Answered by [`FromWorker::Installed`].
    Install {
        /// The next configuration.
        snapshot: Arc<Snapshot>,
        /// Servers that are in the last configuration and not in this one;
        /// each is answered by [`FromWorker::DestDrained`] once unused.
        removed: Vec<DestId>,
    },
    /// Asks for something. Answered by [`FromWorker::Reply`] with the same token.
    Query {
        /// Returned with the answer.
        token: u64,
        /// The question.
        query: Query,
    },
    /// Asks for a listing. Answered by [`FromWorker::Reply`]s with [`Reply::Piece`],
    /// one a turn of the worker's loop, until there is no more or so many came.
    List {
        /// Returned with every piece.
        token: u64,
        /// Of what.
        what: Listing,
        /// Where to begin: 0, or `next` of a piece.
        cursor: u32,
        /// The most pieces wanted now.
        pieces: u32,
    },
    /// Another worker's word.
    Peer(PeerMessage),
    /// Sets a permanent neighbour.
    NeighAdd {
        /// Device.
        port: PortId,
        /// Neighbour's address.
        addr: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// Forgets a neighbour.
    NeighDel {
        /// Device.
        port: PortId,
        /// Neighbour's address.
        addr: IpAddr,
    },
    /// Another worker learned a neighbour.
    NeighLearn {
        /// Device.
        port: PortId,
        /// Neighbour's address.
        addr: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// Sends a gratuitous ARP or unsolicited neighbour advertisement.
    Announce {
        /// Device.
        port: PortId,
        /// Own address to announce.
        addr: IpAddr,
    },
    /// Sends a whole frame.
    Send {
        /// Device.
        port: PortId,
        /// Ethernet header first.
        frame: Box<[u8]>,
    },
    /// Sets the counters of these servers to zero.
    Zero {
        /// Servers; empty = every one, which is a long look on a worker with
        /// very many: the master names them in pieces.
        dests: Vec<DestId>,
    },
}

/// From one worker to another.
#[derive(Clone, Copy, Debug)]
pub enum PeerMessage {
    /// Where does a client belong? Answered by [`PeerMessage::TemplateIs`].
    TemplateAsk {
        /// Who asks.
        from: WorkerId,
        /// The client.
        key: TemplateKey,
        /// Its service.
        service: ServiceKey,
        /// Its flow.
        flow: Flow,
    },
    /// There.
    TemplateIs {
        /// As asked.
        key: TemplateKey,
        /// As asked.
        service: ServiceKey,
        /// As asked.
        client: IpAddr,
        /// `None` if no server may be used.
        dest: Option<DestId>,
    },
    /// A copy of this template is in use.
    TemplateUsed {
        /// The client.
        key: TemplateKey,
    },
    /// About the connection threshold of a server.
    Limit {
        /// Who says it.
        from: WorkerId,
        /// The server's service.
        service: ServiceKey,
        /// The server.
        dest: DestId,
        /// What.
        word: LimitWord,
    },
}

/// What workers say to each other about a threshold; `terms` is [`Dest::terms`] as
/// the one who says it knows them.
///
/// [`Dest::terms`]: crate::service::Dest::terms
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitWord {
    /// How many connections can you spare?
    Ask,
    /// I have lent more than I have now: give me up to so many back, used or not.
    Claim {
        /// Connections.
        number: u32,
    },
    /// So many.
    Give {
        /// Connections.
        number: u32,
    },
    /// The thresholds have changed, and something was lent before.
    News,
    /// All are used up.
    Full {
        /// Of which thresholds.
        terms: u32,
    },
    /// To the keeper of a full server: connections of the worker that says it.
    Count {
        /// Of which thresholds.
        terms: u32,
        /// Connections.
        number: u32,
    },
    /// There are less than the lower threshold.
    Room {
        /// Of which thresholds.
        terms: u32,
    },
}

/// What a persistence template is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TemplateKey {
    /// The service's number that is never given again.
    pub service: u64,
    /// The client's address, masked, in 128 bits; or the hash of a Call-ID.
    pub client: u128,
    /// By Call-ID.
    pub call: bool,
}

impl ToWorker {
    /// How long it keeps a worker, in units of about a microsecond.
    #[must_use]
    pub fn cost(&self) -> u32 {
        let lines = |n: usize| u32::try_from(n / 8).unwrap_or(u32::MAX);
        match self {
            Self::Query { query, .. } => match query {
                Query::Dests(dests) => 1 + lines(dests.len()),
                Query::Conns { max, .. } => 1 + max / 8,
                Query::Neighbours | Query::Laddrs => u32::MAX,
                Query::Tc | Query::Counters => 8,
                Query::ConnFind(_) => 1,
            },
            Self::Zero { dests } if dests.is_empty() => u32::MAX,
            Self::Zero { dests } => 1 + lines(dests.len()),
            Self::Install { .. } => 4,
            _ => 1,
        }
    }
}

/// A question to a worker.
#[derive(Clone, Debug)]
pub enum Query {
    /// Counters of these servers (ask for at most a few hundred at a time).
    Dests(Vec<DestId>),
    /// All neighbours at once, however many: for tests. See [`ToWorker::List`].
    Neighbours,
    /// Up to `max` connections from `cursor` on (0 = from the start).
    Conns {
        /// Where to go on; taken from the last answer.
        cursor: u32,
        /// At most that many.
        max: u32,
    },
    /// The connection of a packet's tuple, in either direction.
    ConnFind(ConnTuple),
    /// Use of the port pools of every local address at once, however many: for
    /// tests. See [`ToWorker::List`].
    Laddrs,
    /// What the queue schedulers counted.
    Tc,
    /// Packets dropped, by reason, and IP counters.
    Counters,
}

/// What is listed in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Connections.
    Conns,
    /// Persistence templates this worker decides about.
    Templates,
    /// Neighbours.
    Neighbours,
    /// Use of the port pools of every local address.
    Laddrs,
}

/// Some entries of a [`Listing`].
#[derive(Clone, Debug)]
pub enum Piece {
    /// Connections.
    Conns(Vec<ConnInfo>),
    /// Neighbours.
    Neighbours(Vec<NeighInfo>),
    /// Port pools.
    Laddrs(Vec<LaddrUse>),
}

/// From a worker to the master.
#[derive(Debug)]
pub enum FromWorker {
    /// A frame of LLDP was received ([`crate::snapshot::Settings::lldp`]).
    Lldp {
        /// Device.
        port: PortId,
        /// Ethernet header first.
        frame: Box<[u8]>,
    },
    /// Somebody else on the link says that he has an address of ours, or probes for it.
    Duplicate {
        /// Device.
        port: PortId,
        /// The address.
        addr: IpAddr,
    },
    /// The worker forwards by that epoch; the old snapshot is given back so that
    /// freeing it is the master's work.
    Installed {
        /// Who.
        worker: WorkerId,
        /// The epoch now in force.
        epoch: u64,
        /// The one before.
        retired: Option<Arc<Snapshot>>,
    },
    /// Memory that is of no more use: freeing it is the master's work.
    Spent {
        /// A configuration that was overtaken before it came into force.
        snapshot: Option<Arc<Snapshot>>,
        /// A list of removed servers that has been gone through.
        removed: Vec<DestId>,
    },
    /// A service that did not ask for the SYN proxy gets it, or no longer.
    SynFlood {
        /// Who.
        worker: WorkerId,
        /// The service.
        service: ServiceKey,
        /// SYNs of this second so far; `None`: it is over.
        rate: Option<u32>,
    },
    /// A connection to a server that is watched has failed.
    DestDown {
        /// Who.
        worker: WorkerId,
        /// The server.
        dest: DestId,
    },
    /// A connection to a server that was taken out and back has succeeded.
    DestUp {
        /// Who.
        worker: WorkerId,
        /// The server.
        dest: DestId,
    },
    /// A removed server has no connection left on this worker.
    DestDrained {
        /// Who.
        worker: WorkerId,
        /// The server.
        dest: DestId,
    },
    /// A neighbour was learned or changed; the master tells the other workers.
    NeighLearned {
        /// Who.
        worker: WorkerId,
        /// Device.
        port: PortId,
        /// Neighbour's address.
        addr: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// Answer to a [`Query`].
    Reply {
        /// Who.
        worker: WorkerId,
        /// As asked.
        token: u64,
        /// The answer.
        reply: Reply,
    },
}

/// Answers, one for each [`Query`], and the pieces of listings.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A piece of a listing.
    Piece {
        /// Entries, none if none were found in this turn.
        piece: Piece,
        /// Where to go on; `None` at the end.
        next: Option<u32>,
    },
    /// Counters in the order asked.
    Dests(Vec<DestCounters>),
    /// Every neighbour.
    Neighbours(Vec<NeighInfo>),
    /// A piece of the connection table.
    Conns {
        /// Connections.
        conns: Vec<ConnInfo>,
        /// Where to go on; `None` at the end.
        next: Option<u32>,
    },
    /// The connection, if there.
    ConnFind(Option<Box<ConnInfo>>),
    /// Port pools.
    Laddrs(Vec<LaddrUse>),
    /// Schedulers, all ports.
    Tc(Vec<crate::tc::QschStats>),
    /// Counters.
    Counters(Box<crate::stats::WorkerStats>),
}

/// Counters of one server on one worker. Bytes are IP lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestCounters {
    /// Connections made.
    pub conns: u64,
    /// Packets from clients.
    pub in_pkts: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Packets to clients.
    pub out_pkts: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
    /// Connections that count as active (TCP established; UDP: none, as in DPVS).
    pub active: u32,
    /// All others.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
}

/// Neighbour states; numbers as on the control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum NeighState {
    /// Failed or new.
    #[default]
    None = 0,
    /// Asked, no answer yet.
    Send = 1,
    /// Resolved.
    Reachable = 2,
    /// Resolved, being confirmed.
    Probe = 3,
    /// Resolved, used while being confirmed.
    Delay = 4,
}

/// A neighbour for listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighInfo {
    /// Device.
    pub port: PortId,
    /// Address.
    pub addr: IpAddr,
    /// Hardware address, zero while unresolved.
    pub mac: Mac,
    /// State.
    pub state: NeighState,
    /// Set by command.
    pub permanent: bool,
    /// Packets waiting for it.
    pub queued: u32,
}

/// A packet's 5-tuple. Ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnTuple {
    /// IP protocol number.
    pub proto: u8,
    /// Source.
    pub src: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination.
    pub dst: IpAddr,
    /// Destination port.
    pub dport: u16,
}

/// A connection for listing. Ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// IP protocol number.
    pub proto: u8,
    /// Client address and port.
    pub client: (IpAddr, u16),
    /// Virtual address and port.
    pub vip: (IpAddr, u16),
    /// Local address and port (the client's where none is used).
    pub laddr: (IpAddr, u16),
    /// Server address and port.
    pub dest: (IpAddr, u16),
    /// State name as listed (`TCP_EST`, `UDP_NORM`, ...).
    pub state: &'static str,
    /// Time-out of the state in seconds, not what is left of it.
    pub timeout: u32,
    /// Packets and IP bytes from the client.
    pub from_client: (u64, u64),
    /// Packets and IP bytes from the server.
    pub from_server: (u64, u64),
}

/// Use of one local address's port pools on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaddrUse {
    /// The address.
    pub addr: IpAddr,
    /// Ports in use (over all sub-pools).
    pub used: u32,
    /// Ports free (over all sub-pools).
    pub free: u32,
    /// Allocations that found none.
    pub miss: u32,
    /// Connections that use it.
    pub conns: u32,
}
