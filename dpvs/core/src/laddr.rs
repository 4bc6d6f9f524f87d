//! Local ports: which source port a connection towards a server gets.
//!
//! Every address flagged `sapool` has, on every worker, several independent
//! pools; the server's address and port choose the pool, so one local port
//! serves many servers at once while the tuple towards a server stays unique.
//! A port says by itself which worker owns it: by its low bits (DPVS sa_pool),
//! or, where the port's spreading is known, because the NIC sends the server's
//! replies to the worker that took it (`lanes`). A pool is a bitmap in lanes
//! that are gone through in turn: a port rests as long as possible before it is
//! given again, and finding a free one never walks (summary words say which
//! lanes are open and which words are full).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::WorkerId;
use crate::lanes::{Layout, MAX_LANES, Open, Picker};
use crate::message::LaddrUse;
use crate::prefetch::prefetch;
use crate::rss::Nic;

/// Pools of one address on one worker, at most, and if nobody says
/// (`sa_pool/pool_hash_size`).
const POOLS: usize = 128;
const POOLS_DEFAULT: u8 = 16;
/// First port given; DPVS gives 1025..=65535.
const FIRST_PORT: u16 = 1025;
/// Words of a bitmap of all ports.
const WORDS: usize = 65536 / 64;

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

    /// Ports that are given in a worker's slice.
    fn ports(self, worker: WorkerId) -> u32 {
        let step = 1 << self.shift;
        let below = |port: u32| (port + step - 1 - u32::from(worker.0)) / step;
        below(1 << 16) - below(FIRST_PORT.into())
    }
}

/// The ports of one pool, in the order of a [`Layout`].
struct Pool {
    /// Bit set: in use, or not a port we give.
    words: Box<[u64]>,
    /// Bit set: that word is full.
    full: [u64; WORDS / 64],
    /// Bit set: that lane has a free port.
    open: Open,
    /// Where the search starts within a lane.
    cursor: u32,
    /// Entry of the redirection table that the next search starts at.
    entry: u32,
    used: u32,
    /// Words looked at, for the test that searches do not walk.
    #[cfg(test)]
    looks: u64,
}

impl Pool {
    fn new(layout: &Layout) -> Self {
        let mut pool = Self {
            words: vec![0; WORDS].into(),
            full: [0; WORDS / 64],
            open: [0; MAX_LANES / 64],
            cursor: 0,
            entry: u32::MAX,
            used: 0,
            #[cfg(test)]
            looks: 0,
        };
        for lane in 0..layout.lanes() as usize {
            pool.open[lane / 64] |= 1 << (lane % 64);
        }
        for port in 0..FIRST_PORT {
            pool.mark(layout, usize::from(layout.place(port)));
        }
        pool.used = 0;
        pool
    }

    /// Takes one place.
    #[inline]
    fn mark(&mut self, layout: &Layout, place: usize) {
        let w = place / 64;
        self.words[w] |= 1 << (place % 64);
        self.used += 1;
        if self.words[w] == !0 {
            self.filled(layout, w);
        }
    }

    /// A word has become full.
    #[inline(never)]
    fn filled(&mut self, layout: &Layout, w: usize) {
        self.full[w / 64] |= 1 << (w % 64);
        let lane = layout.lane(w * 64);
        let first = layout.first_word(lane);
        if self.open_word(first, first + layout.words()).is_none() {
            self.open[lane / 64] &= !(1 << (lane % 64));
        }
    }

    /// A free place in a lane that leads to this worker. Lanes take turns, and
    /// within them places: a port rests until all others had theirs.
    #[inline]
    fn take(&mut self, layout: &Layout, picker: &Picker, rest: u32) -> Option<u16> {
        let (lane, entry) = picker.pick(rest, &self.open, self.entry)?;
        let first = layout.first_word(lane as usize);
        let w = first + self.cursor as usize / 64;
        let here = !self.words[w] & (!0 << (self.cursor % 64));
        self.look();
        let place = if here != 0 {
            w * 64 + here.trailing_zeros() as usize
        } else {
            self.elsewhere(first, w, first + layout.words())?
        };
        self.mark(layout, place);
        if entry < self.entry {
            self.cursor = (place as u32 + 1) & (layout.ports_per_lane() - 1);
        }
        self.entry = entry + 1;
        Some(place as u16)
    }

    /// A free place of a lane behind word `w`, or from its start.
    #[inline(never)]
    fn elsewhere(&mut self, first: usize, w: usize, end: usize) -> Option<usize> {
        let w = self
            .open_word(w + 1, end)
            .or_else(|| self.open_word(first, end))?;
        self.look();
        Some(w * 64 + (!self.words[w]).trailing_zeros() as usize)
    }

    #[inline(always)]
    fn look(&mut self) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
    }

    /// First word that is not full in `from..end`.
    #[inline]
    fn open_word(&self, from: usize, end: usize) -> Option<usize> {
        if from >= end {
            return None;
        }
        for s in from / 64..end.div_ceil(64) {
            let mut open = !self.full[s];
            if s == from / 64 {
                open &= !0 << (from % 64);
            }
            if open != 0 {
                let w = s * 64 + open.trailing_zeros() as usize;
                return (w < end).then_some(w);
            }
        }
        None
    }

    fn give(&mut self, layout: &Layout, place: usize) {
        let w = place / 64;
        debug_assert!(
            self.words[w] & (1 << (place % 64)) != 0,
            "port given back twice"
        );
        self.words[w] &= !(1 << (place % 64));
        self.full[w / 64] &= !(1 << (w % 64));
        let lane = layout.lane(place);
        self.open[lane / 64] |= 1 << (lane % 64);
        self.used -= 1;
    }
}

#[cold]
fn new_pool(layout: &Layout) -> Box<Pool> {
    Box::new(Pool::new(layout))
}

/// One way to own ports: how they are laid out, and which lanes are ours.
struct Way<'a> {
    layout: &'a Layout,
    picker: &'a Picker,
    /// Share of server and local address in the hash of a reply.
    rest: u32,
    pools: &'a mut [Option<Box<Pool>>; POOLS],
}

/// Local ports that follow a NIC's spreading.
struct Matched {
    nic: Arc<Nic>,
    picker: Picker,
    pools: [Option<Box<Pool>>; POOLS],
}

struct LocalAddr {
    addr: IpAddr,
    /// By slices; also the protocols whose ports the NIC does not hash.
    pools: [Option<Box<Pool>>; POOLS],
    matched: Option<Box<Matched>>,
    conns: u32,
    miss: u32,
    configured: bool,
}

impl LocalAddr {
    /// How ports towards a server are owned.
    #[inline]
    fn way<'a>(&'a mut self, sliced: &'a Sliced, proto: u8, server: IpAddr, port: u16) -> Way<'a> {
        match &mut self.matched {
            Some(m) if m.nic.matches(proto, server.is_ipv6()) => m.way(self.addr, server, port),
            _ => Way {
                rest: 0,
                layout: &sliced.layout,
                picker: &sliced.picker,
                pools: &mut self.pools,
            },
        }
    }
}

impl Matched {
    #[inline(never)]
    fn way(&mut self, laddr: IpAddr, server: IpAddr, port: u16) -> Way<'_> {
        Way {
            rest: self.nic.rest_of_reply(server, port, laddr),
            layout: self.nic.layout(server.is_ipv6()),
            picker: &self.picker,
            pools: &mut self.pools,
        }
    }
}

/// The worker's slice as a layout: a lane for each slice.
struct Sliced {
    slices: Slices,
    layout: Layout,
    picker: Picker,
}

/// Port pools of all local addresses of one worker.
pub(crate) struct PortPools {
    me: WorkerId,
    sliced: Sliced,
    addrs: Vec<Option<LocalAddr>>,
    by_addr: HashMap<IpAddr, u32>,
    buckets: Buckets,
    /// Counts up whenever the number of an address may have changed.
    epoch: u32,
}

/// How many pools an address has.
#[derive(Clone, Copy, Debug)]
struct Buckets(u32);

impl Buckets {
    /// The pool that serves a server: low 16 bits of its address plus its port.
    #[inline]
    fn of(self, server: IpAddr, port: u16) -> usize {
        let low = match server {
            IpAddr::V4(a) => a.to_bits() as u16,
            IpAddr::V6(a) => {
                let bits = a.to_bits();
                (0..8).fold(0u16, |x, i| x ^ (bits >> (16 * i)) as u16)
            }
        };
        let sum = u32::from(low) + u32::from(port);
        // A division only where somebody wants it.
        let n = if self.0.is_power_of_two() {
            sum & (self.0 - 1)
        } else {
            sum % self.0
        };
        n as usize
    }
}

impl PortPools {
    /// Without any address.
    #[must_use]
    pub(crate) fn new(me: WorkerId, workers: u8) -> Self {
        let slices = Slices::new(workers);
        let mut mine = vec![0; (1usize << slices.shift).div_ceil(64)];
        mine[usize::from(me.0) / 64] = 1 << (me.0 % 64);
        Self {
            me,
            sliced: Sliced {
                slices,
                layout: Layout::slices(slices.shift),
                picker: Picker::new(mine.into(), 1 << slices.shift),
            },
            addrs: Vec::new(),
            by_addr: HashMap::new(),
            buckets: Buckets(POOLS_DEFAULT.into()),
            epoch: 0,
        }
    }

    /// Counts up whenever the number of an address may have changed.
    #[must_use]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many pools an address has, before there is one; later it is too late.
    pub(crate) fn set_pools(&mut self, pools: u8) {
        if self.addrs.iter().all(Option::is_none) {
            self.buckets = Buckets(u32::from(pools).clamp(1, POOLS as u32));
        }
    }

    /// How ports are split where they are.
    #[must_use]
    pub(crate) fn slices(&self) -> Slices {
        self.sliced.slices
    }

    /// These addresses feed pools from now on, each with the spreading its ports
    /// are matched to, if any. The pools of others stay until their last port is
    /// back; an address with connections keeps its way.
    pub(crate) fn configure(&mut self, addrs: impl Iterator<Item = (IpAddr, Option<Arc<Nic>>)>) {
        self.epoch = self.epoch.wrapping_add(1);
        for slot in self.addrs.iter_mut().flatten() {
            slot.configured = false;
        }
        for (addr, nic) in addrs {
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
                        pools: [const { None }; POOLS],
                        matched: None,
                        conns: 0,
                        miss: 0,
                        configured: true,
                    });
                    i
                }
            };
            if let Some(slot) = &mut self.addrs[i] {
                slot.configured = true;
                let same = match (&slot.matched, &nic) {
                    (Some(m), Some(nic)) => Arc::ptr_eq(&m.nic, nic),
                    (None, None) => true,
                    _ => false,
                };
                if slot.conns == 0 && !same {
                    slot.matched = nic.map(|nic| {
                        Box::new(Matched {
                            picker: nic.picker(self.me),
                            nic,
                            pools: [const { None }; POOLS],
                        })
                    });
                }
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

    /// A port of that address for a connection of that protocol towards that
    /// server.
    #[inline]
    pub(crate) fn take(
        &mut self,
        number: u32,
        proto: u8,
        server: IpAddr,
        port: u16,
    ) -> Option<u16> {
        let bucket = self.buckets.of(server, port);
        let a = self.addrs.get_mut(number as usize)?.as_mut()?;
        let way = a.way(&self.sliced, proto, server, port);
        let pool = match &mut way.pools[bucket] {
            Some(pool) => pool,
            none => none.insert(new_pool(way.layout)),
        };
        let Some(place) = pool.take(way.layout, way.picker, way.rest) else {
            a.miss += 1;
            return None;
        };
        let lport = way.layout.port(place);
        a.conns += 1;
        Some(lport)
    }

    /// Gives a port back.
    #[inline]
    pub(crate) fn give(&mut self, number: u32, proto: u8, server: IpAddr, port: u16, lport: u16) {
        let bucket = self.buckets.of(server, port);
        if let Some(Some(a)) = self.addrs.get_mut(number as usize) {
            let way = a.way(&self.sliced, proto, server, port);
            let Some(pool) = &mut way.pools[bucket] else {
                return;
            };
            pool.give(way.layout, usize::from(way.layout.place(lport)));
            a.conns -= 1;
            if a.conns == 0 && !a.configured {
                self.drop_unused(number as usize);
            }
        }
    }

    /// Asks for what giving that port back will touch.
    #[inline]
    pub(crate) fn prefetch(&self, number: u32, proto: u8, server: IpAddr, port: u16, lport: u16) {
        let Some(Some(a)) = self.addrs.get(number as usize) else {
            return;
        };
        let (layout, pools) = match &a.matched {
            Some(m) if m.nic.matches(proto, server.is_ipv6()) => {
                (m.nic.layout(server.is_ipv6()), &m.pools)
            }
            _ => (&self.sliced.layout, &a.pools),
        };
        if let Some(pool) = &pools[self.buckets.of(server, port)] {
            prefetch(&pool.words[usize::from(layout.place(lport)) / 64]);
        }
    }

    /// What taking and giving ports writes, as ranges of addresses.
    #[cfg(test)]
    pub(crate) fn written(&self) -> Vec<(usize, usize)> {
        let range = |at: usize, bytes| (at, at + bytes);
        let pools = self
            .addrs
            .iter()
            .flatten()
            .flat_map(|a| a.pools.iter().flatten());
        pools
            .flat_map(|pool| {
                [
                    range(std::ptr::from_ref(&**pool).addr(), size_of::<Pool>()),
                    range(pool.words.as_ptr().addr(), size_of_val(&*pool.words)),
                ]
            })
            .chain([range(self.addrs.as_ptr().addr(), size_of_val(&*self.addrs))])
            .collect()
    }

    /// Use of every address.
    #[must_use]
    pub(crate) fn usage(&self) -> Vec<LaddrUse> {
        self.some_usage(0, self.addrs.len()).0
    }

    /// Use of the addresses at `max` places from one on, for listings, and whether
    /// there are places behind them. Where ports are matched, how many are free
    /// depends on the server: the average is given.
    #[must_use]
    pub(crate) fn some_usage(&self, from: usize, max: usize) -> (Vec<LaddrUse>, bool) {
        let slice = self.slices().ports(self.me);
        let end = self.addrs.len().min(from.saturating_add(max));
        let some = self.addrs.get(from..end).unwrap_or_default();
        let list = some.iter().flatten().map(|a| self.usage_of(a, slice));
        (list.collect(), end < self.addrs.len())
    }

    fn usage_of(&self, a: &LocalAddr, slice: u32) -> LaddrUse {
        let all = 65536 - u32::from(FIRST_PORT);
        let used =
            |pools: &[Option<Box<Pool>>]| -> u32 { pools.iter().flatten().map(|p| p.used).sum() };
        let matched = a.matched.as_ref();
        let room = matched.map_or(slice, |m| {
            let (mine, lanes) = m.picker.entries();
            (u64::from(all) * u64::from(mine) / u64::from(lanes.max(1))) as u32
        });
        let used = used(&a.pools) + matched.map_or(0, |m| used(&m.pools));
        LaddrUse {
            addr: a.addr,
            used,
            free: (room * self.buckets.0).saturating_sub(used),
            miss: a.miss,
            conns: a.conns,
        }
    }
}

#[cfg(test)]
#[path = "laddr_tests.rs"]
mod tests;
