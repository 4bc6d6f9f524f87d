//! What a packet says of its connection: both ends and the protocol, as they stand in it.
//! Knows no table and no entry.

use super::entry::Addr;

/// A packet's tuple as it stands in the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IP protocol.
    pub proto: u8,
}

impl<A: Addr> PartialEq for Tuple<A> {
    /// In words as wide as there are, without branches in between.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let ports = |t: &Self| u32::from(t.dport) << 16 | u32::from(t.sport);
        A::same([self.src, self.dst], [other.src, other.dst])
            & (ports(self) == ports(other))
            & (self.proto == other.proto)
    }
}
