//! Services (ids 8 to 27 without those of servers, which are `dest`'s).
//!
//! How a request names a service, what it says of it, and how it is listed. The
//! service itself is in `state::service`; nothing of it is kept here.

use dpvs_core::frame::WorkerId;
use dpvs_core::message::ToWorker;
use dpvs_core::service::{SchedKind, ServiceKey};
use dpvs_core::snapshot::Local;
use dpvs_ctl::msg::{CheckConf, Info, Service, ServiceExt, ServicesFront, check_type, svc_flag};
use dpvs_ctl::wire::encode_list;
use dpvs_ctl::{Af, Be16, Ip16, Name, Wire};

use super::dest::DESTS_A_QUESTION;
use super::{Answer, VERSION, exact, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::policy;
use crate::master::state::service::{Entry, Options, Services};

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
pub(super) fn key(known: &Services, s: &Service) -> Result<ServiceKey> {
    match named(known, s, Order::AddrFirst)? {
        Named::At(key) => Ok(key),
        Named::Otherwise => Err(Fault::Invalid("no such service")),
    }
}

/// DPVS answers INVAL where these requests name a service that is not there.
pub(super) fn invalid_if_missing(fault: Fault) -> Fault {
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
            && !matches!(named(&self.state.services, &s, Order::AddrFirst),
                Ok(Named::At(key)) if self.state.services.get(&key).is_some());
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
                let key = self.state.services.add_match(s, options, find)?;
                self.limit_service(key, s);
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
    pub(super) fn find(&self, s: &Service) -> Result<(ServiceKey, &Entry)> {
        let Named::At(key) = named(&self.state.services, s, Order::MarkFirst)? else {
            return Err(Fault::WorkerRefused);
        };
        Ok((
            key,
            self.state.services.get(&key).ok_or(Fault::WorkerRefused)?,
        ))
    }
}
