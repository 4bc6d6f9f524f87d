//! Virtual services, their servers and local addresses, as published.
//!
//! Immutable: what a worker changes while it forwards (cursors, counters) is in
//! `worker`'s own state, found by the dense ids given here. The table is cut
//! into shards so that changing one service of ten thousand copies one shard.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::PortId;

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
    /// Weighted least connections.
    #[default]
    Wlc,
}

impl SchedKind {
    /// By the name used on the control socket.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "rr" => Some(Self::Rr),
            "wrr" => Some(Self::Wrr),
            "wlc" => Some(Self::Wlc),
            _ => None,
        }
    }

    /// The name used on the control socket.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Wlc => "wlc",
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

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Dense id.
    pub id: ServiceId,
    /// Never the same for two services, also after an id was given again.
    pub uid: u64,
    /// Counts up when the servers or the scheduler change: cursors restart.
    pub version: u64,
    /// What it is found by.
    pub key: ServiceKey,
    /// Scheduling method.
    pub sched: SchedKind,
    /// Established time-out in seconds, 0 = the protocol's.
    pub conn_timeout: u32,
    /// Connections whose server is gone or has weight 0 end at their next packet.
    pub expire_quiescent: bool,
    /// Servers, newest first as DPVS keeps them.
    pub dests: Arc<[Dest]>,
    /// Local addresses, in the order they were added.
    pub laddrs: Arc<[Laddr]>,
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
    /// Upper connection threshold over all workers, 0 = none.
    pub max_conn: u32,
    /// Taken out by the passive check.
    pub inhibited: bool,
}

impl Dest {
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

const SHARDS: usize = 256;

type Shard = HashMap<ServiceKey, Arc<Service>>;

/// All services by key; cloning it and replacing one service shares the rest.
#[derive(Clone, Debug)]
pub struct ServiceTable {
    shards: Arc<[Arc<Shard>]>,
    len: usize,
}

impl Default for ServiceTable {
    fn default() -> Self {
        let empty = Arc::new(Shard::default());
        Self {
            shards: vec![empty; SHARDS].into(),
            len: 0,
        }
    }
}

impl ServiceTable {
    /// All services of an address are in one shard.
    fn shard(addr: &IpAddr) -> usize {
        // Placement only: the maps inside are keyed against collisions.
        let h: u64 = BuildHasherDefault::<DefaultHasher>::default().hash_one(addr);
        (h % SHARDS as u64) as usize
    }

    /// True if the address has any service of that protocol.
    #[must_use]
    pub fn has(&self, addr: IpAddr, proto: u8) -> bool {
        self.shards[Self::shard(&addr)]
            .keys()
            .any(|k| k.addr == addr && k.proto == proto)
    }

    /// Services that are not the same object in `old`: new ones and changed ones.
    pub fn changed<'a>(
        &'a self,
        old: Option<&'a ServiceTable>,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.shards.iter().enumerate().flat_map(move |(i, shard)| {
            let before = old.map(|o| &o.shards[i]);
            let same = before.is_some_and(|b| Arc::ptr_eq(b, shard));
            shard.values().filter(move |s| {
                !same
                    && !before
                        .and_then(|b| b.get(&s.key))
                        .is_some_and(|b| Arc::ptr_eq(b, s))
            })
        })
    }

    /// The service of a key.
    #[must_use]
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        if self.len == 0 {
            return None;
        }
        self.shards[Self::shard(&key.addr)].get(key)
    }

    /// Adds or replaces a service.
    pub fn insert(&mut self, service: Arc<Service>) {
        let key = service.key;
        if self.edit(&key).insert(key, service).is_none() {
            self.len += 1;
        }
    }

    /// Removes a service.
    pub fn remove(&mut self, key: &ServiceKey) -> Option<Arc<Service>> {
        self.get(key)?;
        let gone = self.edit(key).remove(key);
        self.len -= usize::from(gone.is_some());
        gone
    }

    /// Number of services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without any service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All services, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.shards.iter().flat_map(|s| s.values())
    }

    fn edit(&mut self, key: &ServiceKey) -> &mut Shard {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[Self::shard(&key.addr)])
    }
}
