//! The options, by letter and by name, and which command takes which.
//!
//! `-b` is the one letter with two meanings: in `-a` and `-e` it is DPVS's
//! FullNAT, elsewhere ipvsadm 1.31's scheduler flags.

/// The commands. Exactly one is given, first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmd {
    /// `-A`.
    AddService,
    /// `-E`.
    EditService,
    /// `-D`.
    DelService,
    /// `-C`.
    Flush,
    /// `-L`, `-l`, or no argument at all.
    List,
    /// `-a`.
    AddDest,
    /// `-d`.
    DelDest,
    /// `-e`.
    EditDest,
    /// `--set`.
    SetTimeout,
    /// `--start-daemon`.
    StartDaemon,
    /// `--stop-daemon`.
    StopDaemon,
    /// `-R`.
    Restore,
    /// `-S`.
    Save,
    /// `-Z`.
    Zero,
    /// `-P`.
    AddLaddr,
    /// `-Q`.
    DelLaddr,
    /// `-G`.
    GetLaddr,
    /// `-U`.
    AddBlklst,
    /// `-V`.
    DelBlklst,
    /// `-B`.
    GetBlklst,
    /// `-O`.
    AddWhtlst,
    /// `-Y`.
    DelWhtlst,
    /// `-W`.
    GetWhtlst,
    /// `-h`.
    Help,
    /// `-v`.
    Version,
}

impl Cmd {
    /// The name in error messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DelService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddDest => "add-server",
            Self::DelDest => "delete-server",
            Self::EditDest => "edit-server",
            Self::SetTimeout => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
            Self::AddLaddr => "add-laddr",
            Self::DelLaddr => "del-laddr",
            Self::GetLaddr => "get-laddr",
            Self::AddBlklst => "add-blklst",
            Self::DelBlklst => "del-blklst",
            Self::GetBlklst => "get-blklst",
            Self::AddWhtlst => "add-whtlst",
            Self::DelWhtlst => "del-whtlst",
            Self::GetWhtlst => "get-whtlst",
            Self::Help => "help",
            Self::Version => "version",
        }
    }
}

macro_rules! opts {
    ($($name:ident = $text:literal,)+) => {
        /// What an option is about, in the order in which wrong combinations
        /// are found. Several options may be about one thing: `-t` and `-f`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Opt {
            $( #[doc = $text] $name, )+
        }

        impl Opt {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The name in error messages.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $text, )+
                }
            }
        }
    };
}

opts! {
    Numeric = "numeric",
    Connection = "connection",
    Service = "service-address",
    Scheduler = "scheduler",
    Persistent = "persistent",
    Netmask = "netmask",
    Server = "real-server",
    Forward = "forwarding-method",
    Weight = "weight",
    UThreshold = "u-threshold",
    LThreshold = "l-threshold",
    McastInterface = "mcast-interface",
    Timeout = "timeout",
    Daemon = "daemon",
    Stats = "stats",
    Rate = "rate",
    Thresholds = "thresholds",
    PersistentConn = "persistent-conn",
    NoSort = "nosort",
    SyncId = "syncid",
    Exact = "exact",
    Ops = "ops",
    Pe = "pe",
    TunInfo = "tun-info",
    TunType = "tun-type",
    TunPort = "tun-port",
    TunNoCsum = "tun-nocsum",
    TunCsum = "tun-csum",
    TunRemCsum = "tun-remcsum",
    SyncMaxLen = "sync-maxlen",
    McastGroup = "mcast-group",
    McastPort = "mcast-port",
    McastTtl = "mcast-ttl",
    SchedFlags = "sched-flags",
    Laddr = "local-address",
    Ifname = "ifname",
    Blklst = "blklst-address",
    Whtlst = "whtlst-address",
    Synproxy = "synproxy",
    Sockpair = "sockpair",
    HashTarget = "hash-target",
    Cpu = "cpu",
    ExpireQuiescent = "expire-quiescent",
    ConnTimeout = "conn-timeout",
    ProxyProtocol = "proxy-protocol",
    DestCheck = "dest-check",
    Quic = "quic",
    Vxlan = "vxlan",
    Json = "json",
}

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
pub(super) enum Key {
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

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    pub(super) value: Value,
    pub(super) key: Key,
    /// Only in `-a` and `-e` (true), only elsewhere (false), or everywhere.
    pub(super) in_dest_commands: Option<bool>,
}

const fn spec(short: char, long: &'static str, value: Value, key: Key) -> Spec {
    Spec {
        short: Some(short),
        long,
        value,
        key,
        in_dest_commands: None,
    }
}

const fn long(long: &'static str, value: Value, key: Key) -> Spec {
    Spec {
        short: None,
        long,
        value,
        key,
        in_dest_commands: None,
    }
}

use dpvs_ctl::msg::fwd_mode;

use crate::names::proto;

/// All options.
pub(super) const SPECS: &[Spec] = &[
    spec('A', "add-service", Value::None, Key::Cmd(Cmd::AddService)),
    spec('E', "edit-service", Value::None, Key::Cmd(Cmd::EditService)),
    spec(
        'D',
        "delete-service",
        Value::None,
        Key::Cmd(Cmd::DelService),
    ),
    spec('C', "clear", Value::None, Key::Cmd(Cmd::Flush)),
    spec('L', "list", Value::None, Key::Cmd(Cmd::List)),
    spec('l', "list", Value::None, Key::Cmd(Cmd::List)),
    spec('Z', "zero", Value::None, Key::Cmd(Cmd::Zero)),
    spec('a', "add-server", Value::None, Key::Cmd(Cmd::AddDest)),
    spec('e', "edit-server", Value::None, Key::Cmd(Cmd::EditDest)),
    spec('d', "delete-server", Value::None, Key::Cmd(Cmd::DelDest)),
    spec('R', "restore", Value::None, Key::Cmd(Cmd::Restore)),
    spec('S', "save", Value::None, Key::Cmd(Cmd::Save)),
    spec('h', "help", Value::None, Key::Cmd(Cmd::Help)),
    spec('v', "version", Value::None, Key::Cmd(Cmd::Version)),
    spec('P', "add-laddr", Value::None, Key::Cmd(Cmd::AddLaddr)),
    spec('Q', "del-laddr", Value::None, Key::Cmd(Cmd::DelLaddr)),
    spec('G', "get-laddr", Value::None, Key::Cmd(Cmd::GetLaddr)),
    spec('U', "add-blklst", Value::None, Key::Cmd(Cmd::AddBlklst)),
    spec('V', "del-blklst", Value::None, Key::Cmd(Cmd::DelBlklst)),
    spec('B', "get-blklst", Value::None, Key::Cmd(Cmd::GetBlklst)),
    spec('O', "add-whtlst", Value::None, Key::Cmd(Cmd::AddWhtlst)),
    spec('Y', "del-whtlst", Value::None, Key::Cmd(Cmd::DelWhtlst)),
    spec('W', "get-whtlst", Value::None, Key::Cmd(Cmd::GetWhtlst)),
    long("set", Value::None, Key::Cmd(Cmd::SetTimeout)),
    long("start-daemon", Value::Required, Key::Cmd(Cmd::StartDaemon)),
    long("stop-daemon", Value::Required, Key::Cmd(Cmd::StopDaemon)),
    spec(
        't',
        "tcp-service",
        Value::Required,
        Key::Service(proto::TCP),
    ),
    spec(
        'u',
        "udp-service",
        Value::Required,
        Key::Service(proto::UDP),
    ),
    long("sctp-service", Value::Required, Key::Service(proto::SCTP)),
    spec(
        'q',
        "icmp-service",
        Value::Required,
        Key::Service(proto::ICMP),
    ),
    spec(
        '1',
        "icmpv6-service",
        Value::Required,
        Key::Service(proto::ICMPV6),
    ),
    spec('f', "fwmark-service", Value::Required, Key::Fwmark),
    spec('H', "match", Value::Required, Key::Match),
    spec('6', "ipv6", Value::None, Key::Ipv6),
    spec('s', "scheduler", Value::Required, Key::Opt(Opt::Scheduler)),
    spec(
        'p',
        "persistent",
        Value::Optional,
        Key::Opt(Opt::Persistent),
    ),
    spec('M', "netmask", Value::Required, Key::Opt(Opt::Netmask)),
    spec('r', "real-server", Value::Required, Key::Opt(Opt::Server)),
    spec(
        'g',
        "gatewaying",
        Value::None,
        Key::Forward(fwd_mode::DROUTE),
    ),
    spec('i', "ipip", Value::None, Key::Forward(fwd_mode::TUNNEL)),
    spec(
        'm',
        "masquerading",
        Value::None,
        Key::Forward(fwd_mode::MASQ),
    ),
    Spec {
        in_dest_commands: Some(true),
        ..spec('b', "fullnat", Value::None, Key::Forward(fwd_mode::FULLNAT))
    },
    spec('J', "snat", Value::None, Key::Forward(fwd_mode::SNAT)),
    Spec {
        in_dest_commands: Some(false),
        ..spec(
            'b',
            "sched-flags",
            Value::Required,
            Key::Opt(Opt::SchedFlags),
        )
    },
    spec('w', "weight", Value::Required, Key::Opt(Opt::Weight)),
    spec(
        'x',
        "u-threshold",
        Value::Required,
        Key::Opt(Opt::UThreshold),
    ),
    spec(
        'y',
        "l-threshold",
        Value::Required,
        Key::Opt(Opt::LThreshold),
    ),
    spec('n', "numeric", Value::None, Key::Opt(Opt::Numeric)),
    spec('c', "connection", Value::None, Key::Opt(Opt::Connection)),
    spec('z', "laddr", Value::Required, Key::Opt(Opt::Laddr)),
    spec('F', "ifname", Value::Required, Key::Opt(Opt::Ifname)),
    spec('k', "blklst", Value::Required, Key::Opt(Opt::Blklst)),
    spec('2', "whtlst", Value::Required, Key::Opt(Opt::Whtlst)),
    spec('j', "synproxy", Value::Required, Key::Opt(Opt::Synproxy)),
    spec('o', "ops", Value::None, Key::Opt(Opt::Ops)),
    spec('X', "exact", Value::None, Key::Opt(Opt::Exact)),
    spec('T', "vxlan", Value::Required, Key::Opt(Opt::Vxlan)),
    long("hash-target", Value::Required, Key::Opt(Opt::HashTarget)),
    long("sockpair", Value::Required, Key::Opt(Opt::Sockpair)),
    long("cpu", Value::Required, Key::Opt(Opt::Cpu)),
    long(
        "expire-quiescent",
        Value::None,
        Key::Opt(Opt::ExpireQuiescent),
    ),
    long("dest-check", Value::Required, Key::Opt(Opt::DestCheck)),
    long("conn-timeout", Value::Required, Key::Opt(Opt::ConnTimeout)),
    long(
        "proxy-protocol",
        Value::Required,
        Key::Opt(Opt::ProxyProtocol),
    ),
    long("quic", Value::None, Key::Opt(Opt::Quic)),
    long("json", Value::None, Key::Opt(Opt::Json)),
    long("timeout", Value::None, Key::Opt(Opt::Timeout)),
    long("daemon", Value::None, Key::Opt(Opt::Daemon)),
    long("stats", Value::None, Key::Opt(Opt::Stats)),
    long("rate", Value::None, Key::Opt(Opt::Rate)),
    long("thresholds", Value::None, Key::Opt(Opt::Thresholds)),
    long(
        "persistent-conn",
        Value::None,
        Key::Opt(Opt::PersistentConn),
    ),
    long("nosort", Value::None, Key::Opt(Opt::NoSort)),
    long("sort", Value::None, Key::Sort),
    long("pe", Value::Required, Key::Opt(Opt::Pe)),
    long("tun-info", Value::None, Key::Opt(Opt::TunInfo)),
    long("tun-type", Value::Required, Key::Opt(Opt::TunType)),
    long("tun-port", Value::Required, Key::Opt(Opt::TunPort)),
    long("tun-nocsum", Value::None, Key::Opt(Opt::TunNoCsum)),
    long("tun-csum", Value::None, Key::Opt(Opt::TunCsum)),
    long("tun-remcsum", Value::None, Key::Opt(Opt::TunRemCsum)),
    long(
        "mcast-interface",
        Value::Required,
        Key::Opt(Opt::McastInterface),
    ),
    long("syncid", Value::Required, Key::Opt(Opt::SyncId)),
    long("sync-maxlen", Value::Required, Key::Opt(Opt::SyncMaxLen)),
    long("mcast-group", Value::Required, Key::Opt(Opt::McastGroup)),
    long("mcast-port", Value::Required, Key::Opt(Opt::McastPort)),
    long("mcast-ttl", Value::Required, Key::Opt(Opt::McastTtl)),
];

/// What a command needs, and what it may have besides.
pub(super) fn rules(cmd: Cmd) -> (&'static [Opt], &'static [Opt]) {
    use Opt as O;
    match cmd {
        Cmd::AddService | Cmd::EditService => (
            &[O::Service],
            &[
                O::Scheduler,
                O::Persistent,
                O::Netmask,
                O::Ops,
                O::Pe,
                O::SchedFlags,
                O::Synproxy,
                O::HashTarget,
                O::ExpireQuiescent,
                O::ConnTimeout,
                O::ProxyProtocol,
                O::DestCheck,
                O::Quic,
            ],
        ),
        Cmd::DelService => (&[O::Service], &[]),
        Cmd::List => (
            &[],
            &[
                O::Numeric,
                O::Connection,
                O::Service,
                O::Timeout,
                O::Daemon,
                O::Stats,
                O::Rate,
                O::Thresholds,
                O::PersistentConn,
                O::NoSort,
                O::SyncId,
                O::Exact,
                O::TunInfo,
                O::Sockpair,
                O::Cpu,
                O::Json,
            ],
        ),
        Cmd::AddDest | Cmd::EditDest => (
            &[O::Service, O::Server],
            &[
                O::Forward,
                O::Weight,
                O::UThreshold,
                O::LThreshold,
                O::TunType,
                O::TunPort,
                O::TunNoCsum,
                O::TunCsum,
                O::TunRemCsum,
                O::Vxlan,
            ],
        ),
        Cmd::DelDest => (&[O::Service, O::Server], &[]),
        Cmd::Save => (&[], &[O::Numeric]),
        Cmd::Zero => (&[], &[O::Service]),
        Cmd::GetBlklst | Cmd::GetWhtlst => (&[], &[O::Service, O::Json]),
        Cmd::StartDaemon => (
            &[],
            &[
                O::McastInterface,
                O::SyncId,
                O::SyncMaxLen,
                O::McastGroup,
                O::McastPort,
                O::McastTtl,
            ],
        ),
        Cmd::StopDaemon => (&[], &[O::SyncId]),
        Cmd::AddLaddr | Cmd::DelLaddr => (&[O::Service, O::Laddr, O::Ifname], &[]),
        Cmd::GetLaddr => (&[], &[O::Service, O::Cpu, O::Json]),
        Cmd::AddBlklst | Cmd::DelBlklst => (&[O::Service, O::Blklst], &[]),
        Cmd::AddWhtlst | Cmd::DelWhtlst => (&[O::Service, O::Whtlst], &[]),
        Cmd::Flush | Cmd::Restore | Cmd::SetTimeout | Cmd::Help | Cmd::Version => (&[], &[]),
    }
}

/// Of these a listing takes one.
pub(super) const LIST_EXCLUSIVE: &[Opt] =
    &[Opt::Connection, Opt::Service, Opt::Timeout, Opt::Daemon];
