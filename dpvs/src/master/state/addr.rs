//! Addresses of devices, in the order they were added.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dpvs_core::frame::PortId;

use crate::master::error::{Fault, Result};

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addr {
    pub(crate) port: PortId,
    pub(crate) ip: IpAddr,
    pub(crate) plen: u8,
    /// 0 global, 1 site, 2 link, 3 host, 255 none.
    pub(crate) scope: u8,
    /// As on the control socket; see `dpvs_ctl::msg::ifa_flag`.
    pub(crate) flags: u32,
    pub(crate) bcast: Option<IpAddr>,
    /// Seconds it is valid; 0: for ever.
    pub(crate) valid_lft: u32,
    /// When it goes.
    pub(crate) expires: Option<Instant>,
    /// Seconds it is preferred; 0: as long as it is valid.
    pub(crate) preferred_lft: u32,
    /// When that is over.
    pub(crate) deprecates: Option<Instant>,
    /// It is over.
    pub(crate) deprecated: bool,
}

impl Addr {
    /// Starts the life of the address.
    pub(crate) fn born(mut self, now: Instant) -> Addr {
        let after = |secs: u32| {
            (secs > 0)
                .then(|| now.checked_add(Duration::from_secs(secs.into())))
                .flatten()
        };
        self.expires = after(self.valid_lft);
        // DIFFERS: DPVS takes the valid lifetime for the preferred one.
        self.deprecates = after(self.preferred_lft)
            .filter(|over| self.expires.is_none_or(|expires| *over < expires));
        self.deprecated = false;
        self
    }
}

/// All addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addrs(Vec<Addr>);

impl Addrs {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Addr> {
        self.0.iter()
    }

    /// Those of one device.
    pub(crate) fn on(&self, port: PortId) -> impl Iterator<Item = &Addr> {
        self.0.iter().filter(move |a| a.port == port)
    }

    /// The flags of an address.
    pub(crate) fn flags_mut(&mut self, port: PortId, ip: IpAddr) -> Option<&mut u32> {
        let at = self.position(port, ip)?;
        self.0.get_mut(at).map(|a| &mut a.flags)
    }

    fn position(&self, port: PortId, ip: IpAddr) -> Option<usize> {
        self.0.iter().position(|a| a.port == port && a.ip == ip)
    }

    pub(super) fn add(&mut self, addr: Addr) -> Result<()> {
        if self.position(addr.port, addr.ip).is_some() {
            return Err(Fault::Exists);
        }
        self.0.push(addr);
        Ok(())
    }

    /// Changes flags, scope, broadcast address and life; the prefix stays.
    pub(crate) fn set(&mut self, to: Addr) -> Result<()> {
        let at = self.position(to.port, to.ip).ok_or(Fault::Missing)?;
        if let Some(addr) = self.0.get_mut(at) {
            *addr = Addr {
                plen: addr.plen,
                ..to
            };
        }
        Ok(())
    }

    pub(super) fn del(&mut self, port: PortId, ip: IpAddr) -> Result<Addr> {
        let at = self.position(port, ip).ok_or(Fault::Missing)?;
        Ok(self.0.remove(at))
    }

    pub(super) fn flush(&mut self, port: PortId) -> Vec<Addr> {
        self.0.extract_if(.., |a| a.port == port).collect()
    }

    /// Marks what is not preferred any more; true if something is.
    pub(super) fn deprecate(&mut self, now: Instant) -> bool {
        let mut any = false;
        for a in &mut self.0 {
            if !a.deprecated && a.deprecates.is_some_and(|t| t <= now) {
                tracing::info!("address {}/{} is deprecated", a.ip, a.plen);
                a.deprecated = true;
                any = true;
            }
        }
        any
    }

    pub(super) fn expire(&mut self, now: Instant) -> Vec<Addr> {
        self.0
            .extract_if(.., |a| a.expires.is_some_and(|t| t <= now))
            .collect()
    }
}
