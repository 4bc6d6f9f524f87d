//! dpvs.conf as typed values.
//!
//! Only data: the grammar is in schema.rs, what may change at run time in
//! reload.rs. Units are in the field comments.

/// Log levels of the C daemon, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// System is unusable.
    Emerg = 1,
    /// Action must be taken at once.
    Alert,
    /// Critical condition.
    Crit,
    /// Error.
    Err,
    /// Warning.
    Warning,
    /// Normal but significant.
    Notice,
    /// Informational.
    Info,
    /// Debugging.
    Debug,
}

impl LogLevel {
    /// Names in configuration files, in the order of the variants.
    pub const NAMES: [&'static str; 8] = [
        "EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG",
    ];
    /// Variants in the order of [`LogLevel::NAMES`].
    pub const ALL: [LogLevel; 8] = [
        LogLevel::Emerg,
        LogLevel::Alert,
        LogLevel::Crit,
        LogLevel::Err,
        LogLevel::Warning,
        LogLevel::Notice,
        LogLevel::Info,
        LogLevel::Debug,
    ];
}

/// `global_defs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Least severe level that is written.
    pub log_level: LogLevel,
    /// File appended to; none means standard error.
    pub log_file: Option<String>,
    /// Asynchronous logging asked for.
    pub log_async_mode: bool,
    /// A time stamp before each line.
    pub log_with_timestamp: bool,
    /// Entries of the asynchronous log pool.
    pub log_async_pool_size: u32,
    /// Host ports (the exception path) are created.
    pub kni: bool,
    /// LLDP agent.
    pub lldp: bool,
    /// Packet capture framework.
    pub pdump: bool,
}

/// Flow director flavour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdirMode {
    /// Exact match.
    Perfect,
    /// Hash match (ixgbe).
    Signature,
}

/// RSS hash inputs of a device, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rss(pub u8);

impl Rss {
    /// IP addresses.
    pub const IP: u8 = 1;
    /// TCP ports.
    pub const TCP: u8 = 2;
    /// UDP ports.
    pub const UDP: u8 = 4;
    /// SCTP ports.
    pub const SCTP: u8 = 8;
    /// Ethernet header.
    pub const ETHER: u8 = 16;
    /// Port id.
    pub const PORT: u8 = 32;
    /// Tunnel headers.
    pub const TUNNEL: u8 = 64;
    /// Names in configuration files and their bits; `all` is IP, TCP and UDP.
    pub const NAMES: [(&'static str, u8); 8] = [
        ("all", Rss::IP | Rss::TCP | Rss::UDP),
        ("ip", Rss::IP),
        ("tcp", Rss::TCP),
        ("udp", Rss::UDP),
        ("sctp", Rss::SCTP),
        ("ether", Rss::ETHER),
        ("port", Rss::PORT),
        ("tunnel", Rss::TUNNEL),
    ];
}

/// `netif_defs/device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name in the tools; the n-th block is DPDK port n.
    pub name: String,
    /// Receive queues wished for; the workers decide.
    pub rx_queues: Option<u32>,
    /// Receive descriptors a queue.
    pub rx_desc: u32,
    /// RSS inputs.
    pub rss: Rss,
    /// Transmit queues wished for; the workers decide.
    pub tx_queues: Option<u32>,
    /// Transmit descriptors a queue.
    pub tx_desc: u32,
    /// mbuf fast-free offload when the driver has it.
    pub fast_free: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Promiscuous mode.
    pub promisc: bool,
    /// Receive all multicast.
    pub allmulticast: bool,
    /// Name of the host port; none means `NAME.kni`.
    pub kni_name: Option<String>,
}

impl Device {
    /// Name of the host port of this device.
    pub fn host_name(&self) -> String {
        self.kni_name
            .clone()
            .unwrap_or_else(|| format!("{}.kni", self.name))
    }
}

/// `netif_defs/bonding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Letters and a number.
    pub name: String,
    /// Bonding mode 0..6.
    pub mode: u32,
    /// Member devices.
    pub slaves: Vec<String>,
    /// Device whose settings and MAC the bond takes; none means the first.
    pub primary: Option<String>,
    /// NUMA node.
    pub numa_node: u32,
    /// Name of the host port.
    pub kni_name: Option<String>,
    /// Separate queue for LACP frames (mode 4).
    pub dedicated_queues: bool,
}

/// `netif_defs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netif {
    /// mbufs a NUMA socket.
    pub pktpool_size: u32,
    /// mbufs cached by a lcore.
    pub pktpool_cache: u32,
    /// Flow director flavour.
    pub fdir_mode: FdirMode,
    /// Devices in file order.
    pub devices: Vec<Device>,
    /// Bonds in file order.
    pub bonds: Vec<Bond>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerType {
    /// Control plane.
    Master,
    /// Forwarding.
    Slave,
    /// Host ports.
    Kni,
}

/// `worker_defs/worker/port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerPort {
    /// Device or bond name.
    pub name: String,
    /// Receive queues this worker polls.
    pub rx: Vec<u32>,
    /// Transmit queues this worker owns.
    pub tx: Vec<u32>,
    /// Lcores that poll the receive queues for it, by position.
    pub isol_rx: Vec<Option<u32>>,
    /// Entries of the rings from those lcores.
    pub isol_ring: u32,
}

/// `worker_defs/worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDef {
    /// Free label.
    pub name: String,
    /// What it does.
    pub kind: WorkerType,
    /// EAL lcore id.
    pub cpu: u32,
    /// Handles ICMP redirects.
    pub icmp_redirect: bool,
    /// Queues by port.
    pub ports: Vec<WorkerPort>,
}

/// `ipv4_defs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Plain forwarding of packets that are for no service.
    pub forwarding: bool,
    /// TTL of own packets.
    pub default_ttl: u32,
    /// Reassembly buckets.
    pub frag_buckets: u32,
    /// Entries a bucket.
    pub frag_bucket_entries: u32,
    /// Datagrams being reassembled at once.
    pub frag_max_entries: u32,
    /// Seconds an incomplete datagram is kept.
    pub frag_ttl: u32,
}

/// How a link-local address is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrGen {
    /// From the MAC.
    Eui64,
    /// Not at all.
    None,
    /// RFC 7217.
    StablePrivacy,
    /// Random.
    Random,
}

/// IPv6 route table kind of the C daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route6Method {
    /// Hash lists by prefix length.
    Hlist,
    /// DPDK's LPM.
    Lpm,
}

/// `ipv6_defs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Drop all received IPv6.
    pub disable: bool,
    /// Plain forwarding.
    pub forwarding: bool,
    /// Link-local generation.
    pub addr_gen_mode: AddrGen,
    /// 32 hexadecimal digits for stable-privacy.
    pub stable_secret: Option<String>,
    /// Route table kind.
    pub route_method: Route6Method,
    /// Seconds between sweeps of deleted routes.
    pub recycle_time: u32,
    /// Rules of the LPM table.
    pub lpm_max_rules: u32,
    /// Second-level tables of the LPM table.
    pub lpm_tbl8s: u32,
    /// Buckets of the rule hash.
    pub rt6_hash_bucket: u32,
}

/// Admission threshold of control messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// All messages.
    Low,
    /// No GET messages.
    Norm,
    /// No SET messages either.
    High,
    /// Replies only.
    Ign,
}

/// `timer_defs`, `neigh_defs`, `ipset_defs`, `ctrl_defs`, `sa_pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misc {
    /// Microseconds between two looks at the timers.
    pub schedule_interval: u32,
    /// Packets waiting for one unresolved neighbour.
    pub unres_queue_length: u32,
    /// Seconds a neighbour stays reachable.
    pub neigh_timeout: u32,
    /// Entries of the ipset pool.
    pub ipset_hash_pool_size: u32,
    /// Entries of a worker's message ring.
    pub ring_size: u32,
    /// Microseconds a synchronous request waits for the workers.
    pub sync_msg_timeout_us: u32,
    /// Message admission.
    pub priority_level: Priority,
    /// Port pools by local address and lcore.
    pub pool_hash_size: u32,
    /// Use rte_flow to bring replies to the owning worker.
    pub flow_enable: bool,
}

/// `idle`: what a worker does while nothing comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleDefs {
    /// Turns without work before it pauses between turns, 0 = never.
    pub pause_turns: u32,
    /// Microseconds without work before it sleeps, 0 = never on NICs.
    pub sleep_after_us: u32,
    /// Microseconds it sleeps at a time.
    pub sleep_us: u32,
}

/// `ipvs_defs/conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnDefs {
    /// Connections a NUMA socket.
    pub pool_size: u32,
    /// Connections cached by a lcore.
    pub pool_cache: u32,
    /// Seconds before the first packet's own timeout takes over.
    pub init_timeout: u32,
    /// Templates of a weight-0 dest are invalid.
    pub expire_quiescent_template: bool,
    /// `mh` fills its table in the order of the servers' list, as the C program.
    pub mh_list_order: bool,
    /// Hand packets over to the owning worker.
    pub redirect: bool,
    /// Switch the layer-2 shortcut off.
    pub fast_xmit_close: bool,
    /// Check and decrement TTL.
    pub xmit_ttl: bool,
}

/// How the client address travels to UDP backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UoaMode {
    /// A protocol of its own.
    Opp,
    /// An IP option.
    Ipo,
}

/// `ipvs_defs/udp`. Timeouts in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpDefs {
    /// Drop UDP to VIPs without UDP service.
    pub defence_drop: bool,
    /// How the client address is carried.
    pub uoa_mode: UoaMode,
    /// Packets that carry it.
    pub uoa_max_trail: u32,
    /// Only one side has spoken.
    pub oneway: u32,
    /// Both sides have.
    pub normal: u32,
    /// Unused state.
    pub last: u32,
}

/// `ipvs_defs/tcp/timeout`, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTimeouts {
    /// No state.
    pub none: u32,
    /// ESTABLISHED.
    pub established: u32,
    /// SYN_SENT.
    pub syn_sent: u32,
    /// SYN_RECV.
    pub syn_recv: u32,
    /// FIN_WAIT.
    pub fin_wait: u32,
    /// TIME_WAIT.
    pub time_wait: u32,
    /// CLOSE.
    pub close: u32,
    /// CLOSE_WAIT.
    pub close_wait: u32,
    /// LAST_ACK.
    pub last_ack: u32,
    /// LISTEN.
    pub listen: u32,
    /// SYNACK.
    pub synack: u32,
    /// Unused state.
    pub last: u32,
}

/// `ipvs_defs/tcp/synproxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synproxy {
    /// Cap of the MSS offered.
    pub mss: u32,
    /// TTL of the SYN-ACK.
    pub ttl: u32,
    /// Offer SACK.
    pub sack: bool,
    /// Window scale offered; 0 removes the option.
    pub wscale: u32,
    /// Offer time stamps.
    pub timestamp: bool,
    /// SYN-ACK window 0 until the server answers.
    pub close_client_window: bool,
    /// Wait for client data before contacting the server.
    pub defer_rs_syn: bool,
    /// SYN retransmissions to the server.
    pub rs_syn_max_retry: u32,
    /// Identical ACKs tolerated.
    pub ack_storm_thresh: u32,
    /// Client segments held.
    pub max_ack_saved: u32,
    /// SYNs a second from which on a service is proxied unasked; 0 = never. Ours.
    pub auto_syn_rate: u32,
    /// Reuse a connection in CLOSE.
    pub reuse_close: bool,
    /// Reuse a connection in TIME_WAIT.
    pub reuse_time_wait: bool,
    /// Reuse a connection in FIN_WAIT.
    pub reuse_fin_wait: bool,
    /// Reuse a connection in CLOSE_WAIT.
    pub reuse_close_wait: bool,
    /// Reuse a connection in LAST_ACK.
    pub reuse_last_ack: bool,
}

/// `ipvs_defs/tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpDefs {
    /// Drop TCP to VIPs without TCP service.
    pub defence_drop: bool,
    /// Timeouts.
    pub timeouts: TcpTimeouts,
    /// SYN proxy.
    pub synproxy: Synproxy,
}

/// A whole dpvs.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// `global_defs`.
    pub global: Global,
    /// `netif_defs`.
    pub netif: Netif,
    /// `worker_defs`.
    pub workers: Vec<WorkerDef>,
    /// The small blocks.
    pub misc: Misc,
    /// `idle`.
    pub idle: IdleDefs,
    /// `ipv4_defs`.
    pub ipv4: Ipv4,
    /// `ipv6_defs`.
    pub ipv6: Ipv6,
    /// `ipvs_defs/conn`.
    pub conn: ConnDefs,
    /// `ipvs_defs/udp`.
    pub udp: UdpDefs,
    /// `ipvs_defs/tcp`.
    pub tcp: TcpDefs,
}
