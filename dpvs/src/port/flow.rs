//! Flow rules: which receive queue gets which packets, where a NIC can be told.
//!
//! One kind of rule only: packets of TCP or UDP for a local address whose
//! destination port has given low bits. Validated by the driver before it is
//! made; the driver's reason is passed on. Knows nothing of workers.

use std::ffi::{CStr, c_char};
use std::net::IpAddr;
use std::ptr::{self, NonNull};

use dpdk_sys as sys;

use super::dev::Port;
use super::error::{Error, Result, check};

/// What a rule matches and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steer {
    /// Destination address.
    pub addr: IpAddr,
    /// TCP, else UDP.
    pub tcp: bool,
    /// Destination port, in the bits that `mask` has.
    pub port: u16,
    /// Bits of the destination port that count; 0: any port.
    pub mask: u16,
    /// Receive queue.
    pub queue: u16,
    /// Signature mode of ixgbe's flow director (`fdir_mode signature`).
    pub fuzzy: bool,
}

/// A rule in force, until [`Port::unsteer`] or the end of the process.
#[derive(Debug)]
pub struct Rule(NonNull<sys::rte_flow>);

// SAFETY: a handle that is only given back to the driver, by the port's owner.
unsafe impl Send for Rule {}

impl Port {
    /// Whether the driver would take such a rule.
    ///
    /// # Errors
    /// The driver's reason why not.
    pub fn can_steer(&self, steer: &Steer) -> Result<()> {
        self.call_steer(steer, None)
    }

    /// Makes a rule.
    ///
    /// # Errors
    /// The driver's reason why not.
    pub fn steer(&self, steer: &Steer) -> Result<Rule> {
        let mut made = ptr::null_mut();
        self.call_steer(steer, Some(&mut made))?;
        NonNull::new(made)
            .map(Rule)
            .ok_or_else(|| Error::new(self.what("make a flow rule"), libc::EIO))
    }

    /// Ends a rule.
    ///
    /// # Errors
    /// The driver's refusal; the rule is forgotten all the same.
    pub fn unsteer(&self, rule: Rule) -> Result<()> {
        // SAFETY: made by `steer` and given back once. A rule of another port
        // would be the caller's mistake: drivers look it up in their own list.
        let ret = unsafe { sys::dpvs_flow_remove(self.id(), rule.0.as_ptr()) };
        check(ret, || self.what("remove a flow rule")).map(drop)
    }

    /// Makes a rule for all packets to an address.
    ///
    /// # Errors
    /// The driver's reason why not.
    pub fn steer_address(&self, addr: IpAddr, queue: u16) -> Result<Rule> {
        let steer = Steer {
            addr,
            tcp: false,
            port: 0,
            mask: 0,
            queue,
            fuzzy: false,
        };
        let mut made = ptr::null_mut();
        self.call(&steer, true, Some(&mut made))?;
        NonNull::new(made)
            .map(Rule)
            .ok_or_else(|| Error::new(self.what("make a flow rule"), libc::EIO))
    }

    fn call_steer(&self, steer: &Steer, made: Option<&mut *mut sys::rte_flow>) -> Result<()> {
        self.call(steer, false, made)
    }

    fn call(
        &self,
        steer: &Steer,
        whole: bool,
        made: Option<&mut *mut sys::rte_flow>,
    ) -> Result<()> {
        let mut addr = [0; 16];
        match steer.addr {
            IpAddr::V4(a) => addr[..4].copy_from_slice(&a.octets()),
            IpAddr::V6(a) => addr = a.octets(),
        }
        let raw = sys::dpvs_steer {
            v6: steer.addr.is_ipv6().into(),
            tcp: steer.tcp.into(),
            whole: whole.into(),
            fuzzy: steer.fuzzy.into(),
            addr,
            port: steer.port.to_be(),
            port_mask: steer.mask.to_be(),
            queue: steer.queue,
        };
        let mut why: [c_char; 160] = [0; 160];
        let made = made.map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: valid places (or null, which is allowed for the handle), and
        // the length of `why`; all is read or copied during the call.
        let ret = unsafe {
            sys::dpvs_flow_steer(
                self.id(),
                &raw const raw,
                made,
                why.as_mut_ptr(),
                why.len() as _,
            )
        };
        check(ret, || self.what("steer packets by a flow rule"))
            .map(drop)
            .map_err(|error| {
                // SAFETY: NUL-terminated by the call, or all zero.
                let why = unsafe { CStr::from_ptr(why.as_ptr()) }.to_string_lossy();
                if why.is_empty() {
                    error
                } else {
                    error.hint(format!("the driver says: {why}"))
                }
            })
    }
}
