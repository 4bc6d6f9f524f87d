//! What the kernel is given, and how much of it at most.
//!
//! Anybody can send what nobody here wants, and each such packet costs the kernel's
//! core more than a worker. So a worker gives each host port a bounded number a
//! second: so many that look like the kernel's business (its addresses, neighbours,
//! groups, routing protocols, other than IP), and, apart from these, so many strays
//! (our addresses without service, no route). A flood of strays leaves the kernel's
//! own traffic alone. Copies of `forward2kni` are asked for, and not bounded here.

use crate::frame::{Frame, Io, Now, PortId};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::tokens::{Rate, Tokens};
use crate::worker::Worker;

/// Packets a second, and at once, of the kernel's own business: no limit to bulk
/// transfers, which the C program carries at up to 800,000.
const OWN: (u64, u64) = (1_000_000, 2048);
/// The same of strays.
const STRAYS: (u64, u64) = (20_000, 1024);

/// Which of the two a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Whose {
    Kernel,
    Stray,
}

/// What a worker may still give to host ports.
#[derive(Debug)]
pub(crate) struct HostGate {
    rates: [Rate; 2],
    ports: Vec<[Tokens; 2]>,
    /// Microseconds, as of the last turn of the loop.
    now: u64,
}

impl HostGate {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            rates: [OWN, STRAYS].map(|(rate, burst)| Rate::new(rate, burst, 1)),
            ports: Vec::new(),
            now: now.0,
        }
    }

    /// Time passes.
    #[inline]
    pub(crate) fn turn(&mut self, now: Now) {
        self.now = now.0;
    }

    /// There are so many ports.
    pub(crate) fn prepare(&mut self, ports: usize) {
        if self.ports.len() < ports {
            self.ports.resize_with(ports, Default::default);
        }
    }

    fn lets(&self, port: PortId, whose: Whose) -> bool {
        let kind = whose as usize;
        let buckets = self.ports.get(usize::from(port.0));
        buckets.is_none_or(|of| of[kind].draw(&self.rates[kind], 1, self.now))
    }
}

impl<F: Frame> Worker<F> {
    /// Gives a frame to the kernel through the port it was received on.
    pub(crate) fn give_host<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        frame: F,
        io: &mut I,
    ) {
        self.give_host_of(snap, port, port, frame, io);
    }

    /// As `give_host`, through the host port of a port of choice.
    pub(crate) fn give_host_of<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: PortId,
        port: PortId,
        frame: F,
        io: &mut I,
    ) {
        self.give(snap, (from, port), Whose::Kernel, frame, io);
    }

    /// As `give_host`, what the kernel need not know anything about.
    pub(crate) fn give_stray<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        frame: F,
        io: &mut I,
    ) {
        self.give(snap, (port, port), Whose::Stray, frame, io);
    }

    /// As `give_host_of`, what is not as it came in: the kernel takes it for a frame
    /// of that port, and has had no copy of it.
    pub(crate) fn bring_host<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        port: PortId,
        mut frame: F,
        io: &mut I,
    ) {
        match snap.ports.get(usize::from(port.0)) {
            Some(p) if p.has_host && !self.hosts.lets(port, Whose::Kernel) => {
                self.drop(Reason::HostLimit);
            }
            Some(p) if p.has_host => {
                frame.data_mut()[..6].copy_from_slice(&p.mac);
                frame.data_mut()[6..12].copy_from_slice(&p.mac);
                self.stats.delivered(&frame);
                io.to_host(port, frame);
            }
            _ => self.drop(Reason::NoHostPort),
        }
    }

    fn give<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        (from, port): (PortId, PortId),
        whose: Whose,
        mut frame: F,
        io: &mut I,
    ) {
        match snap.ports.get(usize::from(port.0)) {
            // It has been copied there already.
            Some(p) if p.forward2kni && port == from => self.drop(Reason::Consumed),
            // DIFFERS: DPVS gives the kernel as many as the ring has room for.
            Some(p) if p.has_host && !self.hosts.lets(port, whose) => self.drop(Reason::HostLimit),
            Some(p) if p.has_host => {
                // What came to another port's MAC address the kernel would take for
                // somebody else's.
                if port != from && frame.data()[0] & 1 == 0 {
                    frame.data_mut()[..6].copy_from_slice(&p.mac);
                }
                self.stats.delivered(&frame);
                io.to_host(port, frame);
            }
            _ => self.drop(Reason::NoHostPort),
        }
    }

    /// Gives a copy of a frame to the kernel (`forward2kni`).
    pub(crate) fn copy_to_host<I: Io<Frame = F>>(&mut self, port: PortId, frame: &F, io: &mut I) {
        match io.duplicate(frame) {
            Some(copy) => {
                self.stats.made += 1;
                self.stats.to_host += 1;
                io.to_host(port, copy);
            }
            None => self.stats.copies_lost += 1,
        }
    }
}
