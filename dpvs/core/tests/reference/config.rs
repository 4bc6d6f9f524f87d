//! What a director is told, and the same as the snapshot the other one gets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::service::{DestId, Service, ServiceKey};
use dpvs_core::snapshot::{Local, Locals, Port, Settings, Snapshot};

/// Devices, routes, services and settings.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub ports: Vec<Port>,
    /// Routes beside those of the addresses.
    pub routes: Vec<Route>,
    pub host_routes: Vec<(IpAddr, u16)>,
    pub services: BTreeMap<ServiceKey, Arc<Service>>,
    pub settings: Settings,
}

/// Whom an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Us { port: u16, sapool: bool },
    Kernel(u16),
}

impl Config {
    pub fn owner(&self, addr: IpAddr) -> Option<Owner> {
        if let Some((_, port)) = self.host_routes.iter().find(|(a, _)| *a == addr) {
            return Some(Owner::Kernel(*port));
        }
        self.ports.iter().enumerate().find_map(|(port, p)| {
            p.addrs.iter().find(|a| a.addr == addr).map(|a| Owner::Us {
                port: port as u16,
                sapool: a.sapool,
            })
        })
    }

    /// Servers there are.
    pub fn dests(&self) -> Vec<DestId> {
        self.services
            .values()
            .flat_map(|s| s.dests.iter().map(|d| d.id))
            .collect()
    }

    /// Is a server there, and may it be used.
    pub fn usable(&self, dest: DestId) -> bool {
        self.services
            .values()
            .flat_map(|s| s.dests.iter())
            .any(|d| d.id == dest && d.weight > 0 && !d.inhibited)
    }

    /// The snapshot; of the last one is shared what did not change.
    pub fn snapshot(&self, last: Option<(&Config, &Snapshot)>) -> Snapshot {
        let mut snap = last.map_or_else(Snapshot::default, |(_, s)| s.clone());
        snap.epoch += 1;
        let same = |f: fn(&Config) -> String| last.is_some_and(|(c, _)| f(c) == f(self));
        if !same(|c| format!("{:?}", c.ports)) {
            snap.ports = self.ports.clone().into();
        }
        if !same(|c| format!("{:?} {:?}", c.ports, c.host_routes)) {
            let mut locals = Locals::default();
            for (i, p) in self.ports.iter().enumerate() {
                for a in &p.addrs {
                    let own = Local::Own {
                        port: PortId(i as u16),
                        sapool: a.sapool,
                    };
                    locals.insert(a.addr, own);
                }
            }
            for (addr, port) in &self.host_routes {
                locals.insert(
                    *addr,
                    Local::Host {
                        port: PortId(*port),
                    },
                );
            }
            snap.locals = locals;
        }
        if !same(|c| format!("{:?}", c.routes)) {
            snap.fib = Arc::new(Fib::new(&self.routes));
        }
        if !same(|c| format!("{:?}", c.settings)) {
            snap.settings = Arc::new(self.settings.clone());
        }
        let old: Vec<_> = snap.services.iter().map(|s| s.key).collect();
        for key in old {
            if !self.services.contains_key(&key) {
                snap.services.remove(&key);
            }
        }
        for (key, service) in &self.services {
            if !snap
                .services
                .get(key)
                .is_some_and(|s| Arc::ptr_eq(s, service))
            {
                snap.services.insert(Arc::clone(service));
            }
        }
        snap
    }
}

/// Is an address within a prefix.
pub fn covers(prefix: IpAddr, plen: u8, addr: IpAddr) -> bool {
    let bits = |a: IpAddr| -> Vec<bool> {
        super::wire::octets(a)
            .iter()
            .flat_map(|b| (0..8).rev().map(move |i| b >> i & 1 != 0))
            .collect()
    };
    prefix.is_ipv4() == addr.is_ipv4()
        && bits(prefix)
            .iter()
            .zip(bits(addr))
            .take(usize::from(plen))
            .all(|(a, b)| *a == b)
}
