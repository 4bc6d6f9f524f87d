//! Queue schedulers and classifiers of the devices.
//!
//! A scheduler is on the sending or the receiving side by where its line of
//! parents ends. Checked whole before anything counts; what is published is made
//! anew when something changed, since there are few.

use std::collections::BTreeMap;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::ipset::SetId;
use dpvs_core::tc::{Cls, INGRESS, Qsch, QschKind, ROOT, Rule, Side, Target, Tc};
use dpvs_core::tokens::Tokens;
use dpvs_ctl::Name;
use dpvs_ctl::msg::{TcCls, TcClsMatch};
use dpvs_ctl::types::Blob;

use super::service::NO_DEVICE;
use crate::master::error::{Fault, Result};

/// First handle the daemon gives by itself, and the way to the next.
const AUTO: u32 = 0x8001_0000;
const AUTO_STEP: u32 = 0x1_0000;
/// Most schedulers, and most classifiers, of a device.
const MOST: usize = 256;

/// A scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Sched {
    pub(crate) handle: u32,
    pub(crate) parent: u32,
    pub(crate) kind: QschKind,
    pub(crate) uid: u64,
    /// What all workers take of its rates; full when these change.
    tokens: Arc<[Tokens; 2]>,
}

/// A classifier.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    /// As it was asked for, with its handle.
    pub(crate) asked: TcCls,
    pub(crate) rule: Rule,
    pub(crate) target: Target,
}

impl Class {
    fn set(&self) -> Option<SetId> {
        match self.rule {
            Rule::Set { id, .. } => Some(id),
            Rule::Match { .. } => None,
        }
    }
}

/// Of one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortTc {
    pub(crate) scheds: Vec<Sched>,
    /// Higher priorities first.
    pub(crate) classes: Vec<Class>,
    /// Switched on, by [`Side`].
    pub(crate) on: [bool; 2],
}

impl PortTc {
    pub(crate) fn sched(&self, handle: u32) -> Option<&Sched> {
        self.scheds.iter().find(|s| s.handle == handle)
    }

    /// The side a scheduler is on.
    pub(crate) fn side(&self, handle: u32) -> Option<Side> {
        let mut at = handle;
        for _ in 0..=self.scheds.len() {
            match at {
                ROOT => return Some(Side::Egress),
                INGRESS => return Some(Side::Ingress),
                _ => at = self.sched(at)?.parent,
            }
        }
        None
    }

    fn auto(&self, taken: impl Fn(u32) -> bool) -> Result<u32> {
        (0..MOST as u32)
            .map(|n| AUTO + n * AUTO_STEP)
            .find(|h| !taken(*h))
            .ok_or(Fault::NoRoom)
    }

    fn published(&self, side: Side) -> Arc<[Qsch]> {
        if !self.on[side as usize] {
            return Arc::default();
        }
        self.scheds
            .iter()
            .filter(|s| self.side(s.handle) == Some(side))
            .map(|s| Qsch {
                handle: s.handle,
                uid: s.uid,
                kind: s.kind,
                tokens: Arc::clone(&s.tokens),
                classes: self
                    .classes
                    .iter()
                    .filter(|c| c.asked.sch_id == s.handle)
                    .map(|c| Cls {
                        ethertype: c.asked.pkt_type.get(),
                        rule: c.rule.clone(),
                        target: c.target,
                    })
                    .collect(),
            })
            .collect()
    }
}

/// Of all devices.
#[derive(Debug, Default)]
pub(crate) struct Tcs {
    ports: BTreeMap<PortId, PortTc>,
    uids: u64,
    changed: bool,
}

impl Tcs {
    pub(crate) fn port(&self, port: PortId) -> Option<&PortTc> {
        self.ports.get(&port)
    }

    fn edit(&mut self, port: PortId) -> &mut PortTc {
        self.changed = true;
        self.ports.entry(port).or_default()
    }

    /// Switches a side of a device on or off.
    pub(crate) fn switch(&mut self, port: PortId, side: Side, on: bool) {
        self.edit(port).on[side as usize] = on;
    }

    pub(crate) fn add(
        &mut self,
        port: PortId,
        handle: u32,
        parent: u32,
        kind: QschKind,
    ) -> Result<()> {
        let empty = PortTc::default();
        let have = self.ports.get(&port).unwrap_or(&empty);
        if have.scheds.len() >= MOST {
            return Err(Fault::NoRoom);
        }
        let top = matches!(handle, ROOT | INGRESS);
        let handle = match handle {
            0 => have.auto(|h| have.sched(h).is_some())?,
            h => h,
        };
        if have.sched(handle).is_some() {
            return Err(Fault::Exists);
        }
        let parent = if top { 0 } else { parent };
        if !top && have.sched(parent).is_none() {
            return Err(Fault::Missing);
        }
        self.uids += 1;
        let uid = self.uids;
        self.edit(port).scheds.push(Sched {
            handle,
            parent,
            kind,
            uid,
            tokens: Arc::default(),
        });
        Ok(())
    }

    /// Changes a scheduler's parameters; with `replace` its kind and parent too.
    pub(crate) fn change(
        &mut self,
        port: PortId,
        handle: u32,
        parent: u32,
        kind: QschKind,
        replace: bool,
    ) -> Result<()> {
        let have = self.ports.get(&port).ok_or(Fault::Missing)?;
        let old = have.sched(handle).ok_or(Fault::Missing)?;
        let same = std::mem::discriminant(&old.kind) == std::mem::discriminant(&kind);
        if !same && !replace {
            return Err(Fault::Invalid("another kind of scheduler"));
        }
        let moved = replace && parent != 0 && parent != old.parent;
        if moved {
            let mut next = have.clone();
            if let Some(s) = next.scheds.iter_mut().find(|s| s.handle == handle) {
                s.parent = parent;
            }
            if matches!(handle, ROOT | INGRESS) || next.side(handle).is_none() {
                return Err(Fault::Missing);
            }
        }
        self.uids += 1;
        let uid = self.uids;
        if let Some(s) = self
            .edit(port)
            .scheds
            .iter_mut()
            .find(|s| s.handle == handle)
        {
            if s.kind != kind {
                s.tokens = Arc::default();
            }
            s.kind = kind;
            if moved {
                s.parent = parent;
            }
            if !same {
                s.uid = uid;
            }
        }
        Ok(())
    }

    /// Removes a scheduler, its children and their classifiers. Returns the sets
    /// these named.
    pub(crate) fn del(&mut self, port: PortId, handle: u32) -> Result<Vec<SetId>> {
        let have = self.ports.get(&port).ok_or(Fault::Missing)?;
        have.sched(handle).ok_or(Fault::Missing)?;
        let mut gone = vec![handle];
        let mut at = 0;
        while let Some(parent) = gone.get(at).copied() {
            let children = have.scheds.iter().filter(|s| s.parent == parent);
            gone.extend(children.map(|s| s.handle));
            at += 1;
        }
        let port = self.edit(port);
        port.scheds.retain(|s| !gone.contains(&s.handle));
        let (out, kept) = std::mem::take(&mut port.classes)
            .into_iter()
            .partition(|c| gone.contains(&c.asked.sch_id));
        port.classes = kept;
        let out: Vec<Class> = out;
        Ok(out.iter().filter_map(Class::set).collect())
    }

    /// Adds a classifier.
    pub(crate) fn add_class(&mut self, port: PortId, mut class: Class) -> Result<()> {
        let have = self.ports.get(&port).ok_or(Fault::Missing)?;
        have.sched(class.asked.sch_id).ok_or(Fault::Missing)?;
        if have.classes.len() >= MOST {
            return Err(Fault::NoRoom);
        }
        let taken = |h| have.classes.iter().any(|c| c.asked.handle == h);
        if class.asked.handle == 0 {
            class.asked.handle = have.auto(taken)?;
        } else if taken(class.asked.handle) {
            return Err(Fault::Exists);
        }
        self.put_class(port, class);
        Ok(())
    }

    /// Puts a classifier in the place of the one with its handle. Returns the set
    /// the old one named.
    pub(crate) fn change_class(&mut self, port: PortId, class: Class) -> Result<Option<SetId>> {
        let have = self.ports.get(&port).ok_or(Fault::Missing)?;
        have.sched(class.asked.sch_id).ok_or(Fault::Missing)?;
        let old = self.del_class(port, class.asked.handle)?;
        self.put_class(port, class);
        Ok(old)
    }

    fn put_class(&mut self, port: PortId, class: Class) {
        let classes = &mut self.edit(port).classes;
        let first = |c: &Class| c.asked.priority >= class.asked.priority;
        let at = classes.iter().take_while(|c| first(c)).count();
        classes.insert(at, class);
    }

    /// Removes a classifier. Returns the set it named.
    pub(crate) fn del_class(&mut self, port: PortId, handle: u32) -> Result<Option<SetId>> {
        let have = self.ports.get(&port).ok_or(Fault::Missing)?;
        let at = have.classes.iter().position(|c| c.asked.handle == handle);
        let at = at.ok_or(Fault::Missing)?;
        let gone = self.edit(port).classes.remove(at);
        Ok(gone.set())
    }

    /// A device is gone, and its schedulers with it. Returns the sets their classifiers
    /// named.
    pub(crate) fn forget(&mut self, port: PortId) -> Vec<SetId> {
        let Some(gone) = self.ports.remove(&port) else {
            return Vec::new();
        };
        self.changed = true;
        gone.classes.iter().filter_map(Class::set).collect()
    }

    /// Devices came or went: patterns name them. One that is not there is no packet's.
    pub(crate) fn resolve(&mut self, find: impl Fn(&Name<16>) -> Option<PortId>) {
        let number = |name: &Name<16>| (!name.is_empty()).then(|| find(name).unwrap_or(NO_DEVICE));
        for class in self.ports.values_mut().flat_map(|tc| &mut tc.classes) {
            let Rule::Match { iif, oif, .. } = &mut class.rule else {
                continue;
            };
            let asked: TcClsMatch = class.asked.copt.read();
            let now = (
                number(&asked.matched.iifname),
                number(&asked.matched.oifname),
            );
            if (*iif, *oif) != now {
                (*iif, *oif) = now;
                self.changed = true;
            }
        }
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// What the workers are to get, if it changed.
    pub(crate) fn take_changes(&mut self) -> Option<Tc> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut ports: Vec<[Arc<[Qsch]>; 2]> = Vec::new();
        for (port, tc) in &self.ports {
            let at = usize::from(port.0);
            if at >= ports.len() {
                ports.resize(at + 1, [Arc::default(), Arc::default()]);
            }
            ports[at] = [Side::Egress, Side::Ingress].map(|side| tc.published(side));
        }
        Some(Tc { ports })
    }
}

/// A kind's parameters as they are listed.
pub(crate) fn options(kind: QschKind) -> (&'static str, Blob<36>) {
    use dpvs_ctl::msg::{FifoOpt, PrioOpt, TbfOpt, TbfRate};
    match kind {
        QschKind::Pfifo { limit } => ("pfifo", Blob::of(&FifoOpt { limit })),
        QschKind::Bfifo { limit } => ("bfifo", Blob::of(&FifoOpt { limit })),
        QschKind::PfifoFast { .. } => (
            "pfifo_fast",
            Blob::of(&PrioOpt {
                bands: 3,
                priomap: [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
            }),
        ),
        QschKind::Tbf {
            rate,
            burst,
            peak,
            mtu,
            limit,
        } => {
            let bits = |rate| TbfRate {
                rate,
                ..TbfRate::default()
            };
            (
                "tbf",
                Blob::of(&TbfOpt {
                    rate: bits(rate),
                    peakrate: bits(peak),
                    limit,
                    buffer: burst,
                    mtu,
                }),
            )
        }
    }
}
