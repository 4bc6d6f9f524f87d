//! Where both directions of a connection meet when no local port says so.
//!
//! With NAT a server answers the client's own address, so neither a flow rule nor
//! a port's low bits tell whose the reply is. What both directions have in common
//! is the client's address and port: a keyed hash of them names the worker, for
//! the addresses noted here, which are those of services and servers of that mode.
//! They stay noted until no worker has a connection of the server left. Knows
//! nothing of packets.

use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::WorkerId;
use crate::service::{DestId, ServiceKey};
use crate::sharemap::{Key, ShareMap, hash_addr};

impl Key for DestId {
    #[inline(always)]
    fn hash(&self, seed: [u64; 2]) -> u64 {
        crate::sharemap::fold(u64::from(self.0) ^ seed[0], seed[1])
    }
}

/// So that a key of few bits mixes, too.
const KEYS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];

/// Ends whose connections are where their client's hash says.
#[derive(Clone, Debug, Default)]
pub struct Meetings {
    /// Services and servers, each with the servers they are noted for.
    ends: ShareMap<ServiceKey, Arc<[DestId]>>,
    /// The two ends noted for a server.
    noted: ShareMap<DestId, [ServiceKey; 2]>,
    seed: [u64; 2],
}

impl Meetings {
    /// Empty, hashing with this key.
    #[must_use]
    pub fn keyed(seed: [u64; 2]) -> Self {
        Self {
            ends: ShareMap::keyed(seed),
            noted: ShareMap::keyed(seed),
            seed,
        }
    }

    /// Nothing is noted: the usual case.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// Notes a server: its service's end and its own (port 0 = all ports).
    pub fn add(&mut self, dest: DestId, ends: [ServiceKey; 2]) {
        if self.noted.get(&dest).is_some() {
            return;
        }
        for end in ends {
            let mut all = self.ends.get(&end).map_or(Vec::new(), |d| d.to_vec());
            all.push(dest);
            self.ends.insert(end, all.into());
        }
        self.noted.insert(dest, ends);
    }

    /// No worker has connections of the server any more.
    pub fn drained(&mut self, dest: DestId) {
        let Some(ends) = self.noted.remove(&dest) else {
            return;
        };
        for end in ends {
            let left: Vec<DestId> = self
                .ends
                .get(&end)
                .map_or(Vec::new(), |d| d.to_vec())
                .into_iter()
                .filter(|d| *d != dest)
                .collect();
            if left.is_empty() {
                self.ends.remove(&end);
            } else {
                self.ends.insert(end, left.into());
            }
        }
    }

    fn is_end(&self, proto: u8, (addr, port): (IpAddr, u16)) -> bool {
        [port, 0]
            .into_iter()
            .any(|port| self.ends.get(&ServiceKey { proto, addr, port }).is_some())
    }

    /// The worker that has (or makes) the connection of a packet, ports in host
    /// order; `None` if it may be anyone's.
    #[must_use]
    pub fn owner(
        &self,
        proto: u8,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        workers: u8,
    ) -> Option<WorkerId> {
        let client = if self.is_end(proto, dst) {
            src
        } else if self.is_end(proto, src) {
            dst
        } else {
            return None;
        };
        let beside = u64::from(client.1) << 8 | u64::from(proto);
        let [a, b] = self.seed;
        let hash = hash_addr(&client.0, beside, [a ^ KEYS[0], b ^ KEYS[1]]);
        // The upper half, scaled: any number of workers gets equal shares.
        Some(WorkerId(
            (((hash >> 32) * u64::from(workers.max(1))) >> 32) as u8,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: ServiceKey = key([192, 0, 2, 10], 80);

    const fn key([a, b, c, d]: [u8; 4], port: u16) -> ServiceKey {
        ServiceKey {
            proto: 6,
            addr: IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d)),
            port,
        }
    }

    fn at(key: ServiceKey) -> (IpAddr, u16) {
        (key.addr, key.port)
    }

    /// Every packet of a connection, whichever way it goes, names one worker, and
    /// clients are spread over all of them.
    #[test]
    fn both_directions_name_the_same_worker() {
        let mut m = Meetings::keyed([7, 9]);
        let rs = key([10, 0, 1, 11], 8080);
        assert!(m.is_empty());
        m.add(DestId(3), [VIP, rs]);
        for workers in [1, 2, 3, 7] {
            let mut share = vec![0; usize::from(workers)];
            for port in 1024..5120 {
                let client = (IpAddr::from([198, 51, 100, 7]), port);
                let owner = m.owner(6, client, at(VIP), workers).unwrap();
                assert_eq!(m.owner(6, at(rs), client, workers), Some(owner));
                share[usize::from(owner.0)] += 1;
            }
            let fair = 4096 / i32::from(workers);
            assert!(
                share.iter().all(|n| (n - fair).abs() < fair / 4),
                "{share:?}"
            );
        }
        let other = key([10, 0, 1, 12], 8080);
        assert_eq!(m.owner(6, at(other), at(other), 2), None);
        assert_eq!(m.owner(17, at(rs), at(VIP), 2), None);
    }

    #[test]
    fn an_end_is_noted_until_its_last_server_is_drained() {
        let mut m = Meetings::keyed([1, 2]);
        let all = ServiceKey {
            port: 0,
            ..key([10, 0, 1, 11], 0)
        };
        let client = (IpAddr::from([198, 51, 100, 7]), 5);
        m.add(DestId(1), [VIP, key([10, 0, 1, 11], 80)]);
        m.add(DestId(1), [VIP, key([10, 0, 1, 11], 80)]);
        m.add(DestId(2), [VIP, all]);
        // All ports of it.
        assert!(m.owner(6, (all.addr, 99), client, 2).is_some());
        m.drained(DestId(1));
        m.drained(DestId(1));
        assert!(m.owner(6, client, at(VIP), 2).is_some());
        m.drained(DestId(2));
        assert!(m.owner(6, client, at(VIP), 2).is_none());
        assert!(m.is_empty());
    }
}
