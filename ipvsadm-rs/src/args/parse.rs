//! Reads the values of options, in the order they are typed, and then checks
//! that they go together: the order decides which error is reported.

use std::net::IpAddr;

use dpvs_ctl::msg::{
    Dest, Encap, Service, SockPair, SyncDaemon, TableTimeouts, encap_csum, fwd_mode, svc_flag,
    sync_role,
};
use dpvs_ctl::{Af, Be16, Ip16, Name};

use super::check;
use super::options::Key;
use super::scan::{ScanError, Scanner};
use super::table::{Cmd, Opt};
use crate::address;
use crate::failure::Failure;
use crate::names::{Names, proto};
use crate::specs::{self, AclSubject};

/// How a listing looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Weights and connections.
    #[default]
    Default,
    /// Counters.
    Stats,
    /// Rates.
    Rate,
    /// Connection thresholds.
    Thresholds,
    /// Persistent connections.
    Persistent,
    /// Kinds of tunnel.
    Tunnel,
}

/// The options given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptSet(u64);

impl OptSet {
    /// Whether an option was given.
    #[must_use]
    pub fn has(self, opt: Opt) -> bool {
        self.0 & (1 << opt as u64) != 0
    }

    fn insert(&mut self, opt: Opt) -> Result<(), Failure> {
        if self.has(opt) {
            return Err(Failure::usage(format!(
                "multiple '{}' options specified",
                opt.name()
            )));
        }
        self.0 |= 1 << opt as u64;
        Ok(())
    }
}

/// A command, ready to be run.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to do.
    pub cmd: Cmd,
    /// The options given.
    pub given: OptSet,
    /// The service: what names it, and for `-A` and `-E` its options.
    pub service: Service,
    /// The dest.
    pub dest: Dest,
    /// Which lcore's view; 0: all together.
    pub cpu: u8,
    /// The one connection to list.
    pub sockpair: SockPair,
    /// The local address.
    pub laddr: Option<IpAddr>,
    /// Its device.
    pub ifname: Name<16>,
    /// The black or white list entry.
    pub acl: Option<AclSubject>,
    /// `-j disable` clears what an edit would keep.
    pub synproxy: bool,
    /// The persistence engine.
    pub pe: Name<16>,
    /// How packets to the dest are wrapped.
    pub encap: Encap,
    /// New time-outs.
    pub timeouts: TableTimeouts,
    /// The synchronisation daemon.
    pub sync: SyncDaemon,
}

impl Command {
    fn new(cmd: Cmd) -> Self {
        let mut dest = Dest {
            weight: 1,
            ..Dest::default()
        };
        dest.set_fwd_mode(fwd_mode::DROUTE);
        Self {
            cmd,
            given: OptSet::default(),
            service: Service::default(),
            dest,
            cpu: 0,
            sockpair: SockPair::default(),
            laddr: None,
            ifname: Name::EMPTY,
            acl: None,
            synproxy: false,
            pe: Name::EMPTY,
            encap: Encap::default(),
            timeouts: TableTimeouts::default(),
            sync: SyncDaemon {
                ifname: Name::truncated("eth0"),
                ..SyncDaemon::default()
            },
        }
    }

    /// Whether addresses and ports are listed as numbers.
    #[must_use]
    pub fn numeric(&self) -> bool {
        self.given.has(Opt::Numeric)
    }

    /// How the listing looks, the first of these that was asked for.
    #[must_use]
    pub fn view(&self) -> View {
        [
            (Opt::Stats, View::Stats),
            (Opt::Rate, View::Rate),
            (Opt::Thresholds, View::Thresholds),
            (Opt::PersistentConn, View::Persistent),
            (Opt::TunInfo, View::Tunnel),
        ]
        .into_iter()
        .find(|(opt, _)| self.given.has(*opt))
        .map_or(View::Default, |(_, view)| view)
    }
}

/// Values that can only be judged when all options are known.
#[derive(Default)]
pub(super) struct Late<'a> {
    pub(super) sched: Option<&'a str>,
    pub(super) sched_flags: Option<&'a str>,
    pub(super) hash_target: Option<&'a str>,
    pub(super) netmask: Option<&'a str>,
    pub(super) dest_port: Option<u16>,
    pub(super) tun_type: Option<&'a str>,
    has_mark: bool,
}

/// Reads the arguments behind the program's name `prog`. Within a restore,
/// another restore is no command.
///
/// # Errors
/// Wrong arguments, with the texts and exit codes of ipvsadm 1.31.
pub fn parse(
    prog: &str,
    argv: &[String],
    names: &Names,
    restoring: bool,
) -> Result<Command, Failure> {
    let hint = || {
        Failure::options(format!(
            "Try `{prog} -h' or '{prog} --help' for more information."
        ))
    };
    if argv.is_empty() {
        return Ok(Command::new(Cmd::List));
    }
    let mut scanner = Scanner::new(argv);
    let (cmd, value) = match scanner.next(false) {
        Some(Ok((Key::Cmd(cmd), value))) => (cmd, value),
        _ => return Err(hint()),
    };
    if restoring && cmd == Cmd::Restore {
        return Err(hint());
    }
    let mut command = Command::new(cmd);
    match cmd {
        Cmd::Help | Cmd::Version => return Ok(command),
        Cmd::StartDaemon | Cmd::StopDaemon => {
            command.sync.role = match (value, cmd) {
                (Some("master"), _) => sync_role::MASTER,
                (Some("backup"), _) => sync_role::BACKUP,
                (_, Cmd::StartDaemon) => {
                    return Err(Failure::usage("illegal start-daemon parameter specified"));
                }
                _ => return Err(Failure::usage("illegal start_daemon specified")),
            };
        }
        _ => {}
    }

    let mut late = Late::default();
    let dest_command = matches!(cmd, Cmd::AddDest | Cmd::EditDest);
    loop {
        match scanner.next(dest_command) {
            None => break,
            Some(Err(e)) => return Err(scan_failure(&scanner, e)),
            Some(Ok((Key::Cmd(_), _))) => {
                return Err(Failure::usage(format!(
                    "invalid option `{}'",
                    scanner.last_word()
                )));
            }
            Some(Ok((key, value))) => option(&mut command, &mut late, key, value, names)?,
        }
    }
    let words = check::set_values(&mut command, scanner.words())?;
    if let Some(word) = words.first() {
        return Err(Failure::usage(format!("unexpected argument {word}")));
    }
    check::rules_of(&command)?;
    check::finish(&mut command, &late)?;
    Ok(command)
}

fn scan_failure(scanner: &Scanner<'_>, error: ScanError) -> Failure {
    Failure::options(format!("{}: {}", scanner.last_word(), error.text()))
}

/// Reads one option.
fn option<'a>(
    c: &mut Command,
    late: &mut Late<'a>,
    key: Key,
    value: Option<&'a str>,
    names: &Names,
) -> Result<(), Failure> {
    let text = value.unwrap_or("");
    match key {
        Key::Cmd(_) | Key::Sort => {}
        Key::Service(protocol) => {
            c.given.insert(Opt::Service)?;
            let found = address::parse(text, protocol, names)
                .ok_or_else(|| Failure::usage("illegal virtual server address[:port] specified"))?;
            c.service.af = Af::of(found.ip);
            c.service.proto = protocol;
            c.service.addr = Ip16::from_ip(found.ip);
            c.service.port = Be16::new(found.port.unwrap_or(0));
        }
        Key::Fwmark => {
            c.given.insert(Opt::Service)?;
            let mark = address::number(text, 1, u32::MAX.into())
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| {
                    Failure::usage(format!("invalid fwmark value `{text}' specified"))
                })?;
            c.service.af = Af::INET;
            c.service.proto = proto::TCP;
            c.service.fwmark = mark;
            late.has_mark = true;
        }
        Key::Ipv6 => {
            if !late.has_mark {
                return Err(Failure::usage("-6 used before -f\n"));
            }
            c.service.af = Af::INET6;
        }
        Key::Match => {
            c.given.insert(Opt::Service)?;
            let spec = specs::parse_match(text)
                .ok_or_else(|| Failure::usage("illegal match specified"))?;
            c.service.af = spec.af;
            c.service.proto = spec.proto;
            c.service.matched = spec.matched;
            c.service.flags |= svc_flag::MATCH;
        }
        Key::Forward(mode) => {
            c.given.insert(Opt::Forward)?;
            c.dest.set_fwd_mode(mode);
        }
        Key::Opt(opt) => {
            // The only option that may be repeated: what is given adds up.
            if opt != Opt::DestCheck || !c.given.has(opt) {
                c.given.insert(opt)?;
            }
            plain_option(c, late, opt, value, names)?;
        }
    }
    Ok(())
}

fn plain_option<'a>(
    c: &mut Command,
    late: &mut Late<'a>,
    opt: Opt,
    value: Option<&'a str>,
    names: &Names,
) -> Result<(), Failure> {
    let text = value.unwrap_or("");
    let illegal = |what: &str| Failure::usage(format!("illegal {what} specified"));
    match opt {
        Opt::Scheduler => late.sched = value,
        Opt::SchedFlags => late.sched_flags = value,
        Opt::HashTarget => late.hash_target = value,
        Opt::Netmask => late.netmask = value,
        Opt::Persistent => {
            c.service.flags |= svc_flag::PERSISTENT;
            c.service.timeout = match value {
                None => 360,
                Some(text) => timeout(text, 1)?,
            };
        }
        Opt::Server => {
            // Port names are the service's, if it was given before.
            let protocol = if c.service.proto == 0 {
                proto::TCP
            } else {
                c.service.proto
            };
            let found = address::parse(text, protocol, names)
                .ok_or_else(|| Failure::usage("illegal real server address[:port] specified"))?;
            c.dest.af = Af::of(found.ip);
            c.dest.addr = Ip16::from_ip(found.ip);
            late.dest_port = found.port;
        }
        Opt::Weight => c.dest.weight = count(text).ok_or_else(|| illegal("weight"))?,
        Opt::UThreshold => c.dest.max_conn = count(text).ok_or_else(|| illegal("u_threshold"))?,
        Opt::LThreshold => c.dest.min_conn = count(text).ok_or_else(|| illegal("l_threshold"))?,
        Opt::Ops => c.service.flags |= svc_flag::ONEPACKET,
        Opt::ExpireQuiescent => c.service.flags |= svc_flag::EXPIRE_QUIESCENT,
        Opt::Quic => c.service.flags |= svc_flag::QUIC,
        Opt::Synproxy => {
            c.synproxy = if text.starts_with("enable") {
                true
            } else if text.starts_with("disable") {
                false
            } else {
                return Err(Failure::usage("synproxy switch must be enable or disable"));
            };
            if c.synproxy {
                c.service.flags |= svc_flag::SYNPROXY;
            }
        }
        Opt::ConnTimeout => {
            c.service.conn_timeout = address::number(text, 0, i32::MAX.into())
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| illegal("conn-timeout"))?;
        }
        Opt::ProxyProtocol => {
            c.service.proxy_protocol =
                specs::parse_proxy_protocol(text).ok_or_else(|| illegal("proxy-protocol"))?;
        }
        Opt::DestCheck => {
            specs::add_dest_check(&mut c.service.check_conf, text)
                .ok_or_else(|| Failure::usage("invalid dest_check config"))?;
        }
        Opt::Laddr => {
            let ip = address::parse_ip(text, names);
            c.laddr = Some(ip.ok_or_else(|| Failure::usage("illegal local address"))?);
        }
        Opt::Ifname => {
            c.ifname = Name::new(text)
                .filter(|n| !n.is_empty())
                .ok_or_else(|| illegal("ifname (1 to 15 bytes)"))?;
        }
        Opt::Blklst | Opt::Whtlst => {
            let list = if opt == Opt::Blklst {
                "blacklist"
            } else {
                "whitelist"
            };
            let subject = specs::parse_acl(text, names).ok_or_else(|| {
                Failure::usage(format!(
                    "illegal {list} entry format, require [ IP | ipset:NAME ]"
                ))
            })?;
            c.acl = Some(subject);
        }
        Opt::Sockpair => {
            c.sockpair = specs::parse_sockpair(text)
                .ok_or_else(|| illegal("sockpair<af:sip:sport:tip:tport>"))?;
        }
        Opt::Cpu => {
            c.cpu = address::number(text, 0, 255)
                .and_then(|n| u8::try_from(n).ok())
                .ok_or_else(|| illegal("cpu index (0 to 255)"))?;
        }
        Opt::TunType => {
            if !matches!(text, "ipip" | "gue" | "gre") {
                return Err(illegal("tunnel type"));
            }
            late.tun_type = value;
        }
        Opt::TunPort => c.encap.port = within(text, 1, 65535, "tunnel port")?,
        Opt::TunNoCsum => c.encap.csum = encap_csum::NONE,
        Opt::TunCsum => c.encap.csum = encap_csum::FULL,
        Opt::TunRemCsum => c.encap.csum = encap_csum::REMOTE,
        Opt::Vxlan => {
            c.encap = specs::parse_vxlan(text).ok_or_else(|| {
                illegal("vxlan SRC-DST-VNI (two addresses of a family, 0 to 16777215)")
            })?;
        }
        Opt::Pe => c.pe = Name::truncated(text),
        Opt::McastInterface => c.sync.ifname = Name::truncated(text),
        Opt::SyncId => c.sync.sync_id = within(text, 0, 255, "syncid")?,
        Opt::SyncMaxLen => c.sync.max_len = within(text, 1, 65507, "sync-maxlen")?,
        Opt::McastPort => c.sync.port = within(text, 1, 65535, "mcast-port")?,
        Opt::McastTtl => c.sync.ttl = within(text, 1, 255, "mcast-ttl")?,
        Opt::McastGroup => {
            let group = group(text)?;
            c.sync.af = Af::of(group);
            c.sync.group = Ip16::from_ip(group);
        }
        Opt::Numeric
        | Opt::Connection
        | Opt::Service
        | Opt::Forward
        | Opt::Timeout
        | Opt::Daemon
        | Opt::Stats
        | Opt::Rate
        | Opt::Thresholds
        | Opt::PersistentConn
        | Opt::NoSort
        | Opt::Exact
        | Opt::Json
        | Opt::TunInfo => {}
    }
    Ok(())
}

/// A weight or threshold.
fn count(text: &str) -> Option<u32> {
    address::number(text, 0, i32::MAX.into()).and_then(|n| u32::try_from(n).ok())
}

fn within(text: &str, min: i64, max: i64, what: &str) -> Result<u32, Failure> {
    address::number(text, min, max)
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| Failure::usage(format!("illegal {what} specified")))
}

/// Seconds, at most 31 days.
pub(super) fn timeout(text: &str, min: i64) -> Result<u32, Failure> {
    address::number(text, min, 86400 * 31)
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| Failure::usage(format!("invalid timeout value `{text}' specified")))
}

/// A multicast group.
fn group(text: &str) -> Result<IpAddr, Failure> {
    let (family, group) = if text.contains(':') {
        ("IPv6", text.parse().ok())
    } else {
        ("IPv4", address::inet_aton(text).map(IpAddr::V4))
    };
    group
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| Failure::usage(format!("invalid {family} mcast-group `{text}'")))
}
