//! `-L -c`: connections. DPVS's form, which has what its users need: the
//! lcore, client, service, local address and server.

use dpvs_ctl::Client;
use dpvs_ctl::msg::ConnEntry;

use crate::args::{Command, Opt};
use crate::failure::{Failure, warn};
use crate::names::{Names, proto_name};
use crate::out::{Out, line};

/// Lists all connections, all templates (`--persistent-conn`), or one
/// connection (`--sockpair`).
pub(crate) fn run(
    client: &Client,
    names: &Names,
    out: &mut Out,
    command: &Command,
) -> Result<(), Failure> {
    let numeric = command.numeric();
    if command.given.has(Opt::Sockpair) {
        let found = client
            .conn(&command.sockpair)
            .map_err(|e| Failure::of(&e, |_| None).or_code(1))?;
        match found {
            Some(entry) => line!(out, "{}", text(&entry, names, numeric))?,
            None => warn("connection specified not found"),
        }
        return Ok(());
    }
    let templates = command.given.has(Opt::PersistentConn);
    let mut failed = None;
    let result = client.each_conn(templates, |batch| {
        for entry in batch {
            if let Err(e) = line!(out, "{}", text(entry, names, numeric)) {
                failed = Some(e);
            }
        }
        failed.is_none() && !out.is_closed()
    });
    if let Some(failure) = failed {
        return Err(failure);
    }
    result.map_err(|e| {
        warn("Fail to fetch all connection entries!");
        Failure::of(&e, |_| None).or_code(1)
    })
}

fn text(c: &ConnEntry, names: &Names, numeric: bool) -> String {
    let proto = u8::try_from(c.proto).unwrap_or(0);
    let address = |ip: dpvs_ctl::Ip16, af: u16, port: u16| match ip.to_ip(af) {
        Some(ip) => names.address(ip, port, proto, numeric),
        None => format!("?:{port}"),
    };
    format!(
        "[{}]{:<3} {:<6} {:<11} {:<18} {:<18} {:<18} {}",
        c.lcoreid,
        proto_name(proto),
        format!("{}s", c.timeout),
        c.state.text(),
        address(c.caddr, c.in_af, c.cport.get()),
        address(c.vaddr, c.in_af, c.vport.get()),
        address(c.laddr, c.out_af, c.lport.get()),
        address(c.daddr, c.out_af, c.dport.get()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpvs_ctl::{Ip16, Name};

    #[test]
    fn row() {
        let ip = |t: &str| Ip16::from_ip(t.parse().unwrap());
        let entry = ConnEntry {
            in_af: 2,
            out_af: 2,
            proto: 6,
            caddr: ip("1.1.1.1"),
            vaddr: ip("192.168.88.1"),
            laddr: ip("192.168.88.200"),
            daddr: ip("192.168.88.30"),
            cport: 4321.into(),
            vport: 80.into(),
            lport: 1025.into(),
            dport: 8080.into(),
            timeout: 90,
            lcoreid: 2,
            state: Name::new("TCP_EST").unwrap(),
        };
        assert_eq!(
            text(&entry, &Names::offline(), true),
            "[2]tcp 90s    TCP_EST     1.1.1.1:4321       192.168.88.1:80    \
             192.168.88.200:1025 192.168.88.30:8080"
        );
    }
}
