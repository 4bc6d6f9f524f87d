//! What is kept of a connection: one hot line, one cold line.
//!
//! The hot line holds all an established packet needs in both directions: the
//! four addresses and ports (each direction's rewrite is the other direction's
//! tuple), checksum and sequence deltas, next hops, server, state and the time it
//! was last seen. 128 bytes for IPv4, 192 for IPv6. Addresses and ports are kept
//! as they stand in the packet.

use std::net::{IpAddr, Ipv6Addr};

use zerocopy::FromZeros;

use crate::proto::Dir;
use crate::raw::Net;
use crate::service::{FwdMode, TCP, Tunnel, UDP};

use super::table::Tuple;

/// An address as it stands in a packet: four or sixteen raw bytes in a word.
pub(crate) trait Addr: Copy + Eq + FromZeros + Default {
    /// True for the sixteen-byte kind.
    const V6: bool;
    /// Whether two pairs are the same.
    fn same(a: [Self; 2], b: [Self; 2]) -> bool;
}

impl Addr for u32 {
    const V6: bool = false;

    #[inline(always)]
    fn same(a: [Self; 2], b: [Self; 2]) -> bool {
        let word = |[x, y]: [u32; 2]| u64::from(y) << 32 | u64::from(x);
        word(a) == word(b)
    }
}

impl Addr for u128 {
    const V6: bool = true;

    #[inline(always)]
    fn same(a: [Self; 2], b: [Self; 2]) -> bool {
        (a[0] ^ b[0]) | (a[1] ^ b[1]) == 0
    }
}

/// Bits of [`Entry::flags`].
pub(crate) mod flags {
    /// The client's address goes to the server in a TCP option.
    pub(crate) const TOA: u16 = 1;
    /// `fdata` is known (the server's SYN-ACK has passed).
    pub(crate) const FDATA: u16 = 2;
    /// The sequence delta is known (the client's SYN has passed).
    pub(crate) const SEQ: u16 = 4;
    /// Ends at the next packet once its server is gone or has weight 0.
    pub(crate) const QUIESCENT: u16 = 8;
    /// Counts as active at its server.
    pub(crate) const ACTIVE: u16 = 16;
    /// `rs_seq` and `rs_ack` are known.
    pub(crate) const RS_SEEN: u16 = 32;
    /// A client's ordinary packet changes nothing but counters
    /// ([`crate::steady`]).
    pub(crate) const STEADY_IN: u16 = 64;
    /// As `STEADY_IN`, for the server's.
    pub(crate) const STEADY_OUT: u16 = 128;
    /// The server still has to learn the client's address, otherwise than by a TCP
    /// option ([`crate::xmit::client`]).
    pub(crate) const CLIENT: u16 = 1 << 8;
    /// Nobody has answered yet: may have to go when the table is full.
    pub(crate) const EMBRYO: u16 = 1 << 10;
    /// Where the three bits of the forwarding mode are; see [`Entry::mode`].
    ///
    /// [`Entry::mode`]: super::Entry::mode
    pub(crate) const MODE_SHIFT: u32 = 11;
    /// The forwarding mode.
    pub(crate) const MODE: u16 = 7 << MODE_SHIFT;
    /// Has a record in [`crate::conn::side`].
    pub(crate) const SIDE: u16 = 1 << 14;
    /// Every packet goes the long way, whatever its state.
    pub(crate) const LONG: u16 = 1 << 15;
}

/// A connection. Zero is a free entry.
///
/// `addrs` and `ports` are indexed by direction ([`Dir`]), then source and
/// destination of that direction's packets: a packet matches its own direction's
/// pair and leaves with the other one's, turned round.
#[derive(FromZeros, Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Entry<A> {
    /// Client and virtual address; server and local address (the client's where
    /// none is used). As in the packet.
    pub addrs: [[A; 2]; 2],
    /// Client and virtual port; server and local port. As in the packet.
    pub ports: [[u16; 2]; 2],
    /// Packets and bytes of each direction, a few ([`Entry::count`]).
    pub recent: [u32; 2],
    /// Next hop towards the client, 0 = not resolved. The server's next hop is kept
    /// with the server.
    pub hop: u32,
    /// Added to sequence numbers towards the server, taken off acknowledgements
    /// towards the client. In a tunnel: its encapsulation ([`Tunnel::to_bits`]).
    ///
    /// [`Tunnel::to_bits`]: crate::service::Tunnel::to_bits
    pub seq_delta: u32,
    /// Checksum delta of the addresses, towards the server (its complement back).
    pub l3_delta: u16,
    /// Checksum delta of addresses and ports, towards the server.
    pub l4_delta: u16,
    /// Milliseconds (wrapping) of the last packet.
    pub seen: u32,
    /// Server's number.
    pub dest: u32,
    /// End of the server's last segment, as the server numbers it.
    pub rs_seq: u32,
    /// Last acknowledgement of the server, as the server numbers it.
    pub rs_ack: u32,
    /// IP protocol, 0 = free entry.
    pub proto: u8,
    /// State of the protocol's machine.
    pub state: u8,
    /// See [`flags`].
    pub flags: u16,

    // Cold from here on; for IPv4 on a line of its own.
    /// Next embryonic connection, a handle; 0 = none.
    pub next: u32,
    /// Previous embryonic connection, a handle; 0 = none.
    pub prev: u32,
    /// The wheel's list it is in, counted from 1; 0 = none.
    pub list: u32,
    /// Place within that list.
    pub slot: u32,
    /// Tick at which that list is looked at.
    pub due: u32,
    /// Time-out of the present state, milliseconds.
    pub timeout: u32,
    /// Established time-out of the service in seconds, 0 = the protocol's; with
    /// [`flags::SIDE`] the number of the side record, which then holds it. To be
    /// read by [`super::ConnTable::conn_timeout`].
    pub(super) conn_timeout: u32,
    /// Index of the local address's port pool, counted from 1; 0 = none.
    pub pool: u32,
    /// Client's initial sequence number.
    pub client_isn: u32,
    /// Sequence number of the server's first data byte, as the client sees it; without
    /// [`flags::TOA`] what [`crate::xmit::client`] keeps.
    pub fdata: u32,
    /// Bytes of each direction in the low 48 bits, packets above 2^32 in the others.
    pub bytes: [u64; 2],
    /// Packets of each direction, modulo 2^32.
    pub packets: [u32; 2],
}

const _: () = {
    assert!(size_of::<Entry<u32>>() == 128);
    assert!(std::mem::offset_of!(Entry<u32>, next) == 64);
    assert!(size_of::<Entry<u128>>() == 192);
    // A packet touches two lines of these.
    assert!(std::mem::offset_of!(Entry<u128>, next) <= 128);
};

/// A packet in [`Entry::recent`]: packets in the upper ten bits, bytes below.
const PACKET: u32 = 1 << 22;
/// When the upper half of either is reached it is time to carry: no packet is
/// longer than 2^16 bytes, so nothing overflows before.
const CARRY: u32 = PACKET << 9 | PACKET >> 1;

impl<A> Entry<A> {
    /// Counts a packet. What a packet writes is in the hot line; the cold one, with
    /// the sums, is written once in 512 packets or two megabytes.
    #[inline(always)]
    pub(crate) fn count(&mut self, dir: Dir, octets: u16) {
        let recent = &mut self.recent[dir as usize];
        *recent += PACKET + u32::from(octets);
        if *recent & CARRY != 0 {
            self.carry(dir);
        }
    }

    #[cold]
    #[inline(never)]
    fn carry(&mut self, dir: Dir) {
        let (packets, bytes) = self.counted(dir);
        let d = dir as usize;
        self.packets[d] = packets as u32;
        self.bytes[d] = bytes & BYTES | (packets >> 32) << 48;
        self.recent[d] = 0;
    }

    /// Packets and bytes of a direction since the connection was made, modulo 2^48.
    #[must_use]
    pub(crate) fn counted(&self, dir: Dir) -> (u64, u64) {
        let d = dir as usize;
        let (recent, bytes) = (u64::from(self.recent[d]), self.bytes[d]);
        let packets = bytes >> 48 << 32 | u64::from(self.packets[d]);
        (
            packets + (recent >> 22),
            (bytes & BYTES) + (recent & u64::from(PACKET - 1)),
        )
    }
}

/// Added to a mode's number, modulo 8, before it is stored: FullNAT is then 0, and
/// the modes that leave packets alone are those with the upper bit.
const TURN: u16 = 8 - FwdMode::FullNat as u16;
const DIRECT: u16 = 4 << flags::MODE_SHIFT;

/// Four words, the highest first.
fn split(bits: u128) -> [u32; 4] {
    [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
}

/// The bytes' part of [`Entry::bytes`].
const BYTES: u64 = (1 << 48) - 1;

impl<A: Addr> Entry<A> {
    /// Forwarding mode of the connection, which it keeps when its server gets
    /// another one.
    #[inline]
    #[must_use]
    pub(crate) fn mode(&self) -> FwdMode {
        let code = (self.flags & flags::MODE) >> flags::MODE_SHIFT;
        FwdMode::from_number((code + 8 - TURN) & 7).unwrap_or(FwdMode::FullNat)
    }

    /// Direct routing, tunnel, local or bypass: packets go as they came, those of the
    /// server are not seen.
    #[inline(always)]
    #[must_use]
    pub(crate) fn is_direct(&self) -> bool {
        self.flags & DIRECT != 0
    }

    /// Not one whose addresses and ports are replaced in TCP or UDP.
    #[inline(always)]
    #[must_use]
    pub(crate) fn is_other(&self) -> bool {
        self.is_direct() || !matches!(self.proto, TCP | UDP)
    }

    /// Keeps the IPv6 address of the server of an IPv4 connection in a tunnel: in
    /// what is known of a server whose packets are seen.
    pub(crate) fn set_outer6(&mut self, addr: Ipv6Addr) {
        let [a, b, c, d] = split(addr.to_bits());
        (self.rs_seq, self.rs_ack, self.client_isn, self.fdata) = (a, b, c, d);
    }

    /// The server's address of a connection in a tunnel, and how packets are
    /// wrapped on their way to it.
    pub(crate) fn outer(&self) -> (IpAddr, Tunnel)
    where
        A: Net,
    {
        let addr = match self.daddr().ip() {
            IpAddr::V4(a) if a.is_unspecified() => {
                let words = [self.rs_seq, self.rs_ack, self.client_isn, self.fdata];
                IpAddr::V6(Ipv6Addr::from_bits(
                    words.iter().fold(0, |all, w| all << 32 | u128::from(*w)),
                ))
            }
            IpAddr::V6(a) => a.to_ipv4_mapped().map_or(a.into(), IpAddr::V4),
            v4 => v4,
        };
        (addr, Tunnel::from_bits(self.seq_delta))
    }

    /// Sets the forwarding mode of a connection in the making.
    pub(crate) fn set_mode(&mut self, mode: FwdMode) {
        self.flags &= !flags::MODE;
        self.flags |= (((mode as u16) + TURN) & 7) << flags::MODE_SHIFT;
    }

    /// Sets the established time-out of a connection in the making, seconds.
    pub(crate) fn set_conn_timeout(&mut self, seconds: u32) {
        debug_assert_eq!(self.flags & flags::SIDE, 0);
        self.conn_timeout = seconds;
    }

    /// The tuple of packets from the client (`In`) or from the server (`Out`).
    #[inline(always)]
    #[must_use]
    pub(crate) fn tuple(&self, dir: Dir) -> Tuple<A> {
        let d = dir as usize;
        Tuple {
            src: self.addrs[d][0],
            dst: self.addrs[d][1],
            sport: self.ports[d][0],
            dport: self.ports[d][1],
            proto: self.proto,
        }
    }

    /// Sets the tuples of both directions.
    pub(crate) fn set_tuples(&mut self, client: &Tuple<A>, server: &Tuple<A>) {
        self.addrs = [[client.src, client.dst], [server.src, server.dst]];
        self.ports = [[client.sport, client.dport], [server.sport, server.dport]];
        self.proto = client.proto;
    }

    /// The client's address, as in the packet.
    #[inline(always)]
    pub(crate) fn caddr(&self) -> A {
        self.addrs[0][0]
    }

    /// The virtual address.
    #[inline(always)]
    pub(crate) fn vaddr(&self) -> A {
        self.addrs[0][1]
    }

    /// The server's address.
    #[inline(always)]
    pub(crate) fn daddr(&self) -> A {
        self.addrs[1][0]
    }

    /// The local address.
    #[inline(always)]
    pub(crate) fn laddr(&self) -> A {
        self.addrs[1][1]
    }

    /// The client's port, as in the packet.
    #[inline(always)]
    pub(crate) fn cport(&self) -> u16 {
        self.ports[0][0]
    }

    /// The virtual port.
    #[inline(always)]
    pub(crate) fn vport(&self) -> u16 {
        self.ports[0][1]
    }

    /// The server's port.
    #[inline(always)]
    pub(crate) fn dport(&self) -> u16 {
        self.ports[1][0]
    }

    /// The local port.
    #[inline(always)]
    pub(crate) fn lport(&self) -> u16 {
        self.ports[1][1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_mode_beside_other_flags() {
        let mut e = Entry::<u32>::new_zeroed();
        assert_eq!(e.mode(), FwdMode::FullNat);
        e.flags = !flags::MODE;
        for n in 0..=6 {
            let mode = FwdMode::from_number(n).unwrap();
            e.set_mode(mode);
            assert_eq!(e.mode(), mode);
            assert_eq!(e.flags | flags::MODE, u16::MAX);
            let rewritten = matches!(mode, FwdMode::FullNat | FwdMode::Masq | FwdMode::Snat);
            assert_eq!(e.is_direct(), !rewritten);
        }
        assert_eq!(FwdMode::from_number(7), None);
    }

    /// Exact over many carries, at every packet size, past 2^32 packets.
    #[test]
    fn counts_every_packet_and_byte() {
        let mut e = Entry::<u32>::new_zeroed();
        let (mut packets, mut bytes) = (0u64, 0u64);
        for i in 0..100_000u64 {
            let octets = match i % 4 {
                0 => 20,
                1 => 65_535,
                2 => 1_500,
                _ => (i * 7919 % 65_536) as u16,
            };
            e.count(Dir::Out, octets);
            packets += 1;
            bytes += u64::from(octets);
            assert_eq!(e.counted(Dir::Out), (packets, bytes));
        }
        assert_eq!(e.counted(Dir::In), (0, 0));
        e.packets[1] = u32::MAX;
        let (before, _) = e.counted(Dir::Out);
        for _ in 0..1000 {
            e.count(Dir::Out, 60);
        }
        assert_eq!(e.counted(Dir::Out).0, before + 1000);
        assert!(before + 1000 > 1 << 32);
    }
}
