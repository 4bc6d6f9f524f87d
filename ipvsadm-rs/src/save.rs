//! `-S` and `ipvsadm-save`: the table as commands for `-R`.
//!
//! Unlike either C tool, thresholds, local addresses, black and white lists
//! and every option of DPVS are written, so that nothing is lost.

use dpvs_ctl::msg::{IfAddr, IfAddrData, Service, fwd_mode, svc_flag};
use dpvs_ctl::{Af, Client, IfAddrView, Ip16};

use crate::failure::{Failure, warn};
use crate::format::mask_text;
use crate::laddrs;
use crate::names::{Names, is_match, port_proto, proto};
use crate::out::{Out, line};
use crate::run::Session;
use crate::specs;
use crate::table::{self, DestRow, Row};

/// `ipvsadm-save [-n]`.
pub(crate) fn main(session: &mut Session, argv: &[String]) -> Result<(), Failure> {
    let mut numeric = false;
    for word in argv
        .iter()
        .skip(1)
        .take_while(|w| w.starts_with('-') && w.as_str() != "--")
    {
        if !word
            .get(1..)
            .is_some_and(|l| !l.is_empty() && l.bytes().all(|b| b == b'n'))
        {
            return Err(Failure::refused(
                1,
                "ipvsadm-save: writes the table to standard output, as commands for ipvsadm-restore.\n   \
                 -n writes addresses and ports as numbers.",
            ));
        }
        numeric = true;
    }
    let mut words = vec!["-S".to_owned()];
    if numeric {
        words.push("-n".to_owned());
    }
    let command = session.parse("ipvsadm", &words, false)?;
    session.execute("ipvsadm", &command)
}

/// Writes all services.
pub(crate) fn run(
    client: &Client,
    names: &Names,
    out: &mut Out,
    numeric: bool,
) -> Result<(), Failure> {
    let mut extras = Extras::new(client);
    table::all(client, 0, true, |row| {
        for text in lines(&row, names, numeric) {
            line!(out, "{text}")?;
        }
        let name = service_words(&row.service, names, numeric);
        for text in extras.lines(&row.service, &name) {
            line!(out, "{text}")?;
        }
        Ok(!out.is_closed())
    })
}

/// A service and its dests as commands; what is not in them (local addresses,
/// lists) is not in these either.
#[must_use]
pub fn lines(row: &Row, names: &Names, numeric: bool) -> Vec<String> {
    let svc = &row.service;
    let name = service_words(svc, names, numeric);
    let mut lines = vec![format!("-A {name}{}", service_options(row))];
    for dest in &row.dests {
        lines.push(format!(
            "-a {name}{}",
            dest_options(svc, dest, names, numeric)
        ));
    }
    lines
}

/// What names a service: `-t 192.0.2.1:80`.
fn service_words(svc: &Service, names: &Names, numeric: bool) -> String {
    if svc.fwmark != 0 {
        // DIFFERS: ipvsadm writes large marks as negative numbers, which it
        // then refuses to read.
        let family = if svc.af == Af::INET6 { " -6" } else { "" };
        return format!("-f {}{family}", svc.fwmark);
    }
    if is_match(svc) {
        return format!("-H {}", specs::match_spec(svc));
    }
    let option = match svc.proto {
        proto::UDP => "-u",
        proto::SCTP => "--sctp-service",
        proto::ICMP => "-q",
        proto::ICMPV6 => "-1",
        _ => "-t",
    };
    // Names of IPv6 hosts cannot be read back.
    let numeric = numeric || svc.af == Af::INET6;
    format!("{option} {}", names.service(svc, numeric))
}

fn service_options(row: &Row) -> String {
    let svc = &row.service;
    let sched = svc.sched_name.text();
    let has = |flag| svc.flags & flag != 0;
    let mut words = Vec::new();
    if !sched.is_empty() {
        words.push(format!(" -s {sched}"));
    }
    if has(svc_flag::PERSISTENT) {
        words.push(format!(" -p {}", svc.timeout));
        if let Some(mask) = mask_text(svc) {
            words.push(format!(" -M {mask}"));
        }
    }
    if has(svc_flag::ONEPACKET) {
        words.push(" -o".to_owned());
    }
    if !row.pe.is_empty() {
        words.push(format!(" --pe {}", row.pe));
    }
    let flags = specs::sched_flags_text(svc.flags, &sched);
    if !flags.is_empty() {
        words.push(format!(" -b {flags}"));
    }
    if has(svc_flag::QID_HASH) {
        words.push(" --hash-target qid".to_owned());
    }
    if has(svc_flag::SYNPROXY) {
        words.push(" -j enable".to_owned());
    }
    if svc.conn_timeout != 0 {
        words.push(format!(" --conn-timeout {}", svc.conn_timeout));
    }
    if let Some(version) = specs::proxy_protocol_text(svc.proxy_protocol) {
        words.push(format!(" --proxy-protocol {version}"));
    }
    if has(svc_flag::EXPIRE_QUIESCENT) {
        words.push(" --expire-quiescent".to_owned());
    }
    if has(svc_flag::QUIC) {
        words.push(" --quic".to_owned());
    }
    if let Some(internal) = specs::internal_check(&svc.check_conf) {
        words.push(format!(" --dest-check {internal}"));
    }
    for external in specs::external_checks(&svc.check_conf) {
        words.push(format!(" --dest-check {external}"));
    }
    words.concat()
}

fn dest_options(svc: &Service, row: &DestRow, names: &Names, numeric: bool) -> String {
    let dest = &row.dest;
    let numeric = numeric || dest.af == Af::INET6;
    let address = match dest.addr.to_ip(dest.af) {
        Some(ip) => names.address(ip, dest.port.get(), port_proto(svc), numeric),
        None => format!("?:{}", dest.port),
    };
    let forward = match dest.fwdmode {
        fwd_mode::MASQ => "-m",
        fwd_mode::TUNNEL => "-i",
        fwd_mode::FULLNAT => "-b",
        fwd_mode::SNAT => "-J",
        _ => "-g",
    };
    let mut out = format!(" -r {address} {forward} -w {}", dest.weight.cast_signed());
    if dest.max_conn != 0 {
        out.push_str(&format!(" -x {}", dest.max_conn));
    }
    if dest.min_conn != 0 {
        out.push_str(&format!(" -y {}", dest.min_conn));
    }
    match specs::vxlan_text(&row.encap) {
        Some(vxlan) => out.push_str(&format!(" -T {vxlan}")),
        None if dest.fwdmode == fwd_mode::TUNNEL => {
            out.push_str(&specs::tunnel_options(&row.encap));
        }
        None => {}
    }
    out
}

/// What both C tools lose. A daemon that does not serve these lists is no
/// reason to fail.
struct Extras<'a> {
    client: &'a Client,
    black: Vec<dpvs_ctl::msg::AclConf>,
    white: Vec<dpvs_ctl::msg::AclConf>,
    devices: Option<Vec<IfAddrData>>,
}

impl<'a> Extras<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            black: client.blacklist().unwrap_or_default(),
            white: client.whitelist().unwrap_or_default(),
            devices: None,
        }
    }

    fn lines(&mut self, svc: &Service, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let laddrs = if svc.num_laddrs == 0 {
            Vec::new()
        } else {
            self.client.laddrs(svc, 0).unwrap_or_default()
        };
        for laddr in laddrs {
            let Some(ip) = laddr.addr.to_ip(laddr.af) else {
                continue;
            };
            match self.device(laddr.addr, laddr.af) {
                Some(device) => lines.push(format!("-P {name} -z {ip} -F {device}")),
                None => warn(&format!(
                    "not saved: local address {ip} of {name}, no device has it"
                )),
            }
        }
        for (option, key, list) in [("-U", "-k", &self.black), ("-O", "-2", &self.white)] {
            for entry in list.iter().filter(|e| laddrs::belongs(e, svc)) {
                lines.push(format!("{option} {name} {key} {}", laddrs::subject(entry)));
            }
        }
        lines
    }

    /// The device that has a local address; the daemon's list does not say.
    fn device(&mut self, addr: Ip16, af: Af) -> Option<String> {
        let client = self.client;
        let devices = self.devices.get_or_insert_with(|| {
            client
                .ifaddrs(&IfAddr::default(), IfAddrView::default())
                .unwrap_or_default()
        });
        devices
            .iter()
            .find(|d| d.entry.af == af && d.entry.addr.same(addr, af))
            .map(|d| d.entry.ifname.text().into_owned())
    }
}

#[cfg(test)]
mod tests;
