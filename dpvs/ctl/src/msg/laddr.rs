//! Local addresses of a service (ids 0 to 7): what FullNAT puts in place of
//! the client's address.

use super::service::{Match, Service};
use crate::types::{Af, Be16, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// A service and one local address; also the header of a list.
    pub struct LaddrTable[184] {
        /// Family of the service.
        0 af_s: Af,
        /// IP protocol.
        4 proto: u8,
        /// Address of the service.
        8 vaddr: Ip16,
        /// Port of the service.
        24 vport: Be16,
        /// Firewall mark.
        28 fwmark: u32,
        /// What a match service catches; C clients leave it empty.
        32 matched: Match,
        /// Lcore id; in replies.
        140 cid: u8,
        /// Which lcore's view.
        141 index: u8,
        /// Family of the local address.
        144 af_l: Af,
        /// The local address.
        148 laddr: Ip16,
        /// The device it is on.
        164 ifname: Name<16>,
        /// How many entries follow; in replies.
        180 nladdrs: i32,
    }
}

impl LaddrTable {
    /// A request about a service.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        Self {
            af_s: service.af,
            proto: service.proto,
            vaddr: service.addr.clean(service.af),
            vport: service.port,
            fwmark: service.fwmark,
            matched: service.matched,
            ..Self::default()
        }
    }

    /// What names the service, as a service.
    #[must_use]
    pub fn service(&self) -> Service {
        Service {
            af: self.af_s,
            proto: self.proto,
            port: self.vport,
            fwmark: self.fwmark,
            addr: self.vaddr,
            matched: self.matched,
            ..Service::default()
        }
    }
}

wire_struct! {
    /// A local address in a list.
    pub struct LaddrEntry[40] {
        /// Family.
        0 af: Af,
        /// Address.
        4 addr: Ip16,
        /// Times no port was free (the C daemon: always 0).
        24 nport_conflict: u64,
        /// Connections.
        32 nconns: u32,
    }
}

wire_struct! {
    /// Before a list in dpvs-agent's messages.
    pub struct LaddrFront[152] {
        /// Family of the service.
        0 af: Af,
        /// Port, in network order in the low 16 bits; see [`LaddrFront::port`].
        4 raw_port: u32,
        /// IP protocol.
        8 proto: u32,
        /// Firewall mark.
        12 fwmark: u32,
        /// Lcore id; in replies.
        16 cid: u32,
        /// How many entries follow.
        20 count: u32,
        /// Address of the service.
        24 addr: Ip16,
        /// What a match service catches.
        40 matched: Match,
    }
}

impl LaddrFront {
    /// The port of the service.
    #[must_use]
    pub fn port(&self) -> Be16 {
        let [a, b, ..] = self.raw_port.to_le_bytes();
        Be16::new(u16::from_be_bytes([a, b]))
    }

    /// What names the service, as a service.
    #[must_use]
    pub fn service(&self) -> Service {
        Service {
            af: self.af,
            proto: u8::try_from(self.proto).unwrap_or(0),
            port: self.port(),
            fwmark: self.fwmark,
            addr: self.addr,
            matched: self.matched,
            ..Service::default()
        }
    }
}

wire_struct! {
    /// A local address in dpvs-agent's messages.
    pub struct LaddrDetail[48] {
        /// Family.
        0 af: Af,
        /// Connections.
        4 conns: u32,
        /// Times no port was free (the C daemon: always 0).
        8 nport_conflict: u64,
        /// Address.
        16 addr: Ip16,
        /// The device it is on.
        32 ifname: Name<16>,
    }
}
