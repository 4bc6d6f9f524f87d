//! Packets without a connection: dropped, passed on, handed to another worker, or
//! the first of a flow (DPVS facts §9, §10).
//!
//! Who gets it, who makes room for it, what is known of it. Local address and port
//! are what the other one chose; here is looked whether it was free to.

use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::message::ConnTuple;
use dpvs_core::service::{Dest, FwdMode, Service, ServiceKey};
use dpvs_core::stats::Reason;

use super::config::Owner;
use super::flow::Conn;
use super::sched::{Place, Use};
use super::tcp::{ACK, FIN, RST, SYN};
use super::wire::{self, Ip, TCP, UDP};
use super::{Director, Other, Way};

/// What becomes of one.
pub(super) enum Admitted {
    Conn(u64),
    Pass,
    Drop(Reason),
    Hand(u8),
}

impl Director {
    /// What becomes of a packet without a connection.
    pub(super) fn admit(
        &mut self,
        port: u16,
        frame: &[u8],
        ip: &Ip,
        tuple: &ConnTuple,
        o: &mut dyn Other,
    ) -> Admitted {
        let key = ServiceKey {
            proto: ip.proto,
            addr: ip.dst,
            port: tuple.dport,
        };
        let may_start = ip.proto == UDP || frame[ip.l4 + 13] & (SYN | ACK | FIN | RST) == SYN;
        let service = self.config.services.get(&key).cloned();
        let Some(service) = service.filter(|_| may_start) else {
            if let Some(worker) = self.owner_of(ip.dst, tuple.dport) {
                return Admitted::Hand(worker);
            }
            let s = &self.config.settings;
            let has = |proto| {
                let mut keys = self.config.services.keys();
                keys.any(|k| k.addr == ip.dst && k.proto == proto)
            };
            if ip.proto == TCP && !may_start && s.defence_tcp_drop && has(TCP) {
                return Admitted::Drop(Reason::DefenceTcp);
            }
            if ip.proto == UDP && s.defence_udp_drop && has(TCP) && !has(UDP) {
                return Admitted::Drop(Reason::DefenceUdp);
            }
            return Admitted::Pass;
        };
        let bad = match ip.src {
            IpAddr::V4(a) => {
                a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast()
            }
            IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast(),
        };
        if bad {
            return Admitted::Drop(Reason::BadAddress);
        }
        match self.create(port, frame, tuple, &service, o) {
            Ok(id) => Admitted::Conn(id),
            Err(reason) => Admitted::Drop(reason),
        }
    }

    /// The other worker a local port belongs to: its low bits say.
    pub(super) fn owner_of(&self, laddr: IpAddr, port: u16) -> Option<u8> {
        let pool = matches!(
            self.config.owner(laddr),
            Some(Owner::Us { sapool: true, .. })
        );
        let slice = port & (u16::from(self.workers).next_power_of_two() - 1);
        (self.workers > 1 && pool && slice < u16::from(self.workers) && slice != u16::from(self.me))
            .then_some(slice as u8)
    }

    fn share(&self, dest: &Dest) -> u64 {
        let (me, n) = (u32::from(self.me), u32::from(self.workers));
        match dest.max_conn {
            0 => u64::MAX,
            max => u64::from(max / n + u32::from(me < max % n)),
        }
    }

    fn schedule(&mut self, service: &Arc<Service>) -> Result<Dest, Reason> {
        let (me, n) = (usize::from(self.me), usize::from(self.workers));
        let fresh = || {
            (
                service.uid,
                service.version,
                Place::new(&service.dests, me, n),
            )
        };
        let mut place = self.places.remove(&service.id.0).unwrap_or_else(fresh);
        if (place.0, place.1) != (service.uid, service.version) {
            place = fresh();
        }
        let picked = place.2.pick(service.sched, &service.dests, |d| {
            let c = self.dests.get(&d.id).copied().unwrap_or_default();
            let (active, inactive) = (u64::from(c.active), u64::from(c.inactive));
            Use {
                active,
                inactive,
                full: active + inactive >= self.share(d),
            }
        });
        self.places.insert(service.id.0, place);
        match picked {
            Some(i) => Ok(service.dests[i]),
            None if service.dests.iter().any(Dest::usable) => Err(Reason::Overload),
            None => Err(Reason::NoDest),
        }
    }

    fn create(
        &mut self,
        port: u16,
        frame: &[u8],
        tuple: &ConnTuple,
        service: &Arc<Service>,
        o: &mut dyn Other,
    ) -> Result<u64, Reason> {
        let dest = self.schedule(service)?;
        if dest.mode != FwdMode::FullNat {
            return Err(Reason::ModeUnsupported);
        }
        // Between the families, and no local address of the server's here.
        if dest.addr.is_ipv4() != tuple.dst.is_ipv4() {
            return Err(Reason::NoLaddr);
        }
        let v4 = tuple.dst.is_ipv4();
        let local: Vec<_> = service.laddrs.iter().map(|l| l.addr).collect();
        let local: Vec<_> = local
            .into_iter()
            .filter(|a| a.is_ipv4() == v4 && self.is_pool(*a))
            .collect();
        if local.is_empty() {
            return Err(Reason::NoLaddr);
        }
        self.make_room(v4, o)?;
        // The other one chose a local address and port: look what and whether it
        // was free to.
        let (laddr, lport) = self.chosen(&dest, tuple, o);
        assert!(
            local.contains(&laddr),
            "{}: {laddr} is no local address of the service",
            self.at
        );
        let slice = lport & (u16::from(self.workers).next_power_of_two() - 1);
        assert!(
            lport > 1024 && slice == u16::from(self.me),
            "{}: {lport}",
            self.at
        );
        let settings = &self.config.settings;
        let mac: [u8; 6] = frame[6..12].try_into().unwrap();
        let one_station = mac[0] & 1 == 0 && mac != [0; 6];
        let conn = Conn {
            proto: tuple.proto,
            client: (tuple.src, tuple.sport),
            vip: (tuple.dst, tuple.dport),
            laddr: (laddr, lport),
            server: (dest.addr, dest.port),
            dest: dest.id,
            state: 0,
            timeout: u64::from(settings.timeouts.conn_init) * 1000,
            seen: self.millis(),
            conn_timeout: service.conn_timeout,
            quiescent: service.expire_quiescent,
            shift: None,
            client_isn: 0,
            fdata: None,
            said: None,
            answered: false,
            back: (settings.fast_xmit && one_station).then_some((port, mac)),
        };
        let id = self.next_id;
        self.next_id += 1;
        for from_server in [false, true] {
            let old = self
                .by_tuple
                .insert(conn.tuple(from_server), (id, from_server));
            assert!(old.is_none(), "{}: {laddr} {lport} is in use", self.at);
        }
        self.conns.insert(id, conn);
        let counters = self.dests.entry(dest.id).or_default();
        counters.conns += 1;
        counters.inactive += 1;
        self.books.made += 1;
        Ok(id)
    }

    /// Are the ports of an address given to connections?
    fn is_pool(&self, addr: IpAddr) -> bool {
        matches!(
            self.config.owner(addr),
            Some(Owner::Us { sapool: true, .. })
        )
    }

    /// In a full table the oldest connection nobody has answered ends.
    fn make_room(&mut self, v4: bool, o: &mut dyn Other) -> Result<(), Reason> {
        let family = |c: &Conn| c.vip.0.is_ipv4() == v4;
        let all = self.conns.iter().filter(|(_, c)| family(c));
        if all.clone().count() < self.room {
            return Ok(());
        }
        let oldest = all.filter(|(_, c)| !c.answered).map(|(id, _)| *id).min();
        let oldest = oldest.ok_or(Reason::ConnTableFull)?;
        self.books.evicted += 1;
        self.end(oldest, o);
        Ok(())
    }

    /// Local address and port of a new connection: from the listing, or, when it
    /// has made room for another since, from the frame that was sent.
    fn chosen(&self, dest: &Dest, tuple: &ConnTuple, o: &mut dyn Other) -> (IpAddr, u16) {
        if let Some(info) = o.conn(tuple) {
            assert_eq!(info.dest, (dest.addr, dest.port), "{}: server", self.at);
            return info.laddr;
        }
        let sent = match self.way(dest.addr) {
            Ok(Way::Mac { port, .. }) => o.peek(super::To::Wire(port)),
            _ => None,
        };
        let Some(sent) = sent else {
            panic!("{}: no connection for {tuple:?}", self.at);
        };
        let mac = sent[..6].try_into().unwrap();
        match wire::look(sent, mac) {
            wire::Seen::Ip(ip) if ip.dst == dest.addr => (ip.src, ip.ports.unwrap().0),
            _ => panic!("{}: no connection for {tuple:?}", self.at),
        }
    }
}
