//! A fragment as its headers say: what of which datagram it is, and the ports of the
//! first one. Knows no connections and keeps nothing; what becomes of fragments is
//! decided in [`crate::fragments`].

use dpvs_wire::proto;

use crate::inet::frag::Piece;
use crate::raw::{L3, Net, be16, ld16, ld32};
use crate::service::{SCTP, TCP, UDP};
use crate::xmit::echo;

/// Bytes of an SCTP header.
const SCTP_HEADER: usize = 12;

/// A fragment as its headers say.
pub(crate) struct Part {
    pub(crate) piece: Piece,
    pub(crate) id: u32,
    pub(crate) proto: u8,
    /// Offset of the transport header, in the first one.
    pub(crate) l4: usize,
    /// Bytes before that of what is fragmented.
    pub(crate) before: usize,
}

impl Part {
    pub(crate) fn read<A: Net>(data: &[u8], ip_len: usize) -> Option<Self> {
        if A::V6 {
            Self::read6(data, ip_len)
        } else {
            let (word, header) = (be16(data, L3 + 6), usize::from(data[L3] & 15) * 4);
            Some(Self {
                piece: Piece {
                    at: (word & 0x1fff) * 8,
                    len: (ip_len - header) as u16,
                    more: word & 0x2000 != 0,
                },
                id: u32::from(be16(data, L3 + 4)),
                proto: data[L3 + 9],
                l4: L3 + header,
                before: 0,
            })
        }
    }

    fn read6(data: &[u8], ip_len: usize) -> Option<Self> {
        let end = (L3 + ip_len).min(data.len());
        let header = fragment_header(&data[..end])?;
        let (next, word) = (data[header], be16(data, header + 2));
        let behind = header + 8;
        let mut part = Self {
            piece: Piece {
                at: word & 0xfff8,
                len: (L3 + ip_len - behind) as u16,
                more: word & 1 != 0,
            },
            id: u32::from_be(ld32(data, header + 4)),
            proto: next,
            l4: behind,
            before: 0,
        };
        if part.piece.at == 0 {
            // All headers are in the first one (RFC 7112).
            let upper = dpvs_wire::ipv6::walk(next, &data[behind..end]).ok()?;
            if upper.fragment.is_some() {
                return None;
            }
            part.proto = upper.protocol;
            part.before = upper.offset - dpvs_wire::ipv6::HEADER_LEN;
            part.l4 = behind + part.before;
        }
        Some(part)
    }

    /// The ports of the first one, if it is a packet we know connections of and
    /// has the whole transport header.
    pub(crate) fn ports<A: Net>(&self, data: &[u8]) -> Ports {
        let l4 = self.l4;
        let Some(h) = data.get(l4..).filter(|h| h.len() >= 8) else {
            return Ports::Short;
        };
        match self.proto {
            UDP => {}
            SCTP => {
                if h.len() < SCTP_HEADER || usize::from(self.piece.len) < SCTP_HEADER {
                    return Ports::Short;
                }
            }
            TCP => {
                let len = usize::from(h.get(12).copied().unwrap_or(0) >> 4) * 4;
                if len < 20 || h.len() < len || usize::from(self.piece.len) < len {
                    return Ports::Short;
                }
            }
            proto::ICMP | proto::ICMPV6 => {
                return match echo::ports(A::V6, data, l4) {
                    Some((sport, dport)) if echo::is(A::V6, self.proto) => Ports::Are(sport, dport),
                    _ => Ports::None,
                };
            }
            _ => return Ports::None,
        }
        Ports::Are(ld16(data, l4), ld16(data, l4 + 2))
    }
}

pub(crate) enum Ports {
    Are(u16, u16),
    /// Something without ports.
    None,
    /// Cut off.
    Short,
}

/// Offset of the fragment header, if there is one before the upper layer.
pub(crate) fn fragment_header(data: &[u8]) -> Option<usize> {
    let mut next = *data.get(L3 + 6)?;
    let mut at = L3 + dpvs_wire::ipv6::HEADER_LEN;
    for _ in 0..dpvs_wire::ipv6::MAX_EXTENSIONS {
        match next {
            proto::FRAGMENT => return (at + 8 <= data.len()).then_some(at),
            proto::HOPOPTS | proto::ROUTING | proto::DSTOPTS => {
                next = *data.get(at)?;
                at += (usize::from(*data.get(at + 1)?) + 1) * 8;
            }
            _ => return None,
        }
    }
    None
}
