//! `dpip link set`, and members of bonds: one change a command.
//!
//! Knows the two messages that change a port or a bond. The C tool exits with 0
//! whatever happens to such a request.
//!
//! DIFFERS: here a refused value or request exits with 1, and says why on
//! standard error.

use dpvs_ctl::Name;
use dpvs_ctl::msg::{BondSet, NicSet, bond_act, bond_opt, nic_set};
use dpvs_ctl::types::Blob;

use super::usage;
use crate::Cx;
use crate::failure::Failure;
use crate::table::Command;
use crate::words::{device, mac};

/// A change, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Port(NicSet),
    Bond(BondSet),
}

/// Does `link set DEV ITEM VALUE`.
pub(super) fn set(cx: &mut Cx, words: &[String]) -> Result<(), Failure> {
    let (change, rest) = parse(words)?;
    if !rest.is_empty() {
        // The C tool says nothing of them.
        cx.out.warn(&format!(
            "ignored, one change at a time: {}",
            rest.join(" ")
        ))?;
    }
    match change {
        Change::Port(set) => Ok(cx.client.set_port(&set)?),
        Change::Bond(set) => Ok(cx.client.set_bond(&set)?),
    }
}

/// Does `link {add|del} BOND bond-slave DEV`.
pub(super) fn member(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let set = parse_member(command, words)?;
    Ok(cx.client.set_bond(&set)?)
}

fn parse(words: &[String]) -> Result<(Change, &[String]), Failure> {
    let (dev, item, value, rest) = match words {
        [dev, item, value, rest @ ..] => (dev, item.as_str(), value.as_str(), rest),
        [_, item] => return Err(Failure::invalid(format!("missing argument for `{item}'"))),
        _ => return Err(usage("missing device or item".to_owned())),
    };
    let dev = device(dev)?;
    let change = match switch(item) {
        Some(Switch { on, off, invalid }) => {
            let flags = match value {
                word if word == on.0 => on.1,
                word if word == off.0 => off.1,
                _ => return Err(Failure::invalid(format!("{invalid} '{item}'"))),
            };
            Change::Port(NicSet {
                pname: dev,
                flags,
                ..NicSet::default()
            })
        }
        None if item == "addr" => Change::Port(NicSet {
            pname: dev,
            macaddr: mac_text(value)?,
            flags: 0,
        }),
        None => Change::Bond(bond(dev, item, value)?),
    };
    Ok((change, rest))
}

/// Something that is one of two: the words, the bits, and the complaint.
struct Switch {
    on: (&'static str, u16),
    off: (&'static str, u16),
    invalid: &'static str,
}

fn switch(item: &str) -> Option<Switch> {
    if item == "link" {
        return Some(Switch {
            on: ("up", nic_set::LINK_UP),
            off: ("down", nic_set::LINK_DOWN),
            invalid: "invalid argument value for",
        });
    }
    let (on, off) = match item {
        "promisc" => (nic_set::PROMISC_ON, nic_set::PROMISC_OFF),
        "allmulticast" => (nic_set::ALLMULTICAST_ON, nic_set::ALLMULTICAST_OFF),
        "forward2kni" => (nic_set::FWD2KNI_ON, nic_set::FWD2KNI_OFF),
        "tc-egress" => (nic_set::TC_EGRESS_ON, nic_set::TC_EGRESS_OFF),
        "tc-ingress" => (nic_set::TC_INGRESS_ON, nic_set::TC_INGRESS_OFF),
        "lldp" => (nic_set::LLDP_ON, nic_set::LLDP_OFF),
        _ => return None,
    };
    // The misspelling is the C tool's.
    let invalid = "invalid arguement value for";
    Some(Switch {
        on: ("on", on),
        off: ("off", off),
        invalid,
    })
}

/// The MAC address as text. The daemon keeps quiet about one it cannot use.
fn mac_text(value: &str) -> Result<Name<18>, Failure> {
    let invalid = || Failure::invalid(format!("invalid argument value for 'addr': {value}"));
    let usable = mac(value).is_some_and(|mac| mac.0 != [0; 6] && mac.0[0] & 1 == 0);
    Name::new(value).filter(|_| usable).ok_or_else(invalid)
}

fn bond(name: Name<32>, item: &str, value: &str) -> Result<BondSet, Failure> {
    let complain = |what: &str| Failure::invalid(format!("invalid {what}: {value}"));
    let number = |what: &str, range: std::ops::RangeInclusive<i32>| match value.parse() {
        Ok(number) if range.contains(&number) => Ok(Blob::of(&number)),
        _ => Err(complain(what)),
    };
    let (opt, param) = match item {
        "bond-mode" => (bond_opt::MODE, number("bonding mode", 0..=6)?),
        "bond-primary" => (bond_opt::PRIMARY, Blob::of(&device::<32>(value)?)),
        "bond-xmit-policy" => {
            let policy = value.to_ascii_uppercase();
            if !["LAYER2", "LAYER23", "LAYER34"].contains(&policy.as_str()) {
                return Err(complain("xmit-poliy"));
            }
            (
                bond_opt::XMIT_POLICY,
                Blob::of(&Name::<32>::truncated(&policy)),
            )
        }
        "bond-monitor-interval" => (
            bond_opt::MONITOR_INTERVAL,
            number("link_monitor_interval", 1..=i32::MAX)?,
        ),
        "bond-link-down-prop" => (bond_opt::DOWN_PROP, number("link_down_prop", 0..=i32::MAX)?),
        "bond-link-up-prop" => (bond_opt::UP_PROP, number("link_up_prop", 0..=i32::MAX)?),
        other => {
            return Err(Failure::invalid(format!(
                "invalid parameter name '{other}'"
            )));
        }
    };
    Ok(BondSet {
        name,
        param,
        act: bond_act::SET,
        opt,
    })
}

fn parse_member(command: Command, words: &[String]) -> Result<BondSet, Failure> {
    match words {
        [bond, item, member] if item == "bond-slave" => Ok(BondSet {
            name: device(bond)?,
            param: Blob::of(&device::<32>(member)?),
            act: if command == Command::Add {
                bond_act::ADD
            } else {
                bond_act::DEL
            },
            opt: bond_opt::SLAVE,
        }),
        [_, item] if item == "bond-slave" => {
            Err(Failure::invalid("missing argument for `bond-slave'"))
        }
        [_, item, ..] if item != "bond-slave" => {
            Err(Failure::invalid(format!("invalid parameter name '{item}'")))
        }
        _ => Err(usage("missing bond or member".to_owned())),
    }
}

#[cfg(test)]
mod tests;
