//! Lines of a packet script that look at the state of the workers: `name=value` of
//! counters, connections, neighbours, queues, summed over all of them.

use dpvs_core::message::{Query, Reply};

use super::packet::mac_name;
use super::run::Run;

impl Run {
    /// Lines that look at the state of the workers.
    pub(super) fn check(&mut self, word: &str, words: &[&str]) -> Result<(), String> {
        let found: Vec<(String, String)> = match (word, words) {
            ("conns", [n]) => {
                let all: usize = self.lab.workers.iter().map(|w| w.conns()).sum();
                return self.same("connections", n, &all.to_string());
            }
            ("dest-is", [name, ..]) => {
                let ids = self.lab.dests(name);
                let id = *ids.last().ok_or("no such dest")?;
                let mut sum = [0; 9];
                for reply in self.lab.query(&Query::Dests(vec![id])) {
                    let Reply::Dests(d) = reply else { continue };
                    let d = d.first().ok_or("no counters")?;
                    let now = [
                        u64::from(d.active),
                        u64::from(d.inactive),
                        d.conns,
                        d.in_pkts,
                        d.out_pkts,
                        d.in_bytes,
                        d.out_bytes,
                        u64::from(d.persistent),
                    ];
                    sum.iter_mut().zip(now).for_each(|(s, n)| *s += n);
                }
                let names = [
                    "active",
                    "inactive",
                    "conns",
                    "in",
                    "out",
                    "in-bytes",
                    "out-bytes",
                    "persistent",
                ];
                pairs(&names, &sum)
            }
            ("queue", _) => {
                let s = self.lab.queue(words, &self.vars)?;
                let names = ["waiting", "bytes", "sent", "dropped"];
                let values = [s.qlen, s.backlog, s.packets, s.drops];
                pairs(&names, &values.map(u64::from))
            }
            ("inet", [family, ..]) => {
                let v6 = *family == "6";
                let mut found: Vec<(String, u64)> = Vec::new();
                for worker in &self.lab.workers {
                    for (name, n) in worker.stats().inet(v6).list(v6) {
                        let name = name.get(4..).unwrap_or_default();
                        match found.iter_mut().find(|(k, _)| k == name) {
                            Some((_, sum)) => *sum += n,
                            None => found.push((name.to_owned(), n)),
                        }
                    }
                }
                found.into_iter().map(|(k, n)| (k, n.to_string())).collect()
            }
            ("listed", [client, rest @ ..]) => {
                let client = self.vars.endpoint(client)?;
                let query = Query::Conns {
                    cursor: 0,
                    max: 1000,
                };
                let mut conns = Vec::new();
                for reply in self.lab.query(&query) {
                    if let Reply::Conns { conns: some, .. } = reply {
                        conns.extend(some.into_iter().filter(|c| c.client == client));
                    }
                }
                let c = conns.first().ok_or("no such connection")?;
                let [state, timeout, vip, laddr, dest] = *rest else {
                    return Err("`listed CLIENT STATE TIMEOUT VIP LOCAL SERVER`".into());
                };
                let c = *c;
                self.same("state", state, c.state)?;
                self.same("time-out", timeout, &c.timeout.to_string())?;
                for (want, got) in [(vip, c.vip), (laddr, c.laddr), (dest, c.dest)] {
                    if self.vars.endpoint(want)? != got {
                        return Err(format!("instead of {want} listed is {got:?}"));
                    }
                }
                return Ok(());
            }
            ("ports", [laddr, ..]) => {
                let laddr = self.vars.addr(laddr)?;
                let mut sum = [0; 2];
                for reply in self.lab.query(&Query::Laddrs) {
                    let Reply::Laddrs(all) = reply else { continue };
                    for l in all.iter().filter(|l| l.addr == laddr) {
                        sum[0] += u64::from(l.used);
                        sum[1] += u64::from(l.miss);
                    }
                }
                pairs(&["used", "miss"], &sum)
            }
            ("stat", _) => {
                let mut sum = [0; 9];
                let mut proxied: Vec<(String, String)> = Vec::new();
                for w in &self.lab.workers {
                    for (name, n) in w.stats().synproxy.list() {
                        match proxied.iter_mut().find(|(k, _)| k == name) {
                            Some((_, sum)) => {
                                *sum = (sum.parse::<u64>().unwrap_or(0) + n).to_string();
                            }
                            None => proxied.push((name.into(), n.to_string())),
                        }
                    }
                    let s = w.stats();
                    let now = [
                        s.toa_ok,
                        s.toa_failed,
                        s.to_host,
                        s.handed_over,
                        s.conns_made,
                        s.proxy_ok,
                        s.proxy_failed,
                        s.uoa_ok,
                        s.uoa_failed,
                    ];
                    sum.iter_mut().zip(now).for_each(|(s, n)| *s += n);
                }
                let names = [
                    "toa",
                    "toa-failed",
                    "host",
                    "handed",
                    "made",
                    "proxy",
                    "proxy-failed",
                    "uoa",
                    "uoa-failed",
                ];
                let mut found = pairs(&names, &sum);
                found.extend(proxied);
                found
            }
            ("state", [client, name, ..]) => {
                let (addr, port) = self.vars.endpoint(client)?;
                let mut conns = Vec::new();
                let query = Query::Conns {
                    cursor: 0,
                    max: 1000,
                };
                for reply in self.lab.query(&query) {
                    let Reply::Conns { conns: some, .. } = reply else {
                        continue;
                    };
                    conns.extend(some.into_iter().filter(|c| c.client == (addr, port)));
                }
                let state = conns.first().map_or("none", |c| c.state);
                self.same("state", name, state)?;
                let timeout = conns.first().map_or(0, |c| c.timeout);
                pairs(&["timeout"], &[u64::from(timeout)])
            }
            ("neighbour", [port, addr, name, ..]) => {
                let (port, addr) = (self.vars.field(port, 16)?, self.vars.addr(addr)?);
                let replies = self.lab.query(&Query::Neighbours);
                let Some(Reply::Neighbours(all)) = replies.first() else {
                    return Err("no answer".into());
                };
                let n = all
                    .iter()
                    .find(|n| u32::from(n.port.0) == port && n.addr == addr);
                let state = n.map_or("none".into(), |n| format!("{:?}", n.state).to_lowercase());
                self.same("state", name, &state)?;
                let mac = n.map_or("none".into(), |n| mac_name(&n.mac));
                let queued = n.map_or(0, |n| n.queued);
                vec![("mac".into(), mac), ("queued".into(), queued.to_string())]
            }
            _ => return Err(format!("`{word}` lacks something")),
        };
        for word in words.iter().filter(|w| w.contains('=')) {
            let (key, want) = word.split_once('=').unwrap_or((word, ""));
            let value = found.iter().find(|(k, _)| k == key);
            let (_, value) = value.ok_or_else(|| format!("`{key}` is no counter here"))?;
            self.same(key, want, value)?;
        }
        Ok(())
    }

    pub(super) fn same(&mut self, what: &str, want: &str, got: &str) -> Result<(), String> {
        if self.vars.matches(want, got) {
            Ok(())
        } else {
            Err(format!("{what} is {got}"))
        }
    }
}

fn pairs(names: &[&str], values: &[u64]) -> Vec<(String, String)> {
    let both = names.iter().zip(values);
    both.map(|(n, v)| ((*n).to_owned(), v.to_string()))
        .collect()
}
