//! Local addresses of services (ids 0 to 7).

use std::collections::HashMap;
use std::net::IpAddr;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::message::{Query, Reply};
use dpvs_core::service::{Laddr, ServiceKey};
use dpvs_ctl::msg::{LaddrDetail, LaddrEntry, LaddrFront, LaddrTable, Service};
use dpvs_ctl::wire::{Tail, append_entries, decode_entries};
use dpvs_ctl::{Af, Ip16, Name, Wire};

use super::service::{Named, Order, named};
use super::{Answer, Gather, Part, exact, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::service::Services;

/// The service of a request; a missing one has a code of its own here.
fn key(known: &Services, s: &Service) -> Result<ServiceKey> {
    match named(known, s, Order::MarkFirst) {
        Ok(Named::At(key)) => Ok(key),
        _ => Err(Fault::NoService),
    }
}

/// Connections of a local address, and how often it had no port free. DIFFERS: those of
/// all services that share it, where DPVS has each service's own, and never counts the
/// second.
#[derive(Clone, Copy, Default)]
struct Use {
    conns: u32,
    misses: u64,
}

fn used(uses: &HashMap<IpAddr, Use>, addr: IpAddr) -> Use {
    uses.get(&addr).copied().unwrap_or_default()
}

/// Use by local address, summed over the answers.
fn usage(parts: Vec<Part>) -> HashMap<IpAddr, Use> {
    let mut sums: HashMap<IpAddr, Use> = HashMap::new();
    for part in parts {
        let Reply::Laddrs(uses) = part.reply else {
            continue;
        };
        for used in uses {
            let sum = sums.entry(used.addr).or_default();
            sum.conns = sum.conns.saturating_add(used.conns);
            sum.misses += u64::from(used.miss);
        }
    }
    sums
}

impl Master {
    pub(super) fn laddr_add(&mut self, body: &[u8]) -> Result<Answer> {
        let t: LaddrTable = prefix(body)?;
        let key = key(&self.state.services, &t.service())?;
        if self.state.services.get(&key).is_none() {
            return Err(Fault::NoService);
        }
        let port = self
            .state
            .links
            .find(t.ifname.bytes())
            .ok_or(Fault::Missing)?;
        let addr = usable(t.laddr, t.af_l)?;
        self.state
            .services
            .edit(&key, |entry| entry.add_laddr(addr, port))?;
        Ok(Answer::Done)
    }

    pub(super) fn laddr_del(&mut self, body: &[u8]) -> Result<Answer> {
        let t: LaddrTable = prefix(body)?;
        let key = key(&self.state.services, &t.service())?;
        if self.state.services.get(&key).is_none() {
            return Err(Fault::NoService);
        }
        let addr = usable(t.laddr, t.af_l)?;
        self.state
            .services
            .edit(&key, |entry| entry.del_laddr(addr))?;
        Ok(Answer::Done)
    }

    pub(super) fn laddr_flush(&mut self, body: &[u8]) -> Result<Answer> {
        let t: LaddrTable = prefix(body)?;
        self.state
            .services
            .edit(&key(&self.state.services, &t.service())?, |entry| {
                entry.laddrs.clear();
                Ok(())
            })?;
        Ok(Answer::Done)
    }

    pub(super) fn laddr_list(&mut self, body: &[u8]) -> Result<Answer> {
        let t: LaddrTable = prefix(body)?;
        let view = self.view(t.index.into())?;
        let entry = self
            .state
            .services
            .get(&key(&self.state.services, &t.service())?)
            .ok_or(Fault::NoService)?;
        let laddrs = entry.laddrs.clone();
        let head = LaddrTable {
            cid: self.cid(view),
            nladdrs: i32::try_from(laddrs.len()).unwrap_or(i32::MAX),
            ..t
        };
        Ok(self.gather_laddrs(view, move |uses| {
            let list: Vec<LaddrEntry> = laddrs
                .iter()
                .map(|l| LaddrEntry {
                    af: Af::of(l.addr),
                    addr: Ip16::from_ip(l.addr),
                    nport_conflict: used(&uses, l.addr).misses,
                    nconns: used(&uses, l.addr).conns,
                })
                .collect();
            let mut out = head.encode();
            append_entries(&mut out, &list);
            out
        }))
    }

    fn gather_laddrs(
        &self,
        view: Option<WorkerId>,
        finish: impl FnOnce(HashMap<IpAddr, Use>) -> Vec<u8> + 'static,
    ) -> Answer {
        Answer::Gather(Gather {
            questions: self
                .viewed(view)
                .into_iter()
                .map(|w| (w, Query::Laddrs))
                .collect(),
            finish: Box::new(move |parts| Ok(finish(usage(parts)))),
        })
    }

    pub(super) fn agent_laddr_list(&mut self, body: &[u8]) -> Result<Answer> {
        let f: LaddrFront = exact(body)?;
        let entry = self
            .state
            .services
            .get(&key(&self.state.services, &f.service())?)
            .ok_or(Fault::NoService)?;
        let laddrs: Vec<(Laddr, String)> = entry
            .laddrs
            .iter()
            .map(|l| (*l, self.state.links.name(l.port).to_owned()))
            .collect();
        let head = LaddrFront {
            cid: self.cid(None).into(),
            count: u32::try_from(laddrs.len()).unwrap_or(u32::MAX),
            ..f
        };
        Ok(self.gather_laddrs(None, move |uses| {
            let list: Vec<LaddrDetail> = laddrs
                .iter()
                .map(|(l, ifname)| LaddrDetail {
                    af: Af::of(l.addr),
                    conns: used(&uses, l.addr).conns,
                    nport_conflict: used(&uses, l.addr).misses,
                    addr: Ip16::from_ip(l.addr),
                    ifname: Name::truncated(ifname),
                })
                .collect();
            let mut out = head.encode();
            append_entries(&mut out, &list);
            out
        }))
    }

    pub(super) fn agent_laddrs(&mut self, body: &[u8], add: bool) -> Result<Answer> {
        let (front, rest) =
            LaddrFront::decode_prefix(body).map_err(|_| Fault::Invalid("body too short"))?;
        let count = usize::try_from(front.count).unwrap_or(usize::MAX);
        let list = decode_entries::<LaddrDetail>(rest, count, Tail::Exact)
            .map_err(|_| Fault::Invalid("body does not hold count addresses"))?;
        let key = key(&self.state.services, &front.service())?;
        let list = list
            .iter()
            .map(|l| {
                // Only an address that is added needs its device.
                let port = self.state.links.find(l.ifname.bytes());
                let port = if add {
                    port.ok_or(Fault::Missing)?
                } else {
                    port.unwrap_or(PortId(0))
                };
                Ok((usable(l.addr, l.af)?, port))
            })
            .collect::<Result<Vec<(IpAddr, PortId)>>>()?;
        self.state.services.edit(&key, |entry| {
            for (addr, port) in list {
                match if add {
                    entry.add_laddr(addr, port)
                } else {
                    entry.del_laddr(addr)
                } {
                    Err(Fault::Exists) if add => {}
                    Err(Fault::Missing) if !add => {}
                    other => other?,
                }
            }
            Ok(())
        })?;
        Ok(Answer::Done)
    }
}

fn usable(addr: Ip16, af: Af) -> Result<IpAddr> {
    addr.to_ip(af)
        .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
        .ok_or(Fault::Invalid("local address"))
}
