//! `dpip link show`: ports, their counters and abilities, and bonds.
//!
//! Knows the messages about ports and their text form. Text about queues and
//! multicast addresses comes from the daemon and is passed on.

use std::fmt::Write as _;

use dpvs_ctl::msg::{BondSlave, BondStatus, NicBasic, NicExt, NicStats, XStat, nic_flag};
use dpvs_ctl::{Client, Name};
use serde_json::{Map, Value, json};

use super::row;
use super::table::{Meter, Target, rate, rounds};
use crate::Cx;
use crate::args::Options;
use crate::failure::Failure;
use crate::out::Record;
use crate::words::device;

/// Shows the named port, or all.
pub(super) fn show(cx: &mut Cx, words: &[String]) -> Result<(), Failure> {
    let interval = cx.options.interval.filter(|_| cx.options.stats);
    let names = match words.first() {
        Some(name) => vec![device::<32>(name)?],
        None => all(&cx.client)?,
    };
    if let Some(interval) = interval {
        return watch(cx, interval, &names);
    }
    if !words.is_empty() {
        let bond = words.get(1).is_some_and(|word| word.starts_with("status"));
        return names.iter().try_for_each(|name| {
            let record = block(&cx.client, &cx.options, name, bond)?;
            cx.out.emit(record)
        });
    }
    let mut last = Ok(());
    for name in &names {
        match block(&cx.client, &cx.options, name, false) {
            Ok(record) => cx.out.emit(record)?,
            Err(failure) => {
                cx.out.flush()?;
                let line = format!("Fail to get information for {name}");
                last = Err(failure.told(&mut cx.out, &line));
            }
        }
    }
    last
}

/// The names of all ports, in the daemon's order.
pub(super) fn all(client: &Client) -> Result<Vec<Name<32>>, Failure> {
    match client.ports() {
        Ok((_, ports)) => Ok(ports
            .iter()
            .map(|port| Name::truncated(&port.name.text()))
            .collect()),
        Err(error) => {
            let failure = Failure::from(error);
            let line = format!("Fail to get configured NIC list: {}.", failure.text());
            Err(failure.and(&line))
        }
    }
}

/// Rates of the named ports.
fn watch(cx: &mut Cx, interval: u64, names: &[Name<32>]) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for name in names {
        let basic = cx.client.port(name)?;
        targets.push(Target {
            key: *name,
            name: ("ifname", json!(name.text())),
            title: basic_text(&basic),
        });
    }
    let meter = Meter {
        sample: Client::port_stats,
        rates: rate_text,
    };
    rounds(cx, interval, &targets, &meter)
}

/// Everything the options ask for about a port.
fn block(
    client: &Client,
    options: &Options,
    name: &Name<32>,
    bond: bool,
) -> Result<Record, Failure> {
    let basic = client.port(name)?;
    let (mut text, mut value) = (basic_text(&basic), basic_value(&basic));
    if bond {
        let bond = client.bond(name)?;
        text.push_str(&bond_text(&bond));
        value["bond"] = bond_value(&bond);
        return Ok(Record::new(text, value));
    }
    if options.stats {
        let stats = client.port_stats(name)?;
        text.push_str(&stats_text(&stats));
        value["stats"] = stats_value(&stats);
    }
    if options.stats && options.verbose {
        let xstats = client.port_xstats(name)?;
        text.push_str(&xstats_text(&xstats));
        let pairs = xstats
            .iter()
            .map(|x| (x.name.text().into_owned(), json!(x.val)));
        value["xstats"] = Value::Object(pairs.collect::<Map<_, _>>());
    }
    if options.verbose {
        let (ext, queues, multicast) = client.port_ext(name)?;
        text.push_str(&ext_text(&ext, &queues, &multicast));
        value["driver"] = ext_value(&ext);
        value["queues"] = lines_value(&queues);
        value["multicast"] = lines_value(&multicast);
    }
    Ok(Record::new(text, value))
}

/// Text of the daemon as a list of its lines.
fn lines_value(text: &str) -> Value {
    text.lines().map(str::trim).collect()
}

const FLAGS: [(u16, &str); 6] = [
    (nic_flag::PROMISC, "promisc"),
    (nic_flag::ALLMULTICAST, "allmulticast"),
    // The misspelling is the C tool's.
    (nic_flag::FWD2KNI, "foward2kni"),
    (nic_flag::TC_EGRESS, "tc-egress"),
    (nic_flag::TC_INGRESS, "tc-ingress"),
    (nic_flag::LLDP, "lldp"),
];

const OFFLOADS: [(u16, &str); 5] = [
    (nic_flag::OL_RX_IP_CSUM, "OF_RX_IP_CSUM"),
    (nic_flag::OL_TX_IP_CSUM, "OF_TX_IP_CSUM"),
    (nic_flag::OL_TX_TCP_CSUM, "OF_TX_TCP_CSUM"),
    (nic_flag::OL_TX_UDP_CSUM, "OF_TX_UDP_CSUM"),
    (nic_flag::OL_TX_FAST_FREE, "OF_TX_FAST_FREE"),
];

fn basic_value(nic: &NicBasic) -> Value {
    let words = |table: &[(u16, &'static str)]| -> Vec<&'static str> {
        let set = table.iter().filter(|(bit, _)| nic.flags & bit != 0);
        set.map(|(_, word)| *word).collect()
    };
    json!({
        "ifindex": u32::from(nic.port_id) + 1,
        "ifname": nic.name.text(),
        "socket": nic.socket_id,
        "mtu": nic.mtu,
        "rx_queues": nic.nrxq,
        "tx_queues": nic.ntxq,
        "state": nic.link_status.text(),
        "speed_mbps": nic.link_speed,
        "duplex": nic.link_duplex.text(),
        "autoneg": nic.link_autoneg.text(),
        "flags": words(&FLAGS),
        "address": nic.addr.text(),
        "offloads": words(&OFFLOADS),
    })
}

fn stats_value(stats: &NicStats) -> Value {
    json!({
        "ipackets": stats.ipackets,
        "opackets": stats.opackets,
        "ibytes": stats.ibytes,
        "obytes": stats.obytes,
        "ierrors": stats.ierrors,
        "oerrors": stats.oerrors,
        "imissed": stats.imissed,
        "rx_nombuf": stats.rx_nombuf,
        "mbuf_avail": stats.mbuf_avail,
        "mbuf_inuse": stats.mbuf_inuse,
    })
}

fn ext_value(ext: &NicExt) -> Value {
    let dev = ext.dev_info;
    json!({
        "pci_addr": dev.pci_addr.text(),
        "driver_name": dev.driver_name.text(),
        "if_index": dev.if_index,
        "min_rx_bufsize": dev.min_rx_bufsize,
        "max_rx_pktlen": dev.max_rx_pktlen,
        "max_mac_addrs": dev.max_mac_addrs,
        "max_rx_queues": dev.max_rx_queues,
        "max_tx_queues": dev.max_tx_queues,
        "max_hash_addrs": dev.max_hash_mac_addrs,
        "max_vfs": dev.max_vfs,
        "max_vmdq_pools": dev.max_vmdq_pools,
        "rx_ol_capa": dev.rx_offload_capa,
        "tx_ol_capa": dev.tx_offload_capa,
        "reta_size": dev.reta_size,
        "hash_key_size": dev.hash_key_size,
        "flowtype_rss_ol": dev.flow_type_rss_offloads,
        "rx_desc_max": dev.rx_desc_lim_nb_max,
        "rx_desc_min": dev.rx_desc_lim_nb_min,
        "tx_desc_max": dev.tx_desc_lim_nb_max,
        "tx_desc_min": dev.tx_desc_lim_nb_min,
        "speed_capa": dev.speed_capa,
    })
}

fn bond_value(bond: &BondStatus) -> Value {
    let count = usize::try_from(bond.slave_nb).unwrap_or(0);
    let member = |slave: &BondSlave| {
        json!({
            "ifname": slave.name.text(),
            "address": slave.macaddr.text(),
            "active": slave.is_active != 0,
            "primary": slave.is_primary != 0,
        })
    };
    json!({
        "mode": bond.mode,
        "address": bond.macaddr.text(),
        "xmit_policy": bond.xmit_policy.text(),
        "link_monitor_ms": bond.link_monitor_interval,
        "link_down_prop_ms": bond.link_down_prop_delay,
        "link_up_prop_ms": bond.link_up_prop_delay,
        "members": bond.slaves.iter().take(count).map(member).collect::<Vec<_>>(),
    })
}

fn basic_text(nic: &NicBasic) -> String {
    let mut text = format!(
        "{}: {}: socket {} mtu {} rx-queue {} tx-queue {}\n    ",
        u32::from(nic.port_id) + 1,
        nic.name,
        nic.socket_id,
        nic.mtu,
        nic.nrxq,
        nic.ntxq
    );
    for word in [
        nic.link_status.text(),
        format!("{} Mbps", nic.link_speed).into(),
    ] {
        token(&mut text, &word);
    }
    for word in [nic.link_duplex.text(), nic.link_autoneg.text()] {
        token(&mut text, &word);
    }
    for (bit, word) in FLAGS {
        token(&mut text, if nic.flags & bit != 0 { word } else { "" });
    }
    let _ = write!(text, "\n    addr {} ", nic.addr);
    for (bit, word) in OFFLOADS {
        token(&mut text, if nic.flags & bit != 0 { word } else { "" });
    }
    text.push('\n');
    text
}

/// A word and a blank, if there is a word.
fn token(text: &mut String, word: &str) {
    if !word.is_empty() {
        text.push_str(word);
        text.push(' ');
    }
}

fn stats_text(stats: &NicStats) -> String {
    let mut text = String::new();
    row(
        &mut text,
        20,
        &[&"ipackets", &"opackets", &"ibytes", &"obytes"],
    );
    let NicStats {
        ipackets,
        opackets,
        ibytes,
        obytes,
        ..
    } = stats;
    row(&mut text, 20, &[ipackets, opackets, ibytes, obytes]);
    row(
        &mut text,
        20,
        &[&"ierrors", &"oerrors", &"imissed", &"rx_nombuf"],
    );
    let NicStats {
        ierrors,
        oerrors,
        imissed,
        rx_nombuf,
        ..
    } = stats;
    row(&mut text, 20, &[ierrors, oerrors, imissed, rx_nombuf]);
    row(&mut text, 20, &[&"mbuf-avail", &"mbuf-inuse"]);
    row(&mut text, 20, &[&stats.mbuf_avail, &stats.mbuf_inuse]);
    text
}

fn rate_text(before: &NicStats, after: &NicStats, seconds: u64) -> (String, Value) {
    let per = |field: fn(&NicStats) -> u64| rate(field(before), field(after), seconds);
    let traffic = [
        per(|s| s.ipackets),
        per(|s| s.opackets),
        per(|s| s.ibytes),
        per(|s| s.obytes),
    ];
    let losses = [
        per(|s| s.ierrors),
        per(|s| s.oerrors),
        per(|s| s.imissed),
        per(|s| s.rx_nombuf),
    ];
    let mut text = String::new();
    row(
        &mut text,
        16,
        &[
            &"ipackets/pps",
            &"opackets/pps",
            &"ibytes/Bps",
            &"obytes/Bps",
        ],
    );
    row(
        &mut text,
        16,
        &traffic.each_ref().map(|n| n as &dyn std::fmt::Display),
    );
    row(
        &mut text,
        16,
        &[
            &"ierrors/pps",
            &"oerrors/pps",
            &"imissed/pps",
            &"rx_nombuf/pps",
        ],
    );
    row(
        &mut text,
        16,
        &losses.each_ref().map(|n| n as &dyn std::fmt::Display),
    );
    let [ipackets, opackets, ibytes, obytes] = traffic;
    let [ierrors, oerrors, imissed, rx_nombuf] = losses;
    let value = json!({
        "ipackets": ipackets, "opackets": opackets, "ibytes": ibytes, "obytes": obytes,
        "ierrors": ierrors, "oerrors": oerrors, "imissed": imissed, "rx_nombuf": rx_nombuf,
    });
    (text, value)
}

fn xstats_text(xstats: &[XStat]) -> String {
    let mut text = "    xstats list:\n".to_owned();
    if xstats.is_empty() {
        text.push_str("        not supported\n");
    }
    for XStat { id, val, name } in xstats {
        let _ = writeln!(text, "        {id:<6}{name}: {val}");
    }
    text
}

fn ext_text(ext: &NicExt, queues: &str, multicast: &str) -> String {
    let dev = ext.dev_info;
    let mut text = String::new();
    row(&mut text, 32, &[&"pci_addr", &"driver_name"]);
    row(&mut text, 32, &[&dev.pci_addr, &dev.driver_name]);
    let mut pair = |names: [&str; 4], values: [&dyn std::fmt::Display; 4]| {
        row(
            &mut text,
            16,
            &names.each_ref().map(|name| name as &dyn std::fmt::Display),
        );
        row(&mut text, 16, &values);
    };
    pair(
        [
            "if_index",
            "min_rx_bufsize",
            "max_rx_pktlen",
            "max_mac_addrs",
        ],
        [
            &dev.if_index,
            &dev.min_rx_bufsize,
            &dev.max_rx_pktlen,
            &dev.max_mac_addrs,
        ],
    );
    pair(
        [
            "max_rx_queues",
            "max_tx_queues",
            "max_hash_addrs",
            "max_vfs",
        ],
        [
            &dev.max_rx_queues,
            &dev.max_tx_queues,
            &dev.max_hash_mac_addrs,
            &dev.max_vfs,
        ],
    );
    let (rx_capa, tx_capa) = (dev.rx_offload_capa, dev.tx_offload_capa);
    pair(
        ["max_vmdq_pools", "rx_ol_capa", "tx_ol_capa", "reta_size"],
        [
            &dev.max_vmdq_pools,
            &format!("0x{rx_capa:X}"),
            &format!("0x{tx_capa:X}"),
            &dev.reta_size,
        ],
    );
    let flows = dev.flow_type_rss_offloads;
    pair(
        [
            "hash_key_size",
            "flowtype_rss_ol",
            "vmdq_que_base",
            "vmdq_que_num",
        ],
        [
            &dev.hash_key_size,
            &format!("0x{flows:X}"),
            &dev.vmdq_queue_base,
            &dev.vmdq_queue_num,
        ],
    );
    pair(
        [
            "rx_desc_max",
            "rx_desc_min",
            "rx_desc_align",
            "vmdq_pool_base",
        ],
        [
            &dev.rx_desc_lim_nb_max,
            &dev.rx_desc_lim_nb_min,
            &dev.rx_desc_lim_nb_align,
            &dev.vmdq_pool_base,
        ],
    );
    pair(
        ["tx_desc_max", "tx_desc_min", "tx_desc_align", "speed_capa"],
        [
            &dev.tx_desc_lim_nb_max,
            &dev.tx_desc_lim_nb_min,
            &dev.tx_desc_lim_nb_align,
            &dev.speed_capa,
        ],
    );
    part(
        &mut text,
        "Queue Configuration:",
        queues,
        ext.cfg_queues.data_len,
    );
    part(&mut text, "HW mcast list:", multicast, ext.mc_list.data_len);
    text
}

/// Text of the daemon under a title; `announced` is how long it was to be.
fn part(text: &mut String, title: &str, body: &str, announced: u64) {
    if body.is_empty() {
        return;
    }
    let _ = writeln!(text, "    {title}");
    text.push_str(body);
    if !body.ends_with('\n') {
        text.push('\n');
    }
    if announced > body.len() as u64 {
        text.push_str("     ... (truncated)\n");
    }
}

fn bond_text(bond: &BondStatus) -> String {
    let mut text = format!(
        "    --- bonding status ---\n    mode {} mac_addr {} xmit_policy {} link_monitor {}ms\n",
        bond.mode, bond.macaddr, bond.xmit_policy, bond.link_monitor_interval
    );
    let _ = write!(
        text,
        "    ative/slaves {}/{} link_down_prop_delay {}ms link_up_prop_delay {}ms\n    slaves: ",
        bond.active_nb, bond.slave_nb, bond.link_down_prop_delay, bond.link_up_prop_delay
    );
    let count = usize::try_from(bond.slave_nb).unwrap_or(0);
    for slave in bond.slaves.iter().take(count) {
        let state = if slave.is_active != 0 {
            "active"
        } else {
            "inactive"
        };
        let primary = if slave.is_primary != 0 {
            ", primary"
        } else {
            ""
        };
        let _ = write!(text, "{}({}, {state}{primary}) ", slave.name, slave.macaddr);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
