//! Path MTUs to the far ends of tunnels, as routers told of them (RFC 2003 §5.1,
//! RFC 2473 §7.1).
//!
//! A router's error about an outer packet may quote too little to tell whose packet
//! is inside. What it says of the path is kept for a while, so that the next packet
//! that is too large is answered here. Only ends that packets are sent to are known,
//! in a table of fixed size in which a newcomer takes another one's place. Knows no
//! tunnels.

use std::net::IpAddr;

/// Ends that are known at once.
const SLOTS: usize = 1024;
/// How long a path stays as it was told, milliseconds (RFC 1191 §6.3).
const TIME: u64 = 600_000;
/// Less is not believed of an IPv4 path: what forged errors can do stays bounded.
const LEAST4: u16 = 552;
const LEAST6: u16 = 1280;

#[derive(Clone, Copy)]
struct Path {
    to: IpAddr,
    mtu: u16,
    until: u64,
}

/// The paths of one worker; takes its memory with the first tunnel.
#[derive(Default)]
pub(crate) struct Paths {
    slots: Vec<Option<Path>>,
    seed: u64,
    now: u64,
}

impl Paths {
    /// `seed` keeps outsiders from choosing places.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed: seed | 1,
            ..Self::default()
        }
    }

    fn place(&self, to: IpAddr) -> usize {
        let bits = match to {
            IpAddr::V4(a) => u128::from(a.to_bits()),
            IpAddr::V6(a) => a.to_bits(),
        };
        let mixed =
            (bits as u64 ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (bits >> 64) as u64;
        let mixed = (mixed ^ self.seed.rotate_left(31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> 54) as usize
    }

    /// Packets are sent to that end.
    pub(crate) fn know(&mut self, to: IpAddr) {
        if self.slots.is_empty() {
            self.slots = vec![None; SLOTS];
        }
        let place = self.place(to);
        let known = self.slots.get_mut(place);
        if let Some(path) = known.filter(|p| p.is_none_or(|p| p.to != to)) {
            *path = Some(Path {
                to,
                mtu: u16::MAX,
                until: 0,
            });
        }
    }

    /// A router says that the path to an end takes packets of so many bytes.
    pub(crate) fn learn(&mut self, to: IpAddr, mtu: u32, now_ms: u64) {
        self.now = self.now.max(now_ms);
        let place = self.place(to);
        let Some(Some(path)) = self.slots.get_mut(place) else {
            return;
        };
        if path.to == to && mtu > 0 {
            let least = if to.is_ipv4() { LEAST4 } else { LEAST6 };
            path.mtu = u16::try_from(mtu).unwrap_or(u16::MAX).max(least);
            path.until = now_ms + TIME;
        }
    }

    /// What the path to an end takes, as far as anybody said.
    pub(crate) fn mtu(&self, to: IpAddr) -> u16 {
        match self.slots.get(self.place(to)) {
            Some(Some(path)) if path.to == to && self.now < path.until => path.mtu,
            _ => u16::MAX,
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.now = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ends_that_are_known_are_learned_about_for_ten_minutes() {
        let (a, b) = (ip("10.0.0.1"), ip("2001:db8::1"));
        let mut paths = Paths::new(7);
        paths.learn(a, 1400, 0);
        assert_eq!(paths.mtu(a), u16::MAX);
        paths.know(a);
        paths.know(b);
        paths.learn(a, 1400, 1000);
        paths.learn(b, 100, 1000);
        assert_eq!((paths.mtu(a), paths.mtu(b)), (1400, 1280));
        paths.know(a);
        paths.learn(a, 0, 1000);
        assert_eq!(paths.mtu(a), 1400);
        paths.learn(a, 1, 1000);
        assert_eq!(paths.mtu(a), 552);
        paths.learn(a, 1 << 20, 1000);
        assert_eq!(paths.mtu(a), u16::MAX);
        paths.tick(601_000);
        assert_eq!(paths.mtu(b), u16::MAX);
    }

    #[test]
    fn memory_is_bounded_and_places_differ() {
        let mut paths = Paths::new(7);
        let ends = || (0..5000u32).map(|i| IpAddr::V4((0x0a00_0000 + i).into()));
        for end in ends() {
            paths.know(end);
            paths.learn(end, 1300, 1);
        }
        assert_eq!(paths.slots.len(), SLOTS);
        let left = ends().filter(|end| paths.mtu(*end) == 1300).count();
        assert!(left > SLOTS * 9 / 10, "{left}");
    }
}
