//! Servers of services (ids 8 to 27, and the agent's of the same).
//!
//! A server as a request describes it, and as it is listed: the master knows its
//! weight and its limits, the workers are asked for its counters, in pieces that
//! keep none of them long. Which service is meant `service` finds out.

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{DestCounters, Query, Reply};
use dpvs_core::service::{FwdMode, ServiceKey, Tunnel};
use dpvs_ctl::msg::{
    Dest, DestFront, DestTable, ServiceDest, Stats, conn_flag, dest_flag, ifa_flag,
};
use dpvs_ctl::wire::{Tail, append_entries, decode_entries};
use dpvs_ctl::{Af, Be16, Ip16, Wire, id};

use super::service::{Named, Order, invalid_if_missing, key, named};
use super::{Answer, Gather, Part, exact, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::service::{Entry, Server, Services};

/// Dests asked for in one question to a worker: some microseconds of its time.
pub(super) const DESTS_A_QUESTION: usize = 64;

/// A server as a request describes it.
fn server(d: &Dest) -> Result<Server> {
    let addr = d
        .addr
        .to_ip(d.af)
        .ok_or(Fault::Invalid("family of the server"))?;
    let weight = u16::try_from(d.weight).map_err(|_| Fault::Invalid("weight above 65535"))?;
    // The mode stands in two places; clients that fill one leave the other 0.
    let bits = u32::from(d.conn_flags & conn_flag::FWD_MASK);
    let mode = match if d.fwdmode == 0 { bits } else { d.fwdmode } {
        0 => FwdMode::Masq,
        1 => FwdMode::Local,
        2 => FwdMode::Tunnel,
        3 => FwdMode::Dr,
        4 => FwdMode::Bypass,
        5 => FwdMode::FullNat,
        6 => FwdMode::Snat,
        _ => return Err(Fault::Invalid("forwarding mode")),
    };
    Ok(Server {
        id: None,
        addr,
        port: d.port.get(),
        weight,
        mode,
        tunnel: Tunnel::default(),
        conn_flags: d.conn_flags & !(conn_flag::FWD_MASK | conn_flag::INACTIVE),
        max_conn: d.max_conn,
        min_conn: d.min_conn,
        terms: 0,
        inhibited: d.flags & dest_flag::INHIBITED != 0,
        returns: 0,
        held: false,
    })
}

pub(super) fn listed_dest(d: &Server, c: &DestCounters, rates: Stats) -> Dest {
    let mut out = Dest {
        af: Af::of(d.addr),
        port: Be16::new(d.port),
        weight: if d.held { 0 } else { d.weight.into() },
        addr: Ip16::from_ip(d.addr),
        conn_flags: d.conn_flags | conn_flag::INACTIVE,
        flags: dest_flag::AVAILABLE
            | if d.inhibited { dest_flag::INHIBITED } else { 0 }
            | if d.max_conn > 0 && c.active.saturating_add(c.inactive) >= d.max_conn {
                dest_flag::OVERLOAD
            } else {
                0
            },
        max_conn: d.max_conn,
        min_conn: d.min_conn,
        actconns: c.active,
        inactconns: c.inactive,
        persistconns: c.persistent,
        stats: Stats {
            conns: c.conns,
            inpkts: c.in_pkts,
            inbytes: c.in_bytes,
            outpkts: c.out_pkts,
            outbytes: c.out_bytes,
            ..rates
        },
        ..Dest::default()
    };
    out.set_fwd_mode(d.mode as u32);
    out
}

/// Head, then the servers with what the workers counted.
fn dests_body(mut head: Vec<u8>, dests: &[Server], rates: &[Stats], parts: Vec<Part>) -> Vec<u8> {
    let mut sums = vec![DestCounters::default(); dests.len()];
    for part in parts {
        let Reply::Dests(counters) = part.reply else {
            continue;
        };
        let chunk = sums.iter_mut().skip(part.question * DESTS_A_QUESTION);
        for (sum, c) in chunk.take(DESTS_A_QUESTION).zip(counters) {
            sum.conns += c.conns;
            sum.in_pkts += c.in_pkts;
            sum.in_bytes += c.in_bytes;
            sum.out_pkts += c.out_pkts;
            sum.out_bytes += c.out_bytes;
            sum.active = sum.active.saturating_add(c.active);
            sum.inactive = sum.inactive.saturating_add(c.inactive);
            sum.persistent = sum.persistent.saturating_add(c.persistent);
        }
    }
    let list: Vec<Dest> = dests
        .iter()
        .zip(&sums)
        .zip(rates)
        .map(|((d, c), rates)| listed_dest(d, c, *rates))
        .collect();
    append_entries(&mut head, &list);
    head
}

impl Master {
    pub(super) fn dest_change(
        &mut self,
        both: &ServiceDest,
        change: impl FnOnce(&mut Services, &ServiceKey, Server) -> Result<()>,
    ) -> Result<Answer> {
        let key = key(&self.state.services, &both.service)?;
        let server = server(&both.dest)?;
        self.check_mode(&key, &server)?;
        change(&mut self.state.services, &key, server).map_err(invalid_if_missing)?;
        Ok(Answer::Done)
    }

    /// Whether a service can have a server of that mode and family.
    fn check_mode(&mut self, key: &ServiceKey, server: &Server) -> Result<()> {
        match server.mode {
            FwdMode::Snat => self.check_snat(key, server),
            FwdMode::Masq | FwdMode::Dr if server.addr.is_ipv6() != key.addr.is_ipv6() => Err(
                Fault::Invalid("a server of the other family needs a tunnel"),
            ),
            _ => Ok(()),
        }
    }

    /// A source NAT's address towards the world.
    fn check_snat(&mut self, key: &ServiceKey, server: &Server) -> Result<()> {
        let wan = server.addr;
        if wan.is_ipv6() != key.addr.is_ipv6() {
            return Err(Fault::Invalid(
                "source NAT to an address of the other family",
            ));
        }
        let service = self.state.services.get(key);
        if service.is_some_and(|s| s.matched.is_none()) {
            self.inert("source NAT in a service that is no match service");
        }
        let mut addrs = self.state.addrs.iter();
        if !addrs.any(|a| a.ip == wan && a.flags & ifa_flag::SAPOOL != 0) {
            let all = if wan.is_ipv6() { 128 } else { 32 };
            tracing::warn!(
                "source NAT by {wan} has no ports until `dpip addr add {wan}/{all} dev DEVICE sapool`"
            );
        }
        Ok(())
    }

    pub(super) fn dest_add(&mut self, body: &[u8]) -> Result<Answer> {
        self.dest_change(&prefix(body)?, Services::add_dest)
    }

    pub(super) fn dest_edit(&mut self, body: &[u8]) -> Result<Answer> {
        self.dest_change(&prefix(body)?, Services::edit_dest)
    }

    pub(super) fn dest_del(&mut self, body: &[u8]) -> Result<Answer> {
        let both: ServiceDest = prefix(body)?;
        let key = key(&self.state.services, &both.service)?;
        let addr = both
            .dest
            .addr
            .to_ip(both.dest.af)
            .ok_or(Fault::Invalid("family of the server"))?;
        self.state
            .services
            .del_dest(&key, addr, both.dest.port.get())
            .map_err(invalid_if_missing)?;
        Ok(Answer::Done)
    }

    fn gather_dests(&self, head: Vec<u8>, entry: &Entry, view: Option<WorkerId>) -> Answer {
        let dests = entry.dests.clone();
        // Of all workers together: one alone has no rates.
        let mut rates = vec![Stats::default(); dests.len()];
        if view.is_none() {
            for (stats, dest) in rates.iter_mut().zip(&dests) {
                self.rates.fill(dest.id, stats);
            }
        }
        let ids = entry.dest_ids();
        let mut questions = Vec::new();
        for worker in self.viewed(view) {
            for chunk in ids.chunks(DESTS_A_QUESTION) {
                questions.push((worker, Query::Dests(chunk.to_vec())));
            }
        }
        // Answers carry the number of the question; dests repeat by worker.
        let by_worker = ids.len().div_ceil(DESTS_A_QUESTION).max(1);
        Answer::Gather(Gather {
            questions,
            finish: Box::new(move |mut parts| {
                for part in &mut parts {
                    part.question %= by_worker;
                }
                Ok(dests_body(head, &dests, &rates, parts))
            }),
        })
    }

    pub(super) fn dest_list(&mut self, body: &[u8]) -> Result<Answer> {
        let table: DestTable = exact(body)?;
        let view = self.view(table.index.into())?;
        let (_, entry) = self.find(&table.service())?;
        let have = u32::try_from(entry.dests.len()).unwrap_or(u32::MAX);
        if table.num_dests != have {
            return Err(Fault::WorkerRefused);
        }
        let cid = self.cid(view);
        let head = if view.is_some() {
            DestTable {
                num_dests: have,
                cid,
                ..table
            }
        } else {
            // As the C daemon: the sum view echoes only the first 8 bytes.
            DestTable {
                af: table.af,
                proto: table.proto,
                port: table.port,
                num_dests: have,
                cid,
                index: table.index,
                ..DestTable::default()
            }
        };
        Ok(self.gather_dests(head.encode(), entry, view))
    }

    pub(super) fn agent_dest_list(&mut self, body: &[u8]) -> Result<Answer> {
        let front: DestFront = exact(body)?;
        let view = self.view(usize::try_from(front.index).unwrap_or(usize::MAX))?;
        let (_, entry) = self.find(&front.service())?;
        let have = u32::try_from(entry.dests.len()).unwrap_or(u32::MAX);
        let head = DestFront {
            num_dests: have,
            cid: self.cid(view).into(),
            ..front
        };
        Ok(self.gather_dests(head.encode(), entry, view))
    }

    pub(super) fn agent_dests(&mut self, what: u32, body: &[u8]) -> Result<Answer> {
        let (front, rest) =
            DestFront::decode_prefix(body).map_err(|_| Fault::Invalid("body too short"))?;
        let count = usize::try_from(front.num_dests).unwrap_or(usize::MAX);
        let list = decode_entries::<Dest>(rest, count, Tail::Exact)
            .map_err(|_| Fault::Invalid("body does not hold num_dests servers"))?;
        let Named::At(key) = named(&self.state.services, &front.service(), Order::MarkFirst)?
        else {
            return Err(Fault::Invalid("no such service"));
        };
        let servers = list.iter().map(server).collect::<Result<Vec<Server>>>()?;
        if what == id::AGENT_VS_ADD_DESTS {
            for server in &servers {
                self.check_mode(&key, server)?;
            }
        }
        // DIFFERS: the C daemon applies what it can and answers the last
        // result; here all entries apply or none.
        self.state
            .services
            .edit(&key, |entry| {
                for server in servers {
                    match what {
                        id::AGENT_VS_ADD_DESTS => match entry.add_dest(server.clone()) {
                            Err(Fault::Exists) => entry.edit_dest(server)?,
                            other => other?,
                        },
                        id::AGENT_VS_EDIT_DESTS => {
                            let old = entry.dest(server.addr, server.port).ok_or(Fault::Missing)?;
                            old.weight = server.weight;
                            old.inhibited = server.inhibited;
                            old.held = false;
                        }
                        _ => entry.del_dest(server.addr, server.port)?,
                    }
                }
                Ok(())
            })
            .map_err(invalid_if_missing)?;
        Ok(Answer::Done)
    }
}
