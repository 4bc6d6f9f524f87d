//! VLAN devices (ids 81 to 83).

use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::snapshot::Tag;
use dpvs_ctl::Name;
use dpvs_ctl::msg::Vlan;
use dpvs_ctl::wire::encode_counted;

use super::{Answer, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::link::{Link, Over};
use crate::master::state::service::NO_DEVICE;

/// The one protocol there is (802.1Q).
const PROTO: u16 = 0x8100;

impl Master {
    /// A port that may have VLAN devices: none of these itself, no tunnel.
    fn real_dev(&self, name: &Name<16>) -> Result<PortId> {
        let port = self.state.links.find(name.bytes()).ok_or(Fault::NoDevice)?;
        match self.state.links.over(port) {
            None => Ok(port),
            Some(_) => Err(Fault::Invalid("VLAN devices are on ports and bonds only")),
        }
    }

    fn vlan_of(&self, parent: PortId, id: u16) -> Option<PortId> {
        let tag = Tag { parent, id };
        let is = |port: &PortId| self.state.links.tag(*port) == Some(tag);
        self.state.links.ids().find(is)
    }

    pub(super) fn vlan_add(&mut self, body: &[u8]) -> Result<Answer> {
        let vlan: Vlan = prefix(body)?;
        let parent = self.real_dev(&vlan.real_dev)?;
        if vlan.vlan_proto != PROTO {
            return Err(Fault::Invalid("VLAN protocol other than 802.1Q"));
        }
        if !(1..=4095).contains(&vlan.vlan_id) {
            return Err(Fault::Invalid("VLAN id"));
        }
        if self.vlan_of(parent, vlan.vlan_id).is_some() {
            return Err(Fault::Exists);
        }
        let below = self.state.links.get(parent).ok_or(Fault::NoDevice)?.clone();
        let name = if vlan.ifname.is_empty() {
            format!("{}.{}", below.name, vlan.vlan_id)
        } else {
            vlan.ifname.text().into_owned()
        };
        let link = Link {
            name,
            has_host: false,
            forward2kni: false,
            ..below
        };
        let tag = Tag {
            parent,
            id: vlan.vlan_id,
        };
        let over = Over::Vlan {
            tag,
            own_mac: false,
        };
        let port = self.add_device(link, over)?;
        self.add_link_locals(vec![port]);
        Ok(Answer::Done)
    }

    /// Adds a device made by command, everywhere but at the workers.
    pub(super) fn add_device(&mut self, link: Link, over: Over) -> Result<PortId> {
        let good = |b: u8| b.is_ascii_graphic() && b != b'/';
        if !(1..=15).contains(&link.name.len()) || !link.name.bytes().all(good) {
            return Err(Fault::Invalid("name of a device"));
        }
        let reached = self.publisher.lowest();
        let tag = match &over {
            Over::Vlan { tag, .. } => Some(*tag),
            Over::Tunnel(_) => None,
        };
        let port = self.state.links.add(link, over, reached)?;
        if let Some((link, _)) = self.state.links.made_mut(port) {
            link.has_host = self.netif.plug(port, link, tag);
        }
        self.hear_macs();
        self.state.net_changed = true;
        Ok(port)
    }

    /// Removes a device made by command with its addresses and routes.
    pub(super) fn del_device(&mut self, port: PortId) {
        self.state.flush_addrs(port);
        self.state.kni_flows.retain(|(p, _)| *p != port);
        // Its number is another device's some day.
        for set in self.state.tcs.forget(port) {
            self.state.guards.sets.used(set, -1);
        }
        self.state.guards.sets.device_gone(port);
        self.state.services.device_gone(port);
        let ids: Vec<PortId> = self.state.links.ids().collect();
        for id in ids {
            if let Some((_, Over::Tunnel(tunnel))) = self.state.links.made_mut(id)
                && tunnel.link == Some(port)
            {
                Arc::make_mut(tunnel).link = Some(NO_DEVICE);
            }
        }
        self.state.routes.flush(port, true);
        self.state.routes.flush(port, false);
        self.state.links.remove(port, self.publisher.next_epoch());
        self.unplugging.push((self.publisher.next_epoch(), port));
        self.hear_macs();
        self.state.net_changed = true;
    }

    /// Devices that no worker knows any more lose their wiring.
    pub(in crate::master) fn unplug_gone(&mut self) {
        let reached = self.publisher.lowest();
        let gone = self
            .unplugging
            .extract_if(.., |(epoch, _)| *epoch <= reached);
        for (_, port) in gone {
            self.netif.unplug(port);
        }
    }

    /// Ports hear the MAC addresses of the devices on them.
    pub(super) fn hear_macs(&mut self) {
        let links = &self.state.links;
        for (port, wire) in (0..).map(PortId).zip(&links.wires) {
            let on = |id: &PortId| links.tag(*id).is_some_and(|tag| tag.parent == port);
            let macs: Vec<[u8; 6]> = links
                .ids()
                .filter(on)
                .filter_map(|id| Some(links.get(id)?.mac))
                .filter(|mac| *mac != wire.mac)
                .collect();
            self.netif.hear(port, &macs);
        }
    }

    /// VLAN devices without a MAC address of their own have the port's.
    pub(in crate::master) fn follow_macs(&mut self) {
        let ids: Vec<PortId> = self.state.links.ids().collect();
        for id in ids {
            let Some(tag) = self.state.links.tag(id) else {
                continue;
            };
            let below = self.state.links.get(tag.parent).map(|l| l.mac);
            if let (Some(mac), Some((link, Over::Vlan { own_mac: false, .. }))) =
                (below, self.state.links.made_mut(id))
            {
                if link.mac == mac {
                    continue;
                }
                link.mac = mac;
                self.tell_host_mac(id);
            }
        }
    }

    /// The kernel's interface of a device takes its MAC address: frames for the device
    /// are the kernel's only if they are to that one.
    pub(in crate::master) fn tell_host_mac(&self, device: PortId) {
        let link = self.state.links.get(device).filter(|link| link.has_host);
        if let Some(link) = link
            && let Err(why) = self.netif.host_mac(device, link.mac)
        {
            tracing::warn!("{}: {why}", link.name);
        }
    }

    pub(super) fn vlan_del(&mut self, body: &[u8]) -> Result<Answer> {
        let vlan: Vlan = prefix(body)?;
        let port = if vlan.ifname.is_empty() {
            let parent = self.real_dev(&vlan.real_dev)?;
            self.vlan_of(parent, vlan.vlan_id).ok_or(Fault::Missing)?
        } else {
            let port = self.state.links.find(vlan.ifname.bytes());
            let port = port.ok_or(Fault::NoDevice)?;
            self.state.links.tag(port).ok_or(Fault::Missing)?;
            port
        };
        self.del_device(port);
        Ok(Answer::Done)
    }

    pub(super) fn vlan_list(&mut self, body: &[u8]) -> Result<Answer> {
        let vlan: Vlan = prefix(body)?;
        let links = &self.state.links;
        let ports: Vec<PortId> = if vlan.ifname.is_empty() {
            let parent = links.find(vlan.real_dev.bytes()).ok_or(Fault::NoDevice)?;
            links
                .ids()
                .filter(|id| {
                    links.tag(*id).is_some_and(|tag| {
                        tag.parent == parent
                            && [0, PROTO].contains(&vlan.vlan_proto)
                            && [0, tag.id].contains(&vlan.vlan_id)
                    })
                })
                .collect()
        } else {
            let port = links.find(vlan.ifname.bytes()).ok_or(Fault::NoDevice)?;
            links.tag(port).ok_or(Fault::Invalid("not a VLAN device"))?;
            vec![port]
        };
        let list: Vec<Vlan> = ports
            .into_iter()
            .filter_map(|port| {
                let tag = links.tag(port)?;
                Some(Vlan {
                    real_dev: Name::truncated(links.name(tag.parent)),
                    ifname: Name::truncated(links.name(port)),
                    vlan_proto: PROTO,
                    vlan_id: tag.id,
                })
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }
}
