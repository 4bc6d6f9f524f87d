//! New flows: service, server, local port, connection (DPVS facts §6, §9).
//! Which server is `choose`'s.

use std::net::IpAddr;
use std::sync::Arc;

use zerocopy::FromZeros;

use crate::choose::{Chosen, Refusal};
use crate::conn::table::{Family, Tuple};
use crate::conn::{Entry, Handle, flags};
use crate::frame::{Frame, Io, Now, WorkerId};
use crate::held::WaitFor;
use crate::hops::Egress;
use crate::lifecycle::timeout_ms;
use crate::others;
use crate::parse::Head;
use crate::proto::{Dir, tcp, udp};
use crate::raw::Net;
use crate::sched::Flow;
use crate::service::{Dest, FwdMode, Service, ServiceKey, TCP, UDP};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::synproxy::Step;
use crate::worker::Worker;
use crate::xmit::echo;
use crate::xmit::fullnat::SYN;

/// Client's ports tried for one NAT connection whose own is taken, and ports looked
/// at for each until one is this worker's.
const PORT_TRIES: usize = 16;
const PORT_LOOKS: usize = 2048;
/// Below are ports that clients have no right to.
const FIRST_PORT: u16 = 1024;

/// Local addresses tried for one connection.
const LADDR_TRIES: usize = 16;

/// What became of a flow without connection.
pub(crate) enum Admitted {
    /// It has one now.
    Conn(Handle),
    /// It has one for this packet only.
    Once(Handle),
    /// Another worker has to be heard first.
    Hold(WaitFor),
    /// It belongs to no service: on to the light IP stack.
    Pass,
    /// It is refused.
    Drop(Reason),
    /// The SYN proxy's.
    Proxy(Step),
    /// Another worker has its connection.
    HandOver(WorkerId),
}

impl<F: Frame> Worker<F> {
    /// Decides on the first packet of a flow (or one sent while its connection
    /// was made earlier in the same burst).
    pub(crate) fn admit<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Admitted {
        let data = frame.data();
        let (src, dst) = A::addrs(data);
        let dst_ip = dst.ip();
        let port = u16::from_be(head.dport);
        let key = ServiceKey {
            proto: head.proto,
            addr: dst_ip,
            port,
        };
        let syn = head.proto == TCP && tcp::is_pure_syn(data[usize::from(head.l4) + 13]);
        let service = match snap.services.find(&key) {
            Some(service) if syn || head.proto == UDP || others::opens(data, head) => service,
            found => {
                if let Some(service) = found
                    && head.proto == TCP
                    && let Some(step) =
                        self.ack_without_conn::<A, I>(snap, from, service, frame, head, now, io)
                {
                    return step.map_or_else(Admitted::Drop, Admitted::Proxy);
                }
                // A service's own packets come before those of a local port, for
                // addresses that are both.
                let tuple = Tuple {
                    src,
                    dst,
                    sport: head.sport,
                    dport: head.dport,
                    proto: head.proto,
                };
                if let Some(owner) = self.owner_elsewhere(snap, &tuple) {
                    return Admitted::HandOver(owner);
                }
                let opens = syn || head.proto == UDP || others::opens(data, head);
                if found.is_none()
                    && opens
                    && !snap.services.matches().is_empty()
                    && let Some(service) = self.matched(snap, from, &tuple)
                {
                    if bad_source(src.ip()) {
                        return Admitted::Drop(Reason::BadAddress);
                    }
                    if !snap.guard.limits.is_empty()
                        && !self.is_again()
                        && !self.may_leave(snap, &service.key, src.ip(), head.ip_len, now)
                    {
                        return Admitted::Drop(Reason::RateLimit);
                    }
                    let made =
                        self.create_matched::<A, I>(snap, from, service, frame, head, now, io);
                    return match made {
                        Ok(conn) => Admitted::Conn(conn),
                        Err(Refusal::Drop(reason)) => Admitted::Drop(reason),
                        Err(Refusal::Hold(what)) => Admitted::Hold(what),
                    };
                }
                return self.no_service(snap, &key, found.is_some(), syn);
            }
        };
        if bad_source(src.ip()) {
            return Admitted::Drop(Reason::BadAddress);
        }
        if syn {
            match self.wants_cookie(snap, service, head, now, io) {
                Ok(None) => {}
                Ok(Some(step)) => return Admitted::Proxy(step),
                Err(reason) => return Admitted::Drop(reason),
            }
        }
        if !snap.guard.limits.is_empty()
            && !self.is_again()
            && !self.may_connect(snap, &service.key, src.ip(), now)
        {
            return Admitted::Drop(Reason::RateLimit);
        }
        match self.place::<A, I>(snap, from, service, frame, head, now, io) {
            // The other fragments of a datagram follow its first one.
            Ok(conn) if service.policy.one_packet && head.proto == UDP => {
                if !head.fragment {
                    return Admitted::Once(conn);
                }
                let side = if conn.is_v6() {
                    <u128 as Family>::entry_mut(&mut self.conns, conn).flags |= flags::LONG;
                    self.conns.attach::<u128>(conn)
                } else {
                    <u32 as Family>::entry_mut(&mut self.conns, conn).flags |= flags::LONG;
                    self.conns.attach::<u32>(conn)
                };
                if let Some(side) = side {
                    side.once = true;
                }
                Admitted::Conn(conn)
            }
            Ok(conn) => Admitted::Conn(conn),
            Err(Refusal::Drop(reason)) => Admitted::Drop(reason),
            Err(Refusal::Hold(what)) => Admitted::Hold(what),
        }
    }

    /// Chooses a server and makes the connection.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn place<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        service: &Arc<Service>,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Result<Handle, Refusal> {
        let (src, dst) = A::addrs(frame.data());
        let flow = Flow {
            client: src.ip(),
            cport: u16::from_be(head.sport),
            vip: dst.ip(),
            qid: None,
            now: (now.millis() / 1000) as u32,
        };
        let Chosen { mut dest, template } =
            self.choose(snap, service, flow, payload(frame, head), now, io)?;
        if service.key.port == 0 && service.is_for_all_ports() {
            dest.port = u16::from_be(head.dport);
        }
        let conn = self
            .create::<A, I>(snap, from, service, dest, frame, head, now, io)
            .map_err(Refusal::Drop)?;
        self.bind(conn, &dest, template, now, io);
        Ok(conn)
    }

    /// A connection with its template (0 = none), and counted by its server.
    pub(crate) fn bind<I: Io<Frame = F>>(
        &mut self,
        conn: Handle,
        dest: &Dest,
        template: u32,
        now: Now,
        io: &mut I,
    ) {
        if template != 0 {
            if conn.is_v6() {
                self.bind_template::<u128, I>(conn, template, now, io);
            } else {
                self.bind_template::<u32, I>(conn, template, now, io);
            }
        }
        if dest.max_conn != 0 {
            self.count_limit(dest.id, io);
        }
    }

    /// DPVS's defences against packets that only look like a service's. A SYN to a port
    /// without one is the kernel's to refuse.
    fn no_service(&self, snap: &Snapshot, key: &ServiceKey, known: bool, syn: bool) -> Admitted {
        let s = &snap.settings;
        if key.proto == TCP
            && !syn
            && s.defence_tcp_drop
            && (known || snap.services.has(key.addr, TCP))
        {
            return Admitted::Drop(Reason::DefenceTcp);
        }
        if key.proto == UDP
            && s.defence_udp_drop
            && snap.services.has(key.addr, TCP)
            && !snap.services.has(key.addr, UDP)
        {
            return Admitted::Drop(Reason::DefenceUdp);
        }
        Admitted::Pass
    }

    /// Makes the connection with the server that was chosen for it.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn create<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        service: &Arc<Service>,
        dest: Dest,
        frame: &F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) -> Result<Handle, Reason> {
        if dest.addr.is_ipv6() != A::V6 && dest.mode == FwdMode::FullNat {
            return self.create_cross::<A, I>(snap, from, service, &dest, frame, head, now, io);
        }
        let dest = match dest.mode {
            FwdMode::Dr | FwdMode::Tunnel => others::at_home(snap, dest),
            _ => dest,
        };
        let client = A::tuple(head, frame.data());
        let (server, pool) = match dest.mode {
            FwdMode::FullNat => {
                let daddr = A::from_ip(dest.addr).ok_or(Reason::ModeUnsupported)?;
                // An echo's identifier is given like a port.
                let port = if echo::is(A::V6, head.proto) {
                    u16::from_be(client.dport)
                } else {
                    dest.port
                };
                let (laddr, lport, pool) = self.local_port::<A>(service, &Dest { port, ..dest })?;
                let server = Tuple {
                    src: daddr,
                    dst: laddr,
                    sport: port.to_be(),
                    dport: lport.to_be(),
                    proto: head.proto,
                };
                (server, pool + 1)
            }
            FwdMode::Masq => {
                let server = others::server_side(&dest, &client)?;
                (self.untaken(snap, server, head.hash as u16)?, 0)
            }
            _ => (others::server_side(&dest, &client)?, 0),
        };
        let mut entry = Entry::<A>::new_zeroed();
        entry.set_tuples(&client, &server);
        entry.set_deltas();
        entry.pool = pool;
        entry.dest = dest.id.0;
        entry.flags = flags::EMBRYO;
        entry.set_mode(dest.mode);
        entry.set_duty(service, &snap.settings);
        others::set_tunnel(&mut entry, &dest);
        if dest.mode == FwdMode::Tunnel {
            self.paths.know(dest.addr);
        }
        // DIFFERS: in every mode a client is answered where its packets came from; the
        // way to a server is by the routes, which DPVS stops asking when the server has
        // answered. MTU and `xmit_ttl` hold both ways.
        if snap.settings.fast_xmit {
            entry.hop = self.hop_back(from, frame.data());
        }
        self.keep(snap, service, &dest, entry, head.hash, now, io)
    }

    /// The way back to whom a frame came from.
    #[inline]
    pub(crate) fn hop_back(&mut self, from: &Egress, data: &[u8]) -> u32 {
        let mut mac = [0; 6];
        mac.copy_from_slice(&data[6..12]);
        if mac[0] & 1 != 0 || mac == [0; 6] {
            // Nobody is at a group's or the zero address: such replies are routed.
            return 0;
        }
        let hop = self.neighs.hops.intern(from.port, mac, from.mac, from.mtu);
        hop.unwrap_or(0)
    }

    /// Puts a new connection into the table, with what every mode has in common;
    /// gives its local port back if there is no room.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn keep<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        service: &Service,
        dest: &Dest,
        mut entry: Entry<A>,
        hash: u64,
        now: Now,
        io: &mut I,
    ) -> Result<Handle, Reason> {
        let proto = entry.proto;
        if service.expire_quiescent {
            entry.flags |= flags::QUIESCENT;
        }
        entry.set_conn_timeout(service.conn_timeout);
        // The time-out of the state this packet leads to, so that the wheel need
        // not look at it once more.
        let first = match proto {
            TCP => tcp::next(Dir::In, tcp::State::None, SYN) as u8,
            UDP => udp::next(Dir::In, udp::State::from_u8(0)) as u8,
            _ => 0,
        };
        let timeouts = &snap.settings.timeouts;
        entry.timeout = timeout_ms(timeouts, proto, first, service.conn_timeout);
        let (now_ms, timeout) = (now.millis(), entry.timeout);
        entry.seen = now_ms as u32;
        let mut conn = self.conns.admit(&entry, hash);
        if conn.is_none() && self.evict(snap, A::V6, now, io) {
            conn = self.conns.admit(&entry, hash);
        }
        let Some(conn) = conn else {
            if entry.pool != 0 {
                let (far, port, own) = entry.pooled();
                self.pools.give(entry.pool - 1, proto, far, port, own);
            }
            return Err(Reason::ConnTableFull);
        };
        self.embryos.add(&mut self.conns, conn);
        self.wheel.add(&mut self.conns, conn, now_ms, timeout);
        let counters = &mut self.dests[dest.id.0 as usize].counters;
        counters.conns += 1;
        counters.inactive += 1;
        self.stats.conns_made += 1;
        Ok(conn)
    }

    /// The server's side of a NAT connection as no other has it: two services may
    /// send one client's port to the same server, which could not tell them apart.
    ///
    /// DIFFERS: the second one gets another client's port towards the server, as
    /// netfilter does; DPVS and LVS send its answers to the first one's service.
    #[cold]
    #[inline(never)]
    fn untaken<A: Net>(
        &mut self,
        snap: &Snapshot,
        mut server: Tuple<A>,
        start: u16,
    ) -> Result<Tuple<A>, Reason> {
        let workers = self.conf.workers;
        let mut port = start;
        for _ in 0..PORT_TRIES {
            let hash = A::hash(&self.conns, &server);
            if self.conns.is_pending(hash) {
                self.conns.settle();
            }
            if self.conns.find(hash, &server).is_none() {
                return Ok(server);
            }
            // The next one whose answers this worker gets.
            let end = (server.src.ip(), u16::from_be(server.sport));
            let next = (0..PORT_LOOKS).find_map(|_| {
                port = port.wrapping_add(1);
                let client = (server.dst.ip(), port);
                let meetings = snap.services.meetings();
                let owner = meetings.owner(server.proto, end, client, workers);
                let ours = workers < 2 || owner.is_none_or(|owner| owner == self.conf.id);
                (port >= FIRST_PORT && ours).then_some(port)
            });
            server.dport = next.ok_or(Reason::NoLport)?.to_be();
        }
        Err(Reason::NoLport)
    }

    /// A local address, a port of it (host order), and the pool's number.
    pub(crate) fn local_port<A: Net>(
        &mut self,
        service: &Arc<Service>,
        dest: &Dest,
    ) -> Result<(A, u16, u32), Reason> {
        let Some(Some(state)) = self.services.get_mut(service.id.0 as usize) else {
            return Err(Reason::NoLaddr);
        };
        let mut reason = Reason::NoLaddr;
        for _ in 0..state.sources.len().min(LADDR_TRIES) {
            let i = if state.next_source < state.sources.len() {
                state.next_source
            } else {
                0
            };
            state.next_source = i + 1;
            let (addr, number) = state.sources[i];
            let Some(laddr) = A::from_ip(addr) else {
                continue;
            };
            match self
                .pools
                .take(number, service.key.proto, dest.addr, dest.port)
            {
                Some(port) => return Ok((laddr, port, number)),
                None => reason = Reason::NoLport,
            }
        }
        Err(reason)
    }
}

/// What a datagram carries, as far as it is in the first segment; nothing of TCP.
fn payload<'a>(frame: &'a impl Frame, head: &Head) -> &'a [u8] {
    match head.proto {
        UDP => frame
            .data()
            .get(usize::from(head.l4) + 8..)
            .unwrap_or_default(),
        _ => &[],
    }
}

/// Sources no client can have (RFC 1122 §3.2.1.3, RFC 4291 §2.5, §2.7). An IPv4 address
/// mapped to IPv6 is one of ours for a client of the other family.
#[inline(always)]
pub(crate) fn bad_source(src: IpAddr) -> bool {
    match src {
        IpAddr::V4(a) => {
            a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast()
        }
        IpAddr::V6(a) => {
            let mapped = a.to_ipv4_mapped().is_some();
            a.is_unspecified() || a.is_loopback() || a.is_multicast() || mapped
        }
    }
}
