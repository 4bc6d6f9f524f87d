//! Devices made by command: what the lcores and the kernel have to know of them.
//!
//! A VLAN device gets a host port of its own, with rings to it, and every lcore is
//! told how its frames are tagged; a tunnel is counted only. Knows no addresses and
//! no routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Hearing, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use dpvs_core::frame::PortId;
use dpvs_core::snapshot::Tag;
use dpvs_ctl::msg::NicStats;

use crate::lcore::Counter;
use crate::master::Link;
use crate::port::{
    BridgeChange, Eal, HostBridge, HostPort, Pool, Receiver, Result, SharedSender, ring,
};
use crate::wiring::{DeviceCounters, Seqs, Wiring};

/// Entries of a ring between a worker and a host port, as in DPVS.
pub const HOST_RING: u32 = 2048;

/// How long a new device waits for the kernel interface of an old one of its name.
const LEAVE: Duration = Duration::from_secs(1);

/// A device made by command.
#[derive(Debug)]
struct Device {
    /// One of each lcore.
    counters: Vec<Arc<DeviceCounters>>,
    /// Kernel interface.
    host: Option<String>,
    /// The port it is on, of a VLAN device.
    parent: Option<PortId>,
}

/// All of them.
#[derive(Debug)]
pub struct Made {
    eal: Eal,
    /// To each lcore.
    wires: Vec<Sender<Wiring>>,
    /// To the thread of the host ports, if there is one.
    host: Option<Sender<BridgeChange>>,
    devices: BTreeMap<PortId, Device>,
    /// Kernel interfaces that are to go; each is heard of until it is gone.
    leaving: BTreeMap<String, Hearing<()>>,
    /// Rings have names that are not used again: an old one may still be in use.
    serial: u64,
}

impl Made {
    /// None yet.
    #[must_use]
    pub fn new(eal: Eal, wires: Vec<Sender<Wiring>>, host: Option<Sender<BridgeChange>>) -> Self {
        Self {
            eal,
            wires,
            host,
            devices: BTreeMap::new(),
            leaving: BTreeMap::new(),
            serial: 0,
        }
    }

    /// A new device; `home` is the pool and NUMA node of the port below it. True
    /// if the kernel has an interface for it.
    pub fn plug(
        &mut self,
        device: PortId,
        link: &Link,
        tag: Option<Tag>,
        home: Option<(Pool, u32)>,
    ) -> bool {
        let mut rings = None;
        let mut host = None;
        self.await_gone(&host_name(link));
        if let (Some(bridges), Some((pool, socket))) = (&self.host, home) {
            self.serial += 1;
            match bridge(&self.eal, self.serial, link, pool, socket) {
                Ok((bridge, to_host, from_host)) => {
                    tracing::info!(
                        "device {}: host port {} ({})",
                        link.name,
                        bridge.host().name(),
                        bridge.host().backend()
                    );
                    host = Some(bridge.host().name().to_owned());
                    // Its thread ends with the daemon only.
                    let _ = bridges.send(BridgeChange::Add(Box::new(bridge)));
                    rings = Some((to_host, from_host));
                }
                Err(e) => tracing::warn!(
                    "device {}: no host port, the kernel is not on this VLAN: {e}",
                    link.name
                ),
            }
        }
        let (to_host, mut from_host) = rings.unzip();
        // The kernel's frames of a device leave by one lcore.
        let sender = usize::from(device.0) % self.wires.len().max(1);
        let mut counters = Vec::new();
        let seqs = Arc::new(Seqs::default());
        for (at, wire) in self.wires.iter().enumerate() {
            let own = Arc::new(DeviceCounters::default());
            counters.push(Arc::clone(&own));
            let _ = wire.send(Wiring::Add {
                device,
                tag: tag.map(|tag| (tag.parent, tag.id)),
                counters: own,
                seqs: Arc::clone(&seqs),
                to_host: to_host.clone(),
                from_host: if at == sender { from_host.take() } else { None },
            });
        }
        let has_host = host.is_some();
        let parent = tag.map(|tag| tag.parent);
        let made = Device {
            counters,
            host,
            parent,
        };
        self.devices.insert(device, made);
        has_host
    }

    /// The kernel's interface of a device, if it has one.
    #[must_use]
    pub fn host(&self, device: PortId) -> Option<&str> {
        self.devices.get(&device)?.host.as_deref()
    }

    /// The kernel's interfaces of the VLAN devices on a port.
    pub fn hosts_on(&self, port: PortId) -> impl Iterator<Item = &str> {
        let on = self
            .devices
            .values()
            .filter(move |d| d.parent == Some(port));
        on.filter_map(|d| d.host.as_deref())
    }

    /// It is gone, from the workers too.
    pub fn unplug(&mut self, device: PortId) {
        for wire in &self.wires {
            let _ = wire.send(Wiring::Remove(device));
        }
        let gone = self.devices.remove(&device);
        if let Some(name) = gone.and_then(|d| d.host) {
            self.leave(name);
        }
    }

    /// Has a kernel interface removed.
    fn leave(&mut self, name: String) {
        self.leaving
            .retain(|_, gone| gone.try_recv() == Err(TryRecvError::Empty));
        if let Some(host) = &self.host {
            let (alive, gone) = channel();
            let _ = host.send(BridgeChange::Remove(name.clone(), alive));
            self.leaving.insert(name, gone);
        }
    }

    /// Waits until no kernel interface has that name: one of a device that was removed
    /// a moment ago, which workers may still know, is in the way.
    fn await_gone(&mut self, name: &str) {
        let mut old = self.devices.values_mut();
        if let Some(name) = old
            .find(|d| d.host.as_deref() == Some(name))
            .and_then(|d| d.host.take())
        {
            self.leave(name);
        }
        if let Some(gone) = self.leaving.remove(name)
            && gone.recv_timeout(LEAVE) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!("{name}: the kernel's old interface does not go");
        }
    }

    /// What passed over a device.
    #[must_use]
    pub fn stats(&self, device: PortId) -> Option<NicStats> {
        let counters = &self.devices.get(&device)?.counters;
        let sum = |pick: fn(&DeviceCounters) -> &Counter| {
            counters.iter().map(|c| pick(c).get()).sum::<u64>()
        };
        Some(NicStats {
            ipackets: sum(|c| &c.ipackets),
            ibytes: sum(|c| &c.ibytes),
            opackets: sum(|c| &c.opackets),
            obytes: sum(|c| &c.obytes),
            oerrors: sum(|c| &c.oerrors),
            port_id: device.0,
            ..NicStats::default()
        })
    }
}

/// The kernel's interface of a device.
fn host_name(link: &Link) -> String {
    format!("{}.kni", link.name)
}

/// A host port for a device, and the worker's ends of its rings.
fn bridge(
    eal: &Eal,
    serial: u64,
    link: &Link,
    pool: Pool,
    socket: u32,
) -> Result<(HostBridge, SharedSender, Receiver)> {
    let host = HostPort::create(eal, &host_name(link), link.mac, link.mtu, pool)?;
    let (to_host, to_kernel) =
        ring::shared_channel(eal, &format!("made_to_host_{serial}"), HOST_RING, socket)?;
    let (to_wire, from_host) =
        ring::channel(eal, &format!("made_from_host_{serial}"), HOST_RING, socket)?;
    Ok((
        HostBridge::new(host, to_kernel, to_wire),
        to_host,
        from_host,
    ))
}
