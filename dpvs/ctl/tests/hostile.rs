//! Arbitrary bytes never panic, and what was encoded decodes to itself.

#![allow(clippy::unwrap_used)]

use dpvs_ctl::msg::*;
use dpvs_ctl::server::{RequestDecoder, RequestError, encode_request};
use dpvs_ctl::wire::{Tail, count_of, decode_bare, decode_counted, decode_list, encode_counted};
use dpvs_ctl::{Kind, ReplyHead, RequestHead, Wire, id};
use proptest::prelude::*;

/// Exact length decodes and encodes to bytes that decode to the same; any
/// other length is refused.
fn check<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if T::decode(bytes).is_ok() {
        prop_assert_eq!(bytes.len(), T::SIZE);
    }
    prop_assert_eq!(T::decode_prefix(bytes).is_ok(), bytes.len() >= T::SIZE);
    let mut padded = bytes.to_vec();
    padded.resize(T::SIZE, 0xa5);
    let value = T::decode(&padded).unwrap();
    let again = value.encode();
    prop_assert_eq!(again.len(), T::SIZE);
    prop_assert_eq!(T::decode(&again).unwrap(), value);
    prop_assert!(T::decode(&again[..T::SIZE - 1]).is_err());
    // Must not panic, whatever the counts in the bytes say.
    let _ = decode_bare::<T>(bytes);
    let _ = decode_counted::<T>(bytes, Tail::Slack);
    if let Ok(list) = decode_counted::<T>(bytes, Tail::Exact) {
        prop_assert_eq!(bytes.len(), 4 + list.len() * T::SIZE);
    }
    Ok(())
}

macro_rules! check_all {
    ($bytes:expr, $($t:ty),+ $(,)?) => {{ $( check::<$t>($bytes)?; )+ }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn structs(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        check_all!(&bytes,
            RequestHead, ReplyHead, AddrRange, Match, Stats, RtAddr, Service, CheckConf,
            ServicesFront, Info, Dest, DestTable, DestFront, ServiceDest, LaddrTable, LaddrEntry,
            LaddrFront, LaddrDetail, AclConf, SockPair, ConnReq, ConnArray, ConnEntry, Route,
            RouteCompact, Route6, IfAddr, IfAddrStats, IfAddrParam, IfAddrData, IfAddrArray,
            IfAddrStatsDetail, Maddr, Neigh, LcoreMask, LcoreBasic, LcoreStats, NicList, PortId,
            NicBasic, NicStats, XStatsHead, XStat, NicDev, NicExt, ConfQueues, McList, BondSlave,
            BondStatus, NicSet, BondSet, HwMaddr, Vlan, Tunnel, KniFlow, LldpParam, LldpMessage,
            TcConf, TcQsch, TcCls, TbfOpt, FifoOpt, PrioOpt, TcClsMatch, TcClsIpset, IpsetOption,
            IpsetParam, IpsetInfo, IpsetMember, InetStats, Ip6Stats, IfTraf, EalSeg, EalZone,
            EalRing, EalPool, DropCount, PortAffinity, RateLimit,
            TableTimeouts, SyncDaemon, ServiceExt, Encap, DestExt,
        );
        let _ = decode_ipsets(&bytes);
        let _ = decode_eal_wide::<EalSeg>(&bytes);
        let _ = decode_list::<IfAddrArray, IfAddrData>(&bytes, Tail::Slack, |a| count_of(a.naddr));
        let _ = Info::decode_lenient(&bytes);
    }

    #[test]
    fn texts(bytes in prop::collection::vec(any::<u8>(), 264)) {
        let svc = Service::decode(&bytes).unwrap();
        let _ = format!("{svc:?} {:?} {:?}", svc.sched_name.text(), svc.addr.to_ip(svc.af));
        let _ = svc.persist_plen();
        prop_assert_eq!(svc.key().key(), svc.key());
    }

    #[test]
    fn lists(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 52), 0..20)) {
        let neighs: Vec<Neigh> = values.iter().map(|v| Neigh::decode(v).unwrap()).collect();
        let bytes = encode_counted(&neighs);
        prop_assert_eq!(&decode_counted::<Neigh>(&bytes, Tail::Exact).unwrap(), &neighs);
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(decode_counted::<Neigh>(&longer, Tail::Exact).is_err());
        prop_assert_eq!(decode_counted::<Neigh>(&longer, Tail::Slack).unwrap(), neighs);
        prop_assert!(decode_counted::<Neigh>(&bytes[..bytes.len() - 1], Tail::Slack).is_err());
    }

    #[test]
    fn ipset_lists(members in prop::collection::vec(0usize..5, 0..6)) {
        let sets: Vec<_> = members.iter().map(|n| {
            let info = IpsetInfo { entries: u32::try_from(*n).unwrap(), ..IpsetInfo::default() };
            (info, vec![IpsetMember { cidr: 7, ..IpsetMember::default() }; *n])
        }).collect();
        prop_assert_eq!(decode_ipsets(&encode_ipsets(&sets)).unwrap(), sets);
    }

    /// However a request is cut into pieces, it comes out whole, and never early.
    #[test]
    fn request_in_pieces(
        body in prop::collection::vec(any::<u8>(), 0..500),
        cuts in prop::collection::vec(1usize..40, 1..60),
    ) {
        let bytes = encode_request(id::SO_SET_ADD, Kind::Set, &body);
        let mut decoder = RequestDecoder::new();
        let mut rest = &bytes[..];
        let mut got = None;
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            got = decoder.push(now).unwrap();
            if rest.is_empty() {
                break;
            }
            prop_assert!(got.is_none());
            prop_assert!(decoder.missing() > 0);
        }
        let got = got.unwrap();
        prop_assert_eq!((got.id, got.kind, got.body), (id::SO_SET_ADD, Kind::Set, body));
    }

    #[test]
    fn garbage_to_the_server(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = RequestDecoder::new();
        for chunk in bytes.chunks(7) {
            match decoder.push(chunk) {
                Ok(_) => {}
                Err(e) => { prop_assert!(!e.to_string().is_empty()); break; }
            }
        }
    }

    /// A valid header with any numbers in it: refused or waited for, and never
    /// more bytes wanted than the id allows.
    #[test]
    fn any_header(id in 0u32..120, kind in 0u32..4, len in any::<u64>(), v in prop::bool::ANY) {
        let head = RequestHead {
            version: if v { 0x10000 } else { 0x10001 }, id, kind, padding: 0, len,
        };
        let mut decoder = RequestDecoder::new();
        match decoder.push(&head.encode()) {
            Ok(Some(r)) => prop_assert_eq!(r.body.len(), 0),
            Ok(None) => prop_assert!(decoder.missing() <= id::max_request(id)),
            Err(RequestError::Version(_)) => prop_assert!(!v),
            Err(RequestError::Kind(k)) => prop_assert!(k > 1),
            Err(RequestError::UnknownId(i, k)) => prop_assert!(!id::registered(i, k)),
            Err(RequestError::TooLong { max, .. }) => prop_assert!(len > max as u64),
        }
    }
}

#[test]
fn ids() {
    assert_eq!(id::ALL.len(), 134);
    assert!(id::ALL.windows(2).all(|w| w[0] < w[1]));
    assert_eq!(id::name(64), Some("NETIF_GET_PORT_EXT_INFO"));
    for i in 0..=108 {
        assert!(id::name(i).is_some(), "{i}");
        let both = (8..=23).contains(&i);
        let get = id::registered(i, Kind::Get);
        let set = id::registered(i, Kind::Set);
        assert!(get || set, "{i}");
        assert_eq!(get && set, both, "{i}");
    }
    assert!(!id::registered(109, Kind::Get) && !id::registered(7405, Kind::Get));
    assert!(id::registered(7404, Kind::Get) && !id::registered(7404, Kind::Set));
    assert!(id::registered(7502, Kind::Get) && !id::registered(7502, Kind::Set));
    assert!(id::is_agent(22) && id::is_agent(5) && !id::is_agent(21));
}
