//! Bursts of a port with VLAN devices: sorted by device before anything else.
//!
//! Every device's frames keep their order. Ports without VLAN devices never come
//! here. Tags are put on again by whoever sends ([`crate::frame::Io::send`] to the
//! device).

use crate::frame::{BURST, Burst, Frame, Io, Now, PortId, empty_burst};
use crate::inet::vlan;
use crate::snapshot::Port;
use crate::stats::Reason;
use crate::worker::Worker;

/// A place in the burst that holds no frame any more.
const NOBODY: PortId = PortId(u16::MAX);

/// The device a frame with that tag is for.
///
/// DIFFERS: a frame is for the device's MAC address then; DPVS takes the port's as
/// well where the device has another.
fn device(port: &Port, own: PortId, tag: Option<u16>) -> Option<PortId> {
    match tag.map(vlan::id) {
        // Without a tag, or with one that says a priority only (802.1Q 9.6).
        None | Some(0) => Some(own),
        Some(id) => {
            let at = port.vlans.binary_search_by_key(&id, |v| v.0).ok()?;
            port.vlans.get(at).map(|v| v.1)
        }
    }
}

impl<F: Frame> Worker<F> {
    /// The devices whose frames are copied to the kernel (`forward2kni`): who sends
    /// copies what is sent, the worker what it receives.
    pub fn copied(&self, ports: &mut Vec<PortId>) {
        ports.clear();
        if let Some(snap) = &self.snap {
            let on = (0..).zip(snap.ports.iter()).filter(|(_, p)| p.forward2kni);
            ports.extend(on.map(|(id, _)| PortId(id)));
        }
    }

    /// As `process`, for a port that has VLAN devices.
    #[cold]
    #[inline(never)]
    pub(crate) fn process_tagged<I: Io<Frame = F>>(
        &mut self,
        port: PortId,
        burst: &mut Burst<F>,
        n: usize,
        now: Now,
        io: &mut I,
    ) {
        let mut to = [NOBODY; BURST];
        let mut lost = 0;
        let Some(snap) = self.snap.as_ref() else {
            return;
        };
        let Some(p) = snap.ports.get(usize::from(port.0)) else {
            return;
        };
        for (slot, to) in burst[..n].iter_mut().zip(&mut to) {
            let Some(frame) = slot else { continue };
            let tag = vlan::pop(frame);
            let device = device(p, port, tag);
            // The port's own are copied to the kernel as any port's, later.
            if p.forward2kni && device != Some(port) {
                let copy = io.duplicate(frame).and_then(|mut copy| {
                    let room = vlan::push(&mut copy, tag.unwrap_or(0));
                    room.then_some(copy)
                });
                match copy {
                    Some(copy) => {
                        io.to_host(port, copy);
                        self.stats.made += 1;
                        self.stats.to_host += 1;
                    }
                    None => self.stats.copies_lost += 1,
                }
            }
            match device {
                Some(device) => *to = device,
                None => {
                    *slot = None;
                    lost += 1;
                }
            }
        }
        self.stats.drops[Reason::UnknownVlan as usize] += lost;
        let mut group = empty_burst();
        for at in 0..n {
            let device = to[at];
            if device == NOBODY {
                continue;
            }
            let (mut count, mut bytes) = (0, 0);
            for (slot, to) in burst[at..n].iter_mut().zip(&mut to[at..n]) {
                if *to == device
                    && let Some(frame) = slot.take()
                {
                    *to = NOBODY;
                    bytes += frame.total_len() as u64;
                    group[count] = Some(frame);
                    count += 1;
                }
            }
            if device != port {
                io.received(device, count as u64, bytes);
            }
            self.process_port(device, &mut group, count, now, io);
        }
    }
}
