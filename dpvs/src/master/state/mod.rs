//! What the daemon has been told: devices, addresses, routes, services with
//! their servers and local addresses. The authority from which snapshots for
//! the workers are built.
//!
//! Plain data with checked changes, one subject a file. Knows neither the
//! socket nor the workers; every change either happens whole or not at all.

pub(crate) mod addr;
pub(crate) mod guard;
pub(crate) mod ids;
pub(crate) mod ipset;
pub(crate) mod link;
pub(crate) mod policy;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod tc;

use std::net::IpAddr;
use std::time::Instant;

use dpvs_core::frame::PortId;

use super::error::Result;
use addr::{Addr, Addrs};
use guard::Guards;
use link::Links;
use route::{Kind, Route, Routes};
use service::Services;
use tc::Tcs;

/// The whole model.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) links: Links,
    pub(crate) addrs: Addrs,
    pub(crate) routes: Routes,
    pub(crate) services: Services,
    pub(crate) guards: Guards,
    pub(crate) tcs: Tcs,
    /// Addresses whose packets go to the host port of a device.
    pub(crate) kni_flows: Vec<(PortId, IpAddr)>,
    /// Devices, addresses or routes changed since the last snapshot.
    pub(crate) net_changed: bool,
}

impl State {
    /// Whether the workers are to be given something new.
    pub(crate) fn is_changed(&self) -> bool {
        self.net_changed
            || self.services.is_changed()
            || self.guards.is_changed()
            || self.tcs.is_changed()
    }

    /// Adds an address with its host route and the route to its subnet.
    pub(crate) fn add_addr(&mut self, addr: Addr) -> Result<()> {
        let (local, subnet) = routes_of(&addr);
        self.addrs.add(addr)?;
        // A route that is there already serves as well.
        let _ = self.routes.add(local);
        if let Some(subnet) = subnet {
            let _ = self.routes.add(subnet);
        }
        self.net_changed = true;
        Ok(())
    }

    /// Removes an address and the routes that came with it.
    pub(crate) fn del_addr(&mut self, port: PortId, ip: IpAddr) -> Result<()> {
        let gone = self.addrs.del(port, ip)?;
        self.drop_routes_of(&gone);
        self.net_changed = true;
        Ok(())
    }

    /// Removes all addresses of a device.
    pub(crate) fn flush_addrs(&mut self, port: PortId) {
        for gone in self.addrs.flush(port) {
            self.drop_routes_of(&gone);
            self.net_changed = true;
        }
    }

    /// Removes addresses whose time is over, and notes which are not preferred any more.
    pub(crate) fn expire_addrs(&mut self, now: Instant) {
        self.net_changed |= self.addrs.deprecate(now);
        for gone in self.addrs.expire(now) {
            tracing::info!("address {}/{} expired", gone.ip, gone.plen);
            self.drop_routes_of(&gone);
            self.net_changed = true;
        }
    }

    fn drop_routes_of(&mut self, gone: &Addr) {
        let (local, subnet) = routes_of(gone);
        let _ = self.routes.del(&local);
        let heir = self.addrs.on(gone.port).find_map(|a| {
            routes_of(a)
                .1
                .filter(|r| Some(r.id()) == subnet.as_ref().map(Route::id))
        });
        match (subnet, heir) {
            // Nobody asks from an address that is somebody else's by now.
            (Some(subnet), Some(heir)) => self.routes.inherit(&subnet, heir.src),
            (Some(subnet), None) => {
                let _ = self.routes.del(&subnet);
            }
            (None, _) => {}
        }
    }
}

/// The host route and the subnet's route of an address.
fn routes_of(addr: &Addr) -> (Route, Option<Route>) {
    let host = if addr.ip.is_ipv4() { 32 } else { 128 };
    let route = |kind, plen, src| {
        Route {
            kind,
            dst: addr.ip,
            plen,
            gateway: None,
            src,
            port: addr.port,
            mtu: 0,
            metric: 0,
            flags: 0,
        }
        .masked()
    };
    let subnet =
        (addr.plen > 0 && addr.plen < host).then(|| route(Kind::Forward, addr.plen, Some(addr.ip)));
    (route(Kind::Local, host, None), subnet)
}

#[cfg(test)]
mod tests;
