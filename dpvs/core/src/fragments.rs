//! Fragments of IPv4 and IPv6 datagrams on their way through the worker.
//!
//! They are not put together: the first one, which has the ports, goes the way of
//! any packet; the others follow it with their addresses changed alike, and wait
//! for it if they come earlier (`inet/frag.rs` knows them). Path MTU and the
//! sender's sizes stay what they are. All fragments between two addresses meet at
//! one worker; if the connection is another's, they go on to that one. Knows no
//! forwarding mode beyond what addresses to write.

use crate::conn::Handle;
use crate::conn::table::Tuple;
use crate::egress::decrement_ttl;
use crate::fragment::{Part, Ports};
use crate::frame::{Frame, Io, Now, WorkerId};
use crate::hops::Egress;
use crate::inet::frag::{Key, Noted, Piece, Slot, Tracker};
use crate::parse::{Head, Kind};
use crate::pipeline::Came;
use crate::proto::Dir;
use crate::raw::{L3, Net, be16, ld32, map4};
use crate::service::{SCTP, ServiceKey};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;
use crate::xmit::nat64::{self, Told};

// DIFFERS: DPVS drops every IPv4 fragment and gives IPv6 ones to the kernel.

/// What becomes of a datagram's fragments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// They belong to the connection of that packet (its hash goes with it).
    Flow4(u64, Tuple<u32>),
    Flow6(u64, Tuple<u128>),
    /// To the light IP stack.
    Pass,
    /// That worker has the connection.
    Sent(WorkerId),
    /// Nobody knows whose they are: they go round, from worker to worker.
    Round,
    /// The first one waits for another worker's answer, and comes again.
    Later,
    Refused,
}

/// The fragments of one worker.
pub(crate) type Fragments<F> = Tracker<F, Verdict>;

/// Set in the source MAC address (nobody's has it) of a fragment that goes round.
const ROUND: u8 = 1;

/// Where a fragment is, among the workers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where all of them meet.
    Meeting,
    /// There again, after it has been everywhere.
    Back,
    /// At a worker that may have the connection.
    Visit,
    /// At the worker that has it, or would make it.
    Owner,
}

/// The worker at which the fragments between two addresses meet.
fn meeting(key: &Key, workers: u8) -> WorkerId {
    let x = key.src ^ key.dst.rotate_left(64) ^ u128::from(key.proto);
    let x = (x as u64 ^ (x >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    WorkerId(((x >> 32) % u64::from(workers.max(1))) as u8)
}

/// Length of a packet, as its header says.
fn ip_len<A: Net>(data: &[u8]) -> u16 {
    if A::V6 {
        be16(data, L3 + 4).saturating_add(40)
    } else {
        be16(data, L3 + 2)
    }
}

/// An address as an entry for two families has it.
fn wide<A: Net>(addr: A) -> u128 {
    match addr.ip() {
        std::net::IpAddr::V4(a) => map4(u32::from_ne_bytes(a.octets())),
        std::net::IpAddr::V6(a) => u128::from_ne_bytes(a.octets()),
    }
}

fn widened<A: Net>(t: &Tuple<A>) -> Tuple<u128> {
    Tuple {
        src: wide(t.src),
        dst: wide(t.dst),
        sport: t.sport,
        dport: t.dport,
        proto: t.proto,
    }
}

pub(crate) fn narrowed<A: Net>(t: &Tuple<A>) -> Option<Tuple<u32>> {
    Some(Tuple {
        src: u32::from_ip(t.src.ip())?,
        dst: u32::from_ip(t.dst.ip())?,
        sport: t.sport,
        dport: t.dport,
        proto: t.proto,
    })
}

/// What all fragments of a datagram have in common.
fn key_of<A: Net>(src: A, dst: A, part: &Part) -> Key {
    Key {
        src: wide(src),
        dst: wide(dst),
        id: part.id,
        proto: if A::V6 { 0 } else { part.proto },
    }
}

impl<F: Frame> Worker<F> {
    /// A fragment to our MAC address.
    #[cold]
    #[inline(never)]
    pub(crate) fn fragment<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        mut frame: F,
        head: &Head,
        now: Now,
        io: &mut I,
    ) {
        let Some(part) = Part::read::<A>(frame.data(), head.ip_len.into()) else {
            return self.drop(Reason::Fragment);
        };
        let (src, dst) = A::addrs(frame.data());
        let key = key_of::<A>(src, dst, &part);
        let round = frame.data()[6] & ROUND != 0;
        if round && !self.handed {
            return self.drop(Reason::Malformed);
        }
        frame.data_mut()[6] &= !ROUND;
        let meeting = meeting(&key, self.conf.workers);
        let place = match (meeting == self.conf.id, self.handed) {
            (true, _) if round => Place::Back,
            (true, _) => Place::Meeting,
            (false, true) if round => Place::Visit,
            (false, true) => Place::Owner,
            (false, false) => {
                return self.hand_over::<A, I>(meeting, from, frame, head, io);
            }
        };
        let mut tracker = self.frags.take().unwrap_or_else(|| {
            let (max, ttl) = (snap.settings.frag_max, snap.settings.frag_ttl);
            let (max, ttl) = (max as usize, u64::from(ttl) * 1000);
            Box::new(Tracker::new(max, ttl, self.conf.seed[0]))
        });
        let head = Head {
            proto: part.proto,
            l4: part.l4 as u16,
            kind: if A::V6 { Kind::Flow6 } else { Kind::Flow4 },
            fragment: true,
            ..*head
        };
        let turn = (snap, from, &head, now);
        if part.piece.at == 0 && !part.piece.more {
            // One in one piece has nothing to do with others (RFC 6946).
            self.begin(&part, Some(part.piece.len.into()));
            self.first::<A, I>(turn, frame, &part, place, io);
        } else if place == Place::Back {
            self.came_back::<A, I>(&mut tracker, turn, frame, &key, &part, io);
        } else {
            match tracker.note(&key, part.piece, now.millis()) {
                Noted::Refused | Noted::Duplicate => self.drop(Reason::Fragment),
                Noted::Known(slot, verdict) => {
                    self.later::<A, I>(turn, frame, verdict, io);
                    tracker.finish(slot);
                }
                Noted::Open(slot) if part.proto == SCTP && tracker.end_of(slot).is_none() => {
                    tracker.hold(slot, frame);
                }
                Noted::Open(slot) if part.proto == SCTP && part.piece.at != 0 => {
                    tracker.hold(slot, frame);
                    self.all_known::<A, I>(&mut tracker, turn, slot, place, io);
                }
                Noted::Open(slot) if part.piece.at == 0 => {
                    self.begin(&part, tracker.end_of(slot));
                    let verdict = self.first::<A, I>(turn, frame, &part, place, io);
                    self.follow::<A, I>(&mut tracker, turn, slot, (part.piece, verdict), io);
                }
                // What goes round comes behind its first one, or that is lost.
                Noted::Open(_) if place == Place::Visit => self.drop(Reason::Fragment),
                Noted::Open(slot) => tracker.hold(slot, frame),
            }
        }
        self.stats.drops[Reason::FragmentLost as usize] += std::mem::take(&mut tracker.lost);
        self.frags = Some(tracker);
        self.whole = 0;
    }

    /// Whether a fragment that the kernel sends is one of a connection's: the first by
    /// its ports, later ones because the first was.
    #[cold]
    pub(crate) fn is_followed<A: Net>(&mut self, frame: &F, head: &Head) -> bool {
        let data = frame.data();
        let Some(part) = Part::read::<A>(data, head.ip_len.into()) else {
            return false;
        };
        let (src, dst) = A::addrs(data);
        if part.piece.at == 0
            && let Ports::Are(sport, dport) = part.ports::<A>(data)
        {
            let proto = part.proto;
            let tuple = Tuple {
                src,
                dst,
                sport,
                dport,
                proto,
            };
            self.conns.settle();
            return self
                .flow_verdict(A::hash(&self.conns, &tuple), &tuple)
                .is_some();
        }
        let key = key_of::<A>(src, dst, &part);
        let tracker = self.frags.as_ref();
        tracker.is_some_and(|t| t.slot(&key).is_some())
    }

    /// Notes how long the packet is whose first fragment goes now, of `end` bytes
    /// that are fragmented: the checksum of SCTP cannot be changed without.
    fn begin(&mut self, part: &Part, end: Option<u32>) {
        let end = end.filter(|_| part.proto == SCTP);
        self.whole = end.map_or(0, |end| (end as usize).saturating_sub(part.before));
    }

    /// The length of an SCTP packet in fragments is known; if the first one waits
    /// for that, all go now.
    fn all_known<A: Net, I: Io<Frame = F>>(
        &mut self,
        tracker: &mut Fragments<F>,
        turn: (&Snapshot, &Egress, &Head, Now),
        slot: Slot,
        place: Place,
        io: &mut I,
    ) {
        let read = |frame: &F| Part::read::<A>(frame.data(), ip_len::<A>(frame.data()).into());
        let first = tracker.take_held(slot, |f| read(f).is_some_and(|part| part.piece.at == 0));
        let Some((first, part)) = first.and_then(|f| read(&f).map(|part| (f, part))) else {
            return;
        };
        let (snap, from, head, now) = turn;
        let head = Head {
            ip_len: ip_len::<A>(first.data()),
            l4: part.l4 as u16,
            proto: part.proto,
            ..*head
        };
        let turn = (snap, from, &head, now);
        self.begin(&part, tracker.end_of(slot));
        let verdict = self.first::<A, I>(turn, first, &part, place, io);
        self.follow::<A, I>(tracker, turn, slot, (part.piece, verdict), io);
    }

    /// A fragment that has been at every other worker and is nobody's.
    fn came_back<A: Net, I: Io<Frame = F>>(
        &mut self,
        tracker: &mut Fragments<F>,
        turn: (&Snapshot, &Egress, &Head, Now),
        frame: F,
        key: &Key,
        part: &Part,
        io: &mut I,
    ) {
        match (tracker.slot(key), tracker.verdict(key)) {
            (Some(slot), Some(Verdict::Round)) if part.piece.at == 0 => {
                self.begin(part, tracker.end_of(slot));
                let verdict = self.first::<A, I>(turn, frame, part, Place::Back, io);
                self.follow::<A, I>(tracker, turn, slot, (part.piece, verdict), io);
            }
            (Some(_), Some(verdict)) if !matches!(verdict, Verdict::Round) => {
                self.later::<A, I>(turn, frame, verdict, io);
            }
            // The first one is back, too, and waits for another worker's answer.
            (Some(slot), None) => tracker.hold(slot, frame),
            _ => self.drop(Reason::Fragment),
        }
    }

    /// What waited for the first one goes its way.
    fn follow<A: Net, I: Io<Frame = F>>(
        &mut self,
        tracker: &mut Fragments<F>,
        turn: (&Snapshot, &Egress, &Head, Now),
        slot: Slot,
        (first, verdict): (Piece, Verdict),
        io: &mut I,
    ) {
        if matches!(verdict, Verdict::Later) {
            return tracker.reopen(slot, first, turn.3.millis());
        }
        if matches!(verdict, Verdict::Round) {
            tracker.keep(slot);
        }
        tracker.decide(slot, verdict, turn.3.millis());
        while let Some(frame) = tracker.next_held(slot) {
            let head = Head {
                ip_len: ip_len::<A>(frame.data()),
                ..*turn.2
            };
            self.later::<A, I>((turn.0, turn.1, &head, turn.3), frame, verdict, io);
        }
        tracker.finish(slot);
    }

    /// The first fragment: decides, and goes.
    fn first<A: Net, I: Io<Frame = F>>(
        &mut self,
        turn: (&Snapshot, &Egress, &Head, Now),
        mut frame: F,
        part: &Part,
        place: Place,
        io: &mut I,
    ) -> Verdict {
        let (snap, from, head, now) = turn;
        let mut head = *head;
        match part.ports::<A>(frame.data()) {
            Ports::Short => {
                // Nobody honest cuts there (RFC 1858).
                self.drop(Reason::Fragment);
                return Verdict::Refused;
            }
            Ports::None => {
                self.deliver(snap, from, frame, &head, now, io);
                return Verdict::Pass;
            }
            Ports::Are(sport, dport) => (head.sport, head.dport) = (sport, dport),
        }
        let (src, dst) = A::addrs(frame.data());
        if !A::V6 {
            let data = frame.data();
            (head.src, head.dst) = (ld32(data, L3 + 12), ld32(data, L3 + 16));
        }
        let tuple = Tuple {
            src,
            dst,
            sport: head.sport,
            dport: head.dport,
            proto: head.proto,
        };
        head.hash = A::hash(&self.conns, &tuple);
        self.conns.settle();
        if snap.guard.is_on() {
            // Only here are the ports known that lists and limits ask for.
            let seen = place != Place::Meeting || self.is_again();
            let refused = self.refused::<A>(snap, from.port, &frame, &head, seen, now);
            if let Some(reason) = refused {
                self.stats.discarded(A::V6, reason);
                return Verdict::Refused;
            }
        }
        if let Some(verdict) = self.flow_verdict(head.hash, &tuple) {
            self.known::<A, I>((snap, from, &head, now), frame, verdict, io);
            return verdict;
        }
        let round = match place {
            Place::Visit => true,
            // One that has waited has been everywhere.
            Place::Meeting if self.is_again() => false,
            Place::Meeting if self.conf.workers > 1 => {
                match self.owner_of_first(snap, from, &tuple) {
                    Some(owner) if owner != self.conf.id => {
                        self.hand_over::<A, I>(owner, from, frame, &head, io);
                        return Verdict::Sent(owner);
                    }
                    owner => owner.is_none(),
                }
            }
            _ => false,
        };
        if round {
            frame.data_mut()[6] |= ROUND;
            self.hand_round::<A, I>(from, frame, &head, io);
            return Verdict::Round;
        }
        match self.newcomer::<A, I>(snap, from, frame, &head, now, io) {
            Came::Conn => {
                self.conns.settle();
                self.flow_verdict(head.hash, &tuple)
                    .unwrap_or(Verdict::Refused)
            }
            Came::Pass => Verdict::Pass,
            Came::Sent(worker) => Verdict::Sent(worker),
            Came::Waits => Verdict::Later,
            Came::Refused => Verdict::Refused,
        }
    }

    /// A first fragment of a connection there is.
    fn known<A: Net, I: Io<Frame = F>>(
        &mut self,
        turn: (&Snapshot, &Egress, &Head, Now),
        frame: F,
        verdict: Verdict,
        io: &mut I,
    ) {
        let (snap, from, head, now) = turn;
        match verdict {
            Verdict::Flow4(hash, tuple) => {
                if let Some(conn) = self.conns.find(hash, &tuple) {
                    return self.transit::<u32, I>(snap, from, frame, head, conn, now, io);
                }
            }
            Verdict::Flow6(hash, tuple) => {
                if let Some(conn) = self.conns.find(hash, &tuple) {
                    if A::V6 {
                        self.transit::<u128, I>(snap, from, frame, head, conn, now, io);
                    } else {
                        self.cross(snap, from, frame, head, conn, now, io);
                    }
                    return;
                }
            }
            _ => {}
        }
        self.drop(Reason::Fragment);
    }

    /// The worker that has the connection of a packet, or would make it; `None`
    /// if that cannot be told.
    fn owner_of_first<A: Net>(
        &self,
        snap: &Snapshot,
        from: &Egress,
        tuple: &Tuple<A>,
    ) -> Option<WorkerId> {
        if let Some(owner) = self.owner_by_port(snap, tuple) {
            return Some(owner);
        }
        let (sport, dport) = (u16::from_be(tuple.sport), u16::from_be(tuple.dport));
        let key = ServiceKey {
            proto: tuple.proto,
            addr: tuple.dst.ip(),
            port: dport,
        };
        if snap.services.is_empty() {
            return Some(self.conf.id);
        }
        snap.services.find(&key)?;
        let nic = snap.returns.nic(from.port)?;
        nic.owner(tuple.proto, tuple.src.ip(), key.addr, (sport, dport))
    }

    fn hand_round<A: Net, I: Io<Frame = F>>(
        &mut self,
        from: &Egress,
        frame: F,
        head: &Head,
        io: &mut I,
    ) {
        let next = WorkerId((self.conf.id.0 + 1) % self.conf.workers.max(1));
        self.hand_over::<A, I>(next, from, frame, head, io);
    }

    /// The connection of a packet, in whatever form it is kept.
    fn flow_verdict<A: Net>(&self, hash: u64, t: &Tuple<A>) -> Option<Verdict> {
        if self.conns.find(hash, t).is_some() {
            return Some(if A::V6 {
                Verdict::Flow6(hash, widened(t))
            } else {
                Verdict::Flow4(hash, narrowed(t)?)
            });
        }
        if A::V6 {
            return None;
        }
        let t = widened(t);
        let hash = <u128 as crate::conn::table::Family>::hash(&self.conns, &t);
        self.conns.find(hash, &t).map(|_| Verdict::Flow6(hash, t))
    }

    /// A fragment whose first one has been decided on.
    fn later<A: Net, I: Io<Frame = F>>(
        &mut self,
        turn: (&Snapshot, &Egress, &Head, Now),
        mut frame: F,
        verdict: Verdict,
        io: &mut I,
    ) {
        let (snap, from, head, now) = turn;
        match verdict {
            Verdict::Flow4(hash, tuple) => match self.conns.find(hash, &tuple) {
                Some(conn) => {
                    frame.data_mut()[6] &= !ROUND;
                    let conn = self.conns.preferred(conn, hash, &tuple);
                    self.pass_on::<u32, I>(turn, frame, conn, io);
                }
                None => self.drop(Reason::Fragment),
            },
            Verdict::Flow6(hash, tuple) => {
                let Some(conn) = self.conns.find(hash, &tuple) else {
                    return self.drop(Reason::Fragment);
                };
                frame.data_mut()[6] &= !ROUND;
                if A::V6 {
                    let conn = self.conns.preferred(conn, hash, &tuple);
                    return self.pass_on::<u128, I>(turn, frame, conn, io);
                }
                match self.enter(snap, &mut frame, head, conn) {
                    Some(Ok(head)) => {
                        self.pass_on::<u128, I>((snap, from, &head, now), frame, conn, io);
                    }
                    Some(Err(Told::TooBig(mtu))) => self.too_big(snap, from, frame, mtu, now, io),
                    Some(Err(Told::Expired)) => self.time_exceeded(snap, from, frame, now, io),
                    None => {}
                }
            }
            Verdict::Pass => self.deliver(snap, from, frame, head, now, io),
            Verdict::Sent(owner) => self.hand_over::<A, I>(owner, from, frame, head, io),
            Verdict::Round => {
                frame.data_mut()[6] |= ROUND;
                self.hand_round::<A, I>(from, frame, head, io);
            }
            // Nothing is kept as decided with that one.
            Verdict::Later | Verdict::Refused => self.drop(Reason::Fragment),
        }
    }

    /// A later fragment of a connection: its addresses are changed as those of the
    /// first one were.
    fn pass_on<A: Net, I: Io<Frame = F>>(
        &mut self,
        turn: (&Snapshot, &Egress, &Head, Now),
        mut frame: F,
        conn: Handle,
        io: &mut I,
    ) {
        let (snap, from, head, now) = turn;
        let dir = conn.dir();
        if !snap.guard.limits.is_empty() && !self.fragment_passes(snap, conn, head.octets(), now) {
            return self.stats.discarded(A::V6, Reason::RateLimit);
        }
        if A::entry(&self.conns, conn).is_direct() {
            if dir == Dir::Out {
                return self.deliver(snap, from, frame, head, now, io);
            }
            let entry = A::entry_mut(&mut self.conns, conn);
            entry.seen = now.millis() as u32;
            entry.count(dir, head.octets());
            self.dests[entry.dest as usize].count(dir, head.octets().into());
            self.stats.conn_hits += 1;
            return self.xmit_whole::<A, I>(snap, from, frame, head, conn, now, io);
        }
        let way = match self.conn_way::<A>(snap, conn) {
            Ok(way) => way,
            Err(reason) => return self.drop(reason),
        };
        let entry = A::entry_mut(&mut self.conns, conn);
        entry.seen = now.millis() as u32;
        entry.count(dir, head.octets());
        let entry = *entry;
        self.dests[entry.dest as usize].count(dir, head.octets().into());
        self.stats.conn_hits += 1;
        if snap.settings.xmit_ttl && !decrement_ttl(frame.data_mut()) {
            return self.time_exceeded(snap, from, frame, now, io);
        }
        let (room, pieces) = nat64::room_for(&entry, dir, frame.data(), head, &way);
        let large = head.ip_len > room;
        if large && !pieces {
            return self.too_big(snap, from, frame, room, now, io);
        }
        let [dst, src] = entry.addrs[1 - dir as usize];
        let l3 = dpvs_wire::checksum::Delta::from_bits(entry.l3_delta);
        let l3 = if dir == Dir::In { l3 } else { l3.inverse() };
        A::set_addrs(frame.data_mut(), src, dst, l3);
        self.send_rewritten::<A, I>(snap, frame, &way, large, now, io);
    }

    /// Gives up fragments that waited too long.
    #[cold]
    #[inline(never)]
    pub(crate) fn expire_fragments(&mut self, now: Now) {
        if let Some(tracker) = &mut self.frags {
            tracker.expire(now.millis());
            self.stats.drops[Reason::FragmentLost as usize] += std::mem::take(&mut tracker.lost);
        }
    }
}
