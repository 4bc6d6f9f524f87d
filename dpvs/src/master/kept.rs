//! What the daemon keeps under `--keep-unsupported`: services, lists and daemons
//! that the dataplane has no part for. They are stored, listed and saved, and
//! nothing is forwarded by them: for trying out a configuration or a script.
//!
//! Plain data with checked changes. What can be forwarded is not here but in
//! `state`, whose rules and codes these follow.

use std::collections::BTreeMap;

use dpvs_core::service::Laddr;
use dpvs_ctl::msg::{
    AclConf, Dest, DestExt, Encap, Service, ServiceDest, ServiceExt, SyncDaemon, dest_flag,
    svc_flag, sync_role,
};
use dpvs_ctl::{Name, Wire};

use super::error::{Fault, Result};

/// Schedulers of Linux and of DPVS. `none` is Linux's: a service without one.
const SCHEDULERS: [&str; 15] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
    "conhash", "none",
];
/// Buckets of Linux's tables of services.
const BUCKETS: u32 = 256;

/// A dest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptDest {
    pub(crate) dest: Dest,
    pub(crate) encap: Encap,
}

/// What a service takes with it from or to the dataplane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) dests: Vec<KeptDest>,
    pub(crate) laddrs: Vec<Laddr>,
}

/// A service.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptService {
    pub(crate) service: Service,
    pub(crate) pe: Name<16>,
    /// Newest first.
    pub(crate) dests: Vec<KeptDest>,
    /// In the order they were added.
    pub(crate) laddrs: Vec<Laddr>,
}

impl KeptService {
    fn find(&self, d: &Dest) -> Option<usize> {
        self.dests
            .iter()
            .position(|k| k.dest.af == d.af && k.dest.port == d.port && same(&k.dest, d))
    }

    /// Adds a dest.
    pub(crate) fn add(&mut self, dest: Dest, encap: Encap) -> Result<()> {
        if dest.min_conn > dest.max_conn {
            return Err(Fault::Unsupported("lower threshold above the upper one"));
        }
        if self.find(&dest).is_some() {
            return Err(Fault::Exists);
        }
        self.dests.insert(0, taken(dest, encap));
        Ok(())
    }

    /// Changes a dest.
    pub(crate) fn edit(&mut self, dest: Dest, encap: Encap) -> Result<()> {
        if dest.min_conn > dest.max_conn {
            return Err(Fault::Invalid("lower threshold above the upper one"));
        }
        let at = self.find(&dest).ok_or(Fault::Missing)?;
        if let Some(old) = self.dests.get_mut(at) {
            *old = taken(dest, encap);
        }
        Ok(())
    }

    /// Removes a dest.
    pub(crate) fn del(&mut self, dest: &Dest) -> Result<()> {
        let at = self.find(dest).ok_or(Fault::Missing)?;
        self.dests.remove(at);
        Ok(())
    }

    /// As it is listed.
    pub(crate) fn listed(&self, cid: u8, index: u8) -> Service {
        Service {
            flags: self.service.flags | svc_flag::HASHED,
            num_dests: u32::try_from(self.dests.len()).unwrap_or(u32::MAX),
            num_laddrs: u32::try_from(self.laddrs.len()).unwrap_or(u32::MAX),
            cid,
            index,
            bps: 0,
            limit_proportion: 0,
            ..self.service
        }
    }
}

fn same(a: &Dest, b: &Dest) -> bool {
    a.addr.same(b.addr, a.af)
}

/// A dest of a request as it is kept: only what a request may set.
fn taken(dest: Dest, encap: Encap) -> KeptDest {
    let mut kept = Dest {
        af: dest.af,
        port: dest.port,
        weight: dest.weight,
        addr: dest.addr.clean(dest.af),
        conn_flags: dest.conn_flags,
        flags: dest_flag::AVAILABLE | (dest.flags & dest_flag::INHIBITED),
        max_conn: dest.max_conn,
        min_conn: dest.min_conn,
        ..Dest::default()
    };
    kept.set_fwd_mode(dest.fwdmode);
    KeptDest { dest: kept, encap }
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    services: BTreeMap<Vec<u8>, KeptService>,
    /// When each service was added, kept or not.
    ages: BTreeMap<Vec<u8>, u64>,
    adds: u64,
    seed: u8,
    pub(crate) black: Vec<AclConf>,
    pub(crate) white: Vec<AclConf>,
    sync: Vec<SyncDaemon>,
}

/// What tells services apart: mark, else address and port, else match.
fn key(s: &Service) -> Vec<u8> {
    let mut key = Service {
        af: s.af,
        proto: s.proto,
        ..Service::default()
    };
    if s.fwmark != 0 {
        key.fwmark = s.fwmark;
        key.proto = 0;
    } else if s.matched.is_empty() {
        key.addr = s.addr.clean(s.af);
        key.port = s.port;
    } else {
        key.matched = s.matched;
    }
    key.encode()
}

/// Where Linux's table has a service; marks come behind addresses.
fn bucket(s: &Service, seed: u8) -> u32 {
    let (at, of_mark) = if s.fwmark != 0 {
        (s.fwmark, BUCKETS)
    } else {
        let port = u32::from(s.port.get());
        let folded = match s.addr.to_ip(s.af) {
            Some(std::net::IpAddr::V4(v4)) => u32::from(v4),
            Some(std::net::IpAddr::V6(v6)) => {
                let words = v6.segments();
                let word = |i: usize| u32::from(words.get(i).copied().unwrap_or(0));
                (0..4).fold(0, |x, i| x ^ (word(2 * i) << 16 | word(2 * i + 1)))
            }
            None => 0,
        };
        (u32::from(s.proto) ^ folded ^ (port >> 8) ^ port, 0)
    };
    ((at ^ u32::from(seed)) % BUCKETS) + of_mark
}

impl Kept {
    /// An empty table. Linux's lists depend on an address in its memory, which
    /// stands in the seed.
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Notes that a service is added.
    pub(crate) fn added(&mut self, s: &Service) {
        self.adds += 1;
        self.ages.insert(key(s), self.adds);
    }

    /// The order of Linux's table: by bucket, the newest first.
    pub(crate) fn order(&self, list: &mut [Service]) {
        list.sort_by_cached_key(|s| {
            let age = self.ages.get(&key(s)).copied().unwrap_or(0);
            (bucket(s, self.seed), std::cmp::Reverse(age))
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }

    pub(crate) fn get(&self, s: &Service) -> Option<&KeptService> {
        self.services.get(&key(s))
    }

    pub(crate) fn get_mut(&mut self, s: &Service) -> Option<&mut KeptService> {
        self.services.get_mut(&key(s))
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &KeptService> {
        self.services.values()
    }

    /// The services as they were asked for.
    pub(crate) fn all(&self) -> impl Iterator<Item = Service> {
        self.services.values().map(|kept| kept.service)
    }

    /// Whether a service may be kept at all.
    pub(crate) fn check(ext: &ServiceExt) -> Result<()> {
        if !SCHEDULERS.contains(&ext.service.sched_name.text().as_ref()) {
            return Err(Fault::Missing);
        }
        if !ext.pe.is_empty() && ext.pe.text() != "sip" {
            return Err(Fault::Missing);
        }
        Ok(())
    }

    /// Puts a service in, with the dests and local addresses it had.
    pub(crate) fn put(&mut self, ext: &ServiceExt, parts: Parts) {
        let service = Service {
            num_dests: 0,
            ..ext.service
        };
        let kept = KeptService {
            service,
            pe: ext.pe,
            dests: parts.dests,
            laddrs: parts.laddrs,
        };
        self.services.insert(key(&service), kept);
    }

    /// Takes a service out.
    pub(crate) fn take(&mut self, s: &Service) -> Option<KeptService> {
        self.services.remove(&key(s))
    }

    /// Removes all services with their lists.
    pub(crate) fn flush(&mut self) {
        self.services.clear();
        self.ages.clear();
        self.black.clear();
        self.white.clear();
    }

    /// Services with more than a [`Service`] says.
    pub(crate) fn service_exts(&self) -> Vec<ServiceExt> {
        let more = self.services.values().filter(|k| !k.pe.is_empty());
        more.map(|k| ServiceExt {
            service: k.service.key(),
            pe: k.pe,
        })
        .collect()
    }

    /// Dests with more than a [`Dest`] says.
    pub(crate) fn dest_exts(&self) -> Vec<DestExt> {
        let mut list = Vec::new();
        for kept in self.services.values() {
            for k in kept.dests.iter().filter(|k| k.encap != Encap::default()) {
                list.push(DestExt {
                    both: ServiceDest {
                        service: kept.service.key(),
                        dest: k.dest,
                    },
                    encap: k.encap,
                });
            }
        }
        list
    }

    /// Starts a synchronisation daemon. Sizes as Linux gives them.
    pub(crate) fn start_sync(&mut self, mut d: SyncDaemon) -> Result<()> {
        const ETHERNET: u32 = 1500;
        const LEAST_BACKUP: u32 = 1024;
        if !matches!(d.role, sync_role::MASTER | sync_role::BACKUP) {
            return Err(Fault::Invalid("role of the daemon"));
        }
        if self.sync.iter().any(|s| s.role == d.role) {
            return Err(Fault::Exists);
        }
        if d.af == dpvs_ctl::Af::UNSPEC {
            d.af = dpvs_ctl::Af::INET;
            d.group = dpvs_ctl::Ip16::from_ip(std::net::Ipv4Addr::new(224, 0, 0, 81).into());
        }
        if d.max_len == 0 {
            let headers = if d.af == dpvs_ctl::Af::INET6 { 48 } else { 28 };
            d.max_len = ETHERNET - headers;
        } else if d.role == sync_role::BACKUP {
            d.max_len = d.max_len.max(LEAST_BACKUP);
        }
        if d.port == 0 {
            d.port = 8848;
        }
        if d.ttl == 0 {
            d.ttl = 1;
        }
        self.sync.push(d);
        self.sync.sort_by_key(|s| s.role);
        Ok(())
    }

    /// Stops the synchronisation daemon of a role.
    pub(crate) fn stop_sync(&mut self, role: u32) -> Result<()> {
        let at = self.sync.iter().position(|s| s.role == role);
        self.sync.remove(at.ok_or(Fault::Missing)?);
        Ok(())
    }

    pub(crate) fn sync(&self) -> &[SyncDaemon] {
        &self.sync
    }
}
