//! Every keyword of dpvs.conf: where it stands, what it takes, and whether a
//! reload may change it. One table a block, in the order of conf/dpvs.conf.items.
//!
//! A keyword knows the field it fills; reading files and reporting errors is
//! parse.rs, comparing two configurations is reload.rs.

use super::lex::Token;
use super::model::{
    AddrGen, Bond, Conf, Device, FdirMode, LogLevel, Priority, Route6Method, UoaMode, WorkerDef,
    WorkerPort, WorkerType,
};

use super::values::{
    check_name, check_secret, open_bond, open_device, open_port, open_worker, optional,
    parse_bond_options, parse_isol, parse_primary, parse_rss, parse_slave, queues, shown,
};

/// What a reload does with a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Read once at start.
    Init,
    /// Reset to its default, then read again.
    Normal,
    /// Read again; keeps its value when it disappears from the file.
    Sticky,
}

/// The configuration being filled, and the labelled blocks that are open.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) conf: Conf,
    pub(super) device: Device,
    pub(super) bond: Bond,
    pub(super) worker: WorkerDef,
    pub(super) port: WorkerPort,
}

impl Draft {
    pub(super) fn new(conf: Conf) -> Draft {
        use super::defaults as m;
        Draft {
            conf,
            device: m::device(""),
            bond: m::bond(""),
            worker: m::worker(""),
            port: m::worker_port(""),
        }
    }
}

/// How a number is rounded before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Not at all.
    Exact,
    /// Down to a power of two.
    Pow2,
    /// One less than the largest power of two not above value + 1.
    Pow2Less1,
}

impl Round {
    pub(super) fn apply(self, value: u32) -> u32 {
        let down = |v: u64| if v == 0 { 0 } else { 1u64 << v.ilog2() };
        let rounded = match self {
            Round::Exact => u64::from(value),
            Round::Pow2 => down(u64::from(value)),
            Round::Pow2Less1 => down(u64::from(value) + 1) - 1,
        };
        u32::try_from(rounded).unwrap_or(u32::MAX)
    }
}

/// A value that cannot be taken: which of the tokens after the keyword (the
/// keyword itself when there is none), why, and what would do.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) token: usize,
    pub(super) message: String,
    pub(super) help: String,
}

/// What stands after the name of a block.
pub(super) struct Label {
    pub(super) what: &'static str,
    pub(super) open: fn(&mut Draft, &str) -> Result<(), String>,
    pub(super) close: fn(&mut Draft),
}

type NumberAt = for<'a> fn(&'a mut Draft) -> &'a mut u32;
type SwitchAt = for<'a> fn(&'a mut Draft) -> &'a mut bool;
type TextAt = for<'a> fn(&'a mut Draft) -> &'a mut Option<String>;

/// What a keyword takes.
pub(super) enum Kind {
    Block {
        label: Option<Label>,
        keys: &'static [Keyword],
    },
    Number {
        min: u32,
        max: u32,
        round: Round,
        at: NumberAt,
    },
    /// `on` or `off`, any case.
    Switch(SwitchAt),
    /// No value; presence means on.
    Flag(SwitchAt),
    /// One of some words. `prefix`: a beginning of the word is enough.
    Word {
        words: &'static [&'static str],
        fold: bool,
        prefix: bool,
        get: fn(&Draft) -> usize,
        set: fn(&mut Draft, usize),
    },
    Text {
        check: fn(&str) -> Result<(), String>,
        at: TextAt,
    },
    /// Takes all the tokens after the keyword.
    List {
        parse: fn(&mut Draft, &[Token]) -> Result<(), Bad>,
        show: fn(&Draft) -> String,
    },
}

/// One keyword.
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) kind: Kind,
    /// Feature that does not exist yet: said once when the value is not the default.
    pub(super) pending: Option<&'static str>,
}

impl Keyword {
    const fn new(name: &'static str, class: Class, kind: Kind) -> Keyword {
        Keyword {
            name,
            class,
            kind,
            pending: None,
        }
    }

    const fn pending(mut self, what: &'static str) -> Keyword {
        self.pending = Some(what);
        self
    }

    /// Sub-keywords; empty when it is no block.
    pub(super) fn keys(&self) -> &'static [Keyword] {
        match self.kind {
            Kind::Block { keys, .. } => keys,
            _ => &[],
        }
    }

    /// The stored value as text, to compare and to name it. Blocks have none.
    pub(super) fn show(&self, draft: &mut Draft) -> String {
        match &self.kind {
            Kind::Block { .. } => String::new(),
            Kind::Number { at, .. } => at(draft).to_string(),
            Kind::Switch(at) | Kind::Flag(at) => if *at(draft) { "on" } else { "off" }.to_owned(),
            Kind::Word { words, get, .. } => {
                words.get(get(draft)).copied().unwrap_or("").to_owned()
            }
            Kind::Text { at, .. } => at(draft).clone().unwrap_or_default(),
            Kind::List { show, .. } => show(draft),
        }
    }
}

use Class::{Init as I, Normal as N, Sticky as S};

macro_rules! num {
    ($class:ident $name:literal, $min:literal..=$max:literal, $($at:ident).+ $(, $round:ident)?) => {
        Keyword::new($name, $class, Kind::Number {
            min: $min, max: $max, round: num!(@round $($round)?), at: |d| &mut d.$($at).+,
        })
    };
    (@round) => { Round::Exact };
    (@round $round:ident) => { Round::$round };
}
macro_rules! switch {
    ($class:ident $name:literal, $($at:ident).+) => {
        Keyword::new($name, $class, Kind::Switch(|d| &mut d.$($at).+))
    };
}
macro_rules! flag {
    ($class:ident $name:literal, $($at:ident).+) => {
        Keyword::new($name, $class, Kind::Flag(|d| &mut d.$($at).+))
    };
}
/// Words whose n-th variant is the n-th word.
macro_rules! word {
    ($class:ident $name:literal, [$($text:literal => $variant:expr),+], $fold:literal, $prefix:literal, $($at:ident).+) => {
        Keyword::new($name, $class, Kind::Word {
            words: &[$($text),+],
            fold: $fold,
            prefix: $prefix,
            get: |d| [$($variant),+].iter().position(|v| *v == d.$($at).+).unwrap_or(0),
            set: |d, n| if let Some(v) = [$($variant),+].get(n) { d.$($at).+ = *v },
        })
    };
}
macro_rules! text {
    ($class:ident $name:literal, $check:expr, $($at:ident).+) => {
        Keyword::new($name, $class, Kind::Text { check: $check, at: |d| &mut d.$($at).+ })
    };
}
macro_rules! list {
    ($name:literal, $parse:expr, $show:expr) => {
        Keyword::new(
            $name,
            I,
            Kind::List {
                parse: $parse,
                show: $show,
            },
        )
    };
}
macro_rules! block {
    ($name:literal, $keys:ident) => {
        Keyword::new(
            $name,
            N,
            Kind::Block {
                label: None,
                keys: $keys,
            },
        )
    };
    ($name:literal, $what:literal, $open:expr, $close:expr, $keys:ident) => {
        Keyword::new(
            $name,
            I,
            Kind::Block {
                label: Some(Label {
                    what: $what,
                    open: $open,
                    close: $close,
                }),
                keys: $keys,
            },
        )
    };
}

/// The top level.
pub(super) static ROOT: &[Keyword] = &[
    block!("global_defs", GLOBAL),
    block!("netif_defs", NETIF),
    block!("worker_defs", WORKERS),
    block!("timer_defs", TIMER),
    block!("neigh_defs", NEIGH),
    block!("ipset_defs", IPSET),
    block!("ipv4_defs", IPV4),
    block!("ipv6_defs", IPV6),
    block!("ctrl_defs", CTRL),
    block!("ipvs_defs", IPVS),
    block!("sa_pool", SA_POOL),
    block!("idle", IDLE),
];

static GLOBAL: &[Keyword] = &[
    word!(S "log_level", [
        "EMERG" => LogLevel::Emerg, "ALERT" => LogLevel::Alert, "CRIT" => LogLevel::Crit,
        "ERR" => LogLevel::Err, "WARNING" => LogLevel::Warning, "NOTICE" => LogLevel::Notice,
        "INFO" => LogLevel::Info, "DEBUG" => LogLevel::Debug
    ], false, true, conf.global.log_level),
    text!(S "log_file", |_| Ok(()), conf.global.log_file),
    switch!(I "log_async_mode", conf.global.log_async_mode).pending("asynchronous logging"),
    switch!(N "log_with_timestamp", conf.global.log_with_timestamp),
    num!(I "log_async_pool_size", 1023..=1_073_741_823, conf.global.log_async_pool_size, Pow2Less1)
        .pending("asynchronous logging"),
    switch!(I "kni", conf.global.kni),
    switch!(N "lldp", conf.global.lldp),
    switch!(I "pdump", conf.global.pdump).pending("packet capture by dpdk-pdump"),
];

static NETIF: &[Keyword] = &[
    num!(I "pktpool_size", 1023..=134_217_728, conf.netif.pktpool_size, Pow2Less1),
    num!(I "pktpool_cache", 32..=8192, conf.netif.pktpool_cache, Pow2),
    word!(I "fdir_mode", ["perfect" => FdirMode::Perfect, "signature" => FdirMode::Signature],
        false, false, conf.netif.fdir_mode),
    block!(
        "device",
        "device name",
        open_device,
        |d| d.conf.netif.devices.push(d.device.clone()),
        DEVICE
    ),
    block!(
        "bonding",
        "bond name",
        open_bond,
        |d| d.conf.netif.bonds.push(d.bond.clone()),
        BOND
    ),
];

static DEVICE: &[Keyword] = &[
    block!("rx", DEVICE_RX),
    block!("tx", DEVICE_TX),
    num!(I "mtu", 1..=9000, device.mtu),
    flag!(I "promisc_mode", device.promisc),
    flag!(I "allmulticast", device.allmulticast),
    text!(I "kni_name", check_name, device.kni_name),
];

static DEVICE_RX: &[Keyword] = &[
    list!(
        "queue_number",
        |d, t| optional(t, &mut d.device.rx_queues),
        |d| shown(d.device.rx_queues)
    ),
    num!(I "descriptor_number", 16..=8192, device.rx_desc, Pow2),
    list!("rss", parse_rss, |d| format!("{:#x}", d.device.rss.0)),
];

static DEVICE_TX: &[Keyword] = &[
    list!(
        "queue_number",
        |d, t| optional(t, &mut d.device.tx_queues),
        |d| shown(d.device.tx_queues)
    ),
    num!(I "descriptor_number", 16..=8192, device.tx_desc, Pow2),
    switch!(I "mbuf_fast_free", device.fast_free),
];

static BOND: &[Keyword] = &[
    num!(I "mode", 0..=6, bond.mode),
    list!("slave", parse_slave, |d| d.bond.slaves.join(" ")),
    list!("primary", parse_primary, |d| d
        .bond
        .primary
        .clone()
        .unwrap_or_default()),
    num!(I "numa_node", 0..=63, bond.numa_node),
    text!(I "kni_name", check_name, bond.kni_name),
    list!("options", parse_bond_options, |d| d
        .bond
        .dedicated_queues
        .to_string()),
];

static WORKERS: &[Keyword] = &[block!(
    "worker",
    "worker name",
    open_worker,
    |d| d.conf.workers.push(d.worker.clone()),
    WORKER
)];

static WORKER: &[Keyword] = &[
    word!(I "type", ["master" => WorkerType::Master, "slave" => WorkerType::Slave, "kni" => WorkerType::Kni],
        false, false, worker.kind),
    num!(I "cpu_id", 0..=63, worker.cpu),
    flag!(I "icmp_redirect_core", worker.icmp_redirect).pending("a lcore for ICMP redirects"),
    block!(
        "port",
        "device name",
        open_port,
        |d| d.worker.ports.push(d.port.clone()),
        WORKER_PORT
    ),
];

static WORKER_PORT: &[Keyword] = &[
    list!(
        "rx_queue_ids",
        |d, t| queues(t, &mut d.port.rx),
        |d| format!("{:?}", d.port.rx)
    ),
    list!(
        "tx_queue_ids",
        |d, t| queues(t, &mut d.port.tx),
        |d| format!("{:?}", d.port.tx)
    ),
    list!("isol_rx_cpu_ids", parse_isol, |d| format!(
        "{:?}",
        d.port.isol_rx
    )),
    num!(I "isol_rxq_ring_sz", 1024..=2_147_483_648, port.isol_ring, Pow2),
];

static TIMER: &[Keyword] = &[
    num!(I "schedule_interval", 1..=10_000_000, conf.misc.schedule_interval)
        .pending("a timer interval (timers are looked at in every turn of a worker)"),
];

static NEIGH: &[Keyword] = &[
    num!(I "unres_queue_length", 16..=8192, conf.misc.unres_queue_length, Pow2),
    num!(N "timeout", 1..=3600, conf.misc.neigh_timeout),
];

static IPSET: &[Keyword] = &[
    num!(I "ipset_hash_pool_size", 65536..=1_073_741_824, conf.misc.ipset_hash_pool_size, Pow2Less1),
];

static IPV4: &[Keyword] = &[
    switch!(N "forwarding", conf.ipv4.forwarding),
    num!(I "default_ttl", 0..=255, conf.ipv4.default_ttl)
        .pending("a TTL of own packets other than 64 (the C daemon never uses it either)"),
    block!("fragment", FRAGMENT),
];

const FRAGMENT_BUCKETS: &str = "a shape of the fragment table (max_entries bounds it)";

static FRAGMENT: &[Keyword] = &[
    num!(I "bucket_number", 32..=65536, conf.ipv4.frag_buckets).pending(FRAGMENT_BUCKETS),
    num!(I "bucket_entries", 1..=256, conf.ipv4.frag_bucket_entries, Pow2)
        .pending(FRAGMENT_BUCKETS),
    num!(I "max_entries", 1..=16_777_216, conf.ipv4.frag_max_entries),
    num!(I "ttl", 1..=255, conf.ipv4.frag_ttl),
];

static IPV6: &[Keyword] = &[
    switch!(N "disable", conf.ipv6.disable),
    switch!(N "forwarding", conf.ipv6.forwarding),
    word!(N "addr_gen_mode", [
        "eui64" => AddrGen::Eui64, "none" => AddrGen::None,
        "stable-privacy" => AddrGen::StablePrivacy, "random" => AddrGen::Random
    ], true, false, conf.ipv6.addr_gen_mode)
    .pending("a link-local address not made from the MAC"),
    text!(N "stable_secret", check_secret, conf.ipv6.stable_secret)
        .pending("a link-local address not made from the MAC"),
    block!("route6", ROUTE6),
];

static ROUTE6: &[Keyword] = &[
    word!(I "method", ["hlist" => Route6Method::Hlist, "lpm" => Route6Method::Lpm], false, false,
        conf.ipv6.route_method)
    .pending("a choice of route table (there is one, a longest-prefix trie)"),
    num!(I "recycle_time", 1..=36000, conf.ipv6.recycle_time)
        .pending("a sweep of deleted routes (they are freed at once)"),
    block!("lpm", ROUTE6_LPM),
];

static ROUTE6_LPM: &[Keyword] = &[
    num!(I "lpm6_max_rules", 16..=65536, conf.ipv6.lpm_max_rules, Pow2)
        .pending("a size limit of the route table"),
    num!(I "lpm6_num_tbl8s", 256..=1_048_576, conf.ipv6.lpm_tbl8s, Pow2)
        .pending("a size limit of the route table"),
    num!(I "rt6_hash_bucket", 16..=65536, conf.ipv6.rt6_hash_bucket, Pow2)
        .pending("a size limit of the route table"),
];

static CTRL: &[Keyword] = &[block!("lcore_msg", LCORE_MSG)];

static LCORE_MSG: &[Keyword] = &[
    num!(I "ring_size", 256..=524_288, conf.misc.ring_size, Pow2),
    num!(N "sync_msg_timeout_us", 1..=60_000_000, conf.misc.sync_msg_timeout_us),
    word!(N "priority_level", [
        "low" => Priority::Low, "norm" => Priority::Norm, "high" => Priority::High, "ign" => Priority::Ign
    ], true, false, conf.misc.priority_level).pending("admission of control messages by priority"),
];

static IPVS: &[Keyword] = &[block!("conn", CONN), block!("udp", UDP), block!("tcp", TCP)];

static CONN: &[Keyword] = &[
    num!(I "conn_pool_size", 65536..=1_073_741_824, conf.conn.pool_size, Pow2Less1),
    num!(I "conn_pool_cache", 1..=1_048_576, conf.conn.pool_cache, Pow2)
        .pending("a cache before the connection table"),
    num!(N "conn_init_timeout", 1..=31_535_999, conf.conn.init_timeout),
    flag!(N "expire_quiescent_template", conf.conn.expire_quiescent_template),
    flag!(N "mh_list_order", conf.conn.mh_list_order),
    switch!(I "redirect", conf.conn.redirect),
    flag!(I "fast_xmit_close", conf.conn.fast_xmit_close),
    flag!(S "xmit_ttl", conf.conn.xmit_ttl),
];

static UDP: &[Keyword] = &[
    flag!(N "defence_udp_drop", conf.udp.defence_drop),
    word!(S "uoa_mode", ["opp" => UoaMode::Opp, "ipo" => UoaMode::Ipo], false, false, conf.udp.uoa_mode),
    num!(N "uoa_max_trail", 0..=2_147_483_647, conf.udp.uoa_max_trail),
    block!("timeout", UDP_TIMEOUT),
];

static UDP_TIMEOUT: &[Keyword] = &[
    num!(N "oneway", 1..=31_535_999, conf.udp.oneway),
    num!(N "normal", 1..=31_535_999, conf.udp.normal),
    num!(N "last", 1..=31_535_999, conf.udp.last),
];

static TCP: &[Keyword] = &[
    flag!(N "defence_tcp_drop", conf.tcp.defence_drop),
    block!("timeout", TCP_TIMEOUT),
    block!("synproxy", SYNPROXY),
];

static TCP_TIMEOUT: &[Keyword] = &[
    num!(N "none", 1..=31_535_999, conf.tcp.timeouts.none),
    num!(N "established", 1..=31_535_999, conf.tcp.timeouts.established),
    num!(N "syn_sent", 1..=31_535_999, conf.tcp.timeouts.syn_sent),
    num!(N "syn_recv", 1..=31_535_999, conf.tcp.timeouts.syn_recv),
    num!(N "fin_wait", 1..=31_535_999, conf.tcp.timeouts.fin_wait),
    num!(N "time_wait", 1..=31_535_999, conf.tcp.timeouts.time_wait),
    num!(N "close", 1..=31_535_999, conf.tcp.timeouts.close),
    num!(N "close_wait", 1..=31_535_999, conf.tcp.timeouts.close_wait),
    num!(N "last_ack", 1..=31_535_999, conf.tcp.timeouts.last_ack),
    num!(N "listen", 1..=31_535_999, conf.tcp.timeouts.listen),
    num!(N "synack", 1..=31_535_999, conf.tcp.timeouts.synack),
    num!(N "last", 1..=31_535_999, conf.tcp.timeouts.last),
];

static SYNPROXY: &[Keyword] = &[
    block!("synack_options", SYNACK_OPTIONS),
    flag!(N "close_client_window", conf.tcp.synproxy.close_client_window),
    flag!(N "defer_rs_syn", conf.tcp.synproxy.defer_rs_syn),
    num!(N "rs_syn_max_retry", 1..=99, conf.tcp.synproxy.rs_syn_max_retry),
    num!(N "ack_storm_thresh", 1..=999, conf.tcp.synproxy.ack_storm_thresh),
    num!(N "max_ack_saved", 1..=63, conf.tcp.synproxy.max_ack_saved),
    num!(N "auto_syn_rate", 0..=100_000_000, conf.tcp.synproxy.auto_syn_rate),
    block!("conn_reuse_state", REUSE),
];

static SYNACK_OPTIONS: &[Keyword] = &[
    num!(N "mss", 1..=65535, conf.tcp.synproxy.mss),
    num!(N "ttl", 1..=255, conf.tcp.synproxy.ttl),
    flag!(N "sack", conf.tcp.synproxy.sack),
    num!(N "wscale", 0..=14, conf.tcp.synproxy.wscale),
    flag!(N "timestamp", conf.tcp.synproxy.timestamp),
];

static REUSE: &[Keyword] = &[
    flag!(N "close", conf.tcp.synproxy.reuse_close),
    flag!(N "time_wait", conf.tcp.synproxy.reuse_time_wait),
    flag!(N "fin_wait", conf.tcp.synproxy.reuse_fin_wait),
    flag!(N "close_wait", conf.tcp.synproxy.reuse_close_wait),
    flag!(N "last_ack", conf.tcp.synproxy.reuse_last_ack),
];

static SA_POOL: &[Keyword] = &[
    num!(I "pool_hash_size", 1..=128, conf.misc.pool_hash_size),
    switch!(I "flow_enable", conf.misc.flow_enable),
];

static IDLE: &[Keyword] = &[
    num!(I "pause_turns", 0..=1_000_000, conf.idle.pause_turns),
    num!(I "sleep_after_us", 0..=10_000_000, conf.idle.sleep_after_us),
    num!(I "sleep_us", 1..=1_000, conf.idle.sleep_us),
];
