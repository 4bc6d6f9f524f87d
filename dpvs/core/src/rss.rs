//! Receive-side scaling as a NIC does it: which worker gets a packet.
//!
//! The Toeplitz hash over addresses and ports, its key and redirection table
//! as read from the port, and from these the owner of any flow. Two uses: the
//! local port of a connection is chosen so that the server's replies arrive at
//! the worker that made it (`lanes`), and a packet that arrived elsewhere is
//! handed to its owner. Knows no driver: the daemon fills in [`Nic`].

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::frame::{PortId, WorkerId};
use crate::lanes::{Layout, Picker};
use crate::service::{TCP, UDP};

/// Bytes hashed of an IPv6 flow: two addresses and two ports.
const INPUT: usize = 36;
/// Bytes of key that takes: each input bit uses 32 bits of it.
pub const KEY_LEN: usize = INPUT + 4;

/// The key in Microsoft's RSS documentation, and the default of most drivers.
/// Its port bits reach every entry of any redirection table up to 1024 entries.
pub const DEFAULT_KEY: [u8; KEY_LEN] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The Toeplitz hash under one key. Linear: the hash of an input is the
/// exclusive or of the hashes of its bits, each at its place.
pub struct Toeplitz {
    /// The hash of each value of each half byte of the input.
    nibbles: Box<[[u32; 16]]>,
}

impl Toeplitz {
    /// `None` for a key of fewer than [`KEY_LEN`] bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        let key = key.get(..KEY_LEN)?;
        // The 32 bits of key that an input bit selects.
        let window = |bit: usize| {
            let mut bytes = [0; 8];
            let at = bit / 8;
            let end = (at + 5).min(KEY_LEN);
            bytes[..end - at].copy_from_slice(&key[at..end]);
            (u64::from_be_bytes(bytes) << (bit % 8) >> 32) as u32
        };
        let nibbles = (0..INPUT * 2)
            .map(|n| {
                std::array::from_fn(|value| {
                    (0..4)
                        .filter(|b| value & (8 >> b) != 0)
                        .fold(0, |h, b| h ^ window(n * 4 + b))
                })
            })
            .collect();
        Some(Self { nibbles })
    }

    /// The share of `bytes` that stand at offset `at` of the input.
    #[inline]
    #[must_use]
    pub fn part(&self, at: usize, bytes: &[u8]) -> u32 {
        let mut hash = 0;
        for (pair, byte) in self.nibbles[at * 2..].chunks_exact(2).zip(bytes) {
            hash ^= pair[0][usize::from(byte >> 4)] ^ pair[1][usize::from(byte & 15)];
        }
        hash
    }

    /// The share of both addresses; `None` if they are of two families.
    #[inline]
    #[must_use]
    pub fn addrs(&self, src: IpAddr, dst: IpAddr) -> Option<u32> {
        match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                Some(self.part(0, &s.octets()) ^ self.part(4, &d.octets()))
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                Some(self.part(0, &s.octets()) ^ self.part(16, &d.octets()))
            }
            _ => None,
        }
    }

    /// The hash of a flow's packets; `ports` is `None` where the NIC hashes
    /// addresses only. `None` if the addresses are of two families.
    #[must_use]
    pub fn hash(&self, src: IpAddr, dst: IpAddr, ports: Option<(u16, u16)>) -> Option<u32> {
        let mut hash = self.addrs(src, dst)?;
        if let Some((sport, dport)) = ports {
            let at = ports_at(src.is_ipv6());
            hash ^= self.part(at, &sport.to_be_bytes()) ^ self.part(at + 2, &dport.to_be_bytes());
        }
        Some(hash)
    }
}

/// Where the ports stand in the input of the hash.
pub(crate) fn ports_at(v6: bool) -> usize {
    if v6 { 32 } else { 8 }
}

impl fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Toeplitz")
    }
}

/// Which fields of which packets a NIC hashes; what it does not hash goes to
/// one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Hashed {
    /// IPv4 and IPv6: addresses of packets whose ports are not hashed.
    pub ip: [bool; 2],
    /// IPv4 and IPv6: addresses and ports of TCP.
    pub tcp: [bool; 2],
    /// IPv4 and IPv6: addresses and ports of UDP.
    pub udp: [bool; 2],
}

impl Hashed {
    /// Whether the ports of such packets are hashed.
    #[must_use]
    pub fn ports(&self, proto: u8, v6: bool) -> bool {
        match proto {
            TCP => self.tcp[usize::from(v6)],
            UDP => self.udp[usize::from(v6)],
            _ => false,
        }
    }
}

/// Why local ports cannot be matched to a NIC's spreading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The key is shorter than [`KEY_LEN`].
    Key,
    /// The redirection table is empty, larger than 65536 or no power of two.
    Table,
    /// It sends nothing to that worker.
    Worker(WorkerId),
    /// The key makes the local port reach part of the table only.
    Rank,
    /// It hashes the ports of neither TCP nor UDP.
    Ports,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Key => write!(f, "its hash key has fewer than {KEY_LEN} bytes"),
            Unfit::Table => f.write_str("its redirection table has no size that is a power of two"),
            Unfit::Worker(w) => write!(f, "it spreads nothing to worker {}", w.0),
            Unfit::Rank => {
                f.write_str("under its hash key the local port decides too little of the queue")
            }
            Unfit::Ports => f.write_str("it hashes the ports of neither TCP nor UDP"),
        }
    }
}

/// A port that spreads by hash: which worker receives what.
#[derive(Debug)]
pub struct Nic {
    toeplitz: Toeplitz,
    hashed: Hashed,
    /// Worker of each entry of the redirection table, cut to its period.
    owners: Box<[Option<WorkerId>]>,
    /// Where nothing is hashed.
    rest: Option<WorkerId>,
    /// How local ports of IPv4 and IPv6 map onto the table.
    layouts: [Layout; 2],
}

impl Nic {
    /// From what the port says: its key, what it hashes, the worker that polls
    /// the queue of each entry of its redirection table (`None`: another
    /// lcore), the worker of queue 0, and the number of workers.
    ///
    /// # Errors
    /// Why local ports cannot be matched to it.
    pub fn new(
        key: &[u8],
        hashed: Hashed,
        table: &[Option<WorkerId>],
        rest: Option<WorkerId>,
        workers: u8,
    ) -> Result<Self, Unfit> {
        let toeplitz = Toeplitz::new(key).ok_or(Unfit::Key)?;
        if !table.len().is_power_of_two() || table.len() > 65536 {
            return Err(Unfit::Table);
        }
        if !hashed.tcp.iter().chain(&hashed.udp).any(|on| *on) {
            return Err(Unfit::Ports);
        }
        for n in 0..workers {
            if !table.contains(&Some(WorkerId(n))) {
                return Err(Unfit::Worker(WorkerId(n)));
            }
        }
        // A table that repeats is as good as its first period, and the fewer
        // classes of local ports the better.
        let mut period = table.len();
        while period > 1 && table[..period / 2] == table[period / 2..period] {
            period /= 2;
        }
        let bits = period.trailing_zeros();
        let layout = |v6| {
            Layout::hashed(bits, |port: u16| {
                toeplitz.part(ports_at(v6) + 2, &port.to_be_bytes())
            })
            .ok_or(Unfit::Rank)
        };
        Ok(Self {
            layouts: [layout(false)?, layout(true)?],
            owners: table[..period].into(),
            toeplitz,
            hashed,
            rest,
        })
    }

    /// The worker that receives such a packet (`ports`: source and
    /// destination); `None` if no worker does, or that cannot be known.
    #[must_use]
    pub fn owner(
        &self,
        proto: u8,
        src: IpAddr,
        dst: IpAddr,
        ports: (u16, u16),
    ) -> Option<WorkerId> {
        let v6 = src.is_ipv6();
        let ports = if self.hashed.ports(proto, v6) {
            Some(ports)
        } else if self.hashed.ip[usize::from(v6)] {
            None
        } else {
            return self.rest;
        };
        let hash = self.toeplitz.hash(src, dst, ports)?;
        self.entry_owner(hash)
    }

    /// The worker of the table's entry for a hash.
    fn entry_owner(&self, hash: u32) -> Option<WorkerId> {
        self.owners[hash as usize & (self.owners.len() - 1)]
    }

    /// The share of everything but the local port in the hash of a server's
    /// reply.
    #[inline]
    #[must_use]
    pub(crate) fn rest_of_reply(&self, server: IpAddr, sport: u16, laddr: IpAddr) -> u32 {
        let at = ports_at(server.is_ipv6());
        self.toeplitz.addrs(server, laddr).unwrap_or(0)
            ^ self.toeplitz.part(at, &sport.to_be_bytes())
    }

    /// Whether local ports can be matched for that protocol and family.
    #[must_use]
    pub fn matches(&self, proto: u8, v6: bool) -> bool {
        self.hashed.ports(proto, v6)
    }

    /// How the local ports of a family map onto the table.
    pub(crate) fn layout(&self, v6: bool) -> &Layout {
        &self.layouts[usize::from(v6)]
    }

    /// Finds lanes that lead to `worker`.
    pub(crate) fn picker(&self, worker: WorkerId) -> Picker {
        let mut bits = vec![0; self.owners.len().div_ceil(64)];
        for (i, owner) in self.owners.iter().enumerate() {
            if *owner == Some(worker) {
                bits[i / 64] |= 1 << (i % 64);
            }
        }
        Picker::new(bits.into(), self.owners.len() as u32)
    }
}

/// How the replies to each local address find their worker. Part of the
/// snapshot; the default is slices of the port range for all (DPVS sa_pool).
#[derive(Clone, Debug, Default)]
pub struct Returns {
    /// What is known of the spreading of each port (index: [`PortId`]).
    nics: Arc<[Option<Arc<Nic>>]>,
    /// Local addresses whose ports are matched to a port's spreading.
    matched: Arc<HashMap<IpAddr, PortId>>,
}

impl Returns {
    /// `nics` by port; `matched`: local addresses whose ports follow that
    /// port's spreading instead of slices.
    #[must_use]
    pub fn new(nics: Vec<Option<Arc<Nic>>>, matched: HashMap<IpAddr, PortId>) -> Self {
        Self {
            nics: nics.into(),
            matched: Arc::new(matched),
        }
    }

    /// What is known of the spreading of a port.
    #[must_use]
    pub fn nic(&self, port: PortId) -> Option<&Arc<Nic>> {
        self.nics.get(usize::from(port.0))?.as_ref()
    }

    /// The spreading that the ports of a local address are matched to; `None`:
    /// slices.
    #[must_use]
    pub fn matched(&self, laddr: IpAddr) -> Option<&Arc<Nic>> {
        self.nic(*self.matched.get(&laddr)?)
    }

    /// Whether two are the same value (not only equal).
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.nics, &other.nics) && Arc::ptr_eq(&self.matched, &other.matched)
    }
}

#[cfg(test)]
#[path = "rss_tests.rs"]
mod tests;
