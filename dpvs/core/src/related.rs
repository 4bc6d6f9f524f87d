//! ICMP errors about packets of a connection (DPVS facts §18).
//!
//! A router between us and an end complains about a packet as we sent it. The
//! error is turned into one about the packet as the other end sent it, so that
//! path-MTU discovery works through FullNAT: outer addresses, quoted addresses,
//! quoted ports and the quoted sequence number are translated back.

use dpvs_wire::checksum::{self, Delta};
use dpvs_wire::{icmp, icmpv6, proto};

use crate::conn::table::Tuple;
use crate::frame::{Frame, Io, Now};
use crate::neigh::Egress;
use crate::parse::Head;
use crate::proto::Dir;
use crate::raw::{L3, Net, ld16, st16};
use crate::service::{TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;

/// Bytes of an ICMP header, IPv4 and IPv6 alike.
const ICMP: usize = 8;

/// Errors that tell an end something about its own packets.
fn is_translated(v6: bool, typ: u8) -> bool {
    if v6 {
        matches!(
            typ,
            icmpv6::UNREACHABLE | icmpv6::PACKET_TOO_BIG | icmpv6::TIME_EXCEEDED
        )
    } else {
        matches!(
            typ,
            icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED
        )
    }
}

/// The quoted packet's protocol and the offset of its ports, if there is enough
/// of it to tell a connection by.
fn quoted(v6: bool, data: &[u8], at: usize) -> Option<(u8, usize)> {
    let (proto, l4) = if v6 {
        (*data.get(at + 6)?, at + 40)
    } else {
        let first = *data.get(at)?;
        let fragment = u16::from_be_bytes([*data.get(at + 6)?, *data.get(at + 7)?]) & 0x1fff;
        if first >> 4 != 4 || first & 0x0f < 5 || fragment != 0 {
            return None;
        }
        (*data.get(at + 9)?, at + usize::from(first & 0x0f) * 4)
    };
    // Ports, and eight bytes in all: RFC 792 promises no more.
    ((proto == TCP || proto == UDP) && l4 + 8 <= data.len()).then_some((proto, l4))
}

/// The checksum an ICMP message should have, with a zero in its field or the
/// right one (then 0).
fn icmp_sum<A: Net>(data: &[u8], l4: usize, end: usize) -> u16 {
    let body = checksum::sum(&data[l4..end]);
    if !A::V6 {
        return !body;
    }
    let addrs = checksum::sum(&data[L3 + 8..L3 + 40]);
    let len = checksum::combine((end - l4) as u16, u16::from(proto::ICMPV6));
    !checksum::combine(body, checksum::combine(addrs, len))
}

impl<F: Frame> Worker<F> {
    /// Translates an ICMP error and sends it on; gives the frame back if it is
    /// none or belongs to no connection.
    pub(crate) fn related<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Option<F> {
        let (l4, end) = (usize::from(head.l4), L3 + usize::from(head.ip_len));
        let _ = frame.pull_up(end);
        let data = frame.data();
        if end > data.len() || l4 + ICMP > end || !is_translated(A::V6, data[l4]) {
            return Some(frame);
        }
        let inner = l4 + ICMP;
        let Some((proto, ports)) = quoted(A::V6, &data[..end], inner) else {
            return Some(frame);
        };
        // The quoted packet's addresses, found as if its header stood at L3.
        let (src, dst) = A::addrs(&data[inner - L3..]);
        // An error goes to who sent the packet; anything else is made up.
        if A::addrs(data).1 != src {
            return Some(frame);
        }
        let tuple = Tuple {
            src: dst,
            dst: src,
            sport: ld16(data, ports + 2),
            dport: ld16(data, ports),
            proto,
        };
        let hash = A::hash(&self.conns, &tuple);
        self.conns.settle();
        let Some(conn) = self.conns.find(hash, &tuple) else {
            return self.error_elsewhere::<A, I>(snap, from, frame, head, &tuple, now, io);
        };
        if icmp_sum::<A>(data, l4, end) != 0 {
            self.drop(Reason::BadChecksum);
            return None;
        }
        let way = match self.conn_way::<A>(snap, conn) {
            Ok(way) => way,
            Err(reason) => {
                self.drop(reason);
                return None;
            }
        };
        let entry = A::entry(&self.conns, conn);
        let l3 = Delta::from_bits(entry.l3_delta);
        let (outer, quote, quoted_ports, l3) = match conn.dir() {
            Dir::In => (
                (entry.laddr(), entry.daddr()),
                (entry.daddr(), entry.laddr()),
                (entry.dport(), entry.lport()),
                l3,
            ),
            Dir::Out => (
                (entry.vaddr(), entry.caddr()),
                (entry.caddr(), entry.vaddr()),
                (entry.cport(), entry.vport()),
                l3.inverse(),
            ),
        };
        let seq_delta = if conn.dir() == Dir::Out && proto == TCP {
            entry.seq_delta
        } else {
            0
        };
        // As from the client, whoever sent it (as DPVS).
        self.dests[entry.dest as usize].count(Dir::In, u64::from(head.ip_len));

        let data = frame.data_mut();
        let (old_src, old_dst) = A::addrs(data);
        let mut change = Delta::new();
        change = outer.0.add_to(change);
        change = outer.1.add_to(change);
        change = old_src.sub_from(change);
        change = old_dst.sub_from(change);
        A::set_addrs(data, outer.0, outer.1, change);
        A::set_addrs(&mut data[inner - L3..], quote.0, quote.1, l3);
        st16(data, ports, quoted_ports.0);
        st16(data, ports + 2, quoted_ports.1);
        if seq_delta != 0 {
            let mut seq = [0; 4];
            seq.copy_from_slice(&data[ports + 4..ports + 8]);
            let seq = u32::from_be_bytes(seq).wrapping_sub(seq_delta);
            data[ports + 4..ports + 8].copy_from_slice(&seq.to_be_bytes());
        }
        data[l4 + 2..l4 + 4].fill(0);
        let sum = icmp_sum::<A>(data, l4, end);
        data[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
        self.send_way(snap, frame, &way, now, io);
        None
    }
}
