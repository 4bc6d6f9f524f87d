//! What of the options goes together, and what follows from several of them
//! at once. Runs after all are read.

use dpvs_ctl::msg::{Service, encap_kind, fwd_mode, svc_flag};
use dpvs_ctl::{Af, Be16, Name};

use super::parse::{Command, Late, timeout};
use super::table::{Cmd, LIST_EXCLUSIVE, Opt, rules};
use crate::address;
use crate::failure::Failure;
use crate::names::{is_match, proto};
use crate::specs;

/// `--set` takes three words; returns the words that are left.
pub(super) fn set_values<'w, 'a>(
    command: &mut Command,
    words: &'w [&'a str],
) -> Result<&'w [&'a str], Failure> {
    if command.cmd != Cmd::SetTimeout {
        return Ok(words);
    }
    let (values, rest) = words
        .split_at_checked(3)
        .ok_or_else(|| Failure::usage("--set option requires 3 timeout values"))?;
    let times = &mut command.timeouts;
    let slots = [&mut times.tcp, &mut times.tcp_fin, &mut times.udp];
    for (slot, value) in slots.into_iter().zip(values) {
        *slot = timeout(value, 0)?;
    }
    Ok(rest)
}

/// Checks what the command needs and may have.
pub(super) fn rules_of(c: &Command) -> Result<(), Failure> {
    let (required, optional) = rules(c.cmd);
    let command = c.cmd.name();
    let mut chosen: Option<Opt> = None;
    for opt in Opt::ALL {
        let name = opt.name();
        if !c.given.has(*opt) {
            if required.contains(opt) {
                return Err(Failure::usage(format!(
                    "You need to supply the '{name}' option for the '{command}' command"
                )));
            }
            continue;
        }
        if !required.contains(opt) && !optional.contains(opt) {
            return Err(Failure::usage(format!(
                "Illegal '{name}' option with the '{command}' command"
            )));
        }
        if c.cmd == Cmd::List && LIST_EXCLUSIVE.contains(opt) {
            if let Some(other) = chosen {
                return Err(Failure::usage(format!(
                    "The option '{name}' conflicts with the '{}' option in the 'list' command",
                    other.name()
                )));
            }
            chosen = Some(*opt);
        }
    }
    Ok(())
}

/// Works out what depends on several options.
pub(super) fn finish(c: &mut Command, late: &Late<'_>) -> Result<(), Failure> {
    let has = |opt| c.given.has(opt);
    match c.cmd {
        Cmd::AddService | Cmd::EditService => finish_service(c, late),
        Cmd::AddDest | Cmd::EditDest => {
            finish_dest(c, late);
            check_tunnel(c, late)?;
            check_families(c)
        }
        Cmd::DelDest => {
            finish_dest(c, late);
            Ok(())
        }
        Cmd::List => {
            let other = has(Opt::Connection) || has(Opt::Timeout) || has(Opt::Daemon);
            let counters = has(Opt::Stats) || has(Opt::Rate) || has(Opt::Thresholds);
            let persistent = has(Opt::PersistentConn) && (has(Opt::Timeout) || has(Opt::Daemon));
            if (other && counters) || persistent {
                return Err(Failure::usage("options conflicts in the list command"));
            }
            if has(Opt::Sockpair) && !has(Opt::Connection) {
                return Err(Failure::usage(
                    "The option 'sockpair' requires the 'connection' option in the 'list' command",
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn finish_service(c: &mut Command, late: &Late<'_>) -> Result<(), Failure> {
    let svc = &mut c.service;
    let persistent = svc.flags & svc_flag::PERSISTENT != 0;
    // DIFFERS: echo requests have no port that anybody could name: without one, all
    // to the address are meant.
    let portless = is_match(svc) || persistent || is_echo(svc);
    if svc.fwmark == 0 && !portless && svc.port.get() == 0 {
        return Err(Failure::usage(
            "Zero port specified for non-persistent service",
        ));
    }
    if svc.flags & svc_flag::ONEPACKET != 0 && svc.fwmark == 0 && svc.proto != proto::UDP {
        return Err(Failure::usage(
            "One-Packet Scheduling is only for UDP virtual services",
        ));
    }
    let sched = late.sched.filter(|s| !s.is_empty()).unwrap_or("wlc");
    // Too long a name is unknown to every daemon; it says so.
    svc.sched_name = Name::truncated(sched);
    if let Some(flags) = late.sched_flags {
        svc.flags |= specs::parse_sched_flags(flags, sched)?;
    }
    let conhash = sched.starts_with("conhash");
    match late.hash_target {
        None if conhash => svc.flags |= svc_flag::SIP_HASH,
        None => {}
        Some(_) if !conhash => {
            return Err(Failure::usage(
                "hash target can only be set when schedule is conhash",
            ));
        }
        Some(text) if text.starts_with("sip") => svc.flags |= svc_flag::SIP_HASH,
        Some(text) if text.starts_with("qid") => {
            if svc.proto != proto::UDP {
                return Err(Failure::usage("qid hash can only be set in udp service"));
            }
            svc.flags |= svc_flag::QID_HASH;
        }
        Some(_) => return Err(Failure::usage("hash target not support")),
    }
    svc.netmask = match late.netmask {
        None => Service::netmask_of(svc.af, svc.af.max_plen()),
        // DIFFERS: `64abc` is no prefix length.
        Some(text) if svc.af == Af::INET6 => address::number(text, 1, 128)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| Failure::usage("illegal ipv6 netmask specified"))?,
        Some(text) => address::inet_aton(text)
            .map(|mask| u32::from_ne_bytes(mask.octets()))
            .ok_or_else(|| Failure::usage("illegal netmask specified"))?,
    };
    Ok(())
}

/// The dest's port: that of the service unless another was given. DPVS, as
/// Linux, forwards to the service's own port in direct routing and tunnels.
fn finish_dest(c: &mut Command, late: &Late<'_>) {
    let unchanged = matches!(c.dest.fwdmode, fwd_mode::DROUTE | fwd_mode::TUNNEL);
    let marked = c.service.fwmark != 0;
    c.dest.port = match late.dest_port {
        Some(port) if c.cmd == Cmd::DelDest || marked || !unchanged => Be16::new(port),
        _ => c.service.port,
    };
}

/// Whether a service is of ICMP or ICMPv6.
fn is_echo(svc: &Service) -> bool {
    matches!(svc.proto, proto::ICMP | proto::ICMPV6)
}

fn check_families(c: &Command) -> Result<(), Failure> {
    // FullNAT translates between families (NAT64).
    let may_differ = matches!(c.dest.fwdmode, fwd_mode::TUNNEL | fwd_mode::FULLNAT);
    if c.service.af != c.dest.af && !may_differ {
        return Err(Failure::usage(
            "Different address family is allowed only for tunneling servers",
        ));
    }
    Ok(())
}

fn check_tunnel(c: &mut Command, late: &Late<'_>) -> Result<(), Failure> {
    const ALL: [Opt; 5] = [
        Opt::TunType,
        Opt::TunPort,
        Opt::TunNoCsum,
        Opt::TunCsum,
        Opt::TunRemCsum,
    ];
    let given = c.given;
    let has = |opt: Opt| given.has(opt);
    if c.dest.fwdmode != fwd_mode::TUNNEL {
        return if ALL.into_iter().any(has) {
            Err(Failure::usage(
                "Tunnel options conflict with forward method",
            ))
        } else {
            Ok(())
        };
    }
    let kind = late.tun_type.unwrap_or("ipip");
    let allowed: &[Opt] = match kind {
        "gue" => &ALL,
        "gre" => &[Opt::TunType, Opt::TunNoCsum, Opt::TunCsum],
        _ => &[Opt::TunType],
    };
    if kind == "gue" && !has(Opt::TunPort) {
        return Err(Failure::usage(
            "You need to supply the 'tun-port' option for the 'gue' tunnel type",
        ));
    }
    let mut checksum: Option<Opt> = None;
    for opt in ALL.into_iter().filter(|o| has(*o)) {
        if !allowed.contains(&opt) {
            return Err(Failure::usage(format!(
                "Illegal '{}' option with the '{kind}' tunnel type",
                opt.name()
            )));
        }
        if opt >= Opt::TunNoCsum {
            if let Some(other) = checksum {
                return Err(Failure::usage(format!(
                    "The option '{}' conflicts with the '{}' option in the '{kind}' tunnel type",
                    opt.name(),
                    other.name()
                )));
            }
            checksum = Some(opt);
        }
    }
    if c.encap.kind == encap_kind::VXLAN {
        return if ALL.into_iter().any(has) {
            Err(Failure::usage(
                "Tunnel options conflict with the 'vxlan' option",
            ))
        } else {
            Ok(())
        };
    }
    c.encap.kind = match kind {
        "gue" => encap_kind::GUE,
        "gre" => encap_kind::GRE,
        _ => encap_kind::PLAIN,
    };
    Ok(())
}
