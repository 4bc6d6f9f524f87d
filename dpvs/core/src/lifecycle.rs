//! Connections change state and end: time-outs, counters of the server, resets.

use dpvs_wire::{checksum, eth};

use crate::conn::table::Family;
use crate::conn::wheel::{BATCH, Due};
use crate::conn::{Entry, Handle, flags};
use crate::frame::{Frame, Io, Now};
use crate::inet::cross;
use crate::message::{ConnInfo, FromWorker};
use crate::proto::{Dir, icmp, sctp, tcp, udp};
use crate::raw::{L3, Net};
use crate::service::{DestId, FwdMode, SCTP, TCP, UDP};
use crate::snapshot::{Snapshot, Timeouts};
use crate::worker::Worker;
use crate::xmit::fullnat::RST;

/// Longest time-out that the wrapping millisecond clock of an entry can tell.
/// DIFFERS: DPVS takes up to a year; ours ends silent connections after 24 days.
const MAX_TIMEOUT_MS: u32 = 1 << 31;

/// Time-out of a state in milliseconds.
pub(crate) fn timeout_ms(t: &Timeouts, proto: u8, state: u8, conn_timeout: u32) -> u32 {
    timeout_secs(t, proto, state, conn_timeout)
        .saturating_mul(1000)
        .min(MAX_TIMEOUT_MS)
}

/// Time-out of a state in seconds (DPVS facts §7, last table).
fn timeout_secs(t: &Timeouts, proto: u8, state: u8, conn_timeout: u32) -> u32 {
    match proto {
        TCP => match tcp::State::from_u8(state) {
            tcp::State::Established if conn_timeout > 0 => conn_timeout,
            state => t.tcp[state.index()],
        },
        UDP if conn_timeout > 0 => conn_timeout,
        UDP => t.udp[udp::State::from_u8(state).index()],
        SCTP => match sctp::State::from_u8(state) {
            sctp::State::Established if conn_timeout > 0 => conn_timeout,
            state => state.timeout(),
        },
        _ => icmp::timeout(state),
    }
}

/// A state's name as listed.
fn state_name(proto: u8, state: u8) -> &'static str {
    match proto {
        TCP => tcp::State::from_u8(state).name(),
        UDP => udp::State::from_u8(state).name(),
        SCTP => sctp::State::from_u8(state).name(),
        _ => icmp::name(state),
    }
}

/// Whether a state counts as an active connection of the server.
fn is_active(proto: u8, state: u8) -> bool {
    match proto {
        TCP => tcp::State::from_u8(state).is_active(),
        SCTP => sctp::State::from_u8(state).is_active(),
        _ => false,
    }
}

impl<F: Frame> Worker<F> {
    /// A connection's protocol has moved on. Unless its client was `heard` to know what
    /// the server says, it goes on being one that gives way.
    #[inline(never)]
    pub(crate) fn change_state<A: Net>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        state: u8,
        heard: bool,
        now: Now,
    ) {
        let conn_timeout = self.conns.conn_timeout::<A>(conn);
        let entry = A::entry_mut(&mut self.conns, conn);
        entry.state = state;
        entry.timeout = timeout_ms(&snap.settings.timeouts, entry.proto, state, conn_timeout);
        let active = is_active(entry.proto, state);
        let was = entry.flags & flags::ACTIVE != 0;
        let answered = active && heard || entry.proto == UDP && state == udp::State::Normal as u8;
        let embryo = entry.flags & flags::EMBRYO != 0;
        if answered && embryo {
            entry.flags ^= flags::EMBRYO;
        }
        let dest = DestId(entry.dest);
        if active != was {
            entry.flags ^= flags::ACTIVE;
            let counters = &mut self.dests[entry.dest as usize].counters;
            let (up, down) = if active {
                (&mut counters.active, &mut counters.inactive)
            } else {
                (&mut counters.inactive, &mut counters.active)
            };
            *up += 1;
            *down -= 1;
            if was {
                self.lighter(dest);
            }
        }
        if answered && embryo {
            self.embryos.remove(&mut self.conns, conn);
        }
        self.wheel.rearm(&mut self.conns, conn, now.millis());
    }

    /// An established connection does not give way any more.
    #[cold]
    #[inline(never)]
    pub(crate) fn stays<A: Net>(&mut self, conn: Handle) {
        A::entry_mut(&mut self.conns, conn).flags &= !flags::EMBRYO;
        self.embryos.remove(&mut self.conns, conn);
    }

    /// Ends a connection: tells both ends if they still think it is open, gives
    /// back what it held.
    pub(crate) fn end<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) {
        self.wheel.remove(&mut self.conns, conn);
        let hashes = self.conns.prepare_remove(conn);
        self.end_hashed(snap, conn, hashes, now, io);
    }

    /// Ends the oldest connection nobody has answered, to make room for a new one;
    /// false if there is none.
    /// DIFFERS: DPVS refuses new connections when it has no memory left.
    #[cold]
    pub(crate) fn evict<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        v6: bool,
        now: Now,
        io: &mut I,
    ) -> bool {
        let Some(oldest) = self.embryos.oldest(&mut self.conns, v6) else {
            return false;
        };
        self.stats.conns_evicted += 1;
        self.end(snap, oldest, now, io);
        true
    }

    /// Ends connections whose time is up, a batch at most. Stage by stage, so that
    /// the misses of the batch overlap.
    #[inline(never)]
    pub(crate) fn expire<I: Io<Frame = F>>(&mut self, snap: &Snapshot, now: Now, io: &mut I) {
        let mut due = Due::EMPTY;
        self.wheel.expired(&mut self.conns, now.millis(), &mut due);
        let mut hashes = [(0, 0); BATCH];
        for (conn, hashes) in due.iter().zip(&mut hashes) {
            *hashes = self.conns.prepare_remove(conn);
            if conn.is_v6() {
                self.prefetch_port::<u128>(conn);
            } else {
                self.prefetch_port::<u32>(conn);
            }
        }
        for (conn, hashes) in due.iter().zip(hashes) {
            if self.is_proxied_syn(snap, conn, now, io) {
                continue;
            }
            self.note_expiry(snap, conn, io);
            self.end_hashed(snap, conn, hashes, now, io);
        }
    }

    /// A connection's time is up: true if it goes on, because its server gets
    /// another SYN.
    #[inline]
    fn is_proxied_syn<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        now: Now,
        io: &mut I,
    ) -> bool {
        if conn.is_v6() {
            <u128 as Family>::entry(&self.conns, conn).flags & flags::SIDE != 0
                && self.try_again::<u128, I>(snap, conn, now, io)
        } else {
            <u32 as Family>::entry(&self.conns, conn).flags & flags::SIDE != 0
                && self.try_again::<u32, I>(snap, conn, now, io)
        }
    }

    /// Asks for what giving back a connection's local port will touch.
    #[inline]
    fn prefetch_port<A: Net>(&self, conn: Handle) {
        let e = A::entry(&self.conns, conn);
        if e.pool != 0 {
            let (far, port, own) = e.pooled();
            self.pools.prefetch(e.pool - 1, e.proto, far, port, own);
        }
    }

    /// Ends a connection that is in no list of the wheel any more.
    fn end_hashed<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        hashes: (u64, u64),
        now: Now,
        io: &mut I,
    ) {
        if conn.is_v6() {
            self.end_family::<u128, I>(snap, conn, hashes, now, io);
        } else {
            self.end_family::<u32, I>(snap, conn, hashes, now, io);
        }
    }

    fn end_family<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        conn: Handle,
        hashes: (u64, u64),
        now: Now,
        io: &mut I,
    ) {
        let entry = *A::entry(&self.conns, conn);
        if entry.flags & flags::EMBRYO != 0 {
            self.embryos.remove(&mut self.conns, conn);
        }
        let template = self.conns.side::<A>(conn).map_or(0, |side| side.template);
        if entry.flags & flags::SIDE != 0 {
            self.forget::<A>(conn);
        }
        self.conns.remove_hashed(conn, hashes);
        self.stats.conns_gone += 1;
        if entry.pool != 0 {
            let (far, port, own) = entry.pooled();
            self.pools.give(entry.pool - 1, entry.proto, far, port, own);
        }
        if template != 0 {
            self.leave_template(template, now, io);
        }
        let dest = &mut self.dests[entry.dest as usize];
        if entry.flags & flags::ACTIVE != 0 {
            dest.counters.active -= 1;
        } else {
            dest.counters.inactive -= 1;
        }
        let removed = dest.removed && dest.conns_now() == 0;
        if self.has_limits() {
            self.end_limit(DestId(entry.dest), io);
        }
        self.lighter(DestId(entry.dest));
        if removed {
            self.drained(DestId(entry.dest), io);
        }
        if entry.proto == TCP
            && entry.state == tcp::State::Established as u8
            && entry.flags & flags::RS_SEEN != 0
        {
            self.reset_both(snap, &entry, now, io);
        }
    }

    /// A server has fewer connections, or fewer active ones: its scheduler may have
    /// to know.
    #[inline]
    pub(crate) fn lighter(&mut self, dest: DestId) {
        let Some(state) = self.dests.get(dest.0 as usize) else {
            return;
        };
        let (service, place) = state.watch;
        if service != 0
            && let Some(Some(service)) = self.services.get_mut(service as usize - 1)
        {
            service.cursor.lighter(place as usize, dest, state.load());
        }
    }

    /// A removed server has no connections any more: its number is free.
    pub(crate) fn drained<I: Io<Frame = F>>(&mut self, dest: DestId, io: &mut I) {
        self.limits.forget(dest);
        self.templates.retire(dest);
        self.dests[dest.0 as usize] = crate::worker::DestState::default();
        io.report(FromWorker::DestDrained {
            worker: self.id(),
            dest,
        });
    }

    /// A silent established connection: resets towards both ends, numbered as
    /// each end numbers them.
    fn reset_both<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        e: &Entry<A>,
        now: Now,
        io: &mut I,
    ) {
        let to_server = (e.laddr(), e.daddr(), e.lport(), e.dport(), e.rs_ack);
        let to_client = (e.vaddr(), e.caddr(), e.vport(), e.cport(), e.rs_seq);
        for ((src, dst, sport, dport, seq), hop) in
            [(to_server, self.server_hop(e)), (to_client, e.hop)]
        {
            let Some(mut frame) = io.alloc() else { return };
            if !write_reset(&mut frame, src, dst, sport, dport, seq) {
                return;
            }
            if cross::leaves_as_four(frame.data()) && cross::six_to_four(&mut frame, 0).is_err() {
                return;
            }
            self.stats.made += 1;
            match self.neighs.hops.get(hop) {
                Some(hop) => {
                    frame.data_mut()[..12].copy_from_slice(&hop.macs);
                    self.stats.leaves(&frame);
                    io.send(hop.port, frame);
                }
                None => self.output(snap, frame, dst.ip().to_canonical(), now, io),
            }
        }
    }

    /// The kept next hop towards the server, 0 if there is none: what is behind a
    /// source NAT's address is many hosts.
    #[inline]
    pub(crate) fn server_hop<A: Net>(&self, e: &Entry<A>) -> u32 {
        if e.mode() == FwdMode::Snat {
            0
        } else {
            self.dests[e.dest as usize].hop
        }
    }

    /// A connection as it is listed.
    pub(crate) fn conn_info(&self, conn: Handle) -> ConnInfo {
        if conn.is_v6() {
            info(<u128 as Family>::entry(&self.conns, conn))
        } else {
            info(<u32 as Family>::entry(&self.conns, conn))
        }
    }
}

fn info<A: Net>(e: &Entry<A>) -> ConnInfo {
    let server = match e.mode() {
        FwdMode::Tunnel => e.outer().0,
        _ => e.daddr().ip().to_canonical(),
    };
    ConnInfo {
        proto: e.proto,
        client: (e.caddr().ip().to_canonical(), u16::from_be(e.cport())),
        vip: (e.vaddr().ip().to_canonical(), u16::from_be(e.vport())),
        laddr: (e.laddr().ip().to_canonical(), u16::from_be(e.lport())),
        dest: (server, u16::from_be(e.dport())),
        state: state_name(e.proto, e.state),
        timeout: e.timeout / 1000,
        from_client: e.counted(Dir::In),
        from_server: e.counted(Dir::Out),
    }
}

/// Writes a bare TCP reset into an empty frame; ports raw, `seq` a number.
/// Window 0, acknowledgement 0, DF, TTL 64 (DPVS facts §8.1).
fn write_reset<F: Frame, A: Net>(
    frame: &mut F,
    src: A,
    dst: A,
    sport: u16,
    dport: u16,
    seq: u32,
) -> bool {
    let ip_len = if A::V6 { 40 } else { 20 };
    let l4 = L3 + ip_len;
    if !frame.push_back(l4 + 20) {
        return false;
    }
    let data = frame.data_mut();
    data.fill(0);
    if A::V6 {
        data[12..14].copy_from_slice(&eth::ETHERTYPE_IPV6.to_be_bytes());
        data[L3] = 0x60;
        data[L3 + 5] = 20;
        data[L3 + 6] = TCP;
        data[L3 + 7] = 64;
    } else {
        data[12..14].copy_from_slice(&eth::ETHERTYPE_IPV4.to_be_bytes());
        data[L3] = 0x45;
        data[L3 + 3] = 40;
        data[L3 + 6] = 0x40;
        data[L3 + 8] = 64;
        data[L3 + 9] = TCP;
    }
    A::set_addrs(data, src, dst, checksum::Delta::new());
    if !A::V6 {
        data[L3 + 10..L3 + 12].fill(0);
        let sum = !checksum::sum(&data[L3..l4]);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    data[l4..l4 + 2].copy_from_slice(&sport.to_ne_bytes());
    data[l4 + 2..l4 + 4].copy_from_slice(&dport.to_ne_bytes());
    data[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
    data[l4 + 12] = 0x50;
    data[l4 + 13] = RST;
    let addrs = if A::V6 { L3 + 8..l4 } else { L3 + 12..l4 };
    let pseudo = checksum::combine(checksum::sum(&data[addrs]), u16::from(TCP) + 20);
    let sum = !checksum::combine(pseudo, checksum::sum(&data[l4..l4 + 20]));
    data[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
    true
}
