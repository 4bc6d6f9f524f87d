//! The end of an input: without traffic everything comes to rest, and nothing is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use dpvs_core::message::{Query, Reply};
use dpvs_core::service::DestId;

use super::buffer;
use super::world::World;

impl World {
    /// Without traffic everything comes to rest.
    pub(super) fn rest(&mut self) {
        self.late = false;
        self.lab.sink.deaf = false;
        self.lab.sink.empty = false;
        // Queues give back what they have.
        self.lab.snap.tc = Arc::default();
        self.lab.touch();
        self.lab.publish();
        self.after();
        for _ in 0..120 {
            self.pass(400_000_000, 2);
            if self.lab.workers.iter().all(|w| w.conns() == 0) {
                break;
            }
        }
        for _ in 0..4 {
            self.pass(10_000_000, 2);
        }
        let conns: usize = self.lab.workers.iter().map(|w| w.conns()).sum();
        assert_eq!(conns, 0, "connections that never end");
        for reply in self.query(&Query::Laddrs) {
            let Reply::Laddrs(pools) = reply else {
                continue;
            };
            let used: Vec<_> = pools.iter().filter(|l| l.used != 0).collect();
            assert!(used.is_empty(), "ports never given back: {used:?}");
        }
        let mut queued = 0;
        for reply in self.query(&Query::Neighbours) {
            let Reply::Neighbours(list) = reply else {
                continue;
            };
            queued += list.iter().map(|i| u64::from(i.queued)).sum::<u64>();
        }
        assert_eq!(buffer::alive(), queued, "frames that are nowhere");
        for worker in &self.lab.workers {
            let s = worker.stats();
            assert_eq!(s.conns_made, s.conns_gone, "connections made and gone");
        }
        let workers = self.lab.workers.len();
        let mut said: BTreeMap<DestId, usize> = BTreeMap::new();
        for dest in &self.lab.left {
            *said.entry(*dest).or_default() += 1;
        }
        for (dest, n) in said {
            assert_eq!(n, workers, "{dest:?} is not drained by every worker");
        }
    }
}
