//! Receive and transmit queues: one owner each, no lock.
//!
//! A queue exists once, is `Send` and not `Sync`, so that the borrow checker
//! keeps two lcores off it. Knows nothing of ports' settings.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use dpdk_sys as sys;
use dpvs_core::frame::{BURST, Burst};

use super::mbuf::Batch;

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    /// Takes `Sync` away.
    _one_owner: PhantomData<Cell<()>>,
}

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    _one_owner: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// Only `dev` makes them, once each.
    pub(super) fn new(port: u16, queue: u16) -> Self {
        Self {
            port,
            queue,
            _one_owner: PhantomData,
        }
    }

    /// DPDK's number of the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Number of the queue on its port.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Receives up to a burst; `slots[..n]` are `Some` then, the rest `None`.
    /// The slots have to be empty before: a packet in one is leaked. A stopped
    /// port gives 0.
    #[inline]
    pub fn burst(&mut self, slots: &mut Burst<super::Mbuf>) -> usize {
        debug_assert!(slots.iter().all(Option::is_none));
        // SAFETY: the array has room for BURST pointers;
        // this is the queue's one owner.
        let n = unsafe {
            sys::rte_eth_rx_burst(
                self.port,
                self.queue,
                slots.as_mut_ptr().cast(),
                BURST as u16,
            )
        };
        let n = usize::from(n).min(BURST);
        // Vector drivers write ahead of what they return: those pointers are
        // not ours.
        for slot in &mut slots[n..] {
            // SAFETY: a valid place; what it holds must not be dropped.
            unsafe { ptr::write(slot, None) };
        }
        n
    }
}

impl TxQueue {
    /// Only `dev` makes them, once each.
    pub(super) fn new(port: u16, queue: u16) -> Self {
        Self {
            port,
            queue,
            _one_owner: PhantomData,
        }
    }

    /// DPDK's number of the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Number of the queue on its port.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Sends from the front of the batch and says how many went; the others
    /// stay in it, in order.
    #[inline]
    pub fn burst(&mut self, batch: &mut Batch) -> usize {
        let len = batch.len();
        if len == 0 {
            return 0;
        }
        // SAFETY: the batch holds `len` owned packets; this is the queue's one
        // owner; the driver owns the first `sent` of them afterwards.
        let sent =
            unsafe { sys::rte_eth_tx_burst(self.port, self.queue, batch.as_raw(), len as u16) };
        let sent = usize::from(sent).min(len);
        // SAFETY: exactly those were given away.
        unsafe { batch.forget_front(sent) };
        sent
    }

    /// Whether the port is a bond, which wants [`TxQueue::beat`].
    #[must_use]
    pub fn of_bond(&self) -> bool {
        // SAFETY: the call checks the port.
        unsafe { sys::dpvs_bond_get(self.port, sys::DPVS_BOND_MODE as i32) >= 0 }
    }

    /// Sends nothing. The bonding driver sends its own frames (LACP, the ARP replies
    /// of mode 6) when somebody sends by it, and wants that every 100 ms at least.
    pub fn beat(&mut self) {
        let mut none = ptr::null_mut();
        // SAFETY: no packet is read; this is the queue's one owner.
        unsafe { sys::rte_eth_tx_burst(self.port, self.queue, &raw mut none, 0) };
    }

    /// Sends all, tries a full queue a few times more, drops what it still
    /// refuses and says how many that were.
    #[inline]
    pub fn flush(&mut self, batch: &mut Batch) -> usize {
        if self.try_flush(batch) {
            0
        } else {
            batch.clear()
        }
    }

    /// As [`Self::flush`], but what the queue refuses stays: false then.
    #[inline]
    pub fn try_flush(&mut self, batch: &mut Batch) -> bool {
        const TRIES: usize = 4;
        for _ in 0..TRIES {
            self.burst(batch);
            if batch.is_empty() {
                return true;
            }
        }
        false
    }
}
