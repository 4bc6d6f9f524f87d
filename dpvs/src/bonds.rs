//! Bonds as the control socket shows and changes them.
//!
//! Numbers of the message become calls of the driver; what a mode does with them is
//! not known here.

use dpvs_ctl::msg::{BondSet, BondSlave, BondStatus, bond_act, bond_opt};
use dpvs_ctl::{HwAddr, Name};

use crate::port::{BondOption, Port};
use crate::ports::Device;

/// The mode with LACP.
const LACP: i32 = 4;

/// Names of what sending hashes, by the driver's number.
const POLICIES: [&str; 3] = ["LAYER2", "LAYER23", "LAYER34"];

fn mac_text(d: &Device) -> Name<32> {
    Name::truncated(
        &HwAddr(d.port.mac().unwrap_or_default())
            .to_string()
            .to_uppercase(),
    )
}

/// The state of a bond; none if the device is not one.
pub(crate) fn status(devices: &[Device], at: usize) -> Option<BondStatus> {
    let bond = devices.get(at)?;
    let mode = bond.port.bond_option(BondOption::Mode);
    if mode < 0 {
        return None;
    }
    let (all, active) = (bond.port.members(false), bond.port.members(true));
    let primary = bond.port.primary();
    let mut slaves = [BondSlave::default(); 32];
    for (slot, id) in slaves.iter_mut().zip(&all) {
        let Some(member) = devices.iter().find(|d| d.port.id() == *id) else {
            continue;
        };
        *slot = BondSlave {
            name: Name::truncated(&member.name),
            macaddr: mac_text(member),
            is_active: active.contains(id).into(),
            is_primary: (primary == Some(*id)).into(),
        };
    }
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let policy = bond.port.bond_option(BondOption::XmitPolicy);
    let policy = usize::try_from(policy).ok().and_then(|p| POLICIES.get(p));
    Some(BondStatus {
        mode,
        slave_nb: count(all.len()),
        active_nb: count(active.len()),
        slaves,
        macaddr: mac_text(bond),
        xmit_policy: Name::truncated(policy.copied().unwrap_or_default()),
        link_monitor_interval: i32::try_from(bond.monitor_ms).unwrap_or(i32::MAX),
        // The driver's, which cannot be changed.
        link_down_prop_delay: 0,
        link_up_prop_delay: 0,
    })
}

/// Has a bond with LACP hear what it has to. DPDK's driver drops broadcasts and groups
/// of such a bond unless it is to hear all of them, and does not tell the members the
/// bond's MAC address, so that they may drop what is for it.
pub(crate) fn listen<'p>(bond: &Port, members: impl Iterator<Item = &'p Port>) {
    if bond.bond_option(BondOption::Mode) != LACP {
        return;
    }
    let told = |what: &str, e: &dyn std::fmt::Display| {
        tracing::warn!("bonding {}: {what} may not be received: {e}", bond.name());
    };
    if bond.set_allmulticast(true).is_err()
        && let Err(e) = bond.set_promiscuous(true)
    {
        told("broadcasts", &e);
    }
    let Ok(mac) = bond.mac() else { return };
    for member in members {
        let own = member.mac().is_ok_and(|own| own == mac);
        if !own && let Err(e) = member.add_unicast(mac) {
            told(&format!("what comes by {}", member.name()), &e);
        }
    }
}

/// [`listen`] again, for a bond that runs.
pub(crate) fn listen_again(devices: &[Device], at: usize) {
    if let Some(bond) = devices.get(at) {
        let ids = bond.port.members(false);
        let members = devices.iter().filter(|d| ids.contains(&d.port.id()));
        listen(&bond.port, members.map(|d| &d.port));
    }
}

/// The one member a bond sends by, in the modes that have one: 1, 5 and 6.
pub(crate) fn sends_by(bond: &Port) -> Option<u16> {
    let one = matches!(bond.bond_option(BondOption::Mode), 1 | 5 | 6);
    let by = bond.primary().filter(|_| one)?;
    bond.members(true).contains(&by).then_some(by)
}

/// Changes a bond.
pub(crate) fn set(devices: &mut [Device], at: usize, set: &BondSet) -> Result<(), String> {
    let bond = devices.get(at).ok_or("no such bond")?;
    let text = || Name::<32>(set.param.0);
    let named = || {
        let name = text();
        let found = devices.iter().find(|d| d.name.as_bytes() == name.bytes());
        found.ok_or_else(|| format!("no device {name}"))
    };
    let number = || {
        let [a, b, c, d, ..] = set.param.0;
        u32::from_ne_bytes([a, b, c, d])
    };
    let option = |option, value| bond.port.set_bond_option(option, value);
    let done = match (set.act, set.opt) {
        (bond_act::ADD, bond_opt::SLAVE) => {
            let member = named()?;
            if member.info.queues != (0, 0) {
                return Err(format!("{} carries packets itself", member.name));
            }
            bond.port.add_member(&member.port)
        }
        (bond_act::DEL, bond_opt::SLAVE) => bond.port.remove_member(&named()?.port),
        (bond_act::SET, bond_opt::PRIMARY) => bond.port.set_primary(&named()?.port),
        (bond_act::SET, bond_opt::MODE) => option(BondOption::Mode, number()),
        (bond_act::SET, bond_opt::XMIT_POLICY) => {
            let name = text().text().to_uppercase();
            let policy = POLICIES.iter().position(|p| *p == name);
            let policy = policy.ok_or_else(|| format!("no policy {name}"))?;
            option(BondOption::XmitPolicy, u32::try_from(policy).unwrap_or(0))
        }
        (bond_act::SET, bond_opt::MONITOR_INTERVAL) => {
            let ms = number();
            let done = bond.port.set_bond_option(BondOption::MonitorMs, ms);
            if let (Ok(()), Some(bond)) = (&done, devices.get_mut(at)) {
                bond.monitor_ms = ms;
            }
            done
        }
        (bond_act::SET, bond_opt::DOWN_PROP | bond_opt::UP_PROP) => {
            return Err("DPDK does not let the delays of links be set".into());
        }
        _ => return Err("no such option of a bond".into()),
    };
    if done.is_ok() {
        listen_again(devices, at);
    }
    done.map_err(|e| e.to_string())
}
