//! SYN cookies: what a SYN said, in the sequence number of the answer.
//!
//! cookie = H(minute) + client's number + offer, modulo 2^32. H is SipHash-1-3 of the
//! four-tuple, the client's number and the minute, keyed by a secret that is derived
//! anew every half an hour; a cookie is good for three to four minutes, which are tried
//! in turn. An offer has ten bits, the other 22 are what a guess has to hit: twenty, as
//! there are four minutes. Nothing is kept of the SYN. Knows addresses and numbers, no
//! packet.
//!
//! DIFFERS: DPVS (facts §15.1) hashes twice, without and with the minute, and adds the
//! minute in plain, so that an ACK is checked once; as good against guesses, and a flood
//! of SYNs costs twice as many hashes.

use crate::conn::table::Tuple;
use crate::frame::Now;
use crate::raw::{Net, unmap4};
use crate::sip::Sip;

/// Largest segments a cookie can tell apart; what a client offers is rounded down.
/// DIFFERS: the last of the ten of DPVS are joined by those of tunnels and of IPv6
/// with room for the client's address, and by that of jumbo frames.
pub(super) const MSS: [u16; 16] = [
    64, 256, 512, 536, 1024, 1220, 1280, 1360, 1380, 1400, 1420, 1440, 1452, 1460, 4312, 8960,
];

/// Minutes a cookie is good for.
const AGE: u64 = 4;
/// Minutes a key is in use for. A power of two.
const ERA: u64 = 32;
const MINUTE: u64 = 60_000_000;
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
    /// The last era there was a cookie of, its key and the key before.
    era: u64,
    keys: [Key; 2],
    /// Minute (plus 1) of the last cookie; 0 = none yet.
    last: u64,
}

impl Cookies {
    pub(super) fn new(k0: u64, k1: u64) -> Self {
        let secret = (k0, k1);
        // Which minute it is nobody can tell from outside.
        let start = Sip::new(secret).word(u64::MAX).finish() >> 32;
        Self {
            secret,
            start,
            era: u64::MAX,
            keys: [secret; 2],
            last: 0,
        }
    }

    #[inline(always)]
    fn minute(&self, now: Now) -> u64 {
        self.start + now.0 / MINUTE
    }

    /// The keys of an era and of the one before.
    #[inline(always)]
    fn keys(&mut self, era: u64) -> [Key; 2] {
        if self.era != era {
            self.rotate(era);
        }
        self.keys
    }

    #[cold]
    #[inline(never)]
    fn rotate(&mut self, era: u64) {
        let derive = |era: u64| {
            let word = |n: u64| Sip::new(self.secret).word(era).word(n).finish();
            (word(1), word(2))
        };
        self.keys = [derive(era), derive(era.wrapping_sub(1))];
        self.era = era;
    }

    /// The cookie for a SYN with that number.
    #[inline(always)]
    pub(super) fn make<A: Net>(
        &mut self,
        tuple: &Tuple<A>,
        seq: u32,
        offer: Offer,
        now: Now,
    ) -> u32 {
        let minute = self.minute(now);
        self.last = minute + 1;
        let [key, _] = self.keys(minute / ERA);
        mask(begun(key, tuple, seq), seq, minute).wrapping_add(offer.bits())
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
        let [key, before] = self.keys(era);
        let mut sip = begun(key, tuple, seq);
        let mut of = era;
        (0..AGE).find_map(|age| {
            let made = minute.checked_sub(age)?;
            if made / ERA != of {
                // Just after a change of keys the one before is good, too.
                of = made / ERA;
                sip = begun(before, tuple, seq);
            }
            Offer::from_bits(cookie.wrapping_sub(mask(sip, seq, made)))
        })
    }

    /// Whether there can be a good cookie under way.
    pub(super) fn any(&self, now: Now) -> bool {
        self.last != 0 && self.minute(now) < self.last + AGE
    }
}

/// What is hashed for every minute: the addresses, ports and number.
///
/// DIFFERS: the client's number is hashed, too. In DPVS (and Linux) it is only added,
/// so that an ACK is good again whenever both sides have sent as many bytes: the last
/// one of such a connection would begin another.
#[inline(always)]
fn begun<A: Net>(key: Key, tuple: &Tuple<A>, seq: u32) -> Sip {
    let (src, dst) = (tuple.src.wide(), tuple.dst.wide());
    let v4 = if A::V6 {
        unmap4(src).zip(unmap4(dst))
    } else {
        Some((src as u32, dst as u32))
    };
    let sip = match v4 {
        // The same for a packet as it came and as it was turned for a server.
        Some((src, dst)) => Sip::new(key).word(u64::from(src) << 32 | u64::from(dst)),
        None => [src, dst].into_iter().fold(Sip::new(key), |sip, addr| {
            sip.word(addr as u64).word((addr >> 64) as u64)
        }),
    };
    let ports = u64::from(tuple.sport) << 48 | u64::from(tuple.dport) << 32;
    sip.word(ports | u64::from(seq))
}

/// What is added to the offer in a minute.
#[inline(always)]
fn mask(begun: Sip, seq: u32, minute: u64) -> u32 {
    (begun.word(minute).finish() as u32).wrapping_add(seq)
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
