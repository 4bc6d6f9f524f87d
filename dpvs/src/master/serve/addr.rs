//! Addresses of devices (ids 42 to 52).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::message::{Query, Reply, ToWorker};
use dpvs_ctl::msg::{
    IfAddr, IfAddrArray, IfAddrData, IfAddrParam, IfAddrStats, IfAddrStatsDetail, Maddr, ifa_flag,
    ifa_op, ifa_op_flag,
};
use dpvs_ctl::wire::{encode_counted, encode_list};
use dpvs_ctl::{Af, Ip16, Name, id};

use super::{Answer, Gather, Part, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::addr::Addr;

/// Port pools by worker and address.
type Uses = HashMap<(WorkerId, IpAddr), IfAddrStats>;

fn uses(parts: Vec<Part>) -> Uses {
    let mut out = HashMap::new();
    for part in parts {
        let Reply::Laddrs(list) = part.reply else {
            continue;
        };
        for u in list {
            out.insert(
                (part.worker, u.addr),
                IfAddrStats {
                    sa_used: u.used,
                    sa_free: u.free,
                    sa_miss: u.miss,
                },
            );
        }
    }
    out
}

fn total(uses: &Uses, ip: IpAddr) -> IfAddrStats {
    uses.iter()
        .filter(|((_, addr), _)| *addr == ip)
        .fold(IfAddrStats::default(), |sum, (_, s)| IfAddrStats {
            sa_used: sum.sa_used.saturating_add(s.sa_used),
            sa_free: sum.sa_free.saturating_add(s.sa_free),
            sa_miss: sum.sa_miss.saturating_add(s.sa_miss),
        })
}

/// Multicast groups of an IPv6 address: the solicited-node group (RFC 4291, 2.7.1).
fn solicited(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Ethernet address of an IPv6 group (RFC 2464, 7).
fn group_mac(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

impl Master {
    fn listed_addr(&self, a: &Addr, cid: u8) -> IfAddr {
        // 0 is for ever, so what is over has a second.
        let left = |end: Option<Instant>| {
            end.map_or(0, |t| {
                u32::try_from(t.saturating_duration_since(Instant::now()).as_secs())
                    .unwrap_or(u32::MAX)
                    .max(1)
            })
        };
        IfAddr {
            af: Af::of(a.ip),
            valid_lft: left(a.expires),
            prefered_lft: left(a.deprecates.or(a.expires)),
            flags: a.flags
                | if a.expires.is_none() {
                    ifa_flag::PERMANENT
                } else {
                    0
                }
                | if a.deprecated {
                    ifa_flag::DEPRECATED
                } else {
                    0
                },
            ifname: Name::truncated(self.state.links.name(a.port)),
            bcast: a.bcast.map_or(Ip16::ANY, Ip16::from_ip),
            addr: Ip16::from_ip(a.ip),
            plen: a.plen,
            scope: a.scope,
            cid,
            nop: 0,
        }
    }

    /// Ids 47 to 50, whose bodies start with two words that do not count.
    pub(super) fn addr_param(&mut self, what: u32, body: &[u8]) -> Result<Answer> {
        let entry = match body.get(8..) {
            Some(rest) if body.len() >= 76 => rest,
            // DPVS takes 68 bytes as well and reads past them.
            _ => return Err(Fault::Invalid("body too short")),
        };
        self.addr_change(what, entry)
    }

    pub(super) fn addr_change(&mut self, what: u32, body: &[u8]) -> Result<Answer> {
        let a: IfAddr = prefix(body)?;
        let port = self.state.links.find(a.ifname.bytes());
        if what == id::SET_IFADDR_FLUSH {
            self.state.flush_addrs(port.ok_or(Fault::Missing)?);
            return Ok(Answer::Done);
        }
        let ip = a
            .addr
            .to_ip(a.af)
            .filter(|ip| !ip.is_unspecified() && a.plen <= a.af.max_plen())
            .ok_or(Fault::Invalid("address"))?;
        let port = port.ok_or(Fault::Missing)?;
        if what == id::SET_IFADDR_DEL {
            self.state.del_addr(port, ip)?;
            return Ok(Answer::Done);
        }
        if ip.is_multicast() {
            return Err(Fault::Invalid("a multicast address belongs to no device"));
        }
        let addr = Addr {
            port,
            ip,
            plen: a.plen,
            scope: a.scope,
            flags: a.flags & !(ifa_flag::PERMANENT | ifa_flag::DEPRECATED),
            bcast: a.bcast.to_ip(a.af).filter(|b| !b.is_unspecified()),
            valid_lft: a.valid_lft,
            expires: None,
            preferred_lft: a.prefered_lft,
            deprecates: None,
            deprecated: false,
        }
        .born(Instant::now());
        if what == id::SET_IFADDR_SET {
            self.state.addrs.set(addr)?;
            self.state.net_changed = true;
        } else {
            self.add_addr(addr)?;
        }
        Ok(Answer::Done)
    }

    fn device_filter(&self, name: &Name<16>) -> Result<Option<PortId>> {
        if name.is_empty() {
            return Ok(None);
        }
        self.state
            .links
            .find(name.bytes())
            .map(Some)
            .ok_or(Fault::Missing)
    }

    fn gather_uses(&self, finish: impl FnOnce(Uses) -> Vec<u8> + 'static) -> Answer {
        Answer::Gather(Gather {
            questions: self.workers.ids().map(|w| (w, Query::Laddrs)).collect(),
            finish: Box::new(move |parts| Ok(finish(uses(parts)))),
        })
    }

    pub(super) fn addr_list(&mut self, body: &[u8]) -> Result<Answer> {
        let p: IfAddrParam = prefix(body)?;
        if p.ops != ifa_op::GET {
            return Err(Fault::Invalid("operation other than get"));
        }
        if ![Af::UNSPEC, Af::INET, Af::INET6].contains(&p.entry.af) {
            return Err(Fault::Unsupported("address family"));
        }
        let port = self.device_filter(&p.entry.ifname)?;
        // As DPVS: the family is not a filter.
        let list: Vec<(IpAddr, IfAddr)> = self
            .state
            .addrs
            .iter()
            .filter(|a| port.is_none_or(|p| p == a.port))
            .map(|a| (a.ip, self.listed_addr(a, self.topology.master)))
            .collect();
        let verbose = p.ops_flags & ifa_op_flag::VERBOSE != 0;
        let workers: Vec<(WorkerId, u8)> = if verbose {
            self.workers
                .ids()
                .map(|w| (w, self.workers.lcore(w)))
                .collect()
        } else {
            vec![]
        };
        let finish = move |uses: Uses| {
            let mut out: Vec<IfAddrData> = list
                .iter()
                .map(|(ip, entry)| IfAddrData {
                    entry: *entry,
                    stats: total(&uses, *ip),
                })
                .collect();
            for (worker, cid) in workers {
                out.extend(list.iter().map(|(ip, entry)| IfAddrData {
                    entry: IfAddr { cid, ..*entry },
                    stats: uses.get(&(worker, *ip)).copied().unwrap_or_default(),
                }));
            }
            let head = IfAddrArray {
                ops: ifa_op::GET,
                ops_flags: p.ops_flags,
                naddr: i32::try_from(out.len()).unwrap_or(i32::MAX),
            };
            encode_list(&head, &out)
        };
        if p.ops_flags & (ifa_op_flag::VERBOSE | ifa_op_flag::STATS) == 0 {
            return Ok(Answer::Body(finish(Uses::new())));
        }
        Ok(self.gather_uses(finish))
    }

    pub(super) fn agent_addr_list(&mut self, body: &[u8]) -> Result<Answer> {
        let a: IfAddr = prefix(body)?;
        let port = self.device_filter(&a.ifname)?;
        let list: Vec<IfAddr> = self
            .state
            .addrs
            .iter()
            .filter(|a| port.is_none_or(|p| p == a.port))
            .map(|a| self.listed_addr(a, self.topology.master))
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }

    pub(super) fn agent_addr_stats(&mut self, body: &[u8]) -> Result<Answer> {
        let a: IfAddr = prefix(body)?;
        let port = self.device_filter(&a.ifname)?;
        let list: Vec<IpAddr> = self
            .state
            .addrs
            .iter()
            .filter(|a| port.is_none_or(|p| p == a.port))
            .map(|a| a.ip)
            .collect();
        Ok(self.gather_uses(move |uses| {
            let list: Vec<IfAddrStatsDetail> = list
                .iter()
                .map(|ip| IfAddrStatsDetail {
                    addr: Ip16::from_ip(*ip),
                    stats: total(&uses, *ip),
                })
                .collect();
            encode_counted(&list)
        }))
    }

    /// IPv6 groups a device listens to, with their users.
    fn groups(&self, port: PortId) -> Vec<(Ipv6Addr, u32)> {
        let mut out = vec![(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 1)];
        for addr in self.state.addrs.on(port) {
            if let IpAddr::V6(ip) = addr.ip {
                let group = solicited(ip);
                match out.iter_mut().find(|(g, _)| *g == group) {
                    Some((_, users)) => *users += 1,
                    None => out.push((group, 1)),
                }
            }
        }
        out
    }

    /// Tells the ports which Ethernet groups they must hear.
    pub(in crate::master) fn join_groups(&mut self) {
        let wires = u16::try_from(self.state.links.wires.len()).unwrap_or(u16::MAX);
        for port in (0..wires).map(PortId) {
            let on = |id: &PortId| {
                let tag = self.state.links.tag(*id);
                *id == port || tag.is_some_and(|tag| tag.parent == port)
            };
            let mut macs: Vec<[u8; 6]> = Vec::new();
            for id in self.state.links.ids().filter(on) {
                let groups = self.groups(id).into_iter();
                macs.extend(groups.map(|(g, _)| group_mac(g)));
            }
            macs.extend(self.lldp_group(port));
            macs.sort_unstable();
            macs.dedup();
            self.netif.join(port, &macs);
        }
    }

    /// Tells the links where the addresses of a port and its VLAN devices are now.
    ///
    /// DIFFERS: DPVS waits for traffic to tell the switches.
    pub(in crate::master) fn announce_all(&mut self, port: PortId) {
        tracing::info!("{} sends by another link", self.state.links.name(port));
        for a in self.state.addrs.iter() {
            let tag = self.state.links.tag(a.port);
            if a.port == port || tag.is_some_and(|tag| tag.parent == port) {
                let (port, addr) = (a.port, a.ip);
                self.workers
                    .send(WorkerId(0), ToWorker::Announce { port, addr });
            }
        }
    }

    pub(super) fn group_list(&mut self, body: &[u8]) -> Result<Answer> {
        let name = body.split(|b| *b == 0).next().unwrap_or_default();
        if name.is_empty() {
            return Err(Fault::Invalid("no device named"));
        }
        let port = self.state.links.find(name).ok_or(Fault::Missing)?;
        let list: Vec<Maddr> = self
            .groups(port)
            .into_iter()
            .map(|(group, refcnt)| Maddr {
                ifname: Name::truncated(self.state.links.name(port)),
                maddr: Ip16::from_ip(IpAddr::V6(group)),
                af: Af::INET6,
                flags: 0,
                refcnt,
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }
}
