//! Sets of two addresses or networks with one port or two.
//!
//! An address is a network of full length. A lookup goes through the prefix
//! lengths of the first network, longest first, and for each through those of
//! the second; the first element found decides.

use crate::sharemap::{Key, hash_addr};

use super::elements::{ElementKey, Elements};
use super::{Element, Net};

/// What an element is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TwoKey {
    net: Net,
    net2: Net,
    proto: u8,
    port: u16,
    port2: u16,
}

impl Key for TwoKey {
    fn hash(&self, [k0, k1]: [u64; 2]) -> u64 {
        let beside = u64::from(self.net.plen)
            | u64::from(self.net2.plen) << 8
            | u64::from(self.port) << 16
            | u64::from(self.port2) << 32
            | u64::from(self.proto) << 48;
        let first = hash_addr(&self.net.addr, beside, [k0, k1]);
        hash_addr(&self.net2.addr, first, [k1, k0])
    }
}

impl ElementKey<2> for TwoKey {
    fn of(e: &Element) -> Self {
        Self {
            net: e.net,
            net2: e.net2,
            proto: e.proto,
            port: e.port,
            port2: e.port2,
        }
    }

    fn element(&self) -> Element {
        Element {
            net: self.net,
            net2: self.net2,
            proto: self.proto,
            port: self.port,
            port2: self.port2,
            ..Element::none(self.net.addr)
        }
    }

    fn plens(&self) -> [u8; 2] {
        [self.net.plen, self.net2.plen]
    }

    fn proto(&self) -> u8 {
        self.proto
    }

    fn of_any_proto(self) -> Self {
        Self { proto: 0, ..self }
    }
}

/// The elements of such a set.
pub(super) type Two = Elements<TwoKey, 2>;

impl Two {
    pub(super) fn test(&self, e: &Element) -> bool {
        let mut key = TwoKey::of(e);
        for plen in self.lengths[0].iter() {
            key.net = Net::of(e.net.addr, plen);
            for plen2 in self.lengths[1].iter() {
                key.net2 = Net::of(e.net2.addr, plen2);
                if let Some(answer) = self.says(&key) {
                    return answer;
                }
            }
        }
        false
    }
}
