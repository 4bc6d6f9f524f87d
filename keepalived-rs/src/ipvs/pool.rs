//! One service and its servers: what is in the pool now, what should be, and
//! the requests in between.
//!
//! The pool that should be is computed from health, weights and quorum alone;
//! requests are the difference to what was asked for before, in the order of
//! the DPVS fork: add and change first, remove last.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dpvs_ctl::msg::{Dest, Service};
use tracing::info;

use super::Action;
use crate::conf::model::{
    AddrGroup, Config, Laddr, ListEntry, Method, RealServer, Sorry, Vip, VirtualServer,
};
use crate::ops::{self, Op};

/// One virtual server.
pub(super) struct State {
    pub(super) conf: VirtualServer,
    laddrs: Vec<Laddr>,
    deny: Vec<ListEntry>,
    allow: Vec<ListEntry>,
    pub(super) up: bool,
    pub(super) servers: Vec<Server>,
    /// What was asked for, by address, for each vip alike.
    installed: BTreeMap<SocketAddr, Want>,
    /// Removed since the last full programming.
    stale: BTreeMap<SocketAddr, Method>,
}

/// One real server.
pub(super) struct Server {
    pub(super) conf: RealServer,
    /// For each checker, whether its last verdict was bad.
    failed: Vec<bool>,
    dynamic: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Want {
    weight: u32,
    method: Method,
    limits: (u32, u32),
}

impl Server {
    fn new(conf: &RealServer) -> Self {
        // A server of an alpha service starts down until each check has passed.
        Self {
            conf: conf.clone(),
            failed: vec![conf.alpha; conf.checks.len()],
            dynamic: None,
        }
    }

    pub(super) fn alive(&self) -> bool {
        !self.failed.contains(&true)
    }

    pub(super) fn weight(&self) -> u32 {
        self.dynamic.unwrap_or(self.conf.weight)
    }
}

impl State {
    pub(super) fn new(conf: &VirtualServer, config: &Config) -> Self {
        let mut s = Self {
            conf: conf.clone(),
            laddrs: Vec::new(),
            deny: Vec::new(),
            allow: Vec::new(),
            up: false,
            servers: conf.servers.iter().map(Server::new).collect(),
            installed: BTreeMap::new(),
            stale: BTreeMap::new(),
        };
        s.groups(config);
        s
    }

    /// Fills in the named groups.
    fn groups(&mut self, config: &Config) {
        let conf = &self.conf;
        let families = |v6: bool| conf.servers.iter().any(|r| r.addr.is_ipv6() == v6);
        let wants = matches!(conf.method, Method::FullNat | Method::Snat);
        self.laddrs = config
            .laddr_groups
            .iter()
            .filter(|g| wants && Some(&g.name) == conf.laddr_group.as_ref())
            .flat_map(|g| g.addrs.iter())
            // FullNAT talks to the server in the server's family.
            .filter(|l| families(l.addr.is_ipv6()))
            .cloned()
            .collect();
        let list = |groups: &[AddrGroup], name: &Option<String>| -> Vec<ListEntry> {
            groups
                .iter()
                .filter(|g| Some(&g.name) == name.as_ref())
                .flat_map(|g| g.entries.iter().cloned())
                .collect()
        };
        self.deny = list(&config.deny_groups, &conf.deny_group);
        self.allow = list(&config.allow_groups, &conf.allow_group);
    }

    pub(super) fn messages(&self) -> Vec<Service> {
        self.conf
            .vips
            .iter()
            .map(|v| ops::service(&self.conf, v))
            .collect()
    }

    fn sorry_live(&self) -> Option<&Sorry> {
        self.conf.sorry.as_ref().filter(|_| !self.up)
    }

    /// What should be in the pool.
    fn desired(&self) -> BTreeMap<SocketAddr, Want> {
        let live = self.sorry_live().is_some();
        let mut out = BTreeMap::new();
        for s in &self.servers {
            let r = &s.conf;
            let weight = match (s.alive(), live) {
                (true, false) => Some(s.weight()),
                _ if r.inhibit => Some(0),
                _ => None,
            };
            if let Some(weight) = weight {
                out.insert(
                    r.addr,
                    Want {
                        weight,
                        method: r.method,
                        limits: (r.upper, r.lower),
                    },
                );
            }
        }
        if let Some(s) = &self.conf.sorry
            && (live || s.inhibit)
        {
            let want = Want {
                weight: u32::from(live),
                method: s.method,
                limits: (0, 0),
            };
            // A sorry server that is also a real server is added once.
            let slot = out.entry(s.addr).or_insert(want);
            if live {
                *slot = want;
            }
        }
        out
    }

    /// The order servers are listed in the file, the sorry server last.
    fn order(&self) -> Vec<SocketAddr> {
        let mut order: Vec<_> = self.servers.iter().map(|s| s.conf.addr).collect();
        for a in self
            .conf
            .sorry
            .iter()
            .map(|s| s.addr)
            .chain(self.installed.keys().copied())
        {
            if !order.contains(&a) {
                order.push(a);
            }
        }
        order
    }

    /// Asks for the difference between what is installed and what should be.
    fn sync(&mut self, out: &mut Vec<Action>) {
        let want = self.desired();
        let services = self.messages();
        let order = self.order();
        for s in &services {
            for a in &order {
                match (want.get(a), self.installed.get(a)) {
                    (Some(w), None) => out.push(Action::Op(Op::DestAdd(*s, dest(s, *a, *w)))),
                    (Some(w), Some(old)) if w != old => {
                        out.push(Action::Op(Op::DestEdit(*s, dest(s, *a, *w))));
                    }
                    _ => {}
                }
            }
            for a in &order {
                if let (None, Some(old)) = (want.get(a), self.installed.get(a)) {
                    out.push(Action::Op(Op::DestDel(*s, dest(s, *a, *old))));
                }
            }
        }
        for (a, old) in &self.installed {
            if !want.contains_key(a) {
                self.stale.insert(*a, old.method);
            }
        }
        self.installed = want;
    }

    /// Asks for everything about one vip.
    fn program_vip(&self, s: &Service, with_service: bool, out: &mut Vec<Action>) {
        let mut push = |op| out.push(Action::Op(op));
        if with_service {
            push(Op::ServiceAdd(*s));
        }
        for l in &self.laddrs {
            push(Op::LaddrAdd(ops::laddr(s, l)));
        }
        self.deny
            .iter()
            .filter_map(|e| ops::acl(s, e))
            .for_each(|a| push(Op::DenyAdd(a)));
        self.allow
            .iter()
            .filter_map(|e| ops::acl(s, e))
            .for_each(|a| push(Op::AllowAdd(a)));
        for a in self.order() {
            if let Some(w) = self.installed.get(&a) {
                push(Op::DestAdd(*s, dest(s, a, *w)));
            }
        }
    }

    pub(super) fn program(&mut self, first: bool, out: &mut Vec<Action>) {
        if first {
            // The quorum is judged after the servers are in: the sorry server
            // comes last, as in the fork.
            self.up = true;
        }
        self.installed = self.desired();
        let services = self.messages();
        for s in &services {
            self.program_vip(s, true, out);
            for (a, method) in &self.stale {
                if !self.installed.contains_key(a) {
                    let w = Want {
                        weight: 0,
                        method: *method,
                        limits: (0, 0),
                    };
                    out.push(Action::Op(Op::DestDel(*s, dest(s, *a, w))));
                }
            }
        }
        self.stale.clear();
        if first {
            self.up = false;
            self.judge(true, out);
        }
    }

    fn alive_weight(&self) -> u64 {
        self.servers
            .iter()
            .filter(|s| s.alive())
            .map(|s| u64::from(s.weight()))
            .sum()
    }

    /// Compares the weight of the servers alive with the quorum.
    pub(super) fn judge(&mut self, first: bool, out: &mut Vec<Action>) {
        let sum = self.alive_weight();
        let (q, h) = (self.conf.quorum, self.conf.hysteresis);
        let high = u64::from(q) + u64::from(h);
        let low = q.saturating_sub(h);
        // A quorum of 0 (all weights are 0) is never lost.
        let lost = q > 0 && sum < u64::from(low).max(1);
        let name = self.conf.name.clone();
        let sorry = self.conf.sorry.as_ref().map(|s| self.rs_name(s.addr));
        if !self.up && sum >= high {
            info!("Gained quorum {q}+{h}={high} <= {sum} for VS {name}");
            if let Some(sorry) = sorry.filter(|_| !first) {
                info!("Removing sorry server {sorry} from VS {name}");
                info!("Adding alive servers to the pool for VS {name}");
            }
            self.up = true;
            self.sync(out);
            out.extend(self.conf.quorum_up.clone().map(Action::Notify));
        } else if first || (self.up && lost) {
            if first {
                info!("Starting with quorum down for VS {name}");
            } else {
                info!("Lost quorum {q}-{h}={low} > {sum} for VS {name}");
            }
            if let Some(sorry) = sorry {
                info!("Adding sorry server {sorry} to VS {name}");
                info!("Removing alive servers from the pool for VS {name}");
            }
            self.up = false;
            self.sync(out);
            if !first {
                out.extend(self.conf.quorum_down.clone().map(Action::Notify));
            }
        }
    }

    pub(super) fn rs_name(&self, a: SocketAddr) -> String {
        format!("[{}]:{}:{}", a.ip(), self.conf.proto.name(), a.port())
    }

    pub(super) fn verdict(
        &mut self,
        server: SocketAddr,
        check: usize,
        up: bool,
        weight: Option<u32>,
        out: &mut Vec<Action>,
    ) {
        let name = self.rs_name(server);
        let Some(s) = self.servers.iter_mut().find(|s| s.conf.addr == server) else {
            return;
        };
        let before = s.alive();
        if let Some(slot) = s.failed.get_mut(check) {
            *slot = !up;
        }
        if weight.is_some() && weight != s.dynamic {
            info!(
                "Changing weight from {} to {} for service {name} of VS {}",
                s.weight(),
                weight.unwrap_or(0),
                self.conf.name
            );
            s.dynamic = weight;
        }
        let now = s.alive();
        let script = if now {
            s.conf.notify_up.clone()
        } else {
            s.conf.notify_down.clone()
        };
        if before != now {
            let vs = &self.conf.name;
            match (now, s.conf.inhibit) {
                (true, false) => info!("Adding service {name} to VS {vs}"),
                (true, true) => info!("Enabling service {name} of VS {vs}"),
                (false, false) => info!("Removing service {name} from VS {vs}"),
                (false, true) => info!("Disabling service {name} of VS {vs}"),
            }
        }
        self.sync(out);
        if before != now {
            out.extend(script.map(Action::Notify));
        }
        self.judge(false, out);
    }

    pub(super) fn withdraw(&self, config: &[&State], flush: bool, out: &mut Vec<Action>) {
        for s in self.messages() {
            for l in &self.laddrs {
                let device = !config.iter().any(|o| o.laddrs.contains(l));
                out.push(Action::Op(Op::LaddrDel {
                    table: ops::laddr(&s, l),
                    device,
                }));
            }
            if !flush {
                for a in self.order() {
                    if let Some(w) = self.installed.get(&a) {
                        out.push(Action::Op(Op::DestDel(s, dest(&s, a, *w))));
                    }
                }
            }
            out.push(Action::Op(Op::ServiceDel(s)));
        }
    }

    /// Takes a changed configuration over, keeping what is known of the servers.
    pub(super) fn reload(&mut self, new: &VirtualServer, config: &Config, out: &mut Vec<Action>) {
        let old_services = self.messages();
        let old_vips = std::mem::take(&mut self.conf.vips);
        let old = Groups {
            laddrs: std::mem::take(&mut self.laddrs),
            deny: std::mem::take(&mut self.deny),
            allow: std::mem::take(&mut self.allow),
        };
        let mut servers = std::mem::take(&mut self.servers);
        self.servers = new
            .servers
            .iter()
            .map(|conf| {
                let known = servers.iter().position(|s| s.conf.addr == conf.addr);
                let known = known.map(|at| servers.swap_remove(at));
                carry_over(conf, known)
            })
            .collect();
        self.conf = new.clone();
        self.groups(config);
        let services = self.messages();
        let order = self.order();
        for (vip, s) in old_vips.iter().zip(&old_services) {
            if !self.conf.vips.contains(vip) {
                for a in &order {
                    if let Some(w) = self.installed.get(a) {
                        out.push(Action::Op(Op::DestDel(*s, dest(s, *a, *w))));
                    }
                }
                out.push(Action::Op(Op::ServiceDel(*s)));
            }
        }
        let mut fresh = Vec::new();
        for (vip, s) in self.conf.vips.iter().zip(&services) {
            match old_vips
                .iter()
                .position(|v| v == vip)
                .and_then(|at| old_services.get(at))
            {
                Some(before) => {
                    if before != s {
                        out.push(Action::Op(Op::ServiceEdit(*s)));
                    }
                    self.reload_groups(&old, s, config, out);
                }
                None => fresh.push(*s),
            }
        }
        // Existing vips get the difference; what is new gets everything after it.
        let all = std::mem::take(&mut self.conf.vips);
        self.conf.vips = all
            .iter()
            .filter(|v| old_vips.contains(v))
            .cloned()
            .collect::<Vec<Vip>>();
        self.sync(out);
        self.judge(false, out);
        self.conf.vips = all;
        for s in &fresh {
            self.program_vip(s, true, out);
        }
    }

    /// Local, deny and allow addresses: removals first, then what is new.
    fn reload_groups(&self, old: &Groups, s: &Service, config: &Config, out: &mut Vec<Action>) {
        for l in old.laddrs.iter().filter(|l| !self.laddrs.contains(l)) {
            // Another group may still need it on the port.
            let device = !config.laddr_groups.iter().any(|g| g.addrs.contains(l));
            out.push(Action::Op(Op::LaddrDel {
                table: ops::laddr(s, l),
                device,
            }));
        }
        let gone = |old: &[ListEntry], new: &[ListEntry]| -> Vec<_> {
            let left = old.iter().filter(|e| !new.contains(e));
            left.filter_map(|e| ops::acl(s, e)).collect()
        };
        out.extend(
            gone(&old.deny, &self.deny)
                .into_iter()
                .map(|a| Action::Op(Op::DenyDel(a))),
        );
        out.extend(
            gone(&old.allow, &self.allow)
                .into_iter()
                .map(|a| Action::Op(Op::AllowDel(a))),
        );
        for l in self.laddrs.iter().filter(|l| !old.laddrs.contains(l)) {
            out.push(Action::Op(Op::LaddrAdd(ops::laddr(s, l))));
        }
        out.extend(
            gone(&self.deny, &old.deny)
                .into_iter()
                .map(|a| Action::Op(Op::DenyAdd(a))),
        );
        out.extend(
            gone(&self.allow, &old.allow)
                .into_iter()
                .map(|a| Action::Op(Op::AllowAdd(a))),
        );
    }
}

struct Groups {
    laddrs: Vec<Laddr>,
    deny: Vec<ListEntry>,
    allow: Vec<ListEntry>,
}

/// A server of the new configuration with the verdicts of the old one, check
/// by equal check. A check that is new starts good, bad with alpha, and bad if
/// the server was down: it has to be seen alive once.
fn carry_over(conf: &RealServer, known: Option<Server>) -> Server {
    let mut s = Server::new(conf);
    let Some(known) = known else { return s };
    let was_down = !known.alive();
    for (at, check) in conf.checks.iter().enumerate() {
        let same = known.conf.checks.iter().position(|c| c == check);
        let failed = match same.and_then(|n| known.failed.get(n)) {
            Some(f) => *f,
            None => was_down,
        };
        if let Some(slot) = s.failed.get_mut(at) {
            *slot = failed;
        }
    }
    s.dynamic = known.dynamic;
    s
}

fn dest(s: &Service, a: SocketAddr, w: Want) -> Dest {
    ops::dest(s, a, w.method, w.weight, w.limits)
}
