//! The outside of a worker: transmit buffers, rings, devices made by command.
//!
//! What the worker sends is gathered into batches by port, by host port and by
//! other worker; full ones go at once, the rest when the loop says so. Whatever a
//! queue or ring does not take is lost and counted. Copies for the kernel and for
//! who looks on are made here. Knows no turn of the loop: that is `lcore`.

use std::sync::Arc;

use dpvs_core::frame::{Burst, Frame, Io, PortId, WorkerId};
use dpvs_core::inet::vlan;
use dpvs_core::message::{FromWorker, PeerMessage};

use crate::counters::{LcoreCounters, Lost};
use crate::port::{Batch, Mbuf, Pool, Receiver, SharedSender, TxQueue};
use crate::wake::{Peer, Reports};
use crate::watch::{Sampler, Watch};
use crate::wiring::{DeviceCounters, Seqs, Wiring};

/// Set in the mark of a frame handed over, beside its port: the kernel sends it.
pub(crate) const KERNELS: u16 = 1 << 15;

/// A device made by command, as [`LcoreIo`] has it.
pub(crate) struct Made {
    device: PortId,
    tag: Option<(PortId, u16)>,
    counters: Arc<DeviceCounters>,
    seqs: Arc<Seqs>,
}

/// The outside of a worker: transmit buffers and rings.
pub(crate) struct LcoreIo {
    pub(crate) id: WorkerId,
    pub(crate) pool: Pool,
    pub(crate) tx: Vec<(Option<TxQueue>, Batch)>,
    pub(crate) host: Vec<(Option<SharedSender>, Batch)>,
    pub(crate) peers: Vec<(Option<SharedSender>, Batch)>,
    /// There are queue schedulers: full batches are kept for them.
    pub(crate) shaped: bool,
    /// Those batches.
    pub(crate) spill: Vec<(PortId, Burst<Mbuf>)>,
    /// The same, of devices made by command.
    pub(crate) spill_made: Vec<(PortId, Mbuf)>,
    /// Devices made by command, by number.
    pub(crate) made: Vec<Made>,
    /// Devices whose frames the kernel gets copies of; mostly none.
    pub(crate) copied: Vec<PortId>,
    /// Some ring has something waiting: looked at once a burst.
    pub(crate) rings_wait: bool,
    pub(crate) inboxes: Vec<Option<Peer>>,
    pub(crate) outbox: Reports,
    pub(crate) counters: Arc<LcoreCounters>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) sampler: Sampler,
}

impl LcoreIo {
    #[inline]
    fn flush_tx(&mut self) {
        if self.watch.is_on() {
            self.show();
        }
        if !self.copied.is_empty() {
            self.copy_all();
        }
        for (queue, batch) in &mut self.tx {
            if let (Some(queue), false) = (queue, batch.is_empty()) {
                send(queue, batch, &self.counters);
            }
        }
    }

    /// What is about to be sent, for who looks on.
    #[cold]
    fn show(&mut self) {
        for ((_, batch), port) in self.tx.iter().zip(0..) {
            let frames = batch.frames();
            self.watch
                .look(self.id.0, PortId(port), true, frames, &mut self.sampler);
        }
    }

    /// What is about to be sent, for the kernel.
    #[cold]
    fn copy_all(&mut self) {
        for ((_, batch), port) in self.tx.iter().zip(0..) {
            if self.copied.contains(&PortId(port)) {
                self.rings_wait = true;
                copy_to_host(
                    &mut self.host,
                    PortId(port),
                    batch,
                    self.pool,
                    &self.counters,
                );
            }
        }
    }

    /// Everything that is kept for a whole batch goes.
    #[inline]
    pub(crate) fn flush(&mut self) {
        self.flush_tx();
        if self.rings_wait {
            self.rings_wait = false;
            for (ring, batch) in &mut self.host {
                pass(ring.as_mut(), batch, &self.counters, Lost::HostRingFull);
            }
            for (ring, batch) in &mut self.peers {
                pass(ring.as_mut(), batch, &self.counters, Lost::WorkerRingFull);
            }
        }
    }
}

impl LcoreIo {
    /// Whether a device was made by command.
    pub(crate) fn is_made(&self, device: PortId) -> bool {
        self.made(device).is_some()
    }

    fn made(&self, device: PortId) -> Option<&Made> {
        let at = self.made.binary_search_by_key(&device, |m| m.device).ok()?;
        self.made.get(at)
    }

    /// Sends by a VLAN device, by way of its schedulers if there are any.
    #[cold]
    #[inline(never)]
    fn send_made(&mut self, device: PortId, frame: Mbuf) {
        if self.shaped {
            self.spill_made.push((device, frame));
        } else {
            self.send_tagged(device, frame);
        }
    }

    /// Sends by a VLAN device: tagged, by the port below.
    #[cold]
    #[inline(never)]
    pub(crate) fn send_tagged(&mut self, device: PortId, mut frame: Mbuf) {
        let Some((parent, tci)) = self.made(device).and_then(|m| m.tag) else {
            return self.counters.lose(Lost::NoDevice, 1);
        };
        let bytes = frame.total_len() as u64;
        if self.copied.contains(&device)
            && let Some(copy) = self.pool.copy(&frame)
        {
            self.to_host(device, copy);
        }
        let Some(made) = self.made(device) else {
            return;
        };
        if !vlan::push(&mut frame, tci) {
            made.counters.oerrors.add(1);
            return self.counters.lose(Lost::NoTagRoom, 1);
        }
        made.counters.opackets.add(1);
        made.counters.obytes.add(bytes);
        self.send(parent, frame);
    }

    /// Passes a frame to another worker, with a mark.
    fn pass_over(&mut self, worker: WorkerId, mark: u16, mut frame: Mbuf) {
        debug_assert_ne!(worker, self.id);
        match self.peers.get_mut(usize::from(worker.0)) {
            Some((Some(ring), batch)) => {
                self.rings_wait = true;
                frame.set_mark(mark);
                queue(batch, frame, |batch| {
                    pass(Some(ring), batch, &self.counters, Lost::WorkerRingFull);
                });
            }
            _ => self.counters.lose(Lost::NoDevice, 1),
        }
    }

    /// A device came or went; gives the ring from the kernel, if this lcore has it.
    pub(crate) fn rewire(&mut self, wiring: Wiring) -> Option<(PortId, Receiver)> {
        let (Wiring::Add { device, .. } | Wiring::Remove(device)) = wiring;
        let place = self.made.binary_search_by_key(&device, |m| m.device);
        if let Ok(at) = place {
            self.made.remove(at);
        }
        let host = usize::from(device.0);
        if let Some(slot) = self.host.get_mut(host) {
            self.counters.lose(Lost::NoDevice, slot.1.clear() as u64);
            slot.0 = None;
        }
        let Wiring::Add {
            tag,
            counters,
            seqs,
            to_host,
            from_host,
            ..
        } = wiring
        else {
            return None;
        };
        let made = Made {
            device,
            tag,
            counters,
            seqs,
        };
        let (Ok(at) | Err(at)) = place;
        self.made.insert(at, made);
        if to_host.is_some() {
            while self.host.len() <= host {
                self.host.push((None, Batch::new()));
            }
            if let Some(slot) = self.host.get_mut(host) {
                slot.0 = to_host;
            }
        }
        from_host.map(|ring| (device, ring))
    }
}

#[inline]
fn send(queue: &mut TxQueue, batch: &mut Batch, counters: &LcoreCounters) {
    let (packets, bytes) = (batch.len() as u64, batch.bytes());
    if !queue.try_flush(batch) {
        // What is left does not go.
        return refused(batch, packets, bytes, counters);
    }
    counters.opackets.add(packets);
    counters.obytes.add(bytes);
}

/// Copies what is about to be sent on a port to its host port (`forward2kni`).
#[cold]
fn copy_to_host(
    host: &mut [(Option<SharedSender>, Batch)],
    port: PortId,
    batch: &Batch,
    pool: Pool,
    counters: &LcoreCounters,
) {
    let Some((Some(ring), copies)) = host.get_mut(usize::from(port.0)) else {
        return;
    };
    for copy in batch.frames().filter_map(|frame| pool.copy(frame)) {
        queue(copies, copy, |copies| {
            pass(Some(ring), copies, counters, Lost::HostRingFull);
        });
    }
}

/// A transmit queue did not take all of a batch.
#[cold]
fn refused(batch: &mut Batch, packets: u64, bytes: u64, counters: &LcoreCounters) {
    counters.obytes.add(bytes - batch.bytes());
    let lost = batch.clear() as u64;
    counters.opackets.add(packets - lost);
    counters.lose(Lost::TxFull, lost);
}

fn pass(ring: Option<&mut SharedSender>, batch: &mut Batch, counters: &LcoreCounters, full: Lost) {
    if let Some(ring) = ring {
        ring.burst(batch);
    }
    counters.lose(full, batch.clear() as u64);
}

/// Adds to a batch that is emptied when full.
#[inline]
fn queue(batch: &mut Batch, frame: Mbuf, mut empty: impl FnMut(&mut Batch)) {
    if let Err(frame) = batch.push(frame) {
        empty(batch);
        // There is room now; were there none, the frame would be dropped.
        let _ = batch.push(frame);
    }
}

impl Io for LcoreIo {
    type Frame = Mbuf;

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    fn duplicate(&mut self, frame: &Mbuf) -> Option<Mbuf> {
        self.pool.copy(frame)
    }

    #[inline]
    fn send(&mut self, port: PortId, frame: Mbuf) {
        match self.tx.get_mut(usize::from(port.0)) {
            Some((Some(tx), batch)) => queue(batch, frame, |batch| {
                if self.shaped {
                    self.spill.push((port, batch.take()));
                } else {
                    if self.watch.is_on() {
                        let frames = batch.frames();
                        self.watch
                            .look(self.id.0, port, true, frames, &mut self.sampler);
                    }
                    if self.copied.contains(&port) {
                        self.rings_wait = true;
                        copy_to_host(&mut self.host, port, batch, self.pool, &self.counters);
                    }
                    send(tx, batch, &self.counters);
                }
            }),
            _ => self.send_made(port, frame),
        }
    }

    fn received(&mut self, device: PortId, packets: u64, bytes: u64) {
        if let Some(made) = self.made(device) {
            made.counters.ipackets.add(packets);
            made.counters.ibytes.add(bytes);
        }
    }

    fn next_seq(&mut self, tunnel: PortId) -> u32 {
        self.made(tunnel).map_or(0, |made| made.seqs.next())
    }

    fn in_order(&mut self, tunnel: PortId, seq: u32) -> bool {
        self.made(tunnel).is_none_or(|made| made.seqs.in_order(seq))
    }

    fn sent(&mut self, device: PortId, packets: u64, bytes: u64) {
        if let Some(made) = self.made(device) {
            made.counters.opackets.add(packets);
            made.counters.obytes.add(bytes);
        }
    }

    fn to_host(&mut self, port: PortId, frame: Mbuf) {
        match self.host.get_mut(usize::from(port.0)) {
            Some((Some(ring), batch)) => {
                self.rings_wait = true;
                queue(batch, frame, |batch| {
                    pass(Some(ring), batch, &self.counters, Lost::HostRingFull);
                });
            }
            _ => self.counters.lose(Lost::NoDevice, 1),
        }
    }

    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: Mbuf) {
        self.pass_over(worker, port.0, frame);
    }

    fn hand_over_kernels(&mut self, worker: WorkerId, port: PortId, frame: Mbuf) {
        self.pass_over(worker, port.0 | KERNELS, frame);
    }

    fn tell(&mut self, worker: WorkerId, word: PeerMessage) -> bool {
        match self.inboxes.get(usize::from(worker.0)) {
            Some(Some(peer)) => peer.say(word),
            _ => false,
        }
    }

    fn report(&mut self, event: FromWorker) {
        // Without a master there is nobody to tell.
        let _ = self.outbox.send(event);
    }
}
