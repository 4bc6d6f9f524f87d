//! Local ports: which source port a connection towards a server gets.
//!
//! Every address flagged `sapool` has, on every worker, sixteen independent
//! pools; the server's address and port choose the pool, so one local port
//! serves many servers at once while the tuple towards a server stays unique.
//! The ports of an address are split among the workers by their low bits, so
//! that a reply says by itself which worker owns it (DPVS sa_pool). A pool is a
//! bitmap with a rotating cursor: a port rests as long as possible before it is
//! given again, and finding a free one never walks (a summary word says which
//! words are full).

use std::collections::HashMap;
use std::net::IpAddr;

use crate::frame::WorkerId;
use crate::message::LaddrUse;

/// Pools of one address on one worker (`sa_pool/pool_hash_size`'s default).
const POOLS: usize = 16;
/// First port given; DPVS gives 1025..=65535.
const FIRST_PORT: u32 = 1025;

/// How the 65536 ports are split among the workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slices {
    shift: u32,
    workers: u8,
}

impl Slices {
    /// For that many workers; the slice count is the next power of two.
    #[must_use]
    pub(crate) fn new(workers: u8) -> Self {
        Self {
            shift: u32::from(workers.max(1))
                .next_power_of_two()
                .trailing_zeros(),
            workers,
        }
    }

    /// The worker whose slice a port is in; `None` for slices nobody has.
    #[must_use]
    pub(crate) fn owner(self, port: u16) -> Option<WorkerId> {
        let slice = u32::from(port) & ((1 << self.shift) - 1);
        (slice < u32::from(self.workers.max(1))).then_some(WorkerId(slice as u8))
    }
}

/// Ports of one pool, as indices into the worker's slice.
struct Pool {
    /// Bit set: in use, or not a port we give.
    words: Box<[u64]>,
    /// Bit set: that word is full.
    full: [u64; 16],
    cursor: u32,
    used: u32,
}

impl Pool {
    fn new(slices: Slices, me: WorkerId) -> Self {
        let n = (65536u32 >> slices.shift) as usize;
        let mut pool = Self {
            words: vec![0; n.div_ceil(64)].into(),
            full: [!0; 16],
            cursor: 0,
            used: 0,
        };
        for w in 0..pool.words.len() {
            pool.full[w / 64] &= !(1 << (w % 64));
        }
        for i in 0..pool.words.len() as u32 * 64 {
            let port = (i << slices.shift) | u32::from(me.0);
            if i as usize >= n || port < FIRST_PORT {
                pool.mark(i);
            }
        }
        pool.used = 0;
        pool
    }

    fn mark(&mut self, i: u32) {
        let w = (i / 64) as usize;
        self.words[w] |= 1 << (i % 64);
        if self.words[w] == !0 {
            self.full[w / 64] |= 1 << (w % 64);
        }
        self.used += 1;
    }

    /// A free index at or after the cursor, wrapping; at most three word looks.
    fn take(&mut self) -> Option<u32> {
        let w = (self.cursor / 64) as usize;
        let here = !self.words[w] & (!0 << (self.cursor % 64));
        let i = if here != 0 {
            w as u32 * 64 + here.trailing_zeros()
        } else {
            let w = self.open_word(w + 1).or_else(|| self.open_word(0))?;
            w as u32 * 64 + (!self.words[w]).trailing_zeros()
        };
        self.mark(i);
        self.cursor = (i + 1) % (self.words.len() as u32 * 64);
        Some(i)
    }

    /// First word that is not full, from `from` on.
    fn open_word(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        for s in first..self.full.len() {
            let mut open = !self.full[s];
            if s == first {
                open &= !0 << (from % 64);
            }
            if open != 0 {
                return Some(s * 64 + open.trailing_zeros() as usize);
            }
        }
        None
    }

    fn give(&mut self, i: u32) {
        let w = (i / 64) as usize;
        debug_assert!(
            self.words[w] & (1 << (i % 64)) != 0,
            "port given back twice"
        );
        self.words[w] &= !(1 << (i % 64));
        self.full[w / 64] &= !(1 << (w % 64));
        self.used -= 1;
    }
}

struct LocalAddr {
    addr: IpAddr,
    pools: [Option<Pool>; POOLS],
    conns: u32,
    miss: u32,
    configured: bool,
}

/// Port pools of all local addresses of one worker.
pub(crate) struct PortPools {
    me: WorkerId,
    slices: Slices,
    addrs: Vec<Option<LocalAddr>>,
    by_addr: HashMap<IpAddr, u32>,
    epoch: u32,
}

/// The pool that serves a server: low 16 bits of its address plus its port.
fn pool_of(server: IpAddr, port: u16) -> usize {
    let low = match server {
        IpAddr::V4(a) => a.to_bits() as u16,
        IpAddr::V6(a) => {
            let bits = a.to_bits();
            (0..8).fold(0u16, |x, i| x ^ (bits >> (16 * i)) as u16)
        }
    };
    (u32::from(low) + u32::from(port)) as usize % POOLS
}

impl PortPools {
    /// Without any address.
    #[must_use]
    pub(crate) fn new(me: WorkerId, workers: u8) -> Self {
        Self {
            me,
            slices: Slices::new(workers),
            addrs: Vec::new(),
            by_addr: HashMap::new(),
            epoch: 0,
        }
    }

    /// Counts up whenever the number of an address may have changed.
    #[must_use]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How ports are split.
    #[must_use]
    pub(crate) fn slices(&self) -> Slices {
        self.slices
    }

    /// These addresses feed pools from now on. The pools of others stay until
    /// their last port is back.
    pub(crate) fn configure(&mut self, addrs: impl Iterator<Item = IpAddr>) {
        self.epoch = self.epoch.wrapping_add(1);
        for slot in self.addrs.iter_mut().flatten() {
            slot.configured = false;
        }
        for addr in addrs {
            let i = match self.by_addr.get(&addr) {
                Some(&i) => i as usize,
                None => {
                    let i = self
                        .addrs
                        .iter()
                        .position(Option::is_none)
                        .unwrap_or_else(|| {
                            self.addrs.push(None);
                            self.addrs.len() - 1
                        });
                    self.by_addr.insert(addr, i as u32);
                    self.addrs[i] = Some(LocalAddr {
                        addr,
                        pools: Default::default(),
                        conns: 0,
                        miss: 0,
                        configured: true,
                    });
                    i
                }
            };
            if let Some(slot) = &mut self.addrs[i] {
                slot.configured = true;
            }
        }
        for i in 0..self.addrs.len() {
            self.drop_unused(i);
        }
    }

    fn drop_unused(&mut self, i: usize) {
        if let Some(a) = &self.addrs[i]
            && !a.configured
            && a.conns == 0
        {
            self.by_addr.remove(&a.addr);
            self.addrs[i] = None;
            self.epoch = self.epoch.wrapping_add(1);
        }
    }

    /// Number of an address, for [`Self::take`]; `None` if it feeds no pool.
    #[must_use]
    pub(crate) fn number(&self, addr: IpAddr) -> Option<u32> {
        let i = *self.by_addr.get(&addr)?;
        self.addrs[i as usize]
            .as_ref()
            .filter(|a| a.configured)
            .map(|_| i)
    }

    /// A port of that address towards that server.
    pub(crate) fn take(&mut self, number: u32, server: IpAddr, port: u16) -> Option<u16> {
        let (slices, me) = (self.slices, self.me);
        let a = self.addrs.get_mut(number as usize)?.as_mut()?;
        let pool = a.pools[pool_of(server, port)].get_or_insert_with(|| Pool::new(slices, me));
        let Some(i) = pool.take() else {
            a.miss += 1;
            return None;
        };
        a.conns += 1;
        Some(((i << slices.shift) | u32::from(me.0)) as u16)
    }

    /// Gives a port back.
    pub(crate) fn give(&mut self, number: u32, server: IpAddr, port: u16, lport: u16) {
        let shift = self.slices.shift;
        if let Some(Some(a)) = self.addrs.get_mut(number as usize)
            && let Some(pool) = &mut a.pools[pool_of(server, port)]
        {
            pool.give(u32::from(lport) >> shift);
            a.conns -= 1;
            self.drop_unused(number as usize);
        }
    }

    /// Use of every address, for listings.
    #[must_use]
    pub(crate) fn usage(&self) -> Vec<LaddrUse> {
        let all = Pool::new(self.slices, self.me);
        let room: u32 = all.words.iter().map(|w| w.count_zeros()).sum();
        self.addrs
            .iter()
            .flatten()
            .map(|a| {
                let used: u32 = a.pools.iter().flatten().map(|p| p.used).sum();
                LaddrUse {
                    addr: a.addr,
                    used,
                    free: room * POOLS as u32 - used,
                    miss: a.miss,
                    conns: a.conns,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn lip() -> IpAddr {
        "10.0.0.200".parse().unwrap()
    }

    #[test]
    fn every_port_once_and_in_the_own_slice() {
        for workers in [1u8, 2, 3, 8] {
            let mut total = 0;
            for me in 0..workers {
                let mut pools = PortPools::new(WorkerId(me), workers);
                pools.configure([lip()].into_iter());
                let n = pools.number(lip()).unwrap();
                let server = "10.0.0.1".parse().unwrap();
                let mut seen = HashSet::new();
                while let Some(port) = pools.take(n, server, 80) {
                    assert!(port >= 1025);
                    assert_eq!(pools.slices().owner(port), Some(WorkerId(me)));
                    assert!(seen.insert(port), "{port} twice");
                }
                total += seen.len();
                assert_eq!(pools.usage()[0].miss, 1);
                // A server of another pool still has all of them.
                assert!(pools.take(n, server, 81).is_some());
                for port in seen {
                    pools.give(n, server, 80, port);
                }
                assert_eq!(pools.usage()[0].used, 1);
            }
            if workers.is_power_of_two() {
                assert_eq!(total, 65536 - 1025);
            }
        }
    }

    #[test]
    fn a_port_rests_before_it_is_given_again() {
        let mut pools = PortPools::new(WorkerId(0), 1);
        pools.configure([lip()].into_iter());
        let n = pools.number(lip()).unwrap();
        let server = "10.0.0.1".parse().unwrap();
        let first = pools.take(n, server, 80).unwrap();
        pools.give(n, server, 80, first);
        for _ in 0..64510 {
            let port = pools.take(n, server, 80).unwrap();
            assert_ne!(port, first);
            pools.give(n, server, 80, port);
        }
        assert_eq!(pools.take(n, server, 80), Some(first));
    }

    #[test]
    fn a_removed_address_stays_until_its_ports_are_back() {
        let mut pools = PortPools::new(WorkerId(0), 1);
        pools.configure([lip()].into_iter());
        let n = pools.number(lip()).unwrap();
        let server = "10.0.0.1".parse().unwrap();
        let port = pools.take(n, server, 80).unwrap();
        pools.configure([].into_iter());
        assert_eq!(pools.number(lip()), None);
        assert_eq!(pools.usage().len(), 1);
        pools.give(n, server, 80, port);
        assert!(pools.usage().is_empty());
    }
}
