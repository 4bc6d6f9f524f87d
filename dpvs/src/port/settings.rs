//! Settings of a running port: MTU, link, what it receives, its addresses.
//!
//! A driver's refusal is an [`Error`]; the caller decides whether it matters.

use std::time::{Duration, Instant};

use dpdk_sys as sys;

use super::bond::BondOption;
use super::dev::Port;
#[cfg(doc)]
use super::error::Error;
use super::error::{Result, check};

/// State of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Carrier.
    pub up: bool,
    /// Mbit/s; `None` if unknown.
    pub speed_mbps: Option<u32>,
    /// Full duplex.
    pub full_duplex: bool,
    /// Negotiated, not fixed.
    pub autoneg: bool,
}

impl Port {
    /// Sets the MTU.
    ///
    /// # Errors
    /// The driver's refusal; [`Error::unsupported`] where it has none to set
    /// (net_null, net_ring, net_pcap, net_memif): no reason to stop.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        // SAFETY: a valid port number.
        check(unsafe { sys::rte_eth_dev_set_mtu(self.id(), mtu) }, || {
            self.what(&format!("set MTU {mtu}"))
        })
        .map(drop)
    }

    /// The MTU in force.
    ///
    /// # Errors
    /// The port is gone.
    pub fn mtu(&self) -> Result<u16> {
        let mut mtu = 0;
        // SAFETY: a valid place.
        let ret = unsafe { sys::rte_eth_dev_get_mtu(self.id(), &raw mut mtu) };
        check(ret, || self.what("read the MTU"))?;
        Ok(mtu)
    }

    /// The link now.
    #[must_use]
    pub fn link(&self) -> Link {
        let mut raw = sys::dpvs_link::default();
        // SAFETY: a valid place.
        let ret = unsafe { sys::dpvs_eth_link_get(self.id(), &raw mut raw) };
        if ret != 0 {
            return Link::default();
        }
        Link {
            up: raw.up != 0,
            speed_mbps: (raw.speed_mbps != u32::MAX).then_some(raw.speed_mbps),
            full_duplex: raw.full_duplex != 0,
            autoneg: raw.autoneg != 0,
        }
    }

    /// Waits until the link is up, at most so long.
    #[must_use]
    pub fn wait_link(&self, at_most: Duration) -> Link {
        let end = Instant::now() + at_most;
        loop {
            let link = self.link();
            if link.up || Instant::now() >= end {
                return link;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes the link up or down.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn set_link(&self, up: bool) -> Result<()> {
        // SAFETY: a valid port number.
        let ret = unsafe {
            if up {
                sys::rte_eth_dev_set_link_up(self.id())
            } else {
                sys::rte_eth_dev_set_link_down(self.id())
            }
        };
        check(ret, || {
            self.what(if up {
                "set the link up"
            } else {
                "set the link down"
            })
        })
        .map(drop)
    }

    /// Switches promiscuous reception.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn set_promiscuous(&self, on: bool) -> Result<()> {
        // SAFETY: a valid port number.
        let ret = unsafe {
            if on {
                sys::rte_eth_promiscuous_enable(self.id())
            } else {
                sys::rte_eth_promiscuous_disable(self.id())
            }
        };
        check(ret, || self.what("switch promiscuous mode")).map(drop)
    }

    /// Whether it receives frames for any MAC address.
    #[must_use]
    pub fn promiscuous(&self) -> bool {
        // SAFETY: a valid port number.
        unsafe { sys::rte_eth_promiscuous_get(self.id()) == 1 }
    }

    /// Switches reception of all multicast.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn set_allmulticast(&self, on: bool) -> Result<()> {
        // SAFETY: a valid port number.
        let ret = unsafe {
            if on {
                sys::rte_eth_allmulticast_enable(self.id())
            } else {
                sys::rte_eth_allmulticast_disable(self.id())
            }
        };
        check(ret, || self.what("switch all-multicast mode")).map(drop)
    }

    /// Whether it receives all multicast frames.
    #[must_use]
    pub fn allmulticast(&self) -> bool {
        // SAFETY: a valid port number.
        unsafe { sys::rte_eth_allmulticast_get(self.id()) == 1 }
    }

    /// Its MAC address.
    ///
    /// # Errors
    /// The port is gone.
    pub fn mac(&self) -> Result<[u8; 6]> {
        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: a valid place.
        let ret = unsafe { sys::rte_eth_macaddr_get(self.id(), &raw mut mac) };
        check(ret, || self.what("read its MAC address"))?;
        Ok(mac.addr_bytes)
    }

    /// Changes its MAC address.
    ///
    /// # Errors
    /// The driver's refusal, or an address that is no unicast address.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<()> {
        let mut raw = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: a valid address, copied by the call.
        let ret = unsafe { sys::rte_eth_dev_default_mac_addr_set(self.id(), &raw mut raw) };
        check(ret, || self.what("change its MAC address")).map(drop)
    }

    /// Receives frames for one more unicast address; promiscuously where the
    /// driver has no filter left.
    ///
    /// # Errors
    /// The driver can do neither.
    pub fn add_unicast(&self, mac: [u8; 6]) -> Result<()> {
        let mut raw = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: a valid address, copied by the call.
        let added = unsafe { sys::rte_eth_dev_mac_addr_add(self.id(), &raw mut raw, 0) } == 0;
        // With LACP the bonding driver drops what is not for the bond's first address.
        if added && self.bond_option(BondOption::Mode) != 4 {
            return Ok(());
        }
        self.set_promiscuous(true)
    }

    /// Ends [`Port::add_unicast`].
    pub fn remove_unicast(&self, mac: [u8; 6]) {
        let mut raw = sys::rte_ether_addr { addr_bytes: mac };
        // An unknown address is no harm; promiscuous mode stays.
        // SAFETY: a valid address.
        unsafe { sys::rte_eth_dev_mac_addr_remove(self.id(), &raw mut raw) };
    }

    /// Receives frames for a multicast address; all multicast where the driver
    /// cannot filter. Counted: as many removals end it.
    ///
    /// # Errors
    /// The driver can do neither.
    pub fn add_multicast(&mut self, mac: [u8; 6]) -> Result<()> {
        if let Some((_, users)) = self.multicast.iter_mut().find(|(m, _)| *m == mac) {
            *users += 1;
            return Ok(());
        }
        self.multicast.push((mac, 1));
        self.apply_multicast()
    }

    /// Ends one [`Port::add_multicast`].
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn remove_multicast(&mut self, mac: [u8; 6]) -> Result<()> {
        let Some(at) = self.multicast.iter().position(|(m, _)| *m == mac) else {
            return Ok(());
        };
        let users = &mut self.multicast[at].1;
        *users -= 1;
        if *users > 0 {
            return Ok(());
        }
        self.multicast.remove(at);
        self.apply_multicast()
    }

    /// Multicast addresses listened to, each with its number of users.
    #[must_use]
    pub fn multicast(&self) -> &[([u8; 6], u32)] {
        &self.multicast
    }

    fn apply_multicast(&self) -> Result<()> {
        let mut list: Vec<sys::rte_ether_addr> = self
            .multicast
            .iter()
            .map(|&(addr_bytes, _)| sys::rte_ether_addr { addr_bytes })
            .collect();
        // SAFETY: the list has that many addresses, copied by the call.
        let ret = unsafe {
            sys::rte_eth_dev_set_mc_addr_list(self.id(), list.as_mut_ptr(), list.len() as u32)
        };
        if ret == 0 || self.allmulticast() || self.promiscuous() {
            return Ok(());
        }
        self.set_allmulticast(true)
    }
}
