//! The way of packets whose connection is not TCP or UDP with replaced addresses:
//! direct routing, tunnels, the director itself and bypass, SCTP, echo requests.
//!
//! As `Worker::transit` does for the others: state, counters, out. Most of them
//! send a packet as it came and never see the server's (facts §12);
//! SCTP and ICMP are rewritten by their own functions. None of it is ever on the
//! short way.

use crate::conn::table::Tuple;
use crate::conn::{Entry, Handle, flags};
use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::Head;
use crate::proto::{Dir, icmp, sctp, tcp, udp};
use crate::raw::{L3, Net};
use crate::service::{Dest, DestId, FwdMode, ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::transit::{begins_anew, opens_again};
use crate::worker::Worker;
use crate::xmit;

/// Bytes of an SCTP header.
const SCTP_HEADER: usize = 12;

/// Whether a packet that is neither TCP nor UDP may open a connection: SCTP with
/// anything but an ABORT, or an echo request.
pub(crate) fn opens(data: &[u8], head: &Head) -> bool {
    let l4 = usize::from(head.l4);
    match head.proto {
        SCTP => {
            let chunks = data.get(l4 + SCTP_HEADER..).unwrap_or_default();
            sctp::event(chunks).is_some_and(|e| e != sctp::Event::Abort)
        }
        ICMP => data.get(l4) == Some(&dpvs_wire::icmp::ECHO_REQUEST),
        ICMPV6 => data.get(l4) == Some(&dpvs_wire::icmpv6::ECHO_REQUEST),
        _ => false,
    }
}

/// The server's side of a connection that keeps the client's address.
pub(crate) fn server_side<A: Net>(dest: &Dest, client: &Tuple<A>) -> Result<Tuple<A>, Reason> {
    let (addr, port) = match dest.mode {
        FwdMode::Masq => {
            let keeps = dest.port == 0 || matches!(client.proto, ICMP | ICMPV6);
            let port = if keeps {
                client.dport
            } else {
                dest.port.to_be()
            };
            (A::from_ip(dest.addr), port)
        }
        FwdMode::Dr => (A::from_ip(dest.addr), client.dport),
        FwdMode::Local => (A::from_ip(dest.addr).or(Some(client.dst)), client.dport),
        FwdMode::Bypass => (Some(client.dst), client.dport),
        // A server of the other family is kept mapped, or apart.
        FwdMode::Tunnel => (
            A::from_ip(dest.addr).or_else(|| A::mapped(dest.addr)),
            client.dport,
        ),
        _ => (None, 0),
    };
    // The answer to an echo request carries the id where a request does, too.
    Ok(Tuple {
        src: addr.ok_or(Reason::ModeUnsupported)?,
        dst: client.src,
        sport: port,
        dport: client.sport,
        proto: client.proto,
    })
}

/// A server that gets packets as they came, as what it is at present: at an address
/// of the director's own it is the kernel, whatever its mode (Linux: "local node").
///
/// DIFFERS: DPVS asks for such an address on the wire, where nobody has it.
#[cold]
pub(crate) fn at_home(snap: &Snapshot, dest: Dest) -> Dest {
    let mode = match snap.locals.get(&dest.addr) {
        Some(_) => FwdMode::Local,
        None => dest.mode,
    };
    Dest { mode, ..dest }
}

/// Keeps with a connection in a tunnel how it is wrapped, and where to.
pub(crate) fn set_tunnel<A: Net>(entry: &mut Entry<A>, dest: &Dest) {
    if dest.mode == FwdMode::Tunnel {
        entry.seq_delta = dest.tunnel.to_bits();
        if let (false, std::net::IpAddr::V6(addr)) = (A::V6, dest.addr) {
            entry.set_outer6(addr);
        }
    }
}

/// Rewrites a packet that is neither TCP nor UDP; it is the first fragment of one
/// that is `whole` bytes long, if that is not 0.
pub(crate) fn translate<F: Frame, A: Net>(
    entry: &Entry<A>,
    dir: Dir,
    frame: &mut F,
    (l4, whole): (usize, usize),
    proto: u8,
) {
    match proto {
        SCTP if whole != 0 => xmit::sctp::translate_part(entry, dir, frame.data_mut(), l4, whole),
        SCTP => xmit::sctp::translate(entry, dir, frame.data_mut(), l4),
        _ => xmit::echo::translate(entry, dir, frame.data_mut(), l4),
    }
}

impl<F: Frame> Worker<F> {
    /// A packet of such a connection.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn transit_other<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let (dir, l4) = (conn.dir(), usize::from(head.l4));
        let mut entry = A::entry_mut(&mut self.conns, conn);
        let direct = entry.is_direct();
        if direct && dir == Dir::Out {
            return self.pass_by::<A, I>(snap, from, frame, head, conn, now, io);
        }
        // The sum of a fragment is changed by its difference: wrong stays wrong.
        if head.proto == SCTP && !direct && !head.fragment {
            let end = L3 + usize::from(head.ip_len);
            if !frame.pull_up(end) {
                return self.drop(Reason::NoRoom);
            }
            if !xmit::sctp::is_sound(frame.data(), l4, end) {
                return self.drop(Reason::BadChecksum);
            }
        }
        let data = frame.data();
        if head.proto == TCP && begins_anew(snap, entry, dir, data[l4 + 13]) {
            return self.anew::<A, I>(snap, from, frame, head, conn, now, io);
        }
        let old = entry.state;
        let state = match head.proto {
            TCP => tcp::next_inbound_only(tcp::State::from_u8(old), data[l4 + 13]) as u8,
            UDP => udp::next(dir, udp::State::from_u8(old)) as u8,
            SCTP => {
                let chunks = data.get(l4 + SCTP_HEADER..).unwrap_or_default();
                let state = sctp::State::from_u8(old);
                match sctp::event(chunks) {
                    Some(event) if direct => sctp::next_inbound_only(state, event) as u8,
                    Some(event) => sctp::next(dir, state, event) as u8,
                    None => old,
                }
            }
            _ => icmp::NORMAL,
        };
        if state != old && dir == Dir::In && opens_again(head.proto, old, state) {
            if !self.may_reopen(snap, conn, now) {
                let v6 = A::V6 && !head.turned;
                return self.stats.discarded(v6, Reason::RateLimit);
            }
            entry = A::entry_mut(&mut self.conns, conn);
        }
        entry.seen = now.millis() as u32;
        let back = match entry.mode() {
            FwdMode::Snat => Dir::In,
            _ => Dir::Out,
        };
        // Where answers are not seen, whoever speaks again has had one.
        let again = direct && head.proto != TCP && entry.counted(Dir::In).0 > 0;
        let answered = entry.flags & flags::EMBRYO != 0
            && (again || dir == back && matches!(head.proto, ICMP | ICMPV6));
        if answered {
            entry.flags ^= flags::EMBRYO;
        }
        entry.count(dir, head.octets());
        self.dests[entry.dest as usize].count(dir, u64::from(head.octets()));
        self.stats.conn_hits += 1;
        if answered {
            self.embryos.remove(&mut self.conns, conn);
        }
        if state != old {
            let dest = DestId(A::entry(&self.conns, conn).dest);
            self.change_state::<A>(snap, conn, state, true, now);
            if self.dests[dest.0 as usize].checked {
                let by_server = dir == Dir::Out;
                self.note_state(snap, dest, head.proto, (old, state), by_server, io);
            }
        }
        if direct {
            self.xmit_whole::<A, I>(snap, from, frame, head, conn, now, io);
        } else {
            self.transit_slow::<A, I>(snap, from, frame, head, conn, false, now, io);
        }
    }

    /// A server's packet that passes through as through any router, unless it is of
    /// another connection, too.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn pass_by<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let tuple = A::tuple(head, frame.data());
        let better = self.conns.preferred(conn, head.hash, &tuple);
        if better == conn {
            self.deliver(snap, from, frame, head, now, io);
        } else {
            self.transit::<A, I>(snap, from, frame, head, better, now, io);
        }
    }

    /// Sends a packet of a connection that leaves it as it is, whole or a fragment; its
    /// transport header is not looked at.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn xmit_whole<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        let entry = A::entry(&self.conns, conn);
        match entry.mode() {
            FwdMode::Tunnel => {
                let (dst, tunnel) = entry.outer();
                self.xmit_tunnel::<A, I>(snap, from, frame, head, dst, tunnel, now, io);
            }
            FwdMode::Local => {
                let server = entry.daddr().ip();
                self.xmit_local(snap, from, frame, server, io);
            }
            FwdMode::Bypass => {
                let dst = entry.vaddr().ip();
                self.xmit_bypass(snap, from, frame, head, dst, now, io);
            }
            _ => {
                let dst = entry.daddr().ip();
                self.xmit_direct::<A, I>(snap, from, frame, head, dst, now, io);
            }
        }
    }
}
