//! Traffic statistics (`dpip iftraf`): the largest flows of each device, from one
//! sampled packet of 1,024.
//!
//! A device has slots of one second each and their sums; flows that have not been
//! seen for that long are forgotten, and there are never more than so many.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use dpvs_core::frame::PortId;

use crate::watch::{Flow, SAMPLED, Sample};

/// Seconds that count.
const SLOTS: usize = 30;
/// Flows of a device that are kept.
const FLOWS: usize = 8192;
/// Flows that are listed.
pub(crate) const TOP: usize = 20;

/// Bytes received and sent, as far as the samples tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Bytes {
    fn total(self) -> u64 {
        self.received + self.sent
    }

    fn add(&mut self, other: Bytes) {
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// A line of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) port: PortId,
    pub(crate) worker: u8,
    pub(crate) flow: Flow,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, Default)]
struct Device {
    /// The second now, and those before.
    slots: VecDeque<Vec<(Flow, Bytes)>>,
    flows: HashMap<Flow, (Bytes, u8)>,
}

/// What has been sampled.
#[derive(Debug, Default)]
pub(crate) struct Traffic(BTreeMap<PortId, Device>);

impl Traffic {
    /// Counts a sample.
    pub(crate) fn count(&mut self, sample: &Sample) {
        let device = self.0.entry(sample.port).or_default();
        if !device.flows.contains_key(&sample.flow) && device.flows.len() >= FLOWS {
            return;
        }
        // It stands for those that were not looked at.
        let n = u64::from(sample.len) * u64::from(SAMPLED);
        let bytes = Bytes {
            received: if sample.sent { 0 } else { n },
            sent: if sample.sent { n } else { 0 },
        };
        let sum = device.flows.entry(sample.flow).or_default();
        sum.0.add(bytes);
        sum.1 = sample.worker;
        if device.slots.is_empty() {
            device.slots.push_front(Vec::new());
        }
        if let Some(slot) = device.slots.front_mut() {
            slot.push((sample.flow, bytes));
        }
    }

    /// A second has passed.
    pub(crate) fn turn(&mut self) {
        for device in self.0.values_mut() {
            device.slots.push_front(Vec::new());
            while device.slots.len() > SLOTS
                && let Some(old) = device.slots.pop_back()
            {
                for (flow, bytes) in old {
                    let Some(sum) = device.flows.get_mut(&flow) else {
                        continue;
                    };
                    sum.0.received -= bytes.received;
                    sum.0.sent -= bytes.sent;
                    if sum.0 == Bytes::default() {
                        device.flows.remove(&flow);
                    }
                }
            }
        }
    }

    /// The largest flows of a device, largest first.
    pub(crate) fn device(&self, port: PortId) -> Vec<Line> {
        let flows = self.0.get(&port).map(|d| &d.flows);
        let lines = flows
            .into_iter()
            .flatten()
            .map(|(flow, (bytes, worker))| Line {
                port,
                worker: *worker,
                flow: *flow,
                bytes: *bytes,
            });
        top(lines.collect())
    }

    /// The largest sources of a device: what they send to whomever.
    pub(crate) fn sources(&self, port: PortId) -> Vec<Line> {
        let mut by_source: HashMap<IpAddr, Line> = HashMap::new();
        let flows = self.0.get(&port).map(|d| &d.flows);
        for (flow, (bytes, worker)) in flows.into_iter().flatten() {
            let line = by_source.entry(flow.src).or_insert(Line {
                port,
                worker: *worker,
                // Of all its flows: one of them.
                flow: *flow,
                bytes: Bytes::default(),
            });
            line.bytes.add(*bytes);
        }
        top(by_source.into_values().collect())
    }

    /// The largest flows of all devices.
    pub(crate) fn all(&self) -> Vec<Line> {
        top(self.0.keys().flat_map(|port| self.device(*port)).collect())
    }
}

fn top(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|l| {
        (
            std::cmp::Reverse(l.bytes.total()),
            l.flow.src,
            l.flow.dst,
            l.flow.sport,
            l.flow.dport,
        )
    });
    lines.truncate(TOP);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(port: u16, src: u8, sport: u16, len: u32, sent: bool) -> Sample {
        Sample {
            port: PortId(port),
            sent,
            worker: 1,
            len,
            flow: Flow {
                src: [10, 0, 0, src].into(),
                dst: [192, 0, 2, 1].into(),
                proto: 6,
                sport,
                dport: 80,
            },
        }
    }

    #[test]
    fn the_largest_come_first_and_go_after_half_a_minute() {
        let mut traffic = Traffic::default();
        for n in 1..=30u16 {
            traffic.count(&sample(0, n as u8, 1, u32::from(n), false));
        }
        traffic.count(&sample(1, 1, 1, 100, true));
        traffic.count(&sample(1, 1, 2, 100, true));
        let top = traffic.device(PortId(0));
        assert_eq!(top.len(), TOP);
        assert_eq!(top[0].bytes.received, 30 * 1024);
        assert!(top.is_sorted_by_key(|l| std::cmp::Reverse(l.bytes.received)));
        assert_eq!(traffic.all()[0].bytes.sent, 100 * 1024);
        assert_eq!(traffic.device(PortId(1)).len(), 2);
        let sources = traffic.sources(PortId(1));
        assert_eq!((sources.len(), sources[0].bytes.sent), (1, 200 * 1024));
        for _ in 0..SLOTS - 1 {
            traffic.turn();
        }
        assert_eq!(traffic.all().len(), TOP);
        traffic.turn();
        assert!(traffic.all().is_empty());
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let mut traffic = Traffic::default();
        for n in 0..3 * FLOWS {
            traffic.count(&sample(0, (n >> 16) as u8, n as u16, 60, false));
        }
        assert_eq!(traffic.0[&PortId(0)].flows.len(), FLOWS);
    }
}
