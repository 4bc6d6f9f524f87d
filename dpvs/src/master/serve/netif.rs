//! Ports and lcores (ids 54 and 57 to 66).

use std::fmt::Write as _;

use dpvs_core::frame::PortId;
use dpvs_core::tc::Side;
use dpvs_ctl::msg::{
    BondSet, ConfQueues, HwMaddr, LcoreBasic, LcoreMask, McList, NicBasic, NicExt, NicList, NicSet,
    PortId as ListedPort, XStat, XStatsHead, nic_set,
};
use dpvs_ctl::wire::{encode_counted, encode_list};
use dpvs_ctl::{HwAddr, Name, Wire};

use super::{Answer, exact};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::netif::{LcoreQueues, PortChange};
use crate::master::state::link::{Link, Over};

/// Queue ids are 0 to 15, by DPVS's build constants.
const QUEUES_MAX: u16 = 16;

/// A MAC address in text; none unless it is a unicast one and not zero.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let mut parts = text.trim().split([':', '-']);
    for slot in &mut out {
        let part = parts.next().filter(|p| matches!(p.len(), 1 | 2))?;
        *slot = u8::from_str_radix(part, 16).ok()?;
    }
    let first = *out.first()?;
    (parts.next().is_none() && out != [0; 6] && first & 1 == 0).then_some(out)
}

fn mac_text(mac: [u8; 6]) -> String {
    HwAddr(mac).to_string()
}

impl Master {
    pub(super) fn lcore_mask(&mut self) -> Result<Answer> {
        let t = &self.topology;
        let mask = LcoreMask {
            master_lcore_id: t.master,
            kni_lcore_id: t.kni.as_ref().map_or(0, |k| k.lcore),
            slave_lcore_num: u8::try_from(t.workers.len()).unwrap_or(u8::MAX),
            isol_rx_lcore_num: u8::try_from(t.isolated.len()).unwrap_or(u8::MAX),
            slave_lcore_mask: t
                .workers
                .iter()
                .fold(0, |m, w| m | 1u64.checked_shl(w.lcore.into()).unwrap_or(0)),
            isol_rx_lcore_mask: t
                .isolated
                .iter()
                .fold(0, |m, w| m | 1u64.checked_shl(w.lcore.into()).unwrap_or(0)),
        };
        Ok(Answer::Body(mask.encode()))
    }

    /// The lcore a one-byte body names; none for the master.
    fn lcore(&self, body: &[u8]) -> Result<(u8, Option<&LcoreQueues>)> {
        let [id] = body else {
            return Err(Fault::Invalid("body of the wrong size"));
        };
        if *id == self.topology.master {
            return Ok((*id, None));
        }
        let t = &self.topology;
        let mut known = t.workers.iter().chain(&t.kni).chain(&t.isolated);
        let queues = known
            .find(|w| w.lcore == *id)
            .ok_or(Fault::Invalid("lcore without a task"))?;
        Ok((*id, Some(queues)))
    }

    pub(super) fn lcore_basic(&mut self, body: &[u8]) -> Result<Answer> {
        let (lcore_id, queues) = self.lcore(body)?;
        let mut text = Vec::new();
        if let Some(queues) = queues {
            let none = queues.rx.is_empty() && queues.tx.is_empty();
            // DIFFERS: DPVS refuses for the host ports' lcore as well, which
            // needs no queues.
            if none && self.topology.workers.iter().any(|w| w.lcore == lcore_id) {
                return Err(Fault::Missing);
            }
            if !none {
                text = self.queue_cells(queues).into_bytes();
                text.push(0);
            }
        }
        let head = LcoreBasic {
            lcore_id,
            socket_id: self.netif.socket_of(lcore_id),
            queue_data_len: u32::try_from(text.len()).unwrap_or(u32::MAX),
        };
        let mut out = head.encode();
        out.extend_from_slice(&text);
        Ok(Answer::Body(out))
    }

    /// `<port>:rx<n>` and `<port>:tx<n>` in cells of 16, `--` for a missing one.
    fn queue_cells(&self, queues: &LcoreQueues) -> String {
        let mut out = String::new();
        for port in self.state.links.ids() {
            let name = self.state.links.name(port);
            let of = |list: &[(PortId, u16)]| -> Vec<u16> {
                list.iter()
                    .filter(|(p, _)| *p == port)
                    .map(|(_, q)| *q)
                    .collect()
            };
            let (rx, tx) = (of(&queues.rx), of(&queues.tx));
            for n in 0..rx.len().max(tx.len()) {
                let cell = |dir: &str, q: Option<&u16>| {
                    q.map_or_else(|| format!("{name}:{dir}--"), |q| format!("{name}:{dir}{q}"))
                };
                let _ = write!(
                    out,
                    "{:<16}{:<16}",
                    cell("rx", rx.get(n)),
                    cell("tx", tx.get(n))
                );
            }
        }
        out
    }

    pub(super) fn lcore_stats(&mut self, body: &[u8]) -> Result<Answer> {
        let (lcore_id, _) = self.lcore(body)?;
        let mut stats = self.netif.lcore_stats(lcore_id);
        stats.lcore_id = lcore_id;
        Ok(Answer::Body(stats.encode()))
    }

    pub(super) fn port_list(&mut self) -> Result<Answer> {
        let list: Vec<ListedPort> = self
            .state
            .links
            .ids()
            .map(|p| ListedPort {
                id: p.0,
                name: Name::truncated(self.state.links.name(p)),
            })
            .collect();
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let wires = self.state.links.wires.len();
        let bonds = self.netif.bonds();
        let head = NicList {
            nic_num: short(list.len()),
            phy_pid_base: 0,
            phy_pid_end: short(wires.saturating_sub(bonds)),
            bond_pid_base: short(wires.saturating_sub(bonds)),
            bond_pid_end: short(wires),
        };
        Ok(Answer::Body(encode_list(&head, &list)))
    }

    pub(super) fn port_basic(&mut self, body: &[u8]) -> Result<Answer> {
        let port = self.named_port(body)?;
        let mut basic = match self.state.links.get(port) {
            Some(link) if self.state.links.over(port).is_some() => self.made_basic(port, link),
            _ => self.netif.basic(port).ok_or(Fault::Missing)?,
        };
        basic.name = Name::truncated(self.state.links.name(port));
        basic.port_id = port.0;
        if self.state.links.get(port).is_some_and(|l| l.forward2kni) {
            basic.flags |= dpvs_ctl::msg::nic_flag::FWD2KNI;
        }
        if self.speaks(port) {
            basic.flags |= dpvs_ctl::msg::nic_flag::LLDP;
        }
        if let Some(tc) = self.state.tcs.port(port) {
            if tc.on[Side::Egress as usize] {
                basic.flags |= dpvs_ctl::msg::nic_flag::TC_EGRESS;
            }
            if tc.on[Side::Ingress as usize] {
                basic.flags |= dpvs_ctl::msg::nic_flag::TC_INGRESS;
            }
        }
        Ok(Answer::Body(basic.encode()))
    }

    /// A device made by command: the state is that of the port below it.
    fn made_basic(&self, port: PortId, link: &Link) -> NicBasic {
        let below = match self.state.links.over(port) {
            Some(Over::Vlan { tag, .. }) => Some(tag.parent),
            Some(Over::Tunnel(tunnel)) => tunnel.link,
            None => None,
        };
        let below = below.and_then(|below| self.netif.basic(below));
        NicBasic {
            addr: Name::truncated(&mac_text(link.mac).to_uppercase()),
            nrxq: 0,
            ntxq: 0,
            mtu: link.mtu,
            flags: 0,
            ..below.unwrap_or(NicBasic {
                link_status: Name::truncated("UP"),
                ..NicBasic::default()
            })
        }
    }

    pub(super) fn port_stats(&mut self, body: &[u8]) -> Result<Answer> {
        let port = self.named_port(body)?;
        let mut stats = self.netif.stats(port).ok_or(Fault::Missing)?;
        stats.port_id = port.0;
        Ok(Answer::Body(stats.encode()))
    }

    pub(super) fn port_xstats(&mut self, body: &[u8]) -> Result<Answer> {
        let port = self.named_port(body)?;
        let list: Vec<XStat> = (0u64..)
            .zip(match self.state.links.over(port) {
                Some(_) => Vec::new(),
                None => self.netif.xstats(port).ok_or(Fault::Missing)?,
            })
            .map(|(id, (name, val))| XStat {
                id,
                val,
                name: Name::truncated(&name),
            })
            .collect();
        if list.is_empty() {
            return Ok(Answer::Body(Vec::new()));
        }
        let head = XStatsHead {
            pid: port.0,
            nentries: u16::try_from(list.len()).unwrap_or(u16::MAX),
        };
        Ok(Answer::Body(encode_list(
            &head,
            list.get(..head.nentries.into()).unwrap_or(&list),
        )))
    }

    pub(super) fn port_ext(&mut self, body: &[u8]) -> Result<Answer> {
        let port = self.named_port(body)?;
        let dev_info = self.netif.device(port).ok_or(Fault::Missing)?;
        let queues = self.queue_lines(port);
        let groups = self.netif.multicast(port);
        let mut macs = String::new();
        for (mac, users) in &groups {
            let _ = writeln!(
                macs,
                "        link {} refcnt {users}, synced 1",
                mac_text(*mac)
            );
        }
        // Each text ends with a NUL that its length does not count.
        let text = [queues.as_bytes(), &[0], macs.as_bytes(), &[0]].concat();
        let head = NicExt {
            port_id: port.0,
            dev_info,
            cfg_queues: ConfQueues {
                data_offset: 0,
                data_len: queues.len() as u64,
            },
            mc_list: McList {
                data_offset: queues.len() as u64 + 1,
                data_len: macs.len() as u64,
                naddr: i32::try_from(groups.len()).unwrap_or(i32::MAX),
            },
            datalen: text.len() as u64,
        };
        let mut out = head.encode();
        out.extend_from_slice(&text);
        Ok(Answer::Body(out))
    }

    /// Which lcore has the n-th receive and transmit queue of a port.
    fn queue_lines(&self, port: PortId) -> String {
        let all = || self.topology.workers.iter().chain(&self.topology.kni);
        let last = all()
            .flat_map(|w| w.rx.iter().chain(&w.tx))
            .map(|(_, q)| *q)
            .max()
            .unwrap_or(0);
        let owner = |pick: fn(&LcoreQueues) -> &Vec<(PortId, u16)>, queue: u16| {
            all()
                .find(|w| pick(w).contains(&(port, queue)))
                .map_or_else(|| "xx".to_owned(), |w| format!("cpu{}", w.lcore))
        };
        let mut out = String::new();
        for queue in 0..=last.min(QUEUES_MAX - 1) {
            let ids = format!("rx{queue}-tx{queue}");
            let owners = format!("{}-{}", owner(|w| &w.rx, queue), owner(|w| &w.tx, queue));
            let _ = writeln!(out, "    {ids:<12}{owners:<25}");
        }
        out
    }

    pub(super) fn port_maddr(&mut self, body: &[u8]) -> Result<Answer> {
        let port = self.named_port(body)?;
        let list: Vec<HwMaddr> = self
            .netif
            .multicast(port)
            .into_iter()
            .map(|(mac, refcnt)| HwMaddr {
                addr: Name::truncated(&mac_text(mac)),
                refcnt,
                flags: 0,
                sync_cnt: 1,
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }

    pub(super) fn port_set(&mut self, body: &[u8]) -> Result<Answer> {
        let set: NicSet = exact(body)?;
        let port = self
            .state
            .links
            .find(set.pname.bytes())
            .ok_or(Fault::Invalid("no such device"))?;
        let on = |on: u16, off: u16| {
            if set.flags & on != 0 {
                Some(true)
            } else {
                (set.flags & off != 0).then_some(false)
            }
        };
        let pairs = [
            on(nic_set::PROMISC_ON, nic_set::PROMISC_OFF).map(PortChange::Promisc),
            on(nic_set::ALLMULTICAST_ON, nic_set::ALLMULTICAST_OFF).map(PortChange::AllMulticast),
            on(nic_set::LINK_UP, nic_set::LINK_DOWN).map(PortChange::Up),
            on(nic_set::FWD2KNI_ON, nic_set::FWD2KNI_OFF).map(PortChange::Forward2Kni),
            mac(&set.macaddr.text()).map(PortChange::Mac),
        ];
        let sides = [
            (
                Side::Egress,
                on(nic_set::TC_EGRESS_ON, nic_set::TC_EGRESS_OFF),
            ),
            (
                Side::Ingress,
                on(nic_set::TC_INGRESS_ON, nic_set::TC_INGRESS_OFF),
            ),
        ];
        for (side, on) in sides {
            if let Some(on) = on {
                self.state.tcs.switch(port, side, on);
            }
        }
        if let Some(on) = on(nic_set::LLDP_ON, nic_set::LLDP_OFF) {
            self.lldp.off.retain(|p| *p != port);
            if !on {
                self.lldp.off.push(port);
            }
            self.lldp.hurry();
            self.join_groups();
        }
        if self.state.links.over(port).is_some() {
            for change in pairs.into_iter().flatten() {
                self.set_made(port, change);
            }
            return Ok(Answer::Done);
        }
        for change in pairs.into_iter().flatten() {
            // As DPVS: the client is not told of a driver's refusal.
            if let Err(why) = self.netif.set(port, change) {
                tracing::warn!("{}: {change:?}: {why}", self.state.links.name(port));
            }
        }
        self.refresh_links();
        Ok(Answer::Done)
    }
}

impl Master {
    pub(super) fn bond_status(&mut self, body: &[u8]) -> Result<Answer> {
        let port = self.named_port(body)?;
        let status = self.netif.bond(port);
        let status = status.ok_or(Fault::Invalid("not a bond"))?;
        Ok(Answer::Body(status.encode()))
    }

    pub(super) fn bond_set(&mut self, body: &[u8]) -> Result<Answer> {
        let set: BondSet = exact(body)?;
        let port = self.state.links.find(set.name.bytes());
        let port = port.filter(|port| self.netif.bond(*port).is_some());
        let port = port.ok_or(Fault::Invalid("no bond of that name"))?;
        // As DPVS: the client is not told of a driver's refusal.
        if let Err(why) = self.netif.set_bond(port, &set) {
            tracing::warn!("{}: {why}", self.state.links.name(port));
        }
        self.refresh_links();
        Ok(Answer::Done)
    }

    /// Changes a device made by command.
    fn set_made(&mut self, port: PortId, change: PortChange) {
        let Some((link, over)) = self.state.links.made_mut(port) else {
            return;
        };
        match (change, over) {
            (PortChange::Forward2Kni(on), _) if !on || link.has_host => link.forward2kni = on,
            (PortChange::Mac(mac), Over::Vlan { own_mac, .. }) => {
                link.mac = mac;
                *own_mac = true;
                self.tell_host_mac(port);
            }
            // As DPVS: the client is not told.
            _ => return tracing::warn!("{}: {change:?}: not for this kind of device", link.name),
        }
        self.hear_macs();
        self.state.net_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::mac;

    #[test]
    fn mac_addresses() {
        assert_eq!(
            mac("a0:36:9f:F0:e4:d4"),
            Some([0xa0, 0x36, 0x9f, 0xf0, 0xe4, 0xd4])
        );
        for bad in [
            "",
            "01:00:00:00:00:01",
            "00:00:00:00:00:00",
            "a0:36:9f:f0:e4",
            "a0:36:9f:f0:e4:d4:1",
            "x0:1:2:3:4:5",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}
