//! `global_defs` and the keywords that stand outside all blocks.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::diag::Diags;
use super::keywords;
use super::model::{Garp, Globals};
use super::tree::{Node, shown};
use super::values;

/// Fills `g` from one `global_defs` block.
pub(crate) fn defs(node: &Node, g: &mut Globals, diags: &mut Diags) {
    for n in node.children() {
        match n.key() {
            "router_id" => match n.word(1) {
                Some(w) => g.router_id = Some(w.to_owned()),
                None => diags.error(Some(&n.pos), "router_id: name missing - ignoring"),
            },
            "enable_script_security" => g.script_security = true,
            "script_user" => {
                if let Some(u) = values::arg(n, 1, diags) {
                    g.script_user = Some((u.to_owned(), n.word(2).map(str::to_owned)));
                }
            }
            "vrrp_version" => {
                if let Some(v) = values::number(n, 1, 2, 3, diags) {
                    g.vrrp_version = if v == 3 { 3 } else { 2 };
                }
            }
            "vrrp_mcast_group4" => {
                if let Some(w) = values::arg(n, 1, diags) {
                    match w.parse::<Ipv4Addr>() {
                        Ok(ip) if ip.is_multicast() => g.mcast_group4 = ip,
                        _ => diags.error(
                            Some(&n.pos),
                            format!(
                                "vrrp_mcast_group4 '{}' is not IPv4 multicast - skipping",
                                shown(w)
                            ),
                        ),
                    }
                }
            }
            "vrrp_strict" => g.strict = true,
            "dynamic_interfaces" => g.dynamic_interfaces = true,
            "vrrp_check_unicast_src" => g.check_unicast_src = true,
            "vrrp_lower_prio_no_advert" => {
                g.lower_prio_no_advert = values::boolean(n, diags).unwrap_or(false);
            }
            "vrrp_higher_prio_send_advert" => {
                g.higher_prio_send_advert = values::boolean(n, diags).unwrap_or(false);
            }
            "vrrp_min_garp" => {
                if values::boolean(n, diags) == Some(true) {
                    g.garp = Garp {
                        master_delay: Duration::ZERO,
                        master_repeat: 1,
                        lower_prio_delay: Some(Duration::ZERO),
                        lower_prio_repeat: Some(1),
                        ..Garp::default()
                    };
                }
            }
            "vrrp_down_timer_adverts" => {
                if let Some(v) = values::number(n, 1, 1, 100, diags) {
                    g.down_timer_adverts = u8::try_from(v).unwrap_or(3);
                }
            }
            "lvs_flush" => g.lvs_flush = true,
            "lvs_flush_on_stop" | "lvs_flush_onstop" => g.lvs_flush_on_stop = true,
            "checker_log_all_failures" => {
                g.log_all_failures = values::boolean(n, diags).unwrap_or(false);
            }
            "use_pid_dir" => g.use_pid_dir = true,
            key => match key.strip_prefix("vrrp_") {
                Some(short) if garp(short, n, &mut g.garp, diags) => {}
                _ => checked_only(n, diags),
            },
        }
    }
}

/// Values of keywords without effect are still looked at where a wrong one is
/// a configuration error everywhere else.
fn checked_only(n: &Node, diags: &mut Diags) {
    match n.key() {
        "smtp_connect_timeout" => {
            values::seconds(n, 1, 0.0, 4294.0, diags);
        }
        "vrrp_mcast_group6" => {
            if let Some(w) = values::arg(n, 1, diags)
                && !w
                    .parse::<std::net::Ipv6Addr>()
                    .is_ok_and(|ip| ip.is_multicast())
            {
                diags.error(
                    Some(&n.pos),
                    format!(
                        "vrrp_mcast_group6 '{}' is not IPv6 multicast - skipping",
                        shown(w)
                    ),
                );
            }
        }
        _ => {}
    }
    keywords::not_taken("global_defs", n, diags);
}

/// The announcement keywords, which instances have without the `vrrp_` before them.
pub(crate) fn garp(key: &str, n: &Node, g: &mut Garp, diags: &mut Diags) -> bool {
    let delay = |diags: &mut Diags| values::seconds(n, 1, 0.0, 4_294.0, diags);
    let count = |diags: &mut Diags| values::number32(n, 1, 0, i32::MAX as u32, diags);
    match key {
        "garp_master_delay" => g.master_delay = delay(diags).unwrap_or(g.master_delay),
        // 0 becomes 1: an address that is never announced is no use.
        "garp_master_repeat" => {
            g.master_repeat = count(diags).map_or(g.master_repeat, |c| c.max(1));
        }
        "garp_master_refresh" => g.master_refresh = delay(diags).unwrap_or(g.master_refresh),
        "garp_master_refresh_repeat" => {
            g.master_refresh_repeat = count(diags).map_or(g.master_refresh_repeat, |c| c.max(1));
        }
        "garp_lower_prio_delay" => g.lower_prio_delay = delay(diags).or(g.lower_prio_delay),
        "garp_lower_prio_repeat" => g.lower_prio_repeat = count(diags).or(g.lower_prio_repeat),
        _ => return false,
    }
    true
}
