//! `virtual_server`.
//!
//! A block is read in two passes: its own settings first, then what inherits
//! them, so the order of lines does not matter. Corrections keepalived makes
//! when a service is complete are made here, with a message each.

use std::net::{IpAddr, SocketAddr};

use super::check::Defaults;
use super::diag::{Diags, Pos};
use super::keywords;
use super::model::{
    MatchCond, Method, Proto, Proxy, ServiceOpts, Sorry, Vip, VirtualServer, VsGroup,
};
use super::server::{Inherit, family_fits, method, real_server, server_addr};
use super::tree::{Node, shown};
use super::values;

/// Flag bits of the service message.
pub(crate) mod flag {
    pub(crate) const PERSISTENT: u32 = 0x1;
    pub(crate) const HASHED: u32 = 0x2;
    pub(crate) const ONE_PACKET: u32 = 0x4;
    pub(crate) const SYN_PROXY: u32 = 0x8;
    pub(crate) const EXPIRE_QUIESCENT: u32 = 0x10;
    pub(crate) const SCHED1: u32 = 0x20;
    pub(crate) const SCHED2: u32 = 0x40;
    pub(crate) const SCHED3: u32 = 0x80;
    pub(crate) const SIP_HASH: u32 = 0x100;
    pub(crate) const QID_HASH: u32 = 0x200;
    pub(crate) const MATCH: u32 = 0x400;
    pub(crate) const QUIC: u32 = 0x800;
}

const SCHEDULERS: [&str; 15] = [
    "rr", "wrr", "lc", "wlc", "sh", "mh", "dh", "fo", "ovf", "lblc", "lblcr", "sed", "nq", "twos",
    "conhash",
];

/// What the head of a `virtual_server` says.
enum Head {
    Vip(Vip),
    Group(String),
    Match,
}

fn head(node: &Node, diags: &mut Diags) -> Option<Head> {
    let first = values::arg(node, 1, diags)?;
    match first {
        "group" => Some(Head::Group(values::arg(node, 2, diags)?.to_owned())),
        // The name after it is a label only; `match {` alone is seen in the field.
        "match" => Some(Head::Match),
        "fwmark" => {
            let mark = values::number32(node, 2, 0, u32::MAX, diags)?;
            Some(Head::Vip(Vip::Fwmark { mark, v6: false }))
        }
        _ => {
            let port = node.word(2).unwrap_or("0");
            match (first.parse::<IpAddr>(), values::port(port, 0)) {
                (Ok(ip), Some(port)) => Some(Head::Vip(Vip::Addr { ip, port })),
                _ => {
                    diags.error(
                        Some(&node.pos),
                        format!(
                            "Invalid virtual server IP address/port {}/{} - skipping",
                            shown(first),
                            shown(port)
                        ),
                    );
                    None
                }
            }
        }
    }
}

/// The fork reads some numbers with atoi: bad text is 0.
fn forgiving(node: &Node, diags: &mut Diags) -> Option<u32> {
    let word = values::arg(node, 1, diags)?;
    let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
    if digits.len() != word.len() {
        diags.note(
            Some(&node.pos),
            format!("{}: '{}' is no plain number", node.key(), shown(word)),
        );
    }
    Some(digits.parse().unwrap_or(0))
}

fn granularity(word: &str) -> Option<u8> {
    if let Ok(len) = word.parse::<u8>() {
        return (1..=128).contains(&len).then_some(len);
    }
    let bits = word.parse::<std::net::Ipv4Addr>().ok()?.to_bits();
    let len = bits.leading_ones();
    (bits.checked_shl(len).unwrap_or(0) == 0 && len > 0)
        .then(|| u8::try_from(len).ok())
        .flatten()
}

struct Build {
    proto: Option<Proto>,
    sched: Option<String>,
    method: Option<Method>,
    flags: u32,
    hash: Option<u32>,
    persistence: u32,
    granularity: Option<u8>,
    conn_timeout: u32,
    proxy: Proxy,
    bps: u32,
    limit_proportion: u32,
    cond: MatchCond,
    v6: bool,
    inhibit: bool,
    weight: u32,
    out: VirtualServer,
    defaults: Defaults,
    sorry: Option<(SocketAddr, Pos)>,
    sorry_inhibit: bool,
    sorry_method: Option<Method>,
}

impl Build {
    fn new(log_all_failures: bool) -> Self {
        Self {
            proto: None,
            sched: None,
            method: None,
            flags: 0,
            hash: None,
            persistence: 0,
            granularity: None,
            conn_timeout: 0,
            proxy: Proxy::Off,
            bps: 0,
            limit_proportion: 100,
            cond: MatchCond::default(),
            v6: false,
            inhibit: false,
            weight: 1,
            out: VirtualServer {
                name: String::new(),
                vips: Vec::new(),
                proto: Proto::Udp,
                opts: ServiceOpts {
                    sched: String::new(),
                    flags: 0,
                    persistence: 0,
                    granularity: None,
                    conn_timeout: 0,
                    proxy: Proxy::Off,
                    bps: 0,
                    limit_proportion: 100,
                },
                method: Method::Nat,
                laddr_group: None,
                deny_group: None,
                allow_group: None,
                alpha: false,
                omega: false,
                quorum: 1,
                hysteresis: 0,
                quorum_up: None,
                quorum_down: None,
                sorry: None,
                servers: Vec::new(),
            },
            defaults: Defaults {
                log_all_failures,
                ..Defaults::default()
            },
            sorry: None,
            sorry_inhibit: false,
            sorry_method: None,
        }
    }

    /// One statement. Its parameters missing is fatal and already reported.
    fn take(&mut self, n: &Node, diags: &mut Diags) {
        let text = |diags: &mut Diags| values::arg(n, 1, diags).map(str::to_owned);
        match n.key() {
            "real_server" => {}
            "lb_algo" | "lvs_sched" => {
                if let Some(s) = text(diags) {
                    if s.len() > 15 {
                        diags.error(
                            Some(&n.pos),
                            format!("scheduler name '{}' is too long", shown(&s)),
                        );
                        return;
                    }
                    if !SCHEDULERS.contains(&s.as_str()) {
                        diags.note(
                            Some(&n.pos),
                            format!(
                                "scheduler '{s}' is none this program knows; passed on as it is"
                            ),
                        );
                    }
                    self.sched = Some(s);
                }
            }
            "lb_kind" | "lvs_method" => self.method = method(n, diags).or(self.method),
            "protocol" => self.protocol(n, diags),
            "ip_family" => match values::arg(n, 1, diags) {
                Some("inet") => self.v6 = false,
                Some("inet6") => self.v6 = true,
                Some(o) => diags.error(
                    Some(&n.pos),
                    format!("ip_family '{}' is neither inet nor inet6", shown(o)),
                ),
                None => {}
            },
            "hashed" => self.flags |= flag::HASHED,
            "ops" => self.flags |= flag::ONE_PACKET,
            "flag-1" | "sh-fallback" | "mh-fallback" => self.flags |= flag::SCHED1,
            "flag-2" | "sh-port" | "mh-port" => self.flags |= flag::SCHED2,
            "flag-3" => self.flags |= flag::SCHED3,
            "syn_proxy" => self.flags |= flag::SYN_PROXY,
            "expire_quiescent_conn" => self.flags |= flag::EXPIRE_QUIESCENT,
            "quic" => self.flags |= flag::QUIC,
            "hash_target" => match values::arg(n, 1, diags) {
                Some("qid") => self.hash = Some(flag::QID_HASH),
                Some("sip") => self.hash = Some(flag::SIP_HASH),
                Some(o) => {
                    diags.error(
                        Some(&n.pos),
                        format!(
                            "hash_target '{}' is neither sip nor qid - using sip",
                            shown(o)
                        ),
                    );
                    self.hash = Some(flag::SIP_HASH);
                }
                None => {}
            },
            "persistence_timeout" => {
                self.persistence = if n.word(1).is_none() {
                    360
                } else {
                    values::number32(n, 1, 1, 2_678_400, diags).unwrap_or(self.persistence)
                };
            }
            "persistence_granularity" => {
                if let Some(w) = values::arg(n, 1, diags) {
                    self.granularity = granularity(w);
                    if self.granularity.is_none() {
                        diags.error(
                            Some(&n.pos),
                            format!(
                                "persistence_granularity '{}' is no netmask and no prefix length",
                                shown(w)
                            ),
                        );
                    }
                }
            }
            "establish_timeout" => {
                if let Some(s) = forgiving(n, diags) {
                    self.conn_timeout = s.clamp(1, 3600);
                }
            }
            "proxy_protocol" => {
                self.proxy = match values::arg(n, 1, diags) {
                    Some("v1") => Proxy::V1,
                    Some("v2") => Proxy::V2,
                    Some("v1-insecure") => Proxy::V1Insecure,
                    Some("v2-insecure") => Proxy::V2Insecure,
                    _ => Proxy::Off,
                };
                self.defaults.proxy = self.proxy;
            }
            "bps" => self.bps = forgiving(n, diags).unwrap_or(0),
            "limit_proportion" => self.limit_proportion = forgiving(n, diags).unwrap_or(100),
            "src-range" => self.cond.src = text(diags).unwrap_or_default(),
            "dst-range" => self.cond.dst = text(diags).unwrap_or_default(),
            "iif" => self.cond.iif = values::ifname(n, 1, diags).unwrap_or_default(),
            "oif" => self.cond.oif = values::ifname(n, 1, diags).unwrap_or_default(),
            "laddr_group_name" => self.out.laddr_group = text(diags),
            "daddr_group_name" => self.out.deny_group = text(diags),
            "waddr_group_name" => self.out.allow_group = text(diags),
            "inhibit_on_failure" => {
                self.inhibit = values::boolean(n, diags).unwrap_or(self.inhibit);
            }
            "omega" => self.out.omega = values::boolean(n, diags).unwrap_or(self.out.omega),
            "quorum" => {
                if let Some(q) = values::number32(n, 1, 1, u32::MAX, diags) {
                    self.out.quorum = q;
                }
            }
            "hysteresis" => {
                if let Some(h) = values::number32(n, 1, 0, u32::MAX, diags) {
                    self.out.hysteresis = h;
                }
            }
            "quorum_up" => self.out.quorum_up = values::script(n, diags),
            "quorum_down" => self.out.quorum_down = values::script(n, diags),
            "weight" => {
                self.weight =
                    values::number32(n, 1, 1, i32::MAX as u32, diags).unwrap_or(self.weight);
            }
            "sorry_server" => {
                if let Some(a) = server_addr(n, diags) {
                    self.sorry = Some((a, n.pos.clone()));
                }
            }
            "sorry_server_inhibit" => self.sorry_inhibit = true,
            "sorry_server_lvs_method" => self.sorry_method = method(n, diags),
            // The fork parses it and never looks at it.
            "vip_bind_dev" => {}
            _ if self.defaults.take(n, diags) => {}
            _ => keywords::not_taken("virtual_server", n, diags),
        }
    }

    fn protocol(&mut self, n: &Node, diags: &mut Diags) {
        let Some(word) = values::arg(n, 1, diags) else {
            return;
        };
        self.proto = match word {
            "TCP" => Some(Proto::Tcp),
            "UDP" => Some(Proto::Udp),
            "SCTP" => Some(Proto::Sctp),
            "ICMP" => Some(Proto::Icmp),
            "ICMPV6" => Some(Proto::Icmpv6),
            other => {
                diags.error(
                    Some(&n.pos),
                    format!("Unknown protocol {} - ignoring", shown(other)),
                );
                return;
            }
        };
    }
}

/// Builds a service; `None` when it cannot be used.
pub(crate) fn virtual_server(
    node: &Node,
    groups: &[VsGroup],
    log_all_failures: bool,
    diags: &mut Diags,
) -> Option<VirtualServer> {
    let head = head(node, diags)?;
    let mut b = Build::new(log_all_failures);
    for n in node.children() {
        b.take(n, diags);
    }
    let proto = b.proto.unwrap_or(Proto::Udp);
    let pname = b.proto.map_or("none", Proto::name);
    let vip_name = |v: &Vip| match v {
        Vip::Addr { ip, port } => format!("[{ip}]:{pname}:{port}"),
        Vip::Fwmark { mark, .. } => format!("FWM {mark}"),
        Vip::Match(m) => format!("MATCH {pname},{},{},{},{}", m.src, m.dst, m.iif, m.oif),
    };
    let mut out = b.out;
    match &head {
        Head::Vip(v) => {
            out.name = vip_name(v);
            let v = match v {
                Vip::Fwmark { mark, .. } => Vip::Fwmark {
                    mark: *mark,
                    v6: b.v6,
                },
                v => v.clone(),
            };
            out.vips = vec![v];
        }
        Head::Match => {
            if b.cond == MatchCond::default() {
                diags.error(
                    Some(&node.pos),
                    "a match service needs at least one of src-range, dst-range, iif, oif - skipping",
                );
                return None;
            }
            let v = Vip::Match(b.cond.clone());
            out.name = vip_name(&v);
            out.vips = vec![v];
            b.flags |= flag::MATCH;
        }
        Head::Group(name) => {
            out.name = format!("[{name}]:{pname}");
            match groups.iter().find(|g| g.name == *name) {
                Some(g) => out.vips.clone_from(&g.members),
                None => {
                    diags.note(
                        Some(&node.pos),
                        format!("virtual_server_group {name} does not exist: the virtual server has no address"),
                    );
                    return None;
                }
            }
        }
    }
    let name = out.name.clone();
    let fwmark = matches!(head, Head::Vip(Vip::Fwmark { .. }));
    if fwmark && b.proto.is_some() {
        diags.error(
            Some(&node.pos),
            format!(
                "Virtual server {name}: protocol specified for fwmark - protocol will be ignored"
            ),
        );
    } else if b.proto.is_none() && !fwmark {
        diags.error(
            None,
            format!("Virtual server {name}: no protocol set - defaulting to UDP"),
        );
    }
    out.proto = proto;
    if b.sched.is_none() {
        diags.error(
            None,
            format!("Virtual server {name}: no scheduler set, setting default 'wlc'"),
        );
    }
    if b.method.is_none() {
        diags.error(
            None,
            format!("Virtual server {name}: no forwarding method set, setting default NAT"),
        );
    }
    out.method = b.method.unwrap_or_default();
    if b.flags & flag::ONE_PACKET != 0 && proto != Proto::Udp && !fwmark {
        diags.error(
            None,
            format!("Virtual server {name}: one packet scheduling requires UDP - resetting"),
        );
        b.flags &= !flag::ONE_PACKET;
    }
    match b.hash {
        Some(flag::QID_HASH) if proto != Proto::Udp => {
            diags.error(
                None,
                format!("Virtual server {name}: hash_target qid requires UDP - using sip"),
            );
            b.flags |= flag::SIP_HASH;
        }
        Some(h) => b.flags |= h,
        // The fork always names a key for conhash.
        None if b.sched.as_deref() == Some("conhash") => b.flags |= flag::SIP_HASH,
        None => {}
    }
    let zero_port = out
        .vips
        .iter()
        .any(|v| matches!(v, Vip::Addr { port: 0, .. }));
    if zero_port && b.persistence == 0 {
        diags.error(
            None,
            format!(
                "Virtual server {name}: zero port only valid for persistent services - setting"
            ),
        );
        b.persistence = 360;
    }
    if b.persistence != 0 {
        b.flags |= flag::PERSISTENT;
    }
    out.opts = ServiceOpts {
        sched: b.sched.unwrap_or_else(|| "wlc".to_owned()),
        flags: b.flags,
        persistence: b.persistence,
        granularity: b.granularity,
        conn_timeout: b.conn_timeout,
        proxy: b.proxy,
        bps: b.bps,
        limit_proportion: b.limit_proportion,
    };
    out.alpha = b.defaults.alpha.unwrap_or(false);
    let service_port = match out.vips.first() {
        Some(Vip::Addr { port, .. }) => *port,
        _ => 0,
    };
    let v6 = match out.vips.first() {
        Some(Vip::Addr { ip, .. }) => Some(ip.is_ipv6()),
        Some(Vip::Fwmark { v6, .. }) => Some(*v6),
        _ => None,
    };
    for n in node.children().iter().filter(|n| n.key() == "real_server") {
        let inherit = Inherit {
            name: &name,
            method: out.method,
            inhibit: b.inhibit,
            weight: b.weight,
            port: service_port,
            v6,
            defaults: &b.defaults,
        };
        if let Some(rs) = real_server(n, &inherit, proto, diags) {
            if out.servers.iter().any(|s| s.addr == rs.addr) {
                diags.error(
                    None,
                    format!(
                        "VS {name}: real server {} is duplicated - removing second rs",
                        rs.addr
                    ),
                );
            } else {
                out.servers.push(rs);
            }
        }
    }
    finish(
        &mut out,
        b.sorry,
        b.sorry_method,
        b.sorry_inhibit,
        v6,
        diags,
    )?;
    Some(out)
}

/// What needs the whole service: families, quorum, sorry server.
fn finish(
    out: &mut VirtualServer,
    sorry: Option<(SocketAddr, Pos)>,
    sorry_method: Option<Method>,
    sorry_inhibit: bool,
    v6: Option<bool>,
    diags: &mut Diags,
) -> Option<()> {
    let name = out.name.clone();
    if out.servers.is_empty() {
        diags.error(
            None,
            format!("Virtual server {name} has no real servers - ignoring"),
        );
        return None;
    }
    if let Some((mut addr, pos)) = sorry {
        let method = sorry_method.unwrap_or(out.method);
        if addr.port() == 0
            && let Some(Vip::Addr { port, .. }) = out.vips.first()
        {
            addr.set_port(*port);
        }
        if family_fits(v6, addr.ip(), method) {
            out.sorry = Some(Sorry {
                addr,
                method,
                inhibit: sorry_inhibit,
            });
        } else {
            diags.error(
                Some(&pos),
                format!("Address family of virtual server and sorry server {} don't match - skipping sorry server.", addr.ip()),
            );
        }
    }
    let total: u64 = out.servers.iter().map(|s| u64::from(s.weight)).sum();
    if u64::from(out.quorum) > total {
        diags.error(
            None,
            format!(
                "quorum {} for {name} exceeds total weight of real servers {total}, reducing quorum to {total}",
                out.quorum
            ),
        );
        out.quorum = u32::try_from(total).unwrap_or(u32::MAX);
    }
    if out.hysteresis >= out.quorum && (out.hysteresis > 0 || out.quorum == 0) {
        let new = out.quorum.saturating_sub(1);
        diags.error(
            None,
            format!(
                "Virtual server {name}: hysteresis {} >= quorum {}; setting hysteresis to {new}",
                out.hysteresis, out.quorum
            ),
        );
        out.hysteresis = new;
    }
    Some(())
}
