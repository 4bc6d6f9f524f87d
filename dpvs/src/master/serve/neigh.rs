//! Neighbours (ids 70 to 72) and the IPv6 counters (id 93): both live in the
//! workers, the master only passes on and collects.

use dpvs_core::message::{Query, Reply, ToWorker};
use dpvs_core::stats;
use dpvs_ctl::msg::{InetStats, Ip6Stats, LCORE_SLOTS, Neigh, neigh_flag};
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Af, HwAddr, Ip16, Name, Wire};

use super::{Answer, Gather, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};

impl Master {
    pub(super) fn neigh_change(&mut self, body: &[u8], add: bool) -> Result<Answer> {
        let n: Neigh = prefix(body)?;
        let addr = n
            .ip_addr
            .to_ip(n.af)
            .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
            .ok_or(Fault::Invalid("address of the neighbour"))?;
        let port = self
            .state
            .links
            .find(n.ifname.bytes())
            .ok_or(Fault::Invalid("no such device"))?;
        let mac = n.eth_addr.0;
        if add && (mac == [0; 6] || mac[0] & 1 != 0) {
            return Err(Fault::Invalid("hardware address of the neighbour"));
        }
        // Workers take messages in order: a query or snapshot sent after this
        // one sees the neighbour.
        self.workers.broadcast(|_| {
            if add {
                ToWorker::NeighAdd { port, addr, mac }
            } else {
                ToWorker::NeighDel { port, addr }
            }
        });
        Ok(Answer::Done)
    }

    pub(super) fn neigh_list(&mut self, body: &[u8]) -> Result<Answer> {
        // A shorter body asks for everything.
        let filter: Neigh = prefix(body).unwrap_or_default();
        let port = match filter.ifname.bytes() {
            [] => None,
            name => Some(self.state.links.find(name).ok_or(Fault::Missing)?),
        };
        let names: Vec<String> = self.state.links.names();
        let cids: Vec<u8> = self.workers.ids().map(|w| self.workers.lcore(w)).collect();
        Ok(Answer::Gather(Gather {
            questions: self.workers.ids().map(|w| (w, Query::Neighbours)).collect(),
            finish: Box::new(move |mut parts| {
                parts.sort_by_key(|p| p.worker);
                let mut out: Vec<Neigh> = Vec::new();
                for part in parts {
                    let Reply::Neighbours(list) = part.reply else {
                        continue;
                    };
                    let cid = cids.get(usize::from(part.worker.0)).copied().unwrap_or(0);
                    out.extend(
                        list.iter()
                            .filter(|n| port.is_none_or(|p| p == n.port))
                            .map(|n| Neigh {
                                af: Af::of(n.addr),
                                state: n.state as u32,
                                ip_addr: Ip16::from_ip(n.addr),
                                eth_addr: HwAddr(n.mac),
                                que_num: n.queued,
                                ifname: Name::truncated(
                                    names.get(usize::from(n.port.0)).map_or("", String::as_str),
                                ),
                                flag: neigh_flag::HASHED
                                    | if n.permanent { neigh_flag::STATIC } else { 0 },
                                cid,
                            }),
                    );
                }
                Ok(encode_counted(&out))
            }),
        }))
    }

    pub(super) fn ip6_stats(&mut self) -> Result<Answer> {
        let cids: Vec<u8> = self.workers.ids().map(|w| self.workers.lcore(w)).collect();
        Ok(Answer::Gather(Gather {
            questions: self.workers.ids().map(|w| (w, Query::Counters)).collect(),
            finish: Box::new(move |parts| {
                let mut out = Ip6Stats {
                    total: InetStats::default(),
                    lcores: vec![InetStats::default(); LCORE_SLOTS],
                };
                for part in parts {
                    let Reply::Counters(counters) = part.reply else {
                        continue;
                    };
                    let cid = cids.get(usize::from(part.worker.0)).copied().unwrap_or(0);
                    let one = inet(&counters.inet(true));
                    add(&mut out.total, &one);
                    if let Some(slot) = out.lcores.get_mut(usize::from(cid)) {
                        *slot = one;
                    }
                }
                Ok(out.encode())
            }),
        }))
    }
}

fn inet(s: &stats::InetStats) -> InetStats {
    InetStats {
        inpkts: s.in_pkts,
        inoctets: s.in_octets,
        indelivers: s.in_delivers,
        outforwdatagrams: s.out_forw_datagrams,
        outpkts: s.out_pkts,
        outoctets: s.out_octets,
        inhdrerrors: s.in_hdr_errors,
        intoobigerrors: s.in_too_big_errors,
        innoroutes: s.in_no_routes,
        inaddrerrors: s.in_addr_errors,
        intruncatedpkts: s.in_truncated_pkts,
        indiscards: s.in_discards,
        inmcastpkts: s.in_mcast_pkts,
        csumerrors: s.csum_errors,
        fragoks: s.frag_oks,
        fragfails: s.frag_fails,
        fragcreates: s.frag_creates,
        ..InetStats::default()
    }
}

fn add(sum: &mut InetStats, s: &InetStats) {
    sum.inpkts += s.inpkts;
    sum.inoctets += s.inoctets;
    sum.indelivers += s.indelivers;
    sum.outforwdatagrams += s.outforwdatagrams;
    sum.outpkts += s.outpkts;
    sum.outoctets += s.outoctets;
    sum.inhdrerrors += s.inhdrerrors;
    sum.intoobigerrors += s.intoobigerrors;
    sum.innoroutes += s.innoroutes;
    sum.inaddrerrors += s.inaddrerrors;
    sum.intruncatedpkts += s.intruncatedpkts;
    sum.indiscards += s.indiscards;
    sum.inmcastpkts += s.inmcastpkts;
    sum.csumerrors += s.csumerrors;
    sum.fragoks += s.fragoks;
    sum.fragfails += s.fragfails;
    sum.fragcreates += s.fragcreates;
}
