//! Sets (ids 103 to 105). Unlike everywhere else, ports are in host order.

use super::service::AddrRange;
use crate::types::{Blob, HwAddr, Ip16, Name};
use crate::wire::{
    DecodeError, Tail, Wire, append_entries, decode_entries, encode_list, wire_struct,
};

wire_struct! {
    /// Options of a request.
    pub struct IpsetOption[10] {
        /// Create: buckets; 0: 1024.
        0 hashsize: i32,
        /// Create: most members; 0: 65535.
        4 maxelem: u32,
        /// Create: 1: members have comments. Add: 1: members that do not match.
        8 comment_or_nomatch: u8,
        /// Family; 0 reads as IPv4.
        9 family: u8,
    }
}

wire_struct! {
    /// A request about a set.
    pub struct IpsetParam[208] {
        /// Type; when created.
        0 kind: Name<32>,
        /// Name of the set.
        32 name: Name<32>,
        /// Comment of a member.
        64 comment: Name<32>,
        /// [`ipset_op`].
        96 opcode: u16,
        /// [`ipset_flag`] bits.
        98 flag: u16,
        /// Options.
        100 option: IpsetOption,
        /// IP protocol or 0.
        110 proto: u8,
        /// Prefix length.
        111 cidr: u8,
        /// Addresses.
        112 min_addr: Ip16,
        /// Last address.
        128 max_addr: Ip16,
        /// Port, host order.
        144 min_port: u16,
        /// Last port, host order.
        146 max_port: u16,
        /// Device.
        148 iface: Name<16>,
        /// MAC address.
        164 mac: HwAddr,
        /// Unused.
        170 padding: u8,
        /// Second prefix length.
        171 cidr2: u8,
        /// Second addresses; its ports are in host order, swap them.
        172 range2: AddrRange,
    }
}

wire_struct! {
    /// A set in a list.
    pub struct IpsetInfo[128] {
        /// Name.
        0 name: Name<32>,
        /// Type.
        32 kind: Name<32>,
        /// 1: members have comments.
        64 comment: u8,
        /// Family.
        65 af: u8,
        /// Unused.
        66 padding: [u8; 2],
        /// Bitmap: prefix length, 3 bytes, 36 bytes of range. Hash: 4 bytes,
        /// buckets, most members.
        68 detail: Blob<40>,
        /// Bytes of memory.
        108 size: u32,
        /// Members.
        112 entries: u32,
        /// Users of the set.
        116 references: u32,
        /// Meaningless.
        120 members: u64,
    }
}

wire_struct! {
    /// A member of a set.
    pub struct IpsetMember[96] {
        /// Comment.
        0 comment: Name<32>,
        /// Address.
        32 addr: Ip16,
        /// Prefix length; 0: none.
        48 cidr: u8,
        /// IP protocol.
        49 proto: u8,
        /// Port, host order.
        50 port: u16,
        /// Device.
        52 iface: Name<16>,
        /// MAC address.
        68 mac: HwAddr,
        /// 1: does not match.
        74 nomatch: u8,
        /// Second prefix length.
        75 cidr2: u8,
        /// Second port, host order.
        76 port2: u16,
        /// Unused.
        78 padding: [u8; 2],
        /// Second address.
        80 addr2: Ip16,
    }
}

/// Values of [`IpsetParam::opcode`].
pub mod ipset_op {
    /// Add a member.
    pub const ADD: u16 = 1;
    /// Remove a member.
    pub const DEL: u16 = 2;
    /// Whether something is a member.
    pub const TEST: u16 = 3;
    /// Create a set.
    pub const CREATE: u16 = 4;
    /// Remove a set.
    pub const DESTROY: u16 = 5;
    /// Remove all members.
    pub const FLUSH: u16 = 6;
    /// List.
    pub const LIST: u16 = 7;
}

/// Bits of [`IpsetParam::flag`].
pub mod ipset_flag {
    /// Adding what is there, or removing what is not, is no error.
    pub const FORCE: u16 = 1;
}

/// Decodes a list: the count, all sets, then all members in the same order.
///
/// # Errors
/// When the body is too short for the counts in it.
pub fn decode_ipsets(bytes: &[u8]) -> Result<Vec<(IpsetInfo, Vec<IpsetMember>)>, DecodeError> {
    let (count, rest) = u32::decode_prefix(bytes)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let infos: Vec<IpsetInfo> = decode_entries(rest, count, Tail::Slack)?;
    let mut rest = rest.get(count * IpsetInfo::SIZE..).unwrap_or(&[]);
    let mut out = Vec::with_capacity(infos.len());
    for info in infos {
        let n = usize::try_from(info.entries).unwrap_or(usize::MAX);
        let members = decode_entries(rest, n, Tail::Slack)?;
        rest = rest.get(n * IpsetMember::SIZE..).unwrap_or(&[]);
        out.push((info, members));
    }
    Ok(out)
}

/// Encodes a list; `entries` of each set is set to the number of its members.
#[must_use]
pub fn encode_ipsets(sets: &[(IpsetInfo, Vec<IpsetMember>)]) -> Vec<u8> {
    let infos: Vec<IpsetInfo> = sets
        .iter()
        .map(|(info, members)| IpsetInfo {
            entries: u32::try_from(members.len()).unwrap_or(u32::MAX),
            ..*info
        })
        .collect();
    let mut out = encode_list(&u32::try_from(sets.len()).unwrap_or(u32::MAX), &infos);
    for (_, members) in sets {
        append_entries(&mut out, members);
    }
    out
}
