//! Sets of one address or network, with or without a port and a device.
//!
//! An address is a network of full length. A lookup goes through the prefix
//! lengths there are, longest first; the first element found decides.

use std::net::IpAddr;

use crate::sharemap::{Key, hash_addr};

use super::elements::{ElementKey, Elements};
use super::{Element, Net, masked};

/// What an element is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OneKey {
    addr: IpAddr,
    plen: u8,
    proto: u8,
    port: u16,
    iface: u16,
}

impl Key for OneKey {
    fn hash(&self, seed: [u64; 2]) -> u64 {
        let beside = u64::from(self.plen)
            | u64::from(self.proto) << 8
            | u64::from(self.port) << 16
            | u64::from(self.iface) << 32;
        hash_addr(&self.addr, beside, seed)
    }
}

impl ElementKey<1> for OneKey {
    fn of(e: &Element) -> Self {
        Self {
            addr: e.net.addr,
            plen: e.net.plen,
            proto: e.proto,
            port: e.port,
            iface: e.iface,
        }
    }

    fn element(&self) -> Element {
        Element {
            net: Net {
                addr: self.addr,
                plen: self.plen,
            },
            proto: self.proto,
            port: self.port,
            iface: self.iface,
            ..Element::none(self.addr)
        }
    }

    fn plens(&self) -> [u8; 1] {
        [self.plen]
    }

    fn proto(&self) -> u8 {
        self.proto
    }

    fn of_any_proto(self) -> Self {
        Self { proto: 0, ..self }
    }
}

/// The elements of such a set.
pub(super) type One = Elements<OneKey, 1>;

impl One {
    pub(super) fn test(&self, e: &Element) -> bool {
        let mut key = OneKey::of(e);
        for plen in self.lengths[0].iter() {
            key.addr = masked(e.net.addr, plen);
            key.plen = plen;
            if let Some(answer) = self.says(&key) {
                return answer;
            }
        }
        false
    }
}
