//! First look at a frame: what it is, and the tuple its connection is found by.
//!
//! Everything later stages index into is checked here: after [`parse`] says
//! `Flow4` or `Flow6`, the headers up to the end of the transport header are in
//! the first segment and agree with the lengths they state.

use dpvs_wire::{checksum, eth};

use crate::conn::ConnTable;
use crate::conn::table::{Family, Tuple};
use crate::frame::{Frame, RxChecksum};
use crate::raw::{L3, be16, ld16, ld32, ld128};
use crate::service::{SCTP, TCP, UDP};
use crate::snapshot::Mac;
use crate::stats::Reason;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPv4 TCP or UDP with a tuple, addressed to us.
    Flow4,
    /// IPv6 TCP or UDP with a tuple, addressed to us.
    Flow6,
    /// Any other sound IPv4 packet.
    Ip4,
    /// Any other sound IPv6 packet.
    Ip6,
    /// ARP.
    Arp,
    /// A protocol that is the kernel's.
    Other,
    /// To be dropped, for [`Head::reason`].
    Bad,
}

/// Whom the frame is addressed to on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// Our own MAC address.
    Host,
    /// A group or everybody.
    Multi,
}

/// What the parser found out, kept beside the frame for the later stages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Keyed hash of the tuple, for flows.
    pub hash: u64,
    /// The connection it probably belongs to, a raw handle; 0 = unknown.
    pub conn: u32,
    /// IPv4 addresses, raw, for `Flow4`; of a packet that was `turned` the first is the
    /// length it came with.
    pub src: u32,
    pub dst: u32,
    /// Ports, raw, for flows.
    pub sport: u16,
    pub dport: u16,
    /// Offset of the transport header.
    pub l4: u16,
    /// Length of the IP packet.
    pub ip_len: u16,
    pub proto: u8,
    pub kind: Kind,
    pub cast: Cast,
    /// It is a fragment, treated as a flow (`fragments` says so, never [`parse`]).
    pub fragment: bool,
    /// It came as IPv4 and is IPv6 now (`nat64` says so, never [`parse`]).
    pub turned: bool,
    /// Why it is [`Kind::Bad`].
    pub reason: Reason,
}

impl Head {
    pub(crate) const EMPTY: Self = Self {
        hash: 0,
        conn: 0,
        src: 0,
        dst: 0,
        sport: 0,
        dport: 0,
        l4: 0,
        ip_len: 0,
        proto: 0,
        kind: Kind::Other,
        cast: Cast::Host,
        fragment: false,
        turned: false,
        reason: Reason::Malformed,
    };

    /// The length that is counted: that of the IP packet as it came.
    #[inline]
    pub(crate) fn octets(&self) -> u16 {
        if self.turned {
            self.src as u16
        } else {
            self.ip_len
        }
    }

    #[inline(always)]
    pub(crate) fn tuple4(&self) -> Tuple<u32> {
        Tuple {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            proto: self.proto,
        }
    }

    #[inline(always)]
    pub(crate) fn tuple6(&self, data: &[u8]) -> Tuple<u128> {
        Tuple {
            src: ld128(data, L3 + 8),
            dst: ld128(data, L3 + 24),
            sport: self.sport,
            dport: self.dport,
            proto: self.proto,
        }
    }
}

/// Bytes of a frame of several segments that are in the first one after parsing:
/// every chain of headers that makes sense.
const HEADERS: usize = 256;

#[inline(always)]
fn bad(head: &mut Head, reason: Reason) {
    head.kind = Kind::Bad;
    head.reason = reason;
}

/// Looks at a frame received by the owner of `mac`; cuts Ethernet padding off.
#[inline(always)]
pub(crate) fn parse<F: Frame>(frame: &mut F, mac: &Mac, conns: &ConnTable, head: &mut Head) {
    head.conn = 0;
    if plain4(frame, mac, conns, head) || plain6(frame, mac, conns, head) {
        return;
    }
    let total = frame.total_len();
    if frame.data().len() < total {
        // Headers may be split over segments.
        let _ = frame.pull_up(HEADERS);
    }
    let data = frame.data();
    if data.len() < L3 {
        return bad(head, Reason::Truncated);
    }
    head.cast = if data[..6] == mac[..] {
        Cast::Host
    } else if data[0] & 1 != 0 {
        Cast::Multi
    } else {
        // Answers to promiscuous reception: nobody's business here.
        return bad(head, Reason::OtherHost);
    };
    match u16::from_be_bytes([data[12], data[13]]) {
        eth::ETHERTYPE_IPV4 => {
            parse4(frame, total, conns, head);
        }
        eth::ETHERTYPE_IPV6 => parse6(frame, total, conns, head),
        eth::ETHERTYPE_ARP => head.kind = Kind::Arp,
        _ => head.kind = Kind::Other,
    }
}

/// The frame nearly all are: TCP or UDP over IPv4 without options, whole, to our
/// MAC address, with nothing wrong. False, and `head` undefined, for any other:
/// [`parse`] says then what it is.
#[inline(always)]
fn plain4<F: Frame>(frame: &mut F, mac: &Mac, conns: &ConnTable, head: &mut Head) -> bool {
    let (total, verdict) = (frame.total_len(), frame.rx_ip_checksum());
    let data = frame.data();
    let room = data.len();
    let Some(h) = data.first_chunk::<{ L3 + 28 }>() else {
        return false;
    };
    let end = L3 + usize::from(be16(h, L3 + 2));
    let proto = h[L3 + 9];
    // Fragments have an offset, or more behind them.
    let whole = ld16(h, L3 + 6) & 0x3fff_u16.to_be() == 0;
    if h[..6] != mac[..]
        || h[12..15] != [0x08, 0x00, 0x45]
        || !whole
        || end > total
        || !sound(data, L3 + 20, room.min(end), end, proto)
    {
        return false;
    }
    let good = match verdict {
        RxChecksum::Good => true,
        RxChecksum::Bad => false,
        RxChecksum::Unknown => {
            let sum = u64::from(ld32(h, L3))
                + u64::from(ld32(h, L3 + 4))
                + u64::from(ld32(h, L3 + 8))
                + u64::from(ld32(h, L3 + 12))
                + u64::from(ld32(h, L3 + 16));
            // At most 35 bits: what is left after the first fold is below 2^17.
            let sum = (sum >> 32) + (sum & 0xffff_ffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            (sum >> 16) + (sum & 0xffff) == 0xffff
        }
    };
    if !good {
        return false;
    }
    head.kind = Kind::Flow4;
    head.cast = Cast::Host;
    head.proto = proto;
    head.l4 = (L3 + 20) as u16;
    head.ip_len = (end - L3) as u16;
    head.src = ld32(h, L3 + 12);
    head.dst = ld32(h, L3 + 16);
    head.sport = ld16(h, L3 + 20);
    head.dport = ld16(h, L3 + 22);
    head.hash = u32::hash(conns, &head.tuple4());
    conns.prefetch_index(head.hash);
    if total > end {
        frame.truncate(end);
    }
    true
}

/// The same for IPv6 without extension headers.
#[inline(always)]
fn plain6<F: Frame>(frame: &mut F, mac: &Mac, conns: &ConnTable, head: &mut Head) -> bool {
    let total = frame.total_len();
    let data = frame.data();
    let room = data.len();
    let Some(h) = data.first_chunk::<{ L3 + 48 }>() else {
        return false;
    };
    let end = L3 + 40 + usize::from(be16(h, L3 + 4));
    let proto = h[L3 + 6];
    let Ok(ip_len) = u16::try_from(end - L3) else {
        return false;
    };
    if h[..6] != mac[..]
        || h[12..14] != [0x86, 0xdd]
        || h[L3] >> 4 != 6
        || end > total
        || !sound(data, L3 + 40, room.min(end), end, proto)
    {
        return false;
    }
    head.kind = Kind::Flow6;
    head.cast = Cast::Host;
    head.proto = proto;
    head.l4 = (L3 + 40) as u16;
    head.ip_len = ip_len;
    head.sport = ld16(h, L3 + 40);
    head.dport = ld16(h, L3 + 42);
    head.hash = u128::hash(conns, &head.tuple6(data));
    conns.prefetch_index(head.hash);
    if total > end {
        frame.truncate(end);
    }
    true
}

/// Whether a TCP or UDP header is whole and agrees with the packet's length:
/// `room` is where the packet or the first segment ends, `end` where the packet.
#[inline(always)]
fn sound(data: &[u8], l4: usize, room: usize, end: usize, proto: u8) -> bool {
    match proto {
        UDP => {
            l4 + 8 <= room && {
                let len = usize::from(be16(data, l4 + 4));
                len >= 8 && l4 + len <= end
            }
        }
        TCP => {
            l4 + 20 <= room && {
                let len = usize::from(data[l4 + 12] >> 4) * 4;
                len >= 20 && l4 + len <= room
            }
        }
        _ => false,
    }
}

#[inline(always)]
fn parse4<F: Frame>(frame: &mut F, total: usize, conns: &ConnTable, head: &mut Head) {
    let checksum = frame.rx_ip_checksum();
    let data = frame.data();
    if data.len() < L3 + 20 {
        return bad(head, Reason::Truncated);
    }
    let ihl = usize::from(data[L3] & 0x0f) * 4;
    let len = usize::from(u16::from_be_bytes([data[L3 + 2], data[L3 + 3]]));
    if data[L3] >> 4 != 4 || ihl < 20 || len < ihl {
        return bad(head, Reason::Malformed);
    }
    if L3 + len > total || L3 + ihl > data.len() {
        return bad(head, Reason::Truncated);
    }
    let good = match checksum {
        RxChecksum::Good => true,
        RxChecksum::Bad => false,
        RxChecksum::Unknown if ihl == 20 => {
            let words = (ld32(data, L3), ld32(data, L3 + 4), ld32(data, L3 + 8));
            let addrs = (ld32(data, L3 + 12), ld32(data, L3 + 16));
            let sum = u64::from(words.0)
                + u64::from(words.1)
                + u64::from(words.2)
                + u64::from(addrs.0)
                + u64::from(addrs.1);
            let sum = (sum >> 32) + (sum & 0xffff_ffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            (sum >> 16) + (sum & 0xffff) == 0xffff
        }
        RxChecksum::Unknown => checksum::sum(&data[L3..L3 + ihl]) == 0xffff,
    };
    if !good {
        return bad(head, Reason::BadChecksum);
    }
    let proto = data[L3 + 9];
    head.ip_len = len as u16;
    head.proto = proto;
    head.l4 = (L3 + ihl) as u16;
    head.src = ld32(data, L3 + 12);
    head.dst = ld32(data, L3 + 16);
    // More fragments, or an offset.
    let fragment = u16::from_be_bytes([data[L3 + 6], data[L3 + 7]]) & 0x3fff != 0;
    head.kind = Kind::Ip4;
    if matches!(proto, TCP | UDP | SCTP) && head.cast == Cast::Host && !fragment {
        if ports(data, L3 + ihl, L3 + len, head) {
            head.kind = Kind::Flow4;
            head.hash = u32::hash(conns, &head.tuple4());
            conns.prefetch_index(head.hash);
        } else if proto != SCTP {
            return bad(head, Reason::Truncated);
        }
    }
    if total > L3 + len {
        frame.truncate(L3 + len);
    }
}

/// Reads the ports; false if the transport header is not whole.
#[inline(always)]
fn ports(data: &[u8], l4: usize, end: usize, head: &mut Head) -> bool {
    let room = data.len().min(end);
    let whole = match head.proto {
        // Its header and a chunk's; what is shorter is nobody's flow.
        SCTP => l4 + 16 <= room,
        proto => sound(data, l4, room, end, proto),
    };
    if !whole {
        return false;
    }
    head.sport = ld16(data, l4);
    head.dport = ld16(data, l4 + 2);
    true
}

#[inline(always)]
fn parse6<F: Frame>(frame: &mut F, total: usize, conns: &ConnTable, head: &mut Head) {
    let data = frame.data();
    if data.len() < L3 + 40 {
        return bad(head, Reason::Truncated);
    }
    if data[L3] >> 4 != 6 {
        return bad(head, Reason::Malformed);
    }
    let len = 40 + usize::from(u16::from_be_bytes([data[L3 + 4], data[L3 + 5]]));
    if L3 + len > total {
        return bad(head, Reason::Truncated);
    }
    // Payload length and header together may pass 16 bits; no link we know has
    // such an MTU.
    let Ok(ip_len) = u16::try_from(len) else {
        return bad(head, Reason::Malformed);
    };
    head.ip_len = ip_len;
    head.kind = Kind::Ip6;
    let mut proto = data[L3 + 6];
    let mut l4 = L3 + 40;
    if proto != TCP && proto != UDP {
        let rest = &data[L3 + 40..(L3 + len).min(data.len())];
        match dpvs_wire::ipv6::walk(proto, rest) {
            Ok(upper) if upper.fragment.is_none() => {
                proto = upper.protocol;
                l4 = L3 + upper.offset;
            }
            _ => {
                head.proto = proto;
                head.l4 = l4 as u16;
                return trim(frame, total, len);
            }
        }
    }
    head.proto = proto;
    head.l4 = l4 as u16;
    if matches!(proto, TCP | UDP | SCTP) && head.cast == Cast::Host {
        let data = frame.data();
        if ports(data, l4, L3 + len, head) {
            head.kind = Kind::Flow6;
            head.hash = u128::hash(conns, &head.tuple6(data));
            conns.prefetch_index(head.hash);
        } else if proto != SCTP {
            return bad(head, Reason::Truncated);
        }
    }
    trim(frame, total, len);
}

#[inline(always)]
fn trim<F: Frame>(frame: &mut F, total: usize, len: usize) {
    if total > L3 + len {
        frame.truncate(L3 + len);
    }
}
