//! Bonds of virtual ports: which member a packet leaves by in the modes the
//! documentation names, and what is told of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod eal_lab;

use std::time::{Duration, Instant};

use dpvs::port::{Batch, BondOption, Pool, Port, PortConf, Ready};
use eal_lab::lab;

struct Bond {
    ready: Ready,
    members: [Port; 2],
    pool: Pool,
}

/// A started bond of two ports that count what is sent. (DPDK 22.11 takes only members
/// whose MAC address can be set, which leaves rings out.)
fn bond(name: &str, mode: u8, members: [&str; 2]) -> Bond {
    let eal = &lab().eal;
    let pool = Pool::create(eal, name, 4095, 64, 0).unwrap();
    let members = members.map(|name| Port::by_name(eal, name).unwrap());
    let port = Port::bond(eal, name, mode, 0).unwrap();
    for member in &members {
        port.add_member(member).unwrap();
    }
    port.set_primary(&members[0]).unwrap();
    let conf = PortConf::default();
    let ready = port.configure(&conf, pool).unwrap();
    ready.port.start(&conf).unwrap();
    Bond {
        ready,
        members,
        pool,
    }
}

impl Bond {
    /// Sends as many packets; gives how many left by each member.
    fn send(&mut self, count: usize) -> [u64; 2] {
        let before = self.sent();
        for i in 0..count {
            let mut frame = self.pool.alloc().unwrap();
            let mut bytes = [i as u8; 60];
            bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0]);
            assert!(frame.append(&bytes));
            let mut batch = Batch::new();
            batch.push(frame).unwrap();
            assert_eq!(self.ready.tx[0].burst(&mut batch), 1);
        }
        let after = self.sent();
        [after[0] - before[0], after[1] - before[1]]
    }

    fn sent(&self) -> [u64; 2] {
        [0, 1].map(|n| self.members[n].stats().unwrap().opackets)
    }
}

#[test]
fn round_robin_uses_both() {
    let mut bond = bond("bond0", 0, ["net_null4", "net_null5"]);
    both_in_use(&bond);
    assert_eq!(bond.ready.port.bond_option(BondOption::Mode), 0);
    assert_eq!(bond.ready.port.members(false).len(), 2);
    assert_eq!(bond.ready.port.members(true).len(), 2);
    assert_eq!(bond.send(16), [8, 8]);
    // The members have the bond's MAC address.
    let mac = bond.ready.port.mac().unwrap();
    assert_eq!(bond.members[0].mac().unwrap(), mac);
}

#[test]
fn active_backup_uses_the_primary() {
    let mut bond = bond("bond1", 1, ["net_null6", "net_null7"]);
    both_in_use(&bond);
    let [a, b] = [bond.members[0].id(), bond.members[1].id()];
    assert_eq!(bond.ready.port.primary(), Some(a));
    assert_eq!(bond.send(10), [10, 0]);
    bond.ready.port.set_primary(&bond.members[1]).unwrap();
    assert_eq!(bond.ready.port.primary(), Some(b));
    assert_eq!(bond.send(10), [0, 10]);
    let port = &bond.ready.port;
    port.set_bond_option(BondOption::MonitorMs, 50).unwrap();
    port.set_bond_option(BondOption::XmitPolicy, 2).unwrap();
    assert_eq!(port.bond_option(BondOption::XmitPolicy), 2);
}

#[test]
fn a_member_that_loses_its_link_is_not_used() {
    let mut bond = bond("bond2", 1, ["net_null8", "net_null9"]);
    both_in_use(&bond);
    let [a, b] = [bond.members[0].id(), bond.members[1].id()];
    let port = &bond.ready.port;
    port.set_bond_option(BondOption::MonitorMs, 10).unwrap();
    // A stopped port of this driver has no link.
    bond.members[0].stop().unwrap();
    in_use(&bond, &[b]);
    assert_eq!(bond.send(10), [0, 10]);
    bond.members[0].start(&PortConf::default()).unwrap();
    in_use(&bond, &[b, a]);
    // The primary is preferred again.
    assert_eq!(bond.send(10), [10, 0]);
    bond.members[1].stop().unwrap();
    in_use(&bond, &[a]);
    assert_eq!(bond.send(10), [10, 0]);
}

fn both_in_use(bond: &Bond) {
    in_use(bond, &[bond.members[0].id(), bond.members[1].id()]);
}

/// Waits until exactly these members are in use.
fn in_use(bond: &Bond, members: &[u16]) {
    let end = Instant::now() + Duration::from_secs(10);
    while bond.ready.port.members(true) != members {
        assert!(Instant::now() < end, "{:?}", bond.ready.port.members(true));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn lacp_waits_for_its_partner() {
    let mut bond = bond("bond4", 4, ["net_null0", "net_null1"]);
    assert_eq!(bond.ready.port.bond_option(BondOption::Mode), 4);
    assert_eq!(bond.ready.port.members(false).len(), 2);
    // Nobody answers there: DPDK sends nothing before that.
    let mut frame = bond.pool.alloc().unwrap();
    assert!(frame.append(&[0; 60]));
    let mut batch = Batch::new();
    batch.push(frame).unwrap();
    assert_eq!(bond.ready.tx[0].burst(&mut batch), 0);
}

#[test]
fn refusals() {
    let eal = &lab().eal;
    let lone = Port::by_name(eal, "net_null3").unwrap();
    assert_eq!(lone.bond_option(BondOption::Mode), -1);
    assert!(lone.members(false).is_empty());
    assert!(lone.set_bond_option(BondOption::Mode, 1).is_err());
    let port = Port::bond(eal, "bond9", 1, 0).unwrap();
    port.add_member(&lone).unwrap();
    assert!(port.add_member(&lone).is_err());
    port.remove_member(&lone).unwrap();
    assert!(port.remove_member(&lone).is_err());
    assert!(Port::bond(eal, "bond9", 1, 0).is_err());
    assert!(Port::bond(eal, "bond10", 77, 0).is_err());
}
