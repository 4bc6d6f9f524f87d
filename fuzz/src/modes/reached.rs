//! What an input got to, for the test that the seeds get everywhere.

use std::collections::BTreeMap;

use dpvs_core::message::{LaddrUse, Query, Reply};
use dpvs_core::service::FwdMode;
use dpvs_core::stats::WorkerStats;

use super::world::World;

/// What an input got to.
#[derive(Debug, Default)]
pub struct Reached {
    /// Connections made, by mode and families and protocol of their service.
    pub conns: BTreeMap<String, u64>,
    /// Counters of each worker.
    pub stats: Vec<WorkerStats>,
    /// Frames that went through queue schedulers.
    pub scheduled: u64,
    /// Connections with local ports matched to a port's hash, at the end.
    pub matched: u64,
    /// Tagged, in a tunnel, in pieces: frames that came in.
    pub tagged: u64,
    /// Frames that came in by tunnels.
    pub tunnelled: u64,
    /// Fragments that came in.
    pub pieces: u64,
    /// ICMP errors that were sent for one that came in, and say something else than
    /// that: by the families they came in and went out in.
    pub errors: BTreeMap<&'static str, u64>,
    /// Fragments behind the first that went on when such ones came in: by IPv4, IPv6.
    pub tracked: [u64; 2],
}

impl World {
    /// Which connections were made so far.
    pub(super) fn tell_conns(&mut self) {
        for reply in self.query(&Query::Tc) {
            let Reply::Tc(all) = reply else { continue };
            self.reached.scheduled += all.iter().map(|q| u64::from(q.packets)).sum::<u64>();
        }
        for reply in self.query(&Query::Laddrs) {
            let Reply::Laddrs(all) = reply else { continue };
            let matched = |a: &&LaddrUse| self.lab.snap.returns.matched(a.addr).is_some();
            let all = all.iter().filter(matched);
            self.reached.matched += all.map(|a| u64::from(a.conns)).sum::<u64>();
        }
        let services = self.lab.services();
        for service in services {
            let key = service.key;
            for dest in service.dests.iter() {
                let mut made = 0;
                for reply in self.query(&Query::Dests(vec![dest.id])) {
                    let Reply::Dests(all) = reply else { continue };
                    made += all.iter().map(|d| d.conns).sum::<u64>();
                }
                if made == 0 {
                    continue;
                }
                let family = |v4: bool| if v4 { 4 } else { 6 };
                let mode = match dest.mode {
                    FwdMode::Tunnel => format!("{:?}", dest.tunnel.kind),
                    mode => format!("{mode:?}"),
                };
                let name = format!(
                    "{mode} {}-{} {}",
                    family(key.addr.is_ipv4()),
                    family(dest.addr.is_ipv4()),
                    key.proto
                );
                *self.reached.conns.entry(name).or_default() += made;
            }
        }
    }

    /// Whether what is sent is the translation of the error that came in.
    pub(super) fn tell_error(&mut self, sent: &[u8]) {
        let Some(came) = self.error.as_deref().filter(|_| is_error(sent)) else {
            return;
        };
        let (from, to) = (came[12] == 8, sent[12] == 8);
        // Behind the outer header's checksum: addresses, the message, what is quoted.
        let at = if from { 26 } else { 22 };
        if from == to && came.get(at..) == sent.get(at..) {
            return;
        }
        let name = ["6-6", "6-4", "4-6", "4-4"][usize::from(from) * 2 + usize::from(to)];
        *self.reached.errors.entry(name).or_default() += 1;
    }
}

/// An untagged ICMP or ICMPv6 error without IP options.
pub(super) fn is_error(frame: &[u8]) -> bool {
    match (frame.get(12..15), frame.get(20), frame.get(23)) {
        (Some([8, 0, 0x45]), _, Some(1)) => matches!(frame.get(34), Some(3 | 11)),
        (Some([0x86, 0xdd, _]), Some(58), _) => matches!(frame.get(54), Some(1..=3)),
        _ => false,
    }
}

/// Of a fragment behind the first one, untagged: 0 for IPv4, 1 for IPv6.
pub(super) fn later_piece(frame: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    match word(12)? {
        0x0800 => (word(20)? & 0x1fff != 0).then_some(0),
        0x86dd if frame.get(20) == Some(&44) => (word(56)? & 0xfff8 != 0).then_some(1),
        _ => None,
    }
}
