//! Packet pools: one a NUMA node, made at start and never freed.
//!
//! Never freed, so that a packet can be dropped anywhere at any time without
//! asking whether its pool still lives. Says how much memory a pool needs and
//! what to change when there is too little.

use std::ffi::CString;
use std::ptr::NonNull;

use dpdk_sys as sys;

use super::eal::{self, Eal};
use super::error::{Error, Result};
use super::mbuf::Mbuf;

/// Bytes of packet data one segment holds, without headroom.
pub const DATA_ROOM: u16 = 2048;
/// Free bytes in front of a new packet.
pub const HEADROOM: u16 = sys::DPVS_K_PKTMBUF_HEADROOM as u16;

/// A pool of packet buffers. Copies name the same pool.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    raw: NonNull<sys::rte_mempool>,
    size: u32,
}

// SAFETY: a mempool may be used from all threads, those of EAL and others, and
// is never freed.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// A pool of `count` buffers on a NUMA node; `cache` of them wait at each
    /// lcore (lowered to what DPDK allows for that count).
    ///
    /// # Errors
    /// A name in use, or too little memory: the error says how much is needed.
    pub fn create(_: &Eal, name: &str, count: u32, cache: u32, socket: u32) -> Result<Self> {
        let what = || format!("cannot make packet pool {name} of {count} buffers");
        let cname = CString::new(name).map_err(|_| Error::new(what(), libc::EINVAL))?;
        // DPDK wants cache * 1.5 <= count.
        let cache = cache
            .min(sys::DPVS_K_MEMPOOL_CACHE_MAX_SIZE as u32)
            .min(count / 3 * 2);
        let socket = i32::try_from(socket).unwrap_or(-1);
        // SAFETY: EAL runs (the token); the name outlives the call, which
        // copies it and checks the numbers.
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create(
                cname.as_ptr(),
                count,
                cache,
                0,
                DATA_ROOM + HEADROOM,
                socket,
            )
        };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, size: count }),
            None => Err(Self::explain(Error::last(what()), count, socket)),
        }
    }

    fn explain(error: Error, count: u32, socket: i32) -> Error {
        if error.errno() == libc::EEXIST {
            return error.hint("a pool of that name exists");
        }
        if error.errno() != libc::ENOMEM {
            return error;
        }
        let need = Self::memory_needed(count);
        let mb = |bytes: usize| bytes.div_ceil(1 << 20);
        let (total, free, _) = eal::heap(socket).unwrap_or_default();
        // Devices, rings and fragmentation take their share.
        let usable = free.saturating_sub(16 << 20);
        let fits = usable / Self::element_size();
        let lower = if fits > 1023 {
            format!(", or lower pktpool_size to {fits}")
        } else {
            String::new()
        };
        error.hint(format!(
            "it needs {} MB on NUMA node {socket}, where {} of {} MB are free: give EAL {} MB \
             (-m, or more huge pages){lower}",
            mb(need),
            mb(free),
            mb(total),
            mb(total - free.min(total) + need + (need >> 4) + (16 << 20)),
        ))
    }

    fn element_size() -> usize {
        let elt = sys::DPVS_MBUF_SIZE as u32 + u32::from(DATA_ROOM) + u32::from(HEADROOM);
        // SAFETY: a computation.
        unsafe { sys::dpvs_mempool_element_size(elt) as usize }
    }

    /// Memory a pool of that many buffers takes, in bytes.
    #[must_use]
    pub fn memory_needed(count: u32) -> usize {
        // The ring of free buffers has a power of two of 8-byte slots.
        let ring = (count as usize + 1).next_power_of_two() * 8;
        count as usize * Self::element_size() + ring + (1 << 20)
    }

    /// Buffers in all.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Buffers free now, in the pool and in the lcores' caches.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives for ever.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Buffers in use now.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool lives for ever.
        unsafe { sys::rte_mempool_in_use_count(self.raw.as_ptr()) }
    }

    /// An empty packet with headroom; `None` when the pool is empty.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives for ever; the call gives away a buffer nobody
        // else holds.
        unsafe { Mbuf::from_raw(sys::rte_pktmbuf_alloc(self.raw.as_ptr())) }
    }

    /// A copy of a packet, in as many segments as it takes; `None` when the pool
    /// has too few buffers.
    #[must_use]
    pub fn copy(&self, packet: &Mbuf) -> Option<Mbuf> {
        // SAFETY: the pool lives for ever, the packet is borrowed for the call; the
        // result is nobody else's.
        unsafe {
            Mbuf::from_raw(sys::rte_pktmbuf_copy(
                packet.raw(),
                self.raw.as_ptr(),
                0,
                u32::MAX,
            ))
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }
}
