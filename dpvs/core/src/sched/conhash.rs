//! Consistent hashing: a ring of points, 160 for each unit of a server's weight;
//! the first point from the client's hash on says whose it is. Points and hash are
//! DPVS's (facts §9.1), so it picks the same server.
//!
//! DIFFERS: above 2^20 points weights are scaled down, where DPVS makes up to ten
//! million for one server. A server taken out by the passive check has no points.

use std::fmt::Write;
use std::net::IpAddr;

use md5::{Digest, Md5};

use super::hashed::Flow;
use super::tree::weight;
use super::wrr::gcd;
use crate::service::{Dest, HashTarget, Policy};

/// Points for each unit of weight.
const REPLICAS: u32 = 160;
/// Most points of a service.
const POINTS: u64 = 1 << 20;

/// The ring: points in their order.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    keys: Box<[i64]>,
    /// Whose a point is.
    places: Box<[u32]>,
}

/// Where a text lies on the ring.
fn position(text: &str) -> i64 {
    let digest = Md5::digest(text.as_bytes());
    let mut a = digest.chunks_exact(4).fold(0u64, |sum, word| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(word);
        sum + u64::from(u32::from_le_bytes(bytes))
    });
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473).cast_signed()
}

/// How many points each server has.
fn replicas(dests: &[Dest]) -> impl Fn(&Dest) -> u32 {
    let divisor = dests.iter().fold(0, |g, d| gcd(g, weight(d))).max(1);
    let units = move |d: &Dest| u64::from(weight(d) / divisor);
    let total: u64 = dests.iter().map(units).sum::<u64>() * u64::from(REPLICAS);
    move |dest| {
        let points = units(dest) * u64::from(REPLICAS);
        let scaled = if total > POINTS {
            (points * POINTS / total).max(u64::from(points > 0))
        } else {
            points
        };
        scaled as u32
    }
}

impl Ring {
    /// `None` if no server weighs anything.
    pub(super) fn build(dests: &[Dest]) -> Option<Self> {
        let replicas = replicas(dests);
        let mut points: Vec<(i64, u32)> = Vec::new();
        let mut label = String::new();
        for (dest, place) in dests.iter().zip(0..) {
            for n in 0..replicas(dest) {
                label.clear();
                // The port's bytes in network order, read on a little-endian host.
                let port = dest.port.swap_bytes();
                let _ = write!(label, "{}{port}-{n:03}", dest.addr);
                points.push((position(&label), place));
            }
        }
        // Of points that fall together the first server's counts.
        points.sort();
        points.dedup_by_key(|p| p.0);
        (!points.is_empty()).then(|| Self {
            keys: points.iter().map(|p| p.0).collect(),
            places: points.iter().map(|p| p.1).collect(),
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.places.iter().copied()
    }

    /// The server of a client; `None` if it may not be used.
    pub(super) fn pick(
        &self,
        flow: &Flow,
        policy: &Policy,
        mut open: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let object = match (policy.hash_target, flow.qid) {
            (HashTarget::None, _) => return None,
            (HashTarget::Qid, Some(qid)) => qid,
            _ => by_client(flow.client),
        };
        let key = position(Decimal::of(object).text());
        let at = self.keys.partition_point(|k| *k < key);
        let place = self.places.get(at).or(self.places.first())?;
        let place = *place as usize;
        open(place).then_some(place)
    }
}

/// An address as the number that is hashed: as its bytes lie in memory, IPv6 by
/// xor of the four words.
fn by_client(addr: IpAddr) -> u64 {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    match addr {
        IpAddr::V4(v4) => word(&v4.octets()),
        IpAddr::V6(v6) => v6.octets().chunks(4).fold(0, |x, w| x ^ word(w)),
    }
}

/// A number's digits, without asking for memory.
struct Decimal {
    digits: [u8; 20],
    from: usize,
}

impl Decimal {
    fn of(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut from = digits.len();
        loop {
            from -= 1;
            digits[from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, from };
            }
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.digits[self.from..]).unwrap_or_default()
    }
}
