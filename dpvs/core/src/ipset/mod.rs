//! Sets of addresses, networks and ports that packets are held against.
//!
//! Immutable as published: the master changes its copy, which shares all pages
//! but the changed ones with the workers' ([`crate::sharemap`]). A lookup reads
//! one entry, or one for each prefix length the set has. Which kinds there are,
//! and which side of a packet each looks at, is DPVS facts §20.2. Knows nothing
//! of who asks: black and white lists and classifiers do.

mod bitmap;
mod elements;
mod hash;
mod pair;
mod span;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use crate::service::{TCP, UDP};
use crate::snapshot::Mac;

use bitmap::Bitmap;
use hash::One;
use pair::Two;
pub use span::Span;

/// Dense number of a set, given by the master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub u32);

macro_rules! kinds {
    ($($name:ident = $text:literal,)*) => {
        /// What a set holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum SetKind { $($name,)* }

        impl SetKind {
            /// Every kind.
            pub const ALL: &'static [SetKind] = &[$(SetKind::$name,)*];

            /// The name on the control socket.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(SetKind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    BitmapIp = "bitmap:ip",
    BitmapIpMac = "bitmap:ip,mac",
    BitmapPort = "bitmap:port",
    HashIp = "hash:ip",
    HashNet = "hash:net",
    HashIpPort = "hash:ip,port",
    HashNetPort = "hash:net,port",
    HashNetPortIface = "hash:net,port,iface",
    HashIpPortIp = "hash:ip,port,ip",
    HashIpPortNet = "hash:ip,port,net",
    HashNetPortNet = "hash:net,port,net",
    HashNetPortNetPort = "hash:net,port,net,port",
}

impl SetKind {
    /// By the name on the control socket.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }

    /// Has a range instead of a hash.
    #[must_use]
    pub fn is_bitmap(self) -> bool {
        matches!(self, Self::BitmapIp | Self::BitmapIpMac | Self::BitmapPort)
    }

    /// Its first address, its second one are networks: only such sets have
    /// exceptions.
    #[must_use]
    pub fn nets(self) -> (bool, bool) {
        match self {
            Self::HashNet | Self::HashNetPort | Self::HashNetPortIface | Self::HashIpPortNet => {
                (true, false)
            }
            Self::HashNetPortNet | Self::HashNetPortNetPort => (true, true),
            _ => (false, false),
        }
    }

    /// Has two addresses.
    #[must_use]
    pub fn is_pair(self) -> bool {
        matches!(
            self,
            Self::HashIpPortIp
                | Self::HashIpPortNet
                | Self::HashNetPortNet
                | Self::HashNetPortNetPort
        )
    }

    /// Has a port.
    #[must_use]
    pub fn has_port(self) -> bool {
        !matches!(
            self,
            Self::BitmapIp | Self::BitmapIpMac | Self::HashIp | Self::HashNet
        )
    }

    /// Lists of clients look at the destination side of packets with such a set,
    /// at the source side with any other.
    #[must_use]
    pub fn lists_by_destination(self) -> bool {
        matches!(
            self,
            Self::HashIpPortIp | Self::HashIpPortNet | Self::HashNetPortNet
        )
    }
}

/// A network, or with the full length an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Net {
    /// Its address, bits behind the prefix zero.
    pub addr: IpAddr,
    /// Prefix length, at most 32 or 128.
    pub plen: u8,
}

impl Net {
    /// The network an address is in.
    #[must_use]
    pub fn of(addr: IpAddr, plen: u8) -> Self {
        Self {
            addr: masked(addr, plen),
            plen,
        }
    }

    /// A single address.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        Self {
            addr,
            plen: full(addr),
        }
    }
}

/// Bits of an address.
fn full(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// The first `plen` bits of an address.
fn masked(addr: IpAddr, plen: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(plen.into()).unwrap_or(0);
            IpAddr::V4((a.to_bits() & !host).into())
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(plen.into()).unwrap_or(0);
            IpAddr::V6((a.to_bits() & !host).into())
        }
    }
}

/// One element, and what a set is asked for. Fields a kind does not have are
/// their defaults. Ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// First address or network.
    pub net: Net,
    /// Second one; the first once more for kinds with one.
    pub net2: Net,
    /// IP protocol number; 0 in an element means any that has ports, see
    /// [`Element::none`].
    pub proto: u8,
    /// Port; 0 for ICMP.
    pub port: u16,
    /// Second port.
    pub port2: u16,
    /// Hardware address; zero is any.
    pub mac: Mac,
    /// Device, counted from 1; 0 = none.
    pub iface: u16,
}

impl Element {
    /// An address and nothing else.
    #[must_use]
    pub fn none(addr: IpAddr) -> Self {
        Self {
            net: Net::host(addr),
            net2: Net::host(addr),
            proto: 0,
            port: 0,
            port2: 0,
            mac: [0; 6],
            iface: 0,
        }
    }
}

/// What is looked at of a packet. Ports in host order.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol number.
    pub proto: u8,
    /// Source port, 0 where there is none.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Ethernet source.
    pub smac: Mac,
    /// Ethernet destination.
    pub dmac: Mac,
    /// Device it was received on, counted from 1.
    pub iface: u16,
}

/// A member as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub element: Element,
    /// It is an exception.
    pub nomatch: bool,
    /// What somebody wrote beside it.
    pub comment: Option<Arc<str>>,
}

/// Why a set does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError {
    /// The element is there.
    Exists,
    /// The element is not there.
    Missing,
    /// Not an element of such a set: outside of its range, of the other family.
    Invalid(&'static str),
    /// It has as many elements as it may.
    Full,
}

/// How a set is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetConf {
    /// What it holds.
    pub kind: SetKind,
    /// Holds IPv6.
    pub v6: bool,
    /// Elements may have comments.
    pub comments: bool,
    /// Most elements of a hash.
    pub max: u32,
    /// First and last address of a bitmap.
    pub addrs: (u32, u32),
    /// First and last port of a bitmap.
    pub ports: (u16, u16),
}

#[derive(Clone, Debug)]
enum Body {
    Bits(Bitmap),
    One(One),
    Two(Box<Two>),
}

/// A set. Cloning shares what it holds.
#[derive(Clone, Debug)]
pub struct IpSet {
    conf: SetConf,
    body: Body,
}

/// Most elements one request may name.
const MOST: u64 = 1 << 20;
/// Most addresses of a bitmap.
pub const BITMAP_MOST: u32 = 65_536;

impl IpSet {
    /// An empty set that hashes with this key.
    ///
    /// # Errors
    /// When a bitmap has too large a range, or one that is not IPv4.
    pub fn new(conf: SetConf, seed: [u64; 2]) -> Result<Self, SetError> {
        let body = if conf.kind.is_bitmap() {
            let (first, last) = conf.addrs;
            if conf.v6 {
                return Err(SetError::Invalid("a bitmap holds IPv4"));
            }
            if conf.kind == SetKind::BitmapPort {
                if conf.ports.0 > conf.ports.1 {
                    return Err(SetError::Invalid("range of ports"));
                }
            } else if first > last || last - first >= BITMAP_MOST {
                return Err(SetError::Invalid("range of addresses"));
            }
            Body::Bits(Bitmap::new(&conf, seed))
        } else if conf.kind.is_pair() {
            Body::Two(Box::new(Two::new(seed)))
        } else {
            Body::One(One::new(seed))
        };
        Ok(Self { conf, body })
    }

    /// How it was made.
    #[must_use]
    pub fn conf(&self) -> &SetConf {
        &self.conf
    }

    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Bits(b) => b.len(),
            Body::One(h) => h.len(),
            Body::Two(h) => h.len(),
        }
    }

    /// True without any element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory, comments' text aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.body {
                Body::Bits(b) => b.bytes(),
                Body::One(h) => h.bytes(),
                Body::Two(h) => h.bytes(),
            }
    }

    /// Adds what `span` names, all or nothing. With `force` what is there already
    /// is replaced, otherwise it is an error.
    ///
    /// # Errors
    /// See [`SetError`].
    pub fn add(
        &mut self,
        span: &Span,
        nomatch: bool,
        comment: Option<&str>,
        force: bool,
    ) -> Result<(), SetError> {
        if nomatch && !self.conf.kind.nets().0 {
            // DIFFERS: DPVS takes it and forgets it.
            return Err(SetError::Invalid("only sets of networks have exceptions"));
        }
        let comment: Option<Arc<str>> = comment
            .filter(|c| self.conf.comments && !c.is_empty())
            .map(Arc::from);
        self.change(span, |set, element| {
            let new = set.insert(element, nomatch, comment.clone())?;
            if !new && !force {
                return Err(SetError::Exists);
            }
            if !set.conf.kind.is_bitmap() && set.len() > set.conf.max as usize {
                return Err(SetError::Full);
            }
            Ok(())
        })
    }

    /// Removes what `span` names, all or nothing. With `force` it may be missing.
    ///
    /// # Errors
    /// See [`SetError`].
    pub fn del(&mut self, span: &Span, force: bool) -> Result<(), SetError> {
        self.change(span, |set, element| {
            if set.remove(element)? || force {
                Ok(())
            } else {
                Err(SetError::Missing)
            }
        })
    }

    fn change(
        &mut self,
        span: &Span,
        mut each: impl FnMut(&mut Self, &Element) -> Result<(), SetError>,
    ) -> Result<(), SetError> {
        span.check(&self.conf)?;
        if span.count(self.conf.kind) > MOST {
            return Err(SetError::Full);
        }
        let mut next = self.clone();
        for element in span.elements(self.conf.kind) {
            each(&mut next, &element)?;
        }
        *self = next;
        Ok(())
    }

    /// Removes all elements.
    pub fn flush(&mut self) {
        match &mut self.body {
            Body::Bits(b) => b.clear(),
            Body::One(h) => h.clear(),
            Body::Two(h) => h.clear(),
        }
    }

    /// True if it was new.
    fn insert(
        &mut self,
        e: &Element,
        nomatch: bool,
        comment: Option<Arc<str>>,
    ) -> Result<bool, SetError> {
        match &mut self.body {
            Body::Bits(b) => b.insert(e, comment),
            Body::One(h) => Ok(h.insert(e, nomatch, comment)),
            Body::Two(h) => Ok(h.insert(e, nomatch, comment)),
        }
    }

    /// True if it was there.
    fn remove(&mut self, e: &Element) -> Result<bool, SetError> {
        match &mut self.body {
            Body::Bits(b) => b.remove(e),
            Body::One(h) => Ok(h.remove(e)),
            Body::Two(h) => Ok(h.remove(e)),
        }
    }

    /// Whether single addresses and ports are in the set: networks hold what is
    /// inside of them, exceptions do not.
    #[must_use]
    pub fn test(&self, e: &Element) -> bool {
        let (v6, kind) = (e.net.addr.is_ipv6(), self.conf.kind);
        let mut e = *e;
        // What such a set does not have is not looked at.
        if !kind.has_port() {
            (e.proto, e.port) = (0, 0);
        }
        if kind != SetKind::HashNetPortIface {
            e.iface = 0;
        }
        if kind != SetKind::HashNetPortNetPort {
            e.port2 = 0;
        }
        match &self.body {
            Body::Bits(b) => b.test(&e),
            _ if v6 != self.conf.v6 => false,
            Body::One(h) => h.test(&e),
            Body::Two(h) => e.net2.addr.is_ipv6() == v6 && h.test(&e),
        }
    }

    /// Whether a packet is in the set, looked at from its source or from its
    /// destination.
    #[must_use]
    pub fn matches(&self, p: &Packet, destination: bool) -> bool {
        use SetKind::{BitmapPort, HashNetPortNetPort};
        let kind = self.conf.kind;
        if kind.has_port() {
            let known = match p.proto {
                TCP | UDP => true,
                1 | 58 => kind != BitmapPort,
                _ => false,
            };
            if !known {
                return false;
            }
        }
        let (addr, port, mac) = if destination {
            (p.dst, p.dport, p.dmac)
        } else {
            (p.src, p.sport, p.smac)
        };
        let mut e = Element {
            proto: p.proto,
            port,
            mac,
            iface: p.iface,
            ..Element::none(addr)
        };
        if kind.is_pair() {
            // The orientation is the set's own, only the port goes by side.
            e.net = Net::host(p.src);
            e.net2 = Net::host(p.dst);
        }
        if kind == HashNetPortNetPort {
            (e.port, e.port2) = (p.sport, p.dport);
        }
        self.test(&e)
    }

    /// All members, in order.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut all = match &self.body {
            Body::Bits(b) => b.members(),
            Body::One(h) => h.members(),
            Body::Two(h) => h.members(),
        };
        all.sort_by_key(|m| m.element);
        all
    }

    /// Pages shared with another set, and how many there are.
    #[must_use]
    pub fn shared_pages(&self, other: &Self) -> (usize, usize) {
        match (&self.body, &other.body) {
            (Body::Bits(a), Body::Bits(b)) => a.shared_pages(b),
            (Body::One(a), Body::One(b)) => a.shared_pages(b),
            (Body::Two(a), Body::Two(b)) => a.shared_pages(b),
            _ => (0, 1),
        }
    }
}
