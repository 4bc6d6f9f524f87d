//! Messages of a master: neighbours, questions, and a configuration that keeps
//! the master's promises (ids are given again only when they are free).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::message::{ConnTuple, Query, ToWorker};
use dpvs_core::service::{Dest, DestId, SchedKind, Service, ServiceId, TCP, UDP};
use dpvs_core::snapshot::{Port, Settings, Snapshot};

use super::support;
use crate::input::Input;

const PEERS: [&str; 8] = [
    "10.0.1.11",
    "10.0.1.12",
    "2001:db8:2::11",
    "2001:db8:2::12",
    "192.0.2.99",
    "2001:db8:1::99",
    "192.0.2.10",
    "2001:db8:1::10",
];

fn peer(input: &mut Input<'_>) -> IpAddr {
    support::ip(input.pick(&PEERS))
}

/// The servers and the clients next to us.
pub(crate) fn known() -> impl Iterator<Item = ToWorker> {
    PEERS
        .iter()
        .take(6)
        .enumerate()
        .map(|(n, addr)| ToWorker::NeighAdd {
            port: PortId(u16::from(n < 4)),
            addr: support::ip(addr),
            mac: support::RS_MAC,
        })
}

pub(crate) fn neighbour(input: &mut Input<'_>) -> ToWorker {
    let port = PortId(input.pick(&[0, 1, 1, 2]));
    let (addr, mac) = (peer(input), [2, 0, 0, 0, 0, input.byte()]);
    match input.byte() % 4 {
        0 | 1 => ToWorker::NeighAdd { port, addr, mac },
        2 => ToWorker::NeighLearn { port, addr, mac },
        _ => ToWorker::NeighDel { port, addr },
    }
}

pub(crate) fn other(input: &mut Input<'_>, dests: u32) -> ToWorker {
    match input.byte() % 3 {
        0 => ToWorker::Announce {
            port: PortId(input.pick(&[0, 1, 2])),
            addr: peer(input),
        },
        1 => ToWorker::Zero { dests: Vec::new() },
        _ => ToWorker::Zero {
            dests: (0..dests + 2).map(DestId).collect(),
        },
    }
}

pub(crate) fn query(input: &mut Input<'_>) -> Query {
    match input.byte() % 4 {
        0 => Query::Dests(vec![DestId(input.long()), DestId(0)]),
        1 => Query::Conns {
            cursor: input.long(),
            max: input.long(),
        },
        2 => Query::Laddrs,
        _ => Query::ConnFind(ConnTuple {
            proto: input.byte(),
            src: peer(input),
            sport: input.word(),
            dst: peer(input),
            dport: input.word(),
        }),
    }
}

/// The configuration, and what the workers still use of former ones.
pub(crate) struct Plan {
    services: Vec<Service>,
    settings: Settings,
    mtu: [u16; 2],
    host: [bool; 2],
    copies: bool,
    epoch: u64,
    uid: u64,
    next_dest: u32,
    removed: Vec<DestId>,
    /// Removed servers and which workers do not use them any more.
    draining: BTreeMap<u32, BTreeSet<usize>>,
    free: Vec<u32>,
    ports: Option<Arc<[Port]>>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        let mut plan = Self {
            services: Vec::new(),
            settings: Settings::default(),
            mtu: [1500; 2],
            host: [true; 2],
            copies: false,
            epoch: 1,
            uid: 0,
            next_dest: 0,
            removed: Vec::new(),
            draining: BTreeMap::new(),
            free: Vec::new(),
            ports: None,
        };
        for n in 0..4 {
            plan.add(n);
        }
        plan
    }

    /// Servers there ever were.
    pub(crate) fn dests(&self) -> u32 {
        self.next_dest
    }

    pub(crate) fn drained(&mut self, worker: usize, dest: DestId) {
        let Some(who) = self.draining.get_mut(&dest.0) else {
            panic!("{dest:?} was not removed, or is drained twice");
        };
        assert!(who.insert(worker), "{dest:?} drained twice by one worker");
        if who.len() == 2 {
            self.draining.remove(&dest.0);
            self.free.push(dest.0);
        }
    }

    fn dest_id(&mut self) -> DestId {
        DestId(self.free.pop().unwrap_or_else(|| {
            self.next_dest += 1;
            self.next_dest - 1
        }))
    }

    /// The n-th of four services, if it is not there.
    fn add(&mut self, n: usize) {
        let (proto, vip, port) = [
            (TCP, "192.0.2.10", 80),
            (UDP, "192.0.2.10", 53),
            (TCP, "2001:db8:1::10", 80),
            (UDP, "2001:db8:1::10", 53),
        ][n];
        if self.services.iter().any(|s| s.id.0 == n as u32) {
            return;
        }
        let mut service = support::service(proto, vip, port, 2, 8080);
        let dests: Vec<Dest> = service
            .dests
            .iter()
            .map(|d| Dest {
                id: self.dest_id(),
                ..*d
            })
            .collect();
        service.dests = dests.into();
        self.uid += 1;
        service.id = ServiceId(n as u32);
        service.uid = self.uid;
        self.services.push(service);
    }

    /// Changes one thing.
    pub(crate) fn change(&mut self, input: &mut Input<'_>) {
        let n = input.below(4);
        let what = input.byte() % 16;
        match what {
            0 | 1 => self.add(n),
            2 => {
                let gone = self.services.iter().position(|s| s.id.0 == n as u32);
                if let Some(at) = gone {
                    let service = self.services.remove(at);
                    self.removed.extend(service.dests.iter().map(|d| d.id));
                }
            }
            3..=9 => self.edit(n, input),
            10 => {
                let s = &mut self.settings;
                let bits = input.byte();
                s.forward4 = bits & 1 != 0;
                s.forward6 = bits & 2 != 0;
                s.ipv6_off = bits & 0x84 == 0x84;
                s.xmit_ttl = bits & 8 != 0;
                s.fast_xmit = bits & 16 == 0;
                s.defence_udp_drop = bits & 32 != 0;
                s.defence_tcp_drop = bits & 64 != 0;
            }
            11 => self.settings.unres_queue = input.below(3),
            12 => self.mtu[n & 1] = input.pick(&[1500, 1280, 576, 68, 20, 9000]),
            13 => self.host[n & 1] = input.byte() & 1 == 0,
            14 => self.copies = input.byte() & 1 == 0,
            _ => self.settings.neigh_timeout = input.pick(&[0, 1, 60]),
        }
        if (12..=14).contains(&what) {
            self.ports = None;
        }
    }

    fn edit(&mut self, n: usize, input: &mut Input<'_>) {
        let Some(at) = self.services.iter().position(|s| s.id.0 == n as u32) else {
            return;
        };
        let what = input.byte();
        let new = what.is_multiple_of(8).then(|| self.dest_id());
        let service = &mut self.services[at];
        service.version += 1;
        let mut dests = service.dests.to_vec();
        match what % 8 {
            0 => {
                let mut dest = dests.first().copied().unwrap_or(Dest {
                    id: DestId(0),
                    ..support::service(TCP, "192.0.2.10", 80, 1, 80).dests[0]
                });
                dest.addr = if service.key.addr.is_ipv4() {
                    support::ip("10.0.1.13")
                } else {
                    support::ip("2001:db8:2::13")
                };
                dest.port = 9000 + u16::from(input.byte());
                dest.id = new.unwrap_or(dest.id);
                dests.push(dest);
            }
            1 if !dests.is_empty() => {
                let gone = dests.remove(input.below(dests.len()));
                self.removed.push(gone.id);
            }
            2 => service.sched = input.pick(&[SchedKind::Rr, SchedKind::Wrr, SchedKind::Wlc]),
            3 => service.expire_quiescent = input.byte() & 1 == 0,
            4 => service.conn_timeout = input.pick(&[0, 1, 10, 300]),
            5 => {
                for d in &mut dests {
                    d.max_conn = input.pick(&[0, 1, 2, 3]);
                }
            }
            _ => {
                for d in &mut dests {
                    d.weight = input.pick(&[0, 1, 2, 100, u16::MAX]);
                    d.inhibited = input.byte() & 7 == 0;
                }
            }
        }
        service.dests = dests.into();
    }

    /// The next configuration, and the servers it leaves out.
    pub(crate) fn publish(&mut self) -> (Arc<Snapshot>, Vec<DestId>) {
        let mut snapshot = support::snapshot(self.services.clone());
        self.epoch += 1;
        snapshot.epoch = self.epoch;
        snapshot.settings = Arc::new(self.settings.clone());
        let mut ports = snapshot.ports.to_vec();
        for (n, port) in ports.iter_mut().enumerate() {
            port.mtu = self.mtu[n];
            port.has_host = self.host[n];
            port.forward2kni = self.copies && n == 0;
        }
        snapshot.ports = self.ports.get_or_insert_with(|| ports.into()).clone();
        let removed = std::mem::take(&mut self.removed);
        for dest in &removed {
            self.draining.insert(dest.0, BTreeSet::new());
        }
        (Arc::new(snapshot), removed)
    }
}
