//! The configuration a worker forwards by: one immutable value, published whole.
//!
//! The master builds the next `Snapshot` and sends it to every worker; a worker
//! swaps its `Arc` between two bursts. Parts that did not change are shared with
//! the last one (each part is an `Arc`, the tables are in pages). Nothing in here
//! is mutable and nothing counts: counters live in the workers.

use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::PortId;
use crate::guard::Guard;
use crate::inet::route::Fib;
use crate::inet::tunnel::{Tunnel, Tunnels};
use crate::proto::tcp::State;
use crate::rss::Returns;
use crate::services::ServiceTable;
use crate::sharemap::ShareMap;
use crate::tc::Tc;
use crate::xmit::uoa::UoaMode;

/// A MAC address.
pub type Mac = [u8; 6];

/// Everything the workers forward by.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up by one with every publication.
    pub epoch: u64,
    /// Devices; the index is the [`PortId`]. A device that is gone leaves a hole.
    pub ports: Arc<[Port]>,
    /// Addresses and host routes that end here, by destination address.
    pub locals: Locals,
    /// IPv4 and IPv6 routes that lead on.
    pub fib: Arc<Fib>,
    /// Tunnels by their ends.
    pub tunnels: Arc<Tunnels>,
    /// Virtual services.
    pub services: ServiceTable,
    /// Black and white lists, rate limits, and the sets they name.
    pub guard: Guard,
    /// Queue schedulers of the ports.
    pub tc: Arc<Tc>,
    /// How replies to local addresses find their worker.
    pub returns: Returns,
    /// Time-outs and switches of dpvs.conf.
    pub settings: Arc<Settings>,
}

/// A device as the logic sees it.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// Device name, for logs and the host port.
    pub name: String,
    /// Own hardware address.
    pub mac: Mac,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// True if the port has a host port towards the kernel.
    pub has_host: bool,
    /// `forward2kni`: everything received and sent is copied to the host port.
    pub forward2kni: bool,
    /// Addresses on this port, in the order they were added.
    pub addrs: Vec<PortAddr>,
    /// Those of them whose preferred lifetime is over (RFC 4862 §5.5.4): valid, but
    /// nothing is sent from one while there is another.
    pub deprecated: Vec<IpAddr>,
    /// VLAN devices on it by id, ascending. Without any, tagged frames are the
    /// kernel's like every type nobody here knows.
    pub vlans: Vec<(u16, PortId)>,
    /// It is a VLAN device.
    pub vlan: Option<Tag>,
    /// It is a tunnel.
    pub tunnel: Option<Arc<Tunnel>>,
}

impl Port {
    /// Not the hole that a removed device left.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.mtu > 0
    }
}

/// Where a VLAN device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The port below.
    pub parent: PortId,
    /// VLAN id, 1 to 4095.
    pub id: u16,
}

/// An address of a port.
#[derive(Clone, Copy, Debug)]
pub struct PortAddr {
    /// The address.
    pub addr: IpAddr,
    /// Prefix length, 0..=32 or 0..=128.
    pub plen: u8,
    /// Feeds a local-port pool (`sapool`).
    pub sapool: bool,
}

/// What happens to a packet for an address that ends in this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// An address of the dataplane on that port; `sapool` marks a local address
    /// whose ports are split among the workers.
    Own {
        /// Port the address is on.
        port: PortId,
        /// Feeds a local-port pool.
        sapool: bool,
    },
    /// `kni_host` route: the kernel's, through that port's host port.
    Host {
        /// Port whose host port gets the packet.
        port: PortId,
    },
}

/// Addresses that end here.
#[derive(Clone, Debug, Default)]
pub struct Locals {
    map: ShareMap<IpAddr, Local>,
    /// Those that feed a local-port pool, in the order they came.
    sapools: Arc<Vec<IpAddr>>,
    /// Those of the kernel, in the order they came.
    hosts: Arc<Vec<IpAddr>>,
}

impl Locals {
    /// Without any address, hashing with this key.
    #[must_use]
    pub fn keyed(seed: [u64; 2]) -> Self {
        Self {
            map: ShareMap::keyed(seed),
            sapools: Arc::default(),
            hosts: Arc::default(),
        }
    }

    /// What an address is here.
    #[inline]
    #[must_use]
    pub fn get(&self, addr: &IpAddr) -> Option<&Local> {
        self.map.get(addr)
    }

    /// Adds or replaces; returns what was there.
    pub fn insert(&mut self, addr: IpAddr, local: Local) -> Option<Local> {
        let old = self.map.insert(addr, local);
        self.note(addr, old, Some(local));
        old
    }

    /// Removes an address.
    pub fn remove(&mut self, addr: &IpAddr) -> Option<Local> {
        let old = self.map.remove(addr)?;
        self.note(*addr, Some(old), None);
        Some(old)
    }

    /// Keeps the lists of some of them.
    fn note(&mut self, addr: IpAddr, old: Option<Local>, new: Option<Local>) {
        let pool = |l: Local| matches!(l, Local::Own { sapool: true, .. });
        let host = |l: Local| matches!(l, Local::Host { .. });
        for (list, was, is) in [
            (
                &mut self.sapools,
                old.is_some_and(pool),
                new.is_some_and(pool),
            ),
            (
                &mut self.hosts,
                old.is_some_and(host),
                new.is_some_and(host),
            ),
        ] {
            // One of the kernel's that moves to another port is another one.
            let moved = was && is && old != new && new.is_some_and(host);
            if was && (!is || moved) {
                Arc::make_mut(list).retain(|a| *a != addr);
            }
            if is && (!was || moved) {
                Arc::make_mut(list).push(addr);
            }
        }
    }

    /// Addresses that feed a local-port pool. The same `Arc` while the set of
    /// them does not change.
    #[must_use]
    pub fn sapools(&self) -> &Arc<Vec<IpAddr>> {
        &self.sapools
    }

    /// Addresses of the kernel. The same `Arc` while none comes, goes or moves.
    #[must_use]
    pub fn hosts(&self) -> &Arc<Vec<IpAddr>> {
        &self.hosts
    }

    /// All addresses, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Local)> {
        self.map.iter()
    }

    /// Number of addresses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True without any address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl FromIterator<(IpAddr, Local)> for Locals {
    fn from_iter<I: IntoIterator<Item = (IpAddr, Local)>>(all: I) -> Self {
        let mut locals = Self::default();
        for (addr, local) in all {
            locals.insert(addr, local);
        }
        locals
    }
}

/// TCP and UDP time-outs in seconds, by state (dpvs.conf `ipvs_defs`).
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// TCP, indexed by [`crate::proto::tcp::State`].
    pub tcp: [u32; 11],
    /// UDP: created but no packet yet, one way, both ways.
    pub udp: [u32; 3],
    /// Before the first packet's own time-out applies.
    pub conn_init: u32,
}

impl Default for Timeouts {
    /// DPVS's built-in defaults: none established syn_sent syn_recv fin_wait
    /// time_wait close close_wait last_ack listen synack.
    fn default() -> Self {
        Self {
            tcp: [2, 90, 3, 30, 7, 7, 3, 7, 7, 120, 30],
            udp: [2, 300, 300],
            conn_init: 3,
        }
    }
}

/// Switches and limits of dpvs.conf that the workers obey.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct Settings {
    /// Protocol time-outs.
    pub timeouts: Timeouts,
    /// `ipv4_defs/forwarding`.
    pub forward4: bool,
    /// `ipv6_defs/forwarding`.
    pub forward6: bool,
    /// `ipv6_defs/disable`.
    pub ipv6_off: bool,
    /// `xmit_ttl`: forwarded service packets have their TTL checked and decremented.
    pub xmit_ttl: bool,
    /// False with `fast_xmit_close`: replies are routed instead of going back to
    /// the MAC the request came from.
    pub fast_xmit: bool,
    /// Drop UDP to an address that has only TCP services.
    pub defence_udp_drop: bool,
    /// Drop TCP non-SYN packets to a VIP that match no connection.
    pub defence_tcp_drop: bool,
    /// Frames of LLDP are the master's, not the kernel's.
    pub lldp: bool,
    /// How clients' addresses go to the servers of UDP services.
    pub uoa_mode: UoaMode,
    /// How many first datagrams of a flow carry them; 0 = none.
    pub uoa_max_trail: u16,
    /// Clients are not sent to a server of weight 0 because they were there before.
    pub expire_quiescent_template: bool,
    /// Neighbour REACHABLE time, seconds.
    pub neigh_timeout: u32,
    /// Packets queued for one unresolved neighbour.
    pub unres_queue: usize,
    /// `sa_pool/pool_hash_size`: port pools of each local address, 1 to 128; in
    /// force before there is a local address only.
    pub pool_hash_size: u8,
    /// `fragment/max_entries`: datagrams in pieces that a worker follows at once; 0
    /// drops every IPv4 fragment. In force before there was one.
    pub frag_max: u32,
    /// `fragment/ttl`: seconds a datagram is followed.
    pub frag_ttl: u32,
    /// `tcp/synproxy`.
    pub synproxy: SynproxySettings,
}

/// The SYN proxy (`ipvs_defs/tcp/synproxy`).
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct SynproxySettings {
    /// Largest segment offered to clients, bytes.
    pub mss: u16,
    /// TTL or hop limit of what is sent to clients.
    pub ttl: u8,
    /// SACK is offered where the client does.
    pub sack: bool,
    /// Window scale offered, 0 to 14; 0 = no scaling.
    pub wscale: u8,
    /// Time stamps are offered where the client does.
    pub timestamp: bool,
    /// Clients may not send data before the server has answered.
    pub close_client_window: bool,
    /// The server is not asked before the client has sent data.
    pub defer_rs_syn: bool,
    /// SYNs sent to a server again.
    pub rs_syn_max_retry: u8,
    /// The server's bare ACKs that say nothing new, from how many on they are
    /// dropped.
    pub ack_storm_thresh: u16,
    /// Segments of a client that wait for its server.
    pub max_ack_saved: u8,
    /// States in which a connection is used again, a bit each
    /// ([`crate::proto::tcp::State`]).
    pub reuse: u16,
    /// SYNs a second to a service from which on it is proxied though it did not ask,
    /// over all workers; 0 = never.
    pub auto_syn_rate: u32,
}

impl SynproxySettings {
    /// Whether a connection in that state is used again.
    #[must_use]
    pub fn reuses(&self, state: State) -> bool {
        self.reuse >> state.index() & 1 != 0
    }
}

impl Default for SynproxySettings {
    fn default() -> Self {
        Self {
            mss: 1452,
            ttl: 63,
            sack: true,
            wscale: 0,
            timestamp: false,
            close_client_window: false,
            defer_rs_syn: false,
            rs_syn_max_retry: 3,
            ack_storm_thresh: 10,
            max_ack_saved: 3,
            reuse: 1 << State::Close.index() | 1 << State::TimeWait.index(),
            auto_syn_rate: 0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            forward4: false,
            forward6: false,
            ipv6_off: false,
            xmit_ttl: false,
            fast_xmit: true,
            defence_udp_drop: false,
            defence_tcp_drop: false,
            lldp: false,
            uoa_mode: UoaMode::Opp,
            uoa_max_trail: 0,
            expire_quiescent_template: false,
            neigh_timeout: 60,
            unres_queue: 128,
            pool_hash_size: 16,
            frag_max: 4096,
            frag_ttl: 1,
            synproxy: SynproxySettings::default(),
        }
    }
}
