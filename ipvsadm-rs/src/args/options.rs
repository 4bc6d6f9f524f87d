//! The one table of options: letter, name, value, meaning. Parsing, `--help`
//! and the shells' completions are made of it; a test holds the manual page to it.
//!
//! `-b` is the one letter with two meanings: in `-a` and `-e` it is DPVS's
//! FullNAT, elsewhere ipvsadm 1.31's scheduler flags.

use dpvs_ctl::msg::fwd_mode;

use super::table::{Cmd, Opt};
use crate::names::proto;

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Required,
    /// The next word, unless it begins with `-`.
    Optional,
}

/// What an option does when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// It is a command.
    Cmd(Cmd),
    /// A service address: its protocol.
    Service(u8),
    /// A service mark.
    Fwmark,
    /// A match service.
    Match,
    /// `-6`.
    Ipv6,
    /// `--sort`: the default.
    Sort,
    /// A forwarding mode.
    Forward(u32),
    /// Anything else, known by what it is about.
    Opt(Opt),
}

/// Where an option stands in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Commands.
    Command,
    /// What names a service.
    Name,
    /// Options of services.
    Service,
    /// Options of real servers.
    Dest,
    /// Local addresses, black and white lists.
    List,
    /// Options of listings.
    Listing,
    /// Connection synchronisation.
    Sync,
}

impl Group {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Command,
        Self::Name,
        Self::Service,
        Self::Dest,
        Self::List,
        Self::Listing,
        Self::Sync,
    ];

    /// The heading in the help.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Command => "Commands (one, as the first option)",
            Self::Name => "virtual-service, one of",
            Self::Service => "Options of services",
            Self::Dest => "Options of real servers",
            Self::List => "Local addresses, black and white lists",
            Self::Listing => "Options of listings",
            Self::Sync => "Connection synchronisation",
        }
    }
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its letter.
    pub short: Option<char>,
    /// Its name.
    pub long: &'static str,
    /// What its value is called, in brackets if it may be left out; empty: no value.
    pub arg: &'static str,
    /// Values worth offering.
    pub words: &'static [&'static str],
    /// Where it stands in the help.
    pub group: Group,
    /// What it does.
    pub help: &'static str,
    pub(crate) key: Key,
    /// Only in `-a` and `-e` (true), only elsewhere (false), or everywhere.
    pub(super) in_dest_commands: Option<bool>,
}

impl Spec {
    pub(super) fn value(&self) -> Value {
        match self.arg.as_bytes() {
            [] => Value::None,
            [b'[', ..] => Value::Optional,
            _ => Value::Required,
        }
    }

    /// Whether a command may have this option.
    #[must_use]
    pub fn goes_with(&self, cmd: Cmd) -> bool {
        let (required, optional) = super::table::rules(cmd);
        let has = |opt: Opt| required.contains(&opt) || optional.contains(&opt);
        let dest_command = matches!(cmd, Cmd::AddDest | Cmd::EditDest);
        if self
            .in_dest_commands
            .is_some_and(|only| only != dest_command)
        {
            return false;
        }
        match self.key {
            Key::Cmd(_) => false,
            Key::Service(_) | Key::Fwmark | Key::Match | Key::Ipv6 => has(Opt::Service),
            Key::Sort => has(Opt::NoSort),
            Key::Forward(_) => has(Opt::Forward),
            Key::Opt(opt) => has(opt),
        }
    }

    /// The command this is, if it is one.
    #[must_use]
    pub fn command(&self) -> Option<Cmd> {
        match self.key {
            Key::Cmd(cmd) => Some(cmd),
            _ => None,
        }
    }
}

const fn spec(
    group: Group,
    short: Option<char>,
    long: &'static str,
    arg: &'static str,
    key: Key,
    help: &'static str,
) -> Spec {
    Spec {
        short,
        long,
        arg,
        words: &[],
        group,
        help,
        key,
        in_dest_commands: None,
    }
}

const fn cmd(short: char, long: &'static str, cmd: Cmd, help: &'static str) -> Spec {
    spec(Group::Command, Some(short), long, "", Key::Cmd(cmd), help)
}

const fn opt(
    group: Group,
    short: char,
    long: &'static str,
    arg: &'static str,
    opt: Opt,
    help: &'static str,
) -> Spec {
    spec(group, Some(short), long, arg, Key::Opt(opt), help)
}

const fn long(
    group: Group,
    long: &'static str,
    arg: &'static str,
    opt: Opt,
    help: &'static str,
) -> Spec {
    spec(group, None, long, arg, Key::Opt(opt), help)
}

const fn name(
    short: char,
    long: &'static str,
    arg: &'static str,
    key: Key,
    help: &'static str,
) -> Spec {
    spec(Group::Name, Some(short), long, arg, key, help)
}

const fn words(spec: Spec, words: &'static [&'static str]) -> Spec {
    Spec { words, ..spec }
}

use Group::{Command as C, Dest as D, List as A, Listing as L, Name as N, Service as S, Sync as Y};

const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
    "conhash",
];
const ROLES: &[&str] = &["master", "backup"];

/// All options.
#[rustfmt::skip]
pub const SPECS: &[Spec] = &[
    cmd('A', "add-service", Cmd::AddService, "add a virtual service"),
    cmd('E', "edit-service", Cmd::EditService, "change a virtual service"),
    cmd('D', "delete-service", Cmd::DelService, "remove a virtual service"),
    cmd('C', "clear", Cmd::Flush, "remove all virtual services"),
    cmd('R', "restore", Cmd::Restore, "read commands from standard input"),
    cmd('S', "save", Cmd::Save, "write the table as commands"),
    cmd('a', "add-server", Cmd::AddDest, "add a real server"),
    cmd('e', "edit-server", Cmd::EditDest, "change a real server"),
    cmd('d', "delete-server", Cmd::DelDest, "remove a real server"),
    cmd('L', "list", Cmd::List, "list the table (also without any option)"),
    cmd('l', "list", Cmd::List, "the same"),
    cmd('Z', "zero", Cmd::Zero, "zero the counters of a service, or all"),
    spec(C, None, "set", "", Key::Cmd(Cmd::SetTimeout), "time-outs in seconds: TCP, TCP after a FIN, UDP; 0: as it is"),
    words(spec(C, None, "start-daemon", "ROLE", Key::Cmd(Cmd::StartDaemon), "synchronise connections as master or backup"), ROLES),
    words(spec(C, None, "stop-daemon", "ROLE", Key::Cmd(Cmd::StopDaemon), "stop that"), ROLES),
    cmd('P', "add-laddr", Cmd::AddLaddr, "add a local address (FullNAT) to a service"),
    cmd('Q', "del-laddr", Cmd::DelLaddr, "remove a local address"),
    cmd('G', "get-laddr", Cmd::GetLaddr, "list local addresses"),
    cmd('U', "add-blklst", Cmd::AddBlklst, "add to the black list of a service"),
    cmd('V', "del-blklst", Cmd::DelBlklst, "remove from the black list"),
    cmd('B', "get-blklst", Cmd::GetBlklst, "list black lists"),
    cmd('O', "add-whtlst", Cmd::AddWhtlst, "add to the white list of a service"),
    cmd('Y', "del-whtlst", Cmd::DelWhtlst, "remove from the white list"),
    cmd('W', "get-whtlst", Cmd::GetWhtlst, "list white lists"),
    cmd('h', "help", Cmd::Help, "show this text"),
    cmd('v', "version", Cmd::Version, "show the version"),

    name('t', "tcp-service", "ADDRESS", Key::Service(proto::TCP), "TCP; ADDRESS is host:port or [IPv6]:port"),
    name('u', "udp-service", "ADDRESS", Key::Service(proto::UDP), "UDP"),
    spec(N, None, "sctp-service", "ADDRESS", Key::Service(proto::SCTP), "SCTP"),
    name('q', "icmp-service", "ADDRESS", Key::Service(proto::ICMP), "ICMP"),
    name('1', "icmpv6-service", "ADDRESS", Key::Service(proto::ICMPV6), "ICMPv6"),
    name('f', "fwmark-service", "MARK", Key::Fwmark, "firewall mark, 1 to 4294967295"),
    name('H', "match", "SPEC", Key::Match, "source NAT: proto=,af=,src-range=,dst-range=,iif=,oif="),
    name('6', "ipv6", "", Key::Ipv6, "the marked service is IPv6 (after -f)"),

    words(opt(S, 's', "scheduler", "NAME", Opt::Scheduler, "how servers are chosen; wlc unless given"), SCHEDULERS),
    Spec { in_dest_commands: Some(false), ..opt(S, 'b', "sched-flags", "FLAGS", Opt::SchedFlags, "comma list: sh-port, sh-fallback, mh-port, mh-fallback, mh-size=N, flag-1 to flag-3") },
    opt(S, 'p', "persistent", "[SECONDS]", Opt::Persistent, "a client stays with its server; 360 seconds unless given"),
    opt(S, 'M', "netmask", "MASK", Opt::Netmask, "clients of one network count as one: mask, or IPv6 prefix length"),
    words(long(S, "pe", "ENGINE", Opt::Pe, "persistence engine: sip"), &["sip"]),
    opt(S, 'o', "ops", "", Opt::Ops, "every UDP packet is a connection"),
    words(opt(S, 'j', "synproxy", "SWITCH", Opt::Synproxy, "SYN proxy: enable or disable"), &["enable", "disable"]),
    words(long(S, "hash-target", "TARGET", Opt::HashTarget, "what conhash hashes: sip (source address) or qid (QUIC)"), &["sip", "qid"]),
    long(S, "conn-timeout", "SECONDS", Opt::ConnTimeout, "life of an idle established connection"),
    words(long(S, "proxy-protocol", "VERSION", Opt::ProxyProtocol, "disable, v1, v2, v1-insecure or v2-insecure"), &["disable", "v1", "v2", "v1-insecure", "v2-insecure"]),
    words(long(S, "dest-check", "SPEC", Opt::DestCheck, "disable, default, tcp, udp, sctp, ping, or DOWN,UP,WAITs,MIN-MAXs; may be repeated"), &["disable", "default", "tcp", "udp", "sctp", "ping"]),
    long(S, "expire-quiescent", "", Opt::ExpireQuiescent, "connections to a removed server end at once"),
    long(S, "quic", "", Opt::Quic, "the service is QUIC"),

    opt(D, 'r', "real-server", "ADDRESS", Opt::Server, "the server; port of the service unless given"),
    Spec { in_dest_commands: Some(true), ..spec(D, Some('b'), "fullnat", "", Key::Forward(fwd_mode::FULLNAT), "FullNAT") },
    spec(D, Some('m'), "masquerading", "", Key::Forward(fwd_mode::MASQ), "NAT"),
    spec(D, Some('g'), "gatewaying", "", Key::Forward(fwd_mode::DROUTE), "direct routing (the default)"),
    spec(D, Some('i'), "ipip", "", Key::Forward(fwd_mode::TUNNEL), "tunnel"),
    spec(D, Some('J'), "snat", "", Key::Forward(fwd_mode::SNAT), "source NAT"),
    opt(D, 'w', "weight", "N", Opt::Weight, "0 takes no new connections; 1 unless given"),
    opt(D, 'x', "u-threshold", "N", Opt::UThreshold, "no new connections above N"),
    opt(D, 'y', "l-threshold", "N", Opt::LThreshold, "and again below N"),
    words(long(D, "tun-type", "TYPE", Opt::TunType, "kind of tunnel: ipip (the default), gue or gre"), &["ipip", "gue", "gre"]),
    long(D, "tun-port", "PORT", Opt::TunPort, "UDP port of gue"),
    long(D, "tun-nocsum", "", Opt::TunNoCsum, "gue, gre: without checksum"),
    long(D, "tun-csum", "", Opt::TunCsum, "gue, gre: with checksum"),
    long(D, "tun-remcsum", "", Opt::TunRemCsum, "gue: remote checksum offload"),
    opt(D, 'T', "vxlan", "SRC-DST-VNI", Opt::Vxlan, "VxLAN to the server: outer addresses and tenant"),

    opt(A, 'z', "laddr", "ADDRESS", Opt::Laddr, "a local address"),
    opt(A, 'F', "ifname", "DEVICE", Opt::Ifname, "the device it is on"),
    opt(A, 'k', "blklst", "ENTRY", Opt::Blklst, "a client: address or ipset:NAME"),
    opt(A, '2', "whtlst", "ENTRY", Opt::Whtlst, "the same for white lists"),

    opt(L, 'n', "numeric", "", Opt::Numeric, "no names (also with -S)"),
    opt(L, 'c', "connection", "", Opt::Connection, "connections: lcore, client, service, local address, server"),
    long(L, "sockpair", "PROTO:IP:PORT:IP:PORT", Opt::Sockpair, "with -c: this connection only"),
    long(L, "stats", "", Opt::Stats, "counters"),
    long(L, "rate", "", Opt::Rate, "rates"),
    long(L, "thresholds", "", Opt::Thresholds, "thresholds"),
    long(L, "persistent-conn", "", Opt::PersistentConn, "persistent connections; with -c: templates"),
    long(L, "tun-info", "", Opt::TunInfo, "tunnels"),
    long(L, "timeout", "", Opt::Timeout, "the time-outs"),
    long(L, "daemon", "", Opt::Daemon, "the synchronisation daemons"),
    opt(L, 'X', "exact", "", Opt::Exact, "all digits"),
    spec(L, None, "sort", "", Key::Sort, "sorted (the default)"),
    long(L, "nosort", "", Opt::NoSort, "in the daemon's order"),
    long(L, "cpu", "INDEX", Opt::Cpu, "what one worker sees; 0: all together"),
    long(L, "json", "", Opt::Json, "as JSON, with everything that is known"),

    long(Y, "mcast-interface", "DEVICE", Opt::McastInterface, "device of the multicast; eth0 unless given"),
    long(Y, "syncid", "N", Opt::SyncId, "0 to 255; only equal ones exchange connections"),
    long(Y, "sync-maxlen", "BYTES", Opt::SyncMaxLen, "largest message"),
    long(Y, "mcast-group", "ADDRESS", Opt::McastGroup, "224.0.0.81 unless given"),
    long(Y, "mcast-port", "PORT", Opt::McastPort, "8848 unless given"),
    long(Y, "mcast-ttl", "N", Opt::McastTtl, "1 unless given"),
];
