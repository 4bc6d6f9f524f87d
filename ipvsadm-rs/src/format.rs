//! The lines of listings, as text. Nothing here asks the daemon.

use std::fmt::Write as _;

use dpvs_ctl::msg::{Dest, Service, Stats, dest_flag, encap_kind, fwd_mode, svc_flag};
use dpvs_ctl::{Af, Name};

use crate::args::View;
use crate::names::{Names, is_match, port_proto, proto};
use crate::specs;
use crate::table::{DestRow, Row};

/// IPv4 names are cut to this, so that columns stay in place.
const NAME_WIDTH: usize = 28;

/// How numbers and names are shown.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// For names, unless numeric.
    pub names: &'a Names,
    /// Numbers instead of names.
    pub numeric: bool,
    /// All digits of counters.
    pub exact: bool,
    /// Which columns.
    pub view: View,
}

/// The title lines.
#[must_use]
pub fn title(view: View) -> String {
    const TO: &str = "  -> RemoteAddress:Port";
    let counters = |columns: [&str; 5]| {
        let [a, b, c, d, e] = columns;
        format!(
            "{:<33} {a:>8} {b:>8} {c:>8} {d:>8} {e:>8}\n{TO}",
            "Prot LocalAddress:Port"
        )
    };
    match view {
        View::Default => format!(
            "Prot LocalAddress:Port Scheduler Flags\n{TO}           Forward Weight ActiveConn InActConn"
        ),
        View::Tunnel => format!(
            "Prot LocalAddress:Port Scheduler Flags\n{TO}           Forward TunnelInfo    Weight ActiveConn InActConn"
        ),
        View::Stats => counters(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        View::Rate => counters(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
        View::Thresholds => format!(
            "{:<33} {:<10} {:<10} {:<10} {:<10}\n{TO}",
            "Prot LocalAddress:Port", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
        View::Persistent => format!(
            "{:<33} {:<9} {:<11} {:<10} {:<10}\n{TO}",
            "Prot LocalAddress:Port", "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
    }
}

/// The name of a protocol in listings.
#[must_use]
pub fn proto_title(number: u8) -> &'static str {
    match number {
        proto::TCP => "TCP",
        proto::UDP => "UDP",
        proto::SCTP => "SCTP",
        proto::ICMP => "ICMP",
        proto::ICMPV6 => "ICMPv6",
        _ => "IP",
    }
}

/// A service with its protocol: `TCP  192.0.2.1:80`.
#[must_use]
pub fn service_name(svc: &Service, style: &Style<'_>) -> String {
    if svc.fwmark != 0 {
        // As a signed number, like ipvsadm.
        let mark = svc.fwmark.cast_signed();
        let family = if svc.af == Af::INET6 { " IPv6" } else { "" };
        return format!("FWM  {mark}{family}");
    }
    if is_match(svc) {
        return format!("MATCH {}", specs::match_name(svc));
    }
    let name = cut(style.names.service(svc, style.numeric), svc.af);
    format!("{:<4} {name}", proto_title(svc.proto))
}

fn cut(mut name: String, af: Af) -> String {
    if af != Af::INET6
        && let Some((end, _)) = name.char_indices().nth(NAME_WIDTH)
    {
        name.truncate(end);
    }
    name
}

/// Appends the line of a service.
pub fn service_line(out: &mut String, row: &Row, style: &Style<'_>) {
    let svc = &row.service;
    let name = service_name(svc, style);
    // Writing to a String never fails, here and below.
    match style.view {
        View::Stats | View::Rate => {
            let _ = write!(out, "{name:<33}");
            counters(out, &row.stats(), style);
        }
        _ => {
            let _ = write!(out, "{name} {}", scheduler_and_flags(svc, &row.pe));
        }
    }
    out.push('\n');
}

fn scheduler_and_flags(svc: &Service, pe: &Name<16>) -> String {
    let sched = svc.sched_name.text();
    let mut words = vec![sched.clone().into_owned()];
    let has = |flag| svc.flags & flag != 0;
    let mut add = |text: &str| words.push(text.to_owned());
    if let Some(flags) = specs::sched_flags_shown(svc.flags, &sched) {
        add(&format!("({flags})"));
    }
    if has(svc_flag::SIP_HASH) {
        add("sip");
    }
    if has(svc_flag::QID_HASH) {
        add("qid");
    }
    if has(svc_flag::PERSISTENT) {
        add(&format!("persistent {}", svc.timeout));
        if let Some(mask) = mask_text(svc) {
            add(&format!("mask {mask}"));
        }
    }
    if has(svc_flag::ONEPACKET) {
        add("ops");
    }
    if !pe.is_empty() {
        add(&format!("pe {pe}"));
    }
    if has(svc_flag::SYNPROXY) {
        add("synproxy");
    }
    if svc.conn_timeout != 0 {
        add(&format!("conn-timeout {}", svc.conn_timeout));
    }
    if let Some(version) = specs::proxy_protocol_text(svc.proxy_protocol) {
        add(&format!("pp{version}"));
    }
    if has(svc_flag::EXPIRE_QUIESCENT) {
        add("expire-quiescent");
    }
    if has(svc_flag::QUIC) {
        add("quic");
    }
    let internal = specs::internal_check(&svc.check_conf);
    let external = specs::external_checks(&svc.check_conf);
    if internal.is_some() || !external.is_empty() {
        add("dest-check");
        if let Some(internal) = internal {
            add(&format!("internal:{internal}"));
        }
        if !external.is_empty() {
            add(&format!("external:{}", external.join(",")));
        }
    }
    words.join(" ")
}

/// The granularity of persistence, unless it is a single address.
#[must_use]
pub fn mask_text(svc: &Service) -> Option<String> {
    if svc.netmask == Service::netmask_of(svc.af, svc.af.max_plen()) {
        return None;
    }
    Some(if svc.af == Af::INET6 {
        svc.netmask.to_string()
    } else {
        let [a, b, c, d] = svc.netmask.to_ne_bytes();
        format!("{a}.{b}.{c}.{d}")
    })
}

/// The name of a forwarding mode.
#[must_use]
pub fn forward(mode: u32) -> &'static str {
    match mode {
        fwd_mode::MASQ => "Masq",
        fwd_mode::LOCALNODE => "Local",
        fwd_mode::TUNNEL => "Tunnel",
        fwd_mode::DROUTE => "Route",
        fwd_mode::FULLNAT => "FullNat",
        fwd_mode::SNAT => "SNAT",
        _ => "Unkown",
    }
}

/// A weight: the daemon keeps 16 bits, signed; larger ones come back negative.
fn weight(dest: &Dest) -> i32 {
    dest.weight.cast_signed()
}

/// Appends the line of a dest.
pub fn dest_line(out: &mut String, svc: &Service, row: &DestRow, style: &Style<'_>) {
    let dest = &row.dest;
    let name = match dest.addr.to_ip(dest.af) {
        Some(ip) => style
            .names
            .address(ip, dest.port.get(), port_proto(svc), style.numeric),
        None => format!("?:{}", dest.port),
    };
    let name = cut(name, svc.af);
    let _ = write!(out, "  -> {name:<28}");
    let (active, inactive) = (dest.actconns, dest.inactconns);
    let _ = match style.view {
        View::Stats | View::Rate => {
            counters(out, &dest.stats, style);
            Ok(())
        }
        View::Thresholds => write!(
            out,
            " {:<10} {:<10} {active:<10} {inactive:<10}",
            dest.max_conn, dest.min_conn
        ),
        View::Persistent => write!(
            out,
            " {:<9} {:<11} {active:<10} {inactive:<10}",
            weight(dest),
            dest.persistconns
        ),
        View::Tunnel => {
            let wrapped = dest.fwdmode == fwd_mode::TUNNEL || row.encap.kind == encap_kind::VXLAN;
            let tunnel = if wrapped {
                specs::tunnel_info(&row.encap)
            } else {
                "n/a".to_owned()
            };
            write!(
                out,
                " {:<7} {tunnel:<13} {:<6} {active:<10} {inactive:<10}",
                forward(dest.fwdmode),
                weight(dest)
            )
        }
        View::Default => write!(
            out,
            " {:<7} {:<6} {active:<10} {inactive:<10}{}",
            forward(dest.fwdmode),
            weight(dest),
            dest_state(row)
        ),
    };
    out.push('\n');
}

/// What else there is about a dest: ` inhibited`, ` overload` or both, and its
/// VxLAN.
fn dest_state(row: &DestRow) -> String {
    let states: Vec<&str> = [
        (dest_flag::INHIBITED, "inhibited"),
        (dest_flag::OVERLOAD, "overload"),
    ]
    .into_iter()
    .filter(|(flag, _)| row.dest.flags & flag != 0)
    .map(|(_, name)| name)
    .collect();
    let mut out = String::new();
    if !states.is_empty() {
        let _ = write!(out, " {}", states.join(","));
    }
    if let Some(vxlan) = specs::vxlan_text(&row.encap) {
        let _ = write!(out, " vxlan {vxlan}");
    }
    out
}

/// Appends five counters.
fn counters(out: &mut String, stats: &Stats, style: &Style<'_>) {
    let s = stats;
    let columns = match style.view {
        View::Rate => [s.cps, s.inpps, s.outpps, s.inbps, s.outbps].map(u64::from),
        _ => [s.conns, s.inpkts, s.outpkts, s.inbytes, s.outbytes],
    };
    for n in columns {
        out.push_str(&number(n, style.exact));
    }
}

/// A counter in a column of 9, shortened unless `exact`.
#[must_use]
pub fn number(n: u64, exact: bool) -> String {
    const K: u64 = 1000;
    if exact || n < 100_000 * K {
        format!(" {n:>8}")
    } else if n < K * K * K {
        format!(" {:>7}K", n / K)
    } else if n < 100 * K * K * K {
        format!(" {:>7}M", n / (K * K))
    } else if n < 100 * K * K * K * K {
        format!(" {:>7}G", n / (K * K * K))
    } else {
        format!(" {:>7}T", n / (K * K * K * K))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (n, want) in [
            (0, "        0"),
            (99_999_999, " 99999999"),
            (123_456_789, "  123456K"),
            (100_000_000, "  100000K"),
            (1_364_344_823, "    1364M"),
            (300_000_000_000, "     300G"),
            (400_000_000_000_000, "     400T"),
        ] {
            assert_eq!(number(n, false), want);
        }
        assert_eq!(number(1_364_344_823, true), " 1364344823");
        assert_eq!(number(u64::MAX, true).len(), 21);
    }

    #[test]
    fn dpvs_rows() {
        let names = Names::offline();
        let style = Style {
            names: &names,
            numeric: true,
            exact: false,
            view: View::Default,
        };
        let mut svc = Service::at(6, "192.168.88.1:80".parse().unwrap());
        svc.sched_name = Name::new("wlc").unwrap();
        svc.flags = svc_flag::PERSISTENT | svc_flag::SYNPROXY | svc_flag::EXPIRE_QUIESCENT;
        svc.timeout = 360;
        svc.netmask = Service::netmask_of(svc.af, 32);
        svc.conn_timeout = 120;
        svc.proxy_protocol = 0x12;
        specs::add_dest_check(&mut svc.check_conf, "default").unwrap();
        let mut row = Row {
            service: svc,
            ..Row::default()
        };
        let service_text = |row: &Row| {
            let mut out = String::new();
            service_line(&mut out, row, &style);
            out
        };
        assert_eq!(
            service_text(&row),
            "TCP  192.168.88.1:80 wlc persistent 360 synproxy conn-timeout 120 ppv2-insecure \
             expire-quiescent dest-check internal:default\n"
        );
        row.pe = Name::new("sip").unwrap();
        assert!(service_text(&row).contains(" persistent 360 pe sip synproxy "));
        let mut dest = Dest {
            af: Af::INET,
            actconns: 123_456,
            ..Dest::default()
        };
        dest.addr = dpvs_ctl::Ip16::from_ip("192.168.88.30".parse().unwrap());
        dest.port = 8080.into();
        dest.set_fwd_mode(fwd_mode::FULLNAT);
        dest.flags = dest_flag::INHIBITED | dest_flag::OVERLOAD;
        let dest_text = |dest: DestRow, view: View| {
            let mut out = String::new();
            dest_line(&mut out, &svc, &dest, &Style { view, ..style });
            out
        };
        let mut dest = DestRow {
            dest,
            encap: dpvs_ctl::msg::Encap::default(),
        };
        assert_eq!(
            dest_text(dest, View::Default),
            "  -> 192.168.88.30:8080           FullNat 0      123456     0          inhibited,overload\n"
        );
        dest.encap = specs::parse_vxlan("10.182.6.87-10.182.4.59-5015").unwrap();
        dest.dest.flags = 0;
        assert_eq!(
            dest_text(dest, View::Default),
            "  -> 192.168.88.30:8080           FullNat 0      123456     0          vxlan 10.182.6.87-10.182.4.59-5015\n"
        );
        assert!(dest_text(dest, View::Tunnel).contains(" FullNat vxlan:5015    0 "));
    }
}
