//! The configuration as typed values: what the builders fill and what the
//! rest of the program reads.
//!
//! Plain data with keepalived's defaults; inheritance (checker > real server >
//! virtual server) is already resolved. Knows nothing of text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) globals: Globals,
    pub(crate) laddr_groups: Vec<LaddrGroup>,
    pub(crate) deny_groups: Vec<AddrGroup>,
    pub(crate) allow_groups: Vec<AddrGroup>,
    pub(crate) vs_groups: Vec<VsGroup>,
    pub(crate) tunnels: Vec<Tunnel>,
    pub(crate) services: Vec<VirtualServer>,
    pub(crate) instances: Vec<Instance>,
}

/// A script and who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Program and arguments; never empty.
    pub(crate) argv: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
}

/// `global_defs` and the process-wide keywords outside of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Globals {
    pub(crate) router_id: Option<String>,
    pub(crate) script_security: bool,
    pub(crate) script_user: Option<(String, Option<String>)>,
    pub(crate) vrrp_version: u8,
    pub(crate) mcast_group4: Ipv4Addr,
    pub(crate) strict: bool,
    pub(crate) dynamic_interfaces: bool,
    pub(crate) check_unicast_src: bool,
    pub(crate) lower_prio_no_advert: bool,
    pub(crate) higher_prio_send_advert: bool,
    pub(crate) garp: Garp,
    pub(crate) down_timer_adverts: u8,
    pub(crate) lvs_flush: bool,
    pub(crate) lvs_flush_on_stop: bool,
    pub(crate) log_all_failures: bool,
    pub(crate) use_pid_dir: bool,
    pub(crate) instance: Option<String>,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            router_id: None,
            script_security: false,
            script_user: None,
            vrrp_version: 2,
            mcast_group4: Ipv4Addr::new(224, 0, 0, 18),
            strict: false,
            dynamic_interfaces: false,
            check_unicast_src: false,
            lower_prio_no_advert: false,
            higher_prio_send_advert: false,
            garp: Garp::default(),
            down_timer_adverts: 3,
            lvs_flush: false,
            lvs_flush_on_stop: false,
            log_all_failures: false,
            use_pid_dir: false,
            instance: None,
        }
    }
}

/// When and how often addresses are announced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Garp {
    /// Before the second set after becoming MASTER; zero means no second set.
    pub(crate) master_delay: Duration,
    /// Frames per address in a set.
    pub(crate) master_repeat: u32,
    /// Between refreshes while MASTER; zero means none.
    pub(crate) master_refresh: Duration,
    pub(crate) master_refresh_repeat: u32,
    /// As the master values unless set.
    pub(crate) lower_prio_delay: Option<Duration>,
    pub(crate) lower_prio_repeat: Option<u32>,
}

impl Default for Garp {
    fn default() -> Self {
        Self {
            master_delay: Duration::from_secs(5),
            master_repeat: 5,
            master_refresh: Duration::ZERO,
            master_refresh_repeat: 1,
            lower_prio_delay: None,
            lower_prio_repeat: None,
        }
    }
}

/// One line of a local_address_group, ranges expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Laddr {
    pub(crate) addr: IpAddr,
    pub(crate) port: String,
}

/// `local_address_group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaddrGroup {
    pub(crate) name: String,
    pub(crate) addrs: Vec<Laddr>,
}

/// A client address or the name of a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListEntry {
    Addr(IpAddr),
    Ipset(String),
}

/// `deny_address_group`, `allow_address_group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddrGroup {
    pub(crate) name: String,
    pub(crate) entries: Vec<ListEntry>,
}

/// A tunnel device of DPVS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) remote: Ipv4Addr,
    pub(crate) local: Ipv4Addr,
    pub(crate) link: String,
}

/// What a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Vip {
    Addr { ip: IpAddr, port: u16 },
    Fwmark { mark: u32, v6: bool },
    Match(MatchCond),
}

/// The conditions of a match (SNAT) service, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MatchCond {
    pub(crate) src: String,
    pub(crate) dst: String,
    pub(crate) iif: String,
    pub(crate) oif: String,
}

/// `virtual_server_group`, ranges expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VsGroup {
    pub(crate) name: String,
    pub(crate) members: Vec<Vip>,
}

/// Transport of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proto {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
}

impl Proto {
    /// The IP protocol number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmpv6 => 58,
            Self::Sctp => 132,
        }
    }

    /// As log lines show it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }
}

/// Forwarding method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Method {
    #[default]
    Nat,
    Tun,
    Dr,
    FullNat,
    Snat,
}

/// PROXY protocol towards the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Proxy {
    #[default]
    Off,
    V1,
    V2,
    V1Insecure,
    V2Insecure,
}

/// What a dataplane service is made of, apart from its address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceOpts {
    pub(crate) sched: String,
    /// Flag word of the service message.
    pub(crate) flags: u32,
    /// Seconds of client affinity; 0 is none.
    pub(crate) persistence: u32,
    /// Prefix length of affinity; `None` is a single host.
    pub(crate) granularity: Option<u8>,
    /// Seconds an established connection may idle; 0 is DPVS's own default.
    pub(crate) conn_timeout: u32,
    pub(crate) proxy: Proxy,
    pub(crate) bps: u32,
    pub(crate) limit_proportion: u32,
}

/// `virtual_server`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VirtualServer {
    /// How log lines and `FIFO`s name it, e.g. `[192.0.2.10]:tcp:80`.
    pub(crate) name: String,
    /// One service of the dataplane for each; a group has several.
    pub(crate) vips: Vec<Vip>,
    pub(crate) proto: Proto,
    pub(crate) opts: ServiceOpts,
    pub(crate) method: Method,
    pub(crate) laddr_group: Option<String>,
    pub(crate) deny_group: Option<String>,
    pub(crate) allow_group: Option<String>,
    pub(crate) alpha: bool,
    pub(crate) omega: bool,
    pub(crate) quorum: u32,
    pub(crate) hysteresis: u32,
    pub(crate) quorum_up: Option<Script>,
    pub(crate) quorum_down: Option<Script>,
    pub(crate) sorry: Option<Sorry>,
    pub(crate) servers: Vec<RealServer>,
}

/// `sorry_server`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sorry {
    pub(crate) addr: SocketAddr,
    pub(crate) method: Method,
    pub(crate) inhibit: bool,
}

/// `real_server`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RealServer {
    pub(crate) addr: SocketAddr,
    pub(crate) weight: u32,
    pub(crate) method: Method,
    pub(crate) upper: u32,
    pub(crate) lower: u32,
    pub(crate) inhibit: bool,
    pub(crate) alpha: bool,
    pub(crate) notify_up: Option<Script>,
    pub(crate) notify_down: Option<Script>,
    pub(crate) checks: Vec<Check>,
}

/// A health check with everything inherited filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) kind: CheckKind,
    pub(crate) connect: SocketAddr,
    pub(crate) bind: Option<SocketAddr>,
    pub(crate) bind_if: Option<String>,
    pub(crate) fwmark: u32,
    pub(crate) timeout: Duration,
    pub(crate) delay_loop: Duration,
    pub(crate) retry: u32,
    pub(crate) delay_before_retry: Duration,
    pub(crate) warmup: Duration,
    pub(crate) alpha: bool,
    pub(crate) log_all_failures: bool,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CheckKind {
    Tcp,
    Http(Http),
    Misc(Misc),
}

/// HTTP_GET.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Http {
    pub(crate) urls: Vec<Url>,
    pub(crate) version: HttpVersion,
    pub(crate) fast_recovery: bool,
    /// Sent before the request when the service speaks PROXY protocol.
    pub(crate) proxy: Proxy,
}

/// Request line version; `Http10Close` adds `Connection: close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http10,
    Http10Close,
    Http11,
}

/// One `url` block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url {
    pub(crate) path: String,
    /// Value of the Host header.
    pub(crate) host: String,
    pub(crate) digest: Option<[u8; 16]>,
    /// Inclusive ranges; never empty.
    pub(crate) status: Vec<(u16, u16)>,
}

/// MISC_CHECK.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Misc {
    pub(crate) script: Script,
    pub(crate) timeout: Duration,
    pub(crate) dynamic: bool,
}

/// An address a MASTER owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VirtualAddr {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    /// `dev`, when it differs from the instance's interface.
    pub(crate) dev: Option<String>,
    pub(crate) label: Option<String>,
}

/// `vrrp_instance`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) state_master: bool,
    pub(crate) interface: String,
    /// The DPDK port which gets the addresses instead of `interface`.
    pub(crate) dpdk_interface: Option<String>,
    pub(crate) vrid: u8,
    pub(crate) priority: u8,
    pub(crate) version: u8,
    pub(crate) advert_int: Duration,
    pub(crate) auth_pass: Option<[u8; 8]>,
    pub(crate) preempt: bool,
    pub(crate) preempt_delay: Duration,
    pub(crate) src_ip: Option<IpAddr>,
    pub(crate) peers: Vec<IpAddr>,
    pub(crate) vips: Vec<VirtualAddr>,
    pub(crate) excluded: Vec<VirtualAddr>,
    pub(crate) track_interfaces: Vec<TrackIf>,
    pub(crate) dont_track_primary: bool,
    pub(crate) garp: Garp,
    pub(crate) down_timer_adverts: u8,
    pub(crate) lower_prio_no_advert: bool,
    pub(crate) higher_prio_send_advert: bool,
    pub(crate) check_unicast_src: bool,
    pub(crate) mcast_group4: Ipv4Addr,
    pub(crate) notify: Notify,
}

/// One line of `track_interface`; weight 0 means FAULT when down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrackIf {
    pub(crate) name: String,
    pub(crate) weight: i16,
    pub(crate) reverse: bool,
}

/// The notify scripts of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Notify {
    pub(crate) master: Option<Script>,
    pub(crate) backup: Option<Script>,
    pub(crate) fault: Option<Script>,
    pub(crate) stop: Option<Script>,
    pub(crate) any: Option<Script>,
}
