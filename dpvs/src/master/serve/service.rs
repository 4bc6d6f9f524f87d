//! Services and servers (ids 8 to 27).

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{DestCounters, Query, Reply, ToWorker};
use dpvs_core::service::{FwdMode, SchedKind, ServiceKey, Tunnel};
use dpvs_core::snapshot::Local;
use dpvs_ctl::msg::{
    CheckConf, Dest, DestFront, DestTable, Info, Service, ServiceDest, ServiceExt, ServicesFront,
    Stats, check_type, conn_flag, dest_flag, ifa_flag, svc_flag,
};
use dpvs_ctl::wire::{Tail, append_entries, decode_entries, encode_list};
use dpvs_ctl::{Af, Be16, Ip16, Name, Wire, id};

use super::{Answer, Gather, Part, VERSION, exact, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::policy;
use crate::master::state::service::{Entry, Options, Server, Services};

/// Dests asked for in one question to a worker: some microseconds of its time.
const DESTS_A_QUESTION: usize = 64;

/// How a request names a service.
pub(super) enum Named {
    At(ServiceKey),
    /// By mark, or by a match that no service has.
    Otherwise,
}

/// The order in which a request's fields are looked at.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// Address, mark, match (ids 9 to 15).
    AddrFirst,
    /// Mark, address, match (all others).
    MarkFirst,
}

/// What service a request means.
pub(super) fn named(known: &Services, s: &Service, order: Order) -> Result<Named> {
    let by_addr = !s.addr.is_any(s.af) || s.port.get() != 0;
    if !by_addr && s.fwmark == 0 && !s.matched.is_empty() {
        return Ok(known.matched(s).map_or(Named::Otherwise, Named::At));
    }
    if (s.fwmark != 0 && (matches!(order, Order::MarkFirst) || !by_addr))
        || (!by_addr && !s.matched.is_empty())
    {
        return Ok(Named::Otherwise);
    }
    let addr = s
        .addr
        .to_ip(s.af)
        .filter(|_| by_addr)
        .ok_or(Fault::Invalid("no service is named"))?;
    Ok(Named::At(ServiceKey {
        proto: s.proto,
        addr,
        port: s.port.get(),
    }))
}

/// The key for requests 9 to 15, where a missing service is "invalid".
fn key(known: &Services, s: &Service) -> Result<ServiceKey> {
    match named(known, s, Order::AddrFirst)? {
        Named::At(key) => Ok(key),
        Named::Otherwise => Err(Fault::Invalid("no such service")),
    }
}

/// DPVS answers INVAL where these requests name a service that is not there.
fn invalid_if_missing(fault: Fault) -> Fault {
    if fault == Fault::NoService {
        Fault::Invalid("no such service")
    } else {
        fault
    }
}

fn scheduler(name: &Name<16>) -> Result<SchedKind> {
    let text = name.text();
    SchedKind::from_name(&text).ok_or(Fault::Missing)
}

/// Fills in what a passive check needs and the request leaves 0.
fn sane_check(mut c: CheckConf) -> CheckConf {
    if c.types & check_type::PASSIVE == 0 {
        return c;
    }
    let or = |v: &mut u8, default| {
        if *v == 0 {
            *v = default;
        }
    };
    let down_only = c.dest_up_notice_num == 0 && c.dest_inhibit_min == 0 && c.dest_inhibit_max == 0;
    or(&mut c.dest_down_notice_num, 1);
    or(&mut c.dest_down_wait, 3);
    if !down_only {
        or(&mut c.dest_up_notice_num, 1);
        if c.dest_inhibit_min == 0 {
            c.dest_inhibit_min = 5;
        }
        if c.dest_inhibit_max == 0 {
            c.dest_inhibit_max = 3600;
        }
    }
    c
}

fn options(s: &Service, pe_sip: bool) -> Result<Options> {
    if !policy::mh_size_fits(s.flags) {
        return Err(Fault::Invalid("size of mh's table"));
    }
    Ok(Options {
        flags: s.flags & !svc_flag::HASHED,
        timeout: s.timeout,
        conn_timeout: s.conn_timeout,
        netmask: s.netmask,
        proxy_protocol: s.proxy_protocol,
        bps: s.bps,
        limit_proportion: s.limit_proportion,
        sched: scheduler(&s.sched_name)?,
        check: sane_check(s.check_conf),
        pe_sip,
    })
}

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

/// A service as listed.
pub(super) fn listed(key: &ServiceKey, entry: &Entry, cid: u8, index: u8) -> Service {
    let o = &entry.options;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let key = &match &entry.matched {
        // Their keys are ours alone.
        Some(_) => ServiceKey { port: 0, ..*key },
        None => *key,
    };
    Service {
        matched: entry.matched.unwrap_or_default(),
        af: Af::of(key.addr),
        proto: key.proto,
        proxy_protocol: o.proxy_protocol,
        port: Be16::new(key.port),
        flags: o.flags | svc_flag::HASHED,
        timeout: o.timeout,
        conn_timeout: o.conn_timeout,
        netmask: o.netmask,
        // DIFFERS: DPVS never lists these two, so that an edit loses them.
        bps: o.bps,
        limit_proportion: o.limit_proportion,
        addr: Ip16::from_ip(key.addr),
        sched_name: Name::truncated(o.sched.name()),
        num_dests: count(entry.dests.len()),
        num_laddrs: count(entry.laddrs.len()),
        cid,
        index,
        check_conf: o.check,
        ..Service::default()
    }
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
    pub(super) fn service_flush(&mut self) -> Result<Answer> {
        let keys: Vec<ServiceKey> = self.state.services.iter().map(|(k, _)| *k).collect();
        self.state.services.flush();
        for key in keys {
            self.state.guards.forget(&key);
        }
        Ok(Answer::Done)
    }

    pub(super) fn service_zero(&mut self, body: &[u8]) -> Result<Answer> {
        let s: Service = prefix(body)?;
        // An address without port means everything, unless services may be so.
        let echo = matches!(s.proto, 1 | 58);
        let all = !s.addr.is_any(s.af)
            && s.fwmark == 0
            && s.port.get() == 0
            && s.matched.is_empty()
            && !echo
            && !matches!(named(&self.state.services, &s, Order::AddrFirst)?,
                Named::At(key) if self.state.services.get(&key).is_some());
        let dests = if all {
            self.state
                .services
                .iter()
                .flat_map(|(_, e)| e.dest_ids())
                .collect()
        } else {
            let entry = self
                .state
                .services
                .get(&key(&self.state.services, &s)?)
                .ok_or(Fault::Invalid("no such service"))?;
            entry.dest_ids()
        };
        for dest in &dests {
            self.rates.forget(*dest);
        }
        for piece in dests.chunks(DESTS_A_QUESTION) {
            self.workers.broadcast(|_| ToWorker::Zero {
                dests: piece.to_vec(),
            });
        }
        Ok(Answer::Done)
    }

    pub(super) fn service_add(&mut self, s: &Service, pe_sip: bool) -> Result<Answer> {
        let found = named(&self.state.services, s, Order::AddrFirst)?;
        if let Named::Otherwise = found
            && s.fwmark != 0
        {
            self.inert("services by mark");
            return Err(Fault::Unsupported("services by mark"));
        }
        match s.proto {
            6 | 17 | 132 => {}
            1 if s.af != Af::INET6 => {}
            58 if s.af != Af::INET => {}
            _ => return Err(Fault::Invalid("protocol")),
        }
        if let Named::At(key) = found {
            if self.state.services.get(&key).is_some() {
                return Err(Fault::Exists);
            }
            if key.addr.is_unspecified() {
                return Err(Fault::Invalid("a service needs an address"));
            }
            let echo = match key.proto {
                1 => 8 << 8,
                58 => 128 << 8,
                _ => key.port,
            };
            if key.port != 0 && key.port != echo {
                // DIFFERS: DPVS takes any type and code, and no packet then comes.
                return Err(Fault::Invalid("only echo requests can be a service"));
            }
        }
        let options = options(s, pe_sip)?;
        if self.state.services.len() >= usize::from(u16::MAX) {
            // Clients count services in 16 bits.
            return Err(Fault::NoRoom);
        }
        match found {
            Named::At(key) => {
                self.state.services.add(key, options)?;
                self.limit_service(key, s);
            }
            Named::Otherwise => {
                let links = &self.state.links;
                let find = |name: &Name<16>| links.find(name.bytes());
                self.state.services.add_match(s, options, find)?;
                if s.bps != 0 || (1..100).contains(&s.limit_proportion) {
                    self.inert("rate limits of match services");
                }
            }
        }
        Ok(Answer::Done)
    }

    pub(super) fn service_edit(&mut self, s: &Service, pe_sip: bool) -> Result<Answer> {
        let key = key(&self.state.services, s)?;
        if self.state.services.get(&key).is_none() {
            return Err(Fault::Invalid("no such service"));
        }
        if s.af == Af::INET6 && !(1..=128).contains(&s.netmask) {
            return Err(Fault::Invalid("prefix length of persistence"));
        }
        let options = options(s, pe_sip)?;
        self.state.services.edit(&key, |entry| {
            entry.options = options;
            entry.dests.iter().try_for_each(|d| entry.may_proxy(d))
        })?;
        self.limit_service(key, s);
        Ok(Answer::Done)
    }

    /// As the two before, with what only our own message says.
    pub(super) fn service_ext(&mut self, ext: &ServiceExt, add: bool) -> Result<Answer> {
        let pe_sip = match ext.pe.text().as_ref() {
            "" => false,
            "sip" => true,
            _ => return Err(Fault::Missing),
        };
        if add {
            self.service_add(&ext.service, pe_sip)
        } else {
            self.service_edit(&ext.service, pe_sip)
        }
    }

    /// Services that more is known of than their message says.
    pub(super) fn service_exts(&self) -> Vec<ServiceExt> {
        let named = self.state.services.iter();
        named
            .filter(|(_, entry)| entry.options.pe_sip)
            .map(|(key, entry)| ServiceExt {
                service: listed(key, entry, 0, 0).key(),
                pe: Name::truncated("sip"),
            })
            .collect()
    }

    pub(super) fn service_del(&mut self, body: &[u8]) -> Result<Answer> {
        let s: Service = prefix(body)?;
        let key = key(&self.state.services, &s)?;
        self.state.services.del(&key).map_err(invalid_if_missing)?;
        self.state.guards.forget(&key);
        Ok(Answer::Done)
    }

    /// What a service says of rates.
    fn limit_service(&mut self, key: ServiceKey, s: &Service) {
        // 100 per cent is what keepalived sends for no limit.
        let percent = match s.limit_proportion {
            p @ 1..100 => p as u8,
            _ => 0,
        };
        self.state.guards.limit_service(key, s.bps, percent);
    }

    pub(super) fn dest_change(
        &mut self,
        both: &ServiceDest,
        change: impl FnOnce(&mut Services, &ServiceKey, Server) -> Result<()>,
    ) -> Result<Answer> {
        let key = key(&self.state.services, &both.service)?;
        let server = server(&both.dest)?;
        match server.mode {
            FwdMode::Local | FwdMode::Bypass => {
                self.inert("local servers and those that are passed by");
            }
            FwdMode::Snat => self.check_snat(&key, &server)?,
            FwdMode::Masq | FwdMode::Dr if server.addr.is_ipv6() != key.addr.is_ipv6() => {
                return Err(Fault::Invalid(
                    "a server of the other family needs a tunnel",
                ));
            }
            _ => {}
        }
        change(&mut self.state.services, &key, server).map_err(invalid_if_missing)?;
        Ok(Answer::Done)
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

    pub(super) fn gratuitous_arp(&mut self, body: &[u8]) -> Result<Answer> {
        let bytes = body
            .first_chunk::<4>()
            .ok_or(Fault::Invalid("body too short"))?;
        let addr = std::net::IpAddr::from(*bytes);
        self.publish();
        match self.publisher.current().locals.get(&addr) {
            Some(Local::Own { port, .. }) => {
                let port = *port;
                self.workers
                    .send(WorkerId(0), ToWorker::Announce { port, addr });
                Ok(Answer::Done)
            }
            _ => Err(Fault::Missing),
        }
    }

    pub(super) fn info(&mut self) -> Result<Answer> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let info = Info {
            version: VERSION,
            size: 0,
            num_services: count(self.state.services.len()),
            num_lcores: count(self.workers.len()),
        };
        Ok(Answer::Body(info.encode()))
    }

    pub(super) fn service_list(&mut self, body: &[u8], agent: bool) -> Result<Answer> {
        let front: ServicesFront = exact(body)?;
        let view = self.view(front.index.into())?;
        let have = u16::try_from(self.state.services.len()).unwrap_or(u16::MAX);
        if !agent && front.count != have {
            return Err(Fault::WorkerRefused);
        }
        let cid = self.cid(view);
        let front = ServicesFront {
            cid,
            index: front.index,
            count: have,
        };
        let list: Vec<Service> = self
            .state
            .services
            .iter()
            .map(|(k, e)| listed(k, e, cid, front.index))
            .collect();
        Ok(Answer::Body(encode_list(&front, &list)))
    }

    pub(super) fn service_get(&mut self, body: &[u8]) -> Result<Answer> {
        let s: Service = prefix(body)?;
        let view = self.view(s.index.into())?;
        let (key, entry) = self.find(&s)?;
        Ok(Answer::Body(
            listed(&key, entry, self.cid(view), s.index).encode(),
        ))
    }

    /// The service a get request names. DPVS's workers answer first, so a
    /// missing one is their refusal.
    fn find(&self, s: &Service) -> Result<(ServiceKey, &Entry)> {
        let Named::At(key) = named(&self.state.services, s, Order::MarkFirst)? else {
            return Err(Fault::WorkerRefused);
        };
        Ok((
            key,
            self.state.services.get(&key).ok_or(Fault::WorkerRefused)?,
        ))
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
