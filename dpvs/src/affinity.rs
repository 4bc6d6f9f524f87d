//! How replies of servers find the worker that owns their connection.
//!
//! Three ways, chosen for each port by what its driver can do: flow rules on
//! local address and slice of the port range; local ports matched to the NIC's
//! spreading; and handing over between workers, which needs nothing and always
//! works. Decides for each local address when it is added, and never changes
//! its mind about one: connections depend on it. Knows rules and hashes only
//! through [`Nics`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::rss::{Nic, Returns};

use crate::master::{Affinity, Topology};
use crate::port::{Error, Port, Rule, Spreading, Steer};

/// A way for replies to find their worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One worker has all queues.
    Single,
    /// The NIC is told which ports of a local address go to which queue.
    FlowRules,
    /// Local ports are chosen so that the NIC's hash leads to the worker.
    Rss,
    /// The worker that receives a reply hands it to the owner.
    ///
    /// DIFFERS: always there, not only with `redirect on`, and without DPVS's
    /// table of all connections: a local port says whose it is.
    HandOver,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Single => "single",
            Way::FlowRules => "flow-rules",
            Way::Rss => "rss",
            Way::HandOver => "hand-over",
        })
    }
}

/// What is asked of the ports; tests answer without DPDK.
pub trait Nics {
    /// A rule in force.
    type Rule;
    /// How a port spreads packets.
    ///
    /// # Errors
    /// Why that is not known.
    fn spreading(&self, port: usize) -> Result<Spreading, Error>;
    /// Whether a port would take a rule.
    ///
    /// # Errors
    /// The driver's reason.
    fn can_steer(&self, port: usize, steer: &Steer) -> Result<(), Error>;
    /// Makes a rule.
    ///
    /// # Errors
    /// The driver's reason.
    fn steer(&self, port: usize, steer: &Steer) -> Result<Self::Rule, Error>;
    /// Ends a rule.
    fn unsteer(&self, port: usize, rule: Self::Rule);
}

/// The daemon's ports.
impl Nics for [crate::ports::Device] {
    type Rule = Rule;

    fn spreading(&self, port: usize) -> Result<Spreading, Error> {
        self.find(port)?.spreading()
    }

    fn can_steer(&self, port: usize, steer: &Steer) -> Result<(), Error> {
        self.find(port)?.can_steer(steer)
    }

    fn steer(&self, port: usize, steer: &Steer) -> Result<Rule, Error> {
        self.find(port)?.steer(steer)
    }

    fn unsteer(&self, port: usize, rule: Rule) {
        if let Some(Err(e)) = self.get(port).map(|d| d.port.unsteer(rule)) {
            tracing::debug!("{e}");
        }
    }
}

trait Find {
    fn find(&self, port: usize) -> Result<&Port, Error>;
}

impl Find for [crate::ports::Device] {
    fn find(&self, port: usize) -> Result<&Port, Error> {
        self.get(port)
            .map(|d| &d.port)
            .ok_or_else(|| Error::new("no such port", libc::ENODEV))
    }
}

/// What the configuration says about it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// `sa_pool/flow_enable`: use flow rules where they work.
    pub rules: bool,
    /// `fdir_mode signature`.
    pub fuzzy: bool,
}

/// A port: the way for local addresses added from now on, and why.
#[derive(Debug)]
struct PortWay {
    name: String,
    /// IPv4 and IPv6.
    ways: [Way; 2],
    why: String,
    /// Receive queues of each worker.
    queues: Vec<Vec<u16>>,
}

impl PortWay {
    fn way(&self, addr: IpAddr) -> Way {
        let [v4, v6] = self.ways;
        if addr.is_ipv4() { v4 } else { v6 }
    }

    /// In a word, or in two where the families differ.
    fn text(&self) -> String {
        let [v4, v6] = self.ways;
        if v4 == v6 {
            v4.to_string()
        } else {
            format!("{v4} (IPv6 {v6})")
        }
    }
}

/// A local address: its way, for good, and its rules.
#[derive(Debug)]
struct Laddr<R> {
    port: PortId,
    way: Way,
    rules: Vec<R>,
    wanted: bool,
}

/// The ways of all ports and local addresses.
#[derive(Debug)]
pub struct Ways<R> {
    ports: Vec<PortWay>,
    nics: Vec<Option<Arc<Nic>>>,
    laddrs: BTreeMap<IpAddr, Laddr<R>>,
    returns: Returns,
    fuzzy: bool,
}

/// An address nobody has (RFC 5737, RFC 3849), to ask a driver with.
const SAMPLES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Rules that send the ports of each worker's slice to one of its queues.
fn rules_of(addr: IpAddr, queues: &[Vec<u16>], turn: usize, fuzzy: bool) -> Vec<Steer> {
    let mask = queues.len().next_power_of_two() as u16 - 1;
    let mut rules = Vec::new();
    for (worker, queues) in (0u16..).zip(queues) {
        for tcp in [true, false] {
            let Some(&queue) = queues.get((turn + usize::from(tcp)) % queues.len().max(1)) else {
                continue;
            };
            rules.push(Steer {
                addr,
                tcp,
                port: worker,
                mask,
                queue,
                fuzzy,
            });
        }
    }
    rules
}

impl<R> Ways<R> {
    /// Decides the way of every port and logs it.
    pub fn choose<N: Nics<Rule = R> + ?Sized>(
        nics: &N,
        names: &[String],
        topology: &Topology,
        wish: Wish,
    ) -> Self {
        let mut ways = Self {
            ports: Vec::new(),
            nics: Vec::new(),
            laddrs: BTreeMap::new(),
            returns: Returns::default(),
            fuzzy: wish.fuzzy,
        };
        for (at, name) in names.iter().enumerate() {
            let (nic, port) = choose_port(nics, at, name, topology, wish);
            if port.ways != [Way::Single; 2] {
                tracing::info!(
                    "device {name}: replies find their worker by {}: {}",
                    port.text(),
                    port.why
                );
            }
            ways.nics.push(nic.map(Arc::new));
            ways.ports.push(port);
        }
        ways.returns = Returns::new(ways.nics.clone(), HashMap::new());
        ways
    }

    /// These are the local addresses from now on: makes and removes rules.
    /// Gives what the workers have to know.
    pub fn set<N: Nics<Rule = R> + ?Sized>(
        &mut self,
        nics: &N,
        wanted: &[(PortId, IpAddr)],
    ) -> Returns {
        for laddr in self.laddrs.values_mut() {
            laddr.wanted = false;
        }
        let mut changed = false;
        for (turn, &(port, addr)) in wanted.iter().enumerate() {
            let at = usize::from(port.0);
            let Some(p) = self.ports.get(at) else {
                continue;
            };
            let new = !self.laddrs.contains_key(&addr);
            changed |= new;
            let laddr = self.laddrs.entry(addr).or_insert_with(|| Laddr {
                port,
                way: p.way(addr),
                rules: Vec::new(),
                wanted: true,
            });
            laddr.wanted = true;
            if laddr.way != Way::FlowRules || !laddr.rules.is_empty() && laddr.port == port {
                continue;
            }
            for rule in laddr.rules.drain(..) {
                nics.unsteer(usize::from(laddr.port.0), rule);
            }
            laddr.port = port;
            match install(nics, at, addr, p, turn, self.fuzzy) {
                Ok(rules) => laddr.rules = rules,
                Err(e) => {
                    // Connections of an address that had rules are in slices:
                    // their replies can only be handed over.
                    laddr.way = match self.nics.get(at) {
                        Some(Some(_)) if new => Way::Rss,
                        _ => Way::HandOver,
                    };
                    tracing::warn!(
                        "local address {addr} on {}: replies find their worker by {}, not by flow rules: {e}",
                        p.name,
                        laddr.way
                    );
                }
            }
        }
        for laddr in self.laddrs.values_mut().filter(|l| !l.wanted) {
            for rule in laddr.rules.drain(..) {
                nics.unsteer(usize::from(laddr.port.0), rule);
            }
        }
        if changed {
            let matched = self
                .laddrs
                .iter()
                .filter(|(_, l)| l.way == Way::Rss)
                .map(|(addr, l)| (*addr, l.port))
                .collect();
            self.returns = Returns::new(self.nics.clone(), matched);
        }
        self.returns.clone()
    }

    /// The way of a port, for listings.
    #[must_use]
    pub fn affinity(&self, port: PortId) -> Option<Affinity> {
        let p = self.ports.get(usize::from(port.0))?;
        let here = || {
            self.laddrs
                .iter()
                .filter(|(_, l)| l.port == port && l.wanted)
        };
        let rules: usize = here().map(|(_, l)| l.rules.len()).sum();
        let fallen = here().filter(|(addr, l)| l.way != p.way(**addr)).count();
        let mut why = p.why.clone();
        if fallen > 0 {
            why = format!("{why}; it refused the rules of {fallen} local addresses");
        }
        Some(Affinity {
            way: p.text(),
            why,
            rules: u32::try_from(rules).unwrap_or(u32::MAX),
            workers: u16::try_from(p.queues.iter().filter(|q| !q.is_empty()).count())
                .unwrap_or(u16::MAX),
        })
    }
}

/// All rules of a local address, or none.
fn install<N: Nics + ?Sized>(
    nics: &N,
    at: usize,
    addr: IpAddr,
    port: &PortWay,
    turn: usize,
    fuzzy: bool,
) -> Result<Vec<N::Rule>, Error> {
    let mut made = Vec::new();
    for steer in rules_of(addr, &port.queues, turn, fuzzy) {
        match nics.steer(at, &steer) {
            Ok(rule) => made.push(rule),
            Err(e) => {
                for rule in made {
                    nics.unsteer(at, rule);
                }
                return Err(e);
            }
        }
    }
    Ok(made)
}

/// A port's way, and what is known of its spreading.
fn choose_port<N: Nics + ?Sized>(
    nics: &N,
    at: usize,
    name: &str,
    topology: &Topology,
    wish: Wish,
) -> (Option<Nic>, PortWay) {
    let queues: Vec<Vec<u16>> = topology
        .workers
        .iter()
        .map(|w| {
            let of_port = w.rx.iter().filter(|(p, _)| usize::from(p.0) == at);
            of_port.map(|(_, queue)| *queue).collect()
        })
        .collect();
    let port = |ways, why: String, queues| PortWay {
        name: name.to_owned(),
        ways,
        why,
        queues,
    };
    if queues.len() < 2 {
        let why = "there is one worker".to_owned();
        return (None, port([Way::Single; 2], why, queues));
    }
    if let Some(none) = queues.iter().position(Vec::is_empty) {
        let lcore = topology.workers.get(none).map_or(0, |w| w.lcore);
        let why = format!("the worker on lcore {lcore} has no receive queue of it");
        return (None, port([Way::HandOver; 2], why, queues));
    }
    let nic = matching(nics, at, &queues);
    let refused = SAMPLES.map(|addr| {
        if !wish.rules {
            return Some("flow_enable is off".to_owned());
        }
        rules_of(addr, &queues, 0, wish.fuzzy)
            .iter()
            .find_map(|steer| nics.can_steer(at, steer).err())
            .map(|e| e.to_string())
    });
    let other = if nic.is_ok() { Way::Rss } else { Way::HandOver };
    let ways = refused.each_ref().map(|no| match no {
        None => Way::FlowRules,
        Some(_) => other,
    });
    let rules = match refused {
        [None, None] => "the driver takes flow rules on local address and port".to_owned(),
        [Some(v4), None] => format!("flow rules for IPv6 only: {v4}"),
        [None, Some(v6)] => format!("flow rules for IPv4 only: {v6}"),
        [Some(both), Some(_)] => both,
    };
    let (nic, why) = match nic {
        Ok((nic, what)) => (Some(nic), format!("{rules}; known is its hash of {what}")),
        Err(_) if ways == [Way::FlowRules; 2] => (None, rules),
        Err(e) => (None, format!("{rules}; {e}")),
    };
    (nic, port(ways, why, queues))
}

/// The port's spreading in terms of workers, and what it covers.
fn matching<N: Nics + ?Sized>(
    nics: &N,
    at: usize,
    queues: &[Vec<u16>],
) -> Result<(Nic, String), String> {
    let spreading = nics.spreading(at).map_err(|e| e.to_string())?;
    let worker_of = |queue: u16| {
        let n = queues.iter().position(|q| q.contains(&queue))?;
        u8::try_from(n).ok().map(WorkerId)
    };
    let table: Vec<_> = spreading.table.iter().map(|q| worker_of(*q)).collect();
    let hashed = spreading.hashed;
    let workers = u8::try_from(queues.len()).unwrap_or(u8::MAX);
    let nic = Nic::new(&spreading.key, hashed, &table, worker_of(0), workers)
        .map_err(|unfit| unfit.to_string())?;
    let covered: Vec<&str> = [
        (hashed.tcp[0], "TCP/IPv4"),
        (hashed.tcp[1], "TCP/IPv6"),
        (hashed.udp[0], "UDP/IPv4"),
        (hashed.udp[1], "UDP/IPv6"),
    ]
    .iter()
    .filter(|(on, _)| *on)
    .map(|(_, text)| *text)
    .collect();
    Ok((nic, covered.join(", ")))
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
