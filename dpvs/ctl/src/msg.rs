//! The message bodies, one subject a file. Every struct declares its offsets;
//! they are checked when the crate is compiled.

mod acl;
mod capture;
mod conn;
mod eal;
mod ifaddr;
mod iftraf;
mod ipset;
mod laddr;
mod neigh;
mod netif;
mod netif_ext;
mod ours;
mod route;
mod service;
mod stats6;
mod table_ext;
mod tc;
mod tunnel;

pub use acl::AclConf;
pub use capture::{
    CaptureConf, CaptureFrame, CaptureHead, CapturedFrames, capture_dir, decode_capture,
    encode_capture,
};
pub use conn::{ConnArray, ConnEntry, ConnReq, SockPair, conn_get, conn_result};
pub use eal::{EalPool, EalRing, EalSeg, EalZone, decode_eal_wide, encode_eal_wide};
pub use ifaddr::{
    IfAddr, IfAddrArray, IfAddrData, IfAddrParam, IfAddrStats, IfAddrStatsDetail, Maddr, ifa_flag,
    ifa_op, ifa_op_flag, ifa_scope,
};
pub use iftraf::IfTraf;
pub use ipset::{
    IpsetInfo, IpsetMember, IpsetOption, IpsetParam, decode_ipsets, encode_ipsets, ipset_flag,
    ipset_op,
};
pub use laddr::{LaddrDetail, LaddrEntry, LaddrFront, LaddrTable};
pub use neigh::{Neigh, neigh_flag, neigh_state};
pub use netif::{
    HwMaddr, LcoreBasic, LcoreMask, LcoreStats, NicBasic, NicList, NicSet, NicStats, PortId, XStat,
    XStatsHead, nic_flag, nic_set,
};
pub use netif_ext::{
    BondSet, BondSlave, BondStatus, ConfQueues, McList, NicDev, NicExt, bond_act, bond_opt,
};
pub use ours::{DropCount, PortAffinity, RateLimit, WorkerTurns};
pub use route::{Route, Route6, RouteCompact, RtAddr, route_scope, route6_op, rtf};
pub use service::{
    AddrRange, CheckConf, Dest, DestFront, DestTable, Info, MH_SIZES, Match, Service, ServiceDest,
    ServicesFront, Stats, check_type, conn_flag, dest_flag, fwd_mode, proxy_proto, svc_flag,
};
pub use stats6::{InetStats, Ip6Stats, LCORE_SLOTS};
pub use table_ext::{
    DestExt, Encap, ServiceExt, SyncDaemon, TableTimeouts, encap_csum, encap_kind, sync_role,
};
pub use tc::{
    FifoOpt, PrioOpt, QstatBytes, QstatQueue, TbfOpt, TbfRate, TcCls, TcClsIpset, TcClsMatch,
    TcClsResult, TcConf, TcQsch, tc_handle, tc_obj, tc_op,
};
pub use tunnel::{KniFlow, LldpMessage, LldpParam, Tunnel, Vlan};
