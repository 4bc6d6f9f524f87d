//! Initial sequence numbers towards the servers (DPVS facts §13).
//!
//! A server that still keeps the last connection of a local port in TIME_WAIT
//! takes a new one only with a higher sequence number. So every SYN gets a number
//! that rises with time for the same four-tuple and cannot be guessed: a keyed
//! hash plus a clock (RFC 6528).
//! DIFFERS: the whole hash counts, DPVS adds one byte of it.

use std::hash::Hasher;

use dpvs_wire::checksum::Delta;
use siphasher::sip::SipHasher13;

use crate::conn::{Entry, flags};
use crate::frame::Now;
use crate::proto::Dir;
use crate::proto::tcp::State;
use crate::raw::{Net, ld16, st16};
use crate::service::FwdMode;
use crate::xmit::fullnat::{ACK, SYN, Segment, raw};
use crate::xmit::tcpopt;

/// Makes sequence numbers with a secret of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsnMaker {
    key: (u64, u64),
}

impl IsnMaker {
    pub(crate) fn new(k0: u64, k1: u64) -> Self {
        Self { key: (k0, k1) }
    }

    fn isn<A: Net>(&self, entry: &Entry<A>, now: Now) -> u32 {
        let mut hash = SipHasher13::new_with_keys(self.key.0, self.key.1);
        match (entry.laddr().ip(), entry.daddr().ip()) {
            (std::net::IpAddr::V4(l), std::net::IpAddr::V4(d)) => {
                hash.write_u64(u64::from(l.to_bits()) << 32 | u64::from(d.to_bits()));
            }
            (l, d) => {
                hash.write(&octets(l));
                hash.write(&octets(d));
            }
        }
        hash.write_u32(u32::from(entry.lport()) << 16 | u32::from(entry.dport()));
        // Nanoseconds over 64: one round takes 4.6 minutes.
        (hash.finish() as u32).wrapping_add((now.0.wrapping_mul(1000) >> 6) as u32)
    }

    /// What a SYN or SYN-ACK says: the sequence delta is chosen at the client's
    /// SYN; the server's answer says where its data starts.
    pub(crate) fn handshake<A: Net>(
        &self,
        entry: &mut Entry<A>,
        dir: Dir,
        seg: &Segment,
        now: Now,
    ) {
        match dir {
            Dir::In if seg.flags & ACK == 0 => {
                // A SYN sent again keeps its number; another one is a new
                // connection on the same ports. While the old one is open it
                // keeps its numbers: whoever forges a SYN must not break it, and
                // the server answers one by RFC 5961 section 4.
                // DIFFERS: DPVS keeps the old delta in every state.
                let open = matches!(
                    State::from_u8(entry.state),
                    State::Established | State::FinWait | State::CloseWait
                );
                if entry.flags & flags::SEQ == 0 || (!open && entry.client_isn != seg.seq) {
                    entry.client_isn = seg.seq;
                    entry.seq_delta = self.isn(entry, now).wrapping_sub(seg.seq);
                    entry.flags |= flags::SEQ;
                    entry.flags &= !(flags::FDATA | flags::RS_SEEN);
                    entry.renew_duty();
                }
            }
            Dir::Out if seg.flags & (SYN | ACK) == SYN | ACK && entry.flags & flags::TOA != 0 => {
                entry.fdata = seg.seq.wrapping_add(1);
                entry.flags |= flags::FDATA;
            }
            _ => {}
        }
    }
}

/// What a SYN or SYN-ACK has changed in its options on its way. Done when it is
/// sure to go on: errors quote a packet as it came.
#[inline(never)]
pub(crate) fn edit_options<A: Net>(entry: &Entry<A>, dir: Dir, data: &mut [u8], l4: usize) {
    let acked = data[l4 + 13] & ACK != 0;
    let delta = match dir {
        // Timestamps of many clients behind one address would not rise.
        Dir::In if !acked => {
            let delta = tcpopt::blank_timestamp(&mut data[l4..]);
            if entry.flags & flags::CLIENT == 0 {
                delta
            } else {
                // DIFFERS: DPVS lets a server take data that no PROXY header precedes.
                delta.and(tcpopt::blank_fast_open(&mut data[l4..]))
            }
        }
        Dir::Out if acked && entry.mode() == FwdMode::FullNat => {
            tcpopt::reduce_mss(&mut data[l4..], A::TOA_LEN)
        }
        _ => return,
    };
    fix_checksum(data, l4, delta);
}

/// Changes the checksum of a segment whose options have changed by `delta`.
pub(crate) fn fix_checksum(data: &mut [u8], l4: usize, delta: Delta) {
    let sum = raw(delta).apply(ld16(data, l4 + 16));
    st16(data, l4 + 16, sum);
}

fn octets(ip: std::net::IpAddr) -> [u8; 16] {
    match ip {
        std::net::IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(a) => a.octets(),
    }
}
