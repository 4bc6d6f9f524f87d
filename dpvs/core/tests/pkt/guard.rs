//! Lists, limits and sets of a packet script's director.

use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::acl::{List, Lists};
use dpvs_core::guard::Guard;
use dpvs_core::ipset::{IpSet, SetConf, SetId, SetKind, Span};
use dpvs_core::limit::{LEAST_BITS, Limit, Meter, Rate, Sources};
use dpvs_core::service::ServiceKey;

use super::conf::option;
use super::lab::Lab;
use super::vars::Vars;

impl Lab {
    /// Changes lists, limits or sets; false if the line is about something else.
    pub fn guard(&mut self, words: &[&str], vars: &Vars) -> Result<bool, String> {
        match *words {
            ["ipset", name, kind, ref rest @ ..] => self.make_set(name, kind, rest)?,
            ["ipset-add", name, entry, ref rest @ ..] => {
                let nomatch = rest.contains(&"nomatch");
                let span = span(entry, rest, vars)?;
                let set = self.set_mut(name)?;
                let done = set.add(&span, nomatch, None, false);
                done.map_err(|e| format!("{e:?}"))?;
                self.put_sets();
            }
            ["ipset-del", name, entry, ref rest @ ..] => {
                let span = span(entry, rest, vars)?;
                let done = self.set_mut(name)?.del(&span, false);
                done.map_err(|e| format!("{e:?}"))?;
                self.put_sets();
            }
            [
                what @ ("black" | "white" | "unblack" | "unwhite"),
                ref service @ ..,
                subject,
            ] => {
                let key = Self::key(service, vars)?;
                let mut lists = self
                    .snap
                    .guard
                    .lists
                    .get(&key)
                    .map_or_else(Lists::default, |l| (**l).clone());
                let list = if what.ends_with("black") {
                    &mut lists.black
                } else {
                    &mut lists.white
                };
                self.list(list, subject, !what.starts_with("un"), vars)?;
                if lists.black.is_empty() && lists.white.is_empty() {
                    self.snap.guard.lists.remove(&key);
                } else {
                    self.snap.guard.lists.insert(key, Arc::new(lists));
                }
            }
            ["limit", "vip", addr, ref rest @ ..] => {
                let key = Guard::vip(vars.addr(addr)?);
                self.limit(key, rest, vars)?;
            }
            ["limit", proto, end, ref rest @ ..] => {
                let key = Self::key(&[proto, end], vars)?;
                self.limit(key, rest, vars)?;
            }
            ["nolimit", "vip", addr] => {
                let key = Guard::vip(vars.addr(addr)?);
                self.snap.guard.limits.remove(&key).ok_or("no such limit")?;
            }
            ["nolimit", ref service @ ..] => {
                let key = Self::key(service, vars)?;
                self.snap.guard.limits.remove(&key).ok_or("no such limit")?;
            }
            _ => return Ok(false),
        }
        self.touch();
        Ok(true)
    }

    fn make_set(&mut self, name: &str, kind: &str, rest: &[&str]) -> Result<(), String> {
        let conf = SetConf {
            kind: SetKind::from_name(kind).ok_or("no such kind of set")?,
            v6: rest.contains(&"v6"),
            comments: false,
            max: 65_535,
            addrs: (0xc633_6400, 0xc633_64ff),
            ports: (0, u16::MAX),
        };
        let set = IpSet::new(conf, [5, 7]).map_err(|e| format!("{e:?}"))?;
        self.sets.push((name.into(), set));
        self.put_sets();
        Ok(())
    }

    fn set_mut(&mut self, name: &str) -> Result<&mut IpSet, String> {
        let found = self.sets.iter_mut().find(|(n, _)| n == name);
        found
            .map(|(_, set)| set)
            .ok_or_else(|| "no such set".into())
    }

    pub fn set_id(&self, name: &str) -> Result<SetId, String> {
        let at = self.sets.iter().position(|(n, _)| n == name);
        at.map(|i| SetId(i as u32))
            .ok_or_else(|| "no such set".into())
    }

    fn put_sets(&mut self) {
        let sets = self.sets.iter().map(|(_, s)| Some(Arc::new(s.clone())));
        self.snap.guard.sets = Arc::new(sets.collect());
    }

    fn list(&self, list: &mut List, subject: &str, add: bool, vars: &Vars) -> Result<(), String> {
        if let Some(name) = subject.strip_prefix("ipset:") {
            let id = self.set_id(name)?;
            let kept = list.sets.iter().copied().filter(|s| *s != id);
            list.sets = kept.chain(add.then_some(id)).collect();
            return Ok(());
        }
        let addr: IpAddr = vars.addr(subject)?;
        if add {
            list.sources.insert(addr, ());
        } else {
            list.sources.remove(&addr).ok_or("not on the list")?;
        }
        Ok(())
    }

    fn limit(&mut self, key: ServiceKey, words: &[&str], vars: &Vars) -> Result<(), String> {
        let burst = option(words, "burst").unwrap_or("0");
        let burst = vars.number(burst)? as u64;
        let rate = |name: &str, least| {
            let text = option(words, name).unwrap_or("0");
            Ok::<_, String>(Rate::new(vars.number(text)? as u64, burst, least))
        };
        self.limits += 1;
        let mut limit = Limit {
            id: self.limits as u32 - 1,
            uid: self.limits,
            ..Limit::default()
        };
        limit.total[Meter::InPackets as usize] = rate("pps", 1)?;
        limit.total[Meter::InBits as usize] = rate("bps", LEAST_BITS)?;
        limit.total[Meter::OutPackets as usize] = rate("out-pps", 1)?;
        limit.total[Meter::OutBits as usize] = rate("out-bps", LEAST_BITS)?;
        limit.total[Meter::Conns as usize] = rate("cps", 1)?;
        limit.source = [
            rate("src-pps", 1)?,
            rate("src-bps", LEAST_BITS)?,
            rate("src-cps", 1)?,
        ];
        limit.percent = vars.number(option(words, "percent").unwrap_or("0"))? as u8;
        if limit.by_source() && self.snap.guard.sources.is_none() {
            self.snap.guard.sources = Some(Arc::new(Sources::new([3, 5])));
        }
        self.snap.guard.limits.insert(key, Arc::new(limit));
        Ok(())
    }
}

/// `A`, `A/LEN` or `A-B`, and behind it `port PROTO:N` and `to B` for pairs.
fn span(entry: &str, rest: &[&str], vars: &Vars) -> Result<Span, String> {
    let (first, last, plen) = match (entry.split_once('/'), entry.split_once('-')) {
        (Some((addr, plen)), _) => {
            let plen = plen.parse().map_err(|_| "a prefix length is a number")?;
            (vars.addr(addr)?, vars.addr(addr)?, Some(plen))
        }
        (None, Some((first, last))) => (vars.addr(first)?, vars.addr(last)?, None),
        (None, None) => (vars.addr(entry)?, vars.addr(entry)?, None),
    };
    let mut span = Span {
        plen,
        ..Span::of(first, last)
    };
    if let Some(port) = option(rest, "port") {
        let (proto, port) = port.split_once(':').ok_or("a port is PROTO:N")?;
        span.proto = if proto == "tcp" { 6 } else { 17 };
        let port = vars.number(port)? as u16;
        span.ports = (port, port);
    }
    if let Some(second) = option(rest, "to") {
        let second = vars.addr(second)?;
        span.addrs2 = (second, second);
    }
    Ok(span)
}
