//! Which lcore polls which queue of which port, checked.
//!
//! Takes the device, bond and worker blocks; gives port and worker lists by
//! index, or every inconsistency with the number DPVS gives it. Whether the
//! lcores and ports exist in DPDK is known only later.

use std::collections::BTreeMap;
use std::fmt;

use super::model::{Conf, WorkerDef, WorkerType};

/// A port and the queues the workers use on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Device or bond name.
    pub name: String,
    /// Receive queues to set up.
    pub rx_queues: u16,
    /// Transmit queues to set up.
    pub tx_queues: u16,
}

/// A forwarding or host-port lcore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPlan {
    /// Label of its block.
    pub name: String,
    /// EAL lcore id.
    pub lcore: u32,
    /// Receive queues as (index into [`Plan::ports`], queue id).
    pub rx: Vec<(usize, u16)>,
    /// Transmit queues as (index into [`Plan::ports`], queue id).
    pub tx: Vec<(usize, u16)>,
    /// Receive queues that other lcores poll for it.
    pub isolated: Vec<Isolated>,
}

/// A receive queue that an lcore polls for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolated {
    /// Index into [`Plan::ports`], and queue id.
    pub queue: (usize, u16),
    /// EAL lcore id.
    pub lcore: u32,
    /// Entries of the ring between.
    pub ring: u32,
}

/// The checked mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Devices in file order (the n-th is DPDK port n), then bonds.
    pub ports: Vec<PortPlan>,
    /// EAL id of the master lcore, if a master worker says so.
    pub master: Option<u32>,
    /// Lcore of the host ports, if a kni worker exists.
    pub kni: Option<WorkerPlan>,
    /// Forwarding workers by lcore id.
    pub workers: Vec<WorkerPlan>,
    /// Things worth saying that stop nothing.
    pub warnings: Vec<String>,
}

/// An inconsistency between workers, queues and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// -2 to -7 as DPVS numbers them; -1 for what it does not check.
    pub code: i32,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker_defs: {} ({})", self.message, self.code)
    }
}

impl std::error::Error for PlanError {}

/// Checks the worker blocks against the devices.
pub fn plan(conf: &Conf) -> Result<Plan, Vec<PlanError>> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut fail = |code, message: String| errors.push(PlanError { code, message });

    let mut ports: Vec<PortPlan> = conf
        .netif
        .devices
        .iter()
        .map(|d| &d.name)
        .chain(conf.netif.bonds.iter().map(|b| &b.name))
        .map(|name| PortPlan {
            name: name.clone(),
            rx_queues: 0,
            tx_queues: 0,
        })
        .collect();
    let index: BTreeMap<String, usize> = ports
        .iter()
        .enumerate()
        .map(|(n, p)| (p.name.clone(), n))
        .collect();
    let slave_of = |name: &str| {
        conf.netif
            .bonds
            .iter()
            .find(|b| b.slaves.iter().any(|s| s == name))
    };

    for bond in conf.netif.bonds.iter().filter(|b| b.slaves.is_empty()) {
        fail(
            -1,
            format!(
                "bond `{}` has no slave; add `slave DEVICE` lines",
                bond.name
            ),
        );
    }

    for bond in conf.netif.bonds.iter().filter(|b| !b.slaves.is_empty()) {
        let stranger = bond.primary.as_ref();
        if let Some(name) = stranger.filter(|name| !bond.slaves.contains(name)) {
            fail(
                -1,
                format!(
                    "bond `{}` has the primary `{name}`, which is none of its slaves ({}); name one of them",
                    bond.name,
                    bond.slaves.join(" ")
                ),
            );
        }
    }

    let mut by_lcore: BTreeMap<u32, &WorkerDef> = BTreeMap::new();
    for worker in &conf.workers {
        if let Some(other) = by_lcore.insert(worker.cpu, worker) {
            fail(
                -1,
                format!(
                    "workers `{}` and `{}` both have cpu_id {}; give each worker a lcore of its own",
                    other.name, worker.name, worker.cpu
                ),
            );
        }
    }
    for kind in [WorkerType::Master, WorkerType::Kni] {
        let names: Vec<_> = conf
            .workers
            .iter()
            .filter(|w| w.kind == kind)
            .map(|w| w.name.as_str())
            .collect();
        if names.len() > 1 {
            fail(
                -1,
                format!(
                    "workers {} have the same type; at most one may be of it",
                    names.join(", ")
                ),
            );
        }
    }

    // Queue owners: (port, queue) -> worker.
    let mut owners: [BTreeMap<(usize, u32), &str>; 2] = [BTreeMap::new(), BTreeMap::new()];
    let mut lists: BTreeMap<u32, WorkerPlan> = BTreeMap::new();
    for worker in &conf.workers {
        let mut made = WorkerPlan {
            name: worker.name.clone(),
            lcore: worker.cpu,
            rx: vec![],
            tx: vec![],
            isolated: vec![],
        };
        for port in &worker.ports {
            let Some(&at) = index.get(&port.name) else {
                fail(
                    -5,
                    format!(
                        "worker `{}` uses port `{}`, which no device or bonding block declares",
                        worker.name, port.name
                    ),
                );
                continue;
            };
            if let Some(bond) = slave_of(&port.name) {
                fail(
                    -5,
                    format!(
                        "worker `{}` uses port `{}`, a slave of bond `{}`; use the bond",
                        worker.name, port.name, bond.name
                    ),
                );
            }
            if worker.kind == WorkerType::Master && !(port.rx.is_empty() && port.tx.is_empty()) {
                warnings.push(format!(
                    "worker `{}` is the master and polls no queue; its port `{}` is ignored",
                    worker.name, port.name
                ));
                continue;
            }
            if worker.kind == WorkerType::Slave && port.tx.is_empty() {
                fail(
                    -6,
                    format!(
                        "worker `{}` has no transmit queue on port `{}`; add `tx_queue_ids`",
                        worker.name, port.name
                    ),
                );
            }
            for (dir, word, ids, into) in [
                (0, "rx", &port.rx, &mut made.rx),
                (1, "tx", &port.tx, &mut made.tx),
            ] {
                for &id in ids {
                    let owner = owners
                        .get_mut(dir)
                        .and_then(|o| o.insert((at, id), &worker.name));
                    if let Some(owner) = owner {
                        fail(
                            -2 - i32::from(dir == 1),
                            format!(
                                "{word} queue {id} of port `{}` belongs to worker `{owner}` and to worker `{}`",
                                port.name, worker.name
                            ),
                        );
                    }
                    into.push((at, u16::try_from(id).unwrap_or(u16::MAX)));
                }
            }
        }
        for port in worker
            .ports
            .iter()
            .filter(|_| worker.kind == WorkerType::Slave)
        {
            let Some(&at) = index.get(&port.name) else {
                continue;
            };
            // The i-th lcore is for the i-th queue.
            for (&id, lcore) in port.rx.iter().zip(&port.isol_rx) {
                let Some(lcore) = *lcore else { continue };
                if conf.workers.iter().any(|w| w.cpu == lcore) {
                    fail(
                        -1,
                        format!(
                            "worker `{}`: isol_rx_cpu_ids of port `{}` names lcore {lcore}, which is a worker's own",
                            worker.name, port.name
                        ),
                    );
                }
                made.isolated.push(Isolated {
                    queue: (at, u16::try_from(id).unwrap_or(u16::MAX)),
                    lcore,
                    ring: port.isol_ring,
                });
            }
        }
        lists.insert(worker.cpu, made);
    }

    for (dir, word) in [(0, "rx"), (1, "tx")] {
        for (at, port) in ports.iter_mut().enumerate() {
            let Some(owned) = owners.get(dir) else {
                continue;
            };
            let ids: Vec<u32> = owned
                .range((at, 0)..(at + 1, 0))
                .map(|((_, id), _)| *id)
                .collect();
            if let Some((want, have)) = (0u32..).zip(&ids).find(|(want, have)| want != *have) {
                fail(
                    -4,
                    format!(
                        "{word} queues of port `{}` are not numbered from 0 without gaps: queue {have} is used, \
                     queue {want} is not",
                        port.name
                    ),
                );
            }
            let count = u16::try_from(ids.len()).unwrap_or(u16::MAX);
            if dir == 0 {
                port.rx_queues = count;
            } else {
                port.tx_queues = count;
            }
            let declared = conf
                .netif
                .devices
                .get(at)
                .and_then(|d| if dir == 0 { d.rx_queues } else { d.tx_queues });
            if let Some(declared) = declared
                && u32::from(count) > declared
            {
                warnings.push(format!(
                    "port `{}`: workers use {count} {word} queues, queue_number says {declared}; {count} are set up",
                    port.name
                ));
            }
        }
    }

    let slaves: Vec<&WorkerDef> = by_lcore
        .values()
        .copied()
        .filter(|w| w.kind == WorkerType::Slave)
        .collect();
    match slaves.split_first() {
        None => fail(
            -7,
            "no worker of type slave; nothing would forward packets".into(),
        ),
        Some((model, others)) => {
            let set = |w: &WorkerDef| {
                let mut names: Vec<String> = w.ports.iter().map(|p| p.name.clone()).collect();
                names.sort();
                names
            };
            for other in others.iter().filter(|o| set(o) != set(model)) {
                fail(
                    -6,
                    format!(
                        "workers `{}` and `{}` list different ports ({} and {}); every forwarding worker needs \
                     queues on the same ports",
                        model.name,
                        other.name,
                        set(model).join(" "),
                        set(other).join(" ")
                    ),
                );
            }
            for device in conf
                .netif
                .devices
                .iter()
                .filter(|d| slave_of(&d.name).is_none())
            {
                if !set(model).contains(&device.name) {
                    warnings.push(format!("device `{}` is used by no worker", device.name));
                }
            }
        }
    }

    if !errors.is_empty() {
        return Err(errors);
    }
    let of = |kind: WorkerType| {
        by_lcore
            .values()
            .filter(move |w| w.kind == kind)
            .filter_map(|w| lists.get(&w.cpu).cloned())
    };
    Ok(Plan {
        master: of(WorkerType::Master).next().map(|w| w.lcore),
        kni: of(WorkerType::Kni).next(),
        workers: of(WorkerType::Slave).collect(),
        ports,
        warnings,
    })
}
