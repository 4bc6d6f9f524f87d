//! The lines of a packet script that configure the director.
//!
//! Ports and addresses, routes, services, servers, settings: what the command line
//! tools and dpvs.conf would say, changed in the model of a [`Lab`] and published
//! by it. Lists, limits, sets and schedulers of queues are `guard`'s and `tc`'s.
//! Knows no frame and no worker.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use dpvs_core::frame::PortId;
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::inet::tunnel::{self as device, Kind, Options, Tunnels};
use dpvs_core::matching::{Matching, Side};
use dpvs_core::message::ToWorker;
use dpvs_core::proto::tcp::State;
use dpvs_core::sched::{Table, TableConf};
use dpvs_core::service::{
    Dest, DestId, FwdMode, HashTarget, Laddr, Persistence, Policy, SchedKind, Service, ServiceId,
    ServiceKey, Tunnel, TunnelCsum, TunnelKind,
};
use dpvs_core::snapshot::{Local, Port, PortAddr, Settings, SynproxySettings, Tag};
use dpvs_core::xmit::proxy::Proxy;
use dpvs_core::xmit::uoa::UoaMode;

use super::lab::{Lab, Step};
use super::packet::mac;
use super::vars::Vars;

fn on(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither on nor off")),
    }
}

fn proxy(text: &str) -> Result<Proxy, String> {
    let number = match text {
        "v1" => 1,
        "v2" => 2,
        "v1-insecure" => 0x11,
        "v2-insecure" => 0x12,
        _ => 0,
    };
    Proxy::from_number(number).ok_or_else(|| format!("`{text}` is no PROXY protocol"))
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let bad = || format!("`{text}` is no prefix");
    let (addr, plen) = text.split_once('/').ok_or_else(bad)?;
    Ok((
        addr.parse().map_err(|_| bad())?,
        plen.parse().map_err(|_| bad())?,
    ))
}

/// What a service without an address wants of a packet.
fn matching(words: &[&str]) -> Result<Matching, String> {
    fn range<T: FromStr>(text: &str) -> Result<RangeInclusive<T>, String> {
        let (a, b) = text.split_once('-').unwrap_or((text, text));
        let value = |t: &str| t.parse().map_err(|_| format!("`{t}` is no bound"));
        Ok(value(a)?..=value(b)?)
    }
    let side = |addrs, ports| -> Result<Side, String> {
        Ok(Side {
            addrs: option(words, addrs).map(range).transpose()?,
            ports: option(words, ports).map(range).transpose()?,
        })
    };
    let port = |name| -> Result<Option<PortId>, String> {
        let number = option(words, name).map(|n| n.parse().map(PortId));
        number
            .transpose()
            .map_err(|_| format!("no device of {name}"))
    };
    Ok(Matching {
        src: side("src", "sports")?,
        dst: side("dst", "dports")?,
        iif: port("iif")?,
        oif: port("oif")?,
    })
}

/// Words behind fixed ones, as `name value` or a bare name.
pub(super) fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let i = words.iter().position(|w| *w == name)?;
    Some(words.get(i + 1).copied().unwrap_or(""))
}

impl Lab {
    fn port_mut(&mut self, text: &str) -> Result<&mut Port, String> {
        let port: usize = text.parse().map_err(|_| "a port is a number")?;
        let ports = Arc::make_mut(&mut self.snap.ports);
        ports.get_mut(port).ok_or_else(|| "no such port".into())
    }

    /// Puts a device behind the others, or where one was.
    fn set_device(&mut self, at: usize, device: Port) {
        let mut ports = self.snap.ports.to_vec();
        ports.resize_with(ports.len().max(at + 1), Port::default);
        ports[at] = device;
        self.snap.ports = ports.into();
    }

    pub(super) fn key(words: &[&str], vars: &Vars) -> Result<ServiceKey, String> {
        let [proto, end, ..] = words else {
            return Err("a service is `tcp VIP:PORT` or `udp VIP:PORT`".into());
        };
        let (addr, port) = vars.endpoint(end)?;
        let proto = match *proto {
            "tcp" => 6,
            "udp" => 17,
            "sctp" => 132,
            "icmp" => 1,
            "icmp6" => 58,
            _ => return Err("a service is tcp, udp, sctp, icmp or icmp6".into()),
        };
        Ok(ServiceKey { proto, addr, port })
    }

    fn service(&mut self, words: &[&str], vars: &Vars) -> Result<&mut Service, String> {
        let key = Self::key(words, vars)?;
        let found = self.services.iter_mut().find(|s| s.key == key);
        found.ok_or_else(|| "no such service".into())
    }

    /// Changes the configuration; false if the line is about something else.
    pub fn config(&mut self, words: &[&str], vars: &Vars) -> Result<bool, String> {
        if let Some(log) = &mut self.log {
            log.push(Step::Line(words.join(" ")));
        }
        let number = |text: &str| vars.number(text);
        match *words {
            ["workers", n] if self.workers.is_empty() => self.count = number(n)? as u8,
            ["conns-max", n] if self.workers.is_empty() => self.conns = number(n)? as usize,
            ["addr", port, addr, ..] => {
                let (addr, plen) = prefix(addr)?;
                let sapool = words.contains(&"sapool");
                let id = PortId(number(port)? as u16);
                let mtu = self.port_mut(port)?.mtu;
                let entry = PortAddr { addr, plen, sapool };
                self.port_mut(port)?.addrs.push(entry);
                self.snap
                    .locals
                    .insert(addr, Local::Own { port: id, sapool });
                self.routes.push(Route {
                    dst: addr,
                    plen,
                    gateway: None,
                    src: Some(addr),
                    port: id,
                    mtu,
                });
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["deprecated", port, addr, on] => {
                let addr = vars.addr(addr)?;
                let all = &mut self.port_mut(port)?.deprecated;
                all.retain(|a| *a != addr);
                if on == "on" {
                    all.push(addr);
                }
            }
            ["deladdr", addr] => {
                let addr = vars.addr(addr)?;
                for port in Arc::make_mut(&mut self.snap.ports) {
                    port.addrs.retain(|a| a.addr != addr);
                }
                self.snap.locals.remove(&addr);
                self.routes.retain(|r| r.src != Some(addr));
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["route", dst, ref rest @ ..] => {
                let (dst, plen) = prefix(dst)?;
                let port = PortId(number(option(rest, "port").ok_or("`port` is missing")?)? as u16);
                self.routes.retain(|r| (r.dst, r.plen) != (dst, plen));
                self.routes.push(Route {
                    dst,
                    plen,
                    gateway: option(rest, "via").map(|g| vars.addr(g)).transpose()?,
                    src: option(rest, "src").map(|a| vars.addr(a)).transpose()?,
                    port,
                    mtu: option(rest, "mtu").map_or(Ok(1500), number)? as u16,
                });
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["delroute", dst] => {
                let (dst, plen) = prefix(dst)?;
                self.routes.retain(|r| (r.dst, r.plen) != (dst, plen));
                self.snap.fib = Arc::new(Fib::new(&self.routes));
            }
            ["kni-host", addr, "port", port] => {
                let port = PortId(number(port)? as u16);
                self.snap
                    .locals
                    .insert(vars.addr(addr)?, Local::Host { port });
            }
            ["mtu", port, n] => {
                let mtu = number(n)? as u16;
                self.port_mut(port)?.mtu = mtu;
            }
            ["vlan", port, parent, id, ref rest @ ..] => {
                let at = number(port)? as usize;
                let (id, parent) = (number(id)? as u16, PortId(number(parent)? as u16));
                let below = self.port_mut(&parent.0.to_string())?;
                below.vlans.push((id, PortId(at as u16)));
                below.vlans.sort_unstable();
                let device = Port {
                    name: format!("{}.{id}", below.name),
                    mac: option(rest, "mac").map_or(Ok(below.mac), mac)?,
                    mtu: below.mtu,
                    has_host: true,
                    vlan: Some(Tag { parent, id }),
                    ..Port::default()
                };
                self.set_device(at, device);
            }
            ["tunnel", port, kind, local, remote, ref rest @ ..] => {
                let at = number(port)? as usize;
                let v4 = |text: &str| match text {
                    "any" => Ok(Ipv4Addr::UNSPECIFIED),
                    _ => text
                        .parse()
                        .map_err(|_| format!("{text} is no IPv4 address")),
                };
                let options = Options {
                    csum: words.contains(&"csum"),
                    seq: words.contains(&"seq"),
                    key: option(rest, "key")
                        .map(number)
                        .transpose()?
                        .map(|k| k as u32),
                };
                let tunnel = device::Tunnel {
                    kind: if kind == "gre" { Kind::Gre } else { Kind::Ipip },
                    local: v4(local)?,
                    remote: v4(remote)?,
                    link: option(rest, "dev")
                        .map(number)
                        .transpose()?
                        .map(|p| PortId(p as u16)),
                    ttl: option(rest, "ttl").map_or(Ok(0), number)? as u8,
                    tos: option(rest, "tos").map_or(Ok(1), number)? as u8,
                    input: options,
                    output: options,
                };
                let device = Port {
                    name: format!("tunl{at}"),
                    mtu: 1500 - tunnel.overhead(),
                    tunnel: Some(Arc::new(tunnel)),
                    ..Port::default()
                };
                self.set_device(at, device);
                let all = self.snap.ports.iter().enumerate();
                let some = all.filter_map(|(n, p)| Some((PortId(n as u16), p.tunnel.as_deref()?)));
                self.snap.tunnels = Arc::new(Tunnels::new(some));
            }
            ["delvlan", port] => {
                let at = number(port)? as usize;
                for port in Arc::make_mut(&mut self.snap.ports) {
                    port.vlans.retain(|v| usize::from(v.1.0) != at);
                }
                self.set_device(at, Port::default());
            }
            ["host-port", port, state] => self.port_mut(port)?.has_host = on(state)?,
            ["forward2kni", port, state] => self.port_mut(port)?.forward2kni = on(state)?,
            ["set", name, ref values @ ..] => self.set(name, values, vars)?,
            ["service", _, _, sched, ..] => self.add_service(words, sched, vars)?,
            ["delservice", ref key @ ..] => {
                let key = Self::key(key, vars)?;
                let at = self.services.iter().position(|s| s.key == key);
                let gone = self.services.remove(at.ok_or("no such service")?);
                self.removed.extend(gone.dests.iter().map(|d| d.id));
                self.snap.services.remove(&key);
            }
            ["dest", ref rest @ ..] => self.dest(rest, vars)?,
            ["deldest", proto, vip, dest] => {
                let (addr, port) = vars.endpoint(dest)?;
                let service = self.service(&[proto, vip], vars)?;
                let is = |d: &Dest| (d.addr, d.port) == (addr, port);
                let gone = service.dests.iter().find(|d| is(d)).ok_or("no such dest")?;
                let id = gone.id;
                service.dests = service.dests.iter().filter(|d| !is(d)).copied().collect();
                service.version += 1;
                let service = tabled(service);
                self.snap.services.insert(service);
                self.removed.push(id);
            }
            ["neigh", port, addr, name] => {
                let (port, addr) = (PortId(number(port)? as u16), vars.addr(addr)?);
                let mac = mac(name)?;
                self.publish();
                self.tell(|| ToWorker::NeighAdd { port, addr, mac });
            }
            ["delneigh", port, addr] => {
                let (port, addr) = (PortId(number(port)? as u16), vars.addr(addr)?);
                self.publish();
                self.tell(|| ToWorker::NeighDel { port, addr });
            }
            ["announce", port, addr] => {
                let (port, addr) = (PortId(number(port)? as u16), vars.addr(addr)?);
                self.publish();
                self.tell(|| ToWorker::Announce { port, addr });
            }
            ["zero"] => self.tell(|| ToWorker::Zero { dests: Vec::new() }),
            ["no-buffers", state] => self.sink.empty = on(state)?,
            ["deaf", state] => self.sink.deaf = on(state)?,
            _ => return Ok(self.guard(words, vars)? || self.scheduling(words, vars)?),
        }
        self.dirty = true;
        Ok(true)
    }

    fn add_service(&mut self, words: &[&str], sched: &str, vars: &Vars) -> Result<(), String> {
        let key = Self::key(&words[1..], vars)?;
        let default = if key.addr.is_ipv4() {
            "10.0.1.200"
        } else {
            "2001:db8:2::200"
        };
        let laddrs = option(words, "laddr").unwrap_or(default);
        let mut list = Vec::new();
        for addr in laddrs.split(',').filter(|a| *a != "none") {
            list.push(Laddr {
                addr: vars.addr(addr)?,
                port: PortId(1),
            });
        }
        let timeout = option(words, "conn-timeout").unwrap_or("0");
        self.ids.2 += 1;
        // An edit keeps number and servers.
        let old = self.services.iter().position(|s| s.key == key);
        let old = old.map(|i| self.services.remove(i));
        let id = match &old {
            Some(old) => old.id,
            None => {
                self.ids.1 += 1;
                ServiceId(self.ids.1 - 1)
            }
        };
        let service = Service {
            id,
            uid: old.as_ref().map_or(self.ids.2, |o| o.uid),
            version: old.as_ref().map_or(1, |o| o.version + 1),
            key,
            sched: SchedKind::from_name(sched).ok_or("no such scheduler")?,
            conn_timeout: vars.field(timeout, 31)?,
            proxy: option(words, "proxy").map(proxy).transpose()?,
            expire_quiescent: words.contains(&"expire-quiescent"),
            matching: key
                .addr
                .is_unspecified()
                .then(|| matching(words))
                .transpose()?,
            synproxy: words.contains(&"synproxy"),
            syns: old.as_ref().map_or_else(Arc::default, |o| o.syns.clone()),
            dests: old.map_or_else(|| Vec::new().into(), |o| o.dests),
            laddrs: list.into(),
            policy: policy(words, vars)?,
        };
        self.snap.services.insert(tabled(&service));
        self.services.push(service);
        Ok(())
    }

    /// The number of a server that is gone, for another one: not before every worker
    /// has done with it, as with the master.
    fn number(&mut self, id: DestId) -> Result<DestId, String> {
        let done = self.left.iter().filter(|d| **d == id).count();
        if done == 0 || done < self.workers.len() {
            return Err(format!("number {} is in use", id.0));
        }
        self.left.retain(|d| *d != id);
        Ok(id)
    }

    fn dest(&mut self, words: &[&str], vars: &Vars) -> Result<(), String> {
        let [proto, vip, end, ref rest @ ..] = *words else {
            return Err("a dest is `dest tcp VIP:PORT SERVER:PORT`".into());
        };
        let (addr, port) = vars.endpoint(end)?;
        let id = match option(rest, "number") {
            Some(n) => self.number(DestId(vars.field(n, 20)?))?,
            None => DestId(self.ids.0),
        };
        let service = self.service(&[proto, vip], vars)?;
        let mut dests = service.dests.to_vec();
        let at = dests.iter().position(|d| (d.addr, d.port) == (addr, port));
        let mut dest = at.map_or_else(|| Dest::new(id, addr, port), |i| dests[i]);
        if let Some(n) = option(rest, "weight") {
            dest.weight = vars.field(n, 16)? as u16;
        }
        if let Some(n) = option(rest, "max-conn") {
            dest.max_conn = vars.field(n, 32)?;
        }
        if let Some(n) = option(rest, "min-conn") {
            dest.min_conn = vars.field(n, 32)?;
        }
        if at.is_some_and(|i| {
            (dests[i].max_conn, dests[i].min_conn) != (dest.max_conn, dest.min_conn)
        }) {
            dest.terms += 1;
        }
        let out = rest.contains(&"inhibited");
        dest.returns += u8::from(dest.inhibited && !out);
        dest.inhibited = out;
        for (word, mode) in [
            ("dr", FwdMode::Dr),
            ("nat", FwdMode::Masq),
            ("tunnel", FwdMode::Tunnel),
            ("local", FwdMode::Local),
            ("bypass", FwdMode::Bypass),
        ] {
            if rest.contains(&word) {
                dest.mode = mode;
            }
        }
        if dest.mode == FwdMode::Tunnel {
            let port = option(rest, "gue");
            dest.tunnel = Tunnel {
                kind: match port {
                    Some(_) => TunnelKind::Gue,
                    None if rest.contains(&"gre") => TunnelKind::Gre,
                    None => TunnelKind::Ip,
                },
                csum: match option(rest, "csum") {
                    None => TunnelCsum::None,
                    Some("remote") => TunnelCsum::Remote,
                    Some(_) => TunnelCsum::Full,
                },
                port: port.map_or(Ok(0), |n| vars.field(n, 16))? as u16,
            };
        }
        if rest.contains(&"snat") {
            dest.mode = FwdMode::Snat;
        }
        match at {
            Some(i) => dests[i] = dest,
            None => dests.push(dest),
        }
        service.dests = dests.into();
        service.version += 1;
        let service = tabled(service);
        self.snap.services.insert(service);
        if at.is_none() {
            self.ids.0 += 1;
            self.names.insert(id, end.into());
        }
        Ok(())
    }

    fn set_synproxy(s: &mut SynproxySettings, values: &[&str], vars: &Vars) -> Result<(), String> {
        let [name, value] = *values else {
            return Err("`set synproxy NAME VALUE`".into());
        };
        let state = |name: &str| {
            let state = State::ALL.iter().find(|t| t.name() == name);
            state.map(|s| 1u16 << s.index())
        };
        match name {
            "mss" => s.mss = vars.field(value, 16)? as u16,
            "ttl" => s.ttl = vars.field(value, 8)? as u8,
            "sack" => s.sack = on(value)?,
            "wscale" => s.wscale = vars.field(value, 4)? as u8,
            "timestamp" => s.timestamp = on(value)?,
            "close-client-window" => s.close_client_window = on(value)?,
            "defer-rs-syn" => s.defer_rs_syn = on(value)?,
            "rs-syn-max-retry" => s.rs_syn_max_retry = vars.field(value, 8)? as u8,
            "ack-storm-thresh" => s.ack_storm_thresh = vars.field(value, 16)? as u16,
            "max-ack-saved" => s.max_ack_saved = vars.field(value, 8)? as u8,
            "auto-syn-rate" => s.auto_syn_rate = vars.field(value, 32)?,
            name => match (state(name), on(value)?) {
                (Some(bit), true) => s.reuse |= bit,
                (Some(bit), false) => s.reuse &= !bit,
                (None, _) => return Err(format!("`{name}` is no setting of the SYN proxy")),
            },
        }
        Ok(())
    }

    fn set(&mut self, name: &str, values: &[&str], vars: &Vars) -> Result<(), String> {
        let s: &mut Settings = Arc::make_mut(&mut self.snap.settings);
        let value = *values.last().ok_or("a value is missing")?;
        match name {
            "forwarding" => s.forward4 = on(value)?,
            "forwarding6" => s.forward6 = on(value)?,
            "ipv6" => s.ipv6_off = !on(value)?,
            "xmit-ttl" => s.xmit_ttl = on(value)?,
            "fast-xmit" => s.fast_xmit = on(value)?,
            "defence-tcp-drop" => s.defence_tcp_drop = on(value)?,
            "defence-udp-drop" => s.defence_udp_drop = on(value)?,
            "synproxy" => Self::set_synproxy(&mut s.synproxy, values, vars)?,
            "expire-quiescent-template" => s.expire_quiescent_template = on(value)?,
            "neigh-timeout" => s.neigh_timeout = vars.field(value, 31)?,
            "uoa" => match value {
                "opp" => s.uoa_mode = UoaMode::Opp,
                "ipo" => s.uoa_mode = UoaMode::Ipo,
                n => s.uoa_max_trail = vars.field(n, 16)? as u16,
            },
            "queue" => s.unres_queue = vars.number(value)? as usize,
            "timeout" if values.len() == 2 => {
                let secs = vars.field(value, 31)?;
                let tcp = State::ALL.iter().find(|t| t.name() == values[0]);
                match (values[0], tcp) {
                    (_, Some(state)) => s.timeouts.tcp[state.index()] = secs,
                    ("UDP_ONEWAY", _) => s.timeouts.udp[1] = secs,
                    ("UDP_NORM", _) => s.timeouts.udp[2] = secs,
                    (other, _) => return Err(format!("`{other}` is no state")),
                }
            }
            _ => return Err(format!("`{name}` is no setting")),
        }
        Ok(())
    }
}

/// A service with the table its scheduler looks servers up in.
fn tabled(service: &Service) -> Arc<Service> {
    let conf = TableConf {
        quic: service.policy.quic,
        ..TableConf::default()
    };
    let mut service = service.clone();
    service.policy.table = Table::build(service.sched, &service.dests, conf).map(Arc::new);
    Arc::new(service)
}

/// What a `service` line says beside addresses and scheduler.
fn policy(words: &[&str], vars: &Vars) -> Result<Policy, String> {
    let persistence = match option(words, "persistent") {
        None => None,
        Some(timeout) => {
            let bits = option(words, "mask").unwrap_or("128");
            Some(Persistence {
                timeout: vars.field(timeout, 31)?,
                mask: u128::MAX << (128 - vars.field(bits, 8)?.clamp(1, 128)),
                sip: words.contains(&"sip"),
            })
        }
    };
    let check = match option(words, "check") {
        Some(ups) => Some(vars.field(ups, 8)? as u8),
        None => None,
    };
    Ok(Policy {
        table: None,
        hash_target: if words.contains(&"qid") {
            HashTarget::Qid
        } else {
            HashTarget::Sip
        },
        fallback: words.contains(&"fallback"),
        with_port: words.contains(&"with-port"),
        quic: words.contains(&"quic"),
        one_packet: words.contains(&"ops"),
        persistence,
        check,
    })
}
