//! Tunnels (ids 94 to 98).

use std::net::Ipv4Addr;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::tunnel::{Kind, Options, Tunnel};
use dpvs_ctl::msg::Tunnel as Listed;
use dpvs_ctl::{Be16, Be32, Name, Wire};

use super::{Answer, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::link::{Link, Over};

/// Flags of a direction, as numbers of the header's first bits read backwards.
mod flag {
    pub(super) const CSUM: u16 = 0x01;
    pub(super) const KEY: u16 = 0x04;
    pub(super) const SEQ: u16 = 0x08;
    /// Set in a packet's header; here they mean nothing.
    pub(super) const ALL: u16 = CSUM | KEY | SEQ;
}

/// MTU of a tunnel that names no port.
const MTU: u16 = 1500;

fn options(flags: Be16, key: Be32) -> Result<Options> {
    let flags = flags.get();
    if flags & !flag::ALL != 0 {
        return Err(Fault::Invalid("flags of a tunnel"));
    }
    Ok(Options {
        csum: flags & flag::CSUM != 0,
        key: (flags & flag::KEY != 0).then(|| key.get()),
        seq: flags & flag::SEQ != 0,
    })
}

fn listed_options(options: Options) -> (Be16, Be32) {
    let bit = |on, bit| if on { bit } else { 0 };
    let flags = bit(options.csum, flag::CSUM)
        | bit(options.key.is_some(), flag::KEY)
        | bit(options.seq, flag::SEQ);
    (Be16::new(flags), Be32::new(options.key.unwrap_or(0)))
}

fn kind(name: &Name<16>) -> Option<Kind> {
    match name.bytes() {
        b"ipip" => Some(Kind::Ipip),
        b"gre" => Some(Kind::Gre),
        _ => None,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ipip => "ipip",
        Kind::Gre => "gre",
    }
}

impl Master {
    fn named_tunnel(&self, name: &Name<16>) -> Result<PortId> {
        let port = self.state.links.find(name.bytes()).ok_or(Fault::Missing)?;
        self.state.links.tunnel(port).ok_or(Fault::Missing)?;
        Ok(port)
    }

    fn tunnel_of(&self, p: &Listed, kind: Kind, link: Option<PortId>) -> Result<Tunnel> {
        let options_of = |flags, key| match kind {
            Kind::Gre => options(flags, key),
            Kind::Ipip => Ok(Options::default()),
        };
        let remote = Ipv4Addr::from_bits(p.daddr.get());
        if remote.is_multicast() || remote.is_broadcast() {
            return Err(Fault::Invalid("a tunnel has one other end"));
        }
        Ok(Tunnel {
            kind,
            local: Ipv4Addr::from_bits(p.saddr.get()),
            remote,
            link,
            ttl: p.ttl,
            tos: p.tos,
            input: options_of(p.i_flags, p.i_key)?,
            output: options_of(p.o_flags, p.o_key)?,
        })
    }

    fn tunnel_mtu(&self, tunnel: &Tunnel) -> u16 {
        let below = tunnel.link.and_then(|link| self.state.links.get(link));
        below
            .map_or(MTU, |l| l.mtu)
            .saturating_sub(tunnel.overhead())
    }

    /// DIFFERS: two tunnels with the same ends could not be told apart and are
    /// refused; DPVS compares the names only.
    fn same_ends(&self, tunnel: &Tunnel, but: Option<PortId>) -> bool {
        let ends = |t: &Tunnel| (t.kind, t.local, t.remote, t.input.key);
        self.state
            .links
            .ids()
            .filter(|id| Some(*id) != but)
            .filter_map(|id| self.state.links.tunnel(id))
            .any(|other| ends(other) == ends(tunnel))
    }

    pub(super) fn tunnel_add(&mut self, body: &[u8]) -> Result<Answer> {
        let p: Listed = prefix(body)?;
        let kind = kind(&p.kind).ok_or(Fault::Invalid("kind of a tunnel"))?;
        if let Some(port) = self.state.links.find(p.ifname.bytes()) {
            return Err(match self.state.links.tunnel(port) {
                Some(_) => Fault::Exists,
                None => Fault::Invalid("a device of that name is no tunnel"),
            });
        }
        // As DPVS: a device that is not there is as if none were named.
        let link = self.state.links.find(p.link.bytes());
        let tunnel = self.tunnel_of(&p, kind, link)?;
        if self.same_ends(&tunnel, None) {
            return Err(Fault::Exists);
        }
        let name = if p.ifname.is_empty() {
            let free = |n: &usize| {
                let name = format!("{}{n}", kind_name(kind));
                self.state.links.find(name.as_bytes()).is_none()
            };
            let n = (0..).find(free).unwrap_or(0);
            format!("{}{n}", kind_name(kind))
        } else {
            p.ifname.text().into_owned()
        };
        let link = Link {
            name,
            mtu: self.tunnel_mtu(&tunnel),
            ..Link::default()
        };
        self.add_device(link, Over::Tunnel(Arc::new(tunnel)))?;
        Ok(Answer::Done)
    }

    pub(super) fn tunnel_del(&mut self, body: &[u8]) -> Result<Answer> {
        let p: Listed = prefix(body)?;
        let port = self.named_tunnel(&p.ifname)?;
        self.del_device(port);
        Ok(Answer::Done)
    }

    /// Gives a tunnel all its parameters anew; it stays of its kind.
    pub(super) fn tunnel_change(&mut self, body: &[u8]) -> Result<Answer> {
        let p: Listed = prefix(body)?;
        let port = self.named_tunnel(&p.ifname)?;
        let link = if p.link.is_empty() {
            None
        } else {
            let link = self.state.links.find(p.link.bytes());
            Some(link.ok_or(Fault::NoDevice)?)
        };
        let old = self.state.links.tunnel(port).ok_or(Fault::Missing)?;
        let tunnel = self.tunnel_of(&p, old.kind, link)?;
        if self.same_ends(&tunnel, Some(port)) {
            return Err(Fault::Exists);
        }
        let mtu = self.tunnel_mtu(&tunnel);
        if let Some((link, over)) = self.state.links.made_mut(port) {
            link.mtu = mtu;
            *over = Over::Tunnel(Arc::new(tunnel));
        }
        self.state.net_changed = true;
        Ok(Answer::Done)
    }

    pub(super) fn tunnel_list(&mut self, body: &[u8]) -> Result<Answer> {
        let p: Listed = prefix(body)?;
        let links = &self.state.links;
        if !p.ifname.is_empty() {
            self.named_tunnel(&p.ifname)?;
        }
        let wanted = |name: &str, tunnel: &Tunnel| {
            let named = p.ifname.is_empty() || p.ifname.bytes() == name.as_bytes();
            let kind = !p.ifname.is_empty()
                || p.kind.is_empty()
                || p.kind.bytes() == kind_name(tunnel.kind).as_bytes();
            let below = tunnel.link.map_or("", |link| links.name(link));
            named && kind && (p.link.is_empty() || p.link.bytes() == below.as_bytes())
        };
        let mut out = Vec::new();
        for id in links.ids() {
            let Some(tunnel) = links.tunnel(id).filter(|t| wanted(links.name(id), t)) else {
                continue;
            };
            let (i_flags, i_key) = listed_options(tunnel.input);
            let (o_flags, o_key) = listed_options(tunnel.output);
            let entry = Listed {
                ifname: Name::truncated(links.name(id)),
                kind: Name::truncated(kind_name(tunnel.kind)),
                link: Name::truncated(tunnel.link.map_or("", |link| links.name(link))),
                i_flags,
                o_flags,
                i_key,
                o_key,
                ver_ihl: 0x45,
                tos: tunnel.tos,
                ttl: tunnel.ttl,
                protocol: match tunnel.kind {
                    Kind::Ipip => 4,
                    Kind::Gre => 47,
                },
                saddr: Be32::new(tunnel.local.to_bits()),
                daddr: Be32::new(tunnel.remote.to_bits()),
                ..Listed::default()
            };
            out.extend(entry.encode());
        }
        Ok(Answer::Body(out))
    }
}
