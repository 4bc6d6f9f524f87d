//! Services with their servers and local addresses.
//!
//! Every change is made on a copy and checked whole before it counts. What
//! changed since the last snapshot is remembered, so that publishing one
//! change among ten thousand services costs one service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::matching::{Matching, Side};
use dpvs_core::service::{
    Dest, DestId, FwdMode, Laddr, Policy, SchedKind, Service, ServiceId, ServiceKey, Tunnel,
};
use dpvs_core::tokens::Gauge;
use dpvs_core::xmit::proxy::Proxy;
use dpvs_ctl::msg::{AddrRange, CheckConf, Match, Service as MatchService, svc_flag};
use dpvs_ctl::{Af, Name};

use super::ids::Ids;
use super::policy::{self, Made};
use crate::master::error::{Fault, Result};

/// What of a service can be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) flags: u32,
    pub(crate) timeout: u32,
    pub(crate) conn_timeout: u32,
    pub(crate) netmask: u32,
    pub(crate) proxy_protocol: u8,
    /// Bits a second in each direction, 0 = not limited.
    pub(crate) bps: u32,
    /// Of a hundred packets so many pass; 0 and 100 = all.
    pub(crate) limit_proportion: u32,
    pub(crate) sched: SchedKind,
    pub(crate) check: CheckConf,
    /// Persistence by SIP call (`--pe sip`).
    pub(crate) pe_sip: bool,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// None until the change that makes it is taken.
    pub(crate) id: Option<DestId>,
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    pub(crate) weight: u16,
    pub(crate) mode: FwdMode,
    pub(crate) tunnel: Tunnel,
    /// Bits beside the mode, as given.
    pub(crate) conn_flags: u16,
    pub(crate) max_conn: u32,
    pub(crate) min_conn: u32,
    /// Counts the changes of these two.
    pub(crate) terms: u32,
    pub(crate) inhibited: bool,
    /// How often the passive check has let it back.
    pub(crate) returns: u8,
    /// By our own passive check: listed with weight 0.
    pub(crate) held: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    id: ServiceId,
    uid: u64,
    pub(crate) version: u64,
    pub(crate) options: Options,
    /// What packets it is for, if it has no address; `matching` is the same with
    /// devices by number.
    pub(crate) matched: Option<Match>,
    matching: Option<Matching>,
    /// Newest first, as DPVS lists them.
    pub(crate) dests: Vec<Server>,
    /// In the order they were added.
    pub(crate) laddrs: Vec<Laddr>,
    table: Made,
    /// What the workers count of it together.
    syns: Arc<Gauge>,
}

impl Server {
    /// How packets go to it. What is at a loopback address can only be the director's
    /// own kernel, in any mode ("local node" of Linux; `sorry_server 127.0.0.1`).
    pub(crate) fn forwarded(&self) -> FwdMode {
        if self.addr.is_loopback() && self.mode != FwdMode::Snat {
            FwdMode::Local
        } else {
            self.mode
        }
    }
}

impl Entry {
    pub(crate) fn dest(&mut self, addr: IpAddr, port: u16) -> Option<&mut Server> {
        self.dests
            .iter_mut()
            .find(|d| d.addr == addr && d.port == port)
    }

    /// The SYN proxy translates numbers in both directions.
    /// DIFFERS: DPVS takes other forwarding modes, whose connections then fail.
    pub(crate) fn may_proxy(&self, server: &Server) -> Result<()> {
        if self.options.flags & svc_flag::SYNPROXY == 0 || server.forwarded() == FwdMode::FullNat {
            return Ok(());
        }
        let why = "SYN proxy with servers in another mode than FullNAT: it sees one direction only";
        tracing::warn!("{why}: refused");
        Err(Fault::Unsupported(why))
    }

    /// Adds a server. Thresholds the wrong way round are refused as DPVS does.
    pub(crate) fn add_dest(&mut self, server: Server) -> Result<()> {
        if server.min_conn > server.max_conn {
            return Err(Fault::Unsupported("lower threshold above the upper one"));
        }
        if self.dest(server.addr, server.port).is_some() {
            return Err(Fault::Exists);
        }
        self.may_proxy(&server)?;
        self.dests.insert(0, server);
        Ok(())
    }

    pub(crate) fn edit_dest(&mut self, server: Server) -> Result<()> {
        if server.min_conn > server.max_conn {
            return Err(Fault::Invalid("lower threshold above the upper one"));
        }
        self.may_proxy(&server)?;
        let old = self.dest(server.addr, server.port).ok_or(Fault::Missing)?;
        let same = (old.max_conn, old.min_conn) == (server.max_conn, server.min_conn);
        *old = Server {
            id: old.id,
            terms: old.terms.wrapping_add(u32::from(!same)),
            returns: old.returns,
            ..server
        };
        Ok(())
    }

    pub(crate) fn del_dest(&mut self, addr: IpAddr, port: u16) -> Result<()> {
        let at = self
            .dests
            .iter()
            .position(|d| d.addr == addr && d.port == port)
            .ok_or(Fault::Missing)?;
        self.dests.remove(at);
        Ok(())
    }

    pub(crate) fn add_laddr(&mut self, addr: IpAddr, port: PortId) -> Result<()> {
        if self.laddrs.iter().any(|l| l.addr == addr) {
            return Err(Fault::Exists);
        }
        self.laddrs.push(Laddr { addr, port });
        Ok(())
    }

    pub(crate) fn del_laddr(&mut self, addr: IpAddr) -> Result<()> {
        let at = self
            .laddrs
            .iter()
            .position(|l| l.addr == addr)
            .ok_or(Fault::Missing)?;
        self.laddrs.remove(at);
        Ok(())
    }

    /// Ids of its servers, in order.
    pub(crate) fn dest_ids(&self) -> Vec<DestId> {
        self.dests.iter().filter_map(|d| d.id).collect()
    }

    fn published(&mut self, key: ServiceKey, mh_list_order: bool) -> Service {
        let dests: Arc<[Dest]> = self.dests.iter().filter_map(published).collect();
        let table = self.table.table(&self.options, &dests, mh_list_order);
        Service {
            id: self.id,
            uid: self.uid,
            version: self.version,
            key,
            sched: self.options.sched,
            conn_timeout: self.options.conn_timeout,
            proxy: Proxy::from_number(self.options.proxy_protocol),
            matching: self.matching.clone(),
            expire_quiescent: self.options.flags & svc_flag::EXPIRE_QUIESCENT != 0,
            synproxy: self.options.flags & svc_flag::SYNPROXY != 0,
            syns: self.syns.clone(),
            dests,
            laddrs: self.laddrs.iter().copied().collect(),
            policy: Policy {
                table,
                ..policy::policy(&self.options, key.addr.is_ipv6())
            },
        }
    }
}

/// The number of no device.
pub(crate) const NO_DEVICE: PortId = PortId(u16::MAX);

/// What a match says, as the workers ask it (DPVS facts §9): an unset bound is none.
fn matching(m: &Match, v6: bool, find: &impl Fn(&Name<16>) -> Option<PortId>) -> Matching {
    let family = if v6 { Af::INET6 } else { Af::INET };
    let side = |r: &AddrRange| {
        let (min, max) = (r.min_addr.to_ip(family), r.max_addr.to_ip(family));
        Side {
            addrs: match (min, max) {
                (Some(min), Some(max)) if !max.is_unspecified() => Some(min..=max),
                _ => None,
            },
            ports: (r.max_port.get() != 0).then(|| r.min_port.get()..=r.max_port.get()),
        }
    };
    // DIFFERS: a device that is not there is no packet's; with DPVS such a service is for
    // the packets of all devices, also when its own is removed.
    let device = |name: &Name<16>| (!name.is_empty()).then(|| find(name).unwrap_or(NO_DEVICE));
    Matching {
        src: side(&m.srange),
        dst: side(&m.drange),
        iif: device(&m.iifname),
        oif: device(&m.oifname),
    }
}

/// A server as the workers see it.
fn published(d: &Server) -> Option<Dest> {
    Some(Dest {
        id: d.id?,
        addr: d.addr,
        port: d.port,
        weight: d.weight,
        mode: d.forwarded(),
        tunnel: d.tunnel,
        max_conn: d.max_conn,
        min_conn: d.min_conn,
        terms: d.terms,
        inhibited: d.inhibited,
        returns: d.returns,
    })
}

/// What became of a service since the last snapshot.
pub(crate) enum Change {
    /// New or different.
    Put(Arc<Service>),
    /// Gone.
    Gone(ServiceKey),
}

/// All services.
#[derive(Debug, Default)]
pub(crate) struct Services {
    map: BTreeMap<ServiceKey, Entry>,
    ids: Ids,
    dest_ids: Ids,
    uids: u64,
    changed: BTreeSet<ServiceKey>,
    removed: Vec<DestId>,
    mh_list_order: bool,
}

impl Services {
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn get(&self, key: &ServiceKey) -> Option<&Entry> {
        self.map.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Entry)> {
        self.map.iter()
    }

    pub(crate) fn add(&mut self, key: ServiceKey, options: Options) -> Result<()> {
        if self.map.contains_key(&key) {
            return Err(Fault::Exists);
        }
        let id = ServiceId(self.ids.take().ok_or(Fault::NoRoom)?);
        self.uids += 1;
        self.map.insert(
            key,
            Entry {
                id,
                uid: self.uids,
                version: 0,
                options,
                matched: None,
                matching: None,
                dests: Vec::new(),
                laddrs: Vec::new(),
                table: Made::default(),
                syns: Arc::default(),
            },
        );
        self.changed.insert(key);
        Ok(())
    }

    /// The service for exactly these packets.
    pub(crate) fn matched(&self, s: &MatchService) -> Option<ServiceKey> {
        let family = if s.af == Af::UNSPEC {
            s.matched.af
        } else {
            s.af
        };
        let mut known = self.map.iter();
        known
            .find(|(key, entry)| {
                entry.matched == Some(s.matched)
                    && key.proto == s.proto
                    && Af::of(key.addr) == family
            })
            .map(|(key, _)| *key)
    }

    /// Adds a service for the packets a request describes. Its key has no address
    /// and a number nobody else has in place of the port; it is returned.
    pub(crate) fn add_match(
        &mut self,
        s: &MatchService,
        options: Options,
        find: impl Fn(&Name<16>) -> Option<PortId>,
    ) -> Result<ServiceKey> {
        let addr = match if s.af == Af::UNSPEC {
            s.matched.af
        } else {
            s.af
        } {
            Af::INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Af::INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return Err(Fault::Invalid("family of the service")),
        };
        let proto = s.proto;
        let key = (1..=u16::MAX)
            .map(|port| ServiceKey { proto, addr, port })
            .find(|key| !self.map.contains_key(key))
            .ok_or(Fault::NoRoom)?;
        self.add(key, options)?;
        if let Some(entry) = self.map.get_mut(&key) {
            entry.matched = Some(s.matched);
            entry.matching = Some(matching(&s.matched, addr.is_ipv6(), &find));
        }
        Ok(key)
    }

    /// Devices came or went: match services name them.
    pub(crate) fn resolve(&mut self, find: impl Fn(&Name<16>) -> Option<PortId>) {
        for (key, entry) in &mut self.map {
            let Some(matched) = &entry.matched else {
                continue;
            };
            let now = Some(matching(matched, key.addr.is_ipv6(), &find));
            if now != entry.matching {
                entry.matching = now;
                self.changed.insert(*key);
            }
        }
    }

    /// A device is gone: local addresses that were added with it are of none.
    pub(crate) fn device_gone(&mut self, port: PortId) {
        for (key, entry) in &mut self.map {
            for laddr in entry.laddrs.iter_mut().filter(|l| l.port == port) {
                laddr.port = NO_DEVICE;
                self.changed.insert(*key);
            }
        }
    }

    /// Changes a service: `change` works on a copy, which counts only when it
    /// returns without fault.
    pub(crate) fn edit<R>(
        &mut self,
        key: &ServiceKey,
        change: impl FnOnce(&mut Entry) -> Result<R>,
    ) -> Result<R> {
        let old = self.map.get(key).ok_or(Fault::NoService)?;
        let mut new = old.clone();
        let done = change(&mut new)?;
        let fresh = new.dests.iter().filter(|d| d.id.is_none()).count();
        if fresh > self.dest_ids.room() {
            return Err(Fault::NoRoom);
        }
        for dest in new.dests.iter_mut().filter(|d| d.id.is_none()) {
            dest.id = self.dest_ids.take().map(DestId);
        }
        let kept: BTreeSet<DestId> = new.dest_ids().into_iter().collect();
        self.removed
            .extend(old.dest_ids().into_iter().filter(|id| !kept.contains(id)));
        let chooses = |o: &Options| (o.sched, o.flags, o.check);
        if new.dests != old.dests
            || new.laddrs != old.laddrs
            || chooses(&new.options) != chooses(&old.options)
        {
            new.version += 1;
        }
        self.map.insert(*key, new);
        self.changed.insert(*key);
        Ok(done)
    }

    /// Adds one server. Unlike [`Services::edit`] this costs no copy of the others,
    /// of which there may be thousands.
    pub(crate) fn add_dest(&mut self, key: &ServiceKey, server: Server) -> Result<()> {
        let entry = self.map.get_mut(key).ok_or(Fault::NoService)?;
        entry.add_dest(server)?;
        let Some(id) = self.dest_ids.take() else {
            entry.dests.retain(|d| d.id.is_some());
            return Err(Fault::NoRoom);
        };
        if let Some(new) = entry.dests.iter_mut().find(|d| d.id.is_none()) {
            new.id = Some(DestId(id));
        }
        entry.version += 1;
        self.changed.insert(*key);
        Ok(())
    }

    /// Changes one server, see [`Services::add_dest`].
    pub(crate) fn edit_dest(&mut self, key: &ServiceKey, server: Server) -> Result<()> {
        let entry = self.map.get_mut(key).ok_or(Fault::NoService)?;
        entry.edit_dest(server)?;
        entry.version += 1;
        self.changed.insert(*key);
        Ok(())
    }

    /// Removes one server, see [`Services::add_dest`].
    pub(crate) fn del_dest(&mut self, key: &ServiceKey, addr: IpAddr, port: u16) -> Result<()> {
        let entry = self.map.get_mut(key).ok_or(Fault::NoService)?;
        let id = entry.dest(addr, port).and_then(|d| d.id);
        entry.del_dest(addr, port)?;
        self.removed.extend(id);
        entry.version += 1;
        self.changed.insert(*key);
        Ok(())
    }

    /// Whether a service has a server of that number.
    pub(crate) fn has_dest(&self, key: &ServiceKey, id: DestId) -> bool {
        let entry = self.map.get(key);
        entry.is_some_and(|e| e.dests.iter().any(|d| d.id == Some(id)))
    }

    /// The service that has a server; looks through all.
    pub(crate) fn of_dest(&self, id: DestId) -> Option<ServiceKey> {
        let mut all = self.map.iter();
        all.find(|(_, e)| e.dests.iter().any(|d| d.id == Some(id)))
            .map(|(key, _)| *key)
    }

    /// Whether a server can be taken out: not if it has no weight anyway.
    pub(crate) fn may_inhibit(&self, key: &ServiceKey, id: DestId) -> bool {
        let dests = self.map.get(key).map_or(&[][..], |e| &e.dests);
        dests
            .iter()
            .any(|d| d.id == Some(id) && !d.inhibited && d.weight > 0)
    }

    /// The passive check takes a server out, or lets back one that it took out.
    pub(crate) fn inhibit(&mut self, key: &ServiceKey, id: DestId, out: bool) {
        let Some(entry) = self.map.get_mut(key) else {
            return;
        };
        let Some(dest) = entry.dests.iter_mut().find(|d| d.id == Some(id)) else {
            return;
        };
        // Whoever has set the server meanwhile knows better.
        if dest.held != out {
            dest.held = out;
            dest.inhibited = out;
            dest.returns = dest.returns.wrapping_add(u8::from(!out));
            entry.version += 1;
            self.changed.insert(*key);
        }
    }

    pub(crate) fn del(&mut self, key: &ServiceKey) -> Result<()> {
        let gone = self.map.remove(key).ok_or(Fault::NoService)?;
        self.removed.extend(gone.dest_ids());
        self.ids.give(gone.id.0);
        self.changed.insert(*key);
        Ok(())
    }

    pub(crate) fn flush(&mut self) {
        let keys: Vec<ServiceKey> = self.map.keys().copied().collect();
        for key in keys {
            let _ = self.del(&key);
        }
    }

    /// Whether `mh` fills its tables in the order of the servers' list.
    pub(crate) fn set_mh_list_order(&mut self, list_order: bool) {
        if std::mem::replace(&mut self.mh_list_order, list_order) == list_order {
            return;
        }
        for (key, entry) in &mut self.map {
            if entry.options.sched == SchedKind::Mh {
                entry.version += 1;
                self.changed.insert(*key);
            }
        }
    }

    /// The numbers of all servers are below this.
    pub(crate) fn dest_bound(&self) -> u32 {
        self.dest_ids.bound()
    }

    /// No worker uses this server any more: its id may be given again.
    pub(crate) fn recycle(&mut self, id: DestId) {
        self.dest_ids.give(id.0);
    }

    pub(crate) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed, and which servers are gone, since the last call.
    pub(crate) fn take_changes(&mut self) -> (Vec<Change>, Vec<DestId>) {
        let changes = std::mem::take(&mut self.changed)
            .into_iter()
            .map(|key| match self.map.get_mut(&key) {
                Some(entry) => Change::Put(Arc::new(entry.published(key, self.mh_list_order))),
                None => Change::Gone(key),
            })
            .collect();
        (changes, std::mem::take(&mut self.removed))
    }
}
