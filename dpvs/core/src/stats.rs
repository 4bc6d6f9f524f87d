//! Counters of a worker: why packets were dropped, and IP's own (SNMP-like).
//!
//! Every packet that is not sent has a [`Reason`]; the reasons add up to the
//! drops. Plain integers: one worker writes, the master asks for a copy.

use crate::frame::Frame;
use crate::proto::tcp::State;
use crate::raw::L3;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// Why a packet was dropped (or consumed without being sent on).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }
        impl Reason {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];
            /// Short name for listings.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }
            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

reasons! {
    /// Came before there was a configuration, or from a port it does not have.
    NotConfigured = "not-configured",
    /// Shorter than its own headers say.
    Truncated = "truncated",
    /// A header field that cannot be.
    Malformed = "malformed",
    /// IPv4 header checksum.
    BadChecksum = "bad-checksum",
    /// Not for our MAC address.
    OtherHost = "other-host",
    /// IPv6 switched off.
    Ipv6Off = "ipv6-off",
    /// Fragment that fits no datagram: overlaps, is cut before the ports, belongs to a
    /// connection that is gone, or is of a packet to a tunnel.
    Fragment = "fragment",
    /// Source or destination address that must not be on a wire.
    BadAddress = "bad-address",
    /// Ended here, with nothing to forward and nothing lost: ARP, ND and LLDP heard, an
    /// ACK that is made anew, an error other workers got copies of.
    Consumed = "consumed",
    /// Would go to the kernel, but the port has no host port.
    NoHostPort = "no-host-port",
    /// Would go to the kernel, which was given as many as it may be.
    HostLimit = "host-limit",
    /// No route to the next hop.
    NoRoute = "no-route",
    /// Forwarding is switched off.
    NotForwarding = "not-forwarding",
    /// TTL or hop limit used up.
    TtlExceeded = "ttl-exceeded",
    /// Larger than the MTU and must not be fragmented.
    TooBig = "too-big",
    /// Service has no usable server.
    NoDest = "no-dest",
    /// The chosen server is at its connection threshold.
    Overload = "overload",
    /// Service has no local address of the server's family.
    NoLaddr = "no-laddr",
    /// Another worker did not say in time what it knows of the client.
    PeerSilent = "peer-silent",
    /// All ports of the local addresses are in use towards that server.
    NoLport = "no-lport",
    /// The connection table is full.
    ConnTableFull = "conn-table-full",
    /// No packet buffer.
    NoBuffer = "no-buffer",
    /// Neighbour did not answer, or its queue is full.
    NeighUnresolved = "neigh-unresolved",
    /// Server is gone or has weight 0 and the service expires such connections.
    Quiescent = "quiescent",
    /// Refused by `defence_udp_drop`.
    DefenceUdp = "defence-udp",
    /// Refused by `defence_tcp_drop`.
    DefenceTcp = "defence-tcp",
    /// The server's forwarding mode cannot carry such a packet.
    ModeUnsupported = "mode-unsupported",
    /// No room in the frame for what has to be inserted.
    NoRoom = "no-room",
    /// Came before the first segment of a connection with PROXY protocol, which will
    /// have to be sent again.
    ProxyOrder = "proxy-order",
    /// SYN for the SYN proxy of a service without a usable server.
    SynproxyNoDest = "synproxy-no-dest",
    /// ACK without data where a server is asked only then (`defer_rs_syn`).
    SynproxyNullAck = "synproxy-null-ack",
    /// Nothing to keep, or nothing of ours, while a proxied SYN waits for its answer.
    SynproxyWaiting = "synproxy-waiting",
    /// More than is kept of a client until its server answers.
    SynproxyQueue = "synproxy-queue",
    /// The server's ACKs that say nothing new, one too many.
    SynproxyAckStorm = "synproxy-ack-storm",
    /// Dropped without the ICMP error that is due, because of the rate limit.
    IcmpLimited = "icmp-limited",
    /// Fragment whose first one did not come in time, or that had no room to wait.
    FragmentLost = "fragment-lost",
    /// The client is on the service's black list.
    BlackList = "black-list",
    /// The service has a white list, and the client is not on it.
    WhiteList = "white-list",
    /// A rate limit of the service, its address or the client.
    RateLimit = "rate-limit",
    /// A classifier drops it, or its queue is full.
    TrafficControl = "traffic-control",
    /// Tagged for a VLAN that has no device, on a port that has others.
    UnknownVlan = "unknown-vlan",
    /// Cannot go through the tunnel it was routed to, or came by one out of order or
    /// without owner.
    Tunnel = "tunnel",
}

macro_rules! inet {
    ($($(#[doc = $doc:literal])+ $field:ident = $v4:literal $v6:literal,)*) => {
        /// IP-layer counters (as RFC 4293 has them).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct InetStats { $($(#[doc = $doc])* pub $field: u64,)* }
        impl InetStats {
            /// Both together.
            #[must_use]
            pub fn and(&self, other: &Self) -> Self {
                Self { $($field: self.$field + other.$field,)* }
            }
            /// Name and number of each, for listings.
            #[must_use]
            pub fn list(&self, v6: bool) -> Vec<(&'static str, u64)> {
                vec![$((if v6 { $v6 } else { $v4 }, self.$field),)*]
            }
        }
    };
}

inet! {
    /// Packets received, broken ones too; once more when taken out of a tunnel.
    in_pkts = "ip4-in-pkts" "ip6-in-pkts",
    /// Their bytes, as their headers say.
    in_octets = "ip4-in-octets" "ip6-in-octets",
    /// Answered here, or given to the kernel.
    in_delivers = "ip4-in-delivers" "ip6-in-delivers",
    /// Routed, without being a service's.
    out_forw_datagrams = "ip4-out-forwarded" "ip6-out-forwarded",
    /// Packets sent, or queued for a neighbour.
    out_pkts = "ip4-out-pkts" "ip6-out-pkts",
    /// Their bytes.
    out_octets = "ip4-out-octets" "ip6-out-octets",
    /// With a header that cannot be, those of `csum_errors` among them.
    in_hdr_errors = "ip4-in-hdr-errors" "ip6-in-hdr-errors",
    /// Larger than the way's MTU.
    in_too_big_errors = "ip4-in-too-big" "ip6-in-too-big",
    /// Without a route.
    in_no_routes = "ip4-in-no-routes" "ip6-in-no-routes",
    /// With an address that must not be on a wire.
    in_addr_errors = "ip4-in-addr-errors" "ip6-in-addr-errors",
    /// Shorter than the headers say.
    in_truncated_pkts = "ip4-in-truncated" "ip6-in-truncated",
    /// Dropped without fault of the packet.
    in_discards = "ip4-in-discards" "ip6-in-discards",
    /// To a group.
    in_mcast_pkts = "ip4-in-mcast" "ip6-in-mcast",
    /// With a wrong header checksum.
    csum_errors = "ip4-csum-errors" "ip6-csum-errors",
    /// Cut in pieces.
    frag_oks = "ip4-frag-oks" "ip6-frag-oks",
    /// That should have been.
    frag_fails = "ip4-frag-fails" "ip6-frag-fails",
    /// Pieces made.
    frag_creates = "ip4-frag-creates" "ip6-frag-creates",
}

impl InetStats {
    /// What RFC 4293 has for a reason.
    fn note(&mut self, reason: Reason) {
        match reason {
            Reason::Truncated => self.in_truncated_pkts += 1,
            Reason::Malformed => self.in_hdr_errors += 1,
            Reason::BadChecksum => {
                self.in_hdr_errors += 1;
                self.csum_errors += 1;
            }
            Reason::BadAddress => self.in_addr_errors += 1,
            Reason::NoRoute => self.in_no_routes += 1,
            Reason::TooBig => self.in_too_big_errors += 1,
            _ => self.in_discards += 1,
        }
    }
}

/// What the SYN proxy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynproxyStats {
    /// SYNs answered by a cookie.
    pub syn: u64,
    /// ACKs with a good cookie.
    pub ok_ack: u64,
    /// ACKs with a bad one, answered by a reset.
    pub bad_ack: u64,
    /// ACKs without data where data was waited for.
    pub null_ack: u64,
    /// Servers that answered by a reset.
    pub rs_error: u64,
    /// ACKs of servers dropped because they said nothing new.
    pub ack_storm: u64,
    /// Segments of clients for which there was no room.
    pub queue_full: u64,
    /// Connections used again, by the state they were in.
    pub reused: [u64; crate::proto::tcp::STATES],
    /// Times a service that had not asked for it got the SYN proxy.
    pub auto: u64,
}

impl SynproxyStats {
    /// Name and number of each, for listings.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64); 13] {
        let reused = |s: State| self.reused[s.index()];
        [
            ("synproxy-syn", self.syn),
            ("synproxy-ok-ack", self.ok_ack),
            ("synproxy-bad-ack", self.bad_ack),
            ("synproxy-null-acks", self.null_ack),
            ("synproxy-rs-error", self.rs_error),
            ("synproxy-ack-storms", self.ack_storm),
            ("synproxy-queue-full", self.queue_full),
            ("synproxy-reuse-close", reused(State::Close)),
            ("synproxy-reuse-time-wait", reused(State::TimeWait)),
            ("synproxy-reuse-fin-wait", reused(State::FinWait)),
            ("synproxy-reuse-close-wait", reused(State::CloseWait)),
            ("synproxy-reuse-last-ack", reused(State::LastAck)),
            ("synproxy-auto", self.auto),
        ]
    }
}

/// Counters of one worker.
#[derive(Clone, Debug)]
pub struct WorkerStats {
    /// Drops by [`Reason`] number. With what the worker was given and what it made
    /// they balance what it gave away: `received + taken + made` is `to_host +
    /// handed_over`, what was sent, all drops (those consumed too) and what waits.
    pub drops: [u64; Reason::ALL.len()],
    /// Frames received on ports.
    pub received: u64,
    /// Frames other workers handed over.
    pub taken: u64,
    /// Frames made here: errors, questions, resets, copies, pieces beyond the first.
    /// Not what a packet was turned into (the answer to an echo, a cookie to a SYN).
    pub made: u64,
    /// Copies for the kernel or for other workers that there was no buffer for.
    pub copies_lost: u64,
    /// Packets given to the kernel.
    pub to_host: u64,
    /// Packets handed to another worker.
    pub handed_over: u64,
    /// Packets that found an established connection.
    pub conn_hits: u64,
    /// Connections made.
    pub conns_made: u64,
    /// Connections ended.
    pub conns_gone: u64,
    /// Connections nobody had answered that ended early, because the table was
    /// full and a new one came.
    pub conns_evicted: u64,
    /// Connections now.
    pub conns: u64,
    /// IPv4: what was received and could be read.
    pub ip4: InetStats,
    /// IPv6.
    pub ip6: InetStats,
    /// The rest of both: what could not be read or was refused, and what was sent.
    pub edge: [InetStats; 2],
    /// TCP segments that carried the client's address to the server.
    pub toa_ok: u64,
    /// TCP segments without room for it.
    pub toa_failed: u64,
    /// PROXY headers sent.
    pub proxy_ok: u64,
    /// Datagrams without room for one.
    pub proxy_failed: u64,
    /// Datagrams that carried the client's address to the server, or were sent for it.
    pub uoa_ok: u64,
    /// Datagrams for which neither was possible.
    pub uoa_failed: u64,
    /// SYN proxy.
    pub synproxy: SynproxyStats,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            drops: [0; Reason::ALL.len()],
            received: 0,
            taken: 0,
            made: 0,
            copies_lost: 0,
            to_host: 0,
            handed_over: 0,
            conn_hits: 0,
            conns_made: 0,
            conns_gone: 0,
            conns_evicted: 0,
            conns: 0,
            ip4: InetStats::default(),
            ip6: InetStats::default(),
            edge: [InetStats::default(); 2],
            toa_ok: 0,
            toa_failed: 0,
            proxy_ok: 0,
            proxy_failed: 0,
            uoa_ok: 0,
            uoa_failed: 0,
            synproxy: SynproxyStats::default(),
        }
    }
}

impl WorkerStats {
    /// Counts one dropped packet.
    pub fn drop(&mut self, reason: Reason) {
        self.drops[reason as usize] += 1;
    }

    /// All but the drops, name and number of each, for listings.
    #[must_use]
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        let mut list = vec![
            ("received", self.received),
            ("taken-over", self.taken),
            ("made", self.made),
            ("copies-lost", self.copies_lost),
            ("to-kernel", self.to_host),
            ("handed-over", self.handed_over),
            ("consumed", self.dropped(Reason::Consumed)),
            ("conn-hits", self.conn_hits),
            ("conn-made", self.conns_made),
            ("conn-gone", self.conns_gone),
            ("conn-evicted", self.conns_evicted),
            ("conn-now", self.conns),
            ("toa-ok", self.toa_ok),
            ("toa-failed", self.toa_failed),
            ("proxy-ok", self.proxy_ok),
            ("proxy-failed", self.proxy_failed),
            ("uoa-ok", self.uoa_ok),
            ("uoa-failed", self.uoa_failed),
        ];
        list.extend(self.synproxy.list());
        list.extend(self.inet(false).list(false));
        list.extend(self.inet(true).list(true));
        list
    }

    /// All that is counted of a family.
    #[must_use]
    pub fn inet(&self, v6: bool) -> InetStats {
        if v6 {
            self.ip6.and(&self.edge[1])
        } else {
            self.ip4.and(&self.edge[0])
        }
    }

    /// The family of a frame, if it is IP's.
    fn edge_of(&mut self, frame: &impl Frame) -> Option<&mut InetStats> {
        match frame.data().get(12..14)? {
            [0x08, 0x00] => Some(&mut self.edge[0]),
            [0x86, 0xdd] => Some(&mut self.edge[1]),
            _ => None,
        }
    }

    /// Counts a sound packet, of `len` bytes with its IP header.
    #[inline(always)]
    pub(crate) fn arrives(&mut self, v6: bool, len: u16) {
        let inet = if v6 { &mut self.ip6 } else { &mut self.ip4 };
        inet.in_pkts += 1;
        inet.in_octets += u64::from(len);
    }

    /// Takes back [`arrives`](Self::arrives): it is counted again where, or when, it
    /// is dealt with.
    pub(crate) fn arrives_later(&mut self, v6: bool, len: u16) {
        let inet = if v6 { &mut self.ip6 } else { &mut self.ip4 };
        inet.in_pkts -= 1;
        inet.in_octets -= u64::from(len);
    }

    /// Counts a frame that is sent as it is now.
    pub(crate) fn leaves(&mut self, frame: &impl Frame) {
        if let Some(inet) = self.edge_of(frame) {
            inet.out_pkts += 1;
            inet.out_octets += frame.total_len().saturating_sub(L3) as u64;
        }
    }

    /// Counts a frame that is refused for what was read of it.
    #[cold]
    #[inline(never)]
    pub(crate) fn refused(&mut self, frame: &impl Frame, reason: Reason) {
        self.drop(reason);
        // As Linux: who listens to others' packets has not received them.
        if reason == Reason::OtherHost {
            return;
        }
        let Some(inet) = self.edge_of(frame) else {
            return;
        };
        inet.in_pkts += 1;
        inet.in_octets += frame.total_len().saturating_sub(L3) as u64;
        inet.note(reason);
    }

    /// Counts a sound packet that is refused.
    #[cold]
    #[inline(never)]
    pub(crate) fn discarded(&mut self, v6: bool, reason: Reason) {
        self.drop(reason);
        self.edge[usize::from(v6)].note(reason);
    }

    /// Counts a packet that goes to the kernel.
    pub(crate) fn delivered(&mut self, frame: &impl Frame) {
        self.to_host += 1;
        if let Some(inet) = self.edge_of(frame) {
            inet.in_delivers += 1;
        }
    }

    /// Counts a packet without a way, or too large for it.
    pub(crate) fn no_way(&mut self, frame: &impl Frame, reason: Reason) {
        if let Some(inet) = self.edge_of(frame) {
            inet.note(reason);
        }
    }

    /// Packets dropped for that reason.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.drops[reason as usize]
    }

    /// All packets dropped, without those consumed here.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum::<u64>() - self.dropped(Reason::Consumed)
    }
}
