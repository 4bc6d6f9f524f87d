//! Traffic control (ids 84 to 88): queue schedulers and classifiers.

use std::net::IpAddr;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::message::{Query, Reply};
use dpvs_core::tc::{INGRESS, QschKind, QschStats, Range, Rule, Target};
use dpvs_ctl::msg::{
    AddrRange, FifoOpt, QstatBytes, QstatQueue, TbfOpt, TcCls, TcClsIpset, TcClsMatch, TcClsResult,
    TcConf, TcQsch, tc_obj, tc_op,
};
use dpvs_ctl::types::Blob;
use dpvs_ctl::{Af, Name, id};

use super::{Answer, Gather, Part, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::tc::{Class, PortTc, options};

/// Frames of a queue where none are asked for.
const LIMIT: u32 = 1024;

/// What a scheduler is asked to do.
fn kind(asked: &TcQsch, mtu: u16) -> Result<QschKind> {
    let fifo: FifoOpt = asked.qopt.read();
    let or = |limit: u32, default| if limit > 0 { limit } else { default };
    Ok(match asked.kind.text().as_ref() {
        "pfifo" => QschKind::Pfifo {
            limit: or(fifo.limit, LIMIT),
        },
        "bfifo" => QschKind::Bfifo {
            limit: or(fifo.limit, LIMIT * (u32::from(mtu) + 14)),
        },
        "pfifo_fast" => QschKind::PfifoFast { limit: LIMIT },
        "tbf" => {
            let o: TbfOpt = asked.qopt.read();
            if o.rate.rate == 0 || o.buffer == 0 || o.limit == 0 {
                return Err(Fault::Invalid("rate, burst and limit of a token bucket"));
            }
            if o.peakrate.rate > 0 && o.peakrate.rate <= o.rate.rate {
                return Err(Fault::Invalid("peak rate not above the rate"));
            }
            QschKind::Tbf {
                rate: o.rate.rate,
                burst: o.buffer,
                peak: o.peakrate.rate,
                mtu: o.mtu,
                limit: o.limit,
            }
        }
        _ => return Err(Fault::Unsupported("no such kind of scheduler")),
    })
}

/// Addresses and ports a pattern names.
fn range(asked: &AddrRange, af: Af) -> Result<Range> {
    let wrong = || Fault::Invalid("addresses of a pattern");
    let addr = |a: dpvs_ctl::Ip16| a.to_ip(af).filter(|ip| !ip.is_unspecified());
    let addrs = match (addr(asked.min_addr), addr(asked.max_addr)) {
        (None, None) => None,
        (Some(a), None) => Some((a, a)),
        (a, Some(b)) => {
            let zero = match b {
                IpAddr::V4(_) => IpAddr::from([0; 4]),
                IpAddr::V6(_) => IpAddr::from([0; 16]),
            };
            Some((a.unwrap_or(zero), b))
        }
    };
    if addrs.is_some_and(|(a, b)| a > b) {
        return Err(wrong());
    }
    let ports = match (asked.min_port.get(), asked.max_port.get()) {
        (0, 0) => None,
        (a, 0) => Some((a, a)),
        (a, b) if a <= b => Some((a, b)),
        _ => return Err(Fault::Invalid("ports of a pattern")),
    };
    Ok(Range { addrs, ports })
}

/// Fills in the last address and port that clients leave out for a single one.
fn close(range: &mut AddrRange) {
    if range.max_addr == dpvs_ctl::Ip16::ANY {
        range.max_addr = range.min_addr;
    }
    if range.max_port.get() == 0 {
        range.max_port = range.min_port;
    }
}

fn target(result: &TcClsResult) -> Target {
    if result.drop != 0 {
        Target::Drop
    } else {
        Target::Qsch(result.sch_id)
    }
}

impl Master {
    fn tc_port(&self, conf: &TcConf) -> Result<PortId> {
        let found = self.state.links.find(conf.ifname.bytes());
        found.ok_or(Fault::NoDevice)
    }

    fn device(&self, name: &Name<16>) -> Result<Option<PortId>> {
        if name.is_empty() {
            return Ok(None);
        }
        let port = self.state.links.find(name.bytes());
        port.map(Some).ok_or(Fault::NoDevice)
    }

    pub(super) fn tc_set(&mut self, id: u32, body: &[u8]) -> Result<Answer> {
        let conf: TcConf = prefix(body)?;
        let port = self.tc_port(&conf)?;
        match conf.obj {
            tc_obj::QSCH => self.qsch_set(id, port, &conf.param.read())?,
            tc_obj::CLS => self.cls_set(id, port, &conf.param.read())?,
            _ => return Err(Fault::Unsupported("neither scheduler nor classifier")),
        }
        Ok(Answer::Done)
    }

    fn qsch_set(&mut self, id: u32, port: PortId, asked: &TcQsch) -> Result<()> {
        let mtu = self.state.links.get(port).map_or(1500, |l| l.mtu);
        let (handle, parent) = (asked.handle, asked.parent);
        let links = &self.state.links;
        if links.tunnel(port).is_some() || handle == INGRESS && links.tag(port).is_some() {
            // What a VLAN device receives its port's scheduler has had.
            return Err(Fault::Unsupported(
                "no frames of such a device are scheduled",
            ));
        }
        let tcs = &mut self.state.tcs;
        match id {
            id::TC_ADD => tcs.add(port, handle, parent, kind(asked, mtu)?),
            id::TC_DEL => {
                let sets = tcs.del(port, handle)?;
                for set in sets {
                    self.state.guards.sets.used(set, -1);
                }
                Ok(())
            }
            _ => {
                let known = tcs.port(port).is_some_and(|p| p.sched(handle).is_some());
                if !known {
                    return Err(Fault::Missing);
                }
                let kind = kind(asked, mtu)?;
                tcs.change(port, handle, parent, kind, id == id::TC_REPLACE)
            }
        }
    }

    fn cls_set(&mut self, id: u32, port: PortId, asked: &TcCls) -> Result<()> {
        if id == id::TC_DEL {
            let set = self.state.tcs.del_class(port, asked.handle)?;
            self.unused(set);
            return Ok(());
        }
        let class = self.class(asked)?;
        let set = match class.rule {
            Rule::Set { id, .. } => Some(id),
            Rule::Match { .. } => None,
        };
        if id == id::TC_ADD {
            self.state.tcs.add_class(port, class)?;
        } else {
            let old = self.state.tcs.change_class(port, class)?;
            self.unused(old);
        }
        if let Some(set) = set {
            self.state.guards.sets.used(set, 1);
        }
        Ok(())
    }

    fn unused(&mut self, set: Option<dpvs_core::ipset::SetId>) {
        if let Some(set) = set {
            self.state.guards.sets.used(set, -1);
        }
    }

    fn class(&self, asked: &TcCls) -> Result<Class> {
        let mut asked = *asked;
        let (rule, result) = match asked.kind.text().as_ref() {
            "match" => {
                let mut m: TcClsMatch = asked.copt.read();
                let af = match m.matched.af {
                    // Patterns without addresses have no family.
                    Af::UNSPEC => Af::INET,
                    af => af,
                };
                let rule = Rule::Match {
                    proto: m.proto,
                    src: range(&m.matched.srange, af)?,
                    dst: range(&m.matched.drange, af)?,
                    iif: self.device(&m.matched.iifname)?,
                    oif: self.device(&m.matched.oifname)?,
                };
                // Listed as understood: one address from itself to itself.
                for range in [&mut m.matched.srange, &mut m.matched.drange] {
                    close(range);
                }
                asked.copt = Blob::of(&m);
                (rule, m.result)
            }
            "ipset" => {
                let s: TcClsIpset = asked.copt.read();
                let set = self.state.guards.sets.get(&s.setname);
                let rule = Rule::Set {
                    id: set.ok_or(Fault::Missing)?.id,
                    destination: s.dst_match != 0,
                };
                (rule, s.result)
            }
            _ => return Err(Fault::Unsupported("no such kind of classifier")),
        };
        Ok(Class {
            asked,
            rule,
            target: target(&result),
        })
    }

    pub(super) fn tc_show(&mut self, body: &[u8]) -> Result<Answer> {
        let conf: TcConf = prefix(body)?;
        let port = self.tc_port(&conf)?;
        let Some(tc) = self.state.tcs.port(port).filter(|t| !t.scheds.is_empty()) else {
            return Ok(Answer::Body(Vec::new()));
        };
        let verbose = conf.op_flags & tc_op::VERBOSE != 0;
        let stats = conf.op_flags & tc_op::STATS != 0;
        match conf.obj {
            tc_obj::QSCH => {
                let asked: TcQsch = conf.param.read();
                let list = qschs(tc, asked.handle)?;
                Ok(self.gather_qschs(list, stats, verbose))
            }
            tc_obj::CLS => {
                let asked: TcCls = conf.param.read();
                let mut cids = vec![self.cid(None)];
                if verbose {
                    cids.extend(self.workers.ids().map(|w| self.workers.lcore(w)));
                }
                let list = classes(tc, &asked)?;
                let mut out = Vec::new();
                for cid in cids {
                    for cls in &list {
                        let listed = TcCls { cid, ..*cls };
                        out.extend(Blob::<148>::of(&listed).0);
                    }
                }
                Ok(Answer::Body(out))
            }
            _ => Err(Fault::Unsupported("neither scheduler nor classifier")),
        }
    }

    fn gather_qschs(&self, list: Vec<(u64, TcQsch)>, stats: bool, verbose: bool) -> Answer {
        let master = self.cid(None);
        let cids: Vec<(WorkerId, u8)> = self
            .workers
            .ids()
            .map(|w| (w, self.workers.lcore(w)))
            .collect();
        Answer::Gather(Gather {
            questions: self.workers.ids().map(|w| (w, Query::Tc)).collect(),
            finish: Box::new(move |parts| {
                let mut out = Vec::new();
                let mut put = |cid: u8, counted: &dyn Fn(u64) -> QschStats| {
                    for (uid, qsch) in &list {
                        let listed = with_stats(TcQsch { cid, ..*qsch }, &counted(*uid));
                        out.extend(Blob::<148>::of(&listed).0);
                    }
                };
                put(master, &|uid| {
                    if stats {
                        sum(&parts, uid, None)
                    } else {
                        QschStats::default()
                    }
                });
                if verbose {
                    for (worker, cid) in &cids {
                        put(*cid, &|uid| sum(&parts, uid, Some(*worker)));
                    }
                }
                Ok(out)
            }),
        })
    }
}

/// What one worker, or all, counted of a scheduler.
fn sum(parts: &[Part], uid: u64, only: Option<WorkerId>) -> QschStats {
    let mut sum = QschStats::default();
    for part in parts {
        let Reply::Tc(list) = &part.reply else {
            continue;
        };
        if only.is_some_and(|w| w != part.worker) {
            continue;
        }
        for s in list.iter().filter(|s| s.uid == uid) {
            sum.qlen = sum.qlen.saturating_add(s.qlen);
            sum.backlog = sum.backlog.saturating_add(s.backlog);
            sum.drops = sum.drops.wrapping_add(s.drops);
            sum.requeues = sum.requeues.wrapping_add(s.requeues);
            sum.overlimits = sum.overlimits.wrapping_add(s.overlimits);
            sum.bytes = sum.bytes.wrapping_add(s.bytes);
            sum.packets = sum.packets.wrapping_add(s.packets);
        }
    }
    sum
}

fn with_stats(qsch: TcQsch, s: &QschStats) -> TcQsch {
    TcQsch {
        qstats: QstatQueue {
            qlen: s.qlen,
            backlog: s.backlog,
            drops: s.drops,
            requeues: s.requeues,
            overlimits: s.overlimits,
        },
        bstats: QstatBytes {
            bytes: s.bytes,
            packets: s.packets,
        },
        ..qsch
    }
}

/// A device's schedulers, or the one with that handle.
fn qschs(tc: &PortTc, handle: u32) -> Result<Vec<(u64, TcQsch)>> {
    let list: Vec<(u64, TcQsch)> = tc
        .scheds
        .iter()
        .filter(|s| handle == 0 || s.handle == handle)
        .map(|s| {
            let (kind, qopt) = options(s.kind);
            let own = tc.classes.iter().filter(|c| c.asked.sch_id == s.handle);
            let ingress = tc.side(s.handle) == Some(dpvs_core::tc::Side::Ingress);
            let listed = TcQsch {
                handle: s.handle,
                parent: s.parent,
                kind: Name::truncated(kind),
                qopt,
                cls_cnt: i32::try_from(own.count()).unwrap_or(i32::MAX),
                flags: ingress.into(),
                ..TcQsch::default()
            };
            (s.uid, listed)
        })
        .collect();
    if list.is_empty() {
        return Err(Fault::Missing);
    }
    Ok(list)
}

/// A scheduler's classifiers, or the one with that handle.
fn classes(tc: &PortTc, asked: &TcCls) -> Result<Vec<TcCls>> {
    if asked.sch_id != 0 && tc.sched(asked.sch_id).is_none() {
        return Err(Fault::Missing);
    }
    let list: Vec<TcCls> = tc
        .classes
        .iter()
        .map(|c| c.asked)
        .filter(|c| asked.sch_id == 0 || c.sch_id == asked.sch_id)
        .filter(|c| asked.handle == 0 || c.handle == asked.handle)
        .collect();
    if list.is_empty() && asked.handle != 0 {
        return Err(Fault::Missing);
    }
    Ok(list)
}
