//! Services and dests (ids 8 to 27): what LVS calls virtual and real servers.

use crate::types::{Af, Be16, Ip16, Name};
use crate::wire::{Wire, wire_struct};

wire_struct! {
    /// A range of addresses and ports. Ports are in network order, except in
    /// sets, where [`crate::msg::IpsetParam`] has its own reading.
    pub struct AddrRange[36] {
        /// First address.
        0 min_addr: Ip16,
        /// Last address; zero: no bound.
        16 max_addr: Ip16,
        /// First port.
        32 min_port: Be16,
        /// Last port; 0: any.
        34 max_port: Be16,
    }
}

wire_struct! {
    /// What a match service (SNAT) catches. Services are told apart by all
    /// 108 bytes, so unused ones must be zero.
    pub struct Match[108] {
        /// Family of the ranges, unspecified if there are none.
        0 af: Af,
        /// Source addresses and ports.
        4 srange: AddrRange,
        /// Destination addresses and ports.
        40 drange: AddrRange,
        /// Device the packet came in by.
        76 iifname: Name<16>,
        /// Device it leaves by.
        92 oifname: Name<16>,
    }
}

impl Match {
    /// Whether nothing is matched: the service is found by address or mark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

wire_struct! {
    /// Counters of a service or dest. The C daemon leaves the rates 0.
    pub struct Stats[64] {
        /// Connections scheduled.
        0 conns: u64,
        /// Packets from clients.
        8 inpkts: u64,
        /// Bytes from clients.
        16 inbytes: u64,
        /// Packets to clients.
        24 outpkts: u64,
        /// Bytes to clients.
        32 outbytes: u64,
        /// Connections a second.
        40 cps: u32,
        /// Packets a second from clients.
        44 inpps: u32,
        /// Bytes a second from clients.
        48 inbps: u32,
        /// Packets a second to clients.
        52 outpps: u32,
        /// Bytes a second to clients.
        56 outbps: u32,
    }
}

impl Stats {
    /// Adds other counters to these, without overflow.
    pub fn add(&mut self, o: &Self) {
        self.conns = self.conns.saturating_add(o.conns);
        self.inpkts = self.inpkts.saturating_add(o.inpkts);
        self.inbytes = self.inbytes.saturating_add(o.inbytes);
        self.outpkts = self.outpkts.saturating_add(o.outpkts);
        self.outbytes = self.outbytes.saturating_add(o.outbytes);
        self.cps = self.cps.saturating_add(o.cps);
        self.inpps = self.inpps.saturating_add(o.inpps);
        self.inbps = self.inbps.saturating_add(o.inbps);
        self.outpps = self.outpps.saturating_add(o.outpps);
        self.outbps = self.outbps.saturating_add(o.outbps);
    }
}

wire_struct! {
    /// How the dataplane itself watches the dests of a service.
    pub struct CheckConf[8] {
        /// [`check_type`] bits.
        0 types: u8,
        /// Failures until a dest is down; default 1.
        1 dest_down_notice_num: u8,
        /// Successes until it is up; default 1. 0 together with both inhibit
        /// times: the dest is taken down only.
        2 dest_up_notice_num: u8,
        /// Seconds to wait after a failure; default 3.
        3 dest_down_wait: u8,
        /// Seconds of the first inhibition; default 5.
        4 dest_inhibit_min: u16,
        /// Seconds of the longest inhibition; default 3600.
        6 dest_inhibit_max: u16,
    }
}

wire_struct! {
    /// A service. Requests that only name one need `af`, `proto`, `port`,
    /// `addr`, `fwmark` and `matched`.
    pub struct Service[264] {
        /// Family.
        0 af: Af,
        /// 6, 17, 132, 1 or 58.
        4 proto: u8,
        /// [`proxy_proto`].
        5 proxy_protocol: u8,
        /// Port.
        6 port: Be16,
        /// Firewall mark; not 0 in mark services.
        8 fwmark: u32,
        /// [`svc_flag`] bits.
        12 flags: u32,
        /// Persistence, seconds.
        16 timeout: u32,
        /// Life of an idle established connection, seconds; 0: the default.
        20 conn_timeout: u32,
        /// Granularity of persistence. IPv4: the mask's bytes as they stand in
        /// an address. IPv6: prefix length. See [`Service::persist_plen`].
        24 netmask: u32,
        /// Rate limit; never returned by the C daemon.
        28 bps: u32,
        /// Rate limit; never returned by the C daemon.
        32 limit_proportion: u32,
        /// Address.
        36 addr: Ip16,
        /// Scheduler.
        52 sched_name: Name<16>,
        /// What a match service catches.
        68 matched: Match,
        /// Number of dests; in replies.
        176 num_dests: u32,
        /// Number of local addresses; in replies.
        180 num_laddrs: u32,
        /// Lcore id; in replies.
        184 cid: u8,
        /// Which lcore's view: 0 all, 1.. the workers in order.
        185 index: u8,
        /// Counters; zero from the C daemon, clients add up the dests'.
        192 stats: Stats,
        /// Checks by the dataplane.
        256 check_conf: CheckConf,
    }
}

impl Service {
    /// A request that names the service at an address.
    #[must_use]
    pub fn at(proto: u8, addr: std::net::SocketAddr) -> Self {
        Self {
            af: Af::of(addr.ip()),
            proto,
            port: Be16::new(addr.port()),
            addr: Ip16::from_ip(addr.ip()),
            ..Self::default()
        }
    }

    /// Only what names the service: counters, options and garbage dropped.
    #[must_use]
    pub fn key(&self) -> Self {
        Self {
            af: self.af,
            proto: self.proto,
            port: self.port,
            fwmark: self.fwmark,
            addr: self.addr.clean(self.af),
            matched: self.matched,
            ..Self::default()
        }
    }

    /// Persistence granularity as a prefix length, if `netmask` is one.
    #[must_use]
    pub fn persist_plen(&self) -> Option<u8> {
        if self.af == Af::INET6 {
            return u8::try_from(self.netmask)
                .ok()
                .filter(|l| (1..=128).contains(l));
        }
        let mask = u32::from_be_bytes(self.netmask.to_ne_bytes());
        let plen = mask.leading_ones();
        (mask.count_ones() == plen).then_some(u8::try_from(plen).unwrap_or(32))
    }

    /// The `netmask` field for a prefix length.
    #[must_use]
    pub fn netmask_of(af: Af, plen: u8) -> u32 {
        if af == Af::INET6 {
            return plen.into();
        }
        let mask = u32::MAX
            .checked_shl(32u32.saturating_sub(plen.into()))
            .unwrap_or(0);
        u32::from_ne_bytes(mask.to_be_bytes())
    }

    /// The header of a request for this service's dests.
    #[must_use]
    pub fn dest_table(&self, num_dests: u32, index: u8) -> DestTable {
        DestTable {
            af: self.af,
            proto: self.proto.into(),
            port: self.port,
            fwmark: self.fwmark,
            addr: self.addr.clean(self.af),
            num_dests,
            matched: self.matched,
            cid: 0,
            index,
        }
    }
}

wire_struct! {
    /// Before a list of services.
    pub struct ServicesFront[8] {
        /// Lcore id; in replies.
        0 cid: u8,
        /// Which lcore's view: 0 all, 1.. the workers in order.
        1 index: u8,
        /// How many services follow; a request must name the right number.
        2 count: u16,
    }
}

wire_struct! {
    /// What the daemon says about itself. Clients must accept 12 bytes or more.
    pub struct Info[16] {
        /// 0x010a02 for 1.10-2.
        0 version: u32,
        /// Size of the connection table; 0.
        4 size: u32,
        /// Number of services.
        8 num_services: u32,
        /// Number of forwarding workers.
        12 num_lcores: u32,
    }
}

impl Info {
    /// Reads a reply, which may lack `num_lcores`.
    ///
    /// # Errors
    /// When it is shorter than 12 bytes.
    pub fn decode_lenient(bytes: &[u8]) -> Result<Self, crate::DecodeError> {
        if bytes.len() < 12 {
            return Err(crate::DecodeError::new::<Self>(12, bytes.len()));
        }
        Ok(Self::take(bytes))
    }
}

wire_struct! {
    /// A dest (real server).
    pub struct Dest[120] {
        /// Family; may differ from the service's (NAT64).
        0 af: Af,
        /// Port.
        4 port: Be16,
        /// Unused.
        6 proto: u16,
        /// Weight, -1 to 65535 in texts, 0 to 32767 kept.
        8 weight: u32,
        /// Address.
        12 addr: Ip16,
        /// [`conn_flag`] bits; bits 0 to 2 are the forwarding mode.
        28 conn_flags: u16,
        /// [`dest_flag`] bits; a set honours only INHIBITED.
        30 flags: u16,
        /// [`fwd_mode`].
        32 fwdmode: u32,
        /// Upper connection threshold; 0: none.
        36 max_conn: u32,
        /// Lower connection threshold; 0: none.
        40 min_conn: u32,
        /// Active connections.
        44 actconns: u32,
        /// Inactive connections.
        48 inactconns: u32,
        /// Persistent connections.
        52 persistconns: u32,
        /// Counters.
        56 stats: Stats,
    }
}

impl Dest {
    /// Sets both places that hold the forwarding mode.
    pub fn set_fwd_mode(&mut self, mode: u32) {
        self.fwdmode = mode;
        let bits = u16::try_from(mode & u32::from(conn_flag::FWD_MASK)).unwrap_or(0);
        self.conn_flags = (self.conn_flags & !conn_flag::FWD_MASK) | bits;
    }
}

wire_struct! {
    /// A service and one of its dests: ids 13 to 15.
    pub struct ServiceDest[384] {
        /// The service; only what names it counts.
        0 service: Service,
        /// The dest.
        264 dest: Dest,
    }
}

wire_struct! {
    /// Before a list of dests, and the request for one. The C daemon echoes
    /// only `af`, `proto` and `port` in the aggregate view.
    pub struct DestTable[144] {
        /// Family.
        0 af: Af,
        /// IP protocol.
        4 proto: u16,
        /// Port.
        6 port: Be16,
        /// Firewall mark.
        8 fwmark: u32,
        /// Address.
        12 addr: Ip16,
        /// How many dests follow; a request must name the right number.
        28 num_dests: u32,
        /// What a match service catches.
        32 matched: Match,
        /// Lcore id; in replies.
        140 cid: u8,
        /// Which lcore's view.
        141 index: u8,
    }
}

impl DestTable {
    /// What names the service, as a service.
    #[must_use]
    pub fn service(&self) -> Service {
        Service {
            af: self.af,
            proto: u8::try_from(self.proto).unwrap_or(0),
            port: self.port,
            fwmark: self.fwmark,
            addr: self.addr,
            matched: self.matched,
            ..Service::default()
        }
    }
}

wire_struct! {
    /// Before a list of dests in dpvs-agent's messages (ids 24 to 27).
    pub struct DestFront[148] {
        /// Family.
        0 af: Af,
        /// IP protocol.
        4 proto: u16,
        /// Port.
        6 port: Be16,
        /// Firewall mark.
        8 fwmark: u32,
        /// Address.
        12 addr: Ip16,
        /// How many dests follow.
        28 num_dests: u32,
        /// What a match service catches.
        32 matched: Match,
        /// Lcore id; in replies.
        140 cid: u32,
        /// Which lcore's view.
        144 index: u32,
    }
}

impl DestFront {
    /// What names the service, as a service.
    #[must_use]
    pub fn service(&self) -> Service {
        Service {
            af: self.af,
            proto: u8::try_from(self.proto).unwrap_or(0),
            port: self.port,
            fwmark: self.fwmark,
            addr: self.addr,
            matched: self.matched,
            ..Service::default()
        }
    }
}

/// Forwarding modes.
pub mod fwd_mode {
    /// NAT.
    pub const MASQ: u32 = 0;
    /// The service is this machine.
    pub const LOCALNODE: u32 = 1;
    /// IP in IP.
    pub const TUNNEL: u32 = 2;
    /// Direct routing.
    pub const DROUTE: u32 = 3;
    /// Past the service.
    pub const BYPASS: u32 = 4;
    /// NAT of both addresses.
    pub const FULLNAT: u32 = 5;
    /// Source NAT.
    pub const SNAT: u32 = 6;
}

/// Bits of [`Dest::conn_flags`].
pub mod conn_flag {
    /// The forwarding mode.
    pub const FWD_MASK: u16 = 0x0007;
    /// SYN proxy.
    pub const SYNPROXY: u16 = 0x0010;
    /// Connections end at once when the dest is removed.
    pub const EXPIRE_QUIESCENT: u16 = 0x0020;
    /// In the table.
    pub const HASHED: u16 = 0x0100;
    /// Inactive; set in all replies.
    pub const INACTIVE: u16 = 0x0200;
    /// Persistence template.
    pub const TEMPLATE: u16 = 0x0400;
    /// One packet a connection.
    pub const ONE_PACKET: u16 = 0x0800;
}

/// Bits of [`Dest::flags`].
pub mod dest_flag {
    /// Usable.
    pub const AVAILABLE: u16 = 0x1;
    /// Above its threshold.
    pub const OVERLOAD: u16 = 0x2;
    /// Taken out by a check.
    pub const INHIBITED: u16 = 0x4;
}

/// Bits of [`Service::flags`].
pub mod svc_flag {
    /// Persistent.
    pub const PERSISTENT: u32 = 0x0001;
    /// In the table; set in replies.
    pub const HASHED: u32 = 0x0002;
    /// One packet a connection.
    pub const ONEPACKET: u32 = 0x0004;
    /// SYN proxy.
    pub const SYNPROXY: u32 = 0x0008;
    /// Connections end at once when their dest is removed.
    pub const EXPIRE_QUIESCENT: u32 = 0x0010;
    /// For the scheduler (sh: fallback).
    pub const SCHED1: u32 = 0x0020;
    /// For the scheduler (sh: port).
    pub const SCHED2: u32 = 0x0040;
    /// For the scheduler.
    pub const SCHED3: u32 = 0x0080;
    /// conhash by source address.
    pub const SIP_HASH: u32 = 0x0100;
    /// conhash by QUIC connection id.
    pub const QID_HASH: u32 = 0x0200;
    /// A match service.
    pub const MATCH: u32 = 0x0400;
    /// QUIC.
    pub const QUIC: u32 = 0x0800;
    /// Our own: the size of mh's table, a number in these four bits; 0 is the
    /// default. C programs leave them alone.
    pub const MH_SIZE: u32 = 0xf000_0000;
}

/// Sizes of mh's table by their number in [`svc_flag::MH_SIZE`]; all primes.
pub const MH_SIZES: [u32; 11] = [
    4093, 251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071,
];

/// Values of [`Service::proxy_protocol`].
pub mod proxy_proto {
    /// None.
    pub const OFF: u8 = 0;
    /// Version 1.
    pub const V1: u8 = 1;
    /// Version 2.
    pub const V2: u8 = 2;
    /// Or-ed to a version: a header from the client is passed on.
    pub const INSECURE: u8 = 0x10;
}

/// Bits of [`CheckConf::types`].
pub mod check_type {
    /// Internal: what the dests' traffic shows.
    pub const PASSIVE: u8 = 0x01;
    /// Active TCP.
    pub const TCP: u8 = 0x02;
    /// Active UDP.
    pub const UDP: u8 = 0x04;
    /// Active SCTP.
    pub const SCTP: u8 = 0x08;
    /// Active ping.
    pub const PING: u8 = 0x10;
}
