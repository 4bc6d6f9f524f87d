//! Memory of the DPDK environment (ids 7401 to 7404). Segments and zones have
//! an 8-byte header before the list, rings and pools a 4-byte one.

use crate::types::Name;
use crate::wire::{DecodeError, Tail, Wire, decode_list, encode_list, wire_struct};

wire_struct! {
    /// A memory segment.
    pub struct EalSeg[56] {
        /// Bus address.
        0 iova: u64,
        /// Address.
        8 virt_addr: u64,
        /// Bytes.
        16 len: u64,
        /// Page size.
        24 hugepage_sz: u64,
        /// NUMA node.
        32 socket_id: i32,
        /// Memory channels.
        36 nchannel: u32,
        /// Memory ranks.
        40 nrank: u32,
        /// Bytes free.
        48 free_seg_len: u64,
    }
}

wire_struct! {
    /// A memory zone.
    pub struct EalZone[72] {
        /// Name.
        0 name: Name<32>,
        /// Bus address.
        32 iova: u64,
        /// Address.
        40 virt_addr: u64,
        /// Bytes.
        48 len: u64,
        /// Page size.
        56 hugepage_sz: u64,
        /// NUMA node.
        64 socket_id: i32,
    }
}

wire_struct! {
    /// A ring.
    pub struct EalRing[64] {
        /// Name.
        0 name: Name<32>,
        /// Flags.
        32 flags: i32,
        /// Slots.
        36 size: u32,
        /// Index.
        40 cons_tail: u32,
        /// Index.
        44 cons_head: u32,
        /// Index.
        48 prod_tail: u32,
        /// Index.
        52 prod_head: u32,
        /// Slots used.
        56 used: u32,
        /// Slots free.
        60 avail: u32,
    }
}

wire_struct! {
    /// A pool of objects.
    pub struct EalPool[60] {
        /// Name.
        0 name: Name<32>,
        /// Flags.
        32 flags: u32,
        /// Objects.
        36 size: u32,
        /// Objects free.
        40 count: u32,
        /// Bytes of an object.
        44 elt_size: u32,
        /// Bytes before it.
        48 header_size: u32,
        /// Bytes behind it.
        52 trailer_size: u32,
        /// Bytes of the pool's own data.
        56 private_data_size: u32,
    }
}

/// Decodes a list with an 8-byte header (segments, zones).
///
/// # Errors
/// When the length does not fit the count.
pub fn decode_eal_wide<T: Wire>(bytes: &[u8]) -> Result<Vec<T>, DecodeError> {
    let count = |[n, _]: &[u32; 2]| usize::try_from(*n).unwrap_or(usize::MAX);
    Ok(decode_list::<[u32; 2], T>(bytes, Tail::Exact, count)?.1)
}

/// Encodes a list with an 8-byte header (segments, zones).
#[must_use]
pub fn encode_eal_wide<T: Wire>(entries: &[T]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    encode_list(&[count, 0], entries)
}
