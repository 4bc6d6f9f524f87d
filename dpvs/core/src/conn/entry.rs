//! What is kept of a connection: one hot line, one cold line.
//!
//! The hot line holds all an established packet needs in both directions: the
//! four addresses and ports (each direction's rewrite is the other direction's
//! tuple), checksum and sequence deltas, next hops, server, state and the time it
//! was last seen. 128 bytes for IPv4, 192 for IPv6. Addresses and ports are kept
//! as they stand in the packet.

use zerocopy::FromZeros;

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
}

/// A connection. Zero is a free entry.
#[derive(FromZeros, Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Entry<A> {
    /// Client, as in the packet.
    pub caddr: A,
    /// Virtual address.
    pub vaddr: A,
    /// Local address, or the client's where none is used.
    pub laddr: A,
    /// Server.
    pub daddr: A,
    /// Client, virtual, local and server port, as in the packet.
    pub cport: u16,
    /// See `cport`.
    pub vport: u16,
    /// See `cport`.
    pub lport: u16,
    /// See `cport`.
    pub dport: u16,
    /// Added to sequence numbers towards the server, taken off acknowledgements
    /// towards the client.
    pub seq_delta: u32,
    /// Checksum delta of the addresses, towards the server (its complement back).
    pub l3_delta: u16,
    /// Checksum delta of addresses and ports, towards the server.
    pub l4_delta: u16,
    /// Next hop towards the server, 0 = not resolved.
    pub hop_in: u32,
    /// Next hop towards the client, 0 = not resolved.
    pub hop_out: u32,
    /// Milliseconds (wrapping) of the last packet.
    pub seen: u32,
    /// Server's number.
    pub dest: u32,
    /// Sequence number of the server's first data byte, as the client sees it.
    pub fdata: u32,
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

    // Cold from here on.
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
}

const _: () = {
    assert!(size_of::<Entry<u32>>() == 128);
    assert!(std::mem::offset_of!(Entry<u32>, next) == 64);
    assert!(size_of::<Entry<u128>>() == 192);
};
