//! Lock-free rings of packets between two threads.
//!
//! [`channel`] has one sender, [`shared_channel`] many; both have one receiver.
//! What is still in a ring when both ends are gone is freed with it.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys as sys;
use dpvs_core::frame::{BURST, Burst};

use super::eal::Eal;
use super::error::{Error, Result};
use super::mbuf::{Batch, Mbuf};

#[derive(Debug)]
struct Ring(NonNull<sys::rte_ring>);

// SAFETY: rte_ring is made for several threads; the ends below keep to what
// its flags promise.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut rest: Burst<Mbuf> = [const { None }; BURST];
        while self.take(&mut rest) > 0 {
            for slot in &mut rest {
                *slot = None;
            }
        }
        // SAFETY: both ends are gone and the ring is empty.
        unsafe { sys::rte_ring_free(self.0.as_ptr()) };
    }
}

impl Ring {
    fn create(name: &str, size: u32, socket: u32, flags: u64) -> Result<Self> {
        let what = || format!("cannot make ring {name} of {size} packets");
        let cname = CString::new(name).map_err(|_| Error::new(what(), libc::EINVAL))?;
        let size = size.clamp(2, 1 << 20).next_power_of_two();
        let socket = i32::try_from(socket).unwrap_or(-1);
        // SAFETY: EAL runs (the callers ask for its token); the name is copied.
        let raw = unsafe {
            sys::rte_ring_create(cname.as_ptr(), size, socket, flags as std::ffi::c_uint)
        };
        NonNull::new(raw).map(Self).ok_or_else(|| {
            let error = Error::last(what());
            match error.errno() {
                libc::EEXIST => error.hint("a ring of that name exists"),
                libc::ENOMEM => error.hint("give EAL more memory (-m, or more huge pages)"),
                _ => error,
            }
        })
    }

    #[inline]
    fn put(&self, batch: &mut Batch) -> usize {
        let len = batch.len();
        if len == 0 {
            return 0;
        }
        // SAFETY: `len` owned packets; the ring owns the first `sent` afterwards.
        let sent = unsafe {
            sys::rte_ring_enqueue_burst(
                self.0.as_ptr(),
                batch.as_raw().cast(),
                len as u32,
                ptr::null_mut(),
            )
        } as usize;
        // SAFETY: exactly those were given away.
        unsafe { batch.forget_front(sent) };
        sent
    }

    /// `slots` must be empty.
    #[inline]
    fn take(&self, slots: &mut Burst<Mbuf>) -> usize {
        // SAFETY: room for BURST pointers; a ring holds only owned packets, and
        // what it gives is in no other place.
        let n = unsafe {
            sys::rte_ring_dequeue_burst(
                self.0.as_ptr(),
                slots.as_mut_ptr().cast(),
                BURST as u32,
                ptr::null_mut(),
            )
        };
        (n as usize).min(BURST)
    }

    fn len(&self) -> usize {
        // SAFETY: a live ring.
        unsafe { sys::rte_ring_count(self.0.as_ptr()) as usize }
    }
}

/// The one sending end of a ring.
#[derive(Debug)]
pub struct Sender(Arc<Ring>, PhantomData<Cell<()>>);

/// One of many sending ends of a ring.
#[derive(Clone, Debug)]
pub struct SharedSender(Arc<Ring>);

/// The receiving end of a ring.
#[derive(Debug)]
pub struct Receiver(Arc<Ring>, PhantomData<Cell<()>>);

/// A ring of at least `size - 1` packets with one sender and one receiver.
///
/// # Errors
/// A name in use, or no memory.
pub fn channel(_: &Eal, name: &str, size: u32, socket: u32) -> Result<(Sender, Receiver)> {
    let flags = sys::DPVS_K_RING_F_SP_ENQ | sys::DPVS_K_RING_F_SC_DEQ;
    let ring = Arc::new(Ring::create(name, size, socket, flags)?);
    Ok((
        Sender(Arc::clone(&ring), PhantomData),
        Receiver(ring, PhantomData),
    ))
}

/// As [`channel`], with senders that can be cloned.
///
/// # Errors
/// A name in use, or no memory.
pub fn shared_channel(
    _: &Eal,
    name: &str,
    size: u32,
    socket: u32,
) -> Result<(SharedSender, Receiver)> {
    let ring = Arc::new(Ring::create(name, size, socket, sys::DPVS_K_RING_F_SC_DEQ)?);
    Ok((SharedSender(Arc::clone(&ring)), Receiver(ring, PhantomData)))
}

impl Sender {
    /// Sends from the front of the batch; says how many went, the others stay.
    #[inline]
    pub fn burst(&mut self, batch: &mut Batch) -> usize {
        self.0.put(batch)
    }
}

impl SharedSender {
    /// Sends from the front of the batch; says how many went, the others stay.
    #[inline]
    pub fn burst(&mut self, batch: &mut Batch) -> usize {
        self.0.put(batch)
    }
}

impl Receiver {
    /// Receives up to a burst; `slots[..n]` are `Some` then, the rest `None`.
    /// The slots have to be empty before: a packet in one is leaked.
    #[inline]
    pub fn burst(&mut self, slots: &mut Burst<Mbuf>) -> usize {
        if self.0.len() == 0 {
            return 0;
        }
        debug_assert!(slots.iter().all(Option::is_none));
        self.0.take(slots)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}
