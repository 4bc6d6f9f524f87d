//! Neighbours of one worker (ARP and ND state; DPVS facts §21).
//!
//! A neighbour owns a hop ([`crate::hops`]) while it is resolved; packets wait in
//! its queue until then. The table is made for its largest size at start, so that
//! no packet waits for it to grow, and it does not fill up: whoever only told us of
//! itself gives way, first to others of its kind, then to those we have packets
//! for. Knows no frame format beyond the MAC addresses: requests are written by the
//! caller.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::conn::index::{reserve, zeroed};
use crate::frame::PortId;
use crate::hops::{Egress, Hops, macs};
use crate::message::{NeighInfo, NeighState};
use crate::sharemap::{ENDS, hash_addr};
use crate::snapshot::Mac;

/// Most neighbours.
pub(crate) const MAX_NEIGHBOURS: usize = 65_536;
/// Most packets that wait for neighbours, of all together.
const WAITING: usize = 8192;
/// Neighbours looked at to find one that gives way.
const LOOKS: usize = 64;
/// Seconds without an answer before a neighbour is given up.
const SEND_SECS: u64 = 3;
/// Seconds a known neighbour may take to confirm.
const PROBE_SECS: u64 = 30;

struct Neigh<F> {
    port: PortId,
    addr: IpAddr,
    mac: Mac,
    /// Own address to ask from.
    src: Option<IpAddr>,
    state: NeighState,
    permanent: bool,
    /// Milliseconds at which the state ends.
    until: u64,
    /// Milliseconds at which to ask again.
    ask: u64,
    hop: u32,
    /// We had packets for it. What is only heard of, true or forged, goes first.
    wanted: bool,
    /// Next slot of the chain, counted from 1; 0 = none.
    chain: u32,
    queue: VecDeque<F>,
}

/// What to do about a neighbour, for the caller to put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Port to ask on.
    pub(crate) port: PortId,
    /// Who is looked for.
    pub(crate) target: IpAddr,
    /// Own address to ask from, if the route gave one.
    pub(crate) src: Option<IpAddr>,
}

/// Neighbours of one worker.
pub(crate) struct Neighbours<F> {
    slots: Vec<Option<Neigh<F>>>,
    free: Vec<u32>,
    /// Chains of slots by a keyed hash of port and address, counted from 1. Not a
    /// map of the library: those stop now and then to clear away what was removed.
    chains: Vec<u32>,
    keys: [u64; 2],
    used: usize,
    /// The hops, also those not owned by a neighbour.
    pub(crate) hops: Hops,
    cursor: usize,
    /// Where the next one to give way is looked for.
    hand: usize,
    /// Packets that waited for one that gave way, not yet counted.
    lost: usize,
    /// Packets that wait now.
    waiting: usize,
}

/// What became of a packet that was queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits; ask if there is something to ask.
    Waiting(Option<Ask>),
    /// The queue is full (or too many neighbours, or too many packets wait); the
    /// packet is gone. Ask if there is something to ask.
    Dropped(Option<Ask>),
}

impl<F> Default for Neighbours<F> {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            slots: reserve(MAX_NEIGHBOURS),
            free: reserve(MAX_NEIGHBOURS),
            chains: zeroed(MAX_NEIGHBOURS),
            keys: [0u8, 1].map(|n| random.hash_one(n) | ENDS),
            used: 0,
            hops: Hops::new(),
            cursor: 0,
            hand: 0,
            lost: 0,
            waiting: 0,
        }
    }
}

impl<F> Neighbours<F> {
    fn chain_of(&self, port: PortId, addr: IpAddr) -> usize {
        hash_addr(&addr, port.0.into(), self.keys) as usize % MAX_NEIGHBOURS
    }

    /// The slot of a neighbour.
    fn find(&self, port: PortId, addr: IpAddr) -> Option<usize> {
        let mut at = self.chains[self.chain_of(port, addr)];
        while let Some(Some(neigh)) = self.slots.get((at as usize).wrapping_sub(1)) {
            if neigh.addr == addr && neigh.port == port {
                return Some(at as usize - 1);
            }
            at = neigh.chain;
        }
        None
    }

    /// Takes a slot that is still filled out of its chain.
    fn unchain(&mut self, port: PortId, addr: IpAddr, slot: usize) {
        let chain = self.chain_of(port, addr);
        let next = self.slots[slot].as_ref().map_or(0, |n| n.chain);
        let mut at = self.chains[chain];
        if at as usize == slot + 1 {
            self.chains[chain] = next;
        }
        while let Some(Some(neigh)) = self.slots.get_mut((at as usize).wrapping_sub(1)) {
            at = neigh.chain;
            if at as usize == slot + 1 {
                neigh.chain = next;
                return;
            }
        }
    }

    /// The hop to a neighbour, if it is resolved. It is one we have packets for.
    #[must_use]
    pub(crate) fn hop(&mut self, port: PortId, addr: IpAddr) -> Option<u32> {
        let slot = self.find(port, addr)?;
        let neigh = self.slots[slot].as_mut()?;
        neigh.wanted = true;
        (neigh.hop != 0).then_some(neigh.hop)
    }

    /// Keeps a packet until the neighbour answers.
    pub(crate) fn queue(
        &mut self,
        port: PortId,
        addr: IpAddr,
        src: Option<IpAddr>,
        frame: F,
        limit: usize,
        now_ms: u64,
    ) -> Queued {
        let Some(i) = self.slot(port, addr, true) else {
            return Queued::Dropped(None);
        };
        let Some(neigh) = &mut self.slots[i] else {
            return Queued::Dropped(None);
        };
        neigh.wanted = true;
        if src.is_some() {
            neigh.src = src;
        }
        // DPVS drops only when more than the limit wait already.
        if neigh.queue.len() > limit {
            return Queued::Dropped(None);
        }
        let mut ask = None;
        if neigh.state == NeighState::None {
            neigh.state = NeighState::Send;
            neigh.until = now_ms + SEND_SECS * 1000;
            neigh.ask = now_ms + 1000;
            ask = Some(Ask {
                port,
                target: addr,
                src: neigh.src,
            });
        }
        // DIFFERS: however many neighbours there are, so that whoever sends to all
        // addresses of a link does not get all buffers.
        if self.waiting >= WAITING {
            return Queued::Dropped(ask);
        }
        neigh.queue.push_back(frame);
        self.waiting += 1;
        Queued::Waiting(ask)
    }

    fn slot(&mut self, port: PortId, addr: IpAddr, wanted: bool) -> Option<usize> {
        if let Some(i) = self.find(port, addr) {
            return Some(i);
        }
        if self.used >= MAX_NEIGHBOURS {
            let gone = self.least(wanted)?;
            self.lost += self.free_slot(gone);
        }
        let chain = self.chain_of(port, addr);
        let neigh = Neigh {
            port,
            addr,
            mac: [0; 6],
            src: None,
            state: NeighState::None,
            permanent: false,
            until: 0,
            ask: u64::MAX,
            hop: 0,
            wanted,
            chain: self.chains[chain],
            queue: VecDeque::new(),
        };
        let i = match self.free.pop() {
            Some(i) => {
                self.slots[i as usize] = Some(neigh);
                i as usize
            }
            None => {
                self.slots.push(Some(neigh));
                self.slots.len() - 1
            }
        };
        self.chains[chain] = i as u32 + 1;
        self.used += 1;
        Some(i)
    }

    /// Of some neighbours, the one that is missed least: one only heard of; for a
    /// wanted newcomer also one that does not answer, or the next best, but never a
    /// permanent one.
    fn least(&mut self, wanted: bool) -> Option<usize> {
        let mut best: Option<(u8, usize)> = None;
        for _ in 0..LOOKS.min(self.slots.len()) {
            self.hand = if self.hand + 1 < self.slots.len() {
                self.hand + 1
            } else {
                0
            };
            let Some(neigh) = &self.slots[self.hand] else {
                continue;
            };
            let rank = match neigh.state {
                _ if neigh.permanent => continue,
                _ if !neigh.wanted => return Some(self.hand),
                _ if !wanted => continue,
                NeighState::None | NeighState::Send => 1,
                NeighState::Probe => 2,
                _ => 3,
            };
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, self.hand));
            }
        }
        best.map(|(_, i)| i)
    }

    /// A neighbour's MAC address is known: returns the packets that waited, and
    /// true if this is news. A permanent entry is changed only by a permanent one.
    pub(crate) fn learn(
        &mut self,
        egress: Egress,
        addr: IpAddr,
        mac: Mac,
        permanent: bool,
        reachable_secs: u32,
        now_ms: u64,
    ) -> (VecDeque<F>, bool) {
        let Some(i) = self.slot(egress.port, addr, permanent) else {
            return (VecDeque::new(), false);
        };
        let Some(neigh) = &mut self.slots[i] else {
            return (VecDeque::new(), false);
        };
        if neigh.permanent && !permanent {
            return (VecDeque::new(), false);
        }
        let news = neigh.hop == 0 || neigh.mac != mac;
        if news {
            self.hops.remove(neigh.hop);
            neigh.hop = self
                .hops
                .add(macs(mac, egress.mac), egress.port, egress.mtu);
        }
        neigh.mac = mac;
        neigh.permanent |= permanent;
        neigh.state = NeighState::Reachable;
        neigh.until = if neigh.permanent {
            u64::MAX
        } else {
            now_ms + u64::from(reachable_secs.max(1)) * 1000
        };
        neigh.ask = u64::MAX;
        let out = std::mem::take(&mut neigh.queue);
        self.waiting -= out.len();
        (out, news)
    }

    /// True if there is such a neighbour, resolved or not.
    #[must_use]
    pub(crate) fn knows(&self, port: PortId, addr: IpAddr) -> bool {
        self.find(port, addr).is_some()
    }

    /// Forgets a neighbour; its waiting packets are dropped and counted by the
    /// returned number.
    pub(crate) fn forget(&mut self, port: PortId, addr: IpAddr) -> usize {
        match self.find(port, addr) {
            Some(i) => self.free_slot(i),
            None => 0,
        }
    }

    fn free_slot(&mut self, i: usize) -> usize {
        let Some((port, addr)) = self.slots[i].as_ref().map(|n| (n.port, n.addr)) else {
            return 0;
        };
        self.unchain(port, addr, i);
        let Some(neigh) = self.slots[i].take() else {
            return 0;
        };
        self.hops.remove(neigh.hop);
        self.used -= 1;
        self.free.push(i as u32);
        self.waiting -= neigh.queue.len();
        neigh.queue.len()
    }

    /// Ports, routes or addresses changed: every connection has to find its next
    /// hop again. What is known of neighbours on ports that still exist stays.
    /// Hops back to where a request came from do not depend on routes or
    /// addresses; they follow their port, so no running flow loses its way back.
    /// Returns how many waiting packets were dropped.
    pub(crate) fn reset_hops(&mut self, egress: impl Fn(PortId) -> Option<Egress>) -> usize {
        self.hops.refresh(&egress);
        let mut dropped = 0;
        for i in 0..self.slots.len() {
            let Some(neigh) = &mut self.slots[i] else {
                continue;
            };
            match egress(neigh.port) {
                Some(e) if neigh.hop != 0 => {
                    self.hops.remove(neigh.hop);
                    neigh.hop = self.hops.add(macs(neigh.mac, e.mac), e.port, e.mtu);
                }
                Some(_) => {}
                None => dropped += self.free_slot(i),
            }
        }
        dropped
    }

    /// Ages some of the neighbours; returns at most one question to send, and the
    /// number of packets dropped. Call often: each call looks at a few entries.
    pub(crate) fn tick(&mut self, now_ms: u64) -> (Option<Ask>, usize) {
        let mut dropped = std::mem::take(&mut self.lost);
        for _ in 0..self.slots.len().min(32) {
            self.cursor = if self.cursor + 1 < self.slots.len() {
                self.cursor + 1
            } else {
                0
            };
            let i = self.cursor;
            let Some(neigh) = &mut self.slots[i] else {
                continue;
            };
            if neigh.until <= now_ms {
                match neigh.state {
                    // Nobody needs to know whether it is still there otherwise.
                    NeighState::Reachable if neigh.wanted => {
                        neigh.state = NeighState::Probe;
                        neigh.until = now_ms + PROBE_SECS * 1000;
                        neigh.ask = now_ms;
                    }
                    _ => {
                        dropped += self.free_slot(i);
                        continue;
                    }
                }
            }
            if neigh.ask <= now_ms {
                neigh.ask = now_ms + 1000;
                let ask = Ask {
                    port: neigh.port,
                    target: neigh.addr,
                    src: neigh.src,
                };
                return (Some(ask), dropped);
            }
        }
        (None, dropped)
    }

    /// Every neighbour.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<NeighInfo> {
        self.slots.iter().flatten().map(info).collect()
    }

    /// At most `max` neighbours from a place on, for listings, and where to go on.
    /// No more than `steps` places are looked at.
    #[must_use]
    pub(crate) fn some(
        &self,
        from: usize,
        max: usize,
        steps: usize,
    ) -> (Vec<NeighInfo>, Option<usize>) {
        let mut list = Vec::with_capacity(max);
        let end = self.slots.len().min(from.saturating_add(steps));
        let mut at = from;
        while at < end && list.len() < max {
            list.extend(self.slots[at].as_ref().map(info));
            at += 1;
        }
        (list, (at < self.slots.len()).then_some(at))
    }
}

fn info<F>(n: &Neigh<F>) -> NeighInfo {
    NeighInfo {
        port: n.port,
        addr: n.addr,
        mac: n.mac,
        state: n.state,
        permanent: n.permanent,
        queued: n.queue.len() as u32,
    }
}

#[cfg(test)]
#[path = "neigh_tests.rs"]
mod tests;
