//! Tunnel devices: what they are, and which one a received packet belongs to.
//!
//! IPv4 outside; inside IPv4, and with GRE IPv6 too. Data and its lookup only: what
//! a worker does with it is in `crate::tunnel`, the headers are in [`super::encap`].

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::frame::PortId;

/// Kind of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 in IPv4 (RFC 2003).
    Ipip,
    /// GRE (RFC 2784, 2890).
    Gre,
}

/// Options of GRE, of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Checksum.
    pub csum: bool,
    /// Key.
    pub key: Option<u32>,
    /// Sequence numbers: counted by [`crate::frame::Io`], because they are all
    /// workers'.
    pub seq: bool,
}

impl Options {
    /// Bytes of the GRE header with these.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u16 {
        4 + 4 * (u16::from(self.csum) + u16::from(self.key.is_some()) + u16::from(self.seq))
    }
}

/// A tunnel device.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// Kind.
    pub kind: Kind,
    /// Own end; unspecified: any.
    pub local: Ipv4Addr,
    /// Other end; unspecified: any, and then nothing can be sent.
    pub remote: Ipv4Addr,
    /// The only port its outer packets go out by.
    pub link: Option<PortId>,
    /// TTL of outer packets; 0: that of the packet inside.
    pub ttl: u8,
    /// Type of service of outer packets; 1: that of the packet inside.
    pub tos: u8,
    /// Of received packets.
    pub input: Options,
    /// Of sent packets.
    pub output: Options,
}

impl Tunnel {
    /// Bytes the outer headers take.
    #[must_use]
    pub fn overhead(&self) -> u16 {
        20 + match self.kind {
            Kind::Ipip => 0,
            Kind::Gre => self.output.len(),
        }
    }

    fn ends(&self) -> Ends {
        let key = match self.kind {
            Kind::Ipip => None,
            Kind::Gre => self.input.key,
        };
        (self.kind, self.local, self.remote, key)
    }
}

type Ends = (Kind, Ipv4Addr, Ipv4Addr, Option<u32>);

/// The tunnels by their ends.
#[derive(Debug, Default)]
pub struct Tunnels(HashMap<Ends, PortId>);

impl Tunnels {
    /// Of two with the same ends the first has them.
    pub fn new<'a>(all: impl IntoIterator<Item = (PortId, &'a Tunnel)>) -> Self {
        let mut map = HashMap::new();
        for (port, tunnel) in all {
            map.entry(tunnel.ends()).or_insert(port);
        }
        Self(map)
    }

    /// Without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of that kind.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.0.keys().any(|ends| ends.0 == kind)
    }

    /// The tunnel of a packet that came for `local` from `remote`: the one that
    /// names most of both ends, the other end first.
    #[must_use]
    pub fn find(
        &self,
        kind: Kind,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        key: Option<u32>,
    ) -> Option<PortId> {
        const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
        [(local, remote), (ANY, remote), (local, ANY), (ANY, ANY)]
            .into_iter()
            .find_map(|(local, remote)| self.0.get(&(kind, local, remote, key)))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(local: [u8; 4], remote: [u8; 4], key: Option<u32>) -> Tunnel {
        Tunnel {
            kind: Kind::Gre,
            local: local.into(),
            remote: remote.into(),
            link: None,
            ttl: 0,
            tos: 1,
            input: Options {
                key,
                ..Options::default()
            },
            output: Options::default(),
        }
    }

    #[test]
    fn most_particular_first() {
        let (l, r, any) = ([10, 0, 0, 1], [10, 0, 0, 2], [0; 4]);
        let all = [
            tunnel(l, r, None),
            tunnel(any, r, None),
            tunnel(l, any, None),
            tunnel(any, any, None),
            tunnel(l, r, Some(5)),
            tunnel(l, r, None),
        ];
        let find = |from: usize, local: [u8; 4], remote: [u8; 4], key| {
            let some = all.iter().enumerate().skip(from);
            Tunnels::new(some.map(|(n, t)| (PortId(n as u16), t))).find(
                Kind::Gre,
                local.into(),
                remote.into(),
                key,
            )
        };
        assert_eq!(find(0, l, r, None), Some(PortId(0)));
        assert_eq!(find(0, [9; 4], r, None), Some(PortId(1)));
        assert_eq!(find(0, l, [9; 4], None), Some(PortId(2)));
        assert_eq!(find(0, [9; 4], [9; 4], None), Some(PortId(3)));
        assert_eq!(find(0, l, r, Some(5)), Some(PortId(4)));
        assert_eq!(find(0, l, r, Some(6)), None);
        assert_eq!(find(5, [9; 4], r, None), None);
        let none = Tunnels::default();
        assert!(none.is_empty() && !none.has(Kind::Gre));
        assert_eq!(none.find(Kind::Gre, l.into(), r.into(), None), None);
    }
}
