//! The commands, what options are about, and which command takes which. The
//! options themselves are in `options`.

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

/// What a command needs, and what it may have besides.
pub(crate) fn rules(cmd: Cmd) -> (&'static [Opt], &'static [Opt]) {
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
