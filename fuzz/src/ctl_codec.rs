//! The control socket's framing and message bodies: arbitrary bytes as a
//! connection's requests, as every struct and as every list. Nothing panics,
//! and what was decoded encodes to bytes that decode to the same.

use std::fmt::Debug;

use dpvs_ctl::msg::*;
use dpvs_ctl::server::{Request, RequestDecoder, encode_reply, encode_request};
use dpvs_ctl::wire::{Tail, count_of, decode_bare, decode_counted, decode_list};
use dpvs_ctl::{ErrCode, Kind, ReplyHead, RequestHead, Wire, id};

use crate::Target;
use crate::input::Input;

/// The target.
pub const TARGET: Target = Target {
    name: "ctl_codec",
    run,
    seeds,
    words: &[
        "\0\0\u{1}\0",
        "\u{1}\0\0\0",
        "\u{2}\0\0\0",
        "dpdk0",
        "\u{7f}",
    ],
};

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (step, what) = (usize::from(input.byte()).max(1), input.byte());
    let rest = input.rest();
    requests(rest, step);
    bodies(what, rest);
    for id in [0, 19, 64, 108, 7404, u32::from(what)] {
        assert!(id::max_request(id) > 0 && !id::describe(id).is_empty());
    }
}

/// As bytes of a connection, however they are cut.
fn requests(bytes: &[u8], step: usize) {
    let mut decoder = RequestDecoder::new();
    for piece in bytes.chunks(step) {
        match decoder.push(piece) {
            Ok(None) => assert!(decoder.missing() > 0, "waits for nothing"),
            Ok(Some(request)) => {
                assert!(request.body.len() <= id::max_request(request.id));
                let again = encode_request(request.id, request.kind, &request.body);
                let twice = RequestDecoder::new().push(&again);
                assert_eq!(
                    twice,
                    Ok(Some(Request {
                        keep: false,
                        ..request
                    }))
                );
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    if let Ok((head, body)) = ReplyHead::decode_prefix(bytes) {
        let _ = (head.text.text(), head.code.text());
        let kind = Kind::from_number(head.kind).unwrap_or(Kind::Get);
        let reply = encode_reply(head.id, kind, ErrCode::OK, body);
        let (again, _) = ReplyHead::decode_prefix(&reply).expect("our own reply");
        assert_eq!(again.len as usize, reply.len() - ReplyHead::SIZE);
    }
}

fn check<T: Wire + PartialEq + Debug>(bytes: &[u8]) {
    assert_eq!(T::decode(bytes).is_ok(), bytes.len() == T::SIZE);
    if let Ok((value, _)) = T::decode_prefix(bytes) {
        let again = value.encode();
        assert_eq!(again.len(), T::SIZE, "{}", T::NAME);
        assert_eq!(T::decode(&again).as_ref(), Ok(&value));
        let _ = format!("{value:?}");
    }
    let _ = decode_bare::<T>(bytes);
    let _ = decode_counted::<T>(bytes, Tail::Slack);
    if let Ok(list) = decode_counted::<T>(bytes, Tail::Exact) {
        assert_eq!(bytes.len(), 4 + list.len() * T::SIZE);
    }
}

/// Calls `check` for the n-th of these types.
macro_rules! nth {
    ($n:expr, $bytes:expr, $($t:ty),+ $(,)?) => {{
        let all: &[fn(&[u8])] = &[$( check::<$t>, )+];
        all[usize::from($n) % all.len()]($bytes);
    }};
}

fn bodies(what: u8, bytes: &[u8]) {
    nth!(
        what,
        bytes,
        RequestHead,
        ReplyHead,
        AddrRange,
        Match,
        Stats,
        RtAddr,
        Service,
        CheckConf,
        ServicesFront,
        Info,
        Dest,
        DestTable,
        DestFront,
        ServiceDest,
        LaddrTable,
        LaddrEntry,
        LaddrFront,
        LaddrDetail,
        AclConf,
        SockPair,
        ConnReq,
        ConnArray,
        ConnEntry,
        Route,
        RouteCompact,
        Route6,
        IfAddr,
        IfAddrStats,
        IfAddrParam,
        IfAddrData,
        IfAddrArray,
        IfAddrStatsDetail,
        Maddr,
        Neigh,
        LcoreMask,
        LcoreBasic,
        LcoreStats,
        NicList,
        PortId,
        NicBasic,
        NicStats,
        XStatsHead,
        XStat,
        NicDev,
        NicExt,
        ConfQueues,
        McList,
        BondSlave,
        BondStatus,
        NicSet,
        BondSet,
        HwMaddr,
        Vlan,
        Tunnel,
        KniFlow,
        LldpParam,
        LldpMessage,
        TcConf,
        TcQsch,
        TcCls,
        TbfOpt,
        FifoOpt,
        PrioOpt,
        TcClsMatch,
        TcClsIpset,
        IpsetOption,
        IpsetParam,
        IpsetInfo,
        IpsetMember,
        InetStats,
        Ip6Stats,
        IfTraf,
        EalSeg,
        EalZone,
        EalRing,
        EalPool,
        DropCount,
        PortAffinity,
        RateLimit,
        WorkerTurns,
        TableTimeouts,
        SyncDaemon,
        ServiceExt,
        Encap,
        DestExt,
    );
    if let Ok(sets) = decode_ipsets(bytes) {
        assert_eq!(decode_ipsets(&encode_ipsets(&sets)).as_ref(), Ok(&sets));
    }
    let _ = decode_eal_wide::<EalSeg>(bytes);
    let _ = decode_list::<IfAddrArray, IfAddrData>(bytes, Tail::Slack, |a| count_of(a.naddr));
    let _ = Info::decode_lenient(bytes);
    if let Ok((svc, _)) = Service::decode_prefix(bytes) {
        let _ = (
            svc.sched_name.text(),
            svc.addr.to_ip(svc.af),
            svc.persist_plen(),
        );
        assert_eq!(svc.key().key(), svc.key());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (n, &id) in id::ALL.iter().enumerate() {
        let kind = if id::registered(id, Kind::Get) {
            Kind::Get
        } else {
            Kind::Set
        };
        let mut seed = vec![255, n as u8];
        seed.extend(encode_request(id, kind, &vec![0; n * 4]));
        all.push(seed);
    }
    let sets = vec![(IpsetInfo::default(), vec![IpsetMember::default(); 3]); 2];
    all.push([&[9, 0][..], &encode_ipsets(&sets)].concat());
    all
}
