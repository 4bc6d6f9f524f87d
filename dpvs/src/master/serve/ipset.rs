//! Sets (ids 103 to 105).
//!
//! A request names addresses, networks and ports from-to; whether that can be of
//! the set is checked whole before anything changes.

use std::net::IpAddr;

use dpvs_core::frame::PortId;
use dpvs_core::ipset::{Element, IpSet, Member, Net, SetConf, SetKind, Span};
use dpvs_ctl::msg::{
    AddrRange, IpsetInfo, IpsetMember, IpsetParam, encode_ipsets, ipset_flag, ipset_op,
};
use dpvs_ctl::types::Blob;
use dpvs_ctl::{Af, Be16, HwAddr, Ip16, Name, Wire};

use super::{Answer, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::ipset::NamedSet;

/// Buckets and elements of a hash where none are asked for.
const HASHSIZE: u32 = 1024;
const MAXELEM: u32 = 65_535;
/// Most elements of a set: what 262,143 of DPVS's pool comes to, for all.
const MOST: u32 = 1 << 20;

/// A family as sets name it: none is IPv4.
fn family(param: &IpsetParam) -> Af {
    match param.option.family {
        0 => Af::INET,
        af => Af::from(af),
    }
}

/// First and last address, and the prefix length if one is named.
fn addrs(first: Ip16, last: Ip16, cidr: u8, af: Af) -> Result<((IpAddr, IpAddr), Option<u8>)> {
    let wrong = Fault::Invalid("address family of a set");
    let first = first.to_ip(af).ok_or(wrong.clone())?;
    let last = last.to_ip(af).ok_or(wrong)?;
    let plen = (cidr > 0).then_some(cidr);
    match first {
        IpAddr::V6(_) => Ok(((first, first), plen)),
        // Clients that name a network fill in the last address; else it is one.
        IpAddr::V4(a) => {
            let last = match (last, plen) {
                (IpAddr::V4(b), _) if !b.is_unspecified() => IpAddr::V4(b),
                (_, Some(plen)) => {
                    let host = u32::MAX.checked_shr(plen.into()).unwrap_or(0);
                    IpAddr::V4((a.to_bits() | host).into())
                }
                _ => first,
            };
            Ok(((first, last), plen))
        }
    }
}

/// In a second range ports are in host order, too.
fn host(port: Be16) -> u16 {
    port.get().swap_bytes()
}

/// A last port of 0 is the first one.
fn ports(first: u16, last: u16) -> (u16, u16) {
    (first, if last == 0 { first } else { last })
}

impl Master {
    fn span(&self, param: &IpsetParam, set: &IpSet) -> Result<Span> {
        let kind = set.conf().kind;
        let af = family(param);
        let (addrs1, plen) = if kind == SetKind::BitmapPort {
            let none = IpAddr::from([0, 0, 0, 0]);
            ((none, none), None)
        } else {
            addrs(param.min_addr, param.max_addr, param.cidr, af)?
        };
        let (addrs2, plen2) = if kind.is_pair() {
            let r = &param.range2;
            addrs(r.min_addr, r.max_addr, param.cidr2, af)?
        } else {
            ((addrs1.0, addrs1.0), None)
        };
        let iface = if kind == SetKind::HashNetPortIface {
            let port = self.state.links.find(param.iface.bytes());
            port.ok_or(Fault::NoDevice)?.0 + 1
        } else {
            0
        };
        Ok(Span {
            addrs: addrs1,
            plen,
            addrs2,
            plen2,
            proto: param.proto,
            ports: ports(param.min_port, param.max_port),
            ports2: ports(host(param.range2.min_port), host(param.range2.max_port)),
            mac: param.mac.0,
            iface,
        })
    }

    pub(super) fn ipset_set(&mut self, body: &[u8]) -> Result<Answer> {
        let param: IpsetParam = prefix(body)?;
        let force = param.flag & ipset_flag::FORCE != 0;
        match param.opcode {
            ipset_op::CREATE => self.ipset_create(&param)?,
            ipset_op::DESTROY => self.state.guards.sets.destroy(&param.name)?,
            ipset_op::FLUSH => self.state.guards.sets.edit(&param.name, |set| {
                set.flush();
                Ok(())
            })?,
            ipset_op::ADD | ipset_op::DEL => {
                let named = self.state.guards.sets.get(&param.name);
                let span = self.span(&param, &named.ok_or(Fault::Missing)?.set)?;
                self.state.guards.sets.edit(&param.name, |set| {
                    if param.opcode == ipset_op::DEL {
                        return set.del(&span, force);
                    }
                    let nomatch = param.option.comment_or_nomatch != 0;
                    set.add(&span, nomatch, Some(&param.comment.text()), force)
                })?;
            }
            _ => return Err(Fault::Invalid("operation on a set")),
        }
        Ok(Answer::Done)
    }

    fn ipset_create(&mut self, param: &IpsetParam) -> Result<()> {
        let kind = SetKind::from_name(&param.kind.text())
            .ok_or(Fault::Unsupported("no such type of set"))?;
        let af = family(param);
        let v6 = match af {
            Af::INET => false,
            Af::INET6 => true,
            _ => return Err(Fault::Invalid("address family of a set")),
        };
        let max = match param.option.maxelem {
            0 => MAXELEM,
            n => n.min(MOST),
        };
        let hashsize = match u32::try_from(param.option.hashsize) {
            Ok(0) => HASHSIZE,
            // As DPVS: the next power of two below.
            Ok(n) => 1 << n.ilog2(),
            Err(_) => return Err(Fault::Invalid("buckets of a set")),
        };
        let mut conf = SetConf {
            kind,
            v6,
            comments: param.option.comment_or_nomatch != 0,
            max,
            addrs: (0, 0),
            ports: ports(param.min_port, param.max_port),
        };
        if kind == SetKind::BitmapIp || kind == SetKind::BitmapIpMac {
            if v6 {
                return Err(Fault::Invalid("a bitmap holds IPv4"));
            }
            let (range, _) = addrs(param.min_addr, param.max_addr, param.cidr, af)?;
            if let (IpAddr::V4(a), IpAddr::V4(b)) = range {
                conf.addrs = (a.to_bits(), b.to_bits());
            }
        }
        self.state
            .guards
            .sets
            .create(param.name, conf, hashsize, param.cidr)
    }

    pub(super) fn ipset_test(&mut self, body: &[u8]) -> Result<Answer> {
        let param: IpsetParam = prefix(body)?;
        let named = self.state.guards.sets.get(&param.name);
        let set = &named.ok_or(Fault::Missing)?.set;
        // An answer of its own says what is wrong with what is asked.
        let verdict = match self.span(&param, set) {
            Ok(span) => {
                let element = Element {
                    net: Net::host(span.addrs.0),
                    net2: Net::host(span.addrs2.0),
                    proto: span.proto,
                    port: span.ports.0,
                    port2: span.ports2.0,
                    mac: span.mac,
                    iface: span.iface,
                };
                i32::from(set.test(&element))
            }
            Err(fault) => fault.code().0,
        };
        Ok(Answer::Body(verdict.encode()))
    }

    pub(super) fn ipset_list(&mut self, body: &[u8]) -> Result<Answer> {
        let param: IpsetParam = prefix(body)?;
        let sets = &self.state.guards.sets;
        let list: Vec<(IpsetInfo, Vec<IpsetMember>)> = if param.name.is_empty() {
            sets.iter()
                .map(|(name, set)| self.listed_set(name, set))
                .collect()
        } else {
            let set = sets.get(&param.name).ok_or(Fault::Missing)?;
            vec![self.listed_set(param.name, set)]
        };
        Ok(Answer::Body(encode_ipsets(&list)))
    }

    fn listed_set(&self, name: Name<32>, named: &NamedSet) -> (IpsetInfo, Vec<IpsetMember>) {
        let conf = named.set.conf();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut detail = [0; 40];
        if conf.kind.is_bitmap() {
            let v4 = |bits: u32| Ip16::from_ip(IpAddr::V4(bits.into()));
            let range = AddrRange {
                min_addr: v4(conf.addrs.0),
                max_addr: v4(conf.addrs.1),
                // In host order, unlike elsewhere.
                min_port: Be16::new(conf.ports.0.swap_bytes()),
                max_port: Be16::new(conf.ports.1.swap_bytes()),
            };
            detail[0] = named.cidr;
            range.put(&mut detail[4..]);
        } else {
            detail[4..8].copy_from_slice(&named.hashsize.to_ne_bytes());
            detail[8..12].copy_from_slice(&conf.max.to_ne_bytes());
        }
        let info = IpsetInfo {
            name,
            kind: Name::truncated(conf.kind.name()),
            comment: conf.comments.into(),
            af: if conf.v6 { Af::INET6 } else { Af::INET }.as_u8(),
            detail: Blob(detail),
            size: count(named.set.bytes()),
            references: named.users,
            ..IpsetInfo::default()
        };
        let members = named.set.members();
        let nets = conf.kind.nets();
        let members = members
            .iter()
            .map(|m| self.listed_member(m, nets))
            .collect();
        (info, members)
    }

    fn listed_member(&self, member: &Member, nets: (bool, bool)) -> IpsetMember {
        let e = &member.element;
        // An address has no length, a network of one address has.
        let cidr = |net: Net, is_net: bool| if is_net { net.plen } else { 0 };
        let iface = e.iface.checked_sub(1).map(PortId);
        IpsetMember {
            comment: Name::truncated(member.comment.as_deref().unwrap_or_default()),
            addr: Ip16::from_ip(e.net.addr),
            cidr: cidr(e.net, nets.0),
            proto: e.proto,
            port: e.port,
            iface: iface.map_or_else(Name::default, |port| {
                Name::truncated(self.state.links.name(port))
            }),
            mac: HwAddr(e.mac),
            nomatch: member.nomatch.into(),
            cidr2: cidr(e.net2, nets.1),
            port2: e.port2,
            addr2: Ip16::from_ip(e.net2.addr),
            ..IpsetMember::default()
        }
    }
}
