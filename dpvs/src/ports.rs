//! The ports and lcore counters as the master sees them: `Netif` over DPDK.
//!
//! Turns what `port/` says into the structs of the control socket, and keeps
//! the multicast filters of each port in step with our own addresses and with
//! what the kernel has joined on the host port.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::rss::Returns;
use dpvs_core::snapshot::Tag;
use dpvs_ctl::msg::{BondSet, BondStatus, LcoreStats, NicBasic, NicDev, NicStats, nic_flag};
use dpvs_ctl::{HwAddr, Name};

use crate::affinity::Ways;
use crate::bonds;
use crate::counters::{LcoreCounters, Lost};
use crate::made::Made;
use crate::master::{Affinity, Link, Netif, PortChange};
use crate::port::{Pool, Port, PortInfo, Rule, set_host_mac};
use crate::watch::Watch;

/// A started port.
#[derive(Debug)]
pub struct Device {
    /// Name in the configuration.
    pub name: String,
    /// DPDK's port.
    pub port: Port,
    /// What its driver can do.
    pub info: PortInfo,
    /// MTU in force.
    pub mtu: u16,
    /// Pool it receives into.
    pub pool: Pool,
    /// Kernel interface of its host port, if it has one.
    pub host: Option<String>,
    /// Fast-free offload in use.
    pub fast_free: bool,
    /// Everything goes to the host port too.
    pub forward2kni: bool,
    /// Of a bond: milliseconds between looks at its members' links.
    pub monitor_ms: u32,
    /// Of a bond that sends by one member: which it was last.
    pub sends_by: Option<u16>,
    /// The queue whose packets are the kernel's.
    pub kni_queue: Option<u16>,
    /// Flow rules of addresses whose packets go there.
    pub kni_flows: BTreeMap<IpAddr, Rule>,
    /// MAC addresses of devices on it, heard besides its own.
    pub heard: Vec<[u8; 6]>,
    /// Multicast MACs of our own addresses.
    pub joined: Vec<[u8; 6]>,
    /// Multicast MACs the kernel wants.
    pub kernel: Vec<[u8; 6]>,
}

/// All ports and the counters of the lcores.
#[derive(Debug)]
pub struct Ports {
    /// Index = [`PortId`].
    pub devices: Vec<Device>,
    /// Counters by EAL lcore id.
    pub counters: BTreeMap<u8, Arc<LcoreCounters>>,
    /// NUMA node by EAL lcore id.
    pub sockets: BTreeMap<u8, u8>,
    /// How replies find their worker.
    pub ways: Ways<Rule>,
    /// How many of them, the last, are bonds.
    pub bonds: usize,
    /// VLAN devices and tunnels.
    pub made: Made,
    /// Who looks on.
    pub watch: Arc<Watch>,
}

impl Device {
    /// A port as it is at the start.
    #[must_use]
    pub fn new(name: String, port: Port, info: PortInfo, mtu: u16, pool: Pool) -> Self {
        Self {
            name,
            port,
            info,
            mtu,
            pool,
            host: None,
            fast_free: false,
            forward2kni: false,
            monitor_ms: 0,
            sends_by: None,
            kni_queue: None,
            kni_flows: BTreeMap::new(),
            heard: Vec::new(),
            joined: Vec::new(),
            kernel: Vec::new(),
        }
    }

    fn mac(&self) -> [u8; 6] {
        self.port.mac().unwrap_or_default()
    }
}

/// Brings the filters of `port` from `have` to `want`.
fn refilter(port: &mut Port, have: &mut Vec<[u8; 6]>, want: &[[u8; 6]]) {
    let (old, new) = (have.clone(), want.to_vec());
    for mac in old.iter().filter(|m| !new.contains(m)) {
        if let Err(e) = port.remove_multicast(*mac) {
            tracing::debug!("{e}");
        }
    }
    for mac in new.iter().filter(|m| !old.contains(m)) {
        if let Err(e) = port.add_multicast(*mac) {
            tracing::warn!("multicast to {} may not be received: {e}", HwAddr(*mac));
        }
    }
    *have = new;
}

/// MACs the kernel has joined on an interface, from the text of
/// /proc/net/dev_mcast: index, name, two counts, address.
fn kernel_groups(text: &str, interface: &str) -> Vec<[u8; 6]> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.nth(1)? != interface {
                return None;
            }
            let digits = words.nth(2)?;
            let mut mac = [0; 6];
            for (n, slot) in mac.iter_mut().enumerate() {
                *slot = u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok()?;
            }
            Some(mac)
        })
        .collect()
}

impl Ports {
    fn device(&self, port: PortId) -> Option<&Device> {
        self.devices.get(usize::from(port.0))
    }
}

impl Netif for Ports {
    fn links(&self) -> Vec<Link> {
        self.devices
            .iter()
            .map(|d| Link {
                name: d.name.clone(),
                mac: d.mac(),
                mtu: d.mtu,
                has_host: d.host.is_some(),
                forward2kni: d.forward2kni,
            })
            .collect()
    }

    fn kni_flow(&mut self, port: PortId, addr: IpAddr) -> Result<(), String> {
        let d = self.devices.get_mut(usize::from(port.0)).ok_or("no port")?;
        let queue = d.kni_queue.ok_or("the kni worker has no queue of it")?;
        let rule = d
            .port
            .steer_address(addr, queue)
            .map_err(|e| e.to_string())?;
        d.kni_flows.insert(addr, rule);
        Ok(())
    }

    fn kni_unflow(&mut self, port: PortId, addr: IpAddr) {
        if let Some(d) = self.devices.get_mut(usize::from(port.0))
            && let Some(rule) = d.kni_flows.remove(&addr)
            && let Err(e) = d.port.unsteer(rule)
        {
            tracing::debug!("{e}");
        }
    }

    fn bonds(&self) -> usize {
        self.bonds
    }

    fn bond(&self, port: PortId) -> Option<BondStatus> {
        bonds::status(&self.devices, usize::from(port.0))
    }

    fn set_bond(&mut self, port: PortId, set: &BondSet) -> Result<(), String> {
        bonds::set(&mut self.devices, usize::from(port.0), set)
    }

    fn plug(&mut self, device: PortId, link: &Link, tag: Option<Tag>) -> bool {
        let below = tag.and_then(|tag| self.device(tag.parent));
        let home = below.map(|d| (d.pool, d.port.socket()));
        self.made.plug(device, link, tag, home)
    }

    fn unplug(&mut self, device: PortId) {
        self.made.unplug(device);
    }

    fn hear(&mut self, port: PortId, macs: &[[u8; 6]]) {
        let Some(d) = self.devices.get_mut(usize::from(port.0)) else {
            return;
        };
        for mac in d.heard.iter().filter(|mac| !macs.contains(mac)) {
            d.port.remove_unicast(*mac);
        }
        for mac in macs.iter().filter(|mac| !d.heard.contains(mac)) {
            if let Err(e) = d.port.add_unicast(*mac) {
                tracing::warn!("device {}: {e}", d.name);
            }
        }
        d.heard = macs.to_vec();
    }

    fn basic(&self, port: PortId) -> Option<NicBasic> {
        let d = self.device(port)?;
        let link = d.port.link();
        let (rx, tx) = d.port.info().map_or(d.info.queues, |i| i.queues);
        let queues = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
        let flags = [
            (d.port.promiscuous(), nic_flag::PROMISC),
            (d.port.allmulticast(), nic_flag::ALLMULTICAST),
            (d.info.rx_checksum(), nic_flag::OL_RX_IP_CSUM),
            (d.info.tx_ip_checksum(), nic_flag::OL_TX_IP_CSUM),
            (d.info.tx_tcp_checksum(), nic_flag::OL_TX_TCP_CSUM),
            (d.info.tx_udp_checksum(), nic_flag::OL_TX_UDP_CSUM),
            (d.fast_free, nic_flag::OL_TX_FAST_FREE),
        ];
        Some(NicBasic {
            name: Name::truncated(&d.name),
            addr: Name::truncated(&HwAddr(d.mac()).to_string().to_uppercase()),
            link_status: Name::truncated(if link.up { "UP" } else { "DOWN" }),
            link_duplex: Name::truncated(if link.full_duplex {
                "full-duplex"
            } else {
                "half-duplex"
            }),
            link_autoneg: Name::truncated(if link.autoneg {
                "auto-nego"
            } else {
                "fixed-nego"
            }),
            link_speed: link.speed_mbps.unwrap_or(0),
            nrxq: queues(rx),
            ntxq: queues(tx),
            padding: [0; 3],
            socket_id: u8::try_from(d.port.socket()).unwrap_or(0),
            port_id: port.0,
            mtu: d.mtu,
            flags: flags
                .iter()
                .filter(|(on, _)| *on)
                .fold(0, |all, (_, bit)| all | bit),
        })
    }

    fn stats(&self, port: PortId) -> Option<NicStats> {
        let Some(d) = self.device(port) else {
            return self.made.stats(port);
        };
        let s = d.port.stats().unwrap_or_default();
        let column = |at: usize| s.queues.map(|q| q.get(at).copied().unwrap_or(0));
        Some(NicStats {
            mbuf_avail: d.pool.available(),
            mbuf_inuse: d.pool.in_use(),
            ipackets: s.ipackets,
            opackets: s.opackets,
            ibytes: s.ibytes,
            obytes: s.obytes,
            imissed: s.imissed,
            ierrors: s.ierrors,
            oerrors: s.oerrors,
            rx_nombuf: s.rx_nombuf,
            q_ipackets: column(0),
            q_ibytes: column(1),
            q_opackets: column(2),
            q_obytes: column(3),
            q_errors: column(4),
            padding: [0; 3],
            port_id: port.0,
        })
    }

    fn xstats(&self, port: PortId) -> Option<Vec<(String, u64)>> {
        Some(self.device(port)?.port.xstats().unwrap_or_default())
    }

    fn device(&self, port: PortId) -> Option<NicDev> {
        let d = self.devices.get(usize::from(port.0))?;
        let i = d.port.info().unwrap_or_else(|_| d.info.clone());
        // The fields of the message hold the low 32 bits.
        let low = |bits: u64| (bits & u64::from(u32::MAX)) as u32;
        Some(NicDev {
            pci_addr: Name::truncated(&i.device),
            driver_name: Name::truncated(&i.driver),
            if_index: i.if_index,
            min_rx_bufsize: i.rx_sizes.0,
            max_rx_pktlen: i.rx_sizes.1,
            max_rx_queues: i.max_queues.0,
            max_tx_queues: i.max_queues.1,
            max_mac_addrs: i.max_macs.0,
            max_hash_mac_addrs: i.max_macs.1,
            max_vfs: i.max_virtual.0,
            max_vmdq_pools: i.max_virtual.1,
            rx_offload_capa: low(i.rx_offloads.0),
            tx_offload_capa: low(i.tx_offloads.0),
            reta_size: i.reta_size.into(),
            hash_key_size: i.hash_key_size,
            flow_type_rss_offloads: i.rss_types,
            vmdq_queue_base: i.vmdq.0,
            vmdq_queue_num: i.vmdq.1,
            vmdq_pool_base: i.vmdq.2,
            rx_desc_lim_nb_min: i.rx_desc.0,
            rx_desc_lim_nb_max: i.rx_desc.1,
            rx_desc_lim_nb_align: i.rx_desc.2,
            tx_desc_lim_nb_min: i.tx_desc.0,
            tx_desc_lim_nb_max: i.tx_desc.1,
            tx_desc_lim_nb_align: i.tx_desc.2,
            speed_capa: i.speeds,
        })
    }

    fn multicast(&self, port: PortId) -> Vec<([u8; 6], u32)> {
        self.device(port)
            .map(|d| d.port.multicast().to_vec())
            .unwrap_or_default()
    }

    fn join(&mut self, port: PortId, groups: &[[u8; 6]]) {
        // A member of a bond carries for the bond, which passes its own groups on.
        if let Some(d) = self.devices.get_mut(usize::from(port.0))
            && d.info.queues != (0, 0)
        {
            refilter(&mut d.port, &mut d.joined, groups);
        }
    }

    fn host_mac(&self, port: PortId, mac: [u8; 6]) -> Result<(), String> {
        let host = match self.device(port) {
            Some(d) => d.host.as_deref(),
            None => self.made.host(port),
        };
        host.map_or(Ok(()), |host| set_host_mac(host, mac))
            .map_err(|e| e.to_string())
    }

    fn set(&mut self, port: PortId, change: PortChange) -> Result<(), String> {
        let Some(d) = self.devices.get_mut(usize::from(port.0)) else {
            return Err("no such port".into());
        };
        match change {
            PortChange::Promisc(on) => d.port.set_promiscuous(on),
            PortChange::AllMulticast(on) => d.port.set_allmulticast(on),
            PortChange::Up(on) => d.port.set_link(on),
            PortChange::Mac(mac) => {
                let done = d.port.set_mac(mac);
                bonds::listen_again(&self.devices, usize::from(port.0));
                return done.map_err(|e| e.to_string());
            }
            PortChange::Forward2Kni(on) => {
                if on && d.host.is_none() {
                    return Err("the port has no host port".into());
                }
                d.forward2kni = on;
                Ok(())
            }
        }
        .map_err(|e| e.to_string())
    }

    fn lcore_stats(&self, lcore: u8) -> LcoreStats {
        let Some(c) = self.counters.get(&lcore) else {
            return LcoreStats::default();
        };
        LcoreStats {
            lcore_id: lcore,
            lcore_loop: c.loops.get(),
            pktburst: c.bursts.get(),
            zpktburst: c.zero.get(),
            fpktburst: c.full.get(),
            z2hpktburst: c.to_half.get(),
            h2fpktburst: c.over_half.get(),
            ipackets: c.ipackets.get(),
            ibytes: c.ibytes.get(),
            opackets: c.opackets.get(),
            obytes: c.obytes.get(),
            // As in DPVS: what was refused and what found no room.
            dropped: c.dropped() + c.refused.get(),
        }
    }

    fn lost(&self, lcore: u8) -> Vec<(&'static str, u64)> {
        let Some(c) = self.counters.get(&lcore) else {
            return Vec::new();
        };
        let counted = Lost::ALL.iter().zip(&c.lost);
        counted.map(|(why, n)| (why.text(), n.get())).collect()
    }

    fn turns(&self, lcore: u8) -> [u64; 16] {
        self.counters
            .get(&lcore)
            .map_or([0; 16], |c| std::array::from_fn(|i| c.turns[i].get()))
    }

    fn socket_of(&self, lcore: u8) -> u8 {
        self.sockets.get(&lcore).copied().unwrap_or(0)
    }

    fn watch(&self) -> Option<&Watch> {
        Some(&self.watch)
    }

    fn laddrs(&mut self, wanted: &[(PortId, IpAddr)]) -> Returns {
        self.ways.set(self.devices.as_slice(), wanted)
    }

    fn affinity(&self, port: PortId) -> Option<Affinity> {
        self.ways.affinity(port)
    }

    fn end(&mut self) {
        // Bonds, which come last, before their members.
        for d in self.devices.iter().rev() {
            match d.port.stop() {
                Ok(()) => tracing::debug!("device {}: stopped", d.name),
                Err(e) => tracing::warn!("{e}"),
            }
        }
    }

    fn every_second(&mut self) {
        if self.devices.iter().any(|d| d.host.is_some())
            && let Ok(text) = std::fs::read_to_string("/proc/net/dev_mcast")
        {
            for (at, d) in (0..).zip(&mut self.devices) {
                let Some(host) = &d.host else { continue };
                let mut groups = kernel_groups(&text, host);
                for vlan in self.made.hosts_on(PortId(at)) {
                    groups.extend(kernel_groups(&text, vlan));
                }
                groups.sort_unstable();
                groups.dedup();
                refilter(&mut d.port, &mut d.kernel, &groups);
            }
        }
    }

    fn moved(&mut self) -> Vec<PortId> {
        let first = self.devices.len() - self.bonds.min(self.devices.len());
        let mut moved = Vec::new();
        for (at, d) in (0..).zip(&mut self.devices).skip(first) {
            let by = bonds::sends_by(&d.port);
            if by.is_some() && by != d.sends_by {
                if d.sends_by.is_some() {
                    moved.push(PortId(at));
                }
                d.sends_by = by;
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::kernel_groups;

    #[test]
    fn groups_of_one_interface() {
        let text = "2    eth0            1     0     333300000001\n\
                    7    dpdk0.kni       1     0     01005e000012\n\
                    7    dpdk0.kni       2     0     3333ff000001\n\
                    8    dpdk1.kni       1     0     01005e000001\n\
                    broken\n9 dpdk0.kni 1 0 01005e\n";
        assert_eq!(
            kernel_groups(text, "dpdk0.kni"),
            [[1, 0, 0x5e, 0, 0, 0x12], [0x33, 0x33, 0xff, 0, 0, 1]]
        );
        assert!(kernel_groups(text, "eth1").is_empty());
    }
}
