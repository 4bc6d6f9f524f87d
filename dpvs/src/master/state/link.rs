//! The devices by name and what the workers must know of them.
//!
//! First the ports (and bonds) that were there at the start, then what was made by
//! command: VLAN devices and tunnels. A removed device leaves a hole, whose number
//! is given again once no worker forwards by a snapshot that still has the device.

use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::tunnel::Tunnel;
use dpvs_core::snapshot::Tag;

use crate::master::error::{Fault, Result};

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Device name.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u16,
    /// Has a host port.
    pub has_host: bool,
    /// Copies everything to the host port.
    pub forward2kni: bool,
}

/// What a device made by command is.
#[derive(Clone, Debug)]
pub(crate) enum Over {
    /// A VLAN; `own_mac`: does not follow the MAC address of the port below.
    Vlan { tag: Tag, own_mac: bool },
    /// A tunnel.
    Tunnel(Arc<Tunnel>),
}

#[derive(Clone, Debug)]
enum Slot {
    Used(Link, Over),
    /// Nobody forwards by it from that epoch on.
    Hole(u64),
}

/// All devices; the index is the [`PortId`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// Ports and bonds.
    pub(crate) wires: Vec<Link>,
    made: Vec<Slot>,
}

/// Devices made by command, at most.
const MADE_MAX: usize = 8192;

impl Links {
    /// The device of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<PortId> {
        self.ids()
            .find(|id| self.get(*id).is_some_and(|l| l.name.as_bytes() == name))
    }

    fn slot(&self, port: PortId) -> Option<&Slot> {
        let at = usize::from(port.0).checked_sub(self.wires.len())?;
        self.made.get(at)
    }

    pub(crate) fn get(&self, port: PortId) -> Option<&Link> {
        match self.slot(port) {
            Some(Slot::Used(link, _)) => Some(link),
            Some(Slot::Hole(_)) => None,
            None => self.wires.get(usize::from(port.0)),
        }
    }

    /// A device made by command, to change it.
    pub(crate) fn made_mut(&mut self, port: PortId) -> Option<(&mut Link, &mut Over)> {
        let at = usize::from(port.0).checked_sub(self.wires.len())?;
        match self.made.get_mut(at)? {
            Slot::Used(link, over) => Some((link, over)),
            Slot::Hole(_) => None,
        }
    }

    /// What a device made by command is; none for ports.
    pub(crate) fn over(&self, port: PortId) -> Option<&Over> {
        match self.slot(port)? {
            Slot::Used(_, over) => Some(over),
            Slot::Hole(_) => None,
        }
    }

    /// The VLAN a device is; none for others.
    pub(crate) fn tag(&self, port: PortId) -> Option<Tag> {
        match self.over(port)? {
            Over::Vlan { tag, .. } => Some(*tag),
            Over::Tunnel(_) => None,
        }
    }

    /// The tunnel a device is; none for others.
    pub(crate) fn tunnel(&self, port: PortId) -> Option<&Arc<Tunnel>> {
        match self.over(port)? {
            Over::Vlan { .. } => None,
            Over::Tunnel(tunnel) => Some(tunnel),
        }
    }

    /// The name of a device; empty for one that is not there.
    pub(crate) fn name(&self, port: PortId) -> &str {
        self.get(port).map_or("", |l| l.name.as_str())
    }

    /// Every number, those of holes too.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..u16::try_from(self.wires.len() + self.made.len()).unwrap_or(u16::MAX)).map(PortId)
    }

    /// The numbers of all devices.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PortId> + use<'_> {
        self.numbers().filter(|id| self.get(*id).is_some())
    }

    /// Names by number, empty for holes.
    pub(crate) fn names(&self) -> Vec<String> {
        self.numbers().map(|id| self.name(id).to_owned()).collect()
    }

    /// Adds a device made by command; `reached` is the epoch all workers have.
    pub(crate) fn add(&mut self, link: Link, over: Over, reached: u64) -> Result<PortId> {
        if self.find(link.name.as_bytes()).is_some() {
            return Err(Fault::Exists);
        }
        let hole = |slot: &Slot| matches!(slot, Slot::Hole(since) if *since <= reached);
        let at = match self.made.iter().position(hole) {
            Some(at) => at,
            None if self.made.len() < MADE_MAX => self.made.len(),
            None => return Err(Fault::NoRoom),
        };
        let number = u16::try_from(self.wires.len() + at).map_err(|_| Fault::NoRoom)?;
        let slot = Slot::Used(link, over);
        match self.made.get_mut(at) {
            Some(hole) => *hole = slot,
            None => self.made.push(slot),
        }
        Ok(PortId(number))
    }

    /// Removes a device made by command, which is in no snapshot from `epoch` on.
    pub(crate) fn remove(&mut self, port: PortId, epoch: u64) -> Option<Link> {
        let at = usize::from(port.0).checked_sub(self.wires.len())?;
        let slot = self.made.get_mut(at)?;
        match std::mem::replace(slot, Slot::Hole(epoch)) {
            Slot::Used(link, _) => Some(link),
            hole @ Slot::Hole(_) => {
                *slot = hole;
                None
            }
        }
    }
}
