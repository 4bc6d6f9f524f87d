//! Queue schedulers and classifiers of a packet script's director, and what an lcore
//! does with them: frames pass them on their way in and out, and are let go when
//! time passes.

use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::{BURST, Burst, PortId, empty_burst};
use dpvs_core::message::{Query, Reply};
use dpvs_core::tc::{Cls, INGRESS, Qsch, QschKind, QschStats, ROOT, Range, Rule, Side, Target, Tc};

use super::books::Tracked;
use super::conf::option;
use super::lab::{Lab, Way};
use super::vars::Vars;

/// Frames of a port that leave in one turn.
const QUOTA: usize = 64;

fn side(text: &str) -> Result<Side, String> {
    match text {
        "egress" => Ok(Side::Egress),
        "ingress" => Ok(Side::Ingress),
        _ => Err(format!("`{text}` is neither egress nor ingress")),
    }
}

/// `root` of either side, or a number.
fn handle(text: &str, side: Side, vars: &Vars) -> Result<u32, String> {
    match (text, side) {
        ("root", Side::Egress) => Ok(ROOT),
        ("root", Side::Ingress) => Ok(INGRESS),
        _ => Ok(vars.field(text, 16)? << 16),
    }
}

/// `A[-B][:P[-Q]]`, an IPv6 address with ports in brackets; `*` is any address.
fn range(text: &str, vars: &Vars) -> Result<Range, String> {
    let (addrs, ports) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((addrs, rest)) => (addrs, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((addrs, ports)) => (addrs, Some(ports)),
            None => (text, None),
        },
    };
    let both = |text: &str| {
        let (a, b) = text.split_once('-').unwrap_or((text, text));
        (a.to_owned(), b.to_owned())
    };
    let addr = |t: &str| -> Result<IpAddr, String> { vars.addr(t) };
    let port = |t: &str| -> Result<u16, String> { Ok(vars.field(t, 16)? as u16) };
    let addrs = match addrs {
        "*" => None,
        text => {
            let (a, b) = both(text);
            Some((addr(&a)?, addr(&b)?))
        }
    };
    let ports = match ports.map(both) {
        Some((a, b)) => Some((port(&a)?, port(&b)?)),
        None => None,
    };
    Ok(Range { addrs, ports })
}

/// What is scheduled where.
#[derive(Default)]
pub struct Scheds {
    all: Vec<(u16, Side, Qsch)>,
    uids: u64,
}

impl Lab {
    /// Changes schedulers or classifiers; false if the line is about something else.
    pub fn scheduling(&mut self, words: &[&str], vars: &Vars) -> Result<bool, String> {
        let (what, port, which, name, rest) = match *words {
            [
                what @ ("qsch" | "delqsch" | "cls"),
                port,
                which,
                name,
                ref rest @ ..,
            ] => (what, port, which, name, rest),
            _ => return Ok(false),
        };
        let port = vars.field(port, 16)? as u16;
        let which = side(which)?;
        let handle = handle(name, which, vars)?;
        let here = |q: &(u16, Side, Qsch)| (q.0, q.1, q.2.handle) == (port, which, handle);
        let at = self.scheds.all.iter().position(here);
        match (what, at) {
            ("qsch", None) => {
                self.scheds.uids += 1;
                let qsch = Qsch {
                    handle,
                    uid: self.scheds.uids,
                    kind: kind(rest, vars)?,
                    tokens: Arc::default(),
                    classes: Arc::default(),
                };
                self.scheds.all.push((port, which, qsch));
            }
            ("qsch", Some(at)) => {
                let qsch = &mut self.scheds.all[at].2;
                qsch.kind = kind(rest, vars)?;
                qsch.tokens = Arc::default();
            }
            ("delqsch", Some(at)) => {
                self.scheds.all.remove(at);
            }
            ("cls", Some(at)) => {
                let cls = self.class(rest, which, vars)?;
                let qsch = &mut self.scheds.all[at].2;
                qsch.classes = qsch.classes.iter().cloned().chain([cls]).collect();
            }
            _ => return Err("no such scheduler".into()),
        }
        let most = self.scheds.all.iter().map(|q| q.0 + 1).max().unwrap_or(0);
        let of = |port: u16, side: Side| -> Arc<[Qsch]> {
            let here = self
                .scheds
                .all
                .iter()
                .filter(|q| (q.0, q.1) == (port, side));
            here.map(|q| q.2.clone()).collect()
        };
        let ports = (0..most).map(|p| [of(p, Side::Egress), of(p, Side::Ingress)]);
        self.snap.tc = Arc::new(Tc {
            ports: ports.collect(),
        });
        self.touch();
        Ok(true)
    }

    fn class(&self, words: &[&str], side: Side, vars: &Vars) -> Result<Cls, String> {
        let target = match option(words, "target").ok_or("`target` is missing")? {
            "drop" => Target::Drop,
            name => Target::Qsch(handle(name, side, vars)?),
        };
        let port = |name| -> Result<Option<PortId>, String> {
            let number = option(words, name).map(|n| vars.field(n, 16));
            Ok(number.transpose()?.map(|n| PortId(n as u16)))
        };
        let span = |name| -> Result<Range, String> {
            let text = option(words, name).map(|t| range(t, vars));
            Ok(text.transpose()?.unwrap_or_default())
        };
        let rule = match option(words, "ipset") {
            Some(name) => Rule::Set {
                id: self.set_id(name)?,
                destination: words.contains(&"dst"),
            },
            None => Rule::Match {
                proto: option(words, "proto").map_or(Ok(0), |p| vars.field(p, 8))? as u8,
                src: span("from")?,
                dst: span("to")?,
                iif: port("iif")?,
                oif: port("oif")?,
            },
        };
        Ok(Cls {
            ethertype: if words.contains(&"v6") {
                0x86dd
            } else {
                0x0800
            },
            rule,
            target,
        })
    }

    /// Gives received frames to a port's schedulers. Returns how many may go on.
    pub(super) fn schedule_in(
        &mut self,
        worker: usize,
        port: PortId,
        slots: &mut Burst<Tracked>,
        n: usize,
    ) -> usize {
        let now = self.now;
        let worker = &mut self.workers[worker];
        let mut kept = 0;
        for at in 0..n {
            if let Some(frame) = slots[at].take()
                && let Some(frame) = worker.tc_put(Side::Ingress, port, Some(port), frame)
            {
                slots[kept] = Some(frame);
                kept += 1;
            }
        }
        if kept > 0 {
            return kept;
        }
        worker.tc_take(Side::Ingress, port, now, slots)
    }

    /// Passes what came out since there were `since` of them through the schedulers.
    pub(super) fn schedule_out(&mut self, worker: usize, iif: Option<PortId>, since: usize) {
        let now = self.now;
        let worker = &mut self.workers[worker];
        if !worker.has_tc() {
            return;
        }
        let sink = &mut self.sink;
        for (way, bytes) in sink.out.split_off(since.min(sink.out.len())) {
            if let Way::Out(port) = way {
                let frame = sink.books.frame(&bytes);
                if worker
                    .tc_put(Side::Egress, PortId(port), iif, frame)
                    .is_none()
                {
                    sink.books.now().sent -= 1;
                    continue;
                }
            }
            sink.out.push_back((way, bytes));
        }
        let mut burst = empty_burst();
        for port in 0..worker.tc_ports() {
            for _ in 0..QUOTA / BURST {
                let n = worker.tc_take(Side::Egress, PortId(port), now, &mut burst);
                sink.books.now().sent += n as u64;
                for frame in burst.iter_mut().take(n).filter_map(Option::take) {
                    sink.out
                        .push_back((Way::Out(port), super::lab::whole(&frame)));
                }
            }
        }
    }

    /// Lets go whose time has come, in one turn of a worker.
    pub(super) fn release(&mut self, worker: usize, since: usize) {
        self.schedule_out(worker, None, since);
        for port in (0..self.workers[worker].tc_ports()).map(PortId) {
            let (now, mut burst) = (self.now, empty_burst());
            let before = self.sink.out.len();
            let n = self.workers[worker].tc_take(Side::Ingress, port, now, &mut burst);
            if n > 0 {
                self.workers[worker].process(port, &mut burst, n, now, &mut self.sink);
                self.schedule_out(worker, Some(port), before);
            }
        }
    }

    /// What the workers counted of a scheduler, added up.
    pub fn queue(&mut self, words: &[&str], vars: &Vars) -> Result<QschStats, String> {
        let [port, which, name, ..] = *words else {
            return Err("`queue PORT SIDE HANDLE`".into());
        };
        let (port, which) = (vars.field(port, 16)? as u16, side(which)?);
        let handle = handle(name, which, vars)?;
        let here = |q: &&(u16, Side, Qsch)| (q.0, q.1, q.2.handle) == (port, which, handle);
        let qsch = self
            .scheds
            .all
            .iter()
            .find(here)
            .ok_or("no such scheduler")?;
        let uid = qsch.2.uid;
        let mut sum = QschStats::default();
        for reply in self.query(&Query::Tc) {
            let Reply::Tc(all) = reply else { continue };
            for s in all.iter().filter(|s| s.uid == uid) {
                sum.qlen += s.qlen;
                sum.backlog += s.backlog;
                sum.drops += s.drops;
                sum.overlimits += s.overlimits;
                sum.packets += s.packets;
                sum.bytes += s.bytes;
            }
        }
        Ok(sum)
    }
}

fn kind(words: &[&str], vars: &Vars) -> Result<QschKind, String> {
    let value = |name| -> Result<u32, String> {
        let text = option(words, name).unwrap_or("0");
        Ok(vars.number(text)? as u32)
    };
    let limit = value("limit")?;
    match words.first() {
        Some(&"pfifo") => Ok(QschKind::Pfifo { limit }),
        Some(&"bfifo") => Ok(QschKind::Bfifo { limit }),
        Some(&"pfifo_fast") => Ok(QschKind::PfifoFast { limit }),
        Some(&"tbf") => Ok(QschKind::Tbf {
            rate: value("rate")?,
            burst: value("burst")?,
            peak: value("peak")?,
            mtu: value("mtu")?,
            limit,
        }),
        other => Err(format!("{other:?} is no kind of scheduler")),
    }
}
