//! Typed calls about the light IP stack: addresses, routes, neighbours, ports,
//! lcores, VLAN devices.

use super::{Client, malformed};
use crate::error::CtlError;
use crate::id;
use crate::msg::{
    BondSet, BondStatus, HwMaddr, IfAddr, IfAddrArray, IfAddrData, IfAddrParam, Ip6Stats,
    LcoreBasic, LcoreMask, LcoreStats, Maddr, Neigh, NicBasic, NicExt, NicList, NicSet, NicStats,
    PortId, Route, Route6, Vlan, XStat, XStatsHead, ifa_op, ifa_op_flag, route6_op,
};
use crate::types::Name;
use crate::wire::{Tail, Wire, count_of, decode_counted, decode_entries, decode_list};

/// How much [`Client::ifaddrs`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfAddrView {
    /// Every lcore's entries.
    pub verbose: bool,
    /// With statistics of local ports.
    pub stats: bool,
}

impl Client {
    /// Adds an address to a device.
    ///
    /// # Errors
    /// See [`CtlError`]; `EXIST` if it is there.
    pub fn add_ifaddr(&self, entry: &IfAddr) -> Result<(), CtlError> {
        self.set_ifaddr(id::SET_IFADDR_ADD, ifa_op::ADD, entry)
    }

    /// Removes an address.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if it is not there.
    pub fn del_ifaddr(&self, entry: &IfAddr) -> Result<(), CtlError> {
        self.set_ifaddr(id::SET_IFADDR_DEL, ifa_op::DEL, entry)
    }

    /// Changes an address.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn edit_ifaddr(&self, entry: &IfAddr) -> Result<(), CtlError> {
        self.set_ifaddr(id::SET_IFADDR_SET, ifa_op::MOD, entry)
    }

    /// Removes all addresses of the device in `entry`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn flush_ifaddrs(&self, entry: &IfAddr) -> Result<(), CtlError> {
        self.set_ifaddr(id::SET_IFADDR_FLUSH, ifa_op::FLUSH, entry)
    }

    fn set_ifaddr(&self, id: u32, ops: u32, entry: &IfAddr) -> Result<(), CtlError> {
        self.set(
            id,
            &IfAddrParam {
                ops,
                ops_flags: 0,
                entry: *entry,
            }
            .encode(),
        )
    }

    /// Lists addresses; `filter.ifname` limits to a device. The daemon does
    /// not filter by family.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn ifaddrs(&self, filter: &IfAddr, view: IfAddrView) -> Result<Vec<IfAddrData>, CtlError> {
        let id = id::GET_IFADDR_SHOW;
        let ops_flags = if view.verbose {
            ifa_op_flag::VERBOSE
        } else {
            0
        } | if view.stats { ifa_op_flag::STATS } else { 0 };
        let request = IfAddrParam {
            ops: ifa_op::GET,
            ops_flags,
            entry: *filter,
        };
        let reply = self.get(id, &request.encode())?;
        let count = |a: &IfAddrArray| count_of(a.naddr);
        let (_, list) = decode_list::<IfAddrArray, IfAddrData>(&reply, Tail::Slack, count)
            .map_err(|e| malformed(id, e))?;
        Ok(list)
    }

    /// Lists the multicast addresses of a device.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn ifmaddrs(&self, dev: &Name<16>) -> Result<Vec<Maddr>, CtlError> {
        let id = id::GET_IFMADDR_SHOW;
        let reply = self.get(id, &dev.encode())?;
        decode_counted(&reply, Tail::Slack).map_err(|e| malformed(id, e))
    }

    /// Adds an IPv4 route. The daemon does not say if it was there already.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_route(&self, route: &Route) -> Result<(), CtlError> {
        self.set(id::SET_ROUTE_ADD, &route.encode())
    }

    /// Removes an IPv4 route.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn del_route(&self, route: &Route) -> Result<(), CtlError> {
        self.set(id::SET_ROUTE_DEL, &route.encode())
    }

    /// Removes all IPv4 routes of the device in `route`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn flush_routes(&self, route: &Route) -> Result<(), CtlError> {
        self.set(id::SET_ROUTE_FLUSH, &route.encode())
    }

    /// Lists IPv4 routes; an empty `dev` lists those of all devices.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn routes(&self, dev: &Name<16>) -> Result<Vec<Route>, CtlError> {
        let id = id::GET_ROUTE_SHOW;
        let request = Route {
            ifname: *dev,
            ..Route::default()
        };
        let reply = self.get(id, &request.encode())?;
        // C daemons leave room for all routes even when they list one device's.
        decode_counted(&reply, Tail::Slack).map_err(|e| malformed(id, e))
    }

    /// Adds an IPv6 route.
    ///
    /// # Errors
    /// See [`CtlError`]; `EXIST` if it is there.
    pub fn add_route6(&self, route: &Route6) -> Result<(), CtlError> {
        self.set(id::SET_ROUTE6_ADD_DEL, &with_op(route, route6_op::ADD))
    }

    /// Removes an IPv6 route.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if it is not there.
    pub fn del_route6(&self, route: &Route6) -> Result<(), CtlError> {
        self.set(id::SET_ROUTE6_ADD_DEL, &with_op(route, route6_op::DEL))
    }

    /// Removes all IPv6 routes of the device in `route`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn flush_routes6(&self, route: &Route6) -> Result<(), CtlError> {
        self.set(id::SET_ROUTE6_FLUSH, &with_op(route, route6_op::FLUSH))
    }

    /// Lists IPv6 routes; an empty `dev` lists those of all devices. A C
    /// daemon answers nothing at all for an unknown device: none.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn routes6(&self, dev: &Name<16>) -> Result<Vec<Route6>, CtlError> {
        let id = id::GET_ROUTE6_SHOW;
        let request = Route6 {
            ifname: *dev,
            ..Route6::default()
        };
        let reply = self.get(id, &with_op(&request, route6_op::GET))?;
        if reply.is_empty() {
            return Ok(Vec::new());
        }
        decode_counted(&reply, Tail::Exact).map_err(|e| malformed(id, e))
    }

    /// Adds a static neighbour. Workers learn it later: no answer tells.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_neigh(&self, neigh: &Neigh) -> Result<(), CtlError> {
        self.set(id::SET_NEIGH_ADD, &neigh.encode())
    }

    /// Removes a neighbour.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn del_neigh(&self, neigh: &Neigh) -> Result<(), CtlError> {
        self.set(id::SET_NEIGH_DEL, &neigh.encode())
    }

    /// Lists the neighbours of all lcores; `filter.ifname` limits to a device.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn neighs(&self, filter: &Neigh) -> Result<Vec<Neigh>, CtlError> {
        let id = id::GET_NEIGH_SHOW;
        let reply = self.get(id, &filter.encode())?;
        decode_counted(&reply, Tail::Exact).map_err(|e| malformed(id, e))
    }

    /// Lists ports.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn ports(&self) -> Result<(NicList, Vec<PortId>), CtlError> {
        let id = id::NETIF_GET_PORT_LIST;
        let reply = self.get(id, &[])?;
        let count = |l: &NicList| usize::from(l.nic_num);
        decode_list(&reply, Tail::Slack, count).map_err(|e| malformed(id, e))
    }

    /// The state of a port.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn port(&self, dev: &Name<32>) -> Result<NicBasic, CtlError> {
        self.get_as(id::NETIF_GET_PORT_BASIC, &dev.encode())
    }

    /// The counters of a port.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn port_stats(&self, dev: &Name<32>) -> Result<NicStats, CtlError> {
        self.get_as(id::NETIF_GET_PORT_STATS, &dev.encode())
    }

    /// The driver's own counters of a port; none if it has none.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn port_xstats(&self, dev: &Name<32>) -> Result<Vec<XStat>, CtlError> {
        let id = id::NETIF_GET_PORT_XSTATS;
        let reply = self.get(id, &dev.encode())?;
        if reply.is_empty() {
            return Ok(Vec::new());
        }
        let count = |h: &XStatsHead| usize::from(h.nentries);
        let (_, list) = decode_list::<XStatsHead, XStat>(&reply, Tail::Slack, count)
            .map_err(|e| malformed(id, e))?;
        Ok(list)
    }

    /// The abilities of a port, with the text about its queues and the text
    /// about its multicast addresses.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn port_ext(&self, dev: &Name<32>) -> Result<(NicExt, String, String), CtlError> {
        let id = id::NETIF_GET_PORT_EXT_INFO;
        let reply = self.get(id, &dev.encode())?;
        let (ext, data) = NicExt::decode_prefix(&reply).map_err(|e| malformed(id, e))?;
        let text = |offset: u64, len: u64| {
            let part = usize::try_from(offset)
                .ok()
                .and_then(|o| data.get(o..))
                .unwrap_or(&[]);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(part.len());
            c_text(part.get(..len).unwrap_or(&[]))
        };
        let queues = text(ext.cfg_queues.data_offset, ext.cfg_queues.data_len);
        let maddrs = text(ext.mc_list.data_offset, ext.mc_list.data_len);
        Ok((ext, queues, maddrs))
    }

    /// The hardware multicast addresses of a port.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn port_maddrs(&self, dev: &Name<16>) -> Result<Vec<HwMaddr>, CtlError> {
        let id = id::NETIF_GET_MADDR;
        let reply = self.get(id, &dev.encode())?;
        decode_counted(&reply, Tail::Slack).map_err(|e| malformed(id, e))
    }

    /// The state of a bond.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn bond(&self, dev: &Name<32>) -> Result<BondStatus, CtlError> {
        self.get_as(id::NETIF_GET_BOND_STATUS, &dev.encode())
    }

    /// Changes a port.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_port(&self, set: &NicSet) -> Result<(), CtlError> {
        self.set(id::NETIF_SET_PORT, &set.encode())
    }

    /// Changes a bond.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_bond(&self, set: &BondSet) -> Result<(), CtlError> {
        self.set(id::NETIF_SET_BOND, &set.encode())
    }

    /// Which lcores do what.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn lcores(&self) -> Result<LcoreMask, CtlError> {
        self.get_as(id::NETIF_GET_LCORE_MASK, &[])
    }

    /// An lcore, with the text about its queues.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn lcore(&self, lcore: u8) -> Result<(LcoreBasic, String), CtlError> {
        let id = id::NETIF_GET_LCORE_BASIC;
        let reply = self.get(id, &[lcore])?;
        let (basic, data) = LcoreBasic::decode_prefix(&reply).map_err(|e| malformed(id, e))?;
        Ok((basic, c_text(data)))
    }

    /// The counters of an lcore.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn lcore_stats(&self, lcore: u8) -> Result<LcoreStats, CtlError> {
        self.get_as(id::NETIF_GET_LCORE_STATS, &[lcore])
    }

    /// Adds a VLAN device.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_vlan(&self, vlan: &Vlan) -> Result<(), CtlError> {
        self.set(id::SET_VLAN_ADD, &vlan.encode())
    }

    /// Removes a VLAN device.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn del_vlan(&self, vlan: &Vlan) -> Result<(), CtlError> {
        self.set(id::SET_VLAN_DEL, &vlan.encode())
    }

    /// Lists VLAN devices.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn vlans(&self, filter: &Vlan) -> Result<Vec<Vlan>, CtlError> {
        let id = id::GET_VLAN_SHOW;
        let reply = self.get(id, &filter.encode())?;
        decode_counted(&reply, Tail::Slack).map_err(|e| malformed(id, e))
    }

    /// IPv6 counters.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn ip6_stats(&self) -> Result<Ip6Stats, CtlError> {
        self.get_as(id::IP6_STATS, &[])
    }

    /// A list that is a bare array of entries (queue schedulers, tunnels).
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn get_bare<T: Wire>(&self, id: u32, body: &[u8]) -> Result<Vec<T>, CtlError> {
        let reply = self.get(id, body)?;
        let count = reply.len() / T::SIZE.max(1);
        decode_entries(&reply, count, Tail::Exact).map_err(|e| malformed(id, e))
    }
}

fn with_op(route: &Route6, ops: i32) -> Vec<u8> {
    Route6 { ops, ..*route }.encode()
}

/// The text before the first NUL.
fn c_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(&[])).into_owned()
}
