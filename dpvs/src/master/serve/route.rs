//! Routes of both families (ids 28 to 41).

use std::net::IpAddr;

use dpvs_core::frame::PortId;
use dpvs_ctl::msg::{self, Route6, RouteCompact, RtAddr, route_scope, route6_op, rtf};
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Af, Ip16, Name, Wire};

use super::{Answer, exact};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::route::{Kind, Route};

/// What of the flags is kept only to be shown.
const SHOWN: u32 =
    !(rtf::LOCALIN | rtf::KNI | rtf::FORWARD | rtf::DEFAULT | rtf::GATEWAY | rtf::UP);

fn kind(flags: u32) -> Option<Kind> {
    if flags & rtf::LOCALIN != 0 {
        Some(Kind::Local)
    } else if flags & rtf::KNI != 0 {
        Some(Kind::Host)
    } else if flags & (rtf::FORWARD | rtf::DEFAULT) != 0 {
        Some(Kind::Forward)
    } else {
        None
    }
}

fn flags(r: &Route) -> u32 {
    r.flags
        | match r.kind {
            Kind::Local => rtf::LOCALIN,
            Kind::Host => rtf::KNI,
            Kind::Forward if r.plen == 0 => rtf::FORWARD | rtf::DEFAULT,
            Kind::Forward => rtf::FORWARD,
        }
}

/// The fields of any of the request layouts.
struct Asked {
    af: Af,
    dst: Ip16,
    plen: i32,
    gateway: Ip16,
    src: Ip16,
    ifname: Name<16>,
    mtu: u32,
    metric: u32,
    flags: u32,
}

fn some(slot: Ip16, af: Af) -> Option<IpAddr> {
    slot.to_ip(af).filter(|ip| !ip.is_unspecified())
}

impl From<msg::Route> for Asked {
    fn from(r: msg::Route) -> Self {
        Asked {
            af: r.af,
            dst: r.dst.addr,
            plen: r.dst.plen,
            gateway: r.gateway.addr,
            src: r.src.addr,
            ifname: r.ifname,
            mtu: r.mtu,
            metric: r.metric,
            flags: r.flags,
        }
    }
}

impl From<RouteCompact> for Asked {
    fn from(r: RouteCompact) -> Self {
        let by_scope = match r.scope {
            route_scope::HOST => rtf::LOCALIN,
            route_scope::KNI => rtf::KNI,
            _ => rtf::FORWARD,
        };
        let flags = if kind(r.flags).is_some() {
            r.flags
        } else {
            r.flags | by_scope
        };
        Asked {
            af: r.af,
            dst: r.dst,
            plen: r.plen.into(),
            gateway: r.via,
            src: r.src,
            ifname: r.ifname,
            mtu: r.mtu,
            metric: r.metric.into(),
            flags,
        }
    }
}

impl Master {
    fn route(&self, a: &Asked) -> Result<Route> {
        let plen = u8::try_from(a.plen)
            .ok()
            .filter(|p| *p <= a.af.max_plen())
            .ok_or(Fault::Invalid("prefix length"))?;
        let port = self
            .state
            .links
            .find(a.ifname.bytes())
            .ok_or(Fault::Invalid("no such device"))?;
        let dst = a.dst.to_ip(a.af).ok_or(Fault::Invalid("address family"))?;
        let kind = kind(a.flags).ok_or(Fault::Invalid("neither a local nor a forwarding route"))?;
        if kind != Kind::Forward && (dst.is_unspecified() || plen != a.af.max_plen()) {
            return Err(Fault::Invalid("a local route is for one address"));
        }
        let gateway = some(a.gateway, a.af);
        Ok(Route {
            kind,
            dst,
            plen,
            gateway,
            src: some(a.src, a.af),
            port,
            mtu: u16::try_from(a.mtu).map_err(|_| Fault::Invalid("MTU above 65535"))?,
            // 16 bits, as DPVS keeps it.
            metric: (a.metric & 0xffff) as u16,
            flags: a.flags & SHOWN,
        }
        .masked())
    }

    fn change_route(&mut self, route: &Route, add: bool) -> Result<()> {
        if add {
            self.state.routes.add(route.clone())?;
        } else {
            self.state.routes.del(route)?;
        }
        self.state.net_changed = true;
        Ok(())
    }

    pub(super) fn route4_change(&mut self, body: &[u8], add: bool) -> Result<Answer> {
        let mut asked: Asked = if body.len() == RouteCompact::SIZE {
            // DIFFERS: the C daemon refuses what C keepalived sends.
            exact::<RouteCompact>(body)?.into()
        } else {
            exact::<msg::Route>(body)?.into()
        };
        match asked.af {
            Af::UNSPEC | Af::INET => asked.af = Af::INET,
            _ => return Err(Fault::Unsupported("address family")),
        }
        let route = self.route(&asked)?;
        match self.change_route(&route, add) {
            // As DPVS: not told to the client.
            Ok(()) | Err(Fault::Exists | Fault::Missing) => Ok(Answer::Done),
            Err(other) => Err(other),
        }
    }

    pub(super) fn agent_route(&mut self, body: &[u8], add: bool) -> Result<Answer> {
        let mut asked: Asked = exact::<msg::Route>(body)?.into();
        if asked.af == Af::UNSPEC {
            asked.af = Af::INET;
        }
        let route = self.route(&asked)?;
        match self.change_route(&route, add) {
            Ok(()) => Ok(Answer::Done),
            Err(Fault::Exists | Fault::Missing) if asked.af == Af::INET => Ok(Answer::Done),
            Err(other) => Err(other),
        }
    }

    pub(super) fn route4_flush(&mut self, body: &[u8]) -> Result<Answer> {
        let r: msg::Route = exact(body)?;
        let port = self
            .state
            .links
            .find(r.ifname.bytes())
            .ok_or(Fault::Invalid("no such device"))?;
        self.state.routes.flush(port, true);
        self.state.net_changed = true;
        Ok(Answer::Done)
    }

    pub(super) fn route6_change(&mut self, body: &[u8]) -> Result<Answer> {
        let r: Route6 = exact(body)?;
        let port = self
            .state
            .links
            .find(r.ifname.bytes())
            .ok_or(Fault::Invalid("no such device"))?;
        let add = match r.ops {
            route6_op::ADD => true,
            route6_op::DEL => false,
            route6_op::FLUSH => {
                self.state.routes.flush(port, false);
                self.state.net_changed = true;
                return Ok(Answer::Done);
            }
            _ => return Err(Fault::Invalid("operation")),
        };
        if !(0..=128).contains(&r.src.plen) || !(0..=128).contains(&r.prefsrc.plen) {
            return Err(Fault::Invalid("prefix length"));
        }
        // Clients fill one of the two with the source.
        let src = if r.src.addr.is_any(Af::INET6) {
            r.prefsrc.addr
        } else {
            r.src.addr
        };
        let route = self.route(&Asked {
            af: Af::INET6,
            dst: r.dst.addr,
            plen: r.dst.plen,
            gateway: r.gateway,
            src,
            ifname: r.ifname,
            mtu: r.mtu,
            metric: 0,
            flags: if kind(r.flags).is_some() {
                r.flags
            } else {
                r.flags | rtf::FORWARD
            },
        })?;
        self.change_route(&route, add)?;
        Ok(Answer::Done)
    }

    fn route_mtu(&self, r: &Route) -> u32 {
        if r.mtu > 0 {
            r.mtu
        } else {
            self.state.links.get(r.port).map_or(0, |l| l.mtu)
        }
        .into()
    }

    fn filtered(&self, port: Option<PortId>, v4: bool) -> impl Iterator<Item = &Route> {
        self.state
            .routes
            .listed(v4)
            .into_iter()
            .filter(move |r| port.is_none_or(|p| p == r.port))
    }

    pub(super) fn route4_list(&mut self, body: &[u8]) -> Result<Answer> {
        let asked: msg::Route = exact(body)?;
        let port = match asked.ifname.bytes() {
            [] => None,
            name => Some(self.state.links.find(name).ok_or(Fault::Missing)?),
        };
        let at = |ip: Option<IpAddr>, plen: u8| RtAddr {
            addr: ip.map_or(Ip16::ANY, Ip16::from_ip),
            plen: plen.into(),
        };
        let list: Vec<msg::Route> = self
            .filtered(port, true)
            .map(|r| msg::Route {
                af: Af::INET,
                mtu: self.route_mtu(r),
                flags: flags(r),
                metric: r.metric.into(),
                dst: at(Some(r.dst), r.plen),
                src: at(r.src, 0),
                gateway: at(r.gateway, 0),
                prefsrc: RtAddr::default(),
                ifname: Name::truncated(self.state.links.name(r.port)),
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }

    pub(super) fn route6_list(&mut self, body: &[u8]) -> Result<Answer> {
        let asked: Route6 = exact(body)?;
        let port = match asked.ifname.bytes() {
            [] => None,
            name => match self.state.links.find(name) {
                Some(port) => Some(port),
                // As DPVS: success without a body.
                None => return Ok(Answer::Body(Vec::new())),
            },
        };
        let list: Vec<Route6> = self
            .filtered(port, false)
            .map(|r| {
                let src = RtAddr {
                    addr: r.src.map_or(Ip16::ANY, Ip16::from_ip),
                    plen: if r.src.is_some() { 128 } else { 0 },
                };
                Route6 {
                    ops: route6_op::GET,
                    dst: RtAddr {
                        addr: Ip16::from_ip(r.dst),
                        plen: r.plen.into(),
                    },
                    src,
                    prefsrc: src,
                    ifname: Name::truncated(self.state.links.name(r.port)),
                    gateway: r.gateway.map_or(Ip16::ANY, Ip16::from_ip),
                    mtu: self.route_mtu(r),
                    flags: flags(r),
                }
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }
}
