//! `vrrp_instance`.
//!
//! Corrections keepalived makes when an instance is complete are made here,
//! with a message each. VRRP words are those of RFC 9568.

use std::net::IpAddr;
use std::time::Duration;

use super::diag::Diags;
use super::global;
use super::keywords;
use super::model::{Globals, Instance, Notify, TrackIf, VirtualAddr};
use super::tree::{Node, shown};
use super::values;

/// The most addresses an advert can list.
const MAX_ADVERT_ADDRS: usize = 255;

/// Builds an instance; `None` when it cannot run. `exists` tells whether an
/// interface is there now.
pub(crate) fn instance(
    node: &Node,
    globals: &Globals,
    exists: &dyn Fn(&str) -> bool,
    diags: &mut Diags,
) -> Option<Instance> {
    let Some(name) = node.word(1) else {
        diags.error(Some(&node.pos), "vrrp_instance must have a name");
        return None;
    };
    let mut b = Build {
        out: Instance {
            name: name.to_owned(),
            state_master: false,
            interface: String::new(),
            dpdk_interface: None,
            vrid: 0,
            priority: 100,
            version: 0,
            advert_int: Duration::from_secs(1),
            auth_pass: None,
            preempt: true,
            preempt_delay: Duration::ZERO,
            src_ip: None,
            peers: Vec::new(),
            vips: Vec::new(),
            excluded: Vec::new(),
            track_interfaces: Vec::new(),
            dont_track_primary: false,
            garp: globals.garp.clone(),
            down_timer_adverts: globals.down_timer_adverts,
            lower_prio_no_advert: globals.lower_prio_no_advert || globals.strict,
            higher_prio_send_advert: globals.higher_prio_send_advert,
            check_unicast_src: globals.check_unicast_src,
            mcast_group4: globals.mcast_group4,
            notify: Notify::default(),
        },
        version: None,
        unicast_word: false,
        auth: None,
        strict: globals.strict,
        missing: false,
    };
    for n in node.children() {
        b.take(n, globals, exists, diags);
    }
    b.finish(node, globals, diags)
}

struct Auth {
    pass_type: bool,
    password: Option<String>,
}

struct Build {
    out: Instance,
    version: Option<u8>,
    unicast_word: bool,
    auth: Option<Auth>,
    strict: bool,
    missing: bool,
}

impl Build {
    fn take(
        &mut self,
        n: &Node,
        globals: &Globals,
        exists: &dyn Fn(&str) -> bool,
        diags: &mut Diags,
    ) {
        let i = &mut self.out;
        let name = i.name.clone();
        match n.key() {
            "state" => match values::arg(n, 1, diags) {
                Some("MASTER") => i.state_master = true,
                Some("BACKUP") => i.state_master = false,
                Some(other) => diags.error(
                    Some(&n.pos),
                    format!(
                        "({name}) unknown state '{}', defaulting to BACKUP",
                        shown(other)
                    ),
                ),
                None => {}
            },
            "interface" => {
                if let Some(dev) = values::ifname(n, 1, diags) {
                    if !exists(&dev) && !globals.dynamic_interfaces {
                        diags.error(
                            Some(&n.pos),
                            format!(
                                "WARNING - interface {dev} for vrrp_instance {name} doesn't exist"
                            ),
                        );
                        self.missing = true;
                    }
                    i.interface = dev;
                }
            }
            "dpdk_interface" => i.dpdk_interface = values::ifname(n, 1, diags),
            "virtual_router_id" => {
                i.vrid = values::number(n, 1, 1, 255, diags)
                    .and_then(|v| u8::try_from(v).ok())
                    .unwrap_or(i.vrid);
            }
            "priority" => {
                i.priority = values::number(n, 1, 1, 255, diags)
                    .and_then(|v| u8::try_from(v).ok())
                    .unwrap_or(i.priority);
            }
            "version" => {
                if let Some(v) = values::number(n, 1, 2, 3, diags) {
                    self.version = Some(if v == 3 { 3 } else { 2 });
                }
            }
            "advert_int" => {
                i.advert_int = values::seconds(n, 1, 0.01, 255.0, diags).unwrap_or(i.advert_int);
            }
            "nopreempt" => i.preempt = false,
            "preempt" => i.preempt = true,
            "preempt_delay" => {
                i.preempt_delay =
                    values::seconds(n, 1, 0.0, 1000.0, diags).unwrap_or(i.preempt_delay);
            }
            "mcast_src_ip" | "unicast_src_ip" => {
                self.unicast_word |= n.key() == "unicast_src_ip";
                if let Some(w) = values::arg(n, 1, diags) {
                    i.src_ip = w.parse().ok();
                    if i.src_ip.is_none() {
                        diags.error(
                            Some(&n.pos),
                            format!(
                                "({name}) malformed source address '{}' - skipping",
                                shown(w)
                            ),
                        );
                    }
                }
            }
            "unicast_peer" => {
                self.unicast_word = true;
                for line in n.children() {
                    match line.key().parse::<IpAddr>() {
                        Ok(ip) => i.peers.push(ip),
                        Err(_) => diags.error(
                            Some(&line.pos),
                            format!(
                                "({name}) malformed unicast peer address '{}' - skipping",
                                shown(line.key())
                            ),
                        ),
                    }
                }
            }
            "virtual_ipaddress" => addresses(n, true, &mut i.vips, exists, diags),
            "virtual_ipaddress_excluded" => addresses(n, false, &mut i.excluded, exists, diags),
            "track_interface" => track_interfaces(n, &mut i.track_interfaces, exists, diags),
            "dont_track_primary" => i.dont_track_primary = true,
            "lower_prio_no_advert" => {
                i.lower_prio_no_advert =
                    values::boolean(n, diags).unwrap_or(i.lower_prio_no_advert);
            }
            "higher_prio_send_advert" => {
                i.higher_prio_send_advert =
                    values::boolean(n, diags).unwrap_or(i.higher_prio_send_advert);
            }
            "check_unicast_src" => i.check_unicast_src = true,
            "down_timer_adverts" => {
                i.down_timer_adverts = values::number(n, 1, 1, 100, diags)
                    .and_then(|v| u8::try_from(v).ok())
                    .unwrap_or(i.down_timer_adverts);
            }
            "strict_mode" => self.strict = values::boolean(n, diags).unwrap_or(self.strict),
            "authentication" => self.authentication(n, diags),
            "notify_master" => i.notify.master = values::script(n, diags),
            "notify_backup" => i.notify.backup = values::script(n, diags),
            "notify_fault" => i.notify.fault = values::script(n, diags),
            "notify_stop" => i.notify.stop = values::script(n, diags),
            "notify" => i.notify.any = values::script(n, diags),
            // What these ask for is what happens anyway.
            "accept" | "debug" | "native_ipv6" => {}
            key if global::garp(key, n, &mut i.garp, diags) => {}
            _ => keywords::not_taken("vrrp_instance", n, diags),
        }
    }

    fn authentication(&mut self, node: &Node, diags: &mut Diags) {
        let mut auth = Auth {
            pass_type: true,
            password: None,
        };
        for n in node.children() {
            match n.key() {
                "auth_type" => match values::arg(n, 1, diags) {
                    Some("PASS" | "SIMPLE") => auth.pass_type = true,
                    Some("AH") => {
                        auth.pass_type = false;
                        diags.note(
                            Some(&n.pos),
                            "auth_type AH is not supported yet: adverts are sent without authentication",
                        );
                    }
                    Some(other) => diags.error(
                        Some(&n.pos),
                        format!(
                            "({}) unknown authentication type '{}'",
                            self.out.name,
                            shown(other)
                        ),
                    ),
                    None => {}
                },
                "auth_pass" => {
                    if let Some(w) = values::arg(n, 1, diags) {
                        if w.len() > 8 {
                            diags.error(Some(&n.pos), "Truncating auth_pass to 8 characters");
                        }
                        auth.password = Some(w.to_owned());
                    }
                }
                _ => keywords::not_taken("vrrp_instance/authentication", n, diags),
            }
        }
        self.auth = Some(auth);
    }

    fn finish(self, node: &Node, globals: &Globals, diags: &mut Diags) -> Option<Instance> {
        let mut i = self.out;
        let name = i.name.clone();
        let pos = Some(&node.pos);
        if i.vrid == 0 {
            diags.error(pos, format!("({name}) the virtual router id must be set"));
            return None;
        }
        if i.interface.is_empty() {
            diags.error(pos, format!("({name}) Unknown interface!"));
            return None;
        }
        let v6 = i.vips.first().is_some_and(|v| v.ip.is_ipv6());
        i.version = if v6 {
            3
        } else {
            self.version.unwrap_or(globals.vrrp_version)
        };
        if v6 && self.version == Some(2) {
            diags.error(pos, format!("({name}) IPv6 needs version 3 - using it"));
        }
        if i.vips.is_empty() {
            diags.error(
                pos,
                format!("({name}) No VIP specified; at least one is sensible"),
            );
        }
        if i.vips.len() > MAX_ADVERT_ADDRS {
            diags.note(
                pos,
                format!("({name}) an advert lists {MAX_ADVERT_ADDRS} addresses at most: the others are excluded from it"),
            );
            let rest = i.vips.split_off(MAX_ADVERT_ADDRS);
            i.excluded.splice(0..0, rest);
        }
        interval(&mut i, pos, diags);
        if let Some(auth) = self.auth {
            let why = if i.version == 3 {
                Some("version 3 has no authentication. Ignoring")
            } else if self.strict {
                Some("Strict mode does not support authentication. Ignoring.")
            } else if auth.password.as_deref().unwrap_or_default().is_empty() {
                Some("Authentication specified but no password given. Ignoring")
            } else {
                None
            };
            if let Some(why) = why {
                diags.error(pos, format!("({name}) {why}"));
            } else if !auth.pass_type && i.state_master {
                diags.error(
                    pos,
                    format!("({name}) Initial state master is incompatible with AH authentication - clearing"),
                );
                i.state_master = false;
            } else if auth.pass_type {
                let mut pass = [0; 8];
                for (slot, b) in pass
                    .iter_mut()
                    .zip(auth.password.unwrap_or_default().bytes())
                {
                    *slot = b;
                }
                i.auth_pass = Some(pass);
            }
        }
        let unsuited: Vec<_> = i
            .peers
            .iter()
            .filter(|p| p.is_ipv6() != v6)
            .copied()
            .collect();
        for p in unsuited {
            diags.error(
                pos,
                format!("({name}) unicast peer {p} has another family than the VIPs - skipping"),
            );
            i.peers.retain(|x| *x != p);
        }
        if let Some(src) = i.src_ip.filter(|s| s.is_ipv6() != v6) {
            diags.error(
                pos,
                format!(
                    "({name}) source address {src} has another family than the VIPs - ignoring"
                ),
            );
            i.src_ip = None;
        }
        if self.unicast_word && i.peers.is_empty() {
            diags.error(
                pos,
                format!("({name}) A unicast keyword has been specified without any unicast peers. Defaulting to multicast."),
            );
        }
        if !i.preempt && i.state_master {
            diags.error(
                pos,
                format!("({name}) Warning - nopreempt will not work with initial state MASTER - clearing"),
            );
            i.preempt = true;
        }
        if !i.preempt_delay.is_zero() && (!i.preempt || i.state_master || self.strict) {
            diags.error(
                pos,
                format!("({name}) preempt_delay is incompatible with nopreempt, state MASTER and strict mode - resetting"),
            );
            i.preempt_delay = Duration::ZERO;
        }
        if self.missing {
            diags.note(
                pos,
                format!(
                    "({name}) waits in FAULT state until interface {} appears",
                    i.interface
                ),
            );
        }
        if v6 {
            diags.note(
                pos,
                format!(
                    "({name}) adverts over IPv6 are not supported yet: the instance is not run \
                     (put IPv6 addresses into virtual_ipaddress_excluded of an IPv4 instance)"
                ),
            );
            return None;
        }
        Some(i)
    }
}

/// Whole seconds in version 2, hundredths up to 40.95 s in version 3.
fn interval(i: &mut Instance, pos: Option<&super::diag::Pos>, diags: &mut Diags) {
    let name = &i.name;
    if i.version == 3 {
        let max = Duration::from_millis(40_950);
        if i.advert_int > max {
            diags.error(pos, format!("({name}) VRRPv3 advertisement interval is out of range. Must be less than 40.96s. Setting to 40.95s"));
            i.advert_int = max;
        }
        let centi = (i.advert_int.as_micros() + 5_000) / 10_000;
        i.advert_int = Duration::from_millis(u64::try_from(centi.max(1)).unwrap_or(100) * 10);
    } else if i.advert_int.subsec_nanos() != 0 {
        let whole = (i.advert_int.as_secs_f64().round().max(1.0)) as u64;
        diags.error(
            pos,
            format!("({name}) VRRPv2 needs an advert_int of whole seconds - rounding to {whole}"),
        );
        i.advert_int = Duration::from_secs(whole);
    }
}

const ADDR_FLAGS: [&str; 6] = [
    "home",
    "-nodad",
    "mngtmpaddr",
    "noprefixroute",
    "autojoin",
    "no_track",
];
const ADDR_WORDS: [&str; 7] = [
    "scope",
    "brd",
    "broadcast",
    "peer",
    "preferred_lft",
    "track_group",
    "use_vmac",
];

/// `one_family`: an advert lists addresses of one family only.
fn addresses(
    node: &Node,
    one_family: bool,
    out: &mut Vec<VirtualAddr>,
    exists: &dyn Fn(&str) -> bool,
    diags: &mut Diags,
) {
    for line in node.children() {
        let Some((ip, prefix, clipped)) = values::prefix(line.key()) else {
            diags.error(
                Some(&line.pos),
                format!(
                    "'{}' is not an IP address. skipping IP...",
                    shown(line.key())
                ),
            );
            continue;
        };
        if clipped {
            diags.error(
                Some(&line.pos),
                format!(
                    "Invalid address prefix len for address {} - using {prefix}",
                    shown(line.key())
                ),
            );
        }
        let mut addr = VirtualAddr {
            ip,
            prefix,
            dev: None,
            label: None,
        };
        let mut n = 1;
        while let Some(word) = line.word(n) {
            n += 1;
            match word {
                "dev" => {
                    if let Some(dev) = values::ifname(line, n, diags) {
                        if !exists(&dev) {
                            diags.error(
                                Some(&line.pos),
                                format!(
                                    "WARNING - interface {dev} for ip address {ip} doesn't exist"
                                ),
                            );
                        }
                        addr.dev = Some(dev);
                    }
                    n += 1;
                }
                "label" => {
                    addr.label = values::ifname(line, n, diags);
                    n += 1;
                }
                w if ADDR_WORDS.contains(&w) => n += 1,
                w if ADDR_FLAGS.contains(&w) => {}
                other => diags.error(
                    Some(&line.pos),
                    format!(
                        "Unknown configuration entry '{}' for ip address - ignoring",
                        shown(other)
                    ),
                ),
            }
        }
        let mixed = one_family && out.first().is_some_and(|a| a.ip.is_ipv4() != ip.is_ipv4());
        if mixed {
            diags.error(
                Some(&line.pos),
                format!("address family of {ip} differs from that of the first address - ignoring"),
            );
        } else if !out.contains(&addr) {
            out.push(addr);
        }
    }
}

fn track_interfaces(
    node: &Node,
    out: &mut Vec<TrackIf>,
    exists: &dyn Fn(&str) -> bool,
    diags: &mut Diags,
) {
    for line in node.children() {
        let Some(name) = values::ifname(line, 0, diags) else {
            continue;
        };
        if !exists(&name) {
            diags.error(
                Some(&line.pos),
                format!("tracked interface {name} doesn't exist"),
            );
        }
        let mut track = TrackIf {
            name,
            weight: 0,
            reverse: false,
        };
        let mut n = 1;
        while let Some(word) = line.word(n) {
            n += 1;
            match word {
                "weight" => {
                    let text = line.word(n).unwrap_or_default();
                    n += 1;
                    match text.parse::<i16>() {
                        Ok(w) if (-253..=253).contains(&w) => track.weight = w,
                        _ => diags.error(
                            Some(&line.pos),
                            format!(
                                "track_interface weight '{}' outside range [-253, 253]",
                                shown(text)
                            ),
                        ),
                    }
                }
                "reverse" => track.reverse = true,
                "noreverse" => track.reverse = false,
                other => diags.error(
                    Some(&line.pos),
                    format!(
                        "Unknown track_interface option '{}' - ignoring",
                        shown(other)
                    ),
                ),
            }
        }
        out.push(track);
    }
}
