//! Services found by what a packet is, not by its destination (DPVS facts §9):
//! ranges of addresses and ports, the devices it comes in and leaves by.
//!
//! What source NAT is configured by. A plain value in the snapshot; knows no
//! connection and no server.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::frame::PortId;

/// Addresses and ports of one side. `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Addresses, of the service's family; an inverted range holds none.
    pub addrs: Option<RangeInclusive<IpAddr>>,
    /// Ports, host order. Only protocols with ports are asked for them.
    pub ports: Option<RangeInclusive<u16>>,
}

impl Side {
    fn has(&self, addr: IpAddr, port: Option<u16>) -> bool {
        self.addrs
            .as_ref()
            .is_none_or(|range| range.contains(&addr))
            && match (&self.ports, port) {
                (Some(range), Some(port)) => range.contains(&port),
                _ => true,
            }
    }
}

/// What a match service wants of a packet; its protocol and family are in the
/// service's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Where it comes from.
    pub src: Side,
    /// Where it goes.
    pub dst: Side,
    /// Device it came in by.
    pub iif: Option<PortId>,
    /// Device its route leads out of.
    pub oif: Option<PortId>,
}

/// A packet as it is matched. Ports are `None` where the protocol has none.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Source.
    pub src: (IpAddr, Option<u16>),
    /// Destination.
    pub dst: (IpAddr, Option<u16>),
    /// Device it came in by.
    pub iif: PortId,
    /// Device its route leads out of.
    pub oif: PortId,
}

impl Matching {
    /// Whether a packet of the service's protocol and family is meant.
    #[must_use]
    pub fn matches(&self, p: &Asked) -> bool {
        // DIFFERS: each service is asked with both devices; DPVS forgets the one
        // a packet leaves by once a service did not ask for it.
        self.iif.is_none_or(|port| port == p.iif)
            && self.oif.is_none_or(|port| port == p.oif)
            && self.src.has(p.src.0, p.src.1)
            && self.dst.has(p.dst.0, p.dst.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn asked(src: &str, dst: &str) -> Asked {
        Asked {
            src: (ip(src), Some(1000)),
            dst: (ip(dst), Some(80)),
            iif: PortId(1),
            oif: PortId(0),
        }
    }

    #[test]
    fn everything_unset_matches_everything() {
        assert!(Matching::default().matches(&asked("10.0.0.1", "203.0.113.1")));
    }

    #[test]
    fn ranges_are_inclusive_and_inverted_ones_hold_nothing() {
        let range = |a, b| Matching {
            src: Side {
                addrs: Some(ip(a)..=ip(b)),
                ports: None,
            },
            ..Matching::default()
        };
        let m = range("10.0.0.1", "10.0.0.9");
        for (src, is) in [
            ("10.0.0.0", false),
            ("10.0.0.1", true),
            ("10.0.0.9", true),
            ("10.0.0.10", false),
        ] {
            assert_eq!(m.matches(&asked(src, "203.0.113.1")), is, "{src}");
        }
        let m = range("10.0.0.9", "10.0.0.1");
        assert!(!m.matches(&asked("10.0.0.5", "203.0.113.1")));
        let m = Matching {
            dst: Side {
                addrs: None,
                ports: Some(80..=81),
            },
            ..Matching::default()
        };
        assert!(m.matches(&asked("10.0.0.5", "203.0.113.1")));
        let m = Matching {
            dst: Side {
                addrs: None,
                ports: Some(443..=443),
            },
            ..Matching::default()
        };
        assert!(!m.matches(&asked("10.0.0.5", "203.0.113.1")));
        let mut ping = asked("10.0.0.5", "203.0.113.1");
        (ping.src.1, ping.dst.1) = (None, None);
        assert!(m.matches(&ping));
    }

    #[test]
    fn devices() {
        let m = |iif, oif| Matching {
            iif,
            oif,
            ..Matching::default()
        };
        let p = asked("10.0.0.1", "203.0.113.1");
        assert!(m(Some(PortId(1)), Some(PortId(0))).matches(&p));
        assert!(!m(Some(PortId(0)), None).matches(&p));
        assert!(!m(None, Some(PortId(1))).matches(&p));
    }
}
