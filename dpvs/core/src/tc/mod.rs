//! Traffic control: queue schedulers before a port's transmitter and behind its
//! receiver, and the classifiers that choose among them (DPVS facts §25).
//!
//! Not a part of the packets' way: whoever moves frames between ports and worker
//! asks [`Worker::has_tc`] once a burst and, only then, passes them through
//! here. Every worker has queues of its own; of a rate they borrow what they need.
//! Queues hold what their limit says, and never more than [`SLOTS`].

mod look;
mod queue;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use crate::acl::{Sets, set_of};
use crate::frame::{BURST, Burst, Frame, Now, PortId};
use crate::ipset::SetId;
use crate::stats::Reason;
use crate::tokens::Tokens;
use crate::worker::Worker;

use look::Look;
use queue::Queue;

/// Handle of the scheduler that frames to be sent come to first.
pub const ROOT: u32 = 0xffff_ffff;
/// Handle of the one that received frames come to first.
pub const INGRESS: u32 = 0xffff_fff1;
/// Most frames a queue holds, whatever its limit.
pub const SLOTS: usize = 16_384;
/// Times a frame is classified again, at most.
const RECLASSIFY: usize = 8;

/// Which side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Side {
    /// Before the transmitter.
    Egress,
    /// Behind the receiver.
    Ingress,
}

/// What is published: schedulers by port and side.
#[derive(Clone, Debug, Default)]
pub struct Tc {
    /// By port; [`Side`] within. Empty where nothing is scheduled.
    pub ports: Vec<[Arc<[Qsch]>; 2]>,
}

/// A queue scheduler.
#[derive(Clone, Debug)]
pub struct Qsch {
    /// Its handle.
    pub handle: u32,
    /// Never the same for two schedulers: counters and frames stay with it.
    pub uid: u64,
    /// What it does.
    pub kind: QschKind,
    /// Buckets of a tbf, for its rate and its peak rate: all workers take from them.
    pub tokens: Arc<[Tokens; 2]>,
    /// Classifiers, in the order in which they are asked.
    pub classes: Arc<[Cls]>,
}

/// What a scheduler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QschKind {
    /// First come, first served.
    Pfifo {
        /// Most frames.
        limit: u32,
    },
    /// The same, counted in bytes.
    Bfifo {
        /// Most bytes.
        limit: u32,
    },
    /// Three bands by the type of service; a lower one goes first.
    PfifoFast {
        /// Most frames.
        limit: u32,
    },
    /// A token bucket.
    Tbf {
        /// Bits a second.
        rate: u32,
        /// Bytes at once.
        burst: u32,
        /// Bits a second within a burst; 0 = not limited.
        peak: u32,
        /// Bytes at once at that rate.
        mtu: u32,
        /// Most bytes that wait.
        limit: u32,
    },
}

/// A classifier.
#[derive(Clone, Debug)]
pub struct Cls {
    /// Ethernet type of frames it looks at.
    pub ethertype: u16,
    /// Which of them it means.
    pub rule: Rule,
    /// What becomes of them.
    pub target: Target,
}

/// Addresses and ports from-to, host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First and last address; none: any.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// First and last port; none: any.
    pub ports: Option<(u16, u16)>,
}

/// Which frames a classifier means.
#[derive(Clone, Debug)]
pub enum Rule {
    /// By protocol, addresses, ports, devices.
    Match {
        /// IP protocol number, 0 = any.
        proto: u8,
        /// Source.
        src: Range,
        /// Destination.
        dst: Range,
        /// Received on.
        iif: Option<PortId>,
        /// Sent by.
        oif: Option<PortId>,
    },
    /// By a set.
    Set {
        /// Which.
        id: SetId,
        /// Looks at the destination's side.
        destination: bool,
    },
}

/// What becomes of frames that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Dropped.
    Drop,
    /// To the scheduler with this handle.
    Qsch(u32),
}

/// What a scheduler counted on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QschStats {
    /// Its uid.
    pub uid: u64,
    /// Frames waiting.
    pub qlen: u32,
    /// Bytes waiting.
    pub backlog: u32,
    /// Frames dropped.
    pub drops: u32,
    /// Frames put back: none, a queue looks before it takes.
    pub requeues: u32,
    /// Times a rate made frames wait.
    pub overlimits: u32,
    /// Bytes that went out.
    pub bytes: u64,
    /// Frames that went out.
    pub packets: u32,
}

/// What a worker has of traffic control.
pub(crate) struct TcState<F> {
    /// What the queues were made of.
    conf: Arc<Tc>,
    ports: Vec<[Vec<Queue<F>>; 2]>,
}

impl Range {
    fn has(&self, addr: IpAddr, port: u16) -> bool {
        self.addrs
            .is_none_or(|(a, b)| a.is_ipv4() == addr.is_ipv4() && (a..=b).contains(&addr))
            && self.ports.is_none_or(|(a, b)| (a..=b).contains(&port))
    }
}

impl Cls {
    fn means(&self, look: &Look, iif: Option<PortId>, oif: Option<PortId>, sets: &Sets) -> bool {
        if self.ethertype != look.ethertype {
            return false;
        }
        let Some(p) = look.packet(iif) else {
            return false;
        };
        match &self.rule {
            Rule::Match {
                proto,
                src,
                dst,
                iif: from,
                oif: to,
            } => {
                (*proto == 0 || *proto == p.proto)
                    && src.has(p.src, p.sport)
                    && dst.has(p.dst, p.dport)
                    && (from.is_none() || *from == iif)
                    && (to.is_none() || *to == oif)
            }
            Rule::Set { id, destination } => {
                set_of(sets, *id).is_some_and(|set| set.matches(&p, *destination))
            }
        }
    }
}

/// How many share the rates, and how large frames are.
pub(crate) struct Shares<'a> {
    pub workers: u32,
    /// MTU of each port.
    pub mtus: &'a [u16],
}

impl<F: Frame> TcState<F> {
    /// Queues of a configuration; those of schedulers that stay keep what is in
    /// them. `None` if there is none. And how many frames went with their queue.
    pub(crate) fn of(
        old: Option<Box<Self>>,
        conf: &Arc<Tc>,
        shares: &Shares<'_>,
    ) -> (Option<Box<Self>>, u64) {
        let mut old = old.map_or_else(Vec::new, |o| o.ports);
        let (mut any, mut lost) = (false, 0);
        let mut ports = Vec::with_capacity(conf.ports.len());
        for (at, sides) in conf.ports.iter().enumerate() {
            let mtu = shares.mtus.get(at).copied().unwrap_or(1500);
            let mut have = old.get_mut(at).map(std::mem::take).unwrap_or_default();
            let mut side = |side: Side| -> Vec<Queue<F>> {
                let have = &mut have[side as usize];
                sides[side as usize]
                    .iter()
                    .map(|qsch| {
                        any = true;
                        let kept = have.iter().position(|q| q.uid == qsch.uid);
                        let mut queue =
                            kept.map_or_else(|| Queue::new(qsch.uid), |i| have.swap_remove(i));
                        queue.configure(qsch, shares.workers, mtu);
                        queue
                    })
                    .collect()
            };
            ports.push([side(Side::Egress), side(Side::Ingress)]);
            lost += have.iter().flatten().map(Queue::waiting).sum::<u64>();
        }
        lost += old
            .iter()
            .flatten()
            .flatten()
            .map(Queue::waiting)
            .sum::<u64>();
        let state = any.then(|| {
            Box::new(Self {
                conf: Arc::clone(conf),
                ports,
            })
        });
        (state, lost)
    }

    /// What every scheduler counted.
    pub(crate) fn stats(&self) -> Vec<QschStats> {
        let sides = self.ports.iter().flatten();
        sides.flatten().map(Queue::stats).collect()
    }

    fn side(&mut self, port: PortId, side: Side) -> Option<(&[Qsch], &mut [Queue<F>])> {
        let at = usize::from(port.0);
        let conf = &self.conf.ports.get(at)?[side as usize];
        let queues = &mut self.ports.get_mut(at)?[side as usize];
        Some((conf, queues))
    }
}

/// The queue a frame belongs to; none if it is to be dropped.
fn choose<F: Frame>(
    conf: &[Qsch],
    root: usize,
    frame: &F,
    ports: (Option<PortId>, Option<PortId>),
    sets: &Sets,
) -> Option<usize> {
    let mut at = root;
    let mut look = None;
    for _ in 0..RECLASSIFY {
        let qsch = conf.get(at)?;
        if qsch.classes.is_empty() {
            break;
        }
        let look = look.get_or_insert_with(|| Look::of(frame));
        let hit = qsch
            .classes
            .iter()
            .find(|cls| cls.means(look, ports.0, ports.1, sets));
        match hit.map(|cls| cls.target) {
            None => break,
            Some(Target::Drop) => return None,
            // A child that is not there: it stays where it is.
            Some(Target::Qsch(handle)) => match conf.iter().position(|q| q.handle == handle) {
                Some(next) if next != at => at = next,
                _ => break,
            },
        }
    }
    Some(at)
}

impl<F: Frame> Worker<F> {
    /// Whether any port has a queue scheduler: otherwise nothing here has to be
    /// called. To be looked at once a burst.
    #[inline]
    #[must_use]
    pub fn has_tc(&self) -> bool {
        self.tc.is_some()
    }

    /// Gives a frame to the schedulers of a port. `iif` is the port it was
    /// received on, where known. Returns it where nothing is scheduled.
    #[cold]
    pub fn tc_put(&mut self, side: Side, port: PortId, iif: Option<PortId>, frame: F) -> Option<F> {
        let Some(state) = self.tc.as_mut() else {
            return Some(frame);
        };
        let Some((conf, queues)) = state.side(port, side) else {
            return Some(frame);
        };
        let (top, oif) = match side {
            Side::Egress => (ROOT, Some(port)),
            Side::Ingress => (INGRESS, None),
        };
        let Some(root) = conf.iter().position(|q| q.handle == top) else {
            return Some(frame);
        };
        let empty = Sets::default();
        let sets = self.snap.as_ref().map_or(&empty, |s| &s.guard.sets);
        let queued = match choose(conf, root, &frame, (iif, oif), sets) {
            Some(at) => queues.get_mut(at).is_some_and(|q| q.put(frame)),
            None => {
                if let Some(queue) = queues.get_mut(root) {
                    queue.refuse();
                }
                false
            }
        };
        if !queued {
            self.stats.drop(Reason::TrafficControl);
        }
        // What waits was received; when it goes on it is counted anew.
        if side == Side::Ingress {
            self.stats.received += 1;
        }
        None
    }

    /// Takes up to a burst of frames whose time has come, of a port's schedulers
    /// in their order. Returns how many; the first slots hold them.
    #[cold]
    pub fn tc_take(&mut self, side: Side, port: PortId, now: Now, out: &mut Burst<F>) -> usize {
        let mut n = 0;
        let Some((_, queues)) = self.tc.as_mut().and_then(|s| s.side(port, side)) else {
            return 0;
        };
        for queue in queues {
            while n < BURST
                && let Some(frame) = queue.take(now.0)
            {
                out[n] = Some(frame);
                n += 1;
            }
        }
        if side == Side::Ingress {
            self.stats.received -= n as u64;
        }
        n
    }

    /// How many ports there may be something scheduled on.
    #[must_use]
    pub fn tc_ports(&self) -> u16 {
        let ports = self.tc.as_ref().map_or(0, |s| s.ports.len());
        u16::try_from(ports).unwrap_or(u16::MAX)
    }
}
