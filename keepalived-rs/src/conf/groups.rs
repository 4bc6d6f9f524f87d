//! The named lists: local, deny and allow addresses, virtual server groups,
//! tunnels.
//!
//! Ranges are expanded here, so that the rest of the program sees addresses
//! only. DIFFERS: a range in a virtual_server_group of the DPVS fork got no or
//! wrong local addresses; here every member is a service of its own.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use super::diag::Diags;
use super::keywords;
use super::model::{AddrGroup, Laddr, LaddrGroup, ListEntry, Tunnel, Vip, VsGroup};
use super::tree::{Node, shown};
use super::values;

fn group_name(node: &Node, diags: &mut Diags) -> Option<String> {
    match node.word(1) {
        Some(n) if !n.is_empty() => Some(n.to_owned()),
        _ => {
            diags.error(
                Some(&node.pos),
                format!("{} must have a name - skipping", node.key()),
            );
            None
        }
    }
}

/// `local_address_group NAME { IP[-N] PORT }`.
pub(crate) fn laddr(node: &Node, diags: &mut Diags) -> Option<LaddrGroup> {
    let name = group_name(node, diags)?;
    let mut addrs: Vec<Laddr> = Vec::new();
    let mut seen = HashSet::new();
    for line in node.children() {
        let range = match values::addr_range(line.key()) {
            Ok(r) => r,
            Err(why) => {
                diags.error(
                    Some(&line.pos),
                    format!("local address '{}': {why} - skipping", shown(line.key())),
                );
                continue;
            }
        };
        // The fork crashes here; a port is needed to put the address on.
        if line.word(1).is_none() {
            diags.error(
                Some(&line.pos),
                format!(
                    "local address '{}' has no DPDK port after it, e.g. '{} dpdk0' - skipping",
                    shown(line.key()),
                    shown(line.key())
                ),
            );
            continue;
        }
        let Some(port) = values::ifname(line, 1, diags) else {
            continue;
        };
        for addr in range {
            if seen.insert((addr, port.clone())) {
                addrs.push(Laddr {
                    addr,
                    port: port.clone(),
                });
            }
        }
    }
    Some(LaddrGroup { name, addrs })
}

/// `deny_address_group` and `allow_address_group`.
pub(crate) fn list(node: &Node, diags: &mut Diags) -> Option<AddrGroup> {
    let name = group_name(node, diags)?;
    let mut entries = Vec::new();
    for line in node.children() {
        if let Some(set) = line.key().strip_prefix("ipset:") {
            if set.is_empty() || set.len() > 31 {
                diags.error(
                    Some(&line.pos),
                    format!(
                        "ipset name '{}' is not 1 to 31 characters - skipping",
                        shown(set)
                    ),
                );
            } else {
                entries.push(ListEntry::Ipset(set.to_owned()));
            }
            continue;
        }
        match values::addr_range(line.key()) {
            Ok(range) => entries.extend(range.into_iter().map(ListEntry::Addr)),
            Err(why) => diags.error(
                Some(&line.pos),
                format!("address '{}': {why} - skipping", shown(line.key())),
            ),
        }
    }
    Some(AddrGroup { name, entries })
}

/// `virtual_server_group NAME { IP[-N] PORT | IP/LEN PORT | fwmark N [inet6] }`.
pub(crate) fn services(node: &Node, diags: &mut Diags) -> Option<VsGroup> {
    let name = group_name(node, diags)?;
    let mut members = Vec::new();
    for line in node.children() {
        if line.key() == "fwmark" {
            let Some(mark) = values::number32(line, 1, 1, u32::MAX, diags) else {
                continue;
            };
            members.push(Vip::Fwmark {
                mark,
                v6: line.word(2) == Some("inet6"),
            });
            continue;
        }
        let addrs = match line.key().split_once('/') {
            Some((ip, len)) => cidr(ip, len),
            None => values::addr_range(line.key()),
        };
        let addrs = match addrs {
            Ok(a) => a,
            Err(why) => {
                diags.error(
                    Some(&line.pos),
                    format!(
                        "virtual server group {name}: '{}': {why} - skipping",
                        shown(line.key())
                    ),
                );
                continue;
            }
        };
        let word = line.word(1).unwrap_or("0");
        let Some(port) = values::port(word, 0) else {
            diags.error(
                Some(&line.pos),
                format!(
                    "virtual server group {name}: port '{}' outside range [0, 65535] - skipping",
                    shown(word)
                ),
            );
            continue;
        };
        members.extend(addrs.into_iter().map(|ip| Vip::Addr { ip, port }));
    }
    if members.is_empty() {
        diags.error(
            Some(&node.pos),
            format!("virtual server group {name} has no entries - removing"),
        );
        return None;
    }
    Some(VsGroup { name, members })
}

fn cidr(ip: &str, len: &str) -> Result<Vec<IpAddr>, String> {
    let ip: Ipv4Addr = ip
        .parse()
        .map_err(|_| "only IPv4 networks can be expanded".to_owned())?;
    let len: u32 = len
        .parse()
        .ok()
        .filter(|l| (16..=32).contains(l))
        .ok_or_else(|| "the prefix length must be 16 to 32 (65536 services at most)".to_owned())?;
    let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
    let low = ip.to_bits() & mask;
    let high = low | !mask;
    Ok((low..=high)
        .map(|b| IpAddr::V4(Ipv4Addr::from_bits(b)))
        .collect())
}

/// `tunnel_group NAME { tunnel_entry NAME { kind, remote, local, if } }`; `if` may be
/// missing, as `dev` of `dpip tunnel add` may.
pub(crate) fn tunnels(node: &Node, diags: &mut Diags) -> Vec<Tunnel> {
    let mut out = Vec::new();
    for entry in node.children() {
        if entry.key() != "tunnel_entry" {
            keywords::not_taken("tunnel_group", entry, diags);
            continue;
        }
        let Some(name) = values::ifname(entry, 1, diags) else {
            continue;
        };
        let (mut kind, mut remote, mut local, mut link) = (None, None, None, None);
        for line in entry.children() {
            match line.key() {
                "kind" => kind = values::ifname(line, 1, diags),
                "remote" => remote = v4(line, diags),
                "local" => local = v4(line, diags),
                "if" => link = values::ifname(line, 1, diags),
                _ => keywords::not_taken("tunnel_group/tunnel_entry", line, diags),
            }
        }
        match (kind, remote, local) {
            (Some(kind), Some(remote), Some(local)) => out.push(Tunnel {
                name,
                kind,
                remote,
                local,
                link: link.unwrap_or_default(),
            }),
            _ => diags.error(
                Some(&entry.pos),
                format!("tunnel_entry {name} needs kind, remote and local - skipping"),
            ),
        }
    }
    out
}

fn v4(node: &Node, diags: &mut Diags) -> Option<Ipv4Addr> {
    let word = values::arg(node, 1, diags)?;
    let ip = word.parse().ok();
    if ip.is_none() {
        diags.error(
            Some(&node.pos),
            format!("{}: '{}' is not an IPv4 address", node.key(), shown(word)),
        );
    }
    ip
}
