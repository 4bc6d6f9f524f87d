//! Counters of a port: the common ones and the driver's own.

use std::ffi::CStr;

use dpdk_sys as sys;

use super::dev::{Port, PortStats};
use super::error::{Error, Result, check};

impl Port {
    /// The common counters.
    ///
    /// # Errors
    /// The driver does not count.
    pub fn stats(&self) -> Result<PortStats> {
        let mut raw = sys::rte_eth_stats::default();
        // SAFETY: a valid place.
        let ret = unsafe { sys::rte_eth_stats_get(self.id(), &raw mut raw) };
        check(ret, || {
            format!("port {}: cannot read its counters", self.name())
        })?;
        let mut queues = [[0; 5]; 16];
        for (i, queue) in queues.iter_mut().enumerate() {
            *queue = [
                raw.q_ipackets[i],
                raw.q_ibytes[i],
                raw.q_opackets[i],
                raw.q_obytes[i],
                raw.q_errors[i],
            ];
        }
        Ok(PortStats {
            ipackets: raw.ipackets,
            opackets: raw.opackets,
            ibytes: raw.ibytes,
            obytes: raw.obytes,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
            queues,
        })
    }

    /// Sets the counters to zero.
    ///
    /// # Errors
    /// The driver cannot.
    pub fn reset_stats(&self) -> Result<()> {
        // SAFETY: a valid port number.
        check(unsafe { sys::rte_eth_stats_reset(self.id()) }, || {
            format!("port {}: cannot reset its counters", self.name())
        })
        .map(drop)
    }

    /// The driver's own counters, by name.
    ///
    /// # Errors
    /// The driver has none.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>> {
        let what = || format!("port {}: cannot read its extended counters", self.name());
        // SAFETY: a null table of length 0 asks for the number.
        let count = check(
            unsafe { sys::rte_eth_xstats_get_names(self.id(), std::ptr::null_mut(), 0) },
            what,
        )?;
        let count = u32::try_from(count).unwrap_or(0);
        let mut names = vec![sys::rte_eth_xstat_name::default(); count as usize];
        let mut values = vec![sys::rte_eth_xstat::default(); count as usize];
        // SAFETY: both tables have `count` entries.
        let (named, valued) = unsafe {
            (
                sys::rte_eth_xstats_get_names(self.id(), names.as_mut_ptr(), count),
                sys::rte_eth_xstats_get(self.id(), values.as_mut_ptr(), count),
            )
        };
        check(named, what)?;
        let valued = check(valued, what)?;
        if named.cast_unsigned() > count || valued.cast_unsigned() > count {
            return Err(Error::new(what(), libc::EAGAIN));
        }
        Ok(values
            .iter()
            .take(valued as usize)
            .filter_map(|value| {
                let name = names.get(usize::try_from(value.id).ok()?)?;
                // SAFETY: the driver wrote a NUL-terminated name; zero before.
                let name = unsafe { CStr::from_ptr(name.name.as_ptr()) };
                Some((name.to_string_lossy().into_owned(), value.value))
            })
            .collect())
    }
}
