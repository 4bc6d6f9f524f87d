//! All virtual services of a snapshot, by key.
//!
//! Beside them what is asked of all together: whether an address is a VIP, whether a
//! server is quiescent, which two ends meet. In maps whose copies share pages:
//! changing one service of ten thousand copies that service and one page of the
//! table. Knows no worker and no scheduler.

use std::net::IpAddr;
use std::sync::Arc;

use crate::meetings::Meetings;
use crate::service::{Dest, DestId, FwdMode, ICMP, ICMPV6, Service, ServiceKey, TCP, UDP};
use crate::sharemap::{Key, ShareMap, hash_addr};

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
    /// How many services of TCP, UDP and other protocols an address has.
    vips: ShareMap<IpAddr, [u32; 3]>,
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
    match proto {
        TCP => 0,
        UDP => 1,
        _ => 2,
    }
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
        let known = all.iter().position(|s| s.key == service.key);
        // Another one by now may have the key, and another place.
        let old = known.map(|at| all.remove(at));
        let at = all.partition_point(|s| s.uid > service.uid);
        all.insert(at, service);
        old
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
        if counts == [0; 3] {
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
