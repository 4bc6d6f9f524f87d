//! Neighbours (DPVS facts §21): who is known, who is asked, what waits.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use dpvs_core::message::NeighState;
use dpvs_core::stats::Reason;

use super::wire;
use super::{Director, Draft, Other, To};

#[derive(Clone, Debug)]
pub struct Neighbour {
    pub mac: Option<[u8; 6]>,
    pub state: NeighState,
    pub permanent: bool,
    /// Milliseconds at which the state ends; at which to ask again.
    until: u64,
    ask: u64,
    src: Option<IpAddr>,
    pub queue: VecDeque<Draft>,
}

impl Director {
    /// A frame waits for its neighbour, who is asked.
    pub(super) fn wait(
        &mut self,
        port: u16,
        next_hop: IpAddr,
        src: Option<IpAddr>,
        draft: Draft,
        o: &mut dyn Other,
    ) {
        let now = self.now / 1000;
        let limit = self.config.settings.unres_queue;
        let n = self
            .neighs
            .entry((port, next_hop))
            .or_insert_with(|| Neighbour {
                mac: None,
                state: NeighState::None,
                permanent: false,
                until: 0,
                ask: u64::MAX,
                src: None,
                queue: VecDeque::new(),
            });
        n.src = src.or(n.src);
        if n.queue.len() > limit {
            return self.books.drop(Reason::NeighUnresolved);
        }
        n.queue.push_back(draft);
        if n.state == NeighState::None {
            n.state = NeighState::Send;
            n.until = now + 3000;
            n.ask = now + 1000;
            if self.no_buffers {
                return self.books.drop(Reason::NoBuffer);
            }
            let question = self.question(port, next_hop);
            if draft_is_reset(&self.neighs[&(port, next_hop)]) {
                let found = o.find(To::Wire(port), &mut |f| f == question);
                assert!(found.is_some(), "{}: not asked for {next_hop}", self.at);
            } else {
                self.expect(To::Wire(port), &question, o);
            }
        }
    }

    /// The question for a neighbour's MAC address.
    fn question(&self, port: u16, target: IpAddr) -> Vec<u8> {
        let own = self.config.ports[usize::from(port)].mac;
        let src = self.neighs[&(port, target)]
            .src
            .filter(|s| s.is_ipv4() == target.is_ipv4())
            .or_else(|| self.source_for(port, target));
        match target {
            IpAddr::V4(_) => {
                let src = src.unwrap_or(IpAddr::from([0, 0, 0, 0]));
                super::local::arp_request(own, src, target)
            }
            IpAddr::V6(target) => {
                let src = match src {
                    Some(IpAddr::V6(src)) => src,
                    _ => super::local::link_local(own),
                };
                let group = super::local::solicited(target);
                let mut mac = vec![0x33, 0x33];
                mac.extend(&group.octets()[12..]);
                super::local::nd(&mac, own, src, group, 135, 0, target, 1)
            }
        }
    }

    /// Somebody's MAC address is known. True if that is news.
    pub fn learn(
        &mut self,
        port: u16,
        addr: IpAddr,
        mac: [u8; 6],
        permanent: bool,
        o: &mut dyn Other,
    ) -> bool {
        let now = self.now / 1000;
        let known = self.neighs.get(&(port, addr));
        if known.is_some_and(|n| n.permanent) && !permanent {
            return false;
        }
        let news = known.is_none_or(|n| n.mac != Some(mac));
        let secs = u64::from(self.config.settings.neigh_timeout.max(1));
        let old = self.neighs.remove(&(port, addr));
        let queue = old.as_ref().map_or(VecDeque::new(), |n| n.queue.clone());
        let permanent = permanent || old.as_ref().is_some_and(|n| n.permanent);
        let n = Neighbour {
            mac: Some(mac),
            state: NeighState::Reachable,
            permanent,
            until: if permanent {
                u64::MAX
            } else {
                now + secs * 1000
            },
            ask: u64::MAX,
            src: old.and_then(|n| n.src),
            queue: VecDeque::new(),
        };
        self.neighs.insert((port, addr), n);
        let (resets, others): (Vec<_>, Vec<_>) = queue.into_iter().partition(|d| d.reset);
        for draft in resets {
            self.find_reset(port, mac, &draft, o);
        }
        for draft in others {
            self.emit(port, mac, &draft, o);
        }
        news
    }

    /// A reset made at expiry must be among what was sent.
    pub(super) fn find_reset(&mut self, port: u16, mac: [u8; 6], draft: &Draft, o: &mut dyn Other) {
        let mut want = draft.bytes(0);
        want[..6].copy_from_slice(&mac);
        want[6..12].copy_from_slice(&self.config.ports[usize::from(port)].mac);
        let found = o.find(To::Wire(port), &mut |f| f == want);
        assert!(
            found.is_some(),
            "{}\nno reset {}",
            self.at,
            super::hex(&want)
        );
    }

    /// As `learn`, from a packet: the master hears of news and of answers.
    pub(super) fn hear(
        &mut self,
        port: u16,
        addr: IpAddr,
        mac: [u8; 6],
        answer: bool,
        o: &mut dyn Other,
    ) {
        let now = self.now / 1000;
        if self.learn(port, addr, mac, false, o) || answer {
            if self.tellings.0 != now {
                self.tellings = (now, 0);
            }
            self.tellings.1 += 1;
            // Nobody else is there to be told, or there was enough to tell.
            if self.workers == 1 || self.tellings.1 > 16 {
                return;
            }
            self.told.push(format!("{port} {addr} {mac:?}"));
        }
    }

    /// Somebody else speaks as if he had an address of ours (RFC 4862 §5.4).
    pub(super) fn object(&mut self, port: u16, addr: IpAddr, from: [u8; 6]) {
        if from == self.config.ports[usize::from(port)].mac {
            return;
        }
        let second = self.now / 1_000_000;
        if self.objections.0 != second {
            self.objections = (second, 0);
        }
        self.objections.1 += 1;
        if self.objections.1 <= 64 {
            self.told.push(format!("{port} {addr} twice"));
        }
    }

    /// A neighbour is deleted.
    pub fn unlearn(&mut self, port: u16, addr: IpAddr) {
        if let Some(n) = self.neighs.remove(&(port, addr)) {
            self.books
                .drop_n(Reason::NeighUnresolved, n.queue.len() as u64);
        }
    }

    /// Timers ran: whose time was up may have changed, and must have after `slack`
    /// milliseconds more.
    pub fn ticked(&mut self, slack: u64, o: &mut dyn Other) {
        let now = self.now / 1000;
        let mut resets = Vec::new();
        for id in self.due(0) {
            let tuple = self.conns[&id].tuple(false);
            if o.conn(&tuple).is_none() {
                resets.extend(self.forget(id));
            }
        }
        for (_, draft, way) in resets {
            match way {
                Ok(super::Way::Mac { port, mac, .. }) => self.find_reset(port, mac, &draft, o),
                Ok(way) => self.send(draft, way, o),
                Err(reason) => self.books.drop(reason),
            }
        }
        let late = self.due(slack);
        assert!(
            late.is_empty(),
            "{}: should have ended: {:?}",
            self.at,
            self.conns[&late[0]]
        );
        let listed = o.neighbours();
        for (port, addr) in self.neighs.keys().copied().collect::<Vec<_>>() {
            let there = listed.iter().find(|l| l.port.0 == port && l.addr == addr);
            let n = self.neighs.get_mut(&(port, addr)).unwrap();
            let up = n.until <= now;
            match there {
                None => {
                    // One that only told of itself goes without being asked again.
                    assert!(up, "{}: {addr} gone", self.at);
                    self.unlearn(port, addr);
                    continue;
                }
                Some(l) if l.state == NeighState::Probe && n.state == NeighState::Reachable => {
                    assert!(up, "{}: {addr} is probed early", self.at);
                    n.state = NeighState::Probe;
                    n.until = now + 30_000;
                    n.ask = now;
                }
                Some(_) => assert!(
                    n.until.saturating_add(slack) > now,
                    "{}: {addr} is forgotten late",
                    self.at
                ),
            }
            let l = there.unwrap();
            assert_eq!(
                (l.mac, l.state, l.permanent, l.queued as usize),
                (n.mac.unwrap_or([0; 6]), n.state, n.permanent, n.queue.len()),
                "{}: {addr}",
                self.at
            );
        }
        assert_eq!(listed.len(), self.neighs.len(), "{}: neighbours", self.at);
        for (port, addr) in self.neighs.keys().copied().collect::<Vec<_>>() {
            let n = &self.neighs[&(port, addr)];
            if n.ask > now {
                continue;
            }
            let late = n.ask + slack <= now;
            let question = self.question(port, addr);
            if o.find(To::Wire(port), &mut |f| f == question).is_some() {
                self.neighs.get_mut(&(port, addr)).unwrap().ask = now + 1000;
            } else {
                assert!(!late, "{}: {addr} is not asked for", self.at);
            }
        }
    }
}

fn draft_is_reset(n: &Neighbour) -> bool {
    n.queue.back().is_some_and(|d| d.reset)
}

impl Director {
    /// An own address is announced.
    pub fn announce(&mut self, port: u16, addr: IpAddr, o: &mut dyn Other) {
        let own = self.config.ports[usize::from(port)].mac;
        let frame = match addr {
            IpAddr::V4(_) => super::local::arp_request(own, addr, addr),
            IpAddr::V6(a) => {
                let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                let mac = [0x33, 0x33, 0, 0, 0, 1];
                super::local::nd(&mac, own, a, all, 136, 0x2000_0000, a, 2)
            }
        };
        if self.no_buffers {
            return self.books.drop(Reason::NoBuffer);
        }
        debug_assert!(frame.len() >= wire::ETH);
        self.expect(To::Wire(port), &frame, o);
    }
}
