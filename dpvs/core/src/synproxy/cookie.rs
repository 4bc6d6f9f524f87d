//! SYN cookies: what a SYN said, in the sequence number of the answer.
//!
//! cookie = H(0) + client's number + minute << 24 + (H(minute) + offer) mod 2^24,
//! all modulo 2^32 (DPVS facts §15.1). H is SipHash-1-3 of the four-tuple and the
//! client's number, keyed by a secret that is derived anew every half an hour; a cookie is good for three to
//! four minutes. Nothing is kept of the SYN. Knows addresses and numbers, no packet.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::conn::table::Tuple;
use crate::frame::Now;
use crate::raw::Net;

/// Largest segments a cookie can tell apart; what a client offers is rounded down.
/// DIFFERS: the last of the ten of DPVS are joined by those of tunnels and of IPv6
/// with room for the client's address, and by that of jumbo frames.
pub(super) const MSS: [u16; 16] = [
    64, 256, 512, 536, 1024, 1220, 1280, 1360, 1380, 1400, 1420, 1440, 1452, 1460, 4312, 8960,
];

/// Minutes (modulo 256) a cookie is good for.
const AGE: u32 = 4;
/// Minutes a key is in use for. A power of two.
const ERA: u64 = 32;
const MINUTE: u64 = 60_000_000;
const LOW: u32 = (1 << 24) - 1;
const SACK: u32 = 1 << 21;
const TIMESTAMP: u32 = 1 << 20;
/// A window scale of zero; no option at all is zero.
const SCALE_ZERO: u32 = 15;

/// What a cookie keeps of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Largest segment towards the client.
    pub mss: u16,
    /// The client's window scale, if the answer allows scaling.
    pub wscale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
    /// Time stamps.
    pub timestamp: bool,
}

impl Offer {
    fn bits(self) -> u32 {
        let mss = MSS.iter().rposition(|m| *m <= self.mss).unwrap_or(0) as u32;
        let scale = match self.wscale {
            None => 0,
            Some(0) => SCALE_ZERO,
            Some(n) => u32::from(n.min(14)),
        };
        let sack = if self.sack { SACK } else { 0 };
        let timestamp = if self.timestamp { TIMESTAMP } else { 0 };
        sack | timestamp | scale << 16 | mss << 12
    }

    fn from_bits(bits: u32) -> Option<Self> {
        // The other bits are what a guess has to hit.
        if bits & !(SACK | TIMESTAMP | 0xff << 12) != 0 {
            return None;
        }
        Some(Self {
            mss: *MSS.get((bits >> 12 & 15) as usize)?,
            wscale: match bits >> 16 & 15 {
                0 => None,
                SCALE_ZERO => Some(0),
                n => Some(n as u8),
            },
            sack: bits & SACK != 0,
            timestamp: bits & TIMESTAMP != 0,
        })
    }
}

type Key = (u64, u64);

/// Makes and checks cookies.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    secret: Key,
    /// Minute of time zero.
    start: u64,
    /// The last key that was derived, and its era.
    current: (u64, Key),
    /// Minute (plus 1) of the last cookie; 0 = none yet.
    last: u64,
}

impl Cookies {
    pub(super) fn new(k0: u64, k1: u64) -> Self {
        let secret = (k0, k1);
        // Which minute it is nobody can tell from outside.
        let start = word(secret, &[u64::MAX]) >> 32;
        Self {
            secret,
            start,
            current: (u64::MAX, secret),
            last: 0,
        }
    }

    fn minute(&self, now: Now) -> u64 {
        self.start + now.0 / MINUTE
    }

    fn key(&mut self, era: u64) -> Key {
        if self.current.0 != era {
            self.current = (era, self.derive(era));
        }
        self.current.1
    }

    fn derive(&self, era: u64) -> Key {
        (word(self.secret, &[era, 1]), word(self.secret, &[era, 2]))
    }

    /// The cookie for a SYN with that number.
    pub(super) fn make<A: Net>(
        &mut self,
        tuple: &Tuple<A>,
        seq: u32,
        offer: Offer,
        now: Now,
    ) -> u32 {
        let minute = self.minute(now);
        self.last = minute + 1;
        let key = self.key(minute / ERA);
        let low = hash(key, tuple, seq, minute + 1).wrapping_add(offer.bits()) & LOW;
        hash(key, tuple, seq, 0)
            .wrapping_add(seq)
            .wrapping_add((minute as u32) << 24)
            .wrapping_add(low)
    }

    /// What the SYN with that number said, if this is a cookie we made for it not
    /// long ago.
    pub(super) fn check<A: Net>(
        &mut self,
        tuple: &Tuple<A>,
        seq: u32,
        cookie: u32,
        now: Now,
    ) -> Option<Offer> {
        let minute = self.minute(now);
        let era = minute / ERA;
        let key = self.key(era);
        let now = (minute, era);
        open(key, tuple, seq, cookie, now).or_else(|| {
            // Just after a change of keys the one before is good, too.
            let before = era
                .checked_sub(1)
                .filter(|_| minute % ERA < u64::from(AGE))?;
            open(self.derive(before), tuple, seq, cookie, (minute, before))
        })
    }

    /// Whether there can be a good cookie under way.
    pub(super) fn any(&self, now: Now) -> bool {
        self.last != 0 && self.minute(now) < self.last + u64::from(AGE)
    }
}

/// Takes a cookie apart that was made in an era, with its key.
fn open<A: Net>(
    key: Key,
    tuple: &Tuple<A>,
    seq: u32,
    cookie: u32,
    (minute, era): (u64, u64),
) -> Option<Offer> {
    let rest = cookie
        .wrapping_sub(hash(key, tuple, seq, 0))
        .wrapping_sub(seq);
    let age = (minute as u32).wrapping_sub(rest >> 24) & 0xff;
    let made = minute.checked_sub(u64::from(age))?;
    if age >= AGE || made / ERA != era {
        return None;
    }
    Offer::from_bits((rest & LOW).wrapping_sub(hash(key, tuple, seq, made + 1)) & LOW)
}

fn word((k0, k1): Key, words: &[u64]) -> u64 {
    let mut hash = SipHasher13::new_with_keys(k0, k1);
    for word in words {
        hash.write_u64(*word);
    }
    hash.finish()
}

/// DIFFERS: the client's number is hashed, too. In DPVS (and Linux) it is only added,
/// so that an ACK is good again whenever both sides have sent as many bytes: the last
/// one of such a connection would begin another.
#[inline(always)]
fn hash<A: Net>((k0, k1): Key, tuple: &Tuple<A>, seq: u32, count: u64) -> u32 {
    let mut hash = SipHasher13::new_with_keys(k0, k1);
    // The same for a packet as it came and as it was turned for a server.
    match (tuple.src.ip().to_canonical(), tuple.dst.ip().to_canonical()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            hash.write_u64(u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits()));
        }
        (src, dst) => {
            for ip in [src, dst] {
                let bits = bits(ip);
                hash.write_u64((bits >> 64) as u64);
                hash.write_u64(bits as u64);
            }
        }
    }
    let ports = u64::from(tuple.sport) << 48 | u64::from(tuple.dport) << 32;
    hash.write_u64(ports | u64::from(seq));
    hash.write_u64(count);
    hash.finish() as u32
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
