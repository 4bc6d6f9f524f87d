//! Routes of both families, those made by addresses included.
//!
//! A route is told apart by kind, prefix and device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpvs_core::frame::PortId;

use crate::master::error::{Fault, Result};

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The destination is this machine.
    Local,
    /// The destination is the kernel's, through the host port.
    Host,
    /// On.
    Forward,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) kind: Kind,
    pub(crate) dst: IpAddr,
    pub(crate) plen: u8,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) src: Option<IpAddr>,
    pub(crate) port: PortId,
    /// 0: the device's.
    pub(crate) mtu: u16,
    pub(crate) metric: u16,
    /// Flags of the request beside the kind, to show them again.
    pub(crate) flags: u32,
}

impl Route {
    /// With the bits behind the prefix cleared.
    pub(crate) fn masked(mut self) -> Route {
        self.dst = mask(self.dst, self.plen);
        self
    }

    pub(crate) fn id(&self) -> (Kind, IpAddr, u8, PortId) {
        (self.kind, self.dst, self.plen, self.port)
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.dst.is_ipv4()
    }
}

/// An address with the bits behind a prefix cleared.
pub(crate) fn mask(ip: IpAddr, plen: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(u32::from(plen)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !host))
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(u32::from(plen)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !host))
        }
    }
}

/// All routes, in the order they were added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The order of listings: ends first, then longer prefixes first.
    pub(crate) fn listed(&self, v4: bool) -> Vec<&Route> {
        let mut list: Vec<&Route> = self.0.iter().filter(|r| r.is_v4() == v4).collect();
        list.sort_by_key(|r| (r.kind == Kind::Forward, std::cmp::Reverse(r.plen)));
        list
    }

    pub(crate) fn add(&mut self, route: Route) -> Result<()> {
        if self.0.iter().any(|r| r.id() == route.id()) {
            return Err(Fault::Exists);
        }
        self.0.push(route);
        Ok(())
    }

    pub(crate) fn del(&mut self, route: &Route) -> Result<()> {
        let at = self
            .0
            .iter()
            .position(|r| r.id() == route.id())
            .ok_or(Fault::Missing)?;
        self.0.remove(at);
        Ok(())
    }

    /// Gives a route another source, if it still has that of `of`.
    pub(crate) fn inherit(&mut self, of: &Route, src: Option<IpAddr>) {
        let mut all = self.0.iter_mut();
        if let Some(route) = all.find(|r| r.id() == of.id() && r.src == of.src) {
            route.src = src;
        }
    }

    /// Removes the routes of one family on a device.
    pub(crate) fn flush(&mut self, port: PortId, v4: bool) {
        self.0.retain(|r| r.port != port || r.is_v4() != v4);
    }
}
