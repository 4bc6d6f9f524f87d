//! `--json`: listings for programs. Every listing is one array, compact, with
//! everything that is known whatever columns were asked for; names are never
//! looked up. A key is left out when there is nothing to say.

use dpvs_ctl::msg::{
    AclConf, AddrRange, ConnEntry, LaddrEntry, Service, Stats, SyncDaemon, TableTimeouts,
    check_type, dest_flag, encap_csum, encap_kind, fwd_mode, svc_flag,
};
use dpvs_ctl::{Af, Be16, Ip16};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::format::mask_text;
use crate::list;
use crate::names::{is_match, proto_name};
use crate::out::{Out, line};
use crate::specs;
use crate::table::{DestRow, Row};

/// An array of values.
pub(crate) fn array(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

/// An array written value by value.
pub(crate) struct Array {
    first: bool,
}

impl Array {
    pub(crate) fn begin(out: &mut Out) -> Result<Self, Failure> {
        out.text().push('[');
        out.spill()?;
        Ok(Self { first: true })
    }

    pub(crate) fn push(&mut self, out: &mut Out, value: &Value) -> Result<(), Failure> {
        if !std::mem::take(&mut self.first) {
            out.text().push(',');
        }
        out.text().push_str(&value.to_string());
        out.spill()
    }

    pub(crate) fn end(self, out: &mut Out) -> Result<(), Failure> {
        line!(out, "]")
    }
}

fn ip(addr: Ip16, af: impl Into<Af>) -> Value {
    addr.to_ip(af)
        .map_or(Value::Null, |ip| json!(ip.to_string()))
}

fn range(range: &AddrRange, af: Af) -> Value {
    json!({
        "first": ip(range.min_addr, af),
        "last": ip(range.max_addr, af),
        "first_port": range.min_port.get(),
        "last_port": range.max_port.get(),
    })
}

/// What names a service.
fn named(s: &Service) -> Map<String, Value> {
    let mut m = Map::new();
    if s.fwmark != 0 {
        m.insert("fwmark".into(), json!(s.fwmark));
        m.insert("family".into(), json!(family(s.af)));
        return m;
    }
    m.insert("protocol".into(), json!(proto_name(s.proto)));
    if is_match(s) {
        let af = if s.matched.af == Af::UNSPEC {
            s.af
        } else {
            s.matched.af
        };
        let mut matched = Map::new();
        matched.insert("family".into(), json!(family(s.af)));
        for (key, r) in [
            ("source", &s.matched.srange),
            ("destination", &s.matched.drange),
        ] {
            if *r != AddrRange::default() {
                matched.insert(key.into(), range(r, af));
            }
        }
        for (key, name) in [
            ("in_device", &s.matched.iifname),
            ("out_device", &s.matched.oifname),
        ] {
            if !name.is_empty() {
                matched.insert(key.into(), json!(name.text()));
            }
        }
        m.insert("match".into(), Value::Object(matched));
        return m;
    }
    m.insert("address".into(), ip(s.addr, s.af));
    m.insert("port".into(), json!(s.port.get()));
    m
}

fn family(af: Af) -> &'static str {
    if af == Af::INET6 { "ipv6" } else { "ipv4" }
}

fn stats(s: &Stats) -> Value {
    json!({
        "conns": s.conns, "in_packets": s.inpkts, "out_packets": s.outpkts,
        "in_bytes": s.inbytes, "out_bytes": s.outbytes,
    })
}

fn rates(s: &Stats) -> Value {
    json!({
        "conns": s.cps, "in_packets": s.inpps, "out_packets": s.outpps,
        "in_bytes": s.inbps, "out_bytes": s.outbps,
    })
}

/// A service with its dests.
pub(crate) fn service(row: &Row) -> Value {
    let s = &row.service;
    let mut m = named(s);
    let sched = s.sched_name.text();
    m.insert("scheduler".into(), json!(sched));
    let flags = specs::sched_flags_text(s.flags, &sched);
    if !flags.is_empty() {
        m.insert(
            "scheduler_flags".into(),
            json!(flags.split(',').collect::<Vec<_>>()),
        );
    }
    for (key, target, bit) in [
        ("hash_target", "sip", svc_flag::SIP_HASH),
        ("hash_target", "qid", svc_flag::QID_HASH),
    ] {
        if s.flags & bit != 0 {
            m.insert(key.into(), json!(target));
        }
    }
    if s.flags & svc_flag::PERSISTENT != 0 {
        m.insert("persistent".into(), json!(s.timeout));
        if let Some(mask) = mask_text(s) {
            m.insert("netmask".into(), json!(mask));
        }
    }
    if !row.pe.is_empty() {
        m.insert("persistence_engine".into(), json!(row.pe.text()));
    }
    for (key, bit) in [
        ("one_packet", svc_flag::ONEPACKET),
        ("synproxy", svc_flag::SYNPROXY),
        ("expire_quiescent", svc_flag::EXPIRE_QUIESCENT),
        ("quic", svc_flag::QUIC),
    ] {
        if s.flags & bit != 0 {
            m.insert(key.into(), json!(true));
        }
    }
    if s.conn_timeout != 0 {
        m.insert("conn_timeout".into(), json!(s.conn_timeout));
    }
    if let Some(version) = specs::proxy_protocol_text(s.proxy_protocol) {
        m.insert("proxy_protocol".into(), json!(version));
    }
    if s.check_conf.types != 0 {
        m.insert("dest_check".into(), dest_check(s));
    }
    let total = row.stats();
    m.insert("local_addresses".into(), json!(s.num_laddrs));
    m.insert("stats".into(), stats(&total));
    m.insert("rates".into(), rates(&total));
    m.insert("dests".into(), array(row.dests.iter().map(dest)));
    Value::Object(m)
}

fn dest_check(s: &Service) -> Value {
    let c = &s.check_conf;
    let mut m = Map::new();
    if c.types & check_type::PASSIVE != 0 {
        m.insert(
            "internal".into(),
            json!({
                "down_notices": c.dest_down_notice_num, "up_notices": c.dest_up_notice_num,
                "down_wait": c.dest_down_wait,
                "inhibit_min": c.dest_inhibit_min, "inhibit_max": c.dest_inhibit_max,
            }),
        );
    }
    m.insert("external".into(), json!(specs::external_checks(c)));
    Value::Object(m)
}

fn dest(row: &DestRow) -> Value {
    let d = &row.dest;
    let mut m = Map::new();
    m.insert("address".into(), ip(d.addr, d.af));
    m.insert("port".into(), json!(d.port.get()));
    let forward = match d.fwdmode {
        fwd_mode::MASQ => "nat",
        fwd_mode::LOCALNODE => "local",
        fwd_mode::TUNNEL => "tunnel",
        fwd_mode::DROUTE => "direct",
        fwd_mode::FULLNAT => "fullnat",
        fwd_mode::SNAT => "snat",
        _ => "unknown",
    };
    m.insert("forward".into(), json!(forward));
    let e = &row.encap;
    let csum = match e.csum {
        encap_csum::FULL => "full",
        encap_csum::REMOTE => "remote",
        _ => "none",
    };
    let tunnel = match e.kind {
        encap_kind::GUE => json!({ "type": "gue", "port": e.port, "checksum": csum }),
        encap_kind::GRE => json!({ "type": "gre", "checksum": csum }),
        encap_kind::VXLAN => json!({
            "type": "vxlan", "source": ip(e.src, e.af), "destination": ip(e.dst, e.af),
            "vni": e.vni,
        }),
        _ if d.fwdmode == fwd_mode::TUNNEL => json!({ "type": "ipip" }),
        _ => Value::Null,
    };
    if !tunnel.is_null() {
        m.insert("tunnel".into(), tunnel);
    }
    m.insert("weight".into(), json!(d.weight.cast_signed()));
    m.insert("upper_threshold".into(), json!(d.max_conn));
    m.insert("lower_threshold".into(), json!(d.min_conn));
    m.insert("active_conns".into(), json!(d.actconns));
    m.insert("inactive_conns".into(), json!(d.inactconns));
    m.insert("persistent_conns".into(), json!(d.persistconns));
    m.insert(
        "inhibited".into(),
        json!(d.flags & dest_flag::INHIBITED != 0),
    );
    m.insert(
        "overloaded".into(),
        json!(d.flags & dest_flag::OVERLOAD != 0),
    );
    m.insert("stats".into(), stats(&d.stats));
    m.insert("rates".into(), rates(&d.stats));
    Value::Object(m)
}

/// Time-outs.
pub(crate) fn timeouts(t: &TableTimeouts) -> Value {
    json!([{ "tcp": t.tcp, "tcp_fin": t.tcp_fin, "udp": t.udp }])
}

/// A synchronisation daemon.
pub(crate) fn sync_daemon(d: &SyncDaemon) -> Value {
    json!({
        "role": list::role(d), "device": d.ifname.text(), "syncid": d.sync_id,
        "max_length": d.max_len, "group": ip(d.group, d.af), "port": d.port, "ttl": d.ttl,
    })
}

/// A connection.
pub(crate) fn conn(c: &ConnEntry) -> Value {
    let end =
        |addr: Ip16, af: u16, port: Be16| json!({ "address": ip(addr, af), "port": port.get() });
    json!({
        "lcore": c.lcoreid,
        "protocol": proto_name(u8::try_from(c.proto).unwrap_or(0)),
        "timeout": c.timeout,
        "state": c.state.text(),
        "client": end(c.caddr, c.in_af, c.cport),
        "virtual": end(c.vaddr, c.in_af, c.vport),
        "local": end(c.laddr, c.out_af, c.lport),
        "server": end(c.daddr, c.out_af, c.dport),
    })
}

/// A service with its local addresses.
pub(crate) fn laddrs(s: &Service, list: &[LaddrEntry]) -> Value {
    let mut m = named(s);
    let list = list.iter().map(|l| {
        json!({
            "address": ip(l.addr, l.af), "conflicts": l.nport_conflict, "conns": l.nconns,
        })
    });
    m.insert("local_addresses".into(), array(list));
    Value::Object(m)
}

/// An entry of a black or white list.
pub(crate) fn acl(s: &Service, entry: &AclConf) -> Value {
    let mut m = named(s);
    if entry.ipset.is_empty() {
        m.insert("client".into(), ip(entry.subject, Af::from(entry.af)));
    } else {
        m.insert("ipset".into(), json!(entry.ipset.text()));
    }
    Value::Object(m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_service_has_its_dests() {
        let mut row = Row {
            service: Service::at(6, "192.0.2.1:80".parse().unwrap()),
            ..Row::default()
        };
        row.service.sched_name = dpvs_ctl::Name::new("mh").unwrap();
        row.service.flags = svc_flag::SCHED2 | svc_flag::SYNPROXY;
        row.dests.push(DestRow::default());
        let v = service(&row);
        assert_eq!(v["protocol"], "tcp");
        assert_eq!(v["port"], 80);
        assert_eq!(v["scheduler_flags"], json!(["mh-port"]));
        assert_eq!(v["synproxy"], true);
        assert_eq!(v["dests"][0]["forward"], "nat");
        assert!(v.get("netmask").is_none());
    }

    #[test]
    fn addresses_are_texts() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(ip(Ip16::from_ip(v4), Af::INET), json!("192.0.2.1"));
        assert_eq!(ip(Ip16::default(), Af::UNSPEC), Value::Null);
    }
}
