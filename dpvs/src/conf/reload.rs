//! What a reload takes from a changed dpvs.conf.
//!
//! Normal keywords take their new value, or their default when they are gone;
//! sticky ones keep the old value when they are gone; init keywords keep the
//! old value always, and the changed ones are named.

use super::model::Conf;
use super::parse::Parsed;
use super::schema::{Class, Draft, Keyword, Kind, ROOT};

/// Result of comparing the running configuration with a newly read one.
#[derive(Clone, Debug)]
pub struct Reload {
    /// What holds from now on.
    pub conf: Conf,
    /// Keywords that took a new value: path, old value, new value.
    pub applied: Vec<(String, String, String)>,
    /// Changed keywords that need a restart, by path.
    pub needs_restart: Vec<String>,
}

/// Merges `new` into the running `old`.
pub fn reload(old: &Conf, new: &Parsed) -> Reload {
    let mut merge = Merge {
        old: Draft::new(old.clone()),
        new: Draft::new(new.conf.clone()),
        out: Draft::new(new.conf.clone()),
        given: &new.given,
        applied: Vec::new(),
        needs_restart: Vec::new(),
    };
    merge.block(ROOT, &mut Vec::new());
    merge.labelled();
    let mut conf = merge.out.conf;
    conf.netif.devices.clone_from(&old.netif.devices);
    conf.netif.bonds.clone_from(&old.netif.bonds);
    conf.workers.clone_from(&old.workers);
    Reload {
        conf,
        applied: merge.applied,
        needs_restart: merge.needs_restart,
    }
}

struct Merge<'a> {
    old: Draft,
    new: Draft,
    out: Draft,
    given: &'a std::collections::BTreeSet<String>,
    applied: Vec<(String, String, String)>,
    needs_restart: Vec<String>,
}

impl Merge<'_> {
    fn block(&mut self, keys: &'static [Keyword], path: &mut Vec<&'static str>) {
        for key in keys {
            path.push(key.name);
            match &key.kind {
                Kind::Block { label: None, keys } => self.block(keys, path),
                Kind::Block { .. } => {}
                _ => self.scalar(key, &path.join("/")),
            }
            path.pop();
        }
    }

    fn scalar(&mut self, key: &'static Keyword, path: &str) {
        let (was, is) = (key.show(&mut self.old), key.show(&mut self.new));
        if was == is {
            return;
        }
        let keep = match key.class {
            Class::Init => {
                self.needs_restart.push(path.to_owned());
                true
            }
            Class::Sticky => !self.given.contains(path),
            Class::Normal => false,
        };
        if !keep {
            self.applied.push((path.to_owned(), was, is));
            return;
        }
        match &key.kind {
            Kind::Number { at, .. } => *at(&mut self.out) = *at(&mut self.old),
            Kind::Switch(at) | Kind::Flag(at) => *at(&mut self.out) = *at(&mut self.old),
            Kind::Word { get, set, .. } => set(&mut self.out, get(&self.old)),
            Kind::Text { at, .. } => *at(&mut self.out) = at(&mut self.old).clone(),
            // Lists stand in labelled blocks only, which are kept whole.
            Kind::List { .. } | Kind::Block { .. } => {}
        }
    }

    /// Devices, bonds and workers: compared keyword by keyword, never applied.
    fn labelled(&mut self) {
        let devices = (
            self.old.conf.netif.devices.clone(),
            self.new.conf.netif.devices.clone(),
        );
        self.each(
            "netif_defs",
            "device",
            devices.0,
            devices.1,
            |d| d.name.clone(),
            |d, x| d.device = x,
        );
        let bonds = (
            self.old.conf.netif.bonds.clone(),
            self.new.conf.netif.bonds.clone(),
        );
        self.each(
            "netif_defs",
            "bonding",
            bonds.0,
            bonds.1,
            |b| b.name.clone(),
            |d, x| d.bond = x,
        );
        let workers = (self.old.conf.workers.clone(), self.new.conf.workers.clone());
        for (was, is) in workers.0.iter().filter_map(|w| {
            workers
                .1
                .iter()
                .find(|n| n.name == w.name && n.ports != w.ports)
                .map(|n| (w, n))
        }) {
            let path = format!("worker_defs/worker {}", was.name);
            self.needs_restart.extend(
                was.ports
                    .iter()
                    .filter(|p| is.ports.iter().all(|q| q != *p))
                    .chain(
                        is.ports
                            .iter()
                            .filter(|p| was.ports.iter().all(|q| q.name != p.name)),
                    )
                    .map(|p| format!("{path}/port {}", p.name)),
            );
        }
        self.each(
            "worker_defs",
            "worker",
            workers.0,
            workers.1,
            |w| w.name.clone(),
            |d, x| d.worker = x,
        );
    }

    fn each<T: Clone>(
        &mut self,
        parent: &str,
        block: &str,
        old: Vec<T>,
        new: Vec<T>,
        name: fn(&T) -> String,
        put: fn(&mut Draft, T),
    ) {
        let order = |list: &[T]| list.iter().map(name).collect::<Vec<_>>();
        if order(&old) != order(&new) {
            self.needs_restart.push(format!("{parent}/{block}"));
        }
        let keys = ROOT
            .iter()
            .find(|k| k.name == parent)
            .and_then(|k| k.keys().iter().find(|k| k.name == block))
            .map_or(&[][..], Keyword::keys);
        for was in old {
            if let Some(is) = new.iter().find(|n| name(n) == name(&was)) {
                let path = format!("{parent}/{block} {}", name(&was));
                put(&mut self.old, was);
                put(&mut self.new, is.clone());
                self.inside(keys, &path);
            }
        }
    }

    fn inside(&mut self, keys: &'static [Keyword], path: &str) {
        for key in keys {
            let path = format!("{path}/{}", key.name);
            if matches!(key.kind, Kind::Block { label: None, .. }) {
                self.inside(key.keys(), &path);
            } else if key.show(&mut self.old) != key.show(&mut self.new) {
                self.needs_restart.push(path);
            }
        }
    }
}
