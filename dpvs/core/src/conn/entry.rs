//! What is kept of a connection: one hot line, one cold line.
//!
//! The hot line holds all an established packet needs in both directions: the
//! four addresses and ports (each direction's rewrite is the other direction's
//! tuple), checksum and sequence deltas, next hops, server, state and the time it
//! was last seen. 128 bytes for IPv4, 192 for IPv6. Addresses and ports are kept
//! as they stand in the packet.

use zerocopy::FromZeros;

use crate::proto::Dir;

use super::table::Tuple;

/// An address as it stands in a packet: four or sixteen raw bytes in a word.
pub(crate) trait Addr: Copy + Eq + FromZeros + Default {
    /// True for the sixteen-byte kind.
    const V6: bool;
}

impl Addr for u32 {
    const V6: bool = false;
}

impl Addr for u128 {
    const V6: bool = true;
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
    /// Nobody has answered yet: may have to go when the table is full.
    pub(crate) const EMBRYO: u16 = 1 << 10;
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
    /// Next hops towards server and client, 0 = not resolved.
    pub hops: [u32; 2],
    /// Added to sequence numbers towards the server, taken off acknowledgements
    /// towards the client.
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
    /// Established time-out of the service in seconds, 0 = the protocol's.
    pub conn_timeout: u32,
    /// Index of the local address's port pool, counted from 1; 0 = none.
    pub pool: u32,
    /// Client's initial sequence number.
    pub client_isn: u32,
    /// Sequence number of the server's first data byte, as the client sees it.
    pub fdata: u32,
}

const _: () = {
    assert!(size_of::<Entry<u32>>() == 128);
    assert!(std::mem::offset_of!(Entry<u32>, next) <= 64);
    assert!(size_of::<Entry<u128>>() == 192);
    // A packet touches two lines of these.
    assert!(std::mem::offset_of!(Entry<u128>, next) <= 128);
};

impl<A: Addr> Entry<A> {
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
