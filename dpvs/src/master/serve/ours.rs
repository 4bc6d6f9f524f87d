//! What is told beyond the C daemon (ids 7501 to 7504): drops by reason and other
//! counters of lcores, the way replies find their worker, and the length of the workers' turns.

use std::net::SocketAddr;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::message::{Query, Reply};
use dpvs_core::service::ServiceKey;
use dpvs_core::stats::{Reason, WorkerStats};
use dpvs_ctl::Name;
use dpvs_ctl::msg::{DropCount, PortAffinity, WorkerTurns};
use dpvs_ctl::wire::encode_counted;

use super::{Answer, Gather};
use crate::master::Master;
use crate::master::error::Result;
use crate::master::netif::Affinity;

/// Counters of an lcore as they are told.
fn counts(cid: u8, list: Vec<(&'static str, u64)>) -> impl Iterator<Item = DropCount> {
    list.into_iter().map(move |(name, count)| DropCount {
        cid,
        count,
        reason: Name::truncated(name),
    })
}

impl Master {
    /// Packets dropped by every lcore, by reason: together what `dpip -s link show cpu`
    /// says was dropped.
    pub(super) fn drops(&self) -> Answer {
        let t = &self.topology;
        let others = t.kni.iter().chain(&t.isolated).map(|l| l.lcore);
        let mut lost: Vec<DropCount> = Vec::new();
        for cid in std::iter::once(t.master).chain(others) {
            lost.extend(counts(cid, self.netif.lost(cid)).filter(|c| c.count > 0));
        }
        let outside: Vec<_> = self
            .workers
            .ids()
            .map(|w| self.netif.lost(self.workers.lcore(w)))
            .collect();
        self.gather_counts(lost, move |worker, stats| {
            let drops = Reason::ALL.iter().zip(stats.drops);
            let drops = drops.filter(|(r, _)| **r != Reason::Consumed);
            let mut list: Vec<_> = drops.map(|(r, n)| (r.text(), n)).collect();
            list.extend(outside.get(usize::from(worker.0)).into_iter().flatten());
            list
        })
    }

    /// What the workers count beside drops.
    pub(super) fn counters(&self) -> Answer {
        self.gather_counts(Vec::new(), |_, stats| stats.list())
    }

    fn gather_counts(
        &self,
        mut list: Vec<DropCount>,
        what: impl Fn(WorkerId, &WorkerStats) -> Vec<(&'static str, u64)> + 'static,
    ) -> Answer {
        let questions = self.workers.ids().map(|w| (w, Query::Counters)).collect();
        let cids: Vec<u8> = self.workers.ids().map(|w| self.workers.lcore(w)).collect();
        Answer::Gather(Gather {
            questions,
            finish: Box::new(move |mut parts| {
                parts.sort_by_key(|p| p.worker);
                for part in parts {
                    let Reply::Counters(stats) = part.reply else {
                        continue;
                    };
                    let cid = cids.get(usize::from(part.worker.0)).copied().unwrap_or(0);
                    list.extend(counts(cid, what(part.worker, &stats)));
                }
                Ok(encode_counted(&list))
            }),
        })
    }

    /// A worker found that SYNs to a service come too fast, or no longer do.
    pub(in crate::master) fn flood(
        &mut self,
        worker: WorkerId,
        service: ServiceKey,
        rate: Option<u32>,
    ) {
        let (cid, at) = (
            self.workers.lcore(worker),
            SocketAddr::new(service.addr, service.port),
        );
        match rate {
            Some(rate) => tracing::warn!(
                "service {at}: more than {rate} SYNs a second, noticed by lcore {cid}, SYN proxy on"
            ),
            None => tracing::info!("service {at}: SYN proxy off again, noticed by lcore {cid}"),
        }
    }

    /// Of the device named, or of all.
    pub(super) fn port_affinity(&self, body: &[u8]) -> Result<Answer> {
        let named = body.iter().any(|b| *b != 0);
        let only = named.then(|| self.named_port(body)).transpose()?;
        let list: Vec<PortAffinity> = self
            .state
            .links
            .ids()
            .filter(|id| only.is_none_or(|o| o == *id))
            .filter_map(|id| {
                let affinity = self.netif.affinity(id).or_else(|| self.made_affinity(id))?;
                Some(PortAffinity {
                    ifname: Name::truncated(self.state.links.name(id)),
                    port_id: id.0,
                    workers: affinity.workers,
                    rules: affinity.rules,
                    way: Name::truncated(&affinity.way),
                    why: Name::truncated(&affinity.why),
                })
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }

    /// Of a device made by command: its packets come by the port below.
    fn made_affinity(&self, device: PortId) -> Option<Affinity> {
        self.state.links.over(device)?;
        let workers = u16::try_from(self.workers.len()).unwrap_or(u16::MAX);
        let (way, why) = if workers < 2 {
            ("single", "there is one worker")
        } else {
            (
                "hand-over",
                "the NIC neither steers nor hashes what is in VLANs and tunnels",
            )
        };
        Some(Affinity {
            way: way.into(),
            why: why.into(),
            rules: 0,
            workers,
        })
    }

    pub(super) fn turns(&self) -> Answer {
        let list: Vec<WorkerTurns> = self
            .workers
            .ids()
            .map(|w| {
                let cid = self.workers.lcore(w);
                WorkerTurns {
                    cid,
                    turns: self.netif.turns(cid),
                }
            })
            .collect();
        Answer::Body(encode_counted(&list))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dpvs_core::stats::Reason;

    use crate::counters::Lost;

    fn text(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::read_to_string(root.join(path)).unwrap()
    }

    /// Every reason is explained to who reads about it, in the words of the code.
    #[test]
    fn reasons_are_documented() {
        let (page, table) = (text("man/dpip.8"), text("docs/counters.md"));
        let drops = page.split_once(".Ss drop:").unwrap().1;
        let drops = drops.split_once(".Ss").unwrap().0;
        let reasons = Reason::ALL.iter().map(|r| (r.text(), r.meaning()));
        let losses = Lost::ALL.iter().map(|l| (l.text(), l.meaning()));
        let mut known = Vec::new();
        for (name, means) in reasons.chain(losses) {
            if name == Reason::Consumed.text() {
                assert!(table.contains(means), "{means}");
                continue;
            }
            known.push(name);
            let row = format!("| `{name}` | {means} |");
            assert!(table.contains(&row), "docs/counters.md lacks: {row}");
            let means = means.replace('`', "");
            let entry = format!(".It Ar {name}\n{means}\n");
            assert!(
                drops.contains(&entry),
                "dpip(8), so its table, lacks: {entry}"
            );
        }
        let listed = drops.lines().filter_map(|l| l.strip_prefix(".It Ar "));
        assert_eq!(listed.collect::<Vec<_>>(), known);
    }
}
