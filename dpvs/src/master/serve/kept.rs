//! Requests about what is only kept (`--keep-unsupported`), looked at before
//! all others; and the messages of our own that `ipvsadm` sends.
//!
//! A service is kept as soon as one part of it cannot be forwarded, and goes
//! back among the others when an edit makes it one of them.

use std::net::{IpAddr, Ipv4Addr};

use dpvs_core::service::{Laddr, SchedKind};
use dpvs_core::snapshot::Settings;
use dpvs_ctl::msg::{
    AclConf, Dest, DestExt, DestTable, Encap, Info, LaddrEntry, LaddrTable, Service, ServiceDest,
    ServiceExt, ServicesFront, SyncDaemon, TableTimeouts,
};
use dpvs_ctl::server::Request;
use dpvs_ctl::wire::{Tail, append_entries, decode_list, encode_counted, encode_list};
use dpvs_ctl::{Af, Ip16, Wire, id};

use super::dest::listed_dest;
use super::service::{Named, Order, named};
use super::{Answer, encap, exact, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::kept::{Kept, KeptDest, Parts};
use crate::master::state::guard::Colour;
use crate::master::state::service::Server;

/// Where time-outs stand in [`dpvs_core::snapshot::Timeouts`].
const ESTABLISHED: usize = 1;
const FIN_WAIT: usize = 4;
const UDP_NORMAL: usize = 2;
/// Longest time-out: 31 days.
const LONGEST: u32 = 86_400 * 31;

/// Whether a server may have this address at all.
fn is_host(dest: &Dest) -> bool {
    dest.addr.to_ip(dest.af).is_some_and(|ip| {
        !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
    })
}

/// Whether the dataplane can forward a service.
fn forwardable(ext: &ServiceExt) -> bool {
    let s = &ext.service;
    matches!(ext.pe.text().as_ref(), "" | "sip")
        && s.fwmark == 0
        && if s.addr.is_any(s.af) {
            !s.matched.is_empty() && matches!(s.proto, 1 | 6 | 17 | 58 | 132)
        } else {
            // Of ICMP echo requests of the service's family: see `service_add`.
            matches!(
                (s.proto, s.af, s.port.get()),
                (6 | 17 | 132, ..) | (1, Af::INET, 0 | 0x0800) | (58, Af::INET6, 0 | 0x8000)
            )
        }
        && SchedKind::from_name(&s.sched_name.text()).is_some()
}

/// Whether the dataplane can forward to a dest.
fn is_forwardable(dest: &Dest, wrapping: &Encap) -> bool {
    dest.weight <= u16::MAX.into() && encap::tunnel(wrapping).is_ok()
}

fn plain(service: Service) -> ServiceExt {
    ServiceExt {
        service,
        ..ServiceExt::default()
    }
}

impl Master {
    /// From now on, keeps what cannot be forwarded instead of refusing it; lists
    /// services in the order in which Linux's table has them under `seed`.
    pub fn keep_unsupported(&mut self, seed: u8) {
        tracing::warn!("--keep-unsupported: what cannot be forwarded is kept and listed only");
        self.kept.get_or_insert_with(|| Kept::new(seed));
    }

    /// Answers what is about kept things; none: the request is for the others.
    pub(super) fn serve_kept(&mut self, request: &Request) -> Option<Result<Answer>> {
        let body = request.body.as_slice();
        match request.id {
            id::GET_TIMEOUTS => return Some(self.timeouts()),
            id::SET_TIMEOUTS => return Some(self.timeouts_set(body)),
            id::GET_SYNC if self.kept.is_none() => {
                return Some(listing::<SyncDaemon>(&[]));
            }
            id::SET_DEST_ADD_EXT => return Some(self.ext_dest(body, id::SO_SET_ADDDEST)),
            id::SET_DEST_EDIT_EXT => return Some(self.ext_dest(body, id::SO_SET_EDITDEST)),
            id::GET_DEST_EXTS => {
                let mut exts = self.dest_exts();
                exts.extend(self.kept.iter().flat_map(Kept::dest_exts));
                return Some(listing(&exts));
            }
            _ => {}
        }
        self.kept.as_ref()?;
        match request.id {
            id::SO_SET_FLUSH => {
                let kept: Vec<Service> = self.kept.iter().flat_map(Kept::all).collect();
                self.kept.as_mut()?.flush();
                for service in &kept {
                    self.forget_guards(service);
                }
                None
            }
            id::SO_SET_ADD => self.kept_add(&plain(prefix(body).ok()?)),
            id::SO_SET_EDIT => self.kept_edit(&plain(prefix(body).ok()?)),
            id::SET_SERVICE_ADD_EXT => Some(self.ext_service(body, true)),
            id::SET_SERVICE_EDIT_EXT => Some(self.ext_service(body, false)),
            id::SO_SET_DEL | id::SO_SET_ZERO => {
                let s: Service = prefix(body).ok()?;
                self.kept.as_ref()?.get(&s)?;
                if request.id == id::SO_SET_DEL {
                    self.kept.as_mut()?.take(&s);
                    self.forget_guards(&s);
                }
                Some(Ok(Answer::Done))
            }
            id::SO_SET_ADDDEST | id::SO_SET_EDITDEST | id::SO_SET_DELDEST => {
                let both: ServiceDest = prefix(body).ok()?;
                let change = request.id != id::SO_SET_DELDEST;
                if change && !is_host(&both.dest) {
                    return Some(Err(Fault::Invalid("no address of a server")));
                }
                if change && both.dest.weight > u16::MAX.into() {
                    let encap = Encap::default();
                    let ext = DestExt { both, encap };
                    return Some(self.ext_dest(&ext.encode(), request.id));
                }
                self.kept.as_ref()?.get(&both.service)?;
                Some(self.kept_dest(request.id, &both, Encap::default()))
            }
            id::SO_GET_INFO => Some(self.kept_info()),
            id::SO_GET_SERVICES => Some(self.kept_list(body)),
            id::SO_GET_SERVICE => {
                let s: Service = prefix(body).ok()?;
                let kept = self.kept.as_ref()?.get(&s)?;
                let view = self.view(s.index.into()).ok()?;
                let listed = kept.listed(self.cid(view), s.index);
                Some(Ok(Answer::Body(listed.encode())))
            }
            id::SO_GET_DESTS => self.kept_dests(body),
            id::SET_LADDR_ADD | id::SET_LADDR_DEL | id::GET_LADDR_GETALL => {
                self.kept_laddr(request.id, body)
            }
            id::SET_BLKLST_ADD | id::SET_BLKLST_DEL | id::SET_WHTLST_ADD | id::SET_WHTLST_DEL => {
                // Only entries with a set that is not there are nobody else's.
                let entry: AclConf = prefix(body).ok()?;
                let known = self.state.guards.sets.get(&entry.ipset).is_some();
                if entry.ipset.is_empty() || known {
                    return None;
                }
                Some(self.kept_acl(request.id, body))
            }
            id::GET_BLKLST_GETALL => {
                let kept = &self.kept.as_ref()?.black;
                Some(listing(
                    &[self.acl_entries(Colour::Black), kept.clone()].concat(),
                ))
            }
            id::GET_WHTLST_GETALL => {
                let kept = &self.kept.as_ref()?.white;
                Some(listing(
                    &[self.acl_entries(Colour::White), kept.clone()].concat(),
                ))
            }
            id::SET_SYNC_START => Some(self.sync_start(body)),
            id::SET_SYNC_STOP => {
                let daemon: SyncDaemon = prefix(body).ok()?;
                let stopped = self.kept.as_mut()?.stop_sync(daemon.role);
                Some(stopped.map(|()| Answer::Done))
            }
            id::GET_SYNC => Some(listing(self.kept.as_ref()?.sync())),
            id::GET_SERVICE_EXTS => {
                let mut exts = self.service_exts();
                exts.extend(self.kept.as_ref()?.service_exts());
                Some(listing(&exts))
            }
            _ => None,
        }
    }

    /// Lists and limits go with a service, also with one that is only kept.
    fn forget_guards(&mut self, s: &Service) {
        if let Ok(Named::At(key)) = named(&self.state.services, s, Order::AddrFirst) {
            self.state.guards.forget(&key);
        }
    }

    fn settings(&self) -> Settings {
        self.publisher.settings().clone()
    }

    fn timeouts(&self) -> Result<Answer> {
        let t = self.settings().timeouts;
        let at = |list: &[u32], i: usize| list.get(i).copied().unwrap_or(0);
        let answer = TableTimeouts {
            tcp: at(&t.tcp, ESTABLISHED),
            tcp_fin: at(&t.tcp, FIN_WAIT),
            udp: at(&t.udp, UDP_NORMAL),
        };
        Ok(Answer::Body(answer.encode()))
    }

    /// In force until dpvs.conf is read again.
    fn timeouts_set(&mut self, body: &[u8]) -> Result<Answer> {
        let t: TableTimeouts = prefix(body)?;
        if [t.tcp, t.tcp_fin, t.udp].into_iter().any(|s| s > LONGEST) {
            return Err(Fault::Invalid("time-out of more than 31 days"));
        }
        let mut settings = self.settings();
        let set = |slot: Option<&mut u32>, seconds: u32| {
            if let Some(slot) = slot.filter(|_| seconds != 0) {
                *slot = seconds;
            }
        };
        let now = &mut settings.timeouts;
        set(now.tcp.get_mut(ESTABLISHED), t.tcp);
        set(now.tcp.get_mut(FIN_WAIT), t.tcp_fin);
        set(now.udp.get_mut(UDP_NORMAL), t.udp);
        self.publisher.set_settings(settings);
        self.publish();
        Ok(Answer::Done)
    }

    fn forwards(&self, s: &Service) -> bool {
        matches!(named(&self.state.services, s, Order::AddrFirst), Ok(Named::At(key))
            if self.state.services.get(&key).is_some())
    }

    fn kept_add(&mut self, ext: &ServiceExt) -> Option<Result<Answer>> {
        let s = &ext.service;
        if self.kept.as_ref()?.get(s).is_some() || self.forwards(s) {
            return Some(Err(Fault::Exists));
        }
        if forwardable(ext) {
            self.kept.as_mut()?.added(s);
            return None;
        }
        Some(Kept::check(ext).map(|()| {
            if let Some(kept) = &mut self.kept {
                kept.added(&ext.service);
                kept.put(ext, Parts::default());
            }
            Answer::Done
        }))
    }

    fn kept_edit(&mut self, ext: &ServiceExt) -> Option<Result<Answer>> {
        let s = &ext.service;
        let kept = self.kept.as_ref()?.get(s).is_some();
        if !kept && (!self.forwards(s) || forwardable(ext)) {
            return None;
        }
        if let Err(fault) = Kept::check(ext) {
            return Some(Err(fault));
        }
        let encapsulated = |d: &KeptDest| !is_forwardable(&d.dest, &d.encap);
        let old = self.kept.as_mut()?.take(s);
        let stays = !forwardable(ext) || old.as_ref()?.dests.iter().any(encapsulated);
        let parts = match old {
            Some(old) => Parts {
                dests: old.dests,
                laddrs: old.laddrs,
            },
            None => self.leave_dataplane(s),
        };
        if stays {
            self.kept.as_mut()?.put(ext, parts);
            return Some(Ok(Answer::Done));
        }
        Some(self.enter_dataplane(s, !ext.pe.is_empty(), &parts))
    }

    /// Takes a service away from the workers; returns what it had.
    fn leave_dataplane(&mut self, s: &Service) -> Parts {
        let Ok(Named::At(key)) = named(&self.state.services, s, Order::AddrFirst) else {
            return Parts::default();
        };
        let parts = self.state.services.get(&key).map(|entry| {
            let kept = |d: &Server| KeptDest {
                dest: Dest {
                    conn_flags: 0,
                    ..listed_dest(
                        d,
                        &dpvs_core::message::DestCounters::default(),
                        dpvs_ctl::msg::Stats::default(),
                    )
                },
                encap: encap::encap(d.tunnel),
            };
            Parts {
                dests: entry.dests.iter().map(kept).collect(),
                laddrs: entry.laddrs.clone(),
            }
        });
        let _ = self.state.services.del(&key);
        parts.unwrap_or_default()
    }

    fn enter_dataplane(&mut self, s: &Service, pe_sip: bool, parts: &Parts) -> Result<Answer> {
        self.service_add(s, pe_sip)?;
        if let Ok(Named::At(key)) = named(&self.state.services, s, Order::AddrFirst) {
            self.state.services.edit(&key, |entry| {
                entry.laddrs.clone_from(&parts.laddrs);
                Ok(())
            })?;
        }
        for kept in parts.dests.iter().rev() {
            let both = ServiceDest {
                service: *s,
                dest: kept.dest,
            };
            self.dest_wrapped(&both, &kept.encap, true)?;
        }
        Ok(Answer::Done)
    }

    fn ext_service(&mut self, body: &[u8], add: bool) -> Result<Answer> {
        let ext: ServiceExt = exact(body)?;
        let done = if add {
            self.kept_add(&ext)
        } else {
            self.kept_edit(&ext)
        };
        match done {
            Some(done) => done,
            None => self.service_ext(&ext, add),
        }
    }

    fn ext_dest(&mut self, body: &[u8], id: u32) -> Result<Answer> {
        let ext: DestExt = exact(body)?;
        let s = &ext.both.service;
        if self.kept.as_ref().is_none_or(|k| k.get(s).is_none()) {
            if self.kept.is_none() || is_forwardable(&ext.both.dest, &ext.encap) {
                let add = id == id::SO_SET_ADDDEST;
                return self.dest_wrapped(&ext.both, &ext.encap, add);
            }
            let Ok(Named::At(key)) = named(&self.state.services, s, Order::AddrFirst) else {
                return Err(Fault::Invalid("no such service"));
            };
            let Some(entry) = self.state.services.get(&key) else {
                return Err(Fault::Invalid("no such service"));
            };
            let whole = super::service::listed(&key, entry, 0, 0);
            let parts = self.leave_dataplane(s);
            if let Some(kept) = &mut self.kept {
                kept.put(&plain(whole), parts);
            }
        }
        self.kept_dest(id, &ext.both, ext.encap)
    }

    fn kept_dest(&mut self, id: u32, both: &ServiceDest, encap: Encap) -> Result<Answer> {
        let kept = self.kept.as_mut().and_then(|k| k.get_mut(&both.service));
        let kept = kept.ok_or(Fault::Invalid("no such service"))?;
        match id {
            id::SO_SET_ADDDEST => kept.add(both.dest, encap)?,
            id::SO_SET_EDITDEST => kept.edit(both.dest, encap)?,
            _ => kept.del(&both.dest)?,
        }
        Ok(Answer::Done)
    }

    fn kept_info(&mut self) -> Result<Answer> {
        let Answer::Body(body) = self.info()? else {
            return Err(Fault::WorkerRefused);
        };
        let mut info: Info = exact(&body)?;
        let kept = self.kept.as_ref().map_or(0, Kept::len);
        info.num_services += u32::try_from(kept).unwrap_or(u32::MAX);
        Ok(Answer::Body(info.encode()))
    }

    /// All services: those of the workers, then those that are kept.
    fn kept_list(&mut self, body: &[u8]) -> Result<Answer> {
        let front: ServicesFront = exact(body)?;
        let view = self.view(front.index.into())?;
        let cid = self.cid(view);
        let kept: Vec<Service> = self.kept.as_ref().map_or_else(Vec::new, |k| {
            k.services().map(|s| s.listed(cid, front.index)).collect()
        });
        let own = front
            .count
            .checked_sub(u16::try_from(kept.len()).unwrap_or(u16::MAX));
        let ask = ServicesFront {
            count: own.ok_or(Fault::WorkerRefused)?,
            ..front
        };
        let Answer::Body(body) = self.service_list(&ask.encode(), false)? else {
            return Err(Fault::WorkerRefused);
        };
        let count = |f: &ServicesFront| usize::from(f.count);
        let (head, mut list) = decode_list::<ServicesFront, Service>(&body, Tail::Exact, count)
            .map_err(|_| Fault::WorkerRefused)?;
        list.extend(kept);
        if let Some(kept) = &self.kept {
            kept.order(&mut list);
        }
        let head = ServicesFront {
            count: front.count,
            ..head
        };
        Ok(Answer::Body(encode_list(&head, &list)))
    }

    fn kept_dests(&self, body: &[u8]) -> Option<Result<Answer>> {
        let table: DestTable = exact(body).ok()?;
        let kept = self.kept.as_ref()?.get(&table.service())?;
        let dests: Vec<Dest> = kept.dests.iter().map(|k| k.dest).collect();
        let have = u32::try_from(dests.len()).unwrap_or(u32::MAX);
        if table.num_dests != have {
            return Some(Err(Fault::WorkerRefused));
        }
        let mut out = table.encode();
        append_entries(&mut out, &dests);
        Some(Ok(Answer::Body(out)))
    }

    fn kept_laddr(&mut self, id: u32, body: &[u8]) -> Option<Result<Answer>> {
        let t: LaddrTable = prefix(body).ok()?;
        let port = self.state.links.find(t.ifname.bytes());
        let laddrs = &mut self.kept.as_mut()?.get_mut(&t.service())?.laddrs;
        if id == id::GET_LADDR_GETALL {
            let entry = |l: &Laddr| LaddrEntry {
                af: Af::of(l.addr),
                addr: Ip16::from_ip(l.addr),
                ..LaddrEntry::default()
            };
            let list: Vec<LaddrEntry> = laddrs.iter().map(entry).collect();
            let nladdrs = i32::try_from(list.len()).unwrap_or(i32::MAX);
            return Some(Ok(Answer::Body(encode_list(
                &LaddrTable { nladdrs, ..t },
                &list,
            ))));
        }
        let Some(addr) = t.laddr.to_ip(t.af_l) else {
            return Some(Err(Fault::Invalid("local address")));
        };
        let at = laddrs.iter().position(|l| l.addr == addr);
        Some(match (id == id::SET_LADDR_ADD, at, port) {
            (true, Some(_), _) => Err(Fault::Exists),
            (true, None, None) | (false, None, _) => Err(Fault::Missing),
            (true, None, Some(port)) => {
                laddrs.push(Laddr { addr, port });
                Ok(Answer::Done)
            }
            (false, Some(at), _) => {
                laddrs.remove(at);
                Ok(Answer::Done)
            }
        })
    }

    fn kept_acl(&mut self, id: u32, body: &[u8]) -> Result<Answer> {
        let entry: AclConf = prefix(body)?;
        let kept = self.kept.as_mut().ok_or(Fault::WorkerRefused)?;
        let list = match id {
            id::SET_BLKLST_ADD | id::SET_BLKLST_DEL => &mut kept.black,
            _ => &mut kept.white,
        };
        let at = list.iter().position(|e| *e == entry);
        match (matches!(id, id::SET_BLKLST_ADD | id::SET_WHTLST_ADD), at) {
            (true, None) => list.push(entry),
            // As DPVS: what is there already is no mistake.
            (true, Some(_)) => {}
            (false, Some(at)) => drop(list.remove(at)),
            (false, None) => return Err(Fault::Missing),
        }
        Ok(Answer::Done)
    }

    fn sync_start(&mut self, body: &[u8]) -> Result<Answer> {
        let daemon: SyncDaemon = prefix(body)?;
        // The loopback is the kernel's, and always there.
        let loopback = daemon.ifname.text() == "lo";
        if !loopback && self.state.links.find(daemon.ifname.bytes()).is_none() {
            return Err(Fault::NoDevice);
        }
        let kept = self.kept.as_mut().ok_or(Fault::WorkerRefused)?;
        kept.start_sync(daemon)?;
        Ok(Answer::Done)
    }
}

fn listing<T: Wire>(entries: &[T]) -> Result<Answer> {
    Ok(Answer::Body(encode_counted(entries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_services_go_to_the_dataplane() {
        let of = |proto: u8, end: &str| {
            let mut s = Service::at(proto, end.parse().unwrap());
            s.sched_name = dpvs_ctl::Name::truncated("rr");
            forwardable(&plain(s))
        };
        assert!(of(6, "192.0.2.10:0") && of(1, "192.0.2.10:0") && of(58, "[2001:db8::10]:0"));
        assert!(of(1, "192.0.2.10:2048") && of(58, "[2001:db8::10]:32768"));
        // What is only listed.
        assert!(!of(58, "192.0.2.10:0") && !of(1, "[2001:db8::10]:0") && !of(47, "192.0.2.10:0"));
        assert!(!of(1, "192.0.2.10:7") && !of(58, "[2001:db8::10]:7"));
    }
}
