//! Next hops of one worker, by number.
//!
//! A [`Hop`] is what a packet needs to leave: the twelve bytes of MAC addresses,
//! a port and its MTU. Connections keep a hop's number with a generation, so a
//! next hop costs no lookup and a stale one is noticed. Return hops are interned:
//! one for a router, however many clients are behind it. Knows no IP address: whose
//! hop it is, and whether it is still there, `neigh` knows.

use std::collections::HashMap;

use crate::conn::index::reserve;
use crate::frame::PortId;
use crate::neigh::MAX_NEIGHBOURS;
use crate::snapshot::Mac;

/// How packets leave. Two in a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct Hop {
    /// Destination MAC, then source MAC.
    pub(crate) macs: [u8; 12],
    /// Port to leave by.
    pub(crate) port: PortId,
    /// Its MTU.
    pub(crate) mtu: u16,
    /// [`DEAD`] is set while nobody may use it.
    generation: u32,
}

/// Bit of [`Hop::generation`]; no number kept by a connection has it.
const DEAD: u32 = 1 << 31;

impl Hop {
    /// The same hop for packets no larger than that.
    pub(crate) fn with_mtu(self, mtu: u16) -> Self {
        Self {
            mtu: self.mtu.min(mtu),
            ..self
        }
    }
}

/// A port as hops and neighbours need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Egress {
    /// The port.
    pub(crate) port: PortId,
    /// Its MAC address.
    pub(crate) mac: Mac,
    /// Its MTU.
    pub(crate) mtu: u16,
}

/// Most interned return hops; beyond it replies are routed.
const MAX_INTERNED: usize = 65_536;
/// A hop's number is its place and, in the low bits, its generation. 17 bits for
/// the place are enough for all of the above; a stale number is mistaken for a
/// good one only by a connection that slept through 32767 uses of the place.
const GENERATION_BITS: u32 = 15;
const GENERATIONS: u32 = (1 << GENERATION_BITS) - 1;
const _: () = assert!(MAX_INTERNED + MAX_NEIGHBOURS <= 1 << (32 - GENERATION_BITS));

fn number(place: u32, generation: u32) -> u32 {
    place << GENERATION_BITS | generation
}

fn place(raw: u32) -> u32 {
    raw >> GENERATION_BITS
}

fn next_generation(generation: u32) -> u32 {
    // Never 0, so that 0 names no hop.
    generation % GENERATIONS + 1
}

/// Next hops by number.
#[derive(Default)]
pub(crate) struct Hops {
    hops: Vec<Hop>,
    free: Vec<u32>,
    interned: HashMap<(PortId, Mac), u32>,
    /// The last ones asked for, by a few bits of their key.
    recent: Recent,
}

/// Numbers of interned hops at hand: a director hears from few routers.
struct Recent([(u64, u32); RECENT]);

const RECENT: usize = 64;

impl Default for Recent {
    fn default() -> Self {
        Self([(0, 0); RECENT])
    }
}

/// A port and a MAC address in a word, never 0.
fn key_of(port: PortId, mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f]) | (u64::from(port.0) + 1) << 48
}

impl Hops {
    /// With room for all there can be.
    pub(crate) fn new() -> Self {
        Self {
            hops: reserve(MAX_NEIGHBOURS + MAX_INTERNED),
            free: reserve(MAX_NEIGHBOURS + MAX_INTERNED),
            interned: HashMap::with_capacity(MAX_INTERNED),
            ..Self::default()
        }
    }

    /// The hop of a number kept by a connection, unless it is stale.
    #[inline(always)]
    #[must_use]
    pub(crate) fn get(&self, raw: u32) -> Option<&Hop> {
        let hop = self.hops.get(place(raw) as usize)?;
        (hop.generation == raw & GENERATIONS).then_some(hop)
    }

    /// Numbers start at generation 1, so 0 never names a hop.
    pub(crate) fn add(&mut self, macs: [u8; 12], port: PortId, mtu: u16) -> u32 {
        if let Some(i) = self.free.pop() {
            let hop = &mut self.hops[i as usize];
            let generation = hop.generation & !DEAD;
            *hop = Hop {
                macs,
                port,
                mtu,
                generation,
            };
            number(i, generation)
        } else {
            self.hops.push(Hop {
                macs,
                port,
                mtu,
                generation: 1,
            });
            number(self.hops.len() as u32 - 1, 1)
        }
    }

    /// Nobody may use it any more; its place is free.
    pub(crate) fn remove(&mut self, raw: u32) {
        let i = place(raw);
        if let Some(hop) = self.hops.get_mut(i as usize)
            && hop.generation == raw & GENERATIONS
        {
            hop.generation = next_generation(hop.generation) | DEAD;
            self.free.push(i);
        }
    }

    /// The hop that leads to a MAC address, whatever its IP address is.
    pub(crate) fn intern(&mut self, port: PortId, dst: Mac, src: Mac, mtu: u16) -> Option<u32> {
        let key = key_of(port, dst);
        let at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize;
        if self.recent.0[at].0 == key {
            return Some(self.recent.0[at].1);
        }
        let raw = self.intern_slowly(port, dst, src, mtu)?;
        self.recent.0[at] = (key, raw);
        Some(raw)
    }

    fn intern_slowly(&mut self, port: PortId, dst: Mac, src: Mac, mtu: u16) -> Option<u32> {
        if let Some(&raw) = self.interned.get(&(port, dst)) {
            return Some(raw);
        }
        if self.interned.len() >= MAX_INTERNED {
            return None;
        }
        let raw = self.add(macs(dst, src), port, mtu);
        self.interned.insert((port, dst), raw);
        Some(raw)
    }

    /// How many places there are, free ones too.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.hops.len()
    }

    /// Ports have changed: return hops take their new MAC address and MTU, those
    /// of ports that are gone go.
    pub(crate) fn refresh(&mut self, egress: &impl Fn(PortId) -> Option<Egress>) {
        let mut gone = Vec::new();
        self.recent = Recent::default();
        self.interned.retain(|(port, _), raw| {
            let (Some(e), Some(hop)) = (egress(*port), self.hops.get_mut(place(*raw) as usize))
            else {
                gone.push(*raw);
                return false;
            };
            hop.macs[6..].copy_from_slice(&e.mac);
            hop.mtu = e.mtu;
            true
        });
        for raw in gone {
            self.remove(raw);
        }
    }
}

/// The addresses of a frame, as a [`Hop`] has them.
pub(crate) fn macs(dst: Mac, src: Mac) -> [u8; 12] {
    let mut out = [0; 12];
    out[..6].copy_from_slice(&dst);
    out[6..].copy_from_slice(&src);
    out
}
