//! What can be asked of the dataplane, and how a configured service looks in
//! its messages.
//!
//! Pure data: `dataplane` carries these out, `ipvs` and `vrrp` decide on them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dpvs_ctl::msg::{
    AclConf, AddrRange, Dest, LaddrTable, Match, Service, Tunnel, fwd_mode, proxy_proto,
};
use dpvs_ctl::{Af, Be16, Be32, Ip16, Name};

use crate::conf::model::{self, ListEntry, MatchCond, Method, Proxy, Vip, VirtualServer};

/// One request to the dataplane (a local address is two).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// Version and counts; asked at start and reload as the fork does.
    Info,
    FlushServices,
    TunnelAdd(Tunnel),
    TunnelDel(Tunnel),
    ServiceAdd(Service),
    ServiceEdit(Service),
    ServiceDel(Service),
    /// Adds the address to its device, then to the service.
    LaddrAdd(LaddrTable),
    /// `device`: also removes it from the device.
    LaddrDel {
        table: LaddrTable,
        device: bool,
    },
    DenyAdd(AclConf),
    DenyDel(AclConf),
    AllowAdd(AclConf),
    AllowDel(AclConf),
    DestAdd(Service, Dest),
    DestEdit(Service, Dest),
    DestDel(Service, Dest),
    AddrAdd(PortAddr),
    AddrDel(PortAddr),
    /// Announces an IPv4 address of the dataplane.
    GratArp(Ipv4Addr),
}

/// A virtual address on a DPDK port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortAddr {
    pub(crate) port: String,
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

/// The service message of one address of a virtual server.
pub(crate) fn service(vs: &VirtualServer, vip: &Vip) -> Service {
    let mut s = match vip {
        Vip::Addr { ip, port } => Service::at(vs.proto.number(), SocketAddr::new(*ip, *port)),
        Vip::Fwmark { mark, v6 } => Service {
            af: if *v6 { Af::INET6 } else { Af::INET },
            proto: vs.proto.number(),
            fwmark: *mark,
            ..Service::default()
        },
        Vip::Match(cond) => {
            let v6 = vs.servers.first().is_some_and(|r| r.addr.is_ipv6());
            let af = if v6 { Af::INET6 } else { Af::INET };
            Service {
                af,
                proto: vs.proto.number(),
                matched: matched(cond, af),
                ..Service::default()
            }
        }
    };
    let o = &vs.opts;
    s.flags = o.flags;
    s.sched_name = Name::truncated(&o.sched);
    s.timeout = o.persistence;
    s.conn_timeout = o.conn_timeout;
    s.proxy_protocol = proxy(o.proxy);
    s.bps = o.bps;
    s.limit_proportion = o.limit_proportion;
    let host = if s.af == Af::INET6 { 128 } else { 32 };
    s.netmask = Service::netmask_of(s.af, o.granularity.unwrap_or(host).min(host));
    s
}

fn proxy(p: Proxy) -> u8 {
    match p {
        Proxy::Off => proxy_proto::OFF,
        Proxy::V1 => proxy_proto::V1,
        Proxy::V2 => proxy_proto::V2,
        Proxy::V1Insecure => proxy_proto::V1 | proxy_proto::INSECURE,
        Proxy::V2Insecure => proxy_proto::V2 | proxy_proto::INSECURE,
    }
}

/// `ADDR[-ADDR][:PORT[-PORT]]`, IPv6 addresses in brackets when ports follow.
/// Text that is no range matches nothing in particular, as in the fork.
fn range(text: &str) -> AddrRange {
    let (addrs, ports) = if let Some(inner) = text.strip_prefix('[') {
        let (a, p) = inner.split_once(']').unwrap_or((inner, ""));
        (a, p.trim_start_matches(':'))
    } else if text.matches(':').count() == 1 {
        text.split_once(':').unwrap_or((text, ""))
    } else {
        (text, "")
    };
    let (low, high) = addrs.split_once('-').unwrap_or((addrs, addrs));
    let ip = |s: &str| s.parse::<IpAddr>().map(Ip16::from_ip).unwrap_or_default();
    let (plow, phigh) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |s: &str| Be16::new(s.parse().unwrap_or(0));
    AddrRange {
        min_addr: ip(low),
        max_addr: ip(high),
        min_port: port(plow),
        max_port: port(phigh),
    }
}

fn matched(cond: &MatchCond, af: Af) -> Match {
    Match {
        af,
        srange: range(&cond.src),
        drange: range(&cond.dst),
        iifname: Name::truncated(&cond.iif),
        oifname: Name::truncated(&cond.oif),
    }
}

/// The server part of a server message.
pub(crate) fn dest(
    service: &Service,
    addr: SocketAddr,
    method: Method,
    weight: u32,
    limits: (u32, u32),
) -> Dest {
    let mut d = Dest {
        af: Af::of(addr.ip()),
        port: Be16::new(addr.port()),
        proto: service.proto.into(),
        weight,
        addr: Ip16::from_ip(addr.ip()),
        max_conn: limits.0,
        min_conn: limits.1,
        ..Dest::default()
    };
    d.set_fwd_mode(match method {
        Method::Nat => fwd_mode::MASQ,
        Method::Tun => fwd_mode::TUNNEL,
        Method::Dr => fwd_mode::DROUTE,
        Method::FullNat => fwd_mode::FULLNAT,
        Method::Snat => fwd_mode::SNAT,
    });
    d
}

/// The message about one local address of a service.
pub(crate) fn laddr(service: &Service, l: &model::Laddr) -> LaddrTable {
    LaddrTable {
        af_l: Af::of(l.addr),
        laddr: Ip16::from_ip(l.addr),
        ifname: Name::truncated(&l.port),
        ..LaddrTable::of(service)
    }
}

/// The message about one entry of a deny or allow list; `None` for an address
/// of another family than the service.
pub(crate) fn acl(service: &Service, entry: &ListEntry) -> Option<AclConf> {
    let mut a = AclConf {
        vaddr: service.addr,
        vport: service.port,
        proto: service.proto,
        af: u8::try_from(service.af.0).unwrap_or(0),
        ..AclConf::default()
    };
    match entry {
        ListEntry::Addr(ip) => {
            if Af::of(*ip) != service.af {
                return None;
            }
            a.subject = Ip16::from_ip(*ip);
        }
        ListEntry::Ipset(name) => a.ipset = Name::truncated(name),
    }
    Some(a)
}

/// The message about a tunnel device.
pub(crate) fn tunnel(t: &model::Tunnel) -> Tunnel {
    Tunnel {
        ifname: Name::truncated(&t.name),
        kind: Name::truncated(&t.kind),
        link: Name::truncated(&t.link),
        saddr: Be32::new(t.local.to_bits()),
        daddr: Be32::new(t.remote.to_bits()),
        ..Tunnel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_match_services() {
        let r = range("10.30.0.0-10.30.3.255:80-90");
        assert_eq!(r.min_addr.v4(), Ipv4Addr::new(10, 30, 0, 0));
        assert_eq!(r.max_addr.v4(), Ipv4Addr::new(10, 30, 3, 255));
        assert_eq!((r.min_port.get(), r.max_port.get()), (80, 90));
        let r = range("[2001:db8::1-2001:db8::9]:53");
        assert_eq!(
            r.max_addr.v6(),
            "2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap()
        );
        assert_eq!((r.min_port.get(), r.max_port.get()), (53, 53));
        assert_eq!(range(""), AddrRange::default());
        assert_eq!(range("10.0.0.1").max_addr.v4(), Ipv4Addr::new(10, 0, 0, 1));
    }
}
