//! What the master asks of the ports and lcores: the seam between it and DPDK.
//!
//! The daemon implements it over `port/`, tests with plain values.

use std::net::IpAddr;

use dpvs_core::frame::PortId;
use dpvs_core::rss::Returns;
use dpvs_core::snapshot::Tag;
use dpvs_ctl::msg::{BondSet, BondStatus, LcoreStats, NicBasic, NicDev, NicStats};

use super::state::link::Link;
use crate::watch::Watch;

/// A change of a port asked for by `dpip link set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChange {
    /// Promiscuous mode.
    Promisc(bool),
    /// Receive all multicast.
    AllMulticast(bool),
    /// Administrative state.
    Up(bool),
    /// Copy everything to the host port.
    Forward2Kni(bool),
    /// Hardware address.
    Mac([u8; 6]),
}

/// How the replies that a port receives find their worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// In a word or two: `single`, `flow-rules`, `rss`, `hand-over`.
    pub way: String,
    /// Why that way, in a sentence.
    pub why: String,
    /// Flow rules in force.
    pub rules: u32,
    /// Workers that receive from the port.
    pub workers: u16,
}

/// The ports and what the lcores count. A port that is not there gives `None`.
pub trait Netif {
    /// All ports; the index is the [`PortId`].
    fn links(&self) -> Vec<Link>;
    /// State for `dpip link show`.
    fn basic(&self, port: PortId) -> Option<NicBasic>;
    /// Counters; all zero where the driver does not count.
    fn stats(&self, port: PortId) -> Option<NicStats>;
    /// The driver's own counters, empty where it has none.
    fn xstats(&self, port: PortId) -> Option<Vec<(String, u64)>>;
    /// What the driver can do.
    fn device(&self, port: PortId) -> Option<NicDev>;
    /// Hardware multicast addresses and their users.
    fn multicast(&self, port: PortId) -> Vec<([u8; 6], u32)>;
    /// Listens to exactly these hardware multicast addresses for our own use.
    fn join(&mut self, port: PortId, groups: &[[u8; 6]]);
    /// Changes a port.
    ///
    /// # Errors
    /// The driver's reason.
    fn set(&mut self, port: PortId, change: PortChange) -> Result<(), String>;
    /// The kernel's interface of a device, if it has one, takes its MAC address.
    ///
    /// # Errors
    /// The kernel's reason.
    fn host_mac(&self, _device: PortId, _mac: [u8; 6]) -> Result<(), String> {
        Ok(())
    }
    /// How many of the ports, the last, are bonds.
    fn bonds(&self) -> usize {
        0
    }
    /// The state of a bond; `None` for other ports.
    fn bond(&self, _port: PortId) -> Option<BondStatus> {
        None
    }
    /// Changes a bond.
    ///
    /// # Errors
    /// The driver's reason.
    fn set_bond(&mut self, _port: PortId, _set: &BondSet) -> Result<(), String> {
        Err("no bond".into())
    }
    /// A device was made by command. True if the kernel has an interface for it.
    fn plug(&mut self, _device: PortId, _link: &Link, _tag: Option<Tag>) -> bool {
        false
    }
    /// A device made by command is gone, from the workers too.
    fn unplug(&mut self, _device: PortId) {}
    /// A port hears these unicast MAC addresses besides its own.
    fn hear(&mut self, _port: PortId, _macs: &[[u8; 6]]) {}
    /// Has the NIC send packets for an address to the queue of the host ports.
    ///
    /// # Errors
    /// Why it cannot.
    fn kni_flow(&mut self, _port: PortId, _addr: IpAddr) -> Result<(), String> {
        Err("no queue for it".into())
    }
    /// Ends that.
    fn kni_unflow(&mut self, _port: PortId, _addr: IpAddr) {}
    /// Counters of an lcore.
    fn lcore_stats(&self, lcore: u8) -> LcoreStats;
    /// Packets an lcore lost outside its worker, by reason.
    fn lost(&self, _lcore: u8) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    /// Turns with something to do an lcore made, by length in powers of two of
    /// a microsecond.
    fn turns(&self, _lcore: u8) -> [u64; 16] {
        [0; 16]
    }
    /// NUMA node of an lcore.
    fn socket_of(&self, lcore: u8) -> u8;
    /// These are the addresses whose ports connections towards servers use, and
    /// the port each is on: says how replies to each find their worker, which
    /// never changes for an address.
    fn laddrs(&mut self, _wanted: &[(PortId, IpAddr)]) -> Returns {
        Returns::default()
    }
    /// How replies find their worker; `None` for a port that is not there.
    fn affinity(&self, _port: PortId) -> Option<Affinity> {
        None
    }
    /// Where frames can be looked at; `None` where there are none.
    fn watch(&self) -> Option<&Watch> {
        None
    }
    /// The daemon ends, and no lcore uses a port any more.
    fn end(&mut self) {}
    /// Called once a second, for what has to be looked at again.
    fn every_second(&mut self) {}
    /// The bonds that have begun to send by another member since the last call.
    fn moved(&mut self) -> Vec<PortId> {
        Vec::new()
    }
}

/// Queues an lcore polls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LcoreQueues {
    /// EAL lcore id.
    pub lcore: u8,
    /// Receive queues.
    pub rx: Vec<(PortId, u16)>,
    /// Transmit queues.
    pub tx: Vec<(PortId, u16)>,
}

/// Which lcore does what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// EAL lcore id of the master.
    pub master: u8,
    /// The lcore of the host ports, if there is one.
    pub kni: Option<LcoreQueues>,
    /// Forwarding workers in ascending lcore order.
    pub workers: Vec<LcoreQueues>,
    /// Lcores that only receive, for workers.
    pub isolated: Vec<LcoreQueues>,
}
