//! `real_server`: address, weight, method and checkers of one destination.
//!
//! What a block does not say comes from its virtual server (`Inherit`).

use std::net::{IpAddr, SocketAddr};

use super::check::{self, CHECKERS, Defaults};
use super::diag::Diags;
use super::keywords;
use super::model::{Method, Proto, RealServer};
use super::tree::{Node, shown};
use super::values;

/// A forwarding method.
pub(super) fn method(node: &Node, diags: &mut Diags) -> Option<Method> {
    let word = values::arg(node, 1, diags)?;
    if word == "TUN" && node.word(2).is_some() {
        let plain = node.word(2) == Some("type") && node.word(3) == Some("ipip");
        if !plain || node.word(4).is_some() {
            diags.note(
                Some(&node.pos),
                "tunnel options are accepted but DPVS forwards with plain IP-in-IP",
            );
        }
    }
    match word {
        "NAT" => Some(Method::Nat),
        "DR" => Some(Method::Dr),
        "TUN" => Some(Method::Tun),
        "FNAT" => Some(Method::FullNat),
        "SNAT" => Some(Method::Snat),
        other => {
            diags.error(
                Some(&node.pos),
                format!(
                    "unknown forwarding method '{}' (NAT, DR, TUN, FNAT, SNAT)",
                    shown(other)
                ),
            );
            None
        }
    }
}

/// `IP [PORT]`; a missing port is 0.
pub(super) fn server_addr(n: &Node, diags: &mut Diags) -> Option<SocketAddr> {
    let ip = values::arg(n, 1, diags)?;
    let port = n.word(2);
    match (
        ip.parse::<IpAddr>(),
        port.map_or(Some(0), |p| values::port(p, 0)),
    ) {
        (Ok(ip), Some(port)) => Some(SocketAddr::new(ip, port)),
        _ => {
            diags.error(
                Some(&n.pos),
                format!(
                    "Invalid {} address/port {}/{} - skipping",
                    n.key(),
                    shown(ip),
                    shown(port.unwrap_or_default())
                ),
            );
            None
        }
    }
}

/// Families may differ for tunnels (IPVS) and for an IPv6 service with IPv4
/// servers in FullNAT (DPVS's NAT64).
pub(super) fn family_fits(v6: Option<bool>, server: IpAddr, method: Method) -> bool {
    match v6 {
        None => true,
        Some(v6) if v6 == server.is_ipv6() => true,
        Some(v6) => method == Method::Tun || (v6 && method == Method::FullNat),
    }
}

/// What a real server takes from its service.
pub(super) struct Inherit<'a> {
    pub(super) name: &'a str,
    pub(super) method: Method,
    pub(super) inhibit: bool,
    pub(super) weight: u32,
    pub(super) port: u16,
    pub(super) v6: Option<bool>,
    pub(super) defaults: &'a Defaults,
}

/// Builds a server; `None` when it cannot be used.
pub(super) fn real_server(
    node: &Node,
    from: &Inherit<'_>,
    proto: Proto,
    diags: &mut Diags,
) -> Option<RealServer> {
    let mut addr = server_addr(node, diags)?;
    match node.word(2) {
        None => addr.set_port(from.port),
        Some(_) if addr.port() == 0 && from.port != 0 => {
            diags.error(
                Some(&node.pos),
                format!(
                    "Invalid real server address/port {}/0 - skipping",
                    addr.ip()
                ),
            );
            return None;
        }
        Some(_) => {}
    }
    let mut rs = RealServer {
        addr,
        weight: from.weight,
        method: from.method,
        upper: 0,
        lower: 0,
        inhibit: from.inhibit,
        alpha: false,
        notify_up: None,
        notify_down: None,
        checks: Vec::new(),
    };
    let mut defaults = from.defaults.clone();
    for n in node.children() {
        match n.key() {
            key if CHECKERS.contains(&key) => {}
            "BFD_CHECK" => {
                diags.note(
                    Some(&n.pos),
                    "BFD_CHECK is not supported yet: the server is used without this check",
                );
            }
            "weight" => {
                rs.weight = values::number32(n, 1, 0, i32::MAX as u32, diags).unwrap_or(rs.weight);
            }
            "lvs_method" | "lb_kind" => rs.method = method(n, diags).unwrap_or(rs.method),
            "uthreshold" => {
                rs.upper = values::number32(n, 1, 0, u32::MAX, diags).unwrap_or(rs.upper);
            }
            "lthreshold" => {
                rs.lower = values::number32(n, 1, 0, u32::MAX, diags).unwrap_or(rs.lower);
            }
            "inhibit_on_failure" => {
                rs.inhibit = values::boolean(n, diags).unwrap_or(rs.inhibit);
            }
            "notify_up" => rs.notify_up = values::script(n, diags),
            "notify_down" => rs.notify_down = values::script(n, diags),
            _ if defaults.take(n, diags) => {}
            _ => keywords::not_taken("real_server", n, diags),
        }
    }
    if !family_fits(from.v6, addr.ip(), rs.method) {
        diags.error(
            Some(&node.pos),
            format!("Address family of virtual server and real server {} don't match - skipping real server.", addr.ip()),
        );
        return None;
    }
    if matches!(rs.method, Method::Dr | Method::Tun) && from.port != 0 && addr.port() != from.port {
        diags.error(
            None,
            format!(
                "virtual server {} and real server [{}]:{}:{} ports don't match - resetting",
                from.name,
                addr.ip(),
                proto.name(),
                addr.port()
            ),
        );
        rs.addr.set_port(from.port);
    }
    rs.alpha = defaults.alpha.unwrap_or(false);
    rs.checks = node
        .children()
        .iter()
        .filter(|n| CHECKERS.contains(&n.key()))
        .filter_map(|n| check::build(n, rs.addr, &defaults, diags))
        .collect();
    // A server starts down when any of its checkers asks for it.
    rs.alpha |= rs.checks.iter().any(|c| c.alpha);
    if rs.alpha && rs.checks.is_empty() {
        rs.alpha = false;
    }
    Some(rs)
}
