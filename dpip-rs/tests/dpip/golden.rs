//! What the listings of things that were configured beyond the light IP stack print,
//! against golden output, and the same listings as JSON and as one line an entry:
//! tunnels, queue schedulers, classifiers, sets. What is only looked at is in
//! `golden_seen`.

use std::net::IpAddr;

use dpvs_ctl::msg::{
    AddrRange, FifoOpt, IpsetInfo, IpsetMember, Match, PrioOpt, QstatBytes, QstatQueue, TbfOpt,
    TbfRate, TcCls, TcClsIpset, TcClsMatch, TcClsResult, TcQsch, Tunnel, encode_ipsets, tc_handle,
};
use dpvs_ctl::server::Request;
use dpvs_ctl::types::Blob;
use dpvs_ctl::wire::append_entries;
use dpvs_ctl::{Af, Be16, Be32, ErrCode, Ip16, Name, Wire, id};
use serde_json::Value;

use crate::standin::{Said, StandIn, golden};

pub(crate) fn slot(ip: &str) -> Ip16 {
    Ip16::from_ip(ip.parse::<IpAddr>().unwrap())
}

pub(crate) fn printed(out: &str) -> Said {
    Said {
        code: Some(0),
        out: out.to_owned(),
        err: String::new(),
    }
}

/// A daemon with one answer to everything.
pub(crate) fn answering(body: Vec<u8>) -> StandIn {
    StandIn::new(move |_| Ok(body.clone()))
}

fn bare<T: Wire>(entries: &[T]) -> Vec<u8> {
    let mut body = Vec::new();
    append_entries(&mut body, entries);
    body
}

/// The JSON that a line prints, which must be an array.
pub(crate) fn json(standin: &StandIn, line: &str) -> Value {
    let said = standin.dpip(&format!("-j {line}"));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}");
    assert_eq!(said.out.lines().count(), 1, "{line}: {said:?}");
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert!(value.is_array(), "{line}: {value}");
    value
}

#[test]
fn tunnels() {
    let addr = |ip: &str| Be32::new(ip.parse::<std::net::Ipv4Addr>().unwrap().to_bits());
    let ipip = Tunnel {
        ifname: Name::truncated("tunl1"),
        kind: Name::truncated("ipip"),
        saddr: addr("1.1.1.1"),
        daddr: addr("2.2.2.2"),
        ..Tunnel::default()
    };
    let gre = Tunnel {
        ifname: Name::truncated("gre1"),
        kind: Name::truncated("gre"),
        link: Name::truncated("dpdk0"),
        saddr: addr("192.0.2.1"),
        daddr: addr("192.0.2.2"),
        ttl: 64,
        tos: 16,
        i_flags: Be16::new(4),
        o_flags: Be16::new(12),
        i_key: Be32::new(10),
        o_key: Be32::new(11),
        ..Tunnel::default()
    };
    let standin = answering(bare(&[ipip, gre]));
    assert_eq!(
        standin.dpip("tunnel show"),
        printed(&golden("tunnel-show.out"))
    );
    let value = json(&standin, "tunnel show");
    assert_eq!(value[0]["ttl"], Value::Null);
    assert_eq!(
        (&value[1]["kind"], &value[1]["o_key"]),
        (&"gre".into(), &11.into())
    );
    // None at all is no error.
    assert_eq!(answering(Vec::new()).dpip("tunnel show"), printed(""));
    assert_eq!(
        answering(Vec::new()).dpip("-j tunnel show"),
        printed("[]\n")
    );
}

fn tbf(rate: u32, peakrate: u32, limit: u32, buffer: u32, mtu: u32) -> Blob<36> {
    let plain = |rate| TbfRate {
        rate,
        ..TbfRate::default()
    };
    Blob::of(&TbfOpt {
        rate: plain(rate),
        peakrate: plain(peakrate),
        limit,
        buffer,
        mtu,
    })
}

#[test]
fn queue_schedulers() {
    let qsch = |kind, handle, qopt| TcQsch {
        kind: Name::truncated(kind),
        handle,
        qopt,
        ..TcQsch::default()
    };
    let fast = Blob::of(&PrioOpt {
        bands: 3,
        priomap: [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
    });
    let list = [
        TcQsch {
            cls_cnt: 1,
            ..qsch(
                "tbf",
                tc_handle::ROOT,
                tbf(10_000_000, 0, 12_500, 50_000, 0),
            )
        },
        TcQsch {
            parent: tc_handle::ROOT,
            flags: 2,
            ..qsch("pfifo_fast", 0x1_0000, fast)
        },
        TcQsch {
            flags: 1,
            ..qsch(
                "bfifo",
                tc_handle::INGRESS,
                Blob::of(&FifoOpt { limit: 4096 }),
            )
        },
        TcQsch {
            parent: 0x1_0000,
            ..qsch("tbf", 0x1_0002, tbf(2_500_000_000, 999, 7, 9000, 1500))
        },
    ];
    let entries: Vec<Blob<148>> = list.iter().map(Blob::of).collect();
    let standin = answering(bare(&entries));
    assert_eq!(
        standin.dpip("qsch show dev dpdk0"),
        printed(&golden("qsch-show.out"))
    );
    let value = json(&standin, "qsch show dev dpdk0");
    assert_eq!(
        (&value[0]["rate_bps"], &value[1]["bands"]),
        (&10_000_000.into(), &3.into())
    );
    let busy = TcQsch {
        cid: 1,
        qstats: QstatQueue {
            qlen: 4,
            backlog: 60,
            drops: 1,
            requeues: 3,
            overlimits: 2,
        },
        bstats: QstatBytes {
            bytes: 123_456,
            packets: 789,
        },
        ..qsch("pfifo", tc_handle::ROOT, Blob::of(&FifoOpt { limit: 128 }))
    };
    let standin = answering(bare(&[Blob::<148>::of(&busy)]));
    let all = golden("qsch-stats.out");
    assert_eq!(standin.dpip("-s -v qsch show dev dpdk0"), printed(&all));
    let one = all.trim_end().replace('\n', "\\") + "\n";
    assert_eq!(standin.dpip("-o -s -v qsch show dev dpdk0"), printed(&one));
    assert_eq!(
        json(&standin, "-s -v qsch show dev dpdk0")[0]["stats"]["drops"],
        1
    );
}

#[test]
fn classifiers() {
    let cls = |kind, handle| TcCls {
        kind: Name::truncated(kind),
        handle,
        sch_id: tc_handle::ROOT,
        pkt_type: Be16::new(0x0800),
        ..TcCls::default()
    };
    let four = Match {
        af: Af::INET,
        srange: AddrRange {
            min_addr: slot("10.0.0.1"),
            min_port: Be16::new(1),
            max_port: Be16::new(1024),
            ..AddrRange::default()
        },
        oifname: Name::truncated("dpdk1"),
        ..Match::default()
    };
    let six = Match {
        af: Af::INET6,
        drange: AddrRange {
            min_addr: slot("2001:db8::1"),
            max_addr: slot("2001:db8::9"),
            ..AddrRange::default()
        },
        iifname: Name::truncated("dpdk0"),
        ..Match::default()
    };
    let by = |proto, matched, drop, sch_id| {
        Blob::of(&TcClsMatch {
            proto,
            matched,
            result: TcClsResult { drop, sch_id },
        })
    };
    let set = TcClsIpset {
        setname: Name::truncated("deny"),
        dst_match: 1,
        result: TcClsResult {
            drop: 0,
            sch_id: 0x2_0003,
        },
    };
    let list = [
        TcCls {
            priority: 5,
            copt: by(6, four, 1, 0),
            ..cls("match", 0x1_0001)
        },
        TcCls {
            pkt_type: Be16::new(0x86dd),
            copt: by(58, six, 0, 0x1_0000),
            ..cls("match", 0x1_0002)
        },
        TcCls {
            priority: -1,
            copt: Blob::of(&set),
            ..cls("ipset", 0x1_0003)
        },
    ];
    let standin = answering(bare(&list));
    assert_eq!(
        standin.dpip("cls show dev dpdk0"),
        printed(&golden("cls-show.out"))
    );
    let value = json(&standin, "cls show dev dpdk0");
    assert_eq!(
        (&value[0]["target"], &value[2]["side"]),
        (&"drop".into(), &"dst".into())
    );
}

fn sets() -> Vec<(IpsetInfo, Vec<IpsetMember>)> {
    let info = |name, kind, af, size, references, detail| IpsetInfo {
        name: Name::truncated(name),
        kind: Name::truncated(kind),
        af,
        size,
        references,
        detail,
        ..IpsetInfo::default()
    };
    // Prefix length, three bytes, the range.
    let bitmap = |cidr: u8, range: AddrRange| {
        let mut bytes = [0; 40];
        bytes[0] = cidr;
        bytes[4..].copy_from_slice(&range.encode());
        Blob(bytes)
    };
    let addresses = |min: &str, max: &str| AddrRange {
        min_addr: slot(min),
        max_addr: slot(max),
        ..AddrRange::default()
    };
    let ports = AddrRange {
        min_port: Be16::new(80_u16.swap_bytes()),
        max_port: Be16::new(90_u16.swap_bytes()),
        ..AddrRange::default()
    };
    let member = |addr: &str| IpsetMember {
        addr: slot(addr),
        ..IpsetMember::default()
    };
    let net = IpsetMember {
        cidr: 64,
        proto: 17,
        port: 100,
        iface: Name::truncated("dpdk0"),
        ..member("2001:beef::")
    };
    let abuse = IpsetMember {
        comment: Name::truncated("abuse"),
        ..member("192.168.0.1")
    };
    let port = IpsetMember {
        proto: 6,
        port: 80,
        ..IpsetMember::default()
    };
    let hash = Blob::of(&[0u32, 256, 1000]);
    let whole = bitmap(16, addresses("192.168.0.0", "192.168.255.255"));
    let deny = IpsetInfo {
        comment: 1,
        ..info("deny", "bitmap:ip", 2, 8288, 1, whole)
    };
    let few = bitmap(0, addresses("10.0.0.1", "10.0.0.9"));
    vec![
        (
            info("bar", "hash:net,port,iface", 10, 4416, 0, hash),
            vec![net],
        ),
        (deny, vec![abuse, member("192.168.0.9")]),
        (
            info("ports", "bitmap:port", 2, 64, 0, bitmap(0, ports)),
            vec![port],
        ),
        (info("none", "bitmap:ip,mac", 2, 64, 0, few), Vec::new()),
    ]
}

#[test]
fn sets_and_their_members() {
    let standin = StandIn::new(|request: &Request| match request.id {
        id::GET_IPSET_LIST => Ok(encode_ipsets(&sets())),
        // 10.0.0.1 is in, 10.0.0.2 is not, anything else is not understood.
        id::GET_IPSET_TEST => match request.body[112..116] {
            [10, 0, 0, 1] => Ok(1i32.encode()),
            [10, 0, 0, 2] => Ok(0i32.encode()),
            _ => Ok((-1i32).encode()),
        },
        _ => Err(ErrCode::INVAL),
    });
    let all = golden("ipset-show.out");
    assert_eq!(standin.dpip("ipset show"), printed(&all));
    assert_eq!(standin.dpip("-v ipset list"), printed(&all));
    assert_eq!(standin.dpip("-o ipset show").out.lines().count(), 4);
    let value = json(&standin, "ipset show");
    assert_eq!(
        value[0]["entries"][0]["entry"],
        "2001:beef::/64,udp:100,dpdk0"
    );
    assert_eq!(
        (&value[0]["maxelem"], &value[2]["range"]),
        (&1000.into(), &"tcp|udp:80-90".into())
    );
    assert_eq!(
        answering(encode_ipsets(&[])).dpip("ipset show"),
        printed("")
    );

    let nets = StandIn::new(|request: &Request| match request.id {
        id::GET_IPSET_LIST => {
            let info = IpsetInfo {
                name: Name::truncated("nets"),
                kind: Name::truncated("hash:net"),
                af: 2,
                ..IpsetInfo::default()
            };
            Ok(encode_ipsets(&[(info, Vec::new())]))
        }
        _ => match request.body[112..116] {
            [10, 0, 0, 1] => Ok(1i32.encode()),
            [10, 0, 0, 2] => Ok(0i32.encode()),
            _ => Ok((-1i32).encode()),
        },
    });
    for (line, out) in [
        ("ipset test nets 10.0.0.1", "true\n"),
        ("ipset test nets 10.0.0.2", "false\n"),
        ("-v ipset test nets 10.0.0.1", "10.0.0.1 is in set nets\n"),
        (
            "-v ipset test nets 10.0.0.2",
            "10.0.0.2 is NOT in set nets\n",
        ),
        (
            "-j ipset test nets 10.0.0.2",
            "[{\"name\":\"nets\",\"entry\":\"10.0.0.2\",\"in\":false}]\n",
        ),
    ] {
        assert_eq!(nets.dpip(line), printed(out), "{line}");
    }
    let warned = nets.dpip("ipset test nets 10.0.0.1/32");
    assert_eq!(warned.err, "Warning: ignore cidr settings for ipset test\n");
    let failed = nets.dpip("ipset test nets 10.0.0.3");
    assert_eq!((failed.code, failed.out.as_str()), (Some(1), ""));
    assert_eq!(failed.err, "set test failed\ndpip: invalid parameter\n");
}
