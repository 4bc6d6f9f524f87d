//! What is told beyond the C daemon (ids 7501 to 7503): drops by reason, the way
//! replies find their worker, and the length of the workers' turns.

use std::net::SocketAddr;

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{Query, Reply};
use dpvs_core::service::ServiceKey;
use dpvs_core::stats::Reason;
use dpvs_ctl::Name;
use dpvs_ctl::msg::{DropCount, PortAffinity, WorkerTurns};
use dpvs_ctl::wire::encode_counted;

use super::{Answer, Gather};
use crate::master::Master;
use crate::master::error::Result;

impl Master {
    pub(super) fn drops(&self) -> Answer {
        let questions = self.workers.ids().map(|w| (w, Query::Counters)).collect();
        let cids: Vec<u8> = self.workers.ids().map(|w| self.workers.lcore(w)).collect();
        Answer::Gather(Gather {
            questions,
            finish: Box::new(move |mut parts| {
                parts.sort_by_key(|p| p.worker);
                let mut list = Vec::new();
                for part in parts {
                    let Reply::Counters(stats) = part.reply else {
                        continue;
                    };
                    let cid = cids.get(usize::from(part.worker.0)).copied().unwrap_or(0);
                    let counts = Reason::ALL.iter().map(|r| r.text()).zip(stats.drops);
                    // Not dropped packets: connections that made room for new ones,
                    // and what the SYN proxy did.
                    let evicted = ("conn-evicted", stats.conns_evicted);
                    let others = stats.synproxy.list().into_iter().chain([evicted]);
                    list.extend(counts.chain(others).filter(|(_, n)| *n > 0).map(
                        |(reason, count)| DropCount {
                            cid,
                            count,
                            reason: Name::truncated(reason),
                        },
                    ));
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
                "service {at}: more than {rate} SYNs a second at lcore {cid}, SYN proxy on"
            ),
            None => tracing::info!("service {at}: SYN proxy off again at lcore {cid}"),
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
                let affinity = self.netif.affinity(id)?;
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
