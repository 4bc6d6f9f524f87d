//! From the model to the next snapshot, and who is at which epoch.
//!
//! A snapshot shares with the one before whatever did not change. The ids of
//! removed servers come back only when every worker says it has drained them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::inet::tunnel::Tunnels;
use dpvs_core::service::DestId;
use dpvs_core::services::ServiceTable;
use dpvs_core::snapshot::{Local, Locals, Port, PortAddr, Settings, Snapshot};
use dpvs_ctl::msg::ifa_flag;

use super::netif::Netif;
use super::state::State;
use super::state::link::Link;
use super::state::route::Kind;
use super::state::service::Change;

/// Builds snapshots and follows the workers.
#[derive(Debug)]
pub(crate) struct Publisher {
    current: Snapshot,
    /// Epoch of each worker.
    epochs: Vec<u64>,
    /// How many workers may still have connections to a removed server, by its
    /// number.
    draining: Vec<u16>,
    /// What the routes in force were made of.
    routes: Vec<Route>,
    settings: Option<Arc<Settings>>,
}

impl Publisher {
    pub(crate) fn new(workers: usize) -> Publisher {
        Publisher {
            current: Snapshot {
                services: ServiceTable::keyed(random()),
                locals: Locals::keyed(random()),
                ..Snapshot::default()
            },
            epochs: vec![0; workers],
            draining: Vec::new(),
            routes: Vec::new(),
            settings: None,
        }
    }

    /// New time-outs and switches, published with the next snapshot.
    pub(crate) fn set_settings(&mut self, settings: Settings) {
        self.settings = Some(Arc::new(settings));
    }

    /// The settings that will be in force with the next snapshot.
    pub(crate) fn settings(&self) -> &Settings {
        self.settings.as_deref().unwrap_or(&self.current.settings)
    }

    /// The epoch a change made now will be published in.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.current.epoch + 1
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.current.epoch
    }

    /// The snapshot in force.
    pub(crate) fn current(&self) -> &Snapshot {
        &self.current
    }

    /// Whether every worker forwards by `epoch` or a later one.
    pub(crate) fn reached(&self, epoch: u64) -> bool {
        self.epochs.iter().all(|e| *e >= epoch)
    }

    /// The epoch every worker has reached.
    pub(crate) fn lowest(&self) -> u64 {
        self.epochs.iter().copied().min().unwrap_or(u64::MAX)
    }

    pub(crate) fn installed(&mut self, worker: WorkerId, epoch: u64) {
        if let Some(at) = self.epochs.get_mut(usize::from(worker.0)) {
            *at = epoch.max(*at);
        }
    }

    /// A worker has no connection to a removed server, which it says once.
    /// Returns true when that was the last worker.
    pub(crate) fn drained(&mut self, dest: DestId) -> bool {
        match self.draining.get_mut(dest.0 as usize) {
            Some(left @ 1..) => {
                *left -= 1;
                if *left == 0 {
                    self.current.services.drained(dest);
                }
                *left == 0
            }
            _ => false,
        }
    }

    /// The next snapshot and the servers that left with it, if anything changed.
    pub(crate) fn next(
        &mut self,
        state: &mut State,
        netif: &mut dyn Netif,
    ) -> Option<(Arc<Snapshot>, Vec<DestId>)> {
        if !state.is_changed() && self.settings.is_none() {
            return None;
        }
        self.current.epoch += 1;
        if let Some(settings) = self.settings.take() {
            self.current.settings = settings;
        }
        if std::mem::take(&mut state.net_changed) {
            self.network(state, netif);
            let links = &state.links;
            state.services.resolve(|name| links.find(name.bytes()));
            state.tcs.resolve(|name| links.find(name.bytes()));
        }
        if let Some(guard) = state.guards.take_changes() {
            self.current.guard = guard;
        }
        if let Some(tc) = state.tcs.take_changes() {
            self.current.tc = Arc::new(tc);
        }
        let (changes, removed) = state.services.take_changes();
        for change in changes {
            match change {
                Change::Put(service) => self.current.services.insert(service),
                Change::Gone(key) => {
                    self.current.services.remove(&key);
                }
            }
        }
        let workers = u16::try_from(self.epochs.len()).unwrap_or(u16::MAX);
        for id in &removed {
            let at = id.0 as usize;
            if at >= self.draining.len() {
                self.draining.resize(at + 1, 0);
            }
            self.draining[at] = workers;
        }
        Some((Arc::new(self.current.clone()), removed))
    }

    fn network(&mut self, state: &State, netif: &mut dyn Netif) {
        let hole = Link::default();
        self.current.ports = state
            .links
            .numbers()
            .map(|id| (id, state.links.get(id)))
            .map(|(id, link)| match link {
                Some(link) => (id, link),
                None => (id, &hole),
            })
            .map(|(id, link)| Port {
                vlans: vlans(state, id),
                vlan: state.links.tag(id),
                tunnel: state.links.tunnel(id).cloned(),
                name: link.name.clone(),
                mac: link.mac,
                mtu: link.mtu,
                has_host: link.has_host,
                forward2kni: link.forward2kni,
                addrs: state
                    .addrs
                    .on(id)
                    .map(|a| PortAddr {
                        addr: a.ip,
                        plen: a.plen,
                        sapool: a.flags & ifa_flag::SAPOOL != 0,
                    })
                    .collect(),
                deprecated: state
                    .addrs
                    .on(id)
                    .filter(|a| a.deprecated)
                    .map(|a| a.ip)
                    .collect(),
            })
            .collect();
        let tunnel = |id| Some((id, &**state.links.tunnel(id)?));
        self.current.tunnels = Arc::new(Tunnels::new(state.links.ids().filter_map(tunnel)));
        let mut locals: HashMap<IpAddr, Local> = HashMap::new();
        for route in state.routes.iter() {
            match route.kind {
                Kind::Local => {
                    locals.entry(route.dst).or_insert(Local::Own {
                        port: route.port,
                        sapool: false,
                    });
                }
                Kind::Host => {
                    locals
                        .entry(route.dst)
                        .or_insert(Local::Host { port: route.port });
                }
                Kind::Forward => {}
            }
        }
        // An address is ours even where its route was removed, and of two
        // devices with the same address the first has it.
        for addr in state.addrs.iter() {
            let sapool = addr.flags & ifa_flag::SAPOOL != 0;
            match locals.get_mut(&addr.ip) {
                Some(Local::Own {
                    port,
                    sapool: known,
                }) if *port == addr.port => *known |= sapool,
                Some(Local::Own { .. }) => {}
                _ => {
                    locals.insert(
                        addr.ip,
                        Local::Own {
                            port: addr.port,
                            sapool,
                        },
                    );
                }
            }
        }
        // A rule of the NIC would come before everything else, too.
        for (port, addr) in &state.kni_flows {
            locals.insert(*addr, Local::Host { port: *port });
        }
        // Only what differs, so that the rest is shared with the last snapshot.
        let gone: Vec<IpAddr> = self
            .current
            .locals
            .iter()
            .map(|(addr, _)| *addr)
            .filter(|addr| !locals.contains_key(addr))
            .collect();
        for addr in gone {
            self.current.locals.remove(&addr);
        }
        for (addr, local) in locals {
            if self.current.locals.get(&addr) != Some(&local) {
                self.current.locals.insert(addr, local);
            }
        }
        // Rules of a new local address are in force before its first connection.
        let laddrs: Vec<(PortId, IpAddr)> = self
            .current
            .locals
            .sapools()
            .iter()
            .filter_map(|addr| match self.current.locals.get(addr) {
                Some(Local::Own { port, .. }) => Some((*port, *addr)),
                _ => None,
            })
            .collect();
        self.current.returns = netif.laddrs(&laddrs);
        let routes: Vec<Route> = state
            .routes
            .iter()
            .filter(|r| r.kind == Kind::Forward)
            .map(|r| Route {
                dst: r.dst,
                plen: r.plen,
                gateway: r.gateway,
                src: r.src,
                port: r.port,
                mtu: if r.mtu > 0 {
                    r.mtu
                } else {
                    state.links.get(r.port).map_or(1500, |l| l.mtu)
                },
            })
            .collect();
        if routes != self.routes {
            self.current.fib = Arc::new(Fib::new(&routes));
            self.routes = routes;
        }
    }
}

/// VLAN devices on a port, by id.
fn vlans(state: &State, port: PortId) -> Vec<(u16, PortId)> {
    let on = |id: PortId| {
        let tag = state.links.tag(id).filter(|tag| tag.parent == port)?;
        Some((tag.id, id))
    };
    let mut vlans: Vec<_> = state.links.ids().filter_map(on).collect();
    vlans.sort_unstable();
    vlans
}

/// A key nobody outside knows, as the maps of the standard library have it.
fn random() -> [u64; 2] {
    [0, 1].map(|n| RandomState::new().hash_one(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reload and a change of time-outs may come in one turn of the master.
    #[test]
    fn settings_that_wait_are_those_to_go_on_from() {
        let mut publisher = Publisher::new(1);
        assert!(!publisher.settings().forward4);
        publisher.set_settings(Settings {
            forward4: true,
            ..Settings::default()
        });
        assert!(publisher.settings().forward4);
    }
}
