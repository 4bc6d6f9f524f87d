//! `-G`, `-B`, `-W`: local addresses, black and white lists of services.
//! Always numeric.

use dpvs_ctl::msg::{AclConf, Service};
use dpvs_ctl::{Af, Client, Ip16};

use crate::args::{Cmd, Command, Opt};
use crate::failure::Failure;
use crate::format::proto_title;
use crate::json;
use crate::names::Names;
use crate::order;
use crate::out::{Out, line};
use crate::table::find_service;

/// The services a command is about: the one given, or all.
fn chosen(client: &Client, command: &Command) -> Result<Vec<Service>, Failure> {
    if command.given.has(Opt::Service) {
        let svc = find_service(client, &command.service, command.cpu)
            .map_err(|e| Failure::of_dpvs(&e))?;
        return Ok(vec![svc]);
    }
    let all = client
        .services(command.cpu)
        .map_err(|e| Failure::of_dpvs(&e))?;
    Ok(order::services(all))
}

/// Lists local addresses with their connections.
pub(crate) fn list(client: &Client, out: &mut Out, command: &Command) -> Result<(), Failure> {
    let names = Names::offline();
    if command.given.has(Opt::Json) {
        let mut rows = Vec::new();
        for svc in chosen(client, command)? {
            let laddrs = client
                .laddrs(&svc, command.cpu)
                .map_err(|e| Failure::of_dpvs(&e))?;
            rows.push(json::laddrs(&svc, &laddrs));
        }
        return line!(out, "{}", json::array(rows));
    }
    for (i, svc) in chosen(client, command)?.iter().enumerate() {
        let laddrs = client
            .laddrs(svc, command.cpu)
            .map_err(|e| Failure::of_dpvs(&e))?;
        if i == 0 {
            line!(
                out,
                "{:<20} {:<8} {:<20} {:<10} {:<10}",
                "VIP:VPORT",
                "TOTAL",
                "SNAT_IP",
                "CONFLICTS",
                "CONNS"
            )?;
        }
        line!(out, "{:<20} {:<8} ", names.service(svc, true), laddrs.len())?;
        for laddr in laddrs {
            let ip = laddr
                .addr
                .to_ip(laddr.af)
                .map_or("?".to_owned(), |ip| ip.to_string());
            line!(
                out,
                "{:<20} {:<8} {ip:<20} {:<10} {:<10}",
                "",
                "",
                laddr.nport_conflict,
                laddr.nconns
            )?;
        }
    }
    Ok(())
}

/// Lists black or white list entries of the services there are.
pub(crate) fn acl(client: &Client, out: &mut Out, command: &Command) -> Result<(), Failure> {
    let black = command.cmd == Cmd::GetBlklst;
    let services = chosen(client, command)?;
    let entries = if black {
        client.blacklist()
    } else {
        client.whitelist()
    }
    .map_err(|e| Failure::of_dpvs(&e))?;
    if command.given.has(Opt::Json) {
        let of = |svc| {
            let list = entries.iter().filter(move |e| belongs(e, svc));
            list.map(move |e| json::acl(svc, e))
        };
        return line!(out, "{}", json::array(services.iter().flat_map(of)));
    }
    let list = if black { "BLACKLIST" } else { "WHITELIST" };
    line!(out, "{:<8} {:<30} {:<30}", "PROTO", "VIP:VPORT", list)?;
    let names = Names::offline();
    for svc in &services {
        for entry in entries.iter().filter(|e| belongs(e, svc)) {
            let proto = proto_title(entry.proto);
            let vip = names.service(svc, true);
            line!(out, "{proto:<8} {vip:<30} {:<30}", subject(entry))?;
        }
    }
    Ok(())
}

/// Whether an entry is of a service.
pub(crate) fn belongs(entry: &AclConf, svc: &Service) -> bool {
    entry.proto == svc.proto
        && entry.vport == svc.port
        && svc.fwmark == 0
        && Af::from(entry.af) == svc.af
        && entry.vaddr.same(svc.addr, svc.af)
}

/// Who the entry is about, as `-k` and `-2` take it.
pub(crate) fn subject(entry: &AclConf) -> String {
    if !entry.ipset.is_empty() {
        return format!("ipset:{}", entry.ipset);
    }
    entry
        .subject
        .to_ip(Af::from(entry.af))
        .map_or("?".to_owned(), |ip| ip.to_string())
}

/// The entry a command is about.
pub(crate) fn entry(command: &Command) -> AclConf {
    use crate::specs::AclSubject;
    let svc = &command.service;
    let mut entry = AclConf {
        vaddr: svc.addr,
        vport: svc.port,
        proto: svc.proto,
        af: svc.af.as_u8(),
        ..AclConf::default()
    };
    match command.acl {
        Some(AclSubject::Address(ip)) => entry.subject = Ip16::from_ip(ip),
        Some(AclSubject::Ipset(name)) => entry.ipset = name,
        None => {}
    }
    entry
}
