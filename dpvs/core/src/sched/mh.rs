//! Maglev hashing: a table that every worker shares, in which each server has its
//! share of slots; few of them change hands when the servers change.
//!
//! With 4,093 slots and the servers in their configured order it is the table of
//! DPVS and Linux, slot for slot (DPVS facts §9.2). By default the servers take
//! their turns in the order of address and port, so that two directors, or one
//! after a change back and forth, agree whatever the order was.
//!
//! DIFFERS: that default; `mh_list_order` in dpvs.conf gives the C program's order.
//! A server taken out by the passive check has no slots, as one of weight 0; DPVS
//! drops what is hashed to it.

use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::hashed::{Flow, folded};
use super::tree::weight;
use super::wrr::gcd;
use crate::service::{Dest, Policy};

/// Sizes of the table, by the number an operator's choice has on the control
/// socket; 0 means [`DEFAULT`]. All primes.
pub const SIZES: [u32; 11] = [
    DEFAULT, 251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071,
];

/// Size where none is chosen.
pub const DEFAULT: u32 = 4093;

const KEY1: u64 = 2_654_435_761;
const KEY2: u64 = 2_654_446_892;
/// No server has the slot.
const NOBODY: u32 = u32::MAX;

/// Which server has which slot.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Box<[u32]>,
}

/// SipHash-1-3 of one number, its low half.
fn hash(key: u64, offset: u32, addr: IpAddr, port: u16) -> u32 {
    let value = offset
        .wrapping_add(u32::from(port))
        .wrapping_add(folded(addr));
    SipHasher13::new_with_keys(key, key).hash(&value.to_le_bytes()) as u32
}

/// A server that takes turns.
struct Turns {
    place: u32,
    next: u32,
    skip: u32,
    turns: u16,
}

impl Slots {
    /// `size` is one of [`SIZES`]. `None` if no server weighs anything.
    pub(super) fn build(dests: &[Dest], size: u32, list_order: bool) -> Option<Self> {
        let divisor = dests.iter().fold(0, |g, d| gcd(g, weight(d)));
        let max = dests.iter().map(weight).max().filter(|max| *max > 0)?;
        // Turns have at most half the bits of the table's size.
        let bits = (u32::BITS - size.leading_zeros()) / 2;
        let shift = (u16::BITS - (max / divisor).leading_zeros()).saturating_sub(bits);
        let mut order: Vec<usize> = (0..dests.len()).collect();
        if !list_order {
            order.sort_by_key(|&i| (dests[i].addr, dests[i].port));
        }
        let mut turns: Vec<Turns> = order
            .into_iter()
            .filter(|&i| weight(&dests[i]) > 0)
            .map(|i| {
                let d = &dests[i];
                Turns {
                    place: i as u32,
                    next: hash(KEY1, 0, d.addr, d.port) % size,
                    skip: hash(KEY2, 0, d.addr, d.port) % (size - 1) + 1,
                    turns: ((d.weight / divisor) >> shift).max(1),
                }
            })
            .collect();
        let mut slots = vec![NOBODY; size as usize].into_boxed_slice();
        let mut free = size;
        'full: loop {
            for t in &mut turns {
                for _ in 0..t.turns {
                    // The size is a prime: every slot comes up.
                    while slots[t.next as usize] != NOBODY {
                        t.next = (t.next + t.skip) % size;
                    }
                    slots[t.next as usize] = t.place;
                    free -= 1;
                    if free == 0 {
                        break 'full;
                    }
                }
            }
        }
        Some(Self { slots })
    }

    /// The server of a client; where it may not be used, with fallback the first
    /// of those its hash leads to that may, else `None`.
    pub(super) fn pick(
        &self,
        flow: &Flow,
        policy: &Policy,
        mut open: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let size = self.slots.len() as u32;
        let port = if policy.with_port { flow.cport } else { 0 };
        let slot = |offset| hash(KEY1, offset, flow.client, port) % size;
        let server = |slot: u32| self.slots[slot as usize];
        let first = slot(0);
        match server(first) {
            NOBODY => return None,
            place if open(place as usize) => return Some(place as usize),
            _ if !policy.fallback => return None,
            _ => {}
        }
        (0..size)
            .map(|i| server(slot((i + first) % size)))
            .take_while(|place| *place != NOBODY)
            .map(|place| place as usize)
            .find(|place| open(*place))
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }
}
