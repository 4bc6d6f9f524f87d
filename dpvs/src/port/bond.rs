//! Bonds: several ports that are one, by DPDK's bonding driver.
//!
//! A bond is a port like any other once it has members; these belong to it and are
//! configured and started by the driver. Says what the driver says; what a mode
//! does is DPDK's.

use std::ffi::CString;

use dpdk_sys as sys;

use super::dev::Port;
use super::eal::Eal;
use super::error::{Error, Result, check};

/// A number of a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondOption {
    /// Mode, 0 to 6.
    Mode,
    /// What sending hashes: 0 layer 2, 1 layers 2 and 3, 2 layers 3 and 4.
    XmitPolicy,
    /// Time between looks at the members' links, in milliseconds; cannot be read.
    MonitorMs,
    /// Mode 4: a queue of the members for LACP alone.
    DedicatedQueues,
}

impl BondOption {
    fn raw(self) -> i32 {
        let raw = match self {
            Self::Mode => sys::DPVS_BOND_MODE,
            Self::XmitPolicy => sys::DPVS_BOND_XMIT_POLICY,
            Self::MonitorMs => sys::DPVS_BOND_MONITOR_MS,
            Self::DedicatedQueues => sys::DPVS_BOND_DEDICATED_QUEUES,
        };
        raw as i32
    }
}

/// Ports of a bond, at most.
const MEMBERS: u16 = 32;

impl Port {
    /// A bond without members; `name` is that of the device in dpvs.conf.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn bond(_: &Eal, name: &str, mode: u8, socket: u32) -> Result<Self> {
        let what = || format!("cannot make bond {name}");
        // The driver wants its own name at the front.
        let vdev = CString::new(format!("net_bonding_{name}"))
            .map_err(|_| Error::new(what(), libc::EINVAL))?;
        let socket = u8::try_from(socket).unwrap_or(0);
        // SAFETY: a C string, copied by the call, which checks the numbers.
        let id = unsafe { sys::dpvs_bond_create(vdev.as_ptr(), mode, socket) };
        let id = check(id, what)?;
        let lost = || Error::new(what(), libc::ENODEV);
        Self::new(u16::try_from(id).map_err(|_| lost())?).ok_or_else(lost)
    }

    /// Makes a port a member of this bond.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn add_member(&self, member: &Port) -> Result<()> {
        // SAFETY: two valid port numbers.
        let ret = unsafe { sys::dpvs_bond_add(self.id(), member.id()) };
        check(ret, || {
            self.what(&format!("have {} as a member", member.name()))
        })
        .map(drop)
    }

    /// Ends [`Port::add_member`].
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn remove_member(&self, member: &Port) -> Result<()> {
        // SAFETY: two valid port numbers.
        let ret = unsafe { sys::dpvs_bond_remove(self.id(), member.id()) };
        check(ret, || {
            self.what(&format!("do without its member {}", member.name()))
        })
        .map(drop)
    }

    /// DPDK's numbers of its members, all or those in use.
    #[must_use]
    pub fn members(&self, active: bool) -> Vec<u16> {
        let mut list = [0; MEMBERS as usize];
        // SAFETY: room for that many numbers.
        let n = unsafe {
            sys::dpvs_bond_members(self.id(), list.as_mut_ptr(), MEMBERS, i32::from(active))
        };
        let n = usize::try_from(n).unwrap_or(0).min(list.len());
        list[..n].to_vec()
    }

    /// DPDK's number of the preferred member.
    #[must_use]
    pub fn primary(&self) -> Option<u16> {
        // SAFETY: the call checks the port.
        let id = unsafe { sys::dpvs_bond_get(self.id(), sys::DPVS_BOND_PRIMARY as i32) };
        u16::try_from(id).ok()
    }

    /// Prefers a member.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn set_primary(&self, member: &Port) -> Result<()> {
        let (what, id) = (sys::DPVS_BOND_PRIMARY as i32, u32::from(member.id()));
        // SAFETY: the call checks the ports.
        let ret = unsafe { sys::dpvs_bond_set(self.id(), what, id) };
        check(ret, || self.what(&format!("prefer {}", member.name()))).map(drop)
    }

    /// A number of the bond; -1 if the port is none or it cannot be read.
    #[must_use]
    pub fn bond_option(&self, option: BondOption) -> i32 {
        // SAFETY: the call checks the port.
        unsafe { sys::dpvs_bond_get(self.id(), option.raw()) }.max(-1)
    }

    /// Sets a number of the bond.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn set_bond_option(&self, option: BondOption, value: u32) -> Result<()> {
        // SAFETY: the call checks the port and the value.
        let ret = unsafe { sys::dpvs_bond_set(self.id(), option.raw(), value) };
        check(ret, || self.what(&format!("set {option:?} to {value}"))).map(drop)
    }
}
